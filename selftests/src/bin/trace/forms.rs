// SPDX-License-Identifier: GPL-2.0
//! What is told of a connection instead of events: sentences, ladders, pictures, a capture file. And readers that go away.

use std::fs;
use std::io::Read;
use std::path::PathBuf;
use std::process::{Output, Stdio};

use oxtcp_selftests::{ns, wait};

use super::{command, Trace};

/// A connection over loopback, of which the client sends five bytes and closes first; both ends are the program's.
const PROGRAM: [&str; 3] = [
    "python3",
    "-c",
    "import socket; l = socket.create_server(('127.0.0.1', 7010)); \
     c = socket.create_connection(('127.0.0.1', 7010)); s = l.accept()[0]; \
     c.sendall(b'hello'); assert s.recv(9) == b'hello'; c.close(); assert s.recv(9) == b''; s.close()",
];

/// Traces the program, and gives back what was printed.
#[track_caller]
fn told(arguments: &[&str]) -> String {
    ns::need("python3");
    let Output {
        status,
        stdout,
        stderr,
    } = command(arguments)
        .arg("--")
        .args(PROGRAM)
        .output()
        .expect("oxtcp");
    let (out, err) = (
        String::from_utf8(stdout).expect("text"),
        String::from_utf8_lossy(&stderr),
    );
    assert!(status.success(), "{status}\n{out}{err}");
    out
}

/// Fails unless these come one after the other.
#[track_caller]
fn in_turn(text: &str, wanted: &[&str]) {
    let mut rest = text;
    for part in wanted {
        match rest.find(part) {
            Some(at) => rest = &rest[at + part.len()..],
            None => panic!("no {part:?}, or not there, in\n{text}"),
        }
    }
}

/// A file that does not exist yet.
fn fresh(name: &str) -> String {
    let path = std::env::temp_dir().join(format!("oxtcp-{}-{name}", std::process::id()));
    let _ = fs::remove_file(&path);
    path.to_str().expect("text").to_string()
}

pub fn explain__tells_the_story() {
    ns::isolate();
    let text = told(&["--explain", "--color", "never"]);
    // What is no terminal gets each sentence on a line of its own.
    assert!(
        text.lines()
            .any(|line| line.contains("The client sent SYN") && line.ends_with("timestamps.")),
        "{text}"
    );
    let wanted = [
        "A program listens here.",
        "The client sent SYN to 127.0.0.1:7010: segments of up to 65495 bytes (MSS)",
        "the listener remembered it and answered with SYN-ACK (1 of at most 129 half-open connections).",
        "The connection is established after",
        "The client sent 5 bytes in 1 segment.",
        "The client closes first: FIN.",
        "TIME-WAIT is at the client for 60 s",
        "In sum:",
        "127.0.0.1:7010: 1 SYN came: 1 answered, 0 dropped. 0 half-open connections given up, 1 completed.",
    ];
    in_turn(&text, &wanted);
    let times: Vec<f64> = text
        .lines()
        .map_while(|line| line.split_whitespace().next()?.parse().ok())
        .collect();
    assert!(times.len() > 8 && times.is_sorted(), "{text}");
}

pub fn ladder__has_both_ends() {
    ns::isolate();
    let text = told(&["--ladder", "--color", "never"]);
    let wanted = [
        "-> 127.0.0.1:7010,",
        "client",
        "server",
        "SYN-SENT     --- SYN seq=0 win=65495 mss=65495",
        "> SYN-RECEIVED",
        "SYN-SENT     <-- SYN,ACK seq=0 ack=1",
        "ESTABLISHED  --- PSH,ACK seq=1 ack=1 len=5",
        "> ESTABLISHED",
        "ESTABLISHED  --- FIN,ACK seq=6 ack=1",
        "> CLOSE-WAIT",
        "TIME-WAIT    --- ACK seq=7 ack=2",
        "> CLOSED",
    ];
    in_turn(&text, &wanted);
    assert!(!text.contains("lost"), "{text}");
}

pub fn pictures__are_svg() {
    ns::isolate();
    let (ladder, plot) = (fresh("ladder.svg"), fresh("plot.svg"));
    told(&["--ladder-svg", &ladder, "--plot", &plot]);
    for (file, wanted) in [(&ladder, "ESTABLISHED"), (&plot, "cwnd")] {
        let svg = fs::read_to_string(file).expect(file);
        // Whoever reads XML reads it.
        ns::sh(&format!(
            "python3 -c \"import xml.dom.minidom as m; assert m.parse('{file}').documentElement.tagName == 'svg'\""
        ));
        assert!(svg.contains(wanted), "no {wanted} in {file}: {svg}");
        fs::remove_file(file).expect(file);
    }
}

pub fn capture__is_read_by_others() {
    ns::isolate();
    ns::need("tcpdump");
    ns::set_sysctl("net/oxtcp/syncookies", "2");
    let file = fresh("capture.pcapng");
    told(&["--pcapng", &file]);
    let text = ns::sh(&format!("tcpdump -n -r {file} 2>&1"));
    in_turn(
        &text,
        &["Flags [S]", "Flags [S.]", "Flags [P.]", "Flags [F.]"],
    );
    let bytes = fs::read(&file).expect("the capture");
    let comment = bytes.windows(6).any(|part| part == b"cookie");
    assert!(comment, "the SYN-ACK does not say that it is a cookie");
    fs::remove_file(&file).expect("remove");
    // Nobody's folder: nothing is traced for nothing.
    let said = command(&["--pcapng", "/nonexistent/x.pcapng", "--duration", "1"])
        .output()
        .expect("oxtcp");
    let err = String::from_utf8_lossy(&said.stderr);
    assert!(!said.status.success());
    assert!(err.contains("/nonexistent/x.pcapng"), "{err}");
}

/// `oxtcp trace | head -1`: it ends without a word, and leaves nothing behind.
pub fn reader__that_goes_away() {
    ns::isolate();
    ns::need("python3");
    let mut trace = Trace::begin(&["--color", "never"]);
    let folder: PathBuf = trace.instance();
    drop(trace.0.stdout.take());
    let mut ended = None;
    wait::until("the trace ends", || {
        // Events, until one is written to nobody.
        let talk =
            std::process::Command::new(std::env::var("OXTCP_TOOL").unwrap_or("oxtcp".into()))
                .arg("run")
                .args(PROGRAM)
                .stdout(Stdio::null())
                .status()
                .expect("oxtcp run");
        assert!(talk.success());
        ended = trace.0.try_wait().expect("a child");
        ended.is_some()
    });
    let mut err = String::new();
    let stderr = trace.0.stderr.as_mut().expect("a pipe");
    stderr.read_to_string(&mut err).expect("text");
    assert_eq!(err, "", "{ended:?}");
    assert!(!folder.exists(), "the tracing instance is left behind");
}
