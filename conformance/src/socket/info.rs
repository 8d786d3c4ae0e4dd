// SPDX-License-Identifier: GPL-2.0

//! What the kernel tells of sockets (TCP_INFO, SO_MEMINFO) and of all of TCP (`/proc/net/netstat`, `snmp` and `oxtcp_stat`), by
//! the names that scripts use.

use std::os::fd::BorrowedFd;

use super::{sys, Stack};

const SOL_SOCKET: i32 = 1;
const SOL_TCP: i32 = 6;
const SO_MEMINFO: i32 = 55;
const TCP_INFO: i32 = 11;

/// Where a field stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Place {
    /// So many bits from a bit of an octet on.
    Bits(usize, u8, u8),
    /// Two octets.
    Half(usize),
    /// Four octets.
    Word(usize),
    /// Eight octets.
    Long(usize),
}

/// Of `<linux/tcp.h>`, with the offsets that its types give.
fn place(name: &str) -> Option<Place> {
    use Place::{Bits, Half, Long, Word};
    Some(match name {
        "tcpi_state" => Bits(0, 0, 8),
        "tcpi_ca_state" => Bits(1, 0, 8),
        "tcpi_retransmits" => Bits(2, 0, 8),
        "tcpi_probes" => Bits(3, 0, 8),
        "tcpi_backoff" => Bits(4, 0, 8),
        "tcpi_options" => Bits(5, 0, 8),
        "tcpi_snd_wscale" => Bits(6, 0, 4),
        "tcpi_rcv_wscale" => Bits(6, 4, 4),
        "tcpi_delivery_rate_app_limited" => Bits(7, 0, 1),
        "tcpi_fastopen_client_fail" => Bits(7, 1, 2),
        "tcpi_rto" => Word(8),
        "tcpi_ato" => Word(12),
        "tcpi_snd_mss" => Word(16),
        "tcpi_rcv_mss" => Word(20),
        "tcpi_unacked" => Word(24),
        "tcpi_sacked" => Word(28),
        "tcpi_lost" => Word(32),
        "tcpi_retrans" => Word(36),
        "tcpi_fackets" => Word(40),
        "tcpi_last_data_sent" => Word(44),
        "tcpi_last_ack_sent" => Word(48),
        "tcpi_last_data_recv" => Word(52),
        "tcpi_last_ack_recv" => Word(56),
        "tcpi_pmtu" => Word(60),
        "tcpi_rcv_ssthresh" => Word(64),
        "tcpi_rtt" => Word(68),
        "tcpi_rttvar" => Word(72),
        "tcpi_snd_ssthresh" => Word(76),
        "tcpi_snd_cwnd" => Word(80),
        "tcpi_advmss" => Word(84),
        "tcpi_reordering" => Word(88),
        "tcpi_rcv_rtt" => Word(92),
        "tcpi_rcv_space" => Word(96),
        "tcpi_total_retrans" => Word(100),
        "tcpi_pacing_rate" => Long(104),
        "tcpi_max_pacing_rate" => Long(112),
        "tcpi_bytes_acked" => Long(120),
        "tcpi_bytes_received" => Long(128),
        "tcpi_segs_out" => Word(136),
        "tcpi_segs_in" => Word(140),
        "tcpi_notsent_bytes" => Word(144),
        "tcpi_min_rtt" => Word(148),
        "tcpi_data_segs_in" => Word(152),
        "tcpi_data_segs_out" => Word(156),
        "tcpi_delivery_rate" => Long(160),
        "tcpi_busy_time" => Long(168),
        "tcpi_rwnd_limited" => Long(176),
        "tcpi_sndbuf_limited" => Long(184),
        "tcpi_delivered" => Word(192),
        "tcpi_delivered_ce" => Word(196),
        "tcpi_bytes_sent" => Long(200),
        "tcpi_bytes_retrans" => Long(208),
        "tcpi_dsack_dups" => Word(216),
        "tcpi_reord_seen" => Word(220),
        "tcpi_rcv_ooopack" => Word(224),
        "tcpi_snd_wnd" => Word(228),
        "tcpi_rcv_wnd" => Word(232),
        "tcpi_rehash" => Word(236),
        "tcpi_total_rto" => Half(240),
        "tcpi_total_rto_recoveries" => Half(242),
        "tcpi_total_rto_time" => Word(244),
        "tcpi_received_ce" => Word(248),
        "tcpi_delivered_e1_bytes" => Word(252),
        "tcpi_delivered_e0_bytes" => Word(256),
        "tcpi_delivered_ce_bytes" => Word(260),
        "tcpi_received_e1_bytes" => Word(264),
        "tcpi_received_e0_bytes" => Word(268),
        "tcpi_received_ce_bytes" => Word(272),
        "tcpi_ecn_mode" => Bits(276, 0, 2),
        "tcpi_accecn_opt_seen" => Bits(276, 2, 2),
        "tcpi_accecn_fail_mode" => Bits(276, 4, 4),
        _ => return None,
    })
}

/// SO_MEMINFO's words (`SK_MEMINFO_*` of `<linux/sock_diag.h>`).
const MEMORY: [&str; 9] = [
    "RMEM_ALLOC",
    "RCVBUF",
    "WMEM_ALLOC",
    "SNDBUF",
    "FWD_ALLOC",
    "WMEM_QUEUED",
    "OPTMEM",
    "BACKLOG",
    "DROPS",
];

