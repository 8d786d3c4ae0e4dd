// SPDX-License-Identifier: GPL-2.0
//! One connection as one of its ends sees it, and what is to be said of it.

use std::collections::VecDeque;

use super::bulk::{Bulk, Losses};
use super::tally::Sent;
use super::words;
use crate::ladder::segment::{self, Options};
use crate::sockets::State;
use crate::trace::connection::{ACK, FIN, RST, SYN};
use crate::trace::event::{
    Cause, Congestion, Decision, Direction, Drop, Event, Listener, Mode, Segment, Timer, What,
};

/// What is known of a connection at one end.
#[derive(Default)]
pub struct Talk {
    /// Whether this end has opened it.
    is_client: Option<bool>,
    state: Option<State>,
    last: u64,
    /// When the handshake began, and this end's last SYN.
    opened: Option<u64>,
    syn: Option<u64>,
    /// SYNs or SYN-ACKs that were sent again.
    syns_again: u32,
    established: bool,
    over: bool,
    /// What was sent and is not acknowledged: numbers and when.
    flight: VecDeque<(u32, u32, u64)>,
    /// When something was acknowledged that was not before, or data went after nothing was under way.
    progress: Option<u64>,
    bulk: Bulk,
    losses: Losses,
    /// The peer reports what it has by SACK.
    has_sack: bool,
    standing: Option<Congestion>,
    /// The congestion window before it came down, to be told with what it came down for.
    cwnd_before: Option<u32>,
    /// Since when the peer's window, or this end's, is closed.
    peer_closed: Option<u64>,
    own_closed: Option<u64>,
    /// Which directions have ended, this end's and the peer's, and whether this end's was the first.
    own_fin: bool,
    peer_fin: bool,
    own_fin_first: bool,
    was_reset: bool,
    /// A timer that has gone off, for what is sent next.
    timer: Option<(Timer, u64)>,
    timeouts: u32,
    keepalives: u32,
    last_drop: Option<(String, u64)>,
    /// The listener has spoken about the segment that came last, and whether that was a SYN.
    decided: bool,
    came_syn: Option<bool>,
    /// The listener has refused it: that it is dropped is said.
    refused: bool,
    /// The half-open connection has ended at this time; why its listener may say next.
    gone: Option<u64>,
    /// The listener has said why the half-open connection ends.
    is_explained: bool,
    has_socket: bool,
    sent: Sent,
}

type Say<'a> = &'a mut dyn FnMut(u64, String);

impl Talk {
    pub fn is_established(&self) -> bool {
        self.established
    }

    /// Whether nothing more is to come.
    pub fn is_over(&self) -> bool {
        self.over
    }

    /// Whether it is, or was, a socket's: a half-open connection is none, nor is what reaches nobody.
    pub fn has_socket(&self) -> bool {
        self.has_socket
    }

    /// Whether what came last was a SYN; `None` if nothing came.
    pub fn came_syn(&self) -> Option<bool> {
        self.came_syn
    }

    /// How much was sent, and sent again; nothing of what has no socket, as SYN-ACKs to forged senders are no losses.
    pub fn sent(&self) -> Sent {
        match self.has_socket {
            true => self.sent,
            false => Sent::default(),
        }
    }

    /// When it was heard of last.
    pub fn last(&self) -> u64 {
        self.last
    }

    pub fn event(&mut self, event: &Event, say: Say) {
        let now = event.time;
        if self.gone.is_some() && !matches!(event.what, What::Listener(_)) {
            // Another one between the same ends.
            self.say_gone(say);
            *self = Self::default();
        }
        self.last = now;
        self.has_socket |= event.cookie != 0 && !matches!(event.what, What::Listener(_));
        self.flush_due(now, say);
        match &event.what {
            What::State { from, to } => self.state(event, *from, *to, say),
            What::Segment(segment) => {
                let ends = (event.local, event.remote);
                let parsed = segment::of_header(now, ends, &segment.header.0, segment.payload);
                let options = parsed.map(|parsed| parsed.options).unwrap_or_default();
                match segment.direction {
                    Direction::In => self.came(event, segment, &options, say),
                    Direction::Out => self.left(event, segment, &options, say),
                }
            }
            What::Timer(timer) => self.timer(*timer, now),
            What::Congestion(standing) => self.standing(*standing, now, say),
            What::Drop(drop) => self.dropped(drop, now),
            What::Listener(listener) => self.listener(event, listener, say),
            What::Overflow(_) => {}
        }
    }

