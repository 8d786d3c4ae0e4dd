// SPDX-License-Identifier: GPL-2.0

//! The socket options of TCP-AO, with the structures and the errors of Linux. Process context, with the socket lock.

use core::mem::offset_of;

use kernel::alloc::Flags as Gfp;
use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::{rcu, Arc, SetOnce};

use super::{Ao, Key};
use crate::keys::{self, Peer, Scope};
use crate::output;
use crate::protocol::{Owner, Socket};
use crate::sys::auth::{Algorithm, AES_KEY};
use crate::sys::bindings;
use crate::sys::errno::{eafnosupport, ebusy, eisconn, ekeyrejected};
use crate::sys::sock::SkState;
use crate::sys::table::Endpoint;
use crate::sys::user::{OptionAnswer, OptionValue};

/// Under RCU nobody sleeps for memory.
const GFP: Gfp = GFP_ATOMIC;

/// Bytes of the MAC that RFC 5926 has, for programs that say 0.
const MAC_LEN: u8 = 12;
/// Bytes of an algorithm's name.
const NAME: usize = 64;

/// setsockopt().
///
/// # Errors
///
/// ENOPROTOOPT for what is none of the options, else those of Linux.
pub(crate) fn set(sk: &mut Owner<'_>, name: u32, value: OptionValue<'_>) -> Result {
    if name == bindings::TCP_AO_REPAIR {
        // There is no TCP_REPAIR, which Linux wants to be on.
        return Err(EPERM);
    }
    let sock = sk.sock();
    // RFC 5925 section 7.4: whether a connection is signed is settled with its SYN.
    if !is_open_to_all(sock) && ao_of(sock).is_none() {
        return Err(eisconn());
    }
    output::namespace(sock).note_keys();
    match name {
        bindings::TCP_AO_ADD_KEY => add(sk, value),
        bindings::TCP_AO_DEL_KEY => delete(sk, value),
        _ => set_info(sk, value),
    }
}

/// getsockopt().
///
/// # Errors
///
/// Those of Linux.
pub(crate) fn get(sk: &mut Owner<'_>, name: u32, answer: OptionAnswer<'_>) -> Result {
    match name {
        bindings::TCP_AO_REPAIR => Err(EPERM),
        bindings::TCP_AO_INFO => info(sk.sock(), &answer),
        _ => list(sk.sock(), &answer),
    }
}

/// Whether the socket has no connection: keys may be for anybody.
fn is_open_to_all(sock: &Socket) -> bool {
    [SkState::CLOSE, SkState::LISTEN].contains(&sock.state())
}

fn ao_of(sock: &Socket) -> Option<Arc<Ao>> {
    sock.shared().keys.get(&rcu::read_lock())?.ao().cloned()
}

fn field<const N: usize>(raw: &[u8], at: usize) -> Result<[u8; N]> {
    let bytes = raw.get(at..).and_then(|raw| raw.first_chunk());
    bytes.copied().ok_or(EINVAL)
}

fn byte(raw: &[u8], at: usize) -> Result<u8> {
    raw.get(at).copied().ok_or(EINVAL)
}

/// An interface, as a flag says that there is one.
fn domain(flags: u8, ifindex: i32, allowed: u32) -> Result<bool> {
    let in_domain = u32::from(flags) & bindings::TCP_AO_KEYF_IFINDEX != 0;
    if u32::from(flags) & !allowed != 0 || (ifindex != 0 && !in_domain) {
        return Err(EINVAL);
    }
    Ok(in_domain)
}

/// An address with a prefix, which has no bits beyond: address, and prefix of all 128 bits. `any` for the whole of the socket's family.
fn prefixed(ip: [u8; 16], prefix: u8, any: [u8; 16]) -> Result<([u8; 16], u8)> {
    let v4 = Endpoint { ip, port: 0 }.v4();
    let bits = match v4 {
        Some(_) => 32,
        None => 128,
    };
    let of_all = prefix.saturating_add(128_u8.saturating_sub(bits));
    if prefix == 0 {
        return (ip == any).then_some((ip, of_all)).ok_or(EINVAL);
    }
    let is_any = v4 == Some([0; 4]) || ip == [0; 16];
    if is_any || prefix > bits || u128::from_be_bytes(ip) & !keys::mask(of_all) != 0 {
        return Err(EINVAL);
    }
    Ok((ip, of_all))
}

