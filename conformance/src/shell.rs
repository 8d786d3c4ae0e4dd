// SPDX-License-Identifier: GPL-2.0

//! The shell commands of scripts. They set the stage: sysctls, the device, files. None is run; each is
//! read, and what it asks for is done by rule. A command that is not known is named.

use std::path::Path;

/// What a command asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// A setting: its name without `net.ipv4.`, and its value.
    Sysctl {
        /// The name: `tcp_rmem`.
        name: String,
        /// The value: `4096 131072 6291456`.
        value: String,
        /// To be undone by [`Order::Restore`].
        restorable: bool,
    },
    /// What `set_sysctls.py` has set gets its value from before.
    Restore,
    /// The device's MTU.
    Mtu(u32),
    /// The device's queue.
    Queue(Queue),
    /// The device's segmentation offload.
    Offload(bool),
    /// The counters are zero from now on.
    ForgetCounters,
    /// A counter must have grown since they were forgotten; `forget` forgets all afterwards.
    Counter {
        /// The name as `nstat` prints it.
        name: String,
        /// By how much; `None` is by anything.
        by: Option<u64>,
        /// Whether `nstat` was to forget.
        forget: bool,
    },
    /// Somebody must be listening on this port.
    Listener(u16),
    /// A file of zeros.
    File {
        /// Where.
        path: String,
        /// How long.
        bytes: u64,
    },
    /// Nothing that an implementation could notice.
    Nothing,
}

/// A queueing discipline.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// First in, first out.
    Fifo,
    /// First in, first out, and this is full at once.
    Full,
    /// Fair queueing with pacing.
    Fq,
    /// The device's own.
    Default,
}

/// The orders of `text`, which stands in a script of the folder `folder`.
///
/// # Errors
///
/// Names the command that is not known.
pub fn orders(text: &str, folder: &Path) -> Result<Vec<Order>, String> {
    let mut orders = Vec::new();
    let text = text.replace("\\\n", " ");
    for line in text.lines() {
        let line = without_comment(line);
        for statement in split(line, ';') {
            let statement = statement.trim();
            if !statement.is_empty() {
                command(statement, folder, &mut orders)?;
            }
        }
    }
    Ok(orders)
}

fn command(statement: &str, folder: &Path, orders: &mut Vec<Order>) -> Result<(), String> {
    let unknown = || Err(format!("the command `{statement}` is unknown"));
    let pipeline: Vec<Vec<String>> = split(statement, '|').map(words).collect();
    let first: Vec<&str> = pipeline[0].iter().map(String::as_str).collect();
    if pipeline.len() > 1 && !matches!(first.first(), Some(&("nstat" | "grep"))) {
        return unknown();
    }
    match first[..] {
        ["./defaults.sh"] => {
            let path = folder.join("defaults.sh");
            let text = std::fs::read_to_string(&path)
                .map_err(|error| format!("{}: {error}", path.display()))?;
            orders.extend(self::orders(&text, folder)?);
        }
        ["./set_sysctls.py", ref settings @ ..] => {
            for setting in settings {
                let name = setting.strip_prefix("/proc/sys/net/ipv4/");
                orders.push(
                    sysctl(name.unwrap_or(""), true)
                        .ok_or_else(|| format!("`{setting}` in `{statement}` is unknown"))?,
                );
            }
        }
        ["sysctl", ref rest @ ..] => {
            for setting in rest.iter().filter(|word| !matches!(**word, "-q" | "-e")) {
                let dotted = setting.replacen('/', ".", 2);
                let name = dotted.strip_prefix("net.ipv4.");
                orders.push(
                    sysctl(name.unwrap_or(""), false)
                        .ok_or_else(|| format!("`{setting}` in `{statement}` is unknown"))?,
                );
            }
        }
        ["/tmp/sysctl_restore_${PPID}.sh"] => orders.push(Order::Restore),
        ["nstat", ref flags @ ..] => orders.push(match nstat(flags, &pipeline[1..]) {
            Some(order) => order,
            None => return unknown(),
        }),
        ["grep", " 0A ", "/proc/net/tcp", "/proc/net/tcp6"] => {
            orders.push(match listener(&pipeline[1..]) {
                Some(order) => order,
                None => return unknown(),
            });
        }
        // Each script begins with an empty cache of old connections' figures.
        ["ip", "tcp_metrics", "flush", "all"] => orders.push(Order::Nothing),
        ["ip", "link", "set", "dev", "tun0", "mtu", mtu] => match mtu.parse() {
            Ok(mtu) => orders.push(Order::Mtu(mtu)),
            Err(_) => return unknown(),
        },
        ["tc", "qdisc", "add", "dev", "tun0", "root", "pfifo"] => {
            orders.push(Order::Queue(Queue::Fifo));
        }
        ["tc", "qdisc", "add", "dev", "tun0", "root", "pfifo", "limit", "0"] => {
            orders.push(Order::Queue(Queue::Full));
        }
        ["tc", "qdisc", "replace", "dev", "tun0", "root", "fq"] => {
            orders.push(Order::Queue(Queue::Fq));
        }
        ["tc", "qdisc", "delete", "dev", "tun0", "root"] => {
            orders.push(Order::Queue(Queue::Default));
        }
        ["ethtool", "-K", "tun0", "tso", "off", "gso", "off"] => orders.push(Order::Offload(false)),
        ["/bin/rm", "-f", _] => orders.push(Order::Nothing),
        ["/bin/dd", "bs=1", count, "if=/dev/zero", path, "status=none"] => {
            let bytes = count.strip_prefix("count=").and_then(|n| n.parse().ok());
            match (bytes, path.strip_prefix("of=")) {
                (Some(bytes), Some(path)) => orders.push(Order::File {
                    path: path.to_string(),
                    bytes,
                }),
                _ => return unknown(),
            }
        }
        _ => return unknown(),
    }
    Ok(())
}

