// SPDX-License-Identifier: GPL-2.0

//! Bytes from the wire to the program (the adapter's `connection.rs` and `receive.rs`).

use oxtcp_engine::connection::{Packet, Payload, Reading, Room, Rx, UrgentPlace, Useless};
use oxtcp_engine::{Context, Segment, SeqNum};

use super::memory::{self, Unread};
use super::socket::{errno, tcp_state, tsflag, RCV_SHUTDOWN};
use super::Engine;
use crate::backend::{Control, ControlData, Outcome, Output};
use crate::call::Transfer;

const MSG_OOB: u32 = 0x1;
const MSG_PEEK: u32 = 0x2;
const MSG_TRUNC: u32 = 0x20;
const MSG_DONTWAIT: u32 = 0x40;
const MSG_WAITALL: u32 = 0x100;
const MSG_ERRQUEUE: u32 = 0x2000;
const SOL_IP: i64 = 0;
const SOL_SOCKET: i64 = 1;
const SOL_TCP: i64 = 6;
const SOL_IPV6: i64 = 41;
const IP_RECVERR: i64 = 11;
const IPV6_RECVERR: i64 = 25;
const SCM_TIMESTAMPING: i64 = 37;
/// SO_EE_ORIGIN_TIMESTAMPING
const ORIGIN_TIMESTAMPING: i64 = 4;
const TCP_CM_INQ: i64 = 36;

impl Engine {
    /// A segment for a socket's connection.
    pub(super) fn connection_segment(&mut self, id: usize, segment: &Segment) {
        let config = self.sysctls.config;
        let cx = Context::new(self.instant(), &config);
        let bytes = self.headers + segment.header.options.wire_len() as u32 + segment.payload_len;
        let room = segment.payload_len > 0 && self.make_room(id, segment);
        let most = self.sysctls.rmem[2];
        let segment_size = self.segment_size;
        let socket = &mut self.sockets[id];
        let unread = socket.rx_bytes();
        let lowat = socket.rcvlowat;
        let ranges = &mut socket.ranges;
        let super::socket::Role::Connection(connection) = &mut socket.role else {
            return;
        };
        let before = connection.rcv_nxt();
        let rx = Rx {
            reassembly: Some(ranges),
            room,
            packet: Packet {
                truesize: memory::cost(bytes).0,
                // These packets are not in pages alone.
                head: 0,
                segment_size,
            },
            most,
            unread,
            lowat,
            urgent: Some(UrgentPlace {
                urgent: &mut socket.urgent,
                inline: false,
            }),
        };
        let payload = connection.on_segment(&cx, segment, rx, &mut socket.flight);
        let rcv_nxt = connection.rcv_nxt();
        let start = segment.payload().start;
        match payload {
            Payload::None => {}
            Payload::InOrder { skip, len } => {
                socket.enqueue(Unread::new(start.add(skip), len, bytes));
            }
            Payload::OutOfOrder { skip, len } => {
                socket.keep_apart(Unread::new(start.add(skip), len, bytes));
            }
        }
        if rcv_nxt != before {
            self.take_reordered(id, rcv_nxt);
        }
        self.note_urgent(id, segment);
        if payload != Payload::None {
            self.update_receive_memory(id, matches!(payload, Payload::OutOfOrder { .. }));
        }
        self.settle(id, &cx);
    }

    /// The urgent byte may have come; the one before it leaves, if the reader stood there.
    fn note_urgent(&mut self, id: usize, segment: &Segment) {
        let socket = &mut self.sockets[id];
        if socket.urgent.offset_in(segment).is_some() {
            socket.urgent.set(0);
        }
        if socket.urgent.take_displaced() {
            socket.consume(1);
        }
    }

    /// Whether the segment's packet may be kept, as the adapter's `make_room`.
    fn make_room(&mut self, id: usize, segment: &Segment) -> bool {
        let most = self.sysctls.rmem[2];
        let socket = &mut self.sockets[id];
        let (memory, unread) = (socket.memory(most), socket.rx_bytes());
        let Some(connection) = socket.connection() else {
            return false;
        };
        let in_order = !segment.payload().start.after(connection.rcv_nxt());
        match connection.make_room(segment, &memory, unread) {
            Room::Enough => true,
            Room::Useless(Useless::Old) => false,
            Room::Useless(Useless::Beyond) => {
                self.drops.beyond_window += 1;
                false
            }
            Room::Useless(Useless::Closed) => {
                self.drops.zero_window += 1;
                false
            }
            Room::Over(limit) => {
                socket.rcvbuf = limit;
                if socket.memory(most).is_over() {
                    socket.collapse();
                }
                if socket.memory(most).is_over() {
                    socket.prune(segment.payload().start, most);
                }
                let room = !socket.memory(most).is_over();
                if !room && in_order {
                    self.drops.queue_full += 1;
                }
                room
            }
        }
    }

