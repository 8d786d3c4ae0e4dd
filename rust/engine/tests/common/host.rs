// SPDX-License-Identifier: GPL-2.0
//! A host: the engine and, around it, what the kernel adapter keeps: the bytes to send, the receive queue,
//! the out-of-order store, half-open requests, TIME-WAIT. Whatever the engine promises its caller is
//! asserted here on every call.

use super::app::{App, Finish};
use super::invariants::Watch;
use super::memory::Memory;
use super::packet;
use super::rng::{content, Rng};
use super::twin;
use oxtcp_engine::listen::{self, ListenVerdict};
use oxtcp_engine::reassembly::Reassembly;
use oxtcp_engine::reply;
use oxtcp_engine::request::{Request, RequestOpen, RequestTimer, RequestVerdict};
use oxtcp_engine::time_wait::{TimeWait, TimeWaitVerdict};
use oxtcp_engine::wire::{Ecn, Flags, Header};
use oxtcp_engine::{
    ActiveOpen, BurstLimit, Config, Connection, Context, Duration, Error, Event, Instant, Packet,
    PassiveOpen, Payload, Pruning, RecvMemory, Room, Rx, Segment, SeqNum, SeqRange, SocketOptions,
    State, Transmit, TransmitKind,
};
use std::collections::VecDeque;

/// How a host is set up.
#[derive(Clone, Debug)]
pub struct Setup {
    pub config: Config,
    pub iss: u32,
    /// The same for every connection between two hosts, as the hash of the kernel is.
    pub ts_offset: u32,
    pub mss: u16,
    pub path_mss: u16,
    /// Bytes of the send and of the receive buffer.
    pub send_buffer: usize,
    pub recv_buffer: usize,
    /// The receive buffer may grow so far, when the program reads fast enough; 0 for a fixed one.
    pub recv_most: usize,
    /// Chance per mille that a segment finds no memory, or not enough, although the window allows it.
    pub pressure: u32,
    /// Of the free receive buffer so many per mille are told to the engine: the rest goes for overhead.
    pub payload_share: usize,
    /// Bytes per burst.
    pub burst: u32,
    /// Whether there is memory for out-of-order ranges.
    pub reassembly: bool,
    /// Chance per mille and segment that all that came out of order is thrown away, although it was reported.
    pub renege: u32,
    /// Chance per mille that there is no memory for what is in flight.
    pub scarce: u32,
    /// How many completing ACKs find the accept queue full.
    pub accept_full: u32,
    /// Listens again once a connection is gone.
    pub relisten: bool,
    pub options: SocketOptions,
}

impl Default for Setup {
    fn default() -> Self {
        Setup {
            config: Config::default(),
            iss: 1_000_000,
            ts_offset: 0xffff_0000,
            mss: 1460,
            path_mss: 1460,
            send_buffer: 1 << 16,
            recv_buffer: 1 << 16,
            recv_most: 0,
            pressure: 0,
            payload_share: 1000,
            burst: 65_000,
            reassembly: true,
            renege: 0,
            scarce: 0,
            accept_full: 0,
            relisten: false,
            options: SocketOptions::default(),
        }
    }
}

/// A connection with its buffers.
pub struct Socket {
    pub conn: Connection,
    pub flight: Memory,
    watch: Watch,
    reassembly: Reassembly,
    /// Kept out-of-order bytes.
    kept: Vec<(SeqNum, Vec<u8>)>,
    queue: VecDeque<u8>,
    /// The sequence number of the next byte for `queue`; known with the connection.
    next: Option<SeqNum>,
    send: VecDeque<u8>,
    /// The sequence number of the first byte in `send`.
    send_start: SeqNum,
    fin: bool,
    pub established: bool,
    pub error: Option<Error>,
}

/// What stands at the host's port.
pub enum Slot {
    Idle,
    Listening,
    Half(Request, Instant),
    Open(Box<Socket>),
    Waiting(TimeWait, Instant),
    Done,
}

