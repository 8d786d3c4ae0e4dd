// SPDX-License-Identifier: GPL-2.0
//! A trace as a capture file, for Wireshark: pcapng (draft-ietf-opsawg-pcapng), an interface for each network namespace and direction.
//!
//! What was traced are TCP headers. IP headers and those of Linux's cooked captures are made for them, and the payload counts as cut off. A burst that devices cut
//! is one packet, as captures on the host have it. Checksums are not: the host leaves TCP's to the device.

use std::io::{self, Write};
use std::net::{IpAddr, SocketAddr};

use super::event::{Clock, Direction, Event, Segment, What};

/// A file that grows by events.
pub struct Writer<W> {
    out: W,
    clock: Clock,
    /// In the order of their descriptions in the file.
    interfaces: Vec<(u32, Direction)>,
}

impl<W: Write> Writer<W> {
    /// Begins the file. `clock` makes dates of the events' times.
    pub fn new(mut out: W, clock: Clock) -> io::Result<Self> {
        let mut body = Vec::new();
        body.extend(0x1a2b_3c4d_u32.to_le_bytes());
        // Version 1.0, and a section whose length is not told.
        body.extend([1, 0, 0, 0]);
        body.extend(u64::MAX.to_le_bytes());
        option(
            &mut body,
            SHB_USERAPPL,
            concat!("oxtcp ", env!("CARGO_PKG_VERSION")).as_bytes(),
        );
        option(&mut body, END_OF_OPTIONS, &[]);
        block(&mut out, SECTION_HEADER, &body)?;
        Ok(Self {
            out,
            clock,
            interfaces: Vec::new(),
        })
    }

    /// Adds a segment; other events are no packets.
    pub fn event(&mut self, event: &Event) -> io::Result<()> {
        let What::Segment(segment) = &event.what else {
            return Ok(());
        };
        let Some(packet) = packet(event, segment) else {
            return Ok(());
        };
        let interface = self.interface(event.netns, segment.direction)?;
        let time = self.clock.unix(event.time);
        let mut body = Vec::new();
        body.extend(interface.to_le_bytes());
        body.extend(((time >> 32) as u32).to_le_bytes());
        body.extend((time as u32).to_le_bytes());
        let captured = packet.len() as u32;
        body.extend(captured.to_le_bytes());
        body.extend(captured.saturating_add(segment.payload).to_le_bytes());
        padded(&mut body, &packet);
        let comment = segment.cause.label();
        if !comment.is_empty() {
            option(&mut body, COMMENT, comment.as_bytes());
        }
        let direction: u32 = match segment.direction {
            Direction::In => 1,
            Direction::Out => 2,
        };
        option(&mut body, EPB_FLAGS, &direction.to_le_bytes());
        option(&mut body, END_OF_OPTIONS, &[]);
        block(&mut self.out, ENHANCED_PACKET, &body)
    }

    /// Ends the file, and gives back what it was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.out.flush()?;
        Ok(self.out)
    }

    /// The interface's number; one that is new is described first.
    fn interface(&mut self, netns: u32, direction: Direction) -> io::Result<u32> {
        let known = self
            .interfaces
            .iter()
            .position(|known| *known == (netns, direction));
        if let Some(number) = known {
            return Ok(number as u32);
        }
        let mut body = Vec::new();
        body.extend(LINKTYPE_LINUX_SLL2.to_le_bytes());
        // Reserved, and no bound of the length.
        body.extend([0; 6]);
        let (word, sense) = match direction {
            Direction::In => ("in", "received by"),
            Direction::Out => ("out", "sent by"),
        };
        option(
            &mut body,
            IF_NAME,
            format!("netns {netns} {word}").as_bytes(),
        );
        option(
            &mut body,
            IF_DESCRIPTION,
            format!("segments {sense} oxtcp in the network namespace {netns}").as_bytes(),
        );
        // 10 to the power of -9 seconds.
        option(&mut body, IF_TSRESOL, &[9]);
        option(&mut body, END_OF_OPTIONS, &[]);
        block(&mut self.out, INTERFACE_DESCRIPTION, &body)?;
        self.interfaces.push((netns, direction));
        Ok(self.interfaces.len() as u32 - 1)
    }
}

