// SPDX-License-Identifier: GPL-2.0
//! Signatures of segments: the MD5 signature option (RFC 2385) and the authentication option (RFC 5925).
//!
//! Keys, and what is made of them, are the caller's. Here is where the option stands, how much room it takes from the others and
//! from the payload, and how it is found in what arrives.

use super::options::Writer;

const MD5: u8 = 19;
const AUTHENTICATION: u8 = 29;

/// Kind, length and digest (RFC 2385 section 3.0).
const MD5_LEN: u8 = 18;
/// Kind, length, KeyID and RNextKeyID (RFC 5925 section 2.2).
const AUTHENTICATION_HEAD: u8 = 4;

/// The room for a signature in a segment's options, in one byte. It is the first of them, as in Linux, and its bytes are for the
/// caller to fill in.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Signature(u8);

impl Signature {
    /// Segments are not signed.
    pub const NONE: Signature = Signature(0);
    /// 18 bytes behind two of padding (RFC 2385).
    pub const MD5: Signature = Signature(20 | Signature::ALONE);

    /// Lengths are multiples of four. This bit: a SYN does not offer timestamps beside it, as Linux has it: with both there
    /// would be no room for a SACK block in any segment, and routers, which speak this, do not miss them.
    const ALONE: u8 = 1;
    /// What a SYN has room for beside MSS, timestamps with SACK-permitted, and window scale.
    const MOST: u8 = 20;

    /// The authentication option with a MAC of so many bytes (RFC 5925 section 2.2), and padding behind it; `None` for one that a SYN
    /// has no room for, or that is empty.
    pub const fn authentication(mac: u8) -> Option<Signature> {
        if mac == 0 || mac > Signature::MOST - AUTHENTICATION_HEAD {
            return None;
        }
        Some(Signature(
            mac.wrapping_add(AUTHENTICATION_HEAD).wrapping_add(3) & !3,
        ))
    }

    /// Bytes of the option with its padding.
    #[inline]
    pub const fn wire_len(self) -> u8 {
        self.0 & !3
    }

    /// Whether segments are signed.
    #[inline]
    pub const fn is_some(self) -> bool {
        self.0 != 0
    }

    /// Whether a SYN that has it offers timestamps.
    pub(crate) const fn allows_timestamps(self) -> bool {
        self.0 & Signature::ALONE == 0
    }

    /// Leaves the room: padding.
    pub(super) fn write(self, writer: &mut Writer<'_>) {
        for _ in 0..self.wire_len() >> 2 {
            writer.put(&[1, 1, 1, 1]);
        }
    }
}

impl core::fmt::Debug for Signature {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match *self {
            Signature::NONE => f.write_str("unsigned"),
            Signature::MD5 => f.write_str("MD5"),
            Signature(len) => write!(f, "signed({len})"),
        }
    }
}

/// A signature that a segment brings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Signed<'a> {
    /// The digest (RFC 2385).
    Md5(&'a [u8; 16]),
    /// The authentication option (RFC 5925).
    Authentication {
        /// Where the option stands in the header's options, in bytes.
        at: u8,
        /// Which key has signed the segment.
        key_id: u8,
        /// Which key the sender is ready to receive with.
        rnext_key_id: u8,
        /// The MAC.
        mac: &'a [u8],
    },
}

/// A signature option with an impossible length, or more than one: the segment is to be dropped.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct BadSignature;

