// SPDX-License-Identifier: GPL-2.0

//! A TCP connection, from SYN-SENT or SYN-RECEIVED to TIME-WAIT (RFC 9293).
//!
//! | part | what it does |
//! |---|---|
//! | [`state`] | the states and the one table of transitions |
//! | `phase.rs` | what each state holds |
//! | `link.rs` | what both directions share; segments without data |
//! | `open.rs` | what is offered and agreed; SYN-SENT |
//! | `arrive.rs` | a segment arrives: the RFC's eight steps |
//! | `send.rs`, `choice.rs`, `ack.rs` | what is kept of what was sent; what goes next; what acknowledgments change |
//! | `mtu.rs` | how large segments may be, where nobody says |
//! | `boundary.rs`, `deferral.rs` | which bytes are not sent together; which wait so that they are |
//! | `outline.rs` | what is in flight, as long as that is simple; then [`crate::flight`] |
//! | `recovery.rs`, `rack.rs`, `prr.rs`, `undo.rs`, `probe.rs` | loss: its repair, its detection, the window meanwhile, the end of a false alarm, probes |
//! | `ecn.rs` | congestion that routers mark |
//! | `refusal.rs` | what the layers below did not take |
//! | `quick.rs` | TCP_QUICKACK |
//! | `urgent.rs` | urgent data |
//! | `receive.rs` | what is accepted, delayed acknowledgments |
//! | `window.rs`, `autotune.rs`, `memory.rs` | the window that is offered; how the buffer grows; what is done when memory is short |
//! | `pacing.rs` | gaps between bursts |
//! | `tally.rs`, `query.rs`, `info.rs` | what is counted; reading a connection; TCP_INFO |
//! | `timers.rs`, `timeout.rs` | the one deadline, and what happens then |
//! | `close.rs` | FIN, reset, and the end |
//!
//! # How to drive it
//!
//! [`on_segment`], [`poll_transmit`] and [`on_timer`] are given the connection's [`FlightMemory`].
//!
//! After every call that changes something ([`on_segment`], [`on_timer`], [`write`], [`on_consumed`], the
//! setters, [`close`]): call [`poll_transmit`] until it returns `None`, take the events, and set one timer to
//! [`poll_timeout`].
//!
//! [`on_segment`]: Connection::on_segment
//! [`on_timer`]: Connection::on_timer
//! [`write`]: Connection::write
//! [`on_consumed`]: Connection::on_consumed
//! [`close`]: Connection::close
//! [`poll_transmit`]: Connection::poll_transmit
//! [`poll_timeout`]: Connection::poll_timeout

mod ack;
mod arrive;
mod autotune;
mod boundary;
mod choice;
mod close;
mod deferral;
pub(crate) mod ecn;
mod event;
mod expected;
mod info;
mod link;
mod memory;
mod mtu;
mod open;
mod outline;
mod pacing;
mod phase;
mod probe;
mod prr;
mod query;
mod quick;
mod rack;
mod receive;
pub(crate) mod recovery;
mod refusal;
mod send;
pub mod state;
mod tally;
mod timeout;
mod timers;
mod undo;
mod urgent;
mod window;

#[cfg(test)]
mod tests;

pub use arrive::Unacceptable;
pub use event::{Error, Event, Events};
pub use expected::{Expected, Rest};
pub use info::Info;
pub use memory::{mostly_read, Packet, Pruning, RecvMemory, Room, Share, Useless};
pub use open::{ActiveOpen, PassiveOpen};
pub use query::{Negotiated, Standing};
pub use quick::QuickAck;
pub use receive::{Payload, Rx};
pub use recovery::Mode;
pub use state::State;
pub use timers::TimerKind;
pub use urgent::{Reading, Urgent, UrgentPlace};

use crate::context::{Context, SocketOptions, Traits};
use crate::flight::{FlightMemory, NoFlight};
use crate::reassembly::Reassembly;
use crate::segment::Segment;
use crate::seq::SeqNum;
use crate::time::Instant;
use crate::transmit::{BurstLimit, Transmit};
use pacing::Pacer;
use phase::{DuplexState, Parts, Phase};
use tally::Limit;
use timers::Timers;

/// A TCP connection.
///
/// It holds no payload and reads no clock. The caller holds the send buffer from
/// [`first_unacked_byte`](Connection::first_unacked_byte) to [`write_seq`](Connection::write_seq), and what has been
/// received.
#[derive(Clone, Debug)]
pub struct Connection {
    phase: Phase,
    timers: Timers,
    options: SocketOptions,
    events: Events,
    /// Or the number of the reset that [`Status::RESET`] owes: in states that send no data.
    pacer: Pacer,
    error: Option<Error>,
    /// An ICMP error that did not end the connection; it explains a timeout.
    soft_error: Option<Error>,
    status: Status,
}

