// SPDX-License-Identifier: GPL-2.0
//! Events as JSON, one on a line.

use std::fmt::Write as _;
use std::net::SocketAddr;

use serde_json::{json, Map, Value};

use super::event::{
    Bound, Cause, Clock, Congestion, Decision, Direction, Event, Header, Mode, Queue, Remedy,
    Segment, Timer, What,
};
use super::explain::words::advice;
use super::explain::{Closing, Sentence};
use super::log::flag_names;

/// The event, as an object.
pub fn object(event: &Event, clock: Clock) -> Value {
    let mut object = Map::new();
    let mut put = |key: &str, value: Value| object.insert(key.into(), value);
    put("time_ns", clock.unix(event.time).into());
    put("netns", event.netns.into());
    if event.cookie != 0 {
        put("cookie", event.cookie.into());
    }
    put("local", end(event.local));
    if event.remote.port() != 0 {
        put("remote", end(event.remote));
    }
    let (name, more) = match &event.what {
        What::State { from, to } => ("state", json!({"from": from.name(), "to": to.name()})),
        What::Segment(segment) => ("segment", segment_value(segment)),
        What::Timer(timer) => ("timer", json!({"timer": timer_name(*timer)})),
        What::Congestion(congestion) => ("congestion", congestion_value(congestion)),
        What::Drop(drop) => {
            let mut value = json!({
                "direction": direction(drop.direction),
                "reason": drop.reason,
                "payload": drop.payload,
            });
            if let Some(header) = &drop.header {
                value["header"] = header_value(header);
            }
            ("drop", value)
        }
        What::Overflow(overflow) => (
            "overflow",
            json!({
                "queue": queue_name(overflow.queue),
                "length": overflow.length,
                "most": overflow.most,
                "syns_per_second": overflow.rate,
                "remedy": remedy_name(overflow.remedy),
                "setting": overflow.limit.name(),
                "value": overflow.value,
                "advice": advice(overflow.queue),
            }),
        ),
        What::Listener(listener) => (
            "listener",
            json!({
                "decision": decision_name(listener.decision),
                "bound": bound_name(listener.bound),
                "half_open": listener.half_open,
                "most_half_open": listener.most_half_open,
                "waiting": listener.waiting,
                "backlog_asked": listener.asked,
                "backlog": listener.granted,
                "syncookies": listener.syncookies,
                "setting": listener.limit.name(),
            }),
        ),
    };
    object.insert("event".into(), name.into());
    if let Value::Object(more) = more {
        object.extend(more);
    }
    Value::Object(object)
}

/// A sentence of `--explain`, as an object.
pub fn sentence(sentence: &Sentence, clock: Clock) -> Value {
    let mut object = json!({
        "time_ns": clock.unix(sentence.time),
        "netns": sentence.netns,
        "local": end(sentence.local),
        "sentence": sentence.text,
    });
    // A listener has none.
    if sentence.remote.port() != 0 {
        object["remote"] = end(sentence.remote);
    }
    object
}

/// A sum at the end of `--explain`, as an object: the figures under `summary`.
pub fn closing(closing: &Closing, time: u64, clock: Clock) -> Value {
    let mut object = json!({
        "time_ns": clock.unix(time),
        "netns": closing.netns,
        "local": end(closing.local),
        "sentence": closing.text,
        "summary": closing.figures,
    });
    if let Some(remote) = closing.remote {
        object["remote"] = end(remote);
    }
    object
}

fn end(end: SocketAddr) -> Value {
    end.to_string().into()
}

fn direction(direction: Direction) -> &'static str {
    match direction {
        Direction::In => "in",
        Direction::Out => "out",
    }
}

fn segment_value(segment: &Segment) -> Value {
    let mut value = json!({
        "direction": direction(segment.direction),
        "cause": cause_name(segment.cause),
        "retransmission": segment.cause.is_retransmit(),
        "payload": segment.payload,
        "ecn": segment.ecn,
        "header": header_value(&segment.header),
    });
    if segment.segment_size != 0 {
        value["segment_size"] = segment.segment_size.into();
    }
    value
}

/// Numbers as on the wire, and all the bytes.
fn header_value(header: &Header) -> Value {
    let mut bytes = String::new();
    for byte in &header.0 {
        let _ = write!(bytes, "{byte:02x}");
    }
    json!({
        "flags": flag_names(header.flags()),
        "seq": header.seq(),
        "ack": header.ack(),
        "window": header.window(),
        "bytes": bytes,
    })
}

fn congestion_value(now: &Congestion) -> Value {
    let micros = |time: std::time::Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
    json!({
        "mode": mode_name(now.mode),
        "cwnd": now.cwnd,
        "ssthresh": now.ssthresh,
        "srtt_us": now.srtt.map(micros),
        "rttvar_us": micros(now.rttvar),
        "rto_us": micros(now.rto),
        "mss": now.mss,
        "unacked": now.unacked,
        "in_network": now.in_network,
        "not_sent": now.not_sent,
        "snd_wnd": now.snd_wnd,
        "rcv_wnd": now.rcv_wnd,
        "snd_una": now.snd_una,
        "snd_nxt": now.snd_nxt,
        "rcv_nxt": now.rcv_nxt,
        "pacing_rate": now.pacing_rate,
        "retransmits": now.retransmits,
        "bytes_acked": now.bytes_acked,
        "bytes_received": now.bytes_received,
    })
}

