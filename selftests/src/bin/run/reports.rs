// SPDX-License-Identifier: GPL-2.0
//! `--check`, `--stats` and `--trace`, against what programs really do.

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{FromRawFd, OwnedFd};
use std::path::Path;
use std::process::Stdio;

use oxtcp_selftests::errno::check;
use oxtcp_selftests::ns::{self, sh};

use crate::{cgroups_left, command, output, says, with_cgroups, BY_LIBRARY, BY_SYSCALL};

/// As said in the manual.
pub const NOT_OURS: i32 = 122;
const TRACING: &str = "/sys/kernel/tracing";

/// Talks to itself, at the port that is its argument: 100,000 bytes one way, and 1,000 the other way with the FIN, and then both ends are closed.
const TALK: &str = "import socket as s, sys\n\
    server = s.create_server(('127.0.0.1', int(sys.argv[1])))\n\
    client = s.create_connection(server.getsockname())\n\
    taken, _ = server.accept()\n\
    for _ in range(10):\n\
    \tclient.sendall(b'x' * 10000)\n\
    \tleft = 10000\n\
    \twhile left: left -= len(taken.recv(left))\n\
    taken.sendall(b'y' * 1000)\n\
    taken.close()\n\
    left = 1000\n\
    while left: left -= len(client.recv(left))\n\
    assert client.recv(1) == b''\n\
    client.close()";

/// Opens a socket by io_uring: IORING_OP_SOCKET of AF_INET.
pub const BY_IO_URING: &str = "import ctypes, mmap, os, struct, sys\n\
    c = ctypes.CDLL(None, use_errno=True)\n\
    p = bytearray(120)\n\
    fd = c.syscall(425, 4, (ctypes.c_char * 120).from_buffer(p))\n\
    if fd < 0: sys.exit(77)\n\
    sq = struct.unpack_from('10I', p, 40)\n\
    head, tail, mask, entries, flags, dropped, array = sq[:7]\n\
    ring = mmap.mmap(fd, array + 16, offset=0)\n\
    sqes = mmap.mmap(fd, 4 * 64, offset=0x10000000)\n\
    struct.pack_into('=BBHiQQIi', sqes, 0, 45, 0, 0, 2, 1, 0, 0, 0)\n\
    struct.pack_into('I', ring, array, 0)\n\
    struct.pack_into('I', ring, tail, 1)\n\
    assert c.syscall(426, fd, 1, 1, 1, None, 0) == 1\n\
    cq = struct.unpack_from('10I', p, 80)\n\
    done = mmap.mmap(fd, cq[5] + 16 * 8, offset=0x8000000)\n\
    sys.exit(0 if struct.unpack_from('i', done, cq[5] + 8)[0] >= 0 else 78)";

fn with_tracing() {
    with_cgroups();
    ns::need("python3");
    ns::isolate();
    if !Path::new(TRACING).join("instances").exists() {
        sh(&format!("mount -t tracefs tracefs {TRACING}"));
    }
}

fn nothing_is_left() {
    assert_eq!(cgroups_left(), 0);
    let traces = sh(&format!("find {TRACING}/instances -name 'oxtcp-trace-*'"));
    assert_eq!(traces, "");
}

pub fn check__all_are_ours() {
    with_cgroups();
    ns::need("python3");
    for (arguments, of) in [
        (&["--check", "python3"][..], "family 19"),
        (&["--check", "--bpf", "python3"], "protocol 253"),
    ] {
        let (_, err) = says(&[arguments, &["-c", BY_LIBRARY]].concat());
        let parts = ["TCP sockets opened: 2, all of oxtcp", "python3", of];
        assert!(parts.iter().all(|part| err.contains(part)), "{err}");
        assert!(!err.contains("built-in"), "{err}");
    }
    let (_, err) = says(&["--check", "true"]);
    assert!(err.contains("no TCP socket was opened"), "{err}");
    // The program's exit code is kept.
    let failed = output(&["--check", "sh", "-c", "exit 7"]);
    assert_eq!(failed.status.code(), Some(7), "{failed:?}");
    assert_eq!(cgroups_left(), 0);
}

