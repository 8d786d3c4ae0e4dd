// SPDX-License-Identifier: GPL-2.0
//! A screen.

use ratatui::layout::{Constraint, Layout, Rect};
use ratatui::style::{Color, Modifier, Style};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Borders, Cell, Paragraph, Row, Table, Wrap};
use ratatui::Frame;

use super::model::{Connection, Order, Queue, View};

/// What the keys have set.
#[derive(Clone, Copy, Debug)]
pub struct Settings {
    pub order: Order,
    pub paused: bool,
    pub help: bool,
    /// Connections that are scrolled past.
    pub first: usize,
    /// Between two looks.
    pub seconds: f64,
    pub colors: bool,
}

impl Settings {
    fn style(&self, color: Color) -> Style {
        if self.colors {
            Style::new().fg(color)
        } else {
            Style::new()
        }
    }

    fn heading(&self) -> Style {
        Style::new().add_modifier(Modifier::BOLD)
    }
}

/// The keys.
pub const KEYS: &str = "q quit  s order  p pause  + - interval  arrows scroll  ? help";

const HELP: &str = "\
q, Ctrl-C     ends this
s             the order of connections: by rate, retransmissions, round trip, queues
p, space      stops and goes on
+ -           longer and shorter intervals
arrows, Page  scroll through the connections; Home goes to the first
?             this

OUT and IN are bytes per second that were acknowledged and that came; RETR is retransmissions since the last look, and in all.
The second line has the bytes of all connections that are open; new connections and retransmissions are of those that have ended, too.
A listener's bars are its queues against their bounds: connections that wait for accept() against the backlog, half-open ones against
the backlog or max_syn_backlog. Below are the counters that rise, with what they mean; `oxtcp counters` says what to do, and
`oxtcp doctor` what is wrong.";

/// Draws all of it.
pub fn draw(frame: &mut Frame<'_>, view: &View, settings: &Settings, title: &str) {
    let listeners = (view.listeners.len() as u16).clamp(1, 6) + 3;
    let events = (view.events.len() as u16).clamp(1, 5) + 2;
    let heading = heading(view, settings, title, frame.area().width);
    let [head, middle, connections, below, keys] = Layout::vertical([
        Constraint::Length(heading.len() as u16),
        Constraint::Length(listeners),
        Constraint::Min(4),
        Constraint::Length(events),
        Constraint::Length(1),
    ])
    .areas(frame.area());
    frame.render_widget(Paragraph::new(heading), head);
    frame.render_widget(
        Paragraph::new(Span::styled(KEYS, settings.style(Color::DarkGray))),
        keys,
    );
    if settings.help {
        let all = Rect {
            height: frame
                .area()
                .height
                .saturating_sub(head.height + keys.height),
            ..middle
        };
        let block = Block::new().borders(Borders::TOP).title(" Help ");
        frame.render_widget(
            Paragraph::new(HELP).wrap(Wrap { trim: false }).block(block),
            all,
        );
        return;
    }
    draw_listeners(frame, middle, view, settings);
    draw_connections(frame, connections, view, settings);
    draw_events(frame, below, view, settings);
}

/// As many lines as it takes: the state of a leak is not to be cut off by those of a busy server.
fn heading<'a>(view: &View, settings: &Settings, title: &'a str, width: u16) -> Vec<Line<'a>> {
    let mut lines = vec![Line::from(vec![
        Span::styled(title, settings.heading()),
        Span::raw(format!("  {} sockets", view.sockets)),
    ])];
    for (state, number) in &view.states {
        let state = Span::raw(format!("  {} {number}", state.label()));
        match lines.last_mut() {
            Some(last) if last.width() + state.width() <= usize::from(width) => {
                last.push_span(state)
            }
            _ => lines.push(Line::from(state)),
        }
    }
    let flow = format!(
        "out {}/s  in {}/s  {} opened/s  ",
        bytes(view.out),
        bytes(view.came),
        number(view.opened)
    );
    let retransmitted = format!("{} retransmissions/s", number(view.retransmitted));
    let pace = match settings.paused {
        true => "  paused".to_string(),
        false => format!("  every {} s", settings.seconds),
    };
    lines.push(Line::from(vec![
        Span::raw(flow),
        Span::styled(
            retransmitted,
            if view.retransmitted > 0.0 {
                settings.style(Color::Red)
            } else {
                Style::new()
            },
        ),
        Span::raw(pace),
    ]));
    lines
}

