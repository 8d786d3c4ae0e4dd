// SPDX-License-Identifier: GPL-2.0

//! Network namespaces, and what a module keeps in each of them.
//!
//! C headers: `include/net/net_namespace.h`, `include/net/netns/generic.h`.
//!
//! A type that implements [`PerNet`] has one value in every namespace, from the registration (or the
//! namespace's birth) until the namespace's end (or the end of the registration):
//!
//! | step | called | what holds |
//! |---|---|---|
//! | [`PerNet::new`] | process context, may sleep | the value is being made; nobody can see it |
//! | [`PerNet::open`] | process context, may sleep | [`Net::get`] works; the outside is let in |
//! | drop of [`PerNet::Doors`] | process context, may sleep (`pre_exit`) | the outside is shut out |
//! | [`PerNet::shut`] | process context, may sleep (`pre_exit`) | [`Net::get`] works, but at the end of the registration; no sockets are left |
//! | an RCU grace period | | [`Net::get`] finds nothing any more; who has found it leaves |
//! | drop of the value | process context, may sleep (`exit`) | nobody else can see it |
//!
//! The end of the registration comes to all namespaces at once, and C frees what it keeps of each right after its `exit`; so from
//! before the first of these steps [`Net::get`] finds nothing anywhere.
//!
//! No socket outlives its namespace, nor the protocol's registration, which owns that of the namespaces' values and ends it
//! when no socket is left (`Registration` in `proto`); so a socket proves that its namespace's value is there
//! (`Sock::per_net()`).

use core::cell::UnsafeCell;
use core::mem::MaybeUninit;
use core::ptr::NonNull;

use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Relaxed, Release};
use kernel::sync::{rcu, Arc};
use kernel::types::Opaque;

use super::bindings;
use super::once::Once;

/// A network namespace (`struct net`).
///
/// # Invariants
///
/// As long as a reference exists, the namespace is alive, or is being set up or cleaned up by the
/// functions that [`Slot`] registers.
#[repr(transparent)]
pub(crate) struct Net(Opaque<bindings::net>);

// SAFETY: Everything that a `&Net` gives access to is made for use from several contexts at a time.
unsafe impl Sync for Net {}

impl Net {
    /// Makes a reference of C's pointer.
    ///
    /// # Safety
    ///
    /// `ptr` must be valid, and the namespace must stay as the type's invariants say for all of `'a`.
    #[inline]
    pub(crate) unsafe fn from_raw<'a>(ptr: *const bindings::net) -> &'a Net {
        // SAFETY: `Net` is transparent over `struct net`; the caller vouches for the rest.
        // INVARIANT: The caller vouches for it.
        unsafe { &*ptr.cast() }
    }

    /// C's pointer.
    #[inline]
    pub(crate) fn as_ptr(&self) -> *mut bindings::net {
        self.0.get()
    }

    /// The number that the namespace is known by (`net:[4026531840]`). Any context.
    pub(crate) fn number(&self) -> u32 {
        // SAFETY: The namespace is valid; its number does not change.
        unsafe { bindings::oxtcp_helper_net_number(self.as_ptr()) }
    }

    /// `net.core.somaxconn`: what listen(2) cuts a program's backlog to, before a protocol sees it. Any context.
    pub(crate) fn somaxconn(&self) -> u32 {
        // SAFETY: The namespace is valid.
        unsafe { bindings::oxtcp_helper_somaxconn(self.as_ptr()) }
    }

    /// `ip_local_port_range`: the first and the last of the ports that connect() chooses from. Any context.
    pub(crate) fn local_port_range(&self) -> (u16, u16) {
        let (mut low, mut high) = (0, 0);
        // SAFETY: The namespace is valid, and so are the pointers, for writes.
        unsafe { bindings::oxtcp_helper_local_port_range(self.as_ptr(), &mut low, &mut high) };
        (low, high)
    }

    /// Whether `port` is one of `ip_local_reserved_ports`, which are not to be chosen. Any context.
    pub(crate) fn is_local_port_reserved(&self, port: u16) -> bool {
        // SAFETY: The namespace is valid.
        unsafe { bindings::oxtcp_helper_local_port_reserved(self.as_ptr(), port) }
    }

    /// The namespace's value, or `None` before the end of [`PerNet::new`], after that of [`PerNet::shut`], and from the moment on
    /// that the registration begins to end.
    ///
    /// # Context
    ///
    /// Any; no locks, a few loads.
    #[inline]
    pub(crate) fn get<'a, T: PerNet>(&'a self, _rcu: &'a rcu::Guard) -> Option<&'a T> {
        // Before the cell is looked for: C frees it in a namespace that lives on.
        if !T::slot().live.read_once() {
            return None;
        }
        let cell = Cell::<T>::of(self)?;
        if cell.state.load(Acquire) != READY {
            return None;
        }
        // SAFETY: By `Cell`'s invariants the value is initialised, and dropped a grace period after the state
        // ceased to say so; RCU is read-locked for `'a`.
        Some(unsafe { cell.value() })
    }

