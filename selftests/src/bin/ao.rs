// SPDX-License-Identifier: GPL-2.0
//! TCP-AO (RFC 5925, RFC 5926): ours with the built-in TCP and with ourselves.

use std::net::{IpAddr, SocketAddr};
use std::process::ExitCode;

use oxtcp_selftests::ao::{
    AoInfo, AoKey, Listed, AES_CMAC, HMAC_SHA1, HMAC_SHA256, KIND_AO, TCP_AO_ADD_KEY,
    TCP_AO_DEL_KEY, TCP_AO_GET_KEYS, TCP_AO_INFO, TCP_AO_KEYF_EXCLUDE_OPT, TCP_AO_KEYF_IFINDEX,
    TCP_AO_REPAIR,
};
use oxtcp_selftests::capture::{Capture, Segment, ACK, FIN, RST, SYN};
use oxtcp_selftests::connection::{connected_with, listening_at};
use oxtcp_selftests::forge::Forged;
use oxtcp_selftests::keys::{counter, does_not_connect, expected_next, Md5Sig};
use oxtcp_selftests::procnet::{self, State};
use oxtcp_selftests::{
    cases, errno, expect_errno, ktap, listening, ns, transfer, wait, Connected, Ip, Pair, Sock,
    Stack, Suite,
};

const KEY: &[u8] = b"a key that both know";
const OTHER: &[u8] = b"another key, of other length";
/// Loopback's own is that of a burst.
const MTU: usize = 1500;
/// What the client sends with and receives with; the server has them the other way.
const FIRST: (u8, u8) = (100, 101);
const SECOND: (u8, u8) = (200, 201);

fn main() -> ExitCode {
    let mut suite = Suite::from_args("ao");
    cases!(suite.stacks: option__what_is_refused, option__keys_come_and_go, option__what_is_told,
        option__memory_is_bounded, option__not_beside_md5, option__repair, connect__needs_a_key_for_the_peer);
    cases!(suite.pairs:
        ao__every_segment_is_signed, ao__bulk, ao__mac_lengths, ao__other_options_left_out, ao__lost_segments,
        ao__wrong_key, ao__wrong_algorithm, ao__unknown_key_id, ao__no_key_at_the_client, ao__no_key_at_the_server,
        ao__required_of_everybody, ao__other_peers_need_none, ao__by_prefix_among_many, ao__the_key_that_the_client_asks_for,
        ao__rollover, ao__rollover_under_traffic, ao__delete_after_rollover, ao__number_extension,
        ao__forged_reset, ao__reset_of_an_abort, ao__reset_of_a_full_queue, ao__time_wait, ao__bind_again, ao__again_with_the_same_socket, ao__cookies,
        ao__dual_stack, ao__icmp, ao__keepalive, ao__counts,
    );
    suite.run()
}

/// Skips the test where one of the kernels' TCPs has no TCP-AO.
fn need_ao(pair: Pair) {
    ns::isolate();
    for stack in [pair.client, pair.server] {
        if let Err(error) = AoKey::new(stack.loopback(), FIRST, KEY).add(&Sock::open(stack)) {
            match errno::of(&error) {
                libc::ENOPROTOOPT => ktap::skip("this kernel has no TCP-AO"),
                _ => panic!("TCP_AO_ADD_KEY: {error}"),
            }
        }
    }
}

/// The algorithms that both have.
fn algorithms(pair: Pair) -> Vec<&'static str> {
    let has = |stack: Stack, algorithm: &'static str| {
        let key = AoKey {
            algorithm,
            ..AoKey::new(stack.loopback(), FIRST, KEY)
        };
        match key.add(&Sock::open(stack)) {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(errno::of(&error), libc::ENOENT, "{algorithm}: {error}");
                false
            }
        }
    };
    let both =
        |algorithm: &&'static str| has(pair.client, algorithm) && has(pair.server, algorithm);
    let all = [HMAC_SHA1, HMAC_SHA256, AES_CMAC];
    let all: Vec<_> = all.into_iter().filter(both).collect();
    assert!(all.contains(&HMAC_SHA1));
    all
}

fn alone(stack: Stack) -> Pair {
    Pair {
        client: stack,
        server: stack,
    }
}

/// The client's key for the server.
fn client_key(pair: Pair, ids: (u8, u8), key: &[u8]) -> AoKey {
    AoKey::new(pair.server.loopback(), ids, key)
}

/// The server's for the client: it sends with what the client receives with.
fn server_key(pair: Pair, (send, recv): (u8, u8), key: &[u8]) -> AoKey {
    AoKey::new(pair.client.loopback(), (recv, send), key)
}

#[track_caller]
fn add(key: &AoKey, sock: &Sock) {
    key.add(sock).expect("TCP_AO_ADD_KEY");
}

#[track_caller]
fn info(sock: &Sock) -> AoInfo {
    AoInfo::get(sock).expect("TCP_AO_INFO")
}

/// Both have the key, as `change` makes it.
#[track_caller]
fn signed_with(pair: Pair, change: impl Fn(AoKey) -> AoKey) -> Connected {
    connected_with(pair, |listener, client| {
        add(&change(server_key(pair, FIRST, KEY)), listener);
        add(&change(client_key(pair, FIRST, KEY)), client);
    })
}

#[track_caller]
fn signed(pair: Pair) -> Connected {
    signed_with(pair, |key| key)
}

/// All segments of a connection up to its end, from one side of loopback.
fn conversation(ends: Connected, capture: &Capture) -> Vec<Segment> {
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
    segments
}

/// Both directions, in all phases of a connection: who sends says which key it is, and which one the other is to use.
fn ao__every_segment_is_signed(pair: Pair) {
    need_ao(pair);
    ns::sh(&format!("ip link set lo mtu {MTU}"));
    for algorithm in algorithms(pair) {
        let capture = Capture::on("lo");
        let ends = signed_with(pair, |key| AoKey { algorithm, ..key });
        let server = ends.server.local().expect("getsockname");
        for segment in conversation(ends, &capture) {
            let option = segment
                .option(KIND_AO)
                .unwrap_or_else(|| panic!("{segment:?}"));
            let (send, recv) = match segment.target == server {
                true => FIRST,
                false => (FIRST.1, FIRST.0),
            };
            assert_eq!(option.len(), 2 + 12, "{segment:?}");
            assert_eq!(option[..2], [send, recv], "{segment:?}");
            if segment.flags & SYN != 0 {
                assert!(segment.option(4).is_some(), "SACK: {segment:?}");
            }
            // A SYN-ACK has room for timestamps or SACK.
            if segment.flags & (SYN | ACK) == SYN {
                assert!(segment.option(8).is_some(), "timestamps: {segment:?}");
            }
            // One signature, one segment: no bursts.
            assert!(segment.length <= MTU, "{segment:?}");
        }
    }
}

