// SPDX-License-Identifier: GPL-2.0
//! Congestion control: TCP_CONGESTION and the settings that choose it; SO_MAX_PACING_RATE.

use std::process::ExitCode;
use std::time::{Duration, Instant};

use oxtcp_selftests::connection::connected_with;
use oxtcp_selftests::{
    cases, connected, expect_errno, listening, ns, thread, transfer, Connected, Pair, Sock, Stack,
    Suite,
};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("congestion");
    cases!(suite.stacks:
        name__by_option, name__unknown, name__cut_and_padded, name__of_a_connection,
        name__of_a_listener_is_inherited,
    );
    cases!(suite.stacks:
        setting__chooses_for_new_sockets, setting__takes_known_names_only, setting__is_inherited,
        setting__available,
    );
    cases!(suite.stacks:
        pacing__is_off_at_first, pacing__of_a_listener_is_inherited, pacing__holds_the_rate,
        pacing__under_way, pacing__by_a_queue_below,
    );
    suite.run()
}

fn name(sock: &Sock) -> String {
    let mut bytes = [0xff; 16];
    let len = sock
        .get_bytes(libc::SOL_TCP, libc::TCP_CONGESTION, &mut bytes)
        .expect("getsockopt");
    assert_eq!(len, bytes.len());
    let end = bytes.iter().position(|&byte| byte == 0).expect("a NUL");
    String::from_utf8(bytes[..end].to_vec()).expect("a name")
}

fn choose(sock: &Sock, name: &str) -> std::io::Result<()> {
    sock.set_bytes(libc::SOL_TCP, libc::TCP_CONGESTION, name.as_bytes())
}

fn name__by_option(stack: Stack) {
    let sock = Sock::open(stack);
    for algorithm in ["reno", "cubic", "reno", "reno\0", "cubic\0junk"] {
        choose(&sock, algorithm).expect("setsockopt");
        assert_eq!(Some(name(&sock).as_str()), algorithm.split('\0').next());
    }
}

fn name__unknown(stack: Stack) {
    let sock = Sock::open(stack);
    choose(&sock, "reno").expect("setsockopt");
    for unknown in ["no_such_control", "ren", "renos", "", "\0", "RENO"] {
        let errno = if unknown.is_empty() {
            libc::EINVAL
        } else {
            libc::ENOENT
        };
        expect_errno(choose(&sock, unknown), errno);
    }
    assert_eq!(name(&sock), "reno");
}

/// As the kernel's: the answer is cut to the length that was given, and a long name to what a name may have.
fn name__cut_and_padded(stack: Stack) {
    let sock = Sock::open(stack);
    choose(&sock, "cubic").expect("setsockopt");
    let mut bytes = [0xff; 3];
    let len = sock.get_bytes(libc::SOL_TCP, libc::TCP_CONGESTION, &mut bytes);
    assert_eq!((len.expect("getsockopt"), &bytes), (3, b"cub"));
    let mut bytes = [0xff; 20];
    let len = sock.get_bytes(libc::SOL_TCP, libc::TCP_CONGESTION, &mut bytes);
    assert_eq!(len.expect("getsockopt"), 16);
    assert_eq!(&bytes, b"cubic\0\0\0\0\0\0\0\0\0\0\0\xff\xff\xff\xff");
}

/// It can change under way, and data still arrives.
fn name__of_a_connection(stack: Stack) {
    let ends = connected(Pair {
        client: stack,
        server: stack,
    });
    for algorithm in ["reno", "cubic", "reno"] {
        choose(&ends.client, algorithm).expect("setsockopt");
        assert_eq!(name(&ends.client), algorithm);
        ends.check_alive();
    }
    assert_ne!(name(&ends.client), name(&ends.server));
}

fn name__of_a_listener_is_inherited(stack: Stack) {
    let (listener, address) = listening(stack, 4);
    choose(&listener, "reno").expect("setsockopt");
    let client = Sock::open(stack);
    client.connect(&address).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    assert_eq!(name(&server), "reno");
    assert_ne!(name(&client), "reno");
    // Also between listen() and accept().
    let client = Sock::open(stack);
    choose(&listener, "cubic").expect("setsockopt");
    client.connect(&address).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    assert_eq!(name(&server), "cubic");
}

/// The setting of this stack, in a namespace of the test's own.
fn setting(stack: Stack, name: &str) -> String {
    ns::isolate();
    ns::find_sysctl(stack, name).unwrap_or_else(|| panic!("no {name}"))
}

fn setting__chooses_for_new_sockets(stack: Stack) {
    let default = setting(stack, "tcp_congestion_control");
    assert_eq!(ns::sysctl(&default).expect("sysctl"), "cubic");
    for algorithm in ["reno", "cubic"] {
        ns::set_sysctl(&default, algorithm);
        assert_eq!(ns::sysctl(&default).expect("sysctl"), algorithm);
        assert_eq!(name(&Sock::open(stack)), algorithm);
        let ends = connected(Pair {
            client: stack,
            server: stack,
        });
        // Of both, and for good.
        ns::set_sysctl(&default, "cubic");
        for sock in [&ends.client, &ends.server] {
            assert_eq!(name(sock), algorithm);
        }
        ends.check_alive();
    }
}

