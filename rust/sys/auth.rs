// SPDX-License-Identifier: GPL-2.0

//! What signatures of segments need of the kernel: sums over packets, and the domains that keys may be bound to.
//!
//! C headers: `include/crypto/md5.h`, `sha1.h`, `sha2.h` and `aes-cbc-macs.h` beside it, `include/net/l3mdev.h`.

use kernel::error::to_result;
use kernel::prelude::*;

use super::bindings;
use super::early::Unrouted;
use super::net::Net;
use super::netfilter::Family;
use super::proto::Protocol;
use super::skb::{AtHook, Claimed, SkBuff};
use super::sock::Locked;
use super::table::FlowKey;

/// Whether MD5 may be used.
///
/// # Errors
///
/// ENOPROTOOPT in a kernel that has none, EOPNOTSUPP in one that may use it no more (FIPS).
pub(crate) fn md5_is_usable() -> Result {
    // SAFETY: No conditions.
    to_result(unsafe { bindings::oxtcp_helper_md5_usable() })
}

/// The MD5 sum over `head`, what the packet has from `skip` bytes behind its data pointer on, and `key` (RFC 2385 section 2.0). Any
/// context.
pub(crate) fn md5<S>(skb: &mut SkBuff<S>, head: &[u8], skip: u32, key: &[u8]) -> [u8; 16] {
    let mut digest = [0; 16];
    // SAFETY: The packet is valid and ours; C reads the slices by their lengths, looks where the packet ends, and writes 16 bytes.
    unsafe {
        bindings::oxtcp_helper_md5_segment(
            skb.as_ptr(),
            head.as_ptr().cast(),
            head.len(),
            skip,
            key.as_ptr().cast(),
            key.len(),
            digest.as_mut_ptr(),
        )
    };
    digest
}

/// What TCP-AO makes sums with. As numbers they are the kernel's (`enum tcp_ao_algo_id`).
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum Algorithm {
    /// RFC 5926 section 3.2.1, for keys and segments.
    HmacSha1 = bindings::OXTCP_AO_HMAC_SHA1,
    /// Linux's own.
    HmacSha256 = bindings::OXTCP_AO_HMAC_SHA256,
    /// RFC 5926 section 3.2.2.
    AesCmac = bindings::OXTCP_AO_AES_CMAC,
}

/// Bytes of an AES-128 key.
pub(crate) const AES_KEY: usize = 16;

impl Algorithm {
    /// Whether the kernel has it.
    pub(crate) fn is_usable(self) -> bool {
        // SAFETY: No conditions.
        unsafe { bindings::oxtcp_helper_ao_usable(self as u32) }
    }

    /// Bytes of its sums, and of its traffic keys.
    pub(crate) const fn len(self) -> usize {
        match self {
            Algorithm::HmacSha1 => 20,
            Algorithm::HmacSha256 => 32,
            Algorithm::AesCmac => AES_KEY,
        }
    }

    /// The sum over `text`, in the first [`len`](Self::len) bytes. A key for AES has 16 bytes, else it counts as one of zeros. Any context.
    pub(crate) fn sum(self, key: &[u8], text: &[u8]) -> [u8; 32] {
        // SAFETY: There is no packet.
        unsafe { self.sum_of(key, text, core::ptr::null_mut(), 0) }
    }

    /// The sum over `text` and what the packet has from `skip` bytes behind its data pointer on. Any context.
    pub(crate) fn sum_with<S>(
        self,
        key: &[u8],
        text: &[u8],
        skb: &mut SkBuff<S>,
        skip: u32,
    ) -> [u8; 32] {
        // SAFETY: The packet is valid and ours.
        unsafe { self.sum_of(key, text, skb.as_ptr(), skip) }
    }

    /// # Safety
    ///
    /// `skb` is null or a valid packet, and the caller's.
    unsafe fn sum_of(
        self,
        key: &[u8],
        text: &[u8],
        skb: *mut bindings::sk_buff,
        skip: u32,
    ) -> [u8; 32] {
        let key = match self {
            Algorithm::AesCmac => key.get(..AES_KEY).unwrap_or(&[0; AES_KEY]),
            _ => key,
        };
        let mut sum = [0; 32];
        // SAFETY: C reads the slices by their lengths, of which that for AES is 16, looks where the packet ends, which is valid or null
        // by the caller's promise, and writes 32 bytes at most.
        unsafe {
            bindings::oxtcp_helper_ao_sum(
                self as u32,
                key.as_ptr(),
                key.len(),
                text.as_ptr().cast(),
                text.len(),
                skb,
                skip,
                sum.as_mut_ptr(),
            )
        };
        sum
    }
}

