// SPDX-License-Identifier: GPL-2.0
//! What a screen says, and what keys do.

use ratatui::backend::TestBackend;
use ratatui::Terminal;

use super::*;
use crate::sockets::netlink::tests::recorded;
use crate::sockets::{Socket, State};

pub const SETTINGS: Settings = Settings {
    order: Order::Rate,
    paused: false,
    help: false,
    first: 0,
    seconds: 1.0,
    colors: false,
};

fn sample(at: Instant, sockets: Vec<Socket>, counters: &[(&str, u64)]) -> Sample {
    Sample {
        at,
        sockets,
        counters: counters
            .iter()
            .map(|(name, value)| ((*name).to_string(), *value))
            .collect(),
        max_syn_backlog: 4,
    }
}

/// Two seconds of the recorded sockets, in which one of them has sent and retransmitted.
fn two_looks() -> (Sample, Sample) {
    let start = Instant::now();
    let before = sample(
        start,
        recorded(),
        &[
            ("SyncookiesSent", 5),
            ("ListenDrops", 3),
            ("RetransSegs", 7),
            ("PassiveOpens", 1),
            ("ActiveOpens", 9),
        ],
    );
    let mut sockets = recorded();
    let busy = sockets
        .iter_mut()
        .find(|socket| socket.remote.port() == 8081 && socket.state == State::Established)
        .unwrap();
    let info = busy.info.as_mut().unwrap();
    info.bytes_acked += 3_000_000;
    info.bytes_received += 500;
    info.total_retrans += 4;
    let now = sample(
        start + Duration::from_secs(2),
        sockets,
        &[
            ("SyncookiesSent", 4005),
            ("ListenDrops", 3),
            ("RetransSegs", 11),
            ("PassiveOpens", 301),
            ("ActiveOpens", 9),
        ],
    );
    (before, now)
}

fn screen(view: &View, settings: &Settings, width: u16, height: u16) -> String {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal
        .draw(|frame| draw::draw(frame, view, settings, "oxtcp top"))
        .unwrap();
    terminal.backend().to_string()
}

#[test]
fn rates_are_between_two_looks() {
    let (before, now) = two_looks();
    let owners = Owners::default();
    let view = View::between(Some(&before), &now, &owners, Order::Rate);
    let first = &view.connections[0];
    assert_eq!((first.out, first.came), (1_500_000.0, 250.0));
    assert_eq!(first.retransmitted, (4, 4));
    assert_eq!((view.out, view.retransmitted), (1_500_000.0, 2.0));
    assert_eq!(view.opened, 150.0);
    let events: Vec<(&str, f64)> = view
        .events
        .iter()
        .map(|event| (event.name.as_str(), event.per_second))
        .collect();
    let expected = [
        ("SyncookiesSent", 2000.0),
        ("PassiveOpens", 150.0),
        ("RetransSegs", 2.0),
    ];
    assert_eq!(events, expected);
    // The listener of port 8080 has the smaller bound of the two for half-open connections.
    let bounds: Vec<(u16, usize, usize)> = view
        .listeners
        .iter()
        .map(|l| (l.local.port(), l.accept.most, l.half_open.most))
        .collect();
    assert_eq!(bounds, [(8080, 6, 4), (8081, 7, 4)]);

    let alone = View::between(None, &now, &owners, Order::Rate);
    assert_eq!((alone.out, alone.events.len()), (0.0, 0));
    // What is new since the last look has all that it has from then.
    let none = sample(before.at, Vec::new(), &[]);
    let new = View::between(Some(&none), &now, &owners, Order::Rate);
    assert!(new.came > 0.0);
}

/// A sum of nothing is no negative nothing.
#[test]
fn nothing_is_not_negative() {
    let (before, now) = two_looks();
    let [before, now] = [before, now].map(|look| sample(look.at, Vec::new(), &[]));
    let view = View::between(Some(&before), &now, &Owners::default(), Order::Rate);
    let screen = screen(&view, &SETTINGS, 80, 24);
    assert!(screen.contains("out 0 B/s  in 0 B/s"), "{screen}");
}

/// Whose a connection and a listener are is to be seen on the narrowest screen.
#[test]
fn processes_are_there_at_80_columns() {
    let (before, now) = two_looks();
    let mut view = View::between(Some(&before), &now, &Owners::default(), Order::Rate);
    for connection in &mut view.connections {
        connection.local = "198.51.100.1:8002".parse().unwrap();
        connection.remote = "198.51.100.2:45678".parse().unwrap();
        connection.process = "postgres (144)".into();
    }
    for listener in &mut view.listeners {
        listener.process = "postgres (144)".into();
    }
    for (width, columns) in [
        (80, "LOCAL             PEER               STATE         OUT/s    RETR PROCESS"),
        (100, "LOCAL             PEER               STATE         OUT/s     IN/s  RTT ms    RETR PROCESS"),
    ] {
        let screen = screen(&view, &SETTINGS, width, 24);
        let lines = screen.lines().filter(|line| line.contains("postgres (144)"));
        assert_eq!(lines.count(), 8, "{screen}");
        assert!(screen.contains(columns) && screen.contains(" 198.51.100.2:45678 "), "{screen}");
    }
}

