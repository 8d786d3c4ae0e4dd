// SPDX-License-Identifier: GPL-2.0

//! What a namespace counts, and `/proc/net/oxtcp_stat`, which tells it in the layout and under the names of
//! `/proc/net/netstat` and `/proc/net/snmp`.

use core::ops::Range;

use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::seq_print;

use oxtcp_engine::{Counts, Happening};

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
    /// Segments with an older timestamp than was seen already (RFC 7323), which are dropped.
    PAWSEstab,
    /// The same, acknowledgments that newer ones have overtaken.
    PAWSOldAck,
    /// The same, of segments for a TIME-WAIT.
    PAWSTimewait,
    /// Acknowledgments that were sent as their timer expired.
    DelayedACKs,
    /// Segments with data that had been acknowledged.
    DelayedACKLost,
    /// Losses found by duplicate acknowledgments of a peer without SACK.
    TCPRenoRecovery,
    /// Losses found by SACK.
    TCPSackRecovery,
    /// Timeouts after which the peer turned out to have thrown away what it had reported.
    TCPSACKReneging,
    /// Reordering that was found by SACK.
    TCPSACKReorder,
    /// Reordering that was found by duplicate acknowledgments.
    TCPRenoReorder,
    /// Reordering that was found by timestamps in a repair.
    TCPTSReorder,
    /// Repairs that were needless, as was found at their end.
    TCPFullUndo,
    /// Repairs that were needless, as was found within them.
    TCPPartialUndo,
    /// Repairs that were needless, as D-SACKs of all copies have told.
    TCPDSACKUndo,
    /// Timeouts that were needless.
    TCPLossUndo,
    /// Segments that were sent again and lost again.
    TCPLostRetransmit,
    /// Timeouts while a peer without SACK had sent duplicate acknowledgments.
    TCPRenoFailures,
    /// Timeouts while the peer had reported something by SACK.
    TCPSackFailures,
    /// Timeouts while an earlier one was repaired.
    TCPLossFailures,
    /// Segments sent again in a repair.
    TCPFastRetrans,
    /// Segments sent again after a timeout, but for the first.
    TCPSlowStartRetrans,
    /// Retransmission timers that expired.
    TCPTimeouts,
    /// Probes of the tail (RFC 8985).
    TCPLossProbes,
    /// Losses that a probe has repaired.
    TCPLossProbeRecovery,
    /// Timeouts in the repair of a loss, without SACK.
    TCPRenoRecoveryFail,
    /// Timeouts in the repair of a loss, with SACK.
    TCPSackRecoveryFail,
    /// Duplicates of what was in order that were reported to the peer.
    TCPDSACKOldSent,
    /// Duplicates of what was out of order that were reported to the peer.
    TCPDSACKOfoSent,
    /// Reports of duplicates by the peer.
    TCPDSACKRecv,
    /// The same, of what the peer had out of order.
    TCPDSACKOfoRecv,
    /// Segments in those reports.
    TCPDSACKRecvSegs,
    /// Such reports where nothing had been sent again.
    TCPDSACKIgnoredDubious,
    /// Blocks of SACK that are nonsense.
    TCPSACKDiscard,
    /// Connections that were reset as data came for a closed program, or the program closed with SO_LINGER of 0.
    TCPAbortOnData,
    /// Connections that were reset, as the program closed with data unread.
    TCPAbortOnClose,
    /// Connections without a program that were reset, as there are too many or memory is short.
    TCPAbortOnMemory,
    /// Connections that were given up, as the peer did not answer.
    TCPAbortOnTimeout,
    /// Connections that were reset in FIN-WAIT-2, as TCP_LINGER2 is negative.
    TCPAbortOnLinger,
    /// Resets of connections that could not be sent.
    TCPAbortFailed,
    /// Timeouts that F-RTO found needless (RFC 5682).
    TCPSpuriousRTOs,
    /// Segments that were dropped, as enough waited for a program to let go of the connection.
    TCPBacklogDrop,
    /// Connections that ended without a TIME-WAIT, as there are too many.
    TCPTimeWaitOverflow,
    /// Last ACKs of handshakes that were dropped to wait for data (TCP_DEFER_ACCEPT).
    TCPDeferAcceptDrop,
    /// Segments to be sent again that did not leave the host.
    TCPRetransFail,
    /// Segments that came out of order and were kept, or had come before.
    TCPOFOQueue,
    /// Segments out of order that there was no memory for.
    TCPOFODrop,
    /// Segments out of order that had come before.
    TCPOFOMerge,
    /// Challenge ACKs (RFC 5961).
    TCPChallengeACK,
    /// SYNs in the midst of a connection.
    TCPSYNChallenge,
    /// Closed windows that opened again.
    TCPFromZeroWindowAdv,
    /// Windows that were closed.
    TCPToZeroWindowAdv,
    /// Windows that would have been closed, if what is offered could be taken back.
    TCPWantZeroWindowAdv,
    /// SYNs and SYN-ACKs that were sent again.
    TCPSynRetrans,
    /// Slow starts that HyStart ended, by the train of acknowledgments.
    TCPHystartTrainDetect,
    /// The windows at that time, in segments, in sum.
    TCPHystartTrainCwnd,
    /// Slow starts that HyStart ended, by the round trip.
    TCPHystartDelayDetect,
    /// The windows at that time, in segments, in sum.
    TCPHystartDelayCwnd,
    /// Segments of half-open connections that were not answered, as another was just before.
    TCPACKSkippedSynRecv,
    /// The same, of connections: segments with an old timestamp.
    TCPACKSkippedPAWS,
    /// The same: segments outside of the window.
    TCPACKSkippedSeq,
    /// The same, of connections in FIN-WAIT-2 that no program has.
    TCPACKSkippedFinWait2,
    /// The same, in TIME-WAIT.
    TCPACKSkippedTimeWait,
    /// Challenge ACKs that were due, and not sent for the same reason.
    TCPACKSkippedChallenge,
    /// Probes of a window that the peer has closed.
    TCPWinProbe,
    /// Keepalive probes.
    TCPKeepAlive,
    /// Probes of the path's MTU that were lost.
    TCPMTUPFail,
    /// Probes of the path's MTU that arrived.
    TCPMTUPSuccess,
    /// Segments that arrived with a congestion mark, as peers say.
    TCPDeliveredCE,
    // From here on those of `Tcp` in `/proc/net/snmp`: `FIRST_OF_TCP`.
    /// Connections that this host has opened.
    ActiveOpens,
    /// Connections that listeners have got.
    PassiveOpens,
    /// Opens that failed, and half-open connections that the peer reset.
    AttemptFails,
    /// Established connections that ended without being closed.
    EstabResets,
    /// Segments that were sent again.
    RetransSegs,
    /// Segments that are damaged, or in error.
    InErrs,
    /// Resets that were sent.
    OutRsts,
    /// Segments with a wrong checksum.
    InCsumErrors,
}

