// SPDX-License-Identifier: GPL-2.0
//! Stories that are made up, told.

use insta::assert_snapshot;

use super::*;
use crate::ladder::flow::Side::{Client as C, Server as S};
use crate::sockets::limit::Limit;
use crate::sockets::State::*;
use crate::trace::event::{Cause, Direction, Drop, Mode, Timer};
use crate::trace::made::{Story, WAY};

/// What is said of the events, with the seconds since the first.
fn told(events: &[Event]) -> String {
    let begin = events[0].time;
    let mut narrator = Narrator::default();
    let mut sentences: Vec<Sentence> = Vec::new();
    for event in events {
        sentences.extend(narrator.event(event));
    }
    sentences.extend(narrator.finish());
    let mut text = String::new();
    for sentence in &sentences {
        let seconds = sentence.time.saturating_sub(begin) as f64 / 1e9;
        text += &format!("{seconds:.3} {}\n", sentence.text);
    }
    text
}

fn listener(decision: Decision, bound: Bound, asked: u32, granted: u32) -> What {
    What::Listener(Listener {
        decision,
        bound,
        half_open: 128,
        most_half_open: 128,
        waiting: granted + 1,
        asked,
        granted,
        syncookies: if bound == Bound::Always { 2 } else { 1 },
        limit: match asked {
            _ if asked > granted => Limit::Somaxconn,
            4096.. => Limit::CoreSomaxconn,
            _ => Limit::Backlog,
        },
    })
}

#[test]
fn a_whole_life_with_a_loss() {
    let mut story = Story::v4();
    story.open().standing(S, Mode::Open, 14_480).data(5000);
    story
        .lose_and_repair(1448)
        .standing(S, Mode::Recovery, 10_136);
    story.wait(1000).standing(S, Mode::Open, 10_136).close();
    story
        .wait(60_000_000_000)
        .tell(S, What::Timer(Timer::TimeWait))
        .state(S, TimeWait, Close);
    assert_snapshot!("life_of_the_server", told(&story.seen_by(S)));
    assert_snapshot!("life_of_the_client", told(&story.seen_by(C)));
}

#[test]
fn listeners() {
    for (name, decision, bound, asked, granted) in [
        ("cookie", Decision::Cookie, Bound::SynQueue, 128, 128),
        ("always", Decision::Cookie, Bound::Always, 128, 128),
        ("remembered", Decision::HalfOpen, Bound::None, 128, 128),
        (
            "accept_queue",
            Decision::Dropped,
            Bound::AcceptQueue,
            65_535,
            4096,
        ),
        (
            "core_somaxconn",
            Decision::Dropped,
            Bound::AcceptQueue,
            4096,
            4096,
        ),
        ("rate", Decision::Dropped, Bound::Rate, 128, 128),
        ("share", Decision::Cookie, Bound::Share, 128, 128),
        ("reset", Decision::Reset, Bound::AcceptQueue, 1, 1),
        ("refused", Decision::CookieRefused, Bound::None, 128, 128),
    ] {
        let mut story = Story::v4();
        story
            .send(C, "S", 0, Cause::Syn, true)
            .wait(WAY)
            .tell(S, listener(decision, bound, asked, granted));
        let text = told(&story.seen_by(S));
        assert_snapshot!(format!("listener_{name}"), text);
    }
}

/// A flood is a sentence in a second.
#[test]
fn floods_are_summed_up() {
    let mut events = Vec::new();
    for index in 0..3000u64 {
        let mut story = Story::v4();
        story.wait(index * 1_000_000);
        story.tell(S, listener(Decision::Cookie, Bound::SynQueue, 128, 128));
        let mut event = story.events()[0].clone();
        event.remote.set_port(1000 + index as u16);
        events.push(event);
    }
    assert_snapshot!(told(&events));
}

#[test]
fn timeouts_and_giving_up() {
    let mut story = Story::v4();
    story.open().standing(S, Mode::Open, 14_480);
    story.send(S, "PA", 1000, Cause::Data, false);
    story
        .wait(40_000_000)
        .tell(S, What::Timer(Timer::LossProbe));
    story.segment(S, "PA", 9001, 1000, Cause::LossProbe, false);
    for backoff in [1, 2, 4] {
        story
            .wait(backoff * 204_000_000)
            .tell(S, What::Timer(Timer::Retransmit));
        story.segment(S, "PA", 9001, 1000, Cause::TimeoutRetransmit, false);
    }
    story
        .wait(1_600_000_000)
        .tell(S, What::Timer(Timer::Retransmit));
    story.state(S, Established, Close);
    assert_snapshot!(told(&story.seen_by(S)));
}

