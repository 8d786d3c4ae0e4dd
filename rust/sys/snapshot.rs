// SPDX-License-Identifier: GPL-2.0

//! A value that is copied out as a whole, in any context and without a lock, and replaced now and then.
//!
//! C header: `include/linux/rcupdate.h`.

use core::cell::UnsafeCell;

use kernel::alloc::flags::GFP_KERNEL;
use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Relaxed, Release};
use kernel::sync::{new_mutex, rcu, Mutex};

use super::bindings;

/// Two places for the value, one of which is the current one. Readers copy that; a writer fills the other when no reader can
/// be in it any more, and then makes it the current one. So replacing needs no memory and cannot fail.
///
/// # Invariants
///
/// `current` is 0 or 1. The place that it names is not written to; the other one is written to by the holder of `writer` alone, a
/// grace period after `current` has ceased to name it.
pub(crate) struct Snapshot<T: Copy> {
    places: UnsafeCell<[T; 2]>,
    current: Atomic<i32>,
    writer: Pin<KBox<Mutex<()>>>,
}

// SAFETY: A `T` is copied, and replaced from any thread; readers and writers keep apart by the invariants.
unsafe impl<T: Copy + Send> Send for Snapshot<T> {}
// SAFETY: As above.
unsafe impl<T: Copy + Send + Sync> Sync for Snapshot<T> {}

impl<T: Copy> Snapshot<T> {
    /// Process context. Errors: ENOMEM.
    pub(crate) fn new(value: T) -> Result<Self> {
        // INVARIANT: The first place is the current one; nobody reads or writes yet.
        Ok(Self {
            places: UnsafeCell::new([value; 2]),
            current: Atomic::new(0),
            writer: KBox::pin_init(new_mutex!((), "oxtcp_snapshot"), GFP_KERNEL)?,
        })
    }

    /// Makes `value` the value, before others have the snapshot.
    pub(crate) fn set(&mut self, value: T) {
        *self.places.get_mut() = [value; 2];
    }

    /// A copy of the value. Any context.
    #[inline]
    pub(crate) fn read(&self) -> T {
        let _rcu = rcu::read_lock();
        let place = self.place(self.current.load(Acquire));
        // SAFETY: `current` named the place after RCU was read-locked, so by the invariants nobody writes to it before the end
        // of this function. It is in the array, and initialised. The load above sees what was written before the store of `replace`.
        unsafe { place.read() }
    }

    /// The value as it is now, for a while. Any context.
    #[inline]
    pub(crate) fn get<'a>(&'a self, _rcu: &'a rcu::Guard) -> &'a T {
        let place = self.place(self.current.load(Acquire));
        // SAFETY: As in `read`, and RCU is read-locked for `'a`.
        unsafe { &*place }
    }

    /// Makes what `value` returns the value. Of several at a time the last one to ask for it wins. Process context; sleeps for a
    /// grace period.
    pub(crate) fn replace(&self, value: impl FnOnce() -> T) {
        let _writer = self.writer.lock();
        let next = self.current.load(Relaxed) ^ 1;
        // SAFETY: May be called wherever one may sleep, as under a mutex.
        unsafe { bindings::synchronize_rcu() };
        // SAFETY: The place is in the array. The grace period has ended those readers who found it as the current one before
        // the last replacement; since then it has not been the current one, and the mutex keeps other writers out.
        unsafe { self.place(next).write(value()) };
        // INVARIANT: It is 0 or 1, and its place is written to no more.
        self.current.store(next, Release);
    }

    /// One of the two.
    fn place(&self, which: i32) -> *mut T {
        let places = self.places.get().cast::<T>();
        // Masked, for the compiler: it is 0 or 1.
        let which = (which & 1) as usize;
        // SAFETY: The array has two elements.
        unsafe { places.add(which) }
    }
}
