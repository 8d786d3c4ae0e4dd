// SPDX-License-Identifier: GPL-2.0

//! Sockets: `struct sock` with a protocol's own state behind it, and its lock.
//!
//! The socket lock has two sides, as everywhere in the kernel: a process owns
//! it (`lock_sock()`, may sleep), a softirq takes its spin lock and, when a
//! process owns the socket, leaves packets on the backlog and timers to the
//! owner's release. [`Locked`] is what both sides, the backlog and the release
//! get to see; only with it can a protocol's [`Protocol::State`] be reached.
//! [`Owned`] is what a system call that owns the socket gets: all that, and
//! what sleeps.

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use kernel::prelude::*;
use kernel::sync::aref::{ARef, AlwaysRefCounted};
use kernel::sync::rcu;
use kernel::types::{NotThreadSafe, Opaque};

use super::bindings;
use super::errno::{eafnosupport, enobufs};
use super::net::Net;
use super::netfilter::Family;
use super::page::PageFragment;
use super::proc::Uid;
use super::proto::{Protocol, Statics};
use super::skb::{self, Charged, Claimed, Detached, PacketList, SkBuff};
use super::small_queue;
use super::table::{Endpoint, Entry, FlowKey};
use super::time::Jiffies;
use super::user::Message;

/// A socket of protocol `P`.
///
/// # Invariants
///
/// * It lies in an object of one of `P`'s slab caches, after `sk_alloc()`, and is freed by
///   `sk_free()` a grace period after its last reference went (`SOCK_RCU_FREE`).
/// * It holds its namespace, which has a `P::PerNet`; it is counted in `sockets_allocated`, and the drop of `P`'s
///   registration, which owns that of the `P::PerNet`s, waits until that is 0.
/// * `state`, `apart` and the flags of `entry` are protected by the socket lock.
/// * Each packet in `apart` is charged to the socket.
/// * A socket is made with a reference of its own. A program's `struct socket` has it, or a [`Child`] before accept();
///   after that it is the socket's while `entry.disowned` says so, and then it has been given up.
/// * `next` belongs to the [`SockQueue`] that holds the socket, if one does.
/// * `small_queue` belongs to the list of `small_queue.rs` that the socket is in, if it is.
#[repr(C)]
pub(crate) struct Sock<P: Protocol> {
    inet: Opaque<bindings::inet_sock>,
    pub(super) entry: Entry,
    next: UnsafeCell<Option<NonNull<Sock<P>>>>,
    small_queue: Opaque<bindings::llist_node>,
    shared: P::Shared,
    state: UnsafeCell<P::State>,
    /// Packets that came out of order.
    apart: UnsafeCell<PacketList>,
}

// SAFETY: Sockets are shared between CPUs; what is not `Sync` is under the lock, see the invariants.
unsafe impl<P: Protocol> Send for Sock<P> {}
// SAFETY: As above.
unsafe impl<P: Protocol> Sync for Sock<P> {}

// SAFETY: `sock_hold` and `sock_put` count references; the object lives while there is one.
unsafe impl<P: Protocol> AlwaysRefCounted for Sock<P> {
    fn inc_ref(&self) {
        // SAFETY: `&self` proves that there is a reference.
        unsafe { bindings::oxtcp_helper_sock_hold(self.as_ptr()) };
    }

    unsafe fn dec_ref(obj: NonNull<Self>) {
        // SAFETY: The caller gives a reference up.
        unsafe { bindings::oxtcp_helper_sock_put(obj.cast().as_ptr()) };
    }
}

impl<P: Protocol> Sock<P> {
    pub(super) const SIZE: usize = core::mem::size_of::<Self>();

    /// Makes a socket without a `struct socket`: a connection that a listener made. Any context. For [`Child`].
    ///
    /// It begins as a copy of the listener's `struct sock`, as those of the kernel's TCP do: with its
    /// cgroup, filters and settings, and the LSM's label.
    fn new_child(listener: &Sock<P>) -> Result<ARef<Self>> {
        // SAFETY: The listener is valid; what is copied of our part of it is written over below and
        // never dropped.
        let sk =
            unsafe { bindings::sk_clone(listener.as_ptr(), kernel::bindings::GFP_ATOMIC, false) };
        let this: NonNull<Self> = NonNull::new(sk).ok_or(ENOMEM)?.cast();
        // SAFETY: The clone is new and known to nobody. It has two references, of which we keep one.
        // Pointers that the copy must not share with the original are cleared.
        unsafe {
            bindings::oxtcp_helper_sock_put(sk);
            (*sk).__sk_common.skc_state = bindings::TCP_CLOSE as u8;
            (*sk).sk_frag = core::mem::zeroed();
            (*sk).sk_ino = 0;
            // Each socket has its own number for BPF and SO_COOKIE, made when it is asked for.
            (*sk).__sk_common.skc_cookie.counter = 0;
            let inet: *mut bindings::inet_sock = sk.cast();
            (*inet).inet_id.counter = i32::from(bindings::get_random_u16());
            (*inet).inet_opt = core::ptr::null_mut();
            (*inet).mc_list = core::ptr::null_mut();
            if listener.is_v6() {
                (*inet).ipv6_fl_list = core::ptr::null_mut();
                let np = Self::pinfo6(sk);
                (*inet).pinet6 = np;
                (*np).opt = core::ptr::null_mut();
                (*np).ipv6_mc_list = core::ptr::null_mut();
                (*np).ipv6_ac_list = core::ptr::null_mut();
                (*np).pktoptions = core::ptr::null_mut();
            }
            Self::set_up(sk);
        }
        // SAFETY: The reference that was kept.
        Ok(unsafe { ARef::from_raw(this) })
    }

    /// `struct ipv6_pinfo` of an IPv6 socket, behind our part.
    ///
    /// # Safety
    ///
    /// `sk` lies in an object of `P`'s cache for IPv6.
    unsafe fn pinfo6(sk: *mut bindings::sock) -> *mut bindings::ipv6_pinfo {
        // SAFETY: The objects are that large, promised by the caller.
        unsafe { sk.byte_add(Statics::<P>::V6_OFFSET).cast() }
    }

    /// Makes our part of a new socket; from then on `sk_free` runs our destructor.
    ///
    /// # Safety
    ///
    /// `sk` is a new socket of our size that nobody knows; nothing of our part in it is live.
    unsafe fn set_up(sk: *mut bindings::sock) {
        let at: *mut Self = sk.cast();
        // SAFETY: Promised by the caller.
        unsafe {
            bindings::oxtcp_helper_sock_lock_init(sk);
            (&raw mut (*at).entry).write(Entry::new(true));
            (&raw mut (*at).next).write(UnsafeCell::new(None));
            (&raw mut (*at).small_queue).write(Opaque::zeroed());
            (*sk).sk_tsq_flags = 0;
            (*sk).sk_write_space = Some(small_queue::write_space::<P>);
            (&raw mut (*at).apart).write(UnsafeCell::new(PacketList::new()));
            let Ok(()) = P::new_shared().__pinned_init(&raw mut (*at).shared);
            (&raw mut (*at).state).write(UnsafeCell::new(P::new_state()));
            bindings::oxtcp_helper_sk_timer_setup(sk, Some(Statics::<P>::timer));
            (*sk).sk_destruct = Some(Statics::<P>::destruct);
        }
    }

