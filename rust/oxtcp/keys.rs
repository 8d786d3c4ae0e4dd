// SPDX-License-Identifier: GPL-2.0

//! The keys that a socket's segments are signed with (TCP_MD5SIG): which peers they are for, and how programs name them.
//!
//! A socket's keys are read under RCU alone, as a listener's are in softirqs, and changed under the socket lock: the table is
//! replaced as a whole. It holds references on keys, which a TIME-WAIT takes one of.

use kernel::alloc::Flags;
use kernel::prelude::*;
use kernel::sync::{rcu, Arc};

use oxtcp_engine::wire::Signature;

use crate::output;
use crate::protocol::{Owner, Sk, Socket};
use crate::signing::Signer;
use crate::sys::auth;
use crate::sys::bindings;
use crate::sys::net::Net;
use crate::sys::rcu_cell::RcuCell;
use crate::sys::table::{Endpoint, FlowKey};
use crate::sys::user::OptionValue;

/// Where a socket keeps its keys; empty as long as it has none.
pub(crate) type KeyCell = RcuCell<Keys>;

/// A socket's keys. It may have none any more.
pub(crate) struct Keys {
    /// In the order in which they came.
    md5: KVec<Arc<Md5Key>>,
}

/// A key of RFC 2385. Its bytes do not change.
pub(crate) struct Md5Key {
    scope: Scope,
    len: u8,
    bytes: [u8; Md5Key::MOST],
}

/// Which peers a key is for.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Scope {
    /// IPv4's in their IPv4-mapped form. Bits beyond the prefix are as the program gave them.
    ip: [u8; 16],
    /// Of all 128 bits.
    prefix: u8,
    /// For peers in the domain `l3index` alone, which may be 0: in none.
    in_domain: bool,
    l3index: i32,
}

/// A peer, as keys name it.
#[derive(Clone, Copy)]
pub(crate) struct Peer {
    /// Without a scope.
    ip: [u8; 16],
    l3index: i32,
}

impl Md5Key {
    /// TCP_MD5SIG_MAXKEYLEN.
    const MOST: usize = bindings::TCP_MD5SIG_MAXKEYLEN as usize;
    /// What a socket is charged: the key, the counts of its references, and its place in the table.
    const COST: usize = size_of::<Self>() + 2 * size_of::<usize>();

    /// Without bytes that are not the key's.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }
}

impl Scope {
    /// An IPv4 address in its IPv4-mapped form.
    fn is_v4(&self) -> bool {
        is_v4(&self.ip)
    }

    /// A prefix for IPv6 has no IPv4 peers, as in Linux: not even `::/0`.
    fn has(&self, peer: &Peer) -> bool {
        let mask = u128::MAX
            .checked_shl(128_u32.saturating_sub(u32::from(self.prefix)))
            .unwrap_or(0);
        self.is_v4() == is_v4(&peer.ip)
            && (u128::from_be_bytes(self.ip) ^ u128::from_be_bytes(peer.ip)) & mask == 0
    }

    /// Whether it is better than `other`, which has the peer as well (`better_md5_match()`).
    fn is_better_than(&self, other: &Self) -> bool {
        match (self.l3index != 0, other.l3index != 0) {
            (true, false) => true,
            (false, true) => false,
            _ => self.prefix > other.prefix,
        }
    }
}

fn is_v4(ip: &[u8; 16]) -> bool {
    Endpoint { ip: *ip, port: 0 }.v4().is_some()
}

impl Peer {
    /// The peer of a flow, in the domain that packets came in by.
    pub(crate) fn new(key: &FlowKey, l3index: i32) -> Self {
        Self {
            ip: output::unscoped(key.remote()).ip,
            l3index,
        }
    }

    /// The peer of a flow whose packets leave by the interface `oif`; 0 for any.
    pub(crate) fn by_path(net: &Net, key: &FlowKey, oif: i32) -> Self {
        Self::new(key, net.l3_master(oif))
    }

    /// The peer of a connection.
    fn of(sock: &Socket) -> Self {
        Self::by_path(sock.net(), &sock.flow(), sock.bound_dev())
    }
}

impl Keys {
    /// The key for a peer: one of its domain before others, then that of the longest prefix, then the latest.
    pub(crate) fn md5(&self, peer: &Peer) -> Option<&Arc<Md5Key>> {
        let ours = |key: &&Arc<Md5Key>| !key.scope.in_domain || key.scope.l3index == peer.l3index;
        let keys = self.md5.iter().rev().filter(ours);
        keys.filter(|key| key.scope.has(peer)).reduce(|best, key| {
            match key.scope.is_better_than(&best.scope) {
                true => key,
                false => best,
            }
        })
    }

