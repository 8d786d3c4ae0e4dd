// SPDX-License-Identifier: GPL-2.0

//! Bytes from the program to the wire (the adapter's `send.rs` and `send_buffer.rs`).

use super::socket::{errno, tcp_state, tsflag, Role, SEND_SHUTDOWN};
use super::wire::BURST;
use super::Engine;
use crate::backend::Outcome;
use crate::call::Transfer;

const MSG_OOB: u32 = 0x1;
const MSG_DONTWAIT: u32 = 0x40;
const MSG_EOR: u32 = 0x80;
const MSG_MORE: u32 = 0x8000;
const MSG_FASTOPEN: u32 = 0x2000_0000;

/// What a chunk is charged beside its bytes; as in the adapter.
const UPKEEP: u32 = 896;

/// A send that is under way.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Progress {
    sent: u64,
    /// Of these, bytes that were there when all that was ready was sent last.
    pushed: u64,
}

impl Engine {
    /// send() and its kin, from where it stopped; `None` while it must wait.
    pub(super) fn send(
        &mut self,
        id: usize,
        transfer: &Transfer,
        progress: &mut Progress,
    ) -> Option<Outcome> {
        if transfer.flags & MSG_FASTOPEN != 0 {
            return Some(Outcome::error(errno("EOPNOTSUPP")));
        }
        let result = self.send_all(id, transfer, progress)?;
        if transfer.flags & MSG_EOR != 0 && progress.sent > 0 && result.is_ok() {
            self.end_message(id);
        }
        if progress.sent > 0 {
            self.stamp(id);
        }
        let more = transfer.flags & MSG_MORE != 0;
        let urgent = progress.sent > 0 && transfer.flags & MSG_OOB != 0;
        self.with_connection(id, |connection, _| {
            if urgent {
                connection.mark_urgent();
            }
            connection.set_more(more);
        });
        Some(match result {
            _ if progress.sent > 0 => Outcome::ok(progress.sent as i64),
            Ok(()) => Outcome::ok(0),
            Err(error) if error == errno("EPIPE") => {
                let error = self.sockets[id].take_error().unwrap_or(error);
                Outcome::error(error)
            }
            Err(error) => Outcome::error(error),
        })
    }

    fn send_all(
        &mut self,
        id: usize,
        transfer: &Transfer,
        progress: &mut Progress,
    ) -> Option<Result<(), i32>> {
        let nonblock = self.sockets[id].nonblock || transfer.flags & MSG_DONTWAIT != 0;
        match self.sockets[id].state {
            tcp_state::ESTABLISHED | tcp_state::CLOSE_WAIT => {}
            tcp_state::SYN_SENT | tcp_state::SYN_RECV if nonblock => {
                return Some(Err(errno("EAGAIN")))
            }
            tcp_state::SYN_SENT | tcp_state::SYN_RECV => return None,
            _ => return Some(Err(errno("EPIPE"))),
        }
        if let Err(error) = self.check_writable(id) {
            return Some(Err(error));
        }
        while progress.sent < transfer.len() {
            let (goal, mut room) = self.chunk(id);
            if room == 0 && !self.has_send_room(id) {
                self.push(id);
                progress.pushed = progress.sent;
                if !self.has_send_room(id) {
                    self.sockets[id].no_space = true;
                    if nonblock {
                        return Some(Err(errno("EAGAIN")));
                    }
                    return None;
                }
                if let Err(error) = self.check_writable(id) {
                    return Some(Err(error));
                }
                continue;
            }
            if transfer.null {
                return Some(Err(errno("EFAULT")));
            }
            if room == 0 {
                self.sockets[id].chunk = 0;
                room = goal;
            }
            let len = u64::from(room).min(transfer.len() - progress.sent) as u32;
            self.append(id, len);
            progress.sent += u64::from(len);
            if len == room {
                self.chunk_is_full(id, goal, progress);
            }
        }
        Some(Ok(()))
    }

    /// As the adapter's `chunk`: how large a chunk is, and how much of the last one is free.
    fn chunk(&mut self, id: usize) -> (u32, u32) {
        let socket = &mut self.sockets[id];
        let Some(connection) = socket.connection() else {
            return (1, 0);
        };
        let (goal, not_sent) = (connection.write_goal(BURST), connection.not_sent());
        let end = connection.write_seq();
        socket.chunk = socket.chunk.min(not_sent);
        let ended = socket.boundaries.last() == Some(&end);
        match socket.chunk == 0 || ended {
            true => (goal, 0),
            false => (goal, goal.saturating_sub(socket.chunk)),
        }
    }

    fn check_writable(&self, id: usize) -> Result<(), i32> {
        let socket = &self.sockets[id];
        let gone = !matches!(socket.role, Role::Connection(_));
        match socket.shutdown & SEND_SHUTDOWN != 0 || socket.error != 0 || gone {
            true => Err(errno("EPIPE")),
            false => Ok(()),
        }
    }

