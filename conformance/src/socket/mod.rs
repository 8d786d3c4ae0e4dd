// SPDX-License-Identifier: GPL-2.0

//! The back end in a kernel: system calls, and a tun device on which the runner is the peer. The kernel is the one
//! that this program runs on; `make conformance` runs it in the virtual machine, in virtual time.

mod bed;
mod calls;
mod clock;
mod info;
mod message;
mod packet;
mod settings;
mod sys;
mod tun;
mod worker;

use std::collections::VecDeque;
use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;

use nix::libc;
use nix::poll::{ppoll, PollFd, PollFlags};
use nix::sys::mman::{mlockall, MlockAllFlags};
use nix::sys::time::TimeSpec;

use crate::backend::{Backend, Device, Outcome};
use crate::call::SystemCall;
use crate::engine::wheel::ROUND;
use crate::run::{run, Failure, FailureKind, IpVersion, Settings, Verdict};
use crate::script::{parse, Micros, Script};
use crate::wire::Datagram;
use calls::Files;
use clock::{Clock, Nanos};
use packet::Addresses;
use tun::Tun;
use worker::Worker;

/// Which TCP a script is run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stack {
    /// Ours, loaded as a module.
    Oxtcp {
        /// The number of its socket family.
        family: i32,
    },
    /// The kernel's own, on which the scripts are known to pass: what fails there is a fault of the runner.
    Builtin,
}

impl Stack {
    /// Ours. The family's number is that of OXTCP_FAMILY, or of the loaded module, or the default.
    ///
    /// # Errors
    ///
    /// Says that there is no module.
    pub fn oxtcp() -> Result<Stack, String> {
        const PARAMETER: &str = "/sys/module/oxtcp/parameters/family";
        let told = std::env::var("OXTCP_FAMILY")
            .or_else(|_| std::fs::read_to_string(PARAMETER))
            .map_err(|_| "the module oxtcp is not loaded".to_string())?;
        match told.trim().parse() {
            Ok(family) => Ok(Stack::Oxtcp { family }),
            Err(_) => Err(format!("`{}` is no number of a family", told.trim())),
        }
    }

    /// Family and protocol for socket(2).
    fn socket(self, version: IpVersion) -> (i32, i32) {
        let v6 = version != IpVersion::V4;
        match self {
            Stack::Oxtcp { family } => (family, i32::from(v6)),
            Stack::Builtin if v6 => (libc::AF_INET6, libc::IPPROTO_TCP),
            Stack::Builtin => (libc::AF_INET, libc::IPPROTO_TCP),
        }
    }
}

/// A connection in each direction. Whatever a kernel does at the first one, code that it patches and tables that it
/// makes, takes longer than scripts allow.
const WARM_UP: &str = "
    0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
   +0 bind(3, ..., ...) = 0
   +0 listen(3, 1) = 0
   +0 < S 0:0(0) win 1000 <mss 1000>
   *  > S. 0:0(0) ack 1 <...>
   +0 < . 1:1(0) ack 1 win 1000
   +0 accept(3, ..., ...) = 4
   +0 close(4) = 0
   +0 close(3) = 0
   +0 socket(..., SOCK_STREAM, IPPROTO_TCP) = 3
   +0 fcntl(3, F_SETFL, O_RDWR|O_NONBLOCK) = 0
   +0 connect(3, ..., ...) = -1 EINPROGRESS (Operation now in progress)
   *  > S 0:0(0) <...>
   +0 < S. 0:0(0) ack 1 win 1000 <mss 1000>
   *  > . 1:1(0) ack 1 <...>
   +0 write(3, ..., 1000) = 1000
   *  > P. 1:1001(1000) ack 1 <...>
   +0 close(3) = 0
";

