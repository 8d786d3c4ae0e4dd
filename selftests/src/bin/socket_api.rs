// SPDX-License-Identifier: GPL-2.0
//! socket(2), listen(2), accept(2), names, options: the calls themselves, and their errors.

use std::os::fd::AsRawFd;
use std::process::ExitCode;
use std::time::Duration;

use oxtcp_selftests::errno::expect_one_of;
use oxtcp_selftests::sock::RawAddr;
use oxtcp_selftests::{
    cases, connected, expect_errno, ktap, listening, stack, Ip, Pair, Sock, Stack, Suite,
};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("socket_api");
    cases!(suite.stacks:
        socket__stream, socket__protocol_tcp, socket__flags, socket__wrong_type, socket__datagram,
        socket__unknown_protocol, socket__no_pairs,
        listen__unbound_picks_port, listen__again_changes_backlog, listen__connected_is_einval,
        accept__not_listening_is_einval, accept__nonblocking_is_eagain, accept__timeout_is_eagain,
        accept4__bad_flags,
        getsockname__unbound, getsockname__truncates, getsockname__bad_pointer, getpeername__not_connected,
        recv__not_connected, send__not_connected, shutdown__not_connected,
        getsockopt__types, setsockopt__unknown_level, setsockopt__unknown_option,
        setsockopt__nothing_silently_accepted, setsockopt__rcvbuf_doubles, setsockopt__sndbuf_doubles,
        setsockopt__nodelay, setsockopt__reuseaddr, setsockopt__timeouts, setsockopt__linger,
        setsockopt__short_value,
        ioctl__unknown_is_enotty, ioctl__fionread_on_listener, fcntl__nonblock,
    );
    cases!(suite.pairs:
        accept__inherits_no_flags, accept4__flags, accept__without_address, accept__addresses_agree,
        getpeername__agrees_with_peers_sockname,
    );
    suite.once(
        "socket__protocol_chooses_ip_version",
        socket__protocol_chooses_ip_version,
    );
    suite.run()
}

fn socket__stream(stack: Stack) {
    let sock = Sock::open(stack);
    assert_eq!(
        sock.get(libc::SOL_SOCKET, libc::SO_TYPE).expect("SO_TYPE"),
        libc::SOCK_STREAM
    );
    assert_eq!(sock.take_error(), 0);
}

/// IPPROTO_TCP is what protocol 0 means: IPv4 for our family.
fn socket__protocol_tcp(stack: Stack) {
    if stack.ours && stack.ip == Ip::V6 {
        ktap::skip("protocol 6 is IPv4 here");
    }
    if stack::by_doors() {
        ktap::skip("protocol 6 of AF_INET is the built-in TCP's");
    }
    let sock =
        Sock::try_open(stack.domain(), libc::SOCK_STREAM, libc::IPPROTO_TCP).expect("socket");
    sock.bind(&stack.local(0)).expect("bind");
}

fn socket__protocol_chooses_ip_version() {
    for ip in Ip::BOTH {
        let sock = Sock::open(Stack::ours(ip));
        assert_eq!(
            sock.local().expect("getsockname").is_ipv4(),
            ip == Ip::V4,
            "{ip:?}"
        );
    }
}

fn socket__flags(stack: Stack) {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let sock = Sock::try_open(stack.domain(), libc::SOCK_STREAM | flags, stack.protocol())
        .expect("socket");
    assert_ne!(
        sock.fcntl(libc::F_GETFL, 0).expect("F_GETFL") & libc::O_NONBLOCK,
        0
    );
    assert_ne!(
        sock.fcntl(libc::F_GETFD, 0).expect("F_GETFD") & libc::FD_CLOEXEC,
        0
    );
}

fn socket__wrong_type(stack: Stack) {
    for kind in [libc::SOCK_SEQPACKET, libc::SOCK_RDM] {
        expect_errno(
            Sock::try_open(stack.domain(), kind, stack.protocol()),
            libc::ESOCKTNOSUPPORT,
        );
    }
}

fn socket__datagram(stack: Stack) {
    expect_one_of(
        Sock::try_open(stack.domain(), libc::SOCK_DGRAM, libc::IPPROTO_TCP),
        &[libc::ESOCKTNOSUPPORT, libc::EPROTONOSUPPORT],
    );
}

