// SPDX-License-Identifier: GPL-2.0

//! The timer that waits for acknowledgments: a tail loss probe first (RFC 8985 section 7), then the retransmission timer (RFC
//! 6298).

use super::link::Link;
use super::recovery::{Mode, Probe};
use super::send::Sender;
use super::timers::{micros, TimerKind, Timers};
use crate::context::{Context, SocketOptions};
use crate::flight::FlightMemory;
use crate::rtt::INITIAL_RTO;
use crate::time::Duration;

/// Linux's TCP_TIMEOUT_MIN: what a coarse clock makes of the shortest time.
const LEAST: Duration = Duration::from_millis(2);

impl Sender {
    /// Starts the retransmission timer.
    pub(super) fn arm(&self, cx: &Context<'_>, timers: &mut Timers, options: &SocketOptions) {
        let mut delay = self.rto(cx.config);
        if let (Some(user), true) = (options.user_timeout, self.retransmits != 0) {
            // The user's timeout is kept to, not overslept (Linux's tcp_clamp_rto_to_user_timeout).
            let left = Duration::from_millis(u64::from(user.get())) - self.waited(cx);
            delay = delay.min(left.max(Duration::from_millis(1)));
        }
        timers.set(TimerKind::Retransmit, cx.now + delay);
    }

    /// Starts the retransmission timer for what was sent `first_at`.
    pub(super) fn arm_since(&self, cx: &Context<'_>, timers: &mut Timers, first_at: Option<u32>) {
        let left = self
            .timeout_left(cx, first_at)
            .max(Duration::from_millis(1));
        timers.set(TimerKind::Retransmit, cx.now + left);
    }

    /// What is left of the retransmission timeout of what was sent `first_at`.
    fn timeout_left(&self, cx: &Context<'_>, first_at: Option<u32>) -> Duration {
        let elapsed = first_at.map_or(0, |at| micros(cx).wrapping_sub(at));
        self.rto(cx.config) - Duration::from_micros(u64::from(elapsed))
    }

    /// Whether the tail may be probed: RFC 8985 section 7.2, "the connection supports SACK, is not in loss recovery, and
    /// has no probe in flight".
    fn may_probe(&self, link: &Link, probe: Option<Probe>) -> bool {
        link.sack() && matches!(self.mode, Mode::Open | Mode::Cwr) && probe.is_none()
    }

    /// TLP_calc_PTO() (RFC 8985 section 7.2).
    ///
    /// Deviation: RFC 8985 section 7.2 adds nothing to the two round trips where more than one segment is in flight. As in Linux it
    /// is 2 ms, the shortest time that a coarse clock can wait: on a path of microseconds the probe would overtake the
    /// acknowledgments.
    fn probe_timeout(&self, cx: &Context<'_>, link: &Link) -> Duration {
        let Some(srtt) = self.rtt.srtt() else {
            return INITIAL_RTO;
        };
        let more = match link.in_flight() <= self.segment_size(link, 0) {
            // The peer may hold its acknowledgment back.
            true => cx.config.rto_min,
            false => LEAST,
        };
        srtt.times(2) + more
    }

    /// The peer has acknowledged something (RFC 6298 rules 5.2 and 5.3): the timer begins anew, if anything is left.
    ///
    /// Deviation: RFC 6298 rule 5.3 lets the timeout begin with the acknowledgment. As in Linux (`tcp_rearm_rto`) it is counted from
    /// when the oldest in flight was sent, where the timer was a probe's or that for reordering: that long it has been waited already.
    ///
    /// Deviation: RFC 6582 section 3.2 step 3 has only the first partial acknowledgment of a recovery do so. As in Linux every one
    /// does, the "slow but steady" of the RFC's section 4: a timeout in a recovery that makes progress sends again what has arrived.
    pub(super) fn restart_timer(
        &self,
        cx: &Context<'_>,
        link: &Link,
        timers: &mut Timers,
        options: &SocketOptions,
        first_at: Option<u32>,
        probe: Option<Probe>,
    ) {
        if link.in_flight() == 0 {
            timers.clear_acknowledgment();
        } else if self.may_probe(link, probe) {
            let wait = self.probe_timeout(cx, link).min(self.rto(cx.config));
            timers.set(TimerKind::LossProbe, cx.now + wait);
        } else if matches!(
            timers.acknowledgment(),
            Some(TimerKind::LossProbe | TimerKind::Reorder)
        ) {
            self.arm_since(cx, timers, first_at);
        } else {
            self.arm(cx, timers, options);
        }
    }

    /// New data was sent, the oldest in flight `first_at`.
    pub(super) fn start_timer(
        &self,
        cx: &Context<'_>,
        link: &Link,
        timers: &mut Timers,
        options: &SocketOptions,
        first_at: Option<u32>,
        probe: Option<Probe>,
    ) {
        if self.may_probe(link, probe) {
            let mut wait = self.probe_timeout(cx, link);
            let left = self.timeout_left(cx, first_at);
            if !left.is_zero() {
                wait = wait.min(left);
            }
            timers.set(TimerKind::LossProbe, cx.now + wait);
        } else if timers.acknowledgment().is_none() {
            // RFC 6298 rule 5.1.
            self.arm(cx, timers, options);
        }
    }

    /// The probe timer has expired (RFC 8985 section 7.3). What is sent, `poll` decides.
    pub(super) fn on_probe_timer(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        timers: &mut Timers,
        memory: &mut dyn FlightMemory,
        options: &SocketOptions,
    ) {
        match self.flight(cx, link, memory, true) {
            Some(flight) if self.may_probe(link, flight.recovery.probe) => {
                flight.recovery.probe_due = true;
                self.arm(cx, timers, options);
            }
            Some(flight) => {
                let first_at = flight.records.get(0).map(|run| run.record.at);
                self.arm_since(cx, timers, first_at);
            }
            // Without memory the retransmission timer does it all.
            None => self.arm_since(cx, timers, self.outline.first_at()),
        }
    }
}