pub struct Host {
    pub name: &'static str,
    pub setup: Setup,
    pub slot: Slot,
    pub app: App,
    rng: Rng,
    /// The highest number that this host ever said it would take, as absolute right edge.
    pub offered: Option<SeqNum>,
    /// Every state that the connection was in.
    pub history: Vec<State>,
    pub sent: Counts,
    /// The scale that the peer applies to our window fields.
    scale: u8,
    pub error: Option<Error>,
    /// Bursts leave in one piece, as over loopback.
    pub whole_bursts: bool,
    pub trace: bool,
}

#[derive(Clone, Copy, Default, Debug)]
pub struct Counts {
    pub packets: u64,
    pub bytes: u64,
    pub retransmissions: u64,
    pub acks: u64,
    pub resets: u64,
    pub probes: u64,
    pub loss_probes: u64,
    /// Segments that said that the window was reduced (CWR).
    pub reductions: u64,
    /// Segments that came, and that header prediction would have taken.
    pub expected: u64,
}

impl Host {
    pub fn new(name: &'static str, setup: Setup, app: App, rng: Rng) -> Self {
        Host {
            name,
            setup,
            slot: Slot::Idle,
            app,
            rng,
            offered: None,
            history: Vec::new(),
            sent: Counts::default(),
            scale: 0,
            error: None,
            whole_bursts: false,
            trace: std::env::var_os("OXTCP_TRACE").is_some(),
        }
    }

    pub fn listen(&mut self) {
        self.slot = Slot::Listening;
    }

    fn options(&self) -> SocketOptions {
        SocketOptions {
            nodelay: self.app.plan.nodelay,
            ..self.setup.options
        }
    }

    pub fn connect(&mut self, now: Instant) {
        let config = self.setup.config;
        let cx = Context::new(now, &config);
        let open = ActiveOpen {
            iss: SeqNum::new(self.setup.iss),
            ts_offset: self.setup.ts_offset,
            advertised_mss: self.setup.mss,
            path_mss: self.setup.path_mss,
            recv_space: self.setup.recv_buffer as u32,
            recv_limit: (self.setup.recv_buffer.max(2 * self.setup.recv_most)) as u32,
            options: self.options(),
        };
        let conn = Connection::connect(&cx, &open);
        self.open(conn);
    }

    fn open(&mut self, conn: Connection) {
        self.slot = Slot::Open(Box::new(Socket {
            conn,
            watch: Watch::default(),
            flight: Memory::new(self.setup.scarce, self.rng.fork()),
            reassembly: Reassembly::new(),
            kept: Vec::new(),
            queue: VecDeque::new(),
            next: None,
            send: VecDeque::new(),
            send_start: SeqNum::new(self.setup.iss).add(1),
            fin: false,
            established: false,
            error: None,
        }));
    }

    /// When the host is to be woken.
    pub fn deadline(&self, now: Instant) -> Option<Instant> {
        match &self.slot {
            Slot::Idle | Slot::Listening | Slot::Done => None,
            Slot::Half(_, at) | Slot::Waiting(_, at) => Some(*at),
            Slot::Open(socket) => {
                let mut first = socket.conn.poll_timeout();
                let mut also = |at: Instant| {
                    if at > now {
                        first = Some(first.map_or(at, |first| first.min(at)));
                    }
                };
                if !self.app.shut && !self.app.closed {
                    if let Some(at) = self.app.next_write {
                        also(at);
                    }
                }
                if !socket.queue.is_empty() {
                    also(self.app.next_read);
                }
                first
            }
        }
    }

    pub fn is_gone(&self) -> bool {
        matches!(self.slot, Slot::Done)
    }

    pub fn socket(&self) -> Option<&Socket> {
        match &self.slot {
            Slot::Open(socket) => Some(socket),
            _ => None,
        }
    }

