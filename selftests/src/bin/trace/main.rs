// SPDX-License-Identifier: GPL-2.0
//! The tracepoints, as `oxtcp trace` tells them, against real traffic.
//!
//! The command is the one in PATH, or the one that OXTCP_TOOL names.

use std::fs;
use std::io::Read;
use std::net::SocketAddr;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};

use oxtcp_selftests::connection::listening_at;
use oxtcp_selftests::ns::{self, Namespace, Veth};
use oxtcp_selftests::{cases, ktap, stack, wait, Ip, Sock, Stack, Suite};

mod forms;

fn main() -> ExitCode {
    let mut suite = Suite::from_args("trace");
    cases!(suite.stacks: connection__from_syn_to_the_end, connection__that_we_open, loss__after_a_timeout, loss__that_is_found,
        syn__without_room, syn__with_a_cookie, data__that_is_dropped);
    suite.once("end__leaves_nothing", end__leaves_nothing);
    suite.once("filter__and_count", filter__and_count);
    suite.once("namespaces", namespaces);
    suite.once("program__is_traced", program__is_traced);
    suite.once("explain__tells_the_story", forms::explain__tells_the_story);
    suite.once("ladder__has_both_ends", forms::ladder__has_both_ends);
    suite.once("pictures__are_svg", forms::pictures__are_svg);
    suite.once(
        "capture__is_read_by_others",
        forms::capture__is_read_by_others,
    );
    suite.once("reader__that_goes_away", forms::reader__that_goes_away);
    suite.once("wrong__is_refused", wrong__is_refused);
    suite.run()
}

const TRACING: &str = "/sys/kernel/tracing";

fn command(arguments: &[&str]) -> Command {
    if stack::builtin_only() {
        ktap::skip("the command is for oxtcp");
    }
    let mounted = PathBuf::from(TRACING).join("instances").exists();
    if !mounted {
        ns::sh(&format!("mount -t tracefs tracefs {TRACING}"));
    }
    let mut command = Command::new(std::env::var("OXTCP_TOOL").unwrap_or("oxtcp".into()));
    command.arg("trace").args(arguments).stdin(Stdio::null());
    command
}

/// A trace that goes on.
struct Trace(Child);

impl Trace {
    /// Comes back when all is traced.
    #[track_caller]
    fn begin(arguments: &[&str]) -> Trace {
        let child = command(arguments)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("oxtcp");
        let mut trace = Trace(child);
        // It turns off the trace, turns on the events, of which this is the last, and then the trace.
        let last = trace.instance().join("events/oxtcp/oxtcp_overflow/enable");
        let all = trace.instance().join("tracing_on");
        wait::until("it traces", || {
            if let Some(status) = trace.0.try_wait().expect("a child") {
                let mut text = String::new();
                let _ = trace
                    .0
                    .stderr
                    .take()
                    .map(|mut err| err.read_to_string(&mut text));
                panic!("oxtcp trace ended with {status}: {text}");
            }
            let is_on = |file| fs::read_to_string(file).is_ok_and(|text| text.trim() == "1");
            is_on(&last) && is_on(&all)
        });
        trace
    }

    fn instance(&self) -> PathBuf {
        PathBuf::from(TRACING).join(format!("instances/oxtcp-trace-{}", self.0.id()))
    }

    /// Ends it as Ctrl-C does: what it has printed.
    #[track_caller]
    fn end(self) -> Vec<String> {
        // SAFETY: kill() has no memory to get wrong, and the child has not been waited for.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGINT) };
        self.ended()
    }

    /// What it has printed when it has ended by itself.
    #[track_caller]
    fn ended(self) -> Vec<String> {
        let output = self.0.wait_with_output().expect("oxtcp ends");
        let err = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{}: {err}", output.status);
        assert_eq!(err, "");
        let out = String::from_utf8(output.stdout).expect("text");
        out.lines().map(str::to_string).collect()
    }
}

/// The value of a key in a line of JSON; the lines have each key once.
fn value<'a>(line: &'a str, key: &str) -> Option<&'a str> {
    let begin = line.find(&format!("\"{key}\":"))? + key.len() + 3;
    let rest = &line[begin..];
    let end = match rest.strip_prefix('"') {
        Some(text) => text.find('"')? + 2,
        None => rest.find([',', '}'])?,
    };
    Some(rest[..end].trim_matches('"'))
}

