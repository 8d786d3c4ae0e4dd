// SPDX-License-Identifier: GPL-2.0
//! poll(2) and epoll(7): which events hold when, who is woken, and what signals interrupt.

use std::process::ExitCode;
use std::time::Duration;

use libc::{POLLERR, POLLHUP, POLLIN, POLLOUT, POLLRDHUP};
use oxtcp_selftests::connection::{connected_with, Connected};
use oxtcp_selftests::epoll::Epoll;
use oxtcp_selftests::errno;
use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::payload::Stream;
use oxtcp_selftests::{
    cases, connected, expect_errno, ktap, listening, thread, wait, Pair, Sock, Stack, Suite,
};

const ALL: i16 = POLLIN | POLLOUT | POLLRDHUP | libc::POLLPRI | libc::POLLRDNORM | libc::POLLWRNORM;
const READABLE: i16 = POLLIN | libc::POLLRDNORM;
const WRITABLE: i16 = POLLOUT | libc::POLLWRNORM;

fn main() -> ExitCode {
    let mut suite = Suite::from_args("poll");
    cases!(suite.stacks:
        poll__fresh_socket, poll__bound_socket, poll__listener, poll__syn_sent,
        poll__listener_wakes_blocked_poll,
        signal__interrupts_accept, signal__restarts_accept, signal__interrupts_connect,
        signal__interrupts_poll, wake__blocked_accept, wake__blocked_connect, wake__blocked_connect_refused,
    );
    cases!(suite.pairs:
        poll__idle_connection, poll__data, poll__data_and_end, poll__peer_shutdown, poll__own_shutdown_write,
        poll__own_shutdown_read, poll__both_ends_shut, poll__reset, poll__full_send_buffer,
        poll__rcvlowat,
        epoll__level_repeats, epoll__edge_tells_once_per_arrival, epoll__edge_out_after_full,
        epoll__edge_rdhup, epoll__oneshot, epoll__many_connections,
        wake__blocked_recv_by_data, wake__blocked_recv_by_end, wake__blocked_recv_by_reset,
        wake__blocked_poll, wake__blocked_send_by_room, wake__blocked_send_by_reset,
        wake__two_readers_share, wake__four_writers,
        signal__interrupts_recv, signal__restarts_recv, signal__recv_with_timeout_is_eintr,
        signal__interrupts_send, signal__send_partial,
    );
    suite.run()
}

#[track_caller]
fn assert_events(sock: &Sock, wanted: i16) {
    assert_eq!(format!("{:#x}", sock.poll_now(ALL)), format!("{wanted:#x}"));
}

/// A socket that is neither connected nor listening reports the hang-up that it is.
fn poll__fresh_socket(stack: Stack) {
    assert_events(&Sock::open(stack), WRITABLE | POLLHUP);
}

fn poll__bound_socket(stack: Stack) {
    let sock = Sock::open(stack);
    sock.bind(&stack.local(0)).expect("bind");
    assert_events(&sock, WRITABLE | POLLHUP);
}

fn poll__listener(stack: Stack) {
    let (listener, address) = listening(stack, 8);
    assert_events(&listener, 0);
    let _one = Sock::open(stack);
    _one.connect(&address).expect("connect");
    listener.poll_wait(POLLIN);
    assert_events(&listener, READABLE);
    let _accepted = listener.accept().expect("accept");
    assert_events(&listener, 0);
}

fn poll__listener_wakes_blocked_poll(stack: Stack) {
    let (listener, address) = listening(stack, 8);
    let waiter = {
        let listener = listener.try_clone();
        thread::spawn(move || listener.poll_wait(POLLIN))
    };
    waiter.wait_blocked_in(libc::SYS_poll);
    Sock::open(stack).connect(&address).expect("connect");
    assert_eq!(waiter.join(), POLLIN);
}

fn poll__syn_sent(stack: Stack) {
    let _link = Veth::make();
    let sock = Sock::open_nonblocking(stack);
    expect_errno(
        sock.connect(&Veth::address_of_nobody(stack.ip, 80)),
        libc::EINPROGRESS,
    );
    assert_events(&sock, 0);
}

