// SPDX-License-Identifier: GPL-2.0
//! Two ends and a channel that does what a script says: deliver, drop, duplicate, reorder, corrupt, wait. When the script is
//! over the channel is reliable, and then all data must have arrived, and both ends must come to their end.

use super::driver::Driver;
use super::op::{self, Op, Shape, Side, OP_LEN};
use super::packet;
use super::rng::content;
use oxtcp_engine::congestion::Algorithm;
use oxtcp_engine::listen::{self, ListenVerdict};
use oxtcp_engine::reply;
use oxtcp_engine::request::{Request, RequestOpen, RequestTimer, RequestVerdict};
use oxtcp_engine::time_wait::{TimeWait, TimeWaitVerdict};
use oxtcp_engine::{
    ActiveOpen, Config, Connection, Context, Duration, Error, Instant, PassiveOpen, Segment,
    SeqNum, State, Transmit,
};

/// A run is at most so many operations long.
pub const MOST_OPS: usize = 200;

/// Each side writes at most so much: a run stays short.
const MOST_BYTES: u64 = 16_000;

/// Packets on their way in one direction; more are lost.
const CAPACITY: usize = 64;

/// Between two packets of the reliable channel. With none, what only a timer repairs is never repaired.
const LATENCY: Duration = Duration::from_micros(10);

/// When the script took longer, somebody may have given up.
const PATIENCE: Duration = Duration::from_secs(20);

/// What is chosen before anything happens.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setup {
    /// Both connect; else A does, and B listens.
    pub simultaneous: bool,
    pub stamps: [bool; 2],
    pub sack: [bool; 2],
    pub scaling: [bool; 2],
    pub reno: bool,
    pub mss: [u16; 2],
    pub buffer: [u16; 2],
    pub burst: [u16; 2],
}

impl Setup {
    pub fn from_bytes([bits, more, mss, buffer, burst, ..]: [u8; OP_LEN]) -> Self {
        let has = |bit: u8| bits & (1 << bit) == 0;
        let pick = |from: [u16; 4], byte: u8| {
            [
                from[usize::from(byte & 3)],
                from[usize::from((byte >> 2) & 3)],
            ]
        };
        Setup {
            simultaneous: more & 1 != 0,
            stamps: [has(0), has(1)],
            sack: [has(2), has(3)],
            scaling: [has(4), has(5)],
            reno: more & 2 != 0,
            mss: pick([1460, 536, 100, 8960], mss),
            buffer: pick([20_000, 65_535, 5_000, 1_500], buffer),
            burst: pick([65_000, 3_000, 1, 10_000], burst),
        }
    }
}

impl Default for Setup {
    fn default() -> Self {
        Setup::from_bytes([0; OP_LEN])
    }
}

/// What stands at an end.
#[derive(Clone, Debug)]
#[allow(clippy::large_enum_variant)]
pub enum Slot {
    Listening,
    Half(Request, Instant),
    Open(Driver),
    Waiting(TimeWait, Instant),
    Done,
}

#[derive(Clone, Debug)]
pub struct End {
    side: Side,
    config: Config,
    mss: u16,
    buffer: u16,
    burst: u16,
    pub slot: Slot,
    /// Bytes written and received by the connection that is gone.
    pub written: u64,
    pub received: u64,
    pub end_of_file: bool,
    pub error: Option<Error>,
}

/// Two ends, what is on its way to each, and the clock.
#[derive(Clone, Debug)]
pub struct Duo {
    pub ends: [End; 2],
    pub wires: [Vec<Vec<u8>>; 2],
    pub now: Instant,
    start: Instant,
    /// Something has happened after which data may be lost or a side may end with an error.
    pub excused: bool,
    trace: bool,
}

/// Initial sequence numbers: both wrap within the first kilobytes.
fn iss(side: Side) -> SeqNum {
    SeqNum::new(u32::MAX - [1_500, 700][side.index()])
}

/// What the fuzzer runs: the set-up and operations, [`OP_LEN`] bytes each, then a reliable channel.
pub fn run(bytes: &[u8]) {
    let mut duo = Duo::new(Setup::from_bytes(op::padded(bytes)));
    for op in Op::read_all(Shape::Duo, bytes, MOST_OPS) {
        duo.step(&op);
    }
    duo.finish();
}

