// SPDX-License-Identifier: GPL-2.0
//! `oxtcp kill`: ends connections.

use std::io;

use crate::failure::{words, Problem, Result};
use crate::host::Host;
use crate::netns;
use crate::output::print;
use crate::sockets::process::Owners;
use crate::sockets::{diag, Source, State, Wanted};
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
    #[arg(long, short, conflicts_with = "dry_run")]
    quiet: bool,

    #[command(flatten)]
    namespace: netns::Choice,
}

/// `oxtcp kill`.
pub fn kill(arguments: &Arguments) -> Result<()> {
    let host = Host::here();
    let filter = Filter::parse(&arguments.filter, &Services::read(&host))?;
    arguments.namespace.enter()?;
    host.need_module()?;
    let wanted = Wanted {
        details: false,
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
    let is_wanted = |state: State| match &filter.states {
        Some(states) => states.contains(&state),
        None => state.is_connected(),
    };
    let mut doomed = Vec::new();
    diag.each(&mut |socket| {
        if is_wanted(socket.state) && filter.matches(&socket, &owners) {
            doomed.push(socket);
        }
    })?;
    let mut failures = Vec::new();
    let mut denied = false;
    for socket in &doomed {
        let outcome = if arguments.dry_run {
            Ok(())
        } else {
            diag.destroy(socket)
        };
        match outcome {
            Ok(()) if arguments.quiet => {}
            Ok(()) => print(&format!(
                "{} {} {}\n",
                socket.state.label(),
                socket.local,
                socket.remote
            ))?,
            // It has ended meanwhile.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                denied |= error.kind() == io::ErrorKind::PermissionDenied;
                let why = match error.raw_os_error() {
                    Some(libc::EOPNOTSUPP) => "a listener is ended with its program".to_string(),
                    _ => words(&error),
                };
                failures.push(format!(
                    "{} {} {}: {why}",
                    socket.state.label(),
                    socket.local,
                    socket.remote
                ));
            }
        }
        if denied {
            return Err(Problem::denied(
                "only who has CAP_NET_ADMIN in the network namespace may end its connections.\nRun this as root (sudo oxtcp kill ...).",
            ));
        }
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
