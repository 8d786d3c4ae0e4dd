// SPDX-License-Identifier: GPL-2.0

//! The socket lock.

use core::marker::PhantomData;
use core::ops::{Deref, DerefMut};

use kernel::sync::rcu;
use kernel::types::NotThreadSafe;

use super::Sock;
use crate::sys::bindings;
use crate::sys::proto::Protocol;
use crate::sys::skb::{Claimed, Detached, SkBuff};

impl<P: Protocol> Sock<P> {
    /// Owns the socket as a process while `f` runs; then works the backlog off and lets go.
    ///
    /// For calls of the program that has the socket: who waits in one stands in a queue of the `struct socket`, which only
    /// the program's reference on that keeps.
    ///
    /// # Context
    ///
    /// Process; sleeps.
    pub(in crate::sys) fn lock<R>(&self, f: impl FnOnce(&mut Owned<'_, P>) -> R) -> R {
        struct Release<'a, P: Protocol>(&'a Sock<P>);
        impl<P: Protocol> Drop for Release<'_, P> {
            fn drop(&mut self) {
                // SAFETY: Valid, and owned by this process since `lock`.
                unsafe { bindings::release_sock(self.0.as_ptr()) };
            }
        }
        // SAFETY: Valid. In a context that must not sleep the debug kernel says so (C's `lock_sock()` looks).
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

