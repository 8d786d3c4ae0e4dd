// SPDX-License-Identifier: GPL-2.0

//! recv() and its kin, and what ioctl() tells of the queues. Process context, with the socket lock.

use kernel::error::code::ENOIOCTLCMD;
use kernel::prelude::*;
use kernel::sync::rcu;

use crate::connection;
use crate::output;
use crate::protocol::{Owner, Role, Sk};
use crate::sys::bindings;
use crate::sys::errno::enotconn;
use crate::sys::sock::{Flag, SkState};
use crate::sys::stamp::RxStamps;
use crate::sys::user::{Message, ToProgram};
use crate::urgent;

/// Queue lengths that ioctl() tells (`linux/sockios.h`).
const SIOCINQ: u32 = 0x541b;
const SIOCOUTQ: u32 = 0x5411;
const SIOCOUTQNSD: u32 = 0x894b;
const SIOCATMARK: u32 = 0x8905;

/// Gives up to `len` bytes; returns how many, 0 at the end of the stream.
///
/// # Errors
///
/// ENOTCONN, EAGAIN (also for an empty error queue), EINTR and ERESTARTSYS, EFAULT, for MSG_OOB those of [`urgent::receive`], and
/// the connection's own error.
pub(crate) fn receive(
    sk: &mut Owner<'_>,
    to: &mut Message<'_, ToProgram>,
    len: usize,
    flags: u32,
) -> Result<usize> {
    if flags & bindings::MSG_ERRQUEUE != 0 {
        return sk.receive_error(to, len);
    }
    if sk.sock().state() == SkState::LISTEN {
        return Err(enotconn());
    }
    let mut stamps = RxStamps::none();
    let received = match flags & bindings::MSG_OOB {
        0 => receive_all(sk, to, len, flags, &mut stamps)?,
        _ => urgent::receive(sk, to, len, flags)?,
    };
    sk.put_rx_stamps(to, stamps);
    if sk.state().tells_inq || to.wants_inq() {
        let inq = bytes_left(sk);
        to.set_inq(inq);
        if sk.state().tells_inq {
            to.put_control(bindings::SOL_TCP, bindings::TCP_CM_INQ, inq);
        }
    }
    Ok(received)
}

/// What TCP_CM_INQ tells (`tcp_inq_hint()`): bytes that can be read; the end of the stream counts as one, so that who reads on as
/// long as there is something finds it.
fn bytes_left(sk: &mut Owner<'_>) -> i32 {
    let end = u32::from(sk.sock().flag(Flag::Done));
    i32::try_from(connection::rx_bytes(sk).saturating_add(end)).unwrap_or(i32::MAX)
}

fn receive_all(
    sk: &mut Owner<'_>,
    to: &mut Message<'_, ToProgram>,
    len: usize,
    flags: u32,
    stamps: &mut RxStamps,
) -> Result<usize> {
    let peek = flags & bindings::MSG_PEEK != 0;
    let discard = flags & bindings::MSG_TRUNC != 0;
    let waitall = flags & bindings::MSG_WAITALL != 0;
    let target = sk.sock().rcvlowat(waitall, len);
    let mut timeo = sk.sock().rcvtimeo(flags & bindings::MSG_DONTWAIT != 0);
    let mut copied: usize = 0;
    let mut fault = Ok(());
    let mut taken: usize = 0;
    // An urgent byte that a look has passed.
    let mut passed: usize = 0;
    loop {
        let skip = if peek {
            copied.saturating_add(passed)
        } else {
            0
        };
        // A read ends where an urgent byte is, and the next one passes it by, unless a signal tells of it.
        let ahead = urgent::ahead(sk, skip);
        if ahead == Some(0) {
            if copied > 0 {
                break;
            }
            sk.check_signal(timeo)?;
        }
        let available = (connection::rx_bytes(sk) as usize).saturating_sub(skip);
        if available > 0 {
            let mut want = available.min(len.saturating_sub(copied));
            match ahead {
                Some(0) if want > 0 && !urgent::is_inline(sk) => {
                    if peek {
                        passed = passed.saturating_add(1);
                    } else {
                        connection::take(sk, 1);
                        taken = taken.saturating_add(1);
                    }
                    continue;
                }
                None | Some(0) => {}
                Some(ahead) => want = want.min(ahead),
            }
            let room = (!discard).then_some(&mut *to);
            let got = match sk.copy_queued(room, skip, want, stamps) {
                Ok(got) => got,
                Err(error) => {
                    fault = Err(error);
                    break;
                }
            };
            if got == 0 {
                break;
            }
            if !peek {
                connection::take(sk, got as u32);
                taken = taken.saturating_add(got);
            }
            copied = copied.saturating_add(got);
            if copied >= len {
                break;
            }
            continue;
        }
        if copied >= target {
            break;
        }
        if let Some(end) = nothing_comes(sk, copied)? {
            copied = end;
            break;
        }
        made_room(sk, &mut taken);
        let reader = urgent::reader(sk);
        let waited = sk.wait(&mut timeo, false, |sk| {
            connection::rx_bytes(sk) as usize > skip || is_over(sk)
        });
        if let Err(error) = waited {
            if copied == 0 {
                return Err(error);
            }
            break;
        }
        // An urgent byte that was passed has given way to a newer one, or somebody else has read: what is looked at begins there.
        if urgent::reader(sk) != reader {
            passed = 0;
        }
    }
    made_room(sk, &mut taken);
    if copied == 0 {
        fault?;
    }
    Ok(copied)
}

