// SPDX-License-Identifier: GPL-2.0
//! `--check`: of which TCP a program's sockets were, as the kernel has counted them.

use std::fmt::Write as _;
use std::fs::{self, File};

use serde_json::{json, Value};

use super::bpf::count::{Counted, Counter, Opened, AF_SMC, IPPROTO_SMC};
use super::bpf::fence::Fence;
use super::held::Held;
use super::{module, sample, Error};
use crate::output::{Color, Painter, Table};

/// What sockets are of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tcp {
    /// oxtcp.
    Ours,
    /// The kernel's own.
    BuiltIn,
    /// With the built-in TCP below it.
    Mptcp,
    /// As well.
    Smc,
}

impl Tcp {
    /// In words.
    fn name(self) -> &'static str {
        match self {
            Tcp::Ours => "oxtcp",
            Tcp::BuiltIn => "the built-in TCP",
            Tcp::Mptcp => "MPTCP, above the built-in TCP",
            Tcp::Smc => "SMC, above the built-in TCP",
        }
    }
}

/// The numbers that the module has.
#[derive(Clone, Copy, Debug)]
pub struct Numbers {
    /// Its socket family.
    pub family: u16,
    /// Its protocol of AF_INET and AF_INET6, if it has one.
    pub protocol: Option<u16>,
}

impl Numbers {
    /// What a socket is of that has this family, and this protocol.
    fn tcp_of(self, family: i32, protocol: i32) -> Tcp {
        match (family, protocol) {
            _ if family == i32::from(self.family) => Tcp::Ours,
            _ if Some(protocol) == self.protocol.map(i32::from) => Tcp::Ours,
            (AF_SMC, _) | (_, IPPROTO_SMC) => Tcp::Smc,
            (_, libc::IPPROTO_MPTCP) => Tcp::Mptcp,
            _ => Tcp::BuiltIn,
        }
    }
}

/// A socket of TCP that the program has from the beginning: its standard input, say, or one of systemd's.
#[derive(Clone, Debug, PartialEq)]
pub struct Handed {
    fd: i32,
    tcp: Tcp,
}

/// The sockets of TCP that this process would hand to a program.
pub fn handed() -> Vec<Handed> {
    let Ok(entries) = fs::read_dir("/proc/self/fd") else {
        return Vec::new();
    };
    let names = entries.flatten().map(|entry| entry.file_name());
    let mut fds: Vec<i32> = names
        .filter_map(|name| name.to_str()?.parse().ok())
        .collect();
    fds.sort_unstable();
    fds.into_iter()
        .filter_map(|fd| {
            Some(Handed {
                fd,
                tcp: tcp_of(fd)?,
            })
        })
        .collect()
}

/// What an open descriptor is of, if it is a socket of TCP and is not closed by execve().
fn tcp_of(fd: i32) -> Option<Tcp> {
    /// As SO_PROTOCOL tells it of oxtcp's.
    const OURS: i32 = 518;
    // SAFETY: plain numbers.
    let flags = unsafe { libc::fcntl(fd, libc::F_GETFD) };
    if flags < 0 || flags & libc::FD_CLOEXEC != 0 {
        return None;
    }
    let option = |name| {
        let (mut value, mut len) = (0_i32, size_of::<i32>() as libc::socklen_t);
        // SAFETY: the value is as long as `len` says.
        let result = unsafe {
            libc::getsockopt(
                fd,
                libc::SOL_SOCKET,
                name,
                (&raw mut value).cast(),
                &raw mut len,
            )
        };
        (result == 0).then_some(value)
    };
    match (
        option(libc::SO_TYPE)?,
        option(libc::SO_PROTOCOL)?,
        option(libc::SO_DOMAIN)?,
    ) {
        (libc::SOCK_STREAM, OURS, _) => Some(Tcp::Ours),
        (libc::SOCK_STREAM, libc::IPPROTO_TCP, _) => Some(Tcp::BuiltIn),
        (libc::SOCK_STREAM, libc::IPPROTO_MPTCP, _) => Some(Tcp::Mptcp),
        (libc::SOCK_STREAM, _, AF_SMC) => Some(Tcp::Smc),
        _ => None,
    }
}

/// Counts, until it is asked.
pub struct Counting {
    counter: Counter,
    numbers: Numbers,
    handed: Vec<Handed>,
    held: Held,
}

impl Counting {
    /// Begins, with the sockets of those inside the fence, which is around this cgroup, or in it. `family` is the one that was given, if any; `handed` are sockets that are looked at as well.
    pub fn begin(
        fence: &Fence,
        cgroup: &File,
        family: Option<u16>,
        handed: Vec<Handed>,
    ) -> Result<Self, Error> {
        let lacking = |reason: &dyn std::fmt::Display| Error::Watched(reason.to_string());
        let family = family.map_or_else(module::family, Ok);
        let numbers = Numbers {
            family: family.map_err(|error| lacking(&error))?,
            protocol: module::protocol().ok(),
        };
        let counter = Counter::new(fence, cgroup, numbers.family, numbers.protocol);
        Ok(Self {
            counter: counter.map_err(|error| lacking(&error))?,
            numbers,
            handed,
            held: Held::default(),
        })
    }

