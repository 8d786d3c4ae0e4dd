// SPDX-License-Identifier: GPL-2.0
//! Answers that need no connection: the RST for a segment that belongs to nobody, and what bounds the
//! answers of requests and of TIME-WAIT.

use crate::context::Context;
use crate::segment::Segment;
use crate::seq::{SeqNum, SeqRange};
use crate::transmit::{Transmit, TransmitKind};
use crate::wire::{Ecn, Flags, Header, Mss};

/// The answer to a segment for which there is no connection (RFC 9293 section 3.10.7.1). None for a RST:
/// "an incoming segment containing a RST is discarded".
pub fn closed(segment: &Segment) -> Option<Transmit> {
    let flags = segment.header.flags;
    if flags.rst() {
        return None;
    }
    let header = if flags.ack() {
        // <SEQ=SEG.ACK><CTL=RST>
        Header {
            seq: segment.header.ack,
            flags: Flags::RST,
            ..Header::default()
        }
    } else {
        // <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK>
        Header {
            seq: SeqNum::new(0),
            ack: segment.end(),
            flags: Flags::RST_ACK,
            ..Header::default()
        }
    };
    Some(Transmit {
        payload: SeqRange::new(header.seq, 0),
        header,
        mss: Mss::DEFAULT_V4.get(),
        ecn: Ecn::NotEct,
        kind: TransmitKind::Reset,
        persist: None,
    })
}

/// Whether the timestamp `val` is older than `recent` (RFC 7323 section 5.2).
pub(crate) const fn is_older(val: u32, recent: u32) -> bool {
    (val.wrapping_sub(recent) as i32) < 0
}

/// PAWS (RFC 7323 section 5.3, rule R1): whether a segment with the timestamp `val` is an old one, where TS.Recent is `recent`.
///
/// Deviation: RFC 7323 section 5.3 knows no timestamp that is none. As in Linux 0 is: there are stacks whose SYN or SYN-ACK says that.
pub(crate) const fn is_stale(val: u32, recent: u32) -> bool {
    recent != 0 && is_older(val, recent)
}

/// When something was last answered, in two bytes: ticks of 8.192 ms that come round every nine minutes.
///
/// Two hosts that each find the other's ACK unacceptable would otherwise answer one another for ever
/// (Linux's `tcp_oow_rate_limited`; RFC 5961 section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct ReplyLimit {
    /// The tick; 0 for never.
    last: u16,
}

impl ReplyLimit {
    const TICK_SHIFT: u32 = 13;

    /// Nothing was answered yet.
    pub(crate) const fn new() -> Self {
        ReplyLimit { last: 0 }
    }

    /// Whether `segment` may be answered now; if so, notes it. Data and FIN are always answered: they
    /// are not part of a loop of ACKs.
    pub(crate) fn permits(&mut self, cx: &Context<'_>, segment: &Segment) -> bool {
        let flags = segment.header.flags;
        if segment.seq_len() != 0 && !flags.syn() && !flags.rst() {
            return true;
        }
        let now = ((cx.now.as_micros() >> ReplyLimit::TICK_SHIFT) as u16).max(1);
        let least = cx.config.invalid_ratelimit.as_micros() >> ReplyLimit::TICK_SHIFT;
        if self.last != 0 && u64::from(now.wrapping_sub(self.last)) < least {
            return false;
        }
        self.last = now;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Config;
    use crate::time::Instant;

    fn segment(flags: Flags, payload_len: u32) -> Segment {
        Segment {
            header: Header {
                src_port: 1,
                seq: SeqNum::new(u32::MAX),
                ack: SeqNum::new(77),
                flags,
                ..Header::default()
            },
            payload_len,
            ecn: Ecn::NotEct,
        }
    }

    /// RFC 9293 section 3.10.7.1.
    #[test]
    fn closed__table() {
        let syn_fin = Flags::SYN.union(Flags::FIN);
        // Flags, payload, reply's flags, sequence number, acknowledgment.
        let table = [
            (Flags::SYN, 0, Flags::RST_ACK, 0, 0),
            (Flags::SYN, 10, Flags::RST_ACK, 0, 10),
            (syn_fin, 10, Flags::RST_ACK, 0, 11),
            (Flags::NONE, 0, Flags::RST_ACK, 0, u32::MAX),
            (Flags::NONE, 64_000, Flags::RST_ACK, 0, 63_999),
            (Flags::FIN, 0, Flags::RST_ACK, 0, 0),
            (Flags::ACK, 0, Flags::RST, 77, 0),
            (Flags::SYN_ACK, 0, Flags::RST, 77, 0),
            (Flags::FIN_ACK, 100, Flags::RST, 77, 0),
        ];
        for (flags, len, reply, seq, ack) in table {
            let transmit = closed(&segment(flags, len)).unwrap();
            assert_eq!(
                transmit.header,
                Header {
                    seq: SeqNum::new(seq),
                    ack: SeqNum::new(ack),
                    flags: reply,
                    ..Header::default()
                },
                "{flags:?}"
            );
            assert_eq!(transmit.kind, TransmitKind::Reset);
        }
        for bits in 0..=255 {
            let flags = Flags::from_bits(bits);
            assert_eq!(closed(&segment(flags, 5)).is_none(), flags.rst());
        }
    }

    #[test]
    fn closed__is_never_answered_by_itself() {
        for bits in 0..=255 {
            if let Some(reset) = closed(&segment(Flags::from_bits(bits), 5)) {
                assert!(closed(&Segment {
                    header: reset.header,
                    payload_len: 0,
                    ecn: Ecn::NotEct,
                })
                .is_none());
            }
        }
    }

    /// RFC 5961 section 7.
    #[test]
    fn permits__one_per_interval_also_across_the_wrap_of_the_ticks() {
        let config = Config::default();
        let ack = segment(Flags::ACK, 0);
        for start in [
            0,
            1,
            8191,
            536_870_000_000,
            536_870_912_000 - 1,
            u64::MAX - 1_000_000,
        ] {
            let mut limit = ReplyLimit::new();
            let mut permits = |after| {
                let now = Instant::from_micros(start + after);
                limit.permits(&Context::new(now, &config), &ack)
            };
            assert!(permits(0), "{start}");
            assert!(!permits(1_000));
            assert!(!permits(400_000));
            assert!(permits(520_000));
        }
        let config = Config {
            invalid_ratelimit: crate::time::Duration::ZERO,
            ..config
        };
        let mut limit = ReplyLimit::new();
        for _ in 0..5 {
            assert!(limit.permits(&Context::new(Instant::default(), &config), &ack));
        }
    }
}
