// SPDX-License-Identifier: GPL-2.0
//! `--netns`, where the network namespace is not there, or goes away before a command, between two, or while one runs.

use std::fs;
use std::io::{BufRead, BufReader};
use std::process::{Command, Stdio};
use std::time::Duration;

use oxtcp_selftests::{ktap, ns, stack, wait};

use crate::command::{
    every_command, of_line, oxtcp, refused, said, takes, OnTerminal, Running, Said,
};

/// A namespace that `ip netns` has given a name; it goes with the test.
struct Named(String);

impl Named {
    fn make(name: &str) -> Named {
        if stack::builtin_only() {
            ktap::skip("the command is for oxtcp");
        }
        let named = Named(format!("oxtcp-{name}-{}", std::process::id()));
        named.add();
        named
    }

    fn add(&self) {
        ns::sh(&format!(
            "ip netns add {0} && ip -n {0} link set lo up",
            self.0
        ));
    }

    fn delete(&self) {
        ns::sh(&format!("ip netns del {}", self.0));
    }

    /// Makes a connection in it, by a program that keeps it, and waits for more on its standard input.
    fn with_connections(&self, number: usize) {
        ns::need("python3");
        ns::sh(&format!(
            "ip netns exec {} oxtcp run python3 -c '
import socket
l = socket.create_server((\"127.0.0.1\", 0))
for _ in range({number}):
    c = socket.create_connection(l.getsockname()); s = l.accept()[0]; c.close(); s.close()'",
            self.0
        ));
    }
}

impl Drop for Named {
    fn drop(&mut self) {
        let _ = ns::try_sh(&format!("ip netns del {}", self.0));
    }
}

/// A line for each command that takes `--netns`, without it; that there is one is looked up in the commands' own help.
fn lines() -> Vec<&'static str> {
    let lines = [
        "list",
        "get fin_timeout",
        "set fin_timeout=5",
        "profile show web-server",
        "profile apply web-server",
        "profile undo",
        "ss -a",
        "kill state all",
        "trace --duration 1",
        "counters",
        "counters --diff",
        "counters --watch --times 1",
        "export",
        "doctor",
    ];
    for command in every_command() {
        let there = lines.iter().any(|line| line.starts_with(&command));
        // `top` needs a terminal, and has lines of its own below.
        assert_eq!(
            takes(&command, "--netns"),
            there || command == "top",
            "oxtcp {command} --netns"
        );
    }
    lines.to_vec()
}

pub fn netns__that_is_not_there() {
    ns::isolate();
    let named = Named::make("gone");
    named.delete();
    // Of a process that has ended, and was waited for.
    let mut child = Command::new("true").spawn().expect("true");
    let ended = child.id().to_string();
    child.wait().expect("it ends");
    // `ip netns` leaves an empty file behind where a namespace could not be taken away whole.
    let left = format!("oxtcp-left-{}", std::process::id());
    let file = format!("/run/netns/{left}");
    fs::write(&file, "").expect("a file");
    let cases = [
        (named.0.as_str(), 2, "there is no network namespace"),
        (&ended, 2, "there is no network namespace"),
        ("/proc/1/ns/nothing", 2, "there is no network namespace"),
        (&left, 1, "is no network namespace (any more)"),
        ("/proc/self/ns/uts", 1, "is no network namespace (any more)"),
    ];
    for (name, code, part) in cases {
        for line in lines() {
            let line = format!("{line} --netns {name}");
            let said = said(&mut of_line(&line));
            assert_eq!(
                (said.code, said.out.as_str()),
                (code, ""),
                "oxtcp {line}\n{}",
                said.err
            );
            assert!(
                said.err.contains(part) && said.err.contains("`ip netns` lists"),
                "oxtcp {line}\n{}",
                said.err
            );
        }
        let (ended_with, shown) = OnTerminal::spawn(of_line(&format!("top --netns {name}"))).end();
        assert_eq!(ended_with, Some(code), "{shown}");
        assert!(
            shown.contains(part) && !shown.contains("\x1b[?1049h"),
            "{shown}"
        );
    }
    fs::remove_file(&file).expect("the file");
    refused(
        "counters --netns ../x --watch",
        2,
        "there is no network namespace",
    );
}

/// What was said of a namespace is of that one, and not of a later one with its name.
pub fn netns__deleted_between() {
    ns::isolate();
    let named = Named::make("between");
    let of = |line: &str| format!("{line} --netns {}", named.0);
    let opens = || oxtcp(&of("counters --diff --brief ActiveOpens"));
    named.with_connections(3);
    assert!(opens().ends_with(" 3\n"));
    oxtcp(&of("profile apply web-server"));
    oxtcp(&of("set keepalive_time=11"));
    assert_eq!(oxtcp(&of("get -n fin_timeout keepalive_time")), "30\n11\n");
    named.delete();
    for line in lines() {
        refused(&of(line), 2, "there is no network namespace");
    }
    named.add();
    assert_eq!(
        oxtcp(&of("get -n fin_timeout keepalive_time")),
        oxtcp("get -n fin_timeout keepalive_time")
    );
    refused(&of("profile undo"), 1, "nothing to take back");
    named.with_connections(2);
    assert!(opens().ends_with(" 2\n"), "the new one's own");
    oxtcp(&of("profile apply low-memory"));
    oxtcp(&of("profile undo"));
    refused(&of("profile undo"), 1, "nothing to take back");
}

/// Who is in it keeps it: what looks at it goes on, and ends as ever.
pub fn netns__deleted_meanwhile() {
    ns::isolate();
    let named = Named::make("meanwhile");
    let of = |line: &str| format!("{line} --netns {}", named.0);
    let watch = |line: &str| {
        let mut command = of_line(&of(line));
        Running(
            command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("oxtcp"),
        )
    };
    let mut counters = watch("counters --watch 1 --json ActiveOpens");
    let mut lines = BufReader::new(counters.0.stdout.take().expect("a pipe")).lines();
    let mut next = || lines.next().expect("a line").expect("text");
    let mut trace = watch("trace --json");
    // The last of the events, and then the trace.
    let begun = ["events/oxtcp/oxtcp_overflow/enable", "tracing_on"].map(|file| {
        let id = trace.0.id();
        format!("/sys/kernel/tracing/instances/oxtcp-trace-{id}/{file}")
    });
    wait::until("it traces", || {
        let is_on = |file| fs::read_to_string(file).is_ok_and(|text| text.trim() == "1");
        begun.iter().all(is_on)
    });
    let mut top = OnTerminal::spawn(of_line(&of("top --delay 0.2 --color never")));
    wait::until("the screen", || {
        top.shows(&named.0) && top.shows("Listeners")
    });
    assert_eq!(next(), "{\"ActiveOpens\":0}");
    named.with_connections(2);
    let mut seen = 0;
    while seen < 2 {
        seen += match next().as_str() {
            "{\"ActiveOpens\":0}" => 0,
            "{\"ActiveOpens\":1}" => 1,
            "{\"ActiveOpens\":2}" => 2,
            other => panic!("{other}"),
        };
    }
    assert_eq!(seen, 2);
    named.delete();
    refused(&of("ss"), 2, "there is no network namespace");
    assert_eq!(
        [next(), next()],
        ["{\"ActiveOpens\":0}", "{\"ActiveOpens\":0}"]
    );
    for (running, code) in [(&mut counters, None), (&mut trace, Some(0))] {
        running.interrupt();
        let status = wait::until_some("it ends", || running.0.try_wait().expect("a child"));
        assert_eq!(status.code(), code, "{status}");
        let mut said = String::new();
        if let Some(mut err) = running.0.stderr.take() {
            std::io::Read::read_to_string(&mut err, &mut said).expect("text");
        }
        assert_eq!(said, "");
    }
    let events = std::io::read_to_string(trace.0.stdout.take().expect("a pipe")).expect("text");
    assert!(
        events
            .lines()
            .filter(|line| line.contains("\"to\":\"established\""))
            .count()
            >= 4,
        "{events}"
    );
    top.press(b"?");
    wait::until("help", || top.shows("Help"));
    top.press(b"q");
    assert_eq!(top.end().0, Some(0));
}

/// Whenever it goes away, a command has done what it was asked for, or says that there is none.
pub fn netns__deleted_at_any_time() {
    const ROUNDS: u64 = 6;
    ns::isolate();
    let named = Named::make("race");
    named.delete();
    let mut outcomes = [0; 2];
    for line in lines()
        .into_iter()
        .filter(|line| !line.contains("--watch") && !line.starts_with("trace"))
    {
        for round in 0..ROUNDS {
            named.add();
            // Something to take back.
            if line == "profile undo" {
                oxtcp(&format!("profile apply web-server --netns {}", named.0));
            }
            // Some begin before the deletion does, some after it.
            let mut deletion = None;
            let delete = || {
                let deletion = Command::new("ip").args(["netns", "del", &named.0]).spawn();
                Some(deletion.expect("ip"))
            };
            if round % 2 == 0 {
                deletion = delete();
                std::thread::sleep(Duration::from_micros(round * 300));
            }
            let mut command = of_line(&format!("{line} --netns {}", named.0));
            let child = command
                .stdout(Stdio::piped())
                .stderr(Stdio::piped())
                .spawn()
                .expect("oxtcp");
            let mut deletion = deletion.or_else(delete).expect("it is deleted");
            assert!(deletion.wait().expect("it ends").success());
            let output = child.wait_with_output().expect("it ends");
            let said = Said {
                out: String::from_utf8(output.stdout).expect("text"),
                err: String::from_utf8(output.stderr).expect("text"),
                code: output.status.code().expect("an exit code"),
            };
            let fine = match said.code {
                0 => said.err.is_empty(),
                1 => said.err.contains("is no network namespace (any more)"),
                2 => said.err.contains("there is no network namespace"),
                _ => false,
            };
            assert!(
                fine && !said.err.contains("panicked"),
                "oxtcp {line}: {}\n{}{}",
                said.code,
                said.out,
                said.err
            );
            outcomes[usize::from(said.code != 0)] += 1;
        }
    }
    ktap::note(&format!(
        "{} were done, {} came too late",
        outcomes[0], outcomes[1]
    ));
}
