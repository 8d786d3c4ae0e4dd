// SPDX-License-Identifier: GPL-2.0
//! connect(2): success, refusal, silence, and the two IP versions on one socket.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use oxtcp_selftests::connection::{listening_at, Connected};
use oxtcp_selftests::errno;
use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::sock::RawAddr;
use oxtcp_selftests::{
    cases, connected, expect_errno, ktap, listening, Ip, Pair, Sock, Stack, Suite,
};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("connect");
    cases!(suite.stacks:
        connect__refused_by_nobody, connect__refused_then_again, connect__port_zero, connect__unreachable,
        connect__multicast, connect__short_address, connect__wrong_family, connect__listener_is_eisconn,
        connect__in_progress_then_ealready, connect__send_timeout_is_einprogress,
        connect__send_before_established, connect__to_itself, connect__crossing_syns,
        connect__nonblocking_refused, connect__bad_pointer,
    );
    cases!(suite.pairs:
        connect__blocking, connect__nonblocking, connect__twice_is_eisconn, connect__refused,
        connect__wildcard_is_loopback, connect__from_bound_port, connect__bound_address_used,
        connect__unspec_disconnects, connect__over_veth,
    );
    cases!(suite.neighbours:
        dualstack__mapped_connect, dualstack__mapped_bind, dualstack__v6only_refuses_ipv4,
        dualstack__v6only_connect_mapped, dualstack__accept_names_are_mapped,
        dualstack__other_version_after_a_disconnect,
    );
    suite.run()
}

/// A port that was free a moment ago; in a namespace of its own nobody takes it meanwhile.
fn free_port(stack: Stack) -> SocketAddr {
    let sock = Sock::open(Stack::builtin(stack.ip));
    sock.bind(&stack.local(0)).expect("bind");
    sock.local().expect("getsockname")
}

fn connect__blocking(pair: Pair) {
    connected(pair).check_alive();
}

fn connect__nonblocking(pair: Pair) {
    let (listener, address) = listening(pair.server, 1);
    let client = Sock::open_nonblocking(pair.client);
    match client.connect(&address) {
        Ok(()) => {}
        result => expect_errno(result, libc::EINPROGRESS),
    }
    let events = client.poll_wait(libc::POLLOUT);
    assert_eq!(events, libc::POLLOUT);
    assert_eq!(client.take_error(), 0);
    let (server, _) = listener.accept().expect("accept");
    client.set_nonblocking(false);
    Connected { client, server }.check_alive();
}

fn connect__twice_is_eisconn(pair: Pair) {
    let ends = connected(pair);
    let address = ends.client.peer().expect("getpeername");
    expect_errno(ends.client.connect(&address), libc::EISCONN);
    expect_errno(ends.server.connect(&address), libc::EISCONN);
    ends.check_alive();
}

/// The peer's host has no such listener: a bound socket of the peer's stack does not count as one.
fn connect__refused(pair: Pair) {
    let bound = Sock::open(pair.server);
    bound.bind(&pair.server.local(0)).expect("bind");
    let address = bound.local().expect("getsockname");
    expect_errno(
        Sock::open(pair.client).connect(&address),
        libc::ECONNREFUSED,
    );
}

fn connect__refused_by_nobody(stack: Stack) {
    ns::isolate();
    let sock = Sock::open(stack);
    expect_errno(sock.connect(&free_port(stack)), libc::ECONNREFUSED);
    assert_eq!(
        sock.take_error(),
        0,
        "connect has returned the error already"
    );
    expect_errno(sock.peer(), libc::ENOTCONN);
}

fn connect__refused_then_again(stack: Stack) {
    ns::isolate();
    let client = Sock::open(stack);
    expect_errno(client.connect(&free_port(stack)), libc::ECONNREFUSED);
    let (listener, address) = listening(stack, 1);
    client
        .connect(&address)
        .expect("connect on the same socket");
    let (server, _) = listener.accept().expect("accept");
    Connected { client, server }.check_alive();
}

fn connect__nonblocking_refused(stack: Stack) {
    ns::isolate();
    let sock = Sock::open_nonblocking(stack);
    match sock.connect(&free_port(stack)) {
        Err(error) if errno::of(&error) == libc::EINPROGRESS => {
            let events = sock.poll_wait(libc::POLLOUT);
            assert_ne!(events & libc::POLLERR, 0, "{events:#x}");
            assert_ne!(events & libc::POLLHUP, 0, "{events:#x}");
            assert_eq!(sock.take_error(), libc::ECONNREFUSED);
            assert_eq!(sock.take_error(), 0);
        }
        result => expect_errno(result, libc::ECONNREFUSED),
    }
}

