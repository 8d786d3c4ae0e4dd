// SPDX-License-Identifier: GPL-2.0

//! Received packets in the order of their bytes, in a tree: what a peer sends in between finds its place in as many steps as the tree is
//! high, however many wait. The kernel's TCP does the same (`tcp_data_queue_ofo()`).

use core::mem::offset_of;
use core::ptr::NonNull;

use super::bindings;
use super::skb::{set_unread_of, unread_of, SkBuff, Unread};

// A packet's node and the packet begin at the same address.
const _: () = assert!(offset_of!(bindings::sk_buff, __bindgen_anon_1) == 0);

/// Packets in the order that their owner gives them, in one word.
///
/// # Invariants
///
/// A red-black tree of the `rbnode`s of packets that the tree alone owns. Their control blocks are [`Unread`]s.
#[repr(transparent)]
pub(super) struct PacketTree(bindings::rb_root);

/// Two packets of a tree, or one, or none, with nothing between them. Null where there is none.
struct Gap {
    before: *mut bindings::sk_buff,
    behind: *mut bindings::sk_buff,
}

impl PacketTree {
    pub(super) const fn new() -> Self {
        // INVARIANT: Empty.
        Self(bindings::rb_root {
            rb_node: core::ptr::null_mut(),
        })
    }

    /// Puts `skb` in its place: behind the last packet whose first unread byte `is_before` says comes first. No byte is kept twice: what
    /// the packet before has is cut off, as is what `skb` has off those behind, and a packet of which nothing is left is freed. `join` may
    /// take it into the packet before.
    ///
    /// `had` says how many of the first bytes of its second argument are in its first one, which begins no later.
    pub(super) fn insert(
        &mut self,
        mut skb: SkBuff,
        is_before: impl Fn(Unread) -> bool,
        had: impl Fn(Unread, Unread) -> u32,
        join: impl FnOnce(*mut bindings::sk_buff, NonNull<bindings::sk_buff>) -> bool,
    ) {
        let mut gap = self.find(is_before);
        if !gap.before.is_null() {
            // SAFETY: Not null, so a packet of the tree, whose control block is an `Unread`.
            let before = unsafe { unread_of(gap.before) };
            let unread = skb.unread();
            let unread = unread.beyond(had(before, unread));
            if unread.len == 0 {
                skb.consume();
                return;
            }
            skb.set_unread(unread);
        }
        let unread = skb.unread();
        while !gap.behind.is_null() {
            // SAFETY: Not null, so a packet of the tree, whose control block is an `Unread`.
            let behind = unsafe { unread_of(gap.behind) };
            let left = behind.beyond(had(unread, behind));
            if left.len > 0 {
                // SAFETY: As above. It ends where it did, and stays between its neighbours.
                unsafe { set_unread_of(gap.behind, left) };
                break;
            }
            let covered = gap.behind;
            // SAFETY: A packet of the tree.
            gap.behind = unsafe { bindings::oxtcp_helper_skb_tree_next(covered) };
            // SAFETY: As above.
            unsafe { self.take(covered) }.consume();
        }
        let raw = skb.into_raw();
        if !gap.before.is_null() && join(gap.before, raw) {
            return;
        }
        self.link(&gap, raw.as_ptr());
    }

    /// The gap behind the last packet whose first unread byte `is_before` says comes first.
    fn find(&self, is_before: impl Fn(Unread) -> bool) -> Gap {
        let mut gap = Gap {
            before: core::ptr::null_mut(),
            behind: core::ptr::null_mut(),
        };
        let mut node = self.0.rb_node;
        while !node.is_null() {
            let at: *mut bindings::sk_buff = node.cast();
            // SAFETY: By the invariant a node of the tree that is not null is at the beginning of a packet, whose control block is an
            // `Unread`; its children are nodes of the tree, or null.
            unsafe {
                if is_before(unread_of(at)) {
                    gap.before = at;
                    node = (*node).rb_right;
                } else {
                    gap.behind = at;
                    node = (*node).rb_left;
                }
            }
        }
        gap
    }

    /// Puts `new`, which is the caller's and on no list, into a gap of this tree.
    fn link(&mut self, gap: &Gap, new: *mut bindings::sk_buff) {
        let before: *mut bindings::rb_node = gap.before.cast();
        let behind: *mut bindings::rb_node = gap.behind.cast();
        // Of two neighbours in a tree one is below the other: either the first has nothing on its right, or the second is the leftmost
        // there and has nothing on its left.
        // SAFETY: Both are null or nodes of the tree, with nothing between them; so the link that is taken is null, and `new` comes
        // between them by it. `new` is valid, and its node is in no tree.
        // INVARIANT: The owner's order is kept, as `new` is in its gap; its control block is an `Unread` by its type.
        unsafe {
            let (parent, link) = if !before.is_null() && (*before).rb_right.is_null() {
                (before, &raw mut (*before).rb_right)
            } else if !behind.is_null() {
                (behind, &raw mut (*behind).rb_left)
            } else {
                (core::ptr::null_mut(), &raw mut self.0.rb_node)
            };
            bindings::oxtcp_helper_skb_tree_link(&mut self.0, parent, link, new);
        }
    }

    /// Takes a packet out.
    ///
    /// # Safety
    ///
    /// It is one of the tree's.
    unsafe fn take(&mut self, at: *mut bindings::sk_buff) -> SkBuff {
        // SAFETY: Promised by the caller; out of the tree it is on no list, and ours, who owned the tree.
        unsafe {
            bindings::oxtcp_helper_skb_tree_erase(&mut self.0, at);
            SkBuff::from_raw(NonNull::new_unchecked(at))
        }
    }

    fn first_packet(&self) -> Option<NonNull<bindings::sk_buff>> {
        // SAFETY: A tree of packets, by the invariant.
        NonNull::new(unsafe { bindings::oxtcp_helper_skb_tree_first(&self.0) })
    }

    fn last_packet(&self) -> Option<NonNull<bindings::sk_buff>> {
        // SAFETY: A tree of packets, by the invariant.
        NonNull::new(unsafe { bindings::oxtcp_helper_skb_tree_last(&self.0) })
    }

    /// The first packet's control block.
    pub(super) fn first(&self) -> Option<Unread> {
        let at = self.first_packet()?.as_ptr();
        // SAFETY: A packet of the tree, whose control block is an `Unread`.
        Some(unsafe { unread_of(at) })
    }

    /// The last packet's control block, and its memory in bytes.
    pub(super) fn last(&self) -> Option<(Unread, u32)> {
        let at = self.last_packet()?.as_ptr();
        // SAFETY: A packet of the tree, whose control block is an `Unread`.
        unsafe { Some((unread_of(at), (*at).truesize)) }
    }

    /// Takes the first packet.
    pub(super) fn pop(&mut self) -> Option<SkBuff> {
        let at = self.first_packet()?;
        // SAFETY: It is the tree's.
        Some(unsafe { self.take(at.as_ptr()) })
    }

    /// Takes the last packet.
    pub(super) fn pop_last(&mut self) -> Option<SkBuff> {
        let at = self.last_packet()?;
        // SAFETY: It is the tree's.
        Some(unsafe { self.take(at.as_ptr()) })
    }
}

impl Drop for PacketTree {
    fn drop(&mut self) {
        while self.pop().is_some() {}
    }
}
