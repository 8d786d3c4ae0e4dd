// SPDX-License-Identifier: GPL-2.0
//! Bytes through a connection: every call that moves them, every flag, and how much is moved.

use std::io;
use std::process::ExitCode;
use std::time::Duration;

use oxtcp_selftests::connection::{connected_with, Connected};
use oxtcp_selftests::errno::{self, expect_one_of};
use oxtcp_selftests::payload::Stream;
use oxtcp_selftests::{cases, connected, expect_errno, ktap, thread, wait, Pair, Sock, Suite};

const MIB: usize = 1 << 20;

fn main() -> ExitCode {
    let mut suite = Suite::from_args("data");
    cases!(suite.pairs:
        send__all_calls, send__zero_length, writev__many_pieces, writev__empty_pieces, readv__pieces,
        sendmsg__bad_memory, sendmsg__partly_bad_memory, sendmsg__too_many_pieces, send__from_claimed_gigabyte,
        recv__into_claimed_gigabyte, recv__bad_memory, recv__zero_length,
        recv__sizes, transfer__both_directions_at_once, transfer__one_byte_writes,
        transfer__one_byte_writes_nodelay, transfer__random_sizes, transfer__small_buffers,
        transfer__nonblocking,
        recv__peek, recv__peek_longer_than_there_is, recv__waitall, recv__waitall_until_end, recv__dontwait,
        recv__trunc_discards, recv__timeout, recv__timeout_with_waitall, recvmsg__no_name,
        recv__bad_flags_are_refused,
        send__dontwait_fills_up, send__timeout_when_full, send__timeout_partial,
        send__more, sendfile__file, splice__pipe, sendto__name_ignored,
        fionread__counts, siocoutq__counts,
        window__closes_and_opens, window__closed_for_long_probes, window__shrunken_buffer,
        send__epipe_and_sigpipe, send__after_reset, recv__after_reset,
    );
    suite.run()
}

/// Bytes of a bulk transfer in each direction: OXTCP_BULK_MIB, 16 by default.
fn bulk_size() -> usize {
    std::env::var("OXTCP_BULK_MIB")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(16)
        * MIB
}

fn send__all_calls(pair: Pair) {
    let ends = connected(pair);
    for (from, to) in [(&ends.client, &ends.server), (&ends.server, &ends.client)] {
        assert_eq!(from.write(b"write").expect("write"), 5);
        assert_eq!(from.send(b"send", 0).expect("send"), 4);
        assert_eq!(from.writev(&[b"wri", b"tev"]).expect("writev"), 6);
        assert_eq!(from.sendmsg(&[b"send", b"msg"], 0).expect("sendmsg"), 7);
        assert_eq!(to.recv_exact(22), b"writesendwritevsendmsg");
        from.send_all(b"abcdefghijkl");
        wait::until("all has come", || to.readable() == 12);
        let mut part = [0; 4];
        assert_eq!(to.read(&mut part).expect("read"), 4);
        assert_eq!(&part, b"abcd");
        assert_eq!(to.recv(&mut part, 0).expect("recv"), 4);
        assert_eq!(&part, b"efgh");
        assert_eq!(to.recvmsg(&mut [&mut part], 0).expect("recvmsg").0, 4);
        assert_eq!(&part, b"ijkl");
    }
}

fn send__zero_length(pair: Pair) {
    let ends = connected(pair);
    assert_eq!(ends.client.send(b"", 0).expect("send"), 0);
    assert_eq!(ends.client.write(b"").expect("write"), 0);
    assert_eq!(ends.client.writev(&[b"", b""]).expect("writev"), 0);
    assert_eq!(ends.client.sendmsg(&[], 0).expect("sendmsg"), 0);
    ends.client.send_all(b"x");
    assert_eq!(ends.server.recv_exact(1), b"x");
    ends.check_alive();
}

fn writev__many_pieces(pair: Pair) {
    let ends = connected(pair);
    let bytes = Stream::new(1).take(1024 * 513);
    let pieces: Vec<&[u8]> = bytes.chunks(513).collect();
    let sender = thread::spawn({
        let (bytes, client) = (bytes.clone(), ends.client.try_clone());
        move || {
            let pieces: Vec<&[u8]> = bytes.chunks(513).collect();
            client.writev(&pieces).expect("writev")
        }
    });
    Stream::new(1).check(&ends.server.recv_exact(bytes.len()));
    assert_eq!(
        sender.join(),
        bytes.len(),
        "a blocking writev of {} pieces",
        pieces.len()
    );
}

