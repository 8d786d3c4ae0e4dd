// SPDX-License-Identifier: GPL-2.0

//! A socket's parts, and the way from the socket layer's callbacks to the files that do the work.

use kernel::prelude::*;
use kernel::sync::atomic::Atomic;
use kernel::sync::{rcu, Arc, SetOnce};

use oxtcp_engine::connection::Info;
use oxtcp_engine::reassembly::Reassembly;
use oxtcp_engine::{Connection, Flight, FlightMemory, Instant, SeqNum, SeqRange, SocketOptions};

use crate::figures::Published;
use crate::group::Group;
use crate::half_open::Mini;
use crate::icmp::TooBigNote;
use crate::keys::KeyCell;
use crate::listening::Listening;
use crate::namespace::Namespace;
use crate::poll::SendQueue;
use crate::ports::PortRef;
use crate::send_buffer::SendBuffer;
use crate::sys::errno::{ehostunreach, eprotonosupport};
use crate::sys::net::Net;
use crate::sys::proto::{statics, PeerAddress, Protocol, Statics};
use crate::sys::skb::SkBuff;
use crate::sys::sock::{Child, Locked, Owned, Sock};
use crate::sys::user::{FromProgram, Message, OptionAnswer, OptionValue, ToProgram};
use crate::urgent::UrgentNote;
use crate::{closing, connect, connection, input, listener, options, poll, receive, send};

/// The protocol, as `sys` wants it named.
pub(crate) struct Tcp;

/// A socket of ours.
pub(crate) type Socket = Sock<Tcp>;

/// A socket of ours with its lock held, in any context.
pub(crate) type Sk<'a> = Locked<'a, Tcp>;

/// A socket of ours that a process owns: what takes it may sleep.
pub(crate) type Owner<'a> = Owned<'a, Tcp>;

/// What may be reached without the socket lock.
#[pin_data]
pub(crate) struct Shared {
    /// What a listener has. It is made once, and does for itself what is to be locked. Any context.
    pub(crate) listening: SetOnce<Pin<KBox<Listening>>>,
    /// What segments are signed with. Replaced under the socket lock, read under RCU.
    pub(crate) keys: KeyCell,
    /// Bytes in the receive queue. Written under the socket lock, as what follows; read also without, by poll() and
    /// `/proc`.
    pub(crate) rx_bytes: Atomic<u32>,
    /// Copies of what is not acknowledged and what was never sent.
    pub(crate) tx: SendQueue,
}

/// What else may be reached without the socket lock. Each field is atomic by itself.
pub(crate) struct Notes {
    /// An ICMP "too big" that waits for the lock. Written in softirqs.
    pub(crate) too_big: TooBigNote,
    /// The peer's urgent byte. Written under the socket lock, as what follows.
    pub(crate) urgent: UrgentNote,
    /// Copies of a connection's figures.
    pub(crate) figures: Published,
}

/// What the socket lock protects.
pub(crate) struct State {
    pub(crate) role: Role,
    pub(crate) send: SendBuffer,
    /// The ranges that arrived out of order (the packets are the socket's, [`Sk::keep_apart`]); made when the
    /// first such segment comes.
    pub(crate) reorder: Option<KBox<Reassembly>>,
    /// What the engine keeps of data in flight; it says when it needs it.
    pub(crate) flight: FlightBox,
    /// The hold on the local port.
    pub(crate) port: Option<PortRef>,
    /// What the last ICMP error about the connection said, as an errno: the socket is a few bytes smaller than with an [`Error`].
    pub(crate) unreachable: u8,
    /// Counted among the namespace's orphans.
    pub(crate) orphan: bool,
    /// The [`CallOptions`], one by one: so they take no room of their own.
    pub(crate) notsent_lowat: u32,
    pub(crate) defer_accept: u8,
    pub(crate) tells_inq: bool,
}

/// Options of a socket that the engine does not know, as a listener hands them on.
#[derive(Clone, Copy, Default)]
pub(crate) struct CallOptions {
    /// TCP_NOTSENT_LOWAT; 0: the namespace's.
    pub(crate) notsent_lowat: u32,
    /// TCP_DEFER_ACCEPT, in timeouts of a SYN-ACK.
    pub(crate) defer_accept: u8,
    /// TCP_INQ: each recvmsg() tells how much is left.
    pub(crate) tells_inq: bool,
}

/// An error that a program may be told, of which there are fewer than 256.
pub(crate) fn errno_of(error: Error) -> u8 {
    u8::try_from(error.to_errno().unsigned_abs()).unwrap_or(u8::MAX)
}

