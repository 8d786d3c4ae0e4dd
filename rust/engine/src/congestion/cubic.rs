// SPDX-License-Identifier: GPL-2.0
//! CUBIC (RFC 9438), with HyStart in slow start: the default, as in Linux.
//!
//! Integers only. Windows are in bytes, times in units of 2^-10 s (as in Linux's CUBIC), modulo 2^32 where they are kept.

use super::hystart::HyStart;
use super::{Ack, Congestion, CongestionControl, Credit, Sign, Window, MAX_CWND};
use crate::time::{Duration, Instant};

/// RFC 9438 section 4.6: beta_cubic = 0.7; 717/1024, as in Linux.
const BETA: u64 = 717;
const BETA_ONE: u64 = 1024;
/// RFC 9438 section 4.3: alpha_cubic = 3 * (1 - beta) / (1 + beta) = 9/17.
const ALPHA: (u64, u64) = (9, 17);
/// RFC 9438 section 5: C = 0.4 = 2/5 segments per second^3.
const C: (u64, u64) = (2, 5);
/// Beyond so much time from the plateau (1024 s) the curve is far above any window: 0.4 * 1024^3 segments.
const FAR: u64 = 1 << 20;
/// Before any loss is known the window grows by a twentieth per round trip at least.
///
/// Deviation: RFC 9438 section 4.10 follows the curve alone when HyStart has ended slow start. Linux, and so we, are bolder: the curve
/// would be too careful while nobody knows what the path carries.
const UNKNOWN_GROWTH: u64 = 20;

/// The window as a cubic function of the time since the last congestion, whatever the round trip.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Cubic {
    /// W_max: where the curve has its plateau. 0 before there was one.
    w_max: u32,
    phase: Phase,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Phase {
    /// Slow start at the beginning or after a timeout, before the first acknowledgment.
    Fresh,
    /// Slow start, from the first acknowledgment on.
    Probing(HyStart),
    /// Congestion, or HyStart, has set ssthresh; the next acknowledgment in congestion avoidance begins an epoch.
    Reduced(Search),
    /// Congestion avoidance.
    Avoidance(Epoch, Origin, Search),
}

/// HyStart ends slow start once, until a timeout begins anew (Linux's `found`).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Search {
    /// It has not. If slow start comes back, because the loss that ended it was none, so does HyStart: nothing else would end it before
    /// the queue is full.
    Open,
    Over,
}

/// A stage of congestion avoidance.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Epoch {
    /// When the curve reaches its plateau: the beginning of the epoch and K.
    plateau: u32,
    /// W_est: the window that Reno would have.
    estimate: u32,
    /// Bytes acknowledged and not yet part of the estimate.
    estimate_acked: u32,
    credit: Credit,
}

/// What W_max is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Origin {
    /// A window at which congestion was found.
    Congestion,
    /// No congestion is known: the window at the beginning of the epoch.
    Guess,
}

impl Default for Cubic {
    fn default() -> Self {
        Cubic {
            w_max: 0,
            phase: Phase::Fresh,
        }
    }
}

impl CongestionControl for Cubic {
    fn on_ack(&mut self, window: &mut Window, ack: &Ack) -> Option<Sign> {
        if self.phase == Phase::Fresh {
            self.phase = Phase::Probing(HyStart::begin(ack));
        }
        let slow_start = window.in_slow_start();
        if self.phase == Phase::Reduced(Search::Open) && slow_start && !ack.in_recovery {
            self.phase = Phase::Probing(HyStart::begin(ack));
        }
        let mut sign = None;
        if let (Phase::Probing(hystart), true) = (&mut self.phase, slow_start) {
            sign = hystart.is_full(window, ack);
            if sign.is_some() {
                window.ssthresh = window.cwnd;
                self.phase = Phase::Reduced(Search::Over);
            }
        }
        if ack.in_recovery || !ack.cwnd_limited {
            return sign;
        }
        let acked = match window.in_slow_start() {
            true => window.slow_start(ack.delivered),
            false => ack.delivered,
        };
        if acked != 0 {
            self.avoid(window, ack, acked);
        }
        sign
    }

