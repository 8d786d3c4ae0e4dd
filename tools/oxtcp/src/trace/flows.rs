// SPDX-License-Identifier: GPL-2.0
//! What is known of the connections that events are about: the state of each end, and where its numbers begin.

use std::collections::HashMap;
use std::net::SocketAddr;

use super::event::{Direction, Event, Header, Segment, What};
use crate::sockets::State;

/// So many connections are remembered; the ones that were quiet for longest go first.
const MOST: usize = 100_000;

/// A network namespace and two ends.
pub type Key = (u32, SocketAddr, SocketAddr);

/// See above.
#[derive(Default)]
pub struct Flows {
    /// By this host's end and the other. Both ends may be here.
    states: HashMap<Key, Known<State>>,
    /// What each sender's SYN has said, or the first segment of it that was seen. By sender and receiver.
    senders: HashMap<Key, Known<Sender>>,
}

/// Something that is remembered.
pub struct Known<T> {
    what: T,
    /// When it was last looked at.
    time: u64,
}

/// Of one direction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Sender {
    /// The number that counts as 0: the SYN's.
    pub base: u32,
    /// By how many bits windows are shifted, as the SYN says; `None`: it does not, or was not seen.
    pub shift: Option<u8>,
}

impl Flows {
    /// Takes notice of an event.
    pub fn observe(&mut self, event: &Event) {
        let key = (event.netns, event.local, event.remote);
        match &event.what {
            What::State { to, .. } => {
                if *to == State::Close {
                    self.states.remove(&key);
                } else {
                    insert(&mut self.states, key, *to, event.time);
                }
            }
            What::Segment(segment) => self.note(event, segment),
            _ => {}
        }
    }

    /// A connection that there was before any event told of it.
    pub fn already(&mut self, netns: u32, ends: (SocketAddr, SocketAddr), state: State, now: u64) {
        let key = (netns, canonical(ends.0), canonical(ends.1));
        insert(&mut self.states, key, state, now);
    }

    /// The state that this host's end is in, as far as is known.
    pub fn state(&self, event: &Event) -> Option<State> {
        let key = (event.netns, event.local, event.remote);
        Some(self.states.get(&key)?.what)
    }

    /// The sender of a segment, and its receiver as a sender.
    pub fn ends(&self, event: &Event, direction: Direction) -> (Option<Sender>, Option<Sender>) {
        let (from, to) = ends(event, direction);
        let find = |from, to| Some(self.senders.get(&(event.netns, from, to))?.what);
        (find(from, to), find(to, from))
    }

    fn note(&mut self, event: &Event, segment: &Segment) {
        const SYN: u8 = 2;
        const ACK: u8 = 16;
        let (from, to) = ends(event, segment.direction);
        let header = &segment.header;
        let (key, back) = ((event.netns, from, to), (event.netns, to, from));
        if header.flags() & SYN != 0 {
            let sender = Sender {
                base: header.seq(),
                shift: window_scale(header),
            };
            insert(&mut self.senders, key, sender, event.time);
            return;
        }
        // Without the SYN the first segment counts as the first byte.
        let guess = |number: u32| Sender {
            base: number.wrapping_sub(1),
            shift: None,
        };
        let mut touch = |key: Key, number: u32| match self.senders.get_mut(&key) {
            Some(known) => known.time = event.time,
            None => insert(&mut self.senders, key, guess(number), event.time),
        };
        touch(key, header.seq());
        if header.flags() & ACK != 0 {
            touch(back, header.ack());
        }
    }
}

/// As events have addresses.
fn canonical(end: SocketAddr) -> SocketAddr {
    SocketAddr::new(end.ip().to_canonical(), end.port())
}

fn ends(event: &Event, direction: Direction) -> (SocketAddr, SocketAddr) {
    match direction {
        Direction::In => (event.remote, event.local),
        Direction::Out => (event.local, event.remote),
    }
}

/// Remembers, and makes room when there is too much of it.
pub fn insert<T>(map: &mut HashMap<Key, Known<T>>, key: Key, what: T, time: u64) {
    if map.len() >= MOST && !map.contains_key(&key) {
        let mut times: Vec<u64> = map.values().map(|known| known.time).collect();
        let middle = times.len() / 2;
        let (_, median, _) = times.select_nth_unstable(middle);
        let median = *median;
        map.retain(|_, known| known.time > median);
    }
    map.insert(key, Known { what, time });
}

/// The options of a header, as far as they are whole: kind, and what follows its length.
pub fn options(header: &Header) -> impl Iterator<Item = (u8, &[u8])> {
    let mut rest = header.options();
    std::iter::from_fn(move || loop {
        let (&kind, after) = rest.split_first()?;
        match kind {
            0 => return None,
            1 => rest = after,
            _ => {
                let len = usize::from(*after.first()?);
                let value = rest.get(2..len)?;
                rest = &rest[len..];
                return Some((kind, value));
            }
        }
    })
}

