// SPDX-License-Identifier: GPL-2.0

//! What happens when a timer expires.

use super::event::Error;
use super::link::Owed;
use super::phase::{Parts, Phase};
use super::state::{Input, State};
use super::timers::TimerKind;
use super::Connection;
use crate::context::{Config, Context};
use crate::flight::FlightMemory;
use crate::happening::Happening;
use crate::rtt::INITIAL_RTO;
use crate::time::Duration;

/// Linux: `tcp_orphan_retries` of 0 means 8.
const ORPHAN_RETRIES: u8 = 8;

impl Connection {
    pub(super) fn on_expired(
        &mut self,
        cx: &Context<'_>,
        kind: TimerKind,
        flight: &mut dyn FlightMemory,
    ) {
        match kind {
            TimerKind::Retransmit => self.on_retransmit(cx, flight),
            TimerKind::LossProbe => self.on_loss_probe(cx, flight),
            TimerKind::Reorder => self.on_reorder(cx, flight),
            TimerKind::Persist => self.on_persist(cx),
            TimerKind::DelayedAck => self.on_delayed_ack(cx),
            TimerKind::CompressedAck => self.owe_acknowledgment(),
            TimerKind::KeepAlive => self.on_keepalive(cx),
            TimerKind::Pace => self.on_pace(cx),
            TimerKind::FinWait2 | TimerKind::TimeWait => {
                if self.phase.advance(Input::Expire) == Some(State::Closed) {
                    self.timers.clear_all();
                    self.events.insert(super::Event::Closed);
                }
            }
        }
    }

    fn on_retransmit(&mut self, cx: &Context<'_>, flight: &mut dyn FlightMemory) {
        if self.phase.is_syn_received() || matches!(self.phase, Phase::SynSent(_)) {
            self.on_syn_timeout(cx);
            return;
        }
        let retries = self.retries(cx);
        let options = self.options;
        let orphan = self.is_orphan();
        let Some(Parts {
            link,
            snd: Some(snd),
            ..
        }) = self.phase.parts()
        else {
            return;
        };
        if link.in_flight() == 0 {
            return;
        }
        if orphan || snd.wnd() != 0 {
            cx.count(Happening::TCPTimeouts);
        }
        // A peer that has shrunk its window to nothing, but answers, is alive: it is probed by retransmission for as
        // long as it answers (RFC 9293 section 3.8.6.1; Linux's tcp_retransmit_timer).
        let shrunk =
            snd.wnd() == 0 && !orphan && link.heard.elapsed(cx.now) <= cx.config.rto_max.times(2);
        let patience = match options.user_timeout {
            Some(user) => Duration::from_millis(u64::from(user.get())),
            None => patience(cx.config, retries),
        };
        // Not before some retransmissions went unanswered, however long the time: after some progress the timeout, which
        // only a measured round trip resets (RFC 6298 rule 5.7), may alone be longer than the patience. Linux asks for one.
        let least = match options.user_timeout {
            Some(_) => 1,
            None => retries.min(cx.config.retries1),
        };
        let unanswered = snd.retransmits() >= least && snd.waited(cx) >= patience;
        if (!shrunk || options.user_timeout.is_some()) && unanswered {
            self.give_up(cx);
            return;
        }
        if snd.retransmits() != 0 {
            // Counted from the first retransmission.
            let waited = snd.waited(cx) - snd.base_rto(cx.config);
            link.suspect_black_hole(cx, waited, self::patience(cx.config, cx.config.retries1));
        }
        snd.on_timeout(cx, link, flight);
        snd.arm(cx, &mut self.timers, &options);
    }

    /// The tail of what is in flight may be lost (RFC 8985 section 7.3).
    fn on_loss_probe(&mut self, cx: &Context<'_>, flight: &mut dyn FlightMemory) {
        let options = self.options;
        let timers = &mut self.timers;
        if let Some(Parts {
            link,
            snd: Some(snd),
            ..
        }) = self.phase.parts()
        {
            if link.in_flight() != 0 {
                snd.on_probe_timer(cx, link, timers, flight, &options);
            }
        }
    }

    /// What seemed out of order has had its time (RFC 8985 section 6.2 step 5).
    fn on_reorder(&mut self, cx: &Context<'_>, flight: &mut dyn FlightMemory) {
        let timers = &mut self.timers;
        if let Some(Parts {
            link,
            snd: Some(snd),
            ..
        }) = self.phase.parts()
        {
            if link.in_flight() != 0 {
                snd.on_reorder_timer(cx, link, timers, flight);
            }
        }
    }

    fn on_persist(&mut self, cx: &Context<'_>) {
        let retries = self.retries(cx);
        let user = self.options.user_timeout;
        let orphan = self.is_orphan();
        let Some(Parts {
            link,
            snd: Some(snd),
            fin,
            ..
        }) = self.phase.parts()
        else {
            return;
        };
        if link.in_flight() != 0 || !snd.has_new(link, fin) {
            return;
        }
        // RFC 9293 section 3.8.6.1: the connection stays as long as the peer answers; `probes` counts those that it
        // did not answer. A user's timeout is another matter (RFC 5482 section 3).
        let given_up = match user {
            Some(user) => {
                snd.persisted() != 0
                    && snd.waited(cx) >= Duration::from_millis(u64::from(user.get()))
            }
            None => link.probes >= retries,
        };
        // Without a user nobody waits for that peer: a window that stays shut would keep the data for ever
        // (Linux's tcp_probe_timer).
        let deserted = orphan
            && snd.persist_delay(cx) >= cx.config.rto_max
            && snd.persisted() >= cx.config.orphan_retries;
        if given_up || deserted {
            self.give_up(cx);
            return;
        }
        snd.on_persist(cx, link);
        snd.arm_persist(cx, &mut self.timers);
    }

