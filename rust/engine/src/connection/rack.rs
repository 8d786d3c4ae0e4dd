// SPDX-License-Identifier: GPL-2.0

//! RACK: what was sent before something that has arrived, and long enough before, is lost (RFC 8985 section 6).

use crate::flight::{Marks, Records, Run};
use crate::seq::SeqNum;
use crate::transmit::segments;

/// What was sent most recently of all that has arrived (RFC 8985 section 5.3, RACK.segment).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Rack {
    /// RACK.xmit_ts, in microseconds modulo 2^32.
    at: u32,
    /// RACK.end_seq.
    end: SeqNum,
    /// RACK.rtt in microseconds.
    rtt: u32,
    /// Something has arrived at all.
    known: bool,
    /// Something has arrived since losses were last looked for.
    pub(super) advanced: bool,
    /// When what was taken for lost was last found to be only late.
    found_at: u32,
}

/// How far a path reorders, as far as is known; kept from one loss to the next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Reordering {
    /// The largest distance seen, in segments (Linux's `reordering`).
    pub(super) degree: u16,
    /// How often: RACK.reordering_seen, if ever.
    pub(super) count: u32,
    /// RACK.reo_wnd_mult.
    steps: u8,
    /// RACK.reo_wnd_persist.
    persist: u8,
}

impl Reordering {
    /// RFC 5681's threshold of duplicate acknowledgments.
    const DEGREE: u16 = 3;
    /// Linux's tcp_max_reordering.
    const MAX_DEGREE: u32 = 300;
    /// RFC 8985 section 6.2 step 4: so many recoveries without a needless retransmission forget the enlarged window.
    const PERSIST: u8 = 16;

    pub(super) const fn new() -> Self {
        Reordering {
            degree: Reordering::DEGREE,
            count: 0,
            steps: 1,
            persist: 0,
        }
    }

    /// Data `distance` octets below what had arrived before arrived for the first time (RFC 8985 section 6.2 step 3).
    pub(super) fn on_seen(&mut self, distance: u32, size: u32) {
        self.count = self.count.saturating_add(1);
        let degree = segments(distance, size).min(Reordering::MAX_DEGREE) as u16;
        self.degree = self.degree.max(degree);
    }

    /// More duplicates came than there can have been holes (Linux's `tcp_check_reno_reordering`).
    pub(super) fn on_surplus(&mut self, octets: u32, size: u32) {
        self.count = self.count.saturating_add(1);
        self.degree = segments(octets, size).min(Reordering::MAX_DEGREE) as u16;
    }

    /// RACK.reordering_seen.
    pub(super) fn seen(&self) -> bool {
        self.count != 0
    }

    /// A timeout although so much was reported: what was believed of reordering was too much.
    pub(super) fn on_timeout(&mut self) {
        self.degree = self.degree.min(Reordering::DEGREE);
    }

    /// A retransmission was needless, by a D-SACK of this round (RFC 8985 section 6.2 step 4).
    pub(super) fn widen(&mut self) {
        self.steps = self.steps.saturating_add(1);
        self.persist = Reordering::PERSIST;
    }

    /// A recovery was undone by D-SACK: it counts for nothing.
    pub(super) fn persist_on(&mut self) {
        self.persist = self.persist.saturating_add(1).min(Reordering::PERSIST);
    }

    /// A recovery has ended.
    pub(super) fn on_recovered(&mut self) {
        self.persist = self.persist.saturating_sub(1);
        if self.persist == 0 {
            self.steps = 1;
        }
    }

    /// Whether the threshold for a loss is higher than RFC 5681's.
    pub(super) fn is_high(&self) -> bool {
        self.degree > Reordering::DEGREE
    }

    /// RACK_update_reo_wnd() without its conditions: in microseconds.
    pub(super) fn window(&self, min_rtt: u32, srtt: u32) -> u32 {
        (min_rtt >> 2)
            .saturating_mul(u32::from(self.steps))
            .min(srtt)
    }
}

