// SPDX-License-Identifier: GPL-2.0
//! `oxtcp ss --summary`: how many sockets there are in which state, and what each listener has.

use std::collections::HashMap;

use serde_json::json;

use super::{Arguments, Filter, Listing, Services};
use crate::failure::Result;
use crate::host::Host;
use crate::output::{print, print_json, Ink, Painter, Table};
use crate::sockets::process::Owners;
use crate::sockets::{Socket, Source, State};

/// Prints it.
pub fn summary(
    host: &Host,
    source: &mut dyn Source,
    filter: &Filter,
    owners: &Owners,
    arguments: &Arguments,
) -> Result<()> {
    let states = arguments.states(filter);
    let mut sockets = Vec::new();
    source.each(&mut |socket| {
        if states.contains(&socket.state) && filter.matches(&socket, owners) {
            sockets.push(socket);
        }
    })?;
    let counts = Counts::of(&sockets);
    let listeners = listeners(&sockets, owners);
    if arguments.json {
        return print_json(&json!({
            "states": State::ALL
                .iter()
                .filter(|state| counts.in_state(**state) > 0)
                .map(|state| (state.name().to_string(), json!(counts.in_state(*state))))
                .collect::<serde_json::Map<_, _>>(),
            "orphans": counts.orphans,
            "ipv4": counts.v4,
            "ipv6": counts.v6,
            "listeners": listeners.iter().map(Listener::json).collect::<Vec<_>>(),
        }));
    }
    let listing = Listing {
        arguments,
        services: if arguments.numeric {
            Services::default()
        } else {
            Services::read(host)
        },
        owners: Owners::default(),
        painter: Painter::new(arguments.color),
    };
    print(&(counts.text(host) + &text(&listeners, &listing)))
}

/// How many there are.
pub struct Counts {
    states: [usize; 12],
    orphans: usize,
    v4: usize,
    v6: usize,
}

impl Counts {
    /// Counts them.
    pub fn of(sockets: &[Socket]) -> Self {
        let mut counts = Self {
            states: [0; 12],
            orphans: 0,
            v4: 0,
            v6: 0,
        };
        for socket in sockets {
            counts.states[socket.state as usize] += 1;
            counts.orphans += usize::from(socket.is_orphan());
            if socket.local.is_ipv4() {
                counts.v4 += 1;
            } else {
                counts.v6 += 1;
            }
        }
        counts
    }

    /// How many are in a state.
    pub fn in_state(&self, state: State) -> usize {
        self.states[state as usize]
    }

    fn text(&self, host: &Host) -> String {
        let limit = |name: &str| {
            let value = host
                .sysctl_value(&format!("net.oxtcp.{name}"))
                .ok()
                .flatten();
            value.map_or(String::new(), |value| format!(" of {value} ({name})"))
        };
        let mut out = format!(
            "Sockets: {} (IPv4 {}, IPv6 {})\n",
            self.v4 + self.v6,
            self.v4,
            self.v6
        );
        for state in State::ALL {
            if self.in_state(state) > 0 {
                let limit = if state == State::TimeWait {
                    limit("max_tw_buckets")
                } else {
                    String::new()
                };
                out += &format!("  {:<10} {}{limit}\n", state.label(), self.in_state(state));
            }
        }
        if self.orphans > 0 {
            out += &format!(
                "  of these {} without a program{}\n",
                self.orphans,
                limit("max_orphans")
            );
        }
        out
    }
}

/// A listener, and the connections of its port.
pub struct Listener {
    /// It.
    pub socket: Socket,
    /// Whose it is.
    pub processes: String,
    /// The backlog that it has; `None` where that is not told.
    pub backlog: Option<u32>,
    /// Half-open connections.
    pub half_open: usize,
    /// Others of its port.
    pub connections: usize,
}

impl Listener {
    /// The most that may wait for accept(); `None` where that is not told. As in Linux, a backlog of n lets n + 1 wait.
    pub fn most_waiting(&self) -> Option<u64> {
        match &self.socket.queues {
            Some(queues) => Some(queues.accept.most),
            None => Some(u64::from(self.backlog?).saturating_add(1)),
        }
    }

    fn json(&self) -> serde_json::Value {
        json!({
            "local": { "address": self.socket.local.ip(), "port": self.socket.local.port() },
            "waiting": self.socket.recv_queue,
            "most_waiting": self.most_waiting(),
            "backlog": self.backlog,
            "half_open": self.half_open,
            "connections": self.connections,
            "processes": self.processes,
            "dropped": self.dropped(),
        })
    }

