// SPDX-License-Identifier: GPL-2.0

//! Receive memory: what packets take of it, how much of it is payload, and what is done when it is short.
//!
//! The caller counts and carries out; what is to be done is decided here, by Linux's rules, as functions of the numbers
//! that it hands in.

use core::cell::Cell;

use crate::seq::SeqNum;
use crate::transmit::segments;

/// The share of a buffer that is payload before a packet has shown what it costs: 128 of 256 (Linux's
/// TCP_DEFAULT_SCALING_RATIO).
pub(super) const FIRST_SHARE: u8 = 128;

/// A connection's receive memory, in bytes of the caller's memory: payload and what packets take beside it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecvMemory {
    /// What the packets take that are kept, in order and out of order (`sk_rmem_alloc`).
    pub used: u32,
    /// What they may take (`sk_rcvbuf`). The last one may go beyond it, as in Linux.
    pub limit: u32,
    /// What a buffer may grow to (`tcp_rmem[2]`).
    pub most: u32,
    /// The program has set `limit`: it does not grow.
    pub fixed: bool,
}

impl RecvMemory {
    /// The window that an empty buffer makes before the first packet (Linux's `tcp_full_space`).
    pub fn first_window(&self) -> u32 {
        window_of(self.limit, FIRST_SHARE)
    }

    /// The largest window that there will ever be, for which the scale is chosen. As in Linux, for a buffer that may
    /// grow it is all of it: packets can be nearly all payload (`tcp_select_initial_window`).
    pub fn largest_window(&self) -> u32 {
        match self.fixed {
            true => self.first_window(),
            false => self.most.max(self.limit),
        }
    }

    /// The buffer that makes such a window before the first packet.
    pub fn first_buffer(window: u32) -> u32 {
        memory_for(window, FIRST_SHARE)
    }

    /// Whether no further packet may be kept (Linux's `tcp_can_ingest`).
    pub fn is_over(&self) -> bool {
        self.used > self.limit
    }

    /// What the limit may become.
    pub(super) fn may_become(&self) -> u32 {
        match self.fixed {
            true => self.limit,
            false => self.most.max(self.limit),
        }
    }

    /// What is left.
    pub(super) fn free(&self) -> u32 {
        self.limit.saturating_sub(self.used)
    }
}

/// What a packet is besides its segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Packet {
    /// The memory that it takes (`skb->truesize`); 0 where nobody counts.
    pub truesize: u32,
    /// So much of it is not needed any more when the packet is joined to another one: the head of a packet whose payload is
    /// in pages. 0 for others.
    pub head: u32,
    /// The payload of each of the segments that it was made of (`gso_size`); 0 for one segment.
    pub segment_size: u16,
}

impl Packet {
    /// How many segments on the wire it was made of, with `payload` bytes in all.
    pub(super) fn segments(&self, payload: u32) -> u32 {
        match self.segment_size {
            0 => 1,
            size => segments(payload, u32::from(size)).max(1),
        }
    }
}

/// What the caller does before it gives a segment with payload to [`on_segment`](super::Connection::on_segment).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Room {
    /// There is room: the packet is charged.
    Enough,
    /// The limit becomes so many bytes, perhaps what it is. While the memory [is over it](RecvMemory::is_over) even so, the
    /// queues are made denser, then packets out of order are given up as [`Pruning`] says. The packet is charged if there is
    /// room then.
    Over(u32),
    /// None of the payload will be kept: nothing is given up for it.
    Useless(Useless),
}

/// Why nothing of a segment's payload is of use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Useless {
    /// It has come before, or nobody will read it.
    Old,
    /// It begins beyond the window, or goes beyond it while data waits for the user (Linux's `TcpExtBeyondWindow`).
    Beyond,
    /// The window is closed (`TcpExtTCPZeroWindowDrop`).
    Closed,
}

/// Which packets out of order are given up when memory is short: those at the end of the stream, and none before the one
/// that came (Linux's `tcp_prune_ofo_queue`). They were acknowledged selectively at most, and the peer has them still
/// (RFC 2018 section 8).
#[derive(Clone, Copy, Debug)]
pub struct Pruning {
    came: SeqNum,
    /// Bytes that are given up before the next look.
    goal: u32,
}

