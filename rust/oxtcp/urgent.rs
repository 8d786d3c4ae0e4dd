// SPDX-License-Identifier: GPL-2.0

//! The peer's urgent byte: where readers stop, MSG_OOB, SIOCATMARK, SIGURG. The rules are the engine's.

use kernel::prelude::*;
use kernel::sync::atomic::Atomic;

use oxtcp_engine::connection::{Reading, Urgent};
use oxtcp_engine::SeqNum;

use crate::protocol::{Owner, Sk};
use crate::sys::bindings;
use crate::sys::errno::enotconn;
use crate::sys::once::Once;
use crate::sys::sock::{Flag, SkState};
use crate::sys::user::{Message, ToProgram};

/// An [`Urgent`] in a word. Written under the socket lock; read also without, by poll().
pub(crate) struct UrgentNote(Atomic<i64>);

impl UrgentNote {
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    pub(crate) fn get(&self) -> Urgent {
        Urgent::unpacked(self.0.read_once() as u64)
    }

    /// [`get`](Self::get), if there is one; nearly always there is none.
    #[inline]
    pub(crate) fn get_some(&self) -> Option<Urgent> {
        match self.0.read_once() as u64 {
            0 => None,
            word => Some(Urgent::unpacked(word)),
        }
    }

    /// Under the socket lock.
    pub(crate) fn set(&self, urgent: Urgent) {
        self.0.write_once(urgent.packed() as i64);
    }
}

/// The peer's urgent byte.
pub(crate) fn urgent(sk: &Sk<'_>) -> Urgent {
    sk.sock().notes().urgent.get()
}

/// Whether it stays among the others (SO_OOBINLINE).
pub(crate) fn is_inline(sk: &Sk<'_>) -> bool {
    sk.sock().flag(Flag::UrgInline)
}

/// The number of the next byte that a reader gets; `None` where none is to come. (Once the peer's FIN has come, and all is read, it
/// does not matter that it is one beyond.)
pub(crate) fn reader(sk: &mut Sk<'_>) -> Option<SeqNum> {
    if let Some(first) = sk.peek() {
        return Some(SeqNum::new(first.unread().seq));
    }
    sk.state().connection().map(|c| c.rcv_nxt())
}

/// The first `len` bytes of the receive queue are about to leave it: where the reader will stand. Any context.
pub(crate) fn pass(sk: &mut Sk<'_>, len: u32) {
    let mut urgent = urgent(sk);
    if !urgent.is_some() {
        return;
    }
    if let Some(at) = reader(sk) {
        urgent.on_reader(at.add(len));
        sk.sock().notes().urgent.set(urgent);
    }
}

/// How many bytes stand before the urgent one, `skip` bytes behind the reader; `None`: it lies behind, or there is none.
pub(crate) fn ahead(sk: &mut Sk<'_>, skip: usize) -> Option<usize> {
    let urgent = urgent(sk);
    if !urgent.is_some() {
        return None;
    }
    let at = reader(sk)?.add(u32::try_from(skip).ok()?);
    urgent.ahead_of(at).map(|bytes| bytes as usize)
}

/// recv() with MSG_OOB (`tcp_recv_urg()`): never waits.
///
/// # Errors
///
/// EINVAL where there is no urgent byte, or it was read, or is read in line; EAGAIN for one that has not come; ENOTCONN; EFAULT.
pub(crate) fn receive(
    sk: &mut Owner<'_>,
    to: &mut Message<'_, ToProgram>,
    len: usize,
    flags: u32,
) -> Result<usize> {
    let mut urgent = urgent(sk);
    let sock = sk.sock();
    let closed = sock.state() == SkState::CLOSE;
    let found = urgent.read(flags & bindings::MSG_PEEK != 0);
    if is_inline(sk) || found == Reading::Nothing {
        return Err(EINVAL);
    }
    if closed && !sock.flag(Flag::Done) {
        return Err(enotconn());
    }
    let Reading::Byte(byte) = found else {
        let over = closed || u32::from(sock.shutdown()) & bindings::RCV_SHUTDOWN != 0;
        return if over { Ok(0) } else { Err(EAGAIN) };
    };
    sock.notes().urgent.set(urgent);
    to.add_flags(bindings::MSG_OOB);
    if len == 0 {
        to.add_flags(bindings::MSG_TRUNC);
        return Ok(0);
    }
    if flags & bindings::MSG_TRUNC == 0 {
        to.put(&[byte])?;
    }
    Ok(1)
}
