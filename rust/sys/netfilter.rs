// SPDX-License-Identifier: GPL-2.0

//! Packets on their way in: the LOCAL_IN hooks, and conntrack's part in them.
//!
//! C headers: `include/linux/netfilter.h`, `include/uapi/linux/netfilter_ipv4.h`.

use core::ptr::NonNull;

use kernel::alloc::flags::GFP_KERNEL;
use kernel::prelude::*;

use super::bindings;
use super::net::{Doorway, Net, PerNet};
use super::skb::{AtHook, Claimed, SkBuff};

/// Whether this kernel has IPv6: booted with `ipv6.disable=1` it has the functions, and nothing that they ask. Any context.
pub(super) fn ipv6_is_present() -> bool {
    // SAFETY: The helper reads a variable.
    unsafe { bindings::oxtcp_helper_ipv6_present() }
}

/// An address family on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Family {
    /// IPv4.
    V4,
    /// IPv6.
    V6,
}

/// Looks at every packet for this host that the firewall has let through.
pub(crate) trait LocalIn: 'static {
    /// Takes `skb`, or gives it back for the others.
    ///
    /// Runs in softirq (packets from outside) or in process context (loopback, with BH off; what NFQUEUE lets go on, with BH on),
    /// always under `rcu_read_lock`. Must not sleep.
    fn local_in<'r>(
        net: &'r Net,
        family: Family,
        skb: SkBuff<AtHook<'r>>,
    ) -> Result<(), SkBuff<AtHook<'r>>>;
}

/// Where our hooks stand among the others of LOCAL_IN, which run in ascending order:
///
/// | priority | who |
/// |---|---|
/// | -150 .. 50 | mangle, filter, security: the firewall; what it drops we never see |
/// | 100 | source NAT for local input: afterwards addresses and ports are final |
/// | 225 | SELinux's last |
/// | **299** | **we** |
/// | 300 | conntrack's helpers |
/// | `INT_MAX` | conntrack's confirmation |
///
/// So everything that a firewall can say has been said, with a chain of nftables at any of the
/// priorities that have names. Helpers do not matter to stolen packets; the confirmation does, and
/// cannot run before us: it must be the last, and others at `INT_MAX` would come in the order of their
/// registration. [`confirm_conntrack`] makes up for it.
const PRIORITY: c_int = 299;

/// Our hooks in one namespace.
///
/// Dropping unregisters them; a handler that is running goes on, under RCU, until a grace period has passed.
///
/// # Invariants
///
/// `hooks` are registered with `net`.
pub(crate) struct LocalInHooks<'n> {
    net: &'n Net,
    hooks: Hooks,
}

impl<'n> LocalInHooks<'n> {
    /// Hooks `H` into `net`. Sleeps. Errors: ENOMEM; E2BIG when there are 1024 hooks already.
    pub(crate) fn register<H: LocalIn>(doorway: &Doorway<'n, impl PerNet>) -> Result<Self> {
        kernel::task::might_sleep();
        let net = doorway.net();
        let place = (bindings::nf_inet_hooks_NF_INET_LOCAL_IN, PRIORITY);
        let hooks = (
            local_in_hook::<H>(Family::V4),
            local_in_hook::<H>(Family::V6),
        );
        // SAFETY: Both are what netfilter expects, for the address family that they are for, and look at no pointer.
        let hooks = unsafe { Hooks::register(net, place, core::ptr::null_mut(), hooks)? };
        // INVARIANT: Just registered.
        Ok(Self { net, hooks })
    }
}

impl Drop for LocalInHooks<'_> {
    /// Sleeps.
    fn drop(&mut self) {
        kernel::task::might_sleep();
        // SAFETY: By the type's invariants they are registered with this namespace, which is there.
        unsafe { self.hooks.unregister(self.net) };
    }
}

/// What is registered at LOCAL_IN for packets of the family: one address for each `H`.
#[inline(never)]
pub(super) fn local_in_hook<H: LocalIn>(family: Family) -> Hook {
    match family {
        Family::V4 => hook_v4::<H>,
        Family::V6 => hook_v6::<H>,
    }
}

/// Hooks of one kind: IPv4's and, where the kernel has it, IPv6's; or none.
pub(super) struct Hooks(KVec<bindings::nf_hook_ops>);

// SAFETY: C's functions for hooks lock for themselves, and can be called by any thread.
unsafe impl Send for Hooks {}

/// What netfilter calls for a packet.
pub(super) type Hook = unsafe extern "C" fn(
    *mut c_void,
    *mut bindings::sk_buff,
    *const bindings::nf_hook_state,
) -> c_uint;

impl Hooks {
    /// None.
    pub(super) const fn new() -> Self {
        Self(KVec::new())
    }

