// SPDX-License-Identifier: GPL-2.0
//! The checks: each looks at the facts for one thing that goes wrong.

mod floods;
mod listeners;
mod ports;
mod speed;

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use super::facts::Facts;
use super::{Finding, Severity};
use crate::sockets::info::Info;
use crate::sockets::{Socket, State, Timer};
use crate::trace::explain::words::{self, bytes};

/// All of them, the gravest things first.
const CHECKS: &[fn(&Facts) -> Vec<Finding>] = &[
    floods::half_open,
    listeners::accept_queue,
    close_wait,
    time_wait,
    orphans,
    ports::ports,
    unanswered,
    losses,
    conntrack,
    speed::send_buffer,
    speed::receive_window,
    speed::receive_buffer,
    listeners::backlog,
    settings,
    keepalive,
    versions,
    library,
];

/// What they find: problems, then warnings, then notes.
pub fn all(facts: &Facts) -> Vec<Finding> {
    let mut findings: Vec<Finding> = CHECKS.iter().flat_map(|check| check(facts)).collect();
    findings.sort_by_key(|finding| finding.severity);
    findings
}

/// So many of one program that are not closed yet are worth a word before they are a leak.
const MANY_UNCLOSED: usize = 10;

/// The peer has closed, the program does not. How long is told by the last segment with an ACK: the FIN was one, and
/// came no later.
fn close_wait(facts: &Facts) -> Vec<Finding> {
    let mut of_programs: BTreeMap<String, Vec<(&Socket, u32)>> = BTreeMap::new();
    let mut unknown = Vec::new();
    for socket in facts
        .in_state(State::CloseWait)
        .filter(|socket| socket.inode != 0)
    {
        match socket.info.as_ref().map(|info| info.last_ack_recv_ms) {
            Some(age) => of_programs
                .entry(facts.who(socket))
                .or_default()
                .push((socket, age)),
            None => unknown.push(socket),
        }
    }
    let of_program = |(who, mut sockets): (String, Vec<(&Socket, u32)>)| {
        sockets.sort_by_key(|(_, age)| std::cmp::Reverse(*age));
        let leaks = sockets.partition_point(|(_, age)| *age >= facts.close_wait_ms);
        match leaks {
            0 if sockets.len() >= MANY_UNCLOSED => Some(unclosed(facts, &who, &sockets)),
            0 => None,
            _ => Some(leak(facts, &who, &sockets[..leaks])),
        }
    };
    let mut findings: Vec<Finding> = of_programs.into_iter().filter_map(of_program).collect();
    if !unknown.is_empty() {
        findings.push(Finding {
            severity: Severity::Note,
            name: "close-wait",
            title: format!(
                "{} in CLOSE-WAIT, for how long cannot be seen",
                count(unknown.len(), "connection")
            ),
            evidence: some(
                unknown
                    .iter()
                    .map(|socket| format!("{}: {}", ends(socket), facts.who(socket))),
            ),
            meaning: "Their programs are to close them. They leak if they stay.".into(),
            mend: "Look once more; a module of an older version does not tell it at all".into(),
        });
    }
    findings
}

/// Lines of evidence, those that wait longest first.
fn not_closed(sockets: &[(&Socket, u32)]) -> Vec<String> {
    some(sockets.iter().map(|(socket, age)| {
        format!(
            "{}, for at least {} s, {} unread",
            ends(socket),
            age / 1000,
            bytes(socket.recv_queue.into())
        )
    }))
}

/// What is to be said of a program's connections that wait too long, the longest first.
fn leak(facts: &Facts, who: &str, sockets: &[(&Socket, u32)]) -> Finding {
    let reads = sockets.iter().all(|(socket, _)| socket.recv_queue == 0);
    let cause = match reads {
        true => "when read() returns 0, close the descriptor.",
        false => {
            "it does not read what has come, and so does not see the end that comes after it. Read until read() returns 0, then close the \
             descriptor."
        }
    };
    let which = match facts.program(sockets.iter().map(|(socket, _)| *socket)) {
        Some(program) => format!("process {program}"),
        None => format!("sport = :{}", sockets[0].0.local.port()),
    };
    Finding {
        severity: Severity::Warning,
        name: "close-wait",
        title: format!(
            "{who} does not close {} that the other side closed {} s ago and more",
            count(sockets.len(), "connection"),
            facts.close_wait_ms / 1000
        ),
        evidence: not_closed(sockets),
        meaning: "The other side said that it sends nothing more; now the program is to close its side. Nothing else ends this \
                  state, and there is no time-out: each holds memory and a descriptor until the program ends, which comes \
                  to its limit of open files one day."
            .into(),
        mend: format!(
            "Mend the program: {cause} At once: oxtcp kill state close-wait {which}, which ends all that it has in this state; their \
             descriptors stay open until the program ends or is restarted. To watch: oxtcp ss -p state close-wait"
        ),
    }
}

