// SPDX-License-Identifier: GPL-2.0

//! FIN, half close, reset, orphans, TIME-WAIT (RFC 9293 sections 3.6 and 3.10.4, RFC 1122 section 4.2.2.13).

use super::script::*;
use crate::connection::{Error, Event, Payload, State, TimerKind};
use crate::context::{Config, Linger2, SocketOptions};
use crate::transmit::TransmitKind;
use crate::wire::Flags;

#[test]
fn shutdown__the_fin_goes_with_the_last_data() {
    let mut peer = established();
    peer.write(1500);
    peer.shutdown();
    assert!(!peer.conn.can_send());
    assert!(peer.conn.can_receive());
    let sent = peer.sent();
    assert_eq!(sent.len(), 2);
    assert_eq!(sent[0].header.flags, Flags::ACK);
    assert_eq!(
        sent[1].header.flags,
        Flags::ACK.union(Flags::PSH).union(Flags::FIN)
    );
    assert_eq!(peer.conn.snd_nxt(), ISS.add(1502));
    // Data without the FIN, then the FIN.
    peer.ack(1500);
    assert_eq!(peer.conn.state(), State::FinWait1);
    assert_eq!(peer.conn.first_unacked_byte(), ISS.add(1501));
    peer.ack(1501);
    assert_eq!(peer.conn.state(), State::FinWait2);
    assert_eq!(peer.conn.first_unacked_byte(), ISS.add(1501));
    assert_eq!(peer.conn.write_seq(), ISS.add(1501));
    // Half closed: no timer, data still comes.
    assert_eq!(peer.conn.poll_timeout(), None);
    assert_ne!(peer.data(0, 500, 1501, Flags::NONE), Payload::None);
    assert_eq!(peer.next().header.ack, IRS.add(501));
}

#[test]
fn write__after_shutdown_is_nothing() {
    let mut peer = in_state(State::FinWait1);
    peer.write(100);
    peer.quiet();
    assert_eq!(peer.conn.write_seq(), ISS.add(1));
}

#[test]
fn shutdown__twice_is_once() {
    for state in [
        State::FinWait1,
        State::FinWait2,
        State::Closing,
        State::LastAck,
        State::TimeWait,
    ] {
        let mut peer = in_state(state);
        peer.shutdown();
        assert_eq!(peer.conn.state(), state);
        peer.quiet();
    }
}

#[test]
fn fin__is_retransmitted_until_acknowledged() {
    for state in [State::FinWait1, State::Closing, State::LastAck] {
        let mut peer = in_state(state);
        for _ in 0..3 {
            peer.expire();
            let sent = peer.sent();
            assert_eq!(sent.len(), 1, "{state:?}");
            assert_eq!(sent[0].kind, TransmitKind::Retransmission);
            assert!(sent[0].header.flags.fin());
            assert_eq!(sent[0].header.seq, ISS.add(1));
        }
        peer.ack(1);
        let next = match state {
            State::FinWait1 => State::FinWait2,
            State::Closing => State::TimeWait,
            _ => State::Closed,
        };
        assert_eq!(peer.conn.state(), next);
        peer.quiet();
    }
}

#[test]
fn close__simultaneous() {
    let mut peer = in_state(State::FinWait1);
    let _ = peer.data(0, 0, 0, Flags::FIN);
    assert_eq!(peer.conn.state(), State::Closing);
    assert_eq!(peer.next().header.ack, IRS.add(2));
    peer.ack(1);
    assert_eq!(peer.conn.state(), State::TimeWait);
    assert!(peer.events().contains(Event::TimeWait));
    assert_eq!(peer.expire(), 60_000);
    assert_eq!(peer.conn.state(), State::Closed);
}

