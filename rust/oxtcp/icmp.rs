// SPDX-License-Identifier: GPL-2.0

//! ICMP errors about our segments: "too big", and that they do not get there.
//!
//! They go on to the kernel's ICMP as they are; this file only looks. Softirq context, under RCU.

use kernel::error::code::EACCES;
use kernel::sync::rcu;

use kernel::sync::atomic::{Atomic, Relaxed};

use oxtcp_engine::{Context, SeqNum};

use crate::connection;
use crate::counters::Counter;
use crate::half_open;
use crate::keys;
use crate::namespace::Namespace;
use crate::output;
use crate::protocol::{errno_of, Role, Sk};
use crate::sys::errno::{
    econnrefused, ehostdown, ehostunreach, enetunreach, enonet, enoprotoopt, eopnotsupp, eproto,
};
use crate::sys::netfilter::Family;
use crate::sys::route;
use crate::sys::skb::{AtHook, SkBuff};
use crate::sys::sock::SkState;
use crate::sys::table::{Endpoint, FlowKey, Found};

/// What an error says.
enum Error {
    /// No more than so many bytes get through (RFC 1191 section 4, RFC 8201 section 4).
    TooBig(u32),
    /// The peer cannot be reached, or does not want to be; what connect() tells then. As in Linux, every such error ends an open that is
    /// under way, and none ends a connection (RFC 1122 section 4.2.3.9, RFC 5461).
    Unreachable(kernel::error::Error),
}

/// Takes notice of the ICMP message that begins `offset` bytes into `skb`.
pub(crate) fn look(
    namespace: &Namespace,
    skb: &mut SkBuff<AtHook<'_>>,
    offset: u32,
    family: Family,
    ifindex: i32,
) {
    let Some((error, is_hard, key, seq)) = parse(skb, offset, family) else {
        return;
    };
    if skb.icmp_checksum_is_bad(offset, family) {
        return;
    }
    let key = output::scoped_flow(key, family, ifindex);
    let rcu = rcu::read_lock();
    let sock = match namespace.table.lookup(&key, &rcu) {
        // A packet that is quoted may have any end, a listener's place too.
        Some(Found::Sock(sock)) if sock.state() != SkState::LISTEN => sock,
        Some(Found::Mini(mini)) => {
            // Nothing is done about it in any case.
            let secret = if is_hard {
                half_open::secret_of(mini)
            } else {
                None
            };
            if secret.is_some_and(|secret| secret.ignores_icmp()) {
                namespace.counters.count(Counter::TCPAODroppedIcmps);
            }
            return;
        }
        Some(Found::Sock(_) | Found::Post(_)) | None => return,
    };
    if is_hard && keys::ignores_icmp(&sock) {
        namespace.counters.count(Counter::TCPAODroppedIcmps);
        return;
    }
    let why = match error {
        Error::TooBig(mtu) => {
            sock.notes().too_big.put(&TooBig { seq, mtu });
            sock.timer_expired();
            return;
        }
        Error::Unreachable(why) => why,
    };
    let config = namespace.config();
    // While a process owns the socket the error is let go: if its cause lasts, so do the errors.
    let heard = sock.lock_bh(|sk| {
        // The time is told under the lock: the connection's never goes back.
        let cx = namespace.context(&config);
        if !is_genuine(sk, seq) {
            return;
        }
        sk.state().unreachable = errno_of(why);
        if let Some(connection) = sk.state().connection() {
            connection.on_unreachable(&cx, seq, true);
        }
        connection::settle(sk, &cx);
    });
    if heard.is_none() {
        namespace.counters.count(Counter::LockDroppedIcmps);
    }
}

/// RFC 5927 section 4.1: an error about what is not on its way is forged, or late.
fn is_genuine(sk: &mut Sk<'_>, seq: SeqNum) -> bool {
    let is_genuine = sk
        .state()
        .connection()
        .is_some_and(|connection| connection.icmp_sequence_in_flight(seq));
    if !is_genuine {
        connection::count(sk, Counter::OutOfWindowIcmps);
    }
    is_genuine
}

/// An ICMP "too big", as it waits for the socket: with no owner of that in the way.
struct TooBig {
    /// Of the segment that it quotes.
    seq: SeqNum,
    mtu: u32,
}

impl TooBig {
    /// What a path takes at most; and no `TooBig` is 0.
    const LARGEST: u32 = 0xffff;

    fn packed(&self) -> i64 {
        let mtu = self.mtu.min(TooBig::LARGEST) | (TooBig::LARGEST + 1);
        (i64::from(self.seq.get()) << 32) | i64::from(mtu)
    }

    fn unpacked(packed: i64) -> Option<TooBig> {
        (packed != 0).then_some(TooBig {
            seq: SeqNum::new((packed >> 32) as u32),
            mtu: packed as u32 & TooBig::LARGEST,
        })
    }
}

/// Where a [`TooBig`] waits.
pub(crate) struct TooBigNote(Atomic<i64>);

impl TooBigNote {
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    fn put(&self, note: &TooBig) {
        self.0.store(note.packed(), Relaxed);
    }

    fn take(&self) -> Option<TooBig> {
        TooBig::unpacked(self.0.xchg(0, Relaxed))
    }
}

