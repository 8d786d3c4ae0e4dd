// SPDX-License-Identifier: GPL-2.0
//! What sending and receiving calls say beside the bytes: ends of messages, how much is in the queues, and how much may be.

use std::process::ExitCode;

use oxtcp_selftests::capture::{Capture, PSH};
use oxtcp_selftests::connection::connected_with;
use oxtcp_selftests::errno::{self, check_len};
use oxtcp_selftests::{cases, connected, expect_errno, ns, wait, Connected, Pair, Sock, Suite};

/// linux/tcp.h
const TCP_INQ: i32 = 36;
const TCP_CM_INQ: i32 = 36;
const TCP_NOTSENT_LOWAT: i32 = 25;
/// linux/sockios.h
const SIOCOUTQNSD: libc::c_ulong = 0x894b;

fn main() -> ExitCode {
    let mut suite = Suite::from_args("messages");
    cases!(suite.pairs:
        eor__ends_a_segment, eor__is_the_last_byte_s, eor__goes_with_its_bytes,
        inq__tells_what_is_left, inq__counts_the_end, inq__is_an_option, siocoutq__counts_the_fin,
        lowat__bounds_what_is_not_sent, lowat__wakes_poll, lowat__of_the_namespace, lowat__of_the_listener,
        defer_accept__waits_for_data, defer_accept__is_rounded, quickack__is_a_mode,
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

/// recvmsg into `len` bytes: how many came, and the number in a TCP_CM_INQ message.
fn recv_inq(sock: &Sock, len: usize) -> (usize, Option<i32>) {
    let mut bytes = vec![0u8; len];
    let mut control = [0u64; 8];
    let mut part = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: len,
    };
    // SAFETY: all bytes zero is an empty msghdr; its parts are valid for the call, and what the kernel wrote is read within
    // the length that it tells.
    unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = std::mem::size_of_val(&control);
        let got = check_len(libc::recvmsg(sock.fd(), &mut header, 0)).expect("recvmsg");
        assert_eq!(header.msg_flags & libc::MSG_CTRUNC, 0);
        let message = libc::CMSG_FIRSTHDR(&header);
        if message.is_null() {
            return (got, None);
        }
        assert_eq!(
            ((*message).cmsg_level, (*message).cmsg_type),
            (libc::IPPROTO_TCP, TCP_CM_INQ)
        );
        assert!(libc::CMSG_NXTHDR(&header, message).is_null());
        let value = libc::CMSG_DATA(message).cast::<i32>().read_unaligned();
        (got, Some(value))
    }
}

fn inq__tells_what_is_left(pair: Pair) {
    let ends = connected(pair);
    ends.client.send_all(&[7; 1000]);
    wait::until("all has come", || ends.server.readable() == 1000);
    assert_eq!(recv_inq(&ends.server, 100), (100, None));
    let on = ends.server.set(libc::IPPROTO_TCP, TCP_INQ, 1);
    on.expect("TCP_INQ");
    assert_eq!(recv_inq(&ends.server, 200), (200, Some(700)));
    assert_eq!(recv_inq(&ends.server, 0), (0, Some(700)));
    assert_eq!(recv_inq(&ends.server, 700), (700, Some(0)));
    ends.client.send_all(&[8; 10]);
    assert_eq!(recv_inq(&ends.server, 100), (10, Some(0)));
}

/// The end of the stream is one more to read, before and after it has been read.
fn inq__counts_the_end(pair: Pair) {
    let ends = connected(pair);
    let on = ends.server.set(libc::IPPROTO_TCP, TCP_INQ, 1);
    on.expect("TCP_INQ");
    ends.client.send_all(&[7; 100]);
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    ends.server.poll_until_all(libc::POLLRDHUP | libc::POLLIN);
    assert_eq!(ends.server.readable(), 100, "SIOCINQ does not");
    assert_eq!(recv_inq(&ends.server, 40), (40, Some(61)));
    assert_eq!(recv_inq(&ends.server, 60), (60, Some(1)));
    assert_eq!(recv_inq(&ends.server, 60), (0, Some(1)));
    assert_eq!(recv_inq(&ends.server, 60), (0, Some(1)));
    assert_eq!(ends.server.readable(), 0);
}

fn inq__is_an_option(pair: Pair) {
    let sock = Sock::open(pair.client);
    let get = || sock.get(libc::IPPROTO_TCP, TCP_INQ).expect("TCP_INQ");
    assert_eq!(get(), 0);
    for bad in [2, -1] {
        expect_errno(sock.set(libc::IPPROTO_TCP, TCP_INQ, bad), libc::EINVAL);
    }
    for value in [1, 0] {
        sock.set(libc::IPPROTO_TCP, TCP_INQ, value)
            .expect("TCP_INQ");
        assert_eq!(get(), value);
    }
}

