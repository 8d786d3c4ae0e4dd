// SPDX-License-Identifier: GPL-2.0
//! The socket tables of /proc/net, in the layout of /proc/net/tcp (Documentation/networking/proc_net_tcp.rst).

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::stack::Stack;

/// States as the kernel numbers them (include/net/tcp_states.h).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Established = 1,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
    NewSynRecv,
}

impl State {
    fn parse(field: &str) -> Option<State> {
        use State::*;
        const ALL: [State; 12] = [
            Established,
            SynSent,
            SynRecv,
            FinWait1,
            FinWait2,
            TimeWait,
            Close,
            CloseWait,
            LastAck,
            Listen,
            Closing,
            NewSynRecv,
        ];
        let number = usize::from_str_radix(field, 16).ok()?;
        ALL.get(number.checked_sub(1)?).copied()
    }
}

/// A line of the table.
#[derive(Clone, Debug)]
pub struct Entry {
    pub slot: u32,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub state: State,
    pub tx_queue: u64,
    pub rx_queue: u64,
    pub timer: u32,
    pub timer_ticks: u64,
    pub retransmits: u64,
    pub uid: u32,
    pub timeout: u64,
    pub inode: u64,
    pub refs: u64,
    /// What follows the socket's address: five numbers, for some states none.
    pub rest: Vec<String>,
}

/// The table's heading.
pub fn heading(stack: Stack) -> String {
    text(stack).lines().next().unwrap_or_default().to_string()
}

/// The table's text, of this thread's network namespace.
pub fn text(stack: Stack) -> String {
    let path = format!("/proc/thread-self/net/{}", stack.proc_name());
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// All lines of the stack's table. Fails the test at a line that is not in the layout.
#[track_caller]
pub fn entries(stack: Stack) -> Vec<Entry> {
    parse_table(&text(stack))
}

/// All lines of a table's text.
#[track_caller]
pub fn parse_table(text: &str) -> Vec<Entry> {
    text.lines()
        .skip(1)
        .map(|line| parse(line).unwrap_or_else(|| panic!("cannot parse {line:?}")))
        .collect()
}

/// The state of the socket with these ends, if the table has it.
pub fn state_of(stack: Stack, local: SocketAddr, remote: SocketAddr) -> Option<State> {
    entries(stack)
        .into_iter()
        .find(|e| e.local == local && e.remote == remote)
        .map(|e| e.state)
}

fn parse(line: &str) -> Option<Entry> {
    let mut words = line.split_whitespace();
    let slot = words.next()?.strip_suffix(':')?.parse().ok()?;
    let local = address(words.next()?)?;
    let remote = address(words.next()?)?;
    let state = State::parse(words.next()?)?;
    let hex = |field: &str| u64::from_str_radix(field, 16).ok();
    let (tx, rx) = words.next()?.split_once(':')?;
    let (timer, ticks) = words.next()?.split_once(':')?;
    let retransmits = hex(words.next()?)?;
    let uid = words.next()?.parse().ok()?;
    let timeout = words.next()?.parse().ok()?;
    let inode = words.next()?.parse().ok()?;
    let refs = words.next()?.parse().ok()?;
    let _pointer = hex(words.next()?)?;
    Some(Entry {
        slot,
        local,
        remote,
        state,
        tx_queue: hex(tx)?,
        rx_queue: hex(rx)?,
        timer: hex(timer)? as u32,
        timer_ticks: hex(ticks)?,
        retransmits,
        uid,
        timeout,
        inode,
        refs,
        rest: words.map(str::to_string).collect(),
    })
}

/// An address is the hexadecimal words of the machine's memory, then the port.
fn address(field: &str) -> Option<SocketAddr> {
    let (ip, port) = field.split_once(':')?;
    let words: Option<Vec<[u8; 4]>> = ip
        .as_bytes()
        .chunks(8)
        .map(|word| {
            u32::from_str_radix(std::str::from_utf8(word).ok()?, 16)
                .ok()
                .map(u32::to_ne_bytes)
        })
        .collect();
    let bytes = words?.concat();
    let ip: IpAddr = match bytes.len() {
        4 => Ipv4Addr::from(<[u8; 4]>::try_from(bytes).ok()?).into(),
        16 => Ipv6Addr::from(<[u8; 16]>::try_from(bytes).ok()?).into(),
        _ => return None,
    };
    Some(SocketAddr::new(ip, u16::from_str_radix(port, 16).ok()?))
}

/// A counter of a file in the layout of /proc/net/netstat: names on one line, numbers on the next.
pub fn stat(text: &str, name: &str) -> u64 {
    let mut lines = text.lines();
    while let (Some(names), Some(numbers)) = (lines.next(), lines.next()) {
        let mut both = names.split_whitespace().zip(numbers.split_whitespace());
        if let Some((_, number)) = both.find(|(found, _)| *found == name) {
            return number.parse().expect("a number");
        }
    }
    panic!("no {name} in {text}")
}