fn connect__port_zero(stack: Stack) {
    ns::isolate();
    expect_errno(
        Sock::open(stack).connect(&stack.local(0)),
        libc::ECONNREFUSED,
    );
}

fn connect__unreachable(stack: Stack) {
    ns::isolate();
    expect_errno(
        Sock::open(stack).connect(&stack.foreign(80)),
        libc::ENETUNREACH,
    );
}

fn connect__multicast(stack: Stack) {
    let _link = Veth::make();
    let group: SocketAddr = match stack.ip {
        Ip::V4 => "224.0.0.1:80".parse().expect("an address"),
        Ip::V6 => SocketAddr::new("ff05::1".parse().expect("an address"), 80),
    };
    expect_errno(Sock::open(stack).connect(&group), libc::ENETUNREACH);
}

fn connect__short_address(stack: Stack) {
    let mut raw = RawAddr::new(&stack.local(80));
    raw.len = 8;
    expect_errno(Sock::open(stack).connect_raw(&raw), libc::EINVAL);
}

fn connect__wrong_family(stack: Stack) {
    let mut raw = RawAddr::new(&stack.local(80));
    raw.storage.ss_family = libc::AF_UNIX as u16;
    expect_errno(Sock::open(stack).connect_raw(&raw), libc::EAFNOSUPPORT);
}

fn connect__bad_pointer(stack: Stack) {
    let sock = Sock::open(stack);
    // SAFETY: the kernel refuses the address.
    let result = unsafe { libc::connect(sock.fd(), 8 as *const libc::sockaddr, 28) };
    expect_errno(errno::check(result), libc::EFAULT);
}

fn connect__listener_is_eisconn(stack: Stack) {
    let (listener, address) = listening(stack, 1);
    expect_errno(listener.connect(&address), libc::EISCONN);
}

fn connect__in_progress_then_ealready(stack: Stack) {
    let _link = Veth::make();
    let address = Veth::address_of_nobody(stack.ip, 80);
    let sock = Sock::open_nonblocking(stack);
    expect_errno(sock.connect(&address), libc::EINPROGRESS);
    expect_errno(sock.connect(&address), libc::EALREADY);
    assert_eq!(sock.poll_now(libc::POLLIN | libc::POLLOUT), 0);
    expect_errno(sock.peer(), libc::ENOTCONN);
    assert_eq!(sock.take_error(), 0);
    assert_ne!(sock.port(), 0);
}

/// A blocking connect that SO_SNDTIMEO ends says EINPROGRESS, and goes on behind it.
fn connect__send_timeout_is_einprogress(stack: Stack) {
    let _link = Veth::make();
    let address = Veth::address_of_nobody(stack.ip, 80);
    let sock = Sock::open(stack);
    sock.set_timeout(libc::SO_SNDTIMEO, Duration::from_millis(50))
        .expect("SO_SNDTIMEO");
    expect_errno(sock.connect(&address), libc::EINPROGRESS);
    sock.set_nonblocking(true);
    expect_errno(sock.connect(&address), libc::EALREADY);
}

fn connect__send_before_established(stack: Stack) {
    let _link = Veth::make();
    let sock = Sock::open_nonblocking(stack);
    expect_errno(
        sock.connect(&Veth::address_of_nobody(stack.ip, 80)),
        libc::EINPROGRESS,
    );
    expect_errno(sock.send(b"early", libc::MSG_NOSIGNAL), libc::EAGAIN);
    expect_errno(sock.recv(&mut [0; 8], 0), libc::EAGAIN);
}

/// A socket that connects to its own port meets its own SYN: RFC 9293's simultaneous open.
fn connect__to_itself(stack: Stack) {
    ns::isolate();
    let sock = Sock::open(stack);
    sock.bind(&stack.local(5001)).expect("bind");
    sock.connect(&stack.local(5001)).expect("connect to itself");
    assert_eq!(
        sock.peer().expect("getpeername"),
        sock.local().expect("getsockname")
    );
    sock.send_all(b"to myself");
    assert_eq!(sock.recv_exact(9), b"to myself");
}

