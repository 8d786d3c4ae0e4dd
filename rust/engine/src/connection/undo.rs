// SPDX-License-Identifier: GPL-2.0

//! Undoing a reduction of the window that was needless: by D-SACK (RFC 3708), by timestamps (Eifel, RFC 3522), by F-RTO (RFC
//! 5682); the response is that of RFC 4015.

use super::ack::Delivery;
use super::link::Link;
use super::recovery::{any_copy, Mode, Plan, Recovery, Undo};
use super::send::Sender;
use super::timers::micros;
use crate::congestion::{CongestionControl, Window};
use crate::context::Context;
use crate::flight::Flight;
use crate::happening::Happening;
use crate::reply;
use crate::seq::SeqRange;

impl Recovery {
    /// The peer reports `block` as a duplicate (RFC 2883).
    pub(super) fn on_duplicate(&mut self, block: SeqRange) {
        if let Some(undo) = &mut self.undo {
            if let Some(resent) = undo.resent {
                if block.end().after(undo.from) {
                    undo.resent = Some(resent.saturating_sub(block.len));
                }
            }
        }
    }

    /// What has been acknowledged was not sent again, or the timestamp echo is older than the first copy (RFC 3522 section 3.2).
    fn was_delayed(&self, link: &Link, told: &Delivery) -> bool {
        match self.first_copy {
            Some(first) => told.echo.is_some_and(|echo| reply::is_older(echo, first)),
            None => link.sack() || link.snd_una.before(self.high),
        }
    }

    /// All copies were reported as duplicates.
    fn all_duplicates(&self) -> bool {
        self.undo.is_some_and(|undo| undo.resent == Some(0))
    }

    /// Nothing need have been sent again.
    fn was_needless(&self, link: &Link, told: &Delivery) -> bool {
        self.undo.is_some() && (self.all_duplicates() || self.was_delayed(link, told))
    }
}

impl Sender {
    /// Something will be sent again: notes what an undo restores. `window` says that the window is reduced for it.
    pub(super) fn begin_undo(&mut self, link: &Link, flight: &mut Flight, window: bool) {
        let mut copies = flight.records.resent();
        if flight.recovery.probe.is_some_and(|probe| probe.again) && copies == 0 {
            copies = self.segment_size(link, 0);
        }
        // Linux's `tcp_current_ssthresh`: three quarters of the window, if that is more.
        let three_quarters = (self.window.cwnd >> 1).saturating_add(self.window.cwnd >> 2);
        flight.recovery.undo = Some(Undo {
            from: link.snd_una,
            resent: (copies != 0).then_some(copies),
            before: window.then_some((
                Window {
                    cwnd: self.window.cwnd,
                    ssthresh: self.window.ssthresh.max(three_quarters),
                },
                self.controller,
            )),
            until: None,
        });
    }

    /// Restores the window (RFC 4015 section 3.2). `found` says that nothing is lost, either.
    ///
    /// Deviation: RFC 4015 section 3.2 has cwnd rise to what is in flight and an initial window at most, and the timeout become more
    /// conservative. As in Linux cwnd is what it was: the path has carried as much, and the round trip of what came late, if it can be
    /// measured, makes the timeout longer anyway.
    fn undo(&mut self, cx: &Context<'_>, flight: &mut Flight, found: bool) {
        if found {
            flight.records.find_all();
            flight.recovery.rack.on_found(micros(cx));
        }
        self.undo_window(&mut flight.recovery);
    }

    fn undo_window(&mut self, recovery: &mut Recovery) {
        if let Some((before, was)) = recovery.undo.and_then(|undo| undo.before) {
            // There is nothing to tell the peer any more (Linux's `tcp_ecn_withdraw_cwr`).
            self.reduction_untold &= before.ssthresh <= self.window.ssthresh;
            self.controller.on_undo(&mut self.window, &before, &was);
        }
        recovery.undo = None;
        // Losses are looked for again.
        recovery.rack.advanced = true;
    }

    /// All copies were needless, by D-SACK.
    pub(super) fn undo_by_dsack(&mut self, cx: &Context<'_>, recovery: &mut Recovery) -> bool {
        if !recovery.all_duplicates() {
            return false;
        }
        cx.count(Happening::TCPDSACKUndo);
        self.reordering.persist_on();
        self.undo_window(recovery);
        true
    }

    /// A partial acknowledgment in fast recovery that a delayed original brought about. Says that nothing more is to be sent
    /// again or given up as lost, as copies are in flight whose fate will tell.
    pub(super) fn undo_partly(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        flight: &mut Flight,
        told: &Delivery,
    ) -> bool {
        if flight.recovery.undo.is_none() || !flight.recovery.was_delayed(link, told) {
            return false;
        }
        let size = self.segment_size(link, 0);
        if told.before.before(flight.recovery.reported) {
            let distance = told.before.distance_to(flight.recovery.reported);
            cx.count(Happening::TCPTSReorder);
            self.reordering.on_seen(distance, size);
        }
        if flight.records.resent() != 0 {
            flight.recovery.plan = Plan::Hold;
            return true;
        }
        cx.count(Happening::TCPPartialUndo);
        self.undo(cx, flight, true);
        self.try_to_open(link, flight);
        false
    }

    /// All that was in flight when the repair began is acknowledged. Says whether the mode is kept: without SACK, until
    /// something beyond is acknowledged, against false fast retransmits (RFC 6582 section 3.2 step 2).
    pub(super) fn undo_at_the_end(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        flight: &mut Flight,
        told: &Delivery,
    ) -> bool {
        if flight.recovery.was_needless(link, told) {
            cx.count(match self.mode {
                Mode::Loss => Happening::TCPLossUndo,
                _ => Happening::TCPFullUndo,
            });
            self.undo(cx, flight, false);
        } else {
            self.reordering.on_recovered();
        }
        if keeps_mode(link, flight) {
            return true;
        }
        self.mode = Mode::Open;
        if let Some(undo) = &mut flight.recovery.undo {
            // D-SACKs of the last copies may follow.
            undo.until = Some(link.snd_nxt);
        }
        false
    }

    /// After a timeout: nothing was lost, by timestamps or D-SACK, or by what F-RTO has found out (`proven`).
    pub(super) fn undo_timeout(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        flight: &mut Flight,
        told: &Delivery,
        proven: bool,
    ) -> bool {
        if !proven && !flight.recovery.was_needless(link, told) {
            return false;
        }
        cx.count(Happening::TCPLossUndo);
        if proven {
            cx.count(Happening::TCPSpuriousRTOs);
        }
        self.undo(cx, flight, true);
        self.on_progress();
        if keeps_mode(link, flight) {
            return true;
        }
        if proven || link.sack() {
            self.mode = Mode::Open;
        }
        true
    }
}

/// Whether the mode outlives the repair, see [`Sender::undo_at_the_end`].
fn keeps_mode(link: &Link, flight: &mut Flight) -> bool {
    let Flight {
        records, recovery, ..
    } = flight;
    if link.sack() || link.snd_una != recovery.high {
        return false;
    }
    if !any_copy(records) {
        recovery.first_copy = None;
    }
    true
}
