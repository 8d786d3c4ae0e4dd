// SPDX-License-Identifier: GPL-2.0

//! Listeners: from a SYN to accept().
//!
//! A SYN makes a half-open object (`half_open`), or is answered with a cookie (`cookies`) and makes nothing; the ACK that completes the
//! handshake makes the socket, which waits in the listener's accept queue. Neither takes the listener's socket lock, and a SYN none of the
//! listener's locks.

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::rcu;

use oxtcp_engine::connection::PassiveOpen;
use oxtcp_engine::cookie::Opened;
use oxtcp_engine::listen::{self, ListenVerdict};
use oxtcp_engine::request::{Request, RequestOpen};
use oxtcp_engine::wire::Signature;
use oxtcp_engine::{isn, reply, Connection, Context, Segment, SeqNum, SocketOptions};

use crate::admission::{self, Admission};
use crate::ao::{Handshake, Ids, Isns};
use crate::backlog::Backlog;
use crate::counters::Counter;
use crate::flood;
use crate::half_open::{self, Mini};
use crate::input::Arrival;
use crate::keys::Peer;
use crate::listening::{self, Life, Listening, Room};
use crate::namespace::Namespace;
use crate::output;
use crate::ports::PortRef;
use crate::protocol::{CallOptions, Idle, Owner, Role, Sk, Socket, Tcp};
use crate::signing::Signer;
use crate::sys::drop_reason::DropReason;
use crate::sys::errno::{eaddrinuse, econnaborted};
use crate::sys::net::Net;
use crate::sys::route::{self, Manner, Route};
use crate::sys::skb::SkBuff;
use crate::sys::sock::{Child, Flag, SkState};
use crate::sys::table::{self, Endpoint, FlowKey, Found, MiniGuard};
use crate::sys::time::Jiffies;
use crate::trace::{self, Bound, Cause, Decision};
use crate::{closing, connect, connection, cookies, keys};

/// How many connections wait for accept(), and how many may. Any context.
pub(crate) fn queue(sock: &Socket) -> (u32, u32) {
    listening::of(sock).map_or((0, 0), |l| (l.waiting(), l.backlog().granted()))
}

/// How many connections wait for accept(). Any context.
pub(crate) fn waiting(sock: &Socket) -> u32 {
    listening::of(sock).map_or(0, Listening::waiting)
}

/// For how many timeouts of a SYN-ACK the listener waits for data (TCP_DEFER_ACCEPT). Any context.
pub(crate) fn defers(sock: &Socket) -> u8 {
    listening::of(sock).map_or(0, Listening::defer_accept)
}

