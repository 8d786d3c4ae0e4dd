// SPDX-License-Identifier: GPL-2.0

//! A socket: what the adapter keeps around a connection, and what follows every call into the engine
//! (the adapter's `connection.rs`, `closing.rs`).

use std::cell::Cell;
use std::collections::VecDeque;

use oxtcp_engine::connection::{Info, Urgent};
use oxtcp_engine::reassembly::{had, Reassembly};
use oxtcp_engine::time_wait::TimeWait;
use oxtcp_engine::{
    Connection, Context, Error, Event, Flight, FlightMemory, Instant, Pruning, RecvMemory, SeqNum,
    SocketOptions, State,
};

use super::memory::{self, Unread};
use super::wheel::Wheel;
use super::{Engine, Mini, MiniEntry};
use crate::script::{errno_number, Micros};

/// States as Linux numbers them.
pub(super) mod tcp_state {
    pub(in crate::engine) const ESTABLISHED: i64 = 1;
    pub(in crate::engine) const SYN_SENT: i64 = 2;
    pub(in crate::engine) const SYN_RECV: i64 = 3;
    pub(in crate::engine) const FIN_WAIT1: i64 = 4;
    pub(in crate::engine) const FIN_WAIT2: i64 = 5;
    pub(in crate::engine) const CLOSE: i64 = 7;
    pub(in crate::engine) const CLOSE_WAIT: i64 = 8;
    pub(in crate::engine) const LAST_ACK: i64 = 9;
    pub(in crate::engine) const LISTEN: i64 = 10;
    pub(in crate::engine) const CLOSING: i64 = 11;
}

/// SO_TIMESTAMPING's flags, and what timestamps are of (SCM_TSTAMP_*).
pub(super) mod tsflag {
    pub(in crate::engine) const TX_SOFTWARE: i64 = 1 << 1;
    pub(in crate::engine) const OPT_ID: i64 = 1 << 7;
    pub(in crate::engine) const TX_SCHED: i64 = 1 << 8;
    pub(in crate::engine) const TX_ACK: i64 = 1 << 9;
    pub(in crate::engine) const OPT_TSONLY: i64 = 1 << 11;
    pub(in crate::engine) const OPT_ID_TCP: i64 = 1 << 16;
    /// Those that ask for a timestamp of what is sent.
    pub(in crate::engine) const TX: i64 = TX_SOFTWARE | TX_SCHED | TX_ACK;
    /// SOFTWARE, without which none is told, and those that there are beside.
    pub(in crate::engine) const SOFTWARE: i64 = 1 << 4;
    pub(in crate::engine) const KNOWN: i64 = TX | OPT_ID | OPT_TSONLY | OPT_ID_TCP | SOFTWARE;

    pub(in crate::engine) const STAMP_SND: i64 = 0;
    pub(in crate::engine) const STAMP_SCHED: i64 = 1;
    pub(in crate::engine) const STAMP_ACK: i64 = 2;
}

pub(super) const RCV_SHUTDOWN: u8 = 1;
pub(super) const SEND_SHUTDOWN: u8 = 2;

/// What a socket is at a time.
#[allow(clippy::large_enum_variant)]
pub(super) enum Role {
    Idle,
    Listener {
        backlog: u32,
        queue: VecDeque<usize>,
    },
    Connection(Connection),
}

