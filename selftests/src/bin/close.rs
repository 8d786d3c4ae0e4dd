// SPDX-License-Identifier: GPL-2.0
//! The end of a connection: halves, resets, lingering, TIME-WAIT.

use std::net::SocketAddr;
use std::process::ExitCode;

use oxtcp_selftests::connection::{connected_with, listening_at, Connected};
use oxtcp_selftests::errno;
use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::payload::Stream;
use oxtcp_selftests::procnet::{self, State};
use oxtcp_selftests::{
    cases, connected, expect_errno, ktap, listening, thread, wait, Pair, Sock, Stack, Suite,
};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("close");
    cases!(suite.pairs:
        shutdown__write_ends_the_stream, shutdown__write_leaves_reading, shutdown__read_half,
        shutdown__both, shutdown__twice, shutdown__wakes_blocked_recv, shutdown__flushes_buffered_data,
        close__orphan_delivers_all, close__unread_data_resets, close__peer_sends_afterwards,
        close__after_peers_shutdown, close__both_at_once, close__exit_of_process, close__dup_keeps_it_open,
        close__fork_shares_it,
        linger__zero_resets, linger__waits_until_acknowledged, linger__timeout_gives_up_waiting,
        linger__nonblocking_does_not_wait,
        listener__closed_resets_queued, listener__closed_spares_accepted,
        time_wait__is_listed, time_wait__other_side_is_gone, time_wait__new_syn_reopens, time_wait__rebind,
    );
    cases!(suite.stacks:
        shutdown__listener, shutdown__wakes_blocked_accept, close__connecting_socket_vanishes,
        fin_wait2__orphan_times_out, fin_wait2__orphan_is_small, fin_wait2__orphan_hears_the_fin,
        fin_wait2__orphan_refuses_data, orphan__too_many_are_reset, orphan__is_given_up,
        time_wait__after_simultaneous_close,
    );
    cases!(suite.neighbours: time_wait__reserves_the_port);
    suite.run()
}

fn shutdown__write_ends_the_stream(pair: Pair) {
    let ends = connected(pair);
    ends.client.send_all(b"last words");
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    assert_eq!(ends.server.recv_to_end(), b"last words");
    assert_eq!(ends.server.recv(&mut [0; 4], 0).expect("the end again"), 0);
    expect_errno(ends.client.send(b"x", libc::MSG_NOSIGNAL), libc::EPIPE);
}

fn shutdown__write_leaves_reading(pair: Pair) {
    let ends = connected(pair);
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    assert_eq!(ends.server.recv(&mut [0; 4], 0).expect("the end"), 0);
    let total = 1 << 20;
    let sender = {
        let server = ends.server.try_clone();
        thread::spawn(move || {
            server.send_all(&Stream::new(1).take(total));
            server.shutdown(libc::SHUT_WR).expect("shutdown");
        })
    };
    let got = ends.client.recv_to_end();
    assert_eq!(got.len(), total);
    Stream::new(1).check(&got);
    sender.join();
}

/// The peer hears nothing of a closed reading half; what it sends can still be read (as in Linux).
fn shutdown__read_half(pair: Pair) {
    let ends = connected(pair);
    ends.server.shutdown(libc::SHUT_RD).expect("shutdown");
    assert_eq!(ends.server.recv(&mut [0; 4], 0).expect("recv"), 0);
    ends.client.send_all(b"late");
    wait::until("it has come", || ends.server.readable() == 4);
    assert_eq!(ends.server.recv_exact(4), b"late");
    assert_eq!(ends.server.recv(&mut [0; 4], 0).expect("recv"), 0);
    ends.server.send_all(b"other way");
    assert_eq!(ends.client.recv_exact(9), b"other way");
}

fn shutdown__both(pair: Pair) {
    let ends = connected(pair);
    ends.client.shutdown(libc::SHUT_RDWR).expect("shutdown");
    assert_eq!(ends.client.recv(&mut [0; 4], 0).expect("recv"), 0);
    expect_errno(ends.client.send(b"x", libc::MSG_NOSIGNAL), libc::EPIPE);
    assert_eq!(ends.server.recv(&mut [0; 4], 0).expect("the end"), 0);
    ends.client.peer().expect("still has a peer");
}

