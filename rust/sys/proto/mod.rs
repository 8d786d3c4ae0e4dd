// SPDX-License-Identifier: GPL-2.0

//! A protocol as the socket layer sees it: `struct proto`, `struct proto_ops`
//! and the socket family, and the callbacks from there into a [`Protocol`].
//!
//! Where the INET layer has a generic function that works over `struct proto`
//! (`inet_bind()`, `inet_stream_connect()`, `inet_accept()`, `inet_shutdown()`
//! ...), the sockets use it: its rules about addresses, privileges, LSMs and
//! blocking are those that programs know.
//!
//! | file | what |
//! |---|---|
//! | `mod` | what a protocol is: [`Protocol`] |
//! | `registration` | how the kernel comes to know it |
//! | `doors` | its sockets by AF_INET and AF_INET6 |
//! | `ops` | the callbacks of `struct proto_ops`, and socket() |
//! | `callbacks` | those of `struct proto` |

use kernel::prelude::*;
use kernel::sync::rcu;

use super::bindings;
use super::net::{Net, PerNet};
use super::skb::SkBuff;
use super::sock::{Child, Locked, Owned, Sock};
use super::table::{Endpoint, MiniBody};
use super::user::{FromProgram, Message, OptionAnswer, OptionValue, ToProgram};

mod callbacks;
mod doors;
mod ops;
mod registration;

pub(crate) use doors::{protocol_parameter, DoorNumber};
pub(crate) use registration::{Registration, Statics};

/// The number of a socket family.
///
/// # Invariants
///
/// One from 1 to [`FamilyNumber::MOST`]: an index into the kernel's table, and not AF_UNSPEC.
#[derive(Clone, Copy)]
pub(crate) struct FamilyNumber(i32);

impl FamilyNumber {
    /// The greatest there is (`NPROTO` less one).
    pub(crate) const MOST: i32 = bindings::AF_MAX as i32 - 1;

    /// `None` when it is out of range.
    pub(crate) fn new(number: i32) -> Option<Self> {
        // INVARIANT: In range.
        (1..=Self::MOST).contains(&number).then_some(Self(number))
    }

    pub(crate) fn get(self) -> i32 {
        self.0
    }
}

/// The module parameter `family`.
pub(crate) fn family_parameter() -> i32 {
    // SAFETY: Reads a variable that is set before the module's code runs.
    unsafe { bindings::oxtcp_helper_family() }
}

/// An address that a program gave to connect().
pub(crate) struct PeerAddress {
    pub(crate) end: Endpoint,
    /// Interface of a link-local address, 0 when none was named.
    pub(crate) scope: i32,
}

/// The statics of a protocol. [`statics`] declares them.
///
/// # Safety
///
/// `statics` returns the same ones each time.
pub(crate) unsafe trait HasStatics: Sized + 'static {
    fn statics() -> &'static Statics<Self>
    where
        Self: Protocol;
}

/// Declares the statics of a [`Protocol`].
macro_rules! statics {
    ($protocol:ty) => {
        const _: () = {
            static STATICS: $crate::sys::proto::Statics<$protocol> =
                $crate::sys::proto::Statics::new();

            #[allow(unsafe_code)]
            // SAFETY: There is one static variable.
            unsafe impl $crate::sys::proto::HasStatics for $protocol {
                fn statics() -> &'static $crate::sys::proto::Statics<Self> {
                    &STATICS
                }
            }
        };
    };
}
pub(crate) use statics;

/// What a protocol does for its sockets.
///
/// What takes an [`Owned`] is called in process context and may sleep; what takes a [`Locked`] is called in any
/// and must not. For the rest the context is said.
pub(crate) trait Protocol: HasStatics + Send + Sync {
    /// Name in `/proc/net/protocols` and of the slab caches (`NAME` and `NAME6`).
    const NAME: &'static CStr;
    /// `sk_type`: SOCK_STREAM.
    const SK_TYPE: u32;
    /// `sk_protocol`; its low byte is the protocol on the wire. Not the number of a protocol of the kernel's, which
    /// would take the socket for one of that.
    const SK_PROTOCOL: u16;

    /// The part of a socket that has locks or atomics of its own.
    type Shared: Send + Sync;
    /// A part of a socket in words that the kernel's `struct inet_sock` has for datagrams: atomics. It is small, see
    /// [`Sock::notes`].
    type Notes: Send + Sync;
    /// The part of a socket that the socket lock protects.
    type State: Send;
    /// Small objects in the flow table.
    type Mini: MiniBody<Self>;
    /// What the sockets of a group are found by in the flow table. It may be dropped in softirq.
    type Post: Send + Sync;
    /// What each network namespace has, see [`Sock::per_net`].
    type PerNet: PerNet;

    /// Any context.
    fn new_shared() -> impl PinInit<Self::Shared>;
    /// Any context.
    fn new_notes() -> Self::Notes;
    /// Any context.
    fn new_state() -> Self::State;

