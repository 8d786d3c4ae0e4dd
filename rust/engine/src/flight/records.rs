// SPDX-License-Identifier: GPL-2.0

//! What is in flight, as a bounded list of runs of octets: when each was last sent, and what has become of it.
//!
//! This is the scoreboard of RFC 6675 and the table of transmission times that RFC 8985 asks for. What is sent together,
//! or nearly so, is one record; acknowledgments and losses cut records. When there are too many, neighbours are
//! merged, which costs precision in time, and at last reports of the peer are forgotten, which costs a needless
//! retransmission; nothing else depends on them (RFC 2018 section 8: they were advisory).

use crate::rate::Count;
use crate::seq::{SeqNum, SeqRange};

/// What has become of a run of octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Marks(u8);

impl Marks {
    /// In flight since it was first sent.
    pub(crate) const SENT: Marks = Marks(0);
    /// The peer has reported it (RFC 2018).
    pub(crate) const SACKED: Marks = Marks(1);
    /// Lost.
    pub(crate) const LOST: Marks = Marks(2);
    /// Sent again, and that copy is in flight.
    pub(crate) const RESENT: Marks = Marks(4);
    /// Sent again at least once: an acknowledgment of it measures no round trip (Karn).
    pub(crate) const REPEATED: Marks = Marks(8);
    /// Taken for lost by its time, and not sent again since. Once LOST is taken back, the time of that counts for it, see
    /// [`Rack::detect`](crate::connection::rack::Rack::detect).
    pub(crate) const JUDGED: Marks = Marks(16);

    pub(crate) const fn has(self, other: Marks) -> bool {
        self.0 & other.0 != 0
    }

    pub(crate) const fn with(self, other: Marks) -> Marks {
        Marks(self.0 | other.0)
    }

    pub(crate) const fn without(self, other: Marks) -> Marks {
        Marks(self.0 & !other.0)
    }

    /// It was lost, and has been sent again.
    pub(crate) const fn is_copy(self) -> bool {
        self.has(Marks::LOST) && self.has(Marks::RESENT)
    }

    /// It has to be sent again.
    pub(crate) const fn is_hole(self) -> bool {
        self.has(Marks::LOST) && !self.has(Marks::SACKED.with(Marks::RESENT))
    }
}

/// A run of octets with one fate. It begins where the record before it ends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Record {
    /// Behind its last octet.
    end: SeqNum,
    /// When the last of it was last sent, in microseconds modulo 2^32.
    pub(crate) at: u32,
    /// The first of it was sent so many microseconds earlier.
    pub(crate) span: u32,
    /// What had been delivered when the last of it was sent.
    pub(crate) count: Count,
    pub(crate) marks: Marks,
}

impl Record {
    /// Behind its last octet.
    pub(crate) const fn end(&self) -> SeqNum {
        self.end
    }
}

/// A record with its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Run {
    pub(crate) range: SeqRange,
    pub(crate) record: Record,
}

/// What was sent last. A record holds nothing that was sent on both sides of the other: of a copy and an original that have arrived, or
/// have not, it is always known which was sent first, and that tells RACK whether a copy is lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Last {
    New,
    Copy,
}

/// The records, in sequence.
///
/// # Invariants
/// They cover what is in flight without gap or overlap, and none is empty. Two neighbours are never both SACKED.
/// `sacked`, `lost` and `resent` are the sums of the octets with these marks.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    /// A ring: the first record stands at `head`.
    slots: [Record; Records::CAPACITY],
    head: u8,
    len: u8,
    last: Last,
    start: SeqNum,
    sacked: u32,
    lost: u32,
    resent: u32,
    /// What has been delivered by now, for the records to come.
    delivered: Count,
}

impl Records {
    /// With the rest of a [`Flight`](super::Flight) this makes 2 KB. Fifty holes in one window are rare; a window
    /// without holes needs about thirty records, whatever its size.
    pub(crate) const CAPACITY: usize = 112;

    /// Free records that reports of the peer must leave for what recovery cuts.
    const RESERVE: usize = 8;

    /// Nothing is in flight; the next octet to be sent is `start`.
    pub(crate) const fn new(start: SeqNum) -> Self {
        Records {
            slots: [Record {
                end: SeqNum::new(0),
                at: 0,
                span: 0,
                count: Count::ZERO,
                marks: Marks::SENT,
            }; Records::CAPACITY],
            head: 0,
            len: 0,
            last: Last::New,
            start,
            sacked: 0,
            lost: 0,
            resent: 0,
            delivered: Count::ZERO,
        }
    }

