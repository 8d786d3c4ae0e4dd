// SPDX-License-Identifier: GPL-2.0

//! Packets before they are routed: hooks that come when they are wanted and go when they are not.
//!
//! C headers: `include/linux/netfilter.h`, `include/linux/skbuff.h`.

use core::marker::PhantomData;
use core::ptr::NonNull;

use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Full, Release};
use kernel::sync::{new_mutex, rcu, Mutex};

use super::bindings;
use super::deferred::{Deferred, Run};
use super::net::{Doorway, Net, PerNet};
use super::netfilter::{ipv6_is_present, local_in_hook, Family, Hook, Hooks, LocalIn};
use super::once::Once;
use super::proto::Protocol;
use super::rcu_cell::locked_by_caller;
use super::skb::{Claimed, SkBuff};
use super::sock::Sock;
use super::time::Span;

/// Looks at every packet that comes in, before it is routed.
pub(crate) trait BeforeRouting: 'static {
    /// What it has in each namespace.
    type PerNet: PerNet;

    /// Takes `skb`, or gives it back for the others: as it was, but that it may have its route.
    ///
    /// Runs in softirq, or in process context, always under `rcu_read_lock`, which `rcu` stands for. BH may be on there: a packet that waited
    /// in a queue of netfilter's (NFQUEUE) goes on in the system call that lets it. Must not sleep.
    fn before_routing<'r>(
        at: (&'r Net, &'r Self::PerNet),
        family: Family,
        skb: SkBuff<Unrouted<'r>>,
        rcu: &'r rcu::Guard,
    ) -> Result<(), SkBuff<Unrouted<'r>>>;
}

/// A packet in a PRE_ROUTING hook, which may go on to the others. It has a device, and a network header without mistakes, which is linear; the
/// data pointer is at it.
///
/// `'r` is the hook's RCU section, in which alone the packet may be used: it holds no reference on its device.
pub(crate) struct Unrouted<'r>(PhantomData<fn(&'r ()) -> &'r ()>);

impl<'r> SkBuff<Unrouted<'r>> {
    /// Whether it has its route: it is sent on this host, or came out of a tunnel.
    #[inline]
    pub(crate) fn has_route(&self) -> bool {
        !self.route().is_null()
    }

    /// Gives the packet, which is one for that socket, the route that the one before it came in by, if it may have it. Whether it has, and would
    /// come to the LOCAL_IN hooks of `P` next, as it is.
    #[inline]
    pub(crate) fn set_route<P: Protocol + LocalIn>(
        &mut self,
        sock: &Sock<P>,
        family: Family,
    ) -> bool {
        let v6 = family == Family::V6;
        let ours = Some(local_in_hook::<P>(family));
        // SAFETY: Both are valid; RCU is read-locked for `'r`, and the packet has a device. The helper asks whether the packet is of that family, and its
        // device in the socket's namespace.
        unsafe { bindings::oxtcp_helper_early_set_route(self.as_ptr(), sock.as_ptr(), v6, ours) }
    }

    /// The interface that it came in by.
    pub(crate) fn device(&self) -> i32 {
        // SAFETY: Valid by the invariant, with a device.
        unsafe { bindings::oxtcp_helper_early_device(self.as_ptr()) }
    }

    /// Whether it would come to this host's LOCAL_IN hooks, and would find nobody but ours on its way: no firewall, no conntrack, no IPsec, no routing
    /// by rules, and the packet is a plain one from a network, to an address of ours (in its IPv4-mapped form for IPv4).
    pub(crate) fn is_for_us_alone(&self, net: &Net, family: Family, address: &[u8; 16]) -> bool {
        let v6 = family == Family::V6;
        // SAFETY: Both are valid, and the packet has a device; `address` is 16 octets. RCU is read-locked for `'r`.
        unsafe {
            bindings::oxtcp_helper_early_stands_alone(net.as_ptr(), v6, 1)
                && bindings::oxtcp_helper_early_is_plain(net.as_ptr(), self.as_ptr())
                && match family {
                    Family::V4 => {
                        let [.., a, b, c, d] = *address;
                        let address = u32::from_ne_bytes([a, b, c, d]);
                        bindings::oxtcp_helper_early_is_local_v4(net.as_ptr(), address)
                    }
                    Family::V6 => {
                        ipv6_is_present()
                            && bindings::oxtcp_helper_early_is_local_v6(
                                net.as_ptr(),
                                self.as_ptr(),
                                address.as_ptr(),
                            )
                    }
                }
        }
    }

