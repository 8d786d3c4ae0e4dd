// SPDX-License-Identifier: GPL-2.0

//! Tables of integers and names in `/proc/sys/net`, one per namespace.
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
use kernel::sync::atomic::{Atomic, Relaxed};
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
    /// One number without a sign, all of them let in: the bits of an `u32`.
    Unsigned {
        /// The number.
        value: &'a Atomic<i32>,
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
    /// One of some names; its number is kept. Another name gives ENOENT and changes nothing.
    Name {
        /// The number of the name among `names`.
        value: &'a Atomic<i32>,
        /// The names.
        names: &'static Names,
    },
    /// All of some names, to be read.
    AllNames(&'static Names),
}

/// What an entry's value can be called. A type of its own, so that a pointer to it is thin.
pub(crate) struct Names(pub(crate) &'static [&'static str]);

/// No name, and no list of them, is so long.
const MAX_TEXT: usize = 128;

/// An entry of a table over a `V`.
pub(crate) struct Entry<V> {
    /// The file's name.
    pub(crate) name: &'static CStr,
    /// The entry's place in a `V`.
    pub(crate) field: for<'a> fn(&'a V) -> Field<'a>,
}

/// What a table's numbers are in.
pub(crate) trait Values: Send + Sync + 'static {
    /// One of them was written to. Process context; may sleep. Several may be written to at a time.
    fn changed(&self);
}

/// What an entry's line points to.
///
/// # Invariants
///
/// `changed` may be called with `values` as long as the line is registered.
#[repr(C)]
struct Bounds {
    /// First: C's `extra2` points to it, and we have the rest from there.
    max: i32,
    min: i32,
    values: *const c_void,
    changed: unsafe fn(*const c_void),
}

/// # Safety
///
/// `values` points to a valid `V`.
unsafe fn changed<V: Values>(values: *const c_void) {
    // SAFETY: The caller vouches for it.
    unsafe { &*values.cast::<V>() }.changed();
}

/// A registered table. Dropping unregisters it and waits for those who are reading or writing.
///
/// # Invariants
///
/// `header` is registered in a namespace that is there for `'n`, over `table`, whose pointers go to `bounds`, into what `values`
/// keeps, and to static [`Names`]; `extra2` goes to the line's own `bounds`. None of the first three is changed, moved or freed before the drop has unregistered it.
pub(crate) struct SysctlTable<'n> {
    header: NonNull<bindings::ctl_table_header>,
    _net: PhantomData<&'n Net>,
    _table: KVec<bindings::ctl_table>,
    _bounds: KVec<Bounds>,
    _values: KBox<dyn Keep>,
}

// SAFETY: sysctl locks for itself; any thread may unregister a table. The values may be sent.
unsafe impl Send for SysctlTable<'_> {}

