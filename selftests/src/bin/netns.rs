// SPDX-License-Identifier: GPL-2.0
//! Network namespaces: tables, ports and settings of their own; and bad links between two of them.

use std::process::ExitCode;

use oxtcp_selftests::connection::{listening_at, Connected};
use oxtcp_selftests::ns::{self, Namespace, Veth};
use oxtcp_selftests::procnet::{self, State};
use oxtcp_selftests::{
    cases, connected, expect_errno, ktap, listening, stack, thread, transfer, wait, Pair, Sock,
    Stack, Suite,
};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("netns");
    cases!(suite.stacks:
        netns__tables_are_separate, netns__ports_are_separate, netns__loopbacks_are_separate,
        netns__socket_stays_where_it_was_made, netns__settings_are_separate, netns__settings_are_inherited,
        netns__deleted_with_time_waits, netns__deleted_with_fin_wait2, netns__open_socket_keeps_it, netns__deleted_with_everything,
        netns__many_come_and_go,
    );
    cases!(suite.pairs:
        netem__delay, netem__delay_and_loss, netem__reorder, netem__duplicate, netem__corrupt,
        netem__all_at_once, netem__handshakes_and_ends_under_loss, netem__short_queue,
        link__down_and_up, netem__requests_under_loss,
    );
    suite.run()
}

fn netns__tables_are_separate(stack: Stack) {
    let one = ns::isolate();
    let (_listener, address) = listening(stack, 1);
    let listed = || procnet::entries(stack).iter().any(|e| e.local == address);
    assert!(listed());
    let two = ns::isolate();
    assert!(
        procnet::entries(stack).is_empty(),
        "{}",
        procnet::text(stack)
    );
    one.enter();
    assert!(listed());
    two.enter();
    assert!(!listed());
}

fn netns__ports_are_separate(stack: Stack) {
    ns::isolate();
    let (_one, _) = listening_at(stack, &stack.any(5001), 1);
    ns::isolate();
    let (_two, _) = listening_at(stack, &stack.any(5001), 1);
    ns::isolate();
    let (_three, _) = listening_at(Stack::builtin(stack.ip), &stack.any(5001), 1);
}

fn netns__loopbacks_are_separate(stack: Stack) {
    ns::isolate();
    let (_listener, address) = listening(stack, 1);
    ns::isolate();
    expect_errno(Sock::open(stack).connect(&address), libc::ECONNREFUSED);
}

/// A socket belongs to the namespace in which it was made, wherever its process goes.
fn netns__socket_stays_where_it_was_made(stack: Stack) {
    let one = ns::isolate();
    let listener = Sock::open(stack);
    let client = Sock::open(stack);
    let _two = ns::isolate();
    listener.bind(&stack.local(5001)).expect("bind");
    listener.listen(1).expect("listen");
    assert!(procnet::entries(stack).is_empty());
    client.connect(&stack.local(5001)).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    Connected { client, server }.check_alive();
    expect_errno(
        Sock::open(stack).connect(&stack.local(5001)),
        libc::ECONNREFUSED,
    );
    one.enter();
    Sock::open(stack)
        .connect(&stack.local(5001))
        .expect("connect");
}

/// A setting that takes any small number.
fn some_setting(stack: Stack) -> String {
    ns::find_sysctl(stack, "tcp_fin_timeout")
        .or_else(|| ns::find_sysctl(stack, "tcp_syn_retries"))
        .unwrap_or_else(|| ktap::skip("neither tcp_fin_timeout nor tcp_syn_retries"))
}

fn netns__settings_are_separate(stack: Stack) {
    let setting = some_setting(stack);
    let one = ns::isolate();
    let before = ns::sysctl(&setting).expect("the setting");
    ns::isolate();
    ns::set_sysctl(&setting, "7");
    assert_eq!(ns::sysctl(&setting).expect("the setting"), "7");
    one.enter();
    assert_eq!(ns::sysctl(&setting).expect("the setting"), before);
}

