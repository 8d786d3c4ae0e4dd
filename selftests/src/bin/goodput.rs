// SPDX-License-Identifier: GPL-2.0
//! What arrives over bad networks: oxtcp beside the built-in TCP, over the same path in the same boot.
//!
//! Meant for a virtual machine whose clock counts instructions (QEMU, `-icount shift=0,sleep=off`): there nobody is short of
//! a processor, and time that nobody needs is skipped. It judges nothing: it prints tables, in Markdown.
//!
//! The path has a router in its middle, which loses, delays and reorders packets (netem). It is not the hosts' own queues that do so:
//! there a packet is what a sender hands down in one piece, up to 64 KB, and a loss would take it whole. Who sends larger pieces
//! would lose less often, and have more room in the queue.
//!
//! Its arguments say which tables: `0` and `1` for the cells where so much of the packets overtakes, `share` for flows that share the
//! path; without any, all of them.
//!
//! | in the environment | |
//! |---|---|
//! | GOODPUT_ROUNDS | how often a cell in which chance has a part is measured for each TCP (3), each time with other losses; where little gets through, up to eight times as often |
//! | GOODPUT_ONLY | only cells whose `round trip/loss/overtaking` begins so, such as `300/1/`; `share/20/2/`: flows that share the path |
//! | GOODPUT_MIXED | not empty: also oxtcp sending to the built-in TCP, and the other way |
//! | GOODPUT_PCAP | a folder for what tcpdump sees at the sender, a file for each run |
//! | GOODPUT_TRACE | a folder for what TCP_INFO says of each sender, ten times a second |

use std::fs::File;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use oxtcp_selftests::connection::listening_at;
use oxtcp_selftests::ns::{self, Namespace};
use oxtcp_selftests::tcp_info::{self, TcpInfo};
use oxtcp_selftests::{thread, wait, Ip, Sock, Stack};

/// Of the path, in bytes per second; the router holds [`QUEUE`] packets, those on their way included.
const RATE: u64 = 1_250_000;
const QUEUE: u32 = 250;
/// Round trips, in milliseconds.
const ROUND_TRIPS: [u32; 4] = [1, 20, 100, 300];
/// Packets lost each way, in percent.
const LOSSES: [&str; 5] = ["0", "0.1", "1", "3", "10"];
/// Packets that overtake all that wait in the router, in percent.
const REORDERED: [&str; 2] = ["0", "1"];
/// Flows of each kind that share the path.
const SHARES: [usize; 3] = [1, 2, 8];

/// How long a connection is watched: the slow ones need long. Many tell more than long ones.
fn span(round_trip: u32) -> Duration {
    match round_trip {
        0..=20 => Duration::from_secs(5),
        21..=100 => Duration::from_secs(20),
        _ => Duration::from_secs(40),
    }
}

/// Two hosts, and a router between them: 192.0.2.1 behind `va`, 198.51.100.1 behind `vb`, the router's `ra` and `rb`. This thread is in
/// the first host.
struct Bed {
    router: Namespace,
    server: Namespace,
    port: u16,
}

impl Bed {
    fn make() -> Bed {
        let router = Namespace::enter_new();
        ns::set_sysctl("net/ipv4/ip_forward", "1");
        let host = |device: &str, network: &str, far: &str, name: &str| {
            let host = Namespace::enter_new();
            let path = router.path();
            ns::sh(&format!(
                "ip link add {name} type veth peer name {device} netns {path}"
            ));
            ns::sh(&format!("ip addr add {network}.1/24 dev {name}"));
            // The host cuts packets itself: the router is to see what a network sees.
            ns::sh(&format!("ethtool -K {name} tso off"));
            ns::sh(&format!("ip link set {name} up"));
            router.run(|| {
                ns::sh(&format!("ip addr add {network}.2/24 dev {device}"));
                ns::sh(&format!("ip link set {device} up"));
            });
            ns::sh(&format!("ip route add {far}.0/24 via {network}.2"));
            // Nothing is to be remembered of the connections before.
            ns::set_sysctl("net/ipv4/tcp_no_metrics_save", "1");
            let up = || ns::try_sh(&format!("ip -o link show {name} | grep -q LOWER_UP")).is_ok();
            wait::until("the link is up", up);
            // So that no connection waits for neighbours.
            ns::sh(&format!("ping -c 1 -W 5 {network}.2 >/dev/null || true"));
            host
        };
        let server = host("rb", "198.51.100", "192.0.2", "vb");
        host("ra", "192.0.2", "198.51.100", "va");
        Bed {
            router,
            server,
            port: 10_000,
        }
    }

