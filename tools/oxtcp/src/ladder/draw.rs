// SPDX-License-Identifier: GPL-2.0
//! The drawing: a line for every segment that matters, and one for each stretch of those that do not.

use super::flow::{Flow, Side};
use super::segment::{Flags, Segment};
use super::tracker::{Remark, State, Step, Tracker};
use super::Part;

/// Draws a part of a connection between two named sides.
pub fn draw(flow: &Flow, names: [&str; 2], part: Part) -> String {
    let Some((_, first)) = flow.segments.first() else {
        return String::new();
    };
    let mut tracker = Tracker::new(first);
    let initial = tracker.states();
    let mut states = initial;
    let rungs: Vec<Rung> = flow
        .segments
        .iter()
        .map(|(side, segment)| {
            let step = tracker.observe(*side, segment);
            let rung = Rung::new(
                *side,
                segment,
                &step,
                states != step.states,
                segment.time.saturating_sub(first.time),
            );
            states = step.states;
            rung
        })
        .collect();

    let lines = choose(&rungs, part);
    let drawn = lines.iter().filter_map(|line| {
        if let Line::Rung(rung) = line {
            Some(*rung)
        } else {
            None
        }
    });
    let columns = Columns {
        client: STATE.max(names[0].chars().count()),
        body: drawn.map(|rung| rung.body.len()).max().unwrap_or(0).max(40) + ARROW,
    };

    let mut drawing = columns.line("", names[0], "", names[1]);
    if part != Part::Close && first.flags.has(Flags::SYN) {
        drawing += &columns.line("seconds", initial[0].name(), "", initial[1].name());
    } else {
        drawing += &columns.line("seconds", "", "", "");
    }
    for line in &lines {
        drawing += &match line {
            Line::Rung(rung) => columns.rung(rung),
            Line::Elided(elided) => {
                columns.line("", "", &format!("{:^1$}", elided.text(), columns.body), "")
            }
        };
    }
    if part == Part::Close && lines.is_empty() {
        drawing +=
            "\nThe capture shows no FIN and no RST: the connection was still open at its end.\n";
    }
    drawing
}

/// A segment, ready to be drawn.
struct Rung {
    side: Side,
    /// Nanoseconds since the connection's first segment.
    time: u64,
    body: String,
    states: [State; 2],
    payload: u32,
    remark: Option<Remark>,
    /// Opens, closes or changes a state.
    matters: bool,
    /// FIN or RST.
    closes: bool,
}

impl Rung {
    fn new(side: Side, segment: &Segment, step: &Step, changes_state: bool, time: u64) -> Rung {
        let closes = segment.flags.has(Flags::FIN | Flags::RST);
        Rung {
            side,
            time,
            body: body(segment, step),
            states: step.states,
            payload: segment.payload,
            remark: step.remark,
            matters: changes_state || closes || segment.flags.has(Flags::SYN),
            closes,
        }
    }

    fn is_repeated(&self) -> bool {
        matches!(self.remark, Some(Remark::Retransmission | Remark::FillsGap))
    }

    /// The handshake is over on both sides.
    fn is_open(&self) -> bool {
        let opening = [State::Listen, State::SynSent, State::SynReceived];
        !self.states.iter().any(|state| opening.contains(state))
    }
}

fn body(segment: &Segment, step: &Step) -> String {
    let mut words = vec![segment.flags.names(), format!("seq={}", step.seq)];
    if segment.flags.has(Flags::ACK) {
        words.push(format!("ack={}", step.ack));
    }
    if segment.payload > 0 {
        words.push(format!("len={}", segment.payload));
    }
    words.push(format!("win={}", segment.window));
    let options = &segment.options;
    words.extend(options.mss.map(|mss| format!("mss={mss}")));
    words.extend(options.window_scale.map(|shift| format!("ws={shift}")));
    words.extend(options.sack_permitted.then(|| "sack".to_string()));
    words.extend(
        step.sack
            .iter()
            .map(|(left, right)| format!("sack={left}..{right}")),
    );
    words.extend(
        options
            .timestamps
            .map(|(value, echo)| match segment.flags.has(Flags::SYN) {
                true => format!("ts={value}:{echo}"),
                false => "ts".to_string(),
            }),
    );
    words.extend(step.remark.map(|remark| format!("[{remark}]")));
    words.join(" ")
}

enum Line<'a> {
    Rung(&'a Rung),
    Elided(Elided),
}