impl Duo {
    pub fn new(setup: Setup) -> Self {
        let now = Instant::from_secs(50_000);
        let end = |side: Side| {
            let of = side.index();
            let mut config = Config {
                timestamps: setup.stamps[of],
                sack: setup.sack[of],
                window_scaling: setup.scaling[of],
                ..Config::default()
            };
            if setup.reno {
                config.congestion_control = Algorithm::NewReno;
            }
            // The search for the path's MTU, in a window that has room for it.
            if setup.reno && setup.sack[of] {
                config.mtu_probing = 2;
                config.base_mss = 100;
                config.initial_cwnd = 20;
            } else {
                config.mtu_probing = 1;
            }
            End {
                side,
                config,
                mss: setup.mss[of],
                buffer: setup.buffer[of],
                burst: setup.burst[of],
                slot: Slot::Listening,
                written: 0,
                received: 0,
                end_of_file: false,
                error: None,
            }
        };
        let mut duo = Duo {
            ends: [end(Side::A), end(Side::B)],
            wires: [Vec::new(), Vec::new()],
            now,
            start: now,
            excused: false,
            trace: std::env::var_os("OXTCP_TRACE").is_some(),
        };
        duo.connect(Side::A);
        if setup.simultaneous {
            duo.connect(Side::B);
        }
        duo
    }

    fn connect(&mut self, side: Side) {
        let now = self.now;
        let sent = self.ends[side.index()].connect(now);
        self.send(side, sent);
    }

    fn send(&mut self, from: Side, packets: Vec<Vec<u8>>) {
        if self.trace {
            for bytes in &packets {
                eprintln!(
                    "{:>12} {from:?} sends {}",
                    self.now.as_micros(),
                    told(bytes)
                );
            }
        }
        let wire = &mut self.wires[from.other().index()];
        let room = CAPACITY.saturating_sub(wire.len());
        wire.extend(packets.into_iter().take(room));
    }

    /// One operation.
    pub fn step(&mut self, op: &Op) {
        if self.trace {
            eprintln!("{:>12} {op:?}", self.now.as_micros());
        }
        match *op {
            Op::Deliver { to, at } => {
                if let Some(at) = self.choose(to, at) {
                    let bytes = self.wires[to.index()].remove(at);
                    self.arrive(to, &bytes);
                }
            }
            Op::Drop { to, at } => {
                if let Some(at) = self.choose(to, at) {
                    self.wires[to.index()].remove(at);
                }
            }
            Op::Duplicate { to, at } => {
                if let Some(at) = self.choose(to, at) {
                    let wire = &mut self.wires[to.index()];
                    if wire.len() < CAPACITY {
                        wire.push(wire[at].clone());
                    }
                }
            }
            Op::Corrupt { to, at, bit } => {
                if let Some(at) = self.choose(to, at) {
                    let bytes = &mut self.wires[to.index()][at];
                    let bit = usize::from(bit) % (bytes.len() * 8);
                    // Two of them can make up for each other in the checksum.
                    if packet::read(bytes).is_some() {
                        bytes[bit / 8] ^= 1 << (bit % 8);
                    }
                }
            }
            Op::Wait { scale, fine } => {
                let end = self.now + op::wait(scale, fine);
                for _ in 0..50 {
                    if self.deadline().is_none_or(|at| at > end) {
                        break;
                    }
                    self.expire();
                }
                self.now = self.now.max(end);
                self.tick();
            }
            Op::Expire => self.expire(),
            Op::Segment(_) => {}
            Op::Write { side, .. }
            | Op::Read { side, .. }
            | Op::Shutdown { side }
            | Op::Close { side, .. }
            | Op::Abort { side }
            | Op::Switch { side, .. }
            | Op::Options { side, .. }
            | Op::Buffer { side, .. }
            | Op::PathMss { side, .. }
            | Op::Unreachable { side, .. }
            | Op::Burst { side, .. }
            | Op::Hold { side, .. }
            | Op::Refuse { side, .. }
            | Op::Memory { side, .. }
            | Op::Forget { side }
            | Op::Renege { side } => self.call(side, op),
        }
    }

    fn choose(&self, to: Side, at: u8) -> Option<usize> {
        usize::from(at).checked_rem(self.wires[to.index()].len())
    }

    fn arrive(&mut self, to: Side, bytes: &[u8]) {
        if self.trace {
            eprintln!("{:>12} {to:?} gets {}", self.now.as_micros(), told(bytes));
        }
        let now = self.now;
        let sent = self.ends[to.index()].receive(now, bytes);
        self.send(to, sent);
    }