fn is(line: &str, key: &str, wanted: &str) -> bool {
    value(line, key) == Some(wanted)
}

/// The state changes of an end, in order.
fn states(lines: &[String], local: &SocketAddr) -> Vec<String> {
    let local = local.to_string();
    lines
        .iter()
        .filter(|line| is(line, "event", "state") && is(line, "local", &local))
        .filter(|line| value(line, "remote").is_some())
        .map(|line| {
            let part = |key| value(line, key).expect(key);
            format!("{} {}", part("from"), part("to"))
        })
        .collect()
}

/// Fails unless lines like these come one after the other, others between them: each with all of its keys and values.
#[track_caller]
fn in_order(lines: &[String], wanted: &[&[(&str, &str)]]) {
    let mut rest = lines.iter();
    for keys in wanted {
        let found = rest.any(|line| keys.iter().all(|(key, wanted)| is(line, key, wanted)));
        assert!(
            found,
            "no {keys:?} where it is due in\n{}",
            lines.join("\n")
        );
    }
}

#[track_caller]
fn sorted(lines: &[String]) {
    let time = |line: &String| -> u64 {
        value(line, "time_ns")
            .expect("a time")
            .parse()
            .expect("a number")
    };
    assert!(lines.is_sorted_by_key(time), "{}", lines.join("\n"));
}

/// A connection from a client of the built-in TCP in namespace `b`, to a server of ours.
struct Talk {
    client: Sock,
    server: Sock,
    _listener: Sock,
    address: SocketAddr,
}

fn talk(stack: Stack, link: &Veth) -> Talk {
    let (listener, address) = listening_at(stack, &Veth::address_a(stack.ip, 8080), 7);
    let client = link.b.run(|| {
        let client = Sock::open(Stack::builtin(stack.ip));
        client.connect(&address).expect("connect");
        client
    });
    let server = listener.accept().expect("accept").0;
    Talk {
        client,
        server,
        _listener: listener,
        address,
    }
}

fn connection__from_syn_to_the_end(stack: Stack) {
    let link = Veth::make();
    let trace = Trace::begin(&["--json", "sport = :8080"]);
    let Talk {
        client,
        server,
        _listener: listener,
        address,
    } = talk(stack, &link);
    link.b.run(|| client.send_all(&[1; 1000]));
    assert_eq!(server.recv_exact(1000).len(), 1000);
    server.send_all(&[2; 700]);
    assert_eq!(client.recv_exact(700).len(), 700);
    drop(client);
    assert_eq!(server.recv_to_end().len(), 0);
    drop(server);
    drop(listener);
    // The last acknowledgment is on its way, and with it the end.
    let port = format!(":{:04X} ", address.port());
    wait::until("the connection is gone", || {
        let file = match stack.ip {
            Ip::V4 => "/proc/net/oxtcp",
            Ip::V6 => "/proc/net/oxtcp6",
        };
        !fs::read_to_string(file).expect(file).contains(&port)
    });
    let lines = trace.end();
    sorted(&lines);
    assert_eq!(
        states(&lines, &address),
        [
            "listening syn-recv",
            "syn-recv established",
            "established close-wait",
            "close-wait last-ack",
            "last-ack closed"
        ],
        "{}",
        lines.join("\n")
    );
    let (come, go) = (("direction", "in"), ("direction", "out"));
    in_order(
        &lines,
        &[
            &[("event", "state"), ("to", "listening")],
            &[come, ("flags", "SYN")],
            &[
                ("decision", "half-open"),
                ("half_open", "1"),
                ("backlog", "7"),
            ],
            &[go, ("flags", "SYN,ACK"), ("cause", "syn-ack")],
            &[come, ("flags", "ACK")],
            &[("to", "established")],
            &[("decision", "accepted"), ("waiting", "1")],
            &[come, ("payload", "1000"), ("cause", "received")],
            &[
                ("event", "congestion"),
                ("mode", "open"),
                ("ssthresh", "null"),
            ],
            &[
                go,
                ("payload", "700"),
                ("cause", "data"),
                ("retransmission", "false"),
            ],
            &[come, ("flags", "FIN,ACK")],
            &[("to", "close-wait")],
            &[go, ("flags", "FIN,ACK"), ("cause", "fin")],
            &[("to", "closed")],
        ],
    );
    in_order(&lines, &[&[("from", "listening"), ("to", "closed")]]);
    assert!(
        !lines
            .iter()
            .any(|line| is(line, "retransmission", "true") || is(line, "event", "drop")),
        "{}",
        lines.join("\n")
    );
    // One socket from its first event on, the listener's another.
    let cookies = |event: &str| -> Vec<&str> {
        let mut cookies: Vec<&str> = lines
            .iter()
            .filter(|line| is(line, "event", event))
            .filter_map(|line| value(line, "cookie"))
            .collect();
        cookies.dedup();
        cookies
    };
    assert_eq!(cookies("congestion").len(), 1);
    assert_eq!(cookies("listener").len(), 1);
    assert_ne!(cookies("congestion"), cookies("listener"));
}

