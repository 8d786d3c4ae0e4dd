// SPDX-License-Identifier: GPL-2.0

//! Header prediction (V. Jacobson's; the fast path of Linux's `tcp_rcv_established`): the segment that a connection which has nothing
//! to send expects next, and the acknowledgment of it.
//!
//! There is no rule here. [`Connection::expects`] tells when most questions that [`on_segment`](Connection::on_segment) and
//! [`poll_transmit`](Connection::poll_transmit) ask have the usual answer, and what is done then is done by the same functions. The tests
//! take each such segment in both ways (`tests/common/twin.rs`).

use super::link::{Link, Owed};
use super::memory::RecvMemory;
use super::phase::{Duplex, DuplexState, Phase};
use super::receive::Rx;
use super::send::Sender;
use super::tally::Limit;
use super::timers::{Tick, TimerKind};
use super::{Connection, Status};
use crate::context::{Context, SocketOptions};
use crate::segment::Segment;
use crate::transmit::Acknowledgment;
use crate::wire::{Flags, Signature};

/// What is to be done about an expected segment, of which all the payload has been taken: readers are to be woken, as
/// [`Event::Readable`](super::Event::Readable) is not told apart, and this.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub struct Expected {
    /// To be sent; `None`: nothing is.
    pub ack: Option<Acknowledgment>,
    /// Whether [`standing`](Connection::standing) may have changed, the timer with it.
    pub changed: bool,
}

/// See [`Connection::poll_rest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Rest {
    /// This, and nothing behind it.
    Acknowledgment(Acknowledgment),
    /// Nothing.
    Nothing,
    /// Something else may be to be sent: [`poll_transmit`](Connection::poll_transmit) tells.
    Other,
}

impl Connection {
    /// Whether [`take_expected`](Connection::take_expected) is for this segment, given the same `rx`.
    #[inline]
    pub fn expects(&self, cx: &Context<'_>, segment: &Segment, rx: &Rx<'_>) -> bool {
        let Phase::Duplex(DuplexState::Established, Duplex { link, snd, rcv }) = &self.phase else {
            return false;
        };
        let header = &segment.header;
        let stamps = header.options.timestamps;
        header.flags.without(Flags::PSH) == Flags::ACK
            && segment.payload_len != 0
            && header.seq == link.rcv_nxt
            && header.ack == link.snd_una
            && header.options.sack.is_empty()
            && self.status.0 == Status::IDLE.0
            && self.events.is_empty()
            && link.owed.is_empty()
            && rests(link, snd, &self.options)
            && !rcv.reports()
            && snd.persisted == 0
            && self.timers.get(TimerKind::Persist).is_none()
            && stamps.is_some() == link.stamps.is_some()
            && !link.is_stale(cx, stamps)
            && rcv.expects(link, segment, rx)
    }

    /// Takes a segment that is [expected](Connection::expects). `memory` is what the caller's is with it.
    #[inline]
    pub fn take_expected(
        &mut self,
        cx: &Context<'_>,
        segment: &Segment,
        rx: &Rx<'_>,
        memory: &RecvMemory,
    ) -> Expected {
        let Phase::Duplex(_, Duplex { link, snd, rcv }) = &mut self.phase else {
            return Expected {
                ack: None,
                changed: false,
            };
        };
        let timers = &mut self.timers;
        let delayed = timers.holds_acknowledgment();
        let segments = rx.packet.segments(segment.payload_len);
        link.tally.on_arrival(segments, segment.payload_len);
        let window_changed = snd.hear(link, segment);
        link.take_stamp(cx, segment);
        link.heard = Tick::new(cx.now);
        let rto = || snd.rto(cx.config);
        rcv.take_expected(cx, link, timers, rto, segment, rx);
        link.tally.on_received(segment.payload_len, false);
        rcv.set_memory(memory);
        note_rest(cx, link);
        let owes = link.owed.contains(Owed::ACK);
        let ack = owes.then(|| link.acknowledge(cx, timers, rcv));
        let waits = timers.holds_acknowledgment();
        Expected {
            ack,
            changed: window_changed || delayed != waits,
        }
    }

    /// What a connection without data to send has to send: the acknowledgment that is owed, if nothing else is to be sent, or nothing. It
    /// is what [`poll_transmit`](Connection::poll_transmit) would return, and then `None`.
    #[inline]
    pub fn poll_rest(&mut self, cx: &Context<'_>) -> Rest {
        if self.status.has(Status::IDLE) {
            return Rest::Nothing;
        }
        let Phase::Duplex(DuplexState::Established, Duplex { link, snd, rcv }) = &mut self.phase
        else {
            return Rest::Other;
        };
        let owes = link.owed.is_acknowledgment();
        let due = !self.status.has(Status::RESET)
            && (owes || link.owed.is_empty())
            && rests(link, snd, &self.options);
        if !due {
            return Rest::Other;
        }
        self.status.set(Status::IDLE);
        note_rest(cx, link);
        if !owes {
            return Rest::Nothing;
        }
        self.status.clear(Status::HELD);
        Rest::Acknowledgment(link.acknowledge(cx, &mut self.timers, rcv))
    }
}

/// Whether nothing has been sent that is not acknowledged, nor is anything to be; and an acknowledgment is not signed.
fn rests(link: &Link, snd: &Sender, options: &SocketOptions) -> bool {
    link.snd_una == link.snd_nxt
        && link.snd_nxt == snd.write_seq
        && !snd.may_repeat()
        && !snd.is_urgent(link)
        && options.signature == Signature::NONE
}

/// What `poll_transmit` notes when nothing more is to be sent.
fn note_rest(cx: &Context<'_>, link: &mut Link) {
    link.tally.take_sent();
    link.tally.set_limit(cx.now, Limit::Idle);
}
