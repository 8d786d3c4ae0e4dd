// SPDX-License-Identifier: GPL-2.0
//! What the checks look at: gathered once, so that they all see the same.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;

use crate::failure::Result;
use crate::host::Host;
use crate::profile::file;
use crate::settings::table::{find, normal, SETTINGS};
use crate::sockets::limit::Limit;
use crate::sockets::process::{Owner, Owners};
use crate::sockets::procnet::ProcNet;
use crate::sockets::{source, Socket, Source, State, Wanted};

/// A look at a network namespace.
pub struct Facts {
    /// The settings that the module has, by name.
    pub settings: BTreeMap<String, String>,
    /// The module's version; empty where it tells none.
    pub module: String,
    /// All sockets.
    pub sockets: Vec<Socket>,
    /// Whose they are.
    pub owners: Owners,
    /// The local ends of the built-in TCP's sockets, which share the ports with ours. Those that are bound and no more are not told.
    pub builtin: Vec<SocketAddr>,
    /// `net.ipv4.ip_local_port_range`.
    pub port_range: Option<(u16, u16)>,
    /// `net.core.somaxconn`.
    pub core_somaxconn: Option<u64>,
    /// Entries of conntrack, and the most that it takes.
    pub conntrack: Option<(u64, u64)>,
    /// So many milliseconds in CLOSE-WAIT are too many.
    pub close_wait_ms: u32,
    /// What the profile `under-attack` sets.
    pub under_attack: Vec<(String, String)>,
    /// The library of `oxtcp run`, or why it is not to be found.
    pub library: std::result::Result<String, String>,
}

impl Facts {
    /// Looks.
    pub fn gather(host: &Host, close_wait_seconds: u32) -> Result<Self> {
        let sockets = source(host, Wanted::ALL)?.all()?;
        let owners = Owners::find(host);
        let range = host
            .sysctl_value("net.ipv4.ip_local_port_range")
            .ok()
            .flatten();
        Ok(Self {
            settings: settings(host),
            module: fs::read_to_string(host.path("sys/module/oxtcp/version"))
                .unwrap_or_default()
                .trim()
                .into(),
            port_range: range.and_then(|range| {
                let (first, last) = range.split_once(char::is_whitespace)?;
                Some((first.trim().parse().ok()?, last.trim().parse().ok()?))
            }),
            builtin: builtin(host),
            core_somaxconn: host.number("proc/sys/net/core/somaxconn"),
            conntrack: host
                .number("proc/sys/net/netfilter/nf_conntrack_count")
                .zip(host.number("proc/sys/net/netfilter/nf_conntrack_max")),
            close_wait_ms: close_wait_seconds.saturating_mul(1000),
            under_attack: under_attack(host),
            library: crate::run::find_library(),
            sockets,
            owners,
        })
    }

    /// Whether all that the profile `under-attack` sets is so.
    pub fn is_under_attack(&self) -> bool {
        let is_so = |(name, value): &(String, String)| self.settings.get(name) == Some(value);
        !self.under_attack.is_empty() && self.under_attack.iter().all(is_so)
    }

    /// A setting's numbers; empty where the module has none of this name.
    pub fn numbers(&self, name: &str) -> Vec<u64> {
        let text = self.settings.get(name).map_or("", String::as_str);
        text.split(' ')
            .filter_map(|word| word.parse().ok())
            .collect()
    }

    /// A setting's number.
    pub fn number(&self, name: &str) -> Option<u64> {
        self.numbers(name).first().copied()
    }

    /// The sockets in a state.
    pub fn in_state(&self, state: State) -> impl Iterator<Item = &Socket> {
        self.sockets
            .iter()
            .filter(move |socket| socket.state == state)
    }

    /// The listener's backlog, where it is told.
    pub fn backlog(&self, listener: &Socket) -> Option<u64> {
        listener.info.as_ref().map(|info| info.sacked.into())
    }

