// SPDX-License-Identifier: GPL-2.0

//! Tests of a whole connection: one file per topic, each a table or a short script against a
//! [`Peer`](script::Peer) that is played by hand.

mod script;

mod arriving;
mod bounding;
mod closing;
mod counting;
mod deferring;
mod expecting;
mod informing;
mod marking;
mod opening;
mod pacing;
mod probing;
mod receiving;
mod recovering;
mod refusing;
mod sending;
mod signing;
mod timing;
mod tuning;
mod urging;
mod window;
mod windows;

use super::Connection;

#[test]
fn size__of_a_connection() {
    let size = core::mem::size_of::<Connection>();
    std::println!("Connection: {size} bytes");
    // With 400 the whole socket has 1600 bytes.
    assert!(size <= 400, "{size}");
}
