// SPDX-License-Identifier: GPL-2.0

//! The receiving half: which bytes are accepted, when acknowledgments are sent. The window is `window.rs`'s.

use super::autotune::Autotune;
use super::info::ReceiverEnd;
use super::link::{Link, Owed};
use super::memory::{self, Packet, Useless};
use super::send::Sender;
use super::timers::{Tick, TimerKind, Timers};
use super::urgent::UrgentPlace;
use super::window::Buffer;
use crate::context::Context;
use crate::happening::Happening;
use crate::reassembly::Reassembly;
use crate::rtt::INITIAL_RTO;
use crate::segment::Segment;
use crate::seq::{SeqNum, SeqRange};
use crate::time::{Duration, Instant};
use crate::wire::{Flags, Mss, SackBlocks};

/// What the caller has for the payload of one segment.
#[derive(Debug, Default)]
pub struct Rx<'a> {
    /// The connection's out-of-order ranges. Always the same one, until it is empty; `None` drops what is
    /// out of order.
    pub reassembly: Option<&'a mut Reassembly>,
    /// Whether the packet has been charged to the buffer and may be kept: see
    /// [`make_room`](super::Connection::make_room).
    pub room: bool,
    /// What it is besides the segment.
    pub packet: Packet,
    /// What a buffer may grow to (`tcp_rmem[2]`).
    pub most: u32,
    /// Bytes in the receive queue.
    pub unread: u32,
    /// The user waits for so many (`SO_RCVLOWAT`).
    pub lowat: u32,
    /// The peer's urgent byte; `None`: what the peer says of it is ignored.
    pub urgent: Option<UrgentPlace<'a>>,
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
    pub(super) buffer: Buffer,
    /// The SACK blocks for the next acknowledgments, then empty ones. As many as fit beside timestamps.
    sack: [SeqRange; 3],
    /// Where the peer's FIN stands, when it came before data that it follows; before RCV.NXT: it has not come, or is out of reach
    /// as the data went on beyond it.
    fin: SeqNum,
    /// When data last came.
    data_at: Tick,
    /// An estimate of the segment size that the peer does use.
    rcv_mss: u16,
    /// The size of the last segment.
    last_len: u16,
    /// How long an acknowledgment is held back, in milliseconds; 0 before any data, [`ATO_MAX`] at most.
    ato: u8,
    /// So many more segments are acknowledged at once (the peer's slow start).
    quick: u8,
    pub(super) facts: Facts,
    /// Of 256 bytes of the buffer, so many are payload (Linux's scaling_ratio).
    pub(super) share: u8,
    pub(super) tune: Autotune,
}

/// Some facts in one byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Facts(u8);

impl Facts {
    /// The user answers what it receives: an acknowledgment that waits will travel with the answer.
    const INTERACTIVE: Facts = Facts(1);
    /// The first block of `sack` is a D-SACK, which is sent once (RFC 2883 section 4).
    const DSACK: Facts = Facts(2);
    /// What came in order was refused for want of memory: the next segment says that the window is closed (Linux's
    /// ICSK_ACK_NOMEM).
    pub(super) const NO_MEMORY: Facts = Facts(4);
    /// A segment of the buffer is kept back, as long as it is not known what packets cost (Linux's `tcp_init_buffer_space`).
    pub(super) const RESERVED: Facts = Facts(32);
    /// Since the last acknowledgment a segment has come behind which a peer with Nagle's algorithm may wait,
    const PUSHED: Facts = Facts(8);
    /// and another one.
    const PUSHED_TWICE: Facts = Facts(16);

    pub(super) fn has(self, fact: Facts) -> bool {
        self.0 & fact.0 != 0
    }

    pub(super) fn set(&mut self, fact: Facts, on: bool) {
        match on {
            true => self.0 |= fact.0,
            false => self.0 &= !fact.0,
        }
    }

    pub(super) fn take(&mut self, fact: Facts) -> bool {
        let had = self.has(fact);
        self.set(fact, false);
        had
    }
}

/// Linux's TCP_MIN_MSS.
const LEAST_MSS: u16 = 88;

