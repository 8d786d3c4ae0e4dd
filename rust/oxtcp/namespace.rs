// SPDX-License-Identifier: GPL-2.0

//! What oxtcp keeps in each network namespace.

use core::num::NonZeroU32;

use kernel::prelude::*;
use kernel::sync::atomic::{Atomic, Relaxed};
use kernel::sync::rcu;
use kernel::sync::Arc;

use oxtcp_engine::{pressure, Config, Context, Instant};

use crate::cookies::Cookies;
use crate::counters::{Counter, Counters, Stat};
use crate::ports::Ports;
use crate::procfs;
use crate::protocol::Tcp;
use crate::rates::{Budget, Rates};
use crate::sys::early::{EarlyDoor, EarlyHooks};
use crate::sys::log;
use crate::sys::net::{per_net_slot, Doorway, Home, Net, PerNet};
use crate::sys::netfilter::{Family, LocalInHooks};
use crate::sys::proc::ProcFile;
use crate::sys::random::{self, HsipKey, SipKey};
use crate::sys::sysctl::SysctlTable;
use crate::sys::table::{Endpoint, FlowKey, FlowTable};
use crate::sys::time::{self, Jiffies};
use crate::sysctls::Sysctls;

/// A namespace's part of oxtcp.
///
/// Everything in here has locks of its own, is atomic, or never changes. Field order is drop order:
/// the table, which takes the TIME-WAITs with it, before the ports that they hold.
#[pin_data]
pub(crate) struct Namespace {
    /// Who owns which flow.
    #[pin]
    pub(crate) table: FlowTable<Tcp>,
    /// Ports that our sockets hold.
    pub(crate) ports: Ports,
    /// `net.oxtcp.*`.
    pub(crate) sysctls: Arc<Sysctls>,
    /// Connections in TIME-WAIT, and the small ones in FIN-WAIT-2.
    pub(crate) time_waits: Atomic<i32>,
    /// Sockets that no program has, with connections that are not over.
    orphans: Atomic<i32>,
    /// What `/proc/net/oxtcp_stat` tells.
    pub(crate) counters: Counters,
    /// SYN cookies' keys.
    #[pin]
    pub(crate) cookies: Cookies,
    /// The hooks for what is taken before routing.
    #[pin]
    pub(crate) early: EarlyHooks<Tcp>,
    /// For initial sequence numbers and timestamp offsets (RFC 6528).
    secret: SipKey,
    /// For the hashes that packets leave with.
    labels: HsipKey,
    /// The key of the counters of prefixes.
    places: HsipKey,
    /// SYNs by network.
    syn_rates: Rates,
    /// What was answered to segments that may be forged: resets and challenge ACKs of all, and both by network.
    resets: Budget,
    challenges: Budget,
    reset_rates: Rates,
    /// Whether a socket has been given a key to sign with (TCP-MD5, TCP-AO), ever.
    keyed: Atomic<bool>,
    /// The second (of [`Jiffies::seconds`]) in which a SYN was last one to be answered with a cookie.
    cookie_due: Atomic<u32>,
}

/// What lets the outside in.
pub(crate) struct Doors<'n> {
    _early: EarlyDoor<'n, Tcp>,
    _hooks: LocalInHooks<'n>,
    _tcp: ProcFile<'n>,
    _tcp6: ProcFile<'n>,
    _stat: ProcFile<'n>,
    _sysctls: SysctlTable<'n>,
}

per_net_slot!(Namespace);

impl PerNet for Namespace {
    type Doors<'n> = Doors<'n>;

    fn new(home: &Home, initial: Option<&Self>) -> impl PinInit<Self, Error> {
        let sysctls = Sysctls::inherit(initial.map(|initial| &*initial.sysctls));
        try_pin_init!(Self {
            table <- FlowTable::new(),
            ports: Ports::new(home)?,
            sysctls: sysctls?,
            time_waits: Atomic::new(0),
            orphans: Atomic::new(0),
            counters: Counters::new()?,
            cookies <- Cookies::new(),
            early <- EarlyHooks::new(),
            secret: SipKey::random(),
            labels: HsipKey::random(),
            places: HsipKey::random(),
            syn_rates: Rates::new()?,
            resets: Budget::new(),
            challenges: Budget::new(),
            reset_rates: Rates::new()?,
            keyed: Atomic::new(false),
            cookie_due: Atomic::new(Jiffies::now().seconds().wrapping_sub(Self::COOKIES_STAY)),
        }? Error)
    }

