// SPDX-License-Identifier: GPL-2.0

//! send() and its kin. Process context, with the socket lock.

use kernel::prelude::*;

use crate::connection;
use crate::protocol::Owner;
use crate::sys::bindings;
use crate::sys::errno::{enobufs, eopnotsupp};
use crate::sys::route;
use crate::sys::sock::SkState;
use crate::sys::stamp::TxStamps;
use crate::sys::user::{FromProgram, Message};

/// Flags that mean something we do not do. Refused, so that nobody relies on them.
const UNSUPPORTED: u32 = bindings::MSG_FASTOPEN;

/// Takes the message into the send buffer; returns how many bytes.
///
/// # Errors
///
/// EPIPE (with SIGPIPE, but for MSG_NOSIGNAL), ENOTCONN's kin by the state, EAGAIN, EINTR and ERESTARTSYS,
/// EFAULT, EOPNOTSUPP for MSG_FASTOPEN, those of control messages, and the connection's own error.
pub(crate) fn send(sk: &mut Owner<'_>, from: &mut Message<'_, FromProgram>) -> Result<usize> {
    let flags = from.flags();
    if flags & UNSUPPORTED != 0 {
        return Err(eopnotsupp());
    }
    let mut sent = 0;
    let mut stamps = TxStamps::default();
    let result = send_all(sk, from, flags, &mut stamps, &mut sent);
    if flags & bindings::MSG_EOR != 0 && sent > 0 && result.is_ok() {
        // All of the message is in: as in Linux, one that was cut short has no end.
        sk.state().send.end_message();
    }
    if sent > 0 && !stamps.is_none() {
        let not_sent = sk.state().connection().map_or(0, |c| c.not_sent());
        sk.state().send.stamp(stamps, not_sent);
    }
    let more = flags & bindings::MSG_MORE != 0;
    let urgent = sent > 0 && flags & bindings::MSG_OOB != 0;
    connection::with(sk, |connection, _| {
        if urgent {
            connection.mark_urgent();
        }
        connection.set_more(more);
    });
    match result {
        _ if sent > 0 => Ok(sent),
        Ok(()) => Ok(0),
        Err(error) => Err(sk.send_error(flags, error)),
    }
}

fn send_all(
    sk: &mut Owner<'_>,
    from: &mut Message<'_, FromProgram>,
    flags: u32,
    stamps: &mut TxStamps,
    sent: &mut usize,
) -> Result {
    let mut timeo = sk.sock().sndtimeo(flags & bindings::MSG_DONTWAIT != 0);
    if !matches!(
        sk.sock().state(),
        SkState::ESTABLISHED | SkState::CLOSE_WAIT
    ) {
        sk.wait_connected(&mut timeo)?;
    }
    *stamps = sk.tx_stamps(from)?;
    check_writable(sk)?;
    let mut pushed = *sent;
    let urgent = flags & bindings::MSG_OOB != 0;
    // Held back like MSG_MORE until the last byte is in: no short segment leaves between two chunks.
    while from.remaining() > 0 {
        let (goal, mut room) = chunk(sk, urgent)?;
        if room == 0 {
            if !sk.has_send_room() {
                push(sk, urgent && *sent > 0);
                pushed = *sent;
                if !sk.has_send_room() {
                    sk.wait_send_room(&mut timeo)?;
                }
                check_writable(sk)?;
                continue;
            }
            sk.state().send.begin_chunk();
            room = goal;
        }
        let fragment = match sk.take_message(from, room as usize) {
            Ok(fragment) => fragment,
            Err(error) if error == enobufs() => {
                push(sk, urgent && *sent > 0);
                sk.wait_send_room(&mut timeo)?;
                check_writable(sk)?;
                continue;
            }
            Err(error) => return Err(error),
        };
        let len = fragment.len();
        append(sk, fragment)?;
        *sent = sent.saturating_add(len as usize);
        if len == room && !urgent {
            let written = u32::try_from(sent.saturating_sub(pushed)).unwrap_or(u32::MAX);
            let Some(connection) = sk.state().connection() else {
                continue;
            };
            if connection.forces_push(written) {
                push(sk, false);
                pushed = *sent;
            } else if connection.not_sent() <= goal {
                // What is older has been sent (tcp_push_one()).
                connection::push_one(sk);
            }
        }
    }
    Ok(())
}

/// How large a chunk is, and how much of the last one is free. What is urgent comes in single segments.
fn chunk(sk: &mut Owner<'_>, urgent: bool) -> Result<(u32, u32)> {
    let most = match urgent {
        true => 0,
        false => route::burst_limit(sk),
    };
    let state = sk.state();
    let connection = state.connection().ok_or(EPIPE)?;
    let (goal, not_sent) = (connection.write_goal(most), connection.not_sent());
    Ok((goal, state.send.room_in_chunk(goal, not_sent)))
}

/// A socket that has been shut down, or whose connection is gone, takes nothing more.
fn check_writable(sk: &mut Owner<'_>) -> Result {
    let shut = u32::from(sk.sock().shutdown()) & bindings::SEND_SHUTDOWN != 0;
    if shut || sk.sock().has_error() || sk.state().connection().is_none() {
        return Err(EPIPE);
    }
    Ok(())
}

fn append(sk: &mut Owner<'_>, fragment: crate::sys::page::PageFragment) -> Result {
    let len = fragment.len();
    let state = sk.state();
    let crate::protocol::Role::Connection(connection) = &mut state.role else {
        sk.uncharge_sent(len);
        return Err(EPIPE);
    };
    match state.send.append(connection.write_seq(), fragment) {
        Ok(upkeep) => {
            connection.write(len);
            sk.charge_sent(upkeep);
            connection::publish_unsent(sk);
        }
        Err(error) => {
            sk.uncharge_sent(len);
            return Err(error);
        }
    }
    Ok(())
}

/// Lets the engine send while more of the message is to come; what there is of it is `urgent` up to here, perhaps.
fn push(sk: &mut Owner<'_>, urgent: bool) {
    connection::with(sk, |connection, _| {
        if urgent {
            connection.mark_urgent();
        }
        connection.set_more(true);
    });
}

/// A sendfile() that announced more has come to the file's end.
pub(crate) fn more_ends(sk: &mut Owner<'_>) {
    connection::with(sk, |connection, _| connection.set_more(false));
}
