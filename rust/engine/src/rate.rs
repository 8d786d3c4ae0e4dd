// SPDX-License-Identifier: GPL-2.0
//! The rate at which the path delivers, one sample per acknowledgment (draft-cheng-iccrg-delivery-rate-estimation; Linux's
//! `tcp_rate_gen`).
//!
//! A sample spans from the sending of what was just delivered back to what was known to be delivered when that was sent. It divides what
//! was delivered in between by the longer of two times: that in which it was sent, and that in which it was
//! acknowledged. So neither a burst of sending nor a bunch of acknowledgments makes a path look faster than it is.
//!
//! Linux keeps with each packet what was known when it was sent. Here a record has the bytes that were delivered then ([`Count`]). When the last of
//! them were is found by its time, among a few acknowledgments that are kept ([`Deliveries`]), one in a quarter of a round trip; those in between
//! count as having come when the transmission was sent, as one that lets it go has, but no later than a quarter behind the one that is kept.
//!
//! [`Best`] is what a connection shows of all that. Times are in microseconds and counts in bytes, modulo 2^32: a sample is of the last round
//! trips.

use crate::time::Duration;

/// A sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Bytes delivered ...
    pub delivered: u32,
    /// ... in this time.
    pub interval: Duration,
    /// What had been delivered at the beginning of the sample: a round is over when this is no less than what was delivered at the round's
    /// beginning.
    pub prior: u32,
    /// There was too little to send: the path may be faster.
    pub app_limited: bool,
}

impl Rate {
    /// Bytes per second.
    pub fn bytes_per_second(&self) -> u64 {
        u64::from(self.delivered)
            .saturating_mul(1_000_000)
            .checked_div(self.interval.as_micros())
            .unwrap_or(0)
    }
}

/// What the path has shown that it can deliver (TCP_INFO's `tcpi_delivery_rate`): the latest sample that is not
/// [`app_limited`](Rate::app_limited), or a larger one that is.
///
/// In 32 bits, the lowest of which says that the sample is not limited, then 26 of the rate, and how far these are shifted.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Best(u32);

impl Best {
    const FREE: u32 = 1;
    const DIGITS: u32 = 26;
    const SHIFT: u32 = 1 + Best::DIGITS;
    const LARGEST: u64 = ((1 << Best::DIGITS) - 1) << 31;

    /// Takes a sample in.
    pub fn note(&mut self, rate: &Rate) {
        let value = rate.bytes_per_second();
        if !rate.app_limited || value >= self.bytes_per_second() {
            let value = value.min(Best::LARGEST);
            let length = u64::BITS.saturating_sub(value.leading_zeros());
            let shift = length.saturating_sub(Best::DIGITS);
            let digits = (value >> shift) as u32;
            self.0 = (shift << Best::SHIFT) | (digits << 1) | u32::from(!rate.app_limited);
        }
    }

    /// Bytes per second, to one in 2^25; 0 before any sample.
    pub fn bytes_per_second(self) -> u64 {
        let digits = (self.0 >> 1) & ((1 << Best::DIGITS) - 1);
        u64::from(digits) << (self.0 >> Best::SHIFT)
    }

    /// There was too little to send, or there is no sample.
    pub fn app_limited(self) -> bool {
        self.0 & Best::FREE == 0
    }
}

/// Bytes delivered, in fours modulo 64 MB: so it fits where a record has room.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) struct Count([u8; 3]);

impl Count {
    pub(crate) const ZERO: Count = Count([0; 3]);

    fn new(bytes: u32) -> Self {
        let [_, a, b, c] = (bytes << 6).to_le_bytes();
        Count([a, b, c])
    }

    /// How many bytes before `now` that was, to three.
    fn before(self, now: u32) -> u32 {
        let [a, b, c] = self.0;
        let then = u32::from_le_bytes([0, a, b, c]) >> 6;
        (now.wrapping_sub(then) << 6) >> 6
    }
}

/// A transmission, for a sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Sent {
    /// When it was sent.
    pub(crate) at: u32,
    /// What had been delivered then.
    pub(crate) count: Count,
}

/// What an acknowledgment left behind.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Snapshot {
    /// When it came.
    at: u32,
    /// Bytes that were delivered then.
    delivered: u32,
    /// When the last of what it delivered was sent.
    sent_at: u32,
}

