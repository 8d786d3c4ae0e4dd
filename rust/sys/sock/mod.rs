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
//!
//! | file | what |
//! |---|---|
//! | `mod` | the socket: how it is made and ends, its parts |
//! | `lock` | the socket lock: [`Locked`], [`Owned`] |
//! | `state` | state, flags, errors, the timer |
//! | `ends` | addresses, ports and interfaces |
//! | `packets`, `dense` | packets that came in; how they are joined |
//! | `memory` | the buffers' sizes, and what is charged for bytes to send |
//! | `wait` | waiting and waking |
//! | `child` | a listener's connections until accept(), and who gives a socket up |
//!
//! What a [`Sock`] tells without its lock are single words, perhaps out of date at once.

use core::cell::UnsafeCell;
use core::ptr::NonNull;

use kernel::prelude::*;
use kernel::sync::aref::{ARef, AlwaysRefCounted};
use kernel::sync::rcu;
use kernel::types::Opaque;

use super::bindings;
use super::errno::eafnosupport;
use super::net::Net;
use super::netfilter::ipv6_is_present;
use super::packet_tree::PacketTree;
use super::proc::Uid;
use super::proto::{Protocol, Statics};
use super::small_queue;
use super::table::{Entry, FlowKey, Kind};

mod child;
mod dense;
mod ends;
mod lock;
mod memory;
mod packets;
mod state;
mod wait;

pub(crate) use child::{Child, SockQueue};
pub(super) use ends::is_v6;
pub(crate) use lock::{Locked, Owned};
pub(crate) use memory::MEMINFO;
pub(crate) use state::{Flag, SkState};

/// A socket of protocol `P`.
///
/// # Invariants
///
/// * It lies in an object of one of `P`'s slab caches, after `sk_alloc()`, and is freed by
///   `sk_free()` a grace period after its last reference went (`SOCK_RCU_FREE`).
/// * It holds its namespace, which has a `P::PerNet`; it is counted in `sockets_allocated`, and the drop of `P`'s
///   registration, which owns that of the `P::PerNet`s, waits until that is 0.
/// * `state`, `tcp_rtx_queue` and the flags of `entry` are protected by the socket lock.
/// * `tcp_rtx_queue`, which is the protocol's, is a [`PacketTree`] of packets that came out of order, each of them charged to the
///   socket.
/// * A socket is made with a reference of its own. A program's `struct socket` has it, or a [`Child`] before accept();
///   after that it is the socket's while `Entry::replace_disowned` says so, and then it has been given up.
/// * The beginning of its `cork.base` is a `P::Notes`: corks are for datagrams.
/// * Its `cork.base.tx_flags` and what follows, in all eight bytes, are `route.rs`'s: when the next packet may leave.
/// * Its `cork.base.transmit_time` is a pointer to the namespace's `P::PerNet` ([`per_net`](Sock::per_net)).
/// * Its `sk_bind_node` is a [`Links`]: that is for the kernel's tables of bound sockets, in which ours are not.
#[repr(C)]
pub(crate) struct Sock<P: Protocol> {
    inet: Opaque<bindings::inet_sock>,
    pub(super) entry: Entry,
    shared: P::Shared,
    state: UnsafeCell<P::State>,
}

/// What a socket has in the two words of `sk_bind_node`.
///
/// # Invariants
///
/// * `next` belongs to the [`SockQueue`] that holds the socket, if one does.
/// * `small_queue` belongs to the list of `small_queue.rs` that the socket is in, if it is.
#[repr(C)]
struct Links {
    next: *mut bindings::sock,
    small_queue: bindings::llist_node,
}

const _: () = {
    assert!(size_of::<Links>() == size_of::<bindings::hlist_node>());
    assert!(align_of::<Links>() == align_of::<bindings::hlist_node>());
};

impl Links {
    const NONE: Self = Self {
        next: core::ptr::null_mut(),
        small_queue: bindings::llist_node {
            next: core::ptr::null_mut(),
        },
    };
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

    /// The protocol's part that has locks or atomics of its own.
    pub(crate) fn shared(&self) -> &P::Shared {
        &self.shared
    }