/// listen(2). Process context.
pub(crate) fn listen(sk: &mut Owner<'_>, connecting: bool, backlog: i32) -> Result {
    let sock = sk.sock();
    let namespace = output::namespace(sock);
    let backlog = Backlog::new(backlog, sock.net(), namespace);
    if connecting {
        return Err(EINVAL);
    }
    match (sock.state(), &sk.state().role) {
        (SkState::LISTEN, Role::Listener(_)) => {
            if let Some(listening) = listening::of(sock) {
                listening.set_backlog(backlog);
                listening.remember(namespace, backlog.granted());
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

fn begin(sk: &mut Owner<'_>, namespace: &Namespace, backlog: Backlog) -> Result {
    let sock = sk.sock();
    let shared = &sock.shared().listening;
    if shared.as_ref().is_none() {
        // Nobody else does, as the socket is owned.
        let _ = shared.populate(Listening::new()?);
    }
    let listening = listening::of(sock).ok_or(ENOMEM)?;
    listening.remember(namespace, backlog.granted());
    let state = sk.state();
    let options = state.options();
    let calls = state.calls();
    let port = state.port.as_ref().ok_or(EINVAL)?.child();
    let local = Endpoint {
        ip: sk.bound_ip(),
        port: port.port(),
    };
    let local = output::scoped(local, sock.bound_dev());
    let reuseport = connect::sharing_of(sock).reuseport;
    let member = port.start_listen(&namespace.table, local, reuseport)?;
    let key = match &member {
        Some(member) => member.key(),
        None => FlowKey::of_listener(local),
    };
    listening.begin((local, member), port, backlog, options, calls);
    sk.set_state(SkState::LISTEN);
    trace::listener_state(sk, local, SkState::CLOSE, SkState::LISTEN);
    sk.state().role = Role::Listener(options);
    if namespace.table.insert(sk, key).is_err() {
        end(sk);
        return Err(eaddrinuse());
    }
    Ok(())
}

/// Ends listening: nothing more comes in; what waits is another's of the group, or is reset. Process context.
pub(crate) fn end(sk: &mut Owner<'_>) {
    let sock = sk.sock();
    let namespace = output::namespace(sock);
    namespace.table.remove(sk);
    sk.set_state(SkState::CLOSE);
    let port = sk.state().port.as_ref().map_or(0, |port| port.port());
    let local = Endpoint {
        ip: sk.bound_ip(),
        port,
    };
    trace::listener_state(sk, local, SkState::LISTEN, SkState::CLOSE);
    let options = sk.state().options();
    sk.state().role = Role::Idle(Idle::new(options));
    let Some(listening) = listening::of(sock) else {
        return;
    };
    if let Some(port) = &sk.state().port {
        port.stop_listen(&namespace.table, listening.member().as_ref());
    }
    let Some((mut waiting, life)) = listening.end(namespace.sysctls.migrate_req() != 0) else {
        return;
    };
    while let Some(child) = waiting.pop() {
        let key = child.reference().flow();
        if let Err(child) = bequeath(namespace, listening, life, &key, child) {
            closing::abandon_child(child);
        }
    }
}

/// Lets another one of the group have a connection that has come to that life of a listener, which is over. Any context.
///
/// # Errors
///
/// The connection, when there is nobody.
fn bequeath(
    namespace: &Namespace,
    listening: &Listening,
    life: Life,
    key: &FlowKey,
    mut child: Child<Tcp>,
) -> core::result::Result<(), Child<Tcp>> {
    let Some(group) = listening.heirs(life) else {
        return Err(child);
    };
    let rcu = rcu::read_lock();
    let like = child.reference();
    // Who has stopped listening meanwhile has left the group before: not many more than it had members.
    for _ in 0..HEIRS {
        let Some(heir) = half_open::heir(namespace, &group, key, &like, &rcu) else {
            break;
        };
        let taken = match listening::of(&heir) {
            Some(of) => match of.half_open.life() {
                Some(life) => of.push(child, life),
                None => Err(child),
            },
            None => Err(child),
        };
        match taken {
            Ok(()) => {
                namespace.counters.count(Counter::TCPMigrateReqSuccess);
                heir.wake_readers();
                return Ok(());
            }
            Err(back) => child = back,
        }
    }
    namespace.counters.count(Counter::TCPMigrateReqFailure);
    Err(child)
}

/// How many of a group may stop listening while one is looked for.
pub(crate) const HEIRS: u32 = 64;

/// accept(2). Process context; lets the lock go while it waits.
pub(crate) fn accept(sk: &mut Owner<'_>, nonblock: bool) -> Result<Child<Tcp>> {
    let sock = sk.sock();
    if sock.state() != SkState::LISTEN {
        return Err(EINVAL);
    }
    let mut timeo = sock.rcvtimeo(nonblock);
    loop {
        if let Some(child) = listening::of(sock).and_then(Listening::pop) {
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

/// A SYN for a listener, with the numbers of TCP-AO's keys if it is signed. `iss` is given when it reopens a connection in TIME-WAIT, `skb` is what it
/// came in, if that may become the answer: then it is taken. `route` leads back to its sender, if that is known. Softirq context; takes no lock of the listener.
///
/// # Errors
///
/// Why the SYN is to be dropped.
#[allow(clippy::too_many_arguments)] // A packet, read.
pub(crate) fn segment(
    net: &Net,
    namespace: &Namespace,
    listener: &ARef<Socket>,
    key: &FlowKey,
    (segment, skb): (&Segment, &mut Option<SkBuff>),
    (arrival, route): (Arrival, Option<&Route<'_>>),
    iss: Option<SeqNum>,
    signed: Option<Ids>,
) -> core::result::Result<(), DropReason> {
    let Some(listening) = listening::of(listener) else {
        return Err(DropReason::NoSocket);
    };
    let Some(life) = listening.half_open.life() else {
        return Err(DropReason::NoSocket);
    };
    let rcu = rcu::read_lock();
    let cx = namespace.context(namespace.sysctls.config_under(&rcu));
    // SYN with FIN, and the like.
    if !matches!(listen::on_segment(&cx, segment), ListenVerdict::Syn) {
        return Err(DropReason::Flags);
    }
    let tell = |decision, bound| {
        flood::decided(namespace, listener, listening, key, decision, bound);
    };
    let drops = |bound, why| {
        namespace.counters.count(Counter::ListenDrops);
        tell(Decision::Dropped, bound);
        Err(why)
    };
    // Who has closed a connection just now is somebody: no limit, as in Linux.
    let reopens = iss.is_some();
    if !admission::note_syn(namespace, listener, listening, key, reopens, cx.now) {
        return drops(Bound::Rate, DropReason::ListenOverflow);
    }
    let flow = (key, life);
    let admission = match admission::admit(namespace, listener, listening, flow, reopens, cx.now) {
        Ok(admission) => admission,
        Err(bound) => return drops(bound, DropReason::ListenOverflow),
    };
    let oif = path_oif(listener, key, arrival.ifindex);
    let manner = output::manner_of(listener, key);
    let is_early = route.is_some();
    let looked_up;
    let route = match route.filter(|route| route.is_of(oif, manner)) {
        Some(route) => route,
        None => match Route::lookup(net, output::flow_of(key, oif, manner)) {
            Ok(route) => {
                looked_up = route;
                &looked_up
            }
            Err(_) => return drops(Bound::Route, DropReason::NoRoute),
        },
    };
    let signer = |iss| {
        let handshake = Handshake {
            ids: signed,
            isns: Isns {
                local: iss,
                remote: segment.header.seq,
            },
        };
        keys::signer_to(listener, key, oif, handshake, &rcu)
    };
    let cookie = match admission {
        Admission::Keep(most) if listening.enter(namespace, key, life, most) => None,
        Admission::Keep(_) => {
            let instead = admission::cookie_instead(namespace, listener, listening, life, cx.now);
            let Some(bound) = instead else {
                return drops(Bound::SynQueue, DropReason::ListenOverflow);
            };
            Some(bound)
        }
        Admission::Cookie(bound) => Some(bound),
    };
    if let Some(bound) = cookie {
        tell(Decision::Cookie, bound);
        send_cookie(
            namespace,
            (listener, listening),
            key,
            &cx,
            (segment, skb.take()),
            (route, &signer),
        );
        match is_early {
            true => namespace.counters.count(Counter::SyncookiesFast),
            false => namespace.want_early(net, arrival.family),
        }
        return Ok(());
    }
    let hash = namespace.flow_hash(key);
    let iss = iss.unwrap_or_else(|| isn::initial(hash, cx.now));
    let signature = signer(iss).signature();
    let open = RequestOpen {
        iss,
        ..opening((listener, listening), route, hash, signature)
    };
    let request = Request::new(&cx, segment, &open);
    let syn_ack = request.syn_ack(&cx);
    let first_timeout = Jiffies::after_micros(request.next_timeout(&cx).as_micros());
    let body = Mini::HalfOpen {
        request,
        listener: listener.clone(),
        life,
        signed: signed.is_some(),
    };
    let note = signed.map_or([0; 2], Ids::note);
    let placed = table::NewMini::new(*key, body)
        .map(|mini| mini.with_note(note))
        .and_then(|mini| namespace.table.insert_mini(mini, first_timeout));
    if let Err(error) = placed {
        listening.leave(namespace, key, life);
        return drops(Bound::of(error), DropReason::NoMemory);
    }
    tell(Decision::HalfOpen, Bound::None);
    trace::mini_state(net, key, SkState::LISTEN, SkState::SYN_RECV);
    if let Some(recent) = listening.recent.get(&rcu) {
        recent.note(*key);
    }
    // A SYN-ACK that cannot be sent now is sent by the timer.
    let signer = signer(syn_ack.header.seq);
    let _ = output::reply_in(
        namespace,
        skb.take(),
        route,
        key,
        syn_ack,
        Cause::SynAck,
        signer,
    );
    Ok(())
}

/// Answers a SYN with a cookie, by the route to its sender; in the packet that it came in, if that can be. `signer` is told the cookie. Softirq
/// context.
fn send_cookie<'s>(
    namespace: &Namespace,
    (listener, listening): (&Socket, &Listening),
    key: &FlowKey,
    cx: &Context<'_>,
    (segment, skb): (&Segment, Option<SkBuff>),
    (route, signer): (&Route<'_>, &dyn Fn(SeqNum) -> Signer<'s>),
) {
    let hash = namespace.flow_hash(key);
    let cookie = cookies::issue(namespace, key, hash, segment, cx.now);
    let signer = signer(cookie);
    let open = RequestOpen {
        iss: cookie,
        ..opening((listener, listening), route, hash, signer.signature())
    };
    cookies::note_sent(namespace, listener, listening, cx.now);
    let syn_ack = Request::cookie_syn_ack(cx, segment, &open);
    // One that cannot be sent is one that was lost: the peer's SYN comes again.
    if output::reply_in(
        namespace,
        skb,
        route,
        key,
        syn_ack,
        Cause::SynCookie,
        signer,
    )
    .is_ok()
    {
        namespace.counters.count(Counter::SyncookiesSent);
    }
}

/// What a SYN is answered with, but for the sequence number.
fn opening(
    (listener, listening): (&Socket, &Listening),
    route: &Route<'_>,
    hash: u64,
    signature: Signature,
) -> RequestOpen {
    let memory = connection::receive_memory(listener);
    RequestOpen {
        iss: SeqNum::new(0),
        ts_offset: isn::timestamp_offset(hash),
        advertised_mss: advertised_mss(route.advmss(), listening.max_seg()),
        recv_space: memory.first_window(),
        recv_limit: memory.largest_window(),
        signature,
    }
}

/// The handshake is complete: makes the socket, feeds it the segment and lets accept() have it. `route` leads to the peer, if that is known.
/// Softirq context.
pub(crate) fn complete(
    namespace: &Namespace,
    mut guard: MiniGuard<'_, Tcp>,
    mut listener: ARef<Socket>,
    cx: &Context<'_>,
    (segment, skb, header_len): (&Segment, SkBuff, u32),
    route: Option<&Route<'_>>,
) {
    let Mini::HalfOpen { request, life, .. } = &*guard else {
        return skb.consume();
    };
    let (request, mut life) = (*request, *life);
    let ids = half_open::ids_of(&guard);
    let key = guard.key();
    let room = |listener: &Socket, life| {
        listening::of(listener).map_or(Room::Closed, |l| l.room(life, &key))
    };
    let mut found = room(&listener, life);
    if matches!(found, Room::Closed) {
        // It has stopped listening in this moment.
        if let Some((heir, of)) = half_open::migrate(&mut guard, namespace) {
            found = room(&heir, of);
            (listener, life) = (heir, of);
        }
    }
    let listener = &*listener;
    let net = listener.net();
    let drops = |skb, why| trace::drop_for(net, &key, skb, header_len, why);
    let Some(listening) = listening::of(listener) else {
        return drops(skb, DropReason::NoSocket);
    };
    let tell = |decision, bound| {
        flood::decided(namespace, listener, listening, &key, decision, bound);
    };
    let (port, options, calls) = match found {
        Room::For(port, options, calls) => (port, options, calls),
        Room::Full => {
            admission::overflows(namespace, listener, listening, cx.now);
            namespace.counters.count(Counter::ListenDrops);
            // The ACK is dropped: the SYN-ACK goes out again, and the peer's data too. Or, if the
            // namespace has it so, the peer is told.
            let decision = match cx.config.abort_on_overflow {
                true => Decision::Reset,
                false => Decision::Dropped,
            };
            tell(decision, Bound::AcceptQueue);
            if cx.config.abort_on_overflow {
                half_open::remove(guard, namespace);
                namespace.counters.count(Counter::EmbryonicRsts);
                if let Some(reset) = reply::closed(segment).filter(|_| namespace.may_reset(&key)) {
                    let (oif, manner) = reply_path(listener, &key);
                    let rcu = rcu::read_lock();
                    let handshake = half_open::handshake_of(&request, ids);
                    let signer = keys::signer_to(listener, &key, oif, handshake, &rcu);
                    let _ = output::reply(
                        (net, namespace),
                        &key,
                        oif,
                        manner,
                        reset,
                        Cause::Reset,
                        signer,
                    );
                }
            }
            return drops(skb, DropReason::ListenOverflow);
        }
        Room::Closed => {
            half_open::remove(guard, namespace);
            return drops(skb, DropReason::NoSocket);
        }
    };
    let newcomer = Newcomer {
        request,
        ids,
        key,
        life,
        port,
        options,
        calls,
        route,
    };
    let packet = (segment, skb, header_len);
    let joined = newcomer.join(listener, listening, cx, packet, |sk| {
        guard.replace_with(&namespace.table, sk)?;
        listening.leave(namespace, &key, life);
        Ok(())
    });
    match joined {
        Ok(()) => tell(Decision::Accepted, Bound::None),
        Err(error) => {
            namespace.counters.count(Counter::ListenDrops);
            tell(Decision::Dropped, Bound::of(error));
        }
    }
}

/// Answers a segment of a connection that is gone by a reset, with the listener's key for the peer (Linux's
/// `tcp_v4_send_reset()`). Softirq context.
///
/// TCP-AO's keys are of initial sequence numbers that nobody knows any more (RFC 5925 section 7.7): but of the ACK that would have completed
/// a handshake, which is the only one that gets here signed.
pub(crate) fn reset(listener: &Socket, key: &FlowKey, segment: &Segment, signed: Option<Ids>) {
    let Some(reset) = reply::closed(segment) else {
        return;
    };
    let namespace = output::namespace(listener);
    if !namespace.may_reset(key) {
        return;
    }
    let (oif, manner) = reply_path(listener, key);
    let rcu = rcu::read_lock();
    let handshake = handshake_of_ack(segment, signed);
    let signer = keys::signer_to(listener, key, oif, handshake, &rcu);
    // One that cannot be sent is one that was lost.
    let _ = output::reply(
        (listener.net(), namespace),
        key,
        oif,
        manner,
        reset,
        Cause::Reset,
        signer,
    );
}

/// What the ACK that ends a handshake tells of it.
fn handshake_of_ack(ack: &Segment, signed: Option<Ids>) -> Handshake {
    Handshake {
        ids: signed,
        isns: Isns {
            local: ack.header.ack.sub(1),
            remote: ack.header.seq.sub(1),
        },
    }
}

/// An ACK with a good cookie: makes the socket, as [`complete`] does, of what the ACK brings. Softirq context.
pub(crate) fn complete_cookie(
    net: &Net,
    namespace: &Namespace,
    listener: &Socket,
    (key, opened): (FlowKey, Opened),
    packet: Packet<'_>,
    arrival: Arrival,
    signed: Option<Ids>,
) {
    let (segment, skb, header_len) = packet;
    let drops = |skb, why| trace::drop_for(net, &key, skb, header_len, why);
    let Some(listening) = listening::of(listener) else {
        return drops(skb, DropReason::NoSocket);
    };
    let Some(life) = listening.half_open.life() else {
        return drops(skb, DropReason::NoSocket);
    };
    let tell = |decision, bound| {
        flood::decided(namespace, listener, listening, &key, decision, bound);
    };
    let rcu = rcu::read_lock();
    let cx = namespace.context(namespace.sysctls.config_under(&rcu));
    namespace.counters.count(Counter::SyncookiesRecv);
    let (port, options, calls) = match listening.room(life, &key) {
        Room::For(port, options, calls) => (port, options, calls),
        // The ACK is dropped, as in Linux: the peer's data comes again, with the same cookie.
        Room::Full => {
            admission::overflows(namespace, listener, listening, cx.now);
            namespace.counters.count(Counter::ListenDrops);
            tell(Decision::Dropped, Bound::AcceptQueue);
            return drops(skb, DropReason::ListenOverflow);
        }
        Room::Closed => return drops(skb, DropReason::NoSocket),
    };
    let oif = path_oif(listener, &key, arrival.ifindex);
    let manner = output::manner_of(listener, &key);
    let Ok(route) = Route::lookup(net, output::flow_of(&key, oif, manner)) else {
        namespace.counters.count(Counter::ListenDrops);
        tell(Decision::Dropped, Bound::Route);
        return drops(skb, DropReason::NoRoute);
    };
    let hash = namespace.flow_hash(&key);
    let open = RequestOpen {
        iss: segment.header.ack.sub(1),
        // What was offered the cookie tells.
        ..opening((listener, listening), &route, hash, Signature::NONE)
    };
    let Some(request) = Request::from_cookie(&cx, segment, opened.mss, &open) else {
        tell(Decision::CookieRefused, Bound::None);
        return drops(skb, DropReason::InvalidSequence);
    };
    trace::mini_state(net, &key, SkState::LISTEN, SkState::SYN_RECV);
    let packet = (segment, skb, header_len);
    let newcomer = Newcomer {
        request,
        ids: signed,
        key,
        life,
        port,
        options,
        calls,
        route: Some(&route),
    };
    let rcu = rcu::read_lock();
    // A half-open connection of the same peer, who was sent this cookie too and knows that only: it gives way.
    let former = match namespace.table.lookup(&key, &rcu) {
        Some(Found::Mini(mini)) => mini.lock(),
        _ => None,
    };
    let joined = newcomer.join(listener, listening, &cx, packet, |sk| match former {
        Some(former) if matches!(&*former, Mini::HalfOpen { .. }) => {
            if let Mini::HalfOpen { listener, life, .. } =
                former.replace_with(&namespace.table, sk)?
            {
                if let Some(listening) = listening::of(&listener) {
                    listening.leave(namespace, &key, life);
                }
            }
            Ok(())
        }
        // Of somebody else, who has come meanwhile.
        Some(_) => Err(EEXIST),
        None => namespace.table.insert(sk, key),
    });
    match joined {
        Ok(()) => {
            cookies::spend(namespace, &opened);
            tell(Decision::CookieAccepted, Bound::None);
        }
        Err(error) => {
            namespace.counters.count(Counter::ListenDrops);
            tell(Decision::Dropped, Bound::of(error));
        }
    }
}

/// A segment, the packet that it came in, and its header's length.
type Packet<'a> = (&'a Segment, SkBuff, u32);

/// What a new connection of a listener's begins with.
struct Newcomer<'a> {
    request: Request,
    /// What the handshake was signed with, if it was with TCP-AO.
    ids: Option<Ids>,
    key: FlowKey,
    /// The listener's, which is the one that the connection is for.
    life: Life,
    port: PortRef,
    options: SocketOptions,
    calls: CallOptions,
    /// The one to the peer, if it was looked up already.
    route: Option<&'a Route<'a>>,
}

impl Newcomer<'_> {
    /// Makes the socket, enters it into the flow table by `enter`, feeds it the segment that came, and lets accept() have it.
    ///
    /// # Errors
    ///
    /// No memory, what `enter` says, ECONNABORTED when the listener was closed meanwhile; there is no socket then.
    fn join(
        self,
        listener: &Socket,
        listening: &Listening,
        cx: &Context<'_>,
        (segment, skb, header_len): Packet<'_>,
        enter: impl FnOnce(&mut Sk<'_>) -> Result,
    ) -> Result {
        let Newcomer {
            request,
            ids,
            key,
            life,
            port,
            options,
            calls,
            route,
        } = self;
        let child = Child::new(listener)?;
        let reference = child.reference();
        // Nobody owns a socket that nobody knows.
        let joined = reference.lock_bh_child(|sk| {
            let local = output::unscoped(key.local());
            let remote = output::unscoped(key.remote());
            sk.set_ends(local, remote);
            sk.set_transmit_hash(output::namespace(listener).transmit_hash(&key));
            if output::is_link_local(&remote.ip) {
                let _ = sk.bind_scope(path_oif(listener, &key, 0));
            }
            sk.state().port = Some(port);
            sk.state().role = Role::Idle(Idle::new(options));
            sk.state().set_calls(calls);
            // Before there is a route: that tells whether packets may be bursts.
            let peer = Peer::by_path(listener.net(), &key, path_oif(listener, &key, 0));
            let handshake = half_open::handshake_of(&request, ids);
            if let Err(error) = keys::inherit(sk, listener, &peer, handshake) {
                sk.disown(child);
                closing::discard(sk);
                return Err(error);
            }
            let family = sk.wire_family();
            let info = match route.and_then(|route| route.give_to(sk)) {
                Some(info) => Ok(info),
                None => route::route_socket(sk).map(|(info, _)| info),
            };
            let path_mss = match info {
                Ok(info) => output::mss_of(info.mtu, family),
                Err(_) => request.advertised_mss(),
            };
            let recv_space = connection::receive_memory(sk.sock()).first_window();
            let open = PassiveOpen {
                path_mss,
                recv_space,
                options: options_signed(sk, keys::signature_for(sk.sock(), &peer)),
            };
            sk.state().role = Role::Connection(Connection::accept(cx, &request, &open));
            sk.set_state(SkState::SYN_RECV);
            if let Err(error) = enter(sk) {
                sk.state().role = Role::Idle(Idle::new(options));
                sk.set_state(SkState::CLOSE);
                sk.disown(child);
                closing::discard(sk);
                return Err(error);
            }
            output::namespace(listener)
                .counters
                .count(Counter::PassiveOpens);
            connection::segment(sk, cx, segment, skb, header_len);
            // The queue takes the socket in whatever state it is by now: accept() returns even one that the
            // peer has reset, as Linux's does.
            let taken = listening.push(child, life).or_else(|child| {
                bequeath(output::namespace(sk.sock()), listening, life, &key, child)
            });
            taken.map_err(|child| {
                sk.disown(child);
                closing::abandon(sk);
                econnaborted()
            })
        });
        joined.unwrap_or(Err(EINVAL))?;
        listener.wake_readers();
        Ok(())
    }
}

/// The options that a new connection of this socket begins with.
pub(crate) fn options_of(sk: &mut Sk<'_>) -> SocketOptions {
    options_signed(sk, keys::signature(sk.sock()))
}

/// The same, where it is known what signs the connection's segments.
fn options_signed(sk: &mut Sk<'_>, signature: Signature) -> SocketOptions {
    let keepalive = sk.sock().flag(Flag::KeepOpen);
    SocketOptions {
        keepalive,
        signature,
        ..sk.state().options()
    }
}

/// The interface of answers for a listener's half-open connection, and what they have of the listener.
pub(crate) fn reply_path(listener: &Socket, key: &FlowKey) -> (i32, Manner) {
    (path_oif(listener, key, 0), output::manner_of(listener, key))
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
