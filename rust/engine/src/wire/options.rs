// SPDX-License-Identifier: GPL-2.0
//! TCP options, and the small types that are negotiated with them.

use super::Signature;
use crate::seq::{SeqNum, SeqRange};

/// Room for options in a header: 60 bytes less the fixed 20 (RFC 9293 section 3.1).
pub const MAX_OPTIONS_LEN: usize = 40;

const END: u8 = 0;
const NOP: u8 = 1;
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// Length of the timestamps option with its padding.
const TIMESTAMPS_PADDED: usize = 12;

/// A maximum segment size that is safe to send with: at least [`Mss::MIN`].
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Mss(u16);

impl Mss {
    /// Linux's TCP_MIN_SND_MSS: 40 bytes of options and 8 of payload.
    ///
    /// Deviation: RFC 9293 section 3.7.1 (MUST-16) never sends more than the peer names. One that names less than this would have
    /// us send a header for every few bytes (CVE-2019-11479).
    pub const MIN: Mss = Mss(48);
    /// What a peer over IPv4 that names none can take (RFC 9293 section 3.7.1).
    pub const DEFAULT_V4: Mss = Mss(536);
    /// What a peer over IPv6 that names none can take (RFC 9293 section 3.7.1).
    pub const DEFAULT_V6: Mss = Mss(1220);

    /// `bytes`, or [`Mss::MIN`] if that is larger.
    #[inline]
    pub const fn new(bytes: u16) -> Self {
        if bytes < Mss::MIN.0 {
            Mss::MIN
        } else {
            Mss(bytes)
        }
    }

    /// Payload bytes per segment.
    #[inline]
    pub const fn get(self) -> u16 {
        self.0
    }
}

/// How far a window field is shifted (RFC 7323 section 2): 0 to 14.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Default)]
pub struct WindowScale(u8);

impl WindowScale {
    /// RFC 7323 section 2.3: 14 keeps every window below 2^30.
    pub const MAX: WindowScale = WindowScale(14);

    /// `shift`; a larger one than 14 is used as 14 (RFC 7323 section 2.3).
    #[inline]
    pub const fn new(shift: u8) -> Self {
        if shift > WindowScale::MAX.0 {
            WindowScale::MAX
        } else {
            WindowScale(shift)
        }
    }

    /// The smallest scale under which a window of `limit` bytes can be named.
    pub const fn for_limit(limit: u32) -> Self {
        let mut shift: u8 = 0;
        while shift < WindowScale::MAX.0 && (limit >> shift) > u16::MAX as u32 {
            shift = shift.wrapping_add(1);
        }
        WindowScale(shift)
    }

    /// The shift count.
    #[inline]
    pub const fn get(self) -> u8 {
        self.0
    }

    /// What a window field counts in, in bytes.
    #[inline]
    pub const fn unit(self) -> u32 {
        1u32.wrapping_shl(self.0 as u32)
    }

    /// The bytes that a window field stands for.
    #[inline]
    pub const fn widen(self, field: u16) -> u32 {
        // At most 14, but a plain shift would be checked, and be a panic in the object file.
        (field as u32).wrapping_shl(self.0 as u32)
    }

    /// The window field for `bytes`: rounded down, so that no more is promised than there is.
    #[inline]
    pub const fn narrow(self, bytes: u32) -> u16 {
        let field = bytes.wrapping_shr(self.0 as u32);
        if field > u16::MAX as u32 {
            u16::MAX
        } else {
            field as u16
        }
    }
}

/// The timestamps option (RFC 7323 section 3).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Timestamps {
    /// TSval: the sender's clock.
    pub val: u32,
    /// TSecr: what the sender echoes; of no meaning without ACK.
    pub ecr: u32,
}

impl Timestamps {
    /// Bytes of the option with its padding.
    pub const PADDED_LEN: u16 = 12;

    /// What stands before the numbers: the padding, kind and length.
    pub(super) const HEAD: u32 = u32::from_be_bytes([NOP, NOP, TIMESTAMPS, 10]);

    /// Those of a segment whose options are these alone, as nearly every TCP writes them.
    #[inline]
    pub fn alone(options: &[u8]) -> Option<Self> {
        let &[h0, h1, h2, h3, v0, v1, v2, v3, e0, e1, e2, e3] = options else {
            return None;
        };
        // As one number: a match on the bytes is compiled to a test of each.
        (u32::from_be_bytes([h0, h1, h2, h3]) == Self::HEAD).then_some(Timestamps {
            val: u32::from_be_bytes([v0, v1, v2, v3]),
            ecr: u32::from_be_bytes([e0, e1, e2, e3]),
        })
    }
}