    /// Whether there is a key for the peer, of whatever domain.
    pub(crate) fn know(&self, peer: &Peer) -> bool {
        self.md5.iter().any(|key| key.scope.has(peer))
    }

    /// The keys but for that of `scope`, and room for another. Whether there was one.
    fn without(&self, scope: &Scope, gfp: Flags) -> Result<(Self, bool)> {
        let mut md5 = KVec::with_capacity(self.md5.len().saturating_add(1), gfp)?;
        for key in self.md5.iter().filter(|key| key.scope != *scope) {
            md5.push(key.clone(), gfp)?;
        }
        let found = md5.len() != self.md5.len();
        Ok((Self { md5 }, found))
    }
}

/// What TCP_MD5SIG and TCP_MD5SIG_EXT bring: `struct tcp_md5sig`.
struct Md5Command {
    scope: Scope,
    /// Its length as it came: 0 takes the key away.
    len: u16,
    bytes: [u8; Md5Key::MOST],
}

impl Md5Command {
    const LEN: usize = size_of::<bindings::tcp_md5sig>();

    /// Reads it, as `tcp_v4_parse_md5_keys()` and `tcp_v6_parse_md5_keys()` do.
    ///
    /// # Errors
    ///
    /// EINVAL, EFAULT.
    fn read(sock: &Socket, extended: bool, value: OptionValue<'_>) -> Result<Self> {
        /// Where the fields are: the address has 128 bytes.
        const FLAGS: usize = 128;
        const PREFIX: usize = 129;
        const KEY_LEN: usize = 130;
        const IFINDEX: usize = 132;
        const KEY: usize = 136;
        const { assert!(Md5Command::LEN == KEY + Md5Key::MOST) };
        let raw: [u8; Md5Command::LEN] = value.exactly()?;
        let bytes = *raw.get(KEY..).and_then(|b| b.first_chunk()).ok_or(EINVAL)?;
        let flags = u32::from(*raw.get(FLAGS).ok_or(EINVAL)?);
        let len = u16::from_ne_bytes(
            *raw.get(KEY_LEN..)
                .and_then(|b| b.first_chunk())
                .ok_or(EINVAL)?,
        );
        let ifindex = i32::from_ne_bytes(
            *raw.get(IFINDEX..)
                .and_then(|b| b.first_chunk())
                .ok_or(EINVAL)?,
        );
        let ip = address(&raw, sock.is_v6())?;
        let bits = if is_v4(&ip) { 32 } else { 128 };
        let prefix = match extended && flags & bindings::TCP_MD5SIG_FLAG_PREFIX != 0 {
            true => *raw.get(PREFIX).ok_or(EINVAL)?,
            false => bits,
        };
        if prefix > bits {
            return Err(EINVAL);
        }
        let in_domain = flags & bindings::TCP_MD5SIG_FLAG_IFINDEX != 0;
        let l3index = match extended && in_domain {
            true if ifindex != 0 && !sock.net().is_l3_master(ifindex) => return Err(EINVAL),
            true => ifindex,
            false => 0,
        };
        if usize::from(len) > Md5Key::MOST {
            return Err(EINVAL);
        }
        Ok(Self {
            scope: Scope {
                ip,
                prefix: prefix.saturating_add(128_u8.saturating_sub(bits)),
                in_domain,
                l3index,
            },
            len,
            bytes,
        })
    }
}

/// The address at the beginning of an option's value: a `sockaddr_in`, or for an IPv6 socket a `sockaddr_in6`.
///
/// # Errors
///
/// EINVAL for another family.
fn address(raw: &[u8], v6: bool) -> Result<[u8; 16]> {
    let family = raw.first_chunk().map(|bytes| u16::from_ne_bytes(*bytes));
    let (wanted, at) = match v6 {
        true => (bindings::AF_INET6, 8),
        false => (bindings::AF_INET, 4),
    };
    if family.map(u32::from) != Some(wanted) {
        return Err(EINVAL);
    }
    let ip = raw.get(at..).ok_or(EINVAL)?;
    match v6 {
        true => ip.first_chunk().copied().ok_or(EINVAL),
        false => Ok(Endpoint::mapped(*ip.first_chunk().ok_or(EINVAL)?)),
    }
}

/// TCP_MD5SIG and TCP_MD5SIG_EXT. Process context.
///
/// # Errors
///
/// EINVAL, EFAULT; ENOENT when there is no key to take away; ENOMEM, also beyond `net.core.optmem_max`; ENOPROTOOPT and EOPNOTSUPP
/// where the kernel has no MD5 or may not use it.
pub(crate) fn set_md5(sk: &mut Owner<'_>, extended: bool, value: OptionValue<'_>) -> Result {
    auth::md5_is_usable()?;
    let command = Md5Command::read(sk.sock(), extended, value)?;
    let new = match command.len {
        0 => None,
        len => Some(Arc::new(
            Md5Key {
                scope: command.scope,
                len: len as u8,
                bytes: command.bytes,
            },
            GFP_KERNEL,
        )?),
    };
    change(sk, &command.scope, new)
}

