// SPDX-License-Identifier: GPL-2.0

//! Round trips, retransmission times, giving up, keepalive, user timeout.

use super::script::*;
use crate::connection::{Error, Event, State, TimerKind};
use crate::context::{Config, Context, SocketOptions};
use crate::flight::NoFlight;
use crate::time::Duration;
use crate::transmit::TransmitKind;
use crate::wire::{Flags, Timestamps};
use core::num::{NonZeroU16, NonZeroU32, NonZeroU8};
use std::vec::Vec;

fn with(options: SocketOptions) -> Peer {
    established_with(Config::default(), options, Offer::default())
}

/// RFC 6298 rules 5.1, 5.4, 5.5 and 5.6: the timer starts with the sending, and sends the oldest segment again; the timeout doubles.
#[test]
fn rto__doubles_up_to_its_bound() {
    let mut peer = established();
    // The handshake took 10 ms: 10 + max(20, 200).
    peer.write(1000);
    let _ = peer.sent();
    let mut waited = Vec::new();
    for _ in 0..12 {
        waited.push(peer.expire());
        assert_eq!(peer.sent().len(), 1);
    }
    assert_eq!(waited[..6], [210, 420, 840, 1680, 3360, 6720]);
    assert_eq!(waited[11], 120_000);
}

/// tcp_retries2: 15 retransmissions, 924.6 s by the calculation of ip-sysctl.rst. RFC 1122 section 4.2.3.5 (R2) and RFC 9293 section 3.8.3
/// have 100 s at least, RFC 9293 section 3.9.1.1 five minutes.
#[test]
fn rto__a_silent_peer_is_given_up() {
    let mut peer = established();
    peer.write(1000);
    let _ = peer.sent();
    let start = peer.now;
    while peer.conn.state() != State::Closed {
        peer.expire();
        let _ = peer.sent();
    }
    assert_eq!(peer.conn.error(), Some(Error::TimedOut));
    let seconds = peer.now.since(start).as_secs();
    assert!((924..1100).contains(&seconds), "{seconds}");
    assert!(peer.events().contains(Event::Error));
    assert_eq!(peer.conn.take_error(), Some(Error::TimedOut));
    assert_eq!(peer.conn.take_error(), None);
}

/// A timer runs whenever something is owed, and begins anew with progress (RFC 6298 rules 5.2 and 5.3).
#[test]
fn rto__restarts_with_progress() {
    let mut peer = established();
    peer.write(5000);
    let _ = peer.sent();
    peer.advance(150);
    peer.ack(1000);
    let _ = peer.sent();
    let at = peer.conn.timer_of(TimerKind::Retransmit).unwrap();
    assert!(at.since(peer.now) >= Duration::from_millis(200));
    peer.ack(5000);
    assert_eq!(peer.conn.timer_of(TimerKind::Retransmit), None);
}

/// Karn (RFC 6298 section 3): what was sent twice measures nothing; the timeout stays doubled until something does.
#[test]
fn rtt__karn() {
    let mut peer = established();
    let srtt = peer.conn.srtt();
    assert_eq!(srtt, Some(Duration::from_millis(10)));
    peer.write(1000);
    let _ = peer.sent();
    peer.expire();
    let _ = peer.sent();
    peer.advance(500);
    peer.ack(1000);
    assert_eq!(peer.conn.srtt(), srtt);
    assert_eq!(peer.conn.rto(&peer.config), Duration::from_millis(420));
    // A new segment, sent once.
    peer.write(1000);
    let _ = peer.sent();
    peer.advance(10);
    peer.ack(2000);
    assert_eq!(peer.conn.srtt(), srtt);
    assert!(peer.conn.rto(&peer.config) <= Duration::from_millis(210));
}

/// With timestamps a retransmission measures, too (RFC 7323 section 4).
#[test]
fn rtt__by_timestamps_after_a_retransmission() {
    let offer = Offer {
        stamps: true,
        ..Offer::default()
    };
    let mut peer = established_with(Config::default(), SocketOptions::default(), offer);
    peer.write(988);
    let _ = peer.sent();
    peer.expire();
    let again = peer.next();
    let val = again.header.options.timestamps.unwrap().val;
    peer.advance(50);
    let mut ack = seg(Flags::ACK, peer.conn.rcv_nxt(), ISS.add(989), 0);
    ack.header.options.timestamps = Some(Timestamps {
        val: 5001,
        ecr: val,
    });
    let _ = peer.give(ack);
    // 7/8 of 10 ms and 1/8 of 50 ms.
    assert_eq!(peer.conn.srtt(), Some(Duration::from_millis(15)));
    assert!(peer.conn.rto(&peer.config) < Duration::from_millis(420));
}

