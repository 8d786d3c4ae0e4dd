// SPDX-License-Identifier: GPL-2.0
//! One connection in any state against arbitrary operations: `tests/common/lone.rs`.
#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| common::lone::run(bytes));
