// SPDX-License-Identifier: GPL-2.0

//! The ports that we hold in one network namespace, in one space with the built-in TCP's.
//!
//! A port is held by a socket of the kernel's own ([`KernelSocket`]), bound in the built-in TCP: one for
//! each [`BindAddr`] and port that a socket of ours is bound to. All our sockets there, the
//! connections that were accepted there and their TIME-WAITs share it, each with a [`PortRef`]. So the
//! kernel's own rules (`inet_csk_bind_conflict`) decide between us and the built-in TCP, and between
//! two different addresses of ours; only who may share one reservation is decided here:
//!
//! * A bind to an address and port that we hold is let in if the holders and the newcomer have
//!   SO_REUSEADDR and none of them listens, and the kernel says the same of a trial socket.
//! * The kernel socket has SO_REUSEADDR as the holders have it, except while one of them listens: then
//!   it is taken away, so that nobody can bind there ([`KernelSocket::claim_listen`]).
//! * Accepted connections and TIME-WAITs hold the port with the listener's flag, as in Linux.
//!
//! SO_REUSEADDR is the reservation's, not the holder's: holders of one reservation have the same flag from
//! the start, and a later change by one of them counts for all.
//!
//! # Locking and contexts
//!
//! [`Registry::table`] (a mutex: process context) protects the table, the kernel sockets and
//! `listening`; `holders` is atomic, rises from 0 never, and may change in any context. The last holder
//! leaves in softirq, perhaps: it marks its bucket and kicks the work, which releases the kernel sockets of
//! reservations that nobody holds. A bind to a port releases such ones on it itself.
//! Lock order: a socket's own lock, then `table`, then the kernel socket's lock.

use core::ops::Deref;

use kernel::alloc::flags::GFP_KERNEL;
use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Full, Relaxed};
use kernel::sync::{new_mutex, Arc, Mutex};

use crate::sys::deferred::{Deferred, Run};
pub(crate) use crate::sys::ksocket::BindAddr;
use crate::sys::ksocket::KernelSocket;
use crate::sys::net::{Home, Net};

/// The ports that we hold in one namespace. To be dropped after everything that has a [`PortRef`];
/// should one be left, its port is given back all the same.
pub(crate) struct Ports(Arc<Deferred<Registry>>);

impl Ports {
    /// No ports. Process context. Errors: ENOMEM.
    pub(crate) fn new(net: &Net) -> Result<Self> {
        Ok(Self(Arc::pin_init(
            Deferred::new(Registry::new(Home::new(net))?),
            GFP_KERNEL,
        )?))
    }

    /// Holds `port` at `addr`, or, if `port` is 0, one that the kernel chooses. Process context, with the
    /// rights of the calling process; sleeps.
    ///
    /// Errors are those of bind(2): EADDRINUSE; EADDRNOTAVAIL (not an address of this host); EACCES (a port
    /// below `ip_unprivileged_port_start`); EINVAL (V6ONLY on an IPv4 address; a link-local address without
    /// a device); EAFNOSUPPORT; ENOMEM.
    pub(crate) fn bind(
        &self,
        net: &Net,
        addr: &BindAddr,
        port: u16,
        reuse: bool,
    ) -> Result<PortRef> {
        let addr = addr.normalized();
        let socket = KernelSocket::new(net, &addr, reuse)?;
        if port == 0 {
            return self.bind_any(net, addr, socket, reuse);
        }

        let mut table = self.0.table.lock();
        // What nobody holds any more, at this address or another, would be in our way.
        table.reap(port);
        if let Some(joined) = table.find(&addr, port).and_then(PortRef::join) {
            if !reuse || !joined.0.reuse.load(Relaxed) || joined.0.listening.load(Relaxed) {
                return Err(in_use());
            }
            // A trial: the others on the port let `socket` in, or they do not. Then it goes.
            socket.bind(&addr, port)?;
            return Ok(joined);
        }
        // The last holder may have left since.
        table.reap(port);
        let port = socket.bind(&addr, port)?;
        self.insert(&mut table, addr, port, socket, reuse)
    }

