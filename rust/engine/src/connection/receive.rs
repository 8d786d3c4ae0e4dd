// SPDX-License-Identifier: GPL-2.0

//! The receiving half: which bytes are accepted, which window is offered, when acknowledgments are sent.

use super::autotune::{self, Autotune};
use super::link::{Link, Owed};
use super::timers::{Tick, TimerKind, Timers};
use crate::context::Context;
use crate::reassembly::Reassembly;
use crate::segment::Segment;
use crate::seq::{SeqNum, SeqRange};
use crate::time::{Duration, Instant};
use crate::wire::{Flags, SackBlocks};

/// What the caller has for the payload of one segment.
pub struct Rx<'a> {
    /// The connection's out-of-order ranges. Always the same one, until it is empty; `None` drops what is
    /// out of order.
    pub reassembly: Option<&'a mut Reassembly>,
    /// Bytes of payload that the caller can store now.
    pub room: u32,
}

/// Which bytes of a segment's payload the caller is to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub enum Payload {
    /// None.
    None,
    /// `len` bytes after the first `skip`: they are next in the stream. [`Connection::rcv_nxt`] stands behind them, or
    /// further, behind kept out-of-order bytes that they have made whole.
    ///
    /// [`Connection::rcv_nxt`]: super::Connection::rcv_nxt
    InOrder {
        /// Bytes at the payload's start that are not new.
        skip: u32,
        /// Bytes to take.
        len: u32,
    },
    /// `len` bytes after the first `skip`: to be kept, sorted by sequence number, until `rcv_nxt` has passed them.
    OutOfOrder {
        /// Bytes at the payload's start that are not new.
        skip: u32,
        /// Bytes to take.
        len: u32,
    },
}

/// The receiving half of a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Receiver {
    /// Bytes of the stream, from RCV.NXT on, for which there is buffer.
    space: u32,
    /// What `space` is when the buffer is empty.
    full: u32,
    /// The SACK blocks for the next acknowledgments, then empty ones. As many as fit beside timestamps.
    sack: [SeqRange; 3],
    /// Where the peer's FIN stands, when it came before data that it follows; before RCV.NXT: it has not come, or is out of reach
    /// as the data went on beyond it.
    fin: SeqNum,
    /// When data last came.
    data_at: Tick,
    /// The largest MSS that the peer may use: what we announced.
    advertised_mss: u16,
    /// An estimate of the segment size that the peer does use.
    rcv_mss: u16,
    /// The size of the last segment.
    last_len: u16,
    /// How long an acknowledgment is held back, in milliseconds; 0 before any data.
    ato: u16,
    /// So many more segments are acknowledged at once (the peer's slow start).
    quick: u8,
    /// The user answers what it receives: an acknowledgment that waits will travel with the answer.
    interactive: bool,
    /// Segments with PSH, smaller than the MSS, since the last acknowledgment; 2 means "several".
    pushed: u8,
    tune: Autotune,
    /// The first block of `sack` is a D-SACK, which is sent once (RFC 2883 section 4).
    dsack: bool,
}

/// Linux's TCP_ATO_MIN and TCP_DELACK_MIN: the shortest delay of an acknowledgment, in milliseconds.
const ATO_MIN: u16 = 40;
/// Linux's TCP_DELACK_MAX. RFC 9293 section 3.8.6.3 allows 500.
const ATO_MAX: u16 = 200;
/// Linux's TCP_MAX_QUICKACKS.
pub(super) const QUICK_ACKS: u8 = 16;
/// What Linux takes for a mark, and for what seems to be sent again (`tcp_data_ecn_check`).
const ECN_QUICK_ACKS: u8 = 2;

/// Whether the segment brought the FIN in order.
#[must_use]
pub(super) enum FinStatus {
    NotYet,
    /// It did. Its acknowledgment may wait so long for an answer of the user's to travel with, in a state where one is to
    /// be expected.
    InOrder(Option<Duration>),
}

