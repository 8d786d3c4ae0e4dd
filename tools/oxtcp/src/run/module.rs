// SPDX-License-Identifier: GPL-2.0
//! The kernel module as seen from outside: whether it is loaded, and under which family number.

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

use crate::failure::words;

/// The family number of the loaded module.
pub fn family() -> Result<u16, Error> {
    parameter(FAMILY_PARAMETER)
}

/// The loaded module's protocol number of AF_INET and AF_INET6.
pub fn protocol() -> Result<u16, Error> {
    match parameter(PROTOCOL_PARAMETER)? {
        0 => Err(Error::NoProtocol),
        protocol => Ok(protocol),
    }
}

fn parameter(path: &'static str) -> Result<u16, Error> {
    let text = fs::read_to_string(path).map_err(|error| match error.kind() {
        io::ErrorKind::NotFound if !Path::new("/sys/module").exists() => Error::NoSysfs,
        io::ErrorKind::NotFound => Error::NotLoaded,
        _ => Error::Unreadable(error),
    })?;
    text.trim()
        .parse()
        .map_err(|_| Error::NotANumber(path, text.trim().to_string()))
}

/// Opens and closes a socket of the family, so that a refusal is told here, in words, and not by whatever
/// the program makes of its failing `socket()`.
pub fn probe(family: u16) -> Result<(), Error> {
    // SAFETY: takes integers; the descriptor is closed at once.
    unsafe {
        let fd = libc::socket(family.into(), libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0);
        if fd < 0 {
            return Err(Error::Refused(family, io::Error::last_os_error()));
        }
        libc::close(fd);
    }
    Ok(())
}

/// The module's default, once Econet's.
pub const DEFAULT_FAMILY: u16 = 19;

const PROTOCOL_PARAMETER: &str = "/sys/module/oxtcp/parameters/protocol";
const FAMILY_PARAMETER: &str = "/sys/module/oxtcp/parameters/family";

/// Why the module cannot be used.
#[derive(Debug)]
pub enum Error {
    /// No module of this name.
    NotLoaded,
    /// `/sys` is not there to ask.
    NoSysfs,
    /// The parameter cannot be read.
    Unreadable(io::Error),
    /// The parameter holds something else.
    NotANumber(&'static str, String),
    /// The module takes no part in AF_INET and AF_INET6.
    NoProtocol,
    /// `socket()` with this family failed.
    Refused(u16, io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotLoaded => write!(
                f,
                "the kernel module oxtcp is not loaded.\n\
                 Load it (as root: `modprobe oxtcp`, or `insmod oxtcp.ko` from a build tree) and run this again."
            ),
            Error::NoSysfs => write!(
                f,
                "cannot tell whether the kernel module oxtcp is loaded: /sys is not mounted here.\n\
                 Mount it, or give the family number: oxtcp run --family {DEFAULT_FAMILY} PROGRAM"
            ),
            Error::Unreadable(error) => write!(
                f,
                "cannot read {FAMILY_PARAMETER}: {}.\n\
                 Give the family number instead: oxtcp run --family {DEFAULT_FAMILY} PROGRAM",
                words(error)
            ),
            Error::NoProtocol => write!(
                f,
                "the kernel module oxtcp has no protocol number of AF_INET (protocol=0).\n\
                 Load it with one, as it has by default: `insmod oxtcp.ko protocol=253`."
            ),
            Error::NotANumber(path, text) => write!(
                f,
                "{path} holds `{text}`, which is no number of a socket's.\n\
                 The loaded module is not the oxtcp that this command belongs to; load that one."
            ),
            Error::Refused(family, error) if error.raw_os_error() == Some(libc::EAFNOSUPPORT) => write!(
                f,
                "the kernel knows no socket family {family}.\n\
                 Load the module oxtcp (`modprobe oxtcp`); its number is in {FAMILY_PARAMETER}."
            ),
            Error::Refused(family, error) => write!(
                f,
                "the kernel refuses socket({family}, SOCK_STREAM, 0): {}.\n\
                 A seccomp filter (containers), a security module or a resource limit forbids it here, or \
                 {family} is another protocol's family.",
                words(error)
            ),
        }
    }
}
