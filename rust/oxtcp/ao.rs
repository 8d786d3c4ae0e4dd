// SPDX-License-Identifier: GPL-2.0

//! The keys of TCP-AO (RFC 5925: master key tuples), and what a connection remembers of them.
//!
//! The table is replaced as a whole, as all of a socket's keys are ([`crate::keys`]). What changes with segments is atomic, and one for
//! all tables that a socket has in turn; the TIME-WAIT takes it over. Any context, if nothing else is said.

pub(crate) mod options;
pub(crate) mod segments;

use kernel::alloc::Flags as Gfp;
use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Relaxed, Release};
use kernel::sync::{Arc, SetOnce};

use oxtcp_engine::wire::Signature;
use oxtcp_engine::SeqNum;

use crate::keys::{Peer, Scope};
use crate::sys::auth::Algorithm;
use crate::sys::bindings;

/// A socket's keys. There may be none: what else was set counts without.
pub(crate) struct Ao {
    /// In the order in which they came. Of several that suit the latest is taken, as in Linux.
    keys: KVec<Arc<Key>>,
    pub(crate) state: Arc<State>,
}

/// A master key tuple (RFC 5925 section 3.1).
pub(crate) struct Key {
    /// Which of the socket's it is; never 0.
    serial: u32,
    pub(crate) scope: Scope,
    algorithm: Algorithm,
    send_id: u8,
    recv_id: u8,
    mac_len: u8,
    /// `TCP_AO_KEYF_*`.
    flags: u8,
    len: u8,
    bytes: [u8; Key::MOST],
    /// Segments that came with it.
    good: Atomic<u64>,
    bad: Atomic<u64>,
    /// What the connection's segments but its SYNs are signed with, made when it is wanted first.
    traffic: SetOnce<Traffic>,
}

/// Keys that are derived for a connection (RFC 5925 section 5.2).
struct Traffic {
    send: [u8; 32],
    receive: [u8; 32],
}

impl Drop for Key {
    /// Leaves no key behind in memory.
    fn drop(&mut self) {
        self.bytes.fill(0);
        core::hint::black_box(&self.bytes);
    }
}

impl Drop for Traffic {
    /// See [`Key`].
    fn drop(&mut self) {
        self.send.fill(0);
        self.receive.fill(0);
        core::hint::black_box((&self.send, &self.receive));
    }
}

/// The initial sequence numbers of a connection.
#[derive(Clone, Copy)]
pub(crate) struct Isns {
    pub(crate) local: SeqNum,
    pub(crate) remote: SeqNum,
}

/// The KeyID and the RNextKeyID that a peer has sent.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Ids {
    /// What he has signed with: he wants us to receive with it, and we him to send with it.
    pub(crate) key: u8,
    /// What he wants to be sent.
    pub(crate) rnext: u8,
}

impl Ids {
    /// As a half-open connection keeps them.
    pub(crate) fn note(self) -> [u8; 2] {
        [self.key, self.rnext]
    }

    /// See [`note`](Self::note).
    pub(crate) fn from_note([key, rnext]: [u8; 2]) -> Self {
        Self { key, rnext }
    }
}

/// What is known of a connection that is not there yet.
#[derive(Clone, Copy)]
pub(crate) struct Handshake {
    /// What the peer's SYN was signed with (of a cookie's: the ACK), if it was: the rest of the connection is as it was (RFC
    /// 5925 section 7.4).
    pub(crate) ids: Option<Ids>,
    pub(crate) isns: Isns,
}

/// What changes. Each field is atomic by itself; `signing`, and what programs set, is written under the socket lock only.
pub(crate) struct State {
    /// The local one in the upper half.
    isns: Atomic<u64>,
    /// Whether both are known, and `sent` and `received` hold. Stored behind these.
    both_known: Atomic<bool>,
    /// Numbers of keys; 0: none. The one that the peer wants or the program has chosen (Current_key) ...
    current: Atomic<u32>,
    /// ... the one that segments are signed with, which follows under the socket lock: the engine has to know the room ...
    signing: Atomic<u32>,
    /// ... and the one that we want the peer to sign with (RNext_key).
    rnext: Atomic<u32>,
    last_serial: Atomic<u32>,
    /// The furthest numbers of segments in each direction, with extension (RFC 5925 section 6.2).
    sent: Atomic<u64>,
    received: Atomic<u64>,
    required: Atomic<bool>,
    accepts_icmps: Atomic<bool>,
    counts: Counts,
}

