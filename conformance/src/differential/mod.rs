// SPDX-License-Identifier: GPL-2.0

//! The same conversation with two TCPs: does ours do what the built-in one does?
//!
//! A seed makes a [`conversation`]: a program and a peer that do things at certain times, some of what the TCP sends being
//! lost. What the TCP sends and what its calls return is the conversation's [`Record`]. The peer acts on what it has got,
//! so two TCPs that do the same are given the same; the first thing that differs ends a [comparison](compare).

mod classes;
mod compare;
mod conversation;
mod peer;
mod random;
mod record;
mod told;

pub use classes::{table, Class};
pub use compare::{compare, Comparison, End};
pub use conversation::{conversation, version, STATE};
pub use record::{read, write, Entry, Record};
