// SPDX-License-Identifier: GPL-2.0

//! The receive window: what is offered, and how the buffer grows.
//!
//! The window is the payload that the free part of the buffer has room for. Which share of it is payload is learnt from
//! the packets that come; how far the window opens is learnt, too, so that small packets in a large window do not
//! fill the buffer (Linux's `rcv_ssthresh`).

use super::autotune;
use super::link::{Link, Owed};
use super::memory::{self, RecvMemory, Room, Useless};
use super::receive::{Facts, Receiver, Rx};
use crate::context::Context;
use crate::happening::Happening;
use crate::reassembly::Reassembly;
use crate::segment::Segment;
use crate::seq::SeqNum;
use crate::wire::WindowScale;

/// The buffer, as the window is made of it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Buffer {
    /// Bytes of memory that are free,
    free: u32,
    /// of so many.
    limit: u32,
    /// The window is not larger (Linux's rcv_ssthresh). Never less than two segments, even in a buffer
    /// without room: it grows by what arrives, full segments, and with less none would come, also when there is room again.
    threshold: u32,
}

/// A peer that may have fewer segments in flight than these waits for each acknowledgment (RFC 6928: it would begin with so
/// many). Linux acknowledges each packet at once as long as the window opens; beyond this that only makes slow start
/// overshoot more (`tests/goodput.rs`).
const TIGHT_SEGMENTS: u32 = 10;

/// What `__tcp_select_window` finds.
struct Selected {
    window: u32,
    /// Less than half of the buffer is free: the peer is not to be hurried.
    tight: bool,
}

impl Buffer {
    /// An empty buffer that makes a window of `space` bytes, of which `offered` are offered already.
    pub(super) fn new(space: u32, offered: u32, mss: u16) -> Self {
        let reserve = reserved(space, mss);
        let mss = u32::from(mss);
        let limit = memory::memory_for(space, memory::FIRST_SHARE);
        Buffer {
            free: limit,
            limit,
            threshold: offered.min(reserve).max(mss.saturating_mul(2)),
        }
    }

    pub(super) fn set(&mut self, memory: &RecvMemory) {
        self.free = memory.free();
        self.limit = memory.limit;
    }

    /// A packet is kept.
    pub(super) fn take(&mut self, truesize: u32) {
        self.free = self.free.saturating_sub(truesize);
    }

    /// The window is not larger (Linux's rcv_ssthresh).
    pub(super) fn threshold(&self) -> u32 {
        self.threshold
    }

    pub(super) fn is_empty(&self) -> bool {
        self.free == self.limit
    }

    /// Payload for which there is room (Linux's `tcp_space`).
    pub(super) fn space(&self, share: u8) -> u32 {
        memory::window_of(self.free, share)
    }

    /// Payload for which there is room when nothing is in the buffer (Linux's `tcp_full_space`).
    pub(super) fn full(&self, share: u8) -> u32 {
        memory::window_of(self.limit, share)
    }

    /// How far the window is to open at once (Linux's `tcp_grow_window`): a packet that is well filled lets it open, by twice
    /// its size. `joined`: another packet has taken its pages over, or will. Says whether it is worth telling the peer at
    /// once.
    ///
    /// It is called before the packet is counted. Linux counts one in order first; so a buffer of few packets never
    /// opens fully, though it is empty most of the time.
    pub(super) fn open(
        &mut self,
        rx: &Rx<'_>,
        len: u32,
        (share, clamp): (u8, u32),
        (rcv_mss, mss): (u16, u16),
        joined: bool,
    ) -> bool {
        let room = self.space(share).min(clamp);
        let room = room.saturating_sub(self.threshold);
        if room == 0 {
            return false;
        }
        let head = if joined { rx.packet.head } else { 0 };
        let lean = rx.packet.truesize.saturating_sub(head);
        // "Paranoid check, some drivers might be buggy."
        let truesize = if lean < len { rx.packet.truesize } else { lean };
        let grow = match memory::window_of(truesize, share) <= len {
            true => u32::from(mss).saturating_mul(2),
            // Or it would be, in a buffer that is as much smaller.
            false => {
                let most = rx.most;
                let mut truesize = memory::window_of(truesize, share) >> 1;
                let mut window = memory::window_of(most, share) >> 1;
                while self.threshold <= window && truesize > len {
                    truesize >>= 1;
                    window >>= 1;
                }
                match self.threshold <= window {
                    true => u32::from(rcv_mss).saturating_mul(2),
                    false => return false,
                }
            }
        };
        let grow = grow.max(len.saturating_mul(2));
        let before = self.threshold;
        self.threshold = before.saturating_add(grow.min(room));
        before < u32::from(mss).saturating_mul(TIGHT_SEGMENTS)
    }

