// SPDX-License-Identifier: GPL-2.0

//! What packets cost in the kernel's memory; receive windows follow from it. And what the engine may ask for while it sends.

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

/// What one sk_buff and the header part of a packet in pages cost.
const HEAD: u32 = 256 + 512;
/// A page.
const PAGE: u32 = 4096;
/// IP and TCP headers, room before them, and what the kernel keeps behind the data.
const AROUND: u32 = 40 + 64 + 320;

/// `skb->truesize` of a packet that comes from a tun device: in one piece where that fits into a page, else
/// in pages.
pub(super) fn truesize(payload: u32) -> u32 {
    match payload + AROUND {
        all if all <= PAGE => 256 + all.next_power_of_two(),
        all => HEAD + (all - AROUND + 40).div_ceil(PAGE) * PAGE,
    }
}

/// The window that a receive buffer of `bytes` makes when it is empty; as the adapter's `window_of`.
pub(super) fn window_of(bytes: u32) -> u32 {
    bytes / 2
}

/// The receive buffer that makes a window of `bytes`; as the adapter's `buffer_for`.
pub(super) fn buffer_for(bytes: u32) -> u32 {
    bytes.saturating_mul(2)
}
