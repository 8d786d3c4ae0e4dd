// SPDX-License-Identifier: GPL-2.0

//! What a connection tells its caller: events, and the error it ended with.

use core::fmt;

/// Something that the user of a connection may be waiting for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// The handshake is complete.
    Established,
    /// In-order data has arrived.
    Readable,
    /// The peer has acknowledged data: there is room in the send buffer.
    Writable,
    /// The peer has sent all it had to send: its FIN is in order.
    PeerClosed,
    /// The connection is gone: nothing more comes out of it but, perhaps, a reset.
    Closed,
    /// [`Connection::error`](super::Connection::error) has become set.
    Error,
    /// The peer has told of an urgent byte that was not known ([`Urgent`](super::Urgent)): SIGURG.
    Urgent,
    /// Both sides are done: the caller may keep
    /// [`Connection::time_wait`](super::Connection::time_wait) in place of the connection.
    TimeWait,
}

impl Event {
    /// Every event, in the order in which [`Events::iter`] names them.
    pub const ALL: [Event; 8] = [
        Event::Established,
        Event::Readable,
        Event::Writable,
        Event::PeerClosed,
        Event::Closed,
        Event::Error,
        Event::Urgent,
        Event::TimeWait,
    ];

    const fn bit(self) -> u8 {
        match self {
            Event::Established => 1,
            Event::Readable => 2,
            Event::Writable => 4,
            Event::PeerClosed => 8,
            Event::Closed => 16,
            Event::Error => 32,
            Event::TimeWait => 64,
            Event::Urgent => 128,
        }
    }
}

/// A set of events. An event that happens twice before it is taken is told once.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
#[must_use]
pub struct Events(u8);

impl Events {
    /// No event.
    pub const NONE: Events = Events(0);

    /// Whether nothing has happened.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Whether `event` has happened.
    pub const fn contains(self, event: Event) -> bool {
        self.0 & event.bit() != 0
    }

    /// The events one by one.
    pub fn iter(self) -> impl Iterator<Item = Event> {
        Event::ALL.into_iter().filter(move |&e| self.contains(e))
    }

    pub(super) fn insert(&mut self, event: Event) {
        self.0 |= event.bit();
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter()).finish()
    }
}

/// Why a connection ended before its time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// The peer refused the open with a reset (ECONNREFUSED).
    Refused,
    /// The peer reset the connection (ECONNRESET).
    Reset,
    /// As [`Error::Reset`], after the peer had sent its FIN (EPIPE, as in Linux).
    ResetAfterFin,
    /// The peer did not answer (ETIMEDOUT).
    TimedOut,
    /// The network said that the peer cannot be reached (EHOSTUNREACH, or what the ICMP error says).
    Unreachable,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_event_is_a_bit_of_its_own() {
        let mut all = Events::NONE;
        for event in Event::ALL {
            assert!(!all.contains(event));
            all.insert(event);
        }
        assert!(all.iter().eq(Event::ALL));
    }
}
