// SPDX-License-Identifier: GPL-2.0

//! Two records of a conversation, side by side.

use std::collections::BTreeSet;

use super::classes::Class;
use super::told::Told;
use super::{Entry, Record, STATE};
use crate::engine::wheel::{self, TICK};
use crate::script::Micros;

/// What came of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Comparison {
    /// Known differences that were met on the way.
    pub classes: BTreeSet<Class>,
    /// How it ended.
    pub end: End,
}

/// How a comparison ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The two did the same to the end, but for known differences that the peer does not see.
    Same,
    /// A known difference had the peer do otherwise: nothing can be compared behind it.
    Parted,
    /// What came before a difference that nobody has explained, and the difference: expected, and what was instead.
    Differs(Vec<String>, Option<Entry>, Option<Entry>),
}

/// Lines that are shown before a difference.
const CONTEXT: usize = 14;
/// What a kernel takes for what it does, beside its ticks, in microseconds.
const SPEED: Micros = 1_500;
/// Where acknowledgments are sent at other times.
const ACKNOWLEDGED: [Class; 5] = [
    Class::Hurry,
    Class::Eager,
    Class::Whole,
    Class::Ato,
    Class::Unscaled,
];
/// Fields of [`STATE`].
const MODE: usize = 0;
const CWND: usize = 1;
const SSTHRESH: usize = 2;
const RTO: usize = 3;
const RTT: usize = 4;
const BACKOFF: usize = 6;
const RCV_SSTHRESH: usize = 9;
/// How much larger our window may be: what a packet takes, and what a full one lets it grow by.
const MOST_MORE: u32 = 4 * 1460;
/// The shortest delay of an acknowledgment (TCP_ATO_MIN).
const ATO: Micros = 40_000;
/// What is sent and reported within it is one instant where time stands still.
const INSTANT: Micros = 2_000;
/// The longest that an acknowledgment is held back (TCP_DELACK_MAX).
const HELD_BACK: Micros = 200_000;

/// Compares a record with the one that is expected.
pub fn compare(expected: &Record, actual: &Record) -> Comparison {
    let mut pair = Pair {
        left: &expected.entries,
        right: &actual.entries,
        at: (0, 0),
        classes: BTreeSet::new(),
        drift: 0,
        drifted: Class::Tick,
        largest: 0,
        written: 1,
        owed: None,
        early: None,
        told: BTreeSet::new(),
        fin: None,
        sack: false,
        scales: (None, None),
        edge: 0,
        kept: (0, 0, 0),
        read: 0,
        disorder: 0,
        step: None,
    };
    let end = loop {
        match pair.step() {
            Next::On => {}
            Next::Over => break End::Same,
            Next::Parted(class) => {
                pair.classes.insert(class);
                break End::Parted;
            }
            Next::Differs => break pair.differs(),
        }
    };
    Comparison {
        classes: pair.classes,
        end,
    }
}

/// Two records, as far as they were compared.
struct Pair<'a> {
    /// The built-in TCP's,
    left: &'a [Entry],
    /// and ours.
    right: &'a [Entry],
    at: (usize, usize),
    classes: BTreeSet<Class>,
    /// How much later ours did what it did last, since the peer's last segment.
    drift: Micros,
    /// Why.
    drifted: Class,
    /// The largest that it was.
    largest: Micros,
    /// Behind all that the program has written.
    written: u32,
    /// An acknowledgment that ours has held back, and since when.
    owed: Option<(u32, Micros)>,
    /// What ours has acknowledged before the left did.
    early: Option<u32>,
    /// Behind the peer's FIN.
    fin: Option<u32>,
    /// Both have offered SACK.
    sack: bool,
    /// How windows are scaled: the TCP's and the peer's offer.
    scales: (Option<u32>, Option<u32>),
    /// The end of the peer's window.
    edge: u32,
    /// The same, and the numbers of the segment it is from, if no later one takes it back (RFC 9293 section 3.10.7.4: SND.WL1, SND.WL2).
    kept: (u32, u32, u32),
    /// The most that the program has read at once.
    read: u32,
    /// So many segments of the peer's ago, less than this, one came out of order, or again.
    disorder: u8,
    /// The peer's last segment.
    step: Option<Told>,
    /// Bare acknowledgments on the left that ours has sent with data.
    told: BTreeSet<usize>,
}