impl Pruning {
    /// A packet that begins at `came` is to be kept.
    pub fn new(came: SeqNum, memory: &RecvMemory) -> Self {
        Pruning {
            came,
            goal: Self::share(memory),
        }
    }

    /// An eighth of the buffer at a time, so that a peer cannot have a packet pruned for each that it sends.
    fn share(memory: &RecvMemory) -> u32 {
        (memory.limit >> 3).max(1)
    }

    /// Whether the last packet, which begins at `last` and takes `truesize` bytes, is to be given up. `memory` is what it
    /// is before that.
    pub fn next(&mut self, last: SeqNum, truesize: u32, memory: &RecvMemory) -> bool {
        if self.goal == 0 {
            if !memory.is_over() {
                return false;
            }
            self.goal = Self::share(memory);
        }
        if self.came.after(last) {
            return false;
        }
        self.goal = self.goal.saturating_sub(truesize);
        true
    }
}

/// Whether a packet with `len` unread bytes takes so much memory that a copy of them would leave half of it free: others were joined to it,
/// and have been read. To be copied when the peer asks whether a closed window is open again: no more often than its memory can be halved.
///
/// Deviation: Linux copies when there is no room for what comes. Behind a closed window nothing comes, and a program that waits for more
/// than is unread waits forever.
pub fn mostly_read(len: u32, truesize: u32) -> bool {
    // A copy takes a seventh more than its payload, and a head.
    let copy = len.saturating_add(len / 4).saturating_add(HEAD);
    copy <= truesize / 2
}

/// Bytes of memory that a packet takes beside its payload, rounded up.
const HEAD: u32 = 1024;

/// How much of a packet's memory is payload, of 256 bytes (Linux's scaling_ratio).
#[derive(Clone, Copy, Debug)]
pub struct Share(pub(super) u8);

impl Share {
    /// As a number. What is not [bloated](Self::is_bloated) with one number is not with a lower one: who has looked at a packet need not
    /// look at it again before the number is higher. So a peer cannot have the whole queue looked at for each packet that it sends.
    pub fn of_256(self) -> u8 {
        self.0
    }

    /// Whether a packet with `len` bytes of payload takes more than that for them, so that in want of memory they are to be
    /// copied to a denser one. With it goes all behind it that becomes smaller so (Linux's `tcp_collapse`): `found` says whether there
    /// was such a one before, and is to be handed from packet to packet, in the queue's order.
    pub fn is_bloated(self, len: u32, truesize: u32, found: &Cell<bool>) -> bool {
        let bloated = window_of(truesize, self.0) > len;
        found.set(found.get() || bloated);
        // A dense packet takes a seventh more than its payload.
        bloated || (found.get() && truesize.saturating_sub(len) > len / 4)
    }
}

/// The window that so many bytes of memory make (Linux's `tcp_win_from_space`).
pub(super) fn window_of(bytes: u32, share: u8) -> u32 {
    (u64::from(bytes).saturating_mul(u64::from(share)) >> 8) as u32
}

/// The memory that makes such a window (Linux's `tcp_space_from_win`).
pub(super) fn memory_for(window: u32, share: u8) -> u32 {
    let scaled = u64::from(window) << 8;
    let bytes = scaled.checked_div(u64::from(share)).unwrap_or(u64::MAX);
    bytes.min(u64::from(u32::MAX)) as u32
}

/// The share of payload in a packet (Linux's `tcp_measure_rcv_mss`): of 256, at least 1.
pub(super) fn share_of(len: u32, truesize: u32) -> u8 {
    let scaled = u64::from(len) << 8;
    let share = scaled.checked_div(u64::from(truesize)).unwrap_or(0);
    share.clamp(1, 255) as u8
}

#[cfg(test)]
mod tests {
    use super::*;

    fn memory(used: u32, limit: u32) -> RecvMemory {
        RecvMemory {
            used,
            limit,
            most: 6 << 20,
            fixed: true,
        }
    }

    #[test]
    fn first_window__is_half_of_the_buffer() {
        assert_eq!(memory(0, 131_072).first_window(), 65_536);
        assert_eq!(memory(0, u32::MAX).first_window(), u32::MAX / 2);
    }

    #[test]
    fn largest_window__grows_unless_the_program_has_set_it() {
        let mut memory = memory(0, 20_000);
        assert_eq!(memory.largest_window(), 10_000);
        memory.fixed = false;
        assert_eq!(memory.largest_window(), 6 << 20);
        memory.most = 10_000;
        assert_eq!(memory.largest_window(), 20_000);
    }

