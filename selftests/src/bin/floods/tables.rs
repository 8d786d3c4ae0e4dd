// SPDX-License-Identifier: GPL-2.0
//! The tables of `make floods`.

use std::process::ExitCode;
use std::time::Duration;

use oxtcp_selftests::flood::{Kind, Sources};
use oxtcp_selftests::ns::Veth;
use oxtcp_selftests::{capture, Ip, Stack};

use crate::bed::{clients, link, set, Clients, Sender};
use crate::meanwhile::under_flood;
use crate::readings::half_open_size;
use crate::{accept_queue, bed, costs, idle, lengths};

pub fn ip_name(ip: Ip) -> &'static str {
    match ip {
        Ip::V4 => "IPv4",
        Ip::V6 => "IPv6",
    }
}

fn tcp_name(stack: Stack) -> &'static str {
    if stack.ours {
        "oxtcp"
    } else {
        "built-in"
    }
}

/// How many connections that say nothing the server's program holds.
const HELD: usize = 10_000;

/// How long the flood leaves the machine to the others after each burst.
const PAUSE: Duration = Duration::from_micros(500);

/// The same of connections, which the program needs time for; and where whoever does not get in waits for seconds.
const LONG_PAUSE: Duration = Duration::from_millis(10);

/// Longer than the kernel keeps a TIME-WAIT.
const TIME_WAIT: Duration = Duration::from_secs(70);

struct Flood {
    what: &'static str,
    /// See [`MANY`].
    clients: usize,
    sender: Sender,
    syncookies: &'static str,
    pause: Duration,
}

const fn flood(what: &'static str, sender: Sender) -> Flood {
    Flood {
        what,
        clients: 1,
        sender,
        syncookies: "1",
        pause: PAUSE,
    }
}

/// So many times as many clients as others have: that 999 of 1000 get in is to be seen; or what 99 of 100 wait for by chance differs from run
/// to run by more than the two TCPs do.
const MANY: usize = 10;

const fn with_cookies(what: &'static str, sources: Sources) -> Flood {
    Flood {
        clients: MANY,
        ..flood(what, Sender::Forged(Kind::Syn, sources))
    }
}

const fn without_cookies(what: &'static str, sources: Sources) -> Flood {
    Flood {
        what,
        clients: 1,
        sender: Sender::Forged(Kind::Syn, sources),
        syncookies: "0",
        pause: LONG_PAUSE,
    }
}

const fn segments(flags: u8) -> Sender {
    Sender::Forged(Kind::Flags(flags), Sources::Everywhere)
}

const FLOODS: [Flood; 9] = [
    with_cookies("SYNs from everywhere, with cookies", Sources::Everywhere),
    flood(
        "SYNs of hping3 from everywhere, with cookies",
        Sender::Hping,
    ),
    with_cookies("SYNs from one network, with cookies", Sources::OneNetwork),
    without_cookies("SYNs from everywhere, without cookies", Sources::Everywhere),
    without_cookies(
        "SYNs from one network, without cookies",
        Sources::OneNetwork,
    ),
    flood("ACKs from everywhere", segments(capture::ACK)),
    flood("RSTs from everywhere", segments(capture::RST)),
    flood(
        "FINs from everywhere",
        segments(capture::FIN | capture::ACK),
    ),
    Flood {
        what: "connections that say nothing",
        clients: MANY,
        sender: Sender::Handshakes(Sources::Everywhere),
        syncookies: "1",
        pause: LONG_PAUSE,
    },
];

/// The rows of the tables but the first.
#[derive(Default)]
struct Rows {
    clients: Vec<String>,
    idle: Vec<String>,
    accept_queue: Vec<String>,
    memory: Vec<String>,
    listeners: Vec<String>,
    causes: Vec<String>,
}

fn of_clients(clients: &Clients) -> String {
    let time = |time: Duration| match clients.connected {
        0 => "-".to_string(),
        _ => format!("{:.1} ms", time.as_secs_f64() * 1e3),
    };
    format!(
        "{} of {} | {} | {}",
        clients.connected,
        clients.tried,
        time(clients.median),
        time(clients.p99)
    )
}

impl Rows {
    fn meanwhile(&mut self, link: &Veth, server: Stack, flood: &Flood) {
        let head = head(flood.what, server);
        set(server, "syncookies", flood.syncookies);
        let sender = (flood.sender, flood.pause);
        let outcome = under_flood(link, server, sender, HELD, flood.clients * clients());
        self.clients.push(format!(
            "{head} | {} | {:.0} |",
            of_clients(&outcome.clients),
            outcome.clients.rate
        ));
        let size = half_open_size(server);
        self.memory.push(format!(
            "{head} | {} | {size} | {} | {} |",
            outcome.half_open,
            outcome.half_open as u64 * size,
            outcome.memory
        ));
        self.causes
            .push(format!("{head} | {} |", outcome.counted.cell()));
    }