/// RFC 2525 section 2.17: data that nobody will read is answered with a reset.
#[test]
fn close__with_unread_data_resets() {
    for state in [
        State::Established,
        State::FinWait1,
        State::FinWait2,
        State::CloseWait,
    ] {
        let mut peer = in_state(state);
        peer.close(true);
        assert_eq!(peer.conn.state(), State::Closed);
        assert_eq!(peer.conn.error(), None);
        let sent = peer.sent();
        assert_eq!(sent.len(), 1, "{state:?}");
        assert_eq!(sent[0].kind, TransmitKind::Reset);
        assert_eq!(sent[0].header.flags, Flags::RST_ACK);
        assert_eq!(sent[0].header.seq, peer.conn.snd_nxt());
        assert_eq!(sent[0].header.ack, peer.conn.rcv_nxt());
    }
}

/// RFC 7323 section 3.2.
#[test]
fn abort__the_reset_has_timestamps() {
    let offer = Offer {
        stamps: true,
        ..Offer::default()
    };
    let mut peer = established_with(Config::default(), SocketOptions::default(), offer);
    let _ = peer.data(0, 100, 0, Flags::NONE);
    let acked = peer.next().header.options.timestamps.unwrap();
    peer.advance(1000);
    peer.close(true);
    let reset = peer.next();
    let stamps = reset.header.options.timestamps.unwrap();
    assert_eq!(reset.kind, TransmitKind::Reset);
    assert_eq!((stamps.val, stamps.ecr), (acked.val + 1000, acked.ecr));
    let mut peer = established();
    peer.close(true);
    assert_eq!(peer.next().header.options.timestamps, None);
}

/// RFC 9293 section 3.10.5.
#[test]
fn abort__resets_where_there_is_somebody_to_tell() {
    for state in State::ALL {
        if matches!(state, State::Listen | State::Closed) {
            continue;
        }
        let mut peer = in_state(state);
        let cx = crate::context::Context::new(peer.now, &peer.config);
        peer.conn.abort(&cx);
        assert_eq!(peer.conn.state(), State::Closed);
        assert_eq!(peer.conn.poll_timeout(), None);
        assert!(peer.events().contains(Event::Closed));
        let told = matches!(
            state,
            State::SynReceived
                | State::Established
                | State::FinWait1
                | State::FinWait2
                | State::CloseWait
        );
        assert_eq!(peer.sent().len(), usize::from(told), "{state:?}");
    }
}

/// Who ends a connection from outside (SOCK_DESTROY) leaves its user where he is.
#[test]
fn abort__leaves_the_user_who_may_still_ask() {
    let mut peer = established();
    let cx = crate::context::Context::new(peer.now, &peer.config);
    peer.conn.abort(&cx);
    assert!(!peer.conn.is_orphan());
    peer.conn.forsake();
    assert!(peer.conn.is_orphan());
    let mut peer = established();
    peer.close(true);
    assert!(peer.conn.is_orphan());
}

/// RFC 1122 section 4.2.2.13: data for a user who has gone.
#[test]
fn orphan__new_data_is_answered_with_a_reset() {
    for acked in [0, 1] {
        let mut peer = established();
        peer.close(false);
        let _ = peer.sent();
        peer.ack(acked);
        assert_eq!(peer.data(0, 10, acked, Flags::NONE), Payload::None);
        assert_eq!(peer.conn.state(), State::Closed);
        assert_eq!(peer.next().kind, TransmitKind::Reset);
        // And nothing after it.
        peer.quiet();
    }
    // A FIN behind data that has not come tells of it; one without does not.
    for missing in [0, 10] {
        let mut peer = established();
        peer.close(false);
        let _ = peer.sent();
        let _ = peer.data(missing, 0, 0, Flags::FIN);
        let closed = peer.conn.state() == State::Closed;
        assert_eq!(closed, missing != 0);
    }
    // Not by data that is old.
    let mut peer = established();
    let _ = peer.data(0, 10, 0, Flags::NONE);
    peer.close(false);
    let _ = peer.sent();
    let _ = peer.data(0, 10, 0, Flags::NONE);
    assert_eq!(peer.conn.state(), State::FinWait1);
}

