// SPDX-License-Identifier: GPL-2.0
//! Which events are of the sockets of one cgroup. Events of what has no socket (a half-open connection, a TIME-WAIT) do not tell the cgroup:
//! they belong to it where a listener or a connection of it is known at that end.

use std::collections::hash_map::{Entry, HashMap};

use super::event::{Event, What};
use super::flows::{insert, Key, Known};
use crate::sockets::State;

/// What is known of a cgroup's sockets.
pub struct Scope {
    cgroup: u64,
    connections: HashMap<Key, Known<()>>,
    /// How many listeners there are, by network namespace and port.
    listeners: HashMap<(u32, u16), usize>,
}

impl Scope {
    /// Of this cgroup.
    pub fn new(cgroup: u64) -> Self {
        Self {
            cgroup,
            connections: HashMap::new(),
            listeners: HashMap::new(),
        }
    }

    /// Whether an event is of it, and takes notice of it.
    pub fn has(&mut self, event: &Event) -> bool {
        let listener = (event.netns, event.local.port());
        let connection = (event.netns, event.local, event.remote);
        if event.cookie == 0 {
            return self.connections.contains_key(&connection)
                || self.listeners.contains_key(&listener);
        }
        if event.cgroup != self.cgroup {
            return false;
        }
        match event.what {
            What::State {
                to: State::Listen, ..
            } => {
                *self.listeners.entry(listener).or_default() += 1;
            }
            What::State {
                from: State::Listen,
                ..
            } => {
                if let Entry::Occupied(mut known) = self.listeners.entry(listener) {
                    *known.get_mut() -= 1;
                    if *known.get() == 0 {
                        known.remove();
                    }
                }
            }
            _ if event.remote.port() != 0 => {
                insert(&mut self.connections, connection, (), event.time);
            }
            _ => {}
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::super::flows::tests::event;
    use super::*;

    #[test]
    fn has_what_belongs_to_its_sockets() {
        let change = |from, to, cookie, cgroup| Event {
            cookie,
            cgroup,
            ..event(What::State { from, to })
        };
        let mut scope = Scope::new(5);
        let waits = change(State::FinWait2, State::TimeWait, 0, 0);
        assert!(!scope.has(&waits), "nothing is known of it");
        assert!(!scope.has(&change(State::SynSent, State::Established, 3, 6)));
        assert!(!scope.has(&waits), "it is another cgroup's");
        assert!(scope.has(&change(State::SynSent, State::Established, 3, 5)));
        assert!(scope.has(&waits));
    }

    #[test]
    fn has_half_open_connections_of_a_listener() {
        let listener = |from, to| Event {
            cgroup: 5,
            remote: "0.0.0.0:0".parse().unwrap(),
            ..event(What::State { from, to })
        };
        let half_open = Event {
            cookie: 0,
            ..event(What::State {
                from: State::Listen,
                to: State::SynRecv,
            })
        };
        let mut scope = Scope::new(5);
        assert!(!scope.has(&half_open));
        assert!(scope.has(&listener(State::Close, State::Listen)));
        assert!(scope.has(&half_open));
        // One of two goes, as a server does that is reloaded.
        assert!(scope.has(&listener(State::Close, State::Listen)));
        assert!(scope.has(&listener(State::Listen, State::Close)));
        assert!(scope.has(&half_open));
        assert!(scope.has(&listener(State::Listen, State::Close)));
        assert!(!scope.has(&half_open));
    }
}
