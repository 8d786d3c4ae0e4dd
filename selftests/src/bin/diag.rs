// SPDX-License-Identifier: GPL-2.0
//! sock_diag: sockets over netlink, as the built-in TCP tells of its own, and SOCK_DESTROY.

use std::collections::HashSet;
use std::os::fd::AsRawFd;
use std::process::ExitCode;

use oxtcp_selftests::diag::{self, Diag, Request, Told};
use oxtcp_selftests::errno::expect_errno;
use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::procnet::{self, State};
use oxtcp_selftests::{
    cases, connected, errno, ktap, listening, stack, thread, wait, Ip, Pair, Sock, Stack, Suite,
};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("diag");
    cases!(suite.stacks:
        dump__same_as_proc, dump__listener, dump__states_and_ports, dump__many, dump__under_change,
        dump__left_half_way, find__exact, destroy__needs_privilege, destroy__time_wait, destroy__half_open,
    );
    cases!(suite.stacks: dump__queues_of_a_listener);
    cases!(suite.pairs: dump__connection, destroy__connection);
    suite.once("request__nonsense", request__nonsense);
    suite.once("request__of_both_versions", request__of_both_versions);
    suite.once("destroy__orphan", destroy__orphan);
    suite.once("destroy__listener", destroy__listener);
    suite.once("destroy__not_yet_accepted", destroy__not_yet_accepted);
    suite.once("destroy__under_traffic", destroy__under_traffic);
    suite.run()
}

fn inode(sock: &Sock) -> u32 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata(format!("/proc/self/fd/{}", sock.as_raw_fd()))
        .expect("the descriptor")
        .ino() as u32
}

/// The one with this local end and state.
#[track_caller]
fn one(told: &[Told], sock: &Sock, state: State) -> Told {
    let local = sock.local().expect("name");
    let found: Vec<&Told> = told
        .iter()
        .filter(|t| t.local == local && t.state == state as u8)
        .collect();
    assert_eq!(found.len(), 1, "{local} {state:?} in {told:?}");
    found[0].clone()
}

/// A client's first half of a handshake, of which the server answers to nobody.
fn half_open(stack: Stack) -> (Veth, Sock, Sock) {
    let link = Veth::make();
    let address = Veth::address_a(stack.ip, 4000);
    let listener = Sock::open(stack);
    listener.bind(&address).expect("bind");
    listener.listen(16).expect("listen");
    // The SYN-ACK never gets there.
    let client = link.b.run(|| {
        ns::nft_input(&["tcp flags & (syn|ack) == syn|ack drop"]);
        let client = Sock::open_nonblocking(Stack::builtin(stack.ip));
        expect_errno(client.connect(&address), libc::EINPROGRESS);
        client
    });
    wait::until("a half-open connection", || {
        let entries = procnet::entries(stack);
        entries.iter().any(|e| e.state == State::SynRecv)
    });
    (link, listener, client)
}

/// A connection on loopback, whose client has closed first: it is in TIME-WAIT.
fn time_wait(stack: Stack) {
    let ends = connected(Pair {
        client: stack,
        server: stack,
    });
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    assert_eq!(ends.server.recv_to_end(), b"");
    drop(ends.server);
    assert_eq!(ends.client.recv_to_end(), b"");
    drop(ends.client);
    wait::until("TIME-WAIT", || {
        let entries = procnet::entries(stack);
        entries.iter().any(|e| e.state == State::TimeWait)
    });
}

/// What `/proc` lists, and no more: sockets of all kinds.
fn dump__same_as_proc(stack: Stack) {
    let (_link, _listener, _client) = half_open(stack);
    let ends = connected(Pair {
        client: stack,
        server: stack,
    });
    time_wait(stack);
    let told = diag::all(stack);
    let mut of_diag: Vec<_> = told
        .iter()
        .map(|t| (t.local, t.remote, t.state, u64::from(t.inode)))
        .collect();
    let mut of_proc: Vec<_> = procnet::entries(stack)
        .iter()
        .map(|e| (e.local, e.remote, e.state as u8, e.inode))
        .collect();
    of_diag.sort();
    of_proc.sort();
    assert_eq!(of_diag, of_proc);
    let states: HashSet<u8> = told.iter().map(|t| t.state).collect();
    for state in [
        State::Listen,
        State::Established,
        State::SynRecv,
        State::TimeWait,
    ] {
        assert!(states.contains(&(state as u8)), "{state:?} in {states:?}");
    }
    for t in &told {
        match t.state {
            s if s == State::TimeWait as u8 => assert_eq!((t.timer, t.inode), (3, 0)),
            s if s == State::SynRecv as u8 => assert_eq!((t.timer, t.inode), (1, 0)),
            _ => {}
        }
    }
    drop(ends);
}

