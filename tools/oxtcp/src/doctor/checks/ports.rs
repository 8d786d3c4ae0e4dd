// SPDX-License-Identifier: GPL-2.0
//! Local ports that connections have, and those that are left.
//!
//! A port of ours is one that a socket of the kernel's own holds in the built-in TCP (`rust/oxtcp/ports.rs`). So what the built-in TCP
//! has at an address is not to be had for us; nor is a port where one of ours listens.

use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use crate::doctor::facts::Facts;
use crate::doctor::{Finding, Severity};
use crate::sockets::State;

/// So many findings are enough.
const MOST: usize = 5;

pub fn ports(facts: &Facts) -> Vec<Finding> {
    let Some(range) = Range::of(facts) else {
        return Vec::new();
    };
    let held = Held::of(facts, &range);
    let mut findings: Vec<(usize, Finding)> = Vec::new();
    let mut full = HashMap::new();
    for from in held.addresses() {
        let (theirs, listening) = held.at(from);
        let number = theirs.union(&listening).count();
        if range.is_nearly(number) {
            full.insert(from, range.severity(number));
            let from = match from.is_unspecified() {
                true => "all local addresses".into(),
                false => from.to_string(),
            };
            let what = format!(
                "the local ports of {from} are nearly used up by sockets that do not share them"
            );
            let evidence = vec![range.of_all(number), by_others(&theirs, &listening)];
            findings.push((number, range.finding(number, what, evidence, "")));
        }
    }
    for ((from, to), used) in connections(facts, &range) {
        let (theirs, listening) = held.at(from);
        let others = theirs.union(&listening);
        let number = others.filter(|port| !used.ports.contains(port)).count() + used.ports.len();
        // What is as bad for all destinations is said once.
        let severity = Some(range.severity(number));
        let is_said = [from, any()]
            .iter()
            .any(|at| full.get(at).copied() == severity);
        if is_said || !range.is_nearly(number) {
            continue;
        }
        let what =
            format!("the local ports for connections from {from} to {to} are nearly used up");
        let evidence = vec![
            range.of_all(number),
            format!(
                "{} have oxtcp's connections to there, {} of them TIME-WAITs",
                used.ports.len(),
                used.time_waits
            ),
            by_others(&theirs, &listening),
        ];
        let reuse = match used.time_waits * 2 > used.ports.len() {
            true => ", oxtcp set tw_reuse=1 takes those in TIME-WAIT (safe with timestamps=1)",
            false => "",
        };
        findings.push((number, range.finding(number, what, evidence, reuse)));
    }
    findings.sort_by_key(|(number, _)| std::cmp::Reverse(*number));
    let findings = findings.into_iter().map(|(_, finding)| finding);
    findings.take(MOST).collect()
}

fn by_others(theirs: &HashSet<u16>, listening: &HashSet<u16>) -> String {
    format!(
        "{} have sockets of the built-in TCP (ss -tan), {} listeners of oxtcp's",
        theirs.len(),
        listening.difference(theirs).count()
    )
}

/// `net.ipv4.ip_local_port_range`.
struct Range {
    first: u16,
    last: u16,
}

impl Range {
    fn of(facts: &Facts) -> Option<Self> {
        let (first, last) = facts.port_range?;
        Some(Self { first, last })
    }

    fn has(&self, port: u16) -> bool {
        (self.first..=self.last).contains(&port)
    }

    fn size(&self) -> usize {
        usize::from(self.last.saturating_sub(self.first)) + 1
    }

    /// Whether so many are four fifths.
    fn is_nearly(&self, number: usize) -> bool {
        number * 5 >= self.size() * 4
    }

    fn severity(&self, number: usize) -> Severity {
        match number >= self.size() {
            true => Severity::Problem,
            false => Severity::Warning,
        }
    }

    fn of_all(&self, number: usize) -> String {
        format!(
            "{number} of {} (net.ipv4.ip_local_port_range = {} {})",
            self.size(),
            self.first,
            self.last
        )
    }

    fn finding(&self, number: usize, title: String, evidence: Vec<String>, reuse: &str) -> Finding {
        Finding {
            severity: self.severity(number),
            name: "ports",
            title,
            evidence,
            meaning: "connect() fails with EADDRNOTAVAIL when none is left. oxtcp and the built-in TCP have their ports of one range.".into(),
            mend: format!(
                "Use connections again (keep-alive, pools). sysctl -w net.ipv4.ip_local_port_range='1024 65535' gives more{reuse}; another \
                 address, here or there, gives as many again."
            ),
        }
    }
}

/// The ports that our connections have from one address to one destination.
#[derive(Default)]
struct Used {
    ports: HashSet<u16>,
    time_waits: usize,
}

/// By both ends. What a listener has accepted has the listener's port.
fn connections(facts: &Facts, range: &Range) -> HashMap<(IpAddr, SocketAddr), Used> {
    let listening: HashSet<u16> = facts
        .in_state(State::Listen)
        .map(|socket| socket.local.port())
        .collect();
    let mut connections: HashMap<_, Used> = HashMap::new();
    for socket in &facts.sockets {
        let port = socket.local.port();
        if socket.state == State::Listen || !range.has(port) || listening.contains(&port) {
            continue;
        }
        let ends = (socket.local.ip().to_canonical(), socket.remote);
        let used = connections.entry(ends).or_default();
        used.ports.insert(port);
        used.time_waits += usize::from(socket.state == State::TimeWait);
    }
    connections
}