    /// Sets the path, both ways.
    fn set(&self, path: &Path, seed: u32) {
        let delay = f64::from(path.round_trip) / 2.0;
        let rest = match path.reordered {
            "0" => String::new(),
            share => format!(" reorder {share}%"),
        };
        self.router.run(|| {
            for (device, seed) in [("ra", seed), ("rb", seed + 1)] {
                ns::sh(&format!(
                    "tc qdisc replace dev {device} root netem delay {delay}ms loss {}%{rest} rate {RATE}bps limit {QUEUE} seed {seed}",
                    path.loss
                ));
            }
        });
    }

    /// A connection whose client sends as long as it can; and how much the server gets within `span`.
    fn flow(&mut self, client: Stack, server: Stack, span: Duration) -> impl FnOnce() -> u64 {
        self.port += 1;
        let address = ([198, 51, 100, 1], self.port).into();
        let (listener, _) = self.server.run(|| listening_at(server, &address, 1));
        let name = format!("{}-{}.csv", self.port, name(client));
        let client = Sock::open(client);
        trace(&client, &name);
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

    /// What a connection gets, in bytes per second.
    fn goodput(&mut self, path: &Path, seed: u32, (client, server): (Stack, Stack)) -> f64 {
        self.set(path, seed);
        let span = span(path.round_trip);
        let wait = self.flow(client, server, span);
        let dump = Capture::begin(&format!(
            "{}-{}-{}-{}-{}-{seed}.pcap",
            path.round_trip,
            path.loss,
            path.reordered,
            name(client),
            name(server)
        ));
        let got = wait() as f64 / span.as_secs_f64();
        drop(dump);
        got
    }

    /// One of the many, for each pair of stacks.
    fn cell(&mut self, path: &Path, rounds: u32, pairs: &[(Stack, Stack)]) -> Vec<Sample> {
        let chance = path.loss != "0" || path.reordered != "0";
        let mut samples = vec![Sample::default(); pairs.len()];
        let mut round = 0;
        loop {
            for (sample, pair) in samples.iter_mut().zip(pairs) {
                sample.take(self.goodput(path, 1 + round * 1000, *pair));
            }
            if !chance {
                break;
            }
            let exact = samples
                .iter()
                .skip(1)
                .all(|sample| sample.ratio_error(&samples[0]) < ENOUGH);
            // Slow cells are the uncertain ones, and cost less.
            let slow = (RATE as f64 / samples[0].mean().max(1.0)).clamp(1.0, SLOW_ROUNDS);
            let most = (f64::from(rounds) * slow) as u32;
            round += 1;
            if round >= most || (round >= LEAST_ROUNDS && exact) {
                break;
            }
        }
        samples
    }

    /// Ours and theirs at the same time, so many of each: what each kind gets of the path, in percent.
    fn shared(&mut self, round_trip: u32, each: usize, round: u32) -> (f64, f64) {
        let path = Path {
            round_trip,
            loss: "0",
            reordered: "0",
        };
        self.set(&path, 1);
        let span = Duration::from_secs(40);
        let dump = Capture::begin(&format!("share-{round_trip}-{each}-{round}.pcap"));
        let mut flows = Vec::new();
        for pair in 0..each {
            // Who comes first has an advantage.
            for ours in [round % 2 == 0, round % 2 != 0] {
                let stack = Stack { ours, ip: Ip::V4 };
                flows.push((ours, self.flow(stack, stack, span)));
                let gap = (17 * u64::from(round) + 7 * pair as u64) % 97;
                std::thread::sleep(Duration::from_millis(gap));
            }
        }
        let (mut ours, mut theirs) = (0, 0);
        for (is_ours, wait) in flows {
            *(if is_ours { &mut ours } else { &mut theirs }) += wait();
        }
        drop(dump);
        let whole = RATE as f64 * span.as_secs_f64() / 100.0;
        (ours as f64 / whole, theirs as f64 / whole)
    }
}

/// What happens between the hosts.
struct Path {
    round_trip: u32,
    loss: &'static str,
    reordered: &'static str,
}

fn name(stack: Stack) -> &'static str {
    match stack.ours {
        true => "ours",
        false => "builtin",
    }
}

