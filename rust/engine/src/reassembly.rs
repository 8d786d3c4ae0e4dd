// SPDX-License-Identifier: GPL-2.0
//! Which octets beyond RCV.NXT have come (RFC 9293 section 3.10.7.4, RFC 2018, RFC 2883).
//!
//! Only ranges are kept here, in a bounded place that the caller owns; the bytes are the caller's, who keeps them without overlap, in
//! sequence ([`had`]). A range may be of any number of packets, as small and in any order as the peer likes, so to find a packet's place
//! must not take a walk over those that wait.

use crate::seq::{SeqNum, SeqRange};
use crate::wire::SackBlocks;

/// The out-of-order ranges of one connection.
///
/// # Invariants
/// No range is empty, no two touch each other, and all lie within 2^31 of each other. The range that grew
/// last stands first, which is the order in which RFC 2018 section 4 wants them reported.
#[derive(Clone, Debug)]
pub struct Reassembly {
    ranges: [SeqRange; Reassembly::MAX_RANGES],
    len: u8,
    /// How often the peer was told of what is here since RCV.NXT moved, three times at most (Linux's dup_ack_counter).
    told: u8,
    /// How many acknowledgments are held back (its compressed_ack).
    held: u8,
}

/// How many of the first octets of `range` are in `before`, which begins with the same octet or an earlier one: the caller has them in
/// the packet of `before`, and keeps of `range` what is behind them. Where that is nothing, the packet is not kept.
///
/// So is a packet that came trimmed by the one before it, and then the ones behind it by what is left of it: those that it covers go. It is
/// new in part ([`Reassembly::insert`] of it was true, [`Reassembly::contains_range`] was not), so something is left.
pub fn had(before: SeqRange, range: SeqRange) -> u32 {
    match before.intersect(range) {
        Some(both) => both.len,
        None => 0,
    }
}

impl Default for Reassembly {
    fn default() -> Self {
        Reassembly::new()
    }
}

impl Reassembly {
    /// A window that loses every other segment for long has more gaps than this; then further
    /// segments are refused and come again by retransmission.
    ///
    /// Deviation: RFC 9293 section 3.10.7.4 (SHLD-31) has all that is out of order held. The memory for it is to be bounded whatever the
    /// peer sends.
    pub const MAX_RANGES: usize = 32;

    /// Nothing has come.
    pub const fn new() -> Self {
        Reassembly {
            ranges: [SeqRange::new(SeqNum::new(0), 0); Reassembly::MAX_RANGES],
            len: 0,
            told: 0,
            held: 0,
        }
    }

    /// Notes that `range` has come. False, and nothing noted, when it would be one range too many: the
    /// caller drops the segment. An empty range is nothing, and is true.
    ///
    /// `range` begins in the receive window, after RCV.NXT and within 2^30 of it, and is no longer than a packet can be.
    #[must_use]
    pub fn insert(&mut self, range: SeqRange) -> bool {
        if range.is_empty() {
            return true;
        }
        let mut union = range;
        // The union can come to touch a range that was passed over before it grew, but only if that
        // range touched one that is in the union, and no two ranges touch: one pass is enough.
        self.retain(|have| {
            let touches = have.touches(range);
            if touches {
                union = union.hull(have);
            }
            !touches
        });
        self.push_front(union)
    }

    /// RCV.NXT has moved to `rcv_nxt`, or is there still: drops what lies before it and returns where the
    /// octets that have come end without a gap. The ranges that this reaches over are dropped too.
    #[must_use]
    pub fn advance(&mut self, rcv_nxt: SeqNum) -> SeqNum {
        let mut next = rcv_nxt;
        self.told = 0;
        // No two ranges touch, so at most one of them holds rcv_nxt or begins there.
        self.retain(|have| {
            if have.start.after(rcv_nxt) {
                return true;
            }
            next = SeqNum::max(next, have.end());
            false
        });
        next
    }

    /// The packets that begin at `end` or behind are given up, and none that is kept goes beyond it: forgets what was noted of them.
    pub fn cut(&mut self, end: SeqNum) {
        for range in self.ranges.iter_mut().take(usize::from(self.len)) {
            if range.start.before(end) && range.end().after(end) {
                *range = SeqRange::between(range.start, end);
            }
        }
        self.retain(|range| range.start.before(end));
    }

