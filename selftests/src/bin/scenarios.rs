// SPDX-License-Identifier: GPL-2.0
//! The riddles of `make shell SCENARIO=`: each is made, and `oxtcp doctor` finds what is wrong.

use std::fs;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};

use oxtcp_selftests::{ktap, stack, wait, Suite};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("scenarios");
    suite.once("flood__names_the_port", flood__names_the_port);
    suite.once("leak__names_the_program", leak__names_the_program);
    suite.once("loss__names_the_connection", loss__names_the_connection);
    suite.once("unknown__is_refused", unknown__is_refused);
    suite.run()
}

fn script() -> PathBuf {
    if stack::builtin_only() {
        ktap::skip("the command is for oxtcp");
    }
    let own = std::env::current_exe().expect("the program's path");
    let script = own
        .ancestors()
        .skip(2)
        .map(|folder| folder.join("scenario.sh"))
        .find(|script| script.exists());
    script.unwrap_or_else(|| panic!("no scenario.sh near {}", own.display()))
}

/// A machine of its own, as far as namespaces make one, where it goes wrong.
struct Scenario {
    child: Child,
    folder: PathBuf,
}

impl Scenario {
    fn make(name: &str) -> Scenario {
        let script = script();
        let folder = std::env::temp_dir().join(format!("scenario.{}.{name}", std::process::id()));
        fs::create_dir_all(&folder).expect("a folder");
        let inside = format!(
            "mount -t tmpfs tmpfs /run/netns && ip link set lo up && {} {name} || exit\n\
             while sleep 0.5; do\n\
             {{ oxtcp doctor --close-wait 2; oxtcp doctor; }} > {folder}/new; mv {folder}/new {folder}/found\n\
             done",
            script.display(),
            folder = folder.display(),
        );
        let mut command = Command::new("unshare");
        command
            .args([
                "--net",
                "--mount",
                "--pid",
                "--fork",
                "--kill-child",
                "--mount-proc",
            ])
            .args(["bash", "-c", &inside])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .process_group(0);
        let child = command.spawn().expect("unshare");
        Scenario { child, folder }
    }

    /// Waits until the doctor says this. What it says, without its folds.
    fn finds(&mut self, parts: &[&str]) -> String {
        let mut found = String::new();
        wait::until(&format!("the doctor says {parts:?}"), || {
            if let Ok(Some(status)) = self.child.try_wait() {
                panic!("the scenario has ended: {status}");
            }
            let text = fs::read_to_string(self.folder.join("found")).unwrap_or_default();
            found = text.split_whitespace().collect::<Vec<_>>().join(" ");
            parts.iter().all(|part| found.contains(part))
        });
        found
    }
}

impl Drop for Scenario {
    fn drop(&mut self) {
        // unshare takes all that runs there along.
        let _ = self.child.kill();
        let _ = self.child.wait();
        let _ = fs::remove_dir_all(&self.folder);
    }
}

fn flood__names_the_port() {
    let found = Scenario::make("flood").finds(&["is flooded with half-open connections"]);
    assert!(found.contains("port 8002 of mail ("), "{found}");
    for part in [
        "syncookies is 0 (default 1), syn_cache is 0 (default 1)",
        "SYNs and handshakes dropped",
        ": probably forged",
        "oxtcp set syncookies=1",
        "oxtcp profile apply under-attack",
    ] {
        assert!(found.contains(part), "{part}: {found}");
    }
    assert!(!found.contains("port 8001"), "{found}");
}

fn leak__names_the_program() {
    let found = Scenario::make("leak").finds(&[
        "does not close 40 connections",
        // Without --close-wait they are no leak yet.
        "has 40 connections that the other side closed, the first of them",
    ]);
    for part in [
        "bytes unread",
        "it does not read what has come",
        "oxtcp kill state close-wait process chat,",
    ] {
        assert!(found.contains(part), "{found}");
    }
    assert!(found.contains("chat ("), "{found}");
    assert!(!found.contains("shop ("), "{found}");
}

fn loss__names_the_connection() {
    let found =
        Scenario::make("loss").finds(&["there is a connection of which much is sent again"]);
    assert!(
        found.contains("oxtcp trace --explain --duration 10 dst 198.51.100.2:"),
        "{found}"
    );
    assert!(
        found.contains("198.51.100.1:8002 with 198.51.100.2:") && found.contains("mail ("),
        "{found}"
    );
}

fn unknown__is_refused() {
    let run = |arguments: &[&str]| {
        let output = Command::new(script()).args(arguments).output();
        let output = output.expect("the script");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        (output.status.code(), text)
    };
    for arguments in [&["storm"][..], &["--check", "storm"], &["--check"]] {
        let (code, text) = run(arguments);
        assert_eq!(code, Some(2), "{arguments:?}");
        assert!(
            text.contains("; there are flood, leak and loss"),
            "{arguments:?}: {text}"
        );
    }
    assert_eq!(run(&["--check", "leak"]), (Some(0), String::new()));
}
