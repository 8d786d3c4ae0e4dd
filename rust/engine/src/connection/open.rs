// SPDX-License-Identifier: GPL-2.0

//! Opening: what is offered, what both sides agree on, and SYN-SENT (RFC 9293 sections 3.5 and 3.10.7.3).

use super::ecn::{self, EcnState};
use super::event::{Error, Event};
use super::link::{Link, Owed, Scales, Stamps, STAMP_LEN};
use super::mtu::Search;
use super::phase::{Duplex, DuplexState, Phase};
use super::quick::hold_handshake;
use super::receive::Receiver;
use super::send::Sender;
use super::state::{Input, State};
use super::tally::Tally;
use super::timers::{Mark, Tick, TimerKind, Timers};
use super::{Connection, Payload, Rx, Status};
use crate::context::{Context, SocketOptions, Traits};
use crate::happening::Happening;
use crate::request::{first_window, Request};
use crate::rtt::INITIAL_RTO;
use crate::segment::Segment;
use crate::seq::{SeqNum, SeqRange};
use crate::time::{Duration, Instant};
use crate::transmit::{Transmit, TransmitKind};
use crate::wire::{Ecn, Flags, Header, Mss, Options, Timestamps, WindowScale};

/// What an active open needs to know.
#[derive(Clone, Copy, Debug)]
pub struct ActiveOpen {
    /// The initial sequence number ([`crate::isn::initial`]).
    pub iss: SeqNum,
    /// Added to the clock for TSval ([`crate::isn::timestamp_offset`]).
    pub ts_offset: u32,
    /// The MSS to announce, in bytes: what the interface can receive, less IP and TCP headers without options.
    pub advertised_mss: u16,
    /// The largest MSS that the path carries, in bytes, without options.
    pub path_mss: u16,
    /// The window that the receive buffer makes ([`RecvMemory::first_window`](super::RecvMemory::first_window)), in bytes.
    pub recv_space: u32,
    /// The largest that it will ever make ([`RecvMemory::largest_window`](super::RecvMemory::largest_window)): it chooses our
    /// window scale.
    pub recv_limit: u32,
    /// The socket's options.
    pub options: SocketOptions,
}

/// What a passive open needs to know besides its [`Request`].
#[derive(Clone, Copy, Debug)]
pub struct PassiveOpen {
    /// The largest MSS that the path carries, in bytes, without options.
    pub path_mss: u16,
    /// The window that the receive buffer makes ([`RecvMemory::first_window`](super::RecvMemory::first_window)), in bytes.
    pub recv_space: u32,
    /// The socket's options.
    pub options: SocketOptions,
}

/// SYN-SENT: our offer.
#[derive(Clone, Copy, Debug)]
pub(super) struct SynSent {
    iss: SeqNum,
    ts_offset: u32,
    recv_space: u32,
    /// Bytes that the user has written already.
    queued: u32,
    sent_at: Mark,
    /// When the timer first expired.
    timed_out: Tick,
    advertised_mss: u16,
    path_mss: u16,
    rcv_scale: WindowScale,
    /// How often the SYN has been sent again.
    resent: u8,
    syn_owed: bool,
    /// What the SYN offers; both are settings, which may change between two SYNs but must not on the wire.
    offers: Offers,
}

#[derive(Clone, Copy, Debug)]
struct Offers {
    scale: bool,
    sack: bool,
    stamps: bool,
    ecn: bool,
}

impl SynSent {
    pub(super) fn iss(&self) -> SeqNum {
        self.iss
    }

    pub(super) fn write_seq(&self) -> SeqNum {
        self.iss.add(1).add(self.queued)
    }

    pub(super) fn write(&mut self, len: u32) {
        self.queued = self.queued.saturating_add(len);
    }

    pub(super) fn set_space(&mut self, space: u32) {
        self.recv_space = space;
    }

    pub(super) fn set_path_mss(&mut self, mss: u16) {
        self.path_mss = mss;
    }

    pub(super) fn resent(&self) -> u8 {
        self.resent
    }

    /// How long the peer has owed an answer, when the timer expires.
    fn waited(&self, cx: &Context<'_>) -> Duration {
        // The first SYN went so long before the timer's first expiry.
        match self.resent {
            0 => INITIAL_RTO,
            _ => self.timed_out.elapsed(cx.now) + INITIAL_RTO,
        }
    }