    /// Allocates and sets up a socket, with a reference of its own for the program.
    ///
    /// # Safety
    ///
    /// `net` is a live namespace, `socket` null or a new socket without a sock, `statics` registered.
    pub(super) unsafe fn alloc(
        statics: &'static Statics<P>,
        net: *mut bindings::net,
        socket: *mut bindings::socket,
        v6: bool,
        kern: bool,
        gfp: bindings::gfp_t,
    ) -> Result<ARef<Self>> {
        // SAFETY: Promised by the caller.
        let in_net = unsafe { Net::from_raw(net) };
        // A namespace that is being set up has no `P::PerNet` yet, one that is taken down has none any more.
        if in_net.get::<P::PerNet>(&rcu::read_lock()).is_none() {
            return Err(eafnosupport());
        }
        let (family, proto) = if v6 {
            (bindings::PF_INET6, statics.v6.get())
        } else {
            (bindings::PF_INET, statics.v4.get())
        };
        // SAFETY: Promised by the caller; the caches' objects hold a `Sock<P>`.
        let sk = unsafe { bindings::sk_alloc(net, family as i32, gfp, proto, i32::from(kern)) };
        let this: NonNull<Self> = NonNull::new(sk).ok_or(ENOMEM)?.cast();
        // SAFETY: `sk` is a new socket of our size and known to nobody; `sock_init_data` sets the
        // generic part up, the rest of the block our own, all of which was zeroed.
        unsafe {
            bindings::sock_init_data(socket, sk);
            if kern {
                // A kernel socket holds no namespace by itself; ours are to.
                bindings::sk_net_refcnt_upgrade(sk);
            }
            bindings::oxtcp_helper_sk_sockets_allocated(sk, true);

            (*sk).__sk_common.skc_family = family as u16;
            (*sk).sk_protocol = P::SK_PROTOCOL;
            (*sk).sk_type = P::SK_TYPE as u16;
            (*sk).sk_backlog_rcv = Some(Statics::<P>::backlog_rcv);
            (*sk).sk_gso_type = bindings::SKB_GSO_TCPV4 as u16;
            // Without SOCK_USE_WRITE_QUEUE: each packet that leaves calls `sk_write_space`.
            bindings::oxtcp_helper_sock_set_flag(sk, bindings::sock_flags_SOCK_RCU_FREE as i32);
            let inet: *mut bindings::inet_sock = sk.cast();
            (*inet).uc_ttl = -1;
            (*inet).mc_ttl = 1;
            (*inet).pmtudisc = bindings::IP_PMTUDISC_WANT as u8;
            (*inet).inet_id.counter = i32::from(bindings::get_random_u16());
            if v6 {
                let np = Self::pinfo6(sk);
                (*inet).pinet6 = np;
                (*np).hop_limit = -1;
                (*np).mcast_hops = 1;
                (*np).pmtudisc = bindings::IPV6_PMTUDISC_WANT as u8;
                bindings::oxtcp_helper_sk_set_ipv6only(sk, bindings::oxtcp_helper_bindv6only(net));
            }
            bindings::oxtcp_helper_inet_init_flags(sk);
            Self::set_up(sk);
        }
        // SAFETY: The reference that `sock_init_data` set.
        Ok(unsafe { ARef::from_raw(this) })
    }

    /// The socket that a `struct sock` is.
    ///
    /// # Safety
    ///
    /// `sk` is a socket of `P` and there is a reference on it for `'a`.
    pub(super) unsafe fn from_raw<'a>(sk: *mut bindings::sock) -> &'a Self {
        // SAFETY: Promised by the caller; `inet` is the first field, `sk` its first.
        unsafe { &*sk.cast() }
    }

    /// Drops what `alloc` made, as the last thing before the memory goes.
    ///
    /// # Safety
    ///
    /// Called once, from `sk_destruct`, when nobody can reach the socket any more.
    pub(super) unsafe fn drop_parts(sk: *mut bindings::sock) {
        let this: *mut Self = sk.cast();
        // SAFETY: Promised by the caller. The packets' charges go back to the socket, which is there still.
        unsafe {
            core::ptr::drop_in_place(&raw mut (*this).apart);
            core::ptr::drop_in_place(&raw mut (*this).shared);
            core::ptr::drop_in_place(&raw mut (*this).state);
        }
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::sock {
        self.inet.get().cast()
    }

    /// The socket's node in the lists of `small_queue.rs`.
    pub(super) fn small_queue(&self) -> *mut bindings::llist_node {
        self.small_queue.get()
    }

    /// The socket that a node belongs to.
    ///
    /// # Safety
    ///
    /// `node` came from [`Sock::small_queue`] of a socket of `P` that is still there.
    pub(super) unsafe fn of_small_queue(node: *mut bindings::llist_node) -> NonNull<Self> {
        // SAFETY: Promised by the caller: the node lies in a socket, and so is not null.
        unsafe {
            let at = node.byte_sub(core::mem::offset_of!(Self, small_queue));
            NonNull::new_unchecked(at.cast())
        }
    }

    fn inet(&self) -> *mut bindings::inet_sock {
        self.inet.get()
    }

    /// A reference of one's own, unless the last one has gone. (Who has a `&Sock` has one.)
    ///
    /// # Safety
    ///
    /// `this` is a socket of `P` whose memory stays for the call, as RCU or the charge of a packet keeps it.
    pub(super) unsafe fn try_hold(this: NonNull<Self>) -> Option<ARef<Self>> {
        // SAFETY: Promised by the caller; `inet` is the first field, `sk` its first.
        if !unsafe { bindings::oxtcp_helper_sock_hold_not_zero(this.cast().as_ptr()) } {
            return None;
        }
        // SAFETY: The reference was just taken.
        Some(unsafe { ARef::from_raw(this) })
    }

    /// The protocol's part that has locks or atomics of its own.
    pub(crate) fn shared(&self) -> &P::Shared {
        &self.shared
    }

    /// The socket's network namespace.
    pub(crate) fn net(&self) -> &Net {
        // SAFETY: A socket's namespace does not change, and lives as long as the socket.
        unsafe { Net::from_raw(bindings::oxtcp_helper_sock_net(self.as_ptr())) }
    }

    /// What the socket's namespace has of the protocol.
    ///
    /// # Context
    ///
    /// Any.
    pub(crate) fn per_net(&self) -> &P::PerNet {
        // SAFETY: By the invariants the socket is in the namespace, and the registration has not ended.
        let found = unsafe { self.net().assume::<P::PerNet>() };
        // SAFETY: `alloc` has seen that it is there, and it stays as long as the socket.
        unsafe { found.unwrap_unchecked() }
    }

    /// The flow that the socket is or was in the table for.
    pub(crate) fn flow(&self) -> FlowKey {
        self.entry.key()
    }

    /// Owns the socket as a process while `f` runs; then works the backlog off and lets go.
    ///
    /// For calls of the program that has the socket: who waits in one stands in a queue of the `struct socket`, which only
    /// the program's reference on that keeps.
    ///
    /// # Context
    ///
    /// Process; sleeps.
    pub(super) fn lock<R>(&self, f: impl FnOnce(&mut Owned<'_, P>) -> R) -> R {
        struct Release<'a, P: Protocol>(&'a Sock<P>);
        impl<P: Protocol> Drop for Release<'_, P> {
            fn drop(&mut self) {
                // SAFETY: Valid, and owned by this process since `lock`.
                unsafe { bindings::release_sock(self.0.as_ptr()) };
            }
        }
        // SAFETY: Valid; the caller's context may sleep, as it does for every system call.
        unsafe { bindings::lock_sock_nested(self.as_ptr(), 0) };
        let _release = Release(self);
        // SAFETY: Owned from the line above until `_release` goes, after `f`.
        unsafe { Owned::assume(self, f) }
    }

