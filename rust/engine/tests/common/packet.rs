// SPDX-License-Identifier: GPL-2.0
//! Segments as bytes, with the checksum that the kernel or the network card would compute, behind what counts of the IP header:
//! one octet with the ECN field.

use oxtcp_engine::wire::{Ecn, Flags, Header};
use oxtcp_engine::{Segment, Transmit};

/// Bytes before the TCP header.
pub const IP: usize = 1;

/// 192.0.2.1, 192.0.2.2, protocol 6: both directions have the same sum.
const PSEUDO: u32 = 0xc000 + 0x0201 + 0xc000 + 0x0202 + 6;

fn checksum(bytes: &[u8]) -> u16 {
    let mut sum = u64::from(PSEUDO) + bytes.len() as u64;
    let mut words = bytes.chunks_exact(2);
    for word in &mut words {
        sum += u64::from(u16::from_be_bytes([word[0], word[1]]));
    }
    if let [last] = *words.remainder() {
        sum += u64::from(u16::from_be_bytes([last, 0]));
    }
    while sum > 0xffff {
        sum = (sum & 0xffff) + (sum >> 16);
    }
    !(sum as u16)
}

/// The segment as it goes over the wire.
pub fn build(header: &Header, ecn: Ecn, payload: &[u8]) -> Vec<u8> {
    let mut bytes = vec![0; IP + header.wire_len()];
    bytes[0] = ecn.bits();
    let len = header.emit(&mut bytes[IP..]);
    assert_eq!(IP + len, bytes.len());
    bytes.extend_from_slice(payload);
    let sum = checksum(&bytes[IP..]);
    bytes[IP..][16..18].copy_from_slice(&sum.to_be_bytes());
    bytes
}

/// What a congested router makes of a packet (RFC 3168 section 5); says whether it could mark it.
pub fn mark(bytes: &mut [u8]) -> bool {
    let capable = Ecn::from_bits(bytes[0]) != Ecn::NotEct;
    if capable {
        bytes[0] = Ecn::Ce.bits();
    }
    capable
}

/// The segment and its payload; None when it was spoiled on the way.
pub fn read(bytes: &[u8]) -> Option<(Segment, &[u8])> {
    let (ip, bytes) = bytes.split_at(IP);
    if checksum(bytes) != 0 {
        return None;
    }
    let header = Header::parse(bytes).ok()?;
    let payload = &bytes[Header::data_offset(bytes).ok()?..];
    Some((
        Segment {
            header,
            payload_len: payload.len() as u32,
            ecn: Ecn::from_bits(ip[0]),
        },
        payload,
    ))
}

/// What a burst becomes when it is cut into segments of its MSS: FIN and PSH travel on the last, CWR on the first.
pub fn cut(transmit: &Transmit, payload: &[u8]) -> Vec<Vec<u8>> {
    let mss = usize::from(transmit.mss).max(1);
    if payload.len() <= mss {
        return vec![build(&transmit.header, transmit.ecn, payload)];
    }
    let count = payload.len().div_ceil(mss);
    (0..count)
        .map(|i| {
            let mut header = transmit.header;
            header.seq = header.seq.add((i * mss) as u32);
            if i + 1 < count {
                header.flags.remove(Flags::FIN.union(Flags::PSH));
            }
            if i > 0 {
                header.flags.remove(Flags::CWR);
            }
            build(
                &header,
                transmit.ecn,
                &payload[i * mss..payload.len().min((i + 1) * mss)],
            )
        })
        .collect()
}

/// What GRO makes of two segments in a row, where it may merge them.
pub fn merge(first: &[u8], second: &[u8]) -> Option<Vec<u8>> {
    let (a, first_payload) = read(first)?;
    let (b, second_payload) = read(second)?;
    let plain = Flags::ACK.union(Flags::PSH).union(Flags::FIN);
    let mergeable = a.payload_len > 0
        && b.payload_len > 0
        && b.payload_len <= a.payload_len
        && a.payload_len + b.payload_len <= 65_000
        && a.header.flags == Flags::ACK
        && b.header.flags.without(plain) == Flags::NONE
        && b.header.flags.ack()
        && a.end() == b.seq()
        && a.header.ack == b.header.ack
        && a.header.window == b.header.window
        && a.header.options == b.header.options
        && a.ecn == b.ecn;
    if !mergeable {
        return None;
    }
    let mut header = a.header;
    header.flags.insert(b.header.flags);
    let mut payload = first_payload.to_vec();
    payload.extend_from_slice(second_payload);
    Some(build(&header, a.ecn, &payload))
}
