// SPDX-License-Identifier: GPL-2.0

//! Segments on their way out.

use kernel::prelude::*;

use oxtcp_engine::wire::{Flags, Header, MAX_HEADER_LEN};
use oxtcp_engine::{BurstLimit, Context, SeqRange, Transmit, TransmitKind};

use crate::namespace::Namespace;
use crate::protocol::{Sk, Socket};
use crate::sys::net::{Net, PerNet};
use crate::sys::netfilter::Family;
use crate::sys::route::{self, Flow, Route};
use crate::sys::skb::SkBuff;
use crate::sys::table::{Endpoint, FlowKey};

/// Sends all that the connection has to send now. Any context.
pub(crate) fn transmit(sk: &mut Sk<'_>, cx: &Context<'_>) {
    follow_path_mtu(sk, cx);
    loop {
        let limit = BurstLimit(route::burst_limit(sk));
        let Some(connection) = sk.state().connection() else {
            return;
        };
        let Some(segment) = connection.poll_transmit(cx, limit) else {
            return;
        };
        if segment.kind == TransmitKind::ChallengeAck
            && !Namespace::get(sk.sock().net()).may_challenge()
        {
            continue;
        }
        send(sk, segment);
    }
}

/// Brings a change of the path's MTU (another route, an ICMP error) to the engine.
fn follow_path_mtu(sk: &mut Sk<'_>, cx: &Context<'_>) {
    if sk.state().connection().is_none() {
        return;
    }
    let mtu = match route::current_mtu(sk) {
        Some(mtu) => mtu,
        // No route at this time: what is sent is lost, and the timers try again.
        None => match route::route_socket(sk) {
            Ok((info, _)) => info.mtu,
            Err(_) => return,
        },
    };
    let mss = mss_of(mtu, sk.wire_family());
    if let Some(connection) = sk.state().connection() {
        connection.set_path_mss(cx, mss);
    }
}

/// Sends one segment or burst of a connection.
///
/// What cannot be sent is lost as on the network: the engine finds out by its timers.
fn send(sk: &mut Sk<'_>, segment: Transmit) {
    let key = sk.sock().flow();
    let segments = route::burst_segments(sk).max(1);
    let mss = u32::from(segment.mss).max(1);
    let most = mss.saturating_mul(segments);
    let mut rest = segment.payload;
    let mut header = segment.header;
    loop {
        let Some(mut skb) = SkBuff::for_sending() else {
            return;
        };
        let mut part = SeqRange::new(rest.start, rest.len.min(most));
        if part.len > 0 {
            let filled = sk.state().send.fill(&mut skb, part);
            if filled < part.len {
                // More page fragments than a packet takes: whole segments now, the rest in another.
                let whole = if filled >= mss {
                    filled / mss * mss
                } else {
                    filled
                };
                if whole == 0 {
                    return;
                }
                if whole < filled {
                    let Some(again) = SkBuff::for_sending() else {
                        return;
                    };
                    skb = again;
                    if sk
                        .state()
                        .send
                        .fill(&mut skb, SeqRange::new(part.start, whole))
                        < whole
                    {
                        return;
                    }
                }
                part.len = whole;
            }
        }
        let last = part.len == rest.len;
        let mut this = header;
        if !last {
            this.flags = without_end(header.flags);
        }
        if !push_header(&mut skb, this, &key) {
            return;
        }
        if part.len > mss {
            let count = part.len.div_ceil(mss);
            skb.set_gso(
                segment.mss,
                count.min(u32::from(u16::MAX)) as u16,
                sk.wire_family(),
            );
        }
        // The IP layer's errors are the network's losses to the engine.
        let _ = route::transmit(sk, skb);
        if last {
            return;
        }
        rest = SeqRange::new(rest.start.add(part.len), rest.len - part.len);
        header.seq = header.seq.add(part.len);
    }
}

/// The flags of a burst's parts but the last.
fn without_end(flags: Flags) -> Flags {
    flags.without(Flags::FIN).without(Flags::PSH)
}

fn push_header(skb: &mut SkBuff, mut header: Header, key: &FlowKey) -> bool {
    header.src_port = key.local().port;
    header.dst_port = key.remote().port;
    let mut bytes = [0u8; MAX_HEADER_LEN];
    let len = header.emit(&mut bytes);
    match bytes.get(..len) {
        Some(header) if len > 0 => skb.push_header(header),
        _ => false,
    }
}

/// The flow of a packet that no connection sends.
pub(crate) fn flow_of(key: &FlowKey, oif: i32, mark: u32) -> Flow {
    let (local, remote) = (unscoped(key.local()), unscoped(key.remote()));
    Flow {
        family: match remote.v4() {
            Some(_) => Family::V4,
            None => Family::V6,
        },
        local,
        remote,
        oif,
        mark,
    }
}

/// Answers for a half-open connection, a TIME-WAIT or a listener: no payload, no socket. Any context.
pub(crate) fn reply(net: &Net, key: &FlowKey, oif: i32, mark: u32, segment: Transmit) -> Result {
    let route = Route::lookup(net, flow_of(key, oif, mark))?;
    reply_by(&route, key, segment)
}

/// As [`reply`], by a route that was looked up already.
pub(crate) fn reply_by(route: &Route<'_>, key: &FlowKey, segment: Transmit) -> Result {
    let mut skb = SkBuff::for_sending().ok_or(ENOMEM)?;
    if !push_header(&mut skb, segment.header, key) {
        return Err(EINVAL);
    }
    route.send(skb)
}

/// A link-local address is told apart in the table by its interface, which it carries in two words
/// that are zero on the wire.
pub(crate) fn scoped(end: Endpoint, ifindex: i32) -> Endpoint {
    let mut ip = end.ip;
    if is_link_local(&ip) {
        if let Some(zero) = ip.get_mut(4..8) {
            zero.copy_from_slice(&ifindex.to_ne_bytes());
        }
    }
    Endpoint { ip, ..end }
}

/// Undoes [`scoped`].
pub(crate) fn unscoped(end: Endpoint) -> Endpoint {
    scoped(end, 0)
}

/// fe80::/10.
pub(crate) fn is_link_local(ip: &[u8; 16]) -> bool {
    ip[0] == 0xfe && ip[1] & 0xc0 == 0x80
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
    Namespace::get(sock.net())
}