    /// Holds the spin lock while `f` runs, unless a process owns the socket: then nothing is done.
    ///
    /// # Context
    ///
    /// Any but hard interrupts; `f` must not sleep.
    pub(crate) fn lock_bh<R>(&self, f: impl FnOnce(&mut Locked<'_, P>) -> R) -> Option<R> {
        Bh::lock(self).unowned(f).ok()
    }

    /// As [`Sock::lock_bh`], for a new child while its listener or half-open object is locked.
    ///
    /// # Context
    ///
    /// Any but hard interrupts; `f` must not sleep.
    pub(crate) fn lock_bh_child<R>(&self, f: impl FnOnce(&mut Locked<'_, P>) -> R) -> Option<R> {
        Bh::lock_child(self).unowned(f).ok()
    }

    /// The socket's timer has run out: [`Protocol::timer`], now or as the process that owns the socket
    /// lets go.
    ///
    /// # Context
    ///
    /// Softirq.
    pub(super) fn timer_expired(&self) {
        let mut bh = Bh::lock(self);
        if bh.unowned(P::timer).is_err() {
            // SAFETY: `bh` holds the spin lock.
            unsafe { *self.entry.deferred.get() = true };
        }
    }

    /// Takes the note that a timer left which ran out while a process owned the socket.
    ///
    /// # Safety
    ///
    /// The spin lock is held.
    pub(super) unsafe fn take_deferred(&self) -> bool {
        // SAFETY: Promised by the caller.
        unsafe { core::mem::replace(&mut *self.entry.deferred.get(), false) }
    }

    /// Whether IPsec's policies, the socket's filter, the LSM and the cgroup let the socket have a packet
    /// of TCP. A filter may cut the packet. Softirq context.
    pub(crate) fn allows(&self, skb: &mut SkBuff<Claimed>, family: Family) -> bool {
        const FIXED: u32 = core::mem::size_of::<bindings::tcphdr>() as u32;
        if skb.header(FIXED).is_none() {
            return false;
        }
        // SAFETY: Both are valid, and the packet has a device; the fixed header is linear.
        unsafe {
            bindings::oxtcp_helper_rx_allowed(self.as_ptr(), skb.as_ptr(), family == Family::V6)
        }
    }

    /// Hands a packet to the protocol: now, or by the backlog when a process owns the socket.
    ///
    /// Softirq context.
    pub(crate) fn receive(&self, skb: SkBuff) {
        let bh = Bh::lock(self);
        if !bh.is_owned() {
            // SAFETY: The spin lock is held until `bh` goes, and there is no owner.
            unsafe { Locked::assume(self, |sk| P::segment(sk, skb)) };
            return;
        }
        // SAFETY: Valid, and the spin lock is held.
        let (rcvbuf, sndbuf) = unsafe { ((*self.as_ptr()).sk_rcvbuf, (*self.as_ptr()).sk_sndbuf) };
        let limit = (rcvbuf.max(0) as u32)
            .saturating_mul(2)
            .saturating_add(sndbuf.max(0) as u32 / 2)
            .saturating_add(64 * 1024);
        let skb = skb.into_raw();
        // SAFETY: The lock is held, a process owns the socket, and the packet is ours.
        if unsafe { bindings::oxtcp_helper_sk_add_backlog(self.as_ptr(), skb.as_ptr(), limit) } != 0
        {
            // SAFETY: It was not taken, so it is still ours, and as it was.
            drop(unsafe { SkBuff::<Detached>::from_raw(skb) });
        }
    }

    // What anyone may read at any time: single words, perhaps out of date at once.

    /// `TCP_*` state.
    pub(crate) fn state(&self) -> SkState {
        // SAFETY: A single byte, volatile as `READ_ONCE` is.
        SkState(unsafe { (&raw const (*self.as_ptr()).__sk_common.skc_state).read_volatile() })
    }

    /// `RCV_SHUTDOWN` and `SEND_SHUTDOWN`.
    pub(crate) fn shutdown(&self) -> u8 {
        // SAFETY: As in `state`.
        unsafe { (&raw const (*self.as_ptr()).sk_shutdown).read_volatile() }
    }

    /// Whether an error waits to be told.
    pub(crate) fn has_error(&self) -> bool {
        // SAFETY: As in `state`.
        unsafe { (&raw const (*self.as_ptr()).sk_err).read_volatile() != 0 }
    }

    /// Receive buffer, in bytes of memory.
    pub(crate) fn rcvbuf(&self) -> u32 {
        // SAFETY: As in `state`.
        unsafe { (&raw const (*self.as_ptr()).sk_rcvbuf).read_volatile() }.max(0) as u32
    }

    /// Send buffer, in bytes.
    pub(crate) fn sndbuf(&self) -> u32 {
        // SAFETY: As in `state`.
        unsafe { (&raw const (*self.as_ptr()).sk_sndbuf).read_volatile() }.max(0) as u32
    }

    /// Memory that received packets hold, in bytes.
    pub(crate) fn rmem(&self) -> u32 {
        // SAFETY: Valid.
        unsafe { bindings::oxtcp_helper_sk_rmem_alloc(self.as_ptr()) }.max(0) as u32
    }

    pub(crate) fn is_v6(&self) -> bool {
        // SAFETY: Valid, and set up.
        unsafe { is_v6(self.as_ptr()) }
    }

    /// `IPV6_V6ONLY`.
    pub(crate) fn v6only(&self) -> bool {
        // SAFETY: Valid.
        unsafe { bindings::oxtcp_helper_sk_ipv6only(self.as_ptr()) }
    }

    /// The interface that the socket is bound to, 0 for any.
    pub(crate) fn bound_dev(&self) -> i32 {
        // SAFETY: As in `state`.
        unsafe { (&raw const (*self.as_ptr()).__sk_common.skc_bound_dev_if).read_volatile() }
    }

    /// `SO_MARK`.
    pub(crate) fn mark(&self) -> u32 {
        // SAFETY: As in `state`.
        unsafe { (&raw const (*self.as_ptr()).sk_mark).read_volatile() }
    }

    /// `SO_REUSEADDR`.
    pub(crate) fn reuse(&self) -> bool {
        // SAFETY: Valid.
        unsafe { bindings::oxtcp_helper_sk_reuse(self.as_ptr()) }
    }

    pub(crate) fn flag(&self, flag: Flag) -> bool {
        // SAFETY: Valid, and there is such a flag.
        unsafe { bindings::oxtcp_helper_sock_flag(self.as_ptr(), flag as i32) }
    }

    /// Whether the socket buffers of `which` were set by the user (`SOCK_*BUF_LOCK`).
    pub(crate) fn user_locked(&self, which: u32) -> bool {
        // SAFETY: As in `state`.
        let locks = unsafe { (&raw const (*self.as_ptr()).sk_userlocks).read_volatile() };
        u32::from(locks) & which != 0
    }

    /// The local address that was bound, unspecified when none was.
    pub(crate) fn bound_ip(&self) -> [u8; 16] {
        if self.is_v6() {
            // SAFETY: Valid; plain bytes.
            return unsafe { (*self.as_ptr()).__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8 };
        }
        // SAFETY: As above.
        let v4 = unsafe {
            (*self.as_ptr())
                .__sk_common
                .__bindgen_anon_1
                .__bindgen_anon_1
                .skc_rcv_saddr
        };
        Endpoint::mapped(v4.to_ne_bytes())
    }

    /// Number of the socket's inode, 0 for none.
    pub(crate) fn inode(&self) -> u64 {
        // SAFETY: Valid.
        unsafe { bindings::oxtcp_helper_sock_ino(self.as_ptr()) }
    }

    /// The owner's user id.
    pub(crate) fn uid(&self) -> Uid {
        // SAFETY: Valid.
        Uid::new(unsafe { bindings::oxtcp_helper_sock_uid(self.as_ptr()) })
    }

    /// References on the socket.
    pub(crate) fn references(&self) -> i32 {
        // SAFETY: Valid.
        unsafe { bindings::oxtcp_helper_sk_refcnt(self.as_ptr()) }
    }

    /// Whether a writer finds room (the rule of poll()).
    pub(crate) fn is_writeable(&self) -> bool {
        // SAFETY: Valid.
        unsafe { bindings::oxtcp_helper_sk_stream_is_writeable(self.as_ptr()) }
    }

    /// `SO_RCVLOWAT`, for `waitall` all of `len`.
    pub(crate) fn rcvlowat(&self, waitall: bool, len: usize) -> usize {
        let len = i32::try_from(len).unwrap_or(i32::MAX);
        // SAFETY: Valid.
        unsafe { bindings::oxtcp_helper_sock_rcvlowat(self.as_ptr(), i32::from(waitall), len) }
            .max(1) as usize
    }

    /// How long a reader waits, in jiffies.
    pub(crate) fn rcvtimeo(&self, nonblock: bool) -> isize {
        // SAFETY: Valid.
        unsafe { bindings::oxtcp_helper_sock_rcvtimeo(self.as_ptr(), nonblock) }
    }

    /// How long a writer waits, in jiffies.
    pub(crate) fn sndtimeo(&self, nonblock: bool) -> isize {
        // SAFETY: Valid.
        unsafe { bindings::oxtcp_helper_sock_sndtimeo(self.as_ptr(), nonblock) }
    }

    /// `SO_LINGER`'s time in jiffies.
    pub(crate) fn lingertime(&self) -> usize {
        // SAFETY: As in `state`.
        unsafe { (&raw const (*self.as_ptr()).sk_lingertime).read_volatile() }
    }

    /// Wakes readers: there is data, or a connection to accept.
    pub(crate) fn wake_readers(&self) {
        // SAFETY: Valid; the callback is set for the socket's life.
        unsafe { bindings::oxtcp_helper_sk_data_ready(self.as_ptr()) };
    }
}

/// # Safety
///
/// `sk` is a socket that was set up, and its memory stays for the call.
pub(super) unsafe fn is_v6(sk: *const bindings::sock) -> bool {
    // SAFETY: Set once, before the socket is known to anyone.
    unsafe { u32::from((*sk).__sk_common.skc_family) == bindings::PF_INET6 }
}

/// A `TCP_*` state of a whole `struct sock`.
///
/// There is none of those for small objects, `TCP_TIME_WAIT` and `TCP_NEW_SYN_RECV`: C would take a socket in one of them
/// for such an object (`sk_fullsock()`).
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct SkState(u8);

impl SkState {
    pub(crate) const ESTABLISHED: Self = Self(bindings::TCP_ESTABLISHED as u8);
    pub(crate) const SYN_SENT: Self = Self(bindings::TCP_SYN_SENT as u8);
    pub(crate) const SYN_RECV: Self = Self(bindings::TCP_SYN_RECV as u8);
    pub(crate) const FIN_WAIT1: Self = Self(bindings::TCP_FIN_WAIT1 as u8);
    pub(crate) const FIN_WAIT2: Self = Self(bindings::TCP_FIN_WAIT2 as u8);
    pub(crate) const CLOSE: Self = Self(bindings::TCP_CLOSE as u8);
    pub(crate) const CLOSE_WAIT: Self = Self(bindings::TCP_CLOSE_WAIT as u8);
    pub(crate) const LAST_ACK: Self = Self(bindings::TCP_LAST_ACK as u8);
    pub(crate) const LISTEN: Self = Self(bindings::TCP_LISTEN as u8);
    pub(crate) const CLOSING: Self = Self(bindings::TCP_CLOSING as u8);

    /// The number that programs know it by.
    pub(crate) const fn number(self) -> u8 {
        self.0
    }
}

/// The flags of a socket (`enum sock_flags`) that a protocol looks at.
#[derive(Clone, Copy)]
#[repr(i32)]
pub(crate) enum Flag {
    /// No program has the socket any more.
    Dead = bindings::sock_flags_SOCK_DEAD as i32,
    /// The peer sends nothing more.
    Done = bindings::sock_flags_SOCK_DONE as i32,
    /// `SO_KEEPALIVE`.
    KeepOpen = bindings::sock_flags_SOCK_KEEPOPEN as i32,
    /// `SO_LINGER`.
    Linger = bindings::sock_flags_SOCK_LINGER as i32,
}

/// A socket whose lock is held: what may be done to it in any context, and the way to its state.
///
/// The lifetime is a brand: the type is invariant in it, and it is chosen anew for each time the lock is
/// held, by the functions that lend the value to a closure (`for<'a> FnOnce(&mut Locked<'a, P>)`) or call
/// a [`Protocol`]'s callback. So no two values that live at the same time have the same type, and safe code
/// cannot exchange the proof that one socket is locked for that of another (`core::mem::swap()`), nor carry
/// one out of the section in which it holds.
///
/// # Invariants
///
/// * While a reference to the value can be used, the socket lock is held: by a process that owns the socket, or
///   by the spin lock with no owner.
/// * There is one such value for the socket, and no other has the same lifetime `'a`.
///
/// So no other code runs with a reference into `state`.
pub(crate) struct Locked<'a, P: Protocol> {
    sk: &'a Sock<P>,
    _brand: PhantomData<fn(&'a ()) -> &'a ()>,
    _not_send: NotThreadSafe,
}

impl<'a, P: Protocol> Locked<'a, P> {
    /// Lends `f` the socket, for callbacks that the kernel makes with the socket lock held.
    ///
    /// # Safety
    ///
    /// The lock is held while `f` runs as the type's invariants say, and nobody else uses a value of this type
    /// for the socket meanwhile.
    pub(super) unsafe fn assume<R>(
        sk: &Sock<P>,
        f: impl for<'b> FnOnce(&mut Locked<'b, P>) -> R,
    ) -> R {
        // INVARIANT: Promised by the caller; `f` does for any lifetime, so it can take this one for no other.
        f(&mut Locked {
            sk,
            _brand: PhantomData,
            _not_send: NotThreadSafe,
        })
    }

    pub(crate) fn sock(&self) -> &'a Sock<P> {
        self.sk
    }

