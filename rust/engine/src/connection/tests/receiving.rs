// SPDX-License-Identifier: GPL-2.0

//! Reassembly, SACK, the receive window, acknowledgments.

use super::script::*;
use crate::connection::{Payload, QuickAck, State, TimerKind};
use crate::context::{Config, Context, SocketOptions, Traits};
use crate::happening::Happening::{TCPAckCompressed, TCPOFOQueue};
use crate::seq::{SeqNum, SeqRange};
use crate::time::Duration;
use crate::transmit::TransmitKind;
use crate::wire::Flags;
use std::vec::Vec;

fn with_sack() -> Peer {
    with_sack_and(Config::default())
}

fn with_sack_and(config: Config) -> Peer {
    let offer = Offer {
        sack: true,
        ..Offer::default()
    };
    established_with(config, SocketOptions::default(), offer)
}

/// The SACK blocks as offsets (start, end).
fn blocks(sack: &[SeqRange]) -> Vec<(u32, u32)> {
    let offset = |seq: SeqNum| IRS.add(1).distance_to(seq);
    sack.iter()
        .map(|b| (offset(b.start), offset(b.end())))
        .collect()
}

fn in_order(skip: u32, len: u32) -> Payload {
    Payload::InOrder { skip, len }
}

fn out_of_order(skip: u32, len: u32) -> Payload {
    Payload::OutOfOrder { skip, len }
}

#[test]
fn payload__what_is_to_be_kept() {
    let mut peer = established();
    // (offset, len) -> what is kept, RCV.NXT
    let table = [
        (0, 100, in_order(0, 100), 100),
        (0, 100, Payload::None, 100),
        (50, 100, in_order(50, 50), 150),
        (200, 50, out_of_order(0, 50), 150),
        (200, 50, Payload::None, 150),
        (300, 50, out_of_order(0, 50), 150),
        // Fills the first hole, overlaps what was kept.
        (140, 70, in_order(10, 60), 250),
        (250, 50, in_order(0, 50), 350),
        // Beyond the window, which began with 50,000; there is something to read.
        (49_990, 20, Payload::None, 350),
        (49_990, 10, out_of_order(0, 10), 350),
        (50_000, 20, Payload::None, 350),
    ];
    for (at, len, kept, rcv) in table {
        assert_eq!(peer.data(at, len, 0, Flags::NONE), kept, "{at} {len}");
        assert_eq!(peer.rcv(), rcv, "{at} {len}");
        let _ = peer.sent();
    }
}

#[test]
fn payload__without_reassembly_only_in_order() {
    let mut peer = with_sack();
    peer.reassembly = None;
    assert_eq!(peer.data(100, 100, 0, Flags::NONE), Payload::None);
    peer.quiet();
    assert_eq!(peer.data(0, 100, 0, Flags::NONE), in_order(0, 100));
}

/// RFC 2018 section 4: most recent first; RFC 2883 section 4: a duplicate is reported once.
#[test]
fn sack__blocks() {
    let mut peer = with_sack();
    let _ = peer.data(100, 100, 0, Flags::NONE);
    assert_eq!(
        blocks(peer.next().header.options.sack.as_slice()),
        [(100, 200)]
    );
    let _ = peer.data(300, 100, 0, Flags::NONE);
    assert_eq!(
        blocks(peer.next().header.options.sack.as_slice()),
        [(300, 400), (100, 200)]
    );
    // A duplicate of a kept range, inside of its block.
    let _ = peer.data(120, 30, 0, Flags::NONE);
    let sack = blocks(peer.next().header.options.sack.as_slice());
    assert_eq!(sack[0], (120, 150));
    assert!(sack.contains(&(100, 200)) && sack.contains(&(300, 400)));
    // The report is not repeated, the blocks are.
    let _ = peer.data(500, 10, 0, Flags::NONE);
    let sack = blocks(peer.next().header.options.sack.as_slice());
    assert_eq!(sack[0], (500, 510));
    assert!(!sack.contains(&(120, 150)));
    // Data in the other direction carries them, too, and makes its segments smaller.
    peer.write(1000);
    let data = peer.next();
    assert_eq!(data.kind, TransmitKind::Data);
    assert_eq!(data.header.options.sack.len(), 3);
    assert_eq!(u32::from(data.mss), 1000 - 28);
    // The holes are filled.
    let _ = peer.data(0, 500, 0, Flags::NONE);
    let _ = peer.sent();
    assert_eq!(peer.rcv(), 510);
    let _ = peer.data(400, 50, 0, Flags::NONE);
    // Below RCV.NXT: a D-SACK alone.
    assert_eq!(
        blocks(peer.next().header.options.sack.as_slice()),
        [(400, 450)]
    );
}

