// SPDX-License-Identifier: GPL-2.0

//! Work that any context can ask for and a process does.
//!
//! C header: `include/linux/workqueue.h`. The kernel crate's `Work` moves a reference into the queue and
//! cannot be cancelled; a module has to be sure that none of its code runs after it is gone.

use core::ops::Deref;

use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Release};
use kernel::types::Opaque;

use super::bindings;

/// Something to be done in process context.
pub(crate) trait Run: Send + Sync + 'static {
    /// Does what is to be done; says within how many jiffies it is to be called again, if it is. May sleep. The
    /// queue never runs it twice at a time for one object.
    fn run(&self) -> Option<usize>;
}

/// A `T` whose [`Run::run`] can be asked for from any context.
///
/// [`Deferred::close`] should be called before the last reference goes: the drop does it otherwise, and
/// must then be in process context. After `close` the drop may be in any.
///
/// # Invariants
///
/// `work` is the first field, and initialised with `run::<T>`; its own first field is what C gives to `run`. Once `closed` says so, it is neither
/// queued nor running and never will be.
#[pin_data(PinnedDrop)]
#[repr(C)]
pub(crate) struct Deferred<T: Run> {
    #[pin]
    work: Opaque<bindings::delayed_work>,
    closed: Atomic<bool>,
    #[pin]
    target: T,
}

// SAFETY: C's functions for work lock for themselves; `T` may be shared and sent.
unsafe impl<T: Run> Send for Deferred<T> {}
// SAFETY: As above.
unsafe impl<T: Run> Sync for Deferred<T> {}

impl<T: Run> Deferred<T> {
    /// An initializer: nothing is asked for yet.
    pub(crate) fn new<E>(target: impl PinInit<T, E>) -> impl PinInit<Self, Error>
    where
        Error: From<E>,
    {
        // INVARIANT: The work is initialised with `run::<T>`, and is the first field.
        try_pin_init!(Self {
            work <- Opaque::ffi_init(|work| {
                // SAFETY: The memory is there, uninitialised, and will not move.
                unsafe { bindings::oxtcp_helper_init_work(work, Some(run::<T>)) }
            }),
            closed: Atomic::new(false),
            target <- target,
        }? Error)
    }

    /// Asks for one [`Run::run`] that begins after this call, and soon. Any context.
    pub(crate) fn kick(&self) {
        // SAFETY: The work is initialised; the object stays until it is cancelled (see the drop).
        unsafe { bindings::oxtcp_helper_kick_work(self.work.get()) };
    }

    /// Asks for one [`Run::run`] that begins after this call, and about `jiffies` from now at the latest. Any
    /// context; cheap if it was asked for already.
    pub(crate) fn kick_within(&self, jiffies: usize) {
        // SAFETY: As in `kick`.
        unsafe { bindings::oxtcp_helper_kick_work_within(self.work.get(), jiffies) };
    }

    /// Takes back what was asked for and not begun, waits for what is running, and makes later
    /// [`kick`](Self::kick)s do nothing. Sleeps.
    pub(crate) fn close(&self) {
        kernel::task::might_sleep();
        // SAFETY: The work is initialised; may sleep, as seen above.
        unsafe { bindings::disable_delayed_work_sync(self.work.get()) };
        // INVARIANT: C does not queue a disabled work, and has waited for it.
        self.closed.store(true, Release);
    }
}

#[pinned_drop]
impl<T: Run> PinnedDrop for Deferred<T> {
    fn drop(self: Pin<&mut Self>) {
        if !self.closed.load(Acquire) {
            self.close();
        }
    }
}

impl<T: Run> Deref for Deferred<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.target
    }
}

/// # Safety
///
/// To be called by the workqueue for a `Deferred<T>`'s work.
unsafe extern "C" fn run<T: Run>(work: *mut bindings::work_struct) {
    const {
        assert!(core::mem::offset_of!(bindings::delayed_work, work) == 0);
        assert!(core::mem::offset_of!(Deferred<T>, work) == 0);
    }
    // SAFETY: It is the first field of a `delayed_work`, which by the type's invariants is the first field of
    // a `Deferred<T>`, whose drop waits for us if `close` has not.
    let deferred = unsafe { &*work.cast::<Deferred<T>>() };
    if let Some(jiffies) = deferred.target.run() {
        deferred.kick_within(jiffies);
    }
}