fn poll__idle_connection(pair: Pair) {
    let ends = connected(pair);
    assert_events(&ends.client, WRITABLE);
    assert_events(&ends.server, WRITABLE);
}

fn poll__data(pair: Pair) {
    let ends = connected(pair);
    ends.client.send_all(b"ab");
    ends.server.poll_wait(POLLIN);
    assert_events(&ends.server, READABLE | WRITABLE);
    ends.server.recv_exact(1);
    assert_events(&ends.server, READABLE | WRITABLE);
    ends.server.recv_exact(1);
    assert_events(&ends.server, WRITABLE);
}

fn poll__data_and_end(pair: Pair) {
    let ends = connected(pair);
    ends.client.send_all(b"ab");
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    ends.server.poll_wait(POLLRDHUP);
    assert_events(&ends.server, READABLE | WRITABLE | POLLRDHUP);
    ends.server.recv_exact(2);
    assert_events(&ends.server, READABLE | WRITABLE | POLLRDHUP);
}

fn poll__peer_shutdown(pair: Pair) {
    let ends = connected(pair);
    ends.server.shutdown(libc::SHUT_WR).expect("shutdown");
    ends.client.poll_wait(POLLRDHUP);
    assert_events(&ends.client, READABLE | WRITABLE | POLLRDHUP);
}

/// A half that cannot be written any more counts as writable: the write would not block.
fn poll__own_shutdown_write(pair: Pair) {
    let ends = connected(pair);
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    assert_events(&ends.client, WRITABLE);
}

fn poll__own_shutdown_read(pair: Pair) {
    let ends = connected(pair);
    ends.client.shutdown(libc::SHUT_RD).expect("shutdown");
    assert_events(&ends.client, READABLE | WRITABLE | POLLRDHUP);
}

fn poll__both_ends_shut(pair: Pair) {
    let ends = connected(pair);
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    ends.server.poll_wait(POLLRDHUP);
    ends.server.shutdown(libc::SHUT_WR).expect("shutdown");
    for sock in [&ends.client, &ends.server] {
        sock.poll_until_all(POLLHUP);
        assert_events(sock, READABLE | WRITABLE | POLLRDHUP | POLLHUP);
    }
}

fn poll__reset(pair: Pair) {
    let ends = connected(pair);
    ends.server.set_linger(true, 0).expect("SO_LINGER");
    drop(ends.server);
    ends.client.poll_until_all(POLLERR);
    assert_events(
        &ends.client,
        READABLE | WRITABLE | POLLRDHUP | POLLERR | POLLHUP,
    );
    assert_eq!(ends.client.take_error(), libc::ECONNRESET);
    assert_events(&ends.client, READABLE | WRITABLE | POLLRDHUP | POLLHUP);
}

/// Fills the connection until its sender is stuck. Returns how much is under way.
fn fill(ends: &Connected) -> usize {
    let mut total = 0;
    let mut quiet = 0;
    while quiet < 20 {
        match ends.client.send(&[7; 20_000], libc::MSG_DONTWAIT) {
            Ok(count) => {
                total += count;
                quiet = 0;
            }
            Err(error) => {
                assert_eq!(errno::of(&error), libc::EAGAIN);
                std::thread::sleep(Duration::from_millis(5));
                quiet += 1;
            }
        }
    }
    total
}

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

fn poll__full_send_buffer(pair: Pair) {
    let ends = with_small_buffers(pair);
    let total = fill(&ends);
    assert_events(&ends.client, 0);
    ends.server.recv_exact(total);
    ends.client.poll_wait(POLLOUT);
    assert_events(&ends.client, WRITABLE);
}

/// SO_RCVLOWAT: readable is what has so many bytes.
fn poll__rcvlowat(pair: Pair) {
    let ends = connected(pair);
    if let Err(error) = ends.server.set(libc::SOL_SOCKET, libc::SO_RCVLOWAT, 100) {
        ktap::skip(&format!("SO_RCVLOWAT: {error}"));
    }
    ends.client.send_all(&[1; 60]);
    wait::until("it has come", || ends.server.readable() == 60);
    assert_events(&ends.server, WRITABLE);
    ends.client.send_all(&[1; 40]);
    ends.server.poll_wait(POLLIN);
    assert_events(&ends.server, READABLE | WRITABLE);
}