    /// Whether something is to be told now that was summed up.
    pub fn is_due(&self, now: u64) -> bool {
        self.bulk.is_due(now)
            || self.losses.is_due(now, self.quiet())
            || self
                .gone
                .is_some_and(|gone| now.saturating_sub(gone) > MOMENT)
    }

    /// Nothing that is still to be told is of an earlier time.
    pub fn earliest(&self) -> Option<u64> {
        let sums = [self.bulk.last(), self.losses.last(), self.gone];
        sums.into_iter().flatten().min()
    }

    /// Tells what was summed up long enough.
    pub fn flush_due(&mut self, now: u64, say: Say) {
        if self.bulk.is_due(now) {
            self.flush_bulk(say);
        }
        if self.losses.is_due(now, self.quiet()) {
            self.flush_losses(say);
        }
        if self
            .gone
            .is_some_and(|gone| now.saturating_sub(gone) > MOMENT)
        {
            self.say_gone(say);
        }
    }

    /// Tells all that is left.
    pub fn flush_all(&mut self, say: Say) {
        self.flush(say);
        self.say_gone(say);
    }

    /// Tells what was summed up so far.
    fn flush(&mut self, say: Say) {
        self.flush_losses(say);
        self.flush_bulk(say);
    }

    /// For how long no loss follows before they are told.
    fn quiet(&self) -> u64 {
        self.standing
            .and_then(|standing| standing.srtt)
            .map_or(QUIET, |srtt| 2 * srtt.as_nanos() as u64)
    }

    fn say_gone(&mut self, say: Say) {
        if let Some(gone) = self.gone.take() {
            say(gone, "The half-open connection is given up.".into());
            self.over = true;
        }
    }

    fn flush_bulk(&mut self, say: Say) {
        self.bulk.flush(self.me(), say);
    }

    fn flush_losses(&mut self, say: Say) {
        let by = match self.has_sack {
            true => "RACK, with the blocks that the peer reports (SACK),",
            false => "RACK, or three duplicate acknowledgments,",
        };
        let now = self.standing.map(|standing| standing.cwnd);
        let cwnd = self
            .cwnd_before
            .zip(now)
            .filter(|(before, now)| now < before);
        if self.losses.is_due(u64::MAX, 0) {
            self.cwnd_before = None;
        }
        self.losses.flush(by, cwnd, say);
    }

