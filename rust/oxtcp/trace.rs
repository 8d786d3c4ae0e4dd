// SPDX-License-Identifier: GPL-2.0

//! What the tracepoints tell (Documentation/tracing.md).
//!
//! Each function, but those that drop a packet as well, is a static branch where it is called, and a call only while somebody traces that
//! event. Any context; those
//! that take a socket's lock say so by their argument.

use kernel::prelude::*;

use oxtcp_engine::connection::{Mode, TimerKind};
use oxtcp_engine::wire::Ecn;
use oxtcp_engine::{Context, Segment, Transmit, TransmitKind};

use crate::listening::Listening;
use crate::namespace::Namespace;
use crate::output::bare;
use crate::procfs;
use crate::protocol::{Role, Sk, Socket};
use crate::sys::bindings;
use crate::sys::drop_reason::DropReason;
use crate::sys::net::Net;
use crate::sys::skb::{Charged, Claimed, Outgoing, SkBuff};
use crate::sys::sock::SkState;
use crate::sys::table::{Endpoint, FlowKey};
use crate::sys::trace::{
    self, Decisions, Drops, Ends, Overflows, SegmentsIn, SegmentsOut, Standing, Standings, States,
    Timers,
};

/// Why a segment is sent, as numbered in `trace.h`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Cause {
    Received = 0,
    Syn = 1,
    SynRetransmit = 2,
    SynAck = 3,
    SynAckRetransmit = 4,
    SynCookie = 5,
    Data = 6,
    FastRetransmit = 7,
    TimeoutRetransmit = 8,
    LossProbe = 9,
    LossProbeData = 10,
    Ack = 11,
    WindowUpdate = 12,
    ChallengeAck = 13,
    WindowProbe = 14,
    KeepAlive = 15,
    Fin = 16,
    Reset = 17,
}

impl Cause {
    /// Of an answer that no connection sends.
    pub(crate) fn of(answer: &Transmit) -> Self {
        Self::of_kind(answer.kind, Mode::Open, false)
    }

    /// `mode` is where the repair of losses stands, `again` whether a SYN was sent before.
    fn of_kind(kind: TransmitKind, mode: Mode, again: bool) -> Self {
        match kind {
            TransmitKind::Syn if again => Cause::SynRetransmit,
            TransmitKind::Syn => Cause::Syn,
            TransmitKind::SynAck if again => Cause::SynAckRetransmit,
            TransmitKind::SynAck => Cause::SynAck,
            TransmitKind::Data => Cause::Data,
            TransmitKind::Retransmission if mode == Mode::Loss => Cause::TimeoutRetransmit,
            TransmitKind::Retransmission => Cause::FastRetransmit,
            TransmitKind::LossProbe => Cause::LossProbe,
            TransmitKind::LossProbeData => Cause::LossProbeData,
            TransmitKind::Ack => Cause::Ack,
            TransmitKind::WindowUpdate => Cause::WindowUpdate,
            TransmitKind::ChallengeAck => Cause::ChallengeAck,
            TransmitKind::Probe => Cause::WindowProbe,
            TransmitKind::KeepAlive => Cause::KeepAlive,
            TransmitKind::Fin => Cause::Fin,
            TransmitKind::Reset => Cause::Reset,
        }
    }
}

/// What a listener has done about a SYN or the last ACK of a handshake, as numbered in `trace.h`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Decision {
    HalfOpen = 0,
    Cookie = 1,
    Evicted = 2,
    Dropped = 3,
    Reset = 4,
    Deferred = 5,
    Accepted = 6,
    CookieAccepted = 7,
    CookieRefused = 8,
    Expired = 9,
}

/// What there was too little of, as numbered in `trace.h`.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub(crate) enum Bound {
    None = 0,
    SynQueue = 1,
    Share = 2,
    AcceptQueue = 3,
    Rate = 4,
    /// `syncookies` is 2.
    Always = 5,
    Route = 6,
    Memory = 7,
}

impl Bound {
    /// What there was too little of where a half-open connection or a connection came to nothing: else the flow had become somebody else's meanwhile, or
    /// the listener has closed.
    pub(crate) fn of(error: Error) -> Self {
        match error == ENOMEM {
            true => Self::Memory,
            false => Self::None,
        }
    }
}

/// A state, as programs number them: a socket's, or a small object's.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Shown(u8);

impl Shown {
    pub(crate) const TIME_WAIT: Self = Self(bindings::TCP_TIME_WAIT as u8);
}

impl From<SkState> for Shown {
    fn from(state: SkState) -> Self {
        Self(state.number())
    }
}

/// Sets the state of a socket that has or had a connection, and tells of it.
#[inline]
pub(crate) fn set_state(sk: &mut Sk<'_>, to: SkState) {
    let from = sk.sock().state();
    sk.set_state(to);
    state(sk, from, to.into());
}

