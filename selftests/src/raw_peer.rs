// SPDX-License-Identifier: GPL-2.0
//! The other end of a connection that is nobody's socket: it sends what it is told to, in whichever order, and hears what it wants to.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use crate::capture::{Capture, Segment, ACK, SYN};
use crate::flood::Raw;
use crate::forge::packet;
use crate::{wait, Ip};

/// Its first number.
const ISN: u32 = 0xffff_0000;

/// Sequence numbers are offsets into the streams: 0 is the first byte behind the SYN.
pub struct RawPeer {
    raw: Raw,
    heard: Capture,
    from: SocketAddr,
    to: SocketAddr,
    /// The number of the other's SYN.
    irs: u32,
}

impl RawPeer {
    /// Connects to a listener from an address that no host has, which the listener's answers leave for by the device at whose other
    /// end, `device` of this thread's namespace, they are heard. It has SACK, no timestamps, and a window of 2^14 * 64,240 bytes.
    #[track_caller]
    pub fn connect(from: SocketAddr, to: SocketAddr, device: &str) -> RawPeer {
        let ip = match to.ip() {
            IpAddr::V4(_) => Ip::V4,
            IpAddr::V6(_) => Ip::V6,
        };
        let mut peer = RawPeer {
            raw: Raw::new(to.ip()),
            heard: Capture::incoming(device, ip),
            from,
            to,
            irs: 0,
        };
        let options = [2, 4, 5, 0xb4, 1, 1, 4, 2, 1, 3, 3, 14];
        let syn = packet(from, to, (ISN, 0), SYN, &options, &[]);
        assert_eq!(peer.raw.send(&[syn]), 1);
        let mut answer = None;
        wait::until("a SYN-ACK", || {
            answer = peer.heard().into_iter().find(|s| s.flags & SYN != 0);
            answer.is_some()
        });
        peer.irs = answer.map_or(0, |answer| answer.seq);
        let ack = peer.segment(0, 0, &[], &[]);
        assert_eq!(peer.send(&[ack]), 1);
        peer
    }

    /// A segment with the byte at `seq` first, and with all bytes before `ack` acknowledged. The options are a multiple of four bytes.
    pub fn segment(&self, seq: u32, ack: u32, options: &[u8], payload: &[u8]) -> Vec<u8> {
        let numbers = (
            ISN.wrapping_add(1).wrapping_add(seq),
            self.irs.wrapping_add(1).wrapping_add(ack),
        );
        packet(self.from, self.to, numbers, ACK, options, payload)
    }

    /// A SACK option with blocks of bytes, from one up to another.
    pub fn sack(&self, blocks: &[(u32, u32)]) -> Vec<u8> {
        let mut options = vec![1, 1, 5, 2 + 8 * blocks.len() as u8];
        for (start, end) in blocks {
            for edge in [start, end] {
                let number = self.irs.wrapping_add(1).wrapping_add(*edge);
                options.extend(number.to_be_bytes());
            }
        }
        options
    }

    /// Sends segments; how many the system took.
    pub fn send(&mut self, segments: &[Vec<u8>]) -> usize {
        segments.chunks(64).map(|batch| self.raw.send(batch)).sum()
    }

    /// What was sent to it since the last call.
    pub fn heard(&self) -> Vec<Segment> {
        let ours = |segment: &Segment| segment.target == self.from && segment.source == self.to;
        self.heard.segments().into_iter().filter(ours).collect()
    }

    /// Waits until all bytes before `seq` are acknowledged.
    #[track_caller]
    pub fn await_ack(&self, seq: u32) {
        let number = ISN.wrapping_add(1).wrapping_add(seq);
        wait::until("an acknowledgment", || {
            std::thread::sleep(Duration::from_millis(1));
            self.heard().iter().any(|segment| segment.ack == number)
        });
    }
}
