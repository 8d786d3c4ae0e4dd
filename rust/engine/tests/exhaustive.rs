// SPDX-License-Identifier: GPL-2.0
//! All values, where all are few enough: sequence arithmetic on a small circle and at every edge of the large one, window
//! scales, reassembly of a few octets, options up to a length.
//!
//! A small circle: the multiples of 2^26 are 64 numbers that wrap as the 2^32 do, and sums and comparisons of them are those
//! of numbers modulo 64. A set of them is a word of 64 bits, so what the engine says of ranges can be compared with sets.
// Tests are named function__case, and may panic.
#![allow(
    non_snake_case,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod common;

use common::wire::{check_emission, check_header, check_options, reference};
use oxtcp_engine::reassembly::Reassembly;
use oxtcp_engine::request::{Request, RequestOpen};
use oxtcp_engine::wire::{Flags, Header, Options, SackBlocks, Timestamps, WindowScale};
use oxtcp_engine::{
    ActiveOpen, BurstLimit, Config, Connection, Context, Instant, NoFlight, Rx, Segment, SeqNum,
    SeqRange, SocketOptions,
};

/// The small circle's size, and its step on the large one.
const RING: u32 = 64;
const STEP: u32 = 1 << 26;

fn at(number: u32) -> SeqNum {
    SeqNum::new(number.wrapping_mul(STEP))
}

fn range(start: u32, len: u32) -> SeqRange {
    SeqRange::new(at(start), len * STEP)
}

/// The numbers of a range, a bit each.
fn set(start: u32, len: u32) -> u64 {
    let ones = if len == 0 { 0 } else { u64::MAX >> (64 - len) };
    ones.rotate_left(start % RING)
}

/// The numbers near which something can go wrong: the ends of the circle, its middle, and its quarters.
fn edges() -> Vec<u32> {
    let mut edges = Vec::new();
    for eighth in 0..8u32 {
        for off in [0, 1, 2, 3, 1_459, 1_460, 65_535, 65_536] {
            edges.push((eighth << 29).wrapping_add(off));
            edges.push((eighth << 29).wrapping_sub(off));
        }
    }
    edges.sort_unstable();
    edges.dedup();
    edges
}

#[test]
fn seq__every_pair_of_a_small_circle() {
    let half = i64::from(RING / 2);
    for a in 0..RING {
        for b in 0..RING {
            // The signed distance, from -half to half - 1: RFC 9293 section 3.4's order. Numbers half a circle apart are
            // each before the other.
            let ahead = (i64::from(b) - i64::from(a)).rem_euclid(64);
            let before = ahead > 0 && ahead <= half;
            let after = ahead >= half;
            assert_eq!(at(a).before(at(b)), before, "{a} {b}");
            assert_eq!(at(a).after(at(b)), after, "{a} {b}");
            assert_eq!(at(a).before_eq(at(b)), !after, "{a} {b}");
            assert_eq!(at(a).after_eq(at(b)), !before, "{a} {b}");
            assert_eq!(at(a).distance_to(at(b)), ahead as u32 * STEP);
            assert_eq!(at(a).add(b * STEP), at(a + b));
            assert_eq!(at(a).sub(b * STEP), at(a + RING - b));
            if ahead != half {
                let (first, last) = if before || a == b { (a, b) } else { (b, a) };
                assert_eq!(SeqNum::min(at(a), at(b)), at(first));
                assert_eq!(SeqNum::max(at(a), at(b)), at(last));
            }
            for len in 0..RING {
                let inside = (set(b, len) >> a) & 1 != 0;
                assert_eq!(at(a).in_window(at(b), len * STEP), inside);
                assert_eq!(range(b, len).contains(at(a)), inside);
            }
        }
    }
}

#[test]
fn seq__every_pair_of_edges() {
    for a in edges() {
        for b in edges() {
            let ahead = u64::from(b.wrapping_sub(a));
            let (x, y) = (SeqNum::new(a), SeqNum::new(b));
            assert_eq!(x.before(y), ahead != 0 && ahead <= 1 << 31, "{a} {b}");
            assert_eq!(x.after(y), ahead >= 1 << 31, "{a} {b}");
            assert_eq!(x.before_eq(y), ahead < 1 << 31, "{a} {b}");
            assert_eq!(x.after_eq(y), ahead == 0 || ahead > 1 << 31, "{a} {b}");
            assert_eq!(u64::from(x.distance_to(y)), ahead);
            assert_eq!(x.add(b).sub(b), x);
            for len in edges() {
                assert_eq!(y.in_window(x, len), ahead < u64::from(len));
            }
        }
    }
}

