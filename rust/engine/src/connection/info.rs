// SPDX-License-Identifier: GPL-2.0

//! What TCP_INFO tells of a connection.

use super::pacing::spread;
use super::phase::Phase;
use super::send::limits;
use super::tally::{Limit, Tally};
use super::{Connection, Mode};
use crate::congestion::Window;
use crate::context::Context;
use crate::flight::Flight;
use crate::rtt::{RttEstimator, INITIAL_RTO};
use crate::time::{Duration, Instant};
use crate::transmit::segments;
use crate::wire::Mss;

/// The figures of Linux's `struct tcp_info`, by its names without `tcpi_`, in its units: segments where Linux counts
/// packets, microseconds, but milliseconds for `last_*` and `total_rto_time`.
///
/// What is the caller's is not here: the state's number, the path's MTU, the bound of the pacing rate, a listener's queue. Nor
/// is what the engine does not do.
///
/// Where Linux counts packets in a queue, the engine knows bytes: `unacked`, `sacked`, `lost`, `retrans` are bytes in segments
/// of the MSS, rounded up, and `delivered` follows from that.
#[allow(missing_docs)]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Info {
    pub ca_state: Mode,
    pub retransmits: u8,
    pub probes: u8,
    pub backoff: u8,
    /// Timestamps, selective acknowledgments and window scaling are in use.
    pub timestamps: bool,
    pub sack: bool,
    pub wscale: bool,
    /// ECN was agreed on, or is asked for; and data has come that could have been marked, or was.
    pub ecn: bool,
    pub ecn_seen: bool,
    pub snd_wscale: u8,
    pub rcv_wscale: u8,
    pub rto: u32,
    pub ato: u32,
    pub snd_mss: u32,
    pub rcv_mss: u32,
    pub unacked: u32,
    pub sacked: u32,
    pub lost: u32,
    pub retrans: u32,
    pub last_data_sent: u32,
    pub last_data_recv: u32,
    pub last_ack_recv: u32,
    /// As far as the receive window may open now.
    pub rcv_ssthresh: u32,
    pub rtt: u32,
    pub rttvar: u32,
    pub snd_ssthresh: u32,
    pub snd_cwnd: u32,
    pub advmss: u32,
    pub reordering: u32,
    pub rcv_rtt: u32,
    pub rcv_space: u32,
    pub total_retrans: u32,
    pub pacing_rate: u64,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub segs_out: u32,
    pub segs_in: u32,
    pub notsent_bytes: u32,
    pub min_rtt: u32,
    pub data_segs_in: u32,
    pub data_segs_out: u32,
    /// Bytes a second, and whether the program sent less than it could have; 0 and true before anything is measured.
    pub delivery_rate: u64,
    pub delivery_rate_app_limited: bool,
    pub busy_time: u64,
    pub rwnd_limited: u64,
    pub sndbuf_limited: u64,
    pub delivered: u32,
    pub delivered_ce: u32,
    pub bytes_sent: u64,
    pub bytes_retrans: u64,
    pub dsack_dups: u32,
    pub reord_seen: u32,
    pub rcv_ooopack: u32,
    pub snd_wnd: u32,
    pub rcv_wnd: u32,
    pub total_rto: u16,
    pub total_rto_recoveries: u16,
    pub total_rto_time: u32,
}

/// TCP_INFINITE_SSTHRESH.
const INFINITE_SSTHRESH: u32 = 0x7fff_ffff;
/// TCP_INIT_CWND.
const INITIAL_CWND: u32 = 10;