/// RFC 5482 section 3: so long may data stay unacknowledged, whatever the peer answers meanwhile.
#[test]
fn user_timeout__ends_a_connection_in_time() {
    let options = SocketOptions {
        user_timeout: NonZeroU32::new(5000),
        ..SocketOptions::default()
    };
    // Unanswered data.
    let mut peer = with(options);
    peer.write(1000);
    let _ = peer.sent();
    let start = peer.now;
    while peer.conn.state() != State::Closed {
        peer.expire();
        let _ = peer.sent();
    }
    assert_eq!(peer.now.since(start), Duration::from_millis(5000));
    assert_eq!(peer.conn.error(), Some(Error::TimedOut));
    // A window that stays closed, although the peer answers.
    let mut peer = with(options);
    peer.ack_window(0, 0);
    peer.write(1000);
    peer.quiet();
    let start = peer.now;
    while peer.conn.state() != State::Closed {
        peer.expire();
        if !peer.sent().is_empty() {
            peer.ack_window(0, 0);
        }
        let _ = peer.sent();
    }
    let waited = peer.now.since(start).as_millis();
    assert!((5000..=10_000).contains(&waited), "{waited}");
}

/// It bounds connect(), too, after one retransmission at least.
#[test]
fn user_timeout__ends_an_open_in_time() {
    for (user, expected) in [(5000, 5000), (500, 1001), (1_000_000, 131_000)] {
        let options = SocketOptions {
            user_timeout: NonZeroU32::new(user),
            ..SocketOptions::default()
        };
        let mut peer = syn_sent_with(Config::default(), options);
        let start = peer.now;
        while peer.conn.state() != State::Closed {
            let _ = peer.sent();
            peer.expire();
        }
        assert_eq!(peer.now.since(start).as_millis(), expected, "{user}");
        assert_eq!(peer.conn.error(), Some(Error::TimedOut));
    }
}

#[test]
fn persist__a_silent_peer_is_given_up() {
    let mut peer = established();
    peer.ack_window(0, 0);
    peer.write(1000);
    peer.quiet();
    let mut probes = 0;
    while peer.conn.state() != State::Closed {
        peer.expire();
        probes += peer.sent().len();
        assert!(probes < 100);
    }
    assert_eq!(probes, 15);
    assert_eq!(peer.conn.error(), Some(Error::TimedOut));
}

fn keepalive() -> SocketOptions {
    SocketOptions {
        keepalive: true,
        keepidle: NonZeroU16::new(60),
        keepintvl: NonZeroU16::new(10),
        keepcnt: NonZeroU8::new(3),
        ..SocketOptions::default()
    }
}

#[test]
fn keepalive__probes_and_gives_up() {
    for state in [State::Established, State::CloseWait, State::FinWait2] {
        let mut peer = with(keepalive());
        let mut since = peer.now;
        match state {
            State::CloseWait => {
                let _ = peer.data(0, 0, 0, Flags::FIN);
                // The keepalive timer runs already.
                peer.let_delayed_ack_go();
            }
            State::FinWait2 => {
                peer.shutdown();
                let _ = peer.sent();
                peer.ack(1);
            }
            _ => {}
        }
        let _ = peer.sent();
        assert_eq!(peer.conn.state(), state);
        let una = peer.conn.snd_una();
        let mut waited = Vec::new();
        for _ in 0..3 {
            peer.expire();
            waited.push(peer.now.since(since).as_millis());
            since = peer.now;
            let probe = peer.next();
            assert_eq!(probe.kind, TransmitKind::KeepAlive);
            // SEG.SEQ = SND.NXT - 1 (RFC 9293 section 3.8.4).
            assert_eq!((probe.header.seq, probe.payload.len), (una.sub(1), 0));
            peer.quiet();
        }
        assert_eq!(waited, [60_000, 10_000, 10_000], "{state:?}");
        peer.expire();
        assert_eq!(peer.conn.state(), State::Closed);
        assert_eq!(peer.conn.error(), Some(Error::TimedOut));
        assert_eq!(peer.next().kind, TransmitKind::Reset);
    }
}

#[test]
fn keepalive__an_answer_begins_it_anew() {
    let mut peer = with(keepalive());
    peer.expire();
    let _ = peer.next();
    peer.expire();
    let _ = peer.next();
    peer.ack(0);
    assert_eq!(peer.conn.probes(), 0);
    // The timer finds out that the peer was heard.
    peer.expire();
    peer.quiet();
    assert_eq!(peer.expire(), 50_000);
    assert_eq!(peer.next().kind, TransmitKind::KeepAlive);
}

#[test]
fn keepalive__is_switched() {
    let mut peer = established();
    assert_eq!(peer.conn.poll_timeout(), None);
    let cx = crate::context::Context::new(peer.now, &peer.config);
    peer.conn.set_options(&cx, keepalive());
    assert!(peer.conn.timer_of(TimerKind::KeepAlive).is_some());
    peer.conn.set_options(&cx, SocketOptions::default());
    assert_eq!(peer.conn.poll_timeout(), None);
}

