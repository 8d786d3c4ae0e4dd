// SPDX-License-Identifier: GPL-2.0

//! System calls of scripts, made.

use std::collections::BTreeMap;
use std::io;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use nix::fcntl::{fcntl, open, splice, FcntlArg, OFlag, SpliceFFlags};
use nix::libc;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::sendfile::sendfile;
use nix::sys::stat::Mode;
use nix::unistd::{close, pipe};

use super::message::controls;
use super::packet::Addresses;
use super::sys::{self, Buffer, Count};
use super::Stack;
use crate::backend::{Outcome, Output};
use crate::call::{OptionValue, SystemCall, Transfer};

/// The port that scripts bind to, and the one that they connect to: the runner's.
const LOCAL_PORT: u16 = crate::run::LOCAL_PORT;
const CONNECT_PORT: u16 = crate::run::CONNECT_PORT;

/// What the script has opened, and what its calls are made with. Shared with the thread that makes the calls.
pub(super) struct Files {
    stack: Stack,
    addresses: Addresses,
    open: Mutex<BTreeMap<i64, Arc<OwnedFd>>>,
    /// What could not be understood of a call's outcome.
    trouble: Mutex<Option<String>>,
}

/// A call that fails.
struct Failed(i32);

impl From<io::Error> for Failed {
    fn from(error: io::Error) -> Self {
        Failed(error.raw_os_error().unwrap_or(libc::EIO))
    }
}

impl From<nix::Error> for Failed {
    fn from(error: nix::Error) -> Self {
        Failed(error as i32)
    }
}

type Made = Result<Outcome, Failed>;

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn length(len: usize) -> Outcome {
    Outcome::ok(len as i64)
}

impl Files {
    pub(super) fn new(stack: Stack, addresses: Addresses) -> Files {
        Files {
            stack,
            addresses,
            open: Mutex::new(BTreeMap::new()),
            trouble: Mutex::new(None),
        }
    }

    /// A descriptor that is open.
    pub(super) fn get(&self, fd: i64) -> Option<Arc<OwnedFd>> {
        lock(&self.open).get(&fd).cloned()
    }

    /// What could not be understood, if anything.
    pub(super) fn take_trouble(&self) -> Option<String> {
        lock(&self.trouble).take()
    }

    /// Ends all connections and whatever waits for them.
    pub(super) fn abort(&self) {
        const LINGER: i32 = 13;
        for fd in lock(&self.open).values() {
            // Nothing is left behind when it is closed. What is no socket has no such option.
            let at_once = [1i32.to_ne_bytes(), 0i32.to_ne_bytes()].concat();
            let _ = sys::set_option(fd.as_fd(), libc::SOL_SOCKET, LINGER, &at_once, 8);
            let _ = sys::shutdown(fd.as_fd(), libc::SHUT_RDWR);
        }
    }

    fn need(&self, fd: i64) -> Result<Arc<OwnedFd>, Failed> {
        self.get(fd).ok_or(Failed(libc::EBADF))
    }

    fn add(&self, fd: OwnedFd) -> i64 {
        let number = i64::from(fd.as_raw_fd());
        lock(&self.open).insert(number, Arc::new(fd));
        number
    }

    /// Makes a call. `wall` is the wall clock at the script's start, in microseconds.
    pub(super) fn make(&self, call: &SystemCall, wall: i64) -> Outcome {
        match self.try_make(call, wall) {
            Ok(outcome) => outcome,
            Err(Failed(errno)) => Outcome::error(errno),
        }
    }

