// SPDX-License-Identifier: GPL-2.0
//! Timestamps of packets: SO_TIMESTAMPING with the error queue, SO_TIMESTAMP and its kin.

use std::io;
use std::mem::{size_of, size_of_val, zeroed};
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use oxtcp_selftests::connection::connected_with;
use oxtcp_selftests::errno::{self, check_len};
use oxtcp_selftests::tcp_info::TcpInfo;
use oxtcp_selftests::{
    cases, connected, expect_errno, listening, ns, wait, Ip, Pair, Sock, Stack, Suite,
};

/// linux/net_tstamp.h
const TX_SOFTWARE: i32 = 1 << 1;
const RX_SOFTWARE: i32 = 1 << 3;
const SOFTWARE: i32 = 1 << 4;
const OPT_ID: i32 = 1 << 7;
const TX_SCHED: i32 = 1 << 8;
const TX_ACK: i32 = 1 << 9;
const OPT_TSONLY: i32 = 1 << 11;
const OPT_STATS: i32 = 1 << 12;
const OPT_ID_TCP: i32 = 1 << 16;
const OPT_RX_FILTER: i32 = 1 << 17;
const ALL: i32 = TX_SCHED | TX_SOFTWARE | TX_ACK | SOFTWARE | OPT_ID;

/// linux/errqueue.h
const SND: u32 = 0;
const SCHED: u32 = 1;
const ACK: u32 = 2;
const ORIGIN_TIMESTAMPING: u8 = 4;

const SO_TIMESTAMP_NEW: i32 = 63;
const SO_TIMESTAMPNS_NEW: i32 = 64;
const SO_TIMESTAMPING_NEW: i32 = 65;

fn main() -> ExitCode {
    let _asks = who_asks();
    let mut suite = Suite::from_args("timestamps");
    cases!(suite.stacks: options__are_linuxs, options__need_a_connection, rx__of_what_was_left);
    cases!(suite.pairs:
        tx__each_stage_of_each_write, tx__one_key_for_writes_that_go_together, tx__keys_count_from_the_option,
        tx__keys_count_from_the_end, tx__payload_comes_back, tx__by_control_message, tx__every_acknowledgment,
        tx__after_the_peer_is_gone, errqueue__wakes_poll,
        rx__each_option, rx__only_what_is_asked_for, rx__of_the_listener,
    );
    suite.run()
}

/// A socket for which all that comes has a time, as long as it is there. The kernel begins to have the time noted a moment after the first socket asks, and ends
/// a moment after the last has gone (`netstamp_work`): where the last of a case went just before the first of the next one asked, there was a time at first,
/// and then for a moment none.
fn who_asks() -> Sock {
    let sock = Sock::open(Stack::builtin(Ip::V4));
    sock.set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
        .expect("SO_TIMESTAMPNS");
    sock
}

/// What the error queue had.
#[derive(Debug)]
struct Stamp {
    stage: u32,
    key: u32,
    at: Duration,
    payload: Vec<u8>,
    flags: i32,
}

/// A control message: level, type, data.
type Control = (i32, i32, Vec<u8>);

/// recvmsg() into `len` bytes: what came, the flags, the control messages.
fn receive(sock: &Sock, len: usize, flags: i32) -> io::Result<(Vec<u8>, i32, Vec<Control>)> {
    let mut bytes = vec![0u8; len];
    let mut control = [0u64; 64];
    let mut part = libc::iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: len,
    };
    let mut controls = Vec::new();
    // SAFETY: all bytes zero is an empty msghdr; its parts are valid for the call, and what the kernel wrote is read within
    // the lengths that it tells.
    unsafe {
        let mut header: libc::msghdr = zeroed();
        header.msg_iov = &mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = size_of_val(&control);
        let got = check_len(libc::recvmsg(sock.fd(), &mut header, flags))?;
        bytes.truncate(got);
        let mut message = libc::CMSG_FIRSTHDR(&header);
        while !message.is_null() {
            let data = libc::CMSG_DATA(message);
            let len = (*message).cmsg_len - libc::CMSG_LEN(0) as usize;
            let data = std::slice::from_raw_parts(data, len).to_vec();
            controls.push(((*message).cmsg_level, (*message).cmsg_type, data));
            message = libc::CMSG_NXTHDR(&header, message);
        }
        assert_eq!(header.msg_flags & libc::MSG_CTRUNC, 0, "{controls:?}");
        Ok((bytes, header.msg_flags, controls))
    }
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("4 bytes"))
}

