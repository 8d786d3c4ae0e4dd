// SPDX-License-Identifier: GPL-2.0

//! Packets before they are routed, behind all others that look at them there: whose are they?
//!
//! The hook stands while there are connections with other hosts, half-open ones too, or a listener sends cookies. What it knows is dealt with at once, without
//! routing and the way to LOCAL_IN; everything else goes on untouched, and comes to [`input`](crate::input) if it is ours.
//!
//! | packet | |
//! |---|---|
//! | a SYN, of no connection | [`fast_syns`](crate::fast_syns) |
//! | to a listener's port, of no connection | [`strays`](crate::strays) |
//! | of a half-open connection or a TIME-WAIT, that nobody else looks at, and that came the way back | is taken here |
//! | of a connection, by the interface that the one before it came by | gets that one's route, if it is still good. If nobody stands before us at LOCAL_IN, it is taken here |
//!
//! Softirq context, or process context with BH on or off, under RCU.

use kernel::prelude::*;
use kernel::sync::rcu;

use oxtcp_engine::wire::MIN_HEADER_LEN;

use crate::counters::Counter;
use crate::fast_syns;
use crate::input::{self, Arrival, Front, Glance};
use crate::namespace::Namespace;
use crate::output::{self, is_link_local, scoped_flow};
use crate::protocol::{Socket, Tcp};
use crate::strays;
use crate::sys::early::{BeforeRouting, Unrouted};
use crate::sys::net::Net;
use crate::sys::netfilter::Family;
use crate::sys::route::{Manner, Route};
use crate::sys::skb::SkBuff;
use crate::sys::table::{self, FlowKey, Found};
use crate::trace;

/// What the headers of a packet say, if nothing stands between IP's and TCP's, and it is no fragment.
pub(crate) struct Head {
    pub(crate) key: FlowKey,
    /// The octet of the IP header with the ECN field.
    pub(crate) ds_field: u8,
    /// Where the TCP header begins.
    pub(crate) offset: u32,
    pub(crate) glance: Glance,
}

impl Head {
    /// Whether an end is none of an ordinary host's: routing knows more of those.
    pub(crate) fn is_odd(&self) -> bool {
        fast_syns::is_odd(&self.key.local()) || fast_syns::is_odd(&self.key.remote())
    }

    /// Whether on its way through routing nobody is to see the packet, and nothing could be said of it but that it is for us.
    pub(crate) fn is_only_for_us(
        &self,
        net: &Net,
        skb: &SkBuff<Unrouted<'_>>,
        family: Family,
    ) -> bool {
        !trace::watches_listeners()
            && !self.is_odd()
            // With a class it could be routed otherwise than its answer.
            && self.ds_field & !ECN_MASK == 0
            && skb.is_for_us_alone(net, family, &self.key.local().ip)
    }
}

/// The bits of the DS field that are ECN's (RFC 3168 section 5).
pub(crate) const ECN_MASK: u8 = 3;

/// A packet of TCP: its network header and the front of TCP's.
struct Headers<'p> {
    packet: &'p [u8],
    front: &'p Front,
    offset: u32,
    family: Family,
}

impl<'p> Headers<'p> {
    /// `packet` is what is linear of it, from the network header on.
    #[inline]
    fn of(packet: &'p [u8], family: Family) -> Option<Self> {
        const TCP: u8 = 6;
        let offset = match family {
            Family::V4 => {
                // With the fixed part of TCP's.
                let ip: &[u8; 20 + MIN_HEADER_LEN] = packet.first_chunk()?;
                let is_whole = u16::from_be_bytes([ip[6], ip[7]]) & 0x3fff == 0;
                if ip[0] != 0x45 || ip[9] != TCP || !is_whole {
                    return None;
                }
                20
            }
            Family::V6 => {
                let ip: &[u8; 40 + MIN_HEADER_LEN] = packet.first_chunk()?;
                if ip[6] != TCP {
                    return None;
                }
                40
            }
        };
        let fixed: &[u8; MIN_HEADER_LEN] = packet.get(offset..)?.first_chunk()?;
        Some(Self {
            packet,
            front: fixed.first_chunk()?,
            offset: offset as u32,
            family,
        })
    }

    /// With the flow that it is of.
    #[inline]
    fn head(&self, key: &FlowKey) -> Option<Head> {
        let [first, second] = *self.packet.first_chunk()?;
        Some(Head {
            key: *key,
            ds_field: match self.family {
                Family::V4 => second,
                Family::V6 => first << 4 | second >> 4,
            },
            offset: self.offset,
            glance: Glance::of(self.front),
        })
    }
}

