// SPDX-License-Identifier: GPL-2.0
//! bind(2) and ports: one space with the built-in TCP, whoever comes first.

use std::collections::HashSet;
use std::process::ExitCode;

use oxtcp_selftests::connection::listening_at;
use oxtcp_selftests::sock::RawAddr;
use oxtcp_selftests::{
    cases, connected, expect_errno, ktap, listening, ns, Ip, Pair, Sock, Stack, Suite,
};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("bind");
    cases!(suite.stacks:
        bind__port_zero_picks_one, bind__wildcard, bind__twice_is_einval, bind__connected_is_einval,
        bind__foreign_address, bind__freebind, bind__short_address, bind__wrong_family, bind__unspecified_family,
        bind__bad_pointer, bind__low_port_needs_root, bind__low_port_as_root,
        bind__freed_by_close, bind__freed_by_close_of_listener, bind__reuseaddr_both, bind__reuseaddr_not_both,
        bind__other_loopback_address, bind__after_failure_is_free,
        listen__reuseaddr_second_listener, bind__accepted_connections_hold_the_port,
    );
    cases!(suite.neighbours:
        bind__in_use, bind__in_use_wildcard_first, bind__in_use_wildcard_second, bind__in_use_by_listener,
        bind__in_use_by_listener_reuseaddr, bind__in_use_across_ip_versions, bind__v6only_leaves_ipv4_free,
        bind__freed_for_the_other, bind__in_use_by_connection,
        bind__ephemeral_ports_are_shared, connect__ephemeral_ports_are_shared,
    );
    suite.run()
}

fn set_v6only(sock: &Sock, on: bool) {
    sock.set(libc::SOL_IPV6, libc::IPV6_V6ONLY, i32::from(on))
        .expect("IPV6_V6ONLY");
}

/// A socket bound there, not listening.
#[track_caller]
fn bound(stack: Stack, address: &std::net::SocketAddr) -> Sock {
    let sock = Sock::open(stack);
    sock.bind(address)
        .unwrap_or_else(|error| panic!("bind {address}: {error}"));
    sock
}

fn bind__port_zero_picks_one(stack: Stack) {
    let range = ns::sysctl("net/ipv4/ip_local_port_range").expect("ip_local_port_range");
    let range: Vec<u16> = range
        .split_whitespace()
        .filter_map(|part| part.parse().ok())
        .collect();
    let (low, high) = (range[0], range[1]);
    let socks: Vec<Sock> = (0..50).map(|_| bound(stack, &stack.local(0))).collect();
    let ports: HashSet<u16> = socks.iter().map(Sock::port).collect();
    assert_eq!(ports.len(), socks.len(), "a port was given twice");
    assert!(
        ports.iter().all(|port| (low..=high).contains(port)),
        "{ports:?} outside {low}..={high}"
    );
}

fn bind__wildcard(stack: Stack) {
    let sock = bound(stack, &stack.any(0));
    let address = sock.local().expect("getsockname");
    assert_eq!(address.ip(), stack.unspecified());
    assert_ne!(address.port(), 0);
}

fn bind__twice_is_einval(stack: Stack) {
    let sock = bound(stack, &stack.local(0));
    expect_errno(sock.bind(&stack.local(0)), libc::EINVAL);
    expect_errno(sock.bind(&sock.local().expect("getsockname")), libc::EINVAL);
}

fn bind__connected_is_einval(stack: Stack) {
    let ends = connected(Pair {
        client: stack,
        server: stack,
    });
    expect_errno(ends.client.bind(&stack.local(0)), libc::EINVAL);
    expect_errno(ends.server.bind(&stack.local(0)), libc::EINVAL);
}

fn bind__foreign_address(stack: Stack) {
    let sock = Sock::open(stack);
    expect_errno(sock.bind(&stack.foreign(0)), libc::EADDRNOTAVAIL);
    sock.bind(&stack.local(0)).expect("bind after a failed one");
}

