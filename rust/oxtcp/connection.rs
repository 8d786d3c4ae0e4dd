// SPDX-License-Identifier: GPL-2.0

//! One step of a connection: what happens goes into the engine, and what the engine makes of it comes
//! out: segments, wake-ups, states, buffers, the timer.
//!
//! All functions need the socket lock (a [`Sk`] proves it) and run in softirq or process context.

use core::cell::Cell;
use core::num::{NonZeroU16, NonZeroU32};

use kernel::prelude::*;
use kernel::sync::{barrier, rcu};

use oxtcp_engine::connection::{
    mostly_read, Event, Packet, Payload, Pruning, RecvMemory, Room, Rx, Unacceptable, Urgent,
    UrgentPlace, Useless,
};
use oxtcp_engine::reassembly::{had, Reassembly};
use oxtcp_engine::time_wait::TimeWait;
use oxtcp_engine::{
    Connection, Context, Duration, Error as EngineError, Happening, Instant, Segment, SeqNum,
    SeqRange, State, TimerKind,
};

use crate::counters::{Counter, Index};
use crate::half_open::{self, Mini};
use crate::namespace::Namespace;
use crate::output::Extent;
use crate::poll::Unsent;
use crate::protocol::{Role, Sk, Socket};
use crate::sys::bindings;
use crate::sys::drop_reason::DropReason;
use crate::sys::errno::{econnrefused, econnreset};
use crate::sys::once::Once;
use crate::sys::skb::{self, Charged, SkBuff, Unread};
use crate::sys::sock::SkState;
use crate::sys::table;
use crate::sys::time::Jiffies;
use crate::trace::Shown;
use crate::{closing, icmp, keys, output, trace, urgent};

/// A segment of the connection has arrived; its payload begins `header_len` bytes into `skb`.
pub(crate) fn segment(
    sk: &mut Sk<'_>,
    cx: &Context<'_>,
    segment: &Segment,
    skb: SkBuff,
    header_len: u32,
) {
    let Err(skb) = expected(sk, cx, segment, skb, header_len) else {
        return;
    };
    let (facts, packet) = if segment.payload_len > 0 {
        let facts = Packet {
            truesize: skb.truesize(),
            head: skb.spare_head(header_len),
            segment_size: skb.segment_size(),
        };
        (facts, make_room(sk, segment, skb))
    } else {
        (Packet::default(), Err((skb, None)))
    };
    let most = receive_memory(sk.sock()).most;
    let lowat = lowat(sk);
    let unread = rx_bytes(sk);
    let mut urgent = urgent::urgent(sk);
    let known = urgent;
    let is_urgent = known.may_change_by(segment);
    let inline = urgent::is_inline(sk);
    let sock = sk.sock();
    let state = sk.state();
    let Role::Connection(connection) = &mut state.role else {
        return;
    };
    let before = connection.rcv_nxt();
    let opens = connection.state() == State::SynSent;
    let mut refusal = None;
    let payload = connection.on_segment_telling(
        cx,
        segment,
        Rx {
            reassembly: state.reorder.as_deref_mut(),
            room: packet.is_ok(),
            packet: facts,
            most,
            unread,
            lowat,
            urgent: is_urgent.then_some(UrgentPlace {
                urgent: &mut urgent,
                inline,
            }),
        },
        &mut state.flight,
        &mut refusal,
    );
    let rcv_nxt = connection.rcv_nxt();
    let is_undisturbed = connection.is_undisturbed();
    // A SYN-ACK may bring a FIN.
    if opens && !matches!(connection.state(), State::SynSent | State::Closed) {
        // Before anything is sent.
        keys::peer_begins(sock, segment.header.seq);
    }
    let start = segment.payload().start;
    if is_urgent {
        let came = urgent.offset_in(segment).and_then(|offset| {
            let offset = header_len.saturating_add(offset);
            match &packet {
                Ok(skb) => skb.byte(offset),
                Err((skb, _)) => skb.byte(offset),
            }
        });
        // First, as in Linux: a packet whose last byte is displaced goes, instead of getting what came joined to it.
        if urgent != known || came.is_some() {
            note_urgent(sk, urgent, came);
        }
    }
    match (payload, packet, refusal) {
        (Payload::InOrder { skip, len }, Ok(mut skb), _) => {
            skb.set_unread(Unread {
                seq: start.add(skip).get(),
                offset: header_len.saturating_add(skip),
                len,
            });
            enqueue(sk, skb, len);
        }
        (Payload::OutOfOrder { skip, len }, Ok(mut skb), _) => {
            let seq = start.add(skip);
            skb.set_unread(Unread {
                seq: seq.get(),
                offset: header_len.saturating_add(skip),
                len,
            });
            sk.keep_apart(
                skb,
                |other| !SeqNum::new(other.seq).after(seq),
                |before, behind| had(range_of(before), range_of(behind)),
            );
        }
        (Payload::None, packet, Some(why)) => {
            let why = reason(why);
            match packet {
                Ok(skb) => trace::drop_charged(sk, skb, header_len, why),
                Err((skb, _)) => trace::drop_of(sk, skb, header_len, why),
            }
        }
        (Payload::None, Ok(skb), None) => skb.consume(),
        // Without room the engine keeps nothing.
        (_, Err((skb, Some(why))), _) => trace::drop_of(sk, skb, header_len, why),
        (_, Err((skb, None)), _) => skb.consume(),
    }
    if rcv_nxt != before {
        take_reordered(sk, rcv_nxt);
    }
    match payload {
        Payload::None if is_undisturbed => {}
        Payload::None => give_memory_back(sk, cx),
        Payload::InOrder { .. } => update_receive_memory(sk, false),
        Payload::OutOfOrder { .. } => {
            update_receive_memory(sk, true);
            if is_undisturbed {
                trace::standing(sk, cx);
            }
        }
    }
    // What a flood sends is to cost no more than its packets.
    if !is_undisturbed {
        settle(sk, cx);
    }
}

