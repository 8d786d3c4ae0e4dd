// SPDX-License-Identifier: GPL-2.0
//! Sockets of ours by AF_INET and AF_INET6, with a protocol number of the socket layer's: what they are like, beside those of
//! the family; who may refuse them; what holds the module.
//!
//! What works on them is what works on the family's: `--doors`, with any other program, runs its tests on them.

use std::fs;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::ExitCode;

use oxtcp_selftests::errno::check;
use oxtcp_selftests::ns::{self, sh};
use oxtcp_selftests::sock::RawAddr;
use oxtcp_selftests::{
    cases, connected, diag, expect_errno, ktap, listening, procnet, stack, thread, transfer, wait,
    Ip, Pair, Sock, Stack, Suite,
};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("doors");
    if !stack::builtin_only() {
        stack::use_doors();
    }
    cases!(suite.stacks:
        socket__flags, socket__other_types, socket__other_numbers, socket__names, socket__like_the_familys,
        listings__with_the_familys, ports__shared, connect__with_the_family, options__of_other_sockets,
        cgroup__refuses, module__is_held_until_close,
    );
    cases!(suite.pairs: accept__of_the_listeners_kind, data__both_ways, poll__connects);
    suite.once("dual_stack__mapped", dual_stack__mapped);
    suite.once("dual_stack__v6only", dual_stack__v6only);
    suite.once("socket__by_many_threads", socket__by_many_threads);
    suite.run()
}

/// A socket of the family, with the stack's IP version.
fn of_family(stack: Stack) -> Sock {
    let protocol = if stack.ip == Ip::V6 { 1 } else { 0 };
    Sock::try_open(stack::family_number(), libc::SOCK_STREAM, protocol).expect("the family's")
}

/// Skips what is about the module in a run on the built-in TCP.
fn ours_alone() {
    if stack::builtin_only() {
        ktap::skip("about our module");
    }
}

fn socket_option(sock: &Sock, option: i32) -> i32 {
    sock.get(libc::SOL_SOCKET, option).expect("getsockopt")
}

fn socket__flags(stack: Stack) {
    let flags = libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    let sock = Sock::try_open(stack.domain(), libc::SOCK_STREAM | flags, stack.protocol())
        .expect("socket");
    let flag = |get, bit| sock.fcntl(get, 0).expect("fcntl") & bit != 0;
    assert!(flag(libc::F_GETFL, libc::O_NONBLOCK));
    assert!(flag(libc::F_GETFD, libc::FD_CLOEXEC));
    sock.listen(1).expect("listen");
    expect_errno(sock.accept(), libc::EAGAIN);
}

/// The number is one of streams.
fn socket__other_types(stack: Stack) {
    ours_alone();
    for (kind, errno) in [
        (libc::SOCK_DGRAM, libc::EPROTONOSUPPORT),
        (libc::SOCK_SEQPACKET, libc::ESOCKTNOSUPPORT),
        (libc::SOCK_RDM, libc::ESOCKTNOSUPPORT),
    ] {
        expect_errno(
            Sock::try_open(stack.domain(), kind, stack.protocol()),
            errno,
        );
    }
}

/// The built-in TCP's sockets are the built-in TCP's.
fn socket__other_numbers(stack: Stack) {
    let builtin = Stack::builtin(stack.ip);
    for protocol in [0, libc::IPPROTO_TCP] {
        let sock =
            Sock::try_open(builtin.domain(), libc::SOCK_STREAM, protocol).expect("the built-in's");
        assert_eq!(
            socket_option(&sock, libc::SO_PROTOCOL),
            libc::IPPROTO_TCP,
            "{protocol}"
        );
        sock.bind(&builtin.local(0)).expect("bind");
        sock.listen(1).expect("listen");
        let listed = |stack| {
            procnet::entries(stack)
                .iter()
                .any(|e| e.local.port() == sock.port())
        };
        assert!(listed(builtin));
        assert!(stack::builtin_only() || !listed(stack));
    }
    expect_errno(
        Sock::try_open(builtin.domain(), libc::SOCK_STREAM, 252),
        libc::EPROTONOSUPPORT,
    );
}

/// Names are of AF_INET and AF_INET6, and no others are taken.
fn socket__names(stack: Stack) {
    let other = match stack.ip {
        Ip::V4 => Ip::V6,
        Ip::V6 => Ip::V4,
    };
    let sock = Sock::open(stack);
    let wrong = RawAddr::new(&Stack::builtin(other).local(0));
    assert!(sock.bind_raw(&wrong).is_err(), "a name of {other:?}");
    sock.bind(&stack.local(0)).expect("bind");
    let name = sock.local().expect("getsockname");
    assert_eq!(name.ip(), stack.loopback());
    assert_ne!(name.port(), 0);
    expect_errno(sock.peer(), libc::ENOTCONN);
}

