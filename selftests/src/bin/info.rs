// SPDX-License-Identifier: GPL-2.0
//! TCP_INFO: what a socket tells of itself, beside what has happened.

use std::process::ExitCode;

use oxtcp_selftests::connection::{connected_with, listening_at};
use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::tcp_info::{self, TcpInfo};
use oxtcp_selftests::{
    cases, connected, ktap, listening, thread, transfer, wait, Connected, Pair, Sock, Stack, Suite,
};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("info");
    cases!(suite.stacks:
        info__any_length, info__of_a_new_socket, info__of_a_listener,
    );
    cases!(suite.pairs:
        info__of_a_new_connection, info__counts_both_ways, info__segments_agree,
        info__tells_the_times, info__tells_of_a_shut_window, info__tells_of_a_full_send_buffer,
        info__tells_of_losses, info__tells_of_marks, info__tells_the_pacing_rate,
        info__tells_the_delivery_rate, info__tells_of_a_rate_that_the_program_limits,
        info__after_a_fin, info__after_a_reset,
    );
    suite.run()
}

/// All that is in flight has been acknowledged.
#[track_caller]
fn settled(sock: &Sock) -> TcpInfo {
    wait::until_some("acknowledgment", || {
        let info = TcpInfo::of(sock);
        (info.unacked == 0 && info.notsent_bytes == 0).then_some(info)
    })
}

/// The peer has sent `bytes` of data, and all has come.
#[track_caller]
fn received(sock: &Sock, bytes: u64) -> TcpInfo {
    wait::until_some("data", || {
        let info = TcpInfo::of(sock);
        (info.bytes_received >= bytes).then_some(info)
    })
}

/// As much as fits, and not a byte more.
fn info__any_length(stack: Stack) {
    let sock = Sock::open(stack);
    let ask = |bytes: &mut [u8]| {
        sock.get_bytes(libc::SOL_TCP, libc::TCP_INFO, bytes)
            .expect("TCP_INFO")
    };
    let mut whole = [0xa5; 1024];
    let size = ask(&mut whole);
    assert!((tcp_info::LEAST..1024).contains(&size), "{size}");
    assert!(whole[size..].iter().all(|byte| *byte == 0xa5));
    for len in [0, 1, 7, 8, 104, 191, size - 1, size, size + 1] {
        let mut part = [0xa5; 1024];
        let told = ask(&mut part[..len]);
        assert_eq!(told, len.min(size));
        assert!(part[told..].iter().all(|byte| *byte == 0xa5), "{len}");
        assert_eq!(part[..told.min(8)], whole[..told.min(8)], "{len}");
    }
}

fn info__of_a_new_socket(stack: Stack) {
    let info = TcpInfo::of(&Sock::open(stack));
    assert_eq!(info.state, tcp_info::CLOSE);
    assert_eq!((info.snd_cwnd, info.reordering), (10, 3));
    assert_eq!((info.snd_mss, info.rto), (536, 1_000_000));
    assert_eq!(info.snd_ssthresh, 0x7fff_ffff);
    assert_eq!((info.segs_in, info.segs_out), (0, 0));
    assert_eq!(info.max_pacing_rate, u64::MAX);
}

fn info__of_a_listener(stack: Stack) {
    let (listener, address) = listening(stack, 5);
    let info = TcpInfo::of(&listener);
    assert_eq!(info.state, tcp_info::LISTEN);
    assert_eq!((info.unacked, info.sacked), (0, 5));
    assert_eq!((info.snd_cwnd, info.rto, info.rtt), (10, 0, 0));
    let clients: Vec<Sock> = (0..2).map(|_| Sock::open(stack)).collect();
    for client in &clients {
        client.connect(&address).expect("connect");
    }
    wait::until("two to wait for accept()", || {
        TcpInfo::of(&listener).unacked == 2
    });
    let _accepted = listener.accept().expect("accept");
    let info = TcpInfo::of(&listener);
    assert_eq!((info.unacked, info.sacked), (1, 5));
}

