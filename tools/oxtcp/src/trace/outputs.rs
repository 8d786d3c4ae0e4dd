// SPDX-License-Identifier: GPL-2.0
//! What is made of a whole trace: sentences, ladders, plots, capture files.

use std::fs::{self, File};
use std::io::BufWriter;
use std::path::{Path, PathBuf};

use super::connection::{Connection, Connections};
use super::consumer::Consumer;
use super::event::{Clock, Event};
use super::explain::{words, Closing, End, Narrator, Sentence};
use super::flows::Flows;
use super::pcapng::Writer;
use super::{json, monotonic};
use crate::failure::{Problem, Result};
use crate::ladder::{self, Drawing, Part, Span};
use crate::{output, plot};

/// What is to be made.
#[derive(clap::Args)]
pub struct Outputs {
    /// Instead of events, sentences that say what happened and why, with the settings that decided; at the end sums of the connections
    /// that have sent something again, and of the listeners
    #[arg(long)]
    explain: bool,

    /// Instead of events, at the end each connection as a ladder diagram. A segment that was sent and has not come to an end that
    /// is traced too is marked as lost
    #[arg(long, conflicts_with = "json")]
    ladder: bool,

    /// At the end, the ladder diagram as a picture. Of several connections the second is in OUT-2.svg, and so on, 100 at most
    #[arg(long, value_name = "OUT.svg")]
    ladder_svg: Option<PathBuf>,

    /// At the end, sequence numbers over time and the congestion window, of the side that has sent more data, as a picture. Of
    /// several connections as --ladder-svg
    #[arg(long, value_name = "OUT.svg")]
    plot: Option<PathBuf>,

    /// The segments as a capture file for Wireshark: headers without payload; one that was sent again, is a cookie, a probe
    /// or the like says so in a comment
    #[arg(long, value_name = "OUT.pcapng")]
    pcapng: Option<PathBuf>,

    #[command(flatten)]
    span: Span,
}

/// Of more connections there are no pictures.
const MOST_PICTURES: usize = 100;
/// Of more events nothing is kept to be drawn (some 300 MB).
const MOST_EVENTS: usize = 1_000_000;

impl Outputs {
    /// Whether events are printed beside it.
    pub fn leaves_log(&self) -> bool {
        !self.explain && !self.ladder
    }

    /// Whether it looks at where connections stand.
    pub fn needs_standing(&self) -> bool {
        self.explain || self.plot.is_some()
    }

    /// Refuses a stretch of time of which nothing is drawn.
    pub fn check(&self) -> Result<()> {
        let draws = self.ladder || self.ladder_svg.is_some() || self.plot.is_some();
        match self.span.is_bounded() && !draws {
            false => Ok(()),
            true => Err(Problem::usage(
                "--from and --until are of what is drawn: add --ladder, --ladder-svg or --plot.\n\
                 --duration and --count end the trace.",
            )),
        }
    }

    /// Those who make it; sentences as `json` or to be read.
    ///
    /// Errors: a file that cannot be written.
    pub fn consumers(&self, clock: Clock, json: bool) -> Result<Vec<Box<dyn Consumer>>> {
        let mut consumers: Vec<Box<dyn Consumer>> = Vec::new();
        if self.explain {
            consumers.push(Box::new(Explainer {
                json: json.then_some(clock),
                ..Explainer::default()
            }));
        }
        if let Some(path) = &self.pcapng {
            consumers.push(Box::new(Capture::create(path, clock)?));
        }
        if self.ladder || self.ladder_svg.is_some() || self.plot.is_some() {
            consumers.push(Box::new(Drawer {
                connections: Connections::new(MOST_EVENTS),
                text: self.ladder,
                ladders: self.ladder_svg.clone(),
                plots: self.plot.clone(),
                span: self.span,
            }));
        }
        Ok(consumers)
    }
}

/// Prints sentences.
#[derive(Default)]
struct Explainer {
    narrator: Narrator,
    begin: Option<u64>,
    last: u64,
    /// An object on a line for each.
    json: Option<Clock>,
}

impl Explainer {
    fn print(&self, sentences: &[Sentence]) -> Result<()> {
        let lines = sentences.iter().map(|sentence| match self.json {
            Some(clock) => format!("{}\n", json::sentence(sentence, clock)),
            None => {
                let seconds = sentence.time.saturating_sub(self.begin.unwrap_or(0)) as f64 / 1e9;
                timed(&format!("{seconds:>10.6}"), &sentence.to_string())
            }
        });
        output::print(&lines.collect::<String>())
    }

