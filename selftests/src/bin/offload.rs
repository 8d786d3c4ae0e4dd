// SPDX-License-Identifier: GPL-2.0
//! What the wire and the devices see: options, checksums, bursts of 64 KB out, aggregates in, any MTU.

use std::net::SocketAddr;
use std::process::ExitCode;

use oxtcp_selftests::capture::{Capture, Segment, ACK, FIN, RST, SYN};
use oxtcp_selftests::connection::{listening_at, Connected};
use oxtcp_selftests::ns::{self, Namespace, Veth};
use oxtcp_selftests::tcp_info::TcpInfo;
use oxtcp_selftests::{cases, ktap, thread, transfer, wait, Ip, Pair, Sock, Suite};

/// Kinds of TCP options (RFC 9293 3.2, RFC 7323, RFC 2018).
const MSS: u8 = 2;
const WINDOW_SCALE: u8 = 3;
const SACK_PERMITTED: u8 = 4;
const TIMESTAMPS: u8 = 8;

fn main() -> ExitCode {
    let mut suite = Suite::from_args("offload");
    cases!(suite.pairs:
        syn__options, wire__handshake_and_close, wire__timestamps_on_every_segment,
        gso__bursts_on_loopback, gso__bursts_on_veth, checksum__right_without_offloads,
        checksum__right_with_offloads_off_on_loopback, gro__aggregates_reach_us, transfer__no_offloads_at_all,
        mtu__small, mtu__1500, mtu__9000, mtu__65535, mtu__loopback_1500, mtu__lowered_in_mid_stream,
        mtu__narrow_path, mtu__black_hole, mtu__black_hole_for_good, mtu__search_from_the_beginning,
        zerocopy__pages_are_the_senders_again,
    );
    suite.run()
}

/// A connection over the link, from `a` to a listener at port 5001 of `b`.
fn over_link(link: &Veth, pair: Pair) -> Connected {
    let address = Veth::address_b(pair.ip(), 5001);
    let (listener, _) = link.b.run(|| listening_at(pair.server, &address, 1));
    meet(pair, &listener, address)
}

fn over_loopback(pair: Pair) -> Connected {
    let (listener, address) = listening_at(pair.server, &pair.server.local(5001), 1);
    meet(pair, &listener, address)
}

fn meet(pair: Pair, listener: &Sock, address: SocketAddr) -> Connected {
    let client = Sock::open(pair.client);
    client.connect(&address).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    Connected { client, server }
}

/// Switches features of a device, those that it has.
fn ethtool(device: &str, features: &str) {
    ns::need("ethtool");
    for feature in features.split(',') {
        let _ = ns::try_sh(&format!("ethtool -K {device} {}", feature.trim()));
    }
}

const NO_SENDING_OFFLOADS: &str = "tso off, gso off, tx off, sg off";

fn mtu(link: &Veth, size: u32) {
    ns::sh(&format!("ip link set va mtu {size}"));
    link.b.run(|| ns::sh(&format!("ip link set vb mtu {size}")));
}

/// The handshake's first two segments.
fn syns(segments: &[Segment]) -> (Segment, Segment) {
    let find = |flags| {
        segments
            .iter()
            .find(|s| s.flags & (SYN | ACK) == flags)
            .cloned()
    };
    (
        find(SYN).expect("a SYN"),
        find(SYN | ACK).expect("a SYN-ACK"),
    )
}