fn long(bytes: &[u8], at: usize) -> u64 {
    u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("8 bytes"))
}

/// The next one of the error queue; `None` when it is empty.
#[track_caller]
fn next(sock: &Sock, room: usize) -> Option<Stamp> {
    let (payload, flags, controls) = match receive(sock, room, libc::MSG_ERRQUEUE) {
        Err(error) if errno::of(&error) == libc::EAGAIN => return None,
        result => result.expect("recvmsg(MSG_ERRQUEUE)"),
    };
    // SO_TIMESTAMP and its kin tell of it, too.
    let [.., (libc::SOL_SOCKET, libc::SCM_TIMESTAMPING, time), (level, kind, error)] =
        &controls[..]
    else {
        panic!("other control messages: {controls:?}");
    };
    assert!(matches!(
        (*level, *kind),
        (libc::SOL_IP, libc::IP_RECVERR) | (libc::SOL_IPV6, libc::IPV6_RECVERR)
    ));
    assert_eq!(word(error, 0), libc::ENOMSG as u32, "ee_errno");
    assert_eq!(
        (error[4], error[5], error[6]),
        (ORIGIN_TIMESTAMPING, 0, 0),
        "origin, type, code"
    );
    assert_eq!(&time[16..], &[0; 32], "no stamps of hardware");
    Some(Stamp {
        stage: word(error, 8),
        key: word(error, 12),
        at: Duration::new(long(time, 0), long(time, 8) as u32),
        payload,
        flags,
    })
}

/// The next `count` ones.
#[track_caller]
fn stamps(sock: &Sock, count: usize) -> Vec<Stamp> {
    let found: Vec<Stamp> = (0..count)
        .map(|_| wait::until_some("a timestamp", || next(sock, 0)))
        .collect();
    assert!(next(sock, 0).is_none(), "no more than {count}");
    found
}

fn now() -> Duration {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .expect("a time after 1970")
}

#[track_caller]
fn ask(sock: &Sock, flags: i32) {
    sock.set(libc::SOL_SOCKET, libc::SO_TIMESTAMPING, flags)
        .expect("SO_TIMESTAMPING");
}

/// Each write has its three stages, in the order of time, with the offset of its last byte.
fn tx__each_stage_of_each_write(pair: Pair) {
    let ends = connected(pair);
    ask(&ends.client, ALL);
    let begin = now();
    let mut total = 0;
    for len in [2000, 1, 30_000] {
        ends.client.send_all(&vec![7; len]);
        total += len as u32;
        let found = stamps(&ends.client, 3);
        for stage in [SCHED, SND, ACK] {
            let of = found.iter().filter(|stamp| stamp.stage == stage);
            assert_eq!(of.count(), 1, "{found:?}");
        }
        for stamp in &found {
            assert_eq!(stamp.key, total - 1, "{found:?}");
            assert!(stamp.payload.is_empty());
            assert_ne!(stamp.flags & libc::MSG_ERRQUEUE, 0);
        }
        let at = |stage| {
            found
                .iter()
                .find(|stamp| stamp.stage == stage)
                .expect("it")
                .at
        };
        assert!(begin <= at(SCHED) && at(SCHED) <= at(SND), "{found:?}");
        assert!(at(SND) <= at(ACK) && at(ACK) <= now(), "{found:?}");
    }
    ends.server.recv_exact(total as usize);
    ends.check_alive();
}

/// Writes that are put together before they are sent have one key, that of the last byte.
fn tx__one_key_for_writes_that_go_together(pair: Pair) {
    let ends = connected(pair);
    ask(&ends.client, ALL);
    for len in [100, 200, 300] {
        let sent = ends.client.send(&vec![1; len], libc::MSG_MORE);
        assert_eq!(sent.expect("send"), len);
    }
    ends.client.send_all(&[2; 50]);
    let found = stamps(&ends.client, 3);
    assert!(found.iter().all(|stamp| stamp.key == 649), "{found:?}");
    ends.server.recv_exact(650);
}

/// A connection whose peer does not read, with `len` bytes or more that are not acknowledged.
fn stuck(pair: Pair, len: usize) -> oxtcp_selftests::Connected {
    let ends = connected_with(pair, |listener, _| {
        listener
            .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 4096)
            .expect("SO_RCVBUF");
    });
    ends.client.send_all(&vec![3; len]);
    let mut last = 0;
    wait::until("the window is full", || {
        let unacked = ends.client.unacked();
        std::mem::replace(&mut last, unacked) == unacked && unacked > 0
    });
    ends
}