#[track_caller]
fn finds(arguments: &[&str], parts: &[&str]) {
    let output = output(arguments);
    let err = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(NOT_OURS), "{output:?}");
    assert!(parts.iter().all(|part| err.contains(part)), "{err}");
}

pub fn check__finds_others() {
    with_cgroups();
    ns::need("python3");
    let parts = [
        "1 of them NOT of oxtcp",
        "AF_INET, protocol 6",
        "the built-in TCP",
    ];
    // The library does not reach this.
    finds(&["--check", "python3", "-c", BY_SYSCALL], &parts);
    let (_, err) = says(&["--check", "--bpf", "python3", "-c", BY_SYSCALL]);
    assert!(err.contains("all of oxtcp"), "{err}");
    assert_eq!(cgroups_left(), 0);
}

/// What neither way moves.
pub fn check__finds_io_uring() {
    with_cgroups();
    ns::need("python3");
    let program = ["python3", "-c", BY_IO_URING];
    let plain = std::process::Command::new(program[0])
        .args(&program[1..])
        .output()
        .expect("python3");
    if plain.status.code() == Some(77) {
        oxtcp_selftests::ktap::skip("this kernel has no io_uring");
    }
    assert!(plain.status.success(), "{plain:?}");
    let parts = ["1 of them NOT of oxtcp", "the built-in TCP"];
    finds(&[&["--check", "--bpf"], &program[..]].concat(), &parts);
    assert_eq!(cgroups_left(), 0);
}

/// A socket that the program has as its standard input.
pub fn check__what_was_handed() {
    with_cgroups();
    for (family, protocol, code) in [(libc::AF_INET, 0, NOT_OURS), (19, 0, 0)] {
        // SAFETY: plain numbers; the descriptor is nobody else's.
        let socket = unsafe {
            let raw = check(libc::socket(
                family,
                libc::SOCK_STREAM | libc::SOCK_CLOEXEC,
                protocol,
            ));
            OwnedFd::from_raw_fd(raw.expect("a socket"))
        };
        let output = command(&["--check", "true"])
            .stdin(Stdio::from(socket))
            .output()
            .expect("oxtcp run");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{err}");
        assert!(
            err.contains("descriptor 0, which the program was handed"),
            "{err}"
        );
    }
    assert_eq!(cgroups_left(), 0);
}

/// Children that the library does not follow, and those that outlive the program.
pub fn check__of_children() {
    with_cgroups();
    ns::need("python3");
    let script = "(sleep 0.3; exec env -i /usr/bin/python3 -c \"$1\") & exit 3";
    finds(
        &["--check", "sh", "-c", script, "sh", BY_LIBRARY],
        &["TCP sockets opened: 2, 2 of them NOT of oxtcp"],
    );
    let waited = output(&["--check", "--bpf", "sh", "-c", script, "sh", BY_LIBRARY]);
    let err = String::from_utf8_lossy(&waited.stderr);
    assert_eq!(waited.status.code(), Some(3), "{err}");
    assert!(err.contains("TCP sockets opened: 2, all of oxtcp"), "{err}");
    assert_eq!(cgroups_left(), 0);
}