fn setting__takes_known_names_only(stack: Stack) {
    let default = setting(stack, "tcp_congestion_control");
    ns::set_sysctl(&default, "reno\n");
    for unknown in ["no_such_control", "ren", "reno cubic", &"x".repeat(1000)] {
        let write = std::fs::write(format!("/proc/sys/{default}"), unknown);
        expect_errno(write, libc::ENOENT);
        assert_eq!(ns::sysctl(&default).expect("sysctl"), "reno");
    }
}

/// A new namespace begins with the initial one's.
fn setting__is_inherited(stack: Stack) {
    let default = setting(stack, "tcp_congestion_control");
    ns::set_sysctl(&default, "reno");
    ns::isolate();
    assert_eq!(ns::sysctl(&default).expect("sysctl"), "cubic");
}

fn setting__available(stack: Stack) {
    let available = setting(stack, "tcp_available_congestion_control");
    let text = ns::sysctl(&available).expect("sysctl");
    let names: Vec<&str> = text.split(' ').collect();
    for algorithm in ["cubic", "reno"] {
        assert!(names.contains(&algorithm), "{text}");
    }
    assert!(std::fs::write(format!("/proc/sys/{available}"), "reno").is_err());
    assert_eq!(ns::sysctl(&available).expect("sysctl"), text);
    // Each of them can be chosen.
    let sock = Sock::open(stack);
    for algorithm in names {
        choose(&sock, algorithm).expect("setsockopt");
    }
}

fn set_rate(sock: &Sock, rate: u64) {
    sock.set_bytes(
        libc::SOL_SOCKET,
        libc::SO_MAX_PACING_RATE,
        &rate.to_ne_bytes(),
    )
    .expect("setsockopt");
}

fn rate(sock: &Sock) -> u64 {
    let mut bytes = [0; 8];
    let len = sock
        .get_bytes(libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, &mut bytes)
        .expect("getsockopt");
    assert_eq!(len, 8);
    u64::from_ne_bytes(bytes)
}

fn pacing__is_off_at_first(stack: Stack) {
    let sock = Sock::open(stack);
    assert_eq!(rate(&sock), u64::MAX);
    // In four bytes: what does not fit is told as the largest.
    let four = |sock: &Sock| sock.get(libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE);
    assert_eq!(four(&sock).expect("getsockopt"), -1);
    set_rate(&sock, 1 << 40);
    assert_eq!(
        (rate(&sock), four(&sock).expect("getsockopt")),
        (1 << 40, -1)
    );
    sock.set(libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, 123_457)
        .expect("setsockopt");
    assert_eq!(
        (rate(&sock), four(&sock).expect("getsockopt")),
        (123_457, 123_457)
    );
    sock.set(libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, -1)
        .expect("setsockopt");
    assert_eq!(rate(&sock), u64::MAX);
}

fn pacing__of_a_listener_is_inherited(stack: Stack) {
    let (listener, address) = listening(stack, 4);
    set_rate(&listener, 1_000_003);
    let client = Sock::open(stack);
    client.connect(&address).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    assert_eq!(rate(&server), 1_000_003);
    assert_eq!(rate(&client), u64::MAX);
}

/// Sends `total` bytes, of which a tenth and a megabyte may be early (Linux lets ten segments go unpaced, of 64 KB each on the
/// loopback), at `rate`: no sooner than that.
fn check_rate(ends: Connected, total: usize, rate: u64) {
    let Connected { client, server } = ends;
    let start = Instant::now();
    let sender = thread::spawn(move || transfer::send(&client, 3, total));
    transfer::receive(&server, 3, total);
    let took = start.elapsed();
    sender.join();
    let late = (total - total / 10) as u64 - (1 << 20);
    let least = Duration::from_micros(late * 1_000_000 / rate);
    assert!(took >= least, "{took:?} for {total} bytes, not {least:?}");
}

fn pacing__holds_the_rate(stack: Stack) {
    let pair = Pair {
        client: stack,
        server: stack,
    };
    let ends = connected_with(pair, |_, client| set_rate(client, 2_000_000));
    check_rate(ends, 4 << 20, 2_000_000);
}

/// It begins to count on a connection that has been faster.
fn pacing__under_way(stack: Stack) {
    let ends = connected(Pair {
        client: stack,
        server: stack,
    });
    ends.check_alive();
    set_rate(&ends.client, 2_000_000);
    check_rate(ends, 4 << 20, 2_000_000);
}

/// fq spaces what it is given, by the socket's rate.
fn pacing__by_a_queue_below(stack: Stack) {
    let _link = ns::isolate();
    ns::sh_or_skip("tc qdisc replace dev lo root fq");
    let pair = Pair {
        client: stack,
        server: stack,
    };
    let ends = connected_with(pair, |_, client| set_rate(client, 2_000_000));
    check_rate(ends, 4 << 20, 2_000_000);
}