/// Whether no more data will come: `Some(bytes to return)`, or the error to tell when there were none.
fn nothing_comes(sk: &mut Owner<'_>, copied: usize) -> Result<Option<usize>> {
    let sock = sk.sock();
    if copied > 0 {
        return Ok(is_over(sk).then_some(copied));
    }
    if sock.flag(Flag::Done) {
        return Ok(Some(0));
    }
    sk.take_error()?;
    if u32::from(sock.shutdown()) & bindings::RCV_SHUTDOWN != 0 {
        return Ok(Some(0));
    }
    if sock.state() == SkState::CLOSE {
        // Never connected, or not any more.
        return Err(enotconn());
    }
    Ok(None)
}

fn is_over(sk: &Sk<'_>) -> bool {
    let sock = sk.sock();
    sock.has_error()
        || u32::from(sock.shutdown()) & bindings::RCV_SHUTDOWN != 0
        || sock.state() == SkState::CLOSE
}

/// The reader has taken so many bytes: the window may open, and the buffer grow with the reader's pace.
fn made_room(sk: &mut Owner<'_>, taken: &mut usize) {
    let taken = core::mem::take(taken);
    if taken == 0 {
        return;
    }
    let memory = connection::receive_memory(sk.sock());
    let namespace = output::namespace(sk.sock());
    let rcu = rcu::read_lock();
    let cx = namespace.context_under(&rcu);
    let unread = connection::rx_bytes(sk);
    let state = sk.state();
    let held = state.reorder.as_deref();
    let Role::Connection(connection) = &mut state.role else {
        return;
    };
    let bytes = u32::try_from(taken).unwrap_or(u32::MAX);
    let limit = connection.on_consumed(&cx, bytes, unread, &memory, held);
    let is_undisturbed = connection.is_undisturbed();
    if let Some(limit) = limit {
        sk.set_rcvbuf(limit);
    }
    // Most reads make nothing due.
    if !is_undisturbed {
        connection::settle(sk, &cx);
    }
}

/// Whether splice() gets nothing now: it does not pass an urgent byte by, inline or not (`tcp_splice_read()`).
///
/// # Errors
///
/// EAGAIN, EINTR and ERESTARTSYS, ENOTCONN, and the connection's own error.
pub(crate) fn splice_stops(sk: &mut Owner<'_>, nonblock: bool) -> Result<bool> {
    if urgent::ahead(sk, 0) != Some(0) {
        return Ok(false);
    }
    let mut timeo = sk.sock().rcvtimeo(nonblock);
    if connection::rx_bytes(sk) == 0 && !is_over(sk) {
        sk.wait(&mut timeo, false, |sk| {
            connection::rx_bytes(sk) > 0 || is_over(sk)
        })?;
    }
    if connection::rx_bytes(sk) == 0 {
        return Ok(false);
    }
    if nothing_comes(sk, 0)?.is_none() && timeo == 0 {
        return Err(EAGAIN);
    }
    Ok(true)
}

/// Bytes that can be read up to an urgent one (`tcp_inq()`).
fn before_mark(sk: &mut Owner<'_>) -> u32 {
    let all = connection::rx_bytes(sk);
    match urgent::ahead(sk, 0) {
        Some(ahead) if !urgent::is_inline(sk) && ahead < all as usize => ahead as u32,
        _ => all,
    }
}

/// ioctl(2): how much is in the queues.
pub(crate) fn ioctl(sk: &mut Owner<'_>, command: u32) -> Result<i32> {
    let state = sk.sock().state();
    if state == SkState::LISTEN && matches!(command, SIOCINQ | SIOCOUTQ | SIOCOUTQNSD) {
        return Err(EINVAL);
    }
    let bytes = match command {
        SIOCINQ => match state {
            SkState::SYN_SENT | SkState::SYN_RECV => 0,
            _ => before_mark(sk),
        },
        SIOCOUTQ => sk.state().connection().map_or(0, |c| c.send_queue()),
        SIOCOUTQNSD => sk
            .state()
            .connection()
            .map_or(0, |c| c.send_queue_not_sent()),
        SIOCATMARK => u32::from(urgent::urgent(sk).is_here()),
        _ => return Err(ENOIOCTLCMD),
    };
    Ok(i32::try_from(bytes).unwrap_or(i32::MAX))
}
