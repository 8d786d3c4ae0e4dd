// SPDX-License-Identifier: GPL-2.0
//! oxtcp's sockets in a network namespace, where they come from, and whose they are.

pub mod info;
pub mod limit;
pub mod netlink;
pub mod process;
pub mod procnet;
pub mod queues;

use std::collections::HashSet;
use std::net::SocketAddr;

use crate::failure::Result;
use crate::host::Host;
use info::Info;
pub use netlink::SockDiag;
use procnet::ProcNet;
use queues::Queues;

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

    /// Those that are meant where nobody names any, as in `ss`: neither listeners nor what is no connection yet, or any more.
    pub fn is_connected(self) -> bool {
        !matches!(
            self,
            State::Listen | State::Close | State::TimeWait | State::SynRecv
        )
    }

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
    /// What TCP knows, where it was asked for and could be told.
    pub info: Option<Box<Info>>,
    /// The congestion controller's name, as `info`.
    pub algorithm: Option<String>,
    /// As `info`, of a listener.
    pub queues: Option<Box<Queues>>,
    /// As `info`.
    pub memory: Option<Box<Memory>>,
    /// What the kernel knows it by; `None` where that is not told.
    pub identity: Option<Identity>,
}

/// What names a socket to the kernel.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Identity {
    /// AF_INET or AF_INET6.
    version: u8,
    /// `struct inet_diag_sockid`.
    id: [u8; 48],
}

impl Identity {
    /// What tells a socket from all others since the system's start; TIME-WAITs and half-open connections have none.
    pub fn cookie(&self) -> Option<u64> {
        let bytes = self.id[40..].try_into().ok()?;
        Some(u64::from_ne_bytes(bytes)).filter(|&cookie| cookie != u64::MAX)
    }
}

/// Memory that a socket holds, in bytes (`SO_MEMINFO`).
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Memory {
    pub rmem: u32,
    pub rcvbuf: u32,
    pub wmem: u32,
    pub sndbuf: u32,
    pub forward: u32,
    pub wmem_queued: u32,
    pub options: u32,
    pub backlog: u32,
    pub drops: u32,
}

impl Memory {
    /// From the words that the kernel has; `None` if there are too few.
    fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let four = bytes.get(at * 4..at * 4 + 4)?.try_into().ok()?;
            Some(u32::from_ne_bytes(four))
        };
        Some(Self {
            rmem: word(0)?,
            rcvbuf: word(1)?,
            wmem: word(2)?,
            sndbuf: word(3)?,
            forward: word(4)?,
            wmem_queued: word(5)?,
            options: word(6)?,
            backlog: word(7)?,
            drops: word(8)?,
        })
    }
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

impl Figures {
    fn of(info: &Info) -> Self {
        Self {
            rto_ms: u64::from(info.rto_us) / 1000,
            cwnd: info.snd_cwnd,
            // As long as there is none it is the largest number.
            ssthresh: (info.snd_ssthresh < 0x7fff_ffff).then_some(info.snd_ssthresh),
        }
    }
}

/// Which sockets are wanted, and what of them.
#[derive(Clone, Copy, Debug)]
pub struct Wanted {
    pub v4: bool,
    pub v6: bool,
    /// Also [`Socket::info`] and what comes with it.
    pub details: bool,
    /// In these states; where they come from `/proc` in all of them. A bit each ([`States`]).
    pub states: States,
}

/// States, a bit each, as sock_diag is asked for them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct States(u32);

impl States {
    /// All.
    pub const ALL: Self = Self(u32::MAX);

    /// These.
    pub fn of(states: &[State]) -> Self {
        Self(
            states
                .iter()
                .fold(0, |bits, state| bits | (1 << *state as u8)),
        )
    }

    /// As `idiag_states` has them.
    pub fn bits(self) -> u32 {
        self.0
    }
}

impl Wanted {
    /// Of both IP versions, with all that can be told.
    pub const ALL: Self = Self {
        v4: true,
        v6: true,
        details: true,
        states: States::ALL,
    };
}

/// The sockets of the network namespace that the process is in: by netlink, or from `/proc` where the module that is loaded does not
/// answer there, which is less.
pub fn source(host: &Host, wanted: Wanted) -> Result<Box<dyn Source + '_>> {
    host.need_module()?;
    Ok(match diag(host, wanted) {
        Some(diag) => Box::new(diag),
        None => Box::new(ProcNet::new(host, wanted.v4, wanted.v6)),
    })
}

/// The kernel's sock_diag, if the module answers there.
pub fn diag(host: &Host, wanted: Wanted) -> Option<SockDiag> {
    let family = host.family()?;
    let mut diag = SockDiag::open(family, wanted).ok()?;
    diag.is_answered().then_some(diag)
}

/// What was handed out. While the kernel's table grows under a reader, an entry may come twice.
#[derive(Default)]
struct Seen {
    cookies: HashSet<u64>,
    inodes: HashSet<u64>,
    others: HashSet<(SocketAddr, SocketAddr)>,
}

impl Seen {
    fn is_new(&mut self, socket: &Socket) -> bool {
        match (
            socket.identity.as_ref().and_then(Identity::cookie),
            socket.inode,
        ) {
            (Some(cookie), _) => self.cookies.insert(cookie),
            (None, 0) => self.others.insert((socket.local, socket.remote)),
            (None, inode) => self.inodes.insert(inode),
        }
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