enum Next {
    On,
    Over,
    Parted(Class),
    Differs,
}

impl Pair<'_> {
    fn step(&mut self) -> Next {
        if self.told.contains(&self.at.0) {
            self.at.0 += 1;
            return Next::On;
        }
        let (left, right) = (self.left.get(self.at.0), self.right.get(self.at.1));
        match (left, right) {
            (None, None) => Next::Over,
            (Some(left), Some(right)) if !left.done && !right.done => {
                self.both_stepped(left, right)
            }
            (Some(left), Some(right)) if left.done && right.done => self.both_did(left, right),
            (left, right) => self.one_did(left, right),
        }
    }

    /// What ours has acknowledged, and what it owes.
    fn acked(&self) -> Option<u32> {
        let sent = self.right[..self.at.1].iter().filter(|e| e.done);
        let told = sent.filter_map(|e| Told::of(e)?.ack).max();
        told.max(self.owed.map(|(ack, _)| ack)).max(self.early)
    }

    fn both_stepped(&mut self, left: &Entry, right: &Entry) -> Next {
        let write = |entry: &Entry| {
            entry
                .text
                .split_once(" = ")
                .map(|(call, _)| call.to_string())
        };
        if left.text != right.text && left.text.starts_with("write(") && write(left) == write(right)
        {
            return Next::Parted(Class::Buffer);
        }
        if left.at != right.at && self.drift.abs() > SPEED {
            // The peer answered at another time.
            return Next::Parted(self.drifted);
        }
        if left.text != right.text || left.at != right.at {
            return Next::Differs;
        }
        if self.is_overdue(left.at) {
            return Next::Differs;
        }
        if let Some(written) = left.text.strip_prefix("write(") {
            let result = written
                .split_once("= ")
                .and_then(|(_, n)| n.parse::<u32>().ok());
            self.written += result.unwrap_or(0);
        }
        if let Some(read) = left.text.strip_prefix("read(") {
            let result = read
                .split_once("= ")
                .and_then(|(_, n)| n.parse::<u32>().ok());
            self.read = self.read.max(result.unwrap_or(0));
        }
        if let Some(told) = Told::of(left) {
            if told.has('F') {
                self.fin = Some(told.end.wrapping_add(1));
            }
            if told.has('S') {
                self.sack = told.options.contains("sackOK");
                if self.scales.1.is_none() {
                    self.scales.1 = told.scale();
                }
            }
            if let Some(ack) = told.ack {
                let scale = match self.scales {
                    (Some(_), Some(scale)) if !told.has('S') => scale,
                    _ => 0,
                };
                let edge = ack.wrapping_add(told.window << scale);
                self.edge = edge;
                let (kept, seq, una) = self.kept;
                if told.start > seq || ack > una || edge > kept {
                    self.kept = (edge, told.start, ack);
                }
            }
            if told.len() > 0 {
                let next = self.acked();
                self.disorder = match next.is_some_and(|next| told.start == next) {
                    true => self.disorder.saturating_sub(1),
                    false => 16,
                };
            }
            self.step = Some(told);
            self.drift = 0;
        }
        self.pass(true, true)
    }

    /// The states that both were in before what is compared.
    fn states(&self) -> Option<(&[i64], &[i64])> {
        let last = |entries: &'_ [Entry], at: usize| {
            let before = entries[..at].iter().enumerate().rev();
            before
                .clone()
                .find(|(_, e)| !e.state.is_empty())
                .map(|(at, _)| at)
        };
        // What was done at once has one state, at its end.
        let first = [self.left.get(self.at.0), self.right.get(self.at.1)];
        let first = first.iter().flatten().map(|e| e.at).min().unwrap_or(0);
        let now = |entries: &[Entry], at: usize| {
            let known = |e: &Entry| e.done && !e.state.is_empty() && e.at <= first + SPEED;
            entries.get(at).is_some_and(known).then_some(at)
        };
        let left = now(self.left, self.at.0).or_else(|| last(self.left, self.at.0))?;
        let right = now(self.right, self.at.1).or_else(|| last(self.right, self.at.1))?;
        Some((&self.left[left].state, &self.right[right].state))
    }

    /// The same, before what is done now.
    fn states_before(&self) -> Option<(&[i64], &[i64])> {
        let last =
            |entries: &[Entry], at: usize| entries[..at].iter().rposition(|e| !e.state.is_empty());
        let (left, right) = (last(self.left, self.at.0)?, last(self.right, self.at.1)?);
        Some((&self.left[left].state, &self.right[right].state))
    }

    /// By how much the retransmission timeouts differ that both have measured.
    fn timeouts(&self) -> Micros {
        let Some((left, right)) = self.states_before() else {
            return 0;
        };
        // A round trip of what was sent again differs by as much as the times when it was.
        let near = |left: i64, right: i64| {
            (left - right).abs() <= (left / 8).max(2_000) + self.largest / 8
        };
        match near(left[RTT], right[RTT]) || self.is_cut() {
            // They are told with their back-off, but for window probes.
            true if self.is_idle() => {
                let backoff = left[BACKOFF].max(right[BACKOFF]).clamp(0, 4);
                (left[RTO] - right[RTO]).abs() << backoff
            }
            // Linux keeps one that was backed off.
            true if self.is_cut() => (left[RTO] - right[RTO]).abs(),
            true => {
                let base = |state: &[i64]| state[RTO] >> state[BACKOFF].clamp(0, 16);
                (base(left) - base(right)).abs() << left[BACKOFF].clamp(0, 16)
            }
            false => 0,
        }
    }

    /// The peer has acknowledged a part of a segment: ours takes a round trip from that.
    fn is_cut(&self) -> bool {
        let sent = self.left[..self.at.0]
            .iter()
            .filter(|e| e.done)
            .filter_map(Told::of);
        let ends: BTreeSet<u32> = sent
            .map(|told| told.end + u32::from(told.has('F')))
            .collect();
        let steps = self.left[..self.at.0].iter().filter(|e| !e.done);
        let mut acks = steps.filter_map(|e| Told::of(e)?.ack);
        acks.any(|ack| ack > 1 && !ends.contains(&ack))
    }

    /// The class of what timeouts explain.
    fn measured(&self) -> Class {
        match self.is_cut() {
            true => Class::Sample,
            false => Class::Timeout,
        }
    }

    /// An earlier probe of the tail was acknowledged to its very end.
    fn is_probed(&self) -> bool {
        let (mut end, mut probe) = (1, 0);
        for entry in &self.left[..self.at.0] {
            let Some(told) = Told::of(entry) else {
                continue;
            };
            if !entry.done {
                if told.ack.is_some_and(|ack| ack > 1 && ack == probe) {
                    return true;
                }
                continue;
            }
            let calm = entry.state.first().is_none_or(|mode| *mode == 0);
            if told.len() > 0 && told.end == end && calm {
                probe = told.end;
            }
            end = end.max(told.end);
        }
        false
    }

    /// Sent last less than [`INSTANT`] before `now`, or before something else that the peer's last segment reports.
    fn is_fresh(&self, told: &Told, now: Micros) -> bool {
        let before = self.left[..self.at.0].iter().rev().filter(|e| e.done);
        let sent = before.filter_map(|e| Some((e.at, Told::of(e)?)));
        let mut last = sent
            .clone()
            .filter(|(_, one)| one.start == told.start && one.len() > 0);
        let Some((at, _)) = last.next() else {
            return false;
        };
        let reported = |one: &Told| self.step.as_ref().is_some_and(|step| step.reports(one.end));
        let mut beside =
            sent.filter(|(then, one)| (0..INSTANT).contains(&(then - at)) && one.len() > 0);
        now - at < INSTANT || beside.any(|(_, one)| one.start != told.start && reported(&one))
    }

    /// Who of both may send more: the windows are known, and counted differently.
    fn counts(&self) -> bool {
        let Some((left, right)) = self.states() else {
            return false;
        };
        let never = |state: &[i64]| state[SSTHRESH] >= 0x7fff_ffff;
        let near = (left[CWND] - right[CWND]).abs() <= (left[CWND] / 3).max(2);
        let alike = left[MODE] == right[MODE] && never(left) == never(right) && near;
        alike && (left[CWND] != right[CWND] || self.is_small_in_flight())
    }

    /// One of both has been idle for longer than a timeout, and the other not: it begins slowly (RFC 5681 section 4.1).
    fn is_restart(&self, now: Micros) -> bool {
        let Some((left, right)) = self.states() else {
            return false;
        };
        let sent = self.left[..self.at.0]
            .iter()
            .rev()
            .filter(|e| e.done && e.at + SPEED < now);
        let data = sent.filter(|e| Told::of(e).is_some_and(|told| told.len() > 0));
        let idle = data.map(|e| now - e.at).next().unwrap_or(0);
        let (least, most) = (left[RTO].min(right[RTO]), left[RTO].max(right[RTO]));
        (least - least / 10..=most + most / 10).contains(&idle)
    }

    /// Ours has begun slowly after it had sent nothing for a timeout and longer, and the other has not.
    fn has_restarted(&self) -> bool {
        let Some((left, right)) = self.states_before() else {
            return false;
        };
        let (mut sent, mut last, mut restarted) = (0, None::<&Entry>, false);
        for entry in &self.right[..self.at.1] {
            if let (Some(before), false) = (last, entry.state.is_empty()) {
                let calm = before.state[MODE] == 0 && entry.state[MODE] == 0;
                if calm && entry.state[CWND] < before.state[CWND] {
                    restarted = entry.at - sent > before.state[RTO];
                }
            }
            if entry.done && Told::of(entry).is_some_and(|told| told.len() > 0) {
                sent = entry.at;
            }
            if !entry.state.is_empty() {
                last = Some(entry);
            }
        }
        restarted && left[MODE] == 0 && right[MODE] == 0 && right[CWND] < left[CWND]
    }

    /// Whether something smaller than the largest segment is in flight.
    fn is_small_in_flight(&self) -> bool {
        let sent = self.left[..self.at.0]
            .iter()
            .filter(|e| e.done)
            .filter_map(Told::of);
        let largest = sent.clone().map(|told| told.len()).max().unwrap_or(0);
        let (largest, acked) = (largest.max(536), self.acked_by_peer());
        sent.clone()
            .any(|told| told.len() > 0 && told.len() < largest && told.end > acked)
    }

    fn pass(&mut self, left: bool, right: bool) -> Next {
        self.at.0 += usize::from(left);
        self.at.1 += usize::from(right);
        Next::On
    }

    /// Ours has held an acknowledgment back for longer than any may be.
    fn is_overdue(&self, now: Micros) -> bool {
        self.owed
            .is_some_and(|(_, since)| now - since > HELD_BACK + 2 * TICK + SPEED)
    }

    fn both_did(&mut self, left: &Entry, right: &Entry) -> Next {
        let (Some(theirs), Some(ours)) = (Told::of(left), Told::of(right)) else {
            return match left.text == right.text {
                true => self.pass(true, true),
                false => Next::Differs,
            };
        };
        let bare = theirs.is_bare() && self.acked_before() < theirs.ack;
        if ours.brings_as(&theirs) && self.is_same_time(left, right, bare) {
            if let Some(next) = self.fields(&theirs, &ours) {
                return next;
            }
        }
        if theirs.has('S') && ours.brings_as(&theirs) && self.is_crossed() {
            return Next::Parted(Class::Crossed);
        }
        let opens = self.step.as_ref().is_some_and(|step| step.has('S'));
        if ours.has('R') && opens {
            if theirs.has('R') && ours.ack == theirs.ack {
                self.classes.insert(Class::Reset);
                return self.pass(true, true);
            }
            if theirs.is_bare() {
                return Next::Parted(Class::Reopen);
            }
        }
        if theirs.is_bare() {
            if let Some(next) = self.surplus(left, &theirs) {
                return next;
            }
        }
        if ours.is_bare() {
            if let Some(next) = self.late(right, &ours) {
                return next;
            }
        }
        self.parting(left, right, &theirs, &ours)
    }

    fn one_did(&mut self, left: Option<&Entry>, right: Option<&Entry>) -> Next {
        if let Some((entry, told)) = left.and_then(|l| Some((l, Told::of(l)?))) {
            if entry.done && told.is_bare() {
                if let Some(next) = self.surplus(entry, &told) {
                    return next;
                }
            }
        }
        if let Some((entry, told)) = right.and_then(|r| Some((r, Told::of(r)?))) {
            if entry.done && told.is_bare() {
                if let Some(next) = self.late(entry, &told) {
                    return next;
                }
            }
        }
        // Whoever did something that the other did not do before the peer's next step: how near was that step?
        match (left, right) {
            (Some(one), Some(other)) if one.done != other.done => {
                let (done, step) = if one.done { (one, other) } else { (other, one) };
                let apart = step.at - done.at;
                let near = slack(done.at) + self.drift.abs();
                let told = Told::of(done);
                let data = told.as_ref().is_some_and(|told| told.len() > 0);
                let ours = right.is_some_and(|right| right.done);
                if let (Some(told), false) = (&told, ours) {
                    if let Some(class) = self.theirs_alone(told) {
                        return Next::Parted(class);
                    }
                }
                if ours {
                    if let Some(class) = self.ours_alone(told.as_ref()) {
                        return Next::Parted(class);
                    }
                }
                match apart {
                    _ if apart <= near => Next::Parted(Class::Tick),
                    _ if apart <= near + self.timeouts() => Next::Parted(self.measured()),
                    _ if data && self.counts() => Next::Parted(Class::Octets),
                    _ if data && self.is_restart(done.at) => Next::Parted(Class::Timeout),
                    _ if data && self.has_restarted() => Next::Parted(Class::Idle),
                    _ => Next::Differs,
                }
            }
            _ => Next::Differs,
        }
    }

    /// Why the built-in TCP sends something and ours does not.
    fn theirs_alone(&self, told: &Told) -> Option<Class> {
        let edge = told.end == self.edge || told.end == self.kept.0;
        if told.len() > 0 && edge && self.is_small(told) {
            return Some(Class::Silly);
        }
        let last = self.step.as_ref().and_then(|step| step.ack);
        let alive = told.is_bare() && self.is_idle();
        if alive && last.is_some_and(|ack| ack < self.acked_by_peer()) {
            return Some(Class::Alive);
        }
        let data = self.step.as_ref().is_some_and(|step| step.len() > 0);
        if alive && data && self.is_shut() {
            return Some(Class::Persist);
        }
        let again = told.len() > 0 || told.has('F');
        (again && self.is_few()).then_some(Class::Few)
    }

    /// The program has written more than was sent.
    fn is_shut(&self) -> bool {
        let sent = self.left[..self.at.0].iter().filter(|e| e.done);
        let end = sent.filter_map(|e| Some(Told::of(e)?.end)).max();
        end.is_none_or(|end| end < self.written)
    }

    /// Smaller than the largest so far.
    fn is_small(&self, told: &Told) -> bool {
        let sent = self.left[..self.at.0]
            .iter()
            .filter(|e| e.done)
            .filter_map(Told::of);
        told.len() < sent.map(|told| told.len()).max().unwrap_or(0)
    }

    /// Why ours sends something and the built-in TCP does not.
    fn ours_alone(&self, told: Option<&Told>) -> Option<Class> {
        let (left, right) = self.states()?;
        let (before, ours) = self.states_before()?;
        if left[BACKOFF] > 0 && left[BACKOFF] >= ours[BACKOFF] && self.is_idle() {
            return Some(Class::Backoff);
        }
        let more = told.is_some_and(|told| told.len() > 0);
        // What was done at once has one state: ours may have timed out since.
        if more && before[MODE] == 0 && left[MODE] == 0 && self.is_probed() {
            return Some(Class::Probe);
        }
        let further = left[MODE] <= 1 && right[MODE] > left[MODE] && right[MODE] <= 3;
        (more && further && !self.sack && self.is_duplicated()).then_some(Class::Duplicate)
    }

    /// What had ours leave the open state was a bare acknowledgment.
    fn is_duplicated(&self) -> bool {
        let open = |e: &Entry| e.state.first().is_some_and(|mode| *mode == 0);
        let before = &self.right[..self.at.1];
        let Some(last) = before.iter().rposition(open) else {
            return false;
        };
        let step = before[last + 1..].iter().find(|e| !e.done);
        step.and_then(Told::of).is_some_and(|told| told.is_bare())
    }

    /// All that was sent is acknowledged.
    fn is_idle(&self) -> bool {
        let sent = self.right[..self.at.1].iter().filter(|e| e.done);
        let end = sent.filter_map(|e| Some(Told::of(e)?.end)).max();
        let steps = self.right[..self.at.1].iter().filter(|e| !e.done);
        steps.filter_map(|e| Told::of(e)?.ack).max() >= end
    }

    /// The times of two things that both did.
    fn is_same_time(&mut self, left: &Entry, right: &Entry, bare: bool) -> bool {
        let apart = right.at - left.at;
        let stamps = match (left.stamp, right.stamp) {
            (Some(left), Some(right)) => {
                let told = (i64::from(right) - i64::from(left)) * 1000;
                (told - apart).abs() <= 3_000
            }
            (left, right) => left.is_none() == right.is_none(),
        };
        let slack = slack(left.at.max(right.at));
        let apart_less = apart.abs().min((apart - self.drift).abs());
        if stamps && bare && apart_less > slack && apart.abs() <= ATO {
            self.classes.insert(Class::Ato);
            return true;
        }
        if !stamps || apart_less > slack + self.timeouts() {
            return false;
        }
        let class = match apart_less > slack {
            true => self.measured(),
            false => Class::Tick,
        };
        if apart.abs() > SPEED {
            self.classes.insert(class);
            self.drifted = class;
        }
        self.drift = apart;
        self.largest = self.largest.max(apart.abs());
        true
    }

    /// The fields of two segments that bring the same; `None` where they cannot be explained.
    fn fields(&mut self, theirs: &Told, ours: &Told) -> Option<Next> {
        let mut found = Vec::new();
        if ours.push != theirs.push {
            if ours.len() == 0 || ours.end >= self.written {
                return None;
            }
            found.push(Class::Push);
        }
        if ours.has('R') && theirs.has('R') && ours.ack == theirs.ack {
            if (ours.window, &ours.options) != (theirs.window, &theirs.options) {
                self.classes.insert(Class::Reset);
            }
            return Some(self.pass(true, true));
        }
        let mut base = theirs.clone();
        if ours.ack != theirs.ack || ours.options != theirs.options {
            found.push(Class::Whole);
            match self.answer(ours) {
                Some((at, told)) => {
                    self.told.insert(at);
                    base = told;
                }
                // Which timestamp is echoed depends on what was acknowledged when (RFC 7323 section 4.3).
                None if ours.ack == theirs.ack
                    && ours.plain() == theirs.plain()
                    && ACKNOWLEDGED
                        .iter()
                        .any(|class| self.classes.contains(class)) => {}
                None if self.is_answer(theirs, ours) => {
                    self.early = ours.ack;
                    base.window = ours.window;
                }
                None => return None,
            }
        }
        if ours.window != base.window {
            found.push(self.window(&base, ours)?);
        }
        if ours.has('S') {
            self.scales.0 = ours.scale();
        }
        if let (Some((owed, _)), Some(ack)) = (self.owed, ours.ack) {
            if ack >= owed {
                self.owed = None;
            }
        }
        self.classes.extend(found);
        Some(self.pass(true, true))
    }

    /// Why the window that ours offers is another.
    fn window(&self, theirs: &Told, ours: &Told) -> Option<Class> {
        if self.fin.is_some_and(|fin| ours.ack == Some(fin)) {
            return Some(Class::Closed);
        }
        let unscaled = self.scales.0.is_none() || self.scales.1.is_none();
        let large = self
            .states()
            .is_some_and(|(left, _)| left[RCV_SSTHRESH] > 65_535);
        if unscaled && large {
            return Some(Class::Unscaled);
        }
        let unit = match self.scales {
            (Some(scale), Some(_)) => 1 << scale,
            _ => 1,
        };
        let Some(more) = ours.window.checked_sub(theirs.window) else {
            let one = theirs.window - ours.window <= 1 && unit > 1;
            return one.then_some(Class::Unit);
        };
        let more = more.saturating_mul(unit);
        if more <= MOST_MORE + ours.reported() {
            return Some(Class::Window);
        }
        (more <= self.read.saturating_mul(2)).then_some(Class::Tuned)
    }

    /// The bare acknowledgment of the same step on the left that says what ours says with data.
    fn answer(&self, ours: &Told) -> Option<(usize, Told)> {
        let rest = self.left.iter().enumerate().skip(self.at.0 + 1);
        for (at, entry) in rest.take_while(|(_, entry)| entry.done) {
            let told = Told::of(entry)?;
            if told.is_bare() && told.ack == ours.ack && told.options == ours.options {
                return Some((at, told));
            }
        }
        None
    }

    /// Ours acknowledges with data what the last segment has brought; the left will do so later.
    fn is_answer(&self, theirs: &Told, ours: &Told) -> bool {
        let Some(step) = &self.step else { return false };
        let end = step.end.wrapping_add(u32::from(step.has('F')));
        let brought = step.end != step.start || step.has('F');
        let tells = ours.ack > theirs.ack && ours.ack >= Some(end);
        ours.len() > 0 && brought && tells
    }

    /// The peer's SYN has crossed ours.
    fn is_crossed(&self) -> bool {
        let before = &self.left[..self.at.0];
        let ours = |e: &Entry| e.done && Told::of(e).is_some_and(|told| told.flags == "S");
        let theirs = |e: &Entry| !e.done && Told::of(e).is_some_and(|told| told.flags == "S");
        let first = before.iter().position(ours);
        first.is_some_and(|first| before[first..].iter().any(theirs))
    }

    /// A bare acknowledgment on the left that ours does not send now.
    fn surplus(&mut self, entry: &Entry, told: &Told) -> Option<Next> {
        let ack = told.ack?;
        if self.is_crossed() && told.options.ends_with("sack 0:1") {
            self.classes.insert(Class::Crossed);
            return Some(self.pass(true, false));
        }
        if self.early.is_some_and(|early| early >= ack) {
            self.early = None;
            return Some(self.pass(true, false));
        }
        let before = self.right.get(..self.at.1)?.iter().rev();
        let last = before
            .filter(|entry| entry.done)
            .find_map(|entry| Told::of(entry)?.ack)?;
        // It tells of something new that came in order, and of a window that opens.
        let grown = match self.at.0.checked_sub(1).and_then(|at| self.left.get(at)) {
            Some(step) => !step.done && step.at + SPEED >= entry.at,
            None => false,
        };
        if ack <= last || !grown || told.options.contains("sack") {
            return None;
        }
        self.classes.insert(Class::Hurry);
        let since = self.owed.map_or(entry.at, |(_, since)| since);
        self.owed = Some((ack, since));
        Some(self.pass(true, false))
    }

    /// A bare acknowledgment of ours that the left does not send now: it sent it earlier.
    fn late(&mut self, entry: &Entry, told: &Told) -> Option<Next> {
        let ack = told.ack?;
        let Some((owed, since)) = self.owed else {
            let fresh = self.acked_before() < Some(ack) && !told.options.contains("sack");
            if self.disorder > 0 && fresh {
                self.classes.insert(Class::Eager);
                self.early = Some(ack);
                return Some(self.pass(false, true));
            }
            let (_, right) = self.states()?;
            let unscaled = self.scales.0.is_none() || self.scales.1.is_none();
            if unscaled && told.window == 65_535 && right[RCV_SSTHRESH] > 65_535 {
                self.classes.insert(Class::Unscaled);
                self.early = Some(ack);
                return Some(self.pass(false, true));
            }
            return None;
        };
        if ack > owed {
            self.early = Some(ack);
        }
        if ack < owed || entry.at - since > HELD_BACK + 2 * TICK + SPEED {
            return None;
        }
        self.owed = None;
        Some(self.pass(false, true))
    }

    /// What ours has acknowledged in segments that were sent.
    fn acked_before(&self) -> Option<u32> {
        let sent = self.right[..self.at.1].iter().filter(|e| e.done);
        sent.filter_map(|e| Told::of(e)?.ack).max()
    }

    /// The furthest that the peer has acknowledged, of what had been sent.
    fn acked_by_peer(&self) -> u32 {
        let (mut acked, mut sent) = (0, 0);
        for entry in &self.left[..self.at.0] {
            match Told::of(entry) {
                Some(told) if entry.done => sent = sent.max(told.end + u32::from(told.has('F'))),
                Some(Told { ack: Some(ack), .. }) if ack <= sent => acked = acked.max(ack),
                _ => {}
            }
        }
        acked
    }

    /// Less than a full segment is in flight, in more than one packet.
    fn is_few(&self) -> bool {
        let sent = self.left[..self.at.0].iter().filter(|e| e.done);
        let sent: Vec<Told> = sent.filter_map(Told::of).collect();
        let largest = sent.iter().map(Told::len).max().unwrap_or(0).max(536);
        let acked = self.acked_by_peer();
        let ends = sent.iter().filter(|told| told.len() > 0 || told.has('F'));
        let ends: BTreeSet<u32> = ends
            .map(|told| told.end + u32::from(told.has('F')))
            .filter(|end| *end > acked)
            .collect();
        let end = ends.last().copied().unwrap_or(acked);
        ends.len() > 1 && end - acked <= largest
    }

    /// Two segments that do not bring the same.
    fn parting(&mut self, left: &Entry, right: &Entry, theirs: &Told, ours: &Told) -> Next {
        let seen = self.right[..self.at.1].iter().filter(|e| e.done);
        let seen = seen
            .filter_map(Told::of)
            .map(|told| told.end)
            .max()
            .unwrap_or(0);
        let again = |told: &Told| told.start < seen;
        if ours.start == theirs.start && again(ours) && again(theirs) && ours.len() != theirs.len()
        {
            return Next::Parted(Class::Repack);
        }
        if again(ours) && again(theirs) && ours.end == theirs.end && ours.end == seen {
            return Next::Parted(Class::Tail);
        }
        if left.at <= right.at {
            if let Some(class) = self.theirs_alone(theirs) {
                return Next::Parted(class);
            }
        }
        if right.at <= left.at {
            if let Some(class) = self.ours_alone(Some(ours)) {
                return Next::Parted(class);
            }
        }
        let repair = self
            .states()
            .is_some_and(|(l, r)| l[MODE] > 0 || r[MODE] > 0);
        let fresh = |told: &Told, at: Micros| told.len() > 0 && self.is_fresh(told, at);
        if repair && (fresh(theirs, left.at) || fresh(ours, left.at)) {
            return Next::Parted(Class::Instant);
        }
        let first = match left.at.cmp(&right.at) {
            _ if theirs.is_bare() => Some(ours),
            _ if ours.is_bare() => Some(theirs),
            std::cmp::Ordering::Less => Some(theirs),
            std::cmp::Ordering::Greater => Some(ours),
            std::cmp::Ordering::Equal => Some(theirs),
        };
        let more = ours.options_len().checked_sub(theirs.options_len());
        if ours.start == theirs.start
            && more.is_some_and(|m| m > 0 && ours.len() + m == theirs.len())
        {
            return Next::Parted(Class::Whole);
        }
        if first.is_some_and(|told| told.len() > 0) && self.counts() {
            return Next::Parted(Class::Octets);
        }
        Next::Differs
    }

    fn differs(&self) -> End {
        let (left, right) = (self.left.get(self.at.0), self.right.get(self.at.1));
        let from = self.at.0.saturating_sub(CONTEXT);
        let context = self.left[from..self.at.0].iter();
        let mut context: Vec<String> = context.map(Entry::to_string).collect();
        context.push(format!("  state {}", STATE.join(" ")));
        for (name, entries, at) in [("-", self.left, self.at.0), ("+", self.right, self.at.1)] {
            let before = entries[..at].iter().rev();
            let known: Vec<&Entry> = before.filter(|e| !e.state.is_empty()).take(3).collect();
            for entry in known.iter().rev() {
                context.push(format!("    {name} {:?} behind {entry}", entry.state));
            }
        }
        End::Differs(context, left.cloned(), right.cloned())
    }
}

/// How far apart two times may be of what the same timer had done at `at` in two kernels: a tick, and a bucket of the wheel if one ends
/// then.
fn slack(at: Micros) -> Micros {
    wheel::bucket(at, at) + TICK + SPEED
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let who = if self.done { '>' } else { '<' };
        let (seconds, micros) = (self.at / 1_000_000, self.at % 1_000_000);
        write!(f, "{seconds:4}.{micros:06} {who} {}", self.text)?;
        match self.stamp {
            Some(stamp) => write!(f, " val {stamp}"),
            None => Ok(()),
        }
    }
}
