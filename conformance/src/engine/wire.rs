// SPDX-License-Identifier: GPL-2.0

//! Segments in and out: the flow table, listeners, small objects (the adapter's `input.rs`, `output.rs`,
//! `listener.rs`, `half_open.rs`, `icmp.rs`).

use std::hash::{DefaultHasher, Hash, Hasher};

use oxtcp_engine::connection::PassiveOpen;
use oxtcp_engine::cookie::{self, MssTable, Stamp};
use oxtcp_engine::listen::{self, ListenVerdict};
use oxtcp_engine::request::{Request, RequestOpen, RequestVerdict};
use oxtcp_engine::time_wait::{TimeWait, TimeWaitVerdict};
use oxtcp_engine::wire::{Ecn, Flags, Header, Signed, MAX_HEADER_LEN};
use oxtcp_engine::{
    isn, reply, BurstLimit, Connection, Context, Refusal, Segment, SeqNum, SeqRange, Transmit,
};

use super::memory::SendMemory;
use super::socket::{errno, tcp_state, tsflag, Role, Socket};
use super::{Engine, Mini, MiniEntry};
use crate::script::Micros;
use crate::shell::Queue;
use crate::wire::{Datagram, IcmpError};

/// What the kernel's keyed hash would give: any number does.
const HASH: u64 = 0x1f2e_3d4c_5b6a_7988;

/// The most bytes that the kernel puts into one packet (GSO_LEGACY_MAX_SIZE, less its headers).
pub(super) const BURST: u32 = 65_536 - 320 - 1;

/// The kernel's keyed hash for cookies.
fn hash(ports: (u16, u16), stamp: &Stamp) -> u64 {
    let mut hasher = DefaultHasher::new();
    (ports, stamp.key(), stamp.irs.get(), stamp.count).hash(&mut hasher);
    hasher.finish()
}

impl Engine {
    /// A packet has come from the wire.
    pub(super) fn arrive(&mut self, packet: &Datagram) {
        match packet {
            Datagram::Tcp {
                tos,
                header,
                payload,
                gso_size,
                ..
            } => {
                self.segment_size = *gso_size;
                // No socket of a script has a key, and what is signed all the same is dropped (the module's signing.rs).
                let options = header.get(20..).unwrap_or_default();
                if !matches!(Signed::find(options), Ok(None)) {
                    return;
                }
                if let Ok(header) = Header::parse(header) {
                    let segment = Segment {
                        header,
                        payload_len: *payload,
                        ecn: Ecn::from_bits(*tos),
                    };
                    self.segment((header.dst_port, header.src_port), &segment, None);
                }
            }
            Datagram::Icmp { error, quoted } => {
                if let Ok(header) = Header::parse(quoted) {
                    self.icmp((header.src_port, header.dst_port), header.seq, *error);
                }
            }
        }
    }

    fn connection_at(&self, ports: (u16, u16)) -> Option<usize> {
        let of = |socket: &Socket| {
            matches!(socket.role, Role::Connection(_))
                && (socket.local_port, socket.remote_port) == ports
        };
        self.sockets.iter().position(of)
    }

    pub(super) fn listener_at(&self, port: u16) -> Option<usize> {
        let of = |socket: &Socket| {
            matches!(socket.role, Role::Listener { .. }) && socket.local_port == port
        };
        self.sockets.iter().position(of)
    }

    fn segment(&mut self, ports: (u16, u16), segment: &Segment, iss: Option<SeqNum>) {
        if let Some(id) = self.connection_at(ports) {
            self.connection_segment(id, segment);
        } else if let Some(index) = self.minis.iter().position(|mini| mini.ports == ports) {
            self.mini_segment(index, segment);
        } else {
            let flags = segment.header.flags;
            // An ACK or a RST of a flow that we do not know goes on to the built-in TCP.
            let listener = match flags.ack() || flags.rst() {
                true => None,
                false => self.listener_at(ports.0),
            };
            match listener {
                Some(listener) => self.listener_segment(listener, ports, segment, iss),
                None if self.cookie_segment(ports, segment) => {}
                // The built-in TCP's answer.
                None => {
                    if let Some(reset) = reply::closed(segment) {
                        self.emit(ports, &reset, reset.payload);
                    }
                }
            }
        }
    }

