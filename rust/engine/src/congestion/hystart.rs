// SPDX-License-Identifier: GPL-2.0
//! HyStart: leaves slow start before the bottleneck's queue overflows (Ha and Rhee, "Taming the elephants", 2011).
//!
//! It watches each round of acknowledgments for two signs that the path is full: the acknowledgments that come close to one another
//! take as long as half a round trip, and the round trip grows. Figures and rules are those of Linux's CUBIC.
//!
//! Deviation: RFC 9406 section 4.2 looks at the round trip only, and goes on more slowly for some rounds to see whether it was right
//! (RFC 9438 section 4.10 prefers that to the way here, which it calls hybrid slow start). Linux leaves slow start at the first sign;
//! who shares a path with it is to do neither better nor worse.

use super::{Ack, Sign, Window};
use crate::seq::SeqNum;
use crate::time::Duration;

/// Below so many segments slow start cannot do harm, and too few acknowledgments come to judge by.
const LOW_WINDOW: u32 = 16;
/// Acknowledgments at most so far apart belong to one train.
const TRAIN_GAP: u32 = 2_000;
/// Round trips measured before the smallest of a round counts: delayed acknowledgments make the first ones long.
const MIN_SAMPLES: u32 = 8;
/// The round trip must have grown by an eighth, but by no less than 4 ms (noise) and no more than 16 ms (a queue).
const DELAY_MIN: u32 = 4_000;
const DELAY_MAX: u32 = 16_000;
/// What the sender's and the receiver's aggregation may add to a train's length: four bursts of 64 KB, 1 ms at most.
const BURSTS: u64 = 4 * 65_536;
const BURSTS_MAX: u64 = 1_000;

/// One round of acknowledgments. Times are in microseconds, modulo 2^32 (71 minutes): rounds are over sooner.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) struct HyStart {
    /// The round is over when this is acknowledged and more.
    end: SeqNum,
    start: u32,
    /// When the train's last acknowledgment came.
    last: u32,
    rtt: Smallest,
}

/// The smallest round trip of a round in 28 bits (268 s), and in 4 bits how many were measured.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Smallest(u32);

impl Smallest {
    const BITS: u32 = 28;
    const LONGEST: u32 = (1 << Smallest::BITS) - 1;

    fn micros(self) -> u32 {
        self.0 & Smallest::LONGEST
    }

    /// Takes in one more; says whether enough had been measured before.
    fn take(&mut self, micros: u32) -> bool {
        let samples = self.0 >> Smallest::BITS;
        let enough = samples >= MIN_SAMPLES;
        let samples = if enough {
            samples
        } else {
            samples.saturating_add(1)
        };
        self.0 = (samples << Smallest::BITS) | self.micros().min(micros);
        enough
    }
}

impl HyStart {
    /// A round begins with this acknowledgment.
    pub(super) fn begin(ack: &Ack) -> Self {
        let now = ack.now.as_micros() as u32;
        HyStart {
            end: ack.nxt,
            start: now,
            last: now,
            rtt: Smallest(Smallest::LONGEST),
        }
    }

    /// Whether this acknowledgment shows that slow start has filled the path: by what sign.
    pub(super) fn is_full(&mut self, window: &Window, ack: &Ack) -> Option<Sign> {
        let now = ack.now.as_micros() as u32;
        if ack.una.after(self.end) {
            *self = HyStart::begin(ack);
        }
        let min_rtt = ack.min_rtt?;
        if window.cwnd < u32::from(ack.mss).saturating_mul(LOW_WINDOW) {
            return None;
        }
        let min_rtt = min_rtt.as_micros().min(u64::from(u32::MAX / 2)) as u32;
        let train = self.train_is_long(window, ack, now, min_rtt);
        let delay = ack
            .rtt
            .is_some_and(|rtt| self.round_trip_grew(rtt, min_rtt));
        if train {
            return Some(Sign::Train);
        }
        delay.then_some(Sign::Delay)
    }

    /// The acknowledgments of one round, sent by a receiver at the bottleneck's pace, have come for half a round trip: so
    /// much data as fills the path one way.
    fn train_is_long(&mut self, window: &Window, ack: &Ack, now: u32, min_rtt: u32) -> bool {
        if now.wrapping_sub(self.last) > TRAIN_GAP {
            return false;
        }
        self.last = now;
        let srtt = ack.srtt.unwrap_or(Duration::ZERO).as_micros();
        // At the rate of slow start's pacing, two windows in a round trip.
        let rate = u64::from(window.cwnd).saturating_mul(2).max(1);
        let bursts = BURSTS.saturating_mul(srtt).checked_div(rate);
        let bursts = bursts.unwrap_or(BURSTS_MAX).min(BURSTS_MAX) as u32;
        let threshold = min_rtt.saturating_add(bursts);
        // Pacing may have stretched the train to half a round trip.
        let threshold = match ack.paced {
            true => threshold,
            false => threshold / 2,
        };
        now.wrapping_sub(self.start) > threshold
    }