fn ao__bulk(pair: Pair) {
    need_ao(pair);
    for algorithm in algorithms(pair) {
        transfer::both_ways(
            signed_with(pair, |key| AoKey { algorithm, ..key }),
            2_000_000,
        );
    }
}

/// Any length that a SYN has room for, with or without padding.
fn ao__mac_lengths(pair: Pair) {
    need_ao(pair);
    for algorithm in algorithms(pair) {
        for mac_len in [1, 4, 9, 11, 14, 16] {
            let capture = Capture::on("lo");
            let ends = signed_with(pair, |key| AoKey {
                algorithm,
                mac_len,
                ..key
            });
            ends.check_alive();
            for segment in capture.segments() {
                let option = segment.option(KIND_AO).expect("a signature");
                assert_eq!(option.len(), 2 + usize::from(mac_len));
            }
            transfer::both_ways(ends, 50_000);
        }
    }
}

/// TCP_AO_KEYF_EXCLUDE_OPT: both have to do so.
fn ao__other_options_left_out(pair: Pair) {
    need_ao(pair);
    let without = |key| AoKey {
        flags: TCP_AO_KEYF_EXCLUDE_OPT,
        ..key
    };
    for algorithm in algorithms(pair) {
        let ends = signed_with(pair, |key| without(AoKey { algorithm, ..key }));
        transfer::both_ways(ends, 200_000);
    }
    let (listener, address) = listening(pair.server, 1);
    add(&server_key(pair, FIRST, KEY), &listener);
    let client = Sock::open(pair.client);
    add(&without(client_key(pair, FIRST, KEY)), &client);
    does_not_connect(&client, &address, pair.server, "TCPAOBad");
}

/// What is sent again is signed again, and acknowledgments with SACK blocks are signed too.
fn ao__lost_segments(pair: Pair) {
    need_ao(pair);
    ns::sh(&format!("ip link set lo mtu {MTU}"));
    ns::sh_or_skip("tc qdisc add dev lo root netem loss 3% limit 10000");
    transfer::both_ways(signed(pair), 1_000_000);
    assert!(ns::qdisc_count("lo", "drops") > 0);
}

/// The server has `server`, the client `client`: the SYN is dropped, and counted.
#[track_caller]
fn syn_is_dropped(pair: Pair, server: &[AoKey], client: &[AoKey], name: &str) -> AoInfo {
    let (listener, address) = listening(pair.server, 1);
    for key in server {
        add(key, &listener);
    }
    let sock = Sock::open(pair.client);
    for key in client {
        add(key, &sock);
    }
    does_not_connect(&sock, &address, pair.server, name);
    match server {
        [] => AoInfo::default(),
        _ => info(&listener),
    }
}

fn ao__wrong_key(pair: Pair) {
    need_ao(pair);
    let (server, client) = (server_key(pair, FIRST, KEY), client_key(pair, FIRST, OTHER));
    let told = syn_is_dropped(pair, &[server], &[client], "TCPAOBad");
    assert!(told.bad > 0 && told.good == 0, "{told:?}");
}

fn ao__wrong_algorithm(pair: Pair) {
    need_ao(pair);
    let server = server_key(pair, FIRST, KEY);
    // Of another length, which shows at once; and, where there is one, by another algorithm.
    let other = |algorithm, mac_len| AoKey {
        algorithm,
        mac_len,
        ..client_key(pair, FIRST, KEY)
    };
    let shorter = [other(HMAC_SHA1, 11)];
    syn_is_dropped(pair, &[server.clone()], &shorter, "TCPAOBad");
    if algorithms(pair).contains(&AES_CMAC) {
        syn_is_dropped(pair, &[server], &[other(AES_CMAC, 12)], "TCPAOBad");
    }
}

fn ao__unknown_key_id(pair: Pair) {
    need_ao(pair);
    let (server, client) = (server_key(pair, FIRST, KEY), client_key(pair, SECOND, KEY));
    let told = syn_is_dropped(pair, &[server], &[client], "TCPAOKeyNotFound");
    assert!(told.key_not_found > 0, "{told:?}");
}

fn ao__no_key_at_the_client(pair: Pair) {
    need_ao(pair);
    let told = syn_is_dropped(pair, &[server_key(pair, FIRST, KEY)], &[], "TCPAORequired");
    assert!(told.ao_required > 0, "{told:?}");
}

fn ao__no_key_at_the_server(pair: Pair) {
    need_ao(pair);
    syn_is_dropped(
        pair,
        &[],
        &[client_key(pair, FIRST, KEY)],
        "TCPAOKeyNotFound",
    );
}

/// TCP_AO_INFO with ao_required: there is no key for the peer, and he is not let in without.
fn ao__required_of_everybody(pair: Pair) {
    need_ao(pair);
    let (listener, address) = listening(pair.server, 2);
    let required = AoInfo {
        required: true,
        ..AoInfo::default()
    };
    required.set(&listener).expect("TCP_AO_INFO");
    let client = Sock::open(pair.client);
    does_not_connect(&client, &address, pair.server, "TCPAORequired");
    let mut told = info(&listener);
    assert!(told.required && told.ao_required > 0, "{told:?}");
    told.required = false;
    told.set(&listener).expect("TCP_AO_INFO");
    wait::until("the next SYN", || client.peer().is_ok());
}

/// A key is for its peer: others connect as ever.
fn ao__other_peers_need_none(pair: Pair) {
    need_ao(pair);
    let capture = Capture::on("lo");
    let ends = connected_with(pair, |listener, _| {
        let nobody = pair.server.foreign(0).ip();
        add(&AoKey::new(nobody, FIRST, KEY), listener);
    });
    ends.check_alive();
    let segments = capture.segments();
    assert!(!segments.is_empty());
    assert!(segments.iter().all(|s| s.option(KIND_AO).is_none()));
    // Whether it is signed was settled with the SYN (RFC 5925 section 7.4).
    expect_errno(AoInfo::get(&ends.server), libc::ENOENT);
    expect_errno(
        server_key(pair, FIRST, KEY).add(&ends.server),
        libc::EISCONN,
    );
    transfer::both_ways(ends, 300_000);
}

