// SPDX-License-Identifier: GPL-2.0

//! The send queue: message boundaries (MSG_EOR), first and again; how much is in it.

use super::script::*;
use crate::context::{Config, SocketOptions};
use crate::transmit::{BurstLimit, TransmitKind};
use crate::wire::Flags;
use TransmitKind::{Data, Fin, LossProbe, Retransmission};

fn peer() -> Peer {
    let offer = Offer {
        sack: true,
        ..Offer::default()
    };
    let mut peer = established_with(Config::default(), SocketOptions::default(), offer);
    peer.limit = BurstLimit(65_536);
    peer
}

#[test]
fn boundary__ends_a_burst_and_a_segment() {
    let mut peer = peer();
    peer.write(1400);
    peer.write_message(2300);
    peer.write_message(400);
    peer.write(1000);
    assert_eq!(
        peer.sent_short(),
        [(Data, 0, 3700), (Data, 3700, 400), (Data, 4100, 1000)]
    );
}

/// With one segment at a time the last one before a boundary is short, and says that the message is complete.
#[test]
fn boundary__of_single_segments() {
    let mut peer = peer();
    peer.limit = BurstLimit(0);
    peer.write_message(1000);
    peer.write_message(1100);
    peer.write(2000);
    let sent = peer.sent();
    let lens: std::vec::Vec<_> = sent.iter().map(|t| t.payload.len).collect();
    assert_eq!(lens, [1000, 1000, 100, 1000, 1000]);
    let pushed = |t: &crate::transmit::Transmit| t.header.flags.contains(Flags::PSH);
    let pushed: std::vec::Vec<_> = sent.iter().map(pushed).collect();
    assert_eq!(pushed, [true, false, true, false, true]);
}

/// Nagle's algorithm and a cork wait for what could fill the segment. Behind a boundary nothing can.
#[test]
fn boundary__does_not_wait_but_for_the_last_message() {
    let mut peer = peer();
    peer.write_message(100);
    peer.write_message(100);
    peer.write_message(100);
    assert_eq!(peer.sent_short(), [(Data, 0, 100), (Data, 100, 100)]);
    peer.quiet();
    peer.write(10);
    assert_eq!(peer.sent_short(), [(Data, 200, 100)]);
    peer.ack(300);
    assert_eq!(peer.sent_short(), [(Data, 300, 10)]);
    peer.ack(310);
    peer.conn.set_cork(true);
    peer.write_message(10);
    peer.quiet();
    peer.write(10);
    assert_eq!(peer.sent_short(), [(Data, 310, 10)]);
    peer.quiet();
}

#[test]
fn boundary__a_fin_follows_the_last_message() {
    let mut peer = peer();
    peer.write_message(100);
    peer.write_message(200);
    peer.shutdown();
    let sent = peer.sent();
    assert_eq!(sent.len(), 2);
    assert!(!sent[0].header.flags.contains(Flags::FIN));
    assert!(sent[1].header.flags.contains(Flags::FIN));
    // All of it was sent: the FIN alone.
    let mut peer = self::peer();
    peer.write_message(100);
    assert_eq!(peer.sent_short(), [(Data, 0, 100)]);
    peer.shutdown();
    assert_eq!(peer.sent_short(), [(Fin, 100, 0)]);
}

#[test]
fn boundary__stays_in_what_is_sent_again() {
    let mut peer = peer();
    for _ in 0..6 {
        peer.write_message(400);
    }
    peer.write(4000);
    assert_eq!(peer.sent_short().len(), 7);
    peer.advance(20);
    peer.report(0, &[(1200, 2400)], None);
    peer.quiet();
    // The reordering window is over.
    peer.expire();
    assert_eq!(peer.sent_short().first(), Some(&(Retransmission, 0, 400)));
    peer.advance(20);
    peer.report(400, &[(1200, 2400)], None);
    for (kind, _, len) in peer.sent_short() {
        assert_eq!((kind, len), (Retransmission, 400));
    }
}

/// Without memory for the flight, too.
#[test]
fn boundary__stays_after_a_timeout() {
    let mut peer = peer();
    peer.write_message(400);
    peer.write_message(400);
    peer.write(10);
    let _ = peer.sent();
    while peer.conn.retransmits() == 0 {
        peer.expire();
        let _ = peer.conn.take_events();
        if peer.conn.retransmits() == 0 {
            let _ = peer.sent();
        }
    }
    assert_eq!(peer.sent_short().first(), Some(&(Retransmission, 0, 400)));
}

#[test]
fn boundary__a_loss_probe_is_the_last_message() {
    let mut peer = peer();
    peer.write_message(1400);
    peer.write_message(300);
    peer.conn.set_nodelay(true);
    peer.write_message(300);
    assert_eq!(peer.sent_short().len(), 3);
    peer.expire();
    assert_eq!(peer.sent_short(), [(LossProbe, 1700, 300)]);
}

/// Linux's tcp_xmit_size_goal.
#[test]
fn write_goal__is_whole_segments_and_half_a_window() {
    let mut peer = peer();
    assert_eq!(peer.conn.write_goal(20_500), 20_000);
    assert_eq!(peer.conn.write_goal(65_000), 30_000);
    assert_eq!(peer.conn.write_goal(10), 1000);
    peer.ack_window(0, 500);
    assert_eq!(peer.conn.write_goal(65_000), 30_000, "the largest window");
    assert_eq!(syn_sent().conn.write_goal(65_000), 64_856);
}

/// As SIOCOUTQ and SIOCOUTQNSD tell it: a FIN counts as a byte.
#[test]
fn send_queue__counts_bytes_and_the_fin() {
    let mut peer = peer();
    let queue = |peer: &Peer| (peer.conn.send_queue(), peer.conn.send_queue_not_sent());
    assert_eq!(queue(&peer), (0, 0));
    peer.write(12_000);
    assert_eq!(queue(&peer), (12_000, 12_000));
    let _ = peer.sent();
    assert_eq!(queue(&peer), (12_000, 2000));
    peer.shutdown();
    assert_eq!(queue(&peer), (12_001, 2001));
    peer.ack(10_000);
    assert_eq!(queue(&peer), (2001, 2001));
    let _ = peer.sent();
    assert_eq!(queue(&peer), (2001, 0));
    peer.ack(12_000);
    assert_eq!(queue(&peer), (1, 0));
    peer.ack(12_001);
    assert_eq!(queue(&peer), (0, 0));
    let before = syn_sent();
    assert_eq!(queue(&before), (0, 0));
}