/// Tells of a connection's state, which is set elsewhere.
#[inline(always)]
pub(crate) fn state(sk: &Sk<'_>, from: SkState, to: Shown) {
    if States::is_on() {
        let sock = sk.sock();
        tell_state(&|| ends_of(sock), from.into(), to);
    }
}

/// Tells of a listener's state.
#[inline(always)]
pub(crate) fn listener_state(sk: &Sk<'_>, local: Endpoint, from: SkState, to: SkState) {
    if States::is_on() {
        let ends = || ends_of_listener(sk.sock(), local);
        tell_state(&ends, from.into(), to.into());
    }
}

fn ends_of_listener(sock: &Socket, local: Endpoint) -> Ends {
    // The other end is none: its address family is that of this end.
    let none = match local.v4() {
        Some(_) => Endpoint::mapped([0; 4]),
        None => [0; 16],
    };
    let none = Endpoint { ip: none, port: 0 };
    Ends::of(sock, &bare(&FlowKey::new(local, none)))
}

/// Tells of the state of what has no socket.
#[inline(always)]
pub(crate) fn mini_state(net: &Net, key: &FlowKey, from: impl Into<Shown>, to: impl Into<Shown>) {
    if States::is_on() {
        tell_state(&|| ends_for(net, key), from.into(), to.into());
    }
}

#[cold]
#[inline(never)]
fn tell_state(ends: &dyn Fn() -> Ends, from: Shown, to: Shown) {
    if from != to {
        States::tell(&ends(), from.0, to.0);
    }
}

/// A segment has come for the connection; its header begins at the packet's data pointer.
#[inline(always)]
pub(crate) fn arrived(sk: &Sk<'_>, skb: &mut SkBuff, segment: &Segment, header_len: u32) {
    if SegmentsIn::is_on() {
        let sock = sk.sock();
        let ends = || ends_of(sock);
        tell_arrival(&ends, skb, segment, header_len);
    }
}

/// The same, for what is no socket.
#[inline(always)]
pub(crate) fn arrived_for(
    net: &Net,
    key: &FlowKey,
    skb: &mut SkBuff,
    segment: &Segment,
    header_len: u32,
) {
    if SegmentsIn::is_on() {
        let ends = || ends_for(net, key);
        tell_arrival(&ends, skb, segment, header_len);
    }
}

/// Whether somebody watches what comes in.
pub(crate) fn watches_segments() -> bool {
    SegmentsIn::is_on()
}

/// Whether somebody watches what listeners are sent, and what they make of it: then no SYN goes past them.
pub(crate) fn watches_listeners() -> bool {
    SegmentsIn::is_on() || Decisions::is_on() || Drops::is_on()
}

#[cold]
#[inline(never)]
fn tell_arrival(ends: &dyn Fn() -> Ends, skb: &mut SkBuff, segment: &Segment, header_len: u32) {
    let segment_size = match skb.segment_size() {
        size if segment.payload_len > u32::from(size) => size,
        _ => 0,
    };
    let Some(header) = skb.header(header_len) else {
        return;
    };
    let told = trace::Segment {
        header,
        payload: segment.payload_len,
        segment_size,
        cause: Cause::Received as u8,
        ecn: bits(segment.ecn),
    };
    SegmentsIn::tell(&ends(), &told);
}

/// A segment of the connection leaves, with its header and `payload` bytes behind it.
#[inline(always)]
pub(crate) fn leaves(
    sk: &mut Sk<'_>,
    skb: &mut SkBuff<Outgoing>,
    segment: impl FnOnce() -> Transmit,
    payload: u32,
) {
    if SegmentsOut::is_on() {
        tell_leaving(sk, skb, &segment(), payload);
    }
}

#[cold]
#[inline(never)]
fn tell_leaving(sk: &mut Sk<'_>, skb: &mut SkBuff<Outgoing>, segment: &Transmit, payload: u32) {
    let (mode, again) = match sk.state().connection() {
        Some(connection) => (connection.mode(), connection.retransmits() != 0),
        None => (Mode::Open, false),
    };
    let ends = ends_of(sk.sock());
    let cause = Cause::of_kind(segment.kind, mode, again);
    tell_sent(&ends, skb, cause, segment, payload);
}

/// A segment that no connection sends leaves.
#[inline(always)]
pub(crate) fn answers(
    net: &Net,
    key: &FlowKey,
    skb: &mut SkBuff<Outgoing>,
    cause: Cause,
    segment: &Transmit,
) {
    if SegmentsOut::is_on() {
        tell_answer(net, key, skb, cause, segment);
    }
}

