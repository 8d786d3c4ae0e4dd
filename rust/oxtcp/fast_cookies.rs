// SPDX-License-Identifier: GPL-2.0

//! SYN cookies that are sent before the SYN is routed, in the packet that it came in.
//!
//! While a listener answers with cookies there is a hook before routing. It takes a SYN that would be answered with one, if all that the way through
//! routing, firewall and LOCAL_IN could say of it is known to be yes; the answer is the same to the byte, and goes the way that every answer goes, from
//! its route on. What does not fit falls back: it is left to the others, and comes to [`input`](crate::input) like any packet.
//!
//! | what makes a SYN fall back | why |
//! |---|---|
//! | any other hook of netfilter on the way in, of conntrack, IPVS or an LSM as well | it may drop, count or change the packet |
//! | a policy of IPsec | it may want the packet in a tunnel |
//! | a rule of policy routing; a device of a VRF | it may be for somebody else |
//! | the way back is not by the device that it came by, is a tunnel, or leads to nobody else | it may be a martian, or `rp_filter` drop it |
//! | the local address is none of an interface's; loopback, zero, multicast or link-local addresses | routing knows more of those |
//! | IP options, extension headers, fragments, data beside the SYN, signatures, a packet that others share (of a client on this host, or seen by tcpdump) or with fragments | more to look at |
//! | a listener with keys, or bound to a device; a half-open connection or TIME-WAIT of the flow | there is more to it than a cookie |
//! | somebody traces segments or listeners (`oxtcp trace`) | it is to be seen |

use kernel::prelude::*;
use kernel::sync::rcu;

use oxtcp_engine::wire::{Ecn, Flags, Header, Signed, MIN_HEADER_LEN};
use oxtcp_engine::Segment;

use crate::admission;
use crate::counters::Counter;
use crate::early::Head;
use crate::flood::Queue;
use crate::input::{find_listener, Arrival};
use crate::listener;
use crate::listening::{self, Listening};
use crate::namespace::{context, Namespace};
use crate::output;
use crate::protocol::Socket;
use crate::signing::Signer;
use crate::sys::drop_reason::DropReason;
use crate::sys::early::Unrouted;
use crate::sys::net::Net;
use crate::sys::route::Route;
use crate::sys::skb::SkBuff;
use crate::sys::table::Endpoint;
use crate::trace::{self, Bound, Decision};

/// A SYN came that is on its way to be routed. Softirq context.
pub(crate) fn syn<'r>(
    (net, namespace): (&'r Net, &Namespace),
    head: &Head,
    skb: SkBuff<Unrouted<'r>>,
    arrival: Arrival,
    rcu: &rcu::Guard,
) -> Result<(), SkBuff<Unrouted<'r>>> {
    if !is_plain(head, skb.linear()) {
        return Err(skb);
    }
    let Some(sock) = find_listener(namespace, &head.key, arrival, rcu) else {
        return Err(skb);
    };
    let Some(listening) = listening::of(&sock) else {
        return Err(skb);
    };
    let Some(shortage) = admission::cookie_is_due(namespace, listening, &head.key) else {
        return Err(skb);
    };
    // A flow that is known already.
    if namespace.table.lookup(&head.key, rcu).is_some() {
        return Err(skb);
    }
    let answered = answer(
        (net, namespace),
        (&sock, listening),
        (head, skb),
        arrival,
        shortage,
        rcu,
    );
    let counter = match &answered {
        Ok(()) => Counter::SyncookiesFast,
        Err(_) => Counter::SyncookiesFellBack,
    };
    namespace.counters.count(counter);
    answered
}

