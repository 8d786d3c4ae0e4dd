// SPDX-License-Identifier: GPL-2.0
//! The receive buffer: what it holds, when it grows, and what happens when it is full.

use std::process::ExitCode;

use oxtcp_selftests::connection::{connected_with, listening_at, Connected};
use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::payload::Stream;
use oxtcp_selftests::raw_peer::RawPeer;
use oxtcp_selftests::tcp_info::TcpInfo;
use oxtcp_selftests::{cases, connected, thread, transfer, wait, Pair, Sock, Stack, Suite};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("window");
    cases!(suite.pairs:
        buffer__holds_many_small_segments, buffer__set_small_holds_small_segments,
        buffer__grows_for_a_fast_reader, buffer__that_was_set_stays,
        buffer__full_and_read_in_pieces, buffer__made_larger_opens_the_window,
        reorder__small_buffer, reorder__a_reader_that_sleeps, shrink_window__loses_nothing,
        lowat__a_nearly_full_buffer_is_readable,
    );
    cases!(suite.stacks:
        buffer__read_in_part_has_room, shrink_window__is_off, reorder__pieces_of_any_size, reorder__more_pieces_than_fit,
    );
    suite.run()
}

fn rcvbuf(sock: &Sock) -> i32 {
    sock.get(libc::SOL_SOCKET, libc::SO_RCVBUF)
        .expect("SO_RCVBUF")
}

/// Sends `count` bytes, each in a segment of its own as far as the sender can help it.
fn send_one_by_one(sock: &Sock, seed: u64, count: usize) {
    sock.set(libc::SOL_TCP, libc::TCP_NODELAY, 1)
        .expect("TCP_NODELAY");
    let mut stream = Stream::new(seed);
    for _ in 0..count {
        sock.send_all(&stream.take(1));
    }
}

/// Reads `total` bytes of stream `seed`, at most `piece` at a time, and then the end.
fn receive_in_pieces(sock: &Sock, seed: u64, piece: usize, total: usize) {
    let mut got = Stream::new(seed);
    let mut part = vec![0; piece];
    loop {
        match sock.recv(&mut part, 0).expect("recv") {
            0 => break,
            count => got.check(&part[..count]),
        }
    }
    assert_eq!(got.position() as usize, total);
}

/// A segment with a byte takes hundreds of them in memory, unless it is joined to the others.
fn buffer__holds_many_small_segments(pair: Pair) {
    let ends = connected(pair);
    let count = 5000;
    send_one_by_one(&ends.client, 31, count);
    wait::until("all has come", || ends.server.readable() == count);
    Stream::new(31).check(&ends.server.recv_exact(count));
    ends.check_alive();
}

fn buffer__set_small_holds_small_segments(pair: Pair) {
    let ends = connected_with(pair, |listener, _| {
        listener
            .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 16_384)
            .expect("SO_RCVBUF");
    });
    let count = 4000;
    send_one_by_one(&ends.client, 32, count);
    wait::until("all has come", || ends.server.readable() == count);
    Stream::new(32).check(&ends.server.recv_exact(count));
    ends.check_alive();
}

/// A link with a round trip of 40 ms.
fn far(link: &Veth, what: &str) {
    for (namespace, device) in [(&link.a, "va"), (&link.b, "vb")] {
        namespace.run(|| ns::sh_or_skip(&format!("tc qdisc add dev {device} root netem {what}")));
    }
}

fn over(link: &Veth, pair: Pair, prepare: impl FnOnce(&Sock)) -> Connected {
    let address = Veth::address_b(pair.ip(), 5001);
    let (listener, _) = link.b.run(|| listening_at(pair.server, &address, 1));
    prepare(&listener);
    let client = Sock::open(pair.client);
    client.connect(&address).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    Connected { client, server }
}

/// The size of the server's buffer after a transfer over a path of 40 ms.
fn after_transfer(pair: Pair, prepare: impl FnOnce(&Sock)) -> (i32, i32) {
    let link = Veth::make();
    far(&link, "delay 20ms limit 10000");
    let ends = over(&link, pair, prepare);
    let before = rcvbuf(&ends.server);
    let total = 4 << 20;
    let client = ends.client.try_clone();
    let sender = thread::spawn(move || transfer::send(&client, 33, total));
    transfer::receive(&ends.server, 33, total);
    sender.join();
    (before, rcvbuf(&ends.server))
}

/// Dynamic right-sizing: the default buffer would let 64 KB go in a round trip.
fn buffer__grows_for_a_fast_reader(pair: Pair) {
    let (before, after) = after_transfer(pair, |_| {});
    assert!(after > 2 * before, "{before} before, {after} after");
}

