// SPDX-License-Identifier: GPL-2.0
//! Two ends and a channel: `tests/common/duo.rs`.
#![no_main]

#[path = "../../tests/common/mod.rs"]
mod common;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| common::duo::run(bytes));
