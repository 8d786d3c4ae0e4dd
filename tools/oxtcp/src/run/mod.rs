// SPDX-License-Identifier: GPL-2.0
//! `oxtcp run`: execute a program with its TCP sockets moved to oxtcp, by the preload library.
//!
//! The command looks before it leaps: whatever would let the program run over the built-in TCP without
//! anybody noticing (a static program, a module that is not loaded, a library that is not there) ends it
//! with a message and an exit code of its own.

mod library;
mod module;
pub mod program;

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::Failure;

/// Run a program with its TCP sockets moved to oxtcp.
///
/// Every socket(AF_INET or AF_INET6, SOCK_STREAM) of PROGRAM, and of the programs it starts, becomes
/// an oxtcp socket. Nothing of the program is changed: the library liboxtcp_preload.so stands before its C library.
///
/// Exit codes: PROGRAM's own; 123 when PROGRAM cannot be redirected (static, Go, set-user-ID, 32-bit);
/// 125 when oxtcp is not usable (module not loaded, library not found); 126 when PROGRAM cannot be
/// executed; 127 when it is not found.
#[derive(clap::Args)]
pub struct Arguments {
    /// oxtcp's socket family, instead of asking the loaded module
    #[arg(long, value_name = "NUMBER")]
    family: Option<u16>,

    /// Use the built-in TCP where the kernel does not know oxtcp's family
    #[arg(long)]
    fallback: bool,

    /// The program and its arguments
    #[arg(required = true, trailing_var_arg = true, value_names = ["PROGRAM", "ARGS"])]
    command: Vec<OsString>,
}

/// Executes the program in place of this process; comes back only with what went wrong.
pub fn run(arguments: &Arguments) -> Error {
    match prepare(arguments) {
        Ok((path, mut command)) => {
            let error = command.exec();
            Error::Program(program::Error::Unexecutable(path, error))
        }
        Err(error) => error,
    }
}

/// The preload library's path, or why it is not to be found.
pub fn find_library() -> Result<String, String> {
    match library::find() {
        Ok(path) => Ok(path.display().to_string()),
        Err(error) => Err(error.to_string()),
    }
}

fn prepare(arguments: &Arguments) -> Result<(PathBuf, Command), Error> {
    let Some((name, rest)) = arguments.command.split_first() else {
        return Err(Error::NoProgram);
    };
    let library = library::find()?;
    let path = program::find(name, env::var_os("PATH").as_deref())?;
    program::check_redirectable(&path, program::abi(&library)?)?;

    let fallback =
        arguments.fallback || env::var_os("OXTCP_FALLBACK").is_some_and(|value| value == "1");
    let family = match usable_family(arguments.family) {
        Ok(family) => family,
        Err(error) if fallback => {
            eprintln!(
                "oxtcp: {error}\noxtcp: --fallback: {} uses the built-in TCP",
                Path::new(name).display()
            );
            module::DEFAULT_FAMILY
        }
        Err(error) => return Err(error.into()),
    };

    let mut command = Command::new(&path);
    command
        .arg0(name)
        .args(rest)
        .env(
            "LD_PRELOAD",
            library::merge(env::var_os("LD_PRELOAD").as_deref(), &library),
        )
        .env("OXTCP_FAMILY", family.to_string());
    if fallback {
        command.env("OXTCP_FALLBACK", "1");
    }
    Ok((path, command))
}

fn usable_family(given: Option<u16>) -> Result<u16, module::Error> {
    let family = given.map_or_else(module::family, Ok)?;
    module::probe(family)?;
    Ok(family)
}

/// Why the program was not run.
#[derive(Debug)]
pub enum Error {
    /// The command line names no program.
    NoProgram,
    /// The preload library.
    Library(library::Error),
    /// The kernel module.
    Module(module::Error),
    /// The program.
    Program(program::Error),
}

impl Failure for Error {
    fn exit_code(&self) -> u8 {
        match self {
            Error::Program(program::Error::Unredirectable(..)) => 123,
            Error::NoProgram | Error::Library(_) | Error::Module(_) => 125,
            Error::Program(program::Error::Unexecutable(..)) => 126,
            Error::Program(program::Error::Missing(_)) => 127,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoProgram => f.write_str("no program given; say: oxtcp run PROGRAM [ARGS...]"),
            Error::Library(error) => error.fmt(f),
            Error::Module(error) => error.fmt(f),
            Error::Program(error) => error.fmt(f),
        }
    }
}

impl From<library::Error> for Error {
    fn from(error: library::Error) -> Self {
        Error::Library(error)
    }
}

impl From<module::Error> for Error {
    fn from(error: module::Error) -> Self {
        Error::Module(error)
    }
}

impl From<program::Error> for Error {
    fn from(error: program::Error) -> Self {
        Error::Program(error)
    }
}
