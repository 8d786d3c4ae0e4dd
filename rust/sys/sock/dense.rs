// SPDX-License-Identifier: GPL-2.0

//! Received packets, made denser: neighbours are joined as they come (Linux's `tcp_try_coalesce()`), and small ones are
//! copied together when memory is short (`tcp_collapse()`).

use core::ptr::NonNull;

use super::Locked;
use crate::sys::bindings;
use crate::sys::proto::Protocol;
use crate::sys::skb::{self, Charged, SkBuff, Unread, SHARED_INFO};

/// Payload in a packet whose head is a page.
const DENSE: u32 = kernel::page::PAGE_SIZE as u32 - SHARED_INFO;

/// Joins the bytes of `from` to those of `to`, if they are the next ones and nothing stands between them. Says whether it
/// has; then `from` is freed.
///
/// # Safety
///
/// Both are charged to `sk`, which is valid and locked; their control blocks are [`Unread`]s. `to` is on a list of the
/// socket's, `from` is the caller's and on none.
pub(super) unsafe fn join(
    sk: *mut bindings::sock,
    to: *mut bindings::sk_buff,
    from: NonNull<bindings::sk_buff>,
) -> bool {
    let from = from.as_ptr();
    // SAFETY: Promised by the caller.
    let (first, next) = unsafe { (skb::unread_of(to), skb::unread_of(from)) };
    // SAFETY: As above; single words.
    let (to_len, len, paged) = unsafe { ((*to).len, (*from).len, (*from).data_len) };
    // All that lies behind the bytes that are read, or are headers, is to be read.
    let whole = |unread: Unread, len: u32| unread.offset.checked_add(unread.len) == Some(len);
    if first.seq.wrapping_add(first.len) != next.seq
        || !whole(first, to_len)
        || !whole(next, len)
        || next.offset > len.saturating_sub(paged)
    {
        return false;
    }
    // SAFETY: So many bytes are linear by the test above; then the first one is the first to be read. The helper frees
    // `from` if it says so, and the charges stay right.
    unsafe {
        bindings::oxtcp_helper_skb_pull(from, next.offset);
        skb::set_unread_of(from, Unread { offset: 0, ..next });
        if !bindings::oxtcp_helper_skb_join(sk, to, from) {
            return false;
        }
        let len = first.len.saturating_add(next.len);
        skb::set_unread_of(to, Unread { len, ..first });
    }
    true
}

/// A packet that others are copied to.
struct Copy<'a> {
    skb: Charged<'a>,
    unread: Unread,
    /// Bytes that fit behind them.
    room: u32,
}

impl<'a> Copy<'a> {
    /// One for `size` bytes, of which the first has this number; `None` without memory.
    fn new<P: Protocol>(sk: &mut Locked<'a, P>, seq: u32, size: u32) -> Option<Self> {
        let skb = SkBuff::for_copies(size)?.charge(sk).ok()?;
        Some(Self {
            skb,
            unread: Unread {
                seq,
                offset: 0,
                len: 0,
            },
            room: size,
        })
    }

    /// Copies bytes of `from`, which follow those that are there, up to the packet's size. Returns how many.
    fn take(&mut self, from: &Charged<'a>, offset: u32, len: u32) -> u32 {
        let len = len.min(self.room);
        if !self.skb.append(from, offset, len) {
            self.room = 0;
            return 0;
        }
        self.room = self.room.saturating_sub(len);
        self.unread.len = self.unread.len.saturating_add(len);
        len
    }
}

impl<'a, P: Protocol> Locked<'a, P> {
    /// Copies unread bytes to denser packets where `is_bloated`, of payload and memory in bytes, says that theirs take too
    /// much. What there is no memory for stays as it is. How many packets have gone, all of theirs copied.
    pub(crate) fn collapse(&mut self, is_bloated: impl Fn(u32, u32) -> bool) -> u32 {
        let mut copy: Option<Copy<'a>> = None;
        let mut gone: u32 = 0;
        let mut left = self.queued();
        // Each packet goes from the front of the queue to its end, itself or its bytes.
        while left > 0 {
            let run = match copy {
                Some(_) => 0,
                None => self.bloated(left, &is_bloated),
            };
            let Some(from) = self.unqueue() else { break };
            left = left.saturating_sub(1);
            let mut unread = from.unread();
            // A lone one is as dense as it can be.
            let copied = copy.is_some() || run > unread.len;
            if copied && is_bloated(unread.len, from.truesize()) {
                if copy.is_none() {
                    copy = Copy::new(self, unread.seq, run);
                }
                if let Some(to) = &mut copy {
                    let taken = to.take(&from, unread.offset, unread.len);
                    unread.seq = unread.seq.wrapping_add(taken);
                    unread.offset = unread.offset.saturating_add(taken);
                    unread.len = unread.len.saturating_sub(taken);
                    if to.room > 0 && unread.len == 0 {
                        from.consume();
                        gone = gone.saturating_add(1);
                        continue;
                    }
                }
            }
            if let Some(full) = copy.take() {
                self.requeue(full.skb, full.unread);
            }
            self.requeue(from, unread);
        }
        if let Some(last) = copy {
            self.requeue(last.skb, last.unread);
        }
        gone
    }

    /// How many packets are in the receive queue.
    fn queued(&mut self) -> u32 {
        // SAFETY: Valid and locked.
        unsafe { (*self.as_ptr()).sk_receive_queue.qlen }
    }

    /// Bytes of bloated packets at the front of the queue, of its first `most`; no more than fit into a packet.
    fn bloated(&mut self, most: u32, is_bloated: &impl Fn(u32, u32) -> bool) -> u32 {
        let mut bytes: u32 = 0;
        // SAFETY: Valid and locked.
        let mut at = unsafe { skb::first_of(&raw mut (*self.as_ptr()).sk_receive_queue) };
        for _ in 0..most {
            let Some(packet) = at else { break };
            // SAFETY: On the queue; its control block is an `Unread`.
            let (unread, truesize) =
                unsafe { (skb::unread_of(packet.as_ptr()), (*packet.as_ptr()).truesize) };
            if bytes >= DENSE || !is_bloated(unread.len, truesize) {
                break;
            }
            bytes = bytes.saturating_add(unread.len);
            // SAFETY: `most` is no more than there are, so what is behind the last is not looked at.
            at = NonNull::new(unsafe { skb::next_of(packet.as_ptr()) });
        }
        bytes.min(DENSE)
    }

    /// Takes the first packet off the receive queue.
    fn unqueue(&mut self) -> Option<Charged<'a>> {
        // SAFETY: Valid and locked, and what is queued is charged to this socket.
        unsafe {
            let skb = skb::pop_first(&raw mut (*self.as_ptr()).sk_receive_queue)?;
            Some(Charged::assume(skb))
        }
    }

    /// Puts a packet at the end of the receive queue, as it is; frees one of which all is read.
    fn requeue(&mut self, mut skb: Charged<'a>, unread: Unread) {
        if unread.len == 0 {
            skb.consume();
            return;
        }
        skb.set_unread(unread);
        let raw = skb.into_skb().into_raw().as_ptr();
        // SAFETY: Valid and locked; the packet is ours, and by its brand charged to this socket.
        unsafe {
            bindings::oxtcp_helper_skb_queue_tail(&raw mut (*self.as_ptr()).sk_receive_queue, raw)
        };
    }
}
