// SPDX-License-Identifier: GPL-2.0
//! Where the fuzzer begins: the scenarios of the other tests as operations. `fuzz/corpus` has them as files.

use super::lone::{self, Setup};
use super::op::{Fields, Op, Shape, Side, Switch};
use super::stand::Way;
use oxtcp_engine::wire::{Flags, Header, Options, SackBlocks, Timestamps, WindowScale};
use oxtcp_engine::{SeqNum, SeqRange};

const A: Side = Side::A;
const B: Side = Side::B;

/// Which of `lone.rs`'s lengths.
const NONE: u8 = 0;
const WHOLE: u8 = 9;
const MANY: u8 = 12;

/// Name and bytes of every seed of a target.
pub fn of(target: &str) -> Vec<(String, Vec<u8>)> {
    match target {
        "connection" => connection(),
        "conversation" => conversation(),
        "options" => options(),
        _ => Vec::new(),
    }
}

fn bytes(setup: [u8; 8], shape: Shape, ops: &[Op]) -> Vec<u8> {
    let mut out = setup.to_vec();
    for op in ops {
        out.extend(op.to_bytes(shape).expect("an operation of this shape"));
    }
    out
}

/// A segment at RCV.NXT that acknowledges all.
fn next(flags: Flags, len: u8) -> Op {
    Op::Segment(Fields {
        flags: flags.bits(),
        len,
        window: 8,
        ..Fields::default()
    })
}

/// One at a step from RCV.NXT.
fn ahead(step: u8, flags: Flags, len: u8) -> Op {
    Op::Segment(Fields {
        flags: flags.bits(),
        seq: step,
        len,
        window: 8,
        ..Fields::default()
    })
}

/// An acknowledgment of SND.UNA with so many SACK blocks.
fn report(blocks: u8) -> Op {
    Op::Segment(Fields {
        flags: Flags::ACK.bits(),
        ack: 2 << 6,
        window: 8 | (1 << 4),
        options: blocks << 4,
        ..Fields::default()
    })
}