fn writev__empty_pieces(pair: Pair) {
    let ends = connected(pair);
    let pieces: [&[u8]; 7] = [b"", b"a", b"", b"", b"bc", b"", b"def"];
    assert_eq!(ends.client.writev(&pieces).expect("writev"), 6);
    assert_eq!(ends.client.sendmsg(&pieces, 0).expect("sendmsg"), 6);
    assert_eq!(ends.server.recv_exact(12), b"abcdefabcdef");
}

fn readv__pieces(pair: Pair) {
    let ends = connected(pair);
    ends.client.send_all(b"0123456789");
    wait::until("all has come", || ends.server.readable() == 10);
    let (mut a, mut b, mut c) = ([0; 3], [0; 0], [0; 20]);
    assert_eq!(
        ends.server
            .readv(&mut [&mut a, &mut b, &mut c])
            .expect("readv"),
        10
    );
    assert_eq!((&a, &c[..7]), (b"012", &b"3456789"[..]));
}

/// Memory that is not there: nothing is sent, the connection lives.
fn sendmsg__bad_memory(pair: Pair) {
    let ends = connected(pair);
    let mut bad = [libc::iovec {
        iov_base: 0x1000 as *mut libc::c_void,
        iov_len: 100,
    }];
    expect_errno(ends.client.sendmsg_raw(&mut bad, 0), libc::EFAULT);
    ends.check_alive();
}

/// A mapped page with nothing behind it.
struct Edge {
    page: *mut u8,
}

const PAGE: usize = 4096;

impl Edge {
    fn new() -> Edge {
        // SAFETY: a new anonymous mapping; its second half is taken away again.
        unsafe {
            let page = libc::mmap(
                std::ptr::null_mut(),
                2 * PAGE,
                libc::PROT_READ | libc::PROT_WRITE,
                libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
                -1,
                0,
            );
            assert_ne!(page, libc::MAP_FAILED);
            assert_eq!(libc::munmap(page.cast::<u8>().add(PAGE).cast(), PAGE), 0);
            Edge { page: page.cast() }
        }
    }

    /// The last `count` bytes of the page.
    fn tail(&mut self, count: usize) -> &mut [u8] {
        // SAFETY: within the mapped page; the test uses one slice at a time.
        unsafe { std::slice::from_raw_parts_mut(self.page.add(PAGE - count), count) }
    }
}

/// What could be read before the bad memory may be sent; the count returned is what arrives.
fn sendmsg__partly_bad_memory(pair: Pair) {
    let ends = connected(pair);
    let mut edge = Edge::new();
    let bytes = Stream::new(2).take(1000);
    edge.tail(1000).copy_from_slice(&bytes);
    let mut parts = [libc::iovec {
        iov_base: edge.tail(1000).as_mut_ptr().cast(),
        iov_len: 3000,
    }];
    let sent = match ends.client.sendmsg_raw(&mut parts, 0) {
        Ok(count) => count,
        Err(error) => {
            assert_eq!(errno::of(&error), libc::EFAULT);
            0
        }
    };
    assert!(sent <= 1000, "{sent} bytes sent of 1000 that exist");
    ends.client.send_all(b"after");
    assert_eq!(ends.server.recv_exact(sent), &bytes[..sent]);
    assert_eq!(ends.server.recv_exact(5), b"after");
}

fn sendmsg__too_many_pieces(pair: Pair) {
    let ends = connected(pair);
    let mut parts = vec![
        libc::iovec {
            iov_base: std::ptr::null_mut(),
            iov_len: 0
        };
        1025
    ];
    expect_errno(ends.client.sendmsg_raw(&mut parts, 0), libc::EMSGSIZE);
    ends.check_alive();
}

/// A length of a gigabyte over memory that ends soon: some of it is sent, or EFAULT.
fn send__from_claimed_gigabyte(pair: Pair) {
    let ends = connected(pair);
    let mut edge = Edge::new();
    let bytes = Stream::new(3).take(PAGE);
    edge.tail(PAGE).copy_from_slice(&bytes);
    let mut parts = [libc::iovec {
        iov_base: edge.tail(PAGE).as_mut_ptr().cast(),
        iov_len: 1 << 30,
    }];
    let sent = match ends.client.sendmsg_raw(&mut parts, libc::MSG_DONTWAIT) {
        Ok(count) => count,
        Err(error) => {
            assert_eq!(errno::of(&error), libc::EFAULT);
            0
        }
    };
    assert!(sent <= PAGE);
    assert_eq!(ends.server.recv_exact(sent), &bytes[..sent]);
    ends.check_alive();
}