/// IP_FREEBIND: an address that no interface has, or not yet.
fn bind__freebind(stack: Stack) {
    /// linux/in6.h
    const IPV6_FREEBIND: i32 = 78;
    let _namespace = ns::isolate();
    let (level, option) = match stack.ip {
        Ip::V4 => (libc::SOL_IP, libc::IP_FREEBIND),
        Ip::V6 => (libc::SOL_IPV6, IPV6_FREEBIND),
    };
    let sock = Sock::open(stack);
    sock.set(level, option, 1).expect("FREEBIND");
    assert_eq!(sock.get(level, option).expect("FREEBIND"), 1);
    let address = stack.foreign(5001);
    sock.bind(&address).expect("bind");
    assert_eq!(sock.local().expect("getsockname"), address);
    sock.listen(1).expect("listen");
    for other in [stack, Stack::builtin(stack.ip)] {
        let second = Sock::open(other);
        second.set(level, option, 1).expect("FREEBIND");
        expect_errno(second.bind(&address), libc::EADDRINUSE);
    }
    // When the address comes, the listener is there.
    ns::sh(&format!("ip addr add {} dev lo", address.ip()));
    let client = Sock::open(stack);
    let connected = || client.connect(&address).is_ok();
    oxtcp_selftests::wait::until("the address can be used", connected);
    let (server, _) = sock.accept().expect("accept");
    oxtcp_selftests::Connected { client, server }.check_alive();
}

fn bind__short_address(stack: Stack) {
    let sock = Sock::open(stack);
    let mut raw = RawAddr::new(&stack.local(0));
    raw.len = 8;
    expect_errno(sock.bind_raw(&raw), libc::EINVAL);
}

/// The address is of the other IP version.
fn bind__wrong_family(stack: Stack) {
    let other = match stack.ip {
        Ip::V4 => Ip::V6,
        Ip::V6 => Ip::V4,
    };
    let sock = Sock::open(stack);
    // An IPv4 address is shorter than an IPv6 socket's must be: the length is looked at first.
    let errno = if stack.ip == Ip::V4 {
        libc::EAFNOSUPPORT
    } else {
        libc::EINVAL
    };
    expect_errno(sock.bind(&stack.with_ip(other).local(0)), errno);
    let mut raw = RawAddr::new(&stack.local(0));
    raw.storage.ss_family = libc::AF_UNIX as u16;
    expect_errno(sock.bind_raw(&raw), libc::EAFNOSUPPORT);
}

/// Old programs bind to 0.0.0.0 with a family of 0; IPv4 lets them (net/ipv4/af_inet.c, __inet_bind).
fn bind__unspecified_family(stack: Stack) {
    let sock = Sock::open(stack);
    let mut raw = RawAddr::new(&stack.any(0));
    raw.storage.ss_family = libc::AF_UNSPEC as u16;
    match stack.ip {
        Ip::V4 => sock.bind_raw(&raw).expect("bind of 0.0.0.0 with AF_UNSPEC"),
        Ip::V6 => expect_errno(sock.bind_raw(&raw), libc::EAFNOSUPPORT),
    }
}

fn bind__bad_pointer(stack: Stack) {
    let sock = Sock::open(stack);
    // SAFETY: the kernel refuses the address.
    let result = unsafe {
        libc::bind(
            std::os::fd::AsRawFd::as_raw_fd(&sock),
            8 as *const libc::sockaddr,
            28,
        )
    };
    expect_errno(oxtcp_selftests::errno::check(result), libc::EFAULT);
}

/// Gives up root in this process, that is, in this test.
fn become_nobody() {
    // SAFETY: plain numbers; through the C library, all threads (there is one) change.
    let result = unsafe { libc::setresuid(65534, 65534, 65534) };
    if result != 0 {
        ktap::skip("needs to start as root");
    }
}

fn bind__low_port_needs_root(stack: Stack) {
    ns::isolate();
    ns::set_sysctl("net/ipv4/ip_unprivileged_port_start", "1024");
    become_nobody();
    let sock = Sock::open(stack);
    expect_errno(sock.bind(&stack.local(81)), libc::EACCES);
    sock.bind(&stack.local(1024))
        .expect("bind to an unprivileged port");
}

fn bind__low_port_as_root(stack: Stack) {
    ns::isolate();
    assert_eq!(bound(stack, &stack.local(81)).port(), 81);
}

fn bind__freed_by_close(stack: Stack) {
    ns::isolate();
    for _ in 0..10 {
        drop(bound(stack, &stack.local(5001)));
    }
}

fn bind__freed_by_close_of_listener(stack: Stack) {
    ns::isolate();
    for _ in 0..10 {
        drop(listening_at(stack, &stack.local(5001), 8));
    }
}

/// A bind that fails reserves nothing.
fn bind__after_failure_is_free(stack: Stack) {
    ns::isolate();
    let first = bound(stack, &stack.local(5001));
    let second = Sock::open(stack);
    expect_errno(second.bind(&stack.any(5001)), libc::EADDRINUSE);
    drop(first);
    second
        .bind(&stack.any(5001))
        .expect("bind once the port is free");
    drop(second);
    bound(Stack::builtin(stack.ip), &stack.any(5001));
}

