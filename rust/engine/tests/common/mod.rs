// SPDX-License-Identifier: GPL-2.0
//! A network in virtual time: hosts that do what the kernel adapter does, applications on them, and links
//! that delay, reorder, lose, double, spoil, cut and merge what passes.
#![allow(dead_code)]

pub mod app;
pub mod driver;
pub mod duo;
pub mod host;
pub mod invariants;
pub mod link;
pub mod lone;
pub mod memory;
pub mod op;
pub mod packet;
pub mod rng;
pub mod seeds;
pub mod stand;
pub mod twin;
pub mod wire;
pub mod world;
