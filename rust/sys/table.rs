// SPDX-License-Identifier: GPL-2.0

//! The flow table: who owns a (local, remote) pair of addresses and ports.
//!
//! One `rhashtable` per namespace holds sockets (connections and, with an
//! all-zero remote end, listeners) and the small objects that stand for a
//! half-open connection or one in TIME-WAIT, and posts, by which the sockets of a group are found. Look-ups run under RCU and take
//! no lock.

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::mem::{ManuallyDrop, MaybeUninit};
use core::ops::{Deref, DerefMut};
use core::ptr::NonNull;

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::Atomic;
use kernel::sync::rcu;
use kernel::types::{NotThreadSafe, Opaque};

use super::bindings;
use super::once::Once;
use super::proto::Protocol;
use super::sock::Sock;
use super::time::Jiffies;

mod key;
mod post;
mod walk;

pub(crate) use key::{Endpoint, FlowKey, KeyCell};
pub(crate) use post::Posted;
pub(crate) use walk::Walk;

/// What an object of the table is.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum Kind {
    Sock,
    Mini,
    Post,
}

/// What every object in a table begins with (a socket has it further in).
///
/// # Invariants
///
/// While `hashed`, the key does not change. `hashed` and what is below it are protected by the owner's lock: a socket's
/// own, or the shared lock of a [`Mini`].
#[repr(C)]
pub(super) struct Entry {
    node: Opaque<bindings::rhash_head>,
    key: KeyCell,
    kind: Kind,
    hashed: UnsafeCell<bool>,
    /// What stands here because here is room. A socket's are two booleans, [`replace_deferred`](Self::replace_deferred) and
    /// [`replace_disowned`](Self::replace_disowned); a [`Mini`]'s are its note.
    room: UnsafeCell<[u8; 2]>,
}

// SAFETY: The key is atomic; the other cells are under the owner's lock.
unsafe impl Sync for Entry {}
// SAFETY: Plain data.
unsafe impl Send for Entry {}

impl Entry {
    pub(super) fn new(kind: Kind) -> Self {
        Self {
            node: Opaque::uninit(),
            key: KeyCell::new(FlowKey::new(Endpoint::NONE, Endpoint::NONE)),
            kind,
            hashed: UnsafeCell::new(false),
            room: UnsafeCell::new([0; 2]),
        }
    }

    /// Sets whether a socket's timer ran out while a process owned it; what it was.
    ///
    /// # Safety
    ///
    /// The socket's spin lock is held.
    pub(super) unsafe fn replace_deferred(&self, deferred: bool) -> bool {
        // SAFETY: The first of two bytes, which that lock protects: nobody else is at it. No reference is made, as somebody may be at the
        // other.
        unsafe { self.room.get().cast::<u8>().replace(u8::from(deferred)) != 0 }
    }

    /// Sets whether a socket has its own reference, to be given up, as no program has it or will have it; what it was.
    ///
    /// # Safety
    ///
    /// The socket is locked, by the spin lock or as its owner: one excludes the other.
    pub(super) unsafe fn replace_disowned(&self, disowned: bool) -> bool {
        // SAFETY: The second of two bytes, which that lock protects. As above.
        unsafe {
            self.room
                .get()
                .cast::<u8>()
                .add(1)
                .replace(u8::from(disowned))
                != 0
        }
    }

    /// The key; for an unlocked socket entry it may be that of another life of the socket, or some of that.
    pub(super) fn key(&self) -> FlowKey {
        self.key.load()
    }
}

/// A small object in the table that is no socket: body, timer and node in 128 bytes.
///
/// # Invariants
///
/// `entry.hashed` and `body` are protected by the lock that `oxtcp_helper_mini_lock()` gives for
/// this address. While `hashed`, `body.live` is initialised; after that the memory is the RCU
/// callback's and nobody reads it. The object is freed a grace period after it left the table.
#[repr(C)]
pub(crate) struct Mini<P: Protocol> {
    entry: Entry,
    timer: Opaque<bindings::timer_list>,
    body: UnsafeCell<Body<P::Mini>>,
}

#[repr(C)]
union Body<T> {
    live: ManuallyDrop<T>,
    rcu: bindings::callback_head,
}

