// SPDX-License-Identifier: GPL-2.0
//! A connection and its caller's side, driven by [`Op`]s. What the engine promises is asserted at every step: numbers only
//! move forward, what is handed over is the stream without gap or double, nothing is sent that the peer's window or
//! ours forbids, and whatever is owed has a timer.
//!
//! Bytes are counted here, not kept: octet `n` of a stream is always the same byte, so ranges tell all.

use super::invariants::Watch;
use super::op::{self, Op, Switch};
use super::stand::leads;
use super::twin;
use oxtcp_engine::connection::{Unacceptable, Urgent, UrgentPlace};
use oxtcp_engine::reassembly::{had, Reassembly};
use oxtcp_engine::wire::{Flags, Header, Options};
use oxtcp_engine::{
    BurstLimit, Connection, Context, Duration, Event, Flight, FlightMemory, Packet, Payload,
    Pruning, RecvMemory, Refusal, Room, Rx, Segment, SeqNum, SeqRange, State, Transmit,
    TransmitKind,
};

/// Memory for what is in flight, there or not.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    flight: Option<Box<Flight>>,
    /// No new memory is to be had.
    pub none: bool,
}

impl FlightMemory for Shelf {
    fn get(&mut self) -> Option<&mut Flight> {
        self.flight.as_deref_mut()
    }

    fn make(&mut self) -> Option<&mut Flight> {
        if self.none {
            return self.get();
        }
        Some(self.flight.get_or_insert_with(Box::default))
    }

    fn release(&mut self) {
        self.flight = None;
    }
}

/// A refusal to come.
#[derive(Clone, Copy, Debug)]
struct Refuse {
    why: Refusal,
    after: u8,
    share: u8,
}

#[derive(Clone, Debug)]
pub struct Driver {
    pub conn: Connection,
    pub shelf: Shelf,
    pub reassembly: Reassembly,
    /// The peer's urgent byte.
    urgent: Urgent,
    /// What came out of order and is kept: packets in sequence, without overlap.
    kept: Vec<SeqRange>,
    /// The number of the next byte of the peer's stream; known with the connection.
    next: Option<SeqNum>,
    /// Bytes that the program has not read.
    queue: u32,
    /// The buffer's memory, of which payload takes half, and whether the program has set it.
    limit: u32,
    fixed: bool,
    /// A packet was refused, and no segment has told the peer.
    short: bool,
    /// Bytes handed over, ever, and written.
    pub received: u64,
    pub written: u64,
    with_reassembly: bool,
    /// There is memory for segments with so many bytes.
    room: u32,
    burst: u32,
    held: bool,
    refuse: Option<Refuse>,
    pub established: bool,
    pub end_of_file: bool,
    pub closed: bool,
    /// The memory for what is in flight was taken away: what the connection knows of it is stale.
    lossy: bool,
    reneged: bool,
    /// Up to where the peer's window, and ours, was ever open.
    peer_edge: Option<SeqNum>,
    our_edge: Option<SeqNum>,
    state: State,
    watch: Watch,
}

/// Written and not acknowledged, at most: the send buffer.
const SEND_BUFFER: u32 = 1 << 20;

/// What a receive buffer grows to, in bytes of memory.
const MOST: u32 = 2 << 20;

/// What so many bytes of payload take.
fn memory_for(payload: u32) -> u32 {
    payload.saturating_mul(2)
}

impl Driver {
    pub fn new(conn: Connection, buffer: u32) -> Self {
        let state = conn.state();
        let opening = matches!(state, State::SynSent | State::SynReceived);
        let known = state != State::SynSent;
        // What the peer's SYN says counts from its acknowledgment of ours.
        let una = conn.snd_una().add(u32::from(opening));
        Driver {
            next: known.then(|| {
                let fin = !conn.can_receive() && state != State::Closed;
                conn.rcv_nxt().sub(u32::from(fin))
            }),
            peer_edge: known.then(|| una.add(conn.snd_wnd())),
            our_edge: known.then(|| conn.rcv_nxt().add(conn.rcv_wnd())),
            established: !opening,
            end_of_file: known && !conn.can_receive(),
            conn,
            shelf: Shelf::default(),
            reassembly: Reassembly::new(),
            urgent: Urgent::NONE,
            kept: Vec::new(),
            queue: 0,
            limit: memory_for(buffer),
            fixed: false,
            short: false,
            received: 0,
            written: 0,
            with_reassembly: true,
            room: u32::MAX,
            burst: 65_000,
            held: false,
            refuse: None,
            closed: false,
            lossy: false,
            reneged: false,
            state,
            watch: Watch::default(),
        }
    }

