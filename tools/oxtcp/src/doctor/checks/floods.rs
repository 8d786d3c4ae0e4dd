// SPDX-License-Identifier: GPL-2.0
//! Floods: ports with more half-open connections than clients commonly leave.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use crate::doctor::facts::Facts;
use crate::doctor::{Finding, Severity};
use crate::ladder::rung::thousands;
use crate::settings::table::find;
use crate::sockets::limit::Limit;
use crate::sockets::{Socket, State};
use crate::trace::explain::words::count;

/// Fewer are no flood, however small the bound.
const FEW_HALF_OPEN: u64 = 16;
/// What the profile `under-attack` has for the lengths of queues.
const UNDER_ATTACK: u32 = 65_536;
/// So many are one, however large it is.
const MANY_HALF_OPEN: u64 = 1000;

/// A queue of half-open connections that is half full, or more.
pub struct Flood<'a> {
    pub port: u16,
    half_open: Vec<&'a Socket>,
    listener: Option<&'a Socket>,
    /// The most that there may be.
    bound: u64,
    limit: Limit,
}

/// The ports that are flooded.
pub fn floods(facts: &Facts) -> Vec<Flood<'_>> {
    let mut by_port: BTreeMap<u16, Vec<&Socket>> = BTreeMap::new();
    for socket in facts.in_state(State::SynRecv) {
        by_port.entry(socket.local.port()).or_default().push(socket);
    }
    let mut floods = Vec::new();
    for (port, half_open) in by_port {
        let listener = facts
            .in_state(State::Listen)
            .find(|listener| listener.local.port() == port);
        let (bound, limit) = facts.most_half_open(listener);
        let number = half_open.len() as u64;
        if number < FEW_HALF_OPEN || (number < MANY_HALF_OPEN && number.saturating_mul(2) < bound) {
            continue;
        }
        floods.push(Flood {
            port,
            half_open,
            listener,
            bound,
            limit,
        });
    }
    floods
}

pub fn half_open(facts: &Facts) -> Vec<Finding> {
    let finding = |flood: Flood<'_>| {
        // One gives up, the next takes its place: a few short at one moment is full, too.
        let full = flood.half_open.len() as u64 + flood.bound / 16 >= flood.bound;
        let (severity, fate, meaning) = fate_of_syns(facts, full);
        let senders = Senders::of(&flood.half_open);
        let port = flood.port;
        let whose = |listener| format!(" of {}", facts.who(listener));
        Finding {
            severity,
            name: "half-open",
            title: format!(
                "port {port}{} is flooded with half-open connections{fate}",
                flood.listener.map_or(String::new(), whose),
            ),
            evidence: flood.evidence(facts, &senders),
            meaning: format!(
                "Each began a handshake and did not finish it. With forged senders that is an attack; {meaning}"
            ),
            mend: flood.mend(facts, &senders),
        }
    };
    floods(facts).into_iter().map(finding).collect()
}

