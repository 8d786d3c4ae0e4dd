// SPDX-License-Identifier: GPL-2.0
//! The state table of RFC 9293 sections 3.10.1 to 3.10.8: what a segment, a call or a timer makes of each
//! state, and what is sent.
// Tests are named function__case, and may panic.
#![allow(
    non_snake_case,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod common;

use common::stand::{Stand, Way, RECV_SPACE};
use oxtcp_engine::wire::Flags;
use oxtcp_engine::{Duration, Error, Event, Segment, State, TimerKind, Transmit, TransmitKind};
use Ack::*;
use State::*;

/// What a segment acknowledges.
#[derive(Clone, Copy, Debug)]
enum Ack {
    /// All that we have sent.
    All,
    /// What the peer has acknowledged before.
    Old,
    /// One more than we have sent.
    Future,
    /// Something a million before.
    Ancient,
}

const SYN: Flags = Flags::SYN;
const ACK: Flags = Flags::ACK;
const FIN: Flags = Flags::FIN;
const RST: Flags = Flags::RST;
const NONE: Flags = Flags::NONE;
const FIN_ACK: Flags = Flags::FIN_ACK;
const SYN_ACK: Flags = Flags::SYN_ACK;
const RST_ACK: Flags = Flags::RST_ACK;
const SYN_FIN_ACK: Flags = Flags::SYN_ACK.union(Flags::FIN);

/// Beyond the right edge of the window.
const OUTSIDE: i32 = RECV_SPACE as i32 + 1000;

