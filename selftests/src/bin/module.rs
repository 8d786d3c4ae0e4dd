// SPDX-License-Identifier: GPL-2.0
//! Loading and unloading: refused while in use, nothing left behind, parameters checked.
//!
//! Needs the module's file (OXTCP_MODULE). Leaves the module loaded, or not, as it was.

use std::fs;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use oxtcp_selftests::connection::{listening_at, Connected};
use oxtcp_selftests::errno::expect_one_of;
use oxtcp_selftests::kernel::{self, Log};
use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::payload::Stream;
use oxtcp_selftests::procnet::{self, State};
use oxtcp_selftests::{
    connected, expect_errno, ktap, listening, stack, thread, wait, Ip, Pair, Sock, Stack, Suite,
};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("module");
    let was_loaded = kernel::module_loaded();
    for (name, test) in [
        ("load__registers", load__registers as fn()),
        ("load__twice_is_eexist", load__twice_is_eexist),
        ("load__family_taken", load__family_taken),
        ("load__family_out_of_range", load__family_out_of_range),
        ("load__another_family", load__another_family),
        ("load__another_protocol", load__another_protocol),
        ("load__protocol_out_of_range", load__protocol_out_of_range),
        ("load__with_namespaces_there", load__with_namespaces_there),
        ("unload__refused_while_open", unload__refused_while_open),
        ("unload__refused_while_queued", unload__refused_while_queued),
        ("unload__after_time_wait", unload__after_time_wait),
        ("unload__after_fin_wait2", unload__after_fin_wait2),
        ("unload__with_orphans", unload__with_orphans),
        (
            "unload__waits_for_queued_packets",
            unload__waits_for_queued_packets,
        ),
        (
            "unload__while_a_table_is_read",
            unload__while_a_table_is_read,
        ),
        (
            "unload__after_a_refused_connect",
            unload__after_a_refused_connect,
        ),
        ("unload__leaves_nothing", unload__leaves_nothing),
        (
            "unload__with_namespaces_there",
            unload__with_namespaces_there,
        ),
        (
            "unload__under_builtin_traffic",
            unload__under_builtin_traffic,
        ),
        (
            "unload__while_peers_still_send",
            unload__while_peers_still_send,
        ),
        ("unload__many_times", unload__many_times),
        (
            "unload__while_doors_are_tried",
            unload__while_doors_are_tried,
        ),
    ] {
        suite.once(name, test);
    }
    let result = suite.run();
    if !stack::builtin_only() && was_loaded != kernel::module_loaded() {
        let _ = if was_loaded {
            kernel::load_module("")
        } else {
            kernel::unload_module()
        };
    }
    result
}

/// Skips where there is no module; makes it loaded with its defaults.
fn ready() {
    if stack::builtin_only() {
        ktap::skip("about our module");
    }
    if kernel::module_file().is_none() {
        ktap::skip("OXTCP_MODULE does not name the module's file");
    }
    if kernel::module_loaded() {
        return;
    }
    load("");
}

#[track_caller]
fn load(parameters: &str) {
    kernel::load_module(parameters)
        .unwrap_or_else(|error| panic!("insmod oxtcp {parameters}: {error}"));
}

/// Unloads. Only a program that has a socket holds the module.
#[track_caller]
fn unload() {
    kernel::unload_module().unwrap_or_else(|error| panic!("rmmod oxtcp: {error}"));
}

fn both() -> [Stack; 2] {
    Ip::BOTH.map(Stack::ours)
}

fn load__registers() {
    ready();
    unload();
    load("");
    for stack in both() {
        connected(Pair {
            client: stack,
            server: stack,
        })
        .check_alive();
        assert!(fs::metadata(format!("/proc/net/{}", stack.proc_name())).is_ok());
    }
    let protocols = fs::read_to_string("/proc/net/protocols").expect("/proc/net/protocols");
    assert!(protocols.to_lowercase().contains("oxtcp"), "{protocols}");
}

fn load__twice_is_eexist() {
    ready();
    expect_errno(kernel::load_module(""), libc::EEXIST);
    Sock::open(Stack::ours(Ip::V4));
}

/// A family that somebody has: EEXIST, and a message that says which number and what to do. (Since 6.19 the
/// module loader makes EBUSY of an init function's EEXIST, for that is to mean "loaded already".)
fn load__family_taken() {
    ready();
    unload();
    for family in [
        libc::AF_UNIX,
        libc::AF_INET,
        libc::AF_NETLINK,
        libc::AF_PACKET,
    ] {
        let mut log = Log::from_here().expect("/dev/kmsg");
        expect_one_of(
            kernel::load_module(&format!("family={family}")),
            &[libc::EEXIST, libc::EBUSY],
        );
        let lines = log.read().join("\n");
        assert!(
            lines.contains("oxtcp")
                && lines.contains("family")
                && lines.contains(&family.to_string()),
            "the kernel log says: {lines:?}"
        );
        assert!(!kernel::module_loaded());
        assert!(fs::metadata("/proc/net/oxtcp").is_err());
    }
    load("");
}