impl Receiver {
    pub(super) fn new(
        cx: &Context<'_>,
        first: SeqNum,
        space: u32,
        advertised_mss: u16,
        peer_mss: u16,
    ) -> Self {
        Receiver {
            space,
            full: space,
            sack: [SeqRange::default(); 3],
            fin: first.sub(1),
            data_at: Tick::new(cx.now),
            advertised_mss,
            // Linux's tcp_initialize_rcv_mss: small at first, so that nothing is delayed by mistake.
            rcv_mss: advertised_mss.min(peer_mss).clamp(88, 536),
            last_len: 0,
            ato: 0,
            quick: QUICK_ACKS,
            interactive: false,
            pushed: 0,
            tune: Autotune::new(cx, space),
            dsack: false,
        }
    }

    /// Takes the payload and the FIN of a segment whose number has been found acceptable (RFC 9293
    /// section 3.10.7.4, seventh and eighth).
    pub(super) fn on_text(
        &mut self,
        cx: &Context<'_>,
        link: &mut Link,
        timers: &mut Timers,
        rto: Duration,
        segment: &Segment,
        mut rx: Rx<'_>,
    ) -> (Payload, FinStatus) {
        let payload = segment.payload();
        let fin = segment.has(Flags::FIN);
        if self.fin.before(link.rcv_nxt) {
            // Not to come again when numbers have gone half round.
            self.fin = link.rcv_nxt.sub(1);
        }
        if payload.is_empty() && !fin {
            return (Payload::None, FinStatus::NotYet);
        }
        if fin {
            self.note_fin(link, payload.end());
        }
        let before = link.rcv_nxt;
        let taken = if payload.is_empty() {
            Payload::None
        } else {
            let full_sized = payload.len >= u32::from(self.rcv_mss);
            self.tune.on_segment(cx, link, segment, full_sized);
            self.take(cx, link, segment, &mut rx)
        };
        // RFC 3168 section 6.1.5: marks on what lies outside of the window mean nothing.
        let inside = payload.end().after(before) && payload.start.before(link.rcv_edge);
        if inside && link.ecn.on_data(segment.ecn) {
            self.hurry(ECN_QUICK_ACKS);
        }
        if matches!(taken, Payload::InOrder { .. }) {
            let len = before.distance_to(link.rcv_nxt);
            self.tune.on_data(cx, link, len);
        }
        if self.fin == link.rcv_nxt {
            // Linux's tcp_fin: the connection is interactive from here on, the acknowledgment is one of those that wait.
            let shut = link.rcv_wnd() == 0;
            let second = link.last_ack.distance_to(link.rcv_nxt) > u32::from(self.rcv_mss);
            let delay = match self.ato.min(ATO_MAX) {
                0 => None,
                millis => Some(Duration::from_millis(u64::from(millis))),
            };
            let filled = match taken {
                Payload::InOrder { len, .. } => before.distance_to(link.rcv_nxt) != len,
                _ => before != link.rcv_nxt,
            };
            let now = shut || second || filled || link.owed.contains(Owed::ACK);
            link.rcv_nxt = link.rcv_nxt.add(1);
            return (taken, FinStatus::InOrder(delay.filter(|_| !now)));
        }
        match taken {
            // Duplicate, beyond the window, or refused: RFC 5681 section 4.2, an immediate ACK.
            Payload::None | Payload::OutOfOrder { .. } => {
                self.hurry(QUICK_ACKS);
                link.owed.insert(Owed::ACK);
            }
            Payload::InOrder { len, .. } => {
                let filled = before.distance_to(link.rcv_nxt) != len;
                let hole = rx.reassembly.as_ref().is_some_and(|r| !r.is_empty());
                self.acknowledge(cx, link, timers, rto, segment, filled || hole);
            }
        }
        (taken, FinStatus::NotYet)
    }

    /// Remembers where the stream ends.
    fn note_fin(&mut self, link: &Link, at: SeqNum) {
        let known = self.fin.after_eq(link.rcv_nxt);
        if !known && at.after_eq(link.rcv_nxt) && at.before_eq(link.rcv_edge) {
            self.fin = at;
        }
    }