fn shutdown__twice(pair: Pair) {
    let ends = connected(pair);
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown again");
    assert_eq!(ends.server.recv(&mut [0; 4], 0).expect("the end"), 0);
    ends.server.shutdown(libc::SHUT_WR).expect("shutdown");
    assert_eq!(ends.client.recv(&mut [0; 4], 0).expect("the end"), 0);
    // The connection is over: there is nothing left to shut down.
    wait::until("the connection is gone", || {
        ends.client.shutdown(libc::SHUT_RD).is_err()
    });
    expect_errno(ends.client.shutdown(libc::SHUT_RD), libc::ENOTCONN);
}

fn shutdown__wakes_blocked_recv(pair: Pair) {
    let ends = connected(pair);
    let reader = {
        let client = ends.client.try_clone();
        thread::spawn(move || client.recv(&mut [0; 4], 0).expect("recv"))
    };
    reader.wait_blocked_in(libc::SYS_recvfrom);
    ends.client.shutdown(libc::SHUT_RDWR).expect("shutdown");
    assert_eq!(reader.join(), 0);
}

/// What was written before the shutdown arrives, however full the buffers were.
fn shutdown__flushes_buffered_data(pair: Pair) {
    let ends = connected_with(pair, |listener, client| {
        listener
            .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 8192)
            .expect("SO_RCVBUF");
        client
            .set(libc::SOL_SOCKET, libc::SO_SNDBUF, 100_000)
            .expect("SO_SNDBUF");
    });
    let bytes = Stream::new(2).take(400_000);
    let sent = ends.client.send(&bytes, libc::MSG_DONTWAIT).expect("send");
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    let got = ends.server.recv_to_end();
    assert_eq!(got.len(), sent);
    Stream::new(2).check(&got);
}

fn close__orphan_delivers_all(pair: Pair) {
    let ends = connected(pair);
    let bytes = Stream::new(3).take(1 << 20);
    let sent = ends.client.send(&bytes, libc::MSG_DONTWAIT).expect("send");
    drop(ends.client);
    let got = ends.server.recv_to_end();
    assert_eq!(got.len(), sent);
    Stream::new(3).check(&got);
}

/// RFC 2525 2.17: unread data at close is a reset, so that the peer knows.
fn close__unread_data_resets(pair: Pair) {
    let ends = connected(pair);
    ends.client.send_all(b"unread");
    wait::until("it has come", || ends.server.readable() == 6);
    let (local, remote) = (
        ends.server.local().expect("name"),
        ends.server.peer().expect("name"),
    );
    drop(ends.server);
    ends.client.poll_until_all(libc::POLLERR | libc::POLLHUP);
    assert_eq!(ends.client.take_error(), libc::ECONNRESET);
    assert_eq!(
        procnet::state_of(pair.server, local, remote),
        None,
        "a reset leaves no TIME-WAIT"
    );
}

/// A peer that sends to a closed socket is reset; in CLOSE-WAIT Linux tells it EPIPE.
fn close__peer_sends_afterwards(pair: Pair) {
    let ends = connected(pair);
    drop(ends.client);
    assert_eq!(ends.server.recv(&mut [0; 4], 0).expect("the end"), 0);
    assert_eq!(
        ends.server
            .send(b"too late", libc::MSG_NOSIGNAL)
            .expect("the first send"),
        8
    );
    ends.server.poll_until_all(libc::POLLERR | libc::POLLHUP);
    assert_eq!(ends.server.take_error(), libc::EPIPE);
    expect_errno(ends.server.send(b"x", libc::MSG_NOSIGNAL), libc::EPIPE);
}

fn close__after_peers_shutdown(pair: Pair) {
    let ends = connected(pair);
    let name = |sock: &Sock| (sock.local().expect("name"), sock.peer().expect("name"));
    let (client, server) = (name(&ends.client), name(&ends.server));
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    wait::until("FIN-WAIT-2 and CLOSE-WAIT", || {
        procnet::state_of(pair.client, client.0, client.1) == Some(State::FinWait2)
            && procnet::state_of(pair.server, server.0, server.1) == Some(State::CloseWait)
    });
    drop(ends.server);
    assert_eq!(ends.client.recv(&mut [0; 4], 0).expect("the end"), 0);
    wait::until("TIME-WAIT and nothing", || {
        procnet::state_of(pair.client, client.0, client.1) == Some(State::TimeWait)
            && procnet::state_of(pair.server, server.0, server.1).is_none()
    });
}

fn close__both_at_once(pair: Pair) {
    for _ in 0..50 {
        let ends = connected(pair);
        let other = thread::spawn(move || drop(ends.server));
        drop(ends.client);
        other.join();
    }
}

