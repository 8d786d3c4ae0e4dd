// SPDX-License-Identifier: GPL-2.0
//! What each connection came to: from events to a line for each.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Duration;

use super::event::{Congestion, Event, What};
use super::flows::Key;
use crate::sockets::State;

/// Of more connections only the number is kept.
const MOST: usize = 100_000;

/// Who has opened a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Opened {
    /// connect(2).
    Here,
    /// The peer: a listener has accepted it.
    Peer,
    /// It was there before the trace.
    Before,
}

/// How far a connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// It goes on.
    Open,
    /// Both ends have closed it.
    Closed,
    /// By a reset, or a time-out, or as a program has asked for.
    Aborted,
    /// It never was: refused, or without an answer.
    Failed,
}

impl End {
    /// In a word.
    pub fn name(self) -> &'static str {
        match self {
            End::Open => "open",
            End::Closed => "closed",
            End::Aborted => "aborted",
            End::Failed => "failed",
        }
    }
}

/// A connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    /// This host's end.
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub opened: Opened,
    /// The last state but CLOSED.
    pub state: State,
    pub end: End,
    /// From its first event to its end, or to its last event.
    pub duration: Duration,
    /// Bytes that the peer has acknowledged, and that came in order.
    pub sent: u64,
    pub received: u64,
    /// Segments sent again.
    pub retransmits: u32,
    /// The last smoothed round trip, if one was measured.
    pub srtt: Option<Duration>,
    /// Nanoseconds of the trace's clock.
    began: u64,
}

/// Makes connections of events, which are of one program's sockets.
#[derive(Default)]
pub struct Summaries {
    list: Vec<Connection>,
    /// By the socket, while it has one.
    by_cookie: HashMap<u64, usize>,
    /// The newest between two ends: what has no socket any more is found by them.
    by_ends: HashMap<Key, usize>,
}

impl Summaries {
    /// One more event; they are sorted by time.
    pub fn event(&mut self, event: &Event) {
        // The rest says nothing for a summary; and what a listener has decided is told with its cookie, and a peer's address.
        let tells = matches!(event.what, What::State { .. } | What::Congestion(_));
        if !tells || event.remote.port() == 0 {
            return;
        }
        let Some(at) = self.place(event) else {
            return;
        };
        let connection = &mut self.list[at];
        match &event.what {
            What::State { from, to } => connection.change(*from, *to),
            What::Congestion(now) => connection.stands(now),
            _ => {}
        }
        // What comes for one that is over does not make it longer; nor does a TIME-WAIT.
        if connection.end == End::Open || matches!(event.what, What::State { .. }) {
            let waits = matches!(
                event.what,
                What::State {
                    from: State::TimeWait,
                    ..
                }
            );
            if !waits {
                connection.duration =
                    Duration::from_nanos(event.time.saturating_sub(connection.began));
            }
        }
    }

    /// The connections, in the order in which they began.
    pub fn finish(self) -> Vec<Connection> {
        self.list
    }

    /// Where the connection of an event is; a new one where none is known.
    fn place(&mut self, event: &Event) -> Option<usize> {
        let ends = (event.netns, event.local, event.remote);
        if event.cookie == 0 {
            return self.by_ends.get(&ends).copied();
        }
        let opened = match event.what {
            What::State {
                from: State::Close,
                to: State::SynSent,
            } => Opened::Here,
            What::State {
                from: State::SynRecv,
                ..
            } => Opened::Peer,
            _ => Opened::Before,
        };
        // A socket may have one after the other.
        if opened != Opened::Here {
            if let Some(at) = self.by_cookie.get(&event.cookie) {
                return Some(*at);
            }
        }
        // What is told of a socket that is none any more is no connection.
        let is_over = matches!(
            event.what,
            What::State {
                to: State::Close,
                ..
            }
        );
        if is_over || self.list.len() >= MOST {
            return None;
        }
        let at = self.list.len();
        self.list.push(Connection {
            local: event.local,
            remote: event.remote,
            opened,
            state: State::Established,
            end: End::Open,
            duration: Duration::ZERO,
            sent: 0,
            received: 0,
            retransmits: 0,
            srtt: None,
            began: event.time,
        });
        self.by_cookie.insert(event.cookie, at);
        self.by_ends.insert(ends, at);
        Some(at)
    }
}

impl Connection {
    fn change(&mut self, from: State, to: State) {
        if self.end != End::Open {
            return;
        }
        match to {
            State::TimeWait => {
                self.state = to;
                self.end = End::Closed;
            }
            State::Close => {
                self.end = match from {
                    State::LastAck | State::TimeWait => End::Closed,
                    State::SynSent | State::SynRecv => End::Failed,
                    _ => End::Aborted,
                };
            }
            _ => self.state = to,
        }
    }