    /// Goes on with memory that the connection has used before.
    pub fn with_memory(mut self, flight: Option<Flight>, reassembly: Reassembly) -> Self {
        self.shelf.flight = flight.map(Box::new);
        reassembly.iter().for_each(|range| self.keep(range));
        self.reassembly = reassembly;
        self
    }

    /// A segment has arrived. Its payload's accepted part comes back, as offset and length.
    pub fn on_segment(&mut self, cx: &Context<'_>, segment: &Segment) -> (u32, u32) {
        let header = &segment.header;
        let syn_sent = self.conn.state() == State::SynSent;
        self.note_peer_window(segment);
        let (unread, used) = (self.queue, self.memory().used);
        let room = segment.payload_len > 0 && self.make_room(segment);
        let ignoring = self.ignoring(cx, segment);
        self.compare_expected(cx, segment, room);
        // Memory that there is stays until it is empty.
        let with_reassembly = self.with_reassembly || !self.reassembly.is_empty();
        let rx = Rx {
            reassembly: with_reassembly.then_some(&mut self.reassembly),
            room,
            packet: Packet {
                truesize: memory_for(segment.payload_len),
                ..Packet::default()
            },
            most: MOST,
            unread,
            lowat: 1,
            urgent: Some(UrgentPlace {
                urgent: &mut self.urgent,
                inline: false,
            }),
        };
        let mut refusal = None;
        let verdict = self
            .conn
            .on_segment_telling(cx, segment, rx, &mut self.shelf, &mut refusal);
        if let Some((why, ignoring)) = ignoring {
            assert_eq!(refusal, Some(why), "{segment:?}");
            assert_eq!(without_status(&self.conn), without_status(&ignoring));
        }
        let start = segment.payload().start;
        if syn_sent && !matches!(self.conn.state(), State::SynSent | State::Closed) {
            assert!(header.flags.syn(), "open without a SYN: {segment:?}");
            self.next = Some(start);
            // Our SYN has offered a window, from wherever the peer's would be.
            self.our_edge = Some(self.conn.rcv_nxt().add(self.conn.rcv_wnd()));
        }
        let (skip, len) = match verdict {
            Payload::None => (0, 0),
            Payload::InOrder { skip, len } | Payload::OutOfOrder { skip, len } => (skip, len),
        };
        assert!(len == 0 || room, "{verdict:?} without room, of {segment:?}");
        let end = skip
            .checked_add(len)
            .filter(|end| *end <= segment.payload_len);
        assert!(end.is_some(), "{verdict:?} of {segment:?}");
        let range = SeqRange::new(start.add(skip), len);
        // It begins in the window, and goes beyond it where nothing waits to be read.
        let offered = |range: SeqRange| {
            self.our_edge.is_none_or(|edge| {
                range.start.before(edge) && (unread == 0 || range.end().before_eq(edge))
            })
        };
        match verdict {
            Payload::None => {}
            Payload::InOrder { .. } => {
                assert!(len > 0, "{verdict:?}");
                assert_eq!(Some(range.start), self.next, "not next in the stream");
                assert!(offered(range), "beyond the window offered: {segment:?}");
                self.hand_over(range.end());
            }
            Payload::OutOfOrder { .. } => {
                assert!(len > 0 && with_reassembly, "{verdict:?}");
                assert!(offered(range), "beyond the window offered: {segment:?}");
                self.keep(range);
            }
        }
        self.take_kept();
        self.check_kept();
        self.take_urgent(segment);
        self.check_next();
        let memory = self.memory();
        // A single packet may go beyond.
        let most = memory.limit.saturating_add(memory_for(segment.payload_len));
        assert!(memory.used <= most.max(used), "{memory:?}");
        self.conn.set_recv_memory(&memory);
        if matches!(verdict, Payload::OutOfOrder { .. }) {
            let grown = self.conn.grow_for_hole(&memory, Some(&self.reassembly));
            self.grow(grown);
        }
        (skip, len)
    }

