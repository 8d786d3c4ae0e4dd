// SPDX-License-Identifier: GPL-2.0
//! A listener, and in another namespace who sends it segments by a raw socket, from addresses that no host has, and hears the answers.

use std::net::SocketAddr;

use crate::capture::{Capture, Segment};
use crate::connection::listening_at;
use crate::flood::{let_in, network, Raw};
use crate::forge::packet;
use crate::ns::{self, Veth};
use crate::{procnet, wait, Ip, Sock, Stack};

/// The listener's.
pub const PORT: u16 = 5001;

/// The listener is in `va`'s namespace, this thread's, the sender in `vb`'s.
pub struct Stranger {
    pub ip: Ip,
    pub link: Veth,
    pub listener: Sock,
    pub raw: Raw,
    answers: Capture,
    /// What has come back and was not asked for yet, as packets and read.
    heard: Vec<(Vec<u8>, Segment)>,
    next_port: u16,
}

impl Stranger {
    /// Makes the namespaces, with a listener at `place` in the one.
    pub fn at(stack: Stack, place: SocketAddr) -> Stranger {
        let link = Veth::make();
        let (listener, _) = listening_at(stack, &place, 16);
        Stranger::of(stack.ip, link, listener)
    }

    /// Of what is there. The listener has [`PORT`].
    pub fn of(ip: Ip, link: Veth, listener: Sock) -> Stranger {
        let_in(ip);
        let (raw, answers) = link.b.run(|| {
            let target = Veth::address_a(ip, PORT).ip();
            (Raw::new(target), Capture::incoming("vb", ip))
        });
        Stranger {
            ip,
            link,
            listener,
            raw,
            answers,
            heard: Vec::new(),
            next_port: 2000,
        }
    }

    pub fn target(&self) -> SocketAddr {
        Veth::address_a(self.ip, PORT)
    }

    /// Another source that does not exist.
    pub fn source(&mut self) -> SocketAddr {
        self.next_port += 1;
        let ip = match self.ip {
            Ip::V4 => "10.9.8.7",
            Ip::V6 => "fd0a:9:8::7",
        };
        SocketAddr::new(ip.parse().expect("an address"), self.next_port)
    }

    /// Sends a segment with the numbers `seq` and `ack`.
    pub fn send(
        &mut self,
        from: SocketAddr,
        numbers: (u32, u32),
        flags: u8,
        options: &[u8],
        payload: &[u8],
    ) {
        self.send_packet(packet(
            from,
            self.target(),
            numbers,
            flags,
            options,
            payload,
        ));
    }

    pub fn send_packet(&mut self, packet: Vec<u8>) {
        assert_eq!(self.raw.send(&[packet]), 1, "the segment was not sent");
    }

    /// Answers are heard at that device of the other namespace, from now on.
    pub fn hear_at(&mut self, device: &str) {
        let ip = self.ip;
        self.answers = self.link.b.run(|| Capture::incoming(device, ip));
    }

    fn next_to(&mut self, from: SocketAddr) -> Option<usize> {
        self.heard.extend(self.answers.packets());
        let mut heard = self.heard.iter();
        heard.position(|(_, segment)| segment.target == from)
    }

    /// The next that comes back to a source, as a packet and read.
    pub fn answer_to(&mut self, from: SocketAddr) -> (Vec<u8>, Segment) {
        wait::until_some("the answer", || {
            let next = self.next_to(from)?;
            Some(self.heard.remove(next))
        })
    }

    /// Whether something has come back to a source that [`answer_to`](Stranger::answer_to) has not handed out.
    pub fn has_answer(&mut self, from: SocketAddr) -> bool {
        self.next_to(from).is_some()
    }

    /// From now on nobody but routing knows the way back: it is by another device.
    pub fn lead_away(&self) {
        ns::sh_or_skip("ip link add away type dummy");
        ns::sh("ip link set away up");
        ns::sh(&format!("ip route replace {} dev away", network(self.ip)));
    }

    /// A client of the built-in TCP, of the other namespace, says something and hears something.
    pub fn client_gets_in(&self) {
        let client = self.link.b.run(|| {
            let client = Sock::open(Stack::builtin(self.ip));
            client.connect(&self.target()).expect("connect");
            client.send_all(b"hi");
            client
        });
        let (server, _) = self.listener.accept().expect("accept");
        assert_eq!(server.recv_exact(2), b"hi");
        server.send_all(b"there");
        assert_eq!(client.recv_exact(5), b"there");
    }
}

/// How many packets `rp_filter` has dropped in this namespace.
pub fn filtered() -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/netstat").expect("netstat");
    procnet::stat(&text, "IPReversePathFilter")
}

/// One of oxtcp's counters, of this namespace.
pub fn count(name: &str) -> u64 {
    let text = std::fs::read_to_string("/proc/thread-self/net/oxtcp_stat").expect("oxtcp_stat");
    procnet::stat(&text, name)
}
