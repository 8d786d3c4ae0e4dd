// SPDX-License-Identifier: GPL-2.0

//! Reading a connection.

use super::link::Link;
use super::phase::{DuplexState, OutboundState, Phase};
use super::{Connection, Error, Events, Mode, State, Status, TimerKind};
use crate::congestion::{Algorithm, Window};
use crate::context::{Config, Context, SocketOptions};
use crate::flight::Flight;
use crate::seq::SeqNum;
use crate::time::{Duration, Instant};
use crate::time_wait::{TimeWait, TimeWaitOpen};
use crate::wire::WindowScale;

/// What both sides have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Negotiated {
    /// The scale of the windows that the peer sends.
    pub snd_scale: WindowScale,
    /// The scale of the windows that we send.
    pub rcv_scale: WindowScale,
    /// Selective acknowledgments (RFC 2018).
    pub sack: bool,
    /// Timestamps (RFC 7323).
    pub timestamps: bool,
    /// The MSS that the peer announced.
    pub peer_mss: u16,
}

/// See [`Connection::standing`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Bytes written and not acknowledged.
    pub unacked: u32,
    /// See [`Connection::send_queue_not_sent`].
    pub not_sent: u32,
    /// The timer that expires next, and when.
    pub timer: Option<(TimerKind, Instant)>,
    /// Timeouts since the peer last acknowledged something new.
    pub retransmits: u8,
    /// The retransmission timeout now, back-off included.
    pub rto: Duration,
    /// The congestion window in segments; 0 where nothing more can be sent.
    pub cwnd: u32,
    /// The slow start threshold in segments; `None` before any loss, and where nothing more can be sent.
    pub ssthresh: Option<u32>,
}

impl Connection {
    /// The state.
    #[inline]
    pub fn state(&self) -> State {
        self.phase.state()
    }

    /// RCV.NXT: every byte of the stream before it has been handed to the caller. 0 before the peer's SYN.
    #[inline]
    pub fn rcv_nxt(&self) -> SeqNum {
        match (&self.phase, self.phase.link()) {
            (_, Some(link)) => link.rcv_nxt,
            (Phase::Closed(closed), None) => closed.rcv_nxt,
            _ => SeqNum::new(0),
        }
    }

    /// SND.UNA.
    #[inline]
    pub fn snd_una(&self) -> SeqNum {
        match (&self.phase, self.phase.link()) {
            (_, Some(link)) => link.snd_una,
            (Phase::Closed(closed), None) => closed.snd_una,
            (Phase::SynSent(open), None) => open.iss(),
            _ => SeqNum::new(0),
        }
    }

    /// SND.NXT: behind the highest number ever sent.
    #[inline]
    pub fn snd_nxt(&self) -> SeqNum {
        match (&self.phase, self.phase.link()) {
            (_, Some(link)) => link.snd_nxt,
            (Phase::Closed(closed), None) => closed.snd_nxt,
            (Phase::SynSent(open), None) => open.iss().add(1),
            _ => SeqNum::new(0),
        }
    }

    /// Behind the last byte that the user has written.
    #[inline]
    pub fn write_seq(&self) -> SeqNum {
        self.phase.write_seq()
    }

    /// The oldest byte of data that the peer has not acknowledged: the send buffer before it can be freed. SYN and FIN
    /// are no bytes of data.
    #[inline]
    pub fn first_unacked_byte(&self) -> SeqNum {
        match &self.phase {
            Phase::SynSent(open) => open.iss().add(1),
            Phase::Duplex(DuplexState::SynReceived, duplex) => duplex.link.snd_una.add(1),
            // `min`: without our FIN.
            _ => SeqNum::min(self.snd_una(), self.write_seq()),
        }
    }

    /// What has happened since the last call.
    #[inline]
    pub fn take_events(&mut self) -> Events {
        core::mem::take(&mut self.events)
    }

    /// Why the connection ended before its time.
    pub fn error(&self) -> Option<Error> {
        self.error
    }

    /// As [`error`](Connection::error), which is then forgotten (SO_ERROR).
    #[inline]
    pub fn take_error(&mut self) -> Option<Error> {
        self.error.take()
    }

    /// Whether the user may still write: no FIN is queued and the connection is not closed.
    pub fn can_send(&self) -> bool {
        match &self.phase {
            Phase::SynSent(_)
            | Phase::Duplex(DuplexState::Established, _)
            | Phase::Outbound(OutboundState::CloseWait, _) => true,
            Phase::Duplex(DuplexState::SynReceived, _) => !self.status.has(Status::FINISHED),
            _ => false,
        }
    }

