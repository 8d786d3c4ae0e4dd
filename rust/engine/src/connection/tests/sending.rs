// SPDX-License-Identifier: GPL-2.0

//! Segmentation, Nagle, windows, slow start, fast retransmit.

use super::script::*;
use crate::congestion::Algorithm;
use crate::connection::{Mode, Status, TimerKind};
use crate::context::{Config, SocketOptions};
use crate::seq::{SeqNum, SeqRange};
use crate::transmit::{BurstLimit, TransmitKind};
use crate::wire::Flags;
use TransmitKind::{Data, Probe, Retransmission};

fn nodelay() -> SocketOptions {
    SocketOptions {
        nodelay: true,
        ..SocketOptions::default()
    }
}

fn with(options: SocketOptions) -> Peer {
    established_with(Config::default(), options, Offer::default())
}

/// A duplicate acknowledgment with SACK blocks, as offsets (start, end).
fn sack(peer: &mut Peer, ack: u32, blocks: &[(u32, u32)]) {
    peer.report(ack, blocks, None);
}

#[test]
fn segments__are_cut_at_the_mss() {
    let mut peer = established();
    peer.write(2500);
    let sent = peer.sent();
    let flags: std::vec::Vec<_> = sent.iter().map(|t| t.header.flags).collect();
    assert_eq!(
        flags,
        [Flags::ACK, Flags::ACK, Flags::ACK.union(Flags::PSH)]
    );
    assert!(sent.iter().all(|t| t.header.ack == IRS.add(1)));
    let lens: std::vec::Vec<_> = sent.iter().map(|t| t.payload.len).collect();
    assert_eq!(lens, [1000, 1000, 500]);
    assert!(peer.conn.timer_of(TimerKind::Retransmit).is_some());
}

#[test]
fn segments__go_out_in_bursts_of_whole_segments() {
    let mut peer = established();
    peer.limit = BurstLimit(4500);
    peer.write(9_300);
    assert_eq!(
        peer.sent_short(),
        [(Data, 0, 4000), (Data, 4000, 4000), (Data, 8000, 1300)]
    );
    let mut peer = established();
    peer.limit = BurstLimit(65_536);
    peer.write(30_000);
    // The initial window is ten segments, and a burst half of a window at most.
    assert_eq!(peer.sent_short(), [(Data, 0, 5000), (Data, 5000, 5000)]);
    peer.ack(10_000);
    assert_eq!(
        peer.sent_short(),
        [(Data, 10_000, 10_000), (Data, 20_000, 10_000)]
    );
}

/// What the caller's next look would find out is known with the last segment already; a refusal takes that back.
#[test]
fn last_segment__says_that_nothing_waits() {
    let mut peer = established();
    peer.write(2100);
    for more in [true, true, false] {
        let _ = peer.next();
        assert_eq!(peer.conn.may_send_data(), more);
        assert_eq!(peer.conn.status.has(Status::IDLE), !more);
    }
    peer.write(100);
    // Nagle.
    peer.quiet();
    peer.ack(2100);
    let _ = peer.next();
    assert!(peer.conn.status.has(Status::IDLE));
    // An acknowledgment is the last one too.
    let _ = peer.data(0, 1000, 2200, Flags::NONE);
    let _ = peer.data(1000, 1000, 2200, Flags::NONE);
    assert_eq!(peer.next().kind, TransmitKind::Ack);
    assert!(peer.conn.status.has(Status::IDLE));
    peer.quiet();
}

/// Minshall's variant: one small segment in flight, however many full ones.
/// RFC 9293 section 3.7.4, in the variant of its appendix A.3.
#[test]
fn nagle() {
    let mut peer = established();
    peer.write(100);
    assert_eq!(peer.sent_short(), [(Data, 0, 100)]);
    peer.write(100);
    peer.quiet();
    peer.write(1000);
    assert_eq!(peer.sent_short(), [(Data, 100, 1000)]);
    peer.quiet();
    peer.ack(100);
    assert_eq!(peer.sent_short(), [(Data, 1100, 100)]);
    // A small segment after full ones need not wait.
    peer.ack(1200);
    peer.write(1000);
    assert_eq!(peer.sent().len(), 1);
    peer.write(1);
    assert_eq!(peer.sent_short(), [(Data, 2200, 1)]);
    // TCP_NODELAY lets the waiting one go.
    peer.write(5);
    peer.quiet();
    peer.conn.set_nodelay(true);
    assert_eq!(peer.sent_short(), [(Data, 2201, 5)]);
}

