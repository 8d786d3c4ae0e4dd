// SPDX-License-Identifier: GPL-2.0
//! What is made of events.

use std::io::{self, BufWriter, IsTerminal, Write};

use super::event::{Clock, Event};
use super::flows::Flows;
use super::json;
use super::log::Log;
use crate::failure::Result;
use crate::output::done;

/// Something that is made of the events, one after the other.
pub trait Consumer {
    /// One more event; `flows` has taken notice of it. They come sorted by time.
    fn event(&mut self, event: &Event, flows: &Flows) -> Result<()>;

    /// No more will come for the moment: what was printed is to be seen.
    fn pause(&mut self) -> Result<()> {
        Ok(())
    }

    /// There are no more: what is made of all of them is made now. Called once.
    fn finish(&mut self) -> Result<()> {
        Ok(())
    }

    /// Whether there is somebody left to see it.
    fn is_wanted(&self) -> bool {
        true
    }
}

/// How events are printed.
pub enum Style {
    Log(Log),
    Json(Clock),
}

/// Prints each event on a line.
pub struct Printer {
    style: Style,
    out: BufWriter<Box<dyn Write>>,
    closed: bool,
}

impl Printer {
    /// To the standard output, or elsewhere.
    pub fn new(style: Style, out: Box<dyn Write>) -> Self {
        Self {
            style,
            out: BufWriter::with_capacity(64 * 1024, out),
            closed: false,
        }
    }

    /// Whether it is a terminal that it prints to.
    pub fn is_terminal() -> bool {
        io::stdout().is_terminal()
    }

    fn note(&mut self, outcome: io::Result<()>) -> Result<()> {
        // `oxtcp trace | head` has seen enough.
        if outcome
            .as_ref()
            .is_err_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
        {
            self.closed = true;
        }
        done(outcome)
    }
}

impl Consumer for Printer {
    fn event(&mut self, event: &Event, flows: &Flows) -> Result<()> {
        let line = match &mut self.style {
            Style::Log(log) => log.line(event, flows),
            Style::Json(clock) => format!("{}\n", json::object(event, *clock)),
        };
        let outcome = self.out.write_all(line.as_bytes());
        self.note(outcome)
    }

    fn pause(&mut self) -> Result<()> {
        let outcome = self.out.flush();
        self.note(outcome)
    }

    fn finish(&mut self) -> Result<()> {
        self.pause()
    }

    fn is_wanted(&self) -> bool {
        !self.closed
    }
}
