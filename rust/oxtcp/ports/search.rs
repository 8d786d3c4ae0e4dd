// SPDX-License-Identifier: GPL-2.0

//! The search for the port of a connection: RFC 6056, and ports that the address has before new ones.

use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Full, Relaxed};
use kernel::sync::Arc;

use oxtcp_engine::ephemeral::PortWalk;

use super::{BindAddr, Entry, PortRef, Registry, Reservation, Sharing, SHARED};
use crate::sys::deferred::Deferred;
use crate::sys::errno::{eaddrinuse, eaddrnotavail};
use crate::sys::ksocket::KernelSocket;
use crate::sys::net::Net;
use crate::sys::{random, time};

/// One search for the port of a connection. See [`super::Ports::ephemeral`].
pub(super) struct Search<'a, C> {
    registry: &'a Arc<Deferred<Registry>>,
    net: &'a Net,
    addr: BindAddr,
    range: (u16, u16),
    /// Of the hash; and where the search begins.
    counter: &'a Atomic<u32>,
    offset: u32,
    reuse: bool,
    claim: C,
    /// By what the counter is to rise.
    advance: u32,
}

impl<'a, T, C: FnMut(u16) -> Result<Option<T>>> Search<'a, C> {
    /// Errors: none that happen.
    pub(super) fn new(
        registry: &'a Arc<Deferred<Registry>>,
        net: &'a Net,
        addr: BindAddr,
        hash: u64,
        reuse: bool,
        claim: C,
    ) -> Result<Self> {
        let range = net.local_port_range();
        registry.idle_limit.store(idle_limit(range), Relaxed);
        let counter = COUNTERS.get(usize::from(hash as u16)).ok_or(EINVAL)?;
        Ok(Search {
            registry,
            net,
            addr,
            range,
            counter,
            offset: ((hash >> 32) as u32).wrapping_add(counter.load(Relaxed)),
            reuse,
            claim,
            advance: 0,
        })
    }

    /// Finds a port, holds it and claims it.
    pub(super) fn run(&mut self) -> Result<(PortRef, T)> {
        let result = match self.in_pool() {
            Ok(None) => self.in_range(),
            other => other,
        };
        self.counter.fetch_add(self.advance, Relaxed);
        result?.ok_or(eaddrnotavail())
    }

    /// Among the ports that the address has, if they are many enough.
    fn in_pool(&mut self) -> Result<Option<(PortRef, T)>> {
        let registry = self.registry;
        let table = registry.table.lock();
        let Some(pool) = table.pool(&self.addr) else {
            return Ok(None);
        };
        if pool.len() < pool_enough(self.range) {
            return Ok(None);
        }
        let idle = registry.idle.load(Relaxed) > 0;
        for (tried, entry) in pool
            .from(self.offset)
            .take(PROBES + IDLE_PROBES)
            .enumerate()
        {
            // Behind the first few only those that are free for every destination.
            if tried >= PROBES && (!idle || entry.count() != 0) {
                if !idle {
                    break;
                }
                continue;
            }
            if !self.may_choose(entry.port) {
                continue;
            }
            if let Some(found) = self.share(entry)? {
                self.advance = (tried as u32).max(noise()).saturating_add(1);
                return Ok(Some(found));
            }
        }
        // So that the next one looks at others.
        self.advance = PROBES as u32;
        Ok(None)
    }