/// Every pair of ranges of up to half a small circle, as sets.
#[test]
fn range__every_pair_of_a_small_circle() {
    for first in 0..RING {
        for len in 0..=RING / 2 {
            let (a, as_set) = (range(first, len), set(first, len));
            assert_eq!(a.is_empty(), as_set == 0);
            assert_eq!(a.is_plausible(), (1..=RING / 4).contains(&len));
            for start in 0..RING {
                for other in 0..=RING / 2 {
                    let (b, bs_set) = (range(start, other), set(start, other));
                    // An empty range is in every other that it is not outside of.
                    if other != 0 {
                        let holds = as_set & bs_set == bs_set;
                        assert_eq!(a.contains_range(b), holds, "{a:?} {b:?}");
                    }
                    // Where their order has a meaning: both within half a circle.
                    let span = |from: u32, own: u32, to: u32, len: u32| {
                        own.max((to + RING - from) % RING + len)
                    };
                    let near = span(first, len, start, other) < RING / 2
                        || span(start, other, first, len) < RING / 2;
                    if !near {
                        continue;
                    }
                    match a.intersect(b) {
                        Some(both) => {
                            let (from, count) = (both.start.get() / STEP, both.len / STEP);
                            assert_eq!(set(from, count), as_set & bs_set, "{a:?} {b:?}");
                        }
                        None => assert_eq!(as_set & bs_set, 0, "{a:?} {b:?}"),
                    }
                    if len != 0 && other != 0 {
                        let beside = set(first, len + 1) & bs_set != 0
                            || set(start, other + 1) & as_set != 0;
                        assert_eq!(a.touches(b), beside, "{a:?} {b:?}");
                        if beside {
                            let hull = a.hull(b);
                            let (from, count) = (hull.start.get() / STEP, hull.len / STEP);
                            assert_eq!(set(from, count), as_set | bs_set, "{a:?} {b:?}");
                        }
                    }
                }
            }
        }
    }
}

/// All ways in which up to four segments of seven octets, behind one that is missing, can come, on both sides of the wrap, against a
/// set: what is kept, where the gap ends, what is reported.
#[test]
fn reassembly__every_order_of_few_octets() {
    const OCTETS: u32 = 7;
    let mut steps = Vec::new();
    for start in 1..=OCTETS {
        for len in 1..=OCTETS + 1 - start {
            steps.push((start, len));
        }
    }
    fn walk(
        base: SeqNum,
        steps: &[(u32, u32)],
        reassembly: &Reassembly,
        octets: u32,
        left: u32,
        count: &mut u64,
    ) {
        for (start, len) in steps {
            let mut next = reassembly.clone();
            let octets = octets | (((1 << len) - 1) << start);
            let new = SeqRange::new(base.add(*start), *len);
            assert!(next.insert(new));
            let mut seen = 0;
            for range in next.iter() {
                let mask = ((1u32 << range.len) - 1) << base.distance_to(range.start);
                assert_eq!(seen & mask, 0, "twice");
                // No two ranges touch.
                assert_eq!(((seen << 1) | (seen >> 1)) & mask, 0, "side by side");
                seen |= mask;
            }
            assert_eq!(seen, octets);
            let blocks = next.sack_blocks(None);
            let latest = blocks.as_slice()[0];
            assert!(latest.contains_range(new), "RFC 2018: the latest first");
            for nxt in 1..=OCTETS + 1 {
                let mut advanced = next.clone();
                let end = advanced.advance(base.add(nxt));
                let gap = nxt + (octets >> nxt).trailing_ones();
                assert_eq!(end, base.add(gap), "{octets:b} from {nxt}");
                let rest: u32 = advanced.iter().map(|range| range.len).sum();
                assert_eq!(rest, (octets >> gap).count_ones());
            }
            *count += 1;
            if left > 1 {
                walk(base, steps, &next, octets, left - 1, count);
            }
        }
    }
    let mut count = 0;
    for base in [0, u32::MAX - 3, (1 << 31) - 4] {
        let none = Reassembly::new();
        walk(SeqNum::new(base), &steps, &none, 0, 4, &mut count);
    }
    println!("{count} orders");
    assert!(count > 1_800_000);
}