    /// Takes what is new and inside of the window.
    fn take(
        &mut self,
        cx: &Context<'_>,
        link: &mut Link,
        segment: &Segment,
        rx: &mut Rx<'_>,
    ) -> Payload {
        let payload = segment.payload();
        if payload.end().before_eq(link.rcv_nxt) {
            self.note_duplicate(cx, link, payload, rx);
            return Payload::None;
        }
        let from = SeqNum::max(payload.start, link.rcv_nxt);
        let skip = payload.start.distance_to(from);
        let mut end = SeqNum::min(payload.end(), link.rcv_edge);
        if self.fin.after_eq(link.rcv_nxt) {
            end = SeqNum::min(end, self.fin);
        }
        if from.after_eq(end) {
            return Payload::None;
        }
        let len = from.distance_to(end).min(rx.room);
        if len == 0 {
            return Payload::None;
        }
        if from != link.rcv_nxt {
            let range = SeqRange::new(from, len);
            let Some(reassembly) = rx.reassembly.as_deref_mut() else {
                return Payload::None;
            };
            if reassembly.contains_range(range) {
                self.note_duplicate(cx, link, range, rx);
                return Payload::None;
            }
            if !reassembly.insert(range) {
                return Payload::None;
            }
            self.update_sack(link, rx, None);
            return Payload::OutOfOrder { skip, len };
        }
        let mut next = from.add(len);
        let (mut report, mut held) = (None, false);
        if let Some(reassembly) = rx.reassembly.as_deref_mut() {
            held = !reassembly.is_empty();
            report = first_overlap(reassembly, SeqRange::new(from, len));
            next = reassembly.advance(next);
        }
        // Also where the caller has thrown away what was reported.
        if held || self.sack_len() != 0 {
            let report = report.filter(|_| cx.config.dsack);
            self.update_sack(link, rx, report);
        }
        self.space = self.space.saturating_sub(link.rcv_nxt.distance_to(next));
        link.rcv_nxt = next;
        Payload::InOrder { skip, len }
    }

    /// RFC 2883: tells the peer what it has sent in vain.
    pub(super) fn note_duplicate(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        range: SeqRange,
        rx: &Rx<'_>,
    ) {
        let report = link.sack && cx.config.dsack && range.is_plausible();
        self.update_sack(link, rx, report.then_some(range));
    }

    fn update_sack(&mut self, link: &Link, rx: &Rx<'_>, duplicate: Option<SeqRange>) {
        if !link.sack {
            return;
        }
        self.dsack = duplicate.is_some();
        let mut blocks = SackBlocks::default();
        match &rx.reassembly {
            Some(reassembly) => blocks = reassembly.sack_blocks(duplicate),
            None => {
                if let Some(range) = duplicate {
                    blocks.push(range);
                }
            }
        }
        self.sack = [SeqRange::default(); 3];
        for (kept, block) in self.sack.iter_mut().zip(blocks.iter()) {
            *kept = block;
        }
    }

    /// The SACK blocks for a segment that is sent now.
    pub(super) fn take_sack(&mut self) -> SackBlocks {
        let mut blocks = SackBlocks::default();
        for block in self.sack.iter().filter(|block| !block.is_empty()) {
            blocks.push(*block);
        }
        if self.dsack {
            self.dsack = false;
            let [_, second, third] = self.sack;
            self.sack = [second, third, SeqRange::default()];
        }
        blocks
    }

    /// How many SACK blocks the next segment carries.
    pub(super) fn sack_len(&self) -> usize {
        self.sack.iter().filter(|block| !block.is_empty()).count()
    }

    /// Decides when in-order data is acknowledged (RFC 9293 section 3.8.6.3, RFC 5681 section 4.2, and Linux's
    /// `tcp_event_data_recv`, `__tcp_ack_snd_check`).
    fn acknowledge(
        &mut self,
        cx: &Context<'_>,
        link: &mut Link,
        timers: &mut Timers,
        rto: Duration,
        segment: &Segment,
        hole: bool,
    ) {
        self.measure(segment);
        let idle = self
            .data_at
            .elapsed(cx.now)
            .as_millis()
            .min(u64::from(u16::MAX)) as u16;
        self.data_at = Tick::new(cx.now);
        let rto = rto.as_millis().min(u64::from(u16::MAX)) as u16;
        if self.ato == 0 {
            self.ato = ATO_MIN;
        } else if idle <= ATO_MIN >> 1 {
            // The fastest case: half the time between segments.
            self.ato = (self.ato >> 1).saturating_add(ATO_MIN >> 1);
        } else if idle < self.ato {
            self.ato = (self.ato >> 1).saturating_add(idle).min(rto);
        } else if idle > rto {
            // The peer has been silent, and starts slowly again.
            self.quick = QUICK_ACKS;
        }
        // RFC 9293: "an ACK SHOULD be generated for at least every second full-sized segment"; counted in
        // bytes, because one segment here can be many on the wire.
        let unacked = link.last_ack.distance_to(link.rcv_nxt);
        let second = unacked > u32::from(self.rcv_mss);
        let quick = self.quick > 0 && !self.interactive;
        if second || quick || hole {
            self.quick = self.quick.saturating_sub(1);
            link.owed.insert(Owed::ACK);
        } else if timers.get(TimerKind::DelayedAck).is_none() {
            let delay = Duration::from_millis(u64::from(self.ato.clamp(ATO_MIN, ATO_MAX)));
            timers.set(TimerKind::DelayedAck, cx.now + delay);
        }
    }