impl Info {
    /// Of a socket that has no connection and had none.
    pub const NONE: Info = Info {
        ca_state: Mode::Open,
        retransmits: 0,
        probes: 0,
        backoff: 0,
        timestamps: false,
        sack: false,
        wscale: false,
        ecn: false,
        ecn_seen: false,
        snd_wscale: 0,
        rcv_wscale: 0,
        rto: INITIAL_RTO.as_micros() as u32,
        ato: 0,
        snd_mss: Mss::DEFAULT_V4.get() as u32,
        rcv_mss: 0,
        unacked: 0,
        sacked: 0,
        lost: 0,
        retrans: 0,
        last_data_sent: 0,
        last_data_recv: 0,
        last_ack_recv: 0,
        rcv_ssthresh: 0,
        rtt: 0,
        rttvar: 250_000,
        snd_ssthresh: INFINITE_SSTHRESH,
        snd_cwnd: INITIAL_CWND,
        advmss: 0,
        reordering: 3,
        rcv_rtt: 0,
        rcv_space: 0,
        total_retrans: 0,
        pacing_rate: u64::MAX,
        bytes_acked: 0,
        bytes_received: 0,
        segs_out: 0,
        segs_in: 0,
        notsent_bytes: 0,
        min_rtt: u32::MAX,
        data_segs_in: 0,
        data_segs_out: 0,
        delivery_rate: 0,
        delivery_rate_app_limited: true,
        busy_time: 0,
        rwnd_limited: 0,
        sndbuf_limited: 0,
        delivered: 0,
        delivered_ce: 0,
        bytes_sent: 0,
        bytes_retrans: 0,
        dsack_dups: 0,
        reord_seen: 0,
        rcv_ooopack: 0,
        snd_wnd: 0,
        rcv_wnd: 0,
        total_rto: 0,
        total_rto_recoveries: 0,
        total_rto_time: 0,
    };
}

/// What is kept of the sending half when it is over, for [`Info`] alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct SenderEnd {
    pub(super) rtt: RttEstimator,
    pub(super) window: Window,
    pub(super) reorderings: u32,
    pub(super) sent_at: super::timers::Tick,
    pub(super) wnd: u32,
    pub(super) degree: u16,
}

/// What is kept of the receiving half.
#[derive(Clone, Copy, Debug)]
pub(super) struct ReceiverEnd {
    pub(super) threshold: u32,
    pub(super) space: u32,
    pub(super) rtt: u32,
    pub(super) data_at: super::timers::Tick,
    pub(super) rcv_mss: u16,
    pub(super) ato: u8,
}

impl Connection {
    /// What TCP_INFO tells now. `flight` is the connection's own.
    pub fn info(&self, cx: &Context<'_>, flight: Option<&Flight>) -> Info {
        let mut info = Info::NONE;
        let retransmits = self.retransmits();
        info.retransmits = retransmits;
        if let Phase::SynSent(open) = &self.phase {
            let (timeout, doublings) = open.timeout(cx);
            info.rto = bounded(timeout);
            info.backoff = doublings;
            info.total_retrans = u32::from(retransmits);
            info.total_rto = u16::from(retransmits);
            info.total_rto_recoveries = u16::from(retransmits != 0);
            info.total_rto_time = open.timeout_time(cx.now);
            info.segs_out = open.sent();
            info.unacked = 1;
            info.advmss = u32::from(open.advertised_mss());
            info.ecn = open.offers_ecn();
            return info;
        }
        let Some(link) = self.phase.last_link() else {
            return info;
        };
        let now = cx.now;
        info.probes = link.probes;
        info.timestamps = link.stamps.is_some();
        info.sack = link.sack();
        info.ecn = link.ecn.agreed();
        info.ecn_seen = link.ecn.has_seen();
        info.snd_wscale = link.snd_scale().get();
        info.rcv_wscale = link.rcv_scale().get();
        info.wscale = info.snd_wscale != 0 || info.rcv_wscale != 0;
        info.last_ack_recv = millis(link.heard.elapsed(now));
        info.rcv_wnd = link.rcv_wnd();
        info.advmss = u32::from(link.advmss());
        let mss = match self.phase.sender() {
            Some(_) => self.mss(),
            None => link.payload_mss(0),
        };
        let mss = u32::from(mss).max(1);
        info.snd_mss = mss;
        info.tell_sender(self, cx, mss);
        info.tell_receiver(self, now);
        info.notsent_bytes = self.not_sent();
        let over = matches!(self.phase, Phase::Closed(_));
        if !over {
            let up = |bytes: u32| segments(bytes, mss);
            info.unacked = up(self.unacked());
            if let Some(flight) = flight {
                info.sacked = up(flight.reported()).min(info.unacked);
                info.lost = up(flight.lost()).min(info.unacked);
                info.retrans = up(flight.sent_again()).min(info.unacked);
            }
        }
        info.tell_tally(&link.tally, now);
        if self.phase.is_syn_received() {
            return info;
        }
        // Without our FIN: it is no data.
        let data = self.snd_una().distance_to(self.data_end());
        info.delivery_rate = link.tally.rate.bytes_per_second();
        info.delivery_rate_app_limited = link.tally.rate.app_limited();
        let outstanding = segments(data, mss).saturating_sub(info.sacked);
        // The SYN was delivered, too.
        info.delivered = link
            .tally
            .first_sent()
            .saturating_sub(outstanding)
            .saturating_add(1);
        // Of acknowledgments that each delivered part of a segment: no more than all.
        info.delivered_ce = link.tally.marked().min(info.delivered);
        let first = link.tally.acked().saturating_add(u64::from(data));
        info.bytes_sent = first.saturating_add(info.bytes_retrans);
        info
    }

