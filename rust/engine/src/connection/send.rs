// SPDX-License-Identifier: GPL-2.0

//! The sending half: what is written, in flight and waited for; what goes next is `choice.rs`.

use super::choice::{Burst, Why};
use super::info::SenderEnd;
use super::link::{Body, Link, Owed};
use super::mtu::Probing;
use super::outline::{Noted, Outline};
use super::rack::Reordering;
use super::receive::Receiver;
use super::recovery::Mode;
use super::timers::{micros, Tick, TimerKind, Timers};
use crate::congestion::{Algorithm, CongestionControl, Controller, Load, Usage, Window};
use crate::context::{Config, Context, SocketOptions};
use crate::flight::{Flight, FlightMemory};
use crate::happening::Happening;
use crate::rtt::{RtoLimits, RttEstimator};
use crate::seq::{SeqNum, SeqRange};
use crate::time::Duration;
use crate::transmit::{segments, BurstLimit, Transmit, TransmitKind};
use crate::wire::Flags;

/// The sending half of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Sender {
    /// Behind the last byte that the user has written; our FIN, if there is one, stands here.
    pub(super) write_seq: SeqNum,
    /// SND.WND in bytes.
    pub(super) wnd: u32,
    /// SND.WL1: SEG.SEQ of the segment that the window was taken from.
    pub(super) wl1: SeqNum,
    /// The largest window that the peer has offered.
    pub(super) max_wnd: u32,
    /// Behind the urgent byte (SND.UP); SND.UNA or older: there is none.
    pub(super) up: SeqNum,
    /// Behind the last small segment sent (Minshall's variant of Nagle's algorithm, Linux's `snd_sml`).
    pub(super) small: SeqNum,
    pub(super) window: Window,
    pub(super) usage: Usage,
    pub(super) controller: Controller,
    pub(super) rtt: RttEstimator,
    pub(super) outline: Outline,
    pub(super) reordering: Reordering,
    pub(super) mode: Mode,
    /// SND.NXT when a queue of this host last was found full: until it is acknowledged the window has been reduced for
    /// that (Linux's CWR). SND.UNA or older: it has not.
    pub(super) reduced: SeqNum,
    /// When data was last sent.
    sent_at: Tick,
    /// Since when the peer owes something: the last progress, or the sending after which nothing was acknowledged.
    pub(super) waiting_since: Tick,
    /// Timeouts since the last progress.
    pub(super) retransmits: u8,
    /// Expiries of the persist timer since the window was last open.
    pub(super) persisted: u8,
    /// Whether the user has said that more follows (MSG_MORE).
    pub(super) more: More,
    pub(super) force: Force,
    /// The window was reduced, and new data has yet to say so (TCP_ECN_QUEUE_CWR).
    pub(super) reduction_untold: bool,
}

/// What goes although a rule holds it back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Force {
    /// Nothing.
    No,
    /// The user has switched TCP_NODELAY on: what the window allows, however small.
    Push,
    /// The persist timer has expired: the same. Or the retransmission timer has: the oldest segment, whatever the window.
    Timer,
}