    #[test]
    fn shares__there_and_back() {
        // What the built-in TCP has in the same place: ratios seen in tcp_rcv_wnd_shrink_*.pkt.
        assert_eq!(share_of(10_000, 12_544), 204);
        assert_eq!(share_of(65_000, 65_792), 252);
        assert_eq!(share_of(1, 2304), 1);
        assert_eq!((share_of(100, 0), share_of(100, 50)), (1, 255));
        assert_eq!(window_of(20_224, 204), 16_116);
        for (window, share) in [(1, 1), (65_536, 128), (u32::MAX, 255), (u32::MAX, 1)] {
            let bytes = memory_for(window, share);
            assert!(window_of(bytes, share) <= window);
            assert!(bytes == u32::MAX || window_of(bytes + 2 * 256, share) >= window);
        }
    }

    #[test]
    fn is_bloated__by_the_share() {
        let alone =
            |share: u8, len, truesize| Share(share).is_bloated(len, truesize, &Cell::new(false));
        assert!(alone(128, 1, 768));
        assert!(!alone(252, 65_000, 65_792));
        assert!(alone(204, 1000, 2304));
    }

    #[test]
    fn is_bloated__with_a_higher_share_what_is_with_a_lower_one() {
        for share in 1..=u8::MAX {
            for (len, truesize) in [
                (1, 768),
                (460, 768),
                (700, 768),
                (1448, 2304),
                (65_000, 67_000),
            ] {
                let bloated = |share| Share(share).is_bloated(len, truesize, &Cell::new(false));
                assert!(bloated(share) || !bloated(share - 1), "{share} {len}");
            }
        }
        assert_eq!(Share(7).of_256(), 7);
    }

    /// Linux's `tcp_collapse` begins with the first that is bloated, and does not stop there.
    #[test]
    fn is_bloated__with_what_is_behind_it() {
        let found = Cell::new(false);
        let share = Share(106);
        let queue = [(960, 2304), (345, 768), (960, 2304), (65_000, 67_000)];
        let copied = queue.map(|(len, truesize)| share.is_bloated(len, truesize, &found));
        assert_eq!(copied, [false, false, false, false]);
        let queue = [(960, 2304), (200, 768), (960, 2304), (65_000, 67_000)];
        let copied = queue.map(|(len, truesize)| share.is_bloated(len, truesize, &found));
        assert_eq!(copied, [false, true, true, false]);
    }

    #[test]
    fn mostly_read__where_a_copy_is_half_as_large() {
        assert!(mostly_read(7240, 63_160));
        assert!(mostly_read(1, 4096));
        assert!(!mostly_read(1, 2047));
        assert!(!mostly_read(1448, 2304));
        assert!(!mostly_read(31_000, 65_792));
        assert!(!mostly_read(u32::MAX, u32::MAX));
    }

    /// Ten packets of 4000 bytes, numbered by thousands, in a buffer of 32,000.
    fn prune(came: u32, used: u32) -> usize {
        let mut now = memory(used, 32_000);
        let mut pruning = Pruning::new(SeqNum::new(came), &now);
        let mut pruned = 0;
        for last in (1..=10).rev() {
            if !pruning.next(SeqNum::new(last * 1000), 4000, &now) {
                break;
            }
            now.used -= 4000;
            pruned += 1;
        }
        pruned
    }

    #[test]
    fn pruning__from_the_end_until_there_is_room() {
        assert_eq!(prune(0, 40_000), 2);
        assert_eq!(prune(0, 33_000), 1);
        // Not what stands before the packet that came.
        assert_eq!(prune(9_500, 40_000), 1);
        assert_eq!(prune(11_000, 40_000), 0);
        // All of it, if that is what it takes.
        assert_eq!(prune(0, 80_000), 10);
    }

    #[test]
    fn pruning__an_eighth_at_the_least() {
        let mut now = memory(32_001, 32_000);
        let mut pruning = Pruning::new(SeqNum::new(0), &now);
        let mut pruned = 0;
        while pruning.next(SeqNum::new(5), 500, &now) {
            now.used -= 500;
            pruned += 500;
        }
        assert_eq!(pruned, 4000);
    }
}
