// SPDX-License-Identifier: GPL-2.0

//! IP packets as bytes, around the segments of [`Datagram`]: what is written to the tun device and read from it.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use crate::run::IpVersion;
use crate::wire::{Datagram, IcmpError};

/// The addresses of a script's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Addresses {
    /// The host's own, that is the implementation's.
    pub(super) local: IpAddr,
    /// The one that the script plays.
    pub(super) remote: IpAddr,
    /// How both are written in socket addresses.
    version: IpVersion,
}

/// Those of the kernel's `ksft_runner.sh`.
const LOCAL_V4: Ipv4Addr = Ipv4Addr::new(192, 168, 0, 1);
const REMOTE_V4: Ipv4Addr = Ipv4Addr::new(192, 0, 2, 1);
const LOCAL_V6: Ipv6Addr = Ipv6Addr::new(0xfd3d, 0x0a0b, 0x17d6, 0, 0, 0, 0, 1);
const REMOTE_V6: Ipv6Addr = Ipv6Addr::new(0xfd3d, 0xfa7b, 0xd17d, 0, 0, 0, 0, 1);

impl Addresses {
    /// Those of a variant.
    pub(super) fn new(version: IpVersion) -> Self {
        let (local, remote) = match version {
            IpVersion::V4 | IpVersion::Mapped => (LOCAL_V4.into(), REMOTE_V4.into()),
            IpVersion::V6 => (LOCAL_V6.into(), REMOTE_V6.into()),
        };
        Addresses {
            local,
            remote,
            version,
        }
    }

    /// The variant.
    pub(super) fn version(&self) -> IpVersion {
        self.version
    }

    /// The local address for bind().
    pub(super) fn local_socket(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.in_socket(self.local), port)
    }

    /// The remote address for connect().
    pub(super) fn remote_socket(&self, port: u16) -> SocketAddr {
        SocketAddr::new(self.in_socket(self.remote), port)
    }

    fn in_socket(&self, address: IpAddr) -> IpAddr {
        match (self.version, address) {
            (IpVersion::Mapped, IpAddr::V4(v4)) => v4.to_ipv6_mapped().into(),
            _ => address,
        }
    }
}

const TCP: u8 = 6;
const ICMP: u8 = 1;
const ICMP_V6: u8 = 58;
/// packetdrill's.
const TTL: u8 = 255;
/// Where checksums stand in their headers.
const TCP_CHECKSUM: usize = 16;
const ICMP_CHECKSUM: usize = 2;
/// An ICMP error quotes the IP header and this much behind it (RFC 792).
const QUOTED: usize = 8;

