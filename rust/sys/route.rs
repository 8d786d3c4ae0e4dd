// SPDX-License-Identifier: GPL-2.0

//! Routes, and packets on their way out.

use core::num::NonZeroU32;
use core::ptr::NonNull;

use kernel::error::{from_err_ptr, to_result};
use kernel::prelude::*;
use kernel::sync::rcu;

use super::bindings;
use super::early::Unrouted;
use super::errno::{eafnosupport, ehostunreach, enetunreach, enobufs};
use super::net::Net;
use super::netfilter::{ipv6_is_present, Family};
use super::proto::Protocol;
use super::skb::{CameIn, Outgoing, SkBuff};
use super::sock::Locked;
use super::table::Endpoint;

/// What a route says to a transport protocol.
#[derive(Clone, Copy)]
pub(crate) struct RouteInfo {
    /// Largest packet, IP header included, in bytes.
    pub(crate) mtu: u32,
    /// Largest segment to ask the peer for, in payload bytes.
    pub(crate) advmss: u32,
}

/// The ends of a packet that belongs to no socket, and what its routing looks at.
#[derive(Clone, Copy)]
pub(crate) struct Flow {
    pub(crate) family: Family,
    pub(crate) local: Endpoint,
    pub(crate) remote: Endpoint,
    /// The interface that it must leave by, 0 for any.
    pub(crate) oif: i32,
    pub(crate) manner: Manner,
}

/// What a listener sets for the packets of its connections, before there are any.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Manner {
    /// `SO_MARK`.
    pub(crate) mark: u32,
    /// `IP_TOS`, or `IPV6_TCLASS` for packets of IPv6.
    pub(crate) tos: u8,
}

/// A route, with a reference on it.
///
/// # Invariants
///
/// `dst` is valid, of `net` and of the family of `flow`, and this owns a reference on it; or, if it is `borrowed`, RCU keeps it for `'n`.
pub(crate) struct Route<'n> {
    dst: NonNull<bindings::dst_entry>,
    borrowed: bool,
    flow: Flow,
    net: &'n Net,
}

impl Flow {
    /// As C has it.
    fn for_routing(&self) -> bindings::flowi {
        // SAFETY: All-zero is a valid flowi.
        let mut fl: bindings::flowi = unsafe { core::mem::zeroed() };
        let (dport, sport) = (self.remote.port.to_be(), self.local.port.to_be());
        let Manner { mark, tos } = self.manner;
        // SAFETY: The flow is a local; addresses are of the right size.
        unsafe {
            if self.family == Family::V6 {
                bindings::oxtcp_helper_flowi6_init(
                    &mut fl.u.ip6,
                    self.oif,
                    mark,
                    tos,
                    &in6(self.remote.ip),
                    &in6(self.local.ip),
                    dport,
                    sport,
                );
            } else {
                bindings::oxtcp_helper_flowi4_init(
                    &mut fl.u.ip4,
                    self.oif,
                    mark,
                    tos,
                    in4(self.remote.ip),
                    in4(self.local.ip),
                    dport,
                    sport,
                );
            }
        }
        fl
    }
}

impl<'n> Route<'n> {
    /// Looks the route up. Any context.
    ///
    /// # Errors
    ///
    /// The routing error: EHOSTUNREACH, ENETUNREACH ...; EAFNOSUPPORT for IPv6 where the kernel was booted without it.
    pub(crate) fn lookup(net: &'n Net, flow: Flow) -> Result<Self> {
        let mut fl = flow.for_routing();
        let v6 = flow.family == Family::V6;
        if v6 && !ipv6_is_present() {
            return Err(eafnosupport());
        }
        // SAFETY: The flow is a local, and the namespace has what its family is routed by.
        let dst = unsafe {
            bindings::oxtcp_helper_route_flow(net.as_ptr().cast(), core::ptr::null(), v6, &mut fl)
        };
        let dst = NonNull::new(from_err_ptr(dst)?).ok_or(ehostunreach())?;
        // INVARIANT: The look-up gave a reference, for the namespace and the family asked.
        Ok(Self {
            dst,
            borrowed: false,
            flow,
            net,
        })
    }

