// SPDX-License-Identifier: GPL-2.0

//! The window by what packets take, and what is done when memory is short. The figures are those of the built-in TCP in
//! the same place (packetdrill's `tcp_ooo_rcv_mss`, `tcp_rcv_wnd_shrink_*`).

use super::script::*;
use crate::connection::{Payload, Pruning, Room, Useless};
use crate::context::{Config, Context, SocketOptions};
use crate::seq::SeqNum;
use crate::transmit::Transmit;
use crate::wire::Flags;

/// What a tun device's packets take.
fn tun(payload: u32) -> u32 {
    match payload {
        0..=984 => 2304,
        985..=2968 => 2304,
        10_000 | 9_000 => 12_544,
        65_000 => 65_792,
        _ => payload + payload / 4,
    }
}

/// Windows in units of 64, SACK, a buffer of 100,000.
fn peer(shrink: bool) -> Peer {
    let offer = Offer {
        scale: Some(7),
        sack: true,
        ..Offer::default()
    };
    let config = Config {
        shrink_window: shrink,
        ..Config::default()
    };
    let mut peer = established_with(config, SocketOptions::default(), offer);
    peer.truesize = tun;
    peer.segment_size = MSS;
    peer
}

fn window(peer: &Peer, sent: &Transmit) -> u32 {
    let scale = peer.conn.negotiated().unwrap().rcv_scale;
    scale.widen(sent.header.window)
}

fn room(peer: &mut Peer, at: u32, len: u32) -> Room {
    let segment = seg(Flags::ACK, IRS.add(1).add(at), ISS.add(1), len);
    peer.conn.make_room(&segment, &peer.memory, peer.unread)
}

#[test]
fn share__is_learnt_from_packets() {
    let mut peer = peer(false);
    assert_eq!(peer.conn.recv_space(), 50_000);
    // 10,000 bytes in 12,544: 204 of 256.
    let _ = peer.data(0, 10_000, 0, Flags::NONE);
    assert_eq!(peer.conn.recv_space(), (100_000 - 12_544) * 204 / 256);
    assert_eq!(peer.conn.rcv_mss(), MSS);
    let _ = peer.sent();
    peer.read(50_000);
    let _ = peer.sent();
    // Now the window opens.
    let _ = peer.data(10_000, 10_000, 0, Flags::NONE);
    let ack = peer.next();
    assert!(window(&peer, &ack) > 60_000, "{}", window(&peer, &ack));
    // Not by what is small in a large packet: 500 bytes in 2304.
    let before = peer.edge();
    peer.segment_size = 0;
    for at in 0..4 {
        let _ = peer.data(20_000 + at * 500, 500, 0, Flags::NONE);
    }
    let _ = peer.sent();
    assert!(peer.edge() < before + 2000 + 64);
}

#[test]
fn share__also_from_what_is_out_of_order() {
    let mut peer = peer(false);
    let _ = peer.data(1000, 9_000, 0, Flags::NONE);
    assert_eq!(peer.conn.rcv_mss(), MSS);
    let ack = peer.next();
    assert!(window(&peer, &ack) > 60_000, "{}", window(&peer, &ack));
}

/// Linux's `tcp_sequence`: a single packet may go beyond the window, where nothing waits to be read.
#[test]
fn beyond_the_window__one_packet() {
    let mut peer = established();
    assert_eq!(
        room(&mut peer, 0, 60_000),
        Room::Enough,
        "the queue is empty"
    );
    assert_eq!(
        peer.data(0, 60_000, 0, Flags::NONE),
        Payload::InOrder {
            skip: 0,
            len: 60_000
        }
    );
    // A reset at the next number counts, though the window did not reach so far.
    assert_eq!(peer.conn.rcv_wnd(), 0);
    let mut reset = peer.conn.clone();
    std::mem::swap(&mut peer.conn, &mut reset);
    let _ = peer.give(seg(Flags::RST, IRS.add(60_001), ISS.add(1), 0));
    assert_eq!(peer.conn.state(), crate::connection::State::Closed);
    std::mem::swap(&mut peer.conn, &mut reset);
    // Nor is there a second.
    assert_eq!(
        room(&mut peer, 60_000, 1000),
        Room::Useless(Useless::Beyond)
    );
    assert_eq!(peer.data(60_000, 1000, 0, Flags::NONE), Payload::None);
    assert_eq!(peer.next().header.ack, IRS.add(60_001));
    // But a bare FIN.
    let _ = peer.data(60_000, 0, 0, Flags::FIN);
    assert_eq!(peer.next().header.ack, IRS.add(60_002));
}