/// A new namespace starts with the values of the initial one (which the built-in TCP does not do).
fn netns__settings_are_inherited(stack: Stack) {
    if stack::builtin_only() {
        ktap::skip("a rule of ours");
    }
    let setting = some_setting(stack);
    let initial = Namespace::of_process(1);
    initial.enter();
    let before = ns::sysctl(&setting).expect("the setting");
    ns::set_sysctl(&setting, "9");
    ns::isolate();
    let inherited = ns::sysctl(&setting).expect("the setting");
    initial.enter();
    ns::set_sysctl(&setting, &before);
    assert_eq!(inherited, "9");
}

/// A namespace's end of the link goes with it, and takes the other end along.
fn wait_until_the_link_is_gone() {
    wait::until("the other namespace is gone", || {
        ns::try_sh("ip link show va").is_err()
    });
}

/// A connection over the link: the client in `a`, where this thread is.
fn over(link: &Veth, pair: Pair) -> (Connected, std::net::SocketAddr) {
    let address = Veth::address_b(pair.ip(), 5001);
    let (listener, _) = link.b.run(|| listening_at(pair.server, &address, 1));
    let client = Sock::open(pair.client);
    client.connect(&address).expect("connect");
    let (server, from) = listener.accept().expect("accept");
    (Connected { client, server }, from)
}

fn netns__deleted_with_time_waits(stack: Stack) {
    let link = Veth::make();
    let address = Veth::address_b(stack.ip, 5001);
    let (ends, from) = over(
        &link,
        Pair {
            client: stack,
            server: stack,
        },
    );
    drop(ends.server);
    drop(ends.client);
    link.b.run(|| {
        wait::until("TIME-WAIT", || {
            procnet::state_of(stack, address, from) == Some(State::TimeWait)
        });
    });
    drop(link.b);
    wait_until_the_link_is_gone();
}

/// A closed socket that waits for its peer's FIN does not hold the namespace.
fn netns__deleted_with_fin_wait2(stack: Stack) {
    let link = Veth::make();
    let (ends, from) = over(
        &link,
        Pair {
            client: Stack::builtin(stack.ip),
            server: stack,
        },
    );
    let address = ends.server.local().expect("name");
    drop(ends.server);
    assert_eq!(ends.client.recv(&mut [0; 4], 0).expect("the end"), 0);
    link.b.run(|| {
        wait::until("FIN-WAIT-2", || {
            procnet::state_of(stack, address, from) == Some(State::FinWait2)
        });
    });
    drop(link.b);
    wait_until_the_link_is_gone();
}

fn netns__open_socket_keeps_it(stack: Stack) {
    let link = Veth::make();
    let (ends, _) = over(
        &link,
        Pair {
            client: stack,
            server: stack,
        },
    );
    drop(link.b);
    for _ in 0..10 {
        ends.check_alive();
    }
    drop(ends.server);
    assert_eq!(ends.client.recv(&mut [0; 4], 0).expect("the end"), 0);
    drop(ends.client);
    wait_until_the_link_is_gone();
}

/// Sockets in every kind of state are closed at once, with their namespace.
fn netns__deleted_with_everything(stack: Stack) {
    let link = Veth::make();
    link.b.run(|| {
        let fresh = Sock::open(stack);
        let bound = Sock::open(stack);
        bound.bind(&stack.local(0)).expect("bind");
        let (listener, address) = listening(stack, 8);
        let queued = Sock::open(stack);
        queued.connect(&address).expect("connect");
        let ends = connected(Pair {
            client: stack,
            server: stack,
        });
        ends.client.send_all(b"unread");
        let refused = Sock::open(stack);
        expect_errno(refused.connect(&stack.local(9)), libc::ECONNREFUSED);
        let connecting = Sock::open_nonblocking(stack);
        let nowhere = Veth::address_a(stack.ip, 9);
        let _ = connecting.connect(&nowhere);
        drop((fresh, bound, listener, queued, ends, refused, connecting));
    });
    drop(link.b);
    wait_until_the_link_is_gone();
}

fn netns__many_come_and_go(stack: Stack) {
    let home = Namespace::current();
    for _ in 0..30 {
        ns::isolate();
        let ends = connected(Pair {
            client: stack,
            server: stack,
        });
        ends.check_alive();
    }
    home.enter();
}

