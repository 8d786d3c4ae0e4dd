// SPDX-License-Identifier: GPL-2.0
//! Sequence numbers and ranges of them (RFC 9293 section 3.4).
//!
//! The space is a circle of 2^32 numbers, so "less than" has a meaning only for two numbers that are
//! less than 2^31 apart. For this reason [`SeqNum`] has neither `Ord` nor operators: every comparison
//! names what it asks, and every step wraps.

/// A sequence or acknowledgment number.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SeqNum(u32);

// `add` and `sub` are methods and not operators, so that nobody takes them for arithmetic that can overflow.
#[allow(clippy::should_implement_trait)]
impl SeqNum {
    /// The number as it stands on the wire.
    #[inline]
    pub const fn new(value: u32) -> Self {
        SeqNum(value)
    }

    /// The number as it stands on the wire.
    #[inline]
    pub const fn get(self) -> u32 {
        self.0
    }

    /// The number `octets` further on.
    #[inline]
    #[must_use]
    pub const fn add(self, octets: u32) -> Self {
        SeqNum(self.0.wrapping_add(octets))
    }

    /// The number `octets` before.
    #[inline]
    #[must_use]
    pub const fn sub(self, octets: u32) -> Self {
        SeqNum(self.0.wrapping_sub(octets))
    }

    /// How many octets lie from here up to, not including, `later`. When `later` is in truth before
    /// this number the result is 2^31 or more.
    #[inline]
    pub const fn distance_to(self, later: SeqNum) -> u32 {
        later.0.wrapping_sub(self.0)
    }

    /// Whether this number comes before `other`. Numbers exactly 2^31 apart are each before the other.
    #[inline]
    pub const fn before(self, other: SeqNum) -> bool {
        (self.0.wrapping_sub(other.0) as i32) < 0
    }

    /// Whether this number is `other` or comes before it.
    #[inline]
    pub const fn before_eq(self, other: SeqNum) -> bool {
        !other.before(self)
    }

    /// Whether this number comes after `other`.
    #[inline]
    pub const fn after(self, other: SeqNum) -> bool {
        other.before(self)
    }

    /// Whether this number is `other` or comes after it.
    #[inline]
    pub const fn after_eq(self, other: SeqNum) -> bool {
        !self.before(other)
    }

    /// Whether `start <= self < start + len`. Exact for every `len`; an empty window holds nothing.
    #[inline]
    pub const fn in_window(self, start: SeqNum, len: u32) -> bool {
        start.distance_to(self) < len
    }

    /// The number with all octets before it counted, of a stream in which `last` is known: of the 64-bit numbers that end in this one
    /// that which is nearest to `last`. Its upper half is the sequence number extension (RFC 5925 section 6.2). Exactly 2^31
    /// away it is the one before, as in [`SeqNum::before`]; and 64 bits are a circle as well, as Linux's extension is one.
    #[inline]
    pub const fn extended(self, last: u64) -> u64 {
        let ahead = self.0.wrapping_sub(last as u32) as i32;
        last.wrapping_add(ahead as u64)
    }

    /// The later of two numbers.
    #[inline]
    #[must_use]
    pub const fn max(a: SeqNum, b: SeqNum) -> SeqNum {
        if a.before(b) {
            b
        } else {
            a
        }
    }

    /// The earlier of two numbers.
    #[inline]
    #[must_use]
    pub const fn min(a: SeqNum, b: SeqNum) -> SeqNum {
        if a.before(b) {
            a
        } else {
            b
        }
    }
}

/// The octets `start`, `start + 1`, ... `start + len - 1`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SeqRange {
    /// The first octet.
    pub start: SeqNum,
    /// How many octets.
    pub len: u32,
}

impl SeqRange {
    /// A range of `len` octets from `start`.
    #[inline]
    pub const fn new(start: SeqNum, len: u32) -> Self {
        SeqRange { start, len }
    }

    /// The range from `start` up to, not including, `end`. An `end` before `start` gives a length of
    /// 2^31 or more, which [`SeqRange::is_plausible`] tells apart.
    #[inline]
    pub const fn between(start: SeqNum, end: SeqNum) -> Self {
        SeqRange {
            start,
            len: start.distance_to(end),
        }
    }

    /// The first number after the range.
    #[inline]
    pub const fn end(self) -> SeqNum {
        self.start.add(self.len)
    }

    /// Whether there is nothing in it.
    #[inline]
    pub const fn is_empty(self) -> bool {
        self.len == 0
    }

    /// Whether the range is non-empty and no longer than the largest window (RFC 7323 section 2.3:
    /// 2^30). What a peer names in a SACK option must pass this before anything is done with it.
    #[inline]
    pub const fn is_plausible(self) -> bool {
        self.len != 0 && self.len <= 1 << 30
    }

    /// Whether `seq` is one of the octets.
    #[inline]
    pub const fn contains(self, seq: SeqNum) -> bool {
        seq.in_window(self.start, self.len)
    }

    /// Whether every octet of `other` is one of this range's.
    #[inline]
    pub const fn contains_range(self, other: SeqRange) -> bool {
        let skipped = self.start.distance_to(other.start);
        skipped <= self.len && other.len <= self.len.wrapping_sub(skipped)
    }

