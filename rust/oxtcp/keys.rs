// SPDX-License-Identifier: GPL-2.0

//! The keys that a socket's segments are signed with: which peers they are for; and those of TCP_MD5SIG, and how programs name them. Those
//! of TCP-AO are in [`crate::ao`].
//!
//! A socket's keys are read under RCU alone, as a listener's are in softirqs, and changed under the socket lock: the table is
//! replaced as a whole. It holds references on keys, which a TIME-WAIT takes one of.

use kernel::alloc::Flags;
use kernel::prelude::*;
use kernel::sync::{rcu, Arc};

use oxtcp_engine::wire::Signature;
use oxtcp_engine::{Context, SeqNum, SocketOptions};

use crate::ao::segments::Stage;
use crate::ao::{self, Ao, Handshake};
use crate::output;
use crate::protocol::{Owner, Sk, Socket};
use crate::signing::{Judge, Signer};
use crate::sys::auth;
use crate::sys::bindings;
use crate::sys::errno::ekeyrejected;
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
    /// What the socket has for TCP-AO, if it ever had.
    ao: Option<Arc<Ao>>,
}

/// What a connection leaves to the small object in its place.
#[derive(Clone)]
pub(crate) enum Secret {
    Md5(Arc<Md5Key>),
    Ao(Arc<Ao>),
}

/// A key of RFC 2385. Its bytes do not change.
pub(crate) struct Md5Key {
    scope: Scope,
    len: u8,
    bytes: [u8; Md5Key::MOST],
}

