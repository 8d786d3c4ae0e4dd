// SPDX-License-Identifier: GPL-2.0
//! SO_REUSEPORT: listeners that share a port, and who takes over what one of them leaves when it is closed.

use std::net::SocketAddr;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::Arc;
use std::time::Duration;

use oxtcp_selftests::errno::expect_one_of;
use oxtcp_selftests::{
    cases, expect_errno, ktap, ns, procnet, thread, wait, Pair, Sock, Stack, Suite,
};

const PORT: u16 = 5001;

fn main() -> ExitCode {
    let mut suite = Suite::from_args("reuseport");
    cases!(suite.stacks:
        bind__both_have_it, bind__not_both_have_it, bind__of_another_user, bind__beside_reuseaddr,
        bind__flag_is_cleared, bind__connections_share_it, listen__beside_one_without, option__is_told,
        listen__again_after_shutdown,
    );
    cases!(suite.neighbours: bind__of_the_other_tcp);
    cases!(suite.pairs:
        group__connections_are_spread, group__who_is_closed_gets_none, group__many_members,
        migrate__accept_queue, migrate__off_is_reset, migrate__half_open, migrate__half_open_syn_ack_lost,
        migrate__nobody_is_left, migrate__under_load,
    );
    suite.run()
}

fn set_reuseport(sock: &Sock, on: bool) {
    sock.set(libc::SOL_SOCKET, libc::SO_REUSEPORT, i32::from(on))
        .expect("SO_REUSEPORT");
}

fn open(stack: Stack) -> Sock {
    let sock = Sock::open(stack);
    set_reuseport(&sock, true);
    sock
}

fn bound(stack: Stack) -> Sock {
    let sock = open(stack);
    sock.bind(&stack.local(PORT)).expect("bind");
    sock
}

fn listening(stack: Stack) -> Sock {
    let sock = bound(stack);
    sock.listen(256).expect("listen");
    sock
}

#[track_caller]
fn is_refused(stack: Stack, sock: &Sock) {
    expect_errno(sock.bind(&stack.local(PORT)), libc::EADDRINUSE);
}

fn bind__both_have_it(stack: Stack) {
    ns::isolate();
    let one = bound(stack);
    let two = bound(stack);
    one.listen(1).expect("listen");
    let three = bound(stack);
    two.listen(1).expect("the second one listens");
    three.listen(1).expect("the third one listens");
    three.listen(2).expect("and again");
    drop((one, two, three));
    // All is given back.
    let lone = Sock::open(stack);
    lone.bind(&stack.local(PORT)).expect("bind without");
    lone.listen(1).expect("listen without");
}

fn bind__not_both_have_it(stack: Stack) {
    ns::isolate();
    let with = bound(stack);
    is_refused(stack, &Sock::open(stack));
    with.listen(1).expect("listen");
    is_refused(stack, &Sock::open(stack));
    drop(with);
    let without = Sock::open(stack);
    without.bind(&stack.local(PORT)).expect("bind");
    is_refused(stack, &open(stack));
    without.listen(1).expect("listen");
    is_refused(stack, &open(stack));
}

fn bind__of_another_user(stack: Stack) {
    ns::isolate();
    let _root = listening(stack);
    // SAFETY: plain numbers; the test is a process of its own, with one thread.
    if unsafe { libc::setresuid(65534, 65534, 65534) } != 0 {
        ktap::skip("needs to start as root");
    }
    is_refused(stack, &open(stack));
}

/// SO_REUSEADDR lets in while nobody listens, whoever has the other flag too. Who came without that takes it from all.
fn bind__beside_reuseaddr(stack: Stack) {
    ns::isolate();
    let both = open(stack);
    both.set_reuseaddr();
    both.bind(&stack.local(PORT)).expect("bind");
    let address = Sock::open(stack);
    address.set_reuseaddr();
    address.bind(&stack.local(PORT)).expect("bind by address");
    is_refused(stack, &open(stack));
    both.listen(1).expect("listen");
    expect_errno(address.listen(1), libc::EADDRINUSE);
}