fn reuse_bound(stack: Stack, address: &std::net::SocketAddr) -> std::io::Result<Sock> {
    let sock = Sock::open(stack);
    sock.set_reuseaddr();
    sock.bind(address)?;
    Ok(sock)
}

/// Two sockets of one stack share a port when both say SO_REUSEADDR and none listens.
fn bind__reuseaddr_both(stack: Stack) {
    ns::isolate();
    let address = stack.local(5001);
    let _first = reuse_bound(stack, &address).expect("bind");
    let _second = reuse_bound(stack, &address).expect("bind with SO_REUSEADDR on both");
    expect_errno(
        reuse_bound(stack, &stack.foreign(5001)),
        libc::EADDRNOTAVAIL,
    );
}

fn bind__reuseaddr_not_both(stack: Stack) {
    ns::isolate();
    let address = stack.local(5001);
    let first = bound(stack, &address);
    expect_errno(reuse_bound(stack, &address), libc::EADDRINUSE);
    drop(first);
    let _first = reuse_bound(stack, &address).expect("bind");
    expect_errno(Sock::open(stack).bind(&address), libc::EADDRINUSE);
}

fn listen__reuseaddr_second_listener(stack: Stack) {
    ns::isolate();
    let address = stack.local(5001);
    let first = reuse_bound(stack, &address).expect("bind");
    let second = reuse_bound(stack, &address).expect("bind");
    first.listen(1).expect("listen");
    expect_errno(second.listen(1), libc::EADDRINUSE);
    drop(first);
    second.listen(1).expect("listen once the first is gone");
}

fn bind__other_loopback_address(stack: Stack) {
    ns::isolate();
    if stack.ip == Ip::V6 {
        ns::sh("ip addr add 2001:db8:7::1/128 dev lo nodad");
    }
    let other = if stack.ip == Ip::V4 {
        "127.0.0.2:5001"
    } else {
        "[2001:db8:7::1]:5001"
    };
    let other = other.parse().expect("an address");
    let (one, at_one) = listening_at(stack, &stack.local(5001), 1);
    let (two, at_two) = listening_at(stack, &other, 1);
    for (listener, address) in [(&one, at_one), (&two, at_two)] {
        let client = Sock::open(stack);
        client.connect(&address).expect("connect");
        let (server, _) = listener.accept().expect("accept");
        assert_eq!(server.local().expect("getsockname"), address);
    }
}

/// A listener's port stays taken while a connection made from it is open, unless SO_REUSEADDR.
fn bind__accepted_connections_hold_the_port(stack: Stack) {
    ns::isolate();
    let (listener, address) = listening_at(stack, &stack.local(5001), 1);
    let client = Sock::open(stack);
    client.connect(&address).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    drop(listener);
    expect_errno(Sock::open(stack).bind(&address), libc::EADDRINUSE);
    server.send_all(b"still here");
    assert_eq!(client.recv_exact(10), b"still here");
}

fn bind__in_use(first: Stack, second: Stack) {
    let holder = bound(first, &first.local(0));
    let address = holder.local().expect("getsockname");
    let sock = Sock::open(second);
    expect_errno(sock.bind(&address), libc::EADDRINUSE);
    sock.bind(&second.local(0)).expect("bind to another port");
}

fn bind__in_use_wildcard_first(first: Stack, second: Stack) {
    let holder = bound(first, &first.any(0));
    expect_errno(
        Sock::open(second).bind(&second.local(holder.port())),
        libc::EADDRINUSE,
    );
}

fn bind__in_use_wildcard_second(first: Stack, second: Stack) {
    let holder = bound(first, &first.local(0));
    expect_errno(
        Sock::open(second).bind(&second.any(holder.port())),
        libc::EADDRINUSE,
    );
}

fn bind__in_use_by_listener(first: Stack, second: Stack) {
    let (_listener, address) = listening(first, 1);
    expect_errno(Sock::open(second).bind(&address), libc::EADDRINUSE);
    expect_errno(
        Sock::open(second).bind(&second.any(address.port())),
        libc::EADDRINUSE,
    );
}

