// SPDX-License-Identifier: GPL-2.0

//! The small objects: connections that are half open, those in TIME-WAIT, and those in FIN-WAIT-2 that no program has.
//!
//! Each is 128 bytes in all, in the flow table under its own lock, with a timer. Softirq context unless
//! said otherwise.

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::rcu;

use oxtcp_engine::connection::TimerKind;
use oxtcp_engine::request::{Request, RequestTimer, RequestVerdict};
use oxtcp_engine::time_wait::{TimeWait, TimeWaitVerdict};
use oxtcp_engine::{pressure, reply, Happening, Segment, SeqNum, Transmit, TransmitKind};

use crate::ao::{Handshake, Ids, Isns};
use crate::counters::Counter;
use crate::flood;
use crate::group::Group;
use crate::input::{find_listener, finish, Arrival};
use crate::keys::{self, Secret};
use crate::listener;
use crate::listening::{self, Life};
use crate::namespace::Namespace;
use crate::output;
use crate::ports::PortRef;
use crate::protocol::{Socket, Tcp};
use crate::signing::Signer;
use crate::sys::drop_reason::DropReason;
use crate::sys::net::Net;
use crate::sys::route::{Manner, Route};
use crate::sys::skb::SkBuff;
use crate::sys::sock::SkState;
use crate::sys::table::{self, FlowKey, Found, MiniBody, MiniGuard};
use crate::sys::time::Jiffies;
use crate::trace::{self, Bound, Cause, Decision, Shown};

/// What a small object is.
pub(crate) enum Mini {
    /// A SYN has come and was answered.
    HalfOpen {
        request: Request,
        listener: ARef<Socket>,
        /// The listener's at that time: in another it is not the listener's any more.
        life: Life,
        /// The SYN was signed with TCP-AO; the numbers of the keys are the object's note.
        signed: bool,
    },
    /// Both sides have closed; or ours has, and no program waits for the peer's end (FIN-WAIT-2).
    TimeWait {
        time_wait: TimeWait,
        port: PortRef,
        /// The socket was an IPv6 one (which may have spoken IPv4).
        v6: bool,
    },
    /// The same, of a connection with signatures.
    SignedTimeWait {
        time_wait: TimeWait,
        kept: KBox<Kept>,
        v6: bool,
    },
}

/// What a TIME-WAIT has no room for.
pub(crate) struct Kept {
    port: PortRef,
    secret: Secret,
}

/// The design allows 128 bytes, with a timer of 40 (which lockdep makes larger).
const _: () = assert!(table::mini_size_with_timer_of::<Tcp>(40) <= 128);

impl MiniBody<Tcp> for Mini {
    fn on_timer(mut this: MiniGuard<'_, Tcp>) {
        let key = this.key();
        match &mut *this {
            Mini::HalfOpen { listener, life, .. } => {
                let (first, begun) = (listener.clone(), *life);
                let namespace = first.per_net();
                let lives = listening::of(&first).is_some_and(|l| l.half_open.lives(begun));
                let now = match lives {
                    true => Some((first.clone(), begun)),
                    false => migrate(&mut this, namespace),
                };
                let Some((listener, life)) = now else {
                    remove(this, namespace);
                    return;
                };
                let Some(listening) = listening::of(&listener).filter(|l| l.half_open.lives(life))
                else {
                    remove(this, namespace);
                    return;
                };
                let ids = ids_of(&this);
                let Mini::HalfOpen { request, .. } = &mut *this else {
                    return;
                };
                let handshake = handshake_of(request, ids);
                let mut config = namespace.config();
                let defer = listening.defer_accept();
                config.synack_retries = pressure::synack_retries(
                    config.synack_retries,
                    listening.half_open.count(),
                    listening.most_half_open(namespace),
                );
                let cx = namespace.context(&config);
                namespace.counters.count(Happening::TCPTimeouts);
                match request.on_timer_deferring(&cx, defer) {
                    RequestTimer::Resend(syn_ack) => {
                        trace::mini_timer(listener.net(), &key, trace::SYN_ACK);
                        let next = request.next_timeout(&cx).as_micros();
                        this.set_timer(Jiffies::after_micros(next));
                        drop(this);
                        let (oif, manner) = listener::reply_path(&listener, &key);
                        let rcu = rcu::read_lock();
                        let signer = keys::signer_to(&listener, &key, oif, handshake, &rcu);
                        // A lost SYN-ACK is sent again by the next timer.
                        let sent = output::reply(
                            (listener.net(), namespace),
                            &key,
                            oif,
                            manner,
                            syn_ack,
                            Cause::SynAckRetransmit,
                            signer,
                        );
                        count_again(namespace, sent);
                    }
                    RequestTimer::Wait => {
                        let next = request.next_timeout(&cx).as_micros();
                        this.set_timer(Jiffies::after_micros(next));
                    }
                    RequestTimer::Expire => {
                        let decision = Decision::Expired;
                        remove(this, namespace);
                        flood::decided(
                            namespace,
                            &listener,
                            listening,
                            &key,
                            decision,
                            Bound::None,
                        );
                    }
                }
            }
            Mini::TimeWait { .. } | Mini::SignedTimeWait { .. } => {
                let Some(port) = this.port().map(PortRef::child) else {
                    return;
                };
                let rcu = rcu::read_lock();
                // A namespace that has shut its doors takes its TIME-WAITs with it.
                let Some(net) = port.net(&rcu) else {
                    return;
                };
                if let Some(namespace) = net.get::<Namespace>(&rcu) {
                    trace::mini_timer(net, &key, trace::number(this.timer_kind()));
                    remove(this, namespace);
                }
            }
        }
    }
}