/// What counts is the flag at the time of bind(); but who is alone may set it later.
fn bind__flag_is_cleared(stack: Stack) {
    ns::isolate();
    let one = listening(stack);
    let two = listening(stack);
    set_reuseport(&two, false);
    let three = listening(stack);
    drop((one, two, three));
    let lone = Sock::open(stack);
    lone.bind(&stack.local(PORT)).expect("bind");
    set_reuseport(&lone, true);
    bound(stack);
}

/// A listener's connections do not keep others from its port, whoever closes first.
fn bind__connections_share_it(stack: Stack) {
    ns::isolate();
    let listener = listening(stack);
    let client = Sock::open(stack);
    client.connect(&stack.local(PORT)).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    drop(listener);
    let next = listening(stack);
    is_refused(stack, &Sock::open(stack));
    // The server's end is in TIME-WAIT then.
    drop(server);
    assert_eq!(client.recv_to_end(), b"");
    drop((client, next));
    listening(stack);
}

/// A socket that listens on the port without the flag shares it with nobody.
fn listen__beside_one_without(stack: Stack) {
    ns::isolate();
    let one = bound(stack);
    let two = bound(stack);
    set_reuseport(&one, false);
    one.listen(1).expect_err("the other one is there");
    set_reuseport(&one, true);
    drop(two);
    let one = match stack.ours {
        // Set again by who is alone.
        true => {
            set_reuseport(&one, true);
            one
        }
        false => one,
    };
    one.listen(1).expect("alone");
}

fn option__is_told(stack: Stack) {
    let sock = Sock::open(stack);
    let told = |sock: &Sock| sock.get(libc::SOL_SOCKET, libc::SO_REUSEPORT).expect("get");
    assert_eq!(told(&sock), 0);
    set_reuseport(&sock, true);
    assert_eq!(told(&sock), 1);
    set_reuseport(&sock, false);
    assert_eq!(told(&sock), 0);
}

fn listen__again_after_shutdown(stack: Stack) {
    ns::isolate();
    let (one, two) = (listening(stack), listening(stack));
    one.shutdown(libc::SHUT_RDWR).expect("shutdown");
    connect_to(Stack::builtin(stack.ip), stack.local(PORT));
    two.accept().expect("accept");
    one.listen(256).expect("listen again");
    drop(two);
    connect_to(Stack::builtin(stack.ip), stack.local(PORT));
    one.accept().expect("accept");
}

/// The two TCPs do not share a port.
fn bind__of_the_other_tcp(first: Stack, second: Stack) {
    if first.ours == second.ours {
        ktap::skip("one TCP");
    }
    ns::isolate();
    let _one = listening(first);
    is_refused(second, &open(second));
}

#[track_caller]
fn connect_to(stack: Stack, address: SocketAddr) -> Sock {
    let sock = Sock::open(stack);
    sock.connect(&address).expect("connect");
    sock
}

/// How many connections wait in each, taken out.
fn drained(listener: &Sock) -> Vec<Sock> {
    listener.set_nonblocking(true);
    std::iter::from_fn(|| listener.accept().ok())
        .map(|(sock, _)| sock)
        .collect()
}

/// How many connections wait in the listeners, in all.
fn waiting(stack: Stack) -> u64 {
    procnet::entries(stack)
        .iter()
        .filter(|entry| entry.state == procnet::State::Listen && entry.local.port() == PORT)
        .map(|entry| entry.rx_queue)
        .sum()
}

fn group__connections_are_spread(pair: Pair) {
    const CLIENTS: usize = 200;
    ns::isolate();
    let listeners: Vec<Sock> = (0..4).map(|_| listening(pair.server)).collect();
    let clients: Vec<Sock> = (0..CLIENTS)
        .map(|_| connect_to(pair.client, pair.server.local(PORT)))
        .collect();
    wait::until("all wait", || waiting(pair.server) == CLIENTS as u64);
    let counts: Vec<usize> = listeners.iter().map(|l| drained(l).len()).collect();
    ktap::note(&format!("{counts:?}"));
    assert_eq!(counts.iter().sum::<usize>(), CLIENTS);
    // Of 200 at random fewer than 15 come to one of four once in 10^9 runs.
    assert!(counts.iter().all(|count| *count >= 15), "{counts:?}");
    drop(clients);
}

