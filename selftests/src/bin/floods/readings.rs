// SPDX-License-Identifier: GPL-2.0
//! What the kernel says of a flood: memory, and what it has counted.

use std::collections::BTreeMap;
use std::fs;
use std::net::SocketAddr;
use std::time::Duration;

use oxtcp_selftests::kernel::{self, Slabs};
use oxtcp_selftests::procnet::{self, State};
use oxtcp_selftests::{Ip, Stack};

/// Memory in use by the kernel's objects, in bytes.
pub struct Memory {
    /// Of each slab cache.
    caches: BTreeMap<String, u64>,
    /// What this TCP has accounted to its sockets' queues.
    queues: u64,
}

impl Memory {
    /// How many readings are made, at least, of which the least of each slab cache counts.
    const READINGS: usize = 10;

    /// Now, when what is only kept at hand is given back. What a cache gives its processor while that is read counts as taken.
    pub fn now(stack: Stack) -> Memory {
        Memory::read(stack, &mut Slabs::open())
    }

    fn read(stack: Stack, slabs: &mut Slabs) -> Memory {
        let queues = accounted(stack);
        slabs.shrink();
        let caches = slabs.bytes();
        Memory { caches, queues }
    }

    /// The least of what is read till that gets no less: what waits to be freed is gone, and of each cache as little as may be is only at hand.
    pub fn settled(stack: Stack) -> Memory {
        let mut slabs = Slabs::open();
        let mut least = Memory::read(stack, &mut slabs);
        let mut not_less = 0;
        while not_less < Self::READINGS {
            std::thread::sleep(Duration::from_millis(10));
            let sum = least.sum();
            least = least.and(Memory::read(stack, &mut slabs));
            not_less = if least.sum() < sum { 0 } else { not_less + 1 };
        }
        least
    }

    /// The less of both, of each cache.
    fn and(mut self, other: Memory) -> Memory {
        for (name, bytes) in other.caches {
            let least = self.caches.entry(name).or_insert(bytes);
            *least = bytes.min(*least);
        }
        self.queues = self.queues.min(other.queues);
        self
    }

    fn sum(&self) -> u64 {
        self.caches.values().sum::<u64>() + self.queues
    }

    /// How much more that is than it was.
    pub fn since(&self, before: &Memory) -> i64 {
        self.sum() as i64 - before.sum() as i64
    }
}

/// The column `memory` of /proc/net/protocols, in bytes.
fn accounted(stack: Stack) -> u64 {
    // IPv4 and IPv6 have one account.
    let name = if stack.ours { "OXTCP" } else { "TCP" };
    let text = fs::read_to_string("/proc/thread-self/net/protocols").expect("/proc/net/protocols");
    let pages = text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next() == Some(name)).then(|| words.nth(2)?.parse::<u64>().ok())?
    });
    pages.unwrap_or_else(|| panic!("no {name} in {text}")) * 4096
}

/// The bytes that a half-open connection takes of its slab cache.
pub fn half_open_size(stack: Stack) -> u64 {
    if stack.ours {
        let object = kernel::told_size("half-open").expect("the module's message in the log");
        // It is of the caches for any object.
        [96, 128, 192, 256]
            .into_iter()
            .filter_map(|size| kernel::slab_size(&format!("kmalloc-{size}")))
            .find(|size| *size >= object)
            .expect("kmalloc's caches")
    } else {
        let cache = match stack.ip {
            Ip::V4 => "request_sock_TCP",
            Ip::V6 => "request_sock_TCPv6",
        };
        kernel::slab_size(cache).unwrap_or_else(|| panic!("no slab cache {cache}"))
    }
}

/// How many half-open connections there are at an address.
pub fn half_open(stack: Stack, address: SocketAddr) -> usize {
    let entries = procnet::entries(stack).into_iter();
    entries
        .filter(|entry| entry.local == address && entry.state == State::SynRecv)
        .count()
}

/// How many connections wait for accept() there.
pub fn waiting(stack: Stack, address: SocketAddr) -> u64 {
    let mut entries = procnet::entries(stack).into_iter();
    let listener = entries.find(|entry| entry.local == address && entry.state == State::Listen);
    listener.expect("the listener").rx_queue
}

/// Of the built-in TCP's counters those that tell what became of a flood. Of ours all do.
const CAUSES: [&str; 19] = [
    "SyncookiesSent",
    "SyncookiesRecv",
    "SyncookiesFailed",
    "EmbryonicRsts",
    "ListenOverflows",
    "ListenDrops",
    "TCPReqQFullDoCookies",
    "TCPReqQFullDrop",
    "TCPChallengeACK",
    "TCPSYNChallenge",
    "TCPACKSkippedSynRecv",
    "TCPACKSkippedPAWS",
    "TCPACKSkippedSeq",
    "TCPACKSkippedChallenge",
    "TCPBacklogDrop",
    "TCPAbortOnOverflow",
    "TCPAbortOnMemory",
    "TCPRcvQDrop",
    "TCPMemoryPressures",
];

/// The counters of a TCP in this thread's namespace, by their names.
pub struct Counted(Vec<(String, u64)>);

impl Counted {
    /// Resets that the built-in TCP sends for what is nobody's stand beside ours.
    pub fn now(stack: Stack) -> Counted {
        let file = if stack.ours { "oxtcp_stat" } else { "netstat" };
        let mut counted = counters(file, "TcpExt:");
        counted.retain(|(name, _)| stack.ours || CAUSES.contains(&name.as_str()));
        let resets = |file, what: &str| {
            let mut all = counters(file, "Tcp:").into_iter();
            let found = all.find(|(name, _)| name == "OutRsts");
            (what.to_string(), found.expect("OutRsts").1)
        };
        if stack.ours {
            counted.push(resets(file, "OutRsts"));
            counted.push(resets("snmp", "OutRsts of the built-in TCP"));
        } else {
            counted.push(resets("snmp", "OutRsts"));
        }
        Counted(counted)
    }

    /// What was counted since.
    pub fn since(&self, before: &Counted) -> Counted {
        let both = self.0.iter().zip(&before.0);
        let more = both.map(|((name, now), (_, then))| (name.clone(), now - then));
        Counted(more.filter(|(_, more)| *more > 0).collect())
    }

    /// How often it was counted.
    pub fn of(&self, name: &str) -> u64 {
        let mut found = self.0.iter().filter(|(counted, _)| counted == name);
        found.next().map_or(0, |(_, number)| *number)
    }

    /// In a cell of a table.
    pub fn cell(&self) -> String {
        let parts: Vec<String> = self
            .0
            .iter()
            .map(|(name, number)| format!("{name} {number}"))
            .collect();
        if parts.is_empty() {
            "none".to_string()
        } else {
            parts.join(", ")
        }
    }
}

/// The counters of a file of /proc/net that stand behind `word`: names on one line, numbers on the next.
fn counters(file: &str, word: &str) -> Vec<(String, u64)> {
    let text = fs::read_to_string(format!("/proc/thread-self/net/{file}")).expect(file);
    let lines: Vec<&str> = text
        .lines()
        .filter_map(|line| line.strip_prefix(word))
        .collect();
    let [names, numbers] = lines[..] else {
        panic!("{file}: {text}");
    };
    let both = names.split_whitespace().zip(numbers.split_whitespace());
    // MaxConn is -1.
    both.filter_map(|(name, number)| Some((name.to_string(), number.parse().ok()?)))
        .collect()
}
