// SPDX-License-Identifier: GPL-2.0

//! What a connection keeps about data in flight: memory that the caller owns, and that exists only while it is needed.
//!
//! A connection by itself knows of two transmissions in flight, enough for a request and its answer. When there are more,
//! or when something seems lost, it asks for a [`Flight`], and gives it back when all is acknowledged. Without it,
//! because there is no memory, a loss is repaired by the retransmission timer alone, which is slow and correct. So is taking it away
//! at any time.
//!
//! Deviation: RFC 5681 section 3.2 wants fast retransmit of every sender. Not of one whose host is out of memory: it would have to keep
//! two kilobytes for each connection that never loses anything.

mod records;
#[cfg(test)]
mod tests;

pub(crate) use records::{is_later, Marks, Records, Run};

use crate::connection::recovery::Recovery;
use crate::rate::Deliveries;
use crate::seq::{SeqNum, SeqRange};

/// Data in flight, and the repair of what is lost of it.
#[derive(Clone, Debug)]
pub struct Flight {
    pub(crate) records: Records,
    pub(crate) recovery: Recovery,
    pub(crate) deliveries: Deliveries,
}

// What the slab has for one.
const _: () = assert!(core::mem::size_of::<Flight>() <= 2048);

impl Default for Flight {
    fn default() -> Self {
        Flight::new()
    }
}

impl Flight {
    /// Nothing is in flight.
    pub const fn new() -> Self {
        Flight {
            records: Records::new(SeqNum::new(0)),
            recovery: Recovery::new(),
            deliveries: Deliveries::new(),
        }
    }

    /// Bytes that the peer has reported, or stood for by duplicate acknowledgments (`tcpi_sacked`).
    pub fn reported(&self) -> u32 {
        self.records
            .sacked()
            .saturating_add(self.recovery.duplicates)
    }

    /// Bytes that are lost, sent again or not (`tcpi_lost`).
    pub fn lost(&self) -> u32 {
        self.records.lost()
    }

    /// Bytes sent again whose copies are in flight (`tcpi_retrans`).
    pub fn sent_again(&self) -> u32 {
        self.records.resent()
    }
}

/// Where a connection's [`Flight`] lives. Always the same place for one connection.
pub trait FlightMemory {
    /// The flight, if there is one.
    fn get(&mut self) -> Option<&mut Flight>;

    /// The flight; a new one if there is none. `None` if there is no memory.
    fn make(&mut self) -> Option<&mut Flight>;

    /// The flight is not needed any more.
    fn release(&mut self);

    /// Whether there may be message boundaries ([`boundary`](FlightMemory::boundary)).
    fn is_bounded(&self) -> bool {
        false
    }

    /// The first message boundary behind `range.start` and not behind `range.end()`: no segment has bytes of both its sides
    /// (MSG_EOR). Boundaries are kept where the bytes are, in the caller's send buffer, and go with them.
    fn boundary(&self, _range: SeqRange) -> Option<SeqNum> {
        None
    }
}

impl FlightMemory for Option<Flight> {
    fn get(&mut self) -> Option<&mut Flight> {
        self.as_mut()
    }

    fn make(&mut self) -> Option<&mut Flight> {
        Some(self.get_or_insert_with(Flight::new))
    }

    fn release(&mut self) {
        *self = None;
    }
}

/// No memory for a [`Flight`], ever.
#[derive(Clone, Copy, Debug, Default)]
pub struct NoFlight;

impl FlightMemory for NoFlight {
    fn get(&mut self) -> Option<&mut Flight> {
        None
    }

    fn make(&mut self) -> Option<&mut Flight> {
        None
    }

    fn release(&mut self) {}
}
