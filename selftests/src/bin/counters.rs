// SPDX-License-Identifier: GPL-2.0
//! The counters of connections: each story is told on oxtcp and on the built-in TCP, in a network namespace of its own, and both have to
//! count the same. (What is counted of listeners, floods and keys, others test: listen, syncookies, floods, auth, ao.)

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use oxtcp_selftests::capture::{Capture, ACK, RST, SYN};
use oxtcp_selftests::connection::{connected_with, listening, listening_at, Connected};
use oxtcp_selftests::flood::Raw;
use oxtcp_selftests::forge::{packet, Forged};
use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::payload::Stream;
use oxtcp_selftests::raw_peer::RawPeer;
use oxtcp_selftests::tcp_info::TcpInfo;
use oxtcp_selftests::{cases, thread, wait, Ip, Pair, Sock, Stack, Suite};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("counters");
    cases!(suite.stacks:
        opens__and_ends, opens__refused, opens__that_nobody_answers, handshake__without_an_answer,
        handshake__reset_by_the_peer, resets__by_linger, resets__of_unread_data, time_wait__too_many,
        time_wait__taken_over, forged__in_the_window, forged__outside_of_the_window, forged__damaged,
        keepalive__and_silence, window__closed_and_opened, acknowledgments__held_back, buffer__full_of_crumbs,
        tail__probed_and_timed_out, duplicates__of_old_data, loss__is_what_tcp_info_says, groups__of_names,
        time_wait__that_is_short, output__that_a_firewall_keeps, accept__that_waits_for_data,
        order__that_the_buffer_has_no_room_for, order__acknowledged_together, icmp__of_what_is_not_in_flight,
    );
    suite.run()
}

type Counted = BTreeMap<String, u64>;

/// What the TCP has counted in this thread's namespace, of both groups.
fn counted(stack: Stack) -> Counted {
    let files: &[&str] = match stack.ours {
        true => &["oxtcp_stat"],
        false => &["netstat", "snmp"],
    };
    let mut counted = Counted::new();
    for file in files {
        let text = fs::read_to_string(format!("/proc/thread-self/net/{file}")).expect(file);
        let lines: Vec<&str> = text
            .lines()
            .filter(|line| line.starts_with("TcpExt: ") || line.starts_with("Tcp: "))
            .collect();
        for pair in lines.chunks(2) {
            let (names, values) = (pair[0].split(' ').skip(1), pair[1].split(' ').skip(1));
            // MaxConn is -1.
            let values = values.map(|value| value.parse().unwrap_or(0));
            counted.extend(names.map(String::from).zip(values));
        }
    }
    counted
}

/// How often.
#[derive(Clone, Copy)]
enum Times {
    Is(u64),
    Any,
}
use Times::{Any, Is};

/// Plays the story on both TCPs, each in a new namespace, and waits until this has been counted.
fn both(stack: Stack, expected: &[(&str, Times)], story: impl Fn(Stack)) {
    for stack in [stack, Stack::builtin(stack.ip)] {
        ns::isolate();
        story(stack);
        expect(stack, expected);
    }
}

fn expect(stack: Stack, expected: &[(&str, Times)]) {
    let of = |counted: &Counted, name: &str| {
        *counted
            .get(name)
            .unwrap_or_else(|| panic!("{}: no {name}", stack.name()))
    };
    for (name, times) in expected {
        let least = match times {
            Is(times) => *times,
            Any => 1,
        };
        wait::until(&format!("{}: {name} is {least}", stack.name()), || {
            of(&counted(stack), name) >= least
        });
    }
    let counted = counted(stack);
    for (name, times) in expected {
        if let Is(times) = times {
            assert_eq!(of(&counted, name), *times, "{}: {name}", stack.name());
        }
    }
}

fn pair(stack: Stack) -> Pair {
    Pair {
        client: stack,
        server: stack,
    }
}

fn joined(stack: Stack) -> Connected {
    connected_with(pair(stack), |_, _| {})
}

