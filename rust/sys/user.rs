// SPDX-License-Identifier: GPL-2.0

//! Values that cross to and from user space: socket options and messages.

use core::marker::PhantomData;

use kernel::prelude::*;

use super::bindings;

/// The value that setsockopt() brought, of `len` bytes. It may point into the kernel.
pub(crate) struct OptionValue<'a> {
    pub(super) raw: bindings::sockptr_t,
    pub(super) len: u32,
    /// The value is there for the time of the call.
    pub(super) _call: PhantomData<&'a ()>,
}

impl OptionValue<'_> {
    /// Reads an `int`.
    ///
    /// # Errors
    ///
    /// EINVAL when the value is shorter than an int, EFAULT when it cannot be read.
    pub(crate) fn int(&self) -> Result<i32> {
        let mut value: i32 = 0;
        if (self.len as usize) < core::mem::size_of::<i32>() {
            return Err(EINVAL);
        }
        // SAFETY: `value` is valid for writes of its size; the source is checked by the copy, and
        // is at least as long by the test above.
        let err = unsafe {
            bindings::oxtcp_helper_copy_from_sockptr(
                (&raw mut value).cast(),
                self.raw,
                core::mem::size_of::<i32>(),
            )
        };
        if err != 0 {
            return Err(EFAULT);
        }
        Ok(value)
    }
}

impl OptionValue<'_> {
    /// Reads the first `N` bytes.
    ///
    /// # Errors
    ///
    /// EINVAL when the value is shorter, EFAULT when it cannot be read.
    pub(crate) fn exactly<const N: usize>(&self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        if (self.len as usize) < N {
            return Err(EINVAL);
        }
        // SAFETY: `bytes` is valid for writes of its size; the source is checked by the copy, and is at least as long by the test
        // above.
        let err = unsafe {
            bindings::oxtcp_helper_copy_from_sockptr(bytes.as_mut_ptr().cast(), self.raw, N)
        };
        if err != 0 {
            return Err(EFAULT);
        }
        Ok(bytes)
    }
}

impl OptionValue<'_> {
    /// Reads a structure of `N` bytes, of which a program may know a longer form.
    ///
    /// # Errors
    ///
    /// EINVAL when the value is shorter, E2BIG when what is longer is not zero, EFAULT when it cannot be read.
    pub(crate) fn structure<const N: usize>(&self) -> Result<[u8; N]> {
        let mut bytes = [0; N];
        if (self.len as usize) < N {
            return Err(EINVAL);
        }
        // SAFETY: `bytes` is valid for writes of its size; the source is checked by the copy, and has `len` bytes.
        kernel::error::to_result(unsafe {
            bindings::oxtcp_helper_copy_struct_from_sockptr(
                bytes.as_mut_ptr().cast(),
                N,
                self.raw,
                self.len as usize,
            )
        })?;
        Ok(bytes)
    }
}

impl OptionValue<'_> {
    /// Reads a name: up to `N` bytes, or up to the first NUL. Returns how many.
    ///
    /// # Errors
    ///
    /// EINVAL when the value is empty, EFAULT when it cannot be read.
    pub(crate) fn name<const N: usize>(&self, name: &mut [u8; N]) -> Result<usize> {
        let len = N.min(self.len as usize);
        if len == 0 {
            return Err(EINVAL);
        }
        // SAFETY: `name` is valid for writes of `len <= N` bytes; the source is checked by the copy, and is at least as
        // long.
        let err = unsafe {
            bindings::oxtcp_helper_copy_from_sockptr(name.as_mut_ptr().cast(), self.raw, len)
        };
        if err != 0 {
            return Err(EFAULT);
        }
        let end = name.iter().take(len).position(|&byte| byte == 0);
        Ok(end.unwrap_or(len))
    }
}

/// Where getsockopt() wants its answer: a user buffer and the user's length word.
pub(crate) struct OptionAnswer<'a> {
    pub(super) value: *mut kernel::ffi::c_char,
    pub(super) len: *mut kernel::ffi::c_int,
    /// The addresses are the caller's for the time of the call.
    pub(super) _call: PhantomData<&'a ()>,
}