    /// The route back of a packet that came in, if that is a plain one (`oxtcp_helper_early_route_v4()`), or else if it [leads
    /// back](Self::leads_back). To be asked for what [is for us alone](SkBuff::is_for_us_alone).
    pub(crate) fn back(net: &'n Net, skb: &SkBuff<Unrouted<'n>>, flow: Flow) -> Option<Self> {
        let ends = match flow.family {
            Family::V4 => flow.remote.v4().zip(flow.local.v4()),
            Family::V6 => None,
        };
        if let Some((remote, local)) = ends {
            // SAFETY: Both are valid; RCU is read-locked for `'n`.
            let dst = unsafe {
                bindings::oxtcp_helper_early_route_v4(
                    net.as_ptr(),
                    skb.as_ptr(),
                    u32::from_ne_bytes(remote),
                    u32::from_ne_bytes(local),
                    flow.oif,
                    flow.manner.mark,
                    flow.manner.tos,
                )
            };
            if let Some(dst) = NonNull::new(dst) {
                // INVARIANT: RCU keeps what was found, which is of that namespace and IPv4, as the flow is.
                return Some(Self {
                    dst,
                    borrowed: true,
                    flow,
                    net,
                });
            }
        }
        let route = Self::lookup(net, flow).ok()?;
        route.leads_back(skb).then_some(route)
    }

    /// Largest segment to ask the peer for, in payload bytes.
    pub(crate) fn advmss(&self) -> u32 {
        // SAFETY: Valid by the invariant.
        unsafe { bindings::oxtcp_helper_dst_advmss(self.dst.as_ptr()) }
    }

    /// Whether it was looked up by that interface, and in that manner.
    pub(crate) fn is_of(&self, oif: i32, manner: Manner) -> bool {
        self.flow.oif == oif && self.flow.manner == manner
    }

    /// Gives the route to a socket whose ends are the route's, as [`route_socket`] does, if it would find no other; what the route says.
    pub(crate) fn give_to<P: Protocol>(&self, sk: &mut Locked<'_, P>) -> Option<RouteInfo> {
        let family = self.flow.family;
        // A route is freed by its namespace, which a socket keeps: its own.
        if sk.wire_family() != family || !core::ptr::eq(self.net, sk.sock().net()) {
            return None;
        }
        let Manner { mark, tos } = self.flow.manner;
        let _rcu = rcu::read_lock();
        // SAFETY: The socket is valid and locked, the route valid and of the socket's namespace and family, which is IPv6 for IPv6 sockets alone;
        // RCU is read-locked.
        unsafe {
            let raw = sk.as_ptr();
            (*raw).sk_gso_type = gso_type(family);
            bindings::oxtcp_helper_sk_take_route(
                raw,
                self.dst.as_ptr(),
                family == Family::V6,
                self.flow.oif,
                mark,
                tos,
            )
            .then(|| info_of(self.dst.as_ptr()))
        }
    }