    /// Whether more data may come: false once the peer's FIN is in order.
    pub fn can_receive(&self) -> bool {
        matches!(self.phase, Phase::SynSent(_)) || self.phase.receiver().is_some()
    }

    /// Whether the user has closed.
    #[inline]
    pub fn is_orphan(&self) -> bool {
        self.status.has(Status::ORPHAN)
    }

    /// Sequence numbers sent and not acknowledged.
    #[inline]
    pub fn unacked(&self) -> u32 {
        self.snd_una().distance_to(self.snd_nxt())
    }

    /// Bytes that are in the network, as far as is known: [`unacked`](Connection::unacked) without what the peer has
    /// reported and what is lost, and with what was sent again.
    pub fn in_network(&self, flight: Option<&Flight>) -> u32 {
        match (self.phase.sender(), self.phase.link()) {
            (Some(snd), Some(link)) => snd.in_network(link, flight),
            _ => self.unacked(),
        }
    }

    /// Bytes written and never sent.
    #[inline]
    pub fn not_sent(&self) -> u32 {
        match (self.phase.sender(), self.phase.link()) {
            (Some(snd), Some(link)) => snd.not_sent(link),
            _ => 0,
        }
    }

    /// What waits for an acknowledgment, as SIOCOUTQ counts it: written bytes, and a FIN as one; 0 before the connection is
    /// established, as nothing can be written.
    pub fn send_queue(&self) -> u32 {
        match &self.phase {
            Phase::SynSent(_) | Phase::Duplex(DuplexState::SynReceived, _) => 0,
            _ => self.snd_una().distance_to(self.fin_end()),
        }
    }

    /// What has never been sent, as SIOCOUTQNSD counts it: written bytes, and a FIN as one.
    #[inline]
    pub fn send_queue_not_sent(&self) -> u32 {
        match &self.phase {
            Phase::SynSent(_) | Phase::Duplex(DuplexState::SynReceived, _) => 0,
            _ => self.snd_nxt().distance_to(self.fin_end()),
        }
    }

    /// What a caller shows of the connection to those who do not wait for it, all at once.
    #[inline]
    pub fn standing(&self, config: &Config) -> Standing {
        let timer = self.timers.next();
        let (link, snd, fin) = match &self.phase {
            Phase::Duplex(DuplexState::Established, d) => (&d.link, &d.snd, false),
            Phase::Duplex(DuplexState::FinWait1, d) => (&d.link, &d.snd, true),
            Phase::Outbound(state, o) => (&o.link, &o.snd, *state != OutboundState::CloseWait),
            // Nothing more can be sent, or nothing yet.
            _ => {
                let window = self.phase.sender().map(|snd| (snd.window(), self.mss()));
                return Standing {
                    unacked: self.first_unacked_byte().distance_to(self.write_seq()),
                    not_sent: self.send_queue_not_sent(),
                    timer,
                    retransmits: self.retransmits(),
                    rto: self.rto(config),
                    cwnd: window.map_or(0, |(window, mss)| in_segments(window.cwnd, mss.into())),
                    ssthresh: window.and_then(|(window, mss)| threshold(window, mss.into())),
                };
            }
        };
        let mss = snd.segment_size(link, 0);
        Standing {
            // `min`: without our FIN.
            unacked: SeqNum::min(link.snd_una, snd.write_seq()).distance_to(snd.write_seq()),
            not_sent: link
                .snd_nxt
                .distance_to(snd.write_seq().add(u32::from(fin))),
            timer,
            retransmits: snd.retransmits(),
            rto: snd.rto(config),
            cwnd: in_segments(snd.window.cwnd, mss),
            ssthresh: threshold(snd.window, mss),
        }
    }

    /// By how much the send buffer grows before the caller looks again whether it is full, at most `most` bytes: whole segments,
    /// and half of the largest window at most (Linux's tcp_xmit_size_goal).
    pub fn write_goal(&self, most: u32) -> u32 {
        let mss = u32::from(self.mss()).max(1);
        let bound = self
            .phase
            .sender()
            .map_or(most, |snd| snd.half_window(most));
        let rest = bound.checked_rem(mss).unwrap_or(0);
        bound.saturating_sub(rest).max(mss)
    }

