// SPDX-License-Identifier: GPL-2.0

//! Closing, aborting, and the end of a connection (RFC 9293 sections 3.6 and 3.10.4 to 3.10.5).

use core::mem;

use super::event::{Error, Event};
use super::pacing::Pacer;
use super::phase::{DuplexState, Phase};
use super::state::{Input, State};
use super::timers::TimerKind;
use super::{Connection, Status};
use crate::context::{Context, Linger2};
use crate::happening::Happening;
use crate::seq::{SeqNum, SeqRange};
use crate::time::Duration;
use crate::transmit::{Transmit, TransmitKind};
use crate::wire::{Flags, Header, Options, Timestamps};

impl Connection {
    /// The user has no more to send: a FIN follows what is written. In SYN-SENT the open is abandoned.
    pub fn shutdown_write(&mut self, _cx: &Context<'_>) {
        self.status.clear(Status::IDLE);
        match &mut self.phase {
            Phase::SynSent(_) => self.die(None),
            Phase::Duplex(DuplexState::SynReceived, _) => self.status.set(Status::FINISHED),
            _ => {
                // Nothing happens where the table has no such transition: a FIN is queued already.
                let _ = self.phase.advance(Input::Finish);
            }
        }
    }

    /// `close(2)`: the user goes away. `unread` says that received data was not read: the peer learns of its
    /// loss by a reset (RFC 1122 section 4.2.2.13, RFC 2525 section 2.17). Otherwise a FIN follows what is written,
    /// and the connection lives on without a user until all is acknowledged, within limits:
    /// [`Config::orphan_retries`], [`Config::fin_timeout`].
    ///
    /// [`Config::orphan_retries`]: crate::context::Config::orphan_retries
    /// [`Config::fin_timeout`]: crate::context::Config::fin_timeout
    pub fn close(&mut self, cx: &Context<'_>, unread: bool) {
        self.status.set(Status::ORPHAN);
        self.status.clear(Status::IDLE);
        let mortal = !matches!(
            self.phase,
            Phase::Closed(_) | Phase::SynSent(_) | Phase::TimeWait(_)
        );
        if unread && mortal {
            self.reset(None);
            return;
        }
        self.shutdown_write(cx);
        if self.phase.state() == State::FinWait2 {
            // The round trip was forgotten with the sending half.
            self.enter_fin_wait_2(cx, Duration::ZERO, Happening::TCPAbortOnLinger);
        }
    }

    /// The user is gone, and does not ask any more; [`close`](Connection::close) says it, too.
    pub fn forsake(&mut self) {
        self.status.set(Status::ORPHAN);
    }

    /// Ends the connection with a reset (RFC 9293 section 3.10.5), as `close` with a linger time of 0.
    pub fn abort(&mut self, _cx: &Context<'_>) {
        self.status.clear(Status::IDLE);
        self.reset(None);
    }

    /// Our FIN is acknowledged: without a user, the peer's is not awaited forever, but for 3.5 times the retransmission
    /// timeout at least (Linux's `tcp_fin_time`).
    ///
    /// Deviation: RFC 9293 section 3.10.8 knows no timeout in FIN-WAIT-2. With a user there is none here; without one nobody could end
    /// a connection whose peer never closes, and as in Linux time does, or at once a reset if the user has asked for that.
    ///
    /// `skipped` is counted where FIN-WAIT-2 is left out.
    pub(super) fn enter_fin_wait_2(&mut self, cx: &Context<'_>, rto: Duration, skipped: Happening) {
        if !self.is_orphan() {
            return;
        }
        let limit = match self.options.linger2 {
            Linger2::Default => cx.config.fin_timeout,
            Linger2::Seconds(secs) => Duration::from_secs(u64::from(secs.get())),
            Linger2::Skip => {
                cx.count(skipped);
                self.reset(None);
                return;
            }
        };
        let least = rto.times(4) - rto.half();
        self.timers
            .set(TimerKind::FinWait2, cx.now + limit.max(least));
        // An acknowledgment that is held back goes now: nobody keeps this timer from here on.
        if self.timers.holds_acknowledgment() {
            self.owe_acknowledgment();
        }
    }

    /// Ends the connection, and tells the peer by a reset if there is one to tell.
    pub(super) fn reset(&mut self, error: Option<Error>) {
        let owed = match self.phase.state() {
            // RFC 9293 section 3.10.5: in these states the peer has nothing to lose, or knows nothing of us.
            State::Closed | State::Listen | State::SynSent => false,
            State::Closing | State::LastAck | State::TimeWait => false,
            State::SynReceived
            | State::Established
            | State::FinWait1
            | State::FinWait2
            | State::CloseWait => true,
        };
        self.die(error);
        if let Phase::Closed(closed) = &mut self.phase {
            closed.reset_owed = owed;
        }
    }

    /// Ends the connection.
    pub(super) fn die(&mut self, error: Option<Error>) {
        if matches!(self.phase, Phase::Closed(_)) {
            return;
        }
        self.phase.advance(Input::Die);
        self.timers.clear_all();
        self.status.clear(Status::RESET);
        if error.is_some() {
            self.error = error;
            self.events.insert(Event::Error);
        }
        self.events.insert(Event::Closed);
    }

    /// The reset that is owed to the peer, or to the sender of an impossible acknowledgment.
    pub(super) fn poll_reset(&mut self, cx: &Context<'_>) -> Option<Transmit> {
        if self.status.has(Status::RESET) {
            self.status.clear(Status::RESET);
            // <SEQ=SEG.ACK><CTL=RST>
            let number = mem::replace(&mut self.pacer, Pacer::NONE).number();
            return Some(reset(number, SeqNum::new(0), Flags::RST, None));
        }
        match &mut self.phase {
            Phase::Closed(closed) if closed.reset_owed => {
                closed.reset_owed = false;
                // <SEQ=SND.NXT><ACK=RCV.NXT><CTL=RST,ACK>
                // RFC 7323 section 3.2: "it is RECOMMENDED that RST segments contain TSopt".
                //
                // Deviation: RFC 9293 section 3.10.5 has no ACK in it. With one, as Linux sends it, a peer in SYN-SENT believes it, too.
                let (seq, ack) = (closed.snd_nxt, closed.rcv_nxt);
                let Some(ended) = &mut closed.ended else {
                    return Some(reset(seq, ack, Flags::RST_ACK, None));
                };
                let reset = reset(seq, ack, Flags::RST_ACK, ended.link.echo(cx));
                ended.link.tally.on_sent(&reset, false);
                Some(reset)
            }
            _ => None,
        }
    }
}

fn reset(seq: SeqNum, ack: SeqNum, flags: Flags, timestamps: Option<Timestamps>) -> Transmit {
    Transmit {
        header: Header {
            seq,
            ack,
            flags,
            options: Options {
                timestamps,
                ..Options::default()
            },
            ..Header::default()
        },
        payload: SeqRange::new(seq, 0),
        mss: crate::wire::Mss::DEFAULT_V4.get(),
        ecn: crate::wire::Ecn::NotEct,
        kind: TransmitKind::Reset,
        persist: None,
    }
}
