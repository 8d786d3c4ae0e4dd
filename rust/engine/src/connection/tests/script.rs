// SPDX-License-Identifier: GPL-2.0

//! A connection and its peer, played by hand: what arrives is built here, what is sent is compared here.
//!
//! Our data begins at [`ISS`] + 1, the peer's at [`IRS`] + 1; tests name both by offset: `at 0` is the first byte of
//! data.

use crate::connection::{
    ActiveOpen, Connection, Event, Events, Packet, Payload, RecvMemory, Rx, State, Status,
    Unacceptable, Urgent, UrgentPlace,
};
use crate::context::{Config, Context, SocketOptions};
use crate::flight::{Flight, FlightMemory, NoFlight};
use crate::happening::{Counts, Happening};
use crate::reassembly::Reassembly;
use crate::segment::Segment;
use crate::seq::{SeqNum, SeqRange};
use crate::time::{Duration, Instant};
use crate::transmit::{BurstLimit, Transmit, TransmitKind};
use crate::wire::{Ecn, Flags, Header, Options, Timestamps, WindowScale};
use crate::TimerKind;
use std::cell::RefCell;
use std::vec::Vec;

pub const ISS: SeqNum = SeqNum::new(0xffff_f000);
pub const IRS: SeqNum = SeqNum::new(0x7fff_fff0);
pub const MSS: u16 = 1000;

/// What the peer offers in its SYN.
#[derive(Clone, Copy)]
pub struct Offer {
    pub scale: Option<u8>,
    pub sack: bool,
    pub stamps: bool,
    pub ecn: bool,
    pub window: u16,
}

impl Default for Offer {
    /// No options: numbers in tests stay round.
    fn default() -> Self {
        Offer {
            scale: None,
            sack: false,
            stamps: false,
            ecn: false,
            window: 60_000,
        }
    }
}

pub struct Peer {
    pub conn: Connection,
    pub config: Config,
    pub now: Instant,
    pub reassembly: Option<Reassembly>,
    pub flight: Option<Flight>,
    /// Message boundaries, as offsets of our data.
    pub boundaries: Vec<u32>,
    /// Whether packets may be kept.
    pub room: bool,
    pub memory: RecvMemory,
    /// Bytes in the receive queue.
    pub unread: u32,
    pub lowat: u32,
    /// The peer's urgent byte, and whether it is read in line.
    pub urgent: Urgent,
    pub inline: bool,
    /// What a packet takes; by default, twice its payload.
    pub truesize: fn(u32) -> u32,
    pub segment_size: u16,
    pub limit: BurstLimit,
    /// The rate that data is held to.
    pub pace: Option<u64>,
    pub window: u16,
    pub stamps: Option<u32>,
    /// Why the last segment was dropped, if it was.
    pub refusal: Option<Unacceptable>,
    pub told: Told,
}

/// What was counted.
#[derive(Default)]
pub struct Told(RefCell<Vec<(Happening, u32)>>);

impl Counts for Told {
    fn count(&self, what: Happening, times: u32) {
        let mut told = self.0.borrow_mut();
        match told.iter_mut().find(|(known, _)| *known == what) {
            Some((_, sum)) => *sum += times,
            None => told.push((what, times)),
        }
    }
}

/// A flight, and the boundaries of a send buffer.
struct Memory<'a> {
    flight: &'a mut Option<Flight>,
    boundaries: &'a [u32],
}

impl FlightMemory for Memory<'_> {
    fn get(&mut self) -> Option<&mut Flight> {
        self.flight.get()
    }

    fn make(&mut self) -> Option<&mut Flight> {
        self.flight.make()
    }

    fn release(&mut self) {
        self.flight.release();
    }

    fn is_bounded(&self) -> bool {
        !self.boundaries.is_empty()
    }

    fn boundary(&self, range: SeqRange) -> Option<SeqNum> {
        let seqs = self.boundaries.iter().map(|at| ISS.add(1).add(*at));
        let inside = |seq: &SeqNum| seq.after(range.start) && seq.before_eq(range.end());
        seqs.filter(inside)
            .min_by_key(|seq| range.start.distance_to(*seq))
    }
}

/// An active open that the peer has not yet seen.
pub fn syn_sent() -> Peer {
    syn_sent_with(Config::default(), SocketOptions::default())
}

pub fn syn_sent_with(config: Config, options: SocketOptions) -> Peer {
    syn_sent_limit(config, options, 50_000)
}

