// SPDX-License-Identifier: GPL-2.0
//! Congestion control: how much may be in flight (RFC 5681).
//!
//! Recovery decides *that* something was lost and what to send again; a controller only decides how
//! large the window is. So a new controller is one file here and one variant of [`Controller`].

mod newreno;

pub use newreno::NewReno;

use crate::time::{Duration, Instant};

/// No window is larger than RFC 7323's largest receive window.
const MAX_CWND: u32 = 1 << 30;

/// The two variables that RFC 5681 keeps, in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Window {
    /// Congestion window.
    pub cwnd: u32,
    /// Slow start threshold; `u32::MAX` until something was lost.
    pub ssthresh: u32,
}

impl Window {
    /// `segments` segments of `mss` bytes (RFC 6928: ten; RFC 5681 section 3.1: one after a lost SYN).
    pub fn initial(mss: u16, segments: u32) -> Self {
        Window {
            cwnd: u32::from(mss).saturating_mul(segments.max(1)).min(MAX_CWND),
            ssthresh: u32::MAX,
        }
    }

    /// Whether the window grows by slow start (RFC 5681 section 3.1).
    pub fn in_slow_start(&self) -> bool {
        self.cwnd < self.ssthresh
    }
}

/// What one acknowledgment of new data told.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack {
    /// When it came.
    pub now: Instant,
    /// Bytes newly acknowledged; many segments when the receiver or GRO aggregated.
    pub acked: u32,
    /// Payload bytes per segment.
    pub mss: u16,
    /// The smoothed round trip, once known.
    pub srtt: Option<Duration>,
    /// Whether the window was what kept the sender from sending more (RFC 7661). If not, it does not grow.
    pub cwnd_limited: bool,
}

/// What is known when a loss is found.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Loss {
    /// When it was found.
    pub now: Instant,
    /// FlightSize: bytes sent and not acknowledged.
    pub in_flight: u32,
    /// Payload bytes per segment.
    pub mss: u16,
}

/// A congestion controller.
pub trait CongestionControl {
    /// New data was acknowledged outside of recovery: lets `window` grow.
    fn on_ack(&mut self, window: &mut Window, ack: &Ack);

    /// A loss was found by duplicate acknowledgments: sets ssthresh, and cwnd to it. Called once per window.
    fn on_loss(&mut self, window: &mut Window, loss: &Loss);

    /// The retransmission timer expired. `first` is false when the same segment timed out before.
    fn on_timeout(&mut self, window: &mut Window, loss: &Loss, first: bool);
}

/// The controller of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Controller {
    /// RFC 5681 and RFC 6582.
    NewReno(NewReno),
}

impl Default for Controller {
    fn default() -> Self {
        Controller::NewReno(NewReno::default())
    }
}

impl CongestionControl for Controller {
    fn on_ack(&mut self, window: &mut Window, ack: &Ack) {
        match self {
            Controller::NewReno(control) => control.on_ack(window, ack),
        }
    }

    fn on_loss(&mut self, window: &mut Window, loss: &Loss) {
        match self {
            Controller::NewReno(control) => control.on_loss(window, loss),
        }
    }

    fn on_timeout(&mut self, window: &mut Window, loss: &Loss, first: bool) {
        match self {
            Controller::NewReno(control) => control.on_timeout(window, loss, first),
        }
    }
}

/// The sender was idle for `idle`: the window is halved for every timeout of it, down to `restart` bytes (RFC 5681
/// section 4.1 has it fall at once; RFC 2861 and Linux's `tcp_cwnd_restart` let it decay). ssthresh
/// remembers three quarters of what it was.
pub fn restart_after_idle(window: &mut Window, idle: Duration, rto: Duration, restart: u32) {
    if idle <= rto || rto.is_zero() {
        return;
    }
    let restart = restart.min(window.cwnd);
    window.ssthresh = window
        .ssthresh
        .max((window.cwnd >> 1).saturating_add(window.cwnd >> 2));
    let mut left = idle - rto;
    while !left.is_zero() && window.cwnd > restart {
        window.cwnd >>= 1;
        left = left - rto;
    }
    window.cwnd = window.cwnd.max(restart);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn initial__is_never_nothing() {
        assert_eq!(Window::initial(1460, 10).cwnd, 14600);
        assert_eq!(Window::initial(1460, 0).cwnd, 1460);
        assert_eq!(Window::initial(u16::MAX, u32::MAX).cwnd, MAX_CWND);
    }

    #[test]
    fn restart_after_idle__halves_per_timeout() {
        let second = Duration::from_secs(1);
        for (idle, cwnd) in [
            (0, 64_000),
            (1, 64_000),
            (2, 32_000),
            (3, 16_000),
            (9, 14_600),
        ] {
            let mut window = Window {
                cwnd: 64_000,
                ssthresh: 20_000,
            };
            restart_after_idle(&mut window, Duration::from_secs(idle), second, 14_600);
            assert_eq!(window.cwnd, cwnd, "idle {idle}");
        }
        let mut window = Window {
            cwnd: 5_000,
            ssthresh: 20_000,
        };
        restart_after_idle(&mut window, Duration::MAX, second, 14_600);
        assert_eq!(
            window,
            Window {
                cwnd: 5_000,
                ssthresh: 20_000
            }
        );
        let mut window = Window {
            cwnd: 64_000,
            ssthresh: 20_000,
        };
        restart_after_idle(&mut window, Duration::MAX, Duration::from_micros(1), 14_600);
        assert_eq!(
            window,
            Window {
                cwnd: 14_600,
                ssthresh: 48_000
            }
        );
    }
}
