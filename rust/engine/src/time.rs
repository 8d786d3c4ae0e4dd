// SPDX-License-Identifier: GPL-2.0
//! Instants and durations, in whole microseconds.
//!
//! The engine has no clock: every call that needs the time is given an [`Instant`]. All arithmetic
//! saturates, so that neither a clock that stands still nor one that jumps can make it panic.

use core::ops::{Add, AddAssign, Sub};

/// A point in time: microseconds since an epoch that the caller chooses and keeps.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Instant(u64);

impl Instant {
    /// `micros` microseconds after the epoch.
    #[inline]
    pub const fn from_micros(micros: u64) -> Self {
        Instant(micros)
    }

    /// `millis` milliseconds after the epoch.
    #[inline]
    pub const fn from_millis(millis: u64) -> Self {
        Instant(millis.saturating_mul(1_000))
    }

    /// `secs` seconds after the epoch.
    #[inline]
    pub const fn from_secs(secs: u64) -> Self {
        Instant(secs.saturating_mul(1_000_000))
    }

    /// Microseconds since the epoch.
    #[inline]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Seconds since the epoch, modulo 2^32.
    #[inline]
    pub const fn as_secs32(self) -> u32 {
        (self.0 / 1_000_000) as u32
    }

    /// How long ago `earlier` was; zero when it is in the future.
    #[inline]
    pub const fn since(self, earlier: Instant) -> Duration {
        Duration(self.0.saturating_sub(earlier.0))
    }

    /// The clock for TSval (RFC 7323 section 5.4): one tick per millisecond, as Linux has it, shifted by
    /// the connection's own `offset` so that it tells nothing about the host's uptime.
    #[inline]
    pub const fn timestamp_ms(self, offset: u32) -> u32 {
        ((self.0 / 1_000) as u32).wrapping_add(offset)
    }
}

/// A length of time.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct Duration(u64);

impl Duration {
    /// No time at all.
    pub const ZERO: Duration = Duration(0);
    /// Longer than anything.
    pub const MAX: Duration = Duration(u64::MAX);

    /// `micros` microseconds.
    #[inline]
    pub const fn from_micros(micros: u64) -> Self {
        Duration(micros)
    }

    /// `millis` milliseconds.
    #[inline]
    pub const fn from_millis(millis: u64) -> Self {
        Duration(millis.saturating_mul(1_000))
    }

    /// `secs` seconds.
    #[inline]
    pub const fn from_secs(secs: u64) -> Self {
        Duration(secs.saturating_mul(1_000_000))
    }

    /// Whole microseconds.
    #[inline]
    pub const fn as_micros(self) -> u64 {
        self.0
    }

    /// Whole milliseconds, rounded down.
    #[inline]
    pub const fn as_millis(self) -> u64 {
        self.0 / 1_000
    }

    /// Whole seconds, rounded down.
    #[inline]
    pub const fn as_secs(self) -> u64 {
        self.0 / 1_000_000
    }

    /// Whether it is no time at all.
    #[inline]
    pub const fn is_zero(self) -> bool {
        self.0 == 0
    }

    /// `times` times as long.
    #[inline]
    #[must_use]
    pub const fn times(self, times: u32) -> Self {
        Duration(self.0.saturating_mul(times as u64))
    }

    /// Doubled `doublings` times, the exponential back-off.
    #[inline]
    #[must_use]
    pub const fn backed_off(self, doublings: u8) -> Self {
        if doublings >= 63 {
            return if self.0 == 0 { self } else { Duration::MAX };
        }
        Duration(self.0.saturating_mul(1 << doublings))
    }

    /// So many hundredths of it, rounded down.
    #[inline]
    #[must_use]
    pub const fn percent(self, percent: u16) -> Self {
        Duration(self.0.saturating_mul(percent as u64) / 100)
    }

    /// Halved, rounded down.
    #[inline]
    #[must_use]
    pub const fn half(self) -> Self {
        Duration(self.0 / 2)
    }
}

impl Add<Duration> for Instant {
    type Output = Instant;

    #[inline]
    fn add(self, wait: Duration) -> Instant {
        Instant(self.0.saturating_add(wait.0))
    }
}

impl Sub<Duration> for Instant {
    type Output = Instant;

    #[inline]
    fn sub(self, ago: Duration) -> Instant {
        Instant(self.0.saturating_sub(ago.0))
    }
}

impl AddAssign<Duration> for Instant {
    #[inline]
    fn add_assign(&mut self, wait: Duration) {
        *self = *self + wait;
    }
}

impl Add for Duration {
    type Output = Duration;

    #[inline]
    fn add(self, other: Duration) -> Duration {
        Duration(self.0.saturating_add(other.0))
    }
}

impl Sub for Duration {
    type Output = Duration;

    #[inline]
    fn sub(self, other: Duration) -> Duration {
        Duration(self.0.saturating_sub(other.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn arithmetic_saturates() {
        let end = Instant::from_micros(u64::MAX);
        assert_eq!(end + Duration::from_secs(1), end);
        assert_eq!(
            Instant::default() - Duration::from_secs(1),
            Instant::default()
        );
        assert_eq!(Instant::default().since(end), Duration::ZERO);
        assert_eq!(Duration::ZERO - Duration::from_secs(1), Duration::ZERO);
        assert_eq!(Duration::MAX + Duration::MAX, Duration::MAX);
        assert_eq!(Duration::from_secs(u64::MAX), Duration::MAX);
        assert_eq!(Duration::MAX.times(3), Duration::MAX);
    }

    #[test]
    fn backed_off__doubles_and_saturates() {
        let second = Duration::from_secs(1);
        assert_eq!(second.backed_off(0), second);
        assert_eq!(second.backed_off(3), Duration::from_secs(8));
        assert_eq!(second.backed_off(60), Duration::MAX);
        assert_eq!(second.backed_off(255), Duration::MAX);
        assert_eq!(Duration::ZERO.backed_off(255), Duration::ZERO);
    }

    #[test]
    fn timestamp_ms__counts_milliseconds_and_wraps() {
        let now = Instant::from_micros(7_999);
        assert_eq!(now.timestamp_ms(0), 7);
        assert_eq!(now.timestamp_ms(u32::MAX), 6);
        assert_eq!(Instant::from_millis(1 << 32).timestamp_ms(9), 9);
    }
}
