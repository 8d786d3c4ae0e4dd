// SPDX-License-Identifier: GPL-2.0
//! The `oxtcp` command, run with a line of words; on a terminal too.

use std::fs::File;
use std::io::{Read, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};

use oxtcp_selftests::{ktap, ns, stack, thread, wait};

/// What a command printed, and its exit code.
pub struct Said {
    pub out: String,
    pub err: String,
    pub code: i32,
}

/// The command's file.
pub fn tool() -> String {
    std::env::var("OXTCP_TOOL").unwrap_or("oxtcp".into())
}

pub fn command(arguments: &[&str]) -> Command {
    if stack::builtin_only() {
        ktap::skip("the command is for oxtcp");
    }
    let mut command = Command::new(tool());
    command.args(arguments).stdin(Stdio::null());
    command
}

/// The command with the words of a line.
pub fn of_line(line: &str) -> Command {
    let words: Vec<&str> = line.split_whitespace().collect();
    command(&words)
}

/// The same as the user who may nothing, without the folders of the one who runs the tests.
pub fn by_nobody(line: &str) -> Command {
    let mut command = of_line(line);
    command
        .uid(65534)
        .gid(65534)
        .env_remove("XDG_RUNTIME_DIR")
        .env_remove("XDG_CONFIG_HOME")
        .env("HOME", "/nonexistent");
    command
}

pub fn said(command: &mut Command) -> Said {
    let output = match command.output() {
        Ok(output) => output,
        Err(error) => panic!("{command:?}: {error}"),
    };
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Said {
        out: text(output.stdout),
        err: text(output.stderr),
        code: output.status.code().expect("an exit code"),
    }
}

/// Runs `oxtcp` with these words; fails the test when it fails.
#[track_caller]
pub fn oxtcp(line: &str) -> String {
    let said = said(&mut of_line(line));
    assert_eq!(said.code, 0, "oxtcp {line}\n{}{}", said.out, said.err);
    assert_eq!(said.err, "", "oxtcp {line}");
    said.out
}

/// The same for one that is to fail; what it says.
#[track_caller]
pub fn refused(line: &str, code: i32, part: &str) {
    let said = said(&mut of_line(line));
    assert_eq!(said.code, code, "oxtcp {line}\n{}{}", said.out, said.err);
    assert!(said.err.contains(part), "oxtcp {line}\n{}", said.err);
}

/// What python3 makes of a command's JSON, called `d` there.
#[track_caller]
pub fn json(line: &str, expression: &str) -> String {
    let said = said(&mut of_line(line));
    python(
        &said.out,
        &format!("d = json.load(sys.stdin)\nprint({expression})"),
    )
    .unwrap_or_else(|| panic!("oxtcp {line}\n{}{}", said.out, said.err))
}

/// What a program of python3's prints that reads this text, with json and sys at hand; `None` when it fails.
pub fn python(text: &str, program: &str) -> Option<String> {
    ns::need("python3");
    let mut python = Command::new("python3")
        .args(["-c", &format!("import json, sys\n{program}")])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut to = python.stdin.take().expect("a pipe");
    to.write_all(text.as_bytes()).expect("python3 reads");
    drop(to);
    let output = python.wait_with_output().expect("python3 ends");
    let printed = String::from_utf8(output.stdout).expect("text");
    output.status.success().then(|| printed.trim().to_string())
}

/// The names under `Commands:` in what `oxtcp WORDS --help` prints.
#[track_caller]
pub fn commands_of(words: &str) -> Vec<String> {
    let help = oxtcp(&format!("{words} --help"));
    let lines = help.lines().skip_while(|line| *line != "Commands:").skip(1);
    let names = lines
        .take_while(|line| !line.is_empty())
        // What goes on from the line above stands further in.
        .filter(|line| line.starts_with("  ") && !line.starts_with("   "))
        .filter_map(|line| line.split_whitespace().next());
    names.map(String::from).collect()
}

