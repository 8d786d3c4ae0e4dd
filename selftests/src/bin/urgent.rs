// SPDX-License-Identifier: GPL-2.0
//! Urgent data: MSG_OOB out and in, the mark in the stream, SO_OOBINLINE, POLLPRI, SIGURG.

use std::io;
use std::process::ExitCode;
use std::sync::atomic::{AtomicU32, Ordering};

use oxtcp_selftests::capture::{Capture, SYN, URG};
use oxtcp_selftests::connection::connected_with;
use oxtcp_selftests::errno::{check, check_len};
use oxtcp_selftests::{
    cases, connected, expect_errno, ns, thread, wait, Connected, Pair, Sock, Suite,
};

/// linux/sockios.h
const SIOCATMARK: libc::c_ulong = 0x8905;
const OOB: i32 = libc::MSG_OOB;
const PEEK: i32 = libc::MSG_PEEK;
const NOW: i32 = libc::MSG_DONTWAIT;

fn main() -> ExitCode {
    let mut suite = Suite::from_args("urgent");
    cases!(suite.pairs:
        oob__is_read_apart, oob__can_be_looked_at, oob__of_no_bytes, oob__has_not_come, oob__outlives_the_connection,
        mark__ends_a_read, mark__is_passed_by_a_look, mark__displaced_under_a_look, mark__ends_what_waits_for_all, mark__the_newest_counts,
        mark__where_the_reader_stands, mark__goes_with_the_bytes, mark__far_ahead, mark__again_and_again, mark__of_a_new_connection,
        inline__stays_in_the_stream, inline__of_the_listener, inline__in_a_stream, splice__stops, poll__tells, signal__comes,
        signal__ends_a_wait, send__goes_at_once, send__through_a_small_buffer, wire__points_behind_the_byte,
    );
    suite.run()
}

/// `bytes`, of which the last is urgent.
#[track_caller]
fn urge(sock: &Sock, bytes: &[u8]) {
    assert_eq!(
        sock.send(bytes, OOB).expect("send with MSG_OOB"),
        bytes.len()
    );
}

/// What a call that does not wait gives.
fn take(sock: &Sock, len: usize, flags: i32) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; len];
    let got = sock.recv(&mut bytes, flags | NOW)?;
    bytes.truncate(got);
    Ok(bytes)
}

#[track_caller]
fn expect(sock: &Sock, len: usize, flags: i32, bytes: &[u8]) {
    let got = take(sock, len, flags).expect("recv");
    assert_eq!(
        String::from_utf8_lossy(&got),
        String::from_utf8_lossy(bytes)
    );
}

#[track_caller]
fn at_mark(sock: &Sock) -> bool {
    sock.ioctl(SIOCATMARK).expect("SIOCATMARK") != 0
}

/// Waits until the urgent byte has come, and all else that was sent.
#[track_caller]
fn settled(ends: &Connected) {
    ends.server.poll_wait(libc::POLLPRI);
    wait::until("all is acknowledged", || ends.client.unacked() == 0);
}

fn oob__is_read_apart(pair: Pair) {
    let ends = connected(pair);
    expect_errno(take(&ends.server, 1, OOB), libc::EINVAL);
    assert!(!at_mark(&ends.server));
    urge(&ends.client, b"abX");
    settled(&ends);
    let mut byte = [0; 4];
    let (got, flags) = ends
        .server
        .recvmsg(&mut [&mut byte], OOB | NOW)
        .expect("recvmsg");
    assert_eq!((got, byte[0]), (1, b'X'));
    assert_eq!(flags & (OOB | libc::MSG_TRUNC), OOB);
    expect_errno(take(&ends.server, 1, OOB), libc::EINVAL);
    expect(&ends.server, 10, 0, b"ab");
    assert!(at_mark(&ends.server));
    ends.client.send_all(b"cd");
    // One byte is before them, and not for this reader.
    wait::until("the rest has come", || {
        take(&ends.server, 10, PEEK).is_ok_and(|bytes| bytes == b"cd")
    });
    expect(&ends.server, 10, 0, b"cd");
    assert!(!at_mark(&ends.server));
    expect_errno(take(&ends.server, 1, OOB), libc::EINVAL);
    ends.check_alive();
}