    /// The most half-open connections that a listener may have, and what bounds them: as the module says, or as the settings have it now,
    /// where a backlog of n lets n + 1 be.
    pub fn most_half_open(&self, listener: Option<&Socket>) -> (u64, Limit) {
        if let Some(queues) = listener.and_then(|listener| listener.queues.as_ref()) {
            return (queues.syn.most, queues.syn.limit);
        }
        let most = self.number("max_syn_backlog").unwrap_or(u64::MAX);
        match listener.and_then(|listener| Some((listener, self.backlog(listener)?))) {
            Some((listener, backlog)) if backlog < most => {
                (backlog.saturating_add(1), self.limit_of(listener, backlog))
            }
            _ => (most, Limit::MaxSynBacklog),
        }
    }

    /// What bounds a listener's backlog: as the module says, or as the settings have it now.
    pub fn limit_of(&self, listener: &Socket, backlog: u64) -> Limit {
        if let Some(queues) = &listener.queues {
            return queues.accept.limit;
        }
        let none = u64::MAX;
        Limit::of_granted(
            backlog,
            self.core_somaxconn.unwrap_or(none),
            self.number("somaxconn").unwrap_or(none),
        )
    }

    /// `name (pid)` of a socket's processes, or what can be said instead.
    pub fn who(&self, socket: &Socket) -> String {
        match self.owners.names(socket.inode) {
            names if !names.is_empty() => names,
            _ if socket.inode == 0 => "no program".into(),
            _ => format!(
                "a process of user {} that may not be seen (run this as root)",
                socket.uid
            ),
        }
    }

    /// The name of the program that has all of these sockets, where it is one and a filter can have it as it is.
    pub fn program<'a>(&self, sockets: impl Iterator<Item = &'a Socket>) -> Option<&str> {
        let mut owners = sockets.map(|socket| self.owners.of(socket.inode));
        let name = owners.next()?.first()?.name.as_str();
        let is_plain = |char: char| char.is_ascii_alphanumeric() || "-_.".contains(char);
        let is_its = |owners: &[Owner]| owners.iter().any(|owner| owner.name == name);
        (!name.is_empty() && name.chars().all(is_plain) && owners.all(is_its)).then_some(name)
    }

    /// Settings that this command knows and the module lacks, and the reverse.
    pub fn strange_settings(&self) -> (Vec<&str>, Vec<&str>) {
        let known = |name: &str| SETTINGS.iter().any(|setting| setting.name == name);
        (
            SETTINGS
                .iter()
                .map(|setting| setting.name)
                .filter(|name| !self.settings.contains_key(*name))
                .collect(),
            self.settings
                .keys()
                .map(String::as_str)
                .filter(|name| !known(name))
                .collect(),
        )
    }
}

/// The profile's settings, as they would be applied.
pub fn under_attack(host: &Host) -> Vec<(String, String)> {
    let profile = file::find(&file::folders(host), "under-attack");
    let settings = profile.map_or(Vec::new(), |profile| profile.settings);
    let setting = |item: file::Item| {
        let setting = find(&item.name).ok()?;
        Some((setting.name.to_string(), setting.parse(&item.value).ok()?))
    };
    settings.into_iter().filter_map(setting).collect()
}

/// As far as they can be read.
fn builtin(host: &Host) -> Vec<SocketAddr> {
    let mut ends = Vec::new();
    let read = ProcNet::builtin(host).each(&mut |socket| ends.push(socket.local));
    // One check has less to look at then.
    drop(read);
    ends
}

fn settings(host: &Host) -> BTreeMap<String, String> {
    let Ok(files) = fs::read_dir(host.sysctl("net.oxtcp")) else {
        return BTreeMap::new();
    };
    files
        .flatten()
        .filter_map(|file| {
            let name = file.file_name().into_string().ok()?;
            Some((name, normal(&fs::read_to_string(file.path()).ok()?)))
        })
        .collect()
}
