// SPDX-License-Identifier: GPL-2.0
//! Sockets that `oxtcp run` opens itself, to see that they are moved and counted. Their threads have a name by which they are left out
//! of what is counted, here and by an `oxtcp run` around this one.

use std::ffi::CStr;
use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::thread;

/// The name.
pub const NAME: &str = "oxtcp-sample";
const C_NAME: &CStr = c"oxtcp-sample";

/// Opens a socket of AF_INET, in a thread of its own.
pub fn open(protocol: i32) -> io::Result<OwnedFd> {
    let thread = thread::Builder::new().spawn(move || {
        take_name();
        socket(protocol)
    })?;
    let outcome = thread.join();
    outcome.unwrap_or_else(|_| Err(io::Error::other("its thread has failed")))
}

/// Opens one in the calling process, and says whether it is oxtcp's. Allocates nothing, but the process has the name from then on, until
/// it executes a program.
pub fn is_ours() -> io::Result<bool> {
    take_name();
    belongs(&socket(libc::IPPROTO_TCP)?)
}

/// The same, in a process of its own that goes inside first, by system calls alone.
pub fn is_ours_inside(enter: impl Fn() -> io::Result<()>) -> io::Result<bool> {
    const NO: i32 = 255;
    // SAFETY: the child makes system calls alone, and ends without what ends a process: no lock and no memory of other threads is touched.
    let child = match unsafe { libc::fork() } {
        0 => {
            let code = match enter().and_then(|()| is_ours()) {
                Ok(true) => 0,
                Ok(false) => NO,
                Err(error) => error
                    .raw_os_error()
                    .filter(|code| (1..NO).contains(code))
                    .unwrap_or(libc::EIO),
            };
            // SAFETY: a plain number.
            unsafe { libc::_exit(code) }
        }
        child @ 1.. => child,
        _ => return Err(io::Error::last_os_error()),
    };
    let mut status = 0;
    loop {
        // SAFETY: the child is this process's, and was not waited for; the status is an int.
        match unsafe { libc::waitpid(child, &raw mut status, 0) } {
            0.. => break,
            _ => match io::Error::last_os_error() {
                error if error.kind() == io::ErrorKind::Interrupted => {}
                error => return Err(error),
            },
        }
    }
    match libc::WIFEXITED(status).then(|| libc::WEXITSTATUS(status)) {
        Some(0) => Ok(true),
        Some(NO) => Ok(false),
        Some(code) => Err(io::Error::from_raw_os_error(code)),
        None => Err(io::Error::other("its process was ended")),
    }
}

/// Whether a socket is oxtcp's.
pub fn belongs(socket: &OwnedFd) -> io::Result<bool> {
    /// As SO_PROTOCOL tells it of oxtcp's.
    const OURS: i32 = 518;
    let (mut value, mut len) = (0_i32, size_of::<i32>() as libc::socklen_t);
    // SAFETY: the value is as long as `len` says.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_PROTOCOL,
            (&raw mut value).cast(),
            &raw mut len,
        )
    };
    match result {
        0 => Ok(value == OURS),
        _ => Err(io::Error::last_os_error()),
    }
}

fn take_name() {
    // SAFETY: the name is a C string of less than 16 bytes.
    unsafe { libc::prctl(libc::PR_SET_NAME, C_NAME.as_ptr()) };
}

fn socket(protocol: i32) -> io::Result<OwnedFd> {
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: plain numbers.
    match unsafe { libc::socket(libc::AF_INET, kind, protocol) } {
        // SAFETY: it is nobody else's.
        fd @ 0.. => Ok(unsafe { OwnedFd::from_raw_fd(fd) }),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn name_is_the_one_that_is_left_out() {
        assert_eq!(C_NAME.to_str(), Ok(NAME));
        assert!(NAME.len() < 16);
    }

    #[test]
    fn open_leaves_the_caller_its_name() {
        let name = || std::fs::read_to_string("/proc/thread-self/comm").unwrap();
        let before = name();
        let socket = open(libc::IPPROTO_TCP).unwrap();
        assert!(!belongs(&socket).unwrap());
        assert_eq!(name(), before);
    }
}
