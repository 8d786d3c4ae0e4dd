// SPDX-License-Identifier: GPL-2.0
//! TCP segments as a device sees them, through AF_PACKET.

use std::ffi::CString;
use std::mem::size_of;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::errno::{check, check_len};
use crate::ktap;
use crate::Ip;

pub const FIN: u8 = 0x01;
pub const SYN: u8 = 0x02;
pub const RST: u8 = 0x04;
pub const PSH: u8 = 0x08;
pub const ACK: u8 = 0x10;
pub const URG: u8 = 0x20;
pub const ECE: u8 = 0x40;
pub const CWR: u8 = 0x80;

/// The largest packet of the IP, and the header that a device of loopback has.
const LARGEST: usize = 65_536 + 64;

/// A segment, or the aggregate of several that GSO or GRO makes.
#[derive(Clone, Debug)]
pub struct Segment {
    pub source: SocketAddr,
    pub target: SocketAddr,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    /// The ECN field of the IP header.
    pub ecn: u8,
    pub window: u16,
    /// The urgent pointer.
    pub urgent: u16,
    /// The options' bytes.
    pub options: Vec<u8>,
    pub payload: usize,
    /// Length of the IP packet.
    pub length: usize,
    pub checksum_valid: bool,
    /// Whether this host sends it.
    pub outgoing: bool,
}

impl Segment {
    /// The value of an option, if there is one of this kind (RFC 9293 3.1).
    pub fn option(&self, kind: u8) -> Option<&[u8]> {
        let mut rest = self.options.as_slice();
        loop {
            match *rest {
                [] | [0, ..] => return None,
                [1, ..] => rest = &rest[1..],
                [_, length, ..] if length < 2 || usize::from(length) > rest.len() => return None,
                [found, length, ..] if found == kind => return Some(&rest[2..usize::from(length)]),
                [_, length, ..] => rest = &rest[usize::from(length)..],
                [_] => return None,
            }
        }
    }
}

/// An open capture. What it has not read waits in a large buffer.
pub struct Capture(OwnedFd);

impl Capture {
    /// Captures on a device of this thread's namespace.
    pub fn on(device: &str) -> Capture {
        Capture::of(device, libc::ETH_P_ALL)
    }

    /// Captures what comes in by the device, without a copy of what goes out: that shares its memory.
    pub fn incoming(device: &str, ip: Ip) -> Capture {
        match ip {
            Ip::V4 => Capture::of(device, libc::ETH_P_IP),
            Ip::V6 => Capture::of(device, libc::ETH_P_IPV6),
        }
    }

    fn of(device: &str, protocol: libc::c_int) -> Capture {
        let protocol = (protocol as u16).to_be();
        // SAFETY: plain numbers.
        let fd = check(unsafe {
            libc::socket(
                libc::AF_PACKET,
                libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
                0,
            )
        });
        let fd = fd.unwrap_or_else(|error| ktap::skip(&format!("no packet sockets: {error}")));
        // SAFETY: new and ours.
        let capture = Capture(unsafe { OwnedFd::from_raw_fd(fd) });
        let size: libc::c_int = 64 << 20;
        let name = CString::new(device).expect("a name");
        // SAFETY: valid pointers; all bytes zero is a sockaddr_ll.
        unsafe {
            libc::setsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_RCVBUFFORCE,
                (&raw const size).cast(),
                4,
            );
            let mut address: libc::sockaddr_ll = std::mem::zeroed();
            address.sll_family = libc::AF_PACKET as u16;
            address.sll_protocol = protocol;
            address.sll_ifindex = libc::if_nametoindex(name.as_ptr()) as i32;
            let len = size_of::<libc::sockaddr_ll>() as u32;
            check(libc::bind(fd, (&raw const address).cast(), len)).expect("bind to the device");
        }
        capture
    }

    /// The TCP segments that came since the last call. None was lost for want of room.
    pub fn segments(&self) -> Vec<Segment> {
        let mut segments = Vec::new();
        self.each(|packet, outgoing| segments.extend(parse(packet, outgoing)));
        segments
    }

    /// The packets of TCP that came since the last call, from the IP header on, each with what it says. None was lost for want of room.
    pub fn packets(&self) -> Vec<(Vec<u8>, Segment)> {
        let mut packets = Vec::new();
        self.each(|packet, outgoing| {
            packets.extend(parse(packet, outgoing).map(|segment| (packet.to_vec(), segment)));
        });
        packets
    }

    fn each(&self, mut take: impl FnMut(&[u8], bool)) {
        let mut packet = vec![0; LARGEST];
        loop {
            // SAFETY: valid pointers; all bytes zero is a sockaddr_ll.
            let (got, outgoing) = unsafe {
                let mut address: libc::sockaddr_ll = std::mem::zeroed();
                let mut len = size_of::<libc::sockaddr_ll>() as u32;
                let got = check_len(libc::recvfrom(
                    self.0.as_raw_fd(),
                    packet.as_mut_ptr().cast(),
                    packet.len(),
                    0,
                    (&raw mut address).cast(),
                    &mut len,
                ));
                (got, address.sll_pkttype == libc::PACKET_OUTGOING)
            };
            match got {
                Ok(length) => take(&packet[..length], outgoing),
                Err(_) => {
                    assert_eq!(self.lost(), 0, "packets that found no room in the capture");
                    return;
                }
            }
        }
    }

    /// How many packets found no room since the last call.
    fn lost(&self) -> u32 {
        let mut counts = [0_u32; 2];
        let mut len = size_of_val(&counts) as libc::socklen_t;
        // SAFETY: struct tpacket_stats is two numbers, packets and drops.
        let rc = check(unsafe {
            libc::getsockopt(
                self.0.as_raw_fd(),
                libc::SOL_PACKET,
                libc::PACKET_STATISTICS,
                counts.as_mut_ptr().cast(),
                &mut len,
            )
        });
        rc.expect("PACKET_STATISTICS");
        counts[1]
    }
}

