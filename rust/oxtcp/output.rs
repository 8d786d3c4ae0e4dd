// SPDX-License-Identifier: GPL-2.0

//! Segments on their way out.

use core::num::{NonZeroU16, NonZeroU32};

use kernel::prelude::*;
use kernel::sync::rcu;

use oxtcp_engine::connection::Rest;
use oxtcp_engine::wire::{Ecn, Flags, Header, MAX_HEADER_LEN};
use oxtcp_engine::{
    Acknowledgment, BurstLimit, Context, Refusal, SeqRange, Transmit, TransmitKind,
};

use crate::counters::Counter;
use crate::keys;
use crate::namespace::Namespace;
use crate::protocol::{Role, SendMemory, Sk, Socket};
use crate::signing::Signer;
use crate::sys::drop_reason::DropReason;
use crate::sys::net::Net;
use crate::sys::netfilter::Family;
use crate::sys::route::{self, Flow, Load, Manner, Pacing, Route, XmitError};
use crate::sys::skb::{self, CameIn, Outgoing, SkBuff};
use crate::sys::table::{Endpoint, FlowKey};
use crate::trace::{self, Cause};

/// How much is sent of what is ready.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Extent {
    All,
    /// One packet with data: the caller sees to the rest soon.
    Packet,
}

/// Sends what the connection has to send now. Any context.
pub(crate) fn transmit(sk: &mut Sk<'_>, cx: &Context<'_>, extent: Extent) {
    keys::follow(sk, cx);
    if sk.sock().shared().keys.is_empty() {
        let Some(connection) = sk.state().connection() else {
            return;
        };
        match connection.poll_rest(cx) {
            Rest::Acknowledgment(ack) => {
                acknowledge(sk, cx, &ack);
                return;
            }
            Rest::Nothing => return,
            Rest::Other => {}
        }
    }
    let mut path_is_known = false;
    loop {
        let may_send_data = match sk.state().connection() {
            Some(connection) => connection.may_send_data(),
            None => return,
        };
        if may_send_data && !path_is_known {
            path_is_known = true;
            follow_path_mtu(sk, cx);
        }
        let (burst, bound) = match may_send_data {
            true => {
                let (pacing, rate) = pacing(sk);
                (burst(sk, rate), (pacing == Pacing::Own).then_some(rate))
            }
            // Nobody asks.
            false => (Some(BurstLimit(1)), None),
        };
        let state = sk.state();
        let Role::Connection(connection) = &mut state.role else {
            return;
        };
        let mut memory = SendMemory {
            flight: &mut state.flight,
            send: &state.send,
        };
        let mut segment = match (burst, bound) {
            (Some(limit), Some(bound)) => connection.poll_paced(cx, limit, bound, &mut memory),
            (Some(limit), None) => connection.poll_transmit(cx, limit, &mut memory),
            (None, _) => connection.poll_without_data(cx),
        };
        let Some(segment) = &mut segment else {
            return;
        };
        if matches!(
            segment.kind,
            TransmitKind::ChallengeAck | TransmitKind::Reset
        ) && !may_answer(sk.sock(), segment.kind)
        {
            continue;
        }
        if let Err((sent, why)) = send(sk, segment) {
            refused(sk, cx, segment, sent, why);
            if why != Refusal::Congested {
                return;
            }
        }
        if extent == Extent::Packet && segment.payload.len > 0 {
            return;
        }
    }
}

/// Sends an acknowledgment of a connection without keys. False when it was refused, and the connection is to be
/// [settled](crate::connection::settle).
pub(crate) fn acknowledge(sk: &mut Sk<'_>, cx: &Context<'_>, ack: &Acknowledgment) -> bool {
    let Err(why) = send_acknowledgment(sk, ack) else {
        return true;
    };
    refused(sk, cx, &Transmit::from(*ack), 0, why);
    false
}

