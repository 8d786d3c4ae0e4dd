// SPDX-License-Identifier: GPL-2.0
//! A BPF program that counts the TCP sockets that processes open, whatever TCP they are of.
//!
//! Two programs: sockets of AF_INET and AF_INET6 are counted where the kernel asks a cgroup's programs about a new one, at the end
//! of `inet_create()`; it never leaves such a program out. Those of other families (the module's, AF_SMC) are counted when `__sock_create()` has
//! returned. All of socket(2), io_uring and the like end there, with the family and the
//! protocol that the socket is really of, after everything that changes what was asked for. Failures and the kernel's own sockets are not counted;
//! nor are those of accept(2), which are of their listener's kind.

use std::fs::File;
use std::io;

use super::assemble::{Code, Label};
use super::calls::{Attached, Kind, Map, OfCgroup, Place, Plain};
use super::fence::Fence;
use super::{function, helper, Error};

const FUNCTION: &str = "__sock_create";
/// The kinds of sockets of this many programs and threads' names are told apart.
const MOST: u32 = 4096;

/// The protocol of an oxtcp socket once it is made.
const OURS: i32 = 518;
/// AF_SMC, whose sockets have one of TCP inside.
pub const AF_SMC: i32 = 43;
/// IPPROTO_SMC: the same by AF_INET.
pub const IPPROTO_SMC: i32 = 256;

/// What belongs together.
#[derive(Clone, Copy)]
#[repr(C)]
struct Key {
    family: u32,
    protocol: u32,
    /// The thread's name, with zeros behind it.
    command: [u8; 16],
}

// SAFETY: integers, 24 bytes in all.
unsafe impl Plain for Key {}
const _: () = assert!(size_of::<Key>() == 24);

/// Sockets of one kind that were opened.
#[derive(Clone, Debug, PartialEq)]
pub struct Opened {
    /// The name of the thread that has opened them.
    pub command: String,
    /// The socket family, as an int.
    pub family: i32,
    /// The protocol, as it was when the socket was made.
    pub protocol: i32,
    /// How many.
    pub sockets: u64,
}

/// What was counted.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Counted {
    /// By what they are of.
    pub opened: Vec<Opened>,
    /// How many there were beside, for which there was no room.
    pub missed: u64,
    /// How many times the kernel has left out the program for other families than AF_INET and AF_INET6 where there are sockets of AF_SMC: what
    /// was opened then is not known.
    pub unseen: u64,
}

/// Counts while it lives.
pub struct Counter {
    by_key: Map<Key, u64>,
    total: Map<u32, u64>,
    _inet: OfCgroup,
    others: Attached,
    /// Whether the kernel had AF_SMC when this began.
    has_smc: bool,
}

impl Counter {
    /// Begins, with the sockets of those inside the fence, which is around this cgroup or in it. `family` and `protocol` are the module's; it may
    /// have no protocol.
    pub fn new(
        fence: &Fence,
        cgroup: &File,
        family: u16,
        protocol: Option<u16>,
    ) -> Result<Self, Error> {
        let by_key = Map::new(Kind::Hash, MOST).map_err(Error::map)?;
        let total = Map::new(Kind::Array, 1).map_err(Error::map)?;
        let maps = [by_key.number(), total.number()];
        let failed = |failed| Error::of_attaching("the program that counts", failed);
        let code = of_inet(fence, maps, protocol.map(i32::from));
        let inet = OfCgroup::new(&code, cgroup).map_err(failed)?;
        let code = of_others(fence, maps, family.into());
        let others = Attached::new(&code, function(FUNCTION)?, Place::Exit);
        Ok(Self {
            by_key,
            total,
            _inet: inet,
            others: others.map_err(failed)?,
            has_smc: has_smc(),
        })
    }

    /// What there was until now.
    pub fn read(&self) -> io::Result<Counted> {
        let mut counted = Counted::default();
        // First: one that is opened meanwhile is not one without room.
        let total = self.total.get(0)?;
        let mut sum = 0;
        for key in self.by_key.keys()? {
            let sockets = self.by_key.get(key)?;
            sum += sockets;
            let name = key.command.split(|byte| *byte == 0).next();
            counted.opened.push(Opened {
                command: String::from_utf8_lossy(name.unwrap_or_default()).into_owned(),
                family: key.family as i32,
                protocol: key.protocol as i32,
                sockets,
            });
        }
        counted.missed = total.saturating_sub(sum);
        // Else what was not seen is of oxtcp's family, or no TCP.
        if self.has_smc || has_smc() {
            counted.unseen = self.others.misses()?;
        }
        Ok(counted)
    }
}

