// SPDX-License-Identifier: GPL-2.0

//! The search for the path's MTU (RFC 4821).

use super::script::*;
use crate::connection::{Mode, TimerKind};
use crate::context::{Config, SocketOptions};
use crate::happening::Happening;
use crate::time::Duration;
use crate::transmit::Transmit;
use std::vec::Vec;

fn config(mtu_probing: u8) -> Config {
    Config {
        mtu_probing,
        base_mss: 400,
        initial_cwnd: 20,
        ..Config::default()
    }
}

/// A path that takes 1000 bytes, as far as anybody says, from the beginning of the search.
fn searching() -> Peer {
    let offer = Offer {
        sack: true,
        ..Offer::default()
    };
    established_with(config(2), SocketOptions::default(), offer)
}

fn lengths(sent: &[Transmit]) -> Vec<(u32, u32)> {
    sent.iter()
        .map(|t| (ISS.add(1).distance_to(t.header.seq), t.payload.len))
        .collect()
}

/// What the peer has beyond what it has acknowledged.
#[derive(Default)]
struct Got(Vec<(u32, u32)>);

/// Of what is sent all segments of up to `largest` bytes get through: the peer reports what it has. Returns the lengths.
fn carry(peer: &mut Peer, got: &mut Got, largest: u32) -> Vec<u32> {
    let sent = peer.sent();
    assert!(sent.iter().all(|t| u32::from(t.mss) >= t.payload.len));
    peer.advance(10);
    let mut ack = ISS.add(1).distance_to(peer.conn.first_unacked_byte());
    for (at, len) in lengths(&sent) {
        if len > largest {
            continue;
        }
        got.0.push((at, at + len));
        got.0.sort_unstable();
        got.0.retain(|(start, end)| {
            if *start <= ack {
                ack = ack.max(*end);
            }
            *start > ack
        });
        match got.0.is_empty() {
            true => peer.ack(ack),
            false => peer.report(ack, &[(at.max(ack), at.max(ack) + len)], None),
        }
    }
    sent.iter().map(|t| t.payload.len).collect()
}

/// RFC 4821 section 7.6.2, 7.6.1: what gets through is the new size; what does not is the bound.
#[test]
fn probe__finds_the_size_of_the_path() {
    for largest in [1000, 997, 900, 850, 700, 550, 401] {
        let (mut peer, mut got) = (searching(), Got::default());
        let cwnd = peer.conn.cwnd();
        let mut probes = 0;
        for _ in 0..200 {
            peer.write(20_000);
            let before = peer.conn.mss();
            let sent = carry(&mut peer, &mut got, largest);
            probes += sent.iter().filter(|len| **len > u32::from(before)).count();
        }
        let told = peer.counted();
        let sum = |what| told.iter().find(|told| told.0 == what).map_or(0, |t| t.1);
        let (failed, arrived) = (sum(Happening::TCPMTUPFail), sum(Happening::TCPMTUPSuccess));
        assert!(failed > 0 || largest > 900, "{largest}: {told:?}");
        assert!(arrived > 0 || largest < 500, "{largest}: {told:?}");
        assert_eq!((failed + arrived) as usize, probes, "{largest}: {told:?}");
        let mss = u32::from(peer.conn.mss());
        assert!(mss <= largest && mss + 8 > largest, "{mss} of {largest}");
        assert!(
            peer.conn.cwnd() + 10 * 1000 >= cwnd,
            "a loss that is a probe's costs no window"
        );
        assert!((6..=12).contains(&probes), "{probes}");
    }
}

/// One that is lost is sent again in smaller segments, and that alone.
#[test]
fn probe__its_loss_is_no_congestion() {
    let mut peer = searching();
    peer.write(20_000);
    let sent = lengths(&peer.sent());
    assert_eq!(sent[..3], [(0, 700), (700, 400), (1100, 400)]);
    let (cwnd, ssthresh) = (peer.conn.cwnd(), peer.conn.ssthresh());
    // Two segments in the window that it takes for itself.
    assert_eq!(cwnd, 20 * 400 - 400);
    peer.advance(10);
    for end in [1100, 1500, 1900] {
        peer.report(0, &[(700, end)], None);
    }
    peer.expire_all();
    if peer.conn.mode() == Mode::Disorder {
        peer.expire();
    }
    let again = lengths(&peer.sent());
    assert_eq!(again[..2], [(0, 400), (400, 300)]);
    assert!(peer.conn.cwnd() >= cwnd, "{}", peer.conn.cwnd());
    assert!(peer.conn.ssthresh() >= ssthresh.min(cwnd / 2));
}

/// Nor is it where the timer for reordering finds it (RFC 4821 section 7.6.1), which Linux takes for congestion.
#[test]
fn probe__its_loss_is_no_congestion_by_the_timer() {
    let mut peer = searching();
    peer.write(20_000);
    let _ = peer.sent();
    let (cwnd, ssthresh) = (peer.conn.cwnd(), peer.conn.ssthresh());
    peer.advance(10);
    peer.report(0, &[(700, 1100)], None);
    assert_eq!(
        peer.conn.timer().map(|(kind, _)| kind),
        Some(TimerKind::Reorder)
    );
    let _ = peer.sent();
    let _ = peer.expire();
    let again = lengths(&peer.sent());
    assert_eq!(again[..2], [(0, 400), (400, 300)]);
    assert!(peer.conn.cwnd() >= cwnd, "{}", peer.conn.cwnd());
    assert_eq!(peer.conn.ssthresh(), ssthresh);
    // It is known to be too large.
    peer.advance(10);
    peer.report(700, &[], None);
    assert!(lengths(&peer.sent()).iter().all(|(_, len)| *len <= 400));
}