/// Two sockets that connect to each other at once. What is sure: both connect and talk, or each hears
/// of a refusal, when its SYN came before the other had connected; it then tries again.
fn connect__crossing_syns(stack: Stack) {
    let link = Veth::make();
    ns::sh_or_skip("tc qdisc add dev va root netem delay 50ms");
    link.b
        .run(|| ns::sh("tc qdisc add dev vb root netem delay 50ms"));
    let (a, b) = (
        Veth::address_a(stack.ip, 5001),
        Veth::address_b(stack.ip, 5002),
    );
    let one = Sock::open_nonblocking(stack);
    let two = link.b.run(|| Sock::open_nonblocking(stack));
    one.bind(&a).expect("bind");
    two.bind(&b).expect("bind");
    expect_errno(one.connect(&b), libc::EINPROGRESS);
    expect_errno(two.connect(&a), libc::EINPROGRESS);
    for sock in [&one, &two] {
        sock.poll_wait(libc::POLLOUT);
        let error = sock.take_error();
        if error == libc::ECONNREFUSED {
            ktap::skip("the machine was too slow for the SYNs to cross");
        }
        assert_eq!(error, 0);
        sock.set_nonblocking(false);
    }
    Connected {
        client: one,
        server: two,
    }
    .check_alive();
}

fn connect__wildcard_is_loopback(pair: Pair) {
    let (listener, address) = listening(pair.server, 1);
    let client = Sock::open(pair.client);
    client
        .connect(&pair.client.any(address.port()))
        .expect("connect to the wildcard");
    let (server, _) = listener.accept().expect("accept");
    assert_eq!(
        client.peer().expect("getpeername").ip(),
        pair.client.loopback()
    );
    Connected { client, server }.check_alive();
}

fn connect__from_bound_port(pair: Pair) {
    ns::isolate();
    let (listener, address) = listening(pair.server, 1);
    let client = Sock::open(pair.client);
    client.bind(&pair.client.any(5001)).expect("bind");
    client.connect(&address).expect("connect");
    let (_server, from) = listener.accept().expect("accept");
    assert_eq!(from, pair.client.local(5001));
    assert_eq!(client.local().expect("getsockname"), from);
}

fn connect__bound_address_used(pair: Pair) {
    ns::isolate();
    if pair.ip() == Ip::V6 {
        ns::sh("ip addr add 2001:db8:7::1/128 dev lo nodad");
    }
    let source: IpAddr = match pair.ip() {
        Ip::V4 => Ipv4Addr::new(127, 0, 0, 9).into(),
        Ip::V6 => "2001:db8:7::1".parse().expect("an address"),
    };
    let (listener, address) = listening(pair.server, 1);
    let client = Sock::open(pair.client);
    client.bind(&SocketAddr::new(source, 0)).expect("bind");
    client.connect(&address).expect("connect");
    assert_eq!(listener.accept().expect("accept").1.ip(), source);
}

fn connect__unspec_disconnects(pair: Pair) {
    let ends = connected(pair);
    match ends.client.connect_raw(&RawAddr::unspecified()) {
        Err(error) if errno::of(&error) == libc::EOPNOTSUPP => {
            ktap::skip("connect with AF_UNSPEC: EOPNOTSUPP")
        }
        result => result.expect("connect with AF_UNSPEC"),
    }
    expect_errno(ends.client.peer(), libc::ENOTCONN);
    expect_errno(ends.server.recv(&mut [0; 4], 0), libc::ECONNRESET);
    let (listener, address) = listening(pair.server, 1);
    ends.client.connect(&address).expect("connect anew");
    let (server, _) = listener.accept().expect("accept");
    Connected {
        client: ends.client,
        server,
    }
    .check_alive();
}

fn connect__over_veth(pair: Pair) {
    let link = Veth::make();
    let (listener, address) = link
        .b
        .run(|| listening_at(pair.server, &Veth::address_b(pair.ip(), 5001), 1));
    let client = Sock::open(pair.client);
    client.connect(&address).expect("connect");
    let (server, from) = listener.accept().expect("accept");
    assert_eq!(from.ip(), Veth::address_a(pair.ip(), 0).ip());
    Connected { client, server }.check_alive();
}

fn mapped(address: SocketAddr) -> SocketAddr {
    match address.ip() {
        IpAddr::V4(ip) => SocketAddr::new(ip.to_ipv6_mapped().into(), address.port()),
        IpAddr::V6(_) => address,
    }
}

/// The dual-stack tests look at one socket of IPv6 and one of IPv4: the version of the matrix says
/// which of the two is the first.
fn v6_and_v4(first: Stack, second: Stack) -> (Stack, Stack) {
    match first.ip {
        Ip::V6 => (first, second.with_ip(Ip::V4)),
        Ip::V4 => (second.with_ip(Ip::V6), first),
    }
}

