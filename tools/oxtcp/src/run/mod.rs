// SPDX-License-Identifier: GPL-2.0
//! `oxtcp run`: execute a program with its TCP sockets moved to oxtcp, by the preload library, or by BPF in a cgroup where that
//! does not reach the program.
//!
//! The command looks before it leaps: whatever would let the program run over the built-in TCP without
//! anybody noticing (a static program, a module that is not loaded, a library that is not there) ends it
//! with a message and an exit code of its own.

mod bpf;
mod cgroup;
mod check;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod held;
mod library;
mod module;
mod notify;
pub mod program;
mod sample;
mod service;
mod signals;
mod standing;
mod stats;
mod supervise;
mod watch;

use std::env;
use std::ffi::OsString;
use std::fmt;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{words, Failure, Problem};
use supervise::{Door, Refusal};

/// Run a program with its TCP sockets moved to oxtcp.
///
/// Every socket(AF_INET or AF_INET6, SOCK_STREAM) of PROGRAM, and of the programs it starts, becomes
/// an oxtcp socket. Nothing of the program is changed: the library liboxtcp_preload.so stands before its C library. A program
/// that this does not reach (static, Go, set-user-ID, 32-bit) is run in a cgroup whose sockets the kernel moves, by BPF;
/// for that, oxtcp run must be root, and stays until the program, and all that it has started, has ended.
///
/// With --service or --system there is no PROGRAM: sockets of what others start are moved by BPF, until oxtcp run gets SIGINT or SIGTERM.
///
/// Not moved are sockets that io_uring opens (neither way reaches them), and those that PROGRAM is handed.
///
/// While oxtcp run stays, SIGTERM, SIGHUP, SIGINT, SIGQUIT, SIGUSR1 and SIGUSR2 that a process sends to it go on to PROGRAM; who sends
/// them to its process group or control group as well, as systemd does without KillMode=mixed, sends PROGRAM two. If oxtcp run is killed,
/// PROGRAM gets SIGTERM, unless it has changed its user or gained privileges; what it has started does not.
///
/// Exit codes: PROGRAM's own; 122 when --check has found a socket that is not oxtcp's; 123 when PROGRAM cannot be redirected, by neither;
/// 125 when oxtcp is not usable (module not loaded, library not found, no BPF for --bpf, no cgroup), or a report cannot be had; 126 when
/// PROGRAM cannot be executed; 127 when it is not found.
#[derive(clap::Args)]
#[command(group(clap::ArgGroup::new("report").multiple(true)), group(clap::ArgGroup::new("standing").multiple(true)))]
pub struct Arguments {
    /// oxtcp's socket family, instead of asking the loaded module
    #[arg(long, value_name = "NUMBER")]
    family: Option<u16>,

    /// Use the built-in TCP where the kernel does not know oxtcp's family
    #[arg(long, conflicts_with_all = ["report", "standing"])]
    fallback: bool,

    /// Move the sockets by BPF, whatever the program is: those of syscall(2), too, and of children with an emptied environment
    #[arg(long)]
    bpf: bool,

    /// Move the sockets of this service of systemd's, in place of a program's, until SIGINT or SIGTERM, through all of its restarts; can be given several times
    /// (as root; by BPF)
    #[arg(long, value_name = "NAME", group = "standing")]
    service: Vec<String>,

    /// Move the sockets of all processes, in all network namespaces, until SIGINT or SIGTERM: sshd's too, and those in containers (as root; by BPF)
    #[arg(long, group = "standing", conflicts_with = "service")]
    system: bool,

    /// On exit, say of which TCP the sockets were that PROGRAM and its children have opened, as the kernel has counted them (as root; by
    /// BPF); exit code 122 if not all of them were oxtcp's
    #[arg(long, group = "report")]
    check: bool,

    /// On exit, a line for each connection: its ends, how far it came, bytes, segments sent again, round trip (as root)
    #[arg(long, group = "report")]
    stats: bool,

    /// While PROGRAM runs, what happens to its connections, as `oxtcp trace` shows it (as root)
    #[arg(long, group = "report")]
    trace: bool,

    /// The reports of --check, --stats and --trace as JSON: an object on a line for each event, and one for both others
    #[arg(long, requires = "report")]
    json: bool,

    /// The reports into this file, instead of to the standard error
    #[arg(long, value_name = "FILE", requires = "report")]
    output: Option<PathBuf>,

    /// Say on the standard error how the sockets are moved (by BPF: always said)
    #[arg(short, long)]
    verbose: bool,

    /// The program and its arguments
    #[arg(required_unless_present = "standing", conflicts_with = "standing", trailing_var_arg = true, value_names = ["PROGRAM", "ARGS"])]
    command: Vec<OsString>,
}

