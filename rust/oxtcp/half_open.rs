// SPDX-License-Identifier: GPL-2.0

//! The small objects: connections that are half open, and those in TIME-WAIT.
//!
//! Each is 128 bytes in all, in the flow table under its own lock, with a timer. Softirq context unless
//! said otherwise.

use kernel::sync::aref::ARef;
use kernel::sync::atomic::Relaxed;
use kernel::sync::rcu;

use oxtcp_engine::request::{Request, RequestTimer, RequestVerdict};
use oxtcp_engine::time_wait::{TimeWait, TimeWaitVerdict};
use oxtcp_engine::{reply, Segment, Transmit, TransmitKind};

use crate::input::{find_listener, Arrival};
use crate::listener;
use crate::namespace::{context, Namespace};
use crate::output;
use crate::ports::PortRef;
use crate::protocol::{tcp_state, Socket, Tcp};
use crate::sys::net::{Net, PerNet};
use crate::sys::skb::SkBuff;
use crate::sys::table::{self, FlowKey, MiniBody, MiniGuard};
use crate::sys::time::Jiffies;

/// What a small object is.
pub(crate) enum Mini {
    /// A SYN has come and was answered.
    HalfOpen {
        request: Request,
        listener: ARef<Socket>,
    },
    /// Both sides have closed.
    TimeWait {
        time_wait: TimeWait,
        port: PortRef,
        /// The socket was an IPv6 one (which may have spoken IPv4).
        v6: bool,
    },
}

/// The design allows 128 bytes, with a timer of 40 (which lockdep makes larger).
const _: () = assert!(table::mini_size_with_timer_of::<Tcp>(40) <= 128);

impl MiniBody<Tcp> for Mini {
    fn on_timer(mut this: MiniGuard<'_, Tcp>) {
        let key = this.key();
        match &mut *this {
            Mini::HalfOpen { request, listener } => {
                let listener = listener.clone();
                let namespace = Namespace::get(listener.net());
                let config = namespace.config();
                if listener.state() != tcp_state::LISTEN {
                    remove(this, namespace);
                    return;
                }
                match request.on_timer(&context(&config)) {
                    RequestTimer::Resend(syn_ack) => {
                        let next = request.next_timeout().as_micros();
                        this.set_timer(Jiffies::after_micros(next));
                        drop(this);
                        let (oif, mark) = listener::reply_path(&listener, &key);
                        // A lost SYN-ACK is sent again by the next timer.
                        let _ = output::reply(listener.net(), &key, oif, mark, syn_ack);
                    }
                    RequestTimer::Expire => remove(this, namespace),
                }
            }
            Mini::TimeWait { port, .. } => {
                let port = port.child();
                remove(this, Namespace::get(port.net()));
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
    match this.remove(&namespace.table) {
        Some(Mini::HalfOpen { listener, .. }) => {
            listener.shared().half_open.fetch_sub(1, Relaxed);
        }
        Some(Mini::TimeWait { .. }) => namespace.release_time_wait(),
        None => {}
    }
}

/// Whose a half-open connection is; `None` for a TIME-WAIT.
pub(crate) fn listener_of(mini: &table::Mini<Tcp>) -> Option<ARef<Socket>> {
    match &*mini.lock()? {
        Mini::HalfOpen { listener, .. } => Some(listener.clone()),
        Mini::TimeWait { .. } => None,
    }
}

/// A segment for the flow of a small object.
pub(crate) fn segment(
    net: &Net,
    namespace: &Namespace,
    mini: &table::Mini<Tcp>,
    segment: &Segment,
    skb: SkBuff,
    header_len: u32,
    arrival: Arrival,
) {
    let key = mini.key();
    let config = namespace.config();
    let cx = context(&config);
    // Gone in this moment, with the connection in its place perhaps: the peer will send again.
    let Some(mut guard) = mini.lock() else {
        return;
    };
    match &mut *guard {
        Mini::HalfOpen { request, listener } => {
            let listener = listener.clone();
            match request.on_segment(&cx, segment) {
                RequestVerdict::Complete => {
                    listener::complete(namespace, guard, &listener, &cx, segment, skb, header_len);
                }
                RequestVerdict::Resend(answer) | RequestVerdict::Reply(answer) => {
                    drop(guard);
                    let (oif, mark) = listener::reply_path(&listener, &key);
                    send(net, namespace, &key, oif, mark, answer);
                }
                RequestVerdict::Drop => remove(guard, namespace),
                RequestVerdict::Ignore => {}
            }
        }
        Mini::TimeWait { time_wait, .. } => match time_wait.on_segment(&cx, segment) {
            TimeWaitVerdict::Ignore => {}
            TimeWaitVerdict::Ack(answer) => {
                drop(guard);
                send(net, namespace, &key, scope_of(&key, arrival), 0, answer);
            }
            TimeWaitVerdict::Restart(answer) => {
                guard.set_timer(time_wait_end());
                drop(guard);
                send(net, namespace, &key, scope_of(&key, arrival), 0, answer);
            }
            TimeWaitVerdict::Reset(answer) => {
                remove(guard, namespace);
                send(net, namespace, &key, scope_of(&key, arrival), 0, answer);
            }
            TimeWaitVerdict::Reopen { iss_after } => {
                let rcu = rcu::read_lock();
                let Some(listener) = find_listener(namespace, key.local(), arrival, &rcu) else {
                    drop(guard);
                    if let Some(reset) = reply::closed(segment) {
                        send(net, namespace, &key, scope_of(&key, arrival), 0, reset);
                    }
                    return;
                };
                remove(guard, namespace);
                listener::segment(
                    net,
                    namespace,
                    &listener,
                    key,
                    segment,
                    arrival,
                    Some(iss_after),
                );
            }
            TimeWaitVerdict::Kill => remove(guard, namespace),
        },
    }
}

/// The interface for answers to a link-local address.
pub(crate) fn scope_of(key: &FlowKey, arrival: Arrival) -> i32 {
    if output::is_link_local(&key.remote().ip) {
        arrival.ifindex
    } else {
        0
    }
}

fn send(net: &Net, namespace: &Namespace, key: &FlowKey, oif: i32, mark: u32, answer: Transmit) {
    if answer.kind == TransmitKind::ChallengeAck && !namespace.may_challenge() {
        return;
    }
    // An answer that cannot be sent is one that was lost.
    let _ = output::reply(net, key, oif, mark, answer);
}
