// SPDX-License-Identifier: GPL-2.0
//! The local ports of connect(2): shared by connections to different destinations, chosen from
//! `ip_local_port_range`, used again after TIME-WAIT where that is safe.

use std::collections::HashSet;
use std::net::SocketAddr;
use std::ops::RangeInclusive;
use std::process::ExitCode;

use oxtcp_selftests::connection::listening_at;
use oxtcp_selftests::{
    cases, errno, expect_errno, ktap, ns, thread, transfer, wait, Ip, Sock, Stack, Suite,
};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("ports");
    cases!(suite.stacks:
        connect__ports_are_shared_by_destinations, connect__ports_are_shared_by_sources,
        connect__reserved_ports_are_left_out, connect__one_port, connect__reuseaddr_shares_too,
        connect__bind_zero_takes_the_port_alone, connect__bound_port_over_time_wait,
        connect__time_wait_is_shared_and_used_again, connect__time_wait_without_timestamps_stays,
        connect__dual_stack_has_the_same_ports, connect__many_in_a_small_range,
        bind__connected_reuseaddr, bind__no_port_until_connect,
    );
    cases!(suite.neighbours:
        connect__bound_ports_are_not_shared, connect__ports_of_the_other_stack, connect__ports_come_back,
    );
    suite.run()
}

/// Ten ports.
const RANGE: RangeInclusive<u16> = 40_000..=40_009;

fn set_range(range: &RangeInclusive<u16>) {
    let text = format!("{} {}", range.start(), range.end());
    ns::set_sysctl("net/ipv4/ip_local_port_range", &text);
}

/// A setting that both stacks have, each under its own name.
fn set_of(stack: Stack, name: &str, value: &str) {
    match ns::find_sysctl(stack, name) {
        Some(path) => ns::set_sysctl(&path, value),
        None => ktap::skip(&format!("no setting {name}")),
    }
}

/// Listeners at ports outside the range, one for each destination.
fn listeners(stack: Stack, count: u16) -> Vec<(Sock, SocketAddr)> {
    (0..count)
        .map(|n| listening_at(stack, &stack.local(5001 + n), 64))
        .collect()
}

/// A connection: both ends.
type Ends = (Sock, Sock);

fn connect_to((listener, address): &(Sock, SocketAddr), client: Sock) -> std::io::Result<Ends> {
    client.connect(address)?;
    let (server, from) = listener.accept().expect("accept");
    assert_eq!(from, client.local().expect("getsockname"));
    Ok((client, server))
}

#[track_caller]
fn open_to(destination: &(Sock, SocketAddr), stack: Stack) -> Ends {
    connect_to(destination, Sock::open(stack))
        .unwrap_or_else(|error| panic!("connect {}: {error}", destination.1))
}

/// As many connections to one destination as there are ports: each has another one.
#[track_caller]
fn fill(destination: &(Sock, SocketAddr), stack: Stack, range: RangeInclusive<u16>) -> Vec<Ends> {
    let all: Vec<Ends> = range.clone().map(|_| open_to(destination, stack)).collect();
    let ports: HashSet<u16> = all.iter().map(|(client, _)| client.port()).collect();
    assert_eq!(ports, range.collect(), "the ports of {}", destination.1);
    all
}

/// Bytes pass both ways, and to nobody else.
#[track_caller]
fn check_alive<'a>(all: impl IntoIterator<Item = &'a Ends>) {
    for (n, (client, server)) in all.into_iter().enumerate() {
        let text = [n as u8, 1];
        client.send_all(&text);
        assert_eq!(server.recv_exact(2), text);
        server.send_all(&[n as u8, 2]);
        assert_eq!(client.recv_exact(2), [n as u8, 2]);
    }
}

/// The client closes first, and is in TIME-WAIT when this returns.
fn close_client_first((client, server): Ends) {
    drop(client);
    assert_eq!(server.recv_to_end(), b"");
}

/// The server closes first: the client's port is free when its end has closed too.
fn close_server_first((client, server): Ends) {
    drop(server);
    assert_eq!(client.recv_to_end(), b"");
}