fn connection__that_we_open(stack: Stack) {
    let link = Veth::make();
    let (listener, address) = link.b.run(|| {
        listening_at(
            Stack::builtin(stack.ip),
            &Veth::address_b(stack.ip, 8081),
            1,
        )
    });
    let trace = Trace::begin(&["--json"]);
    let client = Sock::open(stack);
    client.connect(&address).expect("connect");
    let local = client.local().expect("a name");
    let server = listener.accept().expect("accept").0;
    drop(client);
    assert_eq!(server.recv_to_end().len(), 0);
    wait_for("FIN-WAIT-2", " 05 ", stack, &local);
    drop(server);
    wait_for("TIME-WAIT", " 06 ", stack, &local);
    let lines = trace.end();
    assert_eq!(
        states(&lines, &local),
        [
            "closed syn-sent",
            "syn-sent established",
            "established fin-wait-1",
            "fin-wait-1 fin-wait-2",
            "fin-wait-2 time-wait"
        ],
        "{}",
        lines.join("\n")
    );
    in_order(
        &lines,
        &[
            &[("cause", "syn"), ("flags", "SYN")],
            &[("direction", "in"), ("flags", "SYN,ACK")],
            &[("direction", "out"), ("cause", "ack")],
        ],
    );
}

/// Until the connection is in that state, which `/proc` has this number for.
#[track_caller]
fn wait_for(what: &str, number: &str, stack: Stack, local: &SocketAddr) {
    let port = format!(":{:04X} ", local.port());
    let file = match stack.ip {
        Ip::V4 => "/proc/net/oxtcp",
        Ip::V6 => "/proc/net/oxtcp6",
    };
    wait::until(what, || {
        let text = fs::read_to_string(file).expect(file);
        let mut lines = text.lines();
        lines.any(|line| line.contains(&port) && line.contains(number))
    });
}

/// All that the server sends is lost, until the timers have shown what they do.
fn loss__after_a_timeout(stack: Stack) {
    let link = Veth::make();
    let talk = talk(stack, &link);
    // A round trip is known: else there is no tail loss probe.
    link.b.run(|| talk.client.send_all(&[1; 100]));
    talk.server.recv_exact(100);
    talk.server.send_all(&[1; 100]);
    talk.client.recv_exact(100);
    wait::until("all is acknowledged", || talk.server.unacked() == 0);
    link.b
        .run(|| ns::nft_input(&["tcp sport 8080 meta length > 500 counter name dropped drop"]));
    let trace = Trace::begin(&["--json", "sport = :8080"]);
    talk.server.send_all(&[2; 1000]);
    wait::until("two retransmissions at least", || {
        link.b.run(|| ns::nft_packets("dropped")) >= 4
    });
    link.b.run(ns::nft_clear);
    talk.client.recv_exact(1000);
    wait::until("all is acknowledged", || talk.server.unacked() == 0);
    let lines = trace.end();
    in_order(
        &lines,
        &[
            &[("cause", "data"), ("payload", "1000")],
            &[("event", "timer"), ("timer", "loss-probe")],
            &[
                ("cause", "loss-probe"),
                ("retransmission", "true"),
                ("payload", "1000"),
            ],
            &[("event", "timer"), ("timer", "retransmit")],
            &[("cause", "timeout-retransmit"), ("retransmission", "true")],
            &[("event", "congestion"), ("mode", "loss")],
        ],
    );
    let before = lines
        .iter()
        .position(|line| is(line, "timer", "retransmit"));
    let first = lines
        .iter()
        .position(|line| is(line, "cause", "timeout-retransmit"));
    assert!(before < first, "{}", lines.join("\n"));
}

