// SPDX-License-Identifier: GPL-2.0
//! Tables of /proc: sockets, counters, mounts.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oxtcp::fuzz::table(bytes));
