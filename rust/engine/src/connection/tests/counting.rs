// SPDX-License-Identifier: GPL-2.0

//! What is told to who counts: all of it, in short stories. The other files say what else comes of them.

use super::recovering::{connected, report, segments, ten, AT};
use super::script::*;
use crate::connection::{Event, Payload, State, Unacceptable};
use crate::context::{Config, Linger2, SocketOptions};
use crate::happening::Happening::{self, *};
use crate::transmit::{BurstLimit, Transmit, TransmitKind};
use crate::wire::{Flags, Timestamps};
use std::num::{NonZeroU16, NonZeroU8};
use std::vec::Vec;

fn sum(told: &[(Happening, u32)], what: Happening) -> u32 {
    told.iter().find(|told| told.0 == what).map_or(0, |t| t.1)
}

/// Nothing, for what is as it should be.
#[test]
fn nothing__of_a_connection_that_goes_well() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    peer.advance(100);
    report(&mut peer, 10, &[]);
    let at = peer.data(0, 1000, AT + 10_000, Flags::NONE);
    assert!(matches!(at, Payload::InOrder { .. }));
    let _ = peer.sent();
    peer.shutdown();
    let _ = peer.sent();
    let told = peer.counted();
    assert_eq!(told, []);
}

#[test]
fn syn__sent_again_and_given_up() {
    let options = SocketOptions {
        syn_retries: NonZeroU8::new(1),
        ..SocketOptions::default()
    };
    let config = Config {
        syn_linear_timeouts: 0,
        ..Config::default()
    };
    let mut peer = syn_sent_with(config, options);
    let _ = peer.next();
    assert_eq!(peer.counted(), []);
    let _ = peer.expire();
    let _ = peer.next();
    assert_eq!(
        peer.counted(),
        [(TCPTimeouts, 1), (RetransSegs, 1), (TCPSynRetrans, 1)]
    );
    let _ = peer.expire();
    assert_eq!(peer.counted(), [(TCPTimeouts, 1), (TCPAbortOnTimeout, 1)]);
    assert_eq!(peer.conn.state(), State::Closed);
}

#[test]
fn recovery__by_sack() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    peer.advance(100);
    report(&mut peer, 0, &[(1, 4)]);
    let _ = segments(&mut peer);
    assert_eq!(
        peer.counted(),
        [(TCPSackRecovery, 1), (RetransSegs, 1), (TCPFastRetrans, 1)]
    );
    peer.advance(5);
    report(&mut peer, 10, &[]);
    assert_eq!(peer.counted(), []);
    // It was needless after all.
    peer.advance(95);
    report(&mut peer, 10, &[(0, 1)]);
    assert_eq!(
        peer.counted(),
        [(TCPDSACKRecv, 1), (TCPDSACKRecvSegs, 1), (TCPDSACKUndo, 1)]
    );
}

#[test]
fn recovery__without_sack() {
    let mut peer = connected(false, false);
    ten(&mut peer);
    peer.advance(100);
    for _ in 0..3 {
        peer.ack(AT);
    }
    let _ = segments(&mut peer);
    assert_eq!(
        peer.counted(),
        [(TCPRenoRecovery, 1), (RetransSegs, 1), (TCPFastRetrans, 1)]
    );
    // And a timeout in its midst.
    let _ = peer.expire();
    let _ = segments(&mut peer);
    assert_eq!(
        peer.counted(),
        [
            (TCPTimeouts, 1),
            (TCPRenoRecoveryFail, 1),
            (TCPLostRetransmit, 1),
            (RetransSegs, 1)
        ]
    );
}

#[test]
fn reordering__by_a_late_original() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    peer.advance(100);
    report(&mut peer, 0, &[(7, 8)]);
    report(&mut peer, 0, &[(4, 5), (7, 8)]);
    assert_eq!(peer.counted(), [(TCPSACKReorder, 1)]);
}

