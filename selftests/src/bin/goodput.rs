// SPDX-License-Identifier: GPL-2.0
//! What arrives over bad networks: oxtcp beside the built-in TCP, over the same netem link in the same boot.
//!
//! Meant for a virtual machine whose clock counts instructions (QEMU, `-icount shift=0,sleep=off`): there nobody is short of
//! a processor, and time that nobody needs is skipped. It judges nothing: it prints tables, in Markdown.
//!
//! GOODPUT_ROUNDS says how often each cell is measured (3), each time with other losses, the same for both.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use oxtcp_selftests::connection::listening_at;
use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::{thread, Ip, Sock, Stack};

/// Of the link, in bytes per second; its queue holds [`QUEUE`] packets.
const RATE: u64 = 2_500_000;
const QUEUE: u32 = 500;
/// Round trips, in milliseconds.
const ROUND_TRIPS: [u32; 4] = [1, 20, 100, 300];
/// Packets lost each way, in percent.
const LOSSES: [&str; 5] = ["0", "0.1", "1", "3", "10"];
/// Packets that overtake all that wait in the link, in percent.
const REORDERED: [&str; 2] = ["0", "1"];
/// Flows of each kind that share the link.
const SHARES: [usize; 3] = [1, 2, 8];

/// How long a connection is watched: the slow ones need long.
fn span(round_trip: u32) -> Duration {
    match round_trip {
        0..=20 => Duration::from_secs(10),
        21..=100 => Duration::from_secs(30),
        _ => Duration::from_secs(60),
    }
}

struct Path {
    round_trip: u32,
    loss: &'static str,
    reordered: &'static str,
    seed: u32,
}

impl Path {
    fn set(&self, link: &Veth) {
        let delay = f64::from(self.round_trip) / 2.0;
        let rest = match self.reordered {
            "0" => String::new(),
            share => format!(" reorder {share}%"),
        };
        let netem = |device: &str, seed: u32| {
            ns::sh(&format!(
                "tc qdisc replace dev {device} root netem delay {delay}ms loss {}%{rest} rate {RATE}bps limit {QUEUE} seed {seed}",
                self.loss
            ));
        };
        netem("va", self.seed);
        link.b.run(|| netem("vb", self.seed + 1));
    }
}

/// A connection whose client sends as long as it can; and how much the server gets within `span`.
fn flow(link: &Veth, stack: Stack, port: u16, span: Duration) -> impl FnOnce() -> u64 {
    let address = Veth::address_b(Ip::V4, port);
    let (listener, _) = link.b.run(|| listening_at(stack, &address, 1));
    let client = Sock::open(stack);
    let sender = thread::spawn(move || {
        if client.connect(&address).is_err() {
            return;
        }
        let piece = vec![7; 64 << 10];
        // Until the server resets the connection.
        while client.send(&piece, libc::MSG_NOSIGNAL).is_ok() {}
    });
    let receiver = thread::spawn(move || {
        // SYNs are lost as well: the time is that of the connection.
        let (server, _) = listener.accept().expect("accept");
        let start = Instant::now();
        server
            .set_timeout(libc::SO_RCVTIMEO, Duration::from_millis(100))
            .expect("SO_RCVTIMEO");
        let mut buffer = vec![0; 256 << 10];
        let mut got = 0;
        while start.elapsed() < span {
            if let Ok(len) = server.recv(&mut buffer, 0) {
                assert!(len > 0, "the sender has ended");
                got += len as u64;
            }
        }
        server.set_linger(true, 0).expect("SO_LINGER");
        got
    });
    move || {
        let got = receiver.join();
        sender.join();
        got
    }
}

fn goodput(link: &Veth, path: &Path, stack: Stack, port: u16) -> u64 {
    path.set(link);
    let span = span(path.round_trip);
    flow(link, stack, port, span)() * 1000 / span.as_millis() as u64
}

/// The sum over all rounds of a cell: ours, theirs.
fn cell(link: &Veth, rounds: u32, port: &mut u16, path: impl Fn(u32) -> Path) -> (u64, u64) {
    let (mut ours, mut theirs) = (0, 0);
    for round in 0..rounds {
        let path = path(1 + round * 1000);
        *port += 2;
        ours += goodput(link, &path, Stack::ours(Ip::V4), *port);
        theirs += goodput(link, &path, Stack::builtin(Ip::V4), *port + 1);
    }
    (ours / u64::from(rounds), theirs / u64::from(rounds))
}

/// Ours and theirs at the same time, so many of each: what each kind gets of the link, in percent.
fn shared(link: &Veth, round_trip: u32, each: usize, port: &mut u16) -> (f64, f64) {
    let path = Path {
        round_trip,
        loss: "0",
        reordered: "0",
        seed: 1,
    };
    path.set(link);
    let span = Duration::from_secs(60);
    let mut flows = Vec::new();
    for _ in 0..each {
        *port += 2;
        flows.push((true, flow(link, Stack::ours(Ip::V4), *port, span)));
        flows.push((false, flow(link, Stack::builtin(Ip::V4), *port + 1, span)));
    }
    let (mut ours, mut theirs) = (0, 0);
    for (is_ours, wait) in flows {
        *(if is_ours { &mut ours } else { &mut theirs }) += wait();
    }
    let whole = (RATE * span.as_secs()) as f64 / 100.0;
    (ours as f64 / whole, theirs as f64 / whole)
}

fn main() -> ExitCode {
    let rounds = std::env::var("GOODPUT_ROUNDS")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(3);
    let link = Veth::make();
    // Nothing is to be remembered of the connections before.
    ns::set_sysctl("net/ipv4/tcp_no_metrics_save", "1");
    let mut port = 10_000;
    println!("\nConnections of each kind for each cell, each pair with other losses: {rounds}. A cell is their mean.");
    let (mut cells, mut better, mut worse) = (0, 0, 0);
    for reordered in REORDERED {
        println!("\n**{reordered} % of the packets overtake**\n");
        println!("| round trip | loss each way | oxtcp kB/s | built-in TCP kB/s | ratio |");
        println!("|---|---|---|---|---|");
        for round_trip in ROUND_TRIPS {
            for loss in LOSSES {
                let (ours, theirs) = cell(&link, rounds, &mut port, |seed| Path {
                    round_trip,
                    loss,
                    reordered,
                    seed,
                });
                let ratio = ours as f64 / theirs.max(1) as f64;
                println!(
                    "| {round_trip} ms | {loss} % | {} | {} | {ratio:.2} |",
                    ours / 1000,
                    theirs / 1000
                );
                cells += 1;
                better += u32::from(ratio >= 1.0);
                worse += u32::from(ratio < 0.95);
            }
        }
    }
    println!("\nOf {cells} cells, {better} are at least as good as the built-in TCP's, and {worse} below 0.95 of it.");
    println!("\n**Flows that share the link**, for 60 s without loss but by its queue\n");
    println!("| round trip | flows of each | oxtcp, % of the link | built-in TCP, % of the link |");
    println!("|---|---|---|---|");
    for round_trip in [20, 100] {
        for each in SHARES {
            let (ours, theirs) = shared(&link, round_trip, each, &mut port);
            println!("| {round_trip} ms | {each} | {ours:.1} | {theirs:.1} |");
        }
    }
    ExitCode::SUCCESS
}
