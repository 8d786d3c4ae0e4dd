// SPDX-License-Identifier: GPL-2.0
//! `oxtcp counters --diff`, `--watch` and `oxtcp export` beside traffic of which it is known what it counts; and that all JSON is JSON.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::process::Stdio;

use oxtcp_selftests::ns::{self, Namespace};
use oxtcp_selftests::{listening, wait, Ip, Sock, Stack};

use crate::command::{
    by_nobody, every_command, json, of_line, oxtcp, python, refused, said, takes, Running,
};

/// A listener, and what has connected to it.
struct Meeting {
    stack: Stack,
    listener: Sock,
    address: SocketAddr,
    ends: Vec<(Sock, Sock)>,
}

impl Meeting {
    fn make(stack: Stack) -> Meeting {
        let (listener, address) = listening(stack, 64);
        Meeting {
            stack,
            listener,
            address,
            ends: Vec::new(),
        }
    }

    fn connect(&mut self, times: usize) {
        for _ in 0..times {
            let client = Sock::open(self.stack);
            client.connect(&self.address).expect("connect");
            self.ends
                .push((client, self.listener.accept().expect("accept").0));
        }
    }

    /// So many attempts at a port where nobody listens.
    fn refuse(&self, times: usize) {
        for _ in 0..times {
            let client = Sock::open(self.stack);
            client
                .connect(&self.stack.local(9))
                .expect_err("a connection");
        }
    }
}

/// The names and values of a table of two columns.
fn table(text: &str) -> BTreeMap<String, u64> {
    let rows = text.lines().skip(1).map(|line| {
        let mut words = line.split_whitespace();
        let (name, value) = (
            words.next().expect("a name"),
            words.next().expect("a value"),
        );
        (name.to_string(), value.parse().expect("a number"))
    });
    rows.collect()
}

fn named(pairs: &[(&str, u64)]) -> BTreeMap<String, u64> {
    let pairs = pairs.iter().map(|(name, value)| (name.to_string(), *value));
    pairs.collect()
}

pub fn diff__of_five_connections(stack: Stack) {
    ns::isolate();
    let mut meeting = Meeting::make(stack);
    meeting.connect(2);
    // The first one tells all.
    let diff = || {
        table(&oxtcp(
            "counters --diff --brief ActiveOpens PassiveOpens AttemptFails TW",
        ))
    };
    let all = |active, passive, fails, waits| {
        named(&[
            ("ActiveOpens", active),
            ("PassiveOpens", passive),
            ("AttemptFails", fails),
            ("TW", waits),
        ])
    };
    assert_eq!(diff(), all(2, 2, 0, 0));
    meeting.connect(5);
    assert_eq!(diff(), all(5, 5, 0, 0));
    assert_eq!(diff(), all(0, 0, 0, 0), "nothing since");
    assert_eq!(oxtcp("counters --diff"), "All are 0.\n");
    meeting.refuse(3);
    assert_eq!(diff(), all(3, 0, 3, 0));
    meeting.connect(1);
    // What is named last is what was counted between, whatever is shown.
    assert_eq!(
        json(
            "counters --diff --json",
            "(d['ActiveOpens']['value'], d['PassiveOpens']['value'], 'AttemptFails' in d)"
        ),
        "(1, 1, False)"
    );
    meeting.ends.drain(..).for_each(|(client, server)| {
        drop(client);
        assert_eq!(server.recv_to_end().len(), 0);
    });
    wait::until("eight TIME-WAITs", || {
        oxtcp("ss -Hn state time-wait").lines().count() == 8
    });
    assert_eq!(
        json(
            "counters --json --all",
            "(d['ActiveOpens']['value'], d['AttemptFails']['value'])"
        ),
        "(11, 3)"
    );
}