/// Some of many segments are lost: acknowledgments tell.
fn loss__that_is_found(stack: Stack) {
    let link = Veth::make();
    let talk = talk(stack, &link);
    let trace = Trace::begin(&["--json", "sport = :8080"]);
    link.b.run(|| {
        ns::nft_input(&[
            "tcp sport 8080 meta length > 500 numgen inc mod 7 == 5 counter name dropped drop",
        ]);
    });
    let reader = std::thread::spawn({
        let client = talk.client.try_clone();
        move || client.recv_exact(2_000_000).len()
    });
    talk.server.send_all(&vec![3; 2_000_000]);
    assert_eq!(reader.join().expect("the reader"), 2_000_000);
    let lines = trace.end();
    in_order(
        &lines,
        &[
            &[("cause", "data")],
            &[("event", "congestion"), ("mode", "recovery")],
        ],
    );
    in_order(
        &lines,
        &[&[("cause", "fast-retransmit"), ("retransmission", "true")]],
    );
    // The window came down.
    assert!(lines.iter().any(|line| {
        is(line, "event", "congestion") && value(line, "ssthresh").is_some_and(|v| v != "null")
    }));
}

fn syn__without_room(stack: Stack) {
    let link = Veth::make();
    let (_listener, address) = listening_at(stack, &Veth::address_a(stack.ip, 8080), 1);
    let trace = Trace::begin(&["--json", "sport = :8080"]);
    let clients: Vec<Sock> = link.b.run(|| {
        let client = |_| {
            let client = Sock::open_nonblocking(Stack::builtin(stack.ip));
            let _ = client.connect(&address);
            client
        };
        (0..4).map(client).collect()
    });
    // A backlog of 1 lets 2 wait; the others' SYNs come again and again.
    let dropped = |text: &str| {
        let names: Vec<&str> = text
            .lines()
            .next()
            .unwrap_or("")
            .split_whitespace()
            .collect();
        let at = names.iter().position(|name| *name == "ListenOverflows");
        let values = text.lines().nth(1).unwrap_or("").split_whitespace();
        at.and_then(|at| values.clone().nth(at)?.parse::<u64>().ok())
    };
    wait::until("a SYN is dropped", || {
        let text = fs::read_to_string("/proc/net/oxtcp_stat").expect("oxtcp_stat");
        dropped(&text).is_some_and(|count| count > 0)
    });
    drop(clients);
    let lines = trace.end();
    in_order(
        &lines,
        &[
            &[("decision", "accepted"), ("waiting", "2")],
            &[
                ("decision", "dropped"),
                ("bound", "accept-queue"),
                ("waiting", "2"),
                ("backlog", "1"),
                ("backlog_asked", "1"),
            ],
            &[
                ("event", "drop"),
                ("reason", "TCP_LISTEN_OVERFLOW"),
                ("direction", "in"),
            ],
        ],
    );
    in_order(
        &lines,
        &[&[
            ("event", "overflow"),
            ("queue", "accept"),
            ("length", "2"),
            ("most", "2"),
            ("setting", "listen-backlog"),
            ("value", "1"),
            ("remedy", "drop"),
        ]],
    );
}

fn syn__with_a_cookie(stack: Stack) {
    let link = Veth::make();
    ns::set_sysctl("net/oxtcp/syncookies", "2");
    let trace = Trace::begin(&["sport = :8080"]);
    let talk = talk(stack, &link);
    drop(talk);
    let lines = trace.end().join("\n");
    for wanted in [
        "listener: answers with a cookie (syncookies is 2)",
        "  (cookie)",
        "listener: complete, by a good cookie (1 of 8 wait for accept)",
        "LISTEN -> SYN-RECV",
        "SYN-RECV -> ESTABLISHED",
    ] {
        assert!(lines.contains(wanted), "no {wanted} in\n{lines}");
    }
}

