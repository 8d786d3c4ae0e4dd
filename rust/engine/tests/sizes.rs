// SPDX-License-Identifier: GPL-2.0
//! What the protocol keeps per connection, beside what Linux's own TCP keeps (README, "Figures"; the figures
//! of the built-in TCP are those of its slab caches and include the socket).
// Tests are named function__case, and may panic.
#![allow(
    non_snake_case,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use oxtcp_engine::reassembly::Reassembly;
use oxtcp_engine::request::Request;
use oxtcp_engine::time_wait::TimeWait;
use oxtcp_engine::Connection;
use std::mem::{align_of, size_of};

#[test]
fn sizes() {
    let rows = [
        (
            "connection",
            size_of::<Connection>(),
            align_of::<Connection>(),
            400,
            "tcp_sock 2432",
        ),
        (
            "half-open",
            size_of::<Request>(),
            align_of::<Request>(),
            28,
            "request_sock_TCP 320",
        ),
        (
            "TIME-WAIT",
            size_of::<TimeWait>(),
            align_of::<TimeWait>(),
            28,
            "tw_sock_TCP 264",
        ),
        (
            "reassembly",
            size_of::<Reassembly>(),
            align_of::<Reassembly>(),
            260,
            "when out of order",
        ),
    ];
    println!(
        "{:12} {:>6} {:>6} {:>8}  built-in TCP",
        "", "bytes", "align", "at most"
    );
    for (name, size, align, most, built_in) in rows {
        println!("{name:12} {size:6} {align:6} {most:8}  {built_in}");
        assert!(size <= most, "{name}: {size} bytes");
    }
    // They live in objects that are a multiple of four bytes.
    assert!(align_of::<Request>() <= 4 && align_of::<TimeWait>() <= 4);
}