/// What is to be said of many that do not wait long enough yet.
fn unclosed(facts: &Facts, who: &str, sockets: &[(&Socket, u32)]) -> Finding {
    let limit = facts.close_wait_ms / 1000;
    let oldest = sockets.first().map_or(0, |(_, age)| age / 1000);
    let left = limit.saturating_sub(oldest);
    Finding {
        severity: Severity::Note,
        name: "close-wait",
        title: format!(
            "{who} has {} that the other side closed, the first of them {oldest} s ago: from {limit} s on they are a leak",
            count(sockets.len(), "connection"),
        ),
        evidence: not_closed(sockets),
        meaning: format!(
            "The other side said that it sends nothing more; now the program is to close its side, which commonly takes no time. A busy one \
             may be about to. What waits for {limit} s counts as a leak (--close-wait)."
        ),
        mend: format!("In {left} s: oxtcp doctor. To watch: oxtcp ss -p state close-wait"),
    }
}

fn time_wait(facts: &Facts) -> Vec<Finding> {
    let (number, Some(most)) = (
        facts.in_state(State::TimeWait).count() as u64,
        facts.number("max_tw_buckets"),
    ) else {
        return Vec::new();
    };
    if number == 0 || number.saturating_mul(5) < most.saturating_mul(4) {
        return Vec::new();
    }
    vec![Finding {
        severity: if number >= most { Severity::Warning } else { Severity::Note },
        name: "time-wait",
        title: "the list of TIME-WAITs is full, or nearly".into(),
        evidence: vec![format!("{number} of {most} (max_tw_buckets)")],
        meaning: "What does not fit is forgotten at once: late segments of an old connection can then reach a new one between the same ends."
            .into(),
        mend: format!(
            "oxtcp set max_tw_buckets={} (128 bytes each). Fewer arise where connections are used again (keep-alive, pools).",
            most.max(1).saturating_mul(2).min(i32::MAX as u64)
        ),
    }]
}

fn orphans(facts: &Facts) -> Vec<Finding> {
    let number = facts
        .sockets
        .iter()
        .filter(|socket| socket.is_orphan())
        .count() as u64;
    let Some(most) = facts.number("max_orphans") else {
        return Vec::new();
    };
    if number == 0 || number.saturating_mul(5) < most.saturating_mul(4) {
        return Vec::new();
    }
    vec![Finding {
        severity: Severity::Warning,
        name: "orphans",
        title: "many closed sockets still have data that the other sides do not take".into(),
        evidence: vec![format!("{number} of {most} (max_orphans)")],
        meaning: "Programs have closed them; their last data is not acknowledged. One more than the limit is reset.".into(),
        mend: "oxtcp set orphan_retries=2 gives them up after seconds; oxtcp set max_orphans=N allows more.".into(),
    }]
}

/// After so many the other side is more than slow.
const UNANSWERED: u32 = 3;