    /// The protocol's state.
    pub(crate) fn state(&mut self) -> &mut P::State {
        // SAFETY: Locked by the invariant; the borrow of `self` ends before the lock can be let go.
        unsafe { &mut *self.sk.state.get() }
    }

    fn sk(&self) -> *mut bindings::sock {
        self.sk.as_ptr()
    }

    /// Sets the `TCP_*` state, and fires the kernel's `inet_sock_set_state` tracepoint.
    pub(crate) fn set_state(&mut self, state: SkState) {
        // SAFETY: Valid and locked.
        unsafe { bindings::inet_sk_set_state(self.sk(), i32::from(state.number())) };
    }

    /// Sets bits of the shutdown mask.
    pub(crate) fn add_shutdown(&mut self, how: u8) {
        // SAFETY: Valid and locked; readers without the lock read the byte as a whole.
        unsafe {
            let at = &raw mut (*self.sk()).sk_shutdown;
            at.write_volatile(at.read() | how);
        }
    }

    /// Clears the shutdown mask, for a socket that is to be connected anew.
    pub(crate) fn clear_shutdown(&mut self) {
        // SAFETY: As above.
        unsafe { (&raw mut (*self.sk()).sk_shutdown).write_volatile(0) };
    }

    /// Leaves an error for the next call (or SO_ERROR) and tells pollers.
    pub(crate) fn report_error(&mut self, error: Error) {
        // SAFETY: Valid and locked.
        unsafe {
            (&raw mut (*self.sk()).sk_err).write_volatile(error.to_errno().saturating_neg());
            bindings::oxtcp_helper_sk_error_report(self.sk());
        }
    }

    /// Takes the error that waits, if one does.
    pub(crate) fn take_error(&mut self) -> Result {
        // SAFETY: Valid.
        kernel::error::to_result(unsafe { bindings::oxtcp_helper_sock_error(self.sk()) })
    }

    /// Whether the program has let go of the socket.
    pub(crate) fn is_dead(&self) -> bool {
        self.sk.flag(Flag::Dead)
    }

