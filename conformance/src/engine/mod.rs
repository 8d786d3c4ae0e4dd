// SPDX-License-Identifier: GPL-2.0

//! The back end in virtual time: the engine, and around it what the adapter (`rust/oxtcp`) does in the
//! kernel, by the same rules.

mod calls;
mod info;
mod memory;
mod receive;
mod send;
pub(crate) mod settings;
mod socket;
pub mod wheel;
mod wire;

use std::collections::{BTreeMap, VecDeque};

use oxtcp_engine::request::{Request, RequestTimer};
use oxtcp_engine::time_wait::TimeWait;
use oxtcp_engine::{Context, Instant};

use crate::backend::{Backend, Device, Outcome};
use crate::call::SystemCall;
use crate::run::IpVersion;
use crate::script::Micros;
use crate::shell::Queue;
use crate::wire::Datagram;
use calls::Blocked;
use settings::Sysctls;
use socket::Socket;

/// What descriptors stand for.
enum File {
    Socket(usize),
    /// A file of so many zeros, and how far it was read.
    Zeros {
        len: u64,
        at: u64,
    },
    /// A pipe that what is written to is thrown away from.
    PipeIn,
    PipeOut,
}

/// A small object in the flow table.
enum Mini {
    HalfOpen { request: Request, listener: usize },
    TimeWait(TimeWait),
}

/// A small object, its flow (local and remote port) and its timer.
struct MiniEntry {
    ports: (u16, u16),
    body: Mini,
    at: Instant,
}

/// The engine on a machine of its own.
pub struct Engine {
    now: Micros,
    sysctls: Sysctls,
    mtu: u32,
    headers: u32,
    offload: bool,
    queue: Queue,
    /// Of the packet that came last: the payload of each segment that a device has put together.
    segment_size: u16,
    drops: Drops,
    /// A step of a connection sends one packet with data, and not all.
    sends_one: bool,
    /// Timers go off when a kernel's would.
    coarse: bool,
    /// Sockets are of AF_INET6.
    v6: bool,
    /// Closed sockets stay until their connection is done.
    sockets: Vec<Socket>,
    minis: Vec<MiniEntry>,
    files: BTreeMap<i64, File>,
    zeros: BTreeMap<String, u64>,
    next_fd: i64,
    next_port: u16,
    sent: VecDeque<(Micros, Datagram)>,
    /// What fq holds until its time, sorted by that.
    held: VecDeque<(Micros, Datagram)>,
    blocked: Option<Blocked>,
    finished: Option<(Micros, Outcome)>,
}

/// Payload that was not kept, by the reason that the engine tells.
#[derive(Default)]
struct Drops {
    beyond_window: u64,
    zero_window: u64,
    queue_full: u64,
}

/// What a kernel takes for a packet or a call, as the virtual machine of `make differential` does.
const WORK: Micros = 50;

/// The host has been up for some time when a script begins: clocks are not at zero then.
const BOOTED: Micros = 1_000_000_000;

impl Engine {
    /// A machine with a device of the MTU that the kernel's `ksft_runner.sh` asks for.
    pub fn new(version: IpVersion) -> Self {
        let (mtu, headers) = match version {
            IpVersion::V6 => (1520, 60),
            IpVersion::V4 | IpVersion::Mapped => (1500, 40),
        };
        Engine {
            now: 0,
            sysctls: Sysctls::new(),
            mtu,
            headers,
            offload: true,
            queue: Queue::Default,
            segment_size: 0,
            drops: Drops::default(),
            sends_one: false,
            coarse: false,
            v6: version != IpVersion::V4,
            sockets: Vec::new(),
            minis: Vec::new(),
            files: BTreeMap::new(),
            zeros: BTreeMap::new(),
            next_fd: 100,
            next_port: 50_000,
            sent: VecDeque::new(),
            held: VecDeque::new(),
            blocked: None,
            finished: None,
        }
    }

    /// The same, with timers that are as coarse as a kernel's ([`wheel`]).
    #[must_use]
    pub fn with_ticks(mut self) -> Self {
        self.coarse = true;
        self
    }

    /// A kernel takes some time for a packet or a call: without it a round trip would have no length, which none has.
    fn take_time(&mut self) {
        if self.coarse {
            self.now += WORK;
        }
    }

    fn instant(&self) -> Instant {
        Instant::from_micros((BOOTED + self.now) as u64)
    }

    /// When a timer goes off that is to at `at`.
    fn timer_at(&self, at: Instant) -> Instant {
        timer_at(self.coarse, self.now, at)
    }

