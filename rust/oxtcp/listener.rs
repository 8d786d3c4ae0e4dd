// SPDX-License-Identifier: GPL-2.0

//! Listeners: from a SYN to accept().
//!
//! A SYN makes a half-open object (`half_open`), the ACK that completes the handshake makes the socket,
//! which waits in the listener's accept queue. Neither takes the listener's socket lock.

use kernel::prelude::*;
use kernel::sync::aref::ARef;

use oxtcp_engine::connection::PassiveOpen;
use oxtcp_engine::listen::{self, ListenVerdict};
use oxtcp_engine::request::{Request, RequestOpen};
use oxtcp_engine::{isn, reply, Connection, Context, Segment, SeqNum, SocketOptions};

use crate::half_open::{self, Life, Mini};
use crate::input::Arrival;
use crate::namespace::{context, Namespace};
use crate::output;
use crate::ports::PortRef;
use crate::protocol::{CallOptions, Idle, Owner, Role, Sk, Socket, Tcp};
use crate::sys::errno::eaddrinuse;
use crate::sys::net::Net;
use crate::sys::route::{self, Route};
use crate::sys::skb::SkBuff;
use crate::sys::sock::{Child, Flag, SkState, SockQueue};
use crate::sys::table::{self, Endpoint, FlowKey, MiniGuard};
use crate::sys::time::Jiffies;
use crate::{closing, connect, connection};

/// A listener's connections that wait for accept(). Made when it begins to listen; protected by the
/// lock around it in `Shared`.
pub(crate) struct AcceptQueue {
    queue: SockQueue<Tcp>,
    /// The hold on the port that each connection gets one of too.
    port: PortRef,
    /// The most that may wait.
    backlog: u32,
    /// What the listener's connections begin with.
    options: SocketOptions,
    calls: CallOptions,
    /// For its half-open connections.
    life: Life,
}

impl AcceptQueue {
    /// Whether one more is one too many; as in Linux a backlog of n lets n + 1 wait.
    fn is_full(&self) -> bool {
        self.queue.len() > self.backlog
    }

    /// Connections made from now on begin with these.
    pub(crate) fn set_options(&mut self, options: SocketOptions, calls: CallOptions) {
        self.options = options;
        self.calls = calls;
    }
}

/// How many connections wait for accept(), and how many may. Any context.
pub(crate) fn queue(sock: &Socket) -> (u32, u32) {
    let accept = sock.shared().accept.lock();
    accept
        .as_ref()
        .map_or((0, 0), |accept| (accept.queue.len(), accept.backlog))
}

/// How many connections wait for accept(). Any context.
pub(crate) fn waiting(sock: &Socket) -> u32 {
    let accept = sock.shared().accept.lock();
    accept.as_ref().map_or(0, |accept| accept.queue.len())
}

/// For how many timeouts of a SYN-ACK the listener waits for data (TCP_DEFER_ACCEPT). Any context.
pub(crate) fn defers(sock: &Socket) -> u8 {
    let accept = sock.shared().accept.lock();
    accept
        .as_ref()
        .map_or(0, |accept| accept.calls.defer_accept)
}

/// listen(2). Process context.
pub(crate) fn listen(sk: &mut Owner<'_>, connecting: bool, backlog: i32) -> Result {
    let sock = sk.sock();
    let namespace = output::namespace(sock);
    let limit = u32::try_from(namespace.sysctls.somaxconn()).unwrap_or(0);
    // As the kernel's TCP does, a negative backlog counts as the largest there is.
    let backlog = u32::try_from(backlog).unwrap_or(u32::MAX).min(limit);
    if connecting {
        return Err(EINVAL);
    }
    match (sock.state(), &sk.state().role) {
        (SkState::LISTEN, Role::Listener(_)) => {
            if let Some(accept) = &mut *sock.shared().accept.lock() {
                accept.backlog = backlog;
            }
            return Ok(());
        }
        (SkState::CLOSE, Role::Idle(_)) => {}
        _ => return Err(EINVAL),
    }
    let bound_here = sk.state().port.is_none();
    if bound_here {
        connect::bind(sk, 0)?;
    }
    let result = begin(sk, namespace, backlog);
    if result.is_err() && bound_here {
        connect::unbind(sk);
    }
    result
}

