// SPDX-License-Identifier: GPL-2.0

//! The script's clock: microseconds since its start.

use std::sync::OnceLock;

use nix::time::{clock_getres, clock_gettime, ClockId};

use crate::script::Micros;

/// Nanoseconds of CLOCK_MONOTONIC.
pub(super) type Nanos = i64;

/// See above. It stands still until [`Clock::start`].
#[derive(Default)]
pub(super) struct Clock {
    start: Nanos,
    /// The wall clock at the start, in microseconds.
    wall: i64,
    runs: bool,
    /// The script begins at a multiple of so many ticks.
    round: Option<i64>,
}

impl Clock {
    /// CLOCK_MONOTONIC, now.
    pub(super) fn nanos() -> Nanos {
        read(ClockId::CLOCK_MONOTONIC)
    }

    /// A clock for what is to begin at a multiple of so many ticks, as the kernel counts them, so that its timers are the same each time.
    ///
    /// # Errors
    ///
    /// Says that the kernel does not tell its count.
    pub(super) fn in_step(round: i64) -> Result<Clock, String> {
        match Tick::get().first {
            Some(_) => Ok(Clock {
                round: Some(round),
                ..Clock::default()
            }),
            None => Err(format!("no jiffies in {TIMERS}")),
        }
    }

    /// Whether the script has begun.
    pub(super) fn runs(&self) -> bool {
        self.runs
    }

    /// The script begins at the time that is returned, which is soon.
    pub(super) fn start(&mut self) -> Nanos {
        self.start = Tick::get().next_start(Clock::nanos());
        if let Some(round) = self.round {
            let apart = Tick::get().count(self.start).rem_euclid(round);
            self.start += (round - apart) % round * Tick::get().length;
        }
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

/// The kernel's tick.
#[derive(Clone, Copy)]
struct Tick {
    length: Nanos,
    /// When it comes, modulo its length.
    phase: Nanos,
    /// The kernel's count of one (jiffies), and when it came.
    first: Option<(i64, Nanos)>,
}

/// Where the kernel tells its count, to root.
const TIMERS: &str = "/proc/timer_list";

/// The kernel's count of ticks, now.
fn jiffies() -> Option<i64> {
    let text = std::fs::read_to_string(TIMERS).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix("jiffies:"))?;
    line.trim().parse::<u64>().ok().map(|count| count as i64)
}

impl Tick {
    /// Found once.
    fn get() -> Tick {
        static TICK: OnceLock<Tick> = OnceLock::new();
        *TICK.get_or_init(|| {
            // The coarse clock moves with the tick.
            let coarse = ClockId::CLOCK_MONOTONIC_COARSE;
            let length = match clock_getres(coarse) {
                Ok(time) => time.tv_sec() * 1_000_000_000 + time.tv_nsec(),
                Err(error) => panic!("clock_getres: {error}"),
            };
            let edge = || {
                let before = read(coarse);
                while read(coarse) == before {}
                Clock::nanos()
            };
            edge();
            // Once more, if the next one came while the file was read.
            let (at, first) = (0..10)
                .map(|_| (edge(), read(coarse), jiffies(), read(coarse)))
                .find_map(|(at, before, count, after)| (before == after).then_some((at, count)))
                .unwrap_or((edge(), None));
            Tick {
                length,
                phase: at % length,
                first: first.map(|count| (count, at)),
            }
        })
    }

    /// The kernel's count at `at`.
    fn count(self, at: Nanos) -> i64 {
        let (count, first) = self.first.unwrap_or((0, self.phase));
        count + (at - first).div_euclid(self.length)
    }

    /// When a script begins: a quarter of a tick behind one, as packetdrill has it for ticks of a millisecond. Most
    /// scripts do things at whole milliseconds; near a tick, the kernel would now count one tick more between them and
    /// now one less.
    fn next_start(self, now: Nanos) -> Nanos {
        let start = now - now % self.length + self.phase + self.length / 4;
        match start > now {
            true => start,
            false => start + self.length,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn next_start__is_behind_a_tick() {
        let length = 4_000_000;
        for (now, phase) in [(0, 0), (123_456_789, 3_000_000), (40_000_000, 3_999_999)] {
            let tick = Tick {
                length,
                phase,
                first: None,
            };
            let start = tick.next_start(now);
            assert!(start > now && start <= now + 2 * length);
            assert_eq!((start - 1_000_000 - phase) % length, 0);
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