pub fn stats__of_a_conversation() {
    with_tracing();
    for way in [&[][..], &["--bpf"]] {
        let arguments = [way, &["--stats", "python3", "-c", TALK, "9000"]].concat();
        let (_, err) = says(&arguments);
        let parts = [
            "stats: 2 connections, 2 closed; 101000 bytes sent, 101000 received",
            "127.0.0.1:9000",
            "here",
            "peer",
        ];
        assert!(parts.iter().all(|part| err.contains(part)), "{err}");
    }
    let file = std::env::temp_dir().join(format!("oxtcp-stats-{}", std::process::id()));
    let name = file.to_str().expect("text");
    let (_, err) = says(&[
        "--stats", "--check", "--json", "--output", name, "python3", "-c", TALK, "9000",
    ]);
    assert_eq!(err, "");
    let text = fs::read_to_string(&file).expect("a report");
    fs::remove_file(&file).expect("the report");
    for part in [
        "\"all_ours\":true",
        "\"bytes_received\":1000,\"bytes_sent\":100000",
        "\"bytes_received\":100000,\"bytes_sent\":1000",
        "\"end\":\"closed\"",
        "\"events_lost\":false",
        "\"srtt_us\":",
    ] {
        assert!(text.contains(part), "no {part} in {text}");
    }
    assert_eq!(text.lines().count(), 1, "{text}");
    // One that is refused.
    let program = "import socket\n\
        try: socket.create_connection(('127.0.0.1', 9002))\n\
        except ConnectionRefusedError: pass";
    let (_, err) = says(&["--stats", "python3", "-c", program]);
    assert!(err.contains("1 connection, 1 failed"), "{err}");
    nothing_is_left();
}

/// While another program talks in the same network namespace.
pub fn trace__of_the_program_alone() {
    with_tracing();
    let file = std::env::temp_dir().join(format!("oxtcp-log-{}", std::process::id()));
    let name = file.to_str().expect("text");
    let script = "echo ready; read line; exec python3 -c \"$1\" 9000";
    let mut traced = command(&["--trace", "--output", name, "sh", "-c", script, "sh", TALK])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("oxtcp run");
    let mut line = String::new();
    let mut out = BufReader::new(traced.stdout.take().expect("a pipe"));
    out.read_line(&mut line).expect("text");
    assert_eq!(line, "ready\n");
    says(&["python3", "-c", TALK, "9001"]);
    let mut input = traced.stdin.take().expect("a pipe");
    input.write_all(b"\n").expect("it reads");
    assert!(traced.wait().expect("its end").success());
    let log = fs::read_to_string(&file).expect("a log");
    fs::remove_file(&file).expect("the log");
    for part in ["127.0.0.1:9000", " SYN ", "half open", "1000", "TIME-WAIT"] {
        assert!(log.contains(part), "no {part} in {log}");
    }
    assert!(!log.contains(":9001"), "{log}");
    // As JSON, with what the others say behind it.
    let output = output(&[
        "--trace", "--stats", "--json", "python3", "-c", TALK, "9000",
    ]);
    assert!(output.status.success(), "{output:?}");
    let err = String::from_utf8_lossy(&output.stderr);
    assert!(err.lines().all(|line| line.starts_with('{')), "{err}");
    let last = err.lines().last().expect("a line");
    assert!(last.starts_with("{\"stats\":"), "{last}");
    assert_eq!(last.matches("\"end\":\"closed\"").count(), 2, "{last}");
    assert_eq!(last.matches("\"end\":").count(), 2, "{last}");
    nothing_is_left();
}

pub fn reports__wrong_usage() {
    for (arguments, fallback, part) in [
        (&["--json", "true"][..], false, "--json"),
        (&["--output", "x", "true"], false, "--output"),
        (&["--check", "--fallback", "true"], false, "--fallback"),
        (&["--check", "true"], true, "OXTCP_FALLBACK"),
    ] {
        let mut run = command(arguments);
        if fallback {
            run.env("OXTCP_FALLBACK", "1");
        }
        let output = run.output().expect("oxtcp run");
        let err = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}: {err}");
        assert!(err.contains(part), "{arguments:?}: {err}");
    }
    let unwritable = output(&["--stats", "--output", "/no/such/folder", "true"]);
    let err = String::from_utf8_lossy(&unwritable.stderr);
    assert_eq!(unwritable.status.code(), Some(125), "{err}");
    assert!(err.contains("cannot write /no/such/folder"), "{err}");
}
