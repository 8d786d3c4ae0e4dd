// SPDX-License-Identifier: GPL-2.0

//! Waiting for something to happen to a socket, and waking those who wait.

use kernel::prelude::*;

use super::{Locked, Owned, Sock};
use crate::sys::bindings;
use crate::sys::proto::Protocol;

impl<P: Protocol> Sock<P> {
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
        // SAFETY: A single word, volatile as `READ_ONCE` is.
        unsafe { (&raw const (*self.as_ptr()).sk_lingertime).read_volatile() }
    }

    /// Wakes readers: there is data, or a connection to accept.
    pub(crate) fn wake_readers(&self) {
        // SAFETY: Valid; the callback is set for the socket's life.
        unsafe { bindings::oxtcp_helper_sk_data_ready(self.as_ptr()) };
    }
}

impl<P: Protocol> Locked<'_, P> {
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
            self.sock().wake_readers();
        }
    }

    /// Wakes writers if there is room now.
    pub(crate) fn wake_writers(&mut self) {
        if !self.is_dead() {
            // SAFETY: Valid; the callback is set for the socket's life.
            unsafe { bindings::oxtcp_helper_sk_write_space(self.sk()) };
        }
    }

    /// Tells who owns the program's file that the peer has urgent data (SIGURG).
    pub(crate) fn signal_urgent(&mut self) {
        // SAFETY: Valid and locked, so that the `struct socket`, if there is one, stays, and its file with it.
        unsafe { bindings::oxtcp_helper_sk_send_sigurg(self.sk()) };
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
}

impl<P: Protocol> Owned<'_, P> {
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

    /// What a call that would wait for `timeo` jiffies returns if a signal is there.
    ///
    /// # Errors
    ///
    /// EAGAIN for no time, else ERESTARTSYS or EINTR.
    pub(crate) fn check_signal(&self, timeo: isize) -> Result {
        // SAFETY: No conditions.
        kernel::error::to_result(unsafe { bindings::oxtcp_helper_signal_errno(timeo) })
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

    /// To be asked before a wait, in a context that may sleep: what waits stands in a queue of the program's `struct socket`.
    ///
    /// # Errors
    ///
    /// EPIPE for a socket that no program has.
    fn may_wait(&self) -> Result {
        kernel::task::might_sleep();
        // SAFETY: Valid and locked, so it does not change; only a call of the program's owns the socket until it is
        // cut loose ([`Sock::lock`]), so the `struct socket` stays for the wait.
        if unsafe { (*self.sk()).sk_socket.is_null() } {
            return Err(EPIPE);
        }
        Ok(())
    }
}
