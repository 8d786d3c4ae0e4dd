// SPDX-License-Identifier: GPL-2.0

//! bind() and connect(). Process context, with the socket lock.

use kernel::prelude::*;
use kernel::sync::rcu;

use oxtcp_engine::connection::ActiveOpen;
use oxtcp_engine::{isn, Connection, SeqNum};

use crate::counters::Counter;
use crate::half_open::Mini;
use crate::namespace::Namespace;
use crate::output;
use crate::ports::{BindAddr, Sharing};
use crate::protocol::{Idle, Owner, Role, Sk, Socket};
use crate::sys::errno::{eaddrnotavail, eisconn, enetunreach};
use crate::sys::netfilter::Family;
use crate::sys::proto::PeerAddress;
use crate::sys::route;
use crate::sys::sock::SkState;
use crate::sys::table::{Endpoint, FlowKey, Found};
use crate::{connection, half_open, keys, listener, trace};

/// Takes the local port (0: any) at the address that is set. The socket layer has checked the address
/// and the right to the port.
pub(crate) fn bind(sk: &mut Owner<'_>, port: u16) -> Result {
    let sock = sk.sock();
    let namespace = output::namespace(sock);
    let addr = bind_addr(sk, sk.bound_ip());
    let port = namespace
        .ports
        .bind(sock.net(), &addr, port, sharing_of(sock))?;
    sk.set_local_port(port.port());
    sk.state().port = Some(port);
    Ok(())
}

/// What the socket lets others do with its port.
pub(crate) fn sharing_of(sock: &Socket) -> Sharing {
    Sharing {
        reuse: sock.reuse(),
        reuseport: sock.reuseport().then(|| sock.uid()),
    }
}

/// Gives the local port back.
pub(crate) fn unbind(sk: &mut Owner<'_>) {
    if let Some(port) = sk.state().port.take() {
        port.release();
    }
    sk.set_local_port(0);
}

fn bind_addr(sk: &Sk<'_>, ip: [u8; 16]) -> BindAddr {
    let sock = sk.sock();
    let mapped = Endpoint { ip, port: 0 }.v4().is_some();
    BindAddr {
        ip,
        family: if sock.is_v6() && !mapped {
            Family::V6
        } else {
            Family::V4
        },
        v6only: sock.is_v6() && !mapped && sock.v6only(),
        ifindex: sock.bound_dev(),
    }
}

/// Sends the SYN; waiting for the answer is the socket layer's.
///
/// # Errors
///
/// EISCONN, EADDRNOTAVAIL (no port is free, or the pair of ends is in use), ENETUNREACH, EHOSTUNREACH
/// and the like by routing, EINVAL for a link-local address without an interface, EKEYREJECTED (see [`keys::begin_connect`]).
pub(crate) fn connect(sk: &mut Owner<'_>, to: PeerAddress) -> Result {
    if !matches!(sk.state().role, Role::Idle(_)) {
        return Err(eisconn());
    }
    let had_port = sk.state().port.is_some();
    let had_address = sk.is_address_bound();
    let result = open(sk, to);
    if result.is_err() {
        output::namespace(sk.sock()).table.remove(sk);
        if sk.sock().state() != SkState::CLOSE {
            sk.set_state(SkState::CLOSE);
        }
        let options = sk.state().options();
        sk.state().role = Role::Idle(Idle::new(options));
        sk.clear_remote();
        route::forget_routes(sk);
        if !had_port {
            unbind(sk);
        }
        if !had_address {
            sk.clear_local();
        }
    }
    result
}