/// The exit code when `--check` has found a socket that is not ours.
const NOT_OURS: u8 = 122;

impl Arguments {
    /// Whether something is to be said at the end.
    fn reports(&self) -> bool {
        self.check || self.stats || self.trace
    }
}

/// Executes the program in place of this process, or as a child whose exit code this is.
pub fn run(arguments: &Arguments) -> Result<u8, Error> {
    if arguments.system || !arguments.service.is_empty() {
        return standing::run(arguments);
    }
    let Some((name, rest)) = arguments.command.split_first() else {
        return Err(Error::NoProgram);
    };
    if arguments.bpf && arguments.family.is_some() && !arguments.check {
        return Err(Error::FamilyOfNothing);
    }
    if arguments.reports() && falls_back(arguments) {
        return Err(Error::Contradiction);
    }
    let path = program::find(name, env::var_os("PATH").as_deref())?;
    let mut command = Command::new(&path);
    command.arg0(name).args(rest);
    if arguments.bpf {
        return run_by_bpf(arguments, path, command, "").map_err(|refusal| match refusal {
            Refusal::Other(error) => error,
            Refusal::Lacking(reason) => Error::Bpf(reason),
        });
    }
    let library = library::find()?;
    match program::check_redirectable(&path, program::abi(&library)?) {
        Ok(()) => {}
        Err(program::Error::Unredirectable(program, file, obstacle)) => {
            let why = obstacle.name();
            return run_by_bpf(arguments, path, command, why).map_err(|refusal| match refusal {
                Refusal::Other(error) => error,
                Refusal::Lacking(reason) => Error::Neither(
                    program::Error::Unredirectable(program, file, obstacle),
                    reason,
                ),
            });
        }
        Err(error) => return Err(error.into()),
    }
    preload(arguments, &library, &mut command)?;
    if arguments.reports() {
        let outcome = supervise::run(arguments, &path, command, &Door::Library);
        return outcome.map_err(|refusal| match refusal {
            Refusal::Other(error) => error,
            Refusal::Lacking(reason) => Error::Watched(reason),
        });
    }
    Err(unexecutable(path, command.exec()))
}

fn unexecutable(path: PathBuf, error: io::Error) -> Error {
    Error::Program(program::Error::Unexecutable(path, error))
}

/// Whether `--fallback` is given.
fn falls_back(arguments: &Arguments) -> bool {
    arguments.fallback || env::var_os("OXTCP_FALLBACK").is_some_and(|value| value == "1")
}

/// `why` says why not by the library, if that was tried.
fn run_by_bpf(
    arguments: &Arguments,
    path: PathBuf,
    mut command: Command,
    why: &str,
) -> Result<u8, Refusal> {
    match module::protocol() {
        Ok(protocol) => supervise::run(arguments, &path, command, &Door::Bpf(protocol, why)),
        Err(error) if falls_back(arguments) => {
            say!(
                "oxtcp: {error}\noxtcp: --fallback: {} uses the built-in TCP",
                path.display()
            );
            Err(Refusal::Other(unexecutable(path, command.exec())))
        }
        Err(error) => Err(Refusal::Lacking(error.to_string())),
    }
}

/// The preload library's path, or why it is not to be found.
pub fn find_library() -> Result<String, String> {
    match library::find() {
        Ok(path) => Ok(path.display().to_string()),
        Err(error) => Err(error.to_string()),
    }
}

/// Gives the program the library.
fn preload(arguments: &Arguments, library: &Path, command: &mut Command) -> Result<(), Error> {
    let fallback = falls_back(arguments);
    let program = command.get_program().to_owned();
    let family = match usable_family(arguments.family) {
        Ok(family) => family,
        Err(error) if fallback => {
            say!(
                "oxtcp: {error}\noxtcp: --fallback: {} uses the built-in TCP",
                Path::new(&program).display()
            );
            module::DEFAULT_FAMILY
        }
        Err(error) => return Err(error.into()),
    };
    if arguments.verbose {
        say!(
            "oxtcp: {}: its sockets are moved by the library {}, to the socket family {family}",
            Path::new(&program).display(),
            library.display()
        );
    }
    command
        .env(
            "LD_PRELOAD",
            library::merge(env::var_os("LD_PRELOAD").as_deref(), library),
        )
        .env("OXTCP_FAMILY", family.to_string());
    if fallback {
        command.env("OXTCP_FALLBACK", "1");
    }
    Ok(())
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
    /// The library does not reach the program, nor does BPF, for this reason.
    Neither(program::Error, String),
    /// BPF was asked for, and does not work, for this reason.
    Bpf(String),
    /// What is done in the child before the program is executed.
    NotPrepared(watch::Step, io::Error),
    /// The program runs, and its end cannot be waited for.
    Wait(io::Error),
    /// A report is asked for, and OXTCP_FALLBACK is set.
    Contradiction,
    /// What reports need is not to be had, for this reason.
    Watched(String),
    /// The trace has failed; the program has run.
    Trace(Problem),
    /// Signals cannot be caught.
    Signals(Problem),
    /// What is to be said of one program alone.
    OfAProgram,
    /// A family is given, and nothing asks for it.
    FamilyOfNothing,
    /// More services than there is room for.
    TooMany(usize),
    /// A service, or what it is told by.
    Service(service::Error),
    /// systemd is not told.
    NotTold(OsString, io::Error),
    /// The file for reports.
    Unwritable(PathBuf, io::Error),
    /// The counts of sockets cannot be read; the program has run.
    NotCounted(io::Error),
    /// The kernel has not counted the socket that was opened for that; the program has run.
    NothingCounted,
}

