// SPDX-License-Identifier: GPL-2.0
//! Every state meets every event, and nothing panics; what is true of a connection is true after each
//! (`common::stand`).
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

use common::rng::Rng;
use common::stand::{Stand, Way, PEER_TS, RECV_SPACE};
use oxtcp_engine::request::RequestVerdict;
use oxtcp_engine::wire::{Ecn, Flags, Header, Options, SackBlocks, Timestamps, WindowScale};
use oxtcp_engine::{Context, Duration, NoFlight, Segment, SeqNum, SeqRange, SocketOptions, State};
use std::num::{NonZeroU16, NonZeroU32, NonZeroU8};

/// Where a segment begins, from RCV.NXT.
const PLACES: [i64; 13] = [
    -(1 << 31) + 1,
    -100_000,
    -1001,
    -2,
    -1,
    0,
    1,
    500,
    1_100,
    RECV_SPACE as i64 - 1,
    RECV_SPACE as i64,
    RECV_SPACE as i64 + 1,
    1 << 30,
];

/// What it acknowledges: from SND.UNA, or from SND.NXT.
fn acks(stand: &Stand) -> Vec<SeqNum> {
    let (una, nxt) = (stand.conn.snd_una(), stand.conn.snd_nxt());
    let mut acks = vec![
        una.sub(100_000),
        una.sub(1),
        una,
        una.add(1),
        una.add(1000),
        nxt.sub(1),
        nxt,
        nxt.add(1),
        nxt.add(1 << 30),
        SeqNum::new(0),
    ];
    acks.dedup();
    acks
}

const LENGTHS: [u32; 5] = [0, 1, 1000, 64_000, 1 << 20];

fn options(stand: &Stand) -> Vec<Options> {
    let none = Options::default();
    let una = stand.conn.snd_una();
    let mut lies = SackBlocks::new();
    for range in [
        SeqRange::new(una.add(1000), 500),
        SeqRange::new(una.sub(5), u32::MAX),
        SeqRange::new(una, 0),
        SeqRange::new(una.add(1 << 31), 7),
    ] {
        assert!(lies.push(range));
    }
    vec![
        none,
        Options {
            timestamps: Some(Timestamps {
                val: PEER_TS.wrapping_add(9),
                ecr: 77,
            }),
            ..none
        },
        Options {
            timestamps: Some(Timestamps {
                val: PEER_TS - 9,
                ecr: u32::MAX,
            }),
            ..none
        },
        Options {
            sack: lies,
            timestamps: Some(Timestamps {
                val: PEER_TS,
                ecr: 0,
            }),
            ..none
        },
        Options {
            mss: Some(1),
            window_scale: Some(WindowScale::MAX),
            sack_permitted: true,
            timestamps: Some(Timestamps { val: 1, ecr: 1 }),
            ..none
        },
    ]
}

/// All segments to one way of being in a state.
fn meet_all(way: Way, stamps: bool, sack: bool) -> u64 {
    let stand = Stand::new(way, stamps, sack);
    let mut met = 0;
    for bits in 0..64u8 {
        for place in PLACES {
            for ack in acks(&stand) {
                for payload_len in LENGTHS {
                    for (index, options) in options(&stand).into_iter().enumerate() {
                        // Without SYN the last set is what the wire format makes of it: none.
                        let flags = Flags::from_bits(bits);
                        if index == 4 && !flags.syn() {
                            continue;
                        }
                        let segment = Segment {
                            header: Header {
                                seq: stand.conn.rcv_nxt().add(place as u32),
                                ack,
                                flags,
                                window: [0, 1, 8_000, u16::MAX][(met % 4) as usize],
                                options,
                                ..Header::default()
                            },
                            payload_len,
                            ecn: Ecn::NotEct,
                        };
                        let mut stand = stand.clone();
                        stand.room = met / 4 % 4 != 0;
                        stand.unread = (met / 16 % 2) as u32;
                        stand.with_reassembly = met % 7 != 0;
                        stand.put(&segment);
                        stand.expire();
                        met += 1;
                    }
                }
            }
        }
    }
    met
}

/// RFC 9293 section 3.10.7.
#[test]
fn every_segment_to_every_state() {
    let mut met = 0;
    for way in Way::ALL {
        met += meet_all(way, true, true);
    }
    println!("{met} segments");
}

#[test]
fn every_segment_without_timestamps_and_sack() {
    for way in [Way::SynSent, Way::SynReceived, Way::Hole, Way::InFlight] {
        meet_all(way, false, false);
    }
}

/// The calls of the user and of the network, by number.
const CALLS: u64 = 20;