fn socket__unknown_protocol(stack: Stack) {
    for protocol in [2, 17, 200, 255] {
        expect_errno(
            Sock::try_open(stack.domain(), libc::SOCK_STREAM, protocol),
            libc::EPROTONOSUPPORT,
        );
    }
}

fn socket__no_pairs(stack: Stack) {
    let mut ends = [0; 2];
    // SAFETY: `ends` has room for two descriptors.
    let result = unsafe {
        libc::socketpair(
            stack.domain(),
            libc::SOCK_STREAM,
            stack.protocol(),
            ends.as_mut_ptr(),
        )
    };
    expect_errno(oxtcp_selftests::errno::check(result), libc::EOPNOTSUPP);
}

fn listen__unbound_picks_port(stack: Stack) {
    let sock = Sock::open(stack);
    assert_eq!(sock.port(), 0);
    sock.listen(1).expect("listen");
    let address = sock.local().expect("getsockname");
    assert_eq!(address.ip(), stack.unspecified());
    assert_ne!(address.port(), 0);
    let client = Sock::open(Stack::builtin(stack.ip));
    client
        .connect(&stack.local(address.port()))
        .expect("connect");
}

fn listen__again_changes_backlog(stack: Stack) {
    let (listener, address) = listening(stack, 1);
    listener.listen(100).expect("listen again");
    let clients: Vec<Sock> = (0..20)
        .map(|_| {
            let client = Sock::open(stack);
            client.connect(&address).expect("connect");
            client
        })
        .collect();
    for _ in &clients {
        listener.accept().expect("accept");
    }
}

fn listen__connected_is_einval(stack: Stack) {
    let ends = connected(Pair {
        client: stack,
        server: stack,
    });
    expect_errno(ends.client.listen(1), libc::EINVAL);
    expect_errno(ends.server.listen(1), libc::EINVAL);
    ends.check_alive();
}

fn accept__not_listening_is_einval(stack: Stack) {
    let sock = Sock::open(stack);
    expect_errno(sock.accept(), libc::EINVAL);
    sock.bind(&stack.local(0)).expect("bind");
    expect_errno(sock.accept(), libc::EINVAL);
}

fn accept__nonblocking_is_eagain(stack: Stack) {
    let (listener, _) = listening(stack, 1);
    listener.set_nonblocking(true);
    expect_errno(listener.accept(), libc::EAGAIN);
}

fn accept__timeout_is_eagain(stack: Stack) {
    let (listener, _) = listening(stack, 1);
    listener
        .set_timeout(libc::SO_RCVTIMEO, Duration::from_millis(50))
        .expect("SO_RCVTIMEO");
    expect_errno(listener.accept(), libc::EAGAIN);
}

fn accept4__bad_flags(stack: Stack) {
    let (listener, _) = listening(stack, 1);
    expect_errno(listener.accept4(0x1000_0000), libc::EINVAL);
}

/// A new connection has the listener's options and none of its descriptor's flags.
fn accept__inherits_no_flags(pair: Pair) {
    let (listener, address) = listening(pair.server, 1);
    let client = Sock::open(pair.client);
    client.connect(&address).expect("connect");
    listener.poll_wait(libc::POLLIN);
    listener.set_nonblocking(true);
    let (server, _) = listener.accept4(0).expect("accept");
    assert_eq!(
        server.fcntl(libc::F_GETFL, 0).expect("F_GETFL") & libc::O_NONBLOCK,
        0
    );
    assert_eq!(
        server.fcntl(libc::F_GETFD, 0).expect("F_GETFD") & libc::FD_CLOEXEC,
        0
    );
}

fn accept4__flags(pair: Pair) {
    let (listener, address) = listening(pair.server, 1);
    let client = Sock::open(pair.client);
    client.connect(&address).expect("connect");
    let (server, _) = listener
        .accept4(libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC)
        .expect("accept4");
    assert_ne!(
        server.fcntl(libc::F_GETFL, 0).expect("F_GETFL") & libc::O_NONBLOCK,
        0
    );
    assert_ne!(
        server.fcntl(libc::F_GETFD, 0).expect("F_GETFD") & libc::FD_CLOEXEC,
        0
    );
    expect_errno(server.recv(&mut [0], 0), libc::EAGAIN);
}