/// Keys for many peers and for prefixes: the connection has those for its peer, and none other.
fn ao__by_prefix_among_many(pair: Pair) {
    need_ao(pair);
    let (listener, address) = listening(pair.server, 4);
    let other = |n: u8| -> IpAddr {
        match pair.ip() {
            Ip::V4 => [10, 1, 2, n].into(),
            Ip::V6 => [0x2001, 0xdb8, 0, 0, 0, 0, 0, u16::from(n)].into(),
        }
    };
    for n in 1..=60 {
        add(&AoKey::new(other(n), (n, n), OTHER), &listener);
    }
    let network: (IpAddr, u8) = match pair.ip() {
        Ip::V4 => ([127, 0, 0, 0].into(), 8),
        Ip::V6 => ("::1".parse().expect("an address"), 128),
    };
    let for_network = AoKey {
        peer: SocketAddr::new(network.0, 0),
        prefix: network.1,
        ..server_key(pair, FIRST, KEY)
    };
    add(&for_network, &listener);
    let everybody = AoKey {
        peer: SocketAddr::new(pair.client.unspecified(), 0),
        prefix: 0,
        ..server_key(pair, SECOND, OTHER)
    };
    add(&everybody, &listener);
    let connects = |ids, key: &[u8]| {
        let client = Sock::open(pair.client);
        add(&client_key(pair, ids, key), &client);
        client.connect(&address).expect("connect");
        let (server, _) = listener.accept().expect("accept");
        let (keys, count) = Listed::all().get(&server, 10).expect("TCP_AO_GET_KEYS");
        assert_eq!(count, 2, "{keys:?}");
        Connected { client, server }.check_alive();
    };
    connects(FIRST, KEY);
    connects(SECOND, OTHER);
    let (_, count) = Listed::all().get(&listener, 1).expect("TCP_AO_GET_KEYS");
    assert_eq!(count, 62);
    let deletion = for_network.deletion();
    deletion.set(&listener).expect("TCP_AO_DEL_KEY");
    let client = Sock::open(pair.client);
    add(&client_key(pair, FIRST, KEY), &client);
    does_not_connect(&client, &address, pair.server, "TCPAOKeyNotFound");
    connects_with_one(pair, &listener, &address);
}

/// One is left: that for everybody.
fn connects_with_one(pair: Pair, listener: &Sock, address: &SocketAddr) {
    let client = Sock::open(pair.client);
    add(&client_key(pair, SECOND, OTHER), &client);
    client.connect(address).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    let (_, count) = Listed::all().get(&server, 10).expect("TCP_AO_GET_KEYS");
    assert_eq!(count, 1);
}

/// The client signs with one key and wants the server to sign with another: the SYN-ACK is signed so already.
fn ao__the_key_that_the_client_asks_for(pair: Pair) {
    need_ao(pair);
    let capture = Capture::on("lo");
    let ends = connected_with(pair, |listener, client| {
        add(&server_key(pair, FIRST, KEY), listener);
        add(&server_key(pair, SECOND, OTHER), listener);
        let current = AoKey {
            set_current: true,
            ..client_key(pair, FIRST, KEY)
        };
        let rnext = AoKey {
            set_rnext: true,
            ..client_key(pair, SECOND, OTHER)
        };
        add(&current, client);
        add(&rnext, client);
    });
    let (client, server) = (info(&ends.client), info(&ends.server));
    assert_eq!(client.current, Some(FIRST.0));
    assert_eq!(client.rnext, Some(SECOND.1));
    // The server sends what the client wants, and wants what the client sends.
    assert_eq!(server.current, Some(SECOND.1));
    assert_eq!(server.rnext, Some(FIRST.0));
    ends.check_alive();
    let to = ends.client.local().expect("getsockname");
    let ids = |flags| {
        move |s: &Segment| {
            (s.target == to && s.flags == flags).then(|| s.option(KIND_AO).map(<[u8]>::to_vec))
        }
    };
    let segments = capture.segments();
    let syn_ack = segments.iter().find_map(ids(SYN | ACK)).flatten();
    assert_eq!(syn_ack.expect("a SYN-ACK")[..2], [SECOND.1, FIRST.0]);
    transfer::both_ways(ends, 200_000);
}

/// Both have two keys, of which they use the first.
#[track_caller]
fn with_two_keys(pair: Pair) -> Connected {
    let second = algorithms(pair).last().copied().expect("an algorithm");
    let two = |first: AoKey, other: AoKey| {
        let first = AoKey {
            set_current: true,
            set_rnext: true,
            ..first
        };
        // Of other length, which changes the size of segments.
        let other = AoKey {
            algorithm: second,
            mac_len: 16,
            ..other
        };
        (first, other)
    };
    connected_with(pair, |listener, client| {
        let (first, other) = two(
            server_key(pair, FIRST, KEY),
            server_key(pair, SECOND, OTHER),
        );
        for mut key in [first, other] {
            // A listener has no current key.
            (key.set_current, key.set_rnext) = (false, false);
            add(&key, listener);
        }
        let (first, other) = two(
            client_key(pair, FIRST, KEY),
            client_key(pair, SECOND, OTHER),
        );
        add(&first, client);
        add(&other, client);
    })
}

/// Tells the peer of `sock` to sign with this one.
#[track_caller]
fn want(sock: &Sock, recv_id: u8) {
    let rnext = AoInfo {
        rnext: Some(recv_id),
        ..AoInfo::default()
    };
    rnext.set(sock).expect("TCP_AO_INFO");
}

/// RFC 5925 section 7.3: each side asks for the new key, and is sent with it.
fn ao__rollover(pair: Pair) {
    need_ao(pair);
    let ends = with_two_keys(pair);
    ends.check_alive();
    assert_eq!(info(&ends.server).current, Some(FIRST.1));
    want(&ends.client, SECOND.1);
    // The segment that says so, and the answer.
    ends.check_alive();
    assert_eq!(info(&ends.server).current, Some(SECOND.1));
    assert_eq!(info(&ends.client).current, Some(FIRST.0));
    want(&ends.server, SECOND.0);
    ends.check_alive();
    wait::until("the client's current key", || {
        info(&ends.client).current == Some(SECOND.0)
    });
    let capture = Capture::on("lo");
    ends.check_alive();
    let to = ends.server.local().expect("getsockname");
    for segment in capture.segments() {
        let (send, recv) = match segment.target == to {
            true => SECOND,
            false => (SECOND.1, SECOND.0),
        };
        let option = segment.option(KIND_AO).expect("a signature");
        assert_eq!(option[..2], [send, recv], "{segment:?}");
        assert_eq!(option.len(), 2 + 16);
    }
    // And back, by the sender's own choice.
    let back = AoInfo {
        current: Some(FIRST.0),
        ..AoInfo::default()
    };
    // What the server wants counts with its next segment.
    want(&ends.server, FIRST.0);
    back.set(&ends.client).expect("TCP_AO_INFO");
    ends.check_alive();
    assert_eq!(info(&ends.client).current, Some(FIRST.0));
    transfer::both_ways(ends, 300_000);
}

