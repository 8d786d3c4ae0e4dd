// SPDX-License-Identifier: GPL-2.0
//! The trace of one program's connections while it runs, for `oxtcp run`: in a thread of its own.

use std::cell::RefCell;
use std::io::Write;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::thread::{self, JoinHandle};

use super::consumer::{Consumer, Printer, Style};
use super::event::{Event, What};
use super::flows::Flows;
use super::log::Log;
use super::scope::Scope;
use super::summary::{Connection, Summaries};
use super::tracefs::Instance;
use super::{clock, Program, Session};
use crate::failure::{Problem, Result};
use crate::host::Host;
use crate::output::{Color, Painter};
use crate::ss::filter::Filter;

/// KB for events that wait to be read, for each processor: as of `oxtcp trace`.
const BUFFER: u32 = 4096;

/// How events are logged, and to where.
pub struct Logged {
    /// As JSON.
    pub json: bool,
    /// To where.
    pub out: Box<dyn Write + Send>,
}

/// What was seen.
pub struct Seen {
    /// The connections, where they were wanted, in the order in which they began.
    pub connections: Vec<Connection>,
    /// That events were lost, in words.
    pub lost: Option<String>,
}

/// A trace that goes on.
pub struct Watch {
    ended: Arc<AtomicBool>,
    thread: JoinHandle<Result<Seen>>,
}

impl Watch {
    /// Begins to trace what sockets of this cgroup do.
    pub fn begin(cgroup: u64, logged: Option<Logged>, summaries: bool) -> Result<Self> {
        let host = Host::here();
        host.need_module()?;
        let mut instance = Instance::new(&host, BUFFER)?;
        instance.restrict_to_cgroup(cgroup)?;
        instance.begin(unwanted(logged.as_ref(), summaries))?;
        let ended = Arc::new(AtomicBool::new(false));
        let program = Program::Elsewhere(Arc::clone(&ended));
        let thread = thread::spawn(move || {
            let collected = Rc::new(RefCell::new(Summaries::default()));
            let mut consumers: Vec<Box<dyn Consumer>> = Vec::new();
            if let Some(logged) = logged {
                let style = match logged.json {
                    true => Style::Json(clock()),
                    false => Style::Log(Log::new(Painter::new(Color::Never))),
                };
                consumers.push(Box::new(Logger {
                    standing: logged.json,
                    printer: Printer::new(style, logged.out),
                }));
            }
            if summaries {
                consumers.push(Box::new(Collector(Rc::clone(&collected))));
            }
            let mut session = Session {
                filter: Filter::default(),
                flows: Flows::default(),
                scope: Some(Scope::new(cgroup)),
                consumers,
                left: u64::MAX,
                lost: 0,
                told: 0,
            };
            let outcome = session.run(&mut instance, program, None);
            drop(instance);
            outcome?;
            Ok(Seen {
                connections: collected.take().finish(),
                lost: session.lost(),
            })
        });
        Ok(Self { ended, thread })
    }

    /// The program has ended: what was seen.
    pub fn end(self) -> Result<Seen> {
        self.ended.store(true, Ordering::Release);
        match self.thread.join() {
            Ok(seen) => seen,
            Err(_) => Err(Problem::failed("the trace has ended by a bug of oxtcp")),
        }
    }
}

/// The events that nobody looks at.
fn unwanted(logged: Option<&Logged>, summaries: bool) -> &'static [&'static str] {
    match (logged, summaries) {
        (Some(logged), false) if !logged.json => &["oxtcp_congestion"],
        (Some(_), _) => &[],
        (None, _) => &[
            "oxtcp_segment_in",
            "oxtcp_segment_out",
            "oxtcp_timer",
            "oxtcp_drop",
            "oxtcp_listener",
            "oxtcp_overflow",
        ],
    }
}

/// Prints events. In the log where a connection stands is of no interest, which summaries are made of.
struct Logger {
    standing: bool,
    printer: Printer,
}

impl Consumer for Logger {
    fn event(&mut self, event: &Event, flows: &Flows) -> Result<()> {
        match event.what {
            What::Congestion(_) if !self.standing => Ok(()),
            _ => self.printer.event(event, flows),
        }
    }

    fn pause(&mut self) -> Result<()> {
        self.printer.pause()
    }

    fn finish(&mut self) -> Result<()> {
        self.printer.finish()
    }
}

/// Makes summaries.
struct Collector(Rc<RefCell<Summaries>>);

impl Consumer for Collector {
    fn event(&mut self, event: &Event, _flows: &Flows) -> Result<()> {
        self.0.borrow_mut().event(event);
        Ok(())
    }
}