#[test]
fn beyond_the_window__not_what_begins_there() {
    let mut peer = established();
    assert_eq!(room(&mut peer, 50_000, 10), Room::Useless(Useless::Beyond));
    let _ = peer.data(0, 100, 0, Flags::NONE);
    let _ = peer.sent();
    // Nor what ends there once there is something to read.
    let edge = peer.edge();
    assert_eq!(
        room(&mut peer, edge - 10, 11),
        Room::Useless(Useless::Beyond)
    );
    assert_eq!(room(&mut peer, edge - 10, 10), Room::Enough);
    assert_eq!(room(&mut peer, 0, 100), Room::Useless(Useless::Old));
}

/// What came before is reported, whether the rest is taken or not (RFC 2883 section 4.1).
#[test]
fn partly_old__is_reported() {
    let mut peer = peer(false);
    let _ = peer.data(0, 1000, 0, Flags::NONE);
    let _ = peer.sent();
    for room in [false, true] {
        peer.room = room;
        let _ = peer.data(500, 1000, 0, Flags::NONE);
        let ack = peer.next();
        let block = ack.header.options.sack.as_slice()[0];
        assert_eq!((block.start, block.len), (IRS.add(501), 500));
        let _ = peer.sent();
    }
    assert_eq!(peer.rcv(), 1500);
}

/// Memory is gone: the window is closed at once, and open again as soon as there is some.
#[test]
fn no_memory__closes_the_window() {
    let mut peer = peer(false);
    let _ = peer.data(0, 1000, 0, Flags::NONE);
    let _ = peer.sent();
    let edge = peer.edge();
    peer.room = false;
    assert_eq!(peer.data(1000, 1000, 0, Flags::NONE), Payload::None);
    let ack = peer.next();
    assert_eq!((ack.header.ack, ack.header.window), (IRS.add(1001), 0));
    assert_eq!(peer.conn.rcv_wnd(), 0);
    // What was offered before still counts, for bare acknowledgments and when there is room again.
    peer.write(100);
    let _ = peer.sent();
    let _ = peer.give(seg(Flags::ACK, IRS.add(edge), ISS.add(101), 0));
    assert_eq!(peer.conn.unacked(), 0);
    peer.room = true;
    assert_eq!(
        peer.data(1000, 1000, 100, Flags::NONE),
        Payload::InOrder { skip: 0, len: 1000 }
    );
    let ack = peer.sent();
    assert_ne!(ack.last().map(|ack| ack.header.window), Some(0));
    // Out of order it is as if it had not come.
    peer.room = false;
    let _ = peer.events();
    let _ = peer.data(3000, 1000, 100, Flags::NONE);
    assert!(peer.conn.is_undisturbed());
    peer.quiet();
    // But for what it acknowledges.
    peer.write(100);
    let _ = peer.sent();
    let _ = peer.data(3000, 1000, 200, Flags::NONE);
    assert!(!peer.conn.is_undisturbed());
    assert_eq!(peer.conn.unacked(), 0);
}

#[test]
fn make_room__grows_an_automatic_buffer() {
    let mut peer = peer(false);
    let _ = peer.data(0, 1000, 0, Flags::NONE);
    let _ = peer.sent();
    peer.memory.used = peer.memory.limit;
    assert_eq!(room(&mut peer, 1000, 1000), Room::Enough);
    peer.memory.used += 1;
    assert_eq!(room(&mut peer, 1000, 1000), Room::Over(peer.memory.limit));
    peer.memory.fixed = false;
    assert_eq!(room(&mut peer, 1000, 1000), Room::Over(peer.memory.used));
    peer.memory.used = peer.memory.most + 1;
    assert_eq!(room(&mut peer, 1000, 1000), Room::Over(peer.memory.most));
    // Nothing is done for what will not be kept.
    assert_eq!(room(&mut peer, 0, 1000), Room::Useless(Useless::Old));
    peer.close(false);
    assert_eq!(room(&mut peer, 1000, 1000), Room::Useless(Useless::Old));
}

#[test]
fn make_room__a_full_buffer_makes_the_window_small() {
    let mut peer = peer(false);
    for at in 0..20 {
        let _ = peer.data(at * 1000, 1000, 0, Flags::NONE);
        let _ = peer.sent();
    }
    peer.memory.used = peer.memory.limit + 1;
    assert_eq!(room(&mut peer, 20_000, 1000), Room::Over(100_000));
    peer.room = false;
    let _ = peer.data(20_000, 1000, 0, Flags::NONE);
    let _ = peer.sent();
    // Two segments, as in tcp_clamp_window, rounded up to a unit.
    peer.read(50_000);
    let update = peer.next();
    assert_eq!(window(&peer, &update), 2048);
}

