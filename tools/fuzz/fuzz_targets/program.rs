// SPDX-License-Identifier: GPL-2.0
//! Programs and scripts that oxtcp run is to start.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oxtcp::fuzz::program(bytes));