/// SIOCOUTQ and SIOCOUTQNSD take the FIN for a byte.
fn siocoutq__counts_the_fin(pair: Pair) {
    let ends = connected_with(pair, |listener, client| {
        listener
            .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 8192)
            .expect("SO_RCVBUF");
        client
            .set(libc::SOL_SOCKET, libc::SO_SNDBUF, 16_384)
            .expect("SO_SNDBUF");
    });
    ends.client.set_nonblocking(true);
    let mut total = 0;
    wait::until("the window is shut and the send buffer is full", || {
        loop {
            match ends.client.send(&[1; 1000], libc::MSG_NOSIGNAL) {
                Ok(count) => total += count,
                Err(error) => {
                    assert_eq!(errno::of(&error), libc::EAGAIN);
                    break;
                }
            }
        }
        let (in_queue, received) = (ends.client.unacked(), ends.server.readable());
        in_queue > 0 && in_queue + received == total
    });
    let not_sent = || ends.client.ioctl(SIOCOUTQNSD).expect("SIOCOUTQNSD") as usize;
    let (queued, new) = (ends.client.unacked(), not_sent());
    assert!(new <= queued);
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    assert_eq!((ends.client.unacked(), not_sent()), (queued + 1, new + 1));
    assert_eq!(ends.server.recv_to_end().len(), total);
    wait::until("all is acknowledged", || ends.client.unacked() == 0);
    assert_eq!(not_sent(), 0);
}

/// Sends until nothing more is taken; returns how much was.
fn fill(sock: &Sock) -> usize {
    let mut total = 0;
    loop {
        match sock.send(&[1; 1000], libc::MSG_NOSIGNAL | libc::MSG_DONTWAIT) {
            Ok(count) => total += count,
            Err(error) => {
                assert_eq!(errno::of(&error), libc::EAGAIN);
                return total;
            }
        }
    }
}

fn not_sent(sock: &Sock) -> usize {
    sock.ioctl(SIOCOUTQNSD).expect("SIOCOUTQNSD") as usize
}

/// A connection whose receiver takes little.
fn to_a_small_window(pair: Pair) -> Connected {
    connected_with(pair, |listener, _| {
        listener
            .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 8192)
            .expect("SO_RCVBUF");
    })
}

/// What was sent until no more was taken.
struct Filled {
    /// Bytes in all.
    total: usize,
    /// Those that were not sent when no more was taken. An ACK can make it less at any time.
    waiting: usize,
}

/// Sends until the window is shut and no more is taken, after `total` bytes.
#[track_caller]
fn fill_for_good(ends: &Connected, mut total: usize) -> Filled {
    let mut waiting = 0;
    wait::until("nothing more is taken", || {
        total += fill(&ends.client);
        waiting = not_sent(&ends.client);
        let more = fill(&ends.client);
        total += more;
        more == 0
            && not_sent(&ends.client) == waiting
            && ends.client.unacked() == waiting
            && ends.server.readable() + waiting == total
    });
    Filled { total, waiting }
}

/// With 10,000 bytes that were never sent nothing is added, but for the last piece.
fn lowat__bounds_what_is_not_sent(pair: Pair) {
    let ends = to_a_small_window(pair);
    let set = |value| ends.client.set(libc::IPPROTO_TCP, TCP_NOTSENT_LOWAT, value);
    set(10_000).expect("TCP_NOTSENT_LOWAT");
    assert_eq!(
        ends.client
            .get(libc::IPPROTO_TCP, TCP_NOTSENT_LOWAT)
            .expect("get"),
        10_000
    );
    let Filled { total, waiting } = fill_for_good(&ends, 0);
    assert!((10_000..80_000).contains(&waiting), "{waiting} bytes");
    // Without it the send buffer is the limit.
    set(0).expect("TCP_NOTSENT_LOWAT");
    let all = fill_for_good(&ends, total).total;
    assert!(all > total);
    ends.client.set_nonblocking(false);
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    assert_eq!(ends.server.recv_to_end().len(), all);
}

