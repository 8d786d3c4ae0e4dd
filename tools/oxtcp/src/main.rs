// SPDX-License-Identifier: GPL-2.0
//! The `oxtcp` command: run unchanged programs over oxtcp, and draw TCP connections as ladder diagrams.

mod ladder;
mod run;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

fn main() -> ExitCode {
    match Cli::parse().command {
        Command::Run(arguments) => fail(&run::run(&arguments)),
        Command::Ladder(arguments) => match ladder::ladder(&arguments) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => fail(&error),
        },
    }
}

/// An error that says what happened and what to do, and the exit code that stands for it.
trait Failure: std::fmt::Display {
    fn exit_code(&self) -> u8;
}

fn fail(error: &dyn Failure) -> ExitCode {
    eprintln!("oxtcp: {error}");
    ExitCode::from(error.exit_code())
}

/// A TCP for Linux with a socket family of its own: run programs over it, look at connections.
#[derive(Parser)]
#[command(version, disable_help_subcommand = true)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Run(run::Arguments),
    Ladder(ladder::Arguments),
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::Cli;

    #[test]
    fn the_command_line_is_consistent() {
        Cli::command().debug_assert();
    }

    /// The man pages are written by hand; this keeps them complete.
    #[test]
    fn every_option_is_in_its_man_page() {
        let pages = concat!(env!("CARGO_MANIFEST_DIR"), "/../../Documentation/man");
        for command in Cli::command().get_subcommands() {
            let path = format!("{pages}/oxtcp-{}.1", command.get_name());
            let page = std::fs::read_to_string(&path)
                .expect(&path)
                .replace("\\-", "-");
            for option in command
                .get_arguments()
                .filter_map(|argument| argument.get_long())
            {
                assert!(
                    page.contains(&format!("--{option}")),
                    "{path} does not explain --{option}"
                );
            }
        }
    }
}