fn buffer__that_was_set_stays(pair: Pair) {
    let (before, after) = after_transfer(pair, |listener| {
        listener
            .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 100_000)
            .expect("SO_RCVBUF");
    });
    assert_eq!((before, after), (200_000, 200_000));
}

/// What does not fit comes again, and nothing is lost or comes twice.
fn buffer__full_and_read_in_pieces(pair: Pair) {
    let ends = connected_with(pair, |listener, _| {
        listener
            .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 4096)
            .expect("SO_RCVBUF");
    });
    let total = 300_000;
    let client = ends.client.try_clone();
    let sender = thread::spawn(move || transfer::send(&client, 35, total));
    receive_in_pieces(&ends.server, 35, 777, total);
    sender.join();
}

/// What a program leaves of a packet that others were joined to does not hold the memory of what it has read: a program that waits for more
/// than such a buffer lets in would wait forever, as with the built-in TCP it does.
fn buffer__read_in_part_has_room(stack: Stack) {
    let pair = Pair {
        client: stack,
        server: stack,
    };
    let ends = connected_with(pair, |listener, _| {
        listener
            .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 32_768)
            .expect("SO_RCVBUF");
    });
    let total = 200_000;
    let client = ends.client.try_clone();
    let sender = thread::spawn(move || transfer::send(&client, 43, total));
    let mut got = Stream::new(43);
    for left in [1, 1000, 3000, 5000] {
        wait::until("much has come", || ends.server.readable() > 20_000);
        wait::until("the window is shut", || {
            let info = TcpInfo::of(&ends.client);
            info.unacked == 0 && info.notsent_bytes > 0
        });
        let count = ends.server.readable() - left;
        got.check(&ends.server.recv_exact(count));
    }
    let rest = total - got.position() as usize;
    got.check(&ends.server.recv_exact(rest));
    assert_eq!(ends.server.recv(&mut [0; 4], 0).expect("the end"), 0);
    sender.join();
}

/// SO_RCVBUF made larger lets a sender go on that is stuck, at the latest with its next probe.
fn buffer__made_larger_opens_the_window(pair: Pair) {
    let ends = connected_with(pair, |listener, _| {
        listener
            .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 4096)
            .expect("SO_RCVBUF");
    });
    let total = 100_000;
    let client = ends.client.try_clone();
    let sender = thread::spawn(move || transfer::send(&client, 36, total));
    wait::until("some has come", || ends.server.readable() > 1000);
    ends.server
        .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 1 << 20)
        .expect("SO_RCVBUF");
    transfer::receive(&ends.server, 36, total);
    sender.join();
}

/// Segments out of order in a buffer that they fill: some are given up, and come again.
fn reorder__small_buffer(pair: Pair) {
    let link = Veth::make();
    far(&link, "delay 2ms reorder 30% loss 2%");
    let ends = over(&link, pair, |listener| {
        listener
            .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 16_384)
            .expect("SO_RCVBUF");
    });
    let total = 300_000;
    let client = ends.client.try_clone();
    let sender = thread::spawn(move || transfer::send(&client, 37, total));
    transfer::receive(&ends.server, 37, total);
    sender.join();
}

fn reorder__a_reader_that_sleeps(pair: Pair) {
    let link = Veth::make();
    far(&link, "delay 2ms 1ms loss 3%");
    let ends = over(&link, pair, |listener| {
        listener
            .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 32_768)
            .expect("SO_RCVBUF");
    });
    let total = 200_000;
    let client = ends.client.try_clone();
    let sender = thread::spawn(move || transfer::send(&client, 38, total));
    let mut got = Stream::new(38);
    while (got.position() as usize) < total {
        // Little enough to come before the window is closed (the built-in TCP's may be by what was read), or all there is.
        let left = total - got.position() as usize;
        let some = if pair.server.ours { 8000 } else { 1 };
        wait::until("some has come", || ends.server.readable() >= left.min(some));
        let count = ends.server.readable();
        got.check(&ends.server.recv_exact(count));
    }
    assert_eq!(ends.server.recv(&mut [0; 4], 0).expect("the end"), 0);
    sender.join();
}

