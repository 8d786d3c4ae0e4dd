// SPDX-License-Identifier: GPL-2.0

//! Loss recovery: fast retransmit and fast recovery by NewReno (RFC 5681 section 3.2, RFC 6582), limited transmit
//! (RFC 3042), and go-back-N after a timeout (RFC 6298 section 5, RFC 5681 section 3.1). Where the peer reports with SACK,
//! a hole is sent again as a whole, and what it has already is skipped; there is no scoreboard.
//!
//! What to send again is decided here; how large the window is, by [`crate::congestion`].

use crate::seq::{SeqNum, SeqRange};

/// RFC 5681 section 3.2: the third duplicate acknowledgment tells of a loss.
pub(super) const DUPLICATES: u8 = 3;

/// What the SACK option of one acknowledgment tells (RFC 2018). Only the latest one is looked at: nothing that the
/// peer has reported is remembered, so nothing that it takes back can hurt.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Evidence {
    /// Bytes in the blocks above the acknowledgment: they have left the network.
    pub(super) sacked: u32,
    /// The lowest of these blocks: what lies before it is a hole. Empty when there is none.
    pub(super) first: SeqRange,
    /// Behind the highest of these blocks.
    pub(super) high: SeqNum,
    /// It reports a duplicate (RFC 2883): what arrived had arrived before.
    pub(super) duplicate: bool,
    /// SACK was agreed: the peer says what it has, so it has nothing beyond a hole when it says nothing.
    pub(super) agreed: bool,
}

/// What is known to be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovery {
    /// Nothing.
    Open {
        /// Duplicate acknowledgments since the last new one.
        duplicates: u8,
        /// A recovery has just ended and nothing beyond it has been acknowledged: duplicates may be the echo
        /// of its retransmissions (RFC 6582 section 3.2, step 2: "if it covers more than recover").
        guarded: bool,
    },
    /// Fast recovery, until `recover` is acknowledged.
    Fast {
        /// SND.NXT when the loss was found.
        recover: SeqNum,
        /// Bytes that are reckoned to be in the network (RFC 6675's pipe): what is sent adds to it, what an
        /// acknowledgment shows to have arrived or to be lost takes from it. So nothing is sent but for what has left.
        out: u32,
        /// Behind the highest byte that the peer has reported.
        high: SeqNum,
        /// What is to be sent again next, up to `end`, where the hole ends as far as is known or guessed.
        next: SeqNum,
        end: SeqNum,
        /// The guess is so many doublings of a segment: a hole that proves longer is guessed twice as long.
        doublings: u8,
        /// Partial acknowledgments that have come, at most two.
        partial: u8,
    },
    /// After a timeout, until `recover` is acknowledged: everything is sent again, in slow start, but what the latest
    /// acknowledgment says the peer has.
    Loss {
        /// SND.NXT when the timer expired.
        recover: SeqNum,
        /// What is to be sent again next; SND.NXT when all has been.
        next: SeqNum,
        /// Bytes sent since the timeout and not acknowledged.
        out: u32,
        /// The lowest block that the peer has, if it says so.
        first: SeqRange,
    },
}

/// What a new acknowledgment means for recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Progress {
    /// No recovery: the congestion window grows by so many bytes.
    Grow(u32),
    /// Fast recovery goes on: the next hole is sent again.
    Partial,
    /// Fast recovery is over.
    Recovered,
}

/// What a duplicate acknowledgment means for recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Duplicate {
    /// Counted.
    Counted,
    /// The threshold is reached: a segment was lost.
    Lost,
}

/// What is to be sent again now, and how many bytes of it the network has room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Again {
    pub(super) start: SeqNum,
    pub(super) end: SeqNum,
    pub(super) budget: u32,
}

impl Recovery {
    pub(super) const fn new() -> Self {
        Recovery::Open {
            duplicates: 0,
            guarded: false,
        }
    }

