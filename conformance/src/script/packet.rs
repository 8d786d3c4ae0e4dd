// SPDX-License-Identifier: GPL-2.0

//! Packets as scripts state them.

use super::cursor::Cursor;
use super::symbols::Defines;
use super::ParseError;

/// A packet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PacketSpec {
    /// What is said of the IP header.
    pub ip: IpSpec,
    /// `a > b`: the ports, where stated.
    pub ports: Option<(u16, u16)>,
    /// What it carries.
    pub body: PacketBody,
}

/// What a packet carries.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PacketBody {
    /// A segment.
    Tcp(TcpSpec),
    /// An ICMP error.
    Icmp(IcmpSpec),
}

/// What is said of the IP header, in `[...]`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct IpSpec {
    /// The ECN field.
    pub ecn: Option<Ecn>,
    /// The whole octet.
    pub tos: Option<u8>,
}

/// The ECN field (RFC 3168 section 5).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ecn {
    /// `noecn`
    NotEct,
    /// `ect0`
    Ect0,
    /// `ect1`
    Ect1,
    /// `ce`
    Ce,
    /// `ect01`: one of the two; for outbound packets.
    Ect01,
}

impl Ecn {
    /// The two bits.
    pub fn bits(self) -> u8 {
        match self {
            Ecn::NotEct => 0,
            Ecn::Ect1 => 1,
            Ecn::Ect0 | Ecn::Ect01 => 2,
            Ecn::Ce => 3,
        }
    }

    /// Whether the field is `bits`.
    pub fn matches(self, bits: u8) -> bool {
        match self {
            Ecn::Ect01 => bits == 1 || bits == 2,
            _ => bits == self.bits(),
        }
    }
}

/// How the three bits AE, CWR and ECE are stated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ace {
    /// As flags.
    Flags,
    /// As a digit: the counter of RFC 9768.
    Counter,
}

/// A segment. Numbers are relative to the initial sequence numbers, but in a SYN.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TcpSpec {
    /// The control bits; 0x100 is AE (RFC 9768).
    pub flags: u16,
    /// Whether AE, CWR and ECE were stated as a counter.
    pub ace: Ace,
    /// The first sequence number.
    pub seq: u32,
    /// Bytes of payload.
    pub len: u32,
    /// The acknowledgment, where stated.
    pub ack: Option<u32>,
    /// The window field, where stated.
    pub win: Option<u16>,
    /// The urgent pointer, where stated.
    pub urg: Option<u16>,
    /// The options in their order; `None` for `<...>`.
    pub options: Option<Vec<OptionSpec>>,
}

/// A TCP option.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionSpec {
    /// `nop`
    Nop,
    /// `eol`
    Eol,
    /// `mss N`
    Mss(u16),
    /// `wscale N`
    WindowScale(u8),
    /// `sackOK`
    SackPermitted,
    /// `sack a:b c:d`
    Sack(Vec<(u32, u32)>),
    /// `TS val N ecr N`
    Timestamps {
        /// TSval.
        val: u32,
        /// TSecr.
        ecr: u32,
    },
    /// An option whose bytes the script gives: `FO`, `FOEXP`, `md5`, `ECN`.
    Raw {
        /// How the script names it.
        name: &'static str,
        /// The option's kind.
        kind: u8,
        /// What stands behind kind and length.
        data: Vec<u8>,
    },
}

/// An ICMP error, and what it quotes of a segment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IcmpSpec {
    /// The type's name.
    pub kind: String,
    /// The code's name.
    pub code: Option<String>,
    /// The MTU of "too big".
    pub mtu: Option<u32>,
    /// The sequence number of the segment that is quoted, and its bytes of payload.
    pub quoted: (u32, u32),
}

/// The control bits by their letters in scripts; `A` is AE of RFC 9768.
const FLAGS: [(char, u16); 9] = [
    ('F', 0x001),
    ('S', 0x002),
    ('R', 0x004),
    ('P', 0x008),
    ('.', 0x010),
    ('U', 0x020),
    ('E', 0x040),
    ('W', 0x080),
    ('A', 0x100),
];

