// SPDX-License-Identifier: GPL-2.0
//! The sizes of what a connection costs, beside the built-in TCP's, and within DESIGN.md's budgets.
//!
//! They are read from the kernel's slab caches, as an operator would.

use std::process::ExitCode;

use oxtcp_selftests::{kernel, ktap, stack, Suite};

/// What there is one of per connection, half-open connection and TIME-WAIT.
struct Thing {
    name: &'static str,
    /// Names that our caches may have, the IPv4 one first.
    ours: &'static [&'static str],
    builtin: &'static str,
    /// Bytes at most (DESIGN.md).
    budget: u64,
}

const CONNECTION: Thing = Thing {
    name: "connection",
    ours: &["oxtcp", "OXTCP", "oxtcp_sock"],
    builtin: "TCP",
    budget: 1600,
};
const CONNECTION_IPV6: Thing = Thing {
    name: "connection, IPv6",
    ours: &["oxtcp6", "OXTCPv6", "oxtcp", "OXTCP"],
    builtin: "TCPv6",
    budget: 1600,
};
const HALF_OPEN: Thing = Thing {
    name: "half-open",
    ours: &["oxtcp_request", "oxtcp_req", "request_sock_oxtcp"],
    builtin: "request_sock_TCP",
    budget: 128,
};
const TIME_WAIT: Thing = Thing {
    name: "TIME-WAIT",
    ours: &[
        "oxtcp_time_wait",
        "oxtcp_timewait",
        "oxtcp_tw",
        "tw_sock_oxtcp",
    ],
    builtin: "tw_sock_TCP",
    budget: 128,
};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("sizes");
    suite.once("sizes__connection", || check(&CONNECTION));
    suite.once("sizes__connection_ipv6", || check(&CONNECTION_IPV6));
    suite.once("sizes__half_open", || check(&HALF_OPEN));
    suite.once("sizes__time_wait", || check(&TIME_WAIT));
    suite.run()
}

fn check(thing: &Thing) {
    let builtin = kernel::slab_object_size(thing.builtin);
    let builtin_text = builtin.map_or("?".to_string(), |size| size.to_string());
    if stack::builtin_only() {
        ktap::note(&format!(
            "{}: built-in TCP {builtin_text} bytes",
            thing.name
        ));
        if builtin.is_none() {
            ktap::skip("no /sys/kernel/slab");
        }
        return;
    }
    let Some(ours) = thing
        .ours
        .iter()
        .find_map(|cache| kernel::slab_object_size(cache))
    else {
        let there = kernel::slabs_named("oxtcp").join(", ");
        ktap::skip(&format!(
            "none of the caches {:?}; there are: {there}",
            thing.ours
        ));
    };
    ktap::note(&format!(
        "{}: ours {ours} bytes (at most {}), built-in TCP {builtin_text} bytes",
        thing.name, thing.budget
    ));
    assert!(
        ours <= thing.budget,
        "{ours} bytes are more than the budget of {}",
        thing.budget
    );
}
