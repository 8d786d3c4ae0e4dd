// SPDX-License-Identifier: GPL-2.0

//! Segments that arrive in each state: acceptability, RST, SYN, ACK, text and FIN (RFC 9293 section 3.10.7.4,
//! RFC 5961).

use super::script::*;
use crate::connection::{Error, Event, Payload, State, Unacceptable};
use crate::seq::SeqNum;
use crate::transmit::TransmitKind;
use crate::wire::{Flags, Timestamps};
use std::vec::Vec;

const SYNCHRONIZED: [State; 7] = [
    State::Established,
    State::FinWait1,
    State::FinWait2,
    State::CloseWait,
    State::Closing,
    State::LastAck,
    State::TimeWait,
];

fn kinds(peer: &mut Peer) -> Vec<TransmitKind> {
    peer.sent().iter().map(|t| t.kind).collect()
}

/// RFC 5961 section 3.2: only the exact number resets; elsewhere in the window the peer is asked.
#[test]
fn rst__in_every_state() {
    for state in SYNCHRONIZED {
        let nxt = in_state(state).conn.rcv_nxt();
        let table: [(u32, bool, &[TransmitKind]); 5] = [
            (0, true, &[]),
            (1, false, &[TransmitKind::ChallengeAck]),
            (40_000, false, &[TransmitKind::ChallengeAck]),
            (60_000, false, &[]),
            (u32::MAX - 5, false, &[]),
        ];
        for (offset, dies, reply) in table {
            let mut peer = in_state(state);
            peer.advance(1000);
            let _ = peer.give(seg(Flags::RST, nxt.add(offset), SeqNum::new(0), 0));
            assert_eq!(
                peer.conn.state() == State::Closed,
                dies,
                "{state:?} {offset}"
            );
            assert_eq!(kinds(&mut peer), reply, "{state:?} {offset}");
            if dies {
                let error = match state {
                    State::TimeWait => None,
                    State::CloseWait => Some(Error::ResetAfterFin),
                    _ => Some(Error::Reset),
                };
                assert_eq!(peer.conn.error(), error, "{state:?}");
                assert!(peer.events().contains(Event::Closed));
                assert_eq!(peer.conn.poll_timeout(), None, "{state:?}");
            }
        }
    }
}

/// macOS resets with the number of its FIN.
#[test]
fn rst__with_the_number_of_the_fin() {
    for state in [State::CloseWait, State::Closing, State::LastAck] {
        let mut peer = in_state(state);
        let seq = peer.conn.rcv_nxt().sub(1);
        let _ = peer.give(seg(Flags::RST, seq, SeqNum::new(0), 0));
        assert_eq!(peer.conn.state(), State::Closed, "{state:?}");
    }
    for state in [State::Established, State::FinWait1, State::FinWait2] {
        let mut peer = in_state(state);
        let seq = peer.conn.rcv_nxt().sub(1);
        let _ = peer.give(seg(Flags::RST, seq, SeqNum::new(0), 0));
        assert_eq!(peer.conn.state(), state);
    }
}

/// RFC 5961 section 4.2: a SYN never resets, wherever it stands; RFC 5961 section 7: it is not answered each time.
#[test]
fn syn__in_every_state() {
    for state in SYNCHRONIZED {
        for offset in [0, 1, 100, 70_000, u32::MAX - 1, u32::MAX - 70_000] {
            for flags in [Flags::SYN, Flags::SYN_ACK] {
                let mut peer = in_state(state);
                peer.advance(1000);
                let seq = peer.conn.rcv_nxt().add(offset);
                let ack = peer.conn.snd_nxt();
                let _ = peer.give(seg(flags, seq, ack, 0));
                assert_eq!(peer.conn.state(), state, "{offset}");
                let sent = peer.sent();
                assert_eq!(sent.len(), 1, "{state:?} {offset} {flags:?} {sent:?}");
                assert_eq!(sent[0].header.flags, Flags::ACK);
                assert_eq!(sent[0].header.ack, peer.conn.rcv_nxt());
                // Once per half second.
                let _ = peer.give(seg(flags, seq, ack, 0));
                peer.quiet();
                peer.advance(500);
                let _ = peer.give(seg(flags, seq, ack, 0));
                assert_eq!(peer.sent().len(), 1);
            }
        }
    }
}

