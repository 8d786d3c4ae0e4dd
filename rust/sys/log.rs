// SPDX-License-Identifier: GPL-2.0

//! Lines in the kernel's log that an attacker could ask for: their rate is limited.

use super::bindings;

/// There are more sockets without a program than a namespace may have. Any context.
pub(crate) fn too_many_orphans() {
    // SAFETY: No conditions.
    unsafe { bindings::oxtcp_helper_log_orphans() };
}

/// Whether a line may be written now that a peer could ask for; if not, the kernel counts it (`net_ratelimit()`). Any context.
pub(crate) fn may_write() -> bool {
    // SAFETY: No conditions.
    unsafe { bindings::net_ratelimit() != 0 }
}