#[test]
fn windows_that_close() {
    let mut story = Story::v4();
    story.open().standing(S, Mode::Open, 14_480).data(5000);
    let closed = story.header(C, "A", 1001, 0);
    story.carry(C, closed, 0, Cause::Ack, true).wait(WAY);
    story.wait(300_000_000).tell(S, What::Timer(Timer::Persist));
    story
        .segment(S, "A", 14_000, 0, Cause::WindowProbe, true)
        .wait(WAY);
    let open = story.header(C, "A", 1001, 400);
    story.carry(C, open, 0, Cause::WindowUpdate, true).wait(WAY);
    assert_snapshot!("window_seen_by_the_sender", told(&story.seen_by(S)));
    assert_snapshot!("window_seen_by_the_receiver", told(&story.seen_by(C)));
}

#[test]
fn resets() {
    // Nobody listens.
    let mut story = Story::v4();
    story
        .state(C, Close, SynSent)
        .send(C, "S", 0, Cause::Syn, true)
        .wait(WAY);
    let header = Some(story.header(C, "S", 1000, 502));
    let no_socket = |header| {
        What::Drop(Drop {
            direction: Direction::In,
            reason: "NO_SOCKET".into(),
            header,
            payload: 0,
        })
    };
    story
        .tell(S, no_socket(header))
        .send(S, "RA", 0, Cause::Reset, true)
        .wait(WAY);
    story.state(C, SynSent, Close);
    assert_snapshot!("refused_at_the_client", told(&story.seen_by(C)));
    assert_snapshot!("refused_at_the_server", told(&story.seen_by(S)));
    // The client's program ends with data unread.
    let mut story = Story::v4();
    story
        .open()
        .data(5000)
        .send(C, "RA", 0, Cause::Reset, true)
        .wait(WAY);
    story
        .state(C, Established, Close)
        .state(S, Established, Close);
    assert_snapshot!("reset_at_the_client", told(&story.seen_by(C)));
    assert_snapshot!("reset_at_the_server", told(&story.seen_by(S)));
}

#[test]
fn nobody_answers() {
    let mut story = Story::v4();
    story
        .state(C, Close, SynSent)
        .send(C, "S", 0, Cause::Syn, false);
    for _ in 0..2 {
        story
            .wait(1_000_000_000)
            .tell(C, What::Timer(Timer::Retransmit));
        story.segment(C, "S", 1000, 0, Cause::SynRetransmit, false);
    }
    story
        .wait(1_000_000_000)
        .tell(C, What::Timer(Timer::Retransmit))
        .state(C, SynSent, Close);
    assert_snapshot!(told(&story.seen_by(C)));
}

#[test]
fn keepalive_and_drops() {
    let mut story = Story::v4();
    story.open();
    for _ in 0..3 {
        let reason = "TCP_RFC7323_PAWS".to_string();
        story.wait(1000).tell(
            S,
            What::Drop(Drop {
                direction: Direction::In,
                reason,
                header: None,
                payload: 10,
            }),
        );
    }
    story
        .wait(2_000_000_000)
        .tell(S, What::Timer(Timer::Keepalive));
    story.segment(S, "A", 9000, 0, Cause::Keepalive, false);
    story
        .wait(75_000_000_000)
        .tell(S, What::Timer(Timer::Keepalive))
        .state(S, Established, Close);
    assert_snapshot!(told(&story.seen_by(S)));
}

/// Bulk data is told in sums, by the second.
#[test]
fn bulk() {
    let mut story = Story::v4();
    story.open();
    for _ in 0..60 {
        story.data(20_272);
    }
    let text = told(&story.seen_by(S));
    assert!(text.contains("The server sent 1"), "{text}");
    assert!(text.lines().count() < 8, "{text}");
    assert_snapshot!(text);
}

/// Whatever comes in whatever order, there is no panic, and memory stays bounded.
#[test]
fn anything_goes() {
    let mut story = Story::v6();
    story.open().data(5000).lose_and_repair(1448).close();
    let mut events = story.events().to_vec();
    events.reverse();
    assert!(!told(&events).is_empty());
    let mut narrator = Narrator::default();
    for port in 0..200_000u32 {
        let mut event = events[(port % 30) as usize].clone();
        event.remote.set_port((port % 65_535) as u16 + 1);
        event.netns = port / 65_535;
        narrator.event(&event);
    }
    assert!(narrator.talks.len() <= MOST_TALKS);
}