/// When a TIME-WAIT that begins now ends.
pub(crate) fn time_wait_end() -> Jiffies {
    Jiffies::after_micros(TimeWait::LENGTH.as_micros())
}

/// Takes an object out of its table, and out of the counts.
pub(crate) fn remove(this: MiniGuard<'_, Tcp>, namespace: &Namespace) {
    let key = this.key();
    match this.remove(&namespace.table) {
        Some(Mini::HalfOpen { listener, life, .. }) => {
            trace::mini_state(listener.net(), &key, SkState::SYN_RECV, SkState::CLOSE);
            if let Some(listening) = listening::of(&listener) {
                listening.leave(namespace, &key, life);
            }
        }
        Some(mini @ (Mini::TimeWait { .. } | Mini::SignedTimeWait { .. })) => {
            mini.tell_end(&key);
            namespace.release_time_wait();
        }
        None => {}
    }
}

impl Mini {
    /// Whether this is a half-open connection whose listener does not listen any more.
    pub(crate) fn is_stale(&self) -> bool {
        match self {
            Mini::HalfOpen { listener, life, .. } => {
                !listening::of(listener).is_some_and(|l| l.half_open.lives(*life))
            }
            Mini::TimeWait { .. } | Mini::SignedTimeWait { .. } => false,
        }
    }

    /// A TIME-WAIT, or a connection in FIN-WAIT-2, with what signs its segments. GFP_ATOMIC.
    ///
    /// # Errors
    ///
    /// ENOMEM.
    pub(crate) fn time_wait(
        time_wait: TimeWait,
        port: PortRef,
        v6: bool,
        secret: Option<Secret>,
    ) -> Result<Self> {
        Ok(match secret {
            None => Mini::TimeWait {
                time_wait,
                port,
                v6,
            },
            Some(secret) => Mini::SignedTimeWait {
                time_wait,
                kept: KBox::new(Kept { port, secret }, GFP_ATOMIC)?,
                v6,
            },
        })
    }

    /// What state a TIME-WAIT is in, for those who look.
    fn shown(&self) -> Shown {
        match self {
            Mini::HalfOpen { .. } => SkState::SYN_RECV.into(),
            Mini::TimeWait { time_wait, .. } | Mini::SignedTimeWait { time_wait, .. } => {
                match time_wait.awaits_fin() {
                    true => SkState::FIN_WAIT2.into(),
                    false => Shown::TIME_WAIT,
                }
            }
        }
    }

    /// The timer of a TIME-WAIT.
    fn timer_kind(&self) -> TimerKind {
        match self.shown() == Shown::TIME_WAIT {
            true => TimerKind::TimeWait,
            false => TimerKind::FinWait2,
        }
    }

    /// Tells those who trace that a TIME-WAIT is over.
    pub(crate) fn tell_end(&self, key: &FlowKey) {
        let rcu = rcu::read_lock();
        if let Some(net) = self.port().and_then(|port| port.net(&rcu)) {
            trace::mini_state(net, key, self.shown(), SkState::CLOSE);
        }
    }

