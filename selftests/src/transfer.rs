// SPDX-License-Identifier: GPL-2.0
//! Bulk data both ways through a connection, each byte checked.

use crate::connection::Connected;
use crate::payload::Stream;
use crate::sock::Sock;
use crate::thread;

/// Bytes of one call.
const PIECE: usize = 64 * 1024;

/// Sends `total` bytes and ends the stream.
#[track_caller]
pub fn send(sock: &Sock, seed: u64, total: usize) {
    let mut stream = Stream::new(seed);
    while (stream.position() as usize) < total {
        let piece = (total - stream.position() as usize).min(PIECE);
        sock.send_all(&stream.take(piece));
    }
    sock.shutdown(libc::SHUT_WR).expect("shutdown");
}

/// Receives to the end of the stream; fails the test unless all of it came unchanged.
#[track_caller]
pub fn receive(sock: &Sock, seed: u64, total: usize) {
    let mut stream = Stream::new(seed);
    let mut part = vec![0; PIECE];
    loop {
        match sock.recv(&mut part, 0) {
            Ok(0) => break,
            Ok(count) => stream.check(&part[..count]),
            Err(error) => panic!("recv after {} of {total} bytes: {error}", stream.position()),
        }
    }
    assert_eq!(stream.position() as usize, total, "bytes before the end");
}

/// Transfers above this shrink where OXTCP_SHRINK says so.
const SMALL: usize = 400_000;

/// What work in bulk is divided by (OXTCP_SHRINK): a debug kernel takes many times longer, and learns as much from less.
pub fn divisor() -> usize {
    std::env::var("OXTCP_SHRINK")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(1)
        .max(1)
}

/// The size of a transfer.
fn shrunken(total: usize) -> usize {
    if total > SMALL {
        (total / divisor()).max(SMALL)
    } else {
        total
    }
}

/// Sends `total` bytes in each direction at once, and ends both. The connection is then over.
#[track_caller]
pub fn both_ways(ends: Connected, total: usize) {
    let total = shrunken(total);
    let Connected { client, server } = ends;
    let (client_copy, server_copy) = (client.try_clone(), server.try_clone());
    let senders = [
        thread::spawn(move || send(&client_copy, 101, total)),
        thread::spawn(move || send(&server_copy, 102, total)),
    ];
    let other = thread::spawn(move || receive(&client, 102, total));
    receive(&server, 101, total);
    other.join();
    senders.map(thread::Worker::join);
}