    /// The namespace that it was looked up in.
    pub(crate) fn net(&self) -> &'n Net {
        self.net
    }

    /// Whether packets leave by the interface that `skb` came in by, for another host, as they are.
    fn leads_back(&self, skb: &SkBuff<Unrouted<'_>>) -> bool {
        let v6 = self.flow.family == Family::V6;
        // SAFETY: The route is valid, and of the family; so is the packet, with a device, and RCU is read-locked.
        unsafe { bindings::oxtcp_helper_early_leads_back(self.dst.as_ptr(), skb.as_ptr(), v6) }
    }

    /// Makes an empty packet to send this way of one that came in and is not needed any more; `None` if it cannot be: others share it, or it is too
    /// small.
    pub(crate) fn recycle<S: CameIn>(&self, skb: SkBuff<S>) -> Option<SkBuff<Outgoing>> {
        let _rcu = rcu::read_lock();
        // SAFETY: The route is valid, and RCU is read-locked, which keeps the device.
        unsafe {
            let device = bindings::oxtcp_helper_dst_device(self.dst.as_ptr());
            skb.recycle(device)
        }
    }

    /// Sends a packet that begins with its TCP header (with options, no payload). `hash` is what a packet of IPv6 has for one, and its flow label is
    /// made of: that of the flow's socket, when there is one. Any context.
    ///
    /// # Errors
    ///
    /// EINVAL for one that does not, ENOBUFS, and what the layers below say.
    pub(crate) fn send(&self, mut skb: SkBuff<Outgoing>, hash: Option<NonZeroU32>) -> Result {
        let v6 = self.flow.family == Family::V6;
        if !skb.mark_tcp_header() {
            return Err(EINVAL);
        }
        // SAFETY: The packet is ours and has a TCP header, the route is valid.
        let hops = unsafe {
            if v6 {
                bindings::oxtcp_helper_skb_csum_v6(
                    skb.as_ptr(),
                    &in6(self.flow.local.ip),
                    &in6(self.flow.remote.ip),
                );
            } else {
                bindings::oxtcp_helper_skb_csum_v4(
                    skb.as_ptr(),
                    in4(self.flow.local.ip),
                    in4(self.flow.remote.ip),
                );
            }
            bindings::oxtcp_helper_dst_hoplimit(self.dst.as_ptr(), v6)
        };
        let pushed = if v6 {
            let len = (skb.len() as u16).to_be_bytes();
            let mut ip = [0u8; 40];
            let hash = hash.map_or(1, NonZeroU32::get);
            // SAFETY: Both are valid.
            let first = unsafe {
                bindings::oxtcp_helper_ip6_first_word(
                    self.net.as_ptr(),
                    skb.as_ptr(),
                    self.flow.manner.tos,
                    hash,
                )
            };
            ip[..4].copy_from_slice(&first.to_ne_bytes());
            ip[4..6].copy_from_slice(&len);
            ip[6] = bindings::IPPROTO_TCP as u8;
            ip[7] = hops;
            ip[8..24].copy_from_slice(&self.flow.local.ip);
            ip[24..40].copy_from_slice(&self.flow.remote.ip);
            skb.push_header(&ip)
        } else {
            let mut ip = [0u8; 20];
            ip[0] = 0x45;
            ip[1] = self.flow.manner.tos;
            // Don't fragment; length and checksum are `ip_local_out`'s.
            ip[6] = 0x40;
            ip[8] = hops;
            ip[9] = bindings::IPPROTO_TCP as u8;
            ip[12..16].copy_from_slice(&self.flow.local.ip[12..16]);
            ip[16..20].copy_from_slice(&self.flow.remote.ip[12..16]);
            skb.push_header(&ip)
        };
        if !pushed {
            return Err(enobufs());
        }
        skb.mark_network_header();
        let skb = skb.into_raw().as_ptr();
        let protocol = if v6 {
            bindings::ETH_P_IPV6
        } else {
            bindings::ETH_P_IP
        };
        // SAFETY: The packet is ours and goes to the IP layer, with a reference on the route of its
        // own, or, in its RCU section, without: who keeps the packet takes one then. There is no socket behind it.
        let err = unsafe {
            if self.borrowed {
                bindings::oxtcp_helper_skb_set_dst_noref(skb, self.dst.as_ptr());
            } else {
                bindings::oxtcp_helper_dst_hold(self.dst.as_ptr());
                bindings::oxtcp_helper_skb_set_dst(skb, self.dst.as_ptr());
            }
            bindings::oxtcp_helper_skb_set_output(
                skb,
                (protocol as u16).to_be(),
                self.flow.manner.mark,
            );
            let net = self.net.as_ptr().cast();
            if v6 {
                bindings::ip6_local_out(net, core::ptr::null_mut(), skb)
            } else {
                bindings::ip_local_out(net, core::ptr::null_mut(), skb)
            }
        };
        // What queueing disciplines say (NET_XMIT_*) is not an error of ours.
        to_result(err.min(0))
    }
}

