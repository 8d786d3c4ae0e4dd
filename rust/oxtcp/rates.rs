// SPDX-License-Identifier: GPL-2.0

//! How much each network does in a second: a sketch of bounded memory. Atomic words, each for itself; any context, no lock.

use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Full, Relaxed};

use oxtcp_engine::pressure;

use crate::sys::random;
use crate::sys::time;

/// A count that begins anew with each second.
struct PerSecond(Atomic<u64>);

impl PerSecond {
    const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Counts one more of that second, which stands above the count; how many there were before it.
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

/// What a limit allows in a second, which is another number in each ([`pressure::budget`]).
pub(crate) struct Budget(Atomic<u64>);

impl Budget {
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Takes one of what this second has left of a limit of `limit`; `false` if there is none. A limit that is changed counts from the next second on.
    pub(crate) fn take(&self, limit: u32) -> bool {
        let start = u64::from(second()) << 32;
        let mut old = self.0.load(Relaxed);
        loop {
            // The second stands above what is left of it.
            let left = match old & !u64::from(u32::MAX) == start {
                true => old as u32,
                false => pressure::budget(limit, random::bits32()),
            };
            let new = start | u64::from(left.saturating_sub(1));
            match self.0.cmpxchg(old, new, Full) {
                Ok(_) => return left != 0,
                Err(now) => old = now,
            }
        }
    }
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
    pub(crate) fn exceeds(&self, hash: u32, most: u32) -> bool {
        let second = second();
        let total = self.total.count_in(second);
        let columns = [hash as usize, (hash >> 16) as usize].map(|word| word % Self::WIDTH);
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