/// Without OPT_ID_TCP the keys count from the oldest byte that is not acknowledged. Turned off and on, they count anew.
fn tx__keys_count_from_the_option(pair: Pair) {
    let ends = connected(pair);
    ends.client.send_all(&[1; 1000]);
    ends.server.recv_exact(1000);
    wait::until("all is acknowledged", || ends.client.unacked() == 0);
    for _ in 0..2 {
        ask(&ends.client, TX_ACK | SOFTWARE | OPT_ID);
        ask(&ends.client, TX_ACK | SOFTWARE | OPT_ID);
        for key in [9, 19] {
            ends.client.send_all(&[1; 10]);
            ends.server.recv_exact(10);
            assert_eq!(stamps(&ends.client, 1)[0].key, key);
        }
        ask(&ends.client, TX_ACK | SOFTWARE);
        ends.client.send_all(&[1; 10]);
        ends.server.recv_exact(10);
        assert_eq!(stamps(&ends.client, 1)[0].key, 0, "without OPT_ID");
    }
}

/// With OPT_ID_TCP they count from the next byte that is written.
fn tx__keys_count_from_the_end(pair: Pair) {
    let ends = stuck(pair, 60_000);
    ask(&ends.client, TX_ACK | SOFTWARE | OPT_ID | OPT_ID_TCP);
    ends.client.send_all(&[1; 10]);
    ends.server.recv_exact(60_010);
    assert_eq!(stamps(&ends.client, 1)[0].key, 9);

    let ends = stuck(pair, 60_000);
    let unacked = ends.client.unacked();
    ask(&ends.client, TX_ACK | SOFTWARE | OPT_ID);
    ends.client.send_all(&[1; 10]);
    ends.server.recv_exact(60_010);
    assert_eq!(stamps(&ends.client, 1)[0].key as usize, unacked + 9);
}

/// What was acknowledged comes back with its timestamp, but with OPT_TSONLY.
fn tx__payload_comes_back(pair: Pair) {
    let ends = connected(pair);
    ask(&ends.client, TX_ACK | SOFTWARE | OPT_ID);
    ends.client.send_all(b"hello");
    let stamp = wait::until_some("a timestamp", || next(&ends.client, 100));
    assert_eq!(stamp.payload, b"hello");
    assert_eq!(stamp.flags & libc::MSG_TRUNC, 0);
    ends.client.send_all(b"hello");
    let stamp = wait::until_some("a timestamp", || next(&ends.client, 3));
    assert_eq!(stamp.payload, b"hel");
    assert_ne!(stamp.flags & libc::MSG_TRUNC, 0);
    ask(&ends.client, ALL | OPT_TSONLY);
    ends.client.send_all(b"hello");
    let mut stages = Vec::new();
    for _ in 0..3 {
        let stamp = wait::until_some("a timestamp", || next(&ends.client, 100));
        assert_eq!((stamp.payload.len(), stamp.key), (0, 14));
        stages.push(stamp.stage);
    }
    stages.sort_unstable();
    assert_eq!(stages, [SND, SCHED, ACK]);
    ends.server.recv_exact(15);
}

/// sendmsg() with a control message.
fn send_with(sock: &Sock, bytes: &[u8], level: i32, kind: i32, data: &[u8]) -> io::Result<usize> {
    let mut control = [0u64; 16];
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // SAFETY: all bytes zero is an empty msghdr; its parts are valid for the call, and there is room for the message.
    unsafe {
        let mut header: libc::msghdr = zeroed();
        header.msg_iov = &mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = libc::CMSG_SPACE(data.len() as u32) as usize;
        let message = libc::CMSG_FIRSTHDR(&header);
        (*message).cmsg_level = level;
        (*message).cmsg_type = kind;
        (*message).cmsg_len = libc::CMSG_LEN(data.len() as u32) as usize;
        libc::CMSG_DATA(message).copy_from_nonoverlapping(data.as_ptr(), data.len());
        check_len(libc::sendmsg(sock.fd(), &header, libc::MSG_NOSIGNAL))
    }
}

