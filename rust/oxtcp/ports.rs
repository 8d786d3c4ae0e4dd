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
//! * So is one, whether holders listen or not, if the holders and the newcomer have SO_REUSEPORT and are of one user. They may all listen, as a
//!   [`Group`]. This is among our sockets at one address: the kernel socket has no SO_REUSEPORT, so the built-in TCP's do not share a port with ours,
//!   nor do ours at two addresses that overlap.
//! * The kernel socket has SO_REUSEADDR as the holders have it, except while one of them listens: then
//!   it is taken away, so that nobody can bind there ([`KernelSocket::claim_listen`]).
//! * Accepted connections and TIME-WAITs hold the port with the listener's flag, as in Linux.
//!
//! SO_REUSEADDR and SO_REUSEPORT are the reservation's, not the holder's: it has them while all holders had them when they came.
//! A later change of SO_REUSEADDR by one of them counts for all.
//!
//! # The ports of connect()
//!
//! A port that connect() chooses ([`Ports::ephemeral`]) is shared by connections from one address to different
//! destinations, and by their TIME-WAITs, as in the built-in TCP. A reservation costs tens of thousands of
//! instructions, so the ports that an address has already (its [`Pool`]) are preferred once they are enough to
//! hide in ([`search::POOL_ENOUGH`]); until then, and when none of them will do, a new one is searched in RFC 6056's order
//! ([`oxtcp_engine::ephemeral`]). Which of the pool comes first depends on the same keyed hash and counter.
//!
//! When the last holder leaves, the reservation stays for [`IDLE_TIME`], but no more than [`search::idle_limit`]
//! of them, and none for longer than [`POOL_TIME`] in all. A bind(2) of ours to such a port releases it; one of the
//! built-in TCP's finds it in use.
//!
//! A shared reservation has SO_REUSEADDR if all holders had it when they came. A bind(2) that this lets in
//! makes the port one like others: from then on it is not shared by connect() any more.
//!
//! # Locking and contexts
//!
//! [`Registry::table`] (a mutex: process context) protects the table, the pools, the kernel sockets and
//! `listeners`; `holders` is atomic, rises from 0 under the mutex only, and may change in any context. The last holder
//! leaves in softirq, perhaps: it marks its bucket and kicks the work, which releases the kernel sockets of
//! reservations that nobody holds. A bind to a port releases such ones on it itself. The last holder of a shared
//! one notes the time, and asks for the work within [`IDLE_TIME`].
//! Lock order: a socket's own lock, then `table`, then the kernel socket's lock. The callback of
//! [`Ports::ephemeral`] takes locks of small objects under `table`.

use kernel::alloc::flags::GFP_KERNEL;
use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Full, Relaxed};
use kernel::sync::{new_mutex, rcu, Arc, Mutex};

use crate::group::Member;
use crate::protocol::Tcp;
use crate::sys::deferred::{Deferred, Run};
use crate::sys::errno::eaddrinuse;
pub(crate) use crate::sys::ksocket::BindAddr;
use crate::sys::ksocket::KernelSocket;
use crate::sys::net::{Home, Net};
use crate::sys::once::Once;
use crate::sys::proc::Uid;
use crate::sys::table::{Endpoint, FlowTable};
use crate::sys::time::{self, Jiffies, Span};

mod pool;
mod search;
mod table;
use pool::Pool;
use search::Search;
use table::{Entry, Table};

/// The ports that we hold in one namespace. To be dropped after everything that has a [`PortRef`];
/// should one be left, its port is given back all the same.
pub(crate) struct Ports(Arc<Deferred<Registry>>);

impl Ports {
    /// No ports. Process context. Errors: ENOMEM.
    pub(crate) fn new(home: &Home) -> Result<Self> {
        Ok(Self(Arc::pin_init(
            Deferred::new(Registry::new(home.clone())?),
            GFP_KERNEL,
        )?))
    }