    /// This end and the other, at the beginning of a sentence.
    fn me(&self) -> &'static str {
        match self.is_client {
            Some(true) => "The client",
            Some(false) => "The server",
            None => "This end",
        }
    }

    fn peer(&self) -> &'static str {
        match self.is_client {
            Some(true) => "The server",
            Some(false) => "The client",
            None => "The other end",
        }
    }

    fn state(&mut self, event: &Event, from: State, to: State, say: Say) {
        self.state = Some(to);
        let now = event.time;
        match to {
            State::SynSent => self.is_client = Some(true),
            State::SynRecv => {
                self.is_client.get_or_insert(false);
            }
            State::Established => {
                self.established = true;
                let took = self.opened.map_or(String::new(), |opened| {
                    format!(" after {}", words::duration(now.saturating_sub(opened)))
                });
                say(now, format!("The connection is established{took}."));
                self.progress = Some(now);
            }
            State::TimeWait => {
                self.flush(say);
                let why = match from {
                    State::Closing => " Both have closed at the same time.",
                    _ if self.own_fin_first => " It has closed first.",
                    _ => "",
                };
                say(
                    now,
                    format!(
                        "TIME-WAIT is at {} for 60 s, in case its last acknowledgment is lost or old segments come.{why}",
                        self.me().to_lowercase()
                    ),
                );
            }
            State::Close if from == State::SynRecv && !self.has_socket && !self.was_reset => {
                self.flush(say);
                self.over = self.is_explained;
                self.gone = Some(now).filter(|_| !self.is_explained);
            }
            State::Close => {
                self.flush(say);
                self.over = true;
                if let Some(text) = self.end(from, now) {
                    say(now, text);
                }
            }
            _ => {}
        }
    }

    /// Why the connection is no more.
    fn end(&self, from: State, now: u64) -> Option<String> {
        if self.was_reset {
            return None;
        }
        let timer = self
            .timer
            .filter(|timer| now.saturating_sub(timer.1) < MOMENT);
        let text = match (from, timer.map(|timer| timer.0)) {
            (State::TimeWait, _) => "TIME-WAIT is over; nothing is left of the connection.".into(),
            (State::LastAck, None) => format!(
                "{} has acknowledged the last FIN: the connection is closed in both directions.",
                self.peer()
            ),
            (State::SynSent, Some(_)) => format!(
                "{} gives up: {} without an answer (net.oxtcp.syn_retries).",
                self.me(),
                words::count(u64::from(self.syns_again) + 1, "SYN")
            ),
            (State::SynRecv, _) => "The half-open connection is given up.".into(),
            (State::FinWait2, _) => "The peer's FIN did not come while nobody had the connection: it is given up \
                 (net.oxtcp.fin_timeout, TCP_LINGER2)."
                .into(),
            (_, Some(Timer::Retransmit | Timer::Persist | Timer::LossProbe)) => format!(
                "{} gives the connection up: nothing was acknowledged in spite of {} (probably net.oxtcp.retries2, \
                 orphan_retries, or TCP_USER_TIMEOUT).",
                self.me(),
                words::count(self.timeouts.into(), "time-out")
            ),
            (_, Some(Timer::Keepalive)) => format!(
                "{} gives the connection up: {} had no answer (net.oxtcp.keepalive_probes).",
                self.me(),
                words::count(self.keepalives.into(), "keepalive probe")
            ),
            (State::Listen, _) => return None,
            _ => "The connection has ended.".into(),
        };
        Some(text)
    }

    fn came(&mut self, event: &Event, segment: &Segment, options: &Options, say: Say) {
        let (now, flags) = (event.time, segment.header.flags());
        self.decided = false;
        self.refused = false;
        self.came_syn = Some(flags & (SYN | ACK) == SYN);
        if flags & RST != 0 {
            self.flush(say);
            self.was_reset = true;
            let text = match self.state {
                Some(State::SynSent) => format!(
                    "{} answered with a reset: it refuses the connection. Probably nothing listens on port {} there.",
                    self.peer(),
                    event.remote.port()
                ),
                _ => format!(
                    "{} sent a reset. Probably its program has closed with data unread, has ended, or its host knows no such \
                     connection (any more).",
                    self.peer()
                ),
            };
            say(now, text);
            return;
        }
        if flags & SYN != 0 {
            if flags & ACK == 0 {
                self.is_client.get_or_insert(false);
                self.opened.get_or_insert(now);
            } else {
                let after = self.syn.map_or(String::new(), |syn| {
                    format!(" {} later", words::duration(now.saturating_sub(syn)))
                });
                say(
                    now,
                    format!(
                        "{} answered with SYN-ACK{after}: {}.",
                        self.peer(),
                        words::offer(options)
                    ),
                );
            }
        }
        if flags & ACK != 0 {
            self.acknowledged(now, segment.header.ack());
            self.has_sack |= !options.sack.is_empty();
            self.peer_window(now, segment.header.window(), flags & SYN != 0, say);
        }
        if segment.ecn == 3 {
            self.bulk.marked(now);
        }
        if segment.payload > 0 {
            self.bulk.came(now, segment.payload, segment.segment_size);
        }
        if flags & FIN != 0 && !self.peer_fin {
            self.peer_fin = true;
            self.flush(say);
            let text = match self.own_fin {
                true => format!("{} has closed as well: FIN.", self.peer()),
                false => format!(
                    "{} closes first: FIN. It sends no more; what {} still sends arrives.",
                    self.peer(),
                    self.me().to_lowercase()
                ),
            };
            say(now, text);
        }
    }

    fn acknowledged(&mut self, now: u64, ack: u32) {
        let mut advanced = false;
        while let Some(&(start, end, _)) = self.flight.front() {
            if (end.wrapping_sub(ack) as i32) <= 0 {
                self.flight.pop_front();
                advanced = true;
            } else {
                advanced |= (start.wrapping_sub(ack) as i32) < 0;
                break;
            }
        }
        if advanced {
            self.progress = Some(now);
            self.timeouts = 0;
            self.keepalives = 0;
        }
    }

    fn peer_window(&mut self, now: u64, window: u16, is_syn: bool, say: Say) {
        if is_syn {
            return;
        }
        match (window, self.peer_closed) {
            (0, None) => {
                self.peer_closed = Some(now);
                self.flush(say);
                let waiting = match self.standing.map(|standing| standing.not_sent) {
                    None | Some(0) => String::new(),
                    Some(waiting) => format!(": {} wait", words::bytes(waiting.into())),
                };
                say(
                    now,
                    format!(
                        "{}'s window is closed{waiting}. Its program probably does not read as fast as data comes.",
                        self.peer()
                    ),
                );
            }
            (1.., Some(since)) => {
                self.peer_closed = None;
                say(
                    now,
                    format!(
                        "{}'s window is open again, after {}.",
                        self.peer(),
                        words::duration(now.saturating_sub(since))
                    ),
                );
            }
            _ => {}
        }
    }

    fn left(&mut self, event: &Event, segment: &Segment, options: &Options, say: Say) {
        let (now, flags) = (event.time, segment.header.flags());
        let seq = segment.header.seq();
        if seq_len(segment) > 0 {
            let segments = Bulk::segments(segment.payload, segment.segment_size).max(1);
            self.sent.segments += segments;
            self.sent.again += if segment.cause.is_retransmit() {
                segments
            } else {
                0
            };
        }
        match segment.cause {
            Cause::Syn => {
                self.is_client = Some(true);
                self.opened.get_or_insert(now);
                self.syn = Some(now);
                say(
                    now,
                    format!(
                        "The client sent SYN to {}: {}.",
                        event.remote,
                        words::offer(options)
                    ),
                );
            }
            Cause::SynRetransmit | Cause::SynAckRetransmit => {
                self.syns_again += 1;
                let (what, bound) = match segment.cause {
                    Cause::SynRetransmit => ("SYN", "net.oxtcp.syn_retries"),
                    _ => ("SYN-ACK", "net.oxtcp.synack_retries"),
                };
                let after = self.syn.map_or(String::new(), |syn| {
                    format!(" within {}", words::duration(now.saturating_sub(syn)))
                });
                say(
                    now,
                    format!(
                        "The {what} was not answered{after}: it is sent again, the {} time ({bound}).",
                        words::ordinal(self.syns_again)
                    ),
                );
                self.syn = Some(now);
            }
            Cause::SynAck | Cause::SynCookie => {
                self.is_client.get_or_insert(false);
                self.opened.get_or_insert(now);
                self.syn = Some(now);
                if !self.decided {
                    let how = match segment.cause {
                        Cause::SynCookie => {
                            "a SYN-ACK whose number is a cookie: nothing is remembered"
                        }
                        _ => "SYN-ACK",
                    };
                    say(
                        now,
                        format!(
                            "Client {} sent SYN; it was answered with {how}.",
                            event.remote
                        ),
                    );
                }
            }
            Cause::FastRetransmit => {
                let sent = self.sent_at(seq);
                self.losses
                    .add(now, segment.payload, segment.segment_size, sent);
            }
            Cause::TimeoutRetransmit => self.timed_out(now, segment, say),
            Cause::LossProbe | Cause::LossProbeData => {
                self.flush_bulk(say);
                let what = match segment.cause {
                    Cause::LossProbe => "the last segment again",
                    _ => "new data",
                };
                let since = self.progress.map_or(String::new(), |progress| {
                    format!(" for {}", words::duration(now.saturating_sub(progress)))
                });
                say(
                    now,
                    format!(
                        "Nothing was acknowledged{since}: the end of the data may be lost. A tail loss probe, {what}, asks for an answer \
                         before the time-out."
                    ),
                );
            }
            Cause::WindowProbe => say(
                now,
                format!(
                    "A probe asks whether {}'s window is still closed.",
                    self.peer().to_lowercase()
                ),
            ),
            Cause::Keepalive => {
                self.keepalives += 1;
                self.flush(say);
                let setting = match self.keepalives {
                    1 => "SO_KEEPALIVE; net.oxtcp.keepalive_time",
                    _ => "net.oxtcp.keepalive_intvl",
                };
                say(
                    now,
                    format!(
                        "It was quiet: keepalive probe {} asks whether {} is still there ({setting}).",
                        self.keepalives,
                        self.peer().to_lowercase()
                    ),
                );
            }
            Cause::ChallengeAck => say(
                now,
                "A segment came that may be forged; a challenge ACK asks its sender (RFC 5961)."
                    .into(),
            ),
            Cause::Reset => self.reset(event, now, say),
            _ => {}
        }
        if matches!(segment.cause, Cause::Data | Cause::LossProbeData) && segment.payload > 0 {
            self.bulk.sent(now, segment.payload, segment.segment_size);
        }
        if !segment.cause.is_retransmit() && seq_len(segment) > 0 {
            if self.flight.is_empty() {
                self.progress = Some(now);
            }
            if self.flight.len() < MOST_FLIGHT {
                let end = seq.wrapping_add(seq_len(segment));
                self.flight.push_back((seq, end, now));
            }
        }
        self.own_window(now, segment.header.window(), flags, say);
        if flags & FIN != 0 && !self.own_fin {
            self.own_fin = true;
            self.own_fin_first = !self.peer_fin;
            self.flush(say);
            let order = if self.peer_fin {
                "closes as well"
            } else {
                "closes first"
            };
            say(now, format!("{} {order}: FIN.", self.me()));
        }
    }

    /// When what begins with this number was sent first.
    fn sent_at(&self, seq: u32) -> Option<u64> {
        let holds = |(start, end, _): &&(u32, u32, u64)| {
            (seq.wrapping_sub(*start) as i32) >= 0 && (seq.wrapping_sub(*end) as i32) < 0
        };
        self.flight.iter().find(holds).map(|sent| sent.2)
    }

    fn timed_out(&mut self, now: u64, segment: &Segment, say: Say) {
        let by_timer = matches!(self.timer, Some((Timer::Retransmit, _)));
        if !by_timer {
            // What follows the first one after a time-out.
            let sent = self.sent_at(segment.header.seq());
            self.losses
                .add(now, segment.payload, segment.segment_size, sent);
            return;
        }
        self.timer = None;
        self.flush(say);
        let since = self.progress.map_or(String::new(), |progress| {
            format!(" for {}", words::duration(now.saturating_sub(progress)))
        });
        let rto = self.standing.map_or("(RTO)".to_string(), |standing| {
            format!(
                "(RTO; now {})",
                words::duration(standing.rto.as_nanos() as u64)
            )
        });
        let times = match self.timeouts {
            0 | 1 => String::new(),
            many => format!(" This is the {} time-out in a row.", words::ordinal(many)),
        };
        say(
            now,
            format!(
                "Nothing was acknowledged{since} {rto}: the oldest segment ({}) is sent again, and the congestion window begins \
                 anew.{times}",
                words::bytes(segment.payload.into())
            ),
        );
    }

    fn reset(&mut self, event: &Event, now: u64, say: Say) {
        self.was_reset = true;
        let reason = self
            .last_drop
            .take()
            .filter(|drop| now.saturating_sub(drop.1) < MOMENT);
        if let Some((reason, _)) = &reason {
            self.bulk.forget_drop(reason);
        }
        self.flush(say);
        let text = match (self.state, reason) {
            (_, Some((reason, _))) => format!(
                "{} answered a segment with a reset, because {}.",
                self.me(),
                words::drop_reason(&reason)
            ),
            (None | Some(State::Close), None) => format!(
                "A reset was sent to {}: probably nothing here has that connection, or listens on port {}.",
                event.remote,
                event.local.port()
            ),
            (Some(_), None) => format!(
                "{} sent a reset. Probably its program has closed with data unread, or with SO_LINGER 0, or has ended.",
                self.me()
            ),
        };
        say(now, text);
    }

    fn own_window(&mut self, now: u64, window: u16, flags: u8, say: Say) {
        if flags & (SYN | RST) != 0 {
            return;
        }
        match (window, self.own_closed) {
            (0, None) => {
                self.own_closed = Some(now);
                self.flush(say);
                say(
                    now,
                    format!(
                        "{} closes its window: the receive buffer is full, probably because the program does not read (net.oxtcp.rmem, SO_RCVBUF \
                         bound it).",
                        self.me()
                    ),
                );
            }
            (1.., Some(since)) => {
                self.own_closed = None;
                say(
                    now,
                    format!(
                        "{}'s window is open again, after {}: the program has read.",
                        self.me(),
                        words::duration(now.saturating_sub(since))
                    ),
                );
            }
            _ => {}
        }
    }

    fn timer(&mut self, timer: Timer, now: u64) {
        match timer {
            Timer::Retransmit | Timer::Persist => self.timeouts += 1,
            Timer::DelayedAck | Timer::CompressedAck | Timer::Pace => return,
            _ => {}
        }
        self.timer = Some((timer, now));
    }

    fn standing(&mut self, standing: Congestion, now: u64, say: Say) {
        // Nothing more can be sent: there is no window any more that could change.
        if standing.cwnd == 0 {
            return;
        }
        let before = self.standing.replace(standing);
        let Some(before) = before else { return };
        let came_down = standing.cwnd < before.cwnd;
        if before.mode == standing.mode && !came_down {
            return;
        }
        match standing.mode {
            Mode::Recovery | Mode::Loss if before.mode != standing.mode => {
                self.cwnd_before = Some(before.cwnd);
            }
            Mode::Cwr if before.mode != Mode::Cwr => say(
                now,
                format!(
                    "Congestion without loss was told of (ECN, or this host's own queue): the congestion window comes down from {}.",
                    words::bytes(before.cwnd.into())
                ),
            ),
            Mode::Open if matches!(before.mode, Mode::Recovery | Mode::Loss) => {
                self.flush(say);
                say(
                    now,
                    format!(
                        "What was lost is repaired; the congestion window is {}.",
                        words::bytes(standing.cwnd.into())
                    ),
                );
            }
            _ => {}
        }
    }

    fn dropped(&mut self, drop: &Drop, now: u64) {
        let out = drop.direction == Direction::Out;
        if !out && std::mem::take(&mut self.refused) {
            return;
        }
        self.bulk.dropped(now, out, &drop.reason);
        if !out {
            self.last_drop = Some((drop.reason.clone(), now));
        }
    }

    fn listener(&mut self, event: &Event, listener: &Listener, say: Say) {
        self.is_client = Some(false);
        self.decided = true;
        self.refused = matches!(
            listener.decision,
            Decision::Dropped | Decision::Reset | Decision::CookieRefused
        );
        let bound = words::bound(listener);
        let did = match listener.decision {
            Decision::Expired => words::expired(listener, self.patience(event.time)),
            _ => words::decision(listener),
        };
        let what = match (listener.decision, self.came_syn) {
            (Decision::HalfOpen | Decision::Cookie, _) => "sent SYN",
            (Decision::Evicted | Decision::Expired, _) => "has a half-open connection",
            (Decision::Dropped | Decision::Reset, None) => {
                "sent SYN, or the last ACK of a handshake"
            }
            (Decision::Dropped | Decision::Reset, Some(true)) => "sent SYN",
            _ => "sent the last ACK of a handshake",
        };
        let subject = match (bound.is_empty(), words::is_of_listener(listener.bound)) {
            (true, _) => format!("the listener {did}"),
            (false, true) => format!("{bound} and {did}"),
            (false, false) => format!("{bound}, so the listener {did}"),
        };
        say(
            event.time,
            format!("Client {} {what}; {subject}.", event.remote),
        );
        if matches!(listener.decision, Decision::Expired | Decision::Evicted) {
            self.over = self.gone.take().is_some();
        }
        self.is_explained |= matches!(
            listener.decision,
            Decision::Expired | Decision::Evicted | Decision::Reset
        );
    }

    /// For how long a SYN-ACK has waited for its answer, and how often it was sent again, if its SYN was seen.
    fn patience(&self, now: u64) -> Option<(u64, u32)> {
        let opened = self.opened?;
        Some((now.saturating_sub(opened), self.syns_again))
    }
}

/// What a segment takes of the sequence numbers: its payload, SYN and FIN.
fn seq_len(segment: &Segment) -> u32 {
    let flags = segment.header.flags();
    let controls = u32::from(flags & SYN != 0) + u32::from(flags & FIN != 0);
    segment.payload.saturating_add(controls)
}

/// What belongs together is told of within so many nanoseconds.
const MOMENT: u64 = 1_000_000;
/// Losses are told when none followed for so long, where no round trip is known.
const QUIET: u64 = 100_000_000;
/// So many segments are kept in mind until they are acknowledged.
const MOST_FLIGHT: usize = 100_000;
