// SPDX-License-Identifier: GPL-2.0

//! Whether a SYN is let in: the rate of its network, the listener's queues and the shares in them, and what is counted and told when there is
//! too little. Softirq context; takes no lock of the listener.

use kernel::sync::rcu;

use oxtcp_engine::{pressure, Instant};

use crate::counters::Counter;
use crate::flood::{self, Queue, Remedy};
use crate::half_open;
use crate::listening::{Life, Listening};
use crate::namespace::Namespace;
use crate::protocol::Socket;
use crate::sys::table::FlowKey;
use crate::trace::Bound;

/// What becomes of a SYN that is let in.
pub(crate) enum Admission {
    /// A half-open connection, unless there are so many.
    Keep(u32),
    /// A cookie, and why.
    Cookie(Bound),
}

/// What becomes of a SYN (Linux's `tcp_conn_request()`). One that `reopens` a connection in TIME-WAIT has no limit but the accept queue's.
///
/// # Errors
///
/// What there is too little of to let it in.
pub(crate) fn admit(
    namespace: &Namespace,
    listener: &Socket,
    listening: &Listening,
    (key, life): (&FlowKey, Life),
    reopens: bool,
    now: Instant,
) -> Result<Admission, Bound> {
    // No room: the peer's SYN will come again, and nobody has to give way to it.
    if listening.is_full() {
        overflows(namespace, listener, listening, now);
        return Err(Bound::AcceptQueue);
    }
    if reopens {
        return Ok(Admission::Keep(u32::MAX));
    }
    let most = listening.most_half_open(namespace);
    let shortage = shortage(namespace, listening, key, most);
    let bound = bound_of(shortage);
    match (namespace.sysctls.syncookies(), shortage) {
        (0 | 1, None) => Ok(Admission::Keep(most)),
        (0, Some(Queue::Syn)) if make_room(namespace, listener, listening, life, now) => {
            Ok(Admission::Keep(most))
        }
        (0, Some(queue)) => {
            note_share(namespace, queue);
            namespace.counters.count(Counter::TCPReqQFullDrop);
            flood::tell(namespace, listener, listening, queue, Remedy::Drop, now);
            Err(bound)
        }
        (_, shortage) => {
            note_cookie(namespace, listener, listening, shortage, now);
            Ok(Admission::Cookie(bound))
        }
    }
}

/// Counts a SYN; says whether it is to be heard: its network may send so many, but for one that `reopens` a connection in TIME-WAIT. Softirq context.
pub(crate) fn note_syn(
    namespace: &Namespace,
    listener: &Socket,
    listening: &Listening,
    key: &FlowKey,
    reopens: bool,
    now: Instant,
) -> bool {
    listening.floods.note_syn(now);
    let exceeds = !reopens && namespace.syn_rate_is_exceeded(key);
    if exceeds {
        namespace.counters.count(Counter::SynRateExceeded);
        flood::tell(
            namespace,
            listener,
            listening,
            Queue::Rate,
            Remedy::Drop,
            now,
        );
    }
    !exceeds
}

/// What a SYN is answered with a cookie for, as the tracepoints tell it.
fn bound_of(shortage: Option<Queue>) -> Bound {
    match shortage {
        Some(Queue::HostShare | Queue::NetShare) => Bound::Share,
        Some(_) => Bound::SynQueue,
        None => Bound::Always,
    }
}

/// What there is too little of for a SYN of that flow, if there is.
fn shortage(
    namespace: &Namespace,
    listening: &Listening,
    key: &FlowKey,
    most: u32,
) -> Option<Queue> {
    let count = listening.half_open.count();
    let is_full = count >= most;
    // Nobody has to give way to a cookie.
    if is_full && namespace.sysctls.syncookies() != 0 {
        return Some(Queue::Syn);
    }
    // Nor to who has more than others.
    share_that_is_used_up(namespace, listening, key, count, most).or(is_full.then_some(Queue::Syn))
}