/// MSG_MORE with the last of what is written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum More {
    /// Not given.
    No,
    /// More follows: a segment smaller than the MSS waits for it.
    Wait,
    /// An acknowledgment has come since, and with it the tail goes as any other, but without PSH: as in Linux the
    /// flag is the call's and not the connection's. Or a call is not done with writing.
    Over,
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
        // RFC 5681 section 3.1: a lost SYN makes the initial window one segment.
        //
        // Deviation: RFC 5681 section 3.1 means the first SYN that is lost. Linux, and so we, the second: one timeout after a second
        // may well have been spurious.
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
            up: link.snd_una,
            small: link.snd_una,
            window: Window::initial(mss, segments),
            usage: Usage::new(cx.now, link.snd_una),
            controller: Controller::new(cx.config.congestion_control),
            rtt,
            outline: Outline::new(link.snd_nxt),
            reordering: Reordering::new(),
            mode: Mode::Open,
            reduced: link.snd_una,
            sent_at: Tick::new(cx.now),
            waiting_since: Tick::new(cx.now),
            retransmits: 0,
            persisted: 0,
            more: More::No,
            force: Force::No,
            reduction_untold: false,
        }
    }

    /// The SYN-ACK was sent `ago`, once.
    pub(super) fn time_syn_ack(&mut self, cx: &Context<'_>, link: &Link, ago: Option<Duration>) {
        self.outline = Outline::of_syn(link.snd_nxt, ago.map(|ago| cx.now - ago));
    }

    /// Our SYN is acknowledged, `rtt` after it was sent, if the segment tells; a measurement of our own is finer.
    pub(super) fn start(&mut self, cx: &Context<'_>, link: &Link, rtt: Option<Duration>) {
        let timed = self.outline.age_of_syn(cx.now);
        if let Some(rtt) = timed.or(rtt) {
            self.rtt.sample(rtt);
        }
        self.retransmits = 0;
        self.sent_at = Tick::new(cx.now);
        self.waiting_since = Tick::new(cx.now);
        self.small = link.snd_una;
        self.outline = Outline::new(link.snd_una);
        self.usage = Usage::new(cx.now, link.snd_una);
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
        if corked && self.not_sent(link) != 0 && self.force == Force::No {
            self.force = Force::Push;
        }
    }

    pub(super) fn set_more(&mut self, more: bool) {
        self.more = match more {
            true => More::Wait,
            false => More::No,
        };
    }

    pub(super) fn set_filling(&mut self) {
        self.more = More::Over;
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

    /// Another congestion controller, if it is another, takes over from here; the window stays.
    pub(super) fn use_algorithm(&mut self, algorithm: Algorithm) {
        if self.controller.algorithm() != algorithm {
            self.controller = Controller::new(algorithm);
        }
    }

    pub(super) fn algorithm(&self) -> Algorithm {
        self.controller.algorithm()
    }

    pub(super) fn window(&self) -> Window {
        self.window
    }

    pub(super) fn rtt(&self) -> &RttEstimator {
        &self.rtt
    }

    pub(super) fn rto(&self, config: &Config) -> Duration {
        self.rtt.rto(limits(config))
    }

    /// The retransmission timeout without its back-off.
    pub(super) fn base_rto(&self, config: &Config) -> Duration {
        self.rtt.base_rto(limits(config))
    }

    pub(super) fn retransmits(&self) -> u8 {
        self.retransmits
    }

    /// What is kept of it for [`Info`](super::Info).
    pub(super) fn end(&self) -> SenderEnd {
        SenderEnd {
            rtt: self.rtt,
            window: self.window,
            reorderings: self.reordering.count,
            sent_at: self.sent_at,
            wnd: self.wnd,
            degree: self.reordering.degree,
        }
    }

    pub(super) fn mode(&self) -> Mode {
        self.mode
    }

    /// The largest distance in segments by which the path has reordered.
    pub(super) fn reordering(&self) -> u16 {
        self.reordering.degree
    }

    /// Whether something may have to be sent again.
    pub(super) fn may_repeat(&self) -> bool {
        self.outline == Outline::Kept || self.mode != Mode::Open
    }

    /// Octets in the network, of those that are not acknowledged.
    pub(super) fn in_network(&self, link: &Link, flight: Option<&Flight>) -> u32 {
        match (self.outline, flight) {
            (Outline::Kept, Some(flight)) => flight.recovery.pipe(&flight.records),
            (outline, _) => outline.pipe(link.in_flight()),
        }
    }

    /// Transmissions closer than this, in microseconds, count as one: a fraction of the round trip that is small beside the
    /// reordering window, which is a quarter of it.
    ///
    /// Deviation: RFC 8985 section 5.2 keeps the time of every segment. A connection has room for a bounded number of records. The error
    /// is one that the reordering window hides; where there is none it is the order that counts, and that is kept.
    pub(super) fn grain(&self) -> u32 {
        self.srtt_micros() >> 5
    }

    pub(super) fn srtt_micros(&self) -> u32 {
        bounded_micros(self.rtt.srtt())
    }

    pub(super) fn min_rtt_micros(&self) -> u32 {
        bounded_micros(self.rtt.min_rtt())
    }

    /// The flight, if there is one; if `needed`, one is made of what the outline knows.
    pub(super) fn flight<'m>(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        memory: &'m mut dyn FlightMemory,
        needed: bool,
    ) -> Option<&'m mut Flight> {
        let kept = self.outline == Outline::Kept;
        if !kept && !needed {
            return None;
        }
        let flight = match needed {
            true => memory.make(),
            false => memory.get(),
        };
        let known = flight.as_ref().is_some_and(|flight| {
            flight.records.start() == link.snd_una && flight.records.end() == link.snd_nxt
        });
        if kept && !known {
            self.lose_memory(link);
        }
        let flight = flight?;
        if !(kept && known) {
            self.outline.describe(link, flight, cx.now);
            self.outline = Outline::Kept;
        }
        Some(flight)
    }

    /// The caller has taken the memory away: what is in flight counts as sent now, and is watched by the retransmission timer.
    fn lose_memory(&mut self, link: &Link) {
        if matches!(self.mode, Mode::Cwr | Mode::Recovery) {
            self.window.cwnd = self.window.ssthresh;
        }
        self.mode = Mode::Open;
        self.outline = Outline::new(link.snd_nxt);
    }

    /// Gives memory back that is not needed any more.
    fn rest(&mut self, link: &Link, memory: &mut dyn FlightMemory) {
        if link.in_flight() != 0 || self.outline != Outline::Kept {
            return;
        }
        if self.mode == Mode::Cwr {
            self.rest_reduced(link);
        }
        let pending = |flight: &mut Flight| flight.recovery.is_pending();
        if self.mode <= Mode::Disorder && !memory.get().is_some_and(pending) {
            self.mode = Mode::Open;
            self.outline = Outline::new(link.snd_nxt);
            memory.release();
        }
    }

    pub(super) fn persisted(&self) -> u8 {
        self.persisted
    }

    /// How long nothing has been sent.
    pub(super) fn idle(&self, cx: &Context<'_>) -> Duration {
        self.sent_at.elapsed(cx.now)
    }

    /// How long the peer has owed an answer.
    pub(super) fn waited(&self, cx: &Context<'_>) -> Duration {
        self.waiting_since.elapsed(cx.now)
    }

    /// The timeouts before are over. What one of them would have sent in any case, and the queues below did not take, is not.
    pub(super) fn on_progress(&mut self) {
        self.retransmits = 0;
        if self.force == Force::Timer {
            self.force = Force::No;
        }
    }

    /// A SYN-ACK is sent again.
    pub(super) fn count_retransmit(&mut self) {
        self.outline.forget_times();
        self.retransmits = self.retransmits.saturating_add(1);
    }

    /// Payload bytes per segment now. Half of the largest window at most, so that a peer with a small buffer is not
    /// served in stop-and-wait (Linux's `tcp_bound_to_half_wnd`).
    pub(super) fn segment_size(&self, link: &Link, sack: usize) -> u32 {
        self.half_window(u32::from(link.payload_mss(sack)))
    }

    /// The largest window that the peer has offered.
    pub(super) fn max_wnd(&self) -> u32 {
        self.max_wnd
    }

    /// `size`, or half of the largest window if that is less.
    pub(super) fn half_window(&self, size: u32) -> u32 {
        let half = match self.max_wnd {
            0 => return size,
            small @ 1..=536 => small,
            large => large / 2,
        };
        size.min(half.max(28))
    }

    /// The peer's window that is not yet used.
    pub(super) fn usable(&self, link: &Link) -> u32 {
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
        memory: &mut dyn FlightMemory,
        fin: bool,
        options: &SocketOptions,
        limit: BurstLimit,
    ) -> Option<Transmit> {
        let has_new = self.has_new(link, fin);
        if !has_new && !self.may_repeat() {
            // The common case: nothing to do.
            return None;
        }
        let sack = rcv.as_ref().map_or(0, |rcv| rcv.sack_len());
        let sack = link.sack_fits(sack, options.signature);
        let size = self.segment_size(link, sack).max(1);
        self.forget_urgent(link);
        let most = match self.is_urgent(link) {
            true => size,
            false => whole(limit.0, size).max(size),
        };
        let mut segment_len = size;
        let mut probing = None;
        if has_new {
            match self.consider_probe(cx, link, memory, sack, size) {
                Probing::No => {}
                Probing::Wait => return None,
                Probing::Go(len) => {
                    segment_len = len;
                    probing = Some(Sender::probing_burst(link, len));
                }
            }
        }
        let bounded = memory.is_bounded();
        let edge = bounded.then(|| self.boundary(memory, link.snd_nxt, most));
        let edge = edge.flatten();
        let mut flight = self.flight(cx, link, memory, false);
        let is_probe = probing.is_some();
        let chosen = match probing {
            Some(burst) => Some(burst),
            None => self.choose(
                cx,
                link,
                flight.as_deref_mut(),
                fin,
                options,
                size,
                most,
                edge,
            ),
        };
        let Some(mut burst) = chosen else {
            if has_new {
                let pipe = self.in_network(link, memory.get().as_deref());
                if pipe.saturating_add(size) > self.window.cwnd {
                    self.note_usage(cx, link, pipe, size);
                }
                self.wait(cx, link, timers);
            }
            self.rest(link, memory);
            return None;
        };
        let mut message = false;
        let flight = match bounded {
            true => {
                message = self.keep_apart(memory, &mut burst);
                self.flight(cx, link, memory, false)
            }
            false => flight,
        };
        let end = burst.start.add(burst.len).add(u32::from(burst.fin));
        let again = matches!(burst.why, Why::Again | Why::ProbeAgain);
        let mut flags = Flags::ACK;
        if burst.fin {
            flags.insert(Flags::FIN);
        }
        // RFC 9293 section 3.9.1.2: PSH with the last of what the user has written; and as in Linux on the last segment
        // of every burst, so that a receiver that collects segments (GRO) passes them on at its end.
        let last = burst.start.add(burst.len) == self.write_seq && self.more != More::Over;
        // What the persist timer sends is all that the window takes: with it (Linux's `tcp_write_wakeup`).
        let probe = self.force == Force::Timer && burst.why == Why::New;
        if burst.len > segment_len || (burst.len != 0 && (last || message || probe)) {
            flags.insert(Flags::PSH);
        }
        let kind = match (burst.why, burst.len) {
            (Why::Again, _) => TransmitKind::Retransmission,
            (Why::ProbeAgain, _) => TransmitKind::LossProbe,
            (Why::ProbeNew, _) => TransmitKind::LossProbeData,
            (Why::New, 0) => TransmitKind::Fin,
            (Why::New, _) => TransmitKind::Data,
        };
        let mut persist = None;
        if kind != TransmitKind::Data && kind != TransmitKind::Fin {
            self.count_again(cx, &burst, segment_len);
        }
        if again {
            let probe = burst.why == Why::ProbeAgain;
            self.on_sent_again(cx, link, flight, timers, options, burst.start, end, probe);
        } else {
            if link.in_flight() == 0 {
                self.controller.on_idle(cx.now, self.idle(cx));
            }
            // One that has just expired does not run on.
            if self.force != Force::Timer {
                persist = timers.get(super::TimerKind::Persist);
            }
            self.on_sent(
                cx,
                link,
                memory,
                timers,
                options,
                burst.len,
                end,
                segment_len,
            );
            if is_probe {
                let range = SeqRange::new(burst.start, burst.len);
                self.on_probing(link, memory, range, size);
            }
            let pipe = self.in_network(link, memory.get().as_deref());
            self.note_usage(cx, link, pipe, size);
            if let (Some(rcv), true) = (rcv.as_deref_mut(), burst.len != 0) {
                rcv.on_data_sent(cx);
            }
        }
        self.sent_at = Tick::new(cx.now);
        let body = Body {
            seq: burst.start,
            len: burst.len,
            flags,
            mss: segment_len.min(u32::from(u16::MAX)) as u16,
            kind,
        };
        let mut segment = link.compose(cx, timers, rcv, body);
        segment.persist = persist;
        if matches!(burst.why, Why::New | Why::ProbeNew) && burst.len != 0 {
            self.mark_new(link, &mut segment);
        }
        self.point(link, &mut segment);
        link.tally.on_sent(&segment, again);
        Some(segment)
    }

    /// Counts what is sent to repair losses, or to find them.
    #[cold]
    fn count_again(&self, cx: &Context<'_>, burst: &Burst, size: u32) {
        let again = segments(burst.len, size).max(1);
        if burst.why != Why::ProbeNew {
            cx.counting.count_many(Happening::RetransSegs, again);
        }
        match burst.why {
            Why::New => {}
            Why::ProbeNew | Why::ProbeAgain => cx.count(Happening::TCPLossProbes),
            // The timeout itself.
            Why::Again if self.force == Force::Timer => {}
            Why::Again if self.mode == Mode::Loss => {
                cx.counting
                    .count_many(Happening::TCPSlowStartRetrans, again);
            }
            Why::Again => cx.counting.count_many(Happening::TCPFastRetrans, again),
        }
    }

    /// RFC 5681 section 4.1: after idle time the window no longer tells what the path carries. Says whether that was so.
    pub(super) fn restart(&mut self, cx: &Context<'_>, size: u32) -> bool {
        let idle = self.idle(cx);
        let rto = self.rtt.rto(limits(cx.config));
        let restarts = cx.config.slow_start_after_idle && idle > rto;
        if restarts {
            let restart = size.saturating_mul(u32::from(cx.config.initial_cwnd));
            self.controller.on_idle(cx.now, idle);
            self.usage
                .restart(&mut self.window, cx.now, idle, rto, restart);
            self.sent_at = Tick::new(cx.now);
        }
        restarts
    }

    /// Something was sent, or the window has no room for it: how much of the window is used (RFC 7661). `pipe` octets are in
    /// the network.
    pub(super) fn note_usage(&mut self, cx: &Context<'_>, link: &Link, pipe: u32, size: u32) {
        self.usage.on_load(&Load {
            now: cx.now,
            una: link.snd_una,
            nxt: link.snd_nxt,
            unacked: link.in_flight(),
            full: pipe.saturating_add(size) > self.window.cwnd,
        });
        if cx.config.slow_start_after_idle && self.mode == Mode::Open {
            let initial = size.saturating_mul(u32::from(cx.config.initial_cwnd));
            let rto = self.rtt.rto(limits(cx.config));
            self.usage.validate(&mut self.window, cx.now, rto, initial);
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
        timers.set(TimerKind::Persist, cx.now + self.persist_delay(cx));
    }

    /// How long the persist timer runs, with its back-off.
    ///
    /// Deviation: RFC 9293 section 3.8.6.2.1 has 0.1 to 1 s for the override timer, which lets go what the avoidance of silly windows
    /// holds back. As in Linux it is this one, which the RFC suggests, and so waits a retransmission timeout, the next time twice that.
    pub(super) fn persist_delay(&self, cx: &Context<'_>) -> Duration {
        let limits = limits(cx.config);
        let base = self.rtt.base_rto(limits).max(cx.config.rto_min);
        base.backed_off(self.persisted).min(limits.max)
    }

    #[allow(clippy::too_many_arguments)]
    fn on_sent(
        &mut self,
        cx: &Context<'_>,
        link: &mut Link,
        memory: &mut dyn FlightMemory,
        timers: &mut Timers,
        options: &SocketOptions,
        len: u32,
        end: SeqNum,
        size: u32,
    ) {
        // While the persist timer runs again and again, the peer has been waited for since it was first started.
        if link.in_flight() == 0 && self.persisted == 0 {
            self.waiting_since = Tick::new(cx.now);
        }
        if partial(len, size) != 0 {
            // Without the FIN: it is no data.
            self.small = SeqNum::min(end, self.write_seq);
        }
        let (now, grain) = (micros(cx), self.grain());
        let noted = self.outline.on_sent(link, end, cx.now, grain);
        let octets = link.snd_nxt.distance_to(end);
        let flight = match noted {
            Noted::Crowded => self.flight(cx, link, memory, true),
            Noted::Yes if self.outline == Outline::Kept => memory.get(),
            Noted::Yes => None,
        };
        let (mut first_at, mut probe) = (self.outline.first_at(), None);
        match flight {
            Some(flight) => {
                flight.records.push(end, now, grain);
                flight.recovery.on_sent(self.mode, octets);
                first_at = flight.records.get(0).map(|run| run.record.at);
                probe = flight.recovery.probe;
            }
            None if noted == Noted::Crowded => self.outline.on_crowded(cx.now),
            None => {}
        }
        link.snd_nxt = end;
        match core::mem::replace(&mut self.force, Force::No) {
            // What a timer has let go is waited for as Linux does (`tcp_write_wakeup`): without a probe of the tail.
            Force::Timer => self.arm(cx, timers, options),
            _ => self.start_timer(cx, link, timers, options, first_at, probe),
        }
    }

    #[allow(clippy::too_many_arguments)]
    fn on_sent_again(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        flight: Option<&mut Flight>,
        timers: &mut Timers,
        options: &SocketOptions,
        start: SeqNum,
        end: SeqNum,
        probe: bool,
    ) {
        let end = SeqNum::min(end, link.snd_nxt);
        let len = start.distance_to(end);
        if self.force == Force::Timer {
            self.force = Force::No;
        }
        match flight {
            Some(flight) => {
                let range = SeqRange::new(start, len);
                flight.records.resend(range, micros(cx), self.grain());
                let stamp = link.stamp_at(cx.now).unwrap_or(0);
                let stamp = (!probe).then_some(stamp);
                flight.recovery.on_sent_again(self.mode, len, stamp);
            }
            None => self.outline.on_sent_again(end, len),
        }
        // RFC 6298 rule 5.1.
        //
        // Deviation: RFC 6298 rule 5.1 leaves a timer that runs alone. As in Linux a copy of the oldest segment gets a full timeout of
        // its own: it is the copy that an acknowledgment is now waited for.
        let first = start == link.snd_una && timers.acknowledgment() != Some(TimerKind::Reorder);
        if first || timers.acknowledgment().is_none() {
            self.arm(cx, timers, options);
        }
    }

    /// The persist timer expired: send what fits, or a probe.
    pub(super) fn on_persist(&mut self, cx: &Context<'_>, link: &mut Link) {
        if self.persisted == 0 {
            // A user's timeout counts from here, as Linux's (icsk_probes_tstamp).
            self.waiting_since = Tick::new(cx.now);
        }
        self.persisted = self.persisted.saturating_add(1);
        link.probes = link.probes.saturating_add(1);
        if self.usable(link) > 0 {
            self.force = Force::Timer;
        } else {
            link.owed.insert(Owed::PROBE);
            if self.is_urgent_near(link) {
                link.owed.insert(Owed::URGENT_PROBE);
            }
        }
    }
}

/// The bounds of the retransmission timeout.
pub(super) fn limits(config: &Config) -> RtoLimits {
    RtoLimits {
        min: config.rto_min,
        max: config.rto_max,
    }
}

/// A duration of this path in microseconds; 0 if unknown.
fn bounded_micros(time: Option<Duration>) -> u32 {
    time.map_or(0, |time| time.as_micros().min(1 << 30) as u32)
}

/// The largest multiple of `size` that is not more than `bytes`.
pub(super) fn whole(bytes: u32, size: u32) -> u32 {
    bytes.saturating_sub(partial(bytes, size))
}

/// What is left of `bytes` after full segments of `size`.
pub(super) fn partial(bytes: u32, size: u32) -> u32 {
    bytes.checked_rem(size).unwrap_or(0)
}
