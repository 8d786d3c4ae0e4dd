// SPDX-License-Identifier: GPL-2.0

//! The sending half: what may be sent now, and what the peer's acknowledgments change.

use super::link::{Body, Link, Owed};
use super::receive::Receiver;
use super::recovery::{Duplicate, Evidence, Progress, Recovery};
use super::timers::{Mark, Tick, TimerKind, Timers};
use crate::congestion::{
    restart_after_idle, Ack, Cause, Congestion, CongestionControl, Controller, Window,
};
use crate::context::{Config, Context, SocketOptions};
use crate::rtt::{RtoLimits, RttEstimator};
use crate::segment::Segment;
use crate::seq::SeqNum;
use crate::time::Duration;
use crate::transmit::{BurstLimit, Transmit, TransmitKind};
use crate::wire::Flags;

/// The sending half of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    /// Behind the last byte that the user has written; our FIN, if there is one, stands here.
    write_seq: SeqNum,
    /// SND.WND in bytes.
    wnd: u32,
    /// SND.WL1: SEG.SEQ of the segment that the window was taken from.
    wl1: SeqNum,
    /// The largest window that the peer has offered.
    max_wnd: u32,
    /// Behind the last small segment sent (Minshall's variant of Nagle's algorithm, Linux's `snd_sml`).
    small: SeqNum,
    window: Window,
    controller: Controller,
    rtt: RttEstimator,
    /// The segment whose round trip is being measured ends here; Karn: none that was sent again.
    timed_end: SeqNum,
    /// When that segment was sent.
    timed_at: Option<Mark>,
    recovery: Recovery,
    /// SND.NXT when a queue of this host last was found full: until it is acknowledged the window has been reduced for
    /// that (Linux's CWR). SND.UNA or older: it has not.
    reduced: SeqNum,
    /// When data was last sent.
    sent_at: Tick,
    /// Since when the peer owes something: the last progress, or the sending after which nothing was acknowledged.
    waiting_since: Tick,
    /// Segments sent again, ever.
    resent_total: u32,
    /// Timeouts since the last progress.
    retransmits: u8,
    /// Expiries of the persist timer since the window was last open.
    persisted: u8,
    /// Whether the user has said that more follows (MSG_MORE).
    more: More,
    /// The persist timer has expired: send what the window allows, however small. Or the retransmission timer has: send
    /// the oldest segment, whatever the window.
    force: bool,
}

/// MSG_MORE with the last of what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum More {
    /// Not given.
    No,
    /// More follows: a segment smaller than the MSS waits for it.
    Wait,
    /// An acknowledgment has come since, and with it the tail goes as any other, but without PSH: as in Linux the
    /// flag is the call's and not the connection's.
    Over,
}

/// A burst to send.
struct Burst {
    start: SeqNum,
    len: u32,
    fin: bool,
    again: bool,
}

/// Which acknowledgments are worth going on with (RFC 9293 section 3.10.7.4, fifth; RFC 5961 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum AckVerdict {
    /// Nothing new.
    Old,
    /// New data was acknowledged.
    New,
    /// All is acknowledged, our FIN included.
    Finished,
    /// The acknowledgment is invalid: the segment is to be dropped.
    Invalid,
}

impl Sender {
    /// The sending half after the SYNs; `wnd` is the window of the peer's SYN, `wl1` its number.
    pub(super) fn new(
        cx: &Context<'_>,
        link: &Link,
        wnd: u32,
        wl1: SeqNum,
        syn_resent: u8,
    ) -> Self {
        let mss = link.payload_mss(0);
        // RFC 5681 section 3.1: a lost SYN makes the initial window one segment. Linux, and so we,
        // allow for one spurious timeout.
        let segments = match syn_resent {
            0 | 1 => u32::from(cx.config.initial_cwnd),
            _ => 1,
        };
        let mut rtt = RttEstimator::new();
        if syn_resent != 0 {
            rtt.use_fallback();
        }
        Sender {
            write_seq: link.snd_nxt,
            wnd,
            wl1,
            max_wnd: wnd,
            small: link.snd_una,
            window: Window::initial(mss, segments),
            controller: Controller::new(cx.config.congestion_control),
            rtt,
            timed_end: link.snd_una,
            timed_at: None,
            recovery: Recovery::new(),
            reduced: link.snd_una,
            sent_at: Tick::new(cx.now),
            waiting_since: Tick::new(cx.now),
            resent_total: u32::from(syn_resent),
            retransmits: 0,
            persisted: 0,
            more: More::No,
            force: false,
        }
    }