/// RFC 9293 section 3.10.8 has no such timeout.
#[test]
fn orphan__fin_wait_2_ends() {
    let table = [
        (Linger2::Default, Some(60_000)),
        (
            Linger2::Seconds(core::num::NonZeroU8::new(7).unwrap()),
            Some(7000),
        ),
        (Linger2::Skip, None),
    ];
    for (linger2, millis) in table {
        // Closed before and after the FIN is acknowledged.
        for late in [false, true] {
            let options = SocketOptions {
                linger2,
                ..SocketOptions::default()
            };
            let mut peer = established_with(Config::default(), options, Offer::default());
            if late {
                peer.shutdown();
            } else {
                peer.close(false);
            }
            let _ = peer.sent();
            peer.ack(1);
            assert_eq!(
                peer.conn.poll_timeout().is_some(),
                !late && millis.is_some()
            );
            if late {
                peer.close(false);
            }
            match millis {
                Some(millis) => {
                    assert_eq!(peer.conn.state(), State::FinWait2);
                    assert_eq!(peer.expire(), millis);
                    assert_eq!(peer.conn.state(), State::Closed);
                    peer.quiet();
                }
                None => {
                    assert_eq!(peer.conn.state(), State::Closed);
                    assert_eq!(peer.next().kind, TransmitKind::Reset);
                }
            }
            assert_eq!(peer.conn.error(), None);
        }
    }
}

/// The small thing that may take the place of an orphan in FIN-WAIT-2.
#[test]
fn fin_wait_2__is_kept_without_a_user_only() {
    let mut peer = established();
    let _ = peer.data(0, 10, 0, Flags::NONE);
    peer.shutdown();
    let _ = peer.sent();
    peer.ack(1);
    assert_eq!(peer.conn.state(), State::FinWait2);
    assert!(peer.conn.fin_wait_2(&peer.cx()).is_none());
    peer.close(false);
    let (kept, until) = peer.conn.fin_wait_2(&peer.cx()).expect("an orphan");
    assert!(kept.awaits_fin());
    assert_eq!(kept.snd_nxt(), ISS.add(2));
    assert_eq!(kept.rcv_nxt(), IRS.add(11));
    assert_eq!(until.since(peer.now).as_millis(), 60_000);
    assert_eq!(Some(until), peer.conn.poll_timeout());
    assert!(peer.conn.time_wait(&peer.cx()).is_none());
    for state in State::ALL {
        if !matches!(state, State::Listen | State::Closed | State::FinWait2) {
            let mut peer = in_state(state);
            peer.close(false);
            let _ = peer.sent();
            assert!(peer.conn.fin_wait_2(&peer.cx()).is_none(), "{state:?}");
        }
    }
}

/// Who closes leaves no acknowledgment behind that only a timer would send.
#[test]
fn fin_wait_2__an_acknowledgment_held_back_goes_out() {
    let mut peer = established();
    peer.shutdown();
    let _ = peer.sent();
    peer.ack(1);
    // The first segments are acknowledged at once.
    let mut at = 0;
    while peer.conn.timer_of(TimerKind::DelayedAck).is_none() {
        let _ = peer.data(at, 500, 1, Flags::NONE);
        let _ = peer.sent();
        at += 500;
        assert!(at < 100_000, "no acknowledgment was ever held back");
    }
    peer.close(false);
    assert_eq!(peer.next().header.ack, IRS.add(at + 1));
    peer.quiet();
    let (kept, until) = peer.conn.fin_wait_2(&peer.cx()).expect("an orphan");
    assert_eq!(kept.rcv_nxt(), IRS.add(at + 1));
    assert_eq!(Some(until), peer.conn.poll_timeout());
}

/// `tcp_fin_time`: a slow path gets the time for a FIN that is sent again.
#[test]
fn fin_wait_2__lasts_for_some_timeouts_at_least() {
    let config = Config {
        fin_timeout: crate::time::Duration::from_secs(1),
        ..Config::default()
    };
    let options = SocketOptions::default();
    let mut peer = established_with(config, options, Offer::default());
    // A round trip of two seconds.
    peer.write(100);
    let _ = peer.sent();
    peer.advance(2000);
    peer.ack(100);
    let rto = peer.conn.rto(&peer.config).as_millis();
    peer.close(false);
    let _ = peer.sent();
    peer.ack(101);
    assert_eq!(peer.conn.state(), State::FinWait2);
    let (_, until) = peer.conn.fin_wait_2(&peer.cx()).expect("an orphan");
    let left = until.since(peer.now).as_millis();
    assert!(rto > 1000, "{rto}");
    assert!(left * 2 > rto * 5 && left < 60_000, "{left} of {rto}");
}

