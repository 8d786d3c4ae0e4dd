// SPDX-License-Identifier: GPL-2.0

//! A spin lock that softirqs and processes may share.

use kernel::sync::lock::{Backend, Guard, Lock};

use super::bindings;

/// A spin lock that keeps softirqs off while it is held.
///
/// The kernel crate's `SpinLock` leaves them on: a softirq that wants the
/// lock on the CPU that holds it would spin forever. Held only for short,
/// non-sleeping sections, in process and softirq context (not in hard
/// interrupts).
pub(crate) type SpinLockBh<T> = Lock<T, BhBackend>;

/// What [`SpinLockBh::lock`] returns.
#[expect(dead_code)]
pub(crate) type SpinLockBhGuard<'a, T> = Guard<'a, T, BhBackend>;

/// Makes an in-place initialiser of a [`SpinLockBh`] with a lock class of its own.
macro_rules! new_spinlock_bh {
    ($inner:expr, $name:literal) => {
        $crate::sys::lock::SpinLockBh::new(
            $inner,
            ::kernel::c_str!($name),
            ::kernel::static_lock_class!(),
        )
    };
}
pub(crate) use new_spinlock_bh;

/// `spin_lock_bh()` and friends.
pub(crate) struct BhBackend;

// SAFETY: `spin_lock_bh` gives exclusive ownership until `spin_unlock_bh`, and the lock words are
// only touched by the C functions.
unsafe impl Backend for BhBackend {
    type State = kernel::bindings::spinlock_t;
    type GuardState = ();

    unsafe fn init(
        ptr: *mut Self::State,
        name: *const kernel::ffi::c_char,
        key: *mut kernel::bindings::lock_class_key,
    ) {
        // SAFETY: The caller's promises are the C function's: `ptr` is valid for writes, `name`
        // and `key` outlive the lock.
        unsafe { kernel::bindings::__spin_lock_init(ptr, name, key) }
    }

    unsafe fn lock(ptr: *mut Self::State) -> Self::GuardState {
        // SAFETY: The caller promises that `ptr` was initialised by `init`.
        unsafe { bindings::oxtcp_helper_spin_lock_bh(ptr.cast()) }
    }

    unsafe fn unlock(ptr: *mut Self::State, _guard_state: &Self::GuardState) {
        // SAFETY: The caller promises that it holds the lock.
        unsafe { bindings::oxtcp_helper_spin_unlock_bh(ptr.cast()) }
    }

    unsafe fn try_lock(ptr: *mut Self::State) -> Option<Self::GuardState> {
        // SAFETY: As for `lock`.
        unsafe { bindings::oxtcp_helper_spin_trylock_bh(ptr.cast()) }.then_some(())
    }

    unsafe fn assert_is_held(ptr: *mut Self::State) {
        // SAFETY: The caller promises that `ptr` is a valid lock.
        unsafe { kernel::bindings::spin_assert_is_held(ptr) }
    }
}