pub(super) struct Socket {
    pub(super) role: Role,
    pub(super) state: i64,
    pub(super) options: SocketOptions,
    pub(super) nonblock: bool,
    pub(super) reuse: bool,
    pub(super) bound: bool,
    pub(super) local_port: u16,
    pub(super) remote_port: u16,
    pub(super) sndbuf: u32,
    pub(super) rcvbuf: u32,
    pub(super) sndbuf_locked: bool,
    pub(super) rcvbuf_locked: bool,
    /// Seconds, if SO_LINGER is on.
    pub(super) linger: Option<i64>,
    pub(super) rcvlowat: u32,
    pub(super) shutdown: u8,
    /// The peer's FIN has come.
    pub(super) done: bool,
    /// TCP_NOTSENT_LOWAT; 0: the setting.
    pub(super) notsent_lowat: u32,
    /// TCP_DEFER_ACCEPT, in timeouts of a SYN-ACK.
    pub(super) defer_accept: u8,
    /// TCP_INQ
    pub(super) tells_inq: bool,
    pub(super) dead: bool,
    pub(super) error: i32,
    /// Packets in order.
    pub(super) queue: VecDeque<Unread>,
    /// Packets out of order, sorted.
    pub(super) reorder: Vec<Unread>,
    pub(super) ranges: Reassembly,
    /// The peer's urgent byte; what it is nobody asks here.
    pub(super) urgent: Urgent,
    pub(super) flight: Option<Flight>,
    /// What is in the send buffer, its upkeep included.
    pub(super) wmem_queued: u32,
    /// Bytes of the last chunk that is written, as far as it was not sent.
    pub(super) chunk: u32,
    /// Where the chunks in the send buffer begin.
    pub(super) chunks: VecDeque<SeqNum>,
    /// Where the send buffer begins.
    pub(super) send_start: Option<SeqNum>,
    /// When the next packet may leave where there is fq, in nanoseconds.
    pub(super) departure: i64,
    /// Where messages end in it (MSG_EOR).
    pub(super) boundaries: Vec<SeqNum>,
    /// SO_TIMESTAMPING's flags, and what keys count from.
    pub(super) tsflags: i64,
    pub(super) tskey: SeqNum,
    /// Bytes in the send buffer of which timestamps are wanted, and which.
    pub(super) stamps: Vec<(SeqNum, i64)>,
    /// The error queue: what a timestamp is of, its key and time.
    pub(super) errors: VecDeque<(i64, u32, Micros)>,
    /// The program has found no room in the send buffer (SOCK_NOSPACE).
    pub(super) no_space: bool,
    /// What there was to tell of the last connection, and when it ended.
    pub(super) past: Option<(Info, Instant)>,
    /// Its timers, if they are a kernel's.
    pub(super) wheel: Wheel,
}

impl Socket {
    pub(super) fn new(rcvbuf: u32, sndbuf: u32) -> Self {
        Socket {
            role: Role::Idle,
            state: tcp_state::CLOSE,
            options: SocketOptions::default(),
            nonblock: false,
            reuse: false,
            bound: false,
            local_port: 0,
            remote_port: 0,
            sndbuf,
            rcvbuf,
            sndbuf_locked: false,
            rcvbuf_locked: false,
            linger: None,
            rcvlowat: 1,
            shutdown: 0,
            done: false,
            notsent_lowat: 0,
            defer_accept: 0,
            tells_inq: false,
            dead: false,
            error: 0,
            queue: VecDeque::new(),
            reorder: Vec::new(),
            ranges: Reassembly::new(),
            urgent: Urgent::NONE,
            flight: None,
            wmem_queued: 0,
            chunk: 0,
            chunks: VecDeque::new(),
            send_start: None,
            departure: 0,
            boundaries: Vec::new(),
            tsflags: 0,
            tskey: SeqNum::new(0),
            stamps: Vec::new(),
            errors: VecDeque::new(),
            no_space: false,
            past: None,
            wheel: Wheel::default(),
        }
    }

    /// What TCP_INFO tells without a connection.
    pub(super) fn past(&self, now: Instant) -> Info {
        self.past
            .map_or(Info::NONE, |(info, at)| info.after(now.since(at)))
    }

    pub(super) fn connection(&mut self) -> Option<&mut Connection> {
        match &mut self.role {
            Role::Connection(connection) => Some(connection),
            _ => None,
        }
    }

    pub(super) fn deadline(&self) -> Option<Instant> {
        match &self.role {
            Role::Connection(connection) => connection.poll_timeout(),
            _ => None,
        }
    }

    pub(super) fn rx_bytes(&self) -> u32 {
        self.queue.iter().map(|unread| unread.len).sum()
    }

    /// Takes bytes off the receive queue.
    pub(super) fn consume(&mut self, len: u32) {
        let mut left = len;
        while let Some(first) = self.queue.front_mut() {
            self.urgent.on_reader(first.seq.add(left.min(first.len)));
            if first.len > left {
                first.len -= left;
                first.seq = first.seq.add(left);
                break;
            }
            left -= first.len;
            self.queue.pop_front();
        }
    }

    /// How many bytes stand before the urgent one, if it is not behind the reader.
    pub(super) fn before_urgent(&self) -> Option<u64> {
        let reader = match (self.queue.front(), &self.role) {
            (Some(first), _) => first.seq,
            (None, Role::Connection(connection)) => connection.rcv_nxt(),
            (None, _) => return None,
        };
        self.urgent.ahead_of(reader).map(u64::from)
    }

    pub(super) fn rmem(&self) -> u32 {
        let kept = self.queue.iter().chain(&self.reorder);
        kept.map(|unread| unread.truesize).sum()
    }

