// SPDX-License-Identifier: GPL-2.0
//! What a plot shows: one direction of a connection over time.

use crate::ladder::flow::{Flow, Side};
use crate::ladder::segment::{Flags, Segment};
use crate::ladder::traced::{Fate, Flight, Trip};
use crate::ladder::tracker::{Numbers, Remark, Tracker};
use crate::ladder::Span;
use crate::trace::connection::Connection;
use crate::trace::event::What;

/// One direction: what one side sends, and what the other says to it. Times are nanoseconds since the connection's first segment,
/// sequence numbers relative to the sender's initial one.
#[derive(Debug, Default, PartialEq)]
pub struct Series {
    /// In the order of time.
    pub data: Vec<Sent>,
    /// What is acknowledged from then on.
    pub acks: Vec<(u64, i64)>,
    /// How far the peer allows to send from then on.
    pub window: Vec<(u64, i64)>,
    /// Blocks that the peer reports, left and right edge.
    pub sacks: Vec<(u64, (i64, i64))>,
    /// Sent and not acknowledged.
    pub outstanding: Vec<(u64, i64)>,
    /// The congestion window, and the slow start threshold below where it is known.
    pub cwnd: Vec<(u64, i64)>,
    pub ssthresh: Vec<(u64, i64)>,
}

/// A segment with data or FIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sent {
    pub time: u64,
    pub start: i64,
    pub end: i64,
    pub kind: Kind,
}

/// What is remarkable about a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    New,
    /// Sent before; or, in a capture, perhaps only out of order.
    Again,
    /// It has not come to its receiver.
    Lost,
}

impl Series {
    /// Of a capture's connection.
    pub fn of(flow: &Flow, sender: Side) -> Series {
        let mut series = Series::default();
        let Some((_, first)) = flow.segments.first() else {
            return series;
        };
        let mut tracker = Tracker::new(first);
        let mut scales = Scales::default();
        let mut edges = Edges::default();
        for (side, segment) in &flow.segments {
            let time = segment.time.saturating_sub(first.time);
            let step = tracker.observe(*side, segment);
            scales.see(*side, segment);
            if *side == sender {
                let again = matches!(step.remark, Some(Remark::Retransmission | Remark::FillsGap));
                let kind = if again { Kind::Again } else { Kind::New };
                series.sent(time, &step.numbers, kind);
                edges.sent(&step.numbers);
            } else if segment.flags.has(Flags::ACK) && !segment.flags.has(Flags::RST) {
                series.heard(time, segment, &step.numbers, scales.of(*side, segment));
                edges.heard(&step.numbers);
            }
            push(&mut series.outstanding, time, edges.outstanding());
        }
        series
    }

    /// Of a connection that was traced; `trip` is what its ends have told.
    pub fn of_trace(connection: &Connection, trip: &Trip, sender: Side) -> Series {
        let mut series = Series::default();
        let since = |time: u64| time.saturating_sub(trip.begin);
        let mut flights: Vec<&Flight> = trip.flights.iter().collect();
        flights.sort_by_key(|flight| flight.time_at(sender));
        let mut scales = Scales::default();
        let mut edges = Edges::default();
        // What the sender has sent of its own numbers: relative and as on the wire.
        let mut anchor = None;
        for flight in flights {
            let (time, segment) = (since(flight.time_at(sender)), &flight.segment);
            scales.see(flight.side, segment);
            if flight.side == sender {
                anchor.get_or_insert((flight.numbers.seq, segment.seq));
                let again = flight.cause.is_retransmit()
                    || flight.sent.is_none()
                        && matches!(
                            flight.remark,
                            Some(Remark::Retransmission | Remark::FillsGap)
                        );
                let kind = match (flight.fate, again) {
                    (Fate::Lost | Fate::Partly(_), _) => Kind::Lost,
                    (Fate::Fine, true) => Kind::Again,
                    (Fate::Fine, false) => Kind::New,
                };
                series.sent(time, &flight.numbers, kind);
                edges.sent(&flight.numbers);
            } else if flight.fate == Fate::Fine
                && segment.flags.has(Flags::ACK)
                && !segment.flags.has(Flags::RST)
            {
                series.heard(
                    time,
                    segment,
                    &flight.numbers,
                    scales.of(flight.side, segment),
                );
                edges.heard(&flight.numbers);
            }
            push(&mut series.outstanding, time, edges.outstanding());
        }
        let is_window_told = !series.window.is_empty();
        for event in &connection.events {
            let What::Congestion(told) = &event.what else {
                continue;
            };
            if connection.side(event) != sender {
                continue;
            }
            let time = since(event.time);
            // Nothing more can be sent.
            if told.cwnd == 0 {
                continue;
            }
            push(&mut series.cwnd, time, told.cwnd.into());
            if let Some(ssthresh) = told.ssthresh {
                push(&mut series.ssthresh, time, ssthresh.into());
            }
            if let (false, Some((relative, wire))) = (is_window_told, anchor) {
                // Good for the 4 GB behind what was seen first.
                let una = relative + i64::from(told.snd_una.wrapping_sub(wire));
                push(&mut series.window, time, una + i64::from(told.snd_wnd));
            }
        }
        series
    }

