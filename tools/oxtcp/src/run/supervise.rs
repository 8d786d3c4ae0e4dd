// SPDX-License-Identifier: GPL-2.0
//! The program in a cgroup of its own: its sockets moved by BPF, counted, traced, while this process waits.

use std::fmt;
use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::{Map, Value};

use super::bpf::fence::Fence;
use super::bpf::Mover;
use super::check::{handed, Counting};
use super::signals::Blocked;
use super::watch::Sample;
use super::{cgroup, stats, unexecutable, watch, Arguments, Error};
use crate::failure::words;
use crate::trace::program::{Logged, Watch};
use crate::trace::signals;

/// Of BPF, by which the sockets are moved: the kernel has room for some 27 to 38 in all.
const PROGRAMS: usize = 2;

/// How the sockets are moved.
pub enum Door<'a> {
    /// By the library, which the command has.
    Library,
    /// By BPF, to this protocol; and why not by the library, if that was tried.
    Bpf(u16, &'a str),
}

/// What keeps a program from being run so.
pub enum Refusal {
    /// Something is not to be had: this is why. The program was not run.
    Lacking(String),
    /// Something else.
    Other(Error),
}

impl Refusal {
    fn lacking(reason: &dyn fmt::Display) -> Self {
        Refusal::Lacking(reason.to_string())
    }
}

/// Where reports go.
pub struct Reports {
    file: Option<(PathBuf, File)>,
}

impl Reports {
    /// To this file, if there is one, else to the standard error.
    pub fn new(path: Option<&Path>) -> Result<Self, Error> {
        let file = path.map(|path| match File::create(path) {
            Ok(file) => Ok((path.to_path_buf(), file)),
            Err(error) => Err(Error::Unwritable(path.into(), error)),
        });
        Ok(Self {
            file: file.transpose()?,
        })
    }

    /// For another thread, which has written when this is written to.
    fn share(&self) -> Result<Box<dyn Write + Send>, Error> {
        Ok(match &self.file {
            Some((path, file)) => match file.try_clone() {
                Ok(file) => Box::new(file),
                Err(error) => return Err(Error::Unwritable(path.clone(), error)),
            },
            None => Box::new(io::stderr()),
        })
    }

    /// Writes some.
    pub fn write(&mut self, text: &str) -> Result<(), Error> {
        match &mut self.file {
            Some((path, file)) => file
                .write_all(text.as_bytes())
                .map_err(|error| Error::Unwritable(path.clone(), error)),
            None => {
                // Nobody is left to be told if that fails.
                let _ = io::stderr().write_all(text.as_bytes());
                Ok(())
            }
        }
    }
}

/// What looks at the program while it runs.
struct Eyes {
    check: Option<Counting>,
    trace: Option<Watch>,
}

impl Eyes {
    fn open(
        arguments: &Arguments,
        cgroup: &File,
        fence: Option<&Fence>,
        reports: &Reports,
    ) -> Result<Self, Error> {
        let lacking = |reason: &dyn fmt::Display| Error::Watched(reason.to_string());
        let mut eyes = Self {
            check: None,
            trace: None,
        };
        if let (true, Some(fence)) = (arguments.check, fence) {
            eyes.check = Some(Counting::begin(fence, cgroup, arguments.family, handed())?);
        }
        if arguments.stats || arguments.trace {
            let logged = match arguments.trace {
                true => Some(Logged {
                    json: arguments.json,
                    out: reports.share()?,
                }),
                false => None,
            };
            let number = cgroup::number(cgroup).map_err(|error| {
                lacking(&format!("cannot look at the cgroup: {}", words(&error)))
            })?;
            let trace = Watch::begin(number, logged, arguments.stats);
            eyes.trace = Some(trace.map_err(|problem| lacking(&problem))?);
        }
        Ok(eyes)
    }

    /// Nothing was run.
    fn close(self) {
        if let Some(trace) = self.trace {
            let _ = trace.end();
        }
    }

