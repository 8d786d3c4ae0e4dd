// SPDX-License-Identifier: GPL-2.0
//! Sockets of the built-in TCP that processes have open.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fs;
use std::io::{BufRead, BufReader};

/// By which programs, and how many each has: for as long as a socket is seen it is one, whoever has it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Held {
    /// The name of a process that has it, by the socket's inode.
    sockets: BTreeMap<u64, String>,
}

impl Held {
    /// Looks at these processes; what was seen before is kept.
    pub fn look(&mut self, processes: &[u32]) {
        // Of a network namespace.
        let mut tables: HashMap<String, HashSet<u64>> = HashMap::new();
        for process in processes {
            let open = inodes(*process);
            if open.is_empty() {
                continue;
            }
            let file = |name: &str| format!("/proc/{process}/{name}");
            let namespace = fs::read_link(file("ns/net"));
            let namespace = namespace.map_or(String::new(), |link| link.display().to_string());
            let table = tables.entry(namespace).or_insert_with(|| {
                let mut table = HashSet::new();
                for name in ["net/tcp", "net/tcp6"] {
                    if let Ok(file) = fs::File::open(file(name)) {
                        table.extend(listed(BufReader::new(file)));
                    }
                }
                table
            });
            for inode in open.intersection(table) {
                self.sockets.entry(*inode).or_insert_with(|| {
                    let name = fs::read_to_string(file("comm")).unwrap_or_default();
                    name.trim_end_matches('\n').to_string()
                });
            }
        }
    }

    /// How many each program has.
    pub fn by_program(&self) -> BTreeMap<&str, u64> {
        let mut all = BTreeMap::new();
        for name in self.sockets.values() {
            *all.entry(name.as_str()).or_default() += 1;
        }
        all
    }
}

/// The sockets that a process has open.
fn inodes(process: u32) -> HashSet<u64> {
    let entries = fs::read_dir(format!("/proc/{process}/fd"));
    let links = entries.into_iter().flatten().flatten().filter_map(|entry| {
        let link = fs::read_link(entry.path()).ok()?;
        let inode = link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?;
        inode.parse().ok()
    });
    links.collect()
}

/// The inodes of a table like `/proc/net/tcp`.
pub fn listed(table: impl BufRead) -> impl Iterator<Item = u64> {
    let lines = table.lines().skip(1).map_while(Result::ok);
    lines.filter_map(|line| {
        let inode = line.split_ascii_whitespace().nth(9)?;
        inode.parse().ok().filter(|&inode| inode != 0)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn look_sees_a_listener_once() {
        let socket = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let again = socket.try_clone().unwrap();
        let count = || {
            let mut held = Held::default();
            held.look(&[std::process::id()]);
            held.look(&[std::process::id()]);
            held.by_program().values().sum::<u64>()
        };
        // Other tests have some as well.
        assert!(count() >= 1);
        let mut held = Held::default();
        held.look(&[std::process::id()]);
        let inode = fs::read_link(format!(
            "/proc/self/fd/{}",
            std::os::fd::AsRawFd::as_raw_fd(&again)
        ));
        let inode = inode.unwrap().display().to_string();
        let inode = inode
            .trim_matches(|c: char| !c.is_ascii_digit())
            .parse()
            .unwrap();
        assert!(held.sockets.contains_key(&inode));
    }

    #[test]
    fn listed_reads_the_inodes() {
        let table = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n\
             0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 12345 1 0 100 0 0 10 0\n\
             1: 0100007F:1F90 0100007F:8000 06 00000000:00000000 03:00001000 00000000     0        0 0 3 0\n";
        assert_eq!(listed(table.as_bytes()).collect::<Vec<_>>(), [12345]);
    }
}