/// A stretch of segments that move no state.
#[derive(Default)]
struct Elided {
    segments: usize,
    /// New bytes from the client and from the server.
    bytes: [u64; 2],
    retransmissions: usize,
}

impl Elided {
    fn add(&mut self, rung: &Rung) {
        self.segments += 1;
        if rung.remark == Some(Remark::Retransmission) {
            self.retransmissions += 1;
        } else {
            self.bytes[rung.side as usize] += u64::from(rung.payload);
            self.retransmissions += usize::from(rung.remark == Some(Remark::FillsGap));
        }
    }

    fn text(&self) -> String {
        let mut text = format!("... {} segments", thousands(self.segments as u64));
        for (bytes, arrow) in self.bytes.iter().zip(["->", "<-"]) {
            if *bytes > 0 {
                text += &format!(", {} bytes {arrow}", thousands(*bytes));
            }
        }
        if self.retransmissions > 0 {
            text += &format!(", {} retransmitted", thousands(self.retransmissions as u64));
        }
        text + " ..."
    }
}

/// The lines of a part, with what precedes and follows it summed up.
fn choose(rungs: &[Rung], part: Part) -> Vec<Line<'_>> {
    let first_close = rungs.iter().position(|rung| rung.closes);
    let (start, end) = match (part, first_close) {
        (Part::All, _) => (0, rungs.len()),
        (Part::Handshake, _) => match rungs.iter().position(Rung::is_open) {
            Some(last) => (0, last + 1),
            None => (0, rungs.len()),
        },
        (Part::Close, Some(first)) => (first, rungs.len()),
        (Part::Close, None) => return Vec::new(),
    };
    let mut lines = Vec::new();
    lines.extend(elide(&rungs[..start]));
    for stretch in rungs[start..end].chunk_by(|left, right| left.matters == right.matters) {
        if stretch[0].matters {
            lines.extend(stretch.iter().map(Line::Rung));
        } else {
            lines.extend(shorten(stretch));
        }
    }
    lines.extend(elide(&rungs[end..]));
    lines
}

/// A stretch that moves no state: where it is long, its first and its last segment, the retransmissions
/// unless they are many, and the rest summed up.
fn shorten(stretch: &[Rung]) -> Vec<Line<'_>> {
    let [first, middle @ .., last] = stretch else {
        return stretch.iter().map(Line::Rung).collect();
    };
    if middle.len() <= FEW {
        return stretch.iter().map(Line::Rung).collect();
    }
    let mut lines = vec![Line::Rung(first)];
    if middle.iter().filter(|rung| rung.is_repeated()).count() > FEW {
        lines.extend(elide(middle));
    } else {
        for alike in middle.chunk_by(|left, right| left.is_repeated() == right.is_repeated()) {
            if alike[0].is_repeated() {
                lines.extend(alike.iter().map(Line::Rung));
            } else {
                lines.extend(elide(alike));
            }
        }
    }
    lines.push(Line::Rung(last));
    lines
}

fn elide(rungs: &[Rung]) -> Option<Line<'_>> {
    let mut elided = Elided::default();
    rungs.iter().for_each(|rung| elided.add(rung));
    (elided.segments > 0).then_some(Line::Elided(elided))
}

struct Columns {
    client: usize,
    body: usize,
}

impl Columns {
    fn rung(&self, rung: &Rung) -> String {
        let dashes = "-".repeat(self.body - ARROW - rung.body.len());
        let arrow = match rung.side {
            Side::Client => format!("--- {} --{dashes}>", rung.body),
            Side::Server => format!("<-- {} --{dashes}-", rung.body),
        };
        let seconds = format!(
            "{}.{:06}",
            rung.time / 1_000_000_000,
            rung.time % 1_000_000_000 / 1000
        );
        self.line(
            &seconds,
            rung.states[0].name(),
            &arrow,
            rung.states[1].name(),
        )
    }

    fn line(&self, time: &str, client: &str, body: &str, server: &str) -> String {
        let line = format!(
            "{time:>11}  {client:<cw$} {body:<bw$} {server}",
            cw = self.client,
            bw = self.body
        );
        format!("{}\n", line.trim_end())
    }
}

fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    groups.join(",")
}

/// The longest state's name, SYN-RECEIVED.
const STATE: usize = 12;
/// What an arrow takes beside its text.
const ARROW: usize = "---  -->".len();
/// How many segments of a kind are drawn rather than summed up.
const FEW: usize = 4;
