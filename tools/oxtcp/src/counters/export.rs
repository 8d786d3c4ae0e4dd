// SPDX-License-Identifier: GPL-2.0
//! `oxtcp export`: counters and sockets in Prometheus's text format.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::net::SocketAddr;
use std::path::PathBuf;

use super::explained;
use super::read::{self, Counters};
use crate::failure::Result;
use crate::host::{Host, Replacement};
use crate::netns;
use crate::output::print;
use crate::sockets::{source, Socket, State, Wanted};

/// Print counters, sockets and queues in Prometheus's text format.
///
/// For node_exporter's textfile collector: oxtcp export --output /var/lib/prometheus/node-exporter/oxtcp.prom, from a timer.
#[derive(clap::Args)]
pub struct Arguments {
    /// Write to this file, at once, instead of the standard output
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,

    #[command(flatten)]
    namespace: netns::Choice,
}

/// `oxtcp export`.
pub fn export(arguments: &Arguments) -> Result<()> {
    arguments.namespace.enter()?;
    let host = Host::here();
    let counters = read::read(&host)?.unwrap_or_default();
    let wanted = Wanted {
        details: false,
        ..Wanted::ALL
    };
    let sockets = source(&host, wanted)?.all()?;
    let text = text(&counters, &sockets);
    match &arguments.output {
        Some(path) => Replacement::prepare(path, &text)?.commit(),
        None => print(&text),
    }
}

/// All of it as text.
pub fn text(counters: &Counters, sockets: &[Socket]) -> String {
    let mut out = String::new();
    for (name, value) in counters {
        let metric = format!("oxtcp_{}_total", snake(name));
        let meaning =
            explained::find(name).map_or("A counter of the module.", |explained| explained.meaning);
        heading(&mut out, &metric, "counter", meaning);
        let _ = writeln!(out, "{metric} {value}");
    }
    let mut states = [0u64; 12];
    let mut half_open: BTreeMap<u16, u64> = BTreeMap::new();
    let mut orphans = 0;
    for socket in sockets {
        states[socket.state as usize] += 1;
        orphans += u64::from(socket.is_orphan());
        if socket.state == State::SynRecv {
            *half_open.entry(socket.local.port()).or_default() += 1;
        }
    }
    heading(
        &mut out,
        "oxtcp_sockets",
        "gauge",
        "Sockets, half-open connections and TIME-WAITs in each state.",
    );
    for state in State::ALL {
        let _ = writeln!(
            out,
            "oxtcp_sockets{{state=\"{}\"}} {}",
            state.name(),
            states[state as usize]
        );
    }
    heading(
        &mut out,
        "oxtcp_orphans",
        "gauge",
        "Connections that are not over, and have no program any more.",
    );
    let _ = writeln!(out, "oxtcp_orphans {orphans}");
    let listeners: Vec<&Socket> = sockets
        .iter()
        .filter(|socket| socket.state == State::Listen)
        .collect();
    if !listeners.is_empty() {
        heading(
            &mut out,
            "oxtcp_listener_waiting",
            "gauge",
            "Connections that wait for accept(), of the listeners of an address.",
        );
        // Those of a group (SO_REUSEPORT) have one address.
        let mut waiting: BTreeMap<SocketAddr, u64> = BTreeMap::new();
        for listener in &listeners {
            *waiting.entry(listener.local).or_default() += u64::from(listener.recv_queue);
        }
        for (local, number) in waiting {
            let _ = writeln!(
                out,
                "oxtcp_listener_waiting{{address=\"{}\",port=\"{}\"}} {number}",
                local.ip(),
                local.port(),
            );
        }
        heading(
            &mut out,
            "oxtcp_listener_half_open",
            "gauge",
            "Half-open connections of a port that is listened on.",
        );
        let mut ports: Vec<u16> = listeners
            .iter()
            .map(|listener| listener.local.port())
            .collect();
        ports.sort_unstable();
        ports.dedup();
        for port in ports {
            let number = half_open.get(&port).copied().unwrap_or(0);
            let _ = writeln!(out, "oxtcp_listener_half_open{{port=\"{port}\"}} {number}");
        }
    }
    out
}

