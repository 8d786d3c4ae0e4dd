// SPDX-License-Identifier: GPL-2.0

//! The protocol's sockets by AF_INET and AF_INET6: `socket(AF_INET, SOCK_STREAM, number)`, with a number of the
//! socket layer's alone; on the wire the protocol is what it always is.
//!
//! `inet_create()` and `inet6_create()` make them, of what is registered here, as they make those of IPPROTO_SMC and IPPROTO_SCTP: they
//! allocate, write the fields of `struct inet_sock` and `struct ipv6_pinfo`, where every [`Sock`] has them, and call
//! `proto.init`, which makes the rest. From then on nothing tells such a socket from one of the family's: it has the same
//! `struct proto`, `struct proto_ops`, slab cache and size, and so have those that it accepts.
//!
//! What of the kernel looks at such a socket, by Linux 7.2:
//!
//! * `sk_protocol` is the number only until `init` is done, while no one but the maker knows the socket. Then it is
//!   [`Protocol::SK_PROTOCOL`], which `sk_is_tcp()` and the like (sockmap, `bpf_setsockopt()`, TLS, SYN cookies of BPF) do not
//!   take for a `struct tcp_sock`. It is what SO_PROTOCOL reads, too: there is no way into `sk_getsockopt()`.
//! * IS_ICSK is not set, without INET_PROTOSW_ICSK: `ip_setsockopt()`, `ipv6_setsockopt()`, CIPSO and `inet_diag` do not
//!   take it for a `struct inet_connection_sock`.
//! * Programs of a cgroup are asked as for all of AF_INET: BPF_CGROUP_INET_SOCK_CREATE, after `init`, may refuse. Then
//!   `sk_common_release()` gives up the socket, which has no port, no timer and no packet: the drop of its parts is all.
//! * Security modules hear the number in `security_socket_create()` and `security_socket_post_create()`. For SELinux it is no
//!   stream of TCP, but `rawip_socket`, as IPPROTO_SMC is; AppArmor matches it with what a rule names. Landlock, which looks at
//!   `sk_is_tcp()`, restricts ports of the built-in TCP alone.
//! * `inet_sk_state_store()`, `inet_sock_destruct()` and packets' `skb->sk` are the same as with the family's sockets, which
//!   are AF_INET or AF_INET6 inside.

use core::marker::PhantomData;

use kernel::error::{from_result, to_result};
use kernel::ffi::c_int;
use kernel::prelude::*;

use super::{Protocol, Registration, Statics};
use crate::sys::bindings;
use crate::sys::sock::{is_v6, Sock};

/// The number of a protocol that a program may ask AF_INET and AF_INET6 for.
///
/// # Invariants
///
/// From [`DoorNumber::LEAST`] to [`DoorNumber::MOST`]: none that Linux has a protocol for.
#[derive(Clone, Copy)]
pub(crate) struct DoorNumber(u16);

impl DoorNumber {
    /// Behind the last one that Linux has a name for, but for IPPROTO_RAW and those above a byte. (IANA has given none from 148 to
    /// 252; 253 and 254 are for experiments, RFC 3692.)
    pub(crate) const LEAST: i32 = bindings::IPPROTO_AGGFRAG as i32 + 1;
    /// Before IPPROTO_RAW.
    pub(crate) const MOST: i32 = bindings::IPPROTO_RAW as i32 - 1;

    /// `None` when it is out of range.
    pub(crate) fn new(number: i32) -> Option<Self> {
        // INVARIANT: In range.
        (Self::LEAST..=Self::MOST)
            .contains(&number)
            .then_some(Self(number as u16))
    }
}

/// The module parameter `protocol`.
pub(crate) fn protocol_parameter() -> i32 {
    // SAFETY: Reads a variable that is set before the module's code runs.
    unsafe { bindings::oxtcp_helper_protocol() }
}

/// AF_INET and AF_INET6 make sockets of `P` while this lives.
///
/// # Invariants
///
/// The protosws of `P`'s statics are registered.
pub(super) struct Doors<P: Protocol>(PhantomData<fn(P)>);

impl<P: Protocol> Doors<P> {
    /// Gives the doors `struct proto`s that are as the family's.
    ///
    /// # Safety
    ///
    /// The statics of `P` are filled, but for the doors'; neither is registered, and nobody else writes them.
    pub(super) unsafe fn fill(module: &'static ThisModule) {
        let statics = P::statics();
        for (door, own) in [
            (&statics.door_v4, &statics.v4),
            (&statics.door_v6, &statics.v6),
        ] {
            // SAFETY: Promised by the caller. The family's is in no list of the kernel's yet, whose neighbours there would write to
            // its links; a `struct proto` that was registered once, and is not any more, has old ones, which nobody reads in the copy.
            unsafe {
                let mut with = core::ptr::read(own.get());
                with.node = core::mem::zeroed();
                with.owner = module.as_ptr().cast();
                with.init = Some(Statics::<P>::init);
                door.get().write(with);
            }
        }
    }