    /// What is sent from now on is sent after so much has been delivered.
    pub(crate) fn set_delivered(&mut self, delivered: Count) {
        self.delivered = delivered;
    }

    /// Forgets everything; the next octet to be sent is `start`.
    pub(crate) fn reset(&mut self, start: SeqNum) {
        self.head = 0;
        self.len = 0;
        self.last = Last::New;
        self.start = start;
        self.sacked = 0;
        self.lost = 0;
        self.resent = 0;
        self.delivered = Count::ZERO;
    }

    pub(crate) fn len(&self) -> usize {
        usize::from(self.len)
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// SND.UNA, as far as is known here.
    pub(crate) fn start(&self) -> SeqNum {
        self.start
    }

    /// SND.NXT, as far as is known here.
    pub(crate) fn end(&self) -> SeqNum {
        self.last().map_or(self.start, |last| last.end)
    }

    /// Octets that the peer has reported.
    pub(crate) fn sacked(&self) -> u32 {
        self.sacked
    }

    /// Octets that are lost, sent again or not.
    pub(crate) fn lost(&self) -> u32 {
        self.lost
    }

    /// Octets sent again whose copy is in flight.
    pub(crate) fn resent(&self) -> u32 {
        self.resent
    }

    /// RFC 6675's pipe: octets that are in the network. A copy counts beside an original that is not known to be lost.
    pub(crate) fn pipe(&self) -> u32 {
        self.start
            .distance_to(self.end())
            .saturating_sub(self.sacked)
            .saturating_sub(self.lost)
            .saturating_add(self.resent)
    }

    fn slot(&self, index: usize) -> usize {
        let slot = usize::from(self.head).saturating_add(index);
        match slot.checked_sub(Records::CAPACITY) {
            Some(wrapped) => wrapped,
            None => slot,
        }
    }

    fn record(&self, index: usize) -> Option<&Record> {
        if index >= self.len() {
            return None;
        }
        self.slots.get(self.slot(index))
    }

    fn record_mut(&mut self, index: usize) -> Option<&mut Record> {
        if index >= self.len() {
            return None;
        }
        let slot = self.slot(index);
        self.slots.get_mut(slot)
    }

    fn last(&self) -> Option<&Record> {
        self.record(self.len().checked_sub(1)?)
    }

    /// Where the record begins.
    fn start_of(&self, index: usize) -> SeqNum {
        match index.checked_sub(1).and_then(|before| self.record(before)) {
            Some(before) => before.end,
            None => self.start,
        }
    }

    /// The record at `index`.
    pub(crate) fn get(&self, index: usize) -> Option<Run> {
        let record = *self.record(index)?;
        Some(Run {
            range: SeqRange::between(self.start_of(index), record.end),
            record,
        })
    }

    /// When the first octet of all was last sent, and when the last one.
    pub(crate) fn first_and_last_at(&self) -> Option<(u32, u32)> {
        let first = self.record(0)?;
        let last = self.record(self.len().checked_sub(1)?)?;
        Some((first.at.wrapping_sub(first.span), last.at))
    }

    /// All records, in sequence.
    pub(crate) fn iter(&self) -> impl Iterator<Item = Run> + '_ {
        let mut start = self.start;
        (0..self.len()).filter_map(move |index| {
            let record = *self.record(index)?;
            let range = SeqRange::between(start, record.end);
            start = record.end;
            Some(Run { range, record })
        })
    }

    fn count(&mut self, marks: Marks, octets: u32, add: bool) {
        let apply = |sum: &mut u32| {
            *sum = match add {
                true => sum.saturating_add(octets),
                false => sum.saturating_sub(octets),
            }
        };
        if marks.has(Marks::SACKED) {
            apply(&mut self.sacked);
        }
        if marks.has(Marks::LOST) {
            apply(&mut self.lost);
        }
        if marks.has(Marks::RESENT) {
            apply(&mut self.resent);
        }
    }

    /// Gives the record other marks.
    pub(crate) fn set_marks(&mut self, index: usize, marks: Marks) {
        let Some(run) = self.get(index) else { return };
        self.count(run.record.marks, run.range.len, false);
        self.count(marks, run.range.len, true);
        if let Some(record) = self.record_mut(index) {
            record.marks = marks;
        }
    }