/// How long the acknowledgment of a FIN is held back where no data came before it, in milliseconds. Linux sets a timer of no
/// length then, which expires with the next tick of its clock: time for the user to close too, and for one segment less.
const ATO_UNKNOWN: u8 = 1;
/// Linux's TCP_ATO_MIN and TCP_DELACK_MIN: the shortest delay of an acknowledgment, in milliseconds.
const ATO_MIN: u8 = 40;
/// Linux's TCP_DELACK_MAX. RFC 9293 section 3.8.6.3 allows 500.
const ATO_MAX: u8 = 200;
/// Linux's TCP_MAX_QUICKACKS.
pub(super) const QUICK_ACKS: u8 = 16;
/// What Linux takes for a mark, and for what seems to be sent again (`tcp_data_ecn_check`).
const ECN_QUICK_ACKS: u8 = 2;

/// Smaller segments say nothing about how much memory the peer's take (Linux's `tcp_event_data_recv`).
const LEAST_TELLING: u32 = 128;

/// How what brings nothing in order is acknowledged.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Answer {
    /// Duplicate, or beyond the window: at once (RFC 5681 section 4.2), and the peer waits for those that follow, too.
    Hurry,
    AtOnce,
    /// With others of its kind, if `grows` says that it is of the block that was told last: a new one is told at once, before others push it
    /// out of the report.
    Together {
        grows: bool,
    },
    /// It is out of order and could not be kept: as one that was lost.
    ///
    /// Deviation: RFC 5681 section 4.2 acknowledges what is out of order, kept or not. As in Linux what memory refuses is not answered: it would
    /// tell the peer nothing that it does not know, and has a flood answered.
    Never,
}

/// Whether the segment brought the FIN in order.
#[must_use]
pub(super) enum FinStatus {
    NotYet,
    /// It did. Its acknowledgment may wait so long for an answer of the user's to travel with, in a state where one is to
    /// be expected.
    InOrder(Option<Duration>),
}

impl Receiver {
    /// A buffer that makes a window of `space`, of which `link` says how much has been offered.
    pub(super) fn new(cx: &Context<'_>, link: &Link, space: u32) -> Self {
        Receiver {
            buffer: Buffer::new(space, link.offered(), link.advmss()),
            sack: [SeqRange::default(); 3],
            fin: link.rcv_nxt.sub(1),
            data_at: Tick::new(cx.now),
            rcv_mss: first_rcv_mss(link),
            last_len: 0,
            ato: 0,
            quick: QUICK_ACKS,
            facts: Facts::RESERVED,
            share: memory::FIRST_SHARE,
            tune: Autotune::new(cx, space),
        }
    }