/// A peer whose segments hold any of `bytes`, in any order and any number of times: all of them come to the program once, in their order. The
/// buffer is of so many bytes.
fn receive_pieces(stack: Stack, buffer: i32, bytes: &[u8], pieces: &[(usize, usize)]) {
    let link = Veth::make();
    let listener = Sock::open(stack);
    listener
        .set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, buffer)
        .expect("SO_RCVBUFFORCE");
    let address = Veth::address_a(stack.ip, 5001);
    listener.bind(&address).expect("bind");
    listener.listen(1).expect("listen");
    let nobody = Veth::address_of_nobody(stack.ip, 40_000);
    let mut peer = link.b.run(|| RawPeer::connect(nobody, address, "vb"));
    let (server, _) = listener.accept().expect("accept");
    let segment = |peer: &RawPeer, from: usize, to: usize| {
        let to = to.min(bytes.len());
        peer.segment(from as u32, 0, &[], &bytes[from..to])
    };
    let segments: Vec<Vec<u8>> = pieces
        .iter()
        .map(|(from, to)| segment(&peer, *from, *to))
        .collect();
    assert_eq!(peer.send(&segments), segments.len());
    let mut got = Vec::new();
    while got.len() < bytes.len() {
        let next = segment(&peer, got.len(), got.len() + 1000);
        assert_eq!(peer.send(&[next]), 1);
        wait::until("the next bytes", || server.readable() > 0);
        got.extend(server.recv_exact(server.readable()));
    }
    assert!(got == bytes, "what came is not what was sent");
    peer.await_ack(bytes.len() as u32);
}

/// The pieces of a hostile peer, all of them behind the first byte.
fn hostile_pieces(total: usize) -> Vec<(usize, usize)> {
    let mut random: u32 = 1;
    let mut below = |most: usize| {
        random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (random >> 8) as usize % most
    };
    // A run of bytes, the last first, and one before it that grows; bytes between them; what covers many of them.
    let (third, half) = (total / 3, total / 2);
    let mut pieces: Vec<(usize, usize)> = (half..half + 2000).rev().map(|n| (n, n + 1)).collect();
    pieces.extend((10..1000).map(|n| (n, n + 1)));
    pieces.extend((1000..3000).step_by(7).map(|n| (n, n + 50)));
    pieces.extend((3001..5000).rev().step_by(5).map(|n| (n, n + 40)));
    pieces.extend((0..400).map(|n| (third + 3 * n, third + 3 * n + 1)));
    pieces.extend([
        (third, third + 1200),
        (half - 100, half + 1100),
        (900, 2300),
    ]);
    for _ in 0..3000 {
        let from = 1 + below(total - 1);
        pieces.push((from, (from + 1 + below(1400)).min(total)));
        pieces.push((from, from + 1));
    }
    pieces
}

fn reorder__pieces_of_any_size(stack: Stack) {
    let bytes = Stream::new(41).take(60_000);
    receive_pieces(stack, 64 << 20, &bytes, &hostile_pieces(bytes.len()));
}

/// The buffer is full of them: some are given up, and come again.
fn reorder__more_pieces_than_fit(stack: Stack) {
    let bytes = Stream::new(42).take(60_000);
    receive_pieces(stack, 100_000, &bytes, &hostile_pieces(bytes.len()));
}

/// RFC 9293 section 3.8.6: "A TCP receiver SHOULD NOT shrink the window".
fn shrink_window__is_off(stack: Stack) {
    let path = ns::find_sysctl(stack, "tcp_shrink_window").expect("the setting");
    assert_eq!(ns::sysctl(&path).expect("read"), "0");
}

/// A window that is taken back costs a peer some segments twice, and no bytes.
fn shrink_window__loses_nothing(pair: Pair) {
    let _home = ns::isolate();
    let path = ns::find_sysctl(pair.server, "tcp_shrink_window").expect("the setting");
    ns::set_sysctl(&path, "1");
    let ends = connected_with(pair, |_, _| {});
    let total = 1 << 20;
    let client = ends.client.try_clone();
    let sender = thread::spawn(move || transfer::send(&client, 39, total));
    wait::until("much has come", || ends.server.readable() > 40_000);
    receive_in_pieces(&ends.server, 39, 5000, total);
    sender.join();
}

/// SO_RCVLOWAT asks for more than the buffer can take: what there is must do (`tcp_rmem_pressure()`).
fn lowat__a_nearly_full_buffer_is_readable(pair: Pair) {
    let ends = connected_with(pair, |listener, _| {
        listener
            .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 8192)
            .expect("SO_RCVBUF");
    });
    ends.server
        .set(libc::SOL_SOCKET, libc::SO_RCVLOWAT, 1 << 20)
        .expect("SO_RCVLOWAT");
    let total = 200_000;
    let client = ends.client.try_clone();
    let sender = thread::spawn(move || transfer::send(&client, 40, total));
    ends.server.poll_wait(libc::POLLIN);
    assert!(ends.server.readable() > 0);
    transfer::receive(&ends.server, 40, total);
    sender.join();
}
