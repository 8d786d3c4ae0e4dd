// SPDX-License-Identifier: GPL-2.0

//! How sockets end: shutdown(), close(), disconnect, and what is left to do when a connection is done.

use oxtcp_engine::connection::{Info, Urgent};
use oxtcp_engine::{FlightMemory, Happening, Instant};

use crate::connection::{self, count};
use crate::counters::Counter;
use crate::namespace::Namespace;
use crate::protocol::{Idle, Owner, Role, Sk, Tcp};
use crate::sys::bindings;
use crate::sys::errno::{econnaborted, econnreset};
use crate::sys::route;
use crate::sys::sock::{Child, Flag, SkState};
use crate::sys::table::Found;
use crate::{connect, half_open, keys, listener, output, trace};

/// shutdown(2). The mask is set already. Process context.
pub(crate) fn shutdown(sk: &mut Owner<'_>, how: u8) {
    if u32::from(how) & bindings::SEND_SHUTDOWN == 0 {
        return;
    }
    connection::with(sk, |connection, cx| connection.shutdown_write(cx));
}

/// close(2), first half: the program's part. Process context; waits up to `timeout` jiffies.
pub(crate) fn close(sk: &mut Owner<'_>, mut timeout: isize) {
    sk.add_shutdown(bindings::SHUTDOWN_MASK as u8);
    if sk.sock().state() == SkState::LISTEN {
        listener::end(sk);
        return;
    }
    let unread = sk.purge();
    connection::set_rx_bytes(sk, 0);
    let linger = sk.sock().flag(Flag::Linger);
    let abort = linger && sk.sock().lingertime() == 0;
    if sk.sock().state() != SkState::CLOSE && (unread || abort) {
        match unread {
            true => count(sk, Counter::TCPAbortOnClose),
            false => count(sk, Happening::TCPAbortOnData),
        }
    }
    connection::with(sk, |connection, cx| {
        if abort && !unread {
            connection.forsake();
            connection.abort(cx);
        } else {
            connection.close(cx, unread);
        }
    });
    if timeout > 0 {
        // Until our FIN is acknowledged, as sk_stream_wait_close() waits; a signal or the time ends it.
        let _ = sk.wait(&mut timeout, false, |sk| {
            !matches!(
                sk.sock().state(),
                SkState::FIN_WAIT1 | SkState::CLOSING | SkState::LAST_ACK
            )
        });
    }
}

/// close(2), second half: the program is gone. Process context.
pub(crate) fn orphaned(sk: &mut Owner<'_>) {
    if sk.sock().state() == SkState::CLOSE {
        // So that the port is free when close() returns; `discard` may be in a softirq and cannot.
        connect::unbind(sk);
        discard(sk);
    }
}

/// close(2), last part: no program has the socket, nothing waits for it on the backlog.
///
/// Softirqs are off. What is left of the connection goes on without a socket's owner, within limits.
pub(crate) fn closed(sk: &mut Sk<'_>) {
    if sk.sock().state() == SkState::CLOSE {
        return;
    }
    // In FIN-WAIT-2 this leaves a small object behind, and that was it.
    connection::with(sk, |_, _| ());
    if sk.sock().state() == SkState::CLOSE {
        return;
    }
    sk.state().orphan = true;
    let namespace = output::namespace(sk.sock());
    namespace.add_orphan();
    if exceeds(sk, namespace) {
        count(sk, Counter::TCPAbortOnMemory);
        connection::with(sk, |connection, cx| connection.abort(cx));
    }
}

/// Whether an orphan is one too many, in number or in memory (Linux's `tcp_check_oom`).
pub(crate) fn exceeds(sk: &Sk<'_>, namespace: &Namespace) -> bool {
    namespace.has_too_many_orphans() || sk.exceeds_memory()
}

/// The module goes: resets the connections that no program has, forgets the small objects. Process context.
///
/// There are no others: who has a socket holds the module.
pub(crate) fn end_all(namespace: &Namespace) {
    namespace.table.for_each(|found| match found {
        Found::Sock(sock) => {
            // Nobody owns a socket that no program has.
            let _ = sock.lock_bh(abandon);
        }
        Found::Mini(mini) => {
            if let Some(guard) = mini.lock() {
                half_open::remove(guard, namespace);
            }
        }
        // There are no listeners, so this does not happen.
        Found::Post(_) => {}
    });
}

/// The connection is done: frees what it had and tells everyone; the socket goes too when no program has it.
///
/// Softirq or process context.
pub(crate) fn finish(sk: &mut Sk<'_>) {
    sk.add_shutdown(bindings::SHUTDOWN_MASK as u8);
    if sk.is_dead() {
        discard(sk);
        return;
    }
    release(sk);
    sk.wake_all();
    sk.wake_async_closed(true);
}

