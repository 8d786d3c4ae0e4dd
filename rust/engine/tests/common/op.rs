// SPDX-License-Identifier: GPL-2.0
//! What can happen to a connection, as one enum: the property tests draw it, the fuzzer writes it in bytes, and the model
//! checker takes its steps from it. Numbers of segments are relative to the state of the connection that meets them, so
//! that most of what is drawn at random is plausible.

use oxtcp_engine::context::Linger2;
use oxtcp_engine::{Duration, Refusal, SocketOptions};
use std::num::{NonZeroU16, NonZeroU32, NonZeroU8};

/// One of two ends. A single connection is `A`.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Side {
    A,
    B,
}

impl Side {
    pub const BOTH: [Side; 2] = [Side::A, Side::B];

    pub fn other(self) -> Side {
        match self {
            Side::A => Side::B,
            Side::B => Side::A,
        }
    }

    pub fn index(self) -> usize {
        self as usize
    }
}

/// A segment by choices, which `lone.rs` makes numbers of.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Fields {
    pub flags: u8,
    /// Upper two bits: from where; the rest: which of [`STEPS`].
    pub seq: u8,
    pub ack: u8,
    /// Which of [`LENGTHS`].
    pub len: u8,
    /// Which of [`WINDOWS`].
    pub window: u8,
    pub options: u8,
    /// Two nibbles, added to the sequence and to the acknowledgment number.
    pub fine: u8,
}

/// Distances: the edges of segments, of windows, and of the circle.
pub const STEPS: [i64; 32] = [
    0,
    0,
    0,
    0,
    1,
    -1,
    2,
    -2,
    48,
    100,
    -100,
    500,
    -500,
    988,
    -988,
    1_000,
    -1_000,
    1_976,
    2_000,
    -2_000,
    3_000,
    5_000,
    10_000,
    -10_000,
    19_999,
    -65_535,
    65_535,
    1 << 20,
    1 << 30,
    -(1 << 30),
    (1 << 31) - 1,
    1 << 31,
];

pub const LENGTHS: [u32; 16] = [
    0,
    0,
    0,
    1,
    2,
    48,
    100,
    500,
    988,
    1_000,
    1_460,
    2_000,
    5_000,
    20_000,
    64_000,
    1 << 20,
];

pub const WINDOWS: [u16; 16] = [
    0,
    1,
    7,
    48,
    100,
    500,
    1_000,
    4_000,
    8_000,
    8_000,
    8_000,
    16_000,
    30_000,
    u16::MAX - 1,
    u16::MAX,
    u16::MAX,
];

#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Switch {
    Nodelay,
    Cork,
    More,
}

/// Something that happens. Fields with `side` happen at that end.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Op {
    /// A segment arrives, out of nowhere.
    Segment(Fields),
    Write {
        side: Side,
        len: u16,
    },
    Read {
        side: Side,
        len: u16,
    },
    Shutdown {
        side: Side,
    },
    /// Rude: whether or not the peer has more to say.
    Close {
        side: Side,
        rude: bool,
    },
    Abort {
        side: Side,
    },
    Switch {
        side: Side,
        what: Switch,
        on: bool,
    },
    /// All socket options anew; see [`options`].
    Options {
        side: Side,
        which: u8,
        value: u8,
    },
    /// The receive buffer gets another size.
    Buffer {
        side: Side,
        len: u16,
    },
    PathMss {
        side: Side,
        mss: u16,
    },
    /// An ICMP error; it quotes the number `at` behind SND.UNA.
    Unreachable {
        side: Side,
        hard: bool,
        at: u16,
    },
    /// Time passes, and timers fire on the way; see [`wait`].
    Wait {
        scale: u8,
        fine: u8,
    },
    /// Time passes until the next timer fires.
    Expire,
    /// The largest burst from now on.
    Burst {
        side: Side,
        limit: u16,
    },
    /// The queues below are full, or not any more.
    Hold {
        side: Side,
        on: bool,
    },
    /// The layers below refuse the `after`th segment from now; `share` of its segments leave.
    Refuse {
        side: Side,
        why: u8,
        after: u8,
        share: u8,
    },
    /// Whether there is memory for what is in flight, for out-of-order ranges, and how much for payload.
    Memory {
        side: Side,
        flight: bool,
        reassembly: bool,
        room: u16,
    },
    /// The memory for what is in flight is taken away.
    Forget {
        side: Side,
    },
    /// All that came out of order is thrown away, although it was reported.
    Renege {
        side: Side,
    },
    /// The `at`th packet on the way arrives; from the second on, that is reordering.
    Deliver {
        to: Side,
        at: u8,
    },
    Drop {
        to: Side,
        at: u8,
    },
    Duplicate {
        to: Side,
        at: u8,
    },
    /// One bit of a packet is turned.
    Corrupt {
        to: Side,
        at: u8,
        bit: u16,
    },
}

