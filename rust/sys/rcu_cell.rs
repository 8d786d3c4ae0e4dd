// SPDX-License-Identifier: GPL-2.0

//! A value that is read under RCU, and replaced as a whole.

use core::ptr::NonNull;

use kernel::alloc::Flags;
use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Full};
use kernel::sync::rcu;
use kernel::types::Opaque;

use super::bindings;
use super::once::Once;

/// Room for one `T`, in one word. Readers need RCU alone. Who replaces the value should have a lock against others who do: else
/// one of two new ones is lost.
///
/// # Invariants
///
/// Null, or a [`Node`] from a `KBox`, which the cell owns. One that was taken out is freed a grace period later, and not read by
/// anybody who came after.
pub(crate) struct RcuCell<T: Send + Sync + 'static>(Atomic<*mut Node<T>>);

#[repr(C)]
struct Node<T> {
    /// First, so that its address is the node's.
    head: Opaque<bindings::callback_head>,
    value: T,
}

// SAFETY: It owns a `T`, which may be sent and shared.
unsafe impl<T: Send + Sync + 'static> Send for RcuCell<T> {}
// SAFETY: The pointer is atomic, and gives out shared references only.
unsafe impl<T: Send + Sync + 'static> Sync for RcuCell<T> {}

impl<T: Send + Sync + 'static> RcuCell<T> {
    /// Without a value.
    pub(crate) fn empty() -> Self {
        // INVARIANT: Null.
        Self(Atomic::new(core::ptr::null_mut()))
    }

    /// Whether there is no value. Any context.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        // Nothing is read through it.
        self.0.read_once().is_null()
    }

    /// The value. Any context.
    #[inline]
    pub(crate) fn get<'a>(&'a self, _rcu: &'a rcu::Guard) -> Option<&'a T> {
        if self.is_empty() {
            // Without the call of a C function that `load` is.
            return None;
        }
        // SAFETY: By the invariants null or a node, which stays as long as RCU is read-locked, and the cell with it.
        unsafe { self.0.load(Acquire).as_ref() }.map(|node| &node.value)
    }

    /// Puts `value` in the place of what is there, which is dropped a grace period later, in softirq context. Any context with
    /// GFP_ATOMIC.
    ///
    /// # Errors
    ///
    /// ENOMEM; everything is as before then.
    pub(crate) fn replace(&self, value: Option<T>, gfp: Flags) -> Result {
        let new = match value {
            Some(value) => KBox::into_raw(KBox::new(
                Node {
                    head: Opaque::uninit(),
                    value,
                },
                gfp,
            )?),
            None => core::ptr::null_mut(),
        };
        // INVARIANT: Null or from a box.
        let old = self.0.xchg(new, Full);
        if !old.is_null() {
            // SAFETY: It was the cell's and is nobody's now but RCU's. The head is in it, and used this once. The module waits for
            // RCU's callbacks before its code goes.
            unsafe { bindings::call_rcu(old.cast(), Some(Self::free)) };
        }
        Ok(())
    }

    /// # Safety
    ///
    /// For RCU to call with the head that `replace` gave it.
    unsafe extern "C" fn free(head: *mut bindings::callback_head) {
        let node: *mut Node<T> = head.cast();
        // SAFETY: The head is a node's first field; a grace period has passed since the node left its cell.
        drop(unsafe { KBox::from_raw(node) });
    }
}

/// What stands for a read-side critical section of the caller's, where one of our own would be two calls of C functions for nothing.
///
/// # Safety
///
/// RCU is read-locked for all of `'a`, by the context that the reference is used in.
#[inline(always)]
pub(super) unsafe fn locked_by_caller<'a>() -> &'a rcu::Guard {
    const { assert!(size_of::<rcu::Guard>() == 0) };
    // SAFETY: A guard is no bytes, which are at every address that is aligned. What it stands for (that RCU is read-locked while it exists) the
    // caller promises for as long as the reference can be used; and behind a reference nobody drops it, which would unlock.
    unsafe { NonNull::<rcu::Guard>::dangling().as_ref() }
}

impl<T: Send + Sync + 'static> Drop for RcuCell<T> {
    fn drop(&mut self) {
        let node = self.0.load(Acquire);
        if !node.is_null() {
            // SAFETY: The cell's own, from a box; nobody borrows the cell, so nobody reads it.
            drop(unsafe { KBox::from_raw(node) });
        }
    }
}
