// SPDX-License-Identifier: GPL-2.0
//! Files that people write: services, and settings that are kept.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oxtcp::fuzz::files(bytes));