/// What a socket is at a time.
pub(crate) enum Role {
    /// New, bound, or done.
    Idle(Idle),
    /// With the options that its connections begin with.
    Listener(SocketOptions),
    Connection(Connection),
}

/// A socket without a connection.
pub(crate) struct Idle {
    /// What the next one begins with.
    pub(crate) options: SocketOptions,
    /// What the last one had to tell of itself at its end, and when that was.
    pub(crate) past: Option<(Info, Instant)>,
}

impl Idle {
    pub(crate) fn new(options: SocketOptions) -> Self {
        Self {
            options,
            past: None,
        }
    }
}

/// Memory for a connection's data in flight, made when the engine asks for it. Any context.
pub(crate) struct FlightBox(Option<KBox<Flight>>);

impl FlightMemory for FlightBox {
    fn get(&mut self) -> Option<&mut Flight> {
        self.0.as_deref_mut()
    }

    fn make(&mut self) -> Option<&mut Flight> {
        // A constant is copied to its place at once, and not by way of the stack: 2 KB would be much there in softirq.
        const EMPTY: Flight = Flight::new();
        if self.0.is_none() {
            self.0 = KBox::new(EMPTY, GFP_ATOMIC | __GFP_NOWARN).ok();
        }
        self.0.as_deref_mut()
    }

    fn release(&mut self) {
        self.0 = None;
    }
}

/// What the engine may ask for while it sends: memory for data in flight, and where messages end in the send buffer.
pub(crate) struct SendMemory<'a> {
    pub(crate) flight: &'a mut FlightBox,
    pub(crate) send: &'a SendBuffer,
}

impl FlightMemory for SendMemory<'_> {
    fn get(&mut self) -> Option<&mut Flight> {
        self.flight.get()
    }

    fn make(&mut self) -> Option<&mut Flight> {
        self.flight.make()
    }

    fn release(&mut self) {
        self.flight.release();
    }

    fn is_bounded(&self) -> bool {
        self.send.is_bounded()
    }

    fn boundary(&self, range: SeqRange) -> Option<SeqNum> {
        self.send.boundary(range)
    }
}

impl State {
    /// The options that the program has set, SO_KEEPALIVE perhaps not among them.
    pub(crate) fn options(&self) -> SocketOptions {
        match &self.role {
            Role::Idle(idle) => idle.options,
            Role::Listener(options) => *options,
            Role::Connection(connection) => *connection.options(),
        }
    }

    /// What the engine keeps of data in flight, if there is any.
    pub(crate) fn flight(&self) -> Option<&Flight> {
        self.flight.0.as_deref()
    }

    /// The options that only the calls on the socket look at.
    pub(crate) fn calls(&self) -> CallOptions {
        CallOptions {
            notsent_lowat: self.notsent_lowat,
            defer_accept: self.defer_accept,
            tells_inq: self.tells_inq,
        }
    }

    /// See [`calls`](Self::calls).
    pub(crate) fn set_calls(&mut self, calls: CallOptions) {
        self.notsent_lowat = calls.notsent_lowat;
        self.defer_accept = calls.defer_accept;
        self.tells_inq = calls.tells_inq;
    }

    /// The connection, if the socket has one.
    pub(crate) fn connection(&mut self) -> Option<&mut Connection> {
        match &mut self.role {
            Role::Connection(connection) => Some(connection),
            _ => None,
        }
    }
}

statics!(Tcp);

/// Bytes of an IPv4 socket with all that belongs to its connection, of an IPv6 one, and of a half-open
/// connection or a TIME-WAIT.
pub(crate) fn object_sizes() -> [usize; 3] {
    let [v4, v6] = Statics::<Tcp>::SOCKET_SIZES;
    [v4, v6, core::mem::size_of::<crate::sys::table::Mini<Tcp>>()]
}

impl Protocol for Tcp {
    const NAME: &'static CStr = c"OXTCP";
    const SK_TYPE: u32 = 1; // SOCK_STREAM
    /// 6 on the wire; not 6 to those who would take the socket for one of the built-in TCP's
    /// (`sk_is_tcp()`), as MPTCP does it.
    const SK_PROTOCOL: u16 = 0x200 | 6;

    type Shared = Shared;
    type Notes = Notes;
    type State = State;
    type Mini = Mini;
    type Post = Arc<Group>;
    type PerNet = Namespace;

    fn new_shared() -> impl PinInit<Shared> {
        pin_init!(Shared {
            listening: SetOnce::new(),
            keys: KeyCell::empty(),
            rx_bytes: Atomic::new(0),
            tx: SendQueue::new(),
        })
    }

    fn new_notes() -> Notes {
        Notes {
            too_big: TooBigNote::new(),
            urgent: UrgentNote::new(),
            figures: Published::new(),
        }
    }