fn dualstack__mapped_connect(first: Stack, second: Stack) {
    let (v6, v4) = v6_and_v4(first, second);
    let (listener, address) = listening(v4, 1);
    let client = Sock::open(v6);
    client
        .connect(&mapped(address))
        .expect("connect to a mapped address");
    let (server, from) = listener.accept().expect("accept");
    assert_eq!(from.ip(), v4.loopback());
    assert_eq!(client.peer().expect("getpeername"), mapped(address));
    assert_eq!(client.local().expect("getsockname"), mapped(from));
    Connected { client, server }.check_alive();
}

/// The route of the first connection is not the second one's. (IPv6 first: the built-in TCP has no way back.)
fn dualstack__other_version_after_a_disconnect(first: Stack, second: Stack) {
    let (v6, v4) = v6_and_v4(first, second);
    let client = Sock::open(v6);
    for (stack, name) in [
        (v6, SocketAddr::from as fn(SocketAddr) -> SocketAddr),
        (v4, mapped),
    ] {
        let (listener, address) = listening(stack, 1);
        client.connect(&name(address)).expect("connect");
        let (server, from) = listener.accept().expect("accept");
        assert_eq!(from.ip(), stack.loopback());
        assert_eq!(client.peer().expect("getpeername"), name(address));
        Connected {
            client: client.try_clone(),
            server,
        }
        .check_alive();
        client
            .connect_raw(&RawAddr::unspecified())
            .expect("connect with AF_UNSPEC");
        expect_errno(client.peer(), libc::ENOTCONN);
    }
}

fn dualstack__mapped_bind(first: Stack, second: Stack) {
    let (v6, v4) = v6_and_v4(first, second);
    let (listener, address) = listening_at(v6, &mapped(v4.local(0)), 1);
    assert_eq!(
        address.ip(),
        IpAddr::from(Ipv4Addr::LOCALHOST.to_ipv6_mapped())
    );
    let client = Sock::open(v4);
    client.connect(&v4.local(address.port())).expect("connect");
    let (server, from) = listener.accept().expect("accept");
    assert_eq!(from, mapped(client.local().expect("getsockname")));
    Connected { client, server }.check_alive();
    // The listener is IPv4's alone.
    let stranger = Sock::open(v6);
    expect_errno(
        stranger.connect(&SocketAddr::new(Ipv6Addr::LOCALHOST.into(), address.port())),
        libc::ECONNREFUSED,
    );
}

fn dualstack__accept_names_are_mapped(first: Stack, second: Stack) {
    let (v6, v4) = v6_and_v4(first, second);
    let (listener, address) = listening_at(v6, &v6.any(0), 2);
    for client_stack in [v4, v6] {
        let client = Sock::open(client_stack);
        client
            .connect(&client_stack.local(address.port()))
            .expect("connect");
        let (server, from) = listener.accept().expect("accept");
        assert_eq!(from, mapped(client.local().expect("getsockname")));
        assert_eq!(
            server.local().expect("getsockname"),
            mapped(client.peer().expect("getpeername"))
        );
        Connected { client, server }.check_alive();
    }
}

fn dualstack__v6only_refuses_ipv4(first: Stack, second: Stack) {
    let (v6, v4) = v6_and_v4(first, second);
    let listener = Sock::open(v6);
    assert_eq!(
        listener
            .get(libc::SOL_IPV6, libc::IPV6_V6ONLY)
            .expect("IPV6_V6ONLY"),
        0
    );
    listener
        .set(libc::SOL_IPV6, libc::IPV6_V6ONLY, 1)
        .expect("IPV6_V6ONLY");
    assert_eq!(
        listener
            .get(libc::SOL_IPV6, libc::IPV6_V6ONLY)
            .expect("IPV6_V6ONLY"),
        1
    );
    expect_errno(listener.bind(&mapped(v4.local(0))), libc::EINVAL);
    listener.bind(&v6.any(0)).expect("bind");
    // Once bound it cannot be changed.
    expect_errno(
        listener.set(libc::SOL_IPV6, libc::IPV6_V6ONLY, 0),
        libc::EINVAL,
    );
    listener.listen(1).expect("listen");
    expect_errno(
        Sock::open(v4).connect(&v4.local(listener.port())),
        libc::ECONNREFUSED,
    );
    let client = Sock::open(v6);
    client
        .connect(&v6.local(listener.port()))
        .expect("connect over IPv6");
}

fn dualstack__v6only_connect_mapped(first: Stack, second: Stack) {
    let (v6, v4) = v6_and_v4(first, second);
    let (_listener, address) = listening(v4, 1);
    let client = Sock::open(v6);
    client
        .set(libc::SOL_IPV6, libc::IPV6_V6ONLY, 1)
        .expect("IPV6_V6ONLY");
    expect_errno(client.connect(&mapped(address)), libc::ENETUNREACH);
}