fn group__who_is_closed_gets_none(pair: Pair) {
    ns::isolate();
    let mut listeners: Vec<Sock> = (0..5).map(|_| listening(pair.server)).collect();
    // From the middle, the beginning, the end.
    for at in [2, 0, 2, 1] {
        drop(listeners.remove(at));
        let clients: Vec<Sock> = (0..20)
            .map(|_| connect_to(pair.client, pair.server.local(PORT)))
            .collect();
        wait::until("all wait", || waiting(pair.server) == 20);
        let accepted: usize = listeners.iter().map(|l| drained(l).len()).sum();
        assert_eq!(accepted, 20, "with {} listeners", listeners.len());
        drop(clients);
    }
    let new = listening(pair.server);
    drop(listeners);
    connect_to(pair.client, pair.server.local(PORT));
    new.accept().expect("accept");
    drop(new);
    let late = Sock::open(pair.client);
    expect_errno(late.connect(&pair.server.local(PORT)), libc::ECONNREFUSED);
}

/// More than Linux's first group holds (128), opened and closed.
fn group__many_members(pair: Pair) {
    ns::isolate();
    for _ in 0..2 {
        let listeners: Vec<Sock> = (0..300).map(|_| listening(pair.server)).collect();
        let clients: Vec<Sock> = (0..100)
            .map(|_| connect_to(pair.client, pair.server.local(PORT)))
            .collect();
        wait::until("all wait", || waiting(pair.server) == 100);
        let accepted: usize = listeners.iter().map(|l| drained(l).len()).sum();
        assert_eq!(accepted, 100);
        drop(clients);
    }
}

fn set_migrate(stack: Stack, on: bool) {
    let path = ns::find_sysctl(stack, "tcp_migrate_req").expect("tcp_migrate_req");
    ns::set_sysctl(&path, if on { "1" } else { "0" });
}

/// A counter of the server's TCP.
fn counter(stack: Stack, name: &str) -> u64 {
    let file = if stack.ours { "oxtcp_stat" } else { "netstat" };
    let path = format!("/proc/thread-self/net/{file}");
    procnet::stat(&std::fs::read_to_string(path).expect(file), name)
}

/// Sends a number from each and hears another back, from whoever has been accepted.
fn talk(clients: &[Sock], servers: &[Sock]) {
    for (number, client) in clients.iter().enumerate() {
        client.set_nonblocking(false);
        client.send_all(&(number as u32).to_le_bytes());
    }
    for server in servers {
        let bytes = server.recv_exact(4);
        let number = u32::from_le_bytes(bytes.try_into().expect("four bytes"));
        server.send_all(&(!number).to_le_bytes());
    }
    for (number, client) in clients.iter().enumerate() {
        assert_eq!(client.recv_exact(4), (!(number as u32)).to_le_bytes());
    }
}

fn migrate__accept_queue(pair: Pair) {
    const CLIENTS: usize = 40;
    ns::isolate();
    set_migrate(pair.server, true);
    let (one, two) = (listening(pair.server), listening(pair.server));
    let clients: Vec<Sock> = (0..CLIENTS)
        .map(|_| connect_to(pair.client, pair.server.local(PORT)))
        .collect();
    wait::until("all wait", || waiting(pair.server) == CLIENTS as u64);
    let ready = two.poll_now(libc::POLLIN);
    drop(one);
    assert_eq!(waiting(pair.server), CLIENTS as u64);
    assert_eq!(two.poll_now(libc::POLLIN) | ready, libc::POLLIN);
    let servers = drained(&two);
    assert_eq!(servers.len(), CLIENTS);
    let moved = counter(pair.server, "TCPMigrateReqSuccess");
    assert!((1..CLIENTS as u64).contains(&moved), "{moved}");
    talk(&clients, &servers);
    // What was moved goes on when that one is closed too, and there is another.
    let three = listening(pair.server);
    drop(two);
    let last = connect_to(pair.client, pair.server.local(PORT));
    let (server, _) = three.accept().expect("accept");
    talk(&[last], &[server]);
    talk(&clients, &servers);
}

