// SPDX-License-Identifier: GPL-2.0
//! Listeners: who waits in their queues, and who may.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::net::IpAddr;

use super::some;
use crate::doctor::facts::Facts;
use crate::doctor::{Finding, Severity};
use crate::sockets::limit::Limit;
use crate::sockets::{Socket, State};

/// Fewer are no flood, however small the bound.
const FEW_HALF_OPEN: u64 = 16;
/// What the profile `under-attack` has for the lengths of queues.
const UNDER_ATTACK: u32 = 65_536;
/// So many are one, however large it is.
const MANY_HALF_OPEN: u64 = 1000;

/// A queue of half-open connections that is half full, or more.
struct Flood<'a> {
    port: u16,
    half_open: Vec<&'a Socket>,
    listener: Option<&'a Socket>,
    /// The most that there may be.
    bound: u64,
    limit: Limit,
}

fn floods(facts: &Facts) -> Vec<Flood<'_>> {
    let mut by_port: BTreeMap<u16, Vec<&Socket>> = BTreeMap::new();
    for socket in facts.in_state(State::SynRecv) {
        by_port.entry(socket.local.port()).or_default().push(socket);
    }
    let mut floods = Vec::new();
    for (port, half_open) in by_port {
        let listener = facts
            .in_state(State::Listen)
            .find(|listener| listener.local.port() == port);
        let backlog = listener.and_then(|listener| facts.backlog(listener));
        let most = facts.number("max_syn_backlog").unwrap_or(u64::MAX);
        // As the listener has it: a backlog of n lets n + 1 be.
        let bound = most.min(backlog.unwrap_or(u64::MAX).saturating_add(1));
        let number = half_open.len() as u64;
        if number < FEW_HALF_OPEN || (number < MANY_HALF_OPEN && number.saturating_mul(2) < bound) {
            continue;
        }
        let limit = match listener.zip(backlog) {
            Some((listener, backlog)) if backlog < most => facts.limit_of(listener, backlog),
            _ => Limit::MaxSynBacklog,
        };
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
    let mut findings = Vec::new();
    for flood in floods(facts) {
        let Flood {
            port,
            half_open,
            listener,
            bound,
            limit,
        } = flood;
        let number = half_open.len() as u64;
        let full = number >= bound;
        let unanswered = half_open
            .iter()
            .filter(|socket| socket.retransmits > 0)
            .count();
        let sources: HashSet<IpAddr> = half_open.iter().map(|socket| socket.remote.ip()).collect();
        let mut prefixes: HashMap<String, usize> = HashMap::new();
        for socket in &half_open {
            *prefixes.entry(prefix(socket.remote.ip())).or_default() += 1;
        }
        let mut prefixes: Vec<(String, usize)> = prefixes.into_iter().collect();
        prefixes.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
        let mut evidence = vec![
            format!(
                "{number} half-open connections of at most {bound}, by {}",
                limit.words()
            ),
            format!(
                "from {} addresses; {unanswered} did not answer the first SYN-ACK",
                sources.len()
            ),
        ];
        evidence.extend(
            prefixes
                .iter()
                .take(3)
                .map(|(prefix, number)| format!("{number} of them from {prefix}")),
        );
        let (severity, fate, meaning) = fate_of_syns(facts, full);
        findings.push(Finding {
            severity,
            name: "half-open",
            title: format!(
                "port {port}{} is flooded with half-open connections{fate}",
                listener.map_or(String::new(), |listener| format!(" of {}", facts.who(listener))),
            ),
            evidence,
            meaning: format!(
                "Each began a handshake and did not finish it. With forged senders that is an attack; {meaning}"
            ),
            mend: format!(
                "oxtcp profile apply under-attack; sysctl net.core.somaxconn={UNDER_ATTACK}, and a backlog in the program of as many, which then \
                 listens anew (all of them count). Senders that can be told apart are the firewall's (nft add rule inet filter input ip saddr \
                 PREFIX tcp dport {port} drop, where that chain is). To watch: oxtcp ss -n state syn-recv sport = :{port}"
            ),
        });
    }
    findings
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

/// A listener's backlog beside what its program wanted.
struct Grant<'a> {
    listener: &'a Socket,
    granted: u64,
    limit: Limit,
    /// What the program has asked for, where that was more, and is known.
    asked: Option<u64>,
}

