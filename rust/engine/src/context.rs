// SPDX-License-Identifier: GPL-2.0

//! What every call into the engine is told: the time, and the settings of the network namespace.

use core::num::{NonZeroU16, NonZeroU32, NonZeroU8};

use crate::congestion::Algorithm;
use crate::happening::{Counting, Counts, Happening};
use crate::time::{Duration, Instant};
use crate::wire::Signature;

/// The time and the settings that a call is to work with.
#[derive(Clone, Copy, Debug)]
pub struct Context<'a> {
    /// Now. Must never go backwards between two calls on one connection.
    pub now: Instant,
    /// The settings of the connection's network namespace.
    pub config: &'a Config,
    /// Who counts what happens.
    pub counting: Counting<'a>,
}

impl<'a> Context<'a> {
    /// Of a call in which nobody counts.
    #[inline]
    pub const fn new(now: Instant, config: &'a Config) -> Self {
        Context {
            now,
            config,
            counting: Counting::NONE,
        }
    }

    /// The same, and what happens is counted by `counts`.
    #[inline]
    pub fn counted(self, counts: &'a dyn Counts) -> Self {
        Context {
            counting: Counting::by(counts),
            ..self
        }
    }

    /// `what` has happened.
    #[inline(always)]
    pub(crate) fn count(&self, what: Happening) {
        self.counting.count(what);
    }
}

/// Settings of a network namespace. Names, units in the sysctl and defaults are Linux's
/// (`Documentation/networking/ip-sysctl.rst`); the caller fills them from `net.oxtcp.*`.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Times a SYN of an active open is sent again, besides those of `syn_linear_timeouts`, before the open fails
    /// with [`TimedOut`].
    ///
    /// [`TimedOut`]: crate::connection::Error::TimedOut
    pub syn_retries: u8,
    /// The first so many repetitions of a SYN follow after one second each; only then the time doubles.
    pub syn_linear_timeouts: u8,
    /// Times a SYN-ACK is sent again before the half-open connection is dropped.
    pub synack_retries: u8,
    /// Retransmissions of a segment after which the caller should have the route looked at again
    /// (RFC 1122 section 4.2.3.5, R1); no connection is given up before so many.
    ///
    /// Deviation: RFC 9293 section 3.8.3 (b) has IP advised of it. The adapter does not do so yet; the kernel finds dead gateways without
    /// that, by neighbour discovery.
    pub retries1: u8,
    /// Retransmissions after which the connection is given up, counted as the time that so many
    /// retransmissions with exponential backoff from 200 ms would take, whatever `rto_min` is (R2).
    pub retries2: u8,
    /// As `retries2`, for a connection that no program holds any more. 0 means 8, as in Linux.
    pub orphan_retries: u8,
    /// How long a connection that no program holds stays in FIN-WAIT-2.
    pub fin_timeout: Duration,
    /// Offer and accept window scaling (RFC 7323 section 2).
    pub window_scaling: bool,
    /// Offer and accept selective acknowledgments (RFC 2018).
    pub sack: bool,
    /// Report duplicates with D-SACK (RFC 2883).
    pub dsack: bool,
    /// Offer and accept timestamps (RFC 7323 section 3).
    pub timestamps: bool,
    /// Lower bound of the retransmission timeout.
    pub rto_min: Duration,
    /// Upper bound of the retransmission timeout.
    pub rto_max: Duration,
    /// Idle time before the first keepalive probe, where the socket does not say.
    pub keepalive_time: Duration,
    /// Time between keepalive probes.
    pub keepalive_intvl: Duration,
    /// Unanswered keepalive probes after which the connection is given up.
    pub keepalive_probes: u8,
    /// Answer a completed handshake with RST when the accept queue is full. Default: stay silent, so
    /// that the client's retransmission can find room.
    pub abort_on_overflow: bool,
    /// Ignore RST in TIME-WAIT (RFC 1337).
    pub rfc1337: bool,
    /// Reuse of TIME-WAIT for active opens: 0 never, 1 everywhere, 2 over loopback.
    pub tw_reuse: u8,
    /// Explicit congestion notification (RFC 3168): 0 never, 1 offered and accepted, 2 accepted.
    pub ecn: u8,
    /// A SYN that is sent again does not ask for ECN, as there are hosts and firewalls that do not answer those that do
    /// (RFC 3168 section 6.1.1.1).
    pub ecn_fallback: bool,
    /// Offer less than before when memory is short; where windows are scaled.
    pub shrink_window: bool,
    /// Shrink the congestion window after idle time (RFC 5681 section 4.1, RFC 2861).
    pub slow_start_after_idle: bool,
    /// Initial congestion window in segments (RFC 6928).
    pub initial_cwnd: u8,
    /// The congestion controller of new connections.
    pub congestion_control: Algorithm,
    /// The search for the path's MTU without ICMP (RFC 4821): 0 never, 1 when a black hole is suspected, 2 from the beginning.
    pub mtu_probing: u8,
    /// What the search begins with: bytes of payload in a segment.
    pub base_mss: u16,
    /// The search does not come down below that.
    pub mtu_probe_floor: u16,
    /// The search ends when what gets through and what does not are closer than so many bytes.
    pub probe_threshold: u16,
    /// So long after it began the search may begin again.
    pub probe_interval: Duration,
    /// The least MSS to send, whatever the path says.
    pub min_snd_mss: u16,
    /// The least time between two challenge or duplicate ACKs that one connection sends in answer to
    /// invalid segments (RFC 5961 section 7).
    pub invalid_ratelimit: Duration,
    /// How long acknowledgments of what is out of order are held back at most; zero: not at all.
    pub comp_sack_delay: Duration,
    /// How many of them at most; 0: none.
    pub comp_sack_nr: u8,
    /// And how much of the round trip, in percent.
    pub comp_sack_rtt_percent: u16,
}

