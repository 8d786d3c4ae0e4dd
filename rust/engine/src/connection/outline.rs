// SPDX-License-Identifier: GPL-2.0

//! What a connection by itself knows of data in flight: two transmissions. It is enough as long as nothing is lost, and all
//! there is when the caller has no memory for a [`Flight`].

use super::link::Link;
use super::timers::Mark;
use crate::flight::{Flight, Marks};
use crate::seq::{SeqNum, SeqRange};
use crate::time::{Duration, Instant};

/// Data in flight, roughly.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outline {
    /// The [`Flight`] knows.
    Kept,
    /// What was sent first, up to `first_end`, and what was sent since.
    Sent {
        first_end: SeqNum,
        /// `None`: unknown, after a timeout.
        first_at: Option<Mark>,
        last_at: Option<Mark>,
        /// Whether it was sent over a long time, for want of memory. Then only its last octet was sent when it says: an
        /// acknowledgment of less tells no round trip, or it would seem too short.
        first_long: bool,
        last_long: bool,
        /// What was acknowledged since the first of what is in flight was sent, see [`Arrived::add`].
        arrived: Arrived,
    },
    /// A timeout without memory: all is sent again in sequence, as after RFC 5681 section 3.1.
    Again {
        /// SND.NXT when the timer expired.
        recover: SeqNum,
        /// What is to be sent next; SND.NXT when all has been.
        next: SeqNum,
        /// Octets sent since the timeout and not acknowledged.
        out: u32,
    },
}

/// Bytes, in sixteens: up to a megabyte, beyond which a delivery rate seems too small.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Default)]
pub(super) struct Arrived(u16);

impl Arrived {
    const UNIT: u32 = 16;

    const fn get(self) -> u32 {
        // No more than a megabyte.
        (self.0 as u32).saturating_mul(Arrived::UNIT)
    }

    fn add(self, bytes: u32) -> Self {
        let units = bytes.checked_div(Arrived::UNIT).unwrap_or(0);
        let units = u32::from(self.0).saturating_add(units);
        Arrived(units.min(u32::from(u16::MAX)) as u16)
    }
}

/// What an acknowledgment tells the outline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// When the oldest of what is acknowledged was sent, if it was sent once.
    pub(super) at: Option<Mark>,
    /// How many octets have arrived, and how many since then.
    pub(super) arrived: u32,
    pub(super) since: u32,
}

/// A transmission that the outline cannot hold apart from the others.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Noted {
    Yes,
    Crowded,
}

impl Outline {
    /// Nothing is in flight.
    pub(super) const fn new(start: SeqNum) -> Self {
        Outline::Sent {
            first_end: start,
            first_at: None,
            last_at: None,
            first_long: false,
            last_long: false,
            arrived: Arrived(0),
        }
    }

    /// A SYN-ACK up to `end` is in flight, sent once at `at`; `None`: it measures nothing.
    pub(super) fn of_syn(end: SeqNum, at: Option<Instant>) -> Self {
        let at = at.map(Mark::new);
        Outline::Sent {
            first_end: end,
            first_at: at,
            last_at: at,
            first_long: false,
            last_long: false,
            arrived: Arrived(0),
        }
    }

    /// How long the SYN-ACK of [`of_syn`](Self::of_syn) has been under way.
    pub(super) fn age_of_syn(&self, now: Instant) -> Option<Duration> {
        match self {
            Outline::Sent { first_at, .. } => first_at.map(|at| at.elapsed(now)),
            Outline::Kept | Outline::Again { .. } => None,
        }
    }

    /// Karn: what is sent again measures nothing.
    pub(super) fn forget_times(&mut self) {
        if let Outline::Sent {
            first_at, last_at, ..
        } = self
        {
            *first_at = None;
            *last_at = None;
        }
    }

    /// Octets from `link.snd_nxt` to `end` are sent for the first time at `now`; within `grain` microseconds they count
    /// as sent with those before. [`Noted::Crowded`]: nothing is noted.
    pub(super) fn on_sent(&mut self, link: &Link, end: SeqNum, now: Instant, grain: u32) -> Noted {
        let mark = Some(Mark::new(now));
        let long_ago =
            |at: &Option<Mark>| at.is_none_or(|at| at.elapsed(now).as_micros() > u64::from(grain));
        match self {
            Outline::Kept => {}
            Outline::Sent {
                first_end,
                first_at,
                last_at,
                first_long,
                last_long,
                arrived,
            } => {
                let single = *first_end == link.snd_nxt;
                if link.in_flight() == 0 {
                    *first_at = mark;
                    *first_end = end;
                    *first_long = false;
                    *arrived = Arrived(0);
                } else if single && !long_ago(first_at) {
                    *first_end = end;
                } else if single {
                    *last_at = mark;
                    *last_long = false;
                } else if long_ago(last_at) {
                    return Noted::Crowded;
                }
                // What joins others leaves them their time, or many short gaps would make a long one.
            }
            Outline::Again { next, out, .. } => {
                *next = end;
                *out = out.saturating_add(link.snd_nxt.distance_to(end));
            }
        }
        Noted::Yes
    }

    /// There is no memory for a transmission: it joins the last one.
    pub(super) fn on_crowded(&mut self, now: Instant) {
        if let Outline::Sent {
            last_at, last_long, ..
        } = self
        {
            *last_at = Some(Mark::new(now));
            *last_long = true;
        }
    }