/// "Any address" of a socket's family.
fn any(sock: &Socket) -> [u8; 16] {
    match sock.is_v6() {
        true => [0; 16],
        false => Endpoint::mapped([0; 4]),
    }
}

/// The address at the beginning of a structure, without a port.
fn address(raw: &[u8], v6: bool) -> Result<[u8; 16]> {
    let ip = keys::address(raw, v6)?;
    // Connections are not told apart by ports yet, says Linux.
    match field(raw, 2)? {
        [0, 0] => Ok(ip),
        _ => Err(EINVAL),
    }
}

/// TCP_AO_ADD_KEY: `tcp_ao_add_cmd()`.
fn add(sk: &mut Owner<'_>, value: OptionValue<'_>) -> Result {
    type Struct = bindings::tcp_ao_add;
    const LEN: usize = size_of::<Struct>();
    /// Behind the interface: two bits, as machines with the low bits first have them, and 30 reserved ones.
    const BITS: usize = offset_of!(Struct, ifindex) + 4;
    const SET_CURRENT: u32 = 1;
    const SET_RNEXT: u32 = 2;
    let raw: [u8; LEN] = value.structure()?;
    let sock = sk.sock();
    let bits = u32::from_ne_bytes(field(&raw, BITS)?);
    let len = byte(&raw, offset_of!(Struct, keylen))?;
    if usize::from(len) > Key::MOST
        || bits & !(SET_CURRENT | SET_RNEXT) != 0
        || field(&raw, offset_of!(Struct, reserved2))? != [0; 2]
    {
        return Err(EINVAL);
    }
    let prefix = byte(&raw, offset_of!(Struct, prefix))?;
    let (ip, prefix) = prefixed(address(&raw, sock.is_v6())?, prefix, any(sock))?;
    if !is_open_to_all(sock) && prefix != 0 {
        let peer = Peer::of(sock);
        let scope = Scope::new(ip, prefix, None);
        // "Any" of IPv4 has a prefix too, of all 128 bits.
        if ip != any(sock) && !scope.has(&peer) {
            return Err(EINVAL);
        }
    }
    let flags = byte(&raw, offset_of!(Struct, keyflags))?;
    const ALL: u32 = bindings::TCP_AO_KEYF_IFINDEX | bindings::TCP_AO_KEYF_EXCLUDE_OPT;
    let ifindex = i32::from_ne_bytes(field(&raw, offset_of!(Struct, ifindex))?);
    if u32::from(flags) & !ALL != 0 {
        return Err(EINVAL);
    }
    if bits != 0 && sock.state() == SkState::LISTEN {
        return Err(EINVAL);
    }
    let in_domain = domain(flags, ifindex, ALL)?;
    if in_domain && ifindex != 0 {
        if !sock.net().is_l3_master(ifindex) {
            return Err(EINVAL);
        }
        // A connection's keys are for its peer.
        if sock.bound_dev() != ifindex && !is_open_to_all(sock) {
            return Err(EINVAL);
        }
    }
    let l3index = if in_domain { ifindex } else { 0 };
    let scope = Scope::new(ip, prefix, in_domain.then_some(l3index));
    let (send_id, recv_id) = (
        byte(&raw, offset_of!(Struct, sndid))?,
        byte(&raw, offset_of!(Struct, rcvid))?,
    );
    if keys::have_md5(sock, &scope) {
        return Err(ekeyrejected());
    }
    let old = ao_of(sock);
    if let Some(old) = &old {
        // RFC 5925 section 3.1: numbers do not overlap where connections do.
        let overlaps = |key: &&Arc<Key>| {
            (key.recv_id == recv_id || key.send_id == send_id) && key.scope.meets(&scope)
        };
        if old.latest_first().any(|key| overlaps(&key)) {
            return Err(EEXIST);
        }
    }
    let mut name: [u8; NAME] = field(&raw, offset_of!(Struct, alg_name))?;
    if let Some(last) = name.last_mut() {
        *last = 0;
    }
    let algorithm = algorithm(&name, len).ok_or(ENOENT)?;
    if !sk.charge_option(Key::COST) {
        return Err(ENOMEM);
    }
    let made = make(&raw, algorithm, len, scope, (send_id, recv_id), flags)
        .and_then(|key| keep(sk, old.as_deref(), key));
    let (ao, serial) = match made {
        Ok(made) => made,
        Err(error) => {
            sk.uncharge_option(Key::COST);
            return Err(error);
        }
    };
    Chosen {
        current: (bits & SET_CURRENT != 0).then_some(serial),
        rnext: (bits & SET_RNEXT != 0).then_some(serial),
    }
    .set(&ao);
    Ok(())
}