/// Facts in one byte.
#[derive(Clone, Copy, Debug)]
struct Status(u8);

impl Status {
    /// The user has closed.
    const ORPHAN: Status = Status(1);
    /// Nothing is to be sent, and nothing has happened since that was found out.
    const IDLE: Status = Status(2);
    /// Data has had to wait for its time, and there has been some ever since.
    const HELD: Status = Status(4);
    /// The sender of a segment is answered with a reset of the number that it acknowledges: because we never sent that, before
    /// the connection was established, or because nobody is left to hear of its data.
    const RESET: Status = Status(8);
    /// In SYN-RECEIVED: the SYN-ACK is to be sent (simultaneous open, or its retransmission).
    const SYN_ACK: Status = Status(16);
    /// In SYN-RECEIVED: the user is done already, a FIN follows as soon as the connection is established.
    const FINISHED: Status = Status(32);
    /// The user waits for room in the send buffer.
    const SHORT: Status = Status(64);

    fn has(self, other: Status) -> bool {
        self.0 & other.0 != 0
    }

    fn set(&mut self, other: Status) {
        self.0 |= other.0;
    }

    fn clear(&mut self, other: Status) {
        self.0 &= !other.0;
    }

    fn take(&mut self, other: Status) -> bool {
        let had = self.has(other);
        self.clear(other);
        had
    }
}

impl Connection {
    /// Owes the answer `<SEQ=SEG.ACK><CTL=RST>`.
    fn reset_sender(&mut self, ack: SeqNum) {
        self.status.set(Status::RESET);
        self.pacer = Pacer::of_number(ack);
    }

    fn new(phase: Phase, options: SocketOptions) -> Self {
        Connection {
            phase,
            timers: Timers::new(),
            options,
            events: Events::NONE,
            pacer: Pacer::NONE,
            error: None,
            soft_error: None,
            status: Status(0),
        }
    }

    // The network's side.

    /// A segment has arrived (RFC 9293 section 3.10.7). Says which bytes of its payload the caller must keep.
    ///
    /// Afterwards the caller moves kept out-of-order bytes before [`rcv_nxt`](Connection::rcv_nxt) to its receive
    /// queue. In CLOSED nothing happens: the answer to such a segment is [`crate::reply::closed`].
    pub fn on_segment(
        &mut self,
        cx: &Context<'_>,
        segment: &Segment,
        rx: Rx<'_>,
        flight: &mut dyn FlightMemory,
    ) -> Payload {
        self.on_segment_telling(cx, segment, rx, flight, &mut None)
    }

    /// As [`on_segment`](Connection::on_segment), and says why a segment was dropped as a whole, for those who trace.
    pub fn on_segment_telling(
        &mut self,
        cx: &Context<'_>,
        segment: &Segment,
        rx: Rx<'_>,
        flight: &mut dyn FlightMemory,
        refusal: &mut Option<Unacceptable>,
    ) -> Payload {
        let was_idle = self.status.take(Status::IDLE);
        let room = rx.room;
        let timers = self.timers;
        let payload = match self.phase {
            Phase::Closed(_) => {
                *refusal = Some(Unacceptable::Closed);
                Payload::None
            }
            Phase::SynSent(_) => self.on_syn_sent(cx, segment, rx),
            _ => self.on_synchronized(cx, segment, rx, flight, refusal),
        };
        let lost = payload == Payload::None && segment.payload_len != 0 && !room;
        let told_nothing = match payload {
            Payload::None => lost || refusal.is_some(),
            // As most of a run whose acknowledgment is held back already.
            Payload::OutOfOrder { .. } => self.timers == timers && self.has_nothing_in_flight(),
            Payload::InOrder { .. } => false,
        };
        self.keep_idle(was_idle && told_nothing);
        payload
    }

    /// Whether a segment that was refused, that there was no room for, or whose acknowledgment waits with those before it, or a read, has left
    /// everything but what it brought as it was: there is nothing to send, nobody to wake, and no timer to change. For the caller, who then need not look.
    #[inline]
    pub fn is_undisturbed(&self) -> bool {
        self.status.has(Status::IDLE)
            && self.events.is_empty()
            && !matches!(self.phase, Phase::Closed(_))
    }

