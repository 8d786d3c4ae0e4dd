// SPDX-License-Identifier: GPL-2.0

//! The timers of a connection: a small table with one deadline.

use core::num::NonZeroU32;

use crate::context::Context;
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
    /// Acknowledgments of what is out of order are held back, to be sent as one (Linux's SACK compression). Runs in place of `DelayedAck`.
    CompressedAck,
    /// The peer's life is to be checked (RFC 9293 section 3.8.4).
    KeepAlive,
    /// A connection without a user waits for the peer's FIN.
    FinWait2,
    /// 2 MSL.
    TimeWait,
    /// The tail of what is in flight may be lost (RFC 8985 section 7, PTO). Runs in place of `Retransmit`.
    LossProbe,
    /// What seems out of order may be lost (RFC 8985 section 6.2 step 5). Runs in place of `Retransmit`.
    Reorder,
    /// What is to be sent may go (SO_MAX_PACING_RATE).
    Pace,
}

/// Which timers exclude one another: what is in flight needs no persist timer, and a connection in FIN-WAIT-2
/// without a user, in TIME-WAIT, or with data that waits for its time, needs no keepalive.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Slot {
    Output,
    Ack,
    Life,
}

impl TimerKind {
    /// All of them, in the order of the enum: a kind's number is its place.
    pub const ALL: [TimerKind; 10] = [
        TimerKind::Retransmit,
        TimerKind::Persist,
        TimerKind::DelayedAck,
        TimerKind::CompressedAck,
        TimerKind::KeepAlive,
        TimerKind::FinWait2,
        TimerKind::TimeWait,
        TimerKind::LossProbe,
        TimerKind::Reorder,
        TimerKind::Pace,
    ];

    const fn slot(self) -> Slot {
        match self {
            TimerKind::Retransmit
            | TimerKind::Persist
            | TimerKind::LossProbe
            | TimerKind::Reorder => Slot::Output,
            TimerKind::DelayedAck | TimerKind::CompressedAck => Slot::Ack,
            TimerKind::KeepAlive | TimerKind::FinWait2 | TimerKind::TimeWait | TimerKind::Pace => {
                Slot::Life
            }
        }
    }
}

/// The timers that run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Timers {
    output: Running,
    ack: Running,
    life: Running,
}

/// A timer of one slot: its expiry and its kind in one word. The smaller expires first; [`OFF`] never.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Running(u64);

/// A slot with no timer running.
const OFF: Running = Running(u64::MAX);

impl Running {
    /// The lowest bits tell a slot's kinds apart; the rest is the expiry in microseconds, good for 36,000 years.
    const KIND_BITS: u32 = 4;
    const LAST: u64 = (u64::MAX >> Running::KIND_BITS) - 1;

    fn new(kind: TimerKind, at: Instant) -> Self {
        let micros = at.as_micros().min(Running::LAST);
        Running((micros << Running::KIND_BITS) | kind as u64)
    }

    fn get(self) -> Option<(TimerKind, Instant)> {
        // OFF has the bits of no kind.
        let kind = TimerKind::ALL.get(self.kind() as usize)?;
        Some((*kind, self.at()))
    }

    fn is(self, kind: TimerKind) -> bool {
        self.kind() == kind as u64
    }

    /// The kind's place in [`TimerKind::ALL`].
    fn kind(self) -> u64 {
        self.0 & ((1 << Running::KIND_BITS) - 1)
    }

    fn at(self) -> Instant {
        Instant::from_micros(self.0 >> Running::KIND_BITS)
    }
}

impl Timers {
    pub(super) const fn new() -> Self {
        Timers {
            output: OFF,
            ack: OFF,
            life: OFF,
        }
    }

    fn slot(&mut self, slot: Slot) -> &mut Running {
        match slot {
            Slot::Output => &mut self.output,
            Slot::Ack => &mut self.ack,
            Slot::Life => &mut self.life,
        }
    }

    /// Starts or restarts the timer; it takes the place of one that it excludes.
    pub(super) fn set(&mut self, kind: TimerKind, at: Instant) {
        *self.slot(kind.slot()) = Running::new(kind, at);
    }

    /// Stops the timer, if it is the one that runs in its slot.
    pub(super) fn clear(&mut self, kind: TimerKind) {
        if self.get(kind).is_some() {
            *self.slot(kind.slot()) = OFF;
        }
    }

    pub(super) fn clear_all(&mut self) {
        *self = Timers::new();
    }

