// SPDX-License-Identifier: GPL-2.0
//! Listeners: the accept queue, its bound, and handshakes that lose segments.

use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::path::Path;
use std::process::ExitCode;

use oxtcp_selftests::capture::SYN;
use oxtcp_selftests::connection::Connected;
use oxtcp_selftests::kernel::Log;
use oxtcp_selftests::ns::{self, Namespace, Veth};
use oxtcp_selftests::payload::Stream;
use oxtcp_selftests::procnet::{self, State};
use oxtcp_selftests::stranger::{count, Stranger, PORT};
use oxtcp_selftests::{
    cases, expect_errno, ktap, listening, thread, wait, Ip, Pair, Sock, Stack, Suite,
};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("listen");
    cases!(suite.pairs:
        accept__in_order, accept__data_before_it, accept__reset_before_it, accept__end_before_it,
        accept__many_in_turn, accept__many_at_once, accept__two_acceptors, accept__cookie_is_its_own,
        backlog__bounds_the_queue, backlog__zero_is_one, backlog__queue_is_listed,
        syn__lost_is_sent_again, synack__lost_is_sent_again, ack__lost_is_made_good,
        half_open__next_listener_takes_it, half_open__same_socket_listens_again,
        half_open__of_a_closed_listener_is_refused, half_open__late_ack_is_reset,
    );
    cases!(suite.stacks:
        backlog__somaxconn_bounds_it, overflow__line_says_what_bounds_it, overflow__line_that_was_refused_comes_later,
        half_open__cache_follows_listen, half_open__who_has_most_is_not_given_way_to, flows__of_many_networks_are_told_apart,
        syn__retries_end_in_timeout, syn__reset_by_firewall_is_refused,
    );
    suite.run()
}

/// How often another hash table of the kernel was asked for while `work` ran: because one was full, or because a bucket of it had too
/// many, and another hash is to part them.
fn rehashes(work: impl FnOnce()) -> usize {
    const TRACING: &str = "/sys/kernel/tracing";
    if !Path::new(TRACING).join("instances").exists() {
        ns::sh(&format!("mount -t tracefs tracefs {TRACING}"));
    }
    let instance = format!("{TRACING}/instances/oxtcp-test-{}", std::process::id());
    ns::sh(&format!(
        "mkdir {instance}; echo 1 > {instance}/events/workqueue/workqueue_queue_work/enable"
    ));
    work();
    let trace = ns::sh(&format!("cat {instance}/trace; rmdir {instance}"));
    trace.matches("function=rht_deferred_worker").count()
}

/// Addresses that differ at the front alone: each of another network, and the same host there.
fn flows__of_many_networks_are_told_apart(stack: Stack) {
    let _namespace = ns::isolate();
    let at = |network: u16, port| match stack.ip {
        Ip::V4 => SocketAddr::from(([127, (network >> 8) as u8, network as u8, 1], port)),
        Ip::V6 => SocketAddr::from(([0x2001, 0xdb8, 0, network, 0, 0, 0, 1], port)),
    };
    // The table begins with 4096 places, and grows when three quarters of them are full: with a connection's three flows for each network the
    // first are far from that, and the others beyond it.
    let (few, more) = (1..=260, 261..=1100);
    if stack.ip == Ip::V6 {
        let line = |network| format!("addr add {}/128 dev lo nodad", at(network, 0).ip());
        let lines: Vec<String> = few.clone().chain(more.clone()).map(line).collect();
        ns::ip_batch(&lines).expect("ip");
    }
    let mut socks = Vec::new();
    let mut rehashes_of = |networks: RangeInclusive<u16>| {
        rehashes(|| {
            for network in networks {
                let listener = Sock::open(stack);
                listener.bind(&at(network, 8000)).expect("bind");
                listener.listen(2000).expect("listen");
                let client = Sock::open(stack);
                client.bind(&at(network, 9000)).expect("bind");
                client.connect(&at(1, 8000)).expect("connect");
                socks.extend([listener, client]);
            }
        })
    };
    let (early, late) = (rehashes_of(few), rehashes_of(more));
    ktap::note(&format!("{early} and {late} rehashes"));
    assert!(early < 5, "{early} for 780 flows");
    assert!(late > 0 || !stack.ours, "its growth is not seen");
}

#[track_caller]
fn connect(stack: Stack, address: &SocketAddr) -> Sock {
    let sock = Sock::open(stack);
    sock.connect(address).expect("connect");
    sock
}