fn accept__without_address(pair: Pair) {
    let (listener, address) = listening(pair.server, 1);
    let client = Sock::open(pair.client);
    client.connect(&address).expect("connect");
    // SAFETY: no address is asked for.
    let fd = unsafe {
        libc::accept(
            listener.as_raw_fd(),
            std::ptr::null_mut(),
            std::ptr::null_mut(),
        )
    };
    assert!(fd >= 0, "accept: {}", std::io::Error::last_os_error());
}

fn accept__addresses_agree(pair: Pair) {
    let (listener, address) = listening(pair.server, 1);
    let client = Sock::open(pair.client);
    client.connect(&address).expect("connect");
    let (server, from) = listener.accept().expect("accept");
    assert_eq!(from, client.local().expect("client's name"));
    assert_eq!(server.local().expect("server's name"), address);
    assert_eq!(server.peer().expect("server's peer"), from);
}

fn getpeername__agrees_with_peers_sockname(pair: Pair) {
    let ends = connected(pair);
    let name = |sock: &Sock| sock.local().expect("getsockname");
    let peer = |sock: &Sock| sock.peer().expect("getpeername");
    assert_eq!(name(&ends.client), peer(&ends.server));
    assert_eq!(name(&ends.server), peer(&ends.client));
    assert_eq!(name(&ends.client).ip(), pair.client.loopback());
}

fn getsockname__unbound(stack: Stack) {
    assert_eq!(
        Sock::open(stack).local().expect("getsockname"),
        stack.any(0)
    );
}

/// A short buffer gets the beginning, and the length tells how much there was.
fn getsockname__truncates(stack: Stack) {
    let sock = Sock::open(stack);
    sock.bind(&stack.local(0)).expect("bind");
    let whole = RawAddr::new(&stack.local(0)).len;
    let mut bytes = [0xaa_u8; 64];
    let mut len: libc::socklen_t = 4;
    // SAFETY: the buffer is longer than `len`.
    let result =
        unsafe { libc::getsockname(sock.as_raw_fd(), bytes.as_mut_ptr().cast(), &mut len) };
    assert_eq!(result, 0);
    assert_eq!(len, whole);
    assert!(
        bytes[4..].iter().all(|byte| *byte == 0xaa),
        "written beyond the given length"
    );
    let port = sock.port().to_be_bytes();
    assert_eq!(bytes[2..4], port);
}

fn getsockname__bad_pointer(stack: Stack) {
    let sock = Sock::open(stack);
    let mut len: libc::socklen_t = 64;
    // SAFETY: the kernel refuses the address.
    let result = unsafe { libc::getsockname(sock.as_raw_fd(), 8 as *mut libc::sockaddr, &mut len) };
    expect_errno(oxtcp_selftests::errno::check(result), libc::EFAULT);
    len = -1_i32 as libc::socklen_t;
    let mut address = RawAddr::empty();
    // SAFETY: the kernel refuses the length.
    let result = unsafe { libc::getsockname(sock.as_raw_fd(), address.as_mut_ptr(), &mut len) };
    expect_errno(oxtcp_selftests::errno::check(result), libc::EINVAL);
}

fn getpeername__not_connected(stack: Stack) {
    let sock = Sock::open(stack);
    expect_errno(sock.peer(), libc::ENOTCONN);
    sock.bind(&stack.local(0)).expect("bind");
    expect_errno(sock.peer(), libc::ENOTCONN);
    sock.listen(1).expect("listen");
    expect_errno(sock.peer(), libc::ENOTCONN);
}

fn recv__not_connected(stack: Stack) {
    let sock = Sock::open(stack);
    expect_errno(sock.recv(&mut [0; 8], 0), libc::ENOTCONN);
    sock.listen(1).expect("listen");
    expect_errno(sock.recv(&mut [0; 8], 0), libc::ENOTCONN);
}

fn send__not_connected(stack: Stack) {
    let sock = Sock::open(stack);
    expect_errno(sock.send(b"x", libc::MSG_NOSIGNAL), libc::EPIPE);
    sock.listen(1).expect("listen");
    expect_errno(sock.send(b"x", libc::MSG_NOSIGNAL), libc::EPIPE);
}

fn shutdown__not_connected(stack: Stack) {
    let sock = Sock::open(stack);
    expect_errno(sock.shutdown(libc::SHUT_WR), libc::ENOTCONN);
    expect_errno(sock.shutdown(3), libc::EINVAL);
}