    /// Takes the payload and the FIN of a segment whose number has been found acceptable (RFC 9293
    /// section 3.10.7.4, seventh and eighth).
    pub(super) fn on_text(
        &mut self,
        cx: &Context<'_>,
        link: &mut Link,
        timers: &mut Timers,
        snd: Option<&Sender>,
        segment: &Segment,
        mut rx: Rx<'_>,
    ) -> (Payload, FinStatus) {
        let payload = segment.payload();
        let fin = segment.has(Flags::FIN);
        self.forget_fin(link);
        if payload.is_empty() && !fin {
            return (Payload::None, FinStatus::NotYet);
        }
        if fin {
            self.note_fin(link, segment, rx.unread);
        }
        let before = link.rcv_nxt;
        let (taken, answer) = if payload.is_empty() {
            (Payload::None, Answer::Hurry)
        } else {
            let full_sized = payload.len >= u32::from(self.rcv_mss);
            self.tune
                .on_segment(cx, link, segment, full_sized, rx.unread == 0);
            self.take(cx, link, segment, &mut rx)
        };
        // RFC 3168 section 6.1.5: marks on what lies outside of the window mean nothing.
        let inside = payload.end().after(before) && payload.start.before(link.rcv_edge);
        if inside && link.ecn.on_data(segment.ecn) {
            self.hurry(ECN_QUICK_ACKS);
        }
        if matches!(taken, Payload::InOrder { .. }) {
            self.tune.on_data(cx, link);
        }
        if self.fin == link.rcv_nxt {
            // Linux's tcp_fin: the connection is interactive from here on, the acknowledgment is one of those that wait.
            let shut = link.rcv_wnd() == 0;
            let second = link.last_ack.distance_to(link.rcv_nxt) > u32::from(self.rcv_mss);
            let delay = Duration::from_millis(u64::from(self.ato.max(ATO_UNKNOWN)));
            let filled = match taken {
                Payload::InOrder { len, .. } => before.distance_to(link.rcv_nxt) != len,
                _ => before != link.rcv_nxt,
            };
            let now = shut || second || filled || link.owed.contains(Owed::ACK);
            link.rcv_nxt = link.rcv_nxt.add(1);
            return (taken, FinStatus::InOrder((!now).then_some(delay)));
        }
        match (taken, answer) {
            (Payload::InOrder { len, .. }, _) => {
                let came = before.distance_to(link.rcv_nxt);
                let hole = rx.reassembly.as_ref().is_some_and(|r| !r.is_empty());
                let waits = rx.unread.saturating_add(came) < rx.lowat;
                let rto = || snd.map_or(INITIAL_RTO, |snd| snd.rto(cx.config));
                if came != len {
                    // A loss was repaired, and the peer waits for what follows; in Linux it does not, which costs one that repairs losses up
                    // to a quarter of its speed (`tests/goodput.rs`, at 10 %).
                    self.hurry(QUICK_ACKS);
                }
                self.acknowledge(cx, link, timers, rto, waits, came != len || hole);
            }
            (_, Answer::Hurry) => {
                self.hurry(QUICK_ACKS);
                link.owed.insert(Owed::ACK);
            }
            (_, Answer::AtOnce) => link.owed.insert(Owed::ACK),
            (_, Answer::Together { grows }) => {
                let held = timers.get(TimerKind::CompressedAck).is_some();
                let most = cx.config.comp_sack_nr;
                let told = |r: &mut Reassembly| r.may_hold(held, most) && grows;
                match self.compression(cx, link, snd) {
                    Some(delay) if rx.reassembly.is_some_and(told) => match held {
                        true => cx.count(Happening::TCPAckCompressed),
                        false => timers.set(TimerKind::CompressedAck, cx.now + delay),
                    },
                    _ => link.owed.insert(Owed::ACK),
                }
            }
            (_, Answer::Never) => {}
        }
        (taken, FinStatus::NotYet)
    }

    /// How long the acknowledgment of what is out of order, and has been told three times, is held back for others (Linux's SACK compression, in
    /// `__tcp_ack_snd_check`); `None`: it goes at once.
    ///
    /// Deviation: RFC 5681 section 4.2 would have each acknowledged at once. Who sends thousands of small segments out of order would
    /// have as many answers.
    fn compression(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        snd: Option<&Sender>,
    ) -> Option<Duration> {
        if self.quick > 0 && !self.facts.has(Facts::INTERACTIVE) {
            self.quick = self.quick.saturating_sub(1);
            return None;
        }
        if !link.sack() {
            return None;
        }
        let received = Some(self.rtt()).filter(|rtt| !rtt.is_zero());
        let sent = snd.and_then(|snd| snd.rtt().srtt());
        let rtt = received.into_iter().chain(sent).min()?;
        let share = rtt.percent(cx.config.comp_sack_rtt_percent);
        Some(share.min(cx.config.comp_sack_delay)).filter(|delay| !delay.is_zero())
    }

    /// A FIN that lies behind is not to come again when numbers have gone half round.
    fn forget_fin(&mut self, link: &Link) {
        if self.fin.before(link.rcv_nxt) {
            self.fin = link.rcv_nxt.sub(1);
        }
    }

    /// Whether the next acknowledgment has SACK blocks.
    pub(super) fn reports(&self) -> bool {
        let [first, ..] = &self.sack;
        !first.is_empty() || self.facts.has(Facts::DSACK)
    }

    /// Whether the segment, which has data alone and begins at RCV.NXT, can be taken by [`take_expected`](Receiver::take_expected): it lies
    /// in the window, nothing waits behind it, and the peer is not to be told of anything besides.
    pub(super) fn expects(&self, link: &Link, segment: &Segment, rx: &Rx<'_>) -> bool {
        rx.room
            && rx.urgent.is_none()
            && rx.reassembly.as_ref().is_none_or(|r| r.is_empty())
            && self.fin.before(link.rcv_nxt)
            && segment.payload_len <= link.rcv_wnd()
    }