/// A control message asks for the timestamps of one call.
fn tx__by_control_message(pair: Pair) {
    const SCM_TS_OPT_ID: i32 = 81;
    let ends = connected(pair);
    let client = &ends.client;
    let with = |kind, flags: i32| {
        send_with(
            client,
            b"12345",
            libc::SOL_SOCKET,
            kind,
            &flags.to_ne_bytes(),
        )
    };
    ask(client, SOFTWARE | OPT_ID);
    client.send_all(b"12345");
    assert_eq!(with(libc::SO_TIMESTAMPING, TX_ACK).expect("sendmsg"), 5);
    assert_eq!(with(SO_TIMESTAMPING_NEW, TX_ACK).expect("sendmsg"), 5);
    ends.server.recv_exact(15);
    wait::until("all is acknowledged", || client.unacked() == 0);
    let keys: Vec<u32> = std::iter::from_fn(|| next(client, 0))
        .map(|stamp| stamp.key)
        .collect();
    assert_eq!(keys.last(), Some(&14), "{keys:?}");
    assert!(!keys.contains(&4), "{keys:?}");
    // Not what is no request for a timestamp, nor a key of one's own; nothing is sent.
    expect_errno(with(libc::SO_TIMESTAMPING, TX_ACK | OPT_ID), libc::EINVAL);
    expect_errno(with(SCM_TS_OPT_ID, 1), libc::EINVAL);
    let short = send_with(
        client,
        b"1",
        libc::SOL_SOCKET,
        libc::SO_TIMESTAMPING,
        &[0; 2],
    );
    expect_errno(short, libc::EINVAL);
    // Of another level: not looked at.
    let other = send_with(client, b"1", libc::IPPROTO_TCP, 99, &[0; 4]);
    assert_eq!(other.expect("sendmsg"), 1);
    ends.server.recv_exact(1);
    assert_eq!(ends.server.readable(), 0);
}

/// Many writes of all sizes: the keys are offsets of last bytes, each once, in order, and the last one is there.
fn tx__every_acknowledgment(pair: Pair) {
    let ends = connected(pair);
    ask(&ends.client, TX_ACK | SOFTWARE | OPT_ID | OPT_TSONLY);
    let mut end = 0;
    let lens: Vec<usize> = (0..400).map(|n| n * n * 37 % 9000 + 1).collect();
    let total: usize = lens.iter().sum();
    let reader = {
        let server = ends.server.try_clone();
        oxtcp_selftests::thread::spawn(move || server.recv_exact(total))
    };
    let mut ends_of_writes = Vec::new();
    let mut keys = Vec::new();
    for len in lens {
        ends.client.send_all(&vec![len as u8; len]);
        end += len as u32;
        ends_of_writes.push(end - 1);
        keys.extend(std::iter::from_fn(|| next(&ends.client, 0)).map(|stamp| stamp.key));
    }
    let bytes = reader.join();
    assert_eq!(bytes.len(), total);
    wait::until("the last byte's timestamp", || {
        keys.extend(std::iter::from_fn(|| next(&ends.client, 0)).map(|stamp| stamp.key));
        keys.last() == ends_of_writes.last()
    });
    assert!(keys.is_sorted_by(|a, b| a < b), "{keys:?}");
    for key in keys {
        assert!(ends_of_writes.binary_search(&key).is_ok(), "{key}");
    }
    ends.check_alive();
}

/// What waits in the error queue can be read when the connection is gone, and goes with the socket.
fn tx__after_the_peer_is_gone(pair: Pair) {
    let ends = connected(pair);
    ask(&ends.client, TX_ACK | SOFTWARE | OPT_ID);
    ends.client.send_all(b"first");
    wait::until("it is acknowledged", || ends.client.unacked() == 0);
    ends.server.set_linger(true, 0).expect("SO_LINGER");
    drop(ends.server);
    ends.client.poll_until_all(libc::POLLHUP);
    assert_eq!(next(&ends.client, 0).expect("a timestamp").key, 4);
    assert!(next(&ends.client, 0).is_none());

    let ends = connected(pair);
    ask(&ends.client, ALL);
    ends.client.send_all(&[1; 10_000]);
    drop(ends.client);
    assert_eq!(ends.server.recv_to_end().len(), 10_000);
}