/// Takes a segment by header prediction: one that has the next bytes, and nothing besides, for a connection that has nothing to send.
///
/// # Errors
///
/// The packet, if it is another.
fn expected(
    sk: &mut Sk<'_>,
    cx: &Context<'_>,
    segment: &Segment,
    skb: SkBuff,
    header_len: u32,
) -> Result<(), SkBuff> {
    // Most of those that are not.
    let next = |c: &mut Connection| c.rcv_nxt() == segment.seq();
    if segment.payload_len == 0 || !sk.state().connection().is_some_and(next) {
        return Err(skb);
    }
    let sock = sk.sock();
    let memory = receive_memory(sock);
    let usual = !memory.is_over()
        && sock.shared().keys.is_empty()
        && !urgent::urgent(sk).may_change_by(segment);
    let rx = Rx {
        room: true,
        packet: Packet {
            truesize: skb.truesize(),
            head: skb.spare_head(header_len),
            segment_size: skb.segment_size(),
        },
        most: memory.most,
        unread: rx_bytes(sk),
        lowat: lowat(sk),
        ..Rx::default()
    };
    let state = sk.state();
    let expects = |c: &mut Connection| c.expects(cx, segment, &rx);
    if !usual || state.reorder.is_some() || !state.connection().is_some_and(expects) {
        return Err(skb);
    }
    let mut skb = skb.charge(sk)?;
    skb.set_unread(Unread {
        seq: segment.seq().get(),
        offset: header_len,
        len: segment.payload_len,
    });
    enqueue(sk, skb, segment.payload_len);
    let memory = receive_memory(sk.sock());
    let taken = match sk.state().connection() {
        Some(connection) => connection.take_expected(cx, segment, &rx, &memory),
        None => return Ok(()),
    };
    let sent = match &taken.ack {
        Some(ack) => output::acknowledge(sk, cx, ack),
        None => true,
    };
    sk.wake_readers();
    if !sent {
        settle(sk, cx);
        return Ok(());
    }
    trace::standing(sk, cx);
    if taken.changed {
        publish(sk, cx);
    }
    Ok(())
}

/// For how many bytes readers wait (SO_RCVLOWAT).
fn lowat(sk: &Sk<'_>) -> u32 {
    u32::try_from(sk.sock().rcvlowat(false, i32::MAX as usize)).unwrap_or(u32::MAX)
}

/// Why the engine has dropped a segment, in the kernel's terms.
pub(crate) fn reason(refusal: Unacceptable) -> DropReason {
    match refusal {
        Unacceptable::Stamp => DropReason::OldStamp,
        Unacceptable::Overtaken => DropReason::OvertakenAck,
        Unacceptable::Old => DropReason::OldSequence,
        Unacceptable::Beyond => DropReason::InvalidSequence,
        Unacceptable::Reset => DropReason::Reset,
        Unacceptable::Syn => DropReason::InvalidSyn,
        Unacceptable::NoAck => DropReason::Flags,
        Unacceptable::Ack => DropReason::InvalidAck,
        Unacceptable::NoReader => DropReason::AbortOnData,
        Unacceptable::Closed => DropReason::Closed,
    }
}

