// SPDX-License-Identifier: GPL-2.0

//! Does the runner see what a script states? Scripts of a few lines, and what is said about each.

use std::path::Path;

use oxtcp_conformance::engine::Engine;
use oxtcp_conformance::mutate::{mutants, sample};
use oxtcp_conformance::run::{run, IpVersion, Settings, Verdict, WHEEL_SHARE};
use oxtcp_conformance::script::{parse, Script};

/// A handshake, passively: 100 bytes can follow.
const SERVER: &str = "
    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
   +0 setsockopt(3, SOL_SOCKET, SO_REUSEADDR, [1], 4) = 0
   +0 bind(3, ..., ...) = 0
   +0 listen(3, 1) = 0
   +0 < S 0:0(0) win 32792 <mss 1000,sackOK,TS val 7 ecr 0,nop,wscale 7>
   +0 > S. 0:0(0) ack 1 <mss 1460,sackOK,TS val 100 ecr 7,nop,wscale 7>
 +.01 < . 1:1(0) ack 1 win 257 <nop,nop,TS val 8 ecr 100>
   +0 accept(3, ..., ...) = 4
";

fn script(text: &str) -> (Script, Settings) {
    let mut settings = Settings::new(IpVersion::V4);
    let script = parse(text, &settings.defines).unwrap_or_else(|error| panic!("{error}"));
    settings.apply(&script).unwrap();
    (script, settings)
}

fn run_script(script: &Script, settings: &Settings) -> Verdict {
    let mut engine = Engine::new(settings.version);
    run(script, Path::new("/nowhere"), settings, &mut engine)
}

/// What is said about a script.
fn verdict(text: &str) -> String {
    let (script, settings) = script(text);
    match run_script(&script, &settings) {
        Verdict::Pass { unread } => format!("pass, {unread} unread"),
        Verdict::Fail(failure) => format!("line {}: {}", failure.line, failure.what),
    }
}

/// What is said about a connection on which `lines` follow.
fn server(lines: &str) -> String {
    verdict(&format!("{SERVER}{lines}"))
}

const WRITE: &str = "+0 write(4, ..., 100) = 100
    +0 > P. 1:101(100) ack 1 <nop,nop,TS val 110 ecr 8>
    +.02 < . 1:1(0) ack 101 win 257 <nop,nop,TS val 9 ecr 110>
    ";

#[test]
fn what_is_so_passes() {
    assert_eq!(server(""), "pass, 0 unread");
    assert_eq!(server(WRITE), "pass, 0 unread");
    let close = "+0 close(4) = 0
        * > F. 101:101(0) ack 1 <...>";
    assert_eq!(server(&format!("{WRITE}{close}")), "pass, 0 unread");
    // What comes after the last packet that is stated.
    assert_eq!(server("+0 write(4, ..., 100) = 100"), "pass, 1 unread");
}

#[test]
fn a_segment_that_differs_is_shown() {
    let table = [
        ("+0 > P. 2:102(100) ack 1 <...>", "sequence number"),
        ("+0 > P. 1:100(99) ack 1 <...>", "length"),
        // The rest never comes; the segment comes again.
        ("+0 > P. 1:102(101) ack 1 <...>", "`P. 1:101(100)"),
        ("+0 > P. 1:101(100) ack 2 <...>", "acknowledgment"),
        ("+0 > . 1:101(100) ack 1 <...>", "flags"),
        ("+0 > FP. 1:101(100) ack 1 <...>", "flags"),
        ("+0 > P.2 1:101(100) ack 1 <...>", "ACE"),
        ("+0 > [ect0] P. 1:101(100) ack 1 <...>", "ECN"),
        ("+0 > P. 1:101(100) ack 1 win 1 <...>", "window"),
        ("+0 > P. 1:101(100) ack 1 urg 1 <...>", "urgent pointer"),
        ("+0 > P. 1:101(100) ack 1", "options"),
        (
            "+0 > P. 1:101(100) ack 1 <nop,nop,TS val 110 ecr 9>",
            "TS ecr",
        ),
        (
            "+0 > P. 1:101(100) ack 1 <TS val 110 ecr 8,nop,nop>",
            "options",
        ),
        (
            "+0 > P. 1:101(100) ack 1 <nop,nop,TS val 1 ecr 8,sackOK>",
            "options",
        ),
    ];
    for (line, what) in table {
        let said = server(&format!("+0 write(4, ..., 100) = 100\n{line}"));
        assert!(
            said.starts_with(&format!("line 11: {what}")),
            "{line}: {said}"
        );
    }
}