impl Flood<'_> {
    fn evidence(&self, facts: &Facts, senders: &Senders) -> Vec<String> {
        let number = self.half_open.len();
        let resent = self
            .half_open
            .iter()
            .filter(|socket| socket.retransmits > 0);
        let mut evidence = vec![format!(
            "{number} half-open connections of at most {}, by {}",
            self.bound,
            self.limit.words()
        )];
        let off: Vec<String> = ["syncookies", "syn_cache"]
            .into_iter()
            .filter(|name| facts.number("syncookies") == Some(0) && facts.number(name) == Some(0))
            .filter_map(|name| {
                Some(format!(
                    "{name} is 0 (default {})",
                    find(name).ok()?.default()
                ))
            })
            .collect();
        if !off.is_empty() {
            evidence.push(off.join(", "));
        }
        if let Some(queues) = self.listener.and_then(|listener| listener.queues.as_ref()) {
            let dropped = queues.drops().map(|(_, count)| count).sum();
            let mut counts = vec![format!(
                "{} SYNs and handshakes dropped",
                thousands(dropped)
            )];
            let others = [
                ("cookies", "answered with a cookie"),
                ("evicted", "gave way to newer ones"),
                ("expired", "given up without an answer"),
            ];
            for (name, words) in others {
                let of_name = queues.others().find(|(other, _)| *other == name);
                if let Some((_, number @ 1..)) = of_name {
                    counts.push(format!("{} {words}", thousands(number)));
                }
            }
            evidence.push(format!(
                "since the program began to listen: {}; {} in a second now",
                counts.join(", "),
                count(queues.syn_rate, "SYN")
            ));
        }
        evidence.push(match senders.is_spread() {
            true => format!(
                "from {} addresses, {}: probably forged",
                senders.addresses,
                match senders.most() {
                    1 => "all from different networks".to_string(),
                    most => format!("at most {most} of one network"),
                }
            ),
            false => format!("from {} addresses", senders.addresses),
        });
        if !senders.is_spread() {
            let several = senders.prefixes.iter().filter(|(_, number)| *number > 1);
            evidence.extend(
                several
                    .take(3)
                    .map(|(prefix, number)| format!("{number} of them from {prefix}")),
            );
        }
        evidence.push(format!(
            "{} of the {number} were sent another SYN-ACK, as nobody answered the first within a second",
            resent.count()
        ));
        evidence
    }

    fn mend(&self, facts: &Facts, senders: &Senders) -> String {
        let port = self.port;
        let mut ways = Vec::new();
        if facts.number("syncookies") == Some(0) {
            ways.push(
                "At once: oxtcp set syncookies=1, which lets clients in while the queue is full."
                    .to_string(),
            );
        }
        ways.push(match facts.is_under_attack() {
            true => "The settings are those of the profile under-attack already.".into(),
            false => "For its time: oxtcp profile apply under-attack, which has half-open connections forgotten sooner and lets more be.".into(),
        });
        if self.bound < UNDER_ATTACK.into() {
            let core = facts
                .core_somaxconn
                .is_some_and(|core| core < UNDER_ATTACK.into());
            ways.push(format!(
                "More fit when the program asks for a larger backlog in listen(), such as {UNDER_ATTACK}{}, and listens anew.",
                match core {
                    true => format!(" (with sysctl net.core.somaxconn={UNDER_ATTACK}, which bounds it)"),
                    false => String::new(),
                }
            ));
        }
        ways.push(match senders.prefixes.first() {
            Some((prefix, _)) if !senders.is_spread() => format!(
                "The firewall can drop them: nft add rule inet filter input {} saddr {prefix} tcp dport {port} drop, where that chain is.",
                match prefix.contains(':') {
                    true => "ip6",
                    false => "ip",
                }
            ),
            _ => "A firewall cannot tell forged senders apart.".into(),
        });
        ways.push(format!(
            "To watch: oxtcp ss -n state syn-recv sport = :{port}"
        ));
        ways.join(" ")
    }
}

/// Who began the half-open connections.
struct Senders {
    addresses: usize,
    /// Networks, and how many each has, those with the most first.
    prefixes: Vec<(String, usize)>,
    number: usize,
}

impl Senders {
    fn of(half_open: &[&Socket]) -> Self {
        let addresses: HashSet<IpAddr> =
            half_open.iter().map(|socket| socket.remote.ip()).collect();
        let mut prefixes: HashMap<String, usize> = HashMap::new();
        for socket in half_open {
            *prefixes.entry(prefix(socket.remote.ip())).or_default() += 1;
        }
        let mut prefixes: Vec<(String, usize)> = prefixes.into_iter().collect();
        prefixes.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        Self {
            addresses: addresses.len(),
            prefixes,
            number: half_open.len(),
        }
    }