fn recv__into_claimed_gigabyte(pair: Pair) {
    let ends = connected(pair);
    let mut edge = Edge::new();
    ends.client.send_all(b"few bytes");
    wait::until("all has come", || ends.server.readable() == 9);
    // SAFETY: the kernel writes at most what has come, which the page has room for.
    let got = errno::check_len(unsafe {
        libc::recv(
            ends.server.fd(),
            edge.tail(PAGE).as_mut_ptr().cast(),
            1 << 30,
            0,
        )
    });
    assert_eq!(got.expect("recv"), 9);
    assert_eq!(&edge.tail(PAGE)[..9], b"few bytes");
}

/// What could not be stored is still there.
fn recv__bad_memory(pair: Pair) {
    let ends = connected(pair);
    ends.client.send_all(b"keep me");
    wait::until("all has come", || ends.server.readable() == 7);
    // SAFETY: the kernel refuses the address.
    let got = errno::check_len(unsafe {
        libc::recv(ends.server.fd(), 0x1000 as *mut libc::c_void, 7, 0)
    });
    expect_errno(got, libc::EFAULT);
    assert_eq!(ends.server.recv_exact(7), b"keep me");
}

fn recv__zero_length(pair: Pair) {
    let ends = connected(pair);
    ends.client.send_all(b"x");
    wait::until("it has come", || ends.server.readable() == 1);
    assert_eq!(ends.server.recv(&mut [], 0).expect("recv"), 0);
    assert_eq!(ends.server.recv_exact(1), b"x");
}

/// Reads of every size find the bytes in order.
fn recv__sizes(pair: Pair) {
    let ends = connected(pair);
    let total: usize = (1..=200).sum();
    let sender = spawn_sender(&ends.client, 4, total, |_| 1000);
    let mut expected = Stream::new(4);
    for size in 1..=200 {
        expected.check(&ends.server.recv_exact(size));
    }
    sender.join();
}

/// A thread that sends `total` bytes of a stream, in calls of the sizes that `size` tells, then ends it.
fn spawn_sender(
    sock: &Sock,
    seed: u64,
    total: usize,
    mut size: impl FnMut(u64) -> usize + Send + 'static,
) -> thread::Worker<()> {
    let sock = sock.try_clone();
    thread::spawn(move || {
        let mut stream = Stream::new(seed);
        while (stream.position() as usize) < total {
            let left = total - stream.position() as usize;
            let piece = size(stream.position()).clamp(1, left);
            sock.send_all(&stream.take(piece));
        }
        sock.shutdown(libc::SHUT_WR).expect("shutdown");
    })
}

/// Receives `total` bytes of a stream and its end.
#[track_caller]
fn receive(sock: &Sock, seed: u64, total: usize, piece: usize) {
    let mut stream = Stream::new(seed);
    let mut part = vec![0; piece];
    loop {
        match sock.recv(&mut part, 0) {
            Ok(0) => break,
            Ok(count) => stream.check(&part[..count]),
            Err(error) => panic!("recv at {}: {error}", stream.position()),
        }
    }
    assert_eq!(stream.position() as usize, total, "bytes before the end");
}

fn transfer__both_directions_at_once(pair: Pair) {
    let ends = connected(pair);
    let total = bulk_size();
    let senders = [
        spawn_sender(&ends.client, 5, total, |_| 100_000),
        spawn_sender(&ends.server, 6, total, |_| 65_536),
    ];
    let receiver = {
        let client = ends.client.try_clone();
        thread::spawn(move || receive(&client, 6, total, 70_000))
    };
    receive(&ends.server, 5, total, 70_000);
    receiver.join();
    senders.map(thread::Worker::join);
}

fn transfer__one_byte_writes(pair: Pair) {
    let ends = connected(pair);
    let sender = spawn_sender(&ends.client, 7, 5000, |_| 1);
    receive(&ends.server, 7, 5000, 4096);
    sender.join();
}

fn transfer__one_byte_writes_nodelay(pair: Pair) {
    let ends = connected(pair);
    ends.client
        .set(libc::SOL_TCP, libc::TCP_NODELAY, 1)
        .expect("TCP_NODELAY");
    let sender = spawn_sender(&ends.client, 8, 3000, |_| 1);
    receive(&ends.server, 8, 3000, 1);
    sender.join();
}

