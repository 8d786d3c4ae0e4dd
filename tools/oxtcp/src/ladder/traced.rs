// SPDX-License-Identifier: GPL-2.0
//! A connection out of a trace: what its ends have told, put together segment by segment.
//!
//! An end that is oxtcp's, in any network namespace of this machine, tells its states, why it has sent a segment and when one
//! has come. Where both ends do, a segment is known at both: what was sent and has not come is lost. Of an end that tells
//! nothing, the states are inferred as in a capture.

use super::flow::Side;
use super::rung::{Arrival, Ladder, Rung};
use super::segment::{self, Flags, Segment};
use super::tracker::{Numbers, Remark, State, Tracker};
use super::{Part, Span};
use crate::sockets;
use crate::trace::connection::Connection;
use crate::trace::event::{Cause, Decision, Direction, Timer, What};

/// A segment, as far as its sender and its receiver have told of it.
pub struct Flight {
    pub side: Side,
    pub segment: Segment,
    /// When it left and when it came, in the trace's nanoseconds.
    pub sent: Option<u64>,
    pub received: Option<u64>,
    pub cause: Cause,
    pub numbers: Numbers,
    pub remark: Option<Remark>,
    pub fate: Fate,
    states: [State; 2],
    changes_state: bool,
    dropped: Option<String>,
    notes: Vec<(Side, String)>,
    /// Sequence numbers of it that have come.
    delivered: u32,
    /// The events that tell of it, by their place.
    tail: usize,
    head: Option<usize>,
}

/// What became of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// Not known, or it has come.
    Fine,
    Lost,
    /// So many bytes of it.
    Partly(u32),
}

/// A whole connection.
pub struct Trip {
    /// When it began, in the trace's nanoseconds.
    pub begin: u64,
    pub initial: [State; 2],
    /// In the order in which they were told of.
    pub flights: Vec<Flight>,
}

impl Trip {
    /// Puts together what the ends have told; `None` where there is no segment.
    pub fn of(connection: &Connection) -> Option<Trip> {
        let mut flights = pair(connection);
        settle(connection, &mut flights);
        let begin = connection.events.first()?.time;
        let initial = follow(connection, &mut flights)?;
        Some(Trip {
            begin,
            initial,
            flights,
        })
    }

    /// Ready to be drawn.
    pub fn ladder(&self, part: Part, span: Span) -> Option<Ladder> {
        let since = |time: u64| time.saturating_sub(self.begin);
        let mut rungs: Vec<Rung> = self
            .flights
            .iter()
            .map(|flight| {
                let mut rung =
                    Rung::new(flight.side, &flight.segment, &flight.numbers, flight.remark);
                rung.time = since(flight.time());
                rung.arrival = match (flight.fate, flight.sent, flight.received) {
                    (Fate::Lost, ..) => Arrival::Lost,
                    (Fate::Partly(lost), _, Some(at)) => Arrival::Partly {
                        at: since(at),
                        lost,
                    },
                    (Fate::Fine, Some(_), Some(at)) => Arrival::At(since(at)),
                    _ => Arrival::Unseen,
                };
                rung.states = flight.states;
                rung.matters |= flight.changes_state;
                rung.notes.clone_from(&flight.notes);
                rung.cause = match (&flight.dropped, flight.cause.label()) {
                    (Some(dropped), "") => dropped.clone(),
                    (Some(dropped), cause) => format!("{cause}; {dropped}"),
                    (None, cause) => cause.to_string(),
                };
                rung
            })
            .collect();
        rungs.sort_by_key(|rung| rung.time);
        let begins = self.flights.first()?.segment.flags.has(Flags::SYN);
        Some(Ladder::new(rungs, self.initial, begins, part, span))
    }
}

impl Flight {
    /// When it was sent, or else when it came.
    pub fn time(&self) -> u64 {
        self.sent.or(self.received).unwrap_or(0)
    }

    /// When an end knew of it: it has sent it, or got it. What the other end told has to do where this one told nothing.
    pub fn time_at(&self, side: Side) -> u64 {
        match side == self.side {
            true => self.time(),
            false => self.received.unwrap_or(self.time()),
        }
    }

