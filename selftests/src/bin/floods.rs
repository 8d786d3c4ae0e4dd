// SPDX-License-Identifier: GPL-2.0
//! Real clients beside a flood of SYNs from another namespace, at whatever rate the machine gives; oxtcp beside the built-in TCP.
//!
//! `--tables` prints in place of that the tables of `make floods`, which runs it in a virtual machine whose clock counts instructions: a
//! nanosecond is one there.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU16, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use oxtcp_selftests::capture;
use oxtcp_selftests::connection::listening_at;
use oxtcp_selftests::flood::{Flood, Kind, Sources};
use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::{cases, ktap, procnet, stack, thread, Ip, Sock, Stack, Suite};

/// The SYN queue's length that the listeners ask for.
const BACKLOG: i32 = 128;

fn main() -> ExitCode {
    if std::env::args().any(|argument| argument == "--tables") {
        return tables();
    }
    let mut suite = Suite::from_args("floods");
    suite.once("cookies__clients_get_in", cookies__clients_get_in);
    suite.once(
        "cookies__one_network_does_not_keep_others_out",
        cookies__one_network_does_not_keep_others_out,
    );
    cases!(suite.stacks: syn_cache__clients_get_in);
    suite.run()
}

/// The two namespaces: the server's `a`, in which this thread is left, and the flood's and the clients' `b`. What the server answers to those that do
/// not exist goes to nobody.
fn link() -> Veth {
    let link = Veth::make();
    for (ip, forged) in [(Ip::V4, "10.0.0.0/8"), (Ip::V6, "2001:db8:a::/48")] {
        let nobody = Veth::address_of_nobody(ip, 0).ip();
        ns::sh(&format!("ip route add {forged} via {nobody} dev va"));
    }
    for filter in ["all", "va"] {
        ns::set_sysctl(&format!("net/ipv4/conf/{filter}/rp_filter"), "0");
    }
    link
}

/// An address for a server. Each has a port of its own: what it leaves in TIME-WAIT is in nobody's way.
fn new_address(ip: Ip) -> SocketAddr {
    static NEXT: AtomicU16 = AtomicU16::new(5001);
    Veth::address_a(ip, NEXT.fetch_add(1, Ordering::Relaxed))
}

fn set(stack: Stack, name: &str, value: &str) {
    if let Some(path) = ns::find_sysctl(stack, &format!("tcp_{name}")) {
        ns::set_sysctl(&path, value);
    }
}

/// What came of it.
struct Outcome {
    tried: usize,
    connected: usize,
    /// Of those that connected, in milliseconds.
    median: u128,
    p99: u128,
    syns: u64,
    seconds: f64,
}

impl Outcome {
    fn note(&self, server: Stack, what: &str) {
        ktap::note(&format!(
            "{what}, {}: {} of {} clients connected, median {} ms, p99 {} ms; {} SYNs, {:.0} per second",
            server.name(),
            self.connected,
            self.tried,
            self.median,
            self.p99,
            self.syns,
            self.syns as f64 / self.seconds
        ));
    }
}

/// SYNs that the flood sends at once.
const BURST: usize = 64;

/// Lets `count` clients connect in turn, and say and hear something, while SYNs come in: after each burst the flood waits for `pause`.
fn under_flood(
    link: &Veth,
    server: Stack,
    (kind, sources): (Kind, Sources),
    pause: Duration,
    count: usize,
) -> Outcome {
    let address = new_address(server.ip);
    let (listener, _) = listening_at(server, &address, BACKLOG);
    let end = Arc::new(AtomicBool::new(false));
    let syns = Arc::new(AtomicU64::new(0));
    let accepting = {
        let end = Arc::clone(&end);
        thread::spawn(move || {
            listener.set_nonblocking(true);
            while !end.load(Ordering::Relaxed) {
                match listener.accept() {
                    Ok((sock, _)) => {
                        let asked = sock.set_timeout(libc::SO_RCVTIMEO, TIME);
                        asked.expect("a timeout");
                        if matches!(sock.recv(&mut [0; 2], 0), Ok(2)) {
                            sock.send_all(b"in");
                        }
                    }
                    Err(_) => std::thread::sleep(Duration::from_millis(1)),
                }
            }
        })
    };
    let flooding = {
        let (end, syns) = (Arc::clone(&end), Arc::clone(&syns));
        link.b.run(|| {
            let mut flood = Flood::new(kind, address, sources);
            thread::spawn(move || {
                while !end.load(Ordering::Relaxed) {
                    syns.fetch_add(flood.send(BURST) as u64, Ordering::Relaxed);
                    // Some of the processors for the others.
                    match pause {
                        Duration::ZERO => std::thread::yield_now(),
                        _ => std::thread::sleep(pause),
                    }
                }
            })
        })
    };
    // The queue is full before the first of them.
    oxtcp_selftests::wait::until("the flood is under way", || {
        syns.load(Ordering::Relaxed) > 10 * BACKLOG as u64
    });
    let start = Instant::now();
    let before = syns.load(Ordering::Relaxed);
    let mut times: Vec<u128> = Vec::new();
    link.b.run(|| {
        for _ in 0..count {
            let seen = syns.load(Ordering::Relaxed);
            oxtcp_selftests::wait::until("the flood goes on", || {
                syns.load(Ordering::Relaxed) >= seen + BURST as u64
            });
            let start = Instant::now();
            if connects(&address) {
                times.push(start.elapsed().as_millis());
            }
        }
    });
    let seconds = start.elapsed().as_secs_f64();
    let sent = syns.load(Ordering::Relaxed) - before;
    end.store(true, Ordering::Relaxed);
    flooding.join();
    accepting.join();
    times.sort_unstable();
    let part = |percent: usize| times.get(times.len() * percent / 100).copied().unwrap_or(0);
    Outcome {
        tried: count,
        connected: times.len(),
        median: part(50),
        p99: part(99),
        syns: sent,
        seconds,
    }
}