    /// Holds a port for a connection from `local` whose program asked for none. Process context; sleeps.
    ///
    /// When the kernel has no port left there, one that we hold at `local` for other connections is shared:
    /// one of which `free` says that the connection's addresses and ports are not in use with it. `free`
    /// is called under a mutex and must not call this registry.
    ///
    /// Errors: EADDRNOTAVAIL when there is none, as in connect(2); ENOMEM.
    pub(crate) fn ephemeral(
        &self,
        net: &Net,
        local: &BindAddr,
        reuse: bool,
        mut free: impl FnMut(u16) -> bool,
    ) -> Result<PortRef> {
        let addr = local.normalized();
        // Without SO_REUSEADDR, whatever the program said: this is no bind(2), and a port that
        // others were bound to is not to be chosen.
        let socket = KernelSocket::new(net, &addr, false)?;
        match self.bind_any(net, addr, socket, false) {
            Ok(port) => {
                if reuse {
                    port.set_reuse(true);
                }
                port.0.ephemeral.store(true, Relaxed);
                return Ok(port);
            }
            Err(error) if error != in_use() => return Err(error),
            Err(_) => {}
        }
        let table = self.0.table.lock();
        for held in table.all() {
            if held.addr == addr && held.ephemeral.load(Relaxed) && free(held.port) {
                if let Some(joined) = PortRef::join(held.clone()) {
                    return Ok(joined);
                }
            }
        }
        Err(not_available())
    }

    /// Holds a port that the kernel chooses for `socket`, which is not bound yet.
    fn bind_any(
        &self,
        net: &Net,
        addr: BindAddr,
        socket: KernelSocket,
        reuse: bool,
    ) -> Result<PortRef> {
        let mut socket = socket;
        for _ in 0..ATTEMPTS {
            let port = match socket.bind(&addr, 0) {
                Err(error) if error == in_use() => {
                    // Ports that nobody holds any more would do.
                    self.0.run();
                    socket.bind(&addr, 0)?
                }
                other => other?,
            };
            let mut table = self.0.table.lock();
            if table.find(&addr, port).is_none() {
                return self.insert(&mut table, addr, port, socket, reuse);
            }
            // With net.ipv4.ip_autobind_reuse the kernel chooses a port that we hold at this address.
            drop(table);
            socket = KernelSocket::new(net, &addr, reuse)?;
        }
        Err(in_use())
    }

    /// Enters a reservation with its first holder.
    fn insert(
        &self,
        table: &mut Table,
        addr: BindAddr,
        port: u16,
        socket: KernelSocket,
        reuse: bool,
    ) -> Result<PortRef> {
        let reservation = Arc::new(
            Reservation {
                addr,
                port,
                holders: Atomic::new(1),
                reuse: Atomic::new(reuse),
                listening: Atomic::new(false),
                ephemeral: Atomic::new(false),
                registry: self.0.clone(),
            },
            GFP_KERNEL,
        )?;
        table.bucket(port).push(
            Entry {
                reservation: reservation.clone(),
                socket,
            },
            GFP_KERNEL,
        )?;
        Ok(PortRef(reservation))
    }
}

impl Drop for Ports {
    /// Gives back all ports. Process context; sleeps.
    fn drop(&mut self) {
        // From here on a last holder's kick does nothing.
        self.0.close();
        let mut table = self.0.table.lock();
        let left = table
            .all()
            .filter(|held| held.holders.load(Relaxed) != 0)
            .count();
        if left != 0 {
            pr_warn!("{} ports were still held in a namespace that ends\n", left);
        }
        table.clear();
    }
}

/// One hold on a port. The size of a pointer.
///
/// Dropping gives the hold back, in any context; with the last one the port is free soon, when the work
/// has run. [`PortRef::release`] is for those who can wait.
///
/// # Invariants
///
/// Counted in the reservation's `holders`.
pub(crate) struct PortRef(Arc<Reservation>);

const _: () = assert!(size_of::<Option<PortRef>>() == size_of::<usize>());

