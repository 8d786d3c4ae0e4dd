// SPDX-License-Identifier: GPL-2.0

//! Loss recovery: from the first sign of trouble to its end.
//!
//! | mode | what it means (as in Linux) |
//! |---|---|
//! | [`Mode::Open`] | all is well |
//! | [`Mode::Disorder`] | something has come out of order; nothing is known to be lost |
//! | [`Mode::Cwr`] | cwnd comes down because of congestion without loss |
//! | [`Mode::Recovery`] | fast recovery: RFC 6675 with RACK (RFC 8985), or RFC 6582 where the peer has no SACK |
//! | [`Mode::Loss`] | after a timeout (RFC 6298, RFC 5681 section 3.1; F-RTO, RFC 5682) |
//!
//! What is lost is decided here and in `rack.rs`; how much may be sent, in `prr.rs` and [`crate::congestion`]; what goes
//! out next, in `choice.rs`.

use super::ack::Delivery;
use super::link::Link;
use super::mtu::MtuProbe;
use super::prr::Prr;
use super::rack::{Found, Rack};
use super::send::Sender;
use super::timers::{micros, TimerKind, Timers};
use crate::congestion::{Cause, Congestion, CongestionControl, Controller, Window};
use crate::context::Context;
use crate::flight::{Flight, FlightMemory, Marks, Records};
use crate::happening::Happening;
use crate::seq::SeqNum;
use crate::time::Duration;
use crate::transmit::segments;

/// The state of loss recovery (Linux's `tcp_ca_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mode {
    /// Nothing is wrong.
    Open,
    /// Something arrived out of order, or was sent again; nothing is known to be lost.
    Disorder,
    /// The window comes down for congestion that cost no segment.
    Cwr,
    /// A loss is being repaired.
    Recovery,
    /// The retransmission timer has expired.
    Loss,
}

/// What may be sent next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// What is lost, then what is new.
    Repair,
    /// What is new, once (RFC 5682 section 2.1 step 2b).
    New,
    /// What is new; copies wait, as it seems that nothing was lost.
    Hold,
}

/// What it takes to find out that a reduction of the window was needless.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Undo {
    /// SND.UNA when the repair began: D-SACKs of what lies before are old.
    pub(super) from: SeqNum,
    /// Octets sent again and not reported as duplicates; `None` before anything was sent again.
    pub(super) resent: Option<u32>,
    /// The window before the reduction, and how it was controlled. `None`: congestion was proven otherwise, and the window is not
    /// restored.
    pub(super) before: Option<(Window, Controller)>,
    /// The repair is over, and with an acknowledgment beyond this the chance is.
    pub(super) until: Option<SeqNum>,
}

/// A tail loss probe in flight (RFC 8985 section 7.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Probe {
    /// TLP.end_seq.
    pub(super) end: SeqNum,
    /// TLP.is_retrans.
    pub(super) again: bool,
}

/// The repair of one loss, or what precedes it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Recovery {
    /// RecoveryPoint: SND.NXT when the mode began.
    pub(super) high: SeqNum,
    /// Behind the highest octet that the peer has reported.
    pub(super) reported: SeqNum,
    /// Octets that duplicate acknowledgments stand for, where the peer has no SACK.
    pub(crate) duplicates: u32,
    pub(super) undo: Option<Undo>,
    /// TSval of the first segment sent again (Linux's `retrans_stamp`).
    pub(super) first_copy: Option<u32>,
    pub(super) rack: Rack,
    /// RACK.dsack_round.
    pub(super) dsack_round: Option<SeqNum>,
    pub(super) prr: Prr,
    pub(super) probe: Option<Probe>,
    /// A probe is to be sent now.
    pub(super) probe_due: bool,
    /// F-RTO: it is not yet known whether the timeout was spurious.
    pub(super) frto: bool,
    pub(super) plan: Plan,
    /// A probe of the path's MTU.
    pub(super) mtu: Option<MtuProbe>,
}