/// The options that a socket begins with, and what it says of itself.
fn socket__like_the_familys(stack: Stack) {
    ours_alone();
    let sock = Sock::open(stack);
    assert_eq!(socket_option(&sock, libc::SO_DOMAIN), stack.domain());
    assert_eq!(socket_option(&sock, libc::SO_TYPE), libc::SOCK_STREAM);
    let protocol = socket_option(&sock, libc::SO_PROTOCOL);
    assert_eq!(protocol & 0xff, libc::IPPROTO_TCP, "{protocol:#x}");

    let family = of_family(stack);
    let of_socket = (1..=90).filter(|name| {
        // Names of the peer's and of time, and those that tell one socket from another.
        ![
            libc::SO_INCOMING_CPU,
            libc::SO_COOKIE,
            libc::SO_NETNS_COOKIE,
        ]
        .contains(name)
    });
    let options = Iterator::chain(
        of_socket.map(|name| (libc::SOL_SOCKET, name)),
        [libc::SOL_TCP, libc::SOL_IP, libc::SOL_IPV6]
            .into_iter()
            .flat_map(|level| (1..=80).map(move |name| (level, name))),
    );
    let mut had = 0;
    for (level, name) in options {
        let ask = |sock: &Sock| {
            let mut value = [0; 256];
            let len = sock.get_bytes(level, name, &mut value);
            len.map(|len| value[..len].to_vec())
                .map_err(|error| error.raw_os_error())
        };
        let (theirs, ours) = (ask(&family), ask(&sock));
        // TCP_INFO has times.
        if (level, name) != (libc::SOL_TCP, libc::TCP_INFO) {
            assert_eq!(ours, theirs, "option {name} of level {level}");
        }
        had += usize::from(ours.is_ok());
    }
    assert!(had > 60, "{had} options were compared");
}

/// Where the family's are listed they are, and not among the built-in TCP's.
fn listings__with_the_familys(stack: Stack) {
    ns::isolate();
    let (listener, address) = listening(stack, 1);
    assert!(procnet::entries(stack).iter().any(|e| e.local == address));
    assert!(diag::all(stack)
        .iter()
        .any(|told| told.local.port() == address.port()));
    if stack::builtin_only() {
        return;
    }
    let builtin = Stack::builtin(stack.ip);
    let others = procnet::entries(builtin);
    assert!(others.iter().all(|e| e.local != address), "{others:?}");
    drop(listener);
    assert!(procnet::entries(stack).is_empty());
}

/// One space of ports with the family's and with the built-in TCP's.
fn ports__shared(stack: Stack) {
    let (_listener, address) = listening(stack, 1);
    let builtin = Sock::open(Stack::builtin(stack.ip));
    expect_errno(builtin.bind(&address), libc::EADDRINUSE);
    if stack::builtin_only() {
        return;
    }
    expect_errno(of_family(stack).bind(&address), libc::EADDRINUSE);
    expect_errno(Sock::open(stack).bind(&address), libc::EADDRINUSE);
}

/// To the family's, and from there.
fn connect__with_the_family(stack: Stack) {
    ours_alone();
    for from_family in [false, true] {
        let (listener, client) = match from_family {
            true => (Sock::open(stack), of_family(stack)),
            false => (of_family(stack), Sock::open(stack)),
        };
        listener.bind(&stack.local(0)).expect("bind");
        listener.listen(1).expect("listen");
        let address = listener.local().expect("getsockname");
        client.connect(&address).expect("connect");
        let (server, from) = listener.accept().expect("accept");
        assert_eq!(from, client.local().expect("getsockname"));
        oxtcp_selftests::Connected { client, server }.check_alive();
    }
}

/// What makes a TCP's socket into another thing is the built-in TCP's.
fn options__of_other_sockets(stack: Stack) {
    ours_alone();
    let sock = Sock::open(stack);
    let tls = sock.set_bytes(libc::SOL_TCP, libc::TCP_ULP, b"tls\0");
    expect_errno(tls, libc::ENOPROTOOPT);
    assert!(sock
        .set(libc::SOL_IPV6, libc::IPV6_ADDRFORM, libc::AF_INET)
        .is_err());
    for (level, name, value) in match stack.ip {
        Ip::V4 => vec![
            (libc::SOL_IP, libc::IP_TTL, 9),
            (libc::SOL_IP, libc::IP_TOS, 8),
        ],
        Ip::V6 => vec![
            (libc::SOL_IPV6, libc::IPV6_UNICAST_HOPS, 9),
            (libc::SOL_IPV6, libc::IPV6_TCLASS, 8),
            (libc::SOL_IP, libc::IP_TTL, 9),
        ],
    } {
        sock.set(level, name, value).expect("setsockopt");
        assert_eq!(sock.get(level, name).expect("getsockopt"), value);
    }
}