// SAFETY: Handed between CPUs through the table; see the invariants for what protects it.
unsafe impl<P: Protocol> Send for Mini<P> {}
// SAFETY: As above.
unsafe impl<P: Protocol> Sync for Mini<P> {}

/// The size of a [`Mini`] if the kernel's timer had `timer` bytes.
// The lint does not see the use in a constant assertion.
#[allow(dead_code)]
#[allow(clippy::arithmetic_side_effects)] // In constants, where an overflow does not compile.
pub(crate) const fn mini_size_with_timer_of<P: Protocol>(timer: usize) -> usize {
    core::mem::size_of::<Mini<P>>() - core::mem::size_of::<bindings::timer_list>() + timer
}

/// What a [`Mini`] carries.
pub(crate) trait MiniBody<P: Protocol<Mini = Self>>: Sized + Send {
    /// The timer that [`MiniGuard::set_timer`] set has run out. Softirq context.
    fn on_timer(this: MiniGuard<'_, P>);
}

impl<P: Protocol> Mini<P> {
    pub(crate) fn key(&self) -> FlowKey {
        self.entry.key()
    }

    /// Locks the object; `None` when it has left the table.
    ///
    /// `'a` is within an RCU read-side section or the table's walk, which keeps the object.
    pub(crate) fn lock<'a>(&'a self) -> Option<MiniGuard<'a, P>> {
        // SAFETY: No conditions but that the unlock comes, see `MiniGuard::drop`.
        unsafe { bindings::oxtcp_helper_mini_lock(self.as_ptr().cast()) };
        // SAFETY: The lock is held.
        if unsafe { *self.entry.hashed.get() } {
            return Some(MiniGuard {
                mini: self,
                _not_send: NotThreadSafe,
            });
        }
        // SAFETY: Locked above.
        unsafe { bindings::oxtcp_helper_mini_unlock(self.as_ptr().cast()) };
        None
    }

    fn as_ptr(&self) -> *const Self {
        self
    }

    /// # Safety
    ///
    /// For the kernel to call with the timer of a `Mini` that is not freed yet.
    unsafe extern "C" fn timer_callback(timer: *mut bindings::timer_list) {
        let _rcu = rcu::read_lock();
        // SAFETY: The timer is in a `Mini`; timers run as RCU readers (softirq), and the object is
        // freed a grace period after the timer was deleted.
        let mini = unsafe { &*kernel::container_of!(Opaque::cast_from(timer), Self, timer) };
        if let Some(guard) = mini.lock() {
            P::Mini::on_timer(guard);
        }
    }

    /// # Safety
    ///
    /// For the kernel to call with the head that `retire` gave to `call_rcu`.
    unsafe extern "C" fn free_callback(head: *mut bindings::callback_head) {
        let body: *mut UnsafeCell<Body<P::Mini>> = head.cast();
        // SAFETY: `head` is the first word of the body of a `Mini` that `retire` gave to RCU.
        let mini = unsafe { kernel::container_of!(body, Self, body) };
        // Not as a `KBox`, whose way to kfree() is twice as long: nothing in it is to be dropped.
        // SAFETY: It is kmalloc()'s, left the table a grace period ago, and its body was taken.
        unsafe { kernel::bindings::kfree(mini.cast()) };
    }
}

/// A [`Mini`] that is in no table yet.
///
/// # Invariants
///
/// The object was never hashed, so nobody else knows it: `body.live` is initialised, the timer is set up and was
/// never armed.
pub(crate) struct NewMini<P: Protocol>(Pin<KBox<Mini<P>>>);

