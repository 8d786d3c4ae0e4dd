// SPDX-License-Identifier: GPL-2.0
//! The log that `oxtcp trace` prints: an event a line, numbers relative to the SYNs.

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use super::event::{
    Bound, Cause, Congestion, Decision, Direction, Drop, Event, Header, Listener, Segment, Timer,
    What,
};
use super::explain::words::overflow as overflow_words;
use super::flows::{options, Flows, Sender};
use crate::output::{Ink, Painter};
use crate::sockets::limit::Limit;
use crate::sockets::State;

/// Makes the lines.
pub struct Log {
    painter: Painter,
    /// The first event's time, from which all are counted.
    begin: Option<u64>,
}

impl Log {
    pub fn new(painter: Painter) -> Self {
        Self {
            painter,
            begin: None,
        }
    }

    /// The event's line, with its end.
    pub fn line(&mut self, event: &Event, flows: &Flows) -> String {
        let begin = *self.begin.get_or_insert(event.time);
        let since = event.time.saturating_sub(begin);
        let arrow = match &event.what {
            What::Segment(segment) => arrow(segment.direction),
            What::Drop(drop) => arrow(drop.direction),
            _ => '-',
        };
        let ends = match is_none(event.remote) {
            true => format!("{} {arrow} *", event.local),
            false => format!("{} {arrow} {}", event.local, event.remote),
        };
        let (ink, text) = words(event, flows);
        let text = match ink {
            Some(ink) => self.painter.paint(ink, &text),
            None => text,
        };
        format!(
            "{:>4}.{:06}  {ends:<43}  {text}\n",
            since / 1_000_000_000,
            since / 1000 % 1_000_000
        )
    }
}

fn arrow(direction: Direction) -> char {
    match direction {
        Direction::In => '<',
        Direction::Out => '>',
    }
}

/// Whether there is no other end.
fn is_none(end: SocketAddr) -> bool {
    end.port() == 0 && end.ip().is_unspecified()
}

fn words(event: &Event, flows: &Flows) -> (Option<Ink>, String) {
    match &event.what {
        What::State { from, to } => {
            let label = |state: State| match state {
                State::Listen => "LISTEN".to_string(),
                other => other.name().to_uppercase(),
            };
            (
                Some(Ink::Bold),
                format!("{} -> {}", label(*from), label(*to)),
            )
        }
        What::Segment(segment) => {
            let ink = match segment.cause {
                cause if cause.is_retransmit() => Some(Ink::Red),
                Cause::Received
                | Cause::Syn
                | Cause::SynAck
                | Cause::Data
                | Cause::Ack
                | Cause::Fin => None,
                _ => Some(Ink::Yellow),
            };
            (ink, segment_words(event, segment, flows))
        }
        What::Timer(timer) => (Some(Ink::Yellow), format!("timer: {}", timer_words(*timer))),
        What::Congestion(congestion) => (Some(Ink::Dim), congestion_words(congestion)),
        What::Drop(drop) => (Some(Ink::Red), drop_words(event, drop, flows)),
        What::Overflow(overflow) => (
            Some(Ink::Red),
            format!("listener: {}", overflow_words(overflow)),
        ),
        What::Listener(listener) => {
            let ink = match listener.decision {
                Decision::HalfOpen | Decision::Accepted | Decision::CookieAccepted => {
                    Some(Ink::Green)
                }
                Decision::Cookie | Decision::Deferred => Some(Ink::Yellow),
                _ => Some(Ink::Red),
            };
            (ink, listener_words(listener))
        }
    }
}

fn segment_words(event: &Event, segment: &Segment, flows: &Flows) -> String {
    let (sender, receiver) = flows.ends(event, segment.direction);
    let mut text = header_words(&segment.header, segment.payload, sender, receiver);
    if segment.segment_size != 0 {
        let count = segment.payload.div_ceil(u32::from(segment.segment_size));
        let _ = write!(text, ", {count} segments");
    }
    if segment.ecn == 3 {
        text += ", CE";
    }
    match segment.cause.label() {
        "" => text,
        label => format!("{text}  ({label})"),
    }
}