    /// The SYN-ACK was sent `ago`, once.
    pub(super) fn time_syn_ack(&mut self, cx: &Context<'_>, link: &Link, ago: Option<Duration>) {
        self.timed_end = link.snd_nxt;
        self.timed_at = ago.map(|ago| Mark::new(cx.now - ago));
    }

    /// Our SYN is acknowledged, `rtt` after it was sent, if the segment tells; a measurement of our own is finer.
    pub(super) fn start(&mut self, cx: &Context<'_>, link: &Link, rtt: Option<Duration>) {
        let timed = self.timed_at.take().map(|sent| sent.elapsed(cx.now));
        if let Some(rtt) = timed.or(rtt) {
            self.rtt.sample(rtt);
        }
        self.retransmits = 0;
        self.sent_at = Tick::new(cx.now);
        self.waiting_since = Tick::new(cx.now);
        self.small = link.snd_una;
    }

    // The user's side.

    pub(super) fn write(&mut self, len: u32) {
        self.write_seq = self.write_seq.add(len);
    }

    /// TCP_NODELAY has been switched on: what waits goes, corked or not (as in Linux).
    pub(super) fn push(&mut self, link: &Link, corked: bool) {
        if self.more == More::Wait {
            self.more = More::Over;
        }
        if corked && self.not_sent(link) != 0 {
            self.force = true;
        }
    }

    pub(super) fn set_more(&mut self, more: bool) {
        self.more = match more {
            true => More::Wait,
            false => More::No,
        };
    }

    pub(super) fn write_seq(&self) -> SeqNum {
        self.write_seq
    }

    pub(super) fn not_sent(&self, link: &Link) -> u32 {
        match link.snd_nxt.before(self.write_seq) {
            true => link.snd_nxt.distance_to(self.write_seq),
            false => 0,
        }
    }

    /// Whether data or a FIN waits to be sent for the first time.
    pub(super) fn has_new(&self, link: &Link, fin: bool) -> bool {
        link.snd_nxt.before(self.write_seq) || (fin && link.snd_nxt == self.write_seq)
    }

    pub(super) fn wnd(&self) -> u32 {
        self.wnd
    }

    pub(super) fn window(&self) -> Window {
        self.window
    }

    /// The congestion window for segments of `size`, with what recovery adds to it.
    pub(super) fn cwnd(&self, size: u32) -> u32 {
        self.window
            .cwnd
            .saturating_add(self.recovery.allowance(size))
    }

    pub(super) fn rtt(&self) -> &RttEstimator {
        &self.rtt
    }

    pub(super) fn rto(&self, config: &Config) -> Duration {
        self.rtt.rto(limits(config))
    }

    pub(super) fn retransmits(&self) -> u8 {
        self.retransmits
    }

    pub(super) fn resent_total(&self) -> u32 {
        self.resent_total
    }

    pub(super) fn recovery(&self) -> Recovery {
        self.recovery
    }

    pub(super) fn persisted(&self) -> u8 {
        self.persisted
    }

    /// How long the peer has owed an answer.
    pub(super) fn waited(&self, cx: &Context<'_>) -> Duration {
        self.waiting_since.elapsed(cx.now)
    }

    /// A SYN-ACK is sent again.
    pub(super) fn count_retransmit(&mut self) {
        self.retransmits = self.retransmits.saturating_add(1);
        self.resent_total = self.resent_total.saturating_add(1);
    }

    /// Payload bytes per segment now. Half of the largest window at most, so that a peer with a small buffer is not
    /// served in stop-and-wait (Linux's `tcp_bound_to_half_wnd`).
    pub(super) fn segment_size(&self, link: &Link, sack: usize) -> u32 {
        let size = u32::from(link.payload_mss(sack));
        let half = match self.max_wnd {
            0 => return size,
            small @ 1..=536 => small,
            large => large / 2,
        };
        size.min(half.max(28))
    }

    /// The peer's window that is not yet used.
    fn usable(&self, link: &Link) -> u32 {
        self.wnd.saturating_sub(link.in_flight())
    }

