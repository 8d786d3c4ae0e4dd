// SPDX-License-Identifier: GPL-2.0
//! What is true of a connection whenever nothing moves, whatever has happened to it.

use oxtcp_engine::{Config, Connection, Context, Flight, Instant, Mode, SeqNum, State, TimerKind};

/// What may only move forward.
#[derive(Clone, Copy, Debug, Default)]
pub struct Watch {
    seen: Option<Seen>,
    may_shrink: bool,
}

#[derive(Clone, Copy, Debug)]
struct Seen {
    state: State,
    una: SeqNum,
    nxt: SeqNum,
    rcv_nxt: SeqNum,
    edge: SeqNum,
    resent: u32,
}

/// The timer that waits for the peer to acknowledge something.
pub fn acknowledgment_timer(conn: &Connection) -> Option<TimerKind> {
    [
        TimerKind::Retransmit,
        TimerKind::LossProbe,
        TimerKind::Reorder,
    ]
    .into_iter()
    .find(|kind| conn.timer_of(*kind).is_some())
}

impl Watch {
    /// Memory was refused: the window may be taken back.
    pub fn may_shrink(&mut self) {
        self.may_shrink = true;
    }

    pub fn check(&mut self, name: &str, conn: &Connection, flight: Option<&Flight>, now: Instant) {
        self.check_numbers_and_timers(name, conn, now);
        if conn.state() != State::Closed {
            check_flight(name, conn, flight);
        }
        check_info(name, conn, flight, now);
    }

    /// What was sent last did not leave, and counts as not sent: SND.NXT may be where it was before.
    pub fn on_refusal(&mut self, conn: &Connection) {
        if let Some(seen) = &mut self.seen {
            seen.nxt = SeqNum::min(seen.nxt, conn.snd_nxt());
        }
    }

    /// As [`check`](Watch::check), where the memory for what is in flight was taken away and the connection has not seen it.
    pub fn check_numbers_and_timers(&mut self, name: &str, conn: &Connection, now: Instant) {
        let state = conn.state();
        if matches!(state, State::Closed) {
            assert_eq!(
                conn.timer(),
                None,
                "{name}: a closed connection has no timer"
            );
            return;
        }
        let (una, nxt) = (conn.snd_una(), conn.snd_nxt());
        // RFC 9293 section 3.4: SND.UNA =< SND.NXT; beyond what is written there is our FIN at most.
        assert!(una.before_eq(nxt), "{name}: {conn:?}");
        assert!(nxt.before_eq(conn.write_seq().add(1)), "{name}: {conn:?}");
        let edge = conn.rcv_nxt().add(conn.rcv_wnd());
        if let Some(seen) = self.seen {
            assert!(
                seen.una.before_eq(una),
                "{name}: SND.UNA went back: {conn:?}"
            );
            assert!(
                seen.nxt.before_eq(nxt),
                "{name}: SND.NXT went back: {conn:?}"
            );
            if seen.state != State::SynSent {
                assert!(
                    seen.rcv_nxt.before_eq(conn.rcv_nxt()),
                    "{name}: RCV.NXT went back: {conn:?}"
                );
                // RFC 9293 section 3.8.6: "a receiver SHOULD NOT shrink the window".
                let ends = !conn.can_receive();
                let refused = core::mem::take(&mut self.may_shrink);
                assert!(
                    ends || refused || seen.edge.before_eq(edge),
                    "{name}: the window shrank: {conn:?}"
                );
            }
            assert!(
                seen.resent <= conn.total_retransmits()
                    || state == State::TimeWait
                    || state == State::FinWait2,
                "{name}: fewer retransmissions than before: {conn:?}"
            );
        }
        self.seen = Some(Seen {
            state,
            una,
            nxt,
            rcv_nxt: conn.rcv_nxt(),
            edge,
            resent: conn.total_retransmits(),
        });
        check_timers(name, conn, now);
    }
}

/// What TCP_INFO tells adds up.
fn check_info(name: &str, conn: &Connection, flight: Option<&Flight>, now: Instant) {
    let config = Config::default();
    let cx = Context::new(now, &config);
    let info = conn.info(&cx, flight);
    // The SYN and the FIN are no bytes.
    assert!(info.bytes_acked <= info.bytes_sent + 2, "{name}: {info:?}");
    assert!(info.bytes_retrans <= info.bytes_sent, "{name}: {info:?}");
    assert!(info.data_segs_out <= info.segs_out, "{name}: {info:?}");
    assert!(info.data_segs_in <= info.segs_in, "{name}: {info:?}");
    assert!(info.rcv_ooopack <= info.data_segs_in, "{name}: {info:?}");
    assert!(info.delivered <= info.data_segs_out + 1, "{name}: {info:?}");
    assert!(
        info.rwnd_limited + info.sndbuf_limited <= info.busy_time,
        "{name}: {info:?}"
    );
    assert!(
        info.total_rto_recoveries <= info.total_rto && info.sacked <= info.unacked,
        "{name}: {info:?}"
    );
}

/// Whoever owes or is owed something has a timer, and none is overdue.
fn check_timers(name: &str, conn: &Connection, now: Instant) {
    let state = conn.state();
    if let Some(at) = conn.poll_timeout() {
        assert!(
            at > now,
            "{name}: a deadline that has passed: {:?}",
            conn.timer()
        );
    }
    let sending = !matches!(state, State::TimeWait | State::FinWait2);
    let waits = acknowledgment_timer(conn).is_some();
    let persists = conn.timer_of(TimerKind::Persist).is_some();
    if sending && conn.unacked() > 0 {
        assert!(waits, "{name}: in flight and no timer: {conn:?}");
    } else if sending && conn.not_sent() > 0 && state != State::SynReceived {
        assert!(persists, "{name}: to be sent and no timer: {conn:?}");
    } else if sending && conn.unacked() == 0 {
        assert!(!waits, "{name}: nothing in flight and a timer: {conn:?}");
    }
    if state == State::TimeWait {
        assert!(conn.timer_of(TimerKind::TimeWait).is_some(), "{name}");
    }
}

/// What is known of the flight adds up.
fn check_flight(name: &str, conn: &Connection, flight: Option<&Flight>) {
    let unacked = conn.unacked();
    let Some(flight) = flight else {
        assert!(
            !matches!(conn.mode(), Mode::Disorder | Mode::Cwr | Mode::Recovery),
            "{name}: {:?} without a flight",
            conn.mode()
        );
        return;
    };
    let (reported, lost, again) = (flight.reported(), flight.lost(), flight.sent_again());
    assert!(
        reported.saturating_add(lost) <= unacked,
        "{name}: {reported} reported and {lost} lost of {unacked}: {conn:?}"
    );
    assert!(again <= unacked, "{name}: {again} of {unacked}: {conn:?}");
    let pipe = conn.in_network(Some(flight));
    assert_eq!(pipe, unacked - reported - lost + again, "{name}: {conn:?}");
    if lost > 0 {
        assert!(
            conn.in_recovery(),
            "{name}: {lost} lost, and {:?}: {conn:?}",
            conn.mode()
        );
    }
}