/// Flags, numbers, window, and the options that matter.
fn header_words(
    header: &Header,
    payload: u32,
    sender: Option<Sender>,
    receiver: Option<Sender>,
) -> String {
    const SYN: u8 = 2;
    const ACK: u8 = 16;
    let flags = header.flags();
    let relative =
        |number: u32, end: Option<Sender>| number.wrapping_sub(end.map_or(0, |end| end.base));
    let seq = relative(header.seq(), sender);
    let mut text = flag_names(flags);
    let _ = match payload {
        0 => write!(text, " seq {seq}"),
        len => write!(text, " seq {seq}:{} ({len} bytes)", seq.wrapping_add(len)),
    };
    if flags & ACK != 0 {
        let _ = write!(text, ", ack {}", relative(header.ack(), receiver));
    }
    // That of a SYN is not scaled, and both ends must have said that they scale.
    let scales = flags & SYN == 0 && receiver.is_none_or(|end| end.shift.is_some());
    let shift = match sender.and_then(|end| end.shift).filter(|_| scales) {
        Some(shift) => shift.min(14),
        None => 0,
    };
    let _ = write!(text, ", win {}", u32::from(header.window()) << shift);
    for (kind, value) in options(header) {
        let _ = match (kind, value) {
            (2, [a, b]) => write!(text, ", mss {}", u16::from_be_bytes([*a, *b])),
            (3, [shift]) => write!(text, ", wscale {shift}"),
            (4, []) => write!(text, ", sackOK"),
            (5, blocks) => blocks.chunks_exact(8).try_for_each(|block| {
                let edge = |at: usize| {
                    let bytes = block[at..at + 4].try_into().unwrap_or([0; 4]);
                    relative(u32::from_be_bytes(bytes), receiver)
                };
                write!(text, ", sack {}:{}", edge(0), edge(4))
            }),
            (8, _) if flags & SYN != 0 => write!(text, ", timestamps"),
            (19, _) => write!(text, ", md5"),
            (29, _) => write!(text, ", authentication"),
            _ => Ok(()),
        };
    }
    text
}

/// As people write them: `SYN,ACK`.
pub fn flag_names(flags: u8) -> String {
    const NAMES: [(u8, &str); 8] = [
        (2, "SYN"),
        (1, "FIN"),
        (4, "RST"),
        (8, "PSH"),
        (16, "ACK"),
        (32, "URG"),
        (64, "ECE"),
        (128, "CWR"),
    ];
    let names: Vec<&str> = NAMES
        .iter()
        .filter(|(bit, _)| flags & bit != 0)
        .map(|(_, name)| *name)
        .collect();
    match names.is_empty() {
        true => "none".into(),
        false => names.join(","),
    }
}

/// What a timer's going off means.
pub fn timer_words(timer: Timer) -> &'static str {
    match timer {
        Timer::Retransmit => "retransmission, nothing was acknowledged in time",
        Timer::Persist => "persist, the peer's window is still closed",
        Timer::DelayedAck => "delayed ACK",
        Timer::CompressedAck => "one ACK for what came out of order",
        Timer::Keepalive => "keepalive",
        Timer::FinWait2 => "FIN-WAIT-2, the peer's FIN did not come",
        Timer::TimeWait => "TIME-WAIT is over",
        Timer::LossProbe => "tail loss probe, the last of what is in flight may be lost",
        Timer::Reorder => "reordering, what seemed out of order counts as lost",
        Timer::Pace => "pacing, data may go",
        Timer::SynAck => "SYN-ACK, it was not answered in time",
        Timer::Other(_) => "one that this version does not know",
    }
}

