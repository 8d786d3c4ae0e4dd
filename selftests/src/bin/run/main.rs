// SPDX-License-Identifier: GPL-2.0
//! `oxtcp run`: programs that no preloaded library reaches, whose sockets are moved by BPF, in a cgroup; and what it says of a program.
//!
//! OXTCP_TOOL names the command; else it is the one in PATH.

use std::fs;
use std::io::{BufRead, BufReader};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::path::Path;
use std::process::{Child, Command, ExitCode, Output, Stdio};

use oxtcp_selftests::errno::check;
use oxtcp_selftests::ns::{self, sh};
use oxtcp_selftests::{ktap, stack, wait, Ip, Sock, Stack, Suite};

mod reports;
mod standing;

fn main() -> ExitCode {
    let mut suite = Suite::from_args("run");
    suite.once("run__static_program", run__static_program);
    suite.once("run__raw_system_calls", run__raw_system_calls);
    suite.once("run__empty_environment", run__empty_environment);
    suite.once("run__others_are_left_alone", run__others_are_left_alone);
    suite.once("run__exit_code", run__exit_code);
    suite.once("run__waits_for_all", run__waits_for_all);
    suite.once("run__signals_go_on", run__signals_go_on);
    suite.once("run__signals_of_a_terminal", run__signals_of_a_terminal);
    suite.once("run__ignored_signals", run__ignored_signals);
    suite.once("run__cannot_enter", run__cannot_enter);
    suite.once("run__too_many", run__too_many);
    suite.once("run__says_why_not", run__says_why_not);
    suite.once(
        "run__preload_where_it_reaches",
        run__preload_where_it_reaches,
    );
    suite.once("mptcp__is_moved", mptcp__is_moved);
    suite.once("check__all_are_ours", reports::check__all_are_ours);
    suite.once("check__finds_others", reports::check__finds_others);
    suite.once("check__finds_io_uring", reports::check__finds_io_uring);
    suite.once("check__what_was_handed", reports::check__what_was_handed);
    suite.once("check__of_children", reports::check__of_children);
    suite.once(
        "stats__of_a_conversation",
        reports::stats__of_a_conversation,
    );
    suite.once(
        "trace__of_the_program_alone",
        reports::trace__of_the_program_alone,
    );
    suite.once("reports__wrong_usage", reports::reports__wrong_usage);
    suite.once(
        "check__of_an_inner_check",
        standing::check__of_an_inner_check,
    );
    suite.once("system__moves_everyone", standing::system__moves_everyone);
    suite.once("system__check", standing::system__check);
    suite.once("service__and_no_other", standing::service__and_no_other);
    suite.once("service__made_anew", standing::service__made_anew);
    suite.once("service__many_at_once", standing::service__many_at_once);
    suite.once("service__first_start", standing::service__first_start);
    suite.once("service__check", standing::service__check);
    suite.once("standing__says_why_not", standing::standing__says_why_not);
    suite.once("standing__wrong_usage", standing::standing__wrong_usage);
    suite.run()
}

/// Prints SO_PROTOCOL of what a program asks for by the C library.
const BY_LIBRARY: &str = "import socket as s\n\
    for ask in [(s.AF_INET, s.SOCK_STREAM, 0), (s.AF_INET6, s.SOCK_STREAM | s.SOCK_NONBLOCK, 6), (s.AF_INET, s.SOCK_DGRAM, 0), \
    (s.AF_UNIX, s.SOCK_STREAM, 0)]:\n\
    \tprint(s.socket(*ask).getsockopt(s.SOL_SOCKET, s.SO_PROTOCOL), end=' ')";
/// And by syscall(2), which no library comes before.
const BY_SYSCALL: &str = "import ctypes, socket as s\n\
    fd = ctypes.CDLL(None).syscall(41, int(s.AF_INET), int(s.SOCK_STREAM), 0)\n\
    print(s.socket(fileno=fd).getsockopt(s.SOL_SOCKET, s.SO_PROTOCOL), end=' ')";
