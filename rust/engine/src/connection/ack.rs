// SPDX-License-Identifier: GPL-2.0

//! What the peer's acknowledgments change for the sending half (RFC 9293 section 3.10.7.4, fifth).

use super::link::Link;
use super::outline::Outline;
use super::recovery::{Mode, Probe};
use super::send::{More, Sender};
use super::timers::{micros, Mark, Tick, Timers};
use crate::congestion::{Ack, Cause, CongestionControl, Sign};
use crate::context::{Context, SocketOptions, Traits};
use crate::flight::{is_later, Flight, FlightMemory, Marks, Run};
use crate::happening::Happening;
use crate::rate::{Rate, Sent};
use crate::reply;
use crate::segment::Segment;
use crate::seq::{SeqNum, SeqRange};
use crate::time::Duration;
use crate::transmit::segments;
use crate::wire::{Flags, SackBlocks};

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

/// What one acknowledgment tells.
#[derive(Clone, Copy, Debug)]
pub(super) struct Delivery {
    /// SND.UNA before it.
    pub(super) before: SeqNum,
    /// It acknowledges new data.
    pub(super) advanced: bool,
    /// It is older than another.
    old: bool,
    /// It says that segments of ours were marked.
    pub(super) ece: bool,
    /// It repeats another in all (RFC 5681 section 2).
    pub(super) duplicate: bool,
    /// It reports something for the first time.
    pub(super) reported: bool,
    /// Octets that have arrived, as is now known.
    pub(super) delivered: u32,
    /// Octets found lost.
    pub(super) lost: u32,
    /// Copies are among them.
    pub(super) lost_copies: bool,
    /// Something that was sent once, before the repair began, has arrived.
    pub(super) original: bool,
    /// The timestamp that it echoes.
    pub(super) echo: Option<u32>,
    /// Something that was sent again is acknowledged: no round trip can be told (Karn).
    repeated: bool,
    /// When the first and the last of what is acknowledged was sent, and of what is reported.
    acked_at: Option<(u32, u32)>,
    reported_at: Option<(u32, u32)>,
    /// The lowest octet that arrived for the first time and was sent once.
    lowest: Option<SeqNum>,
    /// What of it was sent last.
    latest: Option<Sent>,
}

impl Delivery {
    /// `run` has arrived.
    fn note(&mut self, run: &Run, high: SeqNum, grain: u32, by_report: bool) {
        self.delivered = self.delivered.saturating_add(run.range.len);
        self.reported |= by_report;
        let record = &run.record;
        let (at, count) = (record.at, record.count);
        if self.latest.is_none_or(|latest| is_later(at, latest.at)) {
            self.latest = Some(Sent { at, count });
        }
        if record.marks.has(Marks::REPEATED) {
            self.repeated |= !by_report;
            return;
        }
        let start = run.range.start;
        self.lowest = Some(self.lowest.map_or(start, |low| SeqNum::min(low, start)));
        self.original |= run.range.end().before_eq(high);
        // What has been merged over a long time tells no time, but at its end.
        if record.span > grain && run.range.end() != record.end() {
            return;
        }
        let times = match by_report {
            true => &mut self.reported_at,
            false => &mut self.acked_at,
        };
        let first = times.map_or(record.at, |(first, _)| first);
        *times = Some((first, record.at));
    }
}

