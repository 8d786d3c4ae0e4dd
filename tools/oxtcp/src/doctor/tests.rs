// SPDX-License-Identifier: GPL-2.0
//! Each check sees what it is for, and nothing on a system that is well.

use super::*;
use crate::doctor::{report, Module, Widths};
use crate::output::Painter;
use crate::sockets::info::Info;
use crate::sockets::process::Owners;

/// The defaults, and no socket.
pub fn well() -> Facts {
    let settings = crate::settings::table::SETTINGS.iter();
    Facts {
        settings: settings
            .map(|setting| (setting.name.to_string(), setting.default()))
            .collect(),
        module: env!("CARGO_PKG_VERSION").into(),
        sockets: Vec::new(),
        owners: Owners::default(),
        builtin: Vec::new(),
        port_range: Some((32768, 60999)),
        core_somaxconn: Some(4096),
        conntrack: Some((10, 65536)),
        close_wait_ms: 60_000,
        under_attack: crate::doctor::facts::under_attack(&crate::host::Host::at(
            std::path::Path::new("/nonexistent"),
        )),
        library: Ok("/usr/lib/oxtcp/liboxtcp_preload.so".into()),
    }
}

/// A socket of which only that is known.
pub fn socket(state: State, local: &str, remote: &str, inode: u64) -> Socket {
    Socket {
        state,
        local: local.parse().unwrap(),
        remote: remote.parse().unwrap(),
        recv_queue: 0,
        send_queue: 0,
        timer: Timer::Off,
        timer_ms: 0,
        retransmits: 0,
        uid: 0,
        inode,
        figures: None,
        info: None,
        algorithm: None,
        queues: None,
        memory: None,
        identity: None,
    }
}

/// What all the checks find.
pub fn found(facts: &Facts) -> Vec<(Severity, &'static str)> {
    all(facts)
        .iter()
        .map(|finding| (finding.severity, finding.name))
        .collect()
}

/// A listener, of a module that does not tell of its queues.
pub fn listener(backlog: u32, waiting: u32) -> Socket {
    let mut listener = socket(State::Listen, "0.0.0.0:80", "0.0.0.0:0", 1);
    listener.recv_queue = waiting;
    listener.info = Some(Box::new(Info {
        unacked: waiting,
        sacked: backlog,
        ..Info::default()
    }));
    listener
}

#[test]
fn nothing_on_a_system_that_is_well() {
    let mut facts = well();
    assert_eq!(found(&facts), []);
    facts.sockets.push(listener(128, 3));
    facts.sockets.push(socket(
        State::Established,
        "127.0.0.1:80",
        "127.0.0.1:40000",
        2,
    ));
    for number in 0..10 {
        facts.sockets.push(socket(
            State::SynRecv,
            "127.0.0.1:80",
            &format!("127.0.0.1:{}", 41000 + number),
            0,
        ));
        facts.sockets.push(socket(
            State::TimeWait,
            "127.0.0.1:80",
            &format!("127.0.0.1:{}", 42000 + number),
            0,
        ));
    }
    assert_eq!(found(&facts), []);
}

#[test]
fn close_wait_of_a_minute() {
    let mut facts = well();
    for (inode, age) in [(5, 61_000), (6, 59_000)] {
        let remote = format!("127.0.0.1:{}", 40000 + inode);
        let mut socket = socket(State::CloseWait, "127.0.0.1:80", &remote, inode);
        socket.info = Some(Box::new(Info {
            last_ack_recv_ms: age,
            ..Info::default()
        }));
        facts.sockets.push(socket);
    }
    assert_eq!(found(&facts), [(Severity::Warning, "close-wait")]);
    let finding = &close_wait(&facts)[0];
    assert!(
        finding.title.contains("1 connection that"),
        "{}",
        finding.title
    );
    assert!(
        finding.evidence[0].contains("at least 61 s"),
        "{:?}",
        finding.evidence
    );
    for socket in &mut facts.sockets {
        socket.info = None;
    }
    assert_eq!(found(&facts), [(Severity::Note, "close-wait")]);
}

/// So many connections of a program that their other sides closed so long ago, in milliseconds, with so many bytes unread.
fn unclosed_of(facts: &mut Facts, program: &str, number: u64, age: u32, unread: u32) {
    for _ in 0..number {
        let inode = 100 + facts.sockets.len() as u64;
        let remote = format!("192.0.2.2:{}", 40000 + inode);
        let mut socket = socket(State::CloseWait, "192.0.2.1:8003", &remote, inode);
        socket.recv_queue = unread;
        socket.info = Some(Box::new(Info {
            last_ack_recv_ms: age,
            ..Info::default()
        }));
        facts.sockets.push(socket);
        facts.owners.add(inode, 144, program);
    }
}