/// As SO_PROTOCOL tells it of sockets of ours.
const OURS: &str = "518 ";

/// `oxtcp run` with these arguments.
fn command(arguments: &[&str]) -> Command {
    if stack::builtin_only() {
        ktap::skip("the command is for oxtcp");
    }
    let mut command = Command::new(std::env::var("OXTCP_TOOL").unwrap_or("oxtcp".into()));
    command.arg("run").args(arguments).stdin(Stdio::null());
    command
}

/// A mount namespace in which cgroups are seen. Skips where the kernel has no BTF.
fn with_cgroups() {
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        ktap::skip("this kernel has no BTF");
    }
    mount_cgroups();
}

fn mount_cgroups() {
    // SAFETY: a plain number.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) }).expect("a mount namespace");
    sh("mount --make-rprivate / && mount -t cgroup2 none /sys/fs/cgroup");
}

fn cgroups_left() -> usize {
    let text = sh("find /sys/fs/cgroup -name 'oxtcp-run-*' -type d");
    text.lines().count()
}

fn output(arguments: &[&str]) -> Output {
    command(arguments).output().expect("oxtcp run")
}

#[track_caller]
fn says(arguments: &[&str]) -> (String, String) {
    let output = output(arguments);
    let text = |bytes| String::from_utf8(bytes).expect("text");
    let (out, err) = (text(output.stdout), text(output.stderr));
    assert!(output.status.success(), "{arguments:?}: {out}{err}");
    (out, err)
}

/// A web server that is all of one file, and that the signal for `oxtcp run` ends.
fn run__static_program() {
    with_cgroups();
    ns::need("busybox");
    ns::need("curl");
    ns::isolate();
    let folder = std::env::temp_dir().join(format!("oxtcp-run-{}", std::process::id()));
    fs::create_dir(&folder).expect("a folder");
    fs::write(folder.join("page"), "a page\n").expect("a page");
    let mut server: Child = command(&["busybox", "httpd", "-f", "-p", "127.0.0.1:8000"])
        .arg("-h")
        .arg(&folder)
        .stderr(Stdio::piped())
        .spawn()
        .expect("oxtcp run");
    let listed = |stack: Stack| {
        let entries = oxtcp_selftests::procnet::entries(stack);
        entries.iter().any(|e| e.local.port() == 8000)
    };
    // It may be of either family.
    let ours = || Ip::BOTH.into_iter().any(|ip| listed(Stack::ours(ip)));
    wait::until("it listens", || {
        let ended = server.try_wait().expect("its state");
        assert!(ended.is_none(), "it has ended: {ended:?}");
        ours()
    });
    assert!(!listed(Stack::builtin(Ip::V4)) && !listed(Stack::builtin(Ip::V6)));
    assert_eq!(sh("curl -sS http://127.0.0.1:8000/page").trim(), "a page");
    fs::remove_dir_all(&folder).expect("the folder");
    assert_eq!(cgroups_left(), 1);
    // SAFETY: plain numbers; the process is a child that was not waited for.
    check(unsafe { libc::kill(server.id() as i32, libc::SIGTERM) }).expect("kill");
    let ended = server.wait_with_output().expect("its end");
    assert_eq!(ended.status.code(), Some(128 + libc::SIGTERM), "{ended:?}");
    let said = String::from_utf8(ended.stderr).expect("text");
    assert!(
        said.contains("statically linked") && said.contains("by BPF"),
        "{said}"
    );
    assert_eq!(cgroups_left(), 0);
}

fn run__raw_system_calls() {
    with_cgroups();
    ns::need("python3");
    let (out, err) = says(&["--bpf", "python3", "-c", BY_SYSCALL]);
    assert_eq!(out, OURS);
    assert!(err.contains("by BPF"), "{err}");
    let (out, _) = says(&["--bpf", "python3", "-c", BY_LIBRARY]);
    assert_eq!(out, format!("{OURS}{OURS}17 0 "));
}