    /// Whether the two ranges share an octet or lie side by side, so that their union is one range.
    #[inline]
    pub const fn touches(self, other: SeqRange) -> bool {
        self.start.before_eq(other.end()) && other.start.before_eq(self.end())
    }

    /// The octets that are in both; None when there are none.
    #[inline]
    pub const fn intersect(self, other: SeqRange) -> Option<SeqRange> {
        let start = SeqNum::max(self.start, other.start);
        let end = SeqNum::min(self.end(), other.end());
        if start.before(end) {
            Some(SeqRange::between(start, end))
        } else {
            None
        }
    }

    /// The smallest range that holds both.
    #[inline]
    #[must_use]
    pub const fn hull(self, other: SeqRange) -> SeqRange {
        SeqRange::between(
            SeqNum::min(self.start, other.start),
            SeqNum::max(self.end(), other.end()),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(value: u32) -> SeqNum {
        SeqNum::new(value)
    }

    fn r(start: u32, len: u32) -> SeqRange {
        SeqRange::new(s(start), len)
    }

    #[test]
    fn order_holds_across_the_wrap() {
        for base in [0, 1, 77, 0x7fff_ffff, 0x8000_0000, u32::MAX - 1, u32::MAX] {
            for step in [1, 2, 1000, 0x7fff_ffff] {
                let (a, b) = (s(base), s(base).add(step));
                assert!(a.before(b) && a.before_eq(b) && b.after(a) && b.after_eq(a));
                assert!(!b.before(a) && !b.before_eq(a) && !a.after(b) && !a.after_eq(b));
                assert_eq!((SeqNum::max(a, b), SeqNum::min(a, b)), (b, a));
                assert_eq!((a.distance_to(b), b.sub(step)), (step, a));
            }
            let a = s(base);
            assert!(!a.before(a) && a.before_eq(a) && a.after_eq(a) && !a.after(a));
        }
    }

    /// RFC 5925 section 6.2: every place near a wrap, to both sides, and what Linux's tcp_ao_compute_sne() makes of the same numbers.
    #[test]
    fn extended__across_the_wrap() {
        // As Linux has it: the extension of `next`, and the numbers as they are.
        let linux = |sne: u32, next: u32, seq: u32| match s(seq).before(s(next)) {
            true if seq > next => sne.wrapping_sub(1),
            false if seq < next => sne.wrapping_add(1),
            _ => sne,
        };
        let edges = [
            0,
            1,
            2,
            0x3fff_ffff,
            0x7fff_fffe,
            0x7fff_ffff,
            0x8000_0000,
            0x8000_0001,
            0xc000_0000,
            u32::MAX - 1,
            u32::MAX,
        ];
        for sne in [0, 1, 2, 0x7fff_ffff, u32::MAX - 1, u32::MAX] {
            for next in edges {
                let last = (u64::from(sne) << 32) | u64::from(next);
                for seq in edges {
                    let number = s(seq).extended(last);
                    assert_eq!(number as u32, seq);
                    let extension = (number >> 32) as u32;
                    assert_eq!(extension, linux(sne, next, seq), "{sne} {next} {seq}");
                    let apart = number.wrapping_sub(last) as i64;
                    assert!((-(1 << 31)..1 << 31).contains(&apart), "{apart}");
                }
            }
        }
    }

    /// 40 GB in steps, with what comes again and what comes early: each number has one place.
    #[test]
    fn extended__follows_a_stream() {
        let (mut last, mut truth) = (u64::from(u32::MAX - 5), u64::from(u32::MAX - 5));
        for step in [1, 6, 1460, 1 << 20, (1 << 31) - 1]
            .into_iter()
            .cycle()
            .take(100)
        {
            truth += step;
            let number = s(truth as u32).extended(last);
            assert_eq!(number, truth);
            let again = truth - step / 2;
            assert_eq!(s(again as u32).extended(number), again);
            last = number;
        }
        assert!(truth >> 32 > 8);
    }

    #[test]
    fn in_window__edges() {
        assert!(!s(5).in_window(s(5), 0));
        assert!(s(5).in_window(s(5), 1));
        assert!(!s(6).in_window(s(5), 1));
        assert!(s(2).in_window(s(u32::MAX), 4));
        assert!(!s(3).in_window(s(u32::MAX), 4));
        assert!(!s(4).in_window(s(5), u32::MAX));
    }

    #[test]
    fn ranges_across_the_wrap() {
        let a = r(u32::MAX - 9, 20);
        assert_eq!(a.end(), s(10));
        assert!(a.contains(s(u32::MAX)) && a.contains(s(9)) && !a.contains(s(10)));
        assert_eq!(a.intersect(r(5, 100)), Some(r(5, 5)));
        assert_eq!(a.intersect(r(10, 1)), None);
        assert!(a.touches(r(10, 1)) && !a.touches(r(11, 1)));
        assert_eq!(a.hull(r(15, 5)), r(u32::MAX - 9, 30));
        assert!(a.contains_range(r(0, 10)) && !a.contains_range(r(0, 11)));
        assert!(!a.contains_range(r(u32::MAX - 10, 2)));
    }

    #[test]
    fn is_plausible__backward_and_empty_ranges_are_not() {
        assert!(!SeqRange::between(s(10), s(9)).is_plausible());
        assert!(!SeqRange::between(s(10), s(10)).is_plausible());
        assert!(SeqRange::between(s(10), s(11)).is_plausible());
    }
}