    /// Whether a process owns the socket; else the lock is held in the softirq's way, and nothing is on the backlog.
    pub(crate) fn is_owned(&self) -> bool {
        // SAFETY: Valid and locked, so the word does not change.
        unsafe { bindings::oxtcp_helper_sock_owned_by_user(self.sk()) }
    }

    /// Whether the socket has much to send and the protocol's sockets together more memory than they may.
    pub(crate) fn exceeds_memory(&self) -> bool {
        // SAFETY: Valid and locked.
        unsafe { bindings::oxtcp_helper_sk_exceeds_memory(self.sk()) }
    }

    /// Sets [`Flag::Done`] or clears it.
    pub(crate) fn set_done(&mut self, done: bool) {
        let flag = Flag::Done as i32;
        // SAFETY: Valid and locked.
        unsafe {
            if done {
                bindings::oxtcp_helper_sock_set_flag(self.sk(), flag);
            } else {
                bindings::oxtcp_helper_sock_reset_flag(self.sk(), flag);
            }
        }
    }

    /// Wakes everyone: the state has changed.
    pub(crate) fn wake_all(&mut self) {
        if !self.is_dead() {
            // SAFETY: Valid; the callback is set for the socket's life.
            unsafe { bindings::oxtcp_helper_sk_state_change(self.sk()) };
        }
    }

    /// Wakes readers.
    pub(crate) fn wake_readers(&mut self) {
        if !self.is_dead() {
            self.sk.wake_readers();
        }
    }

    /// Wakes writers if there is room now.
    pub(crate) fn wake_writers(&mut self) {
        if !self.is_dead() {
            // SAFETY: Valid; the callback is set for the socket's life.
            unsafe { bindings::oxtcp_helper_sk_write_space(self.sk()) };
        }
    }

    /// Tells those who asked for signals that the peer has closed (`how` 1) or that all is over (2).
    pub(crate) fn wake_async_closed(&mut self, all: bool) {
        const SOCK_WAKE_WAITD: i32 = 1;
        const POLL_IN: i32 = 1;
        const POLL_HUP: i32 = 6;
        if !self.is_dead() {
            // SAFETY: Valid.
            unsafe {
                bindings::oxtcp_helper_sk_wake_async(
                    self.sk(),
                    SOCK_WAKE_WAITD,
                    if all { POLL_HUP } else { POLL_IN },
                )
            };
        }
    }

    /// Arms the socket's timer; [`Protocol::timer`] is called then.
    pub(crate) fn set_timer(&mut self, at: Jiffies) {
        // SAFETY: Valid, and set up by `alloc`; a pending timer holds a reference.
        unsafe { bindings::sk_reset_timer(self.sk(), self.timer(), at.get()) };
    }

    /// When the socket's timer goes off; `None` if it is not armed, or has gone off and its softirq waits for the lock.
    pub(crate) fn timer_at(&self) -> Option<Jiffies> {
        // SAFETY: Valid, and set up by `alloc`. `expires` is written by `set_timer` alone, under the lock.
        unsafe {
            bindings::oxtcp_helper_timer_pending(self.timer())
                .then(|| Jiffies::new((*self.timer()).expires))
        }
    }

    /// Disarms the socket's timer.
    pub(crate) fn stop_timer(&mut self) {
        // SAFETY: Valid and set up. The reference that a pending timer holds is not the last.
        unsafe { bindings::sk_stop_timer(self.sk(), self.timer()) };
    }

    fn timer(&self) -> *mut bindings::timer_list {
        // SAFETY: Valid; only the address is taken.
        unsafe { (&raw mut (*self.sk()).__bindgen_anon_3.sk_timer).cast() }
    }

    /// `SO_RCVLOWAT`.
    pub(crate) fn set_rcvlowat(&mut self, bytes: u32) {
        // SAFETY: Valid and locked; a single word.
        unsafe {
            (&raw mut (*self.sk()).sk_rcvlowat).write_volatile(bytes.min(i32::MAX as u32) as i32)
        };
    }

    /// The buffer sizes, in bytes; those that the user did not set may be changed by the protocol.
    pub(crate) fn set_rcvbuf(&mut self, bytes: u32) {
        // SAFETY: Valid and locked; a single word.
        unsafe {
            (&raw mut (*self.sk()).sk_rcvbuf).write_volatile(bytes.min(i32::MAX as u32) as i32)
        };
    }

    /// See [`Locked::set_rcvbuf`].
    pub(crate) fn set_sndbuf(&mut self, bytes: u32) {
        // SAFETY: As above.
        unsafe {
            (&raw mut (*self.sk()).sk_sndbuf).write_volatile(bytes.min(i32::MAX as u32) as i32)
        };
    }

    // Receive queue.

    /// Queues a packet for readers.
    pub(crate) fn queue(&mut self, skb: Charged<'a>) {
        let skb = skb.into_skb().into_raw().as_ptr();
        // SAFETY: Valid and locked; the packet is ours, and by its brand charged to this socket.
        unsafe {
            bindings::oxtcp_helper_skb_queue_tail(&raw mut (*self.sk()).sk_receive_queue, skb)
        };
    }