/// The peer has told of an urgent byte, or it came.
fn note_urgent(sk: &mut Sk<'_>, mut urgent: Urgent, came: Option<u8>) {
    if let Some(byte) = came {
        urgent.set(byte);
    }
    let displaced = urgent.take_displaced();
    sk.sock().notes().urgent.set(urgent);
    if displaced {
        take(sk, 1);
    }
    if came.is_some() {
        sk.wake_readers();
    }
}

/// Charges a segment's packet to the socket; gives it back when its payload cannot be kept. What is done to make room for it,
/// the engine decides.
///
/// # Errors
///
/// The packet, and why.
fn make_room<'a>(
    sk: &mut Sk<'a>,
    segment: &Segment,
    skb: SkBuff,
) -> Result<Charged<'a>, (SkBuff, Option<DropReason>)> {
    let no_room = |sk: &Sk<'_>, in_order: bool| {
        count(
            sk,
            match in_order {
                true => Counter::TCPRcvQDrop,
                false => Counter::TCPOFODrop,
            },
        );
    };
    let memory = receive_memory(sk.sock());
    let unread = rx_bytes(sk);
    let state = sk.state();
    let Some(connection) = state.connection() else {
        return Err((skb, None));
    };
    let start = segment.payload().start;
    let in_order = !start.after(connection.rcv_nxt());
    match connection.make_room(segment, &memory, unread) {
        Room::Enough => {}
        Room::Useless(why) => {
            let counters = &output::namespace(sk.sock()).counters;
            let why = match why {
                Useless::Old => DropReason::OldData,
                Useless::Beyond => {
                    counters.count(Happening::BeyondWindow);
                    DropReason::BeyondWindow
                }
                Useless::Closed => {
                    counters.count(Counter::TCPZeroWindowDrop);
                    DropReason::ZeroWindow
                }
            };
            return Err((skb, Some(why)));
        }
        Room::Over(limit) => {
            count(sk, Counter::PruneCalled);
            if limit > memory.limit {
                sk.set_rcvbuf(limit);
            }
            if receive_memory(sk.sock()).is_over() {
                collapse(sk);
            }
            if receive_memory(sk.sock()).is_over() {
                prune(sk, start);
            }
            if receive_memory(sk.sock()).is_over() {
                count(sk, Counter::RcvPruned);
                no_room(sk, in_order);
                return Err((skb, Some(DropReason::ReceiveBuffer)));
            }
        }
    }
    if !in_order {
        let state = sk.state();
        if state.reorder.is_none() {
            state.reorder = KBox::new(Reassembly::new(), GFP_ATOMIC).ok();
        }
    }
    let charged = match skb.charge(sk) {
        // It is the system's memory that is short (tcp_mem). What fills the hole goes before all that waits for it: else those that
        // hold packets out of order would keep each other from ever getting on. An empty queue always has room for one.
        Err(skb) if in_order && sk.first_apart().is_some() => {
            sk.purge_apart();
            sk.state().reorder = None;
            count(sk, Counter::OfoPruned);
            skb.charge(sk)
        }
        result => result,
    };
    if charged.is_err() {
        no_room(sk, in_order);
    }
    charged.map_err(|skb| (skb, Some(DropReason::Memory)))
}

/// Counts one more in the socket's namespace. Any context.
pub(crate) fn count(sk: &Sk<'_>, counter: impl Into<Index>) {
    output::namespace(sk.sock()).counters.count(counter);
}

/// Copies what is to be read to denser packets, where those that hold it take too much memory.
fn collapse(sk: &mut Sk<'_>) {
    if let Some(share) = sk.state().connection().map(|c| c.share()) {
        let found = Cell::new(false);
        let packets = sk.collapse(share.of_256(), |len, truesize| {
            share.is_bloated(len, truesize, &found)
        });
        let counters = &output::namespace(sk.sock()).counters;
        counters.add(Counter::TCPRcvCollapsed, packets);
    }
}