/// Up to four blocks of a SACK option (RFC 2018 section 3), as they came: a peer's block can be empty,
/// reversed or far outside of any window, see [`SeqRange::is_plausible`].
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct SackBlocks {
    blocks: [SeqRange; SackBlocks::MAX],
    len: u8,
}

impl SackBlocks {
    /// 40 bytes hold no more.
    pub const MAX: usize = 4;

    /// No block.
    #[inline]
    pub const fn new() -> Self {
        SackBlocks {
            blocks: [SeqRange::new(SeqNum::new(0), 0); SackBlocks::MAX],
            len: 0,
        }
    }

    /// Appends a block; false, and nothing done, when there are four.
    pub fn push(&mut self, block: SeqRange) -> bool {
        match self.blocks.get_mut(usize::from(self.len)) {
            Some(slot) => {
                *slot = block;
                self.len = self.len.saturating_add(1);
                true
            }
            None => false,
        }
    }

    /// The blocks in the order of the option.
    #[inline]
    pub fn as_slice(&self) -> &[SeqRange] {
        self.blocks.get(..usize::from(self.len)).unwrap_or(&[])
    }

    /// The blocks in the order of the option.
    #[inline]
    pub fn iter(&self) -> impl Iterator<Item = SeqRange> + '_ {
        self.as_slice().iter().copied()
    }

    /// How many.
    #[inline]
    pub const fn len(&self) -> usize {
        self.len as usize
    }

    /// Whether there is none.
    #[inline]
    pub const fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Fills `out`, which is of [`sack_len`] bytes, with the option and the padding before it.
    #[inline]
    pub(super) fn emit(&self, out: &mut [u8]) {
        // At most 4 * 8 + 2.
        let len = out.len().saturating_sub(2) as u8;
        let Some((head, blocks)) = out.split_first_chunk_mut() else {
            return;
        };
        *head = [NOP, NOP, SACK, len];
        for (to, block) in blocks.chunks_exact_mut(8).zip(self.iter()) {
            let (left, right) = (block.start.get(), block.end().get());
            if let Some(to) = to.first_chunk_mut() {
                *to = ((u64::from(left) << 32) | u64::from(right)).to_be_bytes();
            }
        }
    }

    /// Leaves the first `len` blocks.
    pub fn truncate(&mut self, len: usize) {
        if len < self.len() {
            self.len = len as u8;
            for slot in self.blocks.iter_mut().skip(len) {
                *slot = SeqRange::default();
            }
        }
    }
}

/// The options of a segment that this TCP knows. All others are skipped (RFC 9293 MUST-6).
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
pub struct Options {
    /// Room for a signature, in a segment to send; what one that arrived brings, [`Signed::find`](super::Signed::find) tells.
    pub signature: Signature,
    /// Maximum segment size, never zero; on SYN segments only.
    pub mss: Option<u16>,
    /// Window scale; on SYN segments only.
    pub window_scale: Option<WindowScale>,
    /// SACK-permitted; on SYN segments only.
    pub sack_permitted: bool,
    /// Timestamps.
    pub timestamps: Option<Timestamps>,
    /// SACK.
    pub sack: SackBlocks,
}

impl Options {
    /// Reads the part of a header after its first 20 bytes. It cannot fail: an option with an impossible
    /// length ends the reading (RFC 9293 MUST-7), one with a wrong length for
    /// its kind is skipped; of an option that comes twice the last one counts.
    ///
    /// Deviation: RFC 9293 MUST-7 suggests a reset and a line in the log. As in Linux neither: a middlebox that spoils an option is not to
    /// end connections, nor whoever likes to fill a log.
    pub fn parse(bytes: &[u8]) -> Options {
        let mut options = Options::default();
        options.read_all(bytes);
        options
    }

