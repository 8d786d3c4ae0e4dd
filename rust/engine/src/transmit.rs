// SPDX-License-Identifier: GPL-2.0

//! A segment to send: what the engine hands to its caller.

use crate::seq::{SeqNum, SeqRange};
use crate::time::Instant;
use crate::wire::{self, Ecn, Flags, Header, Options, SackBlocks, Timestamps, STAMPED_LEN};

/// The most payload, in bytes, that the caller can send with one [`Transmit`].
///
/// A caller with segmentation offload says up to 64 KB; one without says 0 or 1, which means one MSS
/// (a segment of one MSS is always allowed).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct BurstLimit(pub u32);

/// One segment, or one burst of segments with the same header, that is to be sent now.
///
/// The caller fills in ports, addresses, checksum and the bytes of `payload`, which it holds in its
/// send buffer.
#[derive(Clone, Copy, Debug)]
#[must_use = "the connection counts this segment as sent"]
pub struct Transmit {
    /// The header, options included; ports are 0.
    pub header: Header,
    /// The bytes to send. `start` is `header.seq` (one more if the header has SYN). When longer than
    /// `mss` it is to be cut into segments of `mss` bytes: every one but the last is full.
    /// A FIN in the header belongs to the last segment, a CWR to the first alone (RFC 3168 section 6.1.2).
    pub payload: SeqRange,
    /// Bytes of payload per segment (`gso_size`): the MSS less the options this header carries. 0 where there is none.
    pub mss: u16,
    /// The ECN field for the IP header of each segment: [`Ecn::NotEct`] or [`Ecn::Ect0`].
    pub ecn: Ecn,
    /// Why this segment is sent: for counters, traces, and for the caller's own rate limits.
    pub kind: TransmitKind,
    /// When the persist timer would have expired that the segment has stopped: it runs on if the segment is refused.
    pub(crate) persist: Option<Instant>,
}

impl Transmit {
    /// How many segments it becomes on the wire.
    pub fn segments(&self) -> u32 {
        segments(self.payload.len, u32::from(self.mss)).max(1)
    }
}

/// An acknowledgment without data and unsigned: the segment that a receiver sends most often, in few words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use = "the connection counts this segment as sent"]
pub struct Acknowledgment {
    /// SEG.SEQ.
    pub seq: SeqNum,
    /// SEG.ACK.
    pub ack: SeqNum,
    /// SEG.WND, scaled.
    pub window: u16,
    /// ACK, perhaps with ECE.
    pub flags: Flags,
    /// This option, and no other but the next.
    pub timestamps: Option<Timestamps>,
    /// What has come out of order.
    pub sack: SackBlocks,
}

impl Acknowledgment {
    /// Its header; ports are 0.
    pub fn header(&self) -> Header {
        Header {
            seq: self.seq,
            ack: self.ack,
            flags: self.flags,
            window: self.window,
            options: Options {
                timestamps: self.timestamps,
                sack: self.sack,
                ..Options::default()
            },
            ..Header::default()
        }
    }

    /// The header as it goes on the wire, with a checksum of zero, if it has timestamps alone. `ports` are the source's and the
    /// destination's.
    #[inline]
    pub fn stamped(&self, ports: (u16, u16)) -> Option<[u8; STAMPED_LEN]> {
        let stamps = self.timestamps.filter(|_| self.sack.is_empty())?;
        Some(wire::stamped(
            ports,
            self.seq,
            self.ack,
            self.flags,
            self.window,
            0,
            stamps,
        ))
    }
}

impl From<Acknowledgment> for Transmit {
    fn from(ack: Acknowledgment) -> Self {
        Transmit {
            header: ack.header(),
            payload: SeqRange::new(ack.seq, 0),
            mss: 0,
            ecn: Ecn::NotEct,
            kind: TransmitKind::Ack,
            persist: None,
        }
    }
}

/// How many segments of `size` bytes it takes for `bytes`. The compiler does not see that `div_ceil` cannot overflow.
pub(crate) fn segments(bytes: u32, size: u32) -> u32 {
    let size = size.max(1);
    let whole = bytes.checked_div(size).unwrap_or(0);
    let rest = bytes.checked_rem(size).unwrap_or(0);
    whole.saturating_add(u32::from(rest != 0))
}

/// Why a segment is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TransmitKind {
    /// The first or a repeated SYN of an active open.
    Syn,
    /// A SYN-ACK: of a request, or of a simultaneous open.
    SynAck,
    /// New data, perhaps with FIN.
    Data,
    /// Data that was sent before, perhaps with FIN.
    Retransmission,
    /// A tail loss probe: the last segment again (RFC 8985 section 7).
    LossProbe,
    /// A tail loss probe: new data.
    LossProbeData,
    /// An acknowledgment without data.
    Ack,
    /// An acknowledgment sent because our receive window opened.
    WindowUpdate,
    /// A challenge ACK (RFC 5961). The caller may drop it by a rate limit of its own.
    ChallengeAck,
    /// A zero-window probe (RFC 9293 section 3.8.6.1).
    Probe,
    /// A keepalive probe (RFC 9293 section 3.8.4).
    KeepAlive,
    /// The first FIN, without data.
    Fin,
    /// A reset. The connection is gone.
    Reset,
}

impl TransmitKind {
    /// Whether it is one that takes no number of the stream: neither SYN, data nor FIN.
    pub const fn is_bare(self) -> bool {
        matches!(
            self,
            TransmitKind::Ack
                | TransmitKind::WindowUpdate
                | TransmitKind::ChallengeAck
                | TransmitKind::Probe
                | TransmitKind::KeepAlive
        )
    }
}

/// What the layers below said of a [`Transmit`], when it did not simply leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It is queued, but the queue is close to full (NET_XMIT_CN).
    Congested,
    /// A full queue dropped it (NET_XMIT_DROP).
    Dropped,
    /// There was no memory for it.
    NoMemory,
    /// There is no route, or a filter forbids it.
    Failed,
}
