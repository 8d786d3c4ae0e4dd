// SPDX-License-Identifier: GPL-2.0
//! The header.

use super::options::sack_len;
use super::{Flags, Options, Timestamps};
use crate::seq::SeqNum;

/// A header without options.
pub const MIN_HEADER_LEN: usize = 20;
/// The largest data offset, 15 words.
pub const MAX_HEADER_LEN: usize = 60;

/// Why bytes are not a TCP header.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum ParseError {
    /// Fewer bytes than a header, or than the data offset says.
    Truncated,
    /// A data offset below five words.
    BadDataOffset,
}

/// A TCP header (RFC 9293 section 3.1), less its checksum, which belongs to whoever has the addresses.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Header {
    /// Source port.
    pub src_port: u16,
    /// Destination port.
    pub dst_port: u16,
    /// The sequence number of the first octet, or of SYN.
    pub seq: SeqNum,
    /// The next sequence number that the sender expects; of no meaning without ACK.
    pub ack: SeqNum,
    /// The control bits.
    pub flags: Flags,
    /// A reserved bit was set: the sender speaks an extension that we do not know (AE of RFC 9768 is one). Not sent.
    pub reserved: bool,
    /// The window as it stands in the header, not scaled.
    pub window: u16,
    /// The urgent pointer; of no meaning without URG.
    pub urgent: u16,
    /// The options. MSS, window scale and SACK-permitted are there on a SYN only.
    pub options: Options,
}

impl Header {
    /// The header's length in bytes by its data offset, from the first 13 bytes or more.
    ///
    /// # Errors
    /// [`ParseError::Truncated`] with fewer bytes, [`ParseError::BadDataOffset`] below 20.
    #[inline]
    pub fn data_offset(bytes: &[u8]) -> Result<usize, ParseError> {
        let words = bytes.get(12).ok_or(ParseError::Truncated)? >> 4;
        if words < 5 {
            return Err(ParseError::BadDataOffset);
        }
        Ok(usize::from(words) << 2)
    }

    /// Reads a header; `bytes` may be longer than it. Of reserved bits it is only noted that there are some (RFC 9293
    /// section 3.1 ignores them), and options that only a SYN may carry are dropped from other segments.
    ///
    /// # Errors
    /// [`ParseError::Truncated`] when `bytes` is shorter than the data offset says,
    /// [`ParseError::BadDataOffset`] when that is below 20.
    #[inline]
    pub fn parse(bytes: &[u8]) -> Result<Header, ParseError> {
        let mut header = Header::default();
        header.read(bytes)?;
        Ok(header)
    }

    /// [`Header::parse`] in place, as a header is much to copy; returns its length in bytes. After an error nothing has changed.
    ///
    /// # Errors
    /// Those of [`Header::parse`].
    #[inline]
    pub fn read(&mut self, bytes: &[u8]) -> Result<usize, ParseError> {
        let fixed: &[u8; MIN_HEADER_LEN] = bytes.first_chunk().ok_or(ParseError::Truncated)?;
        let len = Header::data_offset(fixed)?;
        let options = bytes
            .get(MIN_HEADER_LEN..len)
            .ok_or(ParseError::Truncated)?;
        let [sp0, sp1, dp0, dp1, s0, s1, s2, s3, a0, a1, a2, a3, offset, flags, w0, w1, _, _, u0, u1] =
            *fixed;
        self.src_port = u16::from_be_bytes([sp0, sp1]);
        self.dst_port = u16::from_be_bytes([dp0, dp1]);
        self.seq = SeqNum::new(u32::from_be_bytes([s0, s1, s2, s3]));
        self.ack = SeqNum::new(u32::from_be_bytes([a0, a1, a2, a3]));
        self.flags = Flags::from_bits(flags);
        self.reserved = offset & 0xf != 0;
        self.window = u16::from_be_bytes([w0, w1]);
        self.urgent = u16::from_be_bytes([u0, u1]);
        self.options = Options::default();
        let stamps = Timestamps::alone(options);
        if stamps.is_some() {
            self.options.timestamps = stamps;
        } else if !options.is_empty() {
            self.options.read_all(options);
            if !self.flags.syn() {
                self.options.drop_syn_only();
            }
        }
        Ok(len)
    }

    /// Bytes that [`Header::emit`] writes: a multiple of four, at most 60.
    #[inline]
    pub fn wire_len(&self) -> usize {
        MIN_HEADER_LEN.saturating_add(self.options.wire_len())
    }