fn load__family_out_of_range() {
    ready();
    unload();
    for family in ["0", "-1", "46", "1000", "x"] {
        let result = kernel::load_module(&format!("family={family}"));
        assert!(result.is_err(), "family={family} was taken");
        assert!(!kernel::module_loaded());
    }
    load("");
}

fn load__another_family() {
    /// AF_IB, which has a number and no sockets.
    const OTHER: i32 = 27;
    ready();
    unload();
    load(&format!("family={OTHER}"));
    assert_eq!(stack::family_number(), OTHER);
    for stack in both() {
        assert!(stack::by_doors() || stack.domain() == OTHER);
        connected(Pair {
            client: stack,
            server: stack,
        })
        .check_alive();
    }
    expect_errno(Sock::try_open(19, libc::SOCK_STREAM, 0), libc::EAFNOSUPPORT);
    unload();
    load("");
}

/// Sockets of AF_INET and AF_INET6 by the number that the parameter says, by no other, and by none if that is 0.
fn load__another_protocol() {
    let by_door =
        |ip, protocol| Sock::try_open(Stack::builtin(ip).domain(), libc::SOCK_STREAM, protocol);
    ready();
    for (parameter, there) in [(0, None), (254, Some(254)), (145, Some(145))] {
        unload();
        load(&format!("protocol={parameter}"));
        for ip in Ip::BOTH {
            for protocol in [145, 253, 254] {
                match by_door(ip, protocol) {
                    Ok(sock) => {
                        assert_eq!(Some(protocol), there);
                        sock.listen(1).expect("listen");
                    }
                    result => {
                        assert_ne!(Some(protocol), there);
                        expect_errno(result, libc::EPROTONOSUPPORT);
                    }
                }
            }
        }
    }
    unload();
    for ip in Ip::BOTH {
        expect_errno(by_door(ip, 253), libc::EPROTONOSUPPORT);
    }
    load("");
}

/// Numbers of protocols that the kernel has, or that no socket can have.
fn load__protocol_out_of_range() {
    ready();
    unload();
    for protocol in [
        "-1", "1", "6", "132", "144", "255", "256", "262", "65789", "x",
    ] {
        let mut log = Log::from_here().expect("/dev/kmsg");
        expect_errno(
            kernel::load_module(&format!("protocol={protocol}")),
            libc::EINVAL,
        );
        let lines = log.read().join("\n");
        assert!(
            lines.contains("oxtcp") && lines.contains("protocol"),
            "the kernel log says: {lines:?}"
        );
        assert!(!kernel::module_loaded());
    }
    load("");
}

fn load__with_namespaces_there() {
    ready();
    unload();
    let one = ns::isolate();
    let two = ns::isolate();
    load("");
    for namespace in [&one, &two] {
        namespace.run(|| {
            assert!(fs::metadata("/proc/sys/net/oxtcp").is_ok());
            for stack in both() {
                connected(Pair {
                    client: stack,
                    server: stack,
                })
                .check_alive();
                assert!(!procnet::text(stack).is_empty());
            }
        });
    }
}

#[track_caller]
fn assert_busy() {
    // delete_module(2) without waiting.
    expect_errno(kernel::unload_module(), libc::EWOULDBLOCK);
    assert!(kernel::module_loaded());
}

fn unload__refused_while_open() {
    ready();
    for stack in both() {
        let fresh = Sock::open(stack);
        assert_busy();
        drop(fresh);
        let listener = listening(stack, 1);
        assert_busy();
        drop(listener);
        let ends = connected(Pair {
            client: stack,
            server: stack,
        });
        assert_busy();
        let Connected { client, server } = ends;
        drop(client);
        assert_busy();
        drop(server);
        let builtin = Stack::builtin(stack.ip);
        let ends = connected(Pair {
            client: builtin,
            server: stack,
        });
        assert_busy();
        ends.check_alive();
    }
    unload();
    load("");
}

/// A connection that only the listener's queue holds.
fn unload__refused_while_queued() {
    ready();
    for stack in both() {
        let (listener, address) = listening(stack, 4);
        let builtin = Stack::builtin(stack.ip);
        let client = Sock::open(builtin);
        client.connect(&address).expect("connect");
        assert_busy();
        drop(listener);
        expect_errno(client.recv(&mut [0; 1], 0), libc::ECONNRESET);
    }
    unload();
    load("");
}

