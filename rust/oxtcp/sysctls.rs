// SPDX-License-Identifier: GPL-2.0

//! `net.oxtcp.*`: the settings of a network namespace.
//!
//! Names, units and defaults are those of Linux's `net.ipv4.tcp_*`, without the prefix
//! (`Documentation/networking/ip-sysctl.rst`). A new namespace begins with the values that the initial one
//! has at that time. Every value may be read and changed at any time, from any context; a
//! connection sees a change at its next step.

use kernel::alloc::flags::GFP_KERNEL;
use kernel::prelude::*;
use kernel::sync::atomic::Atomic;
use kernel::sync::{rcu, Arc};

use oxtcp_engine::congestion::Algorithm;
use oxtcp_engine::{Config, Duration};

use crate::namespace::Namespace;
use crate::sys::net::Doorway;
use crate::sys::once::Once;
use crate::sys::page::buffer_share;
use crate::sys::snapshot::Snapshot;
use crate::sys::sysctl::{Entry, Field, Names, SysctlTable, Values};

/// Declares the settings: field, default, limits, and the accessor's documentation.
macro_rules! settings {
    (
        numbers { $( $(#[$doc:meta])* $name:ident = $default:literal, $min:expr, $max:expr; )* }
        unsigned { $( $(#[$udoc:meta])* $uname:ident = $udefault:expr, 0, u32::MAX; )* }
        vectors { $( $(#[$vdoc:meta])* $vname:ident = $vdefault:expr, $vmin:expr, $vmax:expr; )* }
        names { $( $(#[$ndoc:meta])* $nname:ident = $ndefault:literal of $names:ident; )* }
        lists { $( $(#[$ldoc:meta])* $lname:ident = $list:ident; )* }
    ) => {
        /// A namespace's settings. Each number stands for itself: no lock, and no order among them.
        pub(crate) struct Sysctls {
            /// What the engine is to know of them. Made anew after each change.
            config: Snapshot<Config>,
            $( $name: Atomic<i32>, )*
            $( $uname: Atomic<i32>, )*
            $( $vname: [Atomic<i32>; 3], )*
            $( $nname: Atomic<i32>, )*
        }

        impl Sysctls {
            /// The settings of a new namespace: those of `from`, or else the defaults. Process context.
            pub(crate) fn inherit(from: Option<&Sysctls>) -> Result<Arc<Self>> {
                let mut new = Self {
                    config: Snapshot::new(Config::default())?,
                    $( $name: Atomic::new(from.map_or($default, |from| from.$name.read_once())), )*
                    $( $uname: Atomic::new(
                        from.map_or($udefault as i32, |from| from.$uname.read_once()),
                    ), )*
                    $( $vname: match from {
                        Some(from) => from.$vname().map(Atomic::new),
                        None => $vdefault.map(Atomic::new),
                    }, )*
                    $( $nname: Atomic::new(from.map_or($ndefault, |from| from.$nname.read_once())), )*
                };
                if from.is_none() {
                    new.bound_buffers();
                }
                let config = new.engine_config();
                new.config.set(config);
                Ok(Arc::new(new, GFP_KERNEL)?)
            }

            $(
                $(#[$doc])*
                #[allow(dead_code)]
                #[inline]
                pub(crate) fn $name(&self) -> i32 {
                    self.$name.read_once()
                }
            )*

            $(
                $(#[$udoc])*
                #[inline]
                pub(crate) fn $uname(&self) -> u32 {
                    self.$uname.read_once() as u32
                }
            )*

            $(
                $(#[$vdoc])*
                #[allow(dead_code)]
                #[inline]
                pub(crate) fn $vname(&self) -> [i32; 3] {
                    let [a, b, c] = &self.$vname;
                    [a.read_once(), b.read_once(), c.read_once()]
                }
            )*

            $(
                $(#[$ndoc])*
                #[inline]
                pub(crate) fn $nname(&self) -> i32 {
                    self.$nname.read_once()
                }
            )*

            const ENTRIES: &'static [Entry<Sysctls>] = &[
                $( Entry {
                    name: settings!(@name $name),
                    field: |s| Field::Int { value: &s.$name, min: $min, max: $max },
                }, )*
                $( Entry {
                    name: settings!(@name $uname),
                    field: |s| Field::Unsigned { value: &s.$uname },
                }, )*
                $( Entry {
                    name: settings!(@name $vname),
                    field: |s| Field::Vector3 { values: &s.$vname, min: $vmin, max: $vmax },
                }, )*
                $( Entry {
                    name: settings!(@name $nname),
                    field: |s| Field::Name { value: &s.$nname, names: &$names },
                }, )*
                $( Entry {
                    name: settings!(@name $lname),
                    field: |_| Field::AllNames(&$list),
                }, )*
            ];
        }
    };
    (@name $name:ident) => { kernel::c_str!(stringify!($name)) };
}

settings! {
    numbers {
        /// Answer a completed handshake with RST when the accept queue is full (0 or 1).
        abort_on_overflow = 0, 0, 1;
        /// What the search for the path's MTU begins with: bytes of payload in a segment.
        base_mss = 1024, 1, 65_535;
        /// Challenge ACKs of the namespace in a second (RFC 5961 section 7), on average: half as many to one and a half times. Linux's default since 6.2: no
        /// limit, as a shared one can be observed from outside (CVE-2016-5696).
        challenge_ack_limit = 0x7fff_ffff, 0, i32::MAX;
        /// Nanoseconds for which acknowledgments of what comes out of order are held back at most, behind the first three, to be sent as one. 0: they are not.
        comp_sack_delay_ns = 1_000_000, 0, i32::MAX;
        /// The most acknowledgments that are held back so. 0: none.
        comp_sack_nr = 44, 0, 255;
        /// Percent of the round trip for which they are held back.
        comp_sack_rtt_percent = 33, 1, 1000;
        /// Nanoseconds that they may be later by, so that several timers can be served at once.
        comp_sack_slack_ns = 10_000, 0, i32::MAX;
        /// Report duplicates by D-SACK (0 or 1).
        dsack = 1, 0, 1;
        /// Explicit congestion notification (RFC 3168): 0 never, 1 offered and accepted, 2 accepted. Linux's 3 to 5, accurate ECN,
        /// are not there.
        ecn = 2, 0, 2;
        /// A SYN that is sent again does not ask for ECN (0 or 1; RFC 3168 section 6.1.1.1).
        ecn_fallback = 1, 0, 1;
        /// Drop or reset segments to a listener that belong to no connection before they are routed, where nobody else looks at them (0 or 1).
        fast_resets = 1, 0, 1;
        /// Answer SYNs with cookies before they are routed, where nobody else looks at them (0 or 1).
        fast_syncookies = 1, 0, 1;
        /// Seconds in FIN-WAIT-2 without a program.
        fin_timeout = 60, 0, MAX_SECONDS;
        /// The least milliseconds between two ACKs in answer to invalid segments on one connection.
        invalid_ratelimit = 500, 0, i32::MAX;
        /// Seconds between keepalive probes.
        keepalive_intvl = 75, 1, MAX_SECONDS;
        /// Unanswered keepalive probes that end a connection.
        keepalive_probes = 9, 0, 255;
        /// Idle seconds before the first keepalive probe.
        keepalive_time = 7200, 1, MAX_SECONDS;
        /// The most bytes of one connection, with what packets take beside them, in the queues of this host (TCP small
        /// queues).
        limit_output_bytes = 4_194_304, 0, i32::MAX;
        /// The most sockets that no program has any more, with connections that are not over; one more is reset. Linux
        /// has one limit for all namespaces, and derives it from the memory's size (half of its established table); this is
        /// the value for 8 GB and more.
        max_orphans = 262_144, 0, i32::MAX;
        /// The most half-open connections that a listener remembers.
        max_syn_backlog = 4096, 0, i32::MAX;
        /// The most TIME-WAITs that the namespace remembers. Linux derives it from the memory's size (half of
        /// its established table); this is the value for 8 GB and more.
        max_tw_buckets = 262_144, 0, i32::MAX;
        /// What a listener with SO_REUSEPORT has when it is closed, connections that wait for accept(2) and half-open ones, goes to another one of its
        /// group (0 or 1).
        migrate_req = 0, 0, 1;
        /// The least MSS to send, whatever the path and the peer say: options and payload.
        min_snd_mss = 48, 48, 65_535;
        /// The least segments in a burst, however slow the path.
        min_tso_segs = 2, 1, 255;
        /// The search for the path's MTU does not come down below so many bytes of payload.
        mtu_probe_floor = 48, 48, 65_535;
        /// The search for the path's MTU without ICMP (RFC 4821): 0 never, 1 when a black hole is suspected, 2 from the beginning.
        mtu_probing = 0, 0, 2;
        /// Retransmissions before a connection that no program has any more is given up; 0 means 8.
        orphan_retries = 0, 0, 255;
        /// Seconds after which the search for the path's MTU may begin again.
        probe_interval = 600, 0, MAX_SECONDS;
        /// The search for the path's MTU ends when what gets through and what does not are closer than so many bytes.
        probe_threshold = 8, 0, 65_535;
        /// Resets in a second that half-open connections, TIME-WAITs, full accept queues and, by `fast_resets`, listeners of the namespace send. A shared limit can be observed from
        /// outside, as that of challenge ACKs: no limit.
        reset_limit = 0x7fff_ffff, 0, i32::MAX;
        /// Resets in a second, of those that `reset_limit` counts, to one network (/24 of IPv4, /64 of IPv6): with a forged source they hit somebody
        /// else. 0: no limit.
        reset_net_rate = 1000, 0, 1_000_000;
        /// The least number of retransmissions before a connection is given up, whatever `retries2` says (RFC 1122's
        /// R1).
        retries1 = 3, 0, 255;
        /// Retransmissions before the connection is given up (RFC 1122's R2).
        retries2 = 15, 0, 255;
        /// Ignore RST in TIME-WAIT (0 or 1; RFC 1337).
        rfc1337 = 0, 0, 1;
        /// Upper bound of the retransmission timeout in milliseconds.
        rto_max_ms = 120_000, 1000, 120_000;
        /// Lower bound of the retransmission timeout in microseconds.
        rto_min_us = 200_000, 1, i32::MAX;
        /// Selective acknowledgments (0 or 1; RFC 2018).
        sack = 1, 0, 1;
        /// Offer a smaller window than before when memory is short, where windows are scaled (0 or 1).
        shrink_window = 0, 0, 1;
        /// Shrink the congestion window after idle time (0 or 1; RFC 2861).
        slow_start_after_idle = 1, 0, 1;
        /// The most connections that wait in a listener for accept(2), read by listen(2). Linux has it as `net.core.somaxconn`, to which the kernel cuts
        /// what programs ask for before oxtcp sees it: for more, raise both.
        somaxconn = 4096, 0, i32::MAX;
        /// Retransmissions of a SYN, behind four that come a second apart: 6 makes 11 SYNs.
        syn_retries = 6, 1, 127;
        /// Retransmissions of a SYN-ACK.
        synack_retries = 5, 0, 255;
        /// When the SYN queue is full and `syncookies` is 0, its oldest half-open connection gives way (0 or 1), if `syncookies` was 0 when the
        /// listener last called listen(2). Linux drops the SYN.
        syn_cache = 1, 0, 1;
        /// Percent of a SYN queue that one host (/32 of IPv4, /64 of IPv6) may have when the queue is half full; 16 it may always have. What is
        /// beyond is answered with a cookie, or dropped without cookies. 100: no limit.
        syn_host_share = 25, 0, 100;
        /// Percent of a SYN queue that one network (/24 of IPv4, /48 of IPv6) may have when the queue is half full; 16 it may always have. What
        /// is beyond is answered with a cookie, or dropped without cookies. 100: no limit.
        syn_net_share = 50, 0, 100;
        /// SYNs to the namespace's listeners in a second of one network (/24 of IPv4, /64 of IPv6); more are dropped. 0: no limit. Below 100 a flood from
        /// everywhere may hit single networks.
        syn_net_rate = 0, 0, 1_000_000;
        /// SYN cookies (RFC 4987 section 3.6): 0 never, 1 when a listener's SYN queue is full, 2 in answer to every SYN.
        syncookies = 1, 0, 2;
        /// Timestamps (RFC 7323): 0 none, 1 with a random offset for each connection. 2 is accepted and does the same as 1 (in
        /// Linux: without the offset).
        timestamps = 1, 0, 2;
        /// Reuse of TIME-WAIT for active opens: 0 never, 1 everywhere, 2 over loopback.
        tw_reuse = 2, 0, 2;
        /// Window scaling (0 or 1; RFC 7323 section 2).
        window_scaling = 1, 0, 1;
    }
    unsigned {
        /// Bytes that wait to be sent for the first time: with as many, poll() does not say that a socket can be written to, and
        /// with twice as many a write waits (TCP_NOTSENT_LOWAT for all sockets that have not set it).
        notsent_lowat = u32::MAX, 0, u32::MAX;
    }
    vectors {
        /// Bytes of a receive buffer: least, default, most. On a host with less than 4 GB the most is a 128th of its memory.
        rmem = [4096, 131_072, 33_554_432], 1, i32::MAX;
        /// Bytes of a send buffer: least, default, most. On a host with less than 512 MB the most is a 128th of its memory.
        wmem = [4096, 16_384, 4_194_304], 1, i32::MAX;
    }
    names {
        /// The congestion controller of new connections (`TCP_CONGESTION` chooses another).
        congestion_control = 1 of ALGORITHMS;
    }
    lists {
        /// The congestion controllers that there are.
        available_congestion_control = ALGORITHMS;
    }
}

/// The names of the congestion controllers, numbered as in [`Algorithm::ALL`].
static ALGORITHMS: Names = Names(&[Algorithm::ALL[0].name(), Algorithm::ALL[1].name()]);

const _: () = assert!(Algorithm::ALL.len() == 2);
// The default of `congestion_control`.
const _: () = assert!(matches!(Algorithm::ALL[1], Algorithm::Cubic));

/// The most seconds that any of the times may have: so many jiffies at 1000 Hz fit in an `int`, as they must
/// in Linux.
const MAX_SECONDS: i32 = i32::MAX / 1000;

impl Sysctls {
    /// Makes `net.oxtcp.*` of a namespace. Process context. Errors: ENOMEM.
    pub(crate) fn register<'n>(
        self: &Arc<Self>,
        doorway: &Doorway<'n, Namespace>,
    ) -> Result<SysctlTable<'n>> {
        SysctlTable::register(doorway, c"net/oxtcp", self.clone(), Self::ENTRIES)
    }

    /// No buffer takes more than its share of the host's memory, as in Linux (`tcp_init`).
    fn bound_buffers(&self) {
        let share = i32::try_from(buffer_share()).unwrap_or(i32::MAX);
        let [_, _, rmem] = &self.rmem;
        rmem.write_once(rmem.read_once().min(share.max(131_072)));
        let [_, _, wmem] = &self.wmem;
        wmem.write_once(wmem.read_once().min(share.max(65_536)));
    }

    /// The congestion controller of new connections. Any context.
    fn algorithm(&self) -> Algorithm {
        let number = usize::try_from(self.congestion_control()).unwrap_or(0);
        Algorithm::ALL.get(number).copied().unwrap_or_default()
    }

    /// The third of [`rmem`](Self::rmem): what a receive buffer may grow to.
    #[inline]
    pub(crate) fn rmem_most(&self) -> i32 {
        let [_, _, most] = &self.rmem;
        most.read_once()
    }

    /// The same of [`wmem`](Self::wmem).
    #[inline]
    pub(crate) fn wmem_most(&self) -> i32 {
        let [_, _, most] = &self.wmem;
        most.read_once()
    }

    /// What the engine is to know. Any context.
    #[inline]
    pub(crate) fn config(&self) -> Config {
        self.config.read()
    }

    /// The same without a copy. Any context.
    #[inline]
    pub(crate) fn config_under<'a>(&'a self, rcu: &'a rcu::Guard) -> &'a Config {
        self.config.get(rcu)
    }

    /// As the numbers have it now.
    fn engine_config(&self) -> Config {
        Config {
            syn_retries: byte(self.syn_retries()),
            synack_retries: byte(self.synack_retries()),
            retries1: byte(self.retries1()),
            retries2: byte(self.retries2()),
            orphan_retries: byte(self.orphan_retries()),
            fin_timeout: seconds(self.fin_timeout()),
            window_scaling: self.window_scaling() != 0,
            sack: self.sack() != 0,
            dsack: self.dsack() != 0,
            timestamps: self.timestamps() != 0,
            rto_min: Duration::from_micros(positive(self.rto_min_us())),
            // Not below the other, whatever is set.
            rto_max: Duration::from_micros(
                positive(self.rto_max_ms())
                    .saturating_mul(1000)
                    .max(positive(self.rto_min_us())),
            ),
            keepalive_time: seconds(self.keepalive_time()),
            keepalive_intvl: seconds(self.keepalive_intvl()),
            keepalive_probes: byte(self.keepalive_probes()),
            abort_on_overflow: self.abort_on_overflow() != 0,
            rfc1337: self.rfc1337() != 0,
            tw_reuse: byte(self.tw_reuse()),
            ecn: byte(self.ecn()),
            ecn_fallback: self.ecn_fallback() != 0,
            shrink_window: self.shrink_window() != 0,
            mtu_probing: byte(self.mtu_probing()),
            base_mss: short(self.base_mss()),
            mtu_probe_floor: short(self.mtu_probe_floor()),
            probe_threshold: short(self.probe_threshold()),
            probe_interval: seconds(self.probe_interval()),
            min_snd_mss: short(self.min_snd_mss()),
            slow_start_after_idle: self.slow_start_after_idle() != 0,
            invalid_ratelimit: Duration::from_millis(positive(self.invalid_ratelimit())),
            comp_sack_delay: Duration::from_micros(positive(self.comp_sack_delay_ns()) / 1000),
            comp_sack_nr: byte(self.comp_sack_nr()),
            comp_sack_rtt_percent: short(self.comp_sack_rtt_percent()),
            congestion_control: self.algorithm(),
            ..Config::default()
        }
    }
}

impl Values for Sysctls {
    fn changed(&self) {
        self.config.replace(|| self.engine_config());
    }
}

/// The limits above keep the numbers in range; these conversions hold for any.
fn byte(value: i32) -> u8 {
    value.clamp(0, 255) as u8
}

fn short(value: i32) -> u16 {
    value.clamp(0, 65_535) as u16
}

fn positive(value: i32) -> u64 {
    value.max(0) as u64
}

fn seconds(value: i32) -> Duration {
    Duration::from_secs(positive(value))
}
