// SPDX-License-Identifier: GPL-2.0

//! Urgent data, out and in (RFC 9293 section 3.8.5, RFC 6093).

use super::script::*;
use crate::connection::{Event, Reading, State};
use crate::context::{Config, SocketOptions};
use crate::transmit::{BurstLimit, Transmit, TransmitKind};
use crate::wire::Flags;
use std::vec::Vec;

/// (offset, length, urgent pointer if there is one)
fn pointed(sent: &[Transmit]) -> Vec<(u32, u32, Option<u16>)> {
    let of = |t: &Transmit| {
        let has = t.header.flags.contains(Flags::URG);
        assert!(has || t.header.urgent == 0);
        let urgent = has.then_some(t.header.urgent);
        (ISS.add(1).distance_to(t.header.seq), t.payload.len, urgent)
    };
    sent.iter().map(of).collect()
}

#[test]
fn send__all_segments_point_to_it_until_it_is_acknowledged() {
    let mut peer = established();
    peer.limit = BurstLimit(65_536);
    peer.write(2000);
    peer.write(1);
    peer.conn.mark_urgent();
    peer.write(99);
    // No bursts, and Nagle's algorithm does not hold it back.
    assert_eq!(
        pointed(&peer.sent()),
        [
            (0, 1000, Some(2001)),
            (1000, 1000, Some(1001)),
            (2000, 100, Some(1))
        ]
    );
    // Behind it nothing is told of it; but all goes at once.
    peer.write(100);
    assert_eq!(pointed(&peer.sent()), [(2100, 100, None)]);
    peer.expire();
    assert_eq!(pointed(&peer.sent()).first(), Some(&(0, 1000, Some(2001))));
    // Then there are bursts again.
    let mut peer = established();
    peer.limit = BurstLimit(65_536);
    peer.write(1);
    peer.conn.mark_urgent();
    assert_eq!(pointed(&peer.sent()), [(0, 1, Some(1))]);
    peer.ack(1);
    peer.write(2500);
    assert_eq!(pointed(&peer.sent()), [(1, 2500, None)]);
}

/// Neither Nagle's algorithm nor TCP_CORK nor MSG_MORE holds a single urgent byte back.
#[test]
fn send__a_single_urgent_byte() {
    for cork in [false, true] {
        let options = SocketOptions {
            cork,
            ..SocketOptions::default()
        };
        let mut peer = established_with(Config::default(), options, Offer::default());
        peer.write(1);
        peer.conn.mark_urgent();
        assert_eq!(pointed(&peer.sent()), [(0, 1, Some(1))]);
        peer.write(1);
        peer.conn.mark_urgent();
        peer.conn.set_more(true);
        assert_eq!(pointed(&peer.sent()), [(1, 1, Some(1))]);
        // The first one is repeated with the pointer to the second.
        peer.expire();
        assert_eq!(pointed(&peer.sent()), [(0, 2, Some(2))]);
        peer.ack(2);
        peer.write(5);
        if cork {
            peer.quiet();
        }
    }
}

/// An acknowledgment of the peer's data tells of what waits to be sent (RFC 9293 section 3.8.5: at once, window or not).
#[test]
fn send__with_an_acknowledgment() {
    let mut peer = established();
    peer.window = 0;
    peer.ack(0);
    peer.write(3);
    peer.conn.mark_urgent();
    peer.quiet();
    for at in 0..3 {
        let _ = peer.data(100 * at, 100, 0, Flags::NONE);
    }
    let sent = peer.sent();
    assert!(!sent.is_empty());
    assert!(sent.iter().all(|t| t.header.flags.contains(Flags::URG)));
    assert_eq!(pointed(&sent)[0], (0, 0, Some(3)));
}

/// The persist timer's probe, and before it one that tells of the byte (Linux's tcp_write_wakeup).
#[test]
fn send__into_a_closed_window() {
    let mut peer = established();
    peer.ack_window(0, 0);
    peer.write(5);
    peer.conn.mark_urgent();
    peer.quiet();
    peer.expire();
    let sent = peer.sent();
    assert!(sent.iter().all(|t| t.kind == TransmitKind::Probe));
    assert_eq!(pointed(&sent), [(0, 0, Some(5)), (u32::MAX, 0, Some(6))]);
    // Without urgent data there is one.
    let mut peer = established();
    peer.ack_window(0, 0);
    peer.write(5);
    peer.quiet();
    peer.expire();
    assert_eq!(pointed(&peer.sent()), [(u32::MAX, 0, None)]);
    // So it is with a byte that is too far away for a pointer.
    let mut peer = established();
    peer.ack_window(0, 0);
    peer.write(65_536);
    peer.conn.mark_urgent();
    peer.quiet();
    peer.expire();
    assert_eq!(pointed(&peer.sent()), [(u32::MAX, 0, Some(u16::MAX))]);
}

