// SPDX-License-Identifier: GPL-2.0

//! A segment that has arrived: its header, and how much payload stood behind it.

use crate::seq::{SeqNum, SeqRange};
use crate::wire::{Ecn, Flags, Header};

/// A received segment. The bytes themselves stay with the caller.
///
/// On a receiver with GRO, and over loopback, one `Segment` can be an aggregate of many segments of
/// the wire: `payload_len` may be far larger than the MSS.
#[derive(Clone, Copy, Debug)]
pub struct Segment {
    /// The TCP header, parsed.
    pub header: Header,
    /// Bytes of payload.
    pub payload_len: u32,
    /// The ECN field of its IP header. An aggregate's segments all have the same.
    pub ecn: Ecn,
}

impl Segment {
    /// SEG.SEQ.
    pub fn seq(&self) -> SeqNum {
        self.header.seq
    }

    /// Whether `flag` is set in the header.
    pub fn has(&self, flag: Flags) -> bool {
        self.header.flags.contains(flag)
    }

    /// SEG.LEN of RFC 9293 section 3.4: payload, and one each for SYN and FIN.
    pub fn seq_len(&self) -> u32 {
        self.payload_len
            .saturating_add(u32::from(self.has(Flags::SYN)))
            .saturating_add(u32::from(self.has(Flags::FIN)))
    }

    /// The sequence number just after this segment: SEG.SEQ + SEG.LEN.
    pub fn end(&self) -> SeqNum {
        self.header.seq.add(self.seq_len())
    }

    /// Where the payload stands in sequence space: after the SYN, if there is one.
    pub fn payload(&self) -> SeqRange {
        SeqRange {
            start: self.header.seq.add(u32::from(self.has(Flags::SYN))),
            len: self.payload_len,
        }
    }
}