    /// No socket is left, so what is in the table are small objects.
    fn shut(&self) {
        self.table.purge(|_| true);
    }

    fn open<'n>(&'n self, doorway: &Doorway<'n, Self>) -> Result<Doors<'n>> {
        Ok(Doors {
            _sysctls: self.sysctls.register(doorway)?,
            _tcp: ProcFile::create::<procfs::Rows4>(doorway, c"oxtcp", 0o444)?,
            _tcp6: ProcFile::create::<procfs::Rows6>(doorway, c"oxtcp6", 0o444)?,
            _stat: ProcFile::create_text::<Stat>(doorway, c"oxtcp_stat", 0o444)?,
            _hooks: LocalInHooks::register::<Tcp>(doorway)?,
            _early: self.early.open(doorway),
        })
    }
}

impl Namespace {
    /// The keyed hash that a flow's first sequence number and timestamp offset are made of.
    pub(crate) fn flow_hash(&self, key: &FlowKey) -> u64 {
        match key.v4_words() {
            Some(words) => self.secret.hash_3u32(words),
            None => self.secret.hash(&key.to_bytes()),
        }
    }

    /// The hash that a flow's packets leave with, whether there is a socket yet, or still, or not: so the flow label of IPv6, which is 20 bits of it, is
    /// one for the whole of a connection (RFC 6437 section 3). On the wire all can see them, so nothing else is made with that key, and who found it could tell
    /// labels in advance, by which nobody is let in. Of IPv4 nothing is seen: any will do (Linux's `sk_set_txhash()`).
    pub(crate) fn transmit_hash(&self, key: &FlowKey) -> NonZeroU32 {
        let hash = match key.remote().v4() {
            Some(_) => random::bits32(),
            None => self.labels.hash_4u32(key.folded_words()),
        };
        NonZeroU32::new(hash).unwrap_or(NonZeroU32::MIN)
    }

    /// The keyed hash that the search for a local port begins at: of `key` without that port. It is another one every
    /// ten seconds, as in Linux, so that the counters of [`Ports`] tell nothing lasting about the host.
    pub(crate) fn port_hash(&self, key: &FlowKey) -> u64 {
        const SHUFFLE_MICROS: u64 = 10_000_000;
        let slot = time::now_micros() / SHUFFLE_MICROS;
        // Longer than what `flow_hash` hashes.
        if let Some([local, remote, ports]) = key.v4_words() {
            let addresses = u64::from(local) << 32 | u64::from(remote);
            return self.secret.hash_3u64([addresses, u64::from(ports), slot]);
        }
        let mut bytes = [0; 44];
        bytes[..36].copy_from_slice(&key.to_bytes());
        bytes[36..].copy_from_slice(&slot.to_ne_bytes());
        self.secret.hash(&bytes)
    }

    /// The keyed hash that the counters of a prefix are found by ([`Crowds`](crate::crowd::Crowds)).
    pub(crate) fn prefix_hash(&self, prefix: &[u8; 16]) -> u32 {
        let end = Endpoint {
            ip: *prefix,
            port: 0,
        };
        if let Some(v4) = end.v4() {
            return self.places.hash_u32(u32::from_ne_bytes(v4));
        }
        // No prefix of IPv6 is longer (`pressure::prefixes`).
        let [a, b, c, d, e, f, g, h, ..] = *prefix;
        let words = [[a, b, c, d], [e, f, g, h]].map(u32::from_ne_bytes);
        self.places.hash_2u32(words)
    }

    /// Whether another challenge ACK may be sent in this second (RFC 5961 section 7). Each connection has a limit of its own; one of a network would
    /// tell a neighbour of the connections of others (CVE-2016-5696), and that of the namespace is therefore another number in each second. Counts
    /// it as sent. Any context.
    pub(crate) fn may_challenge(&self) -> bool {
        let may = !is_reached(&self.challenges, self.sysctls.challenge_ack_limit());
        self.counters.count(match may {
            true => Counter::TCPChallengeACK,
            false => Counter::AnswerRateExceeded,
        });
        may
    }

