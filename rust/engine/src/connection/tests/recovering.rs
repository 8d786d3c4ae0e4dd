// SPDX-License-Identifier: GPL-2.0

//! Loss and its repair: RACK, tail loss probes, PRR, F-RTO, undo, reneging, and what happens without memory.

use super::refusing::refuse;
use super::script::*;
use crate::congestion::Algorithm;
use crate::connection::{Mode, TimerKind};
use crate::context::{Config, Context, SocketOptions};
use crate::transmit::{BurstLimit, Refusal, TransmitKind};
use TransmitKind::{Data, LossProbe, LossProbeData, Retransmission};

/// A connection with a round trip of 100 ms, and NewReno: round numbers.
pub(super) fn connected(sack: bool, stamps: bool) -> Peer {
    let config = Config {
        congestion_control: Algorithm::NewReno,
        ..Config::default()
    };
    let options = SocketOptions {
        nodelay: true,
        ..SocketOptions::default()
    };
    let offer = Offer {
        sack,
        stamps,
        ..Offer::default()
    };
    let mut peer = established_with(config, options, offer);
    // The handshake took 10 ms; this is the path.
    for i in 1..=40 {
        peer.write(1);
        let _ = peer.sent();
        peer.advance(100);
        peer.ack(i);
    }
    peer.quiet();
    assert!(peer.flight.is_none());
    assert_eq!(peer.conn.mode(), Mode::Open);
    peer
}

/// Where the data of a test begins.
pub(super) const AT: u32 = 40;

/// What is sent now, as (kind, segment, segments), in segments of 1000 behind [`AT`].
pub(super) fn segments(peer: &mut Peer) -> std::vec::Vec<(TransmitKind, u32, u32)> {
    let sent = peer.sent_short();
    sent.into_iter()
        .map(|(kind, at, len)| (kind, (at - AT) / 1000, len / 1000))
        .collect()
}

/// An acknowledgment of the first `ack` segments with SACK blocks, as (first, behind the last).
pub(super) fn report(peer: &mut Peer, ack: u32, blocks: &[(u32, u32)]) {
    let blocks: std::vec::Vec<_> = blocks
        .iter()
        .map(|(start, end)| (AT + start * 1000, AT + end * 1000))
        .collect();
    peer.report(AT + ack * 1000, &blocks, None);
}

/// Ten segments, a window of them, of which two bursts are made.
pub(super) fn ten(peer: &mut Peer) {
    peer.limit = BurstLimit(10_000);
    peer.write(10_000);
    assert_eq!(segments(peer), [(Data, 0, 5), (Data, 5, 5)]);
    peer.limit = BurstLimit(0);
}

/// RFC 8985 section 6.2: one report alone may be reordering; a quarter of a round trip later it is not.
#[test]
fn rack__waits_for_a_quarter_of_the_round_trip() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    peer.advance(100);
    report(&mut peer, 0, &[(7, 8)]);
    peer.quiet();
    assert_eq!(peer.conn.mode(), Mode::Disorder);
    assert!(peer.conn.timer_of(TimerKind::Reorder).is_some());
    // The shortest round trip was that of the handshake.
    let waited = peer.expire();
    assert!((2..=3).contains(&waited), "{waited}");
    assert_eq!(peer.conn.mode(), Mode::Recovery);
    assert_eq!(peer.flight.as_ref().unwrap().lost(), 7000);
    assert_eq!(segments(&mut peer), [(Retransmission, 0, 1)]);
    // It was reordering, and reached over three segments.
    report(&mut peer, 0, &[(4, 5), (7, 8)]);
    assert_eq!(peer.conn.reordering(), 4);
}

/// Three reported segments are as good as three duplicate acknowledgments (RFC 8985 section 6.2 step 4).
#[test]
fn rack__three_reports_do_not_wait() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    peer.write(3000);
    peer.advance(100);
    for (behind, next) in [(2, 10), (3, 11)] {
        // Limited transmit (RFC 3042 section 2).
        report(&mut peer, 0, &[(1, behind)]);
        assert_eq!(segments(&mut peer), [(Data, next, 1)]);
    }
    report(&mut peer, 0, &[(1, 4)]);
    assert_eq!(segments(&mut peer), [(Retransmission, 0, 1)]);
    assert_eq!(peer.conn.ssthresh(), 5000);
    peer.advance(100);
    report(&mut peer, 12, &[]);
    assert_eq!(peer.conn.mode(), Mode::Open);
    assert_eq!(segments(&mut peer), [(Data, 12, 1)]);
}

