// SPDX-License-Identifier: GPL-2.0
//! Sorting events into connections. Both ends of one, when both are on this machine, come together.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::event::{Direction, Event, What};
use crate::ladder::flow::Side;
use crate::sockets::State;

/// A connection, and what is known of it.
#[derive(Clone, Debug)]
pub struct Connection {
    pub client: SocketAddr,
    pub server: SocketAddr,
    /// Of both ends, in the order of time.
    pub events: Vec<Event>,
}

/// The connections of a trace, in order of appearance.
#[derive(Debug)]
pub struct Connections {
    list: Vec<Connection>,
    /// The newest between two ends, the smaller end first.
    newest: HashMap<(SocketAddr, SocketAddr), usize>,
    /// How many more events are kept.
    room: usize,
    /// Those that were not.
    pub left_out: u64,
}

impl Connection {
    /// At which end an event was.
    pub fn side(&self, event: &Event) -> Side {
        if event.local == self.client {
            Side::Client
        } else {
            Side::Server
        }
    }

    /// The network namespace of an end, where one was seen.
    pub fn netns(&self, side: Side) -> Option<u32> {
        let event = self.events.iter().find(|event| self.side(event) == side)?;
        Some(event.netns)
    }

    /// Ends and duration in a line.
    pub fn summary(&self) -> String {
        let first = self.events.first().map_or(0, |event| event.time);
        let last = self.events.last().map_or(0, |event| event.time);
        format!(
            "{} -> {}, {} events in {:.3} s",
            self.client,
            self.server,
            self.events.len(),
            last.saturating_sub(first) as f64 / 1e9
        )
    }

    fn new(first: &Event) -> Connection {
        let local_is_client = match &first.what {
            What::State { to, .. } => match to {
                State::SynSent => true,
                State::SynRecv | State::Listen => false,
                _ => first.local.port() >= first.remote.port(),
            },
            What::Listener(_) => false,
            What::Segment(segment) if segment.header.flags() & SYN != 0 => {
                let opens = segment.header.flags() & ACK == 0;
                opens == (segment.direction == Direction::Out)
            }
            // It began earlier: servers have the lower port.
            _ => first.local.port() >= first.remote.port(),
        };
        let (client, server) = if local_is_client {
            (first.local, first.remote)
        } else {
            (first.remote, first.local)
        };
        Connection {
            client,
            server,
            events: Vec::new(),
        }
    }

    /// Whether this event begins another connection between the same ends.
    fn is_superseded_by(&self, event: &Event) -> bool {
        let seq = match &event.what {
            What::State {
                from: State::Close,
                to: State::SynSent,
            } => None,
            What::Segment(segment) if segment.header.flags() & (SYN | ACK) == SYN => {
                Some(segment.header.seq())
            }
            _ => return false,
        };
        let (mut has_ended, mut has_syn) = (false, false);
        for earlier in &self.events {
            match &earlier.what {
                What::State { to, .. } => has_ended |= matches!(to, State::Close | State::TimeWait),
                What::Segment(segment) => {
                    let flags = segment.header.flags();
                    has_ended |= flags & (FIN | RST) != 0;
                    has_syn |= flags & SYN != 0 && Some(segment.header.seq()) == seq;
                }
                _ => {}
            }
        }
        has_ended && !has_syn
    }
}

impl Connections {
    /// None yet; no more than so many events will be kept, the first ones.
    pub fn new(most: usize) -> Self {
        Self {
            list: Vec::new(),
            newest: HashMap::new(),
            room: most,
            left_out: 0,
        }
    }

    /// One more event. A listener's states belong to no connection.
    pub fn add(&mut self, event: &Event) {
        if event.remote.port() == 0 {
            return;
        }
        if self.room == 0 {
            self.left_out += 1;
            return;
        }
        self.room -= 1;
        let (from, to) = (event.local, event.remote);
        let key = (from.min(to), from.max(to));
        let index = match self.newest.get(&key) {
            Some(&index) if !self.list[index].is_superseded_by(event) => index,
            _ => {
                self.list.push(Connection::new(event));
                self.newest.insert(key, self.list.len() - 1);
                self.list.len() - 1
            }
        };
        self.list[index].events.push(event.clone());
    }

    /// All of them.
    pub fn list(&self) -> &[Connection] {
        &self.list
    }
}

/// Control bits (RFC 9293 section 3.1).
pub const FIN: u8 = 1;
pub const SYN: u8 = 2;
pub const RST: u8 = 4;
pub const ACK: u8 = 16;
