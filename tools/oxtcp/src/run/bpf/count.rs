// SPDX-License-Identifier: GPL-2.0
//! A BPF program that counts the TCP sockets that the processes of a cgroup open, whatever TCP they are of.
//!
//! It runs when the kernel's `__sock_create()` has returned: all of socket(2), io_uring and the like end there, with the family and the
//! protocol that the socket is really of, after everything that changes what was asked for. Failures and the kernel's own sockets are not counted;
//! nor are those of accept(2), which are of their listener's kind.

use std::fs::File;
use std::io;
use std::os::fd::OwnedFd;

use super::assemble::Code;
use super::calls::{self, Kind, Map, Place, Plain};
use super::{function, helper, in_cgroup, Error};

const FUNCTION: &str = "__sock_create";
/// The kinds of sockets of this many programs and threads' names are told apart.
const MOST: u32 = 4096;

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
}

/// Counts while it lives.
pub struct Counter {
    by_key: Map<Key, u64>,
    total: Map<u32, u64>,
    _attached: OwnedFd,
}

impl Counter {
    /// Begins. `family` and `protocol` are the module's; it may have no protocol.
    pub fn new(cgroup: &File, family: u16, protocol: Option<u16>) -> Result<Self, Error> {
        let function = function(FUNCTION)?;
        let map = |error| Error::Bpf("a map", error);
        let cgroups = calls::cgroup_array(cgroup).map_err(map)?;
        let by_key = Map::new(Kind::Hash, MOST).map_err(map)?;
        let total = Map::new(Kind::Array, 1).map_err(map)?;
        let code = program(
            [cgroups.number(), by_key.number(), total.number()],
            family.into(),
            protocol.map(i32::from),
        );
        let program = calls::load(&code, function, Place::Exit);
        let program = program.map_err(|error| Error::Bpf("the program that counts", error))?;
        Ok(Self {
            by_key,
            total,
            _attached: calls::attach(&program).map_err(Error::of_attaching)?,
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
        Ok(counted)
    }
}

/// `maps` are those of the cgroup, of the counts, and of their sum.
fn program(maps: [i32; 3], family: i32, protocol: Option<i32>) -> Vec<u64> {
    /// Of the key and of a value, from the end of the stack.
    const KEY: i16 = -24;
    const VALUE: i16 = -32;
    const BPF_NOEXIST: i32 = 1;
    let [cgroups, by_key, total] = maps;
    let mut code = Code::default();
    let (inet, count, add, end) = (code.label(), code.label(), code.label(), code.label());
    // __sock_create(net, family, type, protocol, res, kern), and what it has returned.
    let argument = |n: i16| 8 * n;
    code.copy(6, 1);
    code.load(1, 6, argument(6));
    code.jump_unless(1, 0, end);
    code.load(1, 6, argument(5));
    code.jump_unless(1, 0, end);
    code.load(1, 6, argument(2));
    code.jump_unless(1, libc::SOCK_STREAM, end);
    code.load(7, 6, argument(1));
    code.load(8, 6, argument(3));
    code.jump_if(7, libc::AF_INET, inet);
    code.jump_if(7, libc::AF_INET6, inet);
    code.jump_if(7, family, count);
    code.jump_if(7, AF_SMC, count);
    code.jump(end);
    code.put(inet);
    for protocol in [0, libc::IPPROTO_TCP, libc::IPPROTO_MPTCP, IPPROTO_SMC]
        .into_iter()
        .chain(protocol)
    {
        code.jump_if(8, protocol, count);
    }
    code.jump(end);
    code.put(count);
    in_cgroup(&mut code, cgroups, end);
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
    look_up(&mut code);
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
    look_up(&mut code);
    code.jump_if_null(0, end);
    code.jump(add);
    code.put(end);
    code.set(0, 0);
    code.exit();
    code.finish()
}