impl<'n> SysctlTable<'n> {
    /// Makes `/proc/sys/PATH/NAME` for every entry, over `values`. `path` begins with `net/`. Sleeps.
    ///
    /// Errors: ENOMEM, also for a path or name that is taken (C does not tell them apart).
    pub(crate) fn register<V: Values>(
        doorway: &Doorway<'n, impl PerNet>,
        path: &CStr,
        values: Arc<V>,
        entries: &[Entry<V>],
    ) -> Result<Self> {
        kernel::task::might_sleep();
        let mut table = KVec::with_capacity(entries.len(), GFP_KERNEL)?;
        let mut bounds = KVec::with_capacity(entries.len(), GFP_KERNEL)?;
        for entry in entries {
            let (line, [min, max]) = match (entry.field)(&values) {
                Field::Int { value, min, max } => (numbers(value.as_ptr(), 1), [min, max]),
                // It does not look at the limits.
                Field::Unsigned { value } => (unsigned(value), [0, 0]),
                // Of all three: an `Atomic<i32>` is laid out as an `i32`.
                Field::Vector3 { values, min, max } => {
                    (numbers(values.as_ptr().cast_mut().cast(), 3), [min, max])
                }
                Field::Name { value, names } => (one_name(value, names), [0, 0]),
                Field::AllNames(names) => (all_names(names), [0, 0]),
            };
            // INVARIANT: `changed` takes a pointer to a `V`, which this is; what `_values` keeps lasts as long as the line.
            let bound = Bounds {
                max,
                min,
                values: Arc::as_ptr(&values).cast(),
                changed: changed::<V>,
            };
            bounds.push(bound, GFP_KERNEL)?;
            let procname = entry.name.as_char_ptr();
            table.push(bindings::ctl_table { procname, ..line }, GFP_KERNEL)?;
        }
        // Only now, as the buffer has its last place: C wants pointers.
        for (line, bound) in table.iter_mut().zip(bounds.iter_mut()) {
            let bound = core::ptr::from_mut(bound);
            if line.extra1.is_null() {
                // SAFETY: It is in the buffer.
                line.extra1 = unsafe { &raw mut (*bound).min }.cast();
            }
            line.extra2 = bound.cast();
        }
        let keep: KBox<dyn Keep> = KBox::new(values, GFP_KERNEL)?;
        // SAFETY: The namespace is valid, the path ends with a NUL and is copied. The table, the bounds and the
        // values stay where they are until the drop below has unregistered them: they are in buffers
        // of their own (the values in the `Arc`'s), which `Self` keeps. Each `data` points to `maxlen`
        // bytes of atomics, which C may write to at any time, or is what `proc_names` wants.
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
            _bounds: bounds,
            _values: keep,
        })
    }
}

impl Drop for SysctlTable<'_> {
    /// Sleeps.
    fn drop(&mut self) {
        kernel::task::might_sleep();
        // SAFETY: By the type's invariants it is registered. It waits for the handlers that run.
        unsafe { bindings::unregister_net_sysctl_table(self.header.as_ptr()) };
    }
}

/// Something that is kept for what it owns.
trait Keep: Send {}

impl<V: Values> Keep for Arc<V> {}

fn empty_line() -> bindings::ctl_table {
    // SAFETY: Zeroes are a valid value of this C struct: null pointers, numbers, `None`.
    unsafe { core::mem::zeroed() }
}

/// `count` numbers from `first` on, which is the first of so many in a row; the bounds are still to be set.
fn numbers(first: *mut i32, count: usize) -> bindings::ctl_table {
    bindings::ctl_table {
        data: first.cast(),
        maxlen: count.saturating_mul(size_of::<i32>()) as c_int,
        mode: 0o644,
        proc_handler: Some(proc_numbers),
        ..empty_line()
    }
}

fn unsigned(value: &Atomic<i32>) -> bindings::ctl_table {
    bindings::ctl_table {
        proc_handler: Some(proc_unsigned),
        ..numbers(value.as_ptr(), 1)
    }
}

fn one_name(value: &Atomic<i32>, names: &'static Names) -> bindings::ctl_table {
    bindings::ctl_table {
        data: value.as_ptr().cast(),
        mode: 0o644,
        ..all_names(names)
    }
}

fn all_names(names: &'static Names) -> bindings::ctl_table {
    bindings::ctl_table {
        maxlen: MAX_TEXT as c_int,
        mode: 0o444,
        extra1: core::ptr::from_ref(names).cast_mut().cast(),
        proc_handler: Some(proc_names),
        ..empty_line()
    }
}

/// Tells the values' owner of what was written. Of several numbers some may have been before an error.
///
/// # Safety
///
/// To be called with a line that is registered, as the table's `bounds` make it.
unsafe fn tell(line: *const bindings::ctl_table, write: c_int, err: c_int) -> c_int {
    if write != 0 {
        // SAFETY: By `SysctlTable`'s invariants `extra2` goes to the line's bounds as long as the line is registered.
        let bounds = unsafe { &*(*line).extra2.cast::<Bounds>() };
        // SAFETY: By the invariants of `Bounds`.
        unsafe { (bounds.changed)(bounds.values) };
    }
    err
}

