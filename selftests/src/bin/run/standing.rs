// SPDX-License-Identifier: GPL-2.0
//! `--system` and `--service`: sockets of programs that others start. There is no systemd here: the tests make the cgroups as it does.

use std::fs;
use std::io::{Read, Write};

use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use oxtcp_selftests::errno::check;
use oxtcp_selftests::ns::{self, sh};
use oxtcp_selftests::{wait, Ip, Sock, Stack};

use crate::reports::{BY_IO_URING, NOT_OURS};
use crate::{
    cgroups_left, command, kill, output, says, with_cgroups, BY_LIBRARY, BY_SYSCALL, OURS,
};

const ROOT: &str = "/sys/fs/cgroup";

/// An `oxtcp run` that stays.
struct Standing {
    child: Child,
    notify: UnixDatagram,
    folder: PathBuf,
}

impl Standing {
    /// One that has told systemd that it has begun.
    #[track_caller]
    fn new(arguments: &[&str]) -> Self {
        Self::with(arguments, |command| command)
    }

    #[track_caller]
    fn with(arguments: &[&str], change: impl Fn(&mut Command) -> &mut Command) -> Self {
        let folder = std::env::temp_dir().join(format!("oxtcp-standing-{}", std::process::id()));
        fs::create_dir(&folder).expect("a folder");
        let notify = UnixDatagram::bind(folder.join("notify")).expect("a socket");
        notify
            .set_read_timeout(Some(wait::limit()))
            .expect("a time-out");
        let mut run = command(arguments);
        run.env("NOTIFY_SOCKET", folder.join("notify"))
            .stderr(Stdio::piped());
        let child = change(&mut run).spawn().expect("oxtcp run");
        let mut standing = Self {
            child,
            notify,
            folder,
        };
        let told = standing.told();
        if told != "READY=1" {
            let said = standing.said();
            panic!("{arguments:?}: told {told:?}: {said}");
        }
        standing
    }

    fn told(&self) -> String {
        let mut bytes = [0; 100];
        let len = self.notify.recv(&mut bytes).unwrap_or(0);
        String::from_utf8_lossy(&bytes[..len]).into_owned()
    }

    fn said(&mut self) -> String {
        let _ = self.child.kill();
        let mut said = String::new();
        let mut err = self.child.stderr.take().expect("a pipe");
        err.read_to_string(&mut said).expect("text");
        said
    }

    /// Ends it. Its exit code, and what it has said.
    fn end(self, signal: libc::c_int) -> (i32, String) {
        kill(self.child.id(), signal);
        assert_eq!(self.told(), "STOPPING=1");
        let ended = self.child.wait_with_output().expect("its end");
        fs::remove_dir_all(&self.folder).expect("the folder");
        let said = String::from_utf8(ended.stderr).expect("text");
        (ended.status.code().expect(&said), said)
    }
}

/// Whether a socket of this process is ours.
fn own_is_ours(ip: Ip) -> bool {
    let protocol = Sock::open(Stack::builtin(ip)).get(libc::SOL_SOCKET, libc::SO_PROTOCOL);
    match protocol.expect("SO_PROTOCOL") {
        libc::IPPROTO_TCP => false,
        518 => true,
        other => panic!("protocol {other}"),
    }
}

/// Whether the first socket of a process is ours that goes into this cgroup.
fn is_ours_in(cgroup: &str) -> bool {
    let child = open_in(cgroup, 1);
    ours_of(child, cgroup) == 1
}