    /// Takes the segment by header prediction, too, if it can be.
    fn compare_expected(&self, cx: &Context<'_>, segment: &Segment, room: bool) {
        if !self.reassembly.is_empty() || self.urgent.may_change_by(segment) {
            return;
        }
        let truesize = memory_for(segment.payload_len);
        let rx = Rx {
            room,
            packet: Packet {
                truesize,
                ..Packet::default()
            },
            most: MOST,
            unread: self.queue,
            lowat: 1,
            ..Rx::default()
        };
        let memory = self.memory();
        let used = memory.used.saturating_add(truesize);
        twin::compare(&self.conn, cx, segment, rx, &RecvMemory { used, ..memory });
    }

    /// What the connection would be, had it not been given a segment that it ignores.
    fn ignoring(&self, cx: &Context<'_>, segment: &Segment) -> Option<(Unacceptable, Connection)> {
        let timestamps = segment.header.options.timestamps;
        let bare = Options {
            timestamps,
            ..Options::default()
        };
        if segment.payload_len != 0 || segment.header.options != bare {
            return None;
        }
        let mut conn = self.conn.clone();
        let cx = || Context::new(cx.now, cx.config);
        let why = conn.ignores(segment.header.seq, segment.header.flags, timestamps, cx)?;
        Some((why, conn))
    }

    /// As the adapter does it; the byte is its offset. The byte of before leaves the queue.
    fn take_urgent(&mut self, segment: &Segment) {
        if let Some(offset) = self.urgent.offset_in(segment) {
            assert!(offset < segment.payload_len);
            self.urgent.set(offset as u8);
            assert!(self.urgent.has_come());
        }
        if self.urgent.take_displaced() {
            assert!(self.queue > 0);
            self.queue -= 1;
        }
        if let Some(next) = self.next {
            self.urgent.on_reader(next.sub(self.queue));
        }
        assert_eq!(Urgent::unpacked(self.urgent.packed()), self.urgent);
        assert!(!self.urgent.is_here() || self.urgent.is_some());
    }

    /// As the adapter does it: whether the packet may be kept.
    fn make_room(&mut self, segment: &Segment) -> bool {
        let memory = self.memory();
        let room = match self.conn.make_room(segment, &memory, self.queue) {
            Room::Useless(_) => return false,
            Room::Enough => true,
            Room::Over(limit) => {
                assert!(limit >= memory.limit);
                self.grow((limit > memory.limit).then_some(limit));
                if self.memory().is_over() {
                    self.prune(segment.payload().start);
                }
                !self.memory().is_over()
            }
        };
        let room = room && segment.payload_len <= self.room;
        self.short |= !room;
        room
    }

    fn memory(&self) -> RecvMemory {
        let kept: u32 = self.kept.iter().map(|range| range.len).sum();
        RecvMemory {
            used: memory_for(self.queue.saturating_add(kept)),
            limit: self.limit,
            most: MOST,
            fixed: self.fixed,
        }
    }

    /// What the engine wants of the buffer.
    fn grow(&mut self, limit: Option<u32>) {
        if let Some(limit) = limit {
            assert!(!self.fixed && limit > self.limit && limit <= MOST);
            self.limit = limit;
        }
    }

    /// Memory is short, and a packet that begins at `came` is to be kept.
    fn prune(&mut self, came: SeqNum) {
        let mut pruning = Pruning::new(came, &self.memory());
        while let Some(last) = self.kept.last().copied() {
            if !pruning.next(last.start, memory_for(last.len), &self.memory()) {
                break;
            }
            self.kept.pop();
            self.reneged = true;
        }
        match self.kept.last() {
            Some(last) => self.reassembly.cut(last.end()),
            None => self.reassembly.clear(),
        }
        self.check_kept();
    }