    /// A packet has arrived.
    pub fn receive(&mut self, now: Instant, bytes: &[u8], out: &mut Vec<Vec<u8>>) {
        let Some((segment, payload)) = packet::read(bytes) else {
            return;
        };
        let config = self.setup.config;
        let cx = Context::new(now, &config);
        if matches!(self.slot, Slot::Listening) {
            match listen::on_segment(&cx, &segment) {
                ListenVerdict::Syn => {
                    let open = RequestOpen {
                        iss: SeqNum::new(self.setup.iss),
                        ts_offset: self.setup.ts_offset,
                        advertised_mss: self.setup.mss,
                        recv_space: self.setup.recv_buffer as u32,
                        recv_limit: (self.setup.recv_buffer.max(2 * self.setup.recv_most)) as u32,
                        signature: oxtcp_engine::wire::Signature::NONE,
                    };
                    let request = Request::new(&cx, &segment, &open);
                    self.emit(&request.syn_ack(&cx), &[], out, now);
                    let at = now + request.next_timeout(&cx);
                    self.slot = Slot::Half(request, at);
                }
                ListenVerdict::Reply(transmit) => self.emit(&transmit, &[], out, now),
                ListenVerdict::Ignore => {}
            }
            return;
        }
        if let Slot::Half(request, _) = &mut self.slot {
            match request.on_segment(&cx, &segment) {
                RequestVerdict::Complete => {
                    if self.setup.accept_full > 0 {
                        self.setup.accept_full -= 1;
                        return;
                    }
                    let request = *request;
                    let open = PassiveOpen {
                        path_mss: self.setup.path_mss,
                        recv_space: self.setup.recv_buffer as u32,
                        options: self.options(),
                    };
                    let conn = Connection::accept(&cx, &request, &open);
                    assert_eq!(conn.state(), State::SynReceived);
                    self.open(conn);
                    self.note_state();
                    self.socket_segment(&cx, &segment, payload);
                    self.note_state();
                    assert_ne!(
                        self.history.last(),
                        Some(&State::SynReceived),
                        "{}",
                        self.name
                    );
                }
                RequestVerdict::Resend(transmit) | RequestVerdict::Reply(transmit) => {
                    self.emit(&transmit, &[], out, now);
                }
                RequestVerdict::Drop => self.slot = Slot::Listening,
                RequestVerdict::Ignore => {}
            }
            return;
        }
        if let Slot::Waiting(time_wait, _) = &mut self.slot {
            let awaited = time_wait.awaits_fin();
            let verdict = time_wait.on_segment(&cx, &segment);
            if awaited && !time_wait.awaits_fin() {
                self.history.push(State::TimeWait);
            }
            match verdict {
                TimeWaitVerdict::Ignore => {}
                TimeWaitVerdict::Ack(transmit) => self.emit(&transmit, &[], out, now),
                TimeWaitVerdict::Restart(transmit) => {
                    self.emit(&transmit, &[], out, now);
                    if let Slot::Waiting(_, at) = &mut self.slot {
                        *at = now + TimeWait::LENGTH;
                    }
                }
                TimeWaitVerdict::Reopen { iss_after } if self.setup.relisten => {
                    self.setup.iss = iss_after.get();
                    self.gone();
                    self.receive(now, bytes, out);
                }
                TimeWaitVerdict::Reset(transmit) => {
                    self.emit(&transmit, &[], out, now);
                    self.gone();
                }
                TimeWaitVerdict::Reopen { .. } | TimeWaitVerdict::Kill => self.gone(),
            }
            return;
        }
        if matches!(self.slot, Slot::Open(_)) {
            self.socket_segment(&cx, &segment, payload);
            return;
        }
        if let Some(reset) = reply::closed(&segment) {
            self.emit(&reset, &[], out, now);
        }
    }

