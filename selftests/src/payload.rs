// SPDX-License-Identifier: GPL-2.0
//! Bytes that tell where in the stream they belong: a lost, doubled or moved byte is seen, and where.

/// Bytes of a stream are made and compared in words of this many bytes.
const WORD: usize = 8;

/// A stream of pseudo-random bytes, the same for the same seed; byte `n` depends on `n` alone.
#[derive(Clone, Debug)]
pub struct Stream {
    seed: u64,
    /// Offset of the next byte.
    at: u64,
}

impl Stream {
    pub fn new(seed: u64) -> Stream {
        Stream {
            seed: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15),
            at: 0,
        }
    }

    pub fn position(&self) -> u64 {
        self.at
    }

    /// Steps over `count` bytes.
    pub fn advance(&mut self, count: usize) {
        self.at += count as u64;
    }

    /// SplitMix64 of the word's index.
    fn word(&self, index: u64) -> [u8; WORD] {
        let mut z = self
            .seed
            .wrapping_add(index.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)).to_le_bytes()
    }

    /// Fills `out` with the bytes at the stream's position and moves past them.
    pub fn fill(&mut self, out: &mut [u8]) {
        self.peek(out);
        self.advance(out.len());
    }

    /// Fills `out` with the bytes at the stream's position.
    pub fn peek(&self, out: &mut [u8]) {
        let mut index = self.at / WORD as u64;
        let lead = (self.at % WORD as u64) as usize;
        let mut rest = out;
        if lead != 0 {
            let count = rest.len().min(WORD - lead);
            let (head, tail) = rest.split_at_mut(count);
            head.copy_from_slice(&self.word(index)[lead..lead + count]);
            rest = tail;
            index += 1;
        }
        for chunk in rest.chunks_mut(WORD) {
            chunk.copy_from_slice(&self.word(index)[..chunk.len()]);
            index += 1;
        }
    }

    /// The next `count` bytes.
    pub fn take(&mut self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        self.fill(&mut bytes);
        bytes
    }

    /// Fails the test unless `got` is what comes next in the stream; moves past it.
    #[track_caller]
    pub fn check(&mut self, got: &[u8]) {
        let mut wanted = vec![0; got.len()];
        self.peek(&mut wanted);
        if let Some(bad) = got.iter().zip(&wanted).position(|(g, w)| g != w) {
            panic!(
                "byte {} of the stream is {:#04x}, not {:#04x}",
                self.at + bad as u64,
                got[bad],
                wanted[bad]
            );
        }
        self.advance(got.len());
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fill__does_not_depend_on_the_pieces() {
        let whole = Stream::new(7).take(1000);
        let mut pieces = Stream::new(7);
        let mut got = Vec::new();
        for size in [1, 2, 3, 8, 9, 15, 16, 17, 929] {
            got.extend(pieces.take(size));
        }
        assert_eq!(got, whole);
    }

    #[test]
    fn check__sees_a_moved_byte() {
        let mut bytes = Stream::new(7).take(64);
        Stream::new(7).check(&bytes);
        bytes.swap(10, 11);
        assert!(std::panic::catch_unwind(|| Stream::new(7).check(&bytes)).is_err());
    }
}