/// Makes the first connections of `stack`, whatever comes of them.
///
/// # Errors
///
/// Says what the host does not have.
pub fn warm_up(stack: Stack) -> Result<(), String> {
    for version in IpVersion::ALL {
        let mut settings = Settings::new(version);
        settings.tolerance = END;
        let script = parse(WARM_UP, &settings.defines).map_err(|error| error.to_string())?;
        if let Verdict::Fail(failure) = run_script(stack, &script, Path::new("/nowhere"), &settings)
        {
            return Err(format!("{}: {failure:?}", version.name()));
        }
    }
    Ok(())
}

/// Runs a script in a network namespace of its own.
pub fn run_script(stack: Stack, script: &Script, folder: &Path, settings: &Settings) -> Verdict {
    let work = || {
        let mut socket = match Socket::new(stack, settings.version) {
            Ok(socket) => socket,
            Err(what) => return broken(what),
        };
        let verdict = run(script, folder, settings, &mut socket);
        match socket.trouble() {
            Some(what) => broken(what),
            None => verdict,
        }
    };
    // The thread takes its namespace with it.
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(verdict) => verdict,
        Err(_) => broken("the runner has panicked".into()),
    })
}

/// Does `work` with a TCP in a network namespace of its own.
///
/// # Errors
///
/// Says what is wrong with the test bed.
pub fn hold<R: Send>(
    stack: Stack,
    version: IpVersion,
    work: impl FnOnce(&mut dyn Backend) -> R + Send,
) -> Result<R, String> {
    let work = || {
        let mut socket = Socket::new(stack, version)?;
        socket.clock = Clock::in_step(ROUND)?;
        let result = work(&mut socket);
        socket.trouble().map_or(Ok(result), Err)
    };
    // The thread takes its namespace with it.
    std::thread::scope(|scope| match scope.spawn(work).join() {
        Ok(result) => result,
        Err(_) => Err("the runner has panicked".into()),
    })
}

/// Nothing is known about the script.
fn broken(what: String) -> Verdict {
    Verdict::Fail(Failure {
        line: 0,
        kind: FailureKind::Differs,
        what: format!("the test bed: {what}"),
    })
}

/// How long a call may run before it is looked at whether it sleeps.
const LOOK: Nanos = 100_000;
/// How long what still waits at a script's end may take to end.
const END: Nanos = 10_000_000_000;

/// See above.
pub struct Socket {
    stack: Stack,
    addresses: Addresses,
    clock: Clock,
    tun: Tun,
    worker: Worker,
    files: Arc<Files>,
    /// What the host has sent and the script has not seen.
    sent: VecDeque<(Micros, Datagram)>,
    trouble: Option<String>,
}

impl Socket {
    /// Moves this thread into a new network namespace, for good.
    ///
    /// # Errors
    ///
    /// Says what the host does not have.
    pub fn new(stack: Stack, version: IpVersion) -> Result<Socket, String> {
        let tun = bed::enter(version)?;
        // Times are to be exact: no page is waited for, and the default lets a sleep be 50 us longer.
        mlockall(MlockAllFlags::MCL_CURRENT | MlockAllFlags::MCL_FUTURE)
            .map_err(|error| format!("locked memory: {error}"))?;
        nix::sys::prctl::set_timerslack(1).map_err(|error| format!("timer slack: {error}"))?;
        let addresses = Addresses::new(version);
        Ok(Socket {
            stack,
            addresses,
            clock: Clock::default(),
            tun,
            worker: Worker::new()?,
            files: Arc::new(Files::new(stack, addresses)),
            sent: VecDeque::new(),
            trouble: None,
        })
    }

    /// What has gone wrong with the test bed, not with the script.
    fn trouble(&mut self) -> Option<String> {
        self.trouble.take().or_else(|| self.files.take_trouble())
    }

    /// Waits until `until`, or until there is a packet or a call has ended.
    fn pump(&mut self, until: Nanos) {
        let left = (until - Clock::nanos()).max(0);
        let timeout = TimeSpec::new(left / 1_000_000_000, left % 1_000_000_000);
        let mut fds = [
            PollFd::new(self.tun.as_fd(), PollFlags::POLLIN),
            PollFd::new(self.worker.as_fd(), PollFlags::POLLIN),
        ];
        if let Err(error) = ppoll(&mut fds, Some(timeout), None) {
            self.trouble.get_or_insert(format!("poll: {error}"));
        }
        self.collect();
    }

