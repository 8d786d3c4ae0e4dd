// SPDX-License-Identifier: GPL-2.0

//! Tables in `/proc/net`, one file per namespace.
//!
//! C headers: `include/linux/proc_fs.h`, `include/linux/seq_file.h`, `include/linux/seq_file_net.h`.

use core::mem::{align_of, size_of, MaybeUninit};
use core::ptr::NonNull;

use kernel::prelude::*;
use kernel::seq_file::SeqFile;

use super::bindings;
use super::net::Net;

/// What a file shows: a line of headings and then rows.
pub(crate) trait SeqRows: 'static {
    /// A way through the rows. It is made anew for each read(2) and dropped at its end, without a sleep in
    /// between, so it may hold RCU or a walker of a table all the time.
    type Walk<'n>: SeqWalk;

    /// Writes the headings, with the line's end.
    fn header(seq: &SeqFile);

    /// Starts at the beginning, before the first row. Process context.
    fn walk<'n>(net: &'n Net) -> impl PinInit<Self::Walk<'n>, Error>;
}

/// A way through rows; it knows which row it stands at.
pub(crate) trait SeqWalk {
    /// Goes to the next row (at first: to the first). `false` means that there is none.
    fn advance(self: Pin<&mut Self>) -> bool;

    /// Writes the row, with the line's end. Called only after an `advance` that said `true`.
    fn show(self: Pin<&mut Self>, seq: &SeqFile);

    /// Advances `rows` times. A later read(2) begins with this; rows that came or went in between make
    /// it miss some or show some twice, as in the built-in TCP's table.
    fn seek(mut self: Pin<&mut Self>, rows: u64) -> bool {
        (0..rows).all(|_| self.as_mut().advance())
    }
}

/// A file in a namespace's `/proc/net`. Dropping it removes it and waits for those who are reading.
///
/// # Invariants
///
/// A valid entry of proc that is registered.
pub(crate) struct ProcFile(NonNull<bindings::proc_dir_entry>);

// SAFETY: proc locks for itself; any thread may remove an entry.
unsafe impl Send for ProcFile {}

impl ProcFile {
    /// Makes `/proc/net/NAME` with the permissions `mode`. Sleeps.
    ///
    /// Errors: ENOMEM, also for a name that is taken (C does not tell them apart).
    ///
    /// To be kept in a [`PerNet::Doors`](super::net::PerNet::Doors) of `net`.
    pub(crate) fn create<R: SeqRows>(net: &Net, name: &CStr, mode: u16) -> Result<Self> {
        const {
            // C allocates the state with kzalloc(), which aligns to 8 bytes at least.
            assert!(align_of::<State<R>>() <= 8);
        }
        // SAFETY: `net` is valid and so is its directory; the name ends with a NUL and is copied; the
        // operations are static, and their state is of that size, with C's part first.
        let entry = unsafe {
            bindings::proc_create_net_data(
                name.as_char_ptr(),
                mode,
                bindings::oxtcp_helper_proc_net(net.as_ptr()),
                Operations::<R>::TABLE,
                size_of::<State<R>>() as c_uint,
                core::ptr::null_mut(),
            )
        };
        // INVARIANT: Just registered.
        Ok(Self(NonNull::new(entry).ok_or(ENOMEM)?))
    }
}

impl Drop for ProcFile {
    fn drop(&mut self) {
        // SAFETY: By the type's invariants it is registered. It waits for the calls of ours that run.
        unsafe { bindings::proc_remove(self.0.as_ptr()) };
    }
}

/// What C keeps for an open file; zeroes at first.
///
/// # Invariants
///
/// `walk` is initialised and pinned exactly while `walking` says so, and that is only between `start` and
/// `stop` of one read. seq_file's lock keeps reads of one file apart.
#[repr(C)]
struct State<R: SeqRows> {
    net: bindings::seq_net_private,
    walking: bool,
    walk: MaybeUninit<R::Walk<'static>>,
}

impl<R: SeqRows> State<R> {
    /// Starts a walk. `net` is that of the open file.
    fn begin(&mut self, net: &'static Net) -> Result {
        self.end();
        // SAFETY: The slot is ours, not initialised, and stays where it is until C frees it, which is not
        // before `stop` has dropped the walk.
        unsafe { R::walk(net).__pinned_init(self.walk.as_mut_ptr()) }?;
        // INVARIANT: Just initialised.
        self.walking = true;
        Ok(())
    }

