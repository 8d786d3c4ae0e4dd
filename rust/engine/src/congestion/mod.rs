// SPDX-License-Identifier: GPL-2.0
//! Congestion control: how much may be in flight (RFC 5681).
//!
//! Recovery decides *that* something was lost and what to send again; a controller only decides how
//! large the window is. So a new controller is one file here and one variant of [`Controller`].

mod cubic;
mod hystart;
mod newreno;
mod usage;

pub use cubic::Cubic;
pub use newreno::NewReno;
pub use usage::{Load, Usage};

use crate::rate::Rate;
use crate::seq::SeqNum;
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

    /// The window is about to come down because it was not used, which is no congestion: slow start may bring it back to
    /// three quarters of what it was, at least (RFC 2861 section 3, Linux's `tcp_current_ssthresh`).
    pub(crate) fn remember(&mut self) {
        let quarters = (self.cwnd >> 1).saturating_add(self.cwnd >> 2);
        self.ssthresh = self.ssthresh.max(quarters);
    }

    /// A reduction was needless: at least what was `before` it.
    fn restore(&mut self, before: &Window) {
        self.cwnd = self.cwnd.max(before.cwnd);
        self.ssthresh = self.ssthresh.max(before.ssthresh);
    }

    /// Slow start: grows by what was acknowledged, up to ssthresh (RFC 5681 section 3.1, equation 2). Returns what is left for
    /// congestion avoidance. Counting bytes alone takes ACK division its profit.
    ///
    /// Deviation: RFC 5681 section 3.1 lets one acknowledgment add a segment, RFC 3465 section 2.3 two. As in Linux there is no bound:
    /// with GRO one acknowledgment stands for up to 64 KB, and slow start would be linear.
    fn slow_start(&mut self, acked: u32) -> u32 {
        let before = self.cwnd;
        self.cwnd = before
            .saturating_add(acked)
            .min(self.ssthresh)
            .clamp(before, MAX_CWND.max(before));
        acked.saturating_sub(self.cwnd.saturating_sub(before))
    }
}

/// Bytes acknowledged in congestion avoidance and not yet turned into growth.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
struct Credit(u32);

impl Credit {
    /// The window grows by a segment for every `need` bytes acknowledged.
    fn spend(&mut self, window: &mut Window, acked: u32, need: u32, mss: u32) {
        let need = need.max(1);
        let mut segments = 0;
        if self.0 >= need {
            // What was saved while more was needed is not to become a burst now (Linux's tcp_cong_avoid_ai).
            self.0 = 0;
            segments = 1;
        }
        self.0 = self.0.saturating_add(acked);
        let more = self.0.checked_div(need).unwrap_or(0);
        self.0 = self.0.saturating_sub(more.saturating_mul(need));
        let growth = mss.saturating_mul(more.saturating_add(segments));
        window.cwnd = window
            .cwnd
            .saturating_add(growth)
            .min(MAX_CWND.max(window.cwnd));
    }
}

/// What one acknowledgment told: all that a controller may want to know, whichever it is.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Ack {
    /// When it came.
    pub now: Instant,
    /// SND.UNA, this acknowledgment included.
    pub una: SeqNum,
    /// SND.NXT. A round is over when SND.UNA has passed what SND.NXT was at its beginning.
    pub nxt: SeqNum,
    /// Bytes newly acknowledged in sequence; many segments when the receiver or GRO aggregated.
    pub acked: u32,
    /// Bytes newly known to have arrived, in sequence or by SACK.
    pub delivered: u32,
    /// Bytes newly found lost.
    pub lost: u32,
    /// Bytes in the network before this acknowledgment came.
    pub in_flight: u32,
    /// Payload bytes per segment.
    pub mss: u16,
    /// The round trip that this acknowledgment measured.
    pub rtt: Option<Duration>,
    /// The smoothed round trip, this one included.
    pub srtt: Option<Duration>,
    /// The smallest round trip of the connection, this one included.
    pub min_rtt: Option<Duration>,
    /// Segments are sent with the gaps of a pacing rate.
    pub paced: bool,
    /// Whether the window was what kept the sender from sending more (RFC 7661). If not, it does not grow.
    pub cwnd_limited: bool,
    /// Fast recovery goes on: the window is its own (RFC 9937), and a controller only watches.
    pub in_recovery: bool,
    /// The peer says that it has seen congestion marks (RFC 3168).
    pub ece: bool,
    /// The rate at which the path delivered, if this acknowledgment is a sample of it.
    pub rate: Option<Rate>,
}

/// What is known when the path proves congested.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Congestion {
    /// When it was found.
    pub now: Instant,
    /// FlightSize: bytes sent and not acknowledged.
    pub in_flight: u32,
    /// Payload bytes per segment.
    pub mss: u16,
    /// How it was found.
    pub cause: Cause,
}

/// By what HyStart sees that a path is full.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Sign {
    /// The acknowledgments of a round came for half of a round trip without a gap.
    Train,
    /// The round trip has grown.
    Delay,
}

/// What tells of congestion.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cause {
    /// A segment was lost.
    Loss,
    /// The peer has seen congestion marks (RFC 3168).
    Ecn,
}

