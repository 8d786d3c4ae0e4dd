// SPDX-License-Identifier: GPL-2.0
//! Every command as a user who may nothing: what only looks works, and all else says what is missing, with the exit code that stands for
//! it, and changes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use oxtcp_selftests::ns::{self, Namespace};
use oxtcp_selftests::{ktap, listening, wait, Ip, Sock, Stack};

use crate::all_settings;
use crate::command::{by_nobody, every_command, oxtcp, said, takes, OnTerminal, Said};

/// What can be done without a privilege: a line, and a part of what it prints. `{}` is the test's own folder.
const MAY: &[(&str, &str)] = &[
    ("run true", ""),
    ("run --verbose true", ""),
    ("list", "fin_timeout"),
    ("list --long", "default"),
    ("list --json", "\"fin_timeout\""),
    ("get fin_timeout", "fin_timeout = 60"),
    ("set --dry-run fin_timeout=5", "5"),
    ("profile list", "web-server"),
    ("profile show web-server", "web-server: "),
    ("profile apply --dry-run web-server", "fin_timeout"),
    ("profile undo --dry-run", "keepalive_time"),
    ("ss -Han", "LISTEN"),
    ("ss -Hanpim", "LISTEN"),
    ("ss --json", "\"established\""),
    ("ss --summary", "LISTEN"),
    ("stat -Han", "ESTAB"),
    ("kill --dry-run state established", "ESTAB"),
    ("kill sport = :9", ""),
    ("counters", "ActiveOpens 1"),
    ("counters --json", "\"ActiveOpens\""),
    ("counters --watch 1 --times 1", "nothing"),
    ("export", "oxtcp_active_opens_total 1"),
    ("doctor", "the module is loaded"),
    ("doctor --json", "\"findings\""),
    ("ladder {}/read.pcap", "Connection 1"),
    ("plot {}/read.pcap --svg -", "<svg"),
    ("completions bash", "oxtcp"),
];

/// What cannot be: a line, the exit code, and a part of the message, which says what is missing or what to do. `{}` is the test's own
/// folder, `{netns}` another namespace.
const MAY_NOT: &[(&str, i32, &str)] = &[
    ("set fin_timeout=5", 4, "as root"),
    ("set sack=0 fin_timeout=5", 4, "Nothing was changed."),
    ("set --persist fin_timeout=5", 4, "as root"),
    ("profile apply low-memory", 4, "as root"),
    ("profile apply low-memory", 4, "Nothing was changed."),
    ("profile apply --persist low-memory", 4, "as root"),
    ("profile undo", 4, "as root"),
    ("profile undo", 4, "Nothing was changed."),
    ("kill state established", 4, "CAP_NET_ADMIN"),
    ("kill --json state established", 4, "as root"),
    ("trace", 4, "as root"),
    ("trace --duration 1 sport = :80", 4, "as root"),
    ("trace -- true", 4, "as root"),
    ("counters --diff", 4, "XDG_RUNTIME_DIR"),
    ("export --output {}/metrics.prom", 4, "as root"),
    ("ladder {}/secret.pcap", 4, "as root"),
    ("ladder {}/read.pcap --svg {}/ladder.svg", 4, "as root"),
    ("plot {}/secret.pcap --svg -", 4, "as root"),
    ("plot {}/read.pcap --svg {}/plot.svg", 4, "as root"),
    ("manual {}", 4, "as root"),
    ("top", 2, "needs a terminal"),
    // `run` has exit codes of its own.
    ("run --bpf true", 125, "root"),
    ("run --check true", 125, "root"),
    ("run --stats true", 125, "root"),
    ("run --trace true", 125, "root"),
    ("run --system", 125, "root"),
    ("run --service nobodys", 125, "there is no service"),
    // Another's network namespace is to be entered.
    ("list --netns {netns}", 4, "as root"),
    ("get --netns {netns} sack", 4, "as root"),
    ("set --netns {netns} sack=0", 4, "as root"),
    ("profile show --netns {netns} web-server", 4, "as root"),
    ("profile apply --netns {netns} web-server", 4, "as root"),
    ("profile undo --netns {netns}", 4, "as root"),
    ("ss --netns {netns}", 4, "as root"),
    ("kill --netns {netns} state all", 4, "as root"),
    ("counters --netns {netns}", 4, "as root"),
    ("counters --watch --netns {netns}", 4, "as root"),
    ("export --netns {netns}", 4, "as root"),
    ("doctor --netns {netns}", 4, "as root"),
];

/// All that these commands could change.
#[derive(Debug, PartialEq)]
struct Everything {
    settings: Vec<(String, String)>,
    files: Vec<(PathBuf, Vec<u8>)>,
}

/// A namespace with a connection and something to take back, another one with a name, and a folder of root's.
struct Bed {
    folder: PathBuf,
    name: String,
    _here: Namespace,
    _ends: (Sock, Sock, Sock),
}

impl Bed {
    fn make() -> Bed {
        let here = ns::isolate();
        let name = format!("oxtcp-privilege-{}", std::process::id());
        ns::sh(&format!("ip netns add {name}"));
        let folder = PathBuf::from(format!("/tmp/{name}"));
        fs::create_dir_all(&folder).expect("a folder");
        let stack = Stack::ours(Ip::V4);
        let (listener, address) = listening(stack, 16);
        let client = Sock::open(stack);
        client.connect(&address).expect("connect");
        let server = listener.accept().expect("accept").0;
        // A SYN, in a frame of a capture.
        for (file, mode) in [("read.pcap", 0o644), ("secret.pcap", 0o600)] {
            let path = folder.join(file);
            fs::write(&path, a_capture()).expect("a file");
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("its mode");
        }
        oxtcp("profile apply web-server");
        oxtcp("set fin_timeout=60");
        Bed {
            folder,
            name,
            _here: here,
            _ends: (client, server, listener),
        }
    }

