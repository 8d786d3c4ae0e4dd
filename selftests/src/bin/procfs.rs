// SPDX-License-Identifier: GPL-2.0
//! /proc/net/oxtcp in the layout of /proc/net/tcp, and /proc/sys/net/oxtcp under the names of net/ipv4.

use std::collections::HashSet;
use std::fs;
use std::io::Read;
use std::os::fd::AsRawFd;
use std::process::ExitCode;

use oxtcp_selftests::connection::connected_with;
use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::procnet::{self, Entry, State};
use oxtcp_selftests::{
    cases, connected, errno, ktap, listening, stack, thread, wait, Ip, Pair, Sock, Stack, Suite,
};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("procfs");
    cases!(suite.stacks:
        proc__heading, proc__columns, proc__listener, proc__bound_is_not_listed, proc__syn_sent,
        proc__uid_of_owner, proc__many_sockets, proc__small_reads, proc__reads_from_the_middle,
        proc__read_under_change, proc__read_while_the_table_grows,
        proc__slots_count_up, proc__retransmission_is_seen,
    );
    cases!(suite.pairs:
        proc__established, proc__queues, proc__states_of_a_close, proc__mapped_addresses,
    );
    suite.once("stat__layout_is_netstats", stat__layout_is_netstats);
    suite.once("stat__of_the_namespace", stat__of_the_namespace);
    suite.once("sysctl__names_are_linuxs", sysctl__names_are_linuxs);
    suite.once("sysctl__defaults_are_linuxs", sysctl__defaults_are_linuxs);
    suite.once("sysctl__refuses_nonsense", sysctl__refuses_nonsense);
    suite.once("sysctl__needs_root", sysctl__needs_root);
    suite.run()
}

/// The one entry with this local address and state.
#[track_caller]
fn entry(stack: Stack, local: std::net::SocketAddr, state: State) -> Entry {
    let mut found: Vec<Entry> = procnet::entries(stack)
        .into_iter()
        .filter(|e| e.local == local && e.state == state)
        .collect();
    assert_eq!(
        found.len(),
        1,
        "{local} {state:?} in:\n{}",
        procnet::text(stack)
    );
    found.remove(0)
}

fn inode(sock: &Sock) -> u64 {
    use std::os::unix::fs::MetadataExt;
    fs::metadata(format!("/proc/self/fd/{}", sock.as_raw_fd()))
        .expect("the descriptor")
        .ino()
}

/// The IPv4 table's lines are padded to one length; IPv6's heading has other spaces.
fn proc__heading(stack: Stack) {
    assert_eq!(
        procnet::heading(stack).trim_end(),
        procnet::heading(Stack::builtin(stack.ip)).trim_end()
    );
}

/// The columns begin where those of the built-in TCP's table begin, and lines are as long.
fn proc__columns(stack: Stack) {
    ns::isolate();
    let builtin = Stack::builtin(stack.ip);
    let _ours = listening(stack, 1);
    let _theirs = listening(builtin, 1);
    let _connection = connected(Pair {
        client: stack,
        server: stack,
    });
    let line_of = |stack: Stack| {
        procnet::text(stack)
            .lines()
            .skip(1)
            .find(|line| line.contains(" 0A "))
            .expect("a listener")
            .to_string()
    };
    let columns = |line: &str| -> Vec<usize> {
        let bytes = line.as_bytes();
        (1..bytes.len())
            .filter(|n| bytes[n - 1] == b' ' && bytes[*n] != b' ')
            .take(9)
            .collect()
    };
    let (ours, theirs) = (line_of(stack), line_of(builtin));
    assert_eq!(columns(&ours), columns(&theirs), "\n{ours}\n{theirs}");
    let words = |line: &str| line.split_whitespace().count();
    assert_eq!(words(&ours), words(&theirs), "\n{ours}\n{theirs}");
    if stack.ip == Ip::V4 {
        let lengths: HashSet<usize> = procnet::text(stack).lines().map(str::len).collect();
        assert_eq!(lengths, HashSet::from([149]), "the lengths of lines");
    }
}