    fn socket_segment(&mut self, cx: &Context<'_>, segment: &Segment, payload: &[u8]) {
        let with_reassembly = self.setup.reassembly;
        let trace = self.trace;
        let name = self.name;
        let Slot::Open(socket) = &mut self.slot else {
            return;
        };
        if self.rng.chance(self.setup.renege) {
            socket.reassembly.clear();
            socket.kept.clear();
        }
        let pressed = self.rng.chance(self.setup.pressure);
        let mut memory = memory_of(&self.setup, socket);
        let unread = socket.queue.len() as u32;
        let mut room = false;
        if segment.payload_len > 0 {
            match socket.conn.make_room(segment, &memory, unread) {
                Room::Enough => room = true,
                Room::Useless(_) => {}
                Room::Over(limit) => {
                    assert!(limit >= memory.limit && (limit == memory.limit || !memory.fixed));
                    self.setup.recv_buffer = (limit / 2) as usize;
                    memory.limit = limit;
                    if memory.is_over() {
                        socket.prune(segment.payload().start, &self.setup);
                        memory = memory_of(&self.setup, socket);
                    }
                    room = !memory.is_over();
                }
            }
            room &= !pressed;
            if !room {
                socket.watch.may_shrink();
            }
        }
        let truesize = memory_for(&self.setup, segment.payload_len as usize);
        // Longer ones are what a device has put together.
        let segment_size = match segment.payload_len > u32::from(self.setup.mss) {
            true => self.setup.mss,
            false => 0,
        };
        let packet = Packet {
            truesize,
            head: 0,
            segment_size,
        };
        let rx = || Rx {
            room,
            packet,
            most: memory.most,
            unread,
            lowat: 1,
            ..Rx::default()
        };
        if socket.reassembly.is_empty() {
            let used = memory.used.saturating_add(truesize);
            let memory = RecvMemory { used, ..memory };
            let expected = twin::compare(&socket.conn, cx, segment, rx(), &memory);
            self.sent.expected += u64::from(expected);
        }
        let rx = Rx {
            reassembly: with_reassembly.then_some(&mut socket.reassembly),
            ..rx()
        };
        let verdict = socket.conn.on_segment(cx, segment, rx, &mut socket.flight);
        if trace {
            eprintln!(
                "{:>10} {name} << {:?} seq {} ack {} len {} win {} {:?} -> {verdict:?} {:?}, room {room}",
                cx.now.as_micros(),
                segment.header.flags,
                segment.header.seq.get(),
                segment.header.ack.get(),
                segment.payload_len,
                segment.header.window,
                segment.header.options.sack.as_slice(),
                socket.conn.state(),
            );
        }
        let start = segment
            .header
            .seq
            .add(u32::from(segment.header.flags.syn()));
        match verdict {
            Payload::None => {}
            Payload::InOrder { skip, len } => {
                if segment.header.flags.syn() {
                    socket.next.get_or_insert(start);
                }
                assert!(len > 0 && room, "{name}: {verdict:?} with room {room}");
                let bytes = &payload[skip as usize..(skip + len) as usize];
                let next = socket.next.expect("bytes before the connection knows any");
                assert_eq!(start.add(skip), next, "{name}: not next in the stream");
                socket.queue.extend(bytes);
                socket.next = Some(next.add(len));
            }
            Payload::OutOfOrder { skip, len } => {
                assert!(with_reassembly);
                assert!(len > 0 && room, "{name}: {verdict:?} with room {room}");
                let bytes = &payload[skip as usize..(skip + len) as usize];
                socket.kept.push((start.add(skip), bytes.to_vec()));
            }
        }
        socket.take_kept();
        socket.check_next(name);
        let mut memory = memory_of(&self.setup, socket);
        if matches!(verdict, Payload::OutOfOrder { .. }) {
            let held = Some(&socket.reassembly);
            if let Some(limit) = socket.conn.grow_for_hole(&memory, held) {
                assert!(limit > memory.limit && limit <= memory.most);
                self.setup.recv_buffer = (limit / 2) as usize;
                memory.limit = limit;
            }
        }
        socket.conn.set_recv_memory(&memory);
        // A single packet may go beyond.
        assert!(
            memory.used <= memory.limit + memory_for(&self.setup, 70_000),
            "{name}: {memory:?}"
        );
    }

    /// The clock has come to `now`.
    pub fn tick(&mut self, now: Instant, out: &mut Vec<Vec<u8>>) {
        let config = self.setup.config;
        let cx = Context::new(now, &config);
        match &mut self.slot {
            Slot::Half(request, at) if *at <= now => match request.on_timer(&cx) {
                RequestTimer::Resend(transmit) => {
                    *at = now + request.next_timeout(&cx);
                    self.emit(&transmit, &[], out, now);
                }
                RequestTimer::Expire | RequestTimer::Wait => self.slot = Slot::Listening,
            },
            Slot::Waiting(_, at) if *at <= now => self.gone(),
            Slot::Open(socket) if socket.conn.poll_timeout().is_some_and(|at| at <= now) => {
                if self.trace {
                    let timer = socket.conn.timer();
                    eprintln!("{:>10} {} timer {timer:?}", now.as_micros(), self.name);
                }
                socket.conn.on_timer(&cx, &mut socket.flight);
                socket.check_next(self.name);
            }
            _ => {}
        }
    }