/// Sizes from a fixed generator, small ones most often.
fn some_size(position: u64) -> usize {
    let bytes = Stream::new(position).take(4);
    let bits = u32::from(bytes[0]) % 17;
    1 + (usize::from(bytes[1]) | (usize::from(bytes[2]) << 8)) % (1 << bits)
}

fn transfer__random_sizes(pair: Pair) {
    let ends = connected(pair);
    let total = 4 * MIB;
    let sender = spawn_sender(&ends.server, 9, total, some_size);
    let mut stream = Stream::new(9);
    loop {
        let mut part = vec![0; some_size(stream.position() + 77)];
        match ends.client.recv(&mut part, 0).expect("recv") {
            0 => break,
            count => stream.check(&part[..count]),
        }
    }
    assert_eq!(stream.position() as usize, total);
    sender.join();
}

fn transfer__small_buffers(pair: Pair) {
    let ends = connected_with(pair, |listener, client| {
        for sock in [listener, client] {
            sock.set(libc::SOL_SOCKET, libc::SO_RCVBUF, 4096)
                .expect("SO_RCVBUF");
            sock.set(libc::SOL_SOCKET, libc::SO_SNDBUF, 4096)
                .expect("SO_SNDBUF");
        }
    });
    let total = MIB / 4;
    let sender = spawn_sender(&ends.client, 10, total, |_| 10_000);
    receive(&ends.server, 10, total, 1000);
    sender.join();
}

/// One thread moves bytes both ways with non-blocking calls and poll.
fn transfer__nonblocking(pair: Pair) {
    let ends = connected(pair);
    let total = 4 * MIB as u64;
    let socks = [&ends.client, &ends.server];
    let mut out = [Stream::new(11), Stream::new(12)];
    let mut inn = [Stream::new(12), Stream::new(11)];
    socks.iter().for_each(|sock| sock.set_nonblocking(true));
    let mut part = vec![0; 50_000];
    while inn.iter().any(|stream| stream.position() < total) {
        let mut wanted = [0, 1].map(|n| {
            let more = if out[n].position() < total {
                libc::POLLOUT
            } else {
                0
            };
            libc::pollfd {
                fd: socks[n].fd(),
                events: libc::POLLIN | more,
                revents: 0,
            }
        });
        // SAFETY: two pollfds.
        let ready = unsafe { libc::poll(wanted.as_mut_ptr(), 2, wait::limit().as_millis() as i32) };
        assert!(ready > 0, "stalled: sent {out:?}, received {inn:?}");
        for n in [0, 1] {
            if wanted[n].revents & libc::POLLIN != 0 {
                let count = socks[n].recv(&mut part, 0).expect("recv after POLLIN");
                assert_ne!(count, 0);
                inn[n].check(&part[..count]);
            }
            if wanted[n].revents & libc::POLLOUT != 0 {
                let left = (total - out[n].position()).min(40_000) as usize;
                let count = socks[n]
                    .send(&out[n].clone().take(left), 0)
                    .expect("send after POLLOUT");
                out[n].advance(count);
            }
        }
    }
}

fn recv__peek(pair: Pair) {
    let ends = connected(pair);
    ends.client.send_all(b"look twice");
    wait::until("all has come", || ends.server.readable() == 10);
    let mut part = [0; 4];
    for _ in 0..3 {
        assert_eq!(
            ends.server.recv(&mut part, libc::MSG_PEEK).expect("peek"),
            4
        );
        assert_eq!(&part, b"look");
    }
    assert_eq!(ends.server.readable(), 10);
    assert_eq!(ends.server.recv_exact(10), b"look twice");
    expect_errno(
        ends.server
            .recv(&mut part, libc::MSG_PEEK | libc::MSG_DONTWAIT),
        libc::EAGAIN,
    );
}

/// A peek sees over the borders of segments.
fn recv__peek_longer_than_there_is(pair: Pair) {
    let ends = connected(pair);
    ends.client
        .set(libc::SOL_TCP, libc::TCP_NODELAY, 1)
        .expect("TCP_NODELAY");
    let bytes = Stream::new(13).take(300);
    for (count, piece) in bytes.chunks(30).enumerate() {
        ends.client.send_all(piece);
        wait::until("it has come", || ends.server.readable() == 30 * (count + 1));
    }
    let mut all = [0; 1000];
    assert_eq!(
        ends.server.recv(&mut all, libc::MSG_PEEK).expect("peek"),
        300
    );
    assert_eq!(&all[..300], &bytes);
    assert_eq!(ends.server.recv(&mut all[..45], 0).expect("recv"), 45);
    assert_eq!(
        ends.server.recv(&mut all, libc::MSG_PEEK).expect("peek"),
        255
    );
    assert_eq!(&all[..255], &bytes[45..]);
}

