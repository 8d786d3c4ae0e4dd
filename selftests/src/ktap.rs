// SPDX-License-Identifier: GPL-2.0
//! The Kernel Test Anything Protocol, and a process for each test.
//!
//! Each test runs in a child: a crash or a hang fails that test alone, and whatever it left (sockets,
//! namespaces, an unprivileged user id) goes with it. A panic in any of its threads ends it at once.

use std::fmt::Write as _;
use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::ExitCode;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use crate::stack::{self, Pair, Stack};
use crate::{kernel, Ip};

/// kselftest's exit codes (tools/testing/selftests/kselftest.h).
const PASS: i32 = 0;
const FAIL: i32 = 1;
const SKIP: i32 = 4;

/// A test may take this long before it counts as hung; OXTCP_DEADLINE (seconds) changes it. It is well
/// above [`crate::wait::limit`], so that a wait in vain says what it waited for.
const DEADLINE: Duration = Duration::from_secs(90);

/// A test that takes longer than this is mentioned.
const SLOW: Duration = Duration::from_secs(3);

/// Where a child's messages go.
static MESSAGES: OnceLock<File> = OnceLock::new();

enum Body {
    Once(fn()),
    OfStack(fn(Stack), Stack),
    OfPair(fn(Pair), Pair),
    OfTwo(fn(Stack, Stack), Stack, Stack),
}

struct Case {
    name: String,
    body: Body,
}

/// A program's tests.
pub struct Suite {
    program: &'static str,
    filters: Vec<String>,
    list: bool,
    cases: Vec<Case>,
}

impl Suite {
    /// Reads the command line: `--builtin`, `--doors`, `--list`, and parts of the names of the tests to run.
    pub fn from_args(program: &'static str) -> Suite {
        let mut suite = Suite {
            program,
            filters: Vec::new(),
            list: false,
            cases: Vec::new(),
        };
        for argument in std::env::args().skip(1) {
            match argument.as_str() {
                "--builtin" => stack::use_builtin_only(),
                "--doors" => stack::use_doors(),
                "--list" => suite.list = true,
                "--help" | "-h" => {
                    println!("{program} [--builtin | --doors] [--list] [PART-OF-A-TEST-NAME...]");
                    std::process::exit(0);
                }
                option if option.starts_with('-') => {
                    eprintln!("{program}: unknown option {option}");
                    std::process::exit(FAIL);
                }
                part => suite.filters.push(part.to_string()),
            }
        }
        suite
    }

    fn push(&mut self, name: String, body: Body) {
        if self.filters.is_empty() || self.filters.iter().any(|part| name.contains(part.as_str())) {
            self.cases.push(Case { name, body });
        }
    }

    /// A test that runs once.
    pub fn once(&mut self, name: &str, test: fn()) {
        self.push(name.to_string(), Body::Once(test));
    }

    /// A test that runs on ours over IPv4 and over IPv6.
    pub fn stacks(&mut self, name: &str, test: fn(Stack)) {
        for ip in Ip::BOTH {
            self.push(
                format!("{}.{name}", ip.name()),
                Body::OfStack(test, Stack::ours(ip)),
            );
        }
    }

    /// A test that runs over the matrix of [`Pair::matrix`].
    pub fn pairs(&mut self, name: &str, test: fn(Pair)) {
        for pair in Pair::matrix() {
            self.push(format!("{}.{name}", pair.name()), Body::OfPair(test, pair));
        }
    }

    /// A test of what a first socket leaves for a second one: the same matrix, read as first and second.
    pub fn neighbours(&mut self, name: &str, test: fn(Stack, Stack)) {
        for pair in Pair::matrix() {
            let (first, second) = (pair.client, pair.server);
            let name = format!(
                "{}.{}_then_{}.{name}",
                first.ip.name(),
                first.name(),
                second.name()
            );
            self.push(name, Body::OfTwo(test, first, second));
        }
    }

    /// Runs the tests and prints KTAP. Last comes a test of the kernel itself: no warning, no oops meanwhile.
    pub fn run(self) -> ExitCode {
        if self.list {
            self.cases.iter().for_each(|case| println!("{}", case.name));
            return ExitCode::SUCCESS;
        }
        println!("KTAP version 1");
        println!(
            "# {}: {}",
            self.program,
            if stack::builtin_only() {
                "built-in TCP only"
            } else {
                "oxtcp"
            }
        );
        println!("1..{}", self.cases.len() + 1);
        let taint = kernel::trouble();
        let (mut passed, mut failed, mut skipped) = (0, 0, 0);
        for (number, case) in (1..).zip(&self.cases) {
            let start = Instant::now();
            let (code, text) = run_in_child(case);
            let took = start.elapsed();
            let text = text.trim();
            if took > SLOW {
                println!("#   {}: took {:.1} s", case.name, took.as_secs_f32());
            }
            match code {
                PASS => {
                    passed += 1;
                    comment(text);
                    println!("ok {number} {}", case.name);
                }
                SKIP => {
                    skipped += 1;
                    println!(
                        "ok {number} {} # SKIP {}",
                        case.name,
                        text.replace('\n', " ")
                    );
                }
                _ => {
                    failed += 1;
                    comment(text);
                    println!("not ok {number} {}", case.name);
                }
            }
            let _ = std::io::stdout().flush();
        }
        let number = self.cases.len() + 1;
        match kernel::trouble().difference(&taint).next() {
            None => {
                passed += 1;
                println!("ok {number} kernel__no_warning");
            }
            Some(what) => {
                failed += 1;
                println!("# the kernel is newly tainted: {what}");
                println!("not ok {number} kernel__no_warning");
            }
        }
        println!("# Totals: pass:{passed} fail:{failed} xfail:0 xpass:0 skip:{skipped} error:0");
        // The kernel's own test does not make a program in which all else was skipped a passed one.
        ExitCode::from(match (passed, failed) {
            (_, 1..) => FAIL as u8,
            (1, 0) if skipped > 0 => SKIP as u8,
            _ => PASS as u8,
        })
    }
}

