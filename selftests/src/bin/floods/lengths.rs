// SPDX-License-Identifier: GPL-2.0
//! What a packet costs by how many others there are: in the queues of a connection, half open, in TIME-WAIT, before accept().

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use oxtcp_selftests::capture;
use oxtcp_selftests::connection::listening_at;
use oxtcp_selftests::flood::{Flood, Kind, Raw, Sources};
use oxtcp_selftests::forge::packet;
use oxtcp_selftests::handshakes::Handshakes;
use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::procnet::{self, State};
use oxtcp_selftests::raw_peer::RawPeer;
use oxtcp_selftests::tcp_info::TcpInfo;
use oxtcp_selftests::{wait, Ip, Sock, Stack};

use crate::bed::{new_address, set};
use crate::readings;

/// How many others there are.
const LENGTHS: [usize; 4] = [10, 100, 1000, 10_000];

/// How many packets the cost is the mean of.
const MEASURED: usize = 1000;

/// After so long what the measurement before has left is gone: half-open connections whose listener was closed go with their next timer, and
/// TIME-WAITs after a minute.
const PAUSE: Duration = Duration::from_secs(65);

/// Room for all of them.
const BUFFER: i32 = 256 << 20;

/// SO_RCVBUFFORCE and SO_SNDBUFFORCE set it whatever the limits are.
const FORCED: [i32; 2] = [libc::SO_RCVBUFFORCE, libc::SO_SNDBUFFORCE];

/// What stands in a row: what is measured, with so many others.
type Measure = fn(&Veth, Stack, usize) -> f64;

const ROWS: [(&str, Measure); 8] = [
    (
        "a byte out of order, before others that wait",
        before_others,
    ),
    ("a byte out of order, among others that wait", among_others),
    ("a byte that comes twice, of others that wait", twice),
    ("a packet for a full receive buffer", to_a_full_buffer),
    (
        "an ACK with three SACK blocks, of segments in flight",
        sack_blocks,
    ),
    ("a SYN, connections are half open", half_open),
    ("a segment to a TIME-WAIT, of others", time_wait),
    ("a handshake, connections wait for accept()", accept_queue),
];

/// Prints a line for each row and TCP.
pub fn table(link: &Veth) {
    println!("\n**Instructions for a packet, by the number of others**\n");
    println!("| packet | TCP | 10 | 100 | 1000 | 10000 |\n|---|---|---|---|---|---|");
    for (what, measure) in ROWS {
        for ours in [true, false] {
            let server = Stack { ours, ip: Ip::V4 };
            let costs = LENGTHS.map(|length| {
                std::thread::sleep(PAUSE);
                format!("{:.0}", measure(link, server, length))
            });
            let tcp = if ours { "oxtcp" } else { "built-in" };
            println!("| {what} | {tcp} | {} |", costs.join(" | "));
        }
    }
}

/// The mean of what `count` packets cost that `send` sends.
fn mean(count: usize, send: impl FnOnce() -> usize) -> f64 {
    // What was sent before is through.
    std::thread::sleep(Duration::from_millis(10));
    let start = Instant::now();
    let sent = send();
    let time = start.elapsed().as_nanos() as f64;
    assert_eq!(sent, count, "packets that were not sent");
    time / count as f64
}

/// A connection of the server's with a peer that does what it is told. The buffers are of `buffer` bytes.
fn connection(link: &Veth, server: Stack, buffer: i32) -> (Sock, RawPeer) {
    let address = new_address(server.ip);
    let listener = Sock::open(server);
    for option in FORCED {
        listener
            .set(libc::SOL_SOCKET, option, buffer)
            .expect("a buffer's size");
    }
    listener.bind(&address).expect("bind");
    listener.listen(1).expect("listen");
    let from = Veth::address_of_nobody(server.ip, 40_000);
    let peer = link.b.run(|| RawPeer::connect(from, address, "vb"));
    let (served, _) = listener.accept().expect("accept");
    (served, peer)
}

/// A hole is in front of all that comes, and one between the two runs of bytes. All of it is in the first window.
const FIRST_RUN: u32 = 10;
const SECOND_RUN: u32 = 5000;

/// So many bytes, each a packet that none is joined to: they come backwards.
fn backwards(peer: &RawPeer, at: u32, count: usize) -> Vec<Vec<u8>> {
    let one = |n| peer.segment(at + n as u32, 0, &[], b"x");
    (0..count).rev().map(one).collect()
}

fn forwards(peer: &RawPeer, at: u32, count: usize) -> Vec<Vec<u8>> {
    let one = |n| peer.segment(at + n as u32, 0, &[], b"x");
    (0..count).map(one).collect()
}

