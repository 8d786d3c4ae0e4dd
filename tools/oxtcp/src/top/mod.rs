// SPDX-License-Identifier: GPL-2.0
//! `oxtcp top`: a live view of connections, listeners and counters.

mod draw;
mod model;

use std::io::{self, IsTerminal};
use std::time::{Duration, Instant};

use ratatui::crossterm::event::{self, Event, KeyCode, KeyEvent, KeyEventKind, KeyModifiers};
use ratatui::crossterm::execute;
use ratatui::crossterm::terminal::EnterAlternateScreen;
use ratatui::layout::Rect;
use ratatui::{DefaultTerminal, TerminalOptions, Viewport};

use crate::counters::read;
use crate::failure::{words, Problem, Result};
use crate::host::Host;
use crate::netns;
use crate::output::{size, Color, Painter};
use crate::sockets::process::Owners;
use crate::sockets::{source, Wanted};
use crate::trace::signals;
use draw::Settings;
use model::{Order, Sample, View};

/// Watch oxtcp: listeners with their queues, connections by rate, and the counters that rise.
///
/// The keys stand at the bottom of the screen. It needs a terminal; for programs there are `oxtcp ss --json`, `oxtcp counters
/// --watch` and `oxtcp export`.
#[derive(clap::Args)]
pub struct Arguments {
    /// Seconds between two looks, from 0.1 to 3600
    #[arg(long, short, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    delay: f64,

    /// When to use colours
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    color: Color,

    #[command(flatten)]
    namespace: netns::Choice,
}

fn seconds(text: &str) -> std::result::Result<f64, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "it is a number of seconds, such as 1 or 0.5".to_string())?;
    if (0.1..=3600.0).contains(&seconds) {
        Ok(seconds)
    } else {
        Err("it is from 0.1 to 3600 seconds".into())
    }
}

/// `oxtcp top`.
pub fn top(arguments: &Arguments) -> Result<()> {
    if !io::stdout().is_terminal() || !io::stdin().is_terminal() {
        return Err(Problem::usage(
            "`oxtcp top` needs a terminal.\nFor programs there are `oxtcp ss --json`, `oxtcp counters --watch` and `oxtcp export`.",
        ));
    }
    arguments.namespace.enter()?;
    let mut watch = Watch {
        host: Host::here(),
        owners: Owners::default(),
        owners_at: None,
        before: None,
        now: None,
        view: View::default(),
        settings: Settings {
            order: Order::default(),
            paused: false,
            help: false,
            first: 0,
            seconds: arguments.delay,
            colors: Painter::new(arguments.color).is_on(),
        },
        title: match &arguments.namespace.netns {
            Some(name) => format!("oxtcp top ({name})"),
            None => "oxtcp top".into(),
        },
    };
    // Before the screen is taken: an error is to be read.
    watch.look()?;
    // Who is ended gives the terminal back.
    signals::catch()?;
    let mut terminal = take_terminal().map_err(|error| terminal_problem(&error))?;
    let outcome = watch.run(&mut terminal);
    ratatui::restore();
    outcome
}

/// Takes the terminal; one that does not know its size, such as a serial line, as one of 80 by 24.
fn take_terminal() -> io::Result<DefaultTerminal> {
    let Some(size) = size().filter(|size| !size.is_told) else {
        return ratatui::try_init();
    };
    let viewport = Viewport::Fixed(Rect::new(0, 0, size.columns, size.rows));
    let terminal = ratatui::try_init_with_options(TerminalOptions { viewport })?;
    // Which this does not do, unlike the other.
    execute!(io::stdout(), EnterAlternateScreen)?;
    Ok(terminal)
}

fn terminal_problem(error: &io::Error) -> Problem {
    Problem::failed(format!("the terminal does not work: {}.", words(error)))
}

struct Watch {
    host: Host,
    owners: Owners,
    owners_at: Option<Instant>,
    before: Option<Sample>,
    now: Option<Sample>,
    view: View,
    settings: Settings,
    title: String,
}