#[test]
fn sack__tells_what_a_longer_segment_brought_twice() {
    let mut peer = with_sack();
    for (at, len) in [(1000, 2000), (4000, 1000), (7000, 1000)] {
        let _ = peer.data(at, len, 0, Flags::NONE);
        let _ = peer.sent();
    }
    // RFC 2883 section 4.1.1: the lowest block that came twice, then what is still missing something before it.
    assert_eq!(peer.data(0, 6000, 0, Flags::NONE), in_order(0, 6000));
    let ack = peer.next();
    assert_eq!(
        blocks(ack.header.options.sack.as_slice()),
        [(1000, 3000), (7000, 8000)]
    );
    // No more of it than the segment brought.
    assert_eq!(peer.data(6000, 1500, 0, Flags::NONE), in_order(0, 1500));
    let ack = peer.next();
    assert_eq!(blocks(ack.header.options.sack.as_slice()), [(7000, 7500)]);
    assert_eq!(peer.rcv(), 8000);
}

#[test]
fn sack__not_without_agreement() {
    let mut peer = established();
    let _ = peer.data(100, 100, 0, Flags::NONE);
    assert!(peer.next().header.options.sack.is_empty());
}

/// RFC 5681 section 4.2: out of order, a hole filled, a duplicate: at once.
#[test]
fn ack__at_once_when_something_is_amiss() {
    let mut peer = established();
    drain_quick_acks(&mut peer);
    let at = peer.rcv();
    for (offset, len) in [(100, 100), (300, 100), (0, 100), (0, 10), (200, 100)] {
        let _ = peer.data(at + offset, len, 0, Flags::NONE);
        assert_eq!(peer.sent().len(), 1, "{offset}");
    }
    assert_eq!(peer.rcv(), at + 400);
}

/// A peer whose block behind a hole has been told three times. Returns where the block begins and ends.
fn told_of_a_hole(config: Config) -> (Peer, u32, u32) {
    let mut peer = with_sack_and(config);
    drain_quick_acks(&mut peer);
    let (at, mut end) = (peer.rcv() + 1000, peer.rcv() + 1000);
    for _ in 0..3 {
        let _ = peer.data(end, 10, 0, Flags::NONE);
        end += 10;
        assert_eq!(peer.sent().len(), 1);
    }
    let _ = peer.counted();
    (peer, at, end)
}