/// What was sent after the copy has arrived, and the copy has not (RFC 8985 section 3.3, "lost retransmission").
#[test]
fn rack__finds_a_lost_copy() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    peer.write(10_000);
    peer.advance(100);
    // Three arrived at once: half as many may go (RFC 9937).
    report(&mut peer, 0, &[(1, 4)]);
    assert_eq!(segments(&mut peer), [(Retransmission, 0, 1), (Data, 10, 1)]);
    for behind in 5..=10 {
        peer.advance(1);
        report(&mut peer, 0, &[(1, behind)]);
    }
    let new = segments(&mut peer);
    assert!(new.iter().all(|sent| sent.0 == Data), "{new:?}");
    let last = new.last().unwrap().1;
    // The new data arrives a round trip later, the copy has not.
    peer.advance(100);
    report(&mut peer, 0, &[(1, last + 1)]);
    let again = segments(&mut peer);
    assert_eq!(again.first(), Some(&(Retransmission, 0, 1)), "{again:?}");
    assert_eq!(peer.conn.mode(), Mode::Recovery);
    report(&mut peer, last + 1, &[]);
    assert_eq!(peer.conn.mode(), Mode::Open);
}

/// RFC 8985 sections 7.1 and 7.2: a lost tail is repaired after two round trips, not by a timeout; there is one probe.
#[test]
fn probe__finds_a_lost_tail() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    peer.advance(100);
    report(&mut peer, 7, &[]);
    peer.quiet();
    assert!(peer.conn.timer_of(TimerKind::LossProbe).is_some());
    let waited = peer.expire();
    assert!((200..=205).contains(&waited), "{waited}");
    assert_eq!(segments(&mut peer), [(LossProbe, 9, 1)]);
    // One probe; then the timeout.
    assert!(peer.conn.timer_of(TimerKind::Retransmit).is_some());
    peer.advance(100);
    report(&mut peer, 7, &[(9, 10)]);
    // Two are missing and were sent long before the probe.
    assert_eq!(peer.conn.mode(), Mode::Recovery);
    let again = segments(&mut peer);
    assert_eq!(again.first().map(|sent| sent.1), Some(7), "{again:?}");
    peer.advance(100);
    report(&mut peer, 10, &[]);
    assert_eq!(peer.conn.mode(), Mode::Open);
    assert_eq!(peer.conn.retransmits(), 0);
}

/// RFC 8985 section 7.3: the last segment, as it was cut, and not the last octets of the segment's size.
#[test]
fn probe__is_the_last_segment() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    peer.advance(100);
    report(&mut peer, 10, &[]);
    peer.write(2 * u32::from(peer.conn.mss()) + 300);
    let sent = peer.sent_short();
    let &(_, start, len) = sent.last().unwrap();
    assert_eq!((sent.len(), len), (3, 300));
    let _ = peer.expire();
    assert_eq!(peer.sent_short(), [(LossProbe, start, len)]);
}

/// RFC 8985 section 7.4: when the probe itself has repaired the loss, the window is reduced all the same; when the probe was
/// needless, it is not.
#[test]
fn probe__a_repaired_loss_is_congestion_and_a_duplicate_is_not() {
    for lost in [true, false] {
        let mut peer = connected(true, false);
        ten(&mut peer);
        let cwnd = peer.conn.cwnd();
        peer.advance(100);
        report(&mut peer, 9, &[]);
        peer.write(2000);
        // Only one segment is in flight: the peer may delay its acknowledgment.
        let _ = peer.sent();
        peer.advance(10);
        report(&mut peer, 10, &[]);
        let _ = peer.expire();
        assert_eq!(segments(&mut peer), [(LossProbe, 11, 1)]);
        peer.write(1000);
        assert_eq!(segments(&mut peer), [(Data, 12, 1)]);
        peer.advance(100);
        match lost {
            true => report(&mut peer, 13, &[]),
            false => {
                report(&mut peer, 12, &[(11, 12)]);
                report(&mut peer, 13, &[]);
            }
        }
        assert_eq!(peer.conn.mode(), Mode::Open);
        assert_eq!(peer.conn.cwnd() < cwnd, lost, "{}", peer.conn.cwnd());
    }
}

