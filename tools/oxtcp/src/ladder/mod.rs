// SPDX-License-Identifier: GPL-2.0
//! `oxtcp ladder`: a TCP connection out of a capture file, drawn as RFC 9293 draws its figures: the
//! segments as rungs between the two sides, and the state that each side is in.

pub mod capture;
mod draw;
pub mod flow;
mod repair;
pub mod rung;
pub mod segment;
pub mod source;
mod svg;
pub mod traced;
pub mod tracker;

use std::fmt;
use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::failure::{words, Failure, Problem};
use crate::trace::connection::Connection;
use flow::Side;
use rung::Ladder;
use source::{Found, Source};
use traced::Trip;

pub use draw::draw as text;
pub use svg::draw as svg_of;

/// Draw a TCP connection from a capture file as a ladder diagram.
///
/// FILE is a pcap or pcapng file, as tcpdump -w and Wireshark write them; `-` is the standard input.
/// The states are inferred from the segments that passed the point of capture.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,

    /// What to call the side that opens the connection
    #[arg(long, value_name = "NAME", default_value = "client")]
    client: String,

    /// What to call the other side
    #[arg(long, value_name = "NAME", default_value = "server")]
    server: String,

    /// Which part of the connection
    #[arg(long, value_enum, value_name = "PART", default_value = "all", conflicts_with_all = ["from", "until"])]
    only: Part,

    #[command(flatten)]
    span: Span,

    /// Draw it as an SVG picture into this file; `-` is the standard output
    #[arg(long, value_name = "OUT.svg")]
    svg: Option<PathBuf>,
}

/// A stretch of time, in seconds since the connection's first segment.
#[derive(clap::Args, Clone, Copy, Debug)]
pub struct Span {
    /// Begin at this second of the connection; what is drawn is not summed up then
    #[arg(long, value_name = "SECONDS", value_parser = moment)]
    from: Option<u64>,

    /// End at this second of the connection; what is drawn is not summed up then
    #[arg(long, value_name = "SECONDS", value_parser = moment)]
    until: Option<u64>,
}

impl Span {
    /// All the time.
    #[cfg(any(test, fuzzing))]
    pub const ALL: Span = Span {
        from: None,
        until: None,
    };

    /// Whether it bounds anything.
    pub fn is_bounded(self) -> bool {
        self.from.is_some() || self.until.is_some()
    }

    /// Where it begins, if it is bounded there.
    pub fn begin(self) -> Option<u64> {
        self.from
    }

    /// Whether it begins after a time.
    pub fn is_after(self, time: u64) -> bool {
        self.from.is_some_and(|from| time < from)
    }

    /// Whether a time, in nanoseconds, is in it.
    pub fn has(self, time: u64) -> bool {
        self.from.is_none_or(|from| from <= time) && self.until.is_none_or(|until| time <= until)
    }
}

/// Seconds into nanoseconds.
fn moment(text: &str) -> Result<u64, String> {
    let seconds: f64 = text
        .parse()
        .map_err(|_| "no number of seconds".to_string())?;
    if (0.0..=1e9).contains(&seconds) {
        Ok((seconds * 1e9).round() as u64)
    } else {
        Err("must be from 0 to 1000000000".into())
    }
}

/// A part of a connection's life.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// From the first SYN until both sides are ESTABLISHED
    Handshake,
    /// From the first FIN or RST on
    Close,
    /// Everything; long stretches of data are summed up in a line
    All,
}

/// Draws to the standard output, or into the picture.
pub fn ladder(arguments: &Arguments) -> Result<(), Error> {
    let found = arguments.source.open()?;
    match &arguments.svg {
        None => print(&render(&found, arguments)),
        Some(path) => save(path, &picture(&found, arguments), &found),
    }
}

fn render(found: &Found, arguments: &Arguments) -> String {
    let mut drawing = format!("{}\n\n", found.heading);
    if let Some(ladder) = Ladder::of(&found.flow, arguments.only, arguments.span) {
        drawing += &text(&ladder, arguments.names(), arguments.only);
    }
    drawing + &found.footing
}

fn picture(found: &Found, arguments: &Arguments) -> String {
    Ladder::of(&found.flow, arguments.only, arguments.span)
        .map(|ladder| svg_of(&ladder, arguments.names(), &found.flow.summary()))
        .unwrap_or_default()
}