/// Ends the test as skipped, saying why.
pub fn skip(reason: &str) -> ! {
    finish(SKIP, reason)
}

/// Adds a line to the test's KTAP comments.
pub fn note(text: &str) {
    message(&format!("{text}\n"));
}

fn comment(text: &str) {
    text.lines().for_each(|line| println!("#   {line}"));
}

fn message(text: &str) {
    match MESSAGES.get() {
        Some(mut file) => drop(file.write_all(text.as_bytes())),
        None => eprint!("{text}"),
    }
}

fn finish(code: i32, text: &str) -> ! {
    message(text);
    // SAFETY: ends the process without running anything of the other threads.
    unsafe { libc::_exit(code) }
}

/// Runs one test in a child process of its own group. Returns its exit code and its messages.
fn run_in_child(case: &Case) -> (i32, String) {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for the two descriptors.
    assert_eq!(
        unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) },
        0,
        "pipe2"
    );
    // SAFETY: the descriptors were just made and nobody else owns them.
    let (reader, writer) =
        unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
    let _ = std::io::stdout().flush();
    // SAFETY: this process has one thread.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork");
    if child == 0 {
        drop(reader);
        be_the_child(case, writer);
    }
    drop(writer);
    let (status, text) = watch(child, reader);
    // SAFETY: the group is the child's own; what it left running ends with it.
    unsafe { libc::kill(-child, libc::SIGKILL) };
    match status {
        Some(status) if libc::WIFEXITED(status) => (libc::WEXITSTATUS(status), text),
        Some(status) => (
            FAIL,
            format!("{text}\nkilled by signal {}", libc::WTERMSIG(status)),
        ),
        None => (FAIL, format!("{text}\nhung: stopped at the deadline")),
    }
}

fn be_the_child(case: &Case, writer: OwnedFd) -> ! {
    // SAFETY: plain calls on this process.
    unsafe {
        libc::setpgid(0, 0);
        libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL);
        // The Rust runtime ignores SIGPIPE; the tests want the kernel's default.
        libc::signal(libc::SIGPIPE, libc::SIG_DFL);
    }
    let _ = MESSAGES.set(File::from(writer));
    std::panic::set_hook(Box::new(|info| {
        let mut text = String::new();
        let _ = write!(text, "{info}");
        finish(FAIL, &text);
    }));
    match case.body {
        Body::Once(test) => test(),
        Body::OfStack(test, stack) => test(stack),
        Body::OfPair(test, pair) => test(pair),
        Body::OfTwo(test, first, second) => test(first, second),
    }
    finish(PASS, "");
}

/// Collects the child's messages until it ends or hangs; `None` for hung.
fn watch(child: libc::pid_t, reader: OwnedFd) -> (Option<i32>, String) {
    let seconds = std::env::var("OXTCP_DEADLINE")
        .ok()
        .and_then(|v| v.parse().ok());
    let deadline = Instant::now() + seconds.map_or(DEADLINE, Duration::from_secs);
    // SAFETY: the descriptor is ours and open.
    unsafe { libc::fcntl(reader.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) };
    let mut reader = File::from(reader);
    let mut text = Vec::new();
    let mut status = 0;
    loop {
        let mut wanted = libc::pollfd {
            fd: reader.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd. The pipe closes when the child ends; a grandchild that holds it costs 50 ms.
        unsafe { libc::poll(&mut wanted, 1, 50) };
        let mut part = [0; 4096];
        while let Ok(count @ 1..) = reader.read(&mut part) {
            text.extend_from_slice(&part[..count]);
        }
        // SAFETY: `status` is ours.
        let ended = unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) } == child;
        let text_now = || String::from_utf8_lossy(&text).into_owned();
        if ended {
            while let Ok(count @ 1..) = reader.read(&mut part) {
                text.extend_from_slice(&part[..count]);
            }
            return (Some(status), String::from_utf8_lossy(&text).into_owned());
        }
        if Instant::now() > deadline {
            let stuck = kernel::stacks_of(child);
            // SAFETY: the group is the child's own. One that cannot be killed is left to the kernel log.
            unsafe {
                libc::kill(-child, libc::SIGKILL);
                libc::kill(child, libc::SIGKILL);
            }
            for _ in 0..100 {
                std::thread::sleep(Duration::from_millis(20));
                // SAFETY: as above.
                if unsafe { libc::waitpid(child, &mut status, libc::WNOHANG) } == child {
                    break;
                }
            }
            return (None, format!("{}\n{stuck}", text_now()));
        }
    }
}