/// New data is as good a probe as old (RFC 8985 section 7.3), and goes whatever the congestion window says.
#[test]
fn probe__new_data_first() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    peer.write(1000);
    peer.quiet();
    let _ = peer.expire();
    assert_eq!(segments(&mut peer), [(LossProbeData, 10, 1)]);
}

/// A probe that a full queue of this host drops was not sent: new data is sent when its turn comes, without a gap, and the last
/// segment was sent once.
#[test]
fn probe__that_did_not_leave() {
    for new in [true, false] {
        let mut peer = connected(true, false);
        ten(&mut peer);
        if new {
            peer.write(1000);
            peer.quiet();
        }
        let nxt = peer.conn.snd_nxt();
        let _ = peer.expire();
        let probe = peer.next();
        assert_eq!(probe.kind == LossProbeData, new, "{probe:?}");
        refuse(&mut peer, &probe, 0, Refusal::Dropped);
        assert_eq!(peer.conn.snd_nxt(), nxt);
        assert!(peer.conn.timer_of(TimerKind::Retransmit).is_some());
        // The window has been reduced for the queue, and opens again.
        peer.advance(10);
        report(&mut peer, 9, &[]);
        match new {
            true => assert_eq!(segments(&mut peer), [(Data, 10, 1)]),
            false => peer.quiet(),
        }
        report(&mut peer, 10 + u32::from(new), &[]);
        assert_eq!(peer.conn.unacked(), 0);
        assert_eq!(peer.conn.mode(), Mode::Open);
    }
}

/// RFC 5682 section 3.1: after a timeout that was too early, originals arrive; the window is restored.
#[test]
fn frto__a_spurious_timeout_is_undone() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    peer.write(5000);
    let (cwnd, ssthresh) = (peer.conn.cwnd(), peer.conn.ssthresh());
    // The probe, then the timeout: both too early.
    let _ = peer.expire();
    let _ = peer.sent();
    let _ = peer.expire();
    assert_eq!(peer.conn.mode(), Mode::Loss);
    assert_eq!(segments(&mut peer), [(Retransmission, 0, 1)]);
    // The first acknowledgment: new data goes, as a test.
    peer.advance(100);
    report(&mut peer, 1, &[]);
    let new = segments(&mut peer);
    assert!(
        !new.is_empty() && new.iter().all(|sent| sent.0 == Data),
        "{new:?}"
    );
    // The second acknowledges something that was never sent again.
    report(&mut peer, 2, &[]);
    assert_eq!(peer.conn.mode(), Mode::Open);
    assert!(peer.conn.cwnd() >= cwnd, "{}", peer.conn.cwnd());
    assert_eq!(peer.conn.ssthresh(), ssthresh);
    assert_eq!(peer.conn.retransmits(), 0);
    assert!(segments(&mut peer).iter().all(|sent| sent.0 == Data));
}

/// And one that was in time: reports of the new data alone show that the rest is lost.
#[test]
fn frto__a_true_timeout_is_repaired() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    peer.write(5000);
    let _ = peer.expire();
    let _ = peer.sent();
    let _ = peer.expire();
    let _ = peer.sent();
    peer.advance(100);
    report(&mut peer, 1, &[]);
    let new = segments(&mut peer);
    assert!(new.iter().all(|sent| sent.0 == Data), "{new:?}");
    let first = new.first().unwrap().1;
    peer.advance(100);
    report(&mut peer, 1, &[(first, first + 1)]);
    let again = segments(&mut peer);
    assert_eq!(again.first().map(|s| (s.0, s.1)), Some((Retransmission, 1)));
    assert!(peer.conn.in_recovery());
}

