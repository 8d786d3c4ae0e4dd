// SPDX-License-Identifier: GPL-2.0

//! Bytes from the wire to the program (the adapter's `connection.rs` and `receive.rs`).

use oxtcp_engine::connection::{Payload, Rx};
use oxtcp_engine::{Context, Segment, SeqNum};

use super::memory;
use super::socket::{errno, tcp_state, Unread, RCV_SHUTDOWN};
use super::Engine;
use crate::backend::{Control, ControlData, Outcome, Output};
use crate::call::Transfer;

const MSG_OOB: u32 = 0x1;
const MSG_PEEK: u32 = 0x2;
const MSG_TRUNC: u32 = 0x20;
const MSG_DONTWAIT: u32 = 0x40;
const MSG_WAITALL: u32 = 0x100;
const MSG_ERRQUEUE: u32 = 0x2000;
const SOL_TCP: i64 = 6;
const TCP_CM_INQ: i64 = 36;

impl Engine {
    /// A segment for a socket's connection.
    pub(super) fn connection_segment(&mut self, id: usize, segment: &Segment) {
        let config = self.sysctls.config.clone();
        let cx = Context {
            now: self.instant(),
            config: &config,
        };
        let truesize = memory::truesize(segment.payload_len);
        let room = match segment.payload_len {
            0 => 0,
            _ => self.make_room(id, segment),
        };
        let socket = &mut self.sockets[id];
        let ranges = &mut socket.ranges;
        let super::socket::Role::Connection(connection) = &mut socket.role else {
            return;
        };
        let before = connection.rcv_nxt();
        let rx = Rx {
            reassembly: Some(ranges),
            room,
        };
        let payload = connection.on_segment(&cx, segment, rx, &mut socket.flight);
        let rcv_nxt = connection.rcv_nxt();
        let start = segment.payload().start;
        let unread = |skip: u32, len: u32| Unread {
            seq: start.add(skip),
            len,
            truesize,
        };
        match payload {
            Payload::None => {}
            Payload::InOrder { skip, len } => socket.queue.push_back(unread(skip, len)),
            Payload::OutOfOrder { skip, len } => socket.reorder.push(unread(skip, len)),
        }
        if rcv_nxt != before {
            self.take_reordered(id, rcv_nxt);
            self.update_receive_space(id, &cx);
        }
        self.settle(id, &cx);
    }

    /// How many bytes of a segment may be kept.
    fn make_room(&mut self, id: usize, segment: &Segment) -> u32 {
        let socket = &mut self.sockets[id];
        let full = socket.rmem() > socket.rcvbuf;
        let Some(connection) = socket.connection() else {
            return 0;
        };
        let in_order = !segment.payload().start.after(connection.rcv_nxt());
        if full {
            if !in_order || socket.reorder.is_empty() {
                return 0;
            }
            socket.reorder.clear();
            socket.ranges.clear();
            if socket.rmem() > socket.rcvbuf {
                return 0;
            }
        }
        u32::MAX
    }

    /// Moves what is in order now to the receive queue.
    fn take_reordered(&mut self, id: usize, rcv_nxt: SeqNum) {
        let socket = &mut self.sockets[id];
        let mut next = match socket.queue.back() {
            Some(last) => last.seq.add(last.len),
            None => rcv_nxt,
        };
        loop {
            let first = (0..socket.reorder.len()).reduce(|a, b| {
                match socket.reorder[b].seq.before(socket.reorder[a].seq) {
                    true => b,
                    false => a,
                }
            });
            let Some(first) = first else { break };
            if !socket.reorder[first].seq.before(rcv_nxt) {
                break;
            }
            let mut unread = socket.reorder.remove(first);
            let end = unread.seq.add(unread.len);
            if !end.after(next) {
                continue;
            }
            if unread.seq.before(next) {
                unread.len -= unread.seq.distance_to(next);
                unread.seq = next;
            }
            next = end;
            socket.queue.push_back(unread);
        }
    }

    /// Tells the engine how much the receive buffer takes.
    pub(super) fn update_receive_space(&mut self, id: usize, cx: &Context<'_>) {
        let socket = &mut self.sockets[id];
        let space = socket.receive_space();
        let full = memory::window_of(socket.rcvbuf);
        if let Some(connection) = socket.connection() {
            connection.set_recv_space(cx, space, full);
        }
    }