    /// What holds the port; a half-open connection has nothing of the kind.
    fn port(&self) -> Option<&PortRef> {
        match self {
            Mini::HalfOpen { .. } => None,
            Mini::TimeWait { port, .. } => Some(port),
            Mini::SignedTimeWait { kept, .. } => Some(&kept.port),
        }
    }

    /// What signs the segments of a TIME-WAIT.
    fn secret(&self) -> Option<&Secret> {
        match self {
            Mini::SignedTimeWait { kept, .. } => Some(&kept.secret),
            _ => None,
        }
    }
}

/// Whether it is in FIN-WAIT-2: a SYN does not open a new connection in its place.
pub(crate) fn awaits_fin(mini: &table::Mini<Tcp>) -> bool {
    match mini.lock().as_deref() {
        Some(Mini::TimeWait { time_wait, .. } | Mini::SignedTimeWait { time_wait, .. }) => {
            time_wait.awaits_fin()
        }
        _ => false,
    }
}

/// What signs the segments of a TIME-WAIT, if they are signed.
pub(crate) fn secret_of(mini: &table::Mini<Tcp>) -> Option<Secret> {
    mini.lock()?.secret().cloned()
}

/// What the SYN of a half-open connection was signed with, if it was with TCP-AO.
pub(crate) fn ids_of(guard: &MiniGuard<'_, Tcp>) -> Option<Ids> {
    match &**guard {
        Mini::HalfOpen { signed: true, .. } => Some(Ids::from_note(guard.note())),
        _ => None,
    }
}

/// What a half-open connection is to be signed with.
pub(crate) fn handshake_of(request: &Request, ids: Option<Ids>) -> Handshake {
    Handshake {
        ids,
        isns: Isns {
            local: request.iss(),
            remote: request.irs(),
        },
    }
}

/// The member of the group that is to have what another one has left of the flow `key`: one of the address family of `like`, which is the
/// other one or its child, and not bound to another interface. Any context.
pub(crate) fn heir(
    namespace: &Namespace,
    group: &Group,
    key: &FlowKey,
    like: &Socket,
    rcu: &rcu::Guard,
) -> Option<ARef<Socket>> {
    group.select(&namespace.table, namespace.flow_hash(key), rcu, |member| {
        member.is_v6() == like.is_v6() && [0, like.bound_dev()].contains(&member.bound_dev())
    })
}

/// Lets another one of the group have a half-open connection whose listener does not listen any more: who, and in which life. `None` when there is
/// nobody, or it is not to be so (Linux's `reuseport_migrate_sock()`).
pub(crate) fn migrate(
    guard: &mut MiniGuard<'_, Tcp>,
    namespace: &Namespace,
) -> Option<(ARef<Socket>, Life)> {
    let key = guard.key();
    let Mini::HalfOpen { listener, life, .. } = &mut **guard else {
        return None;
    };
    let group = listening::of(listener)?.heirs(*life)?;
    let rcu = rcu::read_lock();
    for _ in 0..listener::HEIRS {
        let Some(heir) = heir(namespace, &group, &key, listener, &rcu) else {
            break;
        };
        let Some(listening) = listening::of(&heir) else {
            break;
        };
        // It is there already: no limit.
        let begun = listening.half_open.life();
        let begun = begun.filter(|life| listening.enter(namespace, &key, *life, u32::MAX));
        if let Some(begun) = begun {
            namespace.counters.count(Counter::TCPMigrateReqSuccess);
            // The old one is freed by RCU, if this was its last reference.
            *listener = heir.clone();
            *life = begun;
            return Some((heir, begun));
        }
    }
    namespace.counters.count(Counter::TCPMigrateReqFailure);
    None
}

/// Ends the half-open connection `key` of the listener in that life, to make room for another. Whether it was there.
pub(crate) fn evict(namespace: &Namespace, listener: &Socket, life: Life, key: &FlowKey) -> bool {
    let rcu = rcu::read_lock();
    let Some(Found::Mini(mini)) = namespace.table.lookup(key, &rcu) else {
        return false;
    };
    let Some(guard) = mini.lock() else {
        return false;
    };
    let is_its = matches!(&*guard, Mini::HalfOpen { listener: of, life: then, .. }
        if core::ptr::eq(&**of, listener) && *then == life);
    if is_its {
        remove(guard, namespace);
        if let Some(listening) = listening::of(listener) {
            let bound = Bound::SynQueue;
            flood::decided(
                namespace,
                listener,
                listening,
                key,
                Decision::Evicted,
                bound,
            );
        }
    }
    is_its
}

