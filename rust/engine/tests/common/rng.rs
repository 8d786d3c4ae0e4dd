// SPDX-License-Identifier: GPL-2.0
//! Numbers that look random and are the same in every run.

/// SplitMix64.
#[derive(Clone, Debug)]
pub struct Rng(u64);

impl Rng {
    pub fn new(seed: u64) -> Self {
        Rng(seed)
    }

    pub fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        mix(self.0)
    }

    /// A number below `bound`; 0 for 0.
    pub fn below(&mut self, bound: u64) -> u64 {
        if bound == 0 {
            0
        } else {
            self.next() % bound
        }
    }

    /// A number from `low` to `high`, both included.
    pub fn between(&mut self, low: u64, high: u64) -> u64 {
        low + self.below(high - low + 1)
    }

    /// True `per_mille` times in a thousand.
    pub fn chance(&mut self, per_mille: u32) -> bool {
        per_mille != 0 && self.below(1000) < u64::from(per_mille)
    }

    pub fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.below(from.len() as u64) as usize]
    }

    pub fn fork(&mut self) -> Rng {
        Rng(self.next())
    }
}

fn mix(mut z: u64) -> u64 {
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// The bytes of a stream from `position` on: every byte of every stream is known in advance, so the
/// reader can check each one.
pub fn content(stream: u64, position: u64, len: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(len + 8);
    let skip = (position % 8) as usize;
    let mut block = position / 8;
    while out.len() < len + skip {
        out.extend(mix(stream ^ block.wrapping_mul(0x9e37_79b9_7f4a_7c15)).to_le_bytes());
        block += 1;
    }
    out.drain(..skip);
    out.truncate(len);
    out
}
