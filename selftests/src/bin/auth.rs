// SPDX-License-Identifier: GPL-2.0
//! Signed segments: TCP-MD5 (RFC 2385), ours with the built-in TCP and with ourselves.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use oxtcp_selftests::capture::{Capture, Segment, ACK, FIN, RST, SYN};
use oxtcp_selftests::connection::connected_with;
use oxtcp_selftests::forge::Forged;
use oxtcp_selftests::keys::{
    counter, does_not_connect, expected_next, Md5Sig, KIND_MD5, TCP_MD5SIG, TCP_MD5SIG_EXT,
    TCP_MD5SIG_FLAG_IFINDEX,
};
use oxtcp_selftests::signed;
use oxtcp_selftests::{
    cases, expect_errno, listening, ns, transfer, wait, Connected, Ip, Pair, Sock, Stack, Suite,
};

const KEY: &[u8] = b"a key that both know";
/// Loopback's own is that of a burst.
const MTU: usize = 1500;
const OTHER: &[u8] = b"a key that one has";

fn main() -> ExitCode {
    let mut suite = Suite::from_args("auth");
    cases!(suite.stacks: option__what_is_refused, option__keys_come_and_go, option__memory_is_bounded, md5__on_the_last_ack_alone,
        ao__without_a_key);
    cases!(suite.pairs:
        md5__every_segment_is_signed, md5__bulk, md5__lost_segments, md5__wrong_key, md5__no_key_at_the_client,
        md5__no_key_at_the_server, md5__other_peers_need_none, md5__by_prefix, md5__of_a_connection_that_is_there,
        md5__forged_reset, md5__reset_for_a_connection_that_is_gone, md5__reset_of_an_abort, md5__time_wait,
        md5__bind_again, md5__cookies, md5__dual_stack,
    );
    suite.run()
}

/// Skips the test where one of the kernels' TCPs has no MD5.
fn need_md5(pair: Pair) {
    ns::isolate();
    let has = |stack: Stack| {
        let key = Md5Sig::new(stack.loopback(), KEY);
        signed::is_known(key.set(&Sock::open(stack)))
    };
    signed::need("TCP_MD5SIG", pair, has);
}

#[track_caller]
fn set(sock: &Sock, peer: IpAddr, key: &[u8]) {
    Md5Sig::new(peer, key).set(sock).expect("TCP_MD5SIG_EXT");
}

/// Both have the key.
#[track_caller]
fn signed(pair: Pair) -> Connected {
    connected_with(pair, |listener, client| {
        set(listener, pair.client.loopback(), KEY);
        set(client, pair.server.loopback(), KEY);
    })
}

/// Both directions, in all phases of a connection; signatures are 16 bytes and stand in each segment.
fn md5__every_segment_is_signed(pair: Pair) {
    need_md5(pair);
    ns::sh(&format!("ip link set lo mtu {MTU}"));
    let capture = Capture::on("lo");
    let ends = signed(pair);
    ends.check_alive();
    ends.client.send_all(&[7; 100_000]);
    assert_eq!(ends.server.recv_exact(100_000), [7; 100_000]);
    let port = ends.server.port();
    drop(ends.client);
    assert_eq!(ends.server.recv_to_end(), b"");
    drop(ends.server);
    let mut segments: Vec<Segment> = Vec::new();
    wait::until("two FINs and their acknowledgments", || {
        segments.extend(
            capture
                .segments()
                .into_iter()
                .filter(|s| !s.outgoing && (s.source.port() == port || s.target.port() == port)),
        );
        let fins = segments.iter().filter(|s| s.flags & FIN != 0).count();
        fins == 2 && segments.last().is_some_and(|s| s.flags == ACK)
    });
    for segment in &segments {
        let digest = segment.option(KIND_MD5);
        assert_eq!(digest.map(<[u8]>::len), Some(16), "{segment:?}");
        if segment.flags & SYN != 0 {
            assert_eq!(segment.option(8), None, "no timestamps: {segment:?}");
            assert!(segment.option(4).is_some(), "SACK: {segment:?}");
        }
        // One signature, one segment: no bursts.
        assert!(segment.length <= MTU, "{segment:?}");
    }
}

fn md5__bulk(pair: Pair) {
    need_md5(pair);
    transfer::both_ways(signed(pair), 4_000_000);
}

/// What is sent again is signed again, and acknowledgments with SACK blocks are signed too.
fn md5__lost_segments(pair: Pair) {
    need_md5(pair);
    ns::sh(&format!("ip link set lo mtu {MTU}"));
    ns::sh_or_skip("tc qdisc add dev lo root netem loss 3% limit 10000");
    let ends = signed(pair);
    transfer::both_ways(ends, 1_000_000);
    assert!(ns::qdisc_count("lo", "drops") > 0);
}