/// Linux's SACK compression: three acknowledgments tell of the hole, those that follow are one, a third of a round trip later.
#[test]
fn compressed__when_the_hole_has_been_told() {
    let (mut peer, at, mut end) = told_of_a_hole(Config::default());
    let _ = peer.events();
    for compressed in 0..4 {
        let _ = peer.data(end, 10, 0, Flags::NONE);
        end += 10;
        // But for the first, whose timer is to be set.
        assert_eq!(peer.conn.is_undisturbed(), compressed > 0);
        peer.quiet();
        let counted = [(TCPOFOQueue, 1), (TCPAckCompressed, 1)];
        assert_eq!(peer.counted(), counted[..1 + compressed.min(1)]);
    }
    // A duplicate waits with them, and another that continues it.
    for duplicate in [at, at + 5] {
        let _ = peer.data(duplicate, 5, 0, Flags::NONE);
        peer.quiet();
    }
    let _ = peer.counted();
    assert!(peer.expire() <= 1, "a millisecond at most");
    let ack = peer.next();
    let sack = blocks(ack.header.options.sack.as_slice());
    assert_eq!(sack, [(at, at + 10), (at, end)]);
    assert_eq!(peer.counted(), []);
    // And so on; what goes out anyway tells of them.
    let _ = peer.data(end, 10, 0, Flags::NONE);
    peer.quiet();
    peer.write(100);
    let sack = blocks(peer.next().header.options.sack.as_slice());
    assert_eq!(sack, [(at, end + 10)]);
    assert_eq!(peer.conn.timer_of(TimerKind::CompressedAck), None);
    assert_eq!(peer.counted(), [(TCPOFOQueue, 1), (TCPAckCompressed, 1)]);
    // While something is in flight, what comes tells of that.
    end += 10;
    let _ = (peer.events(), peer.counted());
    for _ in 0..4 {
        let _ = peer.data(end, 10, 0, Flags::NONE);
        end += 10;
        assert!(!peer.conn.is_undisturbed());
        peer.quiet();
    }
    assert!(peer.counted().contains(&(TCPAckCompressed, 3)));
}

/// What the peer is to know soon is not held back, and takes with it what is.
#[test]
fn compressed__not_what_is_new() {
    let (mut peer, _, end) = told_of_a_hole(Config::default());
    let _ = peer.data(end, 10, 0, Flags::NONE);
    peer.quiet();
    // Another hole.
    let _ = peer.data(end + 100, 10, 0, Flags::NONE);
    assert_eq!(peer.sent().len(), 1);
    assert_eq!(peer.conn.timer_of(TimerKind::CompressedAck), None);
    // A block that was told before.
    let _ = peer.data(end + 10, 10, 0, Flags::NONE);
    assert_eq!(peer.sent().len(), 1);
    let _ = peer.data(end + 20, 10, 0, Flags::NONE);
    peer.quiet();
    // In order, while a hole is left. What comes then is told three times.
    let rcv = peer.rcv();
    let _ = peer.data(rcv, 10, 0, Flags::NONE);
    assert_eq!(peer.sent().len(), 1);
    for held in [false, false, false, true] {
        let _ = peer.data(end, 10, 0, Flags::NONE);
        assert_eq!(peer.sent().is_empty(), held);
    }
}

/// They wait for a share of the round trip.
#[test]
fn compressed__for_a_share_of_the_round_trip() {
    let wait = |percent| {
        let config = Config {
            comp_sack_delay: Duration::from_secs(10),
            comp_sack_rtt_percent: percent,
            ..Config::default()
        };
        let (mut peer, _, end) = told_of_a_hole(config);
        let _ = peer.data(end, 10, 0, Flags::NONE);
        peer.quiet();
        let at = peer.conn.timer_of(TimerKind::CompressedAck);
        at.expect("it is held back").since(peer.now)
    };
    let whole = wait(100);
    assert!(!whole.is_zero() && whole < Duration::from_secs(10));
    assert_eq!(wait(25), whole.percent(25));
    assert_eq!(wait(300), whole.times(3));
}

/// The settings bound it, and two of them turn it off.
#[test]
fn compressed__as_far_as_is_set() {
    let few = Config {
        comp_sack_nr: 2,
        ..Config::default()
    };
    let (mut peer, _, end) = told_of_a_hole(few);
    for sent in [0, 0, 1, 0, 0, 1] {
        let _ = peer.data(end, 10, 0, Flags::NONE);
        assert_eq!(peer.sent().len(), sent);
    }
    let none = Config {
        comp_sack_nr: 0,
        ..Config::default()
    };
    let soon = Config {
        comp_sack_delay: Duration::ZERO,
        ..Config::default()
    };
    for config in [none, soon] {
        let (mut peer, _, end) = told_of_a_hole(config);
        let _ = peer.data(end, 10, 0, Flags::NONE);
        assert_eq!(peer.sent().len(), 1);
    }
}