/// RFC 5682 is for originals that are late. Behind a window that the peer has taken back there are none after another timeout: what it had no
/// room for is repaired (Linux does not count such timeouts, and so tries F-RTO with the first alone).
#[test]
fn frto__not_behind_a_window_that_stays_shut() {
    for shut in [false, true] {
        let mut peer = connected(true, false);
        ten(&mut peer);
        peer.write(5000);
        if shut {
            peer.window = 0;
            report(&mut peer, 0, &[]);
        }
        for _ in 0..3 {
            let _ = peer.expire();
            let _ = peer.sent();
        }
        assert_eq!(peer.conn.mode(), Mode::Loss);
        peer.window = 60_000;
        peer.advance(100);
        report(&mut peer, 1, &[]);
        let kind = match shut {
            false => Data,
            true => Retransmission,
        };
        assert_eq!(
            segments(&mut peer).first().map(|sent| sent.0),
            Some(kind),
            "{shut}"
        );
    }
}

/// While new data is the test, TCP_NODELAY lets go what is corked, and nothing that is lost: the window is full.
#[test]
fn frto__what_the_user_pushes_is_no_copy() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    peer.write(5000);
    for _ in 0..2 {
        let _ = peer.expire();
        let _ = peer.sent();
    }
    peer.advance(100);
    report(&mut peer, 1, &[]);
    let new = segments(&mut peer);
    assert!(new.iter().all(|sent| sent.0 == Data), "{new:?}");
    assert!(peer.conn.not_sent() > 0);
    peer.conn.set_cork(true);
    peer.quiet();
    peer.conn.set_nodelay(true);
    peer.quiet();
}

/// A timeout while the queues below are full, and an acknowledgment before they have drained: nothing is sent in any case any
/// more, neither the oldest segment nor a tail that is corked.
#[test]
fn timeout__what_it_forces_ends_with_progress() {
    for (sack, ack, blocks) in [(true, 0, &[(3, 4)][..]), (false, 10, &[])] {
        let mut peer = connected(sack, false);
        ten(&mut peer);
        peer.conn.set_cork(true);
        peer.write(300);
        peer.quiet();
        while peer.conn.mode() != Mode::Loss {
            peer.expire();
        }
        report(&mut peer, ack, blocks);
        let sent = peer.sent_short();
        let small = sent
            .iter()
            .any(|(kind, _, len)| *kind == Data && *len < 1000);
        assert!(!small, "{sent:?}");
    }
}

/// With much patience, data is in flight for longer than half the circle of microseconds. What was sent then and arrives now says
/// nothing of the copies that are sent now: each goes once, and then the timeout decides.
#[test]
fn rack__a_report_of_half_an_hour_ago_tells_nothing() {
    for minutes in [20, 36, 45, 60, 72, 80] {
        let mut peer = connected(true, false);
        let options = SocketOptions {
            user_timeout: core::num::NonZeroU32::new(u32::MAX),
            nodelay: true,
            ..SocketOptions::default()
        };
        let cx = Context::new(peer.now, &peer.config);
        peer.conn.set_options(&cx, options);
        ten(&mut peer);
        peer.advance(100);
        report(&mut peer, 0, &[(3, 4)]);
        let _ = peer.sent();
        let start = peer.now;
        while peer.now.since(start).as_secs() < minutes * 60 {
            peer.expire();
            let _ = peer.sent();
        }
        peer.advance(100);
        // Something that was sent at the beginning has arrived; and then copies, one by one.
        report(&mut peer, 1, &[(3, 4), (9, 10)]);
        let mut copies = segments(&mut peer);
        for ack in [2, 4] {
            peer.advance(100);
            report(&mut peer, ack, &[(3, 4), (9, 10)]);
            copies.extend(segments(&mut peer));
        }
        assert!(copies.contains(&(Retransmission, 7, 1)), "{copies:?}");
        // The others are not heard of.
        for _ in 0..20 {
            if peer.conn.timer().map(|(kind, _)| kind) == Some(TimerKind::Retransmit) {
                break;
            }
            peer.expire();
            copies.extend(segments(&mut peer));
        }
        let mut once = copies.clone();
        once.sort_by_key(|(_, segment, _)| *segment);
        once.dedup();
        assert_eq!(once.len(), copies.len(), "{minutes} minutes: {copies:?}");
    }
}