    /// Puts a packet that came out of order in its place, as the adapter does it.
    fn keep(&mut self, mut range: SeqRange) {
        let without =
            |had: u32, range: SeqRange| SeqRange::between(range.start.add(had), range.end());
        let is_before = |kept: &SeqRange| kept.start.before_eq(range.start);
        let place = self.kept.iter().take_while(|kept| is_before(kept)).count();
        if let Some(before) = place.checked_sub(1) {
            range = without(had(self.kept[before], range), range);
            assert!(!range.is_empty(), "nothing of it was new");
        }
        while let Some(behind) = self.kept.get_mut(place) {
            *behind = without(had(range, *behind), *behind);
            if !behind.is_empty() {
                break;
            }
            self.kept.remove(place);
        }
        self.kept.insert(place, range);
    }

    /// What is noted to have come is what is kept.
    fn check_kept(&self) {
        let mut ranges: Vec<SeqRange> = self.reassembly.iter().collect();
        let Some(first) = self.kept.first() else {
            assert!(ranges.is_empty(), "{ranges:?}");
            return;
        };
        ranges.sort_by_key(|range| first.start.distance_to(range.start));
        let mut union: Vec<SeqRange> = Vec::new();
        for kept in &self.kept {
            match union.last_mut() {
                Some(last) if last.end() == kept.start => *last = last.hull(*kept),
                Some(last) if kept.start.before(last.end()) => panic!("overlap: {:?}", self.kept),
                _ => union.push(*kept),
            }
        }
        assert_eq!(ranges, union);
    }

    fn hand_over(&mut self, end: SeqNum) {
        if let Some(next) = self.next {
            let len = next.distance_to(end);
            self.queue = self.queue.saturating_add(len);
            self.received += u64::from(len);
            self.next = Some(end);
        }
    }

    /// Moves kept bytes that RCV.NXT has passed.
    fn take_kept(&mut self) {
        while let Some(next) = self.next {
            let more = |kept: &&SeqRange| kept.start.before_eq(next) && kept.end().after(next);
            let Some(range) = self.kept.iter().find(more).copied() else {
                break;
            };
            if !next.before(self.conn.rcv_nxt()) {
                break;
            }
            self.hand_over(range.end());
        }
        if let Some(next) = self.next {
            self.kept.retain(|kept| kept.end().after(next));
        }
    }

    /// "Every byte of the stream before RCV.NXT has been handed to the caller", and none behind it.
    fn check_next(&self) {
        let Some(next) = self.next else { return };
        if self.conn.state() == State::Closed {
            return;
        }
        let ahead = next.distance_to(self.conn.rcv_nxt());
        let fin = u32::from(!self.conn.can_receive());
        assert!(
            ahead == 0 || ahead == fin,
            "RCV.NXT is {ahead} ahead of the bytes: {:?}",
            self.conn
        );
    }

    /// What the peer allows, at most: an acknowledgment outside of what is in flight says nothing.
    fn note_peer_window(&mut self, segment: &Segment) {
        let header = &segment.header;
        let (una, nxt) = (self.conn.snd_una(), self.conn.snd_nxt());
        if !header.flags.ack() {
            // The SYN of a simultaneous open.
            if header.flags.syn() && self.conn.state() == State::SynSent {
                self.raise_peer_edge(una.add(1).add(u32::from(header.window)));
            }
            return;
        }
        if header.ack.before(una) || header.ack.after(nxt) {
            return;
        }
        let scale = match (header.flags.syn(), self.conn.negotiated()) {
            (false, Some(agreed)) => agreed.snd_scale,
            _ => Default::default(),
        };
        self.raise_peer_edge(header.ack.add(scale.widen(header.window)));
    }

    fn raise_peer_edge(&mut self, edge: SeqNum) {
        self.peer_edge = Some(self.peer_edge.map_or(edge, |old| SeqNum::max(old, edge)));
    }

    pub fn tick(&mut self, cx: &Context<'_>) {
        for _ in 0..10 {
            if self.conn.poll_timeout().is_none_or(|at| at > cx.now) {
                return;
            }
            self.conn.on_timer(cx, &mut self.shelf);
            self.check_next();
        }
        let timer = self.conn.timer();
        assert!(
            timer.is_none_or(|(_, at)| at > cx.now),
            "a timer that never comes to rest: {timer:?}"
        );
    }