impl Sender {
    /// Takes the acknowledgment and the window of an acceptable segment.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn on_ack(
        &mut self,
        cx: &Context<'_>,
        link: &mut Link,
        timers: &mut Timers,
        memory: &mut dyn FlightMemory,
        options: &SocketOptions,
        fin: bool,
        segment: &Segment,
    ) -> AckVerdict {
        let ack = segment.header.ack;
        if ack.after(link.snd_nxt) {
            // "If the ACK acks something not yet sent, then send an ACK, drop the segment."
            link.challenge_peer(cx);
            return AckVerdict::Invalid;
        }
        let old = ack.before(link.snd_una);
        // RFC 5961 section 5.2: "SND.UNA - MAX.SND.WND =< SEG.ACK": not even an old one of ours.
        if old && ack.before(link.oldest_ack(self.max_wnd)) {
            link.challenge_peer(cx);
            return AckVerdict::Invalid;
        }
        let window_changed = !old && self.hear(link, segment);
        let in_flight = link.in_flight() != 0;
        let advanced = ack.after(link.snd_una);
        let reports = link.sack() && !segment.header.options.sack.is_empty();
        if reports {
            count_duplicate(cx, link, &segment.header.options.sack, ack);
        }
        let duplicate = in_flight && !old && !advanced && !window_changed && segment.seq_len() == 0;
        // As in Linux, not where nothing is in flight.
        let ece = in_flight && !old && link.ecn.hears(segment);
        if advanced || reports || duplicate || ece {
            let needed = in_flight && (reports || duplicate || ece);
            match self.flight(cx, link, memory, needed) {
                Some(flight) => {
                    let told = Delivery {
                        before: link.snd_una,
                        advanced,
                        old,
                        ece,
                        duplicate,
                        reported: false,
                        delivered: 0,
                        lost: 0,
                        lost_copies: false,
                        original: false,
                        echo: link.stamp_echo(segment),
                        repeated: false,
                        acked_at: None,
                        reported_at: None,
                        lowest: None,
                        latest: None,
                    };
                    self.on_told(cx, link, timers, options, flight, segment, told);
                }
                None => {
                    if ece {
                        self.reduce_at_once(cx, link, Cause::Ecn);
                    }
                    if advanced {
                        self.on_untold(cx, link, timers, options, segment, ece);
                    }
                }
            }
        }
        let probing = timers.get(super::TimerKind::Persist).is_some();
        if self.persisted != 0 && self.usable(link) > 0 {
            // The window is open: begin anew, and do not wait out the back-off if it is not open enough.
            self.persisted = 0;
            if probing {
                self.arm_persist(cx, timers);
            }
        } else if probing && !old && !in_flight {
            // The peer has just said what its window is: there is no need to ask before another timeout is over (Linux's
            // `tcp_ack_probe`).
            self.arm_persist(cx, timers);
        }
        match advanced {
            false => AckVerdict::Old,
            true if fin && link.snd_una.after(self.write_seq) => AckVerdict::Finished,
            true => AckVerdict::New,
        }
    }

    /// A segment whose acknowledgment is not old: the peer lives. Says whether the window changed.
    pub(super) fn hear(&mut self, link: &mut Link, segment: &Segment) -> bool {
        link.probes = 0;
        if self.more == More::Wait {
            self.more = More::Over;
        }
        self.take_window(link, segment)
    }

    /// RFC 9293 section 3.10.7.4. Says whether the window changed.
    ///
    /// Deviation: RFC 9293 section 3.10.7.4 takes the window of any segment with the same or newer numbers. As in Linux
    /// (`tcp_may_update_window`) one with the same numbers has to open it, or to shut it: of two segments that came in the wrong order
    /// the wider window is the later one, as windows do not shrink.
    pub(super) fn take_window(&mut self, link: &Link, segment: &Segment) -> bool {
        let offered = offered(link, segment);
        if !self.has_news_of_window(link, segment, offered) {
            return false;
        }
        self.wl1 = segment.seq();
        self.max_wnd = self.max_wnd.max(offered);
        let changed = offered != self.wnd;
        self.wnd = offered;
        changed
    }

    fn has_news_of_window(&self, link: &Link, segment: &Segment, offered: u32) -> bool {
        segment.header.ack.after(link.snd_una)
            || segment.seq().after(self.wl1)
            || (segment.seq() == self.wl1 && (offered > self.wnd || offered == 0))
    }

    /// Whether a segment with an old timestamp is a duplicate acknowledgment that others have overtaken, of which what it reports still counts: nothing
    /// that it says could do harm, were it replayed, and its timestamp is from within a retransmission timeout (Linux's `tcp_disordered_ack_check`).
    ///
    /// Deviation: RFC 7323 section 5.3 (R1) drops it. As in Linux its SACK blocks are taken: where acknowledgments are reordered, what is lost would else
    /// be found late.
    pub(super) fn takes_late(&self, cx: &Context<'_>, link: &Link, segment: &Segment) -> bool {
        let header = &segment.header;
        // In milliseconds, as most peers' clocks tick.
        let most = self.rto(cx.config).as_millis().saturating_mul(6) / 5;
        segment.seq_len() == 0
            && header.flags.ack()
            && segment.seq() == link.rcv_nxt
            && header.ack == link.snd_una
            && !self.has_news_of_window(link, segment, offered(link, segment))
            && link
                .stamp_lag(header.options.timestamps)
                .is_some_and(|lag| u64::from(lag) <= most)
    }

    /// Progress: the peer has acknowledged up to `ack`.
    fn advance(&mut self, cx: &Context<'_>, link: &mut Link, ack: SeqNum) {
        // Without the FIN: it is no octet.
        let (from, to) = (link.snd_una, SeqNum::min(ack, self.write_seq));
        let octets = match from.before(to) {
            true => from.distance_to(to),
            false => 0,
        };
        link.tally.on_acked(cx.now, octets);
        link.snd_una = ack;
        self.on_progress();
        self.waiting_since = Tick::new(cx.now);
    }

    /// An acknowledgment of new data, with no more known than the outline tells.
    #[allow(clippy::too_many_arguments)]
    fn on_untold(
        &mut self,
        cx: &Context<'_>,
        link: &mut Link,
        timers: &mut Timers,
        options: &SocketOptions,
        segment: &Segment,
        ece: bool,
    ) {
        let ack = segment.header.ack;
        let flight = self.outline.pipe(link.in_flight());
        let told_before = link.snd_una;
        let acked = told_before.distance_to(ack);
        let told = self.outline.on_ack(link, ack);
        let (at, arrived) = (told.at, told.arrived);
        if ece {
            let marked = segments(arrived, self.segment_size(link, 0));
            cx.counting.count_many(Happening::TCPDeliveredCE, marked);
            link.tally.on_marked(marked);
        }
        let rtt = match at {
            Some(at) => Some(at.elapsed(cx.now)),
            // Karn; but a timestamp tells (RFC 7323 section 4).
            None => link.stamp_rtt(cx, segment),
        };
        if let Some(rtt) = rtt {
            self.rtt.sample(rtt);
        }
        let rate = at.map(|at| self.untold_rate(cx, at, told.since));
        if let Some(rate) = &rate {
            link.tally.rate.note(rate);
        }
        self.advance(cx, link, ack);
        if !matches!(self.outline, Outline::Again { .. }) {
            self.mode = Mode::Open;
        }
        let told = self.ack_record(cx, link, options, flight);
        let told = Ack {
            acked,
            delivered: arrived,
            // A controller takes what a coarse timestamp tells, too.
            rtt: rtt.or_else(|| link.stamp_rtt(cx, segment)),
            in_recovery: self.reduced.after(told_before),
            ece,
            rate,
            ..told
        };
        self.inform(cx, &told);
        self.end_reduced(ack);
        let first_at = self.outline.first_at();
        self.restart_timer(cx, link, timers, options, first_at, None);
    }

    /// A sample of the delivery rate: `since` octets have arrived since the first of them was sent at `at`.
    ///
    /// Where more than that was in flight then, Linux's sample begins earlier and has more in it. So that this one does not seem slower than the
    /// path is, it counts as limited by the program, unless the window is what limits it.
    fn untold_rate(&self, cx: &Context<'_>, at: Mark, since: u32) -> Rate {
        Rate {
            delivered: since,
            interval: at.elapsed(cx.now).max(Duration::from_micros(1)),
            prior: 0,
            app_limited: !self.usage.is_full(),
        }
    }

    /// An acknowledgment, told to the flight.
    #[allow(clippy::too_many_arguments)]
    fn on_told(
        &mut self,
        cx: &Context<'_>,
        link: &mut Link,
        timers: &mut Timers,
        options: &SocketOptions,
        flight: &mut Flight,
        segment: &Segment,
        mut told: Delivery,
    ) {
        let ack = segment.header.ack;
        let size = self.segment_size(link, 0).max(1);
        let pipe = flight.recovery.pipe(&flight.records);
        let floor = flight.records.start();
        let reported = match link.sack() && flight.recovery.reported.after(floor) {
            true => flight.recovery.reported,
            false => floor,
        };
        flight.recovery.reported = reported;

        let needless = self.take_reports(cx, link, flight, segment, &mut told);
        let acked = link.snd_una.distance_to(SeqNum::max(ack, link.snd_una));
        if told.advanced {
            self.take_acknowledged(cx, link, flight, &mut told, ack);
            self.advance(cx, link, ack);
            if !link.sack() {
                self.settle_duplicates(cx, link, flight, &mut told, acked, size);
            }
        }
        // RFC 8985 section 6.2 step 3: an original below what had arrived before it.
        if let (Some(low), true) = (told.lowest, link.sack()) {
            if low.before(reported) && (self.mode != Mode::Loss || flight.recovery.undo.is_some()) {
                cx.count(Happening::TCPSACKReorder);
                self.reordering.on_seen(low.distance_to(reported), size);
            }
        }
        let rtt = self.measure(cx, link, segment, &told);
        let (now, delivered, min_rtt) = (micros(cx), told.delivered, self.min_rtt_micros());
        let (latest, round) = (told.latest, self.srtt_micros());
        let deliveries = &mut flight.deliveries;
        let rate = deliveries.on_delivered(now, delivered, latest, min_rtt, round);
        flight.records.set_delivered(flight.deliveries.count());
        if let Some(rate) = &rate {
            link.tally.rate.note(rate);
        }
        self.take_needless(cx, link, flight, needless, size);
        if let Some(probe) = flight.recovery.probe {
            self.on_probe_acked(cx, link, flight, probe, needless, &told, ack);
        }

        let dubious = told.duplicate || told.reported || needless.is_some() || told.ece;
        let mut set = false;
        if dubious || self.mode != Mode::Open || told.old {
            set = self.judge(cx, link, timers, flight, &mut told);
        } else {
            self.forget_undo(link, flight);
        }
        self.settle_probe(cx, link, flight);
        if told.ece {
            let marked = segments(told.delivered, size);
            cx.counting.count_many(Happening::TCPDeliveredCE, marked);
            link.tally.on_marked(marked);
        }
        if told.old {
            return;
        }
        let progress = told.advanced || self.is_fresher(cx, flight, &told);
        if progress && !set {
            let first_at = flight.records.get(0).map(|run| run.record.at);
            let probe = flight.recovery.probe;
            self.restart_timer(cx, link, timers, options, first_at, probe);
        }
        // Without SACK the mode outlives a repair that was undone; the reduction does not.
        let undone = flight.recovery.undo.is_none();
        let reducing = self.mode == Mode::Cwr || (self.mode == Mode::Recovery && !undone);
        if reducing {
            let safe = told.advanced && told.lost == 0;
            self.reduce(link, flight, told.delivered, safe);
        }
        let held = matches!(self.mode, Mode::Cwr | Mode::Recovery);
        // Where reordering is usual, reports count as progress (Linux's tcp_may_raise_cwnd).
        let grows = told.advanced || (told.reported && self.reordering.is_high());
        let holes = flight.records.lost() > flight.records.resent();
        let record = self.ack_record(cx, link, options, pipe);
        let record = Ack {
            acked,
            delivered: told.delivered,
            lost: told.lost,
            rtt: rtt.or_else(|| link.stamp_rtt(cx, segment)),
            cwnd_limited: record.cwnd_limited || holes,
            in_recovery: held || !grows || self.reduced.after(told.before),
            ece: told.ece,
            rate,
            ..record
        };
        self.inform(cx, &record);
        self.end_reduced(link.snd_una);
    }

    /// Tells the controller.
    fn inform(&mut self, cx: &Context<'_>, ack: &Ack) {
        let Some(sign) = self.controller.on_ack(&mut self.window, ack) else {
            return;
        };
        let window = segments(self.window.ssthresh, u32::from(ack.mss));
        let (found, sum) = match sign {
            Sign::Train => (
                Happening::TCPHystartTrainDetect,
                Happening::TCPHystartTrainCwnd,
            ),
            Sign::Delay => (
                Happening::TCPHystartDelayDetect,
                Happening::TCPHystartDelayCwnd,
            ),
        };
        cx.count(found);
        cx.counting.count_many(sum, window);
    }

    /// A reduction for a full queue of this host lasts until what was in flight is acknowledged.
    fn end_reduced(&mut self, una: SeqNum) {
        if self.reduced.before(una) {
            // So that it does not come true again when the numbers wrap.
            self.reduced = una;
        }
    }

    /// What a controller is told, without what is particular to one acknowledgment. `flight` was in the network before it.
    fn ack_record(
        &self,
        cx: &Context<'_>,
        link: &Link,
        options: &SocketOptions,
        flight: u32,
    ) -> Ack {
        let size = self.segment_size(link, 0);
        Ack {
            now: cx.now,
            una: link.snd_una,
            nxt: link.snd_nxt,
            acked: 0,
            delivered: 0,
            lost: 0,
            in_flight: flight,
            mss: size.min(u32::from(u16::MAX)) as u16,
            rtt: None,
            srtt: self.rtt.srtt(),
            min_rtt: self.rtt.min_rtt(),
            paced: options.traits.has(Traits::PACED),
            cwnd_limited: self.usage.is_limited(&self.window),
            in_recovery: false,
            ece: false,
            rate: None,
        }
    }

    /// Takes the SACK blocks (RFC 2018 section 4). Returns the report of a duplicate, if there is one (RFC 2883 section 4).
    fn take_reports(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        flight: &mut Flight,
        segment: &Segment,
        told: &mut Delivery,
    ) -> Option<SeqRange> {
        if !link.sack() {
            return None;
        }
        let ack = segment.header.ack;
        let blocks = &segment.header.options.sack;
        let needless = duplicate(blocks, ack)
            // Something that the network has doubled.
            .filter(|_| link.tally.resent() != 0);
        let (now, grain, min_rtt) = (micros(cx), self.grain(), self.min_rtt_micros());
        let Flight {
            records, recovery, ..
        } = flight;
        let flying = SeqRange::between(records.start(), records.end());
        let una = SeqNum::max(ack, link.snd_una);
        let mut is_duplicate = needless.is_some();
        for block in blocks.iter() {
            // The first, if any.
            let is_duplicate = core::mem::take(&mut is_duplicate);
            // A block at the acknowledgment contradicts it; one beyond what was sent is nonsense.
            let sound = block.is_plausible()
                && block.start.after(ack)
                && block.end().before_eq(flying.end());
            let Some(block) = block.intersect(flying).filter(|_| sound) else {
                // What lies below an old acknowledgment is old itself.
                let is_old = ack != una && block.end().before_eq(una);
                if !sound && !is_duplicate && !is_old {
                    cx.count(Happening::TCPSACKDiscard);
                }
                continue;
            };
            recovery.reported = SeqNum::max(recovery.reported, block.end());
            let (high, rack, echo) = (recovery.high, &mut recovery.rack, told.echo);
            records.sack(block, |run| {
                told.note(&run, high, grain, true);
                if !is_original(cx, link, &run, echo) {
                    rack.on_delivered(&run, now, min_rtt);
                }
            });
        }
        needless
    }

    /// All is well: whether a repair of the past can be undone is forgotten once what was sent after it is acknowledged.
    pub(super) fn forget_undo(&self, link: &Link, flight: &mut Flight) {
        let recovery = &mut flight.recovery;
        recovery.first_copy = None;
        let over = |until: SeqNum| link.snd_una.after(until);
        if recovery
            .undo
            .is_some_and(|undo| undo.until.is_some_and(over))
        {
            recovery.undo = None;
        }
    }

    /// Takes what is acknowledged in sequence out of the flight.
    fn take_acknowledged(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        flight: &mut Flight,
        told: &mut Delivery,
        ack: SeqNum,
    ) {
        let (now, grain, min_rtt) = (micros(cx), self.grain(), self.min_rtt_micros());
        let Flight {
            records, recovery, ..
        } = flight;
        while let Some(run) = records.pop_acked(ack) {
            if run.record.marks.has(Marks::SACKED) {
                continue;
            }
            told.note(&run, recovery.high, grain, false);
            if link.sack() && !is_original(cx, link, &run, told.echo) {
                recovery.rack.on_delivered(&run, now, min_rtt);
            }
        }
    }

    /// An acknowledgment of new data where the peer has no SACK: one of the segments that it acknowledges filled the hole, the
    /// others were counted when their duplicates came (Linux's `tcp_remove_reno_sacks`).
    fn settle_duplicates(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        flight: &mut Flight,
        told: &mut Delivery,
        acked: u32,
        size: u32,
    ) {
        // What was sent once may have arrived after what was sent again.
        told.original &= !told.repeated;
        let counted = flight.recovery.duplicates;
        told.delivered = acked.saturating_sub(counted).max(size.min(acked));
        flight.recovery.duplicates = counted.saturating_sub(acked.saturating_sub(size));
        self.bound_duplicates(cx, link, flight, acked);
    }

    /// A round trip, if this acknowledgment tells one: from what was sent once (Karn, RFC 6298 section 3), else by the timestamp
    /// echo (RFC 7323 section 4). Returns that of what was sent last.
    fn measure(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        segment: &Segment,
        told: &Delivery,
    ) -> Option<Duration> {
        let now = micros(cx);
        let acked_at = told.acked_at.filter(|_| !told.repeated);
        let last = match (told.reported_at, acked_at) {
            (Some((_, last)), _) | (None, Some((_, last))) => Some(since(now, last)),
            (None, None) => None,
        };
        if let Some((first, _)) = acked_at.or(told.reported_at) {
            self.rtt.sample(since(now, first));
        }
        if let Some(last) = last {
            self.rtt.note_min(last);
            return Some(last);
        }
        if !told.advanced {
            return None;
        }
        let rtt = link.stamp_rtt(cx, segment)?;
        self.rtt.sample(rtt);
        Some(rtt)
    }

    /// A needless copy: reordering may reach further than was thought (RFC 8985 section 6.2 step 4). A probe's copy was sent by the
    /// clock and tells nothing of that.
    fn take_needless(
        &mut self,
        cx: &Context<'_>,
        link: &mut Link,
        flight: &mut Flight,
        needless: Option<SeqRange>,
        size: u32,
    ) {
        let recovery = &mut flight.recovery;
        let Some(block) = needless else { return };
        let needless = segments(block.len, size);
        cx.counting
            .count_many(Happening::TCPDSACKRecvSegs, needless);
        link.tally.on_dsack(needless);
        recovery.on_duplicate(block);
        let of_probe = recovery.probe.is_some_and(|probe| probe.end == block.end());
        if self.reordering.seen() && !of_probe {
            let round_over = recovery
                .dsack_round
                .is_none_or(|round| link.snd_una.after_eq(round));
            if round_over {
                recovery.dsack_round = Some(link.snd_nxt);
                self.reordering.widen();
            }
        }
    }

    /// RFC 8985 section 7.4: what became of the tail loss probe.
    #[allow(clippy::too_many_arguments)]
    fn on_probe_acked(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        flight: &mut Flight,
        probe: Probe,
        needless: Option<SeqRange>,
        told: &Delivery,
        ack: SeqNum,
    ) {
        if ack.before(probe.end) {
            return;
        }
        let by_dsack = needless.is_some_and(|block| block.end() == probe.end);
        if !probe.again || by_dsack || (told.duplicate && !told.reported) {
            // New data, or both the original and the copy have arrived.
            flight.recovery.probe = None;
        } else if ack.after(probe.end) {
            // "A loss was repaired by the probe": the window is reduced at once.
            cx.count(Happening::TCPLossProbeRecovery);
            let in_flight = told.before.distance_to(link.snd_nxt);
            self.begin_reduction(cx, link, flight, Some(in_flight), Cause::Loss);
            self.mode = Mode::Cwr;
            self.end_reduction(&flight.recovery);
            self.mode = Mode::Open;
            self.try_to_open(link, flight);
        }
    }

    /// Whether something was reported that had been sent after the oldest in flight: then the timer may begin anew.
    fn is_fresher(&self, cx: &Context<'_>, flight: &Flight, told: &Delivery) -> bool {
        let (Some((first, _)), Some(head)) = (told.reported_at, flight.records.get(0)) else {
            return false;
        };
        let now = micros(cx);
        now.wrapping_sub(first) > now.wrapping_sub(head.record.at)
    }
}

