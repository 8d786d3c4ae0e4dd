// SPDX-License-Identifier: GPL-2.0

//! What happens on connections and is worth counting: for an administrator, who sees many of them.

use core::fmt;

macro_rules! happenings {
    ( $( $(#[$doc:meta])* $name:ident, )* ) => {
        /// Something that Linux counts, under its name there (`TcpExt` of `/proc/net/netstat`, `Tcp` of `/proc/net/snmp`), and where
        /// Linux counts it.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub enum Happening {
            $( $(#[$doc])* $name, )*
        }

        impl Happening {
            /// The names, each at its number.
            pub const NAMES: &'static [&'static str] = &[ $( stringify!($name), )* ];
        }
    };
}

happenings! {
    /// The peer's timestamp is older than one that was seen (PAWS).
    PAWSEstab,
    /// The same, of an acknowledgment that others have overtaken.
    PAWSOldAck,
    /// The same, in TIME-WAIT.
    PAWSTimewait,
    /// A segment without data lies beyond the window.
    BeyondWindow,
    /// An acknowledgment was held back until its timer expired.
    DelayedACKs,
    /// Data has come again that was acknowledged.
    DelayedACKLost,
    /// A recovery has begun, without SACK and with it.
    TCPRenoRecovery,
    /// See there.
    TCPSackRecovery,
    /// The peer has thrown away what it had reported.
    TCPSACKReneging,
    /// Reordering was seen: by SACK, by duplicate acknowledgments, by timestamps.
    TCPSACKReorder,
    /// See there.
    TCPRenoReorder,
    /// See there.
    TCPTSReorder,
    /// A recovery was needless, as was found at its end;
    TCPFullUndo,
    /// within it;
    TCPPartialUndo,
    /// by D-SACKs of all copies;
    TCPDSACKUndo,
    /// or it was one after a timeout.
    TCPLossUndo,
    /// Copies were lost.
    TCPLostRetransmit,
    /// A timeout while duplicates told of something missing, without SACK and with it;
    TCPRenoFailures,
    /// see there;
    TCPSackFailures,
    /// while another timeout was repaired;
    TCPLossFailures,
    /// in a recovery, without SACK and with it.
    TCPRenoRecoveryFail,
    /// See there.
    TCPSackRecoveryFail,
    /// What was lost was sent again, in a recovery;
    TCPFastRetrans,
    /// after a timeout, without the segment that the timeout itself sends.
    TCPSlowStartRetrans,
    /// A retransmission timer has expired.
    TCPTimeouts,
    /// A probe of the tail was sent;
    TCPLossProbes,
    /// it has repaired a loss.
    TCPLossProbeRecovery,
    /// A duplicate is reported to the peer: of what was in order,
    TCPDSACKOldSent,
    /// or not.
    TCPDSACKOfoSent,
    /// The peer reports a duplicate: of what it had in order,
    TCPDSACKRecv,
    /// or not.
    TCPDSACKOfoRecv,
    /// So many segments are in such a report.
    TCPDSACKRecvSegs,
    /// Nothing was sent twice that the report could be of.
    TCPDSACKIgnoredDubious,
    /// A report by SACK is nonsense.
    TCPSACKDiscard,
    /// The connection was reset: there was data for a user who has closed, or he did not want to wait;
    TCPAbortOnData,
    /// the user has closed and did not want FIN-WAIT-2 (TCP_LINGER2).
    TCPAbortOnLinger,
    /// The peer did not answer.
    TCPAbortOnTimeout,
    /// A timeout was none (F-RTO).
    TCPSpuriousRTOs,
    /// Data was kept out of order, or was there already.
    TCPOFOQueue,
    /// It was there already.
    TCPOFOMerge,
    /// Acknowledgments of what was out of order, for which one was sent together.
    TCPAckCompressed,
    /// A SYN in the midst of a connection.
    TCPSYNChallenge,
    /// The window was closed, and opened again;
    TCPFromZeroWindowAdv,
    /// it closes;
    TCPToZeroWindowAdv,
    /// it would, if it could be taken back.
    TCPWantZeroWindowAdv,
    /// A SYN or SYN-ACK was sent again.
    TCPSynRetrans,
    /// HyStart has ended slow start: by the train of acknowledgments,
    TCPHystartTrainDetect,
    /// at windows of so many segments in sum;
    TCPHystartTrainCwnd,
    /// by the round trip,
    TCPHystartDelayDetect,
    /// at windows of so many segments in sum.
    TCPHystartDelayCwnd,
    /// A segment was not answered as another was just before: in a handshake,
    TCPACKSkippedSynRecv,
    /// with an old timestamp,
    TCPACKSkippedPAWS,
    /// outside of the window,
    TCPACKSkippedSeq,
    /// in FIN-WAIT-2 without a user,
    TCPACKSkippedFinWait2,
    /// in TIME-WAIT,
    TCPACKSkippedTimeWait,
    /// or it asked for a challenge ACK.
    TCPACKSkippedChallenge,
    /// A closed window was probed.
    TCPWinProbe,
    /// An idle peer was probed.
    TCPKeepAlive,
    /// A probe of the path's MTU was lost;
    TCPMTUPFail,
    /// it has arrived.
    TCPMTUPSuccess,
    /// The peer says of so many segments that they came with congestion marks.
    TCPDeliveredCE,
    // From here on those of `Tcp`: `FIRST_OF_TCP`.
    /// A segment was sent again: data, a SYN or a probe of the tail.
    RetransSegs,
    /// A segment is in error: a SYN in the midst of an established connection.
    InErrs,
}

impl Happening {
    /// Those from this number on are of the group `Tcp`.
    pub const FIRST_OF_TCP: usize = Happening::RetransSegs as usize;
}

/// Who counts.
pub trait Counts {
    /// `what` has happened so many times.
    fn count(&self, what: Happening, times: u32);
}

/// Who counts what happens in a call into the engine; nobody by default.
#[derive(Clone, Copy, Default)]
pub struct Counting<'a>(Option<&'a dyn Counts>);

impl<'a> Counting<'a> {
    /// Nobody does.
    pub const NONE: Counting<'static> = Counting(None);

    /// `counts` does.
    #[inline]
    pub fn by(counts: &'a dyn Counts) -> Self {
        Counting(Some(counts))
    }

    /// `what` has happened.
    // Apart from what happens for every segment.
    #[cold]
    #[inline(never)]
    pub(crate) fn count(self, what: Happening) {
        if let Some(counts) = self.0 {
            counts.count(what, 1);
        }
    }

    /// `what` has happened so many times.
    #[cold]
    #[inline(never)]
    pub(crate) fn count_many(self, what: Happening, times: u32) {
        if let Some(counts) = self.0 {
            counts.count(what, times);
        }
    }
}

impl fmt::Debug for Counting<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            Some(_) => "Counting",
            None => "nobody",
        })
    }
}
