// SPDX-License-Identifier: GPL-2.0
//! One connection, in any state, against arbitrary segments, calls, refusals and times.

use super::driver::Driver;
use super::op::{self, Fields, Op, Shape, LENGTHS, OP_LEN, STEPS, WINDOWS};
use super::stand::{Stand, Way, IRS, PEER_TS, RECV_SPACE};
use oxtcp_engine::congestion::Algorithm;
use oxtcp_engine::wire::{Flags, Header, Options, SackBlocks, Timestamps, WindowScale};
use oxtcp_engine::{Config, Context, Instant, Segment, SeqNum, SeqRange, State, Transmit};

/// A run is at most so many operations long.
pub const MOST_OPS: usize = 200;

/// The connection and the clock.
#[derive(Clone)]
pub struct Lone {
    pub driver: Driver,
    config: Config,
    now: Instant,
    start: Instant,
    trace: bool,
}

/// What is chosen before anything happens.
#[derive(Clone, Copy, Debug)]
pub struct Setup {
    pub way: Way,
    pub stamps: bool,
    pub sack: bool,
    pub dsack: bool,
    pub reno: bool,
    /// Smaller times and counts, so that a few operations reach the end.
    pub hasty: bool,
}

impl Setup {
    pub fn from_bytes([way, bits, ..]: [u8; OP_LEN]) -> Self {
        Setup {
            way: Way::ALL[usize::from(way) % Way::ALL.len()],
            stamps: bits & 1 == 0,
            sack: bits & 2 == 0,
            dsack: bits & 4 == 0,
            reno: bits & 8 != 0,
            hasty: bits & 16 != 0,
        }
    }

    pub fn to_bytes(self) -> [u8; OP_LEN] {
        let way = Way::ALL.iter().position(|way| *way == self.way);
        let bits = u8::from(!self.stamps)
            | (u8::from(!self.sack) << 1)
            | (u8::from(!self.dsack) << 2)
            | (u8::from(self.reno) << 3)
            | (u8::from(self.hasty) << 4);
        [way.unwrap_or(0) as u8, bits, 0, 0, 0, 0, 0, 0]
    }
}

/// What the fuzzer runs: the set-up and operations, [`OP_LEN`] bytes each.
pub fn run(bytes: &[u8]) {
    let mut lone = Lone::new(Setup::from_bytes(op::padded(bytes)));
    let mut left_after_death = 3;
    for op in Op::read_all(Shape::Lone, bytes, MOST_OPS) {
        lone.step(&op);
        if lone.driver.conn.state() == State::Closed {
            left_after_death -= 1;
            if left_after_death == 0 {
                break;
            }
        }
    }
}

impl Lone {
    pub fn new(setup: Setup) -> Self {
        let stand = Stand::new(setup.way, setup.stamps, setup.sack);
        let mut config = Config {
            dsack: setup.dsack,
            mtu_probing: 1,
            ..stand.config
        };
        if setup.reno {
            config.congestion_control = Algorithm::NewReno;
            config.mtu_probing = 2;
            config.base_mss = 100;
            config.initial_cwnd = 20;
        }
        if setup.hasty {
            config.retries2 = 3;
            config.orphan_retries = 2;
            config.syn_retries = 1;
            config.syn_linear_timeouts = 0;
            config.initial_cwnd = 2;
        }
        let driver = Driver::new(stand.conn, RECV_SPACE)
            .with_memory(stand.flight.peek().cloned(), stand.reassembly);
        Lone {
            driver,
            config,
            now: stand.now,
            start: stand.now,
            trace: std::env::var_os("OXTCP_TRACE").is_some(),
        }
    }

    /// One operation; what it makes the connection send.
    pub fn step(&mut self, op: &Op) -> Vec<Transmit> {
        if self.trace {
            eprintln!("{:>12} {op:?}", self.now.as_micros());
        }
        let config = self.config;
        let mut cx = Context::new(self.now, &config);
        let mut sent = Vec::new();
        match *op {
            Op::Segment(fields) => {
                let segment = self.segment(fields);
                if self.trace {
                    eprintln!("  {segment:?}");
                }
                self.driver.on_segment(&cx, &segment);
            }
            Op::Wait { scale, fine } => {
                let end = self.now + op::wait(scale, fine);
                // More timers than that are keepalives for ever.
                for _ in 0..50 {
                    let due = self.driver.conn.poll_timeout();
                    let Some(at) = due.filter(|at| *at <= end) else {
                        break;
                    };
                    cx.now = cx.now.max(at);
                    self.driver.tick(&cx);
                    sent.extend(self.driver.settle(&cx));
                }
                cx.now = cx.now.max(end);
                self.driver.tick(&cx);
            }
            Op::Expire => {
                if let Some(at) = self.driver.conn.poll_timeout() {
                    cx.now = cx.now.max(at);
                    self.driver.tick(&cx);
                }
            }
            _ => {
                self.driver.apply(&cx, op);
            }
        }
        self.now = cx.now;
        sent.extend(self.driver.settle(&cx));
        if self.trace {
            for transmit in &sent {
                eprintln!("  -> {transmit:?}");
            }
            eprintln!("  {:?}", self.driver.conn);
        }
        sent
    }

