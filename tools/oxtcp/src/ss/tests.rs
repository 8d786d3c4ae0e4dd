// SPDX-License-Identifier: GPL-2.0
//! Rows and JSON of a recorded table, and how large numbers of sockets are printed.

use clap::Parser;

use super::*;
use crate::sockets::procnet::tests::recorded;
use crate::sockets::procnet::ProcNet;
use crate::sockets::Source;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    arguments: Arguments,
}

fn arguments(line: &str) -> Arguments {
    Line::parse_from(std::iter::once("ss").chain(line.split_whitespace())).arguments
}

fn shown(line: &str) -> String {
    let (_folder, host) = recorded();
    let arguments = arguments(line);
    let filter = Filter::parse(&arguments.filter, &Services::default()).unwrap();
    let states = arguments.states(&filter);
    let listing = Listing {
        arguments: &arguments,
        services: Services::default(),
        owners: Owners::default(),
        painter: Painter::new(Color::Never),
    };
    let mut out = Vec::new();
    let mut rows = Rows::new(&listing);
    ProcNet::new(&host, !arguments.ipv6, !arguments.ipv4)
        .each(&mut |socket| {
            if states.contains(&socket.state) && filter.matches(&socket, &listing.owners) {
                rows.add(&mut out, listing.row(&socket)).unwrap();
            }
        })
        .unwrap();
    rows.end(&mut out).unwrap();
    String::from_utf8(out).unwrap()
}

#[test]
fn rows_of_a_recorded_table() {
    insta::assert_snapshot!(["-a", "-ao -H", "-ei state close-wait", "-l", "", "-6"]
        .map(|line| format!("oxtcp ss {line}\n{}", shown(line)))
        .join("\n"));
}

#[test]
fn json_of_a_socket() {
    let (_folder, host) = recorded();
    let arguments = arguments("--json -p");
    let listing = Listing {
        arguments: &arguments,
        services: Services::default(),
        owners: Owners::default(),
        painter: Painter::new(Color::Never),
    };
    let sockets = ProcNet::new(&host, true, true).all().unwrap();
    let listener = sockets
        .iter()
        .find(|socket| socket.state == State::Listen)
        .unwrap();
    let json = listing.json(listener);
    assert_eq!(json["state"], "listening");
    assert_eq!(json["local"]["port"], 8080);
    assert_eq!(json["timer"]["name"], "off");
    assert_eq!(json["processes"], json!([]));
    assert_eq!(json["info"], serde_json::Value::Null);
}

/// A listener, where the module tells of its queues.
#[test]
fn queues_of_a_listener() {
    let arguments = arguments("-lni");
    let listing = Listing {
        arguments: &arguments,
        services: Services::default(),
        owners: Owners::default(),
        painter: Painter::new(Color::Never),
    };
    let listener = crate::sockets::netlink::tests::recorded_listener();
    let below = listing.row(&listener).below.unwrap();
    assert!(below.contains("dropped:(accept_queue:4)"), "{below}");
    let info = &listing.json(&listener)["info"];
    assert_eq!((&info["waiting"], &info["backlog"]), (&json!(2), &json!(1)));
    assert_eq!(info["queues"]["dropped"]["accept_queue"], 4);
    assert_eq!(info["queues"]["accept_queue"]["setting"], "listen-backlog");
}

/// Rows behind the first thousand are printed as they come, in the columns of those.
#[test]
fn many_rows_are_not_kept() {
    let arguments = arguments("-n");
    let listing = Listing {
        arguments: &arguments,
        services: Services::default(),
        owners: Owners::default(),
        painter: Painter::new(Color::Never),
    };
    let row = |number: usize| Row {
        ink: None,
        cells: [
            "ESTAB".into(),
            number.to_string(),
            "0".into(),
            "a".into(),
            "b".into(),
        ],
        end: String::new(),
        below: None,
    };
    let mut out = Vec::new();
    let mut rows = Rows::new(&listing);
    for number in 0..LOOKED_AT + 500 {
        rows.add(&mut out, row(number)).unwrap();
        assert!(rows.kept.len() < LOOKED_AT);
    }
    rows.end(&mut out).unwrap();
    let text = String::from_utf8(out).unwrap();
    assert_eq!(text.lines().count(), 1 + LOOKED_AT + 500);
    let places: Vec<Option<usize>> = text.lines().skip(1).map(|line| line.find('b')).collect();
    assert!(places.iter().all(|place| *place == places[0]));
}

#[test]
fn times_as_ss_writes_them() {
    for (ms, text) in [
        (0, "0ms"),
        (990, "990ms"),
        (5250, "5.2sec"),
        (59_000, "59sec"),
        (60_000, "1min"),
        (119_000, "1min59sec"),
    ] {
        assert_eq!(time(ms), text);
    }
    for (micros, text) in [(0, "0"), (204_000, "204"), (1500, "1.5"), (70, "0.07")] {
        assert_eq!(millis(micros), text);
    }
}

#[test]
fn rates_as_ss_writes_them() {
    for (rate, text) in [
        (10, "80bps"),
        (1_250, "10.0kbps"),
        (1_562_500, "12.5Mbps"),
        (12_500_000_000, "100.0Gbps"),
    ] {
        assert_eq!(bits(rate), text);
    }
    let (_folder, host) = recorded();
    let sockets = ProcNet::new(&host, true, true).all().unwrap();
    let mut socket = sockets
        .into_iter()
        .find(|socket| socket.state == State::Established)
        .unwrap();
    socket.info = Some(Box::new(Info {
        pacing_rate: u64::MAX,
        max_pacing_rate: u64::MAX,
        delivery_rate: 1_562_500,
        app_limited: true,
        ..Info::default()
    }));
    let text = details(&socket);
    assert!(
        text.contains(" delivery_rate 12.5Mbps app_limited"),
        "{text}"
    );
    assert!(!text.contains("pacing_rate"), "{text}");
    let json = info_json(&socket, socket.info.as_ref().unwrap());
    assert_eq!(json["pacing_rate"], serde_json::Value::Null);
    assert_eq!(json["delivery_rate"], 1_562_500);
}

#[test]
fn default_states_are_those_of_ss() {
    let states = |line: &str| {
        let arguments = arguments(line);
        let filter = Filter::parse(&arguments.filter, &Services::default()).unwrap();
        arguments.states(&filter)
    };
    assert!(!states("").contains(&State::Listen) && !states("").contains(&State::SynRecv));
    assert_eq!(states("-l"), [State::Listen]);
    assert_eq!(states("-a").len(), 11);
    assert_eq!(states("-l state syn-recv"), [State::SynRecv]);
    assert_eq!(states("--summary").len(), 11);
}
