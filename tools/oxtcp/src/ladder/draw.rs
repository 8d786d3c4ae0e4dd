// SPDX-License-Identifier: GPL-2.0
//! The drawing as text: a line for every segment that matters, and one for each stretch of those that do not.

use super::flow::Side;
use super::rung::{Arrival, Ladder, Line, Rung};
use super::Part;

/// Draws a part of a connection between two named sides.
pub fn draw(ladder: &Ladder, names: [&str; 2], part: Part) -> String {
    let columns = Columns {
        client: STATE.max(names[0].chars().count()),
        body: ladder
            .rungs()
            .map(|rung| rung.body.len() + rung.marks().len())
            .max()
            .unwrap_or(0)
            .max(40)
            + ARROW,
    };

    let mut drawing = columns.line("", names[0], "", names[1]);
    if ladder.has_beginning {
        let [client, server] = ladder.initial.map(|state| state.name());
        drawing += &columns.line("seconds", client, "", server);
    } else {
        drawing += &columns.line("seconds", "", "", "");
    }
    for line in &ladder.lines {
        drawing += &match line {
            Line::Rung(rung) => columns.rung(rung),
            Line::Elided(elided) => {
                columns.line("", "", &format!("{:^1$}", elided.text(), columns.body), "")
            }
        };
    }
    if ladder.lines.is_empty() && part == Part::Close {
        drawing += "\nThere is no FIN and no RST: the connection was still open at the end.\n";
    }
    drawing
}

struct Columns {
    client: usize,
    body: usize,
}

impl Columns {
    fn rung(&self, rung: &Rung) -> String {
        let mut lines = String::new();
        for (side, note) in &rung.notes {
            let note = match side {
                Side::Client => format!("* {note}"),
                Side::Server => format!("{:>1$}", format!("{note} *"), self.body),
            };
            lines += &self.line("", "", &note, "");
        }
        let text = rung.body.clone() + &rung.marks();
        let dashes = "-".repeat(self.body - ARROW - text.len());
        let lost = rung.arrival == Arrival::Lost;
        let arrow = match (rung.side, lost) {
            (Side::Client, false) => format!("--- {text} --{dashes}>"),
            (Side::Server, false) => format!("<-- {text} --{dashes}-"),
            // It breaks off on its way.
            (Side::Client, true) => format!("--- {text} {dashes}x"),
            (Side::Server, true) => format!("  x {text} {dashes}---"),
        };
        let mut server = rung.states[1].name().to_string();
        if let Arrival::At(at) | Arrival::Partly { at, .. } = rung.arrival {
            let delay = at.saturating_sub(rung.time);
            server = format!("{server:<STATE$} +{:.3} ms", delay as f64 / 1e6);
        }
        lines + &self.line(&seconds(rung.time), rung.states[0].name(), &arrow, &server)
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

/// Seconds with six digits.
pub fn seconds(time: u64) -> String {
    format!(
        "{}.{:06}",
        time / 1_000_000_000,
        time % 1_000_000_000 / 1000
    )
}

/// The longest state's name, SYN-RECEIVED.
const STATE: usize = 12;
/// What an arrow takes beside its text.
const ARROW: usize = "---  -->".len();
