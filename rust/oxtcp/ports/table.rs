// SPDX-License-Identifier: GPL-2.0

//! The reservations of a namespace, and what holds the port for each.
//!
//! Everything here is under the registry's mutex.

use core::ops::Deref;

use kernel::alloc::flags::GFP_KERNEL;
use kernel::prelude::*;
use kernel::sync::atomic::{Full, Relaxed};
use kernel::sync::Arc;

use super::{BindAddr, Pool, Reservation, BUCKETS, SHARED};
use crate::group::{Group, Member};
use crate::protocol::Tcp;
use crate::sys::errno::eaddrinuse;
use crate::sys::ksocket::KernelSocket;
use crate::sys::table::{Endpoint, FlowTable, Posted};

/// The reservations: those that programs have bound by port, those of connect() by address.
pub(super) struct Table {
    pub(super) buckets: KVVec<KVVec<Entry>>,
    /// By address, in its order.
    pub(super) pools: KVVec<Pool>,
}

/// A reservation and what holds the port for it.
pub(super) struct Entry {
    pub(super) reservation: Arc<Reservation>,
    pub(super) socket: KernelSocket,
    /// The holders that listen together, if there are such, and by what they are found.
    pub(super) group: Option<(Arc<Group>, Posted<Tcp>)>,
}

impl Entry {
    /// Lets one more into the group, which is made if there is none. Errors: EADDRINUSE; ENOMEM.
    pub(super) fn join_group(&mut self, flows: &FlowTable<Tcp>, local: Endpoint) -> Result<Member> {
        if self.group.is_none() {
            let group = Group::new(local)?;
            let posted = flows.post(group.key(), group.clone());
            let posted = posted.map_err(|error| match error {
                EEXIST => eaddrinuse(),
                other => other,
            })?;
            self.group = Some((group, posted));
        }
        let joined = self.group.as_ref().map(|(group, _)| group.join());
        let joined = joined.unwrap_or(Err(EINVAL));
        if joined.is_err() {
            self.end_empty_group(flows);
        }
        joined
    }

    pub(super) fn end_empty_group(&mut self, flows: &FlowTable<Tcp>) {
        if self
            .group
            .as_ref()
            .is_some_and(|(group, _)| group.len() == 0)
        {
            if let Some((_, posted)) = self.group.take() {
                flows.withdraw(posted);
            }
        }
    }
}

impl Deref for Entry {
    type Target = Reservation;

    fn deref(&self) -> &Reservation {
        &self.reservation
    }
}

impl Table {
    /// Errors: none that happen, there are [`BUCKETS`].
    pub(super) fn bucket(&mut self, port: u16) -> Result<&mut KVVec<Entry>> {
        let bucket = usize::from(port) % BUCKETS;
        self.buckets.get_mut(bucket).ok_or(EINVAL)
    }

    pub(super) fn entries(&self, port: u16) -> impl Iterator<Item = &Entry> {
        let bucket = self.buckets.get(usize::from(port) % BUCKETS);
        bucket
            .into_iter()
            .flatten()
            .filter(move |entry| entry.port == port)
    }

    /// How many of all are held.
    pub(super) fn held(&self) -> usize {
        let held = |entry: &&Entry| entry.count() != 0;
        let bound: usize = self
            .buckets
            .iter()
            .map(|b| b.iter().filter(held).count())
            .sum();
        let shared: usize = self
            .pools
            .iter()
            .map(|pool| pool.from(0).filter(held).count())
            .sum();
        bound.saturating_add(shared)
    }

    /// The pool of `addr`.
    pub(super) fn pool(&self, addr: &BindAddr) -> Option<&Pool> {
        let nth = self.pools.binary_search_by(|pool| pool.addr.cmp(addr));
        self.pools.get(nth.ok()?)
    }

    /// The pool of `addr`, made if there is none. Errors: ENOMEM.
    pub(super) fn pool_mut(&mut self, addr: &BindAddr) -> Result<&mut Pool> {
        let nth = match self.pools.binary_search_by(|pool| pool.addr.cmp(addr)) {
            Ok(nth) => nth,
            Err(nth) => {
                self.pools.push(Pool::new(*addr)?, GFP_KERNEL)?;
                if let Some(tail) = self.pools.get_mut(nth..) {
                    tail.rotate_right(1);
                }
                nth
            }
        };
        self.pools.get_mut(nth).ok_or(EINVAL)
    }

    pub(super) fn entry(&self, addr: &BindAddr, port: u16) -> Option<&Entry> {
        self.entries(port)
            .find(|entry| entry.addr == *addr)
            .or_else(|| self.pool(addr)?.get(port))
    }

    pub(super) fn find(&self, addr: &BindAddr, port: u16) -> Option<Arc<Reservation>> {
        Some(self.entry(addr, port)?.reservation.clone())
    }

    /// The kernel socket of a reservation, unless it is released.
    pub(super) fn socket(&self, reservation: &Arc<Reservation>) -> Option<&KernelSocket> {
        let entry = self.entry(&reservation.addr, reservation.port)?;
        Arc::ptr_eq(&entry.reservation, reservation).then_some(&entry.socket)
    }

    /// The entry of a reservation that is not shared by connect(), unless it is released.
    pub(super) fn bound_mut(&mut self, reservation: &Arc<Reservation>) -> Option<&mut Entry> {
        let bucket = self.bucket(reservation.port).ok()?;
        bucket
            .iter_mut()
            .find(|entry| Arc::ptr_eq(&entry.reservation, reservation))
    }

    /// Makes a shared port one like others. The caller holds it. Errors: ENOMEM.
    pub(super) fn unshare(&mut self, reservation: &Arc<Reservation>) -> Result {
        if !reservation.is_shared() {
            return Ok(());
        }
        let port = reservation.port;
        self.bucket(port)?.reserve(1, GFP_KERNEL)?;
        let nth = self
            .pools
            .binary_search_by(|pool| pool.addr.cmp(&reservation.addr));
        let pool = nth.ok().and_then(|nth| self.pools.get_mut(nth));
        let entry = pool.and_then(|pool| pool.take(port)).ok_or(EINVAL)?;
        reservation.holders.fetch_sub(SHARED, Full);
        self.bucket(port)?.push(entry, GFP_KERNEL)?;
        Ok(())
    }

    /// Releases what nobody holds any more on `port`, shared or not.
    pub(super) fn reap(&mut self, port: u16) {
        self.reap_bucket(usize::from(port) % BUCKETS);
        for pool in self.pools.iter_mut() {
            let idle = |entry: &Entry| entry.count() == 0;
            if pool.get(port).is_some_and(idle) {
                if let Some(entry) = pool.take(port) {
                    entry.registry.idle.fetch_sub(1, Relaxed);
                }
            }
        }
    }

    pub(super) fn reap_bucket(&mut self, bucket: usize) {
        if let Some(bucket) = self.buckets.get_mut(bucket) {
            bucket.retain(|entry| entry.count() != 0);
        }
    }

    /// Releases everything.
    pub(super) fn clear(&mut self) {
        for bucket in self.buckets.iter_mut() {
            bucket.clear();
        }
        self.pools.clear();
    }
}
