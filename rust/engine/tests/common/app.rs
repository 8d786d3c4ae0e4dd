// SPDX-License-Identifier: GPL-2.0
//! The programs at both ends.

use oxtcp_engine::{Duration, Instant};

/// How a program ends its side.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Finish {
    /// `shutdown(SHUT_WR)` after the last byte, then reads to the end and closes.
    Shutdown,
    /// Reads to the end first, then closes (a server that answers and waits).
    AfterPeer,
    /// `close` right after the last byte. The other side must send nothing.
    Close,
}

/// What a program does.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Names the bytes that it sends.
    pub stream: u64,
    /// Bytes that it sends.
    pub bytes: u64,
    /// Bytes per write.
    pub write: u64,
    /// Between two writes.
    pub write_every: Duration,
    /// The first write comes so long after the connection is there.
    pub think: Duration,
    /// Bytes per read.
    pub read: u64,
    /// Between two reads.
    pub read_every: Duration,
    /// Chance per mille that a write says MSG_MORE.
    pub more: u32,
    pub nodelay: bool,
    pub finish: Finish,
}

impl Default for Plan {
    fn default() -> Self {
        Plan {
            stream: 0,
            bytes: 0,
            write: 1 << 16,
            write_every: Duration::ZERO,
            think: Duration::ZERO,
            read: u64::MAX,
            read_every: Duration::ZERO,
            more: 0,
            nodelay: false,
            finish: Finish::Shutdown,
        }
    }
}

/// How far it has come.
#[derive(Clone, Debug)]
pub struct App {
    pub plan: Plan,
    /// What the other side sends, and how much.
    pub expect_stream: u64,
    pub expect_bytes: u64,
    pub written: u64,
    pub read: u64,
    pub next_write: Option<Instant>,
    pub next_read: Instant,
    pub end_of_file: bool,
    pub shut: bool,
    pub closed: bool,
}

impl App {
    pub fn new(plan: Plan, peer: &Plan) -> Self {
        App {
            plan,
            expect_stream: peer.stream,
            expect_bytes: peer.bytes,
            written: 0,
            read: 0,
            next_write: None,
            next_read: Instant::default(),
            end_of_file: false,
            shut: false,
            closed: false,
        }
    }

    /// Whether it has done all it planned.
    pub fn is_done(&self) -> bool {
        self.closed
            && self.written == self.plan.bytes
            && (self.plan.finish == Finish::Close || self.read == self.expect_bytes)
    }
}