/// tcp_orphan_retries: 0 means 8, counted in time.
#[test]
fn orphan__a_silent_peer_is_given_up() {
    let mut peer = established();
    peer.write(100);
    peer.close(false);
    let _ = peer.sent();
    let start = peer.now;
    while peer.conn.state() != State::Closed {
        peer.expire();
        let _ = peer.sent();
    }
    let seconds = peer.now.since(start).as_secs();
    assert!((90..230).contains(&seconds), "{seconds}");
    assert!(peer.events().contains(Event::Closed));
}

/// A peer that answers every probe and never opens its window (sockstress): with a user it is waited for, without one it is
/// not, once the probes are as rare as they become.
#[test]
fn orphan__a_window_that_stays_shut_is_given_up() {
    for (orphan, retries) in [(true, 0), (true, 14), (false, 0)] {
        let mut peer = established();
        peer.config.orphan_retries = retries;
        peer.ack_window(0, 0);
        peer.write(100);
        if orphan {
            peer.close(false);
        }
        peer.quiet();
        let start = peer.now;
        while peer.conn.state() != State::Closed && peer.now.since(start).as_secs() < 7200 {
            peer.expire();
            let _ = peer.sent();
            if peer.conn.state() != State::Closed {
                peer.advance(1);
                peer.ack_window(0, 0);
            }
        }
        let seconds = peer.now.since(start).as_secs();
        match (orphan, retries) {
            (true, 0) => assert!((100..400).contains(&seconds), "{seconds}"),
            (true, _) => assert!((500..2000).contains(&seconds), "{seconds}"),
            (false, _) => assert!(seconds >= 7200, "{seconds}"),
        }
    }
}

#[test]
fn fin__waits_for_the_window() {
    let mut peer = established();
    peer.ack_window(0, 1000);
    peer.write(1000);
    peer.shutdown();
    // The data fills the window, the FIN does not fit.
    let sent = peer.sent();
    assert_eq!(sent.len(), 1);
    assert!(!sent[0].header.flags.fin());
    peer.ack_window(1000, 0);
    peer.quiet();
    assert!(peer.conn.timer_of(TimerKind::Persist).is_some());
    peer.expire();
    assert_eq!(peer.next().kind, TransmitKind::Probe);
    peer.ack_window(1000, 1);
    assert_eq!(peer.sent_short(), [(TransmitKind::Fin, 1000, 0)]);
    peer.ack(1001);
    assert_eq!(peer.conn.state(), State::FinWait2);
}

/// RFC 9293 section 3.6.1, with a minute for twice the MSL.
#[test]
fn time_wait__answers_and_begins_anew() {
    let mut peer = in_state(State::TimeWait);
    peer.advance(50_000);
    let at = peer.rcv() - 1;
    let _ = peer.data(at, 0, 1, Flags::FIN);
    assert_eq!(peer.next().kind, TransmitKind::Ack);
    assert_eq!(peer.expire(), 60_000);
    assert_eq!(peer.conn.state(), State::Closed);
    assert_eq!(peer.conn.error(), None::<Error>);
}

#[test]
fn last_ack__closed_knows_its_numbers() {
    let mut peer = in_state(State::LastAck);
    peer.ack(1);
    assert_eq!(peer.conn.state(), State::Closed);
    assert_eq!(peer.conn.first_unacked_byte(), ISS.add(1));
    assert_eq!(peer.conn.write_seq(), ISS.add(1));
    assert_eq!(peer.conn.rcv_nxt(), IRS.add(2));
    assert!(peer.events().contains(Event::Closed));
    peer.quiet();
}
