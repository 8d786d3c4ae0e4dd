// SPDX-License-Identifier: GPL-2.0
//! The drawing as a picture. Time runs down, though not to scale: an arrow slants where it is known when the segment came.

use super::draw::seconds;
use super::flow::Side;
use super::rung::{Arrival, Ladder, Line, Rung};
use super::tracker::State;
use crate::svg::{Anchor, Number, Picture};

/// Draws a part of a connection between two named sides.
pub fn draw(ladder: &Ladder, names: [&str; 2], title: &str) -> String {
    let both = ladder
        .rungs()
        .any(|rung| matches!(rung.arrival, Arrival::At(_) | Arrival::Partly { .. }));
    let longest = ladder
        .rungs()
        .map(|rung| rung.short.chars().count() + rung.marks().chars().count())
        .max()
        .unwrap_or(0);
    let names_width = names
        .map(|name| name.chars().count() as f64 * 7.5)
        .into_iter()
        .fold(STATE, f64::max);
    let client = MARGIN + TIME + names_width;
    // Where arrows slant they cross, and two texts stand beside each other.
    let server = client + (longest as f64 * LETTER + 70.0).max(if both { 660.0 } else { 480.0 });
    let width = server + names_width + if both { TIME } else { 0.0 } + MARGIN;
    let mut sketch = Sketch {
        picture: Picture::new(width),
        ends: [client, server],
        times: [MARGIN + TIME - 12.0, width - MARGIN],
        both,
        last: TOP,
        last_of: [TOP; 2],
        shown: ladder.initial,
        break_from: TOP,
        breaks: Vec::new(),
    };
    sketch.head(names, title, ladder.has_beginning.then_some(ladder.initial));
    if !ladder.has_beginning {
        // States of the middle of a connection are shown with its first segment.
        sketch.shown = [State::Listen; 2];
    }
    sketch.lines(&ladder.lines);
    sketch.finish(title)
}

struct Sketch {
    picture: Picture,
    /// Where the two lifelines are, and the columns of times.
    ends: [f64; 2],
    times: [f64; 2],
    /// It is known when segments came, so that each side has times of its own.
    both: bool,
    /// Down to where something is drawn: at all, and on each side.
    last: f64,
    last_of: [f64; 2],
    /// The states that were written last.
    shown: [State; 2],
    /// Where the lifelines go on after a stretch that was left out, and the stretches before.
    break_from: f64,
    breaks: Vec<(f64, f64)>,
}

/// An arrow whose head is still to come.
struct Flying<'a> {
    rung: &'a Rung,
    tail: f64,
    at: u64,
}

impl Sketch {
    fn head(&mut self, names: [&str; 2], title: &str, initial: Option<[State; 2]>) {
        let middle = (self.ends[0] + self.ends[1]) / 2.0;
        self.picture
            .text("f-mute small", (middle, 20.0), Anchor::Middle, title);
        let anchors = [Anchor::End, Anchor::Start];
        for side in 0..2 {
            let x = self.ends[side];
            self.picture
                .text("big", (x, 42.0), Anchor::Middle, names[side]);
            if let Some(initial) = initial {
                let x = self.beside(side);
                self.picture.text(
                    "code f-mute",
                    (x, TOP - 2.0),
                    anchors[side],
                    initial[side].name(),
                );
            }
            if side == 0 || self.both {
                self.picture.text(
                    "f-mute small",
                    (self.times[side], 42.0),
                    Anchor::End,
                    "seconds",
                );
            }
        }
    }

