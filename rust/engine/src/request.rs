// SPDX-License-Identifier: GPL-2.0
//! A connection request: what a listener keeps between a SYN and the ACK that completes the
//! handshake (SYN-RECEIVED after a passive OPEN, RFC 9293 section 3.10.7.4).
//!
//! It is no connection: 28 bytes, no timer of its own, nothing that grows. The caller keeps it in its
//! SYN queue together with the addresses, calls [`Request::on_timer`] after [`Request::next_timeout`], and on
//! [`RequestVerdict::Complete`] makes a connection of it with [`Connection::accept`].
//!
//! [`Connection::accept`]: crate::connection::Connection::accept

mod cookie;
mod defer;

pub use defer::{retransmissions, seconds};

use crate::connection::ecn;
use crate::context::Context;
use crate::happening::Happening;
use crate::reply::{self, ReplyLimit};
use crate::rtt::INITIAL_RTO;
use crate::segment::Segment;
use crate::seq::{SeqNum, SeqRange};
use crate::time::Duration;
use crate::transmit::{Transmit, TransmitKind};
use crate::wire::{Ecn, Flags, Header, Options, Signature, Timestamps, WindowScale};

/// What the caller decides about a connection request.
#[derive(Clone, Copy, Debug)]
pub struct RequestOpen {
    /// Our initial sequence number ([`crate::isn::initial`]).
    pub iss: SeqNum,
    /// Added to the clock for TSval ([`crate::isn::timestamp_offset`]).
    pub ts_offset: u32,
    /// The MSS that we announce, in bytes.
    pub advertised_mss: u16,
    /// Bytes that can be received at first; a SYN-ACK announces at most 65535 of them.
    pub recv_space: u32,
    /// The largest receive window that there will ever be, in bytes: it chooses our window scale.
    pub recv_limit: u32,
    /// What signs the connection's segments. A request does not remember it: the caller, who has the keys, puts it into the answers.
    pub signature: Signature,
}

/// A half-open connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Request {
    iss: SeqNum,
    irs: SeqNum,
    ts_recent: u32,
    ts_offset: u32,
    peer_mss: u16,
    advertised_mss: u16,
    window: u16,
    replied: ReplyLimit,
    /// When the SYN-ACK was sent, [`SENT_AGAIN`] or [`SENT_AND_ACKED`].
    sent: u16,
    agreed: Agreed,
}

/// What a segment means for a request.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub enum RequestVerdict {
    /// The ACK of our SYN: make a connection of the request and feed it this very segment. A caller
    /// without room in its accept queue ignores the segment; the request stays as it is.
    Complete,
    /// The peer's SYN came again, so our SYN-ACK was lost: send it again.
    Resend(Transmit),
    /// Send this; the request stays.
    Reply(Transmit),
    /// The peer reset the connection: forget the request.
    Drop,
    /// Nothing is to be done.
    Ignore,
}

/// What a request's timer asks for.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub enum RequestTimer {
    /// Send the SYN-ACK again, and call again after [`Request::next_timeout`].
    Resend(Transmit),
    /// Data is waited for ([`Request::defers`]): call again after [`Request::next_timeout`].
    Wait,
    /// Nobody answered: forget the request.
    Expire,
}

/// In two bytes: what both sides offered, the window scales (four bits each, the peer's and ours), and how often the
/// timer had the SYN-ACK sent again (five bits: more than [`Agreed::MOST_RESENT`] times it never is).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Agreed(u16);

impl Agreed {
    const ECN: u16 = 1;
    const SACK: u16 = 2;
    const TIMESTAMPS: u16 = 4;
    const SND_SCALE_SHIFT: u32 = 3;
    const RCV_SCALE_SHIFT: u32 = 7;
    /// In place of the peer's scale, which is at most 14: windows are not scaled.
    const UNSCALED: u16 = 15;
    const RESENT_SHIFT: u32 = 11;
    /// An hour, with two minutes between the later ones.
    const MOST_RESENT: u8 = 31;

