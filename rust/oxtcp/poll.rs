// SPDX-License-Identifier: GPL-2.0

//! poll() and its kin: what could be done without waiting. No lock is held, as in tcp_poll().

use kernel::sync::atomic::Relaxed;

use crate::listener;
use crate::protocol::Socket;
use crate::sys::bindings;
use crate::sys::sock::SkState;

/// `EPOLL*` bits, as plain numbers (bindgen has them with casts).
const IN: u32 = 0x0001 | 0x0040;
const OUT: u32 = 0x0004 | 0x0100;
const ERR: u32 = 0x0008;
const HUP: u32 = 0x0010;
const RDHUP: u32 = 0x2000;

/// Which events are there; `need_space` marks that someone waits for room to write.
pub(crate) fn poll(sk: &Socket, need_space: &mut dyn FnMut()) -> u32 {
    let state = sk.state();
    if state == SkState::LISTEN {
        return if listener::waiting(sk) > 0 { IN } else { 0 };
    }
    let shutdown = u32::from(sk.shutdown());
    let mut mask = 0;
    if shutdown == bindings::SHUTDOWN_MASK || state == SkState::CLOSE {
        mask |= HUP;
    }
    if shutdown & bindings::RCV_SHUTDOWN != 0 {
        mask |= IN | RDHUP;
    }
    if state != SkState::SYN_SENT && state != SkState::SYN_RECV {
        let readable = usize::try_from(sk.shared().rx_bytes.load(Relaxed)).unwrap_or(0);
        if readable >= sk.rcvlowat(false, i32::MAX as usize) {
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
    if sk.has_error() {
        mask |= ERR;
    }
    mask
}