impl Default for Config {
    /// Linux's defaults.
    fn default() -> Self {
        Config {
            // After the linear ones: the last SYN goes out after 67 s, and the open fails after 131 s.
            //
            // Deviation: RFC 9293 section 3.8.3 (MUST-23) has SYNs repeated for three minutes at least. Linux's figure: programs
            // expect to hear of a dead host after two.
            syn_retries: 6,
            // Linux 6.5: an early SYN's loss is most often a lost packet.
            syn_linear_timeouts: 4,
            // 63 s.
            //
            // Deviation: RFC 9293 section 3.8.3 (MUST-23) speaks of this SYN as well. Linux's figure: half-open connections cost
            // memory, and whoever makes them by the thousand nothing.
            synack_retries: 5,
            // RFC 1122: at least 3.
            retries1: 3,
            // About 15 minutes; RFC 1122: at least 100 s.
            retries2: 15,
            orphan_retries: 0,
            fin_timeout: Duration::from_secs(60),
            window_scaling: true,
            sack: true,
            dsack: true,
            timestamps: true,
            // RFC 6298 says 1 s; Linux has shown 200 ms to be safe with delayed ACKs of 200 ms at most.
            rto_min: Duration::from_millis(200),
            rto_max: Duration::from_secs(120),
            keepalive_time: Duration::from_secs(7200),
            keepalive_intvl: Duration::from_secs(75),
            keepalive_probes: 9,
            abort_on_overflow: false,
            rfc1337: false,
            tw_reuse: 2,
            ecn: 2,
            ecn_fallback: true,
            // RFC 9293 section 3.8.6: "A TCP receiver SHOULD NOT shrink the window".
            shrink_window: false,
            slow_start_after_idle: true,
            initial_cwnd: 10,
            congestion_control: Algorithm::Cubic,
            mtu_probing: 0,
            // RFC 4821 section 7.2: "an initial value for eff_pmtu of 1024 bytes".
            base_mss: 1024,
            mtu_probe_floor: 48,
            probe_threshold: 8,
            probe_interval: Duration::from_secs(600),
            min_snd_mss: 48,
            invalid_ratelimit: Duration::from_millis(500),
            comp_sack_delay: Duration::from_millis(1),
            comp_sack_nr: 44,
            comp_sack_rtt_percent: 33,
        }
    }
}

/// What a program has set on its socket. `None` means: as the namespace's [`Config`] says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SocketOptions {
    /// `TCP_USER_TIMEOUT`, in milliseconds: the longest that sent data may stay unacknowledged.
    pub user_timeout: Option<NonZeroU32>,
    /// `TCP_KEEPIDLE`, in seconds.
    pub keepidle: Option<NonZeroU16>,
    /// `TCP_KEEPINTVL`, in seconds.
    pub keepintvl: Option<NonZeroU16>,
    /// `TCP_MAXSEG`, in bytes: an upper bound of the MSS that we send and announce.
    pub max_seg: Option<NonZeroU16>,
    /// `TCP_LINGER2`: time in FIN-WAIT-2 after `close`, in place of [`Config::fin_timeout`].
    pub linger2: Linger2,
    /// `TCP_KEEPCNT`.
    pub keepcnt: Option<NonZeroU8>,
    /// `TCP_SYNCNT`.
    pub syn_retries: Option<NonZeroU8>,
    /// `TCP_NODELAY`: no waiting for small segments (Nagle off).
    pub nodelay: bool,
    /// `TCP_CORK`: hold back a partial segment until uncorked.
    pub cork: bool,
    /// `SO_KEEPALIVE`.
    pub keepalive: bool,
    /// `TCP_CONGESTION`.
    pub congestion_control: Option<Algorithm>,
    /// The room for a signature in the connection's segments; whoever has the keys knows.
    pub signature: Signature,
    /// What else there is to be said.
    pub traits: Traits,
}

/// Facts in one byte: every byte of [`SocketOptions`] is one of each connection's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traits(u8);

impl Traits {
    /// `TCP_QUICKACK` of 0 before there is a connection: its acknowledgments wait for answers from the beginning.
    pub const INTERACTIVE: Traits = Traits(1);
    /// Data leaves with gaps; the connection notes it by itself (Linux's `sk_pacing_status`).
    pub const PACED: Traits = Traits(2);

    /// Whether it is so.
    pub fn has(self, fact: Traits) -> bool {
        self.0 & fact.0 != 0
    }

    /// Says whether it is so.
    pub fn set(&mut self, fact: Traits, on: bool) {
        match on {
            true => self.0 |= fact.0,
            false => self.0 &= !fact.0,
        }
    }
}

impl SocketOptions {
    /// The congestion controller of a new connection.
    pub fn algorithm(&self, config: &Config) -> Algorithm {
        self.congestion_control.unwrap_or(config.congestion_control)
    }
}

/// `TCP_LINGER2`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Linger2 {
    /// [`Config::fin_timeout`].
    #[default]
    Default,
    /// So many seconds, at most 120 (`TCP_FIN_TIMEOUT_MAX`).
    Seconds(NonZeroU8),
    /// A negative value: no FIN-WAIT-2 without a program.
    Skip,
}