    /// `options`, and the peer's scale and ours.
    fn new(options: u16, scales: Option<(WindowScale, WindowScale)>) -> Self {
        // Scales are at most 14.
        let (snd, rcv) = match scales {
            Some((snd, rcv)) => (u16::from(snd.get()), u16::from(rcv.get())),
            None => (Agreed::UNSCALED, 0),
        };
        let snd = snd.wrapping_shl(Agreed::SND_SCALE_SHIFT);
        let rcv = rcv.wrapping_shl(Agreed::RCV_SCALE_SHIFT);
        Agreed(options | snd | rcv)
    }

    const fn has(self, option: u16) -> bool {
        self.0 & option != 0
    }

    const fn snd_scale(self) -> Option<WindowScale> {
        match self.0.wrapping_shr(Agreed::SND_SCALE_SHIFT) & 15 {
            Agreed::UNSCALED => None,
            scale => Some(WindowScale::new(scale as u8)),
        }
    }

    const fn rcv_scale(self) -> WindowScale {
        WindowScale::new((self.0.wrapping_shr(Agreed::RCV_SCALE_SHIFT) & 15) as u8)
    }

    const fn resent(self) -> u8 {
        self.0.wrapping_shr(Agreed::RESENT_SHIFT) as u8
    }

    /// Counts one more; at most [`Agreed::MOST_RESENT`].
    fn count_resent(&mut self) {
        if self.resent() < Agreed::MOST_RESENT {
            self.0 = self.0.wrapping_add(1u16.wrapping_shl(Agreed::RESENT_SHIFT));
        }
    }
}

/// Ticks of 32 microseconds, which come round after two seconds: longer than the first SYN-ACK waits for its
/// acknowledgment. Never one of the two values below.
fn sent_tick(cx: &Context<'_>) -> u16 {
    ((cx.now.as_micros() >> SENT_SHIFT) as u16).max(2)
}

/// In place of the time: the SYN-ACK was sent more than once.
const SENT_AGAIN: u16 = 0;
/// In place of the time: it was acknowledged, and data is waited for (TCP_DEFER_ACCEPT).
const SENT_AND_ACKED: u16 = 1;

const SENT_SHIFT: u32 = 5;

impl Request {
    /// A request from `syn`, for which [`crate::listen::on_segment`] said
    /// [`Syn`](crate::listen::ListenVerdict::Syn) (RFC 9293 section 3.10.7.2). The caller sends
    /// [`Request::syn_ack`].
    ///
    /// Deviation: RFC 9293 section 3.10.7.2 keeps what a SYN brings of data for later. As in Linux without fast open the peer sends it
    /// again: nothing is kept for somebody who has not shown that the address is his.
    pub fn new(cx: &Context<'_>, syn: &Segment, open: &RequestOpen) -> Self {
        let offered = &syn.header.options;
        let mut agreed = 0;
        let mut scales = None;
        // RFC 7323 section 2.2: a SYN-ACK may carry the option only if the SYN did.
        if let (Some(peer), true) = (offered.window_scale, cx.config.window_scaling) {
            scales = Some((peer, WindowScale::for_limit(open.recv_limit)));
        }
        if offered.sack_permitted && cx.config.sack {
            agreed |= Agreed::SACK;
        }
        if ecn::is_accepted(cx.config, syn) {
            agreed |= Agreed::ECN;
        }
        let mut ts_recent = 0;
        // Beside a signature and timestamps there is little or no room for SACK: of the two a peer that does SACK gets that
        // (Linux's tcp_synack_options()).
        let room = !open.signature.is_some() || agreed & Agreed::SACK == 0;
        if let (Some(Timestamps { val, .. }), true) =
            (offered.timestamps, cx.config.timestamps && room)
        {
            agreed |= Agreed::TIMESTAMPS;
            ts_recent = val;
        }
        let segment = match agreed & Agreed::TIMESTAMPS {
            0 => open.advertised_mss,
            _ => open.advertised_mss.saturating_sub(Timestamps::PADDED_LEN),
        };
        Request {
            iss: open.iss,
            irs: syn.seq(),
            ts_recent,
            ts_offset: open.ts_offset,
            peer_mss: Request::offered_mss(syn).get(),
            advertised_mss: open.advertised_mss,
            window: first_window(open.recv_space, segment),
            replied: ReplyLimit::new(),
            sent: sent_tick(cx),
            agreed: Agreed::new(agreed, scales),
        }
    }

