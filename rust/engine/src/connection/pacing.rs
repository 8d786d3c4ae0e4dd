// SPDX-License-Identifier: GPL-2.0

//! Pacing: bursts leave with gaps, so that no more leaves than the user allows (SO_MAX_PACING_RATE), and a window is spread over
//! its round trip.
//!
//! As with Linux's own pacing (`tcp_pacing_check`), data waits in the engine until it may go, and the connection's deadline says
//! when. A repetition that the retransmission timer asks for does not wait, nor does anything without data.

use core::num::NonZeroU32;

use super::send::Force;
use super::timers::{Mark, TimerKind};
use super::{Connection, Mode, Status};
use crate::congestion::Window;
use crate::context::{Context, Traits};
use crate::flight::FlightMemory;
use crate::seq::SeqNum;
use crate::time::{Duration, Instant};
use crate::transmit::{BurstLimit, Transmit};

/// Percent of the window per round trip while slow start is far from its end, and else: room to grow (Linux's
/// `tcp_pacing_ss_ratio`, `tcp_pacing_ca_ratio`).
const SLOW_START: u64 = 200;
const AVOIDANCE: u64 = 120;

/// A burst is what leaves in 2^-10 s, but no less than two segments, which the receiver acknowledges at once (Linux's
/// `sk_pacing_shift`, `tcp_min_tso_segs`).
const BURST_SHIFT: u32 = 10;
const LEAST_SEGMENTS: u32 = 2;

/// Something leaves once a minute, however slow the rate: no time is kept that is further away.
const LONGEST: Duration = Duration::from_secs(60);

/// A timer that counts in ticks of 10 ms (HZ = 100) and wakes the sender late costs it no part of its rate.
const TICK: u64 = 10_000;

/// When the next burst may go, as was said at the last one; `None`: at once.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct Pacer(Option<Mark>);

impl Pacer {
    pub(super) const NONE: Pacer = Pacer(None);

    /// In place of a mark, a sequence number: the word is also used where nothing is paced.
    pub(super) fn of_number(number: SeqNum) -> Self {
        Pacer(NonZeroU32::new(number.get()).map(Mark::from_micros))
    }

    /// What [`of_number`](Self::of_number) was given.
    pub(super) fn number(self) -> SeqNum {
        SeqNum::new(self.0.map_or(0, Mark::get))
    }

    /// How long what is to be sent has to wait. `idle` is the time since the last sending: a mark of long ago means nothing.
    fn wait(self, now: Instant, idle: Duration) -> Option<Duration> {
        let left = self.0.filter(|_| idle < LONGEST)?.left(now);
        (!left.is_zero()).then_some(left)
    }

    /// `bytes` were sent, at a rate of `rate` bytes per second; `idle` after the last, and after they had `waited`.
    fn on_sent(&mut self, now: Instant, idle: Duration, bytes: u32, rate: u64, waited: bool) {
        let micros = u64::from(bytes)
            .saturating_mul(1_000_000)
            .checked_div(rate)
            .unwrap_or(u64::MAX)
            .min(LONGEST.as_micros());
        // What was lost by being late is made up for, up to half of the gap (Linux's `tcp_update_skb_after_send`); in
        // full, if a timer was late.
        let most = match waited {
            true => (micros / 2).max(TICK),
            false => micros / 2,
        };
        let late = match (self.wait(now, idle), self.0) {
            (Some(left), _) => {
                // It was forced out, and is paid for none the less.
                let gap = left + Duration::from_micros(micros);
                self.0 = Some(Mark::new(now + gap.min(LONGEST)));
                return;
            }
            (None, Some(at)) if idle < LONGEST => at.elapsed(now).as_micros(),
            (None, _) => u64::MAX,
        };
        // Earlier than now, perhaps: then the next burst goes at once, and is later still.
        let late = Duration::from_micros(late.min(most));
        let release = (now + Duration::from_micros(micros)).as_micros();
        self.0 = Some(Mark::new(Instant::from_micros(
            release.saturating_sub(late.as_micros()),
        )));
    }
}

/// See [`Connection::pacing_rate`].
pub(super) fn spread(window: Window, unacked: u32, srtt: Duration) -> u64 {
    let ratio = match window.cwnd < window.ssthresh / 2 {
        true => SLOW_START,
        false => AVOIDANCE,
    };
    let bytes = u64::from(window.cwnd.max(unacked));
    // Below 2^32 * 2 * 10^6: no overflow.
    let scaled = bytes.saturating_mul(ratio).saturating_mul(1_000_000 / 100);
    scaled.checked_div(srtt.as_micros()).unwrap_or(u64::MAX)
}

impl Connection {
    /// The rate that spreads the window over a round trip, with a margin so that it can grow, in bytes per second
    /// (Linux's `sk_pacing_rate`). `u64::MAX` before the first measurement.
    pub fn pacing_rate(&self) -> u64 {
        match (self.phase.sender(), self.srtt()) {
            (Some(snd), Some(srtt)) => spread(snd.window(), self.unacked(), srtt),
            _ => u64::MAX,
        }
    }