/// When there was too little to send.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Bubble {
    None,
    /// What is sent from then on tells of what there was to send, until more than this is delivered.
    Open {
        from: u32,
        mark: u32,
    },
    /// What was sent in that time, the end excluded.
    Past {
        from: u32,
        until: u32,
    },
}

/// The deliveries of one flight.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Deliveries {
    /// The latest first, `len` of them.
    snapshots: [Snapshot; Deliveries::CAPACITY],
    len: u8,
    /// Bytes delivered.
    delivered: u32,
    bubble: Bubble,
}

impl Deliveries {
    /// With four in a round trip these reach back for one and a half.
    const CAPACITY: usize = 6;

    /// Nothing is known.
    pub(crate) const fn new() -> Self {
        Deliveries {
            snapshots: [Snapshot {
                at: 0,
                delivered: 0,
                sent_at: 0,
            }; Deliveries::CAPACITY],
            len: 0,
            delivered: 0,
            bubble: Bubble::None,
        }
    }

    /// What is in flight was sent since `first_at`, when nothing was; of that `delivered` bytes have arrived. It began with what there was to
    /// send.
    pub(crate) fn begin(&mut self, first_at: u32, delivered: u32) {
        *self = Deliveries::new();
        self.keep(Snapshot {
            at: first_at,
            delivered: 0,
            sent_at: first_at,
        });
        self.delivered = delivered;
        self.bubble = Bubble::Open {
            from: first_at,
            mark: delivered,
        };
    }

    /// The window has room, and there is nothing to send: until what is in the network, `pipe` bytes, is delivered, samples tell of that.
    /// The oldest in flight was sent at `oldest`.
    pub(crate) fn on_app_limited(&mut self, now: u32, pipe: u32, oldest: u32) {
        let mark = self.delivered.wrapping_add(pipe);
        let next = now.wrapping_add(1);
        let from = match self.bubble {
            Bubble::Open { from, .. } => from,
            // Two that are close count as one.
            Bubble::Past { from, until } if is_after(until, oldest) => from,
            Bubble::Past { .. } | Bubble::None => next,
        };
        self.bubble = Bubble::Open { from, mark };
    }

    /// The count now.
    pub(crate) fn count(&self) -> Count {
        Count::new(self.delivered)
    }

    /// An acknowledgment delivers `bytes`, of which `latest` was sent last. `None`: it is no sample, because it delivers nothing of which
    /// that is known, or because it spans less than `min_rtt`, which is too short for anything to have come back.
    ///
    /// `round` is a round trip.
    pub(crate) fn on_delivered(
        &mut self,
        now: u32,
        bytes: u32,
        latest: Option<Sent>,
        min_rtt: u32,
        round: u32,
    ) -> Option<Rate> {
        let gap = round >> 2;
        if bytes == 0 {
            return None;
        }
        self.delivered = self.delivered.wrapping_add(bytes);
        if let Bubble::Open { from, mark } = self.bubble {
            if is_after(self.delivered, mark) {
                self.bubble = Bubble::Past { from, until: now };
            }
        }
        let rate = latest.and_then(|latest| self.sample(now, latest, min_rtt, gap));
        let last = self.snapshots.first().copied().filter(|_| self.len != 0);
        if last.is_none_or(|last| now.wrapping_sub(last.at) >= gap) {
            let before = last.map_or(now, |last| last.sent_at);
            self.keep(Snapshot {
                at: now,
                delivered: self.delivered,
                sent_at: latest.map_or(before, |latest| latest.at),
            });
        }
        rate
    }

    fn sample(&self, now: u32, latest: Sent, min_rtt: u32, gap: u32) -> Option<Rate> {
        let Sent { at: latest, count } = latest;
        let delivered = count.before(self.delivered);
        let kept = self.snapshots.get(..usize::from(self.len))?;
        let known = kept.iter().find(|snapshot| !is_after(snapshot.at, latest));
        let prior = known.or(kept.last())?;
        let sending = latest.wrapping_sub(prior.sent_at);
        // Others have come since, of which it is not known when, nor when what they acknowledged was sent.
        let apart = match is_after(latest, prior.at) {
            true if prior.delivered != self.delivered.wrapping_sub(delivered) => {
                latest.wrapping_sub(prior.at).min(gap)
            }
            _ => 0,
        };
        let acknowledging = now.wrapping_sub(prior.at).saturating_sub(apart);
        let interval = match is_after(latest, prior.sent_at) {
            true => sending.saturating_sub(apart).max(acknowledging),
            false => acknowledging,
        };
        if interval == 0 || interval < min_rtt {
            return None;
        }
        Some(Rate {
            delivered,
            interval: Duration::from_micros(u64::from(interval)),
            prior: self.delivered.wrapping_sub(delivered),
            app_limited: match self.bubble {
                Bubble::None => false,
                Bubble::Open { from, .. } => !is_after(from, latest),
                Bubble::Past { from, until } => !is_after(from, latest) && is_after(until, latest),
            },
        })
    }

