// SPDX-License-Identifier: GPL-2.0
//! `oxtcp trace`: what happens to connections, from the module's tracepoints.

mod already;
pub mod connection;
mod consumer;
pub(crate) mod decode;
pub mod event;
pub mod explain;
mod flows;
mod format;
#[cfg(any(test, fuzzing))]
pub mod fuzz;
mod json;
mod log;
#[cfg(test)]
pub mod made;
mod order;
mod outputs;
mod page;
pub mod pcapng;
pub mod program;
mod scope;
pub mod signals;
pub mod summary;
mod tracefs;

use std::ffi::OsString;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitCode, ExitStatus};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::time::{clock_gettime, ClockId};

use crate::failure::{words, Problem, Result};
use crate::host::Host;
use crate::netns;
use crate::output::{Color, Painter};
use crate::sockets::State;
use crate::ss::filter::Filter;
use crate::ss::services::Services;
use consumer::{Consumer, Printer, Style};
use event::{Clock, Event, What};
use flows::Flows;
use log::Log;
use order::Order;
use outputs::Outputs;
use page::Lost;
use scope::Scope;
use tracefs::Instance;

/// Show what happens to connections: segments, states, timers, losses, drops with their reasons, what listeners decide.
///
/// A line is an event: the time since the first one, this host's end, > for what leaves and < for what comes, the other end. Numbers are
/// relative to the SYNs. With PROGRAM it is run as `oxtcp run` does it, and the trace ends with it; else Ctrl-C ends it. Others'
/// connections are traced as well: `oxtcp run --trace PROGRAM` has the program's alone.
///
/// FILTER is that of `oxtcp ss`: [state STATE | exclude STATE]... [EXPRESSION] with sport, dport, src, dst, =, !=, <, >, <=, >=, and, or,
/// not, brackets. Over loopback both ends are traced, each with its own sport and dport. A state is the one that this host's end is in
/// when the event comes; a change of states is of both, and what a listener decides of `listening` and of the connection's. The rest is
/// told by events alone, and so pid, uid and process are not known here.
///
/// Exit codes, with PROGRAM: PROGRAM's own, 128 and the signal's number when one ended it, and those of `oxtcp run`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Which connections
    #[arg(value_name = "FILTER")]
    filter: Vec<String>,

    /// After every step also where the connection stands: cwnd, ssthresh, what is in flight, windows, round trip
    #[arg(long, short)]
    verbose: bool,

    /// End after so many events
    #[arg(long, short, value_name = "COUNT", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,

    /// End after so many seconds
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    duration: Option<f64>,

    /// JSON: an object on a line for each event, with everything that it tells; with --explain for each sentence, and for each sum at the end
    #[arg(long)]
    json: bool,

    #[command(flatten)]
    outputs: Outputs,

    /// Memory for events that wait to be read, in KB for each processor
    #[arg(long, value_name = "KB", default_value = "4096", value_parser = clap::value_parser!(u32).range(8..=1_048_576))]
    buffer: u32,

    /// When to use colours
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    color: Color,

    /// What happens in all network namespaces
    #[arg(long, conflicts_with = "netns")]
    all_netns: bool,

    #[command(flatten)]
    namespace: netns::Choice,

    /// Run this program over oxtcp, as `oxtcp run` does, and trace until it ends
    #[arg(last = true, value_names = ["PROGRAM", "ARGS"])]
    program: Vec<OsString>,
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "it is a number of seconds, such as 10 or 0.5".to_string())?;
    if seconds > 0.0 && seconds <= 1e9 {
        Ok(seconds)
    } else {
        Err("it is more than 0 seconds".into())
    }
}

/// How long what a program has left on its way is waited for.
const AFTERMATH: Duration = Duration::from_millis(100);

