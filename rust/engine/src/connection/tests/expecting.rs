// SPDX-License-Identifier: GPL-2.0

//! Header prediction. That what comes of it is the same as by all rules is for `tests/common/twin.rs`; here it is which segments are
//! expected.

use super::script::*;
use crate::connection::{Expected, Rest, Rx, TimerKind};
use crate::context::{Config, SocketOptions};
use crate::reassembly::Reassembly;
use crate::segment::Segment;
use crate::seq::SeqRange;
use crate::wire::{Flags, Signature, Timestamps};

/// What is made another, by name.
type Change<T> = (&'static str, fn(&mut T));

/// The next byte of the peer's.
fn next(peer: &Peer) -> Segment {
    let (seq, ack) = (peer.conn.rcv_nxt(), peer.conn.snd_una());
    seg(Flags::ACK.union(Flags::PSH), seq, ack, 1)
}

fn kept() -> Rx<'static> {
    Rx {
        room: true,
        ..Rx::default()
    }
}

fn expects(peer: &Peer, segment: &Segment) -> bool {
    peer.conn.expects(&peer.cx(), segment, &kept())
}

/// Established, and nothing is to be sent.
fn at_rest() -> Peer {
    let mut peer = established();
    peer.quiet();
    let _ = peer.events();
    assert!(expects(&peer, &next(&peer)));
    peer
}

#[test]
fn expects__the_next_bytes_and_nothing_besides() {
    let peer = at_rest();
    let changes: [Change<Segment>; 15] = [
        ("no ACK", |s| s.header.flags.remove(Flags::ACK)),
        ("FIN", |s| s.header.flags.insert(Flags::FIN)),
        ("SYN", |s| s.header.flags.insert(Flags::SYN)),
        ("RST", |s| s.header.flags.insert(Flags::RST)),
        ("URG", |s| s.header.flags.insert(Flags::URG)),
        ("ECE", |s| s.header.flags.insert(Flags::ECE)),
        ("CWR", |s| s.header.flags.insert(Flags::CWR)),
        ("old", |s| s.header.seq = s.header.seq.sub(1)),
        ("out of order", |s| s.header.seq = s.header.seq.add(1)),
        ("an old acknowledgment", |s| {
            s.header.ack = s.header.ack.sub(1);
        }),
        ("an acknowledgment of nothing sent", |s| {
            s.header.ack = s.header.ack.add(1);
        }),
        ("no data", |s| s.payload_len = 0),
        ("more than the window", |s| s.payload_len = 50_001),
        ("timestamps that were not agreed on", |s| {
            s.header.options.timestamps = Some(Timestamps { val: 1, ecr: 0 });
        }),
        ("SACK", |s| {
            s.header.options.sack.push(SeqRange::new(ISS, 1));
        }),
    ];
    for (name, change) in changes {
        let mut segment = next(&peer);
        change(&mut segment);
        assert!(!expects(&peer, &segment), "{name}");
    }
    let mut segment = next(&peer);
    segment.header.flags.remove(Flags::PSH);
    assert!(expects(&peer, &segment));
    segment.payload_len = 50_000;
    assert!(expects(&peer, &segment));
    segment.header.window = 1;
    assert!(expects(&peer, &segment), "another window");
}

#[test]
fn expects__a_packet_that_may_be_kept_and_none_that_waits_behind() {
    let peer = at_rest();
    let segment = next(&peer);
    let refused = Rx::default();
    assert!(!peer.conn.expects(&peer.cx(), &segment, &refused));
    let mut held = Reassembly::new();
    for (inserts, expected) in [(false, true), (true, false)] {
        if inserts {
            let _ = held.insert(SeqRange::new(peer.conn.rcv_nxt().add(5), 1));
        }
        let rx = Rx {
            reassembly: Some(&mut held),
            ..kept()
        };
        assert_eq!(peer.conn.expects(&peer.cx(), &segment, &rx), expected);
    }
}

#[test]
fn expects__nothing_while_something_is_to_be_sent_or_acknowledged() {
    let changes: [Change<Peer>; 9] = [
        ("written", |p| p.write(1)),
        ("in flight", |p| {
            p.write(1);
            let _ = p.sent();
        }),
        ("an acknowledgment owed", |p| {
            let _ = p.data(0, 1, 0, Flags::NONE);
        }),
        ("a byte was reported that came twice", |p| {
            let _ = p.data(0, 1, 0, Flags::NONE);
            let _ = p.data(0, 1, 0, Flags::NONE);
        }),
        ("shut down", |p| {
            p.shutdown();
            let _ = p.sent();
        }),
        ("closed", |p| {
            p.close(false);
            let _ = p.sent();
        }),
        ("short of room", |p| p.short(true)),
        ("signed", |p| p.conn.options.signature = Signature::MD5),
        ("the peer is done", |p| {
            let _ = p.data(0, 1, 0, Flags::FIN);
            let _ = p.sent();
            let _ = p.events();
        }),
    ];
    for (name, change) in changes {
        let mut peer = at_rest();
        change(&mut peer);
        assert!(!expects(&peer, &next(&peer)), "{name}");
    }
}