/// RFC 4821 section 7.4: not without data enough, a window that shows its loss, and in peace.
#[test]
fn probe__conditions() {
    let largest_of = |peer: &mut Peer| lengths(&peer.sent()).iter().map(|(_, len)| *len).max();
    // 700 and four more of 400.
    for (len, probe) in [(2299, false), (2300, true)] {
        let mut peer = searching();
        peer.write(len);
        assert_eq!(largest_of(&mut peer), Some(if probe { 700 } else { 400 }));
    }
    // Not where a message ends in it; behind it, it may.
    for (end, probe) in [(699, false), (701, true)] {
        let mut peer = searching();
        peer.write_message(end);
        peer.write(5000);
        assert_eq!(lengths(&peer.sent())[0].1, if probe { 700 } else { 400 });
    }
    // The peer's window.
    let mut peer = searching();
    peer.ack_window(0, 2299);
    peer.write(5000);
    assert_eq!(largest_of(&mut peer), Some(400));
    // Ours.
    for (initial_cwnd, probe) in [(10, false), (11, true)] {
        let config = Config {
            initial_cwnd,
            ..config(2)
        };
        let mut peer = established_with(config, SocketOptions::default(), Offer::default());
        peer.write(5000);
        assert_eq!(largest_of(&mut peer), Some(if probe { 700 } else { 400 }));
    }
    // One at a time.
    let mut peer = searching();
    peer.write(7000);
    let sent = lengths(&peer.sent());
    assert_eq!(sent.iter().filter(|(_, len)| *len > 400).count(), 1);
    // And never where nobody wants it.
    for off in [0, 1] {
        let mut peer = established_with(config(off), SocketOptions::default(), Offer::default());
        peer.write(20_000);
        assert_eq!(largest_of(&mut peer), Some(1000));
    }
}

/// A timeout leaves it open.
#[test]
fn probe__a_timeout_tells_nothing() {
    let mut peer = searching();
    peer.write(3000);
    assert_eq!(lengths(&peer.sent())[0], (0, 700));
    while peer.conn.mode() != Mode::Loss {
        peer.expire();
        let _ = peer.sent();
    }
    peer.ack(3000);
    peer.write(3000);
    let _ = peer.sent();
    assert_eq!(peer.conn.mss(), 400);
}

/// RFC 4821 section 7.3: after ten minutes the path may be another one.
#[test]
fn probe__another_search() {
    let (mut peer, mut got) = (searching(), Got::default());
    let mut largest = 600;
    for minute in 0..30 {
        if minute == 5 {
            largest = 1000;
        }
        for _ in 0..60 {
            peer.write(20_000);
            let _ = carry(&mut peer, &mut got, largest);
        }
        let mss = peer.conn.mss();
        match minute {
            0..=9 => assert!((593..=600).contains(&mss), "{minute}: {mss}"),
            12.. => assert!((993..=1000).contains(&mss), "{minute}: {mss}"),
            _ => {}
        }
        peer.now += Duration::from_secs(60);
    }
}

/// RFC 4821 section 7.7: where nothing gets through for long, smaller segments are tried, and then ever smaller ones.
#[test]
fn black_hole__smaller_segments() {
    for on in [0, 1, 2] {
        let mut peer = established_with(config(on), SocketOptions::default(), Offer::default());
        peer.write(3000);
        let _ = peer.sent();
        let mut sizes = Vec::new();
        for _ in 0..9 {
            peer.expire();
            sizes.push(lengths(&peer.sent())[0].1);
        }
        match on {
            0 => assert_eq!(sizes, [1000; 9]),
            // The first within three seconds from the first retransmission.
            1 => {
                let small = sizes.iter().position(|size| *size < 1000).unwrap();
                assert_eq!(sizes[small..small + 5], [400, 200, 100, 50, 48]);
            }
            _ => {
                let small = sizes.iter().position(|size| *size < 400).unwrap();
                assert_eq!(sizes[small..small + 4], [200, 100, 50, 48]);
            }
        }
    }
}

/// What got through is where the search begins.
#[test]
fn black_hole__then_the_search() {
    let offer = Offer {
        sack: true,
        ..Offer::default()
    };
    let mut peer = established_with(config(1), SocketOptions::default(), offer);
    peer.write(3000);
    let _ = peer.sent();
    let mut at = 0;
    // The path takes 600 bytes.
    while at < 3000 {
        peer.expire();
        for (start, len) in lengths(&peer.sent()) {
            if start == at && len <= 600 {
                at += len;
                peer.ack(at);
            }
        }
    }
    assert_eq!(peer.conn.mss(), 400);
    let mut got = Got::default();
    for _ in 0..300 {
        peer.write(20_000);
        let _ = carry(&mut peer, &mut got, 600);
    }
    assert!(
        (593..=600).contains(&peer.conn.mss()),
        "{}",
        peer.conn.mss()
    );
}