    pub(super) fn offers_ecn(&self) -> bool {
        self.offers.ecn
    }

    /// Whether the SYN, this time, asks for ECN (Linux's `tcp_ecn_clear_syn`).
    fn asks_for_ecn(&self, cx: &Context<'_>) -> bool {
        self.offers.ecn && (self.resent == 0 || !cx.config.ecn_fallback)
    }

    pub(super) fn advertised_mss(&self) -> u16 {
        self.advertised_mss
    }

    /// How long the SYN waits for its answer now, and how often that was doubled.
    pub(super) fn timeout(&self, cx: &Context<'_>) -> (Duration, u8) {
        let doublings = self.resent.saturating_sub(cx.config.syn_linear_timeouts);
        (syn_timeout(cx, self.resent), doublings)
    }

    /// SYNs sent.
    pub(super) fn sent(&self) -> u32 {
        u32::from(self.resent).saturating_add(u32::from(!self.syn_owed))
    }

    /// Milliseconds since the timer first expired; 0 if it did not.
    pub(super) fn timeout_time(&self, now: Instant) -> u32 {
        match self.resent {
            0 => 0,
            _ => self.timed_out.elapsed(now).as_millis() as u32,
        }
    }

    fn window(&self) -> u16 {
        first_window(self.recv_space, self.advertised_mss)
    }

    /// The SYN, if it is to be sent now.
    pub(super) fn poll(&mut self, cx: &Context<'_>, timers: &mut Timers) -> Option<Transmit> {
        if !self.syn_owed {
            return None;
        }
        self.syn_owed = false;
        self.sent_at = Mark::new(cx.now);
        if self.resent != 0 {
            count_syn_again(cx);
        }
        // For those that are sent again it runs already.
        if self.resent == 0 {
            timers.set(TimerKind::Retransmit, cx.now + syn_timeout(cx, 0));
        }
        Some(Transmit {
            header: Header {
                seq: self.iss,
                ack: SeqNum::new(0),
                flags: ecn::setup(Flags::SYN, self.asks_for_ecn(cx)),
                window: self.window(),
                options: Options {
                    mss: Some(self.advertised_mss),
                    window_scale: self.offers.scale.then_some(self.rcv_scale),
                    sack_permitted: self.offers.sack,
                    timestamps: self.offers.stamps.then(|| Timestamps {
                        val: cx.now.timestamp_ms(self.ts_offset),
                        ecr: 0,
                    }),
                    ..Options::default()
                },
                ..Header::default()
            },
            payload: SeqRange::new(self.iss.add(1), 0),
            mss: self.path_mss,
            ecn: Ecn::NotEct,
            kind: TransmitKind::Syn,
            persist: None,
        })
    }

    /// What the peer's SYN makes of the offer.
    fn agree(&self, cx: &Context<'_>, options: &SocketOptions, syn: &Segment) -> Duplex {
        let theirs = &syn.header.options;
        let rcv_nxt = syn.seq().add(1);
        // RFC 7323 section 2.2: scaling only when both SYNs carry the option.
        let (snd_scale, rcv_scale) = match theirs.window_scale {
            Some(scale) if self.offers.scale => (scale, self.rcv_scale),
            _ => (WindowScale::default(), WindowScale::default()),
        };
        let stamps = theirs.timestamps.filter(|_| self.offers.stamps);
        // A host that says yes has seen the SYN that asked, even if a later one did not. Where two SYNs cross, the peer may have
        // seen the later one only.
        let ecn = match syn.has(Flags::ACK) {
            true => self.offers.ecn && ecn::answers(&syn.header),
            false => self.asks_for_ecn(cx) && ecn::asks(&syn.header),
        };
        let peer_mss = Mss::new(theirs.mss.unwrap_or(Mss::DEFAULT_V4.get())).get();
        let link = Link {
            snd_una: self.iss,
            snd_nxt: self.iss.add(1),
            rcv_nxt,
            rcv_edge: rcv_nxt.add(u32::from(self.window())),
            rcv_end: rcv_nxt.add(u32::from(self.window())),
            last_ack: rcv_nxt,
            stamps: stamps.map(|theirs| Stamps::new(cx, self.ts_offset, theirs.val)),
            heard: Tick::new(cx.now),
            challenged: Link::never_challenged(cx),
            peer_mss,
            advertised_mss: self.advertised_mss,
            mss: send_mss(cx, peer_mss, self.path_mss, options),
            search: search(cx, peer_mss, options, stamps.is_some()),
            scales: Scales::new(snd_scale, rcv_scale),
            ecn: EcnState::new(ecn, theirs.sack_permitted && self.offers.sack),
            owed: Owed::NONE,
            probes: 0,
            tally: Tally::active(cx.now, self.resent, self.timeout_time(cx.now)),
        };
        let mut snd = Sender::new(
            cx,
            &link,
            u32::from(syn.header.window),
            syn.seq(),
            self.resent,
        );
        snd.write(self.queued);
        snd.use_algorithm(options.algorithm(cx.config));
        let rcv = Receiver::new(cx, &link, self.recv_space);
        Duplex { link, snd, rcv }
    }
}