    /// Lets the program do what it can, and sends what the engine has to send, until neither moves.
    pub fn run(&mut self, now: Instant, out: &mut Vec<Vec<u8>>, peer_offered: Option<SeqNum>) {
        let config = self.setup.config;
        let cx = Context::new(now, &config);
        for round in 0.. {
            assert!(round < 10_000, "{}: never comes to rest", self.name);
            if !matches!(self.slot, Slot::Open(_)) {
                return;
            }
            self.note_state();
            let mut moved = self.events();
            moved |= self.run_app(&cx);
            moved |= self.transmit(&cx, out, peer_offered);
            self.note_state();
            if !moved {
                break;
            }
        }
        self.retire(&cx);
    }

    fn events(&mut self) -> bool {
        let Slot::Open(socket) = &mut self.slot else {
            return false;
        };
        let events = socket.conn.take_events();
        if events.contains(Event::Established) {
            assert!(!socket.established, "{}: established twice", self.name);
            socket.established = true;
        }
        if events.contains(Event::PeerClosed) {
            assert!(!socket.fin, "{}: two ends of file", self.name);
            socket.fin = true;
        }
        if events.contains(Event::Error) {
            socket.error = socket.conn.error();
            assert!(socket.error.is_some());
            self.error = socket.error;
        }
        // The peer's acknowledgments free the send buffer.
        let acked = socket
            .send_start
            .distance_to(socket.conn.first_unacked_byte());
        if socket.established {
            assert!(
                acked as usize <= socket.send.len(),
                "{}: more acked than written",
                self.name
            );
            socket.send.drain(..acked as usize);
            socket.send_start = socket.send_start.add(acked);
        }
        !events.is_empty()
    }

    /// Writes, reads, shuts down, closes.
    fn run_app(&mut self, cx: &Context<'_>) -> bool {
        let send_buffer = self.setup.send_buffer;
        let Slot::Open(socket) = &mut self.slot else {
            return false;
        };
        if !socket.established {
            return false;
        }
        let app = &mut self.app;
        let mut moved = false;
        let next_write = *app.next_write.get_or_insert(cx.now + app.plan.think);

        let left = app.plan.bytes - app.written;
        let room = send_buffer.saturating_sub(socket.send.len()) as u64;
        // A writer is woken when a third of the buffer is free.
        let room = if room * 3 < send_buffer as u64 {
            0
        } else {
            room
        };
        let len = left.min(room).min(app.plan.write);
        if len > 0 && next_write <= cx.now && socket.conn.can_send() {
            let more = len < left && self.rng.chance(app.plan.more);
            socket
                .send
                .extend(content(app.plan.stream, app.written, len as usize));
            app.written += len;
            socket.conn.set_more(more);
            socket.conn.write(len as u32);
            app.next_write = Some(cx.now + app.plan.write_every);
            moved = true;
        }

        if !socket.queue.is_empty() && app.next_read <= cx.now {
            let len = app.plan.read.min(socket.queue.len() as u64) as usize;
            let bytes: Vec<u8> = socket.queue.drain(..len).collect();
            assert_eq!(
                bytes,
                content(app.expect_stream, app.read, len),
                "{}: wrong bytes at {}",
                self.name,
                app.read
            );
            app.read += len as u64;
            app.next_read = cx.now + app.plan.read_every;
            let memory = memory_of(&self.setup, socket);
            let unread = socket.queue.len() as u32;
            let held = Some(&socket.reassembly);
            let grown = socket
                .conn
                .on_consumed(cx, len as u32, unread, &memory, held);
            if let Some(limit) = grown {
                assert!(!memory.fixed && limit > memory.limit && limit <= memory.most);
                self.setup.recv_buffer = (limit / 2) as usize;
            }
            moved = true;
        }
        if socket.fin && socket.queue.is_empty() && !app.end_of_file {
            assert_eq!(
                app.read, app.expect_bytes,
                "{}: end of file too early",
                self.name
            );
            assert!(!socket.conn.can_receive());
            app.end_of_file = true;
            moved = true;
        }

        let written = app.written == app.plan.bytes && next_write <= cx.now;
        let shut = written
            && match app.plan.finish {
                Finish::Shutdown => true,
                Finish::AfterPeer => app.end_of_file,
                Finish::Close => false,
            };
        if shut && !app.shut {
            socket.conn.shutdown_write(cx);
            app.shut = true;
            moved = true;
        }
        let close = match app.plan.finish {
            Finish::Close => written,
            _ => app.shut && app.end_of_file,
        };
        if close && !app.closed {
            socket.conn.close(cx, !socket.queue.is_empty());
            app.closed = true;
            moved = true;
        }
        moved
    }