/// A congestion controller.
///
/// It is called in the order in which things happen. All arithmetic saturates: no input makes it panic or `cwnd` zero.
pub trait CongestionControl {
    /// An acknowledgment told something new: lets `window` grow, outside of recovery. By what sign it has ended slow start, if so.
    fn on_ack(&mut self, window: &mut Window, ack: &Ack) -> Option<Sign>;

    /// The path is congested: lowers ssthresh. Called once per window of data. Lowering cwnd to it is the caller's, at
    /// once or in steps (RFC 9937).
    fn on_congestion(&mut self, window: &mut Window, congestion: &Congestion);

    /// The retransmission timer expired: cwnd falls to one segment. ssthresh is lowered if `first`: if the same segment has
    /// not timed out before, and no recovery has lowered it for the same loss.
    fn on_timeout(&mut self, window: &mut Window, congestion: &Congestion, first: bool);

    /// The last reduction was needless: nothing had been lost. `before` is the window before it, and `was` the algorithm's state then.
    fn on_undo(&mut self, window: &mut Window, before: &Window, _was: &Self)
    where
        Self: Sized,
    {
        window.restore(before);
    }

    /// Data goes out after nothing was in flight, `idle` after the last was sent.
    fn on_idle(&mut self, _now: Instant, _idle: Duration) {}
}

/// The controller of one connection.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Controller {
    /// RFC 9438.
    Cubic(Cubic),
    /// RFC 5681 and RFC 6582.
    NewReno(NewReno),
}

impl Controller {
    /// The controller that `algorithm` names, at the beginning of a connection.
    pub fn new(algorithm: Algorithm) -> Self {
        match algorithm {
            Algorithm::Cubic => Controller::Cubic(Cubic::default()),
            Algorithm::NewReno => Controller::NewReno(NewReno::default()),
        }
    }

    /// Which one it is.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            Controller::Cubic(_) => Algorithm::Cubic,
            Controller::NewReno(_) => Algorithm::NewReno,
        }
    }
}

/// The controllers that there are.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Algorithm {
    /// The default, as in Linux.
    #[default]
    Cubic,
    /// The reference.
    NewReno,
}

impl Algorithm {
    /// Every algorithm, in the order of Linux's `tcp_available_congestion_control`.
    pub const ALL: [Algorithm; 2] = [Algorithm::NewReno, Algorithm::Cubic];

    /// The name that TCP_CONGESTION and `congestion_control` know it by, as in Linux.
    pub const fn name(self) -> &'static str {
        match self {
            Algorithm::Cubic => "cubic",
            Algorithm::NewReno => "reno",
        }
    }

    /// The algorithm of that name.
    pub fn from_name(name: &[u8]) -> Option<Self> {
        Algorithm::ALL
            .into_iter()
            .find(|algorithm| algorithm.name().as_bytes() == name)
    }
}

impl CongestionControl for Controller {
    fn on_ack(&mut self, window: &mut Window, ack: &Ack) -> Option<Sign> {
        match self {
            Controller::Cubic(control) => control.on_ack(window, ack),
            Controller::NewReno(control) => control.on_ack(window, ack),
        }
    }

    fn on_congestion(&mut self, window: &mut Window, congestion: &Congestion) {
        match self {
            Controller::Cubic(control) => control.on_congestion(window, congestion),
            Controller::NewReno(control) => control.on_congestion(window, congestion),
        }
    }

    fn on_timeout(&mut self, window: &mut Window, congestion: &Congestion, first: bool) {
        match self {
            Controller::Cubic(control) => control.on_timeout(window, congestion, first),
            Controller::NewReno(control) => control.on_timeout(window, congestion, first),
        }
    }

    fn on_undo(&mut self, window: &mut Window, before: &Window, was: &Self) {
        match (self, was) {
            (Controller::Cubic(control), Controller::Cubic(was)) => {
                control.on_undo(window, before, was);
            }
            (Controller::NewReno(control), Controller::NewReno(was)) => {
                control.on_undo(window, before, was);
            }
            // The user has chosen another one meanwhile.
            _ => window.restore(before),
        }
    }

    fn on_idle(&mut self, now: Instant, idle: Duration) {
        match self {
            Controller::Cubic(control) => control.on_idle(now, idle),
            Controller::NewReno(control) => control.on_idle(now, idle),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) const MSS: u32 = 1000;

    /// `bytes` are acknowledged, and the window was full.
    pub(super) fn ack(bytes: u32) -> Ack {
        Ack {
            now: Instant::default(),
            una: SeqNum::new(bytes),
            nxt: SeqNum::new(bytes),
            acked: bytes,
            delivered: bytes,
            lost: 0,
            in_flight: bytes,
            mss: MSS as u16,
            rtt: None,
            srtt: None,
            min_rtt: None,
            paced: false,
            cwnd_limited: true,
            in_recovery: false,
            ece: false,
            rate: None,
        }
    }

    /// A loss with `in_flight` bytes in flight.
    pub(super) fn loss(in_flight: u32) -> Congestion {
        Congestion {
            now: Instant::default(),
            in_flight,
            mss: MSS as u16,
            cause: Cause::Loss,
        }
    }

    #[test]
    fn initial__is_never_nothing() {
        assert_eq!(Window::initial(1460, 10).cwnd, 14600);
        assert_eq!(Window::initial(1460, 0).cwnd, 1460);
        assert_eq!(Window::initial(u16::MAX, u32::MAX).cwnd, MAX_CWND);
    }
}
