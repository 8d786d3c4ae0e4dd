// SPDX-License-Identifier: GPL-2.0
//! What a listener whose SYN queue fills does, so that a real client still gets in (RFC 4987 section 3.3): half-open connections end sooner,
//! and no host and no network may have all of the queue.

/// How often a SYN-ACK is sent again in a queue that has `count` of at most `most`: `retries` up to half of it; then 3, 2, 1 times, and
/// not at all when it is full. So a peer that does not answer is remembered for 15 s, 7 s, 3 s and 1 s.
///
/// Linux looks at how many are young beside that. A queue of less than eight is one of eight, as there.
pub const fn synack_retries(retries: u8, count: u32, most: u32) -> u8 {
    let most = if most < 8 { 8 } else { most };
    let eighths = match (count as u64).saturating_mul(8).checked_div(most as u64) {
        Some(eighths) => eighths,
        None => 0,
    };
    let limit = match eighths {
        0..=4 => return retries,
        5 => 3,
        6 => 2,
        7 => 1,
        _ => 0,
    };
    if retries < limit {
        retries
    } else {
        limit
    }
}

/// So many half-open connections a prefix may always have, however short the queue is.
const ALWAYS: u64 = 16;

/// Whether a prefix that has `of_prefix` half-open connections is to get no more of a queue that has `count` of at most `most`: it is half
/// full, and the prefix has `share` percent of it.
pub const fn is_too_many(of_prefix: u32, count: u32, most: u32, share: u8) -> bool {
    let most = most as u64;
    let portion = match most.saturating_mul(share as u64).checked_div(100) {
        Some(portion) if portion > ALWAYS => portion,
        _ => ALWAYS,
    };
    share < 100 && (count as u64).saturating_mul(2) >= most && of_prefix as u64 >= portion
}

/// The prefixes of an address that are one host's and one network's: /32 and /24 of IPv4, which is IPv4-mapped, /64 and /48 of IPv6.
#[inline]
pub fn prefixes(ip: [u8; 16]) -> [[u8; 16]; 2] {
    // As one number: a loop over the bytes is compiled to one.
    let ip = u128::from_be_bytes(ip);
    let masks = match is_v4(ip) {
        true => [u128::MAX, u128::MAX << 8],
        false => [u128::MAX << 64, u128::MAX << 80],
    };
    masks.map(|mask| (ip & mask).to_be_bytes())
}

/// Whether the address is an IPv4-mapped one.
fn is_v4(ip: u128) -> bool {
    ip >> 32 == 0xffff
}

/// The prefix that rates are counted for: /24 of IPv4, which is IPv4-mapped, /64 of IPv6.
pub fn rate_prefix(ip: [u8; 16]) -> [u8; 16] {
    let [host, network] = prefixes(ip);
    match is_v4(u128::from_be_bytes(ip)) {
        true => network,
        false => host,
    }
}

/// What of a counter's `count` is one prefix's own, when `width` counters share what all prefixes have done, which is `total`: the others' part is taken to be
/// what such a counter has on average. So who exceeds a limit does it himself, and not by a flood from everywhere that comes to his counter too.
pub const fn own_part(count: u32, total: u32, width: u32) -> u32 {
    let others = total.saturating_sub(count);
    match others.checked_div(width.saturating_sub(1)) {
        Some(noise) => count.saturating_sub(noise),
        None => count,
    }
}

