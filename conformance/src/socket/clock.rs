// SPDX-License-Identifier: GPL-2.0

//! The script's clock: microseconds since its start.

use std::sync::OnceLock;

use nix::time::{clock_gettime, ClockId};

use crate::script::Micros;

/// Nanoseconds of CLOCK_MONOTONIC.
pub(super) type Nanos = i64;

/// A time that every usual length of the kernel's tick divides (HZ is 100, 250 or 1000).
const TICKS: Nanos = 20_000_000;
/// How far behind a tick a script begins: packetdrill's. Most scripts do things at whole milliseconds; near a tick,
/// the kernel would now count one tick more and now one less between them.
const BEHIND_TICK: Nanos = 250_000;

/// See above. It stands still until [`Clock::start`].
#[derive(Default)]
pub(super) struct Clock {
    start: Nanos,
    /// The wall clock at the start, in microseconds.
    wall: i64,
    runs: bool,
}

impl Clock {
    /// CLOCK_MONOTONIC, now.
    pub(super) fn nanos() -> Nanos {
        read(ClockId::CLOCK_MONOTONIC)
    }

    /// Whether the script has begun.
    pub(super) fn runs(&self) -> bool {
        self.runs
    }

    /// The script begins at the time that is returned, which is soon.
    pub(super) fn start(&mut self) -> Nanos {
        self.start = next_start(Clock::nanos(), tick_phase());
        let to_wall = read(ClockId::CLOCK_REALTIME) - Clock::nanos();
        self.wall = (self.start + to_wall) / 1000;
        self.runs = true;
        self.start
    }

    /// A time on the script's clock.
    pub(super) fn micros(&self, at: Nanos) -> Micros {
        (at - self.start).div_euclid(1000)
    }

    /// The other way.
    pub(super) fn at(&self, micros: Micros) -> Nanos {
        self.start + micros * 1000
    }

    /// The wall clock at the script's start, in microseconds: what the kernel's timestamps count from.
    pub(super) fn wall(&self) -> i64 {
        self.wall
    }
}

fn read(clock: ClockId) -> Nanos {
    match clock_gettime(clock) {
        Ok(time) => time.tv_sec() * 1_000_000_000 + time.tv_nsec(),
        // Every Linux has these clocks.
        Err(error) => panic!("clock_gettime: {error}"),
    }
}

/// When the kernel's ticks come, modulo [`TICKS`]; found once.
fn tick_phase() -> Nanos {
    static PHASE: OnceLock<Nanos> = OnceLock::new();
    *PHASE.get_or_init(|| {
        // The coarse clock moves with the tick.
        let before = read(ClockId::CLOCK_MONOTONIC_COARSE);
        while read(ClockId::CLOCK_MONOTONIC_COARSE) == before {}
        Clock::nanos() % TICKS
    })
}

/// The first time behind a tick that is later than `now`.
fn next_start(now: Nanos, phase: Nanos) -> Nanos {
    let start = now - now % TICKS + phase % TICKS + BEHIND_TICK;
    match start > now {
        true => start,
        false => start + TICKS,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_start__is_behind_a_tick() {
        for (now, phase) in [(0, 0), (123_456_789, 3_000_000), (40_000_000, 19_999_999)] {
            let start = next_start(now, phase);
            assert!(start > now && start <= now + 2 * TICKS);
            assert_eq!((start - BEHIND_TICK - phase) % TICKS, 0);
        }
    }

    #[test]
    fn micros__of_times_before_the_start() {
        let mut clock = Clock::default();
        assert!(!clock.runs());
        let start = clock.start();
        assert_eq!(clock.micros(start), 0);
        assert_eq!(clock.micros(start - 1), -1);
        assert_eq!(clock.micros(clock.at(1_234_567)), 1_234_567);
    }
}
