// SPDX-License-Identifier: GPL-2.0

//! SYN cookies: the keys, and which cookies were used. What a cookie is the engine knows (`oxtcp_engine::cookie`).

use kernel::prelude::*;
use kernel::sync::atomic::{Acquire, Atomic, Relaxed, Release};

use oxtcp_engine::cookie::{self, MssTable, Opened, Stamp};
use oxtcp_engine::{Instant, Segment, SeqNum};

use crate::listening::{self, Listening};
use crate::namespace::Namespace;
use crate::protocol::Socket;
use crate::sys::lock::{new_spinlock_bh, SpinLockBh};
use crate::sys::once::Once;
use crate::sys::random::SipKey;
use crate::sys::table::FlowKey;
use crate::sys::time;

/// What a namespace keeps for cookies. Any context.
#[pin_data]
pub(crate) struct Cookies {
    /// The keys with even and with odd numbers: this time's, and the one's before.
    keys: [Slot; 2],
    /// Who puts a new key in its place, every 36 minutes while cookies are sent. Nothing is taken under it.
    #[pin]
    renewal: SpinLockBh<()>,
    used: Used,
    /// By any listener, and by those with SO_REUSEPORT.
    sent: LastSent,
    sent_by_groups: LastSent,
}

/// A key, which changes once in 36 minutes. Who reads one while it changes gets some of both, and a cookie that is refused; it was
/// too old an hour ago.
struct Slot {
    /// The key's number, and 1; 0 for none.
    number: Atomic<u64>,
    words: [Atomic<u64>; 2],
}

/// The cookies that were used lately, so that none is twice: an ACK that someone has recorded makes no second connection. Of very
/// many the earlier ones are forgotten; a cookie is good for two minutes at most.
struct Used(KVec<Atomic<u64>>);

impl Cookies {
    /// Process context.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        let word = || Atomic::new(0u64);
        let slot = move || Slot {
            number: word(),
            words: [word(), word()],
        };
        try_pin_init!(Self {
            keys: [slot(), slot()],
            renewal <- new_spinlock_bh!((), "oxtcp_cookie_keys"),
            used: Used::new()?,
            sent: LastSent::new(),
            sent_by_groups: LastSent::new(),
        }? Error)
    }

    /// The key with this number, if it is there.
    fn key(&self, number: u64) -> Option<SipKey> {
        let slot = self.slot(number)?;
        if slot.number.load(Acquire) != number.wrapping_add(1) {
            return None;
        }
        let [a, b] = &slot.words;
        Some(SipKey::from_words([a.read_once(), b.read_once()]))
    }

    fn slot(&self, number: u64) -> Option<&Slot> {
        self.keys.get(usize::from(number & 1 == 1))
    }

    /// The key with this number, which is that of now: a new one, if it is not there.
    fn key_of_now(&self, number: u64) -> SipKey {
        if let Some(key) = self.key(number) {
            return key;
        }
        let new = SipKey::random();
        let _renewal = self.renewal.lock();
        // Another processor may have been faster.
        if let Some(key) = self.key(number) {
            return key;
        }
        if let Some(slot) = self.slot(number) {
            let [a, b] = new.words();
            slot.words[0].store(a, Relaxed);
            slot.words[1].store(b, Relaxed);
            slot.number.store(number.wrapping_add(1), Release);
        }
        new
    }
}

impl Used {
    /// 8 KB.
    const MOST: usize = 1024;

    fn new() -> Result<Self> {
        let mut words = KVec::with_capacity(Self::MOST, GFP_KERNEL)?;
        for _ in 0..Self::MOST {
            words.push(Atomic::new(0), GFP_KERNEL)?;
        }
        Ok(Self(words))
    }

    fn word(&self, tag: u64) -> Option<&Atomic<u64>> {
        self.0.get(tag as usize % Self::MOST)
    }

    fn contains(&self, tag: u64) -> bool {
        self.word(tag).is_some_and(|word| word.load(Relaxed) == tag)
    }

    fn insert(&self, tag: u64) {
        if let Some(word) = self.word(tag) {
            word.store(tag, Relaxed);
        }
    }
}