#[cold]
#[inline(never)]
fn tell_answer(
    net: &Net,
    key: &FlowKey,
    skb: &mut SkBuff<Outgoing>,
    cause: Cause,
    segment: &Transmit,
) {
    tell_sent(&ends_for(net, key), skb, cause, segment, 0);
}

fn tell_sent(
    ends: &Ends,
    skb: &mut SkBuff<Outgoing>,
    cause: Cause,
    segment: &Transmit,
    payload: u32,
) {
    let header_len = skb.len().saturating_sub(payload);
    let Some(header) = skb.header(header_len) else {
        return;
    };
    let told = trace::Segment {
        header,
        payload,
        segment_size: match payload > u32::from(segment.mss) {
            true => segment.mss,
            false => 0,
        },
        cause: cause as u8,
        ecn: bits(segment.ecn),
    };
    SegmentsOut::tell(ends, &told);
}

/// A segment has not left the host.
#[inline(always)]
pub(crate) fn refused(sk: &mut Sk<'_>, segment: &Transmit, payload: u32, reason: DropReason) {
    if Drops::is_on() {
        tell_refusal(sk, segment, payload, reason);
    }
}

#[cold]
#[inline(never)]
fn tell_refusal(sk: &mut Sk<'_>, segment: &Transmit, payload: u32, reason: DropReason) {
    let told = trace::Segment {
        header: &[],
        payload,
        segment_size: 0,
        cause: Cause::of(segment) as u8,
        ecn: bits(segment.ecn),
    };
    let ends = ends_of(sk.sock());
    Drops::tell(&ends, &told, reason);
}

/// Drops a segment that has come for the connection, or a part of it; the header begins at the packet's data pointer.
pub(crate) fn drop_of(sk: &Sk<'_>, mut skb: SkBuff, header_len: u32, reason: DropReason) {
    if Drops::is_on() {
        let ends = ends_of(sk.sock());
        tell_drop(&ends, &mut skb, header_len, reason);
    }
    skb.drop_for(reason);
}

/// The same for one that is charged to the socket.
pub(crate) fn drop_charged(sk: &Sk<'_>, mut skb: Charged<'_>, header_len: u32, reason: DropReason) {
    if Drops::is_on() {
        let ends = ends_of(sk.sock());
        let payload = skb.len().saturating_sub(header_len);
        tell_dropped(&ends, skb.header(header_len), payload, reason);
    }
    skb.drop_for(reason);
}

/// Drops a packet that is no socket's.
pub(crate) fn drop_for(
    net: &Net,
    key: &FlowKey,
    mut skb: SkBuff,
    header_len: u32,
    reason: DropReason,
) {
    if Drops::is_on() {
        tell_drop(&ends_for(net, key), &mut skb, header_len, reason);
    }
    skb.drop_for(reason);
}

/// Drops a packet as it comes in, for whomever it was.
#[cold]
#[inline(never)]
pub(crate) fn drop_claimed(
    net: &Net,
    key: &FlowKey,
    mut skb: SkBuff<Claimed<'_>>,
    reason: DropReason,
) {
    if Drops::is_on() {
        let header_len = match skb.header(20) {
            Some(fixed) => oxtcp_engine::wire::Header::data_offset(fixed).unwrap_or(20) as u32,
            None => 0,
        };
        tell_drop(&ends_for(net, key), &mut skb, header_len, reason);
    }
    skb.drop_for(reason);
}

#[cold]
#[inline(never)]
fn tell_drop<S>(ends: &Ends, skb: &mut SkBuff<S>, header_len: u32, reason: DropReason) {
    let payload = skb.len().saturating_sub(header_len);
    tell_dropped(ends, skb.header(header_len), payload, reason);
}

fn tell_dropped(ends: &Ends, header: Option<&[u8]>, payload: u32, reason: DropReason) {
    let told = trace::Segment {
        header: header.unwrap_or(&[]),
        payload,
        segment_size: 0,
        cause: Cause::Received as u8,
        ecn: 0,
    };
    Drops::tell(ends, &told, reason);
}

/// The timers of the connection that are due: the engine is about to be told.
#[inline(always)]
pub(crate) fn timers(sk: &mut Sk<'_>, cx: &Context<'_>) {
    if Timers::is_on() {
        tell_timers(sk, cx);
    }
}

#[cold]
#[inline(never)]
fn tell_timers(sk: &mut Sk<'_>, cx: &Context<'_>) {
    let ends = ends_of(sk.sock());
    let Some(connection) = sk.state().connection() else {
        return;
    };
    for kind in TimerKind::ALL {
        if connection.timer_of(kind).is_some_and(|at| at <= cx.now) {
            Timers::tell(&ends, number(kind));
        }
    }
}

/// The number of a timer that a half-open connection has.
pub(crate) const SYN_ACK: u8 = 9;