/// While data is in flight the retransmission timer watches.
#[test]
fn keepalive__not_while_data_is_in_flight() {
    let mut peer = with(keepalive());
    peer.write(100);
    let _ = peer.sent();
    for _ in 0..12 {
        peer.expire();
        assert!(peer
            .sent()
            .iter()
            .all(|t| t.kind == TransmitKind::Retransmission));
    }
}

/// A peer probes us: every probe is answered (RFC 9293 section 3.8.4), in every state.
#[test]
fn keepalive__of_the_peer_is_answered() {
    for state in [
        State::Established,
        State::CloseWait,
        State::FinWait2,
        State::FinWait1,
    ] {
        let mut peer = in_state(state);
        for _ in 0..3 {
            peer.advance(1000);
            let seq = peer.conn.rcv_nxt().sub(1);
            let ack = peer.conn.snd_una();
            let _ = peer.give(seg(Flags::ACK, seq, ack, 0));
            let answer = peer.sent();
            assert_eq!(answer.len(), 1, "{state:?}");
            assert_eq!(answer[0].header.ack, peer.conn.rcv_nxt());
            assert_eq!(answer[0].header.seq, peer.conn.snd_nxt());
        }
    }
}

#[test]
fn on_timer__too_early_does_nothing() {
    for state in State::ALL {
        if state == State::Listen {
            continue;
        }
        let mut peer = in_state(state);
        let before = peer.conn.timer();
        let cx = peer.cx();
        let mut conn = peer.conn.clone();
        conn.on_timer(&cx, &mut NoFlight);
        assert_eq!(conn.timer(), before);
        assert_eq!(conn.state(), state);
        peer.conn = conn;
        peer.quiet();
    }
}

/// RFC 1122 section 4.2.3.9: what ICMP says is remembered as the reason of a timeout. RFC 9293 section 3.9.2.2 would have a hard error
/// end the connection.
#[test]
fn unreachable__does_not_end_an_established_connection() {
    for hard in [false, true] {
        let mut peer = established();
        peer.write(1000);
        let _ = peer.sent();
        let cx = Context::new(peer.now, &peer.config);
        peer.conn.on_unreachable(&cx, ISS.add(1), hard);
        assert_eq!(peer.conn.state(), State::Established);
        assert_eq!(peer.conn.error(), None);
        while peer.conn.state() != State::Closed {
            peer.expire();
            let _ = peer.sent();
        }
        assert_eq!(peer.conn.error(), Some(Error::Unreachable));
    }
}

/// RFC 9293 section 3.8.6.1: a peer that has just said what its window is need not be asked before another timeout is over (Linux's
/// `tcp_ack_probe`).
#[test]
fn persist__begins_anew_with_each_word_of_the_peer() {
    let mut peer = established();
    peer.ack_window(0, 0);
    peer.write(1000);
    peer.quiet();
    let left = |peer: &Peer| {
        peer.conn
            .poll_timeout()
            .unwrap()
            .since(peer.now)
            .as_millis()
    };
    let wait = left(&peer);
    for _ in 0..3 {
        peer.advance(wait - 1);
        assert_eq!(left(&peer), 1);
        peer.ack_window(0, 0);
        peer.quiet();
        assert_eq!(left(&peer), wait);
    }
    assert_eq!(peer.expire(), wait);
    assert_eq!(peer.next().kind, TransmitKind::Probe);
    // The back-off stays.
    assert_eq!(left(&peer), 2 * wait);
    peer.advance(wait);
    peer.ack_window(0, 0);
    peer.quiet();
    assert_eq!(left(&peer), 2 * wait);
}

/// RFC 9293 section 3.8.6.2.1: what the override timer lets go is all that the window takes, with PSH (Linux's `tcp_write_wakeup`).
#[test]
fn persist__a_part_of_a_segment_carries_psh() {
    let mut peer = established();
    peer.ack_window(0, 300);
    peer.write(1000);
    peer.quiet();
    let _ = peer.expire();
    let part = peer.next();
    assert_eq!(part.payload.len, 300);
    assert!(part.header.flags.contains(Flags::PSH));
    peer.quiet();
}

/// What the persist timer has let go is waited for by the retransmission timer, which backs off; the tail is not probed before (Linux's
/// `tcp_write_wakeup`).
#[test]
fn persist__what_it_lets_go_is_not_probed() {
    let offer = Offer {
        sack: true,
        ..Offer::default()
    };
    let mut peer = established_with(Config::default(), SocketOptions::default(), offer);
    peer.ack_window(0, 300);
    peer.write(1000);
    peer.quiet();
    let _ = peer.expire();
    assert_eq!(peer.next().payload.len, 300);
    let wait = peer.expire();
    assert_eq!(peer.next().kind, TransmitKind::Retransmission);
    assert_eq!(peer.expire(), 2 * wait);
    assert_eq!(peer.next().kind, TransmitKind::Retransmission);
}
