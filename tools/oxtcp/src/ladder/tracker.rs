// SPDX-License-Identifier: GPL-2.0
//! The states of both sides, inferred from the segments between them (RFC 9293, section 3.3.2).
//!
//! A segment that was seen counts as sent by one side and received by the other. What was lost behind the
//! point of capture moves its receiver too early; the retransmission that follows shows it.

use std::fmt;

use super::flow::Side;
use super::segment::{Flags, Segment};

/// The states of RFC 9293, figure 5.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    Closed,
    Listen,
    SynSent,
    SynReceived,
    Established,
    FinWait1,
    FinWait2,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
}

impl State {
    pub fn name(self) -> &'static str {
        match self {
            State::Closed => "CLOSED",
            State::Listen => "LISTEN",
            State::SynSent => "SYN-SENT",
            State::SynReceived => "SYN-RECEIVED",
            State::Established => "ESTABLISHED",
            State::FinWait1 => "FIN-WAIT-1",
            State::FinWait2 => "FIN-WAIT-2",
            State::CloseWait => "CLOSE-WAIT",
            State::Closing => "CLOSING",
            State::LastAck => "LAST-ACK",
            State::TimeWait => "TIME-WAIT",
        }
    }
}

/// What is remarkable about a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remark {
    /// All its sequence numbers were seen before.
    Retransmission,
    /// It lies before others that were seen, and was not: reordered, or its first sending was lost before
    /// the point of capture.
    FillsGap,
    /// It lies after sequence numbers that were not seen yet.
    AfterGap,
    /// It acknowledges the same again while data is in flight.
    DuplicateAck,
    /// One sequence number before what is next: keepalive or window probe.
    Probe,
    /// The sender has no room.
    ZeroWindow,
}

impl fmt::Display for Remark {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Remark::Retransmission => "retransmission",
            Remark::FillsGap => "retransmitted or reordered",
            Remark::AfterGap => "after a gap",
            Remark::DuplicateAck => "duplicate ACK",
            Remark::Probe => "probe",
            Remark::ZeroWindow => "zero window",
        })
    }
}

/// A segment's numbers, relative to initial ones.
#[derive(Clone, Debug, Default)]
pub struct Numbers {
    /// Relative to the sender's initial sequence number.
    pub seq: i64,
    /// What it takes of the sequence numbers: its payload, SYN and FIN.
    pub len: i64,
    /// Relative to the receiver's.
    pub ack: i64,
    /// SACK blocks, relative to the receiver's initial sequence number.
    pub sack: Vec<(i64, i64)>,
}

/// A segment with what the tracker knows about it.
pub struct Step {
    pub numbers: Numbers,
    pub remark: Option<Remark>,
    /// Client and server, after the one has sent this and the other received it.
    pub states: [State; 2],
}

/// Both sides of a connection.
pub struct Tracker {
    sides: [Endpoint; 2],
}

impl Tracker {
    /// A connection whose first captured segment is this.
    pub fn new(first: &Segment) -> Tracker {
        let states = match (first.flags.has(Flags::SYN), first.flags.has(Flags::ACK)) {
            (true, false) => [State::Closed, State::Listen],
            (true, true) => [State::SynSent, State::Listen],
            (false, _) => [State::Established, State::Established],
        };
        Tracker {
            sides: states.map(Endpoint::new),
        }
    }

    pub fn states(&self) -> [State; 2] {
        [self.sides[0].state, self.sides[1].state]
    }

    /// A segment that one side sends and the other receives at once.
    pub fn observe(&mut self, from: Side, segment: &Segment) -> Step {
        let (numbers, remark) = self.send(from, segment);
        self.receive(from, segment, &numbers);
        Step {
            numbers,
            remark,
            states: self.states(),
        }
    }