fn bind__in_use_by_listener_reuseaddr(first: Stack, second: Stack) {
    ns::isolate();
    let listener = reuse_bound(first, &first.local(5001)).expect("bind");
    listener.listen(1).expect("listen");
    expect_errno(reuse_bound(second, &second.local(5001)), libc::EADDRINUSE);
    expect_errno(reuse_bound(second, &second.any(5001)), libc::EADDRINUSE);
}

/// A dual-stack wildcard holds the port of IPv4 too, and the other way round.
fn bind__in_use_across_ip_versions(first: Stack, second: Stack) {
    let other = if first.ip == Ip::V4 { Ip::V6 } else { Ip::V4 };
    let holder = bound(first, &first.any(0));
    let second = second.with_ip(other);
    expect_errno(
        Sock::open(second).bind(&second.any(holder.port())),
        libc::EADDRINUSE,
    );
}

fn bind__v6only_leaves_ipv4_free(first: Stack, second: Stack) {
    ns::isolate();
    let other = if first.ip == Ip::V4 { Ip::V6 } else { Ip::V4 };
    let open = |stack: Stack| {
        let sock = Sock::open(stack);
        if stack.ip == Ip::V6 {
            set_v6only(&sock, true);
        }
        sock.bind(&stack.any(5001)).expect("bind");
        sock
    };
    let one = open(first);
    let two = open(second.with_ip(other));
    one.listen(1).expect("listen");
    two.listen(1).expect("listen");
}

fn bind__freed_for_the_other(first: Stack, second: Stack) {
    ns::isolate();
    for _ in 0..5 {
        drop(listening_at(first, &first.any(5001), 1));
        drop(listening_at(second, &second.any(5001), 1));
    }
}

/// A connecting socket's own port is taken too.
fn bind__in_use_by_connection(first: Stack, second: Stack) {
    let ends = connected(Pair {
        client: first,
        server: first,
    });
    let address = ends.client.local().expect("getsockname");
    expect_errno(Sock::open(second).bind(&address), libc::EADDRINUSE);
    ends.check_alive();
}

const RANGE: std::ops::RangeInclusive<u16> = 40_000..=40_031;

/// In a small range the two stacks pick ports in turn: all different, until none is left.
fn bind__ephemeral_ports_are_shared(first: Stack, second: Stack) {
    ns::isolate();
    ns::set_sysctl(
        "net/ipv4/ip_local_port_range",
        &format!("{} {}", RANGE.start(), RANGE.end()),
    );
    let mut holders = Vec::new();
    for turn in 0..RANGE.len() {
        let stack = if turn % 2 == 0 { first } else { second };
        let sock = Sock::open(stack);
        // Linux's search tries the half of the range first, then the rest: the last port is found too.
        sock.bind(&stack.any(0))
            .unwrap_or_else(|e| panic!("bind {turn} of {}: {e}", RANGE.len()));
        holders.push(sock);
    }
    let ports: HashSet<u16> = holders.iter().map(Sock::port).collect();
    assert_eq!(
        ports.len(),
        RANGE.len(),
        "a port was given twice: {ports:?}"
    );
    assert!(ports.iter().all(|port| RANGE.contains(port)));
    for stack in [first, second] {
        expect_errno(Sock::open(stack).bind(&stack.any(0)), libc::EADDRINUSE);
    }
    drop(holders.pop());
    Sock::open(first)
        .bind(&first.any(0))
        .expect("bind to the one port that is free again");
}

/// connect's choice avoids what the other stack has bound.
fn connect__ephemeral_ports_are_shared(first: Stack, second: Stack) {
    ns::isolate();
    ns::set_sysctl(
        "net/ipv4/ip_local_port_range",
        &format!("{} {}", RANGE.start(), RANGE.end()),
    );
    let held: Vec<Sock> = RANGE
        .step_by(2)
        .map(|port| bound(first, &first.any(port)))
        .collect();
    let taken: HashSet<u16> = held.iter().map(Sock::port).collect();
    let (listener, address) = listening_at(second, &second.local(5001), 64);
    let mut ports = HashSet::new();
    let mut clients = Vec::new();
    for _ in 0..RANGE.len() - held.len() {
        let client = Sock::open(second);
        client
            .connect(&address)
            .expect("connect while ports are left");
        assert!(
            ports.insert(client.port()),
            "port {} was given twice",
            client.port()
        );
        clients.push((client, listener.accept().expect("accept")));
    }
    assert!(ports.is_disjoint(&taken), "connect took a bound port");
    expect_errno(Sock::open(second).connect(&address), libc::EADDRNOTAVAIL);
}