fn md5__wrong_key(pair: Pair) {
    need_md5(pair);
    let (listener, address) = listening(pair.server, 1);
    set(&listener, pair.client.loopback(), KEY);
    let client = Sock::open(pair.client);
    set(&client, pair.server.loopback(), OTHER);
    does_not_connect(&client, &address, pair.server, "TCPMD5Failure");
}

fn md5__no_key_at_the_client(pair: Pair) {
    need_md5(pair);
    let (listener, address) = listening(pair.server, 1);
    set(&listener, pair.client.loopback(), KEY);
    let client = Sock::open(pair.client);
    does_not_connect(&client, &address, pair.server, "TCPMD5NotFound");
}

fn md5__no_key_at_the_server(pair: Pair) {
    need_md5(pair);
    let (_listener, address) = listening(pair.server, 1);
    let client = Sock::open(pair.client);
    set(&client, pair.server.loopback(), KEY);
    does_not_connect(&client, &address, pair.server, "TCPMD5Unexpected");
}

/// A key is for its peer: others connect as ever, and bursts or not, their bytes come.
fn md5__other_peers_need_none(pair: Pair) {
    need_md5(pair);
    let capture = Capture::on("lo");
    let ends = connected_with(pair, |listener, client| {
        let nobody = pair.server.foreign(0).ip();
        set(listener, nobody, KEY);
        set(client, nobody, KEY);
    });
    ends.check_alive();
    let segments = capture.segments();
    assert!(!segments.is_empty());
    assert!(segments.iter().all(|s| s.option(KIND_MD5).is_none()));
    transfer::both_ways(ends, 300_000);
}

/// TCP_MD5SIG_EXT: the longest prefix counts, and a prefix that does not have the peer does not.
fn md5__by_prefix(pair: Pair) {
    need_md5(pair);
    let (wide, narrow): (u8, u8) = match pair.ip() {
        Ip::V4 => (8, 24),
        Ip::V6 => (0, 64),
    };
    let elsewhere: IpAddr = match pair.ip() {
        Ip::V4 => [127, 9, 9, 9].into(),
        Ip::V6 => "2001:db8::1".parse().expect("an address"),
    };
    let (listener, address) = listening(pair.server, 4);
    let peer = pair.client.loopback();
    let add = |peer, prefix, key| {
        let key = Md5Sig::of_prefix(peer, prefix, key);
        key.set(&listener).expect("TCP_MD5SIG_EXT");
    };
    let connects = |key: &[u8]| {
        let client = Sock::open(pair.client);
        set(&client, pair.server.loopback(), key);
        client.connect(&address).expect("connect");
        let (server, _) = listener.accept().expect("accept");
        Connected { client, server }.check_alive();
    };
    add(peer, wide, KEY);
    connects(KEY);
    add(elsewhere, narrow, OTHER);
    connects(KEY);
    add(peer, narrow, OTHER);
    connects(OTHER);
    let client = Sock::open(pair.client);
    set(&client, pair.server.loopback(), KEY);
    does_not_connect(&client, &address, pair.server, "TCPMD5Failure");
    // And back to the wider one.
    Md5Sig::of_prefix(peer, narrow, b"")
        .set(&listener)
        .expect("to take it away");
    connects(KEY);
}

/// A key comes to both ends, is changed, and goes, while there is a connection.
fn md5__of_a_connection_that_is_there(pair: Pair) {
    need_md5(pair);
    let ends = connected_with(pair, |_, _| {});
    ends.check_alive();
    for key in [KEY, OTHER, b""] {
        // Nothing is in flight: acknowledgments that wait are sent by now, or are sent signed.
        wait::until("all is acknowledged", || {
            ends.client.unacked() == 0 && ends.server.unacked() == 0
        });
        set(&ends.client, pair.server.loopback(), key);
        set(&ends.server, pair.client.loopback(), key);
        let capture = Capture::on("lo");
        ends.check_alive();
        let segments = capture.segments();
        let signed = segments.iter().filter(|s| s.option(KIND_MD5).is_some());
        match key.is_empty() {
            true => assert_eq!(signed.count(), 0),
            false => assert_eq!(signed.count(), segments.len()),
        }
    }
    transfer::both_ways(ends, 300_000);
}

