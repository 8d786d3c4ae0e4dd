// SPDX-License-Identifier: GPL-2.0
//! What is summed up when the trace is over: connections that lost something, and listeners.

use std::collections::BTreeMap;
use std::fmt;
use std::net::SocketAddr;

use serde_json::{json, Value};

use super::words;
use crate::ladder::rung::thousands;
use crate::trace::event::Decision;

/// What an end of a connection has sent that takes sequence numbers.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sent {
    pub segments: u64,
    /// Of these, what was sent before.
    pub again: u64,
}

/// What has become of what came to a listener, at one of its addresses.
#[derive(Clone, Copy, Debug, Default)]
pub struct Desk {
    decided: bool,
    syns: u64,
    remembered: u64,
    cookies: u64,
    dropped_syns: u64,
    /// Last ACKs of handshakes.
    accepted: u64,
    dropped_acks: u64,
    reset: u64,
    bad_cookies: u64,
    /// Half-open connections.
    given_up: u64,
    evicted: u64,
}

/// All of it.
#[derive(Default)]
pub struct Tally {
    /// Connections that are over, and have sent something again.
    over: Vec<(Ends, Sent)>,
    /// The same of those that there is no room for.
    others: Sent,
    desks: BTreeMap<(u32, SocketAddr), Desk>,
}

/// Network namespace, this host's end, the other.
pub type Ends = (u32, SocketAddr, SocketAddr);

/// A line at the end.
#[derive(Clone, Debug)]
pub struct Closing {
    pub netns: u32,
    pub local: SocketAddr,
    /// `None` for a listener.
    pub remote: Option<SocketAddr>,
    pub text: String,
    /// Of a connection.
    pub sent: Sent,
    /// The figures in the text.
    pub figures: Value,
}

/// So many connections, and so many listeners, are kept in mind.
const MOST: usize = 65_536;

impl Sent {
    /// Such as `1,200 segments sent, 12 of them again (1.0 %)`.
    pub fn text(&self) -> String {
        format!(
            "{} sent, {} of {} again ({:.1} %)",
            words::count(self.segments, "segment"),
            thousands(self.again),
            if self.segments == 1 { "it" } else { "them" },
            self.percent()
        )
    }

    /// One more connection.
    pub fn add(&mut self, other: Sent) {
        self.segments += other.segments;
        self.again += other.again;
    }

    fn percent(&self) -> f64 {
        100.0 * self.again as f64 / self.segments.max(1) as f64
    }
}

impl Tally {
    /// A connection is not followed any more.
    pub fn end(&mut self, ends: Ends, sent: Sent) {
        if sent.again == 0 {
            return;
        }
        if self.over.len() < MOST {
            self.over.push((ends, sent));
        } else {
            self.others.add(sent);
        }
    }

    /// A SYN has come to this address.
    pub fn syn(&mut self, netns: u32, local: SocketAddr) {
        if let Some(desk) = self.desk(netns, local) {
            desk.syns += 1;
        }
    }

    /// A listener has decided, about a SYN or about what ends a handshake.
    pub fn decided(&mut self, netns: u32, local: SocketAddr, decision: Decision, of_syn: bool) {
        let Some(desk) = self.desk(netns, local) else {
            return;
        };
        desk.decided = true;
        let count = match decision {
            Decision::HalfOpen => &mut desk.remembered,
            Decision::Cookie => &mut desk.cookies,
            Decision::Evicted => &mut desk.evicted,
            Decision::Dropped if of_syn => &mut desk.dropped_syns,
            Decision::Dropped => &mut desk.dropped_acks,
            Decision::Reset => &mut desk.reset,
            Decision::Accepted | Decision::CookieAccepted => &mut desk.accepted,
            Decision::CookieRefused => &mut desk.bad_cookies,
            Decision::Expired => &mut desk.given_up,
            Decision::Deferred | Decision::Other(_) => return,
        };
        *count += 1;
    }

    fn desk(&mut self, netns: u32, local: SocketAddr) -> Option<&mut Desk> {
        let key = (netns, local);
        if self.desks.len() >= MOST && !self.desks.contains_key(&key) {
            // SYNs for what nobody listens at.
            self.desks.retain(|_, desk| desk.decided);
            if self.desks.len() >= MOST {
                return None;
            }
        }
        Some(self.desks.entry(key).or_default())
    }

    /// What is to be said: the connections that have sent most again first, then listeners.
    pub fn closing(mut self) -> (Vec<Closing>, Sent) {
        self.over
            .sort_by_key(|(ends, sent)| (std::cmp::Reverse(sent.again), *ends));
        let connections = self
            .over
            .iter()
            .map(|((netns, local, remote), sent)| Closing {
                netns: *netns,
                local: *local,
                remote: Some(*remote),
                text: format!("{}.", sent.text()),
                sent: *sent,
                figures: json!({
                    "segments_sent": sent.segments,
                    "segments_sent_again": sent.again,
                    "percent_sent_again": (sent.percent() * 100.0).round() / 100.0,
                }),
            });
        let listeners = self.desks.iter().filter(|(_, desk)| desk.decided);
        let listeners = listeners.map(|((netns, local), desk)| Closing {
            netns: *netns,
            local: *local,
            remote: None,
            text: desk.text(),
            sent: Sent::default(),
            figures: desk.figures(),
        });
        (connections.chain(listeners).collect(), self.others)
    }
}

impl fmt::Display for Closing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.remote {
            Some(remote) => write!(f, "{} with {remote}: {}", self.local, self.text),
            None => write!(f, "{}: {}", self.local, self.text),
        }
    }
}

impl Desk {
    fn answered(&self) -> u64 {
        self.remembered + self.cookies
    }

    fn text(&self) -> String {
        let mut text = format!(
            "{} came: {} answered",
            words::count(self.syns, "SYN"),
            thousands(self.answered())
        );
        if self.cookies > 0 {
            text += &format!(" ({} by cookies)", thousands(self.cookies));
        }
        text += &format!(
            ", {} dropped. {} given up",
            thousands(self.dropped_syns),
            words::count(self.given_up, "half-open connection")
        );
        let more = [
            (self.evicted, "gave way to others"),
            (self.accepted, "completed"),
            (self.bad_cookies, "refused for a bad cookie"),
            (
                self.dropped_acks,
                "without room when the handshake was to end",
            ),
            (self.reset, "reset for want of room"),
        ];
        for (count, words) in more {
            if count > 0 {
                text += &format!(", {} {words}", thousands(count));
            }
        }
        text + "."
    }

    fn figures(&self) -> Value {
        json!({
            "syns": self.syns,
            "answered": self.answered(),
            "cookies": self.cookies,
            "dropped": self.dropped_syns,
            "given_up": self.given_up,
            "evicted": self.evicted,
            "completed": self.accepted,
            "bad_cookies": self.bad_cookies,
            "dropped_acks": self.dropped_acks,
            "reset": self.reset,
        })
    }
}