#[test]
fn a_timestamp_is_judged_where_the_script_says_how() {
    let with = |val: u32| {
        let lines = format!(
            "+1 write(4, ..., 100) = 100\n+0 > P. 1:101(100) ack 1 <nop,nop,TS val {val} ecr 8>"
        );
        (
            server(&lines),
            verdict(&format!("--tcp_ts_tick_usecs=1000\n{SERVER}{lines}")),
        )
    };
    let pass = "pass, 0 unread".to_string();
    assert_eq!(with(1110), (pass.clone(), pass.clone()));
    assert_eq!(with(1113), (pass.clone(), pass.clone()));
    let (unjudged, judged) = with(1115);
    assert_eq!(unjudged, pass);
    assert!(judged.starts_with("line 12: TS val"), "{judged}");
}

#[test]
fn time_is_judged() {
    let write = "+0 write(4, ..., 100) = 100\n";
    let table = [
        ("+.003 > P. 1:101(100) ack 1 <...>", "pass, 0 unread"),
        (
            "+.005 > P. 1:101(100) ack 1 <...>",
            "line 11: too early: `P. 1:101(100)",
        ),
        (
            "+.005~+.010 > P. 1:101(100) ack 1 <...>",
            "line 11: too early",
        ),
        ("* > P. 1:101(100) ack 1 <...>", "pass, 0 unread"),
        (".5 > P. 1:101(100) ack 1 <...>", "line 11: too early"),
        (
            "+0 > P. 1:101(100) ack 1 <...>\n+0 > P. 1:101(100) ack 1 <...>",
            "line 12: too late",
        ),
        (
            "+0 > P. 1:101(100) ack 1 <...>\n+0 > P. 101:201(100) ack 1 <...>",
            "line 12: sequence",
        ),
        (
            "+0 < . 1:1(0) ack 1 win 9 <nop,nop,TS val 9 ecr 4>",
            "line 11: TS ecr 4, which",
        ),
    ];
    for (lines, expected) in table {
        let said = server(&format!("{write}{lines}"));
        assert!(said.starts_with(expected), "{lines}: {said}");
    }
    // Nothing is sent at all.
    let said = server("+0 > . 1:1(0) ack 1 <...>");
    assert!(
        said.starts_with("line 10: missing: `. 1:1(0) ack 1"),
        "{said}"
    );
}

#[test]
fn calls_are_judged() {
    let table = [
        (
            "+0 write(4, ..., 100) = 99",
            "write() returns 100, expected 99",
        ),
        (
            "+0 read(3, ..., 1) = 0",
            "read() returns -1 ENOTCONN, expected 0",
        ),
        (
            "+0 read(3, ..., 1) = -1 EPIPE (x)",
            "read() returns -1 ENOTCONN, expected -1 EPIPE",
        ),
        ("+0 read(4, ..., 1) = 1", "read() blocks"),
        (
            "+0 ioctl(4, SIOCINQ, [1]) = 0",
            "ioctl() gives 0, expected 1",
        ),
        (
            "+0 getsockopt(4, SOL_SOCKET, SO_ERROR, [1], [4]) = 0",
            "getsockopt() gives 0, expected 1",
        ),
        ("+0 frob(4) = 0", "frob() with these 1 arguments is unknown"),
        ("+0 close(5) = 0", "descriptor 5 is not open"),
        (
            "+0 setsockopt(4, SOL_TCP, TCP_NEW, [1], 4) = 0",
            "`TCP_NEW` is unknown",
        ),
        ("+0 `reboot`", "the command `reboot` is unknown"),
        (
            "+0 `sysctl -q net.ipv4.tcp_new=1`",
            "sysctl tcp_new=1 has no counterpart",
        ),
        (
            "+0 `nstat | grep TcpExtNew > /dev/null`",
            "the counter TcpExtNew",
        ),
        (
            "+0 %{ assert tcpi_snd_cwnd == 11 }%",
            "tcpi_snd_cwnd is 10; expected tcpi_snd_cwnd == 11",
        ),
        ("+0 %{ assert tcpi_new == 11 }%", "nothing tells tcpi_new"),
    ];
    for (line, expected) in table {
        assert_eq!(server(line), format!("line 10: {expected}"), "{line}");
    }
}