    /// As [`Sock::lock_bh`], but waits for a process that owns the socket, up to so many milliseconds, or until who waits is killed.
    ///
    /// For those without the program's reference on the `struct socket`: they must not own the socket, as who lets go of one
    /// counts on it that no process comes to own it after the program.
    ///
    /// # Context
    ///
    /// Process; sleeps, and `f` must not.
    pub(crate) fn lock_bh_within<R>(
        &self,
        millis: u32,
        mut f: impl FnOnce(&mut Locked<'_, P>) -> R,
    ) -> Option<R> {
        kernel::task::might_sleep();
        for _ in 0..millis {
            f = match Bh::lock(self).unowned(f) {
                Ok(result) => return Some(result),
                Err(f) => f,
            };
            // SAFETY: No conditions.
            if unsafe { bindings::oxtcp_helper_fatal_signal() } {
                return None;
            }
            // SAFETY: No conditions; may sleep, as seen above.
            unsafe { bindings::usleep_range_state(500, 1000, bindings::TASK_UNINTERRUPTIBLE) };
        }
        self.lock_bh(f)
    }

    /// As [`Sock::lock_bh`], for a new child while its listener or half-open object is locked.
    ///
    /// # Context
    ///
    /// Any but hard interrupts; `f` must not sleep.
    pub(crate) fn lock_bh_child<R>(&self, f: impl FnOnce(&mut Locked<'_, P>) -> R) -> Option<R> {
        Bh::lock_child(self).unowned(f).ok()
    }

    /// Hands a packet to the protocol: now, or by the backlog when a process owns the socket. The route that it came in by is kept for those
    /// that come after it ([`early`](crate::sys::early)).
    ///
    /// The context of [`LocalIn`](crate::sys::netfilter::LocalIn::local_in).
    #[inline]
    pub(crate) fn receive(&self, skb: SkBuff<Claimed<'_>>, rcu: &rcu::Guard) {
        let bh = Bh::lock(self);
        if !bh.is_owned() && !self.has_route_of(&skb, &bh) {
            // SAFETY: Both are valid, the spin lock is held, nobody owns the socket, and the packet is within its RCU section. The helper asks whether
            // they are of one namespace.
            unsafe { bindings::oxtcp_helper_early_keep_route(self.as_ptr(), skb.as_ptr()) };
        }
        self.receive_locked(&bh, skb.detach(), rcu);
    }

    /// As [`Sock::receive`], for a packet whose route has gone.
    pub(crate) fn receive_detached(&self, skb: SkBuff, rcu: &rcu::Guard) {
        self.receive_locked(&Bh::lock(self), skb, rcu);
    }

    /// Whether the packet's route, and the interface that it came in by, are those that the socket keeps. `bh` is this socket's.
    #[inline]
    fn has_route_of(&self, skb: &SkBuff<Claimed<'_>>, _bh: &Bh<'_, P>) -> bool {
        // SAFETY: Valid; both words are written with the spin lock held, which `_bh` stands for, but for an `xchg` of the first one, which is read as
        // a whole. It is not followed.
        let (route, ifindex) = unsafe {
            let sk = self.as_ptr();
            (
                (&raw const (*sk).sk_rx_dst).read_volatile(),
                (&raw const (*sk).sk_rx_dst_ifindex).read_volatile(),
            )
        };
        route == skb.route() && ifindex == skb.skb_iif()
    }

    /// `bh` is this socket's.
    #[inline(always)]
    fn receive_locked(&self, bh: &Bh<'_, P>, skb: SkBuff, rcu: &rcu::Guard) {
        if !bh.is_owned() {
            // SAFETY: The spin lock is held until `bh` goes, and there is no owner.
            unsafe { Locked::assume(self, |sk| P::segment(sk, skb, rcu)) };
            return;
        }
        // The owner may change the sizes.
        let limit = self
            .rcvbuf()
            .saturating_mul(2)
            .saturating_add(self.sndbuf() / 2)
            .saturating_add(64 * 1024);
        let skb = skb.into_raw();
        // SAFETY: The lock is held, a process owns the socket, and the packet is ours.
        if unsafe { bindings::oxtcp_helper_sk_add_backlog(self.as_ptr(), skb.as_ptr(), limit) } != 0
        {
            // SAFETY: It was not taken, so it is still ours, and as it was.
            let skb = unsafe { SkBuff::<Detached>::from_raw(skb) };
            P::backlog_is_full(self, skb);
        }
    }

    /// The socket's timer has run out, or there is something else that [`Locked::run_timer`] looks after: it is called now, or
    /// as the process that owns the socket lets go.
    ///
    /// # Context
    ///
    /// Softirq.
    pub(crate) fn timer_expired(&self) {
        let mut bh = Bh::lock(self);
        if bh.unowned(|sk| sk.run_timer()).is_err() {
            // SAFETY: `bh` holds the spin lock.
            unsafe { self.entry.replace_deferred(true) };
        }
    }

    /// Takes the note that a timer left which ran out while a process owned the socket.
    ///
    /// # Safety
    ///
    /// The spin lock is held.
    pub(in crate::sys) unsafe fn take_deferred(&self) -> bool {
        // SAFETY: Promised by the caller.
        unsafe { self.entry.replace_deferred(false) }
    }
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
    pub(in crate::sys) unsafe fn assume<R>(
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

    /// Whether a process owns the socket; else the lock is held in the softirq's way, and nothing is on the backlog.
    pub(crate) fn is_owned(&self) -> bool {
        // SAFETY: Valid and locked, so the word does not change.
        unsafe { bindings::oxtcp_helper_sock_owned_by_user(self.sk()) }
    }

    pub(super) fn sk(&self) -> *mut bindings::sock {
        self.sk.as_ptr()
    }

    pub(in crate::sys) fn as_ptr(&self) -> *mut bindings::sock {
        self.sk()
    }
}

/// A socket that a process owns: what may be done to it in process context, sleeping included.
///
/// # Invariants
///
/// Those of [`Locked`], by a process that owns the socket, runs no callback of its release, and may sleep.
pub(crate) struct Owned<'a, P: Protocol>(Locked<'a, P>);

impl<P: Protocol> Owned<'_, P> {
    /// Lends `f` the socket, for callbacks that the kernel makes in a process that owns the socket.
    ///
    /// # Safety
    ///
    /// As the type's invariants say while `f` runs, and nobody else uses a value of this type or a [`Locked`]
    /// for the socket meanwhile.
    pub(in crate::sys) unsafe fn assume<R>(
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

/// The softirq side of the socket lock.
///
/// # Invariants
///
/// The spin lock is held, bottom halves are off; a process owns the socket all the same if `is_owned`.
struct Bh<'a, P: Protocol> {
    sk: &'a Sock<P>,
    is_owned: bool,
}

impl<'a, P: Protocol> Bh<'a, P> {
    fn lock(sk: &'a Sock<P>) -> Self {
        // SAFETY: Valid; undone by the drop.
        let is_owned = unsafe { bindings::oxtcp_helper_bh_lock_sock(sk.as_ptr()) };
        // INVARIANT: Locked above.
        Self { sk, is_owned }
    }

    /// With the lock class of a child, which tells lockdep of the nesting.
    fn lock_child(sk: &'a Sock<P>) -> Self {
        // SAFETY: As for `lock`.
        let is_owned = unsafe { bindings::oxtcp_helper_bh_lock_sock_child(sk.as_ptr()) };
        // INVARIANT: Locked above.
        Self { sk, is_owned }
    }

    /// Whether a process owns the socket; cannot change while the spin lock is held.
    fn is_owned(&self) -> bool {
        self.is_owned
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
        Ok(unsafe { Locked::assume(self.sk, f) })
    }
}

impl<P: Protocol> Drop for Bh<'_, P> {
    fn drop(&mut self) {
        // SAFETY: Held by the invariant, and taken with bottom halves off.
        unsafe { bindings::oxtcp_helper_bh_unlock_sock(self.sk.as_ptr()) };
    }
}