    /// What [`on_text`](Receiver::on_text) would do with a segment that is [expected](Receiver::expects).
    pub(super) fn take_expected(
        &mut self,
        cx: &Context<'_>,
        link: &mut Link,
        timers: &mut Timers,
        rto: impl FnOnce() -> Duration,
        segment: &Segment,
        rx: &Rx<'_>,
    ) {
        self.forget_fin(link);
        let full_sized = segment.payload_len >= u32::from(self.rcv_mss);
        self.tune
            .on_segment(cx, link, segment, full_sized, rx.unread == 0);
        self.keep_in_order(link, segment, rx);
        link.rcv_nxt = segment.payload().end();
        if link.ecn.on_data(segment.ecn) {
            self.hurry(ECN_QUICK_ACKS);
        }
        self.tune.on_data(cx, link);
        let waits = rx.unread.saturating_add(segment.payload_len) < rx.lowat;
        self.acknowledge(cx, link, timers, rto, waits, false);
    }

    /// Remembers where the stream ends. As in Linux, the FIN may stand one beyond what payload may fill.
    fn note_fin(&mut self, link: &Link, segment: &Segment, unread: u32) {
        let at = segment.payload().end();
        let known = self.fin.after_eq(link.rcv_nxt);
        let inside =
            at.before_eq(link.rcv_limit()) || self.refuses(link, segment, unread).is_none();
        if !known && at.after_eq(link.rcv_nxt) && inside {
            self.fin = at;
        }
    }

    /// Whether nothing of the payload may be kept, however much memory there is: it is old, or not in the window (Linux's
    /// `tcp_sequence` and `tcp_data_queue`). A segment that begins in the window may go beyond it up to the largest right edge,
    /// and anywhere where no data waits for the user: nothing but a single packet comes of it.
    pub(super) fn refuses(&self, link: &Link, segment: &Segment, unread: u32) -> Option<Useless> {
        let payload = segment.payload();
        if payload.end().before_eq(link.rcv_nxt) {
            return Some(Useless::Old);
        }
        if payload.end().after(link.rcv_limit()) && unread != 0 {
            return Some(Useless::Beyond);
        }
        let from = SeqNum::max(payload.start, link.rcv_nxt);
        let window = link.rcv_wnd();
        if link.rcv_nxt.distance_to(from) < window {
            return None;
        }
        if from != link.rcv_nxt {
            return Some(Useless::Beyond);
        }
        // What was offered once, only memory can refuse. Linux refuses it as long as it has said that the window is
        // closed, so that a lack of memory that is over costs another timeout.
        (!from.before(link.rcv_edge)).then_some(Useless::Closed)
    }

    /// Takes what is new. Of what is not in order, also how it is acknowledged.
    fn take(
        &mut self,
        cx: &Context<'_>,
        link: &mut Link,
        segment: &Segment,
        rx: &mut Rx<'_>,
    ) -> (Payload, Answer) {
        let payload = segment.payload();
        let from = SeqNum::max(payload.start, link.rcv_nxt);
        let skip = payload.start.distance_to(from);
        let old = SeqRange::new(payload.start, skip.min(payload.len));
        let refused = self.refuses(link, segment, rx.unread).is_some();
        if refused && payload.end().before_eq(link.rcv_nxt) {
            cx.count(Happening::DelayedACKLost);
        }
        if (refused || !rx.room) && !old.is_empty() {
            self.note_duplicate(cx, link, old, rx);
        }
        if refused {
            return (Payload::None, Answer::Hurry);
        }
        let mut end = payload.end();
        if self.fin.after_eq(link.rcv_nxt) {
            end = SeqNum::min(end, self.fin);
        }
        if from.after_eq(end) {
            return (Payload::None, Answer::Hurry);
        }
        let len = from.distance_to(end);
        if !rx.room {
            let next = from == link.rcv_nxt;
            self.facts.set(Facts::NO_MEMORY, next);
            let answer = match next {
                // The peer is not to go on.
                true => Answer::AtOnce,
                false => Answer::Never,
            };
            return (Payload::None, answer);
        }
        if from != link.rcv_nxt {
            let range = SeqRange::new(from, len);
            let Some(reassembly) = rx.reassembly.as_deref_mut() else {
                return (Payload::None, Answer::Never);
            };
            cx.count(Happening::TCPOFOQueue);
            if reassembly.contains_range(range) {
                cx.count(Happening::TCPOFOMerge);
                self.note_duplicate(cx, link, range, rx);
                return (Payload::None, Answer::Together { grows: true });
            }
            let latest = reassembly.latest();
            if !reassembly.insert(range) {
                return (Payload::None, Answer::AtOnce);
            }
            let grows = latest.is_some_and(|latest| latest.touches(range));
            self.update_sack(link, rx, None);
            self.measure(link, segment, &rx.packet);
            if link.sack() {
                // "For non sack flows, do not grow window to force DUPACK and trigger fast retransmit."
                self.open(link, rx, segment.payload_len, false);
            }
            self.buffer.take(rx.packet.truesize);
            return (
                Payload::OutOfOrder { skip, len },
                Answer::Together { grows },
            );
        }
        let mut next = from.add(len);
        let mut report = (!old.is_empty()).then_some(old);
        let mut held = false;
        if let Some(reassembly) = rx.reassembly.as_deref_mut() {
            held = !reassembly.is_empty();
            report = report.or(first_overlap(reassembly, SeqRange::new(from, len)));
            next = reassembly.advance(next);
        }
        // Also where the caller has thrown away what was reported.
        if held || report.is_some() || self.sack_len() != 0 {
            let report = report.filter(|_| cx.config.dsack);
            if report.is_some() && link.sack() {
                // As it will be in a moment.
                cx.count(Happening::TCPDSACKOldSent);
            }
            self.update_sack(link, rx, report);
        }
        self.keep_in_order(link, segment, rx);
        link.rcv_nxt = next;
        (Payload::InOrder { skip, len }, Answer::AtOnce)
    }