/// The bytes of `holes` come, and all up to `end` is there: what came out of order was kept.
fn check(served: &Sock, peer: &mut RawPeer, holes: &[(u32, u32)], end: u32) {
    let bytes = vec![b'x'; 1400];
    for (start, end) in holes {
        let starts = (*start..*end).step_by(bytes.len());
        let piece = |at: u32| &bytes[..(end - at).min(1400) as usize];
        let all: Vec<Vec<u8>> = starts
            .map(|at| peer.segment(at, 0, &[], piece(at)))
            .collect();
        assert_eq!(peer.send(&all), all.len());
    }
    wait::until("all has come", || served.readable() == end as usize);
    assert!(served.recv_exact(end as usize).iter().all(|b| *b == b'x'));
}

/// The attack of CVE-2018-5390: a run of small packets waits beyond a hole, and one before it grows.
fn before_others(link: &Veth, server: Stack, length: usize) -> f64 {
    let (served, mut peer) = connection(link, server, BUFFER);
    let others = backwards(&peer, SECOND_RUN, length);
    let run = forwards(&peer, FIRST_RUN, MEASURED);
    let cost = link.b.run(|| {
        peer.send(&others);
        mean(MEASURED, || peer.send(&run))
    });
    let holes = [(0, FIRST_RUN), (FIRST_RUN + MEASURED as u32, SECOND_RUN)];
    check(&served, &mut peer, &holes, SECOND_RUN + length as u32);
    cost
}

/// Between two such runs one grows backwards.
fn among_others(link: &Veth, server: Stack, length: usize) -> f64 {
    let (served, mut peer) = connection(link, server, BUFFER);
    let (start, gap) = (SECOND_RUN, SECOND_RUN + length as u32);
    let mut others = backwards(&peer, SECOND_RUN, length);
    let beyond = gap + 1 + MEASURED as u32;
    others.extend(backwards(&peer, beyond, length));
    let run = backwards(&peer, gap + 1, MEASURED);
    let cost = link.b.run(|| {
        peer.send(&others);
        mean(MEASURED, || peer.send(&run))
    });
    let holes = [(0, start), (gap, gap + 1)];
    check(&served, &mut peer, &holes, beyond + length as u32);
    cost
}

fn twice(link: &Veth, server: Stack, length: usize) -> f64 {
    let (served, mut peer) = connection(link, server, BUFFER);
    let others = backwards(&peer, SECOND_RUN, length);
    let one = |n| peer.segment(SECOND_RUN + (n * 7919 % length) as u32, 0, &[], b"x");
    let run: Vec<Vec<u8>> = (0..MEASURED).map(one).collect();
    let cost = link.b.run(|| {
        peer.send(&others);
        mean(MEASURED, || peer.send(&run))
    });
    let end = SECOND_RUN + length as u32;
    check(&served, &mut peer, &[(0, SECOND_RUN)], end);
    cost
}

/// What a segment of the peer's MSS takes that comes by a veth device, at the least.
const FULL_MEMORY: usize = 2048;

/// The program does not read, and has made the buffer smaller than what is in it. What comes is in the window that was offered before, and
/// is looked for room for: packets are copied together (`tcp_collapse()`), others given up.
fn to_a_full_buffer(link: &Veth, server: Stack, length: usize) -> f64 {
    let (served, mut peer) = connection(link, server, BUFFER);
    let bytes = vec![b'x'; MSS as usize];
    let one = |n| peer.segment(n as u32 * MSS, 0, &[], &bytes);
    let fill: Vec<Vec<u8>> = (0..length).map(one).collect();
    assert_eq!(peer.send(&fill), length);
    wait::until("all has come", || served.readable() == length * bytes.len());
    // The option doubles it.
    let buffer = (length * FULL_MEMORY / 4) as i32;
    served
        .set(libc::SOL_SOCKET, libc::SO_RCVBUFFORCE, buffer)
        .expect("SO_RCVBUFFORCE");
    let end = length as u32 * MSS;
    let run: Vec<Vec<u8>> = (0..MEASURED)
        .map(|n| peer.segment(end + 1 + (n % 16) as u32, 0, &[], b"x"))
        .collect();
    let cost = mean(MEASURED, || peer.send(&run));
    let there = served.recv_exact(length * bytes.len());
    assert!(there.iter().all(|b| *b == b'x'));
    cost
}

/// The peer's MSS, without timestamps.
const MSS: u32 = 1460;