/// What connect() cannot have for any destination, by local address.
struct Held {
    /// Of the built-in TCP.
    theirs: HashMap<IpAddr, HashSet<u16>>,
    /// Of our listeners.
    listening: HashMap<IpAddr, HashSet<u16>>,
}

impl Held {
    fn of(facts: &Facts, range: &Range) -> Self {
        let ours = facts.in_state(State::Listen).map(|socket| socket.local);
        Self {
            theirs: by_address(facts.builtin.iter().copied(), range),
            listening: by_address(ours, range),
        }
    }

    /// The addresses that have any.
    fn addresses(&self) -> HashSet<IpAddr> {
        let all = self.theirs.keys().chain(self.listening.keys());
        all.copied().collect()
    }

    /// The built-in TCP's, and those of our listeners, that nobody else can bind to at that address.
    fn at(&self, address: IpAddr) -> (HashSet<u16>, HashSet<u16>) {
        (
            overlapping(&self.theirs, address),
            overlapping(&self.listening, address),
        )
    }
}

/// The address that stands for all; that of IPv6 holds IPv4's ports as well, as a rule.
fn any() -> IpAddr {
    Ipv4Addr::UNSPECIFIED.into()
}

fn by_address(
    all: impl Iterator<Item = SocketAddr>,
    range: &Range,
) -> HashMap<IpAddr, HashSet<u16>> {
    let mut ports: HashMap<IpAddr, HashSet<u16>> = HashMap::new();
    for local in all.filter(|local| range.has(local.port())) {
        let ip = local.ip().to_canonical();
        let ip = if ip.is_unspecified() { any() } else { ip };
        ports.entry(ip).or_default().insert(local.port());
    }
    ports
}

fn overlapping(held: &HashMap<IpAddr, HashSet<u16>>, address: IpAddr) -> HashSet<u16> {
    let own = held.get(&address);
    let everywhere = held.get(&any()).filter(|_| address != any());
    own.into_iter()
        .chain(everywhere)
        .flatten()
        .copied()
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::tests::{found, socket, well};

    /// Ten ports; so many of them have our connections, the built-in TCP's sockets at that address, and a listener of ours.
    fn facts(ours: u16, theirs: u16, address: &str, listens: bool) -> Facts {
        let mut facts = well();
        facts.port_range = Some((40000, 40009));
        for n in 0..ours {
            facts.sockets.push(socket(
                State::Established,
                &format!("127.0.0.1:{}", 40000 + n),
                "127.0.0.1:80",
                9 + u64::from(n),
            ));
        }
        for n in 0..theirs {
            let local = format!("{address}:{}", 40009 - n);
            facts.builtin.push(local.parse().unwrap());
        }
        if listens {
            let listener = socket(State::Listen, "0.0.0.0:40005", "0.0.0.0:0", 5);
            facts.sockets.push(listener);
        }
        facts
    }

    #[test]
    fn ports_of_both() {
        use Severity::{Problem, Warning};
        for (ours, theirs, address, listens, expected) in [
            (7, 0, "127.0.0.1", false, None),
            (8, 0, "127.0.0.1", false, Some(Warning)),
            (4, 3, "127.0.0.1", false, None),
            (4, 4, "127.0.0.1", false, Some(Warning)),
            (4, 4, "0.0.0.0", false, Some(Warning)),
            (4, 4, "[::]", false, Some(Warning)),
            (4, 4, "[::ffff:127.0.0.1]", false, Some(Warning)),
            // Another address's are no hindrance.
            (4, 4, "192.0.2.1", false, None),
            (4, 3, "127.0.0.1", true, Some(Warning)),
            (5, 5, "127.0.0.1", false, Some(Problem)),
            // The built-in TCP has them, whatever we have.
            (0, 8, "192.0.2.1", false, Some(Warning)),
            (1, 8, "127.0.0.1", false, Some(Warning)),
            (2, 10, "0.0.0.0", false, Some(Problem)),
        ] {
            let facts = facts(ours, theirs, address, listens);
            let expected: Vec<_> = expected.into_iter().map(|how| (how, "ports")).collect();
            assert_eq!(found(&facts), expected, "{ours} {theirs} {address}");
        }
    }

    /// None is left for one destination, some are for others.
    #[test]
    fn ports_that_are_worse_for_one_destination() {
        let facts = facts(2, 8, "127.0.0.1", false);
        let severities = found(&facts);
        assert_eq!(
            severities,
            [(Severity::Problem, "ports"), (Severity::Warning, "ports")]
        );
    }

    #[test]
    fn ports_are_told_by_whose_they_are() {
        let finding = ports(&facts(4, 3, "127.0.0.1", true)).remove(0);
        assert_eq!(
            finding.evidence,
            [
                "8 of 10 (net.ipv4.ip_local_port_range = 40000 40009)",
                "4 have oxtcp's connections to there, 0 of them TIME-WAITs",
                "3 have sockets of the built-in TCP (ss -tan), 1 listeners of oxtcp's",
            ]
        );
        let finding = ports(&facts(0, 9, "0.0.0.0", false)).remove(0);
        assert_eq!(
            finding.title,
            "the local ports of all local addresses are nearly used up by sockets that do not share them"
        );
    }
}
