// SPDX-License-Identifier: GPL-2.0

//! Packets that came in: whether a socket may have them, the receive queue, and those that came out of order.

use core::marker::PhantomData;
use core::ptr::NonNull;

use kernel::prelude::*;

use super::{dense, Locked, Owned, Sock};
use crate::sys::bindings;
use crate::sys::drop_reason::DropReason;
use crate::sys::netfilter::Family;
use crate::sys::packet_tree::PacketTree;
use crate::sys::proto::Protocol;
use crate::sys::skb::{self, Charged, Claimed, SkBuff};
use crate::sys::stamp::RxStamps;
use crate::sys::user::{Message, ToProgram};

impl<P: Protocol> Sock<P> {
    /// Whether IPsec's policies, the socket's filter, the LSM and the cgroup let the socket have a packet
    /// of TCP. A filter may cut the packet. The context of [`LocalIn`](crate::sys::netfilter::LocalIn::local_in).
    ///
    /// # Errors
    ///
    /// Why not.
    pub(crate) fn check(
        &self,
        skb: &mut SkBuff<Claimed<'_>>,
        family: Family,
    ) -> core::result::Result<(), DropReason> {
        const FIXED: u32 = core::mem::size_of::<bindings::tcphdr>() as u32;
        if skb.header(FIXED).is_none() {
            return Err(DropReason::TooSmall);
        }
        // SAFETY: Both are valid, and the packet has a device; the fixed header is linear.
        DropReason::of_refusal(unsafe {
            bindings::oxtcp_helper_rx_refusal(self.as_ptr(), skb.as_ptr(), family == Family::V6)
        })
    }
}

impl<'a, P: Protocol> Locked<'a, P> {
    /// Queues a packet for readers, or joins its bytes to those of the last one.
    pub(crate) fn queue(&mut self, skb: Charged<'a>) {
        let skb = skb.into_skb().into_raw();
        // SAFETY: Valid and locked; the packet is ours, and by its brand charged to this socket, as those in the queue
        // are.
        unsafe {
            let queue = &raw mut (*self.sk()).sk_receive_queue;
            if let Some(last) = skb::last_of(queue) {
                if dense::join(self.sk(), last.as_ptr(), skb) {
                    return;
                }
            }
            bindings::oxtcp_helper_skb_queue_tail(queue, skb.as_ptr())
        };
    }

    /// The first packet of the receive queue, which stays there.
    pub(crate) fn peek(&mut self) -> Option<Queued<'_>> {
        // SAFETY: Valid and locked.
        let skb = unsafe { skb::first_of(&raw mut (*self.sk()).sk_receive_queue) }?;
        // INVARIANT: On the queue, which the lock protects for the borrow of `self`.
        Some(Queued {
            skb,
            _locked: PhantomData,
        })
    }

    /// The last packet of the receive queue.
    pub(crate) fn last_queued(&mut self) -> Option<skb::Unread> {
        // SAFETY: Valid and locked.
        let skb = unsafe { skb::last_of(&raw mut (*self.sk()).sk_receive_queue) }?;
        // INVARIANT: On the queue.
        Some(
            Queued {
                skb,
                _locked: PhantomData,
            }
            .unread(),
        )
    }

    /// Takes `len` bytes off the front of the receive queue, freeing packets that are done with.
    pub(crate) fn consume(&mut self, mut len: usize) {
        while let Some(mut queued) = self.peek() {
            let mut unread = queued.unread();
            if unread.len as usize > len {
                unread.seq = unread.seq.wrapping_add(len as u32);
                unread.offset = unread.offset.saturating_add(len as u32);
                unread.len = unread.len.saturating_sub(len as u32);
                // SAFETY: It ends where it did.
                unsafe { queued.set_unread(unread) };
                break;
            }
            len = len.saturating_sub(unread.len as usize);
            // SAFETY: Valid and locked.
            if let Some(skb) = unsafe { skb::pop_first(&raw mut (*self.sk()).sk_receive_queue) } {
                skb.consume();
            }
        }
    }

    /// Bytes that wait in the receive queue of a socket with the lock held; frees the queue.
    pub(crate) fn purge(&mut self) -> bool {
        let mut unread = false;
        // SAFETY: Valid and locked.
        while let Some(skb) = unsafe { skb::pop_first(&raw mut (*self.sk()).sk_receive_queue) } {
            unread |= skb.unread().len > 0;
        }
        unread
    }

    /// Puts `skb` among the packets that came out of order: behind the last one whose first unread byte
    /// `is_before` says comes first. Bytes that continue that one's are joined to it, and none are kept twice: `had` says how many
    /// of the first bytes of its second argument are in its first one, which begins no later.
    pub(crate) fn keep_apart(
        &mut self,
        skb: Charged<'a>,
        is_before: impl Fn(skb::Unread) -> bool,
        had: impl Fn(skb::Unread, skb::Unread) -> u32,
    ) {
        let sk = self.sk();
        // The packet is by its brand charged to this socket, which frees the tree before it goes.
        self.apart()
            .insert(skb.into_skb(), is_before, had, |to, from| {
                // SAFETY: Both are charged to this socket, which is locked.
                unsafe { dense::join(sk, to, from) }
            });
    }

    /// The first of the packets that came out of order.
    pub(crate) fn first_apart(&mut self) -> Option<skb::Unread> {
        self.apart().first()
    }

    /// Takes the first of the packets that came out of order.
    pub(crate) fn pop_apart(&mut self) -> Option<Charged<'a>> {
        let skb = self.apart().pop()?;
        // SAFETY: `keep_apart` was given a packet that is charged to this socket.
        Some(unsafe { Charged::assume(skb) })
    }

    /// The last of the packets that came out of order, and its memory in bytes.
    pub(crate) fn last_apart(&mut self) -> Option<(skb::Unread, u32)> {
        self.apart().last()
    }

    /// Frees the last of the packets that came out of order.
    pub(crate) fn drop_last_apart(&mut self) {
        // The tree's are charged to this socket, which is locked.
        if let Some(last) = self.apart().pop_last() {
            last.drop_for(DropReason::Pruned);
        }
    }

    /// Frees the packets that came out of order.
    pub(crate) fn purge_apart(&mut self) {
        while self.pop_apart().is_some() {}
    }

    fn apart(&mut self) -> &mut PacketTree {
        // SAFETY: Valid, and locked by the invariant; the borrow of `self` ends before the lock can be let go.
        unsafe { &mut *Sock::<P>::apart_of(self.sk()) }
    }
}

