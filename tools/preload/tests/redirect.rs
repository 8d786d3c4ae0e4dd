// SPDX-License-Identifier: GPL-2.0
//! The preload library, loaded into this test program itself: it runs once more under `LD_PRELOAD` and
//! makes the calls there. `AF_UNIX` stands in for the module's family: it accepts `SOCK_STREAM` with the
//! protocols 0 and 1, as the module does, and `SO_DOMAIN` tells it apart from TCP. For the protocol that
//! was passed, a family that takes neither tells by its error.

use std::env;
use std::io;
use std::path::PathBuf;
use std::process::{Command, Output};

use libc::{
    c_int, socklen_t, AF_INET, AF_INET6, AF_UNIX, EAFNOSUPPORT, IPPROTO_MPTCP, IPPROTO_TCP,
    IPPROTO_UDP, SOCK_CLOEXEC, SOCK_DGRAM, SOCK_NONBLOCK, SOCK_STREAM, SOL_SOCKET, SO_DOMAIN,
    SO_PROTOCOL,
};

/// Each case runs alone in a child with its own environment.
#[test]
fn redirects_tcp_over_ipv4_and_ipv6() {
    check("redirects", &[("OXTCP_FAMILY", "1")]);
}

#[test]
fn an_unknown_family_is_an_error_and_not_the_builtin_tcp() {
    check("unknown_family", &[("OXTCP_FAMILY", "200")]);
}

#[test]
fn a_family_that_is_no_number_is_an_error() {
    check("unknown_family", &[("OXTCP_FAMILY", "nineteen")]);
    check("unknown_family", &[("OXTCP_FAMILY", "")]);
    check("unknown_family", &[("OXTCP_FAMILY", "-2")]);
}

#[test]
fn fallback_is_the_builtin_tcp() {
    check(
        "fallback",
        &[("OXTCP_FAMILY", "200"), ("OXTCP_FALLBACK", "1")],
    );
}

#[test]
fn fallback_must_be_1() {
    check(
        "unknown_family",
        &[("OXTCP_FAMILY", "200"), ("OXTCP_FALLBACK", "0")],
    );
}

#[test]
fn ipv6_is_protocol_1() {
    check("protocols", &[("OXTCP_FAMILY", "16")]);
}

#[test]
fn works_in_threads_and_children() {
    check("threads_and_children", &[("OXTCP_FAMILY", "1")]);
}

#[test]
fn an_emptied_environment_changes_nothing() {
    check("emptied_environment", &[("OXTCP_FAMILY", "1")]);
}

/// Not a test of its own: the part of the others that runs under `LD_PRELOAD`.
#[test]
fn under_preload() {
    match env::var("OXTCP_TEST_CASE").as_deref() {
        Ok("redirects") => redirects(),
        Ok("unknown_family") => unknown_family(),
        Ok("fallback") => fallback(),
        Ok("protocols") => protocols(),
        Ok("threads_and_children") => threads_and_children(),
        Ok("emptied_environment") => emptied_environment(),
        Ok(other) => panic!("no case {other}"),
        Err(_) => {}
    }
}

fn redirects() {
    for protocol in [0, IPPROTO_TCP, IPPROTO_MPTCP] {
        for flags in [0, SOCK_NONBLOCK, SOCK_CLOEXEC, SOCK_NONBLOCK | SOCK_CLOEXEC] {
            for domain in [AF_INET, AF_INET6] {
                let fd = socket(domain, SOCK_STREAM | flags, protocol).unwrap();
                assert_eq!(option(fd, SO_DOMAIN), AF_UNIX);
                assert_eq!(file_flags(fd), flags, "flags survive");
                close(fd);
            }
        }
    }
    for (domain, kind, protocol) in [
        (AF_INET, SOCK_DGRAM, 0),
        (AF_INET6, SOCK_DGRAM | SOCK_CLOEXEC, IPPROTO_UDP),
        (libc::AF_NETLINK, libc::SOCK_RAW, 0),
    ] {
        let fd = socket(domain, kind, protocol).unwrap();
        assert_eq!(option(fd, SO_DOMAIN), domain);
        close(fd);
    }
    // Other stream protocols are not ours: a redirected call would have succeeded.
    assert!(socket(AF_INET, SOCK_STREAM, IPPROTO_UDP).is_err());
}

fn unknown_family() {
    for domain in [AF_INET, AF_INET6] {
        assert_eq!(
            socket(domain, SOCK_STREAM, 0).unwrap_err().raw_os_error(),
            Some(EAFNOSUPPORT)
        );
    }
    close(socket(AF_INET, SOCK_DGRAM, 0).unwrap());
}