    /// Whether all that was sent is acknowledged.
    fn has_nothing_in_flight(&mut self) -> bool {
        let parts = self.phase.parts();
        parts.is_some_and(|Parts { link, .. }| link.snd_una == link.snd_nxt)
    }

    /// What has happened may have made nothing due, where `was_idle`: there was nothing to send before.
    fn keep_idle(&mut self, was_idle: bool) {
        if was_idle && self.has_nothing_to_send() {
            self.status.set(Status::IDLE);
        }
    }

    /// Neither now nor when the time comes: what waits for the window, or for its turn, may go at any look.
    fn has_nothing_to_send(&mut self) -> bool {
        if self.status.has(Status::RESET) || self.status.has(Status::SYN_ACK) {
            return false;
        }
        match self.phase.parts() {
            Some(Parts { link, snd, fin, .. }) => {
                link.owed.is_empty()
                    && snd.is_none_or(|snd| !snd.has_new(link, fin) && !snd.may_repeat())
            }
            None => false,
        }
    }

    /// The next segment, or burst of segments, to send; `None` when there is nothing to send now.
    ///
    /// What is returned counts as sent. A caller that sees it fail before it has left the host says so by
    /// [`on_refusal`](Connection::on_refusal), before the next call.
    #[inline]
    pub fn poll_transmit(
        &mut self,
        cx: &Context<'_>,
        limit: BurstLimit,
        flight: &mut dyn FlightMemory,
    ) -> Option<Transmit> {
        if self.status.has(Status::IDLE) {
            return None;
        }
        self.poll_with(cx, Some(limit), flight)
    }

    /// `None` in place of a limit: nothing that has data.
    fn poll_with(
        &mut self,
        cx: &Context<'_>,
        limit: Option<BurstLimit>,
        flight: &mut dyn FlightMemory,
    ) -> Option<Transmit> {
        let transmit = self.find_transmit(cx, limit, flight);
        let last = match &transmit {
            Some(segment) => {
                // Whatever is behind data was looked for before a segment without any was made.
                let noted = limit.is_some() && segment.kind.is_bare();
                self.was_last(cx, flight, noted)
            }
            None => true,
        };
        if last {
            self.status.set(Status::IDLE);
        }
        transmit
    }

    /// Whether what was just returned is all that is to be sent for now, so that the next call need not look. `noted`: what keeps more from
    /// being sent has been noted.
    fn was_last(&mut self, cx: &Context<'_>, flight: &mut dyn FlightMemory, noted: bool) -> bool {
        if self.status.has(Status::RESET) || self.phase.is_syn_received() {
            return false;
        }
        let short = self.status.has(Status::SHORT);
        match self.phase.parts() {
            Some(Parts { link, .. }) if !link.owed.is_empty() => false,
            Some(Parts {
                link,
                snd: Some(snd),
                fin,
                ..
            }) => {
                let last = !snd.has_new(link, fin) && !snd.may_repeat();
                if last {
                    if !noted {
                        snd.note_limit(cx, link, flight.get(), fin, short);
                    }
                    self.status.clear(Status::HELD);
                }
                last
            }
            Some(Parts { snd: None, .. }) => true,
            None => false,
        }
    }

    /// As [`poll_transmit`](Connection::poll_transmit), but data and a FIN stay where they are: for a caller whose
    /// queues hold enough of this connection's. When they have drained, it polls for data again.
    pub fn poll_without_data(&mut self, cx: &Context<'_>) -> Option<Transmit> {
        if self.status.has(Status::IDLE) {
            return None;
        }
        self.find_transmit(cx, None, &mut NoFlight)
    }

    fn find_transmit(
        &mut self,
        cx: &Context<'_>,
        limit: Option<BurstLimit>,
        flight: &mut dyn FlightMemory,
    ) -> Option<Transmit> {
        let mut transmit = self.find_unsigned(cx, limit, flight);
        if let Some(segment) = &mut transmit {
            // "Every segment sent on a TCP connection" (RFC 2385 section 2.0).
            segment.header.options.signature = self.options.signature;
        }
        transmit
    }