/// What a listener has dropped, and how full its queues were, in an attribute of ours.
fn dump__queues_of_a_listener(stack: Stack) {
    if !stack.ours {
        ktap::skip("the built-in TCP does not tell it");
    }
    ns::isolate();
    let (listener, address) = listening(stack, 2);
    let words = || {
        let request = Request::all(stack).with(diag::INFO);
        let told = Diag::open().dump(&request).expect("a dump");
        let told = one(&told, &listener, State::Listen);
        let words: Vec<u64> = told.attributes[&diag::QUEUES]
            .chunks(8)
            .map(|word| u64::from_ne_bytes(word.try_into().expect("eight bytes")))
            .collect();
        words
    };
    let connect = || {
        let client = Sock::open_nonblocking(Stack::builtin(stack.ip));
        let _ = client.connect(&address);
        client
    };
    let first: Vec<Sock> = (0..2).map(|_| connect()).collect();
    wait::until("two wait", || words()[4] == 2);
    // Half open now, at most, and at the most, by the backlog; the same of those that wait; asked for.
    assert_eq!(words()[4..9], [2, 3, 2, 0, 2]);
    assert_eq!(words()[10..], [0; 10]);
    let more: Vec<Sock> = (0..3).map(|_| connect()).collect();
    wait::until("SYNs are dropped", || words()[12] >= 2);
    let full = words();
    assert_eq!((full[0], full[1], full[3]), (0, 3, 0), "{full:?}");
    assert_eq!(full[4..9], [3, 3, 3, 0, 2], "{full:?}");
    // By no other cause.
    assert_eq!(
        (&full[10..12], &full[13..]),
        (&[0; 2][..], &[0; 7][..]),
        "{full:?}"
    );
    listener.accept().expect("accept");
    drop((first, more));
    // A request without INFO is not told, and a listener that begins anew begins at 0.
    let plain = Diag::open().dump(&Request::all(stack)).expect("a dump");
    let plain = one(&plain, &listener, State::Listen);
    assert!(!plain.attributes.contains_key(&diag::QUEUES));
    listener.shutdown(libc::SHUT_RD).expect("shutdown");
    listener.listen(7).expect("listen");
    let anew = words();
    assert_eq!((anew[5], anew[6], anew[8]), (8, 0, 7), "{anew:?}");
    assert_eq!(anew[10..], [0; 10]);
}

/// Recv-Q of a listener is how many wait, Send-Q the backlog.
fn dump__listener(stack: Stack) {
    ns::isolate();
    let (listener, address) = listening(stack, 7);
    let client = Sock::open(stack);
    client.connect(&address).expect("connect");
    wait::until("it waits for accept()", || {
        one(&diag::all(stack), &listener, State::Listen).recv_queue == 1
    });
    let told = one(&diag::all(stack), &listener, State::Listen);
    assert_eq!((told.send_queue, told.remote), (7, stack.any(0)));
    assert_eq!(told.inode, inode(&listener));
}

