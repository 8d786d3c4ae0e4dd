// SPDX-License-Identifier: GPL-2.0

//! Sockets of the built-in TCP that the kernel holds: for us, reservations of ports.
//!
//! C headers: `include/linux/net.h`, `include/net/sock.h`.

use core::mem::{size_of, MaybeUninit};
use core::ptr::NonNull;

use kernel::prelude::*;

use super::bindings;
use super::net::{Guest, Home, Net};
use super::netfilter::Family;

/// The address, family and device that a socket is bound to; everything but the port.
///
/// The order is any that is total.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct BindAddr {
    /// The address; an IPv4 address as `::ffff:a.b.c.d`, whatever the family. All zeroes (for
    /// [`Family::V4`] also `::ffff:0.0.0.0`) is the wildcard.
    pub(crate) ip: [u8; 16],
    /// The family of the socket (not of the address: a socket of [`Family::V6`] can be bound to an
    /// IPv4 address).
    pub(crate) family: Family,
    /// `IPV6_V6ONLY`.
    pub(crate) v6only: bool,
    /// `SO_BINDTODEVICE`, or the scope of a link-local address; 0 is any.
    pub(crate) ifindex: i32,
}

/// The first 12 bytes of an IPv4 address in IPv6's form (RFC 4291 section 2.5.5.2).
const MAPPED: [u8; 12] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff];

impl BindAddr {
    /// The IPv4 address, if that is what `ip` holds.
    pub(crate) fn ipv4(&self) -> Option<[u8; 4]> {
        match self.ip.split_first_chunk::<12>() {
            Some((&MAPPED, [a, b, c, d])) => Some([*a, *b, *c, *d]),
            _ => None,
        }
    }

    /// The same place under the name that all who mean it share: a dual-stack socket on an IPv4 address
    /// is where an IPv4 socket would be, and V6ONLY means nothing there.
    pub(crate) fn normalized(self) -> Self {
        match (self.family, self.ipv4()) {
            (Family::V4, Some(_)) => Self {
                v6only: false,
                ..self
            },
            (Family::V4, None) if self.ip == [0; 16] => Self {
                ip: [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, 0, 0, 0],
                v6only: false,
                ..self
            },
            (Family::V4, None) => self,
            (Family::V6, Some(_)) if !self.v6only => Self {
                family: Family::V4,
                ..self
            },
            (Family::V6, _) => self,
        }
    }
}

/// A TCP socket of the kernel's own: it holds no reference on its namespace, whose end waits for its drop.
///
/// All methods, and the drop, are for process context: they sleep.
///
/// # Invariants
///
/// A valid socket of type SOCK_STREAM and protocol IPPROTO_TCP that we alone have.
pub(crate) struct KernelSocket {
    socket: NonNull<bindings::socket>,
    /// Dropped after the socket.
    _guest: Guest,
}

// SAFETY: A socket can be used by any thread; it locks for itself.
unsafe impl Send for KernelSocket {}
// SAFETY: As above.
unsafe impl Sync for KernelSocket {}

impl KernelSocket {
    /// A new socket in `net`, whose home is `home`, with `addr`'s family, device and V6ONLY, and with SO_REUSEADDR as
    /// `reuse` says. Not bound.
    ///
    /// Errors: ENOMEM, EAFNOSUPPORT (no IPv6), EINVAL (a negative device; another one's home).
    pub(crate) fn new(net: &Net, home: &Home, addr: &BindAddr, reuse: bool) -> Result<Self> {
        kernel::task::might_sleep();
        let guest = home.guest(net)?;
        let family = match addr.family {
            Family::V4 => bindings::AF_INET,
            Family::V6 => bindings::AF_INET6,
        };
        let mut socket: *mut bindings::socket = core::ptr::null_mut();
        // SAFETY: `net` is valid, and `socket` is our own variable.
        kernel::error::to_result(unsafe {
            bindings::sock_create_kern(
                net.as_ptr(),
                family as c_int,
                bindings::sock_type_SOCK_STREAM as c_int,
                bindings::IPPROTO_TCP as c_int,
                &mut socket,
            )
        })?;
        // INVARIANT: Just made, for us, of that type.
        let socket = Self {
            socket: NonNull::new(socket).ok_or(EINVAL)?,
            _guest: guest,
        };
        let sk = socket.sk();
        // Whether an address may be bound to was asked of the socket that this is for (IP_FREEBIND): not here again.
        // SAFETY: `sk` is the sock of a valid socket.
        unsafe { bindings::oxtcp_helper_ksock_set_freebind(sk) };
        if addr.family == Family::V6 && addr.v6only {
            // SAFETY: `sk` is the sock of a valid IPv6 socket.
            kernel::error::to_result(unsafe { bindings::oxtcp_helper_ksock_set_v6only(sk) })?;
        }
        if addr.ifindex != 0 {
            // SAFETY: `sk` is the sock of a valid socket, and not locked by us.
            kernel::error::to_result(unsafe {
                bindings::sock_bindtoindex(sk, addr.ifindex, true)
            })?;
        }
        if reuse {
            socket.set_reuse(true);
        }
        Ok(socket)
    }

