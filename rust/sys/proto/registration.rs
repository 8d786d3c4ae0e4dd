// SPDX-License-Identifier: GPL-2.0

//! How the kernel comes to know a protocol and its socket family.

use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Release};
use kernel::types::Opaque;

use super::doors::Doors;
use super::{DoorNumber, FamilyNumber, Protocol};
use crate::sys::bindings;
use crate::sys::net::{Net, PerNetRegistration};
use crate::sys::small_queue::SmallQueues;
use crate::sys::sock::Sock;

/// `struct proto` for IPv4 and IPv6 sockets, the family, and the doors (`doors.rs`). One static for each protocol.
pub(crate) struct Statics<P: Protocol> {
    pub(in crate::sys) v4: Opaque<bindings::proto>,
    pub(in crate::sys) v6: Opaque<bindings::proto>,
    family: Opaque<bindings::net_proto_family>,
    pub(super) ops_v4: Opaque<bindings::proto_ops>,
    pub(super) ops_v6: Opaque<bindings::proto_ops>,
    pub(super) door_v4: Opaque<bindings::proto>,
    pub(super) door_v6: Opaque<bindings::proto>,
    pub(super) protosw_v4: Opaque<bindings::inet_protosw>,
    pub(super) protosw_v6: Opaque<bindings::inet_protosw>,
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
            door_v4: Opaque::zeroed(),
            door_v6: Opaque::zeroed(),
            protosw_v4: Opaque::zeroed(),
            protosw_v6: Opaque::zeroed(),
            _protocol: core::marker::PhantomData,
        }
    }

    /// Bytes of an IPv4 and of an IPv6 socket.
    pub(crate) const SOCKET_SIZES: [usize; 2] = [
        Sock::<P>::SIZE,
        Self::V6_OFFSET + core::mem::size_of::<bindings::ipv6_pinfo>(),
    ];

    /// Where `struct ipv6_pinfo` lies in IPv6 sockets.
    pub(in crate::sys) const V6_OFFSET: usize =
        Sock::<P>::SIZE.next_multiple_of(core::mem::align_of::<bindings::ipv6_pinfo>());

    /// # Safety
    ///
    /// `net` is set up, and stays so for the call.
    unsafe extern "C" fn end(net: *mut bindings::net) {
        // SAFETY: Promised by the caller.
        P::end(unsafe { Net::from_raw(net) });
    }
}

/// The protocol and its family are known to the kernel while this lives.
///
/// # Invariants
///
/// The statics of `P` are registered, in all their parts. There are sockets of `P` only while one of these lives.
pub(crate) struct Registration<P: Protocol> {
    number: FamilyNumber,
    /// Dropped first, before it is waited for the sockets.
    doors: Option<Doors<P>>,
    /// Dropped when no socket is left.
    _small_queues: SmallQueues,
    /// Dropped after it: sockets, and what works for them, look at the namespaces' values.
    _namespaces: PerNetRegistration<P::PerNet>,
    /// Dropped last.
    _only: Only,
}

impl<P: Protocol> Registration<P> {
    /// Gives each namespace its [`Protocol::PerNet`], then registers the protocol as socket family `number`, and as protocol
    /// `door` of AF_INET and AF_INET6.
    ///
    /// # Errors
    ///
    /// EEXIST when the family's number is taken, EPERM when the door's is, EBUSY when something is registered, ENOMEM, and those of
    /// the namespaces.
    ///
    /// # Context
    ///
    /// Process; sleeps.
    pub(crate) fn new(
        module: &'static ThisModule,
        number: FamilyNumber,
        door: Option<DoorNumber>,
    ) -> Result<Self> {
        const {
            // C's caches for sockets are aligned to what a word needs, or more (SLAB_HWCACHE_ALIGN).
            assert!(core::mem::align_of::<Sock<P>>() <= core::mem::align_of::<u64>());
            assert!(core::mem::align_of::<bindings::ipv6_pinfo>() <= core::mem::align_of::<u64>());
            assert!(P::SK_TYPE == bindings::sock_type_SOCK_STREAM);
            // The kernel's protocols for the wire have a byte; of those without a number there, MPTCP is for streams.
            assert!(P::SK_PROTOCOL > u8::MAX as u16);
            assert!(P::SK_PROTOCOL as u32 != bindings::IPPROTO_MPTCP);
        }
        kernel::task::might_sleep();
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
        if door.is_some() {
            // SAFETY: By `only` nothing is registered, and ours to write; all but the doors is filled above.
            unsafe { Doors::<P>::fill(module) };
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
        // SAFETY: Static, and ours to write until it is registered; the number is an index into the table, which C does not
        // see to for negative ones.
        to_result(unsafe {
            *statics.family.get() = bindings::net_proto_family {
                family: number.get(),
                create: Some(Statics::<P>::create),
                owner: module.as_ptr().cast(),
            };
            bindings::sock_register(statics.family.get())
        })?;
        undo_v6.dismiss();
        undo_v4.dismiss();
        undo.dismiss();
        // INVARIANT: All of it was registered above, but for the doors, which see to themselves.
        let mut this = Self {
            number,
            doors: None,
            _small_queues: small_queues,
            _namespaces: namespaces,
            _only: only,
        };
        if let Some(door) = door {
            this.doors = Some(Doors::open(&this, door)?);
        }
        Ok(this)
    }
}

impl<P: Protocol> Registration<P> {
    /// The family.
    pub(in crate::sys) fn number(&self) -> FamilyNumber {
        self.number
    }
}

impl<P: Protocol> Drop for Registration<P> {
    /// Sleeps.
    fn drop(&mut self) {
        kernel::task::might_sleep();
        let statics = P::statics();
        drop(self.doors.take());
        // SAFETY: Registered by the invariant. It waits for a grace period: the softirqs that may have had a listener, all
        // of which are closed, have left. From here on no socket is made.
        unsafe { bindings::sock_unregister(self.number.get()) };
        loop {
            // SAFETY: Called with namespaces that are set up, and stay so for the call.
            unsafe { bindings::oxtcp_helper_for_each_net(Some(Statics::<P>::end)) };
            // SAFETY: No conditions; may sleep, as seen above. Sockets are freed by RCU's callbacks.
            unsafe { bindings::rcu_barrier() };
            // SAFETY: The counter is there until `oxtcp_helper_proto_memory_exit`.
            if unsafe { bindings::oxtcp_helper_sockets_left() } == 0 {
                break;
            }
            // A timer that runs, or a packet in a device's queue, has one still: a moment.
            // SAFETY: No conditions; may sleep, as seen above.
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
    /// Sleeps.
    fn drop(&mut self) {
        // What the namespaces' values have left to RCU is freed by callbacks of ours.
        // SAFETY: No conditions; `Registration` is dropped where it may sleep.
        unsafe { bindings::rcu_barrier() };
        TAKEN.store(false, Release);
    }
}
