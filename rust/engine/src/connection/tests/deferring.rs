// SPDX-License-Identifier: GPL-2.0

//! What could be sent waits for an acknowledgment that is due, as with Linux's `tcp_tso_should_defer`. The round trip is 10 ms, the
//! window ten segments.

use super::script::*;
use crate::congestion::Window;
use crate::connection::{Mode, TimerKind};
use crate::context::{Config, SocketOptions};
use crate::transmit::{BurstLimit, TransmitKind};
use TransmitKind::{Data, LossProbeData, Retransmission};

/// More is written than fits, and the window was sent a round trip ago.
fn full(limit: u32) -> Peer {
    let mut peer = established();
    peer.limit = BurstLimit(limit);
    peer.write(100_000);
    let sent: u32 = peer.sent().iter().map(|t| t.payload.len).sum();
    assert_eq!(sent, 10_000);
    peer.advance(10);
    peer
}

/// Eight of ten segments are in flight, the last of them just sent, and the first is to be acknowledged within a millisecond.
fn nearly_full() -> Peer {
    let mut peer = established();
    peer.limit = BurstLimit(65_536);
    peer.write(7000);
    assert_eq!(peer.sent().len(), 2);
    peer.advance(9);
    peer.write(1000);
    assert_eq!(peer.sent_short(), [(Data, 7000, 1000)]);
    peer
}

/// Whether the window counts as used up, which lets congestion avoidance enlarge it.
fn is_limited(peer: &Peer) -> bool {
    let avoidance = Window {
        cwnd: 10_000,
        ssthresh: 10_000,
    };
    let snd = peer.conn.phase.sender().unwrap();
    snd.usage.is_limited(&avoidance)
}

#[test]
fn pairs__wait_until_a_third_of_the_window_may_go() {
    let mut peer = full(65_536);
    // Nothing was sent for 10 ms.
    peer.ack(1000);
    assert_eq!(peer.sent_short(), [(Data, 10_000, 2000)]);
    // Two of twelve, four of thirteen, six of fourteen.
    peer.ack(2000);
    peer.quiet();
    peer.ack(3000);
    peer.quiet();
    peer.ack(4000);
    assert_eq!(peer.sent_short(), [(Data, 12_000, 6000)]);
}

#[test]
fn largest_burst__does_not_wait() {
    let mut peer = full(2000);
    peer.ack(1000);
    assert_eq!(peer.sent_short(), [(Data, 10_000, 2000)]);
    peer.ack(2000);
    assert_eq!(peer.sent_short(), [(Data, 12_000, 2000)]);
}

#[test]
fn after_a_millisecond_without_sending__nothing_waits() {
    let mut peer = full(65_536);
    peer.ack(1000);
    assert_eq!(peer.sent_short(), [(Data, 10_000, 2000)]);
    peer.advance(1);
    peer.ack(2000);
    peer.quiet();
    peer.advance(1);
    peer.ack(3000);
    assert_eq!(peer.sent_short(), [(Data, 12_000, 4000)]);
}

#[test]
fn acknowledgment_that_is_far__is_not_waited_for() {
    let mut peer = established();
    peer.limit = BurstLimit(65_536);
    peer.write(100_000);
    let _ = peer.sent();
    // Half a round trip early, and then at once again.
    peer.advance(5);
    peer.ack(1000);
    assert_eq!(peer.sent_short(), [(Data, 10_000, 2000)]);
    peer.ack(2000);
    assert_eq!(peer.sent_short(), [(Data, 12_000, 2000)]);
}

#[test]
fn window__counts_as_full() {
    let mut peer = nearly_full();
    assert!(!is_limited(&peer));
    peer.write(3000);
    peer.quiet();
    assert!(is_limited(&peer));
    peer.ack(8000);
    assert_eq!(peer.sent_short(), [(Data, 8000, 3000)]);
}

/// All of it would fit: that it waits is not the window's doing, and nothing can join what has an end.
#[test]
fn program__may_add_to_what_waits() {
    let mut peer = nearly_full();
    peer.write(1500);
    peer.quiet();
    assert!(!is_limited(&peer));
    peer.shutdown();
    assert_eq!(peer.sent_short(), [(Data, 8000, 1500)]);
    let mut peer = nearly_full();
    peer.write_message(1500);
    peer.write(10);
    assert_eq!(peer.sent_short(), [(Data, 8000, 1500)]);
}

#[test]
fn peers_window__is_what_it_waits_for() {
    let mut peer = established();
    peer.limit = BurstLimit(65_536);
    peer.ack_window(0, 9000);
    peer.write(7000);
    assert_eq!(peer.sent().len(), 2);
    peer.advance(9);
    peer.write(1000);
    assert_eq!(peer.sent().len(), 1);
    peer.write(3000);
    peer.quiet();
    assert!(!is_limited(&peer));
    peer.ack(8000);
    assert_eq!(peer.sent_short(), [(Data, 8000, 3000)]);
}

/// What it waits for is lost: the timers that run for what is in flight end the wait.
#[test]
fn lost_acknowledgment__is_not_waited_for_long() {
    let mut peer = nearly_full();
    peer.write(3000);
    peer.quiet();
    assert!(peer.conn.timer_of(TimerKind::Persist).is_none());
    let waited = peer.expire();
    assert!(waited <= 250, "{waited}");
    let sent = peer.sent_short();
    assert!(
        matches!(
            sent[..],
            [(Retransmission, 0, _), ..] | [(LossProbeData, 8000, _), ..]
        ),
        "{sent:?}"
    );
}

/// Recovery sends what it may, when it may: also a moment after it has sent something, and when the copy of what was lost is about to be
/// acknowledged.
#[test]
fn recovery__does_not_wait() {
    let offer = Offer {
        sack: true,
        ..Offer::default()
    };
    let mut peer = established_with(Config::default(), SocketOptions::default(), offer);
    peer.limit = BurstLimit(65_536);
    peer.write(300_000);
    // 40 segments in flight, so that a few of them are less than a third of the window.
    let mut acked = 0;
    for flight in [10_000, 20_000, 40_000] {
        let sent: u32 = peer.sent().iter().map(|t| t.payload.len).sum();
        assert_eq!(sent, flight);
        peer.advance(10);
        if flight < 40_000 {
            acked += sent;
            peer.ack(acked);
        }
    }
    peer.report(acked, &[(acked + 1000, acked + 4000)], None);
    assert_eq!(peer.conn.mode(), Mode::Recovery);
    assert_eq!(peer.sent()[0].kind, Retransmission);
    peer.advance(14);
    for end in [6000, 8000, 10_000, 12_000] {
        peer.report(acked, &[(acked + 1000, acked + end)], None);
        let sent = peer.sent_short();
        assert!(matches!(sent[..], [(Data, _, 1000 | 2000)]), "{sent:?}");
    }
}