fn fallback() {
    let fd = socket(AF_INET, SOCK_STREAM, 0).unwrap();
    assert_eq!(option(fd, SO_DOMAIN), AF_INET);
    assert_eq!(option(fd, SO_PROTOCOL), IPPROTO_TCP);
    close(fd);
}

/// `AF_NETLINK` takes no `SOCK_STREAM` and says so with `ESOCKTNOSUPPORT`, whatever the protocol:
/// the error comes from the redirected family and errno reaches the caller as the kernel set it.
fn protocols() {
    for domain in [AF_INET, AF_INET6] {
        let error = socket(domain, SOCK_STREAM, 0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::ESOCKTNOSUPPORT));
    }
}

fn threads_and_children() {
    let domain_of_new = || {
        let fd = socket(AF_INET, SOCK_STREAM, 0).unwrap();
        let domain = option(fd, SO_DOMAIN);
        close(fd);
        domain
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(domain_of_new)).collect();
        assert!(threads
            .into_iter()
            .all(|thread| thread.join().unwrap() == AF_UNIX));
    });
    // SAFETY: the child makes system calls and leaves by _exit.
    unsafe {
        let child = libc::fork();
        if child == 0 {
            let fd = libc::socket(AF_INET, SOCK_STREAM, 0);
            libc::_exit((fd < 0 || option(fd, SO_DOMAIN) != AF_UNIX) as c_int);
        }
        let mut status = -1;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        assert_eq!(status, 0);
    }
}

fn emptied_environment() {
    // SAFETY: the only thread of the test that uses the environment.
    unsafe { libc::clearenv() };
    let fd = socket(AF_INET, SOCK_STREAM, 0).unwrap();
    assert_eq!(option(fd, SO_DOMAIN), AF_UNIX);
    close(fd);
}

fn check(case: &str, environment: &[(&str, &str)]) {
    let output = Command::new(env::current_exe().unwrap())
        .args([
            "--exact",
            "under_preload",
            "--nocapture",
            "--test-threads=1",
        ])
        .env_remove("OXTCP_FALLBACK")
        .env("LD_PRELOAD", library())
        .env("OXTCP_TEST_CASE", case)
        .envs(environment.iter().copied())
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", text(&output));
    assert!(text(&output).contains("1 passed"), "{}", text(&output));
    assert!(!text(&output).contains("ld.so"), "{}", text(&output));
}

/// The library as it is shipped. Cargo builds no cdylib for a test, so this asks for it.
/// `OXTCP_PRELOAD` names another build to test.
fn library() -> PathBuf {
    if let Some(path) = env::var_os("OXTCP_PRELOAD") {
        return PathBuf::from(path);
    }
    // target/debug/deps/redirect-...
    let target = env::current_exe()
        .unwrap()
        .ancestors()
        .nth(3)
        .unwrap()
        .to_path_buf();
    let build = Command::new(env!("CARGO"))
        .args([
            "build",
            "--quiet",
            "--locked",
            "--package",
            "oxtcp-preload",
            "--release",
            "--target-dir",
        ])
        .arg(&target)
        .status();
    assert!(
        build.unwrap().success(),
        "cargo could not build the library"
    );
    target.join("release/liboxtcp_preload.so")
}

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr)
}

fn socket(domain: c_int, kind: c_int, protocol: c_int) -> io::Result<c_int> {
    // SAFETY: takes integers.
    let fd = unsafe { libc::socket(domain, kind, protocol) };
    if fd < 0 {
        Err(io::Error::last_os_error())
    } else {
        Ok(fd)
    }
}

fn option(fd: c_int, name: c_int) -> c_int {
    let (mut value, mut length) = (-1, size_of::<c_int>() as socklen_t);
    // SAFETY: both pointers are to locals of the right size.
    let result =
        unsafe { libc::getsockopt(fd, SOL_SOCKET, name, (&raw mut value).cast(), &mut length) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
    value
}

fn file_flags(fd: c_int) -> c_int {
    // SAFETY: takes integers.
    let (status, descriptor) = unsafe {
        (
            libc::fcntl(fd, libc::F_GETFL),
            libc::fcntl(fd, libc::F_GETFD),
        )
    };
    let nonblock = if status & libc::O_NONBLOCK != 0 {
        SOCK_NONBLOCK
    } else {
        0
    };
    let cloexec = if descriptor & libc::FD_CLOEXEC != 0 {
        SOCK_CLOEXEC
    } else {
        0
    };
    nonblock | cloexec
}

fn close(fd: c_int) {
    // SAFETY: `fd` is the caller's own.
    unsafe { libc::close(fd) };
}
