// SPDX-License-Identifier: GPL-2.0

//! The peer of a conversation: a TCP by hand, which knows what it has got and what it has sent.

use super::random::Random;
use crate::wire::{flag, RawOption, Segment};

/// What the peer offers in its SYN.
#[derive(Clone, Copy, Debug)]
pub(super) struct Offer {
    pub(super) mss: u16,
    pub(super) scale: Option<u8>,
    pub(super) sack: bool,
    pub(super) stamps: bool,
}

/// See above. Numbers are relative to each side's SYN, which is 0.
pub(super) struct Peer {
    pub(super) offer: Offer,
    /// The TCP's initial sequence number, when it is known.
    isn: Option<u32>,
    pub(super) ports: (u16, u16),
    /// What the TCP has agreed to.
    scaled: bool,
    sacks: bool,
    stamped: bool,
    /// Its first TSval, and the last that is echoed.
    first_stamp: Option<u32>,
    recent: u32,
    /// What has come: ranges that do not touch, in order.
    pub(super) got: Vec<(u32, u32)>,
    /// The last of it that came.
    latest: Option<(u32, u32)>,
    /// The end of all that the TCP has sent, lost or not.
    pub(super) seen: u32,
    /// Whether its FIN has come.
    pub(super) fin_got: bool,
    fin_at: Option<u32>,
    /// The next number that the peer sends.
    pub(super) next: u32,
    /// Below it all was sent; from here to `next` there may be holes.
    pub(super) hole: Option<(u32, u32)>,
    pub(super) fin_sent: bool,
    /// Bytes that it lets the TCP send.
    pub(super) window: u32,
}

/// The peer's own initial sequence number: its numbers wrap early.
const ISN: u32 = u32::MAX - 4_000;
/// Its clock.
const FIRST_STAMP: u32 = 7_000;

impl Peer {
    pub(super) fn new(offer: Offer, ports: (u16, u16)) -> Self {
        Peer {
            offer,
            isn: None,
            ports,
            scaled: false,
            sacks: false,
            stamped: false,
            first_stamp: None,
            recent: 0,
            got: Vec::new(),
            latest: None,
            seen: 1,
            fin_got: false,
            fin_at: None,
            next: 0,
            hole: None,
            fin_sent: false,
            window: 65_535,
        }
    }

    /// What has come in order.
    pub(super) fn acked(&self) -> u32 {
        self.got
            .first()
            .filter(|(start, _)| *start <= 1)
            .map_or(1, |(_, end)| *end)
    }

    pub(super) fn is_open(&self) -> bool {
        self.isn.is_some()
    }

    /// A SYN, or a SYN-ACK.
    pub(super) fn syn(&mut self, millis: u32, ack: bool) -> Segment {
        let mut options = vec![RawOption {
            kind: 2,
            data: self.offer.mss.to_be_bytes().to_vec(),
        }];
        if self.offer.sack {
            options.push(RawOption {
                kind: 4,
                data: Vec::new(),
            });
        }
        if self.offer.stamps && (!ack || self.stamped) {
            options.push(self.stamp(millis));
        }
        if let Some(scale) = self.offer.scale {
            options.push(RawOption {
                kind: 3,
                data: vec![scale],
            });
        }
        self.next = self.next.max(1);
        Segment {
            tos: 0,
            ports: self.ports,
            seq: ISN,
            ack: if ack { self.live(1) } else { 0 },
            flags: if ack {
                flag::SYN | flag::ACK
            } else {
                flag::SYN
            },
            win: self.window.min(65_535) as u16,
            urg: 0,
            options,
            len: 0,
        }
    }

    fn stamp(&self, millis: u32) -> RawOption {
        RawOption {
            kind: 8,
            data: [
                FIRST_STAMP.wrapping_add(millis).to_be_bytes(),
                self.recent.to_be_bytes(),
            ]
            .concat(),
        }
    }

    /// An option behind the padding that most put before it.
    fn padded(option: RawOption) -> [RawOption; 3] {
        let nop = RawOption {
            kind: 1,
            data: Vec::new(),
        };
        [nop.clone(), nop, option]
    }

    fn live(&self, number: u32) -> u32 {
        self.isn.unwrap_or(0).wrapping_add(number)
    }

