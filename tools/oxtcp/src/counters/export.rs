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

/// `TCPReqQFullDrop` as `tcp_req_q_full_drop`.
fn snake(name: &str) -> String {
    let chars: Vec<char> = name.chars().collect();
    let mut out = String::new();
    for (at, char) in chars.iter().enumerate() {
        let after_small = at > 0 && !chars[at - 1].is_uppercase();
        let before_small = at > 0 && chars.get(at + 1).is_some_and(|next| next.is_lowercase());
        if char.is_uppercase() && (after_small || before_small) && !out.ends_with('_') {
            out.push('_');
        }
        out.extend(char.to_lowercase().map(|char| {
            if char.is_ascii_alphanumeric() {
                char
            } else {
                '_'
            }
        }));
    }
    out
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
            ("OutOfWindow-Icmps", "out_of_window_icmps"),
        ] {
            assert_eq!(snake(name), snake_name);
        }
    }

    #[test]
    fn the_text_of_a_recorded_table() {
        let (_folder, host) = crate::sockets::procnet::tests::recorded();
        let sockets = ProcNet::new(&host, true, true).all().unwrap();
        let counters = Counters::from([("ListenDrops".to_string(), 7), ("Unheard".to_string(), 1)]);
        insta::assert_snapshot!(text(&counters, &sockets));
    }
}