/// A SYN or SYN-ACK is sent again.
fn count_syn_again(cx: &Context<'_>) {
    cx.count(Happening::RetransSegs);
    cx.count(Happening::TCPSynRetrans);
}

/// The SYN-ACK, which is to be sent now.
pub(super) fn syn_ack(cx: &Context<'_>, duplex: &mut Duplex, timers: &mut Timers) -> Transmit {
    let Duplex { link, snd, .. } = duplex;
    link.owed = Owed::NONE;
    // For one that is sent again it runs already.
    match snd.retransmits() {
        0 => timers.set(TimerKind::Retransmit, cx.now + syn_ack_timeout(cx, 0)),
        _ => count_syn_again(cx),
    }
    let scaled = link.snd_scale().get() != 0 || link.rcv_scale().get() != 0;
    let syn_ack = Transmit {
        header: Header {
            seq: link.snd_una,
            ack: link.rcv_nxt,
            flags: ecn::answer(Flags::SYN_ACK, link.ecn.agreed()),
            window: link.rcv_wnd().min(u32::from(u16::MAX)) as u16,
            options: Options {
                mss: Some(link.advertised_mss),
                window_scale: scaled.then_some(link.rcv_scale()),
                sack_permitted: link.sack(),
                timestamps: link.echo(cx),
                ..Options::default()
            },
            ..Header::default()
        },
        payload: SeqRange::new(link.snd_una.add(1), 0),
        mss: link.mss,
        ecn: Ecn::NotEct,
        kind: TransmitKind::SynAck,
        persist: None,
    };
    link.tally.on_sent(&syn_ack, false);
    syn_ack
}

/// The MSS to send with: RFC 9293 section 3.7.1, and the user's TCP_MAXSEG. What a signature takes is not in it: each segment has
/// one (RFC 2385 section 4.3, RFC 5925 section 7.6).
///
/// Deviation: RFC 9293 section 3.7.1 (MUST-15) takes 1220 for a peer over IPv6 that names none. Linux, and so we, take 536 for both:
/// every TCP names one, and the smaller is safe.
pub(super) fn send_mss(cx: &Context<'_>, peer: u16, path: u16, options: &SocketOptions) -> u16 {
    let user = options.max_seg.map_or(u16::MAX, |mss| mss.get());
    let least = cx.config.min_snd_mss;
    Mss::new(peer.min(path).min(user).max(least))
        .get()
        .saturating_sub(u16::from(options.signature.wire_len()))
}

/// The search for the path's MTU, up to what the peer takes.
fn search(cx: &Context<'_>, peer: u16, options: &SocketOptions, stamps: bool) -> Search {
    let options_len = match stamps {
        true => STAMP_LEN,
        false => 0,
    };
    Search::new(cx, send_mss(cx, peer, u16::MAX, options), options_len)
}

/// How long to wait for the answer to a SYN that has been sent `resent` times again: RFC 6298 section 2.1 and
/// 5.5, but without doubling for the first few, as in Linux (`tcp_syn_linear_timeouts`).
///
/// Deviation: RFC 6298 rule 5.5 doubles with every timeout. The first SYNs of a connection are lost by chance more often than
/// by congestion, are small, and somebody waits.
fn syn_timeout(cx: &Context<'_>, resent: u8) -> Duration {
    let doublings = resent.saturating_sub(cx.config.syn_linear_timeouts);
    INITIAL_RTO.backed_off(doublings).min(cx.config.rto_max)
}