/// Runs `work` in a child process, and ends that.
fn in_child(work: impl FnOnce()) -> libc::pid_t {
    // SAFETY: the child only makes system calls until it ends.
    let child = unsafe { libc::fork() };
    assert!(child >= 0, "fork");
    if child == 0 {
        work();
        // SAFETY: ends the child.
        unsafe { libc::_exit(0) };
    }
    child
}

#[track_caller]
fn wait_for_child(child: libc::pid_t) {
    let mut status = 0;
    // SAFETY: our own child.
    assert_eq!(unsafe { libc::waitpid(child, &mut status, 0) }, child);
}

/// Sockets of a killed process are closed by the kernel.
fn close__exit_of_process(pair: Pair) {
    let ends = connected(pair);
    let child = in_child(|| loop {
        // SAFETY: waits for the signal that ends it.
        unsafe { libc::pause() };
    });
    drop(ends.client);
    expect_errno(
        ends.server.recv(&mut [0; 4], libc::MSG_DONTWAIT),
        libc::EAGAIN,
    );
    // SAFETY: our own child.
    unsafe { libc::kill(child, libc::SIGKILL) };
    wait_for_child(child);
    assert_eq!(ends.server.recv(&mut [0; 4], 0).expect("the end"), 0);
}

fn close__dup_keeps_it_open(pair: Pair) {
    let ends = connected(pair);
    let copy = ends.client.try_clone();
    drop(ends.client);
    Connected {
        client: copy,
        server: ends.server,
    }
    .check_alive();
}

fn close__fork_shares_it(pair: Pair) {
    let ends = connected(pair);
    let child = in_child(|| {
        let _ = ends.client.send(b"child", 0);
        let _ = ends.client.recv(&mut [0; 3], libc::MSG_WAITALL);
    });
    assert_eq!(ends.server.recv_exact(5), b"child");
    ends.server.send_all(b"bye");
    wait_for_child(child);
    ends.check_alive();
}

fn linger__zero_resets(pair: Pair) {
    let ends = connected(pair);
    let (local, remote) = (
        ends.client.local().expect("name"),
        ends.client.peer().expect("name"),
    );
    ends.client.set_linger(true, 0).expect("SO_LINGER");
    drop(ends.client);
    expect_errno(ends.server.recv(&mut [0; 4], 0), libc::ECONNRESET);
    assert_eq!(procnet::state_of(pair.client, local, remote), None);
}

/// A client whose last bytes the peer has no room for.
fn stuck(pair: Pair) -> (Connected, usize) {
    let ends = connected_with(pair, |listener, client| {
        listener
            .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 8192)
            .expect("SO_RCVBUF");
        client
            .set(libc::SOL_SOCKET, libc::SO_SNDBUF, 100_000)
            .expect("SO_SNDBUF");
    });
    let mut stream = Stream::new(4);
    let mut quiet = 0;
    while quiet < 20 {
        match ends
            .client
            .send(&stream.clone().take(10_000), libc::MSG_DONTWAIT)
        {
            Ok(count) => {
                stream.advance(count);
                quiet = 0;
            }
            Err(_) => {
                std::thread::sleep(std::time::Duration::from_millis(5));
                quiet += 1;
            }
        }
    }
    (ends, stream.position() as usize)
}

fn linger__waits_until_acknowledged(pair: Pair) {
    let (ends, total) = stuck(pair);
    ends.client.set_linger(true, 600).expect("SO_LINGER");
    let closer = thread::spawn(move || drop(ends.client));
    closer.wait_blocked_in(libc::SYS_close);
    let got = ends.server.recv_to_end();
    assert_eq!(got.len(), total);
    Stream::new(4).check(&got);
    closer.join();
}

/// After the timeout close returns, and the rest goes on behind it.
fn linger__timeout_gives_up_waiting(pair: Pair) {
    let (ends, total) = stuck(pair);
    ends.client.set_linger(true, 1).expect("SO_LINGER");
    drop(ends.client);
    let got = ends.server.recv_to_end();
    assert_eq!(got.len(), total);
    Stream::new(4).check(&got);
}

fn linger__nonblocking_does_not_wait(pair: Pair) {
    let (ends, total) = stuck(pair);
    // Linux waits here all the same: what is sure is that nothing is lost.
    ends.client.set_linger(true, 1).expect("SO_LINGER");
    ends.client.set_nonblocking(true);
    drop(ends.client);
    assert_eq!(ends.server.recv_to_end().len(), total);
}

