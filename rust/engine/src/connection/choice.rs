// SPDX-License-Identifier: GPL-2.0

//! What is sent next: a probe of the tail, what is lost, what is new, and how much of it.

use super::deferral::{Deferral, Ready};
use super::link::Link;
use super::outline::Outline;
use super::recovery::{Plan, Probe};
use super::send::{partial, whole, Force, Sender};
use crate::context::{Context, SocketOptions};
use crate::flight::Flight;
use crate::seq::{SeqNum, SeqRange};

/// A burst to send.
pub(super) struct Burst {
    pub(super) start: SeqNum,
    pub(super) len: u32,
    pub(super) fin: bool,
    pub(super) why: Why,
}

/// Why a burst is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    New,
    Again,
    ProbeNew,
    ProbeAgain,
}

/// Octets to be sent again.
struct Hole {
    range: SeqRange,
    budget: u32,
}

impl Sender {
    /// What is sent next: a probe, what is lost, what is new.
    #[allow(clippy::too_many_arguments)]
    pub(super) fn choose(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        mut flight: Option<&mut Flight>,
        fin: bool,
        options: &SocketOptions,
        size: u32,
        most: u32,
        edge: Option<SeqNum>,
    ) -> Option<Burst> {
        if let Some(flight) = flight.as_deref_mut() {
            if core::mem::take(&mut flight.recovery.probe_due) {
                if let Some(burst) = self.probe(link, flight, fin, options, size, edge) {
                    let end = burst.start.add(burst.len).add(u32::from(burst.fin));
                    flight.recovery.probe = Some(Probe {
                        end: SeqNum::max(end, link.snd_nxt),
                        again: burst.why == Why::ProbeAgain,
                    });
                    return Some(burst);
                }
            }
        }
        let plan = flight
            .as_ref()
            .map_or(Plan::Repair, |flight| flight.recovery.plan);
        let (holes, pipe) = match flight.as_deref() {
            Some(flight) => {
                let records = &flight.records;
                (
                    records.first_hole().is_some(),
                    flight.recovery.pipe(records),
                )
            }
            None => (false, self.outline.pipe(link.in_flight())),
        };
        if plan == Plan::Repair {
            if let Some(burst) = self.again(link, flight.as_deref(), pipe, fin, size, most) {
                return Some(burst);
            }
            if holes {
                // What is lost goes first.
                return None;
            }
        }
        let mut burst = None;
        // What is to tell of the path does not wait for more (Linux's `tcp_xmit_recovery`: TCP_NAGLE_OFF).
        let nodelay;
        let options = match plan == Plan::New && !options.nodelay {
            true => {
                nodelay = SocketOptions {
                    nodelay: true,
                    ..*options
                };
                &nodelay
            }
            // As nearly always, and nothing is copied.
            false => options,
        };
        if self.has_new(link, fin) {
            let all = self.not_sent(link);
            let pending = edge.map_or(all, |edge| link.snd_nxt.distance_to(edge).min(all));
            let ready = Ready {
                pipe,
                pending,
                complete: fin || pending < all,
                size,
                most,
            };
            match self.deferral(cx, link, flight.as_deref(), ready) {
                Deferral::None => {
                    burst = self.fresh(link, pipe, fin, options, size, most, edge);
                }
                Deferral::Window => {
                    self.note_usage(cx, link, self.window.cwnd, size);
                    return None;
                }
                Deferral::Other => return None,
            }
            // Not while the peer's window is closed: that time tells nothing of the path before it is over.
            if burst.is_some() && link.in_flight() == 0 && self.restart(cx, size) {
                burst = self.fresh(link, pipe, fin, options, size, most, edge);
            }
        }
        match flight {
            Some(flight) if burst.is_none() && plan == Plan::New => {
                if link.snd_nxt.after(flight.recovery.high) {
                    // It will tell; until then copies wait.
                    flight.recovery.plan = Plan::Hold;
                    return None;
                }
                // RFC 5682 section 2.1 step 2b: without new data the repair is the conventional one.
                flight.recovery.frto = false;
                flight.recovery.plan = Plan::Repair;
                self.again(link, Some(flight), pipe, fin, size, most)
            }
            _ => burst,
        }
    }

    /// The next octets to be sent again: where they begin, how many there are, and how many the network has room for.
    fn hole(&self, link: &Link, flight: Option<&Flight>, pipe: u32, size: u32) -> Option<Hole> {
        let room = self.window.cwnd.saturating_sub(pipe);
        let range = match (flight, self.outline) {
            (Some(flight), _) => {
                let index = flight.records.first_hole()?;
                flight.records.get(index)?.range
            }
            (None, Outline::Again { next, .. }) if next.before(link.snd_nxt) => {
                SeqRange::between(next, link.snd_nxt)
            }
            _ => return None,
        };
        // With nothing in the network, a segment goes whatever the window.
        let budget = if pipe == 0 { room.max(size) } else { room };
        Some(Hole { range, budget })
    }