    /// The namespace's value, for those in sys who know that it is there.
    ///
    /// # Safety
    ///
    /// For all of `'a` one of these holds: there is a socket in the namespace of the protocol whose registration
    /// owns `T`'s; or a door of the namespace is open and its drop waits for the end of `'a`; or [`get`](Self::get) has found the
    /// value, the namespace is held, and the registration waits for the end of `'a`.
    #[inline]
    pub(super) unsafe fn assume<'a, T: PerNet>(&self) -> Option<&'a T> {
        // SAFETY: The caller vouches for it that C has made the cell, and neither drops the value nor frees the
        // cell during `'a`.
        let cell: &'a Cell<T> = unsafe { &*core::ptr::from_ref(Cell::<T>::of(self)?) };
        // SAFETY: As above; sockets and doors come after the value.
        Some(unsafe { cell.value() })
    }

    /// The namespace that the machine started with.
    pub(crate) fn initial() -> &'static Net {
        // SAFETY: `init_net` is a static variable, and that namespace never ends.
        unsafe { Net::from_raw(bindings::oxtcp_helper_init_net()) }
    }
}

/// The namespace that a [`PerNet`] value belongs to, for what may be left of that when both are gone.
#[derive(Clone)]
pub(crate) struct Home(Arc<Place>);

/// # Invariants
///
/// While `is_there`, and for a grace period after, the namespace is as [`Net`]'s invariants say. `guests` is the number of
/// [`Guest`]s; once nobody can make one any more, the namespace waits for the last of them.
struct Place {
    net: NonNull<Net>,
    is_there: Atomic<bool>,
    guests: Atomic<usize>,
}

// SAFETY: The namespace is shared by all contexts, as `&Net` is; the rest is atomic.
unsafe impl Send for Place {}
// SAFETY: As above.
unsafe impl Sync for Place {}

impl Home {
    /// # Safety
    ///
    /// Before `net` ends, [`Home::leave`] is called, and a grace period later [`Home::wait_for_guests`].
    unsafe fn new(net: &Net) -> Result<Self> {
        // INVARIANT: `net` is there, and the caller sees to the rest.
        let place = Place {
            net: NonNull::from(net),
            is_there: Atomic::new(true),
            guests: Atomic::new(0),
        };
        Ok(Self(Arc::new(place, GFP_KERNEL)?))
    }

    /// The namespace, unless it is being taken down. Any context.
    pub(crate) fn net<'a>(&'a self, _rcu: &'a rcu::Guard) -> Option<&'a Net> {
        if !self.0.is_there.load(Acquire) {
            return None;
        }
        // SAFETY: By the invariant it is there for a grace period at least; RCU is read-locked for `'a`.
        Some(unsafe { self.0.net.as_ref() })
    }

    /// Makes a [`Guest`] of `net`.
    ///
    /// # Errors
    ///
    /// EINVAL when that is another namespace.
    pub(super) fn guest(&self, net: &Net) -> Result<Guest> {
        if !core::ptr::eq(self.0.net.as_ptr(), net) {
            return Err(EINVAL);
        }
        // INVARIANT: Counted here. `net` is borrowed, so nobody waits for the last one yet.
        self.0.guests.fetch_add(1, Relaxed);
        Ok(Guest(self.clone()))
    }

    /// From here on nobody finds the namespace.
    fn leave(&self) {
        self.0.is_there.store(false, Release);
    }

    /// Waits until there is no [`Guest`]. There is none, if the value keeps them all. Sleeps.
    fn wait_for_guests(&self) {
        kernel::task::might_sleep();
        while self.0.guests.load(Acquire) != 0 {
            // SAFETY: No conditions; may sleep, as seen above.
            unsafe { bindings::msleep(10) };
        }
    }
}

/// Something of a namespace's that holds no reference on it: the end of the namespace waits for its drop.
///
/// # Invariants
///
/// Counted among the guests.
pub(super) struct Guest(Home);

impl Drop for Guest {
    fn drop(&mut self) {
        self.0 .0.guests.fetch_sub(1, Release);
    }
}