fn connect__ports_are_shared_by_destinations(stack: Stack) {
    ns::isolate();
    set_range(&RANGE);
    let destinations = listeners(stack, 3);
    let mut all: Vec<Ends> = destinations
        .iter()
        .flat_map(|destination| fill(destination, stack, RANGE))
        .collect();
    for (_, address) in &destinations {
        expect_errno(Sock::open(stack).connect(address), libc::EADDRNOTAVAIL);
    }
    check_alive(&all);

    // One goes, without TIME-WAIT: its port is the only one for its destination.
    let (client, _server) = all.remove(13);
    let (port, to) = (client.port(), client.peer().expect("getpeername"));
    client.set_linger(true, 0).expect("SO_LINGER");
    drop(client);
    let destination = destinations.iter().find(|(_, address)| *address == to);
    let again = open_to(destination.expect("one of ours"), stack);
    assert_eq!(again.0.port(), port);
    all.push(again);
    check_alive(&all);
    expect_errno(Sock::open(stack).connect(&to), libc::EADDRNOTAVAIL);
}

/// bind(2) to an address and no port, with IP_BIND_ADDRESS_NO_PORT: connect chooses the port, of that address.
fn connect__ports_are_shared_by_sources(stack: Stack) {
    ns::isolate();
    set_range(&RANGE);
    if stack.ip == Ip::V6 {
        ns::sh("ip addr add 2001:db8:7::1/128 dev lo nodad");
    }
    let other: SocketAddr = match stack.ip {
        Ip::V4 => "127.0.0.2:0",
        Ip::V6 => "[2001:db8:7::1]:0",
    }
    .parse()
    .expect("an address");
    let destination = &listeners(stack, 1)[0];
    let mut all = fill(destination, stack, RANGE);
    let from_other = || {
        let client = Sock::open(stack);
        client
            .set(libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)
            .expect("IP_BIND_ADDRESS_NO_PORT");
        client.bind(&other).expect("bind");
        client
    };
    for _ in RANGE {
        let ends = connect_to(destination, from_other()).expect("connect from the other address");
        assert_eq!(ends.0.local().expect("getsockname").ip(), other.ip());
        all.push(ends);
    }
    expect_errno(from_other().connect(&destination.1), libc::EADDRNOTAVAIL);
    check_alive(&all);
}

fn connect__reserved_ports_are_left_out(stack: Stack) {
    ns::isolate();
    set_range(&RANGE);
    ns::set_sysctl("net/ipv4/ip_local_reserved_ports", "40000-40005,40008");
    let destinations = listeners(stack, 2);
    for destination in &destinations {
        let all: Vec<Ends> = (0..3).map(|_| open_to(destination, stack)).collect();
        let ports: HashSet<u16> = all.iter().map(|(client, _)| client.port()).collect();
        assert_eq!(ports, HashSet::from([40_006, 40_007, 40_009]));
        expect_errno(
            Sock::open(stack).connect(&destination.1),
            libc::EADDRNOTAVAIL,
        );
    }
}

fn connect__one_port(stack: Stack) {
    ns::isolate();
    set_range(&(40_000..=40_000));
    let destinations = listeners(stack, 2);
    let all: Vec<Ends> = destinations
        .iter()
        .flat_map(|destination| fill(destination, stack, 40_000..=40_000))
        .collect();
    check_alive(&all);
    expect_errno(
        Sock::open(stack).connect(&destinations[0].1),
        libc::EADDRNOTAVAIL,
    );
}

/// The flag of a socket that is not bound does not matter to connect.
fn connect__reuseaddr_shares_too(stack: Stack) {
    ns::isolate();
    set_range(&RANGE);
    let destinations = listeners(stack, 3);
    let mut all = Vec::new();
    for (n, destination) in destinations.iter().enumerate() {
        for turn in RANGE {
            let client = Sock::open(stack);
            // All, some, none.
            if n == 0 || n == 1 && turn % 2 == 0 {
                client.set_reuseaddr();
            }
            all.push(connect_to(destination, client).expect("connect"));
        }
        let client = Sock::open(stack);
        client.set_reuseaddr();
        expect_errno(client.connect(&destination.1), libc::EADDRNOTAVAIL);
    }
    check_alive(&all);
}

/// What bind(2) chose is nobody else's, whatever the destination.
fn connect__bind_zero_takes_the_port_alone(stack: Stack) {
    ns::isolate();
    set_range(&RANGE);
    let destinations = listeners(stack, 2);
    let mut all = Vec::new();
    for _ in RANGE {
        let client = Sock::open(stack);
        client.bind(&stack.local(0)).expect("bind");
        all.push(connect_to(&destinations[0], client).expect("connect"));
    }
    expect_errno(
        Sock::open(stack).connect(&destinations[1].1),
        libc::EADDRNOTAVAIL,
    );
    check_alive(&all);
    close_server_first(all.pop().expect("ten of them"));
    let again = wait::until_some("a port is free", || {
        connect_to(&destinations[1], Sock::open(stack)).ok()
    });
    check_alive([&again]);
}