    /// The program's calls, and those of the layers below.
    fn call(&mut self, side: Side, op: &Op) {
        let now = self.now;
        let end = &mut self.ends[side.index()];
        let Slot::Open(driver) = &mut end.slot else {
            return;
        };
        let op = match *op {
            Op::Write { len, .. } => {
                let left = MOST_BYTES.saturating_sub(driver.written);
                let len = u64::from(len).min(left) as u16;
                Op::Write { side, len }
            }
            // A program that is polite reads to the end first.
            Op::Close { rude, .. } => match driver.end_of_file && driver.unread() == 0 {
                true => *op,
                false if rude => {
                    self.excused = true;
                    *op
                }
                false if driver.established => Op::Shutdown { side },
                false => return,
            },
            Op::Abort { .. } => {
                self.excused = true;
                *op
            }
            Op::Shutdown { .. } if !driver.established => return,
            // Time-outs of the program's, or by what the network says.
            Op::Options { .. } | Op::Unreachable { hard: true, .. } => {
                self.excused = true;
                *op
            }
            _ => *op,
        };
        let sent = end.drive(now, |driver, cx| {
            driver.apply(cx, &op);
        });
        self.send(side, sent);
    }

    pub fn deadline(&self) -> Option<Instant> {
        let [a, b] = [self.ends[0].deadline(), self.ends[1].deadline()];
        a.into_iter().chain(b).min()
    }

    /// The clock goes to the next deadline, and its timer fires.
    fn expire(&mut self) {
        if let Some(at) = self.deadline() {
            self.now = self.now.max(at);
            self.tick();
        }
    }

    fn tick(&mut self) {
        let now = self.now;
        for side in Side::BOTH {
            let end = &mut self.ends[side.index()];
            if end.deadline().is_some_and(|at| at <= now) {
                let sent = end.tick(now);
                self.send(side, sent);
            }
        }
    }

    /// From now on nothing is lost, and nothing is in the way: all data arrives, and both ends come to their end.
    pub fn finish(&mut self) {
        let late = self.now.since(self.start) > PATIENCE;
        let now = self.now;
        for side in Side::BOTH {
            let sent = self.ends[side.index()].drive(now, |driver, cx| driver.relent(cx));
            self.send(side, sent);
        }
        for step in 0.. {
            assert!(step < 20_000, "not done: {}", self.told());
            for side in Side::BOTH {
                self.finish_program(side);
            }
            if self.ends.iter().all(End::is_over) {
                break;
            }
            if let Some(to) = Side::BOTH
                .into_iter()
                .find(|to| !self.wires[to.index()].is_empty())
            {
                let bytes = self.wires[to.index()].remove(0);
                self.now += LATENCY;
                self.tick();
                self.arrive(to, &bytes);
            } else if self.deadline().is_some() {
                self.expire();
            } else {
                // One has given up while nothing came through, and the other waits for data: only a keepalive would tell.
                let lonely = (late || self.excused) && self.ends.iter().any(End::is_over);
                assert!(lonely, "nothing will ever happen again: {}", self.told());
                break;
            }
        }
        self.judge(late);
    }

    /// Reads all, and closes when there is no more.
    fn finish_program(&mut self, side: Side) {
        let now = self.now;
        let sent = self.ends[side.index()].drive(now, |driver, cx| {
            if driver.unread() > 0 {
                driver.read(cx, u32::MAX);
            }
            // In SYN-SENT it would be the end.
            if driver.established {
                driver.conn.shutdown_write(cx);
            }
            if driver.end_of_file && !driver.closed {
                driver.apply(cx, &Op::Close { side, rude: false });
            }
        });
        self.send(side, sent);
    }

    /// Both ends in words.
    fn told(&self) -> String {
        let end = |end: &End| {
            let slot = match &end.slot {
                Slot::Listening => "listening".to_string(),
                Slot::Half(request, _) => format!("{request:?}"),
                Slot::Open(driver) => format!("{:?}", driver.conn),
                Slot::Waiting(time_wait, _) => format!("{time_wait:?}"),
                Slot::Done => "done".to_string(),
            };
            format!(
                "{:?}: {slot}, wrote {}, received {}, end of file {}, error {:?}",
                end.side, end.written, end.received, end.end_of_file, end.error
            )
        };
        let [a, b] = &self.ends;
        format!("{:?}\n{}\n{}", self.now, end(a), end(b))
    }

