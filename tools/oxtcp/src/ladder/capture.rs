// SPDX-License-Identifier: GPL-2.0
//! Reading capture files, pcap and pcapng, packet by packet.

use std::io::{self, Read};

use pcap_parser::traits::PcapNGPacketBlock;
use pcap_parser::{create_reader, Block, Linktype, PcapBlockOwned, PcapError};

/// A packet as it stands in the file.
pub struct Packet<'a> {
    /// Nanoseconds since the Unix epoch.
    pub time: u64,
    /// What `data` begins with.
    pub link: Linktype,
    /// As much of the packet as was captured.
    pub data: &'a [u8],
}

/// Hands every packet of the file to `each`, in the file's order.
pub fn read(source: impl Read + Send, mut each: impl FnMut(Packet<'_>)) -> Result<(), Error> {
    let mut reader = create_reader(BUFFER, source).map_err(Error::from)?;
    let mut interfaces: Vec<Interface> = Vec::new();
    loop {
        match reader.next() {
            Ok((length, block)) => {
                match &block {
                    PcapBlockOwned::LegacyHeader(header) => interfaces.push(Interface {
                        link: header.network,
                        resolution: if header.is_nanosecond_precision() {
                            1_000_000_000
                        } else {
                            1_000_000
                        },
                        offset: 0,
                    }),
                    PcapBlockOwned::Legacy(packet) => {
                        if let Some(interface) = interfaces.first() {
                            let fraction = u64::from(packet.ts_usec);
                            each(Packet {
                                time: interface.nanoseconds(packet.ts_sec.into(), fraction),
                                link: interface.link,
                                data: packet.data,
                            });
                        }
                    }
                    // A file may hold several sections, each with interfaces of its own.
                    PcapBlockOwned::NG(Block::SectionHeader(_)) => interfaces.clear(),
                    PcapBlockOwned::NG(Block::InterfaceDescription(description)) => {
                        interfaces.push(Interface {
                            link: description.linktype,
                            resolution: description.ts_resolution().unwrap_or(1_000_000),
                            offset: description.ts_offset(),
                        });
                    }
                    PcapBlockOwned::NG(Block::EnhancedPacket(packet)) => {
                        if let Some(interface) = interfaces.get(packet.if_id as usize) {
                            let units =
                                (u64::from(packet.ts_high) << 32) | u64::from(packet.ts_low);
                            let resolution = interface.resolution.max(1);
                            each(Packet {
                                time: interface.nanoseconds(units / resolution, units % resolution),
                                link: interface.link,
                                data: packet.packet_data(),
                            });
                        }
                    }
                    PcapBlockOwned::NG(_) => {}
                }
                reader.consume(length);
            }
            Err(PcapError::Eof) => return Ok(()),
            Err(PcapError::Incomplete(_)) => reader.refill().map_err(Error::from)?,
            Err(error) => return Err(error.into()),
        }
    }
}

/// Holds the largest packet that tcpdump writes (262144 bytes, its snapshot length).
const BUFFER: usize = 512 * 1024;

struct Interface {
    link: Linktype,
    /// Units per second.
    resolution: u64,
    /// Seconds.
    offset: i64,
}

impl Interface {
    fn nanoseconds(&self, seconds: u64, units: u64) -> u64 {
        let fraction = u128::from(units) * 1_000_000_000 / u128::from(self.resolution.max(1));
        seconds
            .saturating_add_signed(self.offset)
            .saturating_mul(1_000_000_000)
            .saturating_add(u64::try_from(fraction).unwrap_or(0))
    }
}

/// Why a file could not be read to its end.
#[derive(Debug)]
pub enum Error {
    /// The system's reason.
    Io(io::Error),
    /// It is not, or not any longer, in a format of captures.
    Format(String),
}

impl<I: std::fmt::Debug> From<PcapError<I>> for Error {
    fn from(error: PcapError<I>) -> Error {
        match error {
            PcapError::ReadError => Error::Io(io::Error::other("the file cannot be read")),
            PcapError::HeaderNotRecognized => {
                Error::Format("the first bytes are of neither".into())
            }
            PcapError::UnexpectedEof | PcapError::Eof => Error::Format("it ends too early".into()),
            PcapError::BufferTooSmall => {
                Error::Format("it has a packet of more than 512 KB".into())
            }
            PcapError::NomError(..) | PcapError::OwnedNomError(..) => {
                Error::Format("it has a malformed block".into())
            }
            PcapError::Incomplete(_) => Error::Format("it ends within a packet".into()),
        }
    }
}
