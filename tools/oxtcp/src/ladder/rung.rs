// SPDX-License-Identifier: GPL-2.0
//! What of a connection is drawn: a rung for every segment that matters, and a summary for each stretch of those that
//! do not.

use super::flow::{Flow, Side};
use super::segment::{Flags, Segment};
use super::tracker::{Numbers, Remark, State, Tracker};
use super::{repair, Part, Span};

/// A part of a connection, ready to be drawn.
pub struct Ladder {
    /// Of both sides, before the first segment.
    pub initial: [State; 2],
    /// Begins with the connection's first SYN.
    pub has_beginning: bool,
    /// In the order of time.
    pub lines: Vec<Line>,
}

/// A line of the drawing.
pub enum Line {
    Rung(Box<Rung>),
    Elided(Elided),
}

/// A segment, ready to be drawn.
#[derive(Clone, Debug)]
pub struct Rung {
    /// Who has sent it.
    pub side: Side,
    /// When it was sent, as far as is known, else when it was seen; nanoseconds since the connection's first segment.
    pub time: u64,
    pub arrival: Arrival,
    pub flags: Flags,
    /// Flags, numbers, options.
    pub body: String,
    /// The same without the values of timestamps.
    pub short: String,
    /// Client and server, after the one has sent this and the other received it.
    pub states: [State; 2],
    pub payload: u32,
    pub numbers: Numbers,
    pub remark: Option<Remark>,
    /// Why it was sent, or what became of it, where a trace knows.
    pub cause: String,
    /// What happened before it, and on which side.
    pub notes: Vec<(Side, String)>,
    /// Opens, closes or changes a state.
    pub matters: bool,
}

/// What is known of a segment at its receiver.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Arrival {
    /// Nobody looked there.
    Unseen,
    /// Nanoseconds since the connection's first segment.
    At(u64),
    /// It has not come there, and what was sent later has.
    Lost,
    /// The same of so many bytes of a burst, whose first has come at this time.
    Partly { at: u64, lost: u32 },
}

/// A stretch of segments that move no state.
#[derive(Default)]
pub struct Elided {
    segments: usize,
    /// New bytes from the client and from the server.
    bytes: [u64; 2],
    retransmissions: usize,
    lost: usize,
    /// When the first and the last one was sent.
    times: Option<(u64, u64)>,
}

impl Ladder {
    /// Of a capture's connection.
    pub fn of(flow: &Flow, part: Part, span: Span) -> Option<Self> {
        let (_, first) = flow.segments.first()?;
        let mut tracker = Tracker::new(first);
        let initial = tracker.states();
        let mut states = initial;
        let rungs: Vec<Rung> = flow
            .segments
            .iter()
            .map(|(side, segment)| {
                let step = tracker.observe(*side, segment);
                let mut rung = Rung::new(*side, segment, &step.numbers, step.remark);
                rung.time = segment.time.saturating_sub(first.time);
                rung.states = step.states;
                rung.matters |= states != step.states;
                states = step.states;
                rung
            })
            .collect();
        Some(Self::new(
            rungs,
            initial,
            first.flags.has(Flags::SYN),
            part,
            span,
        ))
    }

    /// Of the rungs those that matter, in this part or this stretch of time.
    pub fn new(
        rungs: Vec<Rung>,
        initial: [State; 2],
        begins: bool,
        part: Part,
        span: Span,
    ) -> Self {
        let lines = if span.is_bounded() {
            cut_out(&rungs, span)
        } else {
            choose(&rungs, part)
        };
        Self {
            initial,
            has_beginning: begins && matches!(lines.first(), Some(Line::Rung(_))),
            lines,
        }
    }

    /// The rungs among the lines.
    pub fn rungs(&self) -> impl Iterator<Item = &Rung> {
        self.lines.iter().filter_map(|line| match line {
            Line::Rung(rung) => Some(&**rung),
            Line::Elided(_) => None,
        })
    }

    /// Whether losses are among what is summed up.
    pub fn folds_losses(&self) -> bool {
        self.lines
            .iter()
            .any(|line| matches!(line, Line::Elided(elided) if elided.has_losses()))
    }
}

impl Rung {
    /// Of a segment of which no more is known: its time and the states are to be set.
    pub fn new(side: Side, segment: &Segment, numbers: &Numbers, remark: Option<Remark>) -> Rung {
        Rung {
            side,
            time: 0,
            arrival: Arrival::Unseen,
            flags: segment.flags,
            body: body(segment, numbers, true),
            short: body(segment, numbers, false),
            states: [State::Closed; 2],
            payload: segment.payload,
            numbers: numbers.clone(),
            remark,
            cause: String::new(),
            notes: Vec::new(),
            matters: segment.flags.has(Flags::SYN | Flags::FIN | Flags::RST),
        }
    }

    /// What is remarkable, in brackets; a trace knows better than the numbers.
    pub fn marks(&self) -> String {
        let mut marks = match (self.cause.is_empty(), self.remark) {
            (false, _) => format!(" [{}]", self.cause),
            (true, Some(remark)) => format!(" [{remark}]"),
            (true, None) => String::new(),
        };
        match self.arrival {
            Arrival::Lost => marks += " [lost]",
            Arrival::Partly { lost, .. } => marks += &format!(" [{lost} bytes of it lost]"),
            Arrival::Unseen | Arrival::At(_) => {}
        }
        marks
    }

    pub fn is_repeated(&self) -> bool {
        matches!(self.remark, Some(Remark::Retransmission | Remark::FillsGap))
    }