/// MSS by the device's MTU, window scaling, SACK and timestamps: what Linux offers, and grants.
fn syn__options(pair: Pair) {
    let link = Veth::make();
    let capture = Capture::on("va");
    over_link(&link, pair).check_alive();
    let (syn, syn_ack) = syns(&capture.segments());
    let mss: u16 = if pair.ip() == Ip::V4 { 1460 } else { 1440 };
    for segment in [&syn, &syn_ack] {
        assert_eq!(
            segment.option(MSS),
            Some(&mss.to_be_bytes()[..]),
            "MSS in {segment:?}"
        );
        let scale = segment.option(WINDOW_SCALE).expect("window scale")[0];
        assert!((1..=14).contains(&scale), "window scale {scale}");
        assert_eq!(
            segment.option(SACK_PERMITTED),
            Some(&[][..]),
            "SACK permitted"
        );
        assert_eq!(
            segment.option(TIMESTAMPS).map(<[u8]>::len),
            Some(8),
            "timestamps"
        );
        assert!(segment.window >= 1000, "window {}", segment.window);
        assert_eq!(segment.payload, 0);
        // Linux's order and padding: 20 bytes.
        assert_eq!(segment.options.len(), 20);
    }
    let echoed = &syn_ack.option(TIMESTAMPS).expect("timestamps")[4..];
    assert_eq!(echoed, &syn.option(TIMESTAMPS).expect("timestamps")[..4]);
    assert_eq!(syn_ack.ack, syn.seq.wrapping_add(1));
}

/// The segments of a connection that carries one byte each way, in order, and no others.
fn wire__handshake_and_close(pair: Pair) {
    let link = Veth::make();
    let capture = Capture::on("va");
    let ends = over_link(&link, pair);
    ends.check_alive();
    ends.client.shutdown(libc::SHUT_WR).expect("shutdown");
    assert_eq!(ends.server.recv(&mut [0; 4], 0).expect("the end"), 0);
    drop(ends.server);
    assert_eq!(ends.client.recv(&mut [0; 4], 0).expect("the end"), 0);
    drop(ends.client);
    let mut segments = Vec::new();
    wait::until("both FINs and the last ACK", || {
        segments.extend(capture.segments());
        let fins: Vec<&Segment> = segments.iter().filter(|s| s.flags & FIN != 0).collect();
        let Some(last) = fins.last() else {
            return false;
        };
        fins.len() == 2
            && segments
                .iter()
                .any(|s| s.outgoing && s.ack == last.seq.wrapping_add(1))
    });
    let (syn, syn_ack) = syns(&segments);
    assert!(syn.outgoing && !syn_ack.outgoing);
    assert!(
        segments.iter().all(|s| s.flags & RST == 0),
        "a reset: {segments:#?}"
    );
    assert_eq!(
        segments.iter().filter(|s| s.flags & SYN != 0).count(),
        2,
        "a SYN came twice"
    );
    let bytes = |outgoing| {
        segments
            .iter()
            .filter(|s| s.outgoing == outgoing)
            .map(|s| s.payload)
            .sum::<usize>()
    };
    assert_eq!((bytes(true), bytes(false)), (1, 1), "a byte came twice");
    assert!(
        segments.len() <= 14,
        "{} segments: {segments:#?}",
        segments.len()
    );
}

fn wire__timestamps_on_every_segment(pair: Pair) {
    let link = Veth::make();
    let capture = Capture::on("va");
    transfer::both_ways(over_link(&link, pair), 200_000);
    let segments = capture.segments();
    assert!(segments.len() > 10);
    for segment in segments.iter().filter(|s| s.flags & RST == 0) {
        assert!(
            segment.option(TIMESTAMPS).is_some(),
            "no timestamps in {segment:?}"
        );
    }
}

/// Loopback carries bursts far above a segment's size, both ways.
fn gso__bursts_on_loopback(pair: Pair) {
    ns::isolate();
    ns::sh("ip link set lo mtu 1500");
    let capture = Capture::on("lo");
    transfer::both_ways(over_loopback(pair), 4 << 20);
    largest_of_both_ways(&capture.segments(), 32_000);
}

fn gso__bursts_on_veth(pair: Pair) {
    let link = Veth::make();
    let capture = Capture::on("va");
    transfer::both_ways(over_link(&link, pair), 4 << 20);
    largest_of_both_ways(&capture.segments(), 32_000);
}

/// Fails the test unless each direction has a burst of so many bytes.
#[track_caller]
fn largest_of_both_ways(segments: &[Segment], least: usize) {
    for to_server in [true, false] {
        let largest = segments
            .iter()
            .filter(|s| (s.target.port() == 5001) == to_server)
            .map(|s| s.payload)
            .max()
            .unwrap_or(0);
        ktap::note(&format!(
            "largest burst {}: {largest} bytes",
            if to_server { "sent" } else { "received" }
        ));
        assert!(largest >= least, "the largest burst has {largest} bytes");
    }
}