#[test]
fn nagle__not_with_a_fin() {
    let mut peer = established();
    peer.write(100);
    let _ = peer.sent();
    peer.write(100);
    peer.shutdown();
    assert_eq!(peer.sent_short(), [(Data, 100, 100)]);
}

#[test]
fn cork__holds_for_200_ms_at_most() {
    let mut peer = with(nodelay());
    peer.conn.set_cork(true);
    peer.write(2300);
    assert_eq!(peer.sent_short(), [(Data, 0, 1000), (Data, 1000, 1000)]);
    peer.ack(2000);
    peer.quiet();
    let waited = peer.expire();
    assert!((200..=220).contains(&waited), "{waited}");
    assert_eq!(peer.sent_short(), [(Data, 2000, 300)]);
    peer.ack(2300);
    peer.write(100);
    peer.quiet();
    peer.conn.set_cork(false);
    assert_eq!(peer.sent_short(), [(Data, 2300, 100)]);
}

#[test]
fn cork__nodelay_lets_go_once() {
    let mut peer = with(SocketOptions::default());
    peer.conn.set_cork(true);
    peer.write(100);
    peer.quiet();
    peer.conn.set_nodelay(true);
    assert_eq!(peer.sent_short(), [(Data, 0, 100)]);
    peer.write(100);
    peer.quiet();
    // With nothing to let go, nothing is let go later.
    let mut peer = with(SocketOptions::default());
    peer.conn.set_cork(true);
    peer.conn.set_nodelay(true);
    peer.write(100);
    peer.quiet();
}

/// Linux's tcp_push_one() and forced_push(): what leaves while a write goes on has no PSH, and more than half of the largest
/// window goes at once.
#[test]
fn filling__pushes_nothing_to_the_reader() {
    let mut peer = established();
    peer.conn.set_filling();
    peer.write(1000);
    let sent = peer.sent();
    let flags: std::vec::Vec<_> = sent.iter().map(|t| t.header.flags).collect();
    assert_eq!(flags, [Flags::ACK]);
    peer.conn.set_more(false);
    peer.write(1000);
    assert_eq!(peer.sent()[0].header.flags, Flags::ACK.union(Flags::PSH));
    let half = u32::from(Offer::default().window) / 2;
    assert!(!peer.conn.forces_push(half));
    assert!(peer.conn.forces_push(half + 1));
}

#[test]
fn more__holds_until_an_acknowledgment_or_for_200_ms() {
    let mut peer = with(nodelay());
    peer.conn.set_more(true);
    peer.write(300);
    peer.quiet();
    let waited = peer.expire();
    assert!((200..=220).contains(&waited), "{waited}");
    assert_eq!(peer.sent_short(), [(Data, 0, 300)]);
    peer.ack(300);
    peer.conn.set_more(true);
    peer.write(1300);
    assert_eq!(peer.sent_short(), [(Data, 300, 1000)]);
    peer.quiet();
    peer.ack(1300);
    let sent = peer.sent();
    assert_eq!((sent.len(), sent[0].payload.len), (1, 300));
    // The flag was the call's: what it is about goes, but without PSH.
    assert!(!sent[0].header.flags.contains(Flags::PSH));
    peer.ack(1600);
    peer.conn.set_more(true);
    peer.write(100);
    peer.quiet();
    peer.conn.set_more(false);
    assert_eq!(peer.sent_short(), [(Data, 1600, 100)]);
}

