// SPDX-License-Identifier: GPL-2.0
//! Error numbers with their names, for assertions that can be read.

use std::fmt::Debug;
use std::io;

const NAMES: &[(i32, &str)] = &[
    (libc::EPERM, "EPERM"),
    (libc::EINTR, "EINTR"),
    (libc::EAGAIN, "EAGAIN"),
    (libc::EACCES, "EACCES"),
    (libc::EFAULT, "EFAULT"),
    (libc::EBUSY, "EBUSY"),
    (libc::EEXIST, "EEXIST"),
    (libc::EINVAL, "EINVAL"),
    (libc::ENOTTY, "ENOTTY"),
    (libc::EPIPE, "EPIPE"),
    (libc::EMSGSIZE, "EMSGSIZE"),
    (libc::ENOPROTOOPT, "ENOPROTOOPT"),
    (libc::EPROTONOSUPPORT, "EPROTONOSUPPORT"),
    (libc::ESOCKTNOSUPPORT, "ESOCKTNOSUPPORT"),
    (libc::EOPNOTSUPP, "EOPNOTSUPP"),
    (libc::EAFNOSUPPORT, "EAFNOSUPPORT"),
    (libc::EADDRINUSE, "EADDRINUSE"),
    (libc::EADDRNOTAVAIL, "EADDRNOTAVAIL"),
    (libc::ENETUNREACH, "ENETUNREACH"),
    (libc::ECONNABORTED, "ECONNABORTED"),
    (libc::ECONNRESET, "ECONNRESET"),
    (libc::EISCONN, "EISCONN"),
    (libc::ENOTCONN, "ENOTCONN"),
    (libc::ETIMEDOUT, "ETIMEDOUT"),
    (libc::ECONNREFUSED, "ECONNREFUSED"),
    (libc::EHOSTUNREACH, "EHOSTUNREACH"),
    (libc::EALREADY, "EALREADY"),
    (libc::EINPROGRESS, "EINPROGRESS"),
];

/// The symbol of an error number, or the number itself.
pub fn name(errno: i32) -> String {
    NAMES
        .iter()
        .find(|(number, _)| *number == errno)
        .map_or_else(|| format!("errno {errno}"), |(_, name)| (*name).to_string())
}

/// The error number of a failed call.
pub fn of(error: &io::Error) -> i32 {
    error.raw_os_error().unwrap_or(0)
}

/// Fails the test unless `result` is the error `errno`.
#[track_caller]
pub fn expect_errno<T: Debug>(result: io::Result<T>, errno: i32) {
    expect_one_of(result, &[errno]);
}

/// Fails the test unless `result` is one of these errors.
#[track_caller]
pub fn expect_one_of<T: Debug>(result: io::Result<T>, errnos: &[i32]) {
    let wanted: Vec<String> = errnos.iter().map(|e| name(*e)).collect();
    match result {
        Ok(value) => panic!("expected {}, got success ({value:?})", wanted.join(" or ")),
        Err(error) if errnos.contains(&of(&error)) => {}
        Err(error) => panic!(
            "expected {}, got {} ({error})",
            wanted.join(" or "),
            name(of(&error))
        ),
    }
}

/// `-1` with `errno`, as the C library returns it, made a result.
pub fn check(value: libc::c_int) -> io::Result<libc::c_int> {
    if value < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(value)
    }
}

/// The same for calls that return a length.
pub fn check_len(value: libc::ssize_t) -> io::Result<usize> {
    usize::try_from(value).map_err(|_| io::Error::last_os_error())
}