/// A process that goes into this cgroup, and opens so many sockets, up to 200, one after the other: how many of them are ours is its exit code.
fn open_in(cgroup: &str, sockets: usize) -> i32 {
    let door = fs::File::options()
        .write(true)
        .open(Path::new(ROOT).join(cgroup).join("cgroup.procs"))
        .expect(cgroup);
    // SAFETY: the child makes system calls, and ends.
    match check(unsafe { libc::fork() }).expect("fork") {
        0 => {
            let mut ours = 0;
            let entered = (&door).write_all(b"0").is_ok();
            for _ in 0..sockets {
                // SAFETY: plain numbers, and a value of the size that is given; the descriptor is closed once.
                unsafe {
                    let fd = libc::socket(libc::AF_INET, libc::SOCK_STREAM, 0);
                    let (mut protocol, mut len) = (0_i32, 4);
                    let value = (&raw mut protocol).cast();
                    libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_PROTOCOL, value, &mut len);
                    libc::close(fd);
                    match (entered, protocol) {
                        (true, 518) => ours += 1,
                        (true, libc::IPPROTO_TCP) => {}
                        _ => libc::_exit(255),
                    }
                }
            }
            // SAFETY: a plain number.
            unsafe { libc::_exit(ours) }
        }
        child => child,
    }
}

fn ours_of(child: i32, cgroup: &str) -> i32 {
    let mut status = 0;
    // SAFETY: a child of this process, and an int.
    check(unsafe { libc::waitpid(child, &mut status, 0) }).expect("waitpid");
    match libc::WEXITSTATUS(status) {
        255 => panic!("{cgroup}: no socket"),
        ours => ours,
    }
}

fn make(cgroup: &str) {
    fs::create_dir_all(Path::new(ROOT).join(cgroup)).expect(cgroup);
}

/// The kernel takes who has ended out of it a little later.
fn remove(cgroup: &str) {
    let path = Path::new(ROOT).join(cgroup);
    wait::until("the cgroup is empty", || fs::remove_dir(&path).is_ok());
}

/// All that the tests make.
fn remove_all(cgroups: &[&str]) {
    for cgroup in cgroups {
        let mut path = Path::new(cgroup);
        remove(cgroup);
        while let Some(above) = path.parent().filter(|above| *above != Path::new("")) {
            // Others may be in it.
            let _ = fs::remove_dir(Path::new(ROOT).join(above));
            path = above;
        }
    }
}

fn nothing_is_left() {
    assert_eq!(cgroups_left(), 0);
}

pub fn system__moves_everyone() {
    with_cgroups();
    ns::need("python3");
    ns::need("busybox");
    assert!(!own_is_ours(Ip::V4));
    let refcnt = || -> u32 {
        let text = fs::read_to_string("/sys/module/oxtcp/refcnt").expect("the module");
        text.trim().parse().expect("a number")
    };
    let before = refcnt();
    let standing = Standing::new(&["--system"]);
    for ip in Ip::BOTH {
        assert!(own_is_ours(ip), "{ip:?}");
    }
    // What is to come is not lost by unloading the module.
    assert!(refcnt() > before, "the module can be unloaded");
    let said = sh(&format!("python3 -c \"{BY_LIBRARY}\""));
    assert_eq!(said.trim(), format!("{OURS}{OURS}17 0").trim());
    let said = sh(&format!(
        "env -i unshare -n /usr/bin/python3 -c \"{BY_SYSCALL}\""
    ));
    assert_eq!(said.trim(), OURS.trim());
    // The others' ways go on as they did.
    for (arguments, protocol) in [
        (&["--bpf", "--check"][..], OURS),
        // The library says IPPROTO_TCP of all sockets of ours.
        (&["--check"], "6 "),
    ] {
        let (out, err) = says(&[arguments, &["python3", "-c", BY_SYSCALL]].concat());
        assert_eq!(out, protocol);
        assert!(err.contains("TCP sockets opened: 1, all of oxtcp"), "{err}");
    }
    // A server that was started by nobody here.
    ns::isolate();
    let mut server = Command::new("busybox")
        .args(["httpd", "-f", "-p", "127.0.0.1:8000", "-h", "/"])
        .spawn()
        .expect("busybox");
    let listed = |stack| {
        let entries = oxtcp_selftests::procnet::entries(stack);
        entries.iter().any(|entry| entry.local.port() == 8000)
    };
    wait::until("it listens", || {
        Ip::BOTH.into_iter().any(|ip| listed(Stack::ours(ip)))
    });
    let (code, said) = standing.end(libc::SIGTERM);
    assert_eq!(code, 0, "{said}");
    let parts = ["all processes", "systemctl restart", "not moved any more"];
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    assert!(!own_is_ours(Ip::V4));
    // What it has, it keeps.
    assert!(Ip::BOTH.into_iter().any(|ip| listed(Stack::ours(ip))));
    server.kill().expect("kill");
    server.wait().expect("its end");
    nothing_is_left();
}

