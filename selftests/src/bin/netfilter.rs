// SPDX-License-Identifier: GPL-2.0
//! Firewalls, connection tracking and address translation treat our flows as any TCP's; and what is not
//! ours passes untouched.

use std::net::SocketAddr;
use std::process::ExitCode;

use oxtcp_selftests::connection::{listening_at, Connected};
use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::{
    cases, expect_errno, listening, thread, transfer, wait, Ip, Pair, Sock, Stack, Suite,
};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("netfilter");
    cases!(suite.pairs:
        filter__counts_both_directions, filter__drop_stalls_and_lifts, filter__drop_on_output,
        filter__reject_resets_the_connection, filter__unreachable_refuses,
        conntrack__sees_the_right_direction, conntrack__sees_the_end, conntrack__nothing_invalid,
        conntrack__stateful_firewall, nat__redirect, nat__redirect_of_local_client, nat__masquerade,
        nat__destination,
    );
    cases!(suite.stacks:
        pass__builtin_service_beside, pass__same_port_other_address, pass__port_of_nobody_is_reset_once,
        pass__builtin_bulk_is_unharmed,
    );
    suite.run()
}

/// A listener at port 5001 of the loopback address and a connection to it, in this namespace.
fn over_loopback(pair: Pair) -> Connected {
    let (listener, address) = listening_at(pair.server, &pair.server.local(5001), 1);
    let client = Sock::open(pair.client);
    client.connect(&address).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    Connected { client, server }
}

/// A connection over the link to `target`, accepted by a listener at port 5001 of namespace `b`.
fn over_link(link: &Veth, pair: Pair, target: SocketAddr) -> (Connected, SocketAddr) {
    let (listener, _) = link
        .b
        .run(|| listening_at(pair.server, &pair.server.any(5001), 1));
    let client = Sock::open(pair.client);
    client.connect(&target).expect("connect");
    let (server, from) = listener.accept().expect("accept");
    (Connected { client, server }, from)
}

fn filter__counts_both_directions(pair: Pair) {
    ns::isolate();
    ns::nft(
        "table inet t {\n counter to_in { }\n counter to_out { }\n counter from_in { }\n counter from_out { }\n\
         chain in {\n type filter hook input priority 0;\n tcp dport 5001 counter name to_in\n\
         tcp sport 5001 counter name from_in\n }\n\
         chain out {\n type filter hook output priority 0;\n tcp dport 5001 counter name to_out\n\
         tcp sport 5001 counter name from_out\n }\n}",
    );
    over_loopback(pair).check_alive();
    for counter in ["to_in", "to_out", "from_in", "from_out"] {
        let packets = ns::nft_packets(counter);
        assert!(packets >= 3, "{counter}: {packets}");
    }
    assert_eq!(ns::nft_packets("to_in"), ns::nft_packets("to_out"));
    assert_eq!(ns::nft_packets("from_in"), ns::nft_packets("from_out"));
}

/// What a rule drops does not arrive; it comes by retransmission once the rule is gone.
fn drop_and_lift(pair: Pair, hook: &str) {
    ns::isolate();
    let ends = over_loopback(pair);
    ends.check_alive();
    ns::nft(&format!(
        "table inet t {{\n counter dropped {{ }}\n chain c {{\n type filter hook {hook} priority 0;\n \
         tcp dport 5001 counter name dropped drop\n }}\n}}"
    ));
    ends.client.send_all(b"held up");
    wait::until("the rule has dropped it, and a retransmission", || {
        ns::nft_packets("dropped") >= 2
    });
    assert_eq!(ends.server.readable(), 0);
    ns::nft_clear();
    assert_eq!(ends.server.recv_exact(7), b"held up");
    ends.check_alive();
}

fn filter__drop_stalls_and_lifts(pair: Pair) {
    drop_and_lift(pair, "input");
}

fn filter__drop_on_output(pair: Pair) {
    drop_and_lift(pair, "output");
}

fn filter__reject_resets_the_connection(pair: Pair) {
    ns::isolate();
    let ends = over_loopback(pair);
    ends.check_alive();
    ns::nft_input(&["tcp dport 5001 reject with tcp reset"]);
    ends.client.send_all(b"x");
    ends.client.poll_until_all(libc::POLLERR | libc::POLLHUP);
    assert_eq!(ends.client.take_error(), libc::ECONNRESET);
}

/// ICMP's port unreachable ends a connection attempt.
fn filter__unreachable_refuses(pair: Pair) {
    ns::isolate();
    ns::nft_input(&["tcp dport 5001 reject with icmpx type port-unreachable"]);
    let (_listener, address) = listening_at(pair.server, &pair.server.local(5001), 1);
    expect_errno(
        Sock::open(pair.client).connect(&address),
        libc::ECONNREFUSED,
    );
}