    /// Looks at what these processes have open, of whatever age it is.
    pub fn look(&mut self, processes: &[u32]) {
        self.held.look(processes);
    }

    /// What was counted until now.
    pub fn read(self) -> Result<Check, Error> {
        let counted = self.counter.read().map_err(Error::NotCounted)?;
        let check = Check::new(self.numbers, counted, self.handed);
        let mut check = check.ok_or(Error::NothingCounted)?;
        check.held = self.held;
        Ok(check)
    }
}

/// What there is to say.
#[derive(Debug)]
pub struct Check {
    numbers: Numbers,
    counted: Counted,
    handed: Vec<Handed>,
    held: Held,
}

impl Check {
    /// Samples are left out, those that were opened here to see that sockets are counted, and those of others. `None` if there was none.
    pub fn new(numbers: Numbers, mut counted: Counted, handed: Vec<Handed>) -> Option<Check> {
        let all = counted.opened.len();
        counted.opened.retain(|one| one.command != sample::NAME);
        if counted.opened.len() == all {
            return None;
        }
        counted.opened.sort_by(|a, b| {
            let key = |one: &Opened| (one.command.clone(), one.family, one.protocol);
            key(a).cmp(&key(b))
        });
        Some(Check {
            numbers,
            counted,
            handed,
            held: Held::default(),
        })
    }

    /// How many were opened, and how many of these are not ours, or not known.
    fn sums(&self) -> (u64, u64) {
        let sum = |wanted: &dyn Fn(&Opened) -> bool| -> u64 {
            let opened = self.counted.opened.iter();
            opened
                .filter(|one| wanted(one))
                .map(|one| one.sockets)
                .sum()
        };
        let missed = self.counted.missed;
        (
            sum(&|_| true) + missed,
            sum(&|one| self.tcp(one) != Tcp::Ours) + missed,
        )
    }

    fn tcp(&self, one: &Opened) -> Tcp {
        self.numbers.tcp_of(one.family, one.protocol)
    }

    /// Whether all of them are ours.
    pub fn is_good(&self) -> bool {
        let handed = || self.handed.iter().all(|one| one.tcp == Tcp::Ours);
        self.sums().1 == 0 && self.counted.unseen == 0 && handed() && self.held == Held::default()
    }

    /// For people.
    pub fn text(&self) -> String {
        let (all, others) = self.sums();
        let unseen = self.counted.unseen;
        let mut text = match (all, others) {
            _ if unseen != 0 && others == 0 => format!(
                "oxtcp: check: TCP sockets seen: {all}, all of oxtcp; but not all were seen\n"
            ),
            (0, _) => "oxtcp: check: no TCP socket was opened\n".to_string(),
            (_, 0) => format!("oxtcp: check: TCP sockets opened: {all}, all of oxtcp\n"),
            _ => {
                format!("oxtcp: check: TCP sockets opened: {all}, {others} of them NOT of oxtcp\n")
            }
        };
        let mut table = Table::new(&["COMMAND", "MADE AS", "SOCKETS", "OF"], &[2]);
        for one in &self.counted.opened {
            table.row(vec![
                one.command.clone(),
                format!("{}, protocol {}", family_name(one.family), one.protocol),
                one.sockets.to_string(),
                self.tcp(one).name().into(),
            ]);
        }
        if !self.counted.opened.is_empty() {
            text += &table.render(Painter::new(Color::Never));
        }
        if self.counted.missed != 0 {
            let _ = writeln!(
                text,
                "{} of them are not known: too many threads with different names have opened sockets",
                self.counted.missed
            );
        }
        if unseen != 0 {
            let _ = writeln!(
                text,
                "{unseen} times a socket was opened, by this or another program, and one of AF_SMC would not have been seen: the kernel leaves a \
                 program of BPF out where a task was preempted in the midst of it"
            );
        }
        for one in &self.handed {
            let _ = writeln!(
                text,
                "descriptor {}, which the program was handed, is a socket of {}",
                one.fd,
                one.tcp.name()
            );
        }
        for (program, sockets) in self.held.by_program() {
            let _ = writeln!(
                text,
                "{program} has had {sockets} of the built-in TCP open: from before, handed to it, or accepted by such a one"
            );
        }
        text
    }

