// SPDX-License-Identifier: GPL-2.0
//! `oxtcp plot`: a time-sequence plot of a connection, as Stevens and tcptrace draw them.

mod axis;
mod draw;
pub mod series;

use std::path::PathBuf;

use crate::ladder::flow::{Flow, Side};
use crate::ladder::source::Source;
use crate::ladder::{save, Error, Span};
use series::Series;

/// Plot a TCP connection from a capture file: sequence numbers over time
///
/// FILE is a pcap or pcapng file, as tcpdump -w and Wireshark write them; `-` is the standard input. The picture shows one
/// direction: each segment of data as a bar from its first to its last sequence number, what was sent again, what the peer
/// acknowledges, its window and the blocks that it reports (SACK); and below it what is sent and not acknowledged. Horizontal
/// is time, so a slope is a rate; between the data and the line of acknowledgments lies a round trip.
///
/// Capture on the side that sends the data. Elsewhere, a segment that was lost before the point of capture is not in it.
#[derive(clap::Args)]
pub struct Arguments {
    #[command(flatten)]
    source: Source,

    #[command(flatten)]
    span: Span,

    /// Whose data; without it, that of the side that has sent more
    #[arg(long, value_enum, value_name = "SIDE")]
    sender: Option<Sender>,

    /// The picture's file; `-` is the standard output
    #[arg(long, value_name = "OUT.svg", default_value = "-")]
    svg: PathBuf,
}

/// A side of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Sender {
    /// The one that opens the connection
    Client,
    /// The other
    Server,
}

/// `oxtcp plot`.
pub fn plot(arguments: &Arguments) -> Result<(), Error> {
    let found = arguments.source.open()?;
    save(&arguments.svg, &picture(&found.flow, arguments), &found)
}

fn picture(flow: &Flow, arguments: &Arguments) -> String {
    let side = arguments.sender.map(|sender| match sender {
        Sender::Client => Side::Client,
        Sender::Server => Side::Server,
    });
    let [client, server] = [Side::Client, Side::Server].map(|side| Series::of(flow, side));
    let side = side.unwrap_or(if client.bytes() > server.bytes() {
        Side::Client
    } else {
        Side::Server
    });
    let series = match side {
        Side::Client => client,
        Side::Server => server,
    };
    let (from, to) = match side {
        Side::Client => (flow.client, flow.server),
        Side::Server => (flow.server, flow.client),
    };
    draw::draw(
        &series.within(arguments.span),
        &format!("Data from {from} to {to}"),
    )
}

#[cfg(test)]
mod tests;