    /// What is next in the stream goes into the buffer.
    fn keep_in_order(&mut self, link: &Link, segment: &Segment, rx: &Rx<'_>) {
        self.measure(link, segment, &rx.packet);
        if segment.payload_len >= LEAST_TELLING {
            self.open(link, rx, segment.payload_len, true);
        }
        self.buffer.take(rx.packet.truesize);
    }

    /// A packet has been kept: the window may open with it.
    fn open(&mut self, link: &Link, rx: &Rx<'_>, len: u32, joined: bool) {
        let mss = (self.rcv_mss, link.advmss());
        let most = self.clamp(link);
        if self.buffer.open(rx, len, (self.share, most), mss, joined) {
            self.quick |= 1;
        }
    }

    /// RFC 2883: tells the peer what it has sent in vain.
    pub(super) fn note_duplicate(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        range: SeqRange,
        rx: &Rx<'_>,
    ) {
        let report = link.sack() && cx.config.dsack && range.is_plausible();
        if report {
            cx.count(match range.start.before(link.rcv_nxt) {
                true => Happening::TCPDSACKOldSent,
                false => Happening::TCPDSACKOfoSent,
            });
        }
        self.update_sack(link, rx, report.then_some(range));
    }

    fn update_sack(&mut self, link: &Link, rx: &Rx<'_>, duplicate: Option<SeqRange>) {
        if !link.sack() {
            return;
        }
        // One that is not sent yet stays, as in Linux, and grows if it can.
        let [first, ..] = self.sack;
        let kept = Some(first).filter(|_| self.facts.has(Facts::DSACK));
        let duplicate = match (kept, duplicate) {
            (Some(kept), Some(new)) if kept.touches(new) => Some(kept.hull(new)),
            (kept, new) => kept.or(new),
        };
        self.facts.set(Facts::DSACK, duplicate.is_some());
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
        if !self.reports() {
            return blocks;
        }
        for block in self.sack.iter().filter(|block| !block.is_empty()) {
            blocks.push(*block);
        }
        if self.facts.take(Facts::DSACK) {
            let [_, second, third] = self.sack;
            self.sack = [second, third, SeqRange::default()];
        }
        blocks
    }

    /// Octets that are kept out of order, as far as they are reported.
    pub(super) fn held(&self, link: &Link) -> u32 {
        let ahead = self.sack.iter().filter(|b| b.start.after(link.rcv_nxt));
        ahead.fold(0, |sum, block| sum.saturating_add(block.len))
    }

    /// How many SACK blocks the next segment carries.
    pub(super) fn sack_len(&self) -> usize {
        self.sack.iter().filter(|block| !block.is_empty()).count()
    }

