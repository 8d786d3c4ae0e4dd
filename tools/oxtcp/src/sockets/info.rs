// SPDX-License-Identifier: GPL-2.0
//! `TCP_INFO`.

/// What is used of the kernel's `struct tcp_info`.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Info {
    pub options: u8,
    pub snd_wscale: u8,
    pub rcv_wscale: u8,
    pub rto_us: u32,
    pub snd_mss: u32,
    pub rcv_mss: u32,
    /// Of a listener the connections that wait.
    pub unacked: u32,
    /// Of a listener the most that may.
    pub sacked: u32,
    pub lost: u32,
    pub retrans: u32,
    pub last_data_sent_ms: u32,
    pub last_data_recv_ms: u32,
    pub last_ack_recv_ms: u32,
    pub pmtu: u32,
    pub rtt_us: u32,
    pub rttvar_us: u32,
    pub snd_ssthresh: u32,
    pub snd_cwnd: u32,
    pub total_retrans: u32,
    /// In bytes per second; all ones where nothing is held to a rate.
    pub pacing_rate: u64,
    pub max_pacing_rate: u64,
    pub not_sent: u32,
    pub min_rtt_us: u32,
    /// In bytes per second: the last that an acknowledgment has told of.
    pub delivery_rate: u64,
    /// The program wrote too little for more then.
    pub app_limited: bool,
    pub delivered: u32,
    pub dsack_dups: u32,
    pub reord_seen: u32,
    pub rcv_ooopack: u32,
    pub bytes_acked: u64,
    pub bytes_received: u64,
    pub segs_out: u32,
    pub segs_in: u32,
    pub busy_us: u64,
    pub rwnd_limited_us: u64,
    pub sndbuf_limited_us: u64,
    pub bytes_sent: u64,
    pub bytes_retrans: u64,
    pub snd_wnd: u32,
    /// The receiver's own measurement; 0 before the first.
    pub rcv_rtt_us: u32,
    /// What the program read in the best round trip.
    pub rcv_space: u32,
    /// The window that is offered.
    pub rcv_wnd: u32,
}

/// Bits of [`Info::options`] and what `ss` calls them.
const OPTIONS: [(u8, &str); 3] = [(1, "ts"), (2, "sack"), (8, "ecn")];
const WSCALE: u8 = 4;
const ECN_SEEN: u8 = 16;

impl Info {
    /// The options in use, as `ss -i` writes them.
    pub fn options(&self) -> String {
        let mut words: Vec<String> = OPTIONS
            .iter()
            .filter(|(bit, _)| self.options & bit != 0)
            .map(|(_, name)| (*name).to_string())
            .collect();
        if self.options & ECN_SEEN != 0 {
            words.push("ecnseen".into());
        }
        if self.options & WSCALE != 0 {
            words.push(format!("wscale:{},{}", self.snd_wscale, self.rcv_wscale));
        }
        words.join(" ")
    }

    /// From the bytes of a `struct tcp_info` (`include/uapi/linux/tcp.h`); what is missing at its end is 0.
    pub fn parse(bytes: &[u8]) -> Self {
        let byte = |at: usize| bytes.get(at).copied().unwrap_or(0);
        let u32_at = |at: usize| {
            let four = bytes.get(at..at + 4).and_then(|four| four.try_into().ok());
            four.map_or(0, u32::from_ne_bytes)
        };
        let u64_at = |at: usize| {
            let eight = bytes
                .get(at..at + 8)
                .and_then(|eight| eight.try_into().ok());
            eight.map_or(0, u64::from_ne_bytes)
        };
        Self {
            options: byte(5),
            snd_wscale: byte(6) & 0xf,
            rcv_wscale: byte(6) >> 4,
            rto_us: u32_at(8),
            snd_mss: u32_at(16),
            rcv_mss: u32_at(20),
            unacked: u32_at(24),
            sacked: u32_at(28),
            lost: u32_at(32),
            retrans: u32_at(36),
            last_data_sent_ms: u32_at(44),
            last_data_recv_ms: u32_at(52),
            last_ack_recv_ms: u32_at(56),
            pmtu: u32_at(60),
            rtt_us: u32_at(68),
            rttvar_us: u32_at(72),
            snd_ssthresh: u32_at(76),
            snd_cwnd: u32_at(80),
            total_retrans: u32_at(100),
            pacing_rate: u64_at(104),
            max_pacing_rate: u64_at(112),
            not_sent: u32_at(144),
            delivery_rate: u64_at(160),
            app_limited: byte(7) & 1 != 0,
            delivered: u32_at(192),
            dsack_dups: u32_at(216),
            reord_seen: u32_at(220),
            rcv_ooopack: u32_at(224),
            bytes_acked: u64_at(120),
            bytes_received: u64_at(128),
            segs_out: u32_at(136),
            segs_in: u32_at(140),
            min_rtt_us: u32_at(148),
            busy_us: u64_at(168),
            rwnd_limited_us: u64_at(176),
            sndbuf_limited_us: u64_at(184),
            bytes_sent: u64_at(200),
            bytes_retrans: u64_at(208),
            snd_wnd: u32_at(228),
            rcv_rtt_us: u32_at(92),
            rcv_space: u32_at(96),
            rcv_wnd: u32_at(232),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn short_ones_end_in_zeroes() {
        assert_eq!(Info::parse(&[]), Info::default());
        let mut bytes = [0u8; 232];
        bytes[5] = 1 | 2 | 4;
        bytes[6] = 0x97;
        bytes[228..].copy_from_slice(&65535u32.to_ne_bytes());
        let info = Info::parse(&bytes);
        assert_eq!(info.options(), "ts sack wscale:7,9");
        assert_eq!(info.snd_wnd, 65535);
        assert_eq!(Info::parse(&bytes[..231]).snd_wnd, 0);
    }
}