fn unanswered(facts: &Facts) -> Vec<Finding> {
    let alive = |socket: &&Socket| {
        !matches!(
            socket.state,
            State::Listen | State::SynRecv | State::TimeWait
        )
    };
    let stuck = |timer: Timer| -> Vec<&Socket> {
        let stuck = |socket: &&Socket| socket.timer == timer && socket.retransmits >= UNANSWERED;
        facts.sockets.iter().filter(alive).filter(stuck).collect()
    };
    let list = |sockets: &[&Socket]| {
        some(sockets.iter().map(|socket| {
            format!(
                "{}, {}: {}, {} times, {} wait",
                ends(socket),
                socket.state.label(),
                facts.who(socket),
                socket.retransmits,
                bytes(socket.send_queue.into())
            )
        }))
    };
    let mut findings = Vec::new();
    let silent = stuck(Timer::On);
    if !silent.is_empty() {
        findings.push(Finding {
            severity: Severity::Warning,
            name: "retransmitting",
            title: format!("{} the other side does not answer", of_which(silent.len())),
            evidence: list(&silent),
            meaning: "The same segment was sent again and again, each time twice as late. The host is gone, or something on the way (a \
                      firewall, a NAT that has forgotten the connection) drops the segments."
                .into(),
            mend: format!(
                "See whether they get out, and whether answers come: tcpdump -ni any host {}. `oxtcp set retries2=8` gives up after \
                 about 100 s, TCP_USER_TIMEOUT for one socket.",
                silent[0].remote.ip().to_canonical()
            ),
        });
    }
    let shut = stuck(Timer::Persist);
    if !shut.is_empty() {
        findings.push(Finding {
            severity: Severity::Warning,
            name: "zero-window",
            title: format!("{} the other side's window is shut", of_which(shut.len())),
            evidence: list(&shut),
            meaning: "It acknowledges, but takes no more data: the program there does not read. The connection lives as long as it answers."
                .into(),
            mend: "Look at the program on the other side. TCP_USER_TIMEOUT bounds how long data may wait.".into(),
        });
    }
    findings
}

/// So many segments sent again may be an accident.
const FEW_RESENT: u32 = 20;
/// Per mille of the bytes that were sent.
const MUCH_RESENT: u64 = 10;

fn losses(facts: &Facts) -> Vec<Finding> {
    let per_mille = |info: &Info| info.bytes_retrans.saturating_mul(1000) / info.bytes_sent.max(1);
    let mut lossy: Vec<(u64, &Socket, &Info)> = facts
        .sockets
        .iter()
        .filter(|socket| socket.state != State::Listen)
        .filter_map(|socket| {
            socket
                .info
                .as_deref()
                .map(|info| (per_mille(info), socket, info))
        })
        .filter(|(share, _, info)| info.total_retrans >= FEW_RESENT && *share >= MUCH_RESENT)
        .collect();
    if lossy.is_empty() {
        return Vec::new();
    }
    lossy.sort_by_key(|(share, ..)| std::cmp::Reverse(*share));
    let title = format!("{} much is sent again", of_which(lossy.len()));
    let lines = lossy.iter().map(|(share, socket, info)| {
        format!(
            "{}: {}, {}.{} % of {}, in {}; round trip {} ms, window {}",
            ends(socket),
            facts.who(socket),
            share / 10,
            share % 10,
            bytes(info.bytes_sent),
            words::count(info.total_retrans.into(), "segment"),
            info.rtt_us / 1000,
            words::count(info.snd_cwnd.into(), "segment")
        )
    });
    vec![Finding {
        severity: Severity::Warning,
        name: "losses",
        title,
        evidence: some(lines),
        meaning: "The path loses segments, or delays some so long that they are taken for lost. Each loss makes the sender slower: at a \
                  round trip of 100 ms a loss of 1 % leaves some hundred kilobytes a second."
            .into(),
        mend: format!(
            "What happens to {}, in sentences: oxtcp trace --explain --duration 10 dst {}. {}Look at the counters of the network's links \
             (ip -s link), and at the queue in front of the slowest one.",
            match lossy.len() {
                1 => "it",
                _ => "the worst",
            },
            as_argument(lossy[0].1.remote),
            match lossy.len() {
                1 => "",
                _ => "Where the connections have a network in common, it is there. ",
            }
        ),
    }]
}

fn conntrack(facts: &Facts) -> Vec<Finding> {
    let Some((number, most)) = facts.conntrack else {
        return Vec::new();
    };
    if most == 0 || number.saturating_mul(10) < most.saturating_mul(9) {
        return Vec::new();
    }
    vec![Finding {
        severity: if number >= most { Severity::Problem } else { Severity::Warning },
        name: "conntrack",
        title: "the firewall's table of connections is full, or nearly".into(),
        evidence: vec![format!("{number} of {most} (net.netfilter.nf_conntrack_max)")],
        meaning: "When it is full, packets of new connections are dropped before oxtcp sees them (`nf_conntrack: table full` in dmesg).".into(),
        mend: format!("sysctl -w net.netfilter.nf_conntrack_max={}; or notrack rules for ports that need no state", most.saturating_mul(2)),
    }]
}