/// Puts a key in the place of the one with the same scope, or takes that away. Any context.
fn change(sk: &mut Sk<'_>, scope: &Scope, new: Option<Arc<Md5Key>>) -> Result {
    // Under RCU nobody sleeps for memory.
    const GFP: Flags = GFP_ATOMIC;
    let cell = &sk.sock().shared().keys;
    let (mut keys, found) = match cell.get(&rcu::read_lock()) {
        Some(old) => old.without(scope, GFP)?,
        None => (
            Keys {
                md5: KVec::with_capacity(1, GFP)?,
            },
            false,
        ),
    };
    let adds = match new {
        Some(new) => {
            keys.md5.push(new, GFP)?;
            true
        }
        None if found => false,
        None => return Err(ENOENT),
    };
    let charged = adds && !found;
    if charged && !sk.charge_option(Md5Key::COST) {
        return Err(ENOMEM);
    }
    if let Err(error) = cell.replace(Some(keys), GFP) {
        if charged {
            sk.uncharge_option(Md5Key::COST);
        }
        return Err(error);
    }
    if !adds {
        sk.uncharge_option(Md5Key::COST);
    }
    sk.disable_bursts();
    Ok(())
}

/// A new connection of a listener's has the key for its peer, alone. Any context.
///
/// # Errors
///
/// ENOMEM: there must be no connection without it.
pub(crate) fn inherit(sk: &mut Sk<'_>, listener: &Socket, peer: &Peer) -> Result {
    let cell = &listener.shared().keys;
    if cell.is_empty() {
        return Ok(());
    }
    let rcu = rcu::read_lock();
    let Some(key) = cell.get(&rcu).and_then(|keys| keys.md5(peer)) else {
        return Ok(());
    };
    let scope = Scope {
        ip: peer.ip,
        prefix: 128,
        ..key.scope
    };
    let key = Arc::new(
        Md5Key {
            scope,
            len: key.len,
            bytes: key.bytes,
        },
        GFP_ATOMIC,
    )?;
    change(sk, &scope, Some(key))
}

/// A socket that ends gives its keys up. Any context.
pub(crate) fn forget(sk: &mut Sk<'_>) {
    let cell = &sk.sock().shared().keys;
    if cell.is_empty() {
        return;
    }
    let count = cell.get(&rcu::read_lock()).map_or(0, |keys| keys.md5.len());
    sk.uncharge_option(count.saturating_mul(Md5Key::COST));
    // To leave nothing takes no memory.
    let _ = cell.replace(None, GFP_ATOMIC);
}

/// Who signs what a connection sends.
pub(crate) fn signer<'a>(sock: &'a Socket, rcu: &'a rcu::Guard) -> Signer<'a> {
    match sock.shared().keys.get(rcu) {
        Some(keys) => signer_for(keys, &Peer::of(sock)),
        None => Signer::None,
    }
}

/// Who signs what a listener answers to the peer of `key` by the interface `oif`; 0 for any.
pub(crate) fn signer_to<'a>(
    listener: &'a Socket,
    key: &FlowKey,
    oif: i32,
    rcu: &'a rcu::Guard,
) -> Signer<'a> {
    match listener.shared().keys.get(rcu) {
        Some(keys) => signer_for(keys, &Peer::by_path(listener.net(), key, oif)),
        None => Signer::None,
    }
}

/// Who signs for a peer.
pub(crate) fn signer_for<'a>(keys: &'a Keys, peer: &Peer) -> Signer<'a> {
    keys.md5(peer).map_or(Signer::None, |key| Signer::Md5(key))
}

/// The key of a connection that leaves its place to a small object.
pub(crate) fn left_behind(sock: &Socket) -> Option<Arc<Md5Key>> {
    let rcu = rcu::read_lock();
    let keys = sock.shared().keys.get(&rcu)?;
    keys.md5(&Peer::of(sock)).cloned()
}

/// What the engine is to know: the room that a signature takes in the segments to a peer.
pub(crate) fn signature_for(sock: &Socket, peer: &Peer) -> Signature {
    match sock.shared().keys.get(&rcu::read_lock()) {
        Some(keys) => signer_for(keys, peer).signature(),
        None => Signature::NONE,
    }
}

/// See [`signature_for`]: the peer is the connection's.
pub(crate) fn signature(sock: &Socket) -> Signature {
    match sock.shared().keys.is_empty() {
        true => Signature::NONE,
        false => signature_for(sock, &Peer::of(sock)),
    }
}