    /// The SYN-ACK. It says yes to ECN each time that it is sent: Linux, which leaves that out of the third and later ones, then
    /// sends ECT to a peer that has not heard of it (RFC 3168 section 6.1.1 forbids that).
    pub fn syn_ack(&self, cx: &Context<'_>) -> Transmit {
        Transmit {
            header: Header {
                seq: self.iss,
                ack: self.rcv_nxt(),
                flags: ecn::answer(Flags::SYN_ACK, self.ecn_agreed()),
                window: self.window,
                options: Options {
                    mss: Some(self.advertised_mss),
                    window_scale: self.window_scales().map(|(_, rcv)| rcv),
                    sack_permitted: self.sack_permitted(),
                    timestamps: self.echo(cx),
                    ..Options::default()
                },
                ..Header::default()
            },
            payload: SeqRange::new(self.snd_nxt(), 0),
            mss: self.peer_mss,
            ecn: Ecn::NotEct,
            kind: TransmitKind::SynAck,
            persist: None,
        }
    }

    /// A segment of this half-open connection (RFC 9293 section 3.10.7.4, SYN-RECEIVED).
    pub fn on_segment(&mut self, cx: &Context<'_>, segment: &Segment) -> RequestVerdict {
        let flags = segment.header.flags;
        // RFC 7323 section 5.3: PAWS is not for RST.
        let stale = !flags.rst() && self.is_stale(segment);

        // The SYN once more.
        //
        // Deviation: RFC 9293 section 3.10.7.4 answers it with an ACK, as it lies before the window. What the peer lacks is the SYN-ACK.
        if segment.seq() == self.irs && flags.syn() && !flags.rst() && !flags.ack() && !stale {
            return match self.replied.permits(cx, segment) {
                true => {
                    self.forget_sent();
                    RequestVerdict::Resend(self.syn_ack(cx))
                }
                false => {
                    cx.count(Happening::TCPACKSkippedSynRecv);
                    RequestVerdict::Ignore
                }
            };
        }

        // "If the segment acknowledgment is not acceptable, form a reset segment <SEQ=SEG.ACK><CTL=RST>".
        //
        // Deviation: RFC 9293 section 3.10.7.4 looks at the sequence number first. As in Linux not here: an ACK of something that we
        // never sent comes from an old connection, whatever its sequence number.
        if flags.ack() && !flags.rst() && !self.is_acked_by(segment.header.ack) {
            return match reply::closed(segment) {
                Some(reset) => RequestVerdict::Reply(reset),
                None => RequestVerdict::Ignore,
            };
        }

        // First, the sequence number: "If an incoming segment is not acceptable, an acknowledgment should
        // be sent in reply (unless the RST bit is set)".
        if stale || !self.is_acceptable(segment) {
            if flags.rst() {
                return RequestVerdict::Ignore;
            }
            if stale {
                cx.count(Happening::PAWSEstab);
            }
            return match self.replied.permits(cx, segment) {
                true => RequestVerdict::Reply(self.ack(cx, TransmitKind::Ack)),
                false => {
                    cx.count(Happening::TCPACKSkippedSynRecv);
                    RequestVerdict::Ignore
                }
            };
        }

        // Second, RST (RFC 5961 section 3.2): one with exactly the expected number is the peer's; one elsewhere in the
        // window may be a guess, and the peer is asked.
        if flags.rst() {
            return if segment.seq() == self.rcv_nxt() {
                RequestVerdict::Drop
            } else {
                self.challenge(cx, segment)
            };
        }

        // Fourth, SYN (RFC 5961 section 4.2): the peer is asked. If it has started anew, it answers with a
        // RST, and its next SYN makes a new request.
        //
        // Deviation: RFC 9293 section 3.10.7.4 forgets the request. Whoever guesses a number in the window could end handshakes so.
        if flags.syn() {
            return self.challenge(cx, segment);
        }

        // Fifth, ACK: "if the ACK bit is off, drop the segment".
        if !flags.ack() {
            return RequestVerdict::Ignore;
        }
        RequestVerdict::Complete
    }