impl OptionAnswer<'_> {
    /// Answers with an int, cut to the length that the user gave, as the kernel's TCP does.
    ///
    /// # Errors
    ///
    /// EINVAL for a negative length, EFAULT for addresses that cannot be used.
    pub(crate) fn int(&self, answer: i32) -> Result {
        self.bytes(&answer.to_ne_bytes())
    }

    /// Answers with bytes, cut to the length that the user gave.
    ///
    /// # Errors
    ///
    /// EINVAL for a negative length, EFAULT for addresses that cannot be used.
    pub(crate) fn bytes(&self, answer: &[u8]) -> Result {
        let mut len = 0;
        // SAFETY: `len` is a local; the user address is checked by the access.
        if unsafe { bindings::oxtcp_helper_get_user_int(&mut len, self.len) } != 0 {
            return Err(EFAULT);
        }
        let len = usize::try_from(len).map_err(|_| EINVAL)?;
        let len = len.min(answer.len());
        // SAFETY: The user address is checked by the access.
        if unsafe { bindings::oxtcp_helper_put_user_int(len as i32, self.len) } != 0 {
            return Err(EFAULT);
        }
        // SAFETY: `answer` is valid for reads of `len` bytes, by the minimum above; the user address is checked.
        let err = unsafe {
            bindings::oxtcp_helper_copy_to_user(self.value.cast(), answer.as_ptr().cast(), len)
        };
        if err != 0 {
            return Err(EFAULT);
        }
        Ok(())
    }
}

impl OptionAnswer<'_> {
    /// Reads what the program has put where the answer is to stand: a structure of `N` bytes, of which it may know a shorter or a longer
    /// form. And how many bytes its form has.
    ///
    /// # Errors
    ///
    /// EINVAL for a length that is not positive, E2BIG when what is longer is not zero, EFAULT.
    pub(crate) fn structure<const N: usize>(&self) -> Result<([u8; N], usize)> {
        let mut bytes = [0; N];
        let mut len = 0;
        // SAFETY: `len` is a local; the user address is checked by the access.
        if unsafe { bindings::oxtcp_helper_get_user_int(&mut len, self.len) } != 0 {
            return Err(EFAULT);
        }
        let len = usize::try_from(len).map_err(|_| EINVAL)?;
        if len == 0 {
            return Err(EINVAL);
        }
        // SAFETY: `bytes` is valid for writes of its size; the user address is checked by the copy.
        kernel::error::to_result(unsafe {
            bindings::oxtcp_helper_copy_struct_from_user(
                bytes.as_mut_ptr().cast(),
                N,
                self.value.cast(),
                len,
            )
        })?;
        Ok((bytes, len))
    }

    /// Puts bytes `offset` bytes into the answer. The length word stays.
    ///
    /// # Errors
    ///
    /// EFAULT.
    pub(crate) fn put(&self, offset: usize, bytes: &[u8]) -> Result {
        // SAFETY: `bytes` is valid for reads of its length; the user address is checked by the copy.
        let err = unsafe {
            bindings::oxtcp_helper_copy_to_user(
                self.value.wrapping_add(offset).cast(),
                bytes.as_ptr().cast(),
                bytes.len(),
            )
        };
        (err == 0).then_some(()).ok_or(EFAULT)
    }

    /// Sets the program's length word.
    ///
    /// # Errors
    ///
    /// EFAULT.
    pub(crate) fn put_len(&self, len: usize) -> Result {
        let len = i32::try_from(len).map_err(|_| EINVAL)?;
        // SAFETY: The user address is checked by the access.
        let err = unsafe { bindings::oxtcp_helper_put_user_int(len, self.len) };
        (err == 0).then_some(()).ok_or(EFAULT)
    }
}

/// A `struct tcp_info`.
pub(crate) struct TcpInfo(bindings::tcp_info);

impl TcpInfo {
    /// One of zeros.
    pub(crate) fn new() -> Self {
        // SAFETY: All fields are integers, for which zeros are good.
        Self(unsafe { core::mem::zeroed() })
    }

    /// To be filled.
    pub(crate) fn fields(&mut self) -> &mut bindings::tcp_info {
        &mut self.0
    }

    /// As C has it.
    pub(crate) fn bytes(&self) -> &[u8] {
        // SAFETY: Without gaps, see below, all bytes of it are initialized.
        unsafe {
            core::slice::from_raw_parts((&raw const self.0).cast::<u8>(), size_of_val(&self.0))
        }
    }
}

