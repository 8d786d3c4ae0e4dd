// SPDX-License-Identifier: GPL-2.0

//! The receive buffer's size.

use super::script::*;
use crate::context::{Config, SocketOptions};
use crate::time::Duration;
use crate::wire::{Flags, Timestamps};

const LIMIT: u32 = 3_000_000;

/// A sender that fills the window in each round trip of `rtt` microseconds, and a user who reads `share` percent of what
/// comes. Returns the window offered after each.
fn transfer(stamps: bool, rtt: u64, share: u32, rounds: usize) -> std::vec::Vec<u32> {
    let offer = Offer {
        scale: Some(7),
        stamps,
        ..Offer::default()
    };
    let mut peer = established_with(Config::default(), SocketOptions::default(), offer);
    peer.memory.fixed = false;
    peer.memory.most = 2 * LIMIT;
    let mut at = 0u32;
    let mut windows = std::vec::Vec::new();
    for _ in 0..rounds {
        // The sender's clock: it echoes what we sent a round trip ago.
        let echo = peer.now.timestamp_ms(0);
        peer.now += Duration::from_micros(rtt);
        // Half a millisecond of sending, in eight bursts.
        let window = peer.conn.rcv_wnd();
        for _ in 0..8 {
            let mut segment = seg(Flags::ACK, IRS.add(1).add(at), ISS.add(1), window / 8);
            if stamps {
                segment.header.options.timestamps = Some(Timestamps {
                    val: 5000,
                    ecr: echo,
                });
            }
            let before = peer.rcv();
            let _ = peer.give(segment);
            let came = peer.rcv() - before;
            at += came;
            peer.consume((came * share / 100).min(peer.unread));
            let _ = peer.sent();
        }
        windows.push(peer.conn.rcv_wnd());
    }
    windows
}

#[test]
fn on_consumed__a_fast_reader_gets_a_larger_window() {
    for stamps in [true, false] {
        let windows = transfer(stamps, 100_000, 100, 12);
        // It doubles in every second round trip, at the least.
        assert!(windows[5] > 400_000, "{windows:?}");
        assert!(windows[11] > LIMIT * 9 / 10, "{windows:?}");
    }
}

#[test]
fn on_consumed__loopback() {
    // Less than a tick of the timestamps' clock: the window's worth is what is measured.
    let windows = transfer(true, 50, 100, 20);
    assert!(windows[19] > 1_000_000, "{windows:?}");
}

#[test]
fn on_consumed__a_slow_reader_gets_nothing() {
    let windows = transfer(true, 100_000, 40, 20);
    assert!(
        windows.iter().all(|&window| window <= 70_000),
        "{windows:?}"
    );
}

#[test]
fn on_consumed__where_nothing_comes() {
    for state in crate::connection::State::ALL {
        if state == crate::connection::State::Listen {
            continue;
        }
        let mut peer = in_state(state);
        peer.memory.fixed = false;
        let limit = peer.memory.limit;
        peer.unread = 1000;
        peer.memory.used = 2000;
        peer.consume(1000);
        assert_eq!(peer.memory.limit, limit);
    }
}
