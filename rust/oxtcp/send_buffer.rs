// SPDX-License-Identifier: GPL-2.0

//! The send buffer: the stream's bytes that the peer has not acknowledged, in pages, by sequence number.
//!
//! The pieces lie in a ring, in the order of the stream, each with the sequence number that it begins at. So acknowledged
//! bytes leave without moving the others; what is sent next is found where the last burst ended, and any other
//! position by a binary search.

use kernel::alloc::KVVec;
use kernel::prelude::*;

use oxtcp_engine::{SeqNum, SeqRange};

use crate::sys::page::PageFragment;
use crate::sys::skb::{Outgoing, SkBuff};
use crate::sys::stamp::TxStamps;

/// What a chunk is charged beside its bytes: what an sk_buff of the kernel's TCP takes without them (with the usual
/// MAX_TCP_HEADER of 320). Small writes that go out one by one fill the buffer by this. It also bounds the ring.
const UPKEEP: u32 = 896;

/// Pieces that a new ring has room for: 64 KB and more of pages of 32 KB each, in one of the allocator's smallest blocks.
const FIRST_SLOTS: usize = 4;

/// A ring with more slots than this is given back when it is empty, so that an idle connection does not keep what a busy
/// one needed.
const KEPT_SLOTS: usize = 64;

/// Pieces that a chunk has at most: what an sk_buff takes (`net.core.max_skb_frags`).
const CHUNK_PIECES: u8 = 17;

/// A run of the stream's bytes.
struct Piece {
    start: SeqNum,
    /// [`MARKS`](Marks) of it.
    marks: Marks,
    /// Which timestamps of its packet are wanted for the byte that is marked, as `tx_flags`.
    tx_flags: u8,
    /// How many bytes follow the one that is marked.
    behind: u16,
    bytes: PageFragment,
}

/// What is special about a piece, or about any of a buffer.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Marks(u8);

impl Marks {
    const NONE: Self = Self(0);
    /// A message ends behind the piece (MSG_EOR): nothing is joined to it, and no packet goes beyond it.
    const END: Self = Self(1);
    /// Timestamps are wanted of one of its bytes,
    const STAMP: Self = Self(2);
    /// also of its acknowledgment.
    const STAMP_ACKED: Self = Self(4);
    /// A chunk begins with it, which is charged for that.
    const CHUNK: Self = Self(8);

    fn has(self, other: Self) -> bool {
        self.0 & other.0 != 0
    }

    fn add(&mut self, other: Self) {
        self.0 |= other.0;
    }

    fn remove(&mut self, other: Self) {
        self.0 &= !other.0;
    }
}

/// Bytes in pages.
///
/// # Invariants
///
/// * There are no slots, or a power of two of them; the pieces are in the `count` slots from `head` on, modulo that, and the
///   other slots are empty.
/// * Each piece begins where the one before it ends, and none is empty.
pub(crate) struct SendBuffer {
    /// `None` until there is a piece: to drop a vector without slots is a call of the allocator's.
    slots: Option<KVVec<Option<Piece>>>,
    head: u32,
    count: u32,
    /// The piece, counted from the first, that the last burst ended in: where the next one is looked for first.
    cursor: u32,
    /// Bytes of the last chunk, as far as it has not been sent: see [`room_in_chunk`](Self::room_in_chunk).
    chunk: u16,
    /// Pieces of it.
    chunk_pieces: u8,
    /// Those that a piece may have; that there are none is known so without a look at them.
    marks: Marks,
}

impl SendBuffer {
    pub(crate) const fn new() -> Self {
        // INVARIANT: No slots, no pieces, no bytes.
        Self {
            slots: None,
            head: 0,
            count: 0,
            cursor: 0,
            chunk: 0,
            chunk_pieces: 0,
            marks: Marks::NONE,
        }
    }

    /// How many bytes may be appended without a look at how much room there is, with `not_sent` bytes that were never sent; 0: none.
    ///
    /// What is written comes in chunks of `goal` bytes, as in Linux in sk_buffs: where one begins there must be room, and
    /// then all of it is taken (`tcp_sendmsg_locked()`). What is sent of a chunk is none of it any more.
    pub(crate) fn room_in_chunk(&mut self, goal: u32, not_sent: u32) -> u32 {
        let chunk = u32::from(self.chunk).min(not_sent);
        self.chunk = chunk as u16;
        let ended = self
            .last_mut()
            .is_none_or(|last| last.marks.has(Marks::END));
        match chunk == 0 || ended || self.chunk_pieces >= CHUNK_PIECES {
            true => 0,
            false => goal.saturating_sub(chunk),
        }
    }

