// SPDX-License-Identifier: GPL-2.0

//! A socket's state, flags and errors, and its timer.

use kernel::prelude::*;

use super::{Locked, Sock};
use crate::sys::bindings;
use crate::sys::proto::Protocol;
use crate::sys::time::Jiffies;

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
    /// `SO_OOBINLINE`.
    UrgInline = bindings::sock_flags_SOCK_URGINLINE as i32,
    /// `SO_LINGER`.
    Linger = bindings::sock_flags_SOCK_LINGER as i32,
}

impl<P: Protocol> Sock<P> {
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

    pub(crate) fn flag(&self, flag: Flag) -> bool {
        // SAFETY: Valid; a single word, volatile as `test_bit` is.
        let flags = unsafe {
            (&raw const (*self.as_ptr()).__sk_common.__bindgen_anon_5.skc_flags).read_volatile()
        };
        flags & (1 << flag as usize) != 0
    }
}

impl<P: Protocol> Locked<'_, P> {
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
        self.sock().flag(Flag::Dead)
    }

    /// Whether a program has the socket: not before accept(), and not after close().
    pub(crate) fn has_program(&self) -> bool {
        // SAFETY: Valid and locked: both write the word with the lock held (`inet_accept()`, `sock_orphan()`).
        !unsafe { (*self.sk()).sk_socket.is_null() }
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

    /// Arms the socket's timer; [`Protocol::timer`] is called then.
    pub(crate) fn set_timer(&mut self, at: Jiffies) {
        // SAFETY: Valid, and set up by `alloc`; a pending timer holds a reference.
        unsafe { bindings::sk_reset_timer(self.sk(), self.timer(), at.get()) };
    }

    /// When the socket's timer goes off; `None` if it is not armed, or has gone off and its softirq waits for the lock.
    pub(crate) fn timer_at(&self) -> Option<Jiffies> {
        // SAFETY: Valid, and set up by `alloc`. A single word, volatile as in `timer_pending()`; `expires` is written by `set_timer`
        // alone, under the lock.
        unsafe {
            let links = (&raw const (*self.timer()).entry.pprev).read_volatile();
            (!links.is_null()).then(|| Jiffies::new((*self.timer()).expires))
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
}
