// SPDX-License-Identifier: GPL-2.0
//! Stories that are made up, told.

use insta::assert_snapshot;

use super::*;
use crate::ladder::flow::Side::{Client as C, Server as S};
use crate::sockets::limit::Limit;
use crate::sockets::State::*;
use crate::trace::event::{Bound, Cause, Decision, Direction, Drop, Mode, Timer};
use crate::trace::made::{Story, WAY};

/// What is said of the events, with the seconds since the first.
fn told(events: &[Event]) -> String {
    let begin = events[0].time;
    let mut narrator = Narrator::default();
    let mut sentences: Vec<Sentence> = Vec::new();
    for event in events {
        narrator.event(event);
        sentences.extend(narrator.ready(event.time));
    }
    let end = narrator.finish();
    sentences.extend(end.sentences);
    if events.is_sorted_by_key(|event| event.time) {
        assert!(sentences.is_sorted_by_key(|sentence| sentence.time));
    }
    let mut text = String::new();
    for sentence in &sentences {
        let seconds = sentence.time.saturating_sub(begin) as f64 / 1e9;
        text += &format!("{seconds:.3} {}\n", sentence.text);
    }
    for closing in &end.closing {
        text += &format!("{closing}\n");
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

/// A listener's word, of so many half-open connections out of 129.
fn with_half_open(decision: Decision, bound: Bound, half_open: u32) -> What {
    let What::Listener(told) = listener(decision, bound, 128, 128) else {
        panic!("no listener");
    };
    What::Listener(Listener {
        half_open,
        most_half_open: 129,
        syncookies: 0,
        ..told
    })
}

/// SYNs of forged senders, one in 5 ms: for the first there is room, for the others not. No peer has a line of its own for long, each half-open
/// connection ends once, and what the listener has said of a segment is not said again as a drop.
#[test]
fn floods_of_forged_senders_are_summed_up() {
    let mut events = Vec::new();
    let mut of_peer = |index: u64, at: u64, what: What| {
        let mut story = Story::v4();
        story.wait(at).tell(S, what);
        let mut event = story.events()[0].clone();
        event.remote.set_port(1000 + index as u16);
        if !matches!(event.what, What::Listener(_)) {
            event.cookie = 0;
        }
        events.push(event);
    };
    for index in 0..400u64 {
        let at = index * 5_000_000;
        let mut story = Story::v4();
        story.send(C, "S", 0, Cause::Syn, true);
        of_peer(index, at, story.seen_by(S)[0].what.clone());
        if index < 120 {
            let from = (Listen, SynRecv);
            of_peer(
                index,
                at + 1,
                What::State {
                    from: from.0,
                    to: from.1,
                },
            );
            let told = with_half_open(Decision::HalfOpen, Bound::None, 1 + index as u32);
            of_peer(index, at + 2, told);
            let end = at + 1_000_000_000;
            let (from, to) = (SynRecv, Close);
            of_peer(index, end, What::State { from, to });
            let told = with_half_open(Decision::Expired, Bound::None, 119);
            of_peer(index, end + 1, told);
        } else {
            let told = with_half_open(Decision::Dropped, Bound::SynQueue, 129);
            of_peer(index, at + 1, told);
            let drop = What::Drop(Drop {
                direction: Direction::In,
                reason: "TCP_LISTEN_OVERFLOW".into(),
                header: None,
                payload: 0,
            });
            of_peer(index, at + 2, drop);
        }
    }
    events.sort_by_key(|event| event.time);
    let text = told(&events);
    assert!(!text.contains("was dropped because"), "{text}");
    assert_snapshot!(text);
}

/// What is no listener's word is counted as well, of what has no socket.
#[test]
fn what_has_no_socket_is_counted() {
    let mut events = Vec::new();
    for index in 0..8u16 {
        let mut story = Story::v4();
        story.wait(u64::from(index) * 1_000_000);
        story.segment(S, "SA", 9000, 0, Cause::SynAckRetransmit, false);
        let mut event = story.events()[0].clone();
        event.remote.set_port(1000 + index);
        event.cookie = 0;
        events.push(event);
    }
    let text = told(&events);
    assert_eq!(text.lines().count(), 6, "{text}");
    let last = "0.007 The same 3 more times in 7.0 ms. Of the last: The SYN-ACK was not answered: it is sent again, the 1st time";
    assert!(text.lines().last().unwrap().starts_with(last), "{text}");
}

/// What is given up by the setting, and what by a queue that fills, and what nobody explains.
#[test]
fn half_open_connections_that_end() {
    for (name, again, half_open, explained) in [
        ("patience", 5, 20, true),
        ("fills", 1, 120, true),
        ("full", 0, 128, true),
        ("few_retries", 0, 100, true),
        ("unexplained", 1, 20, false),
    ] {
        let mut story = Story::v4();
        story.send(C, "S", 0, Cause::Syn, true).wait(WAY);
        story.state(S, Listen, SynRecv);
        story.tell(
            S,
            with_half_open(Decision::HalfOpen, Bound::None, half_open),
        );
        story.send(S, "SA", 0, Cause::SynAck, false);
        for time in 0..again {
            story.wait(1_000_000_000 << time);
            story.segment(S, "SA", 9000, 0, Cause::SynAckRetransmit, false);
        }
        story.wait(1_000_000_000 << again).state(S, SynRecv, Close);
        if explained {
            story.tell(S, with_half_open(Decision::Expired, Bound::None, half_open));
        }
        let mut events = story.seen_by(S);
        for event in &mut events {
            event.cookie = 0;
        }
        assert_snapshot!(format!("half_open_{name}"), told(&events));
    }
}

/// Of many connections that lost something the sum is told of each.
#[test]
fn sums_of_losses() {
    let mut narrator = Narrator::default();
    let mut story = Story::v4();
    story.open().data(100_000).lose_and_repair(1448);
    for port in [40001, 40002] {
        for event in story.seen_by(S) {
            let mut event = event.clone();
            event.remote.set_port(port);
            narrator.event(&event);
        }
    }
    let mut without = Story::v6();
    without.open().data(5000).close();
    without
        .seen_by(S)
        .iter()
        .for_each(|event| narrator.event(event));
    let end = narrator.finish();
    let texts: Vec<String> = end.closing.iter().map(ToString::to_string).collect();
    assert_eq!(
        texts,
        [
            "192.0.2.1:80 with 192.0.2.2:40001: 74 segments sent, 1 of them again (1.4 %).",
            "192.0.2.1:80 with 192.0.2.2:40002: 74 segments sent, 1 of them again (1.4 %).",
        ]
    );
    assert_eq!(end.closing[0].figures["segments_sent"], 74);
    assert_eq!(end.closing[0].figures["segments_sent_again"], 1);
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