impl<P: Protocol> NewMini<P> {
    /// Makes one.
    ///
    /// # Context
    ///
    /// Any.
    pub(crate) fn new(key: FlowKey, body: P::Mini) -> Result<Self> {
        let entry = Entry {
            key: KeyCell::new(key),
            ..Entry::new(Kind::Mini)
        };
        // Memory first: a body that finds none is dropped as such, not with the union that drops nothing.
        const { assert!(align_of::<Mini<P>>() <= size_of::<u64>()) };
        // SAFETY: No conditions.
        let memory = unsafe { bindings::oxtcp_helper_mini_alloc(core::mem::size_of::<Mini<P>>()) };
        let memory = NonNull::new(memory.cast::<MaybeUninit<Mini<P>>>()).ok_or(ENOMEM)?;
        // SAFETY: It is kmalloc()'s, as a `KBox` has it, of that size or more, and nobody else's; kmalloc() aligns it to eight bytes at least.
        let memory = unsafe { KBox::from_raw(memory.as_ptr()) };
        let mini = KBox::into_pin(memory.write(Mini {
            entry,
            timer: Opaque::uninit(),
            body: UnsafeCell::new(Body {
                live: ManuallyDrop::new(body),
            }),
        }));
        // SAFETY: The timer is pinned with the box from here on.
        unsafe {
            bindings::oxtcp_helper_timer_setup(mini.timer.get(), Some(Mini::<P>::timer_callback))
        };
        // INVARIANT: Live, set up, and not hashed.
        Ok(Self(mini))
    }

    /// Leaves two bytes with the object, which its body has no room for ([`MiniGuard::note`]).
    pub(crate) fn with_note(self, note: [u8; 2]) -> Self {
        // SAFETY: Nobody else knows the object.
        unsafe { *self.0.entry.room.get() = note };
        self
    }

    /// Links the object by `link`, with its timer set. Takes no lock, but when it fails.
    ///
    /// `link` gets the node; 0 says that a table has it, and the table owns the object then.
    fn link(self, timer: Jiffies, link: impl FnOnce(*mut bindings::rhash_head) -> i32) -> Result {
        // From here on `MiniGuard::retire` gives the memory to `Mini::free_callback`, which frees it.
        let this = ManuallyDrop::new(self);
        let mini: *const Mini<P> = &*this.0;
        // INVARIANT: Nobody knows the object yet, who would need the lock; it is as one in a table before it is in one. Its timer may run
        // out before that: then `MiniGuard::remove` finds that it is not there yet, and sets it once more.
        // SAFETY: The object is there, and the timer is set up.
        let node = unsafe {
            *(*mini).entry.hashed.get() = true;
            bindings::mod_timer((*mini).timer.get(), timer.get());
            (*mini).entry.node.get()
        };
        let err = link(node);
        if err == 0 {
            // The table's; it may be gone by now.
            return Ok(());
        }
        // SAFETY: The table would not have it, so nobody has freed it: only its timer knows it, whose `MiniGuard::remove` fails.
        if let Some(guard) = unsafe { &*mini }.lock() {
            drop(guard.retire());
        }
        kernel::error::to_result(err)
    }
}

impl<P: Protocol> Drop for NewMini<P> {
    fn drop(&mut self) {
        // SAFETY: Live by the invariant, and dropped once: the box's drop drops nothing of a union. Nobody else
        // knows the object.
        unsafe { ManuallyDrop::drop(&mut (*self.0.body.get()).live) };
    }
}

/// A locked [`Mini`] that is in its table.
///
/// # Invariants
///
/// The object's lock is held, and `entry.hashed` is true.
pub(crate) struct MiniGuard<'a, P: Protocol> {
    mini: &'a Mini<P>,
    _not_send: NotThreadSafe,
}