fn epoll__level_repeats(pair: Pair) {
    let ends = connected(pair);
    let epoll = Epoll::new();
    epoll.add(&ends.server, libc::EPOLLIN, 1);
    assert_eq!(epoll.events(0), []);
    ends.client.send_all(b"x");
    assert_eq!(epoll.wait(), [(1, libc::EPOLLIN)]);
    assert_eq!(epoll.wait(), [(1, libc::EPOLLIN)]);
    ends.server.recv_exact(1);
    assert_eq!(epoll.events(0), []);
}

fn epoll__edge_tells_once_per_arrival(pair: Pair) {
    let ends = connected(pair);
    let epoll = Epoll::new();
    epoll.add(&ends.server, libc::EPOLLIN | libc::EPOLLET, 1);
    for round in 1..=5 {
        ends.client.send_all(b"x");
        assert_eq!(epoll.wait(), [(1, libc::EPOLLIN)]);
        wait::until("it has come", || ends.server.readable() == round);
        assert_eq!(epoll.events(0), [], "round {round}");
    }
}

/// The edge that a sender waits for after EAGAIN comes when there is room again, with nothing else to tell.
fn epoll__edge_out_after_full(pair: Pair) {
    let ends = with_small_buffers(pair);
    let epoll = Epoll::new();
    epoll.add(&ends.client, libc::EPOLLOUT | libc::EPOLLET, 1);
    assert_eq!(epoll.wait(), [(1, libc::EPOLLOUT)]);
    for _ in 0..3 {
        let total = fill(&ends);
        let _ = epoll.events(0);
        ends.server.recv_exact(total);
        assert_eq!(epoll.wait(), [(1, libc::EPOLLOUT)]);
    }
}

fn epoll__edge_rdhup(pair: Pair) {
    let ends = connected(pair);
    let epoll = Epoll::new();
    epoll.add(
        &ends.server,
        libc::EPOLLIN | libc::EPOLLRDHUP | libc::EPOLLET,
        1,
    );
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    let mut seen = 0;
    wait::until("both events", || {
        seen |= epoll
            .events(100)
            .iter()
            .fold(0, |all, (_, events)| all | events);
        seen == libc::EPOLLIN | libc::EPOLLRDHUP
    });
}

fn epoll__oneshot(pair: Pair) {
    let ends = connected(pair);
    let epoll = Epoll::new();
    epoll.add(&ends.server, libc::EPOLLIN | libc::EPOLLONESHOT, 1);
    ends.client.send_all(b"x");
    assert_eq!(epoll.wait(), [(1, libc::EPOLLIN)]);
    ends.client.send_all(b"y");
    wait::until("it has come", || ends.server.readable() == 2);
    assert_eq!(epoll.events(0), []);
    epoll.control(
        libc::EPOLL_CTL_MOD,
        &ends.server,
        libc::EPOLLIN | libc::EPOLLONESHOT,
        2,
    );
    assert_eq!(epoll.wait(), [(2, libc::EPOLLIN)]);
}

/// Connections of the test below; two descriptors each, within the usual limit of 1024.
const MANY: usize = 300;