fn run__empty_environment() {
    with_cgroups();
    ns::need("python3");
    let (out, _) = says(&["--bpf", "env", "-i", "/usr/bin/python3", "-c", BY_SYSCALL]);
    assert_eq!(out, OURS);
}

/// Programs that are not in the cgroup have what they ask for.
fn run__others_are_left_alone() {
    with_cgroups();
    let mut inside = command(&["--bpf", "sleep", "1000"])
        .stderr(Stdio::null())
        .spawn()
        .expect("oxtcp run");
    wait::until("the program runs", || {
        let text = sh("cat /sys/fs/cgroup/oxtcp-run-*/cgroup.procs 2> /dev/null || true");
        text.lines().count() == 1
    });
    for ip in Ip::BOTH {
        let sock = Sock::open(Stack::builtin(ip));
        let protocol = sock.get(libc::SOL_SOCKET, libc::SO_PROTOCOL);
        assert_eq!(protocol.expect("SO_PROTOCOL"), libc::IPPROTO_TCP);
    }
    // Killed, it takes the program with it, which would go on with the built-in TCP.
    inside.kill().expect("kill");
    let ended = inside.wait().expect("its end");
    assert_eq!(ended.signal(), Some(libc::SIGKILL));
    wait::until("the program's end", || {
        let text = sh("cat /sys/fs/cgroup/oxtcp-run-*/cgroup.events");
        text.contains("populated 0")
    });
    sh("rmdir /sys/fs/cgroup/oxtcp-run-*");
}

fn run__exit_code() {
    with_cgroups();
    for (script, code) in [("exit 7", 7), ("kill -9 $$", 137), ("exit 0", 0)] {
        let output = output(&["--bpf", "sh", "-c", script]);
        assert_eq!(output.status.code(), Some(code), "{script}: {output:?}");
    }
    let missing = output(&["--bpf", "no-such-program"]);
    assert_eq!(missing.status.code(), Some(127), "{missing:?}");
    let denied = std::env::temp_dir().join(format!("oxtcp-run-{}", std::process::id()));
    fs::write(&denied, "#!/no/such/interpreter\n").expect("a file");
    sh(&format!("chmod +x {}", denied.display()));
    let output = output(&["--bpf", denied.to_str().expect("text")]);
    fs::remove_file(&denied).expect("the file");
    assert_eq!(output.status.code(), Some(126), "{output:?}");
    assert_eq!(cgroups_left(), 0);
}

/// What the program has started keeps its sockets moved when it has ended itself.
fn run__waits_for_all() {
    with_cgroups();
    ns::need("python3");
    let script =
        "(while kill -0 $$ 2> /dev/null; do sleep 0.1; done; exec python3 -c \"$1\") & exit 3";
    let output = output(&["--bpf", "sh", "-c", script, "sh", BY_SYSCALL]);
    assert_eq!(String::from_utf8_lossy(&output.stdout), OURS, "{output:?}");
    assert_eq!(output.status.code(), Some(3), "{output:?}");
    let said = String::from_utf8(output.stderr).expect("text");
    assert!(said.contains("are waited for"), "{said}");
    assert_eq!(cgroups_left(), 0);
}