    /// The peer repairs a loss, or has reduced its window: it waits for every acknowledgment (Linux's
    /// `tcp_enter_quickack_mode`).
    pub(super) fn hurry(&mut self, quick: u8) {
        self.quick = self.quick.max(quick);
        self.interactive = false;
        self.ato = ATO_MIN;
    }

    /// Linux's `tcp_measure_rcv_mss`.
    fn measure(&mut self, segment: &Segment) {
        let len = segment.payload_len.min(u32::from(self.advertised_mss)) as u16;
        if len >= self.rcv_mss {
            self.rcv_mss = len.max(1);
        } else {
            // A peer that sends the same smaller size again and again has lowered its MSS.
            if len == self.last_len && len >= 536 && !segment.has(Flags::PSH) {
                self.rcv_mss = len;
            }
            if segment.has(Flags::PSH) {
                self.pushed = self.pushed.saturating_add(1).min(2);
            }
        }
        self.last_len = len;
    }

    /// The delayed acknowledgment's time has come.
    pub(super) fn on_delay_over(&mut self, link: &mut Link, rto: Duration) {
        if link.owed.contains(Owed::ACK_LATER) {
            link.owed.remove(Owed::ACK_LATER);
            link.owed.insert(Owed::ACK);
            return;
        }
        if link.last_ack == link.rcv_nxt {
            return;
        }
        if self.interactive {
            // The answer did not come: do not count on it.
            self.interactive = false;
            self.ato = ATO_MIN;
        } else {
            let rto = rto.as_millis().min(u64::from(u16::MAX)) as u16;
            self.ato = self.ato.saturating_mul(2).min(rto);
        }
        link.owed.insert(Owed::ACK);
    }

    /// Data is sent: when it follows close on received data, the user answers.
    pub(super) fn on_data_sent(&mut self, cx: &Context<'_>) {
        if self.ato != 0
            && self.data_at.elapsed(cx.now) < Duration::from_millis(u64::from(self.ato))
        {
            self.interactive = true;
        }
        self.pushed = 0;
    }

    /// The user has read, or the buffer has changed: there is room for `space` bytes from RCV.NXT on, of `full` in all.
    pub(super) fn set_space(&mut self, link: &mut Link, space: u32, full: u32) {
        let grown = space > self.space || full < self.full;
        self.space = space;
        self.full = full.max(space);
        if !grown {
            return;
        }
        let (now, new) = (link.rcv_wnd(), self.window(link));
        let mss = u32::from(self.advertised_mss);
        // Linux's rule: an update is worth a segment when it doubles the window; or when it lets a
        // peer go on that waits for room for a full segment.
        let worth = new >= now.saturating_mul(2) || (now < mss && new >= mss);
        // Linux's tcp_cleanup_rbuf: the user has read all, and the peer, with Nagle's algorithm, may
        // be waiting for the acknowledgment of a small segment.
        let unacked = link.last_ack.distance_to(link.rcv_nxt);
        let waiting = unacked != 0
            && (unacked > u32::from(self.rcv_mss)
                || (space >= self.full
                    && (self.pushed > 1 || (self.pushed == 1 && !self.interactive))));
        if waiting {
            link.owed.insert(Owed::ACK);
        } else if new > now && worth {
            link.owed.insert(Owed::WINDOW);
        }
    }

