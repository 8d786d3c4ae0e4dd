// SPDX-License-Identifier: GPL-2.0

//! What a namespace counts, and `/proc/net/oxtcp_stat`, which tells it in the layout and under the names of
//! `/proc/net/netstat` and `/proc/net/snmp`.

use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::seq_print;

use oxtcp_engine::{Counts, Happening};

use crate::namespace::Namespace;
use crate::sys::counters;
use crate::sys::proc::SeqText;

macro_rules! counters {
    ( $( $(#[$doc:meta])* $name:ident, )* ) => {
        /// What is counted here; more the engine tells of ([`Happening`]). The names are those of Linux (`include/uapi/linux/snmp.h`), where it has one.
        #[derive(Clone, Copy)]
        pub(crate) enum Counter {
            $( $(#[$doc])* $name, )*
        }

        impl Counter {
            const NAMES: &'static [&'static str] = &[ $( stringify!($name), )* ];
        }
    };
}

counters! {
    /// Packets of connections, half-open ones and TIME-WAITs, and SYNs for listeners, that were taken before routing (no such counter in Linux).
    EarlyDemux,
    /// SYN-ACKs with a cookie.
    SyncookiesSent,
    /// Those of them that were sent before routing (no such counter in Linux).
    SyncookiesFast,
    /// Those that could not be, while the hook was there (no such counter in Linux).
    SyncookiesFellBack,
    /// Segments to a listener, of no connection, that were dealt with before routing (no such counter in Linux).
    StraysFast,
    /// ACKs with a good cookie.
    SyncookiesRecv,
    /// ACKs to a listener that sends cookies, with none that is good: forged, too old, used, of another flow.
    SyncookiesFailed,
    /// SYNs and last ACKs of handshakes that the accept queue had no room for.
    ListenOverflows,
    /// SYNs and last ACKs of handshakes that were dropped, for whatever cause.
    ListenDrops,
    /// SYNs that were answered with a cookie, as the SYN queue was full or `syncookies` is 2.
    TCPReqQFullDoCookies,
    /// SYNs that were dropped, as the SYN queue was full.
    TCPReqQFullDrop,
    /// SYNs of a host or network that had its share of the SYN queue (no such counter in Linux).
    SynShareExceeded,
    /// SYNs of a network beyond `syn_net_rate` (no such counter in Linux).
    SynRateExceeded,
    /// Resets and challenge ACKs that a limit has kept back (no such counter in Linux).
    AnswerRateExceeded,
    /// Half-open connections that gave way to a SYN (no such counter in Linux).
    SynCacheEvicted,
    /// Connections and half-open ones that a listener has left to another one of its group.
    TCPMigrateReqSuccess,
    /// The same, that nobody was there for.
    TCPMigrateReqFailure,
    /// Segments with payload while the window was closed.
    TCPZeroWindowDrop,
    /// Segments in order that there was no memory for.
    TCPRcvQDrop,
    /// Segments without a signature from a peer that there is a key for (RFC 2385).
    TCPMD5NotFound,
    /// Segments with an MD5 signature from a peer that there is no key for.
    TCPMD5Unexpected,
    /// Segments with a wrong MD5 signature.
    TCPMD5Failure,
    /// Segments without the authentication option (RFC 5925) from a peer that there is a key for.
    TCPAORequired,
    /// Segments whose authentication option is wrong.
    TCPAOBad,
    /// Segments with the authentication option that there is no key for.
    TCPAOKeyNotFound,
    /// Segments whose authentication option is right.
    TCPAOGood,
    /// ICMP errors about connections with TCP-AO, which are not believed.
    TCPAODroppedIcmps,
    /// Half-open connections that a reset has ended, the peer's or ours.
    EmbryonicRsts,
    /// Segments that came when the receive buffer was full.
    PruneCalled,
    /// Those of them that there was no room for after all.
    RcvPruned,
    /// What was kept out of order was given up, all or part of it, for want of room.
    OfoPruned,
    /// Packets that were copied together, so that they take less memory.
    TCPRcvCollapsed,
    /// ICMP errors about segments that are not in flight, which are ignored.
    OutOfWindowIcmps,
    /// ICMP errors that came while a program worked with the connection, and were let go.
    LockDroppedIcmps,
    /// Connections that became a TIME-WAIT, or a small FIN-WAIT-2.
    TW,
    /// TIME-WAITs that gave way to a new connection of this host's.
    TWRecycled,
    /// Small FIN-WAIT-2s that are to last 4 s at most.
    TWKilled,
    /// Connections that were reset, as the program closed with data unread.
    TCPAbortOnClose,
    /// Connections without a program that were reset, as there are too many or memory is short.
    TCPAbortOnMemory,
    /// Resets of connections that could not be sent.
    TCPAbortFailed,
    /// Segments that were dropped, as enough waited for a program to let go of the connection.
    TCPBacklogDrop,
    /// Connections that ended without a TIME-WAIT, as there are too many.
    TCPTimeWaitOverflow,
    /// Last ACKs of handshakes that were dropped to wait for data (TCP_DEFER_ACCEPT).
    TCPDeferAcceptDrop,
    /// Segments to be sent again that did not leave the host.
    TCPRetransFail,
    /// Segments out of order that there was no memory for.
    TCPOFODrop,
    /// Challenge ACKs (RFC 5961).
    TCPChallengeACK,
    // From here on those of `Tcp` in `/proc/net/snmp`: `FIRST_OF_TCP`.
    /// Connections that this host has opened.
    ActiveOpens,
    /// Connections that listeners have got.
    PassiveOpens,
    /// Opens that failed, and half-open connections that the peer reset.
    AttemptFails,
    /// Established connections that ended without being closed.
    EstabResets,
    /// Resets that were sent.
    OutRsts,
    /// Segments with a wrong checksum.
    InCsumErrors,
}

/// Those from this one on are a group of their own.
const FIRST_OF_TCP: usize = Counter::ActiveOpens as usize;

/// A word of [`Counters`]: first those of [`Counter`], then what the engine tells of.
pub(crate) struct Index(usize);

impl Index {
    const COUNT: usize = Counter::NAMES.len() + Happening::NAMES.len();
}

impl From<Counter> for Index {
    fn from(counter: Counter) -> Self {
        Index(counter as usize)
    }
}

impl From<Happening> for Index {
    fn from(what: Happening) -> Self {
        Index(Counter::NAMES.len().wrapping_add(what as usize))
    }
}

/// A namespace's counters.
pub(crate) struct Counters(counters::Counters<{ Index::COUNT }>);

impl Counters {
    /// Sleeps. Errors: ENOMEM.
    pub(crate) fn new() -> Result<Self> {
        counters::Counters::new().map(Self)
    }

    /// Counts one more. Any context.
    pub(crate) fn count(&self, counter: impl Into<Index>) {
        self.0.inc(counter.into().0);
    }

    /// Counts so many more. Any context.
    pub(crate) fn add(&self, counter: impl Into<Index>, more: u32) {
        self.0.add(counter.into().0, more);
    }
}

impl Counts for Counters {
    fn count(&self, what: Happening, times: u32) {
        self.add(what, times);
    }
}

/// `/proc/net/oxtcp_stat`.
pub(crate) struct Stat;

impl SeqText for Stat {
    type PerNet = Namespace;

    fn show(namespace: &Namespace, seq: &SeqFile) {
        let own = Counter::NAMES.split_at_checked(FIRST_OF_TCP);
        let told = Happening::NAMES.split_at_checked(Happening::FIRST_OF_TCP);
        let (Some((own_ext, own_tcp)), Some((told_ext, told_tcp))) = (own, told) else {
            return;
        };
        let first_told = Counter::NAMES.len();
        show(
            namespace,
            seq,
            "TcpExt",
            [(0, own_ext), (first_told, told_ext)],
        );
        let first_told = first_told.wrapping_add(told_ext.len());
        show(
            namespace,
            seq,
            "Tcp",
            [(FIRST_OF_TCP, own_tcp), (first_told, told_tcp)],
        );
    }
}

/// A group: a line of names, a line of values. Its counters are at two places: where each begins, and the names.
fn show(namespace: &Namespace, seq: &SeqFile, group: &str, places: [(usize, &[&str]); 2]) {
    seq_print!(seq, "{group}:");
    for name in places.iter().flat_map(|(_, names)| *names) {
        seq_print!(seq, " {name}");
    }
    seq_print!(seq, "\n{group}:");
    for (first, names) in places {
        for index in (first..).take(names.len()) {
            seq_print!(seq, " {}", namespace.counters.0.sum(index));
        }
    }
    seq_print!(seq, "\n");
}