/// One epoll loop serves hundreds of connections; each sends and gets back its own bytes.
fn epoll__many_connections(pair: Pair) {
    const LISTENER: u64 = u64::MAX;
    /// Bytes of each connection.
    const BYTES: usize = 3000;
    let (listener, address) = listening(pair.server, 1024);
    listener.set_nonblocking(true);
    let epoll = Epoll::new();
    epoll.add(&listener, libc::EPOLLIN, LISTENER);
    let clients: Vec<Sock> = (0..MANY)
        .map(|n| {
            let client = Sock::open_nonblocking(pair.client);
            match client.connect(&address) {
                Ok(()) => {}
                result => expect_errno(result, libc::EINPROGRESS),
            }
            epoll.add(
                &client,
                libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLET,
                n as u64,
            );
            client
        })
        .collect();
    let mut servers: Vec<Sock> = Vec::new();
    let mut sent = vec![false; MANY];
    let mut got = vec![Vec::new(); MANY];
    let mut part = [0; 4096];
    while got.iter().any(|bytes| bytes.len() < BYTES) {
        for (data, events) in epoll.wait() {
            if data == LISTENER {
                while let Ok((server, _)) = listener.accept4(libc::SOCK_NONBLOCK) {
                    epoll.add(&server, libc::EPOLLIN, (MANY + servers.len()) as u64);
                    servers.push(server);
                }
            } else if data as usize >= MANY {
                let server = &servers[data as usize - MANY];
                let count = server.recv(&mut part, 0).expect("recv");
                assert_eq!(server.send(&part[..count], 0).expect("echo"), count);
            } else {
                let n = data as usize;
                assert_eq!(events & (libc::EPOLLERR | libc::EPOLLHUP), 0);
                if events & libc::EPOLLOUT != 0 && !sent[n] {
                    sent[n] = true;
                    let bytes = Stream::new(n as u64).take(BYTES);
                    assert_eq!(clients[n].send(&bytes, 0).expect("send"), BYTES);
                }
                while let Ok(count) = clients[n].recv(&mut part, 0) {
                    assert_ne!(count, 0);
                    got[n].extend_from_slice(&part[..count]);
                }
            }
        }
    }
    assert_eq!(servers.len(), MANY);
    for (n, bytes) in got.iter().enumerate() {
        Stream::new(n as u64).check(bytes);
    }
}

/// A thread that receives on the sock, blocked by now.
fn blocked_recv(sock: &Sock) -> thread::Worker<std::io::Result<usize>> {
    let sock = sock.try_clone();
    let worker = thread::spawn(move || sock.recv(&mut [0; 64], 0));
    worker.wait_blocked_in(libc::SYS_recvfrom);
    worker
}

fn wake__blocked_recv_by_data(pair: Pair) {
    let ends = connected(pair);
    for _ in 0..20 {
        let reader = blocked_recv(&ends.server);
        ends.client.send_all(b"wake");
        assert_eq!(reader.join().expect("recv"), 4);
    }
}

fn wake__blocked_recv_by_end(pair: Pair) {
    let ends = connected(pair);
    let reader = blocked_recv(&ends.server);
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    assert_eq!(reader.join().expect("recv"), 0);
}

fn wake__blocked_recv_by_reset(pair: Pair) {
    let ends = connected(pair);
    let reader = blocked_recv(&ends.server);
    ends.client.set_linger(true, 0).expect("SO_LINGER");
    drop(ends.client);
    expect_errno(reader.join(), libc::ECONNRESET);
}

fn wake__blocked_poll(pair: Pair) {
    let ends = connected(pair);
    for events in [POLLIN, POLLRDHUP] {
        let server = ends.server.try_clone();
        let waiter = thread::spawn(move || server.poll_wait(events));
        waiter.wait_blocked_in(libc::SYS_poll);
        if events == POLLIN {
            ends.client.send_all(b"x");
        } else {
            ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
        }
        assert_ne!(waiter.join() & events, 0);
    }
}

/// A thread that sends far more than the buffers hold, blocked by now.
fn blocked_send(ends: &Connected) -> thread::Worker<std::io::Result<usize>> {
    let client = ends.client.try_clone();
    let worker = thread::spawn(move || client.send(&[3; 1 << 20], libc::MSG_NOSIGNAL));
    worker.wait_blocked_in(libc::SYS_sendto);
    worker
}

fn wake__blocked_send_by_room(pair: Pair) {
    let ends = with_small_buffers(pair);
    let sender = blocked_send(&ends);
    assert!(ends
        .server
        .recv_exact(1 << 20)
        .iter()
        .all(|byte| *byte == 3));
    assert_eq!(sender.join().expect("send"), 1 << 20);
}

/// What was taken before the reset counts; the next call tells of it.
fn wake__blocked_send_by_reset(pair: Pair) {
    let ends = with_small_buffers(pair);
    let sender = blocked_send(&ends);
    ends.server.set_linger(true, 0).expect("SO_LINGER");
    drop(ends.server);
    match sender.join() {
        Ok(count) => assert!(count < 1 << 20),
        Err(error) => assert_eq!(errno::of(&error), libc::ECONNRESET),
    }
}