    /// The blocks for a SACK option, the most recent first (RFC 2018 section 4), after `duplicate` if there is one
    /// (RFC 2883 section 4). How many of them fit, [`crate::wire::Options::emit`] decides.
    pub fn sack_blocks(&self, duplicate: Option<SeqRange>) -> SackBlocks {
        let mut blocks = SackBlocks::new();
        for range in duplicate.into_iter().chain(self.iter()) {
            if !blocks.push(range) {
                break;
            }
        }
        blocks
    }

    /// The ranges, the one that grew last first.
    pub fn iter(&self) -> impl Iterator<Item = SeqRange> + '_ {
        let used = self.ranges.get(..self.len()).unwrap_or(&[]);
        used.iter().copied()
    }

    /// The range that grew last.
    pub fn latest(&self) -> Option<SeqRange> {
        self.iter().next()
    }

    /// Whether the acknowledgment of a segment that is out of order may be held back with others, if it can be: not the first three since RCV.NXT
    /// moved, which tell the peer of a loss, and not more than `most` of them. `held`: some are.
    #[must_use]
    pub fn may_hold(&mut self, held: bool, most: u8) -> bool {
        /// Linux's TCP_FASTRETRANS_THRESH.
        const TOLD: u8 = 3;
        if !held {
            self.held = 0;
        }
        if self.held >= most {
            return false;
        }
        if self.told < TOLD {
            self.told = self.told.saturating_add(1);
            return false;
        }
        self.held = self.held.saturating_add(1);
        true
    }

    /// Whether every octet of `range` has come.
    pub fn contains_range(&self, range: SeqRange) -> bool {
        self.iter().any(|have| have.contains_range(range))
    }

    /// How many ranges.
    pub fn len(&self) -> usize {
        usize::from(self.len)
    }

    /// Whether nothing is out of order.
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Forgets everything.
    pub fn clear(&mut self) {
        self.len = 0;
    }

    /// Keeps the ranges that `keep` is true for, in their order.
    fn retain(&mut self, mut keep: impl FnMut(SeqRange) -> bool) {
        let mut kept: u8 = 0;
        for at in 0..self.len() {
            let Some(range) = self.ranges.get(at).copied() else {
                break;
            };
            if keep(range) {
                if let Some(slot) = self.ranges.get_mut(usize::from(kept)) {
                    *slot = range;
                    kept = kept.saturating_add(1);
                }
            }
        }
        self.len = kept;
    }

    fn push_front(&mut self, range: SeqRange) -> bool {
        let end = self.len();
        let Some(used) = self.ranges.get_mut(..=end) else {
            return false;
        };
        used.rotate_right(1);
        if let Some(first) = used.first_mut() {
            *first = range;
        }
        self.len = self.len.saturating_add(1);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::vec::Vec;

    fn r(start: u32, end: u32) -> SeqRange {
        SeqRange::between(SeqNum::new(start), SeqNum::new(end))
    }

    fn ranges(reassembly: &Reassembly) -> Vec<(u32, u32)> {
        reassembly
            .iter()
            .map(|range| (range.start.get(), range.end().get()))
            .collect()
    }

    #[test]
    fn insert__merges_what_touches_and_puts_it_first() {
        type Ranges = &'static [(u32, u32)];
        let cases: &[(Ranges, Ranges)] = &[
            (&[(10, 20), (30, 40)], &[(30, 40), (10, 20)]),
            (&[(30, 40), (10, 20)], &[(10, 20), (30, 40)]),
            (&[(10, 20), (30, 40), (20, 30)], &[(10, 40)]),
            (&[(10, 20), (20, 30)], &[(10, 30)]),
            (&[(20, 30), (10, 20)], &[(10, 30)]),
            (
                &[(10, 20), (30, 40), (50, 60), (15, 16)],
                &[(10, 20), (50, 60), (30, 40)],
            ),
            (&[(10, 20), (30, 40), (50, 60), (5, 55)], &[(5, 60)]),
            (&[(10, 20), (7, 7)], &[(10, 20)]),
        ];
        for (inserts, expected) in cases {
            let mut reassembly = Reassembly::new();
            for (start, end) in *inserts {
                assert!(reassembly.insert(r(*start, *end)));
            }
            assert_eq!(ranges(&reassembly), *expected, "{inserts:?}");
        }
    }

    #[test]
    fn insert__across_the_wrap() {
        let mut reassembly = Reassembly::new();
        assert!(reassembly.insert(r(u32::MAX - 5, 5)));
        assert!(reassembly.insert(r(5, 10)));
        assert_eq!(ranges(&reassembly), [(u32::MAX - 5, 10)]);
        assert_eq!(
            reassembly.advance(SeqNum::new(u32::MAX - 5)),
            SeqNum::new(10)
        );
        assert!(reassembly.is_empty());
    }

    /// RFC 9293 section 3.10.7.4 (SHLD-31) would keep it.
    #[test]
    fn insert__refuses_one_range_too_many_but_takes_what_merges() {
        let mut reassembly = Reassembly::new();
        for i in 0..Reassembly::MAX_RANGES as u32 {
            assert!(reassembly.insert(r(100 + i * 10, 105 + i * 10)));
        }
        let before = ranges(&reassembly);
        assert!(!reassembly.insert(r(5000, 5001)));
        assert_eq!(ranges(&reassembly), before);
        assert!(reassembly.insert(r(105, 110)));
        assert_eq!(reassembly.len(), Reassembly::MAX_RANGES - 1);
        assert!(reassembly.insert(r(5000, 5001)));
    }

    #[test]
    fn advance__takes_the_range_that_closes_the_gap_and_drops_the_old() {
        let mut reassembly = Reassembly::new();
        for (start, end) in [(10, 20), (30, 40), (50, 60)] {
            assert!(reassembly.insert(r(start, end)));
        }
        assert_eq!(reassembly.advance(SeqNum::new(5)), SeqNum::new(5));
        assert_eq!(reassembly.len(), 3);
        assert_eq!(reassembly.advance(SeqNum::new(10)), SeqNum::new(20));
        assert_eq!(reassembly.advance(SeqNum::new(35)), SeqNum::new(40));
        assert_eq!(reassembly.advance(SeqNum::new(70)), SeqNum::new(70));
        assert!(reassembly.is_empty());
    }

    #[test]
    fn cut__forgets_what_is_behind() {
        let mut reassembly = Reassembly::new();
        for (start, end) in [(50, 60), (10, 20), (30, 40)] {
            assert!(reassembly.insert(r(start, end)));
        }
        reassembly.cut(SeqNum::new(60));
        assert_eq!(ranges(&reassembly), [(30, 40), (10, 20), (50, 60)]);
        reassembly.cut(SeqNum::new(50));
        assert_eq!(ranges(&reassembly), [(30, 40), (10, 20)]);
        reassembly.cut(SeqNum::new(31));
        assert_eq!(ranges(&reassembly), [(30, 31), (10, 20)]);
        reassembly.cut(SeqNum::new(10));
        assert!(reassembly.is_empty());
        assert!(reassembly.insert(r(u32::MAX - 5, 5)));
        reassembly.cut(SeqNum::new(2));
        assert_eq!(ranges(&reassembly), [(u32::MAX - 5, 2)]);
    }

    #[test]
    fn had__counts_the_first_octets() {
        let cases = [
            ((10, 20), (10, 20), 10),
            ((10, 20), (12, 15), 3),
            ((10, 20), (15, 30), 5),
            ((10, 20), (20, 30), 0),
            ((10, 20), (25, 30), 0),
            ((u32::MAX - 5, 5), (0, 9), 5),
        ];
        for (before, range, expected) in cases {
            assert_eq!(
                had(r(before.0, before.1), r(range.0, range.1)),
                expected,
                "{before:?} {range:?}"
            );
        }
    }

    /// RFC 2018 section 4, RFC 2883 section 4.
    #[test]
    fn sack_blocks__the_duplicate_first_then_the_most_recent() {
        let mut reassembly = Reassembly::new();
        for (start, end) in [(10, 20), (30, 40), (50, 60), (70, 80), (90, 95)] {
            assert!(reassembly.insert(r(start, end)));
        }
        let blocks = reassembly.sack_blocks(None);
        assert_eq!(
            blocks.as_slice(),
            [r(90, 95), r(70, 80), r(50, 60), r(30, 40)]
        );
        let blocks = reassembly.sack_blocks(Some(r(1, 2)));
        assert_eq!(
            blocks.as_slice(),
            [r(1, 2), r(90, 95), r(70, 80), r(50, 60)]
        );
        assert!(reassembly.contains_range(r(51, 59)) && !reassembly.contains_range(r(51, 61)));
    }
}