/// RFC 9293 section 3.9.1.2 asks for PSH with the last of what is written.
#[test]
fn psh__ends_every_burst_of_several_segments() {
    let mut peer = with(nodelay());
    peer.limit = BurstLimit(5_000);
    peer.write(10_500);
    let mut flags = std::vec::Vec::new();
    while let Some(sent) = peer.poll() {
        flags.push((sent.payload.len, sent.header.flags.contains(Flags::PSH)));
    }
    assert_eq!(flags, [(5_000, true), (5_000, true)]);
    // One alone has none in the middle of what is written.
    peer.write(5_000);
    peer.limit = BurstLimit(1_000);
    peer.ack(1_000);
    let sent = peer.sent();
    assert_eq!(sent[0].payload.len, 1_000);
    assert!(!sent[0].header.flags.contains(Flags::PSH));
}

#[test]
fn window__bounds_what_is_sent() {
    let mut peer = with(nodelay());
    peer.ack_window(0, 3500);
    peer.write(10_000);
    // RFC 9293 section 3.8.6.2.1: no silly segment of 500.
    assert_eq!(
        peer.sent_short(),
        [(Data, 0, 1000), (Data, 1000, 1000), (Data, 2000, 1000)]
    );
    // The window stays where it is.
    peer.ack_window(1000, 2500);
    peer.quiet();
    peer.ack_window(2000, 3000);
    assert_eq!(peer.sent_short(), [(Data, 3000, 1000), (Data, 4000, 1000)]);
}

/// The peer takes back what it has offered (RFC 9293 section 3.8.6: "a TCP peer MUST be robust against window
/// shrinking").
#[test]
fn window__shrinks() {
    let mut peer = with(nodelay());
    peer.write(8000);
    assert_eq!(peer.sent().len(), 8);
    peer.ack_window(1000, 0);
    peer.write(1000);
    peer.quiet();
    // All in flight lies beyond the window; the oldest is sent again.
    peer.expire();
    assert_eq!(peer.sent_short(), [(Retransmission, 1000, 1000)]);
    // What the peer has taken before it shrank.
    peer.ack_window(4000, 0);
    peer.quiet();
    peer.expire();
    assert_eq!(peer.sent_short(), [(Retransmission, 4000, 1000)]);
    peer.ack_window(8000, 0);
    peer.quiet();
    assert!(peer.conn.timer_of(TimerKind::Persist).is_some());
    peer.ack_window(8000, 1000);
    assert_eq!(peer.sent_short(), [(Data, 8000, 1000)]);
}

/// RFC 9293 section 3.8.6.1, and the lost window update: the probes find out.
#[test]
fn window__closed_is_probed_with_back_off() {
    let mut peer = established();
    peer.ack_window(0, 0);
    peer.write(5000);
    peer.quiet();
    let mut waited = std::vec::Vec::new();
    for _ in 0..12 {
        waited.push(peer.expire());
        assert_eq!(peer.sent_short(), [(Probe, u32::MAX, 0)]);
        peer.ack_window(0, 0);
        peer.quiet();
    }
    for pair in waited.windows(2) {
        assert!(pair[1] >= pair[0] && pair[1] <= pair[0] * 2 + 2);
    }
    assert_eq!(waited[11], 120_000);
    // As long as the peer answers, it is not given up.
    for _ in 0..100 {
        peer.expire();
        let _ = peer.sent();
        peer.ack_window(0, 0);
    }
    peer.ack_window(0, 60_000);
    assert_eq!(peer.sent().len(), 5);
}

#[test]
fn window__less_than_a_segment_is_used_by_the_override_timer() {
    let mut peer = established();
    peer.ack_window(0, 2000);
    peer.write(2000);
    assert_eq!(peer.sent().len(), 2);
    peer.write(5000);
    peer.ack_window(2000, 300);
    peer.quiet();
    let waited = peer.expire();
    assert!(waited <= 250);
    assert_eq!(peer.sent_short(), [(Data, 2000, 300)]);
    peer.ack_window(2300, 0);
    peer.quiet();
    peer.expire();
    assert_eq!(peer.next().kind, Probe);
}

/// A window smaller than an MSS all the time: half of it makes a segment, so that one can be in flight while
/// another is acknowledged.
#[test]
fn window__of_a_small_peer() {
    let offer = Offer {
        window: 800,
        ..Offer::default()
    };
    let mut peer = established_with(Config::default(), nodelay(), offer);
    peer.write(2000);
    assert_eq!(peer.sent_short(), [(Data, 0, 400), (Data, 400, 400)]);
}