    /// [`Options::parse`] in place, as they are much to copy; there is none before.
    pub(super) fn read_all(&mut self, bytes: &[u8]) {
        // The usual segment of an established connection.
        if let Some(stamps) = Timestamps::alone(bytes) {
            self.timestamps = Some(stamps);
            return;
        }
        if let Some((mss, stamps, shift)) = usual_syn(bytes) {
            self.mss = (mss != 0).then_some(mss);
            self.sack_permitted = true;
            self.timestamps = Some(stamps);
            self.window_scale = Some(WindowScale::new(shift));
            return;
        }
        let mut rest = bytes;
        loop {
            rest = match *rest {
                [] | [END, ..] => return,
                [NOP, ref after @ ..] => after,
                [_, len, ..] if len >= 2 => match rest.split_at_checked(usize::from(len)) {
                    Some((option, after)) => {
                        self.read(option);
                        after
                    }
                    None => return,
                },
                _ => return,
            };
        }
    }

    /// Whether the part of a header after its first 20 bytes is that of the usual segment, which is empty or timestamps alone, or the usual
    /// SYN's. None of these has a signature; of others [`Signed::find`](super::Signed::find) tells.
    #[inline]
    pub fn are_usual(bytes: &[u8]) -> bool {
        bytes.is_empty() || Timestamps::alone(bytes).is_some() || usual_syn(bytes).is_some()
    }

    /// Takes in one option: kind, length and value.
    fn read(&mut self, option: &[u8]) {
        match *option {
            [MSS, 4, high, low] => {
                let mss = u16::from_be_bytes([high, low]);
                if mss != 0 {
                    self.mss = Some(mss);
                }
            }
            [WINDOW_SCALE, 3, shift] => self.window_scale = Some(WindowScale::new(shift)),
            [SACK_PERMITTED, 2] => self.sack_permitted = true,
            [TIMESTAMPS, 10, v0, v1, v2, v3, e0, e1, e2, e3] => {
                self.timestamps = Some(Timestamps {
                    val: u32::from_be_bytes([v0, v1, v2, v3]),
                    ecr: u32::from_be_bytes([e0, e1, e2, e3]),
                });
            }
            [SACK, _, ref blocks @ ..] if !blocks.is_empty() && blocks.len() % 8 == 0 => {
                self.sack = SackBlocks::new();
                for block in blocks.chunks_exact(8) {
                    if let [l0, l1, l2, l3, r0, r1, r2, r3] = *block {
                        self.sack.push(SeqRange::between(
                            SeqNum::new(u32::from_be_bytes([l0, l1, l2, l3])),
                            SeqNum::new(u32::from_be_bytes([r0, r1, r2, r3])),
                        ));
                    }
                }
            }
            _ => {}
        }
    }

    /// Clears what only a SYN may carry (RFC 9293 section 3.7.1, RFC 7323 section 2.2, RFC 2018 section 2).
    pub(super) fn drop_syn_only(&mut self) {
        self.mss = None;
        self.window_scale = None;
        self.sack_permitted = false;
    }

    /// How many SACK blocks [`Options::emit`] writes: those that fit beside the other options, which is
    /// three beside timestamps and four otherwise, and fewer beside a signature.
    pub fn sack_that_fits(&self) -> usize {
        self.sack.len().min(sack_room(self.len_without_sack()))
    }

    /// The timestamps, if there is nothing else but perhaps SACK blocks: the usual segments.
    #[inline]
    pub(super) fn usual_timestamps(&self) -> Option<Timestamps> {
        let alone = self.signature == Signature::NONE
            && !self.sack_permitted
            && self.mss.is_none()
            && self.window_scale.is_none();
        self.timestamps.filter(|_| alone)
    }

    /// Bytes that [`Options::emit`] writes, a multiple of four.
    pub fn wire_len(&self) -> usize {
        let sack = sack_len(self.sack_that_fits());
        self.len_without_sack().saturating_add(sack)
    }

    fn len_without_sack(&self) -> usize {
        let mut len = usize::from(self.signature.wire_len());
        if self.mss.is_some() {
            len = len.saturating_add(4);
        }
        if self.timestamps.is_some() {
            len = len.saturating_add(TIMESTAMPS_PADDED);
        } else if self.sack_permitted {
            len = len.saturating_add(4);
        }
        if self.window_scale.is_some() {
            len = len.saturating_add(4);
        }
        len
    }

