// SPDX-License-Identifier: GPL-2.0
//! A BPF program that changes what socket(2) is asked for, in one cgroup: `socket(AF_INET or AF_INET6, SOCK_STREAM, 0 or
//! IPPROTO_TCP)` asks for the module's protocol number instead.
//!
//! The kernel has a function for it, `update_socket_protocol()` (net/socket.c, by MPTCP), which a program of the kind
//! fmod_ret may answer for. Ours is of nineteen instructions, put together here: nothing is compiled, on no machine. It is loaded by bpf(2)
//! itself, as the crates that load programs (aya) know no fmod_ret.

use std::fmt;
use std::fs::{self, File};
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::btf;
use crate::failure::words;

const BTF: &str = "/sys/kernel/btf/vmlinux";
const FUNCTION: &str = "update_socket_protocol";

/// Moves the sockets of `cgroup`, and of those below it, to `protocol`, until what is returned is closed.
pub fn move_sockets(cgroup: &File, protocol: u16) -> Result<OwnedFd, Error> {
    let bytes = fs::read(BTF).map_err(Error::NoBtf)?;
    let function = btf::function(&bytes, FUNCTION).ok_or(Error::NoFunction)?;
    let map = cgroup_array(cgroup).map_err(|error| Error::Bpf("a map", error))?;
    let code = program(map.as_raw_fd(), protocol);
    let program = load(&code, function).map_err(|error| Error::Bpf("the program", error))?;
    attach(&program).map_err(|error| Error::Bpf("the program's place", error))
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

/// A BPF_MAP_TYPE_CGROUP_ARRAY with this one in it.
fn cgroup_array(cgroup: &File) -> io::Result<OwnedFd> {
    const BPF_MAP_CREATE: i32 = 0;
    const BPF_MAP_UPDATE_ELEM: i32 = 2;
    const CGROUP_ARRAY: u32 = 8;
    // Kind, bytes of a key and of a value, how many, flags.
    let made = descriptor(bpf(BPF_MAP_CREATE, &[CGROUP_ARRAY, 4, 4, 1, 0])?);
    #[repr(C)]
    struct Update {
        map: u64,
        key: u64,
        value: u64,
        flags: u64,
    }
    let (key, value) = (0_u32, cgroup.as_raw_fd());
    bpf(
        BPF_MAP_UPDATE_ELEM,
        &Update {
            map: made.as_raw_fd() as u64,
            key: &raw const key as u64,
            value: &raw const value as u64,
            flags: 0,
        },
    )?;
    Ok(made)
}

fn load(code: &[u64], function: u32) -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: i32 = 5;
    const TRACING: u32 = 26;
    const BPF_MODIFY_RETURN: u32 = 26;
    /// As `union bpf_attr` has it.
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        code: u64,
        license: u64,
        log: [u64; 2],
        kernel: u32,
        flags: u32,
        name: [u8; 16],
        device: u32,
        attach_type: u32,
        debug: [u32; 9],
        function: u32,
        of_program: u32,
        _end: u32,
    }
    const _: () = assert!(std::mem::offset_of!(Load, function) == 108);
    let load = Load {
        kind: TRACING,
        count: code.len() as u32,
        code: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log: [0; 2],
        kernel: 0,
        flags: 0,
        name: *b"oxtcp_run\0\0\0\0\0\0\0",
        device: 0,
        attach_type: BPF_MODIFY_RETURN,
        debug: [0; 9],
        function,
        of_program: 0,
        _end: 0,
    };
    Ok(descriptor(bpf(BPF_PROG_LOAD, &load)?))
}

fn attach(program: &OwnedFd) -> io::Result<OwnedFd> {
    const BPF_RAW_TRACEPOINT_OPEN: i32 = 17;
    // No name: the program has the function's number.
    let open = [0, program.as_raw_fd() as u64];
    Ok(descriptor(bpf(BPF_RAW_TRACEPOINT_OPEN, &open)?))
}

fn bpf<T>(command: i32, attributes: &T) -> io::Result<i32> {
    // SAFETY: the attributes, and what the callers' point to, are valid for the call, which writes to none of it.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    match result {
        0.. => Ok(result as i32),
        _ => Err(io::Error::last_os_error()),
    }
}

fn descriptor(raw: i32) -> OwnedFd {
    // SAFETY: bpf(2) has just made it, with close-on-exec; nobody else owns it.
    unsafe { OwnedFd::from_raw_fd(raw) }
}

/// Why the sockets are not moved.
#[derive(Debug)]
pub enum Error {
    /// The kernel does not describe itself.
    NoBtf(io::Error),
    /// It has not the function, or describes itself in a way that is not known here.
    NoFunction,
    /// bpf(2) has not made this.
    Bpf(&'static str, io::Error),
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