/// What a look for losses has found.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Found {
    /// Octets newly marked as lost.
    pub(super) lost: u32,
    /// Copies are among them,
    pub(super) resent: bool,
    /// so many octets of what had been lost before.
    pub(super) copies: u32,
    /// Others will be lost in so many microseconds, if they do not arrive.
    pub(super) wait: Option<u32>,
}

impl Rack {
    /// Nothing has arrived.
    pub(crate) const NONE: Rack = Rack {
        at: 0,
        end: SeqNum::new(0),
        rtt: 0,
        known: false,
        advanced: false,
        found_at: 0,
    };

    /// `run` has arrived (RFC 8985 section 6.2 step 2). The caller leaves out copies of which the timestamp echo says that
    /// the original arrived.
    pub(super) fn on_delivered(&mut self, run: &Run, now: u32, min_rtt: u32) {
        let record = &run.record;
        let rtt = elapsed(now, record.at);
        let resent = record.marks.has(Marks::REPEATED);
        // "The RTT sample is less than RACK.min_RTT": the acknowledgment is the original's.
        if resent && rtt < min_rtt {
            return;
        }
        self.advanced = true;
        self.rtt = rtt;
        let end = run.range.end();
        let later = record.at == self.at && end.after(self.end);
        if !self.known || later || rtt < elapsed(now, self.at) {
            self.at = record.at;
            self.end = end;
            self.known = true;
        }
    }

    /// What was taken for lost is late (an undo): it is in flight `now`.
    pub(super) fn on_found(&mut self, now: u32) {
        self.found_at = now;
        self.advanced = true;
    }

    /// RACK_detect_loss() (RFC 8985 section 6.2 step 5), with a reordering window of `window` microseconds.
    ///
    /// What was judged too early before counts as sent when that was found out: what was sent before then and has overtaken it proves
    /// nothing any more. RFC 8985 knows no undo, and would have it lost again at once. Linux takes it off the list of what it looks at
    /// (`tcp_rack_detect_loss`), which leaves a true loss among it to the retransmission timer.
    pub(super) fn detect(&mut self, records: &mut Records, now: u32, window: u32) -> Found {
        let mut found = Found::default();
        self.advanced = false;
        if !self.known {
            return found;
        }
        for index in 0..records.len() {
            let Some(mut run) = records.get(index) else {
                break;
            };
            let marks = run.record.marks;
            if marks.has(Marks::SACKED) || marks.is_hole() {
                continue;
            }
            if marks.has(Marks::JUDGED) {
                run.record.at = self.found_at;
            }
            if !self.is_behind(&run, now) {
                continue;
            }
            let age = elapsed(now, run.record.at);
            let limit = self.rtt.saturating_add(window);
            match limit.checked_sub(age) {
                None | Some(0) => {
                    found.resent |= marks.has(Marks::RESENT);
                    if marks.is_copy() {
                        found.copies = found.copies.saturating_add(run.range.len);
                    }
                    found.lost = found.lost.saturating_add(records.lose(index));
                    records.judge(index);
                }
                // "Record maximum wait time".
                left => found.wait = found.wait.max(left),
            }
        }
        found
    }

    /// RACK_sent_after(): whether `run` was sent before what has arrived.
    fn is_behind(&self, run: &Run, now: u32) -> bool {
        if run.record.at != self.at {
            return elapsed(now, self.at) < elapsed(now, run.record.at);
        }
        // Within a tick of the clock what is missing is sent before what is new.
        run.range.end().before(self.end)
    }

    /// Whether `at` is so long ago that what was sent then should have arrived, by the round trip of the last that did.
    pub(super) fn is_due(&self, at: u32, now: u32) -> bool {
        elapsed(now, at) >= self.rtt
    }
}