    fn lines(&mut self, lines: &[Line]) {
        let mut flying: Vec<Flying> = Vec::new();
        for line in lines {
            match line {
                Line::Rung(rung) => {
                    self.land(&mut flying, rung.time);
                    for (side, note) in &rung.notes {
                        self.note(*side, note);
                    }
                    let (from, to) = (rung.side as usize, 1 - rung.side as usize);
                    match rung.arrival {
                        Arrival::Unseen => {
                            let y = self.place(&[from, to]);
                            self.time(if self.both { from } else { 0 }, y, rung.time);
                            self.states(rung, &[from, to], [y, y]);
                            self.arrow(rung, y, y);
                        }
                        Arrival::Lost => {
                            let y = self.place(&[from]);
                            self.time(from, y, rung.time);
                            self.states(rung, &[from], [y, y]);
                            self.arrow(rung, y, y + BROKEN_FALL);
                            self.last = self.last.max(y + BROKEN_FALL / 2.0);
                        }
                        Arrival::At(at) | Arrival::Partly { at, .. } => {
                            let y = self.place(&[from]);
                            self.time(from, y, rung.time);
                            self.states(rung, &[from], [y, y]);
                            flying.push(Flying { rung, tail: y, at });
                        }
                    }
                }
                Line::Elided(elided) => {
                    self.land(&mut flying, u64::MAX);
                    let from = self.last + 8.0;
                    let to = from + BREAK;
                    let middle = (self.ends[0] + self.ends[1]) / 2.0;
                    self.picture.text(
                        "f-mute",
                        (middle, from + BREAK / 2.0 + 4.0),
                        Anchor::Middle,
                        &elided.text_with(["\u{2192}", "\u{2190}"]),
                    );
                    self.breaks.push((from, to));
                    self.last = to;
                    self.last_of = [to - ROW / 3.0; 2];
                }
            }
        }
        self.land(&mut flying, u64::MAX);
    }

    /// Draws the heads of what has come by then.
    fn land(&mut self, flying: &mut Vec<Flying>, time: u64) {
        flying.sort_by_key(|arrow| arrow.at);
        let landed = flying.partition_point(|arrow| arrow.at <= time);
        for arrow in flying.drain(..landed) {
            let to = 1 - arrow.rung.side as usize;
            let y = self.place(&[to]).max(arrow.tail + LEAST_FALL);
            self.last = self.last.max(y);
            self.last_of[to] = y;
            self.time(to, y, arrow.at);
            self.states(arrow.rung, &[to], [y, y]);
            self.arrow(arrow.rung, arrow.tail, y);
        }
    }

    /// Takes room for what happens now on these sides.
    fn place(&mut self, sides: &[usize]) -> f64 {
        let mut y = self.last + STEP;
        for &side in sides {
            y = y.max(self.last_of[side] + ROW);
        }
        for &side in sides {
            self.last_of[side] = y;
        }
        self.last = y;
        y
    }

    fn time(&mut self, side: usize, y: f64, time: u64) {
        self.picture.text(
            "code f-mute",
            (self.times[side], y + 4.0),
            Anchor::End,
            &seconds(time),
        );
    }

    /// Writes the states that have changed.
    fn states(&mut self, rung: &Rung, sides: &[usize], at: [f64; 2]) {
        for &side in sides {
            let state = rung.states[side];
            if self.shown[side] != state {
                self.shown[side] = state;
                let anchor = [Anchor::End, Anchor::Start][side];
                let x = self.beside(side);
                self.picture
                    .text("code bold", (x, at[side] + 4.0), anchor, state.name());
            }
        }
    }

    fn beside(&self, side: usize) -> f64 {
        self.ends[side] + [-10.0, 10.0][side]
    }

    fn note(&mut self, side: Side, note: &str) {
        let side = side as usize;
        let y = self.place(&[side]);
        let (inside, anchor) = [(12.0, Anchor::Start), (-12.0, Anchor::End)][side];
        let x = self.ends[side];
        self.picture.path(
            "f-window",
            &format!("M{} {}l4 -4l4 4l-4 4z", Number(x - 4.0), Number(y)),
        );
        self.picture
            .label("small f-window", (x + inside, y + 4.0), anchor, 0.0, note);
        self.last = y;
    }