fn migrate__off_is_reset(pair: Pair) {
    const CLIENTS: usize = 40;
    ns::isolate();
    set_migrate(pair.server, false);
    let (one, two) = (listening(pair.server), listening(pair.server));
    let clients: Vec<Sock> = (0..CLIENTS)
        .map(|_| connect_to(pair.client, pair.server.local(PORT)))
        .collect();
    wait::until("all wait", || waiting(pair.server) == CLIENTS as u64);
    drop(one);
    let servers = drained(&two);
    let (alive, reset): (Vec<Sock>, Vec<Sock>) = clients
        .into_iter()
        .partition(|client| client.poll_now(libc::POLLIN) == 0);
    assert_eq!(alive.len(), servers.len());
    assert!(!reset.is_empty() && !alive.is_empty(), "{}", alive.len());
    for client in reset {
        client.poll_until_all(libc::POLLERR | libc::POLLHUP);
        assert_eq!(client.take_error(), libc::ECONNRESET);
    }
    talk(&alive, &servers);
    assert_eq!(counter(pair.server, "TCPMigrateReqSuccess"), 0);
}

const ACKS: &str = "tcp dport 5001 tcp flags & (syn|ack) == ack";
const SYN_ACKS: &str = "tcp sport 5001 tcp flags & (syn|ack) == (syn|ack)";

/// Half-open connections of two listeners, of which the first is closed; a rule drops a part of the handshakes until then.
fn half_open(pair: Pair, matching: &str) -> (Vec<Sock>, Sock) {
    const CLIENTS: u64 = 20;
    ns::isolate();
    set_migrate(pair.server, true);
    ns::nft_input(&[&format!("{matching} counter name dropped drop")]);
    let (one, two) = (listening(pair.server), listening(pair.server));
    let clients: Vec<Sock> = (0..CLIENTS)
        .map(|_| {
            let client = Sock::open_nonblocking(pair.client);
            match client.connect(&pair.server.local(PORT)) {
                Ok(()) => {}
                result => expect_one_of(result, &[libc::EINPROGRESS]),
            }
            client
        })
        .collect();
    wait::until("the rule has dropped a segment of each", || {
        ns::nft_packets("dropped") >= CLIENTS
    });
    drop(one);
    ns::nft_clear();
    (clients, two)
}

/// All clients come in, by the listener that is left.
fn all_come_in(pair: Pair, clients: Vec<Sock>, listener: Sock) {
    for client in &clients {
        client.poll_wait(libc::POLLOUT);
        assert_eq!(client.take_error(), 0);
    }
    let count = clients.len();
    let accepting = thread::spawn(move || {
        (0..count)
            .map(|_| listener.accept().expect("accept").0)
            .collect::<Vec<Sock>>()
    });
    let talking: Vec<_> = clients
        .iter()
        .map(|client| {
            client.set_nonblocking(false);
            client.send(b"here", libc::MSG_NOSIGNAL)
        })
        .collect();
    assert!(talking.iter().all(|sent| matches!(sent, Ok(4))));
    let servers = accepting.join();
    for server in &servers {
        assert_eq!(server.recv_exact(4), b"here");
    }
    talk(&clients, &servers);
    assert!(counter(pair.server, "TCPMigrateReqSuccess") > 0);
}

/// The clients believe themselves connected.
fn migrate__half_open(pair: Pair) {
    let (clients, listener) = half_open(pair, ACKS);
    all_come_in(pair, clients, listener);
}

/// The SYN-ACK comes again, or the SYN.
fn migrate__half_open_syn_ack_lost(pair: Pair) {
    let (clients, listener) = half_open(pair, SYN_ACKS);
    all_come_in(pair, clients, listener);
}

/// Without another listener it is as without the setting.
fn migrate__nobody_is_left(pair: Pair) {
    ns::isolate();
    set_migrate(pair.server, true);
    let (one, two) = (listening(pair.server), listening(pair.server));
    let client = connect_to(pair.client, pair.server.local(PORT));
    wait::until("it waits", || waiting(pair.server) == 1);
    drop((one, two));
    client.poll_until_all(libc::POLLERR | libc::POLLHUP);
    assert_eq!(client.take_error(), libc::ECONNRESET);
    assert!(counter(pair.server, "TCPMigrateReqFailure") >= 1);
    // A later listener is another group's.
    let next = listening(pair.server);
    connect_to(pair.client, pair.server.local(PORT));
    next.accept().expect("accept");
}