/// No byte of `struct tcp_info` is between its fields or behind them, where what the stack had before could stand: 8 small
/// fields, 48 of 4 bytes (one of them two halves), 10 of 8. A kernel with more fields: count again.
const _: () = assert!(size_of::<bindings::tcp_info>() == 8 + 48 * 4 + 10 * 8);
const _: () = assert!(
    core::mem::offset_of!(bindings::tcp_info, tcpi_rtt) == 8 + 15 * 4
        && core::mem::offset_of!(bindings::tcp_info, tcpi_pacing_rate) == 8 + 24 * 4
);

/// The message of a sendmsg() call, which bytes are taken from, or of a recvmsg() call, which they are given to; `D` says which:
/// [`FromProgram`] or [`ToProgram`].
///
/// # Invariants
///
/// `raw` is valid and ours alone for `'a`. Its iterator goes in the direction that `D` says.
pub(crate) struct Message<'a, D> {
    raw: &'a mut bindings::msghdr,
    _direction: PhantomData<D>,
}

/// What a program sends.
pub(crate) struct FromProgram;

/// What a program receives.
pub(crate) struct ToProgram;

impl<D> Message<'_, D> {
    /// # Safety
    ///
    /// `raw` is a valid msghdr that nobody else uses for `'a`, of a call in the direction that `D` says.
    pub(super) unsafe fn from_raw(raw: *mut bindings::msghdr) -> Self {
        // SAFETY: Promised by the caller.
        let raw = unsafe { &mut *raw };
        // INVARIANT: Promised by the caller.
        Self {
            raw,
            _direction: PhantomData,
        }
    }

    /// `MSG_*` flags of the call.
    pub(crate) fn flags(&self) -> u32 {
        self.raw.msg_flags
    }

    pub(super) fn raw(&mut self) -> *mut bindings::msghdr {
        self.raw
    }

    pub(super) fn iter(&mut self) -> *mut bindings::iov_iter {
        &mut self.raw.msg_iter
    }
}

impl Message<'_, FromProgram> {
    /// Bytes still to be copied.
    pub(crate) fn remaining(&mut self) -> usize {
        // SAFETY: By the invariant the msghdr is valid. Of the two that are in one place, an iterator is always the one with a count.
        unsafe { self.raw.msg_iter.__bindgen_anon_1.__bindgen_anon_1.as_ref() }.count
    }

    /// Whether there are control messages.
    pub(crate) fn has_control(&self) -> bool {
        self.raw.msg_controllen != 0
    }
}

impl Message<'_, ToProgram> {
    /// Sets `MSG_*` flags that recvmsg() tells.
    pub(crate) fn add_flags(&mut self, flags: u32) {
        self.raw.msg_flags |= flags;
    }

    /// Gives bytes. Process context.
    ///
    /// # Errors
    ///
    /// EFAULT for memory that cannot be written, or is too short.
    pub(crate) fn put(&mut self, bytes: &[u8]) -> Result {
        // SAFETY: By the invariant the iterator is valid and goes to the program; `bytes` is valid for reads of its length.
        let copied = unsafe {
            bindings::oxtcp_helper_copy_to_iter(bytes.as_ptr().cast(), bytes.len(), self.iter())
        };
        (copied == bytes.len()).then_some(()).ok_or(EFAULT)
    }

    /// Whether the kernel's own caller (io_uring) asks how much is left to read ([`set_inq`](Self::set_inq)).
    pub(crate) fn wants_inq(&self) -> bool {
        // SAFETY: By the invariant the msghdr is valid.
        unsafe { bindings::oxtcp_helper_msg_get_inq(self.raw) }
    }

    /// Tells the kernel's own caller how much is left to read.
    pub(crate) fn set_inq(&mut self, bytes: i32) {
        // SAFETY: By the invariant the msghdr is valid.
        unsafe { bindings::oxtcp_helper_msg_set_inq(self.raw, bytes) }
    }

    /// Appends a control message with an int, if the receiver has room for it; else MSG_CTRUNC is set. Process context.
    pub(crate) fn put_control(&mut self, level: u32, kind: u32, value: i32) {
        // SAFETY: By the invariant the msghdr is valid, and so is `value`, which is only read. The address for control
        // messages is checked by the copy.
        unsafe {
            bindings::put_cmsg(
                self.raw,
                level as i32,
                kind as i32,
                core::mem::size_of::<i32>() as i32,
                (&raw const value).cast_mut().cast(),
            );
        }
    }
}