    fn close(&self, end: &End) -> Result<()> {
        let mut text = String::new();
        if let Some(clock) = self.json {
            for closing in &end.closing {
                text += &format!("{}\n", json::closing(closing, self.last, clock));
            }
            return output::print(&text);
        }
        if !end.closing.is_empty() {
            text += "\nIn sum:\n";
        }
        let (connections, listeners): (Vec<&Closing>, Vec<&Closing>) = end
            .closing
            .iter()
            .partition(|closing| closing.remote.is_some());
        let mut others = end.others;
        let mut many = 0;
        for (place, closing) in connections.into_iter().enumerate() {
            if place < MOST_CLOSING {
                text += &timed("", &closing.to_string());
            } else {
                others.add(closing.sent);
                many += 1;
            }
        }
        if others.again > 0 {
            let more = match end.others.again {
                0 => words::count(many, "more connection"),
                _ => "All others".to_string(),
            };
            text += &timed("", &format!("{more}: {}.", others.text()));
        }
        for closing in listeners {
            text += &timed("", &closing.to_string());
        }
        output::print(&text)
    }
}

/// Of so many connections the sum is told one by one.
const MOST_CLOSING: usize = 20;

/// A text behind a time, folded.
fn timed(time: &str, text: &str) -> String {
    let folded = output::fold(text, INDENT, output::width());
    // The time stands in the first line's indent.
    format!("{time:>10}{}", folded.get(10..).unwrap_or_default())
}

impl Consumer for Explainer {
    fn event(&mut self, event: &Event, _flows: &Flows) -> Result<()> {
        self.begin.get_or_insert(event.time);
        self.last = event.time;
        self.narrator.event(event);
        Ok(())
    }

    fn pause(&mut self) -> Result<()> {
        // Also when nothing comes: what was summed up is to be said.
        let sentences = self.narrator.ready(monotonic().max(self.last));
        self.print(&sentences)
    }

    fn finish(&mut self) -> Result<()> {
        let end = std::mem::take(&mut self.narrator).finish();
        self.print(&end.sentences)?;
        self.close(&end)
    }
}

/// How to see what a ladder has summed up: the next trace has other times.
const FOLDED: &str = "\nTo see what is summed up keep the trace: with --pcapng FILE, then `oxtcp ladder FILE --from SECONDS --until SECONDS`.\n";

/// As wide as a time and a gap.
const INDENT: &str = "            ";

/// Writes a capture file.
struct Capture {
    path: PathBuf,
    writer: Option<Writer<BufWriter<File>>>,
}

impl Capture {
    fn create(path: &Path, clock: Clock) -> Result<Self> {
        let unwritable = |error| Problem::io("write", path, &error);
        let file = File::create(path).map_err(unwritable)?;
        let writer = Writer::new(BufWriter::new(file), clock).map_err(unwritable)?;
        Ok(Self {
            path: path.into(),
            writer: Some(writer),
        })
    }
}

impl Consumer for Capture {
    fn event(&mut self, event: &Event, _flows: &Flows) -> Result<()> {
        let Some(writer) = &mut self.writer else {
            return Ok(());
        };
        let outcome = writer.event(event);
        outcome.map_err(|error| Problem::io("write", &self.path, &error))
    }

    fn finish(&mut self) -> Result<()> {
        let outcome = self.writer.take().map(Writer::finish);
        match outcome {
            Some(Err(error)) => Err(Problem::io("write", &self.path, &error)),
            _ => Ok(()),
        }
    }
}

/// Draws connections when the trace is over.
struct Drawer {
    connections: Connections,
    text: bool,
    ladders: Option<PathBuf>,
    plots: Option<PathBuf>,
    span: Span,
}

impl Drawer {
    fn pictures(&self, path: &Path, draw: impl Fn(&Connection) -> Option<String>) -> Result<()> {
        let pictures = self.connections.list().iter().filter_map(draw);
        let mut drawn = 0;
        for (index, picture) in pictures.take(MOST_PICTURES).enumerate() {
            let path = numbered(path, index + 1);
            fs::write(&path, picture).map_err(|error| Problem::io("write", &path, &error))?;
            drawn += 1;
        }
        if drawn == 0 {
            say!(
                "oxtcp: {} is not written: there was no connection with a segment.",
                path.display()
            );
        }
        Ok(())
    }
}