/// Keys change while data flows both ways: nothing is lost, and none is told to be bad.
fn ao__rollover_under_traffic(pair: Pair) {
    need_ao(pair);
    ns::sh(&format!("ip link set lo mtu {MTU}"));
    let ends = with_two_keys(pair);
    let bad = || counter(pair.client, "TCPAOBad") + counter(pair.server, "TCPAOBad");
    let (client, server) = (ends.client.try_clone(), ends.server.try_clone());
    let before = bad();
    let turns = std::thread::spawn(move || {
        for turn in 0..40 {
            let (send, recv) = [SECOND, FIRST][turn % 2];
            want(&client, recv);
            want(&server, send);
            std::thread::yield_now();
        }
    });
    transfer::both_ways(ends, 4_000_000);
    turns.join().expect("the turns");
    assert_eq!(bad(), before);
}

/// RFC 5925 section 6.1: a key in use is not taken away; what is not used any more is, and the rest goes on.
fn ao__delete_after_rollover(pair: Pair) {
    need_ao(pair);
    let ends = with_two_keys(pair);
    ends.check_alive();
    let first = client_key(pair, FIRST, KEY);
    expect_errno(first.delete(&ends.client), libc::EBUSY);
    let mut deletion = first.deletion();
    deletion.current = Some(SECOND.0);
    // Still what the peer is to sign with.
    expect_errno(deletion.set(&ends.client), libc::EBUSY);
    deletion.rnext = Some(SECOND.1);
    deletion.set(&ends.client).expect("TCP_AO_DEL_KEY");
    expect_errno(deletion.set(&ends.client), libc::ENOENT);
    // The server learns with the next segment, and what was on its way was the old key's.
    let told = info(&ends.client);
    assert_eq!((told.current, told.rnext), (Some(SECOND.0), Some(SECOND.1)));
    ends.client.send_all(b"new");
    assert_eq!(ends.server.recv_exact(3), b"new");
    wait::until("the server's current key", || {
        info(&ends.server).current == Some(SECOND.1)
    });
    want(&ends.server, SECOND.0);
    let first = server_key(pair, FIRST, KEY);
    first.delete(&ends.server).expect("TCP_AO_DEL_KEY");
    let (left, count) = Listed::all().get(&ends.server, 4).expect("TCP_AO_GET_KEYS");
    assert_eq!(count, 1);
    assert_eq!(left[0].ids, (SECOND.1, SECOND.0));
    // And another one comes.
    add(&client_key(pair, FIRST, KEY), &ends.client);
    add(&server_key(pair, FIRST, KEY), &ends.server);
    want(&ends.client, FIRST.1);
    ends.check_alive();
    assert_eq!(info(&ends.server).current, Some(FIRST.1));
    transfer::both_ways(ends, 200_000);
}

/// RFC 5925 section 6.2: a stream whose numbers pass 2^32 goes on. Connections are opened until one begins shortly before that.
fn ao__number_extension(pair: Pair) {
    need_ao(pair);
    /// One connection of 512.
    const NEAR: u32 = 8 << 20;
    const TRIES: u32 = 8000;
    let (listener, address) = listening(pair.server, 4);
    add(&server_key(pair, FIRST, KEY), &listener);
    let capture = Capture::on("lo");
    let mut wrapped = [false; 2];
    for _ in 0..TRIES {
        let client = Sock::open(pair.client);
        add(&client_key(pair, FIRST, KEY), &client);
        client.connect(&address).expect("connect");
        let (server, from) = listener.accept().expect("accept");
        let near = |source: SocketAddr, segments: &[Segment]| {
            let syn = |s: &&Segment| s.flags & SYN != 0 && s.source == source;
            let syn = segments.iter().find(syn).expect("a SYN");
            syn.seq > u32::MAX - NEAR
        };
        let segments = capture.segments();
        let wraps = [near(from, &segments), near(address, &segments)];
        let ends = Connected { client, server };
        if (wraps[0] && !wrapped[0]) || (wraps[1] && !wrapped[1]) {
            for (seen, wraps) in wrapped.iter_mut().zip(wraps) {
                *seen |= wraps;
            }
            let bad = || counter(pair.client, "TCPAOBad") + counter(pair.server, "TCPAOBad");
            let before = bad();
            transfer::both_ways(ends, NEAR as usize + (1 << 20));
            assert_eq!(bad(), before);
        } else {
            ends.client.set_linger(true, 0).expect("SO_LINGER");
        }
        if wrapped == [true; 2] {
            return;
        }
    }
    panic!("no connection began near the wrap: {wrapped:?}");
}

/// The number is exact, the reset is not signed: nothing happens.
fn ao__forged_reset(pair: Pair) {
    need_ao(pair);
    let capture = Capture::on("lo");
    let ends = signed(pair);
    let reset = Forged {
        from: ends.server.local().expect("getsockname"),
        to: ends.client.local().expect("getsockname"),
        seq: expected_next(&ends, &capture),
        ack: 0,
        flags: RST,
        options: Vec::new(),
    };
    let option = |recv: u8, len: u8| {
        let mut option = vec![KIND_AO, len + 4, recv, FIRST.0];
        option.extend(vec![0x5a; usize::from(len)]);
        option.resize(option.len().next_multiple_of(4), 1);
        option
    };
    let cases = [
        ("TCPAORequired", Vec::new()),
        ("TCPAOBad", option(FIRST.1, 12)),
        ("TCPAOBad", option(FIRST.1, 5)),
        ("TCPAOBad", option(FIRST.1, 36)),
        ("TCPAOKeyNotFound", option(77, 12)),
        (
            "TCPMD5Unexpected",
            [vec![1, 1, 19, 18], vec![7; 16]].concat(),
        ),
    ];
    for (name, options) in cases {
        let before = counter(pair.client, name);
        Forged {
            options,
            ..reset.clone()
        }
        .send();
        wait::until(name, || counter(pair.client, name) > before);
        ends.check_alive();
    }
    // Malformed, or twice; that is not counted.
    for options in [
        vec![KIND_AO, 4, FIRST.1, FIRST.0, 1, 1, 1, 1],
        option(FIRST.1, 12).repeat(2),
    ] {
        Forged {
            options,
            ..reset.clone()
        }
        .send();
        ends.check_alive();
    }
    let told = info(&ends.client);
    assert_eq!((told.bad, told.key_not_found, told.ao_required), (3, 1, 1));
    transfer::both_ways(ends, 100_000);
}

/// The reset of a close with SO_LINGER is signed: the peer believes it.
fn ao__reset_of_an_abort(pair: Pair) {
    need_ao(pair);
    for server in [true, false] {
        let ends = signed(pair);
        ends.check_alive();
        let (goes, stays) = match server {
            true => (ends.server, ends.client),
            false => (ends.client, ends.server),
        };
        goes.set_linger(true, 0).expect("SO_LINGER");
        drop(goes);
        wait::until("the connection ends", || {
            stays.take_error() == libc::ECONNRESET
        });
    }
}