    fn try_make(&self, call: &SystemCall, wall: i64) -> Made {
        match call {
            SystemCall::Socket { nonblock } => {
                let flags = if *nonblock { libc::SOCK_NONBLOCK } else { 0 };
                let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC | flags;
                let (family, protocol) = self.stack.socket(self.addresses.version());
                let made = sys::socket(family, kind, protocol)?;
                Ok(Outcome::ok(self.add(made)))
            }
            SystemCall::Bind(fd) => {
                let address = self.addresses.local_socket(LOCAL_PORT);
                sys::bind(self.need(*fd)?.as_fd(), address)?;
                Ok(Outcome::ok(0))
            }
            SystemCall::Listen(fd, backlog) => {
                sys::listen(self.need(*fd)?.as_fd(), *backlog as i32)?;
                Ok(Outcome::ok(0))
            }
            SystemCall::Accept(fd) => {
                let (made, port) = sys::accept(self.need(*fd)?.as_fd())?;
                Ok(Outcome::with(self.add(made), Output::Peer(port)))
            }
            SystemCall::Connect(fd) => {
                let address = self.addresses.remote_socket(CONNECT_PORT);
                sys::connect(self.need(*fd)?.as_fd(), address)?;
                Ok(Outcome::ok(0))
            }
            SystemCall::Send(transfer) => self.send(transfer),
            SystemCall::Receive(transfer) => self.receive(transfer, wall),
            SystemCall::Shutdown(fd, how) => {
                sys::shutdown(self.need(*fd)?.as_fd(), *how as i32)?;
                Ok(Outcome::ok(0))
            }
            SystemCall::Close(fd) => {
                let fd = lock(&self.open).remove(fd).ok_or(Failed(libc::EBADF))?;
                // Nobody else has it: one call is made at a time.
                close(Arc::try_unwrap(fd).map_err(|_| Failed(libc::EBUSY))?)?;
                Ok(Outcome::ok(0))
            }
            SystemCall::SetOption {
                fd,
                level,
                name,
                value,
                len,
            } => {
                let len = usize::try_from(*len).map_err(|_| Failed(libc::EINVAL))?;
                let (level, name) = (*level as i32, *name as i32);
                sys::set_option(self.need(*fd)?.as_fd(), level, name, &bytes(value), len)?;
                Ok(Outcome::ok(0))
            }
            SystemCall::GetOption { fd, level, name } => {
                let fd = self.need(*fd)?;
                let told = sys::option(fd.as_fd(), *level as i32, *name as i32, 4)?;
                // Some options of IP give a single octet.
                let mut word = [0; 4];
                word[..told.len()].copy_from_slice(&told);
                let value = i64::from(i32::from_ne_bytes(word));
                Ok(Outcome::with(0, Output::Int(value)))
            }
            SystemCall::Ioctl(fd, request) => {
                let request = match *request {
                    0x541b => Count::Unread,
                    0x5411 => Count::Unacknowledged,
                    _ => {
                        self.is_trouble(format!("ioctl {request:#x} is unknown"));
                        return Err(Failed(libc::EINVAL));
                    }
                };
                let value = sys::ioctl_int(self.need(*fd)?.as_fd(), request)?;
                Ok(Outcome::with(0, Output::Int(i64::from(value))))
            }
            _ => self.other(call),
        }
    }

    /// Calls that are not of sockets alone.
    fn other(&self, call: &SystemCall) -> Made {
        match call {
            SystemCall::SendFile {
                to,
                from,
                offset,
                len,
            } => {
                let mut offset = *offset;
                let (to, from) = (self.need(*to)?, self.need(*from)?);
                let len = usize::try_from(*len).map_err(|_| Failed(libc::EINVAL))?;
                Ok(length(sendfile(to, from, offset.as_mut(), len)?))
            }
            SystemCall::Splice {
                from,
                to,
                len,
                flags,
            } => {
                let (from, to) = (self.need(*from)?, self.need(*to)?);
                let flags = SpliceFFlags::from_bits_retain(*flags as u32);
                let len = usize::try_from(*len).map_err(|_| Failed(libc::EINVAL))?;
                Ok(length(splice(from, None, to, None, len, flags)?))
            }
            SystemCall::Pipe => {
                let (a, b) = pipe()?;
                let pair = Output::Pair(self.add(a), self.add(b));
                Ok(Outcome::with(0, pair))
            }
            SystemCall::Open(path, flags) => {
                let flags = OFlag::from_bits_retain(*flags as i32);
                let made = open(path.as_str(), flags, Mode::empty())?;
                Ok(Outcome::ok(self.add(made)))
            }
            SystemCall::GetFlags(fd) => {
                let flags = fcntl(self.need(*fd)?, FcntlArg::F_GETFL)?;
                Ok(Outcome::ok(i64::from(flags)))
            }
            SystemCall::SetFlags(fd, flags) => {
                let flags = OFlag::from_bits_retain(*flags as i32);
                fcntl(self.need(*fd)?, FcntlArg::F_SETFL(flags))?;
                Ok(Outcome::ok(0))
            }
            SystemCall::EpollCreate => {
                let made = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
                Ok(Outcome::ok(self.add(made.0)))
            }
            SystemCall::EpollControl {
                set,
                operation,
                fd,
                events,
                data,
            } => {
                let (set, fd) = (self.epoll(*set)?, self.need(*fd)?);
                let flags = EpollFlags::from_bits_retain(*events as i32);
                let mut event = EpollEvent::new(flags, *data);
                match *operation {
                    1 => set.add(fd, event)?,
                    2 => set.delete(fd)?,
                    3 => set.modify(fd, &mut event)?,
                    _ => return Err(Failed(libc::EINVAL)),
                }
                Ok(Outcome::ok(0))
            }
            SystemCall::EpollWait { set, timeout } => {
                let timeout =
                    EpollTimeout::try_from(*timeout as i32).map_err(|_| Failed(libc::EINVAL))?;
                let mut events = [EpollEvent::empty(); 1];
                let count = self.epoll(*set)?.wait(&mut events, timeout)?;
                let told = |event: &EpollEvent| (event.events().bits() as u32, event.data());
                let events = events[..count].iter().map(told).collect();
                Ok(Outcome::with(count as i64, Output::Events(events)))
            }
            call => {
                self.is_trouble(format!("{call:?} is unknown"));
                Err(Failed(libc::ENOSYS))
            }
        }
    }