/// RFC 9293 section 3.10.7.4: what is not acceptable is answered with an ACK and dropped.
#[test]
fn unacceptable__gets_an_ack_and_nothing_else() {
    for state in SYNCHRONIZED {
        for (offset, len) in [
            (50_001, 1),
            (100_000, 10),
            (u32::MAX - 50, 10),
            (1 << 31, 100),
        ] {
            let mut peer = in_state(state);
            let seq = peer.conn.rcv_nxt().add(offset);
            let una = peer.conn.snd_una();
            let ack = peer.conn.snd_nxt();
            let taken = peer.give(seg(Flags::FIN_ACK, seq, ack, len));
            assert_eq!(taken, Payload::None);
            assert_eq!(peer.conn.state(), state, "{offset}");
            assert_eq!(peer.conn.snd_una(), una, "the ACK is not looked at");
            assert_eq!(kinds(&mut peer), [TransmitKind::Ack], "{state:?} {offset}");
        }
    }
}

/// What is dropped says why: RFC 9293 section 3.10.7.4, RFC 5961, RFC 7323 section 5.3.
#[test]
fn unacceptable__says_why() {
    let old = u32::MAX - 50;
    // Flags, SEG.SEQ - RCV.NXT, SEG.ACK - SND.NXT, payload.
    let table = [
        (Flags::ACK, 0, 0, 10, None),
        (Flags::ACK, 0, 0, 0, None),
        (Flags::RST, 0, 0, 0, None),
        (Flags::ACK, old, 0, 10, Some(Unacceptable::Old)),
        (Flags::ACK, 100_000, 0, 10, Some(Unacceptable::Beyond)),
        (Flags::RST, 1, 0, 0, Some(Unacceptable::Reset)),
        (Flags::SYN, 1, 0, 0, Some(Unacceptable::Syn)),
        (Flags::NONE, 0, 0, 10, Some(Unacceptable::NoAck)),
        (Flags::ACK, 0, 100, 10, Some(Unacceptable::Ack)),
        (Flags::ACK, 0, 1 << 31, 10, Some(Unacceptable::Ack)),
    ];
    for (flags, seq, ack, len, why) in table {
        let mut peer = in_state(State::Established);
        let seq = peer.conn.rcv_nxt().add(seq);
        let ack = peer.conn.snd_nxt().add(ack);
        let _ = peer.give(seg(flags, seq, ack, len));
        assert_eq!(peer.refusal, why, "{flags:?} {len}");
    }
    let mut peer = in_state(State::FinWait2);
    peer.close(false);
    let (seq, ack) = (peer.conn.rcv_nxt(), peer.conn.snd_nxt());
    let _ = peer.give(seg(Flags::ACK, seq, ack, 10));
    assert_eq!(peer.refusal, Some(Unacceptable::NoReader));
    let _ = peer.give(seg(Flags::ACK, seq, ack, 10));
    assert_eq!(peer.refusal, Some(Unacceptable::Closed));
}

/// What is refused without an answer leaves nothing to look after, and what is answered or heard does.
#[test]
fn unacceptable__leaves_nothing_to_do() {
    // Flags, SEG.SEQ - RCV.NXT, SEG.ACK - SND.NXT, payload, and whether there is nothing to do.
    let table = [
        (Flags::RST, 100_000, 0, 0, true),
        (Flags::RST, u32::MAX - 50, 0, 0, true),
        (Flags::NONE, 0, 0, 10, true),
        (Flags::RST, 1, 0, 0, false),
        (Flags::SYN, 1, 0, 0, false),
        (Flags::ACK, 100_000, 0, 0, false),
        (Flags::ACK, 0, 100, 0, false),
        (Flags::ACK, u32::MAX - 50, 0, 10, false),
    ];
    for (flags, seq, ack, len, nothing) in table {
        let mut peer = in_state(State::Established);
        peer.quiet();
        let seq = peer.conn.rcv_nxt().add(seq);
        let ack = peer.conn.snd_nxt().add(ack);
        let _ = peer.give(seg(flags, seq, ack, len));
        assert!(peer.refusal.is_some());
        assert_eq!(peer.conn.is_undisturbed(), nothing, "{flags:?} {len}");
        if !nothing {
            assert_eq!(peer.sent().len(), 1, "{flags:?} {len}");
        }
        // The next ones go without an answer for half a second; but data gets one each time.
        if !nothing && len == 0 {
            let _ = peer.give(seg(flags, seq, ack, 0));
            assert!(peer.refusal.is_some());
            assert!(peer.conn.is_undisturbed(), "{flags:?} {len}");
            peer.quiet();
        }
    }
    // While there is something to send, it is to be looked for.
    let mut peer = established();
    peer.write(100);
    let seq = peer.conn.rcv_nxt().add(100_000);
    let _ = peer.give(seg(Flags::RST, seq, peer.conn.snd_nxt(), 0));
    assert!(!peer.conn.is_undisturbed());
    assert_eq!(peer.sent().len(), 1);
}

