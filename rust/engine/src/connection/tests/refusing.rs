// SPDX-License-Identifier: GPL-2.0

//! Segments that the layers below do not take.

use super::script::*;
use crate::congestion::Algorithm;
use crate::connection::{Event, State, TimerKind};
use crate::context::{Config, SocketOptions};
use crate::transmit::{BurstLimit, Refusal, Transmit, TransmitKind};
use crate::wire::Flags;
use core::num::NonZeroU32;
use Refusal::{Congested, Dropped, Failed, NoMemory};
use TransmitKind::{Ack, Data, Fin, KeepAlive, Probe, Retransmission};

pub(super) fn refuse(peer: &mut Peer, segment: &Transmit, sent: u32, why: Refusal) {
    let config = peer.config;
    let cx = crate::context::Context::new(peer.now, &config);
    peer.conn
        .on_refusal(&cx, segment, sent, why, &mut peer.flight);
}

/// A window of ten segments, of which two bursts are made: the second.
fn whole_window(peer: &mut Peer) -> Transmit {
    let first = peer.next();
    let second = peer.next();
    assert_eq!((first.payload.len, second.payload.len), (5000, 5000));
    second
}

/// Bursts, and half of the window after congestion: round numbers.
fn bursts() -> Peer {
    let config = Config {
        congestion_control: Algorithm::NewReno,
        ..Config::default()
    };
    let mut peer = established_with(config, SocketOptions::default(), Offer::default());
    peer.limit = BurstLimit(65_536);
    peer
}

#[test]
fn failed__nothing_was_sent_and_the_persist_timer_tries_again() {
    let mut peer = bursts();
    peer.write(3000);
    let burst = peer.next();
    refuse(&mut peer, &burst, 0, Failed);
    assert_eq!(peer.conn.unacked(), 0);
    assert_eq!(peer.conn.timer_of(TimerKind::Retransmit), None);
    assert!(peer.conn.timer_of(TimerKind::Persist).is_some());
    let cwnd = peer.conn.cwnd();
    // It tries with a growing back-off, and counts for nothing in the network.
    let mut before = 0;
    for _ in 0..4 {
        let waited = peer.expire();
        assert!(waited > before, "{waited}");
        before = waited;
        let again = peer.next();
        assert_eq!((again.kind, again.payload), (Data, burst.payload));
        refuse(&mut peer, &again, 0, Failed);
    }
    assert_eq!(peer.conn.cwnd(), cwnd);
    assert_eq!(peer.conn.total_retransmits(), 0);
    // Then the memory is back.
    let _ = peer.expire();
    assert_eq!(peer.sent_short(), [(Data, 0, 3000)]);
    assert!(peer.conn.timer_of(TimerKind::Retransmit).is_some());
    peer.ack(3000);
    assert_eq!(peer.conn.unacked(), 0);
    peer.quiet();
}

#[test]
fn failed__what_is_written_later_goes_at_once() {
    let mut peer = bursts();
    peer.write(1000);
    let first = peer.next();
    refuse(&mut peer, &first, 0, Failed);
    peer.write(1000);
    assert_eq!(peer.sent_short(), [(Data, 0, 2000)]);
}

#[test]
fn failed__the_rest_follows_with_the_acknowledgment() {
    let mut peer = bursts();
    peer.write(5000);
    let burst = peer.next();
    assert_eq!(burst.payload.len, 5000);
    refuse(&mut peer, &burst, 3000, Failed);
    assert_eq!(peer.conn.unacked(), 3000);
    assert!(peer.conn.timer_of(TimerKind::Retransmit).is_some());
    // An acknowledgment of what never left is invalid.
    peer.ack(5000);
    assert_eq!(peer.conn.snd_una(), ISS.add(1));
    peer.ack(3000);
    assert_eq!(peer.sent_short(), [(Data, 3000, 2000)]);
}

#[test]
fn failed__a_peer_that_is_never_reached_is_given_up() {
    let options = SocketOptions {
        user_timeout: NonZeroU32::new(10_000),
        ..SocketOptions::default()
    };
    for options in [SocketOptions::default(), options] {
        let mut peer = established_with(Config::default(), options, Offer::default());
        peer.write(100);
        let mut waited = 0;
        while let Some(segment) = peer.poll() {
            refuse(&mut peer, &segment, 0, Failed);
            waited += peer.expire();
        }
        assert!(peer.events().contains(Event::Error));
        match options.user_timeout {
            Some(_) => assert!((10_000..30_000).contains(&waited), "{waited}"),
            None => assert!(waited > 600_000, "{waited}"),
        }
    }
}