    /// As the adapter's `receive_memory`; `most` is `tcp_rmem[2]`.
    pub(super) fn memory(&self, most: u32) -> RecvMemory {
        RecvMemory {
            used: self.rmem(),
            limit: self.rcvbuf,
            most,
            fixed: self.rcvbuf_locked,
        }
    }

    /// Puts a packet where readers find it.
    pub(super) fn enqueue(&mut self, unread: Unread) {
        let joined = self.queue.back_mut().is_some_and(|last| last.join(&unread));
        if !joined {
            self.queue.push_back(unread);
        }
    }

    /// Keeps a packet out of order; no byte of it twice.
    pub(super) fn keep_apart(&mut self, mut unread: Unread) {
        let at = self
            .reorder
            .iter()
            .rposition(|other| !other.seq.after(unread.seq));
        let place = at.map_or(0, |at| at + 1);
        if let Some(before) = at.map(|at| &self.reorder[at]) {
            unread.skip(had(before.range(), unread.range()));
            if unread.len == 0 {
                return;
            }
        }
        while let Some(behind) = self.reorder.get_mut(place) {
            behind.skip(had(unread.range(), behind.range()));
            if behind.len > 0 {
                break;
            }
            self.reorder.remove(place);
        }
        if !at.is_some_and(|at| self.reorder[at].join(&unread)) {
            self.reorder.insert(place, unread);
        }
    }

    /// Copies what is to be read to denser packets, where those that hold it are bloated.
    pub(super) fn collapse(&mut self) {
        let Some(share) = self.connection().map(|connection| connection.share()) else {
            return;
        };
        let queue = std::mem::take(&mut self.queue);
        let (mut bloated, found) = (None::<Unread>, Cell::new(false));
        for unread in queue {
            if !share.is_bloated(unread.len, unread.truesize, &found) {
                self.queue.extend(bloated.take());
                self.queue.push_back(unread);
                continue;
            }
            match &mut bloated {
                Some(run) => run.copy(&unread),
                None => bloated = Some(unread.dense()),
            }
        }
        self.queue.extend(bloated);
    }

    /// Gives up packets out of order, so that one which begins at `came` can be kept.
    pub(super) fn prune(&mut self, came: SeqNum, most: u32) {
        let mut pruning = Pruning::new(came, &self.memory(most));
        let mut pruned = false;
        while let Some(last) = self.reorder.last().copied() {
            if !pruning.next(last.seq, last.truesize, &self.memory(most)) {
                break;
            }
            self.reorder.pop();
            pruned = true;
        }
        match self.reorder.last() {
            Some(last) if pruned => self.ranges.cut(last.end()),
            None if pruned => self.ranges.clear(),
            _ => {}
        }
    }

    /// The key of a timestamp of a byte.
    pub(super) fn tskey(&self) -> impl Fn(SeqNum) -> u32 {
        let (keyed, start) = (self.tsflags & tsflag::OPT_ID != 0, self.tskey);
        move |seq| match keyed {
            true => start.distance_to(seq),
            false => 0,
        }
    }

    pub(super) fn take_error(&mut self) -> Option<i32> {
        match std::mem::take(&mut self.error) {
            0 => None,
            errno => Some(errno),
        }
    }
}

pub(super) fn errno(name: &str) -> i32 {
    errno_number(name).unwrap_or(0)
}

