// SPDX-License-Identifier: GPL-2.0

//! `struct proto`: what the INET layer's functions and the kernel's timers call.

use core::ptr::NonNull;

use kernel::ffi::{c_char, c_int, c_long};
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::rcu;

use super::{PeerAddress, Protocol, Registration, Statics};
use crate::sys::bindings;
use crate::sys::errno::{eafnosupport, enoprotoopt};
use crate::sys::skb::{Detached, SkBuff};
use crate::sys::sock::{is_v6, Locked, Owned, Sock};
use crate::sys::table::Endpoint;
use crate::sys::user::{FromProgram, Message, OptionAnswer, OptionValue, ToProgram};

impl<P: Protocol> Registration<P> {
    pub(super) fn fill(proto: &mut bindings::proto, v6: bool) {
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
        // it by `proto_ops`; the drop of the registration sees to the others. (`doors.rs` has one, for a while.)
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
        proto.stream_memory_free = Some(Statics::<P>::stream_memory_free);
        // SAFETY: Sets pointers to statics of `helpers.c`.
        unsafe { bindings::oxtcp_helper_proto_memory(proto) };
    }
}

impl<P: Protocol> Statics<P> {
    // Callbacks of `struct proto`. The kernel calls them with a socket of this `struct proto`, which
    // is a `Sock<P>`, and a reference on it, but for `stream_memory_free` and `destruct`; which of them have the socket
    // lock is said in each.

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn close(sk: *mut bindings::sock, timeout: c_long) {
        // SAFETY: See above; not locked. A reference beside the program's, which is left to `destroy`. `inet_release` calls once,
        // for a `struct socket` that holds the module by its `proto_ops`.
        let sock = unsafe {
            Self::leave_door(sk);
            ARef::<Sock<P>>::from(Sock::from_raw(sk))
        };
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
        // C takes the child for a socket like the listener.
        let child = sock
            .lock(|sk| P::accept(sk, nonblock))
            .and_then(|child| child.is_like(sock).then_some(child).ok_or(EINVAL));
        match child {
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
            let (sock, mut from): (_, Message<'_, FromProgram>) =
                unsafe { (Sock::<P>::from_raw(sk), Message::from_raw(msg)) };
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
            let (sock, mut to): (_, Message<'_, ToProgram>) =
                unsafe { (Sock::<P>::from_raw(sk), Message::from_raw(msg)) };
            let received = sock.lock(|sk| P::receive(sk, &mut to, len, flags as u32))?;
            Ok(c_int::try_from(received).unwrap_or(c_int::MAX))
        })
    }

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    pub(in crate::sys) unsafe extern "C" fn backlog_rcv(
        sk: *mut bindings::sock,
        skb: *mut bindings::sk_buff,
    ) -> c_int {
        if let Some(skb) = NonNull::new(skb) {
            // SAFETY: The packet was taken off the backlog and is ours; `Sock::receive` put it there, detached.
            let skb = unsafe { SkBuff::<Detached>::from_raw(skb) };
            let rcu = rcu::read_lock();
            // SAFETY: See above; the process that owned the socket lets go of it (or waits: its `Owned` is
            // borrowed by that), so nobody else uses a `Locked` of it.
            unsafe { Locked::<P>::assume(Sock::from_raw(sk), |sk| P::segment(sk, skb, &rcu)) };
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
                Locked::assume(sock, |sk| sk.run_timer());
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
    unsafe extern "C" fn stream_memory_free(sk: *const bindings::sock, wake: c_int) -> bool {
        // SAFETY: A socket of `P`, locked or not, whose memory stays for the call: where `sock_wfree()` asks (by
        // `write_space` of `small_queue.rs`) by the charge of a packet, perhaps without a reference.
        let shared = unsafe { Sock::<P>::shared_of(sk) };
        P::has_send_room(shared, wake != 0)
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
    pub(in crate::sys) unsafe extern "C" fn timer(timer: *mut bindings::timer_list) {
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
    pub(in crate::sys) unsafe extern "C" fn destruct(sk: *mut bindings::sock) {
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