impl<'a> Grant<'a> {
    fn of(facts: &Facts, listener: &'a Socket) -> Option<Self> {
        let granted = facts.backlog(listener)?;
        let queues = listener.queues.as_ref();
        Some(Self {
            listener,
            granted,
            limit: facts.limit_of(listener, granted),
            asked: queues
                .map(|queues| queues.backlog_asked)
                .filter(|asked| *asked > granted),
        })
    }

    /// Whether a setting bounds it, as far as can be told.
    fn is_cut(&self) -> bool {
        self.limit != Limit::Backlog
    }

    fn waiting(&self) -> u64 {
        self.listener.recv_queue.into()
    }

    /// Whether its program is too slow.
    fn is_filling(&self) -> bool {
        fills(self.waiting(), self.granted)
    }

    /// What was asked for. The kernel cuts it to `net.core.somaxconn` before the module sees it, so as much as that may have been more.
    fn asked_words(&self, facts: &Facts) -> String {
        match self.asked {
            Some(asked) if facts.core_somaxconn.is_some_and(|core| asked >= core) => {
                format!("{asked} or more")
            }
            Some(asked) => asked.to_string(),
            None => format!("{} or more", self.granted),
        }
    }

    fn evidence(&self, facts: &Facts) -> String {
        let limit = self.limit.words();
        match self.asked {
            _ if !self.is_cut() => "the backlog is what the program asked for in listen()".into(),
            Some(_) => format!(
                "the program asked for {} in listen(), {limit} has cut it to {}",
                self.asked_words(facts),
                self.granted
            ),
            None => format!(
                "the backlog is as large as {limit} ({}): the program may have asked for more",
                self.granted
            ),
        }
    }

    /// A size that the settings could have in its place.
    fn better(&self) -> u64 {
        self.asked.unwrap_or(self.granted.saturating_mul(4))
    }

    /// What gives more.
    fn raise(&self, facts: &Facts) -> Raise {
        let bounds = |limit: Limit, now: Option<u64>| {
            let is_bound = self.limit == limit || self.limit == Limit::BothSomaxconn;
            let is_raised = now.is_some_and(|now| now > self.granted);
            (is_bound && !is_raised).then_some(self.better())
        };
        Raise {
            core: bounds(Limit::CoreSomaxconn, facts.core_somaxconn),
            ours: bounds(Limit::Somaxconn, facts.number("somaxconn")),
        }
    }
}

/// The settings that are to be larger; neither where they have become so since listen().
#[derive(Default)]
struct Raise {
    core: Option<u64>,
    ours: Option<u64>,
}

impl Raise {
    /// Enough for both.
    fn or_more(self, other: Self) -> Self {
        Self {
            core: self.core.max(other.core),
            ours: self.ours.max(other.ours),
        }
    }

    /// What is to be done, without the full stop.
    fn words(&self) -> String {
        let core = self
            .core
            .map(|to| format!("sysctl net.core.somaxconn={to}"));
        let ours = self.ours.map(|to| format!("oxtcp set somaxconn={to}"));
        let commands: Vec<String> = [core, ours].into_iter().flatten().collect();
        match commands.is_empty() {
            false => format!(
                "{}, then restart the program (listen() reads it)",
                commands.join(" and ")
            ),
            true => {
                "Restart the program: the settings are larger now, and listen() reads them".into()
            }
        }
    }
}

/// Whether so many in a queue of that backlog are nearly all that fit.
fn fills(waiting: u64, backlog: u64) -> bool {
    waiting != 0 && waiting.saturating_mul(4) >= backlog.saturating_mul(3)
}