    /// Whether an acknowledgment of ours is held back.
    pub(super) fn holds_acknowledgment(&self) -> bool {
        self.ack != OFF
    }

    /// None is any more. Whether several were, to be sent as one.
    pub(super) fn stop_holding(&mut self) -> bool {
        let compressed = self.get(TimerKind::CompressedAck).is_some();
        self.ack = OFF;
        compressed
    }

    /// The timer that waits for the peer to acknowledge, if one runs.
    pub(super) fn acknowledgment(&self) -> Option<TimerKind> {
        let kind = self.output.get()?.0;
        (kind != TimerKind::Persist).then_some(kind)
    }

    /// Stops the timer that waits for the peer to acknowledge: everything is acknowledged.
    pub(super) fn clear_acknowledgment(&mut self) {
        if self.acknowledgment().is_some() {
            self.output = OFF;
        }
    }

    /// When the timer expires, if it runs.
    pub(super) fn get(&self, kind: TimerKind) -> Option<Instant> {
        let running = match kind.slot() {
            Slot::Output => self.output,
            Slot::Ack => self.ack,
            Slot::Life => self.life,
        };
        // OFF has the bits of no kind.
        running.is(kind).then(|| running.at())
    }

    /// The timer that expires first.
    pub(super) fn next(&self) -> Option<(TimerKind, Instant)> {
        self.output.min(self.ack).min(self.life).get()
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

/// Now, in microseconds modulo 2^32 (71 minutes), for what is compared only with the recent past. As inexact as a [`Mark`]: it
/// is never before one of the same microsecond, which would seem to be 71 minutes old.
pub(super) fn micros(cx: &Context<'_>) -> u32 {
    Mark::new(cx.now).get()
}

/// An instant in microseconds modulo 2^32 (71 minutes), for what is over soon. Never zero, so that `Option` costs
/// nothing; that makes it inexact by one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Mark(NonZeroU32);

impl Mark {
    pub(super) fn new(now: Instant) -> Self {
        Mark(NonZeroU32::MIN | now.as_micros() as u32)
    }

    /// The mark of these microseconds.
    pub(super) const fn from_micros(micros: NonZeroU32) -> Self {
        Mark(micros)
    }

    /// The microseconds.
    pub(super) fn get(self) -> u32 {
        self.0.get()
    }

    /// How long it is until then.
    pub(super) fn left(self, now: Instant) -> Duration {
        let micros = self.0.get().wrapping_sub(now.as_micros() as u32) as i32;
        Duration::from_micros(u64::try_from(micros).unwrap_or(0))
    }

    /// How long ago this was.
    pub(super) fn elapsed(self, now: Instant) -> Duration {
        let micros = (now.as_micros() as u32 | 1).wrapping_sub(self.0.get());
        Duration::from_micros(u64::from(micros))
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

    /// The milliseconds.
    pub(super) const fn get(self) -> u32 {
        self.0
    }

    /// How long ago this was.
    pub(super) fn elapsed(self, now: Instant) -> Duration {
        Duration::from_millis(u64::from(Tick::new(now).0.wrapping_sub(self.0)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mark__is_not_after_its_own_microsecond() {
        let config = crate::context::Config::default();
        for now in [1000, 1001, 1 << 32] {
            let now = Instant::from_micros(now);
            let cx = Context::new(now, &config);
            assert_eq!(micros(&cx).wrapping_sub(Mark::new(now).get()), 0);
            assert_eq!(Mark::new(now).elapsed(now), Duration::ZERO);
        }
    }

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
    fn every_kind_comes_back() {
        for kind in TimerKind::ALL {
            for micros in [0, 1, 123_456_789, u64::MAX] {
                let mut timers = Timers::new();
                timers.set(kind, Instant::from_micros(micros));
                let (what, at) = timers.next().unwrap();
                assert_eq!(what, kind);
                assert!(at.as_micros() == micros || micros == u64::MAX);
            }
        }
    }

    #[test]
    fn mark__across_the_wrap() {
        let mark = Mark::new(Instant::from_micros((1 << 32) - 5));
        let later = Instant::from_micros((1 << 32) + 5);
        assert_eq!(mark.elapsed(later), Duration::from_micros(10));
        assert_eq!(Mark::new(later).elapsed(later), Duration::ZERO);
    }

    #[test]
    fn elapsed__across_the_wrap() {
        let then = Instant::from_millis((1 << 32) - 5);
        let now = Instant::from_millis((1 << 32) + 5);
        assert_eq!(Tick::new(then).elapsed(now), Duration::from_millis(10));
    }
}
