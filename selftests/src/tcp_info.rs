// SPDX-License-Identifier: GPL-2.0
//! `struct tcp_info`, as far as the tests look into it.

use crate::sock::Sock;

/// Bytes of `struct tcp_info` that any kernel has which these tests are for.
pub const LEAST: usize = 248;

/// The states that the kernel gives out.
pub const ESTABLISHED: u8 = 1;
pub const FIN_WAIT2: u8 = 5;
pub const CLOSE: u8 = 7;
pub const CLOSE_WAIT: u8 = 8;
pub const LISTEN: u8 = 10;

/// TCPI_OPT_TIMESTAMPS, TCPI_OPT_SACK and TCPI_OPT_WSCALE.
pub const USUAL_OPTIONS: u8 = 7;
/// TCPI_OPT_ECN and TCPI_OPT_ECN_SEEN.
pub const ECN: u8 = 8;
pub const ECN_SEEN: u8 = 16;

/// Some fields, by the kernel's names without `tcpi_`.
#[derive(Clone, Copy, Debug)]
pub struct TcpInfo {
    pub state: u8,
    pub ca_state: u8,
    pub retransmits: u8,
    pub options: u8,
    pub snd_wscale: u8,
    pub rcv_wscale: u8,
    pub rto: u32,
    pub snd_mss: u32,
    pub rcv_mss: u32,
    pub unacked: u32,
    pub sacked: u32,
    pub lost: u32,
    pub last_data_sent: u32,
    pub last_data_recv: u32,
    pub last_ack_recv: u32,
    pub pmtu: u32,
    pub rtt: u32,
    pub rttvar: u32,
    pub snd_ssthresh: u32,
    pub snd_cwnd: u32,
    pub advmss: u32,
    pub reordering: u32,
    pub total_retrans: u32,
    pub pacing_rate: u64,
    pub max_pacing_rate: u64,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub segs_out: u32,
    pub segs_in: u32,
    pub notsent_bytes: u32,
    pub min_rtt: u32,
    pub data_segs_in: u32,
    pub data_segs_out: u32,
    pub delivery_rate: u64,
    pub delivery_rate_app_limited: bool,
    pub busy_time: u64,
    pub rwnd_limited: u64,
    pub sndbuf_limited: u64,
    pub delivered: u32,
    pub delivered_ce: u32,
    pub bytes_sent: u64,
    pub bytes_retrans: u64,
    pub rcv_ooopack: u32,
    pub snd_wnd: u32,
    pub rcv_wnd: u32,
    pub total_rto: u16,
}

impl TcpInfo {
    /// Asks a socket.
    #[track_caller]
    pub fn of(sock: &Sock) -> TcpInfo {
        let mut bytes = [0; 1024];
        let len = sock
            .get_bytes(libc::SOL_TCP, libc::TCP_INFO, &mut bytes)
            .expect("TCP_INFO");
        assert!(len >= LEAST, "{len} bytes of tcp_info");
        TcpInfo::parse(&bytes)
    }

    fn parse(bytes: &[u8]) -> TcpInfo {
        let byte = |at: usize| bytes[at];
        let half = |at: usize| u16::from_ne_bytes(bytes[at..at + 2].try_into().expect("2 bytes"));
        let word = |at: usize| u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("4 bytes"));
        let long = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("8 bytes"));
        TcpInfo {
            state: byte(0),
            ca_state: byte(1),
            retransmits: byte(2),
            options: byte(5),
            snd_wscale: byte(6) & 15,
            rcv_wscale: byte(6) >> 4,
            rto: word(8),
            snd_mss: word(16),
            rcv_mss: word(20),
            unacked: word(24),
            sacked: word(28),
            lost: word(32),
            last_data_sent: word(44),
            last_data_recv: word(52),
            last_ack_recv: word(56),
            pmtu: word(60),
            rtt: word(68),
            rttvar: word(72),
            snd_ssthresh: word(76),
            snd_cwnd: word(80),
            advmss: word(84),
            reordering: word(88),
            total_retrans: word(100),
            pacing_rate: long(104),
            max_pacing_rate: long(112),
            bytes_acked: long(120),
            bytes_received: long(128),
            segs_out: word(136),
            segs_in: word(140),
            notsent_bytes: word(144),
            min_rtt: word(148),
            data_segs_in: word(152),
            data_segs_out: word(156),
            delivery_rate: long(160),
            delivery_rate_app_limited: byte(7) & 1 != 0,
            busy_time: long(168),
            rwnd_limited: long(176),
            sndbuf_limited: long(184),
            delivered: word(192),
            delivered_ce: word(196),
            bytes_sent: long(200),
            bytes_retrans: long(208),
            rcv_ooopack: word(224),
            snd_wnd: word(228),
            rcv_wnd: word(232),
            total_rto: half(240),
        }
    }
}
