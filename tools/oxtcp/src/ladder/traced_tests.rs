// SPDX-License-Identifier: GPL-2.0
//! Ladders and plots of traces that are made up.

use insta::assert_snapshot;

use super::flow::Side::{self, Client as C, Server as S};
use super::traced::{Fate, Trip};
use super::{picture_of_trace, text_of_trace, Part, Span};
use crate::plot::series::{Kind, Series};
use crate::trace::connection::{Connection, Connections};
use crate::trace::event::{
    Bound, Cause, Decision, Direction, Drop, Event, Listener, Mode, Timer, What,
};
use crate::trace::made::{Story, WAY};

fn connection(events: &[Event]) -> Connection {
    let mut connections = Connections::new(usize::MAX);
    events.iter().for_each(|event| connections.add(event));
    let [connection] = connections.list() else {
        panic!("{} connections", connections.list().len());
    };
    connection.clone()
}

fn text(events: &[Event]) -> String {
    text_of_trace(&connection(events), Part::All, Span::ALL).text
}

fn with_a_loss() -> Story {
    let mut story = Story::v4();
    story.open().data(5000).lose_and_repair(1448).close();
    story
}

/// Both ends: states are those that they had, a lost segment breaks off, and each has its time under way.
#[test]
fn both_ends() {
    assert_snapshot!(text(with_a_loss().events()));
}

#[test]
fn both_ends_as_a_picture() {
    let connection = connection(with_a_loss().events());
    assert_snapshot!(picture_of_trace(&connection, Part::All, Span::ALL).unwrap());
}

/// Of many losses the first are drawn with what belongs to them, and how the others are to be seen.
#[test]
fn many_losses() {
    let mut story = Story::v4();
    story.open();
    for _ in 0..30 {
        story.data(1448).data(1448).lose_and_repair(1448);
    }
    story.close();
    assert_snapshot!("many_losses_at_both_ends", text(story.events()));
    assert_snapshot!("many_losses_at_one_end", text(&story.seen_by(S)));
    let folds = |span| text_of_trace(&connection(story.events()), Part::All, span).folds_losses;
    assert!(folds(Span::ALL));
}

/// One end: what the other does is inferred, and nothing is called lost.
#[test]
fn one_end() {
    let drawn = text(&with_a_loss().seen_by(S));
    assert!(!drawn.contains("[lost]"), "{drawn}");
    assert_snapshot!(drawn);
}

/// One that is sent again after the original came late is told from it by its timestamp.
#[test]
fn arrivals_find_the_segment_that_they_are() {
    let story = with_a_loss();
    let trip = Trip::of(&connection(story.events())).unwrap();
    let fates: Vec<(Cause, Fate, Option<u64>)> = trip
        .flights
        .iter()
        .filter(|flight| flight.segment.payload == 1448)
        .map(|flight| {
            (
                flight.cause,
                flight.fate,
                flight.received.map(|at| at - flight.time()),
            )
        })
        .collect();
    assert_eq!(
        fates,
        [
            (Cause::Data, Fate::Lost, None),
            (Cause::Data, Fate::Fine, Some(WAY)),
            (Cause::FastRetransmit, Fate::Fine, Some(WAY)),
        ]
    );
}

/// Of a burst a part comes, put together in another way.
#[test]
fn bursts_come_in_parts() {
    let mut story = Story::v4();
    story.open();
    let header = story.header(S, "A", 9001, 502);
    story.carry(S, header.clone(), 4344, Cause::Data, false);
    let mut part = header;
    part.0[4..8].copy_from_slice(&(9001u32 + 1448).to_be_bytes());
    let came = What::Segment(crate::trace::event::Segment {
        direction: Direction::In,
        cause: Cause::Received,
        header: part,
        payload: 1448,
        segment_size: 0,
        ecn: 0,
    });
    story.wait(WAY).tell(C, came);
    story.send(S, "A", 0, Cause::Ack, true).wait(WAY);
    let trip = Trip::of(&connection(story.events())).unwrap();
    let burst = trip
        .flights
        .iter()
        .find(|flight| flight.segment.payload == 4344)
        .unwrap();
    assert_eq!(burst.fate, Fate::Partly(2896));
}