    // Output.

    /// The next burst of data, first or again, or a FIN.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn poll(
        &mut self,
        cx: &Context<'_>,
        link: &mut Link,
        timers: &mut Timers,
        mut rcv: Option<&mut Receiver>,
        fin: bool,
        options: &SocketOptions,
        limit: BurstLimit,
    ) -> Option<Transmit> {
        let has_new = self.has_new(link, fin);
        if !has_new && self.recovery == Recovery::new() {
            // The common case: nothing to do.
            return None;
        }
        let sack = rcv.as_ref().map_or(0, |rcv| rcv.sack_len());
        let size = self.segment_size(link, sack).max(1);
        let most = whole(limit.0, size).max(size);
        let burst = match self.again(link, fin, size, most) {
            Some(burst) => burst,
            None => {
                if !has_new {
                    return None;
                }
                if link.in_flight() == 0 {
                    self.restart(cx, size);
                }
                match self.fresh(link, fin, options, size, most) {
                    Some(burst) => burst,
                    None => {
                        self.wait(cx, link, timers);
                        return None;
                    }
                }
            }
        };
        let end = burst.start.add(burst.len).add(u32::from(burst.fin));
        let mut flags = Flags::ACK;
        if burst.fin {
            flags.insert(Flags::FIN);
        }
        // RFC 9293 section 3.9.1.2: PSH with the last of what the user has written; and as in Linux on the last segment
        // of every burst, so that a receiver that collects segments (GRO) passes them on at its end.
        let last = burst.start.add(burst.len) == self.write_seq && self.more != More::Over;
        if burst.len > size || (burst.len != 0 && last) {
            flags.insert(Flags::PSH);
        }
        let kind = match (burst.again, burst.len) {
            (true, _) => TransmitKind::Retransmission,
            (false, 0) => TransmitKind::Fin,
            (false, _) => TransmitKind::Data,
        };
        if burst.again {
            self.on_sent_again(link, burst.start, burst.len, end, size);
        } else {
            self.on_sent(cx, link, burst.len, end, size);
            if let (Some(rcv), true) = (rcv.as_deref_mut(), burst.len != 0) {
                rcv.on_data_sent(cx);
            }
        }
        self.sent_at = Tick::new(cx.now);
        // RFC 6298 rule 5.1; a fast retransmission gets a full timeout of its own, as in Linux.
        let first_again =
            burst.again && burst.start == link.snd_una && self.recovery.restarts_timer();
        if timers.get(TimerKind::Retransmit).is_none() || first_again {
            self.arm(cx, timers, options);
        }
        let body = Body {
            seq: burst.start,
            len: burst.len,
            flags,
            mss: size.min(u32::from(u16::MAX)) as u16,
            kind,
        };
        Some(link.compose(cx, timers, rcv, body))
    }

    /// What recovery wants sent again.
    fn again(&self, link: &Link, fin: bool, size: u32, most: u32) -> Option<Burst> {
        let again = self
            .recovery
            .again(link.snd_una, link.snd_nxt, self.window.cwnd, size)?;
        let start = again.start;
        let used = link.snd_una.distance_to(start);
        let budget = match used {
            // The peer has shrunk its window to nothing: a timeout sends the oldest segment all the same, as a probe.
            0 if self.wnd == 0 && !self.force => return None,
            // "The sending TCP peer [...] must be prepared to retransmit" what lies beyond the new edge (RFC 9293 section
            // 3.8.6): the oldest segment goes.
            0 => again.budget.min(self.wnd).max(size),
            _ => again.budget.min(self.wnd.saturating_sub(used)),
        };
        let data_end = SeqNum::min(SeqNum::min(self.write_seq, link.snd_nxt), again.end);
        let left = match start.before(data_end) {
            true => start.distance_to(data_end),
            false => 0,
        };
        // The FIN, if it was sent and is part of what is to be sent again.
        let fin_sent = fin && link.snd_nxt.after(self.write_seq) && again.end.after(self.write_seq);
        let budget = budget.min(most);
        let len = match left <= budget {
            true => left,
            false => whole(budget, size),
        };
        let fin = fin_sent && len == left;
        (len != 0 || fin).then_some(Burst {
            start,
            len,
            fin,
            again: true,
        })
    }

    /// What can be sent for the first time.
    fn fresh(
        &self,
        link: &Link,
        fin: bool,
        options: &SocketOptions,
        size: u32,
        most: u32,
    ) -> Option<Burst> {
        if matches!(self.recovery, Recovery::Loss { next, .. } if next.before(link.snd_nxt)) {
            return None;
        }
        let flight = self.recovery.pipe(link.in_flight());
        let usable = self.usable(link);
        let cwnd = self.cwnd(size);
        let room = match flight {
            0 => cwnd.max(size),
            _ => cwnd.saturating_sub(flight),
        };
        let pending = self.not_sent(link);
        let budget = usable.min(room).min(most);
        let len = if pending <= budget {
            let tail = partial(pending, size);
            match tail == 0 || self.tail_may_go(link, fin, options) {
                true => pending,
                false => pending.saturating_sub(tail),
            }
        } else {
            // RFC 9293 section 3.8.6.2.1: full segments only, unless the override timer has expired.
            match whole(budget, size) {
                0 if self.force => budget.min(size),
                len => len,
            }
        };
        // The FIN takes a number, and so a byte of the window.
        let fin =
            fin && len == pending && (usable > len || (self.force && usable >= len && usable > 0));
        (len != 0 || fin).then_some(Burst {
            start: link.snd_nxt,
            len,
            fin,
            again: false,
        })
    }

    /// Whether a segment smaller than the MSS may go: Nagle's algorithm in Minshall's variant (RFC 9293 section
    /// 3.7.4, Linux's `tcp_nagle_check`), TCP_CORK and MSG_MORE.
    fn tail_may_go(&self, link: &Link, fin: bool, options: &SocketOptions) -> bool {
        if fin || self.force {
            return true;
        }
        if options.cork || self.more == More::Wait {
            return false;
        }
        let small_in_flight = self.small.after(link.snd_una) && self.small.before_eq(link.snd_nxt);
        options.nodelay || !small_in_flight
    }

    /// RFC 5681 section 4.1: after idle time the window no longer tells what the path carries.
    fn restart(&mut self, cx: &Context<'_>, size: u32) {
        if cx.config.slow_start_after_idle {
            let idle = self.sent_at.elapsed(cx.now);
            let rto = self.rtt.rto(limits(cx.config));
            if idle > rto {
                let restart = size.saturating_mul(u32::from(cx.config.initial_cwnd));
                restart_after_idle(&mut self.window, idle, rto, restart);
                self.sent_at = Tick::new(cx.now);
            }
        }
    }

    /// Nothing can be sent although there is something to send. What is in flight will bring an ACK, or the
    /// retransmission timer expires; without it, the persist timer must run.
    fn wait(&mut self, cx: &Context<'_>, link: &Link, timers: &mut Timers) {
        if link.in_flight() == 0 && timers.get(TimerKind::Persist).is_none() {
            self.waiting_since = Tick::new(cx.now);
            self.arm_persist(cx, timers);
        }
    }

    /// RFC 9293 section 3.8.6.1: "when the retransmission timeout period passes", then with exponential back-off.
    pub(super) fn arm_persist(&self, cx: &Context<'_>, timers: &mut Timers) {
        let limits = limits(cx.config);
        let base = self.rtt.base_rto(limits).max(cx.config.rto_min);
        let delay = base.backed_off(self.persisted).min(limits.max);
        timers.set(TimerKind::Persist, cx.now + delay);
    }

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

    fn on_sent(&mut self, cx: &Context<'_>, link: &mut Link, len: u32, end: SeqNum, size: u32) {
        // While the persist timer runs again and again, the peer has been waited for since it was first started.
        if link.in_flight() == 0 && self.persisted == 0 {
            self.waiting_since = Tick::new(cx.now);
        }
        if partial(len, size) != 0 {
            // Without the FIN: it is no data.
            self.small = SeqNum::min(end, self.write_seq);
        }
        if self.timed_at.is_none() {
            self.timed_end = end;
            self.timed_at = Some(Mark::new(cx.now));
        }
        link.snd_nxt = end;
        self.force = false;
        self.recovery.on_sent_new(end, len);
    }

    fn on_sent_again(&mut self, link: &Link, start: SeqNum, len: u32, end: SeqNum, size: u32) {
        // Karn: what is sent again measures nothing.
        if self.timed_end.after(start) {
            self.timed_at = None;
        }
        let segments = len.saturating_add(size.saturating_sub(1)).checked_div(size);
        self.resent_total = self
            .resent_total
            .saturating_add(segments.unwrap_or(1).max(1));
        self.force = false;
        self.recovery
            .on_sent_again(SeqNum::min(end, link.snd_nxt), len.max(1));
    }

    // Acknowledgments.

    /// Takes the acknowledgment and the window of an acceptable segment.
    pub(super) fn on_ack(
        &mut self,
        cx: &Context<'_>,
        link: &mut Link,
        timers: &mut Timers,
        options: &SocketOptions,
        fin: bool,
        segment: &Segment,
    ) -> AckVerdict {
        let ack = segment.header.ack;
        if ack.after(link.snd_nxt) {
            // "If the ACK acks something not yet sent, then send an ACK, drop the segment."
            link.challenge(cx, Owed::CHALLENGE);
            return AckVerdict::Invalid;
        }
        if ack.before(link.snd_una) {
            // RFC 5961 section 5.2: "SND.UNA - MAX.SND.WND =< SEG.ACK": not even an old one of ours.
            if ack.distance_to(link.snd_una) > self.max_wnd {
                link.challenge(cx, Owed::CHALLENGE);
                return AckVerdict::Invalid;
            }
            return AckVerdict::Old;
        }
        // The peer lives.
        link.probes = 0;
        if self.more == More::Wait {
            self.more = More::Over;
        }
        let window_changed = self.take_window(link, segment);
        let verdict = if ack == link.snd_una {
            self.on_same_ack(cx, link, segment, window_changed);
            AckVerdict::Old
        } else {
            self.on_new_ack(cx, link, segment);
            match link.in_flight() {
                0 => timers.clear(TimerKind::Retransmit),
                // RFC 6298 rule 5.3.
                _ if self.recovery.restarts_timer() => self.arm(cx, timers, options),
                _ => {}
            }
            match fin && link.snd_una.after(self.write_seq) {
                true => AckVerdict::Finished,
                false => AckVerdict::New,
            }
        };
        if self.persisted != 0 && self.usable(link) > 0 {
            // The window is open: begin anew, and do not wait out the back-off if it is not open enough.
            self.persisted = 0;
            if timers.get(TimerKind::Persist).is_some() {
                self.arm_persist(cx, timers);
            }
        }
        verdict
    }

    /// RFC 9293 section 3.10.7.4, and Linux's `tcp_may_update_window`, which also takes a window that grows with
    /// nothing else changed: old segments do not look like that. Says whether it changed.
    pub(super) fn take_window(&mut self, link: &Link, segment: &Segment) -> bool {
        let offered = match segment.has(Flags::SYN) {
            true => u32::from(segment.header.window),
            false => link.snd_scale.widen(segment.header.window),
        };
        let newer = segment.header.ack.after(link.snd_una)
            || segment.seq().after(self.wl1)
            || (segment.seq() == self.wl1 && (offered > self.wnd || offered == 0));
        if !newer {
            return false;
        }
        self.wl1 = segment.seq();
        self.max_wnd = self.max_wnd.max(offered);
        let changed = offered != self.wnd;
        self.wnd = offered;
        changed
    }

    /// A segment that acknowledges nothing new: perhaps a duplicate (RFC 5681 section 2).
    fn on_same_ack(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        segment: &Segment,
        window_changed: bool,
    ) {
        let flight = link.in_flight();
        if flight == 0 || segment.seq_len() != 0 {
            return;
        }
        let evidence = evidence(link, segment);
        if link.sack && !segment.header.options.sack.is_empty() {
            // A block above the acknowledgment tells of a hole; a report of a duplicate alone does not.
            if evidence.first.is_empty() {
                return;
            }
        } else if window_changed {
            return;
        }
        let size = self.segment_size(link, 0);
        let found = self
            .recovery
            .on_duplicate(link.snd_una, link.snd_nxt, size, evidence);
        // Reduced for this window already.
        if found == Duplicate::Lost && self.reduced.after(link.snd_una) {
            self.timed_at = None;
        } else if found == Duplicate::Lost {
            let congestion = Congestion {
                now: cx.now,
                // RFC 5681: without what limited transmit has added, and as in Linux never more than the window.
                in_flight: flight.min(self.window.cwnd).max(size),
                mss: size.min(u32::from(u16::MAX)) as u16,
                cause: Cause::Loss,
            };
            self.controller.on_congestion(&mut self.window, &congestion);
            self.window.cwnd = self.window.ssthresh;
            self.timed_at = None;
        }
    }

    /// New data is acknowledged.
    fn on_new_ack(&mut self, cx: &Context<'_>, link: &mut Link, segment: &Segment) {
        let ack = segment.header.ack;
        let flight = link.in_flight();
        let size = self.segment_size(link, 0);
        let rtt = self.measure(cx, link, segment);
        let evidence = evidence(link, segment);
        let progress = self.recovery.on_new_ack(link.snd_una, ack, size, evidence);
        let acked = link.snd_una.distance_to(ack);
        // Not by the acknowledgment that ends it either.
        let reduced = self.reduced.after(link.snd_una);
        if self.reduced.before(ack) {
            // So that it does not come true again when the numbers wrap.
            self.reduced = ack;
        }
        link.snd_una = ack;
        self.retransmits = 0;
        self.waiting_since = Tick::new(cx.now);
        // RFC 7661: a window that was not used says nothing about the path. While it grows by slow start,
        // half used is used (Linux's tcp_is_cwnd_limited).
        let used = match self.window.in_slow_start() {
            true => flight.saturating_mul(2),
            false => flight.saturating_add(size),
        };
        let told = Ack {
            now: cx.now,
            una: ack,
            nxt: link.snd_nxt,
            acked,
            delivered: match progress {
                Progress::Grow(arrived) => arrived,
                Progress::Partial | Progress::Recovered => acked,
            },
            lost: 0,
            in_flight: flight,
            mss: size.min(u32::from(u16::MAX)) as u16,
            rtt: rtt.or_else(|| link.stamp_rtt(cx, segment)),
            srtt: self.rtt.srtt(),
            min_rtt: self.rtt.min_rtt(),
            paced: false,
            cwnd_limited: used > self.window.cwnd,
            in_recovery: reduced || !matches!(progress, Progress::Grow(_)),
            ece: false,
        };
        self.controller.on_ack(&mut self.window, &told);
        if progress == Progress::Recovered {
            // RFC 6582 section 3.2 step 3, full acknowledgment, option 1: no burst.
            let cwnd = link.in_flight().max(size).saturating_add(size);
            self.window.cwnd = self.window.ssthresh.min(cwnd);
        }
    }

    /// A round trip, if this acknowledgment tells one. Segments sent once are timed in microseconds, one per
    /// window; when that one was sent again, the timestamp echo tells (RFC 7323 section 4).
    fn measure(&mut self, cx: &Context<'_>, link: &Link, segment: &Segment) -> Option<Duration> {
        let rtt = match self.timed_at {
            Some(sent) if segment.header.ack.after_eq(self.timed_end) => {
                self.timed_at = None;
                sent.elapsed(cx.now)
            }
            Some(_) => return None,
            None => link.stamp_rtt(cx, segment)?,
        };
        self.rtt.sample(rtt);
        Some(rtt)
    }

    // Timeouts.

    /// The retransmission timer expired (RFC 6298 rules 5.4 to 5.6): go back to the oldest segment.
    pub(super) fn on_timeout(&mut self, cx: &Context<'_>, link: &Link) {
        let size = self.segment_size(link, 0);
        let congestion = Congestion {
            now: cx.now,
            in_flight: link.in_flight().min(self.window.cwnd),
            mss: size.min(u32::from(u16::MAX)) as u16,
            cause: Cause::Loss,
        };
        // Fast recovery has reduced the window for this loss already.
        let first = self.retransmits == 0 && !matches!(self.recovery, Recovery::Fast { .. });
        self.controller
            .on_timeout(&mut self.window, &congestion, first);
        self.recovery.on_timeout(link.snd_una, link.snd_nxt);
        self.rtt.back_off();
        self.retransmits = self.retransmits.saturating_add(1);
        self.timed_at = None;
        self.force = true;
    }

    /// The persist timer expired: send what fits, or a probe.
    pub(super) fn on_persist(&mut self, link: &mut Link) {
        self.persisted = self.persisted.saturating_add(1);
        link.probes = link.probes.saturating_add(1);
        if self.usable(link) > 0 {
            self.force = true;
        } else {
            link.owed.insert(Owed::PROBE);
        }
    }
}

