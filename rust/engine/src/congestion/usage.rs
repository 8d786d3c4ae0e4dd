// SPDX-License-Identifier: GPL-2.0
//! How much of the window is used: one that is not says nothing about the path (RFC 7661).
//!
//! As Linux has it (`tcp_cwnd_validate`): the window grows only while it keeps the sender from sending, in slow start while half
//! of it is used; and when it has not been filled for as long as a retransmission timeout it comes down, halfway to
//! what is used. RFC 7661's pipeACK is [`Usage::most`].
//!
//! Deviation: RFC 7661 section 4 leaves a window that is not used alone for minutes, and cuts it when congestion shows. Linux still does
//! what RFC 2861 says, after one retransmission timeout: it costs a program that pauses a few round trips, and fills no queue.

use super::Window;
use crate::seq::SeqNum;
use crate::time::{Duration, Instant};

/// How much of the window has been used lately.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Usage {
    /// When this is acknowledged, the window counts as full no more unless it is once again.
    round: SeqNum,
    /// The most that was in flight since the window was full, or came down, and above it [`Usage::FULL`].
    most: u32,
    /// When the window was last full, or came down: milliseconds modulo 2^32.
    full_at: u32,
}

/// What stands behind a burst that was just sent, or that the window forbade.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Load {
    /// When.
    pub now: Instant,
    /// SND.UNA.
    pub una: SeqNum,
    /// SND.NXT, the burst included.
    pub nxt: SeqNum,
    /// SND.NXT - SND.UNA: what the window was needed for. No less than what is in the network.
    pub unacked: u32,
    /// The congestion window has no room for another segment.
    pub full: bool,
}

impl Usage {
    /// The window was full in this round. No window is so large ([`super::MAX_CWND`]).
    const FULL: u32 = 1 << 31;

    /// Nothing is in flight at `una`.
    pub fn new(now: Instant, una: SeqNum) -> Self {
        Usage {
            round: una,
            most: 0,
            full_at: millis(now),
        }
    }

    /// Something was sent, or could not be because of the window.
    pub fn on_load(&mut self, load: &Load) {
        let unacked = load.unacked.min(Usage::FULL.saturating_sub(1));
        if load.full {
            self.round = load.nxt;
            self.full_at = millis(load.now);
            self.most = unacked | Usage::FULL;
            return;
        }
        if load.una.after_eq(self.round) {
            self.round = load.nxt;
            self.most = self.most();
        }
        let flag = self.most & Usage::FULL;
        self.most = self.most().max(unacked) | flag;
    }

    /// The most that was in flight since the window was last full.
    pub fn most(&self) -> u32 {
        self.most & !Usage::FULL
    }

    /// Whether the window was full in this round.
    pub fn is_full(&self) -> bool {
        self.most & Usage::FULL != 0
    }

    /// Whether the window is what limits the sender, so that it may grow.
    pub fn is_limited(&self, window: &Window) -> bool {
        if self.is_full() {
            return true;
        }
        // So that slow start comes to twice of what was used.
        window.in_slow_start() && window.cwnd < self.most().saturating_mul(2)
    }

    /// To be called after [`on_load`](Usage::on_load), outside of recovery: a window that was not full for `rto` comes down halfway to
    /// what was used, or to `initial` bytes (RFC 2861 section 3). ssthresh remembers three quarters of it.
    pub fn validate(&mut self, window: &mut Window, now: Instant, rto: Duration, initial: u32) {
        if self.is_limited(window) {
            self.full_at = millis(now);
            return;
        }
        let elapsed = Duration::from_millis(u64::from(millis(now).wrapping_sub(self.full_at)));
        if elapsed < rto {
            return;
        }
        let used = self.most().max(initial);
        if used < window.cwnd {
            window.remember();
            // The mean, without overflow.
            let excess = window.cwnd.saturating_sub(used);
            window.cwnd = window.cwnd.saturating_sub(excess / 2);
        }
        self.begin(now);
    }

    /// The sender was idle for `idle`: the window is halved for every timeout of it, down to `restart` bytes. ssthresh remembers
    /// three quarters of what it was.
    ///
    /// Deviation: RFC 5681 section 4.1 has it fall to the restart window after one timeout. RFC 2861 and Linux's `tcp_cwnd_restart` let
    /// it decay: what the path carried a second ago it most likely carries still.
    pub fn restart(
        &mut self,
        window: &mut Window,
        now: Instant,
        idle: Duration,
        rto: Duration,
        restart: u32,
    ) {
        if idle <= rto || rto.is_zero() {
            return;
        }
        window.remember();
        let restart = restart.clamp(1, window.cwnd.max(1));
        let mut left = idle - rto;
        while !left.is_zero() && window.cwnd > restart {
            window.cwnd >>= 1;
            left = left - rto;
        }
        window.cwnd = window.cwnd.max(restart);
        self.begin(now);
    }

    fn begin(&mut self, now: Instant) {
        self.most &= Usage::FULL;
        self.full_at = millis(now);
    }
}