/// `oxtcp trace`.
pub fn trace(arguments: &Arguments) -> Result<ExitCode> {
    let host = Host::here();
    let filter = Filter::parse(&arguments.filter, &Services::read(&host))?;
    if !filter.is_of_ends() {
        return Err(Problem::usage(
            "pid, uid and process are not told by events: filter by sport, dport, src, dst and states.\n\
             `oxtcp ss -p process NAME` shows the ports that a program has.",
        ));
    }
    arguments.outputs.check()?;
    host.need_module()?;
    let mut instance = Instance::new(&host, arguments.buffer)?;
    // The instance's folder is open by now: another namespace may have another /sys.
    arguments.namespace.enter()?;
    if !arguments.all_netns {
        instance.restrict(this_namespace()?)?;
    }
    signals::catch()?;
    let style = match arguments.json {
        true => Style::Json(clock()),
        false => Style::Log(Log::new(Painter::new(arguments.color))),
    };
    let mut consumers = arguments.outputs.consumers(clock(), arguments.json)?;
    if arguments.outputs.leaves_log() {
        consumers.push(Box::new(Printer::new(style, Box::new(io::stdout()))));
    }
    let mut session = Session {
        filter,
        flows: Flows::default(),
        consumers,
        scope: None,
        left: arguments.count.unwrap_or(u64::MAX),
        lost: 0,
        told: 0,
    };
    let standing = arguments.verbose || arguments.json || arguments.outputs.needs_standing();
    let unwanted: &[&str] = match standing {
        true => &[],
        false => &["oxtcp_congestion"],
    };
    instance.begin(unwanted)?;
    if session.filter.states.is_some() {
        already::note(&host, arguments.all_netns, &mut session.flows)?;
    }
    let program = match start(arguments)? {
        Some(child) => Program::Child(child, None),
        None => Program::None,
    };
    if matches!(program, Program::None) && Printer::is_terminal() {
        say!("Tracing oxtcp; Ctrl-C ends it.");
    }
    let outcome = session.run(&mut instance, program, arguments.duration);
    let _ = instance.end();
    drop(instance);
    let status = outcome?;
    if let Some(lost) = session.lost() {
        say!(
            "oxtcp: {lost} were lost, as they came faster than they could be read.\n\
             A larger --buffer, a narrower FILTER for what is printed, or no --verbose helps."
        );
    }
    Ok(status.map_or(ExitCode::SUCCESS, exit_code))
}

/// The program, if there is one.
fn start(arguments: &Arguments) -> Result<Option<Child>> {
    if arguments.program.is_empty() {
        return Ok(None);
    }
    let myself = std::env::current_exe()
        .map_err(|error| Problem::failed(format!("cannot find myself: {}", words(&error))))?;
    let child = Command::new(myself)
        .arg("run")
        .arg("--")
        .args(&arguments.program)
        .spawn();
    let child = child
        .map_err(|error| Problem::failed(format!("cannot run the program: {}", words(&error))))?;
    Ok(Some(child))
}

fn exit_code(status: ExitStatus) -> ExitCode {
    let code = match (status.code(), status.signal()) {
        (Some(code), _) => code,
        (None, Some(signal)) => 128 + signal,
        (None, None) => 1,
    };
    ExitCode::from(code as u8)
}

/// The number that events have of the network namespace that the process is in.
fn this_namespace() -> Result<u32> {
    let path = "/proc/self/ns/net";
    let inode = fs::metadata(path)
        .map_err(|error| Problem::io("look at", path.as_ref(), &error))?
        .ino();
    u32::try_from(inode)
        .map_err(|_| Problem::failed(format!("{path} has a number that is too large")))
}

/// Nanoseconds of the clock that events have their times of.
fn monotonic() -> u64 {
    nanos(ClockId::Monotonic)
}

fn clock() -> Clock {
    let unix = nanos(ClockId::Realtime);
    Clock {
        offset: unix as i64 - monotonic() as i64,
    }
}

fn nanos(clock: ClockId) -> u64 {
    let time = clock_gettime(clock);
    time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64
}

/// What runs while it is traced.
enum Program {
    /// Nothing: a signal ends the trace.
    None,
    /// A child, and how it has ended.
    Child(Child, Option<ExitStatus>),
    /// A program that others wait for, and say so here.
    Elsewhere(Arc<AtomicBool>),
}

impl Program {
    /// Whether it has ended.
    fn has_ended(&mut self) -> Result<bool> {
        match self {
            Program::None => Ok(false),
            Program::Child(child, status) => {
                if status.is_none() {
                    *status = child.try_wait().map_err(|error| {
                        Problem::failed(format!("cannot wait for the program: {}", words(&error)))
                    })?;
                }
                Ok(status.is_some())
            }
            Program::Elsewhere(ended) => Ok(ended.load(Ordering::Acquire)),
        }
    }
}

