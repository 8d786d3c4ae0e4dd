// SPDX-License-Identifier: GPL-2.0
//! What the selftest programs share.
//!
//! Every test is written over a [`Stack`] (a socket family and an IP version) or a [`Pair`] of them, so
//! that the same lines run on the built-in TCP, which shows that they expect what Linux does, and on oxtcp.

pub mod ao;
pub mod capture;
pub mod connection;
pub mod diag;
pub mod epoll;
pub mod errno;
pub mod flood;
pub mod forge;
pub mod handshakes;
pub mod kernel;
pub mod keys;
pub mod ktap;
pub mod ns;
pub mod payload;
pub mod procnet;
pub mod raw_peer;
pub mod signed;
pub mod sock;
pub mod stack;
pub mod stranger;
pub mod tcp_info;
pub mod thread;
pub mod transfer;
pub mod wait;

pub use connection::{connected, listening, Connected};
pub use errno::expect_errno;
pub use ktap::{skip, Suite};
pub use sock::Sock;
pub use stack::{Ip, Pair, Stack};

/// Adds tests to a suite under their functions' names: `cases!(suite.pairs: send__all, recv__peek)`.
#[macro_export]
macro_rules! cases {
    ($suite:ident . $kind:ident : $($name:ident),+ $(,)?) => {
        $( $suite.$kind(stringify!($name), $name); )+
    };
}
