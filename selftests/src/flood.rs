// SPDX-License-Identifier: GPL-2.0
//! SYNs of hosts that do not exist: from a raw socket, over IPv4, with forged sources.

use std::mem::size_of;
use std::net::{Ipv4Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::errno::check;
use crate::ktap;

const IP_HEADER: usize = 20;
/// With the MSS, SACK-permitted, timestamps and the window scale, as Linux sends it.
const TCP_HEADER: usize = 40;
const LENGTH: usize = IP_HEADER + TCP_HEADER;
/// Packets of one call.
const BATCH: usize = 64;

/// Which sources the SYNs pretend to have.
#[derive(Clone, Copy)]
pub enum Sources {
    /// All of 10.0.0.0/8.
    Everywhere,
    /// One /24 of it.
    OneNetwork,
}

/// A sender of SYNs to one address.
pub struct Flood {
    raw: OwnedFd,
    to: SocketAddr,
    sources: Sources,
    random: u64,
    packets: Vec<[u8; LENGTH]>,
}

impl Flood {
    /// From this thread's namespace, to an IPv4 address.
    pub fn new(to: SocketAddr, sources: Sources) -> Flood {
        // SAFETY: plain numbers.
        let fd = check(unsafe {
            libc::socket(
                libc::AF_INET,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                libc::IPPROTO_RAW,
            )
        });
        let fd = fd.unwrap_or_else(|error| ktap::skip(&format!("no raw sockets: {error}")));
        Flood {
            // SAFETY: new and ours.
            raw: unsafe { OwnedFd::from_raw_fd(fd) },
            to,
            sources,
            random: 0x9e37_79b9_7f4a_7c15,
            packets: vec![[0; LENGTH]; BATCH],
        }
    }

    /// The next number of xorshift64.
    fn next(&mut self) -> u64 {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 7;
        self.random ^= self.random << 17;
        self.random
    }

    /// Sends `count` SYNs. Returns how many the system took.
    pub fn send(&mut self, count: usize) -> usize {
        let mut sent = 0;
        let mut left = count;
        while left > 0 {
            let batch = left.min(BATCH);
            for at in 0..batch {
                let number = self.next();
                self.packets[at] = syn(self.to, self.sources, number);
            }
            sent += self.send_batch(batch);
            left -= batch;
        }
        sent
    }

    fn send_batch(&mut self, batch: usize) -> usize {
        let SocketAddr::V4(to) = self.to else {
            panic!("an IPv4 address is wanted")
        };
        // SAFETY: all bytes zero is a sockaddr_in, and a mmsghdr.
        let mut name: libc::sockaddr_in = unsafe { std::mem::zeroed() };
        name.sin_family = libc::AF_INET as u16;
        name.sin_addr.s_addr = u32::from_ne_bytes(to.ip().octets());
        let mut parts: Vec<libc::iovec> = self
            .packets
            .iter_mut()
            .take(batch)
            .map(|packet| libc::iovec {
                iov_base: packet.as_mut_ptr().cast(),
                iov_len: LENGTH,
            })
            .collect();
        let mut messages: Vec<libc::mmsghdr> = parts
            .iter_mut()
            .map(|part| {
                // SAFETY: as above.
                let mut message: libc::mmsghdr = unsafe { std::mem::zeroed() };
                message.msg_hdr.msg_name = (&raw mut name).cast();
                message.msg_hdr.msg_namelen = size_of::<libc::sockaddr_in>() as u32;
                message.msg_hdr.msg_iov = part;
                message.msg_hdr.msg_iovlen = 1;
                message
            })
            .collect();
        // SAFETY: the messages point to what lives till the end of this function.
        let sent = unsafe {
            libc::sendmmsg(
                self.raw.as_raw_fd(),
                messages.as_mut_ptr(),
                messages.len() as u32,
                0,
            )
        };
        usize::try_from(sent).unwrap_or(0)
    }
}

/// A SYN to `to`; all else in it comes of `random`.
fn syn(to: SocketAddr, sources: Sources, random: u64) -> [u8; LENGTH] {
    let SocketAddr::V4(to) = to else {
        panic!("an IPv4 address is wanted")
    };
    let [a, b, c, d, port_high, port_low, e, f] = random.to_be_bytes();
    let source = match sources {
        Sources::Everywhere => Ipv4Addr::new(10, a, b, c),
        Sources::OneNetwork => Ipv4Addr::new(10, 9, 8, c),
    };
    let mut packet = [0; LENGTH];
    let (ip, tcp) = packet.split_at_mut(IP_HEADER);
    // Length, identification and checksum are the kernel's to fill in (raw(7)).
    ip[0] = 0x45;
    ip[8] = 64;
    ip[9] = 6;
    ip[12..16].copy_from_slice(&source.octets());
    ip[16..20].copy_from_slice(&to.ip().octets());
    tcp[0..2].copy_from_slice(&[port_high | 4, port_low]);
    tcp[2..4].copy_from_slice(&to.port().to_be_bytes());
    tcp[4..8].copy_from_slice(&[d, e, f, a]);
    tcp[12] = (TCP_HEADER as u8 / 4) << 4;
    tcp[13] = 2;
    tcp[14..16].copy_from_slice(&64_240_u16.to_be_bytes());
    let options = [
        2, 4, 5, 0xb4, 4, 2, 8, 10, e, f, a, b, 0, 0, 0, 0, 1, 3, 3, 7,
    ];
    tcp[20..].copy_from_slice(&options);
    let words = source.octets().into_iter().chain(to.ip().octets());
    let words: Vec<u8> = words
        .chain([0, 6, 0, TCP_HEADER as u8])
        .chain(tcp.iter().copied())
        .collect();
    let mut sum: u32 = words
        .chunks(2)
        .map(|pair| u32::from(u16::from_be_bytes([pair[0], pair[1]])))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    tcp[16..18].copy_from_slice(&(!(sum as u16)).to_be_bytes());
    packet
}