fn sysctl(setting: &str, restorable: bool) -> Option<Order> {
    let (name, value) = setting.split_once('=')?;
    let known = name.starts_with("tcp_")
        && name
            .chars()
            .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_');
    known.then(|| Order::Sysctl {
        name: name.to_string(),
        value: value.to_string(),
        restorable,
    })
}

/// `nstat [-s] | grep NAME | grep -q " N "`: without `-s` the counters are forgotten afterwards.
fn nstat(flags: &[&str], filters: &[Vec<String>]) -> Option<Order> {
    let forget = match flags {
        ["-n"] => true,
        [] => true,
        ["-s"] => false,
        _ => return None,
    };
    let filters: Vec<Vec<&str>> = filters
        .iter()
        .map(|filter| filter.iter().map(String::as_str).collect())
        .collect();
    let filters: Vec<&[&str]> = filters.iter().map(Vec::as_slice).collect();
    let counter = |name: &str, by| Order::Counter {
        name: name.to_string(),
        by,
        forget,
    };
    match filters[..] {
        [] => forget.then_some(Order::ForgetCounters),
        [["grep", name]] => Some(counter(name, None)),
        [["grep", name], ["grep", "-q", count]] => {
            let by = count.strip_prefix(' ')?.strip_suffix(' ')?.parse().ok()?;
            Some(counter(name, Some(by)))
        }
        _ => None,
    }
}

/// `grep " 0A " /proc/net/tcp ... | grep ":1F90"`: 0A is TCP_LISTEN, and 1F90 the port.
fn listener(filters: &[Vec<String>]) -> Option<Order> {
    let [filter] = filters else { return None };
    match &filter[..] {
        [grep, port] if grep == "grep" => {
            let port = u16::from_str_radix(port.strip_prefix(':')?, 16).ok()?;
            Some(Order::Listener(port))
        }
        _ => None,
    }
}

/// The parts between `separator`s that stand outside of quotes.
fn split(text: &str, separator: char) -> impl Iterator<Item = &str> {
    let mut quoted = false;
    text.split(move |c| {
        quoted ^= c == '"';
        c == separator && !quoted
    })
}

fn without_comment(line: &str) -> &str {
    let mut before = ' ';
    for (at, c) in line.char_indices() {
        if c == '#' && before.is_whitespace() {
            return &line[..at];
        }
        before = c;
    }
    line
}