    fn round_trip_grew(&mut self, rtt: Duration, min_rtt: u32) -> bool {
        let micros = rtt.as_micros().min(u64::from(u32::MAX)) as u32;
        let enough = self.rtt.take(micros);
        let growth = (min_rtt / 8).clamp(DELAY_MIN, DELAY_MAX);
        enough && self.rtt.micros() > min_rtt.saturating_add(growth)
    }
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ack, MSS};
    use super::*;
    use crate::time::Instant;

    const RTT: u64 = 100_000;

    fn window(segments: u32) -> Window {
        Window {
            cwnd: segments * MSS,
            ssthresh: u32::MAX,
        }
    }

    /// A round of `count` acknowledgments, `gap` microseconds apart, with round trips of `rtt`: which of them finds the path
    /// full.
    fn round(hystart: &mut HyStart, segments: u32, count: u32, gap: u64, rtt: u64) -> Option<u32> {
        let start = u64::from(u32::MAX) - 5_000;
        let base = hystart.end.add(1);
        (0..count).find(|&i| {
            let ack = Ack {
                now: Instant::from_micros(start + u64::from(i) * gap),
                una: base.add(i * MSS),
                nxt: base.add((count + i) * MSS),
                rtt: Some(Duration::from_micros(rtt)),
                srtt: Some(Duration::from_micros(RTT)),
                min_rtt: Some(Duration::from_micros(RTT)),
                ..ack(MSS)
            };
            hystart.is_full(&window(segments), &ack).is_some()
        })
    }

    /// RFC 9406 section 4.2 does not look at this.
    #[test]
    fn is_full__a_train_of_half_a_round_trip() {
        // 1 ms apart: after 50.5 ms, with the millisecond for bursts.
        let found = round(&mut HyStart::begin(&ack(0)), 100, 100, 1_000, RTT);
        assert_eq!(found, Some(51));
        // A train that is not close is none.
        assert_eq!(
            round(&mut HyStart::begin(&ack(0)), 100, 100, 2_001, RTT),
            None
        );
        // Nor a short one.
        assert_eq!(
            round(&mut HyStart::begin(&ack(0)), 100, 50, 1_000, RTT),
            None
        );
    }

    #[test]
    fn is_full__a_paced_train_may_be_as_long_as_the_round_trip() {
        let mut hystart = HyStart::begin(&ack(0));
        let full = |i: u64, hystart: &mut HyStart| {
            let ack = Ack {
                now: Instant::from_micros(1_000 * i),
                una: SeqNum::new(1 + i as u32),
                nxt: SeqNum::new(1_000),
                paced: true,
                srtt: Some(Duration::from_micros(RTT)),
                min_rtt: Some(Duration::from_micros(RTT)),
                ..ack(1)
            };
            hystart.is_full(&window(100), &ack) == Some(Sign::Train)
        };
        assert_eq!((0..200).find(|&i| full(i, &mut hystart)), Some(102));
    }

    #[test]
    fn is_full__a_round_trip_that_grew_by_an_eighth() {
        let grown = RTT + RTT / 8;
        assert_eq!(
            round(&mut HyStart::begin(&ack(0)), 100, 30, 3_000, grown),
            None
        );
        assert_eq!(
            round(&mut HyStart::begin(&ack(0)), 100, 30, 3_000, grown + 1),
            Some(8)
        );
        // The smallest of the round counts.
        let mut hystart = HyStart::begin(&ack(0));
        assert_eq!(round(&mut hystart, 100, 8, 3_000, RTT), None);
        let late = Ack {
            now: Instant::from_millis(1),
            una: hystart.end,
            rtt: Some(Duration::from_secs(1)),
            min_rtt: Some(Duration::from_micros(RTT)),
            ..ack(MSS)
        };
        assert_eq!(hystart.is_full(&window(100), &late), None);
        // And a new round begins anew.
        assert_eq!(round(&mut hystart, 100, 30, 3_000, grown + 1), Some(8));
    }

    #[test]
    fn is_full__not_below_sixteen_segments() {
        assert_eq!(
            round(&mut HyStart::begin(&ack(0)), 15, 100, 1_000, 2 * RTT),
            None
        );
        assert_eq!(
            round(&mut HyStart::begin(&ack(0)), 16, 100, 1_000, 2 * RTT),
            Some(8)
        );
    }

    #[test]
    fn is_full__without_a_round_trip_never() {
        let mut hystart = HyStart::begin(&ack(0));
        for micros in 0..100 {
            let ack = Ack {
                now: Instant::from_millis(micros),
                nxt: SeqNum::new(u32::MAX / 2),
                ..ack(1)
            };
            assert_eq!(hystart.is_full(&window(100), &ack), None);
        }
    }
}