    /// The record was sent again, all of it, at `at`.
    pub(crate) fn set_resent(&mut self, index: usize, at: u32) {
        let Some(run) = self.get(index) else { return };
        let count = self.delivered;
        let marks = run.record.marks.with(Marks::RESENT).with(Marks::REPEATED);
        self.set_marks(index, marks.without(Marks::JUDGED));
        if let Some(record) = self.record_mut(index) {
            record.at = at;
            record.span = 0;
            record.count = count;
        }
    }

    /// Octets up to `end` were sent for the first time, at `at`. They become part of the last record if that was sent
    /// within `grain` microseconds, and no copy since.
    pub(crate) fn push(&mut self, end: SeqNum, at: u32, grain: u32) {
        let joins = self.last == Last::New;
        self.last = Last::New;
        let count = self.delivered;
        if let Some(index) = self.len().checked_sub(1) {
            if let Some(last) = self.record_mut(index) {
                let span = at.wrapping_sub(last.at).wrapping_add(last.span);
                if joins && last.marks == Marks::SENT && span <= grain {
                    last.end = end;
                    last.at = at;
                    last.span = span;
                    last.count = count;
                    return;
                }
            }
        }
        if self.len() >= Records::CAPACITY {
            self.make_room();
        }
        self.len = self.len.saturating_add(1);
        let index = self.len().saturating_sub(1);
        if let Some(new) = self.record_mut(index) {
            *new = Record {
                end,
                at,
                span: 0,
                count,
                marks: Marks::SENT,
            };
        }
    }

    /// The last record was sent over a time that nobody knows, and its last octet when it says.
    pub(crate) fn stretch_last(&mut self) {
        // Longer than any path's grain, and short enough to be compared.
        const UNKNOWN: u32 = 1 << 30;
        if let Some(last) = self
            .len()
            .checked_sub(1)
            .and_then(|last| self.record_mut(last))
        {
            last.span = UNKNOWN;
        }
    }

    /// What lies at `start` and behind did not leave the host.
    pub(crate) fn take_back(&mut self, start: SeqNum) {
        while let Some(index) = self.len().checked_sub(1) {
            let Some(run) = self.get(index).filter(|run| run.range.end().after(start)) else {
                break;
            };
            let marks = run.record.marks;
            self.count(marks, run.range.len, false);
            if run.range.start.before(start) {
                self.count(marks, run.range.start.distance_to(start), true);
                if let Some(record) = self.record_mut(index) {
                    record.end = start;
                }
                break;
            }
            self.len = self.len.saturating_sub(1);
        }
    }

    /// The copies of `range` did not leave the host.
    pub(crate) fn take_back_again(&mut self, range: SeqRange) {
        self.isolate(range);
        for index in 0..self.len() {
            if let Some(run) = self
                .get(index)
                .filter(|run| range.contains_range(run.range))
            {
                self.set_marks(index, run.record.marks.without(Marks::RESENT));
            }
        }
    }

    /// The first run of what an acknowledgment up to `ack` acknowledges is taken out; `None` when there is no more.
    pub(crate) fn pop_acked(&mut self, ack: SeqNum) -> Option<Run> {
        let Some(run) = self.get(0) else {
            self.start = SeqNum::max(self.start, ack);
            return None;
        };
        if ack.before_eq(self.start) {
            return None;
        }
        let whole = run.record.end.before_eq(ack);
        let range = match whole {
            true => run.range,
            false => SeqRange::between(self.start, ack),
        };
        self.count(run.record.marks, range.len, false);
        self.start = range.end();
        if whole {
            self.head = self.slot(1) as u8;
            self.len = self.len.saturating_sub(1);
        }
        Some(Run {
            range,
            record: run.record,
        })
    }

    /// The peer reports `block`: calls `newly` with each run of it that was not reported before.
    pub(crate) fn sack(&mut self, block: SeqRange, mut newly: impl FnMut(Run)) {
        let mut index = 0;
        while let Some(run) = self.get(index) {
            if run.range.start.after_eq(block.end()) {
                break;
            }
            let inside = run.record.end.after(block.start) && !run.record.marks.has(Marks::SACKED);
            if inside {
                let spare = Records::CAPACITY.saturating_sub(self.len()) > Records::RESERVE;
                if run.range.start.before(block.start) {
                    // Without room the report is forgotten.
                    if spare {
                        self.split(index, block.start);
                    }
                } else if run.record.end.after(block.end()) && !spare {
                    break;
                } else {
                    if run.record.end.after(block.end()) {
                        self.split(index, block.end());
                    }
                    if let Some(run) = self.get(index) {
                        newly(run);
                    }
                    self.set_marks(index, Marks::SACKED);
                    index = self.join(index);
                }
            }
            index = index.saturating_add(1);
        }
    }