/// Those from this one on are a group of their own.
const FIRST_OF_TCP: usize = Counter::ActiveOpens as usize;

macro_rules! same_names {
    ( $( $name:ident, )* ) => {
        impl From<Happening> for Counter {
            fn from(what: Happening) -> Self {
                match what {
                    $( Happening::$name => Counter::$name, )*
                }
            }
        }
    };
}

// What the engine tells of.
same_names! {
    RetransSegs,
    InErrs,
    PAWSEstab,
    PAWSOldAck,
    PAWSTimewait,
    BeyondWindow,
    DelayedACKs,
    DelayedACKLost,
    TCPRenoRecovery,
    TCPSackRecovery,
    TCPSACKReneging,
    TCPSACKReorder,
    TCPRenoReorder,
    TCPTSReorder,
    TCPFullUndo,
    TCPPartialUndo,
    TCPDSACKUndo,
    TCPLossUndo,
    TCPLostRetransmit,
    TCPRenoFailures,
    TCPSackFailures,
    TCPLossFailures,
    TCPRenoRecoveryFail,
    TCPSackRecoveryFail,
    TCPFastRetrans,
    TCPSlowStartRetrans,
    TCPTimeouts,
    TCPLossProbes,
    TCPLossProbeRecovery,
    TCPDSACKOldSent,
    TCPDSACKOfoSent,
    TCPDSACKRecv,
    TCPDSACKOfoRecv,
    TCPDSACKRecvSegs,
    TCPDSACKIgnoredDubious,
    TCPSACKDiscard,
    TCPAbortOnData,
    TCPAbortOnLinger,
    TCPAbortOnTimeout,
    TCPSpuriousRTOs,
    TCPOFOQueue,
    TCPOFOMerge,
    TCPSYNChallenge,
    TCPFromZeroWindowAdv,
    TCPToZeroWindowAdv,
    TCPWantZeroWindowAdv,
    TCPSynRetrans,
    TCPHystartTrainDetect,
    TCPHystartTrainCwnd,
    TCPHystartDelayDetect,
    TCPHystartDelayCwnd,
    TCPACKSkippedSynRecv,
    TCPACKSkippedPAWS,
    TCPACKSkippedSeq,
    TCPACKSkippedFinWait2,
    TCPACKSkippedTimeWait,
    TCPACKSkippedChallenge,
    TCPWinProbe,
    TCPKeepAlive,
    TCPMTUPFail,
    TCPMTUPSuccess,
    TCPDeliveredCE,
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

    /// Counts so many more. Any context.
    pub(crate) fn add(&self, counter: Counter, more: u32) {
        self.0.add(counter as usize, more);
    }
}

impl Counts for Counters {
    fn count(&self, what: Happening, times: u32) {
        self.add(Counter::from(what), times);
    }
}

/// `/proc/net/oxtcp_stat`.
pub(crate) struct Stat;

impl SeqText for Stat {
    type PerNet = Namespace;

    fn show(namespace: &Namespace, seq: &SeqFile) {
        show(namespace, seq, "TcpExt", 0..FIRST_OF_TCP);
        show(namespace, seq, "Tcp", FIRST_OF_TCP..Counter::NAMES.len());
    }
}

/// A group: a line of names, a line of values.
fn show(namespace: &Namespace, seq: &SeqFile, group: &str, counters: Range<usize>) {
    seq_print!(seq, "{group}:");
    for name in Counter::NAMES.get(counters.clone()).unwrap_or_default() {
        seq_print!(seq, " {name}");
    }
    seq_print!(seq, "\n{group}:");
    for index in counters {
        seq_print!(seq, " {}", namespace.counters.0.sum(index));
    }
    seq_print!(seq, "\n");
}