#[test]
fn copy__lost_again() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    peer.write(10_000);
    peer.advance(100);
    report(&mut peer, 0, &[(1, 4)]);
    let _ = segments(&mut peer);
    for behind in 5..=10 {
        peer.advance(1);
        report(&mut peer, 0, &[(1, behind)]);
    }
    let last = segments(&mut peer).last().unwrap().1;
    let told = peer.counted();
    assert_eq!(sum(&told, RetransSegs), 1, "{told:?}");
    peer.advance(100);
    report(&mut peer, 0, &[(1, last + 1)]);
    let again = segments(&mut peer);
    assert_eq!(again.first().unwrap().0, TransmitKind::Retransmission);
    assert_eq!(
        peer.counted(),
        [
            (TCPLostRetransmit, 1),
            (RetransSegs, 1),
            (TCPFastRetrans, 1)
        ]
    );
}

#[test]
fn probe__of_the_tail_and_what_it_repairs() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    peer.advance(100);
    report(&mut peer, 9, &[]);
    let _ = peer.expire();
    let _ = segments(&mut peer);
    assert_eq!(peer.counted(), [(RetransSegs, 1), (TCPLossProbes, 1)]);
    peer.write(1000);
    let _ = segments(&mut peer);
    peer.advance(100);
    report(&mut peer, 11, &[]);
    assert_eq!(peer.counted(), [(TCPLossProbeRecovery, 1)]);
    // New data is no retransmission.
    ten_more(&mut peer);
    peer.write(1000);
    let _ = peer.expire();
    let sent = peer.sent();
    assert_eq!(sent.first().unwrap().kind, TransmitKind::LossProbeData);
    assert_eq!(peer.counted(), [(TCPLossProbes, 1)]);
}

/// As much as the window takes.
fn ten_more(peer: &mut Peer) {
    peer.limit = BurstLimit(10_000);
    peer.write(10_000);
    let _ = peer.sent();
    peer.limit = BurstLimit(0);
}

#[test]
fn timeout__and_its_repair() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    peer.write(5000);
    let _ = peer.expire();
    let _ = peer.sent();
    let _ = peer.counted();
    let _ = peer.expire();
    let _ = peer.sent();
    assert_eq!(peer.counted(), [(TCPTimeouts, 1), (RetransSegs, 1)]);
    peer.advance(100);
    report(&mut peer, 1, &[]);
    let first = segments(&mut peer).first().unwrap().1;
    peer.advance(100);
    report(&mut peer, 1, &[(first, first + 1)]);
    let again = segments(&mut peer).len() as u32;
    let told = peer.counted();
    assert_eq!(sum(&told, TCPSlowStartRetrans), again, "{told:?}");
    assert_eq!(sum(&told, RetransSegs), again);
    assert_eq!(sum(&told, TCPLossUndo), 0);
    // Another one, after progress.
    peer.advance(100);
    report(&mut peer, 2, &[]);
    let _ = peer.sent();
    let _ = peer.counted();
    let _ = peer.expire();
    assert_eq!(sum(&peer.counted(), TCPTimeouts), 1);
}

#[test]
fn timeout__that_was_none() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    peer.write(5000);
    for _ in 0..2 {
        let _ = peer.expire();
        let _ = peer.sent();
    }
    let _ = peer.counted();
    peer.advance(100);
    report(&mut peer, 1, &[]);
    let _ = peer.sent();
    report(&mut peer, 2, &[]);
    assert_eq!(peer.counted(), [(TCPLossUndo, 1), (TCPSpuriousRTOs, 1)]);
}

#[test]
fn reneging__and_reports_that_failed() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    peer.advance(100);
    report(&mut peer, 0, &[(5, 10)]);
    let _ = peer.sent();
    peer.advance(100);
    report(&mut peer, 5, &[]);
    let _ = peer.counted();
    let _ = peer.expire();
    let told = peer.counted();
    assert_eq!(sum(&told, TCPTimeouts), 1);
    assert_eq!(sum(&told, TCPSACKReneging), 1, "{told:?}");
    assert_eq!(sum(&told, TCPSackRecoveryFail), 1, "{told:?}");
}

