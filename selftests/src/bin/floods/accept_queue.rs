// SPDX-License-Identifier: GPL-2.0
//! A program that does not accept, and whole handshakes that fill its accept queue.

use std::time::{Duration, Instant};

use oxtcp_selftests::connection::listening_at;
use oxtcp_selftests::flood::Sources;
use oxtcp_selftests::ns::Veth;
use oxtcp_selftests::thread::{self, Worker};
use oxtcp_selftests::{wait, Stack};

use crate::bed::{connects, new_address, sleep_until, Clients, Pace, Running, Sender, BACKLOG};
use crate::program::Program;
use crate::readings::{self, Counted, Memory};

/// How often a burst of the flood comes: who waits here waits for seconds.
const PERIOD: Duration = Duration::from_millis(16);

/// By which the clients' timers are rounded, so that one of a run waits for them as long as one of another: 64 ticks of 4 ms; a timer of a second is
/// rounded up to 8 (kernel/time/timer.c, LVL_GRAN). Whole periods.
const GRAIN: Duration = Duration::from_millis(256);

/// For how long the program does not accept, from when the clients begin to connect. They send their SYNs again after 1, 2 and 3 s.
const AWAY: Duration = Duration::from_millis(2500);

/// So long before that what is to be read is read, which takes one TCP's longer than the other's.
const READING: Duration = Duration::from_millis(250);

/// What came of it.
pub struct Outcome {
    /// How many connections were in the accept queue before the program accepted.
    pub waiting: u64,
    /// How many half-open connections there were beside them.
    pub half_open: usize,
    /// Bytes of all slab caches and of sockets' queues, more than before the flood came, then; those of the clients among them.
    pub memory: i64,
    /// How many clients were in before the program accepted.
    pub before: usize,
    /// Those that were not, by the time since then.
    pub clients: Clients,
    pub counted: Counted,
}

/// Lets `count` clients connect all at once when the accept queue is full; then the program accepts, with the flood going on, and holds `most`
/// connections.
pub fn overflow(link: &Veth, server: Stack, most: usize, count: usize) -> Outcome {
    let address = new_address(server.ip);
    let counted = Counted::now(server);
    let (listener, _) = listening_at(server, &address, BACKLOG);
    let program = Program::start(listener, false, most);
    let memory = Memory::settled(server);
    // What it leaves half open is sent SYN-ACKs again by timers, too: not when the clients' run out.
    sleep_until(GRAIN, GRAIN / 2);
    let flood = Running::start(
        link,
        Sender::Handshakes(Sources::Everywhere),
        address,
        Pace::Each(PERIOD),
    );
    wait::until("the accept queue is full", || {
        readings::waiting(server, address) > BACKLOG as u64
    });
    sleep_until(GRAIN, Duration::ZERO);
    let (sent, begun) = (flood.sent(), Instant::now());
    let clients: Vec<Worker<Option<Instant>>> = link.b.run(|| {
        let one = |number| thread::spawn(move || connects(&address, number).then(Instant::now));
        (0..count).map(one).collect()
    });
    let sleep_until_after = |time: Duration| {
        std::thread::sleep(time.saturating_sub(begun.elapsed()));
    };
    sleep_until_after(AWAY - READING);
    let waiting = readings::waiting(server, address);
    let half_open = readings::half_open(server, address);
    let memory = Memory::now(server).since(&memory);
    sleep_until_after(AWAY);
    let accepts = Instant::now();
    program.accept();
    let ends: Vec<Instant> = clients.into_iter().filter_map(Worker::join).collect();
    let rate = (flood.sent() - sent) as f64 / begun.elapsed().as_secs_f64();
    flood.stop();
    let counted = Counted::now(server).since(&counted);
    program.stop();
    let times: Vec<Duration> = ends
        .iter()
        .filter_map(|end| end.checked_duration_since(accepts))
        .collect();
    let before = ends.len() - times.len();
    Outcome {
        waiting,
        half_open,
        memory,
        before,
        clients: Clients::of(count - before, times, rate),
        counted,
    }
}