    fn find_unsigned(
        &mut self,
        cx: &Context<'_>,
        limit: Option<BurstLimit>,
        flight: &mut dyn FlightMemory,
    ) -> Option<Transmit> {
        if let Some(reset) = self.poll_reset(cx) {
            return Some(reset);
        }
        match &mut self.phase {
            Phase::Closed(closed) => {
                flight.release();
                if let Some(ended) = &mut closed.ended {
                    ended.link.tally.set_limit(cx.now, Limit::Idle);
                }
                return None;
            }
            Phase::SynSent(open) => return open.poll(cx, &mut self.timers),
            Phase::Duplex(DuplexState::SynReceived, duplex) if self.status.has(Status::SYN_ACK) => {
                self.status.clear(Status::SYN_ACK);
                return Some(open::syn_ack(cx, duplex, &mut self.timers));
            }
            _ => {}
        }
        let syn_received = self.phase.is_syn_received();
        let Parts {
            link,
            mut snd,
            mut rcv,
            fin,
        } = self.phase.parts()?;
        match (snd.as_deref_mut(), limit) {
            (Some(_), _) if syn_received => {}
            (Some(_), None) => {}
            (Some(snd), Some(limit)) => {
                let (rcv, timers) = (rcv.as_deref_mut(), &mut self.timers);
                let data = snd.poll(cx, link, timers, rcv, flight, fin, &self.options, limit);
                if data.is_some() {
                    return data;
                }
                let short = self.status.has(Status::SHORT);
                snd.note_limit(cx, link, flight.get(), fin, short);
            }
            // All of ours is acknowledged.
            (None, _) => flight.release(),
        }
        if link.owed.is_empty() {
            return None;
        }
        let edge = match &snd {
            Some(snd) => link.snd_una.add(snd.wnd()),
            None => link.snd_nxt,
        };
        let mut segment = link.poll(cx, &mut self.timers, rcv, edge);
        if let (Some(snd), Some(segment)) = (snd, &mut segment) {
            snd.point(link, segment);
        }
        segment
    }

    /// When [`on_timer`](Connection::on_timer) is to be called, if ever.
    pub fn poll_timeout(&self) -> Option<Instant> {
        self.timers.next().map(|(_, at)| at)
    }

    /// Time has passed: does what is due by `cx.now`. A call too early does nothing.
    pub fn on_timer(&mut self, cx: &Context<'_>, flight: &mut dyn FlightMemory) {
        // Each timer at most once: one that restarts itself in the past waits for the next call.
        for _ in 0..3 {
            match self.timers.expire(cx.now) {
                Some(kind) => {
                    self.status.clear(Status::IDLE);
                    self.on_expired(cx, kind, flight);
                }
                None => break,
            }
        }
    }

    /// The path's MSS has changed, by routing: bytes without options.
    pub fn set_path_mss(&mut self, cx: &Context<'_>, mss: u16) {
        let options = self.options;
        if let Phase::SynSent(open) = &mut self.phase {
            open.set_path_mss(mss);
        }
        if let Some(Parts { link, .. }) = self.phase.parts() {
            let mss = open::send_mss(cx, link.peer_mss, mss, &options);
            if link.mss != mss {
                link.mss = mss;
                self.status.clear(Status::IDLE);
            }
        }
    }

    /// An ICMP "too big" that quotes `seq` of ours has made the path's MSS `mss`, bytes without options. When it is genuine, what is in
    /// flight and larger is sent again at once, in smaller segments (RFC 1191 section 6.5, RFC 5927 section 7.2).
    ///
    /// Deviation: RFC 5927 section 7.2 believes an error about segments of a size that has got through before only when they have timed
    /// out. As in Linux the number that it quotes is enough: a path that has become narrower would stand still for a timeout, and the
    /// routing table has a least MTU against those that guess the number.
    pub fn on_too_big(
        &mut self,
        cx: &Context<'_>,
        seq: SeqNum,
        mss: u16,
        flight: &mut dyn FlightMemory,
    ) {
        if !self.icmp_sequence_in_flight(seq) {
            return;
        }
        let before = self.phase.link().map(|link| link.mss);
        self.set_path_mss(cx, mss);
        if let Some(Parts {
            link,
            snd: Some(snd),
            ..
        }) = self.phase.parts()
        {
            if before.is_some_and(|before| link.mss < before) {
                let size = snd.segment_size(link, 0);
                snd.on_too_big(cx, link, flight, size);
            }
        }
    }

    /// Whether an ICMP error that quotes `seq` can be about a segment of ours that is in flight (RFC 5927 section
    /// 4.1). Others are to be ignored.
    pub fn icmp_sequence_in_flight(&self, seq: SeqNum) -> bool {
        match (&self.phase, self.phase.link()) {
            (Phase::SynSent(open), _) => seq == open.iss(),
            (_, Some(link)) => seq.after_eq(link.snd_una) && seq.before(link.snd_nxt),
            (_, None) => false,
        }
    }