/// Whether the timestamp echo says that what arrived is the original, although a copy was sent.
fn is_original(cx: &Context<'_>, link: &Link, run: &Run, echo: Option<u32>) -> bool {
    let (Some(echo), true) = (echo, run.record.marks.has(Marks::REPEATED)) else {
        return false;
    };
    let age = since(micros(cx), run.record.at);
    link.stamp_at(cx.now - age)
        .is_some_and(|stamp| reply::is_older(echo, stamp))
}

/// The window that a segment offers, in octets.
fn offered(link: &Link, segment: &Segment) -> u32 {
    match segment.has(Flags::SYN) {
        true => u32::from(segment.header.window),
        false => link.snd_scale().widen(segment.header.window),
    }
}

/// Counts a report of a duplicate.
#[cold]
fn count_duplicate(cx: &Context<'_>, link: &Link, blocks: &SackBlocks, ack: SeqNum) {
    let Some(block) = duplicate(blocks, ack) else {
        return;
    };
    cx.count(match block.start.before(ack) {
        true => Happening::TCPDSACKRecv,
        false => Happening::TCPDSACKOfoRecv,
    });
    if link.tally.resent() == 0 {
        cx.count(Happening::TCPDSACKIgnoredDubious);
    }
}

/// The block that reports a duplicate (RFC 2883 section 4): the first, if it lies below the acknowledgment or inside of the
/// second.
fn duplicate(blocks: &SackBlocks, ack: SeqNum) -> Option<SeqRange> {
    let (first, rest) = blocks.as_slice().split_first()?;
    let below = first.start.before(ack);
    let inside = rest
        .first()
        .is_some_and(|second| second.is_plausible() && second.contains_range(*first));
    (first.is_plausible() && (below || inside)).then_some(*first)
}

/// The time from `at` to `now`, in microseconds modulo 2^32.
fn since(now: u32, at: u32) -> Duration {
    Duration::from_micros(u64::from(now.wrapping_sub(at)))
}