    /// Takes `len` bytes into the send buffer.
    fn append(&mut self, id: usize, len: u32) {
        let socket = &mut self.sockets[id];
        let begins = socket.chunk == 0;
        socket.wmem_queued += len;
        socket.chunk += len;
        let Some(connection) = socket.connection() else {
            return;
        };
        let start = connection.write_seq();
        connection.write(len);
        if begins {
            socket.chunks.push_back(start);
            socket.wmem_queued += UPKEEP;
        }
        socket.send_start.get_or_insert(start);
    }

    /// As the adapter's `send_all`: all that is ready goes, or a packet, or nothing.
    fn chunk_is_full(&mut self, id: usize, goal: u32, progress: &mut Progress) {
        let written = u32::try_from(progress.sent - progress.pushed).unwrap_or(u32::MAX);
        let Some(connection) = self.sockets[id].connection() else {
            return;
        };
        if connection.forces_push(written) {
            self.push(id);
            progress.pushed = progress.sent;
        } else if connection.not_sent() <= goal {
            self.sends_one = true;
            self.with_connection(id, |connection, _| connection.set_filling());
            self.sends_one = false;
        }
    }

    /// Lets the engine send while more of the message is to come.
    fn push(&mut self, id: usize) {
        self.with_connection(id, |connection, _| connection.set_more(true));
    }

    /// Timestamps are wanted of the last byte: as the adapter's `SendBuffer::stamp`.
    fn stamp(&mut self, id: usize) {
        let socket = &mut self.sockets[id];
        if socket.tsflags & tsflag::TX == 0 {
            return;
        }
        let mut flags = socket.tsflags & tsflag::TX;
        let Some(connection) = socket.connection() else {
            return;
        };
        let (end, not_sent) = (connection.write_seq(), connection.not_sent());
        let chunk = socket.chunk.min(not_sent);
        socket.stamps.retain(|(seq, earlier)| {
            let same = seq.distance_to(end) <= chunk;
            if same {
                flags |= earlier;
            }
            !same
        });
        socket.stamps.push((end.sub(1), flags));
    }

    /// A message ends with what is written; what follows begins another piece of the send buffer.
    fn end_message(&mut self, id: usize) {
        let socket = &mut self.sockets[id];
        if let Some(connection) = socket.connection() {
            let end = connection.write_seq();
            socket.boundaries.push(end);
        }
    }

    /// Frees the send buffer up to what the peer has acknowledged.
    pub(super) fn release_acknowledged(&mut self, id: usize) {
        let socket = &mut self.sockets[id];
        let (Some(start), Some(connection)) = (socket.send_start, socket.connection()) else {
            return;
        };
        let (una, end) = (connection.first_unacked_byte(), connection.write_seq());
        if !start.before(una) {
            return;
        }
        let at = self.now;
        let socket = &mut self.sockets[id];
        let key = socket.tskey();
        for (seq, flags) in socket.stamps.iter().filter(|(seq, _)| seq.before(una)) {
            if flags & tsflag::TX_ACK != 0 {
                socket.errors.push_back((tsflag::STAMP_ACK, key(*seq), at));
            }
        }
        socket.stamps.retain(|(seq, _)| !seq.before(una));
        let released = start.distance_to(una);
        socket.boundaries.retain(|end| end.after(una));
        socket.wmem_queued -= released;
        while !socket.chunks.is_empty() {
            let next = socket.chunks.get(1).copied().unwrap_or(end);
            if next.after(una) {
                break;
            }
            socket.chunks.pop_front();
            socket.wmem_queued -= UPKEEP;
        }
        socket.send_start = (una != end).then_some(una);
    }

    /// Whether a write need not wait (`sk_stream_memory_free`).
    fn has_send_room(&self, id: usize) -> bool {
        let socket = &self.sockets[id];
        socket.wmem_queued < socket.sndbuf && self.unsent(id) < self.lowat(id)
    }

    /// Whether a writer that waits is woken (`sk_stream_is_writeable`).
    pub(super) fn is_writeable(&self, id: usize) -> bool {
        let socket = &self.sockets[id];
        let free = socket.sndbuf.saturating_sub(socket.wmem_queued);
        let room = self.unsent(id).saturating_mul(2) < self.lowat(id);
        free > 0 && free >= socket.wmem_queued / 2 && room
    }

    fn unsent(&self, id: usize) -> u32 {
        match &self.sockets[id].role {
            Role::Connection(connection) => connection.send_queue_not_sent(),
            _ => 0,
        }
    }

    fn lowat(&self, id: usize) -> u32 {
        match self.sockets[id].notsent_lowat {
            0 => self.sysctls.notsent_lowat,
            lowat => lowat,
        }
    }
}
