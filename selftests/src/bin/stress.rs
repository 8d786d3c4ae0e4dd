// SPDX-License-Identifier: GPL-2.0
//! Thousands of connections opened, used and closed; then the kernel has the memory it had before.
//!
//! OXTCP_STRESS_CONNECTIONS says how many (10,000 if it does not).

use std::process::ExitCode;

use oxtcp_selftests::kernel;
use oxtcp_selftests::ns;
use oxtcp_selftests::{cases, ktap, listening, thread, wait, Pair, Sock, Suite};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("stress");
    cases!(suite.pairs: stress__connections_leave_no_memory);
    suite.run()
}

/// All connections of the matrix's six cells together.
fn total() -> u32 {
    std::env::var("OXTCP_STRESS_CONNECTIONS")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(10_000)
}

/// Opens, uses and closes; one in four ends by a reset, and the sides take turns in closing first.
fn connections(pair: Pair, count: u32) {
    let (listener, address) = listening(pair.server, 128);
    let server = thread::spawn(move || {
        for n in 0..count {
            let (server, _) = listener.accept().expect("accept");
            let got = server.recv_exact(4);
            server.send_all(&got);
            if n % 2 == 0 {
                // The client closes first.
                let mut end = [0; 1];
                let _ = server.recv(&mut end, 0);
            }
        }
    });
    for n in 0..count {
        let client = Sock::open(pair.client);
        client.connect(&address).expect("connect");
        client.send_all(&n.to_le_bytes());
        assert_eq!(client.recv_exact(4), n.to_le_bytes());
        if n % 8 == 0 {
            client.set_linger(true, 0).expect("SO_LINGER");
        } else if n % 2 == 1 {
            assert_eq!(client.recv(&mut [0; 1], 0).expect("the end"), 0);
        }
    }
    server.join();
}

/// The kernel's memory that connections could have kept (KiB), and our objects.
fn used() -> (u64, u64) {
    let objects = kernel::slabs_named("oxtcp")
        .iter()
        .filter_map(|cache| kernel::slab_objects(cache))
        .sum();
    (
        kernel::meminfo("SUnreclaim") + kernel::meminfo("VmallocUsed"),
        objects,
    )
}

fn stress__connections_leave_no_memory(pair: Pair) {
    /// What else the kernel may have taken meanwhile (KiB).
    const SLACK: u64 = 1536;
    /// Free objects that the allocator keeps at hand count as used.
    const AT_HAND: u64 = 300;
    let cells = Pair::matrix().len() as u32;
    let home = ns::Namespace::current();
    let run = |count: u32| {
        // A namespace takes its TIME-WAITs along when it goes.
        drop(ns::isolate());
        connections(pair, count);
        home.enter();
    };
    run(200);
    kernel::give_memory_back();
    let (before, objects) = used();
    let count = total().div_ceil(cells);
    run(count);
    kernel::give_memory_back();
    let mut last = used();
    wait::until("the memory is back", || {
        last = used();
        last.0 <= before + SLACK && last.1 <= objects + AT_HAND
    });
    ktap::note(&format!(
        "{count} connections: {before} KiB before, {} KiB after; {} objects of ours",
        last.0, last.1
    ));
}
