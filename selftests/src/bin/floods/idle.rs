// SPDX-License-Identifier: GPL-2.0
//! Connections that are there and of which hardly anything is heard ("slowloris").

use std::time::Duration;

use oxtcp_selftests::connection::listening_at;
use oxtcp_selftests::flood::Sources;
use oxtcp_selftests::handshakes::Handshakes;
use oxtcp_selftests::ns::Veth;
use oxtcp_selftests::{wait, Sock, Stack};

use crate::bed::{in_turn, new_address, Clients, Pace, Running, BACKLOG, BURST};
use crate::program::Program;
use crate::readings::{Counted, Memory};

/// What came of it.
pub struct Outcome {
    pub clients: Clients,
    pub counted: Counted,
    /// How many connections there were.
    pub held: usize,
    /// Bytes of the kernel's memory for each of them: the socket, what the program has it by, all.
    pub each: f64,
}

/// Lets `count` clients connect in turn while there are `idle` connections that say nothing but a byte now and then: all
/// together a burst after each `pause`.
pub fn with_connections(
    link: &Veth,
    server: Stack,
    pause: Duration,
    idle: usize,
    count: usize,
) -> Outcome {
    let address = new_address(server.ip);
    let counted = Counted::now(server);
    let (listener, _) = listening_at(server, &address, BACKLOG);
    let program = Program::start(listener, true, usize::MAX);
    let memory = Memory::settled(server);
    let mut shakes = link
        .b
        .run(|| Handshakes::new(address, Sources::Everywhere, "vb"));
    // No more at once than the queues have room for: all of them are to be there.
    while program.held() < idle {
        let more = (idle - program.held()).min(BURST);
        let all = program.held() + more;
        shakes.knock(more);
        wait::until("the program holds the connections", || {
            shakes.acknowledge();
            program.held() >= all
        });
    }
    let held = program.held();
    let each = Memory::settled(server).since(&memory) as f64 / held as f64;
    let mut voices = shakes.voices();
    let talk = Running::of(Pace::After(pause), move || voices.say(BURST, b'x'));
    let clients = in_turn(link, address, count, &talk, || {});
    // They are all there yet.
    assert!(program.held() >= held, "{} of {held}", program.held());
    talk.stop();
    let counted = Counted::now(server).since(&counted);
    program.stop();
    Outcome {
        clients,
        counted,
        held,
        each,
    }
}

/// What the kernel has of a listener to which nobody has come, in bytes: its socket, what the program has it by, all.
pub fn bytes_of_a_listener(server: Stack) -> i64 {
    /// So many that the page that a cache gives at a time is little of each.
    const LISTENERS: usize = 64;
    let memory = Memory::settled(server);
    let listeners: Vec<Sock> = (0..LISTENERS)
        .map(|_| listening_at(server, &new_address(server.ip), BACKLOG).0)
        .collect();
    Memory::settled(server).since(&memory) / listeners.len() as i64
}