    /// Up to `end`, `len` octets were sent again.
    pub(super) fn on_sent_again(&mut self, end: SeqNum, len: u32) {
        if let Outline::Again { next, out, .. } = self {
            *next = end;
            *out = out.saturating_add(len);
        }
    }

    /// The last `len` octets, from `start` on, did not leave the host.
    pub(super) fn take_back(&mut self, start: SeqNum, len: u32) {
        match self {
            Outline::Kept => {}
            Outline::Sent { first_end, .. } => *first_end = SeqNum::min(*first_end, start),
            Outline::Again { next, out, .. } => {
                *out = out.saturating_sub(len);
                *next = SeqNum::min(*next, start);
            }
        }
    }

    /// The peer acknowledges up to `ack`, and something is left.
    pub(super) fn on_ack(&mut self, link: &Link, ack: SeqNum) -> Told {
        let acked = link.snd_una.distance_to(ack);
        match self {
            Outline::Kept => Told {
                at: None,
                arrived: acked,
                since: 0,
            },
            Outline::Sent {
                first_end,
                first_at,
                last_at,
                first_long,
                last_long,
                arrived,
            } => {
                let since = arrived.get().saturating_add(acked);
                *arrived = arrived.add(acked);
                let at = first_at.filter(|_| !*first_long || ack.after_eq(*first_end));
                if ack.after_eq(*first_end) {
                    *arrived = Arrived(0).add(first_end.distance_to(ack));
                    *first_end = link.snd_nxt;
                    *first_at = *last_at;
                    *first_long = *last_long;
                }
                Told {
                    at,
                    arrived: acked,
                    since,
                }
            }
            Outline::Again { recover, next, out } => {
                // Only what was sent again has left the network now; what lies beyond was there all along.
                let arrived = acked.min(*out);
                if ack.after_eq(*recover) {
                    *self = Outline::new(link.snd_nxt);
                } else {
                    *next = SeqNum::max(*next, ack);
                    *out = out.saturating_sub(arrived);
                }
                Told {
                    at: None,
                    arrived,
                    since: 0,
                }
            }
        }
    }

    /// When the oldest octet in flight was sent, if that is known.
    pub(super) fn first_at(&self) -> Option<u32> {
        match self {
            Outline::Sent { first_at, .. } => first_at.map(Mark::get),
            Outline::Kept | Outline::Again { .. } => None,
        }
    }

    /// When the oldest and the newest octet in flight were sent, if that is known.
    pub(super) fn first_and_last_at(&self) -> Option<(u32, u32)> {
        match self {
            Outline::Sent {
                first_at, last_at, ..
            } => first_at.map(|first| (first.get(), last_at.unwrap_or(first).get())),
            Outline::Kept | Outline::Again { .. } => None,
        }
    }

    /// Octets in the network, of `flight` that are not acknowledged.
    pub(super) fn pipe(&self, flight: u32) -> u32 {
        match self {
            Outline::Again { out, .. } => flight.min(*out),
            Outline::Kept | Outline::Sent { .. } => flight,
        }
    }

    /// Writes into `flight` what is known here.
    pub(super) fn describe(&self, link: &Link, flight: &mut Flight, now: Instant) {
        let (first_at, before) = match *self {
            Outline::Sent {
                first_at, arrived, ..
            } => (first_at, arrived.get()),
            Outline::Kept | Outline::Again { .. } => (None, 0),
        };
        let first_at = first_at.unwrap_or(Mark::new(now));
        flight.deliveries.begin(first_at.get(), before);
        let records = &mut flight.records;
        records.reset(link.snd_una);
        flight.recovery.reset(link.snd_una, link.snd_nxt);
        // What was sent at an unknown time may have been sent again, and tells no round trip.
        let mut push = |end: SeqNum, at: Option<Mark>, long: bool| {
            records.push(end, at.unwrap_or(Mark::new(now)).get(), 0);
            if at.is_none() {
                records.set_marks(records.len().saturating_sub(1), Marks::REPEATED);
            }
            if long {
                records.stretch_last();
            }
        };
        match *self {
            Outline::Kept if link.in_flight() != 0 => push(link.snd_nxt, None, false),
            Outline::Kept => {}
            Outline::Sent {
                first_end,
                first_at,
                last_at,
                first_long,
                last_long,
                arrived: _,
            } => {
                if first_end.after(link.snd_una) && first_end.before(link.snd_nxt) {
                    push(first_end, first_at, first_long);
                }
                if link.in_flight() != 0 {
                    let (at, long) = match first_end == link.snd_nxt {
                        true => (first_at, first_long),
                        false => (last_at, last_long),
                    };
                    push(link.snd_nxt, at, long);
                }
            }
            Outline::Again { recover, next, .. } => {
                if link.in_flight() != 0 {
                    push(link.snd_nxt, None, false);
                }
                let end = SeqNum::min(recover, link.snd_nxt);
                let again = SeqRange::between(link.snd_una, SeqNum::min(next, end));
                if again.is_plausible() {
                    records.resend(again, Mark::new(now).get(), 0);
                }
                for index in 0..records.len() {
                    let Some(run) = records.get(index) else { break };
                    if run.record.marks.has(Marks::RESENT) {
                        let marks = run.record.marks.with(Marks::LOST);
                        records.set_marks(index, marks);
                    } else if run.range.end().before_eq(end) {
                        records.lose(index);
                    }
                }
                flight.recovery.high = recover;
            }
        }
        let count = flight.deliveries.count();
        flight.records.set_delivered(count);
    }
}