fn proc__listener(stack: Stack) {
    let (listener, address) = listening(stack, 9);
    let entry = entry(stack, address, State::Listen);
    assert_eq!(entry.remote, stack.any(0));
    assert_eq!((entry.tx_queue, entry.rx_queue), (0, 0));
    assert_eq!(entry.inode, inode(&listener));
    assert_eq!((entry.timer, entry.retransmits), (0, 0));
    assert_eq!(
        entry.rest.len(),
        5,
        "what follows the address of the socket"
    );
    drop(listener);
    assert!(procnet::entries(stack).iter().all(|e| e.local != address));
}

/// A bound socket that neither listens nor is connected has no line, in /proc/net/tcp neither.
fn proc__bound_is_not_listed(stack: Stack) {
    let sock = Sock::open(stack);
    sock.bind(&stack.local(0)).expect("bind");
    let address = sock.local().expect("name");
    assert!(procnet::entries(stack).iter().all(|e| e.local != address));
}

fn proc__established(pair: Pair) {
    let ends = connected(pair);
    for (stack, sock) in [(pair.client, &ends.client), (pair.server, &ends.server)] {
        let entry = entry(stack, sock.local().expect("name"), State::Established);
        assert_eq!(entry.remote, sock.peer().expect("name"));
        assert_eq!(entry.inode, inode(sock));
        assert_eq!(entry.uid, 0);
        assert!(entry.refs >= 1);
        assert_eq!(
            entry.rest.len(),
            5,
            "what follows the address of the socket"
        );
        let cwnd: u64 = entry.rest[3].parse().expect("the congestion window");
        assert!(
            (1..10_000).contains(&cwnd),
            "the congestion window is {cwnd}"
        );
    }
}

fn proc__syn_sent(stack: Stack) {
    let _link = Veth::make();
    let sock = Sock::open_nonblocking(stack);
    let address = Veth::address_of_nobody(stack.ip, 80);
    assert!(sock.connect(&address).is_err());
    let entry = entry(stack, sock.local().expect("name"), State::SynSent);
    assert_eq!(entry.remote, address);
    assert_eq!(entry.timer, 1, "the retransmission timer");
    assert!(entry.timer_ticks > 0);
    assert_eq!(entry.inode, inode(&sock));
}

/// Retransmissions and the timer of the next one.
fn proc__retransmission_is_seen(stack: Stack) {
    let _link = Veth::make();
    let sock = Sock::open_nonblocking(stack);
    assert!(sock
        .connect(&Veth::address_of_nobody(stack.ip, 80))
        .is_err());
    let local = sock.local().expect("name");
    wait::until("a retransmission", || {
        entry(stack, local, State::SynSent).retransmits >= 1
    });
    assert_eq!(entry(stack, local, State::SynSent).timer, 1);
}

fn proc__queues(pair: Pair) {
    let ends = connected_with(pair, |listener, client| {
        listener
            .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 8192)
            .expect("SO_RCVBUF");
        client
            .set(libc::SOL_SOCKET, libc::SO_SNDBUF, 50_000)
            .expect("SO_SNDBUF");
    });
    let (client, server) = (
        ends.client.local().expect("name"),
        ends.server.local().expect("name"),
    );
    ends.client.send_all(&[1; 100]);
    wait::until("100 bytes in the receive queue", || {
        entry(pair.server, server, State::Established).rx_queue == 100
    });
    wait::until("all acknowledged", || {
        entry(pair.client, client, State::Established).tx_queue == 0
    });
    let more = ends
        .client
        .send(&[1; 40_000], libc::MSG_DONTWAIT)
        .expect("send") as u64;
    wait::until("the window is full, and the probe's timer runs", || {
        let sender = entry(pair.client, client, State::Established);
        let receiver = entry(pair.server, server, State::Established);
        sender.tx_queue > 0
            && sender.tx_queue + receiver.rx_queue == more + 100
            && sender.timer != 0
    });
}

