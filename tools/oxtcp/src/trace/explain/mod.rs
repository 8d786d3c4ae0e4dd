// SPDX-License-Identifier: GPL-2.0
//! `--explain`: what happened and why, in sentences. What is inferred is called probable.

mod bulk;
mod talk;
pub mod words;

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;

use super::event::{Bound, Decision, Event, Listener, What};
use talk::Talk;

/// A sentence about a connection, as one end of it sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sentence {
    /// When it became true, on the trace's clock.
    pub time: u64,
    pub netns: u32,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub text: String,
}

impl fmt::Display for Sentence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} with {}: {}", self.local, self.remote, self.text)
    }
}

/// Tells what events mean.
#[derive(Default)]
pub struct Narrator {
    talks: HashMap<(u32, SocketAddr, SocketAddr), Talk>,
    /// Few: one for each kind of thing that listeners do now.
    floods: Vec<(Kind, Flood)>,
}

/// Which listener did what, for want of what.
type Kind = (u32, SocketAddr, Decision, Bound);

/// What a listener did again and again.
struct Flood {
    since: u64,
    more: u64,
    last: Event,
}

/// What is said of a listener once in so much time is counted for the rest of it.
const QUIET: u64 = 1_000_000_000;
/// So many connections are kept in mind; then those that never came to be are forgotten.
const MOST_TALKS: usize = 65_536;

impl Narrator {
    /// Takes in what happened. Often there is nothing to say.
    pub fn event(&mut self, event: &Event) -> Vec<Sentence> {
        let mut sentences = Vec::new();
        self.end_floods(Some(event.time), &mut sentences);
        if event.remote.port() == 0 {
            sentences.extend(listener_state(event));
            return sentences;
        }
        if let What::Listener(listener) = &event.what {
            if !self.is_new(event, listener) {
                return sentences;
            }
        }
        if self.talks.len() >= MOST_TALKS {
            self.talks.retain(|_, talk| talk.is_established());
            if self.talks.len() >= MOST_TALKS {
                self.talks.clear();
            }
        }
        let key = (event.netns, event.local, event.remote);
        let talk = self.talks.entry(key).or_default();
        let mut say = |time: u64, text: String| {
            sentences.push(Sentence {
                time,
                netns: event.netns,
                local: event.local,
                remote: event.remote,
                text,
            });
        };
        talk.event(event, &mut say);
        if talk.is_over() {
            self.talks.remove(&key);
        }
        sentences
    }

    /// What is left to say at the end of the trace.
    pub fn finish(mut self) -> Vec<Sentence> {
        let mut sentences = Vec::new();
        self.end_floods(None, &mut sentences);
        let mut talks: Vec<_> = self.talks.drain().collect();
        talks.sort_by_key(|(key, talk)| (talk.last(), *key));
        for ((netns, local, remote), mut talk) in talks {
            talk.flush(&mut |time, text| {
                sentences.push(Sentence {
                    time,
                    netns,
                    local,
                    remote,
                    text,
                });
            });
        }
        sentences
    }

    /// Whether a listener's decision is to be told, or is one more of many.
    fn is_new(&mut self, event: &Event, listener: &Listener) -> bool {
        if matches!(
            listener.decision,
            Decision::HalfOpen | Decision::Accepted | Decision::Deferred
        ) {
            return true;
        }
        let key = (event.netns, event.local, listener.decision, listener.bound);
        let known = self.floods.iter_mut().find(|(kind, _)| *kind == key);
        match known {
            Some((_, flood)) => {
                flood.more += 1;
                flood.last = event.clone();
                false
            }
            None => {
                let flood = Flood {
                    since: event.time,
                    more: 0,
                    last: event.clone(),
                };
                self.floods.push((key, flood));
                true
            }
        }
    }

    /// Sums up what listeners did, where it is time to. What goes on is not told anew.
    fn end_floods(&mut self, now: Option<u64>, sentences: &mut Vec<Sentence>) {
        self.floods.retain_mut(|((_, _, decision, _), flood)| {
            if now.is_some_and(|now| now < flood.since + QUIET) {
                return true;
            }
            let event = &flood.last;
            let (What::Listener(listener), 1..) = (&event.what, flood.more) else {
                return false;
            };
            let what = match decision {
                Decision::Cookie => "SYN",
                Decision::Expired | Decision::Evicted => "half-open connection",
                Decision::CookieAccepted | Decision::CookieRefused => "ACK",
                _ => "segment",
            };
            sentences.push(Sentence {
                time: event.time,
                netns: event.netns,
                local: event.local,
                remote: event.remote,
                text: format!(
                    "The same with {} in {}. Of the last: the listener {}.",
                    words::count(flood.more, &format!("more {what}")),
                    words::duration(event.time.saturating_sub(flood.since)),
                    words::decision(listener),
                ),
            });
            flood.since = event.time;
            flood.more = 0;
            now.is_some()
        });
    }
}

fn listener_state(event: &Event) -> Option<Sentence> {
    use crate::sockets::State;
    let text = match &event.what {
        What::State {
            to: State::Listen, ..
        } => "A program listens here.".into(),
        What::State {
            to: State::Close, ..
        } => "The program has stopped listening here.".into(),
        What::Overflow(overflow) => format!("Of the listener, {}.", words::overflow(overflow)),
        _ => return None,
    };
    Some(Sentence {
        time: event.time,
        netns: event.netns,
        local: event.local,
        remote: event.remote,
        text,
    })
}

#[cfg(test)]
mod tests;
