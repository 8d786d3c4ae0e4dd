// SPDX-License-Identifier: GPL-2.0

//! What a script is run against.

use crate::call::SystemCall;
use crate::script::Micros;
use crate::shell::Queue;
use crate::wire::Datagram;

/// An implementation of TCP with its clock, its sockets and its wire.
///
/// Times are microseconds since the script's start.
pub trait Backend {
    /// The clock.
    fn now(&mut self) -> Micros;

    /// Lets time pass until `at`.
    fn advance(&mut self, at: Micros);

    /// Delivers a packet to the implementation, now.
    fn inject(&mut self, packet: &Datagram);

    /// The next packet that the implementation has sent, and when. Waits for it until `limit`.
    fn sniff(&mut self, limit: Micros) -> Option<(Micros, Datagram)>;

    /// Begins a system call, now; its outcome if it does not block.
    fn call(&mut self, call: &SystemCall) -> Option<Outcome>;

    /// The outcome of the call that blocks, and when it came. Waits for it until `limit`.
    fn wait(&mut self, limit: Micros) -> Option<(Micros, Outcome)>;

    /// Sets the script's `net.ipv4.NAME`.
    ///
    /// # Errors
    ///
    /// Says which value of which setting is not possible.
    fn sysctl(&mut self, name: &str, value: &str) -> Result<(), String>;

    /// The value that a setting has.
    fn sysctl_value(&mut self, name: &str) -> Option<String>;

    /// Changes the device.
    ///
    /// # Errors
    ///
    /// Says what is not possible.
    fn device(&mut self, change: Device) -> Result<(), String>;

    /// A counter since the start, by the name that `nstat` prints; `None` where there is none.
    fn counter(&mut self, name: &str) -> Option<u64>;

    /// A field of a socket's `TCP_INFO` or `SO_MEMINFO`, by the name that scripts use; `None` where the
    /// implementation does not tell it.
    fn info(&mut self, fd: i64, name: &str) -> Option<i64>;

    /// Whether somebody is listening on this port.
    fn listens(&mut self, port: u16) -> bool;

    /// Makes a file of zeros.
    fn file(&mut self, path: &str, bytes: u64);
}

/// A change of the device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Device {
    /// Its MTU.
    Mtu(u32),
    /// Its queue.
    Queue(Queue),
    /// Whether it cuts segments for the host.
    Offload(bool),
}

/// What a system call gave.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// The value returned: -1 for an error.
    pub result: i64,
    /// The error; 0 for none.
    pub errno: i32,
    /// What it wrote to its arguments.
    pub output: Output,
}

impl Outcome {
    /// Success.
    pub fn ok(result: i64) -> Self {
        Outcome::with(result, Output::None)
    }

    /// Success, with output.
    pub fn with(result: i64, output: Output) -> Self {
        Outcome {
            result,
            errno: 0,
            output,
        }
    }

    /// An error.
    pub fn error(errno: i32) -> Self {
        Outcome {
            result: -1,
            errno,
            output: Output::None,
        }
    }
}

/// What a system call writes to its arguments.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// Nothing that a script could state.
    None,
    /// `accept`: the peer's port.
    Peer(u16),
    /// `getsockopt`, `ioctl`: a number.
    Int(i64),
    /// `pipe`: two descriptors.
    Pair(i64, i64),
    /// `recvmsg`: flags and control messages.
    Message(u32, Vec<Control>),
    /// `epoll_wait`: events, each with the number that was given with its descriptor.
    Events(Vec<(u32, u64)>),
}

/// A control message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Control {
    /// `cmsg_level`
    pub level: i64,
    /// `cmsg_type`
    pub kind: i64,
    /// `cmsg_data`
    pub data: ControlData,
}

/// What a control message says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ControlData {
    /// A number.
    Int(i64),
    /// A time, since the script's start.
    Time(Micros),
    /// `struct sock_extended_err`: errno, origin, type, code, info, data.
    Error([i64; 6]),
}