/// RFC 9293: an ACK of what was never sent is answered and dropped; RFC 5961 section 5: so is one that is too old.
#[test]
fn ack__never_sent_or_too_old() {
    for state in SYNCHRONIZED {
        for offset in [1, 100, 1 << 30, u32::MAX - 100_000] {
            let mut peer = in_state(state);
            peer.advance(1000);
            let seq = peer.conn.rcv_nxt();
            let ack = peer.conn.snd_nxt().add(offset);
            let taken = peer.give(seg(Flags::ACK, seq, ack, 10));
            assert_eq!(taken, Payload::None, "{state:?} {offset}");
            assert_eq!(peer.conn.state(), state);
            assert_eq!(
                kinds(&mut peer),
                [TransmitKind::ChallengeAck],
                "{state:?} {offset}"
            );
        }
    }
}

/// RFC 5961 section 5.2 takes acknowledgments from a window before SND.UNA. Where less than a window was sent, those of numbers that were
/// never ours can only be guessed: as in Linux, the text with them is dropped.
#[test]
fn ack__before_the_first_number() {
    for state in SYNCHRONIZED {
        for offset in [1, 100, 10_000] {
            let mut peer = in_state(state);
            peer.advance(1000);
            let seq = peer.conn.rcv_nxt();
            let taken = peer.give(seg(Flags::ACK, seq, ISS.sub(offset), 10));
            assert_eq!(taken, Payload::None, "{state:?} {offset}");
            assert_eq!(peer.conn.state(), state);
            assert_eq!(
                kinds(&mut peer),
                [TransmitKind::ChallengeAck],
                "{state:?} {offset}"
            );
        }
    }
    // All that was sent may be acknowledged again.
    let mut peer = established();
    peer.write(3000);
    let _ = peer.sent();
    peer.ack_window(3000, 40_000);
    let seq = peer.conn.rcv_nxt();
    let taken = peer.give(seg(Flags::ACK, seq, ISS.add(1), 10));
    assert_eq!(taken, Payload::InOrder { skip: 0, len: 10 });
}

/// An old ACK, not too old: its text counts, its acknowledgment and its window do not.
#[test]
fn ack__old_duplicate() {
    let mut peer = established();
    peer.write(3000);
    let _ = peer.sent();
    peer.ack_window(2000, 40_000);
    peer.window = 100;
    let taken = peer.data(0, 10, 1000, Flags::NONE);
    assert_eq!(taken, Payload::InOrder { skip: 0, len: 10 });
    assert_eq!(peer.conn.snd_una(), ISS.add(2001));
    assert_eq!(peer.conn.unacked(), 1000);
}

#[test]
fn no_ack_bit__is_dropped() {
    for state in SYNCHRONIZED {
        let mut peer = in_state(state);
        let seq = peer.conn.rcv_nxt();
        for flags in [Flags::NONE, Flags::FIN, Flags::PSH, Flags::URG] {
            assert_eq!(
                peer.give(seg(flags, seq, SeqNum::new(0), 50)),
                Payload::None
            );
            assert_eq!(peer.conn.state(), state);
            peer.quiet();
        }
    }
}