/// What a key asks for.
#[derive(Debug, PartialEq, Eq)]
enum Wish {
    End,
    Redraw,
    Reorder,
}

impl Watch {
    /// Between two looks for processes, which takes longer than one for sockets.
    const OWNERS_LAST: Duration = Duration::from_secs(3);
    /// A signal waits so long at most.
    const DEAF: Duration = Duration::from_millis(200);

    fn run(&mut self, terminal: &mut DefaultTerminal) -> Result<()> {
        let mut next = Instant::now() + self.interval();
        loop {
            terminal
                .draw(|frame| draw::draw(frame, &self.view, &self.settings, &self.title))
                .map_err(|error| terminal_problem(&error))?;
            let left = next.saturating_duration_since(Instant::now());
            if signals::caught() {
                return Ok(());
            }
            if event::poll(left.min(Self::DEAF)).map_err(|error| terminal_problem(&error))? {
                let event = event::read().map_err(|error| terminal_problem(&error))?;
                match self.wish(&event) {
                    Wish::End => return Ok(()),
                    Wish::Redraw => {}
                    Wish::Reorder => self.update(),
                }
                next = next.min(Instant::now() + self.interval());
            } else if Instant::now() >= next {
                if !self.settings.paused {
                    self.look()?;
                }
                next = Instant::now() + self.interval();
            }
        }
    }

    fn interval(&self) -> Duration {
        Duration::from_secs_f64(self.settings.seconds)
    }

    /// Looks once more.
    fn look(&mut self) -> Result<()> {
        let sockets = source(&self.host, Wanted::ALL)?.all()?;
        let now = Instant::now();
        if self
            .owners_at
            .is_none_or(|at| now.saturating_duration_since(at) >= Self::OWNERS_LAST)
        {
            self.owners = Owners::find(&self.host);
            self.owners_at = Some(now);
        }
        let most = self.host.sysctl_value("net.oxtcp.max_syn_backlog")?;
        self.before = self.now.replace(Sample {
            at: now,
            sockets,
            counters: read::read(&self.host)?.unwrap_or_default(),
            max_syn_backlog: most
                .and_then(|text| text.parse().ok())
                .unwrap_or(usize::MAX),
        });
        self.update();
        Ok(())
    }

    fn update(&mut self) {
        if let Some(now) = &self.now {
            self.view = View::between(self.before.as_ref(), now, &self.owners, self.settings.order);
        }
    }

    fn wish(&mut self, event: &Event) -> Wish {
        let Event::Key(KeyEvent {
            code,
            modifiers,
            kind: KeyEventKind::Press,
            ..
        }) = event
        else {
            return Wish::Redraw;
        };
        const PAGE: usize = 10;
        let settings = &mut self.settings;
        let last = self.view.connections.len().saturating_sub(1);
        match code {
            KeyCode::Char('c') if modifiers.contains(KeyModifiers::CONTROL) => return Wish::End,
            KeyCode::Char('q') => return Wish::End,
            KeyCode::Esc if settings.help => settings.help = false,
            KeyCode::Esc => return Wish::End,
            KeyCode::Char('s') => {
                settings.order = settings.order.next();
                settings.first = 0;
                return Wish::Reorder;
            }
            KeyCode::Char('p' | ' ') => settings.paused = !settings.paused,
            KeyCode::Char('?' | 'h') => settings.help = !settings.help,
            KeyCode::Char('+') => settings.seconds = (settings.seconds * 2.0).min(3600.0),
            KeyCode::Char('-') => settings.seconds = (settings.seconds / 2.0).max(0.1),
            KeyCode::Down => settings.first = (settings.first + 1).min(last),
            KeyCode::Up => settings.first = settings.first.saturating_sub(1),
            KeyCode::PageDown => settings.first = (settings.first + PAGE).min(last),
            KeyCode::PageUp => settings.first = settings.first.saturating_sub(PAGE),
            KeyCode::Home => settings.first = 0,
            _ => {}
        }
        Wish::Redraw
    }
}

#[cfg(test)]
mod tests;
