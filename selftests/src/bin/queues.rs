// SPDX-License-Identifier: GPL-2.0
//! The queues below a connection, in its own host: how much of it waits there, and what becomes of what they drop.

use std::fs;
use std::process::ExitCode;
use std::time::Duration;

use oxtcp_selftests::capture::{Capture, Segment};
use oxtcp_selftests::connection::{listening_at, Connected};
use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::payload::Stream;
use oxtcp_selftests::{cases, ktap, thread, transfer, Ip, Pair, Sock, Stack, Suite};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("queues");
    cases!(suite.pairs:
        backlog__is_bounded, backlog__is_bounded_by_the_setting, drop__leaves_no_gap,
        loss__many_small_pieces, send_buffer__begins_as_the_built_in_tcp_s,
        send_buffer__is_capped,
    );
    suite.run()
}

/// A connection over the link, from `a` to a listener at this port of `b`.
fn over(link: &Veth, pair: Pair, port: u16) -> Connected {
    let address = Veth::address_b(pair.ip(), port);
    let (listener, _) = link.b.run(|| listening_at(pair.server, &address, 1));
    let client = Sock::open(pair.client);
    client.connect(&address).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    Connected { client, server }
}

/// A rate that a sender exceeds, and how much to send at it. A debug kernel sends slowly, and so does any on a busy host: the
/// faster is tried first.
const PACES: [(&str, usize); 2] = [("20mbit", 3 << 20), ("200kbit", 300_000)];

/// The paces that this kernel's sender is likely to exceed.
fn paces() -> &'static [(&'static str, usize)] {
    match fs::metadata("/proc/lockdep").is_ok() {
        true => &PACES[1..],
        false => &PACES,
    }
}

/// A queue at `va` that takes 20 MB, at `rate`.
fn slow_queue(rate: &str) {
    ns::sh_or_skip(&format!(
        "tc qdisc replace dev va root handle 1: tbf rate {rate} burst 100kb limit 20mb"
    ));
}

/// Sends through a slow queue; returns the most bytes that were in it.
fn backlog_of_a_transfer(link: &Veth, pair: Pair) -> u64 {
    let mut most = 0;
    for (&(rate, total), port) in paces().iter().zip(5001..) {
        slow_queue(rate);
        let Connected { client, server } = over(link, pair, port);
        let sender = thread::spawn(move || transfer::send(&client, 7, total));
        let receiver = thread::spawn(move || transfer::receive(&server, 7, total));
        while !receiver.is_finished() {
            most = most.max(ns::qdisc_count("va", "backlog"));
            // A look at the queue is a process of its own.
            std::thread::sleep(Duration::from_millis(5));
        }
        receiver.join();
        sender.join();
        ktap::note(&format!("{most} bytes at most, at {rate}"));
        if most > 0 {
            break;
        }
    }
    most
}

/// TCP small queues: however large the windows are, two bursts and the one that is added wait in the host.
fn backlog__is_bounded(pair: Pair) {
    let link = Veth::make();
    let most = backlog_of_a_transfer(&link, pair);
    assert!(
        (1..300_000).contains(&most),
        "{most} bytes waited in the queue"
    );
}

/// Beyond the setting nothing is added while anything but one burst is in flight.
fn backlog__is_bounded_by_the_setting(pair: Pair) {
    let link = Veth::make();
    match ns::find_sysctl(pair.client, "tcp_limit_output_bytes") {
        Some(path) => ns::set_sysctl(&path, "1"),
        None => panic!("no such setting"),
    }
    let most = backlog_of_a_transfer(&link, pair);
    // Two bursts of 64 KB and their headers. A debug kernel's sender may be slower than the queue.
    let least = u64::from(fs::metadata("/proc/lockdep").is_err());
    assert!(
        (least..145_000).contains(&most),
        "{most} bytes waited in the queue"
    );
}