/// Leaves a connection of a server at `address` in TIME-WAIT.
fn leave_time_wait(stack: Stack, port: u16) {
    let (listener, address) = listening_at(stack, &stack.local(port), 1);
    let client = Sock::open(Stack::builtin(stack.ip));
    client.connect(&address).expect("connect");
    let (server, from) = listener.accept().expect("accept");
    drop(server);
    assert_eq!(client.recv(&mut [0; 1], 0).expect("the end"), 0);
    drop(client);
    wait::until("TIME-WAIT", || {
        procnet::state_of(stack, address, from) == Some(State::TimeWait)
    });
}

/// TIME-WAIT does not hold the module; when it goes, the ports are the built-in TCP's to bind.
fn unload__after_time_wait() {
    ready();
    ns::isolate();
    for stack in both() {
        leave_time_wait(stack, 5001);
        leave_time_wait(stack, 5002);
    }
    unload();
    for ip in Ip::BOTH {
        let builtin = Stack::builtin(ip);
        for port in [5001, 5002] {
            let (_listener, _) = listening_at(builtin, &builtin.local(port), 1);
        }
    }
    load("");
}

/// Closes a connection whose peer, of the built-in TCP, does not; returns the peer.
fn leave_fin_wait2(stack: Stack) -> Sock {
    let ends = connected(Pair {
        client: stack,
        server: Stack::builtin(stack.ip),
    });
    drop(ends.client);
    assert_eq!(ends.server.recv(&mut [0; 1], 0).expect("the end"), 0);
    ends.server
}

/// A closed socket does not hold the module while it waits for its peer's FIN. What the peer sends then, it sends to
/// nobody.
fn unload__after_fin_wait2() {
    ready();
    let peers: Vec<Sock> = both().into_iter().map(leave_fin_wait2).collect();
    unload();
    for peer in &peers {
        peer.send_all(b"anybody?");
        peer.poll_until_all(libc::POLLERR | libc::POLLHUP);
    }
    load("");
}

/// Nor while it has something to send: its peer, which cannot take it, is reset.
fn unload__with_orphans() {
    ready();
    ns::isolate();
    for round in 0..4 {
        let mut peers = Vec::new();
        for stack in both() {
            // FIN-WAIT-1, behind data that the peer does not read; or, if it has shut its half down, LAST-ACK.
            for shut in [false, true] {
                let ends = connected(Pair {
                    client: stack,
                    server: Stack::builtin(stack.ip),
                });
                ends.server
                    .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 4096)
                    .expect("SO_RCVBUF");
                // Who has shut its half down is sent no reset (RFC 9293 section 3.10.5): it finds out by asking.
                for (level, option) in [
                    (libc::SOL_SOCKET, libc::SO_KEEPALIVE),
                    (libc::IPPROTO_TCP, libc::TCP_KEEPIDLE),
                    (libc::IPPROTO_TCP, libc::TCP_KEEPINTVL),
                ] {
                    ends.server.set(level, option, 1).expect("keepalive");
                }
                if shut {
                    ends.server.shutdown(libc::SHUT_WR).expect("shutdown");
                    assert_eq!(ends.client.recv(&mut [0; 1], 0).expect("the end"), 0);
                }
                while ends.client.send(&[7; 65_536], libc::MSG_DONTWAIT).is_ok() {}
                let (local, remote) = (
                    ends.client.local().expect("name"),
                    ends.client.peer().expect("name"),
                );
                drop(ends.client);
                let wanted = if shut {
                    State::LastAck
                } else {
                    State::FinWait1
                };
                assert_eq!(procnet::state_of(stack, local, remote), Some(wanted));
                peers.push((shut, ends.server));
            }
            leave_time_wait(stack, 0);
        }
        // Under the acknowledgments that their reading brings, too.
        let readers: Vec<_> = peers
            .into_iter()
            .map(|(shut, peer)| {
                thread::spawn(move || {
                    let mut part = [0; 4096];
                    if round % 2 == 1 {
                        while matches!(peer.recv(&mut part, 0), Ok(1..)) {}
                    } else if !shut {
                        peer.poll_until_all(libc::POLLERR | libc::POLLHUP);
                        assert_eq!(peer.take_error(), libc::ECONNRESET);
                    }
                })
            })
            .collect();
        unload();
        readers.into_iter().for_each(thread::Worker::join);
        load("");
    }
}

