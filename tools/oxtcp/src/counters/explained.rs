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
        "Packets of connections that were taken before they were routed, by the route of the packet before them, which costs less.",
        "Nothing. None of a busy server's packets from other hosts: a firewall's chain for input comes first, packets come in by turns on several interfaces, or net.ipv4.ip_early_demux or tcp_early_demux is 0.",
    ),
    of(
        "SyncookiesSent",
        "SYN-ACKs with a cookie: the listener remembered nothing of the SYN.",
        "Rising means a flood, or a backlog that is too small for the clients: oxtcp ss --summary, oxtcp doctor.",
    ),
    of(
        "SyncookiesFast",
        "SYNs that were dealt with before they were routed, which costs less: answered with a cookie, but for those that a socket's filter, their network's rate or the firewall's output does not let through.",
        "Nothing.",
    ),
    of(
        "StraysFast",
        "Segments to a listener that belong to no connection, and that were dealt with before they were routed, which costs less: a RST was dropped, others were answered with a reset, but for those beyond reset_net_rate or reset_limit.",
        "Nothing, if there are few: connections that are gone. Many are a flood, of which the firewall can drop what comes from one network.",
    ),
    of(
        "SyncookiesFellBack",
        "SYNs that were to be answered with a cookie, while there was a hook before routing, and were not answered there: a firewall's hook, conntrack, a rule of policy routing, another way back, a signature, or a packet that others share. SYNs with data, options of IP or in fragments, and those of a flow that is known, do not count.",
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
        "As SyncookiesSent.",
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
];

#[cfg(test)]
mod tests {
    use super::*;

    /// The module's own list, where it has one.
    #[test]
    fn every_counter_of_the_module_is_explained() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../rust/oxtcp/counters.rs");
        let Ok(source) = std::fs::read_to_string(path) else {
            return;
        };
        let list = source
            .split_once("\ncounters! {\n")
            .and_then(|(_, rest)| rest.split_once("\n}\n"))
            .expect("`counters! { ... }`")
            .0;
        let names = list
            .lines()
            .map(str::trim)
            .filter(|line| !line.starts_with("///"));
        for name in names.filter_map(|line| line.strip_suffix(',')) {
            assert!(find(name).is_some(), "{name} is to be explained here");
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