    /// What the network with the most has.
    fn most(&self) -> usize {
        self.prefixes.first().map_or(0, |(_, number)| *number)
    }

    /// Whether no network stands out.
    fn is_spread(&self) -> bool {
        self.most() <= 1 + self.number / 20
    }
}

/// What becomes of new clients, in the title and in a sentence, where the queue of half-open connections is full or may become so.
fn fate_of_syns(facts: &Facts, full: bool) -> (Severity, &'static str, &'static str) {
    let cookies = facts.number("syncookies") != Some(0);
    let gives_way = facts.number("syn_cache") != Some(0);
    let (severity, fate, meaning) = match (cookies, gives_way) {
        (true, _) => (
            Severity::Warning,
            ": new clients are answered with cookies",
            "when the queue is full, new clients are answered with cookies, which lets them in, if their SYNs get here.",
        ),
        (false, true) => (
            Severity::Problem,
            ": the oldest gives way to each new client",
            "when the queue is full, the oldest half-open connection gives way, that of a slow client perhaps. With `syncookies` 1 \
             none would.",
        ),
        (false, false) => (
            Severity::Problem,
            ": new clients are dropped",
            "when the queue is full, SYNs of real clients are dropped, and they try again 1, 3, 7 s later.",
        ),
    };
    match full {
        true => (severity, fate, meaning),
        false => (Severity::Warning, "", meaning),
    }
}