/// The kernel's own event has the reason too.
fn data__that_is_dropped(stack: Stack) {
    let link = Veth::make();
    let talk = talk(stack, &link);
    // Each segment comes twice: all of the second was received before.
    link.b
        .run(|| ns::sh_or_skip("tc qdisc add dev vb root netem duplicate 100%"));
    let trace = Trace::begin(&["--json", "sport = :8080"]);
    ns::sh(&format!(
        "echo 1 > {TRACING}/events/skb/kfree_skb/enable; echo > {TRACING}/trace"
    ));
    link.b.run(|| talk.client.send_all(&[1; 321]));
    assert_eq!(talk.server.recv_exact(321).len(), 321);
    let kernels = || fs::read_to_string(format!("{TRACING}/trace")).expect("the trace");
    wait::until("the kernel tells", || kernels().contains("TCP_OLD_DATA"));
    ns::sh(&format!(
        "echo 0 > {TRACING}/events/skb/kfree_skb/enable; echo > {TRACING}/trace"
    ));
    let lines = trace.end();
    in_order(
        &lines,
        &[
            &[
                ("direction", "in"),
                ("payload", "321"),
                ("cause", "received"),
            ],
            &[
                ("direction", "in"),
                ("payload", "321"),
                ("cause", "received"),
            ],
            &[
                ("event", "drop"),
                ("reason", "TCP_OLD_DATA"),
                ("payload", "321"),
            ],
        ],
    );
}

fn end__leaves_nothing() {
    ns::isolate();
    let enabled = || {
        fs::read_to_string(format!("{TRACING}/events/oxtcp/enable"))
            .expect("enable")
            .trim()
            .to_string()
    };
    let trace = Trace::begin(&[]);
    let folder = trace.instance();
    assert!(folder.exists());
    // It is its own: the system's events stay off.
    assert_eq!(enabled(), "0");
    trace.end();
    assert!(!folder.exists());
    // SIGTERM.
    let trace = Trace::begin(&[]);
    let folder = trace.instance();
    // SAFETY: as in `Trace::end`.
    unsafe { libc::kill(trace.0.id() as i32, libc::SIGTERM) };
    trace.ended();
    assert!(!folder.exists());
    // What SIGKILL leaves behind the next one takes away.
    let mut trace = Trace::begin(&[]);
    let folder = trace.instance();
    trace.0.kill().expect("kill");
    trace.0.wait().expect("wait");
    assert!(folder.exists());
    let next = Trace::begin(&[]);
    assert!(!folder.exists());
    next.end();
    assert_eq!(enabled(), "0");
}

fn filter__and_count() {
    ns::isolate();
    let stack = Stack::ours(Ip::V4);
    let meet = |port: u16| {
        let (listener, address) = listening_at(stack, &SocketAddr::from(([127, 0, 0, 1], port)), 1);
        let client = Sock::open(stack);
        client.connect(&address).expect("connect");
        (listener.accept().expect("accept").0, client, listener)
    };
    let trace = Trace::begin(&["--json", "sport = :7001 and src 127.0.0.0/8"]);
    let first = meet(7000);
    let second = meet(7001);
    let lines = trace.end();
    assert!(lines.len() > 5);
    for line in &lines {
        assert!(is(line, "local", "127.0.0.1:7001"), "{line}");
    }
    drop((first, second));
    let trace = Trace::begin(&["-c", "4", "sport = :7002 or dport = :7002"]);
    let third = meet(7002);
    assert_eq!(trace.ended().len(), 4);
    drop(third);
    // Of a connection in this state alone.
    let trace = Trace::begin(&["--json", "state syn-sent"]);
    let fourth = meet(7003);
    let lines = trace.end();
    in_order(
        &lines,
        &[
            &[("to", "syn-sent")],
            &[("cause", "syn")],
            &[("to", "established")],
        ],
    );
    assert!(!lines.iter().any(|line| is(line, "local", "127.0.0.1:7003")));
    // Nor does any event tell the state of one that was there before.
    for (filter, wanted) in [("state established", true), ("state close-wait", false)] {
        let trace = Trace::begin(&["--json", filter]);
        fourth.1.send(b"hello", 0).expect("send");
        let lines = trace.end();
        let sent = |line: &String| is(line, "cause", "data") && is(line, "payload", "5");
        assert_eq!(lines.iter().any(sent), wanted, "{filter}: {lines:?}");
    }
    drop(fourth);
    // Nothing comes, and the time is over.
    let none = command(&["--duration", "0.2", "sport = :9"])
        .output()
        .expect("oxtcp");
    assert!(none.status.success() && none.stdout.is_empty());
}