fn open(sk: &mut Owner<'_>, to: PeerAddress) -> Result {
    let sock = sk.sock();
    let namespace = output::namespace(sock);
    let mut remote = destination(sk, &to)?;
    sk.set_remote(remote);
    let (_, chosen) = route::route_socket(sk)?;
    if remote.v4() == Some([0; 4]) {
        // Routing has made the loopback address of it.
        remote.ip = route::routed_v4_destination(sk);
        sk.set_remote(remote);
    }
    let local_ip = if sk.is_address_bound() {
        sk.bound_ip()
    } else {
        chosen
    };
    sk.set_local(local_ip);
    let ifindex = sock.bound_dev();
    let key_for = |port: u16| {
        let local = Endpoint { ip: local_ip, port };
        FlowKey::new(
            output::scoped(local, ifindex),
            output::scoped(remote, ifindex),
        )
    };
    let config = namespace.config();
    let cx = namespace.context(&config);
    sk.set_state(SkState::SYN_SENT);
    let bound = sk.state().port.as_ref().map(|port| port.port());
    let (port, claimed) = match bound {
        Some(port) => {
            let claimed = claim(sk, namespace, key_for(port), &cx, true)?;
            (port, claimed.ok_or(eaddrnotavail())?)
        }
        None => {
            let addr = bind_addr(sk, local_ip);
            let hash = namespace.port_hash(&key_for(0));
            let (held, claimed) =
                namespace
                    .ports
                    .ephemeral(sock.net(), &addr, hash, sock.reuse(), |port| {
                        claim(sk, namespace, key_for(port), &cx, false)
                    })?;
            let port = held.port();
            sk.state().port = Some(held);
            (port, claimed)
        }
    };
    let key = key_for(port);
    let reused = claimed.iss;
    // The port of a TIME-WAIT that made way is ours now.
    drop(claimed);
    sk.set_transmit_hash(namespace.transmit_hash(&key));
    // Again, with the ports: they choose among several paths.
    route::forget_routes(sk);
    let (info, _) = route::route_socket(sk)?;
    let hash = namespace.flow_hash(&key);
    let iss = reused.unwrap_or_else(|| isn::initial(hash, cx.now));
    keys::begin_connect(sk, iss)?;
    let options = listener::options_of(sk);
    let memory = connection::receive_memory(sock);
    let open = ActiveOpen {
        iss,
        ts_offset: isn::timestamp_offset(hash),
        advertised_mss: listener::advertised_mss(info.advmss, options.max_seg),
        path_mss: output::mss_of(info.mtu, sk.wire_family()),
        recv_space: memory.first_window(),
        recv_limit: memory.largest_window(),
        options,
    };
    // What a former connection of the socket left is not this one's (tcp_connect_init()).
    let _ = sk.take_error();
    sk.state().role = Role::Connection(Connection::connect(&cx, &open));
    trace::state(sk, SkState::CLOSE, SkState::SYN_SENT.into());
    connection::settle(sk, &cx);
    namespace.counters.count(Counter::ActiveOpens);
    Ok(())
}

/// What connect() is to reach, with the meanings that addresses have in Linux.
fn destination(sk: &mut Owner<'_>, to: &PeerAddress) -> Result<Endpoint> {
    let sock = sk.sock();
    let mut end = to.end;
    if !sock.is_v6() {
        return Ok(end);
    }
    if end.ip == [0; 16] {
        // BSD's way: "any" is this host.
        let bound = Endpoint {
            ip: sk.bound_ip(),
            port: 0,
        };
        end.ip = match bound.v4() {
            Some(_) => Endpoint::mapped([127, 0, 0, 1]),
            None => [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1],
        };
    }
    if end.v4().is_some() {
        return if sock.v6only() {
            Err(enetunreach())
        } else {
            Ok(end)
        };
    }
    if end.ip[0] == 0xff {
        return Err(enetunreach());
    }
    if output::is_link_local(&end.ip) {
        sk.bind_scope(to.scope)?;
    }
    Ok(end)
}

fn is_loopback(key: &FlowKey) -> bool {
    const LOOPBACK6: [u8; 16] = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1];
    let of = |end: Endpoint| match end.v4() {
        Some([net, ..]) => net == 127,
        None => end.ip == LOOPBACK6,
    };
    of(key.local()) || of(key.remote())
}

/// What [`claim`] has done.
#[derive(Default)]
struct Claimed {
    /// After a TIME-WAIT, the sequence number to begin with.
    iss: Option<SeqNum>,
    /// The TIME-WAIT, which holds the port.
    _former: Option<Mini>,
}

/// Enters the socket into the flow table, in the place of a TIME-WAIT between the same ends where that is safe (RFC
/// 6191). `None` when somebody else has the flow. `bound` says that the program has chosen the port. Does not sleep.
///
/// # Errors
///
/// ENOMEM and the like.
fn claim(
    sk: &mut Sk<'_>,
    namespace: &Namespace,
    key: FlowKey,
    cx: &oxtcp_engine::Context<'_>,
    bound: bool,
) -> Result<Option<Claimed>> {
    sk.set_local_port(key.local().port);
    // Once more if who had the flow leaves meanwhile.
    for _ in 0..2 {
        match namespace.table.insert(sk, key) {
            Ok(()) => return Ok(Some(Claimed::default())),
            Err(error) if error != EEXIST => return Err(error),
            Err(_) => {}
        }
        let rcu = rcu::read_lock();
        let mini = match namespace.table.lookup(&key, &rcu) {
            Some(Found::Mini(mini)) => mini,
            Some(Found::Sock(_) | Found::Post(_)) => return Ok(None),
            None => continue,
        };
        let Some(guard) = mini.lock() else {
            continue;
        };
        if guard.is_stale() {
            half_open::remove(guard, namespace);
            continue;
        }
        // tw_reuse 2: over loopback only.
        let allowed = bound || cx.config.tw_reuse != 2 || is_loopback(&key);
        let iss = match &*guard {
            Mini::TimeWait { time_wait, .. } | Mini::SignedTimeWait { time_wait, .. }
                if allowed =>
            {
                time_wait.reuse(cx, bound)
            }
            _ => None,
        };
        if iss.is_none() {
            return Ok(None);
        }
        let former = guard.replace_with(&namespace.table, sk)?;
        namespace.release_time_wait();
        namespace.counters.count(Counter::TWRecycled);
        return Ok(Some(Claimed {
            iss,
            _former: Some(former),
        }));
    }
    Ok(None)
}
