// SPDX-License-Identifier: GPL-2.0

//! Clocks: the monotonic one for the engine, jiffies for timers.

use core::num::NonZeroUsize;

use super::bindings;

/// Microseconds of the monotonic clock (`ktime_get()`). Any context.
pub(crate) fn now_micros() -> u64 {
    // SAFETY: No arguments, no conditions.
    let ns = unsafe { bindings::ktime_get() };
    u64::try_from(ns).unwrap_or(0) / 1000
}

/// A time in jiffies, as timers take it. Jiffy 0 is told as 1, so that an `Option` of one is no larger.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Jiffies(NonZeroUsize);

impl Jiffies {
    pub(super) fn new(jiffies: usize) -> Self {
        Self(NonZeroUsize::new(jiffies).unwrap_or(NonZeroUsize::MIN))
    }

    /// The count, as C has it.
    pub(crate) fn get(self) -> usize {
        self.0.get()
    }

    /// The jiffy now. Any context.
    pub(crate) fn now() -> Self {
        // SAFETY: No arguments, no conditions.
        Self::new(unsafe { bindings::oxtcp_helper_jiffies() })
    }

    /// In seconds, of a clock that begins and wraps anywhere.
    pub(crate) fn seconds(self) -> u32 {
        const HZ: usize = bindings::HZ as usize;
        (self.get() / HZ) as u32
    }

    /// The first jiffy that is not before `micros` microseconds from now.
    ///
    /// Longer waits than a timer can take are cut (the timer then comes early, and asks again).
    pub(crate) fn after_micros(micros: u64) -> Self {
        let micros = u32::try_from(micros).unwrap_or(u32::MAX);
        // SAFETY: No conditions.
        let delta = unsafe { bindings::__usecs_to_jiffies(micros) };
        Self::new(Self::now().get().wrapping_add(delta))
    }

    /// How long until then, in ticks of `/proc` (`USER_HZ`), 0 when it has passed.
    pub(crate) fn ticks(self) -> u32 {
        let left = self.get().wrapping_sub(Self::now().get()) as isize;
        // SAFETY: No conditions.
        let ticks = unsafe { bindings::oxtcp_helper_jiffies_to_clock_t(left.max(0)) };
        u32::try_from(ticks).unwrap_or(u32::MAX)
    }

    /// Whether this is before `other`, by the kernel's wrapping comparison.
    pub(crate) fn before(self, other: Self) -> bool {
        (self.get().wrapping_sub(other.get()) as isize) < 0
    }
}

/// A length of time in whole seconds, for timers that need not be exact.
#[derive(Clone, Copy)]
pub(crate) struct Span(u32);

impl Span {
    pub(crate) const fn from_secs(seconds: u32) -> Self {
        Self(seconds)
    }

    pub(crate) fn as_jiffies(self) -> usize {
        // SAFETY: No conditions.
        let second = unsafe { bindings::__usecs_to_jiffies(1_000_000) };
        second.saturating_mul(self.0 as usize)
    }
}

/// Lets others have the processor, if they have waited for long. Process context; sleeps.
pub(crate) fn yield_if_needed() {
    // SAFETY: No conditions; in a context that must not sleep the debug kernel says so (C's `cond_resched()` looks).
    unsafe { bindings::oxtcp_helper_cond_resched() };
}
