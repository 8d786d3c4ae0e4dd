// SPDX-License-Identifier: GPL-2.0
//! Network namespaces, links between them, and the tools that shape them.

use std::fs::{self, File};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::process::{Command, Stdio};

use crate::stack::{Ip, Stack};
use crate::{ktap, wait};

/// A network namespace, held open.
pub struct Namespace(File);

impl Namespace {
    /// Makes one, with its loopback up, and leaves this thread in it.
    pub fn enter_new() -> Namespace {
        // SAFETY: a plain number; this thread alone changes its namespace.
        if unsafe { libc::unshare(libc::CLONE_NEWNET) } != 0 {
            ktap::skip(&format!(
                "cannot make a network namespace: {}",
                std::io::Error::last_os_error()
            ));
        }
        set_up("lo");
        Namespace::current()
    }

    /// The one this thread is in.
    pub fn current() -> Namespace {
        Namespace(File::open("/proc/thread-self/ns/net").expect("/proc/thread-self/ns/net"))
    }

    /// The one of a process; process 1 has the initial one.
    pub fn of_process(pid: u32) -> Namespace {
        let path = format!("/proc/{pid}/ns/net");
        match File::open(&path) {
            Ok(file) => Namespace(file),
            Err(error) => ktap::skip(&format!("{path}: {error}")),
        }
    }

    /// Moves this thread into it.
    pub fn enter(&self) {
        // SAFETY: an open descriptor of a namespace.
        let result = unsafe { libc::setns(self.0.as_raw_fd(), libc::CLONE_NEWNET) };
        assert_eq!(result, 0, "setns: {}", std::io::Error::last_os_error());
    }

    /// Runs `work` inside, and comes back.
    pub fn run<T>(&self, work: impl FnOnce() -> T) -> T {
        let here = Namespace::current();
        self.enter();
        let result = work();
        here.enter();
        result
    }

    /// A path by which other programs can open it while this process lives.
    pub fn path(&self) -> String {
        format!("/proc/{}/fd/{}", std::process::id(), self.0.as_raw_fd())
    }
}

/// A namespace of the test's own, for tests that change settings or rules, or need quiet.
pub fn isolate() -> Namespace {
    Namespace::enter_new()
}

/// Two namespaces joined by a veth pair: `va` in `a` and `vb` in `b`.
pub struct Veth {
    pub a: Namespace,
    pub b: Namespace,
}

impl Veth {
    /// Makes both and leaves this thread in `a`.
    pub fn make() -> Veth {
        let b = Namespace::enter_new();
        let a = Namespace::enter_new();
        let path = b.path();
        // Neighbours are fixed: what the tests lose on purpose is TCP, not ARP.
        if let Err(text) = ip_batch(&[format!(
            "link add va address 02:00:00:00:00:01 type veth peer name vb address 02:00:00:00:00:02 netns {path}"
        )]) {
            ktap::skip(&format!("no veth: {text}"));
        }
        for (namespace, device, own, other) in [(&a, "va", 1, 2), (&b, "vb", 2, 1)] {
            let neighbour = |address: &str| {
                format!("neigh replace {address} lladdr 02:00:00:00:00:0{other} dev {device} nud permanent")
            };
            let lines = [
                format!("addr add 192.0.2.{own}/24 dev {device}"),
                format!("addr add 2001:db8::{own}/64 dev {device} nodad"),
                format!("link set {device} up"),
                neighbour(&format!("192.0.2.{other}")),
                neighbour(&format!("2001:db8::{other}")),
            ];
            namespace.run(|| ip_batch(&lines).expect("ip"));
        }
        wait::until("the link is up", || flags_of("va") & libc::IFF_RUNNING != 0);
        Veth { a, b }
    }

    /// The address of namespace `a` (1) or `b` (2).
    fn address(ip: Ip, host: u8) -> IpAddr {
        match ip {
            Ip::V4 => IpAddr::from([192, 0, 2, host]),
            Ip::V6 => format!("2001:db8::{host}").parse().expect("an address"),
        }
    }

    pub fn address_a(ip: Ip, port: u16) -> SocketAddr {
        SocketAddr::new(Veth::address(ip, 1), port)
    }

    pub fn address_b(ip: Ip, port: u16) -> SocketAddr {
        SocketAddr::new(Veth::address(ip, 2), port)
    }

    /// An address on the link that nobody has: what is sent there is never answered.
    pub fn address_of_nobody(ip: Ip, port: u16) -> SocketAddr {
        sh_in_family(
            ip,
            "neigh replace",
            "lladdr 02:00:00:00:00:09 dev va nud permanent",
        );
        SocketAddr::new(Veth::address(ip, 9), port)
    }
}

fn sh_in_family(ip: Ip, verb: &str, rest: &str) {
    sh(&format!("ip {verb} {} {rest}", Veth::address(ip, 9)));
}

/// Several commands of `ip` by one process, which takes a while to begin on a debug kernel.
///
/// # Errors
///
/// What it says.
pub fn ip_batch(lines: &[String]) -> Result<(), String> {
    try_sh(&format!(
        "ip -batch - <<'LINES'\n{}\nLINES",
        lines.join("\n")
    ))
    .map(|_| ())
}