    /// Whether the TCP checksum is wrong. The header begins `offset` bytes behind the network header.
    pub(crate) fn tcp_checksum_is_bad(&mut self, offset: u32, family: Family) -> bool {
        if offset > self.len() {
            return true;
        }
        // SAFETY: Valid by the invariant; the header begins within the packet.
        unsafe {
            bindings::oxtcp_helper_early_checksum_bad(self.as_ptr(), offset, family == Family::V6)
        }
    }

    /// As [`SkBuff::claim`]: the packet is ours.
    #[inline]
    pub(crate) fn take(self, offset: u32) -> Option<SkBuff<Claimed<'r>>> {
        // SAFETY: As the type says, and `'r` is its own.
        unsafe { self.claim_at(offset) }
    }
}

impl Net {
    /// Whether packets of TCP are to be looked up before they are routed (`net.ipv4.ip_early_demux` and `tcp_early_demux`).
    pub(crate) fn demuxes_early(&self) -> bool {
        // SAFETY: The namespace is valid.
        unsafe { bindings::oxtcp_helper_early_is_demuxed(self.as_ptr()) }
    }
}

/// Hooks before routing in one namespace, which are there while they are wanted: a hook is called for every packet that comes in.
#[pin_data]
pub(crate) struct EarlyHooks<H: BeforeRouting> {
    #[pin]
    switch: Deferred<Switch<H>>,
}

/// The outside may come in by the hooks, until this is dropped.
pub(crate) struct EarlyDoor<'n, H: BeforeRouting>(&'n EarlyHooks<H>);

#[pin_data]
struct Switch<H: BeforeRouting> {
    /// Since it was looked at last.
    wanted: Atomic<bool>,
    /// A copy for those who do not take the lock.
    stands: Atomic<bool>,
    #[pin]
    place: Mutex<Option<Place<H::PerNet>>>,
    _handler: PhantomData<fn() -> H>,
}

/// # Invariants
///
/// The namespace is as [`Net`]'s invariants say. `hooks` are registered with it, if there are any, to be called with `per_net`, which is there until
/// a grace period after they are unregistered.
struct Place<T> {
    net: NonNull<Net>,
    per_net: NonNull<T>,
    hooks: Hooks,
}

// SAFETY: A namespace is there for all threads, as what we have in it, which may be shared; and the hooks may be sent.
unsafe impl<T: Sync> Send for Place<T> {}

impl<H: BeforeRouting> EarlyHooks<H> {
    /// None yet. Process context.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        let switch = try_pin_init!(Switch {
            wanted: Atomic::new(false),
            stands: Atomic::new(false),
            place <- new_mutex!(None, "oxtcp_early_hooks"),
            _handler: PhantomData,
        }? Error);
        try_pin_init!(Self { switch <- Deferred::new::<Error>(switch) }? Error)
    }

    /// From here on there may be hooks. Process context.
    pub(crate) fn open<'n>(&'n self, doorway: &Doorway<'n, H::PerNet>) -> EarlyDoor<'n, H> {
        // INVARIANT: `'n` is as long as the namespace is there, and the door takes the place back before; the value stays for a grace period
        // after that.
        *self.switch.place.lock() = Some(Place {
            net: NonNull::from(doorway.net()),
            per_net: NonNull::from(doorway.value()),
            hooks: Hooks::new(),
        });
        EarlyDoor(self)
    }

    /// Hooks are of use: those that are there stay for some time, or some are made soon. Any context.
    pub(crate) fn want(&self) {
        self.want_if(|| true);
    }

    /// As [`EarlyHooks::want`], but none are made where a packet could come to others than us in this namespace. Any context.
    pub(crate) fn want_alone(&self, net: &Net, family: Family) {
        self.want_if(|| {
            let _rcu = rcu::read_lock();
            // SAFETY: The namespace is valid; RCU is read-locked.
            unsafe {
                bindings::oxtcp_helper_early_stands_alone(net.as_ptr(), family == Family::V6, 0)
            }
        });
    }

    fn want_if(&self, are_of_use: impl FnOnce() -> bool) {
        if self.switch.stands.read_once() {
            if !self.switch.wanted.read_once() {
                self.switch.wanted.write_once(true);
            }
            return;
        }
        // Whatever was noted before: hooks that just went may have left their word to nobody. Work that is asked for twice comes once.
        if are_of_use() {
            self.switch.wanted.xchg(true, Full);
            self.switch.kick();
        }
    }
}

impl<H: BeforeRouting> Drop for EarlyDoor<'_, H> {
    /// Sleeps. A handler that is running goes on, under RCU, until a grace period has passed.
    fn drop(&mut self) {
        self.0.switch.close();
        let place = self.0.switch.place.lock().take();
        drop(place);
    }
}