/// Whether the kernel has AF_SMC, which is a module.
fn has_smc() -> bool {
    // A kernel that does not say may have it.
    std::fs::read_to_string("/proc/net/protocols").map_or(true, |text| {
        text.lines().any(|line| line.starts_with("SMC"))
    })
}

/// `maps` are those of the counts, and of their sum.
fn of_inet(fence: &Fence, maps: [i32; 2], protocol: Option<i32>) -> Vec<u64> {
    let mut code = Code::default();
    let (count, end) = (code.label(), code.label());
    // struct bpf_sock: bound_dev_if, family, type, protocol
    let member = |n: i16| 4 * n;
    code.copy(6, 1);
    code.load_half(7, 6, member(1));
    code.load_half(1, 6, member(2));
    code.jump_unless(1, libc::SOCK_STREAM, end);
    code.load_half(8, 6, member(3));
    for protocol in [libc::IPPROTO_TCP, libc::IPPROTO_MPTCP, IPPROTO_SMC]
        .into_iter()
        .chain(protocol)
    {
        code.jump_if(8, protocol, count);
    }
    if let Some(protocol) = protocol {
        // What it is called from then on.
        code.jump_unless(8, OURS, end);
        code.set(8, protocol);
    } else {
        code.jump(end);
    }
    code.put(count);
    // Nobody who is around a cgroup is outside.
    if !matches!(fence, Fence::Cgroup(_)) {
        fence.check(&mut code, end);
    }
    add(&mut code, maps, end);
    code.put(end);
    // The socket may be had.
    code.set(0, 1);
    code.exit();
    code.finish()
}

fn of_others(fence: &Fence, maps: [i32; 2], family: i32) -> Vec<u64> {
    let mut code = Code::default();
    let (count, end) = (code.label(), code.label());
    // __sock_create(net, family, type, protocol, res, kern), and what it has returned.
    let argument = |n: i16| 8 * n;
    code.copy(6, 1);
    code.load(7, 6, argument(1));
    code.jump_if(7, family, count);
    code.jump_unless(7, AF_SMC, end);
    code.put(count);
    code.load(1, 6, argument(6));
    code.jump_unless(1, 0, end);
    code.load(1, 6, argument(5));
    code.jump_unless(1, 0, end);
    code.load(1, 6, argument(2));
    code.jump_unless(1, libc::SOCK_STREAM, end);
    code.load(8, 6, argument(3));
    fence.check(&mut code, end);
    add(&mut code, maps, end);
    code.put(end);
    code.set(0, 0);
    code.exit();
    code.finish()
}

/// Counts one of the family in register 7 and the protocol in register 8.
fn add(code: &mut Code, maps: [i32; 2], end: Label) {
    /// Of the key and of a value, from the end of the stack.
    const KEY: i16 = -24;
    const VALUE: i16 = -32;
    const BPF_NOEXIST: i32 = 1;
    let [by_key, total] = maps;
    let add = code.label();
    code.map_value(1, total);
    code.set(2, 1);
    code.add_to(1, 2);
    code.store_half(10, KEY, 7);
    code.store_half(10, KEY + 4, 8);
    code.copy(1, 10);
    code.add(1, i32::from(KEY) + 8);
    code.set(2, 16);
    code.call(helper::GET_CURRENT_COMM);
    let look_up = |code: &mut Code| {
        code.map(1, by_key);
        code.copy(2, 10);
        code.add(2, KEY.into());
        code.call(helper::MAP_LOOKUP_ELEM);
    };
    look_up(code);
    let first = code.label();
    code.jump_if_null(0, first);
    code.put(add);
    code.set(1, 1);
    code.add_to(0, 1);
    code.jump(end);
    code.put(first);
    code.set(1, 1);
    code.store(10, VALUE, 1);
    code.map(1, by_key);
    code.copy(2, 10);
    code.add(2, KEY.into());
    code.copy(3, 10);
    code.add(3, VALUE.into());
    code.set(4, BPF_NOEXIST);
    code.call(helper::MAP_UPDATE_ELEM);
    code.jump_if(0, 0, end);
    // Another processor was faster; or there is no room, which the sum tells.
    look_up(code);
    code.jump_if_null(0, end);
    code.jump(add);
}
