// SPDX-License-Identifier: GPL-2.0

//! What a namespace counts, and `/proc/net/oxtcp_stat`, which tells it in the layout and under the names of
//! `/proc/net/netstat`.

use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::seq_print;

use crate::namespace::Namespace;
use crate::sys::counters;
use crate::sys::proc::SeqText;

macro_rules! counters {
    ( $( $(#[$doc:meta])* $name:ident, )* ) => {
        /// What is counted. The names are those of Linux (`include/uapi/linux/snmp.h`), where it has one.
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
    /// Packets of connections that were taken before routing (no such counter in Linux).
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
    /// Segments whose payload begins beyond the window, or goes beyond it while data waits for the program.
    BeyondWindow,
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
}

/// A namespace's counters.
pub(crate) struct Counters(counters::Counters<{ Counter::NAMES.len() }>);

impl Counters {
    /// Sleeps. Errors: ENOMEM.
    pub(crate) fn new() -> Result<Self> {
        counters::Counters::new().map(Self)
    }

    /// Counts one more. Any context.
    pub(crate) fn count(&self, counter: Counter) {
        self.0.inc(counter as usize);
    }
}

/// `/proc/net/oxtcp_stat`.
pub(crate) struct Stat;

impl SeqText for Stat {
    type PerNet = Namespace;

    fn show(namespace: &Namespace, seq: &SeqFile) {
        seq_print!(seq, "TcpExt:");
        for name in Counter::NAMES {
            seq_print!(seq, " {name}");
        }
        seq_print!(seq, "\nTcpExt:");
        for index in 0..Counter::NAMES.len() {
            seq_print!(seq, " {}", namespace.counters.0.sum(index));
        }
        seq_print!(seq, "\n");
    }
}