    /// Whether what was to arrive has arrived.
    fn judge(&self, late: bool) {
        let [a, b] = &self.ends;
        let gave_up = late && self.ends.iter().any(|end| end.error.is_some());
        if self.excused || gave_up {
            return;
        }
        for end in &self.ends {
            // The other side's TIME-WAIT is over, or was never known: the last ACK is all that is missing.
            let last = matches!(
                end.error,
                Some(Error::TimedOut | Error::Reset | Error::ResetAfterFin)
            ) && end.end_of_file;
            let fine = end.error.is_none() || last;
            assert!(fine, "an error without a reason: {}", self.told());
        }
        assert_eq!(a.received, b.written, "{}", self.told());
        assert_eq!(b.received, a.written, "{}", self.told());
    }
}

impl End {
    fn connect(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let config = self.config;
        let cx = Context::new(now, &config);
        let open = ActiveOpen {
            iss: iss(self.side),
            ts_offset: u32::MAX - 50_000_100,
            advertised_mss: self.mss,
            path_mss: self.mss,
            recv_space: u32::from(self.buffer),
            recv_limit: 1 << 20,
            options: Default::default(),
        };
        self.open(Connection::connect(&cx, &open));
        self.drive(now, |_, _| {})
    }

    fn open(&mut self, conn: Connection) {
        let mut driver = Driver::new(conn, u32::from(self.buffer));
        driver.set_burst(self.burst);
        self.slot = Slot::Open(driver);
    }

