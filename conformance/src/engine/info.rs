// SPDX-License-Identifier: GPL-2.0

//! TCP_INFO and SO_MEMINFO, from what the engine tells.

use oxtcp_engine::{Connection, Flight, Instant};

use super::settings::Sysctls;
use super::socket::{Role, Socket};

/// Linux's value of ssthresh before any loss (TCP_INFINITE_SSTHRESH).
const INFINITE_SSTHRESH: i64 = 0x7fff_ffff;

/// A field by the name that scripts use; `None` where nothing tells it.
pub(super) fn field(socket: &Socket, sysctls: &Sysctls, now: Instant, name: &str) -> Option<i64> {
    let connection = match &socket.role {
        Role::Connection(connection) => Some(connection),
        _ => None,
    };
    match name {
        "tcpi_state" => Some(socket.state),
        "SK_MEMINFO_RCVBUF" => Some(i64::from(socket.rcvbuf)),
        "SK_MEMINFO_SNDBUF" => Some(i64::from(socket.sndbuf)),
        "SK_MEMINFO_RMEM_ALLOC" => Some(i64::from(socket.rmem())),
        "tcpi_last_data_recv" => Some(connection?.last_data_recv(now).as_millis() as i64),
        _ => of_connection(connection?, socket.flight.as_ref(), sysctls, name),
    }
}

fn of_connection(
    connection: &Connection,
    flight: Option<&Flight>,
    sysctls: &Sysctls,
    name: &str,
) -> Option<i64> {
    let mss = i64::from(connection.mss().max(1));
    let segments = |bytes: u32| i64::from(bytes) / mss;
    let up = |bytes: u32| (i64::from(bytes) + mss - 1) / mss;
    let negotiated = connection.negotiated();
    let micros = |of: oxtcp_engine::Duration| of.as_micros() as i64;
    Some(match name {
        "tcpi_snd_cwnd" => segments(connection.cwnd()),
        "tcpi_snd_ssthresh" => match connection.ssthresh() {
            u32::MAX => INFINITE_SSTHRESH,
            bytes => segments(bytes),
        },
        "tcpi_unacked" => up(connection.unacked()),
        "tcpi_sacked" => up(flight.map_or(0, Flight::reported)),
        "tcpi_lost" => up(flight.map_or(0, Flight::lost)),
        "tcpi_retrans" => up(flight.map_or(0, Flight::sent_again)),
        "tcpi_reordering" => i64::from(connection.reordering()),
        "tcpi_ca_state" => connection.mode() as i64,
        "tcpi_rtt" => micros(connection.srtt()?),
        "tcpi_rttvar" => micros(connection.rttvar()),
        "tcpi_min_rtt" => micros(connection.min_rtt()?),
        "tcpi_rto" => micros(connection.rto(&sysctls.config)),
        "tcpi_snd_mss" => mss,
        "tcpi_rcv_mss" => i64::from(connection.rcv_mss()),
        "tcpi_advmss" => i64::from(connection.advertised_mss()),
        "tcpi_retransmits" => i64::from(connection.retransmits()),
        "tcpi_total_retrans" => i64::from(connection.total_retransmits()),
        "tcpi_probes" => i64::from(connection.probes()),
        "tcpi_notsent_bytes" => i64::from(connection.not_sent()),
        "tcpi_snd_wnd" => i64::from(connection.snd_wnd()),
        "tcpi_rcv_wnd" => i64::from(connection.rcv_wnd()),
        "tcpi_snd_wscale" => i64::from(negotiated?.snd_scale.get()),
        "tcpi_rcv_wscale" => i64::from(negotiated?.rcv_scale.get()),
        "tcpi_options" => {
            let negotiated = negotiated?;
            let scaled = negotiated.snd_scale.get() != 0 || negotiated.rcv_scale.get() != 0;
            i64::from(negotiated.timestamps)
                + i64::from(negotiated.sack) * 2
                + i64::from(scaled) * 4
        }
        _ => return None,
    })
}