/// The queueing discipline on both ends of the link.
fn netem(link: &Veth, what: &str) {
    for (namespace, device) in [(&link.a, "va"), (&link.b, "vb")] {
        namespace.run(|| ns::sh_or_skip(&format!("tc qdisc add dev {device} root netem {what}")));
    }
}

/// Sends `total` bytes each way over a link that does `what`.
fn transfer_over(pair: Pair, what: &str, total: usize) {
    let link = Veth::make();
    netem(&link, what);
    let (ends, _) = over(&link, pair);
    transfer::both_ways(ends, total);
}

fn netem__delay(pair: Pair) {
    transfer_over(pair, "delay 20ms limit 10000", 2 << 20);
}

fn netem__delay_and_loss(pair: Pair) {
    transfer_over(pair, "delay 10ms loss 1% limit 10000", 1 << 20);
}

fn netem__reorder(pair: Pair) {
    transfer_over(pair, "delay 5ms reorder 75% limit 10000", 1 << 20);
}

fn netem__duplicate(pair: Pair) {
    transfer_over(pair, "duplicate 10% limit 10000", 1 << 20);
}

fn netem__corrupt(pair: Pair) {
    transfer_over(pair, "corrupt 1% limit 10000", 1 << 19);
}

fn netem__all_at_once(pair: Pair) {
    transfer_over(
        pair,
        "delay 5ms 3ms loss 1% duplicate 1% corrupt 0.5% reorder 20% limit 10000",
        1 << 18,
    );
}

/// A queue of few packets drops from every burst.
fn netem__short_queue(pair: Pair) {
    transfer_over(pair, "delay 2ms rate 50mbit limit 12", 1 << 20);
}

fn netem__handshakes_and_ends_under_loss(pair: Pair) {
    let link = Veth::make();
    netem(&link, "loss 10%");
    let address = Veth::address_b(pair.ip(), 5001);
    let (listener, _) = link.b.run(|| listening_at(pair.server, &address, 64));
    let clients: Vec<_> = (0..20_u8)
        .map(|n| {
            thread::spawn(move || {
                let client = Sock::open(pair.client);
                client.connect(&address).expect("connect");
                client.send_all(&[n; 100]);
                client.shutdown(libc::SHUT_WR).expect("shutdown");
                assert_eq!(client.recv_to_end(), [!n; 100]);
            })
        })
        .collect();
    for _ in 0..clients.len() {
        let (server, _) = listener.accept().expect("accept");
        let got = server.recv_to_end();
        assert_eq!(got.len(), 100);
        server.send_all(&got.iter().map(|byte| !byte).collect::<Vec<u8>>());
    }
    clients.into_iter().for_each(thread::Worker::join);
}

fn netem__requests_under_loss(pair: Pair) {
    let link = Veth::make();
    netem(&link, "delay 1ms loss 2%");
    let (ends, _) = over(&link, pair);
    for _ in 0..100 {
        ends.check_alive();
    }
}

/// The link fails in mid-stream; retransmission goes on when it is back.
fn link__down_and_up(pair: Pair) {
    let link = Veth::make();
    let (ends, _) = over(&link, pair);
    ends.check_alive();
    link.b.run(|| ns::sh("ip link set vb down"));
    ends.client.send_all(b"into the void");
    wait::until("it is sent and not acknowledged", || {
        ends.client.unacked() == 13
    });
    link.b.run(|| {
        ns::sh("ip link set vb up");
        // IPv6 addresses and fixed neighbours go with the link.
        ns::sh("ip addr replace 2001:db8::2/64 dev vb nodad");
        ns::sh("ip neigh replace 2001:db8::1 lladdr 02:00:00:00:00:01 dev vb nud permanent");
        ns::sh("ip neigh replace 192.0.2.1 lladdr 02:00:00:00:00:01 dev vb nud permanent");
    });
    ns::sh("ip neigh replace 192.0.2.2 lladdr 02:00:00:00:00:02 dev va nud permanent");
    ns::sh("ip neigh replace 2001:db8::2 lladdr 02:00:00:00:00:02 dev va nud permanent");
    assert_eq!(ends.server.recv_exact(13), b"into the void");
    ends.check_alive();
}