fn recv__waitall(pair: Pair) {
    let ends = connected(pair);
    let receiver = {
        let server = ends.server.try_clone();
        thread::spawn(move || {
            let mut bytes = vec![0; 3000];
            let count = server.recv(&mut bytes, libc::MSG_WAITALL).expect("recv");
            (count, bytes)
        })
    };
    let bytes = Stream::new(14).take(3000);
    for piece in bytes.chunks(1000) {
        receiver.wait_blocked_in(libc::SYS_recvfrom);
        ends.client.send_all(piece);
        wait::until("it is acknowledged", || ends.client.unacked() == 0);
    }
    assert_eq!(receiver.join(), (3000, bytes));
}

fn recv__waitall_until_end(pair: Pair) {
    let ends = connected(pair);
    ends.client.send_all(b"short");
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    let mut bytes = [0; 100];
    assert_eq!(
        ends.server
            .recv(&mut bytes, libc::MSG_WAITALL)
            .expect("recv"),
        5
    );
    assert_eq!(
        ends.server
            .recv(&mut bytes, libc::MSG_WAITALL)
            .expect("recv"),
        0
    );
}

fn recv__dontwait(pair: Pair) {
    let ends = connected(pair);
    let mut bytes = [0; 10];
    expect_errno(
        ends.server.recv(&mut bytes, libc::MSG_DONTWAIT),
        libc::EAGAIN,
    );
    ends.client.send_all(b"now");
    wait::until("it has come", || ends.server.readable() == 3);
    assert_eq!(
        ends.server
            .recv(&mut bytes, libc::MSG_DONTWAIT | libc::MSG_WAITALL)
            .expect("recv"),
        3
    );
}

/// With MSG_TRUNC, TCP drops the bytes instead of storing them (tcp(7)).
fn recv__trunc_discards(pair: Pair) {
    let ends = connected(pair);
    ends.client.send_all(b"drop-keep");
    wait::until("all has come", || ends.server.readable() == 9);
    let mut bytes = [b'-'; 5];
    match ends.server.recv(&mut bytes, libc::MSG_TRUNC) {
        Err(error) if errno::of(&error) == libc::EOPNOTSUPP => ktap::skip("MSG_TRUNC: EOPNOTSUPP"),
        result => assert_eq!(result.expect("recv"), 5),
    }
    assert_eq!(&bytes, b"-----");
    assert_eq!(ends.server.recv_exact(4), b"keep");
}

fn recv__timeout(pair: Pair) {
    let ends = connected(pair);
    ends.server
        .set_timeout(libc::SO_RCVTIMEO, Duration::from_millis(30))
        .expect("SO_RCVTIMEO");
    expect_errno(ends.server.recv(&mut [0; 8], 0), libc::EAGAIN);
    expect_errno(ends.server.read(&mut [0; 8]), libc::EAGAIN);
    ends.check_alive();
}

fn recv__timeout_with_waitall(pair: Pair) {
    let ends = connected(pair);
    ends.server
        .set_timeout(libc::SO_RCVTIMEO, Duration::from_millis(30))
        .expect("SO_RCVTIMEO");
    ends.client.send_all(b"part");
    wait::until("it has come", || ends.server.readable() == 4);
    assert_eq!(
        ends.server
            .recv(&mut [0; 8], libc::MSG_WAITALL)
            .expect("recv"),
        4
    );
}

/// A stream's recvmsg tells no name and no control data.
fn recvmsg__no_name(pair: Pair) {
    let ends = connected(pair);
    ends.client.send_all(b"x");
    let mut name = oxtcp_selftests::sock::RawAddr::empty();
    let mut len = name.len;
    let mut byte = [0_u8; 1];
    // SAFETY: both buffers are valid for their lengths.
    let got = errno::check_len(unsafe {
        libc::recvfrom(
            ends.server.fd(),
            byte.as_mut_ptr().cast(),
            1,
            0,
            name.as_mut_ptr(),
            &mut len,
        )
    });
    assert_eq!(got.expect("recvfrom"), 1);
    assert_eq!(len, 0);
    ends.client.send_all(b"y");
    assert_eq!(
        ends.server.recvmsg(&mut [&mut byte], 0).expect("recvmsg"),
        (1, 0)
    );
}