    pub fn is_lost(&self) -> bool {
        matches!(self.arrival, Arrival::Lost | Arrival::Partly { .. })
    }

    pub fn stands_out(&self) -> bool {
        self.is_repeated() || self.is_lost() || !self.notes.is_empty()
    }

    fn closes(&self) -> bool {
        self.flags.has(Flags::FIN | Flags::RST)
    }

    /// The handshake is over on both sides.
    fn is_open(&self) -> bool {
        let opening = [State::Listen, State::SynSent, State::SynReceived];
        !self.states.iter().any(|state| opening.contains(state))
    }
}

fn body(segment: &Segment, numbers: &Numbers, whole: bool) -> String {
    let mut words = vec![segment.flags.names(), format!("seq={}", numbers.seq)];
    if segment.flags.has(Flags::ACK) {
        words.push(format!("ack={}", numbers.ack));
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
        numbers
            .sack
            .iter()
            .map(|(left, right)| format!("sack={left}..{right}")),
    );
    words.extend(options.timestamps.map(|(value, echo)| {
        match segment.flags.has(Flags::SYN) && whole {
            true => format!("ts={value}:{echo}"),
            false => "ts".to_string(),
        }
    }));
    words.join(" ")
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
        self.lost += usize::from(rung.is_lost());
        let (first, _) = *self.times.get_or_insert((rung.time, rung.time));
        self.times = Some((first, rung.time));
    }

    /// Whether there is a loss among them.
    fn has_losses(&self) -> bool {
        self.retransmissions + self.lost > 0
    }

    /// The options that draw all of it, in milliseconds outward.
    fn span(&self) -> String {
        let (first, last) = self.times.unwrap_or_default();
        let seconds = |ms: u64| format!("{}.{:03}", ms / 1000, ms % 1000);
        let (first, last) = (first / 1_000_000, last.div_ceil(1_000_000));
        format!("--from {} --until {}", seconds(first), seconds(last))
    }

    /// In a line; where losses are among them, with how to see these.
    pub fn text(&self) -> String {
        let mut text = self.text_with(["->", "<-"]);
        if self.has_losses() {
            text.truncate(text.len() - " ...".len());
            text += &format!("; {} draws them ...", self.span());
        }
        text
    }

    /// The same, with other signs for the two directions.
    pub fn text_with(&self, arrows: [&str; 2]) -> String {
        let plural = if self.segments == 1 { "" } else { "s" };
        let mut text = format!("... {} segment{plural}", thousands(self.segments as u64));
        for (bytes, arrow) in self.bytes.iter().zip(arrows) {
            if *bytes > 0 {
                text += &format!(", {} bytes {arrow}", thousands(*bytes));
            }
        }
        if self.retransmissions > 0 {
            text += &format!(", {} retransmitted", thousands(self.retransmissions as u64));
        }
        if self.lost > 0 {
            text += &format!(", {} lost", thousands(self.lost as u64));
        }
        text + " ..."
    }
}

/// All of a stretch of time, with what precedes and follows it summed up.
fn cut_out(rungs: &[Rung], span: Span) -> Vec<Line> {
    let start = rungs.iter().position(|rung| span.has(rung.time));
    let start = start.unwrap_or(rungs.len());
    let len = rungs[start..]
        .iter()
        .take_while(|rung| span.has(rung.time))
        .count();
    let mut lines: Vec<Line> = elide(&rungs[..start]).into_iter().collect();
    lines.extend(rungs[start..start + len].iter().map(Line::of));
    lines.extend(elide(&rungs[start + len..]));
    lines
}

/// The lines of a part, with what precedes and follows it summed up.
fn choose(rungs: &[Rung], part: Part) -> Vec<Line> {
    let first_close = rungs.iter().position(Rung::closes);
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
            lines.extend(stretch.iter().map(Line::of));
        } else {
            lines.extend(shorten(stretch));
        }
    }
    lines.extend(elide(&rungs[end..]));
    lines
}

/// A stretch that moves no state: where it is long, its first and its last segment, the first of what stands out with what belongs to
/// it, and the rest summed up. A transfer over a path that loses has hundreds of losses: how they begin is of interest, and that it goes on.
fn shorten(stretch: &[Rung]) -> Vec<Line> {
    if stretch.len() <= FEW + 2 {
        return stretch.iter().map(Line::of).collect();
    }
    let mut shown = repair::shown(stretch);
    if let [first, .., last] = &mut shown[..] {
        (*first, *last) = (true, true);
    }
    let mut lines = Vec::new();
    let mut rest = stretch;
    for alike in shown.chunk_by(|left, right| left == right) {
        let (these, others) = rest.split_at(alike.len());
        rest = others;
        if alike[0] || these.len() == 1 {
            lines.extend(these.iter().map(Line::of));
        } else {
            lines.extend(elide(these));
        }
    }
    lines
}

impl Line {
    fn of(rung: &Rung) -> Line {
        Line::Rung(Box::new(rung.clone()))
    }
}

fn elide(rungs: &[Rung]) -> Option<Line> {
    let mut elided = Elided::default();
    rungs.iter().for_each(|rung| elided.add(rung));
    (elided.segments > 0).then_some(Line::Elided(elided))
}

/// A number with commas.
pub fn thousands(number: u64) -> String {
    let digits = number.to_string();
    let groups: Vec<&str> = digits
        .as_bytes()
        .rchunks(3)
        .rev()
        .filter_map(|group| std::str::from_utf8(group).ok())
        .collect();
    groups.join(",")
}

/// How many segments of a kind are drawn rather than summed up.
pub const FEW: usize = 4;