impl Drop for Route<'_> {
    fn drop(&mut self) {
        if !self.borrowed {
            // SAFETY: The reference is ours by the invariant.
            unsafe { bindings::oxtcp_helper_dst_release(self.dst.as_ptr()) };
        }
    }
}

/// Finds the route of a socket by its ends and keeps it with the socket. Any context.
///
/// Returns what the route says, and the local address that it would use.
///
/// # Errors
///
/// The routing error; ENETUNREACH for multicast and broadcast addresses.
pub(crate) fn route_socket<P: Protocol>(sk: &mut Locked<'_, P>) -> Result<(RouteInfo, [u8; 16])> {
    let family = sk.wire_family();
    // SAFETY: Valid and locked; the route's reference goes to the socket or is given up.
    unsafe {
        let raw = sk.as_ptr();
        (*raw).sk_gso_type = gso_type(family);
        let dst = if family == Family::V6 {
            from_err_ptr(bindings::oxtcp_helper_route_sock_v6(raw))?
        } else {
            let rt = from_err_ptr(bindings::oxtcp_helper_route_sock_v4(raw))?;
            let dst: *mut bindings::dst_entry = rt.cast();
            if bindings::oxtcp_helper_route_is_cast(dst) {
                bindings::oxtcp_helper_dst_release(dst);
                return Err(enetunreach());
            }
            dst
        };
        let info = info_of(dst);
        bindings::oxtcp_helper_sk_store_dst(raw, dst, family == Family::V6);
        let local = match family {
            Family::V4 => {
                Endpoint::mapped(bindings::oxtcp_helper_sock_fl4_saddr(raw).to_ne_bytes())
            }
            Family::V6 => {
                let inet: *mut bindings::inet_sock = raw.cast();
                (*inet).cork.fl.u.ip6.saddr.in6_u.u6_addr8
            }
        };
        Ok((info, local))
    }
}

/// For IPv4, the remote address that routing made of the one asked (0.0.0.0 is loopback).
pub(crate) fn routed_v4_destination<P: Protocol>(sk: &Locked<'_, P>) -> [u8; 16] {
    // SAFETY: Valid and locked.
    Endpoint::mapped(unsafe { bindings::oxtcp_helper_sock_fl4_daddr(sk.as_ptr()) }.to_ne_bytes())
}

/// The path's MTU by the route that the socket has, `None` when the route is no longer good.
pub(crate) fn current_mtu<P: Protocol>(sk: &mut Locked<'_, P>) -> Option<u32> {
    // SAFETY: Valid and locked; the route is the socket's.
    unsafe {
        let dst = NonNull::new(bindings::oxtcp_helper_sk_dst_check(sk.as_ptr()))?;
        Some(bindings::oxtcp_helper_dst_mtu(dst.as_ptr()))
    }
}

/// Tells routing that the socket's path takes no more than `mtu` bytes: by the socket's own route, with its mark and device, as
/// an ICMP error says. Softirq context.
pub(crate) fn lower_mtu<P: Protocol>(sk: &mut Locked<'_, P>, mtu: u32) {
    // SAFETY: Valid and locked; C takes the route that the socket has, if it is still good.
    unsafe { bindings::oxtcp_helper_sk_update_pmtu(sk.as_ptr(), mtu) };
}

/// Forgets the socket's route.
pub(crate) fn reset_route<P: Protocol>(sk: &mut Locked<'_, P>) {
    // SAFETY: Valid and locked.
    unsafe { bindings::oxtcp_helper_sk_dst_reset(sk.as_ptr()) };
}

/// Forgets the routes that the socket has: to its peer, and the one that packets came in by.
pub(crate) fn forget_routes<P: Protocol>(sk: &mut Locked<'_, P>) {
    reset_route(sk);
    // SAFETY: Valid and locked.
    unsafe { bindings::oxtcp_helper_early_forget_route(sk.as_ptr()) };
}