/// Receives until acknowledgments are delayed.
fn drain_quick_acks(peer: &mut Peer) {
    let mut at = peer.rcv();
    for _ in 0..40 {
        let _ = peer.data(at, 1000, 0, Flags::NONE);
        at += 1000;
        let _ = peer.sent();
        peer.read(50_000);
        let _ = peer.sent();
        peer.advance(1);
    }
    if peer.conn.timer_of(TimerKind::DelayedAck).is_some() {
        peer.expire();
        let _ = peer.sent();
    }
}

/// RFC 9293 section 3.8.6.3.
#[test]
fn ack__every_second_full_segment() {
    let mut peer = established();
    // At first each one, for the peer's slow start.
    for i in 0..10 {
        let _ = peer.data(i * 1000, 1000, 0, Flags::NONE);
        assert_eq!(peer.sent().len(), 1, "{i}");
        peer.read(50_000);
        let _ = peer.sent();
    }
    drain_quick_acks(&mut peer);
    let mut at = peer.rcv();
    for i in 0..10 {
        let _ = peer.data(at, 1000, 0, Flags::NONE);
        at += 1000;
        assert_eq!(peer.sent().len(), i % 2, "{i}");
        peer.read(50_000);
        let _ = peer.sent();
    }
    // An aggregate of many segments counts as many; where the window does not go on with it, when it is read.
    let _ = peer.data(at, 5000, 0, Flags::NONE);
    peer.quiet();
    peer.read(50_000);
    assert_eq!(peer.sent().len(), 1);
    // A user who needs more before it reads would wait for the sender, and the sender for the acknowledgment.
    peer.lowat = 8000;
    let _ = peer.data(at + 5000, 5000, 0, Flags::NONE);
    assert_eq!(peer.sent().len(), 1);
}

/// RFC 9293 section 3.8.6.3 has half a second at most.
#[test]
fn ack__a_lone_segment_waits_40_to_200_ms() {
    let mut peer = established();
    drain_quick_acks(&mut peer);
    let at = peer.rcv();
    let _ = peer.data(at, 1000, 0, Flags::NONE);
    peer.quiet();
    let waited = peer.expire();
    assert!((40..=200).contains(&waited), "{waited}");
    assert_eq!(peer.sent_short(), [(TransmitKind::Ack, 0, 0)]);
    assert_eq!(peer.conn.poll_timeout(), None);
    // With an answer it travels on that.
    let _ = peer.data(at + 1000, 1000, 0, Flags::NONE);
    peer.quiet();
    peer.write(10);
    let data = peer.next();
    assert_eq!(data.header.ack, IRS.add(1 + at + 2000));
    assert_eq!(peer.conn.timer_of(TimerKind::DelayedAck), None);
    peer.quiet();
}

/// A user who answers what it receives needs no acknowledgments of their own.
#[test]
fn ack__request_and_answer() {
    let mut peer = established();
    let mut acks = 0;
    for i in 0..20u32 {
        let _ = peer.data(i * 10, 10, i * 10, Flags::PSH);
        acks += peer.sent().len();
        peer.read(50_000);
        acks += peer.sent().len();
        peer.write(10);
        assert_eq!(peer.sent().len(), 1);
        peer.advance(1);
    }
    // Only the first, before it was known.
    assert!(acks <= 1, "{acks}");
}