/// Microseconds from `at` to `now`, up to 71 minutes. Ages are compared, not times: data can be in flight for more than half the
/// circle, when the user has asked for such patience, or the peer's window is shut.
///
/// `at` may lie one in the future: a [`Mark`](super::timers::Mark) is inexact by that.
fn elapsed(now: u32, at: u32) -> u32 {
    now.wrapping_add(1).wrapping_sub(at).saturating_sub(1)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seq::SeqRange;

    const fn s(n: u32) -> SeqNum {
        SeqNum::new(n)
    }

    /// Ten segments of 1000 octets, one per millisecond from 1000 us on.
    fn ten() -> Records {
        let mut records = Records::new(s(0));
        for i in 1..=10 {
            records.push(s(i * 1000), i * 1000, 0);
        }
        records
    }

    fn sack(rack: &mut Rack, records: &mut Records, segment: u32, now: u32) {
        records.sack(SeqRange::new(s(segment * 1000), 1000), |run| {
            rack.on_delivered(&run, now, 50_000);
        });
    }

    /// RFC 8985 section 6: what is behind by the round trip and the window is lost, and nothing else.
    #[test]
    fn detect__waits_for_the_window() {
        let (mut rack, mut records) = (Rack::NONE, ten());
        // The fifth arrives after 100 ms.
        sack(&mut rack, &mut records, 4, 105_000);
        let found = rack.detect(&mut records, 105_000, 25_000);
        // The first was sent 4 ms, the fourth 1 ms before.
        assert_eq!((found.lost, found.wait), (0, Some(24_000)));
        let found = rack.detect(&mut records, 126_000, 25_000);
        assert_eq!((found.lost, found.wait), (1000, Some(3000)));
        let found = rack.detect(&mut records, 129_000, 25_000);
        assert_eq!((found.lost, found.wait), (3000, None));
        // What was sent later is not lost, however long it takes.
        let found = rack.detect(&mut records, 900_000, 25_000);
        assert_eq!((found.lost, found.wait), (0, None));
    }

    /// What overtakes proves nothing once its proof was found wrong; what is sent later and overtakes does.
    #[test]
    fn detect__what_was_found_late_is_judged_anew() {
        let (mut rack, mut records) = (Rack::NONE, ten());
        sack(&mut rack, &mut records, 8, 20_000);
        assert_eq!(rack.detect(&mut records, 20_000, 0).lost, 8000);
        // The first was sent again, and then acknowledged as an original.
        records.resend(SeqRange::new(s(0), 1000), 20_000, 0);
        let _ = records.pop_acked(s(1000));
        records.find_all();
        rack.on_found(21_000);
        assert_eq!(rack.detect(&mut records, 21_000, 0), Found::default());
        // The last was sent before that, too.
        sack(&mut rack, &mut records, 9, 22_000);
        assert_eq!(rack.detect(&mut records, 22_000, 0), Found::default());
        // Sent at that time, and later: by the rule, with what is behind of them.
        records.push(s(11_000), 21_000, 0);
        records.push(s(12_000), 23_000, 0);
        records.push(s(13_000), 24_000, 0);
        sack(&mut rack, &mut records, 12, 33_000);
        let found = rack.detect(&mut records, 33_000, 0);
        assert_eq!((found.lost, found.wait), (9000, None));
        // A copy has a time of its own.
        records.find_all();
        rack.on_found(40_000);
        records.resend(SeqRange::new(s(1000), 1000), 50_000, 0);
        records.push(s(14_000), 51_000, 0);
        sack(&mut rack, &mut records, 13, 60_000);
        assert_eq!(rack.detect(&mut records, 60_000, 0).lost, 9000);
    }

    #[test]
    fn detect__a_copy_is_lost_when_something_later_arrives() {
        let (mut rack, mut records) = (Rack::NONE, ten());
        sack(&mut rack, &mut records, 3, 104_000);
        assert_eq!(rack.detect(&mut records, 104_000, 0).lost, 3000);
        records.resend(SeqRange::new(s(0), 2000), 104_000, 0);
        // Sent before the copies: tells nothing of them.
        sack(&mut rack, &mut records, 9, 110_000);
        assert_eq!(rack.detect(&mut records, 110_000, 0).lost, 5000);
        records.resend(SeqRange::new(s(2000), 1000), 111_000, 0);
        sack(&mut rack, &mut records, 2, 211_000);
        let found = rack.detect(&mut records, 211_000, 0);
        assert_eq!((found.lost, found.resent), (2000, true));
    }

    /// RFC 8985 section 5.3, RACK_sent_after(): within a tick of the clock the sequence is the order. What is missing is sent before what
    /// is new, and so a copy that is lost beside it is found by it.
    #[test]
    fn detect__in_one_tick_of_the_clock() {
        let mut records = Records::new(s(0));
        records.push(s(1000), 0, 0);
        records.push(s(5000), 10, 0);
        let mut rack = Rack::NONE;
        records.sack(SeqRange::new(s(4000), 1000), |run| {
            rack.on_delivered(&run, 100, 0)
        });
        assert_eq!(rack.detect(&mut records, 100, 0).lost, 4000);
        records.resend(SeqRange::new(s(0), 4000), 200, 0);
        records.push(s(6000), 200, 0);
        records.sack(SeqRange::new(s(5000), 1000), |run| {
            rack.on_delivered(&run, 300, 0)
        });
        let found = rack.detect(&mut records, 300, 0);
        assert_eq!((found.lost, found.resent), (4000, true));
    }

    /// The other way round a copy that has arrived says nothing of what is new.
    #[test]
    fn detect__a_copy_is_older_than_what_is_new() {
        let mut records = Records::new(s(0));
        records.push(s(1000), 0, 0);
        records.push(s(2000), 10, 0);
        let mut rack = Rack::NONE;
        records.sack(SeqRange::new(s(1000), 1000), |run| {
            rack.on_delivered(&run, 100, 0)
        });
        assert_eq!(rack.detect(&mut records, 100, 0).lost, 1000);
        records.resend(SeqRange::new(s(0), 1000), 200, 0);
        records.push(s(3000), 200, 0);
        records.sack(SeqRange::new(s(0), 1000), |run| {
            rack.on_delivered(&run, 300, 0)
        });
        assert_eq!(rack.detect(&mut records, 300, 0), Found::default());
    }

    /// An acknowledgment sooner than any round trip is the original's.
    #[test]
    fn on_delivered__not_by_a_copy_that_is_too_fast() {
        let (mut rack, mut records) = (Rack::NONE, ten());
        records.resend(SeqRange::new(s(9000), 1000), 60_000, 0);
        sack(&mut rack, &mut records, 9, 90_000);
        assert_eq!(rack, Rack::NONE);
        records.resend(SeqRange::new(s(8000), 1000), 60_000, 0);
        sack(&mut rack, &mut records, 8, 110_000);
        assert_eq!((rack.at, rack.rtt), (60_000, 50_000));
    }

    /// Sent and acknowledged within one microsecond, which a mark counts as the next. RFC 8985 section 5.3: RACK.xmit_ts and RACK.rtt.
    #[test]
    fn on_delivered__in_no_time() {
        let (mut rack, mut records) = (Rack::NONE, Records::new(s(0)));
        for i in 1..=3 {
            records.push(s(i * 1000), 1001, 0);
        }
        sack(&mut rack, &mut records, 0, 1000);
        assert_eq!((rack.at, rack.rtt), (1001, 0));
        assert_eq!(rack.detect(&mut records, 1000, 100), Found::default());
    }

    #[test]
    fn reordering__the_window_widens_and_is_forgotten() {
        let mut reordering = Reordering::new();
        assert_eq!(reordering.window(40_000, 100_000), 10_000);
        for _ in 0..300 {
            reordering.widen();
        }
        assert_eq!(reordering.window(40_000, 100_000), 100_000);
        for _ in 0..15 {
            reordering.on_recovered();
        }
        assert_eq!(reordering.window(40_000, 100_000), 100_000);
        reordering.on_recovered();
        assert_eq!(reordering.window(40_000, 100_000), 10_000);
        reordering.on_seen(7001, 1000);
        assert_eq!((reordering.degree, reordering.seen()), (8, true));
        reordering.on_seen(u32::MAX, 1);
        assert_eq!(reordering.degree, 300);
        reordering.on_timeout();
        assert_eq!(reordering.degree, 3);
    }
}