/// Gives up packets out of order, from the end of the stream on, so that one which begins at `came` can be kept.
fn prune(sk: &mut Sk<'_>, came: SeqNum) {
    let mut pruning = Pruning::new(came, &receive_memory(sk.sock()));
    let mut pruned = false;
    while let Some((last, truesize)) = sk.last_apart() {
        let memory = receive_memory(sk.sock());
        if !pruning.next(SeqNum::new(last.seq), truesize, &memory) {
            break;
        }
        sk.drop_last_apart();
        pruned = true;
    }
    if !pruned {
        return;
    }
    count(sk, Counter::OfoPruned);
    let left = sk.last_apart();
    let state = sk.state();
    match (left, &mut state.reorder) {
        // No two overlap, so that none goes beyond the last.
        (Some((last, _)), Some(reorder)) => reorder.cut(range_of(last).end()),
        _ => state.reorder = None,
    }
}

/// A packet's unread bytes.
fn range_of(unread: Unread) -> SeqRange {
    SeqRange::new(SeqNum::new(unread.seq), unread.len)
}

/// Puts a packet's unread bytes where readers find them.
fn enqueue<'a>(sk: &mut Sk<'a>, skb: Charged<'a>, len: u32) {
    sk.queue(skb);
    let bytes = rx_bytes(sk).saturating_add(len);
    set_rx_bytes(sk, bytes);
}

/// Moves what is in order now from the out-of-order packets to the receive queue.
fn take_reordered(sk: &mut Sk<'_>, rcv_nxt: SeqNum) {
    if sk.state().reorder.is_none() {
        return;
    }
    // The bytes that readers have or will find in the queue end here.
    let mut next = match sk.last_queued() {
        Some(last) => SeqNum::new(last.seq).add(last.len),
        None => rcv_nxt,
    };
    while let Some(first) = sk.first_apart() {
        let seq = SeqNum::new(first.seq);
        if !seq.before(rcv_nxt) {
            break;
        }
        let Some(mut skb) = sk.pop_apart() else {
            break;
        };
        let end = seq.add(first.len);
        if !end.after(next) {
            continue;
        }
        let skip = if seq.before(next) {
            seq.distance_to(next)
        } else {
            0
        };
        let len = first.len.saturating_sub(skip);
        skb.set_unread(Unread {
            seq: seq.add(skip).get(),
            offset: first.offset.saturating_add(skip),
            len,
        });
        next = end;
        enqueue(sk, skb, len);
    }
    if sk.first_apart().is_none() {
        sk.state().reorder = None;
    }
}

/// What the engine is to know of the receive buffer.
pub(crate) fn receive_memory(sock: &Socket) -> RecvMemory {
    let most = output::namespace(sock).sysctls.rmem_most();
    RecvMemory {
        used: sock.rmem(),
        limit: sock.rcvbuf(),
        most: u32::try_from(most).unwrap_or(0),
        fixed: sock.user_locked(bindings::SOCK_RCVBUF_LOCK),
    }
}

/// Tells the engine what the receive queues take. With a hole in what has come, the buffer of a program that has the
/// socket may grow.
fn update_receive_memory(sk: &mut Sk<'_>, hole: bool) {
    let memory = receive_memory(sk.sock());
    let grows = hole && sk.has_program();
    let state = sk.state();
    let Role::Connection(connection) = &mut state.role else {
        return;
    };
    connection.set_recv_memory(&memory);
    if !grows {
        return;
    }
    if let Some(limit) = connection.grow_for_hole(&memory, state.reorder.as_deref()) {
        sk.set_rcvbuf(limit);
    }
}

/// A segment has brought nothing, and may ask for room: what has been read of a packet that others were joined to gives its memory back.
fn give_memory_back(sk: &mut Sk<'_>, cx: &Context<'_>) {
    let asked = |c: &mut Connection| c.is_asked_for_room();
    if !sk.state().connection().is_some_and(asked) || !sk.thin_first(mostly_read) {
        return;
    }
    count(sk, Counter::TCPRcvCollapsed);
    let memory = receive_memory(sk.sock());
    if let Some(connection) = sk.state().connection() {
        connection.resize_recv_buffer(cx, &memory);
    }
}