fn begin(sk: &mut Owner<'_>, namespace: &Namespace, backlog: u32) -> Result {
    let sock = sk.sock();
    let state = sk.state();
    let options = state.options();
    let port = state.port.as_ref().ok_or(EINVAL)?;
    port.start_listen()?;
    let number = port.port();
    let accept = AcceptQueue {
        queue: SockQueue::new(),
        port: port.child(),
        backlog,
        options,
        calls: state.calls(),
        life: sock.shared().half_open.life(),
    };
    let accept = match KBox::new(accept, GFP_KERNEL) {
        Ok(accept) => accept,
        Err(error) => {
            port.stop_listen();
            return Err(error.into());
        }
    };
    *sock.shared().accept.lock() = Some(accept);
    sk.set_state(SkState::LISTEN);
    sk.state().role = Role::Listener(options);
    let local = Endpoint {
        ip: sk.bound_ip(),
        port: number,
    };
    let key = FlowKey::new(output::scoped(local, sock.bound_dev()), Endpoint::NONE);
    if namespace.table.insert(sk, key).is_err() {
        end(sk);
        return Err(eaddrinuse());
    }
    Ok(())
}

/// Ends listening: nothing more comes in, what waits is reset. Process context.
pub(crate) fn end(sk: &mut Owner<'_>) {
    let sock = sk.sock();
    let namespace = output::namespace(sock);
    namespace.table.remove(sk);
    sk.set_state(SkState::CLOSE);
    let options = sk.state().options();
    sk.state().role = Role::Idle(Idle::new(options));
    if let Some(port) = &sk.state().port {
        port.stop_listen();
    }
    let accept = sock.shared().accept.lock().take();
    sock.shared().half_open.end();
    let Some(mut accept) = accept else {
        return;
    };
    while let Some(child) = accept.queue.pop() {
        closing::abandon_child(child);
    }
}

/// accept(2). Process context; lets the lock go while it waits.
pub(crate) fn accept(sk: &mut Owner<'_>, nonblock: bool) -> Result<Child<Tcp>> {
    let sock = sk.sock();
    if sock.state() != SkState::LISTEN {
        return Err(EINVAL);
    }
    let mut timeo = sock.rcvtimeo(nonblock);
    loop {
        let first = match &mut *sock.shared().accept.lock() {
            Some(accept) => accept.queue.pop(),
            None => None,
        };
        if let Some(child) = first {
            return Ok(child);
        }
        sk.wait(&mut timeo, true, |sk| {
            sk.sock().state() != SkState::LISTEN || waiting(sk.sock()) > 0
        })?;
        if sock.state() != SkState::LISTEN {
            return Err(EINVAL);
        }
    }
}

/// A SYN for a listener. `iss` is given when it reopens a connection in TIME-WAIT. Softirq context.
pub(crate) fn segment(
    net: &Net,
    namespace: &Namespace,
    listener: &ARef<Socket>,
    key: FlowKey,
    segment: &Segment,
    arrival: Arrival,
    iss: Option<SeqNum>,
) {
    let shared = listener.shared();
    let (advertised_max, full, backlog, life) = match &*shared.accept.lock() {
        Some(accept) => (
            accept.options.max_seg,
            accept.is_full(),
            accept.backlog,
            accept.life,
        ),
        None => return,
    };
    // No room: the peer's SYN will come again.
    if full {
        return;
    }
    let config = namespace.config();
    let cx = context(&config);
    // SYN with FIN, and the like.
    if !matches!(listen::on_segment(&cx, segment), ListenVerdict::Syn) {
        return;
    }
    let (oif, mark) = (path_oif(listener, &key, arrival.ifindex), listener.mark());
    let Ok(route) = Route::lookup(net, output::flow_of(&key, oif, mark)) else {
        return;
    };
    let hash = namespace.flow_hash(&key);
    let info = route.info();
    let memory = connection::receive_memory(listener);
    let open = RequestOpen {
        iss: iss.unwrap_or_else(|| isn::initial(hash, cx.now)),
        ts_offset: isn::timestamp_offset(hash),
        advertised_mss: advertised_mss(info.advmss, advertised_max),
        recv_space: memory.first_window(),
        recv_limit: memory.largest_window(),
    };
    let request = Request::new(&cx, segment, &open);
    let syn_ack = request.syn_ack(&cx);
    let first_timeout = Jiffies::after_micros(request.next_timeout().as_micros());
    let half_open_max = u32::try_from(namespace.sysctls.max_syn_backlog())
        .unwrap_or(0)
        .min(backlog.max(1));
    if !shared.half_open.enter(life, half_open_max) {
        return;
    }
    let body = Mini::HalfOpen {
        request,
        listener: listener.clone(),
        life,
    };
    let placed = table::NewMini::new(key, body)
        .and_then(|mini| namespace.table.insert_mini(mini, first_timeout));
    if placed.is_err() {
        shared.half_open.leave(life);
        return;
    }
    // A SYN-ACK that cannot be sent now is sent by the timer.
    let _ = output::reply_by(&route, &key, syn_ack);
}