/// The static variable that the namespaces' values of a type are found by. [`per_net_slot`] declares it.
///
/// # Safety
///
/// `slot` returns the same one each time.
pub(crate) unsafe trait HasSlot: Sized + 'static {
    fn slot() -> &'static Slot<Self>
    where
        Self: PerNet;
}

/// Declares the static variable of a type that implements [`PerNet`].
macro_rules! per_net_slot {
    ($type:ty) => {
        const _: () = {
            static SLOT: $crate::sys::net::Slot<$type> = $crate::sys::net::Slot::new();

            #[allow(unsafe_code)]
            // SAFETY: There is one static variable.
            unsafe impl $crate::sys::net::HasSlot for $type {
                fn slot() -> &'static $crate::sys::net::Slot<Self> {
                    &SLOT
                }
            }
        };
    };
}
pub(crate) use per_net_slot;

/// Where doors are made: what is made here with the lifetime `'n` lasts as long as [`PerNet::Doors`] at most.
///
/// (Forgotten, it would outlive the module's code, as any registration would.)
///
/// # Invariants
///
/// For all of `'n` the namespace stays as [`Net`]'s invariants say, and so does its `T`.
pub(crate) struct Doorway<'n, T: PerNet> {
    net: &'n Net,
    value: &'n T,
}

impl<'n, T: PerNet> Doorway<'n, T> {
    /// The namespace.
    pub(crate) fn net(&self) -> &'n Net {
        self.net
    }

    /// The namespace's value.
    pub(super) fn value(&self) -> &'n T {
        self.value
    }
}

/// A type with one value in every network namespace. See the table above for the order of calls.
pub(crate) trait PerNet: HasSlot + Send + Sync {
    /// What lets the outside in: hooks, files, sysctls. Dropped before the value, and before the namespace frees what C
    /// keeps of them.
    type Doors<'n>: Send;

    /// Makes `net`'s value. An error fails the registration, or the making of the namespace.
    ///
    /// The initial namespace is the first to get one; `initial` is that, for the others.
    fn new(home: &Home, initial: Option<&Self>) -> impl PinInit<Self, Error>;

    /// Opens the doors, in `doorway`.
    fn open<'n>(&'n self, doorway: &Doorway<'n, Self>) -> Result<Self::Doors<'n>>;

    /// Stops what goes on by itself, such as timers: what of it runs already must be RCU readers, as a
    /// grace period passes before the value is dropped.
    fn shut(&self) {}
}

/// Where the namespaces' values of `T` are found: the number of a pointer in `net->gen`.
///
/// # Invariants
///
/// `id` and `ops` are written only by [`PerNetRegistration`], which exists at most once at a time
/// (`taken`), and by C while it exists. `id` is 0 when C has none for us; else it is the index of a
/// pointer that each namespace has, and that is null or points to a `Cell<T>`. While `live` says so, and for a grace period
/// after, C frees no cell of a namespace that lives on.
pub(crate) struct Slot<T: PerNet> {
    taken: Atomic<bool>,
    live: Atomic<bool>,
    id: Atomic<u32>,
    ops: Opaque<bindings::pernet_operations>,
    _values: core::marker::PhantomData<fn() -> T>,
}

// SAFETY: `id` and `taken` are atomic; `ops` is touched by one registration at a time.
unsafe impl<T: PerNet> Sync for Slot<T> {}

impl<T: PerNet> Slot<T> {
    /// A slot that nothing is registered for.
    pub(crate) const fn new() -> Self {
        // INVARIANT: No id yet, and nothing registered.
        Self {
            taken: Atomic::new(false),
            live: Atomic::new(false),
            id: Atomic::new(0),
            ops: Opaque::zeroed(),
            _values: core::marker::PhantomData,
        }
    }
}

/// As long as this lives, every network namespace has a `T`.
///
/// # Invariants
///
/// `T::slot().ops` is registered, and `taken` is ours.
pub(crate) struct PerNetRegistration<T: PerNet>(core::marker::PhantomData<fn() -> T>);