/// A packet, from behind `<` or `>`.
pub(super) fn packet(
    cursor: &mut Cursor<'_>,
    defines: &Defines,
    outbound: bool,
) -> Result<PacketSpec, ParseError> {
    let ip = match cursor.take("[") {
        true => ip_spec(cursor, outbound)?,
        false => IpSpec::default(),
    };
    let mut ports = None;
    if cursor.peek().is_some_and(|c| c.is_ascii_digit()) {
        let source = cursor.u16()?;
        cursor.expect(">")?;
        ports = Some((source, cursor.u16()?));
    }
    let body = match cursor.peek_word() {
        "icmp" => {
            cursor.word()?;
            PacketBody::Icmp(icmp(cursor)?)
        }
        "udp" | "ipv4" | "ipv6" | "gre" | "mpls" => return cursor.unexpected("a TCP segment"),
        _ => PacketBody::Tcp(tcp(cursor, defines, outbound)?),
    };
    Ok(PacketSpec { ip, ports, body })
}

fn ip_spec(cursor: &mut Cursor<'_>, outbound: bool) -> Result<IpSpec, ParseError> {
    let mut ip = IpSpec::default();
    match cursor.word()? {
        "noecn" => ip.ecn = Some(Ecn::NotEct),
        "ect0" => ip.ecn = Some(Ecn::Ect0),
        "ect1" => ip.ecn = Some(Ecn::Ect1),
        "ce" => ip.ecn = Some(Ecn::Ce),
        "ect01" if outbound => ip.ecn = Some(Ecn::Ect01),
        "tos" => ip.tos = Some(cursor.u8()?),
        other => return cursor.error(format!("`[{other}]` is unknown")),
    }
    cursor.expect("]")?;
    Ok(ip)
}

fn tcp(cursor: &mut Cursor<'_>, defines: &Defines, outbound: bool) -> Result<TcpSpec, ParseError> {
    let mut flags = 0;
    let mut ace = Ace::Flags;
    let letters = cursor.take_while(|c| !c.is_whitespace());
    for letter in letters.chars() {
        if let Some((_, bit)) = FLAGS.iter().find(|(c, _)| *c == letter) {
            flags |= bit;
        } else if let ('0'..='7', Ace::Flags) = (letter, ace) {
            ace = Ace::Counter;
            let count = letter as u16 - '0' as u16;
            flags |= count << 6;
        } else if letters != "-" {
            return cursor.error(format!("`{letters}` are no flags of a segment"));
        }
    }
    if letters.is_empty() {
        return cursor.unexpected("flags");
    }
    cursor.skip_space();
    let (seq, len) = range(cursor)?;
    let mut spec = TcpSpec {
        flags,
        ace,
        seq,
        len,
        ack: None,
        win: None,
        urg: None,
        options: Some(Vec::new()),
    };
    if cursor.peek_word() == "ack" {
        cursor.word()?;
        spec.ack = Some(cursor.u32()?);
    }
    if cursor.peek_word() == "win" {
        cursor.word()?;
        spec.win = Some(cursor.u16()?);
    }
    if cursor.peek_word() == "urg" {
        cursor.word()?;
        spec.urg = Some(cursor.u16()?);
    }
    if cursor.take("<") {
        if cursor.take("...") {
            if !outbound {
                return cursor.error("`<...>` is for outbound packets");
            }
            spec.options = None;
            cursor.expect(">")?;
        } else {
            spec.options = Some(options(cursor, defines)?);
        }
    }
    if !outbound && spec.win.is_none() {
        return cursor.error("an inbound segment without a window");
    }
    Ok(spec)
}

/// `start:end(length)`
fn range(cursor: &mut Cursor<'_>) -> Result<(u32, u32), ParseError> {
    let start = cursor.u32()?;
    cursor.expect(":")?;
    let end = cursor.u32()?;
    cursor.expect("(")?;
    let len = cursor.number_in(65535, "length")? as u32;
    cursor.expect(")")?;
    if start.wrapping_add(len) != end {
        return cursor.error(format!("{start}:{end}({len}) does not add up"));
    }
    Ok((start, len))
}

fn options(cursor: &mut Cursor<'_>, defines: &Defines) -> Result<Vec<OptionSpec>, ParseError> {
    let mut options = Vec::new();
    loop {
        options.push(option(cursor, defines)?);
        if cursor.take(">") {
            return Ok(options);
        }
        if !cursor.take(",") {
            return cursor.unexpected("`,` or `>` behind an option");
        }
    }
}

