// SPDX-License-Identifier: GPL-2.0

//! The send buffer: the stream's bytes that the peer has not acknowledged, in pages, by sequence number.

use kernel::prelude::*;

use oxtcp_engine::{SeqNum, SeqRange};

use crate::sys::page::PageFragment;
use crate::sys::skb::SkBuff;

/// What a fragment is charged beside its bytes. Writes that cannot be joined (a program that writes to several
/// sockets in turn) fill the buffer by this, as small packets fill that of the kernel's TCP.
const UPKEEP: u32 = 512;

/// Bytes in pages.
///
/// # Invariants
///
/// The fragments hold, one after the other, the bytes from `start - skip` on; `skip` is less than the
/// first one's length.
pub(crate) struct SendBuffer {
    fragments: KVec<PageFragment>,
    start: SeqNum,
    skip: u32,
    len: u32,
}

impl SendBuffer {
    pub(crate) const fn new() -> Self {
        Self {
            fragments: KVec::new(),
            start: SeqNum::new(0),
            skip: 0,
            len: 0,
        }
    }

    /// Puts bytes behind all others; `seq` is the sequence number that they begin at. Returns what they cost
    /// beside their number. Process context.
    ///
    /// # Errors
    ///
    /// ENOMEM, with the fragment given up.
    pub(crate) fn append(&mut self, seq: SeqNum, fragment: PageFragment) -> Result<u32> {
        let len = fragment.len();
        if self.len == 0 {
            self.start = seq;
            self.skip = 0;
        }
        let fragment = match self.fragments.last_mut() {
            Some(last) => last.join(fragment).err(),
            None => Some(fragment),
        };
        let cost = match fragment {
            Some(fragment) => {
                self.fragments.push(fragment, GFP_KERNEL)?;
                UPKEEP
            }
            None => 0,
        };
        self.len += len;
        Ok(cost)
    }

    /// Lets go of all bytes before `seq`; returns what they cost, their number included.
    pub(crate) fn release(&mut self, seq: SeqNum) -> u32 {
        if self.len == 0 || !self.start.before(seq) {
            return 0;
        }
        let released = self.start.distance_to(seq).min(self.len);
        let mut left = released;
        let mut done = 0;
        for fragment in self.fragments.iter() {
            let here = fragment.len() - self.skip;
            if left < here {
                self.skip += left;
                break;
            }
            left -= here;
            self.skip = 0;
            done += 1;
        }
        let mut index = 0;
        // One pass, however many go.
        self.fragments.retain(|_| {
            index += 1;
            index > done
        });
        self.start = self.start.add(released);
        self.len -= released;
        released + done * UPKEEP
    }

    /// Lets go of everything; returns what it cost.
    pub(crate) fn clear(&mut self) -> u32 {
        let fragments = self.fragments.len() as u32;
        self.fragments.clear();
        self.skip = 0;
        core::mem::take(&mut self.len) + fragments * UPKEEP
    }

    /// Adds as much of `range` to `skb` as its fragment table takes; returns how many bytes.
    ///
    /// 0 for a range that is not in the buffer.
    pub(crate) fn fill(&self, skb: &mut SkBuff, range: SeqRange) -> u32 {
        let Some(mut offset) = self.offset_of(range.start) else {
            return 0;
        };
        let mut left = range.len;
        let mut index = 0;
        for fragment in self.fragments.iter() {
            if left == 0 {
                break;
            }
            if offset >= fragment.len() {
                offset -= fragment.len();
                continue;
            }
            let len = left.min(fragment.len() - offset);
            if !skb.add_fragment(index, fragment, offset, len) {
                break;
            }
            left -= len;
            offset = 0;
            index += 1;
        }
        range.len - left
    }

    /// Where `seq` stands, counted from the first fragment's first byte.
    fn offset_of(&self, seq: SeqNum) -> Option<u32> {
        if seq.before(self.start) {
            return None;
        }
        let offset = self.start.distance_to(seq);
        (offset < self.len).then(|| offset + self.skip)
    }
}