/// The handshake is complete: makes the socket, feeds it the segment and lets accept() have it.
/// Softirq context.
pub(crate) fn complete(
    namespace: &Namespace,
    guard: MiniGuard<'_, Tcp>,
    listener: &Socket,
    cx: &Context<'_>,
    segment: &Segment,
    skb: SkBuff,
    header_len: u32,
) {
    let Mini::HalfOpen { request, life, .. } = &*guard else {
        return;
    };
    let (request, life) = (*request, *life);
    let key = guard.key();
    let room = match &*listener.shared().accept.lock() {
        Some(accept) if accept.is_full() => Room::Full,
        Some(accept) => Room::For(accept.port.child(), accept.options, accept.calls),
        None => Room::Closed,
    };
    let (port, options, calls) = match room {
        Room::For(port, options, calls) => (port, options, calls),
        Room::Full => {
            // The ACK is dropped: the SYN-ACK goes out again, and the peer's data too. Or, if the
            // namespace has it so, the peer is told.
            if cx.config.abort_on_overflow {
                half_open::remove(guard, namespace);
                if let Some(reset) = reply::closed(segment) {
                    let (oif, mark) = reply_path(listener, &key);
                    let _ = output::reply(listener.net(), &key, oif, mark, reset);
                }
            }
            return;
        }
        Room::Closed => {
            half_open::remove(guard, namespace);
            return;
        }
    };
    let Ok(child) = Child::new(listener) else {
        return;
    };
    let reference = child.reference();
    // Nobody owns a socket that nobody knows.
    let queued = reference.lock_bh_child(|sk| {
        let local = output::unscoped(key.local());
        let remote = output::unscoped(key.remote());
        sk.set_ends(local, remote);
        if output::is_link_local(&remote.ip) {
            let _ = sk.bind_scope(path_oif(listener, &key, 0));
        }
        sk.state().port = Some(port);
        sk.state().role = Role::Idle(Idle::new(options));
        sk.state().set_calls(calls);
        let family = sk.wire_family();
        let route = route::route_socket(sk);
        let path_mss = match route {
            Ok((info, _)) => output::mss_of(info.mtu, family),
            Err(_) => request.advertised_mss(),
        };
        let recv_space = connection::receive_memory(sk.sock()).first_window();
        let open = PassiveOpen {
            path_mss,
            recv_space,
            options: options_of(sk),
        };
        sk.state().role = Role::Connection(Connection::accept(cx, &request, &open));
        sk.set_state(SkState::SYN_RECV);
        match guard.replace_with(&namespace.table, sk) {
            Ok(_) => listener.shared().half_open.leave(life),
            Err(_) => {
                sk.state().role = Role::Idle(Idle::new(options));
                sk.set_state(SkState::CLOSE);
                sk.disown(child);
                closing::discard(sk);
                return false;
            }
        }
        connection::segment(sk, cx, segment, skb, header_len);
        // The queue takes the socket in whatever state it is by now: accept() returns even one that the
        // peer has reset, as Linux's does.
        let refused = match &mut *listener.shared().accept.lock() {
            Some(accept) => {
                accept.queue.push(child);
                None
            }
            None => Some(child),
        };
        match refused {
            None => true,
            // The listener was closed meanwhile.
            Some(child) => {
                sk.disown(child);
                closing::abandon(sk);
                false
            }
        }
    });
    if queued == Some(true) {
        listener.wake_readers();
    }
}

/// Whether an accept queue takes one more.
enum Room {
    For(PortRef, SocketOptions, CallOptions),
    Full,
    Closed,
}

/// The options that a new connection of this socket begins with.
pub(crate) fn options_of(sk: &mut Sk<'_>) -> SocketOptions {
    let keepalive = sk.sock().flag(Flag::KeepOpen);
    SocketOptions {
        keepalive,
        ..sk.state().options()
    }
}

/// The interface and mark of answers for a listener's half-open connection.
pub(crate) fn reply_path(listener: &Socket, key: &FlowKey) -> (i32, u32) {
    (path_oif(listener, key, 0), listener.mark())
}

/// The interface that packets to the peer must leave by: the one that the listener is bound to, or the
/// one of a link-local address (which the key has), 0 for any.
fn path_oif(listener: &Socket, key: &FlowKey, arrival: i32) -> i32 {
    let remote = key.remote().ip;
    if output::is_link_local(&remote) {
        let [_, _, _, _, a, b, c, d, ..] = remote;
        let scope = i32::from_ne_bytes([a, b, c, d]);
        return if scope != 0 { scope } else { arrival };
    }
    listener.bound_dev()
}

/// The MSS to ask the peer for: the route's, or a smaller one that TCP_MAXSEG set.
pub(crate) fn advertised_mss(route: u32, max_seg: Option<core::num::NonZeroU16>) -> u16 {
    let route = route.min(u32::from(u16::MAX)) as u16;
    max_seg.map_or(route, |max| route.min(max.get()))
}