fn grants(facts: &Facts) -> impl Iterator<Item = Grant<'_>> {
    facts
        .in_state(State::Listen)
        .filter_map(|listener| Grant::of(facts, listener))
}

pub fn accept_queue(facts: &Facts) -> Vec<Finding> {
    let slow = |grant: Grant| {
        let (listener, waiting, backlog) = (grant.listener, grant.waiting(), grant.granted);
        // As in Linux, n lets n + 1 wait.
        let full = waiting > backlog;
        Finding {
            severity: if full { Severity::Problem } else { Severity::Warning },
            name: "accept-queue",
            title: format!(
                "{} does not accept connections on {} as fast as they come{}",
                facts.who(listener),
                listener.local,
                if full { ": new clients are dropped" } else { "" }
            ),
            evidence: vec![
                format!("{waiting} connections wait for accept(), the backlog is {backlog}"),
                grant.evidence(facts),
            ],
            meaning: "Clients believe that they are connected and wait; when the queue is full, SYNs are dropped in silence (or answered with \
                      RST, if abort_on_overflow is 1)."
                .into(),
            mend: if grant.is_cut() {
                format!("{}; and find out why it is slow", grant.raise(facts).words())
            } else {
                "Find out why the program is slow (more workers?). For bursts, a larger backlog in its listen(), up to net.core.somaxconn and \
                 net.oxtcp.somaxconn."
                    .into()
            },
        }
    };
    grants(facts).filter(Grant::is_filling).map(slow).collect()
}

/// `SOMAXCONN` of the C library, which programs ask for that want no number of their own. A backlog as large as that says nothing of
/// what was cut.
const SOMAXCONN: u64 = 4096;

/// Backlogs that were asked for and not granted, where [`accept_queue`] and [`half_open`] have nothing worse to say.
pub fn backlog(facts: &Facts) -> Vec<Finding> {
    let flooded: HashSet<u16> = floods(facts).iter().map(|flood| flood.port).collect();
    let is_worth_a_word = |grant: &Grant| {
        let queues = grant.listener.queues.as_ref();
        let was_filling = queues.is_some_and(|queues| fills(queues.accept.highest, grant.granted));
        grant.asked.is_some() || grant.granted < SOMAXCONN || was_filling
    };
    let (known, guessed): (Vec<Grant>, Vec<Grant>) = grants(facts)
        .filter(|grant| grant.is_cut() && !grant.is_filling())
        .filter(|grant| !flooded.contains(&grant.listener.local.port()))
        .filter(is_worth_a_word)
        .partition(|grant| grant.asked.is_some());
    [known, guessed]
        .iter()
        .filter_map(|grants| cut_backlogs(facts, grants))
        .collect()
}

/// What is said of listeners of which all, or none, tell what was asked for.
fn cut_backlogs(facts: &Facts, grants: &[Grant]) -> Option<Finding> {
    let first = grants.first()?;
    let known = first.asked.is_some();
    let title = match (grants, known) {
        ([one], true) => format!(
            "{} asked for a larger backlog on {} than it has",
            facts.who(one.listener),
            one.listener.local
        ),
        ([one], false) => format!(
            "{} may have asked for a larger backlog on {} than it has",
            facts.who(one.listener),
            one.listener.local
        ),
        (_, true) => format!(
            "{} listeners have smaller backlogs than their programs asked for",
            grants.len()
        ),
        (_, false) => format!(
            "{} listeners may have smaller backlogs than their programs asked for",
            grants.len()
        ),
    };
    let raises = grants.iter().map(|grant| grant.raise(facts));
    let raise = raises.fold(Raise::default(), Raise::or_more);
    Some(Finding {
        severity: Severity::Note,
        name: "backlog",
        title,
        evidence: some(grants.iter().map(|grant| cut_backlog(facts, grant))),
        meaning: if known {
            "In a burst fewer connections may wait for accept() than the program counts on; SYNs beyond that are dropped, and their clients \
             try again a second later."
        } else {
            "The kernel cuts what a program asks for to net.core.somaxconn before oxtcp sees it: who has just as much wanted more, as a \
             rule. In a burst fewer connections may wait for accept() then than the program counts on."
        }
        .into(),
        mend: raise.words(),
    })
}

