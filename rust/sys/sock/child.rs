// SPDX-License-Identifier: GPL-2.0

//! A listener's connections until a program has them, and the reference that each socket has of its own.

use core::mem::ManuallyDrop;
use core::ptr::NonNull;

use kernel::prelude::*;
use kernel::sync::aref::ARef;

use super::{Locked, Sock};
use crate::sys::bindings;
use crate::sys::proto::Protocol;
use crate::sys::small_queue;

/// A socket that a listener made and no program has yet, with the reference that will be the accepting program's.
///
/// Dropping it abandons the socket, soon after: [`Protocol::abandon`]. Any context, any locks.
///
/// # Invariants
///
/// There is one such value for the socket, which is in no queue and has no `struct socket`; the reference is the socket's
/// own.
pub(crate) struct Child<P: Protocol>(ManuallyDrop<ARef<Sock<P>>>);

impl<P: Protocol> Child<P> {
    /// Makes one, see [`Sock::new_child`].
    pub(crate) fn new(listener: &Sock<P>) -> Result<Self> {
        // INVARIANT: New, so nobody else has it.
        Sock::new_child(listener).map(Self::own)
    }

    /// A second reference, to use the child while the first is in a queue.
    pub(crate) fn reference(&self) -> ARef<Sock<P>> {
        (*self.0).clone()
    }

    /// Whether it is of the listener's address family and in its namespace.
    pub(in crate::sys) fn is_like(&self, listener: &Sock<P>) -> bool {
        self.0.is_v6() == listener.is_v6() && core::ptr::eq(self.0.net(), listener.net())
    }

    /// For accept(), which gives it a `struct socket`.
    pub(in crate::sys) fn into_raw(self) -> NonNull<Sock<P>> {
        ARef::into_raw(self.into_own())
    }

    fn own(own: ARef<Sock<P>>) -> Self {
        Self(ManuallyDrop::new(own))
    }

    fn into_own(self) -> ARef<Sock<P>> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: Taken once: `this` is not dropped.
        unsafe { ManuallyDrop::take(&mut this.0) }
    }
}

impl<P: Protocol> Drop for Child<P> {
    fn drop(&mut self) {
        // SAFETY: Taken once. By the invariants it is the socket's own reference, and there is no `struct socket`.
        unsafe { small_queue::drop_child(ManuallyDrop::take(&mut self.0)) };
    }
}

/// A queue of sockets, first in first out: a listener's connections that wait for accept().
///
/// # Invariants
///
/// From `head` to `tail` the sockets are linked by [`Sock::next`], which belongs to the queue. For each the queue is what a
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
        let raw = child.into_raw();
        // SAFETY: `Child` says that the socket is in no queue, so `next` is ours now; the tail
        // is in this queue.
        unsafe {
            raw.as_ref().set_next(None);
            match self.tail {
                Some(tail) => tail.as_ref().set_next(Some(raw)),
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
        self.head = unsafe { head.as_ref().next() };
        if self.head.is_none() {
            self.tail = None;
        }
        self.len = self.len.saturating_sub(1);
        // SAFETY: The queue's reference.
        // INVARIANT: It came from a `Child`, and is in no queue any more.
        Some(Child::own(unsafe { ARef::from_raw(head) }))
    }
}

impl<P: Protocol> Drop for SockQueue<P> {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}

impl<P: Protocol> Locked<'_, P> {
    /// No program will get this child: its reference is the socket's, until [`Locked::destroy`]. The child of another
    /// socket is only dropped.
    pub(crate) fn disown(&mut self, child: Child<P>) {
        if !core::ptr::eq(&**child.0, self.sock()) {
            return;
        }
        let _ = child.into_raw();
        // SAFETY: By `Child`'s invariants there is no `struct socket` yet; that reference was left behind above.
        unsafe { self.orphan() };
    }

    /// Lets go of the socket's own reference, if that is the socket's: close() or [`Locked::disown`] has left it. Else, and
    /// a second time, nothing happens.
    ///
    /// For a socket out of every table, in state `TCP_CLOSE`.
    pub(crate) fn destroy(&mut self) {
        // SAFETY: The lock is held.
        if !unsafe { self.sock().entry.replace_disowned(false) } {
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

    /// Calls [`Protocol::timer`], or [`Protocol::abandon`] for a [`Child`] that was dropped.
    pub(in crate::sys) fn run_timer(&mut self) {
        // SAFETY: Valid; a single bit.
        if !unsafe { bindings::oxtcp_helper_sk_was_dropped(self.sk()) } {
            return P::timer(self);
        }
        // SAFETY: By `Child`'s invariants there is no `struct socket`; the drop has left its reference behind.
        unsafe { self.orphan() };
        P::abandon(self);
    }

    /// Cuts the socket loose from its program, which leaves its reference behind, as close() does.
    ///
    /// # Safety
    ///
    /// The program's `struct socket` will not be used with the socket any more, nor give the reference up.
    pub(in crate::sys) unsafe fn orphan(&mut self) {
        // SAFETY: Valid and locked.
        unsafe { bindings::oxtcp_helper_sock_orphan(self.sk()) };
        // INVARIANT: The reference that the program leaves, as the caller promises.
        // SAFETY: The lock is held.
        unsafe { self.sock().entry.replace_disowned(true) };
    }
}

impl<P: Protocol> Sock<P> {
    /// Makes a socket without a `struct socket`: a connection that a listener made. Any context. For [`Child`].
    ///
    /// It begins as a copy of the listener's `struct sock`, as those of the kernel's TCP do: with its
    /// cgroup, filters and settings, and the LSM's label.
    ///
    /// # Errors
    ///
    /// ENOMEM; EINVAL for a listener of the kernel's that is to send from pages of its own.
    fn new_child(listener: &Sock<P>) -> Result<ARef<Self>> {
        // A copy that does not come off gives up the page in `sk_frag`, which is the original's. Only those that this flag
        // was taken from have one.
        // SAFETY: A single byte, which is set before the socket is used.
        if !unsafe { (&raw const (*listener.as_ptr()).sk_use_task_frag).read_volatile() } {
            return Err(EINVAL);
        }
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
            // A listener that is being closed is shut down already, and dead perhaps, when what it leaves is completed for another one.
            (*sk).sk_shutdown = 0;
            bindings::oxtcp_helper_sock_reset_flag(sk, bindings::sock_flags_SOCK_DEAD as i32);
            (*sk).sk_frag = core::mem::zeroed();
            // A route's reference is the original's alone.
            (*sk).sk_rx_dst = core::ptr::null_mut();
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
}