impl Recovery {
    pub(crate) const fn new() -> Self {
        Recovery {
            high: SeqNum::new(0),
            reported: SeqNum::new(0),
            duplicates: 0,
            undo: None,
            first_copy: None,
            rack: Rack::NONE,
            dsack_round: None,
            prr: Prr::NONE,
            probe: None,
            probe_due: false,
            frto: false,
            plan: Plan::Repair,
            mtu: None,
        }
    }

    /// Begins anew with SND.UNA and SND.NXT at `una` and `nxt`.
    pub(super) fn reset(&mut self, una: SeqNum, nxt: SeqNum) {
        *self = Recovery {
            high: nxt,
            reported: una,
            ..Recovery::new()
        };
    }

    /// Whether it must be remembered although nothing is in flight.
    pub(super) fn is_pending(&self) -> bool {
        self.undo.is_some()
    }

    /// Octets in the network. What was reported, or is stood for by a duplicate acknowledgment, is not: so the first of them, which do
    /// not yet tell of a loss, each let a new segment go (limited transmit, RFC 3042 section 2).
    ///
    /// Deviation: RFC 3042 section 2 stops at two segments beyond cwnd. As in Linux they go on until something counts as lost, which on
    /// a path that reorders is after more than two: the acknowledgments keep the window moving, and no more is in the network than
    /// cwnd allows.
    pub(super) fn pipe(&self, records: &Records) -> u32 {
        records.pipe().saturating_sub(self.duplicates)
    }

    /// `len` octets were sent again, with `stamp` as TSval; `None`: by a tail loss probe, which repairs nothing. What answers it shows
    /// that a repair that began later was needless (as in Linux, where it leaves `retrans_stamp` alone).
    pub(super) fn on_sent_again(&mut self, mode: Mode, len: u32, stamp: Option<u32>) {
        if let Some(undo) = &mut self.undo {
            undo.resent = Some(undo.resent.unwrap_or(0).saturating_add(len));
        }
        self.first_copy = self.first_copy.or(stamp);
        // What comes of it is not known any more.
        self.mtu = None;
        self.on_sent(mode, len);
    }

    /// The last `len` octets sent, `again` or for the first time, did not leave the host.
    pub(super) fn on_taken_back(&mut self, len: u32, again: bool) {
        self.prr.take_back(len);
        self.probe = None;
        self.mtu = None;
        if let (Some(undo), true) = (&mut self.undo, again) {
            undo.resent = undo.resent.map(|resent| resent.saturating_sub(len));
        }
    }

    /// `len` octets were sent.
    pub(super) fn on_sent(&mut self, mode: Mode, len: u32) {
        if matches!(mode, Mode::Cwr | Mode::Recovery) {
            self.prr.on_sent(len);
        }
    }
}

/// Whether a copy of anything is in flight, or of the oldest octet has been.
pub(super) fn any_copy(records: &Records) -> bool {
    let first = records.get(0);
    records.resent() != 0 || first.is_some_and(|run| run.record.marks.has(Marks::REPEATED))
}

impl Sender {
    /// What an acknowledgment means for the repair of losses: the order of things is that of Linux's
    /// `tcp_fastretrans_alert`. Says whether it has set the timer.
    pub(super) fn judge(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        timers: &mut Timers,
        flight: &mut Flight,
        told: &mut Delivery,
    ) -> bool {
        let Flight {
            records, recovery, ..
        } = flight;
        recovery.plan = Plan::Repair;
        // A mark proves congestion: the window is not restored, whatever becomes of the repair.
        if let (Some(undo), true) = (&mut recovery.undo, told.ece) {
            undo.before = None;
        }
        // RFC 2018 section 8: the peer had this, and does not acknowledge it. Perhaps acknowledgments were
        // reordered: half a round trip to see, then everything is sent again.
        let reneged = |run: crate::flight::Run| run.record.marks.has(Marks::SACKED);
        if told.advanced && records.get(0).is_some_and(reneged) {
            let half = self.rtt.srtt().unwrap_or(Duration::ZERO).half();
            let wait = half.max(RENEGING_DELAY);
            timers.set(TimerKind::Retransmit, cx.now + wait);
            return true;
        }
        let over = link.snd_una.after_eq(recovery.high);
        match self.mode {
            Mode::Open => self.forget_undo(link, flight),
            Mode::Cwr if over && link.snd_una != recovery.high => {
                self.end_reduction(&flight.recovery);
                self.mode = Mode::Open;
            }
            Mode::Recovery if over => {
                recovery.duplicates = 0;
                if self.undo_at_the_end(cx, link, flight, told) {
                    return false;
                }
                self.end_reduction(&flight.recovery);
            }
            _ => {}
        }
        match self.mode {
            Mode::Recovery => self.in_recovery(cx, link, timers, flight, told),
            Mode::Loss => self.in_loss(cx, link, timers, flight, told),
            Mode::Open | Mode::Disorder | Mode::Cwr => {
                self.in_order(cx, link, timers, flight, told)
            }
        }
    }

