// SPDX-License-Identifier: GPL-2.0
//! The filter of oxtcp ss, a word in a line.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oxtcp::fuzz::filter(bytes));