fn set(stack: Stack, name: &str, value: &str) {
    let path = ns::find_sysctl(stack, name).unwrap_or_else(|| panic!("no {name}"));
    ns::set_sysctl(&path, value);
}

fn opens__and_ends(stack: Stack) {
    let expected = [
        ("ActiveOpens", Is(1)),
        ("PassiveOpens", Is(1)),
        ("TW", Is(1)),
        ("AttemptFails", Is(0)),
        ("EstabResets", Is(0)),
        ("RetransSegs", Is(0)),
        ("TCPTimeouts", Is(0)),
    ];
    both(stack, &expected, |stack| {
        let ends = joined(stack);
        ends.check_alive();
        let Connected { client, server } = ends;
        drop(client);
        assert_eq!(server.recv_to_end().len(), 0);
    });
}

fn opens__refused(stack: Stack) {
    let expected = [("ActiveOpens", Is(1)), ("AttemptFails", Is(1))];
    both(stack, &expected, |stack| {
        let client = Sock::open(stack);
        client
            .connect(&stack.local(4711))
            .expect_err("a connection");
    });
}

fn opens__that_nobody_answers(stack: Stack) {
    let expected = [
        ("ActiveOpens", Is(1)),
        ("AttemptFails", Is(1)),
        ("TCPAbortOnTimeout", Is(1)),
    ];
    both(stack, &expected, |stack| {
        ns::nft_input(&["tcp dport 4711 counter name dropped drop"]);
        let client = Sock::open(stack);
        client
            .set(libc::SOL_TCP, libc::TCP_SYNCNT, 1)
            .expect("TCP_SYNCNT");
        client
            .connect(&stack.local(4711))
            .expect_err("a connection");
        let counted = counted(stack);
        let again = counted["TCPSynRetrans"];
        assert!(again > 0, "{}: {counted:?}", stack.name());
        assert_eq!(counted["RetransSegs"], again, "{}", stack.name());
        // And the last, which gives up.
        assert_eq!(counted["TCPTimeouts"], again + 1, "{}", stack.name());
    });
}

/// SYN-ACKs that are lost.
fn handshake__without_an_answer(stack: Stack) {
    let expected = [
        ("TCPTimeouts", Any),
        ("TCPSynRetrans", Any),
        ("RetransSegs", Any),
        ("PassiveOpens", Is(0)),
    ];
    both(stack, &expected, |stack| {
        let (_listener, address) = listening(stack, 1);
        silent_syn(stack, address);
        // Until the SYN-ACK has gone out again.
        expect(stack, &expected);
    });
}

/// A SYN whose sender does not hear: its number, and the SYN-ACK's.
fn silent_syn(stack: Stack, address: SocketAddr) -> (SocketAddr, u32, u32) {
    let from = stack.local(4711);
    ns::nft_input(&["tcp dport 4711 counter name dropped drop"]);
    let capture = Capture::on("lo");
    Forged {
        from,
        to: address,
        seq: 1000,
        ack: 0,
        flags: SYN,
        options: vec![2, 4, 3, 232],
    }
    .send();
    let syn_ack = wait::until_some("the SYN-ACK", || {
        let mut segments = capture.segments().into_iter();
        segments.find(|s| s.target == from && s.flags == SYN | ACK)
    });
    (from, 1000, syn_ack.seq)
}

fn handshake__reset_by_the_peer(stack: Stack) {
    let expected = [("EmbryonicRsts", Is(1)), ("AttemptFails", Is(1))];
    both(stack, &expected, |stack| {
        let (_listener, address) = listening(stack, 1);
        let (from, seq, _) = silent_syn(stack, address);
        Forged {
            from,
            to: address,
            seq: seq + 1,
            ack: 0,
            flags: RST,
            options: Vec::new(),
        }
        .send();
        expect(stack, &expected);
    });
}

