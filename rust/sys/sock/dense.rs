// SPDX-License-Identifier: GPL-2.0

//! Received packets, made denser: neighbours are joined as they come (Linux's `tcp_try_coalesce()`), and small ones are
//! copied together when memory is short (`tcp_collapse()`), and what a program has left of a large one is copied out of it.

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
        // It is another one now.
        skb::set_judged_of(to, 0);
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
    ///
    /// `share` is the number that it judges by: what it has let pass it lets pass again with the same number or a lower one, so such
    /// packets are not looked at again. They are the first of the queue.
    pub(crate) fn collapse(&mut self, share: u8, is_bloated: impl Fn(u32, u32) -> bool) -> u32 {
        let mut copy: Option<Copy<'a>> = None;
        let mut gone: u32 = 0;
        let mut memory = true;
        let mut at = self.first_unjudged(share);
        // Each of them goes back to where it was, itself or its bytes.
        while let Some(packet) = at {
            let run = match copy {
                // SAFETY: `packet` is on the queue: it is the first one looked for, or was behind the one before.
                None if memory => unsafe { self.bloated(packet, &is_bloated) },
                _ => 0,
            };
            // SAFETY: As above.
            let next = unsafe { self.behind(packet) };
            // SAFETY: As above.
            let from = unsafe { self.unqueue(packet) };
            at = next;
            let mut unread = from.unread();
            // A lone one is as dense as it can be.
            let copied = copy.is_some() || run > unread.len;
            if copied && is_bloated(unread.len, from.truesize()) {
                if copy.is_none() {
                    copy = Copy::new(self, unread.seq, run);
                    memory = copy.is_some();
                }
                if let Some(to) = &mut copy {
                    let taken = to.take(&from, unread.offset, unread.len);
                    unread = unread.beyond(taken);
                    if to.room > 0 && unread.len == 0 {
                        from.consume();
                        gone = gone.saturating_add(1);
                        continue;
                    }
                }
            }
            if let Some(full) = copy.take() {
                // SAFETY: `next` is on the queue, as it has been found there.
                unsafe { self.requeue(full.skb, full.unread, next, share) };
            }
            // SAFETY: As above.
            unsafe { self.requeue(from, unread, next, share) };
        }
        if let Some(last) = copy {
            // SAFETY: There is no `next`.
            unsafe { self.requeue(last.skb, last.unread, None, share) };
        }
        gone
    }

    /// Copies what is unread of the receive queue's first packet to dense ones, if `is_mostly_read`, of payload and memory in bytes, says
    /// that it is worth it. What there is no memory for stays as it is. Says whether it has begun to.
    pub(crate) fn thin_first(&mut self, is_mostly_read: impl Fn(u32, u32) -> bool) -> bool {
        let head = self.queue_head();
        // SAFETY: The socket is valid and locked.
        let Some(first) = (unsafe { skb::first_of(head) }) else {
            return false;
        };
        // SAFETY: On the queue; its control block is an `Unread`.
        let (mut unread, truesize) =
            unsafe { (skb::unread_of(first.as_ptr()), (*first.as_ptr()).truesize) };
        if !is_mostly_read(unread.len, truesize) {
            return false;
        }
        // SAFETY: On the queue.
        let next = unsafe { self.behind(first) };
        // SAFETY: As above.
        let from = unsafe { self.unqueue(first) };
        let all = unread.len;
        while unread.len > 0 {
            let Some(mut copy) = Copy::new(self, unread.seq, unread.len.min(DENSE)) else {
                break;
            };
            let taken = copy.take(&from, unread.offset, unread.len);
            unread = unread.beyond(taken);
            // SAFETY: `next` is on the queue, as it has been found there.
            unsafe { self.requeue(copy.skb, copy.unread, next, 0) };
            if taken == 0 {
                break;
            }
        }
        let begun = unread.len < all;
        // SAFETY: As above.
        unsafe { self.requeue(from, unread, next, 0) };
        begun
    }

    fn queue_head(&mut self) -> *mut bindings::sk_buff_head {
        // SAFETY: Valid; only the address is taken.
        unsafe { &raw mut (*self.as_ptr()).sk_receive_queue }
    }

    /// The first packet of those at the end of the receive queue that were not judged with `share` or more.
    fn first_unjudged(&mut self, share: u8) -> Option<NonNull<bindings::sk_buff>> {
        let head = self.queue_head();
        let mut first = None;
        // SAFETY: The socket is valid and locked, so that its queue stays as it is. What is before a packet on it is one or the head.
        unsafe {
            let mut at = skb::last_of(head);
            while let Some(packet) = at.filter(|at| skb::judged_of(at.as_ptr()) < share) {
                first = at;
                at = NonNull::new(skb::prev_of(packet.as_ptr()))
                    .filter(|before| before.as_ptr() != head.cast());
            }
        }
        first
    }

    /// The packet behind one of the receive queue's.
    ///
    /// # Safety
    ///
    /// `packet` is on this socket's receive queue.
    unsafe fn behind(
        &mut self,
        packet: NonNull<bindings::sk_buff>,
    ) -> Option<NonNull<bindings::sk_buff>> {
        let head = self.queue_head();
        // SAFETY: Promised by the caller, and locked. What is behind it is another packet or the head.
        NonNull::new(unsafe { skb::next_of(packet.as_ptr()) })
            .filter(|next| next.as_ptr() != head.cast())
    }

    /// Bytes of bloated packets from `first` on, without one between them that is not; no more than fit into a packet.
    ///
    /// # Safety
    ///
    /// `first` is on this socket's receive queue.
    unsafe fn bloated(
        &mut self,
        first: NonNull<bindings::sk_buff>,
        is_bloated: &impl Fn(u32, u32) -> bool,
    ) -> u32 {
        let mut bytes: u32 = 0;
        let mut at = Some(first);
        while let Some(packet) = at {
            // SAFETY: On the queue; its control block is an `Unread`.
            let (unread, truesize) =
                unsafe { (skb::unread_of(packet.as_ptr()), (*packet.as_ptr()).truesize) };
            if bytes >= DENSE || !is_bloated(unread.len, truesize) {
                break;
            }
            bytes = bytes.saturating_add(unread.len);
            // SAFETY: On the queue.
            at = unsafe { self.behind(packet) };
        }
        bytes.min(DENSE)
    }

    /// Takes a packet off the receive queue.
    ///
    /// # Safety
    ///
    /// `packet` is on this socket's receive queue.
    unsafe fn unqueue(&mut self, packet: NonNull<bindings::sk_buff>) -> Charged<'a> {
        let head = self.queue_head();
        // SAFETY: Promised by the caller; the queue is locked, owns its packets, and they are charged to this socket.
        unsafe {
            bindings::oxtcp_helper_skb_unlink(packet.as_ptr(), head);
            Charged::assume(SkBuff::from_raw(packet))
        }
    }

    /// Puts a packet into the receive queue as it is, before `next` or at the end; frees one of which all is read. It has been judged
    /// with `share`, but for a small one at the end, which what comes next may be copied to.
    ///
    /// # Safety
    ///
    /// `next` is on this socket's receive queue.
    unsafe fn requeue(
        &mut self,
        mut skb: Charged<'a>,
        unread: Unread,
        next: Option<NonNull<bindings::sk_buff>>,
        share: u8,
    ) {
        if unread.len == 0 {
            skb.consume();
            return;
        }
        skb.set_unread(unread);
        let judged = match next {
            None if unread.len < DENSE => 0,
            _ => share,
        };
        let head = self.queue_head();
        let raw = skb.into_skb().into_raw().as_ptr();
        let next = next.map_or(head.cast(), NonNull::as_ptr);
        // SAFETY: Valid and locked; the packet is ours, and by its brand charged to this socket. The caller vouches for `next`, and
        // the head stands behind the last.
        unsafe {
            skb::set_judged_of(raw, judged);
            bindings::oxtcp_helper_skb_queue_before(head, next, raw);
        }
    }
}