    /// Whether there are none.
    pub(super) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Registers them at that place of a namespace: `NF_INET_*`, and the priority there. They are called with `private`. Sleeps. Errors:
    /// ENOMEM; E2BIG when there are 1024 hooks already.
    ///
    /// # Safety
    ///
    /// `v4` and `v6` are what netfilter expects, each for packets of its address family, and may be called with `private` until a grace period
    /// after the hooks are unregistered. They are unregistered before the namespace goes.
    pub(super) unsafe fn register(
        net: &Net,
        place: (c_uint, c_int),
        private: *mut c_void,
        (v4, v6): (Hook, Hook),
    ) -> Result<Self> {
        let ops_of = |family, hook| hook_ops(family, place, private, hook);
        let mut ops = KVec::with_capacity(2, GFP_KERNEL)?;
        ops.push(ops_of(bindings::NFPROTO_IPV4, v4), GFP_KERNEL)?;
        if ipv6_is_present() {
            ops.push(ops_of(bindings::NFPROTO_IPV6, v6), GFP_KERNEL)?;
        }
        // SAFETY: `net` is valid. The vector's buffer stays where it is, and is not written to by us, until the hooks are unregistered and
        // nobody looks at it under RCU any more. The caller vouches for the functions.
        let registered = kernel::error::to_result(unsafe {
            bindings::nf_register_net_hooks(net.as_ptr(), ops.as_ptr(), ops.len() as c_uint)
        });
        match registered {
            Ok(()) => Ok(Self(ops)),
            Err(error) => {
                // The first of them may have been there.
                forget_ops(ops);
                Err(error)
            }
        }
    }

    /// Unregisters them, if there are any. Sleeps. A handler that is running goes on, under RCU.
    ///
    /// # Safety
    ///
    /// They are registered with that namespace.
    pub(super) unsafe fn unregister(&mut self, net: &Net) {
        let ops = core::mem::take(&mut self.0);
        if ops.is_empty() {
            return;
        }
        // SAFETY: Promised by the caller.
        unsafe {
            bindings::nf_unregister_net_hooks(net.as_ptr(), ops.as_ptr(), ops.len() as c_uint)
        };
        forget_ops(ops);
    }
}

/// Frees what hooks were registered by: who lists hooks (`nfnetlink_hook`) may be looking at it, under RCU. Sleeps.
fn forget_ops(ops: KVec<bindings::nf_hook_ops>) {
    // SAFETY: In process context, as everything here that sleeps; no RCU read lock is held.
    unsafe { bindings::synchronize_rcu() };
    drop(ops);
}

/// What conntrack says of a packet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(crate) enum Confirm {
    /// The flow is in conntrack's table now, or conntrack does not know the packet.
    Accept,
    /// Another packet of the same flow was faster and conntrack wants this one dropped.
    Drop,
}

/// Puts the flow of a packet that we take into conntrack's table, where conntrack would have done so
/// after the last hook. Without this conntrack takes our answer for the flow's first packet.
///
/// To be called for every packet claimed, before it is detached. Any context.
pub(crate) fn confirm_conntrack(skb: &SkBuff<Claimed<'_>>) -> Confirm {
    // SAFETY: The skb is valid, and by owning it the caller is the only one to look at it.
    match unsafe { bindings::oxtcp_helper_ct_confirm(skb.as_ptr()) } {
        bindings::NF_ACCEPT => Confirm::Accept,
        _ => Confirm::Drop,
    }
}

fn hook_ops(
    family: c_uint,
    (hooknum, priority): (c_uint, c_int),
    private: *mut c_void,
    hook: Hook,
) -> bindings::nf_hook_ops {
    // SAFETY: Zeroes are a valid value of this C struct: null pointers, numbers, `None`.
    let mut ops: bindings::nf_hook_ops = unsafe { core::mem::zeroed() };
    ops.hook = Some(hook);
    ops.priv_ = private;
    ops.pf = family as u8;
    ops.hooknum = hooknum;
    ops.priority = priority;
    ops
}

/// # Safety
///
/// To be called by netfilter, for a packet of IPv4.
unsafe extern "C" fn hook_v4<H: LocalIn>(
    _private: *mut c_void,
    skb: *mut bindings::sk_buff,
    state: *const bindings::nf_hook_state,
) -> c_uint {
    // SAFETY: netfilter calls us with both valid, and `skb` is ours to keep if we say so.
    unsafe { local_in::<H>(Family::V4, skb, state) }
}

/// # Safety
///
/// To be called by netfilter, for a packet of IPv6.
unsafe extern "C" fn hook_v6<H: LocalIn>(
    _private: *mut c_void,
    skb: *mut bindings::sk_buff,
    state: *const bindings::nf_hook_state,
) -> c_uint {
    // SAFETY: netfilter calls us with both valid, and `skb` is ours to keep if we say so.
    unsafe { local_in::<H>(Family::V6, skb, state) }
}

/// # Safety
///
/// `skb` and `state` must be valid, under RCU; the caller must not touch `skb` any more when the answer
/// is NF_STOLEN.
#[inline(always)]
unsafe fn local_in<H: LocalIn>(
    family: Family,
    skb: *mut bindings::sk_buff,
    state: *const bindings::nf_hook_state,
) -> c_uint {
    // SAFETY: `state` is valid; a hook runs only in a namespace that lives, or that is cleaning up and
    // waits for RCU readers like us before it goes on.
    let net = unsafe { Net::from_raw((*state).net) };
    // SAFETY: The caller vouches for it; the skb is ours until we give it back below. By LOCAL_IN's rules it has a route
    // and a device, and the data begins at the network header, which is linear.
    let ours = unsafe { SkBuff::<AtHook<'_>>::from_raw(NonNull::new_unchecked(skb)) };
    match H::local_in(net, family, ours) {
        // The caller goes on with the pointer that it has.
        Err(back) if back.as_ptr() == skb => {
            let _ = back.into_raw();
            bindings::NF_ACCEPT
        }
        // Taken; or another packet came back, and the caller's is gone all the same.
        _ => bindings::NF_STOLEN,
    }
}