/// tcp_abort_on_overflow: the reset of a half-open connection is made of its own numbers. Linux's is not, and is not believed.
fn ao__reset_of_a_full_queue(pair: Pair) {
    need_ao(pair);
    if !pair.server.ours {
        ktap::skip("Linux signs it as if the segment were a SYN");
    }
    let name = ns::find_sysctl(pair.server, "tcp_abort_on_overflow");
    ns::set_sysctl(&name.expect("tcp_abort_on_overflow"), "1");
    // Room for two, in each queue.
    let (listener, address) = listening(pair.server, 1);
    add(&server_key(pair, FIRST, KEY), &listener);
    let half_open = |port| {
        let client = Sock::open(pair.client);
        add(&client_key(pair, FIRST, KEY), &client);
        client.bind(&pair.client.local(port)).expect("bind");
        client.connect(&address).expect("connect");
        client
    };
    // What ends handshakes does not arrive, but for the one that makes room for another.
    let held = "tcp flags & (syn | rst) == 0 counter name dropped drop";
    ns::nft_input(&["tcp sport 4713 accept", held]);
    let first = half_open(4713);
    listener.poll_wait(libc::POLLIN);
    let clients = [half_open(0), half_open(0)];
    ns::nft_clear();
    drop(first);
    for client in &clients {
        client.send_all(b"here I am");
    }
    wait::until("one of them is reset", || {
        clients
            .iter()
            .any(|client| client.take_error() == libc::ECONNRESET)
    });
}

/// In TIME-WAIT a FIN that comes again is acknowledged with a signature: else the peer would wait in LAST-ACK.
fn ao__time_wait(pair: Pair) {
    need_ao(pair);
    let ends = signed(pair);
    ends.check_alive();
    let client = ends.client.local().expect("getsockname");
    let server = ends.server.local().expect("getsockname");
    let state = |stack, local, remote| procnet::state_of(stack, local, remote);
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    assert_eq!(ends.server.recv_to_end(), b"");
    wait::until("FIN-WAIT-2", || {
        state(pair.client, client, server) == Some(State::FinWait2)
    });
    let rule = format!("tcp dport {} counter name dropped drop", server.port());
    ns::nft_input(&[&rule]);
    drop(ends.server);
    assert_eq!(ends.client.recv_to_end(), b"");
    drop(ends.client);
    wait::until("TIME-WAIT", || {
        state(pair.client, client, server) == Some(State::TimeWait)
    });
    wait::until("the last ACK is dropped", || ns::nft_packets("dropped") > 0);
    assert_eq!(state(pair.server, server, client), Some(State::LastAck));
    ns::nft_clear();
    wait::until("the server is done", || {
        state(pair.server, server, client).is_none()
    });
    assert_eq!(state(pair.client, client, server), Some(State::TimeWait));
}

/// A TIME-WAIT at the server makes way for a signed SYN (RFC 6191), and not for one that is not signed.
fn ao__bind_again(pair: Pair) {
    need_ao(pair);
    let (listener, address) = listening(pair.server, 1);
    add(&server_key(pair, FIRST, KEY), &listener);
    let client = |signs: bool, port| {
        let client = Sock::open(pair.client);
        if signs {
            add(&client_key(pair, FIRST, KEY), &client);
        }
        client.set_reuseaddr();
        client.bind(&pair.client.local(port)).expect("bind");
        client
    };
    let first = client(true, 0);
    let port = first.port();
    first.connect(&address).expect("connect");
    let (server, from) = listener.accept().expect("accept");
    drop(server);
    assert_eq!(first.recv_to_end(), b"");
    drop(first);
    wait::until("TIME-WAIT", || {
        procnet::state_of(pair.server, address, from) == Some(State::TimeWait)
    });
    let unsigned = client(false, port);
    does_not_connect(&unsigned, &address, pair.server, "TCPAORequired");
    drop(unsigned);
    let second = client(true, port);
    second.connect(&address).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    let client = second;
    Connected { client, server }.check_alive();
}

/// A socket that is connected once more has its keys still, and keys of that connection.
fn ao__again_with_the_same_socket(pair: Pair) {
    need_ao(pair);
    let (listener, address) = listening(pair.server, 1);
    add(&server_key(pair, FIRST, KEY), &listener);
    let mut client = Sock::open(pair.client);
    add(&client_key(pair, FIRST, KEY), &client);
    for _ in 0..3 {
        client.connect(&address).expect("connect");
        let (server, _) = listener.accept().expect("accept");
        let ends = Connected { client, server };
        ends.check_alive();
        client = ends.client;
        let nobody = oxtcp_selftests::sock::RawAddr::unspecified();
        client.connect_raw(&nobody).expect("disconnect");
    }
}

/// The SYN-ACK of a cookie is signed, and so is what comes of it.
fn ao__cookies(pair: Pair) {
    need_ao(pair);
    let name = ns::find_sysctl(pair.server, "tcp_syncookies");
    ns::set_sysctl(&name.expect("tcp_syncookies"), "2");
    for algorithm in algorithms(pair) {
        let before = counter(pair.server, "SyncookiesRecv");
        let ends = signed_with(pair, |key| AoKey { algorithm, ..key });
        ends.check_alive();
        if pair.server.ours {
            // From Linux's, more than a segment takes many timeouts.
            transfer::both_ways(ends, 300_000);
        }
        assert!(counter(pair.server, "SyncookiesRecv") > before);
    }
}

/// An IPv6 socket knows an IPv4 peer by its IPv4-mapped address: the server's, or over IPv6 the client's.
fn ao__dual_stack(pair: Pair) {
    need_ao(pair);
    let mapped: IpAddr = "::ffff:127.0.0.1".parse().expect("an address");
    let v4: IpAddr = [127, 0, 0, 1].into();
    let peer_of = |stack: Stack| match stack.ip {
        Ip::V4 => v4,
        Ip::V6 => mapped,
    };
    let (client, server) = match pair.ip() {
        Ip::V4 => (pair.client, pair.server.with_ip(Ip::V6)),
        Ip::V6 => (pair.client, pair.server.with_ip(Ip::V4)),
    };
    let (listener, _) = listening_at(server, &server.any(0), 1);
    let address = SocketAddr::new(peer_of(client), listener.port());
    let of = |peer, ids| AoKey {
        prefix: 32,
        ..AoKey::new(peer, ids, KEY)
    };
    add(&of(peer_of(server), (FIRST.1, FIRST.0)), &listener);
    let unsigned = Sock::open(client);
    does_not_connect(&unsigned, &address, server, "TCPAORequired");
    let end = Sock::open(client);
    add(&of(peer_of(client), FIRST), &end);
    end.connect(&address).expect("connect");
    let (accepted, _) = listener.accept().expect("accept");
    let ends = Connected {
        client: end,
        server: accepted,
    };
    ends.check_alive();
    let (keys, _) = Listed::all().get(&ends.server, 1).expect("TCP_AO_GET_KEYS");
    // IPv4's, whatever the socket is.
    assert_eq!((keys[0].address.len(), keys[0].prefix), (16, 32));
    transfer::both_ways(ends, 100_000);
}

