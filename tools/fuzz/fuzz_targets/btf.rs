// SPDX-License-Identifier: GPL-2.0
//! The kernel's BTF.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oxtcp::fuzz::btf(bytes));