#[test]
fn reports__that_are_nonsense() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    peer.advance(100);
    // Beyond what was sent.
    report(&mut peer, 0, &[(20, 21)]);
    assert_eq!(peer.counted(), [(TCPSACKDiscard, 1)]);
    // A duplicate of what was sent once.
    report(&mut peer, 1, &[(0, 1)]);
    assert_eq!(sum(&peer.counted(), TCPDSACKIgnoredDubious), 1);
}

#[test]
fn duplicates__that_the_peer_sends() {
    let mut peer = connected(true, false);
    let _ = peer.data(0, 1000, AT, Flags::NONE);
    let _ = peer.sent();
    assert_eq!(peer.counted(), []);
    let _ = peer.data(0, 1000, AT, Flags::NONE);
    assert_eq!(peer.counted(), [(DelayedACKLost, 1), (TCPDSACKOldSent, 1)]);
    // In part.
    let _ = peer.data(500, 1000, AT, Flags::NONE);
    assert_eq!(peer.counted(), [(TCPDSACKOldSent, 1)]);
    // Out of order, and once more.
    let _ = peer.data(5000, 1000, AT, Flags::NONE);
    assert_eq!(peer.counted(), [(TCPOFOQueue, 1)]);
    let _ = peer.data(5000, 1000, AT, Flags::NONE);
    assert_eq!(
        peer.counted(),
        [(TCPOFOQueue, 1), (TCPOFOMerge, 1), (TCPDSACKOfoSent, 1)]
    );
}

#[test]
fn challenges__and_those_that_are_left_out() {
    for (flags, at, expected) in [
        (Flags::SYN, 0, &[InErrs, TCPSYNChallenge][..]),
        (Flags::SYN, 90_000, &[InErrs, TCPSYNChallenge]),
        (Flags::RST, 10, &[]),
        (Flags::RST, 90_000, &[]),
        (Flags::ACK, 90_000, &[BeyondWindow]),
    ] {
        let mut peer = connected(true, false);
        let segment = seg(flags, IRS.add(1).add(at), ISS.add(1).add(AT), 0);
        let _ = peer.give(segment);
        let answers = peer.sent();
        let told = peer.counted();
        let told: Vec<Happening> = told.iter().map(|told| told.0).collect();
        assert_eq!(told, expected, "{flags:?} {at}");
        let challenge = match (flags, at) {
            (Flags::RST, 90_000) => None,
            (Flags::ACK, _) => Some(TransmitKind::Ack),
            _ => Some(TransmitKind::ChallengeAck),
        };
        assert_eq!(answers.first().map(|answer| answer.kind), challenge);
        // Too soon after that.
        let _ = peer.give(segment);
        assert_eq!(peer.sent().len(), 0);
        let skipped = match (flags, at) {
            (Flags::RST, 90_000) => None,
            (Flags::ACK, _) => Some(TCPACKSkippedSeq),
            _ => Some(TCPACKSkippedChallenge),
        };
        let last = peer.counted().last().map(|told| told.0);
        assert_eq!(last, skipped, "{flags:?} {at}");
    }
}

#[test]
fn timestamps__that_are_old() {
    let mut peer = connected(true, true);
    let mut old = seg(Flags::ACK, IRS.add(1), ISS.add(1).add(AT), 0);
    old.header.options.timestamps = Some(Timestamps { val: 10, ecr: 0 });
    let _ = peer.give(old);
    assert_eq!(peer.counted(), [(PAWSEstab, 1)]);
    let _ = peer.sent();
    let _ = peer.give(old);
    assert_eq!(peer.counted(), [(PAWSEstab, 1), (TCPACKSkippedPAWS, 1)]);
}