impl Sender {
    /// A queue of this host is full or nearly so: the window shrinks as for a loss, once for what is in flight, and
    /// nothing is sent again (Linux's tcp_enter_cwr).
    pub(super) fn on_local_congestion(&mut self, cx: &Context<'_>, link: &Link) {
        let open = matches!(self.recovery, Recovery::Open { .. });
        if !open || self.reduced.after(link.snd_una) {
            return;
        }
        let size = self.segment_size(link, 0);
        let congestion = Congestion {
            now: cx.now,
            // Not what is in flight: that may be little because the queue took little.
            in_flight: self.window.cwnd,
            mss: size.min(u32::from(u16::MAX)) as u16,
            cause: Cause::Loss,
        };
        self.controller.on_congestion(&mut self.window, &congestion);
        self.window.cwnd = self.window.cwnd.min(self.window.ssthresh);
        self.reduced = link.snd_nxt;
    }

    /// The newest bytes from `start` to `end` did not leave: they count as not sent.
    pub(super) fn take_back(&mut self, link: &mut Link, start: SeqNum, end: SeqNum) {
        if link.snd_nxt != end || !start.before(end) {
            return;
        }
        link.snd_nxt = start;
        self.recovery.take_back(start, start.distance_to(end));
        if self.timed_end.after(start) {
            self.timed_at = None;
        }
        if self.small.after(start) {
            self.small = link.snd_una;
        }
    }