/// Linux's tcp_cleanup_rbuf: a peer with Nagle's algorithm waits for the acknowledgment of a small segment.
/// Linux's tcp_fin: the user will most likely close too.
#[test]
fn ack__of_a_fin_waits_for_the_answer() {
    // Before any data there is no estimate of how long to wait: a moment.
    let mut peer = established();
    let _ = peer.data(0, 0, 0, Flags::FIN);
    peer.quiet();
    assert_eq!(peer.expire(), 1);
    assert_eq!(peer.next().header.ack, IRS.add(2));
    // In it the user closes.
    let mut peer = established();
    let _ = peer.data(0, 0, 0, Flags::FIN);
    peer.shutdown();
    let fin = peer.next();
    assert_eq!((fin.kind, fin.header.ack), (TransmitKind::Fin, IRS.add(2)));
    peer.quiet();
    // Afterwards it waits, as the acknowledgment of data does.
    let mut peer = established();
    let _ = peer.data(0, 100, 0, Flags::NONE);
    let _ = peer.sent();
    let _ = peer.data(100, 0, 0, Flags::FIN);
    peer.quiet();
    assert_eq!(peer.conn.state(), State::CloseWait);
    assert_eq!(peer.expire(), 40);
    assert_eq!(peer.next().header.ack, IRS.add(102));
    // The user's own FIN carries it.
    let mut peer = established();
    let _ = peer.data(0, 100, 0, Flags::NONE);
    let _ = peer.sent();
    let _ = peer.data(100, 0, 0, Flags::FIN);
    peer.quiet();
    peer.shutdown();
    let fin = peer.next();
    assert_eq!(
        (fin.kind, fin.header.ack),
        (TransmitKind::Fin, IRS.add(102))
    );
    assert_eq!(peer.conn.timer_of(TimerKind::DelayedAck), None);
    // Not when it closes a gap, when much came with it, or when it comes again.
    let mut peer = established();
    let _ = peer.data(0, 100, 0, Flags::NONE);
    let _ = peer.data(200, 100, 0, Flags::FIN);
    let _ = peer.sent();
    let _ = peer.data(100, 100, 0, Flags::NONE);
    assert_eq!(peer.next().header.ack, IRS.add(302));
    let mut peer = established();
    let _ = peer.data(0, 100, 0, Flags::NONE);
    let _ = peer.sent();
    let _ = peer.data(100, 2000, 0, Flags::FIN);
    assert_eq!(peer.next().header.ack, IRS.add(2102));
    let _ = peer.data(100, 2000, 0, Flags::FIN);
    assert_eq!(peer.next().header.ack, IRS.add(2102));
}

/// Most reads make nothing due, and the caller need not look.
#[test]
fn read__that_makes_nothing_due() {
    let mut peer = established();
    drain_quick_acks(&mut peer);
    let at = peer.rcv();
    let _ = peer.data(at, u32::from(MSS), 0, Flags::NONE);
    peer.quiet();
    let _ = peer.events();
    peer.read(50_000);
    assert!(peer.conn.is_undisturbed());
    assert_eq!(peer.expire(), 40);
    assert_eq!(peer.sent().len(), 1);
    // The acknowledgment of two segments is due.
    let mut peer = established();
    drain_quick_acks(&mut peer);
    let at = peer.rcv();
    let _ = peer.data(at, 2 * u32::from(MSS), 0, Flags::NONE);
    let _ = peer.events();
    peer.read(50_000);
    assert!(!peer.conn.is_undisturbed());
    assert_eq!(peer.sent().len(), 1);
    // There is something to send.
    let mut peer = established();
    peer.quiet();
    peer.write(100);
    peer.read(50_000);
    assert!(!peer.conn.is_undisturbed());
    assert_eq!(peer.sent().len(), 1);
}

#[test]
fn ack__of_a_small_pushed_segment_when_it_is_read() {
    let mut peer = established();
    drain_quick_acks(&mut peer);
    let at = peer.rcv();
    let _ = peer.data(at, 20, 0, Flags::PSH);
    peer.quiet();
    peer.read(50_000);
    assert_eq!(peer.sent_short(), [(TransmitKind::Ack, 0, 0)]);
}

