// SPDX-License-Identifier: GPL-2.0
//! `--netns`: the network namespace that a command looks at.

use std::fs::File;
use std::io;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixDatagram;
use std::path::{Path, PathBuf};

use rustix::thread::{move_into_link_name_space, LinkNameSpaceType};

use crate::failure::{words, Problem, Result};

/// Which network namespace.
#[derive(clap::Args, Clone, Debug, Default)]
pub struct Choice {
    /// The network namespace: a name of `ip netns`, a process's number, or a path such as /proc/PID/ns/net
    #[arg(long, value_name = "NAMESPACE")]
    pub netns: Option<String>,
}

impl Choice {
    /// Moves the process into it. It has one thread, so all that it reads from then on is of that namespace.
    pub fn enter(&self) -> Result<()> {
        let Some(name) = &self.netns else {
            return Ok(());
        };
        let path = path_of(name);
        let file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Problem::usage(format!(
                "there is no network namespace `{name}` ({} does not exist).\n`ip netns` lists those with names; \
                 for a process's give its number.",
                path.display()
            )),
            _ => Problem::io("open", &path, &error),
        })?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).map_err(|errno| {
            let error = io::Error::from(errno);
            match errno {
                // An empty file that `ip netns` left behind, or no namespace at all.
                rustix::io::Errno::INVAL => Problem::failed(format!(
                    "{} is no network namespace (any more).\n`ip netns` lists those that there are.",
                    path.display()
                )),
                _ => Problem::io("enter", &path, &error),
            }
        })
    }
}

fn path_of(name: &str) -> PathBuf {
    if name.contains('/') {
        name.into()
    } else if !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_digit()) {
        Path::new("/proc").join(name).join("ns/net")
    } else {
        Path::new("/run/netns").join(name)
    }
}

/// What tells the present namespace from all others since the system's start: its cookie. (Numbers of inodes come again.)
pub fn identity() -> Result<String> {
    let fail = |error: io::Error| {
        Problem::failed(format!(
            "cannot tell which network namespace this is: {}",
            words(&error)
        ))
    };
    let socket = UnixDatagram::unbound().map_err(fail)?;
    let mut cookie = 0u64;
    let mut len = size_of::<u64>() as libc::socklen_t;
    // SAFETY: the descriptor is open; the kernel writes at most `len` bytes to `cookie`, which has as many.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut len,
        )
    };
    if result == 0 {
        Ok(cookie.to_string())
    } else {
        Err(fail(io::Error::last_os_error()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path_of_names_numbers_and_paths() {
        for (name, path) in [
            ("blue", "/run/netns/blue"),
            ("17", "/proc/17/ns/net"),
            ("17a", "/run/netns/17a"),
            ("/proc/self/ns/net", "/proc/self/ns/net"),
            ("./here", "./here"),
        ] {
            assert_eq!(path_of(name), Path::new(path));
        }
    }

    #[test]
    fn identity_stays() {
        let first = identity().unwrap();
        assert_ne!(first, "0");
        assert_eq!(identity().unwrap(), first);
    }

    #[test]
    fn enter_says_what_is_not_there() {
        let choice = Choice {
            netns: Some("no-such-namespace".into()),
        };
        let problem = choice.enter().unwrap_err();
        assert!(
            problem.message().contains("`no-such-namespace`"),
            "{problem}"
        );
        assert!(problem.message().contains("ip netns"), "{problem}");
    }
}
