// SPDX-License-Identifier: GPL-2.0
//! Numbers and reasons in words.

use oxtcp_engine::pressure;

use crate::ladder::rung::thousands;
use crate::ladder::segment::Options;
use crate::sockets::limit::Limit;
use crate::trace::event::{Bound, Decision, Listener, Overflow, Queue, Remedy};

/// A time in the unit that gives few digits.
pub fn duration(nanoseconds: u64) -> String {
    let ns = nanoseconds as f64;
    let (value, unit) = match nanoseconds {
        0..1_000_000 => (ns / 1e3, "\u{b5}s"),
        1_000_000..1_000_000_000 => (ns / 1e6, "ms"),
        _ => (ns / 1e9, "s"),
    };
    if value >= 100.0 {
        format!("{value:.0} {unit}")
    } else {
        format!("{value:.1} {unit}")
    }
}

/// Bytes: small numbers to the byte.
pub fn bytes(number: u64) -> String {
    match number {
        1 => "1 byte".to_string(),
        0..100_000 => format!("{} bytes", thousands(number)),
        100_000..1_000_000 => format!("{:.0} kB", number as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", number as f64 / 1e6),
        _ => format!("{:.2} GB", number as f64 / 1e9),
    }
}

/// `1 segment`, `900 segments`.
pub fn count(number: u64, noun: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{} {noun}{plural}", thousands(number))
}

/// `and`, `a and b`, `a, b and c`.
pub fn list(parts: &[String]) -> String {
    match parts {
        [] => String::new(),
        [only] => only.clone(),
        [first @ .., last] => format!("{} and {last}", first.join(", ")),
    }
}

/// What a SYN offers.
pub fn offer(options: &Options) -> String {
    let mut parts = Vec::new();
    parts.push(match options.mss {
        Some(mss) => format!("segments of up to {mss} bytes (MSS)"),
        None => "no MSS, so segments of up to 536 bytes (1220 over IPv6)".into(),
    });
    parts.push(match options.window_scale {
        Some(shift) => format!("windows in units of {}", bytes(1 << shift.min(14))),
        None => "no window scaling".into(),
    });
    if options.sack_permitted {
        parts.push("SACK".into());
    }
    if options.timestamps.is_some() {
        parts.push("timestamps".into());
    }
    list(&parts)
}

/// `1st`, `22nd`.
pub fn ordinal(number: u32) -> String {
    let suffix = match (number % 10, number % 100) {
        (1, 1..=10 | 12..) => "st",
        (2, 1..=11 | 13..) => "nd",
        (3, 1..=12 | 14..) => "rd",
        _ => "th",
    };
    format!("{number}{suffix}")
}

/// What a listener has too little of, as a half-sentence; empty where that is nothing.
pub fn bound(listener: &Listener) -> String {
    let granted = match listener.limit {
        Limit::Somaxconn => format!(
            "{} (listen() asked for {}; net.oxtcp.somaxconn allows {})",
            listener.granted, listener.asked, listener.granted
        ),
        Limit::CoreSomaxconn | Limit::BothSomaxconn => format!(
            "{} (listen() asked for as much or more; {} allow{} {})",
            listener.granted,
            listener.limit.name(),
            if listener.limit == Limit::BothSomaxconn {
                ""
            } else {
                "s"
            },
            listener.granted
        ),
        _ => format!("{} (which listen() asked for)", listener.granted),
    };
    match listener.bound {
        Bound::None => String::new(),
        Bound::SynQueue if listener.limit == Limit::MaxSynBacklog => format!(
            "the listener is at its bound of {} half-open connections (net.oxtcp.max_syn_backlog)",
            listener.most_half_open
        ),
        Bound::SynQueue => format!(
            "the listener is at its bound of {} half-open connections (one more than its backlog of {granted})",
            listener.most_half_open
        ),
        Bound::Share => format!(
            "the client's host or network has its share of the listener's {} half-open connections (net.oxtcp.syn_host_share, syn_net_share; {} are there)",
            listener.most_half_open, listener.half_open
        ),
        Bound::AcceptQueue => format!(
            "the listener is at its backlog of {granted}, as {} for accept(),",
            match listener.waiting {
                1 => "1 connection waits".to_string(),
                many => format!("{many} connections wait"),
            }
        ),
        Bound::Rate => {
            "the client's network has sent more SYNs in this second than net.oxtcp.syn_net_rate lets in".into()
        }
        Bound::Always => "net.oxtcp.syncookies=2 asks for cookies always".into(),
        Bound::Route => "there is no way back to the client".into(),
        Bound::Memory => "there is no memory".into(),
        Bound::Other(number) => format!("there is a bound that this version does not know (number {number})"),
    }
}

/// Whether that half-sentence's subject is the listener.
pub fn is_of_listener(bound: Bound) -> bool {
    matches!(bound, Bound::SynQueue | Bound::AcceptQueue)
}

/// What a listener did, as a half-sentence whose subject is the listener.
pub fn decision(listener: &Listener) -> String {
    match listener.decision {
        Decision::HalfOpen => format!(
            "remembered it and answered with SYN-ACK ({} of at most {} half-open connections)",
            listener.half_open, listener.most_half_open
        ),
        Decision::Cookie if listener.bound == Bound::Always => "answered with a cookie".into(),
        Decision::Cookie => format!(
            "answered with a cookie because syncookies={}",
            listener.syncookies
        ),
        Decision::Evicted => "gave up this one, its oldest half-open connection, for a new SYN (net.oxtcp.syn_cache, as syncookies was 0)".into(),
        Decision::Dropped => match listener.syncookies {
            0 => "dropped that (syncookies=0)".into(),
            _ => "dropped that".into(),
        },
        Decision::Reset => "answered with a reset (net.oxtcp.abort_on_overflow)".into(),
        Decision::Deferred => "waits for data before it lets the connection through (TCP_DEFER_ACCEPT)".into(),
        Decision::Accepted => format!(
            "put the connection into the queue for accept() ({} of at most {})",
            listener.waiting,
            listener.most_waiting()
        ),
        Decision::CookieAccepted => format!(
            "found its cookie good and put the connection into the queue for accept() ({} of at most {})",
            listener.waiting,
            listener.most_waiting()
        ),
        Decision::CookieRefused => "found no good cookie in it: it is too old, forged, or of a connection that is no more".into(),
        Decision::Expired => "gave the half-open connection up: no answer to its SYN-ACKs came (net.oxtcp.synack_retries)".into(),
        Decision::Other(number) => format!("did what this version does not know (number {number})"),
    }
}

/// The same of a half-open connection that is given up, where a queue that fills has shortened its time: `patience` says after how long,
/// and how often its SYN-ACK was sent again, where that was seen.
pub fn expired(listener: &Listener, patience: Option<(u64, u32)>) -> String {
    let Some(most) = most_resent(listener) else {
        return decision(listener);
    };
    let seen = match patience {
        // The setting allows less than the queue does.
        Some((_, again)) if again < most => return decision(listener),
        None => "no answer to its SYN-ACKs came".to_string(),
        Some((after, again)) => {
            let again = match again {
                0 => "was not sent again".to_string(),
                1 => "was sent again once".to_string(),
                many => format!("was sent again {many} times"),
            };
            let after = duration(after);
            format!("no answer came within {after}, and its SYN-ACK {again}")
        }
    };
    format!(
        "gave the half-open connection up: {seen}, as the SYN queue holds {} of at most {} and net.oxtcp.synack_retries counts as {most} then",
        listener.half_open, listener.most_half_open
    )
}

/// How often a SYN-ACK is sent again at most because the listener's queue fills; `None` as long as it does not. The rule counts this
/// half-open connection as well, which has left the queue when this is told.
fn most_resent(listener: &Listener) -> Option<u32> {
    const ANY: u8 = u8::MAX;
    let half_open = listener.half_open.saturating_add(1);
    let most = pressure::synack_retries(ANY, half_open, listener.most_half_open);
    (most != ANY).then_some(most.into())
}

/// What is full, what is done, and what is to be done about it.
pub fn overflow(overflow: &Overflow) -> String {
    let Overflow { length, most, .. } = overflow;
    let full = match overflow.queue {
        Queue::Syn => format!("the SYN queue is full, {length} half-open connections of {most}"),
        Queue::HostShare => format!(
            "one host has its share of the SYN queue, {length} half-open connections of {most}"
        ),
        Queue::NetShare => format!(
            "one network has its share of the SYN queue, {length} half-open connections of {most}"
        ),
        Queue::Accept => format!("the accept queue is full, {length} connections of {most} wait"),
        Queue::NetRate => "one network sends more SYNs than it may in a second".into(),
        Queue::Other(_) => "a queue is full that this version does not know".into(),
    };
    let done = match (overflow.remedy, overflow.queue) {
        (Remedy::Cookie, _) => "SYNs are answered with cookies",
        (Remedy::Evict, _) => "the oldest give way",
        (Remedy::Drop, Queue::Accept) => "SYNs and the last ACKs of handshakes are dropped",
        (Remedy::Drop, _) => "SYNs are dropped",
        (Remedy::Reset, _) => "SYNs are dropped, and handshakes are reset (abort_on_overflow)",
        (Remedy::Other(_), _) => "what is done this version does not know",
    };
    format!(
        "{full} ({} SYNs per second); {done}; {} is {}: {}",
        overflow.rate,
        overflow.limit.words(),
        overflow.value,
        advice(overflow.queue)
    )
}

/// What to do, as `trace.h` has it.
pub fn advice(queue: Queue) -> &'static str {
    match queue {
        Queue::Accept => "accept() faster; for bursts, raise it",
        _ => "if these are real clients, raise it",
    }
}

