// SPDX-License-Identifier: GPL-2.0

//! Packets on their way in: whose are they?
//!
//! [`LocalIn::local_in`] sees every packet for this host, behind the firewall's INPUT chain. What belongs
//! to a flow or a listener of ours is taken before the built-in TCP can see it; everything else goes on
//! untouched. Softirq context, under RCU.

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::rcu;

use oxtcp_engine::cookie::Opened;
use oxtcp_engine::wire::{Ecn, Flags, Header, Timestamps, MIN_HEADER_LEN};
use oxtcp_engine::{Config, Happening, Instant, Segment, SeqNum};

use crate::ao::segments::Stage;
use crate::ao::{Handshake, Ids};
use crate::connection;
use crate::cookies;
use crate::counters::Counter;
use crate::early::Head;
use crate::half_open::{self, Whose};
use crate::icmp;
use crate::keys::{Peer, Secret};
use crate::listener;
use crate::listening;
use crate::namespace::Namespace;
use crate::output::{self, bare, scoped_flow};
use crate::protocol::{Sk, Socket, Tcp};
use crate::signing::{self, Judge};
use crate::sys::drop_reason::DropReason;
use crate::sys::early::Unrouted;
use crate::sys::net::Net;
use crate::sys::netfilter::{confirm_conntrack, Confirm, Family, LocalIn};
use crate::sys::route::Route;
use crate::sys::skb::{AtHook, Claimed, SkBuff};
use crate::sys::sock::SkState;
use crate::sys::table::{self, Endpoint, FlowKey, Found};
use crate::sys::time;
use crate::trace::{self, Bound, Decision};

/// Where a packet comes from, beside its addresses.
#[derive(Clone, Copy)]
pub(crate) struct Arrival {
    pub(crate) ifindex: i32,
    pub(crate) family: Family,
}

/// What a packet is, as far as it concerns us.
enum Packet {
    /// Where the TCP header begins, whose flow it is, and what is in the header.
    Tcp {
        offset: u32,
        key: FlowKey,
        glance: Glance,
    },
    /// Where the ICMP header begins.
    Icmp { offset: u32 },
}

/// What is looked at before a segment is known to be ours.
#[derive(Clone, Copy)]
pub(crate) struct Glance {
    pub(crate) flags: Flags,
    pub(crate) seq: SeqNum,
    pub(crate) ack: SeqNum,
}

impl Glance {
    #[inline]
    pub(crate) fn of(front: &Front) -> Self {
        let &[_, _, _, _, s0, s1, s2, s3, a0, a1, a2, a3, _, flags] = front;
        Self {
            flags: Flags::from_bits(flags),
            seq: SeqNum::new(u32::from_be_bytes([s0, s1, s2, s3])),
            ack: SeqNum::new(u32::from_be_bytes([a0, a1, a2, a3])),
        }
    }

    /// Whether it is a SYN that asks for a connection.
    pub(crate) fn is_syn(&self) -> bool {
        self.flags.syn() && !self.flags.intersects(Flags::ACK.union(Flags::RST))
    }

    /// What it acknowledges, if it has ACK, and neither SYN nor RST.
    fn acks(&self) -> Option<SeqNum> {
        let is_ack = self.flags.ack() && !self.flags.intersects(Flags::SYN.union(Flags::RST));
        is_ack.then_some(self.ack)
    }
}