/// The peer's FIN: in every state that can have it, then again.
#[test]
fn fin__in_every_state() {
    let table = [
        (State::Established, State::CloseWait),
        (State::FinWait1, State::Closing),
        (State::FinWait2, State::TimeWait),
        (State::CloseWait, State::CloseWait),
        (State::Closing, State::Closing),
        (State::LastAck, State::LastAck),
        (State::TimeWait, State::TimeWait),
    ];
    for (state, next) in table {
        let mut peer = in_state(state);
        let first = matches!(
            state,
            State::Established | State::FinWait1 | State::FinWait2
        );
        let at = match first {
            true => peer.rcv(),
            false => peer.rcv() - 1,
        };
        let ack = u32::from(matches!(state, State::FinWait2 | State::TimeWait));
        let _ = peer.data(at, 0, ack, Flags::FIN);
        assert_eq!(peer.conn.state(), next);
        assert_eq!(
            peer.events().contains(Event::PeerClosed),
            first,
            "{state:?}"
        );
        assert!(!peer.conn.can_receive());
        if state == State::Established {
            // The user may close too.
            peer.quiet();
            assert_eq!(peer.expire(), 1);
        }
        assert_eq!(kinds(&mut peer), [TransmitKind::Ack], "{state:?}");
        // Once more: acknowledged again.
        let _ = peer.data(at, 0, ack, Flags::FIN);
        assert_eq!(peer.conn.state(), next);
        assert_eq!(kinds(&mut peer), [TransmitKind::Ack], "{state:?}");
        assert!(!peer.events().contains(Event::PeerClosed));
    }
}

/// A segment can acknowledge our FIN, carry data and the peer's FIN at once.
#[test]
fn fin_wait_1__all_at_once() {
    let mut peer = in_state(State::FinWait1);
    let taken = peer.data(0, 100, 1, Flags::FIN);
    assert_eq!(taken, Payload::InOrder { skip: 0, len: 100 });
    assert_eq!(peer.conn.state(), State::TimeWait);
    let events = peer.events();
    for event in [Event::Readable, Event::PeerClosed, Event::TimeWait] {
        assert!(events.contains(event));
    }
    let ack = peer.next();
    assert_eq!(ack.header.ack, IRS.add(102));
    let cx = peer.cx();
    assert!(peer.conn.time_wait(&cx).is_some());
}

#[test]
fn fin__before_the_data_it_follows() {
    let mut peer = established();
    // [100, 200) with FIN, then a bare repetition of the FIN, then the hole.
    assert_eq!(
        peer.data(100, 100, 0, Flags::FIN),
        Payload::OutOfOrder { skip: 0, len: 100 }
    );
    assert_eq!(peer.conn.state(), State::Established);
    assert_eq!(kinds(&mut peer), [TransmitKind::Ack]);
    // Beyond the end there is nothing to take.
    assert_eq!(peer.data(200, 50, 0, Flags::NONE), Payload::None);
    assert_eq!(
        peer.data(0, 100, 0, Flags::NONE),
        Payload::InOrder { skip: 0, len: 100 }
    );
    assert_eq!(peer.rcv(), 201);
    assert_eq!(peer.conn.state(), State::CloseWait);
}

#[test]
fn fin__is_not_taken_without_its_data() {
    let mut peer = established();
    peer.room = false;
    assert_eq!(peer.data(0, 100, 0, Flags::FIN), Payload::None);
    assert_eq!(peer.conn.state(), State::Established);
    let _ = peer.sent();
    peer.room = true;
    assert_eq!(
        peer.data(0, 100, 0, Flags::FIN),
        Payload::InOrder { skip: 0, len: 100 }
    );
    assert_eq!(peer.conn.state(), State::CloseWait);
}

#[test]
fn fin__bare_in_a_closed_window_is_taken() {
    let mut peer = established();
    let edge = peer.edge();
    let _ = peer.data(0, edge, 0, Flags::NONE);
    let _ = peer.sent();
    assert_eq!(peer.conn.rcv_wnd(), 0);
    let _ = peer.data(edge, 0, 0, Flags::FIN);
    assert_eq!(peer.conn.state(), State::CloseWait);
}

