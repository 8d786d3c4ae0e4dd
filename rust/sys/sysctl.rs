// SPDX-License-Identifier: GPL-2.0

//! Tables of integers in `/proc/sys/net`, one per namespace.
//!
//! C headers: `include/linux/sysctl.h`, `include/net/net_namespace.h`.
//!
//! The files have mode 0644. Beyond that the kernel's own rule for `net.*` holds, as for the built-in
//! TCP's (`net_ctl_permissions`): who has CAP_NET_ADMIN in the user namespace that owns the network
//! namespace may write, everybody else may read.

use core::marker::PhantomData;
use core::ptr::NonNull;

use kernel::alloc::flags::GFP_KERNEL;
use kernel::prelude::*;
use kernel::sync::atomic::Atomic;
use kernel::sync::Arc;

use super::bindings;
use super::net::{Doorway, Net, PerNet};

/// Where an entry's numbers are, and which ones are let in. A number outside gives EINVAL and changes
/// nothing.
pub(crate) enum Field<'a> {
    /// One number, `min..=max`.
    Int {
        /// The number.
        value: &'a Atomic<i32>,
        /// The smallest that is let in.
        min: i32,
        /// The largest that is let in.
        max: i32,
    },
    /// Three numbers, each `min..=max`. Fewer may be written; the others stay.
    Vector3 {
        /// The numbers.
        values: &'a [Atomic<i32>; 3],
        /// The smallest that is let in.
        min: i32,
        /// The largest that is let in.
        max: i32,
    },
}

/// An entry of a table over a `V`.
pub(crate) struct Entry<V> {
    /// The file's name.
    pub(crate) name: &'static CStr,
    /// The entry's place in a `V`.
    pub(crate) field: for<'a> fn(&'a V) -> Field<'a>,
}

/// A registered table. Dropping unregisters it and waits for those who are reading or writing.
///
/// # Invariants
///
/// `header` is registered in a namespace that is there for `'n`, over `table`, whose pointers go to `limits` and into what `values` keeps.
/// None of the three is changed, moved or freed before the drop has unregistered it.
pub(crate) struct SysctlTable<'n> {
    header: NonNull<bindings::ctl_table_header>,
    _net: PhantomData<&'n Net>,
    _table: KVec<bindings::ctl_table>,
    _limits: KVec<[i32; 2]>,
    _values: KBox<dyn Keep>,
}

// SAFETY: sysctl locks for itself; any thread may unregister a table. The values may be sent.
unsafe impl Send for SysctlTable<'_> {}

impl<'n> SysctlTable<'n> {
    /// Makes `/proc/sys/PATH/NAME` for every entry, over `values`. `path` begins with `net/`. Sleeps.
    ///
    /// Errors: ENOMEM, also for a path or name that is taken (C does not tell them apart).
    pub(crate) fn register<V: Send + Sync + 'static>(
        doorway: &Doorway<'n, impl PerNet>,
        path: &CStr,
        values: Arc<V>,
        entries: &[Entry<V>],
    ) -> Result<Self> {
        let mut table = KVec::with_capacity(entries.len(), GFP_KERNEL)?;
        let mut limits = KVec::with_capacity(entries.len(), GFP_KERNEL)?;
        for entry in entries {
            let (data, count, min, max) = match (entry.field)(&values) {
                Field::Int { value, min, max } => (value.as_ptr(), 1, min, max),
                // Of all three: an `Atomic<i32>` is laid out as an `i32`.
                Field::Vector3 { values, min, max } => {
                    (values.as_ptr().cast_mut().cast(), 3, min, max)
                }
            };
            limits.push([min, max], GFP_KERNEL)?;
            table.push(ctl_table(entry.name, data, count), GFP_KERNEL)?;
        }
        // Only now, as the buffer has its last place: C wants pointers.
        for (line, limit) in table.iter_mut().zip(limits.iter_mut()) {
            line.extra1 = (&raw mut limit[0]).cast();
            line.extra2 = (&raw mut limit[1]).cast();
        }
        let keep: KBox<dyn Keep> = KBox::new(values, GFP_KERNEL)?;
        // SAFETY: The namespace is valid, the path ends with a NUL and is copied. The table, the limits and the
        // values stay where they are until the drop below has unregistered them: they are in buffers
        // of their own (the values in the `Arc`'s), which `Self` keeps. Each `data` points to `maxlen`
        // bytes of atomics, which C may write to at any time.
        let header = unsafe {
            bindings::register_net_sysctl_sz(
                doorway.net().as_ptr(),
                path.as_char_ptr(),
                table.as_mut_ptr(),
                table.len(),
            )
        };
        // INVARIANT: Just registered, over what is kept here.
        Ok(Self {
            header: NonNull::new(header).ok_or(ENOMEM)?,
            _net: PhantomData,
            _table: table,
            _limits: limits,
            _values: keep,
        })
    }
}

impl Drop for SysctlTable<'_> {
    fn drop(&mut self) {
        // SAFETY: By the type's invariants it is registered. It waits for the handlers that run.
        unsafe { bindings::unregister_net_sysctl_table(self.header.as_ptr()) };
    }
}

/// Something that is kept for what it owns.
trait Keep: Send {}

impl<V: Send + Sync + 'static> Keep for Arc<V> {}

fn ctl_table(name: &'static CStr, data: *mut i32, count: usize) -> bindings::ctl_table {
    // SAFETY: Zeroes are a valid value of this C struct: null pointers, numbers, `None`.
    let mut line: bindings::ctl_table = unsafe { core::mem::zeroed() };
    line.procname = name.as_char_ptr();
    line.data = data.cast();
    line.maxlen = count.saturating_mul(size_of::<i32>()) as c_int;
    line.mode = 0o644;
    line.proc_handler = Some(bindings::proc_dointvec_minmax);
    line
}