    /// The first packet of the receive queue, which stays there.
    pub(crate) fn peek(&mut self) -> Option<Queued<'_>> {
        // SAFETY: Valid and locked.
        let skb = unsafe { skb::first_of(&raw mut (*self.sk()).sk_receive_queue) }?;
        // INVARIANT: On the queue, which the lock protects for the borrow of `self`.
        Some(Queued {
            skb,
            _locked: core::marker::PhantomData,
        })
    }

    /// The last packet of the receive queue.
    pub(crate) fn last_queued(&mut self) -> Option<skb::Unread> {
        // SAFETY: Valid and locked.
        let skb = unsafe { skb::last_of(&raw mut (*self.sk()).sk_receive_queue) }?;
        // INVARIANT: On the queue.
        Some(
            Queued {
                skb,
                _locked: core::marker::PhantomData,
            }
            .unread(),
        )
    }

    /// Takes `len` bytes off the front of the receive queue, freeing packets that are done with.
    pub(crate) fn consume(&mut self, mut len: usize) {
        while let Some(mut queued) = self.peek() {
            let mut unread = queued.unread();
            if unread.len as usize > len {
                unread.seq = unread.seq.wrapping_add(len as u32);
                unread.offset = unread.offset.saturating_add(len as u32);
                unread.len = unread.len.saturating_sub(len as u32);
                queued.set_unread(unread);
                break;
            }
            len = len.saturating_sub(unread.len as usize);
            // SAFETY: Valid and locked.
            if let Some(skb) = unsafe { skb::pop_first(&raw mut (*self.sk()).sk_receive_queue) } {
                skb.consume();
            }
        }
    }

    /// Bytes that wait in the receive queue of a socket with the lock held; frees the queue.
    pub(crate) fn purge(&mut self) -> bool {
        let mut unread = false;
        // SAFETY: Valid and locked.
        while let Some(skb) = unsafe { skb::pop_first(&raw mut (*self.sk()).sk_receive_queue) } {
            unread |= skb.unread().len > 0;
        }
        unread
    }

    // Packets that came out of order.

    /// Puts `skb` among the packets that came out of order: behind the last one whose first unread byte
    /// `is_before` says comes first. Looks from the end, where nearly all go.
    pub(crate) fn keep_apart(&mut self, skb: Charged<'a>, is_before: impl Fn(skb::Unread) -> bool) {
        // The packet is by its brand charged to this socket, which frees the list before it goes.
        self.apart().insert(skb.into_skb(), is_before);
    }

    /// The first of the packets that came out of order.
    pub(crate) fn first_apart(&mut self) -> Option<skb::Unread> {
        self.apart().first()
    }

    /// Takes the first of the packets that came out of order.
    pub(crate) fn pop_apart(&mut self) -> Option<Charged<'a>> {
        let skb = self.apart().pop()?;
        // SAFETY: `keep_apart` was given a packet that is charged to this socket.
        Some(unsafe { Charged::assume(skb) })
    }

    fn apart(&mut self) -> &mut PacketList {
        // SAFETY: Locked by the invariant; the borrow of `self` ends before the lock can be let go.
        unsafe { &mut *self.sk.apart.get() }
    }

    /// Frees the packets that came out of order.
    pub(crate) fn purge_apart(&mut self) {
        while self.pop_apart().is_some() {}
    }

    // Send side.

    /// Charges `bytes` more, for what the send buffer's upkeep costs.
    pub(crate) fn charge_sent(&mut self, bytes: u32) {
        // SAFETY: Valid and locked.
        unsafe {
            bindings::oxtcp_helper_sk_wmem_queued_add(self.sk(), bytes as i32);
            bindings::oxtcp_helper_sk_mem_charge(self.sk(), bytes as i32);
        }
    }

    /// Gives back the charge of `bytes` that left the send buffer.
    pub(crate) fn uncharge_sent(&mut self, bytes: u32) {
        // SAFETY: Valid and locked; the bytes were charged by `take_message`.
        unsafe {
            bindings::oxtcp_helper_sk_wmem_queued_add(self.sk(), (bytes as i32).wrapping_neg());
            bindings::oxtcp_helper_sk_mem_uncharge(self.sk(), bytes as i32);
        }
    }

    /// Whether the send buffer has room.
    pub(crate) fn has_send_room(&self) -> bool {
        // SAFETY: Valid.
        unsafe { bindings::oxtcp_helper_sk_stream_memory_free(self.sk()) }
    }

    // Addresses and ports.

    /// The local port, in `inet_num` and `inet_sport`.
    pub(crate) fn set_local_port(&mut self, port: u16) {
        // SAFETY: Valid and locked.
        unsafe {
            (*self.sk())
                .__sk_common
                .__bindgen_anon_3
                .__bindgen_anon_1
                .skc_num = port;
            (*self.sk.inet()).inet_sport = port.to_be();
        }
    }

    /// The port is given back: the socket is not bound any more. getsockname() still tells the number, as the
    /// kernel's TCP has it.
    pub(crate) fn forget_local_port(&mut self) {
        // SAFETY: Valid and locked.
        unsafe {
            (*self.sk())
                .__sk_common
                .__bindgen_anon_3
                .__bindgen_anon_1
                .skc_num = 0
        };
    }

    /// Sets both ends, as connect() and accept() leave them.
    pub(crate) fn set_ends(&mut self, local: Endpoint, remote: Endpoint) {
        self.set_local(local.ip);
        self.set_remote(remote);
        self.set_local_port(local.port);
    }

    /// The local address, for receiving and sending.
    pub(crate) fn set_local(&mut self, ip: [u8; 16]) {
        let mapped = Endpoint { ip, port: 0 }.v4();
        // SAFETY: Valid and locked; for IPv6 sockets `pinet6` is set.
        unsafe {
            let inet = self.sk.inet();
            let common = &raw mut (*self.sk()).__sk_common;
            if self.sk.is_v6() {
                (*common).skc_v6_rcv_saddr.in6_u.u6_addr8 = ip;
                (*(*inet).pinet6).saddr.in6_u.u6_addr8 = ip;
            }
            // What the kernel's TCP puts there for an IPv6 end, so that nothing takes it for one
            // bound to any address.
            let v4 = u32::from_ne_bytes(mapped.unwrap_or([127, 0, 0, 6]));
            (*common).__bindgen_anon_1.__bindgen_anon_1.skc_rcv_saddr = v4;
            (*inet).inet_saddr = v4;
            (*common).skc_v6_rcv_saddr.in6_u.u6_addr8 = ip;
        }
    }

    /// Forgets the local address, for a socket that was not bound to one.
    pub(crate) fn clear_local(&mut self) {
        // SAFETY: As above.
        unsafe {
            let inet = self.sk.inet();
            let common = &raw mut (*self.sk()).__sk_common;
            (*common).__bindgen_anon_1.__bindgen_anon_1.skc_rcv_saddr = 0;
            (*inet).inet_saddr = 0;
            (*common).skc_v6_rcv_saddr.in6_u.u6_addr8 = [0; 16];
            if self.sk.is_v6() {
                (*(*inet).pinet6).saddr.in6_u.u6_addr8 = [0; 16];
            }
        }
    }

    /// The remote end.
    pub(crate) fn set_remote(&mut self, remote: Endpoint) {
        // SAFETY: Valid and locked.
        unsafe {
            let common = &raw mut (*self.sk()).__sk_common;
            (*common).skc_v6_daddr.in6_u.u6_addr8 = remote.ip;
            (*common).__bindgen_anon_1.__bindgen_anon_1.skc_daddr =
                u32::from_ne_bytes(remote.v4().unwrap_or([127, 0, 0, 6]));
            (*common).__bindgen_anon_3.__bindgen_anon_1.skc_dport = remote.port.to_be();
        }
    }

    /// Forgets the remote end.
    pub(crate) fn clear_remote(&mut self) {
        // SAFETY: Valid and locked.
        unsafe {
            (*self.sk())
                .__sk_common
                .__bindgen_anon_3
                .__bindgen_anon_1
                .skc_dport = 0;
            (*self.sk())
                .__sk_common
                .__bindgen_anon_1
                .__bindgen_anon_1
                .skc_daddr = 0;
        }
    }

    /// Which protocol the packets of a connected socket take: an IPv6 socket may speak IPv4.
    pub(crate) fn wire_family(&self) -> Family {
        // SAFETY: Valid and locked.
        let ip = unsafe { (*self.sk()).__sk_common.skc_v6_daddr.in6_u.u6_addr8 };
        if self.sk.is_v6() && (Endpoint { ip, port: 0 }).v4().is_none() {
            Family::V6
        } else {
            Family::V4
        }
    }

    /// Whether the local address was bound by the user.
    pub(crate) fn is_address_bound(&self) -> bool {
        self.sk.user_locked(bindings::SOCK_BINDADDR_LOCK)
    }

    /// Whether the local port was bound by the user.
    pub(crate) fn is_port_bound(&self) -> bool {
        self.sk.user_locked(bindings::SOCK_BINDPORT_LOCK)
    }

    /// Binds the socket to the interface of a link-local address, or checks that it is.
    pub(crate) fn bind_scope(&mut self, ifindex: i32) -> Result {
        let bound = self.sk.bound_dev();
        if ifindex != 0 {
            if bound != 0 && bound != ifindex {
                return Err(EINVAL);
            }
            // SAFETY: Valid and locked; a single word.
            unsafe { (&raw mut (*self.sk()).__sk_common.skc_bound_dev_if).write_volatile(ifindex) };
        } else if bound == 0 {
            return Err(EINVAL);
        }
        Ok(())
    }

    /// Cuts the socket loose from its program, which leaves its reference behind, as close() does.
    ///
    /// # Safety
    ///
    /// The program's `struct socket` will not be used with the socket any more, nor give the reference up.
    pub(super) unsafe fn orphan(&mut self) {
        // SAFETY: Valid and locked.
        unsafe { bindings::oxtcp_helper_sock_orphan(self.sk()) };
        // INVARIANT: The reference that the program leaves, as the caller promises.
        // SAFETY: The lock is held.
        unsafe { *self.sk.entry.disowned.get() = true };
    }

    /// No program will get this child: its reference is the socket's, until [`Locked::destroy`]. The child of another
    /// socket is only let go.
    pub(crate) fn disown(&mut self, child: Child<P>) {
        if !core::ptr::eq(&*child.0, self.sk) {
            return;
        }
        let _ = ARef::into_raw(child.0);
        // SAFETY: By `Child`'s invariants there is no `struct socket` yet; that reference was left behind above.
        unsafe { self.orphan() };
    }

    /// Lets go of the socket's own reference, if that is the socket's: close() or [`Locked::disown`] has left it. Else, and
    /// a second time, nothing happens.
    ///
    /// For a socket out of every table, in state `TCP_CLOSE`.
    pub(crate) fn destroy(&mut self) {
        // SAFETY: The lock is held.
        if !unsafe { core::mem::replace(&mut *self.sk.entry.disowned.get(), false) } {
            return;
        }
        self.stop_timer();
        self.purge();
        self.purge_apart();
        // SAFETY: Valid and locked.
        unsafe { bindings::oxtcp_helper_sk_mem_reclaim(self.sk()) };
        // SAFETY: By the invariants the socket had a reference of its own until the flag was taken above; the lock is
        // held by someone with another one, as this one was nobody's.
        unsafe { bindings::oxtcp_helper_sock_put(self.sk()) };
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::sock {
        self.sk()
    }
}