/// Bytes of an [`Op`].
pub const OP_LEN: usize = 8;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Segment,
    Write,
    Read,
    Shutdown,
    Close,
    Abort,
    Switch,
    Options,
    Buffer,
    PathMss,
    Unreachable,
    Wait,
    Expire,
    Burst,
    Hold,
    Refuse,
    Memory,
    Forget,
    Renege,
    Deliver,
    Drop,
    Duplicate,
    Corrupt,
}

/// Which operations make sense: for one connection against arbitrary segments, or for two ends and a channel.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Shape {
    Lone,
    Duo,
}

impl Shape {
    /// A first byte's meaning: how often a kind stands here is how often chance draws it.
    const fn kinds(self) -> &'static [Kind; 32] {
        use Kind::*;
        match self {
            Shape::Lone => &[
                Segment,
                Segment,
                Segment,
                Segment,
                Segment,
                Segment,
                Segment,
                Segment,
                Segment,
                Segment,
                Write,
                Write,
                Write,
                Read,
                Read,
                Shutdown,
                Close,
                Abort,
                Switch,
                Options,
                Buffer,
                PathMss,
                Unreachable,
                Wait,
                Wait,
                Expire,
                Expire,
                Burst,
                Refuse,
                Memory,
                Forget,
                Renege,
            ],
            Shape::Duo => &[
                Deliver,
                Deliver,
                Deliver,
                Deliver,
                Deliver,
                Deliver,
                Deliver,
                Deliver,
                Drop,
                Drop,
                Duplicate,
                Corrupt,
                Write,
                Write,
                Write,
                Read,
                Shutdown,
                Close,
                Abort,
                Switch,
                Options,
                Buffer,
                PathMss,
                Unreachable,
                Wait,
                Expire,
                Expire,
                Hold,
                Refuse,
                Memory,
                Forget,
                Renege,
            ],
        }
    }
}

impl Op {
    pub fn from_bytes(shape: Shape, bytes: [u8; OP_LEN]) -> Op {
        let [tag, b1, b2, b3, b4, b5, b6, b7] = bytes;
        let side = match b1 & 1 {
            0 => Side::A,
            _ => Side::B,
        };
        let flag = b1 & 2 != 0;
        let word = u16::from_le_bytes([b2, b3]);
        match shape.kinds()[usize::from(tag % 32)] {
            Kind::Segment => Op::Segment(Fields {
                flags: b1,
                seq: b2,
                ack: b3,
                len: b4,
                window: b5,
                options: b6,
                fine: b7,
            }),
            Kind::Write => Op::Write { side, len: word },
            Kind::Read => Op::Read { side, len: word },
            Kind::Shutdown => Op::Shutdown { side },
            Kind::Close => Op::Close { side, rude: flag },
            Kind::Abort => Op::Abort { side },
            Kind::Switch => {
                let what = match b2 % 3 {
                    0 => Switch::Nodelay,
                    1 => Switch::Cork,
                    _ => Switch::More,
                };
                Op::Switch {
                    side,
                    what,
                    on: flag,
                }
            }
            Kind::Options => Op::Options {
                side,
                which: b2,
                value: b3,
            },
            Kind::Buffer => Op::Buffer { side, len: word },
            Kind::PathMss => Op::PathMss { side, mss: word },
            Kind::Unreachable => Op::Unreachable {
                side,
                hard: flag,
                at: word,
            },
            Kind::Wait => Op::Wait {
                scale: b2,
                fine: b3,
            },
            Kind::Expire => Op::Expire,
            Kind::Burst => Op::Burst { side, limit: word },
            Kind::Hold => Op::Hold { side, on: flag },
            Kind::Refuse => Op::Refuse {
                side,
                why: b2,
                after: b3,
                share: b4,
            },
            Kind::Memory => Op::Memory {
                side,
                flight: flag,
                reassembly: b1 & 4 != 0,
                room: word,
            },
            Kind::Forget => Op::Forget { side },
            Kind::Renege => Op::Renege { side },
            Kind::Deliver => Op::Deliver { to: side, at: b2 },
            Kind::Drop => Op::Drop { to: side, at: b2 },
            Kind::Duplicate => Op::Duplicate { to: side, at: b2 },
            Kind::Corrupt => Op::Corrupt {
                to: side,
                at: b4,
                bit: word,
            },
        }
    }

    fn kind(self) -> Kind {
        match self {
            Op::Segment(_) => Kind::Segment,
            Op::Write { .. } => Kind::Write,
            Op::Read { .. } => Kind::Read,
            Op::Shutdown { .. } => Kind::Shutdown,
            Op::Close { .. } => Kind::Close,
            Op::Abort { .. } => Kind::Abort,
            Op::Switch { .. } => Kind::Switch,
            Op::Options { .. } => Kind::Options,
            Op::Buffer { .. } => Kind::Buffer,
            Op::PathMss { .. } => Kind::PathMss,
            Op::Unreachable { .. } => Kind::Unreachable,
            Op::Wait { .. } => Kind::Wait,
            Op::Expire => Kind::Expire,
            Op::Burst { .. } => Kind::Burst,
            Op::Hold { .. } => Kind::Hold,
            Op::Refuse { .. } => Kind::Refuse,
            Op::Memory { .. } => Kind::Memory,
            Op::Forget { .. } => Kind::Forget,
            Op::Renege { .. } => Kind::Renege,
            Op::Deliver { .. } => Kind::Deliver,
            Op::Drop { .. } => Kind::Drop,
            Op::Duplicate { .. } => Kind::Duplicate,
            Op::Corrupt { .. } => Kind::Corrupt,
        }
    }