impl PortRef {
    /// The port's number, in host byte order. Any context.
    #[inline]
    pub(crate) fn port(&self) -> u16 {
        self.0.port
    }

    /// The namespace that the port is in. Any context.
    pub(crate) fn net(&self) -> &Net {
        self.0.registry.home.net()
    }

    /// Another hold, for an accepted connection or a TIME-WAIT. Any context; allocates nothing.
    #[inline]
    pub(crate) fn child(&self) -> PortRef {
        // INVARIANT: Counted here. It cannot have been 0: we hold one.
        self.0.holders.fetch_add(1, Relaxed);
        PortRef(self.0.clone())
    }

    /// A hold on a reservation, unless nobody has one any more.
    fn join(reservation: Arc<Reservation>) -> Option<PortRef> {
        let mut holders = reservation.holders.load(Relaxed);
        while holders != 0 {
            match reservation.holders.cmpxchg(holders, holders + 1, Full) {
                // INVARIANT: Counted.
                Ok(_) => return Some(PortRef(reservation)),
                Err(now) => holders = now,
            }
        }
        None
    }

    /// Begins to listen, until [`PortRef::stop_listen`]. To be called when a socket begins, not when it calls
    /// listen(2) once more. Process context; sleeps.
    ///
    /// Errors: EADDRINUSE when a socket of ours or of the built-in TCP listens at an overlapping address.
    pub(crate) fn start_listen(&self) -> Result {
        let table = self.0.registry.table.lock();
        if self.0.listening.load(Relaxed) {
            return Err(in_use());
        }
        let socket = table.socket(&self.0).ok_or(EINVAL)?;
        socket.claim_listen()?;
        self.0.listening.store(true, Relaxed);
        Ok(())
    }

    /// Ends what [`PortRef::start_listen`] began. Process context; sleeps.
    pub(crate) fn stop_listen(&self) {
        let table = self.0.registry.table.lock();
        self.0.listening.store(false, Relaxed);
        if self.0.reuse.load(Relaxed) {
            if let Some(socket) = table.socket(&self.0) {
                socket.set_reuse(true);
            }
        }
    }

    /// SO_REUSEADDR was set or cleared on a bound socket. Process context; sleeps.
    pub(crate) fn set_reuse(&self, reuse: bool) {
        let table = self.0.registry.table.lock();
        self.0.reuse.store(reuse, Relaxed);
        if !self.0.listening.load(Relaxed) {
            if let Some(socket) = table.socket(&self.0) {
                socket.set_reuse(reuse);
            }
        }
    }

    /// Gives the hold back. If it is the last one, the port is free when this returns, so that the next
    /// bind(2) after a close(2) succeeds, of the built-in TCP too. Process context; sleeps.
    pub(crate) fn release(self) {
        let registry = self.0.registry.clone();
        let port = self.0.port;
        drop(self);
        registry.table.lock().reap(port);
    }
}

impl Drop for PortRef {
    fn drop(&mut self) {
        if self.0.holders.fetch_sub(1, Full) == 1 {
            let registry = &self.0.registry;
            registry.mark(self.0.port);
            registry.kick();
        }
    }
}

/// A port that we hold, or have held until lately.
struct Reservation {
    /// Normalized.
    addr: BindAddr,
    port: u16,
    /// Bound sockets, connections and TIME-WAITs. At 0 it stays there, and the reservation is about to be
    /// released.
    holders: Atomic<i32>,
    /// The holders' SO_REUSEADDR. Written under `table`.
    reuse: Atomic<bool>,
    /// One of the holders listens. Written under `table`.
    listening: Atomic<bool>,
    /// Made by [`Ports::ephemeral`], whose callers may share it. Written once, by the only holder.
    ephemeral: Atomic<bool>,
    registry: Arc<Deferred<Registry>>,
}

/// What the sockets and the work share.
#[pin_data]
struct Registry {
    #[pin]
    table: Mutex<Table>,
    /// The namespace.
    home: Home,
    /// Bit `n` of these: a reservation in bucket `n` may have lost its last holder. Any context.
    marked: [Atomic<u64>; BUCKETS / 64],
}

