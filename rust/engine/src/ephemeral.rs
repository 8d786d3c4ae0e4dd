// SPDX-License-Identifier: GPL-2.0
//! Which local port an active open takes: the order in which they are tried (RFC 6056).
//!
//! RFC 6056's algorithm 4: the search begins at a keyed hash of both addresses and the remote port, plus a counter,
//! so that who sees the ports of one destination cannot tell those of another, and a port does not come again
//! soon. The keyed hash and the counters are the caller's.
//!
//! Deviation: RFC 6056 section 3.3.4 tries one port after the other. As in Linux the ports with the lower end's parity come first, and
//! the others after them: bind(2) prefers those, so that the two seldom meet.

/// The ports of a range, each once, in the order in which they are tried.
///
/// An even number of ports is walked through: of an odd number (but 1) the last is left out, as Linux has it.
#[derive(Clone, Debug)]
pub struct PortWalk {
    low: u16,
    /// How many ports there are in both passes; even, or 1.
    count: u32,
    /// Where the pass begins, from `low`; even.
    start: u32,
    /// How far the pass has come.
    passed: u32,
    /// The second pass: the other parity.
    second: bool,
}

impl PortWalk {
    /// From `low` to `high`, both included, beginning at `offset` modulo their number.
    pub const fn new(low: u16, high: u16, offset: u32) -> Self {
        let all = (high as u32).saturating_sub(low as u32).saturating_add(1);
        let count = if all > 1 { all & !1 } else { all };
        // `count` is at least 1.
        let start = match offset.checked_rem(count) {
            Some(offset) => offset & !1,
            None => 0,
        };
        PortWalk {
            low,
            count,
            start,
            passed: 0,
            second: false,
        }
    }

    /// By what the caller's counter is to rise when the port that came last is taken, so that the next
    /// search with the same hash begins behind it. `noise` of at most a few steps hides how many connections
    /// were made (RFC 6056 section 3.3.5 names the leak).
    pub fn advance(&self, noise: u32) -> u32 {
        self.passed.max(noise.wrapping_mul(2).wrapping_add(2))
    }
}

impl Iterator for PortWalk {
    type Item = u16;

    fn next(&mut self) -> Option<u16> {
        if self.passed >= self.count {
            if self.second || self.count < 2 {
                return None;
            }
            self.second = true;
            self.passed = 0;
        }
        let mut at = self.start.wrapping_add(self.passed);
        if at >= self.count {
            at = at.wrapping_sub(self.count);
        }
        self.passed = self.passed.wrapping_add(2);
        // `at` is even and below `count`: with the parity it stays below.
        Some(
            self.low
                .wrapping_add(at as u16)
                .wrapping_add(u16::from(self.second)),
        )
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;
    use std::vec::Vec;

    fn walk(low: u16, high: u16, offset: u32) -> Vec<u16> {
        PortWalk::new(low, high, offset).collect()
    }

    /// RFC 6056 section 3.3.4, with the parities apart.
    #[test]
    fn walk__low_parity_first_then_the_rest() {
        assert_eq!(walk(10, 15, 0), [10, 12, 14, 11, 13, 15]);
        assert_eq!(walk(11, 16, 0), [11, 13, 15, 12, 14, 16]);
    }

    #[test]
    fn walk__begins_at_the_offset_and_comes_round() {
        assert_eq!(walk(10, 15, 2), [12, 14, 10, 13, 15, 11]);
        // An odd offset is the even one before it.
        assert_eq!(walk(10, 15, 3), [12, 14, 10, 13, 15, 11]);
        // Modulo the number of ports.
        assert_eq!(walk(10, 15, 6 * 1000 + 4), [14, 10, 12, 15, 11, 13]);
    }

    #[test]
    fn walk__every_port_once_for_every_offset() {
        for (low, high) in [(40_000, 40_009), (1, 2), (65_500, 65_535), (32_768, 33_001)] {
            let all: BTreeSet<u16> = (low..=high).collect();
            for offset in 0..500 {
                let ports = walk(low, high, offset);
                assert_eq!(ports.len(), all.len());
                assert_eq!(ports.into_iter().collect::<BTreeSet<_>>(), all);
            }
        }
    }

    #[test]
    fn walk__whole_space() {
        let ports = walk(1, 65_535, u32::MAX);
        // 65,535 ports: the last is left out.
        assert_eq!(ports.len(), 65_534);
        assert!(!ports.contains(&65_535));
        assert_eq!(walk(0, 65_535, 7).len(), 65_536);
    }

    #[test]
    fn walk__of_an_odd_number_the_last_is_left_out() {
        assert_eq!(walk(10, 14, 0), [10, 12, 11, 13]);
        assert_eq!(walk(10, 12, 1), [10, 11]);
    }

    #[test]
    fn walk__one_port() {
        assert_eq!(walk(9, 9, 12_345), [9]);
        // Not a range: Linux refuses to set one; here it is its lower end.
        assert_eq!(walk(9, 3, 1), [9]);
    }

    #[test]
    fn advance__the_next_search_begins_behind() {
        let mut counter = 0u32;
        let mut seen = BTreeSet::new();
        for _ in 0..5 {
            let mut walk = PortWalk::new(40_000, 40_009, counter);
            let port = walk.find(|port| !seen.contains(port)).unwrap();
            counter = counter.wrapping_add(walk.advance(0));
            seen.insert(port);
            assert_eq!(port % 2, 0);
        }
        let mut walk = PortWalk::new(40_000, 40_009, counter);
        assert_eq!(walk.find(|port| !seen.contains(port)).unwrap() % 2, 1);
    }

    /// RFC 6056 section 3.3.5: how many connections were made is not to be seen.
    #[test]
    fn advance__noise_is_a_lower_bound() {
        let mut walk = PortWalk::new(40_000, 40_099, 0);
        walk.next();
        assert_eq!(walk.advance(0), 2);
        assert_eq!(walk.advance(7), 16);
        for _ in 0..19 {
            walk.next();
        }
        assert_eq!(walk.advance(7), 40);
    }
}