fn cause_name(cause: Cause) -> &'static str {
    match cause {
        Cause::Received => "received",
        Cause::Syn => "syn",
        Cause::SynRetransmit => "syn-retransmit",
        Cause::SynAck => "syn-ack",
        Cause::SynAckRetransmit => "syn-ack-retransmit",
        Cause::SynCookie => "syn-cookie",
        Cause::Data => "data",
        Cause::FastRetransmit => "fast-retransmit",
        Cause::TimeoutRetransmit => "timeout-retransmit",
        Cause::LossProbe => "loss-probe",
        Cause::LossProbeData => "loss-probe-data",
        Cause::Ack => "ack",
        Cause::WindowUpdate => "window-update",
        Cause::ChallengeAck => "challenge-ack",
        Cause::WindowProbe => "window-probe",
        Cause::Keepalive => "keepalive",
        Cause::Fin => "fin",
        Cause::Reset => "reset",
        Cause::Other(_) => "other",
    }
}

fn timer_name(timer: Timer) -> &'static str {
    match timer {
        Timer::Retransmit => "retransmit",
        Timer::Persist => "persist",
        Timer::DelayedAck => "delayed-ack",
        Timer::CompressedAck => "compressed-ack",
        Timer::Keepalive => "keepalive",
        Timer::FinWait2 => "fin-wait-2",
        Timer::TimeWait => "time-wait",
        Timer::LossProbe => "loss-probe",
        Timer::Reorder => "reorder",
        Timer::Pace => "pace",
        Timer::SynAck => "syn-ack",
        Timer::Other(_) => "other",
    }
}

fn mode_name(mode: Mode) -> &'static str {
    match mode {
        Mode::Open => "open",
        Mode::Disorder => "disorder",
        Mode::Cwr => "cwr",
        Mode::Recovery => "recovery",
        Mode::Loss => "loss",
    }
}

fn decision_name(decision: Decision) -> &'static str {
    match decision {
        Decision::HalfOpen => "half-open",
        Decision::Cookie => "cookie",
        Decision::Evicted => "evicted",
        Decision::Dropped => "dropped",
        Decision::Reset => "reset",
        Decision::Deferred => "deferred",
        Decision::Accepted => "accepted",
        Decision::CookieAccepted => "cookie-accepted",
        Decision::CookieRefused => "cookie-refused",
        Decision::Expired => "expired",
        Decision::Other(_) => "other",
    }
}

fn queue_name(queue: Queue) -> &'static str {
    match queue {
        Queue::Syn => "syn",
        Queue::HostShare => "host-share",
        Queue::NetShare => "net-share",
        Queue::Accept => "accept",
        Queue::NetRate => "net-rate",
        Queue::Other(_) => "other",
    }
}

fn remedy_name(remedy: Remedy) -> &'static str {
    match remedy {
        Remedy::Cookie => "cookie",
        Remedy::Evict => "evict",
        Remedy::Drop => "drop",
        Remedy::Reset => "reset",
        Remedy::Other(_) => "other",
    }
}

fn bound_name(bound: Bound) -> &'static str {
    match bound {
        Bound::None => "none",
        Bound::SynQueue => "syn-queue",
        Bound::Share => "share",
        Bound::AcceptQueue => "accept-queue",
        Bound::Rate => "rate",
        Bound::Always => "always",
        Bound::Route => "route",
        Bound::Memory => "memory",
        Bound::Other(_) => "other",
    }
}

#[cfg(test)]
mod tests {
    use super::super::flows::tests::{event, segment};
    use super::*;
    use crate::sockets::State;

    #[test]
    fn object_of_a_sentence() {
        let told = Sentence {
            time: 7,
            netns: 3,
            local: "192.0.2.1:1000".parse().unwrap(),
            remote: "[2001:db8::2]:80".parse().unwrap(),
            text: "the server sent \"SYN\"".into(),
        };
        let object = sentence(&told, Clock { offset: 5 });
        assert_eq!(
            object,
            json!({"time_ns": 12, "netns": 3, "local": "192.0.2.1:1000", "remote": "[2001:db8::2]:80", "sentence": "the server sent \"SYN\""})
        );
        let listeners = Sentence {
            remote: "0.0.0.0:0".parse().unwrap(),
            ..told
        };
        let object = sentence(&listeners, Clock { offset: 5 });
        assert_eq!(object.get("remote"), None);
    }

    #[test]
    fn object_of_a_sum() {
        let sum = Closing {
            netns: 3,
            local: "192.0.2.1:80".parse().unwrap(),
            remote: None,
            text: "2 SYNs came.".into(),
            sent: crate::trace::explain::Sent::default(),
            figures: json!({"syns": 2}),
        };
        assert_eq!(
            closing(&sum, 7, Clock { offset: 5 }),
            json!({"time_ns": 12, "netns": 3, "local": "192.0.2.1:80", "sentence": "2 SYNs came.", "summary": {"syns": 2}})
        );
    }

    #[test]
    fn object_of_a_segment_and_a_state() {
        let clock = Clock { offset: 5 };
        let syn = object(&segment(Direction::Out, 2, 77, 0, &[]), clock);
        assert_eq!(syn["event"], "segment");
        assert_eq!(syn["time_ns"], 1_000_000_005u64);
        assert_eq!(syn["local"], "192.0.2.1:1000");
        assert_eq!(syn["remote"], "192.0.2.2:80");
        assert_eq!(syn["header"]["flags"], "SYN");
        assert_eq!(syn["header"]["seq"], 77);
        assert_eq!(syn["header"]["bytes"].as_str().unwrap().len(), 40);
        assert_eq!(syn.get("segment_size"), None);
        let mut state = event(What::State {
            from: State::Close,
            to: State::Listen,
        });
        state.remote = "0.0.0.0:0".parse().unwrap();
        let state = object(&state, clock);
        assert_eq!(
            (&state["from"], &state["to"]),
            (&json!("closed"), &json!("listening"))
        );
        assert_eq!(state.get("remote"), None);
    }
}
