// SPDX-License-Identifier: GPL-2.0
//! Instructions per byte, per request and response, and per connection: oxtcp beside the built-in TCP.
//!
//! Meant for a virtual machine with one processor whose clock counts instructions (QEMU, `-icount
//! shift=0,sleep=off`): there a nanosecond of guest time is an instruction, and results do not depend on
//! the host. Elsewhere the figures are nanoseconds, and only as good as any.
//!
//! Time in which nobody has work is taken out: a process of the lowest class (SCHED_IDLE) spins in it, and
//! its processor time is subtracted. All else counts, in whatever process or interrupt it is spent.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::OnceLock;

use oxtcp_selftests::{listening, stack, Ip, Sock, Stack};

/// Bytes of a bulk transfer, and of each call in it.
const BULK: usize = 64 << 20;
const PIECE: usize = 64 << 10;
/// Requests and responses of one byte.
const REQUESTS: usize = 3000;
/// Connections opened and closed.
const CONNECTIONS: usize = 1500;

/// What is measured.
#[derive(Clone, Copy, PartialEq)]
enum Work {
    Bulk,
    Request,
    Connect,
}

impl Work {
    const ALL: [Work; 3] = [Work::Bulk, Work::Request, Work::Connect];

    fn name(self) -> &'static str {
        match self {
            Work::Bulk => "byte, bulk",
            Work::Request => "request/response",
            Work::Connect => "connect/close",
        }
    }

    /// The budget: ours over the built-in TCP's, at most.
    fn budget(self) -> f64 {
        match self {
            Work::Bulk => 1.0,
            Work::Request => 0.95,
            Work::Connect => 0.7,
        }
    }

    fn count(self) -> usize {
        match self {
            Work::Bulk => BULK,
            Work::Request => REQUESTS,
            Work::Connect => CONNECTIONS,
        }
    }
}

/// The process that spins when nobody else wants the processor.
static SPINNER: OnceLock<libc::clockid_t> = OnceLock::new();

fn nanoseconds(clock: libc::clockid_t) -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is ours.
    assert_eq!(
        unsafe { libc::clock_gettime(clock, &mut time) },
        0,
        "clock_gettime"
    );
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// Time that somebody had work.
fn busy() -> u64 {
    let idle = SPINNER.get().map_or(0, |clock| nanoseconds(*clock));
    nanoseconds(libc::CLOCK_MONOTONIC_RAW) - idle
}

/// A child process doing `work`.
fn fork(work: impl FnOnce()) -> libc::pid_t {
    // SAFETY: this process has one thread.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork");
    if child == 0 {
        // SAFETY: the child ends with its parent, and runs nothing of it afterwards.
        unsafe {
            libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
            work();
            libc::_exit(0);
        }
    }
    child
}

fn start_spinner() {
    let child = fork(|| {
        // SAFETY: all bytes zero is a sched_param.
        unsafe {
            let parameters: libc::sched_param = std::mem::zeroed();
            libc::sched_setscheduler(0, libc::SCHED_IDLE, &parameters);
        }
        loop {
            std::hint::spin_loop();
        }
    });
    let mut clock = 0;
    // SAFETY: `clock` is ours.
    assert_eq!(
        unsafe { libc::clock_getcpuclockid(child, &mut clock) },
        0,
        "clock_getcpuclockid"
    );
    let _ = SPINNER.set(clock);
}

/// One processor for this process and its children, as the virtual machine has.
fn stay_on_one_processor() {
    // SAFETY: all bytes zero is an empty set.
    unsafe {
        let mut set: libc::cpu_set_t = std::mem::zeroed();
        libc::CPU_SET(0, &mut set);
        libc::sched_setaffinity(0, std::mem::size_of::<libc::cpu_set_t>(), &set);
    }
}