/// From events to what is made of them.
struct Session {
    filter: Filter,
    /// Whose connections, beside it.
    scope: Option<Scope>,
    flows: Flows,
    consumers: Vec<Box<dyn Consumer>>,
    /// How many events more are wanted.
    left: u64,
    /// How many were lost, as far as is known, and how often it was not.
    lost: u64,
    told: u64,
}

impl Session {
    /// Reads until it is to end: by a signal, the program's end, the time, the count.
    fn run(
        &mut self,
        instance: &mut Instance,
        mut program: Program,
        seconds: Option<f64>,
    ) -> Result<Option<ExitStatus>> {
        let begin = Instant::now();
        let mut until = seconds.map(|seconds| begin + Duration::from_secs_f64(seconds));
        let mut ended = false;
        let mut order = Order::default();
        loop {
            wait(instance)?;
            if !ended && program.has_ended()? {
                ended = true;
                until = Some(Instant::now() + AFTERMATH);
            }
            // While a program runs it is the program that a Ctrl-C ends.
            let over = until.is_some_and(|until| Instant::now() >= until)
                || (signals::caught() && (matches!(program, Program::None) || ended));
            if over {
                instance.end()?;
            }
            let known = if over { u64::MAX } else { monotonic() };
            let mut missed = Vec::new();
            instance.read(order.inbox(), &mut |lost| missed.push(lost))?;
            for lost in missed {
                self.note_lost(lost);
            }
            for event in order.take(known) {
                self.take(&event)?;
            }
            for consumer in &mut self.consumers {
                consumer.pause()?;
            }
            let wanted = self.left > 0 && self.consumers.iter().any(|one| one.is_wanted());
            if over || (!wanted && matches!(program, Program::None)) {
                break;
            }
        }
        for consumer in &mut self.consumers {
            consumer.finish()?;
        }
        Ok(match program {
            Program::Child(_, status) => status,
            _ => None,
        })
    }

    fn take(&mut self, event: &Event) -> Result<()> {
        // What ends a connection is told of the state that it was in.
        let before = self.flows.state(event);
        if self.scope.as_mut().is_some_and(|scope| !scope.has(event)) {
            return Ok(());
        }
        self.flows.observe(event);
        if self.left == 0 || !self.is_wanted(event, before) {
            return Ok(());
        }
        self.left -= 1;
        for consumer in &mut self.consumers {
            consumer.event(event, &self.flows)?;
        }
        Ok(())
    }

    fn is_wanted(&self, event: &Event, before: Option<State>) -> bool {
        if !self.filter.matches_ends(event.local, event.remote) {
            return false;
        }
        let Some(states) = &self.filter.states else {
            return true;
        };
        let is_one = |state| states.contains(&state);
        match event.what {
            What::State { from, to } => is_one(from) || is_one(to),
            What::Listener(_) | What::Overflow(_) => {
                is_one(State::Listen) || before.is_some_and(is_one)
            }
            _ => before.is_some_and(is_one),
        }
    }

    fn note_lost(&mut self, lost: Lost) {
        match lost {
            Lost::Nothing => {}
            Lost::Events(count) => self.lost += count,
            Lost::Some => self.told += 1,
        }
    }

    /// How many events were lost, in words; `None`: none.
    fn lost(&self) -> Option<String> {
        match (self.lost, self.told) {
            (0, 0) => None,
            (count, 0) => Some(format!("{count} events")),
            (0, _) => Some("events".to_string()),
            (count, _) => Some(format!("more than {count} events")),
        }
    }
}

/// Until there is something to read, or a moment has passed. A signal ends it too.
fn wait(instance: &Instance) -> Result<()> {
    let mut pipes: Vec<PollFd<'_>> = instance
        .pipes()
        .map(|pipe| PollFd::from_borrowed_fd(pipe, PollFlags::IN))
        .collect();
    let moment = Timespec {
        tv_sec: 0,
        tv_nsec: 100_000_000,
    };
    match poll(&mut pipes, Some(&moment)) {
        Ok(0) | Err(rustix::io::Errno::INTR) => Ok(()),
        // Lest each event is a turn of its own.
        Ok(_) => {
            std::thread::sleep(Duration::from_millis(5));
            Ok(())
        }
        Err(errno) => Err(Problem::failed(format!(
            "cannot wait for events: {}",
            words(&io::Error::from(errno))
        ))),
    }
}
