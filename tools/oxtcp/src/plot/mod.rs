// SPDX-License-Identifier: GPL-2.0
//! `oxtcp plot`: a time-sequence plot of a connection, as Stevens and tcptrace draw them.

mod axis;
mod draw;
pub mod series;

use std::net::SocketAddr;
use std::path::PathBuf;

use crate::ladder::flow::{Flow, Side};
use crate::ladder::source::Source;
use crate::ladder::traced::Trip;
use crate::ladder::{save, Error, Span};
use crate::trace::connection::Connection;
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

/// A connection of a trace as a plot of the data of one side, or of that which has sent more; `None` where it has no segment.
pub fn picture_of_trace(
    connection: &Connection,
    sender: Option<Sender>,
    span: Span,
) -> Option<String> {
    let trip = Trip::of(connection)?;
    let sides = [Side::Client, Side::Server];
    let both = sides.map(|side| Series::of_trace(connection, &trip, side));
    let ends = [connection.client, connection.server];
    Some(drawing(both, ends, sender, span))
}

/// A series of any kind, drawn.
#[cfg(any(test, fuzzing))]
pub fn svg_of(series: Series) -> String {
    draw::draw(&series, "fuzz")
}

fn picture(flow: &Flow, arguments: &Arguments) -> String {
    let both = [Side::Client, Side::Server].map(|side| Series::of(flow, side));
    let ends = [flow.client, flow.server];
    drawing(both, ends, arguments.sender, arguments.span)
}

fn drawing(
    both: [Series; 2],
    [client_end, server_end]: [SocketAddr; 2],
    sender: Option<Sender>,
    span: Span,
) -> String {
    let [client, server] = both;
    let sender = sender.unwrap_or(if client.bytes() > server.bytes() {
        Sender::Client
    } else {
        Sender::Server
    });
    let (series, from, to) = match sender {
        Sender::Client => (client, client_end, server_end),
        Sender::Server => (server, server_end, client_end),
    };
    draw::draw(&series.within(span), &format!("Data from {from} to {to}"))
}

#[cfg(test)]
mod tests;