impl<H: BeforeRouting> Run for Switch<H> {
    fn run(&self) -> Option<usize> {
        /// So long hooks stay that nobody has wanted. As one goes, netfilter drops what waits in the namespace's queues (NFQUEUE).
        const PERIOD: Span = Span::from_secs(600);
        let mut guard = self.place.lock();
        let Some(place) = &mut *guard else {
            return None;
        };
        if self.wanted.xchg(false, Full) {
            if place.hooks.is_empty() && place.register::<H>().is_err() {
                // No memory. Who wants them then asks again.
                return None;
            }
            self.stands.store(true, Release);
            return Some(PERIOD.as_jiffies());
        }
        self.stands.store(false, Release);
        place.unregister();
        None
    }
}

impl<T> Place<T> {
    /// After all others of PRE_ROUTING: what comes to us nobody changes any more before it is routed.
    const PRIORITY: c_int = c_int::MAX;

    fn register<H: BeforeRouting<PerNet = T>>(&mut self) -> Result {
        // SAFETY: By the invariants the namespace is there.
        let net = unsafe { self.net.as_ref() };
        let place = (bindings::nf_inet_hooks_NF_INET_PRE_ROUTING, Self::PRIORITY);
        let hooks: (Hook, Hook) = (hook_v4::<H>, hook_v6::<H>);
        // SAFETY: Both are what netfilter expects, for the address family that they are for, and take the value of `H`, which is there for as
        // long as they may be called.
        // INVARIANT: Just registered, to be called with `per_net`.
        self.hooks = unsafe { Hooks::register(net, place, self.per_net.as_ptr().cast(), hooks)? };
        Ok(())
    }

    fn unregister(&mut self) {
        // SAFETY: By the invariants the namespace is there, and they are registered with it.
        // INVARIANT: None is left.
        unsafe { self.hooks.unregister(self.net.as_ref()) };
    }
}

impl<T> Drop for Place<T> {
    /// Sleeps.
    fn drop(&mut self) {
        kernel::task::might_sleep();
        self.unregister();
    }
}

/// # Safety
///
/// To be called by netfilter, for a packet of IPv4, as one of a [`Place`]'s hooks.
unsafe extern "C" fn hook_v4<H: BeforeRouting>(
    private: *mut c_void,
    skb: *mut bindings::sk_buff,
    state: *const bindings::nf_hook_state,
) -> c_uint {
    // SAFETY: netfilter calls us with what the hook was registered with, the others valid, and `skb` is ours to keep if we say so.
    unsafe { before_routing::<H>(Family::V4, private, skb, state) }
}

/// # Safety
///
/// To be called by netfilter, for a packet of IPv6, as one of a [`Place`]'s hooks.
unsafe extern "C" fn hook_v6<H: BeforeRouting>(
    private: *mut c_void,
    skb: *mut bindings::sk_buff,
    state: *const bindings::nf_hook_state,
) -> c_uint {
    // SAFETY: netfilter calls us with what the hook was registered with, the others valid, and `skb` is ours to keep if we say so.
    unsafe { before_routing::<H>(Family::V6, private, skb, state) }
}

/// # Safety
///
/// `private` must be a [`Place`]'s `per_net`, `skb` and `state` must be valid, under RCU; the caller must not touch `skb` any more when the answer
/// is NF_STOLEN.
#[inline(always)]
unsafe fn before_routing<H: BeforeRouting>(
    family: Family,
    private: *mut c_void,
    skb: *mut bindings::sk_buff,
    state: *const bindings::nf_hook_state,
) -> c_uint {
    // SAFETY: `state` is valid; a hook runs only in a namespace that lives, or that is cleaning up and
    // waits for RCU readers like us before it goes on.
    let net = unsafe { Net::from_raw((*state).net) };
    // SAFETY: By the invariants of `Place` it is there until a grace period after the hook was unregistered, and we are under RCU.
    let per_net: &H::PerNet = unsafe { &*private.cast() };
    // SAFETY: netfilter has read-locked RCU for as long as we run.
    let rcu = unsafe { locked_by_caller() };
    // SAFETY: The caller vouches for it; the skb is ours until we give it back below. By PRE_ROUTING's rules it has a device, and the data
    // begins at the network header, which is linear and was looked at.
    let ours = unsafe { SkBuff::<Unrouted<'_>>::from_raw(NonNull::new_unchecked(skb)) };
    match H::before_routing((net, per_net), family, ours, rcu) {
        // The caller goes on with the pointer that it has.
        Err(back) if back.as_ptr() == skb => {
            let _ = back.into_raw();
            bindings::NF_ACCEPT
        }
        // Taken; or another packet came back, and the caller's is gone all the same.
        _ => bindings::NF_STOLEN,
    }
}