fn listener__closed_resets_queued(pair: Pair) {
    let (listener, address) = listening(pair.server, 8);
    let clients: Vec<Sock> = (0..5)
        .map(|_| {
            let client = Sock::open(pair.client);
            client.connect(&address).expect("connect");
            client
        })
        .collect();
    clients[0].send_all(b"unread");
    wait::until("the server's side is complete", || {
        let entries = procnet::entries(pair.server);
        entries
            .iter()
            .filter(|e| e.local == address && e.state == State::Established)
            .count()
            == 5
    });
    drop(listener);
    for client in &clients {
        expect_errno(client.recv(&mut [0; 4], 0), libc::ECONNRESET);
    }
    let late = Sock::open(pair.client);
    expect_errno(late.connect(&address), libc::ECONNREFUSED);
}

fn listener__closed_spares_accepted(pair: Pair) {
    // `connected` closes the listener.
    let ends = connected(pair);
    let address = ends.server.local().expect("name");
    expect_errno(
        Sock::open(pair.client).connect(&address),
        libc::ECONNREFUSED,
    );
    ends.check_alive();
}

fn shutdown__listener(stack: Stack) {
    let (listener, address) = listening(stack, 8);
    listener
        .shutdown(libc::SHUT_WR)
        .expect("shutdown of the sending half");
    Sock::open(stack)
        .connect(&address)
        .expect("a listener has no sending half to lose");
    listener.accept().expect("accept");
    listener.shutdown(libc::SHUT_RD).expect("shutdown");
    expect_errno(listener.accept(), libc::EINVAL);
    expect_errno(Sock::open(stack).connect(&address), libc::ECONNREFUSED);
    // A port that the kernel chose is given up with the listening; another one may come.
    listener.listen(8).expect("listen anew");
    Sock::open(stack)
        .connect(&stack.local(listener.port()))
        .expect("connect");
}

fn shutdown__wakes_blocked_accept(stack: Stack) {
    let (listener, _) = listening(stack, 8);
    let acceptor = {
        let listener = listener.try_clone();
        thread::spawn(move || errno::of(&listener.accept().expect_err("accept")))
    };
    acceptor.wait_blocked_in(libc::SYS_accept4);
    listener.shutdown(libc::SHUT_RDWR).expect("shutdown");
    assert_eq!(errno::name(acceptor.join()), "EINVAL");
}

fn close__connecting_socket_vanishes(stack: Stack) {
    let _link = Veth::make();
    let sock = Sock::open_nonblocking(stack);
    let address = Veth::address_of_nobody(stack.ip, 80);
    expect_errno(sock.connect(&address), libc::EINPROGRESS);
    let local = sock.local().expect("name");
    assert_eq!(
        procnet::state_of(stack, local, address),
        Some(State::SynSent)
    );
    drop(sock);
    assert_eq!(procnet::state_of(stack, local, address), None);
}

/// A closed socket whose peer never closes does not stay for ever.
fn fin_wait2__orphan_times_out(stack: Stack) {
    ns::isolate();
    let Some(setting) = ns::find_sysctl(stack, "tcp_fin_timeout") else {
        ktap::skip("no tcp_fin_timeout")
    };
    ns::set_sysctl(&setting, "1");
    let ends = connected(Pair {
        client: stack,
        server: Stack::builtin(stack.ip),
    });
    let (local, remote) = (
        ends.client.local().expect("name"),
        ends.client.peer().expect("name"),
    );
    drop(ends.client);
    assert_eq!(ends.server.recv(&mut [0; 4], 0).expect("the end"), 0);
    wait::until("the orphan is gone", || {
        procnet::state_of(stack, local, remote).is_none()
    });
    assert_eq!(ends.server.send(b"?", libc::MSG_NOSIGNAL).expect("send"), 1);
    ends.server.poll_until_all(libc::POLLERR | libc::POLLHUP);
}

/// A client that has closed and whose FIN is acknowledged, and the server, which has not; their addresses.
fn fin_wait2_orphan(stack: Stack) -> (Sock, SocketAddr, SocketAddr) {
    ns::isolate();
    let ends = connected(Pair {
        client: stack,
        server: Stack::builtin(stack.ip),
    });
    let (local, remote) = (
        ends.client.local().expect("name"),
        ends.client.peer().expect("name"),
    );
    drop(ends.client);
    assert_eq!(ends.server.recv(&mut [0; 4], 0).expect("the end"), 0);
    wait::until("FIN-WAIT-2", || {
        procnet::state_of(stack, local, remote) == Some(State::FinWait2)
    });
    (ends.server, local, remote)
}

