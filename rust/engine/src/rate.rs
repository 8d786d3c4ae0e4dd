// SPDX-License-Identifier: GPL-2.0
//! The rate at which the path delivers, one sample per acknowledgment (draft-cheng-iccrg-delivery-rate-estimation; Linux's
//! `tcp_rate.c`).
//!
//! A sample spans from the sending of what was just delivered back to what was known to be delivered when that was sent. It divides what
//! was delivered in between by the longer of two times: that in which it was sent, and that in which it was
//! acknowledged. So neither a burst of sending nor a bunch of acknowledgments makes a path look faster than it is.
//!
//! [`Sampler`] is the connection's part; [`Sent`] is to be kept with each transmission; [`Delivery`] gathers those that
//! one acknowledgment delivers. Times are in microseconds and counts in bytes, modulo 2^32: a sample is of the last round
//! trips.

use core::num::NonZeroU32;

use crate::time::{Duration, Instant};

/// What is known of deliveries when something is sent.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sent {
    /// Bytes that had been delivered.
    delivered: u32,
    /// When the last of them were; the lowest bit says that the sender had too little to send ([`Sent::APP_LIMITED`]).
    delivered_at: u32,
    /// When the transmission went out that was the last to be known as delivered: the sample's time of sending begins
    /// there.
    first_at: u32,
}

impl Sent {
    const APP_LIMITED: u32 = 1;

    fn app_limited(self) -> bool {
        self.delivered_at & Sent::APP_LIMITED != 0
    }
}

/// One connection's count of what was delivered.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Sampler {
    /// Bytes delivered.
    delivered: u32,
    /// When.
    delivered_at: u32,
    /// When the transmission was sent that was most recently delivered.
    first_at: u32,
    /// Until so much is delivered, samples tell what there was to send and not what the path carries.
    app_limited: Option<NonZeroU32>,
    /// The latest sample that is not [`Rate::app_limited`], or a larger one that is; bytes and microseconds.
    best: (u32, u32),
}

/// What one acknowledgment delivers.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Delivery {
    latest: Option<Latest>,
}

/// The transmission that was sent last.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Latest {
    sent: Sent,
    at: u32,
    again: bool,
}

/// A sample.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rate {
    /// Bytes delivered ...
    pub delivered: u32,
    /// ... in this time.
    pub interval: Duration,
    /// [`Sampler::delivered`] at the beginning of the sample: a round is over when this is no less than what it was at the round's
    /// beginning.
    pub prior: u32,
    /// There was too little to send: the path may be faster.
    pub app_limited: bool,
    /// The transmission that the sample is about was a repetition.
    pub again: bool,
}

impl Rate {
    /// Bytes per second.
    pub fn bytes_per_second(&self) -> u64 {
        per_second(self.delivered, self.interval.as_micros())
    }
}

impl Delivery {
    /// What was sent at `at`, for the first time or `again`, has been delivered.
    pub fn add(&mut self, sent: Sent, at: u32, again: bool) {
        let later = match self.latest {
            Some(latest) => is_after(at, latest.at),
            None => true,
        };
        if later {
            self.latest = Some(Latest { sent, at, again });
        }
    }
}

impl Sampler {
    /// Nothing has been sent.
    pub fn new(now: Instant) -> Self {
        let now = micros(now);
        Sampler {
            delivered: 0,
            delivered_at: now,
            first_at: now,
            app_limited: None,
            best: (0, 0),
        }
    }

    /// Something is sent; what is returned is to be kept with it. `idle` if nothing was in flight: time in which
    /// nothing was to be delivered belongs to no sample.
    pub fn on_sent(&mut self, now: Instant, idle: bool) -> Sent {
        if idle {
            self.first_at = micros(now);
            self.delivered_at = micros(now);
        }
        let flag = match self.app_limited {
            Some(_) => Sent::APP_LIMITED,
            None => 0,
        };
        Sent {
            delivered: self.delivered,
            delivered_at: self.delivered_at & !Sent::APP_LIMITED | flag,
            first_at: self.first_at,
        }
    }

    /// The window has room, and there is nothing to send: until what is in the network, `in_flight` bytes, is delivered, the
    /// samples tell of that.
    pub fn on_app_limited(&mut self, in_flight: u32) {
        let until = self.delivered.wrapping_add(in_flight);
        self.app_limited = Some(NonZeroU32::new(until).unwrap_or(NonZeroU32::MIN));
    }

    /// An acknowledgment delivers `bytes`, those of `delivery`. `None`: it is no sample, because it delivers nothing or because it
    /// spans less than `min_rtt`, which is too short for anything to have come back (clocks, and reports taken
    /// back).
    pub fn on_delivered(
        &mut self,
        now: Instant,
        bytes: u32,
        delivery: &Delivery,
        min_rtt: Option<Duration>,
    ) -> Option<Rate> {
        if bytes == 0 {
            return None;
        }
        self.delivered = self.delivered.wrapping_add(bytes);
        self.delivered_at = micros(now);
        if self
            .app_limited
            .is_some_and(|until| is_after(self.delivered, until.get()))
        {
            self.app_limited = None;
        }
        let latest = delivery.latest?;
        self.first_at = latest.at;
        let sending = latest.at.wrapping_sub(latest.sent.first_at);
        let acknowledging = micros(now).wrapping_sub(latest.sent.delivered_at & !Sent::APP_LIMITED);
        let interval = sending.max(acknowledging);
        let delivered = self.delivered.wrapping_sub(latest.sent.delivered);
        let short = min_rtt.is_some_and(|min| u64::from(interval) < min.as_micros());
        if interval == 0 || short {
            return None;
        }
        let rate = Rate {
            delivered,
            interval: Duration::from_micros(u64::from(interval)),
            prior: latest.sent.delivered,
            app_limited: latest.sent.app_limited(),
            again: latest.again,
        };
        let (best, time) = self.best;
        let larger = u64::from(delivered).saturating_mul(u64::from(time))
            >= u64::from(best).saturating_mul(u64::from(interval));
        if !rate.app_limited || larger {
            self.best = (delivered, interval);
        }
        Some(rate)
    }