/// The number is exact, the reset is not signed: nothing happens. Without keys it ends the connection.
fn md5__forged_reset(pair: Pair) {
    need_md5(pair);
    for keys in [true, false] {
        let capture = Capture::on("lo");
        let ends = match keys {
            true => signed(pair),
            false => connected_with(pair, |_, _| {}),
        };
        let reset = Forged {
            from: ends.server.local().expect("getsockname"),
            to: ends.client.local().expect("getsockname"),
            seq: expected_next(&ends, &capture),
            ack: 0,
            flags: RST,
            options: Vec::new(),
        };
        let dropped = |name| counter(pair.client, name);
        let before = [dropped("TCPMD5NotFound"), dropped("TCPMD5Failure")];
        reset.send();
        if keys {
            wait::until("the reset is dropped", || {
                dropped("TCPMD5NotFound") > before[0]
            });
            // Signed, by who does not know the key.
            let mut option = vec![1, 1, KIND_MD5, 18];
            option.extend([0x5a; 16]);
            let signed = Forged {
                options: option.clone(),
                ..reset.clone()
            };
            signed.send();
            wait::until("the reset is dropped", || {
                dropped("TCPMD5Failure") > before[1]
            });
            // Malformed, or twice; that is not counted.
            option[3] = 17;
            option[19] = 1;
            Forged {
                options: option,
                ..reset
            }
            .send();
            ends.check_alive();
            transfer::both_ways(ends, 100_000);
        } else {
            wait::until("the connection ends", || {
                ends.client.take_error() == libc::ECONNRESET
            });
        }
    }
}

/// The server's end is gone, and the listener's key signs the answer to what comes for it.
fn md5__reset_for_a_connection_that_is_gone(pair: Pair) {
    need_md5(pair);
    let (listener, address) = listening(pair.server, 1);
    set(&listener, pair.client.loopback(), KEY);
    let client = Sock::open(pair.client);
    set(&client, pair.server.loopback(), KEY);
    client.connect(&address).expect("connect");
    let (server, from) = listener.accept().expect("accept");
    // The client does not hear of the end.
    let rule = format!(
        "tcp dport {} tcp flags & rst == rst counter name dropped drop",
        from.port()
    );
    ns::nft_input(&[&rule]);
    server.set_linger(true, 0).expect("SO_LINGER");
    drop(server);
    wait::until("the reset is dropped", || ns::nft_packets("dropped") > 0);
    ns::nft_clear();
    let capture = Capture::on("lo");
    client.send_all(b"is anybody there?");
    wait::until("the connection ends", || {
        client.take_error() == libc::ECONNRESET
    });
    let segments = capture.segments();
    let resets: Vec<_> = segments.iter().filter(|s| s.flags & RST != 0).collect();
    assert!(!resets.is_empty());
    for reset in resets {
        assert!(reset.option(KIND_MD5).is_some(), "{reset:?}");
    }
    // An unsigned segment is not answered.
    let before = counter(pair.server, "TCPMD5NotFound");
    Forged {
        from: SocketAddr::new(from.ip(), from.port().wrapping_add(1).max(1024)),
        to: address,
        seq: 1,
        ack: 1,
        flags: ACK,
        options: Vec::new(),
    }
    .send();
    wait::until("it is dropped", || {
        counter(pair.server, "TCPMD5NotFound") > before
    });
    assert!(capture.segments().iter().all(|s| s.flags & RST == 0));
}

/// The reset of a close with SO_LINGER is signed: the peer believes it.
fn md5__reset_of_an_abort(pair: Pair) {
    need_md5(pair);
    let ends = signed(pair);
    ends.check_alive();
    ends.server.set_linger(true, 0).expect("SO_LINGER");
    drop(ends.server);
    wait::until("the connection ends", || {
        ends.client.take_error() == libc::ECONNRESET
    });
    let ends = signed(pair);
    ends.client.set_linger(true, 0).expect("SO_LINGER");
    drop(ends.client);
    wait::until("the connection ends", || {
        ends.server.take_error() == libc::ECONNRESET
    });
}

/// See [`signed::last_ack_comes_again`].
fn md5__time_wait(pair: Pair) {
    need_md5(pair);
    signed::last_ack_comes_again(pair, signed(pair));
}

/// See [`signed::time_wait_makes_way`].
fn md5__bind_again(pair: Pair) {
    need_md5(pair);
    signed::time_wait_makes_way(
        pair,
        |listener| set(listener, pair.client.loopback(), KEY),
        |client| set(client, pair.server.loopback(), KEY),
        "TCPMD5NotFound",
    );
}