/// RFC 7323 section 5.3, RFC 7323 section 4.3 for TS.Recent.
#[test]
fn paws__old_timestamps_are_dropped_and_rst_is_exempt() {
    let offer = Offer {
        stamps: true,
        ..Offer::default()
    };
    let mut peer = established_with(Default::default(), Default::default(), offer);
    peer.advance(1000);
    peer.stamps = Some(4999);
    assert_eq!(peer.data(0, 10, 0, Flags::NONE), Payload::None);
    assert_eq!(kinds(&mut peer), [TransmitKind::Ack]);
    peer.stamps = Some(5000);
    assert_ne!(peer.data(0, 10, 0, Flags::NONE), Payload::None);
    // TS.Recent follows the segments that begin at or before the last ACK sent.
    let _ = peer.sent();
    peer.stamps = Some(6000);
    assert_ne!(peer.data(20, 10, 0, Flags::NONE), Payload::None);
    assert_eq!(peer.next().header.options.timestamps.unwrap().ecr, 5000);
    assert_ne!(peer.data(10, 10, 0, Flags::NONE), Payload::None);
    assert_eq!(peer.next().header.options.timestamps.unwrap().ecr, 6000);
    // After 24 days TS.Recent is worth nothing (RFC 7323 section 5.5).
    peer.advance(25 * 24 * 3600 * 1000);
    peer.stamps = Some(3);
    assert_ne!(peer.data(30, 10, 0, Flags::NONE), Payload::None);
    // RST.
    let mut rst = seg(Flags::RST, peer.conn.rcv_nxt(), SeqNum::new(0), 0);
    rst.header.options.timestamps = Some(Timestamps { val: 1, ecr: 0 });
    let _ = peer.give(rst);
    assert_eq!(peer.conn.state(), State::Closed);
}

/// A SYN-ACK, or what came since, that said 0 has told no timestamp: what others say is not older.
#[test]
fn paws__zero_is_no_timestamp() {
    let offer = Offer {
        stamps: true,
        ..Offer::default()
    };
    let mut peer = established_with(Default::default(), Default::default(), offer);
    let mut at = 0;
    for (stamp, is_taken) in [
        ((1 << 31) + 4000, true),
        (0, true),
        (u32::MAX, true),
        (u32::MAX - 1, false),
    ] {
        peer.stamps = Some(stamp);
        let payload = peer.data(at, 10, 0, Flags::NONE);
        assert_eq!(payload != Payload::None, is_taken, "{stamp}");
        at += 10;
        // It is acknowledged, and the next begins there.
        peer.let_delayed_ack_go();
        let _ = peer.sent();
    }
}

/// After 2^31 bytes and more nothing is confused.
#[test]
fn sequence_numbers_wrap() {
    let mut peer = established();
    let mut at = 0u32;
    for _ in 0..80_000 {
        // 40 KB at a time: 3.2 GB, three quarters of the circle.
        let _ = peer.data(at, 40_000, 0, Flags::NONE);
        at = at.wrapping_add(40_000);
        assert_eq!(peer.rcv(), at);
        peer.read(50_000);
        let _ = peer.sent();
    }
    assert_eq!(peer.conn.state(), State::Established);
    let mut peer = established();
    let mut at = 0u32;
    for _ in 0..60_000 {
        peer.write(40_000);
        at = at.wrapping_add(40_000);
        peer.limit = crate::transmit::BurstLimit(65_536);
        while peer.conn.snd_una() != ISS.add(1).add(at) {
            let _ = peer.sent();
            peer.advance(1);
            let sent = peer.conn.snd_nxt();
            peer.ack(ISS.add(1).distance_to(sent));
        }
    }
    assert_eq!(peer.conn.state(), State::Established);
    assert_eq!(peer.conn.total_retransmits(), 0);
}

/// RFC 7323 section 3.2 would drop it. RST needs none there either.
#[test]
fn paws__a_segment_without_a_timestamp_is_taken() {
    let offer = Offer {
        stamps: true,
        ..Offer::default()
    };
    let mut peer = established_with(Default::default(), Default::default(), offer);
    peer.stamps = None;
    assert_ne!(peer.data(0, 10, 0, Flags::NONE), Payload::None);
    assert_eq!(peer.rcv(), 10);
    // What is echoed stays.
    assert_eq!(peer.next().header.options.timestamps.unwrap().ecr, 5000);
}