fn connection() -> Vec<(String, Vec<u8>)> {
    let mut seeds = Vec::new();
    // Every state: data, an acknowledgment, FIN, the calls, and time.
    for way in Way::ALL {
        let setup = Setup {
            way,
            stamps: way as u8 % 2 == 0,
            sack: way as u8 % 3 != 0,
            dsack: true,
            reno: way as u8 % 4 == 3,
            hasty: false,
        };
        let ops = [
            Op::Write {
                side: A,
                len: 5_000,
            },
            next(Flags::ACK, WHOLE),
            ahead(15, Flags::ACK, WHOLE),
            next(Flags::ACK, WHOLE),
            Op::Read {
                side: A,
                len: 60_000,
            },
            Op::Expire,
            next(Flags::FIN_ACK, NONE),
            Op::Shutdown { side: A },
            next(Flags::ACK, NONE),
            Op::Expire,
        ];
        let bytes = bytes(setup.to_bytes(), Shape::Lone, &ops);
        seeds.push((format!("state-{way:?}").to_lowercase(), bytes));
    }
    let setup = lone::Setup {
        way: Way::Established,
        stamps: true,
        sack: true,
        dsack: true,
        reno: false,
        hasty: false,
    };
    let write = Op::Write {
        side: A,
        len: 20_000,
    };
    let refuse = |why| Op::Refuse {
        side: A,
        why,
        after: 1,
        share: 2,
    };
    let memory = |flight, reassembly, room| Op::Memory {
        side: A,
        flight,
        reassembly,
        room,
    };
    let cases: [(&str, Vec<Op>); 11] = [
        (
            "loss-sack",
            vec![
                write,
                report(1),
                report(2),
                report(3),
                Op::Expire,
                next(Flags::ACK, NONE),
            ],
        ),
        (
            "loss-tail",
            vec![
                write,
                Op::Expire,
                report(1),
                Op::Expire,
                Op::Expire,
                next(Flags::ACK, NONE),
            ],
        ),
        (
            "timeout",
            vec![
                write,
                Op::Expire,
                Op::Expire,
                report(0),
                Op::Expire,
                next(Flags::ACK, NONE),
            ],
        ),
        (
            "refused",
            vec![
                refuse(1),
                write,
                Op::Expire,
                refuse(2),
                Op::Expire,
                refuse(0),
                write,
            ],
        ),
        (
            "memory",
            vec![
                memory(false, false, 100),
                write,
                next(Flags::ACK, WHOLE),
                Op::Forget { side: A },
                Op::Expire,
            ],
        ),
        (
            "forget",
            vec![
                write,
                report(2),
                Op::Forget { side: A },
                Op::Expire,
                Op::Expire,
            ],
        ),
        (
            "renege",
            vec![
                ahead(15, Flags::ACK, WHOLE),
                ahead(18, Flags::ACK, WHOLE),
                Op::Renege { side: A },
                next(Flags::ACK, MANY),
            ],
        ),
        (
            "zero-window",
            vec![
                Op::Segment(Fields {
                    flags: 16,
                    ..Fields::default()
                }),
                write,
                Op::Expire,
                Op::Expire,
                next(Flags::ACK, NONE),
            ],
        ),
        (
            "cork",
            vec![
                Op::Switch {
                    side: A,
                    what: Switch::Cork,
                    on: true,
                },
                write,
                next(Flags::ACK, NONE),
                Op::Switch {
                    side: A,
                    what: Switch::Nodelay,
                    on: true,
                },
                Op::Expire,
            ],
        ),
        (
            "path",
            vec![
                write,
                Op::PathMss { side: A, mss: 500 },
                Op::Expire,
                Op::Unreachable {
                    side: A,
                    hard: true,
                    at: 0,
                },
                Op::Wait { scale: 30, fine: 0 },
            ],
        ),
        (
            "reset",
            vec![
                ahead(4, Flags::RST, NONE),
                ahead(0, Flags::SYN, NONE),
                next(Flags::RST, NONE),
            ],
        ),
    ];
    for (name, ops) in cases {
        let bytes = bytes(setup.to_bytes(), Shape::Lone, &ops);
        seeds.push((name.to_string(), bytes));
    }
    seeds
}

