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
use crate::flood::Queue;
use crate::input::{find_listener, Arrival};
use crate::listener;
use crate::listening::{self, Listening};
use crate::namespace::{context, Namespace};
use crate::output;
use crate::protocol::{Socket, Tcp};
use crate::signing::Signer;
use crate::sys::drop_reason::DropReason;
use crate::sys::early::{BeforeRouting, Unrouted};
use crate::sys::net::Net;
use crate::sys::netfilter::Family;
use crate::sys::route::Route;
use crate::sys::skb::SkBuff;
use crate::sys::table::{Endpoint, FlowKey};
use crate::trace;

/// A SYN that could be answered, as far as the packet itself tells.
struct Syn {
    key: FlowKey,
    /// The octet of the IP header with the ECN field.
    ds_field: u8,
    /// Where the TCP header begins.
    offset: u32,
}

impl BeforeRouting for Tcp {
    fn before_routing<'r>(
        net: &'r Net,
        family: Family,
        skb: SkBuff<Unrouted<'r>>,
    ) -> Result<(), SkBuff<Unrouted<'r>>> {
        let Some(syn) = Syn::of(skb.linear(), family) else {
            return Err(skb);
        };
        let rcu = rcu::read_lock();
        let Some(namespace) = net.get::<Namespace>(&rcu) else {
            return Err(skb);
        };
        let arrival = Arrival {
            ifindex: skb.device(),
            family,
        };
        let Some(sock) = find_listener(namespace, &syn.key, arrival, &rcu) else {
            return Err(skb);
        };
        let Some(listening) = listening::of(&sock) else {
            return Err(skb);
        };
        let Some(shortage) = admission::cookie_is_due(namespace, listening, &syn.key) else {
            return Err(skb);
        };
        // A flow that is known already.
        if namespace.table.lookup(&syn.key, &rcu).is_some() {
            return Err(skb);
        }
        let answered = answer(
            (net, namespace),
            (&sock, listening),
            (&syn, skb),
            arrival,
            shortage,
            &rcu,
        );
        let counter = match &answered {
            Ok(()) => Counter::SyncookiesFast,
            Err(_) => Counter::SyncookiesFellBack,
        };
        namespace.counters.count(counter);
        answered
    }
}

/// Answers a SYN that a cookie is due to, or lets it fall back. Softirq context.
fn answer<'r>(
    (net, namespace): (&'r Net, &Namespace),
    (sock, listening): (&Socket, &Listening),
    (syn, mut skb): (&Syn, SkBuff<Unrouted<'r>>),
    arrival: Arrival,
    shortage: Option<Queue>,
    rcu: &rcu::Guard,
) -> Result<(), SkBuff<Unrouted<'r>>> {
    if namespace.sysctls.fast_syncookies() == 0
        || trace::watches_listeners()
        || !sock.shared().keys.is_empty()
        // By its device alone there is always a way back, of which rp_filter knows nothing.
        || sock.bound_dev() != 0
        || !skb.is_for_us_alone(net, arrival.family, &syn.key.local().ip)
    {
        return Err(skb);
    }
    let Some(segment) = syn.segment(skb.linear()) else {
        return Err(skb);
    };
    let flow = output::flow_of(&syn.key, sock.bound_dev(), sock.mark());
    let Some(route) = Route::back(net, &skb, flow) else {
        return Err(skb);
    };
    // What is wrong with it the others count.
    if skb.tcp_checksum_is_bad(syn.offset, arrival.family) {
        return Err(skb);
    }
    // From here on the packet is ours.
    namespace.early.want(net, arrival.family);
    let Some(mut skb) = skb.take(syn.offset) else {
        return Ok(());
    };
    if let Err(why) = sock.check(&mut skb, arrival.family) {
        skb.drop_for(why);
        return Ok(());
    }
    let cx = context(namespace.sysctls.config_under(rcu));
    if !admission::note_syn(namespace, sock, listening, &syn.key, cx.now) {
        namespace.counters.count(Counter::ListenDrops);
        skb.drop_for(DropReason::ListenOverflow);
        return Ok(());
    }
    admission::note_cookie(namespace, sock, listening, shortage, cx.now);
    listener::send_cookie(
        namespace,
        (sock, listening),
        &syn.key,
        &cx,
        (&segment, Some(skb)),
        (&route, &|_| Signer::None),
    );
    Ok(())
}