/// The key of TCP_AO_ADD_KEY, with number 0 (`tcp_ao_parse_crypto()`).
fn make(
    raw: &[u8],
    algorithm: Algorithm,
    len: u8,
    scope: Scope,
    (send_id, recv_id): (u8, u8),
    flags: u8,
) -> Result<Key> {
    let mac_len = match byte(raw, offset_of!(bindings::tcp_ao_add, maclen))? {
        0 => MAC_LEN,
        len => len,
    };
    if oxtcp_engine::wire::Signature::authentication(mac_len).is_none() {
        return Err(EMSGSIZE);
    }
    if usize::from(mac_len) > algorithm.len() {
        return Err(EINVAL);
    }
    let given: [u8; Key::MOST] = field(raw, offset_of!(bindings::tcp_ao_add, key))?;
    let given = given.get(..usize::from(len)).ok_or(EINVAL)?;
    let mut bytes = [0; Key::MOST];
    let mut put = |part: &[u8]| {
        for (slot, byte) in bytes.iter_mut().zip(part) {
            *slot = *byte;
        }
    };
    let len = match algorithm {
        // RFC 5926 section 3.1.1.2: what has not the length of a key is made one.
        Algorithm::AesCmac if given.len() != AES_KEY => {
            let sum = algorithm.sum(&[0; AES_KEY], given);
            put(sum.get(..AES_KEY).unwrap_or(&[]));
            AES_KEY as u8
        }
        _ => {
            put(given);
            len
        }
    };
    Ok(Key {
        serial: 0,
        scope,
        algorithm,
        send_id,
        recv_id,
        mac_len,
        flags,
        len,
        bytes,
        good: Atomic::new(0),
        bad: Atomic::new(0),
        traffic: SetOnce::new(),
    })
}

/// Gives the socket another key. What it has then, and the key's number.
fn keep(sk: &mut Owner<'_>, old: Option<&Ao>, mut key: Key) -> Result<(Arc<Ao>, u32)> {
    let none;
    let old = match old {
        Some(old) => old,
        None => {
            none = Ao::empty(GFP_KERNEL)?;
            &none
        }
    };
    let serial = old.state.next_serial();
    key.serial = serial;
    let ao = Arc::new(
        old.with(Arc::new(key, GFP_KERNEL)?, GFP_KERNEL)?,
        GFP_KERNEL,
    )?;
    keys::replace_ao(sk, Some(ao.clone()), GFP)?;
    Ok((ao, serial))
}

/// By its name, as Linux has it; `len` is the key's length.
fn algorithm(name: &[u8; NAME], len: u8) -> Option<Algorithm> {
    let end = name.iter().position(|&byte| byte == 0)?;
    let algorithm = match name.get(..end)? {
        b"hmac(sha1)" => Algorithm::HmacSha1,
        b"hmac(sha256)" => Algorithm::HmacSha256,
        b"cmac(aes128)" => Algorithm::AesCmac,
        // What programs call it from before.
        b"cmac(aes)" if usize::from(len) == AES_KEY => Algorithm::AesCmac,
        _ => return None,
    };
    algorithm.is_usable().then_some(algorithm)
}

fn name(algorithm: Algorithm) -> &'static [u8] {
    match algorithm {
        Algorithm::HmacSha1 => b"hmac(sha1)",
        Algorithm::HmacSha256 => b"hmac(sha256)",
        // As in Linux, for programs that know that name.
        Algorithm::AesCmac => b"cmac(aes)",
    }
}