    fn transmit(
        &mut self,
        cx: &Context<'_>,
        out: &mut Vec<Vec<u8>>,
        peer_offered: Option<SeqNum>,
    ) -> bool {
        let mut moved = false;
        for round in 0.. {
            assert!(round < 100_000, "{}: sends for ever", self.name);
            let Slot::Open(socket) = &mut self.slot else {
                break;
            };
            let limit = BurstLimit(self.setup.burst);
            let Some(transmit) = socket.conn.poll_transmit(cx, limit, &mut socket.flight) else {
                break;
            };
            moved = true;
            socket.check_transmit(self.name, &transmit, peer_offered);
            let from = socket.send_start.distance_to(transmit.payload.start) as usize;
            let payload: Vec<u8> = if transmit.payload.is_empty() {
                Vec::new()
            } else {
                let to = from + transmit.payload.len as usize;
                socket.send.range(from..to).copied().collect()
            };
            self.emit(&transmit, &payload, out, cx.now);
        }
        moved
    }

    /// What is true whenever nothing moves.
    pub fn check_rest(&mut self, now: Instant) {
        if let Slot::Open(socket) = &mut self.slot {
            if socket.flight.scarce == 0 {
                let flight = socket.flight.peek();
                socket.watch.check(self.name, &socket.conn, flight, now);
            }
        }
    }

    /// A connection that is over leaves the socket.
    fn retire(&mut self, cx: &Context<'_>) {
        let Slot::Open(socket) = &mut self.slot else {
            return;
        };
        let done = socket.queue.is_empty() && (self.app.closed || socket.error.is_some());
        match socket.conn.state() {
            State::TimeWait if done => {
                let time_wait = socket.conn.time_wait(cx).expect("in TIME-WAIT");
                assert_eq!(time_wait.snd_nxt(), socket.conn.snd_nxt());
                assert_eq!(time_wait.rcv_nxt(), socket.conn.rcv_nxt());
                self.slot = Slot::Waiting(time_wait, cx.now + TimeWait::LENGTH);
            }
            // As the adapter does it: nobody is there, and only the peer's FIN is missing.
            State::FinWait2 if done => {
                if let Some((kept, until)) = socket.conn.fin_wait_2(cx) {
                    assert_eq!(kept.rcv_nxt(), socket.conn.rcv_nxt());
                    self.slot = Slot::Waiting(kept, until);
                }
            }
            State::Closed if done => self.gone(),
            _ => {}
        }
    }

    /// Nothing is left of the connection.
    fn gone(&mut self) {
        if self.history.last() == Some(&State::FinWait2) {
            self.history.push(State::Closed);
        }
        self.slot = if self.setup.relisten {
            Slot::Listening
        } else {
            Slot::Done
        };
        self.offered = None;
    }

    /// The network says that a packet of ours was too big; it quotes the header.
    pub fn too_big(&mut self, now: Instant, packet: &[u8], largest: usize) {
        let config = self.setup.config;
        let cx = Context::new(now, &config);
        let Ok(header) = Header::parse(&packet[packet::IP..]) else {
            return;
        };
        if let Slot::Open(socket) = &mut self.slot {
            let mss = (largest - 20) as u16;
            socket
                .conn
                .on_too_big(&cx, header.seq, mss, &mut socket.flight);
        }
    }

