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
        /// What has left the network, by duplicate acknowledgments or by SACK: the window is larger by so much.
        inflation: u32,
        /// What is to be sent again next, up to `end`, where the hole is known to end.
        next: SeqNum,
        end: SeqNum,
        /// How much may be sent again now: twice what arrived, as in slow start, so that a large hole makes no burst
        /// (as RFC 6937's reduction bound).
        credit: u32,
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
                inflation,
                next,
                end,
                partial,
                ..
            } => {
                // RFC 6582 section 3.2 step 3, partial acknowledgment: "deflate the congestion window by the amount of
                // new data acknowledged [...] if at least one SMSS, add back SMSS bytes".
                let back = if acked >= size { size } else { 0 };
                let inflation = inflation.saturating_sub(acked).saturating_add(back);
                // "Retransmit the first unacknowledged segment", unless it is part of a hole that is being
                // sent again already.
                let (next, end) = match ack.after_eq(end) {
                    // With SACK, silence says that all that was sent before the loss was found is lost.
                    true if evidence.agreed && evidence.first.is_empty() => (ack, recover),
                    true => (ack, hole_end(ack, size, evidence)),
                    false => (SeqNum::max(next, ack), end),
                };
                *self = Recovery::Fast {
                    recover,
                    inflation: inflation.max(evidence.sacked),
                    next,
                    end,
                    credit: acked.saturating_mul(2).max(size),
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
                *self = Recovery::Fast {
                    recover: snd_nxt,
                    inflation: threshold.max(evidence.sacked),
                    next: una,
                    end: hole_end(una, size, evidence),
                    credit: threshold.max(evidence.sacked),
                    partial: 0,
                };
                Duplicate::Lost
            }
            Recovery::Fast {
                inflation, credit, ..
            } => {
                *inflation = inflation.saturating_add(size).max(evidence.sacked);
                *credit = credit.saturating_add(size);
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
            Recovery::Fast {
                inflation,
                next,
                end,
                credit,
                ..
            } => {
                let end = SeqNum::min(end, snd_nxt);
                if next.after_eq(end) {
                    return None;
                }
                // What is in the network: all that was sent, less what has left it, less what was lost and is not sent
                // again yet.
                let pipe = una
                    .distance_to(snd_nxt)
                    .saturating_sub(inflation)
                    .saturating_sub(next.distance_to(end));
                let room = cwnd.saturating_sub(pipe).min(credit);
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
            Recovery::Fast { next, credit, .. } => {
                *next = end;
                *credit = credit.saturating_sub(sent);
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
        if let Recovery::Loss { next, out, .. } = self {
            *next = end;
            *out = out.saturating_add(sent);
        }
    }

    /// What counts as in flight when `flight` bytes are not acknowledged.
    pub(super) fn pipe(&self, flight: u32) -> u32 {
        match *self {
            Recovery::Loss { out, .. } => out.min(flight),
            Recovery::Open { .. } | Recovery::Fast { .. } => flight,
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
            Recovery::Fast { inflation, .. } => inflation,
            Recovery::Open { .. } | Recovery::Loss { .. } => 0,
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
        agreed: false,
    };

    const fn s(n: u32) -> SeqNum {
        SeqNum::new(n)
    }

    fn block(start: u32, len: u32) -> Evidence {
        Evidence {
            sacked: len,
            first: SeqRange::new(s(start), len),
            agreed: true,
        }
    }

    #[test]
    fn on_duplicate__the_third_is_a_loss() {
        let mut r = Recovery::new();
        assert_eq!(
            r.on_duplicate(s(0), s(9000), 1000, NONE),
            Duplicate::Counted
        );
        assert_eq!(r.allowance(1000), 1000);
        assert_eq!(
            r.on_duplicate(s(0), s(9000), 1000, NONE),
            Duplicate::Counted
        );
        assert_eq!(r.allowance(1000), 2000);
        assert_eq!(r.on_duplicate(s(0), s(9000), 1000, NONE), Duplicate::Lost);
        assert_eq!(r.allowance(1000), 3000);
        let again = r.again(s(0), s(9000), 4500, 1000).unwrap();
        assert_eq!((again.start, again.end), (s(0), s(1000)));
        r.on_sent_again(s(1000), 1000);
        assert_eq!(r.again(s(0), s(9000), 4500, 1000), None);
        assert_eq!(
            r.on_duplicate(s(0), s(9000), 1000, NONE),
            Duplicate::Counted
        );
        assert_eq!(r.allowance(1000), 4000);
        // A partial acknowledgment, then the full one.
        assert_eq!(r.on_new_ack(s(0), s(2000), 1000, NONE), Progress::Partial);
        assert_eq!(r.allowance(1000), 3000);
        let again = r.again(s(2000), s(9000), 4500, 1000).unwrap();
        assert_eq!((again.start, again.end), (s(2000), s(3000)));
        assert_eq!(
            r.on_new_ack(s(2000), s(9000), 1000, NONE),
            Progress::Recovered
        );
        // Echoes of the retransmissions start nothing.
        for _ in 0..10 {
            assert_eq!(
                r.on_duplicate(s(9000), s(12000), 1000, NONE),
                Duplicate::Counted
            );
        }
        assert_eq!(r.allowance(1000), 0);
        assert_eq!(
            r.on_new_ack(s(9000), s(9001), 1000, NONE),
            Progress::Grow(1)
        );
        assert_eq!(r, Recovery::new());
    }

    #[test]
    fn on_duplicate__one_large_block_is_a_loss_and_tells_the_hole() {
        let mut r = Recovery::new();
        let evidence = block(5000, 3000);
        assert_eq!(
            r.on_duplicate(s(0), s(9000), 1000, evidence),
            Duplicate::Lost
        );
        // 9000 sent, 3000 arrived, 5000 lost: 1000 in the network, so 3000 more fill a window of 4000.
        let again = r.again(s(0), s(9000), 4000, 1000).unwrap();
        assert_eq!(
            (again.start, again.end, again.budget),
            (s(0), s(5000), 3000)
        );
        r.on_sent_again(s(3000), 3000);
        // Each acknowledgment lets more of the hole go, and none of it twice.
        assert_eq!(
            r.on_new_ack(s(0), s(1000), 1000, evidence),
            Progress::Partial
        );
        let again = r.again(s(1000), s(9000), 4000, 1000).unwrap();
        assert_eq!(
            (again.start, again.end, again.budget),
            (s(3000), s(5000), 1000)
        );
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