/// The socket's timer has run out, or an ICMP error waits.
pub(crate) fn timer(sk: &mut Sk<'_>) {
    let namespace = output::namespace(sk.sock());
    let config = namespace.config();
    let cx = namespace.context(&config);
    icmp::heed_too_big(sk, &cx);
    let exceeds = sk.state().orphan && closing::exceeds(sk, namespace);
    let state = sk.state();
    let Role::Connection(connection) = &mut state.role else {
        return;
    };
    if exceeds {
        namespace.counters.count(Counter::TCPAbortOnMemory);
        connection.abort(&cx);
        settle(sk, &cx);
        return;
    }
    trace::timers(sk, &cx);
    let state = sk.state();
    if let Role::Connection(connection) = &mut state.role {
        connection.on_timer(&cx, &mut state.flight);
    }
    settle(sk, &cx);
}

/// Does what the engine wants done after any call into it.
pub(crate) fn settle(sk: &mut Sk<'_>, cx: &Context<'_>) {
    settle_sending(sk, cx, Extent::All);
}

/// Sends one packet of what is ready, while more of a message is to come.
pub(crate) fn push_one(sk: &mut Sk<'_>) {
    let rcu = rcu::read_lock();
    let namespace = output::namespace(sk.sock());
    let cx = namespace.context_under(&rcu);
    if let Some(connection) = sk.state().connection() {
        connection.set_filling();
        settle_sending(sk, &cx, Extent::Packet);
    }
}

fn settle_sending(sk: &mut Sk<'_>, cx: &Context<'_>, extent: Extent) {
    release_acknowledged(sk);
    note_room(sk, cx);
    output::transmit(sk, cx, extent);
    let Some(connection) = sk.state().connection() else {
        return;
    };
    let events = connection.take_events();
    let state = connection.state();
    let error = connection.take_error();
    mirror_state(sk, state);
    if let Some(error) = error {
        if matches!(sk.sock().state(), SkState::SYN_SENT | SkState::SYN_RECV) {
            count(sk, Counter::AttemptFails);
        }
        report(sk, error);
    }
    if events.contains(Event::Established) {
        established(sk);
    }
    if events.contains(Event::Writable) && waits_for_room(sk) {
        grow_send_buffer(sk);
        sk.wake_writers();
        note_room(sk, cx);
    }
    if events.contains(Event::Readable) {
        sk.wake_readers();
    }
    if events.contains(Event::Urgent) {
        sk.signal_urgent();
    }
    if events.contains(Event::PeerClosed) {
        sk.add_shutdown(bindings::RCV_SHUTDOWN as u8);
        sk.set_done(true);
        sk.wake_all();
        sk.wake_async_closed(false);
    }
    // For the last time, where the connection leaves the socket.
    trace::standing(sk, cx);
    match state {
        State::TimeWait => {
            enter_time_wait(sk, cx);
            closing::finish(sk);
        }
        // While a process owns the socket packets may wait on its backlog, the peer's FIN among them: later, then.
        State::FinWait2 if sk.is_dead() && !sk.is_owned() => {
            enter_fin_wait_2(sk, cx);
            closing::finish(sk);
        }
        State::Closed => {
            // A reset may still be owed.
            output::transmit(sk, cx, Extent::All);
            closing::finish(sk);
        }
        _ => publish(sk, cx),
    }
}

/// Frees the send buffer up to what the peer has acknowledged.
fn release_acknowledged(sk: &mut Sk<'_>) {
    let state = sk.state();
    let Role::Connection(connection) = &state.role else {
        return;
    };
    let acked = connection.first_unacked_byte();
    if !state.send.begins_before(acked) {
        return;
    }
    tell_acknowledged(sk, acked);
    let released = sk.state().send.release(acked);
    if released > 0 {
        sk.uncharge_sent(released);
    }
}

/// Stamps what has been acknowledged and is to have a timestamp of that (SOF_TIMESTAMPING_TX_ACK).
fn tell_acknowledged(sk: &mut Sk<'_>, acked: SeqNum) {
    let mut from = 0;
    while let Some((packet, key)) = sk.state().send.take_acked(acked, &mut from) {
        if let Some(packet) = packet {
            sk.tell_acked(packet, key.get());
        }
    }
}

/// Whether a program waits for the room that there may be by now (Linux's `tcp_check_space`).
fn waits_for_room(sk: &Sk<'_>) -> bool {
    // Pairs with poll(), which says that it waits, and then looks once more.
    barrier::smp_mb();
    sk.is_short_of_room()
}

/// Tells the engine whether the program waits for room.
fn note_room(sk: &mut Sk<'_>, cx: &Context<'_>) {
    let short = sk.is_short_of_room();
    if let Some(connection) = sk.state().connection() {
        connection.set_short_of_room(cx, short);
    }
}