#[test]
fn orders() {
    let (before, now) = two_looks();
    let view = |order| View::between(Some(&before), &now, &Owners::default(), order);
    let queues = view(Order::Queues);
    assert_eq!(queues.connections[0].recv_queue, 1000);
    let retransmissions = view(Order::Retransmissions);
    assert_eq!(retransmissions.connections[0].retransmitted.0, 4);
    let rtts: Vec<u32> = view(Order::RoundTrip)
        .connections
        .iter()
        .map(|c| c.rtt_us)
        .collect();
    assert!(rtts.is_sorted_by(|a, b| a >= b), "{rtts:?}");
}

#[test]
fn heading_has_all_states() {
    let states = State::ALL.into_iter().map(|state| (state, 60_000));
    let view = View {
        states: states.collect(),
        ..View::default()
    };
    for (width, lines) in [(80, 4), (250, 2)] {
        let screen = screen(&view, &SETTINGS, width, 24);
        for (state, _) in &view.states {
            let state = format!("{} 60000", state.label());
            assert!(screen.contains(&state), "{screen}");
        }
        let at = screen.lines().position(|line| line.contains("opened/s"));
        assert_eq!(at, Some(lines - 1), "{screen}");
    }
}

/// On the smallest screen as well.
#[test]
fn heading_says_that_it_is_paused() {
    let paused = Settings {
        paused: true,
        ..SETTINGS
    };
    let view = View {
        out: 123_000_000.0,
        came: 123_000_000.0,
        opened: 12_345.0,
        retransmitted: 1234.5,
        ..View::default()
    };
    let screen = screen(&view, &paused, 80, 24);
    assert!(screen.contains("  paused"), "{screen}");
}

#[test]
fn screens() {
    let (before, now) = two_looks();
    let view = View::between(Some(&before), &now, &Owners::default(), Order::Rate);
    // Of a recorded kernel these are chance.
    let mut view = view;
    for connection in &mut view.connections {
        connection.rtt_us = 1234;
    }
    let help = Settings {
        help: true,
        ..SETTINGS
    };
    insta::assert_snapshot!([
        screen(&view, &SETTINGS, 130, 24),
        screen(&view, &SETTINGS, 80, 24),
        screen(&View::default(), &SETTINGS, 80, 16),
        screen(&view, &help, 80, 24),
    ]
    .join("\n"));
    // None is too small.
    for (width, height) in [(1, 1), (10, 3), (200, 1), (1, 60)] {
        screen(&view, &SETTINGS, width, height);
    }
}

#[test]
fn keys() {
    let (before, now) = two_looks();
    let mut watch = Watch {
        host: Host::here(),
        owners: Owners::default(),
        owners_at: None,
        before: Some(before),
        now: Some(now),
        view: View::default(),
        settings: SETTINGS,
        title: String::new(),
    };
    watch.update();
    let mut press = |code: KeyCode| {
        let wish = watch.wish(&Event::Key(KeyEvent::new(code, KeyModifiers::NONE)));
        (wish, watch.settings)
    };
    assert_eq!(press(KeyCode::Char('s')).0, Wish::Reorder);
    assert_eq!(press(KeyCode::Down).1.order, Order::Retransmissions);
    assert_eq!(press(KeyCode::PageDown).1.first, 5);
    assert_eq!(press(KeyCode::Up).1.first, 4);
    assert_eq!(press(KeyCode::Home).1.first, 0);
    assert!(press(KeyCode::Char('p')).1.paused);
    assert_eq!(press(KeyCode::Char('+')).1.seconds, 2.0);
    assert_eq!(press(KeyCode::Char('-')).1.seconds, 1.0);
    assert!(press(KeyCode::Char('?')).1.help);
    assert_eq!(press(KeyCode::Esc).0, Wish::Redraw);
    assert_eq!(press(KeyCode::Esc).0, Wish::End);
    assert_eq!(press(KeyCode::Char('q')).0, Wish::End);
    let interrupt = KeyEvent::new(KeyCode::Char('c'), KeyModifiers::CONTROL);
    assert_eq!(watch.wish(&Event::Key(interrupt)), Wish::End);
}

#[test]
fn delays() {
    assert_eq!(seconds("0.5"), Ok(0.5));
    for text in ["", "0", "-1", "NaN", "inf", "1e9", "x"] {
        assert!(seconds(text).is_err(), "{text}");
    }
}