fn heading(out: &mut String, metric: &str, kind: &str, meaning: &str) {
    let meaning = meaning.replace('\\', "\\\\").replace('\n', "\\n");
    let _ = write!(out, "# HELP {metric} {meaning}\n# TYPE {metric} {kind}\n");
}

/// What is written in capitals, by which names cannot be split: `TCPDSACKRecv`, `DelayedACKs`.
const CAPITALS: [&str; 13] = [
    "ACKs", "ACK", "AO", "CE", "DSACK", "MD5", "MTUP", "OFO", "PAWS", "RTOs", "SACK", "SYN", "TS",
];

/// `TCPReqQFullDrop` as `tcp_req_q_full_drop`, as people would split it.
fn snake(name: &str) -> String {
    let mut words: Vec<String> = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let known = std::iter::once("TCP").chain(CAPITALS);
        let word = known.into_iter().find(|word| {
            let after = rest.strip_prefix(word).map(|after| after.chars().next());
            after.is_some_and(|next| !next.is_some_and(char::is_lowercase))
        });
        let len = match word {
            Some(word) => word.len(),
            None => first.len_utf8() + plain(&rest[first.len_utf8()..], first),
        };
        let (word, more) = rest.split_at(len);
        words.push(word.to_lowercase());
        rest = more;
    }
    let word = |word: &String| word.replace(|char: char| !char.is_ascii_alphanumeric(), "");
    let words: Vec<String> = words
        .iter()
        .map(word)
        .filter(|word| !word.is_empty())
        .collect();
    words.join("_")
}

/// How much belongs to a word that begins so: the capitals behind a capital, but for the one that begins the next word; or what is no capital.
fn plain(rest: &str, first: char) -> usize {
    let is_end = |char: char| char.is_uppercase() || !char.is_alphanumeric();
    let capitals = rest.find(|char: char| !char.is_uppercase());
    match capitals {
        None if first.is_uppercase() => rest.len(),
        Some(number @ 1..) if first.is_uppercase() => {
            match rest[number..].starts_with(char::is_alphabetic) {
                true => number - 1,
                false => number,
            }
        }
        _ => rest.find(is_end).unwrap_or(rest.len()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sockets::procnet::ProcNet;
    use crate::sockets::Source;

    #[test]
    fn names_in_snake_case() {
        for (name, snake_name) in [
            ("SyncookiesSent", "syncookies_sent"),
            ("TCPReqQFullDrop", "tcp_req_q_full_drop"),
            ("TCPTimeouts", "tcp_timeouts"),
            ("TW", "tw"),
            ("TWKilled", "tw_killed"),
            ("DelayedACKs", "delayed_acks"),
            ("DelayedACKLost", "delayed_ack_lost"),
            ("TCPSpuriousRTOs", "tcp_spurious_rtos"),
            ("TCPDSACKIgnoredDubious", "tcp_dsack_ignored_dubious"),
            ("TCPSackRecovery", "tcp_sack_recovery"),
            ("TCPMD5NotFound", "tcp_md5_not_found"),
            ("TCPAODroppedIcmps", "tcp_ao_dropped_icmps"),
            ("TCPAbortOnData", "tcp_abort_on_data"),
            ("TCPTSReorder", "tcp_ts_reorder"),
            ("TCPACKSkippedFinWait2", "tcp_ack_skipped_fin_wait2"),
            ("PAWSOldAck", "paws_old_ack"),
            ("TCPRcvQDrop", "tcp_rcv_q_drop"),
            ("", ""),
            ("OutOfWindow-Icmps", "out_of_window_icmps"),
        ] {
            assert_eq!(snake(name), snake_name);
        }
    }

    /// All that there are, to be read through.
    #[test]
    fn names_of_all_counters() {
        let names = explained::all().map(|explained| snake(explained.name));
        let mut names: Vec<String> = names.collect();
        names.sort();
        insta::assert_snapshot!(names.join("\n"));
    }

    #[test]
    fn the_text_of_a_recorded_table() {
        let (_folder, host) = crate::sockets::procnet::tests::recorded();
        let sockets = ProcNet::new(&host, true, true).all().unwrap();
        let counters = Counters::from([("ListenDrops".to_string(), 7), ("Unheard".to_string(), 1)]);
        insta::assert_snapshot!(text(&counters, &sockets));
    }
}