    /// The same of a reset that a segment is answered with which belongs to no established connection: of the namespace, and to the network that `key`'s
    /// remote end is in.
    pub(crate) fn may_reset(&self, key: &FlowKey) -> bool {
        let of_network = self.sysctls.reset_net_rate();
        let may = !is_reached(&self.resets, self.sysctls.reset_limit())
            && (of_network == 0
                || !self
                    .reset_rates
                    .exceeds(self.rate_hash(key), of_network.max(0) as u32));
        self.counters.count(match may {
            true => Counter::OutRsts,
            false => Counter::AnswerRateExceeded,
        });
        may
    }

    /// A socket is given a key. Process context.
    pub(crate) fn note_keys(&self) {
        self.keyed.store(true, Relaxed);
    }

    /// Whether a socket may have keys. Any context.
    pub(crate) fn has_keys(&self) -> bool {
        self.keyed.load(Relaxed)
    }

    /// So many seconds after the last cookie a SYN that falls back is not looked at for whether one was due to it.
    const COOKIES_STAY: u32 = 600;

    /// A SYN is one to be answered with a cookie. Any context.
    pub(crate) fn note_cookie_due(&self) {
        let now = Jiffies::now().seconds();
        // Each writes once a second.
        if self.cookie_due.load(Relaxed) != now {
            self.cookie_due.store(now, Relaxed);
        }
    }

    /// Whether the next SYN may be one, as one was of late. Any context.
    pub(crate) fn sends_cookies(&self) -> bool {
        let ago = Jiffies::now()
            .seconds()
            .wrapping_sub(self.cookie_due.load(Relaxed));
        ago < Self::COOKIES_STAY
    }

    /// A cookie was sent that could be sent before routing, perhaps. Softirq context.
    pub(crate) fn want_early(&self, net: &Net, family: Family) {
        if self.sysctls.fast_syncookies() != 0 {
            self.early.want_alone(net, family);
        }
    }

    /// Whether a SYN is beyond what its network may send in a second. Any context.
    pub(crate) fn syn_rate_is_exceeded(&self, key: &FlowKey) -> bool {
        let most = self.sysctls.syn_net_rate();
        most != 0
            && self
                .syn_rates
                .exceeds(self.rate_hash(key), most.max(0) as u32)
    }

    fn rate_hash(&self, key: &FlowKey) -> u32 {
        self.prefix_hash(&pressure::rate_prefix(key.remote().ip))
    }

    /// Counts a TIME-WAIT in, unless there are `max_tw_buckets` already.
    pub(crate) fn admit_time_wait(&self) -> bool {
        if self.time_waits.fetch_add(1, Relaxed) < self.sysctls.max_tw_buckets() {
            return true;
        }
        self.release_time_wait();
        false
    }

    /// Counts a TIME-WAIT out.
    pub(crate) fn release_time_wait(&self) {
        self.time_waits.fetch_sub(1, Relaxed);
    }

    /// Counts an orphan in.
    pub(crate) fn add_orphan(&self) {
        self.orphans.fetch_add(1, Relaxed);
    }

    /// Counts an orphan out.
    pub(crate) fn remove_orphan(&self) {
        self.orphans.fetch_sub(1, Relaxed);
    }

    /// Whether there are more than `max_orphans`; says so in the kernel's log.
    pub(crate) fn has_too_many_orphans(&self) -> bool {
        let too_many = self.orphans.load(Relaxed) > self.sysctls.max_orphans();
        if too_many {
            log::too_many_orphans();
        }
        too_many
    }

    /// The engine's view of now, for what this namespace counts.
    #[inline]
    pub(crate) fn context<'a>(&'a self, config: &'a Config) -> Context<'a> {
        context(config).counted(&self.counters)
    }

    /// The same with the settings that the namespace has.
    #[inline]
    pub(crate) fn context_under<'a>(&'a self, rcu: &'a rcu::Guard) -> Context<'a> {
        self.context(self.sysctls.config_under(rcu))
    }

    /// The namespace's settings as the engine takes them.
    pub(crate) fn config(&self) -> Config {
        self.sysctls.config()
    }
}

/// Counts one more, and says whether a limit of about so many in a second is used up. Without a limit nothing is counted, and no word shared by all
/// CPUs written.
fn is_reached(sent: &Budget, most: i32) -> bool {
    most != i32::MAX && !sent.take(most.max(0) as u32)
}

/// The engine's view of now, where nothing is counted.
pub(crate) fn context(config: &Config) -> Context<'_> {
    Context::new(Instant::from_micros(time::now_micros()), config)
}