fn resets__by_linger(stack: Stack) {
    let expected = [
        ("TCPAbortOnData", Is(1)),
        ("OutRsts", Is(1)),
        ("EstabResets", Is(2)),
        ("TW", Is(0)),
    ];
    both(stack, &expected, |stack| {
        let ends = joined(stack);
        ends.client.set_linger(true, 0).expect("SO_LINGER");
        drop(ends.client);
        wait::until("the reset", || ends.server.take_error() == libc::ECONNRESET);
    });
}

fn resets__of_unread_data(stack: Stack) {
    let expected = [
        ("TCPAbortOnClose", Is(1)),
        ("OutRsts", Is(1)),
        ("EstabResets", Is(2)),
    ];
    both(stack, &expected, |stack| {
        let ends = joined(stack);
        ends.client.send_all(b"nobody reads this");
        wait::until("it has come", || ends.server.readable() > 0);
        drop(ends.server);
        wait::until("the reset", || ends.client.take_error() == libc::ECONNRESET);
    });
}

fn time_wait__too_many(stack: Stack) {
    let expected = [("TCPTimeWaitOverflow", Is(1)), ("TW", Is(0))];
    both(stack, &expected, |stack| {
        set(stack, "tcp_max_tw_buckets", "0");
        let Connected { client, server } = joined(stack);
        client.shutdown(libc::SHUT_WR).expect("shutdown");
        assert_eq!(server.recv_to_end().len(), 0);
        drop(server);
        assert_eq!(client.recv_to_end().len(), 0);
    });
}

fn time_wait__taken_over(stack: Stack) {
    let expected = [("TWRecycled", Is(1)), ("TW", Is(1)), ("ActiveOpens", Is(2))];
    both(stack, &expected, |stack| {
        let (listener, address) = listening(stack, 2);
        let open = |port: u16| {
            let client = Sock::open(stack);
            client.set_reuseaddr();
            client.bind(&stack.local(port)).expect("bind");
            client.connect(&address).expect("connect");
            let (server, _) = listener.accept().expect("accept");
            (client, server)
        };
        let (client, server) = open(0);
        let port = client.port();
        drop(client);
        assert_eq!(server.recv_to_end().len(), 0);
        drop(server);
        wait::until("TIME-WAIT", || counted(stack)["TW"] == 1);
        // So that timestamps tell the old connection's segments from the new one's.
        std::thread::sleep(Duration::from_millis(1100));
        std::mem::forget(open(port));
    });
}

/// A connection, and the numbers that the server expects next and has sent up to.
fn known(stack: Stack) -> (Connected, Forged) {
    let capture = Capture::on("lo");
    let ends = joined(stack);
    ends.client.send_all(b"x");
    assert_eq!(ends.server.recv_exact(1), b"x");
    let from = ends.client.local().expect("getsockname");
    let to = ends.server.local().expect("getsockname");
    let last = wait::until_some("the byte", || {
        let mut segments = capture.segments().into_iter();
        segments.find(|s| s.source == from && s.payload == 1)
    });
    let forged = Forged {
        from,
        to,
        seq: last.seq.wrapping_add(1),
        ack: last.ack,
        flags: ACK,
        options: Vec::new(),
    };
    (ends, forged)
}

fn forged__in_the_window(stack: Stack) {
    let expected = [
        ("TCPSYNChallenge", Is(2)),
        ("TCPChallengeACK", Is(1)),
        ("TCPACKSkippedChallenge", Is(2)),
        ("InErrs", Is(2)),
        ("EstabResets", Is(0)),
    ];
    both(stack, &expected, |stack| {
        set(stack, "tcp_invalid_ratelimit", "60000");
        let (ends, forged) = known(stack);
        let syn = Forged {
            flags: SYN,
            ..forged.clone()
        };
        syn.send();
        expect(stack, &[("TCPChallengeACK", Is(1))]);
        syn.send();
        Forged {
            flags: RST,
            seq: forged.seq.wrapping_add(100),
            ..forged
        }
        .send();
        expect(stack, &expected);
        ends.check_alive();
    });
}