    /// The bytes from `start` to `end`, sent again, did not leave.
    pub(super) fn take_back_again(&mut self, start: SeqNum, end: SeqNum) {
        self.recovery.take_back(start, start.distance_to(end));
    }

    /// With nothing in flight no acknowledgment will come, and only the persist timer sends what could not be sent: after
    /// `delay`, or by its own rule (Linux's tcp_check_probe_timer and tcp_send_probe0).
    pub(super) fn try_later(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        timers: &mut Timers,
        delay: Option<Duration>,
    ) {
        if link.in_flight() != 0 {
            return;
        }
        timers.clear(TimerKind::Retransmit);
        if self.persisted == 0 {
            self.waiting_since = Tick::new(cx.now);
        }
        match delay {
            Some(delay) if self.persisted != 0 => {
                timers.set(TimerKind::Persist, cx.now + delay);
            }
            _ if timers.get(TimerKind::Persist).is_none() => self.arm_persist(cx, timers),
            _ => {}
        }
    }
}

/// The bounds of the retransmission timeout.
fn limits(config: &Config) -> RtoLimits {
    RtoLimits {
        min: config.rto_min,
        max: config.rto_max,
    }
}

/// What the segment's SACK option tells. Blocks that are not about what is in flight tell nothing.
fn evidence(link: &Link, segment: &Segment) -> Evidence {
    let mut evidence = Evidence::default();
    if !link.sack {
        return evidence;
    }
    evidence.agreed = true;
    let floor = SeqNum::max(link.snd_una, segment.header.ack);
    evidence.high = floor;
    if let [first, rest @ ..] = segment.header.options.sack.as_slice() {
        // RFC 2883 section 4: below the acknowledgment, or inside of the second block.
        evidence.duplicate = first.start.before(floor)
            || rest
                .first()
                .is_some_and(|second| second.contains_range(*first));
    }
    for block in segment.header.options.sack.iter() {
        if !block.is_plausible() || block.start.before_eq(floor) || block.end().after(link.snd_nxt)
        {
            continue;
        }
        evidence.sacked = evidence.sacked.saturating_add(block.len);
        evidence.high = SeqNum::max(evidence.high, block.end());
        if evidence.first.is_empty() || block.start.before(evidence.first.start) {
            evidence.first = block;
        }
    }
    evidence.sacked = evidence.sacked.min(link.in_flight());
    evidence
}

/// The largest multiple of `size` that is not more than `bytes`.
fn whole(bytes: u32, size: u32) -> u32 {
    bytes.saturating_sub(partial(bytes, size))
}

/// What is left of `bytes` after full segments of `size`.
fn partial(bytes: u32, size: u32) -> u32 {
    bytes.checked_rem(size).unwrap_or(0)
}