/// A socket that is bound has no other port to go to: timestamps make it safe at once.
fn connect__bound_port_over_time_wait(stack: Stack) {
    ns::isolate();
    let destination = &listeners(stack, 1)[0];
    for _ in 0..5 {
        let client = Sock::open(stack);
        client.set_reuseaddr();
        client.bind(&stack.local(40_000)).expect("bind");
        let ends = connect_to(destination, client).expect("connect over a TIME-WAIT");
        check_alive([&ends]);
        close_client_first(ends);
    }
}

fn connect__time_wait_is_shared_and_used_again(stack: Stack) {
    ns::isolate();
    set_range(&RANGE);
    let destinations = listeners(stack, 2);
    for ends in fill(&destinations[0], stack, RANGE) {
        close_client_first(ends);
    }
    // For another destination at once.
    let others = fill(&destinations[1], stack, RANGE);
    // For the same one when the timestamps are newer: more than a second.
    for _ in RANGE {
        let ends = wait::until_some("a TIME-WAIT makes way", || {
            match connect_to(&destinations[0], Sock::open(stack)) {
                Ok(ends) => Some(ends),
                Err(error) => {
                    assert_eq!(errno::of(&error), libc::EADDRNOTAVAIL);
                    None
                }
            }
        });
        check_alive([&ends]);
        close_client_first(ends);
    }
    check_alive(&others);
    set_of(stack, "tcp_tw_reuse", "0");
    expect_errno(
        Sock::open(stack).connect(&destinations[0].1),
        libc::EADDRNOTAVAIL,
    );
}

/// Without timestamps nothing tells an old segment from a new one.
fn connect__time_wait_without_timestamps_stays(stack: Stack) {
    ns::isolate();
    set_of(stack, "tcp_timestamps", "0");
    let destination = &listeners(stack, 1)[0];
    let bound = || {
        let client = Sock::open(stack);
        client.set_reuseaddr();
        client.bind(&stack.local(40_000)).expect("bind");
        client
    };
    close_client_first(connect_to(destination, bound()).expect("connect"));
    expect_errno(bound().connect(&destination.1), libc::EADDRNOTAVAIL);
}

/// An IPv6 socket that speaks IPv4 is in the same space of addresses and ports as an IPv4 one.
fn connect__dual_stack_has_the_same_ports(stack: Stack) {
    if stack.ip == Ip::V6 {
        ktap::skip("of an IPv4 destination");
    }
    ns::isolate();
    set_range(&RANGE);
    let destinations = listeners(stack, 2);
    let dual = || Sock::open(stack.with_ip(Ip::V6));
    let mapped = |(_, address): &(Sock, SocketAddr)| -> SocketAddr {
        format!("[::ffff:127.0.0.1]:{}", address.port())
            .parse()
            .expect("an address")
    };
    let mut clients = Vec::new();
    for destination in &destinations {
        let mut ports = HashSet::new();
        for turn in RANGE {
            let client = if turn % 2 == 0 {
                let client = dual();
                client.connect(&mapped(destination)).expect("connect");
                client
            } else {
                let client = Sock::open(stack);
                client.connect(&destination.1).expect("connect");
                client
            };
            ports.insert(client.port());
            clients.push((client, destination.0.accept().expect("accept").0));
        }
        assert_eq!(ports, RANGE.collect());
        expect_errno(dual().connect(&mapped(destination)), libc::EADDRNOTAVAIL);
        expect_errno(
            Sock::open(stack).connect(&destination.1),
            libc::EADDRNOTAVAIL,
        );
    }
    check_alive(&clients);
}

/// Twice as many connections as there are ports, one after the other.
fn connect__many_in_a_small_range(stack: Stack) {
    let by = transfer::divisor().min(10);
    let count = 2000 / by;
    ns::isolate();
    set_range(&(40_000..=40_000 + 1000 / by as u16 - 1));
    let (listener, address) = listening_at(stack, &stack.local(5001), 128);
    let server = thread::spawn(move || {
        for _ in 0..count {
            drop(listener.accept().expect("accept"));
        }
    });
    let mut ports = HashSet::new();
    for n in 0..count {
        let client = Sock::open(stack);
        client
            .connect(&address)
            .unwrap_or_else(|error| panic!("connect {n}: {error}"));
        ports.insert(client.port());
        assert_eq!(client.recv_to_end(), b"");
    }
    server.join();
    ktap::note(&format!("{count} connections from {} ports", ports.len()));
    // Hard to guess: not one after the other, not always the same.
    assert!(ports.len() >= 100 / by, "only {} ports", ports.len());
}