/// The words of a command, quotes and redirections to nowhere taken away, `$((a*b))` multiplied out.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    let mut quoted = false;
    let mut begun = false;
    for c in text.chars() {
        match c {
            '"' => {
                quoted = !quoted;
                begun = true;
            }
            c if c.is_whitespace() && !quoted => {
                if begun || !word.is_empty() {
                    words.push(std::mem::take(&mut word));
                }
                begun = false;
            }
            c => word.push(c),
        }
    }
    if begun || !word.is_empty() {
        words.push(word);
    }
    while let Some(at) = words.iter().position(|w| w == ">") {
        words.drain(at..(at + 2).min(words.len()));
    }
    words.retain(|word| !matches!(word.as_str(), "2>&1" | "2>/dev/null" | ">/dev/null"));
    words.iter().map(|word| expand(word)).collect()
}

/// Replaces `$((a*b*c))` by the product.
fn expand(word: &str) -> String {
    let Some((before, rest)) = word.split_once("$((") else {
        return word.to_string();
    };
    let Some((product, after)) = rest.split_once("))") else {
        return word.to_string();
    };
    let factors: Option<Vec<u64>> = product.split('*').map(|f| f.trim().parse().ok()).collect();
    match factors {
        Some(factors) => {
            let product: u64 = factors.iter().product();
            format!("{before}{product}{}", expand(after))
        }
        None => word.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Vec<Order>, String> {
        orders(text, Path::new("/nowhere"))
    }

    fn set(name: &str, value: &str, restorable: bool) -> Order {
        Order::Sysctl {
            name: name.into(),
            value: value.into(),
            restorable,
        }
    }

    #[test]
    fn orders__table() {
        let counter = |by, forget| Order::Counter {
            name: "TcpExtBeyondWindow".into(),
            by,
            forget,
        };
        let table = [
            (
                "sysctl -q net.ipv4.tcp_rmem=\"4096 540000 $((15*1024*1024))\"",
                vec![set("tcp_rmem", "4096 540000 15728640", false)],
            ),
            (
                "sysctl -q net.ipv4.tcp_ecn=1  # fully enabled\n\nsysctl -e -q net/ipv4/tcp_sack=0",
                vec![set("tcp_ecn", "1", false), set("tcp_sack", "0", false)],
            ),
            (
                "./set_sysctls.py /proc/sys/net/ipv4/tcp_a=1 \\\n /proc/sys/net/ipv4/tcp_b=2",
                vec![set("tcp_a", "1", true), set("tcp_b", "2", true)],
            ),
            ("/tmp/sysctl_restore_${PPID}.sh", vec![Order::Restore]),
            ("nstat -n", vec![Order::ForgetCounters]),
            ("nstat > /dev/null", vec![Order::ForgetCounters]),
            (
                "nstat -s | grep TcpExtBeyondWindow| grep -q \" 3 \"",
                vec![counter(Some(3), false)],
            ),
            (
                "nstat | grep TcpExtBeyondWindow > /dev/null",
                vec![counter(None, true)],
            ),
            (
                "grep \" 0A \" /proc/net/tcp /proc/net/tcp6 | grep \":1F90\"",
                vec![Order::Listener(8080)],
            ),
            (
                "tc qdisc delete dev tun0 root 2>/dev/null ; tc qdisc add dev tun0 root pfifo limit 0",
                vec![Order::Queue(Queue::Default), Order::Queue(Queue::Full)],
            ),
            (
                "/bin/dd bs=1 count=5 if=/dev/zero of=/tmp/f status=none",
                vec![Order::File {
                    path: "/tmp/f".into(),
                    bytes: 5,
                }],
            ),
        ];
        for (text, expected) in table {
            assert_eq!(read(text), Ok(expected), "{text}");
        }
    }

    #[test]
    fn orders__what_is_unknown_is_named() {
        for text in [
            "reboot",
            "sysctl -w kernel.x=1",
            "nstat -z",
            "sysctl -q net.ipv4.tcp_x=1 | grep y",
            "tc qdisc add dev tun0 root red",
            "ip link set dev tun0 mtu many",
            "grep \" 0A \" /proc/net/tcp /proc/net/tcp6",
            "grep \" 0A \" /proc/net/tcp /proc/net/tcp6 | grep \":port\"",
            "grep x /tmp/y | grep \":1F90\"",
        ] {
            let error = read(text).unwrap_err();
            assert!(error.contains("unknown"), "{error}");
        }
    }
}
