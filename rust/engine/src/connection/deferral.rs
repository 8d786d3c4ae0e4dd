// SPDX-License-Identifier: GPL-2.0

//! A few segments wait for the acknowledgment that is about to come, and leave together with what that lets go (Linux's
//! `tcp_tso_should_defer`).
//!
//! Acknowledgments let go what they acknowledge, and in slow start and now and then one segment more. Sent at once, that one stays alone:
//! the peer acknowledges it by itself, or late, and bursts get smaller all the time. A queue that is full loses the more often something
//! of a sender the more often that comes.

use super::link::Link;
use super::recovery::Mode;
use super::send::Sender;
use super::timers::micros;
use crate::context::Context;
use crate::flight::Flight;

/// What is that part of a window goes at once (Linux's `tcp_tso_win_divisor`): the rest of the flight would not bring enough.
const WINDOW_DIVISOR: u32 = 3;

/// Nothing waits for an acknowledgment that is further away, nor when nothing was sent for so long: in microseconds, as in Linux.
const SOON: u32 = 1000;

/// What there is to send.
#[derive(Clone, Copy)]
pub(super) struct Ready {
    /// Octets in the network.
    pub(super) pipe: u32,
    /// Octets that wait and may be sent together, and whether nothing can join them.
    pub(super) pending: u32,
    pub(super) complete: bool,
    /// The segments' payload, and the largest burst's.
    pub(super) size: u32,
    pub(super) most: u32,
}

/// Whether new data waits for an acknowledgment that is due.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Deferral {
    /// It goes as far as the windows allow.
    None,
    /// The congestion window is what more of it waits for: the window counts as full.
    Window,
    /// The peer's window, or the program, is.
    Other,
}

impl Sender {
    pub(super) fn deferral(
        &self,
        cx: &Context<'_>,
        link: &Link,
        flight: Option<&Flight>,
        ready: Ready,
    ) -> Deferral {
        let Ready { pending, size, .. } = ready;
        let usable = self.usable(link);
        let room = self.window.cwnd.saturating_sub(ready.pipe);
        let limit = usable.min(room);
        if limit >= ready.most || pending <= size {
            return Deferral::None;
        }
        if limit >= self.wnd.min(self.window.cwnd) / WINDOW_DIVISOR || limit < size {
            return Deferral::None;
        }
        if self.mode >= Mode::Recovery || !self.is_answer_due(cx, link, flight) {
            return Deferral::None;
        }
        match room < usable {
            true if room <= pending => Deferral::Window,
            false if usable <= pending => Deferral::Other,
            _ if ready.complete => Deferral::None,
            _ => Deferral::Other,
        }
    }

    /// Whether something was just sent, and the acknowledgment of the oldest in flight is expected soon. That keeps what waits for it
    /// from waiting long: it is in flight, and so the retransmission timer runs.
    fn is_answer_due(&self, cx: &Context<'_>, link: &Link, flight: Option<&Flight>) -> bool {
        let times = match flight {
            Some(flight) => flight.records.first_and_last_at(),
            None => self.outline.first_and_last_at(),
        };
        let (Some((first, last)), 1..) = (times, link.in_flight()) else {
            return false;
        };
        // Microseconds modulo 2^32, of the last round trips.
        let now = micros(cx);
        let srtt = self.srtt_micros();
        let left = first.wrapping_add(srtt).wrapping_sub(now) as i32;
        // Without a measurement nobody knows when it is due.
        srtt != 0 && now.wrapping_sub(last) <= SOON && left <= (srtt / 2).min(SOON) as i32
    }
}
