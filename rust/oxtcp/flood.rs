// SPDX-License-Identifier: GPL-2.0

//! A listener's queues when they overflow: what is counted, and what is said in the kernel's log.

use core::net::{Ipv4Addr, Ipv6Addr};

use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};

use oxtcp_engine::Instant;

use crate::backlog::{Named, Setting};
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
    /// The second from which on a queue's overflow may be told again.
    told: [Atomic<u32>; 5],
    /// The most that there ever were of half-open connections, and of those that waited.
    most_half_open: Atomic<u32>,
    most_waiting: Atomic<u32>,
}

/// What there is too little of.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Queue {
    /// Room for half-open connections.
    Syn = 0,
    /// Room for half-open connections of that host.
    HostShare = 1,
    /// Of that network.
    NetShare = 2,
    /// Room for connections that wait for accept().
    Accept = 3,
    /// SYNs that a network may send in a second.
    Rate = 4,
}

/// What is done about it.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Remedy {
    Cookie = 0,
    /// The oldest half-open connection gives way.
    Evict = 1,
    Drop = 2,
    /// SYNs are dropped, and who completes a handshake is reset.
    Reset = 3,
}

impl Floods {
    pub(crate) fn new() -> Self {
        let zero = || Atomic::new(0u32);
        Self {
            second: Atomic::new(0),
            syns: zero(),
            syns_before: zero(),
            told: [zero(), zero(), zero(), zero(), zero()],
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

    /// When that queue's overflow may be told again.
    fn told(&self, queue: Queue) -> &Atomic<u32> {
        let [syn, host, net, accept, rate] = &self.told;
        match queue {
            Queue::Syn => syn,
            Queue::HostShare => host,
            Queue::NetShare => net,
            Queue::Accept => accept,
            Queue::Rate => rate,
        }
    }
}

/// Whether it is time to tell again; then nobody else does for `pause` seconds.
fn is_due(told: &Atomic<u32>, second: u32, pause: u32) -> bool {
    let due = told.read_once();
    second >= due
        && told
            .cmpxchg(due, second.saturating_add(pause), Relaxed)
            .is_ok()
}

fn raise(most: &Atomic<u32>, count: u32) {
    let mut old = most.read_once();
    while old < count {
        match most.cmpxchg(old, count, Relaxed) {
            Ok(_) => return,
            Err(now) => old = now,
        }
    }
}

/// An address with a port, as they are written in URLs.
struct Place(Endpoint);

impl kernel::fmt::Display for Place {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        match self.0.v4() {
            Some(ip) => write!(f, "{}:{}", Ipv4Addr::from(ip), self.0.port),
            None => write!(f, "[{}]:{}", Ipv6Addr::from(self.0.ip), self.0.port),
        }
    }
}

/// What is told of a queue that is full.
struct Overflow {
    queue: Queue,
    remedy: Remedy,
    /// How many are in it, and the most that may be; of a share how many are in all of the SYN queue.
    length: u32,
    most: u32,
    /// What bounds it.
    setting: Setting,
    value: u32,
    /// SYNs in a second.
    rate: u32,
}

impl Overflow {
    fn new(namespace: &Namespace, listening: &Listening, queue: Queue, remedy: Remedy) -> Self {
        let half_open = (
            listening.half_open.count(),
            listening.most_half_open(namespace),
        );
        let backlog = listening.backlog();
        let ((length, most), setting) = match queue {
            Queue::Syn => (half_open, listening.half_open_setting(namespace)),
            Queue::HostShare => (half_open, Setting::SynHostShare),
            Queue::NetShare => (half_open, Setting::SynNetShare),
            Queue::Accept => {
                let waiting = (listening.waiting(), backlog.granted().saturating_add(1));
                (waiting, backlog.setting())
            }
            Queue::Rate => (half_open, Setting::SynNetRate),
        };
        Self {
            queue,
            remedy,
            length,
            most,
            setting,
            value: setting.value(namespace, listening),
            rate: listening.floods.rate(),
        }
    }
}

/// Says that a queue is full, which setting bounds it, and what to do: in the kernel's log once in a minute for each queue of a listener, and no more
/// often than the kernel's network code may. Softirq context.
pub(crate) fn tell(
    namespace: &Namespace,
    listener: &Socket,
    listening: &Listening,
    queue: Queue,
    remedy: Remedy,
    now: Instant,
) {
    /// Seconds between two lines, and after one that the kernel did not let through.
    const PAUSE: u32 = 60;
    const RETRY: u32 = 1;
    let second = (now.as_micros() / 1_000_000) as u32;
    let told = listening.floods.told(queue);
    if !is_due(told, second, RETRY) || !log::may_write() {
        return;
    }
    told.write_once(second.saturating_add(PAUSE));
    let overflow = Overflow::new(namespace, listening, queue, remedy);
    write(listener, &overflow);
}

/// The line in the kernel's log.
#[cold]
#[inline(never)]
fn write(listener: &Socket, overflow: &Overflow) {
    let place = Place(unscoped(listener.flow().local()));
    let net = listener.net().number();
    let &Overflow {
        queue,
        remedy,
        length,
        most,
        setting,
        value,
        rate,
    } = overflow;
    let bound = Named(setting, value);
    let done = match (queue, remedy) {
        (_, Remedy::Cookie) => "sending cookies",
        (_, Remedy::Evict) => "the oldest give way; net.oxtcp.syncookies=1 would keep them",
        (_, Remedy::Reset) => "dropping SYNs and resetting who completes a handshake, as net.oxtcp.abort_on_overflow is 1",
        (Queue::Accept, Remedy::Drop) => "dropping SYNs and the ACKs that complete handshakes",
        (_, Remedy::Drop) => "dropping SYNs; net.oxtcp.syncookies=1 would answer them",
    };
    match queue {
        Queue::Syn => pr_info!(
            "net:[{}] {}: possible SYN flooding: the SYN queue is full ({} half-open of {}), {} SYNs per second, {}. If these are \
             real clients, raise {}.\n",
            net,
            place,
            length,
            most,
            rate,
            done,
            bound
        ),
        Queue::HostShare | Queue::NetShare => pr_info!(
            "net:[{}] {}: possible SYN flooding from one {}: it has its share of the SYN queue ({} half-open of {}), {} SYNs per \
             second, {}. If these are real clients, raise {}.\n",
            net,
            place,
            match queue {
                Queue::HostShare => "host",
                _ => "network",
            },
            length,
            most,
            rate,
            done,
            bound
        ),
        Queue::Rate => pr_info!(
            "net:[{}] {}: possible SYN flooding from one network: more than {} SYNs per second of it, {} SYNs per second of all, \
             dropping its SYNs. If these are real clients, raise {}.\n",
            net,
            place,
            value,
            rate,
            bound
        ),
        Queue::Accept => pr_info!(
            "net:[{}] {}: the accept queue is full ({} waiting), {} SYNs per second, {}. The program does not accept() fast \
             enough; if it is only bursts, raise {}.\n",
            net,
            place,
            length,
            rate,
            done,
            bound
        ),
    }
}
