// SPDX-License-Identifier: GPL-2.0
//! The `oxtcp` command: run unchanged programs over oxtcp, set it up, look at it, draw connections as ladder diagrams.

/// Writes a line to standard error. Nobody may be there to read it any more: that is no reason to end before what was begun has been
/// taken away.
macro_rules! say {
    ($($words:tt)*) => {{
        use std::io::Write as _;
        let _ = writeln!(std::io::stderr(), $($words)*);
    }};
}

mod counters;
mod doctor;
mod failure;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod host;
mod kill;
mod ladder;
mod manual;
mod netns;
mod output;
mod plot;
mod profile;
mod run;
mod settings;
mod sockets;
mod ss;
mod svg;
mod top;
mod trace;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

use failure::Failure;

/// The whole command.
pub fn main() -> ExitCode {
    let line = Cli::parse();
    line.color.of_all();
    match line.command {
        Command::Run(arguments) => match run::run(&arguments) {
            Ok(code) => ExitCode::from(code),
            Err(error) => fail(&error),
        },
        Command::Ladder(arguments) => match ladder::ladder(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        },
        Command::Plot(arguments) => match plot::plot(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        },
        Command::List(arguments) => output::exit(settings::list(&arguments)),
        Command::Get(arguments) => output::exit(settings::get(&arguments)),
        Command::Set(arguments) => output::exit(settings::set(&arguments)),
        Command::Profile(arguments) => output::exit(profile::profile(&arguments)),
        Command::Ss(arguments) => output::exit(ss::ss(&arguments)),
        Command::Kill(arguments) => output::exit(kill::kill(&arguments)),
        Command::Top(arguments) => output::exit(top::top(&arguments)),
        Command::Trace(arguments) => match trace::trace(&arguments) {
            Ok(code) => code,
            Err(problem) => fail(&problem),
        },
        Command::Counters(arguments) => output::exit(counters::counters(&arguments)),
        Command::Export(arguments) => output::exit(counters::export::export(&arguments)),
        Command::Doctor(arguments) => match doctor::doctor(&arguments) {
            Ok(true) => ExitCode::SUCCESS,
            Ok(false) => ExitCode::from(UNWELL),
            Err(problem) => fail(&problem),
        },
        Command::Completions(arguments) => output::exit(manual::completions(&arguments)),
        Command::Manual(arguments) => output::exit(manual::manual(&arguments)),
    }
}

fn fail(error: &dyn Failure) -> ExitCode {
    say!("oxtcp: {error}");
    ExitCode::from(error.exit_code())
}

/// A TCP for Linux with a socket family of its own: run programs over it, set it up, look at connections.
///
/// Exit codes, but for `run`: 0 done; 1 a file or a system call failed; 2 wrong usage, a name or value that cannot be;
/// 3 `doctor` has found something; 4 the privilege is missing; 125 the kernel module oxtcp is not loaded.
#[derive(Parser)]
#[command(version, disable_help_subcommand = true)]
struct Cli {
    /// When to use colours; a subcommand's own counts first
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    color: output::Color,

    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Arguments),
    List(settings::List),
    Get(settings::Get),
    Set(settings::Set),
    Profile(profile::Arguments),
    #[command(visible_alias = "stat")]
    Ss(ss::Arguments),
    Kill(kill::Arguments),
    Top(top::Arguments),
    Trace(trace::Arguments),
    Counters(counters::Arguments),
    Export(counters::export::Arguments),
    Doctor(doctor::Arguments),
    Ladder(ladder::Arguments),
    Plot(plot::Arguments),
    Completions(manual::Completions),
    #[command(hide = true)]
    Manual(manual::Arguments),
}

/// `oxtcp doctor` has found something.
const UNWELL: u8 = 3;

/// The exit codes, those that only one command has with its name. `oxtcp run` has its own.
const EXIT_CODES: &[((u8, Option<&str>), &str)] = &[
    ((0, None), "done"),
    (
        (1, None),
        "a file could not be read or written, or a system call failed; nothing was changed",
    ),
    (
        (2, None),
        "wrong usage: an option, a name, a value, a profile that cannot be; nothing was changed",
    ),
    (
        (1, Some("oxtcp-kill")),
        "or there were connections that could not be ended; what is shown was ended",
    ),
    (
        (UNWELL, Some("oxtcp-doctor")),
        "there is a problem, or a warning",
    ),
    ((4, None), "the privilege is missing; nothing was changed"),
    ((125, None), "the kernel module oxtcp is not loaded"),
];

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::{Cli, Command};
    use crate::output::Color;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    #[test]
    fn color_before_the_subcommand_and_after() {
        for line in ["oxtcp --color never list", "oxtcp list --color never"] {
            let parsed = Cli::try_parse_from(line.split(' ')).unwrap();
            assert!(matches!(parsed.command, Command::List(_)), "{line}");
            assert_eq!(parsed.color == Color::Never, line.starts_with("oxtcp --"));
        }
    }
}