    /// The program has ended: writes what was seen. Whether all of its sockets were ours, as far as that was asked for.
    fn report(self, arguments: &Arguments, reports: &mut Reports) -> Result<bool, Error> {
        let mut object = Map::new();
        let mut text = String::new();
        // One that fails does not take the others with it.
        let mut failed = None;
        match self.trace.map(Watch::end) {
            Some(Ok(seen)) if arguments.stats => {
                text += &stats::text(&seen);
                object.insert("stats".into(), stats::json(&seen));
            }
            Some(Ok(seen)) => {
                if let Some(lost) = &seen.lost {
                    say!("oxtcp: {lost} were lost, as they came faster than they could be read");
                }
            }
            Some(Err(problem)) => failed = Some(Error::Trace(problem)),
            None => {}
        }
        let mut good = true;
        match self.check.map(Counting::read) {
            Some(Ok(check)) => {
                good = check.is_good();
                text += &check.text();
                object.insert("check".into(), check.json());
            }
            Some(Err(error)) => failed = failed.or(Some(error)),
            None => {}
        }
        let written = match (arguments.json, object.is_empty()) {
            (true, false) => reports.write(&format!("{}\n", Value::Object(object))),
            (true, true) => Ok(()),
            (false, _) => reports.write(&text),
        };
        match failed.or(written.err()) {
            // Sockets that were not ours are what was asked for first of all.
            Some(error) if !good => say!("oxtcp: {error}"),
            Some(error) => return Err(error),
            None => {}
        }
        Ok(good)
    }
}

/// Tells of the sockets that were not moved because the kernel has not asked, if there were any.
pub fn tell_misses(mover: &Mover) {
    match mover.misses() {
        Ok(0) => {}
        Ok(number) => say!(
            "oxtcp: up to {number} sockets, of this or another program, were opened when the kernel had left out BPF: they are not moved, and of the \
             built-in TCP. --check tells whose they are"
        ),
        Err(error) => say!("oxtcp: the kernel does not say whether it has moved all sockets: {}", words(&error)),
    }
}

/// Runs the program, and waits for all that it starts. Its exit code, or another if its sockets were not ours and that was asked for.
pub fn run(
    arguments: &Arguments,
    path: &Path,
    command: Command,
    door: &Door<'_>,
) -> Result<u8, Refusal> {
    let mut reports = Reports::new(arguments.output.as_deref()).map_err(Refusal::Other)?;
    let cgroup = cgroup::Cgroup::new().map_err(|error| Refusal::lacking(&error))?;
    let open = cgroup.open().map_err(|error| Refusal::lacking(&error))?;
    let entry = cgroup.door().map_err(|error| Refusal::lacking(&error))?;
    let fence = match door {
        Door::Library if !arguments.check => None,
        _ => Some(Fence::cgroup(&open).map_err(|error| Refusal::lacking(&error))?),
    };
    // The sockets are moved until this is dropped.
    let moved = match (door, &fence) {
        (Door::Bpf(protocol, _), Some(fence)) => {
            Some(Mover::new(fence, *protocol, PROGRAMS).map_err(|error| Refusal::lacking(&error))?)
        }
        _ => None,
    };
    let eyes = {
        // The trace's thread has this from here: signals are for this one.
        let _blocked = Blocked::new(&watch::PASSED_ON);
        Eyes::open(arguments, &open, fence.as_ref(), &reports).map_err(Refusal::Other)?
    };
    if let Door::Bpf(_, why) = door {
        say!(
            "oxtcp: {}{why}: its sockets are moved by BPF, in the cgroup {}",
            path.display(),
            cgroup.path().display()
        );
    }
    let sample = match door {
        Door::Bpf(..) => Sample::Moved,
        Door::Library if arguments.check => Sample::Any,
        Door::Library => Sample::None,
    };
    let running = match watch::start(command, entry, sample) {
        Ok(running) => running,
        Err(error) => {
            eyes.close();
            return Err(Refusal::Other(match error {
                watch::Error::NotPrepared(step, error) => Error::NotPrepared(step, error),
                watch::Error::NotExecuted(error) => unexecutable(path.into(), error),
            }));
        }
    };
    // Who is to report is not ended by a signal from here on, but ends to wait.
    let mut caught = Ok(());
    let then = || {
        if arguments.reports() {
            caught = signals::catch();
        }
    };
    let status = match running.wait(then) {
        Ok(status) => status,
        Err(error) => {
            eyes.close();
            return Err(Refusal::Other(Error::Wait(error)));
        }
    };
    caught.map_err(|problem| Refusal::Other(Error::Trace(problem)))?;
    if !cgroup.is_empty_soon().unwrap_or(true) {
        say!(
            "oxtcp: {} has ended; programs that it has started run on, and are waited for: their sockets are moved \
             until this process ends",
            path.display()
        );
        let _ = cgroup.wait_until_empty(&signals::caught);
    }
    moved.iter().for_each(tell_misses);
    drop(moved);
    let good = eyes
        .report(arguments, &mut reports)
        .map_err(Refusal::Other)?;
    Ok(match good {
        true => watch::exit_code(status),
        false => super::NOT_OURS,
    })
}