/// With the devices' offloads off, each segment stands alone, within the MTU, with its checksum.
fn checksum__right_without_offloads(pair: Pair) {
    let link = Veth::make();
    ethtool("va", NO_SENDING_OFFLOADS);
    link.b.run(|| ethtool("vb", NO_SENDING_OFFLOADS));
    let capture = Capture::on("va");
    transfer::both_ways(over_link(&link, pair), 300_000);
    let segments = capture.segments();
    assert!(segments.len() > 400, "{} segments", segments.len());
    for segment in &segments {
        assert!(segment.length <= 1500, "{segment:?}");
        assert!(segment.checksum_valid, "a wrong checksum: {segment:?}");
    }
}

fn checksum__right_with_offloads_off_on_loopback(pair: Pair) {
    ns::isolate();
    ethtool("lo", "tx-checksum-ip-generic off, tx off");
    if !ns::sh("ethtool -k lo").contains("tx-checksumming: off") {
        ktap::skip("lo's checksum offload is fixed");
    }
    let capture = Capture::on("lo");
    transfer::both_ways(over_loopback(pair), 300_000);
    for segment in capture.segments().iter().filter(|s| !s.outgoing) {
        assert!(segment.checksum_valid, "a wrong checksum: {segment:?}");
    }
}

/// Segments made single by the sender's device come as aggregates out of GRO, and are taken.
fn gro__aggregates_reach_us(pair: Pair) {
    let link = Veth::make();
    ethtool("va", "tso off, gso off");
    link.b.run(|| {
        ethtool("vb", "gro on");
        ns::nft_input(&["tcp dport 5001 meta length > 3100 counter name dropped"]);
    });
    let ends = over_link(&link, pair);
    transfer::both_ways(ends, 2 << 20);
    let aggregates = link.b.run(|| ns::nft_packets("dropped"));
    if aggregates == 0 {
        ktap::skip("GRO did not aggregate");
    }
    ktap::note(&format!("{aggregates} aggregates"));
}

fn transfer__no_offloads_at_all(pair: Pair) {
    let link = Veth::make();
    let off = "gro off, tso off, gso off, tx off, rx off, sg off";
    ethtool("va", off);
    link.b.run(|| ethtool("vb", off));
    transfer::both_ways(over_link(&link, pair), 1 << 20);
}

/// A transfer over a link of this MTU; no packet on it is longer once offloads are off.
fn transfer_at_mtu(pair: Pair, size: u32) {
    let link = Veth::make();
    mtu(&link, size);
    ethtool("va", "tso off, gso off");
    link.b.run(|| ethtool("vb", "tso off, gso off"));
    let capture = Capture::on("va");
    transfer::both_ways(over_link(&link, pair), 400_000);
    let segments = capture.segments();
    let (syn, syn_ack) = syns(&segments);
    let headers = if pair.ip() == Ip::V4 { 40 } else { 60 };
    for segment in [syn, syn_ack] {
        assert_eq!(
            segment.option(MSS),
            Some(&(size as u16 - headers).to_be_bytes()[..]),
            "MSS"
        );
    }
    for segment in segments.iter().filter(|s| s.outgoing) {
        assert!(segment.length <= size as usize, "{segment:?}");
    }
}

/// IPv4's least MTU that hosts must take is 576; IPv6's is 1280.
fn mtu__small(pair: Pair) {
    transfer_at_mtu(pair, if pair.ip() == Ip::V4 { 576 } else { 1280 });
}

fn mtu__1500(pair: Pair) {
    transfer_at_mtu(pair, 1500);
}

fn mtu__9000(pair: Pair) {
    transfer_at_mtu(pair, 9000);
}

fn mtu__65535(pair: Pair) {
    let link = Veth::make();
    mtu(&link, 65_535);
    transfer::both_ways(over_link(&link, pair), 4 << 20);
}

