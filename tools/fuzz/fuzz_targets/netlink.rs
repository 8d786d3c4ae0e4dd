// SPDX-License-Identifier: GPL-2.0
//! What sock_diag answers.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oxtcp::fuzz::netlink(bytes));