fn window_scale(header: &Header) -> Option<u8> {
    options(header).find_map(|(kind, value)| match (kind, value) {
        (3, [shift]) => Some(*shift),
        _ => None,
    })
}

#[cfg(test)]
pub mod tests {
    use super::super::event::Cause;
    use super::*;

    /// A segment of a connection between 192.0.2.1:1000, which is here, and 192.0.2.2:80.
    pub fn segment(direction: Direction, flags: u8, seq: u32, ack: u32, options: &[u8]) -> Event {
        let mut header = vec![0; 20];
        let ports: [u16; 2] = match direction {
            Direction::Out => [1000, 80],
            Direction::In => [80, 1000],
        };
        header[0..2].copy_from_slice(&ports[0].to_be_bytes());
        header[2..4].copy_from_slice(&ports[1].to_be_bytes());
        header[4..8].copy_from_slice(&seq.to_be_bytes());
        header[8..12].copy_from_slice(&ack.to_be_bytes());
        header[12] = ((20 + options.len() / 4 * 4) as u8 / 4) << 4;
        header[13] = flags;
        header[14..16].copy_from_slice(&500u16.to_be_bytes());
        header.extend(options);
        event(What::Segment(Segment {
            direction,
            cause: match direction {
                Direction::In => Cause::Received,
                Direction::Out => Cause::Data,
            },
            header: Header(header),
            payload: 0,
            segment_size: 0,
            ecn: 0,
        }))
    }

    pub fn event(what: What) -> Event {
        Event {
            time: 1_000_000_000,
            netns: 7,
            cookie: 3,
            cgroup: 0,
            local: "192.0.2.1:1000".parse().unwrap(),
            remote: "192.0.2.2:80".parse().unwrap(),
            what,
        }
    }

    #[test]
    fn numbers_begin_at_the_syn() {
        let mut flows = Flows::default();
        let syn = segment(Direction::Out, 2, 5000, 0, &[1, 3, 3, 7]);
        flows.observe(&syn);
        let answer = segment(Direction::In, 18, 9000, 5001, &[2, 4, 5, 180]);
        flows.observe(&answer);
        let (here, there) = flows.ends(&syn, Direction::Out);
        let sender = |base, shift| Some(Sender { base, shift });
        assert_eq!((here, there), (sender(5000, Some(7)), sender(9000, None)));
        // Another connection between the same ends.
        flows.observe(&segment(Direction::Out, 2, 70_000, 0, &[]));
        assert_eq!(flows.ends(&syn, Direction::Out).0, sender(70_000, None));
    }

    #[test]
    fn numbers_without_a_syn() {
        let mut flows = Flows::default();
        let first = segment(Direction::Out, 16, 5000, 600, &[]);
        flows.observe(&first);
        let (here, there) = flows.ends(&first, Direction::Out);
        assert_eq!((here.unwrap().base, there.unwrap().base), (4999, 599));
    }

    #[test]
    fn states_come_and_go() {
        let mut flows = Flows::default();
        let change = |from, to| event(What::State { from, to });
        let open = change(State::Close, State::SynSent);
        flows.observe(&open);
        assert_eq!(flows.state(&open), Some(State::SynSent));
        flows.observe(&change(State::SynSent, State::Close));
        assert_eq!(flows.state(&open), None);
    }

    #[test]
    fn states_of_what_was_there_already() {
        let mut flows = Flows::default();
        let told = event(What::Timer(crate::trace::event::Timer::Pace));
        let mapped = "[::ffff:192.0.2.1]:1000".parse().unwrap();
        flows.already(told.netns, (mapped, told.remote), State::Established, 5);
        assert_eq!(flows.state(&told), Some(State::Established));
        flows.observe(&event(What::State {
            from: State::Established,
            to: State::CloseWait,
        }));
        assert_eq!(flows.state(&told), Some(State::CloseWait));
    }

    #[test]
    fn insert_is_bounded() {
        let mut map = HashMap::new();
        for number in 0..MOST as u64 + 10 {
            let end: SocketAddr = "192.0.2.1:1".parse().unwrap();
            insert(&mut map, (number as u32, end, end), (), number);
        }
        assert!(map.len() <= MOST && map.len() >= MOST / 2);
    }

    #[test]
    fn options_that_are_cut() {
        let with = |bytes: &[u8]| {
            let mut header = vec![0; 20];
            header.extend(bytes);
            options(&Header(header)).count()
        };
        assert_eq!(with(&[1, 1, 3, 3, 7, 0, 9]), 1);
        assert_eq!(with(&[3, 3]), 0);
        assert_eq!(with(&[3, 0, 3, 3]), 0);
        assert_eq!(with(&[3, 1, 3, 3]), 0);
        assert_eq!(with(&[8]), 0);
    }
}