    /// The buffer is over its limit (Linux's `tcp_clamp_window`).
    fn clamp(&mut self, mss: u16) {
        let least = u32::from(mss).saturating_mul(2);
        self.threshold = self.threshold.min(least);
    }

    /// Linux's `__tcp_select_window`, with `last`, the window that was offered last.
    fn select(
        &self,
        (share, clamp): (u8, u32),
        rcv_mss: u16,
        scale: WindowScale,
        shrink: bool,
        last: u32,
    ) -> Selected {
        let (mut space, all) = (self.space(share), self.full(share));
        let full = all.min(clamp);
        let unit = scale.unit();
        let mss = u32::from(rcv_mss).min(full);
        let tight = space < full >> 1;
        let none = Selected { window: 0, tight };
        if mss == 0 {
            return none;
        }
        if shrink || tight {
            space = round_down(space, unit);
        }
        // "With large window, mss test triggers way too late in order to announce zero window in time before rmem limit
        // kicks in."
        if tight && (space < all >> 4 || space < mss || (shrink && space < unit)) {
            return none;
        }
        let bounded = space.min(self.threshold);
        let window = if unit > 1 {
            // Rounded up, so that less than a unit is not closed; but what is to shrink does not grow by it.
            match shrink && bounded == space {
                true => space,
                false => align(bounded, unit),
            }
        } else if bounded.checked_sub(mss).is_some_and(|less| last <= less) || last > bounded {
            // Whole segments (RFC 9293 section 3.8.6.2.2).
            bounded.saturating_sub(bounded.checked_rem(mss).unwrap_or(0))
        } else if mss == full && bounded > last.saturating_add(full >> 1) {
            bounded
        } else {
            last
        };
        Selected { window, tight }
    }
}

/// What remains of a buffer for windows of `space` bytes when a segment of it is kept back (Linux's `tcp_init_buffer_space`).
fn reserved(space: u32, mss: u16) -> u32 {
    let mss = u32::from(mss);
    match space > mss.saturating_mul(2) {
        true => space.saturating_sub(mss).max(mss.saturating_mul(2)),
        false => space,
    }
}

/// Whole units of the window's scale.
fn round_down(bytes: u32, unit: u32) -> u32 {
    bytes & !unit.wrapping_sub(1)
}

/// Whole units of the window's scale, rounded up.
fn align(bytes: u32, unit: u32) -> u32 {
    let mask = unit.wrapping_sub(1);
    bytes.saturating_add(mask) & !mask
}

impl Receiver {
    /// The window is not larger, whatever is free (Linux's window_clamp).
    pub(super) fn clamp(&self, link: &Link) -> u32 {
        let full = self.buffer.full(self.share);
        match self.facts.has(Facts::RESERVED) {
            true => reserved(full, link.advmss()),
            false => full,
        }
    }

    /// The window that could be offered now. In a buffer that fills up, no acknowledgment is sent earlier than it must be.
    fn select(&mut self, cx: &Context<'_>, link: &Link) -> u32 {
        let shrink = may_shrink(cx, link);
        let found = self.buffer.select(
            (self.share, self.clamp(link)),
            self.rcv_mss(),
            link.rcv_scale(),
            shrink,
            link.offered(),
        );
        if found.tight {
            self.be_patient();
        }
        found.window
    }

    /// Whether the right edge has gone on with the data that came: else the acknowledgment is left to the reader, who
    /// makes it go on.
    pub(super) fn window_advances(&mut self, cx: &Context<'_>, link: &Link) -> bool {
        self.select(cx, link) >= link.offered()
    }

    /// The window field for a segment that is sent now; moves the right edge (Linux's `tcp_select_window`).
    ///
    /// The field counts in units of the scale. What was offered is not taken back, unless `shrink_window` allows it or a
    /// segment was refused for want of memory.
    pub(super) fn offer(&mut self, cx: &Context<'_>, link: &mut Link) -> u16 {
        self.note_sent();
        if self.facts.take(Facts::NO_MEMORY) {
            link.rcv_end = link.rcv_nxt;
            return 0;
        }
        let (now, unit) = (link.rcv_wnd(), link.rcv_scale().unit());
        let mut window = self.select(cx, link);
        if !may_shrink(cx, link) {
            // What is kept out of order lies in the window and takes memory, and so counts twice. Linux lets the window become
            // smaller by it as RCV.NXT goes on to the next hole; that starves a sender whose segments the path reorders.
            let held = self.held(link);
            if held != 0 {
                let room = self.buffer.space(self.share).saturating_add(held);
                window = window.max(round_down(room.min(link.offered()), unit));
            }
            if window < now {
                if window == 0 {
                    cx.count(Happening::TCPWantZeroWindowAdv);
                }
                window = align(now, unit);
            }
        }
        let field = link.rcv_scale().narrow(window);
        // What was offered last (`offered`).
        match (field == 0, link.rcv_end.before_eq(link.last_ack)) {
            (true, false) => cx.count(Happening::TCPToZeroWindowAdv),
            (false, true) => cx.count(Happening::TCPFromZeroWindowAdv),
            _ => {}
        }
        link.rcv_end = link.rcv_nxt.add(link.rcv_scale().widen(field));
        link.rcv_edge = SeqNum::max(link.rcv_edge, link.rcv_end);
        field
    }

