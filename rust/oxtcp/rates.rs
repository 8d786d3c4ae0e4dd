// SPDX-License-Identifier: GPL-2.0

//! How much each network does in a second: a sketch of bounded memory. Atomic words, each for itself; any context, no lock.

use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Full, Relaxed};

use oxtcp_engine::pressure;

use crate::sys::time;

/// A count that begins anew with each second.
pub(crate) struct PerSecond(Atomic<u64>);

impl PerSecond {
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Counts one more; how many there were in this second before it.
    pub(crate) fn count(&self) -> u32 {
        self.count_in(second())
    }

    /// The second stands above the count.
    fn count_in(&self, second: u32) -> u32 {
        let start = u64::from(second) << 32;
        let mut old = self.0.load(Relaxed);
        loop {
            let before = match (old >> 32) as u32 == second {
                true => old as u32,
                false => 0,
            };
            let new = start | u64::from(before.saturating_add(1));
            match self.0.cmpxchg(old, new, Full) {
                Ok(_) => return before,
                Err(now) => old = now,
            }
        }
    }
}

fn second() -> u32 {
    (time::now_micros() / 1_000_000) as u32
}

/// Counts for networks, which share counters by a keyed hash. Each has two. What others do to a counter is estimated by all that was counted
/// ([`pressure::own_part`]), so a flood from everywhere makes no network exceed a limit.
pub(crate) struct Rates {
    /// 8 KB in two rows.
    counters: KVec<PerSecond>,
    total: PerSecond,
}

impl Rates {
    const WIDTH: usize = 512;
    const ROWS: usize = 2;

    /// Process context. Errors: ENOMEM.
    pub(crate) fn new() -> Result<Self> {
        let count = Self::WIDTH.saturating_mul(Self::ROWS);
        let mut counters = KVec::with_capacity(count, GFP_KERNEL)?;
        for _ in 0..count {
            counters.push(PerSecond::new(), GFP_KERNEL)?;
        }
        Ok(Self {
            counters,
            total: PerSecond::new(),
        })
    }

    /// Counts one more of the network with this hash, and says whether it has done `most` in this second already.
    pub(crate) fn exceeds(&self, hash: u64, most: u32) -> bool {
        let second = second();
        let total = self.total.count_in(second);
        let columns = [hash as usize, (hash >> 32) as usize].map(|word| word % Self::WIDTH);
        let [a, b] = columns;
        let count = |at: usize| {
            let counter = self.counters.get(at);
            counter.map_or(0, |counter| counter.count_in(second))
        };
        // Of both, as the other one's users are other ones.
        let (a, b) = (count(a), count(Self::WIDTH.saturating_add(b)));
        pressure::own_part(a.min(b), total, Self::WIDTH as u32) >= most
    }
}