    /// Joins the SACKED record with SACKED neighbours; returns where it stands then.
    fn join(&mut self, index: usize) -> usize {
        let sacked =
            |records: &Self, i: usize| records.record(i).is_some_and(|r| r.marks == Marks::SACKED);
        if sacked(self, index.saturating_add(1)) {
            self.merge(index, Marks::SACKED);
        }
        match index.checked_sub(1) {
            Some(before) if sacked(self, before) => {
                self.merge(before, Marks::SACKED);
                before
            }
            _ => index,
        }
    }

    /// Cuts the record in two at `at`, which lies inside of it. There must be room.
    fn split(&mut self, index: usize, at: SeqNum) {
        let (Some(whole), true) = (self.record(index).copied(), self.len() < Records::CAPACITY)
        else {
            return;
        };
        // Everything behind moves on by one.
        self.len = self.len.saturating_add(1);
        let mut to = self.len().saturating_sub(1);
        while to > index {
            let from = to.saturating_sub(1);
            if let Some(record) = self.record(from).copied() {
                if let Some(slot) = self.record_mut(to) {
                    *slot = record;
                }
            }
            to = from;
        }
        if let Some(first) = self.record_mut(index) {
            *first = Record { end: at, ..whole };
        }
    }

    /// Makes one of the record and the next, with `marks`; the later time counts, so that nothing is taken for lost
    /// too early.
    fn merge(&mut self, index: usize, marks: Marks) {
        let next = index.saturating_add(1);
        let (Some(a), Some(b)) = (self.get(index), self.get(next)) else {
            return;
        };
        self.count(a.record.marks, a.range.len, false);
        self.count(b.record.marks, b.range.len, false);
        self.count(marks, a.range.len.saturating_add(b.range.len), true);
        let later = is_later(b.record.at, a.record.at);
        let last = if later { b.record } else { a.record };
        let at = last.at;
        let first = |r: &Record| r.at.wrapping_sub(r.span);
        let first = match is_later(first(&b.record), first(&a.record)) {
            true => first(&a.record),
            false => first(&b.record),
        };
        if let Some(slot) = self.record_mut(index) {
            *slot = Record {
                end: b.record.end,
                at,
                span: at.wrapping_sub(first),
                count: last.count,
                marks,
            };
        }
        for to in next..self.len().saturating_sub(1) {
            if let Some(record) = self.record(to.saturating_add(1)).copied() {
                if let Some(slot) = self.record_mut(to) {
                    *slot = record;
                }
            }
        }
        self.len = self.len.saturating_sub(1);
    }

    /// Frees at least one record: of two neighbours with the same marks, those sent closest to one another are merged;
    /// else the smallest report of the peer is forgotten; else two neighbours are taken for in flight.
    fn make_room(&mut self) {
        let mut closest: Option<(u32, usize)> = None;
        let mut smallest: Option<(u32, usize)> = None;
        for index in 0..self.len() {
            let (Some(run), next) = (self.get(index), index.saturating_add(1)) else {
                break;
            };
            if let Some(after) = self.record(next) {
                if after.marks == run.record.marks {
                    let apart = after.at.wrapping_sub(run.record.at);
                    let apart = apart.min(apart.wrapping_neg());
                    if closest.is_none_or(|(least, _)| apart < least) {
                        closest = Some((apart, index));
                    }
                }
            }
            if run.record.marks == Marks::SACKED
                && smallest.is_none_or(|(least, _)| run.range.len < least)
            {
                smallest = Some((run.range.len, index));
            }
        }
        if let Some((_, index)) = closest {
            let marks = self.record(index).map_or(Marks::SENT, |r| r.marks);
            self.merge(index, marks);
        } else if let Some((_, index)) = smallest {
            let first = index.saturating_sub(1);
            let other = if first == index { 1 } else { first };
            let marks = self.record(other).map_or(Marks::SENT, |r| r.marks);
            self.merge(first, marks);
        } else {
            let repeated = |i| self.record(i).is_some_and(|r| r.marks.has(Marks::REPEATED));
            let marks = match repeated(0) || repeated(1) {
                true => Marks::REPEATED,
                false => Marks::SENT,
            };
            self.merge(0, marks);
        }
    }