/// A port that connect has chosen can be bound with SO_REUSEADDR if all that use it have it too.
fn bind__connected_reuseaddr(stack: Stack) {
    ns::isolate();
    set_range(&(40_000..=40_000));
    let destinations = listeners(stack, 3);
    let reuse = || {
        let sock = Sock::open(stack);
        sock.set_reuseaddr();
        sock
    };
    let address = stack.local(40_000);
    let one = connect_to(&destinations[0], reuse()).expect("connect");
    let two = connect_to(&destinations[1], reuse()).expect("connect");
    expect_errno(Sock::open(stack).bind(&address), libc::EADDRINUSE);
    let bound = reuse();
    bound.bind(&address).expect("bind with SO_REUSEADDR on all");
    // Now it is a port that a program has bound: not connect's any more.
    expect_errno(reuse().connect(&destinations[2].1), libc::EADDRNOTAVAIL);
    let three = connect_to(&destinations[2], bound).expect("connect of the bound one");
    check_alive([&one, &two, &three]);
    for ends in [one, two, three] {
        close_server_first(ends);
    }

    let strict = wait::until_some("the port is free", || {
        connect_to(&destinations[0], Sock::open(stack)).ok()
    });
    let open = connect_to(&destinations[1], reuse()).expect("connect");
    expect_errno(reuse().bind(&address), libc::EADDRINUSE);
    check_alive([&strict, &open]);
}

fn bind__no_port_until_connect(stack: Stack) {
    ns::isolate();
    set_range(&RANGE);
    let destination = &listeners(stack, 1)[0];
    let client = Sock::open(stack);
    client
        .set(libc::SOL_IP, libc::IP_BIND_ADDRESS_NO_PORT, 1)
        .expect("IP_BIND_ADDRESS_NO_PORT");
    client.bind(&stack.local(0)).expect("bind");
    assert_eq!(client.local().expect("getsockname"), stack.local(0));
    let ends = connect_to(destination, client).expect("connect");
    assert!(RANGE.contains(&ends.0.port()));
    check_alive([&ends]);
}

/// Whoever has bound a port, and with SO_REUSEADDR too: connect takes others.
fn connect__bound_ports_are_not_shared(first: Stack, second: Stack) {
    ns::isolate();
    set_range(&RANGE);
    let held: Vec<Sock> = RANGE
        .take(7)
        .map(|port| {
            let sock = Sock::open(first);
            if port % 2 == 0 {
                sock.set_reuseaddr();
            }
            sock.bind(&first.local(port)).expect("bind");
            sock
        })
        .collect();
    let destinations = listeners(second, 2);
    let mut all = Vec::new();
    for destination in &destinations {
        let some = fill(destination, second, 40_007..=40_009);
        expect_errno(
            Sock::open(second).connect(&destination.1),
            libc::EADDRNOTAVAIL,
        );
        all.extend(some);
    }
    check_alive(&all);
    drop(held);
}

/// A connection of the one stack is not made by the other too.
fn connect__ports_of_the_other_stack(first: Stack, second: Stack) {
    ns::isolate();
    set_range(&RANGE);
    let destinations = listeners(first, 2);
    let all = fill(&destinations[0], first, RANGE);
    let (to, address) = &destinations[0];
    expect_errno(Sock::open(second).connect(address), libc::EADDRNOTAVAIL);
    // Nor in TIME-WAIT. (The setting is that of the built-in TCP, which may use its own ones again.)
    set_of(second, "tcp_tw_reuse", "0");
    for ends in all {
        close_client_first(ends);
    }
    expect_errno(Sock::open(second).connect(address), libc::EADDRNOTAVAIL);
    assert_eq!(
        to.poll_now(libc::POLLIN),
        0,
        "a connection came all the same"
    );
}

/// What connect kept for a while is free for the other stack in the end.
fn connect__ports_come_back(first: Stack, second: Stack) {
    const PORTS: RangeInclusive<u16> = 40_000..=40_255;
    ns::isolate();
    set_range(&PORTS);
    let destination = &listeners(first, 1)[0];
    for _ in 0..100 {
        close_server_first(open_to(destination, first));
    }
    let mut left: Vec<u16> = PORTS.collect();
    let mut held = Vec::new();
    wait::until("every port can be bound", || {
        left.retain(|port| {
            let sock = Sock::open(second);
            let result = sock.bind(&second.local(*port));
            let in_use = result.is_err();
            if !in_use {
                held.push(sock);
            }
            in_use
        });
        left.is_empty()
    });
}