    /// For programs.
    pub fn json(&self) -> Value {
        let (all, others) = self.sums();
        let opened = self.counted.opened.iter().map(|one| {
            json!({
                "command": one.command,
                "family": one.family,
                "protocol": one.protocol,
                "sockets": one.sockets,
                "ours": self.tcp(one) == Tcp::Ours,
                "of": self.tcp(one).name(),
            })
        });
        let handed = self.handed.iter().map(
            |one| json!({"descriptor": one.fd, "ours": one.tcp == Tcp::Ours, "of": one.tcp.name()}),
        );
        json!({
            "all_ours": self.is_good(),
            "sockets": all,
            "ours": all - others,
            "not_known": self.counted.missed,
            "unseen": self.counted.unseen,
            "opened": opened.collect::<Vec<_>>(),
            "handed": handed.collect::<Vec<_>>(),
            "held": self.held.by_program(),
        })
    }
}

fn family_name(family: i32) -> String {
    match family {
        libc::AF_INET => "AF_INET".into(),
        libc::AF_INET6 => "AF_INET6".into(),
        AF_SMC => "AF_SMC".into(),
        other => format!("family {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NUMBERS: Numbers = Numbers {
        family: 19,
        protocol: Some(253),
    };

    fn opened(command: &str, family: i32, protocol: i32, sockets: u64) -> Opened {
        Opened {
            command: command.into(),
            family,
            protocol,
            sockets,
        }
    }

    fn check(more: Vec<Opened>, missed: u64, handed: Vec<Handed>) -> Option<Check> {
        let mut opened = vec![opened(sample::NAME, libc::AF_INET, 253, 1)];
        opened.extend(more);
        let counted = Counted {
            opened,
            missed,
            unseen: 0,
        };
        Check::new(NUMBERS, counted, handed)
    }

    #[test]
    fn is_good_when_all_are_ours() {
        let ours = vec![
            opened("curl", libc::AF_INET, 253, 2),
            opened("curl", libc::AF_INET6, 253, 1),
            opened("nginx", 19, 0, 4),
        ];
        let good = check(ours, 0, vec![]).unwrap();
        assert!(good.is_good());
        insta::assert_snapshot!(good.text());
        let none = check(vec![], 0, vec![]).unwrap();
        assert!(none.is_good());
        assert_eq!(none.text(), "oxtcp: check: no TCP socket was opened\n");
    }

    #[test]
    fn is_not_good_with_others() {
        for one in [
            opened("curl", libc::AF_INET, 0, 1),
            opened("curl", libc::AF_INET6, 6, 1),
            opened("curl", libc::AF_INET, libc::IPPROTO_MPTCP, 1),
            opened("curl", libc::AF_INET, IPPROTO_SMC, 1),
            opened("curl", AF_SMC, 0, 1),
        ] {
            let bad = check(vec![one.clone()], 0, vec![]).unwrap();
            assert!(!bad.is_good(), "{one:?}");
            assert_eq!(bad.json()["ours"], 0, "{one:?}");
        }
        assert!(!check(vec![], 1, vec![]).unwrap().is_good());
        let handed = Handed {
            fd: 0,
            tcp: Tcp::BuiltIn,
        };
        let bad = check(
            vec![
                opened("a", libc::AF_INET, 253, 2),
                opened("b", libc::AF_INET, 0, 1),
            ],
            3,
            vec![handed],
        )
        .unwrap();
        assert!(!bad.is_good());
        insta::assert_snapshot!(bad.text());
        insta::assert_snapshot!(format!("{:#}", bad.json()));
    }

    #[test]
    fn new_where_nothing_is_counted() {
        let counted = Counted {
            opened: vec![opened("oxtcp", libc::AF_INET, 253, 1)],
            ..Counted::default()
        };
        assert!(Check::new(NUMBERS, counted, vec![]).is_none());
    }

    /// Another `oxtcp run` inside has opened one before its program, of the built-in TCP.
    #[test]
    fn new_leaves_samples_out() {
        let inner = opened(sample::NAME, libc::AF_INET, libc::IPPROTO_TCP, 2);
        let good = check(vec![inner, opened("curl", 19, 0, 1)], 0, vec![]).unwrap();
        assert!(good.is_good());
        assert_eq!(good.json()["sockets"], 1);
    }

    #[test]
    fn is_not_good_when_not_all_were_seen() {
        let mut some = check(vec![opened("curl", 19, 0, 1)], 0, vec![]).unwrap();
        some.counted.unseen = 2;
        assert!(!some.is_good());
        let text = some.text();
        assert!(
            text.contains("not all were seen") && text.contains("2 times"),
            "{text}"
        );
        assert_eq!(some.json()["unseen"], 2);
    }

    #[test]
    fn handed_is_what_execve_leaves_open() {
        use std::os::fd::AsRawFd;
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let has = || handed().iter().any(|one| one.fd == socket.as_raw_fd());
        assert!(!has(), "std's are closed");
        // SAFETY: plain numbers.
        unsafe { libc::fcntl(socket.as_raw_fd(), libc::F_SETFD, 0) };
        assert!(has());
    }
}