    /// Does something with the connection, if there is one, and lets it send.
    fn drive(
        &mut self,
        now: Instant,
        call: impl FnOnce(&mut Driver, &Context<'_>),
    ) -> Vec<Vec<u8>> {
        let Slot::Open(driver) = &mut self.slot else {
            return Vec::new();
        };
        let cx = Context::new(now, &self.config);
        call(driver, &cx);
        let sent = driver.settle(&cx);
        let mut out = Vec::new();
        for transmit in sent {
            emit(self.side, &transmit, &mut out);
        }
        self.retire(now);
        out
    }

    /// A connection that is over leaves the socket, as in the kernel.
    fn retire(&mut self, now: Instant) {
        let Slot::Open(driver) = &mut self.slot else {
            return;
        };
        let cx = Context::new(now, &self.config);
        let state = driver.conn.state();
        self.written = driver.written;
        self.received = driver.received;
        self.end_of_file = driver.end_of_file;
        self.error = driver.conn.error();
        let done = driver.unread() == 0 && (driver.closed || self.error.is_some());
        match state {
            State::TimeWait if done => {
                if let Some(time_wait) = driver.conn.time_wait(&cx) {
                    self.slot = Slot::Waiting(time_wait, now + TimeWait::LENGTH);
                }
            }
            State::FinWait2 if done => {
                if let Some((kept, until)) = driver.conn.fin_wait_2(&cx) {
                    self.slot = Slot::Waiting(kept, until);
                }
            }
            State::Closed if done => self.slot = Slot::Done,
            _ => {}
        }
    }

    /// Nothing more is to be expected from this end.
    pub fn is_over(&self) -> bool {
        match &self.slot {
            Slot::Listening | Slot::Done => true,
            Slot::Waiting(time_wait, _) => !time_wait.awaits_fin(),
            Slot::Half(..) => false,
            Slot::Open(driver) => driver.conn.state() == State::Closed,
        }
    }

    fn deadline(&self) -> Option<Instant> {
        match &self.slot {
            Slot::Listening | Slot::Done => None,
            Slot::Half(_, at) | Slot::Waiting(_, at) => Some(*at),
            Slot::Open(driver) => driver.conn.poll_timeout(),
        }
    }

    fn tick(&mut self, now: Instant) -> Vec<Vec<u8>> {
        let config = self.config;
        let cx = Context::new(now, &config);
        let mut out = Vec::new();
        match &mut self.slot {
            Slot::Half(request, at) => match request.on_timer(&cx) {
                RequestTimer::Resend(transmit) => {
                    *at = now + request.next_timeout(&cx);
                    emit(self.side, &transmit, &mut out);
                }
                RequestTimer::Expire | RequestTimer::Wait => self.slot = Slot::Listening,
            },
            Slot::Waiting(..) => self.slot = Slot::Done,
            Slot::Open(_) => out = self.drive(now, |driver, cx| driver.tick(cx)),
            Slot::Listening | Slot::Done => {}
        }
        out
    }

    fn receive(&mut self, now: Instant, bytes: &[u8]) -> Vec<Vec<u8>> {
        let mut out = Vec::new();
        let Some((segment, payload)) = packet::read(bytes) else {
            return out;
        };
        let config = self.config;
        let cx = Context::new(now, &config);
        let side = self.side;
        match &mut self.slot {
            Slot::Listening => match listen::on_segment(&cx, &segment) {
                ListenVerdict::Syn => {
                    let open = RequestOpen {
                        iss: iss(side),
                        ts_offset: u32::MAX - 50_000_100,
                        advertised_mss: self.mss,
                        recv_space: u32::from(self.buffer),
                        recv_limit: 1 << 20,
                        signature: oxtcp_engine::wire::Signature::NONE,
                    };
                    let request = Request::new(&cx, &segment, &open);
                    emit(side, &request.syn_ack(&cx), &mut out);
                    self.slot = Slot::Half(request, now + request.next_timeout(&cx));
                }
                ListenVerdict::Reply(transmit) => emit(side, &transmit, &mut out),
                ListenVerdict::Ignore => {}
            },
            Slot::Half(request, _) => match request.on_segment(&cx, &segment) {
                RequestVerdict::Complete => {
                    let open = PassiveOpen {
                        path_mss: self.mss,
                        recv_space: u32::from(self.buffer),
                        options: Default::default(),
                    };
                    let conn = Connection::accept(&cx, request, &open);
                    self.open(conn);
                    out = self.take(now, &segment, payload);
                    if let Slot::Open(driver) = &self.slot {
                        assert_ne!(driver.conn.state(), State::SynReceived, "{segment:?}");
                    }
                }
                RequestVerdict::Resend(transmit) | RequestVerdict::Reply(transmit) => {
                    emit(side, &transmit, &mut out);
                }
                RequestVerdict::Drop => self.slot = Slot::Listening,
                RequestVerdict::Ignore => {}
            },
            Slot::Open(driver) if driver.conn.state() != State::Closed => {
                out = self.take(now, &segment, payload);
            }
            Slot::Waiting(time_wait, at) => match time_wait.on_segment(&cx, &segment) {
                TimeWaitVerdict::Ignore => {}
                TimeWaitVerdict::Ack(transmit) => emit(side, &transmit, &mut out),
                TimeWaitVerdict::Restart(transmit) => {
                    *at = now + TimeWait::LENGTH;
                    self.end_of_file = true;
                    emit(side, &transmit, &mut out);
                }
                TimeWaitVerdict::Reset(transmit) => {
                    emit(side, &transmit, &mut out);
                    self.slot = Slot::Done;
                }
                TimeWaitVerdict::Reopen { .. } | TimeWaitVerdict::Kill => self.slot = Slot::Done,
            },
            Slot::Open(_) | Slot::Done => {
                if let Some(reset) = reply::closed(&segment) {
                    emit(side, &reset, &mut out);
                }
            }
        }
        out
    }

    /// A segment for the connection: the bytes that it keeps are those of the peer's stream.
    fn take(&mut self, now: Instant, segment: &Segment, payload: &[u8]) -> Vec<Vec<u8>> {
        let peer = self.side.other();
        self.drive(now, |driver, cx| {
            let (skip, len) = driver.on_segment(cx, segment);
            if len == 0 {
                return;
            }
            let first = segment.payload().start.add(skip);
            let position = u64::from(iss(peer).add(1).distance_to(first));
            let expected = content(peer.index() as u64, position, len as usize);
            let have = &payload[skip as usize..(skip + len) as usize];
            assert!(have == expected, "other bytes at {position}");
        })
    }
}

fn emit(side: Side, transmit: &Transmit, out: &mut Vec<Vec<u8>>) {
    let range = transmit.payload;
    let bytes = match range.is_empty() {
        true => Vec::new(),
        false => {
            let position = u64::from(iss(side).add(1).distance_to(range.start));
            content(side.index() as u64, position, range.len as usize)
        }
    };
    out.extend(packet::cut(transmit, &bytes));
}

/// A packet in words.
fn told(bytes: &[u8]) -> String {
    match packet::read(bytes) {
        Some((segment, _)) => format!(
            "{:?} seq {} ack {} len {} win {} {:?}",
            segment.header.flags,
            segment.header.seq.get(),
            segment.header.ack.get(),
            segment.payload_len,
            segment.header.window,
            segment.header.options,
        ),
        None => "a spoiled packet".to_string(),
    }
}