    /// Writes the header with a checksum of zero and returns its length, a multiple of four; 0, and
    /// nothing written, when `out` is shorter than [`Header::wire_len`]. 60 bytes are always enough.
    pub fn emit(&self, out: &mut [u8]) -> usize {
        if let Some(stamps) = self.options.usual_timestamps() {
            return self.emit_stamped(stamps, out);
        }
        let len = self.wire_len();
        let Some((fixed, options)) = out
            .get_mut(..len)
            .and_then(|out| out.split_first_chunk_mut())
        else {
            return 0;
        };
        let [sp0, sp1] = self.src_port.to_be_bytes();
        let [dp0, dp1] = self.dst_port.to_be_bytes();
        let [s0, s1, s2, s3] = self.seq.get().to_be_bytes();
        let [a0, a1, a2, a3] = self.ack.get().to_be_bytes();
        let [w0, w1] = self.window.to_be_bytes();
        let [u0, u1] = self.urgent.to_be_bytes();
        // len is a multiple of four and at most 60: its upper nibble is the data offset in words.
        let offset = (len as u8) << 2;
        let bytes: [u8; MIN_HEADER_LEN] = [
            sp0,
            sp1,
            dp0,
            dp1,
            s0,
            s1,
            s2,
            s3,
            a0,
            a1,
            a2,
            a3,
            offset,
            self.flags.bits(),
            w0,
            w1,
            0,
            0,
            u0,
            u1,
        ];
        *fixed = bytes;
        self.options.emit(options);
        len
    }

    /// The same with these timestamps, and perhaps SACK blocks, in few words.
    #[inline]
    fn emit_stamped(&self, stamps: Timestamps, out: &mut [u8]) -> usize {
        let blocks = match self.options.sack.is_empty() {
            true => 0,
            false => sack_len(self.options.sack_that_fits()),
        };
        let len = STAMPED_LEN.saturating_add(blocks);
        let Some((head, rest)) = out
            .get_mut(..len)
            .and_then(|out| out.split_first_chunk_mut())
        else {
            return 0;
        };
        let ports = (self.src_port, self.dst_port);
        *head = stamped(
            ports,
            self.seq,
            self.ack,
            self.flags,
            self.window,
            self.urgent,
            stamps,
        );
        if blocks != 0 {
            head[OFFSET_AT] = (len as u8) << 2;
            self.options.sack.emit(rest);
        }
        len
    }
}

/// Where the data offset stands.
const OFFSET_AT: usize = 12;

/// Bytes of a header with timestamps as its only option.
pub const STAMPED_LEN: usize = MIN_HEADER_LEN + Timestamps::PADDED_LEN as usize;