    /// A chunk begins with what is appended next.
    pub(crate) fn begin_chunk(&mut self) {
        self.chunk = 0;
        self.chunk_pieces = 0;
    }

    /// Puts bytes behind all others; `seq` is the sequence number that they begin at. Returns what they cost
    /// beside their number. Process context.
    ///
    /// # Errors
    ///
    /// ENOMEM, with the bytes given up.
    pub(crate) fn append(&mut self, seq: SeqNum, bytes: PageFragment) -> Result<u32> {
        let len = bytes.len();
        let chunk = u32::from(self.chunk);
        let bytes = match self.last_mut() {
            Some(last) if chunk > 0 && last.takes_more(chunk) => last.join(bytes).err(),
            _ => Some(bytes),
        };
        let (marks, cost) = match chunk {
            0 => (Marks::CHUNK, UPKEEP),
            _ => (Marks::NONE, 0),
        };
        if let Some(bytes) = bytes {
            self.push(Piece {
                start: seq,
                marks,
                tx_flags: 0,
                behind: 0,
                bytes,
            })?;
            self.chunk_pieces = self.chunk_pieces.saturating_add(1);
        }
        self.chunk = u32::from(self.chunk)
            .saturating_add(len)
            .min(u32::from(u16::MAX)) as u16;
        Ok(cost)
    }

    /// A message ends behind the last byte.
    pub(crate) fn end_message(&mut self) {
        if let Some(last) = self.last_mut() {
            last.marks.add(Marks::END);
            self.marks.add(Marks::END);
        }
    }

    /// Timestamps are wanted of the last byte. `not_sent` bytes were never sent.
    ///
    /// As in Linux of a chunk it is one byte, the last one that was asked for: a chunk is an sk_buff there, which has one key.
    pub(crate) fn stamp(&mut self, mut stamps: TxStamps, not_sent: u32) {
        let mut chunk = u32::from(self.chunk).min(not_sent);
        let mut index = self.count;
        while chunk > 0 && index > 0 && self.marks.has(Marks::STAMP) {
            index = index.saturating_sub(1);
            let at = self.slot(index);
            let Some(piece) = self.slots_mut().get_mut(at).and_then(Option::as_mut) else {
                break;
            };
            if u32::from(piece.behind) < chunk {
                if let Some(earlier) = piece.take_stamps() {
                    stamps.flags |= earlier.flags;
                    stamps.acked |= earlier.acked;
                }
            }
            chunk = chunk.saturating_sub(piece.bytes.len());
        }
        let Some(last) = self.last_mut() else {
            return;
        };
        last.take_stamps();
        last.marks.add(Marks::STAMP);
        if stamps.acked {
            last.marks.add(Marks::STAMP_ACKED);
        }
        last.tx_flags = stamps.flags;
        last.behind = 0;
        self.marks.add(Marks::STAMP);
    }

    /// The timestamps that are wanted of bytes in `range`, as `tx_flags`, and the last one of these bytes.
    pub(crate) fn stamps_in(&self, range: SeqRange) -> Option<(u8, SeqNum)> {
        if !self.marks.has(Marks::STAMP) || range.len == 0 {
            return None;
        }
        let mut found: Option<(u8, SeqNum)> = None;
        let mut index = self.find(range.start)?;
        while let Some(piece) = self.get(index) {
            if !piece.start.before(range.end()) {
                break;
            }
            if let Some(byte) = piece.stamped() {
                if !byte.before(range.start) && byte.before(range.end()) && piece.tx_flags != 0 {
                    let flags = found.map_or(0, |(flags, _)| flags) | piece.tx_flags;
                    found = Some((flags, byte));
                }
            }
            index = index.saturating_add(1);
        }
        found
    }

    /// The first byte before `seq` of whose acknowledgment a timestamp is wanted, in a packet with the bytes of its piece up to it, for
    /// which there may be no memory. It is told once. `from` is the piece to begin at, 0 at first, and then the one to go on at.
    pub(crate) fn take_acked(
        &mut self,
        seq: SeqNum,
        from: &mut u32,
    ) -> Option<(Option<SkBuff<Outgoing>>, SeqNum)> {
        if !self.marks.has(Marks::STAMP) {
            return None;
        }
        for index in *from..self.count {
            *from = index;
            let at = self.slot(index);
            let piece = self.slots_mut().get_mut(at)?.as_mut()?;
            if !piece.start.before(seq) {
                break;
            }
            let Some(byte) = piece.stamped().filter(|byte| byte.before(seq)) else {
                continue;
            };
            if !piece.marks.has(Marks::STAMP_ACKED) {
                continue;
            }
            piece.marks.remove(Marks::STAMP_ACKED);
            let len = piece.start.distance_to(byte).saturating_add(1);
            let mut packet = SkBuff::for_sending();
            if let Some(packet) = &mut packet {
                // An empty packet has room for it.
                let _ = packet.add_fragment(&piece.bytes, 0, len);
            }
            return Some((packet, byte));
        }
        None
    }