    fn line(&self, line: &str) -> String {
        line.replace("{netns}", &self.name)
            .replace("{}", &self.folder.display().to_string())
    }

    fn everything(&self) -> Everything {
        let mut files = Vec::new();
        let folders = ["/run/oxtcp", "/etc/sysctl.d"].map(Path::new);
        for folder in folders.into_iter().chain([self.folder.as_path()]) {
            for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
                let path = entry.path();
                let text = fs::read(&path).unwrap_or_default();
                files.push((path, text));
            }
        }
        files.sort();
        Everything {
            settings: all_settings(),
            files,
        }
    }
}

impl Drop for Bed {
    fn drop(&mut self) {
        let _ = ns::try_sh(&format!("ip netns del {}", self.name));
        let _ = fs::remove_dir_all(&self.folder);
    }
}

/// A file of raw IP with one SYN of 127.0.0.1 in it.
fn a_capture() -> Vec<u8> {
    const RAW_IP: u32 = 101;
    let mut file = Vec::new();
    for word in [0xa1b2_c3d4, 0x0004_0002, 0, 0, 65535, RAW_IP, 1, 0, 40, 40] {
        file.extend(u32::to_le_bytes(word));
    }
    file.extend([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6, 0, 0]);
    file.extend([127, 0, 0, 1, 127, 0, 0, 1]);
    file.extend([0x9c, 0x40, 0, 80, 0, 0, 0, 1, 0, 0, 0, 0]);
    file.extend([0x50, 2, 0xff, 0xff, 0, 0, 0, 0]);
    file
}

#[track_caller]
fn nobody_said(line: &str) -> Said {
    let said = said(&mut by_nobody(line));
    assert!(
        !said.err.contains("panicked") && said.code != 101,
        "oxtcp {line}\n{}",
        said.err
    );
    said
}

pub fn nobody__may_look() {
    let bed = Bed::make();
    let before = bed.everything();
    for (line, part) in MAY {
        let line = bed.line(line);
        let said = nobody_said(&line);
        assert_eq!(said.code, 0, "oxtcp {line}\n{}{}", said.out, said.err);
        assert!(said.out.contains(part), "oxtcp {line}\n{}", said.out);
    }
    // With a folder of the own, `--diff` has where to keep what it saw.
    let folder = bed.folder.join("runtime");
    fs::create_dir(&folder).expect("a folder");
    std::os::unix::fs::chown(&folder, Some(65534), Some(65534)).expect("chown");
    for expected in ["ActiveOpens 1", "All are 0."] {
        let mut command = by_nobody("counters --diff ActiveOpens");
        let said = said(command.env("XDG_RUNTIME_DIR", &folder));
        assert_eq!(said.code, 0, "{}", said.err);
        let line = said.out.lines().next().unwrap_or_default();
        assert!(line == expected || line == "ActiveOpens 0", "{}", said.out);
    }
    fs::remove_dir_all(&folder).expect("the folder");
    assert_eq!(bed.everything(), before);
}

pub fn nobody__changes_nothing() {
    let bed = Bed::make();
    let before = bed.everything();
    for (line, code, part) in MAY_NOT {
        let line = bed.line(line);
        let said = nobody_said(&line);
        assert_eq!(said.code, *code, "oxtcp {line}\n{}{}", said.out, said.err);
        assert!(
            said.err.starts_with("oxtcp: "),
            "oxtcp {line}\n{}",
            said.err
        );
        assert!(said.err.contains(part), "oxtcp {line}\n{}", said.err);
        assert!(
            !said.err.contains("(os error"),
            "oxtcp {line}\n{}",
            said.err
        );
        assert_eq!(said.out, "", "oxtcp {line}");
        assert_eq!(bed.everything(), before, "oxtcp {line}");
    }
    assert_eq!(oxtcp("ss -Hn").lines().count(), 2);
}

/// `top` only looks: whoever has a terminal may.
pub fn nobody__on_a_terminal() {
    let bed = Bed::make();
    let mut top = OnTerminal::spawn(by_nobody("top --delay 0.2 --color never"));
    wait::until("the listener", || {
        top.shows("Listeners") && top.shows("0/17")
    });
    top.press(b"q");
    let (code, shown) = top.end();
    assert_eq!(code, Some(0), "{shown}");
    let line = bed.line("top --netns {netns}");
    let (code, shown) = OnTerminal::spawn(by_nobody(&line)).end();
    assert_eq!(code, Some(4), "{shown}");
    assert!(
        shown.contains("as root") && !shown.contains("\x1b[?1049h"),
        "{shown}"
    );
}

/// A command that is new is to be in the tables above.
pub fn nobody__has_every_command() {
    let begins = |line: &str, command: &str| {
        let rest = line.strip_prefix(command);
        rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(' '))
    };
    let lines = MAY.iter().map(|(line, _)| *line);
    let lines: Vec<&str> = lines
        .chain(MAY_NOT.iter().map(|(line, ..)| *line))
        .collect();
    for command in every_command() {
        assert!(
            lines.iter().any(|line| begins(line, &command)),
            "`oxtcp {command}` is in no table"
        );
        let netns = lines
            .iter()
            .any(|line| begins(line, &command) && line.contains("--netns {netns}"));
        // `trace` needs its privilege before it enters, and `top` has a test of its own.
        let elsewhere = ["trace", "top"].contains(&command.as_str());
        assert!(
            netns || elsewhere || !takes(&command, "--netns"),
            "`oxtcp {command} --netns` is in no table"
        );
    }
    ktap::note(&format!("{} lines", lines.len()));
}