fn draw_listeners(frame: &mut Frame<'_>, area: Rect, view: &View, settings: &Settings) {
    let block = Block::new().borders(Borders::TOP).title(" Listeners ");
    if view.listeners.is_empty() {
        let nothing = Paragraph::new("nobody listens").block(block);
        frame.render_widget(nothing, area);
        return;
    }
    let mut listeners: Vec<_> = view.listeners.iter().collect();
    // Those with the fullest queues are to be seen.
    listeners.sort_by(|a, b| {
        let fullest = |l: &super::model::Listener| part(l.accept).max(part(l.half_open));
        fullest(b).total_cmp(&fullest(a))
    });
    let rows = listeners.iter().map(|listener| {
        Row::new([
            Cell::from(listener.local.to_string()),
            Cell::from(bar(listener.accept, settings)),
            Cell::from(bar(listener.half_open, settings)),
            Cell::from(format!("{:>6}", listener.connections)),
            Cell::from(listener.process.clone()),
        ])
    });
    let widths = [
        Constraint::Max(28),
        Constraint::Length(BAR as u16 + 12),
        Constraint::Length(BAR as u16 + 12),
        Constraint::Length(6),
        Constraint::Fill(1),
    ];
    let head = ["ADDRESS", "ACCEPT QUEUE", "HALF-OPEN", " CONNS", "PROCESS"];
    let table = Table::new(rows, widths)
        .header(Row::new(head).style(settings.heading()))
        .block(block);
    frame.render_widget(table, area);
}

fn draw_connections(frame: &mut Frame<'_>, area: Rect, view: &View, settings: &Settings) {
    let from = settings.first.min(view.connections.len());
    let block = Block::new().borders(Borders::TOP).title(format!(
        " Connections by {}{} ",
        settings.order.name(),
        if from > 0 {
            format!(", from {} of {}", from + 1, view.connections.len())
        } else {
            String::new()
        }
    ));
    // Where it is narrow, what tells connections apart and what is wrong with them.
    let wide = area.width >= 110;
    let columns: Vec<_> = COLUMNS
        .iter()
        .filter(|column| wide || column.always)
        .collect();
    let rows = view.connections.iter().skip(from).map(|c| {
        let row = Row::new(columns.iter().map(|column| (column.text)(c)));
        if c.retransmitted.0 > 0 {
            row.style(settings.style(Color::Red))
        } else {
            row
        }
    });
    let widths = columns.iter().map(|column| column.width);
    let head = columns.iter().map(|column| column.heading);
    let table = Table::new(rows, widths)
        .header(Row::new(head).style(settings.heading()))
        .block(block);
    frame.render_widget(table, area);
}

/// A column of the connections.
struct Column {
    heading: &'static str,
    width: Constraint,
    /// Whether it is there on a narrow screen.
    always: bool,
    text: fn(&Connection) -> String,
}

const COLUMNS: [Column; 9] = [
    column("LOCAL", Constraint::Fill(2), true, |c| c.local.to_string()),
    column("PEER", Constraint::Fill(2), true, |c| c.remote.to_string()),
    column("STATE", Constraint::Length(10), true, |c| {
        c.state.label().into()
    }),
    column("   OUT/s", Constraint::Length(8), true, |c| {
        format!("{:>8}", bytes(c.out))
    }),
    column("    IN/s", Constraint::Length(8), false, |c| {
        format!("{:>8}", bytes(c.came))
    }),
    column(" RTT ms", Constraint::Length(7), true, |c| {
        format!("{:>7}", millis(c.rtt_us))
    }),
    column(" CWND", Constraint::Length(5), false, |c| {
        format!("{:>5}", c.cwnd)
    }),
    column("   RETR", Constraint::Length(7), true, |c| {
        let (new, all) = c.retransmitted;
        format!("{:>7}", format!("{new}/{all}"))
    }),
    column("PROCESS", Constraint::Fill(1), false, |c| c.process.clone()),
];