/// The most payload bytes that one packet of the socket may carry, as a burst.
pub(crate) fn burst_limit<P: Protocol>(sk: &Locked<'_, P>) -> u32 {
    /// A 64 KB IP packet less the largest headers.
    const LARGEST: u32 = 65535 - 60 - 60;
    // SAFETY: Valid and locked.
    unsafe { (*sk.as_ptr()).sk_gso_max_size }.min(LARGEST)
}

/// By how many bits `sk_pacing_rate` is shifted for the bytes that may lie below: 10, a millisecond's, or as a driver
/// that needs more has it (`sk_pacing_shift_update()`).
pub(crate) fn pacing_shift<P: Protocol>(sk: &Locked<'_, P>) -> u32 {
    // SAFETY: Valid; a single byte.
    u32::from(unsafe { (&raw const (*sk.as_ptr()).sk_pacing_shift).read_volatile() })
}

/// Whether what a socket sends leaves with gaps, and who sees to that (`sk_pacing_status`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Pacing {
    /// Nobody.
    None,
    /// The protocol.
    Own,
    /// The queue of the device (fq), by `sk_pacing_rate`.
    Below,
}

/// See [`Pacing`]. Of `rate` bytes per second, at which the protocol would send, SO_MAX_PACING_RATE leaves what is returned; that is
/// told to the layers below.
pub(crate) fn pacing<P: Protocol>(sk: &Locked<'_, P>, rate: u64) -> (Pacing, u64) {
    // SAFETY: Valid; the queue reads and sets these without the lock, each a word (READ_ONCE(), WRITE_ONCE()).
    let (status, rate) = unsafe {
        let sk = sk.as_ptr();
        let most = (&raw const (*sk).sk_max_pacing_rate).read_volatile();
        let rate = usize::try_from(rate).unwrap_or(usize::MAX).min(most);
        if (&raw const (*sk).sk_pacing_rate).read_volatile() != rate {
            (&raw mut (*sk).sk_pacing_rate).write_volatile(rate);
        }
        (
            (&raw const (*sk).sk_pacing_status).read_volatile(),
            rate as u64,
        )
    };
    let pacing = match status {
        bindings::sk_pacing_SK_PACING_NONE => Pacing::None,
        bindings::sk_pacing_SK_PACING_FQ => Pacing::Below,
        _ => Pacing::Own,
    };
    (pacing, rate)
}

/// SO_MAX_PACING_RATE in bytes per second; `u64::MAX`: no bound.
pub(crate) fn max_pacing_rate<P: Protocol>(sk: &Locked<'_, P>) -> u64 {
    // SAFETY: Valid; a word, which setsockopt() writes without the lock (WRITE_ONCE()).
    match unsafe { (&raw const (*sk.as_ptr()).sk_max_pacing_rate).read_volatile() } {
        usize::MAX => u64::MAX,
        rate => rate as u64,
    }
}

/// The most segments that one packet of the socket may carry.
pub(crate) fn burst_segments<P: Protocol>(sk: &Locked<'_, P>) -> u32 {
    // SAFETY: Valid and locked.
    u32::from(unsafe { (*sk.as_ptr()).sk_gso_max_segs })
}

/// Whether the socket's packets, from the next one on, are ECN-capable (ECT(0)); as in Linux, bits of what IP_TOS and
/// IPV6_TCLASS tell and cannot set.
pub(crate) fn set_ecn_capable<P: Protocol>(sk: &mut Locked<'_, P>, capable: bool) {
    // SAFETY: Valid and locked.
    unsafe { bindings::oxtcp_helper_sk_set_ecn_capable(sk.as_ptr(), capable) };
}

/// What a packet is to the queues below.
#[derive(Clone, Copy)]
pub(crate) enum Load {
    /// A segment without data, which nobody waits for: hardly anything of it is charged to the socket, and no writer is woken when it has
    /// left (Linux's `skb_set_tcp_pure_ack()`).
    Bare,
    /// Any other. For so many bytes of payload the next packet is to leave a gap, where there is fq: 0 for none.
    Spaced(u32),
}