/// Acknowledgments that newer ones have overtaken are not answered, with the first answer of the half second still to be had.
#[test]
fn timestamps__of_acknowledgments_that_were_overtaken() {
    let mut peer = connected(true, true);
    let mut old = seg(Flags::ACK, IRS, ISS.add(1).add(AT), 0);
    let stamps = Some(Timestamps { val: 10, ecr: 0 });
    old.header.options.timestamps = stamps;
    let _ = peer.give(old);
    assert_eq!(peer.counted(), [(PAWSOldAck, 1)]);
    assert_eq!(peer.sent().len(), 0);
    let cx = crate::Context::new(peer.now, &peer.config).counted(&peer.told);
    let ignored = peer.conn.ignores(IRS, Flags::ACK, stamps, || cx);
    assert_eq!(ignored, Some(Unacceptable::Overtaken));
    assert_eq!(peer.counted(), [(PAWSOldAck, 1)]);
    // The next number is asked for.
    old.header.seq = IRS.add(1);
    let _ = peer.give(old);
    assert_eq!(peer.counted(), [(PAWSEstab, 1)]);
    assert_eq!(peer.sent().len(), 1);
}

/// A duplicate acknowledgment that others have overtaken by less than a timeout reports what came, and does nothing else.
#[test]
fn timestamps__of_a_duplicate_that_was_overtaken() {
    /// What a segment has room for beside timestamps.
    const LEN: u32 = 988;
    let mut peer = connected(true, true);
    peer.limit = BurstLimit(10_000);
    peer.write(10 * LEN);
    let _ = peer.sent();
    peer.advance(100);
    let reports = |peer: &mut Peer, stamp, ack, segment| {
        peer.stamps = Some(stamp);
        let block = (AT + segment * LEN, AT + (segment + 1) * LEN);
        peer.report(AT + ack * LEN, &[block], None);
        peer.conn.info(&peer.cx(), peer.flight.as_ref()).sacked
    };
    let recent = peer.stamps.expect("timestamps") + 1000;
    assert_eq!(reports(&mut peer, recent, 0, 7), 1);
    let _ = peer.counted();
    // Later than a timeout.
    assert_eq!(reports(&mut peer, recent - 900, 0, 2), 1);
    assert_eq!(peer.counted(), [(PAWSEstab, 1)]);
    assert_eq!(reports(&mut peer, recent - 50, 0, 5), 2);
    assert_eq!(sum(&peer.counted(), PAWSEstab), 0);
    // One that opens the window, or acknowledges something, would do harm if it were replayed.
    peer.window += 1;
    assert_eq!(reports(&mut peer, recent - 50, 0, 3), 2);
    peer.window -= 1;
    assert_eq!(reports(&mut peer, recent - 50, 1, 3), 2);
    assert_eq!(sum(&peer.counted(), PAWSEstab), 2);
    // What is echoed is the newest.
    let _ = peer.sent();
    peer.advance(1000);
    peer.write(1);
    let sent = peer.sent();
    let echo = |segment: &Transmit| segment.header.options.timestamps.map(|stamps| stamps.ecr);
    assert!(!sent.is_empty() && sent.iter().all(|segment| echo(segment) == Some(recent)));
}

/// What is dropped before it is read whole is told of as well.
#[test]
fn ignored__as_if_they_were_read() {
    let mut peer = connected(true, false);
    let beyond = IRS.add(90_000);
    let _ = peer.give(seg(Flags::ACK, beyond, ISS.add(1).add(AT), 0));
    let _ = (peer.sent(), peer.counted());
    let cx = crate::Context::new(peer.now, &peer.config).counted(&peer.told);
    let ignored = peer.conn.ignores(beyond, Flags::ACK, None, || cx);
    assert!(ignored.is_some());
    assert_eq!(peer.counted(), [(BeyondWindow, 1), (TCPACKSkippedSeq, 1)]);
}

