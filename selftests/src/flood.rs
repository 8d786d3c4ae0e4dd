// SPDX-License-Identifier: GPL-2.0
//! Segments of hosts that do not exist, or of others that do: from a raw socket, with forged sources.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::capture::SYN;
use crate::errno::check;
use crate::forge::packet;
use crate::ktap;
use crate::ns::{self, Veth};
use crate::sock::RawAddr;
use crate::Ip;

/// Packets of one call.
const BATCH: usize = 64;

/// Which sources the segments pretend to have.
#[derive(Clone, Copy)]
pub enum Sources {
    /// All of 10.0.0.0/8, or of fd00::/8: the host of a /48 each.
    Everywhere,
    /// One /24 of it, or one /64.
    OneNetwork,
    /// This one.
    One(SocketAddr),
}

impl Sources {
    /// Whether it is one of them.
    pub fn hold(&self, address: &SocketAddr) -> bool {
        match (self, address) {
            (Sources::One(one), _) => one == address,
            (_, SocketAddr::V4(v4)) => v4.ip().octets()[0] == 10,
            (_, SocketAddr::V6(v6)) => v6.ip().octets()[0] == 0xfd,
        }
    }
}

/// The network that all of them are in.
pub fn network(ip: Ip) -> &'static str {
    match ip {
        Ip::V4 => "10.0.0.0/8",
        Ip::V6 => "fd00::/8",
    }
}

/// Lets their segments in at this end of a [`Veth`], and sends the answers to an address that nobody has.
pub fn let_in(ip: Ip) {
    let nobody = Veth::address_of_nobody(ip, 0).ip();
    ns::sh(&format!("ip route add {} via {nobody} dev va", network(ip)));
    for filter in ["all", "va"] {
        ns::set_sysctl(&format!("net/ipv4/conf/{filter}/rp_filter"), "0");
    }
}

/// What they are.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// With the MSS, SACK-permitted, timestamps and the window scale, as Linux sends it.
    Syn,
    /// These flags, and no options but timestamps.
    Flags(u8),
}

/// A raw socket for whole packets, headers of IP included.
pub struct Raw {
    fd: OwnedFd,
    to: RawAddr,
}

impl Raw {
    /// From this thread's namespace, to an address. Skips the test where there are no raw sockets.
    pub fn new(to: IpAddr) -> Raw {
        let domain = match to {
            IpAddr::V4(_) => libc::AF_INET,
            IpAddr::V6(_) => libc::AF_INET6,
        };
        // SAFETY: plain numbers.
        let fd = check(unsafe {
            libc::socket(
                domain,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                libc::IPPROTO_RAW,
            )
        });
        let fd = fd.unwrap_or_else(|error| ktap::skip(&format!("no raw sockets: {error}")));
        Raw {
            // SAFETY: new and ours.
            fd: unsafe { OwnedFd::from_raw_fd(fd) },
            to: RawAddr::new(&SocketAddr::new(to, 0)),
        }
    }

    /// Sends packets; how many the system took.
    pub fn send(&mut self, packets: &[Vec<u8>]) -> usize {
        let mut parts: Vec<libc::iovec> = packets
            .iter()
            .map(|packet| libc::iovec {
                iov_base: packet.as_ptr().cast_mut().cast(),
                iov_len: packet.len(),
            })
            .collect();
        let (name, len) = (&raw const self.to.storage, self.to.len);
        let mut messages: Vec<libc::mmsghdr> = parts
            .iter_mut()
            .map(|part| {
                // SAFETY: all bytes zero is a mmsghdr.
                let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
                message.msg_hdr.msg_name = name.cast_mut().cast();
                message.msg_hdr.msg_namelen = len;
                message.msg_hdr.msg_iov = part;
                message.msg_hdr.msg_iovlen = 1;
                message
            })
            .collect();
        // SAFETY: the messages point to what lives till the end of this function.
        let sent = unsafe {
            libc::sendmmsg(
                self.fd.as_raw_fd(),
                messages.as_mut_ptr(),
                messages.len() as u32,
                0,
            )
        };
        usize::try_from(sent).unwrap_or(0)
    }
}

/// A sender of segments to one address.
pub struct Flood {
    raw: Raw,
    to: SocketAddr,
    sources: Sources,
    kind: Kind,
    random: u64,
}

impl Flood {
    /// From this thread's namespace.
    pub fn new(kind: Kind, to: SocketAddr, sources: Sources) -> Flood {
        Flood {
            raw: Raw::new(to.ip()),
            to,
            sources,
            kind,
            random: 0x9e37_79b9_7f4a_7c15,
        }
    }

    /// The next number of xorshift64.
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Makes `count` segments.
    pub fn make(&mut self, count: usize) -> Vec<Vec<u8>> {
        let numbers: Vec<u64> = (0..count).map(|_| self.next()).collect();
        let made = numbers
            .into_iter()
            .map(|number| segment(self.kind, self.to, self.sources, number));
        made.collect()
    }

    /// Sends segments that were made before. Returns how many the system took.
    pub fn send_made(&mut self, packets: &[Vec<u8>]) -> usize {
        packets
            .chunks(BATCH)
            .map(|batch| self.raw.send(batch))
            .sum()
    }

    /// Sends `count` segments. Returns how many the system took.
    pub fn send(&mut self, count: usize) -> usize {
        let mut sent = 0;
        let mut left = count;
        while left > 0 {
            let batch = left.min(BATCH);
            let packets = self.make(batch);
            sent += self.raw.send(&packets);
            left -= batch;
        }
        sent
    }
}

/// A segment to `to`; all else in it comes of `random`.
fn segment(kind: Kind, to: SocketAddr, sources: Sources, random: u64) -> Vec<u8> {
    let [a, b, c, d, port_high, port_low, e, f] = random.to_be_bytes();
    let port = u16::from_be_bytes([port_high | 4, port_low]);
    let from = match (sources, to.ip()) {
        (Sources::One(from), _) => from,
        (Sources::Everywhere, IpAddr::V4(_)) => {
            SocketAddr::new(Ipv4Addr::new(10, a, b, c).into(), port)
        }
        (Sources::OneNetwork, IpAddr::V4(_)) => {
            SocketAddr::new(Ipv4Addr::new(10, 9, 8, c).into(), port)
        }
        (Sources::Everywhere, IpAddr::V6(_)) => {
            let [p, q] = [[b, c], [d, e]].map(u16::from_be_bytes);
            let first = 0xfd00 | u16::from(a);
            SocketAddr::new(Ipv6Addr::new(first, p, q, 0, 0, 0, 0, 1).into(), port)
        }
        (Sources::OneNetwork, IpAddr::V6(_)) => {
            let q = u16::from_be_bytes([b, c]);
            SocketAddr::new(Ipv6Addr::new(0xfd0a, 9, 8, 0, q, 0, 0, 1).into(), port)
        }
    };
    let seq = u32::from_be_bytes([d, e, f, a]);
    let stamp = [e, f, a, b];
    let [s0, s1, s2, s3] = stamp;
    match kind {
        Kind::Syn => {
            let options = [
                2, 4, 5, 0xb4, 4, 2, 8, 10, s0, s1, s2, s3, 0, 0, 0, 0, 1, 3, 3, 7,
            ];
            packet(from, to, (seq, 0), SYN, &options, &[])
        }
        Kind::Flags(flags) => {
            let ack = u32::from_be_bytes([b, c, d, e]);
            let options = [1, 1, 8, 10, s0, s1, s2, s3, c, d, e, f];
            packet(from, to, (seq, ack), flags, &options, &[])
        }
    }
}
