// SPDX-License-Identifier: GPL-2.0
//! What is shown: two looks at the sockets and the counters, and what has changed between them.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::time::Instant;

use crate::counters::explained;
use crate::counters::read::{since, Counters};
use crate::sockets::process::Owners;
use crate::sockets::{Socket, State};
use crate::ss::summary::{listeners, Counts};

/// One look.
pub struct Sample {
    pub at: Instant,
    pub sockets: Vec<Socket>,
    pub counters: Counters,
    /// `net.oxtcp.max_syn_backlog`.
    pub max_syn_backlog: usize,
}

/// The order of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Order {
    /// Bytes per second, both ways.
    #[default]
    Rate,
    /// Retransmissions.
    Retransmissions,
    /// Round trip time.
    RoundTrip,
    /// Bytes that wait in both queues.
    Queues,
}

impl Order {
    /// The name that is shown.
    pub fn name(self) -> &'static str {
        match self {
            Order::Rate => "rate",
            Order::Retransmissions => "retransmissions",
            Order::RoundTrip => "round trip",
            Order::Queues => "queues",
        }
    }

    /// The one that comes next.
    pub fn next(self) -> Self {
        match self {
            Order::Rate => Order::Retransmissions,
            Order::Retransmissions => Order::RoundTrip,
            Order::RoundTrip => Order::Queues,
            Order::Queues => Order::Rate,
        }
    }
}

/// A connection.
#[derive(Clone, Debug, PartialEq)]
pub struct Connection {
    pub state: State,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Bytes per second that the peer has acknowledged.
    pub out: f64,
    /// Bytes per second that came.
    pub came: f64,
    pub rtt_us: u32,
    pub cwnd: u32,
    /// Since the last look, and in all.
    pub retransmitted: (u32, u32),
    pub send_queue: u32,
    pub recv_queue: u32,
    pub process: String,
}

/// A queue, and what bounds it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Queue {
    pub length: usize,
    pub most: usize,
}

/// A listener.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    pub local: SocketAddr,
    pub accept: Queue,
    pub half_open: Queue,
    pub connections: usize,
    pub process: String,
}

/// A counter that has risen.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    pub name: String,
    pub per_second: f64,
    pub meaning: &'static str,
}

/// All that is shown.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct View {
    pub states: Vec<(State, usize)>,
    pub sockets: usize,
    pub out: f64,
    pub came: f64,
    /// Connections per second, of both directions.
    pub opened: f64,
    pub retransmitted: f64,
    pub connections: Vec<Connection>,
    pub listeners: Vec<Listener>,
    pub events: Vec<Event>,
}