fn congestion_words(now: &Congestion) -> String {
    let mut text = format!("cwnd {}", now.cwnd);
    if let Some(ssthresh) = now.ssthresh {
        let _ = write!(text, ", ssthresh {ssthresh}");
    }
    let _ = write!(
        text,
        ", in flight {}, in the network {}, unsent {}, peer's window {}, ours {}",
        now.unacked, now.in_network, now.not_sent, now.snd_wnd, now.rcv_wnd
    );
    if let Some(srtt) = now.srtt {
        let _ = write!(text, ", rtt {}", millis(srtt));
    }
    let _ = write!(text, ", rto {}, {:?}", millis(now.rto), now.mode);
    text.to_lowercase()
}

fn millis(time: Duration) -> String {
    format!("{:.3} ms", time.as_secs_f64() * 1000.0)
}

fn drop_words(event: &Event, drop: &Drop, flows: &Flows) -> String {
    let (sender, receiver) = flows.ends(event, drop.direction);
    let what = match &drop.header {
        Some(header) => header_words(header, drop.payload, sender, receiver),
        None => format!("{} bytes", drop.payload),
    };
    format!("dropped: {} ({what})", reason_words(&drop.reason))
}

/// The kernel's name with what it means here.
pub fn reason_words(reason: &str) -> String {
    let meaning = match reason {
        "NO_SOCKET" => "it is of no connection",
        "SOCKET_FILTER" => "a filter of the program, the cgroup or the LSM",
        "SOCKET_RCVBUFF" => "the receive buffer is full",
        "PKT_TOO_SMALL" => "it is no whole segment",
        "TCP_CSUM" => "wrong checksum",
        "NETFILTER_DROP" => "conntrack or a firewall",
        "XFRM_POLICY" => "IPsec's policy",
        "PROTO_MEM" => "TCP's memory is used up (net.oxtcp.mem)",
        "TCP_AUTH_HDR" => "a signature that is malformed",
        "TCP_MD5NOTFOUND" => "it is not signed, and is to be",
        "TCP_MD5UNEXPECTED" => "it is signed, and there is no key",
        "TCP_MD5FAILURE" => "wrong signature",
        "TCP_AONOTFOUND" => "it is not authenticated, and is to be",
        "TCP_AOUNEXPECTED" => "it is authenticated, and there is no key",
        "TCP_AOKEYNOTFOUND" => "it is authenticated by a key that is not there",
        "TCP_AOFAILURE" => "wrong authentication",
        "SOCKET_BACKLOG" => "the program is busy in a call, and enough waits for it",
        "TCP_FLAGS" => "flags that cannot be",
        "TCP_ABORT_ON_DATA" => "data for a program that has closed",
        "TCP_ZEROWINDOW" => "the window is closed",
        "TCP_OLD_DATA" => "all of it was received before",
        "TCP_OVERWINDOW" => "beyond the window",
        "TCP_RFC7323_PAWS" => "an old timestamp",
        "TCP_LISTEN_OVERFLOW" => "the listener has no room",
        "TCP_OLD_SEQUENCE" => "all of it was received before",
        "TCP_INVALID_SEQUENCE" => "not in the window",
        "TCP_INVALID_ACK_SEQUENCE" => "it acknowledges what cannot be",
        "TCP_RESET" => "a reset with a wrong number",
        "TCP_INVALID_SYN" => "a SYN in the midst of a connection",
        "TCP_CLOSE" => "the connection is closed",
        "TCP_OFO_QUEUE_PRUNE" => "it came out of order, and others needed the memory",
        "IP_OUTNOROUTES" => "there is no route, or a firewall forbids it",
        "QDISC_DROP" => "the device's queue is full",
        "NOMEM" => "no memory",
        _ => return reason.to_string(),
    };
    format!("{meaning} [{reason}]")
}