    fn listener_segment(
        &mut self,
        id: usize,
        ports: (u16, u16),
        segment: &Segment,
        iss: Option<SeqNum>,
    ) {
        let listener = &self.sockets[id];
        let Role::Listener { backlog, queue } = &listener.role else {
            return;
        };
        let half_open = |mini: &&MiniEntry| matches!(mini.body, Mini::HalfOpen { listener, .. } if listener == id);
        let half_open = self.minis.iter().filter(half_open).count();
        let most = (*backlog as usize + 1).min(self.sysctls.max_syn_backlog);
        let cookie = match (self.sysctls.syncookies, half_open >= most) {
            _ if iss.is_some() => false,
            (2, _) | (1, true) => true,
            (_, true) => return,
            (_, false) => false,
        };
        if queue.len() > *backlog as usize {
            return;
        }
        let advertised_mss = self.advertised_mss(listener);
        let memory = listener.memory(self.sysctls.rmem[2]);
        let open = |now| RequestOpen {
            iss: iss.unwrap_or_else(|| isn::initial(HASH + u64::from(ports.1), now)),
            ts_offset: isn::timestamp_offset(HASH),
            advertised_mss,
            recv_space: memory.first_window(),
            recv_limit: memory.largest_window(),
            signature: oxtcp_engine::wire::Signature::NONE,
        };
        let made = self.cx(|cx| {
            if !matches!(listen::on_segment(cx, segment), ListenVerdict::Syn) {
                return None;
            }
            if cookie {
                let hash = |stamp: &Stamp| hash(ports, stamp);
                let cookie = cookie::issue(cx.now, segment, self.mss_table(), HASH, hash);
                let open = RequestOpen {
                    iss: cookie,
                    ..open(cx.now)
                };
                return Some((None, Request::cookie_syn_ack(cx, segment, &open), cx.now));
            }
            let request = Request::new(cx, segment, &open(cx.now));
            Some((
                Some(request),
                request.syn_ack(cx),
                cx.now + request.next_timeout(cx),
            ))
        });
        if let Some((request, syn_ack, at)) = made {
            let at = self.timer_at(at);
            let body = |request| Mini::HalfOpen {
                request,
                listener: id,
            };
            self.minis.extend(request.map(|request| MiniEntry {
                ports,
                body: body(request),
                at,
            }));
            self.emit(ports, &syn_ack, syn_ack.payload);
        }
    }

    fn mss_table(&self) -> MssTable {
        match self.headers {
            60 => MssTable::V6,
            _ => MssTable::V4,
        }
    }

    /// Whether the segment brings a listener a cookie; if so, makes the socket.
    fn cookie_segment(&mut self, ports: (u16, u16), segment: &Segment) -> bool {
        let flags = segment.header.flags;
        let bare = !flags.syn() && !flags.rst() && flags.ack();
        let Some(id) = self.listener_at(ports.0).filter(|_| bare) else {
            return false;
        };
        if self.sysctls.syncookies == 0 {
            return false;
        }
        let config = self.sysctls.config;
        let cx = Context::new(self.instant(), &config);
        let (seq, ack) = (segment.seq(), segment.header.ack);
        let hash = |stamp: &Stamp| Some(hash(ports, stamp));
        let opened = cookie::open(cx.now, seq, ack, self.mss_table(), HASH, hash);
        let Some(opened) = opened else {
            return false;
        };
        let listener = &self.sockets[id];
        let memory = listener.memory(self.sysctls.rmem[2]);
        let open = RequestOpen {
            iss: ack.sub(1),
            ts_offset: isn::timestamp_offset(HASH),
            advertised_mss: self.advertised_mss(listener),
            recv_space: memory.first_window(),
            recv_limit: memory.largest_window(),
            signature: oxtcp_engine::wire::Signature::NONE,
        };
        if let Some(request) = Request::from_cookie(&cx, segment, opened.mss, &open) {
            self.join(&cx, ports, &request, id, segment);
        }
        true
    }