/// RFC 5925 section 7.8: "port unreachable" is not believed, unless it is to be.
fn ao__icmp(pair: Pair) {
    need_ao(pair);
    let ends = signed(pair);
    ends.check_alive();
    let reject = match pair.ip() {
        Ip::V4 => "icmp",
        Ip::V6 => "icmpv6",
    };
    let rule = format!(
        "tcp dport {} counter name dropped reject with {reject} port-unreachable",
        ends.server.port()
    );
    let dropped = || counter(pair.client, "TCPAODroppedIcmps");
    let before = dropped();
    ns::nft_input(&[&rule]);
    ends.client.send_all(b"lost");
    wait::until("an ICMP error is dropped", || dropped() > before);
    ns::nft_clear();
    assert_eq!(ends.server.recv_exact(4), b"lost");
    let told = info(&ends.client);
    assert!(told.dropped_icmp > 0 && !told.accept_icmps, "{told:?}");
    let accepting = AoInfo {
        accept_icmps: true,
        ..AoInfo::default()
    };
    accepting.set(&ends.client).expect("TCP_AO_INFO");
    let before = dropped();
    ns::nft_input(&[&rule]);
    ends.client.send_all(b"lost");
    wait::until("it is rejected", || ns::nft_packets("dropped") > 1);
    ns::nft_clear();
    assert_eq!(ends.server.recv_exact(4), b"lost");
    assert_eq!(dropped(), before);
    ends.check_alive();
}

/// Probes and their answers are signed: the connection lives on them.
fn ao__keepalive(pair: Pair) {
    need_ao(pair);
    let ends = signed(pair);
    ends.check_alive();
    let port = ends.server.port();
    for (level, option, value) in [
        (libc::SOL_TCP, libc::TCP_KEEPIDLE, 1),
        (libc::SOL_TCP, libc::TCP_KEEPINTVL, 1),
        (libc::SOL_TCP, libc::TCP_KEEPCNT, 2),
        (libc::SOL_SOCKET, libc::SO_KEEPALIVE, 1),
    ] {
        ends.client.set(level, option, value).expect("keepalive");
    }
    let capture = Capture::on("lo");
    let mut answers = 0;
    wait::until("four answers to probes", || {
        let answer = |s: &&Segment| !s.outgoing && s.source.port() == port;
        let segments = capture.segments();
        assert!(segments.iter().all(|s| s.option(KIND_AO).is_some()));
        answers += segments.iter().filter(answer).count();
        answers >= 4
    });
    ends.check_alive();
}

/// What is counted, with the socket and with the key.
fn ao__counts(pair: Pair) {
    need_ao(pair);
    let good = |stack| counter(stack, "TCPAOGood");
    let before = (good(pair.client), good(pair.server));
    let ends = signed(pair);
    for _ in 0..10 {
        ends.check_alive();
    }
    for (sock, stack, before) in [
        (&ends.client, pair.client, before.0),
        (&ends.server, pair.server, before.1),
    ] {
        let told = info(sock);
        assert!(told.good >= 10, "{told:?}");
        assert_eq!((told.bad, told.key_not_found, told.ao_required), (0, 0, 0));
        assert!(good(stack) >= before + 10);
        let (keys, _) = Listed::all().get(sock, 1).expect("TCP_AO_GET_KEYS");
        assert!(keys[0].good >= 10 && keys[0].bad == 0, "{keys:?}");
    }
    let counters = AoInfo {
        set_counters: true,
        good: 1_000_000,
        bad: 2,
        key_not_found: 3,
        ao_required: 4,
        dropped_icmp: 5,
        ..AoInfo::default()
    };
    counters.set(&ends.client).expect("TCP_AO_INFO");
    let told = info(&ends.client);
    assert!(told.good >= 1_000_000 && !told.set_counters);
    assert_eq!(
        (
            told.bad,
            told.key_not_found,
            told.ao_required,
            told.dropped_icmp
        ),
        (2, 3, 4, 5)
    );
}