    fn walk(&mut self) -> Option<Pin<&mut R::Walk<'static>>> {
        if !self.walking {
            return None;
        }
        // SAFETY: Initialised and pinned by the type's invariants.
        Some(unsafe { Pin::new_unchecked(self.walk.assume_init_mut()) })
    }

    fn end(&mut self) {
        if self.walking {
            // INVARIANT: Dropped below.
            self.walking = false;
            // SAFETY: It was initialised by the type's invariants, and is not looked at again.
            unsafe { self.walk.assume_init_drop() };
        }
    }
}

/// What `start` and `next` return in place of a row, for the headings (C's `SEQ_START_TOKEN`).
const HEADER: *mut c_void = core::ptr::without_provenance_mut(1);

/// The C functions for `R`.
struct Operations<R: SeqRows>(core::marker::PhantomData<R>);

impl<R: SeqRows> Operations<R> {
    const TABLE: &'static bindings::seq_operations = &bindings::seq_operations {
        start: Some(Self::start),
        next: Some(Self::next),
        stop: Some(Self::stop),
        show: Some(Self::show),
    };

    /// # Safety
    ///
    /// `seq` must be what C calls us with: a file that [`ProcFile::create`] made for `R`, under
    /// seq_file's lock.
    unsafe fn state<'a>(seq: *mut bindings::seq_file) -> &'a mut State<R> {
        // SAFETY: `create` has told C the size of this state; nobody else uses it under the lock.
        unsafe { &mut *(*seq).private.cast::<State<R>>() }
    }

    /// # Safety
    ///
    /// As for [`Self::state`].
    unsafe fn begin(seq: *mut bindings::seq_file) -> Result<&'static mut State<R>> {
        // SAFETY: The open file holds a reference on the namespace. The walk, which is all that keeps the
        // reference, is dropped at the read's end; `R::walk` is generic over the lifetime, so it
        // cannot take it for a longer one.
        let net = unsafe { Net::from_raw(bindings::oxtcp_helper_seq_file_net(seq)) };
        // SAFETY: The caller vouches for it.
        let state = unsafe { Self::state(seq) };
        state.begin(net)?;
        Ok(state)
    }

    /// The row that `found` tells of, as C wants it.
    fn row(state: &mut State<R>, found: bool) -> *mut c_void {
        if found {
            core::ptr::from_mut(state).cast()
        } else {
            core::ptr::null_mut()
        }
    }

    /// # Safety
    ///
    /// To be called by seq_file.
    unsafe extern "C" fn start(
        seq: *mut bindings::seq_file,
        position: *mut bindings::loff_t,
    ) -> *mut c_void {
        // SAFETY: C passes a valid position.
        let rows = unsafe { *position } as u64;
        if rows == 0 {
            return HEADER;
        }
        // SAFETY: seq_file calls us.
        match unsafe { Self::begin(seq) } {
            Ok(state) => {
                let found = state.walk().is_some_and(|walk| walk.seek(rows));
                Self::row(state, found)
            }
            Err(error) => error.to_ptr(),
        }
    }

    /// # Safety
    ///
    /// To be called by seq_file.
    unsafe extern "C" fn next(
        seq: *mut bindings::seq_file,
        row: *mut c_void,
        position: *mut bindings::loff_t,
    ) -> *mut c_void {
        // SAFETY: C passes a valid position.
        unsafe { *position += 1 };
        let state = if row == HEADER {
            // SAFETY: seq_file calls us.
            match unsafe { Self::begin(seq) } {
                Ok(state) => state,
                Err(error) => return error.to_ptr(),
            }
        } else {
            // SAFETY: seq_file calls us.
            unsafe { Self::state(seq) }
        };
        let found = state.walk().is_some_and(|walk| walk.advance());
        Self::row(state, found)
    }

    /// # Safety
    ///
    /// To be called by seq_file.
    unsafe extern "C" fn stop(seq: *mut bindings::seq_file, _row: *mut c_void) {
        // SAFETY: seq_file calls us.
        unsafe { Self::state(seq) }.end();
    }

    /// # Safety
    ///
    /// To be called by seq_file.
    unsafe extern "C" fn show(seq: *mut bindings::seq_file, row: *mut c_void) -> c_int {
        // SAFETY: The file is valid for this call, and ours alone under its lock.
        let file = unsafe { SeqFile::from_raw(seq.cast()) };
        if row == HEADER {
            R::header(file);
        } else {
            // SAFETY: seq_file calls us.
            if let Some(walk) = unsafe { Self::state(seq) }.walk() {
                walk.show(file);
            }
        }
        0
    }
}