    /// A call of the user's, of the layers below, or of the network's; false for an operation of another kind.
    pub fn apply(&mut self, cx: &Context<'_>, op: &Op) -> bool {
        match *op {
            Op::Write { len, .. } => self.write(u32::from(len)),
            Op::Read { len, .. } => self.read(cx, u32::from(len)),
            Op::Shutdown { .. } => self.conn.shutdown_write(cx),
            Op::Close { .. } => {
                self.conn.close(cx, self.queue > 0);
                self.closed = true;
            }
            Op::Abort { .. } => {
                self.conn.abort(cx);
                self.closed = true;
            }
            Op::Switch { what, on, .. } => match what {
                Switch::Nodelay => self.conn.set_nodelay(on),
                Switch::Cork => self.conn.set_cork(on),
                Switch::More => self.conn.set_more(on),
            },
            Op::Options { which, value, .. } => {
                self.conn.set_options(cx, op::options(which, value))
            }
            Op::Buffer { len, .. } => {
                self.limit = memory_for(u32::from(len));
                self.fixed = true;
                self.conn.resize_recv_buffer(cx, &self.memory());
            }
            // By routing, or by an ICMP error.
            Op::PathMss { mss, .. } if mss % 2 == 0 => self.conn.set_path_mss(cx, mss),
            Op::PathMss { mss, .. } => {
                let seq = self.conn.snd_una();
                self.conn.on_too_big(cx, seq, mss, &mut self.shelf);
            }
            Op::Unreachable { hard, at, .. } => {
                let seq = self.conn.snd_una().add(u32::from(at));
                self.conn.on_unreachable(cx, seq, hard);
            }
            Op::Burst { limit, .. } => self.burst = u32::from(limit),
            Op::Hold { on, .. } => self.held = on,
            Op::Refuse {
                why, after, share, ..
            } => {
                self.refuse = Some(Refuse {
                    why: op::refusal(why),
                    after: after % 4,
                    share,
                })
            }
            Op::Memory {
                flight,
                reassembly,
                room,
                ..
            } => {
                self.shelf.none = !flight;
                self.with_reassembly = reassembly;
                self.room = match room {
                    u16::MAX => u32::MAX,
                    room => u32::from(room),
                };
            }
            Op::Forget { .. } => {
                self.lossy |= self.shelf.flight.is_some();
                self.shelf.flight = None;
            }
            Op::Renege { .. } => self.renege(),
            _ => return false,
        }
        true
    }

    /// Nothing is in the way any more: memory, queues, options.
    pub fn relent(&mut self, cx: &Context<'_>) {
        self.shelf.none = false;
        self.with_reassembly = true;
        self.room = u32::MAX;
        self.held = false;
        self.refuse = None;
        self.conn.set_cork(false);
        self.limit = self.limit.max(memory_for(5_000));
        self.conn.resize_recv_buffer(cx, &self.memory());
    }

    fn write(&mut self, len: u32) {
        let waits = self
            .conn
            .first_unacked_byte()
            .distance_to(self.conn.write_seq());
        let len = len.min(SEND_BUFFER.saturating_sub(waits));
        if self.conn.can_send() {
            self.written += u64::from(len);
            self.conn.write(len);
        }
    }

    pub fn read(&mut self, cx: &Context<'_>, len: u32) {
        let len = len.min(self.queue);
        self.queue -= len;
        let memory = self.memory();
        let held = Some(&self.reassembly);
        let grown = self.conn.on_consumed(cx, len, self.queue, &memory, held);
        self.grow(grown);
    }

    fn renege(&mut self) {
        self.reneged = true;
        self.reassembly.clear();
        self.kept.clear();
        self.conn.set_recv_memory(&self.memory());
    }

    pub fn set_burst(&mut self, limit: u16) {
        self.burst = u32::from(limit);
    }

    pub fn unread(&self) -> u32 {
        self.queue
    }