impl<P: Protocol> MiniGuard<'_, P> {
    pub(crate) fn key(&self) -> FlowKey {
        self.mini.key()
    }

    /// What [`NewMini::with_note`] has left; zeros else.
    pub(crate) fn note(&self) -> [u8; 2] {
        // SAFETY: The lock is held.
        unsafe { *self.mini.entry.room.get() }
    }

    /// Sets or moves the timer.
    pub(crate) fn set_timer(&self, at: Jiffies) {
        // SAFETY: The timer was set up when the object was made, and the object is in the table, so
        // nobody deleted the timer for good.
        unsafe { bindings::mod_timer(self.mini.timer.get(), at.get()) };
    }

    /// Whether the timer is to run out still.
    fn timer_is_set(&self) -> bool {
        // SAFETY: The timer is set up; a single word, as `timer_pending()` reads it.
        !unsafe { (&raw const (*self.mini.timer.get()).entry.pprev).read_volatile() }.is_null()
    }

    /// When the timer goes off.
    pub(crate) fn timer_left(&self) -> Jiffies {
        // SAFETY: The timer is set up; a single word.
        Jiffies::new(unsafe { (&raw const (*self.mini.timer.get()).expires).read_volatile() })
    }

    /// Takes the object out of `table` and hands its body over; nothing if it is in another table.
    pub(crate) fn remove(self, table: &FlowTable<P>) -> Option<P::Mini> {
        // SAFETY: The entry is valid; one that is not in this table makes the C function fail.
        let err = unsafe {
            bindings::oxtcp_helper_flow_remove(table.raw.get(), self.mini.entry.node.get())
        };
        if err != 0 {
            // Its timer has run out before it was put in (`NewMini::link`): once more.
            if !self.timer_is_set() {
                self.set_timer(Jiffies::after_micros(1_000_000));
            }
            return None;
        }
        Some(self.retire())
    }

    /// Puts `sock` into the table in the object's place, at once for every reader.
    ///
    /// # Errors
    ///
    /// The kernel's error when the table would not have it; nothing has changed then.
    pub(crate) fn replace_with(
        self,
        table: &FlowTable<P>,
        sock: &mut super::sock::Locked<'_, P>,
    ) -> Result<P::Mini> {
        let key = self.mini.key();
        let entry = &sock.sock().entry;
        // SAFETY: The socket lock is held, and a new socket is not hashed.
        if unsafe { *entry.hashed.get() } {
            return Err(EINVAL);
        }
        // INVARIANT: Not hashed, so nobody reads the key for a look-up.
        entry.key.store(key);
        // SAFETY: Both nodes are valid; the old one is hashed, and the keys are equal.
        kernel::error::to_result(unsafe {
            bindings::oxtcp_helper_flow_replace(
                table.raw.get(),
                self.mini.entry.node.get(),
                entry.node.get(),
            )
        })?;
        // SAFETY: The socket lock is held. The table owns a reference from here on.
        unsafe { *entry.hashed.get() = true };
        core::mem::forget(ARef::from(sock.sock()));
        Ok(self.retire())
    }

    /// The object is out of the table: stops its timer, gives it to RCU.
    fn retire(self) -> P::Mini {
        let mini = self.mini;
        // SAFETY: The lock is held.
        unsafe { *mini.entry.hashed.get() = false };
        // SAFETY: The timer was set up. A callback that runs already waits for our lock and then
        // sees that the object is no longer hashed.
        unsafe { bindings::timer_delete(mini.timer.get()) };
        // SAFETY: By the invariant the body is live, and with `hashed` false nobody reads it again.
        let body = ManuallyDrop::into_inner(unsafe { core::ptr::read(&(*mini.body.get()).live) });
        drop(self);
        // SAFETY: The body's memory is free for RCU by the invariant, and the object came from a
        // `KBox` of a `NewMini`, which `link` has left to the table.
        unsafe {
            bindings::call_rcu(
                (&raw mut (*mini.body.get()).rcu).cast(),
                Some(Mini::<P>::free_callback),
            )
        };
        body
    }
}

impl<P: Protocol> Drop for MiniGuard<'_, P> {
    fn drop(&mut self) {
        // SAFETY: Held by the invariant.
        unsafe { bindings::oxtcp_helper_mini_unlock(self.mini.as_ptr().cast()) };
    }
}

impl<P: Protocol> Deref for MiniGuard<'_, P> {
    type Target = P::Mini;

    fn deref(&self) -> &P::Mini {
        // SAFETY: Locked and live by the invariants.
        unsafe { &(*self.mini.body.get()).live }
    }
}

impl<P: Protocol> DerefMut for MiniGuard<'_, P> {
    fn deref_mut(&mut self) -> &mut P::Mini {
        // SAFETY: Locked and live by the invariants.
        unsafe { &mut (*self.mini.body.get()).live }
    }
}