/// A program that has read half of a table holds nothing either.
fn unload__while_a_table_is_read() {
    use std::io::Read;
    ready();
    ns::isolate();
    let _peers: Vec<Sock> = (0..40).flat_map(|_| both().map(leave_fin_wait2)).collect();
    let mut files: Vec<fs::File> = both()
        .iter()
        .map(|stack| {
            let path = format!("/proc/thread-self/net/{}", stack.proc_name());
            let mut file = fs::File::open(path).expect("the table");
            assert_eq!(file.read(&mut [0; 1000]).expect("read"), 1000);
            file
        })
        .collect();
    unload();
    for file in &mut files {
        assert!(file.read(&mut [0; 1000]).is_err(), "read after the end");
    }
    drop(files);
    load("");
}

fn unload__after_a_refused_connect() {
    ready();
    ns::isolate();
    for stack in both() {
        expect_errno(
            Sock::open(stack).connect(&stack.local(9)),
            libc::ECONNREFUSED,
        );
    }
    unload();
    load("");
}

/// Names, hooks, caches, symbols: what a loaded module shows is gone with it.
fn unload__leaves_nothing() {
    ready();
    for stack in both() {
        leave_time_wait(stack, 0);
    }
    unload();
    for path in [
        "/proc/net/oxtcp",
        "/proc/net/oxtcp6",
        "/proc/sys/net/oxtcp",
        "/sys/module/oxtcp",
        "/sys/kernel/debug/oxtcp",
    ] {
        assert!(fs::metadata(path).is_err(), "{path} is left");
    }
    for path in [
        "/proc/net/protocols",
        "/proc/slabinfo",
        "/proc/kallsyms",
        "/proc/timer_list",
        "/proc/interrupts",
    ] {
        let text = fs::read_to_string(path).unwrap_or_default();
        let line = text.lines().find(|line| line.contains("oxtcp"));
        assert_eq!(line, None, "left in {path}");
    }
    assert_eq!(kernel::slabs_named("oxtcp"), Vec::<String>::new());
    expect_errno(Sock::try_open(19, libc::SOCK_STREAM, 0), libc::EAFNOSUPPORT);
    load("");
}

fn unload__with_namespaces_there() {
    ready();
    let link = Veth::make();
    for stack in both() {
        let address = Veth::address_b(stack.ip, 5001);
        let (listener, _) = link.b.run(|| listening_at(stack, &address, 1));
        let client = Sock::open(stack);
        client.connect(&address).expect("connect");
        let (server, _) = listener.accept().expect("accept");
        Connected { client, server }.check_alive();
    }
    unload();
    for namespace in [&link.a, &link.b] {
        namespace.run(|| assert!(fs::metadata("/proc/sys/net/oxtcp").is_err()));
    }
    load("");
    for namespace in [&link.a, &link.b] {
        namespace.run(|| assert!(fs::metadata("/proc/sys/net/oxtcp").is_ok()));
    }
    unload();
    drop(link.b);
    wait::until("the other namespace is gone", || {
        ns::try_sh("ip link show va").is_err()
    });
    load("");
}

/// The hooks come and go under the built-in TCP's packets, which notice nothing.
fn unload__under_builtin_traffic() {
    ready();
    let stop = Arc::new(AtomicBool::new(false));
    let workers = Ip::BOTH.map(|ip| {
        let stop = stop.clone();
        thread::spawn(move || {
            let builtin = Stack::builtin(ip);
            let mut rounds = 0_u64;
            while !stop.load(Ordering::Relaxed) {
                connected(Pair {
                    client: builtin,
                    server: builtin,
                })
                .check_alive();
                rounds += 1;
            }
            rounds
        })
    });
    for _ in 0..10 {
        unload();
        load("");
    }
    stop.store(true, Ordering::Relaxed);
    for worker in workers {
        let rounds = worker.join();
        ktap::note(&format!(
            "{rounds} connections of the built-in TCP meanwhile"
        ));
    }
}

/// Segments for our connections still arrive when nobody is there any more: they draw the built-in TCP's
/// resets.
fn unload__while_peers_still_send() {
    ready();
    let link = Veth::make();
    let mut peers = Vec::new();
    for stack in both() {
        let address = Veth::address_b(stack.ip, 5001);
        let (listener, _) = link.b.run(|| listening_at(stack, &address, 1));
        let client = Sock::open(Stack::builtin(stack.ip));
        client.connect(&address).expect("connect");
        let (server, _) = listener.accept().expect("accept");
        link.b.run(|| ns::sh("ip link set vb down"));
        drop((server, listener));
        peers.push(client);
        link.b.run(|| {
            ns::sh("ip link set vb up");
            ns::sh("ip addr replace 2001:db8::2/64 dev vb nodad");
        });
    }
    unload();
    for peer in &peers {
        let _ = peer.send(b"anybody?", libc::MSG_NOSIGNAL);
    }
    load("");
}