/// A line of evidence.
fn cut_backlog(facts: &Facts, grant: &Grant) -> String {
    let mut line = format!(
        "{}, {}: asked for {}, has {}, by {}",
        grant.listener.local,
        facts.who(grant.listener),
        grant.asked_words(facts),
        grant.granted,
        grant.limit.words()
    );
    if let Some(queues) = &grant.listener.queues {
        line += &format!("; at most {} have waited so far", queues.accept.highest);
        let dropped = queues.drops().find(|(name, _)| *name == "accept_queue");
        if let Some((_, dropped @ 1..)) = dropped {
            line += &format!(", {dropped} were dropped");
        }
    }
    line
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::tests::{found, listener, socket, well};
    use crate::sockets::queues::{Queue, Queues, FATES};

    /// What the module tells of a listener that asked for so much.
    fn told(asked: u64, limit: Limit, granted: u32, highest: u64) -> Socket {
        let mut listener = listener(granted, 0);
        let queue = |limit, highest| Queue {
            length: 0,
            most: u64::from(granted) + 1,
            highest,
            limit,
        };
        listener.queues = Some(Box::new(Queues {
            syn: queue(limit, 0),
            accept: queue(limit, highest),
            backlog_asked: asked,
            syn_rate: 0,
            fates: [0; FATES.len()],
        }));
        listener
    }

    #[test]
    fn backlogs_that_were_cut() {
        for (asked, limit, granted, highest, expected) in [
            (512, Limit::Backlog, 512, 0, None),
            (4096, Limit::BothSomaxconn, 4096, 0, None),
            (
                4096,
                Limit::BothSomaxconn,
                4096,
                3072,
                Some("may have asked"),
            ),
            (128, Limit::CoreSomaxconn, 128, 0, Some("may have asked")),
            (1024, Limit::Somaxconn, 512, 0, Some("asked for a larger")),
        ] {
            let mut facts = well();
            facts.sockets.push(told(asked, limit, granted, highest));
            let title = backlog(&facts).pop().map(|finding| finding.title);
            let is_expected = match (&title, expected) {
                (Some(title), Some(part)) => title.contains(part),
                (None, None) => true,
                _ => false,
            };
            assert!(is_expected, "{asked} {granted} {highest}: {title:?}");
        }
    }

    #[test]
    fn what_is_said_of_backlogs_that_were_cut() {
        let mut facts = well();
        facts.settings.insert("somaxconn".into(), "512".into());
        let mut one = told(1024, Limit::Somaxconn, 512, 7);
        if let Some(queues) = &mut one.queues {
            queues.fates[2] = 5;
        }
        facts.sockets.push(one);
        assert_eq!(found(&facts), [(Severity::Note, "backlog")]);
        let finding = backlog(&facts).remove(0);
        assert!(
            finding.evidence[0].ends_with(
                "asked for 1024, has 512, by net.oxtcp.somaxconn; at most 7 have waited so far, 5 were dropped"
            ),
            "{finding:?}"
        );
        assert!(
            finding
                .mend
                .starts_with("oxtcp set somaxconn=1024, then restart"),
            "{finding:?}"
        );
        // It has asked for all that net.core.somaxconn lets through.
        facts.sockets.push(told(4096, Limit::Somaxconn, 512, 0));
        let finding = backlog(&facts).remove(0);
        assert!(finding.title.starts_with("2 listeners have"), "{finding:?}");
        assert!(
            finding.evidence[1].contains("asked for 4096 or more, has 512"),
            "{finding:?}"
        );
        assert!(
            finding.mend.starts_with("oxtcp set somaxconn=4096, then"),
            "{finding:?}"
        );
        facts.settings.insert("somaxconn".into(), "65536".into());
        let finding = backlog(&facts).remove(0);
        assert!(finding.mend.starts_with("Restart"), "{finding:?}");
    }

    /// Of two listeners under two settings both are raised.
    #[test]
    fn backlogs_cut_by_several_settings() {
        let mut facts = well();
        facts.core_somaxconn = Some(128);
        facts.settings.insert("somaxconn".into(), "128".into());
        facts.sockets.push(told(100, Limit::CoreSomaxconn, 100, 0));
        facts.sockets.push(told(128, Limit::BothSomaxconn, 128, 0));
        let findings = backlog(&facts);
        assert_eq!(findings.len(), 1);
        assert!(
            findings[0].mend.starts_with(
                "sysctl net.core.somaxconn=512 and oxtcp set somaxconn=512, then restart"
            ),
            "{findings:?}"
        );
    }

    /// What another check says of a listener is not said again.
    #[test]
    fn backlogs_that_were_cut_are_told_once() {
        let mut facts = well();
        facts.settings.insert("somaxconn".into(), "16".into());
        let mut full = told(1024, Limit::Somaxconn, 16, 17);
        full.recv_queue = 17;
        facts.sockets.push(full);
        assert_eq!(found(&facts), [(Severity::Problem, "accept-queue")]);
        let finding = accept_queue(&facts).remove(0);
        assert_eq!(
            finding.evidence[1],
            "the program asked for 1024 in listen(), net.oxtcp.somaxconn has cut it to 16"
        );
        assert!(
            finding.mend.starts_with("oxtcp set somaxconn=1024, then"),
            "{finding:?}"
        );
        facts.sockets[0].recv_queue = 0;
        for n in 0..17 {
            let remote = format!("198.51.100.{n}:1000");
            facts
                .sockets
                .push(socket(State::SynRecv, "192.0.2.1:80", &remote, 0));
        }
        assert_eq!(found(&facts), [(Severity::Warning, "half-open")]);
    }

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

    #[test]
    fn half_open_connections_are_a_flood_by_their_bound() {
        for (backlog, number, expected) in [
            (Some(15), 16, Some(Severity::Problem)),
            (Some(16), 16, Some(Severity::Warning)),
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

    #[test]
    fn accept_queues_by_their_backlog() {
        for (backlog, waiting, expected) in [
            (5, 6, Some(Severity::Problem)),
            (5, 4, Some(Severity::Warning)),
            (5, 3, None),
            (0, 0, None),
            (0, 1, Some(Severity::Problem)),
            (4096, 4096, Some(Severity::Warning)),
        ] {
            let mut facts = well();
            facts.sockets.push(listener(backlog, waiting));
            let findings = accept_queue(&facts);
            assert_eq!(
                findings.first().map(|finding| finding.severity),
                expected,
                "{backlog} {waiting}"
            );
        }
    }

    /// Which setting bounds the backlog, and what raises it.
    #[test]
    fn accept_queues_by_their_limits() {
        for (backlog, ours, evidence, mend) in [
            (
                4096,
                "4096",
                "net.core.somaxconn and net.oxtcp.somaxconn (4096)",
                "sysctl net.core.somaxconn=16384 and oxtcp set somaxconn=16384, then",
            ),
            (
                4096,
                "65536",
                "net.core.somaxconn (4096)",
                "sysctl net.core.somaxconn=16384, then",
            ),
            (
                512,
                "512",
                "net.oxtcp.somaxconn (512)",
                "oxtcp set somaxconn=2048, then",
            ),
            (100, "4096", "what the program asked for", "Find out why"),
        ] {
            let mut facts = well();
            facts.settings.insert("somaxconn".into(), ours.into());
            facts.sockets.push(listener(backlog, backlog));
            let finding = accept_queue(&facts).remove(0);
            assert!(finding.evidence[1].contains(evidence), "{finding:?}");
            assert!(finding.mend.starts_with(mend), "{finding:?}");
        }
    }
}
