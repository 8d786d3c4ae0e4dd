// SPDX-License-Identifier: GPL-2.0
//! What holds for all values: sequence arithmetic, reassembly against a naive model, the wire format.
// Tests are named function__case, and may panic.
#![allow(
    non_snake_case,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use oxtcp_engine::reassembly::{had, Reassembly};
use oxtcp_engine::wire::{Flags, Header, Options, SackBlocks, Timestamps, WindowScale};
use oxtcp_engine::{SeqNum, SeqRange};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

fn seq() -> impl Strategy<Value = SeqNum> {
    prop_oneof![
        any::<u32>(),
        0u32..100,
        (u32::MAX - 100)..=u32::MAX,
        (0x8000_0000u32 - 100)..0x8000_0100,
    ]
    .prop_map(SeqNum::new)
}

/// Distances at which order has a meaning.
fn near() -> impl Strategy<Value = u32> {
    prop_oneof![0u32..100, 0u32..0x4000_0000, 0x7fff_ff00u32..0x8000_0000]
}

fn range() -> impl Strategy<Value = SeqRange> {
    (seq(), 0u32..=1 << 30).prop_map(|(start, len)| SeqRange::new(start, len))
}

proptest! {
    #[test]
    fn seq__order_is_that_of_the_distance(a in seq(), step in near()) {
        let b = a.add(step);
        prop_assert_eq!(a.distance_to(b), step);
        prop_assert_eq!(b.sub(step), a);
        prop_assert_eq!(a.before(b), step != 0);
        prop_assert_eq!(b.after(a), step != 0);
        prop_assert!(a.before_eq(b) && b.after_eq(a));
        prop_assert_eq!(b.before(a), false);
        prop_assert_eq!(SeqNum::max(a, b), b);
        prop_assert_eq!(SeqNum::min(b, a), a);
    }

    #[test]
    fn seq__in_window_is_a_count(start in seq(), at in any::<u32>(), len in any::<u32>()) {
        prop_assert_eq!(start.add(at).in_window(start, len), at < len);
    }

    #[test]
    fn range__intersection_holds_what_both_hold(a in range(), shift in any::<i32>(), len in 0u32..1 << 30) {
        let shift = shift / 4;
        let b = SeqRange::new(a.start.add(shift as u32), len);
        match a.intersect(b) {
            Some(both) => {
                prop_assert!(!both.is_empty());
                prop_assert!(a.contains_range(both) && b.contains_range(both));
                prop_assert!(a.touches(b));
                prop_assert!(!a.contains(both.end()) || !b.contains(both.end()));
                let before = both.start.sub(1);
                prop_assert!(!a.contains(before) || !b.contains(before));
            }
            None => {
                prop_assert!(!a.contains(b.start) || b.is_empty());
                prop_assert!(!b.contains(a.start) || a.is_empty());
            }
        }
        if a.touches(b) {
            let hull = a.hull(b);
            prop_assert!(hull.contains_range(a) && hull.contains_range(b));
        }
    }

    /// Against a set of numbers: what has come, where the gap is, which segments are refused.
    #[test]
    fn reassembly__is_a_set_of_numbers(
        base in seq(),
        steps in prop::collection::vec((0u32..400, 1u32..40, any::<bool>()), 1..120),
    ) {
        let mut reassembly = Reassembly::new();
        let mut model = BTreeSet::new();
        let mut nxt = 0u32;
        for (at, len, advance) in steps {
            if advance {
                // The octets from nxt on came in order.
                nxt += len;
                let end = reassembly.advance(base.add(nxt));
                while model.contains(&nxt) {
                    nxt += 1;
                }
                prop_assert_eq!(end, base.add(nxt));
                model.retain(|octet| *octet >= nxt);
            } else {
                let start = nxt + 1 + at;
                let range = SeqRange::new(base.add(start), len);
                if reassembly.insert(range) {
                    model.extend(start..start + len);
                    let first = reassembly.iter().next().unwrap();
                    prop_assert!(first.contains_range(range), "the latest stands first");
                } else {
                    prop_assert_eq!(reassembly.len(), Reassembly::MAX_RANGES);
                }
            }
            let mut octets = BTreeSet::new();
            for range in reassembly.iter() {
                prop_assert!(!range.is_empty());
                let start = base.distance_to(range.start);
                for octet in start..start + range.len {
                    prop_assert!(octets.insert(octet), "two ranges hold {}", octet);
                }
                prop_assert!(!model.contains(&(start + range.len)), "two ranges touch");
            }
            prop_assert_eq!(&octets, &model);
        }
    }

    /// Whatever is sent, and in whichever order: no octet is kept twice, each that has come is, and where packets are given up, from the
    /// end of the stream on, the ranges are what is left.
    #[test]
    fn reassembly__packets_do_not_overlap(
        base in seq(),
        steps in prop::collection::vec((0u32..400, 1u32..40, 0u32..8), 1..120),
    ) {
        let mut reassembly = Reassembly::new();
        let mut kept: BTreeMap<u32, u32> = BTreeMap::new();
        for (at, len, prune) in steps {
            let range = SeqRange::new(base.add(at), len);
            if prune == 0 {
                kept.pop_last();
                match kept.last_key_value() {
                    Some((at, len)) => reassembly.cut(base.add(at + len)),
                    None => reassembly.clear(),
                }
            } else if !reassembly.contains_range(range) && reassembly.insert(range) {
                let packet = |(at, len): (&u32, &u32)| SeqRange::new(base.add(*at), *len);
                let skip = kept.range(..=at).next_back().map_or(0, |b| had(packet(b), range));
                prop_assert!(skip < len, "nothing of it was new");
                let (at, len) = (at + skip, len - skip);
                let range = SeqRange::new(base.add(at), len);
                while let Some(behind) = kept.range(at..).next() {
                    let skip = had(range, packet(behind));
                    let (behind, left) = (*behind.0, behind.1 - skip);
                    if skip == 0 {
                        break;
                    }
                    kept.remove(&behind);
                    if left > 0 {
                        kept.insert(behind + skip, left);
                        break;
                    }
                }
                prop_assert_eq!(kept.insert(at, len), None);
            }
            let mut octets = BTreeSet::new();
            for (at, len) in &kept {
                for octet in *at..at + len {
                    prop_assert!(octets.insert(octet), "two packets hold {}", octet);
                }
            }
            let ranges: u32 = reassembly.iter().map(|range| range.len).sum();
            prop_assert_eq!(ranges as usize, octets.len());
            for range in reassembly.iter() {
                let start = base.distance_to(range.start);
                prop_assert!((start..start + range.len).all(|octet| octets.contains(&octet)));
            }
        }
    }

    #[test]
    fn header__what_is_written_is_read(header in header()) {
        let mut out = [0xaa; 60];
        let len = header.emit(&mut out);
        prop_assert_eq!(len, header.wire_len());
        prop_assert!((20..=60).contains(&len) && len % 4 == 0);
        prop_assert_eq!(Header::data_offset(&out), Ok(len));
        let mut expected = header;
        expected.options.sack.truncate(header.options.sack_that_fits());
        prop_assert_eq!(Header::parse(&out[..len]), Ok(expected));
    }

    #[test]
    fn header__any_bytes(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        match Header::parse(&bytes) {
            Ok(header) => {
                let len = Header::data_offset(&bytes).unwrap();
                prop_assert!(len >= 20 && len <= bytes.len());
                prop_assert!(header.options.mss != Some(0));
                prop_assert!(header.options.window_scale.is_none_or(|scale| scale.get() <= 14));
                prop_assert_eq!(header.reserved, bytes[12] & 0xf != 0);
                // What was understood can be written again, and then says the same.
                let mut out = [0; 60];
                let len = header.emit(&mut out);
                let mut again = header;
                again.reserved = false;
                again.options.sack.truncate(header.options.sack_that_fits());
                prop_assert_eq!(Header::parse(&out[..len]), Ok(again));
            }
            Err(_) => prop_assert!(Header::data_offset(&bytes).map_or(true, |len| len > bytes.len() || bytes.len() < 20)),
        }
    }

    /// Options that begin well and go wrong anywhere.
    #[test]
    fn options__one_spoiled_byte(header in header(), at in 0usize..40, value in any::<u8>()) {
        let mut out = [0; 60];
        let len = header.emit(&mut out);
        let mut options = out[20..len].to_vec();
        if at < options.len() {
            options[at] = value;
        }
        for cut in 0..=options.len() {
            Options::parse(&options[..cut]);
        }
    }
}