    /// recv() and its kin, from where `copied` bytes have been given already; `None` while it must wait.
    pub(super) fn receive(
        &mut self,
        id: usize,
        transfer: &Transfer,
        copied: &mut u64,
    ) -> Option<Outcome> {
        let flags = transfer.flags;
        let socket = &self.sockets[id];
        if flags & MSG_ERRQUEUE != 0 {
            return Some(Outcome::error(errno("EAGAIN")));
        }
        if socket.state == tcp_state::LISTEN {
            return Some(Outcome::error(errno("ENOTCONN")));
        }
        if flags & MSG_OOB != 0 {
            return Some(Outcome::error(errno("EINVAL")));
        }
        let len = transfer.len();
        let target = match flags & MSG_WAITALL != 0 {
            true => len,
            false => len.min(u64::from(socket.rcvlowat)),
        };
        let nonblock = socket.nonblock || flags & MSG_DONTWAIT != 0;
        while *copied < len {
            let skip = match flags & MSG_PEEK != 0 {
                true => *copied,
                false => 0,
            };
            let available = u64::from(self.sockets[id].rx_bytes()).saturating_sub(skip);
            if available > 0 {
                if transfer.null && flags & MSG_TRUNC == 0 {
                    return Some(match *copied {
                        0 => Outcome::error(errno("EFAULT")),
                        copied => Outcome::ok(copied as i64),
                    });
                }
                let got = available.min(len - *copied);
                if flags & MSG_PEEK == 0 {
                    self.take(id, got as u32);
                }
                *copied += got;
                continue;
            }
            if *copied >= target {
                break;
            }
            let socket = &mut self.sockets[id];
            let closed = socket.state == tcp_state::CLOSE;
            let over = socket.error != 0 || socket.shutdown & RCV_SHUTDOWN != 0 || closed;
            if *copied > 0 && over {
                break;
            }
            if *copied == 0 {
                if socket.done {
                    return self.received(id, transfer, 0);
                }
                if let Some(error) = socket.take_error() {
                    return Some(Outcome::error(error));
                }
                if socket.shutdown & RCV_SHUTDOWN != 0 {
                    return self.received(id, transfer, 0);
                }
                if closed {
                    return Some(Outcome::error(errno("ENOTCONN")));
                }
            }
            if nonblock {
                match *copied {
                    0 => return Some(Outcome::error(errno("EAGAIN"))),
                    _ => break,
                }
            }
            return None;
        }
        self.received(id, transfer, *copied)
    }

    /// What a receive call gives that did not fail.
    fn received(&self, id: usize, transfer: &Transfer, copied: u64) -> Option<Outcome> {
        if !transfer.message {
            return Some(Outcome::ok(copied as i64));
        }
        let socket = &self.sockets[id];
        let mut controls = Vec::new();
        if socket.tells_inq {
            let left = socket.rx_bytes() + u32::from(socket.done);
            controls.push(Control {
                level: SOL_TCP,
                kind: TCP_CM_INQ,
                data: ControlData::Int(i64::from(left)),
            });
        }
        Some(Outcome::with(copied as i64, Output::Message(0, controls)))
    }

    /// Takes bytes off the receive queue; the window may open.
    pub(super) fn take(&mut self, id: usize, len: u32) {
        let socket = &mut self.sockets[id];
        let mut left = len;
        while let Some(first) = socket.queue.front_mut() {
            if first.len > left {
                first.len -= left;
                first.seq = first.seq.add(left);
                break;
            }
            left -= first.len;
            socket.queue.pop_front();
        }
        let config = self.sysctls.config.clone();
        let cx = Context {
            now: self.instant(),
            config: &config,
        };
        let most = self.sysctls.rmem[2];
        let socket = &mut self.sockets[id];
        let fixed = socket.rcvbuf_locked;
        let Some(connection) = socket.connection() else {
            return;
        };
        if let Some(wanted) = connection.on_consumed(&cx, len, memory::window_of(most)) {
            let rcvbuf = memory::buffer_for(wanted).min(most);
            if !fixed && rcvbuf > socket.rcvbuf {
                socket.rcvbuf = rcvbuf;
            }
        }
        self.update_receive_space(id, &cx);
        self.settle(id, &cx);
    }
}