fn established(sk: &mut Sk<'_>) {
    grow_send_buffer(sk);
    sk.wake_all();
    sk.wake_writers();
}

/// No send buffer is larger: sequence numbers that are further apart do not compare.
pub(crate) const MAX_SEND_BUFFER: u32 = 1 << 30;

/// Lets the send buffer follow the congestion window, as `tcp_sndbuf_expand()` does: room for twice
/// the window, so that the next one is filled while this one is on its way. As there, a segment counts as what it takes in
/// memory when each is a packet of its own.
fn grow_send_buffer(sk: &mut Sk<'_>) {
    /// TCP_INIT_CWND.
    const LEAST_SEGMENTS: u32 = 10;
    if sk.sock().user_locked(bindings::SOCK_SNDBUF_LOCK) {
        return;
    }
    let Some(connection) = sk.state().connection() else {
        return;
    };
    let mss = NonZeroU32::from(NonZeroU16::new(connection.mss()).unwrap_or(NonZeroU16::MIN));
    let segments = (connection.cwnd() / mss).max(LEAST_SEGMENTS);
    let wanted = skb::memory_of(mss.get())
        .saturating_mul(segments)
        .saturating_mul(2);
    let most = output::namespace(sk.sock()).sysctls.wmem_most();
    let most = u32::try_from(most).unwrap_or(0).min(MAX_SEND_BUFFER);
    let wanted = wanted.min(most);
    if wanted > sk.sock().sndbuf() {
        sk.set_sndbuf(wanted);
    }
}

fn report(sk: &mut Sk<'_>, error: EngineError) {
    let error = match error {
        EngineError::Refused => econnrefused(),
        EngineError::Reset => econnreset(),
        EngineError::ResetAfterFin => EPIPE,
        EngineError::TimedOut => ETIMEDOUT,
        EngineError::Unreachable => {
            kernel::error::Error::from_errno(i32::from(sk.state().unreachable).wrapping_neg())
        }
    };
    sk.report_error(error);
}

/// Leaves a small object in the connection's place for 2 MSL.
fn enter_time_wait(sk: &mut Sk<'_>, cx: &Context<'_>) {
    if let Some(time_wait) = sk.state().connection().and_then(|c| c.time_wait(cx)) {
        let end = half_open::time_wait_end();
        leave_behind(sk, time_wait, end, Shown::TIME_WAIT, Counter::TW);
    }
}

/// A shorter wait Linux counts apart (`__inet_twsk_schedule`): one that is over before 2 MSL could be.
const SHORT_WAIT: Duration = Duration::from_secs(4);

/// Leaves a small object in the connection's place until the peer's FIN comes, or its time is up.
fn enter_fin_wait_2(sk: &mut Sk<'_>, cx: &Context<'_>) {
    if let Some((kept, until)) = sk.state().connection().and_then(|c| c.fin_wait_2(cx)) {
        let left = until.since(cx.now);
        let end = Jiffies::after_micros(left.as_micros());
        let counter = match left <= SHORT_WAIT {
            true => Counter::TWKilled,
            false => Counter::TW,
        };
        leave_behind(sk, kept, end, SkState::FIN_WAIT2.into(), counter);
    }
}

/// Puts a small object in the connection's place, which is in `state`. Without room for one the connection just ends, as in Linux.
fn leave_behind(
    sk: &mut Sk<'_>,
    time_wait: TimeWait,
    end: Jiffies,
    state: Shown,
    counter: Counter,
) {
    let namespace: &Namespace = output::namespace(sk.sock());
    let key = sk.sock().flow();
    let v6 = sk.sock().is_v6();
    let Some(port) = &sk.state().port else {
        return;
    };
    let port = port.child();
    if !namespace.admit_time_wait() {
        namespace.counters.count(Counter::TCPTimeWaitOverflow);
        return;
    }
    let secret = keys::left_behind(sk.sock());
    let placed = Mini::time_wait(time_wait, port, v6, secret)
        .and_then(|mini| table::NewMini::new(key, mini))
        .and_then(|mini| namespace.table.replace(sk, mini, end));
    if placed.is_err() {
        namespace.release_time_wait();
        namespace.counters.count(Counter::TCPTimeWaitOverflow);
        return;
    }
    namespace.counters.count(counter);
    // The socket is done, and the connection goes on without it.
    let from = sk.sock().state();
    sk.set_state(SkState::CLOSE);
    trace::state(sk, from, state);
}