#[test]
fn failed__a_fin_is_not_sent() {
    let mut peer = bursts();
    peer.shutdown();
    let fin = peer.next();
    assert_eq!(fin.kind, Fin);
    refuse(&mut peer, &fin, 0, Failed);
    assert_eq!(peer.conn.unacked(), 0);
    let _ = peer.expire();
    assert_eq!(peer.next().kind, Fin);
    assert_eq!(peer.conn.unacked(), 1);
    // With data in front of it, which left.
    let mut peer = bursts();
    peer.write(1500);
    peer.shutdown();
    let burst = peer.next();
    assert!(burst.header.flags.contains(Flags::FIN));
    refuse(&mut peer, &burst, 1500, Failed);
    assert_eq!(peer.conn.unacked(), 1500);
    peer.ack(1500);
    let fin = peer.next();
    assert_eq!((fin.kind, fin.payload.len), (Fin, 0));
    peer.ack(1501);
    peer.quiet();
}

#[test]
fn dropped__reduces_the_window_once_for_what_is_in_flight() {
    let mut peer = bursts();
    peer.write(30_000);
    let burst = whole_window(&mut peer);
    refuse(&mut peer, &burst, 1000, Dropped);
    assert_eq!(peer.conn.cwnd(), 5000);
    assert_eq!(peer.conn.unacked(), 6000);
    peer.quiet();
    // The same flight again: no second time; and no growth until it is acknowledged.
    peer.ack(2000);
    let one = peer.next();
    assert_eq!(one.payload.len, 1000);
    refuse(&mut peer, &one, 0, Dropped);
    assert_eq!(peer.conn.cwnd(), 5000);
    peer.ack(5000);
    assert_eq!(peer.sent_short(), [(Data, 6000, 2000), (Data, 8000, 2000)]);
    peer.ack(6000);
    assert_eq!(peer.sent_short(), [(Data, 10_000, 1000)]);
    assert_eq!(peer.conn.cwnd(), 5000);
    peer.ack(11_000);
    assert_eq!(peer.sent().len(), 3);
    assert_eq!(peer.conn.unacked(), 5000);
    peer.ack(16_000);
    assert!(peer.conn.cwnd() > 5000);
    // The next flight's is a new one.
    let next = peer.next();
    let before = peer.conn.cwnd();
    refuse(&mut peer, &next, 1000, Dropped);
    assert!(peer.conn.cwnd() < before);
    assert_eq!(peer.conn.total_retransmits(), 0);
}

#[test]
fn dropped__with_nothing_in_flight_is_tried_every_500_ms() {
    let mut peer = bursts();
    peer.write(1000);
    let burst = peer.next();
    refuse(&mut peer, &burst, 0, Dropped);
    let _ = peer.expire();
    for _ in 0..5 {
        let again = peer.next();
        refuse(&mut peer, &again, 0, Dropped);
        assert_eq!(peer.expire(), 500);
    }
    assert_eq!(peer.sent_short(), [(Data, 0, 1000)]);
}

/// Or a program that writes often would never be tried for, nor given up.
#[test]
fn dropped__a_write_does_not_put_off_the_next_try() {
    let mut peer = bursts();
    peer.write(1000);
    let burst = peer.next();
    refuse(&mut peer, &burst, 0, Dropped);
    let _ = peer.expire();
    for _ in 0..5 {
        let again = peer.next();
        refuse(&mut peer, &again, 0, Dropped);
        for _ in 0..4 {
            peer.advance(100);
            peer.write(10);
            let written = peer.next();
            refuse(&mut peer, &written, 0, Dropped);
        }
        assert_eq!(peer.expire(), 100);
    }
    assert_eq!(peer.conn.probes(), 6);
}

#[test]
fn congested__it_has_left_and_the_window_is_reduced() {
    let mut peer = bursts();
    peer.write(30_000);
    let burst = whole_window(&mut peer);
    refuse(&mut peer, &burst, burst.payload.len, Congested);
    assert_eq!(peer.conn.unacked(), 10_000);
    assert_eq!(peer.conn.cwnd(), 5000);
    peer.quiet();
    peer.ack(10_000);
    assert_eq!(
        peer.sent_short(),
        [
            (Data, 10_000, 2000),
            (Data, 12_000, 2000),
            (Data, 14_000, 1000)
        ]
    );
}

#[test]
fn retransmission__goes_back_to_where_it_was() {
    let mut peer = bursts();
    peer.write(10_000);
    let _ = peer.sent();
    for _ in 0..3 {
        peer.ack(0);
    }
    let again = peer.next();
    assert_eq!((again.kind, again.payload.len), (Retransmission, 1000));
    let out = peer.conn.in_network(peer.flight.as_ref());
    refuse(&mut peer, &again, 0, Failed);
    assert_eq!(peer.conn.in_network(peer.flight.as_ref()), out - 1000);
    assert_eq!(peer.conn.unacked(), 10_000);
    // With the next acknowledgment.
    peer.ack(0);
    let once_more = peer.next();
    assert_eq!(
        (once_more.kind, once_more.payload),
        (Retransmission, again.payload)
    );
}

#[test]
fn retransmission__dropped_after_a_timeout_comes_again_in_500_ms() {
    let mut peer = bursts();
    peer.write(5000);
    let _ = peer.sent();
    for _ in 0..4 {
        let _ = peer.expire();
    }
    let again = peer.next();
    assert_eq!((again.kind, again.payload.len), (Retransmission, 1000));
    refuse(&mut peer, &again, 0, Dropped);
    assert_eq!(peer.expire(), 500);
    assert_eq!(peer.next().payload, again.payload);
}

