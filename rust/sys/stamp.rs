// SPDX-License-Identifier: GPL-2.0

//! Timestamps of packets: SO_TIMESTAMPING, SO_TIMESTAMP and their kin, and the error queue, which tells when what a
//! program has written went out and was acknowledged.
//!
//! What a call to send asks for, [`TxStamps`], belongs to the last byte that it wrote. The packet that has this byte bears the
//! flags, and the kernel stamps it as it passes the queue and the device; when the byte is acknowledged, the
//! protocol says so ([`Locked::tell_acked`]). Linux: `Documentation/networking/timestamping.rst`.

use kernel::error::to_result;
use kernel::ffi::c_int;
use kernel::prelude::*;

use super::bindings;
use super::proto::Protocol;
use super::skb::{Outgoing, SkBuff};
use super::sock::{Locked, Owned, SkState, Sock};
use super::user::{FromProgram, Message, OptionValue, ToProgram};

/// `SOF_TIMESTAMPING_*`, as numbers.
const OPT_ID: u32 = bindings::SOF_TIMESTAMPING_OPT_ID;
const OPT_ID_TCP: u32 = bindings::SOF_TIMESTAMPING_OPT_ID_TCP;
const OPT_STATS: u32 = bindings::SOF_TIMESTAMPING_OPT_STATS;
const TX_ACK: u32 = bindings::SOF_TIMESTAMPING_TX_ACK;

/// Which timestamps are wanted of a byte that is sent: flags of a packet's `tx_flags`, and whether of its acknowledgment.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct TxStamps {
    pub(crate) flags: u8,
    pub(crate) acked: bool,
}

impl TxStamps {
    /// Those of flags as SO_TIMESTAMPING has them.
    fn of(tsflags: u32) -> Self {
        if tsflags == 0 {
            return Self::default();
        }
        Self {
            // SAFETY: No conditions.
            flags: unsafe { bindings::oxtcp_helper_tx_flags(tsflags) },
            acked: tsflags & TX_ACK != 0,
        }
    }

    /// None is wanted.
    pub(crate) fn is_none(self) -> bool {
        self == Self::default()
    }
}

/// When the packets came that a program reads: the last one's times.
pub(crate) struct RxStamps(pub(super) bindings::scm_timestamping_internal);

impl RxStamps {
    pub(crate) fn none() -> Self {
        Self(bindings::scm_timestamping_internal { ts: [0; 3] })
    }
}

impl<P: Protocol> Sock<P> {
    /// SO_TIMESTAMPING's flags.
    fn tsflags(&self) -> u32 {
        // SAFETY: A single word, volatile as `READ_ONCE` is.
        unsafe { (&raw const (*self.as_ptr()).sk_tsflags).read_volatile() }
    }

    /// Whether recvmsg(MSG_ERRQUEUE) finds something.
    #[inline]
    pub(crate) fn has_error_queue(&self) -> bool {
        // SAFETY: Valid; the queue's head is looked at as a single word, volatile as in `skb_queue_empty_lockless()`, and not followed.
        unsafe {
            let queue = &raw mut (*self.as_ptr()).sk_error_queue;
            let next = &raw const (*queue).__bindgen_anon_1.__bindgen_anon_1.next;
            next.read_volatile() != queue.cast()
        }
    }

    /// Sets SO_TIMESTAMPING by `set`, which is C's function, with what `sock_set_timestamping()` does beside for the kernel's own
    /// TCP alone: the keys of timestamps (OPT_ID) count from here on.
    ///
    /// # Errors
    ///
    /// EINVAL for keys without a connection, EOPNOTSUPP for OPT_STATS, and those of `set`.
    pub(super) fn set_timestamping(
        &self,
        value: &OptionValue<'_>,
        set: impl FnOnce() -> c_int,
    ) -> Result {
        let asked = value.int()? as u32;
        let begins = |flags: u32| flags & OPT_ID != 0 && self.tsflags() & OPT_ID == 0;
        if asked & OPT_STATS != 0 {
            return Err(super::errno::eopnotsupp());
        }
        let begin = begins(asked);
        if begin && matches!(self.state(), SkState::CLOSE | SkState::LISTEN) {
            return Err(EINVAL);
        }
        to_result(set())?;
        if begin {
            let from_the_end = self.tsflags() & OPT_ID_TCP != 0;
            self.lock(|sk| {
                if let Some(key) = P::stamp_key(sk, from_the_end) {
                    // SAFETY: Valid and locked; a single word.
                    unsafe { bindings::oxtcp_helper_sk_set_tskey(sk.as_ptr(), key) };
                }
            });
        }
        Ok(())
    }
}

impl<P: Protocol> Locked<'_, P> {
    /// The byte with the sequence number `key`, the last one of `packet`, has been acknowledged, and a timestamp is wanted of
    /// that: it goes to the error queue.
    pub(crate) fn tell_acked(&mut self, packet: SkBuff<Outgoing>, key: u32) {
        let packet = packet.into_raw().as_ptr();
        // SAFETY: Both are valid; the packet is ours, and given up. Nobody has used its control block.
        unsafe { bindings::oxtcp_helper_skb_acked(packet, self.as_ptr(), key) };
    }
}

impl<P: Protocol> Owned<'_, P> {
    /// Which timestamps are wanted of what a message sends.
    ///
    /// # Errors
    ///
    /// EINVAL for control messages that are not in order, EPERM for those that a program may not use.
    pub(crate) fn tx_stamps(&mut self, from: &mut Message<'_, FromProgram>) -> Result<TxStamps> {
        let tsflags = match from.has_control() {
            false => self.sock().tsflags(),
            true => {
                let mut tsflags = 0;
                // SAFETY: The socket is valid, and so is the message, whose control messages C has copied into the kernel.
                to_result(unsafe {
                    bindings::oxtcp_helper_tx_stamps(self.as_ptr(), from.raw(), &mut tsflags)
                })?;
                tsflags
            }
        };
        Ok(TxStamps::of(tsflags))
    }

    /// recvmsg(MSG_ERRQUEUE).
    ///
    /// # Errors
    ///
    /// EAGAIN when there is nothing, EFAULT.
    pub(crate) fn receive_error(
        &mut self,
        to: &mut Message<'_, ToProgram>,
        len: usize,
    ) -> Result<usize> {
        let len = c_int::try_from(len).unwrap_or(c_int::MAX);
        // SAFETY: The socket is valid and owned, and so is the message.
        let got = unsafe { bindings::oxtcp_helper_recv_error(self.as_ptr(), to.raw(), len) };
        to_result(got)?;
        Ok(usize::try_from(got).unwrap_or(0))
    }

    /// Tells a program when the packets came, as SO_TIMESTAMP and its kin ask for it.
    pub(crate) fn put_rx_stamps(&mut self, to: &mut Message<'_, ToProgram>, mut stamps: RxStamps) {
        if stamps.0.ts[0] | stamps.0.ts[2] != 0 {
            // SAFETY: All are valid; the address for control messages is checked by the copy.
            unsafe {
                bindings::oxtcp_helper_put_rx_stamps(to.raw(), self.as_ptr(), &mut stamps.0);
            }
        }
    }
}