pub fn system__check() {
    with_cgroups();
    ns::need("python3");
    let standing = Standing::new(&["--system", "--check"]);
    sh(&format!("python3 -c \"{BY_SYSCALL}\""));
    let (code, said) = standing.end(libc::SIGINT);
    assert_eq!(code, 0, "{said}");
    let parts = ["all of oxtcp", "python3", "AF_INET, protocol 253"];
    assert!(parts.iter().all(|part| said.contains(part)), "{said}");
    // What BPF does not move.
    let standing = Standing::new(&["--system", "--check", "--json"]);
    let program = Command::new("python3").args(["-c", BY_IO_URING]).output();
    let program = program.expect("python3");
    let (code, said) = standing.end(libc::SIGINT);
    if program.status.code() == Some(77) {
        oxtcp_selftests::ktap::skip("this kernel has no io_uring");
    }
    assert!(program.status.success(), "{program:?}");
    assert_eq!(code, NOT_OURS, "{said}");
    assert!(said.contains("\"all_ours\":false"), "{said}");
    nothing_is_left();
}

pub fn service__and_no_other() {
    with_cgroups();
    let ours = [
        "system.slice/x.service",
        "system.slice/x.service/inner/most",
        "system.slice/system-a.slice/a@1.service",
        "system.slice/_cpu.service",
    ];
    let others = [
        "system.slice/y.service",
        "system.slice/x.service2",
        "system.slice/xx.service",
        "system.slice/x",
        "system.slice/x.scope",
        "x.slice",
        "user.slice/user@1.service/app.slice/x.service",
        "machine.slice/y.scope/system.slice/x.service",
        "others/x.service",
    ];
    ours.iter().chain(&others).for_each(|cgroup| make(cgroup));
    let arguments = [
        "--service",
        "x",
        "--service",
        "a@1.service",
        "--service",
        "cpu",
    ];
    let standing = Standing::new(&arguments);
    for _ in 0..3 {
        for cgroup in ours {
            assert!(is_ours_in(cgroup), "{cgroup}");
        }
        for cgroup in others {
            assert!(!is_ours_in(cgroup), "{cgroup}");
        }
        assert!(!own_is_ours(Ip::V4));
    }
    let (code, said) = standing.end(libc::SIGTERM);
    assert_eq!(code, 0, "{said}");
    let part = "x.service: its new TCP sockets are moved by BPF until this ends, in the cgroup /sys/fs/cgroup/system.slice/x.service";
    assert!(said.contains(part), "{said}");
    for cgroup in ours {
        assert!(!is_ours_in(cgroup), "{cgroup}");
    }
    for cgroup in ["system.slice/x.service/inner/most"]
        .iter()
        .chain(&ours)
        .chain(&others)
    {
        if Path::new(ROOT).join(cgroup).exists() {
            remove_all(&[cgroup]);
        }
    }
    nothing_is_left();
}