    /// An acknowledgment in fast recovery.
    fn in_recovery(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        timers: &mut Timers,
        flight: &mut Flight,
        told: &mut Delivery,
    ) -> bool {
        if !told.advanced {
            self.count_duplicates(cx, link, flight, told);
        } else if self.undo_partly(cx, link, flight, told) {
            return false;
        }
        if self.undo_by_dsack(cx, &mut flight.recovery) {
            self.try_to_open(link, flight);
        }
        let set = self.look_for_losses(cx, link, timers, flight, told);
        if self.mode != Mode::Recovery && flight.records.lost() != 0 {
            self.enter_recovery(cx, link, flight, told.ece);
        }
        set
    }

    /// An acknowledgment after a timeout.
    fn in_loss(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        timers: &mut Timers,
        flight: &mut Flight,
        told: &mut Delivery,
    ) -> bool {
        self.after_timeout(cx, link, flight, told);
        let set = self.look_for_losses(cx, link, timers, flight, told);
        // Losses begin a recovery where the timeout was undone, or where copies were lost.
        if self.mode == Mode::Open || told.lost_copies {
            return self.in_order(cx, link, timers, flight, told) || set;
        }
        set
    }

    /// An acknowledgment while nothing is known to be lost.
    fn in_order(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        timers: &mut Timers,
        flight: &mut Flight,
        told: &mut Delivery,
    ) -> bool {
        if told.advanced {
            flight.recovery.duplicates = 0;
        }
        self.count_duplicates(cx, link, flight, told);
        if self.mode <= Mode::Disorder {
            self.undo_by_dsack(cx, &mut flight.recovery);
        }
        let set = self.look_for_losses(cx, link, timers, flight, told);
        if flight.records.lost() == 0 {
            if told.ece {
                self.on_echo(cx, link, flight, told);
            }
            self.try_to_open(link, flight);
        } else if !self.forgive_probe(cx, link, flight) {
            self.enter_recovery(cx, link, flight, told.ece);
        }
        set
    }

    /// Where the peer has no SACK, a duplicate acknowledgment stands for a segment that has arrived (RFC 5681 section 3.2).
    fn count_duplicates(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        flight: &mut Flight,
        told: &mut Delivery,
    ) {
        if link.sack() || !told.duplicate {
            return;
        }
        let size = self.segment_size(link, 0);
        let before = flight.recovery.duplicates;
        flight.recovery.duplicates = before.saturating_add(size);
        self.bound_duplicates(cx, link, flight, 0);
        let arrived = flight.recovery.duplicates.saturating_sub(before);
        told.delivered = told.delivered.saturating_add(arrived);
    }

    /// There cannot have been more duplicates than segments in flight beside the hole. More tell of reordering.
    pub(super) fn bound_duplicates(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        flight: &mut Flight,
        acked: u32,
    ) {
        let size = self.segment_size(link, 0);
        let Flight {
            records, recovery, ..
        } = flight;
        let in_flight = link.in_flight();
        let holes = records.lost().max(size).min(in_flight);
        let most = in_flight.saturating_sub(holes);
        if recovery.duplicates > most {
            recovery.duplicates = most;
            cx.count(Happening::TCPRenoReorder);
            self.reordering
                .on_surplus(in_flight.saturating_add(acked), size);
        }
    }

