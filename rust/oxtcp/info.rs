// SPDX-License-Identifier: GPL-2.0

//! TCP_INFO. With the socket lock.

use oxtcp_engine::congestion::Algorithm;
use oxtcp_engine::connection::Info;

use crate::listener;
use crate::namespace::context;
use crate::output;
use crate::protocol::{Role, Sk};
use crate::sys::bindings;
use crate::sys::route;
use crate::sys::sock::SkState;

/// TCPI_OPT_TIMESTAMPS and so on: macros, whose values bindgen has.
const TIMESTAMPS: u8 = bindings::TCPI_OPT_TIMESTAMPS as u8;
const SACK: u8 = bindings::TCPI_OPT_SACK as u8;
const WSCALE: u8 = bindings::TCPI_OPT_WSCALE as u8;
const ECN: u8 = bindings::TCPI_OPT_ECN as u8;
const ECN_SEEN: u8 = bindings::TCPI_OPT_ECN_SEEN as u8;

/// What getsockopt(TCP_INFO) answers: fills `to`, which is zeros.
///
/// What oxtcp does not do stays 0: accurate ECN, Fast Open, another path after a timeout.
pub(crate) fn tell(sk: &mut Sk<'_>, to: &mut bindings::tcp_info) {
    let sock = sk.sock();
    let state = sock.state();
    let most = route::max_pacing_rate(sk);
    to.tcpi_state = state.number();
    to.tcpi_max_pacing_rate = most;
    if state == SkState::LISTEN {
        let (waiting, backlog) = listener::queue(sock);
        to.tcpi_pacing_rate = most;
        to.tcpi_reordering = Info::NONE.reordering;
        to.tcpi_snd_cwnd = Info::NONE.snd_cwnd;
        to.tcpi_unacked = waiting;
        to.tcpi_sacked = backlog;
        return;
    }
    let config = output::namespace(sock).config();
    let cx = context(&config);
    let parts = sk.state();
    let (info, connected) = match &parts.role {
        Role::Connection(connection) => (connection.info(&cx, parts.flight()), true),
        Role::Idle(idle) => {
            let past = idle.past.as_ref();
            let info = past.map_or(Info::NONE, |(info, at)| info.after(cx.now.since(*at)));
            (info, false)
        }
        Role::Listener(_) => (Info::NONE, false),
    };
    if connected {
        to.tcpi_pmtu = route::current_mtu(sk).unwrap_or(0);
    }
    fill(to, &info);
    to.tcpi_pacing_rate = info.pacing_rate.min(most);
}

/// The congestion controller that runs, or that a connection would begin with.
pub(crate) fn algorithm(sk: &mut Sk<'_>) -> Algorithm {
    let config = output::namespace(sk.sock()).config();
    let state = sk.state();
    let running = state.connection().and_then(|c| c.algorithm());
    running.unwrap_or(state.options().algorithm(&config))
}

fn fill(to: &mut bindings::tcp_info, info: &Info) {
    let option = |on: bool, bit: u8| if on { bit } else { 0 };
    to.tcpi_ca_state = info.ca_state as u8;
    to.tcpi_retransmits = info.retransmits;
    to.tcpi_probes = info.probes;
    to.tcpi_backoff = info.backoff;
    to.tcpi_options = option(info.timestamps, TIMESTAMPS)
        | option(info.sack, SACK)
        | option(info.wscale, WSCALE)
        | option(info.ecn, ECN)
        | option(info.ecn_seen, ECN_SEEN);
    // Of RFC 3168; 0 is none.
    to.set_tcpi_ecn_mode(match info.ecn {
        true => bindings::TCPI_ECN_MODE_RFC3168,
        false => bindings::TCPI_ECN_MODE_DISABLED,
    });
    to.set_tcpi_snd_wscale(info.snd_wscale);
    to.set_tcpi_rcv_wscale(info.rcv_wscale);
    to.set_tcpi_delivery_rate_app_limited(u8::from(info.delivery_rate_app_limited));
    to.tcpi_rto = info.rto;
    to.tcpi_ato = info.ato;
    to.tcpi_snd_mss = info.snd_mss;
    to.tcpi_rcv_mss = info.rcv_mss;
    to.tcpi_unacked = info.unacked;
    to.tcpi_sacked = info.sacked;
    to.tcpi_lost = info.lost;
    to.tcpi_retrans = info.retrans;
    to.tcpi_last_data_sent = info.last_data_sent;
    to.tcpi_last_data_recv = info.last_data_recv;
    to.tcpi_last_ack_recv = info.last_ack_recv;
    to.tcpi_rcv_ssthresh = info.rcv_ssthresh;
    to.tcpi_rtt = info.rtt;
    to.tcpi_rttvar = info.rttvar;
    to.tcpi_snd_ssthresh = info.snd_ssthresh;
    to.tcpi_snd_cwnd = info.snd_cwnd;
    to.tcpi_advmss = info.advmss;
    to.tcpi_reordering = info.reordering;
    to.tcpi_rcv_rtt = info.rcv_rtt;
    to.tcpi_rcv_space = info.rcv_space;
    to.tcpi_total_retrans = info.total_retrans;
    to.tcpi_bytes_acked = info.bytes_acked;
    to.tcpi_bytes_received = info.bytes_received;
    to.tcpi_segs_out = info.segs_out;
    to.tcpi_segs_in = info.segs_in;
    to.tcpi_notsent_bytes = info.notsent_bytes;
    to.tcpi_min_rtt = info.min_rtt;
    to.tcpi_data_segs_in = info.data_segs_in;
    to.tcpi_data_segs_out = info.data_segs_out;
    to.tcpi_delivery_rate = info.delivery_rate;
    to.tcpi_busy_time = info.busy_time;
    to.tcpi_rwnd_limited = info.rwnd_limited;
    to.tcpi_sndbuf_limited = info.sndbuf_limited;
    to.tcpi_delivered = info.delivered;
    to.tcpi_delivered_ce = info.delivered_ce;
    to.tcpi_bytes_sent = info.bytes_sent;
    to.tcpi_bytes_retrans = info.bytes_retrans;
    to.tcpi_dsack_dups = info.dsack_dups;
    to.tcpi_reord_seen = info.reord_seen;
    to.tcpi_rcv_ooopack = info.rcv_ooopack;
    to.tcpi_snd_wnd = info.snd_wnd;
    to.tcpi_rcv_wnd = info.rcv_wnd;
    to.tcpi_total_rto = info.total_rto;
    to.tcpi_total_rto_recoveries = info.total_rto_recoveries;
    to.tcpi_total_rto_time = info.total_rto_time;
}