fn millis(now: Instant) -> u32 {
    now.timestamp_ms(0)
}

#[cfg(test)]
mod tests {
    use super::super::tests::MSS;
    use super::*;

    const RTO: Duration = Duration::from_millis(300);

    /// `in_flight` segments from `una` on, at `millis`.
    fn load(at: u64, una: u32, in_flight: u32, full: bool) -> Load {
        Load {
            now: Instant::from_millis(at),
            una: SeqNum::new(una * MSS),
            nxt: SeqNum::new((una + in_flight) * MSS),
            unacked: in_flight * MSS,
            full,
        }
    }

    fn window(cwnd: u32, ssthresh: u32) -> Window {
        Window {
            cwnd: cwnd * MSS,
            ssthresh: ssthresh.saturating_mul(MSS),
        }
    }

    /// Nine of ten are used: slow start goes on to eighteen.
    #[test]
    fn is_limited__in_slow_start_half_is_enough() {
        let mut usage = Usage::new(Instant::default(), SeqNum::new(0));
        for sent in 1..=9 {
            usage.on_load(&load(0, 0, sent, false));
        }
        assert_eq!(usage.most(), 9 * MSS);
        assert!(usage.is_limited(&window(17, u32::MAX)));
        assert!(!usage.is_limited(&window(18, u32::MAX)));
        // In congestion avoidance it is to be full.
        assert!(!usage.is_limited(&window(10, 10)));
    }

    #[test]
    fn is_limited__a_round_after_it_was_full() {
        let mut usage = Usage::new(Instant::default(), SeqNum::new(0));
        usage.on_load(&load(0, 0, 10, true));
        assert!(usage.is_limited(&window(10, 10)));
        // Of the same round: one segment is sent after five were acknowledged.
        usage.on_load(&load(1, 5, 6, false));
        assert!(usage.is_limited(&window(10, 10)));
        // What was in flight then is acknowledged.
        usage.on_load(&load(2, 10, 3, false));
        assert!(!usage.is_limited(&window(10, 10)));
    }

    /// RFC 2861 section 3, where RFC 7661 section 4 waits for minutes.
    #[test]
    fn validate__comes_down_halfway_to_what_is_used() {
        let mut usage = Usage::new(Instant::default(), SeqNum::new(0));
        let mut wide = window(100, 50);
        usage.on_load(&load(299, 0, 40, false));
        usage.validate(&mut wide, Instant::from_millis(299), RTO, 10 * MSS);
        assert_eq!(wide, window(100, 50));
        usage.validate(&mut wide, Instant::from_millis(300), RTO, 10 * MSS);
        assert_eq!(wide, window(70, 75));
        // Not at once again, and then by the use since.
        usage.on_load(&load(400, 40, 2, false));
        usage.validate(&mut wide, Instant::from_millis(400), RTO, 10 * MSS);
        assert_eq!(wide, window(70, 75));
        usage.validate(&mut wide, Instant::from_millis(600), RTO, 10 * MSS);
        assert_eq!(wide, window(40, 75));
        // Down to the initial window.
        for round in 3..30 {
            usage.validate(&mut wide, Instant::from_millis(300 * round), RTO, 10 * MSS);
        }
        assert!(wide.cwnd >= 10 * MSS && wide.cwnd <= 10 * MSS + 1);
        // A window that is full stays.
        let mut full = window(100, 50);
        usage.on_load(&load(60_000, 50, 100, true));
        for later in [60_000, 70_000] {
            usage.validate(&mut full, Instant::from_millis(later), RTO, 10 * MSS);
            assert_eq!(full, window(100, 50));
        }
    }

    /// RFC 2861 section 3, where RFC 5681 section 4.1 falls at once.
    #[test]
    fn restart__halves_per_timeout() {
        let second = Duration::from_secs(1);
        let now = Instant::from_secs(100);
        for (idle, cwnd) in [
            (0, 64_000),
            (1, 64_000),
            (2, 32_000),
            (3, 16_000),
            (9, 14_600),
        ] {
            let mut usage = Usage::new(Instant::default(), SeqNum::new(0));
            let mut window = window(64, 20);
            usage.restart(&mut window, now, Duration::from_secs(idle), second, 14_600);
            assert_eq!(window.cwnd, cwnd, "idle {idle}");
        }
        let mut usage = Usage::new(Instant::default(), SeqNum::new(0));
        // Smaller already.
        let mut small = window(5, 20);
        usage.restart(&mut small, now, Duration::MAX, second, 14_600);
        assert_eq!(small, window(5, 20));
        let mut wide = window(64, 20);
        let micro = Duration::from_micros(1);
        usage.restart(&mut wide, now, Duration::MAX, micro, 14_600);
        assert_eq!((wide.cwnd, wide.ssthresh), (14_600, 48_000));
        // It counts as used from now on.
        usage.validate(&mut wide, now + RTO - micro, RTO, MSS);
        assert_eq!(wide.cwnd, 14_600);
    }
}