/// How long to wait for the answer to a SYN-ACK that has been sent `resent` times again: only SYNs have linear ones (Linux's
/// tcp_retransmit_timer).
fn syn_ack_timeout(cx: &Context<'_>, resent: u8) -> Duration {
    INITIAL_RTO.backed_off(resent).min(cx.config.rto_max)
}

impl Connection {
    /// An active open (RFC 9293 section 3.10.1): SYN-SENT. The SYN comes out of
    /// [`Connection::poll_transmit`].
    pub fn connect(cx: &Context<'_>, open: &ActiveOpen) -> Connection {
        let user = open.options.max_seg.map_or(u16::MAX, |mss| mss.get());
        Connection::new(
            Phase::SynSent(SynSent {
                iss: open.iss,
                ts_offset: open.ts_offset,
                recv_space: open.recv_space,
                queued: 0,
                sent_at: Mark::new(cx.now),
                timed_out: Tick::new(cx.now),
                advertised_mss: Mss::new(open.advertised_mss.min(user)).get(),
                path_mss: open.path_mss,
                rcv_scale: match cx.config.window_scaling {
                    true => WindowScale::for_limit(open.recv_limit.max(open.recv_space)),
                    false => WindowScale::default(),
                },
                resent: 0,
                syn_owed: true,
                offers: Offers {
                    scale: cx.config.window_scaling,
                    sack: cx.config.sack,
                    stamps: cx.config.timestamps && open.options.signature.allows_timestamps(),
                    ecn: ecn::is_offered(cx.config),
                },
            }),
            open.options,
        )
    }

    /// A passive open: the connection of a [`Request`] whose verdict was
    /// [`Complete`](crate::request::RequestVerdict::Complete). It is in SYN-RECEIVED; feed it the
    /// very segment that completed the request next.
    pub fn accept(cx: &Context<'_>, request: &Request, open: &PassiveOpen) -> Connection {
        let (snd_scale, rcv_scale) = request.window_scales().unwrap_or_default();
        let link = Link {
            snd_una: request.iss(),
            snd_nxt: request.snd_nxt(),
            rcv_nxt: request.rcv_nxt(),
            rcv_edge: request.rcv_nxt().add(request.rcv_wnd()),
            rcv_end: request.rcv_nxt().add(request.rcv_wnd()),
            last_ack: request.rcv_nxt(),
            stamps: request
                .ts_recent()
                .map(|recent| Stamps::new(cx, request.ts_offset(), recent)),
            heard: Tick::new(cx.now),
            challenged: Link::never_challenged(cx),
            peer_mss: request.peer_mss(),
            advertised_mss: request.advertised_mss(),
            mss: send_mss(cx, request.peer_mss(), open.path_mss, &open.options),
            search: search(
                cx,
                request.peer_mss(),
                &open.options,
                request.ts_recent().is_some(),
            ),
            scales: Scales::new(snd_scale, rcv_scale),
            ecn: EcnState::new(request.ecn_agreed(), request.sack_permitted()),
            owed: Owed::NONE,
            probes: 0,
            tally: Tally::passive(request.resent(), request.timeout_time(cx)),
        };
        // The window comes with the ACK that is fed next.
        let mut snd = Sender::new(cx, &link, 0, request.irs(), request.resent());
        snd.time_syn_ack(cx, &link, request.rtt(cx));
        snd.use_algorithm(open.options.algorithm(cx.config));
        let mut rcv = Receiver::new(cx, &link, open.recv_space);
        rcv.set_interactive(open.options.traits.has(Traits::INTERACTIVE));
        let mut connection = Connection::new(
            Phase::Duplex(DuplexState::SynReceived, Duplex { link, snd, rcv }),
            open.options,
        );
        connection
            .timers
            .set(TimerKind::Retransmit, cx.now + syn_ack_timeout(cx, 0));
        connection
    }