/// Connections of a listener that wait to be accepted (/proc/net/tcp's rx_queue of a listener).
fn queued(stack: Stack, address: SocketAddr) -> u64 {
    procnet::entries(stack)
        .iter()
        .find(|e| e.local == address && e.state == State::Listen)
        .expect("the listener's entry")
        .rx_queue
}

fn accept__in_order(pair: Pair) {
    let (listener, address) = listening(pair.server, 16);
    let clients: Vec<Sock> = (0..10).map(|_| connect(pair.client, &address)).collect();
    wait::until("all are queued", || queued(pair.server, address) == 10);
    for client in &clients {
        assert_eq!(
            listener.accept().expect("accept").1,
            client.local().expect("name")
        );
    }
}

fn accept__data_before_it(pair: Pair) {
    let (listener, address) = listening(pair.server, 16);
    let client = connect(pair.client, &address);
    client.send_all(&Stream::new(1).take(20_000));
    client.shutdown(libc::SHUT_WR).expect("shutdown");
    wait::until("all is acknowledged", || client.unacked() == 0);
    let (server, _) = listener.accept().expect("accept");
    let got = server.recv_to_end();
    assert_eq!(got.len(), 20_000);
    Stream::new(1).check(&got);
}

/// A connection reset in the queue is still accepted; its first call tells (unlike BSD's ECONNABORTED).
fn accept__reset_before_it(pair: Pair) {
    let (listener, address) = listening(pair.server, 16);
    let client = connect(pair.client, &address);
    let from = client.local().expect("name");
    wait::until("it is queued", || queued(pair.server, address) == 1);
    client.set_linger(true, 0).expect("SO_LINGER");
    drop(client);
    wait::until("the reset has come", || {
        procnet::state_of(pair.server, address, from).is_none()
    });
    let (server, _) = listener.accept().expect("accept");
    expect_errno(server.recv(&mut [0; 4], 0), libc::ECONNRESET);
}

fn accept__end_before_it(pair: Pair) {
    let (listener, address) = listening(pair.server, 16);
    drop(connect(pair.client, &address));
    let (server, _) = listener.accept().expect("accept");
    assert_eq!(server.recv(&mut [0; 4], 0).expect("the end"), 0);
}

fn accept__many_in_turn(pair: Pair) {
    let (listener, address) = listening(pair.server, 16);
    for n in 0..200_u32 {
        let client = connect(pair.client, &address);
        let (server, _) = listener.accept().expect("accept");
        client.send_all(&n.to_le_bytes());
        assert_eq!(server.recv_exact(4), n.to_le_bytes());
        server.send_all(&n.to_be_bytes());
        assert_eq!(client.recv_exact(4), n.to_be_bytes());
    }
}

/// BPF programs and `ss` tell sockets apart by it. It is made when it is first asked for.
fn accept__cookie_is_its_own(pair: Pair) {
    let cookie = |sock: &Sock| {
        let mut bytes = [0; 8];
        let len = sock.get_bytes(libc::SOL_SOCKET, libc::SO_COOKIE, &mut bytes);
        assert_eq!(len.expect("SO_COOKIE"), 8);
        u64::from_ne_bytes(bytes)
    };
    let (listener, address) = listening(pair.server, 16);
    let mut cookies = vec![cookie(&listener)];
    for _ in 0..2 {
        let client = connect(pair.client, &address);
        let (server, _) = listener.accept().expect("accept");
        cookies.extend([cookie(&client), cookie(&server)]);
    }
    let count = cookies.len();
    cookies.sort_unstable();
    cookies.dedup();
    assert_eq!(cookies.len(), count, "{cookies:?}");
}

/// Threads connect all at once; each gets its own answer.
fn accept__many_at_once(pair: Pair) {
    const THREADS: u32 = 40;
    const EACH: u32 = 5;
    let (listener, address) = listening(pair.server, 512);
    let clients: Vec<_> = (0..THREADS)
        .map(|n| {
            thread::spawn(move || {
                for round in 0..EACH {
                    let client = connect(pair.client, &address);
                    let number = n * EACH + round;
                    client.send_all(&number.to_le_bytes());
                    assert_eq!(client.recv_exact(4), (!number).to_le_bytes());
                }
            })
        })
        .collect();
    for _ in 0..THREADS * EACH {
        let (server, _) = listener.accept().expect("accept");
        let number = u32::from_le_bytes(server.recv_exact(4).try_into().expect("four bytes"));
        server.send_all(&(!number).to_le_bytes());
    }
    clients.into_iter().for_each(thread::Worker::join);
}