fn listener_words(listener: &Listener) -> String {
    let half_open = format!(
        "{} of {} half open",
        listener.half_open, listener.most_half_open
    );
    let waiting = format!(
        "{} of {} wait for accept",
        listener.waiting,
        listener.most_waiting()
    );
    let decision = match listener.decision {
        Decision::HalfOpen => format!(
            "listener: half open, now {} of {}",
            listener.half_open, listener.most_half_open
        ),
        Decision::Cookie => "listener: answers with a cookie".into(),
        Decision::Evicted => "listener: the oldest half-open connection gives way".into(),
        Decision::Dropped => "listener: drops it".into(),
        Decision::Reset => "listener: resets it (abort_on_overflow)".into(),
        Decision::Deferred => "listener: waits for data (TCP_DEFER_ACCEPT)".into(),
        Decision::Accepted => format!("listener: complete ({waiting})"),
        Decision::CookieAccepted => format!("listener: complete, by a good cookie ({waiting})"),
        Decision::CookieRefused => "listener: no good cookie".into(),
        Decision::Expired => format!("listener: gives up, no answer came ({half_open})"),
        Decision::Other(_) => "listener: decides what this version does not know".into(),
    };
    let backlog = match listener.limit {
        Limit::Somaxconn => format!(
            "net.oxtcp.somaxconn is {}, less than the backlog {} that the program asked for",
            listener.granted, listener.asked
        ),
        Limit::CoreSomaxconn | Limit::BothSomaxconn => format!(
            "the backlog is {}, by {}, unless the program asked for just that",
            listener.granted,
            listener.limit.name()
        ),
        Limit::Backlog => format!("the program's backlog is {}", listener.asked),
        other => other.name().trim_start_matches("net.oxtcp.").to_string(),
    };
    let why = match listener.bound {
        Bound::None => return decision,
        Bound::SynQueue => format!("{half_open}: {backlog}"),
        Bound::Share => {
            format!("the peer's host or network has its share of {half_open}: syn_host_share, syn_net_share")
        }
        Bound::AcceptQueue => {
            format!("{waiting}: {backlog}; the program does not accept fast enough")
        }
        Bound::Rate => "more SYNs from the peer's network than syn_net_rate allows".into(),
        Bound::Always => "syncookies is 2".into(),
        Bound::Route => "there is no route to the peer".into(),
        Bound::Memory => "no memory".into(),
        Bound::Other(_) => "a bound that this version does not know".into(),
    };
    match (listener.decision, listener.syncookies) {
        (Decision::Cookie, 1) if listener.bound != Bound::Always => {
            format!("{decision}, as syncookies is 1 ({why})")
        }
        (Decision::Dropped, 0) if matches!(listener.bound, Bound::SynQueue | Bound::Share) => {
            format!("{decision}, as syncookies is 0 ({why})")
        }
        _ => format!("{decision} ({why})"),
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::{Overflow, Queue, Remedy};
    use super::super::flows::tests::{event, segment};
    use super::*;
    use crate::output::Color;

    fn lines(events: &[Event]) -> String {
        let mut flows = Flows::default();
        let mut log = Log::new(Painter::new(Color::Never));
        let mut text = String::new();
        for (number, event) in events.iter().enumerate() {
            flows.observe(event);
            let mut event = event.clone();
            event.time += number as u64 * 1_500_000;
            text += &log.line(&event, &flows);
        }
        text
    }

    fn listener(decision: Decision, bound: Bound) -> Listener {
        Listener {
            decision,
            bound,
            half_open: 128,
            most_half_open: 128,
            waiting: 3,
            asked: 500,
            granted: 127,
            syncookies: 1,
            limit: Limit::Somaxconn,
        }
    }

    #[test]
    fn line_of_a_handshake_and_a_loss() {
        let (out, back) = (Direction::Out, Direction::In);
        let mut data = segment(out, 24, 5001, 9001, &[]);
        let mut again = data.clone();
        for (event, cause) in [
            (&mut data, Cause::Data),
            (&mut again, Cause::FastRetransmit),
        ] {
            if let What::Segment(segment) = &mut event.what {
                segment.payload = 3000;
                segment.segment_size = 1460;
                segment.cause = cause;
            }
        }
        let sack = [1, 1, 5, 10, 0, 0, 0x20, 0, 0, 0, 0x22, 0];
        let events = [
            event(What::State {
                from: State::Close,
                to: State::SynSent,
            }),
            segment(out, 2, 5000, 0, &[2, 4, 5, 180, 4, 2, 3, 3, 7]),
            segment(back, 18, 9000, 5001, &[2, 4, 5, 180, 1, 3, 3, 2]),
            data,
            segment(back, 16, 9001, 5001, &sack),
            event(What::Timer(Timer::Reorder)),
            again,
            event(What::Drop(Drop {
                direction: back,
                reason: "TCP_OLD_DATA".into(),
                header: None,
                payload: 100,
            })),
        ];
        insta::assert_snapshot!(lines(&events));
    }

    #[test]
    fn line_of_listeners() {
        let decisions = [
            (Decision::HalfOpen, Bound::None),
            (Decision::Cookie, Bound::SynQueue),
            (Decision::Cookie, Bound::Always),
            (Decision::Dropped, Bound::AcceptQueue),
            (Decision::Dropped, Bound::Rate),
            (Decision::Dropped, Bound::Share),
            (Decision::Accepted, Bound::None),
            (Decision::Expired, Bound::None),
        ];
        let events: Vec<Event> = decisions
            .iter()
            .map(|(decision, bound)| event(What::Listener(listener(*decision, *bound))))
            .collect();
        insta::assert_snapshot!(lines(&events));
    }

    #[test]
    fn line_of_listeners_by_their_limits() {
        let of = |bound, limit, asked, granted| {
            let listener = Listener {
                asked,
                granted,
                limit,
                ..listener(Decision::Dropped, bound)
            };
            event(What::Listener(listener))
        };
        insta::assert_snapshot!(lines(&[
            of(Bound::AcceptQueue, Limit::Backlog, 127, 127),
            of(Bound::AcceptQueue, Limit::CoreSomaxconn, 4096, 4096),
            of(Bound::AcceptQueue, Limit::Somaxconn, 4096, 127),
            of(Bound::SynQueue, Limit::BothSomaxconn, 4096, 4096),
            of(Bound::SynQueue, Limit::MaxSynBacklog, 4096, 4096),
        ]));
    }

    #[test]
    fn line_of_overflows() {
        let of = |queue, remedy, limit, value| {
            let mut event = event(What::Overflow(Overflow {
                queue,
                length: 129,
                most: 129,
                rate: 20_411,
                remedy,
                limit,
                value,
            }));
            event.remote = "0.0.0.0:0".parse().unwrap();
            event
        };
        insta::assert_snapshot!(lines(&[
            of(Queue::Syn, Remedy::Cookie, Limit::Backlog, 128),
            of(Queue::Syn, Remedy::Evict, Limit::MaxSynBacklog, 129),
            of(Queue::HostShare, Remedy::Cookie, Limit::SynHostShare, 25),
            of(Queue::NetShare, Remedy::Drop, Limit::SynNetShare, 50),
            of(Queue::Accept, Remedy::Drop, Limit::CoreSomaxconn, 128),
            of(Queue::Accept, Remedy::Reset, Limit::BothSomaxconn, 128),
            of(Queue::NetRate, Remedy::Drop, Limit::SynNetRate, 1000),
            of(Queue::Other(9), Remedy::Other(9), Limit::Other(9), 1),
        ]));
    }

    /// No reason that the module has goes without words.
    #[test]
    fn reason_words_of_the_module() {
        let names = crate::trace::decode::tests::reasons();
        assert!(names.len() > 30, "{names:?}");
        for name in names {
            assert_ne!(reason_words(name), name);
            let explained = crate::trace::explain::words::drop_reason(name);
            assert!(!explained.contains(name), "{explained}");
        }
    }
}
