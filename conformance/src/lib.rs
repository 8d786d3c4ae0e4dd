// SPDX-License-Identifier: GPL-2.0

//! Runs packetdrill scripts against oxtcp.
//!
//! | what | where |
//! |---|---|
//! | a script's text, read | [`script`], [`shell`] (its shell commands) |
//! | a script, run: clock, packets, calls, assertions | [`run`] |
//! | what it is run against | [`backend`]: [`engine`] in virtual time, [`socket`] in a kernel |
//! | many scripts and what came of them | [`suite`], [`catalogue`], [`report`], [`results`] |
//! | random conversations with two TCPs | [`differential`] |
//! | whether the runner looks at what is stated | [`mutate`] |

// Tests are named function__case.
#![cfg_attr(test, allow(non_snake_case))]

pub mod backend;
pub mod call;
pub mod catalogue;
pub mod differential;
pub mod engine;
pub mod mutate;
pub mod report;
pub mod results;
pub mod run;
pub mod script;
pub mod shell;
pub mod socket;
pub mod suite;
pub mod wire;
