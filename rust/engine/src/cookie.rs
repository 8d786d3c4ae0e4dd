// SPDX-License-Identifier: GPL-2.0
//! SYN cookies (RFC 4987 section 3.6): a listener that keeps nothing between the SYN and the ACK. What it would keep stands in the
//! SYN-ACK's sequence number and timestamp, and comes back with the ACK.
//!
//! The sequence number is
//!
//! ```text
//! cookie = F + irs + (count mod 16) * 2^28 + (H + index) mod 2^28
//! ```
//!
//! with F the lower half of the keyed hash of addresses and ports that ISNs are made of ([`crate::isn`]), `irs` the peer's initial
//! sequence number, `count` the time in steps of 67 s, H a second keyed hash, of addresses, ports, `irs` and all of `count`, and
//! `index` the place of the MSS in a table of eight. The shape is Linux's (`net/ipv4/syncookies.c`), which has 24 bits of H:
//! numbers of one flow rise, so that an old connection's segments stay behind (RFC 6528), and one hash is enough to check. Each age
//! accepts 8 of 2^28 numbers, to someone who knows F as well: a guess succeeds once in 2^25.
//!
//! H is made with a key that lasts for [`Stamp::COUNTS_PER_KEY`] steps. Both hashes are the caller's (SipHash in the kernel), as is the memory
//! of cookies that were used ([`Opened::tag`]).

use crate::request::Request;
use crate::segment::Segment;
use crate::seq::SeqNum;
use crate::time::{Duration, Instant};
use crate::wire::{Mss, WindowScale};

/// What H is a keyed hash of, beside addresses and ports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// The peer's initial sequence number.
    pub irs: SeqNum,
    /// When the SYN came, in steps of 67 s.
    pub count: u64,
}

impl Stamp {
    /// 2^26 microseconds, 67 s: as near to Linux's minute as a shift comes.
    const STEP_SHIFT: u32 = 26;

    /// How many steps have a key in common: 36 minutes. What one key has made is void when the next but one comes.
    pub const COUNTS_PER_KEY: u64 = 32;

    /// The number of the key to hash with. A caller keeps the last two.
    pub const fn key(&self) -> u64 {
        self.count / Stamp::COUNTS_PER_KEY
    }

    const fn count_at(now: Instant) -> u64 {
        now.as_micros() >> Stamp::STEP_SHIFT
    }
}

/// The values of the MSS that a cookie can tell. The peer's is rounded down to one.
///
/// Deviation: as in Linux a peer gets smaller segments than RFC 9293 section 3.7.1 allows. Linux gives one that can take less than the
/// table's least that least, which is more than it can take; here the least is the least that is ever sent with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MssTable {
    /// Linux's four for IPv4, and others between and below.
    V4,
    /// Linux's four for IPv6, and others between and below.
    V6,
}

impl MssTable {
    const V4_VALUES: [u16; 8] = [48, 256, 536, 1024, 1300, 1400, 1440, 1460];
    const V6_VALUES: [u16; 8] = [48, 536, 1024, 1220, 1360, 1420, 1440, 8940];

    const fn values(self) -> &'static [u16; 8] {
        match self {
            MssTable::V4 => &MssTable::V4_VALUES,
            MssTable::V6 => &MssTable::V6_VALUES,
        }
    }

    /// The place of the largest value that is not above `mss`.
    fn index(self, mss: Mss) -> u32 {
        let above = self.values().iter().filter(|value| **value <= mss.get());
        (above.count() as u32).saturating_sub(1)
    }

    fn value(self, index: u32) -> Option<Mss> {
        let value = self.values().get(usize::try_from(index).ok()?)?;
        Some(Mss::new(*value))
    }
}

/// How many of the cookie's bits H has; what is above is the count.
const HASH_BITS: u32 = 28;
const HASH_MASK: u32 = (1 << HASH_BITS) - 1;
/// The count comes round, in what a cookie tells of it, after 18 minutes. H knows all of it.
const COUNT_MASK: u32 = u32::MAX >> HASH_BITS;