    /// Whether an ACK with this number can be this half-open connection's. One with another may bring back a cookie, which its peer was sent
    /// before or after there was room for the request; else [`Request::on_segment`] resets it.
    pub fn is_acked_by(&self, ack: SeqNum) -> bool {
        ack == self.snd_nxt()
    }

    /// Call it [`Request::next_timeout`] after the last SYN-ACK.
    pub fn on_timer(&mut self, cx: &Context<'_>) -> RequestTimer {
        self.on_timer_deferring(cx, 0)
    }

    /// How long after the last SYN-ACK the timer is to run: 1 s, 2 s, 4 s ... (RFC 6298 section 5), and not beyond
    /// `rto_max` (Linux's `tcp_reqsk_timeout`).
    pub fn next_timeout(&self, cx: &Context<'_>) -> Duration {
        INITIAL_RTO
            .backed_off(self.agreed.resent())
            .min(cx.config.rto_max)
    }

    /// How often the timer had the SYN-ACK sent again (RFC 6298 rule 5.7, RFC 5681 section 3.1).
    pub const fn resent(&self) -> u8 {
        match self.is_acked() {
            // The time went by for another reason.
            true => 0,
            false => self.agreed.resent(),
        }
    }

    /// Whether the SYN-ACK was acknowledged, and data is waited for.
    const fn is_acked(&self) -> bool {
        self.sent == SENT_AND_ACKED
    }

    /// The SYN-ACK is sent again: an acknowledgment does not tell which is meant (Karn).
    fn forget_sent(&mut self) {
        if !self.is_acked() {
            self.sent = SENT_AGAIN;
        }
    }

    /// The round trip, now that the SYN-ACK's acknowledgment has come; `None` when it was sent more than once.
    pub fn rtt(&self, cx: &Context<'_>) -> Option<Duration> {
        let ticks = match self.sent {
            SENT_AGAIN | SENT_AND_ACKED => return None,
            sent => sent_tick(cx).wrapping_sub(sent),
        };
        // At most so long. The shortest round trip is taken from it, and a shorter than there is would let nothing be
        // reordered; the next one is exact.
        Some(Duration::from_micros(
            u64::from(ticks).saturating_add(1) << SENT_SHIFT,
        ))
    }

    /// For how many milliseconds a timeout has been repaired, at least: the SYN-ACK was sent again after that, and the
    /// time since is not kept.
    pub fn timeout_time(&self, cx: &Context<'_>) -> u32 {
        // 1 + 2 + 4 ... seconds, the first of which the repair did not take.
        let mut total = Duration::ZERO;
        let mut step = INITIAL_RTO;
        for _ in 1..self.resent() {
            step = step.backed_off(1).min(cx.config.rto_max);
            total = total + step;
        }
        total.as_millis().min(u64::from(u32::MAX)) as u32
    }

    /// Our initial sequence number.
    pub const fn iss(&self) -> SeqNum {
        self.iss
    }

    /// The peer's initial sequence number.
    pub const fn irs(&self) -> SeqNum {
        self.irs
    }

    /// SND.NXT: behind our SYN.
    pub const fn snd_nxt(&self) -> SeqNum {
        self.iss.add(1)
    }

    /// RCV.NXT: behind the peer's SYN.
    pub const fn rcv_nxt(&self) -> SeqNum {
        self.irs.add(1)
    }

    /// RCV.WND in bytes, as the SYN-ACK announced it.
    pub const fn rcv_wnd(&self) -> u32 {
        self.window as u32
    }

    /// The MSS that the peer announced, or the default; at least [`Mss::MIN`](crate::wire::Mss::MIN).
    pub const fn peer_mss(&self) -> u16 {
        self.peer_mss
    }

    /// The MSS that we announced.
    pub const fn advertised_mss(&self) -> u16 {
        self.advertised_mss
    }