impl Engine {
    /// Runs `step` on a socket's connection and does what follows; nothing without one.
    pub(super) fn with_connection<R>(
        &mut self,
        id: usize,
        step: impl FnOnce(&mut Connection, &Context<'_>) -> R,
    ) -> Option<R> {
        let config = self.sysctls.config;
        let cx = Context::new(self.instant(), &config);
        let result = step(self.sockets[id].connection()?, &cx);
        self.settle(id, &cx);
        Some(result)
    }

    /// As [`with_connection`](Self::with_connection), with the memory for what is in flight.
    pub(super) fn with_flight(
        &mut self,
        id: usize,
        step: impl FnOnce(&mut Connection, &Context<'_>, &mut dyn FlightMemory),
    ) {
        let config = self.sysctls.config;
        let cx = Context::new(self.instant(), &config);
        let socket = &mut self.sockets[id];
        if let Role::Connection(connection) = &mut socket.role {
            step(connection, &cx, &mut socket.flight);
            self.settle(id, &cx);
        }
    }

    /// As the adapter's `timer`.
    pub(super) fn connection_timer(&mut self, id: usize) {
        self.with_flight(id, |connection, cx, flight| connection.on_timer(cx, flight));
    }

    /// As the adapter's `settle`.
    pub(super) fn settle(&mut self, id: usize, cx: &Context<'_>) {
        self.release_acknowledged(id);
        let socket = &mut self.sockets[id];
        let no_space = socket.no_space;
        if let Some(connection) = socket.connection() {
            connection.set_short_of_room(cx, no_space);
        }
        self.transmit(id, cx);
        let most = self.sysctls.wmem[2];
        let socket = &mut self.sockets[id];
        let Some(connection) = socket.connection() else {
            return;
        };
        let events = connection.take_events();
        let state = connection.state();
        let error = connection.take_error();
        let (cwnd, mss) = (connection.cwnd(), u32::from(connection.mss()));
        socket.mirror(state);
        if let Some(error) = error {
            socket.error = match error {
                Error::Refused => errno("ECONNREFUSED"),
                Error::Reset => errno("ECONNRESET"),
                Error::ResetAfterFin => errno("EPIPE"),
                Error::TimedOut => errno("ETIMEDOUT"),
                Error::Unreachable => errno("EHOSTUNREACH"),
            };
        }
        if events.contains(Event::Established) || events.contains(Event::Writable) {
            // TCP_INIT_CWND is the least.
            let segments = cwnd.checked_div(mss).unwrap_or(0).max(10);
            let wanted = memory::of_sent(mss).saturating_mul(2 * segments).min(most);
            if !socket.sndbuf_locked {
                socket.sndbuf = socket.sndbuf.max(wanted);
            }
            if self.is_writeable(id) {
                let socket = &mut self.sockets[id];
                socket.no_space = false;
                if let Some(connection) = socket.connection() {
                    connection.set_short_of_room(cx, false);
                }
            }
        }
        let socket = &mut self.sockets[id];
        if events.contains(Event::PeerClosed) {
            socket.shutdown |= RCV_SHUTDOWN;
            socket.done = true;
        }
        let left = socket.connection().and_then(|connection| {
            let time_wait = connection.time_wait(cx);
            // Without a program FIN-WAIT-2 needs no more.
            time_wait
                .map(|time_wait| (time_wait, cx.now + TimeWait::LENGTH))
                .or_else(|| connection.fin_wait_2(cx))
        });
        if let Some((time_wait, at)) = left {
            let ports = (socket.local_port, socket.remote_port);
            let at = self.timer_at(at);
            self.minis.push(MiniEntry {
                ports,
                body: Mini::TimeWait(time_wait),
                at,
            });
            self.finish(id, cx);
            return;
        }
        if matches!(state, State::TimeWait | State::Closed) {
            self.finish(id, cx);
        }
    }

    /// The connection is done.
    fn finish(&mut self, id: usize, cx: &Context<'_>) {
        self.transmit(id, cx);
        self.release(id);
        self.sockets[id].shutdown |= RCV_SHUTDOWN | SEND_SHUTDOWN;
    }

    /// Frees what a connection had; what was received stays for readers.
    pub(super) fn release(&mut self, id: usize) {
        let now = self.instant();
        let config = self.sysctls.config;
        let socket = &mut self.sockets[id];
        let cx = Context::new(now, &config);
        if let Role::Connection(connection) = &socket.role {
            socket.past = Some((connection.info(&cx, None), now));
        }
        socket.no_space = false;
        socket.role = Role::Idle;
        socket.state = tcp_state::CLOSE;
        socket.reorder.clear();
        socket.ranges.clear();
        socket.wmem_queued = 0;
        socket.chunks.clear();
        socket.send_start = None;
        socket.boundaries.clear();
        socket.stamps.clear();
        if !socket.bound {
            socket.local_port = 0;
        }
    }
}

impl Socket {
    fn mirror(&mut self, state: State) {
        self.state = match state {
            State::SynSent => tcp_state::SYN_SENT,
            State::SynReceived => tcp_state::SYN_RECV,
            State::Established => tcp_state::ESTABLISHED,
            State::FinWait1 => tcp_state::FIN_WAIT1,
            State::FinWait2 => tcp_state::FIN_WAIT2,
            State::CloseWait => tcp_state::CLOSE_WAIT,
            State::Closing => tcp_state::CLOSING,
            State::LastAck => tcp_state::LAST_ACK,
            State::Closed | State::Listen | State::TimeWait => return,
        };
    }
}
