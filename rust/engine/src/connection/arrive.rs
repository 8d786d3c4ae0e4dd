// SPDX-License-Identifier: GPL-2.0

//! A segment arrives at a synchronized connection (RFC 9293 section 3.10.7.4), in the order of the RFC.

use super::ack::AckVerdict;
use super::ecn;
use super::event::{Error, Event};
use super::link::{Link, Owed};
use super::phase::{Duplex, DuplexState, Parts, Phase};
use super::receive::FinStatus;
use super::state::{Input, State};
use super::tally::Limit;
use super::timers::{Tick, TimerKind};
use super::{Connection, Payload, Rx, Status};
use crate::context::Context;
use crate::flight::FlightMemory;
use crate::happening::Happening;
use crate::rtt::INITIAL_RTO;
use crate::segment::Segment;
use crate::seq::SeqNum;
use crate::time::Duration;
use crate::wire::{Flags, Timestamps};

/// Why a segment was dropped as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unacceptable {
    /// An old timestamp (PAWS).
    Stamp,
    /// The same of an acknowledgment that newer ones have overtaken.
    Overtaken,
    /// All of it lies before the window.
    Old,
    /// It lies beyond the window.
    Beyond,
    /// A reset without the exact number.
    Reset,
    /// A SYN in the midst of the connection.
    Syn,
    /// No ACK.
    NoAck,
    /// It acknowledges what was never sent, or what is too old.
    Ack,
    /// Data for a user who has closed: the connection is reset.
    NoReader,
    /// There is no connection any more.
    Closed,
}

/// Whether the numbers of a segment from `seq` to `end` lie in the window.
///
/// `receive.rs` takes only what lies in it.
///
/// Deviation: RFC 9293 section 3.10.7.4 wants a number of the segment's in the window, and none where the window is shut. As
/// in Linux it may end anywhere from Last.ACK.sent on and begin anywhere up to the largest right edge: that lets the acknowledgment
/// of a bare segment count that data has overtaken, or that a peer sends which has filled our window.
fn is_inside(link: &Link, seq: SeqNum, end: SeqNum) -> bool {
    link.last_ack.before_eq(end) && seq.before_eq(link.rcv_limit())
}

/// Why a segment is refused that ends at `end`, outside of the window.
fn why_outside(link: &Link, end: SeqNum) -> Unacceptable {
    match end.before_eq(link.rcv_nxt) {
        true => Unacceptable::Old,
        false => Unacceptable::Beyond,
    }
}

/// The same, but for one that has an old timestamp: an acknowledgment that holds nothing, from before RCV.NXT, has been overtaken by newer ones. Where
/// they were reordered that is no sign of anything (Linux's `tcp_disordered_ack_check`).
///
/// Deviation: RFC 7323 section 5.3 (R1) has every segment with an old timestamp answered. As in Linux such a one is not: its sender knows more
/// already than the answer would tell.
fn why_refused(
    link: &Link,
    stale: bool,
    (start, end): (SeqNum, SeqNum),
    flags: Flags,
) -> Unacceptable {
    match stale {
        true if start == end && flags.ack() && start.before(link.rcv_nxt) => {
            Unacceptable::Overtaken
        }
        true => Unacceptable::Stamp,
        false => why_outside(link, end),
    }
}

/// Counts a segment that is refused, and is no reset and no SYN. `range` is where it begins and ends.
fn count_refused(
    cx: &Context<'_>,
    why: Unacceptable,
    (start, end): (SeqNum, SeqNum),
    flags: Flags,
) {
    match why {
        Unacceptable::Overtaken => cx.count(Happening::PAWSOldAck),
        Unacceptable::Stamp => cx.count(Happening::PAWSEstab),
        // One with data the caller has counted.
        Unacceptable::Beyond if start == end || (flags.fin() && start.add(1) == end) => {
            cx.count(Happening::BeyondWindow);
        }
        _ => {}
    }
}