/// The number of references on the module that programs have.
fn module_references() -> i64 {
    let text = fs::read_to_string("/sys/module/oxtcp/refcnt").expect("the module's references");
    text.trim().parse().expect("a number")
}

/// A program of a cgroup that lets no socket be made (BPF_CGROUP_INET_SOCK_CREATE) is asked, and nothing is left of what it refuses.
fn cgroup__refuses(stack: Stack) {
    let folder = std::env::temp_dir().join(format!("oxtcp-doors-{}", std::process::id()));
    let folder = folder.display();
    // A mount namespace of the test's own: what is mounted goes with it.
    // SAFETY: a plain number.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) }).expect("a mount namespace");
    sh("mount --make-rprivate /");
    sh(&format!(
        "mkdir -p {folder} && mount -t cgroup2 none {folder}"
    ));
    let here = format!("{folder}/oxtcp-doors-{}", std::process::id());
    sh(&format!("mkdir {here}"));
    let cgroup = fs::File::open(&here).expect("the cgroup");
    attach(&refusing_program(), &cgroup);
    drop(cgroup);
    let references = stack.ours.then(module_references);
    let open = || Sock::try_open(stack.domain(), libc::SOCK_STREAM, stack.protocol());
    drop(open().expect("outside of the cgroup"));
    fs::write(format!("{here}/cgroup.procs"), "0").expect("into the cgroup");
    for _ in 0..100 {
        expect_errno(open(), libc::EPERM);
    }
    fs::write(format!("{folder}/cgroup.procs"), "0").expect("out of the cgroup");
    drop(open().expect("outside of the cgroup"));
    if let Some(before) = references {
        // They are freed by RCU.
        wait::until("the module's references", || module_references() == before);
    }
    sh(&format!(
        "rmdir {here} && umount -l {folder} && rmdir {folder}"
    ));
}

/// Loads `return 0`, for BPF_CGROUP_INET_SOCK_CREATE.
fn refusing_program() -> OwnedFd {
    const BPF_PROG_LOAD: i64 = 5;
    const BPF_PROG_TYPE_CGROUP_SOCK: u32 = 9;
    /// `r0 = 0; exit`.
    const CODE: [u64; 2] = [0xb7, 0x95];
    /// The beginning of `union bpf_attr` for this command; the kernel takes the rest for zeroes.
    #[repr(C)]
    struct Load {
        prog_type: u32,
        insn_cnt: u32,
        insns: u64,
        license: u64,
    }
    let load = Load {
        prog_type: BPF_PROG_TYPE_CGROUP_SOCK,
        insn_cnt: CODE.len() as u32,
        insns: CODE.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
    };
    // SAFETY: the attributes, and what they point to, are valid for the call.
    let fd = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_LOAD,
            &raw const load,
            size_of::<Load>(),
        )
    };
    let fd = check(fd as i32).expect("BPF_PROG_LOAD");
    // SAFETY: just made, owned by nobody else.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

fn attach(program: &OwnedFd, cgroup: &fs::File) {
    const BPF_PROG_ATTACH: i64 = 8;
    const BPF_CGROUP_INET_SOCK_CREATE: u32 = 2;
    let attributes = [
        cgroup.as_raw_fd() as u32,
        program.as_raw_fd() as u32,
        BPF_CGROUP_INET_SOCK_CREATE,
        0,
    ];
    // SAFETY: the attributes are valid for the call.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            BPF_PROG_ATTACH,
            attributes.as_ptr(),
            size_of_val(&attributes),
        )
    };
    check(result as i32).expect("BPF_PROG_ATTACH");
}

/// An open socket holds the module; what is closed does not, though its connection has not ended.
fn module__is_held_until_close(stack: Stack) {
    ours_alone();
    let before = module_references();
    let sock = Sock::open(stack);
    assert!(module_references() > before);
    drop(sock);
    assert_eq!(module_references(), before);

    let (listener, address) = listening(stack, 1);
    let of_listener = module_references();
    let peer = Sock::open(Stack::builtin(stack.ip));
    peer.connect(&address).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    // Who is accepted is held by its `struct socket` alone, as the family's are.
    assert_eq!(module_references(), of_listener + 1);
    drop((listener, server));
    assert_eq!(module_references(), before);

    let ends = connected(Pair {
        client: stack,
        server: Stack::builtin(stack.ip),
    });
    let (local, remote) = (
        ends.client.local().expect("name"),
        ends.client.peer().expect("name"),
    );
    drop(ends.client);
    assert!(procnet::state_of(stack, local, remote).is_some());
    assert_eq!(module_references(), before);
}

