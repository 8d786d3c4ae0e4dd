// SPDX-License-Identifier: GPL-2.0

//! A protocol as the socket layer sees it: `struct proto`, `struct proto_ops`
//! and the socket family, and the callbacks from there into a [`Protocol`].
//!
//! Where the INET layer has a generic function that works over `struct proto`
//! (`inet_bind()`, `inet_stream_connect()`, `inet_accept()`, `inet_shutdown()`
//! ...), the sockets use it: its rules about addresses, privileges, LSMs and
//! blocking are those that programs know.

use core::ptr::NonNull;

use kernel::error::to_result;
use kernel::ffi::{c_char, c_int, c_long};
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{Acquire, Atomic, Release};
use kernel::types::Opaque;

use super::bindings;
use super::errno::{eafnosupport, enoprotoopt, esocktnosupport};
use super::net::{Net, PerNet, PerNetRegistration};
use super::skb::{Detached, SkBuff};
use super::small_queue::SmallQueues;
use super::sock::{is_v6, Child, Locked, Owned, Sock};
use super::table::{Endpoint, MiniBody};
use super::user::{Message, OptionAnswer, OptionValue};

/// How many socket families there are (`NPROTO`).
pub(crate) const FAMILIES: u32 = bindings::AF_MAX;

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
    /// The part of a socket that the socket lock protects.
    type State: Send;
    /// Small objects in the flow table.
    type Mini: MiniBody<Self>;
    /// What each network namespace has, see [`Sock::per_net`].
    type PerNet: PerNet;

    /// Any context.
    fn new_shared() -> impl PinInit<Self::Shared>;
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
    /// Waits for a connection and takes it; `flags` are O_NONBLOCK and the like.
    fn accept(sk: &mut Owned<'_, Self>, nonblock: bool) -> Result<Child<Self>>;
    /// `how` is a mask of RCV_SHUTDOWN and SEND_SHUTDOWN, in the shutdown mask already.
    fn shutdown(sk: &mut Owned<'_, Self>, how: u8);
    /// Returns how many bytes were taken.
    fn send(sk: &mut Owned<'_, Self>, from: &mut Message<'_>) -> Result<usize>;
    /// No more data comes behind a sendfile() that said so.
    fn send_more_ends(sk: &mut Owned<'_, Self>);
    /// Returns how many bytes were given.
    fn receive(
        sk: &mut Owned<'_, Self>,
        to: &mut Message<'_>,
        len: usize,
        flags: u32,
    ) -> Result<usize>;
    /// Any context that may not sleep; no lock is held.
    fn poll(sk: &Sock<Self>, need_space: &mut dyn FnMut()) -> u32;
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
    /// A packet for the socket. Softirq, or the process that owned the socket.
    fn segment(sk: &mut Locked<'_, Self>, skb: SkBuff);
    /// The timer has run out, or packets that [`Locked::throttle`] found below have left. Softirq, or the process that
    /// owned the socket.
    fn timer(sk: &mut Locked<'_, Self>);
}

/// `struct proto` for IPv4 and IPv6 sockets, and the family. One static for each protocol.
pub(crate) struct Statics<P: Protocol> {
    pub(super) v4: Opaque<bindings::proto>,
    pub(super) v6: Opaque<bindings::proto>,
    family: Opaque<bindings::net_proto_family>,
    ops_v4: Opaque<bindings::proto_ops>,
    ops_v6: Opaque<bindings::proto_ops>,
    _protocol: core::marker::PhantomData<fn(P)>,
}

// SAFETY: Written by `Registration::new` before the kernel knows of them, the kernel's own after.
unsafe impl<P: Protocol> Sync for Statics<P> {}

impl<P: Protocol> Statics<P> {
    /// For the static's initialiser.
    pub(crate) const fn new() -> Self {
        Self {
            v4: Opaque::zeroed(),
            v6: Opaque::zeroed(),
            family: Opaque::zeroed(),
            ops_v4: Opaque::zeroed(),
            ops_v6: Opaque::zeroed(),
            _protocol: core::marker::PhantomData,
        }
    }

    /// Bytes of an IPv4 and of an IPv6 socket.
    pub(crate) const SOCKET_SIZES: [usize; 2] = [
        Sock::<P>::SIZE,
        Self::V6_OFFSET + core::mem::size_of::<bindings::ipv6_pinfo>(),
    ];

    /// Where `struct ipv6_pinfo` lies in IPv6 sockets.
    pub(super) const V6_OFFSET: usize = Sock::<P>::SIZE.next_multiple_of(8);

    const OPS: bindings::proto_ops = bindings::proto_ops {
        family: bindings::PF_INET as c_int,
        owner: core::ptr::null_mut(),
        release: Some(bindings::inet_release),
        bind: Some(bindings::inet_bind),
        connect: Some(bindings::inet_stream_connect),
        socketpair: Some(bindings::sock_no_socketpair),
        accept: Some(Self::ops_accept),
        getname: Some(bindings::inet_getname),
        poll: Some(Self::ops_poll),
        ioctl: Some(bindings::inet_ioctl),
        gettstamp: Some(bindings::sock_gettstamp),
        listen: Some(Self::ops_listen),
        shutdown: Some(bindings::inet_shutdown),
        setsockopt: Some(Self::ops_setsockopt),
        getsockopt: Some(bindings::sock_common_getsockopt),
        sendmsg: Some(bindings::inet_sendmsg),
        recvmsg: Some(bindings::inet_recvmsg),
        mmap: Some(bindings::sock_no_mmap),
        splice_eof: Some(Self::ops_splice_eof),
        // SAFETY: All other fields are pointers to functions, for which zero is "none".
        ..unsafe { core::mem::zeroed() }
    };

    const OPS_V6: bindings::proto_ops = bindings::proto_ops {
        family: bindings::PF_INET6 as c_int,
        release: Some(bindings::inet6_release),
        bind: Some(bindings::inet6_bind),
        getname: Some(bindings::inet6_getname),
        ioctl: Some(bindings::inet6_ioctl),
        ..Self::OPS
    };

    // Callbacks of `struct proto`. The kernel calls them with a socket of this `struct proto`, which
    // is a `Sock<P>`, and a reference on it; which of them have the socket lock is said in each.

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn close(sk: *mut bindings::sock, timeout: c_long) {
        // SAFETY: See above; not locked. A reference beside the program's, which is left to `destroy`.
        let sock = unsafe { ARef::<Sock<P>>::from(Sock::from_raw(sk)) };
        // The backlog is worked off as the lock is let go.
        sock.lock(|sk| {
            P::close(sk, timeout);
            // SAFETY: `inet_release` forgets the socket after this call, and gives no reference up.
            unsafe { sk.orphan() };
            P::orphaned(sk);
        });
        // No process comes to own it any more.
        let _ = sock.lock_bh(P::closed);
    }

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn connect(
        sk: *mut bindings::sock,
        address: *mut bindings::sockaddr_unsized,
        len: c_int,
    ) -> c_int {
        kernel::error::from_result(|| {
            // SAFETY: See above.
            let sock = unsafe { Sock::<P>::from_raw(sk) };
            // SAFETY: The address has `len` bytes.
            let to = unsafe { parse_address(address, len, sock.is_v6()) }?;
            // SAFETY: `inet_stream_connect` owns the socket.
            unsafe { Owned::assume(sock, |sk| P::connect(sk, to)) }?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn disconnect(sk: *mut bindings::sock, _flags: c_int) -> c_int {
        kernel::error::from_result(|| {
            // SAFETY: See above; the callers (connect() and shutdown() of the INET layer) own the socket.
            unsafe { Owned::assume(Sock::from_raw(sk), P::disconnect) }?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn accept(
        sk: *mut bindings::sock,
        arg: *mut bindings::proto_accept_arg,
    ) -> *mut bindings::sock {
        const O_NONBLOCK: c_int = 0o4000;
        // SAFETY: See above; not locked. `arg` is the caller's.
        let (sock, nonblock) = unsafe { (Sock::<P>::from_raw(sk), (*arg).flags & O_NONBLOCK != 0) };
        match sock.lock(|sk| P::accept(sk, nonblock)) {
            Ok(child) => child.into_raw().cast().as_ptr(),
            Err(error) => {
                // SAFETY: As above.
                unsafe { (*arg).err = error.to_errno() };
                core::ptr::null_mut()
            }
        }
    }

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn ioctl(sk: *mut bindings::sock, command: c_int, arg: *mut c_int) -> c_int {
        kernel::error::from_result(|| {
            // SAFETY: See above; not locked.
            let sock = unsafe { Sock::<P>::from_raw(sk) };
            let answer = sock.lock(|sk| P::ioctl(sk, command as u32))?;
            // SAFETY: `sk_ioctl` passes an int of its own.
            unsafe { *arg = answer };
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn shutdown(sk: *mut bindings::sock, how: c_int) {
        // SAFETY: See above; `inet_shutdown` owns the socket.
        unsafe { Owned::assume(Sock::from_raw(sk), |sk| P::shutdown(sk, how as u8)) };
    }

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn keepalive(_sk: *mut bindings::sock, _on: c_int) {
        // `sk_setsockopt` calls before it sets the flag; `ops_setsockopt` tells the protocol after.
    }

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn setsockopt(
        sk: *mut bindings::sock,
        level: c_int,
        name: c_int,
        raw: bindings::sockptr_t,
        len: u32,
    ) -> c_int {
        // SAFETY: See above; not locked.
        let sock = unsafe { Sock::<P>::from_raw(sk) };
        // SAFETY: The INET functions take the socket and the value as they came.
        unsafe {
            match level as u32 {
                bindings::SOL_TCP => kernel::error::from_result(|| {
                    let value = OptionValue {
                        raw,
                        len,
                        _call: core::marker::PhantomData,
                    };
                    sock.lock(|sk| P::set_option(sk, name as u32, value))?;
                    Ok(0)
                }),
                level_of_ip if !P::allows_ip_option(level_of_ip, name as u32) => {
                    enoprotoopt().to_errno()
                }
                bindings::SOL_IP => bindings::ip_setsockopt(sk, level, name, raw, len),
                bindings::SOL_IPV6 if sock.is_v6() => {
                    bindings::ipv6_setsockopt(sk, level, name, raw, len)
                }
                _ => enoprotoopt().to_errno(),
            }
        }
    }

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn getsockopt(
        sk: *mut bindings::sock,
        level: c_int,
        name: c_int,
        value: *mut c_char,
        len: *mut c_int,
    ) -> c_int {
        // SAFETY: See above; not locked.
        let sock = unsafe { Sock::<P>::from_raw(sk) };
        // SAFETY: The INET functions take the socket and the user pointers as they came.
        unsafe {
            match level as u32 {
                bindings::SOL_TCP => kernel::error::from_result(|| {
                    let answer = OptionAnswer {
                        value,
                        len,
                        _call: core::marker::PhantomData,
                    };
                    sock.lock(|sk| P::get_option(sk, name as u32, answer))?;
                    Ok(0)
                }),
                bindings::SOL_IP => bindings::ip_getsockopt(sk, level, name, value, len),
                bindings::SOL_IPV6 if sock.is_v6() => {
                    bindings::ipv6_getsockopt(sk, level, name, value, len)
                }
                _ => enoprotoopt().to_errno(),
            }
        }
    }

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn sendmsg(
        sk: *mut bindings::sock,
        msg: *mut bindings::msghdr,
        _len: usize,
    ) -> c_int {
        kernel::error::from_result(|| {
            // SAFETY: See above; not locked. The msghdr is the call's own.
            let (sock, mut from) = unsafe { (Sock::<P>::from_raw(sk), Message::from_raw(msg)) };
            let sent = sock.lock(|sk| P::send(sk, &mut from))?;
            Ok(c_int::try_from(sent).unwrap_or(c_int::MAX))
        })
    }

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn recvmsg(
        sk: *mut bindings::sock,
        msg: *mut bindings::msghdr,
        len: usize,
        flags: c_int,
    ) -> c_int {
        kernel::error::from_result(|| {
            // SAFETY: See above; not locked. The msghdr is the call's own.
            let (sock, mut to) = unsafe { (Sock::<P>::from_raw(sk), Message::from_raw(msg)) };
            let received = sock.lock(|sk| P::receive(sk, &mut to, len, flags as u32))?;
            Ok(c_int::try_from(received).unwrap_or(c_int::MAX))
        })
    }

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    pub(super) unsafe extern "C" fn backlog_rcv(
        sk: *mut bindings::sock,
        skb: *mut bindings::sk_buff,
    ) -> c_int {
        if let Some(skb) = NonNull::new(skb) {
            // SAFETY: The packet was taken off the backlog and is ours; `Sock::receive` put it there, detached.
            let skb = unsafe { SkBuff::<Detached>::from_raw(skb) };
            // SAFETY: See above; the process that owned the socket lets go of it (or waits: its `Owned` is
            // borrowed by that), so nobody else uses a `Locked` of it.
            unsafe { Locked::<P>::assume(Sock::from_raw(sk), |sk| P::segment(sk, skb)) };
        }
        0
    }

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn release_cb(sk: *mut bindings::sock) {
        // SAFETY: See above; the spin lock is held and the process that owned the socket lets go (or waits,
        // see `backlog_rcv`).
        unsafe {
            let sock = Sock::<P>::from_raw(sk);
            if sock.take_deferred() {
                Locked::assume(sock, P::timer);
            }
        }
    }

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn get_port(sk: *mut bindings::sock, port: u16) -> c_int {
        kernel::error::from_result(|| {
            // SAFETY: See above; `__inet_bind` owns the socket.
            unsafe { Owned::assume(Sock::from_raw(sk), |sk| P::bind(sk, port)) }?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn put_port(sk: *mut bindings::sock) {
        // SAFETY: See above; `__inet_bind` owns the socket.
        unsafe { Owned::assume(Sock::from_raw(sk), P::unbind) };
    }

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn hash(_sk: *mut bindings::sock) -> c_int {
        0
    }

    /// The socket layer wants one; ours leave their table by themselves.
    ///
    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn unhash(_sk: *mut bindings::sock) {}

    /// `sk_timer` has run out. Softirq context.
    ///
    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    pub(super) unsafe extern "C" fn timer(timer: *mut bindings::timer_list) {
        // SAFETY: The timer is the `sk_timer` of a `Sock<P>`, and a pending timer holds a reference
        // (`sk_reset_timer`), which is ours now.
        let sock: ARef<Sock<P>> = unsafe {
            let sk = bindings::oxtcp_helper_sk_from_timer(timer);
            match NonNull::new(sk) {
                Some(sk) => ARef::from_raw(sk.cast()),
                None => return,
            }
        };
        sock.timer_expired();
    }

    /// The last reference has gone, a grace period ago.
    ///
    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    pub(super) unsafe extern "C" fn destruct(sk: *mut bindings::sock) {
        // SAFETY: `__sk_destruct` calls once, when nobody can reach the socket.
        unsafe {
            let v6 = is_v6(sk);
            bindings::oxtcp_helper_sk_sockets_allocated(sk, false);
            Sock::<P>::drop_parts(sk);
            if v6 {
                bindings::inet6_sock_destruct(sk);
            } else {
                bindings::inet_sock_destruct(sk);
            }
        }
    }

    /// # Safety
    ///
    /// `net` is set up, and stays so for the call.
    unsafe extern "C" fn end(net: *mut bindings::net) {
        // SAFETY: Promised by the caller.
        P::end(unsafe { Net::from_raw(net) });
    }

    // Callbacks of `struct proto_ops`. The socket layer calls them with a socket of this family, whose
    // `sk` is a `Sock<P>`, and holds a reference.

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn create(
        net: *mut bindings::net,
        socket: *mut bindings::socket,
        protocol: c_int,
        kern: c_int,
    ) -> c_int {
        kernel::error::from_result(|| {
            // SAFETY: A new socket, see above.
            unsafe {
                if u32::from((*socket).type_ as u16) != P::SK_TYPE {
                    return Err(esocktnosupport());
                }
                let v6 = P::family_of(protocol)?;
                let statics = P::statics();
                (*socket).ops = if v6 {
                    statics.ops_v6.get()
                } else {
                    statics.ops_v4.get()
                };
                let sock = Sock::<P>::alloc(
                    statics,
                    net,
                    socket,
                    v6,
                    kern != 0,
                    kernel::bindings::GFP_KERNEL,
                )?;
                bindings::oxtcp_helper_socket_custom_sockopt(socket);
                sock.lock(P::init);
                // The reference is the socket's from here on.
                let _ = ARef::into_raw(sock);
            }
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn ops_accept(
        socket: *mut bindings::socket,
        newsock: *mut bindings::socket,
        arg: *mut bindings::proto_accept_arg,
    ) -> c_int {
        // SAFETY: See above.
        unsafe {
            bindings::oxtcp_helper_socket_custom_sockopt(newsock);
            bindings::inet_accept(socket, newsock, arg)
        }
    }

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn ops_listen(socket: *mut bindings::socket, backlog: c_int) -> c_int {
        const SS_UNCONNECTED: u32 = 1;
        kernel::error::from_result(|| {
            // SAFETY: See above.
            let (sock, connecting) = unsafe {
                (
                    Sock::<P>::from_raw((*socket).sk),
                    (*socket).state != SS_UNCONNECTED,
                )
            };
            sock.lock(|sk| P::listen(sk, connecting, backlog))?;
            Ok(0)
        })
    }

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn ops_poll(
        file: *mut bindings::file,
        socket: *mut bindings::socket,
        table: *mut bindings::poll_table_struct,
    ) -> bindings::__poll_t {
        // SAFETY: See above; file and table are the poller's.
        let sock = unsafe {
            bindings::oxtcp_helper_sock_poll_wait(file, socket, table);
            Sock::<P>::from_raw((*socket).sk)
        };
        // SAFETY: The `struct socket` lives as long as the poll.
        P::poll(sock, &mut || unsafe {
            bindings::oxtcp_helper_sk_nospace(sock.as_ptr())
        })
    }

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn ops_setsockopt(
        socket: *mut bindings::socket,
        level: c_int,
        name: c_int,
        raw: bindings::sockptr_t,
        len: u32,
    ) -> c_int {
        // SAFETY: See above; the values go on as they came.
        unsafe {
            if level as u32 != bindings::SOL_SOCKET {
                return bindings::sock_common_setsockopt(socket, level, name, raw, len);
            }
            if !P::allows_socket_option(name as u32) {
                return enoprotoopt().to_errno();
            }
            let err = bindings::sock_setsockopt(socket, level, name, raw, len);
            if err == 0 {
                let sock = Sock::<P>::from_raw((*socket).sk);
                sock.lock(|sk| P::socket_option_set(sk, name as u32));
            }
            err
        }
    }

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn ops_splice_eof(socket: *mut bindings::socket) {
        // SAFETY: See above.
        let sock = unsafe { Sock::<P>::from_raw((*socket).sk) };
        sock.lock(P::send_more_ends);
    }
}

/// Reads the address of a connect().
///
/// # Safety
///
/// `address` is valid for `len` bytes.
unsafe fn parse_address(
    address: *const bindings::sockaddr_unsized,
    len: c_int,
    v6: bool,
) -> Result<PeerAddress> {
    /// Length of a sockaddr_in6 without the scope (RFC 2133).
    const SIN6_LEN_RFC2133: usize = 24;
    let len = usize::try_from(len).map_err(|_| EINVAL)?;
    if v6 {
        let from: *const bindings::sockaddr_in6 = address.cast();
        if len < SIN6_LEN_RFC2133 {
            return Err(EINVAL);
        }
        // SAFETY: The fields read lie within `len` bytes.
        unsafe {
            if u32::from((*from).sin6_family) != bindings::PF_INET6 {
                return Err(eafnosupport());
            }
            let scope = if len >= core::mem::size_of::<bindings::sockaddr_in6>() {
                (*from).sin6_scope_id as i32
            } else {
                0
            };
            return Ok(PeerAddress {
                end: Endpoint {
                    ip: (*from).sin6_addr.in6_u.u6_addr8,
                    port: u16::from_be((*from).sin6_port),
                },
                scope,
            });
        }
    }
    let from: *const bindings::sockaddr_in = address.cast();
    if len < core::mem::size_of::<bindings::sockaddr_in>() {
        return Err(EINVAL);
    }
    // SAFETY: The fields read lie within `len` bytes.
    unsafe {
        if u32::from((*from).sin_family) != bindings::PF_INET {
            return Err(eafnosupport());
        }
        Ok(PeerAddress {
            end: Endpoint {
                ip: Endpoint::mapped((*from).sin_addr.s_addr.to_ne_bytes()),
                port: u16::from_be((*from).sin_port),
            },
            scope: 0,
        })
    }
}

/// Whoever has it is the only registration, of whatever protocol: `helpers.c` accounts for the memory of one, and the
/// lists of small queues are one protocol's.
///
/// # Invariants
///
/// `TAKEN` is true, by the one value of this type.
struct Only(());

static TAKEN: Atomic<bool> = Atomic::new(false);

impl Only {
    /// Errors: EBUSY.
    fn take() -> Result<Self> {
        if TAKEN.xchg(true, Acquire) {
            return Err(EBUSY);
        }
        // INVARIANT: It was false, so there is no other.
        Ok(Self(()))
    }
}

impl Drop for Only {
    fn drop(&mut self) {
        TAKEN.store(false, Release);
    }
}

/// The protocol and its family are known to the kernel while this lives.
///
/// # Invariants
///
/// The statics of `P` are registered, in all their parts. There are sockets of `P` only while one of these lives.
pub(crate) struct Registration<P: Protocol> {
    number: c_int,
    /// Dropped when no socket is left.
    _small_queues: SmallQueues,
    /// Dropped after it: sockets, and what works for them, look at the namespaces' values.
    _namespaces: PerNetRegistration<P::PerNet>,
    /// Dropped last.
    _only: Only,
}

impl<P: Protocol> Registration<P> {
    /// Gives each namespace its [`Protocol::PerNet`], then registers the protocol as socket family `number`.
    ///
    /// # Errors
    ///
    /// EEXIST when the number is taken, ENOBUFS when it is out of range, EBUSY when something is registered, ENOMEM, and
    /// those of the namespaces.
    ///
    /// # Context
    ///
    /// Process; sleeps.
    pub(crate) fn new(module: &'static ThisModule, number: i32) -> Result<Self> {
        const {
            assert!(P::SK_TYPE == bindings::sock_type_SOCK_STREAM);
            // The kernel's protocols for the wire have a byte; of those without a number there, MPTCP is for streams.
            assert!(P::SK_PROTOCOL > u8::MAX as u16);
            assert!(P::SK_PROTOCOL as u32 != bindings::IPPROTO_MPTCP);
        }
        let statics = P::statics();
        let only = Only::take()?;
        let namespaces = PerNetRegistration::new()?;
        // SAFETY: By `only` nobody else has done it.
        to_result(unsafe { bindings::oxtcp_helper_proto_memory_init() })?;
        for (proto, v6) in [(statics.v4.get(), false), (statics.v6.get(), true)] {
            // SAFETY: Not registered, as `only` says: ours to write.
            unsafe { Self::fill(&mut *proto, v6) };
        }
        for (ops, mut with) in [
            (statics.ops_v4.get(), Statics::<P>::OPS),
            (statics.ops_v6.get(), Statics::<P>::OPS_V6),
        ] {
            with.owner = module.as_ptr().cast();
            // SAFETY: As above.
            unsafe { ops.write(with) };
        }
        // SAFETY: By `only` there is no other, and there is no socket yet.
        let small_queues = unsafe { SmallQueues::new::<P>() };
        let undo = kernel::types::ScopeGuard::new(|| {
            // SAFETY: Initialised above.
            unsafe { bindings::oxtcp_helper_proto_memory_exit() };
        });
        // SAFETY: Filled above, and static.
        to_result(unsafe { bindings::proto_register(statics.v4.get(), 1) })?;
        let undo_v4 = kernel::types::ScopeGuard::new(|| {
            // SAFETY: Registered above; no socket was made, there is no family yet.
            unsafe { bindings::proto_unregister(statics.v4.get()) };
        });
        // SAFETY: As above.
        to_result(unsafe { bindings::proto_register(statics.v6.get(), 1) })?;
        let undo_v6 = kernel::types::ScopeGuard::new(|| {
            // SAFETY: As above.
            unsafe { bindings::proto_unregister(statics.v6.get()) };
        });
        // SAFETY: Static, and ours to write until it is registered.
        to_result(unsafe {
            *statics.family.get() = bindings::net_proto_family {
                family: number,
                create: Some(Statics::<P>::create),
                owner: module.as_ptr().cast(),
            };
            bindings::sock_register(statics.family.get())
        })?;
        undo_v6.dismiss();
        undo_v4.dismiss();
        undo.dismiss();
        // INVARIANT: All of it was registered above.
        Ok(Self {
            number,
            _small_queues: small_queues,
            _namespaces: namespaces,
            _only: only,
        })
    }

    fn fill(proto: &mut bindings::proto, v6: bool) {
        let suffix: &[u8] = if v6 { b"6" } else { b"" };
        // The zero at the end stands in the static.
        let name = Iterator::chain(P::NAME.to_bytes().iter(), suffix);
        let room = proto.name.len().saturating_sub(1);
        for (to, from) in proto.name.iter_mut().take(room).zip(name) {
            *to = *from as c_char;
        }
        let [v4_size, v6_size] = Statics::<P>::SOCKET_SIZES;
        proto.obj_size = if v6 { v6_size } else { v4_size } as u32;
        if v6 {
            proto.ipv6_pinfo_offset = Statics::<P>::V6_OFFSET as u32;
        }
        // No owner: else every socket would hold the module as long as it lives, orphans too. Who has a `struct socket` holds
        // it by `proto_ops`; the drop of the registration sees to the others.
        proto.close = Some(Statics::<P>::close);
        proto.connect = Some(Statics::<P>::connect);
        proto.disconnect = Some(Statics::<P>::disconnect);
        proto.accept = Some(Statics::<P>::accept);
        proto.ioctl = Some(Statics::<P>::ioctl);
        proto.shutdown = Some(Statics::<P>::shutdown);
        proto.keepalive = Some(Statics::<P>::keepalive);
        proto.setsockopt = Some(Statics::<P>::setsockopt);
        proto.getsockopt = Some(Statics::<P>::getsockopt);
        proto.sendmsg = Some(Statics::<P>::sendmsg);
        proto.recvmsg = Some(Statics::<P>::recvmsg);
        proto.backlog_rcv = Some(Statics::<P>::backlog_rcv);
        proto.release_cb = Some(Statics::<P>::release_cb);
        proto.hash = Some(Statics::<P>::hash);
        proto.unhash = Some(Statics::<P>::unhash);
        proto.get_port = Some(Statics::<P>::get_port);
        proto.put_port = Some(Statics::<P>::put_port);
        proto.no_autobind = true;
        // SAFETY: Sets pointers to statics of `helpers.c`.
        unsafe { bindings::oxtcp_helper_proto_memory(proto) };
    }
}

impl<P: Protocol> Drop for Registration<P> {
    fn drop(&mut self) {
        let statics = P::statics();
        // SAFETY: Registered by the invariant. It waits for a grace period: the softirqs that may have had a listener, all
        // of which are closed, have left. From here on no socket is made.
        unsafe { bindings::sock_unregister(self.number) };
        loop {
            // SAFETY: Called with namespaces that are set up, and stay so for the call.
            unsafe { bindings::oxtcp_helper_for_each_net(Some(Statics::<P>::end)) };
            // SAFETY: Process context. Sockets are freed by RCU's callbacks.
            unsafe { bindings::rcu_barrier() };
            // SAFETY: The counter is there until `oxtcp_helper_proto_memory_exit`.
            if unsafe { bindings::oxtcp_helper_sockets_left() } == 0 {
                break;
            }
            // A timer that runs, or a packet in a device's queue, has one still: a moment.
            // SAFETY: Process context.
            unsafe { bindings::msleep(10) };
        }
        // SAFETY: Registered by the invariant; no socket is left. The last one's callback has returned (the barrier).
        unsafe {
            bindings::rcu_barrier();
            bindings::proto_unregister(statics.v6.get());
            bindings::proto_unregister(statics.v4.get());
            bindings::oxtcp_helper_proto_memory_exit();
        }
    }
}