    /// [`Doors::fill`] was called before the family's `struct proto`s were registered.
    ///
    /// Errors: EPERM when a protocol that cannot be replaced has the number.
    ///
    /// # Context
    ///
    /// Process; sleeps.
    pub(super) fn open(_registered: &Registration<P>, number: DoorNumber) -> Result<Self> {
        let statics = P::statics();
        for (door, own, protosw, ops) in [
            (
                &statics.door_v4,
                &statics.v4,
                &statics.protosw_v4,
                &statics.ops_v4,
            ),
            (
                &statics.door_v6,
                &statics.v6,
                &statics.protosw_v6,
                &statics.ops_v6,
            ),
        ] {
            // SAFETY: `own` is registered; of what `proto_register()` has written, these two stay as they are until it is
            // unregistered, and are read by no reference to the whole, whose links change with its neighbours. (The sockets' cache,
            // and the index that sockets in use are counted by.) `door` and `protosw` are ours to write, as they are not registered;
            // there is one `Registration`.
            unsafe {
                let (own, door) = (own.get(), door.get());
                (*door).slab = (*own).slab;
                #[cfg(CONFIG_PROC_FS)]
                {
                    (*door).inuse_idx = (*own).inuse_idx;
                }
                protosw.get().write(bindings::inet_protosw {
                    list: core::mem::zeroed(),
                    type_: P::SK_TYPE as u16,
                    protocol: number.0,
                    prot: door,
                    ops: ops.get(),
                    flags: 0,
                });
            }
        }
        // SAFETY: Filled above, and static. IPv6's may fail, and is the first: what it adds is not there then.
        to_result(unsafe { bindings::inet6_register_protosw(statics.protosw_v6.get()) })?;
        // SAFETY: Filled above, and static. It would say no for a number of a permanent protocol, in the log alone: all of those are
        // named in `linux/in.h`, and so out of a `DoorNumber`'s range.
        unsafe { bindings::inet_register_protosw(statics.protosw_v4.get()) };
        // INVARIANT: Registered above.
        Ok(Self(PhantomData))
    }
}

impl<P: Protocol> Drop for Doors<P> {
    /// From here on AF_INET and AF_INET6 make no socket of `P`. Sleeps.
    fn drop(&mut self) {
        kernel::task::might_sleep();
        let statics = P::statics();
        // SAFETY: Registered by the invariant. Each waits for a grace period, so that nobody reads the statics from a list.
        unsafe {
            bindings::inet6_unregister_protosw(statics.protosw_v6.get());
            bindings::inet_unregister_protosw(statics.protosw_v4.get());
        }
    }
}

// The module must not go while `inet_create()` is about to call into it, or has a socket of it and not yet the reference of
// `proto_ops`, without which `__sock_create()` would leave the socket behind. Nobody holds the module for that but `sk_alloc()`, by
// `proto.owner`: it makes no socket once the module is going. So the doors have `struct proto`s of their own that have an owner and
// are the same else. The socket gets the family's, which children are made of, and keeps the door's as `sk_prot_creator`: by that
// `sk_prot_free()` gives the reference back if the socket is not to be. Else close() does: the `struct socket` holds the module
// until its end, and then the socket is to be like all others, whose orphans do not keep the module.
//
// (Between the end of its look-up and `try_module_get()` in `sk_alloc()`, `inet_create()` has nothing. A module that went in
// between, while the process was off the processor, would take the `struct proto` with it. That is so for every module
// with a protosw, and not a module's to mend.)
impl<P: Protocol> Statics<P> {
    /// `proto.init` of the doors.
    ///
    /// # Safety
    ///
    /// For `inet_create()` and `inet6_create()` to call, with a new socket of a door's `struct proto` and its `struct socket`.
    unsafe extern "C" fn init(sk: *mut bindings::sock) -> c_int {
        from_result(|| {
            let statics = P::statics();
            // SAFETY: A new socket, as said, that nobody else knows; the cache of a door's `struct proto` is that of the family's,
            // the same IP version's. On an error the caller releases what is the INET layer's socket still, in the memory of a
            // `Sock`: `sk_destruct` is its own.
            unsafe {
                let sock = Sock::<P>::adopt(sk)?;
                (*sk).__sk_common.skc_prot = statics.own(sk);
                bindings::oxtcp_helper_socket_custom_sockopt((*sk).sk_socket);
                sock.lock(P::init);
            }
            Ok(0)
        })
    }

    /// Gives back the reference on the module of a socket that came by a door. Without effect on all others.
    ///
    /// # Safety
    ///
    /// `sk` is a socket of `P`, which a `struct socket` has that holds the module; nobody else calls this.
    pub(super) unsafe fn leave_door(sk: *mut bindings::sock) {
        let statics = P::statics();
        // SAFETY: Promised by the caller. Until the socket is freed only the holder of its `struct socket` looks at
        // `sk_prot_creator`, for the name and by close(); both `struct proto`s have the same slab cache to free it to, and the
        // reference that `sk_alloc()` took of the one's owner is given back here, and not by the other, which has none.
        unsafe {
            let own = statics.own(sk);
            if (*sk).sk_prot_creator != own {
                let owner = (*(*sk).sk_prot_creator).owner;
                (*sk).sk_prot_creator = own;
                bindings::module_put(owner);
            }
        }
    }

    /// The family's `struct proto` for a socket's IP version.
    ///
    /// # Safety
    ///
    /// `sk` is a socket of a `struct proto` of `P`.
    unsafe fn own(&self, sk: *mut bindings::sock) -> *mut bindings::proto {
        // SAFETY: `sk_alloc()` has set its family.
        match unsafe { is_v6(sk) } {
            true => self.v6.get(),
            false => self.v4.get(),
        }
    }
}