/// How many steps old a cookie may be: it is good for 67 to 134 s (Linux's MAX_SYNCOOKIE_AGE).
const MAX_AGE: u32 = 2;

/// For how long after its last SYN-ACK with a cookie a listener looks at ACKs; no cookie is good for longer.
pub const LIFETIME: Duration = Duration::from_micros((MAX_AGE as u64) << Stamp::STEP_SHIFT);

/// What a good cookie tells.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opened {
    /// The peer's MSS, rounded down.
    pub mss: Mss,
    /// What tells this cookie from others, for who remembers those that were used; nobody can derive it from the cookie. Never 0.
    pub tag: u64,
}

/// The initial sequence number in answer to `syn`. `flow_hash` is the keyed hash of addresses and ports, `hash` that of them and a [`Stamp`].
pub fn issue(
    now: Instant,
    syn: &Segment,
    table: MssTable,
    flow_hash: u64,
    hash: impl FnOnce(&Stamp) -> u64,
) -> SeqNum {
    let stamp = Stamp {
        irs: syn.seq(),
        count: Stamp::count_at(now),
    };
    let index = table.index(Request::offered_mss(syn));
    let low = (hash(&stamp) as u32).wrapping_add(index) & HASH_MASK;
    let high = (stamp.count as u32).wrapping_shl(HASH_BITS);
    base(flow_hash, stamp.irs).add(high.wrapping_add(low))
}

/// What a segment with the numbers `seq` and `ack` acknowledges, if that is a good cookie. It is the peer's first after its SYN, and may
/// carry data. `hash` is as for [`issue`], `None` when the key is gone.
pub fn open(
    now: Instant,
    seq: SeqNum,
    ack: SeqNum,
    table: MssTable,
    flow_hash: u64,
    hash: impl FnOnce(&Stamp) -> Option<u64>,
) -> Option<Opened> {
    let irs = seq.sub(1);
    let cookie = base(flow_hash, irs).distance_to(ack.sub(1));
    let now = Stamp::count_at(now);
    let age = (now as u32).wrapping_sub(cookie.wrapping_shr(HASH_BITS)) & COUNT_MASK;
    if age >= MAX_AGE {
        return None;
    }
    let stamp = Stamp {
        irs,
        count: now.wrapping_sub(u64::from(age)),
    };
    let hash = hash(&stamp)?;
    let index = cookie.wrapping_sub(hash as u32) & HASH_MASK;
    Some(Opened {
        mss: table.value(index)?,
        tag: (hash >> HASH_BITS).max(1),
    })
}

/// What does not depend on the time.
fn base(flow_hash: u64, irs: SeqNum) -> SeqNum {
    irs.add(flow_hash as u32)
}

/// What a cookie's SYN-ACK has in the six lowest bits of its TSval: the peer's window scale, SACK and ECN (Linux's
/// `cookie_init_timestamp()`). Nothing protects them: who changes them in the echo changes what is sent to himself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct StampBits {
    pub(crate) snd_scale: Option<WindowScale>,
    pub(crate) sack: bool,
    pub(crate) ecn: bool,
}

impl StampBits {
    const BITS: u32 = 6;
    const MASK: u32 = (1 << StampBits::BITS) - 1;
    /// Larger than any scale: none was offered.
    const UNSCALED: u32 = 15;
    const SACK: u32 = 1 << 4;
    const ECN: u32 = 1 << 5;

    /// The last time before `clock`, in milliseconds, that has these bits: up to 64 ms ago. The timestamps that follow are not
    /// smaller.
    pub(crate) fn write(self, clock: u32) -> u32 {
        let scale = self
            .snd_scale
            .map_or(StampBits::UNSCALED, |scale| u32::from(scale.get()));
        let sack = if self.sack { StampBits::SACK } else { 0 };
        let ecn = if self.ecn { StampBits::ECN } else { 0 };
        let bits = scale | sack | ecn;
        let stamp = clock & !StampBits::MASK | bits;
        match bits > clock & StampBits::MASK {
            true => stamp.wrapping_sub(1 << StampBits::BITS),
            false => stamp,
        }
    }