/// As systemd does it when the service is started again: its first socket is opened at once.
pub fn service__made_anew() {
    with_cgroups();
    let (ours, other) = ("system.slice/x.service", "system.slice/y.service");
    make(ours);
    make(other);
    let mut standing = Standing::new(&["--service", "x"]);
    let rounds = 300;
    for round in 0..rounds {
        remove(ours);
        make(ours);
        assert!(is_ours_in(ours), "round {round}");
        assert!(!is_ours_in(other), "round {round}");
    }
    // In another slice, as after a change of Slice=.
    remove(ours);
    make("other.slice/x.service");
    assert!(is_ours_in("other.slice/x.service"));
    assert!(standing.child.try_wait().expect("its state").is_none());
    let (code, said) = standing.end(libc::SIGTERM);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("begins in the cgroup"), "{said}");
    make(ours);
    assert!(!is_ours_in(ours));
    remove_all(&[ours, other, "other.slice/x.service"]);
    nothing_is_left();
}

/// The kernel leaves out a program of BPF in the midst of which another task was preempted.
pub fn service__many_at_once() {
    with_cgroups();
    let cgroup = "system.slice/x.service";
    make(cgroup);
    let standing = Standing::new(&["--service", "x", "--check"]);
    let (rounds, sockets) = (20, 200);
    for round in 0..rounds {
        let children: Vec<_> = (0..8).map(|_| open_in(cgroup, sockets)).collect();
        for child in children {
            assert_eq!(ours_of(child, cgroup), sockets as i32, "round {round}");
        }
    }
    let (code, said) = standing.end(libc::SIGTERM);
    assert_eq!(code, 0, "{said}");
    let all = format!("TCP sockets opened: {}, all of oxtcp", rounds * 8 * sockets);
    assert!(said.contains(&all), "{said}");
    remove_all(&[cgroup]);
    nothing_is_left();
}

/// Puts a `systemctl` before the real one that knows x.service alone, and has it look as if systemd were there.
fn with_systemd() -> PathBuf {
    sh("mount -t tmpfs none /run && mkdir -p /run/systemd/system /run/bin");
    let path = Path::new("/run/bin");
    let script = "#!/bin/sh\nfor last; do :; done\n\
        case $last in x.service) echo LoadState=loaded;; *) echo LoadState=not-found;; esac\n";
    fs::write(path.join("systemctl"), script).expect("a script");
    fs::set_permissions(path.join("systemctl"), fs::Permissions::from_mode(0o755))
        .expect("its mode");
    path.to_path_buf()
}

/// It has no cgroup yet.
pub fn service__first_start() {
    with_cgroups();
    let folder = with_systemd();
    let paths = format!(
        "{}:{}",
        folder.display(),
        std::env::var("PATH").expect("PATH")
    );
    let standing = Standing::with(&["--service", "x"], |command| command.env("PATH", &paths));
    make("system.slice/x.service");
    assert!(is_ours_in("system.slice/x.service"));
    let (code, said) = standing.end(libc::SIGTERM);
    assert_eq!(code, 0, "{said}");
    assert!(said.contains("x.service: it does not run"), "{said}");
    let unknown = command(&["--service", "y"]).env("PATH", &paths).output();
    let unknown = unknown.expect("oxtcp run");
    let said = String::from_utf8_lossy(&unknown.stderr);
    assert_eq!(unknown.status.code(), Some(125), "{said}");
    assert!(
        said.contains("systemd knows no service y.service"),
        "{said}"
    );
    remove_all(&["system.slice/x.service"]);
    nothing_is_left();
}

