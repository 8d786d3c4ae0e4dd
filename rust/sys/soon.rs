// SPDX-License-Identifier: GPL-2.0

//! A call a part of a millisecond from now: finer than the socket's timer, which counts in ticks.
//!
//! An object with a high-resolution timer and a reference of the socket is made for each, and frees itself when the call is over. So a
//! socket need not have room for one, nor wait for one when it ends: the reference keeps the socket, which keeps the module.

use core::ptr::NonNull;

use kernel::sync::aref::ARef;

use super::bindings;
use super::proto::Protocol;
use super::sock::{Locked, Sock};

impl<P: Protocol> Locked<'_, P> {
    /// Has [`Protocol::timer`] called in `after` nanoseconds, or up to `slack` later; if it is to be called already by this, then, and
    /// not again. False: there is no memory, and it will not be.
    pub(crate) fn call_soon(&mut self, after: u64, slack: u64) -> bool {
        // SAFETY: Valid and locked; `called::<P>` is for sockets of `P`.
        unsafe {
            bindings::oxtcp_helper_sk_call_soon(self.as_ptr(), after, slack, Some(called::<P>))
        }
    }
}

/// The time has come. Softirq context.
///
/// # Safety
///
/// For `oxtcp_soon_over()` to call, with a socket of `P` and a reference of it, which is given up.
unsafe extern "C" fn called<P: Protocol>(sk: *mut bindings::sock) {
    if let Some(sk) = NonNull::new(sk) {
        // SAFETY: Promised by the caller.
        let sock: ARef<Sock<P>> = unsafe { ARef::from_raw(sk.cast()) };
        sock.timer_expired();
    }
}