/// As tcp_ao_add_cmd(), tcp_ao_del_cmd() and tcp_ao_info_cmd() have it.
fn option__what_is_refused(stack: Stack) {
    need_ao(alone(stack));
    let sock = Sock::open(stack);
    let peer = stack.loopback();
    let good = AoKey::new(peer, FIRST, KEY);
    let refused = |key: AoKey, errno| expect_errno(key.add(&sock), errno);
    let other_family: IpAddr = match stack.ip {
        Ip::V4 => "::1".parse().expect("an address"),
        Ip::V6 => [127, 0, 0, 1].into(),
    };
    let invalid = |change: &dyn Fn(&mut AoKey)| {
        let mut key = good.clone();
        change(&mut key);
        refused(key, libc::EINVAL);
    };
    invalid(&|key| key.peer.set_ip(other_family));
    invalid(&|key| key.peer.set_port(80));
    invalid(&|key| key.key_len = 81);
    invalid(&|key| key.reserved = 1);
    invalid(&|key| key.reserved2 = 1);
    invalid(&|key| key.prefix = 0);
    invalid(&|key| key.prefix += 1);
    // Bits beyond the prefix.
    invalid(&|key| key.prefix = 8);
    invalid(&|key| key.flags = 4);
    invalid(&|key| key.ifindex = 1);
    // A device that is no VRF, or none.
    for ifindex in [1, 9999] {
        invalid(&|key| (key.ifindex, key.flags) = (ifindex, TCP_AO_KEYF_IFINDEX));
    }
    invalid(&|key| {
        key.peer.set_ip(stack.unspecified());
        key.prefix = 8;
    });
    let named = |algorithm| AoKey {
        algorithm,
        ..good.clone()
    };
    refused(named("hmac(md5)"), libc::ENOENT);
    refused(named(""), libc::ENOENT);
    // This name is for keys of 16 bytes.
    refused(named("cmac(aes)"), libc::ENOENT);
    let long = |mac_len| AoKey {
        mac_len,
        ..good.clone()
    };
    refused(long(17), libc::EMSGSIZE);
    refused(long(255), libc::EMSGSIZE);
    for option in [TCP_AO_ADD_KEY, TCP_AO_DEL_KEY, TCP_AO_INFO] {
        let len = match option {
            TCP_AO_ADD_KEY => 288,
            TCP_AO_DEL_KEY => 144,
            _ => 48,
        };
        let short = vec![0; len - 1];
        expect_errno(sock.set_bytes(libc::SOL_TCP, option, &short), libc::EINVAL);
    }
    // Longer values are read as far as is known, if there are zeros.
    let mut more = good.bytes();
    more.extend([0, 1]);
    expect_errno(
        sock.set_bytes(libc::SOL_TCP, TCP_AO_ADD_KEY, &more),
        libc::E2BIG,
    );
    expect_errno(AoInfo::get(&sock), libc::ENOENT);
    expect_errno(Listed::all().get(&sock, 1), libc::ENOENT);
    expect_errno(good.delete(&sock), libc::ENOENT);
    more[289] = 0;
    sock.set_bytes(libc::SOL_TCP, TCP_AO_ADD_KEY, &more)
        .expect("more");
    expect_errno(
        sock.set_bytes(libc::SOL_TCP, TCP_AO_GET_KEYS, &more),
        libc::ENOPROTOOPT,
    );
    // The numbers of keys for the same peer (RFC 5925 section 3.1).
    for ids in [FIRST, (FIRST.0, 9), (9, FIRST.1)] {
        expect_errno(AoKey::new(peer, ids, OTHER).add(&sock), libc::EEXIST);
    }
    let everybody = |ids| AoKey {
        prefix: 0,
        ..AoKey::new(stack.unspecified(), ids, KEY)
    };
    expect_errno(everybody(FIRST).add(&sock), libc::EEXIST);
    add(&everybody((1, 2)), &sock);
    add(&AoKey::new(stack.foreign(0).ip(), FIRST, OTHER), &sock);

    let mut deletion = good.deletion();
    deletion.reserved = 1;
    expect_errno(deletion.set(&sock), libc::EINVAL);
    deletion.reserved = 0;
    deletion.del_async = true;
    expect_errno(deletion.set(&sock), libc::EINVAL);
    deletion.del_async = false;
    deletion.flags = TCP_AO_KEYF_EXCLUDE_OPT;
    expect_errno(deletion.set(&sock), libc::EINVAL);
    deletion.flags = 0;
    deletion.current = Some(77);
    expect_errno(deletion.set(&sock), libc::ENOENT);

    let info = |info: AoInfo| info.set(&sock);
    let chosen = AoInfo {
        current: Some(77),
        ..AoInfo::default()
    };
    expect_errno(info(chosen), libc::ENOENT);
    let mut reserved = AoInfo::default().bytes();
    reserved[1] = 1;
    expect_errno(
        sock.set_bytes(libc::SOL_TCP, TCP_AO_INFO, &reserved),
        libc::EINVAL,
    );

    // A listener has no current key.
    let (listener, _) = listening(stack, 1);
    let mut chosen = good.clone();
    chosen.set_current = true;
    expect_errno(chosen.add(&listener), libc::EINVAL);
    add(&good, &listener);
    let mut deletion = good.deletion();
    deletion.rnext = Some(FIRST.1);
    expect_errno(deletion.set(&listener), libc::EINVAL);
    let rnext = AoInfo {
        rnext: Some(FIRST.1),
        ..AoInfo::default()
    };
    expect_errno(rnext.set(&listener), libc::EINVAL);
    let mut deletion = good.deletion();
    deletion.del_async = true;
    deletion.set(&listener).expect("TCP_AO_DEL_KEY");
    expect_errno(deletion.set(&listener), libc::ENOENT);
}

/// A key is its peer's, prefix's and numbers': what has others is another.
fn option__keys_come_and_go(stack: Stack) {
    need_ao(alone(stack));
    let sock = Sock::open(stack);
    let key = AoKey::new(stack.loopback(), FIRST, KEY);
    let other = AoKey::new(stack.loopback(), SECOND, OTHER);
    add(&key, &sock);
    add(&other, &sock);
    let mut wrong = key.deletion();
    wrong.ids = (FIRST.0, SECOND.1);
    expect_errno(wrong.set(&sock), libc::ENOENT);
    let mut wrong = key.deletion();
    wrong.prefix -= 1;
    expect_errno(wrong.set(&sock), libc::ENOENT);
    let mut wrong = key.deletion();
    wrong.flags = TCP_AO_KEYF_IFINDEX;
    expect_errno(wrong.set(&sock), libc::ENOENT);
    assert_eq!(info(&sock), AoInfo::default());
    // What is chosen cannot be what goes.
    let mut kept = key.deletion();
    (kept.current, kept.rnext) = (Some(FIRST.0), Some(SECOND.1));
    expect_errno(kept.set(&sock), libc::ENOENT);
    kept.current = Some(SECOND.0);
    kept.set(&sock).expect("TCP_AO_DEL_KEY");
    let told = info(&sock);
    assert_eq!((told.current, told.rnext), (Some(SECOND.0), Some(SECOND.1)));
    expect_errno(other.delete(&sock), libc::EBUSY);
    add(&key, &sock);
    let choice = AoInfo {
        current: Some(FIRST.0),
        rnext: Some(FIRST.1),
        required: true,
        accept_icmps: true,
        ..AoInfo::default()
    };
    choice.set(&sock).expect("TCP_AO_INFO");
    assert_eq!(info(&sock), choice);
    other.delete(&sock).expect("TCP_AO_DEL_KEY");
}