/// A connection's numbers, names and cookie.
fn dump__connection(pair: Pair) {
    ns::isolate();
    let ends = connected(pair);
    ends.client.send_all(b"hello");
    wait::until("it came", || ends.server.readable() == 5);
    for (stack, sock) in [(pair.client, &ends.client), (pair.server, &ends.server)] {
        let told = one(&diag::all(stack), sock, State::Established);
        assert_eq!(told.remote, sock.peer().expect("name"));
        assert_eq!((told.inode, told.uid), (inode(sock), 0));
        let mut cookie = [0; 8];
        let len = sock.get_bytes(libc::SOL_SOCKET, libc::SO_COOKIE, &mut cookie);
        assert_eq!(len.expect("SO_COOKIE"), 8);
        assert_eq!(told.cookie, u64::from_ne_bytes(cookie));
        let mut info = vec![0; 512];
        let len = sock
            .get_bytes(libc::IPPROTO_TCP, libc::TCP_INFO, &mut info)
            .expect("TCP_INFO");
        let by_diag = &told.attributes[&diag::INFO];
        assert_eq!(by_diag.len(), len);
        // State, options and scales; times differ.
        assert_eq!((by_diag[0], &by_diag[5..8]), (info[0], &info[5..8]));
        assert_eq!(by_diag[16..24], info[16..24], "the MSSs");
        assert_eq!(told.attributes[&diag::CONGESTION], b"cubic\0");
        assert_eq!(told.attributes[&diag::SHUTDOWN], [0]);
        let mut memory = [0; 36];
        let len = sock.get_bytes(libc::SOL_SOCKET, 55, &mut memory);
        assert_eq!(len.expect("SO_MEMINFO"), 36);
        assert_eq!(told.attributes[&diag::SKMEMINFO], memory);
    }
    let told = one(&diag::all(pair.server), &ends.server, State::Established);
    assert_eq!(told.recv_queue, 5);
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    wait::until("the end came", || {
        ends.server.poll_now(libc::POLLRDHUP) & libc::POLLRDHUP != 0
    });
    let told = one(&diag::all(pair.server), &ends.server, State::CloseWait);
    assert_eq!(told.attributes[&diag::SHUTDOWN], [1]);
    // Nothing that was not asked for.
    let mut diag = Diag::open();
    let told = diag.dump(&Request::all(pair.server)).expect("a dump");
    let told = one(&told, &ends.server, State::CloseWait);
    assert!(!told.attributes.contains_key(&diag::INFO));
    assert!(!told.attributes.contains_key(&diag::CONGESTION));
}

/// A dump of some states, and of one port.
fn dump__states_and_ports(stack: Stack) {
    ns::isolate();
    let (listener, _) = listening(stack, 1);
    let ends = connected(Pair {
        client: stack,
        server: stack,
    });
    let mut diag = Diag::open();
    let mut request = Request::all(stack);
    request.states = 1 << State::Listen as u8;
    let told = diag.dump(&request).expect("a dump");
    assert!(told.iter().all(|t| t.state == State::Listen as u8));
    one(&told, &listener, State::Listen);
    let mut request = Request::all(stack);
    request.id[..2].copy_from_slice(&ends.client.port().to_be_bytes());
    let told = diag.dump(&request).expect("a dump");
    assert_eq!(told.len(), 1, "{told:?}");
    one(&told, &ends.client, State::Established);
    request.id = [0; 48];
    request.id[2..4].copy_from_slice(&ends.client.port().to_be_bytes());
    let told = diag.dump(&request).expect("a dump");
    assert_eq!(told.len(), 1, "{told:?}");
    one(&told, &ends.server, State::Established);
}

/// Connections that stay, on loopback.
fn many(stack: Stack, count: usize) -> (Sock, Vec<(Sock, Sock)>) {
    let (listener, address) = listening(stack, 128);
    let ends = (0..count)
        .map(|_| {
            let client = Sock::open(stack);
            client.connect(&address).expect("connect");
            let (server, _) = listener.accept().expect("accept");
            (client, server)
        })
        .collect();
    (listener, ends)
}

/// More than a packet takes: each comes once.
fn dump__many(stack: Stack) {
    ns::isolate();
    let (_listener, ends) = many(stack, 300);
    let told = diag::all(stack);
    assert_eq!(told.len(), 1 + 2 * ends.len());
    let cookies: HashSet<u64> = told.iter().map(|t| t.cookie).collect();
    assert_eq!(cookies.len(), told.len());
}