    /// Behind the last byte of data that was sent.
    fn data_end(&self) -> crate::seq::SeqNum {
        use crate::seq::SeqNum;
        let end = SeqNum::min(self.snd_nxt(), self.write_seq());
        SeqNum::max(end, self.snd_una())
    }
}

impl Info {
    fn tell_sender(&mut self, connection: &Connection, cx: &Context<'_>, mss: u32) {
        let Some(sent) = connection.phase.sender_end() else {
            return;
        };
        if let Some(srtt) = sent.rtt.srtt() {
            self.rtt = bounded(srtt);
            self.pacing_rate = spread(sent.window, connection.unacked(), srtt);
            self.rttvar = bounded(sent.rtt.rttvar());
            self.min_rtt = sent.rtt.min_rtt().map_or(u32::MAX, bounded);
        }
        self.rto = bounded(sent.rtt.rto(limits(cx.config)));
        self.snd_cwnd = sent.window.cwnd.checked_div(mss).unwrap_or(0);
        self.snd_ssthresh = match sent.window.ssthresh {
            u32::MAX => INFINITE_SSTHRESH,
            bytes => bytes.checked_div(mss).unwrap_or(0),
        };
        self.reordering = u32::from(sent.degree);
        self.reord_seen = sent.reorderings;
        self.last_data_sent = millis(sent.sent_at.elapsed(cx.now));
        self.snd_wnd = sent.wnd;
        if let Some(snd) = connection.phase.sender() {
            self.ca_state = snd.mode();
            self.backoff = sent.rtt.backoff().max(snd.persisted());
        }
    }

    fn tell_receiver(&mut self, connection: &Connection, now: Instant) {
        let Some(received) = connection.phase.receiver_end() else {
            return;
        };
        self.ato = u32::from(received.ato).saturating_mul(1000);
        self.rcv_mss = u32::from(received.rcv_mss);
        self.last_data_recv = millis(received.data_at.elapsed(now));
        self.rcv_ssthresh = received.threshold;
        self.rcv_rtt = received.rtt;
        self.rcv_space = received.space;
    }

    fn tell_tally(&mut self, tally: &Tally, now: Instant) {
        self.total_retrans = tally.resent();
        self.bytes_acked = tally.numbers_acked();
        self.bytes_received = tally.received();
        self.segs_out = tally.segs_out();
        self.segs_in = tally.segs_in();
        self.data_segs_in = tally.data_segs_in();
        self.data_segs_out = tally.data_segs_out();
        let limited = |limit| tally.limited(now, limit).as_micros();
        self.rwnd_limited = limited(Limit::Window);
        self.sndbuf_limited = limited(Limit::Buffer);
        self.busy_time = limited(Limit::Busy)
            .saturating_add(self.rwnd_limited)
            .saturating_add(self.sndbuf_limited);
        self.bytes_retrans = tally.again();
        self.dsack_dups = tally.dsacks();
        self.rcv_ooopack = tally.out_of_order();
        self.total_rto = tally.timeouts();
        self.total_rto_recoveries = tally.timeout_repairs();
        self.total_rto_time = tally.timeout_time(now);
    }

    /// The same `later`, when nothing has happened since.
    #[must_use]
    pub fn after(self, later: Duration) -> Info {
        let later = millis(later);
        Info {
            last_data_sent: self.last_data_sent.saturating_add(later),
            last_data_recv: self.last_data_recv.saturating_add(later),
            last_ack_recv: self.last_ack_recv.saturating_add(later),
            ..self
        }
    }
}

fn bounded(time: Duration) -> u32 {
    time.as_micros().min(u64::from(u32::MAX)) as u32
}

fn millis(time: Duration) -> u32 {
    time.as_millis().min(u64::from(u32::MAX)) as u32
}
