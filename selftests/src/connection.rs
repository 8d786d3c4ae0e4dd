// SPDX-License-Identifier: GPL-2.0
//! Listeners and connections, made in one line.

use std::net::SocketAddr;

use crate::sock::Sock;
use crate::stack::{Pair, Stack};

/// Both ends of one connection. The listener is closed.
#[derive(Debug)]
pub struct Connected {
    pub client: Sock,
    pub server: Sock,
}

/// A listener on the loopback address, at a port that the kernel chose.
#[track_caller]
pub fn listening(stack: Stack, backlog: i32) -> (Sock, SocketAddr) {
    listening_at(stack, &stack.local(0), backlog)
}

/// A listener at an address.
#[track_caller]
pub fn listening_at(stack: Stack, address: &SocketAddr, backlog: i32) -> (Sock, SocketAddr) {
    let sock = Sock::open(stack);
    sock.bind(address)
        .unwrap_or_else(|error| panic!("bind {address}: {error}"));
    sock.listen(backlog).expect("listen");
    let address = sock.local().expect("getsockname");
    (sock, address)
}

/// A connection over loopback; the client's port is chosen by connect.
#[track_caller]
pub fn connected(pair: Pair) -> Connected {
    connected_with(pair, |_, _| {})
}

/// The same, with options set on the listener and the client before they meet.
#[track_caller]
pub fn connected_with(pair: Pair, prepare: impl FnOnce(&Sock, &Sock)) -> Connected {
    let listener = Sock::open(pair.server);
    let client = Sock::open(pair.client);
    prepare(&listener, &client);
    listener.bind(&pair.server.local(0)).expect("bind");
    listener.listen(1).expect("listen");
    let address = listener.local().expect("getsockname");
    client
        .connect(&address)
        .unwrap_or_else(|error| panic!("connect {address}: {error}"));
    let (server, from) = listener.accept().expect("accept");
    assert_eq!(
        from,
        client.local().expect("getsockname"),
        "accept's address"
    );
    Connected { client, server }
}

impl Connected {
    /// Fails the test unless a byte passes in each direction.
    #[track_caller]
    pub fn check_alive(&self) {
        self.client.send_all(b"?");
        assert_eq!(self.server.recv_exact(1), b"?");
        self.server.send_all(b"!");
        assert_eq!(self.client.recv_exact(1), b"!");
    }
}
