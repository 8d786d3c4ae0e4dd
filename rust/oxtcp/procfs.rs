// SPDX-License-Identifier: GPL-2.0

//! `/proc/net/oxtcp` and `/proc/net/oxtcp6`: what exists, in the layout of `/proc/net/tcp` and
//! `/proc/net/tcp6`.

use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::seq_print;
use kernel::sync::atomic::Relaxed;

use crate::half_open::Mini;
use crate::listener;
use crate::namespace::Namespace;
use crate::output::unscoped;
use crate::protocol::{tcp_state, Socket, Tcp};
use crate::sys::net::{Net, PerNet};
use crate::sys::proc::{SeqRows, SeqWalk};
use crate::sys::table::{self, Endpoint, FlowKey, Found};

/// The file for IPv4.
pub(crate) struct Rows4;

/// The file for IPv6.
pub(crate) struct Rows6;

impl SeqRows for Rows4 {
    type Walk<'n> = Rows<'n>;

    fn header(seq: &SeqFile) {
        header(seq, "local_address rem_address  ");
    }

    fn walk<'n>(net: &'n Net) -> impl PinInit<Rows<'n>, Error> {
        Rows::new(net, false)
    }
}

impl SeqRows for Rows6 {
    type Walk<'n> = Rows<'n>;

    fn header(seq: &SeqFile) {
        header(
            seq,
            "local_address                         remote_address                        ",
        );
    }

    fn walk<'n>(net: &'n Net) -> impl PinInit<Rows<'n>, Error> {
        Rows::new(net, true)
    }
}

fn header(seq: &SeqFile, addresses: &str) {
    seq_print!(
        seq,
        "  sl  {} st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n",
        addresses
    );
}

/// A way through the table; one row at a time is taken out of it as plain numbers.
#[pin_data]
pub(crate) struct Rows<'n> {
    #[pin]
    walk: table::Walk<'n, Tcp>,
    v6: bool,
    number: u32,
    row: Option<Row>,
}

/// What a row says.
struct Row {
    key: FlowKey,
    state: u8,
    tx: u32,
    rx: u32,
    timer: i32,
    retransmits: i32,
    socket: Option<kernel::sync::aref::ARef<Socket>>,
}

impl<'n> Rows<'n> {
    fn new(net: &'n Net, v6: bool) -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            walk <- table::Walk::new(&Namespace::get(net).table),
            v6,
            number: 0,
            row: None,
        }? Error)
    }
}

impl SeqWalk for Rows<'_> {
    fn advance(self: Pin<&mut Self>) -> bool {
        let mut this = self.project();
        if this.row.is_some() {
            *this.number += 1;
        }
        loop {
            *this.row = match this.walk.as_mut().next() {
                None => return false,
                Some(Found::Sock(sock)) if sock.is_v6() == *this.v6 => Some(Row::of_socket(sock)),
                Some(Found::Mini(mini)) => Row::of_mini(mini, *this.v6),
                Some(Found::Sock(_)) => None,
            };
            if this.row.is_some() {
                return true;
            }
        }
    }

    fn show(self: Pin<&mut Self>, seq: &SeqFile) {
        let this = self.project();
        if let Some(row) = this.row {
            row.show(seq, *this.number, *this.v6);
        }
    }
}

impl Row {
    fn of_socket(sock: kernel::sync::aref::ARef<Socket>) -> Self {
        let state = sock.state();
        let shared = sock.shared();
        let count = |word: i32| u32::try_from(word).unwrap_or(0);
        let (tx, rx) = if state == tcp_state::LISTEN {
            (0, listener::waiting(&sock))
        } else {
            (
                count(shared.tx_bytes.load(Relaxed)),
                count(shared.rx_bytes.load(Relaxed)),
            )
        };
        Row {
            key: sock.flow(),
            state,
            tx,
            rx,
            timer: shared.timer_kind.load(Relaxed),
            retransmits: shared.retransmits.load(Relaxed),
            socket: Some(sock),
        }
    }

    fn of_mini(mini: &table::Mini<Tcp>, v6: bool) -> Option<Self> {
        let key = mini.key();
        let guard = mini.lock()?;
        let (state, timer, is_v6) = match &*guard {
            Mini::HalfOpen { listener, .. } => (tcp_state::SYN_RECV, 1, listener.is_v6()),
            Mini::TimeWait { v6, .. } => (tcp_state::TIME_WAIT, 3, *v6),
        };
        (is_v6 == v6).then_some(Row {
            key,
            state,
            tx: 0,
            rx: 0,
            timer,
            retransmits: 0,
            socket: None,
        })
    }

    fn show(&self, seq: &SeqFile, number: u32, v6: bool) {
        let (uid, inode, references) = match &self.socket {
            Some(sock) => (sock.uid(seq), sock.inode(), sock.references()),
            None => (0, 0, 0),
        };
        seq_print!(seq, "{:>4}: ", number);
        show_end(seq, self.key.local(), v6);
        seq_print!(seq, " ");
        show_end(seq, self.key.remote(), v6);
        seq_print!(
            seq,
            " {:02X} {:08X}:{:08X} {:02X}:{:08X} {:08X} {:>5} {:>8} {} {} 0\n",
            self.state,
            self.tx,
            self.rx,
            self.timer,
            0,
            self.retransmits,
            uid,
            0,
            inode,
            references
        );
    }
}

/// An address as the kernel's TCP prints it: words in host byte order.
fn show_end(seq: &SeqFile, end: Endpoint, v6: bool) {
    let end = unscoped(end);
    let words = end.ip.chunks_exact(4).skip(if v6 { 0 } else { 3 });
    for word in words {
        let word = word.try_into().map_or(0, u32::from_ne_bytes);
        seq_print!(seq, "{:08X}", word);
    }
    seq_print!(seq, ":{:04X}", end.port);
}