/// An orphan in FIN-WAIT-2 is a small object with a timer, no socket.
fn fin_wait2__orphan_is_small(stack: Stack) {
    let (_server, local, remote) = fin_wait2_orphan(stack);
    let entry = procnet::entries(stack)
        .into_iter()
        .find(|e| e.local == local && e.remote == remote)
        .expect("an entry");
    assert_eq!((entry.state, entry.timer), (State::FinWait2, 3));
    assert_eq!((entry.inode, entry.rest.len()), (0, 0));
    // Hundredths of a second, of the 60 that tcp_fin_timeout is.
    assert!(
        (1..=6000).contains(&entry.timer_ticks),
        "{}",
        entry.timer_ticks
    );
    expect_errno(Sock::open(stack).bind(&local), libc::EADDRINUSE);
}

fn fin_wait2__orphan_hears_the_fin(stack: Stack) {
    let (server, local, remote) = fin_wait2_orphan(stack);
    drop(server);
    wait::until("TIME-WAIT", || {
        procnet::state_of(stack, local, remote) == Some(State::TimeWait)
    });
    let builtin = Stack::builtin(stack.ip);
    wait::until("the server's side is gone", || {
        procnet::state_of(builtin, remote, local).is_none()
    });
}

/// Data for a program that is gone is reset, and that is the end (RFC 1122 4.2.2.13).
fn fin_wait2__orphan_refuses_data(stack: Stack) {
    let (server, local, remote) = fin_wait2_orphan(stack);
    server.send_all(b"still there?");
    server.poll_until_all(libc::POLLERR | libc::POLLHUP);
    assert_eq!(server.take_error(), libc::EPIPE);
    assert_eq!(procnet::state_of(stack, local, remote), None);
}

/// Connections from here to the other end of a link that is down now, with something on its way.
fn cut_off(stack: Stack, count: usize) -> (Veth, Vec<Sock>, Vec<Sock>) {
    let link = Veth::make();
    let address = Veth::address_b(stack.ip, 5001);
    let (listener, _) = link.b.run(|| listening_at(stack, &address, 64));
    let (mut clients, mut servers) = (Vec::new(), Vec::new());
    for _ in 0..count {
        let client = Sock::open(stack);
        client.connect(&address).expect("connect");
        clients.push(client);
        servers.push(listener.accept().expect("accept").0);
    }
    link.b.run(|| ns::sh("ip link set vb down"));
    (link, clients, servers)
}

/// How many sockets in FIN-WAIT-1 there are.
fn orphans(stack: Stack) -> usize {
    procnet::entries(stack)
        .iter()
        .filter(|e| e.state == State::FinWait1)
        .count()
}

/// tcp_max_orphans. The built-in TCP has one for the whole machine, and looks ten times a second.
fn orphan__too_many_are_reset(stack: Stack) {
    if oxtcp_selftests::stack::builtin_only() {
        ktap::skip("the machine's setting");
    }
    let (_link, mut clients, _servers) = cut_off(stack, 6);
    let Some(setting) = ns::find_sysctl(stack, "tcp_max_orphans") else {
        ktap::skip("no tcp_max_orphans")
    };
    ns::set_sysctl(&setting, "4");
    clients.truncate(5);
    assert_eq!(orphans(stack), 1);
    drop(clients);
    assert_eq!(orphans(stack), 4);
    // Those that are there go when their timers find that they are too many.
    ns::set_sysctl(&setting, "1");
    wait::until("one is left", || orphans(stack) == 1);
}

/// tcp_orphan_retries.
fn orphan__is_given_up(stack: Stack) {
    let (_link, clients, _servers) = cut_off(stack, 2);
    let Some(setting) = ns::find_sysctl(stack, "tcp_orphan_retries") else {
        ktap::skip("no tcp_orphan_retries")
    };
    ns::set_sysctl(&setting, "1");
    drop(clients);
    assert_eq!(orphans(stack), 2);
    wait::until("they are given up", || orphans(stack) == 0);
}

/// Leaves the server's address in TIME-WAIT on the server's side. Returns the client's address too.
fn time_wait_at(pair: Pair, listener: &Sock, address: SocketAddr) -> SocketAddr {
    let client = Sock::open(pair.client);
    client.connect(&address).expect("connect");
    let from = client.local().expect("name");
    let (server, _) = listener.accept().expect("accept");
    drop(server);
    assert_eq!(client.recv(&mut [0; 4], 0).expect("the end"), 0);
    drop(client);
    wait::until("the server's side is in TIME-WAIT", || {
        procnet::state_of(pair.server, address, from) == Some(State::TimeWait)
    });
    from
}

