// SPDX-License-Identifier: GPL-2.0

//! `/proc/net/oxtcp` and `/proc/net/oxtcp6`: what exists, in the layout of `/proc/net/tcp` and
//! `/proc/net/tcp6`.

use core::fmt::Write;

use kernel::seq_file::SeqFile;
use kernel::seq_print;
use kernel::sync::atomic::Relaxed;

use crate::figures::{Figures, Timer, TICK};
use crate::half_open::Mini;
use crate::listener;
use crate::namespace::Namespace;
use crate::output::{scope, unscoped};
use crate::protocol::{Socket, Tcp};
use crate::sys::bindings;
use crate::sys::diag::{Head, Request};
use crate::sys::proc::{SeqRows, Uid};
use crate::sys::sock::SkState;
use crate::sys::table::{self, Endpoint, FlowKey, FlowTable, Found};

/// The file for IPv4.
pub(crate) struct Rows4;

/// The file for IPv6.
pub(crate) struct Rows6;

impl SeqRows for Rows4 {
    type Protocol = Tcp;
    type Row = Row;

    fn header(seq: &SeqFile) {
        let mut line = Line::new();
        let _ = line.write_fmt(format_args!(
            "  sl  local_address rem_address   {REST_OF_HEADER}"
        ));
        line.pad(seq);
    }

    fn table(namespace: &Namespace) -> &FlowTable<Tcp> {
        &namespace.table
    }

    fn row(found: Found<'_, Tcp>) -> Option<Row> {
        Row::of(found, false)
    }

    fn show(row: &Row, number: u32, seq: &SeqFile) {
        row.show(seq, number);
    }
}

impl SeqRows for Rows6 {
    type Protocol = Tcp;
    type Row = Row;

    fn header(seq: &SeqFile) {
        seq_print!(
            seq,
            "  sl  {:<38}{:<38}{}\n",
            "local_address",
            "remote_address",
            REST_OF_HEADER
        );
    }

    fn table(namespace: &Namespace) -> &FlowTable<Tcp> {
        &namespace.table
    }

    fn row(found: Found<'_, Tcp>) -> Option<Row> {
        Row::of(found, true)
    }

    fn show(row: &Row, number: u32, seq: &SeqFile) {
        row.show(seq, number);
    }
}

const REST_OF_HEADER: &str = "st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";

/// Lines for IPv4 are as long as those of `/proc/net/tcp` (`TMPSZ` of `tcp_ipv4.c`, less the line's end).
const WIDTH: usize = 149;

/// A line that is made whole before it is shown, so that it can be padded.
struct Line {
    bytes: [u8; 256],
    len: usize,
}

impl Line {
    fn new() -> Self {
        Self {
            bytes: [0; 256],
            len: 0,
        }
    }

    fn as_str(&self) -> &str {
        let bytes = self.bytes.get(..self.len).unwrap_or(&[]);
        core::str::from_utf8(bytes).unwrap_or("")
    }

    fn pad(&self, seq: &SeqFile) {
        seq_print!(seq, "{:<WIDTH$}\n", self.as_str());
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> core::fmt::Result {
        let end = self.len.checked_add(text.len()).ok_or(core::fmt::Error)?;
        let to = self.bytes.get_mut(self.len..end).ok_or(core::fmt::Error)?;
        to.copy_from_slice(text.as_bytes());
        self.len = end;
        Ok(())
    }
}

/// No socket is in this state.
const TIME_WAIT: u8 = bindings::TCP_TIME_WAIT as u8;

/// What a row says. It may be shown in a later read(2) than it was taken: it holds nothing.
pub(crate) struct Row {
    v6: bool,
    key: FlowKey,
    state: u8,
    tx: u32,
    rx: u32,
    timer: Timer,
    socket: Option<OfSocket>,
}

/// What only a socket's row says.
struct OfSocket {
    uid: Uid,
    inode: u64,
    references: i32,
    figures: Figures,
}

/// A socket's flow as it is shown: the remote end that a listener has in the table is only its place there.
pub(crate) fn shown_flow(sock: &Socket) -> FlowKey {
    let key = sock.flow();
    match sock.state() {
        SkState::LISTEN => FlowKey::new(key.local(), Endpoint::NONE),
        _ => key,
    }
}

impl Row {
    fn of(found: Found<'_, Tcp>, v6: bool) -> Option<Self> {
        match found {
            Found::Sock(sock) => (sock.is_v6() == v6).then(|| Row::of_socket(&sock)),
            Found::Mini(mini) => Row::of_mini(mini).filter(|row| row.v6 == v6),
            // Its members stand in the table themselves.
            Found::Post(_) => None,
        }
    }