    /// The scale of the peer's windows and that of ours, if both sides offered the option.
    pub const fn window_scales(&self) -> Option<(WindowScale, WindowScale)> {
        match self.agreed.snd_scale() {
            Some(peer) => Some((peer, self.agreed.rcv_scale())),
            None => None,
        }
    }

    /// Whether both sides can do ECN (RFC 3168).
    pub const fn ecn_agreed(&self) -> bool {
        self.agreed.has(Agreed::ECN)
    }

    /// Whether both sides offered SACK.
    pub const fn sack_permitted(&self) -> bool {
        self.agreed.has(Agreed::SACK)
    }

    /// TS.Recent, if both sides offered timestamps (RFC 7323 section 4.3).
    pub const fn ts_recent(&self) -> Option<u32> {
        if self.agreed.has(Agreed::TIMESTAMPS) {
            Some(self.ts_recent)
        } else {
            None
        }
    }

    /// What is added to the clock for TSval.
    pub const fn ts_offset(&self) -> u32 {
        self.ts_offset
    }

    /// PAWS (RFC 7323 section 5.3).
    fn is_stale(&self, segment: &Segment) -> bool {
        match (self.ts_recent(), segment.header.options.timestamps) {
            (Some(recent), Some(timestamps)) => reply::is_stale(timestamps.val, recent),
            _ => false,
        }
    }

    /// Whether the segment begins at RCV.NXT or has a number inside of the window (RFC 9293 section 3.10.7.4, first check).
    ///
    /// Deviation: RFC 9293 section 3.10.7.4 does not accept a bare segment at the right edge. As in Linux it passes: a peer that has
    /// filled the window acknowledges from there.
    fn is_acceptable(&self, segment: &Segment) -> bool {
        let (next, end) = (self.rcv_nxt(), self.rcv_nxt().add(self.rcv_wnd()));
        segment.seq() == next
            || (segment.end().after(next) && segment.seq().before(end))
            || (segment.seq() == end && segment.seq_len() == 0)
    }

    fn challenge(&mut self, cx: &Context<'_>, segment: &Segment) -> RequestVerdict {
        match self.replied.permits(cx, segment) {
            true => RequestVerdict::Reply(self.ack(cx, TransmitKind::ChallengeAck)),
            false => {
                cx.count(Happening::TCPACKSkippedChallenge);
                RequestVerdict::Ignore
            }
        }
    }

    /// The window of a segment after the SYN-ACK: the same right edge or, where the SYN-ACK could not tell of all the room,
    /// one a little further.
    fn scaled_window(&self) -> u16 {
        let scale = self.agreed.rcv_scale();
        let more = match self.window {
            u16::MAX => scale.unit().wrapping_sub(1),
            _ => 0,
        };
        scale.narrow(self.rcv_wnd().saturating_add(more))
    }

    /// An ACK with nothing in it.
    fn ack(&self, cx: &Context<'_>, kind: TransmitKind) -> Transmit {
        Transmit {
            header: Header {
                seq: self.snd_nxt(),
                ack: self.rcv_nxt(),
                flags: Flags::ACK,
                window: self.scaled_window(),
                options: Options {
                    timestamps: self.echo(cx),
                    ..Options::default()
                },
                ..Header::default()
            },
            payload: SeqRange::new(self.snd_nxt(), 0),
            mss: self.peer_mss,
            ecn: Ecn::NotEct,
            kind,
            persist: None,
        }
    }

    fn echo(&self, cx: &Context<'_>) -> Option<Timestamps> {
        let ecr = self.ts_recent()?;
        Some(Timestamps {
            val: cx.now.timestamp_ms(self.ts_offset),
            ecr,
        })
    }
}

/// The window of a SYN, which is not scaled (RFC 7323 section 2.2): whole segments where there is room for one (Linux's
/// `tcp_select_initial_window`). The first scaled one is rounded up, so that the right edge does not move back.
pub(crate) fn first_window(space: u32, segment: u16) -> u16 {
    let segment = u32::from(segment);
    let whole = match space.checked_rem(segment) {
        Some(rest) if space > segment => space.saturating_sub(rest),
        _ => space,
    };
    u16::try_from(whole).unwrap_or(u16::MAX)
}

#[cfg(test)]
mod tests;