    fn note_state(&mut self) {
        if let Slot::Open(socket) = &mut self.slot {
            let state = socket.conn.state();
            if self.history.last() != Some(&state) {
                self.history.push(state);
            }
            // The stream begins where the peer's SYN ends.
            if socket.next.is_none() && !matches!(state, State::SynSent | State::Closed) {
                socket.next = Some(socket.conn.rcv_nxt());
            }
        }
    }

    fn emit(&mut self, transmit: &Transmit, payload: &[u8], out: &mut Vec<Vec<u8>>, now: Instant) {
        let header = &transmit.header;
        if self.trace {
            eprintln!(
                "{:>10} {} >> {:?} {:?} {:?} seq {} ack {} len {} win {} mss {} {:?}",
                now.as_micros(),
                self.name,
                transmit.kind,
                header.flags,
                transmit.ecn,
                header.seq.get(),
                header.ack.get(),
                payload.len(),
                header.window,
                transmit.mss,
                header.options.sack.as_slice(),
            );
        }
        assert!(header.wire_len() <= 60);
        if header.flags.syn() {
            self.scale = header.options.window_scale.map_or(0, |scale| scale.get());
        }
        if header.flags.ack() && !header.flags.rst() {
            let scale = if header.flags.syn() { 0 } else { self.scale };
            let edge = header.ack.add(u32::from(header.window) << scale);
            self.offered = Some(self.offered.map_or(edge, |old| SeqNum::max(old, edge)));
        }
        match transmit.kind {
            TransmitKind::Retransmission => self.sent.retransmissions += 1,
            TransmitKind::LossProbe | TransmitKind::LossProbeData => self.sent.loss_probes += 1,
            TransmitKind::Reset => self.sent.resets += 1,
            TransmitKind::Probe => self.sent.probes += 1,
            TransmitKind::Ack | TransmitKind::WindowUpdate => self.sent.acks += 1,
            _ => {}
        }
        self.sent.reductions += u64::from(header.flags.contains(Flags::CWR) && !header.flags.syn());
        self.sent.packets += 1;
        self.sent.bytes += payload.len() as u64;
        if self.whole_bursts {
            out.push(packet::build(header, transmit.ecn, payload));
        } else {
            out.extend(packet::cut(transmit, payload));
        }
    }
}

impl Socket {
    /// Memory is short, and a packet that begins at `came` is to be kept.
    fn prune(&mut self, came: SeqNum, setup: &Setup) {
        let mut pruning = Pruning::new(came, &memory_of(setup, self));
        loop {
            let last =
                (0..self.kept.len()).reduce(|a, b| match self.kept[b].0.after(self.kept[a].0) {
                    true => b,
                    false => a,
                });
            let Some(last) = last else { break };
            let (start, bytes) = &self.kept[last];
            let truesize = memory_for(setup, bytes.len());
            if !pruning.next(*start, truesize, &memory_of(setup, self)) {
                break;
            }
            self.kept.swap_remove(last);
        }
        self.reassembly.clear();
        for (start, bytes) in &self.kept {
            let range = SeqRange::new(*start, bytes.len() as u32);
            assert!(self.reassembly.insert(range));
        }
    }

    /// Moves kept bytes that have become the next ones.
    fn take_kept(&mut self) {
        let Some(mut next) = self.next else { return };
        // Only what RCV.NXT stands behind is ours to move.
        loop {
            let found = self.kept.iter().position(|(start, bytes)| {
                start.before_eq(next) && start.add(bytes.len() as u32).after(next)
            });
            let Some(at) = found else { break };
            if !next.before(self.conn.rcv_nxt()) {
                break;
            }
            let (start, bytes) = self.kept.swap_remove(at);
            let skip = start.distance_to(next) as usize;
            self.queue.extend(&bytes[skip..]);
            next = next.add((bytes.len() - skip) as u32);
        }
        self.kept
            .retain(|(start, bytes)| start.add(bytes.len() as u32).after(next));
        self.next = Some(next);
    }

