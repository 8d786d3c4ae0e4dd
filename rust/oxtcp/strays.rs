// SPDX-License-Identifier: GPL-2.0

//! Segments to a listener's port that belong to no connection, dealt with before they are routed: of connections that are gone, or of a flood.
//!
//! They are the built-in TCP's to answer, for it may have a connection of its own there (see `find_owner` in [`input`](crate::input)). Where it has none,
//! and nobody else has a say, it would drop a RST, and answer an ACK with a reset. That much is done here, in the packet that the segment came in. What
//! does not fit falls back, as SYNs do ([`fast_syns`](crate::fast_syns) has the table of it; a class and the settings there do not matter here).
//! Here there is more:
//!
//! | what makes a segment fall back | why |
//! |---|---|
//! | a connection of the built-in TCP's, in whatever state | it is that one's |
//! | a cookie that is good | it is the listener's |
//! | but for RSTs: a signature; a header that is not whole; a wrong sum | more to look at |
//! | neither ACK nor RST | it is the listener's |

use kernel::prelude::*;
use kernel::sync::rcu;

use oxtcp_engine::reply;
use oxtcp_engine::wire::{Ecn, Flags, Header, Signed, MIN_HEADER_LEN};
use oxtcp_engine::{Segment, Transmit};

use crate::counters::Counter;
use crate::early::{Head, ECN_MASK};
use crate::input::{self, find_listener, Arrival};
use crate::namespace::Namespace;
use crate::output;
use crate::protocol::Socket;
use crate::signing::Signer;
use crate::sys::drop_reason::DropReason;
use crate::sys::early::Unrouted;
use crate::sys::net::Net;
use crate::sys::route::{Manner, Route};
use crate::sys::skb::SkBuff;
use crate::trace::{self, Cause};

/// A segment came whose flow is in no table of ours, and that is on its way to be routed. Softirq context.
pub(crate) fn segment<'r>(
    (net, namespace): (&'r Net, &Namespace),
    head: &Head,
    mut skb: SkBuff<Unrouted<'r>>,
    arrival: Arrival,
    rcu: &rcu::Guard,
) -> Result<(), SkBuff<Unrouted<'r>>> {
    let flags = head.glance.flags;
    if !flags.intersects(Flags::ACK.union(Flags::RST))
        || namespace.sysctls.fast_resets() == 0
        || trace::watches_listeners()
        || !skb.is_for_us_alone(net, arrival.family, &head.key.local().ip)
    {
        return Err(skb);
    }
    let Some(listener) = find_listener(namespace, &head.key, arrival, rcu) else {
        return Err(skb);
    };
    if !is_nobodys(net, &listener, head, &skb, arrival) {
        return Err(skb);
    }
    let answer = match answer_to(head, skb.linear()) {
        None if flags.rst() => None,
        None => return Err(skb),
        Some(reset) => {
            // The class is the segment's, as of the built-in TCP's resets.
            let manner = Manner {
                mark: listener.mark(),
                tos: head.ds_field & !ECN_MASK,
            };
            let flow = output::flow_of(&head.key, listener.bound_dev(), manner);
            // What is wrong with it the others count.
            let route = match Route::back(net, &skb, flow) {
                Some(route) if !skb.tcp_checksum_is_bad(head.offset, arrival.family) => route,
                _ => return Err(skb),
            };
            if input::brings_cookie(namespace, &listener, &head.key, head.glance) {
                return Err(skb);
            }
            Some((reset, route))
        }
    };
    // From here on the packet is ours.
    namespace.early.want_alone(net, arrival.family);
    namespace.counters.count(Counter::StraysFast);
    let Some(mut skb) = skb.take(head.offset) else {
        return Ok(());
    };
    let checked = listener.check(&mut skb, arrival.family);
    let answer = match checked {
        Ok(()) => answer.filter(|_| namespace.may_reset(&head.key)),
        Err(_) => None,
    };
    match answer {
        // One that cannot be sent is one that was lost.
        Some((reset, route)) => {
            let (packet, signer) = (Some(skb), Signer::None);
            let _ = output::reply_in(
                namespace,
                packet,
                &route,
                &head.key,
                reset,
                Cause::Reset,
                signer,
            );
        }
        None => skb.drop_for(checked.err().unwrap_or(DropReason::NoSocket)),
    }
    Ok(())
}

/// Whether the listener has no say in the packet's answer, and the built-in TCP does not know its flow either.
fn is_nobodys(
    net: &Net,
    listener: &Socket,
    head: &Head,
    skb: &SkBuff<Unrouted<'_>>,
    arrival: Arrival,
) -> bool {
    listener.shared().keys.is_empty()
        // By its device alone there is always a way back, of which rp_filter knows nothing.
        && listener.bound_dev() == 0
        && !head.is_odd()
        && !skb.is_builtin(net, arrival.family, &head.key)
}

/// The reset that the segment is due, if it is one that is answered, and nothing but its flags and numbers needs a look at.
fn answer_to(head: &Head, packet: &[u8]) -> Option<Transmit> {
    let tcp = packet.get(head.offset as usize..)?;
    let header_len = Header::data_offset(tcp).ok()?;
    let unsigned = match tcp.get(MIN_HEADER_LEN..header_len)? {
        // As most stacks, or floods, have it.
        [] | [1, 1, 8, 10, ..] if header_len <= MIN_HEADER_LEN + 12 => true,
        options => matches!(Signed::find(options), Ok(None)),
    };
    if !unsigned {
        return None;
    }
    let header = Header {
        seq: head.glance.seq,
        ack: head.glance.ack,
        flags: head.glance.flags,
        ..Header::default()
    };
    // With ACK the answer is of its number alone.
    reply::closed(&Segment {
        header,
        payload_len: 0,
        ecn: Ecn::NotEct,
    })
}
