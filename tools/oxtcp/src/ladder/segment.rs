// SPDX-License-Identifier: GPL-2.0
//! From a captured packet to a TCP segment.

use std::net::{IpAddr, SocketAddr};

use etherparse::{
    EtherType, LaxNetSlice, LaxSlicedPacket, TcpOptionElement, TcpSlice, TransportSlice,
};
use pcap_parser::Linktype;

use super::capture::Packet;

/// A TCP segment, as far as a ladder shows it.
#[derive(Clone, Debug)]
pub struct Segment {
    /// Nanoseconds since the Unix epoch.
    pub time: u64,
    pub source: SocketAddr,
    pub destination: SocketAddr,
    pub seq: u32,
    pub ack: u32,
    pub flags: Flags,
    /// As in the header, not scaled.
    pub window: u16,
    /// Bytes of payload on the wire, of which the capture may hold fewer.
    pub payload: u32,
    pub options: Options,
}

/// The control bits, in the header's order.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Flags(u8);

impl Flags {
    pub const FIN: Flags = Flags(1);
    pub const SYN: Flags = Flags(2);
    pub const RST: Flags = Flags(4);
    pub const ACK: Flags = Flags(16);

    const NAMES: [&'static str; 8] = ["FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"];

    pub fn has(self, flag: Flags) -> bool {
        self.0 & flag.0 != 0
    }

    /// Names joined by commas; those that move the state machine first.
    pub fn names(self) -> String {
        let mut names: Vec<&str> = (0..8)
            .filter(|bit| self.0 & (1 << bit) != 0)
            .map(|bit| Self::NAMES[bit])
            .collect();
        names.sort_by_key(|name| !matches!(*name, "SYN" | "FIN" | "RST"));
        names.join(",")
    }
}

impl std::ops::BitOr for Flags {
    type Output = Flags;
    fn bitor(self, other: Flags) -> Flags {
        Flags(self.0 | other.0)
    }
}

/// The options that a ladder shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Options {
    pub mss: Option<u16>,
    pub window_scale: Option<u8>,
    pub sack_permitted: bool,
    /// Value and echo reply.
    pub timestamps: Option<(u32, u32)>,
    /// Left and right edges.
    pub sack: Vec<(u32, u32)>,
}

/// The TCP segment in a packet, or `None` where it is something else, a later fragment, or cut off
/// before the end of the TCP header.
pub fn parse(packet: Packet<'_>) -> Option<Segment> {
    let sliced = slice(packet.link, packet.data)?;
    let Some(TransportSlice::Tcp(tcp)) = &sliced.transport else {
        return None;
    };
    let net = sliced.net.as_ref()?;
    let (source, destination): (IpAddr, IpAddr) = match net {
        LaxNetSlice::Ipv4(ip) => (
            ip.header().source_addr().into(),
            ip.header().destination_addr().into(),
        ),
        LaxNetSlice::Ipv6(ip) => (
            ip.header().source_addr().into(),
            ip.header().destination_addr().into(),
        ),
        LaxNetSlice::Arp(_) => return None,
    };
    Some(Segment {
        time: packet.time,
        source: SocketAddr::new(source, tcp.source_port()),
        destination: SocketAddr::new(destination, tcp.destination_port()),
        seq: tcp.sequence_number(),
        ack: tcp.acknowledgment_number(),
        flags: Flags(tcp.header_slice()[13]),
        window: tcp.window_size(),
        payload: payload(net, tcp),
        options: options(tcp),
    })
}

/// The segment with this header, which a trace has, between a source and a destination; `None` where it is no header.
pub fn of_header(
    time: u64,
    (source, destination): (SocketAddr, SocketAddr),
    header: &[u8],
    payload: u32,
) -> Option<Segment> {
    let tcp = TcpSlice::from_slice(header).ok()?;
    Some(Segment {
        time,
        source,
        destination,
        seq: tcp.sequence_number(),
        ack: tcp.acknowledgment_number(),
        flags: Flags(tcp.header_slice()[13]),
        window: tcp.window_size(),
        payload,
        options: options(&tcp),
    })
}

fn slice(link: Linktype, data: &[u8]) -> Option<LaxSlicedPacket<'_>> {
    match link {
        Linktype::ETHERNET => LaxSlicedPacket::from_ethernet(data).ok(),
        Linktype::RAW | Linktype::IPV4 | Linktype::IPV6 => LaxSlicedPacket::from_ip(data).ok(),
        Linktype::NULL => LaxSlicedPacket::from_ip(data.get(4..)?).ok(),
        // The `any` device: a header of 16 bytes that ends with the protocol, or (version 2) one of 20
        // that begins with it.
        Linktype::LINUX_SLL => from_protocol(data.get(14..16)?, data.get(16..)?),
        LINUX_SLL2 => from_protocol(data.get(..2)?, data.get(20..)?),
        _ => None,
    }
}

fn from_protocol<'a>(protocol: &[u8], data: &'a [u8]) -> Option<LaxSlicedPacket<'a>> {
    let number = u16::from_be_bytes(protocol.try_into().ok()?);
    Some(LaxSlicedPacket::from_ether_type(EtherType(number), data))
}

/// `LINKTYPE_LINUX_SLL2`, what `tcpdump -i any` writes today.
const LINUX_SLL2: Linktype = Linktype(276);

/// The payload's length by the IP header, since a capture may be cut (tcpdump -s). A GSO packet of more
/// than 64 KB has no length there; then what was captured counts.
fn payload(net: &LaxNetSlice<'_>, tcp: &TcpSlice<'_>) -> u32 {
    let header = tcp.header_slice().len();
    let said = match net {
        LaxNetSlice::Ipv4(ip) => usize::from(ip.header().total_len())
            .checked_sub(usize::from(ip.header().ihl()) * 4 + header),
        LaxNetSlice::Ipv6(ip) => usize::from(ip.header().payload_length())
            .checked_sub(ip.extensions().slice().len() + header),
        LaxNetSlice::Arp(_) => None,
    };
    u32::try_from(said.unwrap_or(tcp.payload().len())).unwrap_or(u32::MAX)
}

fn options(tcp: &TcpSlice<'_>) -> Options {
    let mut options = Options::default();
    // The iterator ends at the first malformed option, as RFC 9293 asks of a receiver.
    for option in tcp.options_iterator().map_while(Result::ok) {
        match option {
            TcpOptionElement::Noop => {}
            TcpOptionElement::MaximumSegmentSize(mss) => options.mss = Some(mss),
            TcpOptionElement::WindowScale(shift) => options.window_scale = Some(shift),
            TcpOptionElement::SelectiveAcknowledgementPermitted => options.sack_permitted = true,
            TcpOptionElement::SelectiveAcknowledgement(first, rest) => {
                options.sack.push(first);
                options.sack.extend(rest.into_iter().flatten());
            }
            TcpOptionElement::Timestamp(value, echo) => options.timestamps = Some((value, echo)),
        }
    }
    options
}
