// SPDX-License-Identifier: GPL-2.0
//! What the counters mean, and what to do about them. The names are Linux's (`TcpExt` of `/proc/net/netstat`) where it has one.

/// A counter in words.
pub struct Explained {
    /// Its name.
    pub name: &'static str,
    /// What it counts.
    pub meaning: &'static str,
    /// What to do when it rises.
    pub advice: &'static str,
}

/// What is to be said of a counter.
pub fn find(name: &str) -> Option<&'static Explained> {
    EXPLAINED.iter().find(|explained| explained.name == name)
}

/// All of them.
#[cfg(test)]
pub fn all() -> impl Iterator<Item = &'static Explained> {
    EXPLAINED.iter()
}

const fn of(name: &'static str, meaning: &'static str, advice: &'static str) -> Explained {
    Explained {
        name,
        meaning,
        advice,
    }
}

const EXPLAINED: &[Explained] = &[
    of(
        "EarlyDemux",
        "Packets of connections that were taken before they were routed, by the route of the packet before them, which costs less; and SYNs for listeners and what comes to half-open connections and TIME-WAITs, where nobody else had a say.",
        "Nothing. None of a busy server's packets from other hosts: a firewall's chain for input comes first, packets come in by turns on several interfaces, or net.ipv4.ip_early_demux or tcp_early_demux is 0.",
    ),
    of(
        "SyncookiesSent",
        "SYN-ACKs with a cookie: the listener remembered nothing of the SYN.",
        "Rising means a flood, or a backlog that is too small for the clients: oxtcp ss --summary, oxtcp doctor.",
    ),
    of(
        "SyncookiesFast",
        "SYNs that were answered with a cookie before they were routed, which costs less, but for answers that the firewall's output does not let through. EarlyDemux counts them, too.",
        "Nothing.",
    ),
    of(
        "StraysFast",
        "Segments to a listener that belong to no connection, and that were dealt with before they were routed, which costs less: a RST was dropped, others were answered with a reset, but for those beyond reset_net_rate or reset_limit.",
        "Nothing, if there are few: connections that are gone. Many are a flood, of which the firewall can drop what comes from one network.",
    ),
    of(
        "SyncookiesFellBack",
        "SYNs that were to be answered with a cookie, while there was a hook before routing, and were not answered there: a firewall's hook, conntrack, a rule of policy routing, another way back, a class (DSCP), a listener that is bound to a device, somebody who traces, or fast_syncookies 0. SYNs with data, options of IP or in fragments do not count.",
        "Nothing, if the firewall is meant to see them. Chains and rules that are not needed cost each SYN of a flood its way through them.",
    ),
    of(
        "SyncookiesRecv",
        "Last ACKs of handshakes with a good cookie: real clients that came in during a flood.",
        "Nothing: cookies do what they are for. Where it rises as fast as SyncookiesSent there is no flood: a larger backlog spares the cookies.",
    ),
    of(
        "SyncookiesFailed",
        "ACKs to a listener that sends cookies, with none that is good: forged, too old, used already, of another connection.",
        "A few are late ACKs. Many are a flood of ACKs: they cost little, and the firewall can drop their senders.",
    ),
    of(
        "ListenOverflows",
        "SYNs and last ACKs of handshakes that the accept queue had no room for.",
        "The program does not accept as fast as clients come: oxtcp ss --summary shows which; more workers, a larger backlog and somaxconn.",
    ),
    of(
        "ListenDrops",
        "SYNs and last ACKs of handshakes that were dropped, for whatever cause.",
        "ListenOverflows, TCPReqQFullDrop and SynShareExceeded tell the causes.",
    ),
    of(
        "TCPReqQFullDoCookies",
        "SYNs that were answered with a cookie, as the SYN queue was full or syncookies is 2.",
        "Rising means a flood, or a backlog that is too small for the clients: oxtcp ss --summary, oxtcp doctor.",
    ),
    of(
        "TCPReqQFullDrop",
        "SYNs that were dropped, as the SYN queue was full.",
        "Real clients are among them: oxtcp set syncookies=1, or oxtcp profile apply under-attack.",
    ),
    of(
        "SynShareExceeded",
        "SYNs of a host or network that had its share of the SYN queue already.",
        "One sender floods, or many clients are behind one address: the firewall can drop the one, syn_host_share and syn_net_share allow the other more.",
    ),
    of(
        "SynRateExceeded",
        "SYNs of a network beyond syn_net_rate: they were dropped.",
        "One sender floods, or many clients are behind one network: the firewall can drop the one, a higher syn_net_rate lets the others in.",
    ),
    of(
        "AnswerRateExceeded",
        "Resets and challenge ACKs that were not sent, as reset_net_rate or reset_limit was reached, or challenge_ack_limit.",
        "Somebody sends segments of connections that are none, perhaps with a forged source, which the limit protects: the firewall can drop them.",
    ),
    of(
        "SynCacheEvicted",
        "Half-open connections that gave way to a newer SYN, as the SYN queue was full.",
        "Clients far away may not get in: a larger backlog and max_syn_backlog.",
    ),
    of(
        "TCPMigrateReqSuccess",
        "Connections and half-open ones that a closed listener has left to another one of its SO_REUSEPORT group.",
        "Nothing: no client has noticed that the listener was closed.",
    ),
    of(
        "TCPMigrateReqFailure",
        "Connections and half-open ones of a closed listener that no other one of its SO_REUSEPORT group was there for: they were reset or forgotten.",
        "Open the new listener before the old one is closed.",
    ),
    of(
        "BeyondWindow",
        "Segments whose payload begins beyond the window, or goes beyond it while data waits for the program.",
        "A few are packets that were late. Many are a peer that does not heed the window, or somebody who guesses numbers.",
    ),
    of(
        "TCPZeroWindowDrop",
        "Segments with payload while the window was closed: the program does not read.",
        "oxtcp ss shows whose receive queue is full; probes of a closed window are counted too, and are no harm.",
    ),
    of(
        "TCPRcvQDrop",
        "Segments in order that there was no memory for.",
        "The peers send them again, slower. Many mean that the host's memory for TCP (net.ipv4.tcp_mem) or rmem is too small.",
    ),
    of(
        "TCPMD5NotFound",
        "Segments without a signature from a peer that there is a key for (TCP_MD5SIG).",
        "The peer has no key, or somebody forges its segments: a few are nothing to worry about. Documentation/authentication.md.",
    ),
    of(
        "TCPMD5Unexpected",
        "Segments with an MD5 signature from a peer that there is no key for.",
        "The peer has a key that the program here has not set, or not yet: the program's configuration.",
    ),
    of(
        "TCPMD5Failure",
        "Segments with a wrong MD5 signature.",
        "The keys differ: compare both ends' configuration. A few of them come of a key that was changed on one side first.",
    ),
    of(
        "TCPAORequired",
        "Segments without the authentication option (TCP-AO) from a peer that there is a key for, or to a socket that wants it of everybody.",
        "Forged, if others of the same peer are signed. Else the peer has no key for this address: look at that program's configuration.",
    ),
    of(
        "TCPAOBad",
        "Segments whose authentication option (TCP-AO) is wrong.",
        "Key, algorithm, length of the MAC or the rule for other options differ: compare both ends' configuration. Or they are forged.",
    ),
    of(
        "TCPAOKeyNotFound",
        "Segments with the authentication option (TCP-AO) that there is no key for.",
        "The peer signs with a KeyID that no key here has as its RecvID, or there are no keys for him at all: compare both ends' configuration.",
    ),
    of(
        "TCPAOGood",
        "Segments whose authentication option (TCP-AO) is right.",
        "Normal.",
    ),
    of(
        "TCPAODroppedIcmps",
        "ICMP errors (unreachable; with IPv4, too big as well) about connections with TCP-AO, which are not believed.",
        "Somebody forges them, or a path's MTU is smaller than the route says: then set the route's mtu, or let the program accept_icmps (TCP_AO_INFO).",
    ),
    of(
        "EmbryonicRsts",
        "Half-open connections that ended with a reset: the peer's, or ours as the accept queue was full and abort_on_overflow is set.",
        "Clients that give up at once, or somebody who tries ports and resets what answers (a scan): harmless by itself.",
    ),
    of(
        "PruneCalled",
        "Segments with data that came when the receive buffer was full, so that room was looked for.",
        "A program reads too slowly, or rmem is too small for the path: oxtcp ss shows whose receive queue is long.",
    ),
    of(
        "RcvPruned",
        "Segments that were dropped, as no room was found for them in the receive buffer.",
        "A program reads too slowly, or rmem is too small for the path: oxtcp ss shows whose receive queue is long. The peers send them again: it costs time, not data.",
    ),
    of(
        "OfoPruned",
        "Times that data which had come out of order was given up to make room for what is to be read first.",
        "The path loses or reorders, and a program reads too slowly: a larger rmem, or net.ipv4.tcp_mem if the host's memory for TCP is short.",
    ),
    of(
        "TCPRcvCollapsed",
        "Packets in receive queues whose bytes were copied together, as they took too much memory for what is in them.",
        "A peer sends very small segments, and the program is behind in reading. Costs time of the CPU: a larger rmem spares it.",
    ),
    of(
        "OutOfWindowIcmps",
        "ICMP errors about segments that are not in flight, which are ignored.",
        "A few are late. Many are forged: somebody tries to end connections.",
    ),
    of(
        "LockDroppedIcmps",
        "ICMP errors that came while a program was at work with the connection, and were let go.",
        "Nothing: if their cause lasts, there will be others.",
    ),
    of(
        "TW",
        "Connections that were closed here first, and became a TIME-WAIT (or wait without a program for the peer's end).",
        "Nothing: it is about the rate at which connections are closed here. oxtcp ss --summary tells how many there are.",
    ),
    of(
        "TWRecycled",
        "TIME-WAITs whose ports a new connection of this host took over.",
        "Nothing: it saves ports. TIME-WAITs of 1 s and more can be reused if tw_reuse is not 0.",
    ),
    of(
        "TWKilled",
        "Closed connections that wait for the peer's end for 4 s at most, as fin_timeout or TCP_LINGER2 says.",
        "Nothing.",
    ),
    of(
        "PAWSEstab",
        "Segments with an older timestamp than was seen already (PAWS), which are dropped.",
        "A few are late packets. Many, with connections that stand still: several hosts behind one address, or a middlebox that rewrites timestamps.",
    ),
    of(
        "PAWSOldAck",
        "Acknowledgments with an older timestamp than was seen already, as newer ones have overtaken them.",
        "The path reorders. Harmless.",
    ),
    of(
        "PAWSTimewait",
        "Segments for a TIME-WAIT with an older timestamp than the connection's (PAWS).",
        "A few are late packets. SYNs among them mean that several clients share an address, and use one port too soon.",
    ),
    of(
        "DelayedACKs",
        "Acknowledgments that were held back for an answer of the program's to travel with, and sent when it did not come in time.",
        "Normal. If requests take 40 ms more than they should, the peer waits for them: there, TCP_NODELAY; here, TCP_QUICKACK.",
    ),
    of(
        "DelayedACKLost",
        "Segments with data that had come before: the acknowledgment was lost or late, or the peer was impatient.",
        "Losses on the way back, or a peer whose timeouts are too short. Compare with TCPDSACKOldSent.",
    ),
    of(
        "TCPRenoRecovery",
        "Times that a loss was found by duplicate acknowledgments, of a peer that cannot SACK.",
        "The path loses segments. And see why SACK is off (net.oxtcp.sack, the peer): without it repair is slower.",
    ),
    of(
        "TCPSackRecovery",
        "Times that a loss was found by SACK, and its repair began.",
        "The path loses segments, or reorders (TCPSACKReorder). Compare with TCPTimeouts: a repair without timeout costs little.",
    ),
    of(
        "TCPSACKReneging",
        "Peers that threw data away which they had reported (SACK), as was found by a timeout.",
        "Those hosts are short of memory, or a middlebox breaks SACK.",
    ),
    of(
        "TCPSACKReorder",
        "Times that the path was found to reorder segments, by SACK.",
        "Several links share a connection's packets, or a device has several queues. It costs nothing as long as TCPFastRetrans does not rise with it.",
    ),
    of(
        "TCPRenoReorder",
        "Times that the path was found to reorder segments, by duplicate acknowledgments of a peer without SACK.",
        "Several links share a connection's packets, or a device has several queues. Harmless as long as TCPFastRetrans does not rise with it.",
    ),
    of(
        "TCPTSReorder",
        "Times that in the midst of a repair the missing segment was found to have been late only, by timestamps.",
        "Several links share a connection's packets, or a device has several queues. Harmless as long as TCPFastRetrans does not rise with it.",
    ),
    of(
        "TCPFullUndo",
        "Repairs that were found needless at their end: nothing had been lost, and the window was restored.",
        "The path reorders, or delays for long. Harmless if it is rare.",
    ),
    of(
        "TCPPartialUndo",
        "Repairs that were found needless in their midst, by timestamps: the window was restored.",
        "The path reorders, or delays for long. Harmless if it is rare.",
    ),
    of(
        "TCPDSACKUndo",
        "Repairs that were found needless as the peer had everything twice (D-SACK): the window was restored.",
        "The path reorders, or delays for long. Harmless if it is rare.",
    ),
    of(
        "TCPLossUndo",
        "Timeouts that were found needless: the window was restored.",
        "The path stands still at times for longer than the timeout (radio, a virtual machine without CPU): rto_min can be larger.",
    ),
    of(
        "TCPLostRetransmit",
        "Segments that were sent again, and lost again.",
        "The path loses much, or a policer drops bursts. Each such loss costs a round trip or a timeout.",
    ),
    of(
        "TCPRenoFailures",
        "Timeouts before duplicate acknowledgments, of a peer without SACK, could tell of the loss.",
        "The path loses much, or peers are away: TCPTimeouts counts all of these, and each costs 200 ms or more.",
    ),
    of(
        "TCPSackFailures",
        "Timeouts before reports by SACK could tell of the loss.",
        "The path loses much, or peers are away: TCPTimeouts counts all of these, and each costs 200 ms or more.",
    ),
    of(
        "TCPLossFailures",
        "Timeouts while the losses of an earlier timeout were repaired.",
        "The path loses much, or was away for a time. Each costs 200 ms or more.",
    ),
    of(
        "TCPFastRetrans",
        "Segments that were sent again to repair a loss without a timeout.",
        "The path loses segments. Beside RetransSegs it tells what share was repaired soon.",
    ),
    of(
        "TCPSlowStartRetrans",
        "Segments that were sent again after a timeout, beside the one that the timeout itself sends.",
        "The path loses much, or peers are away: TCPTimeouts counts all of these, and each costs 200 ms or more.",
    ),
    of(
        "TCPTimeouts",
        "Retransmission timers that expired, those of SYNs and SYN-ACKs among them.",
        "Losses that nothing else has told of, peers that are away, or SYNs that nobody answers (TCPSynRetrans). Each costs 200 ms or more.",
    ),
    of(
        "TCPLossProbes",
        "Probes that were sent as the end of what is in flight was not acknowledged in time (TLP).",
        "A few are normal. They spare timeouts, where the last segments are lost.",
    ),
    of(
        "TCPLossProbeRecovery",
        "Losses that a probe of the tail (TLP) has repaired.",
        "The path loses segments; each of these would have been a timeout.",
    ),
    of(
        "TCPRenoRecoveryFail",
        "Timeouts in the midst of a repair, with a peer that cannot SACK.",
        "The path loses much, or peers are away: TCPTimeouts counts all of these, and each costs 200 ms or more.",
    ),
    of(
        "TCPSackRecoveryFail",
        "Timeouts in the midst of a repair: what was sent again did not arrive either.",
        "The path loses much, or a policer drops bursts. Each such loss costs a round trip or a timeout.",
    ),
    of(
        "TCPDSACKOldSent",
        "Duplicates that the peer was told of (D-SACK), of data that was in order.",
        "The peer has sent it for nothing: acknowledgments are lost, or its timeouts are too short.",
    ),
    of(
        "TCPDSACKOfoSent",
        "Duplicates that the peer was told of (D-SACK), of data that was out of order.",
        "The peer has sent it for nothing, as acknowledgments are lost or its timeouts are too short; or the network doubles packets.",
    ),
    of(
        "TCPDSACKRecv",
        "Duplicates that the peer has told of (D-SACK): what was sent again had arrived already.",
        "Needless retransmissions: the path reorders or delays, or acknowledgments are lost. Compare with RetransSegs.",
    ),
    of(
        "TCPDSACKOfoRecv",
        "Duplicates that the peer has told of (D-SACK), of data that it had out of order: what was sent again had arrived already.",
        "Needless retransmissions: the path reorders or delays, or acknowledgments are lost. Compare with RetransSegs.",
    ),
    of(
        "TCPDSACKRecvSegs",
        "Segments in the reports that TCPDSACKRecv and TCPDSACKOfoRecv count.",
        "Needless retransmissions: the path reorders or delays, or acknowledgments are lost. Compare with RetransSegs.",
    ),
    of(
        "TCPDSACKIgnoredDubious",
        "Reports of duplicates (D-SACK) of connections that had sent nothing again, which are ignored.",
        "The network doubles packets.",
    ),
    of(
        "TCPSACKDiscard",
        "Blocks of SACK that cannot be: of data that was never sent, or against the acknowledgment.",
        "A middlebox changes sequence numbers but not those in SACK, or somebody forges segments.",
    ),
    of(
        "TCPAbortOnData",
        "Connections that were reset: data came for a program that had closed already, or it closed with SO_LINGER and a time of 0.",
        "The program closes before the client has sent all. Clients see ECONNRESET.",
    ),
    of(
        "TCPAbortOnClose",
        "Connections that were reset, as the program closed and had not read all that had come.",
        "The program, if that is not on purpose: read to the end before close(), or the peer may lose what was sent to it.",
    ),
    of(
        "TCPAbortOnMemory",
        "Closed connections that were reset before their data was acknowledged, as there are too many of them (max_orphans) or memory is short.",
        "Many clients that do not acknowledge, perhaps an attack: a smaller orphan_retries, or more memory (net.ipv4.tcp_mem).",
    ),
    of(
        "TCPAbortOnTimeout",
        "Connections that were given up, as the peer did not answer: opens, data, probes of a closed window, keepalives.",
        "Hosts or the network are down, or a firewall has forgotten the connections: keepalive_time shorter than its time.",
    ),
    of(
        "TCPAbortOnLinger",
        "Connections that were reset at close(), as the program wants no FIN-WAIT-2 (a negative TCP_LINGER2).",
        "Nothing, if the program means it.",
    ),
    of(
        "TCPAbortFailed",
        "Resets of connections that could not be sent: no memory, no route, or a firewall.",
        "The peers find out by themselves, later.",
    ),
    of(
        "TCPSpuriousRTOs",
        "Timeouts that were found needless as the originals arrived (F-RTO); TCPLossUndo counts them too.",
        "The path stands still at times for longer than the timeout (radio, a virtual machine without CPU): rto_min can be larger.",
    ),
    of(
        "TCPBacklogDrop",
        "Segments that were dropped, as too many waited already while a program was at work with the connection.",
        "The host is overloaded, or somebody floods a connection. A larger rmem allows more.",
    ),
    of(
        "TCPTimeWaitOverflow",
        "Connections that ended without a TIME-WAIT, as there are max_tw_buckets already, or no memory.",
        "More max_tw_buckets, if there is memory; or let the peers close first.",
    ),
    of(
        "TCPDeferAcceptDrop",
        "Last ACKs of handshakes without data, which TCP_DEFER_ACCEPT does not wake a program for.",
        "Normal with TCP_DEFER_ACCEPT.",
    ),
    of(
        "TCPRetransFail",
        "Segments that were to be sent again, and did not leave the host.",
        "A queue of the host is full (tc -s qdisc), or a route or a firewall has changed.",
    ),
    of(
        "TCPOFOQueue",
        "Segments with data that came out of order.",
        "The path loses or reorders on the way to this host.",
    ),
    of(
        "TCPOFODrop",
        "Segments with data out of order that there was no memory for.",
        "The peers send them again. A program reads too slowly, rmem is too small for the path, or the host's memory for TCP (net.ipv4.tcp_mem) is short.",
    ),
    of(
        "TCPOFOMerge",
        "Segments out of order that had come before.",
        "The peer has sent them for nothing, as acknowledgments are lost or its timeouts are too short; or the network doubles packets.",
    ),
    of(
        "TCPChallengeACK",
        "Challenge ACKs, which answer a reset, a SYN or an acknowledgment that may be forged.",
        "A few come of hosts that have started anew. Many: somebody guesses numbers of connections.",
    ),
    of(
        "TCPAckCompressed",
        "Acknowledgments of what came out of order that were not sent, as one with all that they would have told followed within a millisecond.",
        "Normal where the path loses or reorders. It spares the peer work; comp_sack_nr=0 has them all sent.",
    ),
    of(
        "TCPSYNChallenge",
        "SYNs in the midst of a connection.",
        "The peer has started anew and uses the port again. Many: somebody guesses numbers of connections.",
    ),
    of(
        "TCPFromZeroWindowAdv",
        "Windows that were closed, and opened again.",
        "Programs were slower than the network, and have caught up. Many: oxtcp ss shows whose receive queue is full.",
    ),
    of(
        "TCPToZeroWindowAdv",
        "Windows that were closed, as the program does not read: the peer has to stop.",
        "The program is slower than the network: oxtcp ss shows whose receive queue is full.",
    ),
    of(
        "TCPWantZeroWindowAdv",
        "Times that no room was left, while the peer may still send what it was offered.",
        "The program is slower than the network: oxtcp ss shows whose receive queue is full.",
    ),
    of(
        "TCPSynRetrans",
        "SYNs and SYN-ACKs that were sent again, as no answer came.",
        "Servers that are away, a firewall that drops, a listener elsewhere that is full; of SYN-ACKs: forged SYNs. Each costs a second.",
    ),
    of(
        "TCPHystartTrainDetect",
        "Slow starts that ended without loss, as acknowledgments came back to back for half a round trip (HyStart).",
        "Normal.",
    ),
    of(
        "TCPHystartTrainCwnd",
        "The sum of the windows, in segments, at which slow starts ended as acknowledgments came back to back (HyStart).",
        "Divided by TCPHystartTrainDetect it is what paths hold. Far below bandwidth times round trip: HyStart was too early.",
    ),
    of(
        "TCPHystartDelayDetect",
        "Slow starts that ended without loss, as the round trip grew (HyStart).",
        "Normal.",
    ),
    of(
        "TCPHystartDelayCwnd",
        "The sum of the windows, in segments, at which slow starts ended as the round trip grew (HyStart).",
        "Divided by TCPHystartDelayDetect it is what paths hold. Far below bandwidth times round trip: HyStart was too early.",
    ),
    of(
        "TCPACKSkippedSynRecv",
        "Segments of half-open connections that were not answered, as another was less than invalid_ratelimit before.",
        "Nothing: this ends loops of answers, and floods of them.",
    ),
    of(
        "TCPACKSkippedPAWS",
        "Segments with an old timestamp that were not answered, as another was less than invalid_ratelimit before.",
        "A few are late packets. Many, with connections that stand still: several hosts behind one address, or a middlebox that rewrites timestamps.",
    ),
    of(
        "TCPACKSkippedSeq",
        "Segments outside of the window that were not answered, as another was less than invalid_ratelimit before.",
        "Many are a flood of forged segments, or two hosts that disagree about a connection.",
    ),
    of(
        "TCPACKSkippedFinWait2",
        "Segments of connections in FIN-WAIT-2 without a program that were not answered, as another was less than invalid_ratelimit before.",
        "Many are a flood of forged segments, or two hosts that disagree about a connection.",
    ),
    of(
        "TCPACKSkippedTimeWait",
        "Segments for a TIME-WAIT that were not answered, as another was less than invalid_ratelimit before.",
        "Many are a flood of forged segments, or two hosts that disagree about a connection.",
    ),
    of(
        "TCPACKSkippedChallenge",
        "Challenge ACKs that were not sent, as another was less than invalid_ratelimit before.",
        "A few come of hosts that have started anew. Many: somebody guesses numbers of connections.",
    ),
    of(
        "TCPWinProbe",
        "Probes of a window that the peer has closed.",
        "Peers do not read: oxtcp ss shows whose send queue stands.",
    ),
    of(
        "TCPKeepAlive",
        "Keepalive probes to peers that have been silent.",
        "Normal. keepalive_time sets after how long.",
    ),
    of(
        "TCPMTUPFail",
        "Probes of the path's MTU that were lost: the path takes no segments of that size.",
        "Normal with mtu_probing: the search goes on with smaller ones.",
    ),
    of(
        "TCPMTUPSuccess",
        "Probes of the path's MTU that arrived: segments are larger from then on.",
        "Normal with mtu_probing. With mtu_probing 1 it means that ICMP errors do not get through: a black hole.",
    ),
    of(
        "TCPDeliveredCE",
        "Segments that arrived with a congestion mark, as far as peers tell (ECN).",
        "A queue on the path is filling, and says so instead of dropping: that is its purpose.",
    ),
    of(
        "ActiveOpens",
        "Connections that programs here have opened, or tried to.",
        "Nothing: it is how busy clients are.",
    ),
    of(
        "PassiveOpens",
        "Connections that listeners have got.",
        "Nothing: it is how busy servers are.",
    ),
    of(
        "AttemptFails",
        "Opens that failed (refused, no answer, unreachable), and half-open connections that the peer has reset.",
        "Servers that are away or refuse, from here; to here, scans: EmbryonicRsts counts those.",
    ),
    of(
        "EstabResets",
        "Established connections that ended without being closed: by a reset of the peer's or ours, or as nobody answered.",
        "The TCPAbortOn... counters tell of ours and of silence; the rest are resets of peers.",
    ),
    of(
        "RetransSegs",
        "Segments that were sent again: data, SYNs, SYN-ACKs, probes of the tail.",
        "The loss of your paths, at first sight. TCPFastRetrans, TCPLossProbes, TCPTimeouts and TCPSynRetrans tell how they were found.",
    ),
    of(
        "InErrs",
        "Segments with a wrong checksum (InCsumErrors), a header that is none, or a SYN in the midst of a connection.",
        "InCsumErrors and TCPSYNChallenge tell which: bad hardware for the first, a peer that has started anew for the second.",
    ),
    of(
        "OutRsts",
        "Resets that were sent, by connections and to segments of connections that are over.",
        "The TCPAbortOn... counters tell of connections; others answer peers that are late, or scans.",
    ),
    of(
        "InCsumErrors",
        "Segments with a wrong checksum, which were dropped.",
        "Bad memory, cabling or a network card's checksum unit, here or on the way: ethtool -S tells more.",
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The module's own lists, where it has them.
    #[test]
    fn every_counter_of_the_module_is_explained() {
        for (file, list) in [
            ("rust/oxtcp/counters.rs", "\ncounters! {\n"),
            ("rust/engine/src/happening.rs", "\nhappenings! {\n"),
        ] {
            let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../..");
            let Ok(source) = std::fs::read_to_string(format!("{path}/{file}")) else {
                return;
            };
            let list = source
                .split_once(list)
                .and_then(|(_, rest)| rest.split_once("\n}\n"))
                .unwrap_or_else(|| panic!("{file}: `{list}`"))
                .0;
            let names = list
                .lines()
                .map(str::trim)
                .filter(|line| !line.starts_with("//"));
            let names: Vec<&str> = names.filter_map(|line| line.strip_suffix(',')).collect();
            assert!(names.len() > 30, "{file}: {names:?}");
            for name in names {
                assert!(find(name).is_some(), "{name} is to be explained here");
            }
        }
    }

    /// They are shown by name, without each other: none leans on another one's words.
    #[test]
    fn each_stands_alone() {
        for one in EXPLAINED {
            for text in [one.meaning, one.advice] {
                let names = EXPLAINED.iter().map(|other| other.name);
                let mut as_others = names.map(|name| format!("s {name}"));
                let leans = ["The same", "such a ", "that was.", "same reason"]
                    .iter()
                    .any(|part| text.contains(part));
                let is_as = as_others.any(|other| {
                    text.starts_with(&format!("A{other}")) || text.contains(&format!("or a{other}"))
                });
                assert!(!leans && !is_as, "{}: {text}", one.name);
            }
        }
    }

    #[test]
    fn each_once_and_in_whole_sentences() {
        for (number, one) in EXPLAINED.iter().enumerate() {
            assert!(
                one.meaning.ends_with('.') && one.advice.ends_with('.'),
                "{}",
                one.name
            );
            assert!(EXPLAINED
                .iter()
                .skip(number + 1)
                .all(|other| other.name != one.name));
        }
    }
}