    /// Runs `step` with the time and the settings.
    fn cx<R>(&self, step: impl FnOnce(&Context<'_>) -> R) -> R {
        let cx = Context::new(self.instant(), &self.sysctls.config);
        step(&cx)
    }

    /// Whether a program has the socket.
    fn is_open(&self, id: usize) -> bool {
        let of = |file: &File| matches!(file, File::Socket(open) if *open == id);
        self.files.values().any(of)
    }

    /// The MSS without options that the device's MTU makes.
    fn path_mss(&self) -> u16 {
        (self.mtu - self.headers).min(u32::from(u16::MAX)) as u16
    }

    /// The earliest deadline.
    fn deadline(&mut self) -> Option<Micros> {
        self.arm();
        let sockets = self.sockets.iter().filter_map(|one| self.deadline_of(one));
        let minis = self.minis.iter().map(|mini| mini.at);
        let first = sockets.chain(minis).min();
        let first = first.map(|first| (first.as_micros() as Micros - BOOTED).max(self.now));
        let held = self.held.front().map(|(at, _)| *at);
        first.into_iter().chain(held).min()
    }

    /// Notes which timers have been armed just now.
    fn arm(&mut self) {
        let (now, instant) = (self.now, self.instant());
        for socket in self.sockets.iter_mut().filter(|_| self.coarse) {
            if let socket::Role::Connection(connection) = &socket.role {
                socket.wheel.arm(connection, now, instant);
            }
        }
    }

    fn deadline_of(&self, socket: &Socket) -> Option<Instant> {
        match &socket.role {
            socket::Role::Connection(_) if self.coarse => {
                let at = socket.wheel.next()?;
                Some(Instant::from_micros((BOOTED + at) as u64))
            }
            _ => socket.deadline(),
        }
    }

    /// Does what is due at the earliest deadline if that is not after `limit`.
    fn step(&mut self, limit: Micros) -> bool {
        let Some(at) = self.deadline().filter(|at| *at <= limit) else {
            return false;
        };
        self.now = at;
        if self.held.front().is_some_and(|(at, _)| *at <= self.now) {
            self.sent.extend(self.held.pop_front());
            return true;
        }
        let now = self.instant();
        if let Some(index) = self.minis.iter().position(|mini| mini.at <= now) {
            self.mini_timer(index);
            return true;
        }
        let due = |socket: &Socket| self.deadline_of(socket).is_some_and(|at| at <= now);
        if let Some(id) = self.sockets.iter().position(due) {
            self.connection_timer(id);
        }
        self.resume();
        true
    }

    fn mini_timer(&mut self, index: usize) {
        let config = self.sysctls.config;
        let cx = Context::new(self.instant(), &config);
        let defer = match self.minis[index].body {
            Mini::HalfOpen { listener, .. } => self.sockets[listener].defer_accept,
            Mini::TimeWait(_) => 0,
        };
        let entry = &mut self.minis[index];
        let (now, coarse) = (self.now, self.coarse);
        let timer_at = |at| timer_at(coarse, now, at);
        match &mut entry.body {
            Mini::HalfOpen { request, .. } => match request.on_timer_deferring(&cx, defer) {
                RequestTimer::Resend(syn_ack) => {
                    entry.at = timer_at(cx.now + request.next_timeout(&cx));
                    let ports = entry.ports;
                    self.emit(ports, &syn_ack, syn_ack.payload);
                }
                RequestTimer::Wait => entry.at = timer_at(cx.now + request.next_timeout(&cx)),
                RequestTimer::Expire => {
                    self.minis.remove(index);
                }
            },
            Mini::TimeWait(_) => {
                self.minis.remove(index);
            }
        }
    }
}

/// When a timer goes off that is armed at `now` and is to at `at`, as coarse as a kernel's or exact.
fn timer_at(coarse: bool, now: Micros, at: Instant) -> Instant {
    if !coarse {
        return at;
    }
    let wait = at.as_micros() as Micros - BOOTED - now;
    Instant::from_micros((BOOTED + wheel::expiry(now, wait)) as u64)
}

impl Backend for Engine {
    fn now(&mut self) -> Micros {
        self.now
    }

    fn advance(&mut self, at: Micros) {
        while self.step(at) {}
        self.now = self.now.max(at);
    }

    fn inject(&mut self, packet: &Datagram) {
        self.take_time();
        self.arrive(packet);
        self.resume();
    }

    fn sniff(&mut self, limit: Micros) -> Option<(Micros, Datagram)> {
        while self.sent.is_empty() && self.step(limit) {}
        if self.sent.is_empty() {
            self.now = self.now.max(limit);
        }
        self.sent.pop_front()
    }

    fn call(&mut self, call: &SystemCall) -> Option<Outcome> {
        self.take_time();
        let outcome = self.begin(call);
        // What the call lets others do.
        self.resume();
        outcome
    }

    fn wait(&mut self, limit: Micros) -> Option<(Micros, Outcome)> {
        while self.finished.is_none() && self.step(limit) {}
        if self.finished.is_none() {
            self.now = self.now.max(limit);
        }
        self.finished.take()
    }

    fn sysctl(&mut self, name: &str, value: &str) -> Result<(), String> {
        self.sysctls.set(name, value)
    }

    fn sysctl_value(&mut self, name: &str) -> Option<String> {
        self.sysctls.get(name)
    }

    fn device(&mut self, change: Device) -> Result<(), String> {
        match change {
            Device::Mtu(mtu) if mtu > self.headers + 48 => {
                self.mtu = mtu;
                let mss = self.path_mss();
                for id in 0..self.sockets.len() {
                    self.with_connection(id, |connection, cx| connection.set_path_mss(cx, mss));
                }
                Ok(())
            }
            Device::Mtu(mtu) => Err(format!("an MTU of {mtu}")),
            Device::Queue(queue) => {
                self.queue = queue;
                Ok(())
            }
            Device::Offload(on) => {
                self.offload = on;
                Ok(())
            }
        }
    }

    fn counter(&mut self, name: &str) -> Option<u64> {
        match name {
            "TcpExtBeyondWindow" => Some(self.drops.beyond_window),
            "TcpExtTCPZeroWindowDrop" => Some(self.drops.zero_window),
            "TcpExtTCPRcvQDrop" => Some(self.drops.queue_full),
            _ => None,
        }
    }

    fn info(&mut self, fd: i64, name: &str) -> Option<i64> {
        match self.files.get(&fd) {
            Some(File::Socket(id)) => {
                info::field(&self.sockets[*id], &self.sysctls, self.instant(), name)
            }
            _ => None,
        }
    }

    fn listens(&mut self, port: u16) -> bool {
        self.listener_at(port).is_some()
    }

    fn file(&mut self, path: &str, bytes: u64) {
        self.zeros.insert(path.to_string(), bytes);
    }
}
