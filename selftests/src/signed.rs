// SPDX-License-Identifier: GPL-2.0
//! What signed connections do alike, whatever they are signed with (TCP-MD5, TCP-AO).

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::connection::listening_at;
use crate::keys::does_not_connect;
use crate::procnet::{self, State};
use crate::{errno, ktap, listening, ns, wait, Connected, Ip, Pair, Sock, Stack};

/// Skips the test where the kernel was built without what is called `name`, for one of the two. Ours is to have what the built-in TCP has.
#[track_caller]
pub fn need(name: &str, pair: Pair, has: impl Fn(Stack) -> bool) {
    for stack in [pair.client, pair.server] {
        if !has(stack) {
            let builtin = has(Stack::builtin(stack.ip));
            assert!(!builtin, "the built-in TCP has {name}, and ours has not");
            ktap::skip(&format!("this kernel has no {name}"));
        }
    }
}

/// Whether a key was taken, or the option is not known.
#[track_caller]
pub fn is_known(outcome: io::Result<()>) -> bool {
    match outcome {
        Ok(()) => true,
        Err(error) => {
            assert_eq!(errno::of(&error), libc::ENOPROTOOPT, "{error}");
            false
        }
    }
}

/// In TIME-WAIT a FIN that comes again is acknowledged with a signature: else the peer would wait in LAST-ACK.
#[track_caller]
pub fn last_ack_comes_again(pair: Pair, ends: Connected) {
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

/// A TIME-WAIT at the server makes way for a signed SYN (RFC 6191), and not for one that is not signed, which is counted in `refused`.
/// `of_server` and `of_client` give a socket its key.
#[track_caller]
pub fn time_wait_makes_way(
    pair: Pair,
    of_server: impl Fn(&Sock),
    of_client: impl Fn(&Sock),
    refused: &str,
) {
    let (listener, address) = listening(pair.server, 1);
    of_server(&listener);
    let client = |signs: bool, port| {
        let client = Sock::open(pair.client);
        if signs {
            of_client(&client);
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
    does_not_connect(&unsigned, &address, pair.server, refused);
    drop(unsigned);
    let client = client(true, port);
    client.connect(&address).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    Connected { client, server }.check_alive();
}

/// An IPv6 socket knows an IPv4 peer by its IPv4-mapped address: the server's, or over IPv6 the client's. `of_server` and `of_client` give
/// a socket of that family a key for the address; without one a SYN is counted in `refused`.
#[track_caller]
pub fn dual_stack(
    pair: Pair,
    of_server: impl Fn(&Sock, Ip, IpAddr),
    of_client: impl Fn(&Sock, IpAddr),
    refused: &str,
) -> Connected {
    let peer_of = |stack: Stack| -> IpAddr {
        match stack.ip {
            Ip::V4 => [127, 0, 0, 1].into(),
            Ip::V6 => "::ffff:127.0.0.1".parse().expect("an address"),
        }
    };
    let (client, server) = match pair.ip() {
        Ip::V4 => (pair.client, pair.server.with_ip(Ip::V6)),
        Ip::V6 => (pair.client, pair.server.with_ip(Ip::V4)),
    };
    let (listener, _) = listening_at(server, &server.any(0), 1);
    let address = SocketAddr::new(peer_of(client), listener.port());
    of_server(&listener, server.ip, peer_of(server));
    let unsigned = Sock::open(client);
    does_not_connect(&unsigned, &address, server, refused);
    let client_end = Sock::open(client);
    of_client(&client_end, peer_of(client));
    client_end.connect(&address).expect("connect");
    let (accepted, _) = listener.accept().expect("accept");
    let ends = Connected {
        client: client_end,
        server: accepted,
    };
    ends.check_alive();
    ends
}

/// One of many peers.
pub fn peer(stack: Stack, n: u32) -> IpAddr {
    let [_, _, c, d] = n.to_be_bytes();
    match stack.ip {
        Ip::V4 => [10, 0, c, d].into(),
        Ip::V6 => [0x2001, 0xdb8, 0, 0, 0, 0, 0, n as u16].into(),
    }
}

/// How many keys a socket has room for, each for another peer, until net.core.optmem_max is used up.
#[track_caller]
pub fn room(stack: Stack, add: impl Fn(IpAddr) -> io::Result<()>) -> u32 {
    for count in 0..5000 {
        if let Err(error) = add(peer(stack, count)) {
            assert_eq!(errno::of(&error), libc::ENOMEM);
            return count;
        }
    }
    panic!("no bound");
}