fn forged__outside_of_the_window(stack: Stack) {
    let expected = [("BeyondWindow", Is(2)), ("TCPACKSkippedSeq", Is(1))];
    both(stack, &expected, |stack| {
        set(stack, "tcp_invalid_ratelimit", "60000");
        let (ends, forged) = known(stack);
        let beyond = Forged {
            seq: forged.seq.wrapping_add(1 << 30),
            ..forged
        };
        beyond.send();
        expect(stack, &[("BeyondWindow", Is(1))]);
        beyond.send();
        expect(stack, &expected);
        ends.check_alive();
    });
}

fn forged__damaged(stack: Stack) {
    let expected = [("InCsumErrors", Is(1)), ("InErrs", Is(2))];
    both(stack, &expected, |stack| {
        let (ends, forged) = known(stack);
        let whole = |flags| {
            let numbers = (forged.seq, forged.ack);
            packet(forged.from, forged.to, numbers, flags, &[], b"")
        };
        let mut damaged = whole(ACK);
        let last = damaged.len() - 1;
        damaged[last] ^= 1;
        assert_eq!(Raw::new(forged.to.ip()).send(&[damaged]), 1);
        expect(stack, &[("InCsumErrors", Is(1)), ("InErrs", Is(1))]);
        assert_eq!(Raw::new(forged.to.ip()).send(&[whole(SYN)]), 1);
        expect(stack, &expected);
        ends.check_alive();
    });
}

fn keepalive__and_silence(stack: Stack) {
    let expected = [
        ("TCPKeepAlive", Is(1)),
        ("TCPAbortOnTimeout", Is(1)),
        ("EstabResets", Is(1)),
        ("OutRsts", Is(1)),
    ];
    both(stack, &expected, |stack| {
        let ends = joined(stack);
        let port = ends.server.port();
        ns::nft_input(&[&format!("tcp dport {port} counter name dropped drop")]);
        for (option, value) in [
            (libc::TCP_KEEPIDLE, 1),
            (libc::TCP_KEEPINTVL, 1),
            (libc::TCP_KEEPCNT, 1),
        ] {
            ends.client
                .set(libc::SOL_TCP, option, value)
                .expect("keepalive");
        }
        ends.client
            .set(libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1)
            .expect("SO_KEEPALIVE");
        wait::until("the end", || ends.client.take_error() == libc::ETIMEDOUT);
        // Closed, it would be answered with a reset.
        std::mem::forget(ends);
    });
}

fn window__closed_and_opened(stack: Stack) {
    let expected = [
        ("TCPToZeroWindowAdv", Any),
        ("TCPWinProbe", Any),
        ("TCPFromZeroWindowAdv", Any),
    ];
    both(stack, &expected, |stack| {
        let ends = joined(stack);
        ends.client.set_nonblocking(true);
        let bytes = [0; 1 << 16];
        let mut total = 0;
        let fill = |total: &mut usize| {
            while let Ok(count) = ends.client.send(&bytes, 0) {
                *total += count;
            }
        };
        wait::until("probes", || {
            fill(&mut total);
            counted(stack)["TCPWinProbe"] > 0
        });
        while total > 0 {
            total -= ends.server.recv(&mut [0; 1 << 16], 0).expect("recv");
        }
    });
}

fn acknowledgments__held_back(stack: Stack) {
    both(stack, &[("DelayedACKs", Any)], |stack| {
        let ends = joined(stack);
        // The first of a connection are not.
        wait::until(&format!("{}: one is held back", stack.name()), || {
            // Who reads it at once has it acknowledged.
            ends.client.send_all(b"x");
            wait::until("it is acknowledged", || ends.client.unacked() == 0);
            counted(stack)["DelayedACKs"] > 0
        });
    });
}