fn settings(facts: &Facts) -> Vec<Finding> {
    let mut findings = Vec::new();
    let mut say = |severity, setting: &str, title: &str, meaning: &str, mend: &str| {
        findings.push(Finding {
            severity,
            name: "settings",
            title: title.into(),
            evidence: vec![format!(
                "{setting} = {}",
                facts.settings.get(setting).map_or("", String::as_str)
            )],
            meaning: meaning.into(),
            mend: mend.into(),
        });
    };
    for name in ["rmem", "wmem"] {
        if let [_, default, most] = facts.numbers(name)[..] {
            if default > most {
                say(
                    Severity::Warning,
                    name,
                    &format!("{name}: buffers begin larger than they may become"),
                    "The second number is the size that a socket begins with, the third the most that it grows to by itself.",
                    &format!("oxtcp set {name}=default"),
                );
            }
        }
    }
    if let (Some(least), Some(most)) = (facts.number("rto_min_us"), facts.number("rto_max_ms")) {
        if least > most.saturating_mul(1000) {
            say(
                Severity::Warning,
                "rto_min_us",
                "the least retransmission timeout is above the most",
                "Then rto_min_us holds for both: lost segments are sent again after that time, however short the round trip.",
                "oxtcp set rto_min_us=default rto_max_ms=default",
            );
        } else if least < 10_000 {
            say(
                Severity::Note,
                "rto_min_us",
                "the least retransmission timeout is below 10 ms",
                "Acknowledgments that the other side delays (40 ms and more) arrive later: segments are sent again for nothing. For data \
                 centres whose hosts do not delay them.",
                "oxtcp set rto_min_us=default",
            );
        }
    }
    for (name, meaning) in [
        ("sack", "Several losses in one window take a round trip each."),
        ("window_scaling", "At most 64 KB are in flight: 5 Mbit/s at 100 ms."),
        (
            "timestamps",
            "No protection against old segments (PAWS), coarser round trips, and no reuse of TIME-WAIT (tw_reuse).",
        ),
    ] {
        if facts.number(name) == Some(0) {
            say(
                Severity::Note,
                name,
                &format!("{name} is off"),
                meaning,
                &format!("oxtcp set {name}=1, unless a broken middlebox needs it so"),
            );
        }
    }
    if let Some((core, ours)) = facts.core_somaxconn.zip(facts.number("somaxconn")) {
        if ours > core {
            say(
                Severity::Note,
                "somaxconn",
                &format!("somaxconn is larger than net.core.somaxconn, which is {core}"),
                "The kernel cuts the backlog of a program's listen() to net.core.somaxconn first: what is above that counts for nothing.",
                &format!("sysctl net.core.somaxconn={ours}, then restart the programs that listen"),
            );
        }
    }
    if facts.number("abort_on_overflow") == Some(1) {
        say(
            Severity::Note,
            "abort_on_overflow",
            "clients are reset when the accept queue is full",
            "A burst that would be over in a second becomes an error for each client that did not fit.",
            "oxtcp set abort_on_overflow=0, unless a load balancer is to see it at once",
        );
    }
    if facts
        .number("challenge_ack_limit")
        .is_some_and(|limit| limit < 0x7fff_ffff)
    {
        say(
            Severity::Note,
            "challenge_ack_limit",
            "challenge ACKs have one limit for all connections",
            "Somebody off the path can find out about connections by using it up (CVE-2016-5696).",
            "oxtcp set challenge_ack_limit=default; invalid_ratelimit bounds each connection",
        );
    }
    if facts.number("retries2").is_some_and(|retries| retries < 8) {
        say(
            Severity::Note,
            "retries2",
            "connections are given up in less than 100 seconds",
            "RFC 1122 section 4.2.3.5 asks for 100 s at least: a path that is broken for a minute ends all connections over it.",
            "oxtcp set retries2=8 or more",
        );
    }
    findings
}

