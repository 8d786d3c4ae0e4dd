// SPDX-License-Identifier: GPL-2.0
//! The sizes of what a connection costs, beside the built-in TCP's, and within the budgets.
//!
//! Ours are what the module says in the kernel log; the built-in TCP's are those of its slab caches.

use std::process::ExitCode;

use oxtcp_selftests::kernel;
use oxtcp_selftests::{ktap, stack, Suite};

/// What there is one of per connection, half-open connection and TIME-WAIT.
struct Thing {
    /// As the module's message in the kernel log calls it.
    name: &'static str,
    /// The built-in TCP's slab cache.
    builtin: &'static str,
    /// Bytes at most (README, "Figures").
    budget: u64,
}

const CONNECTION: Thing = Thing {
    name: "connection",
    builtin: "TCP",
    budget: 1600,
};
const HALF_OPEN: Thing = Thing {
    name: "half-open",
    builtin: "request_sock_TCP",
    budget: 128,
};
const TIME_WAIT: Thing = Thing {
    name: "TIME-WAIT",
    builtin: "tw_sock_TCP",
    budget: 128,
};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("sizes");
    suite.once("sizes__connection", || check(&CONNECTION));
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
    let Some(ours) = kernel::told_size(thing.name) else {
        ktap::skip("the kernel log has lost the module's message");
    };
    ktap::note(&format!(
        "{}: ours {ours} bytes (at most {}), built-in TCP {builtin_text} bytes",
        thing.name, thing.budget
    ));
    // What lockdep and its like add to every lock and socket is in nobody's budget.
    if std::fs::metadata("/proc/lockdep").is_ok() {
        ktap::skip(&format!("{}: {ours} bytes on a debug kernel", thing.name));
    }
    assert!(
        ours <= thing.budget,
        "{ours} bytes are more than the budget of {}",
        thing.budget
    );
}