    /// What recovery wants sent again.
    fn again(
        &self,
        link: &Link,
        flight: Option<&Flight>,
        pipe: u32,
        fin: bool,
        size: u32,
        most: u32,
    ) -> Option<Burst> {
        let hole = self.hole(link, flight, pipe, size)?;
        let start = hole.range.start;
        let used = link.snd_una.distance_to(start);
        let budget = match used {
            // The peer has shrunk its window to nothing: a timeout sends the oldest segment all the same, as a probe.
            0 if self.wnd == 0 && self.force != Force::Timer => return None,
            // A timeout sends the oldest segment in any case.
            0 if self.force == Force::Timer => hole.budget.min(self.wnd).max(size),
            // "The sending TCP peer [...] must be prepared to retransmit" what lies beyond the new edge (RFC 9293 section
            // 3.8.6): the oldest segment goes.
            0 => hole.budget.min(self.wnd.max(size)),
            _ => hole.budget.min(self.wnd.saturating_sub(used)),
        };
        self.resend(link, hole.range, fin, size, budget.min(most))
    }

    /// A burst of what was sent before, within `range` and of at most `budget` octets.
    fn resend(
        &self,
        link: &Link,
        range: SeqRange,
        fin: bool,
        size: u32,
        budget: u32,
    ) -> Option<Burst> {
        let start = range.start;
        let data_end = SeqNum::min(SeqNum::min(self.write_seq, link.snd_nxt), range.end());
        let left = match start.before(data_end) {
            true => start.distance_to(data_end),
            false => 0,
        };
        // The FIN, if it was sent and is part of what is to be sent again.
        let fin_sent =
            fin && link.snd_nxt.after(self.write_seq) && range.end().after(self.write_seq);
        let len = match left <= budget {
            true => left,
            false => whole(budget, size),
        };
        let fin = fin_sent && len == left && budget != 0;
        (len != 0 || fin).then_some(Burst {
            start,
            len,
            fin,
            why: Why::Again,
        })
    }

    /// The tail loss probe (RFC 8985 section 7.3): a segment of new data if the peer's window allows one, else the last one again.
    fn probe(
        &self,
        link: &Link,
        flight: &Flight,
        fin: bool,
        options: &SocketOptions,
        size: u32,
        edge: Option<SeqNum>,
    ) -> Option<Burst> {
        if self.has_new(link, fin) {
            // Whatever cwnd is, and however small it is (Linux's `tcp_send_loss_probe`: TCP_NAGLE_OFF).
            let nodelay = SocketOptions {
                nodelay: true,
                ..*options
            };
            if let Some(burst) = self.fresh(link, 0, fin, &nodelay, size, size, edge) {
                return Some(Burst {
                    why: Why::ProbeNew,
                    ..burst
                });
            }
        }
        let records = &flight.records;
        let last = records.get(records.len().checked_sub(1)?)?;
        let data_end = SeqNum::min(self.write_seq, link.snd_nxt);
        // The segments of a burst are of one size but for the last.
        let start = SeqNum::max(SeqNum::min(last.range.start, data_end), link.snd_una);
        let whole = start.distance_to(data_end).saturating_sub(1);
        let start = start.add(whole.saturating_sub(whole.checked_rem(size).unwrap_or(0)));
        let edge = link.snd_una.add(self.wnd);
        if link.snd_nxt.after(edge) {
            return None;
        }
        let range = SeqRange::between(start, link.snd_nxt);
        let burst = self.resend(link, range, fin, size, size)?;
        Some(Burst {
            why: Why::ProbeAgain,
            ..burst
        })
    }

    /// What can be sent for the first time, with `pipe` octets in the network, and not beyond `edge`.
    #[allow(clippy::too_many_arguments)]
    fn fresh(
        &self,
        link: &Link,
        pipe: u32,
        fin: bool,
        options: &SocketOptions,
        size: u32,
        most: u32,
        edge: Option<SeqNum>,
    ) -> Option<Burst> {
        if matches!(self.outline, Outline::Again { next, .. } if next.before(link.snd_nxt)) {
            return None;
        }
        let usable = self.usable(link);
        let cwnd = self.window.cwnd;
        let room = match pipe {
            0 => cwnd.max(size),
            _ => cwnd.saturating_sub(pipe),
        };
        let all = self.not_sent(link);
        let pending = edge.map_or(all, |edge| link.snd_nxt.distance_to(edge).min(all));
        // A window leaves in two bursts at least, so that the acknowledgments of one keep the next going (Linux's
        // `tcp_cwnd_test`).
        let half = whole(cwnd / 2, size).max(size);
        let budget = usable.min(room).min(most).min(half);
        let len = if pending <= budget {
            let tail = partial(pending, size);
            // What nothing can join waits for nothing.
            match tail == 0 || pending < all || self.tail_may_go(link, fin, options) {
                true => pending,
                false => pending.saturating_sub(tail),
            }
        } else {
            // RFC 9293 section 3.8.6.2.1: full segments only, unless the override timer has expired.
            match whole(budget, size) {
                0 if self.force != Force::No => budget.min(size),
                len => len,
            }
        };
        // The FIN takes a number, and so a byte of the window.
        let forced = self.force != Force::No && usable >= len && usable > 0;
        let fin = fin && len == all && (usable > len || forced);
        (len != 0 || fin).then_some(Burst {
            start: link.snd_nxt,
            len,
            fin,
            why: Why::New,
        })
    }
}
