// SPDX-License-Identifier: GPL-2.0
//! The plot as a picture: sequence numbers over time, and below it what is under way.

use super::axis::{Axis, Unit};
use super::series::{Kind, Series};
use crate::svg::{Anchor, Number, Picture};

/// Draws a direction of a connection, under a title.
pub fn draw(series: &Series, title: &str) -> String {
    let mut picture = Picture::new(WIDTH);
    picture.text("bold", (LEFT, 22.0), Anchor::Start, title);

    let (begin, end) = series.times();
    let time = Axis::new(
        (begin as f64, end.max(begin + 1) as f64),
        (LEFT, WIDTH - RIGHT),
        Unit::TIMES,
        9,
    );
    let numbers = series.numbers();
    let upper = Panel {
        time: &time,
        value: Axis::new(numbers, (UPPER.1, UPPER.0), Unit::BYTES, 6),
    };
    let lower = Panel {
        time: &time,
        value: Axis::new(
            (0.0, series.most_under_way()),
            (LOWER.1, LOWER.0),
            Unit::BYTES,
            4,
        ),
    };

    upper.grid(&mut picture, "sequence number");
    lower.grid(&mut picture, "under way");
    time.labels(&mut picture, LOWER.1 + 18.0, "time");

    let mut legend = Legend::new();
    upper.steps(&mut picture, "s-window", &series.window, end);
    upper.steps(&mut picture, "s-ack", &series.acks, end);
    upper.bars(
        &mut picture,
        "wide s-sack",
        series.sacks.iter().map(|(time, block)| (*time, *block)),
        LEAST,
    );
    for (class, kind, least) in [
        ("wide s-data", Kind::New, LEAST),
        ("wide s-lost", Kind::Again, LEAST_MARK),
        ("wide s-lost", Kind::Lost, LEAST_MARK),
    ] {
        upper.bars(
            &mut picture,
            class,
            series
                .data
                .iter()
                .filter(|sent| sent.kind == kind)
                .map(|sent| (sent.time, (sent.start, sent.end))),
            least,
        );
    }
    for sent in &series.data {
        match sent.kind {
            Kind::New => {}
            Kind::Again => upper.mark(&mut picture, sent.time, sent.start, "f-lost", "l-3.5 7h7z"),
            Kind::Lost => upper.mark(
                &mut picture,
                sent.time,
                sent.start,
                "wide s-lost",
                "m-4 2l8 8m0 -8l-8 8",
            ),
        }
    }
    lower.steps(&mut picture, "s-data", &series.outstanding, end);
    lower.steps(&mut picture, "dash s-cwnd", &series.ssthresh, end);
    lower.steps(&mut picture, "wide s-cwnd", &series.cwnd, end);

    let has = |kind: Kind| series.data.iter().any(|sent| sent.kind == kind);
    legend.entry(&mut picture, "wide s-data", Sign::Bar, "data");
    if has(Kind::Again) {
        legend.entry(&mut picture, "s-lost", Sign::Triangle, "sent again");
    }
    if has(Kind::Lost) {
        legend.entry(&mut picture, "wide s-lost", Sign::Cross, "lost");
    }
    legend.entry(&mut picture, "s-ack", Sign::Line, "acknowledged");
    if !series.sacks.is_empty() {
        legend.entry(&mut picture, "wide s-sack", Sign::Bar, "SACK blocks");
    }
    if series.window.is_empty() {
        legend.note(&mut picture, "window: scale not known");
    } else {
        let seen = series
            .window
            .iter()
            .any(|point| point.1 as f64 <= numbers.1);
        let name = if seen {
            "peer's window"
        } else {
            "peer's window (higher)"
        };
        legend.entry(&mut picture, "s-window", Sign::Line, name);
    }
    legend.entry(&mut picture, "s-data", Sign::Line, "not acknowledged");
    if !series.cwnd.is_empty() {
        legend.entry(&mut picture, "wide s-cwnd", Sign::Line, "cwnd");
    }
    if !series.ssthresh.is_empty() {
        legend.entry(&mut picture, "dash s-cwnd", Sign::Line, "ssthresh");
    }
    picture.finish(HEIGHT, title)
}

impl Series {
    /// The sequence numbers to show: of the data and the acknowledgments, and of the window what is near.
    fn numbers(&self) -> (f64, f64) {
        let low = self.data.iter().map(|sent| sent.start);
        let low = low.chain(self.acks.first().map(|ack| ack.1)).min();
        let high = self.data.iter().map(|sent| sent.end);
        let high = high.chain(self.acks.last().map(|ack| ack.1)).max();
        let (low, high) = (low.unwrap_or(0) as f64, high.unwrap_or(1) as f64);
        let height = (high - low).max(1.0);
        let window = self.window.iter().map(|point| point.1).max();
        let top = window.map_or(high, |edge| (edge as f64).clamp(high, high + height * 0.2));
        // A sign below the first number has room.
        (low - height * 0.03, top + height * 0.02)
    }

    fn most_under_way(&self) -> f64 {
        let most = [&self.outstanding, &self.cwnd]
            .into_iter()
            .flatten()
            .map(|point| point.1)
            .max();
        (most.unwrap_or(0) as f64 * 1.08).max(1.0)
    }
}

/// A panel: time to the right, a value upwards.
struct Panel<'a> {
    time: &'a Axis,
    value: Axis,
}

