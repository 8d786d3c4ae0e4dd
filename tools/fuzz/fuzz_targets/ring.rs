// SPDX-License-Identifier: GPL-2.0
//! Pages of the kernel's ring buffer.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oxtcp::fuzz::ring(bytes));