/// As numbered in `trace.h`.
pub(crate) fn number(kind: TimerKind) -> u8 {
    match kind {
        TimerKind::Retransmit => 0,
        TimerKind::Persist => 1,
        TimerKind::DelayedAck => 2,
        TimerKind::KeepAlive => 3,
        TimerKind::FinWait2 => 4,
        TimerKind::TimeWait => 5,
        TimerKind::LossProbe => 6,
        TimerKind::Reorder => 7,
        TimerKind::Pace => 8,
        TimerKind::CompressedAck => 10,
    }
}

/// The timer of what has no socket.
#[inline(always)]
pub(crate) fn mini_timer(net: &Net, key: &FlowKey, timer: u8) {
    if Timers::is_on() {
        tell_mini_timer(net, key, timer);
    }
}

#[cold]
#[inline(never)]
fn tell_mini_timer(net: &Net, key: &FlowKey, timer: u8) {
    Timers::tell(&ends_for(net, key), timer);
}

/// Where the connection stands.
#[inline(always)]
pub(crate) fn standing(sk: &mut Sk<'_>, cx: &Context<'_>) {
    if Standings::is_on() {
        tell_standing(sk, cx);
    }
}

#[cold]
#[inline(never)]
fn tell_standing(sk: &mut Sk<'_>, cx: &Context<'_>) {
    let ends = ends_of(sk.sock());
    let state = sk.state();
    let Role::Connection(connection) = &state.role else {
        return;
    };
    let micros = |time: oxtcp_engine::Duration| u32::try_from(time.as_micros()).unwrap_or(u32::MAX);
    let standing = Standing {
        pacing_rate: connection.pacing_rate(),
        bytes_acked: connection.bytes_acked(),
        bytes_received: connection.bytes_received(),
        cwnd: connection.cwnd(),
        ssthresh: connection.ssthresh(),
        srtt: connection.srtt().map_or(0, micros),
        rttvar: micros(connection.rttvar()),
        rto: micros(connection.rto(cx.config)),
        mss: u32::from(connection.mss()),
        unacked: connection.unacked(),
        in_network: connection.in_network(state.flight()),
        not_sent: connection.not_sent(),
        snd_wnd: connection.snd_wnd(),
        rcv_wnd: connection.rcv_wnd(),
        snd_una: connection.snd_una().get(),
        snd_nxt: connection.snd_nxt().get(),
        rcv_nxt: connection.rcv_nxt().get(),
        retransmits: connection.total_retransmits(),
        mode: match connection.mode() {
            Mode::Open => 0,
            Mode::Disorder => 1,
            Mode::Cwr => 2,
            Mode::Recovery => 3,
            Mode::Loss => 4,
        },
    };
    Standings::tell(&ends, &standing);
}

/// A listener has decided about the flow `key`.
#[inline(always)]
pub(crate) fn decided(
    namespace: &Namespace,
    listener: &Socket,
    listening: &Listening,
    key: &FlowKey,
    decision: Decision,
    bound: Bound,
) {
    if Decisions::is_on() {
        tell_decision(namespace, listener, listening, key, decision, bound);
    }
}

#[cold]
#[inline(never)]
fn tell_decision(
    namespace: &Namespace,
    listener: &Socket,
    listening: &Listening,
    key: &FlowKey,
    decision: Decision,
    bound: Bound,
) {
    let backlog = listening.backlog();
    // Of the queue that is told of as the bound.
    let setting = match bound {
        Bound::AcceptQueue => backlog.setting(),
        _ => listening.half_open_setting(namespace),
    };
    let told = trace::Listener {
        half_open: listening.half_open.count(),
        most_half_open: listening.most_half_open(namespace),
        waiting: listening.waiting(),
        asked: backlog.asked,
        granted: backlog.granted(),
        decision: decision as u8,
        bound: bound as u8,
        syncookies: u8::try_from(namespace.sysctls.syncookies()).unwrap_or(0),
        setting: setting as u8,
    };
    Decisions::tell(&Ends::of(listener, &bare(key)), &told);
}

/// Whether somebody watches queues that are full.
#[inline(always)]
pub(crate) fn watches_overflows() -> bool {
    Overflows::is_on()
}

/// A queue of a listener is full.
pub(crate) fn overflows(listener: &Socket, overflow: &trace::Overflow) {
    let ends = ends_of_listener(listener, procfs::shown_flow(listener).local());
    Overflows::tell(&ends, overflow);
}

/// The ends of a socket.
fn ends_of(sock: &Socket) -> Ends {
    Ends::of(sock, &bare(&procfs::shown_flow(sock)))
}

/// The ends of a flow that is no socket's.
fn ends_for(net: &Net, key: &FlowKey) -> Ends {
    Ends::new(net, &bare(key))
}

fn bits(ecn: Ecn) -> u8 {
    ecn as u8
}