/// While connections come and go, a dump ends, and has those that stay.
fn dump__under_change(stack: Stack) {
    ns::isolate();
    let (_listener, ends) = many(stack, 100);
    let stays: HashSet<u32> = ends
        .iter()
        .flat_map(|(a, b)| [inode(a), inode(b)])
        .collect();
    let end = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let churn = {
        let end = std::sync::Arc::clone(&end);
        thread::spawn(move || {
            let (listener, address) = listening(stack, 16);
            let mut kept = Vec::new();
            while !end.load(std::sync::atomic::Ordering::Relaxed) {
                let client = Sock::open(stack);
                client.set_linger(true, 0).expect("SO_LINGER");
                client.connect(&address).expect("connect");
                kept.push((client, listener.accept().expect("accept").0));
                if kept.len() > 50 {
                    kept.clear();
                }
            }
        })
    };
    for _ in 0..30 {
        let told: HashSet<u32> = diag::all(stack).iter().map(|t| t.inode).collect();
        let missing = stays.difference(&told).count();
        assert_eq!(missing, 0, "of those that stay");
    }
    end.store(true, std::sync::atomic::Ordering::Relaxed);
    churn.join();
}

/// Who asks may go away in the middle, or let the sockets go meanwhile.
fn dump__left_half_way(stack: Stack) {
    ns::isolate();
    let (listener, ends) = many(stack, 300);
    let request = Request::all(stack).with(diag::INFO);
    for _ in 0..20 {
        let told = Diag::open().begin(&request);
        assert!(!told.is_empty() && told.len() < 600, "{}", told.len());
    }
    let mut diag = Diag::open();
    let before = diag.begin(&request).len();
    drop((listener, ends));
    let mut after = 0;
    loop {
        let (told, end) = diag.receive();
        after += told.len();
        if let Some(number) = end {
            assert_eq!(number, 0);
            break;
        }
    }
    assert!(before + after <= 601 * 2, "{before} and {after}");
}

/// One socket by its ends and cookie.
fn find__exact(stack: Stack) {
    ns::isolate();
    let ends = connected(Pair {
        client: stack,
        server: stack,
    });
    let mut diag = Diag::open();
    let told = one(&diag::all(stack), &ends.client, State::Established);
    let request = Request::exact(stack, &told);
    let found = diag.find(&request).expect("it is there");
    assert_eq!((found.id, found.inode), (told.id, told.inode));
    let mut any = request.clone();
    any.id[40..].copy_from_slice(&[0xff; 8]);
    assert_eq!(diag.find(&any).expect("it is there").id, told.id);
    let mut other = request.clone();
    other.id[40] ^= 1;
    // Linux says ESTALE for another cookie.
    errno::expect_one_of(diag.find(&other), &[libc::ENOENT, libc::ESTALE]);
    let mut nowhere = request;
    nowhere.id[0] ^= 1;
    expect_errno(diag.find(&nowhere), libc::ENOENT);
}

/// Requests that cannot be.
fn request__nonsense() {
    if stack::builtin_only() {
        ktap::skip("it is oxtcp's requests that are damaged");
    }
    let stack = Stack::ours(Ip::V4);
    let ends = connected(Pair {
        client: stack,
        server: stack,
    });
    let told = one(&diag::all(stack), &ends.client, State::Established);
    let good = Request::exact(stack, &told);
    let mut diag = Diag::open();
    for flags in [0, libc::NLM_F_DUMP] {
        let bytes = good.bytes();
        for len in [2, 4, 8, 55] {
            let number = diag.refused(diag::BY_FAMILY, flags, &bytes[..len]);
            assert_eq!(number, libc::EINVAL, "{len} bytes, flags {flags}");
        }
        let mut bad = good.clone();
        bad.protocol = libc::IPPROTO_UDP as u8;
        assert_eq!(
            diag.refused(diag::BY_FAMILY, flags, &bad.bytes()),
            libc::EINVAL
        );
        let mut bad = good.clone();
        bad.version = 77;
        assert_eq!(
            diag.refused(diag::BY_FAMILY, flags, &bad.bytes()),
            libc::EINVAL
        );
        // A filter in bytecode.
        let mut bad = good.clone();
        bad.rest = vec![8, 0, 1, 0, 0, 0, 0, 0];
        assert_eq!(
            diag.refused(diag::BY_FAMILY, flags, &bad.bytes()),
            libc::EOPNOTSUPP
        );
    }
    let mut both = good.clone();
    both.version = 0;
    expect_errno(diag.find(&both), libc::EINVAL);
    expect_errno(diag.destroy(&both), libc::EINVAL);
    ends.check_alive();
}