    fn idle(&mut self, link: &Veth, server: Stack) {
        let head = head("connections that say a byte now and then", server);
        set(server, "syncookies", "1");
        let outcome = idle::with_connections(link, server, PAUSE, HELD, MANY * clients());
        self.clients.push(format!(
            "{head} | {} | {:.0} |",
            of_clients(&outcome.clients),
            outcome.clients.rate
        ));
        self.idle.push(format!(
            "| {} | {} | {} | {:.0} |",
            ip_name(server.ip),
            tcp_name(server),
            outcome.held,
            outcome.each
        ));
        self.causes
            .push(format!("{head} | {} |", outcome.counted.cell()));
    }

    fn listener(&mut self, server: Stack, syncookies: &str) {
        let with = match syncookies {
            "0" => "without cookies",
            _ => "with cookies",
        };
        let head = head(&format!("a listener, {with}"), server);
        set(server, "syncookies", syncookies);
        self.listeners
            .push(format!("{head} | {} |", idle::bytes_of_a_listener(server)));
    }

    fn accept_queue(&mut self, link: &Veth, server: Stack, syncookies: &str) {
        let what = match syncookies {
            "0" => "a program that does not accept, without cookies",
            _ => "a program that does not accept, with cookies",
        };
        let head = head(what, server);
        set(server, "syncookies", syncookies);
        let outcome = accept_queue::overflow(link, server, HELD, clients());
        let size = half_open_size(server);
        self.memory.push(format!(
            "{head} | {} | {size} | {} | {} |",
            outcome.half_open,
            outcome.half_open as u64 * size,
            outcome.memory
        ));
        self.accept_queue.push(format!(
            "{head} | {} | {} | {} |",
            outcome.waiting,
            outcome.before,
            of_clients(&outcome.clients)
        ));
        self.causes
            .push(format!("{head} | {} |", outcome.counted.cell()));
    }
}

/// What the flood before has left is gone first. (The machine's clock skips such a time.)
fn head(what: &str, server: Stack) -> String {
    std::thread::sleep(TIME_WAIT);
    eprintln!("# {what}, {}, {}", ip_name(server.ip), tcp_name(server));
    format!("| {what} | {} | {}", ip_name(server.ip), tcp_name(server))
}

fn print(title: &str, columns: &[&str], rows: &[String]) {
    println!("\n**{title}**\n");
    println!(
        "| {} |\n|{}",
        columns.join(" | "),
        "---|".repeat(columns.len())
    );
    rows.iter().for_each(|row| println!("{row}"));
}

/// Prints all of them.
pub fn all() -> ExitCode {
    let link = link();
    costs::table(&link);
    // With settings of its own.
    lengths::table(&bed::link());
    link.a.enter();
    let mut rows = Rows::default();
    for ip in Ip::BOTH {
        let stacks = [true, false].map(|ours| Stack { ours, ip });
        for flood in &FLOODS {
            if matches!((flood.sender, ip), (Sender::Hping, Ip::V6)) {
                continue;
            }
            stacks.map(|server| rows.meanwhile(&link, server, flood));
        }
        stacks.map(|server| rows.idle(&link, server));
        for syncookies in ["1", "0"] {
            stacks.map(|server| rows.accept_queue(&link, server, syncookies));
            stacks.map(|server| rows.listener(server, syncookies));
        }
    }
    print(
        "Clients that connect in turn meanwhile",
        &[
            "flood",
            "IP",
            "TCP",
            "connected",
            "median",
            "99 of 100",
            "segments per second",
        ],
        &rows.clients,
    );
    print(
        "Connections that are there and say nothing: what the kernel has of each",
        &["IP", "TCP", "connections", "bytes each"],
        &rows.idle,
    );
    print(
        "Clients that connect all at once while the program does not accept",
        &[
            "flood",
            "IP",
            "TCP",
            "in the accept queue",
            "connected before",
            "connected then",
            "median",
            "99 of 100",
        ],
        &rows.accept_queue,
    );
    print(
        "Memory in use",
        &[
            "flood",
            "IP",
            "TCP",
            "half open at most",
            "bytes each",
            "bytes of these",
            "bytes more than before",
        ],
        &rows.memory,
    );
    print(
        "What a listener has without a flood",
        &["", "IP", "TCP", "bytes"],
        &rows.listeners,
    );
    print(
        "What was counted",
        &["flood", "IP", "TCP", "counters"],
        &rows.causes,
    );
    ExitCode::SUCCESS
}
