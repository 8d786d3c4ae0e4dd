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

OUT and IN are bytes per second that were acknowledged and that came; RETR is retransmissions since the last look, and in all. \
Where there is no room for all columns, CWND, IN, RTT and CONNS go first.
The second line has the bytes of all connections that are open; new connections and retransmissions are of those that have ended, too.
A listener's bars are its queues against their bounds: connections that wait for accept() against the backlog, which lets one more in, \
half-open ones against the same or max_syn_backlog.
Below are the counters that rise, with what they mean; `oxtcp counters` says all of it and what to do, and `oxtcp doctor` what is wrong.";

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
    // Where it is narrow, whose queue is full is more than how many connections there are.
    let wide = area.width >= WIDE;
    let length = if wide { BAR } else { BAR / 2 };
    let rows = listeners.iter().map(|listener| {
        let mut cells = vec![
            Cell::from(listener.local.to_string()),
            Cell::from(bar(listener.accept, length, settings)),
            Cell::from(bar(listener.half_open, length, settings)),
        ];
        if wide {
            cells.push(Cell::from(format!("{:>6}", listener.connections)));
        }
        cells.push(Cell::from(listener.process.clone()));
        Row::new(cells)
    });
    let queue = Constraint::Length(length as u16 + 12);
    let addresses = view.listeners.iter().map(|l| l.local.to_string().len());
    let address = addresses.max().unwrap_or(0).clamp(ADDRESS, 28);
    let mut widths = vec![Constraint::Length(address as u16), queue, queue];
    let mut head = vec!["ADDRESS", "ACCEPT QUEUE", "HALF-OPEN"];
    if wide {
        widths.push(Constraint::Length(6));
        head.push(" CONNS");
    }
    widths.push(Constraint::Fill(1));
    head.push("PROCESS");
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
    let columns = columns(&view.connections, area.width);
    let rows = view.connections.iter().skip(from).map(|c| {
        let row = Row::new(columns.iter().map(|(column, _)| (column.text)(c)));
        if c.retransmitted.0 > 0 {
            row.style(settings.style(Color::Red))
        } else {
            row
        }
    });
    let widths = columns.iter().map(|(_, width)| *width);
    let head = columns.iter().map(|(column, _)| column.heading);
    let table = Table::new(rows, widths)
        .header(Row::new(head).style(settings.heading()))
        .block(block);
    frame.render_widget(table, area);
}

/// A screen that has room for everything, but for the addresses of IPv6.
const WIDE: u16 = 110;

/// A column of the connections.
struct Column {
    heading: &'static str,
    width: Width,
    /// Those that go where there is no room for all, the largest first; 0 stays.
    goes: u8,
    text: fn(&Connection) -> String,
}

#[derive(Clone, Copy)]
enum Width {
    Fixed(u16),
    /// As much as the addresses take.
    Address,
    /// What is left.
    Rest,
}

const COLUMNS: [Column; 9] = [
    column("LOCAL", Width::Address, 0, |c| c.local.to_string()),
    column("PEER", Width::Address, 0, |c| c.remote.to_string()),
    column("STATE", Width::Fixed(10), 1, |c| c.state.label().into()),
    column("   OUT/s", Width::Fixed(8), 0, |c| {
        format!("{:>8}", bytes(c.out))
    }),
    column("    IN/s", Width::Fixed(8), 4, |c| {
        format!("{:>8}", bytes(c.came))
    }),
    column(" RTT ms", Width::Fixed(7), 3, |c| {
        format!("{:>7}", millis(c.rtt_us))
    }),
    column(" CWND", Width::Fixed(5), 5, |c| format!("{:>5}", c.cwnd)),
    column("   RETR", Width::Fixed(7), 2, |c| {
        let (new, all) = c.retransmitted;
        format!("{:>7}", format!("{new}/{all}"))
    }),
    column("PROCESS", Width::Rest, 0, |c| c.process.clone()),
];

const fn column(
    heading: &'static str,
    width: Width,
    goes: u8,
    text: fn(&Connection) -> String,
) -> Column {
    Column {
        heading,
        width,
        goes,
        text,
    }
}