/// The right edge never moves back, whatever is received, read and taken away.
#[test]
fn window__never_shrinks() {
    for scale in [None, Some(0), Some(7)] {
        let offer = Offer {
            scale,
            ..Offer::default()
        };
        let mut peer = established_with(Config::default(), SocketOptions::default(), offer);
        let mut edge = peer.edge();
        let mut seed = 12345u32;
        let mut at = 0u32;
        let mut unread = 0u32;
        for _ in 0..5000 {
            seed = seed.wrapping_mul(1664525).wrapping_add(1013904223);
            let random = seed >> 8;
            let len = random % 3000;
            match random % 5 {
                0 | 1 => {
                    if let Payload::InOrder { len, .. } = peer.data(at, len, 0, Flags::NONE) {
                        at += len;
                        unread += len;
                    }
                }
                2 => {
                    unread -= unread.min(len);
                    peer.read(50_000u32.saturating_sub(unread));
                }
                // The buffer shrinks.
                3 => peer.read(30_000u32.saturating_sub(unread)),
                _ => {
                    let _ = peer.data(at + len, 10, 0, Flags::NONE);
                }
            }
            for sent in peer.sent() {
                let unit = peer.conn.negotiated().unwrap().rcv_scale;
                assert_eq!(unit.get(), if scale.is_some() { 6 } else { 0 });
                let wire = sent.header.ack.add(unit.widen(sent.header.window));
                let now = IRS.add(1).distance_to(wire);
                // Less than a unit may be lost to rounding when the buffer is full (RFC 7323 section 2.4).
                assert!(now + unit.widen(1) > edge, "{now} {edge}");
                edge = edge.max(now);
                assert_eq!(edge, peer.edge());
            }
        }
    }
}

/// RFC 9293 section 3.8.6.2.2: no small steps; an update when the user has read enough.
#[test]
fn window__silly_window_is_avoided() {
    let mut peer = established();
    let edge = peer.edge();
    // The acknowledgment is not hurried: nothing can follow.
    let _ = peer.data(0, edge, 0, Flags::NONE);
    peer.quiet();
    assert_eq!(peer.expire(), 40);
    assert_eq!(peer.next().header.window, 0);
    // Less than an MSS and, as in Linux, than a sixteenth of the buffer: nothing is said, and nothing is offered.
    for free in [1, 500, 999, 1000, 3124] {
        peer.read(free);
        peer.quiet();
    }
    let _ = peer.data(edge, 0, 0, Flags::NONE);
    let _ = peer.data(edge, 1, 0, Flags::NONE);
    assert_eq!(peer.next().header.window, 0);
    peer.read(3125);
    let update = peer.next();
    assert_eq!(update.kind, TransmitKind::WindowUpdate);
    assert_eq!(update.header.window, 3000);
    // Then when it doubles.
    peer.read(5999);
    peer.quiet();
    peer.read(6000);
    assert_eq!(peer.next().header.window, 6000);
    peer.read(50_000);
    assert_eq!(peer.next().header.window, 50_000);
}

/// A probe into a closed window is answered with the window as it is.
#[test]
fn window__probes_are_answered() {
    let mut peer = established();
    let edge = peer.edge();
    let _ = peer.data(0, edge, 0, Flags::NONE);
    let _ = peer.expire();
    let _ = peer.sent();
    peer.advance(1000);
    // Linux's probe: an old number, no data; RFC 9293's: one byte of new data.
    let _ = peer.give(seg(Flags::ACK, IRS.add(edge), ISS.add(1), 0));
    assert_eq!(peer.next().header.ack, IRS.add(1 + edge));
    let taken = peer.give(seg(Flags::ACK, IRS.add(1 + edge), ISS.add(1), 1));
    assert_eq!(taken, Payload::None);
    let answer = peer.next();
    assert_eq!(
        (answer.header.ack, answer.header.window),
        (IRS.add(1 + edge), 0)
    );
}

/// Data that comes into a closed window still brings its acknowledgment (RFC 9293 section 3.10.7.4: "special allowance
/// should be made to accept valid ACKs").
#[test]
fn window__closed_acks_count() {
    let mut peer = established();
    let edge = peer.edge();
    let _ = peer.data(0, edge, 0, Flags::NONE);
    peer.write(100);
    let _ = peer.sent();
    assert_eq!(peer.data(edge, 10, 100, Flags::NONE), Payload::None);
    assert_eq!(peer.conn.unacked(), 0);
    assert_eq!(peer.conn.state(), State::Established);
}