    /// SYNs and handshakes that it has dropped; `None` where that is not told.
    fn dropped(&self) -> Option<u64> {
        let queues = self.socket.queues.as_ref()?;
        Some(queues.drops().map(|(_, count)| count).sum())
    }

    /// Whether a connection came, or is coming, by this listener, as far as addresses tell.
    pub fn has(&self, other: &Socket) -> bool {
        let (own, other) = (self.socket.local, other.local);
        let both = own.ip() == other.ip()
            || own.ip().to_canonical() == other.ip().to_canonical()
            || (own.ip().is_unspecified()
                && (own.is_ipv6() || other.ip().to_canonical().is_ipv4()));
        own.port() == other.port() && both
    }
}

/// The listeners among the sockets, by port.
pub fn listeners(sockets: &[Socket], owners: &Owners) -> Vec<Listener> {
    let mut listeners: Vec<Listener> = sockets
        .iter()
        .filter(|socket| socket.state == State::Listen)
        .map(|socket| Listener {
            processes: owners.names(socket.inode),
            // `/proc` does not say it.
            backlog: socket.identity.is_some().then_some(socket.send_queue),
            socket: socket.clone(),
            half_open: 0,
            connections: 0,
        })
        .collect();
    let mut by_port: HashMap<u16, Vec<usize>> = HashMap::new();
    for (place, listener) in listeners.iter().enumerate() {
        let port = listener.socket.local.port();
        by_port.entry(port).or_default().push(place);
    }
    for socket in sockets {
        if socket.state == State::Listen {
            continue;
        }
        // A listener on the address itself before one on all.
        let places = by_port.get(&socket.local.port());
        let of = places
            .into_iter()
            .flatten()
            .copied()
            .filter(|place| listeners[*place].has(socket))
            .min_by_key(|place| listeners[*place].socket.local.ip().is_unspecified());
        if let Some(place) = of {
            let of = &mut listeners[place];
            match socket.state {
                State::SynRecv => of.half_open += 1,
                State::TimeWait => {}
                _ => of.connections += 1,
            }
        }
    }
    listeners.sort_by_key(|listener| listener.socket.local.port());
    listeners
}

fn text(listeners: &[Listener], listing: &Listing<'_>) -> String {
    if listeners.is_empty() {
        return String::new();
    }
    let mut table = Table::new(
        &[
            "LISTENER",
            "WAITING",
            "OF",
            "HALF-OPEN",
            "CONNECTIONS",
            "DROPPED",
            "PROCESS",
        ],
        &[1, 2, 3, 4, 5],
    );
    for listener in listeners {
        table.row(vec![
            listing.end(listener.socket.local),
            listener.socket.recv_queue.to_string(),
            listener
                .most_waiting()
                .map_or("-".into(), |most| most.to_string()),
            listener.half_open.to_string(),
            listener.connections.to_string(),
            listener
                .dropped()
                .map_or("-".into(), |dropped| dropped.to_string()),
            listener.processes.clone(),
        ]);
    }
    format!("\n{}", table.render(listing.painter))
        + &if listeners.iter().any(|listener| listener.backlog.is_none()) {
            listing.painter.paint(
                Ink::Dim,
                "-: the loaded module, of an older version, does not tell how many may wait.\n",
            )
        } else {
            String::new()
        }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets::procnet::tests::recorded;
    use crate::sockets::procnet::ProcNet;

    #[test]
    fn connections_belong_to_listeners() {
        let (_folder, host) = recorded();
        let sockets = ProcNet::new(&host, true, true).all().unwrap();
        let listeners = listeners(&sockets, &Owners::default());
        let found: Vec<String> = listeners
            .iter()
            .map(|l| {
                format!(
                    "{} {} {} {}",
                    l.socket.local, l.socket.recv_queue, l.half_open, l.connections
                )
            })
            .collect();
        assert_eq!(found, EXPECTED_LISTENERS);
        let counts = Counts::of(&sockets);
        assert_eq!(counts.v4 + counts.v6, sockets.len());
        assert_eq!(counts.text(&host), EXPECTED_COUNTS);
    }

    const EXPECTED_LISTENERS: &[&str] = &["0.0.0.0:8080 2 3 6", "[::]:8443 0 0 1"];
    const EXPECTED_COUNTS: &str = "Sockets: 13 (IPv4 11, IPv6 2)\n  ESTAB      4\n  SYN-RECV   3\n  FIN-WAIT-2 1\n  \
                                   TIME-WAIT  1 of 262144 (max_tw_buckets)\n  CLOSE-WAIT 2\n  LISTEN     2\n";
}