fn accept__of_the_listeners_kind(pair: Pair) {
    let (listener, address) = listening(pair.server, 1);
    let client = Sock::open(pair.client);
    client.connect(&address).expect("connect");
    let (server, from) = listener.accept().expect("accept");
    assert_eq!(from, client.local().expect("getsockname"));
    assert_eq!(server.local().expect("getsockname"), address);
    assert_eq!(server.peer().expect("getpeername"), from);
    for option in [libc::SO_DOMAIN, libc::SO_TYPE, libc::SO_PROTOCOL] {
        assert_eq!(
            socket_option(&server, option),
            socket_option(&listener, option)
        );
    }
    let ours = pair.server.ours;
    assert_eq!(
        socket_option(&server, libc::SO_PROTOCOL) != libc::IPPROTO_TCP,
        ours
    );
    assert!(procnet::state_of(pair.server, address, from).is_some());
    server
        .set(libc::SOL_TCP, libc::TCP_NODELAY, 1)
        .expect("TCP_NODELAY");
    oxtcp_selftests::Connected { client, server }.check_alive();
}

fn data__both_ways(pair: Pair) {
    transfer::both_ways(connected(pair), 1 << 20);
}

fn poll__connects(pair: Pair) {
    let (listener, address) = listening(pair.server, 1);
    let client = Sock::open_nonblocking(pair.client);
    assert_eq!(
        client.poll_now(libc::POLLIN | libc::POLLOUT) & libc::POLLIN,
        0
    );
    let _ = client.connect(&address);
    client.poll_until_all(libc::POLLOUT);
    assert_eq!(client.take_error(), 0);
    listener.poll_until_all(libc::POLLIN);
    let (server, _) = listener.accept().expect("accept");
    assert_eq!(client.poll_now(libc::POLLIN), 0);
    server.send_all(b"!");
    client.poll_until_all(libc::POLLIN);
    drop(server);
    client.poll_until_all(libc::POLLIN | libc::POLLRDHUP);
}

/// A listener of AF_INET6 has clients of IPv4, with mapped names.
fn dual_stack__mapped() {
    let v6 = Stack::ours(Ip::V6);
    let listener = Sock::open(v6);
    listener.bind(&v6.any(0)).expect("bind");
    listener.listen(4).expect("listen");
    for client in [Stack::ours(Ip::V4), Stack::builtin(Ip::V4)] {
        let sock = Sock::open(client);
        sock.connect(&client.local(listener.port()))
            .expect("connect");
        let (server, from) = listener.accept().expect("accept");
        let std::net::IpAddr::V6(ip) = from.ip() else {
            panic!("{from} is no name of AF_INET6");
        };
        assert_eq!(ip.to_ipv4_mapped(), Some(std::net::Ipv4Addr::LOCALHOST));
        assert_eq!(socket_option(&server, libc::SO_DOMAIN), libc::AF_INET6);
        oxtcp_selftests::Connected {
            client: sock,
            server,
        }
        .check_alive();
    }
}

fn dual_stack__v6only() {
    ns::isolate();
    let v6 = Stack::ours(Ip::V6);
    let only = Sock::open(v6);
    only.set(libc::SOL_IPV6, libc::IPV6_V6ONLY, 1)
        .expect("IPV6_V6ONLY");
    only.bind(&v6.any(0)).expect("bind");
    only.listen(4).expect("listen");
    let v4 = Stack::builtin(Ip::V4);
    expect_errno(
        Sock::open(v4).connect(&v4.local(only.port())),
        libc::ECONNREFUSED,
    );
    Sock::open(v6)
        .connect(&v6.local(only.port()))
        .expect("connect");
    // What a socket begins with.
    ns::set_sysctl("net/ipv6/bindv6only", "1");
    let fresh = Sock::open(v6);
    assert_eq!(
        fresh
            .get(libc::SOL_IPV6, libc::IPV6_V6ONLY)
            .expect("IPV6_V6ONLY"),
        1
    );
}

/// Made, used and closed on all processors at once.
fn socket__by_many_threads() {
    const THREADS: usize = 4;
    let rounds = 2_000 / transfer::divisor();
    let threads: Vec<_> = (0..THREADS)
        .map(|n| {
            thread::spawn(move || {
                let stack = Stack::ours(Ip::BOTH[n % 2]);
                for round in 0..rounds {
                    match round % 16 {
                        0 => connected(Pair {
                            client: stack,
                            server: stack,
                        })
                        .check_alive(),
                        _ => drop(Sock::open(stack)),
                    }
                }
            })
        })
        .collect();
    threads.into_iter().for_each(thread::Worker::join);
}
