// SPDX-License-Identifier: GPL-2.0
//! One connection out of a capture file, as the command line names it.

use std::fs::File;
use std::io::{self, Read};
use std::path::PathBuf;

use super::flow::{Flow, Flows};
use super::{capture, segment, Error};

/// Which file, and which connection of it.
#[derive(clap::Args)]
pub struct Source {
    /// The capture
    #[arg(value_name = "FILE")]
    file: PathBuf,

    /// Which connection of the file, counted from 1 in order of appearance
    #[arg(long, value_name = "N")]
    flow: Option<usize>,
}

/// The connection, and what is to be said of the file.
pub struct Found {
    pub flow: Flow,
    /// Which of how many it is, and its summary, in a line.
    pub heading: String,
    /// The others, if none was asked for by its number, and what is wrong with the file. Empty, or begins with an empty line.
    pub footing: String,
}

impl Source {
    /// Reads the file.
    pub fn open(&self) -> Result<Found, Error> {
        let source: Box<dyn Read + Send> = if self.file.as_os_str() == "-" {
            Box::new(io::stdin())
        } else {
            Box::new(File::open(&self.file).map_err(|error| self.unreadable(error))?)
        };
        self.read(source)
    }

    /// Reads what is in the file.
    pub fn read(&self, source: impl Read + Send) -> Result<Found, Error> {
        let mut flows = Flows::default();
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
                return Err(Error::NotACapture(self.name(), reason))
            }
            Err(capture::Error::Io(error)) => return Err(self.unreadable(error)),
        };

        let mut flows = flows.into_vec();
        let number = self.flow.unwrap_or(1);
        let count = flows.len();
        let index = match number.checked_sub(1) {
            Some(index) if index < count => index,
            _ if count == 0 => return Err(Error::NoTcp(self.name(), packets)),
            _ => return Err(Error::NoSuchFlow(number, list(&flows), count)),
        };
        let mut footing = String::new();
        if self.flow.is_none() && count > 1 {
            footing += &format!("\nThe file has {count} connections; --flow N draws another:\n");
            footing += &list(&flows);
        }
        if cut {
            footing += "\nThe file ends within a packet; what comes before it is drawn.\n";
        }
        let flow = flows.swap_remove(index);
        let heading = format!("Connection {number} of {count}: {}", flow.summary());
        Ok(Found {
            flow,
            heading,
            footing,
        })
    }

    fn name(&self) -> String {
        self.file.display().to_string()
    }

    fn unreadable(&self, error: io::Error) -> Error {
        Error::Unreadable(self.name(), error)
    }
}

fn list(flows: &[Flow]) -> String {
    let mut list = String::new();
    for (index, flow) in flows.iter().enumerate() {
        list += &format!("{:>5}  {}\n", index + 1, flow.summary());
    }
    list
}
