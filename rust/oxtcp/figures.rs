// SPDX-License-Identifier: GPL-2.0

//! A connection's figures for those who look without the socket lock (`/proc`).

use kernel::sync::atomic::Atomic;

use oxtcp_engine::connection::{Standing, TimerKind};

use crate::sys::once::Once;

/// Microseconds of a tick of `/proc` (`USER_HZ` is 100).
pub(crate) const TICK: u64 = 10_000;

/// The timer that runs.
#[derive(Clone, Copy, Default)]
pub(crate) struct Timer {
    /// As `/proc/net/tcp` numbers them: 0 none, 1 retransmission, 2 keepalive and the like, 3
    /// TIME-WAIT, 4 zero-window probe.
    pub(crate) kind: u8,
    /// Ticks of 10 ms that are left.
    pub(crate) ticks: u32,
    /// Retransmissions of the oldest segment.
    pub(crate) retransmits: u8,
}

/// Recovery and congestion control.
#[derive(Clone, Copy, Default)]
pub(crate) struct Figures {
    /// Retransmission timeout in ticks.
    pub(crate) rto_ticks: i32,
    /// Congestion window in segments.
    pub(crate) cwnd: i32,
    /// Slow start threshold in segments, -1 as long as there is none.
    pub(crate) ssthresh: i32,
}

/// The copies. Written under the socket lock, one word after the other: a reader may see some of now and
/// some of before.
pub(crate) struct Published {
    /// Kind, retransmissions and the retransmission timeout in ticks, see [`Word`].
    timer: Atomic<i32>,
    /// When the timer goes off, in ticks of the monotonic clock.
    expires: Atomic<i32>,
    cwnd: Atomic<i32>,
    ssthresh: Atomic<i32>,
}

/// Three small numbers in one word: 4 bits, 8 bits, and the rest, which is enough for any timeout there is.
struct Word;

impl Word {
    const RETRANSMITS: u32 = 4;
    const RTO: u32 = 12;
    const RTO_MOST: u64 = (1 << (31 - Self::RTO)) - 1;

    fn of(kind: i32, retransmits: u8, rto: u64) -> i32 {
        let rto = rto.min(Self::RTO_MOST) as i32;
        kind | (i32::from(retransmits) << Self::RETRANSMITS) | (rto << Self::RTO)
    }
}

impl Published {
    pub(crate) fn new() -> Self {
        let zero = || Atomic::new(0);
        Self {
            timer: zero(),
            expires: zero(),
            cwnd: Atomic::new(10),
            ssthresh: Atomic::new(-1),
        }
    }

    /// Takes the connection's figures.
    pub(crate) fn store(&self, standing: &Standing) {
        let ticks = |micros: u64| (micros / TICK) as i32;
        let (kind, at) = match standing.timer {
            None => (0, 0),
            Some((TimerKind::Retransmit | TimerKind::LossProbe | TimerKind::Reorder, at)) => {
                (1, at.as_micros())
            }
            Some((TimerKind::Persist, at)) => (4, at.as_micros()),
            Some((_, at)) => (2, at.as_micros()),
        };
        let rto = standing.rto.as_micros() / TICK;
        self.timer
            .write_once(Word::of(kind, standing.retransmits, rto));
        self.expires.write_once(ticks(at));
        self.cwnd.write_once(standing.cwnd as i32);
        let threshold = standing
            .ssthresh
            .and_then(|segments| i32::try_from(segments).ok());
        self.ssthresh.write_once(threshold.unwrap_or(-1));
    }

    /// There is no timer any more.
    pub(crate) fn clear(&self) {
        let rto = self.timer.read_once() >> Word::RTO;
        self.timer.write_once(rto << Word::RTO);
    }

    /// The figures, and the timer as it is at this time.
    pub(crate) fn load(&self) -> (Timer, Figures) {
        let now = (crate::sys::time::now_micros() / TICK) as i32;
        let timer = self.timer.read_once();
        let left = self.expires.read_once().wrapping_sub(now).max(0);
        let kind = (timer & 0xf) as u8;
        (
            Timer {
                kind,
                ticks: if kind == 0 { 0 } else { left as u32 },
                retransmits: ((timer >> Word::RETRANSMITS) & 0xff) as u8,
            },
            Figures {
                rto_ticks: timer >> Word::RTO,
                cwnd: self.cwnd.read_once(),
                ssthresh: self.ssthresh.read_once(),
            },
        )
    }
}