#[test]
fn calls_that_block_must_end_in_time() {
    let read = |end: &str| {
        server(&format!(
            "+0...{end} read(4, ..., 50) = 50
            +.1 < P. 1:51(50) ack 1 win 257 <nop,nop,TS val 9 ecr 100>
            +0 close(4) = 0"
        ))
    };
    assert_eq!(read("0.100"), "pass, 2 unread");
    assert_eq!(
        read("0.110"),
        "line 10: read() returns at 0.110000 s, expected at 0.120000 s"
    );
    assert_eq!(
        server("+0...0.1 read(4, ..., 50) = 50"),
        "line 10: read() still blocks at 2.110000 s"
    );
}

#[test]
fn every_mutant_is_noticed() {
    let lines = format!(
        "{WRITE}+0 < P. 1:1001(1000) ack 101 win 257 <nop,nop,TS val 10 ecr 110>
        +0 > . 101:101(0) ack 1001 <nop,nop,TS val 130 ecr 10>
        +0 ioctl(4, SIOCINQ, [1000]) = 0
        +0 read(4, ..., 2000) = 1000
        +0 %{{ assert tcpi_snd_cwnd == 10 }}%
        +0 read(3, ..., 1) = -1 ENOTCONN (Transport endpoint is not connected)
        +0 close(4) = 0
        +0~+.04 > F. 101:101(0) ack 1001 <nop,nop,TS val 130 ecr 10>"
    );
    let (script, settings) = script(&format!("{SERVER}{lines}"));
    let verdict = run_script(&script, &settings);
    assert_eq!(verdict, Verdict::Pass { unread: 0 });
    let mut count = 0;
    for mutant in mutants(&script, &settings) {
        let passes = matches!(run_script(&mutant.script, &settings), Verdict::Pass { .. });
        assert!(
            !passes || mutant.equivalent.is_some(),
            "line {}: {}",
            mutant.line,
            mutant.what
        );
        count += usize::from(!passes);
    }
    assert!(count > 120, "{count}");
}

#[test]
fn a_sample_of_mutants_is_always_the_same() {
    let (script, settings) = script(&format!("{SERVER}{WRITE}"));
    let all = || mutants(&script, &settings);
    let names = |name: &str, count| -> Vec<String> {
        let sample = sample(all(), name, count);
        sample
            .iter()
            .map(|mutant| format!("{}: {}", mutant.line, mutant.what))
            .collect()
    };
    assert_eq!(names("a", 5), names("a", 5));
    assert_ne!(names("a", 5), names("b", 5));
    assert_eq!(names("a", 5).len(), 5);
    assert_eq!(names("a", 100_000).len(), all().len());
}

#[test]
fn a_share_of_the_time_before_is_tolerated_where_timers_are_coarse() {
    let (_, mut settings) = script(SERVER);
    assert_eq!(settings.tolerance_of(1_000_000), 4000);
    settings.tolerance_share = WHEEL_SHARE;
    assert_eq!(settings.tolerance_of(1_000_000), 125_000);
    assert_eq!(settings.tolerance_of(10_000), 4000);
    // A mutant of a time is beyond that, too.
    let lines = format!("{SERVER}+0 write(4, ..., 100) = 100\n+0 > P. 1:101(100) ack 1 <...>\n+.23~+.25 > P. 1:101(100) ack 1 <...>");
    let (script, _) = script(&lines);
    assert_eq!(run_script(&script, &settings), Verdict::Pass { unread: 0 });
    let moved = mutants(&script, &settings);
    let moved: Vec<_> = moved
        .iter()
        .filter(|mutant| mutant.what.starts_with("expected "))
        .collect();
    assert!(moved.len() >= 6);
    for mutant in moved {
        let verdict = run_script(&mutant.script, &settings);
        assert!(matches!(verdict, Verdict::Fail(_)), "{}", mutant.line);
    }
}
