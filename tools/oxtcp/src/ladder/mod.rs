// SPDX-License-Identifier: GPL-2.0
//! `oxtcp ladder`: a TCP connection out of a capture file, drawn as RFC 9293 draws its figures: the
//! segments as rungs between the two sides, and the state that each side is in.

mod capture;
mod draw;
mod flow;
mod segment;
mod tracker;

use std::fmt;
use std::fs::File;
use std::io::{self, Read, Write};
use std::path::PathBuf;

use crate::failure::Failure;
use flow::Flow;

/// Draw a TCP connection from a capture file as a ladder diagram.
///
/// FILE is a pcap or pcapng file, as tcpdump -w and Wireshark write them; `-` is the standard input.
/// The states are inferred from the segments that passed the point of capture.
#[derive(clap::Args)]
pub struct Arguments {
    /// The capture
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Which connection of the file, counted from 1 in order of appearance
    #[arg(long, value_name = "N")]
    flow: Option<usize>,

    /// What to call the side that opens the connection
    #[arg(long, value_name = "NAME", default_value = "client")]
    client: String,

    /// What to call the other side
    #[arg(long, value_name = "NAME", default_value = "server")]
    server: String,

    /// Which part of the connection
    #[arg(long, value_enum, value_name = "PART", default_value = "all")]
    only: Part,
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

/// Draws to the standard output.
pub fn ladder(arguments: &Arguments) -> Result<(), Error> {
    let source: Box<dyn Read + Send> = if arguments.file.as_os_str() == "-" {
        Box::new(io::stdin())
    } else {
        Box::new(File::open(&arguments.file).map_err(|error| arguments.unreadable(error))?)
    };
    let drawing = render(source, arguments)?;
    match io::stdout().write_all(drawing.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Error::Write(error)),
        _ => Ok(()),
    }
}

fn render(source: impl Read + Send, arguments: &Arguments) -> Result<String, Error> {
    let mut flows = flow::Flows::default();
    let mut packets = 0;
    let outcome = capture::read(source, |packet| {
        packets += 1;
        if let Some(segment) = segment::parse(packet) {
            flows.add(segment);
        }
    });
    // A tcpdump that was killed leaves half a packet at the end.
    let cut = match outcome {
        Ok(()) => false,
        Err(capture::Error::Format(_)) if packets > 0 => true,
        Err(capture::Error::Format(reason)) => {
            return Err(Error::NotACapture(arguments.name(), reason))
        }
        Err(capture::Error::Io(error)) => return Err(arguments.unreadable(error)),
    };

    let flows = flows.into_vec();
    let number = arguments.flow.unwrap_or(1);
    let Some(flow) = number.checked_sub(1).and_then(|index| flows.get(index)) else {
        return Err(match flows.len() {
            0 => Error::NoTcp(arguments.name(), packets),
            count => Error::NoSuchFlow(number, list(&flows), count),
        });
    };
    let mut drawing = format!(
        "Connection {number} of {}: {}\n\n",
        flows.len(),
        flow.summary()
    );
    drawing += &draw::draw(flow, [&arguments.client, &arguments.server], arguments.only);
    if arguments.flow.is_none() && flows.len() > 1 {
        drawing += &format!(
            "\nThe file has {} connections; --flow N draws another:\n",
            flows.len()
        );
        drawing += &list(&flows);
    }
    if cut {
        drawing += "\nThe file ends within a packet; what comes before it is drawn.\n";
    }
    Ok(drawing)
}

fn list(flows: &[Flow]) -> String {
    let mut list = String::new();
    for (index, flow) in flows.iter().enumerate() {
        list += &format!("{:>5}  {}\n", index + 1, flow.summary());
    }
    list
}

impl Arguments {
    fn name(&self) -> String {
        self.file.display().to_string()
    }

    fn unreadable(&self, error: io::Error) -> Error {
        Error::Unreadable(self.name(), error)
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
    /// The standard output.
    Write(io::Error),
}

impl Failure for Error {
    fn exit_code(&self) -> u8 {
        1
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Unreadable(file, error) => write!(f, "cannot read {file}: {error}"),
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
            Error::Write(error) => write!(f, "cannot write the drawing: {error}"),
        }
    }
}

#[cfg(test)]
mod tests;
