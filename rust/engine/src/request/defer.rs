// SPDX-License-Identifier: GPL-2.0

//! TCP_DEFER_ACCEPT: the ACK that completes the handshake is not enough for a connection, data must have come.

use super::{Agreed, Request, RequestTimer, SENT_AND_ACKED};
use crate::context::Context;
use crate::segment::Segment;

/// The longest that [`seconds`] and [`retransmissions`] count with for one step (Linux's TCP_RTO_MAX).
const LONGEST: u32 = 120;

/// The number of SYN-ACKs' timeouts that so many seconds of TCP_DEFER_ACCEPT stand for: 1 s, 2 s, 4 s ... up to 120 s, rounded up
/// (Linux's secs_to_retrans).
pub fn retransmissions(seconds: u32) -> u8 {
    let (mut times, mut step, mut period) = (0u8, 1u32, 0u32);
    while period < seconds && times < u8::MAX {
        times = times.saturating_add(1);
        period = period.saturating_add(step);
        step = step.saturating_mul(2).min(LONGEST);
    }
    times
}

/// The seconds that so many timeouts take (Linux's retrans_to_secs).
pub fn seconds(times: u8) -> u32 {
    let (mut step, mut period) = (1u32, 0u32);
    for _ in 0..times {
        period = period.saturating_add(step);
        step = step.saturating_mul(2).min(LONGEST);
    }
    period
}

impl Request {
    /// Whether `segment`, for which the verdict was [`Complete`](super::RequestVerdict::Complete), makes no connection yet: it has
    /// neither data nor a FIN, and fewer than `times` of the SYN-ACK's timeouts have passed. The peer believes that the connection
    /// is there. The caller drops the segment (Linux's tcp_check_req).
    pub fn defers(&mut self, segment: &Segment, times: u8) -> bool {
        let bare = segment.end() == self.rcv_nxt();
        if !bare || self.agreed.resent() >= times.min(Agreed::MOST_RESENT) {
            return false;
        }
        self.sent = SENT_AND_ACKED;
        true
    }

    /// As [`on_timer`](Request::on_timer), where data is waited for during `times` timeouts: the SYN-ACK is not sent again until
    /// that is nearly over, when its acknowledgment is wanted once more, to make a connection of (Linux's syn_ack_recalc).
    pub fn on_timer_deferring(&mut self, cx: &Context<'_>, times: u8) -> RequestTimer {
        let acked = self.is_acked();
        let times = times.min(Agreed::MOST_RESENT);
        let most = cx.config.synack_retries.min(Agreed::MOST_RESENT);
        let passed = self.agreed.resent();
        if passed >= most && !(acked && passed < times) {
            return RequestTimer::Expire;
        }
        self.agreed.count_resent();
        self.forget_sent();
        if acked && passed < times.saturating_sub(1) {
            return RequestTimer::Wait;
        }
        RequestTimer::Resend(self.syn_ack(cx))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Config;
    use crate::request::{RequestOpen, RequestVerdict};
    use crate::seq::SeqNum;
    use crate::time::Instant;
    use crate::wire::{Flags, Header};

    fn cx(config: &Config) -> Context<'_> {
        Context::new(Instant::from_secs(1000), config)
    }

    fn segment(flags: Flags, seq: u32, ack: u32, payload_len: u32) -> Segment {
        Segment {
            header: Header {
                seq: SeqNum::new(seq),
                ack: SeqNum::new(ack),
                flags,
                window: 1000,
                ..Header::default()
            },
            payload_len,
            ecn: Default::default(),
        }
    }

    fn request(config: &Config) -> Request {
        let open = RequestOpen {
            iss: SeqNum::new(500),
            ts_offset: 0,
            advertised_mss: 1460,
            recv_space: 60_000,
            recv_limit: 60_000,
            signature: crate::wire::Signature::NONE,
        };
        Request::new(&cx(config), &segment(Flags::SYN, 100, 0, 0), &open)
    }

    fn defers(request: &mut Request, config: &Config, segment: Segment, times: u8) -> bool {
        let verdict = request.on_segment(&cx(config), &segment);
        assert!(matches!(verdict, RequestVerdict::Complete));
        request.defers(&segment, times)
    }

    const BARE: (Flags, u32, u32, u32) = (Flags::ACK, 101, 501, 0);

    fn bare() -> Segment {
        segment(BARE.0, BARE.1, BARE.2, BARE.3)
    }

    #[test]
    fn seconds__are_timeouts() {
        for (wanted, times, given) in [
            (0, 0, 0),
            (1, 1, 1),
            (2, 2, 3),
            (3, 2, 3),
            (4, 3, 7),
            (30, 5, 31),
            (128, 8, 247),
        ] {
            assert_eq!(retransmissions(wanted), times, "{wanted}");
            assert_eq!(seconds(times), given, "{times}");
        }
        assert_eq!(retransmissions(u32::MAX), 255);
    }

    #[test]
    fn defers__a_bare_ack_and_nothing_else() {
        let config = Config::default();
        let mut it = request(&config);
        assert!(!defers(&mut it, &config, bare(), 0), "not asked for");
        assert!(defers(&mut it, &config, bare(), 3));
        assert!(defers(&mut it, &config, bare(), 3));
        let data = segment(Flags::ACK, 101, 501, 1);
        assert!(!defers(&mut it, &config, data, 3));
        let fin = segment(Flags::FIN_ACK, 101, 501, 0);
        assert!(!defers(&mut it, &config, fin, 3));
    }

    /// The SYN-ACK goes again when the wait is nearly over, and its ACK makes the connection.
    #[test]
    fn on_timer__is_silent_while_data_is_waited_for() {
        let config = Config::default();
        let mut it = request(&config);
        let timer = |it: &mut Request| it.on_timer_deferring(&cx(&config), 3);
        assert!(defers(&mut it, &config, bare(), 3));
        assert!(matches!(timer(&mut it), RequestTimer::Wait));
        assert!(matches!(timer(&mut it), RequestTimer::Wait));
        assert!(defers(&mut it, &config, bare(), 3));
        assert!(matches!(timer(&mut it), RequestTimer::Resend(_)));
        assert!(!defers(&mut it, &config, bare(), 3));
        assert_eq!(it.resent(), 0, "nothing was lost");
    }

    /// Without any ACK it is as ever; with one the wait may be longer than that.
    #[test]
    fn on_timer__ends_the_request() {
        let config = Config {
            synack_retries: 2,
            ..Config::default()
        };
        let mut it = request(&config);
        let mut other = request(&config);
        assert!(defers(&mut other, &config, bare(), 5));
        for n in 0..5 {
            let silent = it.on_timer_deferring(&cx(&config), 5);
            assert_eq!(matches!(silent, RequestTimer::Expire), n >= 2, "{n}");
            let waits = other.on_timer_deferring(&cx(&config), 5);
            assert_eq!(matches!(waits, RequestTimer::Wait), n < 4, "{n}");
        }
        let over = other.on_timer_deferring(&cx(&config), 5);
        assert!(matches!(over, RequestTimer::Expire));
    }
}