/// Whose a packet is.
enum Owner<'a> {
    Connection(ARef<Socket>),
    /// A half-open one's, with the listener.
    HalfOpen(&'a table::Mini<Tcp>, ARef<Socket>, Handshake),
    /// A TIME-WAIT's.
    Mini(&'a table::Mini<Tcp>),
    Listener(ARef<Socket>),
    /// The listener's, for the cookie that it brings.
    Cookie(ARef<Socket>, Opened),
    /// Of a connection that is gone, from a peer that the listener has a key for: who knows the key is told by a reset.
    Stray(ARef<Socket>),
}

impl LocalIn for Tcp {
    fn local_in<'r>(
        net: &'r Net,
        family: Family,
        mut skb: SkBuff<AtHook<'r>>,
    ) -> Result<(), SkBuff<AtHook<'r>>> {
        let rcu = rcu::read_lock();
        let Some(namespace) = net.get::<Namespace>(&rcu) else {
            return Err(skb);
        };
        let (offset, key, glance) =
            match identify(&mut skb, family, |port| namespace.ports.may_hold(port)) {
                Some(Packet::Tcp {
                    offset,
                    key,
                    glance,
                }) => (offset, key, glance),
                Some(Packet::Icmp { offset }) => {
                    let ifindex = skb.ifindex(family);
                    icmp::look(namespace, &mut skb, offset, family, ifindex);
                    return Err(skb);
                }
                None => return Err(skb),
            };
        let arrival = Arrival {
            ifindex: skb.ifindex(family),
            family,
        };
        let scoped;
        let key = match family {
            Family::V4 => &key,
            Family::V6 => {
                scoped = scoped_flow(key, family, arrival.ifindex);
                &scoped
            }
        };
        let Some(owner) = find_owner(net, namespace, &skb, key, glance, arrival, &rcu) else {
            want_strays(net, namespace, glance, arrival);
            return Err(skb);
        };
        // From here on the packet is ours.
        let Some(skb) = skb.claim(offset) else {
            return Ok(());
        };
        if let Owner::Connection(sock) = owner {
            if arrival.ifindex != LOOPBACK {
                namespace.early.want();
            }
            receive((net, namespace), &sock, skb, key, family, &rcu);
            return Ok(());
        }
        if matches!(owner, Owner::HalfOpen(..) | Owner::Mini(..))
            && arrival.ifindex != LOOPBACK
            && net.demuxes_early()
        {
            namespace.early.want_alone(net, family);
        }
        let packet = (skb, key, glance);
        receive_without_connection((net, namespace), owner, packet, arrival, None, &rcu);
        Ok(())
    }
}

/// A packet of a small object's flow that is for us alone and came the way that `route` leads, before it is routed. Softirq context.
pub(crate) fn receive_for_mini<'r>(
    (net, namespace): (&'r Net, &'r Namespace),
    mini: &'r table::Mini<Tcp>,
    head: &Head,
    skb: SkBuff<Unrouted<'r>>,
    arrival: Arrival,
    route: &Route<'_>,
    rcu: &'r rcu::Guard,
) -> Result<(), SkBuff<Unrouted<'r>>> {
    let owner = match half_open::whose(mini, namespace, head.glance.acks()) {
        Whose::Listeners(listener, handshake) => Owner::HalfOpen(mini, listener, handshake),
        Whose::Nobodys => Owner::Mini(mini),
        Whose::Misses(..) | Whose::Gone | Whose::Stale => return Err(skb),
    };
    take_early((net, namespace), owner, head, skb, (arrival, route), rcu);
    Ok(())
}

/// A SYN for that listener that is for us alone and came the way that `route` leads, before it is routed. Softirq context.
pub(crate) fn receive_syn<'r>(
    at: (&'r Net, &'r Namespace),
    listener: ARef<Socket>,
    head: &Head,
    skb: SkBuff<Unrouted<'r>>,
    arrival: Arrival,
    route: &Route<'_>,
    rcu: &'r rcu::Guard,
) {
    let owner = Owner::Listener(listener);
    take_early(at, owner, head, skb, (arrival, route), rcu);
}

/// From here on the packet is ours.
fn take_early<'r>(
    (net, namespace): (&'r Net, &'r Namespace),
    owner: Owner<'_>,
    head: &Head,
    skb: SkBuff<Unrouted<'r>>,
    (arrival, route): (Arrival, &Route<'_>),
    rcu: &'r rcu::Guard,
) {
    namespace.counters.count(Counter::EarlyDemux);
    namespace.early.want_alone(net, arrival.family);
    if let Some(skb) = skb.take(head.offset) {
        let packet = (skb, &head.key, head.glance);
        receive_without_connection((net, namespace), owner, packet, arrival, Some(route), rcu);
    }
}

/// What was left to the built-in TCP could be dealt with before routing the next time, perhaps ([`strays`](crate::strays)).
fn want_strays(net: &Net, namespace: &Namespace, glance: Glance, arrival: Arrival) {
    if glance.flags.intersects(Flags::ACK.union(Flags::RST))
        && arrival.ifindex != LOOPBACK
        && namespace.sysctls.fast_resets() != 0
    {
        namespace.early.want_alone(net, arrival.family);
    }
}