/// Which peers a key is for.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Scope {
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
    /// Of a prefix of all 128 bits; with a domain, or not.
    pub(crate) fn new(ip: [u8; 16], prefix: u8, domain: Option<i32>) -> Self {
        Self {
            ip,
            prefix,
            in_domain: domain.is_some(),
            l3index: domain.unwrap_or(0),
        }
    }

    /// The address, and the prefix of all 128 bits.
    pub(crate) fn address(&self) -> ([u8; 16], u8) {
        (self.ip, self.prefix)
    }

    pub(crate) fn l3index(&self) -> i32 {
        self.l3index
    }

    /// Whether peers in that domain are meant too.
    pub(crate) fn is_in(&self, l3index: i32) -> bool {
        !self.in_domain || self.l3index == l3index
    }

    /// Whether the peer is meant.
    pub(crate) fn suits(&self, peer: &Peer) -> bool {
        self.is_in(peer.l3index) && self.has(peer)
    }

    /// Whether it has the first so many bits of an address in common, of its own prefix at most.
    pub(crate) fn shares(&self, ip: &[u8; 16], prefix: u8) -> bool {
        let narrow = Self {
            prefix: prefix.min(self.prefix),
            ..*self
        };
        narrow.has(&Peer {
            ip: *ip,
            l3index: 0,
        })
    }

    /// Whether there may be peers of both.
    pub(crate) fn meets(&self, other: &Self) -> bool {
        self.is_in(other.l3index) && self.shares(&other.ip, other.prefix)
    }

    /// An IPv4 address in its IPv4-mapped form.
    fn is_v4(&self) -> bool {
        is_v4(&self.ip)
    }

    /// A prefix for IPv6 has no IPv4 peers, as in Linux: not even `::/0`.
    pub(crate) fn has(&self, peer: &Peer) -> bool {
        self.is_v4() == is_v4(&peer.ip)
            && (u128::from_be_bytes(self.ip) ^ u128::from_be_bytes(peer.ip)) & mask(self.prefix)
                == 0
    }

    /// The peer of the address itself.
    fn peer(&self) -> Peer {
        Peer {
            ip: self.ip,
            l3index: self.l3index,
        }
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

/// The mask of a prefix of all 128 bits.
pub(crate) fn mask(prefix: u8) -> u128 {
    u128::MAX
        .checked_shl(128_u32.saturating_sub(u32::from(prefix)))
        .unwrap_or(0)
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
    pub(crate) fn of(sock: &Socket) -> Self {
        Self::by_path(sock.net(), &sock.flow(), sock.bound_dev())
    }
}

impl Keys {
    /// The key for a peer: one of its domain before others, then that of the longest prefix, then the latest.
    pub(crate) fn md5(&self, peer: &Peer) -> Option<&Arc<Md5Key>> {
        let keys = self.md5.iter().rev();
        keys.filter(|key| key.scope.suits(peer))
            .reduce(|best, key| match key.scope.is_better_than(&best.scope) {
                true => key,
                false => best,
            })
    }

    /// Whether there is a key for the peer, of whatever domain.
    pub(crate) fn know(&self, peer: &Peer) -> bool {
        let ao = self.ao.as_ref().is_some_and(|ao| ao.knows(peer));
        ao || self.md5.iter().any(|key| key.scope.has(peer))
    }

    pub(crate) fn ao(&self) -> Option<&Arc<Ao>> {
        self.ao.as_ref()
    }

    /// Who judges what the peer sends.
    pub(crate) fn judge(&self, peer: Peer, stage: Stage) -> Judge<'_> {
        Judge {
            md5: self.md5(&peer).map(|key| &**key),
            ao: self.ao.as_deref().map(|ao| (ao, peer)),
            stage,
        }
    }

    /// The keys but for that of `scope`, and room for another. Whether there was one.
    fn without(&self, scope: &Scope, gfp: Flags) -> Result<(Self, bool)> {
        let mut md5 = KVec::with_capacity(self.md5.len().saturating_add(1), gfp)?;
        for key in self.md5.iter().filter(|key| key.scope != *scope) {
            md5.push(key.clone(), gfp)?;
        }
        let found = md5.len() != self.md5.len();
        let ao = self.ao.clone();
        Ok((Self { md5, ao }, found))
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
pub(crate) fn address(raw: &[u8], v6: bool) -> Result<[u8; 16]> {
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
/// EINVAL, EFAULT; ENOENT when there is no key to take away; EKEYREJECTED where TCP-AO has a key for the peer; ENOMEM, also beyond `net.core.optmem_max`; ENOPROTOOPT and EOPNOTSUPP
/// where the kernel has no MD5 or may not use it.
pub(crate) fn set_md5(sk: &mut Owner<'_>, extended: bool, value: OptionValue<'_>) -> Result {
    auth::md5_is_usable()?;
    output::namespace(sk.sock()).note_keys();
    let command = Md5Command::read(sk.sock(), extended, value)?;
    if command.len != 0 && ao_has(sk.sock(), &command.scope) {
        return Err(ekeyrejected());
    }
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
                ao: None,
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

/// Whether TCP-AO is to be spoken with peers of an MD5 key's (Linux's `tcp_ao_required()`).
fn ao_has(sock: &Socket, scope: &Scope) -> bool {
    let rcu = rcu::read_lock();
    let Some(ao) = sock.shared().keys.get(&rcu).and_then(Keys::ao) else {
        return false;
    };
    let peer = scope.peer();
    match scope.in_domain {
        true => ao.is_required_of(&peer),
        false => ao.is_required() || ao.knows(&peer),
    }
}

/// Whether there is an MD5 key for the address of a key of TCP-AO's.
pub(crate) fn have_md5(sock: &Socket, scope: &Scope) -> bool {
    let rcu = rcu::read_lock();
    let Some(keys) = sock.shared().keys.get(&rcu) else {
        return false;
    };
    let peer = scope.peer();
    match scope.in_domain {
        true => keys.md5(&peer).is_some(),
        false => keys.md5.iter().any(|key| key.scope.has(&peer)),
    }
}

/// Whether there is any MD5 key.
pub(crate) fn have_any_md5(sock: &Socket) -> bool {
    let rcu = rcu::read_lock();
    let keys = sock.shared().keys.get(&rcu);
    keys.is_some_and(|keys| !keys.md5.is_empty())
}

/// Puts what the socket has for TCP-AO in the place of what it had. The caller charges. Any context with GFP_ATOMIC.
///
/// # Errors
///
/// ENOMEM.
pub(crate) fn replace_ao(sk: &mut Sk<'_>, ao: Option<Arc<Ao>>, gfp: Flags) -> Result {
    let cell = &sk.sock().shared().keys;
    let mut keys = Keys {
        md5: KVec::new(),
        ao,
    };
    if let Some(old) = cell.get(&rcu::read_lock()) {
        keys.md5.reserve(old.md5.len(), gfp)?;
        for key in &old.md5 {
            keys.md5.push(key.clone(), gfp)?;
        }
    }
    cell.replace(Some(keys), gfp)?;
    sk.disable_bursts();
    Ok(())
}

/// connect(): leaves the keys for the peer, of one kind (Linux's `tcp_connect()`). Process context.
///
/// # Errors
///
/// EKEYREJECTED when there are keys of both kinds for the peer, or keys of TCP-AO and none for him; ENOMEM.
pub(crate) fn begin_connect(sk: &mut Owner<'_>, iss: SeqNum) -> Result {
    /// Under RCU nobody sleeps for memory.
    const GFP: Flags = GFP_ATOMIC;
    let sock = sk.sock();
    let peer = Peer::of(sock);
    let (old, md5, count) = {
        let rcu = rcu::read_lock();
        let Some(keys) = sock.shared().keys.get(&rcu) else {
            return Ok(());
        };
        let Some(ao) = &keys.ao else {
            return Ok(());
        };
        let md5 = keys.md5(&peer).is_some();
        if md5 && ao.is_required_of(&peer) {
            return Err(ekeyrejected());
        }
        (ao.clone(), md5, keys.md5.len())
    };
    if md5 {
        replace_ao(sk, None, GFP)?;
        sk.uncharge_option(old.len().saturating_mul(ao::Key::COST));
        return Ok(());
    }
    let ao = old.for_connect(&peer, iss, GFP)?.ok_or(ekeyrejected())?;
    let gone = old.len().saturating_sub(ao.len());
    let keys = Keys {
        md5: KVec::new(),
        ao: Some(Arc::new(ao, GFP)?),
    };
    sock.shared().keys.replace(Some(keys), GFP)?;
    sk.uncharge_option(gone.saturating_mul(ao::Key::COST));
    sk.uncharge_option(count.saturating_mul(Md5Key::COST));
    Ok(())
}

/// The peer of a connection that we have opened has begun it too. Under the socket lock.
pub(crate) fn peer_begins(sock: &Socket, irs: SeqNum) {
    if let Some(ao) = sock.shared().keys.get(&rcu::read_lock()).and_then(Keys::ao) {
        ao.state.peer_begins(irs);
    }
}

/// Lets what signs a connection follow what its peer wants, and the engine know. Any context.
pub(crate) fn follow(sk: &mut Sk<'_>, cx: &Context<'_>) {
    let cell = &sk.sock().shared().keys;
    if cell.is_empty() {
        return;
    }
    let followed = {
        let rcu = rcu::read_lock();
        cell.get(&rcu).and_then(Keys::ao).and_then(|ao| ao.follow())
    };
    let (Some(signature), Some(connection)) = (followed, sk.state().connection()) else {
        return;
    };
    let options = *connection.options();
    if options.signature != signature {
        connection.set_options(
            cx,
            SocketOptions {
                signature,
                ..options
            },
        );
    }
}

/// A new connection of a listener's has the MD5 key for its peer, or all of TCP-AO's for him, alone. Any context.
///
/// # Errors
///
/// ENOMEM: there must be no connection without it. EKEYREJECTED when the handshake was signed and there is no key for the peer any more.
pub(crate) fn inherit(
    sk: &mut Sk<'_>,
    listener: &Socket,
    peer: &Peer,
    handshake: Handshake,
) -> Result {
    let cell = &listener.shared().keys;
    let rcu = rcu::read_lock();
    if let Some(ids) = handshake.ids {
        let ao = cell.get(&rcu).and_then(Keys::ao).ok_or(ekeyrejected())?;
        let ao = ao
            .for_child(peer, ids, handshake.isns, GFP_ATOMIC)?
            .ok_or(ekeyrejected())?;
        let cost = ao.len().saturating_mul(ao::Key::COST);
        if !sk.charge_option(cost) {
            return Err(ENOMEM);
        }
        let replaced = Arc::new(ao, GFP_ATOMIC)
            .map_err(Error::from)
            .and_then(|ao| replace_ao(sk, Some(ao), GFP_ATOMIC));
        if replaced.is_err() {
            sk.uncharge_option(cost);
        }
        return replaced;
    }
    if cell.is_empty() {
        return Ok(());
    }
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
    let cost = cell.get(&rcu::read_lock()).map_or(0, |keys| {
        let ao = keys.ao.as_ref().map_or(0, |ao| ao.len());
        let md5 = keys.md5.len().saturating_mul(Md5Key::COST);
        md5.saturating_add(ao.saturating_mul(ao::Key::COST))
    });
    sk.uncharge_option(cost);
    // To leave nothing takes no memory.
    let _ = cell.replace(None, GFP_ATOMIC);
}

/// Who signs what a connection sends.
pub(crate) fn signer<'a>(sock: &'a Socket, rcu: &'a rcu::Guard) -> Signer<'a> {
    let Some(keys) = sock.shared().keys.get(rcu) else {
        return Signer::None;
    };
    match keys.ao().map(|ao| (ao.signer(), ao.is_begun())) {
        Some((Some(signer), _)) => Signer::Ao(signer),
        // Never without.
        Some((None, true)) => Signer::Lost,
        _ => keys.md5_signer(&Peer::of(sock)),
    }
}

/// Who signs what a listener answers to the peer of `key` by the interface `oif`; 0 for any.
pub(crate) fn signer_to<'a>(
    listener: &'a Socket,
    key: &FlowKey,
    oif: i32,
    handshake: Handshake,
    rcu: &'a rcu::Guard,
) -> Signer<'a> {
    let keys = listener.shared().keys.get(rcu);
    let peer = || Peer::by_path(listener.net(), key, oif);
    match (keys, handshake.ids) {
        (None, None) => Signer::None,
        (Some(keys), None) => keys.md5_signer(&peer()),
        (keys, Some(ids)) => {
            let ao = keys.and_then(Keys::ao);
            ao.and_then(|ao| ao.signer_to(&peer(), ids, handshake.isns))
                .map_or(Signer::Lost, Signer::Ao)
        }
    }
}

impl Keys {
    /// Who signs for a peer who has not signed with TCP-AO.
    fn md5_signer(&self, peer: &Peer) -> Signer<'_> {
        self.md5(peer).map_or(Signer::None, |key| Signer::Md5(key))
    }
}

impl Secret {
    /// Who signs what a small object sends.
    pub(crate) fn signer(&self) -> Signer<'_> {
        match self {
            Secret::Md5(key) => Signer::Md5(key),
            Secret::Ao(ao) => {
                ao.follow_unlocked();
                ao.signer().map_or(Signer::Lost, Signer::Ao)
            }
        }
    }

    /// Whether an ICMP error is not to be believed; see [`ignores_icmp`].
    pub(crate) fn ignores_icmp(&self) -> bool {
        match self {
            Secret::Md5(_) => false,
            Secret::Ao(ao) => ao.state.ignores_icmp(),
        }
    }

    /// Who judges what comes for it.
    pub(crate) fn judge(&self, peer: Peer) -> Judge<'_> {
        let (md5, ao) = match self {
            Secret::Md5(key) => (Some(&**key), None),
            Secret::Ao(ao) => (None, Some((&**ao, peer))),
        };
        Judge {
            md5,
            ao,
            stage: Stage::Connection,
        }
    }
}