fn mtu__loopback_1500(pair: Pair) {
    ns::isolate();
    ns::sh("ip link set lo mtu 1500");
    transfer::both_ways(over_loopback(pair), 2 << 20);
}

/// The own device's MTU shrinks under an open connection: what is sent from then on fits.
fn mtu__lowered_in_mid_stream(pair: Pair) {
    let link = Veth::make();
    let ends = over_link(&link, pair);
    ends.check_alive();
    ns::sh("ip link set va mtu 1300");
    link.b.run(|| ns::sh("ip link set vb mtu 1300"));
    transfer::both_ways(ends, 1 << 20);
}

/// A router on the way takes less than both ends: its ICMP errors are heeded, by the route that the socket's mark has chosen
/// (RFC 1191 section 4, RFC 8201 section 4).
fn mtu__narrow_path(pair: Pair) {
    const NARROW: usize = 1300;
    const MARK: i32 = 7;
    let link = Veth::make();
    let far = Namespace::enter_new();
    link.b.enter();
    ns::sh(&format!(
        "ip link add vc type veth peer name vd netns {}",
        far.path()
    ));
    let ends = |device: &str, host: u8| {
        ns::sh(&format!("ip link set {device} up"));
        ns::sh(&format!("ip addr add 198.51.100.{host}/24 dev {device}"));
        ns::sh(&format!(
            "ip addr add 2001:db8:1::{host}/64 dev {device} nodad"
        ));
    };
    ns::sh(&format!("ip link set vc mtu {NARROW}"));
    ends("vc", 1);
    ns::set_sysctl("net/ipv4/ip_forward", "1");
    ns::set_sysctl("net/ipv6/conf/all/forwarding", "1");
    far.run(|| {
        ends("vd", 2);
        ns::sh("ip route add default via 198.51.100.1");
        ns::sh("ip -6 route add default via 2001:db8:1::1");
    });
    link.a.enter();
    for (family, prefix, router) in [
        ("-4", "198.51.100.0/24", "192.0.2.2"),
        ("-6", "2001:db8:1::/64", "2001:db8::2"),
    ] {
        ns::sh(&format!(
            "ip {family} route add {prefix} via {router} table {MARK}"
        ));
        ns::sh(&format!("ip {family} rule add fwmark {MARK} table {MARK}"));
    }
    ethtool("va", NO_SENDING_OFFLOADS);
    let address = match pair.ip() {
        Ip::V4 => "198.51.100.2:5001",
        Ip::V6 => "[2001:db8:1::2]:5001",
    };
    let address = address.parse().expect("an address");
    let (listener, _) = far.run(|| listening_at(pair.server, &address, 1));
    let client = Sock::open(pair.client);
    client
        .set(libc::SOL_SOCKET, libc::SO_MARK, MARK)
        .expect("SO_MARK");
    // The neighbours beyond are not fixed, and the first packets may go before one is known.
    client.connect(&address).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    let capture = Capture::on("va");
    let total = 300_000;
    let sender = thread::spawn(move || transfer::send(&client, 7, total));
    transfer::receive(&server, 7, total);
    sender.join();
    let segments = capture.segments();
    let sent: Vec<_> = segments.iter().filter(|s| s.outgoing).collect();
    let wide = sent.iter().filter(|s| s.length > NARROW).count();
    ktap::note(&format!("{wide} of {} packets were too long", sent.len()));
    assert!(wide > 0, "nothing was too long");
    // The first window, and no more.
    assert!(wide <= 12, "{wide} packets were too long");
}

/// A link that drops longer packets without a word, and a sender with `tcp_mtu_probing` at `probing`; packets are segments on it. A black
/// hole is suspected 600 ms after the first retransmission (`tcp_retries1` is 1), which is by the fourth.
fn black_hole(pair: Pair, probing: &str) -> (Veth, Connected) {
    let link = Veth::make();
    for (name, value) in [("tcp_mtu_probing", probing), ("tcp_retries1", "1")] {
        let setting = ns::find_sysctl(pair.client, name);
        ns::set_sysctl(&setting.expect(name), value);
    }
    ethtool("va", NO_SENDING_OFFLOADS);
    link.b.run(|| {
        ns::nft_input(&["tcp dport 5001 meta length > 1200 counter name dropped drop"]);
    });
    let ends = over_link(&link, pair);
    (link, ends)
}