    /// Takes what the host has sent.
    fn collect(&mut self) {
        let at = self.clock.micros(Clock::nanos());
        loop {
            match self.tun.read(&self.addresses) {
                Ok(Some(packet)) => self.sent.push_back((at, packet)),
                Ok(None) => return,
                Err(what) => {
                    self.trouble.get_or_insert(what);
                    return;
                }
            }
        }
    }
}

impl Backend for Socket {
    /// The clock starts when it is first looked at: the commands before a script's first event take no time.
    fn now(&mut self) -> Micros {
        if !self.clock.runs() {
            let start = self.clock.start();
            while Clock::nanos() < start {
                self.pump(start);
            }
        }
        self.clock.micros(Clock::nanos())
    }

    fn advance(&mut self, at: Micros) {
        let at = self.clock.at(at);
        while Clock::nanos() < at {
            self.pump(at);
        }
    }

    fn inject(&mut self, packet: &Datagram) {
        self.collect();
        if let Err(what) = self.tun.write(&self.addresses, packet) {
            self.trouble.get_or_insert(what);
        }
        self.collect();
    }

    fn sniff(&mut self, limit: Micros) -> Option<(Micros, Datagram)> {
        let limit = self.clock.at(limit);
        loop {
            if let Some(packet) = self.sent.pop_front() {
                return Some(packet);
            }
            let late = Clock::nanos() >= limit;
            self.pump(limit);
            if late {
                return self.sent.pop_front();
            }
        }
    }

    fn call(&mut self, call: &SystemCall) -> Option<Outcome> {
        let (files, wall) = (self.files.clone(), self.clock.wall());
        let call = call.clone();
        self.worker.begin(Box::new(move || files.make(&call, wall)));
        loop {
            self.pump(Clock::nanos() + LOOK);
            // In this order: what it waited for may come in between.
            let blocked = self.worker.is_blocked();
            match self.worker.take() {
                Some((_, outcome)) => return Some(outcome),
                None if blocked => return None,
                None => {}
            }
        }
    }

    fn wait(&mut self, limit: Micros) -> Option<(Micros, Outcome)> {
        let limit = self.clock.at(limit);
        loop {
            if let Some((at, outcome)) = self.worker.take() {
                return Some((self.clock.micros(at), outcome));
            }
            if Clock::nanos() >= limit {
                return None;
            }
            self.pump(limit);
        }
    }

    fn sysctl(&mut self, name: &str, value: &str) -> Result<(), String> {
        settings::set(self.stack, name, value)
    }

    fn sysctl_value(&mut self, name: &str) -> Option<String> {
        settings::get(self.stack, name)
    }

    fn device(&mut self, change: Device) -> Result<(), String> {
        match bed::change(change) {
            // There is none to take away, which scripts do not mind.
            Err(_) if change == Device::Queue(crate::shell::Queue::Default) => Ok(()),
            result => result,
        }
    }

    fn counter(&mut self, name: &str) -> Option<u64> {
        info::counter(self.stack, name)
    }

    fn info(&mut self, fd: i64, name: &str) -> Option<i64> {
        info::field(self.files.get(fd)?.as_fd(), name)
    }

    fn listens(&mut self, port: u16) -> bool {
        info::listens(self.stack, port)
    }

    fn file(&mut self, path: &str, bytes: u64) {
        let made = std::fs::File::create(path).and_then(|file| file.set_len(bytes));
        if let Err(error) = made {
            self.trouble.get_or_insert(format!("{path}: {error}"));
        }
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.files.abort();
        let end = Clock::nanos() + END;
        while self.worker.is_busy() && Clock::nanos() < end {
            self.pump(end);
            self.worker.take();
        }
    }
}