/// Each of them, once.
fn run__signals_go_on() {
    with_cgroups();
    let script = "for s in TERM HUP INT QUIT USR1; do trap \"echo $s\" $s; done; trap 'echo USR2; exit 3' USR2; \
        echo ready; while :; do sleep 0.01; done";
    let mut inside = command(&["--bpf", "sh", "-c", script])
        .stdout(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()
        .expect("oxtcp run");
    let mut said = BufReader::new(inside.stdout.take().expect("a pipe")).lines();
    let mut next = || said.next().expect("a line").expect("text");
    assert_eq!(next(), "ready");
    for (signal, name) in [
        (libc::SIGINT, "INT"),
        (libc::SIGQUIT, "QUIT"),
        (libc::SIGHUP, "HUP"),
        (libc::SIGTERM, "TERM"),
        (libc::SIGUSR1, "USR1"),
        (libc::SIGUSR2, "USR2"),
    ] {
        kill(inside.id(), signal);
        assert_eq!(next(), name);
    }
    let ended = inside.wait().expect("its end");
    assert_eq!(ended.code(), Some(3));
    assert_eq!(cgroups_left(), 0);
}

#[track_caller]
fn kill(pid: u32, signal: libc::c_int) {
    // SAFETY: plain numbers; the process is a child that was not waited for.
    check(unsafe { libc::kill(pid as i32, signal) }).expect("kill");
}

/// What Ctrl-C sends, the program has from the terminal, and not from `oxtcp run` as well.
fn run__signals_of_a_terminal() {
    with_cgroups();
    ns::need("python3");
    // Standard signals that wait are one: the program counts them with time between.
    let program = "import signal, sys, time\n\
        got = []\n\
        signal.signal(signal.SIGINT, lambda *_: got.append(1))\n\
        print('ready', flush=True)\n\
        while not got: time.sleep(0.01)\n\
        time.sleep(0.5)\n\
        print('got', len(got), flush=True)";
    let terminal = "import os, pty, sys\n\
        pid, fd = pty.fork()\n\
        if pid == 0: os.execvp(sys.argv[1], sys.argv[1:])\n\
        text = b''\n\
        while b'ready' not in text: text += os.read(fd, 1000)\n\
        os.write(fd, b'\\x03')\n\
        try:\n\
        \twhile True: text += os.read(fd, 1000)\n\
        except OSError: pass\n\
        print(text.decode(), os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]))";
    let run = command(&["--bpf", "python3", "-c", program]);
    let output = Command::new("python3")
        .args(["-c", terminal])
        .arg(run.get_program())
        .args(run.get_args())
        .output()
        .expect("python3");
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(said.contains("got 1\r\n"), "{output:?}");
    assert!(said.trim_end().ends_with(" 0"), "{said}");
    assert_eq!(cgroups_left(), 0);
}

/// What is ignored, as by nohup(1), is so for the program; a parent that ignores its children's end does not matter.
fn run__ignored_signals() {
    with_cgroups();
    let ignoring = |arguments: &[&str]| {
        let mut command = command(arguments);
        // SAFETY: between fork and exec there are two system calls.
        unsafe {
            command.pre_exec(|| {
                libc::signal(libc::SIGHUP, libc::SIG_IGN);
                libc::signal(libc::SIGCHLD, libc::SIG_IGN);
                Ok(())
            })
        };
        command.output().expect("oxtcp run")
    };
    let output = ignoring(&["--bpf", "sh", "-c", "kill -HUP $PPID; exit 7"]);
    assert_eq!(output.status.code(), Some(7), "{output:?}");
    let output = ignoring(&["--bpf", "grep", "SigIgn", "/proc/self/status"]);
    let said = String::from_utf8_lossy(&output.stdout);
    let mask = said.trim().rsplit('\t').next().expect("a mask");
    let mask = u64::from_str_radix(mask, 16).expect(mask);
    for signal in [libc::SIGHUP, libc::SIGCHLD] {
        assert!(mask & (1 << (signal - 1)) != 0, "{signal}: {said}");
    }
    assert_eq!(cgroups_left(), 0);
}

/// Below a threaded cgroup there are none that a process may go into.
fn run__cannot_enter() {
    with_cgroups();
    sh("mkdir /sys/fs/cgroup/threads && echo threaded > /sys/fs/cgroup/threads/cgroup.type");
    let run = command(&["--bpf", "echo", "it runs"]);
    let output = Command::new("sh")
        .args([
            "-c",
            "echo $$ > /sys/fs/cgroup/threads/cgroup.procs && exec \"$@\"",
            "sh",
        ])
        .arg(run.get_program())
        .args(run.get_args())
        .output()
        .expect("sh");
    sh("rmdir /sys/fs/cgroup/threads");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert!(
        said.contains("cannot move the program into its cgroup"),
        "{said}"
    );
    assert!(output.stdout.is_empty());
    assert_eq!(cgroups_left(), 0);
}

/// More than the kernel has room for: the message says so, and those that run go on.
fn run__too_many() {
    with_cgroups();
    let mut running = Vec::new();
    let refused = loop {
        assert!(running.len() < 60, "there is room for all");
        let mut one = command(&["--bpf", "sh", "-c", "echo runs; exec sleep 1000"])
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("oxtcp run");
        let mut line = String::new();
        let mut out = BufReader::new(one.stdout.take().expect("a pipe"));
        out.read_line(&mut line).expect("text");
        if line.is_empty() {
            break one.wait_with_output().expect("its end");
        }
        running.push(one);
    };
    let said = String::from_utf8_lossy(&refused.stderr);
    assert_eq!(refused.status.code(), Some(125), "{said}");
    assert!(said.contains("takes no more programs"), "{said}");
    // Each takes two, while there are.
    assert!(running.len() >= 13, "{}: {said}", running.len());
    for one in &running {
        kill(one.id(), libc::SIGTERM);
    }
    for mut one in running {
        let ended = one.wait().expect("its end");
        assert_eq!(ended.code(), Some(128 + libc::SIGTERM));
    }
    assert_eq!(cgroups_left(), 0);
}

/// What a static program lacks where it cannot be moved; it is not run.
fn run__says_why_not() {
    ns::need("busybox");
    let refused = |code, parts: &[&str], arguments: &[&str]| {
        let output = output(arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(code), "{said}");
        assert!(parts.iter().all(|part| said.contains(part)), "{said}");
        assert!(output.stdout.is_empty());
    };
    // SAFETY: a plain number.
    check(unsafe { libc::unshare(libc::CLONE_NEWNS) }).expect("a mount namespace");
    sh("mount --make-rprivate / && (umount -a -t cgroup2 || true)");
    refused(
        123,
        &["statically linked", "by BPF either", "mount -t cgroup2"],
        &["busybox", "echo", "it runs"],
    );
    refused(
        125,
        &["cannot be moved by BPF", "mount -t cgroup2"],
        &["--bpf", "true"],
    );
    mount_cgroups();
    if !Path::new("/sys/kernel/btf/vmlinux").exists() {
        let parts = ["statically linked", "CONFIG_DEBUG_INFO_BTF"];
        refused(123, &parts, &["busybox", "echo", "it runs"]);
    }
    assert_eq!(cgroups_left(), 0);
}

/// Who asks for MPTCP would have the built-in TCP below it, as Go's listeners do.
fn mptcp__is_moved() {
    with_cgroups();
    ns::need("python3");
    let program = "import socket as s\n\
        print(s.socket(s.AF_INET6, s.SOCK_STREAM, 262).getsockopt(s.SOL_SOCKET, s.SO_PROTOCOL), end=' ')";
    assert_eq!(says(&["--bpf", "python3", "-c", program]).0, OURS);
    assert_eq!(says(&["python3", "-c", program]).0, "6 ");
}

fn run__preload_where_it_reaches() {
    ns::need("python3");
    let (out, err) = says(&["--verbose", "python3", "-c", BY_LIBRARY]);
    // The library says IPPROTO_TCP of what it has moved.
    assert_eq!(out, "6 6 17 0 ");
    assert!(err.contains("liboxtcp_preload.so"), "{err}");
    let (_, err) = says(&["python3", "-c", BY_LIBRARY]);
    assert_eq!(err, "");
}
