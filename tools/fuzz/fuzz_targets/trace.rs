// SPDX-License-Identifier: GPL-2.0
//! Events of a trace: what is told, drawn and written of them.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oxtcp::fuzz::trace(bytes));