    /// Marks what is lost. Says whether the timer waits for more to become so.
    fn look_for_losses(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        timers: &mut Timers,
        flight: &mut Flight,
        told: &mut Delivery,
    ) -> bool {
        if flight.records.is_empty() {
            return false;
        }
        if !link.sack() {
            let size = self.segment_size(link, 0);
            let threshold = size.saturating_mul(u32::from(self.reordering.degree));
            let lost = match self.mode {
                // RFC 6582 section 3.2 step 3: a partial acknowledgment tells of the next loss.
                //
                // Deviation: RFC 6582 section 3.2 step 3 sends it again at once. Here PRR (RFC 9937) says when there is room for it, as
                // for all that is sent in a recovery: a window that shall come down by half does not, if each loss goes out beside it.
                Mode::Recovery => told.advanced,
                Mode::Loss => false,
                _ => flight.recovery.duplicates >= threshold,
            };
            if lost {
                told.lost = told.lost.saturating_add(flight.records.lose_first(size));
            }
            return false;
        }
        if !flight.recovery.rack.advanced {
            return false;
        }
        let found = self.detect(cx, link, flight);
        told.lost = told.lost.saturating_add(found.lost);
        told.lost_copies |= found.resent;
        match found.wait {
            Some(micros) => {
                let wait = Duration::from_micros(u64::from(micros));
                timers.set(TimerKind::Reorder, cx.now + wait);
                true
            }
            None => false,
        }
    }

    /// RACK_detect_loss() with RACK_update_reo_wnd()'s conditions (RFC 8985 section 6.2 steps 4 and 5).
    pub(super) fn detect(&mut self, cx: &Context<'_>, link: &Link, flight: &mut Flight) -> Found {
        let Flight {
            records, recovery, ..
        } = flight;
        let size = self.segment_size(link, 0).max(1);
        let impatient = !self.reordering.seen()
            && (self.mode >= Mode::Recovery
                || reported_segments(records, size) >= u32::from(self.reordering.degree));
        let window = match impatient {
            true => 0,
            false => self
                .reordering
                .window(self.min_rtt_micros(), self.srtt_micros()),
        };
        let found = recovery.rack.detect(records, micros(cx), window);
        count_lost_copies(cx, found.copies, size);
        found
    }

    /// The reordering timer has expired (RFC 8985 section 6.2 step 5, RACK_detect_loss_and_arm_timer).
    pub(super) fn on_reorder_timer(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        timers: &mut Timers,
        memory: &mut dyn FlightMemory,
    ) {
        let Some(flight) = self.flight(cx, link, memory, false) else {
            self.arm_since(cx, timers, self.outline.first_at());
            return;
        };
        let found = self.detect(cx, link, flight);
        if found.lost != 0 {
            if self.mode != Mode::Recovery && !self.forgive_probe(cx, link, flight) {
                self.enter_recovery(cx, link, flight, false);
                self.reduce(link, flight, 1, false);
            }
            flight.recovery.plan = Plan::Repair;
        }
        match found.wait {
            Some(micros) => {
                let wait = Duration::from_micros(u64::from(micros));
                timers.set(TimerKind::Reorder, cx.now + wait);
            }
            None => {
                let first_at = flight.records.get(0).map(|run| run.record.at);
                self.arm_since(cx, timers, first_at);
            }
        }
    }

    /// The mode when nothing is lost.
    pub(super) fn try_to_open(&mut self, link: &Link, flight: &mut Flight) {
        let Flight {
            records, recovery, ..
        } = flight;
        let copies = any_copy(records);
        if !copies {
            recovery.first_copy = None;
        }
        if self.mode != Mode::Cwr {
            let left = records.sacked() != 0 || records.lost() != 0 || recovery.duplicates != 0;
            let mode = match left || copies {
                true => Mode::Disorder,
                false => Mode::Open,
            };
            if self.mode != mode {
                self.mode = mode;
                recovery.high = link.snd_nxt;
            }
        }
    }

