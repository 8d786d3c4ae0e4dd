// SPDX-License-Identifier: GPL-2.0

//! Urgent data (RFC 9293 section 3.8.5), as RFC 6093 found that everybody does it, and Linux: the pointer stands behind the urgent
//! byte, there is one such byte at a time, and the newest counts. It stays in the stream, where a reader stops at it and then passes
//! it by, unless it is to be read in line.

use super::link::Link;
use super::phase::Parts;
use super::send::Sender;
use super::{Connection, Status};
use crate::segment::Segment;
use crate::seq::SeqNum;
use crate::transmit::Transmit;
use crate::wire::Flags;

/// The peer's urgent byte: where it stands in the stream, and what became of it (Linux's `urg_seq` and `urg_data`). The caller keeps
/// it with the receive queue, in a word if it likes, and reads by it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Urgent {
    at: SeqNum,
    octet: Octet,
    /// The reader stands at it.
    here: bool,
    /// Before it there was another one, which the reader stood at: that leaves the queue.
    displaced: bool,
}

/// What is known of the urgent byte.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Octet {
    /// There is none, or it lies behind the reader.
    None,
    /// It has been told of, and has not come.
    Announced,
    /// It has come.
    Come(u8),
    /// It has come, and was read out of line.
    Read,
}

impl Urgent {
    /// There is none.
    pub const NONE: Urgent = Urgent {
        at: SeqNum::new(0),
        octet: Octet::None,
        here: false,
        displaced: false,
    };

    const HERE: u32 = 1 << 10;
    const DISPLACED: u32 = 1 << 11;

    /// In one word; 0 where there is none.
    pub fn packed(self) -> u64 {
        let (kind, byte) = match self.octet {
            Octet::None => return 0,
            Octet::Announced => (1, 0),
            Octet::Come(byte) => (2, byte),
            Octet::Read => (3, 0),
        };
        let mut low = u32::from(byte) | (kind << 8);
        if self.here {
            low |= Urgent::HERE;
        }
        if self.displaced {
            low |= Urgent::DISPLACED;
        }
        (u64::from(self.at.get()) << 32) | u64::from(low)
    }

    /// What [`packed`](Self::packed) made.
    pub fn unpacked(word: u64) -> Urgent {
        let low = word as u32;
        let octet = match (low >> 8) & 3 {
            0 => return Urgent::NONE,
            1 => Octet::Announced,
            2 => Octet::Come(low as u8),
            _ => Octet::Read,
        };
        Urgent {
            at: SeqNum::new((word >> 32) as u32),
            octet,
            here: low & Urgent::HERE != 0,
            displaced: low & Urgent::DISPLACED != 0,
        }
    }

    /// Whether there is one that the reader has not passed.
    pub fn is_some(&self) -> bool {
        self.octet != Octet::None
    }

    /// Whether the reader stands at it (SIOCATMARK).
    pub fn is_here(&self) -> bool {
        self.here
    }

    /// Whether it can be read out of line (POLLPRI).
    pub fn has_come(&self) -> bool {
        matches!(self.octet, Octet::Come(_))
    }

    /// The bytes from `seq` on that stand before it; `None` if it does not stand there or further on.
    pub fn ahead_of(&self, seq: SeqNum) -> Option<u32> {
        (self.is_some() && !self.at.before(seq)).then(|| seq.distance_to(self.at))
    }

    /// Whether a segment that has come can change anything of it: one that tells of urgent data, or that may bring what is waited for.
    pub fn may_change_by(&self, segment: &Segment) -> bool {
        segment.has(Flags::URG) || self.octet == Octet::Announced
    }

    /// Where in the segment's payload it is, if it is waited for and has come with it.
    pub fn offset_in(&self, segment: &Segment) -> Option<u32> {
        let payload = segment.payload();
        let offset = self.ahead_of(payload.start)?;
        (self.octet == Octet::Announced && offset < payload.len).then_some(offset)
    }

    /// It has come.
    pub fn set(&mut self, byte: u8) {
        if self.octet == Octet::Announced {
            self.octet = Octet::Come(byte);
        }
    }

    /// Reads it out of line (MSG_OOB), for the last time unless `peek`.
    pub fn read(&mut self, peek: bool) -> Reading {
        let byte = match self.octet {
            Octet::None | Octet::Read => return Reading::Nothing,
            Octet::Announced => return Reading::NotYet,
            Octet::Come(byte) => byte,
        };
        if !peek {
            self.octet = Octet::Read;
        }
        Reading::Byte(byte)
    }

    /// Whether the caller is to take one byte off the front of its receive queue: the urgent byte before this one, where its reader
    /// stood. To be asked after a segment has told of a new one; true once.
    pub fn take_displaced(&mut self) -> bool {
        core::mem::take(&mut self.displaced)
    }

