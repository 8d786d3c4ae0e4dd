// SPDX-License-Identifier: GPL-2.0

//! Segments as bytes: what goes to and comes from a back end.

use crate::script::{OptionSpec, TcpSpec};

/// What travels between the runner and a back end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Datagram {
    /// A segment.
    Tcp {
        /// The octet with the ECN field.
        tos: u8,
        /// The TCP header with its options.
        header: Vec<u8>,
        /// Bytes of payload. They are all zero.
        payload: u32,
        /// For an inbound packet that stands for several segments: the payload of each; 0 for one segment.
        gso_size: u16,
    },
    /// An ICMP error about one of our packets.
    Icmp {
        /// What it says.
        error: IcmpError,
        /// The first octets of the TCP header that it quotes.
        quoted: Vec<u8>,
    },
}

/// What an ICMP error says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IcmpError {
    /// Network unreachable.
    Net,
    /// Host unreachable.
    Host,
    /// Port unreachable.
    Port,
    /// Fragmentation needed, or packet too big.
    TooBig(u32),
}

/// A TCP header, taken apart without judging it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Segment {
    /// The octet with the ECN field.
    pub tos: u8,
    /// The ports.
    pub ports: (u16, u16),
    /// The sequence number.
    pub seq: u32,
    /// The acknowledgment.
    pub ack: u32,
    /// The control bits; 0x100 is AE, above it the reserved ones.
    pub flags: u16,
    /// The window field.
    pub win: u16,
    /// The urgent pointer.
    pub urg: u16,
    /// The options in their order.
    pub options: Vec<RawOption>,
    /// Bytes of payload.
    pub len: u32,
}

/// An option's kind and what stands behind its length; padding has nothing there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RawOption {
    /// The kind.
    pub kind: u8,
    /// The value.
    pub data: Vec<u8>,
}

const EOL: u8 = 0;
const NOP: u8 = 1;
const SACK: u8 = 5;
const TIMESTAMPS: u8 = 8;

/// The control bits.
pub mod flag {
    #![allow(missing_docs)]
    pub const FIN: u16 = 0x001;
    pub const SYN: u16 = 0x002;
    pub const RST: u16 = 0x004;
    pub const PSH: u16 = 0x008;
    pub const ACK: u16 = 0x010;
    pub const URG: u16 = 0x020;
    pub const ECE: u16 = 0x040;
    pub const CWR: u16 = 0x080;
    pub const AE: u16 = 0x100;
}

impl Segment {
    /// Takes a header apart.
    ///
    /// # Errors
    ///
    /// Says what is wrong with bytes that are no TCP header.
    pub fn parse(tos: u8, header: &[u8], len: u32) -> Result<Segment, String> {
        let word = |at: usize| {
            u32::from_be_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
        };
        let half = |at: usize| u16::from_be_bytes([header[at], header[at + 1]]);
        if header.len() < 20 || usize::from(header[12] >> 4) * 4 != header.len() {
            return Err(format!("a TCP header of {} bytes", header.len()));
        }
        Ok(Segment {
            tos,
            ports: (half(0), half(2)),
            seq: word(4),
            ack: word(8),
            flags: half(12) & 0xfff,
            win: half(14),
            urg: half(18),
            options: parse_options(&header[20..])?,
            len,
        })
    }

    /// The header's bytes, with a checksum of zero.
    pub fn header(&self) -> Vec<u8> {
        let mut options = Vec::new();
        for option in &self.options {
            options.push(option.kind);
            if option.kind > NOP {
                options.push(option.data.len() as u8 + 2);
                options.extend_from_slice(&option.data);
            }
        }
        while options.len() % 4 != 0 {
            options.push(EOL);
        }
        let mut header = Vec::with_capacity(20 + options.len());
        header.extend_from_slice(&self.ports.0.to_be_bytes());
        header.extend_from_slice(&self.ports.1.to_be_bytes());
        header.extend_from_slice(&self.seq.to_be_bytes());
        header.extend_from_slice(&self.ack.to_be_bytes());
        let words = (5 + options.len() / 4) as u16;
        header.extend_from_slice(&((words << 12) | (self.flags & 0xfff)).to_be_bytes());
        header.extend_from_slice(&self.win.to_be_bytes());
        header.extend_from_slice(&[0, 0]);
        header.extend_from_slice(&self.urg.to_be_bytes());
        header.extend_from_slice(&options);
        header
    }

    /// Whether a control bit is set.
    pub fn has(&self, flag: u16) -> bool {
        self.flags & flag != 0
    }

    /// TSval and TSecr.
    pub fn timestamps(&self) -> Option<(u32, u32)> {
        let option = self.options.iter().find(|o| o.kind == TIMESTAMPS)?;
        let (val, ecr) = option.data.split_first_chunk::<4>()?;
        Some((
            u32::from_be_bytes(*val),
            u32::from_be_bytes(ecr.try_into().ok()?),
        ))
    }

    /// Replaces TSval and TSecr where there are any.
    pub fn set_timestamps(&mut self, val: u32, ecr: u32) {
        for option in self.options.iter_mut().filter(|o| o.kind == TIMESTAMPS) {
            option.data = [val.to_be_bytes(), ecr.to_be_bytes()].concat();
        }
    }