/// A dump of version 0 has both.
fn request__of_both_versions() {
    if stack::builtin_only() {
        ktap::skip("the built-in TCP has a family for each");
    }
    ns::isolate();
    let listeners = [Ip::V4, Ip::V6].map(|ip| listening(Stack::ours(ip), 1).0);
    let mut request = Request::all(Stack::ours(Ip::V4));
    request.version = 0;
    let told = Diag::open().dump(&request).expect("a dump");
    for listener in &listeners {
        one(&told, listener, State::Listen);
    }
    assert_eq!(told.len(), 2);
}

/// Ends one half of a connection: its program is told, the peer is reset.
fn destroy__connection(pair: Pair) {
    ns::isolate();
    let ends = connected(pair);
    let told = one(&diag::all(pair.client), &ends.client, State::Established);
    let mut other = Request::exact(pair.client, &told);
    other.id[40] ^= 1;
    let mut diag = Diag::open();
    errno::expect_one_of(diag.destroy(&other), &[libc::ENOENT, libc::ESTALE]);
    ends.check_alive();
    ends.server.send_all(b"unread");
    wait::until("it came", || ends.client.readable() == 6);
    diag.destroy(&Request::exact(pair.client, &told))
        .expect("destroy");
    let events = ends.client.poll_wait(libc::POLLIN);
    assert_ne!(events & libc::POLLERR, 0, "{events:#x}");
    assert_eq!(ends.client.take_error(), libc::ECONNABORTED);
    wait::until("the reset", || {
        ends.server.poll_now(libc::POLLIN) & libc::POLLERR != 0
    });
    assert_eq!(ends.server.take_error(), libc::ECONNRESET);
    expect_errno(
        diag.destroy(&Request::exact(pair.client, &told)),
        libc::ENOENT,
    );
    assert!(diag::all(pair.client)
        .iter()
        .all(|t| t.cookie != told.cookie));
}

fn destroy__needs_privilege(stack: Stack) {
    ns::isolate();
    let ends = connected(Pair {
        client: stack,
        server: stack,
    });
    let told = one(&diag::all(stack), &ends.client, State::Established);
    thread::spawn(move || {
        // SAFETY: no pointers. Of this thread alone: the system call, not libc's.
        let result = unsafe { libc::syscall(libc::SYS_setresuid, 65534, 65534, 65534) };
        assert_eq!(result, 0, "setresuid");
        let mut diag = Diag::open();
        let request = Request::exact(stack, &told);
        expect_errno(diag.destroy(&request), libc::EPERM);
        // It may look, and sees who has it.
        let found = diag.find(&request).expect("it is there");
        assert_eq!((found.inode, found.uid), (told.inode, 0));
    })
    .join();
    ends.check_alive();
}

fn destroy__time_wait(stack: Stack) {
    ns::isolate();
    time_wait(stack);
    let told = diag::all(stack);
    let told = told
        .iter()
        .find(|t| t.state == State::TimeWait as u8)
        .expect("TIME-WAIT");
    let mut diag = Diag::open();
    diag.destroy(&Request::exact(stack, told)).expect("destroy");
    let left = diag::all(stack);
    assert!(left.iter().all(|t| t.state != State::TimeWait as u8));
    expect_errno(diag.destroy(&Request::exact(stack, told)), libc::ENOENT);
}

fn destroy__half_open(stack: Stack) {
    let (_link, listener, client) = half_open(stack);
    let told = diag::all(stack);
    let told = told
        .iter()
        .find(|t| t.state == State::SynRecv as u8)
        .expect("a half-open connection");
    assert_eq!(told.remote, client.local().expect("name"));
    Diag::open()
        .destroy(&Request::exact(stack, told))
        .expect("destroy");
    drop(client);
    wait::until("it is gone", || {
        let left = diag::all(stack);
        left.iter().all(|t| t.state != State::SynRecv as u8)
    });
    one(&diag::all(stack), &listener, State::Listen);
}

