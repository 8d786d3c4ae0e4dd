// SPDX-License-Identifier: GPL-2.0

//! Words that are read and written whole, one instruction each.
//!
//! C header: `include/asm-generic/rwonce.h`.

use kernel::sync::atomic::{Atomic, AtomicType};

/// READ_ONCE() and WRITE_ONCE(): what `load(Relaxed)` and `store(Relaxed)` do, without the call of a C function that those are.
pub(crate) trait Once<T> {
    /// The value.
    fn read_once(&self) -> T;

    /// Sets the value.
    fn write_once(&self, value: T);
}

impl<T: AtomicType> Once<T> for Atomic<T> {
    #[inline(always)]
    fn read_once(&self) -> T {
        const { assert!(size_of::<T>() <= size_of::<usize>()) };
        // SAFETY: The pointer is valid and aligned, and the value is no larger than a machine word: in the kernel's memory model a
        // volatile access of that is atomic, and so is every other access to an `Atomic`.
        unsafe { self.as_ptr().read_volatile() }
    }

    #[inline(always)]
    fn write_once(&self, value: T) {
        const { assert!(size_of::<T>() <= size_of::<usize>()) };
        // SAFETY: As above.
        unsafe { self.as_ptr().write_volatile(value) }
    }
}