/// Why a segment is dropped, as what follows `because`; the kernel's name for what is not known here.
pub fn drop_reason(name: &str) -> String {
    let text = match name {
        "NO_SOCKET" => "nothing here has that connection, and nothing listens on that port",
        "SOCKET_RCVBUFF" => "the receive buffer is full: the program does not read fast enough (net.oxtcp.rmem, SO_RCVBUF)",
        "PROTO_MEM" | "NOMEM" => "there is no memory",
        "SOCKET_BACKLOG" => "the socket was busy, and too much waited for it already",
        "TCP_CSUM" => "its checksum is wrong (it was damaged on the way)",
        "PKT_TOO_SMALL" => "it is too short for a TCP segment",
        "NETFILTER_DROP" => "the firewall does not let it in",
        "SOCKET_FILTER" => "a filter or a security module does not let it in",
        "XFRM_POLICY" => "an IPsec policy does not let it in",
        "TCP_MD5NOTFOUND" => "it is not signed, and a key is set for its sender (TCP_MD5SIG)",
        "TCP_MD5UNEXPECTED" => "it is signed, and no key is set for its sender (TCP_MD5SIG)",
        "TCP_MD5FAILURE" => "its signature is wrong (TCP_MD5SIG)",
        "TCP_AUTH_HDR" => "it has an authentication option that cannot be",
        "TCP_AONOTFOUND" => "it is not authenticated, and a key is set for its sender (TCP-AO)",
        "TCP_AOUNEXPECTED" => "it is authenticated, and no key is set for its sender (TCP-AO)",
        "TCP_AOKEYNOTFOUND" => "it is authenticated by a key that is not set for its sender (TCP-AO)",
        "TCP_AOFAILURE" => "its authentication is wrong (TCP-AO)",
        "TCP_ZEROWINDOW" => "the window was closed: there is no room for it",
        "TCP_OVERWINDOW" => "it lies beyond the window",
        "TCP_OLD_DATA" => "all of it had come before",
        "TCP_OLD_SEQUENCE" => "its sequence numbers had come before",
        "TCP_INVALID_SEQUENCE" => "its sequence numbers are outside of the window",
        "TCP_INVALID_ACK_SEQUENCE" => "it acknowledges what was not sent",
        "TCP_RFC7323_PAWS" => "its timestamp is older than what came before (PAWS)",
        "TCP_OFO_QUEUE_PRUNE" => "memory is short, and what is out of order gives way first",
        "TCP_ABORT_ON_DATA" => "the program has closed and does not read it",
        "TCP_LISTEN_OVERFLOW" => "the listener has no room",
        "TCP_FLAGS" => "it has flags that cannot be there",
        "TCP_RESET" => "it is a reset that counts for nothing",
        "TCP_INVALID_SYN" => "it is a SYN within a connection",
        "TCP_CLOSE" => "the connection was closed",
        "IP_OUTNOROUTES" => "there is no route",
        "QDISC_DROP" => "the device's queue on this host is full",
        _ => return format!("of what the kernel calls {name}"),
    };
    text.to_string()
}