fn option(cursor: &mut Cursor<'_>, defines: &Defines) -> Result<OptionSpec, ParseError> {
    let option = match cursor.word()? {
        "nop" => OptionSpec::Nop,
        "eol" => OptionSpec::Eol,
        "mss" => OptionSpec::Mss(cursor.u16()?),
        "wscale" => OptionSpec::WindowScale(cursor.u8()?),
        "sackOK" => OptionSpec::SackPermitted,
        "sack" => {
            let mut blocks = Vec::new();
            while cursor.peek().is_some_and(|c| c.is_ascii_digit()) {
                let start = cursor.u32()?;
                cursor.expect(":")?;
                blocks.push((start, cursor.u32()?));
            }
            OptionSpec::Sack(blocks)
        }
        "TS" => {
            if cursor.word()? != "val" {
                return cursor.unexpected("`val`");
            }
            let val = cursor.u32()?;
            if cursor.word()? != "ecr" {
                return cursor.unexpected("`ecr`");
            }
            let ecr = cursor.u32()?;
            OptionSpec::Timestamps { val, ecr }
        }
        // RFC 7413 section 4.1.1; without a cookie it asks for one.
        "FO" => OptionSpec::Raw {
            name: "FO",
            kind: 34,
            data: hex(cursor, defines)?,
        },
        // RFC 6994's shared kind, with the magic number of RFC 7413's drafts.
        "FOEXP" => OptionSpec::Raw {
            name: "FOEXP",
            kind: 254,
            data: [vec![0xf9, 0x89], hex(cursor, defines)?].concat(),
        },
        // RFC 2385.
        "md5" => OptionSpec::Raw {
            name: "md5",
            kind: 19,
            data: hex(cursor, defines)?,
        },
        "ECN" => accurate_ecn(cursor)?,
        other => return cursor.error(format!("the option `{other}` is unknown")),
    };
    Ok(option)
}

/// Hexadecimal digits, or a name that stands for some; nothing at the option's end.
fn hex(cursor: &mut Cursor<'_>, defines: &Defines) -> Result<Vec<u8>, ParseError> {
    if cursor.at(",") || cursor.at(">") {
        return Ok(Vec::new());
    }
    let word = cursor.word()?;
    let digits = defines.get(word).unwrap_or(word);
    let byte = |at: usize| {
        let pair = digits.get(at..at + 2)?;
        u8::from_str_radix(pair, 16).ok()
    };
    let bytes: Option<Vec<u8>> = (0..digits.len()).step_by(2).map(byte).collect();
    match bytes {
        Some(bytes) => Ok(bytes),
        None => cursor.error(format!("`{word}` are no hexadecimal digits")),
    }
}

/// The counters of RFC 9768 section 3.2.3: three octets each, ECT(0)'s first or ECT(1)'s first.
fn accurate_ecn(cursor: &mut Cursor<'_>) -> Result<OptionSpec, ParseError> {
    let mut names = Vec::new();
    let mut data = Vec::new();
    while matches!(cursor.peek_word(), "e0b" | "ceb" | "e1b") {
        names.push(cursor.word()?);
        let value = cursor.number_in((1 << 24) - 1, "counter")? as u32;
        data.extend_from_slice(&value.to_be_bytes()[1..]);
    }
    let kind = match names[..] {
        [] | ["e0b"] | ["e0b", "ceb"] | ["e0b", "ceb", "e1b"] => 172,
        ["e1b"] | ["e1b", "ceb"] | ["e1b", "ceb", "e0b"] => 174,
        _ => return cursor.error(format!("counters in the order {}", names.join(" "))),
    };
    Ok(OptionSpec::Raw {
        name: "ECN",
        kind,
        data,
    })
}

fn icmp(cursor: &mut Cursor<'_>) -> Result<IcmpSpec, ParseError> {
    let kind = cursor.word()?.to_string();
    let mut spec = IcmpSpec {
        kind,
        code: None,
        mtu: None,
        quoted: (0, 0),
    };
    if !matches!(cursor.peek_word(), "" | "mtu") {
        spec.code = Some(cursor.word()?.to_string());
    }
    if cursor.peek_word() == "mtu" {
        cursor.word()?;
        spec.mtu = Some(cursor.u32()?);
    }
    if cursor.take("[") {
        spec.quoted = range(cursor)?;
        cursor.expect("]")?;
    }
    Ok(spec)
}
