// SPDX-License-Identifier: GPL-2.0

//! Tables and lines in `/proc/net`, one file per namespace.
//!
//! C headers: `include/linux/proc_fs.h`, `include/linux/seq_file.h`, `include/linux/seq_file_net.h`.

use core::marker::PhantomData;
use core::mem::{align_of, size_of, MaybeUninit};
use core::ptr::NonNull;

use kernel::prelude::*;
use kernel::seq_file::SeqFile;

use super::bindings;
use super::errno::enxio;
use super::net::{Doorway, Net, PerNet};
use super::proto::Protocol;
use super::table::{FlowTable, Found, Walk};

/// What a file shows: a line of headings, and then rows of what is in a flow table.
pub(crate) trait SeqRows: 'static {
    /// Whose table it is.
    type Protocol: Protocol;

    /// What a row says. It may be shown in a later read(2) than it was taken, in another thread, or never: it must not hold
    /// anything that somebody waits for.
    type Row: Send;

    /// Writes the headings, with the line's end.
    fn header(seq: &SeqFile);

    /// The table.
    fn table(namespace: &<Self::Protocol as Protocol>::PerNet) -> &FlowTable<Self::Protocol>;

    /// The row of an object in the table; `None` if it has none. RCU is read-locked: it does not sleep.
    fn row(found: Found<'_, Self::Protocol>) -> Option<Self::Row>;

    /// Writes a row, with the line's end. The first has the number 0.
    fn show(row: &Self::Row, number: u32, seq: &SeqFile);
}

/// What a file shows that is written in one go.
pub(crate) trait SeqText: 'static {
    /// Whose file it is.
    type PerNet: PerNet;

    /// Writes all of it. Process context.
    fn show(namespace: &Self::PerNet, seq: &SeqFile);
}

/// What a namespace has of the protocol.
type PerNetOf<R> = <<R as SeqRows>::Protocol as Protocol>::PerNet;

/// A user, as the kernel counts them.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Uid(u32);

impl Uid {
    /// Of a `kuid_t`'s number.
    pub(super) fn new(number: u32) -> Self {
        Self(number)
    }

    /// The `kuid_t`'s number.
    pub(crate) fn number(self) -> u32 {
        self.0
    }

    /// The number that the reader of `seq` knows the user by.
    pub(crate) fn seen_by(self, seq: &SeqFile) -> u32 {
        // SAFETY: `SeqFile` is transparent over C's `seq_file`, and valid.
        unsafe {
            bindings::oxtcp_helper_uid_seen_by(self.0, core::ptr::from_ref(seq).cast_mut().cast())
        }
    }
}

/// A file in a namespace's `/proc/net`. Dropping it removes it, waits for those who are reading, and closes it for those
/// who have it open.
///
/// # Invariants
///
/// A valid entry of proc that is registered, in the `/proc/net` of a namespace that is there for `'n`, as is its value.
pub(crate) struct ProcFile<'n>(NonNull<bindings::proc_dir_entry>, PhantomData<&'n Net>);

// SAFETY: proc locks for itself; any thread may remove an entry.
unsafe impl Send for ProcFile<'_> {}

impl<'n> ProcFile<'n> {
    /// Makes `/proc/net/NAME` with the permissions `mode`. Sleeps.
    ///
    /// Errors: ENOMEM, also for a name that is taken (C does not tell them apart).
    pub(crate) fn create<R: SeqRows>(
        doorway: &Doorway<'n, PerNetOf<R>>,
        name: &CStr,
        mode: u16,
    ) -> Result<Self> {
        const {
            // C allocates the state with kzalloc(), which aligns to 8 bytes at least.
            assert!(align_of::<State<R>>() <= 8);
        }
        Self::register(doorway.net(), name, mode, Operations::<R>::FILE)
    }