/// TCP_AO_DEL_KEY: `tcp_ao_del_cmd()`.
fn delete(sk: &mut Owner<'_>, value: OptionValue<'_>) -> Result {
    type Struct = bindings::tcp_ao_del;
    const LEN: usize = size_of::<Struct>();
    const BITS: usize = offset_of!(Struct, ifindex) + 4;
    const SET_CURRENT: u32 = 1;
    const SET_RNEXT: u32 = 2;
    const ASYNC: u32 = 4;
    let raw: [u8; LEN] = value.structure()?;
    let sock = sk.sock();
    let bits = u32::from_ne_bytes(field(&raw, BITS)?);
    if bits & !(SET_CURRENT | SET_RNEXT | ASYNC) != 0
        || field(&raw, offset_of!(Struct, reserved2))? != [0; 2]
    {
        return Err(EINVAL);
    }
    let listens = sock.state() == SkState::LISTEN;
    if bits & (SET_CURRENT | SET_RNEXT) != 0 && listens {
        return Err(EINVAL);
    }
    let ifindex = i32::from_ne_bytes(field(&raw, offset_of!(Struct, ifindex))?);
    let flags = byte(&raw, offset_of!(Struct, keyflags))?;
    let in_domain = domain(flags, ifindex, bindings::TCP_AO_KEYF_IFINDEX)?;
    let ao = ao_of(sock).ok_or(ENOENT)?;
    let chosen = Chosen::find(
        &ao,
        (bits & SET_CURRENT != 0).then_some(byte(&raw, offset_of!(Struct, current_key))?),
        (bits & SET_RNEXT != 0).then_some(byte(&raw, offset_of!(Struct, rnext))?),
    )?;
    if bits & ASYNC != 0 && !listens {
        return Err(EINVAL);
    }
    let ip = address(&raw, sock.is_v6())?;
    let v4 = Endpoint { ip, port: 0 }.v4().is_some();
    let prefix = byte(&raw, offset_of!(Struct, prefix))?;
    let of_all = match v4 {
        true => prefix.saturating_add(96),
        false => prefix,
    };
    let scope = Scope::new(ip, of_all, in_domain.then_some(ifindex));
    let ids = (
        byte(&raw, offset_of!(Struct, sndid))?,
        byte(&raw, offset_of!(Struct, rcvid))?,
    );
    let found = ao.latest_first().find(|key| {
        (key.send_id, key.recv_id) == ids
            && key.scope == scope
            && chosen.current != Some(key.serial)
            && chosen.rnext != Some(key.serial)
    });
    let serial = found.ok_or(ENOENT)?.serial;
    // "An MKT affecting a particular connection cannot be destroyed during an active connection" (RFC 5925 section 6.1).
    let in_use = |chosen: Option<u32>, now: Option<&Arc<Key>>| {
        chosen.is_none() && now.is_some_and(|key| key.serial == serial)
    };
    if !listens && (in_use(chosen.current, ao.current()) || in_use(chosen.rnext, ao.rnext())) {
        return Err(ebusy());
    }
    let left = Arc::new(ao.without(serial, GFP_KERNEL)?, GFP_KERNEL)?;
    // Before the key goes, so that what signs is always there.
    chosen.set(&ao);
    // The peer may have asked for it again in this moment. From here on, under the socket lock, what signs stays.
    if !listens && ao.signs_with(serial) {
        return Err(ebusy());
    }
    keys::replace_ao(sk, Some(left), GFP)?;
    sk.uncharge_option(Key::COST);
    Ok(())
}

/// The keys that a program chooses for a connection.
struct Chosen {
    current: Option<u32>,
    rnext: Option<u32>,
}

impl Chosen {
    /// ENOENT for a number that no key has.
    fn find(ao: &Ao, current: Option<u8>, rnext: Option<u8>) -> Result<Self> {
        let current = match current {
            Some(id) => Some(ao.by_send_id(id).ok_or(ENOENT)?.serial),
            None => None,
        };
        let rnext = match rnext {
            Some(id) => Some(ao.by_recv_id(id).ok_or(ENOENT)?.serial),
            None => None,
        };
        Ok(Self { current, rnext })
    }

    fn set(&self, ao: &Ao) {
        if let Some(serial) = self.current {
            ao.state.current.store(serial, Relaxed);
        }
        if let Some(serial) = self.rnext {
            ao.state.rnext.store(serial, Relaxed);
        }
        let _ = ao.follow();
    }
}

