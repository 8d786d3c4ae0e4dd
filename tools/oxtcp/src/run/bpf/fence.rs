// SPDX-License-Identifier: GPL-2.0
//! Whose sockets a program is about: those of a cgroup, of services, or of all processes.
//!
//! A service is known by its name, and not by a cgroup that is there now: systemd removes that when the service ends, and makes
//! another when it begins. Each time a socket is asked for, the program reads the names of the process's cgroups, from the
//! hierarchy's root downwards: slices (`NAME.slice`), and then the service. So nothing has to be noticed when a cgroup comes, and no socket
//! is too early. What was found is kept by the cgroup's number, which no other gets, and whose name and place do not change. What is not below slices alone is none of this system's services: those of a user's own systemd and of
//! containers are below a service or a scope.

use std::fs::File;

use super::assemble::{Code, Label};
use super::btf::Btf;
use super::calls::{self, Kind, Map};
use super::{helper, Error};

/// The bytes of a cgroup's name, with zeros behind it: NAME_MAX, and one for the end.
type Name = [u8; 256];

/// So many folders deep, at most, a service is looked for.
pub const DEPTH: i32 = 12;
/// How many names of cgroups there can be.
pub const MOST: usize = 129;
/// Of so many cgroups is kept whether they are a service's.
const KNOWN: u32 = 4096;
/// From the end of the stack: what programs may use themselves is above.
const POINTER: i16 = -48;
const LENGTH: i16 = -56;
const TAIL: i16 = -64;
const NAME: i16 = -64 - 256;
const NUMBER: i16 = NAME - 8;
const VERDICT: i16 = NUMBER - 8;

/// Whose.
pub enum Fence {
    /// Of the processes in a cgroup and below.
    Cgroup(Map<u32, u32>),
    /// Of services, by the names of their cgroups.
    Services(Services),
    /// Of everyone.
    System,
}

impl Fence {
    /// Around a cgroup.
    pub fn cgroup(cgroup: &File) -> Result<Self, Error> {
        let map = calls::cgroup_array(cgroup).map_err(Error::map)?;
        Ok(Fence::Cgroup(map))
    }

    /// Around services, of which there are none yet.
    pub fn services() -> Result<Self, Error> {
        let bytes = super::btf()?;
        let members = Members::find(&Btf::new(&bytes).ok_or(Error::UnknownBtf)?)?;
        Ok(Fence::Services(Services {
            names: Map::new(Kind::Hash, MOST as u32).map_err(Error::map)?,
            known: Map::new(Kind::LruHash, KNOWN).map_err(Error::map)?,
            members,
        }))
    }

    /// With the service whose cgroup has this name, too.
    pub fn add(&self, folder: &str) -> Result<(), Error> {
        match self {
            Fence::Services(services) => {
                let set = services.names.set(name(folder), 1);
                set.map_err(Error::map)
            }
            _ => Ok(()),
        }
    }

    /// Without it again.
    pub fn remove(&self, folder: &str) -> Result<(), Error> {
        match self {
            Fence::Services(services) => {
                let removed = services.names.remove(name(folder));
                removed.map_err(Error::map)
            }
            _ => Ok(()),
        }
    }

    /// Goes on at `outside` unless the process is inside. Registers 7 and 8 are kept.
    pub fn check(&self, code: &mut Code, outside: Label) {
        match self {
            Fence::Cgroup(map) => {
                code.map(1, map.number());
                code.set(2, 0);
                code.call(helper::CURRENT_TASK_UNDER_CGROUP);
                code.jump_unless(0, 1, outside);
            }
            Fence::Services(services) => services.check(code, outside),
            Fence::System => {}
        }
    }
}

fn name(folder: &str) -> Name {
    let mut name = [0; 256];
    // The last one is the end: names are not longer.
    let len = folder.len().min(255);
    name[..len].copy_from_slice(&folder.as_bytes()[..len]);
    name
}

/// Where the kernel has the names of a process's cgroups.
pub struct Members {
    task_cgroups: i32,
    set_cgroup: i32,
    level: i32,
    ancestors: i32,
    node: i32,
    node_name: i32,
    node_number: i32,
}

impl Members {
    fn find(btf: &Btf<'_>) -> Result<Self, Error> {
        let member = |name, member| {
            let found = btf.member(name, member);
            found.ok_or(Error::NoMember(name, member))
        };
        Ok(Self {
            task_cgroups: member("task_struct", "cgroups")?,
            set_cgroup: member("css_set", "dfl_cgrp")?,
            level: member("cgroup", "level")?,
            ancestors: member("cgroup", "ancestors")?,
            node: member("cgroup", "kn")?,
            node_name: member("kernfs_node", "name")?,
            node_number: member("kernfs_node", "id")?,
        })
    }
}