fn mirror_state(sk: &mut Sk<'_>, state: State) {
    let state = match state {
        State::SynSent => SkState::SYN_SENT,
        State::SynReceived => SkState::SYN_RECV,
        State::Established => SkState::ESTABLISHED,
        State::FinWait1 => SkState::FIN_WAIT1,
        State::FinWait2 => SkState::FIN_WAIT2,
        State::CloseWait => SkState::CLOSE_WAIT,
        State::Closing => SkState::CLOSING,
        State::LastAck => SkState::LAST_ACK,
        // The end is `closing::finish`'s.
        State::Closed | State::Listen | State::TimeWait => return,
    };
    if sk.sock().state() != state {
        trace::set_state(sk, state);
        if state == SkState::FIN_WAIT2 {
            // Who lingers in close() waits for this.
            sk.wake_all();
        }
    }
}

/// Arms the socket's timer for the engine's deadline.
///
/// A timer that goes off earlier is left as it is: it finds nothing to do and is armed anew. So the
/// usual case, a deadline that each acknowledgment moves on, costs nothing.
///
/// Acknowledgments are held back for less than a tick. What else there is to wait for is armed behind that.
fn arm_timer(sk: &mut Sk<'_>, cx: &Context<'_>, (kind, deadline): (TimerKind, Instant)) {
    let left = deadline.since(cx.now).as_micros();
    if kind == TimerKind::CompressedAck {
        let slack = output::namespace(sk.sock()).sysctls.comp_sack_slack_ns();
        let slack = u64::try_from(slack).unwrap_or(0);
        if sk.call_soon(left.saturating_mul(1000), slack) {
            return;
        }
    }
    let at = Jiffies::after_micros(left);
    if sk.timer_at().is_some_and(|armed| !at.before(armed)) {
        return;
    }
    sk.set_timer(at);
}

/// Copies for those who look without the lock, and the timer.
fn publish(sk: &mut Sk<'_>, cx: &Context<'_>) {
    let Some(standing) = sk.state().connection().map(|c| c.standing(cx.config)) else {
        return;
    };
    sk.sock().shared().tx.set_bytes(standing.unacked);
    sk.sock().notes().figures.store(&standing);
    set_unsent(sk, standing.not_sent);
    if let Some(timer) = standing.timer {
        arm_timer(sk, cx, timer);
    }
}

/// Copies for the rule of TCP_NOTSENT_LOWAT how much waits to be sent.
pub(crate) fn publish_unsent(sk: &mut Sk<'_>) {
    let waits = sk.state().connection().map(|c| c.send_queue_not_sent());
    match waits {
        Some(bytes) => set_unsent(sk, bytes),
        None => tell_unsent(sk, Unsent::NONE),
    }
}

fn set_unsent(sk: &mut Sk<'_>, bytes: u32) {
    let lowat = match sk.state().notsent_lowat {
        0 => output::namespace(sk.sock()).sysctls.notsent_lowat(),
        lowat => lowat,
    };
    tell_unsent(sk, Unsent::of(bytes, lowat));
}

fn tell_unsent(sk: &mut Sk<'_>, unsent: Unsent) {
    if sk.sock().shared().tx.set_unsent(unsent) {
        sk.wake_writers();
    }
}

/// Bytes in the receive queue.
pub(crate) fn rx_bytes(sk: &Sk<'_>) -> u32 {
    sk.sock().shared().rx_bytes.read_once()
}

/// Takes `len` bytes off the receive queue.
pub(crate) fn take(sk: &mut Sk<'_>, len: u32) {
    urgent::pass(sk, len);
    sk.consume(len as usize);
    let left = rx_bytes(sk).saturating_sub(len);
    set_rx_bytes(sk, left);
}

/// Sets [`rx_bytes`].
pub(crate) fn set_rx_bytes(sk: &mut Sk<'_>, bytes: u32) {
    sk.sock().shared().rx_bytes.write_once(bytes);
}

/// Runs `step` on the socket's connection and settles what comes of it; nothing without one.
pub(crate) fn with<R>(
    sk: &mut Sk<'_>,
    step: impl FnOnce(&mut Connection, &Context<'_>) -> R,
) -> Option<R> {
    let rcu = rcu::read_lock();
    let namespace = output::namespace(sk.sock());
    let cx = namespace.context_under(&rcu);
    let result = step(sk.state().connection()?, &cx);
    settle(sk, &cx);
    Some(result)
}