fn serve(work: Work, listener: &Sock) {
    let mut buffer = vec![0; PIECE];
    let accept = || listener.accept().expect("accept").0;
    match work {
        Work::Bulk => {
            let server = accept();
            server.send_all(b"!");
            let mut left = BULK;
            while left > 0 {
                left -= server.recv(&mut buffer, 0).expect("recv");
            }
            server.send_all(b"!");
        }
        Work::Request => {
            let server = accept();
            server.send_all(b"!");
            for _ in 0..REQUESTS {
                assert_eq!(server.recv(&mut buffer[..1], 0).expect("recv"), 1);
                server.send_all(b"!");
            }
        }
        Work::Connect => {
            for _ in 0..CONNECTIONS {
                assert_eq!(accept().recv(&mut buffer[..1], 0).expect("recv"), 0);
            }
            accept().send_all(b"!");
        }
    }
}

/// Does the work once, between two processes over loopback. Returns the busy time in nanoseconds.
fn measure(work: Work, stack: Stack) -> u64 {
    let (listener, address) = listening(stack, 64);
    let server = fork(|| serve(work, &listener));
    drop(listener);
    let connect = || {
        let client = Sock::open(stack);
        client.connect(&address).expect("connect");
        client
    };
    let taken = match work {
        Work::Bulk => {
            let buffer = vec![7; PIECE];
            let client = connect();
            client.recv_exact(1);
            let start = busy();
            for _ in 0..BULK / PIECE {
                client.send_all(&buffer);
            }
            client.recv_exact(1);
            busy() - start
        }
        Work::Request => {
            let client = connect();
            client.recv_exact(1);
            let mut byte = [0; 1];
            let start = busy();
            for _ in 0..REQUESTS {
                client.send_all(b"?");
                assert_eq!(client.recv(&mut byte, 0).expect("recv"), 1);
            }
            busy() - start
        }
        Work::Connect => {
            let start = busy();
            for _ in 0..CONNECTIONS {
                drop(connect());
            }
            // The server comes to this one when it is through with the others.
            connect().recv_exact(1);
            busy() - start
        }
    };
    let mut status = 0;
    // SAFETY: our own child.
    unsafe { libc::waitpid(server, &mut status, 0) };
    assert_eq!(status, 0, "the server's process failed");
    taken
}

/// The rounds of one kind of work over one IP version: per unit, of ours and of the built-in TCP.
struct Row {
    work: Work,
    ip: Ip,
    ours: Vec<f64>,
    builtin: Vec<f64>,
}

fn median(values: &[f64]) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let middle = sorted.len() / 2;
    if sorted.len() % 2 == 1 {
        sorted[middle]
    } else {
        (sorted[middle - 1] + sorted[middle]) / 2.0
    }
}

/// The distance of the extremes, over the median.
fn spread(values: &[f64]) -> f64 {
    let largest = values.iter().copied().fold(f64::MIN, f64::max);
    let smallest = values.iter().copied().fold(f64::MAX, f64::min);
    (largest - smallest) / median(values)
}

impl Row {
    fn ratio(&self) -> f64 {
        median(&self.ours) / median(&self.builtin)
    }

    fn text(&self) -> String {
        let figure = |value: f64| {
            if value < 100.0 {
                format!("{value:.3}")
            } else {
                format!("{value:.0}")
            }
        };
        format!(
            "{:<18} {:<5} {:>10} {:>10} {:>7.3} {:>7.2} {:>8.2} % {:>8.2} %",
            self.work.name(),
            self.ip.name(),
            figure(median(&self.ours)),
            figure(median(&self.builtin)),
            self.ratio(),
            self.work.budget(),
            spread(&self.ours) * 100.0,
            spread(&self.builtin) * 100.0,
        )
    }