impl<T: PerNet> PerNetRegistration<T> {
    /// Makes a `T` for every namespace there is, and for every one to come. Sleeps.
    ///
    /// Errors: EBUSY when registered already; ENOMEM; those of [`PerNet::new`] and [`PerNet::open`].
    pub(crate) fn new() -> Result<Self> {
        const {
            // C allocates the cells with kzalloc(), which aligns to 8 bytes at least.
            assert!(align_of::<Cell<T>>() <= 8);
        }
        kernel::task::might_sleep();
        let slot = T::slot();
        if slot.taken.xchg(true, Acquire) {
            return Err(EBUSY);
        }
        let ops = slot.ops.get();
        // SAFETY: `taken` is ours, so nobody else touches `ops`; zeroes are a valid value of it, and
        // these are its other fields. `id` and `size` are const in C for users, not for the maker;
        // the slot is static, so `id` stays where it is.
        unsafe {
            ops.write(core::mem::zeroed());
            (*ops).init = Some(init::<T>);
            (*ops).pre_exit = Some(pre_exit::<T>);
            (*ops).exit = Some(exit::<T>);
            (&raw const (*ops).id).cast_mut().write(slot.id.as_ptr());
            (&raw const (*ops).size)
                .cast_mut()
                .write(size_of::<Cell<T>>());
        }
        // Before the first doors open. Where C takes back a part of the registration, it has shut the doors of the namespaces
        // that it frees the cells of, and let a grace period pass.
        slot.live.store(true, Relaxed);
        // SAFETY: `ops` is static and filled in, and its functions are what C expects of them.
        let result = unsafe { bindings::register_pernet_subsys(ops) };
        if let Err(error) = kernel::error::to_result(result) {
            slot.live.store(false, Relaxed);
            slot.id.store(0, Relaxed);
            slot.taken.store(false, Release);
            return Err(error);
        }
        // INVARIANT: Just registered.
        Ok(Self(core::marker::PhantomData))
    }
}

impl<T: PerNet> Drop for PerNetRegistration<T> {
    /// Drops the value of every namespace. Sleeps.
    fn drop(&mut self) {
        kernel::task::might_sleep();
        let slot = T::slot();
        slot.live.store(false, Relaxed);
        // INVARIANT: Who saw `live` is an RCU reader, and has left.
        // SAFETY: No conditions; may sleep, as seen above.
        unsafe { bindings::synchronize_rcu() };
        // SAFETY: By the type's invariants `ops` is registered.
        unsafe { bindings::unregister_pernet_subsys(slot.ops.get()) };
        slot.id.store(0, Relaxed);
        slot.taken.store(false, Release);
    }
}

/// A namespace's value as C allocates and frees it; all zeroes at first.
///
/// # Invariants
///
/// `value` is initialised and pinned while `state` is `READY`, and then while it is `SHUT`, which lasts for a
/// grace period at least, and so is `home`; `doors` is initialised only
/// between the end of `init` and `pre_exit`, and touched by those two only, which C never runs at the
/// same time for one namespace.
#[repr(C)]
struct Cell<T: PerNet> {
    state: Atomic<u32>,
    has_doors: UnsafeCell<bool>,
    doors: UnsafeCell<MaybeUninit<T::Doors<'static>>>,
    value: UnsafeCell<MaybeUninit<T>>,
    home: UnsafeCell<MaybeUninit<Home>>,
}

/// No value. C's zeroes say so.
const EMPTY: u32 = 0;
/// A value, for all to see.
const READY: u32 = 1;
/// A value that nobody finds any more.
const SHUT: u32 = 2;

impl<T: PerNet> Cell<T> {
    /// # Safety
    ///
    /// The value is initialised, and is not dropped while the reference is used.
    #[inline]
    unsafe fn value(&self) -> &T {
        // SAFETY: Promised by the caller.
        unsafe { (*self.value.get()).assume_init_ref() }
    }

    /// Drops a value that is `SHUT`, and says whether there was one. To be called after a grace period. Sleeps.
    fn empty(&self) -> bool {
        kernel::task::might_sleep();
        let was_shut = self.state.xchg(EMPTY, Acquire) == SHUT;
        if was_shut {
            // SAFETY: It was initialised, nobody finds it any more, and the state says that it is dropped once.
            unsafe { (*self.value.get()).assume_init_drop() };
        }
        was_shut
    }

    #[inline]
    fn of(net: &Net) -> Option<&Self> {
        let id = T::slot().id.read_once();
        if id == 0 {
            return None;
        }
        // SAFETY: `net` is valid by its invariants, and C gave us this index. A namespace that was made
        // before the index was given has room for it by the time that anyone asks: `init` runs after
        // net_assign_generic(), and no caller knows of the namespace's cell earlier (sockets and doors
        // come after `init`; `set_up` of another namespace asks for the initial one's after that was set
        // up, as C's list begins with it).
        let cell = unsafe { bindings::oxtcp_helper_net_generic(net.as_ptr(), id) };
        // SAFETY: By `Slot`'s invariants the pointer is null or a cell's. C frees it after `exit`, and
        // by `Net`'s invariants that is later than this borrow's end.
        unsafe { cell.cast::<Self>().as_ref() }
    }
}