/// What a look-up found.
pub(crate) enum Found<'a, P: Protocol> {
    Sock(ARef<Sock<P>>),
    Mini(&'a Mini<P>),
    Post(&'a P::Post),
}

/// The table of one namespace.
///
/// # Invariants
///
/// `raw` is an initialised rhashtable. Every node in it is the `entry` of a [`Sock`], on which the
/// table owns a reference, of a [`Mini`], which the table owns, or of a `Post`.
#[pin_data(PinnedDrop)]
pub(crate) struct FlowTable<P: Protocol> {
    #[pin]
    raw: Opaque<bindings::rhashtable>,
    /// Whether there has been a small object, or a post.
    had_minis: Atomic<bool>,
    _objects: PhantomData<KBox<Mini<P>>>,
}

// SAFETY: rhashtables are made for concurrent use.
unsafe impl<P: Protocol> Send for FlowTable<P> {}
// SAFETY: As above.
unsafe impl<P: Protocol> Sync for FlowTable<P> {}

impl<P: Protocol> FlowTable<P> {
    /// An empty table. Process context; sleeps.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            raw <- Opaque::try_ffi_init(|raw| {
                kernel::task::might_sleep();
                // SAFETY: `raw` is valid for writes and will not move.
                kernel::error::to_result(unsafe { bindings::oxtcp_helper_flow_init(raw) })
            }),
            had_minis: Atomic::new(false),
            _objects: PhantomData,
        }? Error)
    }

    /// Who owns the flow. Any context; what is found lives as long as the RCU section.
    pub(crate) fn lookup<'a>(
        &'a self,
        key: &FlowKey,
        _rcu: &'a rcu::Guard,
    ) -> Option<Found<'a, P>> {
        // SAFETY: The key is 36 bytes as `helpers.c` wants it, and RCU is read-locked.
        let node = unsafe {
            bindings::oxtcp_helper_flow_lookup(self.raw.get(), core::ptr::from_ref(key).cast())
        };
        // SAFETY: Found in the table, and RCU keeps it.
        let found = unsafe { Self::found(node) }?;
        match &found {
            // A socket may have left the table and come back for another flow before it was held.
            Found::Sock(sock) if !sock.entry.key.is(key) => None,
            _ => Some(found),
        }
    }

    /// # Safety
    ///
    /// `node` is null or was found in a table of this type, and RCU or a walk keeps it for `'a`.
    unsafe fn found<'a>(node: *mut bindings::rhash_head) -> Option<Found<'a, P>> {
        // The node is the first field of an `Entry`.
        let entry: *mut Entry = NonNull::new(node)?.cast().as_ptr();
        // SAFETY: Promised by the caller; it does not change.
        match unsafe { (*entry).kind } {
            // SAFETY: Entries of sockets are in a `Sock<P>`; RCU keeps the memory.
            Kind::Sock => unsafe {
                let sock = kernel::container_of!(entry, Sock<P>, entry);
                Sock::try_hold(NonNull::new_unchecked(sock)).map(Found::Sock)
            },
            // SAFETY: Those of small objects are in a `Mini<P>`, which is kept for `'a`.
            Kind::Mini => Some(Found::Mini(unsafe {
                &*kernel::container_of!(entry, Mini<P>, entry)
            })),
            // SAFETY: Those of posts are in a `Post<P>`, which is kept for `'a`.
            Kind::Post => Some(Found::Post(unsafe { post::body::<P>(entry) })),
        }
    }

    /// Puts a socket in.
    ///
    /// # Errors
    ///
    /// EEXIST when the flow has an owner, ENOMEM, EINVAL when the socket is in a table already.
    pub(crate) fn insert(&self, sock: &mut super::sock::Locked<'_, P>, key: FlowKey) -> Result {
        let entry = &sock.sock().entry;
        // SAFETY: The socket lock is held.
        if unsafe { *entry.hashed.get() } {
            return Err(EINVAL);
        }
        // INVARIANT: Not hashed. A look-up that came to the socket by an earlier key compares what it finds (`lookup`).
        entry.key.store(key);
        // SAFETY: The node is valid and in no table.
        kernel::error::to_result(unsafe {
            bindings::oxtcp_helper_flow_insert(self.raw.get(), entry.node.get())
        })?;
        // INVARIANT: The table's reference; dropped in `remove` and `replace`.
        core::mem::forget(ARef::from(sock.sock()));
        // SAFETY: The socket lock is held.
        unsafe { *entry.hashed.get() = true };
        Ok(())
    }

    /// Takes a socket out, if it is in.
    pub(crate) fn remove(&self, sock: &mut super::sock::Locked<'_, P>) {
        let sock = sock.sock();
        // SAFETY: The socket lock is held.
        if !unsafe { *sock.entry.hashed.get() } {
            return;
        }
        // SAFETY: Hashed; in another table than this one it stays, as the C function fails then.
        let err =
            unsafe { bindings::oxtcp_helper_flow_remove(self.raw.get(), sock.entry.node.get()) };
        if err != 0 {
            return;
        }
        // SAFETY: The socket lock is held.
        unsafe { *sock.entry.hashed.get() = false };
        // SAFETY: The reference that `insert` left behind; the caller's lock needs one of its own,
        // so this is not the last.
        drop(unsafe { ARef::from_raw(NonNull::from(sock)) });
    }

    /// Puts a small object in a socket's place, with its timer set.
    ///
    /// # Errors
    ///
    /// ENOENT when the socket is not in the table under the key of `mini`, or the kernel's error; the socket stays then.
    pub(crate) fn replace(
        &self,
        sock: &mut super::sock::Locked<'_, P>,
        mini: NewMini<P>,
        timer: Jiffies,
    ) -> Result {
        let sock = sock.sock();
        // SAFETY: The socket lock is held.
        let hashed = unsafe { *sock.entry.hashed.get() };
        if !hashed || mini.0.key() != sock.entry.key() {
            return Err(ENOENT);
        }
        self.note_mini();
        // SAFETY: Both nodes are valid and the keys are equal; a socket of another table makes the C
        // function fail.
        mini.link(timer, |node| unsafe {
            bindings::oxtcp_helper_flow_replace(self.raw.get(), sock.entry.node.get(), node)
        })?;
        // SAFETY: The socket lock is held.
        unsafe { *sock.entry.hashed.get() = false };
        // SAFETY: The reference that `insert` left behind; not the last, see `remove`.
        drop(unsafe { ARef::from_raw(NonNull::from(sock)) });
        Ok(())
    }

    /// Puts a small object in, with its timer set.
    ///
    /// # Errors
    ///
    /// EEXIST when the flow has an owner, ENOMEM; the object is gone then.
    ///
    /// # Context
    ///
    /// Any.
    pub(crate) fn insert_mini(&self, mini: NewMini<P>, timer: Jiffies) -> Result {
        self.note_mini();
        // SAFETY: The node is valid and in no table.
        mini.link(timer, |node| unsafe {
            bindings::oxtcp_helper_flow_insert(self.raw.get(), node)
        })
    }

    /// See `had_minis`.
    fn note_mini(&self) {
        // Read first: look-ups read the line that it is in.
        if !self.had_minis.read_once() {
            self.had_minis.write_once(true);
        }
    }

    /// Takes out all small objects whose body `doomed` says so of. Process context.
    pub(crate) fn purge(&self, mut doomed: impl FnMut(&P::Mini) -> bool) {
        self.for_each(|found| {
            if let Found::Mini(mini) = found {
                if let Some(guard) = mini.lock() {
                    if doomed(&guard) {
                        drop(guard.remove(self));
                    }
                }
            }
        });
    }

    /// Shows `look` all objects, under RCU; see [`Walk`] for which. Process context.
    pub(crate) fn for_each(&self, mut look: impl FnMut(Found<'_, P>)) {
        pin_init::stack_pin_init!(let walk = Walk::new(self));
        // SAFETY: `look` must not sleep, as every look-up's user; the walk is paused by its drop, below.
        unsafe { walk.as_mut().resume() };
        while let Some(found) = walk.as_mut().next() {
            look(found);
        }
    }
}

#[pinned_drop]
impl<P: Protocol> PinnedDrop for FlowTable<P> {
    /// Process context; sleeps.
    fn drop(self: Pin<&mut Self>) {
        kernel::task::might_sleep();
        self.purge(|_| true);
        // SAFETY: Nobody walks or looks into the table, as `self` is borrowed exclusively, and the small objects have
        // just been taken out. A namespace's table has no sockets left, as they hold the namespace; one that were there
        // would keep the table's reference, and nobody would follow its node any more. May sleep, as seen above.
        unsafe { bindings::rhashtable_destroy(self.raw.get()) };
        if self.had_minis.read_once() {
            // RCU's callbacks for the small objects are ours (`Mini::free_callback`): the module's code may go now.
            // SAFETY: No conditions; may sleep, as seen above.
            unsafe { bindings::rcu_barrier() };
        }
    }
}
