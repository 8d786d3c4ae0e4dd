// SPDX-License-Identifier: GPL-2.0

//! Random numbers and the keyed hash.

use super::bindings;

/// A secret key of SipHash-2-4, drawn at random.
pub(crate) struct SipKey(bindings::siphash_key_t);

impl SipKey {
    /// Draws a key. Any context; early at boot the generator may not be seeded yet, a module is
    /// loaded long after.
    pub(crate) fn random() -> Self {
        let mut key = bindings::siphash_key_t { key: [0; 2] };
        // SAFETY: `key` is valid for writes of its size.
        unsafe {
            bindings::get_random_bytes(
                (&raw mut key).cast(),
                core::mem::size_of::<bindings::siphash_key_t>(),
            )
        };
        Self(key)
    }

    /// The key of two words. Any context.
    pub(crate) fn from_words(words: [u64; 2]) -> Self {
        Self(bindings::siphash_key_t { key: words })
    }

    /// The key as two words, to be kept where words are. Any context.
    pub(crate) fn words(&self) -> [u64; 2] {
        self.0.key
    }

    /// The keyed hash of 12 bytes, as three words. Any context.
    pub(crate) fn hash_3u32(&self, [a, b, c]: [u32; 3]) -> u64 {
        // SAFETY: The key is valid for reads.
        unsafe { bindings::siphash_3u32(a, b, c, &self.0) }
    }

    /// The keyed hash of 24 bytes, as three words. Any context.
    pub(crate) fn hash_3u64(&self, [a, b, c]: [u64; 3]) -> u64 {
        // SAFETY: The key is valid for reads.
        unsafe { bindings::siphash_3u64(a, b, c, &self.0) }
    }

    /// The keyed hash of `data`.
    pub(crate) fn hash(&self, data: &[u8]) -> u64 {
        // SAFETY: `data` is valid for reads of its length, the key for its own.
        unsafe { bindings::__siphash_unaligned(data.as_ptr().cast(), data.len(), &self.0) }
    }
}

/// A secret key of HSipHash, drawn at random: for places in tables, and for what is to look random, while nothing rests on its being hard to guess. The
/// hash takes half of what SipHash-2-4 does, and is no secret's.
///
/// C header: `include/linux/siphash.h`.
pub(crate) struct HsipKey(bindings::hsiphash_key_t);

impl HsipKey {
    /// As [`SipKey::random`].
    pub(crate) fn random() -> Self {
        let mut key = bindings::hsiphash_key_t { key: [0; 2] };
        // SAFETY: `key` is valid for writes of its size.
        unsafe {
            bindings::get_random_bytes(
                (&raw mut key).cast(),
                core::mem::size_of::<bindings::hsiphash_key_t>(),
            )
        };
        Self(key)
    }

    /// The keyed hash of 4 bytes, as a word. Any context.
    pub(crate) fn hash_u32(&self, word: u32) -> u32 {
        // SAFETY: The key is valid for reads.
        unsafe { bindings::hsiphash_1u32(word, &self.0) }
    }

    /// The keyed hash of 8 bytes, as two words. Any context.
    pub(crate) fn hash_2u32(&self, [a, b]: [u32; 2]) -> u32 {
        // SAFETY: The key is valid for reads.
        unsafe { bindings::hsiphash_2u32(a, b, &self.0) }
    }

    /// The keyed hash of 16 bytes, as four words. Any context.
    pub(crate) fn hash_4u32(&self, [a, b, c, d]: [u32; 4]) -> u32 {
        // SAFETY: The key is valid for reads.
        unsafe { bindings::hsiphash_4u32(a, b, c, d, &self.0) }
    }
}

/// 32 random bits. Any context.
pub(crate) fn bits32() -> u32 {
    // SAFETY: No conditions.
    unsafe { bindings::get_random_u32() }
}

/// 16 random bits. Any context.
pub(crate) fn bits16() -> u16 {
    // SAFETY: No conditions.
    unsafe { bindings::get_random_u16() }
}