    /// The peer acknowledges new data, from `una` up to `ack`; a segment has `size` bytes.
    pub(super) fn on_new_ack(
        &mut self,
        una: SeqNum,
        ack: SeqNum,
        size: u32,
        evidence: Evidence,
    ) -> Progress {
        let acked = una.distance_to(ack);
        match *self {
            Recovery::Open { .. } => {
                *self = Recovery::new();
                Progress::Grow(acked)
            }
            Recovery::Fast { recover, .. } if ack.after_eq(recover) => {
                *self = Recovery::Open {
                    duplicates: 0,
                    guarded: ack == recover,
                };
                Progress::Recovered
            }
            Recovery::Fast {
                recover,
                out,
                high,
                next,
                end,
                doublings,
                partial,
            } => {
                // RFC 6582 section 3.2 step 3, partial acknowledgment. What was sent again and is acknowledged has arrived.
                let arrived = una.distance_to(SeqNum::min(ack, SeqNum::max(next, una)));
                let mut out = out.saturating_sub(arrived.max(size));
                // "Retransmit the first unacknowledged segment", unless it is part of a hole that is being sent
                // again already.
                let (mut next, mut end, mut doublings) = (SeqNum::max(next, ack), end, doublings);
                if ack.after_eq(end) {
                    // Behind the old hole follows the new one at once: it was longer than guessed.
                    doublings = match ack == end {
                        true => doublings.saturating_add(1).min(10),
                        false => 0,
                    };
                    if evidence.agreed && evidence.first.is_empty() {
                        // With SACK, silence says that all that was sent before the loss was found is lost.
                        doublings = doublings.max(3);
                    }
                    next = ack;
                    let guess =
                        ack.add(size.saturating_mul(1u32.wrapping_shl(u32::from(doublings))));
                    let known = match evidence.first.is_empty() {
                        true => recover,
                        false => evidence.first.start,
                    };
                    end = SeqNum::min(guess, known);
                    out = out.saturating_sub(next.distance_to(end));
                }
                *self = Recovery::Fast {
                    recover,
                    out,
                    high: SeqNum::max(high, SeqNum::max(ack, evidence.high)),
                    next,
                    end,
                    doublings,
                    partial: partial.saturating_add(1).min(2),
                };
                Progress::Partial
            }
            Recovery::Loss {
                recover, next, out, ..
            } => {
                // Only what was sent again has left the network now; what lies beyond has been there all along.
                let again = acked.min(out);
                if ack.after_eq(recover) {
                    *self = Recovery::Open {
                        duplicates: 0,
                        guarded: ack == recover,
                    };
                } else {
                    *self = Recovery::Loss {
                        recover,
                        next: SeqNum::max(next, ack),
                        out: out.saturating_sub(again),
                        first: evidence.first,
                    };
                    self.skip();
                }
                Progress::Grow(again)
            }
        }
    }

    /// The peer acknowledges once more what it has acknowledged before, up to `una`.
    pub(super) fn on_duplicate(
        &mut self,
        una: SeqNum,
        snd_nxt: SeqNum,
        size: u32,
        evidence: Evidence,
    ) -> Duplicate {
        let threshold = size.saturating_mul(u32::from(DUPLICATES));
        if evidence.duplicate && !matches!(self, Recovery::Loss { .. }) {
            // Something was sent in vain. It tells of no loss, and was counted when it was acknowledged.
            return Duplicate::Counted;
        }
        match self {
            Recovery::Open {
                duplicates,
                guarded,
            } => {
                *duplicates = duplicates.saturating_add(1).min(DUPLICATES);
                // RFC 6675 section 4: so much data beyond the hole is as good as three duplicates, of which a receiver with GRO
                // may send only one.
                let lost = *duplicates >= DUPLICATES || evidence.sacked >= threshold;
                if !lost || *guarded {
                    return Duplicate::Counted;
                }
                let end = SeqNum::min(hole_end(una, size, evidence), snd_nxt);
                let left = threshold.max(evidence.sacked);
                let lost = una.distance_to(end);
                *self = Recovery::Fast {
                    recover: snd_nxt,
                    out: una
                        .distance_to(snd_nxt)
                        .saturating_sub(left)
                        .saturating_sub(lost),
                    high: SeqNum::max(una, evidence.high),
                    next: una,
                    end,
                    doublings: 0,
                    partial: 0,
                };
                Duplicate::Lost
            }
            Recovery::Fast { out, high, .. } => {
                // One segment has arrived, or as many as the peer's highest block has grown by.
                let mut arrived = size;
                if evidence.high.after(*high) {
                    arrived = arrived.max(high.distance_to(evidence.high));
                    *high = evidence.high;
                }
                *out = out.saturating_sub(arrived);
                Duplicate::Counted
            }
            Recovery::Loss { first, .. } => {
                *first = evidence.first;
                self.skip();
                Duplicate::Counted
            }
        }
    }