/// A packet in a device's queue points to its socket: the module stays until the last one has left.
fn unload__waits_for_queued_packets() {
    ready();
    let link = Veth::make();
    for stack in both() {
        let address = Veth::address_b(stack.ip, 5001);
        let (listener, _) = link.b.run(|| listening_at(stack, &address, 1));
        let client = Sock::open(stack);
        client.connect(&address).expect("connect");
        let (server, _) = listener.accept().expect("accept");
        // The burst goes at once, the rest at a packet in 12 seconds.
        ns::sh_or_skip("tc qdisc add dev va root tbf rate 1kbit burst 2kb limit 1mb");
        client.send_all(&Stream::new(7).take(10_000));
        wait::until("packets wait in the queue", || {
            ns::qdisc_count("va", "backlog") > 5000
        });
        for end in [client, server] {
            end.set_linger(true, 0).expect("SO_LINGER");
        }
        drop(listener);
        let unloading = thread::spawn(unload);
        std::thread::sleep(std::time::Duration::from_millis(500));
        assert!(
            ns::qdisc_count("va", "backlog") > 5000,
            "the queue is not slow enough"
        );
        assert!(
            !unloading.is_finished(),
            "unloaded under packets that point to a socket"
        );
        ns::sh("tc qdisc del dev va root");
        unloading.join();
        load("");
    }
}

/// Loads and unloads, each with a connection of each kind, and compares the kernel's memory. OXTCP_LOADS
/// says how often; 20 if it does not.
fn unload__many_times() {
    /// The kernel's memory may differ by this for other reasons (KiB).
    const SLACK: u64 = 3 * 1024;
    ready();
    let rounds: u32 = std::env::var("OXTCP_LOADS")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(20);
    // Of connections in FIN-WAIT-2. They hear of the end by a reset when they close.
    let peers = std::cell::RefCell::new(Vec::new());
    let round = || {
        peers.borrow_mut().clear();
        unload();
        load("");
        for stack in both() {
            leave_time_wait(stack, 0);
            peers.borrow_mut().push(leave_fin_wait2(stack));
        }
    };
    let used = || {
        unload();
        kernel::give_memory_back();
        let sum = kernel::meminfo("SUnreclaim")
            + kernel::meminfo("VmallocUsed")
            + kernel::meminfo("Percpu");
        load("");
        sum
    };
    for _ in 0..5 {
        round();
    }
    let before = used();
    for _ in 0..rounds {
        round();
    }
    let mut after = used();
    for _ in 0..50 {
        if after <= before + SLACK {
            break;
        }
        std::thread::sleep(std::time::Duration::from_millis(100));
        after = used();
    }
    ktap::note(&format!(
        "{rounds} loads: kernel memory {before} KiB before, {after} KiB after"
    ));
    assert!(
        after <= before + SLACK,
        "{} KiB more than before",
        after - before
    );
}

/// Who asks AF_INET for a socket of ours holds no module before there is one: it gets a socket that works, or an error, and the
/// module goes or stays.
fn unload__while_doors_are_tried() {
    const UNLOADS: usize = 20;
    ready();
    let done = Arc::new(AtomicBool::new(false));
    let programs: Vec<_> = Ip::BOTH
        .into_iter()
        .map(|ip| {
            let done = Arc::clone(&done);
            thread::spawn(move || {
                let builtin = Stack::builtin(ip);
                let mut made = 0_u64;
                while !done.load(Ordering::Relaxed) {
                    match Sock::try_open(builtin.domain(), libc::SOCK_STREAM, 253) {
                        Ok(sock) => {
                            sock.bind(&builtin.local(0)).expect("bind");
                            sock.listen(1).expect("listen");
                            made += 1;
                        }
                        // No such protocol now; or the module is going, and sk_alloc() makes nothing.
                        result => expect_one_of(
                            result,
                            &[libc::EPROTONOSUPPORT, libc::ENOMEM, libc::ENOBUFS],
                        ),
                    }
                }
                made
            })
        })
        .collect();
    for _ in 0..UNLOADS {
        wait::until("an unload", || match kernel::unload_module() {
            Ok(()) => true,
            Err(error) => {
                assert_eq!(error.raw_os_error(), Some(libc::EWOULDBLOCK), "{error}");
                false
            }
        });
        load("");
    }
    done.store(true, Ordering::Relaxed);
    for program in programs {
        assert!(program.join() > 0, "no socket was made");
    }
}