    /// What the protocol has in words of the kernel's, for those who have no lock.
    pub(crate) fn notes(&self) -> &P::Notes {
        // SAFETY: By the invariants; the socket is valid as long as the borrow.
        unsafe { &*Self::notes_of(self.as_ptr()) }
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
        // SAFETY: The word is the socket's, which is valid as long as the borrow; it does not change. By the invariants it
        // points to the namespace's value, which stays as long as the socket.
        unsafe { &**Self::per_net_of(self.as_ptr()) }
    }

    /// The flow that the socket is or was in the table for.
    pub(crate) fn flow(&self) -> FlowKey {
        self.entry.key()
    }

    /// `SO_MARK`.
    pub(crate) fn mark(&self) -> u32 {
        // SAFETY: A single word, volatile as `READ_ONCE` is.
        unsafe { (&raw const (*self.as_ptr()).sk_mark).read_volatile() }
    }

    /// `SO_REUSEADDR`.
    pub(crate) fn reuse(&self) -> bool {
        // SAFETY: Valid.
        unsafe { bindings::oxtcp_helper_sk_reuse(self.as_ptr()) }
    }

    /// `SO_REUSEPORT`.
    pub(crate) fn reuseport(&self) -> bool {
        // SAFETY: Valid.
        unsafe { bindings::oxtcp_helper_sk_reuseport(self.as_ptr()) }
    }

    /// Number of the socket's inode, 0 for none.
    pub(crate) fn inode(&self) -> u64 {
        // SAFETY: Valid.
        unsafe { bindings::oxtcp_helper_sock_ino(self.as_ptr()) }
    }

    /// What tells the socket from all others since the system's start (SO_COOKIE).
    pub(crate) fn cookie(&self) -> u64 {
        let mut halves = [0u32; 2];
        // SAFETY: Valid; the array has the two words that C writes.
        unsafe { bindings::sock_diag_save_cookie(self.as_ptr(), halves.as_mut_ptr()) };
        let [low, high] = halves.map(u64::from);
        low | (high << 32)
    }

