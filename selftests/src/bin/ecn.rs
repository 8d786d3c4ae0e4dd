// SPDX-License-Identifier: GPL-2.0
//! Explicit congestion notification (RFC 3168): who agrees to it, which segments routers may mark, and what a mark does.

use std::process::ExitCode;

use oxtcp_selftests::capture::{Capture, Segment, ACK, CWR, ECE, SYN};
use oxtcp_selftests::connection::{listening_at, Connected};
use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::{cases, ktap, thread, transfer, Pair, Sock, Stack, Suite};

/// The codepoints of the IP header's ECN field.
const NOT_ECT: u8 = 0;
const ECT0: u8 = 2;
const CE: u8 = 3;

fn main() -> ExitCode {
    let mut suite = Suite::from_args("ecn");
    cases!(suite.pairs:
        setting__default, handshake__every_setting, fallback__second_syn_does_not_ask, wire__new_data_is_ect0,
        marks__are_told_and_answered, marks__after_single_segments,
    );
    suite.run()
}

/// Sets a stack's setting in this thread's namespace.
fn set(stack: Stack, name: &str, value: &str) {
    let path = ns::find_sysctl(stack, name).unwrap_or_else(|| panic!("no setting {name}"));
    ns::set_sysctl(&path, value);
}

/// Both hosts' setting.
fn set_both(link: &Veth, pair: Pair, client: &str, server: &str) {
    set(pair.client, "tcp_ecn", client);
    link.b.run(|| set(pair.server, "tcp_ecn", server));
}

/// A connection from `a` to a listener at this port of `b`.
fn over(link: &Veth, pair: Pair, port: u16) -> Connected {
    let address = Veth::address_b(pair.ip(), port);
    let (listener, _) = link.b.run(|| listening_at(pair.server, &address, 1));
    let client = Sock::open(pair.client);
    client.connect(&address).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    Connected { client, server }
}

/// ECE and CWR of each segment with these flags of SYN and ACK, in order.
fn told(segments: &[Segment], flags: u8) -> Vec<u8> {
    segments
        .iter()
        .filter(|s| s.flags & (SYN | ACK) == flags)
        .map(|s| s.flags & (ECE | CWR))
        .collect()
}

/// Accepted when asked for, not asked for.
fn setting__default(pair: Pair) {
    ns::isolate();
    for stack in [pair.client, pair.server] {
        for (name, value) in [("tcp_ecn", "2"), ("tcp_ecn_fallback", "1")] {
            let path = ns::find_sysctl(stack, name).unwrap_or_else(|| panic!("no {name}"));
            assert_eq!(ns::sysctl(&path).expect(&path), value, "{path}");
        }
    }
}

/// What the SYN asks, what the SYN-ACK says, and what the data is sent as.
fn handshake__every_setting(pair: Pair) {
    let link = Veth::make();
    let capture = Capture::on("va");
    let mut port = 5001;
    for client in 0..=2 {
        for server in 0..=2 {
            let case = format!("client {client}, server {server}");
            set_both(&link, pair, &client.to_string(), &server.to_string());
            over(&link, pair, port).check_alive();
            port += 1;
            let segments = capture.segments();
            let asked = client == 1;
            let agreed = asked && server != 0;
            let syn = if asked { ECE | CWR } else { 0 };
            let syn_ack = if agreed { ECE } else { 0 };
            assert_eq!(told(&segments, SYN), [syn], "{case}");
            assert_eq!(told(&segments, SYN | ACK), [syn_ack], "{case}");
            let data: Vec<u8> = segments
                .iter()
                .filter(|s| s.payload > 0)
                .map(|s| s.ecn)
                .collect();
            let expected = if agreed { ECT0 } else { NOT_ECT };
            assert_eq!(data, [expected; 2], "{case}");
        }
    }
}

/// A firewall that swallows SYNs that ask: the next one does not (RFC 3168 section 6.1.1.1).
fn fallback__second_syn_does_not_ask(pair: Pair) {
    let link = Veth::make();
    set_both(&link, pair, "1", "1");
    link.b.run(|| {
        ns::nft_input(&["tcp dport 5001 tcp flags & (syn | ecn | cwr) == syn | ecn | cwr counter name dropped drop"]);
    });
    let capture = Capture::on("va");
    over(&link, pair, 5001).check_alive();
    let segments = capture.segments();
    assert_eq!(told(&segments, SYN), [ECE | CWR, 0]);
    assert_eq!(told(&segments, SYN | ACK), [0]);
    assert!(segments.iter().all(|s| s.ecn == NOT_ECT), "{segments:#?}");
}

