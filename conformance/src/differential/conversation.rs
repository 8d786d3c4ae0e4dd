// SPDX-License-Identifier: GPL-2.0

//! What a program, a peer and a lossy path do, as a seed has it.

use super::peer::{Offer, Peer};
use super::random::Random;
use super::{Entry, Record};
use crate::backend::{Backend, Outcome};
use crate::call::{OptionValue, SystemCall, Transfer};
use crate::run::{IpVersion, CONNECT_PORT, LOCAL_PORT};
use crate::script::Micros;
use crate::wire::{flag, Datagram, Segment};

/// Milliseconds between two steps: such that the sums of few are not those of others, nor Linux's time-outs.
const PAUSES: [i64; 12] = [0, 0, 0, 1, 3, 7, 13, 29, 53, 97, 331, 1709];
const STEPS: u32 = 60;
/// Milliseconds that are waited at the end for what still comes.
const REST: i64 = 7_000;
const MAX_WRITE: u32 = 20_000;

/// What is noted of a connection's state, as TCP_INFO has it.
pub const STATE: [&str; 10] = [
    "ca_state",
    "snd_cwnd",
    "snd_ssthresh",
    "rto",
    "rtt",
    "rttvar",
    "backoff",
    "ato",
    "rcv_mss",
    "rcv_ssthresh",
];

/// Half of them are over IPv6.
pub fn version(seed: u64) -> IpVersion {
    match seed % 2 {
        0 => IpVersion::V4,
        _ => IpVersion::V6,
    }
}

/// Holds the conversation of `seed` with a TCP, and returns what it did.
pub fn conversation(seed: u64, backend: &mut dyn Backend) -> Record {
    let mut random = Random::new(seed);
    let offer = Offer {
        mss: random.one_of(&[1460, 1460, 1000, 536]),
        scale: random.one_of(&[None, Some(0), Some(7), Some(7), Some(3)]),
        sack: random.percent(80),
        stamps: random.percent(70),
    };
    let active = random.percent(40);
    let ports = match active {
        true => (CONNECT_PORT, 0),
        false => (40_000, LOCAL_PORT),
    };
    let loss = random.one_of(&[0, 0, 5, 15, 40]);
    let mut talk = Talk {
        peer: Peer::new(offer, ports),
        backend,
        random,
        loss,
        now: 0,
        fd: None,
        over: false,
        record: Record {
            seed,
            entries: Vec::new(),
        },
    };
    talk.settings();
    let opened = match active {
        true => talk.connect(),
        false => talk.accept(),
    };
    if opened {
        for _ in 0..STEPS {
            if talk.over {
                break;
            }
            talk.step();
        }
    }
    talk.end();
    talk.record
}

struct Talk<'a> {
    peer: Peer,
    backend: &'a mut dyn Backend,
    random: Random,
    /// In a hundred.
    loss: u32,
    /// When the step is.
    now: Micros,
    fd: Option<i64>,
    /// There was a reset.
    over: bool,
    record: Record,
}