fn oob__can_be_looked_at(pair: Pair) {
    let ends = connected(pair);
    urge(&ends.client, b"X");
    settled(&ends);
    for _ in 0..2 {
        expect(&ends.server, 1, OOB | PEEK, b"X");
    }
    // Bytes are counted, and not given.
    let mut none = *b"-";
    let got = ends.server.recv(&mut none, OOB | PEEK | libc::MSG_TRUNC);
    assert_eq!((got.expect("recv"), &none), (1, b"-"));
    expect(&ends.server, 9, OOB, b"X");
    expect_errno(take(&ends.server, 1, OOB | PEEK), libc::EINVAL);
}

fn oob__of_no_bytes(pair: Pair) {
    let ends = connected(pair);
    // Nothing is sent, and so nothing is urgent.
    assert_eq!(ends.client.send(&[], OOB).expect("send"), 0);
    ends.client.send_all(b"ab");
    ends.server.poll_wait(libc::POLLIN);
    assert_eq!(ends.server.poll_now(libc::POLLPRI), 0);
    expect(&ends.server, 10, 0, b"ab");
    // A read of no bytes waits for some all the same.
    expect_errno(take(&ends.server, 0, 0), libc::EAGAIN);
    urge(&ends.client, b"X");
    settled(&ends);
    assert!(at_mark(&ends.server));
    // It passes nothing.
    expect(&ends.server, 0, 0, b"");
    assert!(at_mark(&ends.server));
    // The byte is read by a read that has no room for it.
    let (got, flags) = ends
        .server
        .recvmsg(&mut [&mut []], OOB | NOW)
        .expect("recvmsg");
    assert_eq!((got, flags & OOB), (0, OOB));
    assert_eq!(flags & libc::MSG_TRUNC, libc::MSG_TRUNC);
    expect_errno(take(&ends.server, 1, OOB), libc::EINVAL);
}

/// A window that is closed keeps the byte back, and not what is told of it.
fn oob__has_not_come(pair: Pair) {
    let ends = connected_with(pair, |listener, client| {
        let (level, size) = (libc::SOL_SOCKET, 4096);
        listener
            .set(level, libc::SO_RCVBUF, size)
            .expect("SO_RCVBUF");
        client
            .set(level, libc::SO_SNDBUF, 1 << 20)
            .expect("SO_SNDBUF");
    });
    let before = vec![b'a'; 100_000];
    ends.client.send_all(&before);
    let mut read = 0;
    // Until the pointer can tell of it.
    urge(&ends.client, b"X");
    wait::until("the byte is told of", || {
        let found = take(&ends.server, 1, OOB);
        if let Err(error) = &found {
            if error.raw_os_error() == Some(libc::EAGAIN) {
                return true;
            }
        }
        expect_errno(found, libc::EINVAL);
        // A pointer has 16 bits.
        if let Ok(bytes) = take(&ends.server, 1000, 0) {
            read += bytes.len();
        }
        false
    });
    assert_eq!(ends.server.poll_now(libc::POLLPRI), 0);
    // The rest, up to the mark.
    while !at_mark(&ends.server) {
        let mut bytes = vec![0; 65_536];
        let got = ends.server.recv(&mut bytes, 0).expect("recv");
        assert!(got > 0 && bytes[..got].iter().all(|byte| *byte == b'a'));
        read += got;
    }
    assert_eq!(read, before.len());
    ends.server.poll_wait(libc::POLLPRI);
    expect(&ends.server, 1, OOB, b"X");
    ends.check_alive();
}

