// SPDX-License-Identifier: GPL-2.0

//! What every synchronized connection holds: the numbers that both sides agree on, what they have
//! negotiated, and which segments without data are owed.

use core::num::NonZeroU16;

use super::ecn::EcnState;
use super::mtu::Search;
use super::receive::Receiver;
use super::state::State;
use super::tally::Tally;
use super::timers::{Tick, Timers};
use crate::context::Context;
use crate::happening::Happening;
use crate::reply;
use crate::segment::Segment;
use crate::seq::{SeqNum, SeqRange};
use crate::time::{Duration, Instant};
use crate::transmit::{Acknowledgment, Transmit, TransmitKind};
use crate::wire::{
    sack_room, Ecn, Flags, Header, Options, SackBlocks, Signature, Timestamps, WindowScale,
};

/// The state of RFC 7323's timestamps on one connection. Packed: ten bytes stand beside the ten of [`Link`]'s small fields.
#[derive(Clone, Copy, Debug)]
#[repr(Rust, packed(2))]
pub(super) struct Stamps {
    /// Added to our clock.
    pub(super) offset: u32,
    /// TS.Recent.
    pub(super) recent: u32,
    /// When TS.Recent was taken, in hours modulo seven years.
    recent_at: NonZeroU16,
}

impl Stamps {
    /// `recent` has just come.
    pub(super) fn new(cx: &Context<'_>, offset: u32, recent: u32) -> Self {
        Stamps {
            offset,
            recent,
            recent_at: hours(cx),
        }
    }

    /// How many hours ago TS.Recent was taken.
    fn age(self, cx: &Context<'_>) -> u16 {
        hours(cx).get().wrapping_sub(self.recent_at.get())
    }
}

/// Now, in hours; never zero, so that `Option` costs nothing.
fn hours(cx: &Context<'_>) -> NonZeroU16 {
    NonZeroU16::new((cx.now.as_secs32() / 3600) as u16).unwrap_or(NonZeroU16::MAX)
}

/// Segments without data that are to be sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Owed(u8);

impl Owed {
    pub(super) const NONE: Owed = Owed(0);
    /// An acknowledgment, now.
    pub(super) const ACK: Owed = Owed(1);
    /// An acknowledgment that tells of a larger window.
    pub(super) const WINDOW: Owed = Owed(2);
    /// A challenge ACK (RFC 5961).
    pub(super) const CHALLENGE: Owed = Owed(4);
    /// A keepalive probe.
    pub(super) const KEEPALIVE: Owed = Owed(8);
    /// A zero-window probe.
    pub(super) const PROBE: Owed = Owed(16);
    /// An acknowledgment that could not be sent, when the delayed acknowledgment's timer expires.
    pub(super) const ACK_LATER: Owed = Owed(32);
    /// A segment without data at SND.UNA, which tells of urgent data that a closed window keeps here (RFC 9293 section 3.8.5).
    pub(super) const URGENT_PROBE: Owed = Owed(64);
    /// What any segment that carries an ACK fulfils.
    const ANY_ACK: Owed = Owed(1 | 2 | 4 | 32);

    pub(super) fn insert(&mut self, other: Owed) {
        self.0 |= other.0;
    }

    pub(super) fn remove(&mut self, other: Owed) {
        self.0 &= !other.0;
    }

    pub(super) const fn contains(self, other: Owed) -> bool {
        self.0 & other.0 != 0
    }

    /// An acknowledgment, and nothing that is another segment.
    pub(super) const fn is_acknowledgment(self) -> bool {
        self.0 & !(Owed::WINDOW.0 | Owed::ACK_LATER.0) == Owed::ACK.0
    }

    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }
}

/// The scales of both windows in one byte.
#[derive(Clone, Copy, Debug)]
pub(super) struct Scales(u8);

impl Scales {
    pub(super) const fn new(snd: WindowScale, rcv: WindowScale) -> Self {
        Scales((snd.get() << 4) | rcv.get())
    }
}