#[test]
fn grow_for_hole__by_what_is_behind_it() {
    let mut peer = peer(false);
    let _ = peer.data(1000, 65_000, 0, Flags::NONE);
    let held = peer.reassembly.clone();
    let fixed = peer.conn.grow_for_hole(&peer.memory, held.as_ref());
    assert_eq!(fixed, None);
    peer.memory.fixed = false;
    let large_enough = peer.conn.grow_for_hole(&peer.memory, held.as_ref());
    assert_eq!(large_enough, None);
    peer.memory.limit = 90_000;
    let grown = peer.conn.grow_for_hole(&peer.memory, held.as_ref());
    // Twice the first window of ten segments, and what is behind the hole, at 252 of 256.
    assert_eq!(grown, Some((2 * 14_600 + 66_000) * 256 / 252));
}

/// What is kept out of order does not make the window smaller as RCV.NXT goes on.
#[test]
fn window__keeps_its_size_while_holes_are_filled() {
    let mut peer = peer(false);
    peer.truesize = |payload| 2 * payload;
    for at in [1, 3, 5, 7] {
        for i in 0..5 {
            let _ = peer.data(at * 5000 + i * 1000, 1000, 0, Flags::NONE);
            let _ = peer.sent();
        }
    }
    for i in 0..5 {
        let _ = peer.data(i * 1000, 1000, 0, Flags::NONE);
        let _ = peer.sent();
        peer.memory.used -= 2000;
        peer.conn.set_recv_memory(&peer.memory);
    }
    assert_eq!(peer.rcv(), 10_000);
    // Of 50,000, 5,000 in order are unread, and 15,000 are out of order.
    let window = peer.conn.rcv_wnd();
    assert!((43_000..=45_000).contains(&window), "{window}");
}

/// RFC 9293 section 3.8.6: "A TCP receiver SHOULD NOT shrink the window"; `shrink_window` does.
#[test]
fn shrink_window__takes_back_what_memory_does_not_hold() {
    for shrink in [false, true] {
        let mut peer = peer(shrink);
        let _ = peer.data(0, 10_000, 0, Flags::NONE);
        let _ = peer.sent();
        let mut edge = peer.edge();
        // One byte in each packet of 2304.
        for i in 0..30 {
            let _ = peer.data(10_000 + i, 1, 0, Flags::NONE);
            let _ = peer.data(5, 1, 0, Flags::NONE);
            let _ = peer.sent();
            edge = edge.max(peer.edge());
        }
        assert_eq!(peer.edge() < edge, shrink, "{} {edge}", peer.edge());
        // A segment that begins in the window may use what was offered before.
        let rcv = peer.rcv();
        assert_eq!(room(&mut peer, rcv, edge - rcv), Room::Enough);
        assert_eq!(
            room(&mut peer, rcv, 1 + edge - rcv),
            Room::Useless(Useless::Beyond)
        );
    }
}

/// A probe of a closed window (RFC 9293 section 3.8.6.1) asks for room, and its answer has what was made.
#[test]
fn asked_for_room__behind_a_closed_window() {
    let mut peer = peer(false);
    let _ = peer.data(0, 10_000, 0, Flags::NONE);
    assert!(!peer.conn.is_asked_for_room());
    while peer.conn.rcv_wnd() != 0 {
        let (at, len) = (peer.rcv(), peer.conn.rcv_wnd().min(1000));
        assert!(at < 100_000, "{} are left", peer.conn.rcv_wnd());
        let _ = peer.data(at, len, 0, Flags::NONE);
        let _ = peer.sent();
    }
    // What is held back of acknowledgments goes out.
    let _ = peer.expire();
    let _ = peer.sent();
    let last = peer.rcv() - 1;
    for used in [None, Some(50_000)] {
        // Answers to what is outside of the window are limited.
        peer.advance(1000);
        let _ = peer.data(last, 0, 0, Flags::NONE);
        assert!(peer.conn.is_asked_for_room());
        if let Some(used) = used {
            peer.memory.used = used;
            let cx = Context::new(peer.now, &peer.config);
            peer.conn.resize_recv_buffer(&cx, &peer.memory);
        }
        let answer = peer.next();
        let offered = window(&peer, &answer);
        match used {
            None => assert_eq!(offered, 0),
            Some(_) => assert!(offered > 10_000, "{offered}"),
        }
    }
}

#[test]
fn pruning__leaves_what_stands_before_the_segment() {
    let peer = peer(false);
    let mut memory = peer.memory;
    memory.used = memory.limit + 1;
    let mut pruning = Pruning::new(SeqNum::new(500), &memory);
    assert!(pruning.next(SeqNum::new(900), 1, &memory));
    assert!(!pruning.next(SeqNum::new(400), 1, &memory));
}
