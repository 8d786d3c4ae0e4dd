// SPDX-License-Identifier: GPL-2.0

//! Who has a listener's half-open connections: how many a prefix has, and which came first.
//!
//! Atomic words, each for itself; any context, no lock. The memory is bounded: a sketch of 256 counters in each of four rows, and
//! (without cookies) a ring of as many keys as there may be half-open connections.

use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};

use oxtcp_engine::pressure;

use crate::listening::Life;
use crate::namespace::Namespace;
use crate::sys::table::{Endpoint, FlowKey, KeyCell};

/// How many half-open connections each prefix has, in one life of the listener. Prefixes share counters, by a keyed hash; each has two, of which the smaller counts. So a
/// prefix never has more than is told, and less only if it shares both with others.
pub(crate) struct Crowds {
    /// In the upper 8 bits the life that is counted in ([`Life::tag`]), below them the count: who comes late with an object of another life changes
    /// nothing.
    counters: KVec<Atomic<u32>>,
}

impl Crowds {
    /// Of each row: for the longest queue, as a later listen(2) may ask for that, and counters cannot be split.
    const WIDTH: usize = 256;
    /// Two for hosts, two for networks.
    const ROWS: usize = 4;
    const TAG_SHIFT: u32 = 24;
    /// The most that a counter can count, and that a listener may have half open.
    pub(crate) const COUNT_MOST: u32 = (1 << Self::TAG_SHIFT) - 1;

    /// Process context.
    pub(crate) fn new() -> Result<Self> {
        let count = Self::WIDTH.saturating_mul(Self::ROWS);
        let mut counters = KVec::with_capacity(count, GFP_KERNEL_ACCOUNT)?;
        for _ in 0..count {
            counters.push(Atomic::new(0), GFP_KERNEL)?;
        }
        Ok(Self { counters })
    }

    /// A life begins, in which nobody has any. Process context.
    pub(crate) fn clear(&self, life: Life) {
        for counter in &self.counters {
            counter.store(Self::start_of(life), Relaxed);
        }
    }

    fn start_of(life: Life) -> u32 {
        u32::from(life.tag()) << Self::TAG_SHIFT
    }

    /// The counters of an address: two of its host, two of its network.
    fn of(&self, namespace: &Namespace, key: &FlowKey) -> [Option<&Atomic<u32>>; Self::ROWS] {
        let [host, network] =
            pressure::prefixes(key.remote().ip).map(|ip| namespace.prefix_hash(&ip));
        let words = [host, host >> 16, network, network >> 16];
        let mut row = 0;
        words.map(|word| {
            let column = word as usize % Self::WIDTH;
            let index = Self::WIDTH.wrapping_mul(row).wrapping_add(column);
            row = row.wrapping_add(1);
            self.counters.get(index)
        })
    }

    /// A half-open connection comes.
    pub(crate) fn enter(&self, namespace: &Namespace, key: &FlowKey, life: Life) {
        for counter in self.of(namespace, key).into_iter().flatten() {
            Self::change(counter, life, |count| {
                (count < Self::COUNT_MOST).then(|| count.wrapping_add(1))
            });
        }
    }

    /// It goes.
    pub(crate) fn leave(&self, namespace: &Namespace, key: &FlowKey, life: Life) {
        for counter in self.of(namespace, key).into_iter().flatten() {
            Self::change(counter, life, |count| count.checked_sub(1));
        }
    }

    /// Changes a count as `change` says, if that is not `None`, while it is one of this life.
    fn change(counter: &Atomic<u32>, life: Life, change: impl Fn(u32) -> Option<u32>) {
        let start = Self::start_of(life);
        let mut old = counter.load(Relaxed);
        while old & !Self::COUNT_MOST == start {
            let Some(count) = change(old & Self::COUNT_MOST) else {
                return;
            };
            match counter.cmpxchg(old, start | count, Relaxed) {
                Ok(_) => return,
                Err(now) => old = now,
            }
        }
    }

    /// How many the host has, and how many the network.
    pub(crate) fn count(&self, namespace: &Namespace, key: &FlowKey) -> (u32, u32) {
        let [a, b, c, d] = self
            .of(namespace, key)
            .map(|counter| counter.map_or(0, |counter| counter.load(Relaxed) & Self::COUNT_MOST));
        (a.min(b), c.min(d))
    }
}

/// The keys of the half-open connections that came last, in their order: the oldest give way when the queue is full (a "SYN cache").
pub(crate) struct Recent {
    keys: KVec<KeyCell>,
    /// Where the next one goes, where the oldest is.
    next: Atomic<u32>,
}

impl Recent {
    /// 36 bytes each: what the allocator makes 256 KB of.
    const MOST: u32 = 4096;

    /// How many it keeps of a queue of `most`.
    pub(crate) fn bounded(most: u32) -> usize {
        most.clamp(1, Self::MOST) as usize
    }

    /// For so many, as [`bounded`](Self::bounded) has it. Process context.
    pub(crate) fn new(most: usize) -> Result<Self> {
        let mut keys = KVec::with_capacity(most, GFP_KERNEL_ACCOUNT | __GFP_NOWARN)?;
        for _ in 0..most {
            keys.push(KeyCell::new(NOBODY), GFP_KERNEL)?;
        }
        Ok(Self {
            keys,
            next: Atomic::new(0),
        })
    }

    /// How many it keeps.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// Lets another one know what this one does, the oldest first. What comes meanwhile may be missing there.
    pub(crate) fn copy_to(&self, other: &Self) {
        let next = (self.next.load(Relaxed) as usize)
            .checked_rem(self.len())
            .unwrap_or(0);
        let (new, old) = self.keys.split_at_checked(next).unwrap_or((&[], &[]));
        for slot in [old, new].into_iter().flatten() {
            let key = slot.load();
            if key != NOBODY {
                other.note(key);
            }
        }
    }

    fn slot(&self) -> Option<&KeyCell> {
        let next = self.next.fetch_add(1, Relaxed) as usize;
        self.keys.get(next.checked_rem(self.keys.len())?)
    }

    /// Remembers one. The oldest is forgotten, which is not the end of it.
    pub(crate) fn note(&self, key: FlowKey) {
        if let Some(slot) = self.slot() {
            slot.store(key);
        }
    }

    /// Lets the oldest give way, for which `evict` says whether it was there still.
    pub(crate) fn evict(&self, mut evict: impl FnMut(&FlowKey) -> bool) -> bool {
        /// Most of what is old is there still in a queue that is full.
        const TRIES: usize = 16;
        for _ in 0..TRIES {
            let Some(slot) = self.slot() else {
                return false;
            };
            // Some of one key and some of another, if it is written meanwhile: then nobody's.
            let oldest = slot.load();
            if oldest != NOBODY && evict(&oldest) {
                // The next one goes here, not over what is older than it only by a step.
                slot.store(NOBODY);
                self.next.fetch_sub(1, Relaxed);
                return true;
            }
        }
        false
    }
}

const NOBODY: FlowKey = FlowKey::new(Endpoint::NONE, Endpoint::NONE);
