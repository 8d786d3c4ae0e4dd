// SPDX-License-Identifier: GPL-2.0
//! `--explain`: what happened and why, in sentences. What is inferred is called probable.

mod bulk;
mod flood;
mod talk;
mod tally;
pub mod words;

use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;

use super::event::{Direction, Event, Listener, What};
use flood::Floods;
use talk::Talk;
use tally::{Ends, Tally};

pub use tally::{Closing, Sent};

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
        match self.remote.port() {
            // A listener's.
            0 => write!(f, "{}: {}", self.local, self.text),
            _ => write!(f, "{} with {}: {}", self.local, self.remote, self.text),
        }
    }
}

/// Tells what events mean.
#[derive(Default)]
pub struct Narrator {
    talks: HashMap<Ends, Talk>,
    floods: Floods,
    tally: Tally,
    /// What is said, and may yet be preceded by something.
    waiting: Vec<Sentence>,
}

/// What there is to say at the end of the trace.
pub struct End {
    pub sentences: Vec<Sentence>,
    /// Sums of the connections that lost something, and of the listeners.
    pub closing: Vec<Closing>,
    /// Of the connections that there was no room for in it.
    pub others: Sent,
}

/// So many connections are kept in mind; then those that never came to be are forgotten.
const MOST_TALKS: usize = 65_536;

impl Narrator {
    /// Takes in what happened.
    pub fn event(&mut self, event: &Event) {
        if event.remote.port() == 0 {
            self.waiting.extend(listener_state(event));
            return;
        }
        self.make_room();
        let key = (event.netns, event.local, event.remote);
        let talk = self.talks.entry(key).or_default();
        let decision = match &event.what {
            What::Listener(listener) => Some(listener),
            _ => None,
        };
        if let Some(listener) = decision {
            let of_syn = talk.came_syn() != Some(false);
            self.tally
                .decided(event.netns, event.local, listener.decision, of_syn);
        }
        let mut said = Vec::new();
        talk.event(event, &mut |time, text| said.push((time, text)));
        if talk.came_syn() == Some(true)
            && matches!(&event.what, What::Segment(segment) if segment.direction == Direction::In)
        {
            self.tally.syn(event.netns, event.local);
        }
        // The listener's own sentence comes after what was summed up.
        let last = said.len();
        for (number, (time, text)) in said.into_iter().enumerate() {
            let decision = decision.filter(|_| number + 1 == last);
            say(
                &mut self.waiting,
                &mut self.floods,
                talk,
                key,
                (time, text),
                decision,
            );
        }
        if talk.is_over() {
            self.tally.end(key, talk.sent());
            self.talks.remove(&key);
        }
    }

    /// What can be said by now, in the order of time; all events up to `now` were told. What is summed up is said when it is old enough.
    pub fn ready(&mut self, now: u64) -> Vec<Sentence> {
        let mut due: Vec<Ends> = self
            .talks
            .iter()
            .filter(|(_, talk)| talk.is_due(now))
            .map(|(key, _)| *key)
            .collect();
        due.sort_unstable();
        for key in due {
            self.flush(key, Some(now));
        }
        self.floods
            .end(Some(now), &mut |sentence| self.waiting.push(sentence));
        let earliest = self
            .talks
            .values()
            .filter_map(Talk::earliest)
            .chain(self.floods.earliest())
            .min();
        // Stable: what is of one time stays in its order.
        self.waiting.sort_by_key(|sentence| sentence.time);
        let until = earliest.unwrap_or(u64::MAX);
        let ready = self
            .waiting
            .partition_point(|sentence| sentence.time <= until);
        let rest = self.waiting.split_off(ready);
        std::mem::replace(&mut self.waiting, rest)
    }

    /// What is left to say at the end of the trace.
    pub fn finish(mut self) -> End {
        let mut keys: Vec<(u64, Ends)> = self
            .talks
            .iter()
            .map(|(key, talk)| (talk.last(), *key))
            .collect();
        keys.sort_unstable();
        for (_, key) in keys {
            self.flush(key, None);
            if let Some(talk) = self.talks.get(&key) {
                self.tally.end(key, talk.sent());
            }
        }
        self.floods
            .end(None, &mut |sentence| self.waiting.push(sentence));
        self.waiting.sort_by_key(|sentence| sentence.time);
        let (closing, others) = self.tally.closing();
        End {
            sentences: self.waiting,
            closing,
            others,
        }
    }

    /// Says what a connection has summed up, if that is old enough, or in any case.
    fn flush(&mut self, key: Ends, now: Option<u64>) {
        let Some(talk) = self.talks.get_mut(&key) else {
            return;
        };
        let mut said = Vec::new();
        let mut say_it = |time, text| said.push((time, text));
        match now {
            Some(now) => talk.flush_due(now, &mut say_it),
            None => talk.flush_all(&mut say_it),
        }
        for what in said {
            say(&mut self.waiting, &mut self.floods, talk, key, what, None);
        }
        if now.is_some() && talk.is_over() {
            self.tally.end(key, talk.sent());
            self.talks.remove(&key);
        }
    }

    fn make_room(&mut self) {
        if self.talks.len() < MOST_TALKS {
            return;
        }
        let few = self
            .talks
            .values()
            .filter(|talk| talk.is_established())
            .count()
            < MOST_TALKS;
        let tally = &mut self.tally;
        self.talks.retain(|key, talk| {
            let stays = few && talk.is_established();
            if !stays {
                tally.end(*key, talk.sent());
            }
            stays
        });
    }
}

/// Says it, or counts it as one more of many.
fn say(
    waiting: &mut Vec<Sentence>,
    floods: &mut Floods,
    talk: &Talk,
    (netns, local, remote): Ends,
    (time, text): (u64, String),
    decision: Option<&Listener>,
) {
    let sentence = Sentence {
        time,
        netns,
        local,
        remote,
        text,
    };
    if talk.has_socket() || floods.is_new(&sentence, decision) {
        waiting.push(sentence);
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
        What::Overflow(overflow) => format!("The listener: {}.", words::overflow(overflow)),
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
