// SPDX-License-Identifier: GPL-2.0

//! The ports that connect() has chosen at one address: shared by connections to different destinations, and
//! kept for some seconds when nobody holds them.
//!
//! Everything here is under the registry's mutex.

use kernel::alloc::flags::GFP_KERNEL;
use kernel::prelude::*;

use super::{BindAddr, Entry};

/// The ports of one address.
///
/// # Invariants
///
/// `index` says for each port which of `entries` has it, if any has; no two have the same.
pub(super) struct Pool {
    pub(super) addr: BindAddr,
    /// In no order.
    entries: KVVec<Entry>,
    index: Index,
}

impl Pool {
    /// Without ports. Errors: ENOMEM.
    pub(super) fn new(addr: BindAddr) -> Result<Self> {
        Ok(Self {
            addr,
            entries: KVVec::new(),
            index: Index::new()?,
        })
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    /// The entry of `port`.
    pub(super) fn get(&self, port: u16) -> Option<&Entry> {
        self.entries.get(self.index.get(port)?)
    }

    /// All entries, beginning at the one whose number is `start` modulo their number.
    pub(super) fn from(&self, start: u32) -> impl Iterator<Item = &Entry> {
        let start = (start as usize).checked_rem(self.len()).unwrap_or(0);
        let (before, after) = self.entries.split_at(start);
        [after, before].into_iter().flatten()
    }

    /// Adds a port that is not there. Errors: ENOMEM; the entry is gone then.
    pub(super) fn insert(&mut self, entry: Entry) -> Result {
        let port = entry.port;
        let at = self.entries.len();
        self.entries.push(entry, GFP_KERNEL)?;
        // INVARIANT: Said so here, or the entry goes again.
        if let Err(error) = self.index.set(port, at) {
            self.entries.pop();
            return Err(error);
        }
        Ok(())
    }

    /// Takes the entry of `port` out.
    pub(super) fn take(&mut self, port: u16) -> Option<Entry> {
        self.remove(self.index.get(port)?)
    }

    /// Takes out the entries of which `doomed` says so, from the one before number `from` down, and hands them
    /// to `taken`; looks at no more than `most` of them. Returns where to go on, or `None` at the end.
    pub(super) fn trim(
        &mut self,
        from: usize,
        most: usize,
        mut doomed: impl FnMut(&Entry) -> bool,
        mut taken: impl FnMut(Entry),
    ) -> Option<usize> {
        let mut at = from.min(self.entries.len());
        let end = at.saturating_sub(most);
        while at > end {
            at = at.saturating_sub(1);
            // What takes a removed one's place was looked at already.
            if self.entries.get(at).is_some_and(&mut doomed) {
                if let Some(entry) = self.remove(at) {
                    taken(entry);
                }
            }
        }
        (end > 0).then_some(end)
    }

    /// Takes out entry number `at`; the last comes in its place.
    fn remove(&mut self, at: usize) -> Option<Entry> {
        let last = self.entries.len().checked_sub(1)?;
        if at > last {
            return None;
        }
        self.entries.swap(at, last);
        let entry = self.entries.pop()?;
        self.index.clear(entry.port);
        if let Some(moved) = self.entries.get(at) {
            // INVARIANT: It stood in the index, so its page is there and this cannot fail.
            let _ = self.index.set(moved.port, at);
        }
        Some(entry)
    }
}

/// Ports of one page of an [`Index`]. With 256 both levels are of one size.
const PAGE: usize = 256;

/// From ports to small numbers; two levels, the second of which is there where it is used.
struct Index(KVec<Option<KBox<[u16; PAGE]>>>);

/// No number.
const NONE: u16 = u16::MAX;

impl Index {
    fn new() -> Result<Self> {
        let mut pages = KVec::with_capacity(PAGE, GFP_KERNEL)?;
        for _ in 0..PAGE {
            pages.push(None, GFP_KERNEL)?;
        }
        Ok(Self(pages))
    }

    fn get(&self, port: u16) -> Option<usize> {
        let page = self.0.get(usize::from(port >> 8))?.as_ref()?;
        let number = *page.get(usize::from(port & 0xff))?;
        (number != NONE).then_some(usize::from(number))
    }

    /// Errors: ENOMEM, when the port's page is not there; EINVAL for a number above 65,534, which no port
    /// can have: 0 is none.
    fn set(&mut self, port: u16, number: usize) -> Result {
        let number = u16::try_from(number).map_err(|_| EINVAL)?;
        let page = self.0.get_mut(usize::from(port >> 8)).ok_or(EINVAL)?;
        if page.is_none() {
            *page = Some(KBox::new([NONE; PAGE], GFP_KERNEL)?);
        }
        if let Some(slot) = page
            .as_mut()
            .and_then(|page| page.get_mut(usize::from(port & 0xff)))
        {
            *slot = number;
        }
        Ok(())
    }

    fn clear(&mut self, port: u16) {
        if let Some(Some(page)) = self.0.get_mut(usize::from(port >> 8)) {
            if let Some(slot) = page.get_mut(usize::from(port & 0xff)) {
                *slot = NONE;
            }
        }
    }
}