impl View {
    /// Of two looks. Without an earlier one nothing has a rate.
    pub fn between(before: Option<&Sample>, now: &Sample, owners: &Owners, order: Order) -> Self {
        let seconds = before.map_or(0.0, |before| {
            now.at.saturating_duration_since(before.at).as_secs_f64()
        });
        let rate = |amount: u64| {
            if seconds > 0.0 {
                amount as f64 / seconds
            } else {
                0.0
            }
        };
        let added = before.map_or_else(Counters::new, |before| {
            since(&before.counters, &now.counters)
        });
        let risen = |name: &str| added.get(name).copied().unwrap_or(0);
        let listeners = listeners(&now.sockets, owners);
        let old: HashMap<u64, &Socket> = before
            .into_iter()
            .flat_map(|before| &before.sockets)
            .filter_map(|socket| Some((cookie(socket)?, socket)))
            .collect();
        let mut connections: Vec<Connection> = now
            .sockets
            .iter()
            .filter(|socket| socket.state.is_connected())
            .map(|socket| {
                let info = socket.info.as_deref().copied().unwrap_or_default();
                let earlier = cookie(socket).and_then(|cookie| old.get(&cookie));
                // One that is new since the last look had nothing then; before the first one nobody knows.
                let then = match (earlier, before) {
                    (Some(socket), _) => socket.info.as_deref().copied().unwrap_or(info),
                    (None, Some(_)) => Default::default(),
                    (None, None) => info,
                };
                Connection {
                    state: socket.state,
                    local: socket.local,
                    remote: socket.remote,
                    out: rate(info.bytes_acked.saturating_sub(then.bytes_acked)),
                    came: rate(info.bytes_received.saturating_sub(then.bytes_received)),
                    rtt_us: info.rtt_us,
                    cwnd: info.snd_cwnd,
                    retransmitted: (
                        info.total_retrans.saturating_sub(then.total_retrans),
                        info.total_retrans,
                    ),
                    send_queue: socket.send_queue,
                    recv_queue: socket.recv_queue,
                    process: match owners.names(socket.inode) {
                        // Not accepted, or newer than the last look for processes. Of what is being closed without one it is nobody's.
                        unknown if unknown.is_empty() && may_be_new(socket) => {
                            let listener = listeners
                                .iter()
                                .filter(|listener| listener.has(socket))
                                .min_by_key(|l| l.socket.local.ip().is_unspecified());
                            listener.map_or(unknown, |listener| listener.processes.clone())
                        }
                        known => known,
                    },
                }
            })
            .collect();
        connections.sort_by(|a, b| {
            let key = |c: &Connection| match order {
                Order::Rate => c.out + c.came,
                Order::Retransmissions => {
                    f64::from(c.retransmitted.0) * 1e9 + f64::from(c.retransmitted.1)
                }
                Order::RoundTrip => f64::from(c.rtt_us),
                Order::Queues => f64::from(c.send_queue) + f64::from(c.recv_queue),
            };
            key(b)
                .total_cmp(&key(a))
                .then_with(|| a.local.cmp(&b.local))
                .then_with(|| a.remote.cmp(&b.remote))
        });
        let counts = Counts::of(&now.sockets);
        Self {
            states: State::ALL
                .into_iter()
                .map(|state| (state, counts.in_state(state)))
                .filter(|(_, number)| *number > 0)
                .collect(),
            sockets: now.sockets.len(),
            out: total(&connections, |c| c.out),
            came: total(&connections, |c| c.came),
            opened: rate(risen("ActiveOpens").saturating_add(risen("PassiveOpens"))),
            // Those of connections that have ended, too.
            retransmitted: rate(risen("RetransSegs")),
            listeners: listeners
                .into_iter()
                .map(|listener| {
                    let backlog = listener.backlog.unwrap_or(0) as usize;
                    Listener {
                        local: listener.socket.local,
                        accept: Queue {
                            length: listener.socket.recv_queue as usize,
                            most: listener.most_waiting().unwrap_or(0) as usize,
                        },
                        half_open: Queue {
                            length: listener.half_open,
                            most: match &listener.socket.queues {
                                Some(queues) => queues.syn.most as usize,
                                None => now.max_syn_backlog.min(backlog + 1),
                            },
                        },
                        connections: listener.connections,
                        process: listener.processes,
                    }
                })
                .collect(),
            events: {
                let mut events: Vec<Event> = added
                    .into_iter()
                    .filter(|(_, added)| *added > 0)
                    .map(|(name, added)| Event {
                        per_second: rate(added),
                        meaning: explained::find(&name).map_or("", |explained| explained.meaning),
                        name,
                    })
                    .collect();
                events.sort_by(|a, b| b.per_second.total_cmp(&a.per_second));
                events
            },
            connections,
        }
    }
}

/// The sum over all connections. That of none is -0.0 with `sum()`.
fn total(connections: &[Connection], of: fn(&Connection) -> f64) -> f64 {
    connections.iter().map(of).fold(0.0, |sum, one| sum + one)
}

/// Whether a socket of no known process may have one, or will.
fn may_be_new(socket: &Socket) -> bool {
    socket.inode != 0 || matches!(socket.state, State::Established | State::CloseWait)
}

/// What tells a socket from others that had its addresses before.
fn cookie(socket: &Socket) -> Option<u64> {
    socket.identity.as_ref()?.cookie()
}