/// RFC 3522 section 3.2: the acknowledgment echoes a timestamp older than the copy, so the original arrived. RFC 4015 section 3.2: the
/// window is restored.
#[test]
fn eifel__an_early_copy_is_undone_by_the_timestamp() {
    for sack in [true, false] {
        let mut peer = connected(sack, true);
        peer.limit = BurstLimit(20_000);
        peer.write(10 * 988);
        let val = peer.next().header.options.timestamps.unwrap().val;
        assert_eq!(peer.sent().len(), 1);
        peer.limit = BurstLimit(0);
        let cwnd = peer.conn.cwnd();
        peer.advance(100);
        let at = |n: u32| AT + n * 988;
        for n in 2..=4 {
            match sack {
                true => peer.report(at(0), &[(at(1), at(n))], Some(val)),
                false => peer.report(at(0), &[], Some(val)),
            }
        }
        assert_eq!(peer.conn.mode(), Mode::Recovery, "SACK {sack}");
        assert_eq!(peer.sent_short(), [(Retransmission, at(0), 988)]);
        assert!(peer.conn.ssthresh() < cwnd);
        // Late, not lost.
        peer.advance(5);
        peer.report(at(10), &[], Some(val));
        assert!(peer.conn.cwnd() >= cwnd, "SACK {sack}");
        assert!(peer.conn.ssthresh() >= cwnd, "SACK {sack}");
        if sack {
            assert_eq!(peer.conn.mode(), Mode::Open);
        }
    }
}

/// Acknowledged are originals, by their timestamps (RFC 3522 section 3.2), so what seemed lost is late. That what was sent with them has
/// overtaken them proves no loss any more; what is sent from then on, and overtakes them, does (RFC 8985 section 6.2 step 5).
#[test]
fn undo__what_was_late_is_not_lost_again_at_once() {
    let mut peer = connected(true, true);
    let at = |n: u32| AT + n * 988;
    peer.write(10 * 988);
    let val = peer.next().header.options.timestamps.unwrap().val;
    assert_eq!(peer.sent().len(), 9);
    let (cwnd, ssthresh) = (peer.conn.cwnd(), peer.conn.ssthresh());
    peer.advance(100);
    peer.report(at(0), &[(at(7), at(10))], Some(val));
    assert_eq!(peer.conn.mode(), Mode::Recovery);
    let again = peer.sent_short();
    assert!(!again.is_empty() && again.iter().all(|sent| sent.0 == Retransmission));
    let copies = again.iter().map(|sent| sent.2).sum::<u32>() / 988;
    // What the copies were of arrives, and then the rest, late.
    for late in copies..6 {
        peer.advance(5);
        peer.report(at(late), &[(at(7), at(10))], Some(val));
        peer.quiet();
        assert_eq!(peer.conn.mode(), Mode::Disorder, "{late}");
        assert!(peer.conn.cwnd() >= cwnd);
        assert_eq!(peer.conn.ssthresh(), ssthresh);
    }
    // The seventh is lost.
    peer.write(988);
    assert_eq!(peer.sent_short(), [(Data, at(10), 988)]);
    peer.advance(5);
    peer.report(at(6), &[(at(7), at(10))], Some(val));
    peer.quiet();
    peer.advance(95);
    peer.report(at(6), &[(at(7), at(11))], Some(val));
    assert_eq!(peer.sent_short()[..1], [(Retransmission, at(6), 988)]);
    assert_eq!(peer.conn.mode(), Mode::Recovery);
}

/// RFC 3708: all that was sent again is reported as a duplicate, even after the repair is over.
#[test]
fn dsack__undoes_a_needless_repair() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    let cwnd = peer.conn.cwnd();
    peer.advance(100);
    report(&mut peer, 0, &[(1, 4)]);
    assert_eq!(segments(&mut peer), [(Retransmission, 0, 1)]);
    peer.advance(5);
    report(&mut peer, 10, &[]);
    assert_eq!(peer.conn.mode(), Mode::Open);
    assert!(peer.conn.cwnd() < cwnd && peer.conn.ssthresh() < cwnd);
    assert!(peer.flight.is_some(), "a D-SACK may follow");
    peer.advance(95);
    report(&mut peer, 10, &[(0, 1)]);
    assert!(peer.conn.cwnd() >= cwnd);
    assert!(peer.conn.ssthresh() >= cwnd);
    // Nothing is left to remember.
    peer.quiet();
    assert!(peer.flight.is_none());
}