/// An address's network, as large as one holder commonly has.
fn prefix(ip: IpAddr) -> String {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            let [a, b, c, _] = ip.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        IpAddr::V6(ip) => format!(
            "{}/64",
            std::net::Ipv6Addr::from_bits(ip.to_bits() >> 64 << 64)
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::listeners::tests::told;
    use crate::doctor::checks::tests::{listener, socket, well};

    #[test]
    fn what_becomes_of_new_clients() {
        for (cookies, cache, said) in [
            ("1", "1", "are answered with cookies"),
            ("0", "1", "the oldest gives way"),
            ("0", "0", "new clients are dropped"),
        ] {
            let mut facts = well();
            facts.settings.insert("syncookies".into(), cookies.into());
            facts.settings.insert("syn_cache".into(), cache.into());
            let (severity, fate, _) = fate_of_syns(&facts, true);
            assert!(fate.contains(said), "{fate}");
            assert_eq!(severity == Severity::Problem, cookies == "0");
            assert_eq!(fate_of_syns(&facts, false).1, "");
        }
    }

    /// What is said of a listener of backlog 64 that is flooded by these.
    fn flooded(facts: &mut Facts, senders: impl Iterator<Item = String>) -> Finding {
        let mut listener = told(64, Limit::Backlog, 64, 0);
        if let Some(queues) = &mut listener.queues {
            queues.syn_rate = 480;
            (queues.fates[0], queues.fates[2], queues.fates[9]) = (12_300, 45, 200);
        }
        facts.sockets.push(listener);
        for (number, sender) in senders.enumerate() {
            let remote = format!("{sender}:1000");
            let mut socket = socket(State::SynRecv, "192.0.2.1:80", &remote, 0);
            socket.retransmits = u32::from(number % 2 == 0);
            facts.sockets.push(socket);
        }
        half_open(facts).remove(0)
    }

    /// The listener's bound is what the module tells, and not what settings of today would make it.
    #[test]
    fn the_bound_is_that_of_the_listener() {
        let mut facts = well();
        let of_settings = |most: &str, facts: &mut Facts| {
            facts.settings.insert("max_syn_backlog".into(), most.into());
        };
        of_settings("8", &mut facts);
        let told = told(64, Limit::Somaxconn, 64, 0);
        assert_eq!(facts.most_half_open(Some(&told)), (65, Limit::Somaxconn));
        let untold = listener(64, 0);
        let of_setting = (8, Limit::MaxSynBacklog);
        assert_eq!(facts.most_half_open(Some(&untold)), of_setting);
        assert_eq!(facts.most_half_open(None), of_setting);
        of_settings("100", &mut facts);
        assert_eq!(facts.most_half_open(Some(&untold)).0, 65);
    }

    #[test]
    fn floods_name_cause_count_and_cure() {
        let mut facts = well();
        for name in ["syncookies", "syn_cache"] {
            facts.settings.insert(name.into(), "0".into());
        }
        let forged = || (0..65).map(|n| format!("45.{n}.7.9"));
        let finding = flooded(&mut facts, forged());
        insta::assert_snapshot!(format!(
            "{}\n{}\n{}",
            finding.title,
            finding.evidence.join("\n"),
            finding.mend
        ));

        // Nothing is advised that is so already.
        let mut facts = well();
        for (name, value) in facts.under_attack.clone() {
            facts.settings.insert(name, value);
        }
        facts.core_somaxconn = Some(65_536);
        let finding = flooded(&mut facts, forged());
        let mend = &finding.mend;
        assert!(
            mend.starts_with(
                "The settings are those of the profile under-attack already. More fit"
            ),
            "{mend}"
        );
        assert!(
            !mend.contains("sysctl") && !mend.contains("oxtcp set"),
            "{mend}"
        );
        assert!(
            !finding.evidence.iter().any(|line| line.contains("default")),
            "{finding:?}"
        );
    }

    #[test]
    fn floods_by_their_senders() {
        // Of how many networks, how many each.
        for (networks, each, said, mend) in [
            (
                65,
                1,
                "all from different networks: probably forged",
                "cannot tell",
            ),
            (
                33,
                2,
                "66 addresses, at most 2 of one network: probably forged",
                "cannot tell",
            ),
            (
                3,
                20,
                "20 of them from 45.0.7.0/24",
                "input ip saddr 45.0.7.0/24 tcp dport 80 drop",
            ),
        ] {
            let senders =
                (0..networks).flat_map(|n| (0..each).map(move |host| format!("45.{n}.7.{host}")));
            let finding = flooded(&mut well(), senders);
            let is_said = finding.evidence.iter().any(|line| line.contains(said));
            assert!(is_said && finding.mend.contains(mend), "{finding:?}");
        }
        let senders = (0..65).map(|n| format!("[2001:db8::{n:x}]"));
        let mend = flooded(&mut well(), senders).mend;
        assert!(mend.contains("ip6 saddr 2001:db8::/64"), "{mend}");
    }

    #[test]
    fn half_open_connections_are_a_flood_by_their_bound() {
        for (backlog, number, expected) in [
            (Some(15), 16, Some(Severity::Problem)),
            (Some(16), 16, Some(Severity::Problem)),
            (Some(127), 120, Some(Severity::Problem)),
            (Some(127), 119, Some(Severity::Warning)),
            (Some(30), 16, Some(Severity::Warning)),
            (Some(128), 16, None),
            (Some(128), 65, Some(Severity::Warning)),
            (Some(100_000), 999, None),
            (Some(100_000), 1000, Some(Severity::Warning)),
            (None, 1000, Some(Severity::Warning)),
            (Some(5), 15, None),
        ] {
            let mut facts = well();
            facts.settings.insert("syncookies".into(), "0".into());
            let mut listener = listener(backlog.unwrap_or(0), 0);
            if backlog.is_none() {
                listener.info = None;
            }
            facts.sockets.push(listener);
            for n in 0..number {
                facts.sockets.push(socket(
                    State::SynRecv,
                    "192.0.2.1:80",
                    &format!("198.51.{}.{}:1000", n / 250, n % 250),
                    0,
                ));
            }
            let severities: Vec<Severity> = half_open(&facts)
                .iter()
                .map(|finding| finding.severity)
                .collect();
            assert_eq!(
                severities,
                expected.into_iter().collect::<Vec<_>>(),
                "{backlog:?} {number}"
            );
        }
    }
}