/// The buffer is made small in mid-stream: what counts is what it is now.
#[test]
fn window__opens_in_a_buffer_that_became_small() {
    let mut peer = established();
    let edge = peer.edge();
    let _ = peer.data(0, edge, 0, Flags::NONE);
    let _ = peer.expire();
    let _ = peer.sent();
    // 2048 bytes, all taken.
    peer.read_of(0, 900);
    peer.quiet();
    peer.read_of(449, 900);
    peer.quiet();
    peer.read_of(900, 900);
    let update = peer.next();
    assert_eq!(
        (update.kind, update.header.window),
        (TransmitKind::WindowUpdate, 900)
    );
}

/// Without window scaling a field names 65,535 bytes at most: more room is no news.
#[test]
fn window__no_update_of_what_cannot_be_named() {
    let mut peer = established();
    peer.read_of(200_000, 200_000);
    let _ = peer.sent();
    for at in [0, 1000] {
        let _ = peer.data(at, 1000, 0, Flags::NONE);
        let _ = peer.sent();
        peer.read_of(200_000, 200_000);
        peer.quiet();
    }
}

/// TCP_QUICKACK: 0 makes an acknowledgment wait for an answer, 1 lets it go, 2 lets it go and the next one wait.
#[test]
fn quick_ack__off_on_and_once() {
    let mut peer = established();
    assert!(peer.conn.quick_ack());
    let set = |peer: &mut Peer, mode| {
        let config = peer.config;
        let cx = Context::new(peer.now, &config);
        peer.conn.set_quick_ack(&cx, mode);
    };
    set(&mut peer, QuickAck::Off);
    assert!(!peer.conn.quick_ack());
    let _ = peer.data(0, 100, 0, Flags::PSH);
    peer.quiet();
    // What is not read is acknowledged when it is.
    set(&mut peer, QuickAck::On);
    peer.quiet();
    peer.read(50_000);
    assert_eq!(peer.next().kind, TransmitKind::Ack);
    let _ = peer.data(100, 100, 0, Flags::PSH);
    assert_eq!(peer.next().kind, TransmitKind::Ack);
    peer.read(50_000);
    set(&mut peer, QuickAck::Off);
    let _ = peer.data(200, 100, 0, Flags::PSH);
    peer.read(50_000);
    peer.quiet();
    set(&mut peer, QuickAck::Once);
    assert_eq!(peer.next().kind, TransmitKind::Ack);
    assert!(!peer.conn.quick_ack());
}

/// Set before connect(): the handshake's last acknowledgment waits for data, 200 ms at most.
#[test]
fn quick_ack__off_before_the_handshake() {
    let options = SocketOptions {
        traits: Traits::INTERACTIVE,
        ..SocketOptions::default()
    };
    let opened = |write: u32| {
        let mut peer = syn_sent_with(Config::default(), options);
        let _ = peer.next();
        let syn_ack = seg(Flags::SYN_ACK, IRS, ISS.add(1), 0);
        assert_eq!(peer.give(syn_ack), Payload::None);
        peer.quiet();
        peer.write(write);
        peer
    };
    let mut peer = opened(100);
    assert_eq!(peer.next().kind, TransmitKind::Data);
    peer.quiet();
    let mut peer = opened(0);
    assert_eq!(peer.expire(), 200);
    assert_eq!(peer.next().kind, TransmitKind::Ack);
}

/// Linux's `tcp_initialize_rcv_mss`: the least of what either side may send, half of the window and 536, without timestamps;
/// never less than 88.
#[test]
fn rcv_mss__begins_small() {
    assert_eq!(established().conn.rcv_mss(), 536);
    let mut config = Config::default();
    let offer = Offer::default();
    for (max_seg, stamps, begins) in [(400, false, 400), (400, true, 388), (90, true, 88)] {
        let options = SocketOptions {
            max_seg: core::num::NonZeroU16::new(max_seg),
            ..SocketOptions::default()
        };
        config.timestamps = stamps;
        let peer = established_with(config, options, Offer { stamps, ..offer });
        assert_eq!(peer.conn.rcv_mss(), begins);
    }
}

