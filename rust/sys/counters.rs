// SPDX-License-Identifier: GPL-2.0

//! Counters that each CPU has a copy of, so that counting takes no lock and shares no cache line.

use core::ptr::NonNull;

use kernel::prelude::*;

use super::bindings;

/// `N` counters, zero at first.
///
/// # Invariants
///
/// Memory of `alloc_percpu()` for `N` words, which is ours until the drop.
pub(crate) struct Counters<const N: usize>(NonNull<c_void>);

// SAFETY: Each CPU writes its own words by one instruction; others read single words.
unsafe impl<const N: usize> Send for Counters<N> {}
// SAFETY: As above.
unsafe impl<const N: usize> Sync for Counters<N> {}

impl<const N: usize> Counters<N> {
    /// Makes them. Sleeps.
    ///
    /// Errors: ENOMEM.
    pub(crate) fn new() -> Result<Self> {
        // A CPU's part is at most 32 KB, and `N` is cut to 32 bits below.
        const { assert!(N > 0 && N <= 4096) };
        kernel::task::might_sleep();
        // SAFETY: No conditions but that it may sleep.
        let raw = unsafe { bindings::oxtcp_helper_counters_alloc(N as u32) };
        // INVARIANT: Just allocated, for `N` words.
        NonNull::new(raw).map(Self).ok_or(ENOMEM)
    }

    /// Counts one more. Any context. There is none of `N` or more: that counts nothing.
    pub(crate) fn inc(&self, index: usize) {
        if index < N {
            // SAFETY: One of the `N` words that there are by the invariant.
            unsafe { bindings::oxtcp_helper_counter_inc(self.0.as_ptr(), index as u32) };
        }
    }

    /// Counts so many more. As [`inc`](Self::inc).
    pub(crate) fn add(&self, index: usize, more: u32) {
        if index < N {
            // SAFETY: One of the `N` words that there are by the invariant.
            unsafe { bindings::oxtcp_helper_counter_add(self.0.as_ptr(), index as u32, more) };
        }
    }

    /// The sum over all CPUs; while others count, of some moment or another. Any context.
    pub(crate) fn sum(&self, index: usize) -> usize {
        if index >= N {
            return 0;
        }
        // SAFETY: One of the `N` words that there are by the invariant.
        unsafe { bindings::oxtcp_helper_counter_sum(self.0.as_ptr(), index as u32) as usize }
    }
}

impl<const N: usize> Drop for Counters<N> {
    fn drop(&mut self) {
        // SAFETY: Ours by the invariant, and nobody uses it any more.
        unsafe { bindings::oxtcp_helper_counters_free(self.0.as_ptr()) };
    }
}