/// A packet of the script's as bytes, from the remote address to the local one.
pub(super) fn encode(addresses: &Addresses, packet: &Datagram) -> Vec<u8> {
    let route = (addresses.remote, addresses.local);
    match packet {
        Datagram::Tcp {
            tos,
            header,
            payload,
            ..
        } => {
            let mut body = header.clone();
            body.resize(header.len() + *payload as usize, 0);
            let sum = checksum(route, TCP, &body);
            body[TCP_CHECKSUM..TCP_CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
            ip(route, *tos, TCP, &body)
        }
        Datagram::Icmp { error, quoted } => icmp(addresses, *error, quoted),
    }
}

fn icmp(addresses: &Addresses, error: IcmpError, quoted: &[u8]) -> Vec<u8> {
    let route = (addresses.remote, addresses.local);
    // The packet that it is about came from us.
    let original = ip((addresses.local, addresses.remote), 0, TCP, quoted);
    let original = &original[..original.len() - quoted.len() + QUOTED.min(quoted.len())];
    let v4 = addresses.local.is_ipv4();
    let (kind, code, mtu) = match (error, v4) {
        (IcmpError::Net, true) => (3, 0, 0),
        (IcmpError::Host, true) => (3, 1, 0),
        (IcmpError::Port, true) => (3, 3, 0),
        (IcmpError::TooBig(mtu), true) => (3, 4, mtu),
        (IcmpError::Net, false) => (1, 0, 0),
        (IcmpError::Host, false) => (1, 3, 0),
        (IcmpError::Port, false) => (1, 4, 0),
        (IcmpError::TooBig(mtu), false) => (2, 0, mtu),
    };
    let mut body = vec![kind, code, 0, 0];
    // RFC 1191 has the MTU in the lower half of the word, which IPv6 has whole.
    body.extend(mtu.to_be_bytes());
    body.extend_from_slice(original);
    let protocol = if v4 { ICMP } else { ICMP_V6 };
    let sum = checksum(route, protocol, &body);
    body[ICMP_CHECKSUM..ICMP_CHECKSUM + 2].copy_from_slice(&sum.to_be_bytes());
    ip(route, 0, protocol, &body)
}

/// An IP packet from the first address of `route` to the second.
fn ip(route: (IpAddr, IpAddr), tos: u8, protocol: u8, body: &[u8]) -> Vec<u8> {
    let mut packet = Vec::with_capacity(40 + body.len());
    match route {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            let len = (20 + body.len()) as u16;
            packet.extend([0x45, tos]);
            packet.extend(len.to_be_bytes());
            packet.extend([0, 0, 0, 0, TTL, protocol, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            let sum = !fold(sum(&packet));
            packet[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (from, to) => {
            packet.extend([0x60 | (tos >> 4), tos << 4, 0, 0]);
            packet.extend((body.len() as u16).to_be_bytes());
            packet.extend([protocol, TTL]);
            packet.extend(octets(from));
            packet.extend(octets(to));
        }
    }
    packet.extend_from_slice(body);
    packet
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// The Internet checksum with the pseudo header that the protocol has: ICMP for IPv4 has none.
fn checksum(route: (IpAddr, IpAddr), protocol: u8, body: &[u8]) -> u16 {
    let mut total = sum(body);
    if protocol != ICMP {
        total += sum(&octets(route.0)) + sum(&octets(route.1));
        total += u64::from(protocol) + body.len() as u64;
    }
    !fold(total)
}

fn sum(bytes: &[u8]) -> u64 {
    let word = |pair: &[u8]| (u64::from(pair[0]) << 8) | u64::from(*pair.get(1).unwrap_or(&0));
    bytes.chunks(2).map(word).sum()
}

fn fold(mut sum: u64) -> u16 {
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    sum as u16
}

/// A packet that the host has sent: a segment of the script's addresses; `None` for anything else.
///
/// `partial`: the checksum is left to the device.
///
/// # Errors
///
/// Says what is wrong with a segment.
pub(super) fn decode(
    addresses: &Addresses,
    bytes: &[u8],
    partial: bool,
) -> Result<Option<Datagram>, String> {
    let Some((tos, protocol, route, body)) = parts(bytes)? else {
        return Ok(None);
    };
    if protocol != TCP || route != (addresses.local, addresses.remote) {
        return Ok(None);
    }
    if body.len() < 20 {
        return Err(format!("a segment of {} bytes", body.len()));
    }
    let header = usize::from(body[12] >> 4) * 4;
    if header < 20 || header > body.len() {
        return Err(format!("a TCP header of {header} bytes in {}", body.len()));
    }
    if !partial && checksum(route, TCP, body) != 0 {
        return Err("a segment with a wrong checksum".into());
    }
    Ok(Some(Datagram::Tcp {
        tos,
        header: body[..header].to_vec(),
        payload: (body.len() - header) as u32,
        gso_size: 0,
    }))
}

type Parts<'a> = (u8, u8, (IpAddr, IpAddr), &'a [u8]);

/// TOS, protocol, addresses and what is carried; `None` for what is neither IPv4 nor IPv6.
fn parts(bytes: &[u8]) -> Result<Option<Parts<'_>>, String> {
    let half = |at: usize| (usize::from(bytes[at]) << 8) | usize::from(bytes[at + 1]);
    match (bytes.first().map(|byte| byte >> 4), bytes.len()) {
        (Some(4), 20..) => {
            let header = usize::from(bytes[0] & 15) * 4;
            let body = bytes
                .get(header..half(2))
                .ok_or("an IPv4 packet that is cut off")?;
            if header < 20 || fold(sum(&bytes[..header])) != 0xffff {
                return Err("an IPv4 header with a wrong checksum".into());
            }
            let address = |at: usize| {
                Ipv4Addr::new(bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]).into()
            };
            Ok(Some((bytes[1], bytes[9], (address(12), address(16)), body)))
        }
        (Some(6), 40..) => {
            let body = bytes
                .get(40..40 + half(4))
                .ok_or("an IPv6 packet that is cut off")?;
            let address = |at: usize| {
                let mut octets = [0; 16];
                octets.copy_from_slice(&bytes[at..at + 16]);
                Ipv6Addr::from(octets).into()
            };
            let tos = (bytes[0] << 4) | (bytes[1] >> 4);
            Ok(Some((tos, bytes[6], (address(8), address(24)), body)))
        }
        _ => Ok(None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wire::{flag, Segment};

    fn segment(len: u32) -> Datagram {
        let segment = Segment {
            tos: 0,
            ports: (40_000, 8080),
            seq: 1,
            ack: 2,
            flags: flag::ACK,
            win: 257,
            urg: 0,
            options: Vec::new(),
            len,
        };
        Datagram::Tcp {
            tos: 2,
            header: segment.header(),
            payload: len,
            gso_size: 0,
        }
    }

    /// The same connection, seen from the other side.
    fn turned(addresses: Addresses) -> Addresses {
        Addresses {
            local: addresses.remote,
            remote: addresses.local,
            ..addresses
        }
    }

    #[test]
    fn decode__is_what_encode_makes() {
        for version in IpVersion::ALL {
            for len in [0, 1, 1000] {
                let addresses = Addresses::new(version);
                let bytes = encode(&addresses, &segment(len));
                let seen = decode(&turned(addresses), &bytes, false);
                let Ok(Some(Datagram::Tcp {
                    tos,
                    header,
                    payload,
                    ..
                })) = seen
                else {
                    panic!("{seen:?}");
                };
                assert_eq!((tos, header.len(), payload), (2, 20, len));
                // It is from the other side.
                assert_eq!(decode(&addresses, &bytes, false), Ok(None));
            }
        }
    }

    #[test]
    fn decode__a_wrong_checksum_is_told() {
        let addresses = Addresses::new(IpVersion::V6);
        let mut bytes = encode(&addresses, &segment(8));
        *bytes.last_mut().unwrap() ^= 1;
        assert!(decode(&turned(addresses), &bytes, false).is_err());
        assert!(matches!(
            decode(&turned(addresses), &bytes, true),
            Ok(Some(_))
        ));
        assert!(decode(&turned(addresses), &bytes[..50], true).is_err());
        assert_eq!(decode(&addresses, &[0x20; 60], false), Ok(None));
    }

    #[test]
    fn encode__a_known_packet() {
        // A SYN-ACK's ICMP error, with the checksums that tcpdump calls correct.
        let addresses = Addresses::new(IpVersion::V4);
        let Datagram::Tcp { header, .. } = segment(0) else {
            panic!();
        };
        let error = Datagram::Icmp {
            error: IcmpError::TooBig(1400),
            quoted: header,
        };
        let bytes = encode(&addresses, &error);
        assert_eq!(bytes.len(), 20 + 8 + 20 + 8);
        assert_eq!(&bytes[20..22], &[3, 4]);
        assert_eq!(&bytes[26..28], &1400u16.to_be_bytes());
        assert_eq!(fold(sum(&bytes[..20])), 0xffff);
        assert_eq!(fold(sum(&bytes[20..])), 0xffff);
        assert_eq!(&bytes[40..44], &[192, 168, 0, 1]);
        assert_eq!(&bytes[44..48], &[192, 0, 2, 1]);
    }

    #[test]
    fn addresses__in_sockets() {
        let text = |version| Addresses::new(version).remote_socket(8080).to_string();
        assert_eq!(text(IpVersion::V4), "192.0.2.1:8080");
        assert_eq!(text(IpVersion::V6), "[fd3d:fa7b:d17d::1]:8080");
        assert_eq!(text(IpVersion::Mapped), "[::ffff:192.0.2.1]:8080");
    }
}