    /// Makes a file of text. Sleeps.
    ///
    /// Errors: as [`create`](Self::create).
    pub(crate) fn create_text<T: SeqText>(
        doorway: &Doorway<'n, T::PerNet>,
        name: &CStr,
        mode: u16,
    ) -> Result<Self> {
        Self::register(doorway.net(), name, mode, TextOperations::<T>::FILE)
    }

    fn register(
        net: &'n Net,
        name: &CStr,
        mode: u16,
        operations: &'static bindings::proc_ops,
    ) -> Result<Self> {
        kernel::task::might_sleep();
        // SAFETY: `net` is valid and so is its directory; the name ends with a NUL and is copied; the
        // operations are static. `net` is there for `'n`, and the entry no longer than that.
        let entry = unsafe {
            bindings::proc_create_data(
                name.as_char_ptr(),
                mode,
                bindings::oxtcp_helper_proc_net(net.as_ptr()),
                operations,
                net.as_ptr().cast(),
            )
        };
        // INVARIANT: Just registered.
        Ok(Self(NonNull::new(entry).ok_or(ENOMEM)?, PhantomData))
    }
}

impl Drop for ProcFile<'_> {
    /// Sleeps.
    fn drop(&mut self) {
        kernel::task::might_sleep();
        // SAFETY: By the type's invariants it is registered. It waits for the calls of ours that run, and calls
        // `release` for each open file.
        unsafe { bindings::proc_remove(self.0.as_ptr()) };
    }
}

/// What C keeps for an open file; zeroes at first.
///
/// # Invariants
///
/// `walk` is initialised and pinned exactly while `walking` says so. `net` is that of the file's entry, with a reference
/// of ours. seq_file's lock keeps reads of one file apart, and the release comes after them: at close(2), or as the
/// entry is removed.
#[repr(C)]
struct State<R: SeqRows> {
    net: *mut bindings::net,
    walking: bool,
    /// The number that seq_file knows the walk's row by.
    at: u64,
    /// Whether there is such a row.
    found: bool,
    walk: MaybeUninit<Rows<R>>,
}

/// A way through the table; one row at a time is taken out of it.
#[pin_data]
struct Rows<R: SeqRows> {
    #[pin]
    walk: Walk<'static, R::Protocol>,
    /// Of `row`.
    number: u32,
    row: Option<R::Row>,
}

impl<R: SeqRows> Rows<R> {
    fn new(table: &'static FlowTable<R::Protocol>) -> impl PinInit<Self> {
        pin_init!(Self {
            walk <- Walk::new(table),
            number: 0,
            row: None,
        })
    }

    /// Goes to the next row, at first to the first. `false` means that there is none, or that the walk pauses.
    fn advance(self: Pin<&mut Self>) -> bool {
        let mut this = self.project();
        if this.row.is_some() {
            *this.number = this.number.wrapping_add(1);
        }
        loop {
            let Some(found) = this.walk.as_mut().next() else {
                *this.row = None;
                return false;
            };
            *this.row = R::row(found);
            if this.row.is_some() {
                return true;
            }
        }
    }
}

impl<R: SeqRows> State<R> {
    /// Starts a walk, paused before the first row. To be called in a read(2) of the file.
    fn begin(&mut self) -> Result {
        self.end();
        // SAFETY: We hold a reference on the namespace.
        let net = unsafe { Net::from_raw(self.net) };
        // SAFETY: The file is a door of the namespace, by `ProcFile`'s invariants: its drop waits for this read, then calls
        // `release`, or waits for it, which drops the walk. That is all that keeps the reference; `R::table` is generic over the
        // lifetime, so it cannot take it for a longer one.
        let namespace: &'static PerNetOf<R> = unsafe { net.assume() }.ok_or(ENODEV)?;
        let rows = Rows::new(R::table(namespace));
        // SAFETY: The slot is ours, not initialised, and stays where it is until C frees it, which is not
        // before `release` has dropped the walk.
        let Ok(()) = unsafe { rows.__pinned_init(self.walk.as_mut_ptr()) };
        // INVARIANT: Just initialised.
        self.walking = true;
        self.at = 0;
        self.found = true;
        Ok(())
    }