/// Where `struct tcp_ao_info_opt` has its bits, which it begins with.
mod info_bits {
    pub(super) const SET_CURRENT: u32 = 1;
    pub(super) const SET_RNEXT: u32 = 2;
    pub(super) const REQUIRED: u32 = 4;
    pub(super) const SET_COUNTERS: u32 = 8;
    pub(super) const ACCEPT_ICMPS: u32 = 16;
    pub(super) const ALL: u32 = 31;
}

/// TCP_AO_INFO: `tcp_ao_info_cmd()`.
fn set_info(sk: &mut Owner<'_>, value: OptionValue<'_>) -> Result {
    use info_bits::*;
    type Struct = bindings::tcp_ao_info_opt;
    const LEN: usize = size_of::<Struct>();
    let raw: [u8; LEN] = value.structure()?;
    let sock = sk.sock();
    let bits = u32::from_ne_bytes(field(&raw, 0)?);
    if bits & (SET_CURRENT | SET_RNEXT) != 0 && sock.state() == SkState::LISTEN {
        return Err(EINVAL);
    }
    if bits & !ALL != 0 || field(&raw, offset_of!(Struct, reserved2))? != [0; 2] {
        return Err(EINVAL);
    }
    let (ao, is_new) = match ao_of(sock) {
        Some(ao) => (ao, false),
        None => (Arc::new(Ao::empty(GFP_KERNEL)?, GFP_KERNEL)?, true),
    };
    if bits & REQUIRED != 0 && keys::have_any_md5(sock) {
        return Err(ekeyrejected());
    }
    let chosen = Chosen::find(
        &ao,
        (bits & SET_CURRENT != 0).then_some(byte(&raw, offset_of!(Struct, current_key))?),
        (bits & SET_RNEXT != 0).then_some(byte(&raw, offset_of!(Struct, rnext))?),
    )?;
    if is_new {
        keys::replace_ao(sk, Some(ao.clone()), GFP)?;
    }
    let state = &ao.state;
    if bits & SET_COUNTERS != 0 {
        for (counter, at) in counters(&ao) {
            counter.store(u64::from_ne_bytes(field(&raw, at)?), Relaxed);
        }
    }
    state.required.store(bits & REQUIRED != 0, Relaxed);
    state.accepts_icmps.store(bits & ACCEPT_ICMPS != 0, Relaxed);
    chosen.set(&ao);
    Ok(())
}

/// A socket's counters, and where `struct tcp_ao_info_opt` has them.
fn counters(ao: &Ao) -> [(&Atomic<u64>, usize); 5] {
    type Struct = bindings::tcp_ao_info_opt;
    let counts = &ao.state.counts;
    [
        (&counts.good, offset_of!(Struct, pkt_good)),
        (&counts.bad, offset_of!(Struct, pkt_bad)),
        (&counts.key_not_found, offset_of!(Struct, pkt_key_not_found)),
        (&counts.required, offset_of!(Struct, pkt_ao_required)),
        (&counts.dropped_icmp, offset_of!(Struct, pkt_dropped_icmp)),
    ]
}

/// Writes a field of a structure; all of them are in it.
fn put<const N: usize>(raw: &mut [u8], at: usize, bytes: [u8; N]) {
    if let Some(slot) = raw.get_mut(at..).and_then(|raw| raw.first_chunk_mut()) {
        *slot = bytes;
    }
}

/// getsockopt(TCP_AO_INFO): `tcp_ao_get_sock_info()`.
fn info(sock: &Socket, answer: &OptionAnswer<'_>) -> Result {
    use info_bits::*;
    type Struct = bindings::tcp_ao_info_opt;
    const LEN: usize = size_of::<Struct>();
    let (asked, len): ([u8; LEN], _) = answer.structure()?;
    let bits = u32::from_ne_bytes(field(&asked, 0)?);
    if bits & !ALL != 0 || field(&asked, offset_of!(Struct, reserved2))? != [0; 2] {
        return Err(EINVAL);
    }
    let ao = ao_of(sock).ok_or(ENOENT)?;
    let mut told = [0; LEN];
    let mut bits = 0;
    if ao.state.required.load(Relaxed) {
        bits |= REQUIRED;
    }
    if ao.state.accepts_icmps() {
        bits |= ACCEPT_ICMPS;
    }
    if let Some(key) = ao.current() {
        bits |= SET_CURRENT;
        put(&mut told, offset_of!(Struct, current_key), [key.send_id]);
    }
    if let Some(key) = ao.rnext() {
        bits |= SET_RNEXT;
        put(&mut told, offset_of!(Struct, rnext), [key.recv_id]);
    }
    put(&mut told, 0, bits.to_ne_bytes());
    for (counter, at) in counters(&ao) {
        put(&mut told, at, counter.load(Relaxed).to_ne_bytes());
    }
    answer.put(0, told.get(..len).unwrap_or(&told))
}