fn getsockopt__types(stack: Stack) {
    let sock = Sock::open(stack);
    let get = |option| sock.get(libc::SOL_SOCKET, option).expect("getsockopt");
    assert_eq!(get(libc::SO_TYPE), libc::SOCK_STREAM);
    assert_eq!(get(libc::SO_ACCEPTCONN), 0);
    assert_eq!(get(libc::SO_ERROR), 0);
    sock.listen(1).expect("listen");
    assert_eq!(get(libc::SO_ACCEPTCONN), 1);
}

fn setsockopt__unknown_level(stack: Stack) {
    let sock = Sock::open(stack);
    for level in [77, 254, 4000] {
        expect_one_of(
            sock.set(level, 1, 1),
            &[libc::ENOPROTOOPT, libc::EOPNOTSUPP],
        );
        expect_one_of(sock.get(level, 1), &[libc::ENOPROTOOPT, libc::EOPNOTSUPP]);
    }
}

fn setsockopt__unknown_option(stack: Stack) {
    let sock = Sock::open(stack);
    for level in [libc::SOL_TCP, libc::SOL_SOCKET] {
        for option in [999, 0x7fff_0000] {
            expect_errno(sock.set(level, option, 1), libc::ENOPROTOOPT);
            expect_errno(sock.get(level, option), libc::ENOPROTOOPT);
        }
    }
}

/// A TCP option that takes a value without complaint gives that value, or one bounded from it, back.
fn setsockopt__nothing_silently_accepted(stack: Stack) {
    /// The highest option of include/uapi/linux/tcp.h in Linux 7.2, and some room.
    const LAST: i32 = 60;
    /// Write-only, or given back in another form, in the built-in TCP itself: REPAIR and its parts,
    /// MD5SIG, ULP, FASTOPEN's keys, ZEROCOPY_RECEIVE, AO, QUICKACK (a mode that ends by itself),
    /// WINDOW_CLAMP (bounded by the buffer), DEFER_ACCEPT (rounded), LINGER2, IS_MPTCP, and others.
    const NOT_PLAIN: &[i32] = &[
        2, 8, 9, 10, 11, 12, 13, 14, 17, 19, 20, 21, 22, 26, 28, 29, 31, 32, 33, 34, 35, 38, 39,
        40, 41, 42, 43,
    ];
    let sock = Sock::open(stack);
    for option in (1..=LAST).filter(|option| !NOT_PLAIN.contains(option)) {
        match sock.get(libc::SOL_TCP, option) {
            Err(error) => {
                assert_eq!(
                    error.raw_os_error(),
                    Some(libc::ENOPROTOOPT),
                    "getsockopt of TCP option {option}"
                );
                // Nothing is to be read: then nothing may be set without an error.
                expect_one_of(
                    sock.set(libc::SOL_TCP, option, 1),
                    &[
                        libc::ENOPROTOOPT,
                        libc::EOPNOTSUPP,
                        libc::EINVAL,
                        libc::EPERM,
                    ],
                );
            }
            Ok(before) => {
                for value in [1, before] {
                    if sock.set(libc::SOL_TCP, option, value).is_ok() {
                        let after = sock.get(libc::SOL_TCP, option).expect("getsockopt");
                        assert_eq!(
                            after, value,
                            "TCP option {option} (was {before}) after setsockopt"
                        );
                    }
                }
            }
        }
    }
}

/// SO_RCVBUF and SO_SNDBUF keep double of what is asked for (socket(7)).
fn buffer_doubles(stack: Stack, option: i32) {
    let sock = Sock::open(stack);
    for size in [20_000, 50_000, 100_000] {
        sock.set(libc::SOL_SOCKET, option, size)
            .expect("setsockopt");
        assert_eq!(
            sock.get(libc::SOL_SOCKET, option).expect("getsockopt"),
            2 * size
        );
    }
    // One too small becomes the least that there is.
    sock.set(libc::SOL_SOCKET, option, 1).expect("setsockopt");
    assert!(sock.get(libc::SOL_SOCKET, option).expect("getsockopt") >= 2048);
}

fn setsockopt__rcvbuf_doubles(stack: Stack) {
    buffer_doubles(stack, libc::SO_RCVBUF);
}