/// Whose a small object is.
pub(crate) enum Whose {
    /// A half-open connection of this listener, for which the segment is.
    Listeners(ARef<Socket>, Handshake),
    /// The same, but the segment acknowledges what that connection has not sent: a cookie, perhaps.
    Misses(ARef<Socket>, Handshake),
    /// A connection that is over.
    Nobodys,
    /// It has left the table in this moment: another object is in its place, or none.
    Gone,
    /// A half-open connection whose listener is gone; it was removed.
    Stale,
}

/// See [`Whose`]. `ack` is the number that a segment acknowledges which has ACK, and neither SYN nor RST.
pub(crate) fn whose(mini: &table::Mini<Tcp>, namespace: &Namespace, ack: Option<SeqNum>) -> Whose {
    let Some(mut guard) = mini.lock() else {
        return Whose::Gone;
    };
    if guard.is_stale() && migrate(&mut guard, namespace).is_none() {
        remove(guard, namespace);
        return Whose::Stale;
    }
    match &*guard {
        Mini::HalfOpen {
            request, listener, ..
        } => {
            let handshake = handshake_of(request, ids_of(&guard));
            match ack {
                Some(ack) if !request.is_acked_by(ack) => {
                    Whose::Misses(listener.clone(), handshake)
                }
                _ => Whose::Listeners(listener.clone(), handshake),
            }
        }
        Mini::TimeWait { .. } | Mini::SignedTimeWait { .. } => Whose::Nobodys,
    }
}