/// What both directions share.
#[derive(Clone, Copy, Debug)]
pub(super) struct Link {
    /// SND.UNA: the oldest number that the peer has not acknowledged.
    pub(super) snd_una: SeqNum,
    /// SND.NXT: behind the highest number ever sent. Retransmission does not move it back.
    pub(super) snd_nxt: SeqNum,
    /// RCV.NXT.
    pub(super) rcv_nxt: SeqNum,
    /// The right edge of the largest window ever offered (RFC 7323 section 2.4: what lies before it is to be accepted;
    /// Linux's rcv_mwnd_seq).
    pub(super) rcv_edge: SeqNum,
    /// RCV.NXT + RCV.WND: the right edge of the window offered last, which is the same one as long as none was taken back.
    pub(super) rcv_end: SeqNum,
    /// Last.ACK.sent (RFC 7323 section 4.3).
    pub(super) last_ack: SeqNum,
    pub(super) stamps: Option<Stamps>,
    /// When the peer was last heard of.
    pub(super) heard: Tick,
    /// When an invalid segment was last answered.
    pub(super) challenged: Tick,
    /// The MSS that the peer announced.
    pub(super) peer_mss: u16,
    /// The largest MSS that the peer may use: what we announced.
    pub(super) advertised_mss: u16,
    /// The MSS to send, before options but for a signature: the least of the peer's, the path's and the user's.
    pub(super) mss: u16,
    /// And as far as is known.
    pub(super) search: Search,
    pub(super) scales: Scales,
    /// And whether SACK was negotiated: see [`sack`](Link::sack).
    pub(super) ecn: EcnState,
    pub(super) owed: Owed,
    /// Unanswered probes, keepalive's or zero-window.
    pub(super) probes: u8,
    pub(super) tally: Tally,
}

/// 24 days in hours: the age at which TS.Recent is no longer valid (RFC 7323 section 5.5).
const STAMP_LIFE: u16 = 24 * 24;

/// Bytes that the timestamp option takes in every segment.
pub(super) const STAMP_LEN: u16 = 12;

impl Link {
    /// The oldest acknowledgment that a peer may send again whose window was `window` at most (RFC 5961 section 5.2).
    ///
    /// Deviation: RFC 5961 section 5.2 takes those of a whole window. As in Linux none of what was never ours: while little was sent,
    /// most of the window's numbers would let through text of somebody who only guesses.
    pub(super) fn oldest_ack(&self, window: u32) -> SeqNum {
        let acked = u32::try_from(self.tally.numbers_acked()).unwrap_or(u32::MAX);
        self.snd_una.sub(window.min(acked))
    }

    /// SND.NXT - SND.UNA.
    pub(super) fn in_flight(&self) -> u32 {
        self.snd_una.distance_to(self.snd_nxt)
    }

    /// The scale of the window that the peer offers.
    pub(super) const fn snd_scale(&self) -> WindowScale {
        WindowScale::new(self.scales.0 >> 4)
    }

    /// The scale of the window that we offer.
    pub(super) const fn rcv_scale(&self) -> WindowScale {
        WindowScale::new(self.scales.0 & 15)
    }

    /// SACK was negotiated.
    pub(super) const fn sack(&self) -> bool {
        self.ecn.has_sack()
    }

    /// RCV.WND (Linux's `tcp_receive_window`).
    pub(super) fn rcv_wnd(&self) -> u32 {
        span(self.rcv_nxt, self.rcv_end)
    }

    /// The window as it was when it was offered last (Linux's rcv_wnd).
    pub(super) fn offered(&self) -> u32 {
        span(self.last_ack, self.rcv_end)
    }

    /// Where a segment may begin at most. A peer may have sent more than was offered, and that may have been taken.
    pub(super) fn rcv_limit(&self) -> SeqNum {
        SeqNum::max(self.rcv_edge, self.rcv_nxt)
    }

    /// Payload of the largest segment that the peer may send (Linux's advmss once the SYNs are exchanged).
    pub(super) fn advmss(&self) -> u16 {
        self.advertised_mss.saturating_sub(self.options_len())
    }

    /// How many of `blocks` blocks of SACK there is room for beside a signature.
    pub(super) fn sack_fits(&self, blocks: usize, signature: Signature) -> usize {
        let others = self
            .options_len()
            .saturating_add(u16::from(signature.wire_len()));
        blocks.min(sack_room(usize::from(others)))
    }

    /// Bytes of payload that fit into a segment with `sack` blocks of SACK.
    pub(super) fn payload_mss(&self, sack: usize) -> u16 {
        let sack = match sack {
            0 => 0,
            n => 4u16.saturating_add(8u16.saturating_mul(n as u16)),
        };
        // 48 less 40 bytes of options.
        let mss = self.search.bound(self.mss);
        mss.saturating_sub(self.options_len())
            .saturating_sub(sack)
            .max(8)
    }

    /// Bytes of options in each segment, without SACK.
    pub(super) fn options_len(&self) -> u16 {
        match self.stamps.is_some() {
            true => STAMP_LEN,
            false => 0,
        }
    }

    /// Owes an ACK in answer to an invalid segment, unless the last such answer is too recent
    /// (RFC 5961 section 7).
    ///
    /// Deviation: RFC 5961 section 7 suggests one limit for all connections, ten in five seconds. Who shares such a limit can find out
    /// about the connections of others (CVE-2016-5696): here each has its own, one in half a second. RFC 9293 section 3.10.7.4 would
    /// have every unacceptable segment answered; two hosts that find each other's unacceptable would not end.
    pub(super) fn challenge(&mut self, cx: &Context<'_>, why: Owed, skipped: Happening) {
        if self.may_challenge(cx) {
            self.challenged = Tick::new(cx.now);
            self.owed.insert(why);
        } else {
            cx.count(skipped);
        }
    }