fn buffer__full_of_crumbs(stack: Stack) {
    let expected = [("PruneCalled", Any), ("TCPRcvCollapsed", Any)];
    both(stack, &expected, |stack| {
        let ends = connected_with(pair(stack), |listener, client| {
            listener
                .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 16_384)
                .expect("SO_RCVBUF");
            client
                .set(libc::SOL_TCP, libc::TCP_NODELAY, 1)
                .expect("TCP_NODELAY");
        });
        ends.client.set_nonblocking(true);
        for _ in 0..100 {
            for _ in 0..200 {
                let _ = ends.client.send(b"x", 0);
            }
            if counted(stack)["TCPRcvCollapsed"] > 0 {
                break;
            }
        }
    });
}

fn tail__probed_and_timed_out(stack: Stack) {
    let expected = [
        ("TCPLossProbes", Any),
        ("TCPTimeouts", Any),
        ("RetransSegs", Any),
    ];
    both(stack, &expected, |stack| {
        let ends = joined(stack);
        ends.check_alive();
        let port = ends.server.port();
        ns::nft_input(&[&format!("tcp dport {port} counter name dropped drop")]);
        ends.client
            .set(libc::SOL_TCP, libc::TCP_NODELAY, 1)
            .expect("TCP_NODELAY");
        ends.client.send_all(b"one");
        ends.client.send_all(b"two");
        expect(stack, &expected);
        ns::nft_clear();
        assert_eq!(ends.server.recv_exact(6), b"onetwo");
        let sent_again = TcpInfo::of(&ends.client).total_retrans;
        assert_eq!(counted(stack)["RetransSegs"], u64::from(sent_again));
    });
}

/// Data that comes once more is reported, and counted by both ends.
fn duplicates__of_old_data(stack: Stack) {
    let expected = [("DelayedACKLost", Is(1)), ("TCPDSACKOldSent", Is(1))];
    both(stack, &expected, |stack| {
        let (ends, forged) = known(stack);
        let numbers = (forged.seq.wrapping_sub(1), forged.ack);
        let again = packet(forged.from, forged.to, numbers, ACK, &[], b"x");
        assert_eq!(Raw::new(forged.to.ip()).send(&[again]), 1);
        expect(stack, &expected);
        ends.check_alive();
    });
}

/// Over a path that loses: the namespaces have counted what the connection's TCP_INFO tells.
fn loss__is_what_tcp_info_says(stack: Stack) {
    for stack in [stack, Stack::builtin(stack.ip)] {
        let link = Veth::make();
        // Segment by segment, so that there are enough to lose. A connection asks when it begins.
        ns::sh("ip link set va gso_max_segs 1");
        let address = Veth::address_b(stack.ip, 5001);
        let (listener, _) = link.b.run(|| listening_at(stack, &address, 1));
        let client = Sock::open(stack);
        client.connect(&address).expect("connect");
        let (server, _) = listener.accept().expect("accept");
        ns::sh_or_skip("tc qdisc add dev va root netem delay 2ms loss 4% limit 10000");
        let payload = Stream::new(41).take(2 << 20);
        let mut rounds = 0;
        // Where nearly nothing was lost there was no recovery.
        let (here, there) = loop {
            let (sending, sent) = (client.try_clone(), payload.clone());
            let sender = thread::spawn(move || sending.send_all(&sent));
            assert!(server.recv_exact(payload.len()) == payload, "other bytes");
            sender.join();
            wait::until("all is acknowledged", || client.unacked() == 0);
            let here = counted(stack);
            rounds += 1;
            if here["TCPSackRecovery"] > 0 && here["TCPFastRetrans"] > 0 || rounds == 20 {
                break (here, link.b.run(|| counted(stack)));
            }
        };
        let info = TcpInfo::of(&client);
        assert_eq!(here["RetransSegs"], u64::from(info.total_retrans));
        let timeouts = u64::from(info.total_rto);
        assert_eq!(here["TCPTimeouts"], timeouts, "{here:?}");
        for name in ["TCPSackRecovery", "TCPFastRetrans"] {
            assert!(here[name] > 0, "{}: {name}: {here:?}", stack.name());
        }
        // What was sent again was so for one of these reasons.
        let known = here["TCPFastRetrans"] + here["TCPSlowStartRetrans"];
        let others = here["TCPLossProbes"] + here["TCPTimeouts"];
        assert!(known <= here["RetransSegs"], "{here:?}");
        assert!(here["RetransSegs"] <= known + others, "{here:?}");
        assert!(there["TCPOFOQueue"] > 0, "{there:?}");
        assert_eq!(there["RetransSegs"], 0);
    }
}

