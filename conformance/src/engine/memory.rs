// SPDX-License-Identifier: GPL-2.0

//! What packets cost in the kernel's memory, when they come from a tun device (`tun_get_user`,
//! `alloc_skb_with_frags`). And what the engine may ask for while it sends.

use oxtcp_engine::{Flight, FlightMemory, SeqNum, SeqRange};

/// As the adapter's: memory for data in flight, and where messages end in the send buffer.
pub(super) struct SendMemory<'a> {
    pub(super) flight: &'a mut Option<Flight>,
    pub(super) boundaries: &'a [SeqNum],
}

impl FlightMemory for SendMemory<'_> {
    fn get(&mut self) -> Option<&mut Flight> {
        self.flight.get()
    }

    fn make(&mut self) -> Option<&mut Flight> {
        self.flight.make()
    }

    fn release(&mut self) {
        self.flight.release();
    }

    fn is_bounded(&self) -> bool {
        !self.boundaries.is_empty()
    }

    fn boundary(&self, range: SeqRange) -> Option<SeqNum> {
        let inside = |end: &&SeqNum| end.after(range.start) && end.before_eq(range.end());
        self.boundaries.iter().find(inside).copied()
    }
}

/// A page.
const PAGE: u32 = 4096;
/// What the kernel keeps beside a packet's data: the sk_buff, and skb_shared_info behind the head.
const SK_BUFF: u32 = 256;
const SHARED_INFO: u32 = 320;
/// NET_SKB_PAD: room before the headers.
const PAD: u32 = 64;
/// The head of a small packet, from a cache of its own (SKB_SMALL_HEAD_CACHE_SIZE).
const SMALL_HEAD: u32 = 640;
/// What fits into a head of a page.
const LINEAR: u32 = PAGE - PAD - SHARED_INFO;

/// Unread bytes of a packet.
#[derive(Clone, Copy, Debug)]
pub(super) struct Unread {
    pub(super) seq: SeqNum,
    pub(super) len: u32,
    /// `skb->truesize`
    pub(super) truesize: u32,
    /// Bytes that could be copied behind the payload.
    tailroom: u32,
}

impl Unread {
    /// `len` bytes of payload from `seq` on, which came in a packet of `packet` bytes, IP header included.
    pub(super) fn new(seq: SeqNum, len: u32, packet: u32) -> Self {
        let (truesize, tailroom) = cost(packet);
        Unread {
            seq,
            len,
            truesize,
            tailroom,
        }
    }

    pub(super) fn end(&self) -> SeqNum {
        self.seq.add(self.len)
    }

    pub(super) fn range(&self) -> SeqRange {
        SeqRange::new(self.seq, self.len)
    }

    /// The first bytes are not needed.
    pub(super) fn skip(&mut self, count: u32) {
        self.seq = self.seq.add(count);
        self.len -= count;
    }

    /// The bytes, copied to packets of a page each (`tcp_collapse`).
    pub(super) fn dense(mut self) -> Self {
        self.truesize = self.len.div_ceil(PAGE - SHARED_INFO) * (SK_BUFF + PAGE);
        self.tailroom = 0;
        self
    }

    /// Copies the bytes of the next packet there, too.
    pub(super) fn copy(&mut self, next: &Unread) {
        self.len += next.len;
        *self = self.dense();
    }

    /// Copies the bytes of the next packet behind those of this one, if they fit; as `skb_try_coalesce()`. It takes pages
    /// over, too, but these packets' heads are no pages.
    pub(super) fn join(&mut self, next: &Unread) -> bool {
        if self.end() != next.seq || self.tailroom < next.len {
            return false;
        }
        self.tailroom -= next.len;
        self.len += next.len;
        true
    }
}

/// The memory that a packet of so many bytes takes, IP header included, and the room behind its data.
pub(super) fn cost(packet: u32) -> (u32, u32) {
    if PAD + packet < PAGE {
        let head = match (PAD + packet).next_multiple_of(64) + SHARED_INFO {
            small if small <= SMALL_HEAD => SMALL_HEAD,
            large => large.next_power_of_two(),
        };
        let tailroom = head - SHARED_INFO - PAD - packet;
        return (SK_BUFF + head, tailroom);
    }
    // The rest is in pages, eight at a time at most; then there is no room.
    let mut truesize = SK_BUFF + PAGE;
    let mut left = packet - LINEAR.min(packet);
    let mut chunk = 8 * PAGE;
    while left > 0 {
        while chunk > PAGE && left.next_multiple_of(PAGE) < chunk {
            chunk /= 2;
        }
        truesize += chunk;
        left -= left.min(chunk);
    }
    (truesize, 0)
}

/// MAX_TCP_HEADER: room before a segment that is sent.
const SEND_PAD: u32 = 320;

/// What a segment to send takes when it is a packet of its own, as `tcp_sndbuf_expand` counts it.
pub(super) fn of_sent(mss: u32) -> u32 {
    (mss + SEND_PAD + SHARED_INFO).next_power_of_two() + SK_BUFF
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn cost__as_the_windows_of_scripts_tell() {
        assert_eq!(cost(40 + 1).0, 896);
        assert_eq!(cost(40 + 1000), (2304, 624));
        assert_eq!(cost(40 + 4000), (8448, 0));
        assert_eq!(cost(40 + 10_000).0, 12_544);
        assert_eq!(cost(40 + 14_337).0, 16_640);
        assert_eq!(cost(40 + 65_000).0, 65_792);
    }

    #[test]
    fn join__while_there_is_room() {
        let mut first = Unread::new(SeqNum::new(0), 1000, 1040);
        assert!(first.join(&Unread::new(SeqNum::new(1000), 600, 640)));
        assert!(!first.join(&Unread::new(SeqNum::new(1600), 25, 65)));
        assert!(!first.join(&Unread::new(SeqNum::new(1601), 1, 41)));
        assert_eq!((first.len, first.truesize), (1600, 2304));
    }
}