    /// An ICMP error says that the peer cannot be reached; it quotes `seq` of ours. In SYN-SENT and SYN-RECEIVED a
    /// `hard` one ends the connection with [`Error::Unreachable`]. Otherwise it is remembered, and is the error of
    /// a timeout that follows (RFC 1122 section 4.2.3.9, RFC 5461).
    ///
    /// Deviation: RFC 9293 section 3.9.2.2 (SHLD-26), like RFC 1122, ends a connection in any state for a hard error. As in Linux, and as
    /// RFC 5927 section 5.2 advises, an established one goes on: it has shown that the peer can be reached, and such an error is easily
    /// forged.
    pub fn on_unreachable(&mut self, _cx: &Context<'_>, seq: SeqNum, hard: bool) {
        if !self.icmp_sequence_in_flight(seq) {
            return;
        }
        self.status.clear(Status::IDLE);
        let opening = self.phase.is_syn_received() || matches!(self.phase, Phase::SynSent(_));
        if opening && hard {
            self.die(Some(Error::Unreachable));
        } else {
            self.soft_error = Some(Error::Unreachable);
        }
    }

    // The user's side.

    /// The caller has appended `len` bytes to the send buffer. Nothing happens when nothing more can be sent
    /// ([`can_send`](Connection::can_send)).
    pub fn write(&mut self, len: u32) {
        if !self.can_send() {
            return;
        }
        self.status.clear(Status::IDLE);
        if let Phase::SynSent(open) = &mut self.phase {
            open.write(len);
        }
        if let Some(Parts { snd: Some(snd), .. }) = self.phase.parts() {
            snd.write(len);
        }
    }

    /// MSG_MORE: whether the user has said that more follows what is written. A segment smaller than the MSS waits, until
    /// an acknowledgment comes (as in Linux) or for 200 ms at most.
    pub fn set_more(&mut self, more: bool) {
        self.status.clear(Status::IDLE);
        if let Some(Parts { snd: Some(snd), .. }) = self.phase.parts() {
            snd.set_more(more);
        }
    }

    /// A chunk of what the user writes is full, and more of it follows at once: the next packet may go, and as it is none that
    /// ends what was written, PSH is not due (Linux's `tcp_push_one`). [`set_more`](Connection::set_more) ends this.
    pub fn set_filling(&mut self) {
        self.status.clear(Status::IDLE);
        if let Some(Parts { snd: Some(snd), .. }) = self.phase.parts() {
            snd.set_filling();
        }
    }

    /// A segment with payload has come; `unread` bytes are in the receive queue. Says what is to be done about memory before it
    /// is given to [`on_segment`](Connection::on_segment).
    pub fn make_room(&mut self, segment: &Segment, memory: &RecvMemory, unread: u32) -> Room {
        if self.is_orphan() {
            return Room::Useless(Useless::Old);
        }
        if matches!(self.phase, Phase::SynSent(_)) {
            // Nothing is in the buffer yet.
            return Room::Enough;
        }
        match self.phase.parts() {
            Some(Parts {
                link,
                rcv: Some(rcv),
                ..
            }) => rcv.make_room(link, segment, memory, unread),
            _ => Room::Useless(Useless::Old),
        }
    }

    /// How much of a packet's memory is payload, as the packets of this connection are.
    pub fn share(&self) -> Share {
        self.phase
            .receiver()
            .map_or(Share(memory::FIRST_SHARE), |rcv| Share(rcv.share()))
    }

    /// The receive buffer that makes a window of so many bytes, by what packets take.
    pub fn recv_buffer_for(&self, window: u32) -> u32 {
        match self.phase.receiver() {
            Some(rcv) => memory::memory_for(window, rcv.share()),
            None => RecvMemory::first_buffer(window),
        }
    }

    /// The caller has moved packets or joined them: its memory is this now. No segment becomes due.
    #[inline]
    pub fn set_recv_memory(&mut self, memory: &RecvMemory) {
        if let Some(Parts { rcv: Some(rcv), .. }) = self.phase.parts() {
            rcv.set_memory(memory);
        }
    }

    /// A segment has come and brought nothing: whether it asks if a closed window is open again, so that the memory of what is mostly read
    /// ([`mostly_read`]) is to be given back. [`resize_recv_buffer`](Connection::resize_recv_buffer) tells that it was.
    pub fn is_asked_for_room(&self) -> bool {
        self.rcv_wnd() == 0 && self.phase.receiver().is_some()
    }

