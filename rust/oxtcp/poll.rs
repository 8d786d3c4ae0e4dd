// SPDX-License-Identifier: GPL-2.0

//! poll() and its kin: what could be done without waiting. No lock is held, as in tcp_poll().

use kernel::sync::atomic::Atomic;

use crate::listener;
use crate::protocol::{Shared, Socket};
use crate::sys::bindings;
use crate::sys::once::Once;
use crate::sys::sock::{Flag, SkState};

/// `EPOLL*` bits, as plain numbers (bindgen has them with casts).
const IN: u32 = 0x0001 | 0x0040;
const PRI: u32 = 0x0002;
const OUT: u32 = 0x0004 | 0x0100;
const ERR: u32 = 0x0008;
const HUP: u32 = 0x0010;
const RDHUP: u32 = 0x2000;

/// Whether more may be written as far as TCP_NOTSENT_LOWAT goes, in two bits.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Unsent(u32);

impl Unsent {
    /// Nothing waits.
    pub(crate) const NONE: Self = Self(0);
    /// So much waits that a writer is to wait.
    const FULL: u32 = 1;
    /// So much waits that who waits already is not woken, and poll() does not tell of room.
    const NOT_WORTH_WAKING: u32 = 2;

    /// For `bytes` that were never sent, of which `lowat` are too many (`tcp_stream_memory_free()`: to wake a writer there must be
    /// room for as much again).
    pub(crate) fn of(bytes: u32, lowat: u32) -> Self {
        let full = match bytes >= lowat {
            true => Unsent::FULL,
            false => 0,
        };
        match bytes.saturating_mul(2) >= lowat {
            true => Self(full | Unsent::NOT_WORTH_WAKING),
            false => Self(full),
        }
    }
}

/// Copies of how much there is to send, in one word: bytes not acknowledged, and below them an [`Unsent`]. Written under the
/// socket lock.
pub(crate) struct SendQueue(Atomic<u32>);

impl SendQueue {
    const SHIFT: u32 = 2;
    /// No send buffer holds more ([`connection::MAX_SEND_BUFFER`]), but for a byte.
    const MOST: u32 = u32::MAX >> Self::SHIFT;

    pub(crate) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Bytes not acknowledged.
    pub(crate) fn bytes(&self) -> u32 {
        self.0.read_once() >> Self::SHIFT
    }

    fn unsent(&self) -> Unsent {
        Unsent(self.0.read_once() & !(u32::MAX << Self::SHIFT))
    }

    /// Sets [`bytes`](Self::bytes).
    pub(crate) fn set_bytes(&self, bytes: u32) {
        let bytes = bytes.min(Self::MOST) << Self::SHIFT;
        self.0.write_once(bytes | self.unsent().0);
    }

    /// Sets what TCP_NOTSENT_LOWAT allows. Says whether that is more than before.
    pub(crate) fn set_unsent(&self, unsent: Unsent) -> bool {
        let before = self.unsent();
        if before != unsent {
            let bytes = self.0.read_once() & (u32::MAX << Self::SHIFT);
            self.0.write_once(bytes | unsent.0);
        }
        before.0 & !unsent.0 != 0
    }
}

/// The rule of TCP_NOTSENT_LOWAT. The send buffer's size is looked at by the socket layer.
#[inline]
pub(crate) fn has_send_room(shared: &Shared, wake: bool) -> bool {
    let Unsent(unsent) = shared.tx.unsent();
    match wake {
        true => unsent & Unsent::NOT_WORTH_WAKING == 0,
        false => unsent & Unsent::FULL == 0,
    }
}

/// Which events are there; `need_space` marks that someone waits for room to write.
#[inline]
pub(crate) fn poll(sk: &Socket, mut need_space: impl FnMut()) -> u32 {
    let state = sk.state();
    if state == SkState::LISTEN {
        return if listener::waiting(sk) > 0 { IN } else { 0 };
    }
    let shutdown = u32::from(sk.shutdown());
    let mut mask = 0;
    if shutdown != 0 || state == SkState::CLOSE {
        if shutdown == bindings::SHUTDOWN_MASK || state == SkState::CLOSE {
            mask |= HUP;
        }
        if shutdown & bindings::RCV_SHUTDOWN != 0 {
            mask |= IN | RDHUP;
        }
    }
    if state != SkState::SYN_SENT && state != SkState::SYN_RECV {
        let readable = sk.shared().rx_bytes.read_once() as usize;
        // A buffer that is nearly full gets no fuller: what there is must do (tcp_rmem_pressure()).
        let rcvbuf = sk.rcvbuf();
        let pressed = readable > 0 && sk.rmem() > rcvbuf.saturating_sub(rcvbuf >> 3);
        let mut target = sk.rcvlowat(false, i32::MAX as usize);
        if let Some(urgent) = sk.notes().urgent.get_some() {
            // A reader at the mark passes a byte that is not for it.
            let passed = usize::from(urgent.is_here() && !sk.flag(Flag::UrgInline));
            target = target.saturating_add(passed);
            if urgent.has_come() {
                mask |= PRI;
            }
        }
        if pressed || readable >= target {
            mask |= IN;
        }
        if shutdown & bindings::SEND_SHUTDOWN != 0 || sk.is_writeable() {
            mask |= OUT;
        } else {
            need_space();
            // Room that came between the question and the mark would wake nobody.
            if sk.is_writeable() {
                mask |= OUT;
            }
        }
    }
    if sk.has_error() || sk.has_error_queue() {
        mask |= ERR;
    }
    mask
}
