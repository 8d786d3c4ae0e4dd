// SPDX-License-Identifier: GPL-2.0

//! When a kernel's timers go off: in ticks, and the later the coarser (`kernel/time/timer.c`).

use oxtcp_engine::connection::TimerKind;
use oxtcp_engine::{Connection, Instant};

use crate::script::Micros;

/// A tick of Debian's kernels (CONFIG_HZ_250).
pub const TICK: Micros = 4_000;
/// A conversation begins a quarter of a tick behind one.
pub const PHASE: Micros = TICK / 4;
/// It begins at a tick that all levels but those of timers of minutes begin a bucket at (`LVL_SHIFT(3)`).
pub const ROUND: i64 = 512;

/// How many times the wheel's levels are coarser, each than the one before (`LVL_CLK_SHIFT`).
const SHIFT: u32 = 3;
/// Ticks that the first level's buckets are good for (`LVL_SIZE - 1`).
const FIRST: i64 = 63;
const LEVELS: u32 = 9;

/// The tick in which `at` lies.
fn tick(at: Micros) -> i64 {
    (at + PHASE).div_euclid(TICK)
}

/// When a timer goes off that is armed at `now` for a time in `wait` microseconds (`calc_wheel_index`).
pub fn expiry(now: Micros, wait: Micros) -> Micros {
    let delta = (wait.max(0) + TICK - 1).div_euclid(TICK);
    let expires = tick(now) + delta;
    let level = (0..LEVELS - 1)
        .find(|level| delta < FIRST << (level * SHIFT))
        .unwrap_or(LEVELS - 1);
    let shift = level * SHIFT;
    // Never early: the bucket behind.
    (((expires >> shift) + 1) << shift) * TICK - PHASE
}

/// How much coarser than a tick a time is that a timer may have gone off at: the largest of the wheel's buckets that could
/// have ended then, of a timer no longer than `age`.
pub fn bucket(at: Micros, age: Micros) -> Micros {
    let edge = tick(at);
    let fits = |level: &u32| {
        let shift = level * SHIFT;
        edge & ((1 << shift) - 1) == 0 && age >= (FIRST << (shift - SHIFT)) * TICK
    };
    let level = (1..LEVELS).take_while(fits).last().unwrap_or(0);
    TICK << (level * SHIFT)
}

/// The timers that Linux has for a connection, and which of the engine's each stands for.
const GROUPS: [&[TimerKind]; 3] = [
    &[
        TimerKind::Retransmit,
        TimerKind::LossProbe,
        TimerKind::Reorder,
        TimerKind::Persist,
    ],
    &[TimerKind::DelayedAck, TimerKind::CompressedAck],
    &[
        TimerKind::KeepAlive,
        TimerKind::FinWait2,
        TimerKind::TimeWait,
        TimerKind::Pace,
    ],
];

/// The timers of one connection, as they would be armed in a kernel.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Wheel {
    /// What each was armed for, and when it goes off.
    armed: [Option<(Instant, Micros)>; 3],
}

impl Wheel {
    /// Arms what has changed, at `now`, which is `instant` to the engine.
    pub(super) fn arm(&mut self, connection: &Connection, now: Micros, instant: Instant) {
        for (armed, kinds) in self.armed.iter_mut().zip(GROUPS) {
            let running = |kind: &TimerKind| Some((*kind, connection.timer_of(*kind)?));
            let (kind, at) = kinds.iter().find_map(running).unzip();
            *armed = match (*armed, at) {
                (Some((was, fires)), Some(at)) if was == at => Some((was, fires)),
                (_, Some(at)) => {
                    let wait = at.since(instant).as_micros() as Micros;
                    let fires = match kind {
                        // A timer of high resolution.
                        Some(TimerKind::CompressedAck) => now + wait,
                        _ => expiry(now, wait),
                    };
                    Some((at, fires))
                }
                (_, None) => None,
            };
        }
    }

    /// The first that goes off.
    pub(super) fn next(&self) -> Option<Micros> {
        self.armed.iter().flatten().map(|(_, fires)| *fires).min()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn expiry__is_a_bucket_behind_the_time() {
        // 40 ms are 10 ticks, the first level: one tick more.
        assert_eq!(expiry(0, 40_000), 11 * TICK - PHASE);
        assert_eq!(expiry(3_000, 40_000), 12 * TICK - PHASE);
        // A second: buckets of 8 ticks.
        assert_eq!(expiry(0, 1_000_000), 256 * TICK - PHASE);
        assert_eq!(expiry(30_000, 1_000_000), 264 * TICK - PHASE);
        // Three: of 64.
        assert_eq!(expiry(0, 3_000_000), 768 * TICK - PHASE);
    }

    #[test]
    fn bucket__by_where_it_ends() {
        let at = |ticks: i64| ticks * TICK - PHASE + 20;
        assert_eq!(bucket(at(63), 10_000_000), TICK);
        assert_eq!(bucket(at(72), 10_000_000), 8 * TICK);
        assert_eq!(bucket(at(640), 10_000_000), 64 * TICK);
        // A timer of 200 ms has none but the first level's.
        assert_eq!(bucket(at(640), 200_000), TICK);
    }
}