    /// Whether a flow or a listener of ours may have this local port, at whatever address: if not, a packet need not be looked up. Any context.
    #[inline]
    pub(crate) fn may_hold(&self, port: u16) -> bool {
        let count = self.0.counts.get(usize::from(port) % COUNTS);
        count.is_some_and(|count| count.read_once() != 0)
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
        sharing: Sharing,
    ) -> Result<PortRef> {
        let addr = addr.normalized();
        let socket = KernelSocket::new(net, &self.0.home, &addr, sharing.reuse)?;
        if port == 0 {
            return self.bind_any(net, addr, socket, sharing);
        }

        let mut table = self.0.table.lock();
        // What nobody holds any more, at this address or another, would be in our way.
        table.reap(port);
        if let Some(joined) = table.find(&addr, port).and_then(PortRef::join) {
            let by_address = sharing.reuse && joined.0.reuse.load(Relaxed);
            let by_port = joined.0.is_shared_with(sharing.reuseport);
            if by_address && joined.0.listeners.load(Relaxed) == 0 {
                // A trial: the others on the port let `socket` in, or they do not. Then it goes.
                socket.bind(&addr, port)?;
            } else if by_port && !by_address {
                // Who of the built-in TCP's is there by SO_REUSEADDR lets nobody in without.
                let holder = table.socket(&joined.0).ok_or(EINVAL)?;
                if !holder.claim_alone() {
                    joined.0.give_back_reuse(holder);
                    return Err(eaddrinuse());
                }
            } else if !by_port {
                return Err(eaddrinuse());
            }
            table.unshare(&joined.0)?;
            joined.0.narrow(sharing);
            return Ok(joined);
        }
        // The last holder may have left since.
        table.reap(port);
        let port = socket.bind(&addr, port)?;
        self.insert(&mut table, addr, port, socket, sharing)
    }

    /// Holds a port for a connection from `local` whose program asked for none. Process context; sleeps.
    ///
    /// `claim` tries a port: it takes the connection's addresses and ports for it and returns something, or
    /// returns `None` when they are in use. It is called under a mutex and must neither sleep nor call this registry.
    /// What it returned comes back once the port is held. `hash` is the keyed hash of both addresses and the remote
    /// port (RFC 6056 section 3.3.4).
    ///
    /// Errors: EADDRNOTAVAIL when there is none, as in connect(2); ENOMEM; those of `claim`.
    pub(crate) fn ephemeral<T>(
        &self,
        net: &Net,
        local: &BindAddr,
        hash: u64,
        reuse: bool,
        claim: impl FnMut(u16) -> Result<Option<T>>,
    ) -> Result<(PortRef, T)> {
        let mut search = Search::new(&self.0, net, local.normalized(), hash, reuse, claim)?;
        let result = search.run();
        if result.is_err() {
            // Let those who may have it sooner what we keep for nobody.
            self.0.trim(true);
        }
        result
    }

    /// Holds a port that the kernel chooses for `socket`, which is not bound yet.
    fn bind_any(
        &self,
        net: &Net,
        addr: BindAddr,
        socket: KernelSocket,
        sharing: Sharing,
    ) -> Result<PortRef> {
        let mut socket = socket;
        for _ in 0..ATTEMPTS {
            let port = match socket.bind(&addr, 0) {
                Err(error) if error == eaddrinuse() => {
                    // Ports that nobody holds any more would do.
                    self.0.reap_marked();
                    self.0.trim(true);
                    socket.bind(&addr, 0)?
                }
                other => other?,
            };
            let mut table = self.0.table.lock();
            if table.find(&addr, port).is_none() {
                return self.insert(&mut table, addr, port, socket, sharing);
            }
            // With net.ipv4.ip_autobind_reuse the kernel chooses a port that we hold at this address.
            drop(table);
            socket = KernelSocket::new(net, &self.0.home, &addr, sharing.reuse)?;
        }
        Err(eaddrinuse())
    }