/// A segment for the flow `key` of a small object, which was signed with `ids` if it was with TCP-AO. Comes back when that is gone, with a connection in its place perhaps.
/// The answer goes by `route`, if there is one, in the segment's own packet.
pub(crate) fn segment(
    (net, namespace): (&Net, &Namespace),
    (mini, key): (&table::Mini<Tcp>, &FlowKey),
    (segment, mut skb, header_len): (&Segment, SkBuff, u32),
    (arrival, route): (Arrival, Option<&Route<'_>>),
    signed: Option<Ids>,
) -> Option<SkBuff> {
    let Some(mut guard) = mini.lock() else {
        return Some(skb);
    };
    let rcu = rcu::read_lock();
    let cx = namespace.context(namespace.sysctls.config_under(&rcu));
    trace::arrived_for(net, key, &mut skb, segment, header_len);
    let secret = guard.secret().cloned();
    let signer = secret.as_ref().map_or(Signer::None, Secret::signer);
    let ids = ids_of(&guard);
    let way = |skb: &mut Option<SkBuff>| match route {
        Some(route) => Way::Known(route, skb.take()),
        None => Way::Unknown(scope_of(key, arrival), Manner::default()),
    };
    let mut packet = Some(skb);
    let mut taken = Ok(());
    match &mut *guard {
        Mini::HalfOpen {
            request, listener, ..
        } => {
            let listener = listener.clone();
            let handshake = handshake_of(request, ids);
            match request.on_segment(&cx, segment) {
                RequestVerdict::Complete
                    if request.defers(segment, listener::defers(&listener)) =>
                {
                    namespace.counters.count(Counter::TCPDeferAcceptDrop);
                    if let Some(listening) = listening::of(&listener) {
                        let decision = Decision::Deferred;
                        flood::decided(namespace, &listener, listening, key, decision, Bound::None);
                    }
                }
                RequestVerdict::Complete => {
                    if let Some(skb) = packet {
                        let packet = (segment, skb, header_len);
                        listener::complete(namespace, guard, listener, &cx, packet, route);
                    }
                    return None;
                }
                RequestVerdict::Resend(answer) | RequestVerdict::Reply(answer) => {
                    drop(guard);
                    let (oif, manner) = listener::reply_path(&listener, key);
                    let signer = keys::signer_to(&listener, key, oif, handshake, &rcu);
                    let way = match route.filter(|route| route.is_of(oif, manner)) {
                        Some(route) => Way::Known(route, packet.take()),
                        None => Way::Unknown(oif, manner),
                    };
                    send((net, namespace), key, way, answer, signer);
                }
                RequestVerdict::Drop => {
                    remove(guard, namespace);
                    namespace.counters.count(Counter::AttemptFails);
                    namespace.counters.count(Counter::EmbryonicRsts);
                }
                RequestVerdict::Ignore => taken = Err(DropReason::InvalidSequence),
            }
        }
        Mini::TimeWait { time_wait, .. } | Mini::SignedTimeWait { time_wait, .. } => {
            let before = time_wait.awaits_fin();
            let verdict = time_wait.on_segment(&cx, segment);
            if before && !time_wait.awaits_fin() {
                trace::mini_state(net, key, SkState::FIN_WAIT2, Shown::TIME_WAIT);
            }
            match verdict {
                TimeWaitVerdict::Ignore => {}
                TimeWaitVerdict::Ack(answer) => {
                    drop(guard);
                    send((net, namespace), key, way(&mut packet), answer, signer);
                    taken = Err(DropReason::InvalidSequence);
                }
                TimeWaitVerdict::Restart(answer) => {
                    guard.set_timer(time_wait_end());
                    drop(guard);
                    send((net, namespace), key, way(&mut packet), answer, signer);
                }
                TimeWaitVerdict::Reset(answer) => {
                    remove(guard, namespace);
                    send((net, namespace), key, way(&mut packet), answer, signer);
                    taken = Err(DropReason::AbortOnData);
                }
                TimeWaitVerdict::Reopen { iss_after } => {
                    match find_listener(namespace, key, arrival, &rcu) {
                        Some(listener) => {
                            remove(guard, namespace);
                            taken = listener::segment(
                                net,
                                namespace,
                                &listener,
                                key,
                                (segment, &mut packet),
                                (arrival, route),
                                Some(iss_after),
                                signed,
                            );
                        }
                        None => {
                            drop(guard);
                            if let Some(reset) = reply::closed(segment) {
                                send((net, namespace), key, way(&mut packet), reset, signer);
                            }
                            taken = Err(DropReason::NoSocket);
                        }
                    }
                }
                TimeWaitVerdict::Kill => remove(guard, namespace),
            }
        }
    }
    // Otherwise it has become the answer.
    if let Some(skb) = packet {
        finish(net, key, skb, header_len, taken);
    }
    None
}

/// The interface for answers to a link-local address.
pub(crate) fn scope_of(key: &FlowKey, arrival: Arrival) -> i32 {
    if output::is_link_local(&key.remote().ip) {
        arrival.ifindex
    } else {
        0
    }
}

/// By which way an answer goes.
enum Way<'a> {
    /// This one, in the memory of the packet.
    Known(&'a Route<'a>, Option<SkBuff>),
    /// One that is to be looked up, by that interface unless it is 0.
    Unknown(i32, Manner),
}

fn send(
    (net, namespace): (&Net, &Namespace),
    key: &FlowKey,
    way: Way<'_>,
    answer: Transmit,
    signer: Signer<'_>,
) {
    let may = match answer.kind {
        TransmitKind::ChallengeAck => namespace.may_challenge(),
        TransmitKind::Reset => namespace.may_reset(key),
        _ => true,
    };
    if !may {
        return;
    }
    let cause = match answer.kind {
        // The first went out when the SYN came.
        TransmitKind::SynAck => Cause::SynAckRetransmit,
        _ => Cause::of(&answer),
    };
    // An answer that cannot be sent is one that was lost.
    let sent = match way {
        Way::Known(route, skb) => {
            output::reply_in(namespace, skb, route, key, answer, cause, signer)
        }
        Way::Unknown(oif, manner) => {
            output::reply((net, namespace), key, oif, manner, answer, cause, signer)
        }
    };
    if answer.kind == TransmitKind::SynAck {
        count_again(namespace, sent);
    }
}

/// Counts a SYN-ACK that was to be sent again, if it was.
fn count_again(namespace: &Namespace, sent: Result) {
    if sent.is_ok() {
        namespace.counters.count(Happening::RetransSegs);
        namespace.counters.count(Happening::TCPSynRetrans);
    }
}
