// SPDX-License-Identifier: GPL-2.0
//! Sorting a capture's segments into connections.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::segment::{Flags, Segment};

/// Which side sent a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The one that opened the connection.
    Client,
    /// The other.
    Server,
}

/// One connection: its two ends and all its segments in the order of capture.
pub struct Flow {
    pub client: SocketAddr,
    pub server: SocketAddr,
    pub segments: Vec<(Side, Segment)>,
}

impl Flow {
    /// Ends, number of segments and duration in one line.
    pub fn summary(&self) -> String {
        let times = self.segments.iter().map(|(_, segment)| segment.time);
        let (first, last) = (times.clone().min().unwrap_or(0), times.max().unwrap_or(0));
        format!(
            "{} -> {}, {} segments in {:.3} s",
            self.client,
            self.server,
            self.segments.len(),
            (last - first) as f64 / 1e9
        )
    }

    fn new(first: &Segment) -> Flow {
        let (from, to) = (first.source, first.destination);
        let sender_is_client = if first.flags.has(Flags::SYN) {
            !first.flags.has(Flags::ACK)
        } else {
            // The capture began later: servers have the lower port.
            from.port() >= to.port()
        };
        let (client, server) = if sender_is_client {
            (from, to)
        } else {
            (to, from)
        };
        Flow {
            client,
            server,
            segments: Vec::new(),
        }
    }

    /// Whether this SYN opens another connection between the same ports.
    fn is_superseded_by(&self, segment: &Segment) -> bool {
        let opens = segment.flags.has(Flags::SYN) && !segment.flags.has(Flags::ACK);
        opens
            && self
                .segments
                .iter()
                .any(|(_, earlier)| earlier.flags.has(Flags::FIN | Flags::RST))
            && !self
                .segments
                .iter()
                .any(|(_, earlier)| earlier.flags.has(Flags::SYN) && earlier.seq == segment.seq)
    }
}

/// The connections of a capture, in order of appearance.
#[derive(Default)]
pub struct Flows {
    flows: Vec<Flow>,
    /// The newest connection between two addresses, the smaller address first.
    newest: HashMap<(SocketAddr, SocketAddr), usize>,
}

impl Flows {
    pub fn add(&mut self, segment: Segment) {
        let (from, to) = (segment.source, segment.destination);
        let key = (from.min(to), from.max(to));
        let index = match self.newest.get(&key) {
            Some(&index) if !self.flows[index].is_superseded_by(&segment) => index,
            _ => {
                self.flows.push(Flow::new(&segment));
                self.newest.insert(key, self.flows.len() - 1);
                self.flows.len() - 1
            }
        };
        let flow = &mut self.flows[index];
        let side = if segment.source == flow.client {
            Side::Client
        } else {
            Side::Server
        };
        flow.segments.push((side, segment));
    }

    pub fn into_vec(self) -> Vec<Flow> {
        self.flows
    }
}