/// A pointer has 16 bits: one that does not fit tells that there is something, as far ahead as it can.
#[test]
fn send__a_pointer_that_does_not_fit() {
    let mut peer = established();
    peer.write(70_000);
    peer.conn.mark_urgent();
    let sent = pointed(&peer.sent());
    assert_eq!(sent[0], (0, 1000, Some(u16::MAX)));
    assert_eq!(sent[5], (5000, 1000, Some(65_000)));
    // Not where that would point into what has been sent.
    let offer = Offer {
        scale: Some(2),
        ..Offer::default()
    };
    let config = Config {
        initial_cwnd: 100,
        ..Config::default()
    };
    let mut peer = established_with(config, SocketOptions::default(), offer);
    peer.ack(0);
    peer.write(90_000);
    peer.conn.mark_urgent();
    assert_eq!(peer.sent().len(), 90);
    peer.expire();
    assert_eq!(pointed(&peer.sent())[0], (0, 1000, None));
}

/// A mark of long ago is none when sequence numbers have gone half round.
#[test]
fn send__half_round_the_numbers() {
    let offer = Offer {
        scale: Some(14),
        ..Offer::default()
    };
    let mut peer = established_with(Config::default(), SocketOptions::default(), offer);
    peer.limit = BurstLimit(65_536);
    peer.ack(0);
    peer.write(1);
    peer.conn.mark_urgent();
    assert_eq!(pointed(&peer.sent()), [(0, 1, Some(1))]);
    peer.ack(1);
    let mut end: u32 = 1;
    while end < (1 << 31) + (1 << 30) {
        peer.write(1 << 16);
        end += 1 << 16;
        loop {
            let sent = peer.sent();
            assert!(pointed(&sent).iter().all(|(.., urgent)| urgent.is_none()));
            let Some(last) = sent.last() else { break };
            peer.advance(1);
            let at = ISS.add(1).distance_to(last.payload.end());
            peer.ack(at);
        }
    }
}

/// A segment of `len` bytes at `at` with an urgent pointer; the byte, if that is news.
fn urge(peer: &mut Peer, at: u32, len: u32, pointer: u16) -> Option<u32> {
    let flags = Flags::ACK.union(Flags::URG);
    let mut segment = seg(flags, IRS.add(1).add(at), ISS.add(1), len);
    segment.header.urgent = pointer;
    let _ = peer.give(segment);
    let news = peer.events().contains(Event::Urgent);
    news.then(|| peer.urgent.ahead_of(IRS.add(1)).unwrap())
}

#[test]
fn receive__the_newest_pointer_counts() {
    let mut peer = established();
    // It stands behind the byte; 0 is taken for 1 (RFC 6093 section 3.2).
    assert_eq!(urge(&mut peer, 0, 100, 100), Some(99));
    assert_eq!(urge(&mut peer, 100, 0, 100), Some(199));
    assert_eq!(urge(&mut peer, 100, 0, 100), None, "the same");
    assert_eq!(urge(&mut peer, 100, 0, 50), None, "an older one");
    assert_eq!(urge(&mut peer, 100, 50, 0), None);
    assert_eq!(urge(&mut peer, 150, 50, 60), Some(209));
    assert_eq!(urge(&mut peer, 100, 100, 100), None, "it has come");
    assert_eq!(urge(&mut peer, 200, 0, 0), None, "older than the last");
    assert_eq!(urge(&mut peer, 200, 20, 0), None);
    assert_eq!(urge(&mut peer, 220, 0, 0), Some(220));
    // What the window does not have is not looked at.
    assert_eq!(urge(&mut peer, 90_000, 10, 10), None);
    // Without the flag the pointer means nothing.
    let mut segment = seg(Flags::ACK, peer.conn.rcv_nxt(), ISS.add(1), 0);
    segment.header.urgent = 1000;
    let _ = peer.give(segment);
    assert!(!peer.events().contains(Event::Urgent));
    // Nor with it in a segment that acknowledges nothing, or what we have not sent.
    for (flags, ack) in [(Flags::URG, 1), (Flags::URG.union(Flags::ACK), 100)] {
        let mut segment = seg(flags, peer.conn.rcv_nxt(), ISS.add(ack), 0);
        segment.header.urgent = 1000;
        let _ = peer.give(segment);
        assert!(!peer.events().contains(Event::Urgent));
    }
}