/// An ioctl for a device of this thread's namespace, with its flags.
fn with_flags(device: &str, request: libc::Ioctl, flags: i32) -> i32 {
    // SAFETY: plain numbers; zeroes are a request.
    let (socket, mut ifreq) = unsafe {
        let socket = libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0);
        (socket, std::mem::zeroed::<libc::ifreq>())
    };
    assert!(socket >= 0, "socket: {}", std::io::Error::last_os_error());
    // SAFETY: just made, and nobody else's.
    let socket = unsafe { OwnedFd::from_raw_fd(socket) };
    for (to, from) in ifreq.ifr_name.iter_mut().zip(device.bytes()) {
        *to = from as libc::c_char;
    }
    ifreq.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: the descriptor is open, and the request whole.
    let result = unsafe { libc::ioctl(socket.as_raw_fd(), request, &mut ifreq) };
    let error = std::io::Error::last_os_error();
    assert_eq!(result, 0, "flags of {device}: {error}");
    // SAFETY: the kernel has written them, or they are ours.
    i32::from(unsafe { ifreq.ifr_ifru.ifru_flags })
}

/// IFF_UP and its like.
fn flags_of(device: &str) -> i32 {
    with_flags(device, libc::SIOCGIFFLAGS, 0)
}

fn set_up(device: &str) {
    let flags = flags_of(device) | libc::IFF_UP;
    with_flags(device, libc::SIOCSIFFLAGS, flags);
}

/// Runs a command line in this thread's namespace; fails the test when it fails. Returns what it printed.
#[track_caller]
pub fn sh(line: &str) -> String {
    match try_sh(line) {
        Ok(text) => text,
        Err(text) => panic!("`{line}` failed: {text}"),
    }
}

/// The same, with the failure returned.
pub fn try_sh(line: &str) -> Result<String, String> {
    let output = Command::new("sh")
        .args(["-c", line])
        .stdin(Stdio::null())
        .output()
        .map_err(|error| error.to_string())?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    if output.status.success() {
        Ok(text(&output.stdout))
    } else {
        Err(text(&output.stderr).trim().to_string() + text(&output.stdout).trim())
    }
}

/// Skips the test when a program is missing.
pub fn need(program: &str) {
    if try_sh(&format!("command -v {program}")).is_err() {
        ktap::skip(&format!("{program} is not installed"));
    }
}

/// Skips the test when the kernel cannot do what this command line asks.
pub fn sh_or_skip(line: &str) -> String {
    try_sh(line).unwrap_or_else(|text| ktap::skip(&format!("`{line}`: {text}")))
}

/// Loads an nftables ruleset into this namespace; skips when there are no nftables.
#[track_caller]
pub fn nft(rules: &str) {
    let Err(failed) = try_sh(&format!("nft -f - <<'RULES'\n{rules}\nRULES")) else {
        return;
    };
    need("nft");
    if let Err(text) = try_sh("nft add table inet probe && nft delete table inet probe") {
        ktap::skip(&format!("the kernel has no nf_tables: {text}"));
    }
    panic!("`nft` refuses {rules}: {failed}");
}

/// Loads one filter chain at `input` with these rules, one a line, and a counter named `dropped`.
#[track_caller]
pub fn nft_input(rules: &[&str]) {
    nft(&format!(
        "table inet t {{\n counter dropped {{ }}\n chain in {{\n type filter hook input priority 0;\n {}\n }}\n}}",
        rules.join("\n")
    ));
}

/// Takes the chain of [`nft_input`] away.
#[track_caller]
pub fn nft_clear() {
    sh("nft delete table inet t");
}

/// How many packets a counter of the chain of [`nft_input`] has seen.
#[track_caller]
pub fn nft_packets(counter: &str) -> u64 {
    let text = sh(&format!("nft list counter inet t {counter}"));
    let mut words = text
        .split_whitespace()
        .skip_while(|word| *word != "packets");
    words
        .nth(1)
        .and_then(|word| word.parse().ok())
        .unwrap_or_else(|| panic!("no count in {text}"))
}

/// Reads a sysctl of this namespace, by its path under /proc/sys.
pub fn sysctl(name: &str) -> std::io::Result<String> {
    Ok(fs::read_to_string(format!("/proc/sys/{name}"))?
        .trim()
        .to_string())
}

/// Sets a sysctl of this namespace.
#[track_caller]
pub fn set_sysctl(name: &str, value: &str) {
    fs::write(format!("/proc/sys/{name}"), value)
        .unwrap_or_else(|error| panic!("sysctl {name}={value}: {error}"));
}

/// The path of a TCP setting (named as under net/ipv4) of this stack, if the stack has it: ours stand under
/// net/oxtcp, with or without the `tcp_`.
pub fn find_sysctl(stack: Stack, name: &str) -> Option<String> {
    let paths = if stack.ours {
        vec![
            format!("net/oxtcp/{name}"),
            format!("net/oxtcp/{}", name.trim_start_matches("tcp_")),
        ]
    } else {
        vec![format!("net/ipv4/{name}")]
    };
    paths
        .into_iter()
        .find(|path| fs::metadata(format!("/proc/sys/{path}")).is_ok())
}

/// A number that `tc` counts for the root queue of `device`, in this thread's namespace.
#[track_caller]
pub fn qdisc_count(device: &str, what: &str) -> u64 {
    let text = sh(&format!("tc -s -j qdisc show dev {device} root"));
    text.split_once(&format!("\"{what}\":"))
        .and_then(|(_, rest)| {
            let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
            digits.parse().ok()
        })
        .unwrap_or_else(|| panic!("no `{what}` in {text}"))
}