/// Each user and each namespace has its own, and a file that is broken is told.
pub fn diff__of_each_user() {
    let other = Namespace::enter_new();
    ns::isolate();
    let stack = Stack::ours(Ip::V4);
    let mut meeting = Meeting::make(stack);
    let folder = format!("/tmp/oxtcp-counted-{}", std::process::id());
    fs::create_dir(&folder).expect("a folder");
    std::os::unix::fs::chown(&folder, Some(65534), Some(65534)).expect("chown");
    let theirs = || {
        let mut command = by_nobody("counters --diff --brief ActiveOpens");
        let said = said(command.env("XDG_RUNTIME_DIR", &folder));
        assert_eq!(said.code, 0, "{}", said.err);
        table(&said.out)["ActiveOpens"]
    };
    let ours = || table(&oxtcp("counters --diff --brief ActiveOpens"))["ActiveOpens"];
    meeting.connect(4);
    assert_eq!(ours(), 4);
    meeting.connect(3);
    assert_eq!((theirs(), ours()), (7, 3));
    meeting.connect(1);
    assert_eq!((ours(), theirs()), (1, 1));
    let line = format!(
        "counters --diff --brief --netns {} ActiveOpens",
        other.path()
    );
    assert_eq!(table(&oxtcp(&line))["ActiveOpens"], 0);
    assert_eq!(ours(), 0);
    // Where there are several the test runs with a folder of its own, whose file is the only one.
    let kept = fs::read_dir(format!("{folder}/oxtcp")).expect("the folder");
    let kept: Vec<_> = kept.map(|entry| entry.expect("a file").path()).collect();
    assert_eq!(kept.len(), 1, "{kept:?}");
    fs::write(&kept[0], "{\"ActiveOpens\":").expect("the file");
    let mut command = of_line("counters --diff");
    let broken = said(command.env("XDG_RUNTIME_DIR", &folder));
    assert_eq!(
        (broken.code, broken.out.as_str()),
        (1, ""),
        "{}",
        broken.err
    );
    assert!(
        broken.err.contains("is damaged") && broken.err.contains("Remove it"),
        "{}",
        broken.err
    );
    fs::remove_dir_all(&folder).expect("the folder");
    refused("counters --diff NoSuch", 2, "there is no counter `NoSuch`");
}

/// Of what happens while it watches nothing is left out, and nothing told twice.
pub fn watch__counts_each_once(stack: Stack) {
    ns::isolate();
    let mut meeting = Meeting::make(stack);
    meeting.connect(2);
    let mut watch = Running(
        of_line("counters --watch 1 --json ActiveOpens PassiveOpens")
            .stdout(Stdio::piped())
            .spawn()
            .expect("oxtcp"),
    );
    let mut lines = BufReader::new(watch.0.stdout.take().expect("a pipe")).lines();
    let mut next = || {
        let line = lines.next().expect("a line").expect("text");
        let parsed = python(
            &line,
            "d = json.load(sys.stdin)\nprint(d['ActiveOpens'], d['PassiveOpens'], len(d))",
        )
        .unwrap_or_else(|| panic!("{line}"));
        let numbers = parsed
            .split(' ')
            .map(|word| word.parse().expect("a number"));
        <[u64; 3]>::try_from(numbers.collect::<Vec<u64>>()).expect("three")
    };
    assert_eq!(next(), [0, 0, 2], "what was before is not told");
    let mut sum = [0, 0];
    for number in [5, 3] {
        meeting.connect(number);
        while sum[0] < number as u64 {
            let [active, passive, _] = next();
            sum = [sum[0] + active, sum[1] + passive];
        }
        assert_eq!(next(), [0, 0, 2]);
        assert_eq!(sum, [number as u64; 2]);
        sum = [0, 0];
    }
    watch.interrupt();
    let status = watch.0.wait().expect("it ends");
    assert_eq!(status.signal(), Some(libc::SIGINT), "{status}");
    assert_eq!(oxtcp("counters --watch --times 2"), "nothing\nnothing\n");
    let text = oxtcp("counters --watch --times 1 ActiveOpens");
    let row: Vec<&str> = text
        .lines()
        .last()
        .expect("a row")
        .split_whitespace()
        .collect();
    assert_eq!(row, ["ActiveOpens", "0", "0.0"], "{text}");
}

/// What Prometheus's text format asks for, line by line
/// (<https://prometheus.io/docs/instrumenting/exposition_formats/>); the samples, by name and labels.
fn samples(text: &str) -> BTreeMap<String, f64> {
    let is_name = |name: &str| {
        let mut chars = name.chars();
        chars
            .next()
            .is_some_and(|char| char.is_ascii_alphabetic() || char == '_')
            && chars.all(|char| char.is_ascii_alphanumeric() || char == '_')
    };
    let mut samples = BTreeMap::new();
    let (mut told, mut typed) = (BTreeSet::new(), BTreeSet::new());
    // The metric whose lines stand together, and what it is.
    let mut at = (String::new(), String::new());
    assert!(text.ends_with('\n') && !text.contains('\r'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, words) = help.split_once(' ').expect(line);
            assert!(
                is_name(name) && !words.is_empty() && told.insert(name),
                "{line}"
            );
            at = (name.into(), String::new());
        } else if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').expect(line);
            assert!(
                name == at.0 && ["counter", "gauge"].contains(&kind) && typed.insert(name),
                "{line}"
            );
            assert_eq!(kind == "counter", name.ends_with("_total"), "{line}");
            at.1 = kind.into();
        } else {
            let (series, value) = line.rsplit_once(' ').expect(line);
            let (name, labels) = match series.split_once('{') {
                Some((name, labels)) => (name, labels.strip_suffix('}').expect(line)),
                None => (series, ""),
            };
            assert!(name == at.0 && !at.1.is_empty() && is_name(name), "{line}");
            for label in labels.split(',').filter(|label| !label.is_empty()) {
                let (key, value) = label.split_once('=').expect(line);
                let value = value
                    .strip_prefix('"')
                    .and_then(|value| value.strip_suffix('"'));
                assert!(
                    is_name(key) && value.is_some_and(|value| !value.contains(['"', '\\'])),
                    "{line}"
                );
            }
            let value = value.parse().expect(line);
            assert!(
                samples.insert(series.to_string(), value).is_none(),
                "{line} comes twice"
            );
        }
    }
    samples
}

