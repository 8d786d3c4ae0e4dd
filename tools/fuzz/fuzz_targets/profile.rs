// SPDX-License-Identifier: GPL-2.0
//! Profiles in TOML.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oxtcp::fuzz::profile(bytes));