impl BeforeRouting for Tcp {
    type PerNet = Namespace;

    // In each family's hook, which knows the family.
    #[inline(always)]
    fn before_routing<'r>(
        (net, namespace): (&'r Net, &'r Namespace),
        family: Family,
        skb: SkBuff<Unrouted<'r>>,
        rcu: &'r rcu::Guard,
    ) -> Result<(), SkBuff<Unrouted<'r>>> {
        if skb.has_route() {
            return Err(skb);
        }
        let Some(headers) = Headers::of(skb.linear(), family) else {
            return Err(skb);
        };
        // As most packets of others: no more than a glance.
        if !namespace.ports.may_hold(input::local_port(headers.front)) {
            return Err(skb);
        }
        let bare = input::key_of(headers.packet, headers.front, family);
        let Some(bare) = bare else {
            return Err(skb);
        };
        let scoped;
        // Nearly always it is the table's as it is.
        let key = match family == Family::V6 && is_scoped(&bare) {
            true => {
                scoped = scoped_flow(bare, family, skb.device());
                &scoped
            }
            false => &bare,
        };
        let found = namespace.table.lookup(key, rcu);
        if let Some(Found::Sock(sock)) = &found {
            let offset = headers.offset;
            return of_connection((net, namespace), sock, (key, offset), skb, family, rcu);
        }
        let Some(head) = headers.head(&bare) else {
            return Err(skb);
        };
        match found {
            Some(Found::Mini(mini)) => of_mini((net, namespace), mini, &head, skb, family, rcu),
            Some(_) => Err(skb),
            None => of_nobody((net, namespace), &head, skb, family, rcu),
        }
    }
}

/// Whether the table knows the flow by the interface that its packets come in by, too.
#[inline]
fn is_scoped(key: &FlowKey) -> bool {
    is_link_local(&key.local().ip) || is_link_local(&key.remote().ip)
}

/// A segment of a connection's.
#[inline(always)]
fn of_connection<'r>(
    (net, namespace): (&'r Net, &Namespace),
    sock: &Socket,
    (key, offset): (&FlowKey, u32),
    mut skb: SkBuff<Unrouted<'r>>,
    family: Family,
    rcu: &rcu::Guard,
) -> Result<(), SkBuff<Unrouted<'r>>> {
    let arrival = Arrival {
        ifindex: skb.device(),
        family,
    };
    if !input::may_hear(sock, arrival) || !skb.set_route(sock, family) {
        return Err(skb);
    }
    namespace.counters.count(Counter::EarlyDemux);
    namespace.early.want();
    // From here on the packet is ours.
    if let Some(skb) = skb.take(offset) {
        input::receive((net, namespace), sock, skb, key, family, rcu);
    }
    Ok(())
}

/// A segment of a half-open connection or a TIME-WAIT, which nobody has kept a route for: is there anything that routing would say against it?
#[inline(never)]
fn of_mini<'r>(
    (net, namespace): (&'r Net, &'r Namespace),
    mini: &'r table::Mini<Tcp>,
    head: &Head,
    skb: SkBuff<Unrouted<'r>>,
    family: Family,
    rcu: &'r rcu::Guard,
) -> Result<(), SkBuff<Unrouted<'r>>> {
    if !net.demuxes_early() || !head.is_only_for_us(net, &skb, family) {
        return Err(skb);
    }
    let flow = output::flow_of(&head.key, 0, Manner::default());
    let Some(route) = Route::back(net, &skb, flow) else {
        return Err(skb);
    };
    let arrival = Arrival {
        ifindex: skb.device(),
        family,
    };
    input::receive_for_mini((net, namespace), mini, head, skb, arrival, &route, rcu)
}

/// A SYN, or a segment whose flow is in no table of ours.
#[inline(never)]
fn of_nobody<'r>(
    at: (&'r Net, &'r Namespace),
    head: &Head,
    skb: SkBuff<Unrouted<'r>>,
    family: Family,
    rcu: &'r rcu::Guard,
) -> Result<(), SkBuff<Unrouted<'r>>> {
    let arrival = Arrival {
        ifindex: skb.device(),
        family,
    };
    match head.glance.is_syn() {
        true => fast_syns::syn(at, head, skb, arrival, rcu),
        false => strays::segment(at, head, skb, arrival, rcu),
    }
}
