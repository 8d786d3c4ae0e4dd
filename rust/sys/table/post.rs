// SPDX-License-Identifier: GPL-2.0

//! Objects in the table that sockets of a group are found by: all who look up their key share what they have.

use core::ptr::NonNull;

use kernel::prelude::*;
use kernel::types::Opaque;

use super::{Entry, FlowKey, FlowTable, Kind};
use crate::sys::bindings;
use crate::sys::proto::Protocol;

/// See above. Nobody changes it while it is in a table.
///
/// # Invariants
///
/// From `FlowTable::post` to `FlowTable::withdraw` it is in that table, and it is freed a grace period after it has left.
#[repr(C)]
pub(super) struct Post<P: Protocol> {
    entry: Entry,
    rcu: Opaque<bindings::callback_head>,
    body: P::Post,
}

impl<P: Protocol> Post<P> {
    /// # Safety
    ///
    /// For the kernel to call with the head that `withdraw` gave to `call_rcu`.
    unsafe extern "C" fn free_callback(head: *mut bindings::callback_head) {
        // SAFETY: `head` is that of a post, as the caller promises.
        let post = unsafe { kernel::container_of!(Opaque::cast_from(head), Self, rcu) };
        // SAFETY: It came from a `KBox`, and left the table a grace period ago.
        drop(unsafe { KBox::from_raw(post.cast_mut()) });
    }
}

/// What the post with this entry has.
///
/// # Safety
///
/// `entry` is one of a `Post<P>` that is kept for `'a`.
pub(super) unsafe fn body<'a, P: Protocol>(entry: *mut Entry) -> &'a P::Post {
    // SAFETY: Promised by the caller; it does not change.
    unsafe { &(*kernel::container_of!(entry, Post<P>, entry)).body }
}

/// The right to take a post out of its table. One that is dropped leaves it there for ever.
///
/// # Invariants
///
/// The post is in its table, and there is no other such value for it.
#[must_use]
pub(crate) struct Posted<P: Protocol>(NonNull<Post<P>>);

// SAFETY: A post may be taken out by any thread, and its body may be shared and dropped by any (`Protocol::Post`).
unsafe impl<P: Protocol> Send for Posted<P> {}

impl<P: Protocol> FlowTable<P> {
    /// Puts a post in, for all who look `key` up. Process context.
    ///
    /// # Errors
    ///
    /// EEXIST when the key has an owner; ENOMEM.
    pub(crate) fn post(&self, key: FlowKey, body: P::Post) -> Result<Posted<P>> {
        let entry = Entry {
            key: super::KeyCell::new(key),
            ..Entry::new(Kind::Post)
        };
        let post = KBox::new(
            Post::<P> {
                entry,
                rcu: Opaque::uninit(),
                body,
            },
            GFP_KERNEL,
        )?;
        self.note_mini();
        let post = NonNull::from(&mut *KBox::leak(post));
        // SAFETY: The node is valid and in no table.
        let err = unsafe {
            bindings::oxtcp_helper_flow_insert(self.raw.get(), (*post.as_ptr()).entry.node.get())
        };
        if err != 0 {
            // SAFETY: The table would not have it, so nobody knows it; it came from a `KBox`.
            drop(unsafe { KBox::from_raw(post.as_ptr()) });
            return Err(Error::from_errno(err));
        }
        // INVARIANT: Just put in.
        Ok(Posted(post))
    }

    /// Takes a post out: who looks its key up from here on finds nothing. One of another table stays there. Process context.
    pub(crate) fn withdraw(&self, posted: Posted<P>) {
        let post = posted.0.as_ptr();
        // SAFETY: In its table by the invariant, so valid; another one makes the C function fail.
        let err =
            unsafe { bindings::oxtcp_helper_flow_remove(self.raw.get(), (*post).entry.node.get()) };
        if err == 0 {
            // SAFETY: Out of the table, by the only one who may take it out; who has found it before is an RCU reader.
            unsafe { bindings::call_rcu((*post).rcu.get(), Some(Post::<P>::free_callback)) };
        }
    }
}