/// A packet of a connection, which came in with a route.
pub(crate) fn receive(
    (net, namespace): (&Net, &Namespace),
    sock: &Socket,
    mut skb: SkBuff<Claimed<'_>>,
    key: &FlowKey,
    family: Family,
    rcu: &rcu::Guard,
) {
    match check_for_connection(namespace, sock, &mut skb, key, family, rcu) {
        Ok(()) => sock.receive(skb, rcu),
        Err(why) => trace::drop_claimed(net, key, skb, why),
    }
}

/// A packet that no connection gets, or not yet. `route` leads back to its sender, if that is known.
fn receive_without_connection(
    (net, namespace): (&Net, &Namespace),
    owner: Owner<'_>,
    (mut skb, key, glance): (SkBuff<Claimed<'_>>, &FlowKey, Glance),
    arrival: Arrival,
    route: Option<&Route<'_>>,
    rcu: &rcu::Guard,
) {
    let signed = match check(namespace, &owner, &mut skb, key, glance, arrival, rcu) {
        Ok(signed) => signed,
        Err(why) => return trace::drop_claimed(net, key, skb, why),
    };
    let mut skb = skb.detach();
    let mut segment = unread();
    let Some(header_len) = parse(&mut skb, &mut segment) else {
        namespace.counters.count(Happening::InErrs);
        trace::drop_for(net, key, skb, 0, DropReason::TooSmall);
        return;
    };
    if !matches!(owner, Owner::HalfOpen(..) | Owner::Mini(..)) {
        trace::arrived_for(net, key, &mut skb, &segment, header_len);
    }
    let was_half_open = matches!(owner, Owner::HalfOpen(..));
    match owner {
        Owner::HalfOpen(mini, ..) | Owner::Mini(mini) => {
            let packet = (&segment, skb, header_len);
            let (at, mini, way) = ((net, namespace), (mini, key), (arrival, route));
            let gone = half_open::segment(at, mini, packet, way, signed);
            let Some(skb) = gone else { return };
            match namespace.table.lookup(key, rcu) {
                // The connection that has taken its place in this moment, whose listener may have the packet. Whether it is signed as
                // that one wants, nobody has looked: it comes again.
                Some(Found::Sock(sock)) if was_half_open && sock.shared().keys.is_empty() => {
                    sock.receive_detached(skb, rcu);
                }
                _ => trace::drop_for(net, key, skb, header_len, DropReason::NoSocket),
            }
        }
        Owner::Listener(sock) => {
            let mut skb = Some(skb);
            let syn = (&segment, &mut skb);
            let way = (arrival, route);
            let taken = listener::segment(net, namespace, &sock, key, syn, way, None, signed);
            // Otherwise it has become the answer.
            if let Some(skb) = skb {
                finish(net, key, skb, header_len, taken);
            }
        }
        Owner::Stray(sock) => {
            listener::reset(&sock, key, &segment, signed);
            trace::drop_for(net, key, skb, header_len, DropReason::NoSocket);
        }
        Owner::Cookie(sock, opened) => {
            let packet = (&segment, skb, header_len);
            let cookie = (*key, opened);
            listener::complete_cookie(net, namespace, &sock, cookie, packet, arrival, signed);
        }
        Owner::Connection(sock) => sock.receive_detached(skb, rcu),
    }
}

/// Frees a packet that has done its work, or was refused.
pub(crate) fn finish(
    net: &Net,
    key: &FlowKey,
    skb: SkBuff,
    header_len: u32,
    taken: Result<(), DropReason>,
) {
    match taken {
        Ok(()) => skb.consume(),
        Err(why) => trace::drop_for(net, key, skb, header_len, why),
    }
}

/// [`check`], where a connection is the owner.
///
/// # Errors
///
/// Why it is to be dropped.
#[inline]
fn check_for_connection(
    namespace: &Namespace,
    sock: &Socket,
    skb: &mut SkBuff<Claimed<'_>>,
    key: &FlowKey,
    family: Family,
    rcu: &rcu::Guard,
) -> Result<(), DropReason> {
    check_packet(namespace, skb, family)?;
    // As nearly always it has no keys, and is sent no signature.
    if !sock.shared().keys.is_empty() || !signing::is_plain(skb) {
        check_signature_for(namespace, sock, skb, key, family, rcu)?;
    }
    sock.check(skb, family)
}

/// [`check_signature`], where a connection is the owner.
///
/// # Errors
///
/// Why it is to be dropped.
#[inline(never)]
fn check_signature_for(
    namespace: &Namespace,
    sock: &Socket,
    skb: &mut SkBuff<Claimed<'_>>,
    key: &FlowKey,
    family: Family,
    rcu: &rcu::Guard,
) -> Result<(), DropReason> {
    let claim = signing::claim(skb);
    let judge = match sock.shared().keys.get(rcu) {
        Some(keys) => keys.judge(Peer::new(key, skb.l3index(family)), Stage::Connection),
        None => Judge::without_keys(Stage::Connection),
    };
    judge.check(namespace, &claim, skb, key).map(|_| ())
}

/// Whether a packet is whole, and conntrack lets it in.
///
/// # Errors
///
/// Why it is to be dropped.
#[inline]
fn check_packet(
    namespace: &Namespace,
    skb: &mut SkBuff<Claimed<'_>>,
    family: Family,
) -> Result<(), DropReason> {
    if skb.tcp_checksum_is_bad(family) {
        namespace.counters.count(Counter::InCsumErrors);
        namespace.counters.count(Happening::InErrs);
        return Err(DropReason::Checksum);
    }
    match confirm_conntrack(skb) {
        Confirm::Accept => Ok(()),
        Confirm::Drop => Err(DropReason::Netfilter),
    }
}

/// Whether the one whose flow it is may have a packet of TCP. The numbers of TCP-AO's keys, if it is signed by them.
///
/// # Errors
///
/// Why it is to be dropped.
fn check(
    namespace: &Namespace,
    owner: &Owner<'_>,
    skb: &mut SkBuff<Claimed<'_>>,
    key: &FlowKey,
    glance: Glance,
    arrival: Arrival,
    rcu: &rcu::Guard,
) -> Result<Option<Ids>, DropReason> {
    check_packet(namespace, skb, arrival.family)?;
    // As nearly always nobody has keys, and it is sent no signature.
    let signed = match namespace.has_keys() || !signing::is_plain(skb) {
        true => check_signature(namespace, owner, skb, key, glance, arrival, rcu)?,
        false => None,
    };
    match owner {
        Owner::Connection(sock)
        | Owner::Listener(sock)
        | Owner::Cookie(sock, _)
        | Owner::Stray(sock)
        | Owner::HalfOpen(_, sock, _) => sock.check(skb, arrival.family)?,
        Owner::Mini(_) => skb.check_policy(arrival.family)?,
    }
    Ok(signed)
}

/// A packet for a connection whose owner is busy, and for whom enough waits. Softirq context.
#[cold]
pub(crate) fn drop_unheard(sock: &Socket, mut skb: SkBuff) {
    output::namespace(sock)
        .counters
        .count(Counter::TCPBacklogDrop);
    let header_len = parse(&mut skb, &mut unread()).unwrap_or(0);
    let key = sock.flow();
    trace::drop_for(sock.net(), &key, skb, header_len, DropReason::Backlog);
}

/// A packet that waited on the backlog or comes from [`Socket::receive`]: to the connection.
#[inline]
pub(crate) fn queued_segment(sk: &mut Sk<'_>, mut skb: SkBuff, rcu: &rcu::Guard) {
    let namespace = output::namespace(sk.sock());
    let config = namespace.sysctls.config_under(rcu);
    if let Some(why) = ignored(sk, &mut skb, namespace, config) {
        // It is all header.
        let header_len = skb.len();
        trace::drop_of(sk, skb, header_len, why);
        return;
    }
    let mut segment = unread();
    let Some(header_len) = parse(&mut skb, &mut segment) else {
        namespace.counters.count(Happening::InErrs);
        trace::drop_of(sk, skb, 0, DropReason::TooSmall);
        return;
    };
    trace::arrived(sk, &mut skb, &segment, header_len);
    connection::segment(sk, &namespace.context(config), &segment, skb, header_len);
}

/// Whether the packet is one of a flood's that its connection would ignore: so why. Nobody traces it.
#[inline]
fn ignored(
    sk: &mut Sk<'_>,
    skb: &mut SkBuff,
    namespace: &Namespace,
    config: &Config,
) -> Option<DropReason> {
    /// With the timestamps that nearly every stack sends.
    const STAMPED: usize = MIN_HEADER_LEN + 12;
    let len = skb.len() as usize;
    if !matches!(len, MIN_HEADER_LEN | STAMPED) || trace::watches_segments() {
        return None;
    }
    let bytes = skb.header(len as u32)?;
    if Header::data_offset(bytes) != Ok(len) {
        return None;
    }
    let stamps = match bytes.get(MIN_HEADER_LEN..)? {
        [] => None,
        &[1, 1, 8, 10, v0, v1, v2, v3, e0, e1, e2, e3] => Some(Timestamps {
            val: u32::from_be_bytes([v0, v1, v2, v3]),
            ecr: u32::from_be_bytes([e0, e1, e2, e3]),
        }),
        _ => return None,
    };
    let glance = Glance::of(bytes.first_chunk()?);
    let connection = sk.state().connection()?;
    let refusal = connection.ignores(glance.seq, glance.flags, stamps, || {
        namespace.context(config)
    })?;
    Some(connection::reason(refusal))
}

/// What [`parse`] writes to.
#[inline(always)]
fn unread() -> Segment {
    Segment {
        header: Header::default(),
        payload_len: 0,
        ecn: Ecn::NotEct,
    }
}

/// Reads the TCP header at the packet's data pointer, and returns its length; `None` for one that is malformed. In place, as a segment is much
/// to copy.
#[inline(always)]
fn parse(skb: &mut SkBuff, segment: &mut Segment) -> Option<u32> {
    let header_len = match segment.header.read(skb.linear()) {
        Ok(len) => len as u32,
        Err(_) => {
            let (header, len) = read_pulled(skb)?;
            segment.header = header;
            len
        }
    };
    segment.payload_len = skb.len().checked_sub(header_len)?;
    segment.ecn = Ecn::from_bits(skb.ds_field());
    Some(header_len)
}

/// A header that is not linear, if it is there at all, and its length.
#[cold]
#[inline(never)]
fn read_pulled(skb: &mut SkBuff) -> Option<(Header, u32)> {
    let fixed = skb.header(MIN_HEADER_LEN as u32)?;
    let len = Header::data_offset(fixed).ok()? as u32;
    Some((Header::parse(skb.header(len)?).ok()?, len))
}

/// The front of TCP's header: ports, numbers, data offset and flags.
pub(crate) type Front = [u8; 14];

/// The port that a segment is for.
#[inline]
pub(crate) fn local_port(front: &Front) -> u16 {
    u16::from_be_bytes([front[2], front[3]])
}

/// The flow of a packet, which begins with its network header; `None` if that is not there.
#[inline(always)]
pub(crate) fn key_of(packet: &[u8], front: &Front, family: Family) -> Option<FlowKey> {
    match family {
        Family::V4 => {
            let at = |at: usize| Some(Endpoint::mapped(*packet.get(at..)?.first_chunk()?));
            Some(between(at(16)?, at(12)?, front))
        }
        Family::V6 => {
            let at = |at: usize| packet.get(at..)?.first_chunk().copied();
            Some(between(at(24)?, at(8)?, front))
        }
    }
}

// A call is less than what comes of it where both families' are in one function.
#[inline(never)]
fn key_v4(packet: &[u8], front: &Front) -> Option<FlowKey> {
    key_of(packet, front, Family::V4)
}

#[inline(never)]
fn key_v6(packet: &[u8], front: &Front) -> Option<FlowKey> {
    key_of(packet, front, Family::V6)
}

#[inline(always)]
fn between(local: [u8; 16], remote: [u8; 16], front: &Front) -> FlowKey {
    let local = Endpoint {
        ip: local,
        port: local_port(front),
    };
    let remote = Endpoint {
        ip: remote,
        port: u16::from_be_bytes([front[0], front[1]]),
    };
    FlowKey::new(local, remote)
}

/// What the packet is; `None` for what cannot be ours, which `may_hold` knows of a local port.
#[inline]
fn identify(
    skb: &mut SkBuff<AtHook<'_>>,
    family: Family,
    may_hold: impl FnOnce(u16) -> bool,
) -> Option<Packet> {
    const ICMP: u8 = 1;
    const TCP: u8 = 6;
    const ICMPV6: u8 = 58;
    const WANTED: u32 = core::mem::size_of::<Front>() as u32;
    let offset = match family {
        Family::V4 => {
            let ip = skb.header(20)?;
            let offset = u32::from(*ip.first()? & 0xf) << 2;
            match *ip.get(9)? {
                TCP => {}
                ICMP => return Some(Packet::Icmp { offset }),
                _ => return None,
            }
            offset
        }
        Family::V6 => {
            let (offset, protocol) = skb.ipv6_transport()?;
            match protocol {
                TCP => {}
                ICMPV6 => return Some(Packet::Icmp { offset }),
                _ => return None,
            }
            offset
        }
    };
    if !skb.is_to_us(family) {
        return None;
    }
    let packet = skb.header(offset.checked_add(WANTED)?)?;
    let front: &Front = packet.get(offset as usize..)?.first_chunk()?;
    if !may_hold(local_port(front)) {
        return None;
    }
    let key = match family {
        Family::V4 => key_v4(packet, front)?,
        Family::V6 => key_v6(packet, front)?,
    };
    let glance = Glance::of(front);
    Some(Packet::Tcp {
        offset,
        key,
        glance,
    })
}

/// Whether the segment is signed as it is to be: by the key that its owner has for the peer. The numbers of TCP-AO's keys, if it is.
///
/// A SYN to a TIME-WAIT is for the listener, if there is one, as in Linux: the peer may have another key by now.
///
/// # Errors
///
/// Why it is to be dropped.
fn check_signature(
    namespace: &Namespace,
    owner: &Owner<'_>,
    skb: &mut SkBuff<Claimed<'_>>,
    key: &FlowKey,
    glance: Glance,
    arrival: Arrival,
    rcu: &rcu::Guard,
) -> Result<Option<Ids>, DropReason> {
    let claim = signing::claim(skb);
    let found;
    let (sock, stage) = match owner {
        Owner::Connection(sock) => (Some(&**sock), Stage::Connection),
        Owner::Listener(sock) | Owner::Cookie(sock, _) | Owner::Stray(sock) => {
            (Some(&**sock), Stage::Listen)
        }
        Owner::HalfOpen(_, sock, handshake) => (Some(&**sock), Stage::HalfOpen(*handshake)),
        Owner::Mini(mini) if glance.is_syn() && !half_open::awaits_fin(mini) => {
            found = find_listener(namespace, key, arrival, rcu);
            (found.as_deref(), Stage::Listen)
        }
        Owner::Mini(_) => (None, Stage::Connection),
    };
    let peer = |skb: &SkBuff<Claimed<'_>>| Peer::new(key, skb.l3index(arrival.family));
    if let Some(keys) = sock.and_then(|sock| sock.shared().keys.get(rcu)) {
        let judge = keys.judge(peer(skb), stage);
        return judge.check(namespace, &claim, skb, key);
    }
    let secret: Option<Secret> = match (owner, sock) {
        (Owner::Mini(mini), None) => half_open::secret_of(mini),
        _ => None,
    };
    match &secret {
        Some(secret) => {
            let judge = secret.judge(peer(skb));
            judge.check(namespace, &claim, skb, key)
        }
        None => Judge::without_keys(stage).check(namespace, &claim, skb, key),
    }
}

/// The index of a namespace's own `lo`.
const LOOPBACK: i32 = 1;

/// So often a flow is looked up whose object leaves the table meanwhile.
const LOOKS: usize = 4;

/// Whose the flow is: a connection's, a half-open one's, a TIME-WAIT's, or a listener's.
///
/// What comes to a listener's port with ACK or RST (of a connection that is gone, say) goes on to the
/// built-in TCP: it may have a connection of its own there (from before we listened), and otherwise
/// answers with the same reset. But for an ACK that brings back a cookie, which is looked for too where a half-open connection has sent
/// another number, as its peer may have been sent both, and knows the cookie only; and for what comes from a peer that the listener has a
/// key for: the reset is to be signed, and none is due to who does not know the key.
fn find_owner<'a>(
    net: &Net,
    namespace: &'a Namespace,
    skb: &SkBuff<AtHook<'_>>,
    key: &FlowKey,
    glance: Glance,
    arrival: Arrival,
    rcu: &'a rcu::Guard,
) -> Option<Owner<'a>> {
    // What has left the table has made room for its successor in one step.
    for _ in 0..LOOKS {
        match namespace.table.lookup(key, rcu) {
            Some(Found::Sock(sock)) => {
                return may_hear(&sock, arrival).then_some(Owner::Connection(sock));
            }
            Some(Found::Mini(mini)) => match half_open::whose(mini, namespace, glance.acks()) {
                Whose::Listeners(listener, handshake) => {
                    return Some(Owner::HalfOpen(mini, listener, handshake));
                }
                Whose::Misses(listener, handshake) => {
                    return Some(match cookie_of(namespace, &listener, key, glance) {
                        Some(opened) => Owner::Cookie(listener, opened),
                        None => Owner::HalfOpen(mini, listener, handshake),
                    });
                }
                Whose::Nobodys => return Some(Owner::Mini(mini)),
                Whose::Gone => continue,
                // Another listener may be there by now.
                Whose::Stale => {}
            },
            // A group is found by no packet's flow.
            Some(Found::Post(_)) | None => {}
        }
        break;
    }
    if !glance.flags.intersects(Flags::ACK.union(Flags::RST)) {
        let listener = find_listener(namespace, key, arrival, rcu)?;
        // Who knows no more than the flow's ends would reset the connection by our answers.
        let is_builtins = skb.is_builtins_connection(net, arrival.family, &bare(key));
        return (!is_builtins).then_some(Owner::Listener(listener));
    }
    if glance.flags.rst() {
        return None;
    }
    // As nearly always, and for each ACK of a flood: no listener would want it.
    let may_be_cookie = may_be_cookie(namespace, glance);
    if !may_be_cookie && !namespace.has_keys() {
        return None;
    }
    let listener = find_listener(namespace, key, arrival, rcu)?;
    if may_be_cookie {
        if let Some(opened) = cookie_of(namespace, &listener, key, glance) {
            return Some(Owner::Cookie(listener, opened));
        }
    }
    let keys = listener.shared().keys.get(rcu)?;
    let is_ours = keys.know(&Peer::new(key, 0)) && !skb.is_builtin(net, arrival.family, &bare(key));
    is_ours.then_some(Owner::Stray(listener))
}