    /// Enters a reservation with its first holder.
    fn insert(
        &self,
        table: &mut Table,
        addr: BindAddr,
        port: u16,
        socket: KernelSocket,
        sharing: Sharing,
    ) -> Result<PortRef> {
        let reservation = Reservation::new(&self.0, addr, port, sharing, false)?;
        table.bucket(port)?.push(
            Entry {
                reservation: reservation.clone(),
                socket,
                group: None,
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
        let left = table.held();
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

    /// The namespace that the port is in, unless it is being taken down. Any context.
    pub(crate) fn net<'a>(&'a self, rcu: &'a rcu::Guard) -> Option<&'a Net> {
        self.0.registry.home.net(rcu)
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
        while holders & !SHARED != 0 {
            match reservation
                .holders
                .cmpxchg(holders, holders.wrapping_add(1), Full)
            {
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
    /// With SO_REUSEPORT the socket is one of a group then, which is found in `flows` at `local`.
    ///
    /// Errors: EADDRINUSE when a socket of ours or of the built-in TCP listens at an overlapping address that does not share it; ENOMEM.
    pub(crate) fn start_listen(
        &self,
        flows: &FlowTable<Tcp>,
        local: Endpoint,
        reuseport: Option<Uid>,
    ) -> Result<Option<Member>> {
        let mut table = self.0.registry.table.lock();
        table.unshare(&self.0)?;
        let entry = table.bound_mut(&self.0).ok_or(EINVAL)?;
        let shares = self.0.is_shared_with(reuseport);
        let first = self.0.listeners.load(Relaxed) == 0;
        // Who listens alone, with the flag set since, stays alone.
        let joins = shares && entry.group.is_some();
        if !first && !joins {
            return Err(eaddrinuse());
        }
        // Who has cleared the flag since has not let the others in.
        if !shares && self.0.is_held_by_others_with_reuseport() {
            return Err(eaddrinuse());
        }
        if first {
            entry.socket.claim_listen()?;
        }
        let member = match shares {
            false => Ok(None),
            true => entry.join_group(flows, local).map(Some),
        };
        if member.is_ok() {
            self.0.listeners.fetch_add(1, Relaxed);
        } else if first {
            self.0.give_back_reuse(&entry.socket);
        }
        member
    }

    /// Ends what [`PortRef::start_listen`] began, for the same table and what that said. Process context; sleeps.
    pub(crate) fn stop_listen(&self, flows: &FlowTable<Tcp>, member: Option<&Member>) {
        let mut table = self.0.registry.table.lock();
        self.0.listeners.fetch_sub(1, Relaxed);
        let Some(entry) = table.bound_mut(&self.0) else {
            return;
        };
        if let Some(member) = member {
            member.group.leave(member);
            entry.end_empty_group(flows);
        }
        self.0.give_back_reuse(&entry.socket);
    }

    /// SO_REUSEADDR was set or cleared on a socket that has the port. On a shared port it can be cleared for all, but
    /// not set for the others. Process context; sleeps.
    pub(crate) fn set_reuse(&self, reuse: bool) {
        let table = self.0.registry.table.lock();
        if reuse && self.0.is_shared() && self.0.count() != 1 {
            return;
        }
        self.0.reuse.store(reuse, Relaxed);
        if self.0.listeners.load(Relaxed) == 0 {
            if let Some(socket) = table.socket(&self.0) {
                socket.set_reuse(reuse);
            }
        }
    }

    /// SO_REUSEPORT was set or cleared on a socket that has the port. Who is alone can set it for later ones; cleared it is not, as in Linux (which
    /// notes it for the port at the time of bind()). Process context; sleeps.
    pub(crate) fn set_reuseport(&self, reuseport: Option<Uid>) {
        let _table = self.0.registry.table.lock();
        if reuseport.is_some() && self.0.count() == 1 {
            self.0.set_reuseport(reuseport);
        }
    }

    /// Gives the hold back. If it is the last one, and not on a shared port, the port is free when this returns, so
    /// that the next bind(2) after a close(2) succeeds, of the built-in TCP too. Process context; sleeps.
    pub(crate) fn release(self) {
        if self.0.is_shared() {
            return;
        }
        let registry = self.0.registry.clone();
        let port = self.0.port;
        drop(self);
        registry.table.lock().reap(port);
    }
}

impl Drop for PortRef {
    fn drop(&mut self) {
        let before = self.0.holders.fetch_sub(1, Full);
        if before & !SHARED != 1 {
            return;
        }
        // From here on the reservation may be released, or held again.
        let registry = &self.0.registry;
        if before & SHARED == 0 {
            registry.mark(self.0.port);
            registry.kick();
            return;
        }
        self.0.idle_since.store(now32(), Relaxed);
        let idle = registry.idle.fetch_add(1, Relaxed).wrapping_add(1);
        if idle > registry.idle_limit.load(Relaxed) {
            registry.kick();
        } else {
            registry.kick_within(IDLE_TIME.as_jiffies());
        }
    }
}

/// In `holders`: the reservation is in a pool, chosen by [`Ports::ephemeral`], whose callers may share it, and bound by no
/// program since. Taken away under `table`, by a holder. It is in one word with the number, so that the last
/// holder and those who count [`Registry::idle`] agree about it.
const SHARED: i32 = 1 << 30;

/// A port that we hold, or have held until lately.
struct Reservation {
    /// Normalized.
    addr: BindAddr,
    port: u16,
    /// How many bound sockets, connections and TIME-WAITs have it, and [`SHARED`]. The number rises from 0 under
    /// `table` only. At 0 the reservation is about to be released; if it is shared, after a while.
    holders: Atomic<i32>,
    /// The holders' SO_REUSEADDR. Written under `table`.
    reuse: Atomic<bool>,
    /// The user whose SO_REUSEPORT the holders have, and 1; 0: none. Written under `table`.
    reuseport: Atomic<u64>,
    /// How many of the holders listen. Written under `table`.
    listeners: Atomic<u32>,
    /// When it was made, and when the last holder left; see [`now32`].
    since: u32,
    idle_since: Atomic<u32>,
    registry: Arc<Deferred<Registry>>,
}

impl Drop for Reservation {
    fn drop(&mut self) {
        self.registry.count(self.port, -1);
    }
}

impl Reservation {
    /// One with one holder, whom the caller has to make.
    fn new(
        registry: &Arc<Deferred<Registry>>,
        addr: BindAddr,
        port: u16,
        sharing: Sharing,
        shared: bool,
    ) -> Result<Arc<Self>> {
        let new = Reservation {
            addr,
            port,
            holders: Atomic::new(if shared { SHARED + 1 } else { 1 }),
            reuse: Atomic::new(sharing.reuse),
            reuseport: Atomic::new(word_of(sharing.reuseport)),
            listeners: Atomic::new(0),
            since: now32(),
            idle_since: Atomic::new(0),
            registry: registry.clone(),
        };
        // Before anything of the port's can be in the flow table.
        registry.count(port, 1);
        Ok(Arc::new(new, GFP_KERNEL)?)
    }

    /// Whether the holders and one with this SO_REUSEPORT let each other in. Under `table`.
    fn is_shared_with(&self, reuseport: Option<Uid>) -> bool {
        reuseport.is_some() && self.reuseport.load(Relaxed) == word_of(reuseport)
    }

    /// Whether there are holders beside the one who asks that only SO_REUSEPORT has let in. Under `table`.
    fn is_held_by_others_with_reuseport(&self) -> bool {
        self.reuseport.load(Relaxed) != 0 && !self.reuse.load(Relaxed) && self.count() > 1
    }

    fn set_reuseport(&self, reuseport: Option<Uid>) {
        self.reuseport.store(word_of(reuseport), Relaxed);
    }

    /// One more holder, who lets others in as `sharing` says. Under `table`.
    fn narrow(&self, sharing: Sharing) {
        if !sharing.reuse {
            self.reuse.store(false, Relaxed);
        }
        if !self.is_shared_with(sharing.reuseport) {
            self.set_reuseport(None);
        }
    }

    /// Lets the kernel socket have SO_REUSEADDR again that the holders have, unless one of them listens. Under `table`.
    fn give_back_reuse(&self, socket: &KernelSocket) {
        if self.reuse.load(Relaxed) && self.listeners.load(Relaxed) == 0 {
            socket.set_reuse(true);
        }
    }

    /// How many hold it.
    fn count(&self) -> i32 {
        self.holders.load(Acquire) & !SHARED
    }

    fn is_shared(&self) -> bool {
        self.holders.load(Relaxed) & SHARED != 0
    }

    /// A shared one that nobody holds and that was kept for long enough.
    fn expired(&self, now: u32) -> bool {
        let older = |since: u32, time: Span| now.wrapping_sub(since) as usize >= time.as_jiffies();
        older(self.idle_since.load(Relaxed), IDLE_TIME) || older(self.since, POOL_TIME)
    }
}

/// What a socket lets others do with its port.
#[derive(Clone, Copy)]
pub(crate) struct Sharing {
    /// SO_REUSEADDR.
    pub(crate) reuse: bool,
    /// The user of a socket with SO_REUSEPORT.
    pub(crate) reuseport: Option<Uid>,
}

impl Sharing {
    const NONE: Self = Self {
        reuse: false,
        reuseport: None,
    };
}

/// See [`Reservation::reuseport`].
fn word_of(reuseport: Option<Uid>) -> u64 {
    reuseport.map_or(0, |uid| u64::from(uid.number()).wrapping_add(1))
}

/// The lower half of the jiffies, for times that are short beside the 49 days in which it comes round.
fn now32() -> u32 {
    Jiffies::now().get() as u32
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
    /// Shared reservations that nobody holds. A little off for a moment, below 0 too, when one is left and taken at
    /// the same time. Any context.
    idle: Atomic<i32>,
    /// The most that `idle` should be.
    idle_limit: Atomic<i32>,
    /// How many reservations there are of the ports whose lowest bits are the index. Any context.
    counts: KVVec<Atomic<i32>>,
}

/// Buckets of the table, for the ports that programs have bound: some hundreds on a busy host.
const BUCKETS: usize = 256;

/// Of [`Registry::counts`]: 8 KB.
const COUNTS: usize = 2048;

/// For how long a shared port is kept that nobody holds. Long enough that a host with 50 connects in a second makes no
/// kernel socket for each, short enough that a program that wants the port for the built-in TCP can wait.
const IDLE_TIME: Span = Span::from_secs(10);

/// After this time a shared port is given back as soon as nobody holds it, so that who has seen the ports of an
/// address does not know them for ever.
const POOL_TIME: Span = Span::from_secs(60);

/// How often the kernel may choose a port that we hold already; see [`Ports::bind_any`].
const ATTEMPTS: usize = 16;

impl Registry {
    fn new(home: Home) -> Result<impl PinInit<Self>> {
        let mut buckets = KVVec::with_capacity(BUCKETS, GFP_KERNEL)?;
        for _ in 0..BUCKETS {
            buckets.push(KVVec::new(), GFP_KERNEL)?;
        }
        let mut counts = KVVec::with_capacity(COUNTS, GFP_KERNEL)?;
        for _ in 0..COUNTS {
            counts.push(Atomic::new(0), GFP_KERNEL)?;
        }
        Ok(pin_init!(Self {
            table <- new_mutex!(Table { buckets, pools: KVVec::new() }, "oxtcp_ports"),
            home,
            marked: [const { Atomic::new(0) }; BUCKETS / 64],
            idle: Atomic::new(0),
            idle_limit: Atomic::new(0),
            counts,
        }))
    }

    /// A reservation of `port` is made, or goes. Any context.
    fn count(&self, port: u16, by: i32) {
        if let Some(count) = self.counts.get(usize::from(port) % COUNTS) {
            count.fetch_add(by, Relaxed);
        }
    }

    /// Notes that a reservation of `port` has lost its last holder. Any context.
    fn mark(&self, port: u16) {
        let bucket = usize::from(port) % BUCKETS;
        if let Some(word) = self.marked.get(bucket / 64) {
            let bit = 1u64.wrapping_shl((bucket % 64) as u32);
            let mut old = word.load(Relaxed);
            while let Err(now) = word.cmpxchg(old, old | bit, Full) {
                old = now;
            }
        }
    }

    /// Releases what nobody holds any more, in the buckets that are marked. Process context; sleeps.
    fn reap_marked(&self) {
        for (i, word) in self.marked.iter().enumerate() {
            let mut bits = word.xchg(0, Full);
            while bits != 0 {
                let bucket = i
                    .saturating_mul(64)
                    .saturating_add(bits.trailing_zeros() as usize);
                bits &= bits.wrapping_sub(1);
                self.table.lock().reap_bucket(bucket);
            }
        }
    }

    /// Releases shared ports that nobody holds: all, or those that were kept for long enough or are too many.
    /// Process context; sleeps.
    fn trim(&self, all: bool) {
        let now = now32();
        // From the last pool to the first, and in each from the end.
        let mut place = (usize::MAX, usize::MAX);
        while self.idle.load(Relaxed) > 0 {
            let mut table = self.table.lock();
            let (nth, from) = place;
            let nth = nth.min(table.pools.len());
            let Some(nth) = nth.checked_sub(1) else {
                return;
            };
            let Some(pool) = table.pools.get_mut(nth) else {
                return;
            };
            let limit = self.idle_limit.load(Relaxed);
            let left = pool.trim(
                from,
                search::TURN,
                |entry| {
                    // Counted at once: `limit` is looked at for the next one.
                    let doomed = entry.count() == 0
                        && (all || self.idle.load(Relaxed) > limit || entry.expired(now));
                    if doomed {
                        self.idle.fetch_sub(1, Relaxed);
                    }
                    doomed
                },
                // Under the mutex: nobody is to find the port in use and its entry gone.
                drop,
            );
            place = match left {
                Some(left) => (nth.saturating_add(1), left),
                None => {
                    if pool.len() == 0 {
                        let _ = table.pools.remove(nth);
                    }
                    (nth, usize::MAX)
                }
            };
            drop(table);
            time::yield_if_needed();
        }
    }
}

impl Run for Registry {
    /// Releases what nobody holds any more.
    fn run(&self) -> Option<usize> {
        self.reap_marked();
        self.trim(false);
        (self.idle.load(Relaxed) > 0).then(|| IDLE_TIME.as_jiffies())
    }
}