impl Failure for Error {
    fn exit_code(&self) -> u8 {
        match self {
            Error::Program(program::Error::Unredirectable(..)) | Error::Neither(..) => 123,
            Error::NoProgram
            | Error::Library(_)
            | Error::Module(_)
            | Error::Bpf(_)
            | Error::NotPrepared(..)
            | Error::Wait(_)
            | Error::Watched(_)
            | Error::Trace(_)
            | Error::Unwritable(..)
            | Error::NotCounted(_)
            | Error::NothingCounted => 125,
            Error::Contradiction
            | Error::OfAProgram
            | Error::FamilyOfNothing
            | Error::TooMany(_) => Problem::USAGE,
            Error::Service(error) if error.is_usage() => Problem::USAGE,
            Error::Service(_) | Error::NotTold(..) | Error::Signals(_) => 125,
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
            Error::Neither(error, reason) => {
                write!(f, "{error}\nIt cannot be moved by BPF either: {reason}")
            }
            Error::Bpf(reason) => write!(f, "sockets cannot be moved by BPF: {reason}"),
            Error::NotPrepared(step, error) => {
                write!(f, "cannot {step}: {}.\nThe program was not run.", words(error))
            }
            Error::Contradiction => f.write_str(
                "--check, --stats and --trace are about oxtcp's sockets, and OXTCP_FALLBACK=1 allows others.\n\
                 Unset it: env -u OXTCP_FALLBACK oxtcp run ...",
            ),
            Error::Watched(reason) => {
                write!(f, "what was asked for cannot be watched, and nothing was run: {reason}")
            }
            Error::Signals(problem) => problem.fmt(f),
            Error::Service(error) => error.fmt(f),
            Error::OfAProgram => f.write_str(
                "--stats and --trace are about one program.\nFor a service, or all of the system: oxtcp trace, with a filter such as 'sport = :80'; and oxtcp ss -i.",
            ),
            Error::FamilyOfNothing => f.write_str(
                "BPF moves sockets by the protocol number of AF_INET and AF_INET6: --family does nothing here, but with --check.",
            ),
            Error::TooMany(most) => write!(f, "there is room for {most} services; use --system, or another oxtcp run beside this."),
            Error::NotTold(address, error) => write!(
                f,
                "cannot tell {} that this has begun (NOTIFY_SOCKET): {}.\nWithout Type=notify: env -u NOTIFY_SOCKET oxtcp run ...",
                Path::new(address).display(),
                words(error)
            ),
            Error::Trace(problem) => write!(f, "the program has run, and its trace has failed: {problem}"),
            Error::Unwritable(path, error) => {
                write!(f, "cannot write {}: {}.\nName another file by --output.", path.display(), words(error))
            }
            Error::NotCounted(error) => write!(
                f,
                "the kernel does not say which sockets were opened: {}.\nAll else was done.",
                words(error)
            ),
            Error::NothingCounted => f.write_str(
                "sockets were moved, and not counted: not even the one was that oxtcp opens to see that they are.\n\
                 This kernel asks no program of BPF about them; --stats and /proc/net/oxtcp tell what there is of oxtcp.",
            ),
            Error::Wait(error) => write!(
                f,
                "cannot wait for the program, which runs on: {}.\nIts new sockets are the built-in TCP's from now on.",
                words(error)
            ),
        }
    }
}

impl From<library::Error> for Error {
    fn from(error: library::Error) -> Self {
        Error::Library(error)
    }
}

impl From<service::Error> for Error {
    fn from(error: service::Error) -> Self {
        Error::Service(error)
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