fn options(syn: bool) -> impl Strategy<Value = Options> {
    let blocks = prop::collection::vec((any::<u32>(), any::<u32>()), 0..=4);
    (
        prop::option::of(1u16..),
        prop::option::of(0u8..=14),
        any::<bool>(),
        prop::option::of((any::<u32>(), any::<u32>())),
        blocks,
    )
        .prop_map(move |(mss, scale, sack_permitted, timestamps, blocks)| {
            let mut sack = SackBlocks::new();
            for (start, len) in blocks {
                assert!(sack.push(SeqRange::new(SeqNum::new(start), len)));
            }
            let timestamps = timestamps.map(|(val, ecr)| Timestamps { val, ecr });
            match syn {
                true => Options {
                    mss,
                    window_scale: scale.map(WindowScale::new),
                    sack_permitted,
                    timestamps,
                    sack,
                    ..Options::default()
                },
                false => Options {
                    timestamps,
                    sack,
                    ..Options::default()
                },
            }
        })
}

fn header() -> impl Strategy<Value = Header> {
    let flags = any::<u8>();
    (any::<(u16, u16, u32, u32, u16, u16)>(), flags).prop_flat_map(|(fixed, bits)| {
        let flags = Flags::from_bits(bits);
        options(flags.syn()).prop_map(move |options| Header {
            src_port: fixed.0,
            dst_port: fixed.1,
            seq: SeqNum::new(fixed.2),
            ack: SeqNum::new(fixed.3),
            flags,
            reserved: false,
            window: fixed.4,
            urgent: fixed.5,
            options,
        })
    })
}
