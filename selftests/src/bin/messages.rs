// SPDX-License-Identifier: GPL-2.0
//! What sending and receiving calls say beside the bytes: ends of messages.

use std::process::ExitCode;

use oxtcp_selftests::capture::{Capture, PSH};
use oxtcp_selftests::connection::connected_with;
use oxtcp_selftests::{cases, connected, ns, wait, Connected, Pair, Sock, Suite};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("messages");
    cases!(suite.pairs:
        eor__ends_a_segment, eor__is_the_last_byte_s, eor__goes_with_its_bytes,
    );
    suite.run()
}

/// Lengths of the client's segments with data, up to `total` bytes; each must have PSH.
#[track_caller]
fn pushed_lengths(capture: &Capture, ends: &Connected, total: usize) -> Vec<usize> {
    let port = ends.client.port();
    let mut lengths = Vec::new();
    wait::until("all is on the wire", || {
        for segment in capture.segments() {
            if segment.outgoing && segment.source.port() == port && segment.payload > 0 {
                assert_ne!(segment.flags & PSH, 0, "no PSH: {segment:?}");
                lengths.push(segment.payload);
            }
        }
        lengths.iter().sum::<usize>() >= total
    });
    lengths
}

fn cork(sock: &Sock, on: bool) {
    sock.set(libc::IPPROTO_TCP, libc::TCP_CORK, i32::from(on))
        .expect("TCP_CORK");
}

/// A cork holds what could be filled up. Behind MSG_EOR there is nothing to wait for.
fn eor__ends_a_segment(pair: Pair) {
    let _namespace = ns::isolate();
    let capture = Capture::on("lo");
    let ends = connected(pair);
    cork(&ends.client, true);
    for len in [100, 200] {
        assert_eq!(ends.client.send(&vec![1; len], 0).expect("send"), len);
    }
    for len in [300, 400, 500] {
        let sent = ends.client.send(&vec![2; len], libc::MSG_EOR);
        assert_eq!(sent.expect("send"), len);
    }
    assert_eq!(ends.client.send(&[3; 600], 0).expect("send"), 600);
    cork(&ends.client, false);
    assert_eq!(
        pushed_lengths(&capture, &ends, 2100),
        [600, 400, 500, 600],
        "each message in a segment of its own"
    );
    ends.server.recv_exact(2100);
    ends.check_alive();
}

/// With several buffers too, and not where the call has nothing to send.
fn eor__is_the_last_byte_s(pair: Pair) {
    let _namespace = ns::isolate();
    let capture = Capture::on("lo");
    let ends = connected(pair);
    cork(&ends.client, true);
    let parts: [&[u8]; 3] = [&[1; 10], &[], &[2; 20]];
    let sent = ends.client.sendmsg(&parts, libc::MSG_EOR);
    assert_eq!(sent.expect("sendmsg"), 30);
    assert_eq!(ends.client.send(&[3; 40], 0).expect("send"), 40);
    assert_eq!(ends.client.send(&[], libc::MSG_EOR).expect("send"), 0);
    assert_eq!(ends.client.send(&[4; 50], 0).expect("send"), 50);
    cork(&ends.client, false);
    assert_eq!(pushed_lengths(&capture, &ends, 120), [30, 90]);
}

/// Many messages through small buffers: all bytes come, in order.
fn eor__goes_with_its_bytes(pair: Pair) {
    let ends = connected_with(pair, |listener, client| {
        listener
            .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 8192)
            .expect("SO_RCVBUF");
        client
            .set(libc::SOL_SOCKET, libc::SO_SNDBUF, 16_384)
            .expect("SO_SNDBUF");
    });
    let messages: Vec<Vec<u8>> = (0..600usize).map(|n| vec![n as u8; n]).collect();
    let all: Vec<u8> = messages.concat();
    let client = ends.client.try_clone();
    let sender = oxtcp_selftests::thread::spawn(move || {
        for message in messages {
            let mut rest = &message[..];
            while !rest.is_empty() {
                rest = &rest[client.send(rest, libc::MSG_EOR).expect("send")..];
            }
        }
    });
    assert!(ends.server.recv_exact(all.len()) == all);
    sender.join();
    ends.check_alive();
}