    pub(super) fn advertised_mss(&self, socket: &Socket) -> u16 {
        let path = self.path_mss();
        socket
            .options
            .max_seg
            .map_or(path, |most| path.min(most.get()))
    }

    fn mini_segment(&mut self, index: usize, segment: &Segment) {
        let config = self.sysctls.config;
        let cx = Context::new(self.instant(), &config);
        let entry = &mut self.minis[index];
        let ports = entry.ports;
        match &mut entry.body {
            Mini::HalfOpen { request, listener } => {
                let listener = *listener;
                match request.on_segment(&cx, segment) {
                    RequestVerdict::Complete
                        if request.defers(segment, self.sockets[listener].defer_accept) => {}
                    RequestVerdict::Complete => self.complete(&cx, index, listener, segment),
                    RequestVerdict::Resend(answer) | RequestVerdict::Reply(answer) => {
                        self.emit(ports, &answer, answer.payload);
                    }
                    RequestVerdict::Drop => {
                        self.minis.remove(index);
                    }
                    RequestVerdict::Ignore => {}
                }
            }
            Mini::TimeWait(time_wait) => match time_wait.on_segment(&cx, segment) {
                TimeWaitVerdict::Ignore => {}
                TimeWaitVerdict::Ack(answer) => self.emit(ports, &answer, answer.payload),
                TimeWaitVerdict::Restart(answer) => {
                    entry.at = cx.now + TimeWait::LENGTH;
                    self.emit(ports, &answer, answer.payload);
                }
                TimeWaitVerdict::Reset(answer) => {
                    self.minis.remove(index);
                    self.emit(ports, &answer, answer.payload);
                }
                TimeWaitVerdict::Reopen { iss_after } => match self.listener_at(ports.0) {
                    Some(_) => {
                        self.minis.remove(index);
                        self.segment(ports, segment, Some(iss_after));
                    }
                    None => {
                        if let Some(reset) = reply::closed(segment) {
                            self.emit(ports, &reset, reset.payload);
                        }
                    }
                },
                TimeWaitVerdict::Kill => {
                    self.minis.remove(index);
                }
            },
        }
    }

    /// The handshake is complete: makes the socket.
    fn complete(&mut self, cx: &Context<'_>, index: usize, listener: usize, segment: &Segment) {
        let ports = self.minis[index].ports;
        let Mini::HalfOpen { request, .. } = self.minis[index].body else {
            return;
        };
        let parent = &self.sockets[listener];
        let Role::Listener { backlog, queue } = &parent.role else {
            self.minis.remove(index);
            return;
        };
        if queue.len() > *backlog as usize {
            if cx.config.abort_on_overflow {
                self.minis.remove(index);
                if let Some(reset) = reply::closed(segment) {
                    self.emit(ports, &reset, reset.payload);
                }
            }
            return;
        }
        self.minis.remove(index);
        self.join(cx, ports, &request, listener, segment);
    }