    fn stands(&mut self, now: &Congestion) {
        self.sent = self.sent.max(now.bytes_acked);
        self.received = self.received.max(now.bytes_received);
        self.retransmits = self.retransmits.max(now.retransmits);
        self.srtt = now.srtt.or(self.srtt);
    }
}

#[cfg(test)]
mod tests {
    use super::super::event::Mode;
    use super::super::flows::tests::event;
    use super::super::made::Story;
    use super::*;
    use crate::ladder::flow::Side;

    fn change(cookie: u64, at_ms: u64, from: State, to: State) -> Event {
        Event {
            cookie,
            time: at_ms * 1_000_000,
            ..event(What::State { from, to })
        }
    }

    fn ends(changes: &[(u64, State, State)]) -> Vec<(Opened, State, End, u128)> {
        let mut all = Summaries::default();
        for (at, (cookie, from, to)) in (0..).zip(changes) {
            all.event(&change(*cookie, 10 * at, *from, *to));
        }
        let list = all.finish();
        list.iter()
            .map(|one| (one.opened, one.state, one.end, one.duration.as_millis()))
            .collect()
    }

    #[test]
    fn finish_says_how_they_ended() {
        use State::*;
        let opened = [(3, Close, SynSent), (3, SynSent, Established)];
        let then = |more: &[(u64, State, State)]| ends(&[&opened[..], more].concat());
        assert_eq!(then(&[]), [(Opened::Here, Established, End::Open, 10)]);
        assert_eq!(
            then(&[(3, Established, Close)]),
            [(Opened::Here, Established, End::Aborted, 20)]
        );
        // The last of it has no socket.
        let closed = [
            (3, Established, FinWait1),
            (3, FinWait1, FinWait2),
            (0, FinWait2, TimeWait),
            (0, TimeWait, Close),
        ];
        assert_eq!(then(&closed), [(Opened::Here, TimeWait, End::Closed, 40)]);
        assert_eq!(
            ends(&[(3, Close, SynSent), (3, SynSent, Close)]),
            [(Opened::Here, SynSent, End::Failed, 10)]
        );
        let accepted = [
            (3, SynRecv, Established),
            (3, Established, CloseWait),
            (3, CloseWait, LastAck),
            (3, LastAck, Close),
        ];
        assert_eq!(ends(&accepted), [(Opened::Peer, LastAck, End::Closed, 30)]);
    }

    #[test]
    fn event_of_a_socket_that_connects_again() {
        use State::*;
        let twice = [
            (3, Close, SynSent),
            (3, SynSent, Close),
            (3, Close, SynSent),
            (3, SynSent, Established),
        ];
        assert_eq!(
            ends(&twice),
            [
                (Opened::Here, SynSent, End::Failed, 10),
                (Opened::Here, Established, End::Open, 10)
            ]
        );
    }

    #[test]
    fn event_of_a_listener_is_no_connection() {
        use super::super::event::{Bound, Decision, Listener};
        let decides = event(What::Listener(Listener {
            decision: Decision::HalfOpen,
            bound: Bound::None,
            half_open: 1,
            most_half_open: 2,
            waiting: 0,
            asked: 1,
            granted: 1,
            syncookies: 1,
            limit: crate::sockets::limit::Limit::Backlog,
        }));
        let mut all = Summaries::default();
        all.event(&decides);
        assert_eq!(all.finish(), []);
    }

    #[test]
    fn event_of_what_is_not_known() {
        use State::*;
        assert_eq!(
            ends(&[(0, FinWait2, TimeWait), (4, Established, Close)]),
            []
        );
    }

    #[test]
    fn event_that_tells_where_it_stands() {
        let mut story = Story::v4();
        story.open().standing(Side::Client, Mode::Open, 10);
        let mut events = story.seen_by(Side::Client);
        let What::Congestion(now) = &mut events.last_mut().unwrap().what else {
            panic!("it is the last one");
        };
        (now.bytes_acked, now.bytes_received, now.retransmits) = (7, 9, 2);
        let srtt = now.srtt;
        let mut all = Summaries::default();
        events.iter().for_each(|event| all.event(event));
        let list = all.finish();
        assert_eq!(list.len(), 1);
        let one = &list[0];
        assert_eq!((one.sent, one.received, one.retransmits), (7, 9, 2));
        assert_eq!(
            (one.srtt, one.opened, one.end),
            (srtt, Opened::Here, End::Open)
        );
    }
}