    /// In the whole range: ports that the address has, and new ones.
    fn in_range(&mut self) -> Result<Option<(PortRef, T)>> {
        let mut spare = Some(self.new_socket()?);
        let registry = self.registry;
        let mut table = registry.table.lock();
        let (low, high) = self.range;
        let mut walk = PortWalk::new(low, high, self.offset);
        let mut tried = 0usize;
        while let Some(port) = walk.next() {
            tried = tried.wrapping_add(1);
            if tried % TURN == 0 {
                drop(table);
                time::yield_if_needed();
                table = registry.table.lock();
            }
            if !self.may_choose(port) {
                continue;
            }
            if let Some(entry) = table.pool(&self.addr).and_then(|pool| pool.get(port)) {
                if let Some(found) = self.share(entry)? {
                    self.advance = walk.advance(noise());
                    return Ok(Some(found));
                }
                continue;
            }
            let socket = match spare.take() {
                Some(socket) => socket,
                None => self.new_socket()?,
            };
            match socket.bind(&self.addr, port) {
                Ok(_) => {}
                Err(error) if error == eaddrinuse() => {
                    spare = Some(socket);
                    continue;
                }
                Err(error) => return Err(error),
            }
            let reservation = Reservation::new(registry, self.addr, port, Sharing::NONE, true)?;
            let entry = Entry {
                reservation: reservation.clone(),
                socket,
                group: None,
            };
            table.pool_mut(&self.addr)?.insert(entry)?;
            // INVARIANT: Its first holder.
            let held = PortRef(reservation);
            // Nobody of ours is on the port, but a small object may be that has its hold elsewhere.
            if let Some(claimed) = (self.claim)(port)? {
                if self.reuse {
                    held.0.reuse.store(true, Relaxed);
                    if let Some(socket) = table.socket(&held.0) {
                        socket.set_reuse(true);
                    }
                }
                self.advance = walk.advance(noise());
                return Ok(Some((held, claimed)));
            }
        }
        Ok(None)
    }

    /// Without SO_REUSEADDR, whatever the program said: this is no bind(2), and a port that others were bound to is
    /// not to be chosen.
    fn new_socket(&self) -> Result<KernelSocket> {
        KernelSocket::new(self.net, &self.registry.home, &self.addr, false)
    }

    fn may_choose(&self, port: u16) -> bool {
        let (low, high) = self.range;
        (low..=high).contains(&port) && !self.net.is_local_port_reserved(port)
    }

    /// Takes a port that the address has, if the connection can have it. Under the registry's mutex.
    fn share(&mut self, entry: &Entry) -> Result<Option<(PortRef, T)>> {
        let open = entry.reuse.load(Relaxed);
        // With SO_REUSEADDR somebody of the built-in TCP's may have been bound there since: not to be chosen then.
        let alone = !open || entry.socket.claim_alone();
        let claimed = match alone {
            true => (self.claim)(entry.port),
            false => Ok(None),
        };
        let reuse = match claimed {
            Ok(Some(_)) => {
                let first = entry.holders.fetch_add(1, Full) & !SHARED == 0;
                if first {
                    self.registry.idle.fetch_sub(1, Relaxed);
                }
                self.reuse && (open || first)
            }
            _ => open,
        };
        // `claim_alone` has taken it away.
        if reuse {
            entry.socket.set_reuse(true);
        }
        if reuse != open {
            entry.reuse.store(reuse, Relaxed);
        }
        // INVARIANT: Counted above.
        claimed.map(|claimed| claimed.map(|claimed| (PortRef(entry.reservation.clone()), claimed)))
    }
}

/// A few steps more or less, so that the counters do not tell how many connections were made.
fn noise() -> u32 {
    u32::from(random::bits16() % 8)
}

/// Ports of an address among which the next connection's can hide from somebody who has seen them all; below that, new
/// ones are taken.
pub(super) const POOL_ENOUGH: usize = 512;

/// [`POOL_ENOUGH`], and no more than a quarter of the range.
fn pool_enough((low, high): (u16, u16)) -> usize {
    POOL_ENOUGH.min(usize::from(high.saturating_sub(low)) / 4)
}

/// How many shared ports are kept that nobody holds: those that connect() wants to have, and no more than a 32nd of the
/// range, as the built-in TCP has to do without them. (Of a range of a few ports, none.)
pub(super) fn idle_limit((low, high): (u16, u16)) -> i32 {
    (POOL_ENOUGH as i32).min(i32::from(high.saturating_sub(low) / 32))
}

/// How many ports of the pool are tried for a destination before a new one is made. With so many in vain most of
/// the pool is in use for this destination.
const PROBES: usize = 4;

/// How many more are looked at, if some are held by nobody.
const IDLE_PROBES: usize = 256;

/// How many ports are looked at before others may have the mutex.
pub(super) const TURN: usize = 64;

/// RFC 6056's table of counters, by the hash. As many as Linux has: a smaller table tells hosts apart by its
/// collisions (Klein and others, "Device tracking via Linux's new TCP source port selection algorithm", 2022).
static COUNTERS: [Atomic<u32>; 1 << 16] = [const { Atomic::new(0) }; 1 << 16];