    /// What [`Options::emit`] writes for most SYNs, in few words.
    fn as_usual_syn(&self) -> Option<[u8; USUAL_SYN_LEN]> {
        let plain = self.sack_permitted && self.sack.is_empty() && !self.signature.is_some();
        let (mss, stamps) = (self.mss?, self.timestamps.filter(|_| plain)?);
        let words = [
            (u32::from(BEFORE_MSS) << 16) | u32::from(mss),
            BEFORE_STAMPS,
            stamps.val,
            stamps.ecr,
            BEFORE_SHIFT | u32::from(self.window_scale?.get()),
        ];
        let mut bytes = [0; USUAL_SYN_LEN];
        for (to, word) in bytes.chunks_exact_mut(4).zip(words) {
            if let Some(to) = to.first_chunk_mut() {
                *to = word.to_be_bytes();
            }
        }
        Some(bytes)
    }

    /// Writes the options in the order and with the padding of Linux (`tcp_options_write`), so that
    /// what looks at TCP along the path sees nothing unusual. Returns the bytes written, a multiple of four, at
    /// most 40; an option for which `out` has no room is left out.
    pub fn emit(&self, out: &mut [u8]) -> usize {
        if let (Some(bytes), Some(out)) = (self.as_usual_syn(), out.first_chunk_mut()) {
            *out = bytes;
            return USUAL_SYN_LEN;
        }
        let mut writer = Writer { out, written: 0 };
        self.signature.write(&mut writer);
        if let Some(mss) = self.mss {
            let [high, low] = mss.to_be_bytes();
            writer.put(&[MSS, 4, high, low]);
        }
        if let Some(Timestamps { val, ecr }) = self.timestamps {
            let [v0, v1, v2, v3] = val.to_be_bytes();
            let [e0, e1, e2, e3] = ecr.to_be_bytes();
            let (p0, p1) = if self.sack_permitted {
                (SACK_PERMITTED, 2)
            } else {
                (NOP, NOP)
            };
            writer.put(&[p0, p1, TIMESTAMPS, 10, v0, v1, v2, v3, e0, e1, e2, e3]);
        } else if self.sack_permitted {
            writer.put(&[NOP, NOP, SACK_PERMITTED, 2]);
        }
        if let Some(scale) = self.window_scale {
            writer.put(&[NOP, WINDOW_SCALE, 3, scale.get()]);
        }
        if let Some(out) = writer.take(sack_len(self.sack_that_fits())) {
            self.sack.emit(out);
        }
        writer.written
    }
}

/// What the options of a SYN take, as most write them.
const USUAL_SYN_LEN: usize = 20;
/// What stands in them before the MSS, the timestamps and the shift, which is the last byte.
const BEFORE_MSS: u16 = u16::from_be_bytes([MSS, 4]);
const BEFORE_STAMPS: u32 = u32::from_be_bytes([SACK_PERMITTED, 2, TIMESTAMPS, 10]);
const BEFORE_SHIFT: u32 = u32::from_be_bytes([NOP, WINDOW_SCALE, 3, 0]);

/// The MSS, the timestamps and the shift that the options of a SYN bring, if they are as most write them.
#[inline]
fn usual_syn(bytes: &[u8]) -> Option<(u16, Timestamps, u8)> {
    let &[m0, m1, high, low, s0, s1, s2, s3, v0, v1, v2, v3, e0, e1, e2, e3, w0, w1, w2, shift] =
        bytes
    else {
        return None;
    };
    // As numbers: a match on the bytes is compiled to a test of each.
    let is_usual = u16::from_be_bytes([m0, m1]) == BEFORE_MSS
        && u32::from_be_bytes([s0, s1, s2, s3]) == BEFORE_STAMPS
        && u32::from_be_bytes([w0, w1, w2, 0]) == BEFORE_SHIFT;
    let stamps = Timestamps {
        val: u32::from_be_bytes([v0, v1, v2, v3]),
        ecr: u32::from_be_bytes([e0, e1, e2, e3]),
    };
    is_usual.then_some((u16::from_be_bytes([high, low]), stamps, shift))
}

/// Bytes that so many SACK blocks take with their padding.
#[inline]
pub(super) fn sack_len(blocks: usize) -> usize {
    match blocks {
        0 => 0,
        blocks => blocks.saturating_mul(8).saturating_add(4),
    }
}

/// How many SACK blocks fit beside `others` bytes of other options (RFC 2018 section 3).
pub(crate) fn sack_room(others: usize) -> usize {
    MAX_OPTIONS_LEN.saturating_sub(others).saturating_sub(4) / 8
}