    /// A socket's. Any context.
    pub(crate) fn of_socket(sock: &Socket) -> Self {
        let state = sock.state();
        let shared = sock.shared();
        let (tx, rx) = if state == SkState::LISTEN {
            (0, listener::waiting(sock))
        } else {
            (shared.tx.bytes(), shared.rx_bytes.load(Relaxed))
        };
        let (timer, mut figures) = sock.notes().figures.load();
        if state == SkState::LISTEN {
            figures.ssthresh = 0;
        }
        Row {
            v6: sock.is_v6(),
            key: shown_flow(sock),
            state: state.number(),
            tx,
            rx,
            timer,
            socket: Some(OfSocket {
                uid: sock.uid(),
                inode: sock.inode(),
                references: sock.references(),
                figures,
            }),
        }
    }

    /// A half-open connection's or a TIME-WAIT's; `None` for one that has left the table. Any context.
    pub(crate) fn of_mini(mini: &table::Mini<Tcp>) -> Option<Self> {
        let key = mini.key();
        let guard = mini.lock()?;
        let ticks = guard.timer_left().ticks();
        let (state, kind, retransmits, v6) = match &*guard {
            stale if stale.is_stale() => return None,
            Mini::HalfOpen {
                request, listener, ..
            } => {
                let state = SkState::SYN_RECV.number();
                (state, 1, request.resent(), listener.is_v6())
            }
            Mini::TimeWait { time_wait, v6, .. } | Mini::SignedTimeWait { time_wait, v6, .. } => {
                match time_wait.awaits_fin() {
                    true => (SkState::FIN_WAIT2.number(), 3, 0, *v6),
                    false => (TIME_WAIT, 3, 0, *v6),
                }
            }
        };
        Some(Row {
            v6,
            key,
            state,
            tx: 0,
            rx: 0,
            timer: Timer {
                kind,
                ticks,
                retransmits,
            },
            socket: None,
        })
    }

    /// Whether a request for sockets is one for this.
    pub(crate) fn is_wanted(&self, request: &Request) -> bool {
        request.wants_state(self.state)
            && request.wants_version(self.v6)
            && request.wants_ports(&self.key)
    }

    /// Whether it is a listener's.
    pub(crate) fn is_listener(&self) -> bool {
        self.state == SkState::LISTEN.number()
    }

    /// Whose it is; `None` for what no program has yet, or any more.
    pub(crate) fn uid(&self) -> Option<Uid> {
        self.socket.as_ref().map(|of| of.uid)
    }

    /// The same in sock_diag's words: without the user and the cookie.
    pub(crate) fn head(&self) -> Head {
        let inode = self.socket.as_ref().map_or(0, |of| of.inode);
        Head {
            v6: self.v6,
            state: self.state,
            timer: self.timer.kind,
            retransmits: self.timer.retransmits,
            local: unscoped(self.key.local()),
            remote: unscoped(self.key.remote()),
            interface: scope(self.key.local()) as u32,
            cookie: None,
            expires_ms: self.timer.ticks.saturating_mul((TICK / 1000) as u32),
            rqueue: self.rx,
            wqueue: self.tx,
            uid: 0,
            inode: inode as u32,
        }
    }

    fn show(&self, seq: &SeqFile, number: u32) {
        let v6 = self.v6;
        let mut line = Line::new();
        // A line that is too long for `Line` (none is) would be cut.
        let _ = self.write(&mut line, seq, number, v6);
        if v6 {
            seq_print!(seq, "{}\n", line.as_str());
        } else {
            line.pad(seq);
        }
    }

    fn write(&self, line: &mut Line, seq: &SeqFile, number: u32, v6: bool) -> core::fmt::Result {
        write!(line, "{number:>4}: ")?;
        write_end(line, self.key.local(), v6)?;
        line.write_str(" ")?;
        write_end(line, self.key.remote(), v6)?;
        let (uid, inode, references) = match &self.socket {
            Some(of) => (of.uid.seen_by(seq), of.inode, of.references),
            None => (0, 0, 0),
        };
        write!(
            line,
            " {:02X} {:08X}:{:08X} {:02X}:{:08X} {:08X} {:>5} {:>8} {} {} {:016x}",
            self.state,
            self.tx,
            self.rx,
            self.timer.kind,
            self.timer.ticks,
            self.timer.retransmits,
            uid,
            0,
            inode,
            references,
            // Where the kernel's TCP shows the socket's address, hashed or, to most readers, as zeroes.
            0
        )?;
        if let Some(OfSocket { figures, .. }) = &self.socket {
            write!(
                line,
                " {} {} {} {} {}",
                figures.rto_ticks, 0, 0, figures.cwnd, figures.ssthresh
            )?;
        }
        Ok(())
    }
}

/// An address as the kernel's TCP prints it: words in host byte order.
fn write_end(line: &mut Line, end: Endpoint, v6: bool) -> core::fmt::Result {
    let end = unscoped(end);
    let words = end.ip.chunks_exact(4).skip(if v6 { 0 } else { 3 });
    for word in words {
        let word = word.try_into().map_or(0, u32::from_ne_bytes);
        write!(line, "{word:08X}")?;
    }
    write!(line, ":{:04X}", end.port)
}
