// SPDX-License-Identifier: GPL-2.0
//! Clients that connect in turn while a flood goes on.

use std::time::Duration;

use oxtcp_selftests::connection::listening_at;
use oxtcp_selftests::ns::Veth;
use oxtcp_selftests::{ktap, Stack};

use crate::bed::{in_turn, new_address, Clients, Pace, Running, Sender, BACKLOG};
use crate::program::Program;
use crate::readings::{self, Counted, Memory};

/// How long no segment comes while memory is read: it is read several times in between, and what a flood's segments take themselves is not in all of it.
/// So much of the flood keeps full what was full.
const GAP: Duration = Duration::from_millis(100);

/// What came of it.
pub struct Outcome {
    pub clients: Clients,
    pub counted: Counted,
    /// The most half-open connections that were seen at once.
    pub half_open: usize,
    /// Bytes of all slab caches and of sockets' queues, more than before it came, when all clients have been there: what is kept, not what is on its way.
    pub memory: i64,
}

impl Outcome {
    pub fn note(&self, server: Stack, what: &str) {
        ktap::note(&format!(
            "{what}, {}: {} of {} clients connected, median {:?}, p99 {:?}; {:.0} segments per second",
            server.name(),
            self.clients.connected,
            self.clients.tried,
            self.clients.median,
            self.clients.p99,
            self.clients.rate
        ));
    }
}

/// Lets `count` clients connect in turn, and say and hear something, while a flood comes in. The server's program holds `most` connections at once.
pub fn under_flood(
    link: &Veth,
    server: Stack,
    (sender, pause): (Sender, Duration),
    most: usize,
    count: usize,
) -> Outcome {
    let address = new_address(server.ip);
    let counted = Counted::now(server);
    let (listener, _) = listening_at(server, &address, BACKLOG);
    let program = Program::start(listener, true, most);
    let memory = Memory::settled(server);
    let flood = Running::start(link, sender, address, Pace::After(pause));
    let mut half_open = readings::half_open(server, address);
    let clients = in_turn(link, address, count, &flood, || {
        half_open = half_open.max(readings::half_open(server, address));
    });
    let counted = Counted::now(server).since(&counted);
    flood.stop();
    // What is half open would be less and less without it.
    let flood = Running::start(link, sender.at_a_pace(), address, Pace::After(GAP));
    let memory = Memory::settled(server).since(&memory);
    flood.stop();
    program.stop();
    Outcome {
        clients,
        counted,
        half_open,
        memory,
    }
}