fn info__of_a_new_connection(pair: Pair) {
    let ends = connected(pair);
    for (end, active) in [(&ends.client, true), (&ends.server, false)] {
        let info = TcpInfo::of(end);
        assert_eq!(info.state, tcp_info::ESTABLISHED, "{info:?}");
        assert_eq!(
            info.options & tcp_info::USUAL_OPTIONS,
            tcp_info::USUAL_OPTIONS
        );
        assert_eq!((info.ca_state, info.retransmits, info.lost), (0, 0, 0));
        // The SYN of an active open counts as acknowledged.
        assert_eq!(info.bytes_acked, u64::from(active), "{info:?}");
        assert_eq!((info.bytes_received, info.bytes_sent), (0, 0), "{info:?}");
        assert_eq!(
            (info.segs_out > 0, info.segs_in > 0),
            (active, true),
            "{info:?}"
        );
        assert_eq!((info.data_segs_out, info.data_segs_in), (0, 0), "{info:?}");
        assert_eq!(info.delivered, 1, "{info:?}");
        assert!(info.rtt > 0 && info.rttvar > 0, "{info:?}");
        assert!((1..=info.rtt).contains(&info.min_rtt), "{info:?}");
        assert!(info.rto >= 200_000, "{info:?}");
        assert!(info.snd_cwnd >= 10, "{info:?}");
        assert_eq!(info.snd_ssthresh, 0x7fff_ffff, "{info:?}");
        // Over loopback: 64 KB, less headers; timestamps take 12 bytes of a segment.
        assert!(info.pmtu > 60_000 && info.snd_mss > 30_000, "{info:?}");
        assert!(info.advmss >= info.snd_mss + 12, "{info:?}");
        assert!(info.snd_wnd > 30_000 && info.rcv_wnd > 30_000, "{info:?}");
        assert!(info.pacing_rate > 0, "{info:?}");
    }
    let (client, server) = (TcpInfo::of(&ends.client), TcpInfo::of(&ends.server));
    assert_eq!(client.snd_wscale, server.rcv_wscale);
    assert_eq!(client.rcv_wscale, server.snd_wscale);
}

fn info__counts_both_ways(pair: Pair) {
    let ends = connected(pair);
    ends.client.send_all(&[1; 10_000]);
    assert_eq!(ends.server.recv_exact(10_000).len(), 10_000);
    ends.server.send_all(&[2; 300]);
    assert_eq!(ends.client.recv_exact(300).len(), 300);
    let (client, server) = (settled(&ends.client), settled(&ends.server));
    assert_eq!((client.bytes_acked, client.bytes_received), (10_001, 300));
    assert_eq!((server.bytes_acked, server.bytes_received), (300, 10_000));
    assert_eq!((client.bytes_sent, server.bytes_sent), (10_000, 300));
    for info in [client, server] {
        assert_eq!((info.total_retrans, info.bytes_retrans), (0, 0), "{info:?}");
        assert_eq!((info.lost, info.total_rto), (0, 0), "{info:?}");
        // All that was sent, and the SYN.
        assert_eq!(info.delivered, info.data_segs_out + 1, "{info:?}");
        assert!(info.segs_out >= info.data_segs_out, "{info:?}");
        assert!(info.segs_in > info.data_segs_in, "{info:?}");
    }
}

/// What one end counts as sent, the other counts as come, in packets of many segments too.
fn info__segments_agree(pair: Pair) {
    let ends = connected_with(pair, |listener, client| {
        for sock in [listener, client] {
            sock.set(libc::SOL_TCP, libc::TCP_MAXSEG, 1000)
                .expect("TCP_MAXSEG");
        }
    });
    let before = TcpInfo::of(&ends.client);
    assert!(before.snd_mss <= 1000, "{before:?}");
    ends.client.send_all(&[3; 50_000]);
    assert_eq!(ends.server.recv_exact(50_000).len(), 50_000);
    let (client, server) = (settled(&ends.client), received(&ends.server, 50_000));
    assert_eq!(
        client.data_segs_out, server.data_segs_in,
        "{client:?} {server:?}"
    );
    assert!(client.data_segs_out >= 50_000 / 1000, "{client:?}");
    assert_eq!(client.delivered, client.data_segs_out + 1, "{client:?}");
    assert!(server.rcv_mss <= 1000 && server.rcv_mss > 800, "{server:?}");
}