/// Linux's `tcp_measure_rcv_mss`: a smaller size that comes twice in a row is the peer's, where PSH is not set or it is as large as
/// every host takes (536 with the options).
#[test]
fn rcv_mss__a_smaller_size_that_comes_twice() {
    for (stamps, len, flags, learnt) in [
        (false, 536, Flags::PSH, true),
        (false, 535, Flags::PSH, false),
        (false, 535, Flags::NONE, true),
        (false, 87, Flags::NONE, false),
        (true, 524, Flags::PSH, true),
        (true, 523, Flags::PSH, false),
        (true, 76, Flags::NONE, true),
        (true, 75, Flags::NONE, false),
    ] {
        let offer = Offer {
            stamps,
            ..Offer::default()
        };
        let mut peer = established_with(Config::default(), SocketOptions::default(), offer);
        let _ = peer.data(0, 900, 0, Flags::NONE);
        let _ = peer.data(900, len, 0, flags);
        assert_eq!(peer.conn.rcv_mss(), 900);
        let _ = peer.data(900 + len, len, 0, flags);
        let expected = if learnt { len as u16 } else { 900 };
        assert_eq!(peer.conn.rcv_mss(), expected, "{stamps} {len} {flags:?}");
    }
}

/// Until a packet has shown what packets cost, a segment of the buffer is kept back (Linux's `tcp_init_buffer_space`); its size is
/// that without timestamps (Linux's advmss).
#[test]
fn window__a_segment_of_the_buffer_is_kept_back() {
    for (stamps, offered) in [(false, 49_000), (true, 49_012)] {
        let offer = Offer {
            scale: Some(0),
            stamps,
            ..Offer::default()
        };
        let mut peer = established_with(Config::default(), SocketOptions::default(), offer);
        // Small ones tell nothing.
        for at in 0..20 {
            let _ = peer.data(at * 500, 500, 0, Flags::NONE);
            peer.read(50_000);
            let _ = peer.sent();
        }
        // Old data is answered.
        let _ = peer.data(0, 1, 0, Flags::NONE);
        let _ = peer.sent();
        assert_eq!(peer.conn.rcv_wnd(), u32::div_ceil(offered, 64) * 64);
        // Of a large one it is known; the last of it is offered, too.
        let _ = peer.data(10_000, 1000, 0, Flags::NONE);
        peer.read(50_000);
        let _ = peer.data(11_000, 1100, 0, Flags::NONE);
        peer.read(50_000);
        for at in 0..10 {
            let _ = peer.data(12_100 + at * 1000, 1000, 0, Flags::NONE);
            peer.read(50_000);
            let _ = peer.sent();
        }
        let _ = peer.data(0, 1, 0, Flags::NONE);
        let _ = peer.sent();
        assert!(peer.conn.rcv_wnd() >= 50_000, "{}", peer.conn.rcv_wnd());
    }
}

/// RFC 9293 section 3.10.7.4 accepts nothing beyond a window: after the peer has taken some of it back, an acknowledgment names its
/// new end (Linux's `tcp_acceptable_seq`).
#[test]
fn acknowledgment__lies_in_a_window_that_was_taken_back() {
    let mut peer = established();
    peer.write(5000);
    let _ = peer.sent();
    for (window, at) in [(0, 0), (3000, 3000), (4999, 4999), (5000, 5000)] {
        peer.ack_window(0, window);
        let _ = peer.sent();
        // What came before is answered.
        let _ = peer.give(seg(Flags::ACK, IRS, ISS.add(1), 0));
        let answer = peer.next();
        assert_eq!(answer.header.seq, ISS.add(1).add(at), "{window}");
        peer.advance(1000);
    }
}