    fn arrow(&mut self, rung: &Rung, tail: f64, head: f64) {
        let (from, to) = match rung.side {
            Side::Client => (self.ends[0], self.ends[1]),
            Side::Server => (self.ends[1], self.ends[0]),
        };
        let kind = Kind::of(rung);
        let whole = ((from, tail), (to, head));
        let direction = (to - from).signum();
        let slope = (head - tail) / (to - from);
        let point = |along: f64| (from + along * direction, tail + along * direction * slope);
        let length = (to - from).abs();
        if rung.arrival == Arrival::Lost {
            let end = point(length * BROKEN_AT);
            self.picture.line(kind.line(), whole.0, end);
            self.picture.path(
                "wide s-lost",
                &format!(
                    "M{} {}l10 10m0 -10l-10 10",
                    Number(end.0 - 5.0),
                    Number(end.1 - 5.0)
                ),
            );
        } else {
            self.picture.line(kind.line(), whole.0, point(length - 7.0));
            let (x, y) = whole.1;
            let back = direction * 9.0;
            self.picture.path(
                kind.fill(),
                &format!(
                    "M{} {}L{} {}L{} {}z",
                    Number(x),
                    Number(y),
                    Number(x - back),
                    Number(y - back * slope - 3.5),
                    Number(x - back),
                    Number(y - back * slope + 3.5),
                ),
            );
        }
        let text = rung.short.clone() + &rung.marks();
        let degrees = slope.atan().to_degrees();
        // Where arrows slant, others cross them: a text stands near its own arrow's tail.
        let (along, anchor) = if head > tail {
            let anchor = match rung.side {
                Side::Client => Anchor::Start,
                Side::Server => Anchor::End,
            };
            (14.0, anchor)
        } else {
            (length / 2.0, Anchor::Middle)
        };
        let (x, y) = point(along);
        self.picture.label(
            &format!("code {}", kind.text()),
            (x, y - 4.0),
            anchor,
            degrees,
            &text,
        );
    }

    fn finish(mut self, title: &str) -> String {
        let bottom = self.last + 14.0;
        for x in self.ends {
            let mut from = self.break_from - 8.0;
            for (start, end) in &self.breaks {
                self.picture.line("s-mute", (x, from), (x, *start));
                self.picture.line("s-mute dash", (x, *start), (x, *end));
                from = *end;
            }
            self.picture.line("s-mute", (x, from), (x, bottom));
        }
        self.picture.finish(bottom + MARGIN, title)
    }
}

/// How an arrow looks.
#[derive(Clone, Copy)]
enum Kind {
    /// Opens or closes.
    Control,
    Data,
    Ack,
    /// Sent again, lost, a reset.
    Trouble,
}

impl Kind {
    fn of(rung: &Rung) -> Kind {
        use super::segment::Flags;
        if rung.is_repeated() || rung.is_lost() || rung.flags.has(Flags::RST) {
            Kind::Trouble
        } else if rung.matters && rung.flags.has(Flags::SYN | Flags::FIN) {
            Kind::Control
        } else if rung.payload > 0 {
            Kind::Data
        } else {
            Kind::Ack
        }
    }

    fn line(self) -> &'static str {
        match self {
            Kind::Control => "s-ink",
            Kind::Data => "s-data",
            Kind::Ack => "s-ack",
            Kind::Trouble => "s-lost",
        }
    }

    fn fill(self) -> &'static str {
        match self {
            Kind::Control => "f-ink",
            Kind::Data => "f-data",
            Kind::Ack => "f-ack",
            Kind::Trouble => "f-lost",
        }
    }

    fn text(self) -> &'static str {
        match self {
            Kind::Trouble => "f-lost",
            _ => "",
        }
    }
}

const MARGIN: f64 = 12.0;
/// Room for a time, for a state, for a letter.
const TIME: f64 = 78.0;
const STATE: f64 = 96.0;
const LETTER: f64 = 6.65;
/// Where the lifelines begin.
const TOP: f64 = 62.0;
/// Between two things on one side, and on different ones.
const ROW: f64 = 22.0;
const STEP: f64 = 9.0;
/// An arrow that takes time falls by so much at least.
const LEAST_FALL: f64 = 14.0;
/// The height of a stretch that is left out.
const BREAK: f64 = 30.0;
/// How a lost segment's arrow falls over the whole way, and how far it comes.
const BROKEN_FALL: f64 = 20.0;
const BROKEN_AT: f64 = 0.75;