fn snd_mss(sock: &Sock) -> u32 {
    TcpInfo::of(sock).snd_mss
}

/// The longest segment with data.
fn longest(capture: &Capture) -> usize {
    let segments = capture.segments();
    let sent = segments.iter().filter(|s| s.outgoing);
    sent.map(|s| s.payload).max().unwrap_or(0)
}

/// RFC 4821: a sender that hears nothing tries smaller segments, and then finds out what gets through.
fn mtu__black_hole(pair: Pair) {
    let (link, ends) = black_hole(pair, "1");
    let Connected { client, server } = ends;
    let total = 3_000_000;
    let sender = {
        let client = client.try_clone();
        thread::spawn(move || client.send_all(&vec![7; total]))
    };
    server.recv_exact(total);
    sender.join();
    let mss = snd_mss(&client);
    ktap::note(&format!("segments of {mss} bytes"));
    // 1200 less the headers, but for the search's threshold of 8.
    let most = if pair.ip() == Ip::V4 { 1148 } else { 1128 };
    assert!((1000..=most).contains(&mss), "segments of {mss} bytes");
    assert!(link.b.run(|| ns::nft_packets("dropped")) >= 4);
}

/// Without that nothing gets through.
fn mtu__black_hole_for_good(pair: Pair) {
    let (link, ends) = black_hole(pair, "0");
    let Connected { client, server } = ends;
    let capture = Capture::on("va");
    let sender = {
        let client = client.try_clone();
        thread::spawn(move || client.send_all(&[7; 30_000]))
    };
    wait::until("one more was dropped than where there is a search", || {
        TcpInfo::of(&client).total_retrans >= 5
    });
    assert_eq!(server.readable(), 0);
    assert!(longest(&capture) > 1400);
    assert!(snd_mss(&client) > 1400);
    link.b.run(ns::nft_clear);
    server.recv_exact(30_000);
    sender.join();
}

/// 2: small segments first, then what the path takes.
fn mtu__search_from_the_beginning(pair: Pair) {
    let (link, ends) = black_hole(pair, "2");
    link.b.run(ns::nft_clear);
    let Connected { client, server } = ends;
    assert_eq!(snd_mss(&client), 1024);
    let capture = Capture::on("va");
    client.send_all(&[7; 5000]);
    server.recv_exact(5000);
    assert_eq!(longest(&capture), 1024);
    let total = 5_000_000;
    let sender = {
        let client = client.try_clone();
        thread::spawn(move || client.send_all(&vec![8; total]))
    };
    server.recv_exact(total);
    sender.join();
    let mss = snd_mss(&client);
    let most = if pair.ip() == Ip::V4 { 1448 } else { 1428 };
    assert!(mss <= most && mss + 8 >= most, "segments of {mss} bytes");
}

/// Who sends pages without copying them (MSG_ZEROCOPY) hears that they are free, and may write to them, though the receiver has not read:
/// what is received is what was sent.
fn zerocopy__pages_are_the_senders_again(pair: Pair) {
    if pair.client.ours {
        ktap::skip("ours does not send without copying");
    }
    const LEN: usize = 64 * 1024;
    let _namespace = ns::isolate();
    let Connected { client, server } = over_loopback(pair);
    let set = client.set(libc::SOL_SOCKET, libc::SO_ZEROCOPY, 1);
    set.expect("SO_ZEROCOPY");
    let mut pages = vec![b'a'; LEN];
    let mut sent = 0;
    while sent < LEN {
        sent += client
            .send(&pages[sent..], libc::MSG_ZEROCOPY)
            .expect("send");
    }
    assert_ne!(client.poll_wait(0) & libc::POLLERR, 0);
    // More than one call may have been needed, and each is told of; all have been by the time the last byte is there.
    wait::until("all of it came", || server.readable() == LEN);
    pages.fill(b'b');
    assert!(server.recv_exact(LEN) == vec![b'a'; LEN]);
}