    /// The number of the cgroup that has made it, or the listener that it was accepted from; 0 when the kernel does not know. Any context.
    pub(crate) fn cgroup(&self) -> u64 {
        // SAFETY: Valid, and so its cgroup stays.
        unsafe { bindings::oxtcp_helper_cgroup(self.as_ptr()) }
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

    /// Allocates and sets up a socket, with a reference of its own for the program.
    ///
    /// # Errors
    ///
    /// ENOMEM; EAFNOSUPPORT for IPv6 where the kernel was booted without it (`ipv6.disable=1`), and has nothing that its functions ask.
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
        if v6 && !ipv6_is_present() {
            return Err(eafnosupport());
        }
        // SAFETY: Promised by the caller.
        let per_net = Self::per_net_in(unsafe { Net::from_raw(net) })?;
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
            (*sk).__sk_common.skc_family = family as u16;
            (*sk).sk_type = P::SK_TYPE as u16;
            (*sk).sk_backlog_rcv = Some(Statics::<P>::backlog_rcv);
            let inet: *mut bindings::inet_sock = sk.cast();
            (*inet).uc_ttl = -1;
            (*inet).mc_ttl = 1;
            (*inet).pmtudisc = bindings::IP_PMTUDISC_WANT as u8;
            if v6 {
                let np = Self::pinfo6(sk);
                (*inet).pinet6 = np;
                (*np).hop_limit = -1;
                (*np).mcast_hops = 1;
                (*np).pmtudisc = bindings::IPV6_PMTUDISC_WANT as u8;
                bindings::oxtcp_helper_sk_set_ipv6only(sk, bindings::oxtcp_helper_bindv6only(net));
            }
            bindings::oxtcp_helper_inet_init_flags(sk);
            Self::make_ours(sk, per_net);
        }
        // SAFETY: The reference that `sock_init_data` set.
        Ok(unsafe { ARef::from_raw(this) })
    }

    /// Makes a socket of ours of one that `inet_create()` or `inet6_create()` has set up.
    ///
    /// # Errors
    ///
    /// EAFNOSUPPORT for a namespace that is coming or going; then nothing has been done.
    ///
    /// # Safety
    ///
    /// `sk` is new and known to its maker alone, who has a reference for `'a`; it lies in an object of the cache of `P`'s
    /// that is its family's, and `sock_init_data()` and what follows of its maker have run.
    pub(super) unsafe fn adopt<'a>(sk: *mut bindings::sock) -> Result<&'a Self> {
        // SAFETY: A socket's namespace is valid.
        let net = unsafe { Net::from_raw(bindings::oxtcp_helper_sock_net(sk)) };
        let per_net = Self::per_net_in(net)?;
        // SAFETY: Promised by the caller.
        unsafe {
            Self::make_ours(sk, per_net);
            Ok(Self::from_raw(sk))
        }
    }

    /// A namespace's value, for a socket that is to hold the namespace.
    ///
    /// # Errors
    ///
    /// EAFNOSUPPORT: a namespace that is being set up has none yet, one that is taken down has none any more.
    fn per_net_in(net: &Net) -> Result<*const P::PerNet> {
        match net.get::<P::PerNet>(&rcu::read_lock()) {
            Some(per_net) => Ok(core::ptr::from_ref(per_net)),
            None => Err(eafnosupport()),
        }
    }

    /// What all our sockets have beside what the INET layer's have, and our part of it.
    ///
    /// # Safety
    ///
    /// As for [`set_up`](Self::set_up), with the INET layer's part set up; `per_net` is the socket's namespace's.
    unsafe fn make_ours(sk: *mut bindings::sock, per_net: *const P::PerNet) {
        // SAFETY: Promised by the caller.
        unsafe {
            bindings::oxtcp_helper_sk_hold_net(sk);
            bindings::oxtcp_helper_sk_sockets_allocated(sk, true);
            // INVARIANT: From here on the value stays as long as the socket.
            *Self::per_net_of(sk) = per_net;
            (*sk).sk_protocol = P::SK_PROTOCOL;
            (*sk).sk_gso_type = bindings::SKB_GSO_TCPV4 as u16;
            // Without SOCK_USE_WRITE_QUEUE: each packet that leaves calls `sk_write_space`.
            bindings::oxtcp_helper_sock_set_flag(sk, bindings::sock_flags_SOCK_RCU_FREE as i32);
            let inet: *mut bindings::inet_sock = sk.cast();
            (*inet).inet_id.counter = i32::from(bindings::get_random_u16());
            Self::set_up(sk);
        }
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
            (&raw mut (*at).entry).write(Entry::new(Kind::Sock));
            // INVARIANT: In no queue and in no list.
            Self::links_of(sk).write(Links::NONE);
            (*sk).sk_tsq_flags = 0;
            (*sk).sk_write_space = Some(small_queue::write_space::<P>);
            Self::apart_of(sk).write(PacketTree::new());
            // INVARIANT: Of the type that it is read as.
            Self::notes_of(sk).write(P::new_notes());
            let Ok(()) = P::new_shared().__pinned_init(&raw mut (*at).shared);
            (&raw mut (*at).state).write(UnsafeCell::new(P::new_state()));
            bindings::oxtcp_helper_sk_timer_setup(sk, Some(Statics::<P>::timer));
            (*sk).sk_destruct = Some(Statics::<P>::destruct);
        }
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

    /// Drops what `alloc` made, as the last thing before the memory goes.
    ///
    /// # Safety
    ///
    /// Called once, from `sk_destruct`, when nobody can reach the socket any more.
    pub(super) unsafe fn drop_parts(sk: *mut bindings::sock) {
        let this: *mut Self = sk.cast();
        // SAFETY: Promised by the caller. The packets' charges go back to the socket, which is there still.
        unsafe {
            core::ptr::drop_in_place(Self::apart_of(sk));
            core::ptr::drop_in_place(&raw mut (*this).shared);
            core::ptr::drop_in_place(&raw mut (*this).state);
        }
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

    /// [`Sock::shared`] of a socket that perhaps nobody has a reference on any more.
    ///
    /// # Safety
    ///
    /// `sk` is a socket of `P` that is set up, and its memory stays for `'a`: it is not in `sk_destruct` before the end.
    pub(super) unsafe fn shared_of<'a>(sk: *const bindings::sock) -> &'a P::Shared {
        let at: *const Self = sk.cast();
        // SAFETY: Promised by the caller.
        unsafe { &(*at).shared }
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::sock {
        self.inet.get().cast()
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

    /// The socket's node in the lists of `small_queue.rs`.
    pub(super) fn small_queue(&self) -> *mut bindings::llist_node {
        // SAFETY: The socket is valid; nothing is read or written here.
        unsafe { &raw mut (*Self::links_of(self.as_ptr())).small_queue }
    }

    /// Where the socket's [`Links`] are.
    ///
    /// # Safety
    ///
    /// `sk` is a valid socket.
    unsafe fn links_of(sk: *mut bindings::sock) -> *mut Links {
        // SAFETY: Promised by the caller.
        unsafe { bindings::oxtcp_helper_sk_bind_node(sk) }.cast()
    }

    /// Where the packets are that came out of order.
    ///
    /// # Safety
    ///
    /// `sk` is a valid socket.
    unsafe fn apart_of(sk: *mut bindings::sock) -> *mut PacketTree {
        // SAFETY: Promised by the caller. A `PacketTree` is an `rb_root`.
        unsafe { bindings::oxtcp_helper_sk_tree(sk) }.cast()
    }

    /// Where the protocol's notes are.
    ///
    /// # Safety
    ///
    /// `sk` is a valid socket.
    unsafe fn notes_of(sk: *mut bindings::sock) -> *mut P::Notes {
        const {
            assert!(size_of::<P::Notes>() <= bindings::OXTCP_NOTES_LEN as usize);
            assert!(align_of::<P::Notes>() <= align_of::<i64>());
            // The socket does not drop them.
            assert!(!core::mem::needs_drop::<P::Notes>());
            assert!(core::mem::offset_of!(bindings::inet_sock, cork.base) % align_of::<i64>() == 0);
            assert!(
                core::mem::offset_of!(bindings::inet_cork, tx_flags)
                    >= bindings::OXTCP_NOTES_LEN as usize
            );
        }
        // SAFETY: Promised by the caller: ours are `struct inet_sock`s. There is so much room, aligned for an `i64`, in what is for
        // datagrams that are put together of several calls; a stream has only `cork.fl`.
        unsafe { (&raw mut (*sk.cast::<bindings::inet_sock>()).cork.base).cast() }
    }

    /// Where it stands what the socket's namespace has of the protocol.
    ///
    /// # Safety
    ///
    /// `sk` is a valid socket.
    unsafe fn per_net_of(sk: *mut bindings::sock) -> *mut *const P::PerNet {
        const {
            let behind = core::mem::offset_of!(bindings::inet_cork, transmit_time);
            assert!(behind >= bindings::OXTCP_NOTES_LEN as usize);
            let at = core::mem::offset_of!(bindings::inet_sock, cork.base.transmit_time);
            assert!(at % align_of::<*const P::PerNet>() == 0);
            assert!(size_of::<*const P::PerNet>() <= size_of::<u64>());
        }
        // SAFETY: Promised by the caller; as for the notes, behind them.
        unsafe { (&raw mut (*sk.cast::<bindings::inet_sock>()).cork.base.transmit_time).cast() }
    }

    /// The socket behind this one in its [`SockQueue`].
    ///
    /// # Safety
    ///
    /// The socket is in a queue that is the caller's.
    unsafe fn next(&self) -> Option<NonNull<Self>> {
        // SAFETY: Valid; the link is the queue's.
        NonNull::new(unsafe { (*Self::links_of(self.as_ptr())).next }.cast())
    }

    /// Sets [`next`](Self::next).
    ///
    /// # Safety
    ///
    /// The socket is in a queue that is the caller's, or about to be; what is set is in the same queue.
    unsafe fn set_next(&self, next: Option<NonNull<Self>>) {
        let next = next.map_or(core::ptr::null_mut(), NonNull::as_ptr).cast();
        // SAFETY: Valid; the link is the queue's.
        unsafe { (*Self::links_of(self.as_ptr())).next = next };
    }

    /// The socket that a node belongs to.
    ///
    /// # Safety
    ///
    /// `node` came from [`Sock::small_queue`] of a socket of `P` that is still there.
    pub(super) unsafe fn of_small_queue(node: *mut bindings::llist_node) -> NonNull<Self> {
        // SAFETY: Promised by the caller: the node lies in a socket, and so is not null.
        unsafe {
            let links = node.byte_sub(core::mem::offset_of!(Links, small_queue));
            NonNull::new_unchecked(bindings::oxtcp_helper_sk_of_bind_node(links.cast()).cast())
        }
    }
}