/// Frees what a connection had; what was received stays for readers.
fn release(sk: &mut Sk<'_>) {
    let sock = sk.sock();
    output::namespace(sock).table.remove(sk);
    sk.stop_timer();
    sk.purge_apart();
    let past = past(sk);
    let state = sk.state();
    state.role = Role::Idle(Idle::new(state.options()));
    // Where nobody can ask there is none, and nothing of its size is moved.
    if let (Role::Idle(idle), Some(_)) = (&mut state.role, &past) {
        idle.past = past;
    }
    state.reorder = None;
    state.flight.release();
    let unsent = state.send.clear();
    if unsent > 0 {
        sk.uncharge_sent(unsent);
    }
    if !sk.is_port_bound() {
        drop(sk.state().port.take());
        sk.forget_local_port();
    }
    sock.shared().tx.set_bytes(0);
    sock.notes().figures.clear();
    if matches!(sock.state(), SkState::ESTABLISHED | SkState::CLOSE_WAIT) {
        count(sk, Counter::EstabResets);
    }
    if sock.state() != SkState::CLOSE {
        trace::set_state(sk, SkState::CLOSE);
    }
}

/// What TCP_INFO is to say of the connection from now on.
fn past(sk: &mut Sk<'_>) -> Option<(Info, Instant)> {
    let is_orphan = sk.state().connection().is_some_and(|c| c.is_orphan());
    if sk.is_dead() || is_orphan {
        // Nobody can ask: in a close() that has begun, either.
        return None;
    }
    let config = output::namespace(sk.sock()).config();
    let cx = crate::namespace::context(&config);
    let state = sk.state();
    match &state.role {
        Role::Connection(connection) => Some((connection.info(&cx, state.flight()), cx.now)),
        Role::Idle(idle) => idle.past,
        Role::Listener(_) => None,
    }
}

/// Gives up the socket itself: closed, and no program has it. At most once.
pub(crate) fn discard(sk: &mut Sk<'_>) {
    if !matches!(sk.state().role, Role::Idle(_)) {
        release(sk);
    }
    if core::mem::take(&mut sk.state().orphan) {
        output::namespace(sk.sock()).remove_orphan();
    }
    drop(sk.state().port.take());
    keys::forget(sk);
    sk.destroy();
}

/// Resets a connection that nobody will accept. The socket goes with it. Any context.
pub(crate) fn abandon_child(child: Child<Tcp>) {
    let sock = child.reference();
    // Nobody owns a socket that was never accepted.
    let _ = sock.lock_bh(|sk| {
        sk.disown(child);
        abandon(sk);
    });
}

/// Resets a connection that no program has or will have. The socket goes with it. Any context.
pub(crate) fn abandon(sk: &mut Sk<'_>) {
    connection::with(sk, |connection, cx| connection.abort(cx));
    if sk.sock().state() == SkState::CLOSE {
        discard(sk);
    }
}

/// Ends a connection as an administrator asked (SOCK_DESTROY): resets it, and tells the program (ECONNABORTED). Any context.
pub(crate) fn kill(sk: &mut Sk<'_>) {
    // It has a program, or will have one when it is accepted.
    let is_dead = sk.is_dead();
    if matches!(sk.sock().state(), SkState::SYN_SENT | SkState::SYN_RECV) {
        count(sk, Counter::AttemptFails);
    }
    connection::with(sk, |connection, cx| connection.abort(cx));
    if !is_dead {
        let _ = sk.take_error();
        sk.report_error(econnaborted());
    }
}

/// connect() to AF_UNSPEC, and what inet_stream_connect() and inet_shutdown() do to a socket that is to
/// be new again. Process context.
pub(crate) fn disconnect(sk: &mut Owner<'_>) {
    let old = sk.sock().state();
    if old == SkState::LISTEN {
        listener::end(sk);
    } else if old != SkState::CLOSE {
        connection::with(sk, |connection, cx| connection.abort(cx));
        // The error of an abort of our own is what tcp_disconnect() sets.
        let _ = sk.take_error();
        sk.report_error(econnreset());
    }
    if old != SkState::CLOSE && sk.sock().state() != SkState::CLOSE {
        release(sk);
    }
    // As new: nothing is told of what was.
    if let Role::Idle(idle) = &mut sk.state().role {
        idle.past = None;
    }
    sk.purge();
    connection::set_rx_bytes(sk, 0);
    sk.sock().notes().urgent.set(Urgent::NONE);
    sk.clear_remote();
    route::forget_routes(sk);
    if !sk.is_address_bound() {
        sk.clear_local();
    }
    if !sk.is_port_bound() {
        connect::unbind(sk);
    }
    sk.clear_shutdown();
    sk.set_done(false);
}