fn parse(packet: &[u8], outgoing: bool) -> Option<Segment> {
    const TCP: u8 = 6;
    let (source, target, ecn, tcp): (IpAddr, IpAddr, u8, &[u8]) = match packet.first()? >> 4 {
        4 if packet.len() >= 20 && packet[9] == TCP => {
            let header = usize::from(packet[0] & 15) * 4;
            let total = usize::from(u16::from_be_bytes([packet[2], packet[3]]));
            // An aggregate beyond 64 KB says 0.
            let end = if total == 0 {
                packet.len()
            } else {
                total.min(packet.len())
            };
            let address = |at: usize| -> IpAddr {
                Ipv4Addr::new(packet[at], packet[at + 1], packet[at + 2], packet[at + 3]).into()
            };
            let ecn = packet[1] & 3;
            (address(12), address(16), ecn, packet.get(header..end)?)
        }
        6 if packet.len() >= 40 && packet[6] == TCP => {
            let total = usize::from(u16::from_be_bytes([packet[4], packet[5]]));
            let end = if total == 0 {
                packet.len()
            } else {
                (40 + total).min(packet.len())
            };
            let address = |at: usize| -> IpAddr {
                let bytes: [u8; 16] = packet[at..at + 16].try_into().expect("16 bytes");
                Ipv6Addr::from(bytes).into()
            };
            let ecn = (packet[1] >> 4) & 3;
            (address(8), address(24), ecn, packet.get(40..end)?)
        }
        _ => return None,
    };
    let header = usize::from(tcp.get(12)? >> 4) * 4;
    let number = |at: usize| u32::from_be_bytes([tcp[at], tcp[at + 1], tcp[at + 2], tcp[at + 3]]);
    let short = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
    Some(Segment {
        source: SocketAddr::new(source, short(0)),
        target: SocketAddr::new(target, short(2)),
        seq: number(4),
        ack: number(8),
        flags: *tcp.get(13)?,
        ecn,
        window: short(14),
        urgent: short(18),
        options: tcp.get(20..header)?.to_vec(),
        payload: tcp.len().checked_sub(header)?,
        length: packet.len(),
        checksum_valid: checksum(source, target, tcp) == 0,
        outgoing,
    })
}

/// The checksum over the pseudo-header and the segment: 0 for one that is right (RFC 9293 3.1).
pub fn checksum(source: IpAddr, target: IpAddr, tcp: &[u8]) -> u16 {
    let add = |sum: u64, bytes: &[u8]| {
        bytes.chunks(2).fold(sum, |sum, pair| {
            sum + u64::from(u16::from_be_bytes([
                pair[0],
                pair.get(1).copied().unwrap_or(0),
            ]))
        })
    };
    let mut sum = 6 + tcp.len() as u64;
    for address in [source, target] {
        sum = match address {
            IpAddr::V4(ip) => add(sum, &ip.octets()),
            IpAddr::V6(ip) => add(sum, &ip.octets()),
        };
    }
    sum = add(sum, tcp);
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}
