// SPDX-License-Identifier: GPL-2.0
//! A BPF program that changes what socket(2) is asked for, in one cgroup: `socket(AF_INET or AF_INET6, SOCK_STREAM, 0 or
//! IPPROTO_TCP)` asks for the module's protocol number instead.
//!
//! The kernel has a function for it, `update_socket_protocol()` (net/socket.c, by MPTCP), which a program of the kind
//! fmod_ret may answer for. Ours is of nineteen instructions, put together here: nothing is compiled, on no machine. It is loaded by bpf(2)
//! itself, as the crates that load programs (aya) know no fmod_ret.

mod btf;
mod calls;

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::OwnedFd;

use crate::failure::words;
use calls::Place;

const BTF: &str = "/sys/kernel/btf/vmlinux";
const FUNCTION: &str = "update_socket_protocol";

/// Moves the sockets of `cgroup`, and of those below it, to `protocol`, until what is returned is closed.
pub fn move_sockets(cgroup: &File, protocol: u16) -> Result<OwnedFd, Error> {
    let bytes = fs::read(BTF).map_err(Error::NoBtf)?;
    let function = btf::function(&bytes, FUNCTION).ok_or(Error::NoFunction)?;
    let map = calls::cgroup_array(cgroup).map_err(|error| Error::Bpf("a map", error))?;
    let code = program(map.number(), protocol);
    let program = calls::load(&code, function, Place::Instead);
    let program = program.map_err(|error| Error::Bpf("the program", error))?;
    calls::attach(&program).map_err(Error::of_attaching)
}

/// Returns `protocol` for the sockets that are to be moved, and 0 for all others, by which the kernel's function answers.
fn program(cgroups: i32, protocol: u16) -> [u64; 19] {
    let instruction = |code: u8, to: u8, from: u8, offset: i16, value: i32| {
        let [high, low] = offset.to_be_bytes();
        let [a, b, c, d] = value.to_le_bytes();
        u64::from_ne_bytes([code, to | (from << 4), low, high, a, b, c, d])
    };
    let copy = |to, from| instruction(0xbf, to, from, 0, 0);
    let set = |to, value| instruction(0xb7, to, 0, 0, value);
    let argument = |to, from, n: i16| instruction(0x79, to, from, 8 * n, 0);
    let and = |to, value| instruction(0x54, to, 0, 0, value);
    // Of the lower halves: arguments are ints.
    let skip_if = |it, value, skip| instruction(0x16, it, 0, skip, value);
    let skip_unless = |it, value, skip| instruction(0x56, it, 0, skip, value);
    const EXIT: u8 = 0x95;
    const CALL: u8 = 0x85;
    const LOAD_WIDE: u8 = 0x18;
    const MAP_FD: u8 = 1;
    const CURRENT_TASK_UNDER_CGROUP: i32 = 37;
    [
        copy(6, 1),
        instruction(LOAD_WIDE, 1, MAP_FD, 0, cgroups),
        0,
        set(2, 0),
        instruction(CALL, 0, 0, 0, CURRENT_TASK_UNDER_CGROUP),
        skip_unless(0, 1, 11),
        argument(1, 6, 0),
        skip_if(1, libc::AF_INET, 1),
        skip_unless(1, libc::AF_INET6, 8),
        argument(1, 6, 1),
        // SOCK_TYPE_MASK: without SOCK_CLOEXEC and SOCK_NONBLOCK.
        and(1, 0xf),
        skip_unless(1, libc::SOCK_STREAM, 5),
        argument(1, 6, 2),
        skip_if(1, 0, 1),
        skip_unless(1, libc::IPPROTO_TCP, 2),
        set(0, protocol.into()),
        instruction(EXIT, 0, 0, 0, 0),
        set(0, 0),
        instruction(EXIT, 0, 0, 0, 0),
    ]
}

/// Why the sockets are not moved.
#[derive(Debug)]
pub enum Error {
    /// The kernel does not describe itself.
    NoBtf(io::Error),
    /// It has not the function, or describes itself in a way that is not known here.
    NoFunction,
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
            Error::NoFunction => write!(
                f,
                "{BTF} has no function {FUNCTION}().\nThe kernel must have CONFIG_MPTCP, and be of Linux 6.6 or later."
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
