// SPDX-License-Identifier: GPL-2.0
//! What would be said again and again, of one peer after the other, and is counted instead.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use super::{words, Sentence};
use crate::ladder::rung::thousands;
use crate::trace::event::{Decision, Listener};

/// Which end says what: a sentence without what differs from peer to peer.
type Kind = (u32, SocketAddr, String);

/// A sentence that came again and again.
struct Flood {
    since: u64,
    told: u64,
    more: u64,
    last: Sentence,
    /// What a listener did, in the last of them.
    decision: Option<Listener>,
}

/// The sentences of the present second.
#[derive(Default)]
pub struct Floods(BTreeMap<Kind, Flood>);

/// What is said once in so much time is counted for the rest of it.
const QUIET: u64 = 1_000_000_000;
/// So many of a kind are told before others are counted: a few handshakes in a second are no flood.
const FEW: u64 = 5;
/// So many kinds are kept in mind. Who scans all ports makes more.
const MOST: usize = 16_384;

impl Floods {
    /// A sentence of what has no socket: whether it is to be told, or is one more of many. `decision` is what it tells, if that is a
    /// listener's.
    pub fn is_new(&mut self, sentence: &Sentence, decision: Option<&Listener>) -> bool {
        let kind = (sentence.netns, sentence.local, gist(sentence));
        let few = match decision.map(|listener| listener.decision) {
            None | Some(Decision::HalfOpen | Decision::Accepted | Decision::Deferred) => FEW,
            Some(_) => 1,
        };
        if self.0.len() >= MOST && !self.0.contains_key(&kind) {
            return true;
        }
        let flood = self.0.entry(kind).or_insert_with(|| Flood {
            since: sentence.time,
            told: 0,
            more: 0,
            last: sentence.clone(),
            decision: None,
        });
        if flood.told < few {
            flood.told += 1;
            return true;
        }
        flood.more += 1;
        let time = flood.last.time.max(sentence.time);
        flood.last = Sentence {
            time,
            ..sentence.clone()
        };
        flood.decision = decision.cloned();
        false
    }

    /// Sums up what was said often enough, where it is time to; without `now` all. What goes on is not told anew.
    pub fn end(&mut self, now: Option<u64>, say: &mut dyn FnMut(Sentence)) {
        self.0.retain(|_, flood| {
            if now.is_some_and(|now| now < flood.since.saturating_add(QUIET)) {
                return true;
            }
            if flood.more == 0 {
                return false;
            }
            say(flood.sum());
            flood.since = flood.last.time;
            flood.more = 0;
            true
        });
    }

    /// Nothing that is still to be said of them is of an earlier time.
    pub fn earliest(&self) -> Option<u64> {
        let open = self.0.values().filter(|flood| flood.more > 0);
        open.map(|flood| flood.last.time).min()
    }
}

impl Flood {
    fn sum(&self) -> Sentence {
        let (again, last) = match &self.decision {
            None => {
                let times = if self.more == 1 { "time" } else { "times" };
                let more = thousands(self.more);
                (format!("{more} more {times}"), self.last.text.clone())
            }
            Some(listener) => {
                let noun = match listener.decision {
                    Decision::HalfOpen | Decision::Cookie => "SYN",
                    Decision::Expired | Decision::Evicted => "half-open connection",
                    Decision::Dropped | Decision::Reset | Decision::Other(_) => "segment",
                    _ => "ACK",
                };
                let did = match listener.decision {
                    Decision::Expired => words::expired(listener, None),
                    _ => words::decision(listener),
                };
                let more = words::count(self.more, &format!("more {noun}"));
                (format!("with {more}"), format!("the listener {did}."))
            }
        };
        Sentence {
            text: format!(
                "The same {again} in {}. Of the last: {last}",
                words::duration(self.last.time.saturating_sub(self.since)),
            ),
            ..self.last.clone()
        }
    }
}

/// The sentence without the peer and without numbers.
fn gist(sentence: &Sentence) -> String {
    let text = sentence.text.replace(&sentence.remote.to_string(), "");
    text.chars()
        .filter(|letter| !letter.is_ascii_digit() && !matches!(letter, '.' | ','))
        .collect()
}