/// Without urgent data, and the error queue. (`urgent` has what there is of urgent data.)
fn recv__bad_flags_are_refused(pair: Pair) {
    let ends = connected(pair);
    let oob = ends
        .server
        .recv(&mut [0; 4], libc::MSG_OOB | libc::MSG_DONTWAIT);
    expect_errno(oob, libc::EINVAL);
    let queue = ends
        .server
        .recv(&mut [0; 4], libc::MSG_ERRQUEUE | libc::MSG_DONTWAIT);
    expect_one_of(queue, &[libc::EAGAIN, libc::EOPNOTSUPP]);
    ends.check_alive();
}

/// Sends without waiting until nothing more goes; returns how much went.
fn fill(sock: &Sock, stream: &mut Stream) -> usize {
    let start = stream.position();
    loop {
        match sock.send(&stream.clone().take(32_768), libc::MSG_DONTWAIT) {
            Ok(count) => stream.advance(count),
            Err(error) => {
                assert_eq!(errno::of(&error), libc::EAGAIN, "{error}");
                return (stream.position() - start) as usize;
            }
        }
    }
}

/// Fills until both the peer's receive buffer and our send buffer are full and stay so.
fn fill_for_good(sock: &Sock, stream: &mut Stream) {
    fill(sock, stream);
    let mut quiet = 0;
    while quiet < 20 {
        std::thread::sleep(Duration::from_millis(5));
        quiet = if fill(sock, stream) == 0 {
            quiet + 1
        } else {
            0
        };
    }
}

/// A connection whose buffers have a fixed, small size.
fn with_small_buffers(pair: Pair) -> Connected {
    connected_with(pair, |listener, client| {
        listener
            .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 16_384)
            .expect("SO_RCVBUF");
        client
            .set(libc::SOL_SOCKET, libc::SO_SNDBUF, 16_384)
            .expect("SO_SNDBUF");
    })
}

fn send__dontwait_fills_up(pair: Pair) {
    let ends = with_small_buffers(pair);
    let mut stream = Stream::new(15);
    fill_for_good(&ends.client, &mut stream);
    assert_eq!(ends.client.poll_now(libc::POLLOUT), 0);
    let total = stream.position() as usize;
    let mut expected = Stream::new(15);
    expected.check(&ends.server.recv_exact(total));
    ends.client.poll_wait(libc::POLLOUT);
    ends.check_alive();
}

fn send__timeout_when_full(pair: Pair) {
    let ends = with_small_buffers(pair);
    fill_for_good(&ends.client, &mut Stream::new(16));
    ends.client
        .set_timeout(libc::SO_SNDTIMEO, Duration::from_millis(30))
        .expect("SO_SNDTIMEO");
    expect_errno(ends.client.send(b"no room", 0), libc::EAGAIN);
}

/// A send that the timeout ends half way tells how much went.
fn send__timeout_partial(pair: Pair) {
    let ends = with_small_buffers(pair);
    ends.client
        .set_timeout(libc::SO_SNDTIMEO, Duration::from_millis(300))
        .expect("SO_SNDTIMEO");
    let bytes = Stream::new(17).take(4 * MIB);
    let sent = ends.client.send(&bytes, 0).expect("send");
    assert!(sent > 0 && sent < bytes.len(), "{sent} of {}", bytes.len());
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    let got = ends.server.recv_to_end();
    assert_eq!(got.len(), sent);
    Stream::new(17).check(&got);
}

/// MSG_MORE holds back the tail; the next send without it, or the end, sets it free.
fn send__more(pair: Pair) {
    let ends = connected(pair);
    match ends.client.send(b"held ", libc::MSG_MORE) {
        Err(error) if errno::of(&error) == libc::EOPNOTSUPP => ktap::skip("MSG_MORE: EOPNOTSUPP"),
        result => assert_eq!(result.expect("send"), 5),
    }
    assert_eq!(ends.client.send(b"back", 0).expect("send"), 4);
    assert_eq!(ends.server.recv_exact(9), b"held back");
    assert_eq!(ends.client.send(b"end", libc::MSG_MORE).expect("send"), 3);
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    assert_eq!(ends.server.recv_to_end(), b"end");
}