/// The cooked header, the IP header and the TCP header; `None` for addresses of two IP versions.
fn packet(event: &Event, segment: &Segment) -> Option<Vec<u8>> {
    let (from, to): (SocketAddr, SocketAddr) = match segment.direction {
        Direction::Out => (event.local, event.remote),
        Direction::In => (event.remote, event.local),
    };
    let tcp = &segment.header.0;
    let len = tcp.len() + segment.payload as usize;
    // What does not fit is a burst, of which the kernel's headers say 0, and readers know that.
    let field = |len: usize| u16::try_from(len).unwrap_or(0).to_be_bytes();
    let mut packet = Vec::with_capacity(COOKED + 40 + tcp.len());
    let (kind, protocol): (u8, u16) = match (segment.direction, from.is_ipv4()) {
        (Direction::In, true) => (0, 0x0800),
        (Direction::In, false) => (0, 0x86dd),
        (Direction::Out, true) => (4, 0x0800),
        (Direction::Out, false) => (4, 0x86dd),
    };
    packet.extend(protocol.to_be_bytes());
    // Reserved, and no index of an interface.
    packet.extend([0; 6]);
    packet.extend(ARPHRD_NONE.to_be_bytes());
    // No address, of length 0.
    packet.extend([kind, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            packet.extend([0x45, segment.ecn & 3]);
            packet.extend(field(20 + len));
            // Identification 0, don't fragment; a hop limit as most hosts have it.
            packet.extend([0, 0, 0x40, 0, HOPS, TCP, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
            let header = &mut packet[COOKED..];
            let sum = checksum(header);
            header[10..12].copy_from_slice(&sum.to_be_bytes());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            packet.extend([0x60, (segment.ecn & 3) << 4, 0, 0]);
            packet.extend(field(len));
            packet.extend([TCP, HOPS]);
            packet.extend(from.octets());
            packet.extend(to.octets());
        }
        _ => return None,
    }
    packet.extend(tcp);
    Some(packet)
}

/// Of an IPv4 header whose field for it is 0 (RFC 1071).
fn checksum(header: &[u8]) -> u16 {
    let mut sum: u32 = header
        .chunks(2)
        .map(|pair| (u32::from(pair[0]) << 8) | u32::from(*pair.get(1).unwrap_or(&0)))
        .sum();
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

fn block(out: &mut impl Write, kind: u32, body: &[u8]) -> io::Result<()> {
    let len = (body.len() as u32 + 12).to_le_bytes();
    out.write_all(&kind.to_le_bytes())?;
    out.write_all(&len)?;
    out.write_all(body)?;
    out.write_all(&len)
}

fn option(body: &mut Vec<u8>, code: u16, value: &[u8]) {
    body.extend(code.to_le_bytes());
    body.extend((value.len() as u16).to_le_bytes());
    padded(body, value);
}

fn padded(body: &mut Vec<u8>, value: &[u8]) {
    body.extend(value);
    body.resize(body.len().next_multiple_of(4), 0);
}

const SECTION_HEADER: u32 = 0x0a0d_0d0a;
const INTERFACE_DESCRIPTION: u32 = 1;
const ENHANCED_PACKET: u32 = 6;
const END_OF_OPTIONS: u16 = 0;
const COMMENT: u16 = 1;
const SHB_USERAPPL: u16 = 4;
const IF_NAME: u16 = 2;
const IF_DESCRIPTION: u16 = 3;
const IF_TSRESOL: u16 = 9;
const EPB_FLAGS: u16 = 2;
/// Packets begin with the header of "cooked" captures, which says whether they came or left. It is one for both IP versions; libpcap
/// refuses files of several interfaces with LINKTYPE_RAW, which it has two numbers for.
const LINKTYPE_LINUX_SLL2: u16 = 276;
const COOKED: usize = 20;
/// No hardware.
const ARPHRD_NONE: u16 = 0xfffe;
const TCP: u8 = 6;
const HOPS: u8 = 64;

#[cfg(test)]
mod tests {
    use pcap_parser::traits::PcapNGPacketBlock;
    use pcap_parser::{parse_pcapng, Block, Linktype, PcapNGOption};

    use super::super::event::Cause;
    use super::super::made::Story;
    use super::*;

    /// The blocks of a file, as another's reader has them.
    fn blocks(mut file: &[u8], mut each: impl FnMut(&Block)) {
        while !file.is_empty() {
            let (rest, block) = pcap_parser::parse_block_le(file).expect("a block");
            each(&block);
            file = rest;
        }
    }

    fn written(story: &Story) -> Vec<u8> {
        let clock = Clock {
            offset: 1_700_000_000_123_456_789,
        };
        let mut writer = Writer::new(Vec::new(), clock).unwrap();
        for event in story.events() {
            writer.event(event).unwrap();
        }
        writer.finish().unwrap()
    }

    fn comment(options: &[PcapNGOption]) -> Option<String> {
        let comment = options.iter().find(|option| option.code.0 == COMMENT)?;
        let len = usize::from(comment.len);
        Some(String::from_utf8_lossy(&comment.value[..len]).into_owned())
    }

    #[test]
    fn packets_are_as_another_reader_has_them() {
        let mut story = Story::v4();
        story.open().data(5000).lose_and_repair(1448);
        let file = written(&story);
        assert!(parse_pcapng(&file).is_ok());
        let (mut names, mut comments, mut packets) = (Vec::new(), Vec::new(), 0);
        blocks(&file, |block| match block {
            Block::InterfaceDescription(interface) => {
                assert_eq!(interface.linktype, Linktype(276));
                assert_eq!(interface.ts_resolution(), Some(1_000_000_000));
                let name = interface
                    .options
                    .iter()
                    .find(|option| option.code.0 == IF_NAME);
                let name = name.unwrap();
                names.push(
                    String::from_utf8_lossy(&name.value[..usize::from(name.len)]).into_owned(),
                );
            }
            Block::EnhancedPacket(packet) => {
                assert_eq!(packet.packet_data().len(), packet.caplen as usize);
                let data = &packet.packet_data()[COOKED..];
                // IPv4's total length is the original one, and its checksum right.
                let total = u32::from(u16::from_be_bytes([data[2], data[3]]));
                assert_eq!(total + COOKED as u32, packet.origlen);
                assert_eq!(checksum(&data[..20]), 0);
                let time = (u64::from(packet.ts_high) << 32) | u64::from(packet.ts_low);
                assert!(time > 1_700_000_000_123_456_789);
                comments.extend(comment(&packet.options));
                packets += 1;
            }
            _ => {}
        });
        let segments = story
            .events()
            .iter()
            .filter(|event| matches!(event.what, What::Segment(_)));
        assert_eq!(packets, segments.count());
        assert_eq!(
            names,
            ["netns 1 out", "netns 2 in", "netns 2 out", "netns 1 in"]
        );
        assert!(
            comments.contains(&Cause::FastRetransmit.label().to_string()),
            "{comments:?}"
        );
    }

    /// What this writes, `oxtcp ladder` reads.
    #[test]
    fn ladder_reads_it() {
        for mut story in [Story::v4(), Story::v6()] {
            story.open().data(1000).close();
            let mut payload = 0;
            let mut flags = Vec::new();
            crate::ladder::capture::read(&written(&story)[..], |packet| {
                let segment = crate::ladder::segment::parse(packet).expect("a segment");
                payload += segment.payload;
                flags.push(segment.flags.names());
            })
            .unwrap();
            assert_eq!(payload, 2 * 1000);
            assert_eq!(flags[..3], ["SYN", "SYN", "SYN,ACK"]);
        }
    }

    #[test]
    fn bursts_have_no_length() {
        let mut story = Story::v4();
        story.open().data(70_000);
        let mut longest = 0;
        blocks(&written(&story), |block| {
            if let Block::EnhancedPacket(packet) = block {
                if packet.origlen > 65_535 {
                    assert_eq!(packet.packet_data()[COOKED + 2..COOKED + 4], [0, 0]);
                    longest = longest.max(packet.origlen);
                }
            }
        });
        assert_eq!(longest, COOKED as u32 + 20 + 32 + 70_000);
    }
}