/// Reads or writes a [`Field::Int`] or a [`Field::Vector3`]. Process context.
///
/// # Safety
///
/// To be called by the sysctl code alone, with a line that [`numbers`] made and that is registered.
unsafe extern "C" fn proc_numbers(
    line: *const bindings::ctl_table,
    write: c_int,
    buffer: *mut c_void,
    len: *mut usize,
    pos: *mut bindings::loff_t,
) -> c_int {
    // SAFETY: What the caller got is handed on; the line has its limits in `extra1` and `extra2`.
    let err = unsafe { bindings::proc_dointvec_minmax(line, write, buffer, len, pos) };
    // SAFETY: By the precondition.
    unsafe { tell(line, write, err) }
}

/// Reads or writes a [`Field::Unsigned`]. Process context.
///
/// # Safety
///
/// To be called by the sysctl code alone, with a line that [`unsigned`] made and that is registered.
unsafe extern "C" fn proc_unsigned(
    line: *const bindings::ctl_table,
    write: c_int,
    buffer: *mut c_void,
    len: *mut usize,
    pos: *mut bindings::loff_t,
) -> c_int {
    // SAFETY: What the caller got is handed on.
    let err = unsafe { bindings::proc_douintvec(line, write, buffer, len, pos) };
    // SAFETY: By the precondition.
    unsafe { tell(line, write, err) }
}

/// Reads or writes a [`Field::Name`], or reads a [`Field::AllNames`], which has no `data`. Process context.
///
/// # Safety
///
/// To be called by the sysctl code alone, with a line that [`one_name`] or [`all_names`] made and that is registered.
unsafe extern "C" fn proc_names(
    line: *const bindings::ctl_table,
    write: c_int,
    buffer: *mut c_void,
    len: *mut usize,
    pos: *mut bindings::loff_t,
) -> c_int {
    // SAFETY: By the precondition the line is valid and `extra1` goes to static names.
    let (data, names) = unsafe { ((*line).data, &*(*line).extra1.cast::<Names>()) };
    let value = NonNull::new(data).map(|data| {
        // SAFETY: It is not null, so it goes to the atomic of `one_name`, which the table keeps while it is registered.
        unsafe { Atomic::<i32>::from_ptr(data.as_ptr().cast()) }
    });
    let mut text = [0u8; MAX_TEXT];
    match value {
        Some(value) => {
            let number = usize::try_from(value.load(Relaxed)).unwrap_or(0);
            append(&mut text, names.0.get(number).copied().unwrap_or(""));
        }
        None => {
            for (i, name) in names.0.iter().enumerate() {
                append(&mut text, if i == 0 { "" } else { " " });
                append(&mut text, name);
            }
        }
    }
    let local = bindings::ctl_table {
        data: text.as_mut_ptr().cast(),
        maxlen: MAX_TEXT as c_int,
        ..empty_line()
    };
    // SAFETY: `local` has a buffer of `maxlen` bytes, with a NUL in it; the rest is the sysctl code's own.
    let err = unsafe { bindings::proc_dostring(&local, write, buffer, len, pos) };
    let (0, true, Some(value)) = (err, write != 0, value) else {
        return err;
    };
    let text = text
        .split(|&byte| byte == 0)
        .next()
        .unwrap_or(&[])
        .trim_ascii();
    match names.0.iter().position(|name| name.as_bytes() == text) {
        Some(number) => {
            value.store(number as i32, Relaxed);
            // SAFETY: By the precondition.
            unsafe { tell(line, write, 0) }
        }
        // As for a congestion control that the kernel does not know.
        None => ENOENT.to_errno(),
    }
}

/// Appends to what `text` holds up to its first NUL; one stays.
fn append(text: &mut [u8; MAX_TEXT], more: &str) {
    let used = text.iter().position(|&byte| byte == 0).unwrap_or(MAX_TEXT);
    let free = text
        .iter_mut()
        .skip(used)
        .take(MAX_TEXT.saturating_sub(used).saturating_sub(1));
    for (to, &from) in free.zip(more.as_bytes()) {
        *to = from;
    }
}