/// A worker that accepts and answers until it is told to stop: then it closes its listener as it is.
fn worker(stack: Stack, stop: Arc<AtomicBool>) -> thread::Worker<u64> {
    let listener = listening(stack);
    listener.set_nonblocking(true);
    thread::spawn(move || {
        let mut served = 0;
        while !stop.load(Ordering::Relaxed) {
            match listener.accept() {
                Ok((sock, _)) => {
                    sock.set_nonblocking(false);
                    let mut bytes = [0; 4];
                    let heard = sock.recv(&mut bytes, libc::MSG_WAITALL);
                    let said = sock.send(&bytes, libc::MSG_NOSIGNAL);
                    // In Linux a connection that is made as its listener is closed is shut down from the beginning.
                    let whole = matches!((&heard, &said), (Ok(4), Ok(4)));
                    assert!(whole || !stack.ours, "heard {heard:?}, said {said:?}");
                    served += u64::from(whole);
                }
                Err(_) => std::thread::sleep(Duration::from_millis(1)),
            }
        }
        served
    })
}

/// Asks once; whether there was an answer.
fn asks(stack: Stack, address: SocketAddr, bytes: [u8; 4]) -> bool {
    let client = Sock::open(stack);
    let mut answer = [0; 4];
    let answered = client.connect(&address).is_ok()
        && matches!(client.send(&bytes, libc::MSG_NOSIGNAL), Ok(4))
        && matches!(client.recv(&mut answer, libc::MSG_WAITALL), Ok(4));
    answered && answer == bytes
}

/// Workers come and go; no client notices. (In Linux one whose handshake ends as its listener is closed may be reset.)
fn migrate__under_load(pair: Pair) {
    const RELOADS: usize = 20;
    ns::isolate();
    set_migrate(pair.server, true);
    let end = Arc::new(AtomicBool::new(false));
    let done = Arc::new(AtomicU64::new(0));
    let address = pair.server.local(PORT);
    let start = || {
        let stop = Arc::new(AtomicBool::new(false));
        (worker(pair.server, Arc::clone(&stop)), stop)
    };
    let mut workers = std::collections::VecDeque::from([start(), start()]);
    let clients: Vec<_> = (0..4u32)
        .map(|id| {
            let (end, done) = (Arc::clone(&end), Arc::clone(&done));
            thread::spawn(move || {
                let (mut asked, mut answered) = (0u64, 0u64);
                while !end.load(Ordering::Relaxed) {
                    let bytes = ((id << 24) | asked as u32).to_le_bytes();
                    answered += u64::from(asks(pair.client, address, bytes));
                    asked += 1;
                    done.fetch_add(1, Ordering::Relaxed);
                }
                (asked, answered)
            })
        })
        .collect();
    let mut served = 0;
    for _ in 0..RELOADS {
        let seen = done.load(Ordering::Relaxed);
        wait::until("clients come and go", || {
            done.load(Ordering::Relaxed) >= seen + 8
        });
        workers.push_back(start());
        let (old, stop) = workers.pop_front().expect("a worker");
        stop.store(true, Ordering::Relaxed);
        served += old.join();
    }
    end.store(true, Ordering::Relaxed);
    let counts = clients.into_iter().map(thread::Worker::join);
    let (asked, answered) = counts.fold((0, 0), |all, one| (all.0 + one.0, all.1 + one.1));
    for (worker, stop) in workers {
        stop.store(true, Ordering::Relaxed);
        served += worker.join();
    }
    let moved = counter(pair.server, "TCPMigrateReqSuccess");
    ktap::note(&format!(
        "{asked} asked, {answered} answered, {served} served, {moved} moved"
    ));
    if pair.server.ours {
        assert_eq!((answered, served), (asked, asked));
    }
    assert!(answered > 0);
}
