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
use oxtcp_selftests::connection::connected_with;
use oxtcp_selftests::forge::Forged;
use oxtcp_selftests::keys::{counter, does_not_connect, expected_next, Md5Sig};
use oxtcp_selftests::signed;
use oxtcp_selftests::{
    cases, errno, expect_errno, ktap, listening, ns, transfer, wait, Connected, Ip, Pair, Sock,
    Stack, Suite,
};

mod options;
mod rollover;

use options::*;
use rollover::{ao__delete_after_rollover, ao__rollover, ao__rollover_under_traffic};

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
    let has = |stack: Stack| {
        let key = AoKey::new(stack.loopback(), FIRST, KEY);
        signed::is_known(key.add(&Sock::open(stack)))
    };
    signed::need("TCP-AO", pair, has);
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
    // Where the kernel has TCP-AO itself, ours has each algorithm that it has.
    let builtin = Stack::builtin(pair.ip());
    let is_there =
        signed::is_known(AoKey::new(builtin.loopback(), FIRST, KEY).add(&Sock::open(builtin)));
    let both = |algorithm: &&'static str| {
        let of = [pair.client, pair.server].map(|stack| has(stack, algorithm));
        assert!(
            !is_there || !has(builtin, algorithm) || of == [true; 2],
            "{algorithm}"
        );
        of == [true; 2]
    };
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
            let segments = capture.segments();
            assert!(segments.len() >= 4, "{segments:?}");
            for segment in segments {
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
    // A SYN-ACK that comes again makes a client say so too: it may be reset before it sends anything.
    let sent_to_a_reset = clients.each_ref().map(|client| {
        let sent = client.send(b"here I am", libc::MSG_NOSIGNAL);
        matches!(sent, Err(error) if error.raw_os_error() == Some(libc::ECONNRESET))
    });
    wait::until("one of them is reset", || {
        sent_to_a_reset.contains(&true)
            || clients
                .iter()
                .any(|client| client.take_error() == libc::ECONNRESET)
    });
}

/// See [`signed::last_ack_comes_again`].
fn ao__time_wait(pair: Pair) {
    need_ao(pair);
    signed::last_ack_comes_again(pair, signed(pair));
}

/// See [`signed::time_wait_makes_way`].
fn ao__bind_again(pair: Pair) {
    need_ao(pair);
    signed::time_wait_makes_way(
        pair,
        |listener| add(&server_key(pair, FIRST, KEY), listener),
        |client| add(&client_key(pair, FIRST, KEY), client),
        "TCPAORequired",
    );
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

/// See [`signed::dual_stack`].
fn ao__dual_stack(pair: Pair) {
    need_ao(pair);
    let of = |peer, ids| AoKey {
        prefix: 32,
        ..AoKey::new(peer, ids, KEY)
    };
    let ends = signed::dual_stack(
        pair,
        |listener, _, peer| add(&of(peer, (FIRST.1, FIRST.0)), listener),
        |client, peer| add(&of(peer, FIRST), client),
        "TCPAORequired",
    );
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
