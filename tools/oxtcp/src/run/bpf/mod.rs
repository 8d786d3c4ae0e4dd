// SPDX-License-Identifier: GPL-2.0
//! A BPF program that changes what socket(2) is asked for, in one cgroup: `socket(AF_INET or AF_INET6, SOCK_STREAM, 0 or
//! IPPROTO_TCP, or IPPROTO_MPTCP)` asks for the module's protocol number instead.
//!
//! The kernel has a function for it, `update_socket_protocol()` (net/socket.c, by MPTCP), which a program of the kind
//! fmod_ret may answer for. Ours is put together here, of some twenty instructions: nothing is compiled, on no machine. It is loaded by bpf(2)
//! itself, as the crates that load programs (aya) know no fmod_ret.

mod assemble;
mod btf;
mod calls;
pub mod count;

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;

use crate::failure::words;
use assemble::{Code, Label};
use calls::Place;

const BTF: &str = "/sys/kernel/btf/vmlinux";
const FUNCTION: &str = "update_socket_protocol";

/// Moves the sockets of `cgroup`, and of those below it, to `protocol`, until what is returned is closed.
pub fn move_sockets(cgroup: &File, protocol: u16) -> Result<OwnedFd, Error> {
    let function = function(FUNCTION)?;
    let map = calls::cgroup_array(cgroup).map_err(|error| Error::Bpf("a map", error))?;
    let code = program(map.number(), protocol);
    let program = calls::load(&code, function, Place::Instead);
    let program = program.map_err(|error| Error::Bpf("the program", error))?;
    calls::attach(&program).map_err(Error::of_attaching)
}

/// The number of one of the kernel's functions.
fn function(name: &'static str) -> Result<u32, Error> {
    let bytes = fs::read(BTF).map_err(Error::NoBtf)?;
    btf::function(&bytes, name).ok_or(Error::NoFunction(name))
}

/// The kernel's functions for programs (`enum bpf_func_id`).
mod helper {
    pub const MAP_LOOKUP_ELEM: i32 = 1;
    pub const MAP_UPDATE_ELEM: i32 = 2;
    pub const GET_CURRENT_COMM: i32 = 16;
    pub const CURRENT_TASK_UNDER_CGROUP: i32 = 37;
}

/// Goes on at `outside` unless the process is in the map's cgroup, or below.
fn in_cgroup(code: &mut Code, cgroups: i32, outside: Label) {
    code.map(1, cgroups);
    code.set(2, 0);
    code.call(helper::CURRENT_TASK_UNDER_CGROUP);
    code.jump_unless(0, 1, outside);
}

/// Answers `protocol` for the sockets that are to be moved, and 0 for all others, by which the kernel's function answers.
///
/// Who asks for MPTCP gets one path, as from a peer that has no MPTCP.
fn program(cgroups: i32, protocol: u16) -> Vec<u64> {
    let mut code = Code::default();
    let (inet, tcp, others) = (code.label(), code.label(), code.label());
    // update_socket_protocol(family, type, protocol)
    let argument = |n: i16| 8 * n;
    code.copy(6, 1);
    in_cgroup(&mut code, cgroups, others);
    code.load(1, 6, argument(0));
    code.jump_if(1, libc::AF_INET, inet);
    code.jump_unless(1, libc::AF_INET6, others);
    code.put(inet);
    code.load(1, 6, argument(1));
    // SOCK_TYPE_MASK: without SOCK_CLOEXEC and SOCK_NONBLOCK.
    code.and(1, 0xf);
    code.jump_unless(1, libc::SOCK_STREAM, others);
    code.load(1, 6, argument(2));
    for asked in [0, libc::IPPROTO_TCP, libc::IPPROTO_MPTCP] {
        code.jump_if(1, asked, tcp);
    }
    code.put(others);
    code.set(0, 0);
    code.exit();
    code.put(tcp);
    code.set(0, protocol.into());
    code.exit();
    code.finish()
}

/// Why the sockets are not moved.
#[derive(Debug)]
pub enum Error {
    /// The kernel does not describe itself.
    NoBtf(io::Error),
    /// It has not the function, or describes itself in a way that is not known here.
    NoFunction(&'static str),
    /// As many programs as the kernel takes are put to the function.
    Full,
    /// bpf(2) has not made this.
    Bpf(&'static str, io::Error),
}

impl Error {
    fn of_attaching(error: io::Error) -> Self {
        match error.raw_os_error() {
            // Of no argument here: the number of programs of a function (BPF_MAX_TRAMP_LINKS).
            Some(libc::E2BIG) => Error::Full,
            _ => Error::Bpf("the program's place", error),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NoBtf(error) => write!(
                f,
                "cannot read {BTF}: {}.\nThe kernel must have CONFIG_DEBUG_INFO_BTF, as Debian's have.",
                words(error)
            ),
            Error::NoFunction(name) => write!(
                f,
                "{BTF} has no function {name}().\nThe kernel must have CONFIG_MPTCP, and be of Linux 6.6 or later."
            ),
            Error::Full => f.write_str(
                "the kernel takes no more programs at its function: some 27 to 38, by processor, are the most, and each\n\
                 `oxtcp run` by BPF is one. Wait for one to end, or run several programs under one: oxtcp run --bpf sh -c '... & ...; wait'",
            ),
            Error::Bpf(what, error) if error.kind() == io::ErrorKind::PermissionDenied => write!(
                f,
                "may not make {what} of BPF: {}.\nRun this as root (CAP_BPF and CAP_PERFMON are needed).",
                words(error)
            ),
            Error::Bpf(what, error) => write!(
                f,
                "the kernel does not make {what} of BPF: {}.\nIt must have CONFIG_BPF_JIT and CONFIG_MPTCP, as Debian's have.",
                words(error)
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_attaching_when_there_is_no_room() {
        let full = Error::of_attaching(io::Error::from_raw_os_error(libc::E2BIG)).to_string();
        assert!(full.contains("takes no more programs"), "{full}");
        let other = Error::of_attaching(io::Error::from_raw_os_error(libc::EINVAL)).to_string();
        assert!(other.contains("Invalid argument"), "{other}");
    }
}