    /// Moves the blocks of a SACK option by `offset`.
    pub fn shift_sack(&mut self, offset: u32) {
        for option in self.options.iter_mut().filter(|o| o.kind == SACK) {
            for edge in option.data.chunks_exact_mut(4) {
                let number = u32::from_be_bytes([edge[0], edge[1], edge[2], edge[3]]);
                edge.copy_from_slice(&number.wrapping_add(offset).to_be_bytes());
            }
        }
    }
}

fn parse_options(mut bytes: &[u8]) -> Result<Vec<RawOption>, String> {
    let mut options = Vec::new();
    while let Some((&kind, rest)) = bytes.split_first() {
        if kind <= NOP {
            options.push(RawOption {
                kind,
                data: Vec::new(),
            });
            bytes = rest;
            continue;
        }
        let len = usize::from(*rest.first().unwrap_or(&0));
        if len < 2 || len > bytes.len() {
            return Err(format!("the option {kind} with a length of {len}"));
        }
        options.push(RawOption {
            kind,
            data: bytes[2..len].to_vec(),
        });
        bytes = &bytes[len..];
    }
    Ok(options)
}

impl OptionSpec {
    /// The option's kind and value.
    pub fn raw(&self) -> RawOption {
        let (kind, data) = match self {
            OptionSpec::Eol => (EOL, Vec::new()),
            OptionSpec::Nop => (NOP, Vec::new()),
            OptionSpec::Mss(mss) => (2, mss.to_be_bytes().to_vec()),
            OptionSpec::WindowScale(scale) => (3, vec![*scale]),
            OptionSpec::SackPermitted => (4, Vec::new()),
            OptionSpec::Sack(blocks) => {
                let edges = blocks
                    .iter()
                    .flat_map(|(a, b)| [a.to_be_bytes(), b.to_be_bytes()]);
                (SACK, edges.flatten().collect())
            }
            OptionSpec::Timestamps { val, ecr } => {
                (TIMESTAMPS, [val.to_be_bytes(), ecr.to_be_bytes()].concat())
            }
            OptionSpec::Raw { kind, data, .. } => (*kind, data.clone()),
        };
        RawOption { kind, data }
    }
}

impl TcpSpec {
    /// The segment that a script states, in the script's own numbers.
    pub fn segment(&self) -> Segment {
        let options = self.options.iter().flatten();
        Segment {
            tos: 0,
            ports: (0, 0),
            seq: self.seq,
            ack: self.ack.unwrap_or(0),
            flags: self.flags,
            win: self.win.unwrap_or(0),
            urg: self.urg.unwrap_or(0),
            options: options.map(OptionSpec::raw).collect(),
            len: self.len,
        }
    }
}

/// A segment as scripts write it.
impl std::fmt::Display for Segment {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.tos & 3 {
            1 => write!(f, "[ect1] ")?,
            2 => write!(f, "[ect0] ")?,
            3 => write!(f, "[ce] ")?,
            _ => {}
        }
        let letters = [
            (flag::SYN, 'S'),
            (flag::FIN, 'F'),
            (flag::RST, 'R'),
            (flag::PSH, 'P'),
            (flag::URG, 'U'),
            (flag::ECE, 'E'),
            (flag::CWR, 'W'),
            (flag::AE, 'A'),
            (flag::ACK, '.'),
        ];
        if letters.iter().all(|(bit, _)| !self.has(*bit)) {
            write!(f, "-")?;
        }
        for (_, letter) in letters.iter().filter(|(bit, _)| self.has(*bit)) {
            write!(f, "{letter}")?;
        }
        let end = self.seq.wrapping_add(self.len);
        write!(f, " {}:{}({})", self.seq, end, self.len)?;
        if self.has(flag::ACK) {
            write!(f, " ack {}", self.ack)?;
        }
        write!(f, " win {}", self.win)?;
        if self.has(flag::URG) {
            write!(f, " urg {}", self.urg)?;
        }
        if !self.options.is_empty() {
            let options: Vec<String> = self.options.iter().map(RawOption::to_string).collect();
            write!(f, " <{}>", options.join(","))?;
        }
        Ok(())
    }
}

impl std::fmt::Display for RawOption {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let words = |data: &[u8]| -> Vec<u32> {
            let word = |c: &[u8]| c.iter().fold(0, |sum, b| (sum << 8) | u32::from(*b));
            data.chunks(4).map(word).collect()
        };
        match (self.kind, &self.data[..]) {
            (EOL, _) => write!(f, "eol"),
            (NOP, _) => write!(f, "nop"),
            (2, [a, b]) => write!(f, "mss {}", u16::from_be_bytes([*a, *b])),
            (3, [scale]) => write!(f, "wscale {scale}"),
            (4, []) => write!(f, "sackOK"),
            (SACK, data) => {
                write!(f, "sack")?;
                for block in words(data).chunks(2) {
                    write!(f, " {}:{}", block[0], block.last().unwrap_or(&0))?;
                }
                Ok(())
            }
            (TIMESTAMPS, data) if data.len() == 8 => {
                let words = words(data);
                write!(f, "TS val {} ecr {}", words[0], words[1])
            }
            (kind, data) => {
                write!(f, "option {kind} ")?;
                data.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
            }
        }
    }
}