    /// Another descriptor of an epoll set.
    fn epoll(&self, set: i64) -> Result<Epoll, Failed> {
        Ok(Epoll(self.need(set)?.try_clone()?))
    }

    fn send(&self, transfer: &Transfer) -> Made {
        let fd = self.need(transfer.fd)?;
        let flags = transfer.flags as i32;
        // sendmsg() with an address is sendto(); scripts give one to every message, and it counts for Fast Open alone.
        let fast = transfer.flags & libc::MSG_FASTOPEN as u32 != 0;
        let to = (transfer.addressed || fast && transfer.message)
            .then(|| self.addresses.remote_socket(CONNECT_PORT));
        let len = match (transfer.message, to) {
            (true, to) => sys::send_message(fd.as_fd(), &mut parts(transfer), flags, to)?,
            (false, None) if flags == 0 => sys::write(fd.as_fd(), buffer(transfer))?,
            (false, to) => sys::send(fd.as_fd(), buffer(transfer), flags, to)?,
        };
        Ok(length(len))
    }

    fn receive(&self, transfer: &Transfer, wall: i64) -> Made {
        let fd = self.need(transfer.fd)?;
        let flags = transfer.flags as i32;
        if transfer.message {
            let received = sys::receive_message(fd.as_fd(), &mut parts(transfer), flags)?;
            let controls = controls(&received.control, wall).unwrap_or_else(|what| {
                self.is_trouble(what);
                Vec::new()
            });
            let message = Output::Message(received.flags, controls);
            return Ok(Outcome::with(received.len as i64, message));
        }
        let len = match flags == 0 && !transfer.addressed {
            true => sys::read(fd.as_fd(), buffer(transfer))?,
            false => sys::receive(fd.as_fd(), buffer(transfer), flags, transfer.addressed)?,
        };
        Ok(length(len))
    }

    fn is_trouble(&self, what: String) {
        lock(&self.trouble).get_or_insert(what);
    }
}

/// One buffer.
fn buffer(transfer: &Transfer) -> Buffer {
    let len = transfer.len() as usize;
    match transfer.null {
        true => Buffer::Null(len),
        false => Buffer::Bytes(vec![0; len]),
    }
}

/// The buffers of a message.
fn parts(transfer: &Transfer) -> Vec<Vec<u8>> {
    let buffers = transfer.buffers.iter();
    buffers.map(|len| vec![0; *len as usize]).collect()
}

/// An option's value as the kernel has it.
fn bytes(value: &OptionValue) -> Vec<u8> {
    match value {
        OptionValue::Int(value) => (*value as i32).to_ne_bytes().to_vec(),
        OptionValue::Bytes(bytes) => bytes.clone(),
        OptionValue::Linger(on, seconds) => {
            let (on, seconds) = (*on as i32, *seconds as i32);
            [on.to_ne_bytes(), seconds.to_ne_bytes()].concat()
        }
    }
}