    /// One side sends a segment.
    pub fn send(&mut self, from: Side, segment: &Segment) -> (Numbers, Option<Remark>) {
        let (sender, receiver) = self.ends(from);
        let flags = segment.flags;
        let [syn, fin, rst] = [Flags::SYN, Flags::FIN, Flags::RST].map(|flag| flags.has(flag));

        let start = sender.offset(segment.seq, syn);
        let len = i64::from(segment.payload) + i64::from(syn) + i64::from(fin);
        let end = start + len;
        let ack = if flags.has(Flags::ACK) {
            receiver.offset(segment.ack, false)
        } else {
            0
        };
        let remark = remark(sender, receiver, segment, start..end, ack);
        let sack = segment
            .options
            .sack
            .iter()
            .map(|&(left, right)| (receiver.offset(left, false), receiver.offset(right, false)))
            .collect();

        sender.next = sender.next.max(end);
        sender.sent.insert(start, end);
        if rst {
            sender.state = State::Closed;
        } else {
            if flags.has(Flags::ACK) {
                // Whoever acknowledges has received, also what passed unseen.
                sender.received.cover_to(ack);
                sender.take_fin(receiver.fin);
                sender.acknowledged = sender.acknowledged.max(ack);
            }
            sender.send(
                syn,
                fin.then_some(end - 1),
                receiver.fin.is_some_and(|fin| ack > fin),
            );
        }
        sender.window = segment.window;
        let numbers = Numbers {
            seq: start,
            len,
            ack,
            sack,
        };
        (numbers, remark)
    }

    /// The other side receives it.
    pub fn receive(&mut self, from: Side, segment: &Segment, numbers: &Numbers) {
        let (sender, receiver) = self.ends(from);
        let flags = segment.flags;
        if flags.has(Flags::RST) {
            receiver.state = State::Closed;
            return;
        }
        receiver
            .received
            .insert(numbers.seq, numbers.seq + numbers.len);
        receiver.receive(
            flags.has(Flags::SYN),
            flags.has(Flags::ACK).then_some(numbers.ack),
        );
        receiver.take_fin(sender.fin);
    }

    fn ends(&mut self, from: Side) -> (&mut Endpoint, &mut Endpoint) {
        let [client, server] = &mut self.sides;
        match from {
            Side::Client => (client, server),
            Side::Server => (server, client),
        }
    }
}

/// One side, in sequence numbers relative to initial ones and unwrapped, so that they can be ordered.
struct Endpoint {
    state: State,
    initial: Option<u32>,
    /// One beyond the highest sequence number it has sent.
    next: i64,
    /// All that it has sent.
    sent: Ranges,
    /// Its FIN's sequence number.
    fin: Option<i64>,
    /// What has come to it, in its peer's sequence numbers.
    received: Ranges,
    /// The highest that it has acknowledged of its peer's.
    acknowledged: i64,
    /// Its peer's FIN has come, with everything before it.
    fin_taken: bool,
    window: u16,
}

impl Endpoint {
    fn new(state: State) -> Endpoint {
        Endpoint {
            state,
            initial: None,
            next: 0,
            sent: Ranges::default(),
            fin: None,
            received: Ranges::default(),
            acknowledged: 0,
            fin_taken: false,
            window: 0,
        }
    }

    /// Relative to this side's initial sequence number. Where the SYN was not seen, the first number that
    /// is seen becomes 1, as after a SYN.
    fn offset(&mut self, seq: u32, is_syn: bool) -> i64 {
        let initial = *self.initial.get_or_insert_with(|| {
            self.next = i64::from(!is_syn);
            seq.wrapping_sub(u32::from(!is_syn))
        });
        let near = (initial as i64 + self.next) as u32;
        self.next + i64::from(seq.wrapping_sub(near) as i32)
    }

    fn send(&mut self, syn: bool, fin: Option<i64>, acknowledges_fin: bool) {
        self.state = match (self.state, syn) {
            (State::Closed, true) => State::SynSent,
            (State::Listen, true) => State::SynReceived,
            (state, _) => state,
        };
        if fin.is_some() {
            self.fin = fin;
            self.state = match self.state {
                State::Established | State::SynReceived => State::FinWait1,
                State::CloseWait if acknowledges_fin => State::LastAck,
                // The two FINs have crossed.
                State::CloseWait => State::Closing,
                state => state,
            };
        }
    }