    /// Decides when in-order data is acknowledged (RFC 9293 section 3.8.6.3, RFC 5681 section 4.2, and Linux's
    /// `tcp_event_data_recv`, `__tcp_ack_snd_check`). `waits`: the user needs more before it reads.
    fn acknowledge(
        &mut self,
        cx: &Context<'_>,
        link: &mut Link,
        timers: &mut Timers,
        rto: impl FnOnce() -> Duration,
        waits: bool,
        hole: bool,
    ) {
        let idle = self.data_at.elapsed(cx.now).as_millis();
        self.data_at = Tick::new(cx.now);
        let ato = u64::from(self.ato);
        if ato == 0 {
            self.ato = ATO_MIN;
        } else if idle <= u64::from(ATO_MIN >> 1) {
            // The fastest case: half the time between segments.
            self.ato = (self.ato >> 1).saturating_add(ATO_MIN >> 1);
        } else if idle < ato {
            self.set_ato((ato >> 1).saturating_add(idle), rto().as_millis());
        } else if idle > rto().as_millis() {
            // The peer has been silent, and starts slowly again.
            self.quick = QUICK_ACKS;
        }
        // RFC 9293: "an ACK SHOULD be generated for at least every second full-sized segment"; counted in
        // bytes, because one segment here can be many on the wire. Where the user is behind, its reading
        // will make the window go on, and that is the time.
        let unacked = link.last_ack.distance_to(link.rcv_nxt);
        let second = unacked > u32::from(self.rcv_mss) && (waits || self.window_advances(cx, link));
        let quick = self.quick > 0 && !self.facts.has(Facts::INTERACTIVE);
        if second || quick || hole {
            self.quick = self.quick.saturating_sub(1);
            link.owed.insert(Owed::ACK);
        } else if !timers.holds_acknowledgment() {
            let delay = Duration::from_millis(u64::from(self.ato.max(ATO_MIN)));
            timers.set(TimerKind::DelayedAck, cx.now + delay);
        }
    }

    /// The peer repairs a loss, or has reduced its window: it waits for every acknowledgment (Linux's
    /// `tcp_enter_quickack_mode`).
    ///
    /// Not, as there, for no more segments than half of the window holds: where that is small each of them is waited for.
    pub(super) fn hurry(&mut self, quick: u8) {
        self.quick = self.quick.max(quick);
        self.set_interactive(false);
        self.ato = ATO_MIN;
    }

    /// The buffer fills up: the peer is not to be hurried.
    pub(super) fn be_patient(&mut self) {
        self.quick = 0;
    }

    /// What the packet tells of the peer's segments, and of what they cost (Linux's `tcp_measure_rcv_mss`).
    fn measure(&mut self, link: &Link, segment: &Segment, packet: &Packet) {
        let last = core::mem::take(&mut self.last_len);
        let len = match packet.segment_size {
            0 => segment.payload_len.min(u32::from(u16::MAX)) as u16,
            size => size,
        };
        if len >= self.rcv_mss {
            if len != self.rcv_mss {
                // It has shown what packets cost. Linux waits for one that costs something else than was thought.
                self.facts.set(Facts::RESERVED, false);
                let share = match packet.truesize {
                    0 => self.share,
                    truesize => memory::share_of(segment.payload_len, truesize),
                };
                if share != self.share {
                    self.share = share;
                    self.tune.bound(self.buffer.full(self.share));
                }
            }
            self.rcv_mss = len.min(link.advmss()).max(1);
            if segment.has(Flags::PSH) {
                // Likely the end of what the peer's user has written.
                self.facts.set(Facts::PUSHED, true);
            }
            return;
        }
        // A peer that sends the same smaller size again and again has lowered its MSS. Options take of it: what is one size to
        // the peer is one size to us with them.
        let ends = [Flags::PSH, Flags::FIN, Flags::URG]
            .iter()
            .any(|flag| segment.has(*flag));
        let whole = len.saturating_add(segment.header.options.wire_len() as u16);
        if whole >= Mss::DEFAULT_V4.get() || (whole >= LEAST_MSS && !ends) {
            let len = whole.saturating_sub(link.options_len());
            self.last_len = len;
            if len == last {
                self.rcv_mss = len.max(1);
                return;
            }
        }
        if self.facts.has(Facts::PUSHED) {
            self.facts.set(Facts::PUSHED_TWICE, true);
        }
        self.facts.set(Facts::PUSHED, true);
    }