#[test]
fn probes__dropped_come_again_in_500_ms() {
    let mut peer = bursts();
    peer.ack_window(0, 0);
    peer.write(1000);
    peer.quiet();
    for _ in 0..5 {
        let _ = peer.expire();
        let probe = peer.next();
        assert_eq!(probe.kind, Probe);
    }
    let _ = peer.expire();
    let probe = peer.next();
    refuse(&mut peer, &probe, 0, Dropped);
    assert_eq!(peer.expire(), 500);
    assert_eq!(peer.next().kind, Probe);

    let options = SocketOptions {
        keepalive: true,
        ..SocketOptions::default()
    };
    let mut peer = established_with(Config::default(), options, Offer::default());
    let config = peer.config;
    let cx = crate::context::Context::new(peer.now, &config);
    peer.conn.set_options(&cx, SocketOptions::default());
    peer.conn.set_options(&cx, options);
    let _ = peer.expire();
    let probe = peer.next();
    assert_eq!(probe.kind, KeepAlive);
    refuse(&mut peer, &probe, 0, Dropped);
    assert_eq!(peer.expire(), 500);
    assert_eq!(peer.next().kind, KeepAlive);
}

#[test]
fn ack__that_could_not_be_sent_comes_200_ms_later() {
    let mut peer = established();
    let _ = peer.data(0, 1000, 0, Flags::NONE);
    let _ = peer.data(1000, 1000, 0, Flags::NONE);
    let ack = peer.next();
    assert_eq!(ack.kind, Ack);
    refuse(&mut peer, &ack, 0, NoMemory);
    peer.quiet();
    assert_eq!(peer.expire(), 200);
    let again = peer.next();
    assert_eq!((again.kind, again.header.ack), (Ack, ack.header.ack));
    peer.quiet();
    // A filter is not asked again and again.
    let _ = peer.data(2000, 1000, 0, Flags::NONE);
    let _ = peer.data(3000, 1000, 0, Flags::NONE);
    let ack = peer.next();
    refuse(&mut peer, &ack, 0, Failed);
    peer.quiet();
    assert_eq!(peer.conn.timer_of(TimerKind::DelayedAck), None);
    // What carries an acknowledgment meanwhile does as well.
    let _ = peer.data(4000, 1000, 0, Flags::NONE);
    let _ = peer.data(5000, 1000, 0, Flags::NONE);
    let ack = peer.next();
    refuse(&mut peer, &ack, 0, NoMemory);
    peer.write(10);
    assert_eq!(peer.next().kind, Data);
    assert_eq!(peer.conn.timer_of(TimerKind::DelayedAck), None);
    peer.quiet();
}

#[test]
fn poll_without_data__leaves_data_and_gives_the_rest() {
    let mut peer = bursts();
    peer.write(2000);
    peer.shutdown();
    let _ = peer.data(0, 1000, 0, Flags::NONE);
    let _ = peer.data(1000, 1000, 0, Flags::NONE);
    let config = peer.config;
    let cx = crate::context::Context::new(peer.now, &config);
    assert!(peer.conn.may_send_data());
    let ack = peer.conn.poll_without_data(&cx).expect("the ACK");
    assert_eq!((ack.kind, ack.payload.len), (Ack, 0));
    assert!(peer.conn.poll_without_data(&cx).is_none());
    // What waited is still there.
    assert!(peer.conn.may_send_data());
    let burst = peer.next();
    assert_eq!((burst.kind, burst.payload.len), (Data, 2000));
    assert!(burst.header.flags.contains(Flags::FIN));
    peer.quiet();
    assert!(!peer.conn.may_send_data());
}

#[test]
fn pacing_rate__of_the_window_in_a_round_trip() {
    let mut peer = bursts();
    // The SYN took 10 ms: ten segments in 10 ms, twice that in slow start.
    let rate = peer.conn.pacing_rate();
    assert!((1_950_000..=2_050_000).contains(&rate), "{rate}");
    // Near the threshold the margin is smaller.
    peer.write(30_000);
    let burst = whole_window(&mut peer);
    refuse(&mut peer, &burst, burst.payload.len, Congested);
    let rate = peer.conn.pacing_rate();
    // The window is 5 segments, but ten are out.
    assert!((1_170_000..=1_230_000).contains(&rate), "{rate}");
}

/// A reset that answers an acknowledgment of what was never sent is not counted, whether it leaves or not.
#[test]
fn reset__that_did_not_leave_takes_nothing_from_the_counts() {
    let mut peer = in_state(State::SynReceived);
    let _ = peer.sent();
    let before = peer.conn.info(&peer.cx(), None).segs_out;
    let _ = peer.give(seg(Flags::ACK, IRS.add(1), ISS.add(5000), 0));
    let reset = peer.next();
    assert_eq!(reset.kind, TransmitKind::Reset);
    refuse(&mut peer, &reset, 0, Dropped);
    assert_eq!(peer.conn.info(&peer.cx(), None).segs_out, before);
}