fn syn_sent_limit(config: Config, options: SocketOptions, recv_limit: u32) -> Peer {
    let now = Instant::from_secs(1000);
    let cx = Context::new(now, &config);
    let open = ActiveOpen {
        iss: ISS,
        ts_offset: 0,
        advertised_mss: MSS,
        path_mss: MSS,
        recv_space: 50_000,
        recv_limit,
        options,
    };
    let conn = Connection::connect(&cx, &open);
    Peer {
        conn,
        config,
        now,
        reassembly: Some(Reassembly::new()),
        flight: None,
        boundaries: Vec::new(),
        room: true,
        memory: RecvMemory {
            used: 0,
            limit: 100_000,
            most: 8_000_000,
            fixed: true,
        },
        unread: 0,
        lowat: 1,
        urgent: Urgent::NONE,
        inline: false,
        truesize: |payload| 2 * payload,
        segment_size: 0,
        limit: BurstLimit(0),
        pace: None,
        window: 60_000,
        stamps: None,
        refusal: None,
        told: Told::default(),
    }
}

/// A connection in ESTABLISHED, nothing sent or received, nothing owed.
pub fn established() -> Peer {
    established_with(
        Config::default(),
        SocketOptions::default(),
        Offer::default(),
    )
}

pub fn established_with(config: Config, options: SocketOptions, offer: Offer) -> Peer {
    // With scaling, windows of ours count in units of 64.
    let limit = if offer.scale.is_some() {
        4_000_000
    } else {
        50_000
    };
    let mut peer = syn_sent_limit(config, options, limit);
    let syn = peer.next();
    assert_eq!(syn.kind, TransmitKind::Syn);
    peer.window = offer.window;
    if offer.stamps {
        peer.stamps = Some(5000);
    }
    let mut segment = Segment {
        header: Header {
            seq: IRS,
            ack: ISS.add(1),
            flags: match offer.ecn {
                true => Flags::SYN_ACK.union(Flags::ECE),
                false => Flags::SYN_ACK,
            },
            window: offer.window,
            options: Options {
                mss: Some(MSS),
                window_scale: offer.scale.map(WindowScale::new),
                sack_permitted: offer.sack,
                timestamps: None,
                ..Options::default()
            },
            ..Header::default()
        },
        payload_len: 0,
        ecn: Ecn::NotEct,
    };
    if offer.stamps {
        segment.header.options.timestamps = Some(Timestamps {
            val: 5000,
            ecr: syn.header.options.timestamps.unwrap().val,
        });
    }
    peer.advance(10);
    assert_eq!(peer.give(segment), Payload::None);
    assert_eq!(peer.next().kind, TransmitKind::Ack);
    peer.quiet();
    assert_eq!(peer.conn.state(), State::Established);
    assert!(peer.events().contains(Event::Established));
    peer
}

/// A connection in any of the states that a peer can meet, reached the way it is reached on the wire.
pub fn in_state(state: State) -> Peer {
    if state == State::SynSent {
        let mut peer = syn_sent();
        let _ = peer.next();
        return peer;
    }
    if state == State::SynReceived {
        let mut peer = syn_sent();
        let _ = peer.next();
        let _ = peer.give(seg(Flags::SYN, IRS, SeqNum::new(0), 0));
        assert_eq!(peer.next().kind, TransmitKind::SynAck);
        assert_eq!(peer.conn.state(), State::SynReceived);
        return peer;
    }
    let mut peer = established();
    let fin_of_peer = |peer: &mut Peer, ack: u32| {
        let _ = peer.data(0, 0, ack, Flags::FIN);
        peer.let_delayed_ack_go();
        let _ = peer.sent();
    };
    match state {
        State::FinWait1 | State::FinWait2 | State::Closing | State::TimeWait => {
            peer.shutdown();
            let _ = peer.sent();
        }
        State::CloseWait | State::LastAck => {
            fin_of_peer(&mut peer, 0);
            if state == State::LastAck {
                peer.shutdown();
                let _ = peer.sent();
            }
        }
        State::Closed => {
            let cx = Context::new(peer.now, &peer.config);
            peer.conn.abort(&cx);
            let _ = peer.sent();
        }
        _ => {}
    }
    match state {
        State::FinWait2 => peer.ack(1),
        State::Closing => fin_of_peer(&mut peer, 0),
        State::TimeWait => fin_of_peer(&mut peer, 1),
        _ => {}
    }
    let _ = peer.events();
    assert_eq!(peer.conn.state(), state);
    peer
}

/// What changes when something has happened to the connection.
fn facts(conn: &Connection) -> impl PartialEq + core::fmt::Debug {
    let numbers = (conn.snd_una(), conn.snd_nxt(), conn.rcv_nxt(), conn.cwnd());
    (conn.state(), numbers, conn.timer())
}

/// A segment by its numbers.
pub fn seg(flags: Flags, seq: SeqNum, ack: SeqNum, payload_len: u32) -> Segment {
    Segment {
        header: Header {
            seq,
            ack,
            flags,
            window: 60_000,
            ..Header::default()
        },
        payload_len,
        ecn: Ecn::NotEct,
    }
}