pub fn export__is_well_formed(stack: Stack) {
    ns::isolate();
    let mut meeting = Meeting::make(stack);
    meeting.connect(5);
    meeting.refuse(2);
    // Two wait for accept(), one of them at a second listener with another address.
    let (second, address) = listening(stack, 4);
    let clients: Vec<Sock> = [meeting.address, address]
        .iter()
        .map(|address| {
            let client = Sock::open(stack);
            client.connect(address).expect("connect");
            client
        })
        .collect();
    let text = oxtcp("export");
    let all = samples(&text);
    let at = |address: SocketAddr| {
        format!(
            "oxtcp_listener_waiting{{address=\"{}\",port=\"{}\"}}",
            address.ip(),
            address.port()
        )
    };
    for (series, value) in [
        ("oxtcp_active_opens_total", 9.0),
        ("oxtcp_passive_opens_total", 7.0),
        ("oxtcp_attempt_fails_total", 2.0),
        ("oxtcp_sockets{state=\"established\"}", 14.0),
        ("oxtcp_sockets{state=\"listening\"}", 2.0),
        ("oxtcp_sockets{state=\"time-wait\"}", 0.0),
        ("oxtcp_orphans", 0.0),
        (&at(meeting.address), 1.0),
        (&at(address), 1.0),
    ] {
        assert_eq!(all.get(series), Some(&value), "{series} in\n{text}");
    }
    // All counters are there, and each has the number that `counters` shows.
    let counters = table(&oxtcp("counters --all --brief"));
    let exported: Vec<f64> = all
        .iter()
        .filter(|(name, _)| name.ends_with("_total"))
        .map(|(_, value)| *value)
        .collect();
    assert_eq!(exported.len(), counters.len());
    assert_eq!(
        exported.iter().sum::<f64>(),
        counters.values().sum::<u64>() as f64
    );
    // The file has the same, and is put in place as a whole.
    let path = format!("/tmp/oxtcp-export-{}.prom", std::process::id());
    fs::write(&path, "what was there before, and is longer than nothing\n").expect("a file");
    assert_eq!(oxtcp(&format!("export --output {path}")), "");
    assert_eq!(samples(&fs::read_to_string(&path).expect("the file")), all);
    fs::remove_file(&path).expect("the file");
    drop((clients, second));
}

/// Every command that has `--json`, with something to tell. Of some each line is a value.
pub fn json__is_json() {
    ns::isolate();
    let mut meeting = Meeting::make(Stack::ours(Ip::V6));
    meeting.connect(2);
    let lines = [
        "list --json",
        "list --json --changed",
        "get --json fin_timeout rmem congestion_control",
        "set --json --dry-run fin_timeout=7",
        "set --json fin_timeout=7 congestion_control=reno",
        "profile list --json",
        "profile show --json web-server",
        "profile apply --json --dry-run web-server",
        "profile apply --json web-server",
        "profile undo --json --dry-run",
        "profile undo --json",
        "ss --json",
        "ss --json -api",
        "ss --json -m state established",
        "ss --json state syn-sent",
        "kill --json --dry-run state established",
        "kill --json sport = :9",
        "counters --json",
        "counters --json --all",
        "counters --json --diff",
        "counters --json --watch 1 --times 2",
        "doctor --json",
        "trace --json --duration 0.3",
        "trace --json --explain --duration 0.3",
        "kill --json state established",
    ];
    for line in lines {
        let said = said(&mut of_line(line));
        assert_eq!(said.code, 0, "oxtcp {line}\n{}{}", said.out, said.err);
        let each_line = line.contains("--watch") || line.starts_with("trace");
        let program = match each_line {
            true => "for line in sys.stdin: json.loads(line)",
            false => "json.load(sys.stdin)",
        };
        assert!(
            python(&said.out, program).is_some(),
            "oxtcp {line}\n{}",
            said.out
        );
    }
    for command in every_command() {
        let tried = lines.iter().any(|line| line.starts_with(&command));
        // `run` has it for its reports, which are judged with them.
        assert!(
            tried || command == "run" || !takes(&command, "--json"),
            "`oxtcp {command} --json` is not tried"
        );
    }
}