/// A field of a socket; `None` where the kernel does not tell it.
pub(super) fn field(fd: BorrowedFd<'_>, name: &str) -> Option<i64> {
    if let Some(name) = name.strip_prefix("SK_MEMINFO_") {
        let at = MEMORY.iter().position(|n| *n == name)?;
        let words = sys::option(fd, SOL_SOCKET, SO_MEMINFO, 4 * MEMORY.len()).ok()?;
        return value(&words, Place::Word(4 * at));
    }
    let place = place(name)?;
    let info = sys::option(fd, SOL_TCP, TCP_INFO, 512).ok()?;
    value(&info, place)
}

/// `None` behind the end of what a kernel gives.
fn value(bytes: &[u8], place: Place) -> Option<i64> {
    let number = |at: usize, len: usize| {
        let octets = bytes.get(at..at + len)?.iter().rev();
        Some(octets.fold(0u64, |sum, octet| (sum << 8) | u64::from(*octet)) as i64)
    };
    match place {
        Place::Bits(at, from, count) => Some((number(at, 1)? >> from) & ((1 << count) - 1)),
        Place::Half(at) => number(at, 2),
        Place::Word(at) => number(at, 4),
        Place::Long(at) => number(at, 8),
    }
}

/// A counter by the name that `nstat` prints, in this thread's namespace. oxtcp's stand in a file like the built-in TCP's.
pub(super) fn counter(stack: Stack, name: &str) -> Option<u64> {
    let files: &[&str] = match stack {
        Stack::Builtin => &["netstat", "snmp"],
        Stack::Oxtcp { .. } => &["oxtcp_stat"],
    };
    files.iter().find_map(|file| {
        let text = std::fs::read_to_string(format!("/proc/thread-self/net/{file}")).ok()?;
        counter_in(&text, name)
    })
}

/// Lines are in pairs: `Tcp: InSegs OutSegs` and `Tcp: 1 2`. `nstat` prints `TcpInSegs 1`.
fn counter_in(text: &str, name: &str) -> Option<u64> {
    let lines: Vec<&str> = text.lines().collect();
    lines.chunks_exact(2).find_map(|pair| {
        let (group, names) = pair[0].split_once(':')?;
        let (_, values) = pair[1].split_once(':')?;
        let wanted = name.strip_prefix(group)?;
        let at = names.split_whitespace().position(|n| n == wanted)?;
        values.split_whitespace().nth(at)?.parse().ok()
    })
}

/// Whether somebody in this thread's namespace is listening on this port.
pub(super) fn listens(stack: Stack, port: u16) -> bool {
    let files = match stack {
        Stack::Builtin => ["tcp", "tcp6"],
        Stack::Oxtcp { .. } => ["oxtcp", "oxtcp6"],
    };
    files.iter().any(|file| {
        let path = format!("/proc/thread-self/net/{file}");
        std::fs::read_to_string(path).is_ok_and(|text| listens_in(&text, port))
    })
}

/// A line is `0: 0100007F:1F90 00000000:0000 0A ...`: slot, local and remote end, state.
fn listens_in(text: &str, port: u16) -> bool {
    text.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().collect();
        let local = words.get(1).and_then(|end| end.rsplit_once(':'));
        let at = local.and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
        at == Some(port) && words.get(3) == Some(&"0A")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn value__table() {
        let bytes: Vec<u8> = (0..16).collect();
        assert_eq!(value(&bytes, Place::Bits(6, 0, 8)), Some(6));
        assert_eq!(value(&bytes, Place::Bits(6, 1, 2)), Some(3));
        assert_eq!(value(&bytes, Place::Half(2)), Some(0x0302));
        assert_eq!(value(&bytes, Place::Word(4)), Some(0x0706_0504));
        assert_eq!(value(&bytes, Place::Long(8)), Some(0x0f0e_0d0c_0b0a_0908));
        assert_eq!(value(&bytes, Place::Long(9)), None);
        assert_eq!(place("tcpi_nothing"), None);
    }

    #[test]
    fn counter_in__table() {
        let text = "Tcp: InSegs OutSegs\nTcp: 1 2\nTcpExt: BeyondWindow\nTcpExt: 3\n";
        assert_eq!(counter_in(text, "TcpOutSegs"), Some(2));
        assert_eq!(counter_in(text, "TcpExtBeyondWindow"), Some(3));
        assert_eq!(counter_in(text, "TcpExtNone"), None);
        assert_eq!(counter_in(text, "UdpInDatagrams"), None);
    }

    #[test]
    fn listens_in__table() {
        let text = "  sl  local_address rem_address   st\n   0: 0100007F:1F90 00000000:0000 0A 0\n   1: 0100007F:0050 0100007F:1F91 01 0\n";
        assert!(listens_in(text, 8080));
        assert!(!listens_in(text, 8081));
        assert!(!listens_in(text, 80));
    }

    #[test]
    fn field__of_a_socket_of_the_host() {
        use std::os::fd::AsFd;
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        // TCP_LISTEN
        assert_eq!(field(listener.as_fd(), "tcpi_state"), Some(10));
        assert!(field(listener.as_fd(), "SK_MEMINFO_RCVBUF").is_some_and(|bytes| bytes > 0));
        assert_eq!(field(listener.as_fd(), "SK_MEMINFO_NONE"), None);
    }
}