    /// Fast recovery begins; `marked` says that segments were marked, too.
    pub(super) fn enter_recovery(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        flight: &mut Flight,
        marked: bool,
    ) {
        if !any_copy(&flight.records) {
            flight.recovery.first_copy = None;
        }
        cx.count(match link.sack() {
            true => Happening::TCPSackRecovery,
            false => Happening::TCPRenoRecovery,
        });
        let reducing = matches!(self.mode, Mode::Cwr | Mode::Recovery);
        // For a full queue of this host, for instance.
        let reduced = self.reduced.after(link.snd_una);
        self.begin_undo(link, flight, !reducing && !reduced && !marked);
        if !reducing {
            let in_flight = (!reduced).then_some(link.in_flight());
            self.begin_reduction(cx, link, flight, in_flight, Cause::Loss);
        }
        self.mode = Mode::Recovery;
    }

    /// A segment of `in_flight` octets was lost or marked: ssthresh is lowered, and cwnd follows (RFC 9937 section 6). `None`: for
    /// something else it has been lowered already.
    pub(super) fn begin_reduction(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        flight: &mut Flight,
        in_flight: Option<u32>,
        cause: Cause,
    ) {
        let recovery = &mut flight.recovery;
        recovery.high = link.snd_nxt;
        recovery.probe = None;
        recovery.prr = Prr::begin(self.window.cwnd);
        if let Some(in_flight) = in_flight {
            let congestion = self.congestion(cx, link, in_flight, cause);
            self.controller.on_congestion(&mut self.window, &congestion);
            self.reduction_untold = true;
        }
    }

    fn congestion(
        &self,
        cx: &Context<'_>,
        link: &Link,
        in_flight: u32,
        cause: Cause,
    ) -> Congestion {
        let size = self.segment_size(link, 0).max(1);
        Congestion {
            now: cx.now,
            // RFC 5681: without what limited transmit has added; as in Linux never more than the window.
            in_flight: in_flight.min(self.window.cwnd).max(size),
            mss: size.min(u32::from(u16::MAX)) as u16,
            cause,
        }
    }

    /// The window in fast recovery, after `delivered` octets have arrived.
    pub(super) fn reduce(&mut self, link: &Link, flight: &mut Flight, delivered: u32, safe: bool) {
        if delivered == 0 {
            return;
        }
        let size = self.segment_size(link, 0).max(1);
        let Flight {
            records, recovery, ..
        } = flight;
        let pipe = recovery.pipe(records);
        self.window.cwnd = recovery
            .prr
            .on_ack(pipe, self.window.ssthresh, delivered, size, safe)
            .max(size);
    }

    /// RFC 9937 section 6: "On exiting fast recovery, set cwnd to ssthresh".
    pub(super) fn end_reduction(&mut self, recovery: &Recovery) {
        let reduced = self.mode == Mode::Cwr || recovery.undo.is_some();
        if reduced && self.window.ssthresh != u32::MAX {
            self.window.cwnd = self.window.ssthresh;
        }
    }