/// Looks after an ICMP "too big" that has come for the connection; the caller settles. Softirq, or the process that lets go
/// of the socket.
pub(crate) fn heed_too_big(sk: &mut Sk<'_>, cx: &Context<'_>) {
    let Some(TooBig { seq, mtu }) = sk.sock().notes().too_big.take() else {
        return;
    };
    if !is_genuine(sk, seq) {
        return;
    }
    // Routing is told by a route that is good, and has another one then.
    if output::path_mtu(sk).is_none() {
        return;
    }
    route::lower_mtu(sk, mtu);
    let Some(mtu) = output::path_mtu(sk) else {
        return;
    };
    let mss = output::mss_of(mtu, sk.wire_family());
    let state = sk.state();
    if let Role::Connection(connection) = &mut state.role {
        connection.on_too_big(cx, seq, mss, &mut state.flight);
    }
}

/// What an error that ends an open is to a program: Linux's `icmp_err_convert` and `icmpv6_err_convert()`. None for messages that are
/// no such errors, or have a code that none has.
fn error_of(family: Family, kind: u8, code: u8) -> Option<kernel::error::Error> {
    Some(match (family, kind, code) {
        (Family::V4, 3, 0 | 6 | 9 | 11) | (Family::V6, 1, 0) => enetunreach(),
        (Family::V4, 3, 2) => enoprotoopt(),
        (Family::V4, 3, 3) | (Family::V6, 1, 4) => econnrefused(),
        (Family::V4, 3, 5) => eopnotsupp(),
        (Family::V4, 3, 7) => ehostdown(),
        (Family::V4, 3, 8) => enonet(),
        (Family::V4, 3, 1 | 10 | 12..=15) | (Family::V6, 1, 2 | 3) => ehostunreach(),
        (Family::V6, 1, 1 | 5 | 6) => EACCES,
        // Time exceeded; over IPv4 not that of reassembly.
        (Family::V4, 11, 0) | (Family::V6, 3, _) => ehostunreach(),
        // Parameter problem.
        (Family::V4, 12, _) | (Family::V6, 4, _) => eproto(),
        _ => return None,
    })
}

/// Reads the error and the segment that it quotes: whether it is of those that connections with TCP-AO do not believe (RFC 5925
/// section 7.8), whose the flow is (seen from here), and the sequence number.
fn parse(
    skb: &mut SkBuff<AtHook<'_>>,
    offset: u32,
    family: Family,
) -> Option<(Error, bool, FlowKey, SeqNum)> {
    const ICMP_HEADER: u32 = 8;
    const TCP: u8 = 6;
    let inner = offset.checked_add(ICMP_HEADER)?;
    let icmp = skb.header(inner)?.get(offset as usize..)?;
    let (kind, code) = (*icmp.first()?, *icmp.get(1)?);
    let icmp: [u8; ICMP_HEADER as usize] = icmp.try_into().ok()?;
    let icmp = &icmp[..];
    let word = |bytes: &[u8], at: usize| -> Option<u32> {
        Some(u32::from_be_bytes(*bytes.get(at..)?.first_chunk()?))
    };
    let error = match (family, kind, code) {
        (Family::V4, 3, 4) => Error::TooBig(word(icmp, 4)? & 0xffff),
        (Family::V6, 2, _) => Error::TooBig(word(icmp, 4)?),
        _ => Error::Unreachable(error_of(family, kind, code)?),
    };
    let is_hard = match family {
        Family::V4 => kind == 3 && (2..=4).contains(&code),
        Family::V6 => kind == 1 && [1, 4].contains(&code),
    };
    let (local, remote, tcp) = match family {
        Family::V4 => {
            let ip = skb.header(inner.checked_add(20)?)?.get(inner as usize..)?;
            if *ip.get(9)? != TCP {
                return None;
            }
            let local: [u8; 4] = ip.get(12..16)?.try_into().ok()?;
            let remote: [u8; 4] = ip.get(16..20)?.try_into().ok()?;
            let len = u32::from(*ip.first()? & 0xf) << 2;
            if len < 20 {
                return None;
            }
            (
                Endpoint::mapped(local),
                Endpoint::mapped(remote),
                inner.checked_add(len)?,
            )
        }
        Family::V6 => {
            let ip = skb.header(inner.checked_add(40)?)?.get(inner as usize..)?;
            if *ip.get(6)? != TCP {
                return None;
            }
            let local: [u8; 16] = ip.get(8..24)?.try_into().ok()?;
            let remote: [u8; 16] = ip.get(24..40)?.try_into().ok()?;
            (local, remote, inner.checked_add(40)?)
        }
    };
    let quoted = skb.header(tcp.checked_add(8)?)?.get(tcp as usize..)?;
    let port =
        |at: usize| -> Option<u16> { Some(u16::from_be_bytes(*quoted.get(at..)?.first_chunk()?)) };
    let key = FlowKey::new(
        Endpoint {
            ip: local,
            port: port(0)?,
        },
        Endpoint {
            ip: remote,
            port: port(2)?,
        },
    );
    let seq = SeqNum::new(word(quoted, 4)?);
    Some((error, is_hard, key, seq))
}