    /// Whether a message ends in the buffer.
    pub(crate) fn is_bounded(&self) -> bool {
        self.marks.has(Marks::END)
    }

    /// The first end of a message behind `range.start` and not behind `range.end()`.
    pub(crate) fn boundary(&self, range: SeqRange) -> Option<SeqNum> {
        let mut index = self.find(range.start)?;
        while let Some(piece) = self.get(index) {
            let end = piece.end();
            if end.after(range.end()) {
                break;
            }
            if piece.marks.has(Marks::END) {
                return Some(end);
            }
            index = index.saturating_add(1);
        }
        None
    }

    /// Whether there are bytes before `seq`.
    #[inline]
    pub(crate) fn begins_before(&self, seq: SeqNum) -> bool {
        self.get(0).is_some_and(|first| first.start.before(seq))
    }

    /// Lets go of all bytes before `seq`; returns what they cost, their number included.
    pub(crate) fn release(&mut self, seq: SeqNum) -> u32 {
        let (mut released, mut gone): (u32, u32) = (0, 0);
        while let Some(first) = self.first_mut() {
            if !first.start.before(seq) {
                break;
            }
            let here = first.start.distance_to(seq).min(first.bytes.len());
            released = released.saturating_add(here);
            if here < first.bytes.len() {
                // INVARIANT: It ends where it did, and something is left of it.
                first.bytes.skip(here);
                first.start = seq;
                if u32::from(first.behind) >= first.bytes.len() {
                    first.take_stamps();
                }
                break;
            }
            gone = gone.saturating_add(u32::from(first.marks.has(Marks::CHUNK)));
            self.pop();
        }
        if self.count == 0 {
            self.marks = Marks::NONE;
        }
        if self.count == 0 && self.slots().len() > KEPT_SLOTS {
            // INVARIANT: No pieces are left.
            self.slots = None;
            self.head = 0;
        }
        released.saturating_add(gone.saturating_mul(UPKEEP))
    }

    /// Lets go of everything; returns what it cost.
    pub(crate) fn clear(&mut self) -> u32 {
        let chunks = (0..self.count)
            .filter_map(|index| self.get(index))
            .filter(|piece| piece.marks.has(Marks::CHUNK))
            .count() as u32;
        let cost = self.len().saturating_add(chunks.saturating_mul(UPKEEP));
        *self = Self::new();
        cost
    }

    /// Adds as much of `range` to `skb` as its fragment table takes; returns how many bytes.
    ///
    /// 0 for a range that is not in the buffer.
    pub(crate) fn fill(&mut self, skb: &mut SkBuff<Outgoing>, range: SeqRange) -> u32 {
        let Some(mut index) = self.find(range.start) else {
            return 0;
        };
        let mut seq = range.start;
        let mut left = range.len;
        while left > 0 {
            let Some(piece) = self.get(index) else {
                break;
            };
            let offset = piece.start.distance_to(seq);
            let here = piece.bytes.len().saturating_sub(offset);
            let len = left.min(here);
            if !skb.add_fragment(&piece.bytes, offset, len) {
                break;
            }
            seq = seq.add(len);
            left = left.saturating_sub(len);
            if len < here {
                break;
            }
            index = index.saturating_add(1);
        }
        self.cursor = index;
        range.len.saturating_sub(left)
    }

    /// The piece that `seq` is in, counted from the first.
    fn find(&self, seq: SeqNum) -> Option<u32> {
        if seq.before(self.get(0)?.start) {
            return None;
        }
        let has = |index: u32| {
            self.get(index)
                .is_some_and(|piece| !seq.before(piece.start) && seq.before(piece.end()))
        };
        if has(self.cursor) {
            return Some(self.cursor);
        }
        // The last piece that does not begin behind `seq`; the first one does not.
        let (mut low, mut high): (u32, u32) = (0, self.count);
        loop {
            let middle = low.midpoint(high);
            if middle == low {
                break;
            }
            match self.get(middle) {
                Some(piece) if !seq.before(piece.start) => low = middle,
                _ => high = middle,
            }
        }
        has(low).then_some(low)
    }