    /// The retransmission timer has expired (RFC 6298 rules 5.4 to 5.6, RFC 5681 section 3.1).
    pub(super) fn on_timeout(
        &mut self,
        cx: &Context<'_>,
        link: &mut Link,
        memory: &mut dyn FlightMemory,
    ) {
        link.tally.on_timeout(cx.now);
        let link = &*link;
        let congestion = self.congestion(cx, link, link.in_flight(), Cause::Loss);
        let is_first = self.retransmits == 0;
        match self.flight(cx, link, memory, true) {
            Some(flight) => {
                if is_first && self.wnd != 0 {
                    self.count_failure(cx, link, flight);
                }
                let recovery = &mut flight.recovery;
                let before = self.mode;
                // Not once more for a loss that has reduced the window already.
                let first = before <= Mode::Disorder
                    || link.snd_una.after_eq(recovery.high)
                    || (before == Mode::Loss && self.retransmits == 0);
                let reported = reported_segments(&flight.records, u32::from(congestion.mss));
                if before <= Mode::Disorder && reported >= 3 {
                    self.reordering.on_timeout();
                }
                lose_all(cx, link, flight, u32::from(congestion.mss));
                if first {
                    self.begin_undo(link, flight, true);
                }
                self.controller
                    .on_timeout(&mut self.window, &congestion, first);
                let recovery = &mut flight.recovery;
                // What was sent just now may still arrive.
                //
                // Deviation: RFC 5681 section 3.1 makes cwnd one segment. As in Linux it is one segment more than what `lose_all` leaves in
                // the network: below that, an acknowledgment of the copy could let nothing more be repaired.
                let pipe = recovery.pipe(&flight.records);
                self.window.cwnd = pipe.saturating_add(u32::from(congestion.mss));
                recovery.high = link.snd_nxt;
                recovery.probe = None;
                recovery.probe_due = false;
                recovery.plan = Plan::Repair;
                // RFC 5682 section 2.1 step 1: not when another recovery was under way.
                //
                // Deviation: RFC 5682 section 2.1 step 1 leaves F-RTO where the same segment times out again. Linux, and so we, go on:
                // where a path is silent for long, originals arrive after several timeouts as after one.
                // Nor where the timeout may have to do with a probe that was too large. Nor once more while the peer's window is shut, as
                // in Linux: a peer that has taken its window back has thrown away what it has no room for.
                let again = self.retransmits != 0 && self.wnd != 0;
                recovery.frto = (before < Mode::Recovery || again) && recovery.mtu.is_none();
            }
            None => {
                let first = self.retransmits == 0;
                self.controller
                    .on_timeout(&mut self.window, &congestion, first);
                self.outline = super::outline::Outline::Again {
                    recover: link.snd_nxt,
                    next: link.snd_una,
                    out: 0,
                };
            }
        }
        self.mode = Mode::Loss;
        self.reduction_untold = true;
        self.rtt.back_off();
        self.retransmits = self.retransmits.saturating_add(1);
        self.force = super::send::Force::Timer;
    }

    /// Counts a timeout, the first since the last progress, that ends an attempt to do without.
    fn count_failure(&self, cx: &Context<'_>, link: &Link, flight: &Flight) {
        let told = flight.records.sacked() != 0 || flight.recovery.duplicates != 0;
        let what = match (self.mode, link.sack()) {
            (Mode::Recovery, true) => Happening::TCPSackRecoveryFail,
            (Mode::Recovery, false) => Happening::TCPRenoRecoveryFail,
            (Mode::Loss, _) => Happening::TCPLossFailures,
            (mode, true) if mode == Mode::Disorder || told => Happening::TCPSackFailures,
            (mode, false) if mode == Mode::Disorder || told => Happening::TCPRenoFailures,
            _ => return,
        };
        cx.count(what);
    }

    /// No segment of more than `mss` octets gets through: those in flight are lost, which says nothing of congestion, so the window
    /// stays (RFC 1191 section 6.5; Linux's tcp_simple_retransmit).
    pub(super) fn on_too_big(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        memory: &mut dyn FlightMemory,
        mss: u32,
    ) {
        match self.flight(cx, link, memory, true) {
            Some(flight) => {
                let Flight {
                    records, recovery, ..
                } = flight;
                for index in 0..records.len() {
                    let Some(run) = records.get(index) else { break };
                    let marks = run.record.marks;
                    if run.range.len > mss && !marks.has(Marks::SACKED) && !marks.is_hole() {
                        records.lose(index);
                    }
                }
                if records.lost() == 0 {
                    return;
                }
                recovery.mtu = None;
                self.begin_resizing(link, recovery);
            }
            None => {
                self.outline = super::outline::Outline::Again {
                    recover: link.snd_nxt,
                    next: link.snd_una,
                    out: 0,
                };
                self.resize();
            }
        }
    }