/// Whether the segment may bring a cookie back, to any listener.
fn may_be_cookie(namespace: &Namespace, glance: Glance) -> bool {
    glance.acks().is_some() && cookies::may_come(namespace)
}

/// Whether the segment brings a good cookie to the listener. One that is not is counted.
pub(crate) fn brings_cookie(
    namespace: &Namespace,
    listener: &Socket,
    key: &FlowKey,
    glance: Glance,
) -> bool {
    may_be_cookie(namespace, glance) && cookie_of(namespace, listener, key, glance).is_some()
}

/// The cookie that an ACK brings to a listener, if it is good.
fn cookie_of(
    namespace: &Namespace,
    listener: &Socket,
    key: &FlowKey,
    glance: Glance,
) -> Option<Opened> {
    let now = Instant::from_micros(time::now_micros());
    if namespace.sysctls.syncookies() == 0 || !cookies::are_expected(namespace, listener, now) {
        return None;
    }
    let opened = cookies::open(namespace, key, (glance.seq, glance.ack), now);
    if opened.is_none() {
        namespace.counters.count(Counter::SyncookiesFailed);
        if let Some(listening) = listening::of(listener) {
            let decision = Decision::CookieRefused;
            trace::decided(namespace, listener, listening, key, decision, Bound::None);
        }
    }
    opened
}