/// # Safety
///
/// To be called by C as `pernet_operations::init` of `T`'s slot.
unsafe extern "C" fn init<T: PerNet>(net: *mut bindings::net) -> c_int {
    // SAFETY: C calls us with a valid namespace that it is setting up.
    let net = unsafe { Net::from_raw(net) };
    match set_up::<T>(net) {
        Ok(()) => 0,
        Err(error) => error.to_errno(),
    }
}

fn set_up<T: PerNet>(net: &Net) -> Result {
    let cell = Cell::<T>::of(net).ok_or(EINVAL)?;
    // SAFETY: Done below, or in `pre_exit` and `exit`.
    let home = unsafe { Home::new(net) }?;
    if let Err(error) = fill(cell, net, &home) {
        // What was made before the error let somebody in, perhaps.
        home.leave();
        // SAFETY: We are in process context, and hold no lock that a reader could wait for.
        unsafe { bindings::synchronize_rcu() };
        cell.empty();
        home.wait_for_guests();
        return Err(error);
    }
    // INVARIANT: `fill` has made a value.
    // SAFETY: Nobody else looks at `home` before `pre_exit`.
    unsafe { (*cell.home.get()).write(home) };
    Ok(())
}

/// Makes the value, and opens the doors. After an error the value is there no more, or `SHUT`.
fn fill<T: PerNet>(cell: &Cell<T>, net: &Net, home: &Home) -> Result {
    let value = cell.value.get().cast::<T>();
    let initial = Cell::<T>::of(Net::initial())
        .filter(|initial| initial.state.load(Acquire) == READY)
        // SAFETY: Initialised; it is dropped by the end of the registration, which C does not begin while it
        // sets a namespace up (`pernet_ops_rwsem`).
        .map(|initial| unsafe { initial.value() });
    // SAFETY: C has just made the cell, so `value` is uninitialised and ours; C does not move it, and
    // frees it after `exit`, which drops the value.
    unsafe { T::new(home, initial).__pinned_init(value) }?;
    // INVARIANT: Initialised in the line above.
    cell.state.store(READY, Release);

    let doorway = Doorway {
        // SAFETY: It is there until `exit`, as is the value, or for longer than doors that are dropped after an error;
        // the lifetime remains in the doors alone, as `open` does for any, and those go before.
        net: unsafe { Net::from_raw(net.as_ptr()) },
        // SAFETY: Just initialised, and dropped a grace period after it is `SHUT`; for the lifetime see above.
        value: unsafe { &*value },
    };
    match doorway.value.open(&doorway) {
        Ok(doors) => {
            // SAFETY: Nobody else looks at `doors` before `pre_exit`.
            unsafe {
                (*cell.doors.get()).write(doors);
                cell.has_doors.get().write(true);
            }
            Ok(())
        }
        Err(error) => {
            // INVARIANT: `set_up` lets a grace period pass before it drops the value.
            cell.state.store(SHUT, Release);
            Err(error)
        }
    }
}

/// # Safety
///
/// To be called by C as `pernet_operations::pre_exit` of `T`'s slot.
unsafe extern "C" fn pre_exit<T: PerNet>(net: *mut bindings::net) {
    // SAFETY: C calls us with a valid namespace that it is cleaning up.
    let net = unsafe { Net::from_raw(net) };
    let Some(cell) = Cell::<T>::of(net) else {
        return;
    };
    // SAFETY: By `Cell`'s invariants nobody else touches these two now, and `doors` is initialised when
    // `has_doors` says so.
    unsafe {
        if cell.has_doors.get().replace(false) {
            (*cell.doors.get()).assume_init_drop();
        }
    }
    if cell.state.load(Acquire) == READY {
        // SAFETY: Initialised, and dropped in `exit`, which C calls later.
        unsafe { cell.value() }.shut();
        // INVARIANT: C lets a grace period pass before `exit`.
        cell.state.store(SHUT, Release);
        // SAFETY: Initialised, and dropped in `exit`.
        unsafe { (*cell.home.get()).assume_init_ref() }.leave();
    }
}

/// # Safety
///
/// To be called by C as `pernet_operations::exit` of `T`'s slot: after `pre_exit` and a grace period.
unsafe extern "C" fn exit<T: PerNet>(net: *mut bindings::net) {
    // SAFETY: C calls us with a valid namespace that it is cleaning up.
    let net = unsafe { Net::from_raw(net) };
    let Some(cell) = Cell::<T>::of(net) else {
        return;
    };
    // Those who have found the value under RCU have left in the grace period, those behind a door before it.
    if cell.empty() {
        // SAFETY: Initialised, as there was a value; it is dropped once, as there is none any more.
        let home = unsafe { (*cell.home.get()).assume_init_read() };
        home.wait_for_guests();
    }
}