/// What [`Header::emit`] writes for the usual segment without SACK blocks, in few words. `ports` are the source's and the destination's.
#[inline]
pub(crate) fn stamped(
    ports: (u16, u16),
    seq: SeqNum,
    ack: SeqNum,
    flags: Flags,
    window: u16,
    urgent: u16,
    stamps: Timestamps,
) -> [u8; STAMPED_LEN] {
    let word = |high: u32, low: u32| (u64::from(high) << 32) | u64::from(low);
    let half = |high: u16, low: u16| (u32::from(high) << 16) | u32::from(low);
    const DATA_OFFSET: u16 = ((STAMPED_LEN / 4) as u16) << 12;
    let control = DATA_OFFSET | u16::from(flags.bits());
    let words = [
        word(half(ports.0, ports.1), seq.get()),
        word(ack.get(), half(control, window)),
        word(u32::from(urgent), Timestamps::HEAD),
        word(stamps.val, stamps.ecr),
    ];
    let mut out = [0; STAMPED_LEN];
    for (to, word) in out.chunks_exact_mut(8).zip(words) {
        if let Some(to) = to.first_chunk_mut() {
            *to = word.to_be_bytes();
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seq::SeqRange;
    use crate::wire::{SackBlocks, WindowScale};

    fn syn() -> Header {
        Header {
            src_port: 0x1234,
            dst_port: 80,
            seq: SeqNum::new(0xfffe_fdfc),
            ack: SeqNum::new(0),
            flags: Flags::SYN,
            reserved: false,
            window: 64240,
            urgent: 0,
            options: Options {
                mss: Some(1460),
                window_scale: Some(WindowScale::new(7)),
                sack_permitted: true,
                timestamps: Some(Timestamps { val: 1, ecr: 0 }),
                ..Options::default()
            },
        }
    }

    /// RFC 9293 section 3.1.
    #[test]
    fn emit__is_what_parse_reads() {
        let mut out = [0xee; MAX_HEADER_LEN];
        let len = syn().emit(&mut out);
        assert_eq!(len, 40);
        assert_eq!(out[..4], [0x12, 0x34, 0, 80]);
        assert_eq!(out[12..14], [0xa0, 0x02]);
        assert_eq!(out[16..18], [0, 0]);
        assert_eq!(Header::parse(&out), Ok(syn()));
        assert_eq!(Header::parse(&out[..len]), Ok(syn()));
        assert_eq!(Header::data_offset(&out), Ok(40));
    }

    /// The usual segment is written in another way than all others.
    #[test]
    fn emit__with_timestamps_alone_is_what_parse_reads() {
        let header = Header {
            src_port: 0x1234,
            dst_port: 0x5678,
            seq: SeqNum::new(0x0102_0304),
            ack: SeqNum::new(0x0506_0708),
            flags: Flags::ACK.union(Flags::PSH),
            reserved: false,
            window: 0x090a,
            urgent: 0x0b0c,
            options: Options {
                timestamps: Some(Timestamps {
                    val: 0x0d0e_0f10,
                    ecr: 0x1112_1314,
                }),
                ..Options::default()
            },
        };
        let mut out = [0xee; MAX_HEADER_LEN];
        assert_eq!(header.emit(&mut out), 32);
        assert_eq!(
            out[..32],
            [
                0x12, 0x34, 0x56, 0x78, 1, 2, 3, 4, 5, 6, 7, 8, 0x80, 0x18, 9, 10, 0, 0, 11, 12, 1,
                1, 8, 10, 13, 14, 15, 16, 17, 18, 19, 20
            ]
        );
        assert!(out[32..].iter().all(|byte| *byte == 0xee));
        assert_eq!(Header::parse(&out), Ok(header));
        assert_eq!(header.emit(&mut out[..31]), 0);
    }

    /// So are those with SACK blocks: as many as fit, and none of them in part.
    #[test]
    fn emit__with_timestamps_and_sack_is_what_parse_reads() {
        for blocks in 1..=SackBlocks::MAX {
            let mut sack = SackBlocks::new();
            for block in 0..blocks as u32 {
                let start = SeqNum::new(0x0102_0304 + 0x0101 * block);
                assert!(sack.push(SeqRange::new(start, 1 + block)));
            }
            let options = Options {
                timestamps: syn().options.timestamps,
                sack,
                ..Options::default()
            };
            let header = Header {
                flags: Flags::ACK,
                options,
                ..syn()
            };
            let mut out = [0xee; MAX_HEADER_LEN];
            let len = header.emit(&mut out);
            assert_eq!(len, 32 + 4 + 8 * blocks.min(3));
            assert_eq!(out[32..36], [1, 1, 5, (len - 34) as u8]);
            assert_eq!(out[36..44], [1, 2, 3, 4, 1, 2, 3, 5]);
            assert!(out[len..].iter().all(|byte| *byte == 0xee));
            let mut written = header;
            written.options.sack.truncate(3);
            assert_eq!(Header::parse(&out), Ok(written));
            assert_eq!(header.emit(&mut out[..len - 1]), 0);
        }
    }

    #[test]
    fn emit__does_nothing_without_room() {
        let mut out = [0xee; MAX_HEADER_LEN];
        for len in 0..40 {
            assert_eq!(syn().emit(&mut out[..len]), 0);
        }
        assert!(out.iter().all(|byte| *byte == 0xee));
    }

    #[test]
    fn parse__truncated_and_bad_offsets() {
        let mut out = [0; MAX_HEADER_LEN];
        let len = syn().emit(&mut out);
        for cut in 0..len {
            assert_eq!(Header::parse(&out[..cut]), Err(ParseError::Truncated));
        }
        for words in 0..5u8 {
            out[12] = words << 4;
            assert_eq!(Header::parse(&out), Err(ParseError::BadDataOffset));
        }
        out[12] = 0xf0;
        assert_eq!(Header::parse(&out[..59]), Err(ParseError::Truncated));
        assert!(Header::parse(&out).is_ok());
    }

    #[test]
    fn parse__notes_reserved_bits() {
        let mut out = [0; MAX_HEADER_LEN];
        let len = syn().emit(&mut out);
        for bit in 0..4 {
            out[12] = 0xa0 | (1 << bit);
            let header = Header::parse(&out[..len]).unwrap();
            assert!(header.reserved);
            let mut again = [0; MAX_HEADER_LEN];
            header.emit(&mut again);
            assert_eq!(again[12], 0xa0);
        }
    }

    /// RFC 9293 section 3.7.1, RFC 7323 section 2.2, RFC 2018 section 2.
    #[test]
    fn parse__syn_only_options_are_dropped_elsewhere() {
        let mut out = [0; MAX_HEADER_LEN];
        Header {
            flags: Flags::ACK,
            ..syn()
        }
        .emit(&mut out);
        let header = Header::parse(&out).unwrap();
        assert_eq!(
            header.options,
            Options {
                timestamps: syn().options.timestamps,
                ..Options::default()
            }
        );
    }
}