/// What a socket counts.
struct Counts {
    good: Atomic<u64>,
    bad: Atomic<u64>,
    key_not_found: Atomic<u64>,
    required: Atomic<u64>,
    dropped_icmp: Atomic<u64>,
}

fn count(counter: &Atomic<u64>) {
    counter.fetch_add(1_u64, Relaxed);
}

impl Key {
    /// TCP_AO_MAXKEYLEN.
    const MOST: usize = bindings::TCP_AO_MAXKEYLEN as usize;
    /// What a socket is charged: the key, the counts of its references, and its place in the table.
    pub(crate) const COST: usize = size_of::<Self>() + 2 * size_of::<usize>();

    fn master(&self) -> &[u8] {
        self.bytes.get(..usize::from(self.len)).unwrap_or(&[])
    }

    fn signs_options(&self) -> bool {
        u32::from(self.flags) & bindings::TCP_AO_KEYF_EXCLUDE_OPT == 0
    }

    /// The same, for another peer or another connection. With the counts, or without.
    fn afresh(&self, counted: bool, gfp: Gfp) -> Result<Arc<Self>> {
        let count = |counter: &Atomic<u64>| match counted {
            true => Atomic::new(counter.load(Relaxed)),
            false => Atomic::new(0),
        };
        Ok(Arc::new(
            Self {
                serial: self.serial,
                scope: self.scope,
                algorithm: self.algorithm,
                send_id: self.send_id,
                recv_id: self.recv_id,
                mac_len: self.mac_len,
                flags: self.flags,
                len: self.len,
                bytes: self.bytes,
                good: count(&self.good),
                bad: count(&self.bad),
                traffic: SetOnce::new(),
            },
            gfp,
        )?)
    }

    /// The room that it takes in a segment. What there is no room for is refused when it is set.
    pub(crate) fn signature(&self) -> Signature {
        Signature::authentication(self.mac_len).unwrap_or(Signature::NONE)
    }
}

impl State {
    /// Of a socket that has or will have no connection yet.
    pub(crate) fn new(gfp: Gfp) -> Result<Arc<Self>> {
        let zero = || Atomic::new(0_u64);
        Ok(Arc::new(
            Self {
                isns: zero(),
                both_known: Atomic::new(false),
                current: Atomic::new(0),
                signing: Atomic::new(0),
                rnext: Atomic::new(0),
                last_serial: Atomic::new(0),
                sent: zero(),
                received: zero(),
                required: Atomic::new(false),
                accepts_icmps: Atomic::new(false),
                counts: Counts {
                    good: zero(),
                    bad: zero(),
                    key_not_found: zero(),
                    required: zero(),
                    dropped_icmp: zero(),
                },
            },
            gfp,
        )?)
    }

    /// The same, for another connection of the socket: a TIME-WAIT has this one, perhaps.
    fn afresh(&self, gfp: Gfp) -> Result<Arc<Self>> {
        let new = Self::new(gfp)?;
        let copy = |to: &Atomic<u64>, from: &Atomic<u64>| to.store(from.load(Relaxed), Relaxed);
        let (to, from) = (&new.counts, &self.counts);
        copy(&to.good, &from.good);
        copy(&to.bad, &from.bad);
        copy(&to.key_not_found, &from.key_not_found);
        copy(&to.required, &from.required);
        copy(&to.dropped_icmp, &from.dropped_icmp);
        new.current.store(self.current.load(Relaxed), Relaxed);
        new.rnext.store(self.rnext.load(Relaxed), Relaxed);
        new.take_settings(self);
        Ok(new)
    }

    /// What programs have set, and which numbers keys have had.
    fn take_settings(&self, other: &Self) {
        let copy = |to: &Atomic<bool>, from: &Atomic<bool>| to.store(from.load(Relaxed), Relaxed);
        copy(&self.required, &other.required);
        copy(&self.accepts_icmps, &other.accepts_icmps);
        let last = other.last_serial.load(Relaxed);
        self.last_serial.store(last, Relaxed);
    }

    /// A connection begins, with our SYN.
    fn begin(&self, local: SeqNum) {
        self.both_known.store(false, Relaxed);
        self.isns.store(u64::from(local.get()) << 32, Relaxed);
        self.sent.store(u64::from(local.get()), Relaxed);
    }