fn wake__blocked_accept(stack: Stack) {
    let (listener, address) = listening(stack, 8);
    let acceptor = {
        let listener = listener.try_clone();
        thread::spawn(move || listener.accept().expect("accept").1)
    };
    acceptor.wait_blocked_in(libc::SYS_accept4);
    let client = Sock::open(stack);
    client.connect(&address).expect("connect");
    assert_eq!(acceptor.join(), client.local().expect("name"));
}

/// A client blocked in connect to a listener whose answers are held back until it is.
fn wake__blocked_connect(stack: Stack) {
    ns::isolate();
    let (_listener, address) = listening(stack, 8);
    ns::nft_input(&[&format!("tcp dport {} drop", address.port())]);
    let client = thread::spawn(move || Sock::open(stack).connect(&address));
    client.wait_blocked_in(libc::SYS_connect);
    ns::nft_clear();
    client.join().expect("connect");
}

fn wake__blocked_connect_refused(stack: Stack) {
    ns::isolate();
    let port = 5001;
    ns::nft_input(&[&format!("tcp dport {port} drop")]);
    let client = thread::spawn(move || Sock::open(stack).connect(&stack.local(port)));
    client.wait_blocked_in(libc::SYS_connect);
    ns::nft_clear();
    expect_errno(client.join(), libc::ECONNREFUSED);
}

/// Two threads read the same socket: no byte twice, none lost.
fn wake__two_readers_share(pair: Pair) {
    let ends = connected(pair);
    let total: usize = 100_000;
    let readers: Vec<_> = (0..2)
        .map(|_| {
            let server = ends.server.try_clone();
            thread::spawn(move || server.recv_to_end())
        })
        .collect();
    let bytes = Stream::new(30).take(total);
    for piece in bytes.chunks(777) {
        ends.client.send_all(piece);
    }
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    let mut got: Vec<u8> = readers.into_iter().flat_map(thread::Worker::join).collect();
    let mut wanted = bytes;
    got.sort_unstable();
    wanted.sort_unstable();
    assert!(
        got == wanted,
        "{} bytes of {total}, or not the same",
        got.len()
    );
}

/// Four threads write to the same socket, each its own byte.
fn wake__four_writers(pair: Pair) {
    let ends = connected(pair);
    const EACH: usize = 100_000;
    let writers: Vec<_> = (1..=4_u8)
        .map(|byte| {
            let client = ends.client.try_clone();
            thread::spawn(move || (0..EACH / 500).for_each(|_| client.send_all(&[byte; 500])))
        })
        .collect();
    let got = ends.server.recv_exact(4 * EACH);
    for byte in 1..=4 {
        assert_eq!(got.iter().filter(|b| **b == byte).count(), EACH);
    }
    writers.into_iter().for_each(|writer| writer.join());
}

fn signal__interrupts_accept(stack: Stack) {
    thread::catch(libc::SIGUSR1, 0);
    let (listener, _) = listening(stack, 8);
    let acceptor = thread::spawn(move || listener.accept());
    acceptor.wait_blocked_in(libc::SYS_accept4);
    acceptor.kill(libc::SIGUSR1);
    expect_errno(acceptor.join(), libc::EINTR);
}

/// Whether the thread has gone back to sleep after a signal cannot be seen; that it did not return can.
fn signal__restarts_accept(stack: Stack) {
    thread::catch(libc::SIGUSR1, libc::SA_RESTART);
    let (listener, address) = listening(stack, 8);
    let acceptor = thread::spawn(move || listener.accept().map(|(_, from)| from));
    for _ in 0..5 {
        acceptor.wait_blocked_in(libc::SYS_accept4);
        acceptor.kill(libc::SIGUSR1);
    }
    acceptor.wait_blocked_in(libc::SYS_accept4);
    let client = Sock::open(stack);
    client.connect(&address).expect("connect");
    assert_eq!(
        acceptor.join().expect("accept"),
        client.local().expect("name")
    );
}