    /// Whether all that is ready is to be sent when `written` bytes have been written since that was done last: more than half
    /// of the largest window (Linux's `forced_push`). With less, one packet goes at a time as chunks fill.
    pub fn forces_push(&self, written: u32) -> bool {
        let sender = self.phase.sender();
        sender.is_none_or(|snd| written > snd.max_wnd() / 2)
    }

    /// Segments with data that were sent, first and again.
    #[inline]
    pub fn data_segs_out(&self) -> u32 {
        self.phase
            .link()
            .map_or(0, |link| link.tally.data_segs_out())
    }

    /// Behind the last byte that the user has written, or the FIN that follows it.
    fn fin_end(&self) -> SeqNum {
        let fin = self.phase.fin() || self.phase.sender().is_none();
        self.write_seq().add(u32::from(fin))
    }

    /// Whether the next [`poll_transmit`](Connection::poll_transmit) may return data or a FIN: some waits, first or again.
    #[inline]
    pub fn may_send_data(&self) -> bool {
        if self.status.has(Status::IDLE) {
            return false;
        }
        match (self.phase.sender(), self.phase.link()) {
            (Some(snd), Some(link)) => snd.has_new(link, self.phase.fin()) || snd.may_repeat(),
            _ => false,
        }
    }

    /// The congestion window in bytes; 0 where nothing more can be sent.
    #[inline]
    pub fn cwnd(&self) -> u32 {
        self.phase.sender().map_or(0, |snd| snd.window().cwnd)
    }

    /// The congestion controller; `None` where nothing more can be sent, or nothing yet.
    pub fn algorithm(&self) -> Option<Algorithm> {
        self.phase.sender().map(|snd| snd.algorithm())
    }

    /// The slow start threshold in bytes; `u32::MAX` before any loss.
    pub fn ssthresh(&self) -> u32 {
        self.phase
            .sender()
            .map_or(u32::MAX, |snd| snd.window().ssthresh)
    }

    /// The smoothed round trip, once one has been measured.
    pub fn srtt(&self) -> Option<Duration> {
        self.phase.sender()?.rtt().srtt()
    }

    /// The round trip's mean deviation; zero before a measurement.
    pub fn rttvar(&self) -> Duration {
        self.phase
            .sender()
            .map_or(Duration::ZERO, |snd| snd.rtt().rttvar())
    }

    /// The smallest round trip measured.
    #[inline]
    pub fn min_rtt(&self) -> Option<Duration> {
        self.phase.sender()?.rtt().min_rtt()
    }

    /// The round trip as the receiving side measures it (`tcpi_rcv_rtt`); zero before a measurement.
    pub fn rcv_rtt(&self) -> Duration {
        self.phase
            .receiver()
            .map_or(Duration::ZERO, |rcv| rcv.rtt())
    }

    /// The retransmission timeout now, back-off included.
    pub fn rto(&self, config: &Config) -> Duration {
        match self.phase.sender() {
            Some(snd) => snd.rto(config),
            None => crate::rtt::INITIAL_RTO,
        }
    }

    /// Payload bytes per segment, with the options that every segment carries.
    #[inline]
    pub fn mss(&self) -> u16 {
        match (self.phase.sender(), self.phase.link()) {
            (Some(snd), Some(link)) => snd.segment_size(link, 0).min(u32::from(u16::MAX)) as u16,
            (None, Some(link)) => link.payload_mss(0),
            _ => crate::wire::Mss::DEFAULT_V4.get(),
        }
    }

    /// How long ago data last came (`tcpi_last_data_recv`); since the connection was made where none has; zero where nothing
    /// more comes.
    pub fn last_data_recv(&self, now: Instant) -> Duration {
        self.phase
            .receiver()
            .map_or(Duration::ZERO, |rcv| rcv.idle(now))
    }

    /// The estimate of the segment size that the peer uses; 0 where nothing more comes.
    pub fn rcv_mss(&self) -> u16 {
        self.phase.receiver().map_or(0, |rcv| rcv.rcv_mss())
    }

    /// The MSS that we announced; 0 where there is no connection.
    pub fn advertised_mss(&self) -> u16 {
        self.phase.link().map_or(0, |link| link.advertised_mss)
    }

    /// Timeouts since the peer last acknowledged something new.
    pub fn retransmits(&self) -> u8 {
        match &self.phase {
            Phase::SynSent(open) => open.resent(),
            phase => phase.sender().map_or(0, |snd| snd.retransmits()),
        }
    }

    /// Segments sent again, ever.
    pub fn total_retransmits(&self) -> u32 {
        match &self.phase {
            Phase::SynSent(open) => u32::from(open.resent()),
            phase => phase.last_link().map_or(0, |link| link.tally.resent()),
        }
    }