    /// As [`poll_transmit`](Connection::poll_transmit), but data leaves at no more than `bound` bytes per second, nor than
    /// [`pacing_rate`](Connection::pacing_rate). What waits goes when the deadline has passed.
    pub fn poll_paced(
        &mut self,
        cx: &Context<'_>,
        limit: BurstLimit,
        bound: u64,
        flight: &mut dyn FlightMemory,
    ) -> Option<Transmit> {
        if self.status.has(Status::IDLE) {
            return None;
        }
        if self.status.has(Status::RESET) {
            // The reset comes before all else.
            return self.poll_with(cx, None, flight);
        }
        let rate = self.pacing_rate().min(bound);
        let idle = self.phase.sender().map_or(LONGEST, |snd| snd.idle(cx));
        let limit = self.paced_limit(cx, limit, rate, idle);
        let waited = self.status.has(Status::HELD);
        let transmit = self.poll_with(cx, limit, flight);
        let bytes = transmit.as_ref().map_or(0, |sent| sent.payload.len);
        if bytes != 0 {
            self.pacer.on_sent(cx.now, idle, bytes, rate, waited);
        }
        transmit
    }

    /// Whether what is sent is spaced, here or by the layers below (fq): a controller takes that into account.
    pub fn set_paced(&mut self, paced: bool) {
        self.options.traits.set(Traits::PACED, paced);
    }

    /// What may be sent now of what `limit` allows; `None`: no data yet.
    fn paced_limit(
        &mut self,
        cx: &Context<'_>,
        limit: BurstLimit,
        rate: u64,
        idle: Duration,
    ) -> Option<BurstLimit> {
        let (pending, forced) = match (self.phase.sender(), self.phase.link()) {
            (Some(snd), Some(link)) => {
                let new = snd.has_new(link, self.phase.fin());
                (new || snd.mode() != Mode::Open, snd.force != Force::No)
            }
            _ => (false, false),
        };
        if let (Some(wait), true, false) = (self.pacer.wait(cx.now, idle), pending, forced) {
            self.status.set(Status::HELD);
            self.timers.set(TimerKind::Pace, cx.now + wait);
            return None;
        }
        if !pending {
            self.status.clear(Status::HELD);
        }
        let burst = (rate >> BURST_SHIFT).min(u64::from(u32::MAX)) as u32;
        let segments = u32::from(self.mss()).saturating_mul(LEAST_SEGMENTS);
        Some(BurstLimit(limit.0.min(burst.max(segments))))
    }

    /// What waited may go. The keepalive timer, whose place this one took, starts anew: while data waits, others watch over the peer.
    pub(super) fn on_pace(&mut self, cx: &Context<'_>) {
        self.start_keepalive(cx);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(micros: u64) -> Instant {
        Instant::from_micros(micros)
    }

    const SOON: Duration = Duration::from_millis(1);

    fn held(pacer: Pacer, now: u64) -> bool {
        pacer.wait(at(now), SOON).is_some()
    }

    #[test]
    fn wait__until_the_burst_is_paid_for() {
        let mut pacer = Pacer::NONE;
        assert!(!held(pacer, 1_000_001));
        // 1000 bytes at 1 MB/s: a millisecond, less what may be made up for after a pause. Marks are odd.
        pacer.on_sent(at(1_000_001), SOON, 1_000, 1_000_000, false);
        assert!(held(pacer, 1_000_499));
        assert!(!held(pacer, 1_000_501));
        // On time.
        pacer.on_sent(at(1_000_501), SOON, 1_000, 1_000_000, false);
        assert!(held(pacer, 1_001_499));
        assert!(!held(pacer, 1_001_501));
        // A little late.
        pacer.on_sent(at(1_001_701), SOON, 1_000, 1_000_000, false);
        assert!(held(pacer, 1_002_499));
        assert!(!held(pacer, 1_002_501));
    }

    /// A timer that is 4 ms late for every gap of 1 ms: four more bursts go at once.
    #[test]
    fn on_sent__a_late_timer_costs_nothing() {
        let mut pacer = Pacer::NONE;
        pacer.on_sent(at(1_000_001), SOON, 1_000, 1_000_000, false);
        let mut sent = 0;
        for tick in 1..=100u64 {
            let now = 1_000_001 + tick * 4_000;
            while !held(pacer, now) {
                pacer.on_sent(at(now), SOON, 1_000, 1_000_000, true);
                sent += 1;
            }
        }
        assert!((395..=405).contains(&sent), "{sent}");
    }

    #[test]
    fn wait__a_mark_of_long_ago_means_nothing() {
        let mut pacer = Pacer::NONE;
        pacer.on_sent(at(1_000_001), SOON, 1_000, 16, false);
        assert!(held(pacer, 1_000_001 + 10_000_000));
        // After 71 minutes the same number comes again.
        let later = at(1_000_001 + (1 << 32));
        assert!(pacer.wait(later, SOON).is_some());
        assert!(pacer.wait(later, LONGEST).is_none());
    }

    #[test]
    fn on_sent__extremes() {
        for rate in [0, 1, u64::MAX] {
            for now in [0, u64::MAX] {
                for waited in [false, true] {
                    let mut pacer = Pacer::NONE;
                    pacer.on_sent(at(now), LONGEST, u32::MAX, rate, waited);
                    pacer.on_sent(at(now), SOON, u32::MAX, rate, waited);
                    assert!(pacer
                        .wait(at(now), SOON)
                        .is_none_or(|wait| wait <= LONGEST + SOON));
                }
            }
        }
    }
}