/// FIN-WAIT-2 without a program, for four seconds at most.
fn time_wait__that_is_short(stack: Stack) {
    let expected = [("TWKilled", Is(1)), ("TW", Is(0))];
    both(stack, &expected, |stack| {
        set(stack, "tcp_fin_timeout", "2");
        let Connected { client, server } = joined(stack);
        drop(client);
        expect(stack, &expected);
        drop(server);
    });
}

/// Forbids what this namespace sends to a port.
fn keep(port: u16) {
    ns::nft(&format!(
        "table inet out {{\n chain c {{\n type filter hook output priority 0;\n tcp dport {port} drop\n }}\n}}"
    ));
}

fn output__that_a_firewall_keeps(stack: Stack) {
    let expected = [("TCPRetransFail", Any), ("TCPAbortFailed", Is(1))];
    both(stack, &expected, |stack| {
        let ends = joined(stack);
        let port = ends.server.port();
        ns::nft_input(&[&format!("tcp dport {port} counter name dropped drop")]);
        ends.client.send_all(b"lost");
        keep(port);
        expect(stack, &expected[..1]);
        ends.client.set_linger(true, 0).expect("SO_LINGER");
        drop(ends.client);
    });
}

fn accept__that_waits_for_data(stack: Stack) {
    let expected = [("TCPDeferAcceptDrop", Any)];
    both(stack, &expected, |stack| {
        let (listener, address) = listening(stack, 1);
        listener
            .set(libc::SOL_TCP, libc::TCP_DEFER_ACCEPT, 10)
            .expect("TCP_DEFER_ACCEPT");
        let client = Sock::open(stack);
        client.connect(&address).expect("connect");
        expect(stack, &expected);
    });
}

/// What comes out of order and is the last is dropped when there is no room; what comes before it takes its place.
fn order__that_the_buffer_has_no_room_for(stack: Stack) {
    let expected = [
        ("PruneCalled", Any),
        ("TCPOFOQueue", Any),
        ("OfoPruned", Any),
    ];
    both(stack, &expected, |stack| {
        let capture = Capture::on("lo");
        let ends = connected_with(pair(stack), |listener, _| {
            listener
                .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 4096)
                .expect("SO_RCVBUF");
        });
        let (from, to) = (
            ends.client.local().expect("getsockname"),
            ends.server.local().expect("getsockname"),
        );
        let last = wait::until_some("the last ACK of the handshake", || {
            let mut segments = capture.segments().into_iter();
            segments.find(|s| s.source == from && s.flags == ACK)
        });
        let ahead = |by: u32| {
            let numbers = (last.seq.wrapping_add(by), last.ack);
            packet(from, to, numbers, ACK, &[], b"x")
        };
        let mut raw = Raw::new(to.ip());
        // As the window of such a buffer is: a thousand bytes at least.
        let rising: Vec<Vec<u8>> = (0..40).map(|n| ahead(500 + 2 * n)).collect();
        let falling: Vec<Vec<u8>> = (0..40).map(|n| ahead(490 - 2 * n)).collect();
        raw.send(&rising);
        raw.send(&falling);
        expect(stack, &expected);
        std::mem::forget(ends);
    });
}