    /// "All bytes before rcv_nxt have been handed over."
    fn check_next(&self, name: &str) {
        let Some(next) = self.next else { return };
        let nxt = self.conn.rcv_nxt();
        let fin = u32::from(!self.conn.can_receive());
        if self.conn.state() == State::Closed {
            return;
        }
        let ahead = next.distance_to(nxt);
        assert!(
            ahead == 0 || ahead == fin,
            "{name}: RCV.NXT is {ahead} ahead of the bytes"
        );
    }

    fn check_transmit(&self, name: &str, transmit: &Transmit, peer_offered: Option<SeqNum>) {
        let header = &transmit.header;
        let range = transmit.payload;
        let syn = u32::from(header.flags.syn());
        assert_eq!(header.src_port, 0);
        if !range.is_empty() {
            assert_eq!(range.start, header.seq.add(syn), "{name}: {transmit:?}");
            let from = self.send_start.distance_to(range.start) as usize;
            assert!(
                from + range.len as usize <= self.send.len(),
                "{name}: bytes that are not in the send buffer: {transmit:?}"
            );
            assert!(transmit.mss > 0);
            // The receiver's promise; a probe asks for more.
            if let (Some(edge), false) = (peer_offered, transmit.kind == TransmitKind::Probe) {
                assert!(
                    range.end().before_eq(edge),
                    "{name}: beyond the peer's window, which ends at {edge:?}: {transmit:?}"
                );
            }
        }
        // RFC 3168 sections 6.1.4 to 6.1.6: new data is ECT and nothing else, and only that says that the window was reduced.
        let new = matches!(
            transmit.kind,
            TransmitKind::Data | TransmitKind::LossProbeData
        );
        let capable = new && !range.is_empty() && self.conn.uses_ecn();
        let ecn = if capable { Ecn::Ect0 } else { Ecn::NotEct };
        assert_eq!(transmit.ecn, ecn, "{name}: {transmit:?}");
        let reduced = header.flags.contains(Flags::CWR) && !header.flags.syn();
        assert!(!reduced || capable, "{name}: {transmit:?}");
        let conn = &self.conn;
        // A flight that was forgotten just now leaves nothing but guesses.
        let known = self.flight.scarce == 0;
        // The exceptions: a tail loss probe (RFC 8985 section 7.3) has a kind of its own; a single segment goes when
        // nothing is in the network; a FIN takes a number and no room.
        let counts = matches!(
            transmit.kind,
            TransmitKind::Data | TransmitKind::Retransmission
        );
        if counts && !range.is_empty() && known {
            let flight = conn.in_network(self.flight.peek());
            let most = conn.cwnd().max(u32::from(transmit.mss)) + 1;
            assert!(
                flight <= most || flight == range.len,
                "{name}: {flight} in flight, cwnd {}: {transmit:?} {conn:?}",
                conn.cwnd()
            );
        }
        if header.flags.ack() && !header.flags.rst() {
            assert!(!header.flags.contains(Flags::URG));
        }
    }
}

/// The time until something happens at all.
pub fn earliest(times: impl IntoIterator<Item = Option<Instant>>) -> Option<Instant> {
    times.into_iter().flatten().min()
}

/// Seconds, for messages.
pub fn seconds(duration: Duration) -> f64 {
    duration.as_micros() as f64 / 1e6
}

/// What `len` bytes of payload take: twice as much, or more.
fn memory_for(setup: &Setup, len: usize) -> u32 {
    (2 * len * 1000 / setup.payload_share) as u32
}

/// The socket's receive memory.
fn memory_of(setup: &Setup, socket: &Socket) -> RecvMemory {
    let kept: usize = socket.kept.iter().map(|(_, bytes)| bytes.len()).sum();
    RecvMemory {
        used: memory_for(setup, socket.queue.len() + kept),
        limit: 2 * setup.recv_buffer as u32,
        most: 2 * setup.recv_most as u32,
        fixed: setup.recv_most == 0,
    }
}