    fn keep(&mut self, snapshot: Snapshot) {
        self.snapshots.rotate_right(1);
        if let Some(first) = self.snapshots.first_mut() {
            *first = snapshot;
        }
        self.len = self.len.saturating_add(1).min(Deliveries::CAPACITY as u8);
    }
}

fn is_after(a: u32, b: u32) -> bool {
    (a.wrapping_sub(b) as i32) > 0
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;
    use std::vec::Vec;

    const MSS: u32 = 1000;
    const RTT: u64 = 50_000;

    struct Flying {
        sent: Sent,
        back: u64,
    }

    /// A sender with a window of `window` segments over a bottleneck that takes `gap` microseconds for a segment; every
    /// `stretch` of them are acknowledged at once. The program has a segment every `pause`. The samples after `begin`.
    fn path(window: usize, gap: u64, stretch: usize, pause: u64, begin: u64) -> Vec<Rate> {
        // Across a wrap of the clock and of the count.
        let base = (1u64 << 32) - 200_000;
        let mut deliveries = Deliveries::new();
        let mut flying: VecDeque<Flying> = VecDeque::new();
        let mut free = base;
        let mut written = base;
        let mut rates = Vec::new();
        let mut now = base;
        let mut held = Vec::new();
        while now < base + 2_000_000 {
            while flying.len() < window && written <= now {
                let at = now as u32;
                if flying.is_empty() && held.is_empty() {
                    deliveries.begin(at, 0);
                    deliveries.delivered = u32::MAX - 30 * MSS;
                    deliveries.snapshots[0].delivered = deliveries.delivered;
                    let (from, mark) = (at, deliveries.delivered);
                    deliveries.bubble = Bubble::Open { from, mark };
                }
                free = free.max(now) + gap;
                let count = deliveries.count();
                flying.push_back(Flying {
                    sent: Sent { at, count },
                    back: free + RTT,
                });
                written = written.max(now) + pause;
            }
            if flying.len() < window {
                let oldest = flying.front().map_or(now as u32, |first| first.sent.at);
                deliveries.on_app_limited(now as u32, flying.len() as u32 * MSS, oldest);
            }
            let next = flying.front().map(|first| first.back);
            now = match next {
                Some(back) if flying.len() == window => back,
                Some(back) => back.min(written),
                None => written,
            };
            while flying.front().is_some_and(|first| first.back <= now) {
                held.push(flying.pop_front().unwrap());
            }
            if held.len() >= stretch || (!held.is_empty() && flying.is_empty()) {
                let latest = held.iter().map(|one| one.sent).next_back();
                let bytes = held.len() as u32 * MSS;
                let (min, round) = (RTT as u32, RTT as u32);
                let rate = deliveries.on_delivered(now as u32, bytes, latest, min, round);
                held.clear();
                if now >= base + begin {
                    rates.extend(rate);
                }
            }
        }
        assert!(rates.len() > 5);
        rates
    }

    fn bounds(rates: &[Rate]) -> (u64, u64) {
        let rates: Vec<u64> = rates.iter().map(Rate::bytes_per_second).collect();
        (*rates.iter().min().unwrap(), *rates.iter().max().unwrap())
    }

    #[test]
    fn on_delivered__is_what_the_bottleneck_carries() {
        // One segment in 100 us is 10 MB/s; 50 ms of that are 500 segments.
        let rates = path(600, 100, 1, 0, 500_000);
        let (least, most) = bounds(&rates);
        assert!(least >= 9_900_000 && most <= 10_000_100, "{least} {most}");
        assert!(rates.iter().all(|rate| !rate.app_limited));
    }

    #[test]
    fn on_delivered__bunched_acknowledgments_do_not_look_faster() {
        let (least, most) = bounds(&path(600, 100, 40, 0, 500_000));
        assert!(least >= 9_000_000 && most <= 10_000_100, "{least} {most}");
    }

    #[test]
    fn on_delivered__a_small_window_shows_itself() {
        // 100 segments in 50 ms and a bit.
        let (least, most) = bounds(&path(100, 100, 1, 0, 500_000));
        assert!(least >= 1_900_000 && most <= 2_000_000, "{least} {most}");
    }

    #[test]
    fn on_delivered__too_little_to_send_is_marked() {
        // A segment per ms is 1 MB/s, a tenth of what the path carries.
        let rates = path(600, 100, 1, 1_000, 500_000);
        let (least, most) = bounds(&rates);
        assert!(least >= 900_000 && most <= 1_050_000, "{least} {most}");
        assert!(rates.iter().all(|rate| rate.app_limited));
    }

    fn sample(bytes: u32, millis: u64, app_limited: bool) -> Rate {
        Rate {
            delivered: bytes,
            interval: Duration::from_millis(millis),
            prior: 0,
            app_limited,
        }
    }

    #[test]
    fn best__keeps_what_the_path_could_do() {
        let mut best = Best::default();
        let mut noted = |bytes, limited| {
            best.note(&sample(bytes, 10, limited));
            (best.bytes_per_second(), best.app_limited())
        };
        assert_eq!(noted(3_000, true), (300_000, true));
        assert_eq!(noted(5_000, false), (500_000, false));
        assert_eq!(noted(1_000, true), (500_000, false));
        assert_eq!(noted(9_000, true), (900_000, true));
        // What was limited is delivered: a slower path counts.
        assert_eq!(noted(2_000, false), (200_000, false));
    }

    #[test]
    fn best__has_room_for_any_rate() {
        assert_eq!(Best::default().bytes_per_second(), 0);
        assert!(Best::default().app_limited());
        for (bytes, micros) in [
            (1, 1),
            (u32::MAX, 1),
            (u32::MAX, 4_000_000_000),
            (1, 2_000_000),
        ] {
            let rate = Rate {
                delivered: bytes,
                interval: Duration::from_micros(micros),
                prior: 0,
                app_limited: false,
            };
            let mut best = Best::default();
            best.note(&rate);
            let (told, exact) = (best.bytes_per_second(), rate.bytes_per_second());
            assert!(
                told <= exact && exact - told <= exact >> 25,
                "{told} {exact}"
            );
        }
    }

    #[test]
    fn on_delivered__the_longer_time_counts_and_nonsense_is_no_sample() {
        let mut deliveries = Deliveries::new();
        deliveries.begin(11, 0);
        let sent = |at, bytes| {
            let count = Count::new(bytes);
            Some(Sent { at, count })
        };
        let rate = deliveries.on_delivered(101, 8, sent(31, 0), 0, 0).unwrap();
        assert_eq!((rate.delivered, rate.prior), (8, 0));
        assert_eq!(rate.interval, Duration::from_micros(90));
        // Sent over a longer time than it was acknowledged in.
        let rate = deliveries.on_delivered(301, 8, sent(291, 8), 0, 0).unwrap();
        assert_eq!((rate.delivered, rate.interval.as_micros()), (8, 260));
        // Nothing, too fast, and of something unknown.
        assert_eq!(deliveries.on_delivered(401, 0, sent(391, 16), 0, 0), None);
        assert_eq!(deliveries.on_delivered(401, 4, sent(391, 16), 500, 0), None);
        assert_eq!(deliveries.on_delivered(501, 4, None, 0, 0), None);
        assert_eq!(deliveries.delivered, 24);
    }

    #[test]
    fn count__wraps() {
        for (then, now) in [(0, 0), (3, 4), (0, 40_000_000), (u32::MAX - 7, 400)] {
            let bytes = Count::new(then).before(now);
            let exact = now.wrapping_sub(then);
            assert!((exact..=exact + 3).contains(&bytes), "{bytes} {exact}");
        }
    }

    #[test]
    fn size__fits_a_flight() {
        assert!(core::mem::size_of::<Deliveries>() <= 96);
        assert_eq!(core::mem::size_of::<Best>(), 4);
    }
}