    /// Octets of data that the peer has acknowledged, ever.
    #[must_use]
    pub fn bytes_acked(&self) -> u64 {
        self.phase.last_link().map_or(0, |link| link.tally.acked())
    }

    /// Octets of data that have come in order, ever.
    #[must_use]
    pub fn bytes_received(&self) -> u64 {
        self.phase
            .last_link()
            .map_or(0, |link| link.tally.data_received())
    }

    /// Unanswered keepalive or zero-window probes.
    pub fn probes(&self) -> u8 {
        self.phase.last_link().map_or(0, |link| link.probes)
    }

    /// What loss recovery is at (`tcpi_ca_state`).
    pub fn mode(&self) -> Mode {
        self.phase.sender().map_or(Mode::Open, |snd| snd.mode())
    }

    /// Whether a loss is being repaired.
    pub fn in_recovery(&self) -> bool {
        self.mode() >= Mode::Recovery
    }

    /// By how many segments the path has been seen to reorder, at least 3 (`tcpi_reordering`).
    pub fn reordering(&self) -> u16 {
        self.phase.sender().map_or(3, |snd| snd.reordering())
    }

    /// The timer that expires next, and when.
    pub fn timer(&self) -> Option<(TimerKind, Instant)> {
        self.timers.next()
    }

    /// When the timer expires, if it runs.
    pub fn timer_of(&self, kind: TimerKind) -> Option<Instant> {
        self.timers.get(kind)
    }

    /// SND.WND in bytes.
    pub fn snd_wnd(&self) -> u32 {
        self.phase.sender().map_or(0, |snd| snd.wnd())
    }

    /// RCV.WND in bytes: what the peer may send beyond [`rcv_nxt`](Connection::rcv_nxt).
    pub fn rcv_wnd(&self) -> u32 {
        self.phase.link().map_or(0, |link| link.rcv_wnd())
    }

    /// The payload for which the receive buffer has room, in bytes.
    pub fn recv_space(&self) -> u32 {
        self.phase.receiver().map_or(0, |rcv| rcv.space())
    }

    /// What was negotiated, once the peer's SYN is known.
    pub fn negotiated(&self) -> Option<Negotiated> {
        let link = self.phase.link()?;
        Some(Negotiated {
            snd_scale: link.snd_scale(),
            rcv_scale: link.rcv_scale(),
            sack: link.sack(),
            timestamps: link.stamps.is_some(),
            peer_mss: link.peer_mss,
        })
    }

    /// The socket's options.
    pub fn options(&self) -> &SocketOptions {
        &self.options
    }

    /// In TIME-WAIT: what to keep in place of the connection. The last segment that the connection owes must have been
    /// polled.
    pub fn time_wait(&self, cx: &Context<'_>) -> Option<TimeWait> {
        match &self.phase {
            Phase::TimeWait(ended) => Some(TimeWait::new(cx, &kept(&ended.link))),
            _ => None,
        }
    }

    /// In FIN-WAIT-2 without a user: what may be kept in place of the connection, and until when. What the connection
    /// owes must have been polled.
    pub fn fin_wait_2(&self, cx: &Context<'_>) -> Option<(TimeWait, Instant)> {
        let until = self.timers.get(TimerKind::FinWait2)?;
        match &self.phase {
            Phase::FinWait2(i) if self.is_orphan() => {
                Some((TimeWait::awaiting_fin(cx, &kept(&i.link)), until))
            }
            _ => None,
        }
    }
}

/// Octets of a window in segments of so many.
fn in_segments(octets: u32, mss: u32) -> u32 {
    octets.checked_div(mss).unwrap_or(octets)
}

/// The slow start threshold in segments, if there is one.
fn threshold(window: Window, mss: u32) -> Option<u32> {
    (window.ssthresh != u32::MAX).then(|| in_segments(window.ssthresh, mss))
}

/// What a connection with nothing left to send leaves behind.
fn kept(link: &Link) -> TimeWaitOpen {
    TimeWaitOpen {
        snd_nxt: link.snd_nxt,
        rcv_nxt: link.rcv_nxt,
        rcv_wnd: link.rcv_wnd(),
        rcv_scale: link.rcv_scale(),
        ts_recent: link.stamps.map(|stamps| stamps.recent),
        ts_offset: link.stamps.map_or(0, |stamps| stamps.offset),
    }
}
