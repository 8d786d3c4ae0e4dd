// SPDX-License-Identifier: GPL-2.0
//! A BPF program that changes what socket(2) is asked for, in one cgroup, in services, or everywhere: `socket(AF_INET or AF_INET6, SOCK_STREAM, 0 or
//! IPPROTO_TCP, or IPPROTO_MPTCP)` asks for the module's protocol number instead.
//!
//! The kernel has a function for it, `update_socket_protocol()` (net/socket.c, by MPTCP), which a program of the kind
//! fmod_ret may answer for. Ours is put together here, of some twenty instructions, or a thousand where services are told by their names: nothing is compiled, on no machine. It is loaded by bpf(2)
//! itself, as the crates that load programs (aya) know no fmod_ret.

mod assemble;
pub mod btf;
mod calls;
pub mod count;
pub mod fence;

use std::fmt;
use std::fs;
use std::io;
use std::os::fd::OwnedFd;

use super::sample;
use crate::failure::words;
use assemble::Code;
use btf::Btf;
use calls::{Attached, Failed, Place};
use fence::Fence;

const BTF: &str = "/sys/kernel/btf/vmlinux";
const FUNCTION: &str = "update_socket_protocol";

/// Moves sockets while it lives.
///
/// The kernel leaves a program out on a processor where a task was preempted in the midst of it (its `recursion_misses`): a socket that is opened
/// then would not be moved. So there are several programs that are the same: the next one is asked where one was left out, and
/// where one has not moved the socket.
pub struct Mover {
    programs: Vec<Attached>,
    /// With it the module cannot be unloaded: the sockets that are moved to it would all fail.
    _socket: OwnedFd,
}

impl Mover {
    /// Moves the sockets of those inside to `protocol`. Of so many programs, or as many as there is room for.
    pub fn new(fence: &Fence, protocol: u16, most: usize) -> Result<Self, Error> {
        let socket =
            sample::open(protocol.into()).map_err(|error| Error::Refused(protocol, error))?;
        let (code, function) = (program(fence, protocol), function(FUNCTION)?);
        let mut programs = Vec::new();
        while programs.len() < most {
            let attached = Attached::new(&code, function, Place::Instead);
            match attached.map_err(|failed| Error::of_attaching("the program", failed)) {
                Ok(attached) => programs.push(attached),
                Err(Error::Full) if !programs.is_empty() => break,
                Err(error) => return Err(error),
            }
        }
        Ok(Self {
            programs,
            _socket: socket,
        })
    }

    /// How often the kernel may have left all of them out, at most.
    pub fn misses(&self) -> io::Result<u64> {
        let mut least = u64::MAX;
        for program in &self.programs {
            least = least.min(program.misses()?);
        }
        Ok(least)
    }
}

fn btf() -> Result<Vec<u8>, Error> {
    fs::read(BTF).map_err(Error::NoBtf)
}

/// The number of one of the kernel's functions.
fn function(name: &'static str) -> Result<u32, Error> {
    let bytes = btf()?;
    let btf = Btf::new(&bytes).ok_or(Error::UnknownBtf)?;
    btf.function(name).ok_or(Error::NoFunction(name))
}

/// The kernel's functions for programs (`enum bpf_func_id`).
mod helper {
    pub const MAP_LOOKUP_ELEM: i32 = 1;
    pub const MAP_UPDATE_ELEM: i32 = 2;
    pub const GET_CURRENT_COMM: i32 = 16;
    pub const GET_CURRENT_TASK: i32 = 35;
    pub const CURRENT_TASK_UNDER_CGROUP: i32 = 37;
    pub const PROBE_READ_KERNEL: i32 = 113;
    pub const PROBE_READ_KERNEL_STR: i32 = 115;
}

/// Answers `protocol` for the sockets that are to be moved, and 0 for all others, by which the kernel's function answers.
///
/// Who asks for MPTCP gets one path, as from a peer that has no MPTCP.
fn program(fence: &Fence, protocol: u16) -> Vec<u64> {
    let mut code = Code::default();
    let (inet, tcp, others) = (code.label(), code.label(), code.label());
    // update_socket_protocol(family, type, protocol)
    let argument = |n: i16| 8 * n;
    code.copy(6, 1);
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
    fence.check(&mut code, others);
    code.set(0, protocol.into());
    code.exit();
    code.finish()
}

/// Why the sockets are not moved.
#[derive(Debug)]
pub enum Error {
    /// The kernel does not describe itself.
    NoBtf(io::Error),
    /// In a way that is not known here.
    UnknownBtf,
    /// It has not the function.
    NoFunction(&'static str),
    /// It has not this structure, or not this member of it.
    NoMember(&'static str, &'static str),
    /// It refuses sockets of this protocol.
    Refused(u16, io::Error),
    /// As many programs as the kernel takes are put to the function.
    Full,
    /// bpf(2) has not made this.
    Bpf(&'static str, io::Error),
}

impl Error {
    fn map(error: io::Error) -> Self {
        Error::Bpf("a map", error)
    }

    fn of_attaching(what: &'static str, failed: Failed) -> Self {
        match failed {
            // Of no argument here: the number of programs of a function (BPF_MAX_TRAMP_LINKS).
            Failed::Attach(error) if error.raw_os_error() == Some(libc::E2BIG) => Error::Full,
            Failed::Attach(error) => Error::Bpf("the program's place", error),
            Failed::Load(error) => Error::Bpf(what, error),
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
            Error::UnknownBtf => write!(f, "{BTF} is of a form that this command does not know."),
            Error::NoMember(name, member) => write!(
                f,
                "{BTF} has no `{member}` of a struct {name}, by which services are told.\nUse --system, or start the service's program by `oxtcp run`."
            ),
            Error::Refused(protocol, error) => write!(
                f,
                "the kernel refuses socket(AF_INET, SOCK_STREAM, {protocol}): {}.\n\
                 A seccomp filter (containers), a security module or a resource limit forbids it here.",
                words(error)
            ),
            Error::Full => f.write_str(
                "the kernel takes no more programs at its function: some 27 to 38, by processor, are the most, and each\n\
                 `oxtcp run` by BPF is one or two, or up to four. Wait for one to end, or run several programs under one: oxtcp run --bpf sh -c '... & ...; wait'",
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
        let attaching = |number| {
            let failed = Failed::Attach(io::Error::from_raw_os_error(number));
            Error::of_attaching("the program", failed).to_string()
        };
        let full = attaching(libc::E2BIG);
        assert!(full.contains("takes no more programs"), "{full}");
        let other = attaching(libc::EINVAL);
        assert!(other.contains("Invalid argument"), "{other}");
    }
}