/// The most that a column of processes is to have at least: a name and a number.
const PROCESS: usize = 14;
/// As much as the addresses of IPv4 take, at least.
const ADDRESS: usize = 14;

/// The columns that there is room for, and their widths.
fn columns(connections: &[Connection], width: u16) -> Vec<(&'static Column, Constraint)> {
    let needs = |column: &Column| {
        let texts = connections.iter().map(|c| (column.text)(c).chars().count());
        let longest = texts.max().unwrap_or(0);
        match column.width {
            Width::Fixed(width) => usize::from(width),
            Width::Address => longest.max(ADDRESS),
            Width::Rest => longest.clamp(column.heading.len(), PROCESS),
        }
    };
    let mut columns: Vec<(&Column, usize)> = COLUMNS
        .iter()
        .map(|column| (column, needs(column)))
        .collect();
    let all = |columns: &[(&Column, usize)]| {
        let widths: usize = columns.iter().map(|(_, width)| width).sum();
        widths + columns.len().saturating_sub(1)
    };
    let mut goes = COLUMNS.iter().map(|column| column.goes).max().unwrap_or(0);
    while goes > 0 && all(&columns) > usize::from(width) {
        columns.retain(|(column, _)| column.goes != goes);
        goes -= 1;
    }
    // Where even that is too much, both addresses have as much of what there is.
    let fits = all(&columns) <= usize::from(width);
    let constraint = |column: &Column, width: usize| match column.width {
        Width::Address if !fits => Constraint::Fill(1),
        Width::Rest if fits => Constraint::Fill(1),
        _ => Constraint::Length(width as u16),
    };
    columns
        .into_iter()
        .map(|(column, width)| (column, constraint(column, width)))
        .collect()
}

fn draw_events(frame: &mut Frame<'_>, area: Rect, view: &View, settings: &Settings) {
    let block = Block::new()
        .borders(Borders::TOP)
        .title(" Counters that rise ");
    if view.events.is_empty() {
        frame.render_widget(Paragraph::new("none").block(block), area);
        return;
    }
    const NAME: u16 = 22;
    const RATE: u16 = 10;
    let meaning = usize::from(area.width.saturating_sub(NAME + RATE + 2));
    let rows = view.events.iter().map(|event| {
        Row::new([
            event.name.clone(),
            format!("{:>8}/s", number(event.per_second)),
            shortened(event.meaning, meaning),
        ])
        .style(settings.style(Color::Yellow))
    });
    let widths = [
        Constraint::Length(NAME),
        Constraint::Length(RATE),
        Constraint::Fill(1),
    ];
    frame.render_widget(Table::new(rows, widths).block(block), area);
}

/// What fits of a text, in whole words.
fn shortened(text: &str, width: usize) -> String {
    const MORE: &str = " ...";
    if text.chars().count() <= width {
        return text.into();
    }
    let mut out = String::new();
    for word in text.split_whitespace() {
        let longer = out.chars().count() + 1 + word.chars().count();
        if !out.is_empty() && longer + MORE.len() > width {
            break;
        }
        if !out.is_empty() {
            out.push(' ');
        }
        out += word;
    }
    out + MORE
}

/// Characters of a bar, where there is room.
const BAR: usize = 10;

fn part(queue: Queue) -> f64 {
    queue.length as f64 / queue.most.max(1) as f64
}

/// A queue against its bound, in so many characters and in numbers.
fn bar(queue: Queue, length: usize, settings: &Settings) -> Line<'static> {
    let part = part(queue).min(1.0);
    let mut full = (part * length as f64).round() as usize;
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
        Span::styled(".".repeat(length - full), settings.style(Color::DarkGray)),
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
    fn texts_are_cut_between_words() {
        for (width, text) in [
            (13, "one two three"),
            (12, "one two ..."),
            (10, "one ..."),
            (2, "one ..."),
        ] {
            assert_eq!(shortened("one two three", width), text);
        }
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
            let line = bar(Queue { length, most }, BAR, &settings).to_string();
            assert_eq!(line, text);
        }
    }
}