    /// The delayed acknowledgment's time has come.
    pub(super) fn on_delay_over(&mut self, cx: &Context<'_>, link: &mut Link, rto: Duration) {
        if link.owed.contains(Owed::ACK_LATER) {
            cx.count(Happening::DelayedACKs);
            link.owed.remove(Owed::ACK_LATER);
            link.owed.insert(Owed::ACK);
            return;
        }
        if link.last_ack == link.rcv_nxt {
            return;
        }
        if self.facts.take(Facts::INTERACTIVE) {
            // The answer did not come: do not count on it.
            self.ato = ATO_MIN;
        } else {
            self.set_ato(u64::from(self.ato).saturating_mul(2), rto.as_millis());
        }
        cx.count(Happening::DelayedACKs);
        link.owed.insert(Owed::ACK);
    }

    /// Data is sent: when it follows close on received data, the user answers.
    pub(super) fn on_data_sent(&mut self, cx: &Context<'_>) {
        if self.ato != 0
            && self.data_at.elapsed(cx.now) < Duration::from_millis(u64::from(self.ato))
        {
            self.facts.set(Facts::INTERACTIVE, true);
        }
        self.note_sent();
    }

    /// The peer, with Nagle's algorithm, may be waiting for the acknowledgment of a small segment.
    pub(super) fn is_waited_for(&self) -> bool {
        let interactive = self.facts.has(Facts::INTERACTIVE);
        self.facts.has(Facts::PUSHED_TWICE) || (self.facts.has(Facts::PUSHED) && !interactive)
    }

    /// A segment that carries an acknowledgment is sent.
    pub(super) fn note_sent(&mut self) {
        self.facts.set(Facts::PUSHED, false);
        self.facts.set(Facts::PUSHED_TWICE, false);
    }

    /// Linux bounds it by both, too.
    fn set_ato(&mut self, millis: u64, rto: u64) {
        self.ato = millis.min(rto).min(u64::from(ATO_MAX)) as u8;
    }

    /// The receiver's measurement of the round trip.
    pub(super) fn rtt(&self) -> Duration {
        Duration::from_micros(u64::from(self.tune.rtt()))
    }

    /// The user answers what it receives, or not.
    pub(super) fn set_interactive(&mut self, on: bool) {
        self.facts.set(Facts::INTERACTIVE, on);
    }

    pub(super) fn is_interactive(&self) -> bool {
        self.facts.has(Facts::INTERACTIVE)
    }

    /// The acknowledgment that is held back goes as soon as the user has read all: at once, perhaps.
    pub(super) fn release_ack(&mut self, link: &mut Link) {
        self.facts.set(Facts::PUSHED, true);
        let unacked = link.last_ack.distance_to(link.rcv_nxt);
        if unacked > u32::from(self.rcv_mss) || self.buffer.is_empty() {
            link.owed.insert(Owed::ACK);
        }
    }

    /// What is kept of it for [`Info`](super::Info).
    pub(super) fn end(&self) -> ReceiverEnd {
        ReceiverEnd {
            threshold: self.buffer.threshold(),
            space: self.tune.best(),
            rtt: self.tune.rtt(),
            data_at: self.data_at,
            rcv_mss: self.rcv_mss,
            ato: self.ato,
        }
    }

    /// How long ago data last came.
    pub(super) fn idle(&self, now: Instant) -> Duration {
        self.data_at.elapsed(now)
    }

    /// Payload for which there is buffer.
    pub(super) fn space(&self) -> u32 {
        self.buffer.space(self.share)
    }

    /// The share of the buffer that is payload, of 256.
    pub(super) fn share(&self) -> u8 {
        self.share
    }

    /// The estimate of the peer's segment size.
    pub(super) fn rcv_mss(&self) -> u16 {
        self.rcv_mss
    }
}

/// What the peer's segments are taken for before one has come (Linux's `tcp_initialize_rcv_mss`): small, so that nothing is
/// delayed by mistake, and not more than half of the window, which would never be offered.
fn first_rcv_mss(link: &Link) -> u16 {
    let half = (link.rcv_wnd() / 2).min(u32::from(u16::MAX)) as u16;
    let hint = link.advmss().min(link.payload_mss(0)).min(half);
    hint.min(Mss::DEFAULT_V4.get()).max(LEAST_MSS)
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