    /// The peer's SYN was accepted. Under the socket lock.
    pub(crate) fn peer_begins(&self, remote: SeqNum) {
        let isns = self.isns.load(Relaxed) & !u64::from(u32::MAX);
        self.isns.store(isns | u64::from(remote.get()), Relaxed);
        self.received.store(u64::from(remote.get()), Relaxed);
        self.both_known.store(true, Release);
    }

    /// Whether both initial sequence numbers are known.
    fn both_known(&self) -> bool {
        self.both_known.load(Acquire)
    }

    fn isns(&self) -> Isns {
        let isns = self.isns.load(Relaxed);
        Isns {
            local: SeqNum::new((isns >> 32) as u32),
            remote: SeqNum::new(isns as u32),
        }
    }

    /// The extension of a segment's number, in the direction whose furthest number `last` is; it is remembered if `believed`.
    fn extension(last: &Atomic<u64>, seq: SeqNum, believed: bool) -> u32 {
        let furthest = last.load(Relaxed);
        let number = seq.extended(furthest);
        // Of two at a time that are further one is remembered: they are nowhere near 2^31 apart.
        if believed && number.wrapping_sub(furthest) as i64 > 0 {
            last.store(number, Relaxed);
        }
        (number >> 32) as u32
    }

    fn next_serial(&self) -> u32 {
        self.last_serial.fetch_add(1_u32, Relaxed).wrapping_add(1)
    }

    /// Whether ICMP errors are believed (RFC 5925 section 7.8).
    fn accepts_icmps(&self) -> bool {
        self.accepts_icmps.load(Relaxed)
    }

    /// Counts a segment without the option.
    pub(crate) fn miss(&self) {
        count(&self.counts.required);
    }

    /// Whether an ICMP error is not to be believed. It is counted then.
    pub(crate) fn ignores_icmp(&self) -> bool {
        let ignores = !self.accepts_icmps();
        if ignores {
            count(&self.counts.dropped_icmp);
        }
        ignores
    }
}

impl Ao {
    /// Without keys.
    pub(crate) fn empty(gfp: Gfp) -> Result<Self> {
        Ok(Self {
            keys: KVec::new(),
            state: State::new(gfp)?,
        })
    }

    /// How many keys there are.
    pub(crate) fn len(&self) -> usize {
        self.keys.len()
    }

    /// The keys, the latest first.
    fn latest_first(&self) -> impl Iterator<Item = &Arc<Key>> {
        self.keys.iter().rev()
    }

    /// A key for the peer, with these numbers if they are given.
    fn for_peer(&self, peer: &Peer, send: Option<u8>, recv: Option<u8>) -> Option<&Arc<Key>> {
        self.latest_first().find(|key| {
            send.is_none_or(|id| id == key.send_id)
                && recv.is_none_or(|id| id == key.recv_id)
                && key.scope.suits(peer)
        })
    }

    /// A connection's key: all are for its peer.
    fn by_send_id(&self, id: u8) -> Option<&Arc<Key>> {
        self.latest_first().find(|key| key.send_id == id)
    }

    /// See [`by_send_id`](Self::by_send_id).
    fn by_recv_id(&self, id: u8) -> Option<&Arc<Key>> {
        self.latest_first().find(|key| key.recv_id == id)
    }

    fn by_serial(&self, serial: u32) -> Option<&Arc<Key>> {
        self.keys.iter().find(|key| key.serial == serial)
    }

    /// What the program or the peer has chosen; what is not there any more was not.
    fn current(&self) -> Option<&Arc<Key>> {
        let current = self.by_serial(self.state.current.load(Relaxed));
        current.or_else(|| self.signing())
    }

    /// What a connection signs with; none without a connection.
    fn signing(&self) -> Option<&Arc<Key>> {
        self.by_serial(self.state.signing.load(Relaxed))
    }

    /// Whether a connection signs with that key.
    fn signs_with(&self, serial: u32) -> bool {
        self.state.signing.load(Relaxed) == serial
    }

    /// Whether a connection is signed, by whatever key.
    pub(crate) fn is_begun(&self) -> bool {
        self.state.signing.load(Relaxed) != 0
    }

    fn rnext(&self) -> Option<&Arc<Key>> {
        self.by_serial(self.state.rnext.load(Relaxed))
    }

    /// Whether there is a key for the peer.
    pub(crate) fn has(&self, peer: &Peer) -> bool {
        self.for_peer(peer, None, None).is_some()
    }

