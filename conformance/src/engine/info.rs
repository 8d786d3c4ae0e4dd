// SPDX-License-Identifier: GPL-2.0

//! TCP_INFO and SO_MEMINFO, from what the engine tells.

use oxtcp_engine::connection::Info;
use oxtcp_engine::{Context, Instant};

use super::settings::Sysctls;
use super::socket::{Role, Socket};

/// A field by the name that scripts use; `None` where nothing tells it.
pub(super) fn field(socket: &Socket, sysctls: &Sysctls, now: Instant, name: &str) -> Option<i64> {
    let memory = match name {
        "SK_MEMINFO_RCVBUF" => socket.rcvbuf,
        "SK_MEMINFO_SNDBUF" => socket.sndbuf,
        "SK_MEMINFO_RMEM_ALLOC" => socket.rmem(),
        _ => return of_info(socket, sysctls, now, name.strip_prefix("tcpi_")?),
    };
    Some(i64::from(memory))
}

fn of_info(socket: &Socket, sysctls: &Sysctls, now: Instant, name: &str) -> Option<i64> {
    let cx = Context::new(now, &sysctls.config);
    let info = match &socket.role {
        Role::Connection(connection) => connection.info(&cx, socket.flight.as_ref()),
        Role::Idle => socket.past(now),
        Role::Listener { backlog, queue } => Info {
            unacked: queue.len() as u32,
            sacked: *backlog,
            ..Info::NONE
        },
    };
    let options = i64::from(info.timestamps)
        + i64::from(info.sack) * 2
        + i64::from(info.wscale) * 4
        + i64::from(info.ecn) * 8
        + i64::from(info.ecn_seen) * 16;
    let small = |value: u32| Some(i64::from(value));
    let large = |value: u64| Some(i64::try_from(value).unwrap_or(i64::MAX));
    match name {
        "state" => Some(socket.state),
        "ca_state" => Some(info.ca_state as i64),
        "retransmits" => small(info.retransmits.into()),
        "probes" => small(info.probes.into()),
        "backoff" => small(info.backoff.into()),
        "options" => Some(options),
        "snd_wscale" => small(info.snd_wscale.into()),
        "rcv_wscale" => small(info.rcv_wscale.into()),
        "rto" => small(info.rto),
        "ato" => small(info.ato),
        "snd_mss" => small(info.snd_mss),
        "rcv_mss" => small(info.rcv_mss),
        "unacked" => small(info.unacked),
        "sacked" => small(info.sacked),
        "lost" => small(info.lost),
        "retrans" => small(info.retrans),
        "last_data_sent" => small(info.last_data_sent),
        "last_data_recv" => small(info.last_data_recv),
        "last_ack_recv" => small(info.last_ack_recv),
        "rcv_ssthresh" => small(info.rcv_ssthresh),
        "rtt" => small(info.rtt),
        "rttvar" => small(info.rttvar),
        "snd_ssthresh" => small(info.snd_ssthresh),
        "snd_cwnd" => small(info.snd_cwnd),
        "advmss" => small(info.advmss),
        "reordering" => small(info.reordering),
        "rcv_rtt" => small(info.rcv_rtt),
        "rcv_space" => small(info.rcv_space),
        "total_retrans" => small(info.total_retrans),
        "pacing_rate" => large(info.pacing_rate),
        "bytes_acked" => large(info.bytes_acked),
        "bytes_received" => large(info.bytes_received),
        "segs_out" => small(info.segs_out),
        "segs_in" => small(info.segs_in),
        "notsent_bytes" => small(info.notsent_bytes),
        "min_rtt" => small(info.min_rtt),
        "data_segs_in" => small(info.data_segs_in),
        "data_segs_out" => small(info.data_segs_out),
        "busy_time" => large(info.busy_time),
        "rwnd_limited" => large(info.rwnd_limited),
        "sndbuf_limited" => large(info.sndbuf_limited),
        "delivered" => small(info.delivered),
        "delivered_ce" => small(info.delivered_ce),
        "ecn_mode" => Some(i64::from(info.ecn)),
        "bytes_sent" => large(info.bytes_sent),
        "bytes_retrans" => large(info.bytes_retrans),
        "dsack_dups" => small(info.dsack_dups),
        "reord_seen" => small(info.reord_seen),
        "rcv_ooopack" => small(info.rcv_ooopack),
        "snd_wnd" => small(info.snd_wnd),
        "rcv_wnd" => small(info.rcv_wnd),
        "total_rto" => small(info.total_rto.into()),
        "total_rto_recoveries" => small(info.total_rto_recoveries.into()),
        "total_rto_time" => small(info.total_rto_time),
        _ => None,
    }
}