/// NATs and load balancers of the large providers forget idle connections after 350 s and less.
const NAT_SECONDS: u64 = 350;

fn keepalive(facts: &Facts) -> Vec<Finding> {
    let Some(seconds) = facts
        .number("keepalive_time")
        .filter(|seconds| *seconds >= NAT_SECONDS)
    else {
        return Vec::new();
    };
    let away = |ip: IpAddr| match ip.to_canonical() {
        IpAddr::V4(ip) => !(ip.is_loopback() || ip.is_link_local()),
        IpAddr::V6(ip) => !(ip.is_loopback() || ip.is_unicast_link_local()),
    };
    let number = facts
        .in_state(State::Established)
        .filter(|socket| away(socket.remote.ip()))
        .count();
    if number == 0 {
        return Vec::new();
    }
    vec![Finding {
        severity: Severity::Note,
        name: "keepalive",
        title: "keepalive comes too late for NATs".into(),
        evidence: vec![
            format!("keepalive_time = {seconds} s"),
            format!("{} to other hosts", count(number, "established connection")),
        ],
        meaning: "Common NATs and load balancers forget an idle connection after 4 to 6 minutes; the other side then hears nothing any \
                  more, and this side does not know."
            .into(),
        mend: "If there is one on the way: oxtcp profile apply behind-nat. It counts for programs that set SO_KEEPALIVE and no TCP_KEEPIDLE."
            .into(),
    }]
}

fn versions(facts: &Facts) -> Vec<Finding> {
    let (missing, unknown) = facts.strange_settings();
    let mut evidence = Vec::new();
    let own = env!("CARGO_PKG_VERSION");
    if facts.module != own {
        evidence.push(match facts.module.as_str() {
            "" => format!(
                "this command is version {own}, the module tells none (/sys/module/oxtcp/version)"
            ),
            module => format!("this command is version {own}, the module {module}"),
        });
    }
    if !missing.is_empty() {
        evidence.push(format!(
            "this command knows {}, the module does not",
            missing.join(", ")
        ));
    }
    if !unknown.is_empty() {
        evidence.push(format!(
            "the module has {}, which this command does not know",
            unknown.join(", ")
        ));
    }
    if evidence.is_empty() {
        return Vec::new();
    }
    vec![Finding {
        severity: Severity::Note,
        name: "versions",
        title: "the command and the loaded module are of different versions".into(),
        evidence,
        meaning: "What both have works.".into(),
        mend: "Install both of one build (make install), and load the module again.".into(),
    }]
}

fn library(facts: &Facts) -> Vec<Finding> {
    let Err(why) = &facts.library else {
        return Vec::new();
    };
    vec![Finding {
        severity: Severity::Note,
        name: "library",
        title: "`oxtcp run` does not work".into(),
        evidence: why.lines().map(Into::into).collect(),
        meaning: "Programs cannot be moved to oxtcp; those that open its sockets themselves are not affected.".into(),
        mend: "make install, or name the library: OXTCP_PRELOAD=/path/to/liboxtcp_preload.so".into(),
    }]
}

/// So many lines of evidence are enough.
const LINES: usize = 5;

fn some(lines: impl ExactSizeIterator<Item = String>) -> Vec<String> {
    let more = lines.len().saturating_sub(LINES);
    let mut lines: Vec<String> = lines.take(LINES).collect();
    if more > 0 {
        lines.push(format!("and {more} more"));
    }
    lines
}

/// An address and a port as a filter has them, for a shell: the brackets of IPv6 mean something to it.
fn as_argument(end: SocketAddr) -> String {
    match end {
        SocketAddr::V4(end) => end.to_string(),
        SocketAddr::V6(end) => format!("'{end}'"),
    }
}

fn ends(socket: &Socket) -> String {
    format!("{} with {}", socket.local, socket.remote)
}

fn count(number: usize, what: &str) -> String {
    if number == 1 {
        format!("1 {what}")
    } else {
        format!("{number} {what}s")
    }
}

fn of_which(number: usize) -> String {
    if number == 1 {
        "there is a connection of which".into()
    } else {
        format!("there are {number} connections of which")
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