    fn new_state() -> State {
        State {
            role: Role::Idle(Idle::new(SocketOptions::default())),
            send: SendBuffer::new(),
            reorder: None,
            flight: FlightBox(None),
            port: None,
            unreachable: errno_of(ehostunreach()),
            orphan: false,
            notsent_lowat: 0,
            defer_accept: 0,
            tells_inq: false,
        }
    }

    fn family_of(protocol: i32) -> Result<bool> {
        match protocol {
            0 | 6 => Ok(false),
            1 => Ok(true),
            _ => Err(eprotonosupport()),
        }
    }

    fn init(sk: &mut Owner<'_>) {
        options::set_default_buffers(sk);
    }

    fn close(sk: &mut Owner<'_>, timeout: isize) {
        closing::close(sk, timeout);
    }

    fn orphaned(sk: &mut Owner<'_>) {
        closing::orphaned(sk);
    }

    fn closed(sk: &mut Sk<'_>) {
        closing::closed(sk);
    }

    fn end(net: &Net) {
        let rcu = rcu::read_lock();
        if let Some(namespace) = net.get::<Namespace>(&rcu) {
            closing::end_all(namespace);
        }
    }

    fn bind(sk: &mut Owner<'_>, port: u16) -> Result {
        connect::bind(sk, port)
    }

    fn unbind(sk: &mut Owner<'_>) {
        connect::unbind(sk);
    }

    fn connect(sk: &mut Owner<'_>, to: PeerAddress) -> Result {
        connect::connect(sk, to)
    }

    fn disconnect(sk: &mut Owner<'_>) -> Result {
        closing::disconnect(sk);
        Ok(())
    }

    fn listen(sk: &mut Owner<'_>, connecting: bool, backlog: i32) -> Result {
        listener::listen(sk, connecting, backlog)
    }

    fn accept(sk: &mut Owner<'_>, nonblock: bool) -> Result<Child<Tcp>> {
        listener::accept(sk, nonblock)
    }

    fn shutdown(sk: &mut Owner<'_>, how: u8) {
        closing::shutdown(sk, how);
    }

    fn send(sk: &mut Owner<'_>, from: &mut Message<'_, FromProgram>) -> Result<usize> {
        send::send(sk, from)
    }

    fn send_more_ends(sk: &mut Owner<'_>) {
        send::more_ends(sk);
    }

    fn receive(
        sk: &mut Owner<'_>,
        to: &mut Message<'_, ToProgram>,
        len: usize,
        flags: u32,
    ) -> Result<usize> {
        receive::receive(sk, to, len, flags)
    }

    fn splice_stops(sk: &mut Owner<'_>, nonblock: bool) -> Result<bool> {
        receive::splice_stops(sk, nonblock)
    }

    #[inline]
    fn poll(sk: &Socket, need_space: impl FnMut()) -> u32 {
        poll::poll(sk, need_space)
    }

    #[inline]
    fn has_send_room(shared: &Shared, wake: bool) -> bool {
        poll::has_send_room(shared, wake)
    }

    fn ioctl(sk: &mut Owner<'_>, command: u32) -> Result<i32> {
        receive::ioctl(sk, command)
    }

    fn allows_socket_option(name: u32) -> bool {
        options::allows_socket_option(name)
    }

    fn allows_ip_option(level: u32, name: u32) -> bool {
        options::allows_ip_option(level, name)
    }

    fn socket_option_set(sk: &mut Owner<'_>, name: u32) {
        options::socket_option_set(sk, name);
    }

    fn set_option(sk: &mut Owner<'_>, name: u32, value: OptionValue<'_>) -> Result {
        options::set(sk, name, value)
    }

    fn get_option(sk: &mut Owner<'_>, name: u32, answer: OptionAnswer<'_>) -> Result {
        options::get(sk, name, answer)
    }

    fn stamp_key(sk: &mut Owner<'_>, from_the_end: bool) -> Option<u32> {
        let connection = sk.state().connection()?;
        let key = match from_the_end {
            true => connection.write_seq(),
            false => connection.snd_una(),
        };
        Some(key.get())
    }

    fn segment(sk: &mut Sk<'_>, skb: SkBuff, rcu: &rcu::Guard) {
        input::queued_segment(sk, skb, rcu);
    }

    fn backlog_is_full(sock: &Socket, skb: SkBuff) {
        input::drop_unheard(sock, skb);
    }

    fn abandon(sk: &mut Sk<'_>) {
        closing::abandon(sk);
    }

    fn timer(sk: &mut Sk<'_>) {
        connection::timer(sk);
    }
}