/// An interrupted connect goes on behind EINTR.
fn signal__interrupts_connect(stack: Stack) {
    ns::isolate();
    thread::catch(libc::SIGUSR1, 0);
    let (listener, address) = listening(stack, 8);
    ns::nft_input(&[&format!("tcp dport {} drop", address.port())]);
    let client = thread::spawn(move || {
        let sock = Sock::open(stack);
        let result = sock.connect(&address);
        (sock, result)
    });
    client.wait_blocked_in(libc::SYS_connect);
    client.kill(libc::SIGUSR1);
    let (client, result) = client.join();
    expect_errno(result, libc::EINTR);
    client.set_nonblocking(true);
    expect_errno(client.connect(&address), libc::EALREADY);
    client.set_nonblocking(false);
    ns::nft_clear();
    client.poll_wait(POLLOUT);
    assert_eq!(client.take_error(), 0);
    let (server, _) = listener.accept().expect("accept");
    Connected { client, server }.check_alive();
}

fn signal__interrupts_poll(stack: Stack) {
    thread::catch(libc::SIGUSR1, libc::SA_RESTART);
    let ends = connected(Pair {
        client: stack,
        server: stack,
    });
    let fd = ends.server.fd();
    let waiter = thread::spawn(move || {
        let mut wanted = libc::pollfd {
            fd,
            events: POLLIN,
            revents: 0,
        };
        // SAFETY: one pollfd.
        errno::check(unsafe { libc::poll(&mut wanted, 1, -1) })
    });
    waiter.wait_blocked_in(libc::SYS_poll);
    waiter.kill(libc::SIGUSR1);
    expect_errno(waiter.join(), libc::EINTR);
}

fn signal__interrupts_recv(pair: Pair) {
    thread::catch(libc::SIGUSR1, 0);
    let ends = connected(pair);
    let reader = blocked_recv(&ends.server);
    reader.kill(libc::SIGUSR1);
    expect_errno(reader.join(), libc::EINTR);
    ends.check_alive();
}

fn signal__restarts_recv(pair: Pair) {
    thread::catch(libc::SIGUSR1, libc::SA_RESTART);
    let ends = connected(pair);
    let reader = blocked_recv(&ends.server);
    for _ in 0..5 {
        reader.kill(libc::SIGUSR1);
        reader.wait_blocked_in(libc::SYS_recvfrom);
    }
    ends.client.send_all(b"data");
    assert_eq!(reader.join().expect("recv"), 4);
}

/// A call with a timeout is not restarted (signal(7)).
fn signal__recv_with_timeout_is_eintr(pair: Pair) {
    thread::catch(libc::SIGUSR1, libc::SA_RESTART);
    let ends = connected(pair);
    ends.server
        .set_timeout(libc::SO_RCVTIMEO, Duration::from_secs(3600))
        .expect("SO_RCVTIMEO");
    let reader = blocked_recv(&ends.server);
    reader.kill(libc::SIGUSR1);
    expect_errno(reader.join(), libc::EINTR);
}

fn signal__interrupts_send(pair: Pair) {
    thread::catch(libc::SIGUSR1, 0);
    let ends = with_small_buffers(pair);
    // The rest of a window that is not worth a segment is used by a timer, and makes room: then the send was taken, and is no test.
    let interrupted = wait::until_some("a send that finds no room", || {
        fill(&ends);
        let client = ends.client.try_clone();
        let sender = thread::spawn(move || client.send(b"more", 0));
        wait::until("it waits, or was taken", || {
            sender.is_blocked_in(libc::SYS_sendto) || sender.is_finished()
        });
        sender.try_kill(libc::SIGUSR1);
        Some(sender.join()).filter(|result| !matches!(result, Ok(4)))
    });
    expect_errno(interrupted, libc::EINTR);
}

/// A send that has taken some bytes returns their count, not EINTR, and none of them is lost.
fn signal__send_partial(pair: Pair) {
    thread::catch(libc::SIGUSR1, 0);
    let ends = with_small_buffers(pair);
    let sender = blocked_send(&ends);
    // It may be woken and go on for a while: only a full buffer keeps it.
    wait::until("the signal ends it", || {
        if !sender.is_finished() {
            sender.try_kill(libc::SIGUSR1);
        }
        sender.is_finished()
    });
    let count = sender.join().expect("send");
    assert!(count > 0 && count < 1 << 20, "{count}");
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    assert_eq!(ends.server.recv_to_end().len(), count);
}