/// POLLERR stands as long as the error queue has something; it is no error of the socket's.
fn errqueue__wakes_poll(pair: Pair) {
    let ends = connected(pair);
    assert_eq!(ends.client.poll_now(libc::POLLERR), 0);
    expect_errno(
        ends.client.recv(&mut [0; 4], libc::MSG_ERRQUEUE),
        libc::EAGAIN,
    );
    ask(&ends.client, TX_ACK | SOFTWARE);
    ends.client.send_all(b"x");
    ends.client.poll_until_all(libc::POLLERR);
    assert_eq!(ends.client.take_error(), 0);
    ends.server.recv_exact(1);
    ends.check_alive();
    let count = std::iter::from_fn(|| next(&ends.client, 0)).count();
    assert!(count >= 1);
    wait::until("the queue is empty", || {
        let _ = next(&ends.client, 0);
        ends.client.unacked() == 0 && ends.client.poll_now(libc::POLLERR) == 0
    });
}

/// The one control message of what the server reads. The kernel begins to stamp packets a moment after the first who asks.
#[track_caller]
fn read_stamp(ends: &oxtcp_selftests::Connected, flags: i32) -> Control {
    let (begin, (level, kind, data)) = wait::until_some("a timestamp", || {
        let begin = now();
        ends.client.send_all(b"12345");
        ends.server.poll_until_all(libc::POLLIN);
        let (bytes, _, mut controls) = receive(&ends.server, 5, flags).expect("recvmsg");
        assert_eq!(bytes.len(), 5);
        assert!(controls.len() <= 1, "{controls:?}");
        Some((begin, controls.pop()?))
    });
    let micros = matches!(kind, libc::SO_TIMESTAMP | SO_TIMESTAMP_NEW);
    let nanos = long(&data, 8) * if micros { 1000 } else { 1 };
    let at = Duration::new(long(&data, 0), nanos as u32);
    // Microseconds are cut off.
    assert!(
        begin < at + Duration::from_micros(1) && at <= now(),
        "{at:?}"
    );
    (level, kind, data)
}

/// Each of the options, old and new, tells when the packet came.
fn rx__each_option(pair: Pair) {
    let ends = connected(pair);
    for (option, value, len) in [
        (libc::SO_TIMESTAMP, 1, 16),
        (libc::SO_TIMESTAMPNS, 1, 16),
        (SO_TIMESTAMP_NEW, 1, 16),
        (SO_TIMESTAMPNS_NEW, 1, 16),
        (libc::SO_TIMESTAMPING, RX_SOFTWARE | SOFTWARE, 48),
        (SO_TIMESTAMPING_NEW, RX_SOFTWARE | SOFTWARE, 48),
    ] {
        let set = |value| ends.server.set(libc::SOL_SOCKET, option, value);
        set(value).expect("the option");
        let (level, kind, data) = read_stamp(&ends, 0);
        assert_eq!((level, kind, data.len()), (libc::SOL_SOCKET, option, len));
        set(0).expect("the option");
    }
    // Also of what is only looked at.
    ends.server
        .set(libc::SOL_SOCKET, libc::SO_TIMESTAMP, 1)
        .expect("SO_TIMESTAMP");
    read_stamp(&ends, 0);
    read_stamp(&ends, libc::MSG_PEEK);
    ends.server.recv_exact(5);
    ends.check_alive();
}

/// With RX_FILTER what came with a stamp because others asked for it is not told to who did not.
fn rx__only_what_is_asked_for(pair: Pair) {
    let ends = connected(pair);
    let other = connected(pair);
    other
        .server
        .set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
        .expect("SO_TIMESTAMPNS");
    read_stamp(&other, 0);
    let controls = |flags| {
        ask(&ends.server, flags);
        ends.client.send_all(b"12345");
        ends.server.poll_until_all(libc::POLLIN);
        let (_, _, controls) = receive(&ends.server, 5, 0).expect("recvmsg");
        controls.len()
    };
    // The kernel may be about to stop it for who asked before, and begins anew a moment later.
    wait::until("a timestamp", || controls(SOFTWARE) == 1);
    assert_eq!(controls(0), 0);
    assert_eq!(controls(RX_SOFTWARE), 0, "without SOFTWARE nothing is told");
    assert_eq!(controls(SOFTWARE | OPT_RX_FILTER), 0);
    assert_eq!(controls(SOFTWARE), 1);
    assert_eq!(controls(SOFTWARE | RX_SOFTWARE | OPT_RX_FILTER), 1);
}

