// SPDX-License-Identifier: GPL-2.0
//! `liboxtcp_preload.so`: turns an unchanged program's TCP sockets into oxtcp sockets.
//!
//! Put into `LD_PRELOAD` (which is what `oxtcp run` does), it stands before the C library's `socket()`:
//!
//! | the program asks for                           | it gets                       |
//! |------------------------------------------------|-------------------------------|
//! | `socket(AF_INET, SOCK_STREAM, 0 or TCP)`       | `socket(family, SOCK_STREAM, 0)` |
//! | `socket(AF_INET6, SOCK_STREAM, 0 or TCP)`      | `socket(family, SOCK_STREAM, 1)` |
//! | anything else                                  | what it asked for             |
//!
//! So does who asks for MPTCP: a single path, as from a peer that has no MPTCP.
//! `SOCK_NONBLOCK` and `SOCK_CLOEXEC` are kept. The environment, read once when the library is loaded:
//!
//! * `OXTCP_FAMILY`: the module's family number, 19 when unset. A value that is no number makes the
//!   redirected calls fail with `EAFNOSUPPORT`.
//! * `OXTCP_FALLBACK=1`: where the kernel does not know the family (`EAFNOSUPPORT`), use the built-in
//!   TCP. Without it the program sees the error: nothing is silently served by another TCP.
//!
//! The library allocates nothing, takes no lock and prints nothing, so its calls are as good in a signal
//! handler or a `vfork()`ed child as the C library's. It needs no library beside libc.
#![no_std]

use core::ffi::{c_char, c_int, c_void, CStr};
use core::mem::transmute;
use core::ptr::null_mut;
use core::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, Ordering::Relaxed};

use libc::{
    socklen_t, AF_INET, AF_INET6, EAFNOSUPPORT, IPPROTO_MPTCP, IPPROTO_TCP, SOCK_STREAM,
    SOL_SOCKET, SO_PROTOCOL,
};

/// `socket(2)`, with TCP over IPv4 and IPv6 moved to oxtcp's family.
///
/// # Safety
/// None beyond the C library's: any arguments are allowed.
#[no_mangle]
pub unsafe extern "C" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    let Some(ours) = redirected_protocol(domain, kind, protocol) else {
        return next_socket(domain, kind, protocol);
    };
    let fd = next_socket(family(), kind, ours);
    if fd < 0 && errno() == EAFNOSUPPORT && FALLBACK.load(Relaxed) {
        return next_socket(domain, kind, protocol);
    }
    fd
}

/// `getsockopt(2)`, in which `SO_PROTOCOL` of an oxtcp socket reads `IPPROTO_TCP`: a program that asked
/// for TCP (nginx on its inherited listeners, TLS libraries, CRIU) compares it with nothing else.
///
/// # Safety
/// As the C library's: `value` and `length` are pointers that are good for it.
#[no_mangle]
pub unsafe extern "C" fn getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
) -> c_int {
    // SAFETY: the caller's own arguments, handed on.
    let result = unsafe { next_getsockopt(fd, level, name, value, length) };
    if result == 0 && level == SOL_SOCKET && name == SO_PROTOCOL {
        // SAFETY: the call succeeded, so `length` is readable and `value` holds `*length` bytes.
        unsafe {
            if *length as usize == size_of::<c_int>() {
                let protocol = value.cast::<c_int>();
                if protocol.read_unaligned() == OXTCP_SK_PROTOCOL {
                    protocol.write_unaligned(IPPROTO_TCP);
                }
            }
        }
    }
    result
}

/// The protocol number under which oxtcp's family serves this socket, or `None` where it is not TCP.
fn redirected_protocol(domain: c_int, kind: c_int, protocol: c_int) -> Option<c_int> {
    if kind & SOCK_TYPE_MASK != SOCK_STREAM || !matches!(protocol, 0 | IPPROTO_TCP | IPPROTO_MPTCP)
    {
        return None;
    }
    match domain {
        AF_INET => Some(OXTCP_PROTOCOL_IPV4),
        AF_INET6 => Some(OXTCP_PROTOCOL_IPV6),
        _ => None,
    }
}

fn family() -> c_int {
    if FAMILY.load(Relaxed) == UNREAD {
        read_environment();
    }
    FAMILY.load(Relaxed)
}

/// Runs when the library is loaded. A library with an earlier constructor may call `socket()` before it;
/// then `family()` does the same work, with the same outcome.
extern "C" fn initialise() {
    read_environment();
    resolve(&NEXT_SOCKET, c"socket");
    resolve(&NEXT_GETSOCKOPT, c"getsockopt");
}

#[used]
#[link_section = ".init_array"]
static INITIALISE: extern "C" fn() = initialise;

