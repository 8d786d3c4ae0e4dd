// SPDX-License-Identifier: GPL-2.0

//! The sizes of a socket's buffers, and what the socket is charged for bytes to send.

use core::ptr::NonNull;

use kernel::prelude::*;

use super::{Locked, Owned, Sock};
use crate::sys::bindings;
use crate::sys::errno::enobufs;
use crate::sys::page::PageFragment;
use crate::sys::proto::Protocol;
use crate::sys::user::{FromProgram, Message};

/// Words of [`Sock::meminfo`].
pub(crate) const MEMINFO: usize = bindings::SK_MEMINFO_VARS as usize;

impl<P: Protocol> Sock<P> {
    /// Receive buffer, in bytes of memory.
    pub(crate) fn rcvbuf(&self) -> u32 {
        // SAFETY: A single word, volatile as `READ_ONCE` is.
        unsafe { (&raw const (*self.as_ptr()).sk_rcvbuf).read_volatile() }.max(0) as u32
    }

    /// Send buffer, in bytes.
    pub(crate) fn sndbuf(&self) -> u32 {
        // SAFETY: A single word, volatile as `READ_ONCE` is.
        unsafe { (&raw const (*self.as_ptr()).sk_sndbuf).read_volatile() }.max(0) as u32
    }

    /// Memory that received packets hold, in bytes.
    pub(crate) fn rmem(&self) -> u32 {
        // SAFETY: A single word, volatile as `atomic_read` is.
        let bytes =
            unsafe { (&raw const (*self.as_ptr()).sk_backlog.rmem_alloc.counter).read_volatile() };
        bytes.max(0) as u32
    }

    /// What SO_MEMINFO tells, `SK_MEMINFO_*`: copies of words that change meanwhile.
    pub(crate) fn meminfo(&self) -> [u32; MEMINFO] {
        let mut words = [0; MEMINFO];
        // SAFETY: Valid; the array has as many words as C writes.
        unsafe { bindings::oxtcp_helper_sk_meminfo(self.as_ptr(), words.as_mut_ptr()) };
        words
    }

    /// Whether a writer finds room (the rule of poll(), `__sk_stream_is_writeable()`).
    #[inline]
    pub(crate) fn is_writeable(&self) -> bool {
        // SAFETY: Single words, volatile as `READ_ONCE` is.
        let (queued, limit) = unsafe {
            let sk = self.as_ptr();
            (
                (&raw const (*sk).sk_wmem_queued).read_volatile(),
                (&raw const (*sk).sk_sndbuf).read_volatile(),
            )
        };
        // What is free is to be half of what is taken.
        let has_space = limit.wrapping_sub(queued) >= queued >> 1;
        has_space && queued < limit && P::has_send_room(self.shared(), true)
    }

    /// `SO_RCVLOWAT`, for `waitall` all of `len`.
    pub(crate) fn rcvlowat(&self, waitall: bool, len: usize) -> usize {
        if waitall {
            return len.max(1);
        }
        // SAFETY: A single word, volatile as `READ_ONCE` is.
        let bytes = unsafe { (&raw const (*self.as_ptr()).sk_rcvlowat).read_volatile() };
        (bytes.max(0) as usize).min(len).max(1)
    }

    /// Whether the socket buffers of `which` were set by the user (`SOCK_*BUF_LOCK`).
    pub(crate) fn user_locked(&self, which: u32) -> bool {
        // SAFETY: A single word, volatile as `READ_ONCE` is.
        let locks = unsafe { (&raw const (*self.as_ptr()).sk_userlocks).read_volatile() };
        u32::from(locks) & which != 0
    }
}

impl<P: Protocol> Locked<'_, P> {
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

    /// Charges `bytes` more, for what the send buffer's upkeep costs.
    pub(crate) fn charge_sent(&mut self, bytes: u32) {
        self.add_queued(bytes as i32);
        // SAFETY: Valid and locked; a sum only.
        unsafe { bindings::oxtcp_helper_sk_mem_charge(self.sk(), bytes as i32) };
    }

    /// Gives back the charge of `bytes` that left the send buffer: no more than `take_message` and `charge_sent` have charged, all
    /// in all. Who gives back too much, or not all, makes the figures wrong that limit memory; C warns of it as the socket is
    /// freed.
    pub(crate) fn uncharge_sent(&mut self, bytes: u32) {
        self.add_queued((bytes as i32).wrapping_neg());
        // SAFETY: Valid and locked; a sum only.
        unsafe { bindings::oxtcp_helper_sk_mem_uncharge(self.sk(), bytes as i32) };
    }

    /// As C's `sk_wmem_queued_add()`.
    fn add_queued(&mut self, bytes: i32) {
        // SAFETY: Valid, and locked, so that nobody else writes; a single word, which others may read.
        unsafe {
            let at = &raw mut (*self.sk()).sk_wmem_queued;
            at.write_volatile(at.read().wrapping_add(bytes));
        }
    }

    /// Whether the send buffer has room.
    pub(crate) fn has_send_room(&self) -> bool {
        // SAFETY: Valid.
        unsafe { bindings::oxtcp_helper_sk_stream_memory_free(self.sk()) }
    }

    /// Whether the program has found no room to send since there last was some (SOCK_NOSPACE).
    pub(crate) fn is_short_of_room(&self) -> bool {
        // SAFETY: Valid, and locked, so that the `struct socket` stays; a single word, volatile as `test_bit` is.
        unsafe {
            let socket = (*self.sk()).sk_socket;
            !socket.is_null()
                && (&raw const (*socket).flags).read_volatile()
                    & (1 << bindings::socket_flags_SOCK_NOSPACE)
                    != 0
        }
    }

    /// Whether the socket has much to send and the protocol's sockets together more memory than they may.
    pub(crate) fn exceeds_memory(&self) -> bool {
        // SAFETY: Valid and locked.
        unsafe { bindings::oxtcp_helper_sk_exceeds_memory(self.sk()) }
    }
}

impl<P: Protocol> Owned<'_, P> {
    /// Takes up to `max` bytes of a message into page fragments.
    ///
    /// # Errors
    ///
    /// EFAULT when nothing could be read; ENOBUFS when there is no memory now (wait and try again).
    pub(crate) fn take_message(
        &mut self,
        from: &mut Message<'_, FromProgram>,
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
            self.add_queued(copied as i32);
            bindings::oxtcp_helper_sk_mem_charge(self.sk(), copied as i32);
            let page = NonNull::new((*frag).page).ok_or(enobufs())?;
            // The bytes are behind the fragment's offset now: nobody writes to them again.
            Ok(PageFragment::new(page, offset, copied as u32))
        }
    }
}