    /// What the caller is to do before it hands in this segment, which has payload (Linux's `tcp_try_rmem_schedule`).
    /// `unread` bytes are in the receive queue.
    pub(super) fn make_room(
        &mut self,
        link: &Link,
        segment: &Segment,
        memory: &RecvMemory,
        unread: u32,
    ) -> Room {
        if let Some(why) = self.refuses(link, segment, unread) {
            return Room::Useless(why);
        }
        if !memory.is_over() {
            return Room::Enough;
        }
        let in_order = !segment.payload().start.after(link.rcv_nxt);
        if in_order && link.rcv_wnd() == 0 {
            return Room::Useless(Useless::Closed);
        }
        self.be_patient();
        let limit = memory.used.min(memory.may_become()).max(memory.limit);
        if memory.used > limit {
            self.buffer.clamp(link.advmss());
        }
        Room::Over(limit)
    }

    /// The buffer or what is in it has changed.
    pub(super) fn set_memory(&mut self, memory: &RecvMemory) {
        self.buffer.set(memory);
    }

    /// The user has read `bytes` and left `unread`: the buffer that there should be, if that is larger than it is
    /// (Linux's `tcp_rcv_space_adjust`).
    pub(super) fn on_read(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        (bytes, unread): (u32, u32),
        memory: &RecvMemory,
        held: Option<&Reassembly>,
    ) -> Option<u32> {
        let window = self.tune.on_read(cx, bytes, unread)?;
        self.grow(link, window, memory, held)
    }

    /// Something is missing, and what comes behind it is kept meanwhile: the buffer that there should be, if that is larger
    /// than it is (the end of Linux's `tcp_data_queue_ofo`).
    pub(super) fn on_hole(
        &mut self,
        link: &Link,
        memory: &RecvMemory,
        held: Option<&Reassembly>,
    ) -> Option<u32> {
        self.grow(link, self.tune.window(), memory, held)
    }

    /// Linux's `tcp_rcvbuf_grow`, for a window; room for what came out of order comes on top.
    fn grow(
        &mut self,
        link: &Link,
        window: u64,
        memory: &RecvMemory,
        held: Option<&Reassembly>,
    ) -> Option<u32> {
        let ahead = held.map_or(0, |held| autotune::ahead(link, held));
        let window = window.saturating_add(u64::from(ahead));
        let window = window.min(u64::from(u32::MAX)) as u32;
        let limit = memory::memory_for(window, self.share).min(memory.may_become());
        if limit <= memory.limit {
            return None;
        }
        self.facts.set(Facts::RESERVED, false);
        Some(limit)
    }

    /// There may be more room than before: an update of the window may be worth a segment, and what was read may have to
    /// be acknowledged (Linux's `tcp_cleanup_rbuf`).
    pub(super) fn on_more_room(&mut self, cx: &Context<'_>, link: &mut Link, read: bool) {
        // The user has read all, and the peer, with Nagle's algorithm, may be waiting for the acknowledgment of a small
        // segment.
        let unacked = link.last_ack.distance_to(link.rcv_nxt);
        let emptied = read && self.buffer.is_empty();
        if unacked != 0
            && (unacked > u32::from(self.rcv_mss()) || (emptied && self.is_waited_for()))
        {
            link.owed.insert(Owed::ACK);
            return;
        }
        let now = link.rcv_wnd();
        if now.saturating_mul(2) > self.clamp(link) {
            return;
        }
        // Linux's rule: an update is worth a segment when it doubles the window; or when it lets a peer go on that waits for
        // room for a full segment.
        let new = self.select(cx, link);
        let mss = u32::from(self.rcv_mss());
        // More cannot be named, and so is no news.
        let new = new.min(link.rcv_scale().widen(u16::MAX));
        if new > now && (new >= now.saturating_mul(2) || (now < mss && new >= mss)) {
            link.owed.insert(Owed::WINDOW);
        }
    }
}

/// Linux's tcp_shrink_window counts where windows are scaled alone.
fn may_shrink(cx: &Context<'_>, link: &Link) -> bool {
    cx.config.shrink_window && link.rcv_scale().get() != 0
}