/// Which keys a program asks for.
struct Filter {
    all: bool,
    current: bool,
    rnext: bool,
    ip: Option<[u8; 16]>,
    prefix: u8,
    ids: (u8, u8),
    /// Of keys that are for peers in a domain.
    l3index: Option<i32>,
}

/// Where `struct tcp_ao_getsockopt` has its 16 bits: behind the number of keys.
const LIST_BITS: usize = offset_of!(bindings::tcp_ao_getsockopt, nkeys) + 4;
const IS_CURRENT: u16 = 1;
const IS_RNEXT: u16 = 2;
const GET_ALL: u16 = 4;

impl Filter {
    /// Reads it, as `tcp_ao_copy_mkts_to_user()` does.
    fn read(raw: &[u8]) -> Result<Self> {
        type Struct = bindings::tcp_ao_getsockopt;
        let number = |at| field(raw, at).map(u64::from_ne_bytes);
        if number(offset_of!(Struct, pkt_good))? != 0 || number(offset_of!(Struct, pkt_bad))? != 0 {
            return Err(EINVAL);
        }
        let flags = byte(raw, offset_of!(Struct, keyflags))?;
        let ifindex = i32::from_ne_bytes(field(raw, offset_of!(Struct, ifindex))?);
        let in_domain = domain(flags, ifindex, bindings::TCP_AO_KEYF_IFINDEX)?;
        let bits = u16::from_ne_bytes(field(raw, LIST_BITS)?);
        if bits & !(IS_CURRENT | IS_RNEXT | GET_ALL) != 0 {
            return Err(EINVAL);
        }
        let (all, current, rnext) = (
            bits & GET_ALL != 0,
            bits & IS_CURRENT != 0,
            bits & IS_RNEXT != 0,
        );
        if all && (current || rnext) {
            return Err(EINVAL);
        }
        let by_address = bits == 0;
        let prefix = byte(raw, offset_of!(Struct, prefix))?;
        let ids = (
            byte(raw, offset_of!(Struct, sndid))?,
            byte(raw, offset_of!(Struct, rcvid))?,
        );
        let family = u16::from_ne_bytes(field(raw, 0)?);
        let (ip, of_all) = match u32::from(family) {
            bindings::AF_INET => {
                let ip = keys::address(raw, false)?;
                let is_any = ip == Endpoint::mapped([0; 4]);
                let of_all = prefix.saturating_add(96);
                let beyond = u128::from_be_bytes(ip) & !keys::mask(of_all) != 0;
                if prefix > 32 || (is_any && prefix != 0) || beyond {
                    return Err(EINVAL);
                }
                (Some(ip), of_all)
            }
            bindings::AF_INET6 => {
                let (ip, of_all) = prefixed(keys::address(raw, true)?, prefix, [0; 16])?;
                (Some(ip), of_all)
            }
            0 if !by_address => (None, 0),
            _ => return Err(eafnosupport()),
        };
        if !by_address && (ip.is_some() || prefix != 0 || ids != (0, 0)) {
            return Err(EINVAL);
        }
        Ok(Self {
            all,
            current,
            rnext,
            ip,
            prefix: of_all,
            ids,
            l3index: in_domain.then_some(ifindex),
        })
    }

    fn has(&self, key: &Key, is_current: bool, is_rnext: bool) -> bool {
        if self.all || self.current || self.rnext {
            return self.all || (self.current && is_current) || (self.rnext && is_rnext);
        }
        let Some(ip) = self.ip else {
            return false;
        };
        (key.send_id, key.recv_id) == self.ids
            && self.l3index.is_none_or(|l3| key.scope.is_in(l3))
            && key.scope.shares(&ip, self.prefix)
    }
}