/// Ten times a second what TCP_INFO says of the sender, if GOODPUT_TRACE asks for it.
fn trace(client: &Sock, name: &str) {
    let Ok(folder) = std::env::var("GOODPUT_TRACE") else {
        return;
    };
    let client = client.try_clone();
    let mut file = File::create(PathBuf::from(folder).join(name)).expect("a file in GOODPUT_TRACE");
    thread::spawn(move || {
        let start = Instant::now();
        let mut write = |line: &str| writeln!(file, "{line}").expect("a line of the trace");
        write("seconds,state,cwnd,ssthresh,unacked,lost,retrans,timeouts,reordering,srtt,min_rtt,acked");
        let mut begun = false;
        loop {
            let info = TcpInfo::of(&client);
            if begun && info.state == tcp_info::CLOSE {
                break;
            }
            begun |= info.state == tcp_info::ESTABLISHED;
            write(&format!(
                "{:.2},{},{},{},{},{},{},{},{},{},{},{}",
                start.elapsed().as_secs_f64(),
                info.ca_state,
                info.snd_cwnd,
                info.snd_ssthresh,
                info.unacked,
                info.lost,
                info.total_retrans,
                info.total_rto,
                info.reordering,
                info.rtt,
                info.min_rtt,
                info.bytes_acked
            ));
            std::thread::sleep(Duration::from_millis(100));
        }
    });
}

/// tcpdump at the sender, if GOODPUT_PCAP asks for it.
struct Capture(Option<Child>);