    /// The buffer has another size, or the caller has made room in it. An update of the window may become due.
    pub fn resize_recv_buffer(&mut self, cx: &Context<'_>, memory: &RecvMemory) {
        self.status.clear(Status::IDLE);
        if let Phase::SynSent(open) = &mut self.phase {
            open.set_space(memory.first_window());
        }
        if let Some(Parts {
            link,
            rcv: Some(rcv),
            ..
        }) = self.phase.parts()
        {
            rcv.set_memory(memory);
            rcv.on_more_room(cx, link, false);
        }
    }

    /// The user has read `bytes`, and `unread` are left in the receive queue; `memory` is what it is now, `held` what has come
    /// out of order. An update of the window may become due (RFC 9293 section 3.8.6.2.2).
    ///
    /// `Some`: the user reads so fast that the buffer is to become so large, which the engine takes as done.
    #[must_use]
    pub fn on_consumed(
        &mut self,
        cx: &Context<'_>,
        bytes: u32,
        unread: u32,
        memory: &RecvMemory,
        held: Option<&Reassembly>,
    ) -> Option<u32> {
        let was_idle = self.status.take(Status::IDLE);
        let Some(Parts {
            link,
            rcv: Some(rcv),
            ..
        }) = self.phase.parts()
        else {
            return None;
        };
        let grown = rcv.on_read(cx, link, (bytes, unread), memory, held);
        rcv.set_memory(&RecvMemory {
            limit: grown.unwrap_or(memory.limit),
            ..*memory
        });
        rcv.on_more_room(cx, link, true);
        self.keep_idle(was_idle);
        grown
    }

    /// A packet out of order has been kept, for a program that has the connection: the size that the buffer is to have, if
    /// it is to grow, so that the sender can go on while what is missing is repaired.
    #[must_use]
    pub fn grow_for_hole(&mut self, memory: &RecvMemory, held: Option<&Reassembly>) -> Option<u32> {
        let Some(Parts {
            link,
            rcv: Some(rcv),
            ..
        }) = self.phase.parts()
        else {
            return None;
        };
        let grown = rcv.on_hole(link, memory, held);
        rcv.set_memory(&RecvMemory {
            limit: grown.unwrap_or(memory.limit),
            ..*memory
        });
        grown
    }

    /// Whether the user waits for room in the send buffer (SOCK_NOSPACE). For the figures alone: it counts as what limits
    /// the connection when all that is written has been sent.
    #[inline]
    pub fn set_short_of_room(&mut self, cx: &Context<'_>, short: bool) {
        if short {
            self.status.set(Status::SHORT);
        } else if self.status.has(Status::SHORT) {
            self.status.clear(Status::SHORT);
            if let Some(Parts { link, .. }) = self.phase.parts() {
                link.tally.on_room(cx.now);
            }
        }
    }

    /// TCP_NODELAY. Switching it on, or on again, lets waiting data go, corked or not.
    pub fn set_nodelay(&mut self, on: bool) {
        self.status.clear(Status::IDLE);
        self.options.nodelay = on;
        if on {
            self.push();
        }
    }

    /// See [`Sender::push`](send::Sender::push).
    fn push(&mut self) {
        let corked = self.options.cork;
        if let Some(Parts {
            link,
            snd: Some(snd),
            ..
        }) = self.phase.parts()
        {
            snd.push(link, corked);
        }
    }

    /// TCP_CORK. Switching it off lets waiting data go.
    pub fn set_cork(&mut self, on: bool) {
        self.status.clear(Status::IDLE);
        self.options.cork = on;
        if !on {
            self.set_more(false);
        }
    }

    /// Replaces the socket's options. Keepalive starts, stops, or counts anew by them.
    pub fn set_options(&mut self, cx: &Context<'_>, options: SocketOptions) {
        let keepalive = (options.keepalive, options.keepidle)
            != (self.options.keepalive, self.options.keepidle);
        let uncorked = self.options.cork && !options.cork;
        self.status.clear(Status::IDLE);
        let paced = self.options.traits.has(Traits::PACED);
        self.options = options;
        self.options.traits.set(Traits::PACED, paced);
        if uncorked {
            self.set_more(false);
        }
        if let (Some(algorithm), Some(Parts { snd: Some(snd), .. })) =
            (options.congestion_control, self.phase.parts())
        {
            snd.use_algorithm(algorithm);
        }
        if keepalive {
            self.timers.clear(TimerKind::KeepAlive);
            self.start_keepalive(cx);
        }
    }
}
