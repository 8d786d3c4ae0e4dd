// SPDX-License-Identifier: GPL-2.0
//! Plots of captures that are made segment by segment.

use insta::assert_snapshot;

use super::*;
use crate::ladder::flow::Side::{Client as C, Server as S};
use crate::ladder::tests::Conversation;
use series::{Kind, Sent};

fn flow_of(talk: &Conversation) -> Flow {
    arguments(&[]).source.read(&talk.pcap()[..]).unwrap().flow
}

fn arguments(options: &[&str]) -> Arguments {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }
    let line = ["plot", "FILE"].iter().chain(options);
    <Line as clap::Parser>::parse_from(line).arguments
}

/// The server sends three segments, of which the second is lost before the capture and comes again.
fn with_a_loss() -> Conversation {
    let mut talk = Conversation::ipv4().open();
    talk.send(C, "PA", 100).send(S, "A", 1000);
    talk.lose(S, 1000).cross(S, "A", 1000).send(C, "A", 0);
    talk.again(S, "A", 2000).meet();
    talk.send(C, "A", 0).close_by_server();
    talk
}

#[test]
fn series_of_both_directions() {
    let flow = flow_of(&with_a_loss());
    let server = Series::of(&flow, S);
    let sent: Vec<(u64, i64, i64, Kind)> = server
        .data
        .iter()
        .map(|sent: &Sent| (sent.time / 1_000_000, sent.start, sent.end, sent.kind))
        .collect();
    assert_eq!(
        sent,
        [
            (1, 0, 1, Kind::New),
            (4, 1, 1001, Kind::New),
            (5, 2001, 3001, Kind::New),
            (7, 1001, 2001, Kind::Again),
            (9, 3001, 3002, Kind::New),
        ]
    );
    let acks: Vec<i64> = server.acks.iter().map(|ack| ack.1).collect();
    assert_eq!(acks, [1, 1001, 3001, 3002]);
    // 502 << 7 behind the acknowledgment.
    assert_eq!(server.window[0].1, 1 + 502 * 128);
    let client = Series::of(&flow, C);
    assert_eq!(client.bytes(), 100 + 2);
    assert_eq!(
        client.outstanding.iter().map(|point| point.1).max(),
        Some(100)
    );
}

#[test]
fn scale_is_not_guessed() {
    let mut talk = Conversation::ipv4();
    talk.meet();
    talk.send(C, "PA", 100).send(S, "A", 500).send(C, "A", 0);
    let series = Series::of(&flow_of(&talk), S);
    assert_eq!(series.window, []);
    let svg = draw::draw(&series, "x");
    assert!(svg.contains("window: scale not known"), "{svg}");
}

#[test]
fn more_data_is_the_default() {
    let flow = flow_of(&with_a_loss());
    let of = |options: &[&str]| picture(&flow, &arguments(options));
    assert!(of(&[]).contains("Data from 192.0.2.2:80 to 192.0.2.1:40000"));
    assert!(of(&["--sender", "client"]).contains("Data from 192.0.2.1:40000 to"));
}

#[test]
fn a_stretch_of_time_keeps_what_stands() {
    let flow = flow_of(&with_a_loss());
    let span = arguments(&["--from", "0.005", "--until", "0.0065"]).span;
    let series = Series::of(&flow, S).within(span);
    assert_eq!(series.data.len(), 1);
    assert_eq!(series.acks, [(5_000_000, 1), (6_000_000, 1001)]);
}

#[test]
fn whole_picture() {
    assert_snapshot!(picture(&flow_of(&with_a_loss()), &arguments(&[])));
}

/// Nothing but acknowledgments, or nothing at all.
#[test]
fn empty_ones_are_pictures() {
    for series in [
        Series::default(),
        Series::of(&flow_of(&Conversation::ipv6().open()), C),
    ] {
        let svg = draw::draw(&series, "x");
        assert!(
            svg.starts_with("<svg") && svg.ends_with("</svg>\n"),
            "{svg}"
        );
        assert!(!svg.contains("NaN") && !svg.contains("inf"), "{svg}");
    }
}
