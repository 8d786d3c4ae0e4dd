// SPDX-License-Identifier: GPL-2.0

//! The timers of a connection: a small table with one deadline.

use crate::time::{Duration, Instant};

/// What a timer is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimerKind {
    /// Something sent is not acknowledged (RFC 6298).
    Retransmit,
    /// Something is to be sent, nothing is in flight, and the peer's window or a cork forbids it
    /// (RFC 9293 sections 3.8.6.1 and 3.8.6.2.1).
    Persist,
    /// An acknowledgment is held back (RFC 9293 section 3.8.6.3).
    DelayedAck,
    /// The peer's life is to be checked (RFC 9293 section 3.8.4).
    KeepAlive,
    /// A connection without a user waits for the peer's FIN.
    FinWait2,
    /// 2 MSL.
    TimeWait,
}

/// Which timers exclude one another: what is in flight needs no persist timer, and a connection in FIN-WAIT-2
/// without a user, or in TIME-WAIT, needs no keepalive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Output,
    Ack,
    Life,
}

impl TimerKind {
    const fn slot(self) -> Slot {
        match self {
            TimerKind::Retransmit | TimerKind::Persist => Slot::Output,
            TimerKind::DelayedAck => Slot::Ack,
            TimerKind::KeepAlive | TimerKind::FinWait2 | TimerKind::TimeWait => Slot::Life,
        }
    }
}

/// The timers that run.
#[derive(Clone, Copy, Debug)]
pub(super) struct Timers {
    output: Instant,
    ack: Instant,
    life: Instant,
    output_kind: TimerKind,
    life_kind: TimerKind,
}

/// A slot with no timer running.
const OFF: Instant = Instant::from_micros(u64::MAX);

impl Timers {
    pub(super) const fn new() -> Self {
        Timers {
            output: OFF,
            ack: OFF,
            life: OFF,
            output_kind: TimerKind::Retransmit,
            life_kind: TimerKind::KeepAlive,
        }
    }

    /// Starts or restarts the timer; it takes the place of one that it excludes.
    pub(super) fn set(&mut self, kind: TimerKind, at: Instant) {
        match kind.slot() {
            Slot::Output => (self.output, self.output_kind) = (at, kind),
            Slot::Ack => self.ack = at,
            Slot::Life => (self.life, self.life_kind) = (at, kind),
        }
    }

    /// Stops the timer, if it is the one that runs in its slot.
    pub(super) fn clear(&mut self, kind: TimerKind) {
        if self.get(kind).is_some() {
            match kind.slot() {
                Slot::Output => self.output = OFF,
                Slot::Ack => self.ack = OFF,
                Slot::Life => self.life = OFF,
            }
        }
    }

    pub(super) fn clear_all(&mut self) {
        *self = Timers::new();
    }

    /// When the timer expires, if it runs.
    pub(super) fn get(&self, kind: TimerKind) -> Option<Instant> {
        let (at, running) = match kind.slot() {
            Slot::Output => (self.output, self.output_kind),
            Slot::Ack => (self.ack, TimerKind::DelayedAck),
            Slot::Life => (self.life, self.life_kind),
        };
        (running == kind && at != OFF).then_some(at)
    }

    /// The timer that expires first.
    pub(super) fn next(&self) -> Option<(TimerKind, Instant)> {
        let mut first = (self.output_kind, self.output);
        for other in [
            (TimerKind::DelayedAck, self.ack),
            (self.life_kind, self.life),
        ] {
            if other.1 < first.1 {
                first = other;
            }
        }
        (first.1 != OFF).then_some(first)
    }

    /// Stops and names a timer that has expired by `now`.
    pub(super) fn expire(&mut self, now: Instant) -> Option<TimerKind> {
        let (kind, at) = self.next()?;
        if at > now {
            return None;
        }
        self.clear(kind);
        Some(kind)
    }
}

/// An instant in milliseconds modulo 2^32 (49 days), for what is compared only with the recent past.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Tick(u32);

impl Tick {
    pub(super) const fn new(now: Instant) -> Self {
        Tick(now.timestamp_ms(0))
    }

    /// The tick `ago` before `now`.
    pub(super) fn before(now: Instant, ago: Duration) -> Self {
        Tick(Tick::new(now).0.wrapping_sub(ago.as_millis() as u32))
    }

    /// How long ago this was.
    pub(super) fn elapsed(self, now: Instant) -> Duration {
        Duration::from_millis(u64::from(Tick::new(now).0.wrapping_sub(self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    #[test]
    fn next__is_the_earliest() {
        let mut timers = Timers::new();
        assert_eq!(timers.next(), None);
        timers.set(TimerKind::KeepAlive, at(30));
        timers.set(TimerKind::Retransmit, at(10));
        timers.set(TimerKind::DelayedAck, at(20));
        assert_eq!(timers.next(), Some((TimerKind::Retransmit, at(10))));
        assert_eq!(timers.expire(at(9)), None);
        assert_eq!(timers.expire(at(25)), Some(TimerKind::Retransmit));
        assert_eq!(timers.expire(at(25)), Some(TimerKind::DelayedAck));
        assert_eq!(timers.expire(at(25)), None);
        assert_eq!(timers.get(TimerKind::KeepAlive), Some(at(30)));
    }

    #[test]
    fn set__takes_the_place_of_an_excluded_timer() {
        let mut timers = Timers::new();
        timers.set(TimerKind::Retransmit, at(10));
        timers.set(TimerKind::Persist, at(20));
        assert_eq!(timers.get(TimerKind::Retransmit), None);
        timers.clear(TimerKind::Retransmit);
        assert_eq!(timers.get(TimerKind::Persist), Some(at(20)));
    }

    #[test]
    fn elapsed__across_the_wrap() {
        let then = Instant::from_millis((1 << 32) - 5);
        let now = Instant::from_millis((1 << 32) + 5);
        assert_eq!(Tick::new(then).elapsed(now), Duration::from_millis(10));
    }
}