/// A file in memory with the first bytes of a stream.
fn file_of(seed: u64, size: usize) -> std::fs::File {
    use std::io::{Seek, SeekFrom, Write};
    use std::os::fd::FromRawFd;
    // SAFETY: a C string; the descriptor is new and ours.
    let mut file = unsafe {
        let fd = libc::memfd_create(c"selftest".as_ptr(), libc::MFD_CLOEXEC);
        assert!(fd >= 0, "memfd_create");
        std::fs::File::from_raw_fd(fd)
    };
    file.write_all(&Stream::new(seed).take(size))
        .expect("write");
    file.seek(SeekFrom::Start(0)).expect("seek");
    file
}

fn sendfile__file(pair: Pair) {
    use std::os::fd::AsRawFd;
    let ends = connected(pair);
    let total = 2 * MIB + 123;
    let sender = {
        let client = ends.client.try_clone();
        thread::spawn(move || {
            let file = file_of(18, total);
            let mut left = total;
            while left > 0 {
                // SAFETY: two open descriptors.
                let sent = errno::check_len(unsafe {
                    libc::sendfile(client.fd(), file.as_raw_fd(), std::ptr::null_mut(), left)
                });
                left -= sent.expect("sendfile");
            }
            client.shutdown(libc::SHUT_WR).expect("shutdown");
        })
    };
    receive(&ends.server, 18, total, 65_536);
    sender.join();
}

/// splice(2) from a pipe into the socket and out of the socket into a pipe.
fn splice__pipe(pair: Pair) {
    let ends = connected(pair);
    let mut pipe = [0; 2];
    // SAFETY: room for two descriptors.
    assert_eq!(
        unsafe { libc::pipe2(pipe.as_mut_ptr(), libc::O_CLOEXEC) },
        0
    );
    let splice = |from: i32, to: i32, count: usize| {
        // SAFETY: open descriptors, no offsets.
        errno::check_len(unsafe {
            libc::splice(
                from,
                std::ptr::null_mut(),
                to,
                std::ptr::null_mut(),
                count,
                0,
            )
        })
    };
    let bytes = Stream::new(19).take(20_000);
    // SAFETY: the slice is valid.
    let written = unsafe { libc::write(pipe[1], bytes.as_ptr().cast(), bytes.len()) };
    assert_eq!(written, 20_000);
    let mut left = bytes.len();
    while left > 0 {
        left -= splice(pipe[0], ends.client.fd(), left).expect("splice into the socket");
    }
    assert_eq!(ends.server.recv_exact(20_000), bytes);
    ends.server.send_all(&bytes);
    let mut got = Vec::new();
    while got.len() < bytes.len() {
        let count = match splice(ends.client.fd(), pipe[1], bytes.len() - got.len()) {
            Err(error) if [libc::EOPNOTSUPP, libc::EINVAL].contains(&errno::of(&error)) => {
                ktap::skip(&format!("splice out of the socket: {error}"))
            }
            result => result.expect("splice out of the socket"),
        };
        let mut part = vec![0; count];
        // SAFETY: the slice is valid.
        assert_eq!(
            unsafe { libc::read(pipe[0], part.as_mut_ptr().cast(), count) },
            count as isize
        );
        got.extend(part);
    }
    assert_eq!(got, bytes);
}

/// sendto on a connected stream ignores the address (tcp(7), and every server that was once UDP).
fn sendto__name_ignored(pair: Pair) {
    let ends = connected(pair);
    let name = oxtcp_selftests::sock::RawAddr::new(&pair.client.foreign(9));
    // SAFETY: both buffers are valid.
    let sent = errno::check_len(unsafe {
        libc::sendto(
            ends.client.fd(),
            b"x".as_ptr().cast(),
            1,
            0,
            name.as_ptr(),
            name.len,
        )
    });
    assert_eq!(sent.expect("sendto"), 1);
    assert_eq!(ends.server.recv_exact(1), b"x");
}

fn fionread__counts(pair: Pair) {
    let ends = connected(pair);
    assert_eq!(ends.server.readable(), 0);
    ends.client.send_all(&[7; 1234]);
    wait::until("1234 bytes to read", || ends.server.readable() == 1234);
    ends.server.recv_exact(234);
    assert_eq!(ends.server.readable(), 1000);
    ends.server.recv_exact(1000);
    assert_eq!(ends.server.readable(), 0);
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    ends.server.poll_wait(libc::POLLIN);
    assert_eq!(ends.server.readable(), 0, "the end is not a byte");
}