/// TCP_AO_GET_KEYS.
fn option__what_is_told(stack: Stack) {
    need_ao(alone(stack));
    let sock = Sock::open(stack);
    let peer = stack.loopback();
    let bits = if stack.ip == Ip::V4 { 32 } else { 128 };
    let mut first = AoKey::new(peer, FIRST, KEY);
    first.flags = TCP_AO_KEYF_EXCLUDE_OPT;
    first.set_current = true;
    let mut second = AoKey::new(stack.unspecified(), SECOND, OTHER);
    second.prefix = 0;
    second.mac_len = 9;
    second.set_rnext = true;
    add(&first, &sock);
    add(&second, &sock);
    let get = |filter: Listed, most| filter.get(&sock, most);
    let (keys, count) = get(Listed::all(), 8).expect("TCP_AO_GET_KEYS");
    assert_eq!((keys.len(), count), (2, 2));
    let listed = |key: &AoKey| Listed {
        address: Listed::address(key.peer.ip()),
        prefix: key.prefix,
        algorithm: key.algorithm.to_owned(),
        key: key.key.clone(),
        is_current: key.set_current,
        is_rnext: key.set_rnext,
        ids: (key.send_id, key.recv_id),
        mac_len: if key.mac_len == 0 { 12 } else { key.mac_len },
        flags: key.flags,
        ..Listed::default()
    };
    // The latest comes first.
    assert_eq!(keys, [listed(&second), listed(&first)]);
    let (keys, count) = get(Listed::all(), 1).expect("TCP_AO_GET_KEYS");
    assert_eq!((keys, count), (vec![listed(&second)], 2));
    let one = |is_current, is_rnext| Listed {
        is_current,
        is_rnext,
        ..Listed::default()
    };
    let (keys, _) = get(one(true, false), 8).expect("TCP_AO_GET_KEYS");
    assert_eq!(keys, [listed(&first)]);
    let (keys, _) = get(one(false, true), 8).expect("TCP_AO_GET_KEYS");
    assert_eq!(keys, [listed(&second)]);
    let by_address = |ids| Listed {
        address: Listed::address(peer),
        prefix: bits,
        ids,
        ..Listed::default()
    };
    let (keys, count) = get(by_address(FIRST), 8).expect("TCP_AO_GET_KEYS");
    assert_eq!((keys, count), (vec![listed(&first)], 1));
    let (keys, _) = get(by_address(SECOND), 8).expect("TCP_AO_GET_KEYS");
    assert_eq!(keys, [listed(&second)]);
    let (_, count) = get(by_address((1, 1)), 8).expect("TCP_AO_GET_KEYS");
    assert_eq!(count, 0);
    let mut filter = Listed::all();
    filter.is_current = true;
    expect_errno(get(filter, 8), libc::EINVAL);
    let mut filter = Listed::all();
    filter.address = Listed::address(peer);
    expect_errno(get(filter, 8), libc::EINVAL);
    expect_errno(get(Listed::default(), 8), libc::EAFNOSUPPORT);
    let mut filter = by_address(FIRST);
    filter.good = 1;
    expect_errno(get(filter, 8), libc::EINVAL);
    let mut filter = by_address(FIRST);
    filter.ifindex = 1;
    expect_errno(get(filter, 8), libc::EINVAL);
    let mut filter = by_address(FIRST);
    filter.prefix = bits + 1;
    expect_errno(get(filter, 8), libc::EINVAL);
    // Made 16 bytes of what has not 16 (RFC 5926 section 3.1.1.2).
    let cmac = AoKey {
        algorithm: AES_CMAC,
        ..AoKey::new(peer, (7, 7), b"testvector")
    };
    match cmac.add(&sock) {
        Err(error) => assert_eq!(errno::of(&error), libc::ENOENT, "{error}"),
        Ok(()) => {
            let (keys, _) = get(by_address((7, 7)), 1).expect("TCP_AO_GET_KEYS");
            assert_eq!((keys[0].key.len(), &*keys[0].algorithm), (16, "cmac(aes)"));
        }
    }
}

/// Keys count against net.core.optmem_max, and what is taken away does not.
fn option__memory_is_bounded(stack: Stack) {
    need_ao(alone(stack));
    let sock = Sock::open(stack);
    let peer = |n: u32| -> IpAddr {
        let [_, _, c, d] = n.to_be_bytes();
        match stack.ip {
            Ip::V4 => [10, 0, c, d].into(),
            Ip::V6 => [0x2001, 0xdb8, 0, 0, 0, 0, 0, n as u16].into(),
        }
    };
    let key = |n| AoKey::new(peer(n), FIRST, KEY);
    let mut count = 0;
    let error = loop {
        match key(count).add(&sock) {
            Ok(()) => count += 1,
            Err(error) => break error,
        }
        assert!(count < 5000, "no bound");
    };
    assert_eq!(errno::of(&error), libc::ENOMEM);
    // 128 KB by default.
    assert!((200..2000).contains(&count), "{count}");
    key(1).delete(&sock).expect("TCP_AO_DEL_KEY");
    add(&key(5000), &sock);
    expect_errno(key(5001).add(&sock), libc::ENOMEM);
}

/// A peer is spoken to by one of the two.
fn option__not_beside_md5(stack: Stack) {
    need_ao(alone(stack));
    let peer = stack.loopback();
    let other = stack.foreign(0).ip();
    let md5 = |peer, key| Md5Sig::new(peer, key);
    if let Err(error) = md5(peer, KEY).set(&Sock::open(stack)) {
        match errno::of(&error) {
            libc::ENOPROTOOPT => ktap::skip("this kernel has no TCP_MD5SIG"),
            _ => panic!("TCP_MD5SIG_EXT: {error}"),
        }
    }
    let sock = Sock::open(stack);
    add(&AoKey::new(peer, FIRST, KEY), &sock);
    expect_errno(md5(peer, KEY).set(&sock), libc::EKEYREJECTED);
    expect_errno(
        Md5Sig::of_prefix(peer, 8, KEY).set(&sock),
        libc::EKEYREJECTED,
    );
    md5(other, KEY).set(&sock).expect("for another peer");
    expect_errno(
        AoKey::new(other, SECOND, KEY).add(&sock),
        libc::EKEYREJECTED,
    );
    let required = AoInfo {
        required: true,
        ..AoInfo::default()
    };
    expect_errno(required.set(&sock), libc::EKEYREJECTED);
    // One that is not there is taken away as ever.
    expect_errno(md5(peer, b"").set(&sock), libc::ENOENT);
    md5(other, b"").set(&sock).expect("to take it away");
    required.set(&sock).expect("TCP_AO_INFO");
    expect_errno(md5(other, KEY).set(&sock), libc::EKEYREJECTED);
    // Of two that meet by a prefix, connect() finds out.
    let sock = Sock::open(stack);
    let (_listener, address) = listening(stack, 1);
    md5(peer, KEY).set(&sock).expect("TCP_MD5SIG_EXT");
    let everybody = AoKey {
        prefix: 0,
        ..AoKey::new(stack.unspecified(), FIRST, KEY)
    };
    add(&everybody, &sock);
    expect_errno(sock.connect(&address), libc::EKEYREJECTED);
}

/// There is no TCP_REPAIR here, and in Linux none that is not asked for.
fn option__repair(stack: Stack) {
    need_ao(alone(stack));
    let sock = Sock::open(stack);
    add(&AoKey::new(stack.loopback(), FIRST, KEY), &sock);
    expect_errno(
        sock.set_bytes(libc::SOL_TCP, TCP_AO_REPAIR, &[0; 16]),
        libc::EPERM,
    );
    expect_errno(
        sock.get_bytes(libc::SOL_TCP, TCP_AO_REPAIR, &mut [0; 16]),
        libc::EPERM,
    );
}

/// Keys, and none for the peer: the connection would not be signed, and so there is none. Those for others are given up.
fn connect__needs_a_key_for_the_peer(stack: Stack) {
    need_ao(alone(stack));
    let (listener, address) = listening(stack, 1);
    let sock = Sock::open(stack);
    add(&AoKey::new(stack.foreign(0).ip(), FIRST, KEY), &sock);
    expect_errno(sock.connect(&address), libc::EKEYREJECTED);
    add(&AoKey::new(stack.loopback(), FIRST, KEY), &sock);
    add(
        &AoKey::new(stack.loopback(), (FIRST.1, FIRST.0), KEY),
        &listener,
    );
    sock.connect(&address)
        .unwrap_or_else(|error| panic!("connect: {error}"));
}
