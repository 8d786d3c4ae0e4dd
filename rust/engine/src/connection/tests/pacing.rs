// SPDX-License-Identifier: GPL-2.0

//! SO_MAX_PACING_RATE: data waits for its time, nothing else does.

use super::script::*;
use crate::connection::TimerKind;
use crate::context::{Config, SocketOptions};
use crate::time::Duration;
use crate::transmit::{BurstLimit, TransmitKind};
use crate::wire::Flags;
use TransmitKind::Ack;

fn peer(bytes: u64) -> Peer {
    let options = SocketOptions {
        nodelay: true,
        ..SocketOptions::default()
    };
    let mut peer = established_with(Config::default(), options, Offer::default());
    peer.limit = BurstLimit(65_536);
    peer.pace = Some(bytes);
    peer
}

/// Ten segments at 200,000 bytes a second: two at a time, 10 ms apart.
#[test]
fn data__leaves_at_the_rate() {
    let mut peer = peer(200_000);
    peer.write(10_000);
    let start = peer.now;
    let mut sent = std::vec::Vec::new();
    loop {
        for burst in peer.sent() {
            assert_eq!(burst.payload.len, 2000);
            sent.push(peer.now.since(start).as_millis());
        }
        if sent.len() == 5 {
            break;
        }
        assert!(peer.expire() <= 10);
    }
    // The first gap is shorter: before it nothing was sent for long.
    assert_eq!(sent, [0, 5, 15, 25, 35]);
    // Nothing waits any more: the next deadline is the retransmission timer's.
    let next = peer.conn.poll_timeout().unwrap();
    assert!(next.since(peer.now) > Duration::from_millis(100));
}

#[test]
fn acknowledgments__do_not_wait() {
    let mut peer = peer(2_000);
    peer.write(10_000);
    assert_eq!(peer.sent().len(), 1);
    let _ = peer.data(0, 1000, 0, Flags::NONE);
    let _ = peer.data(1000, 1000, 0, Flags::NONE);
    let sent = peer.sent();
    assert!(
        !sent.is_empty() && sent.iter().all(|t| t.kind == Ack),
        "{sent:?}"
    );
}

/// The bound goes away, or comes, in the middle.
#[test]
fn rate__changes_under_way() {
    let mut peer = peer(20_000);
    peer.write(10_000);
    assert_eq!(peer.sent().len(), 1);
    peer.pace = None;
    peer.write(1);
    assert_eq!(peer.sent().iter().map(|t| t.payload.len).sum::<u32>(), 8000);
}

/// What the retransmission timer asks for goes at once, however slow the rate.
#[test]
fn timeout__does_not_wait() {
    let mut peer = peer(500);
    peer.write(10_000);
    assert_eq!(peer.sent().len(), 1);
    // Two segments are paid for after 4 s; the retransmission timer expires before that.
    let mut waited = 0;
    let again = loop {
        waited += peer.expire();
        if let [again] = peer.sent()[..] {
            break again;
        }
    };
    assert_eq!(again.kind, TransmitKind::Retransmission);
    assert!(waited <= 1_500, "{waited}");
}

/// The keepalive timer gives way to the pace, and comes back.
#[test]
fn keepalive__comes_back() {
    let mut peer = peer(200_000);
    let cx = crate::context::Context::new(peer.now, &peer.config);
    let options = SocketOptions {
        keepalive: true,
        ..SocketOptions::default()
    };
    peer.conn.set_options(&cx, options);
    assert!(peer.conn.timer_of(TimerKind::KeepAlive).is_some());
    peer.write(4000);
    assert_eq!(peer.sent().len(), 1);
    assert!(peer.conn.timer_of(TimerKind::KeepAlive).is_none());
    let _ = peer.expire();
    assert!(peer.conn.timer_of(TimerKind::KeepAlive).is_some());
    assert_eq!(peer.sent().len(), 1);
}
