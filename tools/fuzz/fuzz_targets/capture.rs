// SPDX-License-Identifier: GPL-2.0
//! Capture files, pcap and pcapng, down to the drawing.
#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| oxtcp::fuzz::capture(bytes));