/// The listener for a new connection: one on the address, or one on any address; of a group that one which the flow's hash chooses.
pub(crate) fn find_listener(
    namespace: &Namespace,
    flow: &FlowKey,
    arrival: Arrival,
    rcu: &rcu::Guard,
) -> Option<ARef<Socket>> {
    let local = flow.local();
    let suits = |sock: &Socket| {
        let only_v6 = arrival.family == Family::V4 && sock.is_v6() && sock.v6only();
        sock.state() == SkState::LISTEN && !only_v6 && may_hear(sock, arrival)
    };
    let at = |ip: [u8; 16]| {
        let end = Endpoint {
            ip,
            port: local.port,
        };
        let key = FlowKey::of_listener(end);
        match namespace.table.lookup(&key, rcu)? {
            Found::Sock(sock) => suits(&sock).then_some(sock),
            Found::Post(group) => {
                group.select(&namespace.table, namespace.flow_hash(flow), rcu, suits)
            }
            Found::Mini(_) => None,
        }
    };
    let on_any_v4 = || match arrival.family {
        Family::V4 => at(Endpoint::mapped([0; 4])),
        Family::V6 => None,
    };
    at(local.ip).or_else(on_any_v4).or_else(|| at([0; 16]))
}

/// Whether a socket that is bound to an interface may hear what came in by another.
pub(crate) fn may_hear(sock: &Socket, arrival: Arrival) -> bool {
    let bound = sock.bound_dev();
    bound == 0 || bound == arrival.ifindex
}
