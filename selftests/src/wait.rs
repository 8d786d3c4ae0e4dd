// SPDX-License-Identifier: GPL-2.0
//! Waiting for a condition, with a deadline that only a hang reaches.

use std::time::{Duration, Instant};

/// How long a condition may take: generous, for the debug kernel is a hundred times slower than a machine.
/// OXTCP_WAIT (seconds) changes it.
pub fn limit() -> Duration {
    let seconds = std::env::var("OXTCP_WAIT")
        .ok()
        .and_then(|v| v.parse().ok())
        .unwrap_or(30);
    Duration::from_secs(seconds)
}

/// Waits until `condition` yields a value; fails the test, saying `what` was awaited, at the deadline.
#[track_caller]
pub fn until_some<T>(what: &str, condition: impl FnMut() -> Option<T>) -> T {
    try_until_some(condition).unwrap_or_else(|| panic!("waited {:?} in vain: {what}", limit()))
}

/// The same; `None` at the deadline, for tests that have more to say then.
pub fn try_until_some<T>(mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + limit();
    loop {
        let value = condition();
        if value.is_some() || Instant::now() > deadline {
            return value;
        }
        std::thread::sleep(Duration::from_millis(1));
    }
}

/// Waits until `condition` holds.
#[track_caller]
pub fn until(what: &str, mut condition: impl FnMut() -> bool) {
    until_some(what, || condition().then_some(()));
}