fn oob__outlives_the_connection(pair: Pair) {
    let ends = connected(pair);
    urge(&ends.client, b"abX");
    settled(&ends);
    drop(ends.client);
    ends.server
        .poll_until_all(libc::POLLRDHUP | libc::POLLPRI | libc::POLLIN);
    expect(&ends.server, 10, 0, b"ab");
    assert!(at_mark(&ends.server));
    expect(&ends.server, 1, OOB, b"X");
    expect(&ends.server, 10, 0, b"");
    drop(ends.server);
    // And with both directions over.
    let ends = connected(pair);
    urge(&ends.client, b"abX");
    settled(&ends);
    ends.server.shutdown(libc::SHUT_WR).expect("shutdown");
    drop(ends.client);
    ends.server.poll_until_all(libc::POLLHUP | libc::POLLPRI);
    expect(&ends.server, 10, 0, b"ab");
    assert!(at_mark(&ends.server));
    expect(&ends.server, 10, 0, b"");
    expect_errno(take(&ends.server, 1, OOB), libc::EINVAL);
}

fn mark__ends_a_read(pair: Pair) {
    let ends = connected(pair);
    urge(&ends.client, b"abX");
    ends.client.send_all(b"cd");
    settled(&ends);
    assert_eq!(ends.server.readable(), 2);
    expect(&ends.server, 1, 0, b"a");
    assert_eq!(ends.server.readable(), 1);
    assert!(!at_mark(&ends.server));
    expect(&ends.server, 10, 0, b"b");
    assert!(at_mark(&ends.server));
    assert_eq!(ends.server.readable(), 0);
    // Of one byte too.
    expect(&ends.server, 1, 0, b"c");
    assert!(!at_mark(&ends.server));
    assert_eq!(ends.server.readable(), 1);
    expect(&ends.server, 10, 0, b"d");
    expect_errno(take(&ends.server, 1, OOB), libc::EINVAL);
    ends.check_alive();
}

fn mark__is_passed_by_a_look(pair: Pair) {
    let ends = connected(pair);
    urge(&ends.client, b"abX");
    ends.client.send_all(b"cd");
    settled(&ends);
    for _ in 0..2 {
        expect(&ends.server, 10, PEEK, b"ab");
    }
    expect(&ends.server, 10, 0, b"ab");
    for _ in 0..2 {
        expect(&ends.server, 10, PEEK, b"cd");
        expect(&ends.server, 1, PEEK, b"c");
        assert!(at_mark(&ends.server));
    }
    expect(&ends.server, 1, OOB, b"X");
    expect(&ends.server, 10, PEEK, b"cd");
    expect(&ends.server, 10, libc::MSG_TRUNC, &[0, 0]);
    assert!(!at_mark(&ends.server));
}

/// The byte that a look has passed, and waits behind, gives way to a newer one.
fn mark__displaced_under_a_look(pair: Pair) {
    let ends = connected(pair);
    urge(&ends.client, b"X");
    settled(&ends);
    let server = ends.server.try_clone();
    let looker = thread::spawn(move || {
        let mut bytes = [0; 10];
        let got = server.recv(&mut bytes, PEEK).expect("recv");
        bytes[..got].to_vec()
    });
    looker.wait_blocked_in(libc::SYS_recvfrom);
    urge(&ends.client, b"aY");
    assert_eq!(looker.join(), b"a");
    expect(&ends.server, 10, 0, b"a");
    assert!(at_mark(&ends.server));
    ends.check_alive();
}

fn mark__ends_what_waits_for_all(pair: Pair) {
    let ends = connected(pair);
    urge(&ends.client, b"abX");
    ends.client.send_all(b"cdef");
    settled(&ends);
    let mut bytes = [0; 4];
    let got = ends.server.recv(&mut bytes, libc::MSG_WAITALL);
    assert_eq!((got.expect("recv"), &bytes[..2]), (2, &b"ab"[..]));
    let got = ends.server.recv(&mut bytes, libc::MSG_WAITALL);
    assert_eq!((got.expect("recv"), &bytes), (4, b"cdef"));
}

