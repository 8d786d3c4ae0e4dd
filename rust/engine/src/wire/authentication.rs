// SPDX-License-Identifier: GPL-2.0
//! What the sums of the authentication option go over (RFC 5925, RFC 5926): the layout alone. Keys and sums are the caller's.

use super::{MAX_HEADER_LEN, MIN_HEADER_LEN};

/// Where a segment comes from and where it goes to.
#[derive(Clone, Copy, Debug)]
pub struct Ends<'a> {
    /// Address (4 or 16 bytes) and port of the sender.
    pub source: (&'a [u8], u16),
    /// Of the receiver.
    pub target: (&'a [u8], u16),
}

/// Bytes to make a sum of, `N` at most.
#[derive(Clone, Copy, Debug)]
pub struct Input<const N: usize> {
    bytes: [u8; N],
    len: usize,
}

impl<const N: usize> Input<N> {
    const fn new() -> Self {
        Input {
            bytes: [0; N],
            len: 0,
        }
    }

    /// As much as there is room for, which is all.
    fn put(&mut self, part: &[u8]) {
        let room = self.bytes.get_mut(self.len..).unwrap_or(&mut []);
        for (slot, byte) in room.iter_mut().zip(part) {
            *slot = *byte;
        }
        self.len = self.len.saturating_add(part.len()).min(N);
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        self.bytes.get(..self.len).unwrap_or(&[])
    }
}

const TCP: u8 = 6;
/// Where the checksum is in a header.
const CHECKSUM: core::ops::Range<usize> = 16..18;
/// Kind, length, KeyID and RNextKeyID.
const OPTION_HEAD: usize = 4;

/// Counter, label, two addresses, two ports, two initial sequence numbers, length.
pub const KDF_INPUT_MOST: usize = 1 + 6 + 2 * 16 + 2 * 2 + 2 * 4 + 2;
/// Extension, IPv6's pseudo-header, header.
pub const MAC_INPUT_MOST: usize = 4 + 40 + MAX_HEADER_LEN;

/// What a traffic key of `bits` bits is derived of (RFC 5926 section 3.1.1), for segments between these ends. `isns` are the initial
/// sequence numbers of the sender and of the receiver; the latter is 0 for a SYN without ACK (RFC 5925 section 5.2).
pub fn kdf_input(ends: &Ends<'_>, isns: (u32, u32), bits: u16) -> Input<KDF_INPUT_MOST> {
    let mut input = Input::new();
    // Both algorithms give the whole key at once: the counter is 1.
    input.put(&[1]);
    input.put(b"TCP-AO");
    input.put(ends.source.0);
    input.put(ends.target.0);
    input.put(&ends.source.1.to_be_bytes());
    input.put(&ends.target.1.to_be_bytes());
    input.put(&isns.0.to_be_bytes());
    input.put(&isns.1.to_be_bytes());
    input.put(&bits.to_be_bytes());
    input
}

/// What a segment's MAC goes over before the payload (RFC 5925 section 5.1): the extension `sne` of its sequence number, pseudo-header
/// of a segment of `len` bytes, header without checksum and MAC. The option begins `at` bytes into `header`, and its MAC has
/// `mac_len`. Without `whole`, the other options are not in it. `None` when the option is not where it is said to be.
pub fn mac_input(
    sne: u32,
    ends: &Ends<'_>,
    len: u32,
    header: &[u8],
    (at, mac_len): (usize, usize),
    whole: bool,
) -> Option<Input<MAC_INPUT_MOST>> {
    let mut input = Input::new();
    input.put(&sne.to_be_bytes());
    input.put(ends.source.0);
    input.put(ends.target.0);
    let len = len.to_be_bytes();
    match ends.source.0.len() {
        4 => input.put(&[0, TCP, len[2], len[3]]),
        // RFC 8200 section 8.1.
        _ => {
            input.put(&len);
            input.put(&[0, 0, 0, TCP]);
        }
    }
    if header.len() > MAX_HEADER_LEN || at < MIN_HEADER_LEN {
        return None;
    }
    let mac = at.checked_add(OPTION_HEAD)?;
    let end = mac.checked_add(mac_len)?;
    let (before, option) = (header.get(..at)?, header.get(at..mac)?);
    let after = header.get(end..)?;
    let fixed = before.get(..MIN_HEADER_LEN)?;
    input.put(fixed.get(..CHECKSUM.start)?);
    input.put(&[0; 2]);
    input.put(fixed.get(CHECKSUM.end..)?);
    if whole {
        input.put(before.get(MIN_HEADER_LEN..)?);
    }
    input.put(option);
    input.put([0; MAX_HEADER_LEN].get(..mac_len)?);
    if whole {
        input.put(after);
    }
    Some(input)
}