#[test]
fn many_in_close_wait_are_noted_before_they_are_a_leak() {
    let mut facts = well();
    unclosed_of(&mut facts, "chat", 9, 5999, 5);
    assert_eq!(found(&facts), []);
    unclosed_of(&mut facts, "shop", 1, 5999, 5);
    assert_eq!(found(&facts), [], "of two programs");
    unclosed_of(&mut facts, "chat", 1, 2000, 5);
    assert_eq!(found(&facts), [(Severity::Note, "close-wait")]);
    let note = close_wait(&facts).remove(0);
    assert_eq!(
        note.title,
        "chat (144) has 10 connections that the other side closed, the first of them 5 s ago: from 60 s on they are a leak"
    );
    assert!(
        note.evidence[0].ends_with("at least 5 s, 5 bytes unread"),
        "{note:?}"
    );
    // What leaks already is said, and not the rest of that program.
    facts.close_wait_ms = 3000;
    assert_eq!(
        found(&facts),
        [
            (Severity::Warning, "close-wait"),
            (Severity::Warning, "close-wait")
        ]
    );
    let leaks = close_wait(&facts);
    assert!(
        leaks[0].title.starts_with("chat (144) does not close 9 "),
        "{leaks:?}"
    );
}

#[test]
fn leaks_are_mended_by_what_is_seen_of_them() {
    for (program, unread, cause, kill) in [
        (
            "chat",
            5,
            "Mend the program: it does not read what has come",
            "At once: oxtcp kill state close-wait process chat, which",
        ),
        (
            "chat",
            0,
            "Mend the program: when read() returns 0",
            "close-wait process chat, which",
        ),
        // A name that a shell would take apart.
        ("a b;c", 0, "when read()", "close-wait sport = :8003, which"),
    ] {
        let mut facts = well();
        unclosed_of(&mut facts, program, 2, 70_000, unread);
        let mend = close_wait(&facts).remove(0).mend;
        assert!(mend.contains(cause) && mend.contains(kill), "{mend}");
    }
}