    /// F-RTO (RFC 5682 section 3.1, with SACK; section 2.1 without), and the end of the repair after a timeout.
    fn after_timeout(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        flight: &mut Flight,
        told: &Delivery,
    ) {
        if told.advanced && self.undo_timeout(cx, link, flight, told, false) {
            return;
        }
        let over = link.snd_una.after_eq(flight.recovery.high);
        if flight.recovery.frto {
            // Step 3b: something that was sent once has arrived, so not all was lost.
            if told.original && self.undo_timeout(cx, link, flight, told, true) {
                return;
            }
            let recovery = &mut flight.recovery;
            if link.snd_nxt.after(recovery.high) {
                // Step 3a: the loss was real.
                if told.reported || told.duplicate {
                    recovery.frto = false;
                }
            } else if told.advanced && !over {
                // Step 2b: new data, if there is any, will tell.
                recovery.high = link.snd_nxt;
                recovery.plan = Plan::New;
                return;
            }
        }
        if over {
            // Step 2a, and the end of the conventional repair.
            self.undo_at_the_end(cx, link, flight, told);
            return;
        }
        if !link.sack() {
            if link.snd_nxt.after(flight.recovery.high) && told.duplicate {
                // The new data of step 2b has arrived.
                let size = self.segment_size(link, 0);
                flight.recovery.duplicates = flight.recovery.duplicates.saturating_add(size);
                self.bound_duplicates(cx, link, flight, 0);
            } else if told.advanced {
                flight.recovery.duplicates = 0;
            }
        }
    }
}

/// Linux's bound for the time in which acknowledgments may still show that the peer has not reneged.
const RENEGING_DELAY: Duration = Duration::from_millis(10);

/// A timeout: all that the peer has not reported is lost, but what was sent too recently to have arrived. If the oldest
/// octet was reported, the peer has thrown it away, and no report is believed (RFC 2018 section 8).
///
/// Deviation: RFC 2018 section 8 forgets the reports at every timeout, since the peer may have thrown the data away. As in Linux, and as
/// RFC 6675 section 5.1 lets those do that notice it otherwise, only then: what has arrived need not go again.
///
/// Deviation: RFC 8985 section 6.3 counts what is older than RACK.rtt and the reordering window as lost. As in Linux the window is left
/// out: it has long passed for all but what was sent last.
fn lose_all(cx: &Context<'_>, link: &Link, flight: &mut Flight, size: u32) {
    let Flight {
        records, recovery, ..
    } = flight;
    let reneged = records
        .get(0)
        .is_some_and(|run| run.record.marks.has(Marks::SACKED));
    if reneged {
        cx.count(Happening::TCPSACKReneging);
        records.forget_reports();
    }
    let mut copies: u32 = 0;
    recovery.duplicates = 0;
    for index in 0..records.len() {
        let Some(run) = records.get(index) else { break };
        let recent = link.sack() && !recovery.rack.is_due(run.record.at, micros(cx));
        let spared = index != 0 && !reneged && recent;
        if !run.record.marks.has(Marks::SACKED) && !spared {
            if run.record.marks.is_copy() {
                copies = copies.saturating_add(run.range.len);
            }
            records.lose(index);
        }
    }
    count_lost_copies(cx, copies, size);
}

/// What was sent again has been lost again: so many octets.
fn count_lost_copies(cx: &Context<'_>, octets: u32, size: u32) {
    if octets != 0 {
        let copies = segments(octets, size);
        cx.counting.count_many(Happening::TCPLostRetransmit, copies);
    }
}

/// Segments that the peer has reported, at least so many.
fn reported_segments(records: &Records, size: u32) -> u32 {
    let runs = records
        .iter()
        .filter(|run| run.record.marks.has(Marks::SACKED));
    runs.fold(0, |sum: u32, run| {
        sum.saturating_add(run.range.len.div_ceil(size.max(1)))
    })
}