    /// Makes the socket, if there is room for it, and feeds it the segment that came.
    fn join(
        &mut self,
        cx: &Context<'_>,
        ports: (u16, u16),
        request: &Request,
        listener: usize,
        segment: &Segment,
    ) {
        let parent = &self.sockets[listener];
        let Role::Listener { backlog, queue } = &parent.role else {
            return;
        };
        if queue.len() > *backlog as usize {
            return;
        }
        let mut child = Socket::new(parent.rcvbuf, parent.sndbuf);
        child.options = parent.options;
        child.rcvbuf_locked = parent.rcvbuf_locked;
        child.sndbuf_locked = parent.sndbuf_locked;
        child.linger = parent.linger;
        child.rcvlowat = parent.rcvlowat;
        child.notsent_lowat = parent.notsent_lowat;
        child.tells_inq = parent.tells_inq;
        child.reuse = parent.reuse;
        child.bound = true;
        (child.local_port, child.remote_port) = ports;
        let open = PassiveOpen {
            path_mss: self.path_mss(),
            recv_space: child.memory(self.sysctls.rmem[2]).first_window(),
            options: child.options,
        };
        child.role = Role::Connection(Connection::accept(cx, request, &open));
        child.state = tcp_state::SYN_RECV;
        let id = self.sockets.len();
        self.sockets.push(child);
        self.connection_segment(id, segment);
        if let Role::Listener { queue, .. } = &mut self.sockets[listener].role {
            queue.push_back(id);
        }
    }

    fn icmp(&mut self, ports: (u16, u16), seq: SeqNum, error: IcmpError) {
        let Some(id) = self.connection_at(ports) else {
            return;
        };
        let headers = self.headers;
        match error {
            IcmpError::TooBig(mtu) => {
                let mss = mtu.saturating_sub(headers) as u16;
                self.with_flight(id, |connection, cx, flight| {
                    connection.on_too_big(cx, seq, mss, flight);
                });
            }
            IcmpError::Net | IcmpError::Host | IcmpError::Port => {
                let hard = error == IcmpError::Port;
                self.with_connection(id, |connection, cx| {
                    connection.on_unreachable(cx, seq, hard);
                });
                let socket = &mut self.sockets[id];
                if socket.error == errno("EHOSTUNREACH") {
                    socket.error = match error {
                        IcmpError::Net => errno("ENETUNREACH"),
                        IcmpError::Port => errno("ECONNREFUSED"),
                        _ => errno("EHOSTUNREACH"),
                    };
                }
            }
        }
    }

    /// Sends all that a connection has to send.
    pub(super) fn transmit(&mut self, id: usize, cx: &Context<'_>) {
        let ports = (self.sockets[id].local_port, self.sockets[id].remote_port);
        loop {
            let socket = &mut self.sockets[id];
            let Role::Connection(connection) = &mut socket.role else {
                return;
            };
            connection.set_paced(self.queue == Queue::Fq);
            // Where the device does not cut packets the layer above it does.
            let limit = burst(connection, self.sysctls.min_tso_segs);
            let mut memory = SendMemory {
                flight: &mut socket.flight,
                boundaries: &socket.boundaries,
            };
            let Some(transmit) = connection.poll_transmit(cx, limit, &mut memory) else {
                return;
            };
            if self.queue == Queue::Full {
                connection.on_refusal(cx, &transmit, 0, Refusal::Dropped, &mut socket.flight);
                return;
            }
            let most = match self.offload {
                true => u32::from(transmit.mss.max(1)) * (BURST / u32::from(transmit.mss.max(1))),
                false => u32::from(transmit.mss.max(1)),
            };
            let mut rest = transmit.payload;
            let mut part = transmit;
            let mut first = true;
            loop {
                let here = SeqRange::new(rest.start, rest.len.min(most));
                let last = here.len == rest.len;
                part.header.flags = match last {
                    true => transmit.header.flags,
                    false => transmit
                        .header
                        .flags
                        .without(Flags::FIN)
                        .without(Flags::PSH),
                };
                if !first {
                    part.header.flags.remove(Flags::CWR);
                }
                let at = self.departs(id, here.len);
                self.emit_at(ports, &part, here, at);
                self.stamp_sent(id, here, at);
                if last {
                    break;
                }
                rest = SeqRange::new(rest.start.add(here.len), rest.len - here.len);
                part.header.seq = part.header.seq.add(here.len);
                first = false;
            }
            if self.sends_one && transmit.payload.len > 0 {
                return;
            }
        }
    }