    fn json(&self) -> String {
        let list = |values: &[f64]| {
            values
                .iter()
                .map(|value| format!("{value:.4}"))
                .collect::<Vec<_>>()
                .join(", ")
        };
        format!(
            "{{\"work\": \"{}\", \"ip\": \"{}\", \"ours\": {:.4}, \"builtin\": {:.4}, \"ratio\": {:.4}, \
             \"budget\": {}, \"spread_ours\": {:.4}, \"spread_builtin\": {:.4}, \"rounds_ours\": [{}], \
             \"rounds_builtin\": [{}]}}",
            self.work.name(),
            self.ip.name(),
            median(&self.ours),
            median(&self.builtin),
            self.ratio(),
            self.work.budget(),
            spread(&self.ours),
            spread(&self.builtin),
            list(&self.ours),
            list(&self.builtin)
        )
    }
}

fn usage() -> ExitCode {
    eprintln!("bench [--rounds N] [--json FILE] [--builtin]");
    eprintln!("bench [--rounds N] --only oxtcp|built-in 'WORK[ IPv6]'");
    ExitCode::FAILURE
}

/// One kind of work by one TCP, for who counts the instructions himself: how many units were done.
fn only(stack: &str, work: Option<String>, rounds: usize) -> ExitCode {
    let stack = match stack {
        "oxtcp" => Stack::ours,
        "built-in" => Stack::builtin,
        _ => return usage(),
    };
    let work = work.unwrap_or_default();
    let (work, ip) = match work.strip_suffix(" IPv6") {
        Some(work) => (work, Ip::V6),
        None => (work.as_str(), Ip::V4),
    };
    let stack = stack(ip);
    let Some(work) = Work::ALL.into_iter().find(|known| known.name() == work) else {
        return usage();
    };
    stay_on_one_processor();
    for _ in 0..rounds {
        let _ = measure(work, stack);
    }
    println!("{}", rounds * work.count());
    ExitCode::SUCCESS
}

fn main() -> ExitCode {
    let mut rounds = 5;
    let mut json = None;
    let mut arguments = std::env::args().skip(1);
    while let Some(argument) = arguments.next() {
        match (argument.as_str(), arguments.next()) {
            ("--rounds", Some(value)) if value.parse::<usize>().is_ok_and(|n| n > 0) => {
                rounds = value.parse().unwrap_or(rounds);
            }
            ("--json", Some(value)) => json = Some(value),
            ("--builtin", None) => stack::use_builtin_only(),
            ("--only", Some(stack)) => return only(&stack, arguments.next(), rounds),
            _ => return usage(),
        }
    }
    stay_on_one_processor();
    start_spinner();
    let mut rows: Vec<Row> = Ip::BOTH
        .iter()
        .flat_map(|ip| {
            Work::ALL.map(|work| Row {
                work,
                ip: *ip,
                ours: Vec::new(),
                builtin: Vec::new(),
            })
        })
        .collect();
    // The first round warms caches and slabs, and does not count.
    for round in 0..=rounds {
        for row in &mut rows {
            let mut pair = [Stack::ours(row.ip), Stack::builtin(row.ip)];
            // Who goes first changes from round to round.
            if round % 2 == 1 {
                pair.reverse();
            }
            let figures =
                pair.map(|stack| measure(row.work, stack) as f64 / row.work.count() as f64);
            let (ours, builtin) = if round % 2 == 1 {
                (figures[1], figures[0])
            } else {
                (figures[0], figures[1])
            };
            if round > 0 {
                row.ours.push(ours);
                row.builtin.push(builtin);
            }
        }
    }
    let mut table = format!(
        "{:<18} {:<5} {:>10} {:>10} {:>7} {:>7} {:>10} {:>10}\n",
        "instructions per", "", "oxtcp", "built-in", "ratio", "budget", "spread", "spread"
    );
    for row in &rows {
        let _ = writeln!(table, "{}", row.text());
    }
    let _ = write!(
        table,
        "{rounds} rounds, interleaved; medians; spread is (largest - smallest) / median"
    );
    println!("{table}");
    if let Some(path) = json {
        let body: Vec<String> = rows.iter().map(|row| format!("  {}", row.json())).collect();
        if let Err(error) = std::fs::write(&path, format!("[\n{}\n]\n", body.join(",\n"))) {
            eprintln!("{path}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}