    /// Owes a challenge ACK (RFC 5961).
    pub(super) fn challenge_peer(&mut self, cx: &Context<'_>) {
        self.challenge(cx, Owed::CHALLENGE, Happening::TCPACKSkippedChallenge);
    }

    /// The same in answer to a SYN, in `state`.
    pub(super) fn challenge_syn(&mut self, cx: &Context<'_>, state: State) {
        if state == State::Established {
            cx.count(Happening::InErrs);
        }
        cx.count(Happening::TCPSYNChallenge);
        self.challenge_peer(cx);
    }

    /// Whether the last answer to an invalid segment is long enough ago for another one.
    pub(super) fn may_challenge(&self, cx: &Context<'_>) -> bool {
        let limit = cx.config.invalid_ratelimit;
        limit.is_zero() || self.challenged.elapsed(cx.now) >= limit
    }

    /// The first tick at which a challenge is allowed.
    pub(super) fn never_challenged(cx: &Context<'_>) -> Tick {
        Tick::before(cx.now, cx.config.invalid_ratelimit)
    }

    /// PAWS (RFC 7323 section 5.3): whether the segment's timestamp is older than one already seen.
    ///
    /// Deviation: RFC 7323 section 3.2 drops a segment without a timestamp where they were agreed on. As in Linux it is taken: there are
    /// middleboxes that remove the option, and a connection that stands still for good is worse than one without PAWS.
    pub(super) fn is_stale(&self, cx: &Context<'_>, theirs: Option<Timestamps>) -> bool {
        match (self.stamps, theirs) {
            (Some(stamps), Some(theirs)) => {
                reply::is_stale(theirs.val, stamps.recent) && stamps.age(cx) < STAMP_LIFE
            }
            _ => false,
        }
    }

    /// By how much a timestamp is older than TS.Recent, in ticks of the peer's clock.
    pub(super) fn stamp_lag(&self, theirs: Option<Timestamps>) -> Option<u32> {
        Some(self.stamps?.recent.wrapping_sub(theirs?.val))
    }

    /// Takes TS.Recent from an acceptable segment (RFC 7323 section 4.3, rule 2).
    pub(super) fn take_stamp(&mut self, cx: &Context<'_>, segment: &Segment) {
        let last_ack = self.last_ack;
        if let (Some(stamps), Some(theirs)) = (&mut self.stamps, segment.header.options.timestamps)
        {
            if segment.seq().before_eq(last_ack) {
                stamps.recent = theirs.val;
                stamps.recent_at = hours(cx);
            }
        }
    }

    /// The round trip that the segment's timestamp echo tells.
    pub(super) fn stamp_rtt(&self, cx: &Context<'_>, segment: &Segment) -> Option<Duration> {
        let stamps = self.stamps?;
        let theirs = segment.header.options.timestamps?;
        if theirs.ecr == 0 {
            return None;
        }
        crate::rtt::timestamp_rtt(cx.now.timestamp_ms(stamps.offset), theirs.ecr)
    }

    /// The timestamp that the segment echoes, if it echoes one (RFC 7323 section 3.2).
    pub(super) fn stamp_echo(&self, segment: &Segment) -> Option<u32> {
        self.stamps?;
        let theirs = segment.header.options.timestamps?;
        (theirs.ecr != 0).then_some(theirs.ecr)
    }

    /// What TSval was at `at`.
    pub(super) fn stamp_at(&self, at: Instant) -> Option<u32> {
        Some(at.timestamp_ms(self.stamps?.offset))
    }

    /// A segment to send: everything in it that depends on what has been received is filled in, and what
    /// was owed of acknowledgments is fulfilled by it.
    pub(super) fn compose(
        &mut self,
        cx: &Context<'_>,
        timers: &mut Timers,
        rcv: Option<&mut Receiver>,
        body: Body,
    ) -> Transmit {
        let (window, sack) = match rcv {
            Some(rcv) => {
                let window = rcv.offer(cx, self);
                (window, rcv.take_sack())
            }
            // Nothing more is to come: what was offered stands.
            None => (
                self.rcv_scale().narrow(self.rcv_wnd()),
                SackBlocks::default(),
            ),
        };
        self.fulfil(cx, timers);
        Transmit {
            header: Header {
                seq: body.seq,
                ack: self.rcv_nxt,
                flags: body.flags.union(Flags::ACK).union(self.ecn.echo()),
                window,
                options: Options {
                    timestamps: self.echo(cx),
                    sack,
                    ..Options::default()
                },
                ..Header::default()
            },
            payload: SeqRange::new(body.seq, body.len),
            mss: body.mss,
            ecn: Ecn::NotEct,
            kind: body.kind,
            persist: None,
        }
    }