    /// Bytes that are sent, each time that they are.
    pub fn bytes(&self) -> i64 {
        self.data.iter().map(|sent| sent.end - sent.start).sum()
    }

    /// The sender sends a segment.
    pub fn sent(&mut self, time: u64, numbers: &Numbers, kind: Kind) {
        if numbers.len > 0 {
            self.data.push(Sent {
                time,
                start: numbers.seq,
                end: numbers.seq + numbers.len,
                kind,
            });
        }
    }

    /// The peer's acknowledgment; `scale` is the shift of its window, where that is known.
    pub fn heard(&mut self, time: u64, segment: &Segment, numbers: &Numbers, scale: Option<u8>) {
        if self.acks.last().is_none_or(|last| last.1 < numbers.ack) {
            push(&mut self.acks, time, numbers.ack);
        }
        match scale {
            Some(scale) => {
                let window = i64::from(segment.window) << scale;
                push(&mut self.window, time, numbers.ack + window);
            }
            // One that is known alone, a SYN's, would stand for all.
            None => self.window.clear(),
        }
        // A block at or below what is acknowledged tells of a duplicate (RFC 2883).
        let blocks = numbers.sack.iter().filter(|block| block.1 > numbers.ack);
        self.sacks.extend(blocks.map(|block| (time, *block)));
    }

    /// What of it is in a stretch of time. What stands from then on, stands at its beginning.
    pub fn within(mut self, span: Span) -> Series {
        self.data.retain(|sent| span.has(sent.time));
        self.sacks.retain(|(time, _)| span.has(*time));
        for line in [
            &mut self.acks,
            &mut self.window,
            &mut self.outstanding,
            &mut self.cwnd,
            &mut self.ssthresh,
        ] {
            let before = line
                .iter()
                .rev()
                .find(|point| span.is_after(point.0))
                .copied();
            line.retain(|point| span.has(point.0));
            if let (Some((_, value)), Some(from)) = (before, span.begin()) {
                line.insert(0, (from, value));
            }
        }
        self
    }

    /// The first and the last time.
    pub fn times(&self) -> (u64, u64) {
        let times = self.data.iter().map(|sent| sent.time).chain(
            [&self.acks, &self.window, &self.outstanding, &self.cwnd]
                .into_iter()
                .flatten()
                .map(|point| point.0),
        );
        (times.clone().min().unwrap_or(0), times.max().unwrap_or(0))
    }
}

/// A point of a line of steps: one that changes nothing is left out.
pub fn push(line: &mut Vec<(u64, i64)>, time: u64, value: i64) {
    if line.last().is_none_or(|last| last.1 != value) {
        line.push((time, value));
    }
}

/// What is sent, and what of it is acknowledged.
#[derive(Default)]
pub struct Edges {
    next: i64,
    acknowledged: i64,
}

impl Edges {
    pub fn sent(&mut self, numbers: &Numbers) {
        self.next = self.next.max(numbers.seq + numbers.len);
    }

    pub fn heard(&mut self, numbers: &Numbers) {
        self.acknowledged = self.acknowledged.max(numbers.ack);
        // What was sent unseen has been sent.
        self.next = self.next.max(self.acknowledged);
    }

    pub fn outstanding(&self) -> i64 {
        // Before the first acknowledgment of a connection whose beginning was not seen, nothing is known.
        if self.acknowledged == 0 {
            0
        } else {
            self.next - self.acknowledged
        }
    }
}

/// The window scales of both sides (RFC 7323 section 2.2): in use when both SYNs have the option. The SYN-ACK has it only
/// where the SYN had it, so it alone tells its sender's.
#[derive(Default)]
pub struct Scales([Option<Syn>; 2]);

#[derive(Clone, Copy)]
struct Syn {
    scale: Option<u8>,
    is_answer: bool,
}

impl Scales {
    pub fn see(&mut self, side: Side, segment: &Segment) {
        if segment.flags.has(Flags::SYN) {
            self.0[side as usize] = Some(Syn {
                scale: segment.options.window_scale,
                is_answer: segment.flags.has(Flags::ACK),
            });
        }
    }

    /// By how much a segment's window is to be shifted; `None` where the SYNs that tell were not seen.
    pub fn of(&self, side: Side, segment: &Segment) -> Option<u8> {
        if segment.flags.has(Flags::SYN) {
            return Some(0);
        }
        let (mine, other) = (self.0[side as usize], self.0[1 - side as usize]);
        match (mine, other) {
            // RFC 7323 section 2.3: more counts as 14.
            (Some(mine), Some(other)) => Some(
                mine.scale
                    .filter(|_| other.scale.is_some())
                    .unwrap_or(0)
                    .min(14),
            ),
            (Some(mine), None) if mine.is_answer => Some(mine.scale.unwrap_or(0).min(14)),
            (None, Some(other)) if other.is_answer && other.scale.is_none() => Some(0),
            _ => None,
        }
    }
}