    fn len(&self) -> u32 {
        let flags = self.segment.flags;
        let controls = u32::from(flags.has(Flags::SYN)) + u32::from(flags.has(Flags::FIN));
        self.segment.payload.saturating_add(controls)
    }
}

/// Finds for each segment that came the one that was sent.
fn pair(connection: &Connection) -> Vec<Flight> {
    let mut flights: Vec<Flight> = Vec::new();
    // Of each side, what was sent and has not come as a whole, by its place.
    let mut open: [Vec<usize>; 2] = [Vec::new(), Vec::new()];
    let mut notes: Vec<(Side, String)> = Vec::new();
    for (place, event) in connection.events.iter().enumerate() {
        let here = connection.side(event);
        let there = match here {
            Side::Client => Side::Server,
            Side::Server => Side::Client,
        };
        match &event.what {
            What::Segment(told) => {
                let out = told.direction == Direction::Out;
                let (source, destination) = match out {
                    true => (event.local, event.remote),
                    false => (event.remote, event.local),
                };
                let ends = (source, destination);
                let Some(segment) =
                    segment::of_header(event.time, ends, &told.header.0, told.payload)
                else {
                    continue;
                };
                if !out && arrive(&mut flights, &mut open[there as usize], &segment, place) {
                    continue;
                }
                if out {
                    open[here as usize].push(flights.len());
                }
                flights.push(Flight {
                    side: if out { here } else { there },
                    segment,
                    sent: out.then_some(event.time),
                    received: (!out).then_some(event.time),
                    cause: told.cause,
                    numbers: Numbers::default(),
                    remark: None,
                    fate: Fate::Fine,
                    states: [State::Closed; 2],
                    changes_state: false,
                    dropped: None,
                    notes: std::mem::take(&mut notes),
                    delivered: 0,
                    tail: place,
                    head: (!out).then_some(place),
                });
            }
            What::Drop(drop) => {
                // It has just come, or was just to leave.
                let out = drop.direction == Direction::Out;
                let is_it = |flight: &&mut Flight| {
                    let numbers = drop.header.as_ref().is_none_or(|header| {
                        flight.segment.seq == header.seq() && flight.segment.ack == header.ack()
                    });
                    match out {
                        true => flight.side == here && flight.sent.is_some() && numbers,
                        false => {
                            flight.side == there
                                && flight.received.is_some()
                                && drop.header.is_some()
                                && numbers
                        }
                    }
                };
                if let Some(flight) = flights.iter_mut().rev().take(RECENT).find(is_it) {
                    flight.dropped = Some(match out {
                        true => format!("not sent: {}", drop.reason),
                        false => format!("dropped: {}", drop.reason),
                    });
                }
            }
            What::Timer(timer) => notes.extend(timer_note(*timer).map(|note| (here, note))),
            What::Listener(listener) => {
                notes.extend(decision_note(listener.decision).map(|note| (here, note)));
            }
            What::State { .. } | What::Congestion(_) | What::Overflow(_) => {}
        }
    }
    flights
}

/// How far back a segment is looked for that is dropped after it has come.
const RECENT: usize = 64;

/// A segment comes: it is the newest one that was sent with these numbers, or, where devices have put several together, some of them.
/// Whether one was found.
fn arrive(flights: &mut [Flight], open: &mut Vec<usize>, came: &Segment, place: usize) -> bool {
    let len = i64::from(came.payload)
        + i64::from(came.flags.has(Flags::SYN))
        + i64::from(came.flags.has(Flags::FIN));
    let mut found = false;
    // What of it is still to be found.
    let mut rest = vec![(0, len)];
    for at in (0..open.len()).rev() {
        let Some(flight) = flights.get_mut(open[at]) else {
            continue;
        };
        let sent = &flight.segment;
        if sent.options.timestamps != came.options.timestamps {
            continue;
        }
        if len == 0 {
            let same = flight.len() == 0
                && (sent.seq, sent.ack, sent.flags, sent.window, &sent.options)
                    == (came.seq, came.ack, came.flags, came.window, &came.options);
            if !same {
                continue;
            }
        } else {
            let start = i64::from(sent.seq.wrapping_sub(came.seq) as i32);
            let taken = take(&mut rest, (start, start + i64::from(flight.len())));
            if taken == 0 {
                continue;
            }
            let taken = u32::try_from(taken).unwrap_or(u32::MAX);
            flight.delivered = flight.delivered.saturating_add(taken);
        }
        found = true;
        if flight.received.is_none() {
            flight.received = Some(came.time);
            flight.head = Some(place);
        }
        if flight.delivered >= flight.len() {
            open.remove(at);
        }
        if len == 0 || rest.is_empty() {
            break;
        }
    }
    found
}