    // The ring.

    fn slots(&self) -> &[Option<Piece>] {
        self.slots.as_deref().unwrap_or(&[])
    }

    fn slots_mut(&mut self) -> &mut [Option<Piece>] {
        self.slots.as_deref_mut().unwrap_or(&mut [])
    }

    fn slot(&self, index: u32) -> usize {
        (self.head as usize).wrapping_add(index as usize) & self.slots().len().wrapping_sub(1)
    }

    fn get(&self, index: u32) -> Option<&Piece> {
        if index >= self.count {
            return None;
        }
        self.slots().get(self.slot(index))?.as_ref()
    }

    fn first_mut(&mut self) -> Option<&mut Piece> {
        if self.count == 0 {
            return None;
        }
        let at = self.slot(0);
        self.slots_mut().get_mut(at)?.as_mut()
    }

    /// Bytes in the buffer.
    fn len(&self) -> u32 {
        let last = self.count.checked_sub(1).and_then(|index| self.get(index));
        match (self.get(0), last) {
            (Some(first), Some(last)) => first.start.distance_to(last.end()),
            _ => 0,
        }
    }

    fn last_mut(&mut self) -> Option<&mut Piece> {
        let at = self.slot(self.count.checked_sub(1)?);
        self.slots_mut().get_mut(at)?.as_mut()
    }

    fn push(&mut self, piece: Piece) -> Result {
        if self.count as usize == self.slots().len() {
            self.grow()?;
        }
        let at = self.slot(self.count);
        let slot = self.slots_mut().get_mut(at).ok_or(ENOMEM)?;
        // INVARIANT: The slot behind the last piece, which is empty. The caller's sequence number is the last one's end.
        *slot = Some(piece);
        self.count = self.count.saturating_add(1);
        Ok(())
    }

    fn pop(&mut self) {
        let at = self.slot(0);
        if let Some(slot) = self.slots_mut().get_mut(at) {
            // INVARIANT: The first piece's slot becomes an empty one.
            *slot = None;
            self.head = self.slot(1) as u32;
            self.count = self.count.saturating_sub(1);
            self.cursor = self.cursor.saturating_sub(1);
        }
    }

    /// Twice as many slots, the pieces at their beginning.
    fn grow(&mut self) -> Result {
        let wanted = self.slots().len().saturating_mul(2).max(FIRST_SLOTS);
        let mut slots = KVVec::with_capacity(wanted, GFP_KERNEL)?;
        for index in 0..wanted {
            let piece = match index < self.count as usize {
                true => {
                    let at = self.slot(index as u32);
                    self.slots_mut().get_mut(at).and_then(Option::take)
                }
                false => None,
            };
            // There is room: this does not fail half way.
            slots.push(piece, GFP_KERNEL)?;
        }
        // INVARIANT: All pieces were moved, in their order.
        self.slots = Some(slots);
        self.head = 0;
        Ok(())
    }
}

impl Piece {
    fn end(&self) -> SeqNum {
        self.start.add(self.bytes.len())
    }

    /// The byte of which timestamps are wanted.
    fn stamped(&self) -> Option<SeqNum> {
        let back = u32::from(self.behind).saturating_add(1);
        let at = self.bytes.len().checked_sub(back)?;
        self.marks.has(Marks::STAMP).then(|| self.start.add(at))
    }

    /// Takes what timestamps are wanted.
    fn take_stamps(&mut self) -> Option<TxStamps> {
        let stamps = self.marks.has(Marks::STAMP).then_some(TxStamps {
            flags: self.tx_flags,
            acked: self.marks.has(Marks::STAMP_ACKED),
        });
        self.marks.remove(Marks::STAMP);
        self.marks.remove(Marks::STAMP_ACKED);
        stamps
    }

    /// Whether bytes may be joined that are of a chunk of which there are `chunk` bytes: not to a mark that is of another.
    fn takes_more(&self, chunk: u32) -> bool {
        let of_another = self.marks.has(Marks::STAMP) && u32::from(self.behind) >= chunk;
        !self.marks.has(Marks::END) && !of_another
    }

    /// Takes `next` in, see [`PageFragment::join`].
    fn join(&mut self, next: PageFragment) -> Result<(), PageFragment> {
        let len = next.len();
        self.bytes.join(next)?;
        if self.marks.has(Marks::STAMP) {
            // No page is so large that it would not fit.
            self.behind = u32::from(self.behind)
                .saturating_add(len)
                .min(u32::from(u16::MAX)) as u16;
        }
        Ok(())
    }
}