fn proc__states_of_a_close(pair: Pair) {
    ns::isolate();
    let ends = connected(pair);
    let (client, server) = (
        ends.client.local().expect("name"),
        ends.server.local().expect("name"),
    );
    let state = |stack, local, remote| procnet::state_of(stack, local, remote);
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    wait::until("FIN-WAIT-2", || {
        state(pair.client, client, server) == Some(State::FinWait2)
    });
    wait::until("CLOSE-WAIT", || {
        state(pair.server, server, client) == Some(State::CloseWait)
    });
    ends.server.shutdown(libc::SHUT_WR).expect("shutdown");
    wait::until("TIME-WAIT", || {
        state(pair.client, client, server) == Some(State::TimeWait)
    });
    wait::until("gone", || state(pair.server, server, client).is_none());
}

/// A dual-stack socket's IPv4 connection stands in the IPv6 table, mapped.
fn proc__mapped_addresses(pair: Pair) {
    if pair.ip() == Ip::V4 {
        ktap::skip("IPv6's tables only");
    }
    let (listener, address) =
        oxtcp_selftests::connection::listening_at(pair.server, &pair.server.any(0), 1);
    let v4 = pair.client.with_ip(Ip::V4);
    let client = Sock::open(v4);
    client.connect(&v4.local(address.port())).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    let name = server.local().expect("name");
    assert_eq!(name.ip().to_string(), "::ffff:127.0.0.1");
    assert_eq!(
        entry(pair.server, name, State::Established).remote,
        server.peer().expect("name")
    );
}

fn proc__uid_of_owner(stack: Stack) {
    // SAFETY: plain numbers; this test's process only.
    if unsafe { libc::setresuid(12345, 12345, 12345) } != 0 {
        ktap::skip("needs to start as root");
    }
    let (_listener, address) = listening(stack, 1);
    assert_eq!(entry(stack, address, State::Listen).uid, 12345);
}

fn proc__many_sockets(stack: Stack) {
    const COUNT: usize = 300;
    ns::isolate();
    let listeners: Vec<_> = (0..COUNT).map(|_| listening(stack, 1)).collect();
    let listed: HashSet<_> = procnet::entries(stack).iter().map(|e| e.local).collect();
    assert_eq!(procnet::entries(stack).len(), COUNT);
    assert!(listeners
        .iter()
        .all(|(_, address)| listed.contains(address)));
}

fn proc__slots_count_up(stack: Stack) {
    ns::isolate();
    let _listeners: Vec<_> = (0..20).map(|_| listening(stack, 1)).collect();
    let slots: Vec<u32> = procnet::entries(stack).iter().map(|e| e.slot).collect();
    assert_eq!(slots, (0..20).collect::<Vec<u32>>());
}

/// Reads of few bytes find the same lines as one large read.
fn proc__small_reads(stack: Stack) {
    ns::isolate();
    let _listeners: Vec<_> = (0..40).map(|_| listening(stack, 1)).collect();
    let whole = procnet::text(stack);
    let mut file =
        fs::File::open(format!("/proc/thread-self/net/{}", stack.proc_name())).expect("the table");
    let mut pieces = Vec::new();
    let mut part = [0; 61];
    while let Ok(count @ 1..) = file.read(&mut part) {
        pieces.extend_from_slice(&part[..count]);
    }
    assert_eq!(String::from_utf8(pieces).expect("text"), whole);
}

/// Reads that begin anywhere find what a read from the beginning finds there.
fn proc__reads_from_the_middle(stack: Stack) {
    use std::os::unix::fs::FileExt;
    ns::isolate();
    let _listeners: Vec<_> = (0..40).map(|_| listening(stack, 1)).collect();
    let whole = procnet::text(stack).into_bytes();
    let file =
        fs::File::open(format!("/proc/thread-self/net/{}", stack.proc_name())).expect("the table");
    for start in [0, 1, 149, 150, 151, 1000, 4096, 5999, 301, 0, whole.len()] {
        let mut part = [0; 500];
        let count = file.read_at(&mut part, start as u64).expect("read");
        let wanted = &whole[start..];
        assert_eq!(&part[..count], &wanted[..count], "at {start}");
        assert!(count > 0 || wanted.is_empty(), "at {start}");
    }
}

