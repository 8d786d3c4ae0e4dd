// SPDX-License-Identifier: GPL-2.0
//! Each check sees what it is for, and nothing on a system that is well.

use super::*;
use crate::sockets::info::Info;
use crate::sockets::process::Owners;

/// The defaults, and no socket.
fn well() -> Facts {
    let settings = crate::settings::table::SETTINGS.iter();
    Facts {
        settings: settings
            .map(|setting| (setting.name.to_string(), setting.default()))
            .collect(),
        module: env!("CARGO_PKG_VERSION").into(),
        sockets: Vec::new(),
        owners: Owners::default(),
        port_range: Some((32768, 60999)),
        core_somaxconn: Some(4096),
        conntrack: Some((10, 65536)),
        close_wait_ms: 60_000,
        library: Ok("/usr/lib/oxtcp/liboxtcp_preload.so".into()),
    }
}

fn socket(state: State, local: &str, remote: &str, inode: u64) -> Socket {
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

fn found(facts: &Facts) -> Vec<(Severity, &'static str)> {
    let findings = CHECKS.iter().flat_map(|check| check(facts));
    findings
        .map(|finding| (finding.severity, finding.name))
        .collect()
}

fn listener(backlog: u32, waiting: u32) -> Socket {
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

#[test]
fn what_becomes_of_new_clients() {
    for (cookies, cache, said) in [
        ("1", "1", "are answered with cookies"),
        ("0", "1", "the oldest gives way"),
        ("0", "0", "new clients are dropped"),
    ] {
        let mut facts = well();
        facts.settings.insert("syncookies".into(), cookies.into());
        facts.settings.insert("syn_cache".into(), cache.into());
        let (severity, fate, _) = fate_of_syns(&facts, true);
        assert!(fate.contains(said), "{fate}");
        assert_eq!(severity == Severity::Problem, cookies == "0");
        assert_eq!(fate_of_syns(&facts, false).1, "");
    }
}

#[test]
fn half_open_connections_are_a_flood_by_their_bound() {
    for (backlog, number, expected) in [
        (Some(15), 16, Some(Severity::Problem)),
        (Some(16), 16, Some(Severity::Warning)),
        (Some(30), 16, Some(Severity::Warning)),
        (Some(128), 16, None),
        (Some(128), 65, Some(Severity::Warning)),
        (Some(100_000), 999, None),
        (Some(100_000), 1000, Some(Severity::Warning)),
        (None, 1000, Some(Severity::Warning)),
        (Some(5), 15, None),
    ] {
        let mut facts = well();
        facts.settings.insert("syncookies".into(), "0".into());
        let mut listener = listener(backlog.unwrap_or(0), 0);
        if backlog.is_none() {
            listener.info = None;
        }
        facts.sockets.push(listener);
        for n in 0..number {
            facts.sockets.push(socket(
                State::SynRecv,
                "192.0.2.1:80",
                &format!("198.51.{}.{}:1000", n / 250, n % 250),
                0,
            ));
        }
        let severities: Vec<Severity> = half_open(&facts)
            .iter()
            .map(|finding| finding.severity)
            .collect();
        assert_eq!(
            severities,
            expected.into_iter().collect::<Vec<_>>(),
            "{backlog:?} {number}"
        );
    }
}

#[test]
fn accept_queues_by_their_backlog() {
    for (backlog, waiting, expected) in [
        (5, 6, Some(Severity::Problem)),
        (5, 4, Some(Severity::Warning)),
        (5, 3, None),
        (0, 0, None),
        (0, 1, Some(Severity::Problem)),
        (4096, 4096, Some(Severity::Warning)),
    ] {
        let mut facts = well();
        facts.sockets.push(listener(backlog, waiting));
        let findings = accept_queue(&facts);
        assert_eq!(
            findings.first().map(|finding| finding.severity),
            expected,
            "{backlog} {waiting}"
        );
    }
}

/// Which setting bounds the backlog, and what raises it.
#[test]
fn accept_queues_by_their_limits() {
    for (backlog, ours, evidence, mend) in [
        (
            4096,
            "4096",
            "net.core.somaxconn and net.oxtcp.somaxconn (4096)",
            "sysctl net.core.somaxconn=16384 and oxtcp set somaxconn=16384, then",
        ),
        (
            4096,
            "65536",
            "net.core.somaxconn (4096)",
            "sysctl net.core.somaxconn=16384, then",
        ),
        (
            512,
            "512",
            "net.oxtcp.somaxconn (512)",
            "oxtcp set somaxconn=2048, then",
        ),
        (100, "4096", "what the program asked for", "Find out why"),
    ] {
        let mut facts = well();
        facts.settings.insert("somaxconn".into(), ours.into());
        facts.sockets.push(listener(backlog, backlog));
        let finding = accept_queue(&facts).remove(0);
        assert!(finding.evidence[1].contains(evidence), "{finding:?}");
        assert!(finding.mend.starts_with(mend), "{finding:?}");
    }
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
            (Severity::Note, "time-wait"),
            (Severity::Warning, "orphans")
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
            (Severity::Note, "time-wait"),
            (Severity::Warning, "orphans"),
            (Severity::Warning, "ports"),
            (Severity::Warning, "conntrack")
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
        finding.evidence[0].contains("4.5 % of 1000000 bytes, in 99 segments; round trip 20 ms"),
        "{:?}",
        finding.evidence
    );
}

#[test]
fn buffers_that_bound_the_speed() {
    let mut facts = well();
    let mut socket = socket(State::Established, "127.0.0.1:80", "127.0.0.1:1", 3);
    socket.info = Some(Box::new(Info {
        busy_us: 10_000_000,
        sndbuf_limited_us: 5_000_000,
        rwnd_limited_us: 1_000_000,
        ..Info::default()
    }));
    facts.sockets.push(socket);
    assert_eq!(found(&facts), [(Severity::Note, "send-buffer")]);
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