/// Buckets of the table. A namespace may hold all of the 28,000 ephemeral ports: 110 in each.
const BUCKETS: usize = 256;

/// How often the kernel may choose a port that we hold already; see [`Ports::bind_any`].
const ATTEMPTS: usize = 16;

impl Registry {
    fn new(home: Home) -> Result<impl PinInit<Self>> {
        let mut buckets = KVVec::with_capacity(BUCKETS, GFP_KERNEL)?;
        for _ in 0..BUCKETS {
            buckets.push(KVVec::new(), GFP_KERNEL)?;
        }
        Ok(pin_init!(Self {
            table <- new_mutex!(Table { buckets }, "oxtcp_ports"),
            home,
            marked: [const { Atomic::new(0) }; BUCKETS / 64],
        }))
    }

    /// Notes that a reservation of `port` has lost its last holder. Any context.
    fn mark(&self, port: u16) {
        let bucket = usize::from(port) % BUCKETS;
        if let Some(word) = self.marked.get(bucket / 64) {
            let bit = 1u64 << (bucket % 64);
            let mut old = word.load(Relaxed);
            while let Err(now) = word.cmpxchg(old, old | bit, Full) {
                old = now;
            }
        }
    }
}

impl Run for Registry {
    /// Releases what nobody holds any more, in the buckets that are marked.
    fn run(&self) {
        for (i, word) in self.marked.iter().enumerate() {
            let mut bits = word.xchg(0, Full);
            while bits != 0 {
                let bucket = i * 64 + bits.trailing_zeros() as usize;
                bits &= bits - 1;
                self.table.lock().reap_bucket(bucket);
            }
        }
    }
}

/// The reservations, by port.
struct Table {
    buckets: KVVec<KVVec<Entry>>,
}

/// A reservation and what holds the port for it.
struct Entry {
    reservation: Arc<Reservation>,
    socket: KernelSocket,
}

impl Deref for Entry {
    type Target = Reservation;

    fn deref(&self) -> &Reservation {
        &self.reservation
    }
}

impl Table {
    fn bucket(&mut self, port: u16) -> &mut KVVec<Entry> {
        &mut self.buckets[usize::from(port) % BUCKETS]
    }

    fn entries(&self, port: u16) -> impl Iterator<Item = &Entry> {
        self.buckets[usize::from(port) % BUCKETS]
            .iter()
            .filter(move |entry| entry.port == port)
    }

    fn all(&self) -> impl Iterator<Item = &Arc<Reservation>> {
        self.buckets
            .iter()
            .flat_map(|bucket| bucket.iter())
            .map(|entry| &entry.reservation)
    }

    fn find(&self, addr: &BindAddr, port: u16) -> Option<Arc<Reservation>> {
        self.entries(port)
            .find(|entry| entry.addr == *addr)
            .map(|entry| entry.reservation.clone())
    }

    /// The kernel socket of a reservation, unless it is released.
    fn socket(&self, reservation: &Arc<Reservation>) -> Option<&KernelSocket> {
        self.entries(reservation.port)
            .find(|entry| Arc::ptr_eq(&entry.reservation, reservation))
            .map(|entry| &entry.socket)
    }

    /// Releases what nobody holds any more on `port`.
    fn reap(&mut self, port: u16) {
        self.reap_bucket(usize::from(port) % BUCKETS);
    }

    fn reap_bucket(&mut self, bucket: usize) {
        self.buckets[bucket].retain(|entry| entry.holders.load(Acquire) != 0);
    }

    /// Releases everything.
    fn clear(&mut self) {
        for bucket in self.buckets.iter_mut() {
            bucket.clear();
        }
    }
}

/// EADDRINUSE.
fn in_use() -> Error {
    Error::from_errno(-(kernel::bindings::EADDRINUSE as i32))
}

/// EADDRNOTAVAIL.
fn not_available() -> Error {
    Error::from_errno(-(kernel::bindings::EADDRNOTAVAIL as i32))
}