    /// The user has read `bytes`: the window that the buffer should be able to offer, if that is more than it is now.
    pub(super) fn on_read(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        bytes: u32,
        limit: u32,
    ) -> Option<u32> {
        let ahead = autotune::ahead(link, &self.sack);
        let window = self.tune.on_read(cx, bytes, ahead)?.min(limit);
        (window > self.full).then_some(window)
    }

    /// The receiver's measurement of the round trip.
    pub(super) fn rtt(&self) -> Duration {
        Duration::from_micros(u64::from(self.tune.rtt()))
    }

    /// The window to offer, in bytes: never less than what is offered already, and not a little more
    /// (RFC 9293 section 3.8.6.2.2).
    fn window(&self, link: &Link) -> u32 {
        let now = link.rcv_wnd();
        let grain = (self.full / 2).min(u32::from(self.advertised_mss)).max(1);
        // One unit of the scale is kept back, for rounding up later.
        let unit = link.rcv_scale.unit().wrapping_sub(1);
        // More cannot be named, and so is not worth an update.
        let most = self.space.min(link.rcv_scale.widen(u16::MAX));
        let space = match most > unit.saturating_mul(4) {
            true => most.saturating_sub(unit),
            false => most,
        };
        if space >= now.saturating_add(grain) {
            space
        } else {
            now
        }
    }

    /// The window field for a segment that is sent now; moves the right edge.
    ///
    /// The field counts in units of the scale. A window that grows is rounded down. One that stays, because
    /// RCV.NXT came closer, is rounded up as long as there is room, so that the edge does not move back;
    /// without room it is rounded down, which RFC 7323 section 2.4 foresees: what was offered once is still accepted.
    pub(super) fn offer(&mut self, link: &mut Link) -> u16 {
        let unit = link.rcv_scale.unit();
        let down = |bytes: u32| bytes & !unit.wrapping_sub(1);
        let now = link.rcv_wnd();
        let new = self.window(link);
        let mut offered = down(new);
        if offered < now {
            let up = down(now.saturating_add(unit.wrapping_sub(1)));
            if up <= self.space.max(now) {
                offered = up;
            }
        }
        self.pushed = 0;
        let field = link.rcv_scale.narrow(offered);
        let edge = link.rcv_nxt.add(link.rcv_scale.widen(field));
        link.rcv_edge = SeqNum::max(link.rcv_edge, edge);
        field
    }

    /// The user answers what it receives, or not.
    pub(super) fn set_interactive(&mut self, on: bool) {
        self.interactive = on;
    }

    pub(super) fn is_interactive(&self) -> bool {
        self.interactive
    }

    /// The acknowledgment that is held back goes as soon as the user has read all: at once, perhaps.
    pub(super) fn release_ack(&mut self, link: &mut Link) {
        self.pushed = self.pushed.max(1);
        let unacked = link.last_ack.distance_to(link.rcv_nxt);
        if unacked > u32::from(self.rcv_mss) || self.space >= self.full {
            link.owed.insert(Owed::ACK);
        }
    }

    /// How long ago data last came.
    pub(super) fn idle(&self, now: Instant) -> Duration {
        self.data_at.elapsed(now)
    }

    /// Bytes for which there is buffer.
    pub(super) fn space(&self) -> u32 {
        self.space
    }

    /// The estimate of the peer's segment size.
    pub(super) fn rcv_mss(&self) -> u16 {
        self.rcv_mss
    }

    /// The MSS that we announced.
    pub(super) fn advertised_mss(&self) -> u16 {
        self.advertised_mss
    }
}

/// The first octets of `range` that had come before, out of order (RFC 2883 section 4.1.1, as Linux tells them: the lowest block
/// alone).
fn first_overlap(reassembly: &Reassembly, range: SeqRange) -> Option<SeqRange> {
    let mut first: Option<SeqRange> = None;
    for block in reassembly.iter() {
        let lower = first.is_none_or(|first| block.start.before(first.start));
        if lower && block.start.before(range.end()) {
            first = Some(block);
        }
    }
    let first = first?;
    let end = SeqNum::min(first.end(), range.end());
    Some(SeqRange::between(first.start, end))
}