/// What a person reads, on a terminal of 80 columns: nothing is wider, and notes alone are not taken for the answer.
#[test]
fn reports_of_80_columns() {
    let plain = Painter::new(crate::output::Color::Never);
    let module = Module {
        family: Some(19),
        kernel: "7.2.12+deb13-cloud-amd64".into(),
    };
    let mut facts = well();
    facts.module = "0.1.0".into();
    facts.sockets.push(socket(
        State::Established,
        "192.0.2.1:8001",
        "192.0.2.2:40000",
        3,
    ));
    let (prose, lines) = (80, 80);
    let widths = Widths { prose, lines };
    let text = |facts: &Facts| report(&module, facts, &all(facts), plain, widths);
    let mut reports = text(&facts);
    unclosed_of(&mut facts, "chat", 40, 5000, 5);
    reports += &format!("{0}\n{1}{0}\n", "=".repeat(80), text(&facts));
    facts.close_wait_ms = 5000;
    reports += &text(&facts);
    let wide: Vec<&str> = reports
        .lines()
        .filter(|line| line.chars().count() > 80)
        .collect();
    assert_eq!(wide, [""; 0]);
    insta::assert_snapshot!(reports.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

#[test]
fn lists_that_are_full() {
    let mut facts = well();
    facts.settings.insert("max_tw_buckets".into(), "10".into());
    facts.settings.insert("max_orphans".into(), "10".into());
    for n in 0..8 {
        facts.sockets.push(socket(
            State::TimeWait,
            "127.0.0.1:80",
            &format!("127.0.0.1:{}", 100 + n),
            0,
        ));
        facts.sockets.push(socket(
            State::LastAck,
            "127.0.0.1:80",
            &format!("127.0.0.1:{}", 200 + n),
            0,
        ));
    }
    assert_eq!(
        found(&facts),
        [
            (Severity::Warning, "orphans"),
            (Severity::Note, "time-wait")
        ]
    );
    facts.conntrack = Some((65000, 65536));
    facts.port_range = Some((40000, 40009));
    for n in 0..9 {
        facts.sockets.push(socket(
            State::Established,
            &format!("127.0.0.1:{}", 40000 + n),
            "127.0.0.1:80",
            9 + n,
        ));
    }
    assert_eq!(
        found(&facts),
        [
            (Severity::Warning, "orphans"),
            (Severity::Warning, "ports"),
            (Severity::Warning, "conntrack"),
            (Severity::Note, "time-wait")
        ]
    );
}

#[test]
fn peers_that_do_not_answer() {
    let mut facts = well();
    let mut silent = socket(State::Established, "127.0.0.1:80", "127.0.0.1:1", 3);
    (silent.timer, silent.retransmits) = (Timer::On, 3);
    let mut shut = silent.clone();
    shut.timer = Timer::Persist;
    facts.sockets.extend([silent, shut]);
    assert_eq!(
        found(&facts),
        [
            (Severity::Warning, "retransmitting"),
            (Severity::Warning, "zero-window")
        ]
    );
}

#[test]
fn connections_that_lose() {
    let mut facts = well();
    let lossy = |resent: u64, segments: u32| {
        let mut socket = socket(State::Established, "127.0.0.1:80", "127.0.0.1:1", 3);
        socket.info = Some(Box::new(Info {
            bytes_sent: 1_000_000,
            bytes_retrans: resent,
            total_retrans: segments,
            rtt_us: 20_000,
            snd_cwnd: 10,
            ..Info::default()
        }));
        socket
    };
    facts
        .sockets
        .extend([lossy(9_999, 100), lossy(900_000, 19)]);
    assert_eq!(found(&facts), []);
    facts.sockets.extend([lossy(12_300, 20), lossy(45_600, 99)]);
    assert_eq!(found(&facts), [(Severity::Warning, "losses")]);
    let finding = losses(&facts).remove(0);
    assert!(
        finding.title.starts_with("there are 2 connections"),
        "{}",
        finding.title
    );
    assert!(
        finding.evidence[0]
            .contains("4.5 % of 1.0 MB, in 99 segments; round trip 20 ms, window 10 segments"),
        "{:?}",
        finding.evidence
    );
    assert!(
        finding
            .mend
            .starts_with("What happens to the worst, in sentences: oxtcp trace --explain --duration 10 dst 127.0.0.1:1. Where"),
        "{}",
        finding.mend
    );
    // The brackets are not the shell's.
    facts.sockets.truncate(3);
    facts.sockets[2].remote = "[2001:db8::2]:5000".parse().unwrap();
    let mend = losses(&facts).remove(0).mend;
    assert!(
        mend.contains("to it, in") && mend.contains(" dst '[2001:db8::2]:5000'. Look"),
        "{mend}"
    );
}

#[test]
fn settings_that_do_harm() {
    for (name, value, severity) in [
        ("rmem", "4096 131072 65536", Severity::Warning),
        ("rto_min_us", "200000000", Severity::Warning),
        ("rto_min_us", "5000", Severity::Note),
        ("sack", "0", Severity::Note),
        ("timestamps", "0", Severity::Note),
        ("abort_on_overflow", "1", Severity::Note),
        ("somaxconn", "65536", Severity::Note),
        ("challenge_ack_limit", "1000", Severity::Note),
        ("retries2", "7", Severity::Note),
    ] {
        let mut facts = well();
        facts.settings.insert(name.into(), value.into());
        assert_eq!(found(&facts), [(severity, "settings")], "{name}");
    }
}

#[test]
fn keepalive_counts_for_connections_to_others() {
    let mut facts = well();
    facts
        .sockets
        .push(socket(State::Established, "192.0.2.1:80", "192.0.2.2:1", 3));
    assert_eq!(found(&facts), [(Severity::Note, "keepalive")]);
    facts.settings.insert("keepalive_time".into(), "120".into());
    assert_eq!(found(&facts), []);
}

#[test]
fn other_versions_and_no_library() {
    let mut facts = well();
    facts.settings.remove("sack");
    facts.settings.insert("new_thing".into(), "1".into());
    facts.library = Err("cannot find it".into());
    assert_eq!(
        found(&facts),
        [(Severity::Note, "versions"), (Severity::Note, "library")]
    );
    let evidence = versions(&facts).remove(0).evidence;
    assert!(
        evidence[0].contains("sack") && evidence[1].contains("new_thing"),
        "{evidence:?}"
    );
    for (module, said) in [("", "tells none"), ("9.9.9", "the module 9.9.9")] {
        let mut facts = well();
        facts.module = module.into();
        let evidence = versions(&facts).remove(0).evidence;
        assert!(evidence[0].contains(said), "{evidence:?}");
    }
}