    /// A segment with `len` bytes from `seq` on, which acknowledges `ack`.
    pub(super) fn segment(&self, millis: u32, flags: u16, seq: u32, len: u32, ack: u32) -> Segment {
        let mut options = Vec::new();
        if self.stamped {
            options.extend(Peer::padded(self.stamp(millis)));
        }
        let mut blocks: Vec<(u32, u32)> = Vec::new();
        if self.sacks {
            let above = self.got.iter().filter(|(start, _)| *start > ack);
            blocks.extend(above.copied());
            // RFC 2018 section 4: the latest first.
            if let Some(latest) = self.latest {
                blocks.sort_by_key(|(start, end)| !(*start <= latest.0 && latest.1 <= *end));
            }
            blocks.truncate(3);
        }
        if !blocks.is_empty() {
            let edges = blocks
                .iter()
                .flat_map(|(start, end)| [self.live(*start), self.live(*end)]);
            options.extend(Peer::padded(RawOption {
                kind: 5,
                data: edges.flat_map(u32::to_be_bytes).collect(),
            }));
        }
        let shift = match self.scaled {
            true => u32::from(self.offer.scale.unwrap_or(0)),
            false => 0,
        };
        Segment {
            tos: 0,
            ports: self.ports,
            seq: ISN.wrapping_add(seq),
            ack: self.live(ack),
            flags,
            win: (self.window >> shift).min(65_535) as u16,
            urg: 0,
            options,
            len,
        }
    }

    /// A segment has left the TCP. Makes its numbers relative; returns its TSval. What is lost the peer does not know.
    pub(super) fn outbound(
        &mut self,
        segment: &mut Segment,
        random: &mut Random,
        loss: u32,
    ) -> (Option<u32>, bool) {
        let syn = segment.has(flag::SYN);
        if syn {
            self.isn = Some(segment.seq);
            self.scaled = self.offer.scale.is_some() && segment.options.iter().any(|o| o.kind == 3);
            self.sacks = self.offer.sack && segment.options.iter().any(|o| o.kind == 4);
            self.stamped = self.offer.stamps && segment.timestamps().is_some();
            self.ports = (segment.ports.1, segment.ports.0);
        }
        let isn = self.isn.unwrap_or(segment.seq);
        segment.seq = segment.seq.wrapping_sub(isn);
        if segment.has(flag::ACK) {
            segment.ack = segment.ack.wrapping_sub(ISN);
        }
        segment.shift_sack(0u32.wrapping_sub(ISN));
        let stamp = segment.timestamps().map(|(val, ecr)| {
            let first = *self.first_stamp.get_or_insert(val);
            segment.set_timestamps(
                0,
                if segment.has(flag::ACK) {
                    ecr.wrapping_sub(FIRST_STAMP)
                } else {
                    ecr
                },
            );
            (val, val.wrapping_sub(first))
        });
        let fin = segment.has(flag::FIN);
        let end = segment
            .seq
            .wrapping_add(segment.len)
            .wrapping_add(u32::from(fin));
        let lost = !syn && (segment.len > 0 || fin) && random.percent(loss);
        if !segment.has(flag::RST) {
            self.seen = self.seen.max(end);
            if !lost {
                if let Some((val, _)) = stamp {
                    if syn || segment.seq <= self.acked() {
                        self.recent = val;
                    }
                }
                if fin {
                    self.fin_at = Some(end);
                }
                self.take(segment.seq, end);
                self.fin_got = self.fin_at.is_some_and(|at| self.acked() >= at);
            }
        }
        (stamp.map(|(_, relative)| relative), lost)
    }

    fn take(&mut self, start: u32, end: u32) {
        if start == end {
            return;
        }
        self.latest = Some((start, end));
        self.got.push((start, end));
        self.got.sort();
        let mut joined: Vec<(u32, u32)> = Vec::new();
        for (start, end) in self.got.drain(..) {
            match joined.last_mut() {
                Some(last) if start <= last.1 => last.1 = last.1.max(end),
                _ => joined.push((start, end)),
            }
        }
        self.got = joined;
    }

    /// Makes the numbers of a segment of the peer's relative, for the record.
    pub(super) fn told(&self, segment: &Segment) -> Segment {
        let mut told = segment.clone();
        told.seq = told.seq.wrapping_sub(ISN);
        if told.has(flag::ACK) {
            told.ack = told.ack.wrapping_sub(self.live(0));
        }
        told.shift_sack(0u32.wrapping_sub(self.live(0)));
        if let Some((val, _)) = told.timestamps() {
            // The echo is another's number.
            told.set_timestamps(val.wrapping_sub(FIRST_STAMP), 0);
        }
        told
    }
}