/// Who does not read the first before the second comes has the first in the stream.
fn mark__the_newest_counts(pair: Pair) {
    let ends = connected(pair);
    urge(&ends.client, b"aX");
    settled(&ends);
    urge(&ends.client, b"bY");
    wait::until("the second has come", || {
        take(&ends.server, 1, OOB | PEEK).is_ok_and(|bytes| bytes == b"Y")
    });
    ends.client.send_all(b"c");
    wait::until("all is acknowledged", || ends.client.unacked() == 0);
    expect(&ends.server, 10, 0, b"aXb");
    assert!(at_mark(&ends.server));
    expect(&ends.server, 10, 0, b"c");
    expect_errno(take(&ends.server, 1, OOB), libc::EINVAL);
}

/// A reader that stands at one when the next is told of does not get the first one in the stream, read or not.
fn mark__where_the_reader_stands(pair: Pair) {
    for read in [false, true] {
        let ends = connected(pair);
        urge(&ends.client, b"aX");
        settled(&ends);
        expect(&ends.server, 10, 0, b"a");
        assert!(at_mark(&ends.server));
        if read {
            expect(&ends.server, 1, OOB, b"X");
        }
        urge(&ends.client, b"bY");
        wait::until("the second has come", || {
            take(&ends.server, 1, OOB | PEEK).is_ok_and(|bytes| bytes == b"Y")
        });
        assert!(!at_mark(&ends.server));
        assert_eq!(ends.server.readable(), 1);
        expect(&ends.server, 10, 0, b"b");
        assert!(at_mark(&ends.server));
        expect(&ends.server, 1, OOB, b"Y");
        ends.client.send_all(b"c");
        wait::until("the rest has come", || {
            take(&ends.server, 10, PEEK).is_ok_and(|bytes| bytes == b"c")
        });
        expect(&ends.server, 10, 0, b"c");
    }
}

/// Only urgent bytes, one behind the other.
fn mark__goes_with_the_bytes(pair: Pair) {
    let ends = connected(pair);
    for byte in b'A'..=b'Z' {
        urge(&ends.client, &[byte]);
        ends.server.poll_wait(libc::POLLPRI);
        assert!(at_mark(&ends.server));
        expect(&ends.server, 1, OOB, &[byte]);
        expect_errno(take(&ends.server, 10, 0), libc::EAGAIN);
    }
    ends.check_alive();
}

/// Further than the 16 bits of a pointer.
fn mark__far_ahead(pair: Pair) {
    let ends = connected(pair);
    let client = ends.client.try_clone();
    let writer = thread::spawn(move || {
        client.send_all(&vec![b'a'; 1 << 20]);
        urge(&client, b"X");
        client.send_all(&vec![b'b'; 1 << 20]);
    });
    let mut counts = [0; 2];
    let mut bytes = vec![0; 1 << 16];
    while counts[1] < 1 << 20 {
        let got = ends.server.recv(&mut bytes, 0).expect("recv");
        assert_ne!(got, 0);
        for (count, letter) in counts.iter_mut().zip([b'a', b'b']) {
            *count += bytes[..got].iter().filter(|byte| **byte == letter).count();
        }
        // One that is read past while nothing tells of it is in the stream; here its pointer comes before.
        assert!(!bytes[..got].contains(&b'X'));
        let first = bytes[0];
        assert!(
            bytes[..got].iter().all(|byte| *byte == first),
            "not at the mark"
        );
    }
    writer.join();
    assert_eq!(counts, [1 << 20; 2]);
    ends.check_alive();
}

fn mark__again_and_again(pair: Pair) {
    let ends = connected(pair);
    for round in 0..100usize {
        let mut block = vec![b'a'; round * 200];
        block.push(b'X');
        urge(&ends.client, &block);
        ends.server.poll_wait(libc::POLLPRI);
        expect(&ends.server, 1, OOB, b"X");
        let mut left = round * 200;
        while left > 0 {
            let mut bytes = vec![0; block.len() + 10];
            let got = ends.server.recv(&mut bytes, 0).expect("recv");
            assert!(got > 0 && bytes[..got].iter().all(|byte| *byte == b'a'));
            left -= got;
        }
        assert!(at_mark(&ends.server), "round {round}");
    }
    ends.check_alive();
}