    /// When a packet of the socket with so many bytes leaves the queue. As `rust/sys/helpers_send.c` tells it to fq.
    fn departs(&mut self, id: usize, bytes: u32) -> Micros {
        let now = self.now;
        if self.queue != Queue::Fq {
            return now;
        }
        let socket = &mut self.sockets[id];
        let prior = socket.departure;
        socket.departure = prior.max(now * 1000);
        let at = socket.departure;
        let (rate, begun) = socket.connection().map_or((u64::MAX, false), |connection| {
            (connection.pacing_rate(), connection.data_segs_out() >= 10)
        });
        if bytes > 0 && begun && rate != u64::MAX && rate > 0 {
            let len = (u64::from(bytes) * 1_000_000_000 / rate) as i64;
            socket.departure += len - (len / 2).min(at - prior);
        }
        (at / 1000).max(now)
    }

    /// A packet with these bytes passes the queue, and at its time the device.
    fn stamp_sent(&mut self, id: usize, payload: SeqRange, leaves: Micros) {
        let now = self.now;
        let socket = &mut self.sockets[id];
        let key = socket.tskey();
        // A packet has one key, the last one's.
        let inside = |seq: &SeqNum| !seq.before(payload.start) && seq.before(payload.end());
        let inside = socket.stamps.iter().filter(|(seq, _)| inside(seq));
        let stamp = inside.copied().reduce(|(_, a), (seq, b)| (seq, a | b));
        let Some((seq, flags)) = stamp else {
            return;
        };
        for (flag, stage, at) in [
            (tsflag::TX_SCHED, tsflag::STAMP_SCHED, now),
            (tsflag::TX_SOFTWARE, tsflag::STAMP_SND, leaves),
        ] {
            if flags & flag != 0 {
                socket.errors.push_back((stage, key(seq), at));
            }
        }
    }

    /// Puts a packet on the wire.
    pub(super) fn emit(&mut self, ports: (u16, u16), transmit: &Transmit, payload: SeqRange) {
        self.emit_at(ports, transmit, payload, self.now);
    }

    /// Puts a packet on the wire when its time has come.
    fn emit_at(&mut self, ports: (u16, u16), transmit: &Transmit, payload: SeqRange, at: Micros) {
        if self.queue == Queue::Full {
            return;
        }
        let mut header = transmit.header;
        (header.src_port, header.dst_port) = ports;
        let mut bytes = [0; MAX_HEADER_LEN];
        let len = header.emit(&mut bytes);
        let packet = Datagram::Tcp {
            tos: transmit.ecn.bits(),
            header: bytes[..len].to_vec(),
            payload: payload.len,
            gso_size: 0,
        };
        if at <= self.now {
            self.sent.push_back((self.now, packet));
            return;
        }
        let behind = self.held.partition_point(|(other, _)| *other <= at);
        self.held.insert(behind, (at, packet));
    }
}

/// How much data may go into one packet: as the adapter's `burst`, but for its small queues, as nothing waits here.
fn burst(connection: &Connection, least: u32) -> BurstLimit {
    /// The round trips that make the largest burst half as large each, and what a burst is a part of a second.
    const RTT_LOG: u32 = 9;
    const PACING_SHIFT: u32 = 10;
    let share = (connection.pacing_rate() >> PACING_SHIFT).min(u64::from(u32::MAX)) as u32;
    let near = match connection.min_rtt() {
        Some(rtt) => u32::try_from(rtt.as_micros() >> RTT_LOG)
            .ok()
            .and_then(|halvings| BURST.checked_shr(halvings))
            .unwrap_or(0),
        None => BURST,
    };
    let mss = u32::from(connection.mss());
    let burst = share.saturating_add(near).max(mss.saturating_mul(least));
    BurstLimit(burst.min(BURST.max(mss)))
}