/// RFC 7323 section 5.3: PAWS is for these, too.
#[test]
fn expects__no_old_timestamp() {
    let offer = Offer {
        stamps: true,
        ..Offer::default()
    };
    let mut peer = established_with(Config::default(), SocketOptions::default(), offer);
    peer.quiet();
    let _ = peer.events();
    let recent = peer.stamps.expect("timestamps");
    let mut segment = next(&peer);
    assert!(!expects(&peer, &segment), "without a timestamp");
    for (val, expected) in [(recent, true), (recent + 1, true), (recent - 1, false)] {
        segment.header.options.timestamps = Some(Timestamps { val, ecr: 0 });
        assert_eq!(expects(&peer, &segment), expected, "{val}");
    }
}

/// Small segments are acknowledged at once while the peer is in slow start, and then later.
#[test]
fn take_expected__acknowledges_at_once_or_sets_the_timer() {
    let mut peer = at_rest();
    let mut at_once = 0;
    for _ in 0..40 {
        let segment = next(&peer);
        assert!(expects(&peer, &segment));
        let cx = peer.cx();
        let Expected { ack, changed } = {
            let mut conn = peer.conn.clone();
            let taken = conn.take_expected(&cx, &segment, &kept(), &peer.memory);
            peer.conn = conn;
            taken
        };
        let delayed = peer.conn.timers.get(TimerKind::DelayedAck).is_some();
        match ack {
            Some(ack) => {
                assert_eq!(ack.ack, peer.conn.rcv_nxt());
                assert!(!changed && !delayed);
                at_once += 1;
            }
            None => {
                assert!(changed && delayed);
                break;
            }
        }
        assert!(peer.conn.is_undisturbed());
        peer.quiet();
    }
    assert_eq!(at_once, 16);
    // The timer runs: nothing has changed with the next one.
    let (cx, segment) = (peer.cx(), next(&peer));
    let mut conn = peer.conn.clone();
    assert!(conn.expects(&cx, &segment, &kept()));
    let taken = conn.take_expected(&cx, &segment, &kept(), &peer.memory);
    assert_eq!((taken.ack, taken.changed), (None, false));
}

/// What a program's reading sets free goes by itself, and what is not all goes the other way.
#[test]
fn poll_rest__is_all_that_is_to_be_sent() {
    let owing = || {
        let offer = Offer {
            sack: true,
            ..Offer::default()
        };
        let mut peer = established_with(Config::default(), SocketOptions::default(), offer);
        peer.quiet();
        let _ = peer.data(0, 1, 0, Flags::PSH);
        let _ = peer.events();
        peer
    };
    let poll = |peer: &Peer| peer.conn.clone().poll_rest(&peer.cx());
    let peer = owing();
    match poll(&peer) {
        Rest::Acknowledgment(ack) => assert_eq!(ack.ack, peer.conn.rcv_nxt()),
        other => panic!("{other:?}"),
    }
    // Nothing is owed, whether that is known or to be found out.
    let mut peer = at_rest();
    assert_eq!(poll(&peer), Rest::Nothing);
    peer.conn.set_filling();
    assert_eq!(poll(&peer), Rest::Nothing);
    let mut peer = owing();
    let _ = peer.sent();
    assert_eq!(poll(&peer), Rest::Nothing, "acknowledged already");
    // What came out of order, or twice, is told with it.
    let twice: Change<Peer> = ("a byte that came twice", |p| {
        let _ = p.data(0, 1, 0, Flags::NONE);
    });
    let apart: Change<Peer> = ("a byte behind a hole", |p| {
        let _ = p.data(2, 1, 0, Flags::NONE);
    });
    for (name, change) in [twice, apart] {
        let mut peer = owing();
        change(&mut peer);
        match poll(&peer) {
            Rest::Acknowledgment(ack) => assert_eq!(ack.sack.len(), 1, "{name}"),
            other => panic!("{name}: {other:?}"),
        }
    }
    let changes: [Change<Peer>; 3] = [
        ("written", |p| p.write(1)),
        ("shut down", |p| p.shutdown()),
        ("signed", |p| p.conn.options.signature = Signature::MD5),
    ];
    for (name, change) in changes {
        let mut peer = owing();
        change(&mut peer);
        assert_eq!(poll(&peer), Rest::Other, "{name}");
    }
}
