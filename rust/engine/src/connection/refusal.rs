// SPDX-License-Identifier: GPL-2.0

//! What the layers below did not take: a segment that is known not to have left the host is no loss on the network.
//!
//! As in Linux: a full queue reduces the window (`tcp_enter_cwr`), and what it dropped, or what there was no memory or
//! route for, goes back to where it was, to be sent with the next acknowledgment, or by a timer when none is to come.

use super::link::{Link, Owed};
use super::phase::Parts;
use super::recovery::Mode;
use super::send::Sender;
use super::timers::{Tick, TimerKind, Timers};
use super::{Connection, Status};
use crate::congestion::{Cause, Congestion, CongestionControl};
use crate::context::Context;
use crate::flight::FlightMemory;
use crate::seq::{SeqNum, SeqRange};
use crate::time::{Duration, Instant};
use crate::transmit::{Refusal, Transmit, TransmitKind};
use crate::wire::Flags;

/// Linux's TCP_RESOURCE_PROBE_INTERVAL: how soon a connection tries again that a full queue of its own host turned away.
/// No back-off: those who share the queue share it evenly.
const RESOURCE_PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// Linux's TCP_DELACK_MAX: an acknowledgment that could not be sent is tried again so late.
const ACK_AGAIN: Duration = Duration::from_millis(200);

impl Connection {
    /// The layers below did not take `segment`, the one that was polled last, as they should have: its first `sent` bytes
    /// of payload left, the rest did not, for the reason `why`. For [`Refusal::Congested`] all of it left.
    ///
    /// The caller does not poll at once again, but with the next event.
    pub fn on_refusal(
        &mut self,
        cx: &Context<'_>,
        segment: &Transmit,
        sent: u32,
        why: Refusal,
        flight: &mut dyn FlightMemory,
    ) {
        self.status.clear(Status::IDLE);
        let Some(Parts {
            link,
            snd,
            rcv,
            fin: _,
        }) = self.phase.parts()
        else {
            // A SYN: its timer runs.
            return;
        };
        // A reset here answers an acknowledgment of what was never sent: it is no segment of the connection, and was not counted.
        let counted = !matches!(segment.kind, TransmitKind::LossProbe | TransmitKind::Reset);
        if why != Refusal::Congested && counted {
            let again = segment.kind == TransmitKind::Retransmission;
            link.tally.take_back(segment, sent, again);
        }
        let timers = &mut self.timers;
        let delay = (why == Refusal::Dropped).then_some(RESOURCE_PROBE_INTERVAL);
        if let Some(snd) = snd {
            if matches!(why, Refusal::Congested | Refusal::Dropped) {
                snd.reduce_at_once(cx, link, Cause::Loss);
            }
            if why == Refusal::Congested {
                return;
            }
            let start = segment.payload.start.add(sent.min(segment.payload.len));
            let fin = segment.header.flags.contains(Flags::FIN);
            let end = segment.payload.end().add(u32::from(fin));
            match segment.kind {
                TransmitKind::LossProbe => {
                    snd.take_back_again(cx, link, flight, start, end);
                }
                TransmitKind::Data | TransmitKind::LossProbeData | TransmitKind::Fin => {
                    // What the first of it said did not leave either.
                    snd.reduction_untold |= sent == 0 && segment.header.flags.contains(Flags::CWR);
                    snd.take_back(cx, link, flight, start, end);
                    let next = segment.persist.or_else(|| Some(cx.now + delay?));
                    snd.try_later(cx, link, timers, next);
                }
                TransmitKind::Retransmission => {
                    snd.take_back_again(cx, link, flight, start, end);
                    // Sent again by a timeout: soon again, and not after twice the timeout.
                    if let (Some(delay), true) =
                        (delay, snd.retransmits() != 0 && start == link.snd_una)
                    {
                        timers.set(TimerKind::Retransmit, cx.now + delay);
                    }
                }
                TransmitKind::Probe => {
                    if let Some(delay) = delay {
                        timers.set(TimerKind::Persist, cx.now + delay);
                    }
                }
                _ => {}
            }
        }
        match segment.kind {
            // What a filter does not let out it would not let out the next time.
            TransmitKind::Ack | TransmitKind::WindowUpdate
                if rcv.is_some() && why == Refusal::NoMemory =>
            {
                link.owed.insert(Owed::ACK_LATER);
                timers.set(TimerKind::DelayedAck, cx.now + ACK_AGAIN);
            }
            TransmitKind::KeepAlive => {
                if let Some(delay) = delay {
                    timers.set(TimerKind::KeepAlive, cx.now + delay);
                }
            }
            _ => {}
        }
    }
}

impl Sender {
    /// A queue of this host is full or nearly so, or segments were marked and there is no memory to go slower step by step: the
    /// window shrinks as for a loss, once for what is in flight, and nothing is sent again (Linux's tcp_enter_cwr).
    pub(super) fn reduce_at_once(&mut self, cx: &Context<'_>, link: &Link, cause: Cause) {
        if self.mode >= Mode::Cwr || self.reduced.after(link.snd_una) {
            return;
        }
        let size = self.segment_size(link, 0);
        let congestion = Congestion {
            now: cx.now,
            // Not what is in flight: that may be little because the queue took little, and grow after a mark.
            in_flight: self.window.cwnd,
            mss: size.min(u32::from(u16::MAX)) as u16,
            cause,
        };
        self.controller.on_congestion(&mut self.window, &congestion);
        self.window.cwnd = self.window.cwnd.min(self.window.ssthresh);
        self.reduced = link.snd_nxt;
        self.reduction_untold = true;
    }

    /// The newest bytes from `start` to `end` did not leave: they count as not sent.
    pub(super) fn take_back(
        &mut self,
        cx: &Context<'_>,
        link: &mut Link,
        memory: &mut dyn FlightMemory,
        start: SeqNum,
        end: SeqNum,
    ) {
        if link.snd_nxt != end || !start.before(end) {
            return;
        }
        let len = start.distance_to(end);
        match self.flight(cx, link, memory, false) {
            Some(flight) => {
                flight.records.take_back(start);
                flight.recovery.on_taken_back(len, false);
            }
            None => self.outline.take_back(start, len),
        }
        link.snd_nxt = start;
        if self.small.after(start) {
            self.small = link.snd_una;
        }
    }

    /// The bytes from `start` to `end`, sent again, did not leave.
    pub(super) fn take_back_again(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        memory: &mut dyn FlightMemory,
        start: SeqNum,
        end: SeqNum,
    ) {
        let len = start.distance_to(end);
        match self.flight(cx, link, memory, false) {
            Some(flight) => {
                flight.records.take_back_again(SeqRange::new(start, len));
                flight.recovery.on_taken_back(len, true);
            }
            None => self.outline.take_back(start, len),
        }
    }

    /// With nothing in flight no acknowledgment will come, and only the persist timer sends what could not be sent: at
    /// `next`, or by its own rule (Linux's tcp_check_probe_timer and tcp_send_probe0).
    pub(super) fn try_later(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        timers: &mut Timers,
        next: Option<Instant>,
    ) {
        if link.in_flight() != 0 {
            return;
        }
        timers.clear_acknowledgment();
        if self.persisted == 0 {
            self.waiting_since = Tick::new(cx.now);
        }
        match next {
            Some(next) if self.persisted != 0 => timers.set(TimerKind::Persist, next),
            _ if timers.get(TimerKind::Persist).is_none() => self.arm_persist(cx, timers),
            _ => {}
        }
    }
}