    /// RFC 9438 sections 4.6 and 4.7.
    ///
    /// Deviation: RFC 9438 section 4.6 takes seven tenths of what is in flight. Linux, and so we, of cwnd, which the RFC allows to those
    /// whose cwnd does not grow unused ([`super::Usage`]): a sender that has just paused has little in flight, and is not punished for it.
    fn on_congestion(&mut self, window: &mut Window, congestion: &Congestion) {
        let known = !matches!(self.phase, Phase::Avoidance(_, Origin::Guess, _));
        let cwnd = u64::from(window.cwnd);
        // Fast convergence: a flow that has not come up to its last plateau makes room for new ones.
        let w_max = match known && window.cwnd < self.w_max {
            true => scale(
                cwnd,
                BETA_ONE.saturating_add(BETA),
                BETA_ONE.saturating_mul(2),
            ),
            false => cwnd,
        };
        self.w_max = w_max as u32;
        self.phase = Phase::Reduced(self.search());
        let mss = u64::from(congestion.mss.max(1));
        // In whole segments, as Linux counts.
        let segments = scale(cwnd, BETA, BETA_ONE.saturating_mul(mss)).max(2);
        window.ssthresh = clamp(segments.saturating_mul(mss));
    }

    /// RFC 9438 section 4.8: "the first congestion avoidance stage after a timeout" has K = 0 and for W_max the window it
    /// begins with.
    fn on_timeout(&mut self, window: &mut Window, congestion: &Congestion, first: bool) {
        if first {
            self.on_congestion(window, congestion);
        }
        window.cwnd = u32::from(congestion.mss).max(1);
        *self = Cubic::default();
    }

    /// RFC 9438 section 4.9: W_max, K, and the beginning of the epoch are what they were, and the time since then counts. On a path that
    /// reorders, where one needless reduction follows the other, the window would never leave its plateau otherwise, as Linux's does not.
    fn on_undo(&mut self, window: &mut Window, before: &Window, was: &Self) {
        window.restore(before);
        *self = *was;
        if !matches!(self.phase, Phase::Avoidance(..)) || window.in_slow_start() {
            self.phase = Phase::Reduced(self.search());
        }
    }

    /// RFC 9438 section 5.8: time in which nothing was sent is no time for the curve.
    fn on_idle(&mut self, _now: Instant, idle: Duration) {
        if let Phase::Avoidance(epoch, ..) = &mut self.phase {
            epoch.plateau = epoch.plateau.wrapping_add(units(idle.as_micros()));
        }
    }
}

impl Cubic {
    /// Congestion avoidance: RFC 9438 sections 4.2 to 4.5. `acked` is not 0.
    fn avoid(&mut self, window: &mut Window, ack: &Ack, acked: u32) {
        let now = units(ack.now.as_micros());
        let mss = u64::from(ack.mss.max(1));
        let (mut epoch, origin) = match self.phase {
            Phase::Avoidance(epoch, origin, _) => (epoch, origin),
            Phase::Fresh | Phase::Probing(_) | Phase::Reduced(_) => self.begin(window, now, mss),
        };
        let cwnd = u64::from(window.cwnd.max(1));
        // Where the window should be a round trip from now.
        //
        // Deviation: RFC 9438 section 4.2 means the smoothed round trip. Linux takes the smallest: a queue that this connection has filled
        // does not make it ask for more.
        let ahead = ack.min_rtt.unwrap_or(Duration::ZERO).as_micros();
        let (target, plateau) = self.target(epoch.plateau, now, units(ahead), mss);
        epoch.plateau = plateau;
        let estimate = epoch.estimate(window, acked, mss);
        let target = target.max(estimate).max(cwnd);
        // "W_cubic(t + RTT) - cwnd divided by cwnd" per segment acknowledged: one segment more for so many bytes.
        let mut need = match target.saturating_sub(cwnd) {
            0 => u64::from(u32::MAX),
            more => scale(cwnd, mss, more),
        };
        if origin == Origin::Guess {
            need = need.min(UNKNOWN_GROWTH.saturating_mul(mss));
        }
        // Never faster than half as much again per round trip (RFC 9438 section 4.2: target <= 1.5 * cwnd).
        let need = clamp(need.max(mss.saturating_mul(2)));
        epoch.credit.spend(window, acked, need, clamp(mss));
        self.phase = Phase::Avoidance(epoch, origin, self.search());
    }

    fn search(&self) -> Search {
        match self.phase {
            Phase::Fresh | Phase::Probing(_) => Search::Open,
            Phase::Reduced(search) | Phase::Avoidance(_, _, search) => search,
        }
    }