#[test]
fn slow_start__grows_by_what_is_acknowledged_and_only_when_used() {
    let mut peer = with(nodelay());
    peer.limit = BurstLimit(65_536);
    assert_eq!(peer.conn.cwnd(), 10_000);
    peer.write(10_000);
    let _ = peer.sent();
    peer.advance(10);
    peer.ack(10_000);
    assert_eq!(peer.conn.cwnd(), 20_000);
    for i in 1..20 {
        // Little used.
        peer.write(1000);
        let _ = peer.sent();
        peer.advance(10);
        peer.ack(10_000 + i * 1000);
    }
    assert_eq!(peer.conn.cwnd(), 20_000);
}

/// RFC 5681 section 4.1, in steps.
#[test]
fn idle__the_window_decays() {
    for keep in [false, true] {
        let config = Config {
            slow_start_after_idle: !keep,
            ..Config::default()
        };
        let mut peer = established_with(config, nodelay(), Offer::default());
        peer.limit = BurstLimit(65_536);
        let mut at = 0;
        for _ in 0..3 {
            let cwnd = peer.conn.cwnd();
            peer.write(cwnd.min(50_000));
            at += cwnd.min(50_000);
            let _ = peer.sent();
            peer.advance(10);
            peer.ack(at);
        }
        assert!(peer.conn.cwnd() >= 80_000);
        peer.advance(10_000);
        peer.write(1000);
        let _ = peer.sent();
        assert_eq!(peer.conn.cwnd() == 10_000, !keep);
    }
}

/// Half of the window after a loss: round numbers.
fn reno() -> Config {
    Config {
        congestion_control: Algorithm::NewReno,
        ..Config::default()
    }
}

/// RFC 9438 section 4.6: the default controller keeps seven tenths.
#[test]
fn loss__cubic_keeps_seven_tenths() {
    let mut peer = with(nodelay());
    peer.write(10_000);
    let _ = peer.sent();
    for _ in 0..3 {
        peer.ack(0);
    }
    assert_eq!(peer.sent_short(), [(Retransmission, 0, 1000)]);
    assert_eq!(peer.conn.ssthresh(), 7000);
}

/// RFC 5681 section 3.2, RFC 3042 section 2, RFC 6582 section 3.2.
#[test]
fn fast_retransmit() {
    let mut peer = established_with(reno(), nodelay(), Offer::default());
    peer.write(30_000);
    assert_eq!(peer.sent().len(), 10);
    // Limited transmit.
    peer.ack(0);
    assert_eq!(peer.sent_short(), [(Data, 10_000, 1000)]);
    peer.ack(0);
    assert_eq!(peer.sent_short(), [(Data, 11_000, 1000)]);
    peer.ack(0);
    assert_eq!(peer.sent_short(), [(Retransmission, 0, 1000)]);
    assert_eq!(peer.conn.ssthresh(), 5000);
    assert!(peer.conn.in_recovery());
    // PRR (RFC 9937): one segment for every two that arrive.
    for next in [12_000, 13_000] {
        peer.ack(0);
        peer.quiet();
        peer.ack(0);
        assert_eq!(peer.sent_short(), [(Data, next, 1000)]);
    }
    // A partial acknowledgment: the next hole, as soon as something more has left the network.
    peer.ack(5000);
    peer.quiet();
    peer.ack(5000);
    assert_eq!(peer.sent_short(), [(Retransmission, 5000, 1000)]);
    // All: deflated.
    let nxt = ISS.add(1).distance_to(peer.conn.snd_nxt());
    peer.ack(nxt);
    assert!(!peer.conn.in_recovery());
    assert!(peer.conn.cwnd() <= 6000);
    assert_eq!(peer.conn.total_retransmits(), 2);
}