fn siocoutq__counts(pair: Pair) {
    let ends = with_small_buffers(pair);
    assert_eq!(ends.client.unacked(), 0);
    let mut stream = Stream::new(20);
    fill_for_good(&ends.client, &mut stream);
    let total = stream.position() as usize;
    wait::until("unacknowledged and received make all", || {
        ends.client.unacked() + ends.server.readable() == total
    });
    assert!(ends.client.unacked() > 0);
    ends.server.recv_exact(total);
    wait::until("all is acknowledged", || ends.client.unacked() == 0);
}

/// The receiver reads nothing until the sender is stuck; then all of it.
fn window__closes_and_opens(pair: Pair) {
    let ends = connected_with(pair, |listener, _| {
        listener
            .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 8192)
            .expect("SO_RCVBUF");
    });
    let mut sent = Stream::new(21);
    let mut got = Stream::new(21);
    for _ in 0..3 {
        fill_for_good(&ends.client, &mut sent);
        let count = (sent.position() - got.position()) as usize;
        got.check(&ends.server.recv_exact(count));
    }
    ends.check_alive();
}

/// A window that opens while its update is not asked for: probes find it. The receiver reads in small
/// steps, which open the window by less than a segment each.
fn window__closed_for_long_probes(pair: Pair) {
    let ends = with_small_buffers(pair);
    let mut sent = Stream::new(22);
    let mut got = Stream::new(22);
    fill_for_good(&ends.client, &mut sent);
    let before = ends.client.unacked();
    assert!(before > 0);
    while sent.position() - got.position() > 0 {
        let count = (sent.position() - got.position()).min(100) as usize;
        got.check(&ends.server.recv_exact(count));
    }
    wait::until("all is acknowledged", || ends.client.unacked() == 0);
    ends.check_alive();
}

/// SO_RCVBUF made smaller in mid-stream loses nothing.
fn window__shrunken_buffer(pair: Pair) {
    let ends = connected(pair);
    let total = 64 * 1024;
    let sender = spawn_sender(&ends.client, 23, total, |_| 30_000);
    wait::until("some has come", || ends.server.readable() > 20_000);
    ends.server
        .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 2048)
        .expect("SO_RCVBUF");
    receive(&ends.server, 23, total, 500);
    sender.join();
}

fn send__epipe_and_sigpipe(pair: Pair) {
    let ends = connected(pair);
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    expect_errno(ends.client.send(b"x", libc::MSG_NOSIGNAL), libc::EPIPE);
    thread::catch(libc::SIGPIPE, libc::SA_RESETHAND);
    expect_errno(ends.client.send(b"x", 0), libc::EPIPE);
    // The handler has run: SIGPIPE is back at its default, which would end a process.
    // SAFETY: asks only.
    let action = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        assert_eq!(
            libc::sigaction(libc::SIGPIPE, std::ptr::null(), &mut action),
            0
        );
        action.sa_sigaction
    };
    assert_eq!(action, libc::SIG_DFL, "no SIGPIPE was delivered");
    expect_errno(ends.client.send(b"x", libc::MSG_NOSIGNAL), libc::EPIPE);
    // SAFETY: plain numbers.
    unsafe { libc::signal(libc::SIGPIPE, libc::SIG_IGN) };
    expect_errno(ends.client.write(b"x"), libc::EPIPE);
}

/// A peer that closes with unread bytes resets; the client hears of it once, as an error.
fn reset_client(pair: Pair) -> Sock {
    let ends = connected(pair);
    ends.client.send_all(b"never read");
    wait::until("it has come", || ends.server.readable() == 10);
    drop(ends.server);
    ends.client.poll_until_all(libc::POLLERR | libc::POLLHUP);
    ends.client
}

fn send__after_reset(pair: Pair) {
    let client = reset_client(pair);
    expect_errno(client.send(b"x", libc::MSG_NOSIGNAL), libc::ECONNRESET);
    expect_errno(client.send(b"x", libc::MSG_NOSIGNAL), libc::EPIPE);
}

fn recv__after_reset(pair: Pair) {
    let client = reset_client(pair);
    expect_errno(client.recv(&mut [0; 4], 0), libc::ECONNRESET);
    let second: io::Result<usize> = client.recv(&mut [0; 4], 0);
    assert_eq!(
        second.expect("the error is told once, then it is the end"),
        0
    );
    assert_eq!(client.take_error(), 0);
}