/// What a full queue of the own host drops is known not to have left: it is sent when its turn comes, and the peer sees no
/// gap.
///
/// But for what the kernel tells nobody: when two processors hand packets to a queue at the same moment, one of them enqueues
/// both, and both are told that it went well (`__dev_xmit_skb()` since Linux 6.19). Beside IPv4 the link has no other traffic;
/// IPv6 itself says that it is there.
fn drop__leaves_no_gap(pair: Pair) {
    if !pair.client.ours {
        ktap::skip("the built-in TCP leaves a gap at times");
    }
    let link = Veth::make();
    let untold = match pair.ip() {
        Ip::V4 => {
            for (namespace, device) in [(&link.a, "va"), (&link.b, "vb")] {
                let path = format!("net/ipv6/conf/{device}/disable_ipv6");
                namespace.run(|| ns::set_sysctl(&path, "1"));
            }
            0
        }
        Ip::V6 => 5,
    };
    let (rate, total) = paces()[0];
    slow_queue(rate);
    ns::sh_or_skip("tc qdisc add dev va parent 1:1 handle 2: pfifo limit 1");
    let ends = over(&link, pair, 5001);
    // As it leaves the queue: beyond, several processors may deliver in another order.
    let capture = link.a.run(|| Capture::on("va"));
    let Connected { client, server } = ends;
    let sender = thread::spawn(move || transfer::send(&client, 7, total));
    transfer::receive(&server, 7, total);
    sender.join();
    let drops = ns::qdisc_count("va", "drops");
    ktap::note(&format!("{drops} dropped"));
    assert!(drops > 0, "the queue was never full");
    let mut expected = None;
    let mut gaps = 0;
    let segments = capture.segments();
    for (at, segment) in segments.iter().enumerate() {
        if !segment.outgoing || segment.payload == 0 {
            continue;
        }
        let next = *expected.get_or_insert(segment.seq);
        let ahead = segment.seq.wrapping_sub(next) as i32;
        if ahead > 0 {
            for near in &segments[at.saturating_sub(12)..(at + 12).min(segments.len())] {
                ktap::note(&described(near, next));
            }
            gaps += 1;
        }
        let end = segment.seq.wrapping_add(segment.payload as u32);
        if end.wrapping_sub(next) as i32 > 0 {
            expected = Some(end);
        }
    }
    assert!(expected.is_some(), "nothing was captured");
    assert!(gaps <= untold, "{gaps} gaps");
}

/// Sequence numbers from `origin` on.
fn described(segment: &Segment, origin: u32) -> String {
    let from = |seq: u32| seq.wrapping_sub(origin) as i32;
    match segment.outgoing {
        true => format!(
            "> {}..{} flags {:#x} options {:02x?}",
            from(segment.seq),
            from(segment.seq) + segment.payload as i32,
            segment.flags,
            segment.options
        ),
        false => format!(
            "< ack {} options {:02x?}",
            from(segment.ack),
            segment.options
        ),
    }
}

fn send_buffer_of(sock: &Sock) -> i32 {
    sock.get(libc::SOL_SOCKET, libc::SO_SNDBUF)
        .expect("SO_SNDBUF")
}

/// A connection's first send buffer, for segments of 1448 bytes.
fn send_buffer__begins_as_the_built_in_tcp_s(pair: Pair) {
    let link = Veth::make();
    let builtin = Stack::builtin(pair.ip());
    let theirs = over(
        &link,
        Pair {
            client: builtin,
            server: builtin,
        },
        5001,
    );
    let ends = over(&link, pair, 5002);
    for (ours, theirs) in [
        (&ends.client, &theirs.client),
        (&ends.server, &theirs.server),
    ] {
        assert_eq!(send_buffer_of(ours), send_buffer_of(theirs));
    }
}

/// No more bytes than sequence numbers tell apart, whatever root asks for; and the connection works.
fn send_buffer__is_capped(pair: Pair) {
    let link = Veth::make();
    let ends = over(&link, pair, 5001);
    ends.client
        .set(libc::SOL_SOCKET, libc::SO_SNDBUFFORCE, i32::MAX)
        .expect("SO_SNDBUFFORCE");
    let most = match pair.client.ours {
        true => 1 << 30,
        // Linux lets it be, and bounds what is written elsewhere.
        false => i32::MAX,
    };
    let size = send_buffer_of(&ends.client);
    assert!((1 << 29..=most).contains(&size), "{size}");
    transfer::both_ways(ends, 300_000);
}

/// Two connections written to in turn, in small pieces that no page joins, with losses: every range of the send buffer is
/// found again.
fn loss__many_small_pieces(pair: Pair) {
    const TOTAL: usize = 200_000;
    let link = Veth::make();
    for (namespace, device) in [(&link.a, "va"), (&link.b, "vb")] {
        namespace.run(|| {
            ns::sh_or_skip(&format!(
                "tc qdisc add dev {device} root netem delay 3ms 2ms loss 2% reorder 5% limit 10000"
            ))
        });
    }
    let ends: Vec<Connected> = [5001, 5002]
        .into_iter()
        .map(|port| over(&link, pair, port))
        .collect();
    let (clients, servers): (Vec<Sock>, Vec<Sock>) =
        ends.into_iter().map(|e| (e.client, e.server)).unzip();
    let writer = thread::spawn(move || {
        let mut streams = [Stream::new(1), Stream::new(2)];
        let mut size = 1;
        while streams.iter().any(|s| (s.position() as usize) < TOTAL) {
            for (client, stream) in clients.iter().zip(&mut streams) {
                let left = TOTAL - stream.position() as usize;
                client.send_all(&stream.take(left.min(size)));
            }
            // 1 to 1499, in no order that a segment's size fits into.
            size = (size * 7 + 13) % 1499 + 1;
        }
        for client in clients {
            client.shutdown(libc::SHUT_WR).expect("shutdown");
        }
    });
    let readers: Vec<_> = servers
        .into_iter()
        .zip([1, 2])
        .map(|(server, seed)| thread::spawn(move || transfer::receive(&server, seed, TOTAL)))
        .collect();
    writer.join();
    readers.into_iter().for_each(thread::Worker::join);
}