    /// The segment that the choices mean now.
    fn segment(&self, fields: Fields) -> Segment {
        let conn = &self.driver.conn;
        let flags = Flags::from_bits(fields.flags);
        let ranges = &self.driver.reassembly;
        let seq = match fields.seq >> 6 {
            0 | 1 => conn.rcv_nxt(),
            2 => conn.rcv_nxt().add(conn.rcv_wnd()),
            _ => ranges.iter().next().map_or(IRS, |range| range.start),
        };
        let ack = match fields.ack >> 6 {
            0 | 1 => conn.snd_nxt(),
            2 => conn.snd_una(),
            _ => conn.write_seq(),
        };
        let payload_len = LENGTHS[usize::from(fields.len & 15)];
        Segment {
            header: Header {
                seq: moved(seq, fields.seq, fields.fine & 15),
                ack: moved(ack, fields.ack, fields.fine >> 4),
                flags,
                window: WINDOWS[usize::from(fields.window & 15)],
                options: self.options(fields, flags.syn()),
                ..Header::default()
            },
            payload_len,
            ecn: Default::default(),
        }
    }

    /// What the wire format can carry: on a SYN one set, elsewhere another.
    fn options(&self, fields: Fields, syn: bool) -> Options {
        let bits = fields.options;
        let conn = &self.driver.conn;
        let agreed = conn.negotiated().map(|agreed| agreed.timestamps);
        let elapsed = self.now.since(self.start).as_millis() as u32;
        let stamps = agreed.unwrap_or(true) != (bits & 1 != 0);
        let timestamps = stamps.then(|| Timestamps {
            val: PEER_TS.wrapping_add(elapsed).wrapping_add(
                [0, 1 << 20, 0u32.wrapping_sub(9), 1 << 31][usize::from((bits >> 1) & 3)],
            ),
            ecr: match bits & 8 {
                0 => self.now.timestamp_ms(77),
                _ => self.now.timestamp_ms(77).wrapping_sub(250),
            },
        });
        if syn {
            return Options {
                mss: [None, Some(1), Some(536), Some(1460)][usize::from((bits >> 4) & 3)],
                window_scale: [
                    None,
                    Some(WindowScale::new(0)),
                    Some(WindowScale::new(7)),
                    Some(WindowScale::MAX),
                ][usize::from((bits >> 6) & 3)],
                sack_permitted: bits & 8 == 0,
                timestamps,
                ..Options::default()
            };
        }
        let mut sack = SackBlocks::new();
        for index in 0..u32::from((bits >> 4) & 3) {
            // From what is in flight; at times reversed, or far away.
            let far = u32::from(fields.window >> 4);
            let near = index
                .wrapping_mul(1_976)
                .wrapping_add(far.wrapping_mul(988));
            let start = match (bits >> 6) & 3 {
                0 | 1 => conn.snd_una().add(near),
                2 => conn.snd_nxt().sub(near),
                _ => conn.snd_una().sub(near),
            };
            let len = match (fields.len >> 4) & 7 {
                0..=3 => 988,
                4 => 1,
                5 => 500,
                6 => 3_000,
                _ => u32::MAX,
            };
            sack.push(SeqRange::new(start, len));
        }
        Options {
            timestamps,
            sack,
            ..Options::default()
        }
    }
}

/// A number some way from where it was, by one of [`STEPS`] and a nibble.
fn moved(from: SeqNum, choice: u8, nibble: u8) -> SeqNum {
    let step = STEPS[usize::from(choice & 31)] as u32;
    let fine = match nibble {
        0..=7 => u32::from(nibble),
        _ => 0u32.wrapping_sub(u32::from(16 - nibble)),
    };
    from.add(step).add(fine)
}