/// Any state before the peer's FIN; after it the RFC has URG ignored (RFC 9293 section 3.10.7.4, sixth).
#[test]
fn receive__in_each_state() {
    for state in State::ALL {
        let hears = matches!(
            state,
            State::Established | State::FinWait1 | State::FinWait2
        );
        if matches!(state, State::Listen | State::SynSent | State::SynReceived) {
            continue;
        }
        let mut peer = in_state(state);
        let ack = match state {
            State::FinWait2 | State::TimeWait => 2,
            _ => 1,
        };
        let flags = Flags::ACK.union(Flags::URG);
        let mut segment = seg(flags, peer.conn.rcv_nxt(), ISS.add(ack), 0);
        segment.header.urgent = 5;
        let _ = peer.give(segment);
        assert_eq!(peer.events().contains(Event::Urgent), hears, "{state:?}");
    }
}

/// As in Linux a SYN-ACK may tell of a byte to come.
#[test]
fn receive__with_the_syn_ack() {
    for (pointer, at) in [(1, None), (2, Some(0)), (12, Some(10))] {
        let mut peer = syn_sent();
        let _ = peer.next();
        let flags = Flags::SYN_ACK.union(Flags::URG);
        let mut segment = seg(flags, IRS, ISS.add(1), 0);
        segment.header.urgent = pointer;
        let _ = peer.give(segment);
        assert_eq!(peer.urgent.ahead_of(IRS.add(1)), at);
        assert_eq!(peer.events().contains(Event::Urgent), at.is_some());
    }
}

#[test]
fn offset_in__the_payload_that_brings_it() {
    let mut peer = established();
    let from = |at: u32, len: u32| seg(Flags::ACK, IRS.add(1).add(at), ISS.add(1), len);
    assert_eq!(peer.urgent.offset_in(&from(0, 1000)), None);
    assert_eq!(urge(&mut peer, 0, 0, 100), Some(99));
    assert_eq!(peer.urgent.offset_in(&from(0, 99)), None);
    assert_eq!(peer.urgent.offset_in(&from(0, 100)), Some(99));
    assert_eq!(peer.urgent.offset_in(&from(99, 1)), Some(0));
    // Linux takes a byte of the header here.
    assert_eq!(peer.urgent.offset_in(&from(100, 1000)), None);
    assert_eq!(peer.urgent.read(false), Reading::NotYet);
    assert!(!peer.urgent.has_come());
    peer.urgent.set(7);
    assert!(peer.urgent.has_come());
    // Once.
    assert_eq!(peer.urgent.offset_in(&from(0, 100)), None);
    assert_eq!(peer.urgent.read(true), Reading::Byte(7));
    assert_eq!(peer.urgent.read(false), Reading::Byte(7));
    assert_eq!(peer.urgent.read(false), Reading::Nothing);
    assert!(!peer.urgent.has_come() && peer.urgent.is_some());
}

#[test]
fn on_reader__stops_and_passes() {
    let mut peer = established();
    assert_eq!(urge(&mut peer, 0, 100, 10), Some(9));
    assert!(!peer.urgent.is_here());
    let at = |offset: u32| IRS.add(1).add(offset);
    assert_eq!(peer.urgent.ahead_of(at(4)), Some(5));
    peer.urgent.on_reader(at(9));
    assert!(peer.urgent.is_here());
    assert_eq!(peer.urgent.ahead_of(at(9)), Some(0));
    assert_eq!(peer.urgent.ahead_of(at(10)), None);
    peer.urgent.on_reader(at(10));
    assert!(!peer.urgent.is_here() && !peer.urgent.is_some());
    assert_eq!(peer.urgent.read(false), Reading::Nothing);
    // A new one where the reader stands.
    peer.unread = 0;
    assert_eq!(urge(&mut peer, 100, 0, 1), Some(100));
    assert!(peer.urgent.is_here());
}

/// A reader that stands at one byte when the next is told of: the first leaves the queue (Linux's tcp_check_urg).
#[test]
fn take_displaced__where_the_reader_stands() {
    for (reader, inline, displaced) in [(0, false, true), (0, true, false), (1, false, false)] {
        let mut peer = established();
        peer.inline = inline;
        assert_eq!(urge(&mut peer, 0, 50, 1 + reader as u16), Some(reader));
        // One byte before or at it.
        assert_eq!(peer.urgent.is_here(), reader == 0);
        assert_eq!(urge(&mut peer, 50, 50, 50), Some(99));
        assert_eq!(peer.urgent.take_displaced(), displaced);
        assert!(!peer.urgent.take_displaced());
    }
    // Not a byte that has not come.
    let mut peer = established();
    assert_eq!(urge(&mut peer, 0, 0, 1), Some(0));
    assert!(peer.urgent.is_here());
    assert_eq!(urge(&mut peer, 0, 0, 5), Some(4));
    assert!(!peer.urgent.take_displaced());
}