pub fn service__check() {
    with_cgroups();
    ns::need("python3");
    ns::isolate();
    let (ours, other) = ("system.slice/x.service", "system.slice/y.service");
    make(ours);
    make(other);
    let standing = Standing::new(&["--service", "x", "--check"]);
    for _ in 0..7 {
        assert!(is_ours_in(ours));
        assert!(!is_ours_in(other));
    }
    let (code, said) = standing.end(libc::SIGTERM);
    assert_eq!(code, 0, "{said}");
    assert!(
        said.contains("TCP sockets opened: 7, all of oxtcp"),
        "{said}"
    );
    // One that it has had before.
    let program = "import socket, time\ns = socket.create_server(('127.0.0.1', 0))\nprint('listens', flush=True)\ntime.sleep(1000)";
    let mut server = Command::new("sh")
        .args([
            "-c",
            &format!("echo 0 > {ROOT}/{ours}/cgroup.procs && exec python3 -c \"$1\""),
            "sh",
            program,
        ])
        .stdout(Stdio::piped())
        .spawn()
        .expect("python3");
    let mut line = [0; 8];
    let mut out = server.stdout.take().expect("a pipe");
    out.read_exact(&mut line).expect("it listens");
    let standing = Standing::new(&["--service", "x", "--check"]);
    assert!(is_ours_in(ours));
    let (code, said) = standing.end(libc::SIGTERM);
    server.kill().expect("kill");
    server.wait().expect("its end");
    assert_eq!(code, NOT_OURS, "{said}");
    assert!(
        said.contains("python3 has had 1 of the built-in TCP open"),
        "{said}"
    );
    remove_all(&[ours, other]);
    nothing_is_left();
}

#[track_caller]
fn refused(code: i32, part: &str, arguments: &[&str]) {
    let output = output(arguments);
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{arguments:?}: {said}");
    assert!(said.contains(part), "{arguments:?}: {said}");
}

pub fn standing__says_why_not() {
    with_cgroups();
    // Not even a folder for systemd.
    sh("mount -t tmpfs none /run");
    refused(
        125,
        "no service x.service below /sys/fs/cgroup",
        &["--service", "x"],
    );
    let run = command(&["--system"]);
    let output = Command::new("setpriv")
        .args(["--reuid", "65534", "--clear-groups"])
        .arg(run.get_program())
        .args(run.get_args())
        .output()
        .expect("setpriv");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("as root"), "{said}");
    let mut run = command(&["--system"]);
    let output = run.env("NOTIFY_SOCKET", "/no/such/socket").output();
    let output = output.expect("oxtcp run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(125), "{said}");
    assert!(said.contains("NOTIFY_SOCKET"), "{said}");
    assert!(!own_is_ours(Ip::V4));
    sh("umount -a -t cgroup2");
    refused(125, "mount -t cgroup2", &["--service", "x"]);
    sh("mount -t tmpfs none /sys/module");
    refused(125, "not loaded", &["--system"]);
    sh("umount /sys/module");
}

pub fn standing__wrong_usage() {
    for (part, arguments) in [
        ("cannot be used with", &["--system", "true"][..]),
        ("cannot be used with", &["--service", "x", "true"]),
        ("cannot be used with", &["--service", "x", "--system"]),
        ("cannot be used with", &["--system", "--fallback"]),
        ("oxtcp trace", &["--system", "--stats"]),
        ("oxtcp trace", &["--service", "x", "--trace"]),
        ("--check", &["--system", "--family", "19"]),
        ("--check", &["--bpf", "--family", "19", "true"]),
        ("--json", &["--system", "--json"]),
        ("no service", &["--service", "ssh.socket"]),
        ("template", &["--service", "getty@"]),
        ("PROGRAM", &[]),
    ] {
        refused(2, part, arguments);
    }
}

/// One that is open belongs to nobody else: samples of an inner one are not sockets of the program's.
pub fn check__of_an_inner_check() {
    with_cgroups();
    let tool = command(&[])
        .get_program()
        .to_str()
        .expect("text")
        .to_string();
    let script = format!("exec {tool} run --check true");
    for way in [&["--check"][..], &["--check", "--bpf"]] {
        let arguments = [way, &["sh", "-c", &script]].concat();
        let output = output(&arguments);
        let said = String::from_utf8_lossy(&output.stderr);
        assert_eq!(output.status.code(), Some(0), "{said}");
        assert!(!said.contains("NOT of oxtcp"), "{said}");
    }
    nothing_is_left();
}
