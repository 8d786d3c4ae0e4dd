// SPDX-License-Identifier: GPL-2.0
//! Handshakes from addresses that no host has: who makes them hears what is sent there, and keeps nothing of a SYN.

use std::net::{IpAddr, SocketAddr};

use crate::capture::{Capture, Segment, ACK, PSH, SYN};
use crate::flood::{Flood, Kind, Raw, Sources};
use crate::forge::packet;
use crate::Ip;

/// The kind of the timestamps option (RFC 7323).
const TIMESTAMPS: u8 = 8;

/// The other end of a connection, which is nobody's socket.
struct Peer {
    address: SocketAddr,
    /// What it sends next, and what it has heard.
    numbers: (u32, u32),
    options: Vec<u8>,
}

/// A sender of SYNs to one address that answers the SYN-ACKs.
pub struct Handshakes {
    to: SocketAddr,
    sources: Sources,
    syns: Flood,
    raw: Raw,
    heard: Capture,
    peers: Vec<Peer>,
}

/// The peers of connections that there are; what they are told nobody hears.
pub struct Voices {
    to: SocketAddr,
    raw: Raw,
    peers: Vec<Peer>,
    /// Whose turn it is.
    next: usize,
}

impl Handshakes {
    /// From this thread's namespace, in which what is sent to the sources comes in by `device`.
    pub fn new(to: SocketAddr, sources: Sources, device: &str) -> Handshakes {
        let ip = match to.ip() {
            IpAddr::V4(_) => Ip::V4,
            IpAddr::V6(_) => Ip::V6,
        };
        Handshakes {
            to,
            sources,
            syns: Flood::new(Kind::Syn, to, sources),
            raw: Raw::new(to.ip()),
            heard: Capture::incoming(device, ip),
            peers: Vec::new(),
        }
    }

    /// Sends `count` SYNs, and acknowledges the SYN-ACKs that are there. Returns how many segments the system took.
    pub fn knock(&mut self, count: usize) -> usize {
        self.syns.send(count) + self.acknowledge()
    }

    /// Acknowledges the SYN-ACKs that are there, those that come again too. Returns how many segments the system took.
    pub fn acknowledge(&mut self) -> usize {
        let (to, sources) = (self.to, self.sources);
        let answers = self.heard.segments();
        // Not those to clients, who answer them.
        let ours = |answer: &Segment| {
            answer.source == to
                && answer.flags & (SYN | ACK) == SYN | ACK
                && sources.hold(&answer.target)
        };
        let peers: Vec<Peer> = answers.iter().filter(|a| ours(a)).map(peer_of).collect();
        let acks: Vec<Vec<u8>> = peers.iter().map(|peer| said(peer, to, ACK, b"")).collect();
        self.peers.extend(peers);
        acks.chunks(64).map(|batch| self.raw.send(batch)).sum()
    }

    /// Those whose SYN-ACKs were acknowledged, when there are to be no more.
    pub fn voices(self) -> Voices {
        Voices {
            to: self.to,
            raw: self.raw,
            peers: self.peers,
            next: 0,
        }
    }
}

impl Voices {
    /// Has `count` of them say a byte each, the ones after the others. Returns how many segments the system took.
    pub fn say(&mut self, count: usize, byte: u8) -> usize {
        let mut packets = Vec::with_capacity(count);
        for _ in 0..count.min(self.peers.len()) {
            self.next = (self.next + 1) % self.peers.len();
            let peer = &mut self.peers[self.next];
            packets.push(said(peer, self.to, ACK | PSH, &[byte]));
            peer.numbers.0 = peer.numbers.0.wrapping_add(1);
        }
        self.raw.send(&packets)
    }
}

/// Whom a SYN-ACK is for.
fn peer_of(answer: &Segment) -> Peer {
    let options = match answer.option(TIMESTAMPS) {
        // Its own clock stands still: what the SYN said comes back.
        Some([v0, v1, v2, v3, e0, e1, e2, e3]) => {
            vec![1, 1, TIMESTAMPS, 10, *e0, *e1, *e2, *e3, *v0, *v1, *v2, *v3]
        }
        _ => Vec::new(),
    };
    Peer {
        address: answer.target,
        numbers: (answer.ack, answer.seq.wrapping_add(1)),
        options,
    }
}

fn said(peer: &Peer, to: SocketAddr, flags: u8, payload: &[u8]) -> Vec<u8> {
    packet(
        peer.address,
        to,
        peer.numbers,
        flags,
        &peer.options,
        payload,
    )
}