/// Two threads in accept on one listener share the connections.
fn accept__two_acceptors(pair: Pair) {
    const EACH: usize = 25;
    let (listener, address) = listening(pair.server, 128);
    let acceptors: Vec<_> = (0..2)
        .map(|_| {
            let listener = listener.try_clone();
            thread::spawn(move || {
                (0..EACH)
                    .map(|_| listener.accept().expect("accept").1)
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    let clients: Vec<Sock> = (0..2 * EACH)
        .map(|_| connect(pair.client, &address))
        .collect();
    let mut accepted: Vec<SocketAddr> = acceptors
        .into_iter()
        .flat_map(thread::Worker::join)
        .collect();
    let mut wanted: Vec<SocketAddr> = clients
        .iter()
        .map(|client| client.local().expect("name"))
        .collect();
    accepted.sort_unstable();
    wanted.sort_unstable();
    assert_eq!(accepted, wanted);
}

/// Starts connections to a listener that accepts none. Returns those that have connected once its queue is
/// full, and those that have not.
fn overflow(pair: Pair, address: SocketAddr, count: usize, bound: u64) -> (Vec<Sock>, Vec<Sock>) {
    let clients: Vec<Sock> = (0..count)
        .map(|_| {
            let client = Sock::open_nonblocking(pair.client);
            match client.connect(&address) {
                Ok(()) => {}
                result => expect_errno(result, libc::EINPROGRESS),
            }
            client
        })
        .collect();
    wait::until("the queue is full", || {
        queued(pair.server, address) == bound
    });
    clients
        .into_iter()
        .partition(|client| client.poll_now(libc::POLLOUT) == libc::POLLOUT)
}

/// A backlog of n holds n + 1 connections, as in Linux. Those beyond wait in SYN-SENT, and come in when there
/// is room again.
fn backlog__bounds_the_queue(pair: Pair) {
    let (listener, address) = listening(pair.server, 3);
    let (connected, waiting) = overflow(pair, address, 8, 4);
    assert_eq!(queued(pair.server, address), 4);
    assert_eq!((connected.len(), waiting.len()), (4, 4));
    for _ in 0..8 {
        let (server, _) = listener.accept().expect("accept");
        server.send_all(b"in");
    }
    for client in connected.iter().chain(&waiting) {
        client.poll_wait(libc::POLLIN);
        client.set_nonblocking(false);
        assert_eq!(client.recv_exact(2), b"in");
    }
}

fn backlog__zero_is_one(pair: Pair) {
    let (listener, address) = listening(pair.server, 0);
    // Two clients only: this listener answers with cookies, and a third client's ACK that meets a full
    // queue would leave it connected to nobody (in Linux).
    let (connected, waiting) = overflow(pair, address, 2, 1);
    assert_eq!((connected.len(), waiting.len()), (1, 1));
    for _ in 0..2 {
        listener.accept().expect("accept");
    }
}

fn backlog__queue_is_listed(pair: Pair) {
    let (listener, address) = listening(pair.server, 7);
    let entry = || {
        let entries = procnet::entries(pair.server);
        entries
            .into_iter()
            .find(|e| e.local == address && e.state == State::Listen)
            .expect("an entry")
    };
    assert_eq!(entry().rx_queue, 0);
    let _clients: Vec<Sock> = (0..3).map(|_| connect(pair.client, &address)).collect();
    wait::until("three are queued", || entry().rx_queue == 3);
    listener.accept().expect("accept");
    assert_eq!(entry().rx_queue, 2);
}

fn backlog__somaxconn_bounds_it(stack: Stack) {
    ns::isolate();
    ns::set_sysctl("net/core/somaxconn", "2");
    let (listener, address) = listening(stack, 1000);
    let pair = Pair {
        client: Stack::builtin(stack.ip),
        server: stack,
    };
    let (connected, waiting) = overflow(pair, address, 5, 3);
    assert_eq!((connected.len(), waiting.len()), (3, 2));
    for _ in 0..5 {
        listener.accept().expect("accept");
    }
}

/// Opens `count` connections, and waits for the line in the kernel's log about the listener's queue.
fn line_of(stack: Stack, address: SocketAddr, count: usize, log: &mut Log) -> (Vec<Sock>, String) {
    use std::os::unix::fs::MetadataExt;
    let namespace = std::fs::metadata("/proc/thread-self/ns/net").expect("a namespace");
    let place = format!("net:[{}] {address}: ", namespace.ino());
    let clients = (0..count)
        .map(|_| {
            let client = Sock::open_nonblocking(Stack::builtin(stack.ip));
            let _ = client.connect(&address);
            client
        })
        .collect();
    let line = wait::until_some("the line", || {
        log.read().into_iter().find(|line| line.contains(&place))
    });
    (clients, line)
}

/// For each setting that may bound a queue.
fn overflow__line_says_what_bounds_it(stack: Stack) {
    if !stack.ours {
        ktap::skip("the built-in TCP does not say it");
    }
    const ACCEPT: &str = "the accept queue is full (3 waiting)";
    const SYN: &str = "the SYN queue is full (2 half-open of 2)";
    let (core, ours) = ("net/core/somaxconn", "net/oxtcp/somaxconn");
    let variants: [(&[&str], i32, &str, &str); 7] = [
        (&[], 2, ACCEPT, "raise the backlog of listen() (2), which"),
        (&[core], 1000, ACCEPT, "raise net.core.somaxconn (2), which"),
        (
            &[ours],
            1000,
            ACCEPT,
            "raise net.oxtcp.somaxconn (2), which",
        ),
        (
            &[core, ours],
            1000,
            ACCEPT,
            "raise net.core.somaxconn and net.oxtcp.somaxconn (2), which",
        ),
        (
            &["net/oxtcp/max_syn_backlog"],
            1000,
            SYN,
            "raise net.oxtcp.max_syn_backlog (2), which",
        ),
        (&[], 1, SYN, "raise the backlog of listen() (1), which"),
        (
            &["net/oxtcp/abort_on_overflow"],
            2,
            ACCEPT,
            "resetting who completes a handshake",
        ),
    ];
    for (settings, backlog, queue, bound) in variants {
        ns::isolate();
        for setting in settings {
            let value = match setting.ends_with("abort_on_overflow") {
                true => "1",
                false => "2",
            };
            ns::set_sysctl(setting, value);
        }
        if queue == SYN {
            // The SYN-ACKs never get there.
            ns::nft_input(&[&format!("{SYN_ACKS} drop")]);
        }
        let (_listener, address) =
            oxtcp_selftests::connection::listening_at(stack, &stack.local(5001), backlog);
        let mut log = Log::from_here().expect("/dev/kmsg");
        let (_clients, line) = line_of(stack, address, 5, &mut log);
        for part in [queue, bound, "SYNs per second"] {
            assert!(line.contains(part), "no {part:?} in {line:?}");
        }
        // Once in a minute.
        assert!(log
            .read()
            .iter()
            .all(|line| !line.contains("queue is full")));
    }
}

/// A line that the kernel's limit for such lines does not let through is not lost for the minute.
fn overflow__line_that_was_refused_comes_later(stack: Stack) {
    if !stack.ours {
        ktap::skip("the built-in TCP has another line");
    }
    let initial = Namespace::current();
    let Some(burst) = initial.run(|| ns::sysctl("net/core/message_burst").ok()) else {
        ktap::skip("not in the initial namespace");
    };
    ns::isolate();
    let (_listener, address) = listening(stack, 0);
    let mut log = Log::from_here().expect("/dev/kmsg");
    initial.run(|| ns::set_sysctl("net/core/message_burst", "0"));
    let clients: Vec<Sock> = (0..3)
        .map(|_| {
            let client = Sock::open_nonblocking(Stack::builtin(stack.ip));
            let _ = client.connect(&address);
            client
        })
        .collect();
    wait::until("the queue is full", || queued(stack, address) == 1);
    let overflows = || {
        let text = std::fs::read_to_string("/proc/net/oxtcp_stat").expect("the counters");
        let mut lines = text.lines().map(str::split_whitespace);
        let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
        let found = names
            .zip(values)
            .find(|(name, _)| *name == "ListenOverflows");
        found.is_some_and(|(_, count)| count != "0")
    };
    wait::until("it overflows", overflows);
    let said = log.read();
    initial.run(|| ns::set_sysctl("net/core/message_burst", burst.trim()));
    assert!(
        said.iter().all(|line| !line.contains("queue is full")),
        "{said:?}"
    );
    // The SYNs come again.
    let (_more, line) = line_of(stack, address, 1, &mut log);
    assert!(
        line.contains("the accept queue is full (1 waiting)"),
        "{line}"
    );
    drop(clients);
}

/// A later listen() has the oldest half-open connections give way, in a queue of its length.
fn half_open__cache_follows_listen(stack: Stack) {
    if !stack.ours {
        ktap::skip("the built-in TCP has no SYN cache");
    }
    ns::isolate();
    ns::nft_input(&[&format!("{SYN_ACKS} drop")]);
    let (listener, address) =
        oxtcp_selftests::connection::listening_at(stack, &stack.local(5001), 1);
    ns::set_sysctl("net/oxtcp/syncookies", "0");
    let counter = |name: &str| {
        let text = std::fs::read_to_string("/proc/net/oxtcp_stat").expect("the counters");
        let mut lines = text.lines().map(str::split_whitespace);
        let (names, values) = (lines.next().expect("names"), lines.next().expect("values"));
        let found = names.zip(values).find(|(known, _)| *known == name);
        found
            .and_then(|(_, count)| count.parse::<u64>().ok())
            .expect("a count")
    };
    let connect = |count: usize| -> Vec<Sock> {
        let client = |_| {
            let client = Sock::open_nonblocking(Stack::builtin(stack.ip));
            let _ = client.connect(&address);
            client
        };
        (0..count).map(client).collect()
    };
    // It began with cookies: no cache.
    let first = connect(4);
    wait::until("SYNs are dropped", || counter("TCPReqQFullDrop") >= 2);
    assert_eq!(counter("SynCacheEvicted"), 0);
    // Never as short as the two that are half open already, which came before there was a cache and give way to nobody.
    for backlog in [4, 6, 3] {
        listener.listen(backlog).expect("listen");
        let before = counter("SynCacheEvicted");
        let more = connect(20);
        wait::until("they give way", || {
            counter("SynCacheEvicted") >= before + 10
        });
        drop(more);
    }
    drop(first);
}

/// The oldest of a full queue give way to those alone whose host has not its share of the queue already.
fn half_open__who_has_most_is_not_given_way_to(stack: Stack) {
    if !stack.ours {
        ktap::skip("the built-in TCP has no SYN cache");
    }
    /// So many a host may have of any queue.
    const SHARE: usize = 16;
    let mut scene = Stranger::at(stack, Veth::address_a(stack.ip, PORT));
    ns::set_sysctl("net/oxtcp/syncookies", "0");
    // The queue has room for one more than its backlog.
    scene.listener.listen(SHARE as i32).expect("listen");
    let syn = |scene: &mut Stranger, from| scene.send(from, (7, 0), SYN, &[], &[]);
    for _ in 0..SHARE {
        let from = scene.source();
        syn(&mut scene, from);
        scene.answer_to(from);
    }
    let others = match stack.ip {
        Ip::V4 => "10.1.1.1",
        Ip::V6 => "fd01::1",
    };
    let other = |port| SocketAddr::new(others.parse().expect("an address"), port);
    syn(&mut scene, other(1));
    scene.answer_to(other(1));
    // It is full.
    for dropped in 1..=3 {
        let from = scene.source();
        syn(&mut scene, from);
        wait::until("the SYN is dropped", || {
            count("SynShareExceeded") == dropped
        });
    }
    assert_eq!(count("SynCacheEvicted"), 0);
    syn(&mut scene, other(2));
    scene.answer_to(other(2));
    assert_eq!(count("SynCacheEvicted"), 1);
}

/// Connects while a rule drops segments of the handshake; lifts the rule once it has dropped some.
fn connect_through_loss(pair: Pair, matching: &str) {
    ns::isolate();
    ns::nft_input(&[&format!("{matching} counter name dropped drop")]);
    let (listener, address) =
        oxtcp_selftests::connection::listening_at(pair.server, &pair.server.local(5001), 8);
    let client = thread::spawn(move || connect(pair.client, &address));
    wait::until("the rule has dropped two segments", || {
        ns::nft_packets("dropped") >= 2
    });
    ns::nft_clear();
    let (server, _) = listener.accept().expect("accept");
    Connected {
        client: client.join(),
        server,
    }
    .check_alive();
}

fn syn__lost_is_sent_again(pair: Pair) {
    connect_through_loss(pair, "tcp dport 5001 tcp flags & (syn|ack) == syn");
}

fn synack__lost_is_sent_again(pair: Pair) {
    connect_through_loss(pair, "tcp sport 5001 tcp flags & (syn|ack) == (syn|ack)");
}

/// The client believes itself connected; the server's SYN-ACK comes again until an ACK gets through.
fn ack__lost_is_made_good(pair: Pair) {
    connect_through_loss(pair, "tcp dport 5001 tcp flags & (syn|ack) == ack");
}

/// A listener with a connection whose SYN-ACK or last ACK a rule drops, and the client's socket.
fn half_open(pair: Pair, matching: &str) -> (Sock, SocketAddr, Sock) {
    ns::isolate();
    ns::nft_input(&[&format!("{matching} counter name dropped drop")]);
    // One half-open connection is all that it remembers.
    let (listener, address) =
        oxtcp_selftests::connection::listening_at(pair.server, &pair.server.local(5001), 0);
    let client = Sock::open_nonblocking(pair.client);
    match client.connect(&address) {
        Ok(()) => {}
        result => expect_errno(result, libc::EINPROGRESS),
    }
    wait::until("the rule has dropped a segment", || {
        ns::nft_packets("dropped") >= 1
    });
    (listener, address, client)
}

const SYN_ACKS: &str = "tcp sport 5001 tcp flags & (syn|ack) == (syn|ack)";

/// The client's next SYN is for whoever listens then.
fn finish_half_open(client: Sock, listener: &Sock) {
    ns::nft_clear();
    let (server, _) = listener.accept().expect("accept");
    client.poll_wait(libc::POLLOUT);
    client.set_nonblocking(false);
    Connected { client, server }.check_alive();
}

/// Who stops listening leaves half-open connections behind; they are in nobody's way.
fn half_open__next_listener_takes_it(pair: Pair) {
    let (listener, address, client) = half_open(pair, SYN_ACKS);
    drop(listener);
    let (next, _) = oxtcp_selftests::connection::listening_at(pair.server, &address, 1);
    finish_half_open(client, &next);
}

fn half_open__same_socket_listens_again(pair: Pair) {
    let (listener, _, client) = half_open(pair, SYN_ACKS);
    listener.shutdown(libc::SHUT_RD).expect("shutdown");
    listener.listen(1).expect("listen");
    finish_half_open(client, &listener);
}

fn half_open__of_a_closed_listener_is_refused(pair: Pair) {
    let (listener, address, client) = half_open(pair, SYN_ACKS);
    let from = client.local().expect("name");
    drop(listener);
    ns::nft_clear();
    client.poll_until_all(libc::POLLERR | libc::POLLHUP);
    assert_eq!(client.take_error(), libc::ECONNREFUSED);
    assert_eq!(procnet::state_of(pair.server, address, from), None);
}

/// The client has its SYN-ACK, the listener goes before the ACK comes.
fn half_open__late_ack_is_reset(pair: Pair) {
    let (listener, _, client) = half_open(pair, "tcp dport 5001 tcp flags & (syn|ack) == ack");
    client.poll_wait(libc::POLLOUT);
    drop(listener);
    ns::nft_clear();
    client.send_all(b"anybody?");
    client.poll_until_all(libc::POLLERR | libc::POLLHUP);
    assert_eq!(client.take_error(), libc::ECONNRESET);
}

fn syn__retries_end_in_timeout(stack: Stack) {
    let _link = Veth::make();
    let Some(setting) = ns::find_sysctl(stack, "tcp_syn_retries") else {
        ktap::skip("no tcp_syn_retries")
    };
    ns::set_sysctl(&setting, "1");
    let sock = Sock::open(stack);
    expect_errno(
        sock.connect(&Veth::address_of_nobody(stack.ip, 80)),
        libc::ETIMEDOUT,
    );
    assert_eq!(sock.take_error(), 0);
}

/// A firewall that answers with a reset refuses.
fn syn__reset_by_firewall_is_refused(stack: Stack) {
    ns::isolate();
    ns::nft_input(&["tcp dport 5001 reject with tcp reset"]);
    let (_listener, address) =
        oxtcp_selftests::connection::listening_at(stack, &stack.local(5001), 8);
    expect_errno(Sock::open(stack).connect(&address), libc::ECONNREFUSED);
}