/// The SYN-ACK of a cookie is signed, and so is what comes of it.
fn md5__cookies(pair: Pair) {
    need_md5(pair);
    let name = ns::find_sysctl(pair.server, "tcp_syncookies");
    ns::set_sysctl(&name.expect("tcp_syncookies"), "2");
    let before = counter(pair.server, "SyncookiesRecv");
    transfer::both_ways(signed(pair), 300_000);
    assert!(counter(pair.server, "SyncookiesRecv") > before);
}

/// See [`signed::dual_stack`].
fn md5__dual_stack(pair: Pair) {
    need_md5(pair);
    let ends = signed::dual_stack(
        pair,
        |listener, ip, peer| {
            let everybody = match ip {
                Ip::V4 => Md5Sig::of_prefix([0, 0, 0, 0].into(), 0, KEY),
                Ip::V6 => Md5Sig::of_prefix(peer, 8, KEY),
            };
            everybody.set(listener).expect("TCP_MD5SIG_EXT");
        },
        |client, peer| {
            let key = Md5Sig::of_prefix(peer, 32, KEY);
            key.set(client).expect("TCP_MD5SIG_EXT");
        },
        "TCPMD5NotFound",
    );
    transfer::both_ways(ends, 100_000);
}

/// What packetdrill's md5-only-on-client-ack does: the SYN is not signed, and the ACK is, though there is no key. It is dropped, and the
/// half-open connection stays, for an ACK without a signature.
fn md5__on_the_last_ack_alone(stack: Stack) {
    need_md5(Pair {
        client: stack,
        server: stack,
    });
    let (listener, address) = listening(stack, 1);
    let capture = Capture::on("lo");
    let from = stack.local(4711);
    // What answers would be answered with a reset: nobody has that port.
    ns::nft_input(&["tcp dport 4711 counter name dropped drop"]);
    let syn = Forged {
        from,
        to: address,
        seq: 1000,
        ack: 0,
        flags: SYN,
        options: vec![2, 4, 3, 232],
    };
    syn.send();
    let seq = wait::until_some("the SYN-ACK", || {
        let mut segments = capture.segments().into_iter();
        segments
            .find(|s| s.target == from && s.flags == SYN | ACK)
            .map(|s| s.seq)
    });
    let plain = Forged {
        seq: 1001,
        ack: seq.wrapping_add(1),
        flags: ACK,
        options: Vec::new(),
        ..syn
    };
    let mut option = vec![KIND_MD5, 18];
    option.extend(0..16);
    option.extend([1, 1]);
    let signed = Forged {
        options: option,
        ..plain.clone()
    };
    for count in 1..=2 {
        let before = counter(stack, "TCPMD5Unexpected");
        signed.send();
        wait::until(&format!("ACK {count} is dropped"), || {
            counter(stack, "TCPMD5Unexpected") > before
        });
    }
    assert_eq!(listener.poll_now(libc::POLLIN), 0);
    plain.send();
    listener.poll_wait(libc::POLLIN);
    let (_server, peer) = listener.accept().expect("accept");
    assert_eq!(peer, from);
}

/// A SYN with TCP-AO, which there is no key for, is not answered (RFC 5925 section 7.3 would have it so); one without is.
fn ao__without_a_key(stack: Stack) {
    ns::isolate();
    let (_listener, address) = listening(stack, 1);
    let capture = Capture::on("lo");
    let from = stack.local(4712);
    ns::nft_input(&["tcp dport 4712 counter name dropped drop"]);
    let before = counter(stack, "TCPAOKeyNotFound");
    let mut option = vec![29, 16, 100, 100];
    option.extend([7; 12]);
    let signed = Forged {
        from,
        to: address,
        seq: 1000,
        ack: 0,
        flags: SYN,
        options: option,
    };
    signed.send();
    wait::until("it is dropped", || {
        counter(stack, "TCPAOKeyNotFound") > before
    });
    let answers = |s: &Segment| s.target == from;
    assert!(!capture.segments().iter().any(answers));
    Forged {
        options: Vec::new(),
        ..signed
    }
    .send();
    wait::until("the SYN-ACK", || capture.segments().iter().any(answers));
}