    fn walk(&mut self) -> Option<Pin<&mut Rows<R>>> {
        if !self.walking {
            return None;
        }
        // SAFETY: Initialised and pinned by the type's invariants.
        Some(unsafe { Pin::new_unchecked(self.walk.assume_init_mut()) })
    }

    /// # Safety
    ///
    /// `stop` follows, in the same thread, before it sleeps.
    unsafe fn resume(&mut self) {
        if let Some(walk) = self.walk() {
            // SAFETY: `stop` pauses it.
            unsafe { walk.project().walk.resume() };
        }
    }

    /// To the next row.
    fn advance(&mut self) {
        self.at = self.at.wrapping_add(1);
        self.found = self.found && self.walk().is_some_and(|walk| walk.advance());
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
struct Operations<R: SeqRows>(PhantomData<R>);

impl<R: SeqRows> Operations<R> {
    const FILE: &'static bindings::proc_ops = &bindings::proc_ops {
        proc_open: Some(Self::open),
        proc_read: Some(bindings::seq_read),
        proc_lseek: Some(bindings::seq_lseek),
        proc_release: Some(Self::release),
        // SAFETY: All other fields are flags and pointers to functions, for which zero is "none".
        ..unsafe { core::mem::zeroed() }
    };

    const TABLE: &'static bindings::seq_operations = &bindings::seq_operations {
        start: Some(Self::start),
        next: Some(Self::next),
        stop: Some(Self::stop),
        show: Some(Self::show),
    };

    /// # Safety
    ///
    /// To be called by proc, for an entry that [`ProcFile::create`] made for `R`.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: The entry's data is the namespace, which stays as long as the entry, and proc does not remove that
        // while it calls us.
        let net: *mut bindings::net = unsafe { bindings::oxtcp_helper_pde_data(inode) }.cast();
        // SAFETY: As above.
        if !unsafe { bindings::oxtcp_helper_maybe_get_net(net) } {
            return enxio().to_errno();
        }
        // SAFETY: The file is being opened; the operations are static, and their state is of that size.
        let state: *mut State<R> = unsafe {
            bindings::__seq_open_private(file, Self::TABLE, size_of::<State<R>>() as c_int)
        }
        .cast();
        if state.is_null() {
            // SAFETY: The reference from above.
            unsafe { bindings::oxtcp_helper_put_net(net) };
            return ENOMEM.to_errno();
        }
        // INVARIANT: Zeroes but for this, with the reference from above: no walk yet.
        // SAFETY: Just made, and nobody else knows it.
        unsafe { (*state).net = net };
        0
    }

    /// # Safety
    ///
    /// To be called by proc, for a file that [`Self::open`] opened.
    unsafe extern "C" fn release(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: The last call for this file; its state is there until `seq_release_private` frees it.
        unsafe {
            let state = Self::state(bindings::oxtcp_helper_seq_of(file));
            state.end();
            bindings::oxtcp_helper_put_net(state.net);
            bindings::seq_release_private(inode, file)
        }
    }

    /// # Safety
    ///
    /// `seq` must be what C calls us with: a file that [`Self::open`] opened for `R`, under seq_file's lock or at its
    /// release.
    unsafe fn state<'a>(seq: *mut bindings::seq_file) -> &'a mut State<R> {
        // SAFETY: `open` has told C the size of this state; nobody else uses it under the lock.
        unsafe { &mut *(*seq).private.cast::<State<R>>() }
    }

    /// The row that the walk stands at, as C wants it.
    fn row(state: &mut State<R>) -> *mut c_void {
        if state.found {
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
        let row = unsafe { *position } as u64;
        // SAFETY: seq_file calls us.
        let state = unsafe { Self::state(seq) };
        if row == 0 {
            // From the beginning: what was read so far does not count.
            state.end();
            return HEADER;
        }
        // The row that the last read(2) ended before, usually.
        if !state.walking || state.at != row {
            if let Err(error) = state.begin() {
                return error.to_ptr();
            }
        }
        // SAFETY: seq_file calls `stop` at the read's end, and does not sleep till then.
        unsafe { state.resume() };
        while state.at != row {
            state.advance();
        }
        Self::row(state)
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
        unsafe { *position = (*position).saturating_add(1) };
        // SAFETY: seq_file calls us.
        let state = unsafe { Self::state(seq) };
        if row == HEADER {
            if let Err(error) = state.begin() {
                return error.to_ptr();
            }
            // SAFETY: As in `start`.
            unsafe { state.resume() };
        }
        state.advance();
        Self::row(state)
    }

    /// # Safety
    ///
    /// To be called by seq_file.
    unsafe extern "C" fn stop(seq: *mut bindings::seq_file, _row: *mut c_void) {
        // SAFETY: seq_file calls us.
        if let Some(walk) = unsafe { Self::state(seq) }.walk() {
            walk.project().walk.pause();
        }
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
            if let Some(rows) = unsafe { Self::state(seq) }.walk() {
                if let Some(row) = &rows.row {
                    R::show(row, rows.number, file);
                }
            }
        }
        0
    }
}

