// SPDX-License-Identifier: GPL-2.0

//! A listener's queues when they overflow: what is counted, and what is said in the kernel's log.

use core::fmt;
use core::net::{Ipv4Addr, Ipv6Addr};

use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};

use oxtcp_engine::Instant;

use crate::listening::Listening;
use crate::namespace::Namespace;
use crate::output::unscoped;
use crate::protocol::Socket;
use crate::sys::log;
use crate::sys::once::Once;
use crate::sys::table::Endpoint;

/// Figures of one listener. Atomic words, each for itself; any context.
pub(crate) struct Floods {
    /// SYNs of the second that began at `second`, and of the one before.
    second: Atomic<u64>,
    syns: Atomic<u32>,
    syns_before: Atomic<u32>,
    /// The minute in which a queue's overflow was told last, and 1.
    told: [Atomic<u32>; 4],
    /// The most that there ever were of half-open connections, and of those that waited.
    most_half_open: Atomic<u32>,
    most_waiting: Atomic<u32>,
}

/// What there is too little of.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Queue {
    /// Room for half-open connections.
    Syn,
    /// Room for half-open connections of that host or network.
    Share,
    /// Room for connections that wait for accept().
    Accept,
    /// SYNs that a network may send in a second.
    Rate,
}

/// What is done about it.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Remedy {
    Cookie,
    /// The oldest half-open connection gives way.
    Evict,
    Drop,
}

impl Floods {
    pub(crate) fn new() -> Self {
        let zero = || Atomic::new(0u32);
        Self {
            second: Atomic::new(0),
            syns: zero(),
            syns_before: zero(),
            told: [zero(), zero(), zero(), zero()],
            most_half_open: zero(),
            most_waiting: zero(),
        }
    }

    /// A SYN has come.
    pub(crate) fn note_syn(&self, now: Instant) {
        let now = now.as_micros() / 1_000_000;
        let second = self.second.read_once();
        // Two processors may both begin the second: some SYNs are not counted then, no harm.
        if second != now {
            let before = match second.wrapping_add(1) == now {
                true => self.syns.load(Relaxed),
                false => 0,
            };
            self.syns_before.store(before, Relaxed);
            self.syns.store(0, Relaxed);
            self.second.store(now, Relaxed);
        }
        self.syns.fetch_add(1, Relaxed);
    }

    /// SYNs in a second: of this one, or of the one before if those were more.
    fn rate(&self) -> u32 {
        self.syns.load(Relaxed).max(self.syns_before.load(Relaxed))
    }

    pub(crate) fn note_half_open(&self, count: u32) {
        raise(&self.most_half_open, count);
    }

    pub(crate) fn note_waiting(&self, count: u32) {
        raise(&self.most_waiting, count);
    }

    /// Whether it is time to tell of that queue's overflow: once in a minute.
    fn may_tell(&self, queue: Queue, now: Instant) -> bool {
        let minute = (now.as_micros() / 60_000_000) as u32;
        let now = minute.wrapping_add(1);
        let told = match queue {
            Queue::Syn => &self.told[0],
            Queue::Accept => &self.told[1],
            Queue::Share => &self.told[2],
            Queue::Rate => &self.told[3],
        };
        if told.read_once() == now {
            return false;
        }
        told.write_once(now);
        true
    }
}

fn raise(most: &Atomic<u32>, count: u32) {
    if most.read_once() < count {
        most.write_once(count);
    }
}

/// An address with a port, as they are written in URLs.
struct Place(Endpoint);

impl kernel::fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.v4() {
            Some(ip) => write!(f, "{}:{}", Ipv4Addr::from(ip), self.0.port),
            None => write!(f, "[{}]:{}", Ipv6Addr::from(self.0.ip), self.0.port),
        }
    }
}

/// Says in the kernel's log that a queue is full, which setting bounds it, and what to do: once in a minute for each queue of a
/// listener, and no more often than the kernel's network code may. Softirq context.
pub(crate) fn tell(
    namespace: &Namespace,
    listener: &Socket,
    listening: &Listening,
    queue: Queue,
    remedy: Remedy,
    now: Instant,
) {
    if !listening.floods.may_tell(queue, now) || !log::may_write() {
        return;
    }
    let place = Place(unscoped(listener.flow().local()));
    let net = listener.net().number();
    let backlog = listening.backlog();
    let rate = listening.floods.rate();
    let most = listening.most_half_open(namespace);
    let bound = match queue {
        Queue::Syn if most <= backlog.granted => "net.oxtcp.max_syn_backlog",
        _ if backlog.asked > backlog.granted => "net.oxtcp.somaxconn",
        _ => "the backlog of listen()",
    };
    let done = match remedy {
        Remedy::Cookie => "sending cookies",
        Remedy::Evict => "the oldest give way; net.oxtcp.syncookies=1 would keep them",
        Remedy::Drop => "dropping SYNs; net.oxtcp.syncookies=1 would answer them",
    };
    match queue {
        Queue::Syn => pr_info!(
            "net:[{}] {}: possible SYN flooding: the SYN queue is full ({} half-open), {} SYNs per second, {}. If these are \
             real clients, raise {}, which bounds it.\n",
            net,
            place,
            listening.half_open.count(),
            rate,
            done,
            bound
        ),
        Queue::Share => pr_info!(
            "net:[{}] {}: possible SYN flooding from one network: it has its share of the SYN queue ({} half-open of {}), {} \
             SYNs per second, {}. If these are real clients, raise net.oxtcp.syn_host_share and syn_net_share.\n",
            net,
            place,
            listening.half_open.count(),
            most,
            rate,
            done
        ),
        Queue::Rate => pr_info!(
            "net:[{}] {}: possible SYN flooding from one network: more than {} SYNs per second of it, {} SYNs per second of all, \
             dropping its SYNs. If these are real clients, raise net.oxtcp.syn_net_rate, which bounds it.\n",
            net,
            place,
            namespace.sysctls.syn_net_rate(),
            rate
        ),
        Queue::Accept => pr_info!(
            "net:[{}] {}: the accept queue is full ({} waiting), {} SYNs per second, dropping SYNs. The program does not \
             accept() fast enough; if it is only bursts, raise {}, which bounds it.\n",
            net,
            place,
            listening.waiting(),
            rate,
            bound
        ),
    }
}
