// SPDX-License-Identifier: GPL-2.0

//! The protocol of oxtcp: TCP (RFC 9293) as a state machine that does no I/O.
//!
//! Segments, the user's calls and the time go in; segments to send, one deadline and events come out
//! through `poll_*` methods. The engine holds no payload: it says "send bytes `[a, b)`" and "bytes
//! `[a, b)` of this segment are new", in sequence numbers, and its caller holds the bytes.
//!
//! | what | where |
//! |---|---|
//! | a connection, from SYN-SENT or SYN-RECEIVED to TIME-WAIT | [`connection::Connection`] |
//! | a listener: SYN, half-open request | [`listen`], [`request::Request`] |
//! | a connection's last minute | [`time_wait::TimeWait`] |
//! | the answer to a segment that belongs to nobody | [`reply`] |
//! | the local ports of active opens | [`ephemeral`] |
//! | how much may be in flight, and how fast the path is | [`congestion`], [`rate`] |
//! | what is worth counting | [`happening`] |
//! | sequence numbers, time, the wire format | [`seq`], [`time`], [`wire`] |
//!
//! The same files are built by Kbuild for the module and by cargo for tests on the host.

#![no_std]
#![forbid(unsafe_code)]
#![warn(missing_docs)]
// Tests are named function__case, and may panic.
#![cfg_attr(
    test,
    allow(
        non_snake_case,
        clippy::arithmetic_side_effects,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        clippy::unwrap_used
    )
)]

#[cfg(test)]
extern crate std;

pub mod congestion;
pub mod connection;
pub mod context;
pub mod cookie;
pub mod ephemeral;
pub mod flight;
pub mod happening;
pub mod isn;
pub mod listen;
pub mod pressure;
pub mod rate;
pub mod reassembly;
pub mod reply;
pub mod request;
pub mod rtt;
pub mod segment;
pub mod seq;
pub mod time;
pub mod time_wait;
pub mod transmit;
pub mod wire;

pub use connection::{
    ActiveOpen, Connection, Error, Event, Events, Mode, Packet, PassiveOpen, Payload, Pruning,
    RecvMemory, Room, Rx, State, TimerKind, Useless,
};
pub use context::{Config, Context, SocketOptions};
pub use flight::{Flight, FlightMemory, NoFlight};
pub use happening::{Counting, Counts, Happening};
pub use segment::Segment;
pub use seq::{SeqNum, SeqRange};
pub use time::{Duration, Instant};
pub use transmit::{Acknowledgment, BurstLimit, Refusal, Transmit, TransmitKind};