    /// The first record that has to be sent again.
    pub(crate) fn first_hole(&self) -> Option<usize> {
        if self.lost == 0 {
            return None;
        }
        (0..self.len()).find(|&index| self.record(index).is_some_and(|r| r.marks.is_hole()))
    }

    /// The octets of `range`, whatever they were, were sent again at `at`. They may reach over several records; what the
    /// peer has reported stays as it is. What was sent again within `grain` microseconds before them, with nothing new since, becomes one
    /// record with them.
    pub(crate) fn resend(&mut self, range: SeqRange, at: u32, grain: u32) {
        let grain = match self.last {
            Last::Copy => grain,
            Last::New => 0,
        };
        self.last = Last::Copy;
        self.isolate(range);
        let mut index = 0;
        while let Some(run) = self.get(index) {
            if range.contains_range(run.range) && !run.record.marks.has(Marks::SACKED) {
                self.set_resent(index, at);
                index = self.join_resent(index, grain);
            }
            index = index.saturating_add(1);
        }
    }

    /// Cuts records so that `range` begins and ends with one, but for what the peer has reported.
    fn isolate(&mut self, range: SeqRange) {
        while Records::CAPACITY.saturating_sub(self.len()) < 2 {
            self.make_room();
        }
        for cut in [range.start, range.end()] {
            let inside = |run: &Run| run.range.start.before(cut) && run.range.end().after(cut);
            let found = (0..self.len()).find(|&index| {
                self.get(index)
                    .is_some_and(|run| inside(&run) && !run.record.marks.has(Marks::SACKED))
            });
            if let Some(index) = found {
                self.split(index, cut);
            }
        }
    }

    /// Joins the record with the one before it if both were sent again, the same way and within `grain` microseconds.
    fn join_resent(&mut self, index: usize, grain: u32) -> usize {
        let Some(before) = index.checked_sub(1) else {
            return index;
        };
        let (Some(a), Some(b)) = (self.record(before), self.record(index)) else {
            return index;
        };
        let span = b.at.wrapping_sub(a.at).wrapping_add(a.span);
        if a.marks != b.marks || span > grain {
            return index;
        }
        let marks = b.marks;
        self.merge(before, marks);
        before
    }

    /// Marks as lost the first `octets` of what is in flight, a segment (RFC 6582). Returns how many of them
    /// were not lost before.
    pub(crate) fn lose_first(&mut self, octets: u32) -> u32 {
        let Some(run) = self.get(0) else { return 0 };
        if run.record.marks.has(Marks::LOST) {
            return 0;
        }
        if run.range.len > octets {
            self.isolate(SeqRange::new(self.start, octets));
        }
        self.lose(0)
    }

    /// Marks as lost what of `range` the peer has not reported.
    pub(crate) fn lose_range(&mut self, range: SeqRange) {
        self.isolate(range);
        for index in 0..self.len() {
            let Some(run) = self.get(index) else { break };
            let marks = run.record.marks;
            if range.contains_range(run.range) && !marks.has(Marks::SACKED) {
                self.lose(index);
            }
        }
    }

    /// Marks the record as lost, and with it a copy that is in flight. Returns how many octets that are.
    pub(crate) fn lose(&mut self, index: usize) -> u32 {
        let Some(run) = self.get(index) else { return 0 };
        let marks = run.record.marks;
        self.set_marks(index, marks.with(Marks::LOST).without(Marks::RESENT));
        run.range.len
    }

    /// It was its time that told that the record is lost.
    pub(crate) fn judge(&mut self, index: usize) {
        if let Some(record) = self.record_mut(index) {
            record.marks = record.marks.with(Marks::JUDGED);
        }
    }

    /// Nothing is lost after all (an undo): originals count as in flight again.
    pub(crate) fn find_all(&mut self) {
        for index in 0..self.len() {
            if let Some(record) = self.record(index) {
                let marks = record.marks.without(Marks::LOST);
                self.set_marks(index, marks);
            }
        }
    }

    /// Forgets all that the peer has reported: it has thrown some of it away (RFC 2018 section 8).
    pub(crate) fn forget_reports(&mut self) {
        for index in 0..self.len() {
            if let Some(record) = self.record(index) {
                let marks = record.marks.without(Marks::SACKED);
                self.set_marks(index, marks);
            }
        }
    }
}

/// Whether `a` is later than `b`, in microseconds modulo 2^32.
pub(crate) const fn is_later(a: u32, b: u32) -> bool {
    (b.wrapping_sub(a) as i32) < 0
}