impl Panel<'_> {
    fn grid(&self, picture: &mut Picture, name: &str) {
        let (left, right) = self.time.ends();
        let (bottom, top) = self.value.ends();
        for (x, _) in self.time.ticks() {
            picture.line("thin s-grid", (x, top), (x, bottom));
        }
        for (y, label) in self.value.ticks() {
            picture.line("thin s-grid", (left, y), (right, y));
            picture.text("small f-mute", (left - 8.0, y + 4.0), Anchor::End, &label);
        }
        picture.line("s-mute", (left, top), (left, bottom));
        picture.line("s-mute", (left, bottom), (right, bottom));
        let middle = (top + bottom) / 2.0;
        let text = format!("{name} ({})", self.value.unit());
        picture.turned_text("small f-mute", (16.0, middle), Anchor::Middle, -90.0, &text);
    }

    /// A line that keeps its height until the next point. What is above the panel is left out.
    fn steps(&self, picture: &mut Picture, class: &str, points: &[(u64, i64)], end: u64) {
        let top = self.value.ends().1;
        let mut path = String::new();
        let mut is_drawn = false;
        let columns = thinned(points, |time| self.time.place(time as f64));
        for (index, (x, value)) in columns.iter().enumerate() {
            let next = columns
                .get(index + 1)
                .map_or(self.time.place(end as f64), |next| next.0);
            let y = self.value.place(*value as f64);
            if y < top {
                is_drawn = false;
                continue;
            }
            path += &if is_drawn {
                format!("V{}", Number(y))
            } else {
                format!("M{} {}", Number(*x), Number(y))
            };
            path += &format!("H{}", Number(next));
            is_drawn = true;
        }
        picture.path(class, &path);
    }

    /// Ranges of sequence numbers, each at its time, at least `least` pixels high. Those that touch in a column become one.
    fn bars(
        &self,
        picture: &mut Picture,
        class: &str,
        ranges: impl Iterator<Item = (u64, (i64, i64))>,
        least: f64,
    ) {
        let top = self.value.ends().1;
        let mut bars: Vec<(i64, f64, f64)> = ranges
            .map(|(time, (start, end))| {
                let column = (self.time.place(time as f64) * 2.0).round() as i64;
                let (low, high) = (self.value.place(start as f64), self.value.place(end as f64));
                let grow = ((least - (low - high)) / 2.0).max(0.0);
                (column, (high - grow).max(top), low + grow)
            })
            .collect();
        bars.sort_by(|one, other| one.0.cmp(&other.0).then(one.1.total_cmp(&other.1)));
        bars.dedup_by(|next, kept| {
            let touch = next.0 == kept.0 && next.1 <= kept.2 + 0.5;
            if touch {
                kept.2 = kept.2.max(next.2);
            }
            touch
        });
        let mut path = String::new();
        for (column, high, low) in &bars {
            let x = Number(*column as f64 / 2.0);
            path += &format!("M{x} {}V{}", Number(*high), Number(*low));
        }
        picture.path(class, &path);
    }

    /// A sign below a sequence number.
    fn mark(&self, picture: &mut Picture, time: u64, number: i64, class: &str, sign: &str) {
        let (x, y) = (
            self.time.place(time as f64),
            self.value.place(number as f64) + 3.0,
        );
        picture.path(class, &format!("M{} {}{sign}", Number(x), Number(y)));
    }
}

/// The last value of each half of a pixel.
fn thinned(points: &[(u64, i64)], place: impl Fn(u64) -> f64) -> Vec<(f64, i64)> {
    let mut columns: Vec<(f64, i64)> = Vec::new();
    for (time, value) in points {
        let x = (place(*time) * 2.0).round() / 2.0;
        match columns.last_mut() {
            Some(last) if last.0 == x => last.1 = *value,
            _ => columns.push((x, *value)),
        }
    }
    columns
}

/// What the colours mean, in a row below the title.
struct Legend {
    x: f64,
}

#[derive(Clone, Copy)]
enum Sign {
    Bar,
    Line,
    Triangle,
    Cross,
}

impl Legend {
    fn new() -> Legend {
        Legend { x: LEFT }
    }

    fn entry(&mut self, picture: &mut Picture, class: &str, sign: Sign, name: &str) {
        let (x, y) = (self.x, 40.0);
        match sign {
            Sign::Bar => picture.line(class, (x + 8.0, y - 6.0), (x + 8.0, y + 6.0)),
            Sign::Line => picture.line(class, (x, y), (x + 16.0, y)),
            Sign::Triangle => picture.path(
                "f-lost",
                &format!("M{} {}l-3.5 7h7z", Number(x + 8.0), Number(y - 4.0)),
            ),
            Sign::Cross => picture.path(
                class,
                &format!("M{} {}l8 8m0 -8l-8 8", Number(x + 4.0), Number(y - 4.0)),
            ),
        }
        self.x += 22.0;
        self.note(picture, name);
    }

    fn note(&mut self, picture: &mut Picture, text: &str) {
        picture.text("small", (self.x, 44.0), Anchor::Start, text);
        self.x += text.chars().count() as f64 * 6.2 + 18.0;
    }
}

const WIDTH: f64 = 960.0;
const HEIGHT: f64 = 600.0;
const LEFT: f64 = 76.0;
const RIGHT: f64 = 24.0;
/// Top and bottom of the panels.
const UPPER: (f64, f64) = (58.0, 418.0);
const LOWER: (f64, f64) = (446.0, 552.0);
/// A segment is so high at least, in pixels; one that is marked so high.
const LEAST: f64 = 2.0;
const LEAST_MARK: f64 = 4.0;