    /// Whether socket() with this protocol number is for IPv6.
    ///
    /// # Errors
    ///
    /// EPROTONOSUPPORT for an unknown number.
    fn family_of(protocol: i32) -> Result<bool>;
    /// A program has made a socket.
    fn init(sk: &mut Owned<'_, Self>);
    /// A program lets go of the socket, and waits up to `timeout` jiffies for its data to leave.
    fn close(sk: &mut Owned<'_, Self>, timeout: isize);
    /// The program is gone: what is closed already can be destroyed. Called once, after `close`.
    fn orphaned(sk: &mut Owned<'_, Self>);
    /// A packet for a socket that a process owns, and whose backlog is full: it is to be dropped. The context of
    /// [`LocalIn`](crate::sys::netfilter::LocalIn::local_in).
    fn backlog_is_full(sock: &Sock<Self>, skb: SkBuff);

    /// The last of close(): nothing is on the backlog, no process owns the socket. Called once, after `orphaned`, with
    /// softirqs off.
    fn closed(sk: &mut Locked<'_, Self>);
    /// The module goes: ends all connections of `net`, which no program has, and takes the small objects out of the
    /// table. Called until no socket is left.
    fn end(net: &Net);
    /// Chooses or takes the local port; the address is set already.
    fn bind(sk: &mut Owned<'_, Self>, port: u16) -> Result;
    /// Undoes `bind`.
    fn unbind(sk: &mut Owned<'_, Self>);
    /// Begins to connect; waiting is the caller's.
    fn connect(sk: &mut Owned<'_, Self>, to: PeerAddress) -> Result;
    /// Aborts and makes the socket new.
    fn disconnect(sk: &mut Owned<'_, Self>) -> Result;
    /// Begins to listen, or changes the backlog.
    fn listen(sk: &mut Owned<'_, Self>, connecting: bool, backlog: i32) -> Result;
    /// Waits for a connection and takes it. One that is not of the listener's family and namespace is ended, and accept() is
    /// EINVAL.
    fn accept(sk: &mut Owned<'_, Self>, nonblock: bool) -> Result<Child<Self>>;
    /// `how` is a mask of RCV_SHUTDOWN and SEND_SHUTDOWN, in the shutdown mask already.
    fn shutdown(sk: &mut Owned<'_, Self>, how: u8);
    /// Returns how many bytes were taken.
    fn send(sk: &mut Owned<'_, Self>, from: &mut Message<'_, FromProgram>) -> Result<usize>;
    /// No more data comes behind a sendfile() that said so.
    fn send_more_ends(sk: &mut Owned<'_, Self>);
    /// Returns how many bytes were given.
    fn receive(
        sk: &mut Owned<'_, Self>,
        to: &mut Message<'_, ToProgram>,
        len: usize,
        flags: u32,
    ) -> Result<usize>;
    /// Whether splice() gets nothing now; else it reads as `receive` does.
    fn splice_stops(sk: &mut Owned<'_, Self>, nonblock: bool) -> Result<bool>;
    /// Any context that may not sleep; no lock is held.
    fn poll(sk: &Sock<Self>, need_space: impl FnMut()) -> u32;
    /// Whether what waits to be sent leaves room for more, whatever the send buffer's size; `wake`: room that is worth waking
    /// a writer, or telling poll() of. Any context; no lock is held, and perhaps no reference: the last packets of a socket
    /// that nobody has ask too.
    fn has_send_room(shared: &Self::Shared, wake: bool) -> bool;
    /// SIOCINQ and the like; `Err(ENOIOCTLCMD)` for those not known.
    fn ioctl(sk: &mut Owned<'_, Self>, command: u32) -> Result<i32>;
    /// SOL_SOCKET: whether the option may be set by the generic code.
    fn allows_socket_option(name: u32) -> bool;
    /// SOL_IP and SOL_IPV6: whether the option may be set by the INET layer's code.
    fn allows_ip_option(level: u32, name: u32) -> bool;
    /// SOL_SOCKET options have been set by the generic code.
    fn socket_option_set(sk: &mut Owned<'_, Self>, name: u32);
    /// Options of the protocol's own level.
    fn set_option(sk: &mut Owned<'_, Self>, name: u32, value: OptionValue<'_>) -> Result;
    /// Options of the protocol's own level.
    fn get_option(sk: &mut Owned<'_, Self>, name: u32, answer: OptionAnswer<'_>) -> Result;
    /// A packet for the socket. Softirq, or the process that owned the socket; under RCU.
    fn segment(sk: &mut Locked<'_, Self>, skb: SkBuff, rcu: &rcu::Guard);
    /// The sequence number that the keys of timestamps count from: of the oldest byte that is not acknowledged, or of the next
    /// one that is written; `None` without a connection.
    fn stamp_key(sk: &mut Owned<'_, Self>, from_the_end: bool) -> Option<u32>;

    /// Nobody will accept the socket, whose [`Child`] was dropped: ends the connection, which is an orphan now. Softirq, or the
    /// process that owned the socket.
    fn abandon(sk: &mut Locked<'_, Self>);
    /// The timer has run out, or packets that [`Locked::throttle`] found below have left. Softirq, or the process that
    /// owned the socket.
    fn timer(sk: &mut Locked<'_, Self>);
}