/// How many answers a limit of `limit` in a second allows in one second, by a `random` number of that second: from half of it to one and a half, so
/// that who counts them does not learn how many others have used up (CVE-2016-5696; Linux's `tcp_send_challenge_ack()`). The average is the limit; 0
/// allows none.
pub const fn budget(limit: u32, random: u32) -> u32 {
    let half = limit.div_ceil(2);
    // So many different ones are allowed, and each as often, but for a part in 2^32.
    let above = ((random as u64).saturating_mul(limit as u64)) >> 32;
    half.saturating_add(above as u32)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::{Ipv4Addr, Ipv6Addr};

    /// RFC 4987 section 3.3: shorter timers.
    #[test]
    fn synack_retries__fewer_as_the_queue_fills() {
        let table = [
            (0, 5),
            (500, 5),
            (624, 5),
            (625, 3),
            (750, 2),
            (875, 1),
            (999, 1),
            (1000, 0),
            (u32::MAX, 0),
        ];
        for (count, expected) in table {
            assert_eq!(synack_retries(5, count, 1000), expected, "{count}");
            assert_eq!(synack_retries(0, count, 1000), 0);
            assert!(synack_retries(1, count, 1000) <= 1);
        }
        // A short queue, and none.
        assert_eq!((synack_retries(5, 4, 1), synack_retries(5, 8, 0)), (5, 0));
        assert_eq!(synack_retries(5, u32::MAX / 2, u32::MAX), 5);
    }

    #[test]
    fn is_too_many__of_a_queue_that_is_half_full() {
        // Of the prefix, of all, the queue, percent.
        let table = [
            (100, 500, 1000, 10, true),
            (99, 500, 1000, 10, false),
            (499, 499, 1000, 10, false),
            (1000, 1000, 1000, 100, false),
            (16, 16, 16, 0, true),
            (15, 16, 16, 0, false),
            (u32::MAX, u32::MAX, u32::MAX, 50, true),
            (0, 0, 0, 0, false),
        ];
        for (of_prefix, count, most, share, expected) in table {
            let got = is_too_many(of_prefix, count, most, share);
            assert_eq!(got, expected, "{of_prefix} {count} {most} {share}");
        }
    }

    #[test]
    fn prefixes__of_a_host_and_a_network() {
        let v4 = |a, b, c, d| Ipv4Addr::new(a, b, c, d).to_ipv6_mapped().octets();
        let ip = v4(192, 0, 2, 77);
        assert_eq!(prefixes(ip), [ip, v4(192, 0, 2, 0)]);
        let v6 = |text: &str| text.parse::<Ipv6Addr>().unwrap().octets();
        let cut = prefixes(v6("2001:db8:1:2:3:4:5:6"));
        assert_eq!(cut, [v6("2001:db8:1:2::"), v6("2001:db8:1::")]);
        assert_eq!(rate_prefix(ip), v4(192, 0, 2, 0));
        assert_eq!(rate_prefix(v6("2001:db8:1:2:3:4:5:6")), cut[0]);
    }

    /// The range is that of Linux.
    #[test]
    fn budget__is_random_around_the_limit() {
        for (limit, least, most) in [
            (0, 0, 0),
            (1, 1, 1),
            (2, 1, 2),
            (1000, 500, 1499),
            (i32::MAX as u32 - 1, (1 << 30) - 1, 3_221_225_468),
        ] {
            let got = (budget(limit, 0), budget(limit, u32::MAX));
            assert_eq!(got, (least, most), "{limit}");
        }
        // 1000 even steps.
        let steps = (0..1000u64).map(|step| budget(100, (step << 32).div_euclid(1000) as u32));
        let budgets: std::vec::Vec<u32> = steps.collect();
        assert!(budgets.is_sorted());
        let mut different = budgets.clone();
        different.dedup();
        assert_eq!(different, (50..150).collect::<std::vec::Vec<u32>>());
        assert_eq!(budgets.iter().sum::<u32>() / 1000, 99);
    }

    #[test]
    fn own_part__is_not_what_all_others_do() {
        // The counter, all, how many counters.
        let table = [
            (100, 100, 512, 100),
            (0, 0, 512, 0),
            // 51,100 from everywhere, and nothing else.
            (100, 51_200, 512, 0),
            // The same, and 1000 of one prefix.
            (1100, 52_200, 512, 1000),
            (u32::MAX, u32::MAX, 512, u32::MAX),
            (5, u32::MAX, 1, 5),
            (5, u32::MAX, 0, 5),
            (0, u32::MAX, 512, 0),
        ];
        for (count, total, width, expected) in table {
            assert_eq!(
                own_part(count, total, width),
                expected,
                "{count} {total} {width}"
            );
        }
    }
}