/// connect() to AF_UNSPEC forgets it.
fn mark__of_a_new_connection(pair: Pair) {
    let ends = connected(pair);
    urge(&ends.server, b"X");
    ends.client.poll_wait(libc::POLLPRI);
    let unspecified = oxtcp_selftests::sock::RawAddr::unspecified();
    ends.client
        .connect_raw(&unspecified)
        .expect("connect to AF_UNSPEC");
    assert!(!at_mark(&ends.client));
    expect_errno(take(&ends.client, 1, OOB), libc::EINVAL);
}

fn inline(sock: &Sock) {
    sock.set(libc::SOL_SOCKET, libc::SO_OOBINLINE, 1)
        .expect("SO_OOBINLINE");
}

fn inline__stays_in_the_stream(pair: Pair) {
    let ends = connected(pair);
    inline(&ends.server);
    urge(&ends.client, b"abX");
    ends.client.send_all(b"cd");
    settled(&ends);
    expect_errno(take(&ends.server, 1, OOB), libc::EINVAL);
    assert_eq!(ends.server.readable(), 5);
    expect(&ends.server, 10, 0, b"ab");
    assert!(at_mark(&ends.server));
    expect(&ends.server, 10, PEEK, b"Xcd");
    expect(&ends.server, 10, 0, b"Xcd");
    assert!(!at_mark(&ends.server));
    // Switched on when it has come.
    let ends = connected(pair);
    urge(&ends.client, b"abX");
    settled(&ends);
    expect(&ends.server, 10, 0, b"ab");
    inline(&ends.server);
    expect(&ends.server, 10, 0, b"X");
    ends.check_alive();
}

fn inline__of_the_listener(pair: Pair) {
    let ends = connected_with(pair, |listener, _| inline(listener));
    let on = ends.server.get(libc::SOL_SOCKET, libc::SO_OOBINLINE);
    assert_eq!(on.expect("SO_OOBINLINE"), 1);
    urge(&ends.client, b"X");
    settled(&ends);
    assert!(at_mark(&ends.server));
    expect(&ends.server, 10, 0, b"X");
}

/// A megabyte with a hundred urgent bytes: nothing is missing.
fn inline__in_a_stream(pair: Pair) {
    let ends = connected(pair);
    inline(&ends.server);
    let client = ends.client.try_clone();
    let writer = thread::spawn(move || {
        for round in 0..100u8 {
            let block = vec![round; 10_000];
            let mut rest = &block[..];
            while !rest.is_empty() {
                rest = &rest[client.send(rest, OOB).expect("send")..];
            }
        }
    });
    let all = ends.server.recv_exact(1_000_000);
    writer.join();
    for (round, block) in all.chunks(10_000).enumerate() {
        assert!(block.iter().all(|byte| usize::from(*byte) == round));
    }
    ends.check_alive();
}

/// splice() of up to `len` bytes, which come back.
fn splice(sock: &Sock, len: usize) -> io::Result<Vec<u8>> {
    let mut pipe = [0; 2];
    // SAFETY: room for two numbers; nobody else has the pipe.
    unsafe {
        check(libc::pipe(pipe.as_mut_ptr())).expect("pipe");
        let none = std::ptr::null_mut();
        let moved = check_len(libc::splice(sock.fd(), none, pipe[1], none, len, 0));
        let mut bytes = vec![0; len + 1];
        libc::close(pipe[1]);
        let got = check_len(libc::read(pipe[0], bytes.as_mut_ptr().cast(), bytes.len()));
        libc::close(pipe[0]);
        let moved = moved?;
        assert_eq!(got.expect("read"), moved);
        bytes.truncate(moved);
        Ok(bytes)
    }
}

