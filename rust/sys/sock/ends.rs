// SPDX-License-Identifier: GPL-2.0

//! A socket's addresses, ports and interfaces.

use core::num::NonZeroU32;

use kernel::prelude::*;

use super::{Locked, Sock};
use crate::sys::bindings;
use crate::sys::netfilter::Family;
use crate::sys::proto::Protocol;
use crate::sys::route::{self, Manner};
use crate::sys::table::Endpoint;

impl<P: Protocol> Sock<P> {
    pub(crate) fn is_v6(&self) -> bool {
        // SAFETY: Valid, and set up.
        unsafe { is_v6(self.as_ptr()) }
    }

    /// What packets of such a family have of the socket, where they have no other.
    pub(crate) fn manner(&self, family: Family) -> Manner {
        let tos = match family {
            Family::V6 => self.ds_field(),
            // SAFETY: A single byte, volatile as `READ_ONCE` is.
            Family::V4 => unsafe { (&raw const (*self.inet()).tos).read_volatile() },
        };
        Manner {
            mark: self.mark(),
            tos,
        }
    }

    /// The DS field that packets begin with (IP_TOS, or IPV6_TCLASS of an IPv6 socket).
    pub(crate) fn ds_field(&self) -> u8 {
        // SAFETY: Single bytes, volatile as `READ_ONCE` is; `pinet6` is set in IPv6 sockets, and does not change.
        unsafe {
            match self.is_v6() {
                true => (&raw const (*(*self.inet()).pinet6).tclass).read_volatile(),
                false => (&raw const (*self.inet()).tos).read_volatile(),
            }
        }
    }

    /// `IPV6_V6ONLY`.
    pub(crate) fn v6only(&self) -> bool {
        // SAFETY: Valid.
        unsafe { bindings::oxtcp_helper_sk_ipv6only(self.as_ptr()) }
    }

    /// The interface that the socket is bound to, 0 for any.
    pub(crate) fn bound_dev(&self) -> i32 {
        // SAFETY: A single word, volatile as `READ_ONCE` is.
        unsafe { (&raw const (*self.as_ptr()).__sk_common.skc_bound_dev_if).read_volatile() }
    }
}