fn read_environment() {
    FALLBACK.store(variable(c"OXTCP_FALLBACK") == Some(b"1"), Relaxed);
    FAMILY.store(
        variable(c"OXTCP_FAMILY").map_or(DEFAULT_FAMILY, |text| {
            parse_family(text).unwrap_or(NO_FAMILY)
        }),
        Relaxed,
    );
}

fn parse_family(text: &[u8]) -> Option<c_int> {
    core::str::from_utf8(text)
        .ok()?
        .parse::<u16>()
        .ok()
        .map(c_int::from)
}

fn variable(name: &CStr) -> Option<&'static [u8]> {
    // SAFETY: `name` is a C string. The value is used at once, in `read_environment`, and not kept.
    unsafe {
        let value: *const c_char = libc::getenv(name.as_ptr());
        (!value.is_null()).then(|| CStr::from_ptr(value).to_bytes())
    }
}

type Socket = unsafe extern "C" fn(c_int, c_int, c_int) -> c_int;
type Getsockopt = unsafe extern "C" fn(c_int, c_int, c_int, *mut c_void, *mut socklen_t) -> c_int;

fn next_socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    let next = resolve(&NEXT_SOCKET, c"socket");
    if next.is_null() {
        // SAFETY: the system call takes three integers; libc's wrapper sets errno.
        return unsafe { libc::syscall(libc::SYS_socket, domain, kind, protocol) } as c_int;
    }
    // SAFETY: `next` is the next definition of `socket`, which has this type.
    unsafe { transmute::<*mut c_void, Socket>(next)(domain, kind, protocol) }
}

/// # Safety
/// As the C library's `getsockopt`.
unsafe fn next_getsockopt(
    fd: c_int,
    level: c_int,
    name: c_int,
    value: *mut c_void,
    length: *mut socklen_t,
) -> c_int {
    let next = resolve(&NEXT_GETSOCKOPT, c"getsockopt");
    if next.is_null() {
        // SAFETY: the caller vouches for the pointers.
        return unsafe { libc::syscall(libc::SYS_getsockopt, fd, level, name, value, length) }
            as c_int;
    }
    // SAFETY: `next` is the next definition of `getsockopt`; the caller vouches for the pointers.
    unsafe { transmute::<*mut c_void, Getsockopt>(next)(fd, level, name, value, length) }
}

/// The definition of `name` that comes after this library's, looked up once. Two threads that look it up
/// at the same time store the same address.
fn resolve(slot: &AtomicPtr<c_void>, name: &CStr) -> *mut c_void {
    let known = slot.load(Relaxed);
    if !known.is_null() {
        return known;
    }
    // SAFETY: `name` is a C string.
    let found = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    slot.store(found, Relaxed);
    found
}

fn errno() -> c_int {
    // SAFETY: the address of this thread's errno is always readable.
    unsafe { *libc::__errno_location() }
}

#[cfg(not(test))]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    // SAFETY: takes no arguments.
    unsafe { libc::abort() }
}

// Never called: nothing unwinds. The precompiled `core` names it in its unwinding tables. Hidden, since a
// program may have a real one (rustc's own driver, in libstd.so) for which this must not be taken.
#[cfg(not(test))]
core::arch::global_asm!(
    ".globl rust_eh_personality",
    ".hidden rust_eh_personality",
    "rust_eh_personality:"
);

// The libc crate's own request for libc is lost where none of its code is linked.
#[link(name = "c")]
extern "C" {}

static NEXT_SOCKET: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static NEXT_GETSOCKOPT: AtomicPtr<c_void> = AtomicPtr::new(null_mut());
static FAMILY: AtomicI32 = AtomicI32::new(UNREAD);
static FALLBACK: AtomicBool = AtomicBool::new(false);

/// The module's default, once Econet's.
const DEFAULT_FAMILY: c_int = 19;
/// A family that no kernel has: `socket()` answers `EAFNOSUPPORT`.
const NO_FAMILY: c_int = -1;
const UNREAD: c_int = i32::MIN;
/// `SOCK_TYPE_MASK` of the kernel's `include/linux/net.h`: the rest of `type` are flags.
const SOCK_TYPE_MASK: c_int = 0xf;
/// AF_SMC's convention: the protocol number chooses the IP version.
const OXTCP_PROTOCOL_IPV4: c_int = 0;
const OXTCP_PROTOCOL_IPV6: c_int = 1;
/// `sk_protocol` of the module's sockets: TCP's 6 in the low byte, a mark above it that keeps the kernel
/// from taking them for its own `tcp_sock` (as MPTCP's 0x106 does).
const OXTCP_SK_PROTOCOL: c_int = 0x206;
