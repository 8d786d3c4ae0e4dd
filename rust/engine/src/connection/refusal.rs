// SPDX-License-Identifier: GPL-2.0

//! What the layers below did not take: a segment that is known not to have left the host is no loss on the network.
//!
//! As in Linux: a full queue reduces the window (`tcp_enter_cwr`), and what it dropped, or what there was no memory or
//! route for, goes back to where it was, to be sent with the next acknowledgment, or by a timer when none is to come.

use super::link::Owed;
use super::phase::Parts;
use super::timers::TimerKind;
use super::{Connection, Status};
use crate::context::Context;
use crate::flight::FlightMemory;
use crate::time::Duration;
use crate::transmit::{Refusal, Transmit, TransmitKind};
use crate::wire::Flags;

/// Linux's TCP_RESOURCE_PROBE_INTERVAL: how soon a connection tries again that a full queue of its own host turned away.
/// No back-off: those who share the queue share it evenly.
const RESOURCE_PROBE_INTERVAL: Duration = Duration::from_millis(500);

/// Linux's TCP_DELACK_MAX: an acknowledgment that could not be sent is tried again so late.
const ACK_AGAIN: Duration = Duration::from_millis(200);

impl Connection {
    /// The layers below did not take `segment`, the one that was polled last, as they should have: its first `sent` bytes
    /// of payload left, the rest did not, for the reason `why`. For [`Refusal::Congested`] all of it left.
    ///
    /// The caller does not poll at once again, but with the next event.
    pub fn on_refusal(
        &mut self,
        cx: &Context<'_>,
        segment: &Transmit,
        sent: u32,
        why: Refusal,
        flight: &mut dyn FlightMemory,
    ) {
        self.status.clear(Status::IDLE);
        let Some(Parts {
            link,
            snd,
            rcv,
            fin: _,
        }) = self.phase.parts()
        else {
            // A SYN: its timer runs.
            return;
        };
        let timers = &mut self.timers;
        let delay = (why == Refusal::Dropped).then_some(RESOURCE_PROBE_INTERVAL);
        if let Some(snd) = snd {
            if matches!(why, Refusal::Congested | Refusal::Dropped) {
                snd.on_local_congestion(cx, link);
            }
            if why == Refusal::Congested {
                return;
            }
            let start = segment.payload.start.add(sent.min(segment.payload.len));
            let fin = segment.header.flags.contains(Flags::FIN);
            let end = segment.payload.end().add(u32::from(fin));
            match segment.kind {
                TransmitKind::LossProbe if end != link.snd_nxt => {
                    snd.take_back_again(cx, link, flight, start, end);
                }
                TransmitKind::Data | TransmitKind::Fin => {
                    snd.take_back(cx, link, flight, start, end);
                    snd.try_later(cx, link, timers, delay);
                }
                TransmitKind::Retransmission => {
                    snd.take_back_again(cx, link, flight, start, end);
                    // Sent again by a timeout: soon again, and not after twice the timeout.
                    if let (Some(delay), true) =
                        (delay, snd.retransmits() != 0 && start == link.snd_una)
                    {
                        timers.set(TimerKind::Retransmit, cx.now + delay);
                    }
                }
                TransmitKind::Probe => {
                    if let Some(delay) = delay {
                        timers.set(TimerKind::Persist, cx.now + delay);
                    }
                }
                _ => {}
            }
        }
        match segment.kind {
            // What a filter does not let out it would not let out the next time.
            TransmitKind::Ack | TransmitKind::WindowUpdate
                if rcv.is_some() && why == Refusal::NoMemory =>
            {
                link.owed.insert(Owed::ACK_LATER);
                timers.set(TimerKind::DelayedAck, cx.now + ACK_AGAIN);
            }
            TransmitKind::KeepAlive => {
                if let Some(delay) = delay {
                    timers.set(TimerKind::KeepAlive, cx.now + delay);
                }
            }
            _ => {}
        }
    }
}
