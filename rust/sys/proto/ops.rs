// SPDX-License-Identifier: GPL-2.0

//! `struct proto_ops`: what the socket layer calls, and what makes sockets.

use kernel::ffi::c_int;
use kernel::sync::aref::ARef;

use super::{Protocol, Statics};
use crate::sys::bindings;
use crate::sys::errno::{enoprotoopt, esocktnosupport};
use crate::sys::sock::Sock;
use crate::sys::user::OptionValue;

impl<P: Protocol> Statics<P> {
    pub(super) const OPS: bindings::proto_ops = bindings::proto_ops {
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
        splice_read: Some(Self::ops_splice_read),
        splice_eof: Some(Self::ops_splice_eof),
        // SAFETY: All other fields are pointers to functions, for which zero is "none".
        ..unsafe { core::mem::zeroed() }
    };

    pub(super) const OPS_V6: bindings::proto_ops = bindings::proto_ops {
        family: bindings::PF_INET6 as c_int,
        release: Some(bindings::inet6_release),
        bind: Some(bindings::inet6_bind),
        getname: Some(bindings::inet6_getname),
        ioctl: Some(bindings::inet6_ioctl),
        ..Self::OPS
    };

    // Callbacks of `struct proto_ops`. The socket layer calls them with a socket of this family, whose
    // `sk` is a `Sock<P>`, and holds a reference.

    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    pub(super) unsafe extern "C" fn create(
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
        P::poll(sock, || unsafe {
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
            let set = || bindings::sock_setsockopt(socket, level, name, raw, len);
            let sock = Sock::<P>::from_raw((*socket).sk);
            if matches!(
                name as u32,
                bindings::SO_TIMESTAMPING_OLD | bindings::SO_TIMESTAMPING_NEW
            ) {
                let value = OptionValue {
                    raw,
                    len,
                    _call: core::marker::PhantomData,
                };
                return match sock.set_timestamping(&value, set) {
                    Ok(()) => 0,
                    Err(error) => error.to_errno(),
                };
            }
            let err = set();
            if err == 0 {
                sock.lock(|sk| P::socket_option_set(sk, name as u32));
            }
            err
        }
    }

    /// What is read is copied, as by the socket layer where this is not there.
    ///
    /// # Safety
    ///
    /// For the kernel to call, as said at the head of these callbacks.
    unsafe extern "C" fn ops_splice_read(
        socket: *mut bindings::socket,
        offset: *mut bindings::loff_t,
        pipe: *mut bindings::pipe_inode_info,
        len: usize,
        flags: u32,
    ) -> isize {
        // SAFETY: See above; the offset is the caller's, and the file, which has called, is the socket's.
        unsafe {
            if *offset != 0 {
                return kernel::error::code::ESPIPE.to_errno() as isize;
            }
            let sock = Sock::<P>::from_raw((*socket).sk);
            let nonblock = bindings::oxtcp_helper_socket_nonblock(socket);
            match sock.lock(|sk| P::splice_stops(sk, nonblock)) {
                Ok(false) => bindings::copy_splice_read((*socket).file, offset, pipe, len, flags),
                Ok(true) => 0,
                Err(error) => error.to_errno() as isize,
            }
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