/// What is still under way at the end of the trace is not lost.
#[test]
fn the_end_of_a_trace_is_no_loss() {
    let mut story = Story::v4();
    story.open().send(S, "A", 1000, Cause::Data, false);
    let trip = Trip::of(&connection(story.events())).unwrap();
    assert_eq!(trip.flights.last().unwrap().fate, Fate::Fine);
    story.wait(2_000_000_000).standing(S, Mode::Open, 14_480);
    let trip = Trip::of(&connection(story.events())).unwrap();
    assert_eq!(trip.flights.last().unwrap().fate, Fate::Lost);
}

/// Cookies, drops and timers stand where they happened; the listener's state stays LISTEN until the cookie comes back.
#[test]
fn notes() {
    let mut story = Story::v4();
    let listener = |decision| {
        What::Listener(Listener {
            decision,
            bound: Bound::SynQueue,
            half_open: 128,
            most_half_open: 128,
            waiting: 0,
            asked: 128,
            granted: 128,
            syncookies: 1,
            limit: crate::sockets::limit::Limit::Backlog,
        })
    };
    use crate::sockets::State::{Close, Established, Listen, SynRecv, SynSent};
    story
        .state(C, Close, SynSent)
        .send(C, "S", 0, Cause::Syn, true)
        .wait(WAY)
        .tell(S, listener(Decision::Cookie))
        .send(S, "SA", 0, Cause::SynCookie, true)
        .wait(WAY)
        .state(C, SynSent, Established)
        .send(C, "A", 0, Cause::Ack, true)
        .wait(WAY)
        .tell(S, listener(Decision::CookieAccepted))
        .state(S, Listen, SynRecv)
        .state(S, SynRecv, Established);
    story.send(C, "PA", 100, Cause::Data, false);
    story
        .wait(200_000_000)
        .tell(C, What::Timer(Timer::Retransmit));
    let again = story.header(C, "PA", 1001, 502);
    story
        .carry(C, again.clone(), 100, Cause::TimeoutRetransmit, true)
        .wait(WAY);
    story.tell(
        S,
        What::Drop(Drop {
            direction: Direction::In,
            reason: "SOCKET_RCVBUFF".into(),
            header: Some(again),
            payload: 100,
        }),
    );
    assert_snapshot!(text(story.events()));
}

#[test]
fn series_of_a_trace() {
    let mut story = Story::v4();
    story.open().standing(S, Mode::Open, 14_480).data(5000);
    story
        .lose_and_repair(1448)
        .standing(S, Mode::Recovery, 10_136);
    let story_begin = story.events()[0].time;
    for side in [None, Some(S)] {
        let events = side.map_or(story.events().to_vec(), |side: Side| story.seen_by(side));
        let connection = connection(&events);
        let trip = Trip::of(&connection).unwrap();
        let series = Series::of_trace(&connection, &trip, S);
        let kinds: Vec<(i64, Kind)> = series
            .data
            .iter()
            .map(|sent| (sent.start, sent.kind))
            .collect();
        let first = if side.is_none() {
            Kind::Lost
        } else {
            Kind::New
        };
        assert_eq!(
            kinds,
            [
                (0, Kind::New),
                (1, Kind::New),
                (5001, first),
                (6449, Kind::New),
                (5001, Kind::Again)
            ]
        );
        assert_eq!(
            series.cwnd.iter().map(|point| point.1).collect::<Vec<_>>(),
            [14_480, 10_136]
        );
        assert_eq!(series.acks.last().unwrap().1, 7897);
        // The acknowledgment counts from when it has come.
        assert_eq!(trip.begin + series.acks[1].0, story_begin + 5 * WAY + 4000);
    }
    let picture = crate::plot::picture_of_trace(&connection(story.events()), None, Span::ALL);
    assert!(picture.unwrap().contains("cwnd"));
}

/// Ports that are used again are another connection, of which events of both ends come together.
#[test]
fn ports_are_used_again() {
    let (first, mut again) = (with_a_loss(), Story::v4());
    again.wait(10_000_000_000).open_from(77_000);
    let mut connections = Connections::new(usize::MAX);
    for event in first.events().iter().chain(again.events()) {
        connections.add(event);
    }
    let lens: Vec<usize> = connections
        .list()
        .iter()
        .map(|one| one.events.len())
        .collect();
    assert_eq!(lens, [first.events().len(), again.events().len()]);
    let mut few = Connections::new(3);
    first.events().iter().for_each(|event| few.add(event));
    assert_eq!(few.left_out, first.events().len() as u64 - 3);
}