    /// The retransmission timer expired.
    pub(super) fn on_timeout(&mut self, snd_una: SeqNum, snd_nxt: SeqNum) {
        *self = Recovery::Loss {
            recover: snd_nxt,
            next: snd_una,
            out: 0,
            first: SeqRange::default(),
        };
    }

    /// What is to be sent again now, with a congestion window of `cwnd` bytes.
    pub(super) fn again(
        &self,
        una: SeqNum,
        snd_nxt: SeqNum,
        cwnd: u32,
        size: u32,
    ) -> Option<Again> {
        match *self {
            Recovery::Open { .. } => None,
            Recovery::Fast { out, next, end, .. } => {
                let end = SeqNum::min(end, snd_nxt);
                if next.after_eq(end) {
                    return None;
                }
                let room = cwnd.saturating_sub(out);
                // The first segment of a hole goes at once.
                let budget = if next == una { room.max(size) } else { room };
                Some(Again {
                    start: next,
                    end,
                    budget,
                })
            }
            Recovery::Loss {
                next, out, first, ..
            } => {
                if next.after_eq(snd_nxt) {
                    return None;
                }
                let room = cwnd.saturating_sub(out);
                Some(Again {
                    start: next,
                    end: match first.is_empty() {
                        true => snd_nxt,
                        false => SeqNum::min(first.start, snd_nxt),
                    },
                    budget: if out == 0 { room.max(size) } else { room },
                })
            }
        }
    }

    /// `len` bytes up to `end` were sent again.
    pub(super) fn on_sent_again(&mut self, end: SeqNum, sent: u32) {
        match self {
            Recovery::Open { .. } => {}
            Recovery::Fast { next, out, .. } => {
                *next = end;
                *out = out.saturating_add(sent);
            }
            Recovery::Loss { next, out, .. } => {
                *next = end;
                *out = out.saturating_add(sent);
                self.skip();
            }
        }
    }

    /// `sent` bytes up to `end` were sent for the first time.
    pub(super) fn on_sent_new(&mut self, end: SeqNum, sent: u32) {
        match self {
            Recovery::Open { .. } => {}
            Recovery::Fast { out, .. } => *out = out.saturating_add(sent),
            Recovery::Loss { next, out, .. } => {
                *next = end;
                *out = out.saturating_add(sent);
            }
        }
    }

    /// `len` bytes from `start` on, the last that were sent, did not leave the host.
    pub(super) fn take_back(&mut self, start: SeqNum, len: u32) {
        match self {
            Recovery::Open { .. } => {}
            Recovery::Fast {
                next, out, recover, ..
            } => {
                *out = out.saturating_sub(len);
                // New data has not moved `next`.
                if start.before(*recover) {
                    *next = SeqNum::min(*next, start);
                }
            }
            Recovery::Loss { next, out, .. } => {
                *out = out.saturating_sub(len);
                *next = SeqNum::min(*next, start);
            }
        }
    }

    /// What counts as in flight when `flight` bytes are not acknowledged.
    pub(super) fn pipe(&self, flight: u32) -> u32 {
        match *self {
            Recovery::Fast { out, .. } | Recovery::Loss { out, .. } => out.min(flight),
            Recovery::Open { .. } => flight,
        }
    }

    /// Whether the retransmission timer begins anew: in fast recovery with the first partial acknowledgment only (RFC 6582
    /// section 3.2 step 3, the impatient variant of section 4), so that many losses in one window
    /// end in slow start and are not repaired one in each round trip.
    pub(super) fn restarts_timer(&self) -> bool {
        !matches!(self, Recovery::Fast { partial: 2.., .. })
    }

    /// What is added to the congestion window.
    pub(super) fn allowance(&self, size: u32) -> u32 {
        match *self {
            // Limited transmit (RFC 3042): a new segment for each of the first two duplicates.
            Recovery::Open {
                duplicates,
                guarded: false,
            } => size.saturating_mul(u32::from(duplicates.min(2))),
            Recovery::Open { .. } | Recovery::Fast { .. } | Recovery::Loss { .. } => 0,
        }
    }