/// What is counted when a segment that is refused is not answered.
fn skipped(why: Unacceptable) -> Happening {
    match why {
        Unacceptable::Stamp => Happening::TCPACKSkippedPAWS,
        _ => Happening::TCPACKSkippedSeq,
    }
}

impl Connection {
    /// For a segment without payload, and without options but for timestamps, whether it is one of those that floods are made of: outside
    /// of the window, and no answer is due to it. If so it has been counted, and nothing else would come of
    /// [`on_segment`](Connection::on_segment), which it need not be given to; why it is dropped. `cx` is asked only if it matters.
    pub fn ignores<'c>(
        &mut self,
        seq: SeqNum,
        flags: Flags,
        stamps: Option<Timestamps>,
        cx: impl FnOnce() -> Context<'c>,
    ) -> Option<Unacceptable> {
        let Phase::Duplex(DuplexState::Established, Duplex { link, .. }) = &mut self.phase else {
            return None;
        };
        let end = seq.add(u32::from(flags.fin()));
        if flags.syn() || is_inside(link, seq, end) {
            return None;
        }
        let mut why = why_outside(link, end);
        if !flags.rst() {
            let cx = cx();
            why = why_refused(link, link.is_stale(&cx, stamps), (seq, end), flags);
            let is_answered = why != Unacceptable::Overtaken;
            if is_answered && link.may_challenge(&cx) {
                return None;
            }
            count_refused(&cx, why, (seq, end), flags);
            if is_answered {
                cx.count(skipped(why));
            }
        }
        link.tally.on_arrival(1, 0);
        Some(why)
    }

    pub(super) fn on_synchronized(
        &mut self,
        cx: &Context<'_>,
        segment: &Segment,
        mut rx: Rx<'_>,
        flight: &mut dyn FlightMemory,
        refusal: &mut Option<Unacceptable>,
    ) -> Payload {
        let crossing;
        let segment = match segment
            .has(Flags::SYN)
            .then(|| self.without_crossing_syn(segment))
        {
            Some(Some(stripped)) => {
                crossing = stripped;
                &crossing
            }
            _ => segment,
        };
        let flags = segment.header.flags;
        let state = self.phase.state();
        let repeats_syn = flags.syn() && self.repeats_syn(segment);
        let after_fin = flags.rst() && self.resets_after_fin(segment);
        let Some(Parts { link, snd, .. }) = self.phase.parts() else {
            return Payload::None;
        };
        let segments = rx.packet.segments(segment.payload_len);
        link.tally.on_arrival(segments, segment.payload_len);

        // First, PAWS (RFC 7323 section 5.3, R1), from which RST is exempt, and the sequence number.
        let inside = is_inside(link, segment.seq(), segment.end());
        let stale = !flags.rst() && link.is_stale(cx, segment.header.options.timestamps);
        let late = stale && snd.is_some_and(|snd| snd.takes_late(cx, link, segment));
        let stale = stale && !late;
        if (stale || !inside) && !after_fin {
            let range = (segment.seq(), segment.end());
            let why = why_refused(link, stale, range, flags);
            *refusal = Some(why);
            // "If an incoming segment is not acceptable, an acknowledgment should be sent in reply (unless the
            // RST bit is set)."
            if !flags.rst() && !flags.syn() {
                count_refused(cx, why, range, flags);
            }
            if !flags.rst() {
                if segment.payload_len != 0 && !flags.syn() {
                    self.note_unacceptable(cx, segment, rx);
                } else if repeats_syn {
                    self.owe_syn_ack();
                } else if flags.syn() {
                    link.challenge_syn(cx, state);
                } else if why != Unacceptable::Overtaken {
                    link.challenge(cx, Owed::ACK, skipped(why));
                }
            }
            return Payload::None;
        }

        // Second, RST (RFC 5961 section 3.2).
        if flags.rst() {
            if segment.seq() == link.rcv_nxt || after_fin {
                let error = match state {
                    State::SynReceived => Some(Error::Refused),
                    State::CloseWait => Some(Error::ResetAfterFin),
                    State::TimeWait if cx.config.rfc1337 => return Payload::None,
                    // Nobody is left to hear of it, or nothing of his was lost.
                    State::TimeWait => None,
                    _ => Some(Error::Reset),
                };
                self.die(error);
            } else {
                *refusal = Some(Unacceptable::Reset);
                if segment.seq().after(link.rcv_nxt) {
                    link.challenge_peer(cx);
                }
            }
            return Payload::None;
        }

        // Third, nothing.
        //
        // Deviation: RFC 9293 section 3.10.7.4 compares security and compartment. Nobody sets them on the Internet, and the RFC's
        // appendix A.1.2 lets them be ignored.

        // Fourth, SYN (RFC 5961 section 4.2).
        if flags.syn() {
            if repeats_syn {
                self.owe_syn_ack();
            } else {
                *refusal = Some(Unacceptable::Syn);
                link.challenge_syn(cx, state);
            }
            return Payload::None;
        }

        // Fifth, ACK: "if the ACK bit is off, drop the segment and return".
        if !flags.ack() {
            *refusal = Some(Unacceptable::NoAck);
            return Payload::None;
        }
        if state == State::SynReceived && !self.on_syn_acked(cx, segment) {
            *refusal = Some(Unacceptable::Ack);
            return Payload::None;
        }
        let Some(Parts { link, snd, fin, .. }) = self.phase.parts() else {
            return Payload::None;
        };
        let old = segment.header.ack.before(link.snd_una);
        let verdict = match snd {
            Some(snd) => {
                let (timers, options) = (&mut self.timers, &self.options);
                snd.on_ack(cx, link, timers, flight, options, fin, segment)
            }
            None if is_impossible(link, segment.header.ack) => {
                link.challenge_peer(cx);
                AckVerdict::Invalid
            }
            None => {
                link.probes = 0;
                AckVerdict::Old
            }
        };
        if verdict != AckVerdict::Invalid {
            // Deviation: RFC 7323 section 5.3 (R3) takes TS.Recent before it looks at the acknowledgment. Not from a segment that only
            // guesses: a timestamp of the far future would shut the true peer out.
            if !late {
                link.take_stamp(cx, segment);
            }
            link.heard = Tick::new(cx.now);
            if !old {
                link.accept_cwr(segment);
            }
        }
        match verdict {
            AckVerdict::Invalid => {
                *refusal = Some(Unacceptable::Ack);
                return Payload::None;
            }
            AckVerdict::Old => {}
            AckVerdict::New => self.events.insert(Event::Writable),
            AckVerdict::Finished => {
                self.events.insert(Event::Writable);
                self.on_fin_acked(cx);
            }
        }

        // Sixth, URG; seventh and eighth, the text and the FIN.
        self.on_urgent(segment, &mut rx);
        let orphan = self.is_orphan();
        let payload = self.on_text(cx, segment, rx);
        if orphan && self.status.has(Status::RESET) {
            *refusal = Some(Unacceptable::NoReader);
        }
        payload
    }

    /// The crossing of two SYNs (RFC 9293 section 3.5, figure 7): the peer's SYN-ACK repeats the SYN that we know, and
    /// brings the ACK, which is what is returned.
    fn without_crossing_syn(&self, segment: &Segment) -> Option<Segment> {
        let Phase::Duplex(DuplexState::SynReceived, Duplex { link, .. }) = &self.phase else {
            return None;
        };
        let flags = segment.header.flags;
        if !flags.contains(Flags::SYN_ACK)
            || flags.rst()
            || segment.seq().add(1) != link.rcv_nxt
            || segment.header.ack != link.snd_nxt
        {
            return None;
        }
        let mut segment = *segment;
        segment.header.flags.remove(Flags::SYN);
        ecn::strip_setup(&mut segment.header.flags);
        segment.header.seq = link.rcv_nxt;
        // The window of a SYN is not scaled (RFC 7323 section 2.2), that of what it now looks like is.
        segment.header.window = link.snd_scale().narrow(u32::from(segment.header.window));
        Some(segment)
    }

    /// SYN-RECEIVED: the ACK of our SYN, or not. Says whether to go on.
    fn on_syn_acked(&mut self, cx: &Context<'_>, segment: &Segment) -> bool {
        let Phase::Duplex(DuplexState::SynReceived, Duplex { link, snd, .. }) = &mut self.phase
        else {
            return true;
        };
        if segment.header.ack != link.snd_nxt {
            // "If the segment acknowledgment is not acceptable, form a reset segment <SEQ=SEG.ACK><CTL=RST>."
            self.reset_sender(segment.header.ack);
            return false;
        }
        let rtt = link.stamp_rtt(cx, segment);
        link.snd_una = link.snd_nxt;
        snd.start(cx, link, rtt);
        link.tally.on_acked(cx.now, 0);
        snd.take_window(link, segment);
        let finished = self.status.take(Status::FINISHED);
        self.status.clear(Status::SYN_ACK);
        self.timers.clear(TimerKind::Retransmit);
        self.phase.advance(Input::AckOfSyn);
        self.events.insert(Event::Established);
        self.start_keepalive(cx);
        if finished {
            self.phase.advance(Input::Finish);
        }
        true
    }

    /// A RST with the number of the peer's FIN: what macOS sends (Linux's `tcp_reset_check`).
    ///
    /// Deviation: RFC 5961 section 3.2 drops it, as the number lies before the window. It is as hard to guess as the one that counts, and
    /// dropped it leaves a connection that only timeouts end.
    fn resets_after_fin(&self, segment: &Segment) -> bool {
        match &self.phase {
            Phase::Outbound(_, o) => {
                segment.has(Flags::RST) && segment.seq().add(1) == o.link.rcv_nxt
            }
            _ => false,
        }
    }

    /// A SYN that the peer sends again because it lacks our SYN-ACK.
    fn repeats_syn(&self, segment: &Segment) -> bool {
        match &self.phase {
            Phase::Duplex(DuplexState::SynReceived, duplex) => {
                segment.has(Flags::SYN)
                    && !segment.has(Flags::ACK)
                    && segment.seq().add(1) == duplex.link.rcv_nxt
            }
            _ => false,
        }
    }

    fn owe_syn_ack(&mut self) {
        if self.phase.is_syn_received() {
            self.status.set(Status::SYN_ACK);
        }
    }

    /// Data that is old, or beyond the window, gets an ACK at once, with a D-SACK if it is old (RFC 2883): the
    /// peer is retransmitting and must learn where we are.
    fn note_unacceptable(&mut self, cx: &Context<'_>, segment: &Segment, rx: Rx<'_>) {
        let Some(Parts { link, rcv, .. }) = self.phase.parts() else {
            return;
        };
        if segment.seq().before(link.rcv_nxt) {
            cx.count(Happening::DelayedACKLost);
        }
        if let Some(rcv) = rcv {
            if segment.end().before_eq(link.rcv_nxt) {
                rcv.note_duplicate(cx, link, segment.payload(), &rx);
            }
        }
        link.owed.insert(Owed::ACK);
    }

    /// The urgent pointer of an acceptable segment (RFC 9293 section 3.10.7.4, sixth): once the peer's FIN has come, it means nothing.
    pub(super) fn on_urgent(&mut self, segment: &Segment, rx: &mut Rx<'_>) {
        let Some(Parts {
            link, rcv: Some(_), ..
        }) = self.phase.parts()
        else {
            return;
        };
        let (next, unread) = (link.rcv_nxt, rx.unread);
        let place = rx.urgent.as_mut();
        if place.is_some_and(|place| place.on_segment(segment, next, unread)) {
            self.events.insert(Event::Urgent);
        }
    }

    /// The text and the FIN of an acceptable segment.
    pub(super) fn on_text(&mut self, cx: &Context<'_>, segment: &Segment, rx: Rx<'_>) -> Payload {
        let orphan = self.is_orphan();
        let state = self.phase.state();
        let Some(Parts { link, snd, rcv, .. }) = self.phase.parts() else {
            return Payload::None;
        };
        let Some(rcv) = rcv else {
            // "Ignore the segment text"; but what takes numbers is acknowledged: it is the FIN come again.
            if segment.seq_len() != 0 {
                link.owed.insert(Owed::ACK);
                match state {
                    // "Restart the 2 MSL time-wait timeout."
                    State::TimeWait => self.timers.set(TimerKind::TimeWait, cx.now + TIME_WAIT),
                    _ if segment.end().before_eq(link.rcv_nxt) => {
                        cx.count(Happening::DelayedACKLost);
                    }
                    _ => {}
                }
            }
            return Payload::None;
        };
        // RFC 1122 section 4.2.2.13: data for a user who has closed. "Send a RST to show that data was lost". As in Linux, and
        // as from CLOSED, it has the number that the segment acknowledges, which is the one that the peer expects. A FIN beyond
        // RCV.NXT stands behind such data.
        if orphan && segment.seq_len() != 0 && segment.payload().end().after(link.rcv_nxt) {
            cx.count(Happening::TCPAbortOnData);
            self.die(None);
            self.reset_sender(segment.header.ack);
            return Payload::None;
        }
        let segments = rx.packet.segments(segment.payload_len);
        let before = link.rcv_nxt;
        let (payload, fin) = rcv.on_text(cx, link, &mut self.timers, snd.as_deref(), segment, rx);
        let octets = before.distance_to(link.rcv_nxt);
        link.tally
            .on_received(octets, matches!(fin, FinStatus::InOrder(_)));
        if matches!(payload, Payload::OutOfOrder { .. }) {
            link.tally.on_out_of_order(segments);
        }
        if matches!(payload, Payload::InOrder { .. }) {
            self.events.insert(Event::Readable);
        }
        if let FinStatus::InOrder(delay) = fin {
            self.events.insert(Event::PeerClosed);
            match (self.phase.advance(Input::FinArrives), delay) {
                // The user will most likely close too.
                (Some(State::CloseWait), Some(delay)) => {
                    if !self.timers.holds_acknowledgment() {
                        self.timers.set(TimerKind::DelayedAck, cx.now + delay);
                    }
                    return payload;
                }
                (Some(State::TimeWait), _) => self.enter_time_wait(cx),
                _ => {}
            }
            self.owe_acknowledgment();
        }
        payload
    }

    /// The peer has acknowledged our FIN.
    fn on_fin_acked(&mut self, cx: &Context<'_>) {
        if let Some(Parts { link, .. }) = self.phase.parts() {
            link.tally.on_fin_acked();
            link.tally.set_limit(cx.now, Limit::Idle);
        }
        self.timers.clear_acknowledgment();
        let rto = self
            .phase
            .sender()
            .map_or(INITIAL_RTO, |snd| snd.rto(cx.config));
        match self.phase.advance(Input::AckOfFin) {
            Some(State::FinWait2) => self.enter_fin_wait_2(cx, rto, Happening::TCPAbortOnData),
            Some(State::TimeWait) => self.enter_time_wait(cx),
            Some(State::Closed) => {
                self.timers.clear_all();
                self.events.insert(Event::Closed);
            }
            _ => {}
        }
    }

    fn enter_time_wait(&mut self, cx: &Context<'_>) {
        self.timers.clear_all();
        self.timers.set(TimerKind::TimeWait, cx.now + TIME_WAIT);
        self.events.insert(Event::TimeWait);
    }
}

/// Where all that we have sent is acknowledged: whether the acknowledgment is of something never sent, or older than any
/// window (RFC 5961 section 5.2).
fn is_impossible(link: &Link, ack: SeqNum) -> bool {
    // The largest window that there can have been.
    let oldest = link.oldest_ack(link.snd_scale().widen(u16::MAX));
    ack.after(link.snd_nxt) || ack.before(oldest)
}

/// 2 MSL, as long as [`crate::time_wait::TimeWait`] lives.
const TIME_WAIT: Duration = crate::time_wait::TimeWait::LENGTH;