/// So many segments are in flight, and each ACK reports three of them, anywhere.
fn sack_blocks(link: &Veth, server: Stack, length: usize) -> f64 {
    let (served, mut peer) = connection(link, server, BUFFER);
    served.set_nonblocking(true);
    let bytes = vec![b'x'; MSS as usize * length];
    let mut sent = 0;
    let mut write = |most: usize| {
        let mut left = most;
        while left > 0 {
            match served.send(&bytes[..left], 0) {
                Ok(len) => (sent, left) = (sent + len, left - len),
                Err(_) => break,
            }
        }
        let waiting = TcpInfo::of(&served).notsent_bytes as usize;
        (sent - waiting, waiting)
    };
    // What is sent is acknowledged until the congestion window has room for all.
    link.b.run(|| {
        wait::until("the congestion window", || {
            let (acked, _) = write(bytes.len());
            let ack = peer.segment(0, acked as u32, &[], &[]);
            peer.send(&[ack]);
            TcpInfo::of(&served).snd_cwnd as usize > length
        });
        let mut acked = 0;
        wait::until("an empty flight", || {
            let (all, waiting) = write(0);
            acked = all;
            let ack = peer.segment(0, acked as u32, &[], &[]);
            peer.send(&[ack]);
            waiting == 0 && TcpInfo::of(&served).unacked == 0
        });
        let (all, waiting) = write(bytes.len());
        assert_eq!((all - acked, waiting), (bytes.len(), 0), "in flight");
        let acked = acked as u32;
        let mut random: u32 = 1;
        let mut any = || {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let start = acked + MSS * (1 + (random >> 8) % (length as u32 - 1));
            (start, start + MSS)
        };
        let run: Vec<Vec<u8>> = (0..MEASURED)
            .map(|_| {
                let options = peer.sack(&[any(), any(), any()]);
                peer.segment(0, acked, &options, &[])
            })
            .collect();
        let cost = mean(MEASURED, || peer.send(&run));
        // It lives.
        let ack = peer.segment(0, acked + bytes.len() as u32, &[], &[]);
        peer.send(&[ack]);
        wait::until("all is acknowledged", || TcpInfo::of(&served).unacked == 0);
        cost
    })
}

/// A listener whose queues hold so many.
fn roomy(server: Stack, length: usize) -> (Sock, SocketAddr) {
    let most = (4 * (length + MEASURED)).to_string();
    // listen(2) itself heeds the first one.
    ns::set_sysctl("net/core/somaxconn", &most);
    if server.ours {
        ns::set_sysctl("net/oxtcp/somaxconn", &most);
    }
    set(server, "max_syn_backlog", &most);
    listening_at(
        server,
        &new_address(server.ip),
        4 * (length + MEASURED) as i32,
    )
}

fn half_open(link: &Veth, server: Stack, length: usize) -> f64 {
    set(server, "syncookies", "0");
    let (_listener, address) = roomy(server, length);
    let cost = link.b.run(|| {
        let mut flood = Flood::new(Kind::Syn, address, Sources::Everywhere);
        flood.send(length);
        let run = flood.make(MEASURED);
        mean(MEASURED, || flood.send_made(&run))
    });
    let there = readings::half_open(server, address);
    set(server, "syncookies", "1");
    assert!(there > (length + MEASURED) * 9 / 10, "{there} half open");
    cost
}

fn time_wait(link: &Veth, server: Stack, length: usize) -> f64 {
    set(server, "max_tw_buckets", "100000");
    let (listener, address) = roomy(server, 1);
    let from = |number: usize| Veth::address_b(server.ip, 20_000 + number as u16);
    for number in 0..length {
        let client = link.b.run(|| {
            let client = Sock::open(Stack::builtin(server.ip));
            client.bind(&from(number)).expect("bind");
            client.connect(&address).expect("connect");
            client
        });
        drop(listener.accept().expect("accept"));
        assert_eq!(client.recv(&mut [0], 0).expect("the end"), 0);
    }
    let of = |entry: &procnet::Entry| entry.local == address && entry.state == State::TimeWait;
    wait::until("TIME-WAITs", || {
        procnet::entries(server).iter().filter(|e| of(e)).count() == length
    });
    link.b.run(|| {
        // The client is gone: it would answer with resets.
        ns::nft_input(&[&format!("tcp sport {} drop", address.port())]);
        let mut raw = Raw::new(address.ip());
        let one = |n: usize| packet(from(0), address, (n as u32, 0), capture::ACK, &[], &[]);
        let run: Vec<Vec<u8>> = (0..MEASURED).map(one).collect();
        let cost = mean(MEASURED, || {
            run.chunks(64).map(|batch| raw.send(batch)).sum()
        });
        ns::nft_clear();
        cost
    })
}

fn accept_queue(link: &Veth, server: Stack, length: usize) -> f64 {
    set(server, "syncookies", "1");
    let (_listener, address) = roomy(server, length);
    let cost = link.b.run(|| {
        let mut shakes = Handshakes::new(address, Sources::Everywhere, "vb");
        let mut shake = |count: usize| {
            let mut left = count;
            while left > 0 {
                shakes.knock(left.min(64));
                left -= left.min(64);
            }
            shakes.acknowledge();
            count
        };
        shake(length);
        mean(MEASURED, || shake(MEASURED))
    });
    let there = readings::waiting(server, address);
    assert!(
        there as usize > (length + MEASURED) * 9 / 10,
        "{there} wait"
    );
    cost
}