/// What is not a duplicate acknowledgment (RFC 5681 section 2).
#[test]
fn fast_retransmit__not_by_what_only_looks_like_it() {
    let mut peer = with(nodelay());
    peer.write(5000);
    let _ = peer.sent();
    for i in 0..5 {
        // Data, window updates, old acknowledgments.
        let _ = peer.data(i * 10, 10, 0, Flags::NONE);
        let _ = peer.sent();
        peer.ack_window(0, 50_000 + i as u16);
        peer.quiet();
    }
    let mut peer = with(nodelay());
    peer.write(5000);
    let _ = peer.sent();
    peer.ack(2000);
    for _ in 0..5 {
        peer.ack(1000);
        peer.quiet();
    }
    // Nothing in flight.
    peer.ack(5000);
    for _ in 0..5 {
        peer.ack(5000);
        peer.quiet();
    }
    assert_eq!(peer.conn.total_retransmits(), 0);
}

/// A whole burst is lost; the peer's GRO sends one acknowledgment for all that came after it.
#[test]
fn fast_retransmit__a_hole_by_sack() {
    let offer = Offer {
        sack: true,
        ..Offer::default()
    };
    let mut peer = established_with(reno(), nodelay(), offer);
    peer.limit = BurstLimit(65_536);
    peer.write(10_000);
    let _ = peer.sent();
    sack(&mut peer, 0, &[(6000, 10_000)]);
    // None is in the network; as much is sent as has arrived (RFC 9937, CRB), then a segment more (SSRB).
    assert_eq!(peer.sent_short(), [(Retransmission, 0, 4000)]);
    sack(&mut peer, 4000, &[(6000, 10_000)]);
    assert_eq!(peer.sent_short(), [(Retransmission, 4000, 2000)]);
    peer.ack(10_000);
    assert!(!peer.conn.in_recovery());
}

/// RFC 2883: a report of a duplicate is no sign of loss.
#[test]
fn fast_retransmit__not_by_d_sack() {
    let offer = Offer {
        sack: true,
        ..Offer::default()
    };
    let mut peer = established_with(Config::default(), nodelay(), offer);
    peer.write(5000);
    let _ = peer.sent();
    peer.ack(2000);
    for _ in 0..6 {
        sack(&mut peer, 2000, &[(0, 1000)]);
        peer.quiet();
    }
    // Nonsense in the option: backward, beyond SND.NXT, below.
    let mut segment = seg(Flags::ACK, peer.conn.rcv_nxt(), ISS.add(2001), 0);
    for (start, len) in [(1 << 30, 100), (4000, 1 << 31), (4900, 200)] {
        segment
            .header
            .options
            .sack
            .push(SeqRange::new(ISS.add(start), len));
    }
    for _ in 0..6 {
        let _ = peer.give(segment);
        peer.quiet();
    }
}

/// RFC 6298 section 5, RFC 5681 section 3.1: back to the oldest, one segment, slow start; acknowledgments beyond are believed.
#[test]
fn timeout__goes_back() {
    let mut peer = established_with(reno(), nodelay(), Offer::default());
    peer.write(10_000);
    assert_eq!(peer.sent().len(), 10);
    peer.expire();
    assert_eq!(peer.conn.cwnd(), 1000);
    assert_eq!(peer.conn.ssthresh(), 5000);
    assert_eq!(peer.sent_short(), [(Retransmission, 0, 1000)]);
    // SND.NXT has not moved.
    assert_eq!(peer.conn.snd_nxt(), ISS.add(10_001));
    peer.ack(1000);
    assert_eq!(
        peer.sent_short(),
        [(Retransmission, 1000, 1000), (Retransmission, 2000, 1000)]
    );
    // The peer had nearly all: only the rest is sent again.
    peer.ack(9000);
    assert_eq!(peer.sent_short(), [(Retransmission, 9000, 1000)]);
    peer.ack(10_000);
    assert_eq!(peer.conn.unacked(), 0);
    assert_eq!(peer.conn.poll_timeout(), None);
    assert_eq!(peer.conn.total_retransmits(), 4);
    // Without SACK, duplicates may still be echoes of the copies, until something new is acknowledged.
    peer.write(1000);
    assert_eq!(peer.sent_short(), [(Data, 10_000, 1000)]);
    peer.ack(11_000);
    assert!(!peer.conn.in_recovery());
}