    /// What [`from_bytes`](Op::from_bytes) reads as this operation; `None` for one that the shape does not have.
    pub fn to_bytes(self, shape: Shape) -> Option<[u8; OP_LEN]> {
        let kind = self.kind();
        let tag = shape.kinds().iter().position(|have| *have == kind)? as u8;
        let mut bytes = [tag, 0, 0, 0, 0, 0, 0, 0];
        let mut put = |side: Side, flag: bool, word: u16| {
            bytes[1] = side as u8 | (u8::from(flag) << 1);
            bytes[2..4].copy_from_slice(&word.to_le_bytes());
        };
        match self {
            Op::Segment(f) => {
                return Some([
                    tag, f.flags, f.seq, f.ack, f.len, f.window, f.options, f.fine,
                ])
            }
            Op::Write { side, len } | Op::Read { side, len } | Op::Buffer { side, len } => {
                put(side, false, len)
            }
            Op::Shutdown { side }
            | Op::Abort { side }
            | Op::Forget { side }
            | Op::Renege { side } => put(side, false, 0),
            Op::Close { side, rude } => put(side, rude, 0),
            Op::Switch { side, what, on } => put(side, on, what as u16),
            Op::Options { side, which, value } => {
                put(side, false, u16::from_le_bytes([which, value]))
            }
            Op::PathMss { side, mss } => put(side, false, mss),
            Op::Unreachable { side, hard, at } => put(side, hard, at),
            Op::Wait { scale, fine } => put(Side::A, false, u16::from_le_bytes([scale, fine])),
            Op::Expire => {}
            Op::Burst { side, limit } => put(side, false, limit),
            Op::Hold { side, on } => put(side, on, 0),
            Op::Refuse {
                side,
                why,
                after,
                share,
            } => {
                put(side, false, u16::from_le_bytes([why, after]));
                bytes[4] = share;
            }
            Op::Memory {
                side,
                flight,
                reassembly,
                room,
            } => {
                put(side, flight, room);
                bytes[1] |= u8::from(reassembly) << 2;
            }
            Op::Deliver { to, at } | Op::Drop { to, at } | Op::Duplicate { to, at } => {
                put(to, false, u16::from(at))
            }
            Op::Corrupt { to, at, bit } => {
                put(to, false, bit);
                bytes[4] = at;
            }
        }
        Some(bytes)
    }

    /// The operations behind the first [`OP_LEN`] bytes, which are the set-up; at most `most`.
    pub fn read_all(shape: Shape, bytes: &[u8], most: usize) -> impl Iterator<Item = Op> + '_ {
        bytes
            .get(OP_LEN..)
            .unwrap_or(&[])
            .chunks(OP_LEN)
            .take(most)
            .map(move |chunk| Op::from_bytes(shape, padded(chunk)))
    }
}

/// The first bytes, and zeros where there are not enough.
pub fn padded(bytes: &[u8]) -> [u8; OP_LEN] {
    let mut out = [0; OP_LEN];
    let len = bytes.len().min(OP_LEN);
    out[..len].copy_from_slice(&bytes[..len]);
    out
}

/// From nothing over microseconds to an hour; the longer waits find every timer.
pub fn wait(scale: u8, fine: u8) -> Duration {
    let micros = match scale % 32 {
        0 => 0,
        scale => 1u64 << scale,
    };
    Duration::from_micros(micros + micros * u64::from(fine) / 256)
}

pub fn refusal(why: u8) -> Refusal {
    match why % 4 {
        0 => Refusal::Congested,
        1 => Refusal::Dropped,
        2 => Refusal::NoMemory,
        _ => Refusal::Failed,
    }
}

/// Options from two bytes: which are set, and how small their values are.
pub fn options(which: u8, value: u8) -> SocketOptions {
    let set = |bit: u8| which & (1 << bit) != 0;
    let seconds = u16::from(value & 15) + 1;
    SocketOptions {
        user_timeout: NonZeroU32::new(u32::from(value) * 50).filter(|_| set(0)),
        keepalive: set(1),
        keepidle: NonZeroU16::new(seconds).filter(|_| set(1)),
        keepintvl: NonZeroU16::new(seconds).filter(|_| set(2)),
        keepcnt: NonZeroU8::new(value >> 4).filter(|_| set(2)),
        max_seg: NonZeroU16::new(u16::from(value) * 8).filter(|_| set(3)),
        linger2: match (set(4), NonZeroU8::new(value % 121)) {
            (true, Some(seconds)) => Linger2::Seconds(seconds),
            (true, None) => Linger2::Skip,
            _ => Linger2::Default,
        },
        syn_retries: NonZeroU8::new(value & 7).filter(|_| set(5)),
        nodelay: set(6),
        cork: set(7),
        ..SocketOptions::default()
    }
}