fn namespaces() {
    let other = Namespace::enter_new();
    let here = Namespace::enter_new();
    let meet = || {
        let stack = Stack::ours(Ip::V4);
        let (listener, address) = listening_at(stack, &SocketAddr::from(([127, 0, 0, 1], 0)), 1);
        let client = Sock::open(stack);
        client.connect(&address).expect("connect");
        drop(listener.accept().expect("accept"));
    };
    let number = |namespace: &Namespace| {
        use std::os::unix::fs::MetadataExt;
        fs::metadata(namespace.path())
            .expect("a namespace")
            .ino()
            .to_string()
    };
    let (theirs, ours) = (number(&other), number(&here));
    let both = || {
        meet();
        other.run(meet);
    };
    let of = |lines: &[String], number: &str| {
        lines
            .iter()
            .filter(|line| is(line, "netns", number))
            .count()
    };
    let trace = Trace::begin(&["--json"]);
    both();
    let lines = trace.end();
    assert!(of(&lines, &ours) > 5 && of(&lines, &theirs) == 0);
    let trace = Trace::begin(&["--json", "--netns", &other.path()]);
    both();
    let lines = trace.end();
    assert!(of(&lines, &theirs) > 5 && of(&lines, &ours) == 0);
    let trace = Trace::begin(&["--json", "--all-netns"]);
    both();
    let lines = trace.end();
    assert!(of(&lines, &theirs) > 5 && of(&lines, &ours) > 5);
}

fn program__is_traced() {
    ns::isolate();
    ns::need("python3");
    let client = "import socket; l = socket.create_server(('127.0.0.1', 7010)); \
                  c = socket.create_connection(('127.0.0.1', 7010)); s = l.accept()[0]; \
                  c.sendall(b'hello'); assert s.recv(9) == b'hello'; raise SystemExit(7)";
    let said = command(&["--color", "never", "--", "python3", "-c", client])
        .output()
        .expect("oxtcp");
    let out = String::from_utf8(said.stdout).expect("text");
    let err = String::from_utf8_lossy(&said.stderr).into_owned();
    assert_eq!(said.status.code(), Some(7), "{out}{err}");
    for wanted in [
        "CLOSED -> SYN-SENT",
        "SYN-SENT -> ESTABLISHED",
        "(5 bytes)",
        "SYN seq 0,",
    ] {
        assert!(out.contains(wanted), "no {wanted} in\n{out}{err}");
    }
    // What `oxtcp run` refuses.
    let said = command(&["--", "/nonexistent/program"])
        .output()
        .expect("oxtcp");
    assert_eq!(said.status.code(), Some(127));
    let said = command(&["--", "sh", "-c", "kill -9 $$"])
        .output()
        .expect("oxtcp");
    assert_eq!(said.status.code(), Some(137));
}

fn wrong__is_refused() {
    ns::isolate();
    let refused = |arguments: &[&str], code: i32, part: &str| {
        let said = command(arguments).output().expect("oxtcp");
        let err = String::from_utf8_lossy(&said.stderr);
        assert_eq!(said.status.code(), Some(code), "{arguments:?}\n{err}");
        assert!(err.contains(part), "{arguments:?}\n{err}");
    };
    refused(&["pid = 3"], 2, "are not told by events");
    refused(
        &["sport = :80 or process nginx"],
        2,
        "are not told by events",
    );
    refused(&["sport ="], 2, "cannot read the filter");
    refused(&["--duration", "0"], 2, "--duration");
    refused(&["-c", "0"], 2, "--count");
    refused(&["--buffer", "1"], 2, "--buffer");
    refused(&["--netns", "no-such"], 2, "no network namespace");
    refused(&["--netns", "x", "--all-netns"], 2, "--all-netns");
    let said = command(&[]).uid(65534).gid(65534).output().expect("oxtcp");
    let err = String::from_utf8_lossy(&said.stderr);
    assert_eq!(said.status.code(), Some(4), "{err}");
    assert!(err.contains("as root"), "{err}");
    // None of them has left anything behind.
    let left = fs::read_dir(format!("{TRACING}/instances")).expect("instances");
    let names = left.map(|entry| entry.expect("an entry").file_name());
    let ours: Vec<_> = names
        .filter(|name| name.to_string_lossy().starts_with("oxtcp-trace-"))
        .collect();
    assert!(ours.is_empty(), "{ours:?}");
}