    /// An epoch begins: RFC 9438 section 4.2, equation 2.
    fn begin(&mut self, window: &Window, now: u32, mss: u64) -> (Epoch, Origin) {
        let origin = match self.w_max {
            0 => Origin::Guess,
            _ => Origin::Congestion,
        };
        // K: how long the curve takes from the window to the plateau.
        let k = match self.w_max.checked_sub(window.cwnd) {
            Some(below) => {
                // At most 2^30 * 5/2 bytes, times 2^30 for the unit of time: 62 bits.
                let bytes = scale(u64::from(below.min(MAX_CWND)), C.1, C.0);
                cube_root(scale(bytes << 30, 1, mss))
            }
            None => 0,
        };
        self.w_max = self.w_max.max(window.cwnd);
        let epoch = Epoch {
            plateau: now.wrapping_add(k),
            estimate: window.cwnd,
            estimate_acked: 0,
            credit: Credit::default(),
        };
        (epoch, origin)
    }

    /// W_cubic at `ahead` from `now` (equation 1), and the plateau, which moves along when it is very long ago, so that the
    /// times that are kept do not wrap.
    fn target(&self, plateau: u32, now: u32, ahead: u32, mss: u64) -> (u64, u32) {
        let at = i64::from(now.wrapping_sub(plateau) as i32).saturating_add(i64::from(ahead));
        let distance = at.unsigned_abs().min(FAR);
        // C * t^3: 2^60 at most, in segments of 2^30.
        let cube = distance.saturating_mul(distance).saturating_mul(distance);
        let bytes = scale((cube >> 20).saturating_mul(mss), C.0, C.1) >> 10;
        let w_max = u64::from(self.w_max);
        if at < 0 {
            return (w_max.saturating_sub(bytes), plateau);
        }
        let plateau = match distance == FAR {
            true => now.wrapping_sub(FAR as u32),
            false => plateau,
        };
        (w_max.saturating_add(bytes), plateau)
    }
}

impl Epoch {
    /// W_est after `acked` bytes more (RFC 9438 section 4.3, equation 4).
    fn estimate(&mut self, window: &Window, acked: u32, mss: u64) -> u64 {
        let cwnd = u64::from(window.cwnd.max(1));
        // "Once W_est has grown to reach the cwnd at the time of most recently setting ssthresh" it grows as Reno does; that
        // was ssthresh / beta.
        let before = scale(u64::from(window.ssthresh), BETA_ONE, BETA);
        let need = match u64::from(self.estimate) < before {
            true => scale(cwnd, ALPHA.1, ALPHA.0),
            false => cwnd,
        };
        let acked = u64::from(self.estimate_acked).saturating_add(u64::from(acked));
        let segments = scale(acked, 1, need);
        self.estimate_acked = clamp(acked.saturating_sub(segments.saturating_mul(need)));
        let estimate = u64::from(self.estimate).saturating_add(segments.saturating_mul(mss));
        // A window beyond the largest means no more than the largest.
        self.estimate = clamp(estimate.min(u64::from(MAX_CWND)));
        u64::from(self.estimate)
    }
}

/// `x * by / of`, rounded down; saturates.
fn scale(x: u64, by: u64, of: u64) -> u64 {
    x.saturating_mul(by).checked_div(of).unwrap_or(u64::MAX)
}

fn clamp(x: u64) -> u32 {
    x.min(u64::from(u32::MAX)) as u32
}

/// Microseconds in units of 2^-10 s, modulo 2^32 (48 days).
fn units(micros: u64) -> u32 {
    // In parts, so that no number of microseconds overflows.
    let seconds = micros / 1_000_000;
    let rest = micros % 1_000_000;
    (seconds << 10).wrapping_add((rest << 10) / 1_000_000) as u32
}