/// Of many segments out of order each is acknowledged, or counted as one that others have acknowledged with theirs; as it is set.
fn order__acknowledged_together(stack: Stack) {
    const CRUMBS: u64 = 500;
    for stack in [stack, Stack::builtin(stack.ip)] {
        let link = Veth::make();
        let address = Veth::address_a(stack.ip, 5001);
        let (listener, _) = listening_at(stack, &address, 1);
        let nobody = Veth::address_of_nobody(stack.ip, 40_000);
        let mut peer = link.b.run(|| RawPeer::connect(nobody, address, "vb"));
        let (server, _) = listener.accept().expect("accept");
        let mut crumbs = |at: u32| {
            let one = |n| peer.segment(at + n, 0, &[], b"x");
            let crumbs: Vec<Vec<u8>> = (0..CRUMBS as u32).map(one).collect();
            let before = counted(stack)["TCPAckCompressed"];
            assert_eq!(peer.send(&crumbs), crumbs.len());
            let mut heard = 0;
            let mut together = 0;
            wait::until("an acknowledgment of each", || {
                heard += peer.heard().len() as u64;
                together = counted(stack)["TCPAckCompressed"] - before;
                heard + together == CRUMBS
            });
            together
        };
        let together = crumbs(1);
        // The built-in TCP's timer may be too fast for it.
        assert!(together > 0 || !stack.ours, "none was held back");
        set(stack, "tcp_comp_sack_nr", "0");
        assert_eq!(crumbs(1 + CRUMBS as u32), 0);
        let first = peer.segment(0, 0, &[], b"x");
        assert_eq!(peer.send(&[first]), 1);
        let all = server.recv_exact(1 + 2 * CRUMBS as usize);
        assert!(all.iter().all(|byte| *byte == b'x'));
    }
}

/// "Unreachable", about a number that was never sent.
fn icmp__of_what_is_not_in_flight(stack: Stack) {
    if stack.ip == Ip::V6 {
        return;
    }
    let expected = [("OutOfWindowIcmps", Is(1)), ("EstabResets", Is(0))];
    both(stack, &expected, |stack| {
        let (ends, forged) = known(stack);
        // Quoted is what the client sent: the address and the front of its header.
        let wrong = (forged.seq.wrapping_add(1 << 20), 0);
        let quoted = packet(forged.from, forged.to, wrong, ACK, &[], b"");
        let mut icmp = vec![3, 1, 0, 0, 0, 0, 0, 0];
        icmp.extend(&quoted[..28]);
        let words = icmp
            .chunks(2)
            .map(|w| (u32::from(w[0]) << 8) | u32::from(w[1]));
        let sum: u32 = words.sum();
        let sum = (sum & 0xffff) + (sum >> 16);
        let sum = !((sum & 0xffff) + (sum >> 16)) as u16;
        icmp[2..4].copy_from_slice(&sum.to_be_bytes());
        let mut whole = quoted[..20].to_vec();
        whole[9] = 1;
        // From the server's host to the client's: both are this one.
        whole.extend(icmp);
        assert_eq!(Raw::new(forged.to.ip()).send(&[whole]), 1);
        expect(stack, &expected);
        ends.check_alive();
    });
}

/// Each name stands once, in the group that it has in Linux.
fn groups__of_names(stack: Stack) {
    if !stack.ours {
        return;
    }
    let text = fs::read_to_string("/proc/thread-self/net/oxtcp_stat").expect("oxtcp_stat");
    let lines: Vec<Vec<&str>> = text.lines().map(|l| l.split(' ').collect()).collect();
    let heads: Vec<&str> = lines.iter().map(|line| line[0]).collect();
    assert_eq!(heads, ["TcpExt:", "TcpExt:", "Tcp:", "Tcp:"]);
    let snmp = fs::read_to_string("/proc/thread-self/net/snmp").expect("snmp");
    let theirs = snmp.lines().find(|line| line.starts_with("Tcp: "));
    let theirs: Vec<&str> = theirs.expect("Tcp").split(' ').collect();
    for name in &lines[2] {
        assert!(theirs.contains(name), "{name} is not Linux's");
    }
    for (names, values) in [(&lines[0], &lines[1]), (&lines[2], &lines[3])] {
        assert_eq!(names.len(), values.len());
    }
}