/// What a connection leaves that gives its place to a small object.
pub(crate) fn left_behind(sock: &Socket) -> Option<Secret> {
    let rcu = rcu::read_lock();
    let keys = sock.shared().keys.get(&rcu)?;
    match &keys.ao {
        Some(ao) if ao.is_begun() => Some(Secret::Ao(ao.clone())),
        _ => keys.md5(&Peer::of(sock)).cloned().map(Secret::Md5),
    }
}

/// What the engine is to know: the room that a signature takes in the segments of a connection, to a peer. Under the socket lock.
pub(crate) fn signature_for(sock: &Socket, peer: &Peer) -> Signature {
    let rcu = rcu::read_lock();
    let Some(keys) = sock.shared().keys.get(&rcu) else {
        return Signature::NONE;
    };
    match keys.ao().and_then(|ao| ao.follow()) {
        Some(signature) => signature,
        None => keys.md5_signer(peer).signature(),
    }
}

/// See [`signature_for`]: the peer is the connection's.
pub(crate) fn signature(sock: &Socket) -> Signature {
    match sock.shared().keys.is_empty() {
        true => Signature::NONE,
        false => signature_for(sock, &Peer::of(sock)),
    }
}

/// Whether an ICMP error about a connection is not to be believed, of the kinds that RFC 5925 section 7.8 names (Linux's
/// `tcp_ao_ignore_icmp()`). It is counted with the socket.
pub(crate) fn ignores_icmp(sock: &Socket) -> bool {
    use crate::sys::sock::SkState;
    if sock.shared().keys.is_empty()
        || [
            SkState::CLOSE,
            SkState::LISTEN,
            SkState::SYN_SENT,
            SkState::SYN_RECV,
        ]
        .contains(&sock.state())
    {
        return false;
    }
    let rcu = rcu::read_lock();
    let ao = sock.shared().keys.get(&rcu).and_then(Keys::ao);
    ao.is_some_and(|ao| ao.state.ignores_icmp())
}