fn time_wait__is_listed(pair: Pair) {
    ns::isolate();
    let (listener, address) = listening(pair.server, 1);
    let from = time_wait_at(pair, &listener, address);
    let entry = procnet::entries(pair.server)
        .into_iter()
        .find(|e| e.local == address && e.remote == from)
        .expect("an entry");
    assert_eq!(
        (entry.state, entry.timer),
        (State::TimeWait, 3),
        "timer 3 is TIME-WAIT's"
    );
    assert!(entry.timer_ticks > 0);
    assert_eq!(entry.inode, 0);
}

fn time_wait__other_side_is_gone(pair: Pair) {
    ns::isolate();
    let (listener, address) = listening(pair.server, 1);
    let from = time_wait_at(pair, &listener, address);
    wait::until("the client's side is gone", || {
        procnet::state_of(pair.client, from, address).is_none()
    });
}

/// RFC 9293 3.6.1, RFC 6191: a new SYN from the same address opens a new connection out of TIME-WAIT.
fn time_wait__new_syn_reopens(pair: Pair) {
    ns::isolate();
    let (listener, address) = listening(pair.server, 1);
    let from = time_wait_at(pair, &listener, address);
    wait::until("the client's side is gone", || {
        procnet::state_of(pair.client, from, address).is_none()
    });
    let client = Sock::open(pair.client);
    client.set_reuseaddr();
    client.bind(&from).expect("bind to the old port");
    client.connect(&address).expect("connect into TIME-WAIT");
    let (server, again) = listener.accept().expect("accept");
    assert_eq!(again, from);
    Connected { client, server }.check_alive();
}

/// A server started anew while its old connections are in TIME-WAIT needs SO_REUSEADDR.
fn time_wait__rebind(pair: Pair) {
    ns::isolate();
    let address = pair.server.local(5001);
    let listener = Sock::open(pair.server);
    listener.set_reuseaddr();
    listener.bind(&address).expect("bind");
    listener.listen(1).expect("listen");
    time_wait_at(pair, &listener, address);
    drop(listener);
    expect_errno(Sock::open(pair.server).bind(&address), libc::EADDRINUSE);
    let again = Sock::open(pair.server);
    again.set_reuseaddr();
    again.bind(&address).expect("bind with SO_REUSEADDR");
    again.listen(1).expect("listen");
    let client = Sock::open(pair.client);
    client.connect(&address).expect("connect");
    let (server, _) = again.accept().expect("accept");
    Connected { client, server }.check_alive();
}

/// One's TIME-WAIT keeps the other off the port: its segments would reach a stranger.
fn time_wait__reserves_the_port(first: Stack, second: Stack) {
    ns::isolate();
    let (listener, address) = listening_at(first, &first.local(5001), 1);
    time_wait_at(
        Pair {
            client: first,
            server: first,
        },
        &listener,
        address,
    );
    drop(listener);
    expect_errno(Sock::open(second).bind(&address), libc::EADDRINUSE);
}

/// Both FINs under way at once: both sides end in TIME-WAIT.
fn time_wait__after_simultaneous_close(stack: Stack) {
    let link = Veth::make();
    let address = Veth::address_b(stack.ip, 5001);
    let (listener, _) = link.b.run(|| listening_at(stack, &address, 1));
    let client = Sock::open(stack);
    client.connect(&address).expect("connect");
    let (server, from) = listener.accept().expect("accept");
    ns::sh_or_skip("tc qdisc add dev va root netem delay 300ms");
    link.b
        .run(|| ns::sh("tc qdisc add dev vb root netem delay 300ms"));
    server.shutdown(libc::SHUT_WR).expect("shutdown");
    client.shutdown(libc::SHUT_WR).expect("shutdown");
    if server.poll_now(libc::POLLRDHUP) != 0 || client.poll_now(libc::POLLRDHUP) != 0 {
        ktap::skip("the machine was too slow for the FINs to cross");
    }
    for sock in [&client, &server] {
        assert_eq!(sock.recv(&mut [0; 4], 0).expect("the end"), 0);
    }
    drop((client, server));
    wait::until("TIME-WAIT here", || {
        procnet::state_of(stack, from, address) == Some(State::TimeWait)
    });
    link.b.run(|| {
        wait::until("TIME-WAIT there", || {
            procnet::state_of(stack, address, from) == Some(State::TimeWait)
        });
    });
}