impl<'a> Signed<'a> {
    /// Finds the signature in the part of a header after its first 20 bytes; `None` without one.
    ///
    /// # Errors
    /// [`BadSignature`] for an option of the wrong length, and for two of them: "a segment MUST NOT have more than one" (RFC 5925
    /// section 2.2), whichever they are. What cannot be read ends the search, as it does in Linux.
    pub fn find(options: &'a [u8]) -> Result<Option<Signed<'a>>, BadSignature> {
        let mut found = None;
        let mut rest = options;
        loop {
            rest = match *rest {
                [] | [0, ..] => return Ok(found),
                [1, ref after @ ..] => after,
                [kind, len, ..] if len >= 2 => match rest.split_at_checked(usize::from(len)) {
                    Some((option, after)) => {
                        // Options are 40 bytes at most.
                        let at = options.len().saturating_sub(rest.len()) as u8;
                        if let Some(signed) = Signed::read(kind, option, at)? {
                            if found.replace(signed).is_some() {
                                return Err(BadSignature);
                            }
                        }
                        after
                    }
                    None => return Ok(found),
                },
                _ => return Ok(found),
            };
        }
    }

    /// One option, if it is a signature.
    fn read(kind: u8, option: &'a [u8], at: u8) -> Result<Option<Signed<'a>>, BadSignature> {
        match (kind, option) {
            (MD5, [_, MD5_LEN, digest @ ..]) => match digest.first_chunk() {
                Some(digest) => Ok(Some(Signed::Md5(digest))),
                None => Err(BadSignature),
            },
            (AUTHENTICATION, [_, _, key_id, rnext_key_id, mac @ ..]) if !mac.is_empty() => {
                Ok(Some(Signed::Authentication {
                    at,
                    key_id: *key_id,
                    rnext_key_id: *rnext_key_id,
                    mac,
                }))
            }
            (MD5 | AUTHENTICATION, _) => Err(BadSignature),
            _ => Ok(None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{Options, SackBlocks, Timestamps, WindowScale};
    use crate::{SeqNum, SeqRange};
    use std::vec;
    use std::vec::Vec;

    const STAMPS: Option<Timestamps> = Some(Timestamps { val: 1, ecr: 2 });

    fn blocks(count: u32) -> SackBlocks {
        let mut blocks = SackBlocks::new();
        for n in 0..count {
            assert!(blocks.push(SeqRange::new(SeqNum::new(100 * n), 10)));
        }
        blocks
    }

    /// RFC 5925 section 2.2, RFC 2385 section 3.0.
    #[test]
    fn wire_len__with_padding() {
        assert_eq!(Signature::NONE.wire_len(), 0);
        assert_eq!(Signature::MD5.wire_len(), 20);
        let len = |mac| Signature::authentication(mac).map(Signature::wire_len);
        let lens = [0, 1, 4, 5, 12, 13, 16, 17, 255].map(len);
        assert_eq!(
            lens,
            [
                None,
                Some(8),
                Some(8),
                Some(12),
                Some(16),
                Some(20),
                Some(20),
                None,
                None
            ]
        );
    }

    /// Linux's tcp_options_write(): the signature comes first.
    #[test]
    fn emit__the_room_comes_first() {
        let options = Options {
            signature: Signature::MD5,
            mss: Some(1460),
            sack_permitted: true,
            window_scale: Some(WindowScale::new(7)),
            ..Options::default()
        };
        let mut out = [0; 40];
        assert_eq!(options.wire_len(), 32);
        assert_eq!(options.emit(&mut out), 32);
        assert_eq!(out[..20], [1; 20]);
        assert_eq!(out[20..32], [2, 4, 5, 0xb4, 1, 1, 4, 2, 1, 3, 3, 7]);
    }

    /// Linux's tcp_established_options(): what the signature leaves is for SACK.
    #[test]
    fn emit__sack_gives_way() {
        let ao = Signature::authentication(12).unwrap();
        // Signature, timestamps, blocks that fit of three, length of all.
        let table = [
            (Signature::NONE, None, 3, 28),
            (Signature::NONE, STAMPS, 3, 40),
            (Signature::MD5, None, 2, 40),
            (Signature::MD5, STAMPS, 0, 32),
            (ao, None, 2, 36),
            (ao, STAMPS, 1, 40),
        ];
        for (signature, timestamps, fit, len) in table {
            let options = Options {
                signature,
                timestamps,
                sack: blocks(3),
                ..Options::default()
            };
            assert_eq!(options.sack_that_fits(), fit, "{signature:?}");
            assert_eq!(options.emit(&mut [0; 40]), len, "{signature:?}");
        }
    }

    /// The largest SYN and SYN-ACK there are.
    #[test]
    fn emit__a_syn_always_fits() {
        for mac in 1..=16 {
            let options = Options {
                signature: Signature::authentication(mac).unwrap(),
                mss: Some(1460),
                sack_permitted: true,
                timestamps: STAMPS,
                window_scale: Some(WindowScale::new(7)),
                ..Options::default()
            };
            assert!(options.wire_len() <= 40);
            assert_eq!(options.emit(&mut [0; 40]), options.wire_len());
        }
    }

    fn md5(digest: u8) -> Vec<u8> {
        let mut option = vec![19, 18];
        option.extend([digest; 16]);
        option
    }

    #[test]
    fn find__where_it_stands() {
        assert_eq!(Signed::find(&[]), Ok(None));
        assert_eq!(Signed::find(&[1, 1, 1, 1]), Ok(None));
        assert_eq!(Signed::find(&[2, 4, 5, 0xb4]), Ok(None));
        let mut options = vec![1, 1];
        options.extend(md5(7));
        assert_eq!(Signed::find(&options), Ok(Some(Signed::Md5(&[7; 16]))));
        options.extend([2, 4, 5, 0xb4]);
        assert_eq!(Signed::find(&options), Ok(Some(Signed::Md5(&[7; 16]))));
        // Behind the end there is nothing.
        let mut options = vec![0];
        options.extend(md5(7));
        assert_eq!(Signed::find(&options), Ok(None));
        assert_eq!(
            Signed::find(&[29, 6, 100, 101, 0xaa, 0xbb, 1, 1]),
            Ok(Some(Signed::Authentication {
                at: 0,
                key_id: 100,
                rnext_key_id: 101,
                mac: &[0xaa, 0xbb]
            }))
        );
        let stands = |options: &[u8]| match Signed::find(options) {
            Ok(Some(Signed::Authentication { at, .. })) => Some(at),
            _ => None,
        };
        assert_eq!(stands(&[1, 1, 29, 5, 100, 101, 0xaa, 1]), Some(2));
        let mut latest = vec![1; 40];
        latest[34..].copy_from_slice(&[29, 6, 100, 101, 0xaa, 0xbb]);
        assert_eq!(stands(&latest), Some(34));
    }

    /// RFC 5925 section 2.2.
    #[test]
    fn find__bad_ones() {
        let twice = [md5(1), md5(2)].concat();
        let both = [md5(1), vec![29, 5, 1, 1, 9]].concat();
        let short = vec![19, 17, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0];
        let long = [vec![19, 19], vec![0; 17]].concat();
        for bad in [twice, both, short, long, vec![29, 4, 1, 1], vec![29, 2]] {
            assert_eq!(Signed::find(&bad), Err(BadSignature), "{bad:?}");
        }
    }

    /// What cannot be read is no signature, and no error: the segment is unsigned.
    #[test]
    fn find__ends_where_reading_ends() {
        for cut in [&[19][..], &[19, 18], &[19, 18, 1, 1], &[29, 9, 1], &[5, 0]] {
            assert_eq!(Signed::find(cut), Ok(None), "{cut:?}");
        }
    }
}
