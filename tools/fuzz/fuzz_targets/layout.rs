// SPDX-License-Identifier: GPL-2.0
//! Layouts of the ring buffer and of events.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oxtcp::fuzz::layout(bytes));