impl Peer {
    /// What was counted since the last call, in the order of its first time.
    pub fn counted(&mut self) -> Vec<(Happening, u32)> {
        self.told.0.take()
    }

    pub fn cx(&self) -> Context<'_> {
        Context::new(self.now, &self.config).counted(&self.told)
    }

    /// Lets time pass; timers do not run.
    pub fn advance(&mut self, millis: u64) {
        self.now += Duration::from_millis(millis);
    }

    /// Lets time pass until an acknowledgment that waits is due, if one does.
    pub fn let_delayed_ack_go(&mut self) {
        if self.conn.timer_of(TimerKind::DelayedAck).is_some() {
            self.expire();
        }
    }

    /// Lets time pass up to the next deadline, and runs it. Returns the milliseconds.
    pub fn expire(&mut self) -> u64 {
        let at = self.conn.poll_timeout().expect("a timer runs");
        let waited = at.since(self.now).as_millis();
        self.now = Instant::max(at, self.now);
        let cx = Context::new(self.now, &self.config).counted(&self.told);
        self.conn.on_timer(&cx, &mut self.flight);
        waited
    }

    /// An ICMP error about the segment at offset `at`; with or without `memory` for what is in flight.
    pub fn too_big(&mut self, at: u32, mss: u16, memory: bool) {
        let cx = Context::new(self.now, &self.config).counted(&self.told);
        let seq = ISS.add(1).add(at);
        match memory {
            true => self.conn.on_too_big(&cx, seq, mss, &mut self.flight),
            false => self.conn.on_too_big(&cx, seq, mss, &mut NoFlight),
        }
    }

    /// Runs what is due.
    pub fn expire_all(&mut self) {
        let cx = Context::new(self.now, &self.config).counted(&self.told);
        self.conn.on_timer(&cx, &mut self.flight);
    }

    /// A segment as it is.
    pub fn give(&mut self, segment: Segment) -> Payload {
        let cx = Context::new(self.now, &self.config).counted(&self.told);
        let truesize = (self.truesize)(segment.payload_len);
        let rx = Rx {
            reassembly: self.reassembly.as_mut(),
            room: self.room,
            packet: Packet {
                truesize,
                head: 0,
                segment_size: self.segment_size,
            },
            most: self.memory.most,
            unread: self.unread,
            lowat: self.lowat,
            urgent: Some(UrgentPlace {
                urgent: &mut self.urgent,
                inline: self.inline,
            }),
        };
        let before = self.conn.rcv_nxt();
        let receiving = self.conn.can_receive();
        let known = facts(&self.conn);
        self.refusal = None;
        let taken =
            self.conn
                .on_segment_telling(&cx, &segment, rx, &mut self.flight, &mut self.refusal);
        if self.conn.is_undisturbed() {
            assert_eq!(
                facts(&self.conn),
                known,
                "a segment that left nothing to look after has done something"
            );
            let hidden = self.hidden();
            assert!(hidden.is_none(), "there is something to send: {hidden:?}");
        }
        match taken {
            Payload::None => {}
            Payload::InOrder { .. } => {
                let fin = u32::from(receiving && !self.conn.can_receive());
                self.unread += before.distance_to(self.conn.rcv_nxt()) - fin;
                self.memory.used += truesize;
            }
            Payload::OutOfOrder { .. } => self.memory.used += truesize,
        }
        taken
    }

    /// A segment of data: `len` bytes at offset `at` of the peer's, acknowledging ours up to `ack`.
    pub fn data(&mut self, at: u32, len: u32, ack: u32, flags: Flags) -> Payload {
        let mut segment = seg(
            Flags::ACK.union(flags),
            IRS.add(1).add(at),
            ISS.add(1).add(ack),
            len,
        );
        segment.header.window = self.window;
        if let Some(val) = self.stamps {
            segment.header.options.timestamps = Some(Timestamps { val, ecr: 0 });
        }
        self.give(segment)
    }

    /// A bare acknowledgment up to offset `ack`; the peer has sent no data.
    pub fn ack(&mut self, ack: u32) {
        let at = IRS.add(1).distance_to(self.conn.rcv_nxt());
        assert_eq!(self.data(at, 0, ack, Flags::NONE), Payload::None);
    }

    /// A bare acknowledgment with SACK blocks, as offsets of our data (start, end), that echoes a timestamp.
    pub fn report(&mut self, ack: u32, blocks: &[(u32, u32)], echo: Option<u32>) {
        let mut segment = seg(Flags::ACK, self.conn.rcv_nxt(), ISS.add(1).add(ack), 0);
        segment.header.window = self.window;
        for (start, end) in blocks {
            let block = SeqRange::new(ISS.add(1).add(*start), end - start);
            segment.header.options.sack.push(block);
        }
        if let Some(val) = self.stamps {
            let ecr = echo.unwrap_or(0);
            segment.header.options.timestamps = Some(Timestamps { val, ecr });
        }
        assert_eq!(self.give(segment), Payload::None);
    }

    /// A bare acknowledgment with a window.
    pub fn ack_window(&mut self, ack: u32, window: u16) {
        self.window = window;
        self.ack(ack);
    }

    pub fn write(&mut self, len: u32) {
        self.conn.write(len);
    }

    /// A write with MSG_EOR.
    pub fn write_message(&mut self, len: u32) {
        self.write(len);
        let end = ISS.add(1).distance_to(self.conn.write_seq());
        self.boundaries.push(end);
    }

    pub fn read(&mut self, free: u32) {
        self.read_of(free, 50_000);
    }

    /// The user reads, until the buffer, which makes a window of `full` bytes, has room for `free` more.
    pub fn read_of(&mut self, free: u32, full: u32) {
        let cx = Context::new(self.now, &self.config).counted(&self.told);
        self.memory.limit = 2 * full;
        self.memory.used = 2 * full.saturating_sub(free);
        self.unread = full.saturating_sub(free);
        let known = facts(&self.conn);
        let grown =
            self.conn
                .on_consumed(&cx, 0, self.unread, &self.memory, self.reassembly.as_ref());
        assert_eq!(grown, None);
        if self.conn.is_undisturbed() {
            assert_eq!(facts(&self.conn), known, "a read has done something");
        }
    }

    /// The user reads so many bytes; the buffer may grow.
    pub fn consume(&mut self, bytes: u32) {
        self.unread -= bytes;
        self.memory.used -= 2 * bytes;
        let cx = Context::new(self.now, &self.config).counted(&self.told);
        let held = self.reassembly.as_ref();
        let grown = self
            .conn
            .on_consumed(&cx, bytes, self.unread, &self.memory, held);
        if let Some(limit) = grown {
            assert!(limit > self.memory.limit && limit <= self.memory.most);
            self.memory.limit = limit;
        }
    }

    pub fn short(&mut self, short: bool) {
        let cx = Context::new(self.now, &self.config).counted(&self.told);
        self.conn.set_short_of_room(&cx, short);
    }

    pub fn shutdown(&mut self) {
        let cx = Context::new(self.now, &self.config).counted(&self.told);
        self.conn.shutdown_write(&cx);
    }

    pub fn close(&mut self, unread: bool) {
        let cx = Context::new(self.now, &self.config).counted(&self.told);
        self.conn.close(&cx, unread);
    }

    pub fn poll(&mut self) -> Option<Transmit> {
        let cx = Context::new(self.now, &self.config).counted(&self.told);
        let mut memory = Memory {
            flight: &mut self.flight,
            boundaries: &self.boundaries,
        };
        match self.pace {
            Some(bound) => self.conn.poll_paced(&cx, self.limit, bound, &mut memory),
            None => self.conn.poll_transmit(&cx, self.limit, &mut memory),
        }
    }

    /// What would be sent if the connection did not say that there is nothing.
    fn hidden(&self) -> Option<Transmit> {
        let cx = Context::new(self.now, &self.config);
        let (mut conn, mut flight) = (self.conn.clone(), self.flight.clone());
        conn.status.clear(Status::IDLE);
        let mut memory = Memory {
            flight: &mut flight,
            boundaries: &self.boundaries,
        };
        conn.poll_transmit(&cx, self.limit, &mut memory)
    }

    /// The next segment, which must be there.
    pub fn next(&mut self) -> Transmit {
        self.poll().expect("a segment is sent")
    }

    /// All that is sent now.
    pub fn sent(&mut self) -> Vec<Transmit> {
        let mut all = Vec::new();
        while let Some(transmit) = self.poll() {
            all.push(transmit);
            assert!(all.len() < 1000, "poll_transmit does not end");
        }
        all
    }

    /// All that is sent now as (kind, offset of the first byte, length).
    pub fn sent_short(&mut self) -> Vec<(TransmitKind, u32, u32)> {
        self.sent()
            .iter()
            .map(|t| (t.kind, ISS.add(1).distance_to(t.header.seq), t.payload.len))
            .collect()
    }

    /// Nothing is sent.
    pub fn quiet(&mut self) {
        let sent = self.sent();
        assert!(sent.is_empty(), "{sent:?}");
    }

    pub fn events(&mut self) -> Events {
        self.conn.take_events()
    }

    /// RCV.NXT as an offset of the peer's data.
    pub fn rcv(&self) -> u32 {
        IRS.add(1).distance_to(self.conn.rcv_nxt())
    }

    /// The right edge that we have offered, as an offset of the peer's data.
    pub fn edge(&self) -> u32 {
        self.rcv().wrapping_add(self.conn.rcv_wnd())
    }
}