    /// The reader stands at `seq` now.
    pub fn on_reader(&mut self, seq: SeqNum) {
        if self.is_some() && seq.after(self.at) {
            *self = Urgent::NONE;
        }
        self.here = self.is_some() && self.at == seq;
    }

    /// An acceptable segment tells of an urgent byte (Linux's `tcp_check_urg`). `next` is RCV.NXT, of which the reader has `unread`
    /// before it; `inline`: it stays in the stream. Says whether the byte is a new one.
    ///
    /// Deviation: RFC 6093 section 4 would have the pointer stand at the urgent byte or behind it as an option says; all of today's
    /// stand behind it, and Linux's `tcp_stdurg` is not here. 0 is taken for 1, as by all.
    fn check(&mut self, segment: &Segment, next: SeqNum, unread: u32, inline: bool) -> bool {
        let ahead = segment.header.urgent.saturating_sub(1);
        let at = segment.header.seq.add(u32::from(ahead));
        // What has come already is nothing new, nor what is older than the one that is known.
        if at.before(next) || (self.is_some() && !at.after(self.at)) {
            return false;
        }
        let reader = next.sub(unread);
        *self = Urgent {
            at,
            octet: Octet::Announced,
            here: at == reader,
            displaced: self.here && !inline && unread != 0,
        };
        true
    }
}

/// What a read of the urgent byte finds.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reading {
    /// There is none, or it was read.
    Nothing,
    /// It has been told of, and has not come.
    NotYet,
    /// This.
    Byte(u8),
}

impl Connection {
    /// The last byte written is urgent (MSG_OOB). All segments tell of it until it is acknowledged; they leave one by one, and wait
    /// for nothing.
    pub fn mark_urgent(&mut self) {
        self.status.clear(Status::IDLE);
        if let Some(Parts { snd: Some(snd), .. }) = self.phase.parts() {
            snd.up = snd.write_seq;
        }
    }
}

impl Sender {
    /// Whether urgent data is not acknowledged yet (Linux's `tcp_urg_mode`).
    pub(super) fn is_urgent(&self, link: &Link) -> bool {
        self.up.after(link.snd_una)
    }

    /// Keeps the mark from coming before SND.UNA again when sequence numbers have gone half round.
    pub(super) fn forget_urgent(&mut self, link: &Link) {
        if !self.is_urgent(link) {
            self.up = link.snd_una;
        }
    }

    /// Whether a probe of the peer's closed window is to tell of the urgent byte as well (Linux's `tcp_write_wakeup`).
    pub(super) fn is_urgent_near(&self, link: &Link) -> bool {
        self.is_urgent(link) && link.snd_una.distance_to(self.up) <= u32::from(u16::MAX)
    }

    /// Fills in the urgent pointer (Linux's `__tcp_transmit_skb`). One that does not fit stands as far ahead as it can, if that is
    /// beyond all that has been sent.
    pub(super) fn point(&self, link: &Link, transmit: &mut Transmit) {
        let seq = transmit.header.seq;
        if !self.is_urgent(link) || !seq.before(self.up) {
            return;
        }
        let pointer = match u16::try_from(seq.distance_to(self.up)) {
            Ok(pointer) => pointer,
            Err(_) if seq.add(u32::from(u16::MAX)).after(link.snd_nxt) => u16::MAX,
            Err(_) => return,
        };
        transmit.header.urgent = pointer;
        transmit.header.flags.insert(Flags::URG);
    }
}

/// Where a connection keeps the peer's urgent byte, with its receive queue.
#[derive(Debug)]
pub struct UrgentPlace<'a> {
    /// The byte.
    pub urgent: &'a mut Urgent,
    /// It is read with the others (SO_OOBINLINE).
    pub inline: bool,
}

impl UrgentPlace<'_> {
    /// Step six: what the segment tells of urgent data. Says whether that is new.
    pub(super) fn on_segment(&mut self, segment: &Segment, next: SeqNum, unread: u32) -> bool {
        segment.has(Flags::URG) && self.urgent.check(segment, next, unread, self.inline)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packed__in_a_word_and_back() {
        assert_eq!(Urgent::NONE.packed(), 0);
        assert_eq!(Urgent::unpacked(0), Urgent::NONE);
        for octet in [
            Octet::Announced,
            Octet::Come(0),
            Octet::Come(255),
            Octet::Read,
        ] {
            for (here, displaced) in [(false, false), (true, false), (false, true), (true, true)] {
                let urgent = Urgent {
                    at: SeqNum::new(u32::MAX),
                    octet,
                    here,
                    displaced,
                };
                assert_eq!(Urgent::unpacked(urgent.packed()), urgent);
                assert_ne!(urgent.packed(), 0);
            }
        }
    }
}