/// Services, and how they are found.
pub struct Services {
    /// Of their cgroups.
    names: Map<Name, u32>,
    /// Whether a cgroup is theirs, or below, by its number.
    known: Map<u64, u32>,
    members: Members,
}

impl Services {
    /// As [`Fence::check`]. All that is read is there while it is: the program runs under RCU, by which the kernel frees it.
    fn check(&self, code: &mut Code, outside: Label) {
        let members = &self.members;
        let (inside, hit, miss, walk) = (code.label(), code.label(), code.label(), code.label());
        code.call(helper::GET_CURRENT_TASK);
        code.store(10, POINTER, 0);
        follow(code, members.task_cgroups, outside);
        follow(code, members.set_cgroup, outside);
        // 9: the cgroup; it and its number are of one moment, at which the process may be moved to another.
        code.load(9, 10, POINTER);
        follow(code, members.node, outside);
        code.load(3, 10, POINTER);
        code.add(3, members.node_number);
        read(code, NUMBER, 8, outside);
        code.map(1, self.known.number());
        code.copy(2, 10);
        code.add(2, NUMBER.into());
        code.call(helper::MAP_LOOKUP_ELEM);
        code.jump_if_null(0, walk);
        code.load_half(1, 0, 0);
        code.jump_if(1, 1, inside);
        code.jump(outside);
        code.put(walk);
        // 6: how deep it is.
        code.copy(3, 9);
        code.add(3, members.level);
        read(code, TAIL, 4, outside);
        code.load_half(6, 10, TAIL);
        for level in 1..=DEPTH {
            code.jump_if_less(6, level, miss);
            code.store(10, POINTER, 9);
            follow(code, members.ancestors + 8 * level, outside);
            follow(code, members.node, outside);
            follow(code, members.node_name, outside);
            code.set(1, 0);
            for at in (0..256).step_by(8) {
                code.store(10, NAME + at, 1);
            }
            code.copy(1, 10);
            code.add(1, NAME.into());
            code.set(2, 256);
            code.load(3, 10, POINTER);
            // How many bytes, with the zero at the end.
            code.call(helper::PROBE_READ_KERNEL_STR);
            code.store(10, LENGTH, 0);
            code.map(1, self.names.number());
            code.copy(2, 10);
            code.add(2, NAME.into());
            code.call(helper::MAP_LOOKUP_ELEM);
            code.jump_unless_null(0, hit);
            // Below a slice there may be one.
            let end = *b".slice\0\0";
            code.load(1, 10, LENGTH);
            code.jump_if_less(1, 8, miss);
            code.load(3, 10, POINTER);
            code.add_register(3, 1);
            code.add(3, -7);
            code.set(1, 0);
            code.store(10, TAIL, 1);
            read(code, TAIL, 7, outside);
            code.load(1, 10, TAIL);
            code.set_bytes(2, end);
            code.jump_if_different(1, 2, miss);
        }
        code.put(miss);
        self.keep(code, 0);
        code.jump(outside);
        code.put(hit);
        self.keep(code, 1);
        code.put(inside);
    }

    /// For the next time. That it cannot be does not matter.
    fn keep(&self, code: &mut Code, verdict: i32) {
        code.set(1, verdict);
        code.store(10, VERDICT, 1);
        code.map(1, self.known.number());
        code.copy(2, 10);
        code.add(2, NUMBER.into());
        code.copy(3, 10);
        code.add(3, VERDICT.into());
        code.set(4, 0);
        code.call(helper::MAP_UPDATE_ELEM);
    }
}

/// Where a pointer is, there is what it points to, by so many bytes behind.
fn follow(code: &mut Code, offset: i32, outside: Label) {
    code.load(3, 10, POINTER);
    code.add(3, offset);
    read(code, POINTER, 8, outside);
}

/// Reads so many bytes of the kernel's memory, at what register 3 has, to the stack.
fn read(code: &mut Code, to: i16, len: i32, failed: Label) {
    code.copy(1, 10);
    code.add(1, to.into());
    code.set(2, len);
    code.call(helper::PROBE_READ_KERNEL);
    code.jump_unless(0, 0, failed);
}

#[cfg(test)]
mod tests {
    use super::name;

    #[test]
    fn name_ends_with_zeros() {
        assert_eq!(name("x.service")[..10], *b"x.service\0");
        assert_eq!(name(&"x".repeat(300))[254..], *b"x\0");
    }
}