/// Answers a SYN that a cookie is due to, or lets it fall back. Softirq context.
fn answer<'r>(
    (net, namespace): (&'r Net, &Namespace),
    (sock, listening): (&Socket, &Listening),
    (head, mut skb): (&Head, SkBuff<Unrouted<'r>>),
    arrival: Arrival,
    shortage: Option<Queue>,
    rcu: &rcu::Guard,
) -> Result<(), SkBuff<Unrouted<'r>>> {
    if namespace.sysctls.fast_syncookies() == 0
        || trace::watches_listeners()
        || !sock.shared().keys.is_empty()
        // By its device alone there is always a way back, of which rp_filter knows nothing.
        || sock.bound_dev() != 0
        || !skb.is_for_us_alone(net, arrival.family, &head.key.local().ip)
    {
        return Err(skb);
    }
    let Some(segment) = segment_of(head, skb.linear()) else {
        return Err(skb);
    };
    let flow = output::flow_of(
        namespace,
        &head.key,
        sock.bound_dev(),
        sock.manner(arrival.family),
    );
    let Some(route) = Route::back(net, &skb, flow) else {
        return Err(skb);
    };
    // What is wrong with it the others count.
    if skb.tcp_checksum_is_bad(head.offset, arrival.family) {
        return Err(skb);
    }
    // From here on the packet is ours.
    namespace.early.want_alone(net, arrival.family);
    let Some(mut skb) = skb.take(head.offset) else {
        return Ok(());
    };
    if let Err(why) = sock.check(&mut skb, arrival.family) {
        skb.drop_for(why);
        return Ok(());
    }
    let cx = context(namespace.sysctls.config_under(rcu));
    if !admission::note_syn(namespace, sock, listening, &head.key, cx.now) {
        namespace.counters.count(Counter::ListenDrops);
        listening.floods.count(Decision::Dropped, Bound::Rate);
        skb.drop_for(DropReason::ListenOverflow);
        return Ok(());
    }
    admission::note_cookie(namespace, sock, listening, shortage, cx.now);
    listening.floods.count(Decision::Cookie, Bound::SynQueue);
    listener::send_cookie(
        namespace,
        (sock, listening),
        &head.key,
        &cx,
        (&segment, Some(skb)),
        (&route, &|_| Signer::None),
    );
    Ok(())
}

/// Whether the packet is a SYN and nothing else, between addresses of hosts: no data, nothing behind it.
fn is_plain(head: &Head, packet: &[u8]) -> bool {
    let others = Flags::ACK.union(Flags::RST).union(Flags::FIN);
    let Some(tcp) = packet.get(head.offset as usize..) else {
        return false;
    };
    // With data, what is behind the header would be lost.
    !head.glance.flags.intersects(others)
        && Header::data_offset(tcp).is_ok_and(|len| len == tcp.len())
        && !head.is_odd()
}

/// The segment, if nothing but the header's checksum needs a look at.
fn segment_of(head: &Head, packet: &[u8]) -> Option<Segment> {
    let tcp = packet.get(head.offset as usize..)?;
    // A signature, of whatever kind, is to be looked at.
    let unsigned = match tcp.get(MIN_HEADER_LEN..)? {
        // As Linux and the BSDs, or floods, have it.
        [] | [2, 4, _, _] | [2, 4, _, _, 4, 2, 8, 10, _, _, _, _, _, _, _, _, 1, 3, 3, _] => true,
        options => matches!(Signed::find(options), Ok(None)),
    };
    unsigned.then_some(Segment {
        header: Header::parse(tcp).ok()?,
        payload_len: 0,
        ecn: Ecn::from_bits(head.ds_field),
    })
}

/// IPv4's 0.0.0.0/8, 127.0.0.0/8, and from 224.0.0.0 on; of IPv6 ::/8, in which are what is unspecified and loopback, fe80::/10, multicast.
pub(crate) fn is_odd(end: &Endpoint) -> bool {
    match end.v4() {
        // IP lets nobody in with such an address in IPv6.
        Some([first, ..]) => matches!(first, 0 | 127 | 224..),
        None => matches!(end.ip[0], 0 | 0xff) || output::is_link_local(&end.ip),
    }
}