    /// A segment tells what has come.
    fn fulfil(&mut self, cx: &Context<'_>, timers: &mut Timers) {
        self.owed.remove(Owed::ANY_ACK);
        if timers.stop_holding() {
            // Also the one that the timer would have sent.
            cx.count(Happening::TCPAckCompressed);
        }
        self.last_ack = self.rcv_nxt;
    }

    /// As [`compose`](Link::compose), a segment with nothing but the acknowledgment. All that was sent is acknowledged.
    pub(super) fn acknowledge(
        &mut self,
        cx: &Context<'_>,
        timers: &mut Timers,
        rcv: &mut Receiver,
    ) -> Acknowledgment {
        let window = rcv.offer(cx, self);
        let sack = match rcv.reports() {
            true => rcv.take_sack(),
            false => SackBlocks::new(),
        };
        self.fulfil(cx, timers);
        self.tally.on_bare_sent();
        Acknowledgment {
            seq: self.snd_nxt,
            ack: self.rcv_nxt,
            window,
            flags: Flags::ACK.union(self.ecn.echo()),
            timestamps: self.echo(cx),
            sack,
        }
    }

    /// The timestamp option for a segment sent now.
    pub(super) fn echo(&self, cx: &Context<'_>) -> Option<Timestamps> {
        self.stamps.map(|stamps| Timestamps {
            val: cx.now.timestamp_ms(stamps.offset),
            ecr: stamps.recent,
        })
    }

    /// The number of a segment without data: SND.NXT; or, where the peer has taken back so much of its window that `edge`, its right
    /// end, lies before that, this. What lies beyond a window is not acceptable, and its acknowledgment would go unread
    /// (Linux's `tcp_acceptable_seq`, which leaves what a window's scale cuts off as it is).
    pub(super) fn acceptable_seq(&self, edge: SeqNum) -> SeqNum {
        let beyond = span(edge, self.snd_nxt);
        match beyond < self.rcv_scale().unit() {
            true => self.snd_nxt,
            false => edge,
        }
    }

    /// The pure acknowledgment or the probe that is owed, if one is. `edge` is the right end of the peer's window.
    pub(super) fn poll(
        &mut self,
        cx: &Context<'_>,
        timers: &mut Timers,
        rcv: Option<&mut Receiver>,
        edge: SeqNum,
    ) -> Option<Transmit> {
        let owed = self.owed;
        // Probes first: they acknowledge as well. Both are an old number without data, to which every TCP
        // answers (as in Linux; RFC 9293 section 3.8.4, SEG.SEQ = SND.NXT-1).
        //
        // Deviation: RFC 9293 section 3.8.6.1 probes a window with an octet of data. As in Linux with none: nothing has to be kept for
        // sending again, and nothing has to be taken back when the peer refuses it.
        let (seq, kind) = if owed.contains(Owed::URGENT_PROBE) {
            self.owed.remove(Owed::URGENT_PROBE);
            cx.count(Happening::TCPWinProbe);
            (self.snd_una, TransmitKind::Probe)
        } else if owed.contains(Owed::PROBE) {
            self.owed.remove(Owed::PROBE);
            cx.count(Happening::TCPWinProbe);
            (self.snd_una.sub(1), TransmitKind::Probe)
        } else if owed.contains(Owed::KEEPALIVE) {
            self.owed.remove(Owed::KEEPALIVE);
            cx.count(Happening::TCPKeepAlive);
            (self.snd_una.sub(1), TransmitKind::KeepAlive)
        } else if owed.contains(Owed::CHALLENGE) {
            (self.acceptable_seq(edge), TransmitKind::ChallengeAck)
        } else if owed.contains(Owed::ACK) {
            (self.acceptable_seq(edge), TransmitKind::Ack)
        } else if owed.contains(Owed::WINDOW) {
            (self.acceptable_seq(edge), TransmitKind::WindowUpdate)
        } else {
            return None;
        };
        let body = Body {
            seq,
            len: 0,
            flags: Flags::ACK,
            mss: 0,
            kind,
        };
        let segment = self.compose(cx, timers, rcv, body);
        self.tally.on_sent(&segment, false);
        Some(segment)
    }
}

/// The octets from `start` to `end`; 0 where the end comes first.
fn span(start: SeqNum, end: SeqNum) -> u32 {
    match end.after(start) {
        true => start.distance_to(end),
        false => 0,
    }
}

/// What is left to say about a segment besides acknowledgment, window and options.
#[derive(Clone, Copy, Debug)]
pub(super) struct Body {
    pub(super) seq: SeqNum,
    pub(super) len: u32,
    pub(super) flags: Flags,
    pub(super) mss: u16,
    pub(super) kind: TransmitKind,
}