/// What a client waits for, at most.
const TIME: Duration = Duration::from_secs(20);

/// A client of the built-in TCP, as there are others. It speaks first: an ACK of a cookie that is lost is made good by what follows. It is in when it
/// has heard from the server.
fn connects(address: &SocketAddr) -> bool {
    let client = Sock::open(Stack::builtin(match address {
        SocketAddr::V4(_) => Ip::V4,
        SocketAddr::V6(_) => Ip::V6,
    }));
    for option in [libc::SO_SNDTIMEO, libc::SO_RCVTIMEO] {
        client.set_timeout(option, TIME).expect("a timeout");
    }
    client.connect(address).is_ok()
        && matches!(client.send(b"hi", libc::MSG_NOSIGNAL), Ok(2))
        && matches!(client.recv(&mut [0; 2], 0), Ok(2))
}

fn servers() -> Vec<Stack> {
    let mut servers = vec![Stack::builtin(Ip::V4)];
    if !stack::builtin_only() {
        servers.push(Stack::ours(Ip::V4));
    }
    servers
}

fn clients() -> usize {
    std::env::var("OXTCP_FLOOD_CLIENTS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(100)
}

/// With cookies, a flood from everywhere keeps nobody out.
fn cookies__clients_get_in() {
    let link = link();
    for server in servers() {
        set(server, "syncookies", "1");
        let outcome = under_flood(
            &link,
            server,
            (Kind::Syn, Sources::Everywhere),
            Duration::ZERO,
            clients(),
        );
        outcome.note(server, "SYN flood, cookies");
        assert_eq!(outcome.connected, outcome.tried);
        // It was a flood, and clients came in by cookies.
        let file = if server.ours { "oxtcp_stat" } else { "netstat" };
        let path = format!("/proc/thread-self/net/{file}");
        let text = std::fs::read_to_string(&path).expect(file);
        for name in ["SyncookiesSent", "SyncookiesRecv"] {
            assert!(procnet::stat(&text, name) > 0, "{name} in {text}");
        }
    }
}

/// The queue of a listener is not full of one network's: it has its share, and others are kept without cookies.
fn cookies__one_network_does_not_keep_others_out() {
    let link = link();
    for server in servers() {
        set(server, "syncookies", "1");
        let outcome = under_flood(
            &link,
            server,
            (Kind::Syn, Sources::OneNetwork),
            Duration::ZERO,
            clients(),
        );
        outcome.note(server, "SYN flood of one /24, cookies");
        assert_eq!(outcome.connected, outcome.tried);
        if server.ours {
            let text =
                std::fs::read_to_string("/proc/thread-self/net/oxtcp_stat").expect("oxtcp_stat");
            let exceeded = procnet::stat(&text, "SynShareExceeded");
            assert!(exceeded > 0, "{text}");
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
    let outcome = under_flood(
        &link,
        server,
        (Kind::Syn, Sources::Everywhere),
        pause,
        clients().min(10),
    );
    outcome.note(server, "SYN flood, no cookies");
    if server.ours {
        let text = std::fs::read_to_string("/proc/thread-self/net/oxtcp_stat").expect("oxtcp_stat");
        assert!(procnet::stat(&text, "SynCacheEvicted") > 0, "{text}");
        assert_eq!(outcome.connected, outcome.tried);
    }
}

/// How many segments are measured.
const MEASURED: usize = 20_000;

/// What a segment of a flood to `address` costs, all together.
fn cost_of(link: &Veth, kind: Kind, address: SocketAddr, sources: Sources) -> f64 {
    link.b.run(|| {
        let mut flood = Flood::new(kind, address, sources);
        flood.send(2000);
        // The hook that a flood brings is there then.
        std::thread::sleep(Duration::from_millis(200));
        let packets = flood.make(MEASURED);
        let start = Instant::now();
        let sent = flood.send_made(&packets);
        let time = start.elapsed().as_nanos() as f64 / MEASURED as f64;
        assert_eq!(sent, MEASURED, "segments that were not sent");
        time
    })
}

const FLOODS: [(&str, Kind); 4] = [
    ("SYN, answered with a cookie", Kind::Syn),
    ("ACK", Kind::Flags(capture::ACK)),
    ("RST", Kind::Flags(capture::RST)),
    ("FIN", Kind::Flags(capture::FIN | capture::ACK)),
];

/// What segments cost that come to a listener, or to a connection with the right ends and wrong numbers.
fn costs(link: &Veth) {
    println!("**Instructions for a segment of the flood**\n");
    println!("| flood | to | IP | dropped by the firewall | oxtcp | built-in TCP | ratio | ratio beyond the first |\n|---|---|---|---|---|---|---|---|");
    for ip in [Ip::V4, Ip::V6] {
        let stacks = [true, false].map(|ours| Stack { ours, ip });
        for (what, kind) in FLOODS {
            ns::nft("table inet t {\n chain in {\n type filter hook prerouting priority -300;\n meta l4proto tcp drop\n }\n}");
            let dropped = cost_of(link, kind, new_address(ip), Sources::Everywhere);
            ns::nft_clear();
            let row = |to: &str, [ours, builtin]: [f64; 2]| {
                println!(
                    "| {what} | {to} | {} | {dropped:.0} | {ours:.0} | {builtin:.0} | {:.2} | {:.2} |",
                    ip_name(ip),
                    ours / builtin,
                    (ours - dropped) / (builtin - dropped)
                );
            };
            let to_listener = stacks.map(|server| {
                set(server, "syncookies", "2");
                let address = new_address(ip);
                let (_listener, _) = listening_at(server, &address, BACKLOG);
                cost_of(link, kind, address, Sources::Everywhere)
            });
            row("a listener", to_listener);
            if kind == Kind::Syn {
                continue;
            }
            let to_connection = stacks.map(|server| {
                set(server, "syncookies", "1");
                let address = new_address(ip);
                let (listener, _) = listening_at(server, &address, BACKLOG);
                let client = link.b.run(|| {
                    let client = Sock::open(Stack::builtin(ip));
                    client.connect(&address).expect("connect");
                    client
                });
                let (served, from) = listener.accept().expect("accept");
                let cost = cost_of(link, kind, address, Sources::One(from));
                // It lives.
                client.send_all(b"?");
                assert_eq!(served.recv_exact(1), b"?");
                cost
            });
            row("a connection", to_connection);
        }
    }
}

fn ip_name(ip: Ip) -> &'static str {
    match ip {
        Ip::V4 => "IPv4",
        Ip::V6 => "IPv6",
    }
}

fn tables() -> ExitCode {
    let link = link();
    costs(&link);
    println!("\n**Clients that connect in turn meanwhile**\n");
    println!("| flood | IP | TCP | connected | median | 99 of 100 | segments per second |\n|---|---|---|---|---|---|---|");
    let ack = Kind::Flags(capture::ACK);
    let rst = Kind::Flags(capture::RST);
    let fin = Kind::Flags(capture::FIN | capture::ACK);
    let all = [
        (
            "from everywhere, with cookies",
            Kind::Syn,
            Sources::Everywhere,
            "1",
        ),
        (
            "from one network, with cookies",
            Kind::Syn,
            Sources::OneNetwork,
            "1",
        ),
        (
            "from one network, without cookies",
            Kind::Syn,
            Sources::OneNetwork,
            "0",
        ),
        ("from everywhere, ACKs", ack, Sources::Everywhere, "1"),
        ("from everywhere, RSTs", rst, Sources::Everywhere, "1"),
        ("from everywhere, FINs", fin, Sources::Everywhere, "1"),
    ];
    for ip in [Ip::V4, Ip::V6] {
        for (what, kind, sources, syncookies) in all {
            for ours in [true, false] {
                let server = Stack { ours, ip };
                set(server, "syncookies", syncookies);
                let flood = (kind, sources);
                // Who does not get in waits for long.
                let (pause, count) = match syncookies {
                    "0" => (Duration::from_millis(10), 5),
                    _ => (Duration::ZERO, clients()),
                };
                let outcome = under_flood(&link, server, flood, pause, count);
                println!(
                    "| {what} | {} | {} | {} of {} | {} ms | {} ms | {:.0} |",
                    ip_name(ip),
                    if ours { "oxtcp" } else { "built-in" },
                    outcome.connected,
                    outcome.tried,
                    outcome.median,
                    outcome.p99,
                    outcome.syns as f64 / outcome.seconds
                );
            }
        }
    }
    ExitCode::SUCCESS
}
