// SPDX-License-Identifier: GPL-2.0

//! The congestion window, as it is used and as it is not (RFC 5681, RFC 6928, RFC 7661, RFC 2861).

use super::script::*;
use crate::congestion::Algorithm;
use crate::context::{Config, Context, SocketOptions};
use crate::transmit::BurstLimit;
use crate::wire::Flags;

fn bursts(config: Config) -> Peer {
    let mut peer = established_with(config, SocketOptions::default(), Offer::default());
    peer.limit = BurstLimit(65_536);
    peer
}

/// What is sent is counted, and `ack` acknowledged, 1000 bytes at a time.
fn windows(peer: &mut Peer, acks: impl IntoIterator<Item = u32>) -> std::vec::Vec<u32> {
    acks.into_iter()
        .map(|ack| {
            let _ = peer.sent();
            peer.advance(5);
            peer.ack(ack * 1000);
            peer.conn.cwnd() / 1000
        })
        .collect()
}

#[test]
fn app_limited__slow_start_comes_to_twice_what_is_used() {
    for (sent, expected) in [
        (10, [12, 14, 16, 18, 20]),
        (9, [12, 14, 16, 18, 18]),
        (6, [12, 12, 12, 12, 12]),
        (5, [10, 10, 10, 10, 10]),
    ] {
        let mut peer = bursts(Config::default());
        peer.write(sent * 1000);
        let acks = [2, 4, 6, 8, 10].map(|ack: u32| ack.min(sent));
        assert_eq!(windows(&mut peer, acks), expected, "{sent} segments");
    }
}

/// With as much to send as fits, every acknowledgment lets it grow, by all that it acknowledges (RFC 5681 section 3.1, without a bound).
#[test]
fn slow_start__doubles_per_round() {
    let mut peer = bursts(Config::default());
    peer.write(60_000);
    let windows = windows(&mut peer, (1..=10).chain([12, 14, 16, 18, 20, 30]));
    assert_eq!(
        windows,
        [11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 22, 24, 26, 28, 30, 40]
    );
}

#[test]
fn app_limited__a_window_without_use_comes_down() {
    for keep in [false, true] {
        let config = Config {
            slow_start_after_idle: !keep,
            congestion_control: Algorithm::NewReno,
            ..Config::default()
        };
        let mut peer = bursts(config);
        let mut at = 0;
        for _ in 0..3 {
            let cwnd = peer.conn.cwnd();
            peer.write(cwnd);
            at += cwnd;
            let _ = peer.sent();
            peer.advance(10);
            peer.ack(at);
        }
        let wide = peer.conn.cwnd();
        assert_eq!(wide, 80_000);
        // A segment every 20 ms, so never idle: after a retransmission timeout (210 ms) of it the window is halved towards
        // ten segments.
        let mut seen = std::vec![wide];
        for _ in 0..60 {
            peer.write(1000);
            let _ = peer.sent();
            peer.advance(20);
            at += 1000;
            peer.ack(at);
            if seen.last() != Some(&peer.conn.cwnd()) {
                seen.push(peer.conn.cwnd());
            }
        }
        match keep {
            true => assert_eq!(seen, [80_000]),
            // Used were the forty segments of the last full window, then one.
            false => assert_eq!(seen[..4], [80_000, 60_000, 35_000, 22_500]),
        }
    }
}

/// RFC 6928 section 2.
#[test]
fn initial__is_of_ten_segments() {
    let peer = bursts(Config::default());
    assert_eq!(peer.conn.cwnd(), 10_000);
    let peer = bursts(Config {
        initial_cwnd: 3,
        ..Config::default()
    });
    assert_eq!(peer.conn.cwnd(), 3_000);
}

/// TCP_CONGESTION before and during a connection, and the namespace's setting.
#[test]
fn algorithm__of_the_socket_or_of_the_namespace() {
    let reno = Config {
        congestion_control: Algorithm::NewReno,
        ..Config::default()
    };
    for (config, option, expected) in [
        (Config::default(), None, Algorithm::Cubic),
        (reno, None, Algorithm::NewReno),
        (reno, Some(Algorithm::Cubic), Algorithm::Cubic),
        (
            Config::default(),
            Some(Algorithm::NewReno),
            Algorithm::NewReno,
        ),
    ] {
        let options = SocketOptions {
            congestion_control: option,
            ..SocketOptions::default()
        };
        let peer = established_with(config, options, Offer::default());
        assert_eq!(peer.conn.algorithm(), Some(expected));
    }
    let mut peer = bursts(Config::default());
    peer.write(10_000);
    let _ = peer.sent();
    peer.ack(4000);
    let window = peer.conn.cwnd();
    let cx = Context::new(peer.now, &peer.config);
    let options = SocketOptions {
        congestion_control: Some(Algorithm::NewReno),
        ..SocketOptions::default()
    };
    peer.conn.set_options(&cx, options);
    assert_eq!(peer.conn.algorithm(), Some(Algorithm::NewReno));
    assert_eq!(peer.conn.cwnd(), window);
    // Another option says nothing about it.
    peer.conn.set_options(&cx, SocketOptions::default());
    assert_eq!(peer.conn.algorithm(), Some(Algorithm::NewReno));
}

/// RFC 5681 section 3.1: one segment after a lost SYN; here after the second.
#[test]
fn initial__after_lost_syns() {
    for (lost, cwnd) in [(0, 5360), (1, 5360), (2, 536), (3, 536)] {
        let mut peer = syn_sent();
        let _ = peer.next();
        for _ in 0..lost {
            let _ = peer.expire();
            let _ = peer.next();
        }
        let _ = peer.give(seg(Flags::SYN_ACK, IRS, ISS.add(1), 0));
        assert_eq!(peer.conn.cwnd(), cwnd, "{lost} lost");
    }
}
