// SPDX-License-Identifier: GPL-2.0
//! Real clients beside a flood from another namespace, at whatever rate the machine gives; oxtcp beside the built-in TCP.
//!
//! `--tables` prints in place of that the tables of `make floods`, which runs it in a virtual machine whose clock counts instructions: a
//! nanosecond is one there. `--lengths` prints the second of them alone.

use std::process::ExitCode;
use std::time::Duration;

use oxtcp_selftests::flood::{Kind, Sources};
use oxtcp_selftests::{cases, ktap, stack, Ip, Stack, Suite};

mod accept_queue;
mod bed;
mod costs;
mod idle;
mod lengths;
mod meanwhile;
mod program;
mod readings;
mod tables;

use bed::{clients, link, set, Sender, BACKLOG, BURST};
use meanwhile::under_flood;

/// How many connections that say nothing the server's program holds.
const HELD: usize = 1000;

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--tables") {
        return tables::all();
    }
    if std::env::args().any(|argument| argument == "--lengths") {
        lengths::table(&link());
        return ExitCode::SUCCESS;
    }
    let mut suite = Suite::from_args("floods");
    suite.once("cookies__clients_get_in", cookies__clients_get_in);
    suite.once(
        "cookies__one_network_does_not_keep_others_out",
        cookies__one_network_does_not_keep_others_out,
    );
    cases!(suite.stacks:
        syn_cache__clients_get_in, connections__clients_get_in, idle__clients_get_in,
        accept_queue__clients_get_in_later,
    );
    suite.run()
}

fn servers() -> Vec<Stack> {
    let mut servers = vec![Stack::builtin(Ip::V4)];
    if !stack::builtin_only() {
        servers.push(Stack::ours(Ip::V4));
    }
    servers
}

/// As much as comes of a machine.
fn syns(sources: Sources) -> (Sender, Duration) {
    (Sender::Forged(Kind::Syn, sources), Duration::ZERO)
}

/// With cookies, a flood from everywhere keeps nobody out.
fn cookies__clients_get_in() {
    let link = link();
    for server in servers() {
        set(server, "syncookies", "1");
        let flood = syns(Sources::Everywhere);
        let outcome = under_flood(&link, server, flood, HELD, clients());
        outcome.note(server, "SYN flood, cookies");
        assert!(outcome.clients.all_connected());
        // It was a flood, and clients came in by cookies.
        for name in ["SyncookiesSent", "SyncookiesRecv"] {
            assert!(outcome.counted.of(name) > 0, "{}", outcome.counted.cell());
        }
    }
}

/// The queue of a listener is not full of one network's: it has its share, and others are kept without cookies.
fn cookies__one_network_does_not_keep_others_out() {
    let link = link();
    for server in servers() {
        set(server, "syncookies", "1");
        let flood = syns(Sources::OneNetwork);
        let outcome = under_flood(&link, server, flood, HELD, clients());
        outcome.note(server, "SYN flood of one /24, cookies");
        assert!(outcome.clients.all_connected());
        if server.ours {
            let exceeded = outcome.counted.of("SynShareExceeded");
            assert!(exceeded > 0, "{}", outcome.counted.cell());
        }
    }
}

/// Without cookies it is the oldest that give way: while the queue is not new in less than a round trip, clients get in. The flood leaves them a fifth
/// of a second.
fn syn_cache__clients_get_in(server: Stack) {
    if server.ip == Ip::V6 {
        ktap::skip("the flood is of IPv4");
    }
    let link = link();
    set(server, "syncookies", "0");
    let pause = Duration::from_millis(200) * BURST as u32 / BACKLOG as u32;
    let flood = (Sender::Forged(Kind::Syn, Sources::Everywhere), pause);
    let outcome = under_flood(&link, server, flood, HELD, clients().min(10));
    outcome.note(server, "SYN flood, no cookies");
    if server.ours {
        let evicted = outcome.counted.of("SynCacheEvicted");
        assert!(evicted > 0, "{}", outcome.counted.cell());
        assert!(outcome.clients.all_connected());
    }
}

/// Connections that come and say nothing keep nobody out whom the program has time for.
fn connections__clients_get_in(server: Stack) {
    let link = link();
    set(server, "syncookies", "1");
    let flood = (
        Sender::Handshakes(Sources::Everywhere),
        Duration::from_millis(10),
    );
    let outcome = under_flood(&link, server, flood, HELD, clients());
    outcome.note(server, "connections");
    assert!(outcome.clients.all_connected());
}

/// Nor do those that are there.
fn idle__clients_get_in(server: Stack) {
    let link = link();
    set(server, "syncookies", "1");
    let outcome = idle::with_connections(&link, server, Duration::ZERO, HELD, clients());
    ktap::note(&format!(
        "{} idle connections of {:.0} bytes each; clients: median {:?}, p99 {:?}",
        outcome.held, outcome.each, outcome.clients.median, outcome.clients.p99
    ));
    assert!(outcome.clients.all_connected());
}

/// While the accept queue is full nobody gets in, and what is dropped is counted; once the program accepts the clients do, with their next SYN.
fn accept_queue__clients_get_in_later(server: Stack) {
    let link = link();
    for syncookies in ["1", "0"] {
        set(server, "syncookies", syncookies);
        let outcome = accept_queue::overflow(&link, server, HELD, clients().min(20));
        ktap::note(&format!(
            "syncookies {syncookies}: {} in the accept queue, {} connected before; then {} of {}, median {:?}, p99 {:?}",
            outcome.waiting,
            outcome.before,
            outcome.clients.connected,
            outcome.clients.tried,
            outcome.clients.median,
            outcome.clients.p99
        ));
        assert_eq!(outcome.before, 0);
        assert!(outcome.clients.all_connected());
        for name in ["ListenOverflows", "ListenDrops"] {
            assert!(outcome.counted.of(name) > 0, "{}", outcome.counted.cell());
        }
    }
}