    /// Moves what is in order now to the receive queue.
    fn take_reordered(&mut self, id: usize, rcv_nxt: SeqNum) {
        let socket = &mut self.sockets[id];
        let mut next = match socket.queue.back() {
            Some(last) => last.end(),
            None => rcv_nxt,
        };
        while let Some(mut unread) = socket.reorder.first().copied() {
            if !unread.seq.before(rcv_nxt) {
                break;
            }
            socket.reorder.remove(0);
            let end = unread.end();
            if !end.after(next) {
                continue;
            }
            if unread.seq.before(next) {
                unread.len -= unread.seq.distance_to(next);
                unread.seq = next;
            }
            next = end;
            socket.enqueue(unread);
        }
    }

    /// Tells the engine what the receive queues take; where something is missing, the buffer of a program that has the
    /// socket may grow.
    fn update_receive_memory(&mut self, id: usize, hole: bool) {
        let accepted = self.is_open(id);
        let most = self.sysctls.rmem[2];
        let socket = &mut self.sockets[id];
        let memory = socket.memory(most);
        let super::socket::Role::Connection(connection) = &mut socket.role else {
            return;
        };
        connection.set_recv_memory(&memory);
        if hole && accepted {
            if let Some(limit) = connection.grow_for_hole(&memory, Some(&socket.ranges)) {
                socket.rcvbuf = limit;
            }
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
            return Some(self.receive_error(id, transfer));
        }
        if socket.state == tcp_state::LISTEN {
            return Some(Outcome::error(errno("ENOTCONN")));
        }
        let len = transfer.len();
        if flags & MSG_OOB != 0 {
            let peek = flags & MSG_PEEK != 0;
            return Some(match self.sockets[id].urgent.read(peek) {
                Reading::Byte(_) => Outcome::ok(len.min(1) as i64),
                Reading::NotYet => Outcome::error(errno("EAGAIN")),
                Reading::Nothing => Outcome::error(errno("EINVAL")),
            });
        }
        let target = match flags & MSG_WAITALL != 0 {
            true => len,
            false => len.min(u64::from(socket.rcvlowat)),
        };
        let nonblock = socket.nonblock || flags & MSG_DONTWAIT != 0;
        while *copied < len {
            let socket = &self.sockets[id];
            let mark = socket.before_urgent();
            let skip = match flags & MSG_PEEK != 0 {
                // A look passes an urgent byte as well.
                true => *copied + u64::from(mark == Some(0)),
                false => 0,
            };
            let mut available = u64::from(socket.rx_bytes()).saturating_sub(skip);
            match mark {
                Some(0) if flags & MSG_PEEK != 0 => {}
                // A read ends here, and the next one passes the byte by.
                Some(0) if *copied > 0 => break,
                Some(0) if available > 0 => {
                    self.take(id, 1);
                    continue;
                }
                Some(ahead) if ahead <= skip && skip > 0 => break,
                Some(ahead) => available = available.min(ahead - skip),
                None => {}
            }
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

    /// recvmsg(MSG_ERRQUEUE): a timestamp. What it is of comes with it, but with OPT_TSONLY; no script has room for that.
    fn receive_error(&mut self, id: usize, transfer: &Transfer) -> Outcome {
        let v6 = self.v6;
        let socket = &mut self.sockets[id];
        if !transfer.is_empty() {
            return Outcome::error(errno("EOPNOTSUPP"));
        }
        let Some((stage, key, at)) = socket.errors.pop_front() else {
            return Outcome::error(errno("EAGAIN"));
        };
        let cut = match socket.tsflags & tsflag::OPT_TSONLY != 0 {
            true => 0,
            false => MSG_TRUNC,
        };
        let mut controls = Vec::new();
        if socket.tsflags & tsflag::SOFTWARE != 0 {
            controls.push(Control {
                level: SOL_SOCKET,
                kind: SCM_TIMESTAMPING,
                data: ControlData::Time(at),
            });
        }
        let error = [
            i64::from(errno("ENOMSG")),
            ORIGIN_TIMESTAMPING,
            0,
            0,
            stage,
            i64::from(key),
        ];
        let (level, kind) = match v6 {
            true => (SOL_IPV6, IPV6_RECVERR),
            false => (SOL_IP, IP_RECVERR),
        };
        controls.push(Control {
            level,
            kind,
            data: ControlData::Error(error),
        });
        Outcome::with(0, Output::Message(MSG_ERRQUEUE | cut, controls))
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
        self.sockets[id].consume(len);
        let config = self.sysctls.config;
        let cx = Context::new(self.instant(), &config);
        let most = self.sysctls.rmem[2];
        let socket = &mut self.sockets[id];
        let (memory, unread) = (socket.memory(most), socket.rx_bytes());
        let super::socket::Role::Connection(connection) = &mut socket.role else {
            return;
        };
        let held = Some(&socket.ranges);
        if let Some(limit) = connection.on_consumed(&cx, len, unread, &memory, held) {
            socket.rcvbuf = limit;
        }
        self.settle(id, &cx);
    }
}