/// How often each of `addresses` is listed as a listener by a reader with a buffer of `size` bytes.
fn listed(stack: Stack, addresses: &[std::net::SocketAddr], size: usize) -> Vec<usize> {
    let path = format!("/proc/thread-self/net/{}", stack.proc_name());
    let mut file = fs::File::open(path).expect("the table");
    let (mut text, mut part) = (Vec::new(), vec![0; size]);
    while let Ok(count @ 1..) = file.read(&mut part) {
        text.extend_from_slice(&part[..count]);
    }
    let entries = procnet::parse_table(&String::from_utf8(text).expect("text"));
    addresses
        .iter()
        .map(|address| {
            let of = |e: &&Entry| e.local == *address && e.state == State::Listen;
            entries.iter().filter(of).count()
        })
        .collect()
}

/// The table can be read, in pieces, while sockets come and go: every line is whole, and a socket that stays is there
/// once. (The built-in TCP counts lines from one piece to the next, and may miss some.)
fn proc__read_under_change(stack: Stack) {
    if stack::builtin_only() {
        ktap::skip("a promise of ours");
    }
    ns::isolate();
    let (_stay, addresses): (Vec<_>, Vec<_>) = (0..60).map(|_| listening(stack, 1)).unzip();
    // They come and go by a reset: with TIME-WAITs the table would grow.
    let workers: Vec<_> = (0..2)
        .map(|_| {
            thread::spawn(move || {
                for _ in 0..300 {
                    let ends = connected(Pair {
                        client: stack,
                        server: stack,
                    });
                    ends.client.set_linger(true, 0).expect("SO_LINGER");
                    drop(ends.client);
                    ends.server.poll_until_all(libc::POLLERR | libc::POLLHUP);
                }
            })
        })
        .collect();
    let mut reads = 0;
    while !workers.iter().all(thread::Worker::is_finished) {
        for size in [200, 1000, 65_536] {
            let counts = listed(stack, &addresses, size);
            assert!(counts.iter().all(|count| *count == 1), "{counts:?}");
            reads += 1;
        }
    }
    workers.into_iter().for_each(thread::Worker::join);
    ktap::note(&format!("{reads} reads"));
}

/// While the table grows under the reader a socket that stays may be there twice, never not at all.
fn proc__read_while_the_table_grows(stack: Stack) {
    if stack::builtin_only() {
        ktap::skip("a promise of ours");
    }
    ns::isolate();
    let (_stay, addresses): (Vec<_>, Vec<_>) = (0..60).map(|_| listening(stack, 1)).unzip();
    let worker = thread::spawn(move || {
        for _ in 0..600 {
            connected(Pair {
                client: stack,
                server: stack,
            });
        }
    });
    let (mut reads, mut twice) = (0, 0);
    while !worker.is_finished() {
        for size in [200, 1000, 65_536] {
            let counts = listed(stack, &addresses, size);
            assert!(counts.iter().all(|count| *count >= 1), "{counts:?}");
            reads += 1;
            twice += usize::from(counts.iter().any(|count| *count > 1));
        }
    }
    worker.join();
    ktap::note(&format!("{twice} of {reads} reads saw a socket again"));
}

/// Our settings' names and values, of a fresh namespace.
fn settings() -> Vec<(String, String)> {
    if stack::builtin_only() {
        ktap::skip("about our settings");
    }
    ns::isolate();
    let mut settings: Vec<(String, String)> = fs::read_dir("/proc/sys/net/oxtcp")
        .unwrap_or_else(|error| panic!("/proc/sys/net/oxtcp: {error}"))
        .flatten()
        .map(|file| {
            let name = file.file_name().to_string_lossy().into_owned();
            let value = ns::sysctl(&format!("net/oxtcp/{name}")).expect("the setting");
            (name, value)
        })
        .collect();
    settings.sort();
    assert!(!settings.is_empty(), "no settings");
    settings
}

/// Linux's setting of this name.
fn linux_setting(name: &str) -> Option<String> {
    [
        format!("net/ipv4/{name}"),
        format!("net/ipv4/tcp_{name}"),
        format!("net/core/{name}"),
    ]
    .iter()
    .find_map(|path| ns::sysctl(path).ok())
}

