// SPDX-License-Identifier: GPL-2.0

//! Packets before they are routed, behind all others that look at them there: whose are they?
//!
//! The hook stands while there are connections with other hosts, or a listener sends cookies. What it knows is dealt with at once, without
//! routing and the way to LOCAL_IN; everything else goes on untouched, and comes to [`input`](crate::input) if it is ours.
//!
//! | packet | |
//! |---|---|
//! | a SYN | [`fast_cookies`](crate::fast_cookies) |
//! | to a listener's port, of no connection | [`strays`](crate::strays) |
//! | of a connection, by the interface that the one before it came by | gets that one's route, if it is still good. If nobody stands before us at LOCAL_IN, it is taken here |
//!
//! Softirq context, or process context with BH on or off, under RCU.

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::rcu;

use oxtcp_engine::wire::MIN_HEADER_LEN;

use crate::counters::Counter;
use crate::fast_cookies;
use crate::input::{self, Arrival, Front, Glance};
use crate::namespace::Namespace;
use crate::output::scoped_flow;
use crate::protocol::{Socket, Tcp};
use crate::strays;
use crate::sys::early::{BeforeRouting, Unrouted};
use crate::sys::net::Net;
use crate::sys::netfilter::Family;
use crate::sys::skb::SkBuff;
use crate::sys::table::{FlowKey, Found};

/// What the headers of a packet say, if nothing stands between IP's and TCP's, and it is no fragment.
pub(crate) struct Head {
    pub(crate) key: FlowKey,
    /// The octet of the IP header with the ECN field.
    pub(crate) ds_field: u8,
    /// Where the TCP header begins.
    pub(crate) offset: u32,
    pub(crate) glance: Glance,
}

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
                let ip: &[u8; 20] = packet.first_chunk()?;
                let is_whole = ip[6] & 0x3f == 0 && ip[7] == 0;
                if ip[0] != 0x45 || ip[9] != TCP || !is_whole {
                    return None;
                }
                20
            }
            Family::V6 => {
                let ip: &[u8; 40] = packet.first_chunk()?;
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

    fn head(&self) -> Option<Head> {
        let [first, second] = *self.packet.first_chunk()?;
        Some(Head {
            key: input::key_of(self.packet, self.front, self.family)?,
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
    fn before_routing<'r>(
        net: &'r Net,
        family: Family,
        skb: SkBuff<Unrouted<'r>>,
    ) -> Result<(), SkBuff<Unrouted<'r>>> {
        if skb.has_route() {
            return Err(skb);
        }
        let Some(headers) = Headers::of(skb.linear(), family) else {
            return Err(skb);
        };
        let rcu = rcu::read_lock();
        let Some(namespace) = net.get::<Namespace>(&rcu) else {
            return Err(skb);
        };
        // As most packets of others: no more than a glance.
        if !namespace.ports.may_hold(input::local_port(headers.front)) {
            return Err(skb);
        }
        let Some(head) = headers.head() else {
            return Err(skb);
        };
        let arrival = Arrival {
            ifindex: skb.device(),
            family,
        };
        if head.glance.is_syn() {
            return fast_cookies::syn((net, namespace), &head, skb, arrival, &rcu);
        }
        let key = scoped_flow(head.key, family, arrival.ifindex);
        match namespace.table.lookup(&key, &rcu) {
            Some(Found::Sock(sock)) => {
                of_connection((net, namespace), sock, (&head, &key), skb, arrival, &rcu)
            }
            Some(_) => Err(skb),
            None => strays::segment((net, namespace), &head, skb, arrival, &rcu),
        }
    }
}

/// A segment of a connection's.
fn of_connection<'r>(
    (net, namespace): (&'r Net, &Namespace),
    sock: ARef<Socket>,
    (head, key): (&Head, &FlowKey),
    mut skb: SkBuff<Unrouted<'r>>,
    arrival: Arrival,
    rcu: &rcu::Guard,
) -> Result<(), SkBuff<Unrouted<'r>>> {
    if !input::may_hear(&sock, arrival)
        || !skb.set_route(net, &sock, arrival.family)
        || !skb.is_first_in::<Tcp>(net, arrival.family)
    {
        return Err(skb);
    }
    namespace.counters.count(Counter::EarlyDemux);
    namespace.early.want();
    // From here on the packet is ours.
    if let Some(skb) = skb.take(head.offset) {
        input::receive((net, namespace), &sock, skb, key, arrival.family, rcu);
    }
    Ok(())
}