/// The initial sequence number of an answer to `syn` that nothing is kept for. `flow_hash` is [`Namespace::flow_hash`]'s. Softirq
/// context.
pub(crate) fn issue(
    namespace: &Namespace,
    key: &FlowKey,
    flow_hash: u64,
    syn: &Segment,
    now: Instant,
) -> SeqNum {
    cookie::issue(now, syn, table_of(key), flow_hash, |stamp| {
        let secret = namespace.cookies.key_of_now(stamp.key());
        hash(&secret, key, stamp)
    })
}

/// What a segment with the numbers `seq` and `ack` brings back, if that is a cookie that is good and was not used. Softirq context.
pub(crate) fn open(
    namespace: &Namespace,
    key: &FlowKey,
    (seq, ack): (SeqNum, SeqNum),
    now: Instant,
) -> Option<Opened> {
    let flow_hash = namespace.flow_hash(key);
    let opened = cookie::open(now, seq, ack, table_of(key), flow_hash, |stamp| {
        let secret = namespace.cookies.key(stamp.key())?;
        Some(hash(&secret, key, stamp))
    })?;
    (!namespace.cookies.used.contains(opened.tag)).then_some(opened)
}

/// A SYN-ACK with a cookie goes out. Softirq context.
pub(crate) fn note_sent(
    namespace: &Namespace,
    listener: &Socket,
    listening: &Listening,
    now: Instant,
) {
    listening.cookie_sent.note(now);
    namespace.cookies.sent.note(now);
    if listener.reuseport() {
        namespace.cookies.sent_by_groups.note(now);
    }
}

/// Whether a cookie may be on its way back to any listener. Softirq context.
pub(crate) fn may_come(namespace: &Namespace) -> bool {
    let sent = &namespace.cookies.sent;
    !sent.is_never() && sent.is_recent(Instant::from_micros(time::now_micros()))
}

/// Whether a cookie may be on its way back to the listener: Linux looks at no ACK else (`tcp_synq_no_recent_overflow()`). What one of a group has
/// sent may come to another, when members have come or gone meanwhile. Softirq context.
pub(crate) fn are_expected(namespace: &Namespace, listener: &Socket, now: Instant) -> bool {
    listening::of(listener).is_some_and(|listening| listening.cookie_sent.is_recent(now))
        || listener.reuseport() && namespace.cookies.sent_by_groups.is_recent(now)
}

/// When a cookie was sent last, give or take a second, in microseconds; 0: never. Any context.
pub(crate) struct LastSent(Atomic<u64>);

impl LastSent {
    const SECOND: u64 = 1_000_000;

    pub(crate) fn new() -> Self {
        Self(Atomic::new(0))
    }

    pub(crate) fn forget(&self) {
        self.0.store(0, Relaxed);
    }

    fn note(&self, now: Instant) {
        // Not a write for each: all processors look at this line.
        let now = now.as_micros();
        if now.saturating_sub(self.0.read_once()) >= Self::SECOND {
            self.0.write_once(now.max(1));
        }
    }

    fn is_never(&self) -> bool {
        self.0.load(Relaxed) == 0
    }

    /// Whether that is no longer ago than a cookie is good.
    fn is_recent(&self, now: Instant) -> bool {
        let sent = self.0.load(Relaxed);
        // Another processor may have stored a time that is later than ours.
        let since = now.as_micros().saturating_sub(sent);
        // A second more, by which `sent` may be wrong.
        sent != 0 && since < cookie::LIFETIME.as_micros().saturating_add(Self::SECOND)
    }
}

/// The cookie has made a connection, and makes no other. Softirq context.
pub(crate) fn spend(namespace: &Namespace, opened: &Opened) {
    namespace.cookies.used.insert(opened.tag);
}

fn table_of(key: &FlowKey) -> MssTable {
    match key.remote().v4() {
        Some(_) => MssTable::V4,
        None => MssTable::V6,
    }
}

fn hash(secret: &SipKey, key: &FlowKey, stamp: &Stamp) -> u64 {
    if let Some([local, remote, ports]) = key.v4_words() {
        let pair = |a: u32, b: u32| u64::from(a) << 32 | u64::from(b);
        let words = [
            pair(local, remote),
            pair(ports, stamp.irs.get()),
            stamp.count,
        ];
        return secret.hash_3u64(words);
    }
    let mut bytes = [0; 48];
    bytes[..36].copy_from_slice(&key.to_bytes());
    bytes[36..40].copy_from_slice(&stamp.irs.get().to_ne_bytes());
    bytes[40..].copy_from_slice(&stamp.count.to_ne_bytes());
    secret.hash(&bytes)
}