/// Without a D-SACK the chance passes with what is sent and acknowledged afterwards.
#[test]
fn undo__is_forgotten_with_the_next_window() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    peer.advance(100);
    report(&mut peer, 0, &[(1, 4)]);
    let _ = peer.sent();
    peer.advance(100);
    report(&mut peer, 10, &[]);
    peer.quiet();
    assert!(peer.flight.is_some());
    peer.write(1000);
    let _ = peer.sent();
    peer.advance(100);
    report(&mut peer, 11, &[]);
    peer.quiet();
    assert!(peer.flight.is_none());
    let cwnd = peer.conn.cwnd();
    report(&mut peer, 11, &[(0, 1)]);
    assert_eq!(peer.conn.cwnd(), cwnd);
}

/// RFC 2018 section 8: the peer has thrown away what it had reported. It gets half a round trip to acknowledge it after all,
/// then everything is sent again.
#[test]
fn reneging__is_noticed_and_survived() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    peer.advance(100);
    report(&mut peer, 0, &[(5, 10)]);
    let _ = peer.sent();
    peer.advance(100);
    // The hole is filled, and what was beyond is gone.
    report(&mut peer, 5, &[]);
    let waited = peer.expire();
    assert!((10..=100).contains(&waited), "{waited}");
    assert_eq!(peer.conn.mode(), Mode::Loss);
    assert_eq!(peer.flight.as_ref().unwrap().reported(), 0);
    let mut ack = 5;
    while ack < 10 {
        let again = segments(&mut peer);
        assert!(again.iter().all(|sent| sent.0 == Retransmission));
        assert_eq!(again.first().map(|sent| sent.1), Some(ack), "{again:?}");
        ack += again.iter().map(|sent| sent.2).sum::<u32>();
        peer.advance(100);
        report(&mut peer, ack, &[]);
    }
    peer.quiet();
    assert_eq!(peer.conn.unacked(), 0);
    assert_eq!(peer.conn.poll_timeout(), None);
}

/// RFC 9937 section 6: in the course of a recovery the window comes down to ssthresh, not below and not beyond.
#[test]
fn prr__ends_at_ssthresh() {
    let mut peer = connected(true, false);
    peer.write(40_000);
    assert_eq!(peer.sent().len(), 10);
    peer.advance(100);
    report(&mut peer, 0, &[(1, 4)]);
    let mut sent = segments(&mut peer);
    for behind in 5..=10 {
        report(&mut peer, 0, &[(1, behind)]);
        sent.extend(segments(&mut peer));
    }
    // Nine arrived; of ten in flight five are to be left.
    assert_eq!(sent.first(), Some(&(Retransmission, 0, 1)));
    assert_eq!(sent.len(), 5, "{sent:?}");
    let flight = peer.flight.as_ref();
    assert_eq!(peer.conn.in_network(flight), 5000);
    peer.advance(100);
    report(&mut peer, 10, &[]);
    assert_eq!(peer.conn.mode(), Mode::Open);
    assert!(peer.conn.cwnd() <= 6000, "{}", peer.conn.cwnd());
    assert_eq!(peer.conn.ssthresh(), 5000);
}

/// The caller takes the memory away in the midst of a repair: the timeout repairs what is left.
#[test]
fn memory__taken_away() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    peer.advance(100);
    report(&mut peer, 0, &[(5, 10)]);
    assert!(!segments(&mut peer).is_empty());
    peer.flight = None;
    peer.advance(100);
    report(&mut peer, 2, &[]);
    let mut ack = 2;
    let mut timeouts = 0;
    while ack < 10 {
        if peer.conn.unacked() != 0 && segments(&mut peer).is_empty() {
            let _ = peer.expire();
            timeouts += 1;
            assert!(timeouts < 20);
        }
        ack += 1;
        report(&mut peer, ack, &[]);
    }
    peer.quiet();
    assert_eq!(peer.conn.unacked(), 0);
    assert_eq!(peer.conn.mode(), Mode::Open);
}

