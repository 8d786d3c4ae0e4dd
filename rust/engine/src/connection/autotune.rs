// SPDX-License-Identifier: GPL-2.0

//! How large the receive buffer should be: dynamic right-sizing, as Linux's `tcp_rcv_space_adjust` and
//! `tcp_rcv_rtt_measure` do it.
//!
//! A sender can have one window in flight per round trip. So the receiver measures the round trip, counts what
//! the user reads in one, and offers at least twice as much: the buffer is never what slows the sender down while
//! the user keeps up, and does not grow for a user who does not.

use super::link::Link;
use super::timers::Mark;
use crate::context::Context;
use crate::reassembly::Reassembly;
use crate::segment::Segment;
use crate::seq::{SeqNum, SeqRange};

/// Linux's tcp_rcvbuf_low_rtt, in microseconds: below this round trip the window grows gently, for the sake of the caches.
const LOW_RTT: u32 = 1000;

/// The measurements of one connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Autotune {
    /// Eight times the receiver's round trip in microseconds; 0 before the first sample.
    rtt_x8: u32,
    /// When data up to here has come, a window's worth has come since `window_at`.
    window_end: SeqNum,
    window_at: Option<Mark>,
    /// The last timestamp echo that was looked at.
    last_echo: u32,
    /// What the user read in the best round trip so far.
    best: u32,
    /// What the user has read since `read_at`.
    read: u32,
    read_at: u32,
}

/// Microseconds modulo 2^32 (71 minutes).
fn micros(cx: &Context<'_>) -> u32 {
    cx.now.as_micros() as u32
}

impl Autotune {
    pub(super) fn new(cx: &Context<'_>, window: u32) -> Self {
        Autotune {
            rtt_x8: 0,
            window_end: SeqNum::new(0),
            window_at: None,
            last_echo: 0,
            // Linux: TCP_INIT_CWND segments. An MSS of 64 KB, over loopback, does not count as such: the first window
            // has barely one of them.
            best: window.min(10 * 1460),
            read: 0,
            read_at: micros(cx),
        }
    }

    /// A segment with data is about to be taken; `full_sized` says that it is no small one, whose sender may have
    /// waited before it sent it, `all_read` that no data waits for the user.
    pub(super) fn on_segment(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        segment: &Segment,
        full_sized: bool,
        all_read: bool,
    ) {
        // The time from our acknowledgment to the first data that it let go.
        if let (Some(_), Some(theirs)) = (link.stamps, segment.header.options.timestamps) {
            if theirs.ecr != self.last_echo {
                self.last_echo = theirs.ecr;
                // Less than a tick tells nothing: another measurement is finer.
                let same_tick = link.echo(cx).is_some_and(|ours| ours.val == theirs.ecr);
                if let (true, false, Some(rtt)) =
                    (full_sized, same_tick, link.stamp_rtt(cx, segment))
                {
                    let rtt = rtt.as_micros().min(1 << 28) as u32;
                    self.sample(rtt, all_read);
                }
            }
        }
    }

    /// In-order data has come, up to RCV.NXT.
    pub(super) fn on_data(&mut self, cx: &Context<'_>, link: &Link) {
        // A window's worth takes a round trip, or more when the sender does not fill the window.
        if let Some(began) = self.window_at {
            if link.rcv_nxt.before(self.window_end) {
                return;
            }
            let micros = began.elapsed(cx.now).as_micros().clamp(1, 1 << 28) as u32;
            self.sample(micros, false);
        }
        self.window_end = link.rcv_nxt.add(link.offered());
        self.window_at = Some(Mark::new(cx.now));
    }

    /// A sample: the smallest counts; larger ones only where they are trusted, and smoothed.
    fn sample(&mut self, rtt: u32, smooth: bool) {
        let sample_x8 = rtt.min(1 << 28).saturating_mul(8);
        if self.rtt_x8 == 0 || sample_x8 < self.rtt_x8 {
            self.rtt_x8 = sample_x8;
        } else if smooth {
            self.rtt_x8 = self
                .rtt_x8
                .saturating_sub(self.rtt_x8 >> 3)
                .saturating_add(rtt);
        }
    }

    /// The user has read `bytes`, and left `unread`. Once per round trip: the window that the buffer should be able to
    /// offer, if the user reads more than ever.
    pub(super) fn on_read(&mut self, cx: &Context<'_>, bytes: u32, unread: u32) -> Option<u64> {
        self.read = self.read.saturating_add(bytes);
        let now = micros(cx);
        if self.rtt_x8 == 0 || now.wrapping_sub(self.read_at) < self.rtt() {
            return None;
        }
        // What is not read yet shows that the user is behind.
        let read = self.read.saturating_sub(unread);
        self.read = 0;
        self.read_at = now;
        if read <= self.best {
            return None;
        }
        let before = core::mem::replace(&mut self.best, read);
        Some(self.window_after(before))
    }

    /// The window that the buffer should be able to offer, for what the user has read so far.
    pub(super) fn window(&self) -> u64 {
        self.window_after(self.best)
    }

    /// Linux's `tcp_rcvbuf_grow`; `before` is what the user had read in the best round trip but this.
    fn window_after(&self, before: u32) -> u64 {
        // "DRS is always one RTT late."
        let window = u64::from(self.best).saturating_mul(2);
        let rtt = self.rtt();
        let grow = if rtt < LOW_RTT {
            window
                .saturating_mul(u64::from(rtt))
                .checked_div(u64::from(LOW_RTT))
        } else {
            // "Slow start: allow the sender to double its rate."
            let more = u64::from(self.best.saturating_sub(before));
            window
                .saturating_mul(2)
                .saturating_mul(more)
                .checked_div(u64::from(before))
        };
        window.saturating_add(grow.unwrap_or(0))
    }

    /// The buffer makes no larger window than this: what the user reads is measured anew against it.
    pub(super) fn bound(&mut self, window: u32) {
        self.best = self.best.min(window);
    }

    /// What the user read in the best round trip so far.
    pub(super) fn best(&self) -> u32 {
        self.best
    }

    /// The receiver's round trip in microseconds; 0 before the first sample.
    pub(super) fn rtt(&self) -> u32 {
        self.rtt_x8 >> 3
    }
}

/// How far beyond RCV.NXT out-of-order data has come: room for it comes on top.
pub(super) fn ahead(link: &Link, held: &Reassembly) -> u32 {
    let ahead = |range: SeqRange| match range.start.after(link.rcv_nxt) {
        true => link.rcv_nxt.distance_to(range.end()),
        false => 0,
    };
    held.iter().map(ahead).max().unwrap_or(0)
}