fn info__tells_the_times(pair: Pair) {
    let ends = connected(pair);
    ends.client.send_all(b"?");
    assert_eq!(ends.server.recv_exact(1), b"?");
    let _ = settled(&ends.client);
    wait::until("time to pass", || {
        TcpInfo::of(&ends.client).last_data_sent >= 50
    });
    // The acknowledgment came after what it acknowledges; clocks may tick in steps of 10 ms.
    let client = TcpInfo::of(&ends.client);
    assert!(
        client.last_ack_recv <= client.last_data_sent + 10,
        "{client:?}"
    );
    assert!(TcpInfo::of(&ends.server).last_data_recv + 20 >= 50);
    assert!(client.busy_time < u64::from(client.last_data_sent) * 1000 + 10_000_000);
    ends.client.send_all(b"?");
    let again = TcpInfo::of(&ends.client);
    assert!(again.last_data_sent < client.last_data_sent, "{again:?}");
}

/// Sends until nothing more fits.
fn fill(sock: &Sock) -> u64 {
    sock.set_nonblocking(true);
    let mut sent = 0;
    while let Ok(len) = sock.write(&[0; 65536]) {
        sent += len as u64;
    }
    sent
}

/// Nobody reads: the peer's window is what the sender waits for.
fn info__tells_of_a_shut_window(pair: Pair) {
    let ends = connected_with(pair, |listener, client| {
        listener
            .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 20_000)
            .expect("SO_RCVBUF");
        client
            .set(libc::SOL_SOCKET, libc::SO_SNDBUF, 400_000)
            .expect("SO_SNDBUF");
    });
    let sent = fill(&ends.client);
    let limited = wait::until_some("the window to shut", || {
        let info = TcpInfo::of(&ends.client);
        (info.rwnd_limited >= 20_000 && info.unacked == 0).then_some(info)
    });
    assert!(limited.busy_time >= limited.rwnd_limited, "{limited:?}");
    assert!(limited.notsent_bytes > 0, "{limited:?}");
    // The SYN counts as acknowledged.
    let waiting = limited.bytes_acked - 1 + u64::from(limited.notsent_bytes);
    assert_eq!(waiting, sent, "{limited:?}");
    let server = TcpInfo::of(&ends.server);
    assert_eq!(server.bytes_received, limited.bytes_acked - 1);
    assert_eq!(server.rwnd_limited, 0);
}

/// A send buffer of a few segments: what the sender waits for is its own, or nothing at all, but not the peer.
fn info__tells_of_a_full_send_buffer(pair: Pair) {
    let ends = connected_with(pair, |_, client| {
        client
            .set(libc::SOL_SOCKET, libc::SO_SNDBUF, 5000)
            .expect("SO_SNDBUF");
    });
    let Connected { client, server } = ends;
    let reader = std::thread::spawn(move || {
        assert_eq!(server.recv_exact(60_000).len(), 60_000);
        server
    });
    client.send_all(&[4; 60_000]);
    let _server = reader.join().expect("the reader");
    let info = settled(&client);
    assert_eq!(info.bytes_acked, 60_001, "{info:?}");
    assert!(
        info.busy_time >= info.sndbuf_limited + info.rwnd_limited,
        "{info:?}"
    );
}

/// What was sent again is what is beyond the data.
fn info__tells_of_losses(pair: Pair) {
    const TOTAL: usize = 600_000;
    let link = Veth::make();
    // Packets of one segment, so that enough are there to be lost.
    ns::sh_or_skip("ip link set dev va gso_max_segs 1");
    ns::sh_or_skip("tc qdisc add dev va root netem delay 5ms loss 4%");
    let address = Veth::address_b(pair.ip(), 5001);
    let (listener, _) = link.b.run(|| listening_at(pair.server, &address, 1));
    let client = Sock::open(pair.client);
    client.connect(&address).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    let receiver = thread::spawn(move || {
        transfer::receive(&server, 11, TOTAL);
        server
    });
    transfer::send(&client, 11, TOTAL);
    let server = receiver.join();
    let info = settled(&client);
    let total = TOTAL as u64;
    assert!(info.total_retrans > 0 && info.bytes_retrans > 0, "{info:?}");
    assert_eq!(info.bytes_sent, total + info.bytes_retrans, "{info:?}");
    // The SYN and the FIN count.
    assert_eq!(info.bytes_acked, total + 2, "{info:?}");
    assert!(info.snd_ssthresh < 0x7fff_ffff, "{info:?}");
    // Less than the delay where a clock ticks coarsely.
    assert!((4000..2_000_000).contains(&info.min_rtt), "{info:?}");
    assert!(
        info.rto >= 200_000 && info.pacing_rate < 1 << 40,
        "{info:?}"
    );
    let server = TcpInfo::of(&server);
    assert_eq!(server.bytes_received, total + 1, "{server:?}");
    assert!(server.rcv_ooopack > 0, "{server:?}");
    assert!(
        server.data_segs_in <= info.data_segs_out,
        "{server:?} {info:?}"
    );
}