/// The C functions for a text.
struct TextOperations<T: SeqText>(PhantomData<T>);

impl<T: SeqText> TextOperations<T> {
    const FILE: &'static bindings::proc_ops = &bindings::proc_ops {
        proc_open: Some(Self::open),
        proc_read: Some(bindings::seq_read),
        proc_lseek: Some(bindings::seq_lseek),
        proc_release: Some(Self::release),
        // SAFETY: All other fields are flags and pointers to functions, for which zero is "none".
        ..unsafe { core::mem::zeroed() }
    };

    /// # Safety
    ///
    /// To be called by proc, for an entry that [`ProcFile::create_text`] made for `T`.
    unsafe extern "C" fn open(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: As in `Operations::open`.
        let net: *mut bindings::net = unsafe { bindings::oxtcp_helper_pde_data(inode) }.cast();
        // SAFETY: As above.
        if !unsafe { bindings::oxtcp_helper_maybe_get_net(net) } {
            return enxio().to_errno();
        }
        // SAFETY: The file is being opened. The namespace, for `show`, has a reference that `release` gives up.
        let err = unsafe { bindings::single_open(file, Some(Self::show), net.cast()) };
        if err != 0 {
            // SAFETY: The reference from above.
            unsafe { bindings::oxtcp_helper_put_net(net) };
        }
        err
    }

    /// # Safety
    ///
    /// To be called by proc, for a file that [`Self::open`] opened.
    unsafe extern "C" fn release(inode: *mut bindings::inode, file: *mut bindings::file) -> c_int {
        // SAFETY: The last call for this file; `open` has told C the namespace and left a reference on it.
        unsafe {
            let seq = bindings::oxtcp_helper_seq_of(file);
            bindings::oxtcp_helper_put_net((*seq).private.cast());
            bindings::single_release(inode, file)
        }
    }

    /// # Safety
    ///
    /// To be called by seq_file, for a file that [`Self::open`] opened.
    unsafe extern "C" fn show(seq: *mut bindings::seq_file, _row: *mut c_void) -> c_int {
        // SAFETY: The file is valid for this call, and ours alone under its lock; `open` has told C the namespace, which we
        // hold a reference on.
        let (file, net) = unsafe {
            (
                SeqFile::from_raw(seq.cast()),
                Net::from_raw((*seq).private.cast()),
            )
        };
        // SAFETY: The file is a door of the namespace, by `ProcFile`'s invariants: its drop waits for this read.
        if let Some(namespace) = unsafe { net.assume::<T::PerNet>() } {
            T::show(namespace, file);
        }
        0
    }
}