    /// Polls until there is nothing more to send; what has left comes back.
    pub fn settle(&mut self, cx: &Context<'_>) -> Vec<Transmit> {
        let mut sent = Vec::new();
        self.events();
        for round in 0.. {
            assert!(round < 10_000, "sends for ever: {:?}", self.conn);
            let wait = self.held && self.conn.unacked() > 0 && self.conn.may_send_data();
            let transmit = match wait {
                true => self.conn.poll_without_data(cx),
                false => {
                    let limit = BurstLimit(self.burst);
                    twin::compare_rest(&self.conn, cx, &self.shelf);
                    self.conn.poll_transmit(cx, limit, &mut self.shelf)
                }
            };
            let Some(transmit) = transmit else { break };
            self.check_transmit(&transmit);
            match self.refuse {
                Some(Refuse { why, after: 0, .. }) => {
                    sent.extend(self.refused(cx, transmit));
                    if why != Refusal::Congested {
                        break;
                    }
                }
                _ => sent.push(transmit),
            }
            if let Some(refuse) = &mut self.refuse {
                refuse.after = refuse.after.saturating_sub(1);
            }
        }
        self.events();
        if self.short {
            self.watch.may_shrink();
            self.short = !sent.iter().any(|sent| sent.header.flags.ack());
        }
        self.check(cx);
        sent
    }

    /// The layers below do not take it, or take only its beginning.
    fn refused(&mut self, cx: &Context<'_>, transmit: Transmit) -> Option<Transmit> {
        let Refuse { why, share, .. } = self.refuse.take()?;
        let len = transmit.payload.len;
        let part = u32::from(share).saturating_mul(u32::from(transmit.mss));
        let sent = match why {
            Refusal::Congested => len,
            _ if part < len => part,
            _ => 0,
        };
        self.conn
            .on_refusal(cx, &transmit, sent, why, &mut self.shelf);
        self.watch.on_refusal(&self.conn);
        let mut left = transmit;
        left.payload.len = sent;
        if sent < len {
            left.header.flags.remove(Flags::FIN.union(Flags::PSH));
        }
        (why == Refusal::Congested || sent > 0).then_some(left)
    }

    fn events(&mut self) {
        let events = self.conn.take_events();
        if events.contains(Event::Established) {
            assert!(!self.established, "established twice");
            self.established = true;
        }
        if events.contains(Event::PeerClosed) {
            assert!(!self.end_of_file, "two ends of file");
            self.end_of_file = true;
        }
        if events.contains(Event::Error) {
            assert!(self.conn.error().is_some());
        }
    }

    fn check_transmit(&mut self, transmit: &Transmit) {
        let header = &transmit.header;
        let flags = header.flags;
        let range = transmit.payload;
        let conn = &self.conn;
        check_wire(header);
        let opening = matches!(conn.state(), State::SynSent | State::SynReceived);
        assert!(!flags.syn() || opening, "{transmit:?}");
        if !matches!(transmit.kind, TransmitKind::Reset | TransmitKind::Syn) {
            assert!(flags.ack(), "{transmit:?}");
            assert_eq!(header.ack, conn.rcv_nxt(), "{transmit:?}");
        }
        if !range.is_empty() {
            assert!(transmit.mss > 0, "{transmit:?}");
            assert!(
                range.len <= self.burst.max(u32::from(transmit.mss)),
                "{transmit:?} for a burst of {}",
                self.burst
            );
            assert_eq!(range.start, header.seq.add(u32::from(flags.syn())));
            assert!(
                range.start.after_eq(conn.first_unacked_byte()),
                "{transmit:?}"
            );
            assert!(range.end().before_eq(conn.write_seq()), "{transmit:?}");
            // A probe asks for what is not allowed.
            if transmit.kind != TransmitKind::Probe {
                let edge = self.peer_edge.unwrap_or(range.start);
                assert!(
                    range.end().before_eq(edge),
                    "beyond the peer's window, which ends at {edge:?}: {transmit:?}"
                );
            }
        }
        // A tail loss probe has a kind of its own (RFC 8985 section 7.3); a single segment may always go.
        let counts = matches!(
            transmit.kind,
            TransmitKind::Data | TransmitKind::Retransmission
        );
        if counts && !range.is_empty() && !self.lossy && !self.shelf.none {
            let flight = conn.in_network(self.shelf.flight.as_deref());
            let most = conn.cwnd().max(u32::from(transmit.mss)) + 1;
            // Segments may have grown since the window was given room for one (the path's MTU, between a timeout and what it
            // sends again): the window of segments that RFC 5681 means has that room still.
            let grown = transmit.kind == TransmitKind::Retransmission
                && range.len <= u32::from(transmit.mss)
                && flight.saturating_sub(range.len) < conn.cwnd();
            assert!(
                flight <= most || flight == range.len || grown,
                "{flight} in flight, cwnd {}: {transmit:?} {conn:?}",
                conn.cwnd()
            );
        }
        self.check_offer(transmit);
    }