/// Who asks for ECN has it, if the other agrees; marks are counted where they are answered.
fn info__tells_of_marks(pair: Pair) {
    const TOTAL: usize = 600_000;
    const BOTH: u8 = tcp_info::ECN | tcp_info::ECN_SEEN;
    let link = Veth::make();
    let set = |stack| {
        let path = ns::find_sysctl(stack, "tcp_ecn").expect("tcp_ecn");
        ns::set_sysctl(&path, "1");
    };
    let connect = |port| {
        let address = Veth::address_b(pair.ip(), port);
        let (listener, _) = link.b.run(|| listening_at(pair.server, &address, 1));
        let client = Sock::open(pair.client);
        client.connect(&address).expect("connect");
        let (server, _) = listener.accept().expect("accept");
        (client, server)
    };
    // By default nobody asks.
    let (client, server) = connect(5001);
    for end in [&client, &server] {
        let info = TcpInfo::of(end);
        assert_eq!((info.options & BOTH, info.delivered_ce), (0, 0), "{info:?}");
    }
    set(pair.client);
    link.b.run(|| set(pair.server));
    // A queue that marks what waits.
    ns::need("tc");
    ns::sh_or_skip("tc qdisc add dev va root handle 1: tbf rate 20mbit burst 20kb limit 10mb");
    ns::sh_or_skip(
        "tc qdisc add dev va parent 1:1 handle 2: fq_codel limit 10000 target 1s ce_threshold 1ms",
    );
    let (client, server) = connect(5002);
    for end in [&client, &server] {
        let info = TcpInfo::of(end);
        assert_eq!(info.options & BOTH, tcp_info::ECN, "{info:?}");
    }
    let receiver = thread::spawn(move || {
        transfer::receive(&server, 13, TOTAL);
        server
    });
    transfer::send(&client, 13, TOTAL);
    let server = receiver.join();
    let info = settled(&client);
    assert!(info.delivered_ce > 0, "{info:?}");
    assert!(info.delivered_ce <= info.delivered, "{info:?}");
    assert_eq!(info.options & BOTH, tcp_info::ECN, "{info:?}");
    let info = TcpInfo::of(&server);
    assert_eq!(
        (info.options & BOTH, info.delivered_ce),
        (BOTH, 0),
        "{info:?}"
    );
}

/// SO_MAX_PACING_RATE bounds what is told of the rate.
fn info__tells_the_pacing_rate(pair: Pair) {
    const MOST: i32 = 123_456;
    let ends = connected(pair);
    let info = TcpInfo::of(&ends.client);
    assert_eq!(info.max_pacing_rate, u64::MAX, "{info:?}");
    assert!(info.pacing_rate > MOST as u64, "{info:?}");
    ends.client
        .set(libc::SOL_SOCKET, libc::SO_MAX_PACING_RATE, MOST)
        .expect("SO_MAX_PACING_RATE");
    ends.client.send_all(&[8; 100]);
    assert_eq!(ends.server.recv_exact(100).len(), 100);
    let info = settled(&ends.client);
    assert_eq!(info.max_pacing_rate, MOST as u64, "{info:?}");
    assert_eq!(info.pacing_rate, MOST as u64, "{info:?}");
    assert_eq!(TcpInfo::of(&ends.server).max_pacing_rate, u64::MAX);
}

/// Segments on a path of 8 Mbit/s, with their headers, and 20 ms.
fn slow_path(pair: Pair) -> (Veth, Sock, Sock) {
    let link = Veth::make();
    ns::sh_or_skip("ip link set dev va gso_max_segs 1");
    ns::sh_or_skip("tc qdisc add dev va root netem delay 20ms rate 8mbit limit 1000");
    let address = Veth::address_b(pair.ip(), 5001);
    let (listener, _) = link.b.run(|| listening_at(pair.server, &address, 1));
    let client = Sock::open(pair.client);
    client.connect(&address).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    (link, client, server)
}