impl Talk<'_> {
    fn note(&mut self, at: Micros, done: bool, stamp: Option<u32>, text: String) {
        self.record.entries.push(Entry {
            at,
            done,
            stamp,
            text,
            state: Vec::new(),
        });
    }

    /// Notes what the TCP has come to with what was noted last.
    fn note_state(&mut self) {
        let Some(fd) = self.fd else { return };
        let told = STATE.map(|name| self.backend.info(fd, &format!("tcpi_{name}")).unwrap_or(-1));
        if let Some(last) = self.record.entries.last_mut() {
            last.state = told.to_vec();
        }
    }

    fn millis(&self) -> u32 {
        (self.now / 1000) as u32
    }

    /// Lets time pass, and takes what the TCP sends.
    fn pause(&mut self, millis: i64) {
        self.now += millis * 1000;
        self.backend.advance(self.now);
        self.drain();
    }

    fn drain(&mut self) {
        while let Some((at, packet)) = self.backend.sniff(self.now) {
            let Datagram::Tcp {
                tos,
                header,
                payload,
                ..
            } = packet
            else {
                continue;
            };
            match Segment::parse(tos, &header, payload) {
                Ok(segment) => self.outbound(at, segment),
                Err(what) => self.note(at, true, None, what),
            }
            self.note_state();
        }
    }

    /// How many segments go in one packet is the device's matter: each is looked at by itself.
    fn outbound(&mut self, at: Micros, whole: Segment) {
        let size = u32::from(self.peer.offer.mss);
        let room = whole
            .options
            .iter()
            .map(|o| if o.kind > 1 { o.data.len() + 2 } else { 1 });
        let size = match whole.has(flag::SYN) {
            true => size,
            false => size.saturating_sub(room.sum::<usize>() as u32).max(1),
        };
        let mut sent = 0;
        loop {
            let mut part = whole.clone();
            part.seq = whole.seq.wrapping_add(sent);
            part.len = (whole.len - sent).min(size);
            sent += part.len;
            if sent < whole.len {
                part.flags &= !(flag::PSH | flag::FIN);
            }
            let (stamp, lost) = self.peer.outbound(&mut part, &mut self.random, self.loss);
            self.over |= part.has(flag::RST);
            let suffix = if lost { " lost" } else { "" };
            self.note(at, true, stamp, format!("{part}{suffix}"));
            if sent >= whole.len {
                break;
            }
        }
    }

    fn send(&mut self, segment: Segment) {
        let told = self.peer.told(&segment).to_string();
        let stamp = None;
        self.note(self.now, false, stamp, told);
        self.backend.inject(&Datagram::Tcp {
            tos: segment.tos,
            header: segment.header(),
            payload: segment.len,
            gso_size: 0,
        });
        self.note_state();
        self.drain();
    }

    fn call(&mut self, what: String, call: &SystemCall) -> Option<i64> {
        let outcome = self.backend.call(call);
        let (text, result) = match outcome {
            Some(Outcome {
                result, errno: 0, ..
            }) => (format!("{what} = {result}"), Some(result)),
            Some(Outcome { result, errno, .. }) => {
                (format!("{what} = {result} errno {errno}"), None)
            }
            None => (format!("{what} blocks"), None),
        };
        // Descriptors are the back end's own.
        let text = match call {
            SystemCall::Socket { .. } | SystemCall::Accept(_) if result.is_some() => {
                format!("{what} is there")
            }
            _ => text,
        };
        self.note(self.now, false, None, text);
        self.note_state();
        self.drain();
        result
    }

    /// What depends on the host's memory is the same everywhere.
    fn settings(&mut self) {
        for (name, value) in [
            ("tcp_rmem", "4096 131072 8388608"),
            ("tcp_wmem", "4096 16384 4194304"),
        ] {
            if let Err(what) = self.backend.sysctl(name, value) {
                self.note(0, true, None, what);
            }
        }
    }

    fn connect(&mut self) -> bool {
        // The clock begins.
        self.backend.now();
        let Some(fd) = self.call("socket()".into(), &SystemCall::Socket { nonblock: true }) else {
            return false;
        };
        self.fd = Some(fd);
        self.options();
        self.pause(1);
        self.call("connect()".into(), &SystemCall::Connect(fd));
        let wait = self.random.one_of(&[0, 7, 29, 97, 1709]);
        self.pause(wait);
        if !self.peer.is_open() {
            return false;
        }
        if self.random.percent(5) {
            // Both open at once.
            let syn = self.peer.syn(self.millis(), false);
            self.send(syn);
            self.pause(7);
        }
        let syn_ack = self.peer.syn(self.millis(), true);
        self.send(syn_ack);
        true
    }

    fn accept(&mut self) -> bool {
        self.backend.now();
        let Some(listener) = self.call("socket()".into(), &SystemCall::Socket { nonblock: true })
        else {
            return false;
        };
        self.fd = Some(listener);
        self.options();
        self.call("bind()".into(), &SystemCall::Bind(listener));
        self.call("listen(5)".into(), &SystemCall::Listen(listener, 5));
        self.pause(1);
        let syn = self.peer.syn(self.millis(), false);
        self.send(syn);
        let wait = self.random.one_of(&[0, 7, 29, 97, 1709]);
        self.pause(wait);
        if !self.peer.is_open() {
            return false;
        }
        let ack = self.peer.segment(self.millis(), flag::ACK, 1, 0, 1);
        self.send(ack);
        let Some(fd) = self.call("accept()".into(), &SystemCall::Accept(listener)) else {
            return false;
        };
        self.call("close(listener)".into(), &SystemCall::Close(listener));
        self.call(
            "fcntl(O_NONBLOCK)".into(),
            &SystemCall::SetFlags(fd, 0o4002),
        );
        self.fd = Some(fd);
        true
    }

    /// What a program sets before there is a connection.
    fn options(&mut self) {
        let Some(fd) = self.fd else { return };
        // TCP_NODELAY
        if self.random.percent(40) {
            self.set(fd, 6, 1, 1);
        }
        // SO_KEEPALIVE, TCP_KEEPIDLE, TCP_KEEPINTVL
        if self.random.percent(15) {
            for (level, name, value) in [(1, 9, 1), (6, 4, 2), (6, 5, 1)] {
                self.set(fd, level, name, value);
            }
        }
        // SO_RCVBUF
        if self.random.percent(15) {
            self.set(fd, 1, 8, 20_000);
        }
    }

    fn set(&mut self, fd: i64, level: i64, name: i64, value: i64) {
        let call = SystemCall::SetOption {
            fd,
            level,
            name,
            value: OptionValue::Int(value),
            len: 4,
        };
        self.call(format!("setsockopt({level}, {name}, {value})"), &call);
    }

    fn transfer(fd: i64, len: u32) -> Transfer {
        Transfer {
            fd,
            buffers: vec![u64::from(len)],
            null: false,
            flags: 0,
            addressed: false,
            message: false,
        }
    }

    /// Something happens.
    fn step(&mut self) {
        let pause = self.random.one_of(&PAUSES);
        self.pause(pause);
        if self.over {
            return;
        }
        match self.random.below(100) {
            0..=17 => self.write(),
            18..=27 => self.read(),
            28..=52 => self.acknowledge(),
            53..=67 => self.data(),
            68..=73 => self.data_with_hole(),
            74..=80 => self.fill(),
            81..=84 => self.again(),
            85..=88 => self.window(),
            89..=90 => self.nodelay(),
            91..=92 => self.old_acknowledgment(),
            93 => self.future_acknowledgment(),
            94 => self.beyond(),
            95 => self.fin(),
            96 => self.shutdown(),
            97 => self.syn(),
            98 => self.reset(),
            _ => self.old_stamp(),
        }
    }

    fn write(&mut self) {
        let Some(fd) = self.fd else { return };
        let len = match self.random.percent(50) {
            true => 1 + self.random.below(500),
            false => 1 + self.random.below(MAX_WRITE),
        };
        self.call(
            format!("write({len})"),
            &SystemCall::Send(Self::transfer(fd, len)),
        );
    }

    fn read(&mut self) {
        let Some(fd) = self.fd else { return };
        let len = self.random.one_of(&[100, 1000, 10_000, 100_000]);
        self.call(
            format!("read({len})"),
            &SystemCall::Receive(Self::transfer(fd, len)),
        );
    }

    fn acknowledge(&mut self) {
        let ack = self.peer.acked();
        // Sometimes of a part only.
        let first = self.random.percent(20);
        let ack = match self.peer.got.first() {
            Some((start, end)) if first && *start <= 1 && end - start > 2000 => {
                end - self.random.below((end - start) / 2)
            }
            _ => ack,
        };
        let ack = self
            .peer
            .segment(self.millis(), flag::ACK, self.peer.next, 0, ack);
        self.send(ack);
    }

    fn data_of(&mut self) -> u32 {
        let mss = u32::from(self.peer.offer.mss) - 40;
        match self.random.percent(60) {
            true => mss,
            false => 1 + self.random.below(mss),
        }
    }

    fn send_data(&mut self, start: u32, len: u32) {
        let flags = match self.random.percent(30) {
            true => flag::ACK | flag::PSH,
            false => flag::ACK,
        };
        let ack = self.peer.acked();
        let segment = self.peer.segment(self.millis(), flags, start, len, ack);
        self.send(segment);
    }

    fn data(&mut self) {
        if self.peer.fin_sent {
            return;
        }
        let burst = self.random.one_of(&[1, 1, 2, 4]);
        for _ in 0..burst {
            let (start, len) = (self.peer.next, self.data_of());
            self.peer.next += len;
            self.send_data(start, len);
        }
    }

    fn data_with_hole(&mut self) {
        if self.peer.fin_sent || self.peer.hole.is_some() {
            return;
        }
        let (start, len) = (self.peer.next, self.data_of());
        self.peer.hole = Some((start, len));
        let more = self.data_of();
        self.peer.next += len + more;
        self.send_data(start + len, more);
    }

    fn fill(&mut self) {
        if let Some((start, len)) = self.peer.hole.take() {
            self.send_data(start, len);
        }
    }

    /// What was sent before.
    fn again(&mut self) {
        let back = self.data_of();
        let next = self.peer.next;
        if next <= back || self.peer.hole.is_some() || self.peer.fin_sent {
            return;
        }
        let len = 1 + self.random.below(back);
        self.send_data(next - back, len);
    }

    fn window(&mut self) {
        self.peer.window = self.random.one_of(&[0, 300, 2_000, 20_000, 65_535]);
        self.acknowledge();
    }

    fn nodelay(&mut self) {
        let Some(fd) = self.fd else { return };
        let on = i64::from(self.random.percent(50));
        self.set(fd, 6, 1, on);
    }

    fn old_acknowledgment(&mut self) {
        let ack = self.peer.acked();
        let old = ack - self.random.below(ack.min(3000));
        let segment = self
            .peer
            .segment(self.millis(), flag::ACK, self.peer.next, 0, old.max(1));
        self.send(segment);
    }

    fn future_acknowledgment(&mut self) {
        let ack = self.peer.seen + 1 + self.random.below(5000);
        let mut segment = self.peer.segment(
            self.millis(),
            flag::ACK,
            self.peer.next,
            0,
            self.peer.acked(),
        );
        segment.ack = segment
            .ack
            .wrapping_sub(self.peer.acked())
            .wrapping_add(ack);
        self.send(segment);
    }

    /// Far behind the window.
    fn beyond(&mut self) {
        let far = self.peer.next + 2_000_000;
        let segment = self
            .peer
            .segment(self.millis(), flag::ACK, far, 100, self.peer.acked());
        self.send(segment);
    }

    fn fin(&mut self) {
        if self.peer.fin_sent || self.peer.hole.is_some() {
            return;
        }
        let segment = self.peer.segment(
            self.millis(),
            flag::ACK | flag::FIN,
            self.peer.next,
            0,
            self.peer.acked(),
        );
        self.peer.fin_sent = true;
        self.peer.next += 1;
        self.send(segment);
    }

    fn shutdown(&mut self) {
        let Some(fd) = self.fd else { return };
        self.call("shutdown(SHUT_WR)".into(), &SystemCall::Shutdown(fd, 1));
    }

    /// A SYN in the middle of a connection (RFC 5961 section 4).
    fn syn(&mut self) {
        let mut segment = self.peer.segment(
            self.millis(),
            flag::SYN,
            self.peer.next,
            0,
            self.peer.acked(),
        );
        segment.ack = 0;
        self.send(segment);
    }

    /// At the edge of the window, or in it (RFC 5961 section 3).
    fn reset(&mut self) {
        let off = self.random.one_of(&[0, 1, 1, 100, 100, 5_000_000]);
        let mut segment = self.peer.segment(
            self.millis(),
            flag::RST,
            self.peer.next + off,
            0,
            self.peer.acked(),
        );
        segment.ack = 0;
        self.send(segment);
    }

    /// Data with a timestamp of long ago (PAWS).
    fn old_stamp(&mut self) {
        let mut segment = self.peer.segment(
            self.millis(),
            flag::ACK,
            self.peer.next,
            50,
            self.peer.acked(),
        );
        let Some((val, ecr)) = segment.timestamps() else {
            return;
        };
        segment.set_timestamps(val.wrapping_sub(100_000), ecr);
        self.send(segment);
    }

    /// The program reads and closes, the path loses nothing more, and the peer acknowledges what comes.
    fn end(&mut self) {
        self.loss = 0;
        let Some(fd) = self.fd.take() else { return };
        self.pause(53);
        if self.random.percent(70) {
            self.call(
                "read(100000)".into(),
                &SystemCall::Receive(Self::transfer(fd, 100_000)),
            );
        }
        self.call("close()".into(), &SystemCall::Close(fd));
        self.pause(97);
        if self.over || !self.peer.is_open() {
            return;
        }
        self.peer.window = 65_535;
        for _ in 0..30 {
            let before = self.record.entries.len();
            self.acknowledge_all();
            self.pause(331);
            if self.over || self.record.entries.len() == before + 1 {
                break;
            }
        }
        if !self.over && !self.peer.fin_sent {
            self.peer.hole = None;
            self.fin();
        }
        self.pause(REST);
    }

    fn acknowledge_all(&mut self) {
        let ack = self.peer.acked();
        let segment = self
            .peer
            .segment(self.millis(), flag::ACK, self.peer.next, 0, ack);
        self.send(segment);
    }
}