fn sysctl__names_are_linuxs() {
    let strange: Vec<String> = settings()
        .into_iter()
        .map(|(name, _)| name)
        .filter(|name| linux_setting(name).is_none())
        .collect();
    if !strange.is_empty() {
        ktap::note(&format!(
            "without a namesake in net/ipv4: {}",
            strange.join(", ")
        ));
    }
    assert!(strange.len() < settings().len(), "no name is Linux's");
}

fn sysctl__defaults_are_linuxs() {
    for (name, value) in settings() {
        // Sized by the machine's memory in Linux.
        if name.ends_with("mem") || name.contains("max_") {
            continue;
        }
        if let Some(wanted) = linux_setting(&name) {
            let words = |text: &str| {
                text.split_whitespace()
                    .map(str::to_string)
                    .collect::<Vec<_>>()
            };
            assert_eq!(words(&value), words(&wanted), "net.oxtcp.{name}");
        }
    }
}

fn sysctl__refuses_nonsense() {
    for (name, value) in settings() {
        let path = format!("/proc/sys/net/oxtcp/{name}");
        let result = fs::write(&path, "nonsense\n");
        let error = result
            .err()
            .unwrap_or_else(|| panic!("{name} took nonsense"));
        assert!(
            [libc::EINVAL, libc::EACCES, libc::EPERM, libc::ENOENT].contains(&errno::of(&error)),
            "{name}: {error}"
        );
        assert_eq!(
            ns::sysctl(&format!("net/oxtcp/{name}")).expect("the setting"),
            value
        );
    }
}

fn sysctl__needs_root() {
    let settings = settings();
    // SAFETY: plain numbers; this test's process only.
    if unsafe { libc::setresuid(12345, 12345, 12345) } != 0 {
        ktap::skip("needs to start as root");
    }
    for (name, value) in settings {
        let error = fs::write(format!("/proc/sys/net/oxtcp/{name}"), &value).expect_err(&name);
        assert!(
            [libc::EACCES, libc::EPERM].contains(&errno::of(&error)),
            "{name}: {error}"
        );
    }
}

/// What `/proc/net/NAME` tells of the group TcpExt: names and values.
fn stat(name: &str) -> Vec<(String, u64)> {
    let text = fs::read_to_string(format!("/proc/thread-self/net/{name}")).expect("the counters");
    let lines: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix("TcpExt: "))
        .collect();
    let [names, values] = lines[..] else {
        panic!("no pair of lines: {text}");
    };
    let values = values.split(' ').map(|value| value.parse().expect(value));
    names.split(' ').map(String::from).zip(values).collect()
}

/// Names that the built-in TCP counts under, each with a value of its own.
fn stat__layout_is_netstats() {
    let theirs: HashSet<String> = stat("netstat").into_iter().map(|(name, _)| name).collect();
    let ours = stat("oxtcp_stat");
    for name in ["BeyondWindow", "TCPZeroWindowDrop", "TCPRcvQDrop"] {
        assert_eq!(
            ours.iter().filter(|(ours, _)| ours == name).count(),
            1,
            "{name} in {ours:?}"
        );
    }
    // What Linux does not do it does not count.
    const OURS: [&str; 8] = [
        "EarlyDemux",
        "SyncookiesFast",
        "SyncookiesFellBack",
        "StraysFast",
        "SynShareExceeded",
        "SynCacheEvicted",
        "SynRateExceeded",
        "AnswerRateExceeded",
    ];
    for (name, _) in &ours {
        let known = theirs.contains(name) || OURS.contains(&name.as_str());
        assert!(known, "{name} is not Linux's");
    }
    fs::write("/proc/thread-self/net/oxtcp_stat", "0").expect_err("a write");
}

/// A new namespace has counted nothing.
fn stat__of_the_namespace() {
    ns::isolate();
    assert!(stat("oxtcp_stat").iter().all(|(_, value)| *value == 0));
    let mut file = fs::File::open("/proc/thread-self/net/oxtcp_stat").expect("open");
    let mut text = String::new();
    file.read_to_string(&mut text).expect("read");
    assert!(text.starts_with("TcpExt: "), "{text}");
}