/// Of a path that is full the rate is the path's.
fn info__tells_the_delivery_rate(pair: Pair) {
    const TOTAL: usize = 3_000_000;
    let (_link, client, server) = slow_path(pair);
    let info = TcpInfo::of(&client);
    // Linux counts the SYN.
    assert!(info.delivery_rate < 200_000, "{info:?}");
    let receiver = thread::spawn(move || transfer::receive(&server, 3, TOTAL));
    let sender = {
        let client = client.try_clone();
        thread::spawn(move || transfer::send(&client, 3, TOTAL))
    };
    let mut largest = 0;
    let full = wait::until_some("the path to be full", || {
        let info = TcpInfo::of(&client);
        largest = largest.max(info.delivery_rate);
        let fast = info.delivery_rate > 700_000 && !info.delivery_rate_app_limited;
        (fast || info.bytes_acked > TOTAL as u64).then_some(info)
    });
    assert!(full.bytes_acked <= TOTAL as u64, "{largest} {full:?}");
    wait::until("the end", || {
        let info = TcpInfo::of(&client);
        largest = largest.max(info.delivery_rate);
        info.bytes_acked > TOTAL as u64
    });
    sender.join();
    receiver.join();
    ktap::note(&format!("{largest} bytes in a second at most"));
    // 1,000,000 with the headers of segments; a machine that stops and goes on makes one of them uncertain.
    assert!(largest < 1_250_000, "{largest}");
}

/// A program that asks for little at a time learns of the round trip, and is told that it was its own doing.
fn info__tells_of_a_rate_that_the_program_limits(pair: Pair) {
    let (_link, client, server) = slow_path(pair);
    assert!(TcpInfo::of(&client).delivery_rate_app_limited);
    for _ in 0..20 {
        client.send_all(&[4; 1000]);
        assert_eq!(server.recv_exact(1000).len(), 1000);
        server.send_all(&[5]);
        assert_eq!(client.recv_exact(1).len(), 1);
    }
    let info = settled(&client);
    assert!(info.delivery_rate_app_limited, "{info:?}");
    // No more than a segment in 20 ms.
    assert!((1..=73_000).contains(&info.delivery_rate), "{info:?}");
}

fn info__after_a_fin(pair: Pair) {
    let ends = connected(pair);
    ends.client.send_all(&[5; 100]);
    assert_eq!(ends.server.recv_exact(100).len(), 100);
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    assert_eq!(ends.server.recv_to_end(), []);
    wait::until("the FIN's acknowledgment", || {
        TcpInfo::of(&ends.client).state == tcp_info::FIN_WAIT2
    });
    let (client, server) = (TcpInfo::of(&ends.client), TcpInfo::of(&ends.server));
    assert_eq!(server.state, tcp_info::CLOSE_WAIT);
    // SYN and FIN count.
    assert_eq!(
        (client.bytes_acked, client.bytes_sent),
        (102, 100),
        "{client:?}"
    );
    assert_eq!(server.bytes_received, 101, "{server:?}");
    assert!(client.snd_cwnd >= 10 && client.rtt > 0, "{client:?}");
    assert!(server.advmss > 0 && server.rcv_mss > 0, "{server:?}");
    // The other direction is open.
    ends.server.send_all(&[6; 50]);
    assert_eq!(ends.client.recv_exact(50).len(), 50);
    assert_eq!(TcpInfo::of(&ends.client).bytes_received, 50);
    assert_eq!(settled(&ends.server).bytes_acked, 50);
}

/// What there was to tell is told when the connection is over.
fn info__after_a_reset(pair: Pair) {
    let Connected { client, server } = connected(pair);
    client.send_all(&[7; 1000]);
    assert_eq!(server.recv_exact(1000).len(), 1000);
    let before = settled(&client);
    server.set_linger(true, 0).expect("SO_LINGER");
    drop(server);
    wait::until("the reset", || {
        TcpInfo::of(&client).state == tcp_info::CLOSE
    });
    let after = TcpInfo::of(&client);
    assert_eq!(after.bytes_acked, before.bytes_acked);
    assert_eq!(after.data_segs_out, before.data_segs_out);
    assert_eq!(after.segs_in, before.segs_in + 1);
    assert_eq!((after.unacked, after.notsent_bytes), (0, 0));
    assert!(after.rtt > 0 && after.snd_cwnd >= 10, "{after:?}");
}
