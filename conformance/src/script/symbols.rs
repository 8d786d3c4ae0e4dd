// SPDX-License-Identifier: GPL-2.0

//! Names that scripts use: those of `<errno.h>`, and those that the command line defines.

/// Errors by their names, with Linux's numbers.
const ERRNOS: &[(&str, i32)] = &[
    ("EPERM", 1),
    ("ENOENT", 2),
    ("EINTR", 4),
    ("EIO", 5),
    ("EBADF", 9),
    ("EAGAIN", 11),
    ("ENOMEM", 12),
    ("EACCES", 13),
    ("EFAULT", 14),
    ("EBUSY", 16),
    ("EEXIST", 17),
    ("EINVAL", 22),
    ("EMFILE", 24),
    ("ESPIPE", 29),
    ("EPIPE", 32),
    ("ENOTSOCK", 88),
    ("EDESTADDRREQ", 89),
    ("EMSGSIZE", 90),
    ("EPROTOTYPE", 91),
    ("ENOPROTOOPT", 92),
    ("EPROTONOSUPPORT", 93),
    ("EOPNOTSUPP", 95),
    ("EAFNOSUPPORT", 97),
    ("EADDRINUSE", 98),
    ("EADDRNOTAVAIL", 99),
    ("ENETUNREACH", 101),
    ("ECONNABORTED", 103),
    ("ECONNRESET", 104),
    ("ENOBUFS", 105),
    ("EISCONN", 106),
    ("ENOTCONN", 107),
    ("ETIMEDOUT", 110),
    ("ECONNREFUSED", 111),
    ("EHOSTUNREACH", 113),
    ("EALREADY", 114),
    ("EINPROGRESS", 115),
    ("ENOMSG", 42),
];

/// The number of an error.
pub fn errno_number(name: &str) -> Option<i32> {
    ERRNOS.iter().find(|(n, _)| *n == name).map(|(_, e)| *e)
}

/// The name of an error.
pub fn errno_name(number: i32) -> String {
    match ERRNOS.iter().find(|(_, e)| *e == number) {
        Some((name, _)) => (*name).to_string(),
        None => format!("errno {number}"),
    }
}

/// `-D name=value` of the command line: texts that stand for names in scripts.
#[derive(Clone, Debug, Default)]
pub struct Defines(Vec<(String, String)>);

impl Defines {
    /// Those of the kernel's `ksft_runner.sh` and more.
    pub fn new<'a>(pairs: impl IntoIterator<Item = (&'a str, &'a str)>) -> Self {
        let own = |(name, value): (&str, &str)| (name.to_string(), value.to_string());
        Defines(pairs.into_iter().map(own).collect())
    }

    /// What `name` stands for.
    pub fn get(&self, name: &str) -> Option<&str> {
        let found = self.0.iter().find(|(n, _)| n == name);
        found.map(|(_, value)| value.as_str())
    }
}