    /// Goes past what the peer says it has.
    fn skip(&mut self) {
        if let Recovery::Loss { next, first, .. } = self {
            if first.contains(*next) {
                *next = first.end();
                *first = SeqRange::default();
            } else if next.after(first.start) {
                *first = SeqRange::default();
            }
        }
    }
}

/// Where the hole that begins at `start` ends: at the lowest block that the peer has, or, as far as anybody knows,
/// after one segment.
fn hole_end(start: SeqNum, size: u32, evidence: Evidence) -> SeqNum {
    match evidence.first.is_empty() {
        true => start.add(size),
        false => evidence.first.start,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Evidence = Evidence {
        sacked: 0,
        first: SeqRange::new(SeqNum::new(0), 0),
        high: SeqNum::new(0),
        duplicate: false,
        agreed: false,
    };

    const fn s(n: u32) -> SeqNum {
        SeqNum::new(n)
    }

    fn block(start: u32, len: u32) -> Evidence {
        Evidence {
            sacked: len,
            first: SeqRange::new(s(start), len),
            high: s(start + len),
            duplicate: false,
            agreed: true,
        }
    }

    /// `times` duplicates up to `una`, of segments of 1000 bytes, with SND.NXT at 10,000.
    fn duplicates(r: &mut Recovery, una: u32, times: u32) -> Duplicate {
        let mut found = Duplicate::Counted;
        for _ in 0..times {
            found = r.on_duplicate(s(una), s(10_000), 1000, NONE);
        }
        found
    }

    fn again(r: &Recovery, una: u32, cwnd: u32) -> Option<(u32, u32, u32)> {
        let again = r.again(s(una), s(10_000), cwnd, 1000)?;
        Some((again.start.get(), again.end.get(), again.budget))
    }

    #[test]
    fn on_duplicate__the_third_is_a_loss() {
        let mut r = Recovery::new();
        assert_eq!(duplicates(&mut r, 0, 1), Duplicate::Counted);
        assert_eq!(r.allowance(1000), 1000);
        assert_eq!(duplicates(&mut r, 0, 1), Duplicate::Counted);
        assert_eq!(r.allowance(1000), 2000);
        assert_eq!(duplicates(&mut r, 0, 1), Duplicate::Lost);
        // Ten sent, three arrived, one lost.
        assert_eq!(r.pipe(10_000), 6000);
        assert_eq!(again(&r, 0, 5000), Some((0, 1000, 1000)));
        r.on_sent_again(s(1000), 1000);
        assert_eq!(again(&r, 0, 5000), None);
        assert_eq!(r.pipe(10_000), 7000);
        assert_eq!(duplicates(&mut r, 0, 3), Duplicate::Counted);
        assert_eq!(r.pipe(10_000), 4000);
        r.on_sent_new(s(11_000), 1000);
        assert_eq!(r.pipe(11_000), 5000);
        // A partial acknowledgment, then the full one.
        assert_eq!(r.on_new_ack(s(0), s(2000), 1000, NONE), Progress::Partial);
        assert_eq!(again(&r, 2000, 5000), Some((2000, 3000, 2000)));
        assert_eq!(
            r.on_new_ack(s(2000), s(10_000), 1000, NONE),
            Progress::Recovered
        );
        // Echoes of the retransmissions start nothing.
        assert_eq!(duplicates(&mut r, 10_000, 10), Duplicate::Counted);
        assert_eq!(r.allowance(1000), 0);
        assert_eq!(
            r.on_new_ack(s(10_000), s(10_001), 1000, NONE),
            Progress::Grow(1)
        );
        assert_eq!(r, Recovery::new());
    }

    /// What is in the network never grows by what arrives, only by what is sent.
    #[test]
    fn fast__sends_no_more_than_arrives() {
        let mut r = Recovery::new();
        let _ = duplicates(&mut r, 0, 3);
        let mut pipe = r.pipe(10_000);
        for una in 0..9 {
            let _ = duplicates(&mut r, una * 1000, 2);
            assert!(r.pipe(10_000) <= pipe);
            pipe = r.pipe(10_000);
            if let Some((start, end, _)) = again(&r, una * 1000, 5000) {
                r.on_sent_again(s(end), end - start);
                assert_eq!(r.pipe(u32::MAX), pipe + (end - start));
            }
            let _ = r.on_new_ack(s(una * 1000), s(una * 1000 + 1500), 1000, NONE);
            let _ = r.on_new_ack(s(una * 1000 + 500), s(una * 1000 + 1000), 1000, NONE);
            pipe = r.pipe(u32::MAX);
        }
    }

    #[test]
    fn fast__a_long_hole_is_guessed_in_doubling_steps() {
        let mut r = Recovery::new();
        let _ = duplicates(&mut r, 0, 3);
        r.on_sent_again(s(1000), 1000);
        let _ = r.on_new_ack(s(0), s(1000), 1000, NONE);
        assert_eq!(
            again(&r, 1000, 9000).map(|a| (a.0, a.1)),
            Some((1000, 3000))
        );
        r.on_sent_again(s(3000), 2000);
        // Not before all of it is acknowledged.
        let _ = r.on_new_ack(s(1000), s(2000), 1000, NONE);
        assert_eq!(again(&r, 2000, 9000), None);
        let _ = r.on_new_ack(s(2000), s(3000), 1000, NONE);
        assert_eq!(
            again(&r, 3000, 9000).map(|a| (a.0, a.1)),
            Some((3000, 7000))
        );
        r.on_sent_again(s(7000), 4000);
        // Something behind the guess had arrived: the next hole is another one.
        let _ = r.on_new_ack(s(3000), s(8000), 1000, NONE);
        assert_eq!(
            again(&r, 8000, 9000).map(|a| (a.0, a.1)),
            Some((8000, 9000))
        );
    }

    #[test]
    fn on_duplicate__one_large_block_is_a_loss_and_tells_the_hole() {
        let mut r = Recovery::new();
        let evidence = block(5000, 3000);
        assert_eq!(
            r.on_duplicate(s(0), s(10_000), 1000, evidence),
            Duplicate::Lost
        );
        // 10,000 sent, 3000 arrived, 5000 lost: 2000 in the network, so 2000 more fill a window of 4000.
        assert_eq!(again(&r, 0, 4000), Some((0, 5000, 2000)));
        r.on_sent_again(s(2000), 2000);
        // The rest arrives; then more of the hole goes, and none of it twice.
        let _ = r.on_duplicate(s(0), s(10_000), 1000, block(5000, 5000));
        assert_eq!(again(&r, 0, 4000), Some((2000, 5000, 2000)));
        let _ = r.on_new_ack(s(0), s(1000), 1000, block(5000, 5000));
        assert_eq!(again(&r, 1000, 4000), Some((2000, 5000, 3000)));
        // A report of a duplicate counts for nothing.
        let mut report = block(5000, 5000);
        report.duplicate = true;
        let before = r;
        let _ = r.on_duplicate(s(1000), s(10_000), 1000, report);
        assert_eq!(r, before);
    }

    #[test]
    fn loss__counts_only_what_was_sent_again_and_skips_what_the_peer_has() {
        let mut r = Recovery::new();
        r.on_timeout(s(0), s(10_000));
        r.on_sent_again(s(1000), 1000);
        // The peer had the rest of the first half.
        assert_eq!(
            r.on_new_ack(s(0), s(5000), 1000, block(6000, 3000)),
            Progress::Grow(1000)
        );
        let again = r.again(s(5000), s(10_000), 2000, 1000).unwrap();
        assert_eq!(
            (again.start, again.end, again.budget),
            (s(5000), s(6000), 2000)
        );
        r.on_sent_again(s(6000), 1000);
        let again = r.again(s(5000), s(10_000), 2000, 1000).unwrap();
        assert_eq!(
            (again.start, again.end, again.budget),
            (s(9000), s(10_000), 1000)
        );
        r.on_sent_again(s(10_000), 1000);
        assert_eq!(r.again(s(5000), s(10_000), 9000, 1000), None);
        assert_eq!(
            r.on_duplicate(s(5000), s(10_000), 1000, NONE),
            Duplicate::Counted
        );
        assert_eq!(
            r.on_new_ack(s(5000), s(10_000), 1000, NONE),
            Progress::Grow(2000)
        );
        assert!(matches!(r, Recovery::Open { guarded: true, .. }));
    }
}