/// Takes a range out of others; how much of it was there.
fn take(ranges: &mut Vec<(i64, i64)>, (start, end): (i64, i64)) -> i64 {
    let mut taken = 0;
    let mut left = Vec::new();
    for &(from, to) in ranges.iter() {
        let (low, high) = (from.max(start), to.min(end));
        if low >= high {
            left.push((from, to));
            continue;
        }
        taken += high - low;
        left.extend(
            [(from, low), (high, to)]
                .into_iter()
                .filter(|range| range.0 < range.1),
        );
    }
    *ranges = left;
    taken
}

/// What was sent is lost if it has not come, where its receiver tells what comes, and what was sent later has come or a second has passed.
fn settle(connection: &Connection, flights: &mut [Flight]) {
    let mut tells = [false; 2];
    for event in &connection.events {
        if matches!(event.what, What::Segment(_)) {
            tells[connection.side(event) as usize] = true;
        }
    }
    let end = connection.events.last().map_or(0, |event| event.time);
    // When what has come was sent, at the latest.
    let mut newest = [0u64; 2];
    for flight in flights.iter() {
        if let (Some(sent), Some(_)) = (flight.sent, flight.received) {
            let newest = &mut newest[flight.side as usize];
            *newest = sent.max(*newest);
        }
    }
    for flight in flights {
        let Some(sent) = flight.sent else { continue };
        let is_told = tells[1 - flight.side as usize];
        let is_over = sent < newest[flight.side as usize] || sent + SECOND < end;
        if !is_told || !is_over {
            continue;
        }
        let missing = flight.len().saturating_sub(flight.delivered);
        flight.fate = match flight.received {
            None => Fate::Lost,
            Some(_) if flight.len() > 0 && missing > 0 => Fate::Partly(missing),
            Some(_) => Fate::Fine,
        };
    }
}

const SECOND: u64 = 1_000_000_000;

/// Numbers and states, in the order in which things happened. The states before the first segment, or `None` without one.
fn follow(connection: &Connection, flights: &mut [Flight]) -> Option<[State; 2]> {
    let mut tracker = Tracker::new(&flights.first()?.segment);
    let told = [Side::Client, Side::Server].map(|side| States::of(connection, side));
    let inferred = tracker.states();
    let initial = [0, 1].map(|side| told[side].initial.unwrap_or(inferred[side]));
    let mut shown = initial;

    let mut moments: Vec<(usize, usize, bool)> = Vec::new();
    for (index, flight) in flights.iter().enumerate() {
        moments.push((flight.tail, index, false));
        if flight.fate != Fate::Lost {
            moments.push((flight.head.unwrap_or(flight.tail), index, true));
        }
    }
    moments.sort_unstable_by_key(|(place, index, comes)| (*place, *comes, *index));
    for (place, index, comes) in moments {
        let flight = &mut flights[index];
        let from = flight.side as usize;
        let side = if comes {
            tracker.receive(flight.side, &flight.segment, &flight.numbers);
            1 - from
        } else {
            let (numbers, remark) = tracker.send(flight.side, &flight.segment);
            flight.numbers = numbers;
            flight.remark = match flight.sent {
                // The sender knows what it has sent before.
                Some(_) if flight.cause.is_retransmit() => Some(Remark::Retransmission),
                Some(_) => remark.filter(|remark| {
                    !matches!(
                        remark,
                        Remark::Retransmission | Remark::FillsGap | Remark::AfterGap
                    )
                }),
                None => remark,
            };
            from
        };
        let state = told[side].at(place).unwrap_or(tracker.states()[side]);
        flight.states[side] = state;
        if !comes {
            flight.states[1 - side] = shown[1 - side];
        }
        flight.changes_state |= shown[side] != state;
        shown[side] = state;
    }
    Some(initial)
}