/// Every scale and every window at which it changes.
/// RFC 7323 section 2, RFC 7323 section 2.3.
#[test]
fn window_scale__every_scale_at_its_edges() {
    for shift in 0..=14u8 {
        let scale = WindowScale::new(shift);
        assert_eq!(scale.unit(), 1 << shift);
        // Every field there and back.
        for field in 0..=u16::MAX {
            let bytes = scale.widen(field);
            assert_eq!(u64::from(bytes), u64::from(field) << shift);
            assert_eq!(scale.narrow(bytes), field);
            // Rounded down: what is promised is there, and less than a unit is kept back.
            let rest = bytes.saturating_add(scale.unit() - 1);
            assert_eq!(scale.narrow(rest), field);
        }
        for edge in edges() {
            let offered = scale.widen(scale.narrow(edge));
            assert!(offered <= edge);
            assert!(edge - offered < scale.unit() || scale.narrow(edge) == u16::MAX);
        }
    }
    for limit in edges() {
        let scale = WindowScale::for_limit(limit);
        let holds = |shift: u8| (limit >> shift) <= u32::from(u16::MAX);
        assert!(holds(scale.get()) || scale == WindowScale::MAX);
        assert!(scale.get() == 0 || !holds(scale.get() - 1));
    }
    for shift in 15..=u8::MAX {
        assert_eq!(WindowScale::new(shift), WindowScale::MAX);
    }
}

/// Both sides' scales, all pairs and none, by both ways of opening: what each says is what the other understands.
#[test]
fn window_scale__every_pair_in_a_handshake() {
    let now = Instant::from_secs(1_000);
    let offers = |shift: u8| (shift < 15).then(|| WindowScale::new(shift));
    for ours in 0..=15u8 {
        for theirs in 0..=15u8 {
            let config = Config {
                window_scaling: ours < 15,
                ..Config::default()
            };
            let cx = Context::new(now, &config);
            let limit = 65_535u32 << ours.min(14);
            for window in [0u16, 1, 8_000, u16::MAX] {
                let mut peer = Segment {
                    header: Header {
                        seq: SeqNum::new(u32::MAX),
                        flags: Flags::SYN,
                        window,
                        options: Options {
                            mss: Some(1000),
                            window_scale: offers(theirs),
                            ..Options::default()
                        },
                        ..Header::default()
                    },
                    payload_len: 0,
                    ecn: Default::default(),
                };
                let active = Connection::connect(
                    &cx,
                    &ActiveOpen {
                        iss: SeqNum::new(5),
                        ts_offset: 0,
                        advertised_mss: 1000,
                        path_mss: 1000,
                        recv_space: limit,
                        recv_limit: limit,
                        options: SocketOptions::default(),
                    },
                );
                let request = Request::new(
                    &cx,
                    &peer,
                    &RequestOpen {
                        iss: SeqNum::new(5),
                        ts_offset: 0,
                        advertised_mss: 1000,
                        recv_space: limit,
                        recv_limit: limit,
                        signature: oxtcp_engine::wire::Signature::NONE,
                    },
                );
                let passive = Connection::accept(
                    &cx,
                    &request,
                    &oxtcp_engine::PassiveOpen {
                        path_mss: 1000,
                        recv_space: limit,
                        options: SocketOptions::default(),
                    },
                );
                for (mut conn, syn_ack) in [(active, true), (passive, false)] {
                    while conn
                        .poll_transmit(&cx, BurstLimit(0), &mut NoFlight)
                        .is_some()
                    {}
                    peer.header.ack = SeqNum::new(6);
                    peer.header.flags = if syn_ack { Flags::SYN_ACK } else { Flags::ACK };
                    peer.header.seq = SeqNum::new(if syn_ack { u32::MAX } else { 0 });
                    let _ = conn.on_segment(&cx, &peer, Rx::default(), &mut NoFlight);
                    let agreed = conn.negotiated().expect("a connection");
                    let both = ours < 15 && theirs < 15;
                    let expected = if both { ours } else { 0 };
                    assert_eq!(agreed.rcv_scale.get(), expected, "{ours} {theirs}");
                    let scale = if both { theirs } else { 0 };
                    assert_eq!(agreed.snd_scale.get(), scale, "{ours} {theirs}");
                    // RFC 7323 section 2.2: the window of a SYN is never scaled; others are.
                    let wnd = if syn_ack {
                        u32::from(window)
                    } else {
                        u32::from(window) << scale
                    };
                    assert_eq!(conn.snd_wnd(), wnd, "{ours} {theirs} {window}");
                }
            }
        }
    }
}