    /// Binds the socket to `addr`'s address and to `port`, or to one that the kernel chooses when that is
    /// 0; says which. With the rights of the calling process.
    ///
    /// Errors are those of bind(2): EADDRINUSE, EADDRNOTAVAIL, EACCES, EINVAL.
    pub(crate) fn bind(&self, addr: &BindAddr, port: u16) -> Result<u16> {
        kernel::task::might_sleep();
        let result = match addr.family {
            Family::V4 => {
                // SAFETY: Zeroes are a valid value of this C struct.
                let mut name: bindings::sockaddr_in =
                    unsafe { MaybeUninit::zeroed().assume_init() };
                name.sin_family = bindings::AF_INET as u16;
                name.sin_port = port.to_be();
                name.sin_addr.s_addr = u32::from_ne_bytes(addr.ipv4().ok_or(EINVAL)?);
                // SAFETY: The socket is valid, and so is the name, for its size.
                unsafe {
                    bindings::kernel_bind(
                        self.socket.as_ptr(),
                        (&raw mut name).cast(),
                        size_of::<bindings::sockaddr_in>() as c_int,
                    )
                }
            }
            Family::V6 => {
                // SAFETY: Zeroes are a valid value of this C struct.
                let mut name: bindings::sockaddr_in6 =
                    unsafe { MaybeUninit::zeroed().assume_init() };
                name.sin6_family = bindings::AF_INET6 as u16;
                name.sin6_port = port.to_be();
                name.sin6_addr.in6_u.u6_addr8 = addr.ip;
                name.sin6_scope_id = addr.ifindex as u32;
                // SAFETY: The socket is valid, and so is the name, for its size.
                unsafe {
                    bindings::kernel_bind(
                        self.socket.as_ptr(),
                        (&raw mut name).cast(),
                        size_of::<bindings::sockaddr_in6>() as c_int,
                    )
                }
            }
        };
        kernel::error::to_result(result)?;
        // SAFETY: `sk` is the sock of a valid socket.
        Ok(unsafe { bindings::oxtcp_helper_ksock_port(self.sk()) } as u16)
    }

    /// Does with a bound socket's port what listen(2) does, without listening: fails with EADDRINUSE when
    /// another socket listens on an overlapping address, and keeps all others from binding to one
    /// until [`KernelSocket::set_reuse`].
    pub(crate) fn claim_listen(&self) -> Result {
        kernel::task::might_sleep();
        // SAFETY: `sk` is the sock of a valid TCP socket, and not locked by us.
        kernel::error::to_result(unsafe { bindings::oxtcp_helper_ksock_claim_listen(self.sk()) })
    }

    /// Takes SO_REUSEADDR away from a bound socket, and says whether it is the only one on its port at overlapping
    /// addresses. If it is, nobody else can bind there until [`KernelSocket::set_reuse`].
    pub(crate) fn claim_alone(&self) -> bool {
        kernel::task::might_sleep();
        // SAFETY: `sk` is the sock of a valid TCP socket, and not locked by us.
        unsafe { bindings::oxtcp_helper_ksock_claim_alone(self.sk()) == 0 }
    }

    /// Sets SO_REUSEADDR. With `false` nobody can bind to an overlapping address any more.
    pub(crate) fn set_reuse(&self, reuse: bool) {
        kernel::task::might_sleep();
        // SAFETY: `sk` is the sock of a valid socket, and not locked by us.
        unsafe { bindings::oxtcp_helper_ksock_set_reuse(self.sk(), reuse) };
    }

    fn sk(&self) -> *mut bindings::sock {
        // SAFETY: The socket is valid by the type's invariants; its sock is there until the release.
        unsafe { (*self.socket.as_ptr()).sk }
    }
}

impl Drop for KernelSocket {
    /// Closes the socket and gives its port back. Sleeps.
    fn drop(&mut self) {
        kernel::task::might_sleep();
        // SAFETY: The socket is valid, and nobody has it after us.
        unsafe { bindings::sock_release(self.socket.as_ptr()) };
    }
}