fn call(stand: &mut Stand, number: u64, rng: &mut Rng) {
    match number {
        0 => stand.write(rng.pick(&[0, 1, 999, 1000, 5_000, 100_000])),
        1 => stand.shutdown(),
        2 => drop(stand.close(false)),
        3 => drop(stand.close(true)),
        4 => drop(stand.call(|conn, cx| conn.abort(cx))),
        5 => {
            let mss = rng.pick(&[0, 1, 48, 500, 1400, u16::MAX]);
            stand.call(|conn, cx| conn.set_path_mss(cx, mss));
            stand.call(|conn, cx| {
                let seq = conn.snd_una();
                conn.on_too_big(cx, seq, mss / 2, &mut NoFlight);
            });
        }
        6 | 7 => {
            let seq = rng.pick(&[stand.conn.snd_una(), stand.conn.snd_nxt(), SeqNum::new(0)]);
            stand.call(|conn, cx| conn.on_unreachable(cx, seq, number == 6));
        }
        8 | 9 => {
            stand.call(|conn, _| conn.set_nodelay(number == 8));
        }
        10 | 11 => {
            stand.call(|conn, _| conn.set_cork(number == 10));
        }
        12 | 13 => {
            stand.call(|conn, _| conn.set_more(number == 12));
        }
        14 => {
            let space = rng.pick(&[0, 1, 1000, RECV_SPACE, 1 << 20, u32::MAX]);
            stand.read_of(space, space.max(3));
        }
        15 => {
            let options = SocketOptions {
                user_timeout: NonZeroU32::new(rng.pick(&[0, 1, 5_000])),
                keepidle: NonZeroU16::new(rng.pick(&[0, 1, 100])),
                keepintvl: NonZeroU16::new(rng.pick(&[0, 1, 100])),
                keepcnt: NonZeroU8::new(rng.pick(&[0, 1, 100])),
                max_seg: NonZeroU16::new(rng.pick(&[0, 1, 900])),
                keepalive: rng.chance(700),
                nodelay: rng.chance(500),
                cork: rng.chance(300),
                ..SocketOptions::default()
            };
            stand.call(|conn, cx| conn.set_options(cx, options));
        }
        16 | 17 => {
            stand.expire();
        }
        18 => {
            let micros = rng.pick(&[0, 1, 1_000, 50_000, 3_000_000, 1 << 45]);
            stand.wait(Duration::from_micros(micros));
        }
        _ => {
            let _ = stand.conn.take_events();
            let _ = stand.conn.take_error();
        }
    }
}

#[test]
fn every_call_in_every_state() {
    for way in Way::ALL {
        for number in 0..CALLS {
            for seed in 0..40 {
                let mut stand = Stand::new(way, seed % 2 == 0, seed % 3 == 0);
                call(&mut stand, number, &mut Rng::new(seed));
                for _ in 0..40 {
                    if stand.expire().is_none() {
                        break;
                    }
                }
            }
        }
    }
}

/// Left alone, every connection that owes something ends by itself; the others keep still.
#[test]
fn every_state_left_alone() {
    for way in Way::ALL {
        let mut stand = Stand::new(way, true, true);
        for _ in 0..60 {
            if stand.expire().is_none() {
                break;
            }
        }
        let stays = matches!(
            way,
            Way::Established | Way::Hole | Way::CloseWait | Way::FinWait2
        );
        let expected = if stays { way.state() } else { State::Closed };
        assert_eq!(stand.conn.state(), expected, "{way:?}");
    }
}