    /// Bytes delivered so far, modulo 2^32.
    pub fn delivered(&self) -> u32 {
        self.delivered
    }

    /// What the path has shown it can deliver, in bytes per second (TCP_INFO's `tcpi_delivery_rate`); 0 before any sample.
    pub fn rate(&self) -> u64 {
        per_second(self.best.0, u64::from(self.best.1))
    }
}

fn per_second(bytes: u32, micros: u64) -> u64 {
    u64::from(bytes)
        .saturating_mul(1_000_000)
        .checked_div(micros)
        .unwrap_or(0)
}

fn micros(now: Instant) -> u32 {
    now.as_micros() as u32
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
        at: u32,
        back: u64,
    }

    /// A sender with a window of `window` segments over a bottleneck that takes `gap` microseconds for a segment; every
    /// `stretch` of them are acknowledged at once. The program has a segment every `pause`. The samples after `begin`.
    fn path(window: usize, gap: u64, stretch: usize, pause: u64, begin: u64) -> Vec<Rate> {
        // Across a wrap of the clock and of the count.
        let base = (1u64 << 32) - 200_000;
        let mut sampler = Sampler::new(Instant::from_micros(base));
        sampler.delivered = u32::MAX - 30 * MSS;
        let mut flying: VecDeque<Flying> = VecDeque::new();
        let mut free = base;
        let mut written = base;
        let mut rates = Vec::new();
        let mut now = base;
        let mut held = Vec::new();
        while now < base + 2_000_000 {
            while flying.len() < window && written <= now {
                let sent = sampler.on_sent(Instant::from_micros(now), flying.is_empty());
                free = free.max(now) + gap;
                let at = now as u32;
                flying.push_back(Flying {
                    sent,
                    at,
                    back: free + RTT,
                });
                written = written.max(now) + pause;
            }
            if flying.len() < window {
                sampler.on_app_limited(flying.len() as u32 * MSS);
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
                let mut delivery = Delivery::default();
                for one in &held {
                    delivery.add(one.sent, one.at, false);
                }
                let min = Some(Duration::from_micros(RTT));
                let bytes = held.len() as u32 * MSS;
                let rate = sampler.on_delivered(Instant::from_micros(now), bytes, &delivery, min);
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
        assert!(least >= 9_900_000 && most <= 10_000_000, "{least} {most}");
        assert!(rates.iter().all(|rate| !rate.app_limited));
    }

    #[test]
    fn on_delivered__bunched_acknowledgments_do_not_look_faster() {
        let (least, most) = bounds(&path(600, 100, 40, 0, 500_000));
        assert!(least >= 9_000_000 && most <= 10_000_000, "{least} {most}");
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

    #[test]
    fn rate__keeps_what_the_path_could_do() {
        let now = |millis| Instant::from_millis(millis);
        let mut sampler = Sampler::new(now(0));
        let round = |sampler: &mut Sampler, at: u64, bytes: u32, limited: bool| {
            if limited {
                sampler.on_app_limited(0);
            }
            let sent = sampler.on_sent(now(at), true);
            let mut delivery = Delivery::default();
            delivery.add(sent, now(at).as_micros() as u32, false);
            sampler.on_delivered(now(at + 10), bytes, &delivery, None)
        };
        assert_eq!(sampler.rate(), 0);
        assert!(!round(&mut sampler, 1, 5_000, false).unwrap().app_limited);
        assert_eq!(sampler.rate(), 500_000);
        assert!(round(&mut sampler, 100, 1_000, true).unwrap().app_limited);
        assert_eq!(sampler.rate(), 500_000);
        let _ = round(&mut sampler, 200, 9_000, true);
        assert_eq!(sampler.rate(), 900_000);
        // What was limited is delivered: a slower path counts.
        let _ = round(&mut sampler, 300, 2_000, false);
        assert_eq!(sampler.rate(), 200_000);
    }

    #[test]
    fn on_delivered__the_last_sent_counts_and_nonsense_is_no_sample() {
        let mut sampler = Sampler::new(Instant::default());
        let first = sampler.on_sent(Instant::from_micros(10), true);
        let second = sampler.on_sent(Instant::from_micros(30), false);
        let mut delivery = Delivery::default();
        delivery.add(second, 30, true);
        delivery.add(first, 10, false);
        let now = Instant::from_micros(100);
        let rate = sampler.on_delivered(now, 7, &delivery, None).unwrap();
        assert!(rate.again);
        assert_eq!(rate.interval, Duration::from_micros(90));
        assert_eq!((rate.delivered, rate.prior), (7, 0));
        // Nothing, and too fast.
        assert_eq!(sampler.on_delivered(now, 0, &delivery, None), None);
        let min = Some(Duration::from_micros(91));
        assert_eq!(sampler.on_delivered(now, 7, &delivery, min), None);
        assert_eq!(
            sampler.on_delivered(now, 7, &Delivery::default(), None),
            None
        );
        assert_eq!(sampler.delivered(), 21);
    }
}