impl Syn {
    /// What the packet says, if it is a SYN and nothing else: no options of IP, no fragment, no data, nothing behind it.
    fn of(packet: &[u8], family: Family) -> Option<Self> {
        const TCP: u8 = 6;
        let (ends, ds_field, offset) = match family {
            Family::V4 => {
                let ip: &[u8; 20] = packet.first_chunk()?;
                let &[version, ds_field, _, _, _, _, fragment, rest, _, protocol, ..] = ip;
                let whole = fragment & 0x3f == 0 && rest == 0;
                if version != 0x45 || protocol != TCP || !whole {
                    return None;
                }
                let remote: [u8; 4] = *ip.get(12..)?.first_chunk()?;
                let local: [u8; 4] = *ip.get(16..)?.first_chunk()?;
                if is_odd_v4(remote) || is_odd_v4(local) {
                    return None;
                }
                let ends = (Endpoint::mapped(local), Endpoint::mapped(remote));
                (ends, ds_field, 20)
            }
            Family::V6 => {
                let ip: &[u8; 40] = packet.first_chunk()?;
                let &[first, second, _, _, _, _, protocol, ..] = ip;
                if protocol != TCP {
                    return None;
                }
                let remote: [u8; 16] = *ip.get(8..)?.first_chunk()?;
                let local: [u8; 16] = *ip.get(24..)?.first_chunk()?;
                if is_odd_v6(&remote) || is_odd_v6(&local) {
                    return None;
                }
                ((local, remote), first << 4 | second >> 4, 40)
            }
        };
        let tcp = packet.get(offset..)?;
        let fixed: &[u8; MIN_HEADER_LEN] = tcp.first_chunk()?;
        let &[r0, r1, l0, l1, _, _, _, _, _, _, _, _, _, flags, ..] = fixed;
        let flags = Flags::from_bits(flags);
        let others = Flags::ACK.union(Flags::RST).union(Flags::FIN);
        // With data, what is behind the header would be lost.
        if !flags.syn() || flags.intersects(others) || Header::data_offset(fixed).ok()? != tcp.len()
        {
            return None;
        }
        let end = |ip, port| Endpoint {
            ip,
            port: u16::from_be_bytes(port),
        };
        let (local, remote) = ends;
        Some(Self {
            key: FlowKey::new(end(local, [l0, l1]), end(remote, [r0, r1])),
            ds_field,
            offset: offset as u32,
        })
    }

    /// The segment, if nothing but the header's checksum needs a look at.
    fn segment(&self, packet: &[u8]) -> Option<Segment> {
        let tcp = packet.get(self.offset as usize..)?;
        // A signature, of whatever kind, is to be looked at.
        let unsigned = match tcp.get(MIN_HEADER_LEN..)? {
            // As Linux and the BSDs, or floods, have it.
            [] | [2, 4, _, _] | [2, 4, _, _, 4, 2, 8, 10, _, _, _, _, _, _, _, _, 1, 3, 3, _] => {
                true
            }
            options => matches!(Signed::find(options), Ok(None)),
        };
        unsigned.then_some(Segment {
            header: Header::parse(tcp).ok()?,
            payload_len: 0,
            ecn: Ecn::from_bits(self.ds_field),
        })
    }
}

/// 0.0.0.0/8, 127.0.0.0/8, and from 224.0.0.0 on.
fn is_odd_v4([first, ..]: [u8; 4]) -> bool {
    matches!(first, 0 | 127 | 224..)
}

/// ::/8, in which are what is unspecified, loopback and IPv4's; fe80::/10, multicast.
fn is_odd_v6(ip: &[u8; 16]) -> bool {
    matches!(ip[0], 0 | 0xff) || output::is_link_local(ip)
}
