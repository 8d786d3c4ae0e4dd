// SPDX-License-Identifier: GPL-2.0
//! Listeners: who waits in their queues, and who may.

use std::collections::HashSet;

use super::floods::floods;
use super::some;
use crate::doctor::facts::Facts;
use crate::doctor::{Finding, Severity};
use crate::sockets::limit::Limit;
use crate::sockets::{Socket, State};

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
                // As in Linux, a backlog of n lets n + 1 wait.
                format!(
                    "{waiting} of at most {} connections wait for accept(): the backlog is {backlog}",
                    backlog.saturating_add(1)
                ),
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

/// Backlogs that were asked for and not granted, where [`accept_queue`] and [`super::floods::half_open`] have nothing worse to say.
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
pub mod tests {
    use super::*;
    use crate::doctor::checks::tests::{found, listener, socket, well};
    use crate::sockets::queues::{Queue, Queues, FATES};

    /// What the module tells of a listener that asked for so much.
    pub fn told(asked: u64, limit: Limit, granted: u32, highest: u64) -> Socket {
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