#[test]
fn timeout__in_fast_recovery() {
    let mut peer = with(nodelay());
    peer.write(10_000);
    let _ = peer.sent();
    for _ in 0..5 {
        peer.ack(0);
    }
    assert_eq!(peer.sent_short(), [(Retransmission, 0, 1000)]);
    peer.expire();
    assert_eq!(peer.sent_short(), [(Retransmission, 0, 1000)]);
    // Duplicates of before are nothing now.
    for _ in 0..5 {
        peer.ack(0);
        peer.quiet();
    }
    peer.ack(10_000);
    peer.write(1000);
    let _ = peer.sent();
    peer.ack(11_000);
    assert!(!peer.conn.in_recovery());
    peer.quiet();
}

/// A peer that has moved RCV.NXT beyond what is being sent again.
#[test]
fn timeout__everything_acknowledged_at_once() {
    let mut peer = with(nodelay());
    peer.write(10_000);
    let _ = peer.sent();
    peer.expire();
    let _ = peer.sent();
    peer.write(2000);
    peer.ack(10_000);
    assert_eq!(
        peer.sent_short(),
        [(Data, 10_000, 1000), (Data, 11_000, 1000)]
    );
    peer.ack(12_000);
    peer.quiet();
}

/// The path's MTU falls while data is in flight: what is sent again is smaller.
#[test]
fn path_mss__falls() {
    let mut peer = with(nodelay());
    peer.write(3000);
    assert_eq!(peer.sent().len(), 3);
    assert!(peer.conn.icmp_sequence_in_flight(ISS.add(1)));
    assert!(!peer.conn.icmp_sequence_in_flight(ISS.add(3001)));
    let cx = crate::context::Context::new(peer.now, &peer.config);
    peer.conn.set_path_mss(&cx, 600);
    assert_eq!(peer.conn.mss(), 600);
    peer.expire();
    assert_eq!(peer.sent_short(), [(Retransmission, 0, 600)]);
    peer.ack(600);
    assert_eq!(
        peer.sent_short(),
        [(Retransmission, 600, 600), (Retransmission, 1200, 600)]
    );
    let nxt = SeqNum::new(ISS.get().wrapping_add(3001));
    assert_eq!(peer.conn.snd_nxt(), nxt);
}

/// An ICMP error says so: what was too big goes again at once, smaller, and the window stays as it is (RFC 1191 section 6.5), without
/// waiting for a timeout to confirm it (RFC 5927 section 7.2). A forged one, of a number not in flight, does nothing (RFC 5927
/// section 4.1).
#[test]
fn too_big__is_sent_again_at_once() {
    for memory in [true, false] {
        let mut peer = with(nodelay());
        peer.write(3000);
        assert_eq!(peer.sent().len(), 3);
        peer.write(200);
        assert_eq!(peer.sent().len(), 1);
        let cwnd = peer.conn.cwnd();
        peer.too_big(4000, 600, memory);
        assert_eq!(peer.conn.mss(), 1000);
        peer.too_big(1000, 1000, memory);
        peer.quiet();
        peer.too_big(1000, 600, memory);
        assert_eq!(peer.conn.mss(), 600);
        let mut at = 0;
        for (kind, start, len) in peer.sent_short() {
            assert_eq!((kind, start), (Retransmission, at));
            assert!(len <= 600, "{len}");
            at += len;
        }
        // What was small and sent in one go with the rest is not told from it.
        assert!(at == 3000 || at == 3200, "{at}");
        assert_eq!(peer.conn.cwnd(), cwnd);
        assert_eq!(peer.conn.timer().unwrap().0, TimerKind::Retransmit);
        peer.ack(3200);
        peer.quiet();
        // RFC 6582 section 3.2: without SACK the repair is over with what is acknowledged beyond it.
        peer.write(100);
        assert_eq!(peer.sent_short(), [(Data, 3200, 100)]);
        peer.ack(3300);
        assert_eq!(peer.conn.mode(), Mode::Open);
        peer.quiet();
    }
}