fn send_acknowledgment(sk: &mut Sk<'_>, ack: &Acknowledgment) -> Result<(), Refusal> {
    let key = sk.sock().flow();
    route::set_ecn_capable(sk, false);
    let mut skb = SkBuff::for_sending().ok_or(Refusal::NoMemory)?;
    let pushed = match ack.stamped((key.local().port, key.remote().port)) {
        Some(header) => skb.push_header(&header),
        None => push_header(&mut skb, &mut ack.header(), &key, Signer::None),
    };
    if !pushed {
        return Err(Refusal::Failed);
    }
    trace::leaves(sk, &mut skb, || Transmit::from(*ack), 0);
    hand_down(sk, skb, Load::Bare).map_err(|(why, reason)| {
        if why != Refusal::Congested {
            trace::refused(sk, &Transmit::from(*ack), 0, reason);
        }
        why
    })
}

/// Hands a packet to the layers below.
///
/// # Errors
///
/// What they said.
fn hand_down(
    sk: &mut Sk<'_>,
    skb: SkBuff<Outgoing>,
    load: Load,
) -> Result<(), (Refusal, DropReason)> {
    route::transmit(sk, skb, load).map_err(|error| match error {
        // It is on its way.
        XmitError::Congested => (Refusal::Congested, DropReason::Queue),
        XmitError::Dropped => (Refusal::Dropped, DropReason::Queue),
        XmitError::NoMemory => (Refusal::NoMemory, DropReason::NoMemory),
        XmitError::Failed => (Refusal::Failed, DropReason::NoRoute),
    })
}

/// A segment, all but its first `sent` bytes, has not left the host, or only just.
#[cold]
fn refused(sk: &mut Sk<'_>, cx: &Context<'_>, segment: &Transmit, sent: u32, why: Refusal) {
    if why != Refusal::Congested {
        count_refused(sk.sock(), segment);
    }
    let state = sk.state();
    if let Role::Connection(connection) = &mut state.role {
        connection.on_refusal(cx, segment, sent, why, &mut state.flight);
    }
}

/// Whether a challenge ACK or a reset may be sent; if so, counts it.
#[cold]
fn may_answer(sock: &Socket, kind: TransmitKind) -> bool {
    let namespace = namespace(sock);
    if kind == TransmitKind::ChallengeAck {
        return namespace.may_challenge();
    }
    namespace.counters.count(Counter::OutRsts);
    true
}

/// A segment has not left the host.
#[cold]
fn count_refused(sock: &Socket, segment: &Transmit) {
    let counters = &namespace(sock).counters;
    match segment.kind {
        TransmitKind::Retransmission | TransmitKind::LossProbe => {
            counters.add(Counter::TCPRetransFail, segment.segments());
        }
        // Not the answer to a number that was never sent.
        TransmitKind::Reset if segment.header.flags.ack() => {
            counters.count(Counter::TCPAbortFailed);
        }
        _ => {}
    }
}

/// At how many bytes a second the socket sends, and who spaces them.
fn pacing(sk: &mut Sk<'_>) -> (Pacing, u64) {
    let rate = sk.state().connection().map(|c| c.pacing_rate());
    let (pacing, rate) = route::pacing(sk, rate.unwrap_or(u64::MAX));
    if let Some(connection) = sk.state().connection() {
        connection.set_paced(pacing != Pacing::None);
    }
    (pacing, rate)
}