fn setsockopt__sndbuf_doubles(stack: Stack) {
    buffer_doubles(stack, libc::SO_SNDBUF);
}

fn setsockopt__nodelay(stack: Stack) {
    let ends = connected(Pair {
        client: stack,
        server: stack,
    });
    for sock in [&Sock::open(stack), &ends.client, &ends.server] {
        assert_eq!(sock.get(libc::SOL_TCP, libc::TCP_NODELAY).expect("get"), 0);
        sock.set(libc::SOL_TCP, libc::TCP_NODELAY, 5).expect("set");
        assert_eq!(sock.get(libc::SOL_TCP, libc::TCP_NODELAY).expect("get"), 1);
        sock.set(libc::SOL_TCP, libc::TCP_NODELAY, 0).expect("set");
        assert_eq!(sock.get(libc::SOL_TCP, libc::TCP_NODELAY).expect("get"), 0);
    }
    ends.check_alive();
}

fn setsockopt__reuseaddr(stack: Stack) {
    let sock = Sock::open(stack);
    assert_eq!(
        sock.get(libc::SOL_SOCKET, libc::SO_REUSEADDR).expect("get"),
        0
    );
    sock.set_reuseaddr();
    assert_eq!(
        sock.get(libc::SOL_SOCKET, libc::SO_REUSEADDR).expect("get"),
        1
    );
}

fn setsockopt__timeouts(stack: Stack) {
    let sock = Sock::open(stack);
    for option in [libc::SO_RCVTIMEO, libc::SO_SNDTIMEO] {
        sock.set_timeout(option, Duration::from_secs(3))
            .expect("setsockopt");
        let mut bytes = [0; 16];
        assert_eq!(
            sock.get_bytes(libc::SOL_SOCKET, option, &mut bytes)
                .expect("getsockopt"),
            16
        );
        assert_eq!(bytes[..8], 3_i64.to_ne_bytes());
        assert_eq!(bytes[8..], 0_i64.to_ne_bytes());
        // Microseconds beyond a second are a mistake (EDOM).
        let wrong: Vec<u8> = [0_i64, 1_000_000]
            .iter()
            .flat_map(|part| part.to_ne_bytes())
            .collect();
        expect_errno(sock.set_bytes(libc::SOL_SOCKET, option, &wrong), libc::EDOM);
    }
}

fn setsockopt__linger(stack: Stack) {
    let sock = Sock::open(stack);
    sock.set_linger(true, 7).expect("SO_LINGER");
    let mut bytes = [0; 8];
    sock.get_bytes(libc::SOL_SOCKET, libc::SO_LINGER, &mut bytes)
        .expect("SO_LINGER");
    assert_eq!(bytes, [1, 0, 0, 0, 7, 0, 0, 0]);
    sock.set_linger(false, 0).expect("SO_LINGER");
}

fn setsockopt__short_value(stack: Stack) {
    let sock = Sock::open(stack);
    expect_errno(
        sock.set_bytes(libc::SOL_TCP, libc::TCP_NODELAY, &[1]),
        libc::EINVAL,
    );
    // getsockopt cuts the value to the room that there is.
    let mut one = [0xaa; 1];
    assert_eq!(
        sock.get_bytes(libc::SOL_TCP, libc::TCP_NODELAY, &mut one)
            .expect("get"),
        1
    );
    assert_eq!(one, [0]);
}

fn ioctl__unknown_is_enotty(stack: Stack) {
    expect_errno(Sock::open(stack).ioctl(0x7777), libc::ENOTTY);
}

fn ioctl__fionread_on_listener(stack: Stack) {
    let (listener, _) = listening(stack, 1);
    expect_errno(listener.ioctl(libc::FIONREAD), libc::EINVAL);
}

fn fcntl__nonblock(stack: Stack) {
    let ends = connected(Pair {
        client: stack,
        server: stack,
    });
    ends.client.set_nonblocking(true);
    expect_errno(ends.client.recv(&mut [0; 4], 0), libc::EAGAIN);
    ends.client.set_nonblocking(false);
    ends.client
        .set_timeout(libc::SO_RCVTIMEO, Duration::from_millis(20))
        .expect("SO_RCVTIMEO");
    expect_errno(ends.client.recv(&mut [0; 4], 0), libc::EAGAIN);
}