impl Capture {
    fn begin(name: &str) -> Capture {
        let Ok(folder) = std::env::var("GOODPUT_PCAP") else {
            return Capture(None);
        };
        let file = PathBuf::from(folder).join(name);
        let child = Command::new("tcpdump")
            .args([
                "-U", "-Z", "root", "-i", "va", "-s", "128", "-B", "8192", "-w",
            ])
            .arg(&file)
            .stderr(Stdio::null())
            .spawn()
            .expect("tcpdump");
        Capture(Some(child))
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        if let Some(child) = &mut self.0 {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

/// What several connections got.
#[derive(Clone, Default)]
struct Sample(Vec<f64>);

impl Sample {
    fn take(&mut self, value: f64) {
        self.0.push(value);
    }

    fn mean(&self) -> f64 {
        self.0.iter().sum::<f64>() / self.0.len() as f64
    }

    /// The standard error of the mean, as a part of it.
    fn error(&self) -> f64 {
        let (mean, count) = (self.mean(), self.0.len() as f64);
        if count < 2.0 || mean == 0.0 {
            return 0.0;
        }
        let squares: f64 = self.0.iter().map(|value| (value - mean).powi(2)).sum();
        (squares / (count - 1.0) / count).sqrt() / mean
    }

    fn ratio(&self, other: &Sample) -> f64 {
        self.mean() / other.mean().max(1.0)
    }

    /// The standard error of the ratio.
    fn ratio_error(&self, other: &Sample) -> f64 {
        self.ratio(other) * self.error().hypot(other.error())
    }
}

/// A cell is measured so often at least, and then until the standard error of the ratio is below [`ENOUGH`].
const LEAST_ROUNDS: u32 = 3;
const ENOUGH: f64 = 0.03;
/// So many times as often, at most, where little gets through.
const SLOW_ROUNDS: f64 = 8.0;

/// What the environment asks for.
struct Wish {
    rounds: u32,
    only: String,
    mixed: bool,
}

impl Wish {
    fn of_environment() -> Wish {
        let variable = |name: &str| std::env::var(name).unwrap_or_default();
        Wish {
            rounds: variable("GOODPUT_ROUNDS").parse().unwrap_or(3),
            only: variable("GOODPUT_ONLY"),
            mixed: !variable("GOODPUT_MIXED").is_empty(),
        }
    }

    fn has(&self, name: &str) -> bool {
        self.only.split(' ').any(|only| name.starts_with(only))
    }
}

/// The table of the cells in which so much of the packets overtakes.
fn cells(bed: &mut Bed, wish: &Wish, reordered: &'static str) {
    let (ours, theirs) = (Stack::ours(Ip::V4), Stack::builtin(Ip::V4));
    let mut pairs = vec![(theirs, theirs), (ours, ours)];
    let mut head = vec![
        "round trip",
        "loss each way",
        "built-in TCP kB/s",
        "oxtcp kB/s",
        "ratio",
    ];
    if wish.mixed {
        pairs.extend([(ours, theirs), (theirs, ours)]);
        head.extend(["oxtcp to built-in", "ratio", "built-in to oxtcp", "ratio"]);
    }
    head.push("of each");
    println!("\n**{reordered} % of the packets overtake**\n");
    println!("| {} |", head.join(" | "));
    println!("|{}", "---|".repeat(head.len()));
    for round_trip in ROUND_TRIPS {
        for loss in LOSSES {
            if !wish.has(&format!("{round_trip}/{loss}/{reordered}")) {
                continue;
            }
            let path = Path {
                round_trip,
                loss,
                reordered,
            };
            let samples = bed.cell(&path, wish.rounds, &pairs);
            let base = &samples[0];
            print!(
                "| {round_trip} ms | {loss} % | {:.0} |",
                base.mean() / 1000.0
            );
            for sample in samples.iter().skip(1) {
                let error = sample.ratio_error(base);
                let error = match sample.0.len() {
                    1 => String::new(),
                    _ => format!(" ± {error:.2}"),
                };
                print!(
                    " {:.0} | {:.2}{error} |",
                    sample.mean() / 1000.0,
                    sample.ratio(base)
                );
            }
            println!(" {} |", base.0.len());
        }
    }
}

/// The table of flows that share the path.
fn shares(bed: &mut Bed, wish: &Wish) {
    println!("\n**Flows that share the path**\n");
    println!("| round trip | flows of each | oxtcp, % of the path | built-in TCP, % of the path |");
    println!("|---|---|---|---|");
    let rounds = wish.rounds.min(SHARE_ROUNDS);
    for round_trip in [20, 100] {
        for each in SHARES {
            if !wish.has(&format!("share/{round_trip}/{each}")) {
                continue;
            }
            let shares: Vec<_> = (0..rounds)
                .map(|round| bed.shared(round_trip, each, round))
                .collect();
            let column = |of: fn(&(f64, f64)) -> f64| {
                let values: Vec<f64> = shares.iter().map(of).collect();
                let least = values.iter().copied().fold(f64::INFINITY, f64::min);
                let most = values.iter().copied().fold(0.0, f64::max);
                format!("{:.1} ({least:.1} to {most:.1})", Sample(values).mean())
            };
            println!(
                "| {round_trip} ms | {each} | {} | {} |",
                column(|s| s.0),
                column(|s| s.1)
            );
        }
    }
}

fn main() -> ExitCode {
    let wish = Wish::of_environment();
    let parts: Vec<String> = std::env::args().skip(1).collect();
    let wanted = |part: &str| parts.is_empty() || parts.iter().any(|name| name == part);
    let mut bed = Bed::make();
    for reordered in REORDERED {
        if wanted(reordered) {
            cells(&mut bed, &wish, reordered);
        }
    }
    if wanted("share") {
        shares(&mut bed, &wish);
    }
    ExitCode::SUCCESS
}

/// How often flows share the path.
const SHARE_ROUNDS: u32 = 4;