/// poll() tells of room when less than half of it waits.
fn lowat__wakes_poll(pair: Pair) {
    let ends = to_a_small_window(pair);
    ends.client
        .set(libc::IPPROTO_TCP, TCP_NOTSENT_LOWAT, 10_000)
        .expect("TCP_NOTSENT_LOWAT");
    assert_eq!(ends.client.poll_now(libc::POLLOUT), libc::POLLOUT);
    fill_for_good(&ends, 0);
    assert_eq!(ends.client.poll_now(libc::POLLOUT), 0);
    let client = ends.client.try_clone();
    let poller = oxtcp_selftests::thread::spawn(move || {
        client.poll_wait(libc::POLLOUT);
        not_sent(&client)
    });
    let mut bytes = [0; 1000];
    while !poller.is_finished() {
        let _ = ends.server.recv(&mut bytes, libc::MSG_DONTWAIT);
    }
    assert!(poller.join() < 5000);
    ends.client.send_all(&[1]);
}

fn lowat__of_the_namespace(pair: Pair) {
    let _namespace = ns::isolate();
    match ns::find_sysctl(pair.client, "tcp_notsent_lowat") {
        Some(path) => {
            assert_eq!(ns::sysctl(&path).expect("read"), "4294967295");
            ns::set_sysctl(&path, "5000");
        }
        None => panic!("no such setting"),
    }
    let ends = to_a_small_window(pair);
    let Filled { waiting, .. } = fill_for_good(&ends, 0);
    assert!((5000..80_000).contains(&waiting), "{waiting} bytes");
    assert_eq!(
        ends.client
            .get(libc::IPPROTO_TCP, TCP_NOTSENT_LOWAT)
            .expect("get"),
        0
    );
}

/// What is set on a listener holds for its connections.
fn lowat__of_the_listener(pair: Pair) {
    let ends = connected_with(pair, |listener, _| {
        for (option, value) in [(TCP_NOTSENT_LOWAT, 7000), (TCP_INQ, 1)] {
            listener.set(libc::IPPROTO_TCP, option, value).expect("set");
        }
    });
    let get = |option| ends.server.get(libc::IPPROTO_TCP, option).expect("get");
    assert_eq!((get(TCP_NOTSENT_LOWAT), get(TCP_INQ)), (7000, 1));
}

/// accept() gives a connection when its data is there, not before.
fn defer_accept__waits_for_data(pair: Pair) {
    let listener = Sock::open_nonblocking(pair.server);
    listener.bind(&pair.server.local(0)).expect("bind");
    listener
        .set(libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 10)
        .expect("TCP_DEFER_ACCEPT");
    listener.listen(2).expect("listen");
    let address = listener.local().expect("getsockname");
    let client = Sock::open(pair.client);
    client.connect(&address).expect("connect");
    expect_errno(listener.accept(), libc::EAGAIN);
    assert_eq!(listener.poll_now(libc::POLLIN), 0);
    client.send_all(b"request");
    listener.poll_wait(libc::POLLIN);
    let (server, _) = listener.accept().expect("accept");
    assert_eq!(server.readable(), 7, "it is there already");
    Connected { client, server }.server.recv_exact(7);
    // Without it, at once.
    listener
        .set(libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, 0)
        .expect("TCP_DEFER_ACCEPT");
    let client = Sock::open(pair.client);
    client.connect(&address).expect("connect");
    listener.poll_wait(libc::POLLIN);
    let (server, _) = listener.accept().expect("accept");
    server.set_nonblocking(false);
    Connected { client, server }.check_alive();
}

/// Seconds, rounded up to the times at which SYN-ACKs go out again.
fn defer_accept__is_rounded(pair: Pair) {
    let sock = Sock::open(pair.client);
    for (value, rounded) in [(0, 0), (1, 1), (2, 3), (3, 3), (4, 7), (100, 127), (-1, 0)] {
        sock.set(libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT, value)
            .expect("set");
        let got = sock.get(libc::IPPROTO_TCP, libc::TCP_DEFER_ACCEPT);
        assert_eq!(got.expect("get"), rounded, "{value}");
    }
}

fn quickack__is_a_mode(pair: Pair) {
    let ends = connected(pair);
    for sock in [&Sock::open(pair.client), &ends.client] {
        for (value, mode) in [(0, 0), (1, 1), (0, 0), (2, 1), (3, 1)] {
            sock.set(libc::IPPROTO_TCP, libc::TCP_QUICKACK, value)
                .expect("TCP_QUICKACK");
            let got = sock.get(libc::IPPROTO_TCP, libc::TCP_QUICKACK);
            assert_eq!(got.expect("TCP_QUICKACK"), mode, "{value}");
        }
    }
    ends.check_alive();
}