/// Flags, SEG.SEQ - RCV.NXT, SEG.ACK, payload; the state afterwards and what is sent.
type Row = (Flags, i32, Ack, u32, State, &'static str);

fn segment(stand: &Stand, row: &Row) -> Segment {
    let mut segment = stand.ack();
    let header = &mut segment.header;
    header.flags = row.0;
    header.seq = header.seq.add(row.1 as u32);
    header.ack = match row.2 {
        All => stand.conn.snd_nxt(),
        Old => stand.conn.snd_una(),
        Future => stand.conn.snd_nxt().add(1),
        Ancient => stand.conn.snd_una().sub(1_000_000),
    };
    if header.flags.syn() {
        header.options.mss = Some(1000);
    }
    segment.payload_len = row.3;
    segment
}

fn name(sent: &[Transmit]) -> String {
    let names: Vec<String> = sent
        .iter()
        .map(|transmit| match transmit.kind {
            TransmitKind::ChallengeAck => "challenge".to_string(),
            _ if transmit.payload.is_empty() => format!("{:?}", transmit.header.flags),
            _ => format!("{:?} {}", transmit.header.flags, transmit.payload.len),
        })
        .collect();
    names.join(" ")
}

fn check(way: Way, rows: &[Row]) {
    for row in rows {
        let mut stand = Stand::new(way, false, true);
        let segment = segment(&stand, row);
        let sent = stand.put(&segment);
        let mut answer = name(&sent);
        if answer.is_empty() && stand.conn.timer_of(TimerKind::DelayedAck).is_some() {
            answer = "ACK later".to_string();
        }
        let got = (stand.conn.state(), answer);
        assert_eq!(got, (row.4, row.5.to_string()), "{way:?} and {row:?}");
        // A reset says where its sender believes us to be, or repeats nothing that we know.
        for transmit in sent {
            let header = transmit.header;
            if header.flags == RST {
                assert_eq!(header.seq, segment.header.ack, "<SEQ=SEG.ACK>");
            } else if !header.flags.syn() && header.flags != RST_ACK {
                assert_eq!(header.ack, stand.conn.rcv_nxt());
            }
        }
    }
}

/// RFC 9293 section 3.10.7.3.
#[test]
fn syn_sent() {
    // The peer's numbers are not known: SEG.SEQ counts from nowhere.
    check(
        Way::SynSent,
        &[
            // First, the ACK bit.
            (ACK, 7, Future, 0, SynSent, "RST"),
            (ACK, 7, Old, 0, SynSent, "RST"),
            (SYN_ACK, 7, Future, 0, SynSent, "RST"),
            (SYN_ACK, 7, Old, 0, SynSent, "RST"),
            (FIN_ACK, 7, Ancient, 50, SynSent, "RST"),
            (RST_ACK, 7, Future, 0, SynSent, ""),
            // Second, the RST bit.
            (RST_ACK, 7, All, 0, Closed, ""),
            (RST, 7, All, 0, SynSent, ""),
            // Fourth, the SYN bit.
            (SYN, 7, Old, 0, SynReceived, "SYN,ACK"),
            (SYN_ACK, 7, All, 0, Established, "ACK"),
            (SYN_ACK, 7, All, 500, Established, "ACK"),
            (SYN_FIN_ACK, 7, All, 0, CloseWait, "ACK"),
            // Fifth: neither.
            (ACK, 7, All, 0, SynSent, ""),
            (ACK, 7, All, 100, SynSent, ""),
            (FIN_ACK, 7, All, 0, SynSent, ""),
            (FIN, 7, Old, 0, SynSent, ""),
            (NONE, 7, Old, 9, SynSent, ""),
        ],
    );
}

#[test]
fn syn_received() {
    for way in [Way::SynReceived, Way::SynCrossed] {
        check(
            way,
            &[
                (ACK, 0, All, 0, Established, ""),
                (ACK, 0, All, 500, Established, "ACK"),
                (ACK, 0, All, 64_000, Established, "ACK later"),
                (FIN_ACK, 0, All, 0, CloseWait, "ACK later"),
                (FIN_ACK, 0, All, 500, CloseWait, "ACK later"),
                // The acknowledgment of data beyond a lost segment.
                (ACK, 1000, All, 500, Established, "ACK"),
                // "If the segment acknowledgment is not acceptable, form a reset segment."
                (ACK, 0, Future, 0, SynReceived, "RST"),
                (ACK, 0, Old, 0, SynReceived, "RST"),
                (ACK, 0, Ancient, 77, SynReceived, "RST"),
                (RST, 0, Old, 0, Closed, ""),
                (RST_ACK, 0, All, 0, Closed, ""),
                (RST, 10, Old, 0, SynReceived, "challenge"),
                (RST, OUTSIDE, Old, 0, SynReceived, ""),
                (RST, -100, Old, 0, SynReceived, ""),
                // The SYN again: the SYN-ACK was lost.
                (SYN, -1, Old, 0, SynReceived, "SYN,ACK"),
                // RFC 5961 section 4.2: another SYN.
                (SYN, 10, Old, 0, SynReceived, "challenge"),
                (SYN, OUTSIDE, Old, 0, SynReceived, "challenge"),
                (ACK, OUTSIDE, All, 100, SynReceived, "ACK"),
                (ACK, -100, All, 0, SynReceived, "ACK"),
                (NONE, 0, Old, 0, SynReceived, ""),
                (NONE, 0, Old, 20, SynReceived, ""),
                (FIN, 0, Old, 0, SynReceived, ""),
            ],
        );
    }
    // The crossing of two SYNs: the SYN-ACK repeats the SYN and acknowledges ours (section 3.5, figure 7).
    check(Way::SynCrossed, &[(SYN_ACK, -1, All, 0, Established, "")]);
}

/// What is the same in all synchronized states.
#[test]
fn synchronized() {
    for way in [
        Way::Established,
        Way::FinWait1,
        Way::FinWait2,
        Way::CloseWait,
        Way::Closing,
        Way::LastAck,
        Way::TimeWait,
    ] {
        let same = way.state();
        check(
            way,
            &[
                // RFC 5961 section 3.2.
                (RST, 0, Old, 0, Closed, ""),
                (RST_ACK, 0, All, 0, Closed, ""),
                (RST, 10, Old, 0, same, "challenge"),
                (RST, OUTSIDE, Old, 0, same, ""),
                (RST, -1000, Old, 0, same, ""),
                (RST_ACK, -100_000, Ancient, 0, same, ""),
                // RFC 5961 section 4.2: "irrespective of the sequence number".
                (SYN, 10, Old, 0, same, "challenge"),
                (SYN, OUTSIDE, Old, 0, same, "challenge"),
                (SYN, -10_000, Old, 0, same, "challenge"),
                (SYN_ACK, 10, All, 0, same, "challenge"),
                // "If the ACK bit is off, drop the segment and return."
                (NONE, 0, Old, 0, same, ""),
                (NONE, 0, Old, 100, same, ""),
                (FIN, 0, Old, 0, same, ""),
                // "If the ACK acks something not yet sent, then send an ACK, drop the segment."
                (ACK, 0, Future, 0, same, "challenge"),
                (ACK, 0, Future, 100, same, "challenge"),
                (FIN_ACK, 0, Future, 0, same, "challenge"),
                // RFC 5961 section 5.2.
                (ACK, 0, Ancient, 0, same, "challenge"),
                // Not acceptable.
                (ACK, OUTSIDE, Old, 100, same, "ACK"),
                (FIN_ACK, OUTSIDE, Old, 0, same, "ACK"),
                (ACK, -1001, Old, 1000, same, "ACK"),
                (ACK, -100_000, Old, 0, same, "ACK"),
                (ACK, i32::MIN, Old, 0, same, "ACK"),
                // Nothing new.
                (ACK, 0, Old, 0, same, ""),
            ],
        );
    }
}

#[test]
fn established() {
    check(
        Way::Established,
        &[
            (ACK, 0, All, 1, Established, "ACK"),
            (ACK, 0, All, 64_000, Established, "ACK later"),
            (ACK, 1000, All, 500, Established, "ACK"),
            (ACK, -100, All, 600, Established, "ACK"),
            (FIN_ACK, 0, All, 0, CloseWait, "ACK later"),
            (FIN_ACK, 0, All, 900, CloseWait, "ACK later"),
            // More than the window, where there is nothing to read: all of it is taken, with its FIN.
            (FIN_ACK, 0, All, 64_000, CloseWait, "ACK"),
            // A FIN behind a hole.
            (FIN_ACK, 100, All, 0, Established, "ACK"),
            (FIN_ACK, 100, All, 100, Established, "ACK"),
        ],
    );
    check(
        Way::InFlight,
        &[
            (ACK, 0, All, 0, Established, "PSH,ACK 500"),
            (FIN_ACK, 0, All, 0, CloseWait, "PSH,ACK 500"),
            (FIN_ACK, 0, Old, 0, CloseWait, "ACK later"),
        ],
    );
    // The hole is of 1000 bytes, and 100 wait behind it.
    check(
        Way::Hole,
        &[
            (ACK, 0, All, 1000, Established, "ACK"),
            (ACK, 0, All, 999, Established, "ACK"),
            (FIN_ACK, 1100, All, 0, Established, "ACK"),
            (FIN_ACK, 0, All, 1100, CloseWait, "ACK"),
        ],
    );
}

#[test]
fn closing() {
    check(
        Way::FinWait1,
        &[
            (ACK, 0, All, 0, FinWait2, ""),
            (ACK, 0, All, 100, FinWait2, "ACK"),
            (ACK, 0, Old, 100, FinWait1, "ACK"),
            (FIN_ACK, 0, Old, 0, Closing, "ACK"),
            (FIN_ACK, 0, All, 0, TimeWait, "ACK"),
            (FIN_ACK, 0, All, 100, TimeWait, "ACK"),
            (FIN_ACK, 50, All, 0, FinWait2, "ACK"),
        ],
    );
    check(
        Way::FinWait2,
        &[
            (ACK, 0, All, 100, FinWait2, "ACK"),
            (FIN_ACK, 0, All, 0, TimeWait, "ACK"),
            (FIN_ACK, 0, All, 100, TimeWait, "ACK"),
            (FIN_ACK, 50, All, 0, FinWait2, "ACK"),
        ],
    );
    // RFC 1122 section 4.2.2.13: nobody is there to read.
    check(
        Way::FinWait2Orphan,
        &[
            (ACK, 0, All, 100, Closed, "RST"),
            (FIN_ACK, 0, All, 100, Closed, "RST"),
            (FIN_ACK, 0, All, 0, TimeWait, "ACK"),
        ],
    );
    check(
        Way::CloseWait,
        &[
            // The FIN again, and data behind it.
            (FIN_ACK, -1, All, 0, CloseWait, "ACK"),
            (FIN_ACK, -101, All, 100, CloseWait, "ACK"),
            (ACK, 0, All, 100, CloseWait, "ACK"),
        ],
    );
    check(
        Way::Closing,
        &[
            (ACK, 0, All, 0, TimeWait, ""),
            (FIN_ACK, -1, Old, 0, Closing, "ACK"),
            (FIN_ACK, -1, All, 0, TimeWait, "ACK"),
        ],
    );
    check(
        Way::LastAck,
        &[
            (ACK, 0, All, 0, Closed, ""),
            (FIN_ACK, -1, Old, 0, LastAck, "ACK"),
        ],
    );
    check(
        Way::TimeWait,
        &[
            (FIN_ACK, -1, All, 0, TimeWait, "ACK"),
            (FIN_ACK, -101, All, 100, TimeWait, "ACK"),
            (ACK, 0, All, 100, TimeWait, "ACK"),
        ],
    );
}

#[test]
fn closed() {
    for flags in [SYN, ACK, FIN_ACK, RST, SYN_ACK, NONE] {
        check(
            Way::Closed,
            &[
                (flags, 0, All, 0, Closed, ""),
                (flags, 5, Future, 100, Closed, ""),
            ],
        );
    }
}

/// RFC 9293 sections 3.10.4 and 3.10.5, and what `close(2)` adds.
#[test]
fn calls() {
    // Way, state after shutdown and what is sent, the same for close, and for close with unread data or abort.
    type Calls = (
        Way,
        (State, &'static str),
        (State, &'static str),
        (State, &'static str),
    );
    let table: &[Calls] = &[
        (Way::SynSent, (Closed, ""), (Closed, ""), (Closed, "")),
        (
            Way::SynReceived,
            (SynReceived, ""),
            (SynReceived, ""),
            (Closed, "RST,ACK"),
        ),
        (
            Way::SynCrossed,
            (SynReceived, ""),
            (SynReceived, ""),
            (Closed, "RST,ACK"),
        ),
        (
            Way::Established,
            (FinWait1, "FIN,ACK"),
            (FinWait1, "FIN,ACK"),
            (Closed, "RST,ACK"),
        ),
        (
            Way::InFlight,
            (FinWait1, "FIN,PSH,ACK 500"),
            (FinWait1, "FIN,PSH,ACK 500"),
            (Closed, "RST,ACK"),
        ),
        (
            Way::ZeroWindow,
            (FinWait1, ""),
            (FinWait1, ""),
            (Closed, "RST,ACK"),
        ),
        (
            Way::FinWait1,
            (FinWait1, ""),
            (FinWait1, ""),
            (Closed, "RST,ACK"),
        ),
        (
            Way::FinWait2,
            (FinWait2, ""),
            (FinWait2, ""),
            (Closed, "RST,ACK"),
        ),
        (
            Way::CloseWait,
            (LastAck, "FIN,ACK"),
            (LastAck, "FIN,ACK"),
            (Closed, "RST,ACK"),
        ),
        (Way::Closing, (Closing, ""), (Closing, ""), (Closed, "")),
        (Way::LastAck, (LastAck, ""), (LastAck, ""), (Closed, "")),
        (Way::Closed, (Closed, ""), (Closed, ""), (Closed, "")),
    ];
    for (way, shutdown, close, abort) in table {
        let mut stand = Stand::new(*way, false, true);
        let sent = stand.call(|conn, cx| conn.shutdown_write(cx));
        assert_eq!(
            (stand.conn.state(), name(&sent).as_str()),
            *shutdown,
            "{way:?} shutdown"
        );
        assert!(!stand.conn.can_send());

        let mut stand = Stand::new(*way, false, true);
        let sent = stand.close(false);
        assert_eq!(
            (stand.conn.state(), name(&sent).as_str()),
            *close,
            "{way:?} close"
        );

        let mut stand = Stand::new(*way, false, true);
        let sent = stand.call(|conn, cx| conn.abort(cx));
        assert_eq!(
            (stand.conn.state(), name(&sent).as_str()),
            *abort,
            "{way:?} abort"
        );

        let mut stand = Stand::new(*way, false, true);
        let sent = stand.close(true);
        assert_eq!(
            (stand.conn.state(), name(&sent).as_str()),
            *abort,
            "{way:?} close, unread"
        );
    }
    let mut stand = Stand::new(Way::TimeWait, false, true);
    assert_eq!(name(&stand.close(false)), "");
    assert_eq!(stand.conn.state(), TimeWait);
}

#[test]
fn events_and_errors() {
    // Way, segment, event, error.
    type Told = (Way, Row, &'static [Event], Option<Error>);
    let table: &[Told] = &[
        (
            Way::SynSent,
            (SYN_ACK, 7, All, 0, Established, ""),
            &[Event::Established],
            None,
        ),
        (
            Way::SynSent,
            (RST_ACK, 7, All, 0, Closed, ""),
            &[Event::Closed, Event::Error],
            Some(Error::Refused),
        ),
        (
            Way::SynReceived,
            (ACK, 0, All, 0, Established, ""),
            &[Event::Established],
            None,
        ),
        (
            Way::SynReceived,
            (FIN_ACK, 0, All, 9, CloseWait, ""),
            &[Event::Established, Event::Readable, Event::PeerClosed],
            None,
        ),
        (
            Way::Established,
            (ACK, 0, All, 9, Established, ""),
            &[Event::Readable],
            None,
        ),
        (
            Way::Established,
            (ACK, 9, All, 9, Established, ""),
            &[],
            None,
        ),
        (
            Way::Established,
            (FIN_ACK, 0, All, 0, CloseWait, ""),
            &[Event::PeerClosed],
            None,
        ),
        (
            Way::Established,
            (RST, 0, Old, 0, Closed, ""),
            &[Event::Closed, Event::Error],
            Some(Error::Reset),
        ),
        (
            Way::InFlight,
            (ACK, 0, All, 0, Established, ""),
            &[Event::Writable],
            None,
        ),
        (
            Way::CloseWait,
            (RST, 0, Old, 0, Closed, ""),
            &[Event::Closed, Event::Error],
            Some(Error::ResetAfterFin),
        ),
        (
            Way::FinWait2,
            (FIN_ACK, 0, All, 0, TimeWait, ""),
            &[Event::PeerClosed, Event::TimeWait],
            None,
        ),
        (
            Way::LastAck,
            (ACK, 0, All, 0, Closed, ""),
            &[Event::Writable, Event::Closed],
            None,
        ),
        (
            Way::TimeWait,
            (RST, 0, Old, 0, Closed, ""),
            &[Event::Closed],
            None,
        ),
    ];
    for (way, row, events, error) in table {
        let mut stand = Stand::new(*way, false, true);
        let segment = segment(&stand, row);
        stand.put(&segment);
        let told: Vec<Event> = stand.conn.take_events().iter().collect();
        assert_eq!(told, *events, "{way:?} {row:?}");
        assert_eq!(stand.conn.error(), *error, "{way:?} {row:?}");
        assert!(stand.conn.take_events().is_empty());
    }
}

/// Section 3.10.8, and Linux's limits.
#[test]
fn timers() {
    // Way, and the seconds after which a silent peer is given up.
    let table = [
        // Five SYNs a second apart (tcp_syn_linear_timeouts is 4), then 2, 4, 8, 16, 32 and 64 s.
        (Way::SynSent, 131, Some(Error::TimedOut)),
        (Way::TimeWait, 60, None),
        (Way::FinWait2Orphan, 60, None),
    ];
    for (way, seconds, error) in table {
        let mut stand = Stand::new(way, false, true);
        let start = stand.now;
        while stand.expire().is_some() {}
        assert_eq!(stand.conn.state(), Closed, "{way:?}");
        assert_eq!(stand.now.since(start).as_secs(), seconds, "{way:?}");
        assert_eq!(stand.conn.error(), error);
    }
    // tcp_retries2 is 15: "a hypothetical timeout of 924.6 seconds", of which the last retransmission may fall short.
    let mut stand = Stand::new(Way::InFlight, false, true);
    let start = stand.now;
    while stand.expire().is_some() {}
    let took = stand.now.since(start);
    assert!(
        took >= Duration::from_secs(924) && took <= Duration::from_secs(924 + 121),
        "{took:?}"
    );
    assert_eq!(stand.conn.error(), Some(Error::TimedOut));
}