#[test]
fn windows__that_close_and_open() {
    let mut peer = established();
    let mut told = Vec::new();
    for at in 0..100 {
        let _ = peer.data(at * 1000, 1000, 0, Flags::NONE);
        peer.memory.used += 2000;
        peer.unread += 1000;
        let memory = peer.memory;
        peer.conn.set_recv_memory(&memory);
        peer.advance(1000);
        peer.expire_all();
        let _ = peer.sent();
        told.extend(peer.counted());
        if peer.conn.rcv_wnd() == 0 {
            break;
        }
    }
    assert_eq!(sum(&told, TCPToZeroWindowAdv), 1, "{told:?}");
    peer.read(50_000);
    assert_eq!(peer.sent().len(), 1);
    assert_eq!(peer.counted(), [(TCPFromZeroWindowAdv, 1)]);
}

#[test]
fn probes__of_windows_and_of_silence() {
    let mut peer = connected(true, false);
    peer.ack_window(AT, 0);
    peer.write(1000);
    peer.quiet();
    let _ = peer.expire();
    assert_eq!(peer.sent().len(), 1);
    assert_eq!(peer.counted(), [(TCPWinProbe, 1)]);

    let options = SocketOptions {
        keepalive: true,
        keepidle: NonZeroU16::new(10),
        keepintvl: NonZeroU16::new(1),
        keepcnt: NonZeroU8::new(1),
        ..SocketOptions::default()
    };
    let mut peer = established_with(Config::default(), options, Offer::default());
    let _ = peer.expire();
    assert_eq!(peer.sent().len(), 1);
    assert_eq!(peer.counted(), [(TCPKeepAlive, 1)]);
    let _ = peer.expire();
    assert_eq!(peer.counted(), [(TCPAbortOnTimeout, 1)]);
}

#[test]
fn resets__of_a_user_who_has_closed() {
    let mut peer = established();
    peer.close(false);
    let _ = peer.sent();
    let _ = peer.data(0, 10, 1, Flags::NONE);
    assert_eq!(peer.counted(), [(TCPAbortOnData, 1)]);
    assert!(peer.events().contains(Event::Closed));

    let options = SocketOptions {
        linger2: Linger2::Skip,
        ..SocketOptions::default()
    };
    let mut peer = established_with(Config::default(), options, Offer::default());
    peer.shutdown();
    let _ = peer.sent();
    peer.ack(1);
    assert_eq!(peer.counted(), []);
    peer.close(false);
    assert_eq!(peer.counted(), [(TCPAbortOnLinger, 1)]);
}

#[test]
fn acknowledgments__that_were_held_back() {
    let mut peer = connected(true, false);
    // The first of a connection are not.
    let mut at = 0;
    loop {
        let _ = peer.data(at, 10, AT, Flags::PSH);
        at += 10;
        if peer.sent().is_empty() {
            break;
        }
        peer.advance(1);
    }
    assert_eq!(peer.counted(), []);
    let _ = peer.expire();
    assert_eq!(peer.sent().len(), 1);
    assert_eq!(peer.counted(), [(DelayedACKs, 1)]);
}

#[test]
fn marks__that_the_peer_tells_of() {
    let config = Config {
        ecn: 1,
        ..Config::default()
    };
    let offer = Offer {
        ecn: true,
        ..Offer::default()
    };
    let mut peer = established_with(config, SocketOptions::default(), offer);
    peer.write(2000);
    assert_eq!(peer.sent().len(), 2);
    let at = peer.conn.rcv_nxt();
    let _ = peer.give(seg(Flags::ACK.union(Flags::ECE), at, ISS.add(2001), 0));
    assert_eq!(peer.counted(), [(TCPDeliveredCE, 2)]);
}