/// A socket that a process owns: what may be done to it in process context, sleeping included.
///
/// # Invariants
///
/// Those of [`Locked`], by a process that owns the socket, runs no callback of its release, and may sleep.
pub(crate) struct Owned<'a, P: Protocol>(Locked<'a, P>);

impl<'a, P: Protocol> Owned<'a, P> {
    /// Lends `f` the socket, for callbacks that the kernel makes in a process that owns the socket.
    ///
    /// # Safety
    ///
    /// As the type's invariants say while `f` runs, and nobody else uses a value of this type or a [`Locked`]
    /// for the socket meanwhile.
    pub(super) unsafe fn assume<R>(
        sk: &Sock<P>,
        f: impl for<'b> FnOnce(&mut Owned<'b, P>) -> R,
    ) -> R {
        // INVARIANT: Promised by the caller; for the brand see `Locked::assume`.
        f(&mut Owned(Locked {
            sk,
            _brand: PhantomData,
            _not_send: NotThreadSafe,
        }))
    }

    /// Copies from the receive queue, `skip` bytes into it, without taking anything.
    ///
    /// Returns how many bytes were copied of at most `max`.
    ///
    /// # Errors
    ///
    /// EFAULT when nothing could be copied.
    pub(crate) fn copy_queued(
        &mut self,
        to: &mut Message<'_>,
        mut skip: usize,
        max: usize,
    ) -> Result<usize> {
        let mut copied: usize = 0;
        let head: *mut bindings::sk_buff_head =
            // SAFETY: Valid; only the address is taken.
            unsafe { &raw mut (*self.sk()).sk_receive_queue };
        // SAFETY: The queue is protected by the lock, which stays held.
        let mut at = unsafe { skb::first_of(head) };
        while let Some(skb) = at {
            if copied >= max {
                break;
            }
            // INVARIANT: On the queue.
            let queued = Queued {
                skb,
                _locked: core::marker::PhantomData,
            };
            let unread = queued.unread();
            if skip >= unread.len as usize {
                skip = skip.saturating_sub(unread.len as usize);
            } else {
                let offset = unread.offset.saturating_add(skip as u32);
                let here = (unread.len as usize).saturating_sub(skip);
                let len = here.min(max.saturating_sub(copied)) as u32;
                if let Err(error) = queued.copy_to(to, offset, len) {
                    if copied == 0 {
                        return Err(error);
                    }
                    break;
                }
                skip = 0;
                copied = copied.saturating_add(len as usize);
            }
            // SAFETY: `skb` is on the queue; `next` is another packet or the head.
            let next = unsafe { (*skb.as_ptr()).__bindgen_anon_1.__bindgen_anon_1.next };
            at = NonNull::new(next).filter(|&next| next.as_ptr() != head.cast());
        }
        Ok(copied)
    }

    /// Takes up to `max` bytes of a message into page fragments.
    ///
    /// # Errors
    ///
    /// EFAULT when nothing could be read; ENOBUFS when there is no memory now (wait and try again).
    pub(crate) fn take_message(
        &mut self,
        from: &mut Message<'_>,
        max: usize,
    ) -> Result<PageFragment> {
        // SAFETY: Owned by the invariant: a process, and the lock (for a socket's own fragment) is held.
        unsafe {
            let frag = bindings::oxtcp_helper_sk_page_frag(self.sk());
            if !bindings::sk_page_frag_refill(self.sk(), frag) {
                return Err(enobufs());
            }
            let offset = (*frag).offset;
            let room = (*frag).size.saturating_sub(offset) as usize;
            let len = from.remaining().min(max).min(room);
            if !bindings::oxtcp_helper_sk_wmem_schedule(self.sk(), len as i32) {
                return Err(enobufs());
            }
            let copied = bindings::oxtcp_helper_copy_page_from_iter(
                (*frag).page,
                offset as usize,
                len,
                from.iter(),
            );
            if copied == 0 {
                return Err(EFAULT);
            }
            (*frag).offset = offset.saturating_add(copied as u32);
            bindings::oxtcp_helper_sk_wmem_queued_add(self.sk(), copied as i32);
            bindings::oxtcp_helper_sk_mem_charge(self.sk(), copied as i32);
            let page = NonNull::new((*frag).page).ok_or(enobufs())?;
            // The bytes are behind the fragment's offset now: nobody writes to them again.
            Ok(PageFragment::new(page, offset, copied as u32))
        }
    }

    /// What waits stands in a queue of the program's `struct socket`.
    ///
    /// # Errors
    ///
    /// EPIPE for a socket that no program has.
    fn may_wait(&self) -> Result {
        // SAFETY: Valid and locked, so it does not change; only a call of the program's owns the socket until it is
        // cut loose ([`Sock::lock`]), so the `struct socket` stays for the wait.
        if unsafe { (*self.sk()).sk_socket.is_null() } {
            return Err(EPIPE);
        }
        Ok(())
    }

    /// Waits for a connection to come up. Lets the lock go meanwhile.
    pub(crate) fn wait_connected(&mut self, timeo: &mut isize) -> Result {
        self.may_wait()?;
        // SAFETY: Owned by the invariant, with a queue to wait in; `&mut self` ends all references into the state.
        kernel::error::to_result(unsafe { bindings::sk_stream_wait_connect(self.sk(), timeo) })
    }

    /// Waits for room in the send buffer. Lets the lock go meanwhile.
    pub(crate) fn wait_send_room(&mut self, timeo: &mut isize) -> Result {
        self.may_wait()?;
        // SAFETY: Owned by the invariant, with a queue to wait in; `&mut self` ends all references into the state.
        kernel::error::to_result(unsafe { bindings::sk_stream_wait_memory(self.sk(), timeo) })
    }

    /// What a send call returns on `error`: for EPIPE the socket's error if one waits, else a
    /// SIGPIPE unless `flags` say no.
    pub(crate) fn send_error(&mut self, flags: u32, error: Error) -> Error {
        // SAFETY: Owned by the invariant.
        let errno = unsafe { bindings::sk_stream_error(self.sk(), flags as i32, error.to_errno()) };
        Error::from_errno(errno)
    }

    /// Sleeps until `done` says so; the lock is let go between two questions.
    ///
    /// # Errors
    ///
    /// EAGAIN when `timeo` jiffies are over, ERESTARTSYS or EINTR on a signal, EPIPE for a socket that no program has.
    pub(crate) fn wait(
        &mut self,
        timeo: &mut isize,
        exclusive: bool,
        mut done: impl FnMut(&mut Locked<'_, P>) -> bool,
    ) -> Result {
        /// # Safety
        ///
        /// For `oxtcp_helper_sk_wait` to call, with what is given to it below.
        unsafe extern "C" fn ask<P: Protocol, F: FnMut(&mut Locked<'_, P>) -> bool>(
            sk: *mut bindings::sock,
            arg: *mut kernel::ffi::c_void,
        ) -> bool {
            // SAFETY: `oxtcp_helper_sk_wait` calls with the socket and argument given below, and
            // holds the lock; the value that it is called through is borrowed by the call.
            unsafe {
                let done = &mut *arg.cast::<F>();
                Locked::assume(Sock::from_raw(sk), |sk| done(sk))
            }
        }
        fn pointer_of<P: Protocol, F: FnMut(&mut Locked<'_, P>) -> bool>(
            _: &F,
        ) -> unsafe extern "C" fn(*mut bindings::sock, *mut kernel::ffi::c_void) -> bool {
            ask::<P, F>
        }
        self.may_wait()?;
        let callback = pointer_of::<P, _>(&done);
        // SAFETY: Owned by the invariant, with a queue to wait in; `&mut self` ends all references into the state, and
        // `done` outlives the call.
        kernel::error::to_result(unsafe {
            bindings::oxtcp_helper_sk_wait(
                self.sk(),
                timeo,
                exclusive,
                Some(callback),
                (&raw mut done).cast(),
            )
        })
    }
}