const fn column(
    heading: &'static str,
    width: Constraint,
    always: bool,
    text: fn(&Connection) -> String,
) -> Column {
    Column {
        heading,
        width,
        always,
        text,
    }
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, view: &View, settings: &Settings) {
    let block = Block::new()
        .borders(Borders::TOP)
        .title(" Counters that rise ");
    if view.events.is_empty() {
        frame.render_widget(Paragraph::new("none").block(block), area);
        return;
    }
    let rows = view.events.iter().map(|event| {
        Row::new([
            event.name.clone(),
            format!("{:>8}/s", number(event.per_second)),
            event.meaning.to_string(),
        ])
        .style(settings.style(Color::Yellow))
    });
    let widths = [
        Constraint::Length(22),
        Constraint::Length(10),
        Constraint::Fill(1),
    ];
    frame.render_widget(Table::new(rows, widths).block(block), area);
}

/// Characters of a bar.
const BAR: usize = 10;

fn part(queue: Queue) -> f64 {
    queue.length as f64 / queue.most.max(1) as f64
}

/// A queue against its bound.
fn bar(queue: Queue, settings: &Settings) -> Line<'static> {
    let part = part(queue).min(1.0);
    let mut full = (part * BAR as f64).round() as usize;
    if queue.length > 0 {
        full = full.max(1);
    }
    let color = match part {
        p if p >= 0.9 => Color::Red,
        p if p >= 0.5 => Color::Yellow,
        _ => Color::Green,
    };
    Line::from(vec![
        Span::styled("#".repeat(full), settings.style(color)),
        Span::styled(".".repeat(BAR - full), settings.style(Color::DarkGray)),
        Span::raw(format!(" {}/{}", queue.length, queue.most)),
    ])
}

/// Bytes in three figures and a unit.
fn bytes(amount: f64) -> String {
    let (mut amount, mut unit) = (amount, "B");
    for larger in ["kB", "MB", "GB", "TB"] {
        if amount < 999.5 {
            break;
        }
        (amount, unit) = (amount / 1000.0, larger);
    }
    format!("{} {unit}", number(amount))
}

fn number(amount: f64) -> String {
    if amount >= 99.95 || amount == amount.trunc() {
        format!("{amount:.0}")
    } else {
        format!("{amount:.1}")
    }
}

fn millis(micros: u32) -> String {
    if micros == 0 {
        return "-".into();
    }
    format!("{:.2}", f64::from(micros) / 1000.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures() {
        for (amount, text) in [
            (0.0, "0 B"),
            (1.5, "1.5 B"),
            (999.0, "999 B"),
            (999.9, "1.0 kB"),
            (1_234_567.0, "1.2 MB"),
            (5e9, "5 GB"),
            (2e15, "2000 TB"),
        ] {
            assert_eq!(bytes(amount), text);
        }
        assert_eq!((millis(0), millis(1234)), ("-".into(), "1.23".into()));
    }

    #[test]
    fn bars() {
        let settings = super::super::tests::SETTINGS;
        for (length, most, text) in [
            (0, 128, ".......... 0/128"),
            (1, 128, "#......... 1/128"),
            (64, 128, "#####..... 64/128"),
            (129, 128, "########## 129/128"),
            (0, 0, ".......... 0/0"),
        ] {
            let line = bar(Queue { length, most }, &settings).to_string();
            assert_eq!(line, text);
        }
    }
}
