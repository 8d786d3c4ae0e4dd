// SPDX-License-Identifier: GPL-2.0
//! Initial sequence numbers and timestamp offsets (RFC 6528, RFC 7323 section 5.4).
//!
//! The keyed hash F() of addresses, ports and a secret is the caller's (SipHash in the kernel); both
//! values are taken from one 64-bit result of it, each from a half of its own.

use crate::seq::SeqNum;
use crate::time::Instant;

/// ISN = M + F(addresses, ports, secret) (RFC 6528 section 3).
///
/// Deviation: RFC 9293 section 3.4.1 and RFC 6528 have M tick every 4 us. As in Linux it ticks every 64 ns: it comes round in 274 s,
/// still more than twice the MSL of RFC 9293, and a port pair that is used again within a second gets a number that the old
/// connection can have reached only above 15 MB/s.
#[inline]
pub const fn initial(hash: u64, now: Instant) -> SeqNum {
    // 1000 / 64 ticks per microsecond.
    let ticks = now.as_micros().wrapping_mul(125) >> 3;
    SeqNum::new((hash as u32).wrapping_add(ticks as u32))
}

/// What a connection adds to the millisecond clock for its TSval.
#[inline]
pub const fn timestamp_offset(hash: u64) -> u32 {
    (hash >> 32) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 6528 section 3: M + F(); RFC 9293 section 3.4.1 has a tick of 4 us.
    #[test]
    fn initial__ticks_every_64_ns() {
        let hash = 0x0123_4567_89ab_cdef;
        let start = initial(hash, Instant::from_secs(5));
        let later = initial(hash, Instant::from_secs(6));
        assert_eq!(start.distance_to(later), 1_000_000_000 / 64);
        assert_eq!(initial(hash, Instant::default()).get(), 0x89ab_cdef);
    }

    /// RFC 7323 section 5.4: a random offset for each connection.
    #[test]
    fn timestamp_offset__shares_nothing_with_the_isn() {
        assert_eq!(timestamp_offset(0x0123_4567_89ab_cdef), 0x0123_4567);
    }
}