/// The lines about TCP of this namespace's connection tracking.
fn tracked() -> Vec<String> {
    let text = match std::fs::read_to_string("/proc/thread-self/net/nf_conntrack") {
        Ok(text) => text,
        Err(_) => {
            ns::need("conntrack");
            ns::sh_or_skip(
                "conntrack -L -f ipv4 -p tcp 2>/dev/null; conntrack -L -f ipv6 -p tcp 2>/dev/null",
            )
        }
    };
    text.lines()
        .filter(|line| line.contains("tcp"))
        .map(str::to_string)
        .collect()
}

/// The values of a field, in the original direction first.
fn fields<'a>(line: &'a str, name: &str) -> Vec<&'a str> {
    line.split_whitespace()
        .filter_map(|word| word.strip_prefix(name)?.strip_prefix('='))
        .collect()
}

/// A rule about states starts the tracking.
const TRACK: &str = "table inet t {\n counter invalid { }\n counter fresh { }\n\
    chain in {\n type filter hook input priority 0;\n ct state invalid counter name invalid\n\
    ct state new counter name fresh\n }\n\
    chain out {\n type filter hook output priority 0;\n ct state invalid counter name invalid\n }\n}";

/// The one line that tracks our flow.
fn tracked_flow(client_port: u16) -> Option<String> {
    let port = client_port.to_string();
    tracked().into_iter().find(|line| {
        fields(line, "sport").contains(&port.as_str())
            || fields(line, "dport").contains(&port.as_str())
    })
}

fn conntrack__sees_the_right_direction(pair: Pair) {
    let link = Veth::make();
    link.a.run(|| ns::nft(TRACK));
    link.b.run(|| ns::nft(TRACK));
    let (ends, from) = over_link(&link, pair, Veth::address_b(pair.ip(), 5001));
    ends.check_alive();
    for namespace in [&link.a, &link.b] {
        namespace.run(|| {
            let line = tracked_flow(from.port()).expect("the flow is tracked");
            assert!(line.contains("ESTABLISHED"), "{line}");
            assert!(line.contains("ASSURED"), "{line}");
            let (client, server) = (from.port().to_string(), "5001".to_string());
            assert_eq!(fields(&line, "sport"), [&client, &server], "{line}");
            assert_eq!(fields(&line, "dport"), [&server, &client], "{line}");
        });
    }
}

fn conntrack__sees_the_end(pair: Pair) {
    let link = Veth::make();
    link.a.run(|| ns::nft(TRACK));
    link.b.run(|| ns::nft(TRACK));
    let (ends, from) = over_link(&link, pair, Veth::address_b(pair.ip(), 5001));
    ends.check_alive();
    transfer::both_ways(ends, 10_000);
    for namespace in [&link.a, &link.b] {
        namespace.run(|| {
            wait::until("the tracked flow is in TIME_WAIT", || {
                tracked_flow(from.port()).is_some_and(|line| line.contains("TIME_WAIT"))
            });
        });
    }
}

fn conntrack__nothing_invalid(pair: Pair) {
    let link = Veth::make();
    link.a.run(|| ns::nft(TRACK));
    link.b.run(|| ns::nft(TRACK));
    let (ends, _) = over_link(&link, pair, Veth::address_b(pair.ip(), 5001));
    transfer::both_ways(ends, 1 << 20);
    for namespace in [&link.a, &link.b] {
        namespace.run(|| {
            assert_eq!(
                ns::nft_packets("invalid"),
                0,
                "segments that conntrack calls invalid"
            )
        });
    }
    link.b
        .run(|| assert_eq!(ns::nft_packets("fresh"), 1, "one segment opens the flow"));
}

/// A host that lets nothing in but answers, and new connections to port 5001.
fn conntrack__stateful_firewall(pair: Pair) {
    let link = Veth::make();
    let rules = |open: &str| {
        format!(
            "table inet t {{\n counter dropped {{ }}\n chain in {{\n type filter hook input priority 0; policy drop;\n \
             icmpv6 type {{ nd-neighbor-solicit, nd-neighbor-advert }} accept\n ct state established,related accept\n \
             {open}\n counter name dropped\n }}\n}}"
        )
    };
    link.a.run(|| ns::nft(&rules("")));
    link.b.run(|| ns::nft(&rules("tcp dport 5001 accept")));
    let (ends, _) = over_link(&link, pair, Veth::address_b(pair.ip(), 5001));
    transfer::both_ways(ends, 1 << 20);
}

/// The family's name in nft, and how an address is written with a port.
fn nft_ip(ip: Ip) -> &'static str {
    match ip {
        Ip::V4 => "ip",
        Ip::V6 => "ip6",
    }
}

/// A chain of NAT at a hook with one rule.
fn nat(hook: &str, rule: &str) {
    let priority = if ["prerouting", "output"].contains(&hook) {
        -100
    } else {
        100
    };
    ns::nft(&format!(
        "table inet t {{\n chain c {{\n type nat hook {hook} priority {priority};\n {rule}\n }}\n}}"
    ));
}