/// Whether a SYN of that flow is one to be answered with a cookie, as [`admit`] would have it. Changes nothing. Softirq context.
pub(crate) fn cookie_is_due(namespace: &Namespace, listening: &Listening, key: &FlowKey) -> bool {
    if listening.half_open.life().is_none() || listening.is_full() {
        return false;
    }
    let most = listening.most_half_open(namespace);
    match namespace.sysctls.syncookies() {
        0 => false,
        1 => shortage(namespace, listening, key, most).is_some(),
        _ => true,
    }
}

/// Other processors have filled the SYN queue since [`admit`] let a SYN in: why it gets a cookie, if there are any. `None` also if that life of the
/// listener is over.
pub(crate) fn cookie_instead(
    namespace: &Namespace,
    listener: &Socket,
    listening: &Listening,
    life: Life,
    now: Instant,
) -> Option<Bound> {
    if namespace.sysctls.syncookies() == 0 || !listening.half_open.lives(life) {
        return None;
    }
    let shortage = Some(Queue::Syn);
    note_cookie(namespace, listener, listening, shortage, now);
    Some(bound_of(shortage))
}

/// A SYN is to be answered with a cookie, for want of `shortage`: counts it, and tells of it. Softirq context.
fn note_cookie(
    namespace: &Namespace,
    listener: &Socket,
    listening: &Listening,
    shortage: Option<Queue>,
    now: Instant,
) {
    namespace.counters.count(Counter::TCPReqQFullDoCookies);
    namespace.note_cookie_due();
    let Some(queue) = shortage else {
        return;
    };
    note_share(namespace, queue);
    // With 2 it is meant to be so.
    if namespace.sysctls.syncookies() == 1 {
        flood::tell(namespace, listener, listening, queue, Remedy::Cookie, now);
    }
}

fn note_share(namespace: &Namespace, queue: Queue) {
    if matches!(queue, Queue::HostShare | Queue::NetShare) {
        namespace.counters.count(Counter::SynShareExceeded);
    }
}

/// The share of the SYN queue that the peer's host or network has already.
fn share_that_is_used_up(
    namespace: &Namespace,
    listening: &Listening,
    key: &FlowKey,
    count: u32,
    most: u32,
) -> Option<Queue> {
    let sysctls = &namespace.sysctls;
    // What nobody could exceed needs no look at the counters.
    if !pressure::is_too_many(u32::MAX, count, most, 0) {
        return None;
    }
    let (host, network) = listening.crowds.count(namespace, key);
    let share = |percent: i32| u8::try_from(percent).unwrap_or(100);
    let shares = [
        (Queue::HostShare, host, sysctls.syn_host_share()),
        (Queue::NetShare, network, sysctls.syn_net_share()),
    ];
    let used_up = shares.into_iter().find(|&(_, of_prefix, percent)| {
        pressure::is_too_many(of_prefix, count, most, share(percent))
    });
    used_up.map(|(queue, ..)| queue)
}

/// Lets the oldest half-open connection of a full SYN queue give way, if it is to be so.
fn make_room(
    namespace: &Namespace,
    listener: &Socket,
    listening: &Listening,
    life: Life,
    now: Instant,
) -> bool {
    let rcu = rcu::read_lock();
    let Some(recent) = listening.recent.get(&rcu) else {
        return false;
    };
    if namespace.sysctls.syn_cache() == 0 {
        return false;
    }
    flood::tell(
        namespace,
        listener,
        listening,
        Queue::Syn,
        Remedy::Evict,
        now,
    );
    let made = recent.evict(|oldest| half_open::evict(namespace, listener, life, oldest));
    if made {
        namespace.counters.count(Counter::SynCacheEvicted);
    }
    made
}

/// The accept queue has no room. Softirq context.
pub(crate) fn overflows(
    namespace: &Namespace,
    listener: &Socket,
    listening: &Listening,
    now: Instant,
) {
    namespace.counters.count(Counter::ListenOverflows);
    let remedy = match namespace.sysctls.abort_on_overflow() {
        0 => Remedy::Drop,
        _ => Remedy::Reset,
    };
    flood::tell(namespace, listener, listening, Queue::Accept, remedy, now);
}