/// The largest integer whose cube is not more than `x`.
fn cube_root(x: u64) -> u32 {
    let mut root = 0u64;
    // A binary digit at a time, from the highest: 2^21 cubed is 2^63.
    for digit in (0..22).rev() {
        let next = root | (1 << digit);
        let cube = next
            .checked_mul(next)
            .and_then(|square| square.checked_mul(next));
        if cube.is_some_and(|cube| cube <= x) {
            root = next;
        }
    }
    clamp(root)
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ack, loss, MSS};
    use super::*;

    #[test]
    fn cube_root__is_the_floor() {
        for root in [
            0, 1, 2, 3, 4, 5, 9, 10, 99, 1024, 65_535, 1_000_000, 2_642_245,
        ] {
            let cube = root * root * root;
            assert_eq!(cube_root(cube), root as u32);
            if root != 0 {
                assert_eq!(cube_root(cube - 1), root as u32 - 1);
            }
        }
        assert_eq!(cube_root(u64::MAX), 2_642_245);
    }

    #[test]
    fn units__are_1024ths_of_a_second() {
        assert_eq!(units(0), 0);
        assert_eq!(units(1_000_000), 1024);
        assert_eq!(units(999_999), 1023);
        // Wraps, and does not overflow.
        assert_eq!(units(u64::MAX), units(u64::MAX % 4_194_304_000_000));
    }

    /// RFC 9438 section 4.6.
    #[test]
    fn on_congestion__keeps_seven_tenths_in_whole_segments() {
        for (before, after) in [(10, 7), (20, 14), (100, 70), (3, 2), (2, 2), (1, 2)] {
            let mut window = Window {
                cwnd: before * MSS,
                ssthresh: u32::MAX,
            };
            Cubic::default().on_congestion(&mut window, &loss(before * MSS));
            assert_eq!(window.ssthresh, after * MSS);
            assert_eq!(window.cwnd, before * MSS);
        }
    }

    /// RFC 9438 section 4.7.
    #[test]
    fn on_congestion__fast_convergence() {
        let mut cubic = Cubic::default();
        let mut window = Window {
            cwnd: 100 * MSS,
            ssthresh: u32::MAX,
        };
        cubic.on_congestion(&mut window, &loss(100 * MSS));
        assert_eq!(cubic.w_max, 100 * MSS);
        // It did not come up to its plateau again: room for others.
        window.cwnd = 90 * MSS;
        cubic.on_congestion(&mut window, &loss(90 * MSS));
        assert_eq!(cubic.w_max, 76_508);
        window.cwnd = 80 * MSS;
        cubic.on_congestion(&mut window, &loss(80 * MSS));
        assert_eq!(cubic.w_max, 80 * MSS);
    }

    /// RFC 9438 section 4.8.
    #[test]
    fn on_timeout__one_segment_and_ssthresh_once() {
        let mut cubic = Cubic::default();
        let mut window = Window {
            cwnd: 100 * MSS,
            ssthresh: u32::MAX,
        };
        cubic.on_timeout(&mut window, &loss(100 * MSS), true);
        let after = Window {
            cwnd: MSS,
            ssthresh: 70 * MSS,
        };
        assert_eq!(window, after);
        cubic.on_timeout(&mut window, &loss(MSS), false);
        assert_eq!(window, after);
        // Slow start again, with HyStart.
        cubic.on_ack(&mut window, &ack(MSS));
        assert_eq!(window.cwnd, 2 * MSS);
        assert!(matches!(cubic.phase, Phase::Probing(_)));
    }

    /// Not knowing what the path carries, the window grows by a twentieth per round trip; by the curve alone in RFC 9438 section 4.10.
    #[test]
    fn on_ack__without_a_loss_a_twentieth() {
        let mut cubic = Cubic::default();
        let mut window = Window {
            cwnd: 100 * MSS,
            ssthresh: 100 * MSS,
        };
        for _ in 0..100 {
            cubic.on_ack(&mut window, &ack(MSS));
        }
        assert_eq!(window.cwnd, 105 * MSS);
        // Its plateau is no loss: no fast convergence after the window was cut for want of use.
        window.cwnd = 50 * MSS;
        cubic.on_congestion(&mut window, &loss(50 * MSS));
        assert_eq!(cubic.w_max, 50 * MSS);
    }

    /// RFC 9438 section 4.9: the old curve goes on, in the time that has passed as well.
    #[test]
    fn on_undo__restores_the_epoch() {
        let mut cubic = Cubic::default();
        let mut window = Window {
            cwnd: 100 * MSS,
            ssthresh: 80 * MSS,
        };
        let at = |seconds| Ack {
            now: Instant::from_secs(seconds),
            ..ack(MSS)
        };
        cubic.on_congestion(&mut window, &loss(100 * MSS));
        window.cwnd = window.ssthresh;
        cubic.on_ack(&mut window, &at(0));
        let (before, was) = (window, cubic);
        assert!(matches!(was.phase, Phase::Avoidance(..)));
        // A needless reduction, its repair, and the beginning of another epoch.
        let cwnd = window.cwnd;
        cubic.on_congestion(&mut window, &loss(cwnd));
        window.cwnd = window.ssthresh;
        cubic.on_ack(&mut window, &at(1));
        assert!(cubic.w_max < was.w_max);
        cubic.on_undo(&mut window, &before, &was);
        assert_eq!((window, cubic), (before, was));
        // Behind the plateau, as if nothing had been.
        let (mut other, mut undisturbed) = (was, before);
        for seconds in 5..9 {
            cubic.on_ack(&mut window, &at(seconds));
            other.on_ack(&mut undisturbed, &at(seconds));
        }
        assert_eq!(window, undisturbed);
        assert!(window.cwnd > before.cwnd);
    }

    /// Slow start was ended by a loss that was none: HyStart watches on, as Linux's does (its `found` is not set). A hundred segments a
    /// round trip at twice the smallest round trip are a queue.
    #[test]
    fn on_undo__hystart_goes_on() {
        let grown = |cubic: &mut Cubic, window: &mut Window, at: u64| {
            let before = *window;
            for i in 0..20 {
                let ack = Ack {
                    now: Instant::from_millis(at + 3 * i),
                    rtt: Some(Duration::from_millis(100)),
                    srtt: Some(Duration::from_millis(100)),
                    min_rtt: Some(Duration::from_millis(50)),
                    ..ack(MSS)
                };
                cubic.on_ack(window, &ack);
            }
            (before.ssthresh, window.ssthresh)
        };
        let before = Window {
            cwnd: 100 * MSS,
            ssthresh: u32::MAX,
        };
        // At once, and after a while in congestion avoidance.
        for late in [false, true] {
            let (mut cubic, mut window) = (Cubic::default(), before);
            cubic.on_ack(&mut window, &ack(MSS));
            let was = cubic;
            cubic.on_congestion(&mut window, &loss(100 * MSS));
            // While the loss is repaired the window is not its own.
            let repairing = Ack {
                in_recovery: true,
                ..ack(MSS)
            };
            window.cwnd = 20 * MSS;
            cubic.on_ack(&mut window, &repairing);
            assert_eq!(cubic.phase, Phase::Reduced(Search::Open));
            window.cwnd = window.ssthresh;
            if late {
                cubic.on_ack(&mut window, &ack(MSS));
                assert!(matches!(cubic.phase, Phase::Avoidance(..)));
            }
            cubic.on_undo(&mut window, &before, &was);
            assert_eq!(window.ssthresh, u32::MAX);
            let (was, is) = grown(&mut cubic, &mut window, 1_000);
            assert_eq!((was, is < 200 * MSS), (u32::MAX, true), "late {late}");
            // It has had its say.
            let (full, was) = (window, cubic);
            cubic.on_congestion(&mut window, &loss(100 * MSS));
            cubic.on_undo(
                &mut window,
                &Window {
                    ssthresh: u32::MAX,
                    ..full
                },
                &was,
            );
            assert_eq!(grown(&mut cubic, &mut window, 2_000).1, u32::MAX);
        }
    }

    /// The times wrap after 48 days; a loss longer ago than any path remembers is still long ago.
    #[test]
    fn on_ack__a_year_without_a_loss() {
        let mut cubic = Cubic::default();
        let mut window = Window {
            cwnd: 100 * MSS,
            ssthresh: u32::MAX,
        };
        cubic.on_congestion(&mut window, &loss(100 * MSS));
        window.cwnd = window.ssthresh;
        for day in 0..365u64 {
            let before = window.cwnd;
            let now = Instant::from_secs(day * 86_400);
            // All of a window: half as much again is the most, and far above the plateau the curve asks for more.
            cubic.on_ack(&mut window, &Ack { now, ..ack(before) });
            let steepest = before.saturating_add(before / 2 / MSS * MSS).min(1 << 30);
            if day > 0 {
                let saved = window.cwnd.saturating_sub(steepest.max(before));
                assert!(window.cwnd >= steepest && saved <= MSS, "day {day}");
            }
        }
    }

    /// RFC 9438 section 5.8.
    #[test]
    fn on_idle__moves_the_curve() {
        let lossy = || {
            let mut cubic = Cubic::default();
            let mut window = Window {
                cwnd: 100 * MSS,
                ssthresh: u32::MAX,
            };
            cubic.on_congestion(&mut window, &loss(100 * MSS));
            window.cwnd = window.ssthresh;
            cubic.on_ack(&mut window, &ack(MSS));
            (cubic, window)
        };
        let hour = Duration::from_secs(3600);
        let later = |now: Instant| Ack {
            now,
            ..ack(70 * MSS)
        };
        let (mut idle, mut window) = lossy();
        idle.on_idle(Instant::default() + hour, hour);
        idle.on_ack(&mut window, &later(Instant::default() + hour));
        let (mut busy, mut same) = lossy();
        busy.on_ack(&mut same, &later(Instant::default()));
        assert_eq!(window, same);
        let (mut other, mut more) = lossy();
        other.on_ack(&mut more, &later(Instant::default() + hour));
        assert!(more.cwnd > same.cwnd);
    }
}