/// The states that an end has told of.
struct States {
    initial: Option<State>,
    /// From which event on, by its place.
    changes: Vec<(usize, State)>,
    has_any: bool,
}

impl States {
    fn of(connection: &Connection, side: Side) -> States {
        let mut states = States {
            initial: None,
            changes: Vec::new(),
            has_any: false,
        };
        // What changes because a segment is sent is told of before that.
        let mut waiting: Option<State> = None;
        let mut last_segment = None;
        for (place, event) in connection.events.iter().enumerate() {
            if connection.side(event) != side {
                continue;
            }
            match &event.what {
                What::State { from, to } => {
                    states.initial.get_or_insert(state(*from));
                    states.has_any = true;
                    let by_sending = matches!(
                        to,
                        sockets::State::SynSent
                            | sockets::State::FinWait1
                            | sockets::State::LastAck
                    );
                    match last_segment {
                        Some(last) if !by_sending => states.changes.push((last, state(*to))),
                        _ => waiting = Some(state(*to)),
                    }
                }
                What::Segment(_) => {
                    last_segment = Some(place);
                    if let Some(state) = waiting.take() {
                        states.changes.push((place, state));
                    }
                }
                _ => {}
            }
        }
        states
    }

    /// After an event.
    fn at(&self, place: usize) -> Option<State> {
        if !self.has_any {
            return None;
        }
        let before = self.changes.iter().rev().find(|change| change.0 <= place);
        before.map(|change| change.1).or(self.initial)
    }
}

fn state(state: sockets::State) -> State {
    match state {
        sockets::State::Established => State::Established,
        sockets::State::SynSent => State::SynSent,
        sockets::State::SynRecv => State::SynReceived,
        sockets::State::FinWait1 => State::FinWait1,
        sockets::State::FinWait2 => State::FinWait2,
        sockets::State::TimeWait => State::TimeWait,
        sockets::State::Close => State::Closed,
        sockets::State::CloseWait => State::CloseWait,
        sockets::State::LastAck => State::LastAck,
        sockets::State::Listen => State::Listen,
        sockets::State::Closing => State::Closing,
    }
}

/// What a ladder says of a timer; nothing of those that go off all the time.
fn timer_note(timer: Timer) -> Option<String> {
    let text = match timer {
        Timer::Retransmit => "retransmission timer",
        Timer::Persist => "persist timer",
        Timer::Keepalive => "keepalive timer",
        Timer::FinWait2 => "FIN-WAIT-2 timer",
        Timer::TimeWait => "TIME-WAIT is over",
        Timer::LossProbe => "probe timer: the tail may be lost",
        Timer::Reorder => "RACK's timer: no reordering, but loss",
        Timer::SynAck => "SYN-ACK timer",
        Timer::DelayedAck | Timer::CompressedAck | Timer::Pace | Timer::Other(_) => return None,
    };
    Some(text.to_string())
}

fn decision_note(decision: Decision) -> Option<String> {
    let text = match decision {
        Decision::Cookie => "listener: a cookie",
        Decision::Evicted => "listener: this one gives way",
        Decision::Dropped => "listener: dropped",
        Decision::Reset => "listener: no room, a reset",
        Decision::Deferred => "listener: waits for data",
        Decision::CookieAccepted => "listener: the cookie is good",
        Decision::CookieRefused => "listener: no good cookie",
        Decision::Expired => "listener: no answer came",
        Decision::HalfOpen | Decision::Accepted | Decision::Other(_) => return None,
    };
    Some(text.to_string())
}