/// A connection of a trace as text.
#[derive(Debug, Default)]
pub struct Drawing {
    /// Its ends, with their network namespaces where they are known, and the ladder. Empty where it has no segment.
    pub text: String,
    /// Losses are among what is summed up.
    pub folds_losses: bool,
}

/// Draws a connection of a trace.
pub fn text_of_trace(connection: &Connection, part: Part, span: Span) -> Drawing {
    let Some(ladder) = Trip::of(connection).and_then(|trip| trip.ladder(part, span)) else {
        return Drawing::default();
    };
    let names = names_of_trace(connection);
    let names = [&*names[0], &*names[1]];
    Drawing {
        text: format!("{}\n\n{}", connection.summary(), text(&ladder, names, part)),
        folds_losses: ladder.folds_losses(),
    }
}

/// The same as a picture.
pub fn picture_of_trace(connection: &Connection, part: Part, span: Span) -> Option<String> {
    let ladder = Trip::of(connection)?.ladder(part, span)?;
    let names = names_of_trace(connection);
    let names = [&*names[0], &*names[1]];
    Some(svg_of(&ladder, names, &connection.summary()))
}

/// Which end is in which namespace, where that tells them apart.
fn names_of_trace(connection: &Connection) -> [String; 2] {
    let [client, server] = [Side::Client, Side::Server].map(|side| connection.netns(side));
    match (client, server) {
        (Some(client), Some(server)) if client != server => [
            format!("client, netns {client}"),
            format!("server, netns {server}"),
        ],
        _ => ["client".to_string(), "server".to_string()],
    }
}

/// Writes a picture, and says what else is in the capture.
pub fn save(path: &Path, picture: &str, found: &Found) -> Result<(), Error> {
    if path.as_os_str() == "-" {
        return print(picture);
    }
    fs::write(path, picture)
        .map_err(|error| Error::Unwritable(path.display().to_string(), error))?;
    print(&format!("{}\n{}", found.heading, found.footing))
}

fn print(text: &str) -> Result<(), Error> {
    match io::stdout().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Write(error)),
        _ => Ok(()),
    }
}

impl Arguments {
    fn names(&self) -> [&str; 2] {
        [&self.client, &self.server]
    }
}

/// Why nothing was drawn.
#[derive(Debug)]
pub enum Error {
    /// The file cannot be opened or read.
    Unreadable(String, io::Error),
    /// It is neither pcap nor pcapng.
    NotACapture(String, String),
    /// No TCP in this many packets.
    NoTcp(String, usize),
    /// The flow asked for, the list of those there are, and their number.
    NoSuchFlow(usize, String, usize),
    /// The picture's file cannot be written.
    Unwritable(String, io::Error),
    /// The standard output.
    Write(io::Error),
}

fn is_denied(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::PermissionDenied
}

/// What to do about it, where it is known.
fn advice(error: &io::Error) -> &'static str {
    match is_denied(error) {
        true => ".\nRun this as root (sudo oxtcp ...), or name a file of your own.",
        false => "",
    }
}

impl Failure for Error {
    fn exit_code(&self) -> u8 {
        match self {
            Error::Unreadable(_, error) | Error::Unwritable(_, error) if is_denied(error) => {
                Problem::DENIED
            }
            _ => Problem::FAILED,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unreadable(file, error) => {
                write!(f, "cannot read {file}: {}{}", words(error), advice(error))
            }
            Error::NotACapture(file, reason) => write!(
                f,
                "{file} is no capture in pcap or pcapng format ({reason}).\n\
                 Make one with: tcpdump -i INTERFACE -w FILE tcp port PORT"
            ),
            Error::NoTcp(file, packets) => write!(
                f,
                "{file} has no TCP segment among its {packets} packets.\n\
                 Was the capture made on the interface that the connection used, and while it lived?"
            ),
            Error::NoSuchFlow(number, list, count) => {
                write!(f, "there is no connection {number}; the file has {count}:\n{}", list.trim_end())
            }
            Error::Unwritable(file, error) => {
                write!(f, "cannot write {file}: {}{}", words(error), advice(error))
            }
            Error::Write(error) => write!(f, "cannot write the drawing: {}", words(error)),
        }
    }
}

#[cfg(test)]
pub mod tests;

#[cfg(test)]
mod traced_tests;