/// Every command that there is, those of `profile` with both of their words.
#[track_caller]
pub fn every_command() -> Vec<String> {
    let mut all = Vec::new();
    for name in commands_of("") {
        let inner = commands_of(&name);
        if inner.is_empty() {
            all.push(name);
        } else {
            all.extend(inner.iter().map(|inner| format!("{name} {inner}")));
        }
    }
    assert!(all.len() > 15, "{all:?}");
    all
}

/// Whether a command's own help has this option.
#[track_caller]
pub fn takes(words: &str, option: &str) -> bool {
    let help = oxtcp(&format!("{words} --help"));
    // As an option's line begins; with a short form it stands behind that. Text that names one goes on behind its name.
    help.lines().any(|line| {
        let words: Vec<&str> = line.split_whitespace().take(2).collect();
        words.contains(&option)
    })
}

/// A program and what it started, ended with the test.
pub struct Running(pub Child);

impl Running {
    /// As Ctrl-C does it.
    pub fn interrupt(&self) {
        // SAFETY: a child of ours that was not waited for.
        unsafe { libc::kill(self.0.id() as i32, libc::SIGINT) };
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A command on a terminal.
pub struct OnTerminal {
    command: Child,
    keys: File,
    shown: Arc<Mutex<String>>,
    reader: thread::Worker<()>,
}

impl OnTerminal {
    /// On one of 120 by 30.
    pub fn spawn(command: Command) -> OnTerminal {
        OnTerminal::of_size(120, 30, command)
    }

    /// Takes the command, which holds the terminal as long as it is there.
    pub fn of_size(columns: u16, rows: u16, mut command: Command) -> OnTerminal {
        let (mut ours, mut theirs) = (0, 0);
        let size = libc::winsize {
            ws_row: rows,
            ws_col: columns,
            ws_xpixel: 0,
            ws_ypixel: 0,
        };
        // SAFETY: the pointers are valid or null, which means the defaults.
        let opened = unsafe {
            libc::openpty(
                &raw mut ours,
                &raw mut theirs,
                std::ptr::null_mut(),
                std::ptr::null(),
                &raw const size,
            )
        };
        assert_eq!(opened, 0, "openpty");
        // SAFETY: just opened, and nobody else's.
        let (ours, theirs) = unsafe { (File::from_raw_fd(ours), OwnedFd::from_raw_fd(theirs)) };
        let child = command
            .env("TERM", "xterm")
            .stdin(theirs.try_clone().expect("a copy"))
            .stderr(theirs.try_clone().expect("a copy"))
            .stdout(theirs)
            .spawn()
            .expect("oxtcp");
        drop(command);
        let shown = Arc::new(Mutex::new(String::new()));
        let (text, mut reads) = (Arc::clone(&shown), ours.try_clone().expect("a copy"));
        let reader = thread::spawn(move || {
            let mut bytes = [0; 4096];
            // EIO as the other end closes.
            while let Ok(len @ 1..) = reads.read(&mut bytes) {
                let more = String::from_utf8_lossy(&bytes[..len]).into_owned();
                text.lock().expect("the screen").push_str(&more);
            }
        });
        OnTerminal {
            command: child,
            keys: ours,
            shown,
            reader,
        }
    }

    /// Whether this was written at any time. Blanks are moves of the cursor, and what stays is not written again.
    pub fn shows(&self, part: &str) -> bool {
        self.shown.lock().expect("the screen").contains(part)
    }

    pub fn press(&mut self, key: &[u8]) {
        self.keys.write_all(key).expect("a key");
    }

    /// Waits for the command's end; its exit code, and what it has written.
    pub fn end(self) -> (Option<i32>, String) {
        let OnTerminal {
            mut command,
            keys,
            shown,
            reader,
        } = self;
        let status = wait::until_some("it ends", || command.try_wait().expect("a child"));
        drop(keys);
        reader.join();
        let shown = shown.lock().expect("the screen").clone();
        (status.code(), shown)
    }
}