    /// Whether there is a key for the peer, of whatever domain.
    pub(crate) fn knows(&self, peer: &Peer) -> bool {
        self.keys.iter().any(|key| key.scope.has(peer))
    }

    /// Whether nobody may speak without (TCP_AO_INFO).
    pub(crate) fn is_required(&self) -> bool {
        self.state.required.load(Relaxed)
    }

    /// Whether what the peer sends is to be signed (Linux's `tcp_ao_required()`).
    pub(crate) fn is_required_of(&self, peer: &Peer) -> bool {
        self.is_required() || self.has(peer)
    }

    /// Lets the key that signs follow the one that the peer wants. Under the socket lock. The room that it takes; none without a connection.
    pub(crate) fn follow(&self) -> Option<Signature> {
        let signing = self.signing()?;
        let wanted = self.state.current.load(Relaxed);
        if wanted == signing.serial {
            return Some(signing.signature());
        }
        match self.by_serial(wanted) {
            Some(current) => {
                self.state.signing.store(wanted, Relaxed);
                Some(current.signature())
            }
            // The peer has asked for it in the moment in which it was taken away.
            None => {
                self.state.current.store(signing.serial, Relaxed);
                Some(signing.signature())
            }
        }
    }

    /// The keys for a peer who is to be connected to, and none other (Linux's `tcp_ao_connect_init()`); `None` without one.
    /// Process context.
    pub(crate) fn for_connect(&self, peer: &Peer, iss: SeqNum, gfp: Gfp) -> Result<Option<Self>> {
        let mut keys = KVec::with_capacity(self.keys.len(), gfp)?;
        for key in self.keys.iter().filter(|key| key.scope.suits(peer)) {
            keys.push(key.afresh(true, gfp)?, gfp)?;
        }
        let ao = Self {
            keys,
            state: self.state.afresh(gfp)?,
        };
        let Some(first) = ao.latest_first().next().map(|key| key.serial) else {
            return Ok(None);
        };
        let state = &ao.state;
        for chosen in [&state.current, &state.rnext] {
            if ao.by_serial(chosen.load(Relaxed)).is_none() {
                chosen.store(first, Relaxed);
            }
        }
        state.signing.store(state.current.load(Relaxed), Relaxed);
        state.begin(iss);
        Ok(Some(ao))
    }

    /// What a connection of the listener whose keys these are begins with (Linux's `tcp_ao_copy_all_matching()`); `None` when
    /// there is no key for the peer any more.
    pub(crate) fn for_child(
        &self,
        peer: &Peer,
        ids: Ids,
        isns: Isns,
        gfp: Gfp,
    ) -> Result<Option<Self>> {
        let mut keys = KVec::with_capacity(self.keys.len(), gfp)?;
        // As in Linux the listener's latest is the child's oldest.
        for key in self.latest_first().filter(|key| key.scope.suits(peer)) {
            keys.push(key.afresh(false, gfp)?, gfp)?;
        }
        let ao = Self {
            keys,
            state: State::new(gfp)?,
        };
        let Some(first) = ao.latest_first().next() else {
            return Ok(None);
        };
        let state = &ao.state;
        let current = ao.by_send_id(ids.rnext).unwrap_or(first).serial;
        state.current.store(current, Relaxed);
        state.signing.store(current, Relaxed);
        let rnext = ao.by_recv_id(ids.key).unwrap_or(first).serial;
        state.rnext.store(rnext, Relaxed);
        state.take_settings(&self.state);
        state.begin(isns.local);
        state.peer_begins(isns.remote);
        Ok(Some(ao))
    }

    /// The same with another key.
    fn with(&self, key: Arc<Key>, gfp: Gfp) -> Result<Self> {
        let mut keys = KVec::with_capacity(self.keys.len().saturating_add(1), gfp)?;
        for key in &self.keys {
            keys.push(key.clone(), gfp)?;
        }
        keys.push(key, gfp)?;
        Ok(Self {
            keys,
            state: self.state.clone(),
        })
    }

    /// The same without the key of that number.
    fn without(&self, serial: u32, gfp: Gfp) -> Result<Self> {
        let mut keys = KVec::with_capacity(self.keys.len(), gfp)?;
        for key in self.keys.iter().filter(|key| key.serial != serial) {
            keys.push(key.clone(), gfp)?;
        }
        Ok(Self {
            keys,
            state: self.state.clone(),
        })
    }
}