/// What the layers below said of a packet that did not simply leave.
#[derive(Clone, Copy)]
pub(crate) enum XmitError {
    /// It is queued, but the queue is close to full (NET_XMIT_CN).
    Congested,
    /// A full queue dropped it (NET_XMIT_DROP).
    Dropped,
    /// There was no memory for it (ENOMEM, ENOBUFS).
    NoMemory,
    /// No route, a device that is down, a filter ...
    Failed,
}

/// Sends a packet of the socket that begins with its TCP header; the payload is in fragments.
///
/// # Errors
///
/// What the layers below say; the packet is gone in any case, but for [`XmitError::Congested`] on its way.
pub(crate) fn transmit<P: Protocol>(
    sk: &mut Locked<'_, P>,
    mut skb: SkBuff<Outgoing>,
    load: Load,
) -> Result<(), XmitError> {
    let family = sk.wire_family();
    if !skb.mark_tcp_header() {
        return Err(XmitError::Failed);
    }
    let raw = sk.as_ptr();
    // SAFETY: Valid and locked.
    if !unsafe { bindings::oxtcp_helper_sk_dst_is_of(raw, family == Family::V6) } {
        reset_route(sk);
        return Err(XmitError::Failed);
    }
    let skb = skb.into_raw().as_ptr();
    // SAFETY: The socket is valid and locked, its route none or of the family that C takes it for. The packet is ours, with a
    // TCP header. Its memory is charged to the socket until it has left (`sock_wfree()` or `__sock_wfree()`, see small_queue.rs), and the
    // charge keeps the socket.
    let (err, prior) = unsafe {
        let prior = bindings::oxtcp_helper_skb_set_departure(skb, raw);
        match load {
            Load::Bare => bindings::oxtcp_helper_skb_set_owner_bare(skb, raw),
            Load::Spaced(_) => bindings::skb_set_owner_w(skb, raw),
        }
        bindings::oxtcp_helper_skb_tx_csum(skb, raw, family == Family::V6);
        let inet: *mut bindings::inet_sock = raw.cast();
        let fl = &raw mut (*inet).cork.fl;
        let err = match family {
            Family::V4 => bindings::ip_queue_xmit(raw, skb, fl),
            Family::V6 => bindings::inet6_csk_xmit(raw, skb, fl),
        };
        (err, prior)
    };
    match load {
        Load::Spaced(bytes) if err == 0 && bytes > 0 => {
            // SAFETY: Valid and locked.
            unsafe { bindings::oxtcp_helper_sk_departed(raw, prior, bytes) };
        }
        _ => {}
    }
    match err {
        0 => Ok(()),
        congested if congested == bindings::NET_XMIT_CN as i32 => Err(XmitError::Congested),
        1.. => Err(XmitError::Dropped),
        failed if failed == ENOMEM.to_errno() || failed == enobufs().to_errno() => {
            Err(XmitError::NoMemory)
        }
        _ => Err(XmitError::Failed),
    }
}

/// What bursts of that family are (`sk_gso_type`).
fn gso_type(family: Family) -> u16 {
    let kind = match family {
        Family::V4 => bindings::SKB_GSO_TCPV4,
        Family::V6 => bindings::SKB_GSO_TCPV6,
    };
    kind as u16
}

/// # Safety
///
/// `dst` is valid.
unsafe fn info_of(dst: *mut bindings::dst_entry) -> RouteInfo {
    // SAFETY: Promised by the caller.
    unsafe {
        RouteInfo {
            mtu: bindings::oxtcp_helper_dst_mtu(dst),
            advmss: bindings::oxtcp_helper_dst_advmss(dst),
        }
    }
}

fn in4(ip: [u8; 16]) -> u32 {
    let [.., a, b, c, d] = ip;
    u32::from_ne_bytes([a, b, c, d])
}

fn in6(ip: [u8; 16]) -> bindings::in6_addr {
    let mut addr = bindings::in6_addr::default();
    addr.in6_u.u6_addr8 = ip;
    addr
}