/// The flight is there while there are three bursts or more, and no longer.
#[test]
fn memory__exists_while_it_is_needed() {
    let mut peer = connected(true, false);
    for n in 1..=5 {
        peer.write(1000);
        let _ = peer.sent();
        peer.advance(10);
        assert_eq!(peer.flight.is_some(), n > 2, "{n}");
    }
    report(&mut peer, 4, &[]);
    peer.quiet();
    assert!(peer.flight.is_some());
    report(&mut peer, 5, &[]);
    peer.quiet();
    assert!(peer.flight.is_none());
}

/// RFC 8985 section 6.3: a timeout gives up what was sent a round trip ago, and not what was sent just now.
#[test]
fn timeout__leaves_what_was_sent_just_now() {
    let mut peer = connected(true, false);
    ten(&mut peer);
    peer.advance(100);
    // All but the first two have arrived: the round trip is known.
    report(&mut peer, 0, &[(2, 10)]);
    assert_eq!(peer.conn.mode(), Mode::Recovery);
    let _ = peer.sent();
    assert_eq!(peer.conn.timer().unwrap().0, TimerKind::Retransmit);
    let at = peer.conn.timer_of(TimerKind::Retransmit).unwrap();
    peer.now = at - crate::time::Duration::from_millis(50);
    peer.write(1000);
    assert_eq!(segments(&mut peer), [(Data, 10, 1)]);
    let _ = peer.expire();
    assert_eq!(peer.conn.mode(), Mode::Loss);
    // The copies are lost; the new segment is on its way still.
    assert_eq!(peer.flight.as_ref().unwrap().lost(), 2000);
    assert_eq!(segments(&mut peer), [(Retransmission, 0, 1)]);
}

/// RFC 5682 section 2.1 step 2b, without SACK: the first acknowledgment after a timeout lets new data go, the small end of it as well
/// (Linux's `tcp_xmit_recovery`), and no copy beside it: the next acknowledgment tells.
#[test]
fn frto__new_data_goes_and_no_copy_beside_it() {
    let mut peer = established();
    peer.write(4000);
    let _ = peer.sent();
    let _ = peer.expire();
    let copy = peer.next();
    assert_eq!((copy.payload.start, copy.payload.len), (ISS.add(1), 1000));
    peer.quiet();
    peer.write(300);
    peer.quiet();
    peer.ack(1000);
    let new = peer.next();
    assert_eq!((new.payload.start, new.payload.len), (ISS.add(4001), 300));
    peer.quiet();
    // Something that was sent once has arrived: the timeout was spurious, nothing goes again.
    peer.ack(2000);
    peer.quiet();
}

/// RFC 8985 section 7.3: a probe of new data, though Nagle's algorithm would hold so little back (Linux's `tcp_send_loss_probe`).
#[test]
fn probe__of_new_data_is_not_delayed() {
    let offer = Offer {
        sack: true,
        ..Offer::default()
    };
    let mut peer = established_with(Config::default(), SocketOptions::default(), offer);
    peer.write(500);
    assert_eq!(peer.next().payload.len, 500);
    peer.write(100);
    peer.quiet();
    let _ = peer.expire();
    let probe = peer.next();
    assert_eq!(probe.kind, TransmitKind::LossProbeData);
    assert_eq!(
        (probe.payload.start, probe.payload.len),
        (ISS.add(501), 100)
    );
    peer.quiet();
}

/// RFC 3522 section 3.2: what answers a tail loss probe shows that a timeout behind it was needless; the probe is no repair.
#[test]
fn undo__of_a_timeout_behind_a_probe_that_arrived() {
    let offer = Offer {
        sack: true,
        stamps: true,
        ..Offer::default()
    };
    let mut peer = established_with(Config::default(), SocketOptions::default(), offer);
    let before = peer.conn.cwnd();
    peer.write(500);
    let _ = peer.next();
    let _ = peer.expire();
    let probe = peer.next();
    assert_eq!(probe.kind, LossProbe);
    for _ in 0..2 {
        let _ = peer.expire();
        assert_eq!(peer.next().kind, Retransmission);
    }
    assert!(peer.conn.cwnd() < before);
    let echo = probe.header.options.timestamps.unwrap().val;
    peer.advance(10);
    peer.report(500, &[], Some(echo));
    assert_eq!(peer.conn.cwnd(), before);
}