/// Unlike recv(), splice() does not pass the byte, be it inline or not.
fn splice__stops(pair: Pair) {
    for on in [false, true] {
        let ends = connected(pair);
        if on {
            inline(&ends.server);
        }
        urge(&ends.client, b"abX");
        ends.client.send_all(b"cd");
        settled(&ends);
        assert_eq!(splice(&ends.server, 10).expect("splice"), b"ab");
        for _ in 0..2 {
            assert!(at_mark(&ends.server));
            assert_eq!(splice(&ends.server, 10).expect("splice"), b"");
        }
        ends.server.set_nonblocking(true);
        expect_errno(splice(&ends.server, 10), libc::EAGAIN);
        ends.server.set_nonblocking(false);
        let rest: &[u8] = match on {
            true => b"Xc",
            false => b"c",
        };
        expect(&ends.server, rest.len(), 0, rest);
        assert_eq!(splice(&ends.server, 10).expect("splice"), b"d");
        drop(ends.client);
        assert_eq!(splice(&ends.server, 10).expect("splice"), b"");
    }
}

fn poll__tells(pair: Pair) {
    let ends = connected(pair);
    let all = libc::POLLIN | libc::POLLPRI;
    assert_eq!(ends.server.poll_now(all), 0);
    let server = ends.server.try_clone();
    let poller = thread::spawn(move || server.poll_wait(libc::POLLPRI));
    poller.wait_blocked_in(libc::SYS_poll);
    urge(&ends.client, b"X");
    assert_eq!(poller.join(), libc::POLLPRI);
    // The byte alone is nothing to read.
    wait::until("all is acknowledged", || ends.client.unacked() == 0);
    assert_eq!(ends.server.poll_now(all), libc::POLLPRI);
    expect_errno(take(&ends.server, 1, 0), libc::EAGAIN);
    // Who has tried has passed it.
    assert_eq!(ends.server.poll_now(all), 0);
    urge(&ends.client, b"aY");
    settled(&ends);
    assert_eq!(ends.server.poll_now(all), all);
    expect(&ends.server, 1, OOB, b"Y");
    assert_eq!(ends.server.poll_now(all), libc::POLLIN);
    expect(&ends.server, 10, 0, b"a");
    assert_eq!(ends.server.poll_now(all), 0);
    inline(&ends.server);
    assert_eq!(ends.server.poll_now(all), libc::POLLIN);
}

static SIGNALS: AtomicU32 = AtomicU32::new(0);

extern "C" fn count(_: libc::c_int) {
    SIGNALS.fetch_add(1, Ordering::SeqCst);
}

/// Counts SIGURG for the owner of `sock`, a thread of this process, whose calls it ends.
fn count_signals(sock: &Sock, owner: i32) {
    // SAFETY: all bytes zero is a sigaction; the handler only counts.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = count as extern "C" fn(libc::c_int) as usize;
        let set = libc::sigaction(libc::SIGURG, &action, std::ptr::null_mut());
        assert_eq!(set, 0, "sigaction");
    }
    /// asm-generic/fcntl.h
    const F_SETOWN_EX: i32 = 15;
    const F_OWNER_TID: i32 = 0;
    let owner = [F_OWNER_TID, owner];
    // SAFETY: struct f_owner_ex is two numbers.
    check(unsafe { libc::fcntl(sock.fd(), F_SETOWN_EX, owner.as_ptr()) }).expect("F_SETOWN_EX");
}

/// One for each new byte that is told of, and none for who is not the owner.
fn signal__comes(pair: Pair) {
    let ends = connected(pair);
    // SAFETY: no arguments.
    count_signals(&ends.server, unsafe { libc::gettid() });
    for signals in 1..=5 {
        urge(&ends.client, b"abX");
        wait::until("SIGURG", || SIGNALS.load(Ordering::SeqCst) == signals);
        settled(&ends);
        expect(&ends.server, 1, OOB, b"X");
        ends.client.send_all(b"cd");
        wait::until("all is acknowledged", || ends.client.unacked() == 0);
    }
    urge(&ends.server, b"X");
    ends.client.poll_wait(libc::POLLPRI);
    assert_eq!(SIGNALS.load(Ordering::SeqCst), 5);
}

