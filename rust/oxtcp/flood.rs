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
use crate::sys::table::{Endpoint, FlowKey};
use crate::sys::trace::Overflow as Event;
use crate::trace::{self, Bound, Decision};

/// Figures of one listener. Atomic words, each for itself; any context.
pub(crate) struct Floods {
    /// SYNs of the second that began at `second`, and of the one before.
    second: Atomic<u64>,
    syns: Atomic<u32>,
    syns_before: Atomic<u32>,
    /// When each queue's overflow may be told again.
    told: [Told; 5],
    /// By [`Fate`].
    fates: [Atomic<u64>; Fate::COUNT],
    /// The most that there ever were of half-open connections, and of those that waited.
    most_half_open: Atomic<u32>,
    most_waiting: Atomic<u32>,
}

/// The seconds from which on an overflow may be told again: in the kernel's log, and to who traces.
struct Told {
    line: Atomic<u32>,
    event: Atomic<u32>,
}

impl Told {
    const fn new() -> Self {
        Self {
            line: Atomic::new(0),
            event: Atomic::new(0),
        }
    }
}

/// What became of SYNs, handshakes and half-open connections that did not go their way, as sock_diag counts them: first those that were dropped, by
/// what there was too little of.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Fate {
    SynQueue = 0,
    Share = 1,
    AcceptQueue = 2,
    Rate = 3,
    Route = 4,
    Memory = 5,
    Reset = 6,
    Cookie = 7,
    Evicted = 8,
    Expired = 9,
}

impl Fate {
    const COUNT: usize = 10;

    fn of(decision: Decision, bound: Bound) -> Option<Self> {
        Some(match (decision, bound) {
            (Decision::Dropped, Bound::SynQueue) => Fate::SynQueue,
            (Decision::Dropped, Bound::Share) => Fate::Share,
            (Decision::Dropped, Bound::AcceptQueue) => Fate::AcceptQueue,
            (Decision::Dropped, Bound::Rate) => Fate::Rate,
            (Decision::Dropped, Bound::Route) => Fate::Route,
            (Decision::Dropped, Bound::Memory) => Fate::Memory,
            (Decision::Reset, _) => Fate::Reset,
            (Decision::Cookie, _) => Fate::Cookie,
            (Decision::Evicted, _) => Fate::Evicted,
            (Decision::Expired, _) => Fate::Expired,
            _ => return None,
        })
    }
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
            told: [const { Told::new() }; 5],
            fates: [const { Atomic::new(0) }; Fate::COUNT],
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
    fn rate(&self, now: Instant) -> u32 {
        let second = self.second.read_once();
        match (now.as_micros() / 1_000_000).saturating_sub(second) {
            0 => self.syns.load(Relaxed).max(self.syns_before.load(Relaxed)),
            1 => self.syns.load(Relaxed),
            _ => 0,
        }
    }

    /// The socket begins to listen, perhaps again. Process context.
    pub(crate) fn begin(&self) {
        for word in [&self.most_half_open, &self.most_waiting] {
            word.store(0, Relaxed);
        }
        for word in &self.fates {
            word.store(0, Relaxed);
        }
    }

    /// A listener has decided.
    pub(crate) fn count(&self, decision: Decision, bound: Bound) {
        let fate = Fate::of(decision, bound);
        if let Some(word) = fate.and_then(|fate| self.fates.get(fate as usize)) {
            word.fetch_add(1, Relaxed);
        }
    }

    pub(crate) fn note_half_open(&self, count: u32) {
        raise(&self.most_half_open, count);
    }

    pub(crate) fn note_waiting(&self, count: u32) {
        raise(&self.most_waiting, count);
    }

    /// When that queue's overflow may be told again.
    fn told(&self, queue: Queue) -> &Told {
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
    fn new(
        namespace: &Namespace,
        listening: &Listening,
        queue: Queue,
        remedy: Remedy,
        now: Instant,
    ) -> Self {
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
            rate: listening.floods.rate(now),
        }
    }
}

/// How many words there are of [`figures`].
pub(crate) const FIGURES: usize = 10 + Fate::COUNT;

/// What a listener's queues hold and held, what bounds them, and what became of what did not fit, since it began to listen. sock_diag tells it in this order
/// (Documentation/syn-floods.md). Any context.
pub(crate) fn figures(
    namespace: &Namespace,
    listening: &Listening,
    now: Instant,
) -> [u64; FIGURES] {
    let backlog = listening.backlog();
    let floods = &listening.floods;
    let heads = [
        listening.half_open.count(),
        listening.most_half_open(namespace),
        floods.most_half_open.load(Relaxed),
        listening.half_open_setting(namespace) as u32,
        listening.waiting(),
        backlog.granted().saturating_add(1),
        floods.most_waiting.load(Relaxed),
        backlog.setting() as u32,
        backlog.asked,
        floods.rate(now),
    ];
    let mut words = [0; FIGURES];
    let (first, rest) = words.split_at_mut(heads.len());
    first.copy_from_slice(&heads.map(u64::from));
    for (word, fate) in rest.iter_mut().zip(&floods.fates) {
        *word = fate.load(Relaxed);
    }
    words
}

/// A listener has decided about the flow `key`: counts it, and tells those who trace. Any context.
pub(crate) fn decided(
    namespace: &Namespace,
    listener: &Socket,
    listening: &Listening,
    key: &FlowKey,
    decision: Decision,
    bound: Bound,
) {
    listening.floods.count(decision, bound);
    trace::decided(namespace, listener, listening, key, decision, bound);
}

/// Says that a queue is full, which setting bounds it, and what to do: in the kernel's log once in a minute for each queue of a listener, and no more
/// often than the kernel's network code may; to those who trace once in a second. Softirq context.
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
    /// The same between two events.
    const EVENT: u32 = 1;
    let second = (now.as_micros() / 1_000_000) as u32;
    let told = listening.floods.told(queue);
    let event = trace::watches_overflows() && is_due(&told.event, second, EVENT);
    let line = is_due(&told.line, second, RETRY) && log::may_write();
    if !event && !line {
        return;
    }
    let overflow = Overflow::new(namespace, listening, queue, remedy, now);
    if line {
        told.line.write_once(second.saturating_add(PAUSE));
        write(listener, &overflow);
    }
    if event {
        trace::overflows(listener, &overflow.event());
    }
}

impl Overflow {
    fn event(&self) -> Event {
        Event {
            length: self.length,
            most: self.most,
            value: self.value,
            rate: self.rate,
            queue: self.queue as u8,
            setting: self.setting as u8,
            remedy: self.remedy as u8,
        }
    }
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