    /// What our segments promise and report.
    fn check_offer(&mut self, transmit: &Transmit) {
        let header = &transmit.header;
        if !header.flags.ack() || header.flags.rst() {
            return;
        }
        let scale = match (header.flags.syn(), self.conn.negotiated()) {
            (false, Some(agreed)) => agreed.rcv_scale,
            _ => Default::default(),
        };
        let edge = header.ack.add(scale.widen(header.window));
        self.our_edge = Some(self.our_edge.map_or(edge, |old| SeqNum::max(old, edge)));
        // RFC 2018 section 4, RFC 2883: what has come and is kept, or has come twice. After a renege an old report may stand.
        if self.reneged {
            return;
        }
        for block in header.options.sack.iter() {
            let held = self.reassembly.contains_range(block);
            // What a segment half the circle away says of itself: before and after have no meaning there.
            let far = header.ack.distance_to(block.start).wrapping_add(1 << 30) > 1 << 31;
            let old = far || block.end().before_eq(header.ack);
            assert!(
                held || old || !self.conn.can_receive(),
                "reports {block:?}, which has not come: {transmit:?}, kept {:?}",
                self.kept
            );
        }
    }

    /// What is true whenever nothing moves.
    fn check(&mut self, cx: &Context<'_>) {
        let conn = &self.conn;
        let state = conn.state();
        let before = self.state;
        assert!(leads(before, state, 3), "{before:?} -> {state:?}");
        self.state = state;
        if self.lossy || self.shelf.none {
            self.watch
                .check_numbers_and_timers("connection", conn, cx.now);
        } else {
            let flight = self.shelf.flight.as_deref();
            self.watch.check("connection", conn, flight, cx.now);
        }
        let dead = state == State::Closed;
        assert!(conn.unacked() < 1 << 31);
        assert_eq!(conn.poll_timeout().is_some(), conn.timer().is_some());
        assert_eq!(conn.time_wait(cx).is_some(), state == State::TimeWait);
        assert!(conn.error().is_none() || dead, "{conn:?}");
        if dead {
            assert!(!conn.can_send() && !conn.can_receive());
            return;
        }
        assert!(conn.first_unacked_byte().before_eq(conn.write_seq()));
        let sending = !matches!(state, State::SynSent | State::FinWait2 | State::TimeWait);
        if sending {
            // A segment of the least size.
            assert!(conn.cwnd() >= 8, "{conn:?}");
            let rto = conn.rto(cx.config);
            assert!(rto <= cx.config.rto_max && rto >= Duration::from_millis(1));
        }
        if conn.can_receive() {
            for range in self.reassembly.iter() {
                assert!(
                    range.start.after(conn.rcv_nxt()),
                    "{range:?} is no hole's end: {conn:?}"
                );
            }
        }
    }
}

/// What is written is read, and fits.
fn check_wire(header: &Header) {
    let mut bytes = [0; 60];
    let len = header.emit(&mut bytes);
    assert!((20..=60).contains(&len) && len % 4 == 0);
    let mut expected = *header;
    let fit = header.options.sack_that_fits();
    expected.options.sack.truncate(fit);
    assert_eq!(Header::parse(&bytes[..len]), Ok(expected));
}

/// All that the connection knows, but for whether it has found out that there is nothing to send.
fn without_status(conn: &Connection) -> String {
    let text = format!("{conn:?}");
    let (before, rest) = text.split_once("status: Status(").expect("the status");
    let (_, after) = rest.split_once(')').expect("its end");
    format!("{before}{after}")
}