/// How much data may go into one packet now, at `rate` bytes per second; `None` when the queues below hold enough of the socket's: when
/// some of it has left the host, the connection is called again.
///
/// As Linux's `tcp_tso_autosize()` and `tcp_small_queue_check()` have it: a packet is what the path takes in a
/// millisecond, more where the round trip is short, and twice that may wait below.
fn burst(sk: &mut Sk<'_>, rate: u64) -> Option<BurstLimit> {
    /// The round trips that make the largest burst half as large each (Linux's tcp_tso_rtt_log, 2^9 us).
    const RTT_LOG: u32 = 9;
    let connection = sk.state().connection()?;
    let (mss, all) = (
        u32::from(connection.mss()),
        connection.unacked().saturating_add(connection.not_sent()),
    );
    // A segment is always let out, and there is no more.
    if all <= mss {
        return Some(BurstLimit(mss));
    }
    let largest = route::burst_limit(sk);
    let shift = route::pacing_shift(sk);
    let limit_output = output_limit(sk);
    let whole = !sk.allows_bursts();
    // If the device can cut it: also a slow path is worth fewer packets.
    let least = u32::try_from(namespace(sk.sock()).sysctls.min_tso_segs()).unwrap_or(1);
    let connection = sk.state().connection()?;
    let share = rate
        .checked_shr(shift)
        .unwrap_or(0)
        .min(u64::from(u32::MAX)) as u32;
    let near = match connection.min_rtt() {
        Some(rtt) => u32::try_from(rtt.as_micros() >> RTT_LOG)
            .ok()
            .and_then(|halvings| largest.checked_shr(halvings))
            .unwrap_or(0),
        None => largest,
    };
    let largest = if whole { mss } else { largest };
    let burst = share
        .saturating_add(near)
        .max(mss.saturating_mul(least))
        .min(largest.max(mss));
    // One packet is let out whatever lies below: something in flight keeps the connection going.
    if connection.unacked() > burst {
        let limit = share
            .max(burst.saturating_add(skb::memory_of(0)).saturating_mul(2))
            .min(limit_output);
        if sk.throttle(limit) {
            return None;
        }
    }
    Some(BurstLimit(burst))
}

/// `net.oxtcp.limit_output_bytes`.
fn output_limit(sk: &Sk<'_>) -> u32 {
    u32::try_from(namespace(sk.sock()).sysctls.limit_output_bytes()).unwrap_or(0)
}

/// The path's MTU, by another route where the one that the socket has is no longer good: one that has just become narrower is not. `None`
/// when there is none.
pub(crate) fn path_mtu(sk: &mut Sk<'_>) -> Option<u32> {
    match route::current_mtu(sk) {
        Some(mtu) => Some(mtu),
        None => route::route_socket(sk).ok().map(|(info, _)| info.mtu),
    }
}

/// Brings a change of the path's MTU (another route, an ICMP error) to the engine, before data is cut.
fn follow_path_mtu(sk: &mut Sk<'_>, cx: &Context<'_>) {
    // No route at this time: what is sent is lost, and the timers try again.
    let Some(mtu) = path_mtu(sk) else {
        return;
    };
    let mss = mss_of(mtu, sk.wire_family());
    if let Some(connection) = sk.state().connection() {
        connection.set_path_mss(cx, mss);
    }
}