fn nat__redirect(pair: Pair) {
    let link = Veth::make();
    link.b
        .run(|| nat("prerouting", "tcp dport 80 redirect to :5001"));
    let target = Veth::address_b(pair.ip(), 80);
    let (ends, _) = over_link(&link, pair, target);
    assert_eq!(ends.client.peer().expect("getpeername"), target);
    transfer::both_ways(ends, 1 << 20);
}

fn nat__redirect_of_local_client(pair: Pair) {
    ns::isolate();
    nat("output", "tcp dport 80 redirect to :5001");
    let (listener, _) = listening_at(pair.server, &pair.server.local(5001), 1);
    let client = Sock::open(pair.client);
    client.connect(&pair.client.local(80)).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    transfer::both_ways(Connected { client, server }, 1 << 20);
}

fn nat__masquerade(pair: Pair) {
    let link = Veth::make();
    nat("postrouting", "tcp dport 5001 masquerade to :61000-61100");
    let (ends, from) = over_link(&link, pair, Veth::address_b(pair.ip(), 5001));
    assert!((61_000..=61_100).contains(&from.port()), "{from}");
    transfer::both_ways(ends, 1 << 20);
}

fn nat__destination(pair: Pair) {
    let link = Veth::make();
    let target = pair.client.foreign(80);
    let family = nft_ip(pair.ip());
    let real = match Veth::address_b(pair.ip(), 5001) {
        SocketAddr::V4(v4) => v4.to_string(),
        SocketAddr::V6(v6) => v6.to_string(),
    };
    nat(
        "output",
        &format!(
            "{family} daddr {} tcp dport 80 dnat {family} to {real}",
            target.ip()
        ),
    );
    let route = Veth::address_b(pair.ip(), 0).ip();
    let option = if pair.ip() == Ip::V6 { "-6" } else { "-4" };
    ns::sh(&format!(
        "ip {option} route add {} via {route}",
        target.ip()
    ));
    let (ends, _) = over_link(&link, pair, target);
    assert_eq!(ends.client.peer().expect("getpeername"), target);
    transfer::both_ways(ends, 1 << 20);
}

/// Connects within a stack to a listener.
fn meet(stack: Stack, listener: &Sock, address: SocketAddr) -> Connected {
    let client = Sock::open(stack);
    client.connect(&address).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    Connected { client, server }
}

fn pass__builtin_service_beside(stack: Stack) {
    ns::isolate();
    let builtin = Stack::builtin(stack.ip);
    let (our_listener, our_address) = listening_at(stack, &stack.any(5001), 8);
    let (listener, address) = listening_at(builtin, &builtin.any(5002), 8);
    let local = |address: SocketAddr| stack.local(address.port());
    let mut all = Vec::new();
    for client in [stack, builtin] {
        all.push(meet(client, &our_listener, local(our_address)));
        all.push(meet(client, &listener, local(address)));
    }
    for ends in &all {
        ends.check_alive();
    }
}

/// One port, two addresses, two stacks: each gets its own.
fn pass__same_port_other_address(stack: Stack) {
    ns::isolate();
    if stack.ip == Ip::V6 {
        ns::sh("ip addr add 2001:db8:7::1/128 dev lo nodad");
    }
    let other = if stack.ip == Ip::V4 {
        "127.0.0.2:5001"
    } else {
        "[2001:db8:7::1]:5001"
    };
    let other: SocketAddr = other.parse().expect("an address");
    let builtin = Stack::builtin(stack.ip);
    let (ours, our_address) = listening_at(stack, &stack.local(5001), 8);
    let (theirs, their_address) = listening_at(builtin, &other, 8);
    for client in [stack, builtin] {
        meet(client, &ours, our_address).check_alive();
        meet(client, &theirs, their_address).check_alive();
    }
}

/// A SYN to a port that nobody has draws one reset, not one of each TCP.
fn pass__port_of_nobody_is_reset_once(stack: Stack) {
    ns::isolate();
    let (_listener, _) = listening(stack, 1);
    ns::nft_input(&["tcp sport 5009 tcp flags & rst == rst counter name dropped"]);
    for client in [stack, Stack::builtin(stack.ip)] {
        let before = ns::nft_packets("dropped");
        expect_errno(
            Sock::open(client).connect(&stack.local(5009)),
            libc::ECONNREFUSED,
        );
        assert_eq!(ns::nft_packets("dropped") - before, 1);
    }
}

fn pass__builtin_bulk_is_unharmed(stack: Stack) {
    ns::isolate();
    let builtin = Stack::builtin(stack.ip);
    let (listener, address) = listening(stack, 8);
    let ours = meet(stack, &listener, address);
    let other = thread::spawn(move || transfer::both_ways(ours, 4 << 20));
    let (listener, address) = listening(builtin, 8);
    transfer::both_ways(meet(builtin, &listener, address), 4 << 20);
    other.join();
}
