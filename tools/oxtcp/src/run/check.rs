// SPDX-License-Identifier: GPL-2.0
//! `--check`: of which TCP a program's sockets were, as the kernel has counted them.

use std::fmt::Write as _;
use std::fs;

use serde_json::{json, Value};

use super::bpf::count::{Counted, Opened, AF_SMC, IPPROTO_SMC};
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

/// What there is to say.
#[derive(Debug)]
pub struct Check {
    numbers: Numbers,
    counted: Counted,
    handed: Vec<Handed>,
}

impl Check {
    /// `sample` is what has opened one socket before the program did, to see that they are counted: its name, and the protocol that
    /// the socket may have had. `None` if that was not counted.
    pub fn new(
        numbers: Numbers,
        mut counted: Counted,
        sample: (&str, &[i32]),
        handed: Vec<Handed>,
    ) -> Option<Check> {
        let (command, protocols) = sample;
        let at = protocols.iter().find_map(|&protocol| {
            counted.opened.iter().position(|one| {
                one.command == command && one.family == libc::AF_INET && one.protocol == protocol
            })
        })?;
        let sockets = &mut counted.opened[at].sockets;
        *sockets = sockets.checked_sub(1)?;
        counted.opened.retain(|one| one.sockets != 0);
        counted.opened.sort_by(|a, b| {
            let key = |one: &Opened| (one.command.clone(), one.family, one.protocol);
            key(a).cmp(&key(b))
        });
        Some(Check {
            numbers,
            counted,
            handed,
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
        self.sums().1 == 0 && self.handed.iter().all(|one| one.tcp == Tcp::Ours)
    }

    /// For people.
    pub fn text(&self) -> String {
        let (all, others) = self.sums();
        let mut text = match (all, others) {
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
        for one in &self.handed {
            let _ = writeln!(
                text,
                "descriptor {}, which the program was handed, is a socket of {}",
                one.fd,
                one.tcp.name()
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
            "opened": opened.collect::<Vec<_>>(),
            "handed": handed.collect::<Vec<_>>(),
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
        let mut opened = vec![opened("oxtcp", libc::AF_INET, 253, 1)];
        opened.extend(more);
        let counted = Counted { opened, missed };
        Check::new(NUMBERS, counted, ("oxtcp", &[253]), handed)
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
        let counted = Counted::default();
        assert!(Check::new(NUMBERS, counted, ("oxtcp", &[6, 253]), vec![]).is_none());
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