/// getsockopt(TCP_AO_GET_KEYS): `tcp_ao_copy_mkts_to_user()`.
fn list(sock: &Socket, answer: &OptionAnswer<'_>) -> Result {
    type Struct = bindings::tcp_ao_getsockopt;
    const LEN: usize = size_of::<Struct>();
    let ao = ao_of(sock).ok_or(ENOENT)?;
    let (asked, len): ([u8; LEN], _) = answer.structure()?;
    let filter = Filter::read(&asked)?;
    let most = u32::from_ne_bytes(field(&asked, offset_of!(Struct, nkeys))?);
    let (current, rnext) = (ao.current(), ao.rnext());
    let is = |one: Option<&Arc<Key>>, key: &Key| one.is_some_and(|one| one.serial == key.serial);
    let mut found: u32 = 0;
    let mut at: usize = 0;
    for key in ao.latest_first() {
        let (is_current, is_rnext) = (is(current, key), is(rnext, key));
        if !filter.has(key, is_current, is_rnext) {
            continue;
        }
        found = found.saturating_add(1);
        if found > most {
            continue;
        }
        let told = entry(key, is_current, is_rnext);
        answer.put(at, told.get(..len).unwrap_or(&told))?;
        at = at.saturating_add(len);
    }
    answer.put_len(LEN)?;
    answer.put(offset_of!(Struct, nkeys), &found.to_ne_bytes())
}

/// A key, as programs are told of it.
fn entry(
    key: &Key,
    is_current: bool,
    is_rnext: bool,
) -> [u8; size_of::<bindings::tcp_ao_getsockopt>()] {
    type Struct = bindings::tcp_ao_getsockopt;
    let mut told = [0; size_of::<Struct>()];
    let (ip, prefix) = key.scope.address();
    match (Endpoint { ip, port: 0 }).v4() {
        Some(v4) => {
            put(&mut told, 0, (bindings::AF_INET as u16).to_ne_bytes());
            put(&mut told, 4, v4);
            let prefix = prefix.saturating_sub(96);
            put(&mut told, offset_of!(Struct, prefix), [prefix]);
        }
        None => {
            put(&mut told, 0, (bindings::AF_INET6 as u16).to_ne_bytes());
            put(&mut told, 8, ip);
            put(&mut told, offset_of!(Struct, prefix), [prefix]);
        }
    }
    let mut long = [0; NAME];
    for (slot, byte) in long.iter_mut().zip(name(key.algorithm)) {
        *slot = *byte;
    }
    put(&mut told, offset_of!(Struct, alg_name), long);
    put(&mut told, offset_of!(Struct, key), key.bytes);
    let mut bits = 0;
    if is_current {
        bits |= IS_CURRENT;
    }
    if is_rnext {
        bits |= IS_RNEXT;
    }
    put(&mut told, LIST_BITS, bits.to_ne_bytes());
    let l3index = key.scope.l3index().to_ne_bytes();
    put(&mut told, offset_of!(Struct, ifindex), l3index);
    for (at, value) in [
        (offset_of!(Struct, sndid), key.send_id),
        (offset_of!(Struct, rcvid), key.recv_id),
        (offset_of!(Struct, maclen), key.mac_len),
        (offset_of!(Struct, keyflags), key.flags),
        (offset_of!(Struct, keylen), key.len),
    ] {
        put(&mut told, at, [value]);
    }
    for (at, counter) in [
        (offset_of!(Struct, pkt_good), &key.good),
        (offset_of!(Struct, pkt_bad), &key.bad),
    ] {
        put(&mut told, at, counter.load(Relaxed).to_ne_bytes());
    }
    told
}

/// No byte of them is between the fields or behind them; an address of 128 bytes comes first.
const _: () = assert!(offset_of!(bindings::tcp_ao_add, alg_name) == 128);
const _: () = assert!(size_of::<bindings::tcp_ao_add>() == 288);
const _: () = assert!(size_of::<bindings::tcp_ao_del>() == 144);
const _: () = assert!(size_of::<bindings::tcp_ao_info_opt>() == 48);
const _: () = assert!(size_of::<bindings::tcp_ao_getsockopt>() == 304);
