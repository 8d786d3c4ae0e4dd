// SPDX-License-Identifier: GPL-2.0
//! NewReno, the reference controller (RFC 5681; its recovery, RFC 6582, is the connection's).

use super::{Ack, Congestion, CongestionControl, Credit, Sign, Window};

/// Slow start and congestion avoidance, counted in bytes (RFC 3465), so that an acknowledgment of
/// many segments counts as what it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct NewReno {
    credit: Credit,
}

impl CongestionControl for NewReno {
    fn on_ack(&mut self, window: &mut Window, ack: &Ack) -> Option<Sign> {
        if !ack.cwnd_limited || ack.in_recovery {
            return None;
        }
        let acked = match window.in_slow_start() {
            true => window.slow_start(ack.delivered),
            false => ack.delivered,
        };
        if acked != 0 {
            // RFC 5681 section 3.1, the recommended way: one segment for every full window acknowledged.
            let mss = u32::from(ack.mss.max(1));
            let need = window.cwnd.max(mss);
            self.credit.spend(window, acked, need, mss);
        }
        None
    }

    fn on_congestion(&mut self, window: &mut Window, congestion: &Congestion) {
        window.ssthresh = half(congestion);
        self.credit = Credit::default();
    }

    fn on_timeout(&mut self, window: &mut Window, congestion: &Congestion, first: bool) {
        // RFC 5681 section 3.1: "when a TCP sender detects segment loss using the retransmission timer and
        // the given segment has already been retransmitted [...] at least once, the value of ssthresh is held
        // constant".
        if first {
            window.ssthresh = half(congestion);
        }
        // The loss window, one segment.
        window.cwnd = u32::from(congestion.mss).max(1);
        self.credit = Credit::default();
    }
}

/// RFC 5681 equation 4: ssthresh = max(FlightSize / 2, 2 * SMSS).
fn half(congestion: &Congestion) -> u32 {
    (congestion.in_flight / 2).max(u32::from(congestion.mss).saturating_mul(2))
}

#[cfg(test)]
mod tests {
    use super::super::tests::{ack, loss, MSS};
    use super::super::MAX_CWND;
    use super::*;

    /// RFC 5681 section 3.1, equation 2, but for its bound.
    #[test]
    fn on_ack__slow_start_doubles_per_round_trip() {
        for per_ack in [MSS, 2 * MSS, 10 * MSS] {
            let mut window = Window::initial(MSS as u16, 10);
            let mut control = NewReno::default();
            for _ in 0..10 * MSS / per_ack {
                control.on_ack(&mut window, &ack(per_ack));
            }
            assert_eq!(window.cwnd, 20 * MSS);
        }
    }

    /// RFC 5681 section 3.1.
    #[test]
    fn on_ack__avoidance_adds_a_segment_per_round_trip() {
        for per_ack in [1, 999, MSS, 2 * MSS, 10 * MSS] {
            let mut window = Window {
                cwnd: 10 * MSS,
                ssthresh: 10 * MSS,
            };
            let mut control = NewReno::default();
            let mut left = 10 * MSS;
            while left > 0 {
                control.on_ack(&mut window, &ack(per_ack.min(left)));
                left = left.saturating_sub(per_ack);
            }
            assert_eq!(window.cwnd, 11 * MSS, "{per_ack} bytes per acknowledgment");
        }
    }

    #[test]
    fn on_ack__slow_start_ends_at_ssthresh() {
        let mut window = Window {
            cwnd: 10 * MSS,
            ssthresh: 12 * MSS,
        };
        let mut control = NewReno::default();
        control.on_ack(&mut window, &ack(10 * MSS));
        assert_eq!(window.cwnd, 12 * MSS);
        control.on_ack(&mut window, &ack(4 * MSS));
        assert_eq!(window.cwnd, 13 * MSS);
    }

    #[test]
    fn on_ack__an_unused_window_does_not_grow() {
        let mut window = Window::initial(MSS as u16, 10);
        NewReno::default().on_ack(
            &mut window,
            &Ack {
                cwnd_limited: false,
                ..ack(5 * MSS)
            },
        );
        assert_eq!(window.cwnd, 10 * MSS);
    }

    #[test]
    fn on_ack__never_beyond_the_largest_window() {
        let mut window = Window::initial(u16::MAX, 10);
        let mut control = NewReno::default();
        for _ in 0..100 {
            control.on_ack(&mut window, &ack(u32::MAX));
        }
        assert_eq!(window.cwnd, MAX_CWND);
    }

    #[test]
    fn on_congestion__halves_the_flight() {
        let mut window = Window {
            cwnd: 40 * MSS,
            ssthresh: u32::MAX,
        };
        let mut control = NewReno::default();
        control.on_congestion(&mut window, &loss(30 * MSS));
        // cwnd follows in recovery.
        assert_eq!(window.cwnd, 40 * MSS);
        assert_eq!(window.ssthresh, 15 * MSS);
        control.on_congestion(&mut window, &loss(MSS));
        assert_eq!(window.ssthresh, 2 * MSS);
    }

    #[test]
    fn on_ack__in_recovery_the_window_is_not_ours() {
        let mut window = Window::initial(MSS as u16, 10);
        NewReno::default().on_ack(
            &mut window,
            &Ack {
                in_recovery: true,
                ..ack(5 * MSS)
            },
        );
        assert_eq!(window.cwnd, 10 * MSS);
    }

    #[test]
    fn on_undo__never_lowers() {
        let before = Window {
            cwnd: 40 * MSS,
            ssthresh: u32::MAX,
        };
        let mut window = before;
        let mut control = NewReno::default();
        control.on_congestion(&mut window, &loss(40 * MSS));
        window.cwnd = window.ssthresh;
        let was = control;
        control.on_undo(&mut window, &before, &was);
        assert_eq!(window, before);
        window.cwnd = 50 * MSS;
        control.on_undo(&mut window, &before, &was);
        assert_eq!(window.cwnd, 50 * MSS);
    }

    /// RFC 5681 section 3.1.
    #[test]
    fn on_timeout__one_segment_and_ssthresh_once() {
        let mut window = Window {
            cwnd: 40 * MSS,
            ssthresh: u32::MAX,
        };
        let mut control = NewReno::default();
        control.on_timeout(&mut window, &loss(40 * MSS), true);
        assert_eq!(
            window,
            Window {
                cwnd: MSS,
                ssthresh: 20 * MSS
            }
        );
        control.on_timeout(&mut window, &loss(MSS), false);
        assert_eq!(
            window,
            Window {
                cwnd: MSS,
                ssthresh: 20 * MSS
            }
        );
    }
}
