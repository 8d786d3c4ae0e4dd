// SPDX-License-Identifier: GPL-2.0

//! Looking at all objects of a table, with pauses.

use core::marker::PhantomData;

use kernel::prelude::*;
use kernel::types::Opaque;

use super::{FlowTable, Found};
use crate::sys::bindings;
use crate::sys::proto::Protocol;

/// A walk over a table, which may pause.
///
/// It sees every object that is there all the time: once, or again when the table is resized meanwhile, as the walk then
/// begins anew.
///
/// # Invariants
///
/// `iter` is entered, and started exactly while `runs` says so: RCU is read-locked then, by the thread that called
/// `resume`.
#[pin_data(PinnedDrop)]
pub(crate) struct Walk<'t, P: Protocol> {
    #[pin]
    iter: Opaque<bindings::rhashtable_iter>,
    runs: bool,
    seen: Seen,
    _table: PhantomData<&'t FlowTable<P>>,
}

// SAFETY: Its iterator is used by one thread at a time, and it does not run while it is handed to another one, as
// `resume`'s caller promises.
unsafe impl<P: Protocol> Send for Walk<'_, P> {}

/// The objects of the bucket that a walk stands in which it has given out already.
///
/// The table's own walker counts them, and would pass over one that is there for each that has left the bucket during a
/// pause. The addresses are only compared.
struct Seen {
    slot: u32,
    objects: [usize; Self::MOST],
    len: usize,
}

impl Seen {
    /// At the table's load, 3/4, a bucket of more is one in 10^9. Of those some would be seen twice.
    const MOST: usize = 8;

    const NONE: Self = Self {
        slot: 0,
        objects: [0; Self::MOST],
        len: 0,
    };

    fn forget(&mut self) {
        self.len = 0;
    }

    /// Notes an object in bucket `slot`; `false` if it was noted already.
    fn note(&mut self, slot: u32, object: usize) -> bool {
        if self.slot != slot {
            self.slot = slot;
            self.len = 0;
        }
        let known = self.objects.get(..self.len).unwrap_or(&[]);
        if known.contains(&object) {
            return false;
        }
        if let Some(free) = self.objects.get_mut(self.len) {
            *free = object;
            self.len = self.len.saturating_add(1);
        }
        true
    }
}

impl<'t, P: Protocol> Walk<'t, P> {
    /// Prepares a walk, which pauses before the first object. Process context.
    pub(crate) fn new(table: &'t FlowTable<P>) -> impl PinInit<Self> {
        pin_init!(Self {
            iter <- Opaque::ffi_init(|iter| {
                // SAFETY: `iter` is valid for writes and pinned (it is put on a list); the table
                // outlives `'t`.
                unsafe { bindings::rhashtable_walk_enter(table.raw.get(), iter) }
            }),
            // INVARIANT: Entered and not started.
            runs: false,
            seen: Seen::NONE,
            _table: PhantomData,
        })
    }

    /// The next object; `None` at the end, and while the walk pauses.
    pub(crate) fn next(self: Pin<&mut Self>) -> Option<Found<'_, P>> {
        let this = self.project();
        if !*this.runs {
            return None;
        }
        let iter = this.iter.get();
        loop {
            // SAFETY: Entered and started by the invariant.
            let node = unsafe { bindings::rhashtable_walk_next(iter) };
            let node = match kernel::error::from_err_ptr(node) {
                // Resized: goes on in the new table, from its beginning.
                Err(_) => {
                    this.seen.forget();
                    continue;
                }
                Ok(node) if node.is_null() => return None,
                Ok(node) => node,
            };
            // SAFETY: The iterator is ours alone.
            let slot = unsafe { (*iter).slot };
            if !this.seen.note(slot, node.addr()) {
                continue;
            }
            // SAFETY: Found in the table; the walk holds RCU until it pauses, for which it must be borrowed anew.
            match unsafe { FlowTable::found(node.cast()) } {
                // A socket that is being freed.
                None => continue,
                found => return found,
            }
        }
    }
}

impl<P: Protocol> Walk<'_, P> {
    /// Goes on where it paused; nothing if it runs already. Any context; must not sleep from here on.
    ///
    /// # Safety
    ///
    /// [`Walk::pause`] comes before this thread sleeps, ends what it is doing, or lets another one have the object.
    pub(in crate::sys) unsafe fn resume(self: Pin<&mut Self>) {
        let this = self.project();
        if core::mem::replace(this.runs, true) {
            return;
        }
        let iter = this.iter.get();
        // SAFETY: Entered by the invariant, and not started. RCU is read-locked from here on.
        unsafe {
            let last = (*iter).p;
            if bindings::rhashtable_walk_start_check(iter) != 0 {
                // Resized: it begins anew.
                this.seen.forget();
            } else if !last.is_null() && (*iter).p.is_null() {
                // The object that it stands at has left the bucket, others perhaps too. Through this bucket once
                // more: what was given out is noted.
                (*iter).skip = 0;
            }
        }
    }

    /// Pauses; nothing if it pauses already.
    pub(in crate::sys) fn pause(self: Pin<&mut Self>) {
        let this = self.project();
        if core::mem::replace(this.runs, false) {
            // SAFETY: Entered and started by the invariant, by this thread as `resume`'s caller promised.
            unsafe { bindings::rhashtable_walk_stop(this.iter.get()) };
        }
    }
}

#[pinned_drop]
impl<P: Protocol> PinnedDrop for Walk<'_, P> {
    fn drop(mut self: Pin<&mut Self>) {
        self.as_mut().pause();
        // SAFETY: Entered by the invariant, and stopped.
        unsafe { bindings::rhashtable_walk_exit(self.iter.get()) };
    }
}