/// A reader that waits hears of a byte by EINTR.
fn signal__ends_a_wait(pair: Pair) {
    let ends = connected(pair);
    let server = ends.server.try_clone();
    let reader = thread::spawn(move || {
        // SAFETY: no arguments.
        count_signals(&server, unsafe { libc::gettid() });
        server
            .set_timeout(libc::SO_RCVTIMEO, wait::limit())
            .expect("SO_RCVTIMEO");
        let mut bytes = [0; 10];
        let got = server.recv(&mut bytes, 0);
        (
            got.map_err(|error| error.raw_os_error()),
            SIGNALS.load(Ordering::SeqCst),
        )
    });
    reader.wait_blocked_in(libc::SYS_recvfrom);
    urge(&ends.client, b"X");
    assert_eq!(reader.join(), (Err(Some(libc::EINTR)), 1));
    settled(&ends);
    expect(&ends.server, 1, OOB, b"X");
    ends.check_alive();
}

/// Neither a cork nor MSG_MORE holds it.
fn send__goes_at_once(pair: Pair) {
    let ends = connected(pair);
    ends.client
        .set(libc::IPPROTO_TCP, libc::TCP_CORK, 1)
        .expect("TCP_CORK");
    ends.client.send_all(b"ab");
    let sent = ends.client.send(b"cX", OOB | libc::MSG_MORE);
    assert_eq!(sent.expect("send"), 2);
    settled(&ends);
    expect(&ends.server, 10, 0, b"abc");
    expect(&ends.server, 1, OOB, b"X");
}

/// What does not fit is urgent as far as it has come.
fn send__through_a_small_buffer(pair: Pair) {
    let ends = connected_with(pair, |_, client| {
        client
            .set(libc::SOL_SOCKET, libc::SO_SNDBUF, 16_384)
            .expect("SO_SNDBUF");
    });
    let client = ends.client.try_clone();
    let writer = thread::spawn(move || urge(&client, &vec![b'a'; 3_000_000]));
    inline(&ends.server);
    let all = ends.server.recv_exact(2_999_999);
    assert!(all.iter().all(|byte| *byte == b'a'));
    wait::until("the mark is reached", || at_mark(&ends.server));
    writer.join();
    expect(&ends.server, 10, 0, b"a");
    ends.check_alive();
}

/// All segments up to the byte have the pointer, and none behind it.
fn wire__points_behind_the_byte(pair: Pair) {
    let _namespace = ns::isolate();
    let capture = Capture::on("lo");
    let ends = connected(pair);
    let port = ends.client.port();
    ends.client.send_all(b"abc");
    expect_all(&ends.server, 3);
    urge(&ends.client, b"deX");
    settled(&ends);
    ends.client.send_all(b"fg");
    wait::until("all is acknowledged", || ends.client.unacked() == 0);
    let mut start = 0;
    let mut found = Vec::new();
    for segment in capture.segments() {
        if !segment.outgoing || segment.source.port() != port {
            continue;
        }
        if segment.flags & SYN != 0 {
            start = segment.seq.wrapping_add(1);
        }
        if segment.payload > 0 {
            let urgent = (segment.flags & URG != 0).then_some(segment.urgent);
            found.push((segment.seq.wrapping_sub(start), segment.payload, urgent));
        }
        assert!(segment.flags & URG != 0 || segment.urgent == 0);
    }
    assert_eq!(found, [(0, 3, None), (3, 3, Some(3)), (6, 2, None)]);
}

#[track_caller]
fn expect_all(sock: &Sock, len: usize) {
    sock.recv_exact(len);
}
