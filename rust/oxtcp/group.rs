// SPDX-License-Identifier: GPL-2.0

//! Listeners that share an address and port (SO_REUSEPORT).
//!
//! A group is found in the flow table under the address and port, as a lone listener is. Its members stand there too, each under
//! a remote end of its own that no packet has. Who comes and goes is written under the ports' mutex ([`PortRef`]); readers take no lock.
//!
//! [`PortRef`]: crate::ports::PortRef

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{Acquire, Atomic, Relaxed, Release};
use kernel::sync::{rcu, Arc};

use crate::protocol::{Socket, Tcp};
use crate::sys::sock::SkState;
use crate::sys::table::{Endpoint, FlowKey, FlowTable, Found};

/// The listeners at one address and port.
pub(crate) struct Group {
    /// Where they listen, as the flow table has it.
    local: Endpoint,
    /// The members' numbers, one after the other, and how many there are.
    numbers: KVec<Atomic<u32>>,
    len: Atomic<u32>,
}

/// A listener's place in its group.
#[derive(Clone)]
pub(crate) struct Member {
    pub(crate) group: Arc<Group>,
    number: u16,
}

impl Group {
    /// 4 KB. Linux has 65,535.
    const MOST: usize = 1024;

    /// A group without members. Process context. Errors: ENOMEM.
    pub(crate) fn new(local: Endpoint) -> Result<Arc<Self>> {
        let mut numbers = KVec::with_capacity(Self::MOST, GFP_KERNEL)?;
        for _ in 0..Self::MOST {
            numbers.push(Atomic::new(0), GFP_KERNEL)?;
        }
        let new = Self {
            local,
            numbers,
            len: Atomic::new(0),
        };
        Ok(Arc::new(new, GFP_KERNEL)?)
    }

    /// Where the group is found.
    pub(crate) fn key(&self) -> FlowKey {
        FlowKey::of_listener(self.local)
    }

    /// Where the member with this number stands.
    fn key_of(&self, number: u16) -> FlowKey {
        FlowKey::of_member(self.local, number)
    }

    /// How many members there are. Any context.
    pub(crate) fn len(&self) -> u32 {
        self.len.load(Acquire)
    }

    fn numbers(&self) -> impl Iterator<Item = &Atomic<u32>> {
        self.numbers.iter().take(self.len() as usize)
    }

    /// Lets one more in, who is to enter the flow table at [`Member::key`]. Under the ports' mutex. Errors: ENOMEM when there are too many.
    pub(crate) fn join(self: &Arc<Self>) -> Result<Member> {
        let mut taken = [0u64; Self::MOST / 64];
        for number in self.numbers() {
            let number = number.load(Relaxed) as usize;
            if let Some(word) = taken.get_mut(number / 64) {
                *word |= 1u64.wrapping_shl((number % 64) as u32);
            }
        }
        let free = taken
            .iter()
            .enumerate()
            .find(|(_, word)| **word != u64::MAX);
        let (at, word) = free.ok_or(ENOMEM)?;
        let number = at
            .saturating_mul(64)
            .saturating_add(word.trailing_ones() as usize);
        let len = self.len();
        let slot = self.numbers.get(len as usize).ok_or(ENOMEM)?;
        slot.store(number as u32, Relaxed);
        self.len.store(len.saturating_add(1), Release);
        Ok(Member {
            group: self.clone(),
            number: number as u16,
        })
    }

    /// Lets a member go, who has left the flow table. Under the ports' mutex.
    pub(crate) fn leave(&self, member: &Member) {
        let gone = u32::from(member.number);
        let slot = self.numbers().find(|slot| slot.load(Relaxed) == gone);
        let last = self.numbers().last();
        if let (Some(slot), Some(last)) = (slot, last) {
            // Who reads meanwhile finds the last one twice, or one that is gone: then he takes the next.
            slot.store(last.load(Relaxed), Relaxed);
            self.len.store(self.len().saturating_sub(1), Release);
        }
    }

    /// The member that a flow with this hash is for, among those that listen and suit. Any context.
    pub(crate) fn select(
        &self,
        table: &FlowTable<Tcp>,
        hash: u64,
        rcu: &rcu::Guard,
        suits: impl Fn(&Socket) -> bool,
    ) -> Option<ARef<Socket>> {
        let len = self.len();
        // As `reciprocal_scale()`: the upper half of the product.
        let first = u64::from(hash as u32).wrapping_mul(u64::from(len)) >> 32;
        for step in 0..len {
            let at = (first as u32).wrapping_add(step).checked_rem(len)?;
            let number = self.numbers.get(at as usize)?.load(Relaxed);
            let key = self.key_of(number as u16);
            if let Some(Found::Sock(sock)) = table.lookup(&key, rcu) {
                if sock.state() == SkState::LISTEN && suits(&sock) {
                    return Some(sock);
                }
            }
        }
        None
    }
}

impl Member {
    /// Where the member stands in the flow table.
    pub(crate) fn key(&self) -> FlowKey {
        self.group.key_of(self.number)
    }
}