/// Every string of up to six of the octets that matter; and every three options in a row, of every length up to ten. What is
/// understood can be written.
#[test]
fn options__every_short_string_and_every_three_options() {
    /// What is known, what is not, and the edges of a length.
    const ALPHABET: [u8; 9] = [0, 1, 2, 3, 4, 5, 8, 10, 255];
    let mut count = 0u64;
    for len in 0..=6 {
        let mut digits = vec![0usize; len];
        'all: loop {
            let bytes: Vec<u8> = digits.iter().map(|digit| ALPHABET[*digit]).collect();
            check_options(&bytes);
            count += 1;
            for digit in &mut digits {
                *digit += 1;
                if *digit < ALPHABET.len() {
                    continue 'all;
                }
                *digit = 0;
            }
            break;
        }
    }
    // Longer ones by whole options: kind, length as it is or wrong by one, and a value of every size.
    let mut whole: Vec<Vec<u8>> = vec![vec![0], vec![1]];
    for kind in [2u8, 3, 4, 5, 8, 19, 254] {
        for len in 0..=10u8 {
            let mut option = vec![kind, len];
            option.extend((2..len).map(|i| 0x80 | i));
            whole.push(option);
        }
    }
    for first in &whole {
        for second in &whole {
            for third in &whole {
                let mut bytes = first.clone();
                bytes.extend(second);
                bytes.extend(third);
                // As in a header: no more than there is room for.
                bytes.truncate(40);
                let read = Options::parse(&bytes);
                assert_eq!(read, reference(&bytes), "{bytes:?}");
                count += 1;
            }
        }
    }
    println!("{count} strings");
    assert!(count > 1_000_000);
}

/// Every length of every kind, alone, at every end of the options.
#[test]
fn options__every_length_of_every_kind() {
    for kind in 0..=u8::MAX {
        for len in 0..=u8::MAX {
            for room in 0..=40usize {
                let mut bytes = vec![kind, len];
                bytes.extend((0..38u8).map(|i| kind.wrapping_add(i * 6)));
                bytes.truncate(room);
                check_options(&bytes);
            }
        }
    }
}

/// Every set of options, with values at their edges, as options and in a header with every combination of flags.
#[test]
fn options__every_set_is_written_and_read() {
    let edges = [0u32, 1, 0x7fff_ffff, 0x8000_0000, u32::MAX];
    let mut count = 0u64;
    for mss in [None, Some(1), Some(536), Some(1460), Some(u16::MAX)] {
        for shift in 0..=15u8 {
            for sack_permitted in [false, true] {
                for stamp in 0..=edges.len() {
                    for blocks in 0..=SackBlocks::MAX {
                        let mut sack = SackBlocks::new();
                        for block in 0..blocks {
                            let start = SeqNum::new(edges[(block + stamp) % edges.len()]);
                            assert!(sack.push(SeqRange::new(start, edges[block])));
                        }
                        let options = Options {
                            mss,
                            window_scale: (shift < 15).then(|| WindowScale::new(shift)),
                            sack_permitted,
                            timestamps: edges.get(stamp).map(|val| Timestamps {
                                val: *val,
                                ecr: !*val,
                            }),
                            sack,
                            ..Options::default()
                        };
                        check_emission(&options);
                        count += 1;
                        for bits in 0..=u8::MAX {
                            if bits % 17 != shift % 17 {
                                continue;
                            }
                            let header = Header {
                                seq: SeqNum::new(edges[blocks % 5]),
                                flags: Flags::from_bits(bits),
                                options,
                                ..Header::default()
                            };
                            let mut bytes = [0; 60];
                            let len = header.emit(&mut bytes);
                            check_header(&bytes[..len]);
                        }
                    }
                }
            }
        }
    }
    println!("{count} sets");
}