    fn on_delayed_ack(&mut self, cx: &Context<'_>) {
        let rto = self
            .phase
            .sender()
            .map_or(INITIAL_RTO, |snd| snd.rto(cx.config));
        match self.phase.parts() {
            Some(Parts {
                link,
                rcv: Some(rcv),
                ..
            }) => rcv.on_delay_over(cx, link, rto),
            // Of the peer's FIN.
            Some(Parts { link, .. }) => {
                cx.count(Happening::DelayedACKs);
                link.owed.insert(Owed::ACK);
            }
            None => {}
        }
    }

    /// An acknowledgment is to be sent now.
    pub(super) fn owe_acknowledgment(&mut self) {
        if let Some(Parts { link, .. }) = self.phase.parts() {
            link.owed.insert(Owed::ACK);
        }
    }

    /// RFC 9293 section 3.8.4, and Linux's `tcp_keepalive_timer`.
    fn on_keepalive(&mut self, cx: &Context<'_>) {
        if !self.options.keepalive {
            return;
        }
        let idle_limit = self.keepidle(cx);
        let interval = match self.options.keepintvl {
            Some(secs) => Duration::from_secs(u64::from(secs.get())),
            None => cx.config.keepalive_intvl,
        };
        let limit = match self.options.keepcnt {
            Some(count) => count.get(),
            None => cx.config.keepalive_probes,
        };
        let user = self.options.user_timeout;
        let Some(Parts { link, snd, fin, .. }) = self.phase.parts() else {
            return;
        };
        // While something waits for its acknowledgment the retransmission timer watches over the peer.
        let busy = link.in_flight() != 0 || snd.is_some_and(|snd| snd.has_new(link, fin));
        let idle = link.heard.elapsed(cx.now);
        let next = if busy {
            idle_limit
        } else if idle < idle_limit {
            idle_limit - idle
        } else {
            let dead = match user {
                Some(user) => {
                    link.probes > 0 && idle >= Duration::from_millis(u64::from(user.get()))
                }
                None => link.probes >= limit,
            };
            if dead {
                let error = self.soft_error.unwrap_or(Error::TimedOut);
                cx.count(Happening::TCPAbortOnTimeout);
                self.reset(Some(error));
                return;
            }
            link.probes = link.probes.saturating_add(1);
            link.owed.insert(Owed::KEEPALIVE);
            interval
        };
        // Never at once again, whatever the settings.
        let next = next.max(Duration::from_millis(1));
        self.timers.set(TimerKind::KeepAlive, cx.now + next);
    }

    /// Starts the keepalive timer, if the user wants it and the state can have it.
    pub(super) fn start_keepalive(&mut self, cx: &Context<'_>) {
        let runs = self.options.keepalive
            && self.phase.link().is_some()
            && !(self.phase.is_syn_received() || matches!(self.phase, Phase::TimeWait(_)))
            && self.timers.get(TimerKind::FinWait2).is_none()
            && self.timers.get(TimerKind::Pace).is_none();
        if runs {
            self.timers
                .set(TimerKind::KeepAlive, cx.now + self.keepidle(cx));
        }
    }

    fn keepidle(&self, cx: &Context<'_>) -> Duration {
        match self.options.keepidle {
            Some(secs) => Duration::from_secs(u64::from(secs.get())),
            None => cx.config.keepalive_time,
        }
    }

    /// How many retransmissions a peer may leave unanswered.
    fn retries(&self, cx: &Context<'_>) -> u8 {
        match (self.is_orphan(), cx.config.orphan_retries) {
            (false, _) => cx.config.retries2,
            (true, 0) => ORPHAN_RETRIES,
            (true, retries) => retries,
        }
    }

    /// The peer does not answer any more.
    pub(super) fn give_up(&mut self, cx: &Context<'_>) {
        cx.count(Happening::TCPAbortOnTimeout);
        let error = self.soft_error.unwrap_or(Error::TimedOut);
        self.die(Some(error));
    }
}

/// Linux's TCP_RTO_MIN, which the patience is counted in whatever the setting `rto_min` is.
const PATIENCE_STEP: Duration = Duration::from_millis(200);

/// How long `retries` retransmissions take: as Linux, and so as its documentation says, computed from a first one after
/// 200 ms and not from the path's own timeout, so that no path is given up after seconds.
///
/// Deviation: RFC 9293 section 3.9.1.1 gives up after five minutes where the user names no timeout. Linux's `tcp_retries2` makes a
/// quarter of an hour of it, in which a router can start anew; RFC 9293 section 3.8.3 asks for 100 seconds at least.
fn patience(config: &Config, retries: u8) -> Duration {
    let mut total = Duration::ZERO;
    let mut step = PATIENCE_STEP;
    for _ in 0..=retries {
        total = total + step.min(config.rto_max);
        step = step.backed_off(1).min(config.rto_max);
    }
    total
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patience__is_what_ip_sysctl_rst_says() {
        // "The default value of 15 yields a hypothetical timeout of 924.6 seconds."
        let config = Config::default();
        assert_eq!(patience(&config, 15), Duration::from_millis(924_600));
        assert_eq!(patience(&config, 8), Duration::from_millis(102_200));
        let hasty = Config {
            rto_min: Duration::from_millis(1),
            ..config
        };
        assert_eq!(patience(&hasty, 15), Duration::from_millis(924_600));
    }
}