/// `OUT.svg`, then `OUT-2.svg`.
fn numbered(path: &Path, number: usize) -> PathBuf {
    if number == 1 {
        return path.into();
    }
    let stem = path.file_stem().unwrap_or_default().to_string_lossy();
    let name = match path.extension() {
        Some(extension) => format!("{stem}-{number}.{}", extension.to_string_lossy()),
        None => format!("{stem}-{number}"),
    };
    path.with_file_name(name)
}

impl Consumer for Drawer {
    fn event(&mut self, event: &Event, _flows: &Flows) -> Result<()> {
        self.connections.add(event);
        Ok(())
    }

    fn finish(&mut self) -> Result<()> {
        if self.text {
            let connections = self.connections.list().iter();
            let drawings: Vec<Drawing> = connections
                .map(|connection| ladder::text_of_trace(connection, Part::All, self.span))
                .filter(|drawing| !drawing.text.is_empty())
                .collect();
            let texts: Vec<&str> = drawings
                .iter()
                .map(|drawing| drawing.text.as_str())
                .collect();
            output::print(&texts.join("\n"))?;
            if drawings.iter().any(|drawing| drawing.folds_losses) {
                output::print(FOLDED)?;
            }
        }
        if let Some(path) = &self.ladders {
            self.pictures(path, |connection| {
                ladder::picture_of_trace(connection, Part::All, self.span)
            })?;
        }
        if let Some(path) = &self.plots {
            self.pictures(path, |connection| {
                plot::picture_of_trace(connection, None, self.span)
            })?;
        }
        if self.connections.left_out > 0 {
            say!(
                "oxtcp: {} events came after the first {MOST_EVENTS} and are not drawn. A narrower FILTER helps.",
                self.connections.left_out
            );
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::made::Story;

    #[test]
    fn files_are_numbered() {
        for (number, expected) in [(1, "a/b.svg"), (2, "a/b-2.svg")] {
            assert_eq!(numbered(Path::new("a/b.svg"), number), Path::new(expected));
        }
        assert_eq!(numbered(Path::new("plain"), 3), Path::new("plain-3"));
    }

    #[test]
    fn a_stretch_of_time_is_of_what_is_drawn() {
        #[derive(clap::Parser)]
        struct Line {
            #[command(flatten)]
            arguments: crate::trace::Arguments,
        }
        let check = |option| {
            let line = ["trace", "--from", "1", option];
            let line = <Line as clap::Parser>::try_parse_from(line).unwrap();
            line.arguments.outputs.check()
        };
        assert!(check("--ladder").is_ok() && check("--plot=x.svg").is_ok());
        let refused = check("--explain").unwrap_err();
        assert!(refused.message().contains("--ladder"), "{refused}");
    }

    #[test]
    fn everything_is_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = |name: &str| Some(folder.path().join(name));
        let outputs = Outputs {
            explain: false,
            ladder: false,
            ladder_svg: path("ladder.svg"),
            plot: path("plot.svg"),
            pcapng: path("capture.pcapng"),
            span: Span::ALL,
        };
        assert!(outputs.leaves_log() && outputs.needs_standing());
        let mut consumers = outputs.consumers(Clock { offset: 0 }, false).unwrap();
        let mut story = Story::v4();
        story.open().data(5000).lose_and_repair(1448).close();
        for event in story.events() {
            for consumer in &mut consumers {
                consumer.event(event, &Flows::default()).unwrap();
            }
        }
        for consumer in &mut consumers {
            consumer.finish().unwrap();
        }
        for name in ["ladder.svg", "plot.svg", "capture.pcapng"] {
            let bytes = fs::read(folder.path().join(name)).unwrap();
            assert!(bytes.len() > 1000, "{name}");
        }
        assert!(!folder.path().join("ladder-2.svg").exists());
        outputs.check().unwrap();
        let nowhere = Outputs {
            pcapng: path("none/x.pcapng"),
            ..outputs
        };
        assert!(nowhere.consumers(Clock { offset: 0 }, false).is_err());
    }
}