    /// A segment in SYN-SENT (RFC 9293 section 3.10.7.3).
    pub(super) fn on_syn_sent(
        &mut self,
        cx: &Context<'_>,
        segment: &Segment,
        mut rx: Rx<'_>,
    ) -> Payload {
        let Phase::SynSent(open) = self.phase else {
            return Payload::None;
        };
        let flags = segment.header.flags;
        // First: an ACK of something that we have not sent. "Send a reset (unless the RST bit is set)
        // <SEQ=SEG.ACK><CTL=RST>".
        let acks = flags.ack() && segment.header.ack == open.iss.add(1);
        if flags.ack() && !acks {
            if !flags.rst() {
                self.reset_sender(segment.header.ack);
            }
            return Payload::None;
        }
        // Second: a reset counts only with the ACK of our SYN.
        if flags.rst() {
            if acks {
                self.die(Some(Error::Refused));
            }
            return Payload::None;
        }
        if !flags.syn() {
            return Payload::None;
        }
        // Fourth: the peer's SYN.
        let mut duplex = open.agree(cx, &self.options, segment);
        let input = match acks {
            true => Input::SynAckArrives,
            false => Input::SynArrives,
        };
        match self.phase.state().next(input) {
            Some(State::Established) => {
                duplex.link.snd_una = duplex.link.snd_nxt;
                duplex.link.tally.on_syn_acked(cx.now);
                match self.options.traits.has(Traits::INTERACTIVE) {
                    true => hold_handshake(cx, &mut duplex.link, &mut duplex.rcv, &mut self.timers),
                    false => duplex.link.owed.insert(Owed::ACK),
                }
                // Karn: not after a second SYN, unless the timestamps tell.
                let rtt = match open.resent {
                    0 => Some(open.sent_at.elapsed(cx.now)),
                    _ => duplex.link.stamp_rtt(cx, segment),
                };
                duplex.snd.start(cx, &duplex.link, rtt);
                self.phase = Phase::Duplex(DuplexState::Established, duplex);
                self.timers.clear(TimerKind::Retransmit);
                self.events.insert(Event::Established);
                self.start_keepalive(cx);
                self.on_urgent(segment, &mut rx);
                self.on_text(cx, segment, rx)
            }
            Some(State::SynReceived) => {
                // Deviation: RFC 9293 section 3.10.7.3 queues the text of a SYN that crosses ours. As in Linux the peer sends it
                // again: there is nobody who sends any.
                self.phase = Phase::Duplex(DuplexState::SynReceived, duplex);
                self.status.set(Status::SYN_ACK);
                Payload::None
            }
            _ => Payload::None,
        }
    }

    /// The retransmission timer in SYN-SENT and SYN-RECEIVED.
    pub(super) fn on_syn_timeout(&mut self, cx: &Context<'_>) {
        let user = self.options.user_timeout;
        let limit = match self.options.syn_retries {
            Some(times) => times.get(),
            None => cx.config.syn_retries,
        };
        cx.count(Happening::TCPTimeouts);
        let (resent, waited) = match &self.phase {
            Phase::SynSent(open) => (open.resent, open.waited(cx)),
            Phase::Duplex(DuplexState::SynReceived, Duplex { snd, .. }) => {
                (snd.retransmits(), snd.waited(cx))
            }
            _ => return,
        };
        let limit = match &self.phase {
            // After a simultaneous open: an active one, as in Linux.
            Phase::Duplex(DuplexState::SynReceived, _) => limit,
            // The linear ones come on top (Linux's tcp_write_timeout).
            _ => limit.saturating_add(cx.config.syn_linear_timeouts),
        };
        let patience = user.map(|user| Duration::from_millis(u64::from(user.get())));
        let out_of_time = patience.is_some_and(|patience| waited >= patience);
        // Linux asks for one retransmission at least (retransmits_timed_out).
        if resent >= limit || (resent != 0 && out_of_time) {
            self.give_up(cx);
            return;
        }
        let resent = resent.saturating_add(1);
        let timeout = match &mut self.phase {
            Phase::SynSent(open) => {
                if open.resent == 0 {
                    open.timed_out = Tick::new(cx.now);
                }
                open.resent = resent;
                open.syn_owed = true;
                syn_timeout(cx, resent)
            }
            Phase::Duplex(DuplexState::SynReceived, Duplex { link, snd, .. }) => {
                snd.count_retransmit();
                link.tally.on_timeout(cx.now);
                link.tally.on_syn_again();
                self.status.set(Status::SYN_ACK);
                syn_ack_timeout(cx, resent)
            }
            _ => return,
        };
        // Not beyond the user's patience (Linux's tcp_clamp_rto_to_user_timeout).
        let left = patience.map_or(timeout, |patience| {
            match waited < patience {
                true => patience - waited,
                false => Duration::ZERO,
            }
            .max(Duration::from_millis(1))
        });
        self.timers
            .set(TimerKind::Retransmit, cx.now + timeout.min(left));
    }
}
