// SPDX-License-Identifier: GPL-2.0
//! oxtcp's sockets in a network namespace, where they come from, and whose they are.

pub mod info;
pub mod process;
pub mod procnet;

use std::net::SocketAddr;

use crate::failure::Result;

/// A state of a connection, as the kernel numbers them (`include/net/tcp_states.h`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum State {
    Established = 1,
    SynSent,
    SynRecv,
    FinWait1,
    FinWait2,
    TimeWait,
    Close,
    CloseWait,
    LastAck,
    Listen,
    Closing,
}

impl State {
    /// All of them, in the kernel's order.
    pub const ALL: [State; 11] = [
        State::Established,
        State::SynSent,
        State::SynRecv,
        State::FinWait1,
        State::FinWait2,
        State::TimeWait,
        State::Close,
        State::CloseWait,
        State::LastAck,
        State::Listen,
        State::Closing,
    ];

    /// The state of this number.
    pub fn from_number(number: u8) -> Option<Self> {
        State::ALL.get(usize::from(number).checked_sub(1)?).copied()
    }

    /// The name that `ss` asks for, and that JSON has.
    pub fn name(self) -> &'static str {
        match self {
            State::Established => "established",
            State::SynSent => "syn-sent",
            State::SynRecv => "syn-recv",
            State::FinWait1 => "fin-wait-1",
            State::FinWait2 => "fin-wait-2",
            State::TimeWait => "time-wait",
            State::Close => "closed",
            State::CloseWait => "close-wait",
            State::LastAck => "last-ack",
            State::Listen => "listening",
            State::Closing => "closing",
        }
    }

    /// The name that `ss` shows.
    pub fn label(self) -> &'static str {
        match self {
            State::Established => "ESTAB",
            State::SynSent => "SYN-SENT",
            State::SynRecv => "SYN-RECV",
            State::FinWait1 => "FIN-WAIT-1",
            State::FinWait2 => "FIN-WAIT-2",
            State::TimeWait => "TIME-WAIT",
            State::Close => "UNCONN",
            State::CloseWait => "CLOSE-WAIT",
            State::LastAck => "LAST-ACK",
            State::Listen => "LISTEN",
            State::Closing => "CLOSING",
        }
    }
}

/// Which timer runs, as `/proc/net/tcp` numbers them and `ss` calls them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// None.
    Off,
    /// Retransmission.
    On,
    /// Keepalive, and what has the same number.
    Keepalive,
    /// TIME-WAIT.
    TimeWait,
    /// Zero-window probes.
    Persist,
}

impl Timer {
    /// The name that `ss` has for it.
    pub fn name(self) -> &'static str {
        match self {
            Timer::Off => "off",
            Timer::On => "on",
            Timer::Keepalive => "keepalive",
            Timer::TimeWait => "timewait",
            Timer::Persist => "persist",
        }
    }
}

/// A socket, a half-open connection, or a TIME-WAIT.
#[derive(Clone, Debug, PartialEq)]
pub struct Socket {
    pub state: State,
    pub local: SocketAddr,
    pub remote: SocketAddr,
    /// Bytes that the program has not read; of a listener the connections that wait for accept(2).
    pub recv_queue: u32,
    /// Bytes that are not acknowledged.
    pub send_queue: u32,
    pub timer: Timer,
    /// Until the timer goes off.
    pub timer_ms: u64,
    /// Of the oldest segment, or probes.
    pub retransmits: u32,
    pub uid: u32,
    /// 0 for what no program has (any more).
    pub inode: u64,
    pub figures: Option<Figures>,
}

/// What only a socket's line says.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Figures {
    pub rto_ms: u64,
    /// In segments.
    pub cwnd: u32,
    /// In segments; `None` as long as there is none.
    pub ssthresh: Option<u32>,
}

impl Socket {
    /// Whether a program has closed it, and its connection is not over. One that waits for accept(2) has no
    /// inode either.
    pub fn is_orphan(&self) -> bool {
        self.inode == 0
            && matches!(
                self.state,
                State::FinWait1 | State::Closing | State::LastAck
            )
    }
}

/// Where sockets come from.
pub trait Source {
    /// Hands out every socket once. What comes and goes meanwhile may be missed.
    fn each(&mut self, visit: &mut dyn FnMut(Socket)) -> Result<()>;

    /// All of them at once.
    fn all(&mut self) -> Result<Vec<Socket>> {
        let mut sockets = Vec::new();
        self.each(&mut |socket| sockets.push(socket))?;
        Ok(sockets)
    }
}