/// Sends one segment or burst of a connection. Its header gets the ports.
///
/// # Errors
///
/// What the layers below said, and how many bytes of the payload left before.
fn send(sk: &mut Sk<'_>, segment: &mut Transmit) -> Result<(), (u32, Refusal)> {
    let key = sk.sock().flow();
    let rcu;
    let signer = match sk.sock().shared().keys.is_empty() {
        true => Signer::None,
        false => {
            rcu = rcu::read_lock();
            keys::signer(sk.sock(), &rcu)
        }
    };
    let segments = route::burst_segments(sk).max(1);
    let mss = NonZeroU32::from(NonZeroU16::new(segment.mss).unwrap_or(NonZeroU16::MIN));
    let most = mss.get().saturating_mul(segments);
    let mut rest = segment.payload;
    let mut congested = false;
    route::set_ecn_capable(sk, segment.ecn == Ecn::Ect0);
    loop {
        let sent = segment.payload.len.saturating_sub(rest.len);
        let failed = |why| (sent, why);
        let no_memory = (sent, Refusal::NoMemory);
        let mut skb = SkBuff::for_sending().ok_or(no_memory)?;
        let mut part = SeqRange::new(rest.start, rest.len.min(most));
        if part.len > 0 {
            let filled = sk.state().send.fill(&mut skb, part);
            if filled < part.len {
                // More page fragments than a packet takes: whole segments now, the rest in another.
                let whole = if filled >= mss.get() {
                    filled.saturating_sub(filled % mss)
                } else {
                    filled
                };
                if whole < filled {
                    skb = SkBuff::for_sending().ok_or(no_memory)?;
                }
                if whole == 0
                    || (whole < filled
                        && sk
                            .state()
                            .send
                            .fill(&mut skb, SeqRange::new(part.start, whole))
                            < whole)
                {
                    return Err(failed(Refusal::Failed));
                }
                part.len = whole;
            }
        }
        let last = part.len == rest.len;
        let pushed = match sent == 0 && last {
            true => push_header(&mut skb, &mut segment.header, &key, signer),
            false => push_header(&mut skb, &mut part_of(segment, sent, last), &key, signer),
        };
        if !pushed {
            return Err(failed(Refusal::Failed));
        }
        if part.len > mss.get() {
            let count = part.len.div_ceil(mss.get());
            skb.set_gso(
                segment.mss,
                count.min(u32::from(u16::MAX)) as u16,
                sk.wire_family(),
                sent == 0 && segment.header.flags.contains(Flags::CWR),
            );
        }
        if let Some((flags, key)) = sk.state().send.stamps_in(part) {
            skb.stamp(flags, key.get());
        }
        // As in Linux the first ten segments are not spaced.
        let begun = sk
            .state()
            .connection()
            .is_some_and(|c| c.data_segs_out() >= 10);
        let spaced = if begun { part.len } else { 0 };
        trace::leaves(sk, &mut skb, || *segment, part.len);
        let load = match segment.kind.is_bare() {
            true => Load::Bare,
            false => Load::Spaced(spaced),
        };
        match hand_down(sk, skb, load) {
            Ok(()) => {}
            Err((Refusal::Congested, _)) => congested = true,
            Err((why, reason)) => {
                trace::refused(sk, segment, part.len, reason);
                return Err(failed(why));
            }
        }
        if last {
            return match congested {
                true => Err((segment.payload.len, Refusal::Congested)),
                false => Ok(()),
            };
        }
        let left = rest.len.saturating_sub(part.len);
        rest = SeqRange::new(rest.start.add(part.len), left);
    }
}

/// The header of a burst's part that begins `sent` bytes behind its start.
fn part_of(segment: &Transmit, sent: u32, last: bool) -> Header {
    let mut header = segment.header;
    header.seq = header.seq.add(sent);
    if !last {
        header.flags = header.flags.without(Flags::FIN).without(Flags::PSH);
    }
    if sent > 0 {
        // The first segment alone says that the window was reduced.
        header.flags.remove(Flags::CWR);
        // The pointer counts from the segment's number.
        match u32::from(header.urgent).checked_sub(sent) {
            Some(ahead) if ahead > 0 => header.urgent = ahead as u16,
            _ => header.flags.remove(Flags::URG),
        }
    }
    header
}

fn push_header(
    skb: &mut SkBuff<Outgoing>,
    header: &mut Header,
    key: &FlowKey,
    signer: Signer<'_>,
) -> bool {
    header.src_port = key.local().port;
    header.dst_port = key.remote().port;
    let mut bytes = [0u8; MAX_HEADER_LEN];
    // Of a connection's the engine knows; a half-open one's and a TIME-WAIT's have room for it.
    header.options.signature = signer.signature();
    let len = header.emit(&mut bytes);
    match bytes.get_mut(..len) {
        Some(header) if len > 0 => signer.sign(header, skb, key) && skb.push_header(header),
        _ => false,
    }
}

/// The flow of a packet that no connection sends.
pub(crate) fn flow_of(key: &FlowKey, oif: i32, manner: Manner) -> Flow {
    let (local, remote) = (unscoped(key.local()), unscoped(key.remote()));
    Flow {
        family: family_of(key),
        local,
        remote,
        oif,
        manner,
    }
}

/// What packets of that flow have of a listener.
pub(crate) fn manner_of(listener: &Socket, key: &FlowKey) -> Manner {
    listener.manner(family_of(key))
}