/// As tcp_v4_parse_md5_keys() and tcp_v6_parse_md5_keys() have it.
fn option__what_is_refused(stack: Stack) {
    need_md5(Pair {
        client: stack,
        server: stack,
    });
    let sock = Sock::open(stack);
    let peer = stack.loopback();
    let good = Md5Sig::new(peer, KEY);
    let other_family: IpAddr = match stack.ip {
        Ip::V4 => "::1".parse().expect("an address"),
        Ip::V6 => [127, 0, 0, 1].into(),
    };
    for option in [TCP_MD5SIG, TCP_MD5SIG_EXT] {
        let set = |sig: &Md5Sig| sock.set_bytes(libc::SOL_TCP, option, &sig.bytes());
        expect_errno(set(&Md5Sig::new(other_family, KEY)), libc::EINVAL);
        let long = Md5Sig {
            key_len: 81,
            ..good.clone()
        };
        expect_errno(set(&long), libc::EINVAL);
        expect_errno(set(&Md5Sig::new(peer, b"")), libc::ENOENT);
        let short = &good.bytes()[..215];
        expect_errno(sock.set_bytes(libc::SOL_TCP, option, short), libc::EINVAL);
        expect_errno(sock.get(libc::SOL_TCP, option), libc::ENOPROTOOPT);
        let longest = Md5Sig::new(peer, &[7; 80]);
        set(&longest).expect("80 bytes");
        // Longer values than the structure are read as far as it goes.
        let mut more = longest.bytes();
        more.extend([0; 8]);
        sock.set_bytes(libc::SOL_TCP, option, &more).expect("more");
        set(&Md5Sig::new(peer, b"")).expect("to take it away");
    }
    let bits = match stack.ip {
        Ip::V4 => 32,
        Ip::V6 => 128,
    };
    let of_prefix = |prefix| Md5Sig::of_prefix(peer, prefix, KEY);
    expect_errno(of_prefix(bits + 1).set(&sock), libc::EINVAL);
    of_prefix(bits).set(&sock).expect("the longest prefix");
    of_prefix(0).set(&sock).expect("the shortest prefix");
    // It is not looked at by the option that does not know it.
    of_prefix(bits + 1).set_plain(&sock).expect("TCP_MD5SIG");
    // A device that is no VRF.
    let of_device = |ifindex| Md5Sig {
        flags: TCP_MD5SIG_FLAG_IFINDEX,
        ifindex,
        ..good.clone()
    };
    expect_errno(of_device(1).set(&sock), libc::EINVAL);
    expect_errno(of_device(9999).set(&sock), libc::EINVAL);
    of_device(0).set(&sock).expect("in no VRF");
    if stack.ip == Ip::V6 {
        let mapped = |prefix| {
            let peer = "::ffff:127.0.0.1".parse().expect("an address");
            Md5Sig::of_prefix(peer, prefix, KEY)
        };
        expect_errno(mapped(33).set(&sock), libc::EINVAL);
        mapped(32).set(&sock).expect("an IPv4 peer");
    }
}

/// A key is its peer's, prefix's and device's: what has another is another.
fn option__keys_come_and_go(stack: Stack) {
    need_md5(Pair {
        client: stack,
        server: stack,
    });
    let sock = Sock::open(stack);
    let peer = stack.loopback();
    let prefix = |key: &[u8]| Md5Sig::of_prefix(peer, 24, key);
    let device = |key: &[u8]| Md5Sig {
        flags: TCP_MD5SIG_FLAG_IFINDEX,
        ..Md5Sig::new(peer, key)
    };
    set(&sock, peer, KEY);
    expect_errno(prefix(b"").set(&sock), libc::ENOENT);
    expect_errno(device(b"").set(&sock), libc::ENOENT);
    prefix(KEY).set(&sock).expect("a prefix");
    device(KEY).set(&sock).expect("a device");
    set(&sock, peer, OTHER);
    set(&sock, peer, b"");
    expect_errno(Md5Sig::new(peer, b"").set(&sock), libc::ENOENT);
    prefix(b"").set(&sock).expect("the prefix is there");
    device(b"").set(&sock).expect("the device is there");
    expect_errno(device(b"").set(&sock), libc::ENOENT);
    // By both options.
    Md5Sig::new(peer, KEY).set_plain(&sock).expect("TCP_MD5SIG");
    set(&sock, peer, b"");
}

/// Keys count against net.core.optmem_max, and what is taken away does not.
fn option__memory_is_bounded(stack: Stack) {
    need_md5(Pair {
        client: stack,
        server: stack,
    });
    let sock = Sock::open(stack);
    let room = signed::room(stack, |peer| Md5Sig::new(peer, KEY).set(&sock));
    // 128 KB by default.
    assert!((500..2000).contains(&room), "{room}");
    // Changing one takes no more.
    let peer = |n| signed::peer(stack, n);
    set(&sock, peer(0), OTHER);
    set(&sock, peer(1), b"");
    set(&sock, peer(5000), KEY);
    expect_errno(Md5Sig::new(peer(5001), KEY).set(&sock), libc::ENOMEM);
}