impl<P: Protocol> Locked<'_, P> {
    /// The local address that was bound, unspecified when none was.
    pub(crate) fn bound_ip(&self) -> [u8; 16] {
        if self.sock().is_v6() {
            // SAFETY: Valid and locked.
            return unsafe { (*self.sk()).__sk_common.skc_v6_rcv_saddr.in6_u.u6_addr8 };
        }
        // SAFETY: As above.
        let v4 = unsafe {
            (*self.sk())
                .__sk_common
                .__bindgen_anon_1
                .__bindgen_anon_1
                .skc_rcv_saddr
        };
        Endpoint::mapped(v4.to_ne_bytes())
    }

    /// Sets both ends, as connect() and accept() leave them.
    pub(crate) fn set_ends(&mut self, local: Endpoint, remote: Endpoint) {
        self.set_local(local.ip);
        self.set_remote(remote);
        self.set_local_port(local.port);
    }

    /// What the socket's packets have for a hash from here on (`sk_txhash`).
    pub(crate) fn set_transmit_hash(&mut self, hash: NonZeroU32) {
        // SAFETY: Valid and locked; a single word, which is read without the lock (`READ_ONCE()`).
        unsafe { (&raw mut (*self.sk()).sk_txhash).write_volatile(hash.get()) };
    }

    /// The local port, in `inet_num` and `inet_sport`.
    pub(crate) fn set_local_port(&mut self, port: u16) {
        // SAFETY: Valid and locked.
        unsafe {
            (*self.sk())
                .__sk_common
                .__bindgen_anon_3
                .__bindgen_anon_1
                .skc_num = port;
            (*self.sock().inet()).inet_sport = port.to_be();
        }
    }

    /// The port is given back: the socket is not bound any more. getsockname() still tells the number, as the
    /// kernel's TCP has it.
    pub(crate) fn forget_local_port(&mut self) {
        // SAFETY: Valid and locked.
        unsafe {
            (*self.sk())
                .__sk_common
                .__bindgen_anon_3
                .__bindgen_anon_1
                .skc_num = 0
        };
    }

    /// The local address, for receiving and sending.
    pub(crate) fn set_local(&mut self, ip: [u8; 16]) {
        let mapped = Endpoint { ip, port: 0 }.v4();
        // SAFETY: Valid and locked; for IPv6 sockets `pinet6` is set.
        unsafe {
            let inet = self.sock().inet();
            let common = &raw mut (*self.sk()).__sk_common;
            if self.sock().is_v6() {
                (*common).skc_v6_rcv_saddr.in6_u.u6_addr8 = ip;
                (*(*inet).pinet6).saddr.in6_u.u6_addr8 = ip;
            }
            // What the kernel's TCP puts there for an IPv6 end, so that nothing takes it for one
            // bound to any address.
            let v4 = u32::from_ne_bytes(mapped.unwrap_or([127, 0, 0, 6]));
            (*common).__bindgen_anon_1.__bindgen_anon_1.skc_rcv_saddr = v4;
            (*inet).inet_saddr = v4;
            (*common).skc_v6_rcv_saddr.in6_u.u6_addr8 = ip;
        }
    }

    /// Forgets the local address, for a socket that was not bound to one.
    pub(crate) fn clear_local(&mut self) {
        // SAFETY: As above.
        unsafe {
            let inet = self.sock().inet();
            let common = &raw mut (*self.sk()).__sk_common;
            (*common).__bindgen_anon_1.__bindgen_anon_1.skc_rcv_saddr = 0;
            (*inet).inet_saddr = 0;
            (*common).skc_v6_rcv_saddr.in6_u.u6_addr8 = [0; 16];
            if self.sock().is_v6() {
                (*(*inet).pinet6).saddr.in6_u.u6_addr8 = [0; 16];
            }
        }
    }

    /// The remote end. A route of the other family is forgotten.
    pub(crate) fn set_remote(&mut self, remote: Endpoint) {
        // See `set_local`.
        let v4 = remote.v4().unwrap_or([127, 0, 0, 6]);
        self.change_remote(remote, v4);
    }

    /// Forgets the remote end.
    pub(crate) fn clear_remote(&mut self) {
        self.change_remote(Endpoint::NONE, [0; 4]);
    }

    fn change_remote(&mut self, remote: Endpoint, v4: [u8; 4]) {
        let before = self.wire_family();
        // SAFETY: Valid and locked.
        unsafe {
            let common = &raw mut (*self.sk()).__sk_common;
            (*common).skc_v6_daddr.in6_u.u6_addr8 = remote.ip;
            (*common).__bindgen_anon_1.__bindgen_anon_1.skc_daddr = u32::from_ne_bytes(v4);
            (*common).__bindgen_anon_3.__bindgen_anon_1.skc_dport = remote.port.to_be();
        }
        if self.wire_family() != before {
            route::reset_route(self);
        }
    }

    /// Which protocol the packets of a connected socket take: an IPv6 socket may speak IPv4.
    pub(crate) fn wire_family(&self) -> Family {
        // SAFETY: Valid and locked.
        let ip = unsafe { (*self.sk()).__sk_common.skc_v6_daddr.in6_u.u6_addr8 };
        if self.sock().is_v6() && (Endpoint { ip, port: 0 }).v4().is_none() {
            Family::V6
        } else {
            Family::V4
        }
    }

    /// Whether the local address was bound by the user.
    pub(crate) fn is_address_bound(&self) -> bool {
        self.sock().user_locked(bindings::SOCK_BINDADDR_LOCK)
    }

    /// Whether the local port was bound by the user.
    pub(crate) fn is_port_bound(&self) -> bool {
        self.sock().user_locked(bindings::SOCK_BINDPORT_LOCK)
    }

    /// Binds the socket to the interface of a link-local address, or checks that it is.
    pub(crate) fn bind_scope(&mut self, ifindex: i32) -> Result {
        let bound = self.sock().bound_dev();
        if ifindex != 0 {
            if bound != 0 && bound != ifindex {
                return Err(EINVAL);
            }
            // SAFETY: Valid and locked; a single word.
            unsafe { (&raw mut (*self.sk()).__sk_common.skc_bound_dev_if).write_volatile(ifindex) };
        } else if bound == 0 {
            return Err(EINVAL);
        }
        Ok(())
    }
}

/// # Safety
///
/// `sk` is a socket that was set up, and its memory stays for the call.
pub(in crate::sys) unsafe fn is_v6(sk: *const bindings::sock) -> bool {
    // SAFETY: Set once, before the socket is known to anyone.
    unsafe { u32::from((*sk).__sk_common.skc_family) == bindings::PF_INET6 }
}
