// SPDX-License-Identifier: GPL-2.0

//! SYNs that are answered, or dropped, before they are routed: answered in the packet that they came in if nobody else has its bytes.
//!
//! The hook before routing takes a SYN for a listener, if all that the way through routing, firewall and LOCAL_IN could say of it is known to be yes; the
//! answer, with a cookie or of a half-open connection, is the same to the byte, and goes the way that every answer goes, from its route on. What does
//! not fit falls back: it is left to the others, and comes to [`input`](crate::input) like any packet.
//!
//! | what makes a SYN fall back | why |
//! |---|---|
//! | any other hook of netfilter on the way in, of conntrack or IPVS as well; routes with realms | it may drop, count or change the packet |
//! | a policy of IPsec | it may want the packet in a tunnel |
//! | a rule of policy routing; a device of a VRF | it may be for somebody else |
//! | the way back is not by the device that it came by, is a tunnel, or leads to nobody else | it may be a martian, or `rp_filter` drop it |
//! | a class (DSCP), of it or of what the listener sends | the same: it may be routed otherwise than its answer |
//! | the local address is none of an interface's; loopback, zero, multicast or link-local addresses | routing knows more of those |
//! | IP options, extension headers, fragments, data beside the SYN, a packet that is not in one piece | more to look at |
//! | a connection of the built-in TCP between the same ends, from before we listened | a SYN is its to answer |
//! | a listener bound to a device | `rp_filter` may drop the SYN, and by its device alone there is always a way back |
//! | somebody traces segments or listeners (`oxtcp trace`) | it is to be seen |
//! | `fast_syncookies` 0 where a cookie is due, `ip_early_demux` or `tcp_early_demux` 0 where none is | so it is set |

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::rcu;

use oxtcp_engine::wire::{Flags, Header};

use crate::admission;
use crate::counters::Counter;
use crate::early::{Head, ECN_MASK};
use crate::input::{self, find_listener, Arrival};
use crate::listening;
use crate::namespace::Namespace;
use crate::output;
use crate::protocol::Socket;
use crate::sys::early::Unrouted;
use crate::sys::net::Net;
use crate::sys::route::Route;
use crate::sys::skb::SkBuff;
use crate::sys::table::Endpoint;

/// A SYN came, of a flow that is in no table of ours, that is on its way to be routed. Softirq context.
pub(crate) fn syn<'r>(
    (net, namespace): (&'r Net, &'r Namespace),
    head: &Head,
    skb: SkBuff<Unrouted<'r>>,
    arrival: Arrival,
    rcu: &'r rcu::Guard,
) -> Result<(), SkBuff<Unrouted<'r>>> {
    let Some((sock, route)) = takers((net, namespace), head, &skb, arrival, rcu) else {
        note_fallback(namespace, head, &skb, arrival, rcu);
        return Err(skb);
    };
    input::receive_syn((net, namespace), sock, head, skb, arrival, &route, rcu);
    Ok(())
}

/// The listener that answers a SYN, and the way back; `None` for what falls back.
fn takers<'r>(
    (net, namespace): (&'r Net, &Namespace),
    head: &Head,
    skb: &SkBuff<Unrouted<'r>>,
    arrival: Arrival,
    rcu: &rcu::Guard,
) -> Option<(ARef<Socket>, Route<'r>)> {
    if !is_plain(head, skb.linear()) || !head.is_only_for_us(net, skb, arrival.family) {
        return None;
    }
    let sock = find_listener(namespace, &head.key, arrival, rcu)?;
    // By its device alone there is always a way back, of which rp_filter knows nothing.
    if sock.bound_dev() != 0 || !is_allowed(net, namespace, &sock, head) {
        return None;
    }
    if skb.is_builtins_connection(net, arrival.family, &head.key) {
        return None;
    }
    let manner = sock.manner(arrival.family);
    if manner.tos & !ECN_MASK != 0 {
        return None;
    }
    let flow = output::flow_of(&head.key, 0, manner);
    let route = Route::back(net, skb, flow)?;
    Some((sock, route))
}

/// Whether a SYN is to be taken before it is routed as the settings are.
fn is_allowed(net: &Net, namespace: &Namespace, sock: &Socket, head: &Head) -> bool {
    let Some(listening) = listening::of(sock) else {
        return false;
    };
    if listening.half_open.life().is_none() {
        return false;
    }
    let cookies = namespace.sysctls.fast_syncookies() != 0;
    match net.demuxes_early() {
        // As they are delivered: whatever comes of it.
        demuxes if demuxes == cookies => demuxes,
        _ => admission::cookie_is_due(namespace, listening, &head.key) == cookies,
    }
}

/// A SYN falls back: counts it, if a cookie is due to it.
#[inline(never)]
fn note_fallback(
    namespace: &Namespace,
    head: &Head,
    skb: &SkBuff<Unrouted<'_>>,
    arrival: Arrival,
    rcu: &rcu::Guard,
) {
    // Else none was of late.
    if !namespace.sends_cookies() || head.is_odd() || !is_plain(head, skb.linear()) {
        return;
    }
    let sock = find_listener(namespace, &head.key, arrival, rcu);
    let is_due = sock
        .as_deref()
        .and_then(listening::of)
        .is_some_and(|of| admission::cookie_is_due(namespace, of, &head.key));
    if is_due {
        namespace.counters.count(Counter::SyncookiesFellBack);
    }
}

/// Whether the packet is a SYN and nothing else: no data, nothing behind it.
fn is_plain(head: &Head, packet: &[u8]) -> bool {
    let others = Flags::ACK.union(Flags::RST).union(Flags::FIN);
    let Some(tcp) = packet.get(head.offset as usize..) else {
        return false;
    };
    // With data, what is behind the header would be lost.
    !head.glance.flags.intersects(others)
        && Header::data_offset(tcp).is_ok_and(|len| len == tcp.len())
}

/// IPv4's 0.0.0.0/8, 127.0.0.0/8, and from 224.0.0.0 on; of IPv6 ::/8, in which are what is unspecified and loopback, fe80::/10, multicast.
pub(crate) fn is_odd(end: &Endpoint) -> bool {
    match end.v4() {
        // IP lets nobody in with such an address in IPv6.
        Some([first, ..]) => matches!(first, 0 | 127 | 224..),
        None => matches!(end.ip[0], 0 | 0xff) || output::is_link_local(&end.ip),
    }
}