/// Appends whole groups of bytes to a slice.
pub(super) struct Writer<'a> {
    out: &'a mut [u8],
    written: usize,
}

impl Writer<'_> {
    #[inline]
    pub(super) fn put(&mut self, bytes: &[u8]) {
        let end = self.written.saturating_add(bytes.len());
        if let Some(slot) = self.out.get_mut(self.written..end) {
            // Not copy_from_slice: it panics when lengths differ, and the compiler does not see that they never do.
            for (to, from) in slot.iter_mut().zip(bytes) {
                *to = *from;
            }
            self.written = end;
        }
    }

    /// The next `len` bytes, if there are so many.
    fn take(&mut self, len: usize) -> Option<&mut [u8]> {
        let end = self.written.saturating_add(len);
        let taken = self.out.get_mut(self.written..end)?;
        self.written = end;
        Some(taken)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::Signed;
    use std::vec::Vec;

    fn emitted(options: &Options) -> Vec<u8> {
        let mut out = [0xee; MAX_OPTIONS_LEN];
        let len = options.emit(&mut out);
        assert_eq!(len, options.wire_len());
        assert_eq!(len % 4, 0);
        assert!(out[len..].iter().all(|byte| *byte == 0xee));
        out[..len].to_vec()
    }

    fn sack(edges: &[(u32, u32)]) -> SackBlocks {
        let mut blocks = SackBlocks::new();
        for (left, right) in edges {
            assert!(blocks.push(SeqRange::between(SeqNum::new(*left), SeqNum::new(*right))));
        }
        blocks
    }

    const TS: Option<Timestamps> = Some(Timestamps {
        val: 0x01020304,
        ecr: 0x0a0b0c0d,
    });

    /// The short ways read and write what the long ones do.
    #[test]
    fn are_usual__those_that_have_no_signature() {
        let syn = [
            2, 4, 5, 180, 4, 2, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 3, 3, 7,
        ];
        let stamps = [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
        for usual in [&[][..], &stamps, &syn] {
            assert!(Options::are_usual(usual));
            assert_eq!(Signed::find(usual), Ok(None));
        }
        // What stands between the numbers is to be as it is.
        for at in 0..syn.len() {
            let mut other = syn;
            other[at] ^= 0x40;
            let is_number = matches!(at, 2 | 3 | 8..=15 | 19);
            assert_eq!(Options::are_usual(&other), is_number, "{at}");
        }
        let options = Options::parse(&syn);
        let longer: Vec<u8> = [1].into_iter().chain(syn).collect();
        assert!(!Options::are_usual(&longer));
        assert_eq!(options, Options::parse(&longer));
        assert_eq!(emitted(&options), syn);
    }

    #[test]
    fn emit__a_linux_syn() {
        let options = Options {
            mss: Some(1460),
            window_scale: Some(WindowScale::new(7)),
            sack_permitted: true,
            timestamps: TS,
            ..Options::default()
        };
        assert_eq!(
            emitted(&options),
            [2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 10, 11, 12, 13, 1, 3, 3, 7]
        );
    }

    #[test]
    fn emit__each_option_has_its_padding() {
        let none = Options::default();
        assert_eq!(emitted(&none), []);
        assert_eq!(
            emitted(&Options {
                sack_permitted: true,
                ..none
            }),
            [1, 1, 4, 2]
        );
        assert_eq!(
            emitted(&Options {
                timestamps: TS,
                ..none
            }),
            [1, 1, 8, 10, 1, 2, 3, 4, 10, 11, 12, 13]
        );
        assert_eq!(
            emitted(&Options {
                window_scale: Some(WindowScale::new(0)),
                ..none
            }),
            [1, 3, 3, 0]
        );
        assert_eq!(
            emitted(&Options {
                sack: sack(&[(1, 2)]),
                ..none
            }),
            [1, 1, 5, 10, 0, 0, 0, 1, 0, 0, 0, 2]
        );
    }

    /// RFC 2018 section 3.
    #[test]
    fn emit__three_blocks_fit_beside_timestamps_and_four_without() {
        let four = sack(&[(1, 2), (3, 4), (5, 6), (7, 8)]);
        let with = Options {
            timestamps: TS,
            sack: four,
            ..Options::default()
        };
        assert_eq!((with.sack_that_fits(), emitted(&with).len()), (3, 40));
        let without = Options {
            timestamps: None,
            ..with
        };
        assert_eq!((without.sack_that_fits(), emitted(&without).len()), (4, 36));
    }

    #[test]
    fn emit__never_writes_past_a_short_buffer() {
        let options = Options {
            mss: Some(1),
            window_scale: Some(WindowScale::new(1)),
            sack_permitted: true,
            timestamps: TS,
            sack: sack(&[(1, 2), (3, 4)]),
            ..Options::default()
        };
        for len in 0..MAX_OPTIONS_LEN {
            let mut out = [0; MAX_OPTIONS_LEN];
            let written = options.emit(&mut out[..len]);
            assert!(written <= len && written % 4 == 0);
        }
    }

    /// RFC 9293 MUST-6: an option that nobody knows is skipped.
    #[test]
    fn parse__reads_what_others_write() {
        // Windows: MSS, NOP, WS, NOP, NOP, SACK-permitted.
        let windows = Options::parse(&[2, 4, 5, 0xb4, 1, 3, 3, 8, 1, 1, 4, 2]);
        assert_eq!(windows.mss, Some(1460));
        assert_eq!(windows.window_scale, Some(WindowScale::new(8)));
        assert!(windows.sack_permitted && windows.timestamps.is_none());
        // Unknown options (experimental 254, MD5 19) are skipped by their length.
        let unknown = Options::parse(&[254, 4, 9, 9, 19, 3, 9, 2, 4, 0, 100]);
        assert_eq!(unknown.mss, Some(100));
    }

    /// RFC 9293 MUST-7: an impossible length, zero too, ends the reading. RFC 7323 section 2.3: a shift beyond 14 counts as 14.
    #[test]
    fn parse__malformed() {
        let none = Options::default();
        for bytes in [
            &[2u8][..],                   // kind without a length
            &[2, 0, 5, 0xb4],             // length zero
            &[2, 1, 5, 0xb4],             // length one
            &[2, 4, 5],                   // cut short
            &[2, 255, 5, 0xb4],           // longer than the header
            &[2, 3, 5],                   // wrong length for its kind
            &[2, 4, 0, 0],                // an MSS of zero
            &[3, 2],                      // no shift
            &[4, 3, 0],                   // SACK-permitted with a value
            &[8, 9, 1, 1, 1, 1, 1, 1, 1], // short timestamps
            &[5, 2],                      // no blocks
            &[5, 9, 0, 0, 0, 1, 0, 0, 0], // not a whole block
            &[0, 2, 4, 5, 0xb4],          // after the end
        ] {
            assert_eq!(Options::parse(bytes), none, "{bytes:?}");
        }
        // What came before the malformed one still counts, and so does what follows a wrong length.
        assert_eq!(Options::parse(&[2, 4, 1, 0, 3, 0]).mss, Some(256));
        assert_eq!(Options::parse(&[4, 3, 0, 2, 4, 1, 0]).mss, Some(256));
        assert_eq!(
            Options::parse(&[3, 3, 255]).window_scale,
            Some(WindowScale::MAX)
        );
    }

    #[test]
    fn parse__more_sack_blocks_than_can_be() {
        let mut bytes = std::vec![5, 42];
        bytes.extend([0u8; 40]);
        assert_eq!(Options::parse(&bytes).sack.len(), 4);
    }

    #[test]
    fn parse__every_string_of_up_to_three_bytes() {
        for a in 0..=255u8 {
            Options::parse(&[a]);
            for b in 0..=255u8 {
                Options::parse(&[a, b]);
                for c in 0..=255u8 {
                    Options::parse(&[a, b, c]);
                }
            }
        }
    }

    #[test]
    fn window_scale__for_limit_is_the_smallest_that_holds() {
        for (limit, shift) in [
            (0, 0),
            (65535, 0),
            (65536, 1),
            (131071, 1),
            (131072, 2),
            (6 << 20, 7),
            (u32::MAX, 14),
        ] {
            assert_eq!(WindowScale::for_limit(limit).get(), shift, "{limit}");
        }
    }

    #[test]
    fn window_scale__narrow_never_promises_more() {
        for shift in 0..=14 {
            let scale = WindowScale::new(shift);
            for bytes in [0, 1, 1000, 65535, 65536, 1 << 20, 1 << 30, u32::MAX] {
                assert!(scale.widen(scale.narrow(bytes)) <= bytes);
            }
        }
    }
}