    pub(crate) fn read(clock: u32) -> StampBits {
        StampBits {
            snd_scale: match clock & 15 {
                StampBits::UNSCALED => None,
                scale => Some(WindowScale::new(scale as u8)),
            },
            sack: clock & StampBits::SACK != 0,
            ecn: clock & StampBits::ECN != 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Flags, Header, Options};
    use std::collections::hash_map::DefaultHasher;
    use std::collections::BTreeSet;
    use std::hash::{Hash, Hasher};

    const FLOW: u64 = 0xfedc_ba98_7654_3210;

    /// A SipHash, as the kernel has it, of which `secret` is the key.
    fn keyed(secret: u64) -> impl Fn(&Stamp) -> u64 {
        move |stamp| {
            let mut hasher = DefaultHasher::new();
            (secret, stamp.key(), stamp.irs.get(), stamp.count).hash(&mut hasher);
            hasher.finish()
        }
    }

    fn kept(secret: u64) -> impl Fn(&Stamp) -> Option<u64> {
        move |stamp| Some(keyed(secret)(stamp))
    }

    fn syn(irs: u32, mss: Option<u16>) -> Segment {
        Segment {
            header: Header {
                seq: SeqNum::new(irs),
                flags: Flags::SYN,
                options: Options {
                    mss,
                    ..Options::default()
                },
                ..Header::default()
            },
            payload_len: 0,
            ecn: Default::default(),
        }
    }

    /// A 64th of a step is about a second.
    fn at(time: u64) -> Instant {
        Instant::from_micros(time << (Stamp::STEP_SHIFT - 6))
    }

    fn issued(time: u64, irs: u32, mss: u16) -> SeqNum {
        let syn = syn(irs, Some(mss));
        issue(at(time), &syn, MssTable::V4, FLOW, keyed(1))
    }

    fn opened(time: u64, irs: u32, cookie: SeqNum) -> Option<u16> {
        let (seq, ack) = (SeqNum::new(irs).add(1), cookie.add(1));
        open(at(time), seq, ack, MssTable::V4, FLOW, kept(1)).map(|opened| opened.mss.get())
    }

    /// RFC 4987 section 3.6.
    #[test]
    fn open__what_was_issued() {
        for (time, irs) in [
            (0, 0),
            (5, u32::MAX),
            (64 * 16 - 1, 7),
            (1 << 40, 0x8000_0000),
        ] {
            assert_eq!(opened(time, irs, issued(time, irs, 1460)), Some(1460));
        }
    }

    /// RFC 9293 section 3.7.1: never more than the peer can take, but for one that can take nearly nothing.
    #[test]
    fn open__the_mss_rounded_down() {
        for (offered, kept) in [
            (65_535, 1460),
            (1460, 1460),
            (1459, 1440),
            (1300, 1300),
            (1299, 1024),
            (537, 536),
            (535, 256),
            (255, 48),
            (1, 48),
        ] {
            assert_eq!(opened(9, 3, issued(9, 3, offered)), Some(kept), "{offered}");
        }
        let none = issue(at(9), &syn(3, None), MssTable::V4, FLOW, keyed(1));
        assert_eq!(opened(9, 3, none), Some(536));
        for table in [MssTable::V4, MssTable::V6] {
            assert!(table.values().is_sorted());
            assert_eq!(table.values()[0], Mss::MIN.get());
        }
    }

    #[test]
    fn open__for_one_to_two_steps() {
        for time in [640, 640 + 63, 64 * 31, 64 * 32 - 1] {
            let cookie = issued(time, 1, 1460);
            let end = (time / 64 + 2) * 64;
            for now in [time, time + 1, end - 1] {
                assert_eq!(opened(now, 1, cookie), Some(1460), "{time} {now}");
            }
            // Too old, and when the count comes round in the cookie; from the future.
            for now in [end, end + 64, time + 1024, time + 64 * 256, time - 64] {
                assert_eq!(opened(now, 1, cookie), None, "{time} {now}");
            }
        }
        assert_eq!(LIFETIME, Duration::from_micros(2 * (1 << 26)));
    }

    #[test]
    fn open__another_flow_or_number_or_key() {
        let cookie = issued(9, 3, 1460);
        assert_eq!(opened(9, 4, cookie), None);
        assert_eq!(opened(9, 3, cookie.add(1 << 28)), None);
        assert_eq!(opened(9, 3, cookie.sub(1 << 28)), None);
        // MSS 1460 is the table's last.
        assert_eq!(opened(9, 3, cookie.add(1)), None);
        let (seq, ack) = (SeqNum::new(4), cookie.add(1));
        // Of another flow both hashes are others.
        let other_flow = open(at(9), seq, ack, MssTable::V4, FLOW + 1, kept(3));
        assert_eq!(other_flow, None);
        let rotated = open(at(9), seq, ack, MssTable::V4, FLOW, kept(2));
        assert_eq!(rotated, None);
        let gone = open(at(9), seq, ack, MssTable::V4, FLOW, |_| None);
        assert_eq!(gone, None);
    }

    /// A cookie outlives the end of its key's time, as the caller has two.
    #[test]
    fn open__across_a_change_of_keys() {
        let last = 64 * Stamp::COUNTS_PER_KEY - 1;
        let cookie = issued(last, 1, 1460);
        assert_eq!(opened(last + 64, 1, cookie), Some(1460));
        let key = |count| {
            Stamp {
                irs: SeqNum::new(1),
                count,
            }
            .key()
        };
        assert_eq!((key(31), key(32), key(63)), (0, 1, 1));
    }

    /// Of all 2^32 numbers 16 are accepted at a time, eight of each age, side by side. So a guess succeeds with 2^-28; with 2^-25 if
    /// all but H is known.
    #[test]
    fn open__16_numbers_of_2_32() {
        let now = 64 * 7 + 5;
        let hashes: BTreeSet<u32> = [6, 7]
            .into_iter()
            .flat_map(|count| {
                let irs = SeqNum::new(1);
                let low = keyed(1)(&Stamp { irs, count }) as u32;
                let at = move |index| {
                    let low = low.wrapping_add(index) & HASH_MASK;
                    let high = (count as u32) << HASH_BITS;
                    base(FLOW, irs).add(high.wrapping_add(low)).get()
                };
                (0..8).map(at)
            })
            .collect();
        assert_eq!(hashes.len(), 16);
        for cookie in &hashes {
            assert!(opened(now, 1, SeqNum::new(*cookie)).is_some());
        }
        // A sample of the others: those beside, and one in 2^12 of all.
        let near = hashes
            .iter()
            .flat_map(|cookie| (0..1000).map(|n| cookie.wrapping_add(n).wrapping_sub(500)));
        let far = (0..1u32 << 20).map(|n| (n << 12) | (n >> 8));
        for cookie in near.chain(far) {
            let good = opened(now, 1, SeqNum::new(cookie)).is_some();
            assert_eq!(good, hashes.contains(&cookie), "{cookie:#x}");
        }
    }

    /// RFC 6528: an old connection's segments are behind those of the next.
    #[test]
    fn issue__rises_with_time_and_with_the_peers_number() {
        for step in 0..14 {
            let older = issued(64 * step, 1000, 1460);
            let newer = issued(64 * (step + 2), 1000, 1460);
            assert!(newer.after(older), "{step}");
        }
        let tag = |irs| {
            let (seq, ack) = (SeqNum::new(irs).add(1), issued(9, irs, 1460).add(1));
            let opened = open(at(9), seq, ack, MssTable::V4, FLOW, kept(1));
            opened.map(|opened| opened.tag)
        };
        assert!(tag(1).is_some() && tag(1) == tag(1) && tag(1) != tag(2));
    }

    #[test]
    fn stamp_bits__come_back_and_are_of_the_past() {
        for clock in [0, 1, 63, 64, 1_000_001, u32::MAX] {
            for bits in 0..64 {
                let wanted = StampBits::read(bits);
                let stamp = wanted.write(clock);
                assert_eq!(StampBits::read(stamp), wanted);
                assert!(clock.wrapping_sub(stamp) < 64, "{clock} {bits}");
            }
        }
    }
}