impl<P: Protocol> Owned<'_, P> {
    /// Copies from the receive queue, `skip` bytes into it, without taking anything; without `to` only looks at it. Notes when
    /// the packets came.
    ///
    /// Returns how many bytes were copied of at most `max`.
    ///
    /// # Errors
    ///
    /// EFAULT when nothing could be copied.
    pub(crate) fn copy_queued(
        &mut self,
        mut to: Option<&mut Message<'_, ToProgram>>,
        mut skip: usize,
        max: usize,
        stamps: &mut RxStamps,
    ) -> Result<usize> {
        let mut copied: usize = 0;
        let head: *mut bindings::sk_buff_head =
            // SAFETY: Valid; only the address is taken.
            unsafe { &raw mut (*self.sk()).sk_receive_queue };
        // SAFETY: The queue is protected by the lock, which stays held.
        let mut at = unsafe { skb::first_of(head) };
        while let Some(skb) = at {
            if copied >= max {
                break;
            }
            // INVARIANT: On the queue.
            let queued = Queued {
                skb,
                _locked: PhantomData,
            };
            let unread = queued.unread();
            if skip >= unread.len as usize {
                skip = skip.saturating_sub(unread.len as usize);
            } else {
                let offset = unread.offset.saturating_add(skip as u32);
                let here = (unread.len as usize).saturating_sub(skip);
                let len = here.min(max.saturating_sub(copied)) as u32;
                let result = match &mut to {
                    Some(to) => queued.copy_to(to, offset, len),
                    None => Ok(()),
                };
                if let Err(error) = result {
                    if copied == 0 {
                        return Err(error);
                    }
                    break;
                }
                queued.note_stamps(stamps);
                skip = 0;
                copied = copied.saturating_add(len as usize);
            }
            // SAFETY: `skb` is on the queue; `next` is another packet or the head.
            let next = unsafe { (*skb.as_ptr()).__bindgen_anon_1.__bindgen_anon_1.next };
            at = NonNull::new(next).filter(|&next| next.as_ptr() != head.cast());
        }
        Ok(copied)
    }
}

/// A packet on the receive queue of a locked socket.
///
/// # Invariants
///
/// The packet is on the queue of the socket whose lock is held for `'a`.
pub(crate) struct Queued<'a> {
    skb: NonNull<bindings::sk_buff>,
    _locked: PhantomData<&'a mut ()>,
}

impl Queued<'_> {
    pub(crate) fn unread(&self) -> skb::Unread {
        // SAFETY: Valid by the invariant; its control block is an `Unread`, as it was a `Detached` one.
        unsafe {
            (*self.skb.as_ptr())
                .cb
                .as_ptr()
                .cast::<skb::Unread>()
                .read()
        }
    }

    /// # Safety
    ///
    /// It does not reach beyond the packet's end.
    unsafe fn set_unread(&mut self, unread: skb::Unread) {
        // SAFETY: As above, and the lock makes it ours to write. The caller promises what makes it a `Detached`'s.
        unsafe {
            (*self.skb.as_ptr())
                .cb
                .as_mut_ptr()
                .cast::<skb::Unread>()
                .write(unread)
        };
    }

    /// Notes when the packet came, if it is known.
    fn note_stamps(&self, stamps: &mut RxStamps) {
        // SAFETY: Valid by the invariant.
        unsafe { bindings::oxtcp_helper_skb_rx_stamps(self.skb.as_ptr(), &mut stamps.0) };
    }

    /// # Errors
    ///
    /// EFAULT for memory that cannot be written, and for an extent that is not in the packet.
    fn copy_to(&self, to: &mut Message<'_, ToProgram>, offset: u32, len: u32) -> Result {
        let offset = i32::try_from(offset).map_err(|_| EFAULT)?;
        let len = i32::try_from(len).map_err(|_| EFAULT)?;
        // SAFETY: Valid by the invariant. The function checks the end of the extent, and the user memory; that the extent does
        // not begin before the data it takes for granted, and neither number is negative.
        kernel::error::to_result(unsafe {
            bindings::skb_copy_datagram_iter(self.skb.as_ptr(), offset, to.iter(), len)
        })
    }
}
