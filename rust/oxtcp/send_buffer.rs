// SPDX-License-Identifier: GPL-2.0

//! The send buffer: the stream's bytes that the peer has not acknowledged, in pages, by sequence number.

use kernel::prelude::*;

use oxtcp_engine::{SeqNum, SeqRange};

use crate::sys::page::PageFragment;
use crate::sys::skb::SkBuff;

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

    /// Puts bytes behind all others; `seq` is the sequence number that they begin at. Process context.
    ///
    /// # Errors
    ///
    /// ENOMEM, with the fragment given up.
    pub(crate) fn append(&mut self, seq: SeqNum, fragment: PageFragment) -> Result {
        let len = fragment.len();
        if self.len == 0 {
            self.start = seq;
            self.skip = 0;
        }
        let fragment = match self.fragments.last_mut() {
            Some(last) => last.join(fragment).err(),
            None => Some(fragment),
        };
        if let Some(fragment) = fragment {
            self.fragments.push(fragment, GFP_KERNEL)?;
        }
        self.len += len;
        Ok(())
    }

    /// Lets go of all bytes before `seq`; returns how many.
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
        for _ in 0..done {
            // Few and small: a send buffer's bytes fill pages of 32 KB.
            let _ = self.fragments.remove(0);
        }
        self.start = self.start.add(released);
        self.len -= released;
        released
    }

    /// Lets go of everything; returns how many bytes.
    pub(crate) fn clear(&mut self) -> u32 {
        self.fragments.clear();
        self.skip = 0;
        core::mem::take(&mut self.len)
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
