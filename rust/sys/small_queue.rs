// SPDX-License-Identifier: GPL-2.0

//! Small queues: a socket that has enough packets in the queues below it is told to wait, and called when some have left.
//!
//! Every packet that a socket sends is charged to it (`sk_wmem_alloc`) until the kernel's own `sock_wfree()` takes the
//! charge back. That keeps the last byte of the charge while it calls `sk_write_space`, which is [`write_space`], and
//! gives it up after. So while code of the module runs, the charge keeps the socket, which keeps the module; and the
//! packet's destructor is the kernel's: packets may stay in a queue for as long as they like, what they point
//! to is there. A segment without data has `__sock_wfree()`, which takes the charge back and calls nobody, and a charge of two bytes
//! (Linux's `skb_set_tcp_pure_ack()`): a socket waits for packets with data alone.
//!
//! A [`Child`](super::sock::Child) that is dropped goes the same way, as that too may happen in any context.
//!
//! The destructor may run inside of the call that sends, with the socket locked, and in any context. So `write_space` only puts
//! the socket into a list of its CPU, which a work item works off in a softirq.

use core::ptr::NonNull;

use kernel::sync::aref::ARef;

use super::bindings;
use super::proto::Protocol;
use super::sock::{Locked, Sock};

impl<P: Protocol> Locked<'_, P> {
    /// Whether more than `limit` bytes of memory lie below the socket, in packets that have not left the host. If so,
    /// [`Protocol::timer`] is called when some have.
    pub(crate) fn throttle(&mut self, limit: u32) -> bool {
        let limit = i32::try_from(limit).unwrap_or(i32::MAX);
        // SAFETY: Valid and locked.
        unsafe { bindings::oxtcp_helper_sk_throttle(self.as_ptr(), limit) }
    }
}

/// `sk_write_space`: a packet of the socket has left the host, or SO_SNDBUF has grown. Any context, the socket locked or not.
///
/// # Safety
///
/// For the kernel to call, with a socket of `P` whose memory stays for the call: `sock_wfree()` holds `sk_wmem_alloc`,
/// others a reference.
pub(super) unsafe extern "C" fn write_space<P: Protocol>(sk: *mut bindings::sock) {
    // SAFETY: Promised by the caller; both work on single words of the socket, or under RCU.
    let called_for = unsafe {
        bindings::oxtcp_helper_sk_write_space(sk);
        bindings::oxtcp_helper_sk_unthrottle(sk)
    };
    if !called_for {
        return;
    }
    // A socket whose last reference is gone has nothing to send.
    // SAFETY: A socket of `P`, whose memory stays for the call.
    let held = NonNull::new(sk).and_then(|sk| unsafe { Sock::<P>::try_hold(sk.cast()) });
    if let Some(reference) = held {
        // SAFETY: OXTCP_QUEUED was just set.
        unsafe { add(reference) };
    }
}

/// Has [`Locked::run_timer`] called for a socket that nobody will accept, which gives up the reference. Any context, the socket
/// locked or not.
///
/// # Safety
///
/// The reference is the socket's own, and it has no `struct socket`.
pub(super) unsafe fn drop_child<P: Protocol>(own: ARef<Sock<P>>) {
    // SAFETY: Valid by the reference; both work on single words of the socket.
    if unsafe { bindings::oxtcp_helper_sk_drop(own.as_ptr()) } {
        // SAFETY: OXTCP_QUEUED was just set.
        unsafe { add(own.clone()) };
    }
    // Until `run_timer` has made an orphan of the socket, with this reference for its own.
    let _ = ARef::into_raw(own);
}

/// Puts the socket into a list of its CPU, with the reference.
///
/// # Safety
///
/// The caller has set OXTCP_QUEUED, which says that the node is in no list and the caller's to put into one.
unsafe fn add<P: Protocol>(sock: ARef<Sock<P>>) {
    let sock = ARef::into_raw(sock);
    // SAFETY: Promised by the caller. The reference goes with it.
    unsafe { bindings::oxtcp_helper_small_queue_add(sock.as_ref().small_queue()) };
}

/// Packets of the socket have left, or nobody will accept it. Softirq context.
///
/// # Safety
///
/// `node` is a [`Sock::<P>::small_queue`](Sock::small_queue) that [`add`] put into a list, and that was taken out.
unsafe extern "C" fn drained<P: Protocol>(node: *mut bindings::llist_node) {
    // SAFETY: Promised by the caller; the reference that the list held is ours now.
    let sock = unsafe { ARef::from_raw(Sock::<P>::of_small_queue(node)) };
    // SAFETY: Valid by the reference, and out of the list.
    unsafe { bindings::oxtcp_helper_sk_unqueued(sock.as_ptr()) };
    sock.timer_expired();
}

/// The lists and their work items.
///
/// # Invariants
///
/// They are set up for the sockets of one protocol, and it is the only value of its type.
pub(super) struct SmallQueues(());

impl SmallQueues {
    /// Sets them up.
    ///
    /// # Safety
    ///
    /// There is no other, and no socket of `P` yet.
    pub(super) unsafe fn new<P: Protocol>() -> Self {
        // SAFETY: Nobody uses the lists yet.
        unsafe { bindings::oxtcp_helper_small_queues_init(Some(drained::<P>)) };
        // INVARIANT: Set up above, and the caller promises the rest.
        Self(())
    }
}

impl Drop for SmallQueues {
    /// Waits for the work items. For when no socket is left.
    fn drop(&mut self) {
        // SAFETY: Set up by the invariant.
        unsafe { bindings::oxtcp_helper_small_queues_exit() };
    }
}