/// A connection that no program has.
fn destroy__orphan() {
    if stack::builtin_only() {
        ktap::skip("it is oxtcp's own way");
    }
    for stack in [Stack::ours(Ip::V4), Stack::ours(Ip::V6)] {
        ns::isolate();
        let ends = connected(Pair {
            client: stack,
            server: stack,
        });
        // More than the peer takes: it stays in FIN-WAIT-1.
        ends.client.set_nonblocking(true);
        while ends.client.write(&[0; 4096]).is_ok() {}
        let local = ends.client.local().expect("name");
        drop(ends.client);
        let told = diag::all(stack);
        let told = told.iter().find(|t| t.local == local).expect("the orphan");
        assert_eq!((told.state, told.inode), (State::FinWait1 as u8, 0));
        Diag::open()
            .destroy(&Request::exact(stack, told))
            .expect("destroy");
        assert!(diag::all(stack).iter().all(|t| t.local != local));
        wait::until("the reset", || {
            ends.server.poll_now(libc::POLLIN) & libc::POLLERR != 0
        });
    }
}

/// A listener goes on.
fn destroy__listener() {
    if stack::builtin_only() {
        ktap::skip("the built-in TCP's is closed");
    }
    let stack = Stack::ours(Ip::V4);
    ns::isolate();
    let (listener, address) = listening(stack, 1);
    let told = one(&diag::all(stack), &listener, State::Listen);
    expect_errno(
        Diag::open().destroy(&Request::exact(stack, &told)),
        libc::EOPNOTSUPP,
    );
    Sock::open(stack).connect(&address).expect("connect");
}

/// What waits for accept() is reset; the program gets it all the same, as when the peer resets it.
fn destroy__not_yet_accepted() {
    if stack::builtin_only() {
        ktap::skip("it is oxtcp's own way");
    }
    let stack = Stack::ours(Ip::V4);
    ns::isolate();
    let (listener, address) = listening(stack, 4);
    let client = Sock::open(stack);
    client.connect(&address).expect("connect");
    let remote = client.local().expect("name");
    let told = wait::until_some("the connection", || {
        let told = diag::all(stack);
        let found = told.iter().find(|t| t.remote == remote).cloned();
        found.filter(|t| t.state == State::Established as u8)
    });
    Diag::open()
        .destroy(&Request::exact(stack, &told))
        .expect("destroy");
    wait::until("the reset", || {
        client.poll_now(libc::POLLIN) & libc::POLLERR != 0
    });
    let (server, _) = listener.accept().expect("accept");
    // No end of what the peer said.
    expect_errno(server.read(&mut [0; 8]), libc::ECONNABORTED);
    expect_errno(server.send(b"x", libc::MSG_NOSIGNAL), libc::EPIPE);
}

/// Connections are ended while both their ends are busy.
fn destroy__under_traffic() {
    if stack::builtin_only() {
        ktap::skip("it is oxtcp's own way");
    }
    ns::isolate();
    for ip in [Ip::V4, Ip::V6] {
        let stack = Stack::ours(ip);
        for _ in 0..20 {
            let ends = connected(Pair {
                client: stack,
                server: stack,
            });
            let told = one(&diag::all(stack), &ends.client, State::Established);
            let (client, server) = (ends.client, ends.server);
            let writer =
                thread::spawn(
                    move || {
                        while client.send(&[7; 65536], libc::MSG_NOSIGNAL).is_ok() {}
                    },
                );
            let reader = thread::spawn(move || {
                let mut bytes = vec![0; 65536];
                while matches!(server.read(&mut bytes), Ok(n) if n > 0) {}
            });
            // Asked for while a process may own it.
            diag::all(stack);
            Diag::open()
                .destroy(&Request::exact(stack, &told))
                .expect("destroy");
            writer.join();
            reader.join();
        }
        assert!(diag::all(stack).iter().all(|t| t.inode == 0));
    }
}