/// Whether two sums are the same, in a time that does not tell where they differ.
pub(crate) fn are_equal(a: &[u8], b: &[u8]) -> bool {
    let differ = a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b));
    a.len() == b.len() && core::hint::black_box(differ) == 0
}

impl SkBuff<Claimed<'_>> {
    /// The layer 3 domain (VRF) that the packet came in by: its interface, or 0.
    pub(crate) fn l3index(&self, family: Family) -> i32 {
        // SAFETY: Valid by the invariant; the control block is still the network layer's.
        unsafe { bindings::oxtcp_helper_skb_l3index(self.as_ptr(), family == Family::V6) }
    }
}

/// A packet in a hook on its way in.
///
/// # Safety
///
/// The control block of a packet in this state is the network layer's.
pub(crate) unsafe trait InHook {}

// SAFETY: Netfilter has handed it over, from the network layer.
unsafe impl InHook for AtHook<'_> {}
// SAFETY: The same.
unsafe impl InHook for Unrouted<'_> {}

impl<S: InHook> SkBuff<S> {
    /// Whether the kernel's own TCP has a connection, of whatever state, between the packet's ends. Under RCU, any context.
    pub(crate) fn is_builtin(&self, net: &Net, family: Family, key: &FlowKey) -> bool {
        self.builtin_has_flow(net, family, key, false)
    }

    /// The same of one that a SYN has no say in: not half open, nor in TIME-WAIT.
    pub(crate) fn is_builtins_connection(&self, net: &Net, family: Family, key: &FlowKey) -> bool {
        self.builtin_has_flow(net, family, key, true)
    }

    fn builtin_has_flow(&self, net: &Net, family: Family, key: &FlowKey, full: bool) -> bool {
        let (local, remote) = (key.local(), key.remote());
        // SAFETY: Valid by the invariant, with the network layer's control block; RCU is read-locked, as a hook has it, and addresses have 16
        // bytes.
        unsafe {
            bindings::oxtcp_helper_builtin_has_flow(
                net.as_ptr(),
                self.as_ptr(),
                family == Family::V6,
                remote.ip.as_ptr(),
                remote.port.to_be(),
                local.ip.as_ptr(),
                local.port,
                full,
            )
        }
    }
}

impl Net {
    /// The layer 3 domain (VRF) that an interface belongs to, or 0. Any context.
    pub(crate) fn l3_master(&self, ifindex: i32) -> i32 {
        // SAFETY: The namespace is valid.
        unsafe { bindings::oxtcp_helper_l3_master(self.as_ptr(), ifindex) }
    }

    /// Whether the interface is a layer 3 domain. Any context.
    pub(crate) fn is_l3_master(&self, ifindex: i32) -> bool {
        // SAFETY: The namespace is valid.
        unsafe { bindings::oxtcp_helper_is_l3_master(self.as_ptr(), ifindex) }
    }
}

impl<P: Protocol> Locked<'_, P> {
    /// Charges the socket for memory of options, as far as `net.core.optmem_max` goes; false, and nothing done, beyond that.
    pub(crate) fn charge_option(&mut self, size: usize) -> bool {
        let Ok(size) = i32::try_from(size) else {
            return false;
        };
        // SAFETY: Valid and locked.
        unsafe { bindings::oxtcp_helper_sk_charge_option(self.as_ptr(), size) }
    }

    /// Takes a charge back.
    pub(crate) fn uncharge_option(&mut self, size: usize) {
        // SAFETY: Valid and locked. What was charged is an `i32`.
        unsafe { bindings::oxtcp_helper_sk_uncharge_option(self.as_ptr(), size as i32) };
    }

    /// From now on each packet is one segment.
    pub(crate) fn disable_bursts(&mut self) {
        // SAFETY: Valid and locked.
        unsafe { bindings::oxtcp_helper_sk_gso_disable(self.as_ptr()) };
    }

    /// Whether a packet may be a burst of segments.
    pub(crate) fn allows_bursts(&self) -> bool {
        // SAFETY: Valid and locked.
        unsafe { bindings::oxtcp_helper_sk_has_gso(self.as_ptr()) }
    }
}