    fn receive(&mut self, syn: bool, ack: Option<i64>) {
        let syn_acknowledged = ack.is_some_and(|ack| ack >= 1);
        let fin_acknowledged = self.fin.is_some_and(|fin| ack.is_some_and(|ack| ack > fin));
        self.state = match self.state {
            State::Listen if syn => State::SynReceived,
            State::SynSent if syn && syn_acknowledged => State::Established,
            State::SynSent if syn => State::SynReceived,
            State::SynReceived if syn_acknowledged => State::Established,
            State::FinWait1 if fin_acknowledged => State::FinWait2,
            State::Closing if fin_acknowledged => State::TimeWait,
            State::LastAck if fin_acknowledged => State::Closed,
            state => state,
        };
    }

    /// The peer's FIN counts when nothing before it is missing.
    fn take_fin(&mut self, fin: Option<i64>) {
        if self.fin_taken || fin.is_none_or(|fin| self.received.end() <= fin) {
            return;
        }
        self.fin_taken = true;
        self.state = match self.state {
            State::Established | State::SynReceived => State::CloseWait,
            State::FinWait1 => State::Closing,
            State::FinWait2 => State::TimeWait,
            state => state,
        };
    }
}

fn remark(
    sender: &Endpoint,
    receiver: &Endpoint,
    segment: &Segment,
    range: std::ops::Range<i64>,
    ack: i64,
) -> Option<Remark> {
    if segment.flags.has(Flags::RST) {
        return None;
    }
    if range.is_empty() {
        if range.start + 1 == sender.next && receiver.acknowledged > range.start && range.start > 0
        {
            return Some(Remark::Probe);
        }
        if segment.window == 0 {
            return Some(Remark::ZeroWindow);
        }
        let repeats = segment.flags.has(Flags::ACK)
            && ack == sender.acknowledged
            && ack < receiver.next
            && segment.window == sender.window
            && segment.options.sack.is_empty();
        let reports_gap = ack == sender.acknowledged && !segment.options.sack.is_empty();
        return (repeats || reports_gap).then_some(Remark::DuplicateAck);
    }
    let answers_crossing_syn =
        segment.flags.has(Flags::SYN) && segment.flags.has(Flags::ACK) && sender.acknowledged == 0;
    if answers_crossing_syn {
        None
    } else if receiver.received.covers(range.start, range.end)
        || sender.sent.covers(range.start, range.end)
    {
        Some(Remark::Retransmission)
    } else if range.start < sender.next {
        Some(Remark::FillsGap)
    } else if range.start > sender.next && sender.next > 0 {
        Some(Remark::AfterGap)
    } else {
        None
    }
}

/// Sequence numbers that were seen, as sorted ranges that do not touch.
#[derive(Default)]
struct Ranges(Vec<(i64, i64)>);

impl Ranges {
    fn insert(&mut self, start: i64, end: i64) {
        if start >= end {
            return;
        }
        let from = self.0.partition_point(|range| range.1 < start);
        let to = self.0.partition_point(|range| range.0 <= end);
        let merged = match self.0.get(from..to) {
            Some([first, .., last]) => (first.0.min(start), last.1.max(end)),
            Some([only]) => (only.0.min(start), only.1.max(end)),
            _ => (start, end),
        };
        self.0.splice(from..to, [merged]);
    }

    fn cover_to(&mut self, end: i64) {
        let start = self.0.first().map_or(end - 1, |range| range.0);
        self.insert(start.min(end), end);
    }

    fn covers(&self, start: i64, end: i64) -> bool {
        self.0
            .iter()
            .any(|range| range.0 <= start && end <= range.1)
    }

    /// Where the first gap begins.
    fn end(&self) -> i64 {
        self.0.first().map_or(0, |range| range.1)
    }
}