/// Data is ECT(0) when it is new; nothing else is, and without marks nobody speaks of any.
fn wire__new_data_is_ect0(pair: Pair) {
    let link = Veth::make();
    set_both(&link, pair, "1", "1");
    let capture = Capture::on("va");
    transfer::both_ways(over(&link, pair, 5001), 300_000);
    let segments = capture.segments();
    let mut ends = [None; 2];
    // A busy host makes one believe that something was lost: the next says CWR (RFC 3168 6.1.2).
    let mut resent = [false; 2];
    for segment in segments.iter().filter(|s| s.flags & SYN == 0) {
        assert_eq!(segment.flags & ECE, 0, "{segment:?}");
        let end = &mut ends[usize::from(segment.outgoing)];
        let next = segment.seq.wrapping_add(segment.payload as u32);
        let new = end.is_none_or(|end: u32| segment.seq.wrapping_sub(end) as i32 >= 0);
        let resent = &mut resent[usize::from(segment.outgoing)];
        *resent |= segment.payload > 0 && !new;
        assert!(segment.flags & CWR == 0 || *resent, "{segment:?}");
        let expected = if segment.payload > 0 && new {
            ECT0
        } else {
            NOT_ECT
        };
        assert_eq!(segment.ecn, expected, "{segment:?}");
        if segment.payload > 0 && new {
            *end = Some(next);
        }
    }
    assert!(ends.iter().all(Option::is_some), "data went one way only");
}

/// A queue at `va` that takes some milliseconds and marks what waits for more than one.
fn marking_queue() {
    ns::need("tc");
    ns::sh_or_skip("tc qdisc add dev va root handle 1: tbf rate 20mbit burst 20kb limit 10mb");
    ns::sh_or_skip(
        "tc qdisc add dev va parent 1:1 handle 2: fq_codel limit 10000 target 1s ce_threshold 1ms",
    );
}

/// Marked data makes the receiver say ECE, that makes the sender say CWR, and that ends the ECE. Nothing is lost.
fn marks__are_told_and_answered(pair: Pair) {
    told_and_answered(pair, Veth::make());
}

/// As above, without bursts and aggregates.
fn marks__after_single_segments(pair: Pair) {
    let link = Veth::make();
    ns::need("ethtool");
    let off = "gro off tso off gso off";
    let _ = ns::try_sh(&format!("ethtool -K va {off}"));
    link.b.run(|| {
        let _ = ns::try_sh(&format!("ethtool -K vb {off}"));
    });
    told_and_answered(pair, link);
}

fn told_and_answered(pair: Pair, link: Veth) {
    let total = (2 << 20) / transfer::divisor();
    set_both(&link, pair, "1", "1");
    marking_queue();
    let capture = link.b.run(|| Capture::on("vb"));
    let Connected { client, server } = over(&link, pair, 5001);
    let sender = thread::spawn(move || transfer::send(&client, 7, total));
    transfer::receive(&server, 7, total);
    sender.join();
    let segments = capture.segments();
    let mut marked = 0;
    let mut reductions = 0;
    let mut echoes = 0;
    // Whether the receiver should be speaking of a mark: known for sure once its next acknowledgment goes out.
    for segment in segments.iter().filter(|s| s.flags & SYN == 0) {
        if segment.outgoing {
            assert_eq!(segment.ecn, NOT_ECT, "{segment:?}");
            assert_eq!(segment.flags & CWR, 0, "{segment:?}");
            let echo = segment.flags & ECE != 0;
            echoes += u64::from(echo);
            assert!(!echo || marked > 0, "an ECE before any mark: {segment:?}");
        } else {
            marked += u64::from(segment.ecn == CE);
            reductions += u64::from(segment.flags & CWR != 0);
            // What says so is new data.
            if segment.flags & CWR != 0 {
                assert!(segment.payload > 0 && segment.ecn != NOT_ECT, "{segment:?}");
            }
        }
    }
    ktap::note(&format!("{marked} marked, {echoes} ECE, {reductions} CWR"));
    assert!(marked > 0, "the queue marked nothing");
    assert!(echoes > 0, "the receiver said nothing");
    assert!(reductions > 0, "the sender did not answer");
    // Once for a window, and not for each ECE.
    assert!(reductions < echoes.max(2), "{reductions} CWR, {echoes} ECE");
    assert_eq!(ns::qdisc_count("va", "drops"), 0, "drops");
}