impl<'a, P: Protocol> Deref for Owned<'a, P> {
    type Target = Locked<'a, P>;

    fn deref(&self) -> &Self::Target {
        &self.0
    }
}

impl<P: Protocol> DerefMut for Owned<'_, P> {
    fn deref_mut(&mut self) -> &mut Self::Target {
        &mut self.0
    }
}

/// A packet on the receive queue of a locked socket.
///
/// # Invariants
///
/// The packet is on the queue of the socket whose lock is held for `'a`.
pub(crate) struct Queued<'a> {
    skb: NonNull<bindings::sk_buff>,
    _locked: core::marker::PhantomData<&'a mut ()>,
}

impl Queued<'_> {
    pub(crate) fn unread(&self) -> skb::Unread {
        // SAFETY: Valid by the invariant; its control block is an `Unread`, as it was a `Detached` one.
        unsafe {
            (*self.skb.as_ptr())
                .cb
                .as_ptr()
                .cast::<skb::Unread>()
                .read()
        }
    }

    fn set_unread(&mut self, unread: skb::Unread) {
        // SAFETY: As above, and the lock makes it ours to write.
        unsafe {
            (*self.skb.as_ptr())
                .cb
                .as_mut_ptr()
                .cast::<skb::Unread>()
                .write(unread)
        };
    }

    fn copy_to(&self, to: &mut Message<'_>, offset: u32, len: u32) -> Result {
        // SAFETY: Valid by the invariant; extent and user memory are checked by the function.
        kernel::error::to_result(unsafe {
            bindings::skb_copy_datagram_iter(
                self.skb.as_ptr(),
                offset as i32,
                to.iter(),
                len as i32,
            )
        })
    }
}

/// The softirq side of the socket lock.
///
/// # Invariants
///
/// The spin lock is held, bottom halves are off; a process may own the socket all the same.
struct Bh<'a, P: Protocol>(&'a Sock<P>);

impl<'a, P: Protocol> Bh<'a, P> {
    fn lock(sk: &'a Sock<P>) -> Self {
        // SAFETY: Valid; undone by the drop.
        unsafe {
            bindings::oxtcp_helper_local_bh_disable();
            bindings::oxtcp_helper_bh_lock_sock_nested(sk.as_ptr());
        }
        // INVARIANT: Locked above.
        Self(sk)
    }

    /// With the lock class of a child, which tells lockdep of the nesting.
    fn lock_child(sk: &'a Sock<P>) -> Self {
        // SAFETY: As for `lock`.
        unsafe {
            bindings::oxtcp_helper_local_bh_disable();
            bindings::oxtcp_helper_bh_lock_sock_child(sk.as_ptr());
        }
        // INVARIANT: Locked above.
        Self(sk)
    }

    /// Whether a process owns the socket; cannot change while the spin lock is held.
    fn is_owned(&self) -> bool {
        // SAFETY: Valid, and the spin lock is held.
        unsafe { bindings::oxtcp_helper_sock_owned_by_user(self.0.as_ptr()) }
    }

    /// Lends `f` the socket, or gives it back when a process owns the socket.
    fn unowned<R, F>(&mut self, f: F) -> Result<R, F>
    where
        F: FnOnce(&mut Locked<'_, P>) -> R,
    {
        if self.is_owned() {
            return Err(f);
        }
        // SAFETY: The spin lock is held by the invariant, and there is no owner.
        Ok(unsafe { Locked::assume(self.0, f) })
    }
}

impl<P: Protocol> Drop for Bh<'_, P> {
    fn drop(&mut self) {
        // SAFETY: Held by the invariant, and taken with bottom halves off.
        unsafe {
            bindings::oxtcp_helper_bh_unlock_sock(self.0.as_ptr());
            bindings::oxtcp_helper_local_bh_enable();
        }
    }
}

/// A queue of sockets, first in first out: a listener's connections that wait for accept().
///
/// # Invariants
///
/// From `head` to `tail` the sockets are linked by `next`, which belongs to the queue. For each the queue is what a
/// [`Child`] is.
pub(crate) struct SockQueue<P: Protocol> {
    head: Option<NonNull<Sock<P>>>,
    tail: Option<NonNull<Sock<P>>>,
    len: u32,
}

// SAFETY: Owns references on sockets, which may be handed between CPUs.
unsafe impl<P: Protocol> Send for SockQueue<P> {}

impl<P: Protocol> SockQueue<P> {
    pub(crate) const fn new() -> Self {
        Self {
            head: None,
            tail: None,
            len: 0,
        }
    }

    pub(crate) fn len(&self) -> u32 {
        self.len
    }

    /// Puts a socket in.
    pub(crate) fn push(&mut self, child: Child<P>) {
        let raw = ARef::into_raw(child.0);
        // SAFETY: `Child` says that the socket is in no queue, so `next` is ours now; the tail
        // is in this queue.
        unsafe {
            *raw.as_ref().next.get() = None;
            match self.tail {
                Some(tail) => *tail.as_ref().next.get() = Some(raw),
                None => self.head = Some(raw),
            }
        }
        self.tail = Some(raw);
        self.len = self.len.saturating_add(1);
    }

    /// Takes the first.
    pub(crate) fn pop(&mut self) -> Option<Child<P>> {
        let head = self.head?;
        // SAFETY: In the queue.
        self.head = unsafe { *head.as_ref().next.get() };
        if self.head.is_none() {
            self.tail = None;
        }
        self.len = self.len.saturating_sub(1);
        // SAFETY: The queue's reference.
        // INVARIANT: It came from a `Child`, and is in no queue any more.
        Some(Child(unsafe { ARef::from_raw(head) }))
    }
}

impl<P: Protocol> Drop for SockQueue<P> {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

/// A socket that a listener made and no program has yet, with the reference that will be the accepting program's.
///
/// # Invariants
///
/// There is one such value for the socket, which is in no queue and has no `struct socket`; the reference is the socket's
/// own.
pub(crate) struct Child<P: Protocol>(ARef<Sock<P>>);

impl<P: Protocol> Child<P> {
    /// Makes one, see [`Sock::new_child`].
    pub(crate) fn new(listener: &Sock<P>) -> Result<Self> {
        // INVARIANT: New, so nobody else has it.
        Sock::new_child(listener).map(Self)
    }

    /// A second reference, to use the child while the first is in a queue.
    pub(crate) fn reference(&self) -> ARef<Sock<P>> {
        self.0.clone()
    }

    /// For accept(), which gives it a `struct socket`.
    pub(super) fn into_raw(self) -> NonNull<Sock<P>> {
        ARef::into_raw(self.0)
    }
}