/// What is set on the listener is its connections'.
fn rx__of_the_listener(pair: Pair) {
    let ends = connected_with(pair, |listener, _| {
        listener
            .set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
            .expect("SO_TIMESTAMPNS");
        ask(listener, TX_ACK | SOFTWARE);
    });
    let other = connected(pair);
    other
        .server
        .set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
        .expect("SO_TIMESTAMPNS");
    read_stamp(&other, 0);
    let told = ends.server.get(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS);
    assert_eq!(told.expect("SO_TIMESTAMPNS"), 1);
    ends.client.send_all(b"12345");
    ends.server.poll_until_all(libc::POLLIN);
    let (_, _, controls) = receive(&ends.server, 5, 0).expect("recvmsg");
    let kinds: Vec<i32> = controls.iter().map(|(_, kind, _)| *kind).collect();
    assert_eq!(kinds, [libc::SO_TIMESTAMPNS, libc::SO_TIMESTAMPING]);
    ends.server.send_all(b"1");
    assert_eq!(stamps(&ends.server, 1)[0].stage, ACK);
}

/// What a program has left of a large packet is copied out of it when memory is short, and still tells when it came.
fn rx__of_what_was_left(stack: Stack) {
    let pair = Pair {
        client: stack,
        server: stack,
    };
    let other = connected(pair);
    let ends = connected_with(pair, |listener, _| {
        for (option, value) in [(libc::SO_TIMESTAMPNS, 1), (libc::SO_RCVBUF, 32_768)] {
            listener
                .set(libc::SOL_SOCKET, option, value)
                .expect("an option of the listener");
        }
    });
    other
        .server
        .set(libc::SOL_SOCKET, libc::SO_TIMESTAMPNS, 1)
        .expect("SO_TIMESTAMPNS");
    read_stamp(&other, 0);
    ends.client.set_nonblocking(true);
    ends.client
        .send(&[7; 200_000], libc::MSG_NOSIGNAL)
        .expect("send");
    wait::until("the window is shut", || {
        let info = TcpInfo::of(&ends.client);
        info.unacked == 0 && info.notsent_bytes > 0 && ends.server.readable() > 20_000
    });
    // More than what comes is joined to.
    let left = 9000;
    ends.server.recv_exact(ends.server.readable() - left);
    // Without the copy there would not be room for so much.
    wait::until("more has come", || ends.server.readable() > 20_000);
    let (bytes, _, controls) = receive(&ends.server, 1000, 0).expect("recvmsg");
    assert_eq!(bytes.len(), 1000);
    let kinds: Vec<i32> = controls.iter().map(|(_, kind, _)| *kind).collect();
    assert_eq!(kinds, [libc::SO_TIMESTAMPNS]);
}

/// Values that there are, and those that make no sense.
fn options__are_linuxs(stack: Stack) {
    let _namespace = ns::isolate();
    let ends = connected(Pair {
        client: stack,
        server: stack,
    });
    let set = |flags| {
        ends.client
            .set(libc::SOL_SOCKET, libc::SO_TIMESTAMPING, flags)
    };
    for flags in [ALL, ALL | OPT_TSONLY, OPT_ID | OPT_ID_TCP, 0] {
        set(flags).expect("SO_TIMESTAMPING");
        let told = ends.client.get(libc::SOL_SOCKET, libc::SO_TIMESTAMPING);
        assert_eq!(told.expect("SO_TIMESTAMPING"), flags);
    }
    expect_errno(set(1 << 30), libc::EINVAL);
    expect_errno(set(OPT_ID_TCP), libc::EINVAL);
    let short = ends
        .client
        .set_bytes(libc::SOL_SOCKET, libc::SO_TIMESTAMPING, &[0; 2]);
    expect_errno(short, libc::EINVAL);
    // What TCP_INFO tells in a stamp's place is not done.
    match stack == Stack::builtin(stack.ip) {
        true => expect_errno(set(OPT_STATS), libc::EINVAL),
        false => expect_errno(set(OPT_STATS | OPT_TSONLY), libc::EOPNOTSUPP),
    }
    assert_eq!(size_of::<libc::timespec>(), 16, "of a machine of 64 bits");
}

/// Keys count from a byte of the connection.
fn options__need_a_connection(stack: Stack) {
    let sock = Sock::open(stack);
    let set = |sock: &Sock, flags| sock.set(libc::SOL_SOCKET, libc::SO_TIMESTAMPING, flags);
    expect_errno(set(&sock, OPT_ID), libc::EINVAL);
    set(&sock, SOFTWARE | TX_ACK).expect("SO_TIMESTAMPING");
    let (listener, _) = listening(stack, 1);
    expect_errno(set(&listener, OPT_ID), libc::EINVAL);
}
