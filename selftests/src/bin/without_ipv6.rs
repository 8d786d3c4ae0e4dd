// SPDX-License-Identifier: GPL-2.0
//! A kernel that was booted with ipv6.disable=1: it has no sockets of IPv6, and IPv4's are as ever.

use std::process::ExitCode;

use oxtcp_selftests::connection::{listening_at, Connected};
use oxtcp_selftests::{expect_errno, ktap, ns, stack, Ip, Sock, Stack, Suite};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("without_ipv6");
    suite.once("ipv6__is_refused", ipv6__is_refused);
    suite.once("ipv4__is_as_ever", ipv4__is_as_ever);
    suite.run()
}

/// Who boots such a kernel says so by `OXTCP_WITHOUT_IPV6`: in another one nothing is skipped then.
fn need() {
    let setting = std::fs::read_to_string("/sys/module/ipv6/parameters/disable");
    let disabled = setting.is_ok_and(|text| text.trim() == "1");
    if std::env::var_os("OXTCP_WITHOUT_IPV6").is_some() {
        assert!(disabled, "the kernel has not heeded ipv6.disable=1");
    } else if !disabled {
        ktap::skip("this kernel was booted with IPv6");
    }
    if stack::builtin_only() {
        ktap::skip("the built-in TCP is not asked");
    }
}

fn ipv6__is_refused() {
    need();
    for stack in [Stack::ours(Ip::V6), Stack::builtin(Ip::V6)] {
        let socket = Sock::try_open(stack.domain(), libc::SOCK_STREAM, stack.protocol());
        expect_errno(socket, libc::EAFNOSUPPORT);
    }
}

fn ipv4__is_as_ever() {
    need();
    ns::isolate();
    let stacks = [Stack::ours(Ip::V4), Stack::builtin(Ip::V4)];
    for (port, server) in (5001..).zip(stacks) {
        let (listener, address) = listening_at(server, &server.local(port), 1);
        for client in stacks {
            let client = Sock::open(client);
            client.connect(&address).expect("connect");
            let (server, _) = listener.accept().expect("accept");
            Connected { client, server }.check_alive();
        }
    }
}