fn conversation() -> Vec<(String, Vec<u8>)> {
    let to = |to, at| Op::Deliver { to, at };
    let open = [to(B, 0), to(A, 0), to(B, 0)];
    let write = |side, len| Op::Write { side, len };
    let end = |side| Op::Shutdown { side };
    let cases: [(&str, [u8; 8], Vec<Op>); 12] = [
        ("quiet", [0; 8], vec![]),
        (
            "data",
            [0; 8],
            vec![
                write(A, 10_000),
                write(B, 3_000),
                to(B, 0),
                to(A, 0),
                end(A),
                end(B),
            ],
        ),
        (
            "plain",
            [0xff, 0, 5, 0, 0, 0, 0, 0],
            vec![write(A, 6_000), to(B, 0), to(B, 3), Op::Expire],
        ),
        (
            "reorder",
            [0; 8],
            vec![
                write(A, 16_000),
                to(B, 9),
                to(B, 5),
                to(A, 0),
                to(B, 0),
                to(A, 1),
            ],
        ),
        (
            "loss",
            [0; 8],
            vec![
                write(A, 16_000),
                Op::Drop { to: B, at: 0 },
                Op::Drop { to: B, at: 3 },
                to(B, 2),
                to(B, 2),
                to(A, 0),
                to(A, 0),
                Op::Expire,
            ],
        ),
        (
            "duplicate",
            [0; 8],
            vec![
                write(A, 3_000),
                Op::Duplicate { to: B, at: 1 },
                to(B, 1),
                to(B, 1),
                to(A, 1),
                Op::Expire,
            ],
        ),
        (
            "corrupt",
            [0; 8],
            vec![
                write(B, 3_000),
                Op::Corrupt {
                    to: A,
                    at: 0,
                    bit: 77,
                },
                to(A, 0),
                to(A, 0),
                Op::Expire,
            ],
        ),
        (
            "simultaneous-open",
            [0, 1, 0, 0, 0, 0, 0, 0],
            vec![
                write(A, 700),
                Op::Drop { to: A, at: 0 },
                Op::Expire,
                to(A, 0),
            ],
        ),
        (
            "simultaneous-close",
            [0; 8],
            vec![end(A), end(B), to(A, 0), to(B, 0), Op::Expire],
        ),
        (
            "small-buffer",
            [0, 0, 0, 0xf, 0, 0, 0, 0],
            vec![
                write(A, 16_000),
                to(B, 0),
                to(B, 0),
                Op::Expire,
                Op::Read { side: B, len: 500 },
            ],
        ),
        (
            "held",
            [0; 8],
            vec![
                write(A, 2_000),
                Op::Hold { side: A, on: true },
                write(A, 9_000),
                to(B, 0),
                Op::Expire,
                Op::Hold { side: A, on: false },
            ],
        ),
        (
            "scarce",
            [0; 8],
            vec![
                Op::Memory {
                    side: A,
                    flight: false,
                    reassembly: true,
                    room: 0xffff,
                },
                Op::Memory {
                    side: B,
                    flight: true,
                    reassembly: false,
                    room: 2_000,
                },
                write(A, 12_000),
                Op::Drop { to: B, at: 0 },
                to(B, 1),
                Op::Refuse {
                    side: A,
                    why: 1,
                    after: 0,
                    share: 1,
                },
                Op::Expire,
                Op::Renege { side: B },
            ],
        ),
    ];
    cases
        .into_iter()
        .map(|(name, setup, ops)| {
            let mut all = open.to_vec();
            all.extend(ops);
            (name.to_string(), bytes(setup, Shape::Duo, &all))
        })
        .collect()
}

/// Headers as they are on the wire, and what is wrong with some.
fn options() -> Vec<(String, Vec<u8>)> {
    let mut sack = SackBlocks::new();
    for start in [1_000, u32::MAX - 5, 0] {
        sack.push(SeqRange::new(SeqNum::new(start), 1_460));
    }
    let syn = Options {
        mss: Some(1460),
        window_scale: Some(WindowScale::new(7)),
        sack_permitted: true,
        timestamps: Some(Timestamps { val: 1, ecr: 0 }),
        ..Options::default()
    };
    let stamps = Options {
        timestamps: syn.timestamps,
        ..Options::default()
    };
    let sets = [
        ("syn", Flags::SYN, syn),
        ("ack", Flags::ACK, stamps),
        ("sack", Flags::ACK, Options { sack, ..stamps }),
        (
            "sack-alone",
            Flags::ACK,
            Options {
                sack,
                ..Options::default()
            },
        ),
        ("bare", Flags::FIN_ACK, Options::default()),
    ];
    let mut seeds = Vec::new();
    for (name, flags, options) in sets {
        let mut bytes = [0; 60];
        let header = Header {
            flags,
            options,
            ..Header::default()
        };
        let len = header.emit(&mut bytes);
        seeds.push((format!("header-{name}"), bytes[..len].to_vec()));
        if len > 20 {
            seeds.push((name.to_string(), bytes[20..len].to_vec()));
            seeds.push((format!("cut-{name}"), bytes[20..len - 3].to_vec()));
        }
    }
    seeds.push((
        "windows".into(),
        vec![2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2],
    ));
    seeds.push(("unknown".into(), vec![254, 4, 9, 9, 19, 3, 9, 2, 4, 0, 100]));
    seeds.push(("no-length".into(), vec![1, 1, 2]));
    seeds.push(("zero-length".into(), vec![2, 0, 5, 0xb4, 3, 1]));
    seeds
}
