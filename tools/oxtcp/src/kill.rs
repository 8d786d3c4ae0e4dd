// SPDX-License-Identifier: GPL-2.0
//! `oxtcp kill`: ends connections.

use std::io;

use serde_json::json;

use crate::failure::{words, Problem, Result};
use crate::host::Host;
use crate::netns;
use crate::output::{print, print_json};
use crate::sockets::process::Owners;
use crate::sockets::{diag, Source, State, States, Wanted};
use crate::ss::filter::Filter;
use crate::ss::services::Services;

/// End connections: each is reset, and its program gets ECONNABORTED.
///
/// FILTER is that of `oxtcp ss`, which shows what it stands for, as --dry-run does: `oxtcp kill dst 192.0.2.7`, `oxtcp kill state
/// close-wait process nginx`. Without states in it all are meant but half-open connections and TIME-WAITs, which `state syn-recv`,
/// `state time-wait` or `state all` takes in: these, and what is in FIN-WAIT-2 without a program, are forgotten without a reset. What was ended
/// is shown; exit code 1 says that there were some that could not be. Listeners cannot be ended: end the program.
#[derive(clap::Args)]
pub struct Arguments {
    /// Which connections
    #[arg(value_name = "FILTER", required = true)]
    filter: Vec<String>,

    /// Only show which they are
    #[arg(long)]
    dry_run: bool,

    /// Do not show them
    #[arg(long, short, conflicts_with_all = ["dry_run", "json"])]
    quiet: bool,

    /// JSON: an array of connections, and whether each was ended, or why not
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    namespace: netns::Choice,
}

/// `oxtcp kill`.
pub fn kill(arguments: &Arguments) -> Result<()> {
    let host = Host::here();
    let filter = Filter::parse(&arguments.filter, &Services::read(&host))?;
    arguments.namespace.enter()?;
    host.need_module()?;
    let states = match &filter.states {
        Some(states) => states.clone(),
        None => State::ALL
            .into_iter()
            .filter(|state| state.is_connected())
            .collect(),
    };
    let wanted = Wanted {
        details: false,
        states: States::of(&states),
        ..Wanted::ALL
    };
    let Some(mut diag) = diag(&host, wanted) else {
        return Err(Problem::failed(
            "the loaded module does not answer sock_diag, by which connections are ended.\nIt is of an older version: load the new \
             one (`make install`, then `modprobe -r oxtcp && modprobe oxtcp`).",
        ));
    };
    let owners = if filter.needs_owners() {
        Owners::find(&host)
    } else {
        Owners::default()
    };
    let mut doomed = Vec::new();
    diag.each(&mut |socket| {
        if states.contains(&socket.state) && filter.matches(&socket, &owners) {
            doomed.push(socket);
        }
    })?;
    let mut failures = Vec::new();
    let mut told = Vec::new();
    for socket in &doomed {
        let outcome = if arguments.dry_run {
            Ok(())
        } else {
            diag.destroy(socket)
        };
        let why = match outcome {
            Ok(()) => None,
            // It has ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                return Err(Problem::denied(
                    "only who has CAP_NET_ADMIN in the network namespace may end its connections.\nRun this as root (sudo oxtcp kill ...).",
                ));
            }
            Err(error) => Some(match error.raw_os_error() {
                Some(libc::EOPNOTSUPP) => "a listener is ended with its program".to_string(),
                _ => words(&error),
            }),
        };
        let words = format!(
            "{} {} {}",
            socket.state.label(),
            socket.local,
            socket.remote
        );
        if arguments.json {
            told.push(json!({
                "state": socket.state.name(),
                "local": socket.local.to_string(),
                "remote": socket.remote.to_string(),
                "ended": why.is_none() && !arguments.dry_run,
                "why_not": why,
            }));
        } else if why.is_none() && !arguments.quiet {
            print(&format!("{words}\n"))?;
        }
        failures.extend(why.map(|why| format!("{words}: {why}")));
    }
    if arguments.json {
        print_json(&told.into())?;
    }
    if failures.is_empty() {
        return Ok(());
    }
    Err(Problem::failed(format!(
        "{} of {} were not ended:\n  {}",
        failures.len(),
        doomed.len(),
        failures.join("\n  ")
    )))
}
