// SPDX-License-Identifier: GPL-2.0
//! Headers and options, read and written: `tests/common/wire.rs`.
#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| common::wire::run(bytes));