fn random_segment(stand: &Stand, rng: &mut Rng) -> Segment {
    let conn = &stand.conn;
    // Mostly plausible, or the connection dies in the first step.
    let flags = match rng.below(20) {
        0 => Flags::from_bits(rng.next() as u8),
        1 => Flags::FIN_ACK,
        2 => Flags::SYN_ACK,
        3 => Flags::SYN,
        4 if rng.chance(100) => Flags::RST,
        _ => Flags::ACK,
    };
    let near =
        |rng: &mut Rng| rng.pick(&[0, 0, 0, 0, 1, u32::MAX, 1000, 2000, 0u32.wrapping_sub(1000)]);
    let seq = match rng.below(10) {
        0 => SeqNum::new(rng.next() as u32),
        1 => conn.rcv_nxt().add(rng.below(30_000) as u32),
        _ => conn.rcv_nxt().add(near(rng)),
    };
    let ack = match rng.below(10) {
        0 => SeqNum::new(rng.next() as u32),
        1 => conn
            .snd_una()
            .add(rng.below(u64::from(conn.unacked()) + 2) as u32),
        2..=4 => conn.snd_una(),
        _ => conn.snd_nxt(),
    };
    let mut options = Options::default();
    if rng.chance(700) {
        let val = PEER_TS
            .wrapping_add((stand.now.as_micros() / 1000) as u32)
            .wrapping_sub(50_000_000);
        let val = if rng.chance(50) {
            rng.next() as u32
        } else {
            val
        };
        options.timestamps = Some(Timestamps {
            val,
            ecr: rng.pick(&[0, 77, stand.now.timestamp_ms(77)]),
        });
    }
    if rng.chance(200) {
        for _ in 0..rng.below(4) {
            let start = conn.snd_una().add(rng.below(5_000) as u32);
            options.sack.push(SeqRange::new(
                start,
                rng.pick(&[0, 1, 1000, 3000, u32::MAX]),
            ));
        }
    }
    if flags.syn() {
        options.mss = rng.pick(&[None, Some(1), Some(536), Some(1460), Some(u16::MAX)]);
        options.window_scale = rng.pick(&[None, Some(WindowScale::new(0)), Some(WindowScale::MAX)]);
        options.sack_permitted = rng.chance(500);
    }
    let payload_len = rng.pick(&[0, 0, 0, 1, 500, 1000, 1000, 2000, 64_000]);
    let window = rng.pick(&[0, 1, 100, 8_000, 8_000, u16::MAX]);
    Segment {
        header: Header {
            seq,
            ack,
            flags,
            window,
            options,
            ..Header::default()
        },
        payload_len,
        ecn: Ecn::NotEct,
    }
}

/// Whatever completes a request completes the connection that is made of it: none is left in SYN-RECEIVED, where no
/// timer of the listener's would find it.
#[test]
fn what_completes_a_request_establishes_the_connection() {
    let mut completed = 0;
    for stamps in [true, false] {
        let stand = Stand::new(Way::SynReceived, stamps, true);
        for bits in 0..64u8 {
            for place in PLACES
                .into_iter()
                .chain([8_000, 15_999, 16_000, 16_001, 19_984])
            {
                for ack in acks(&stand) {
                    for payload_len in LENGTHS {
                        for options in options(&stand) {
                            let flags = Flags::from_bits(bits);
                            let segment = Segment {
                                header: Header {
                                    seq: stand.conn.rcv_nxt().add(place as u32),
                                    ack,
                                    flags,
                                    window: 1_000,
                                    options,
                                    ..Header::default()
                                },
                                payload_len,
                                ecn: Ecn::NotEct,
                            };
                            let mut request = stand.request.expect("after a passive open");
                            let cx = Context::new(stand.now, &stand.config);
                            let verdict = request.on_segment(&cx, &segment);
                            if matches!(verdict, RequestVerdict::Complete) {
                                let mut stand = stand.clone();
                                stand.put(&segment);
                                assert_ne!(stand.conn.state(), State::SynReceived, "{segment:?}");
                                assert_ne!(stand.conn.state(), State::Closed, "{segment:?}");
                                completed += 1;
                            }
                        }
                    }
                }
            }
        }
    }
    assert!(completed > 1_000, "{completed}");
}

/// Walks of a hundred random steps from every state.
#[test]
fn random_walks() {
    let only = std::env::var("OXTCP_SEED")
        .ok()
        .and_then(|seed| seed.parse::<u64>().ok());
    let range = only.map_or(0..30_000, |seed| seed..seed + 1);
    for seed in range {
        let walk = || {
            let mut rng = Rng::new(seed);
            let way = Way::ALL[(seed % Way::ALL.len() as u64) as usize];
            let mut stand = Stand::new(way, rng.chance(700), rng.chance(700));
            stand.with_reassembly = rng.chance(900);
            for _ in 0..100 {
                if stand.conn.state() == State::Closed && rng.chance(300) {
                    break;
                }
                stand.room = rng.chance(800);
                match rng.below(10) {
                    0..=5 => {
                        let segment = random_segment(&stand, &mut rng);
                        stand.put(&segment);
                    }
                    6 => {
                        stand.expire();
                    }
                    _ => {
                        // The calls that end a connection are rare.
                        let mut number = rng.below(CALLS);
                        if (1..=4).contains(&number) && rng.chance(800) {
                            number = 0;
                        }
                        call(&mut stand, number, &mut rng);
                    }
                }
            }
        };
        if std::panic::catch_unwind(walk).is_err() {
            panic!("failed with OXTCP_SEED={seed}");
        }
    }
}