/// RFC 3522, RFC 4015: at the end of the repair, and within it.
#[test]
fn undo__by_timestamps() {
    let at = |n: u32| AT + n * 988;
    for within in [false, true] {
        let mut peer = connected(true, true);
        peer.write(10 * 988);
        let val = peer.next().header.options.timestamps.unwrap().val;
        assert_eq!(peer.sent().len(), 9);
        peer.advance(100);
        peer.report(at(0), &[(at(7), at(10))], Some(val));
        let copies = peer.sent_short().iter().map(|sent| sent.2).sum::<u32>() / 988;
        let _ = peer.counted();
        peer.advance(5);
        match within {
            true => peer.report(at(copies), &[(at(7), at(10))], Some(val)),
            false => peer.report(at(10), &[], Some(val)),
        }
        let told = peer.counted();
        let told: Vec<Happening> = told.iter().map(|told| told.0).collect();
        let expected = match within {
            true => &[TCPTSReorder, TCPPartialUndo][..],
            false => &[TCPFullUndo],
        };
        for what in expected {
            assert!(told.contains(what), "{within}: {told:?}");
        }
    }
}

/// A timeout while something was reported: with SACK the repair has begun by then, as RACK asks for no number of reports.
#[test]
fn timeout__while_something_was_reported() {
    for (sack, expected) in [(true, TCPSackRecoveryFail), (false, TCPRenoFailures)] {
        let mut peer = connected(sack, false);
        ten(&mut peer);
        peer.advance(100);
        match sack {
            true => report(&mut peer, 0, &[(9, 10)]),
            false => peer.ack(AT),
        }
        let _ = peer.sent();
        let _ = peer.counted();
        let told = loop {
            let _ = peer.expire();
            let told = peer.counted();
            if sum(&told, TCPTimeouts) != 0 {
                break told;
            }
            let _ = peer.sent();
        };
        assert_eq!(sum(&told, expected), 1, "{sack}: {told:?}");
    }
}

/// More duplicates than there can be holes.
#[test]
fn reordering__without_sack() {
    let mut peer = connected(false, false);
    ten(&mut peer);
    peer.advance(100);
    for _ in 0..12 {
        peer.ack(AT);
        let _ = peer.sent();
    }
    assert!(sum(&peer.counted(), TCPRenoReorder) > 0);
}

#[test]
fn duplicate__of_what_the_peer_has_out_of_order() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    peer.advance(100);
    report(&mut peer, 0, &[(1, 4)]);
    let _ = peer.sent();
    let _ = peer.counted();
    report(&mut peer, 0, &[(2, 3), (1, 4)]);
    let told = peer.counted();
    assert_eq!(sum(&told, TCPDSACKOfoRecv), 1, "{told:?}");
    assert_eq!(sum(&told, TCPDSACKRecvSegs), 1);
}

/// HyStart (`congestion/hystart.rs` has its rules) by either sign, and the window at that time.
#[test]
fn hystart__by_its_two_signs() {
    for (late, found, cwnd) in [
        (0, TCPHystartTrainDetect, TCPHystartTrainCwnd),
        (40, TCPHystartDelayDetect, TCPHystartDelayCwnd),
    ] {
        let options = SocketOptions {
            nodelay: true,
            ..SocketOptions::default()
        };
        let mut peer = established_with(Config::default(), options, Offer::default());
        let (mut acked, mut told) = (0, Vec::new());
        for round in 0..8 {
            peer.write(60_000);
            let sent: u32 = peer.sent().iter().map(|s| s.payload.len).sum();
            peer.advance(100 + late * round);
            for _ in 0..sent / 1000 {
                acked += 1000;
                peer.ack(acked);
                peer.advance(match late {
                    0 => 2,
                    _ => 3,
                });
            }
            told.extend(peer.counted());
            if !told.is_empty() {
                break;
            }
        }
        assert_eq!(sum(&told, found), 1, "{told:?}");
        assert!(sum(&told, cwnd) >= 16, "{told:?}");
    }
}

/// The window cannot be taken back, whatever became of the memory for it.
#[test]
fn windows__that_should_be_closed() {
    let mut peer = established();
    let _ = peer.data(0, 1000, 0, Flags::NONE);
    peer.memory.used = peer.memory.limit;
    let memory = peer.memory;
    peer.conn.set_recv_memory(&memory);
    assert_eq!(peer.sent().len(), 1);
    assert_eq!(peer.counted(), [(TCPWantZeroWindowAdv, 1)]);
}