/// The family of a flow's packets.
fn family_of(key: &FlowKey) -> Family {
    match key.remote().v4() {
        Some(_) => Family::V4,
        None => Family::V6,
    }
}

/// Answers for a half-open connection, a TIME-WAIT or a listener: no payload, no socket. Any context.
pub(crate) fn reply(
    (net, namespace): (&Net, &Namespace),
    key: &FlowKey,
    oif: i32,
    manner: Manner,
    segment: Transmit,
    cause: Cause,
    signer: Signer<'_>,
) -> Result {
    let route = Route::lookup(net, flow_of(key, oif, manner))?;
    reply_in(
        namespace,
        None::<SkBuff>,
        &route,
        key,
        segment,
        cause,
        signer,
    )
}

/// The same by a route that was looked up already, and in the memory of the packet that is answered, if there is one and it can be.
pub(crate) fn reply_in<S: CameIn>(
    namespace: &Namespace,
    skb: Option<SkBuff<S>>,
    route: &Route<'_>,
    key: &FlowKey,
    mut segment: Transmit,
    cause: Cause,
    signer: Signer<'_>,
) -> Result {
    let skb = skb.and_then(|skb| route.recycle(skb));
    let mut skb = skb.or_else(SkBuff::for_sending).ok_or(ENOMEM)?;
    if !push_header(&mut skb, &mut segment.header, key, signer) {
        return Err(EINVAL);
    }
    trace::answers(route.net(), key, &mut skb, cause, &segment);
    let hash = (family_of(key) == Family::V6).then(|| namespace.transmit_hash(key));
    route.send(skb, hash)
}

/// A link-local address is told apart in the table by its interface, which it carries in two words
/// that are zero on the wire.
pub(crate) fn scoped(end: Endpoint, ifindex: i32) -> Endpoint {
    /// Where the two words are in the address, as one number: byte by byte each is loaded and stored.
    const SHIFT: u32 = 64;
    if !is_link_local(&end.ip) {
        return end;
    }
    let scope = u128::from(u32::from_be_bytes(ifindex.to_ne_bytes()));
    let others = u128::from_be_bytes(end.ip) & !(u128::from(u32::MAX) << SHIFT);
    Endpoint {
        ip: (others | (scope << SHIFT)).to_be_bytes(),
        ..end
    }
}

/// The flow of a packet that has come in by that interface, as the table knows it.
pub(crate) fn scoped_flow(key: FlowKey, family: Family, ifindex: i32) -> FlowKey {
    match family {
        Family::V4 => key,
        Family::V6 => FlowKey::new(scoped(key.local(), ifindex), scoped(key.remote(), ifindex)),
    }
}

/// Undoes [`scoped`].
pub(crate) fn unscoped(end: Endpoint) -> Endpoint {
    scoped(end, 0)
}

/// A flow as it is on the wire, without what [`scoped`] has put into link-local addresses.
pub(crate) fn bare(key: &FlowKey) -> FlowKey {
    FlowKey::new(unscoped(key.local()), unscoped(key.remote()))
}

/// The interface that [`scoped`] has put in; 0 for what has none.
pub(crate) fn scope(end: Endpoint) -> i32 {
    match end.ip {
        [_, _, _, _, a, b, c, d, ..] if is_link_local(&end.ip) => i32::from_ne_bytes([a, b, c, d]),
        _ => 0,
    }
}

/// fe80::/10.
pub(crate) fn is_link_local(ip: &[u8; 16]) -> bool {
    u16::from_be_bytes([ip[0], ip[1]]) & 0xffc0 == 0xfe80
}

/// The MSS for packets of `mtu` bytes without IP or TCP options (RFC 9293 section 3.7.1).
pub(crate) fn mss_of(mtu: u32, family: Family) -> u16 {
    let headers = match family {
        Family::V4 => 20 + 20,
        Family::V6 => 40 + 20,
    };
    mtu.saturating_sub(headers).min(u32::from(u16::MAX)) as u16
}

/// The namespace of a socket.
pub(crate) fn namespace(sock: &Socket) -> &Namespace {
    sock.per_net()
}
