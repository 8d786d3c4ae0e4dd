// SPDX-License-Identifier: GPL-2.0
//! Every command on a machine without the module, and what is refused before the kernel is asked: message and exit code.
//!
//! (With the module the commands are tested in a virtual machine: `selftests/src/bin/tool/`.)

use std::path::Path;
use std::process::{Command, Output, Stdio};

fn oxtcp(line: &str) -> Output {
    Command::new(env!("CARGO_BIN_EXE_oxtcp"))
        .args(line.split_whitespace())
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

#[track_caller]
fn refused(line: &str, code: i32, part: &str) {
    let output = oxtcp(line);
    let error = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(code), "oxtcp {line}: {error}");
    assert!(error.contains(part), "oxtcp {line}: {error}");
    assert!(output.stdout.is_empty(), "oxtcp {line}");
}

#[test]
fn every_command_says_that_there_is_no_module() {
    if Path::new("/sys/module/oxtcp").exists() {
        return;
    }
    for line in [
        "list",
        "list --json",
        "get fin_timeout",
        "set fin_timeout=30",
        "profile apply web-server",
        "profile apply web-server --dry-run",
        "profile undo",
        "kill state established",
        "kill --json state established",
        "ss",
        "ss -tnp",
        "list fin_timeout",
        "stat --summary",
        "ss --json state established",
        "counters",
        "export",
        "doctor",
        "doctor --json",
    ] {
        refused(line, 125, "the kernel module oxtcp is not loaded");
    }
}

#[test]
fn what_cannot_be_is_refused_before_the_kernel_is_asked() {
    for (line, part) in [
        ("list fin_timeot", "Is `fin_timeout` meant?"),
        ("get fin_timeot", "Is `fin_timeout` meant?"),
        ("get fin_timeout=3", "oxtcp set fin_timeout=3"),
        ("set fin_timeout", "`fin_timeout` has no value"),
        (
            "set --persist --netns x fin_timeout=1",
            "cannot be used with",
        ),
        ("profile show nonsense", "there is no profile `nonsense`"),
        ("profile apply /dev/null", "is no profile"),
        ("profile apply /nonexistent/x.toml", "No such file"),
        ("ss state nonsense", "`nonsense` is no state"),
        ("ss sport", "a port is missing"),
        (
            "list --netns no-such-namespace",
            "there is no network namespace `no-such-namespace`",
        ),
        ("counters --watch 0", "1..=86400"),
        ("counters --times 3", "--watch"),
        ("nonsense", "unrecognized subcommand"),
    ] {
        let code = if line.contains("/nonexistent/") { 1 } else { 2 };
        refused(line, code, part);
    }
}

#[test]
fn profiles_can_be_read_without_the_module() {
    let output = oxtcp("profile list --color=never");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success());
    for name in [
        "web-server",
        "behind-nat",
        "under-attack",
        "long-fat-network",
        "low-memory",
    ] {
        assert!(text.contains(name), "{text}");
        let shown = oxtcp(&format!("profile show {name}"));
        assert!(shown.status.success());
        let text = String::from_utf8(shown.stdout).unwrap();
        assert!(
            text.starts_with(&format!("{name}: ")) && !text.contains('\x1b'),
            "{text}"
        );
    }
}

#[test]
fn completions_for_bash_are_bash() {
    let completions = oxtcp("completions bash").stdout;
    let mut bash = Command::new("bash")
        .arg("-n")
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    std::io::Write::write_all(bash.stdin.as_mut().unwrap(), &completions).unwrap();
    assert!(bash.wait().unwrap().success());
    assert!(!completions.is_empty());
}
