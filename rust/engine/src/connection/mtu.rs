// SPDX-License-Identifier: GPL-2.0

//! The search for the path's MTU by segments that are larger than before, where no ICMP tells of it (RFC 4821), as Linux does it
//! (`tcp_mtu_probe`, `tcp_mtu_probing`). It counts in MSS before options: the IP version does not matter here.

use super::choice::{Burst, Why};
use super::link::Link;
use super::recovery::{Mode, Plan, Recovery};
use super::send::{Force, Sender};
use super::timers::Tick;
use crate::context::{Config, Context};
use crate::flight::{Flight, FlightMemory};
use crate::happening::Happening;
use crate::seq::SeqRange;
use crate::time::Duration;

/// The search: a path takes `low`, and perhaps up to `high`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Search {
    /// The largest MSS that is known to get through; 0: there is no search, and the path takes what it says (RFC 4821 section 7.7
    /// has it wait for a sign of a black hole).
    low: u16,
    /// The largest that may.
    high: u16,
    /// When the search began.
    since: Tick,
}

/// A probe in flight.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct MtuProbe {
    range: SeqRange,
    /// Its MSS.
    mss: u16,
    /// It, and nothing else, is lost.
    failed: bool,
}

/// Whether a probe may go now.
pub(super) enum Probing {
    No,
    /// As soon as acknowledgments have made room: nothing else goes meanwhile.
    Wait,
    /// With so many bytes.
    Go(u32),
}

/// Linux asks for a window of more than ten segments: that one of them is lost is to be found by acknowledgments.
const LEAST_WINDOW: u32 = 11;

impl Search {
    /// For a new connection to a peer that takes an MSS of `most`, with `options` bytes of options in each segment.
    pub(super) fn new(cx: &Context<'_>, most: u16, options: u16) -> Self {
        let low = match cx.config.mtu_probing > 1 {
            true => cx.config.base_mss.saturating_add(options).max(1),
            false => 0,
        };
        Search {
            low,
            high: most,
            since: Tick::new(cx.now),
        }
    }

    /// `mss`, or as much of it as is known to get through.
    pub(super) fn bound(&self, mss: u16) -> u16 {
        match self.low {
            0 => mss,
            low => mss.min(low),
        }
    }

    /// Nothing gets through: smaller segments are tried (Linux's `tcp_mtu_probing`).
    fn retreat(&mut self, cx: &Context<'_>, options: u16) {
        let config: &Config = cx.config;
        let payload = match self.low {
            0 => {
                self.since = Tick::new(cx.now);
                config.base_mss
            }
            low => config
                .base_mss
                .min(low.saturating_sub(options) >> 1)
                .max(config.mtu_probe_floor)
                .max(config.min_snd_mss),
        };
        self.low = payload.saturating_add(options).max(1);
    }
}

impl Link {
    /// A timeout for which a black hole may be the reason, `waited` after the first: only if it has been long (RFC 4821 section 7.7).
    pub(super) fn suspect_black_hole(&mut self, cx: &Context<'_>, waited: Duration, r1: Duration) {
        if cx.config.mtu_probing != 0 && waited >= r1 {
            let options = self.options_len();
            self.search.retreat(cx, options);
        }
    }
}

impl Sender {
    /// Whether the next segment is to be a probe (RFC 4821 section 7.4): one that new data fills, in a window that has room for it and for what
    /// tells of its loss. `size` is what a segment has now, `sack` how many blocks of SACK are in it.
    pub(super) fn consider_probe(
        &mut self,
        cx: &Context<'_>,
        link: &mut Link,
        memory: &mut dyn FlightMemory,
        sack: usize,
        size: u32,
    ) -> Probing {
        let cwnd = self.window.cwnd;
        let quiet = self.mode == Mode::Open && self.force == Force::No && sack == 0;
        if link.search.low == 0 || !quiet || cwnd < size.saturating_mul(LEAST_WINDOW) {
            return Probing::No;
        }
        let pending =
            |flight: &mut Flight| flight.recovery.mtu.is_some() || flight.recovery.probe_due;
        if memory.get().is_some_and(pending) {
            return Probing::No;
        }
        let (low, high) = (link.search.low, link.search.high.min(link.mss));
        if high.saturating_sub(low) < cx.config.probe_threshold.max(1) {
            self.search_again(cx, link, size);
            return Probing::No;
        }
        let mss = low.midpoint(high);
        let len = u32::from(mss.saturating_sub(link.options_len()));
        let behind = u32::from(self.reordering.degree).saturating_add(1);
        let needed = len.saturating_add(behind.saturating_mul(size));
        if len <= size || self.not_sent(link) < needed || self.wnd < needed {
            return Probing::No;
        }
        let pipe = self.in_network(link, memory.get().as_deref());
        let room = match pipe {
            // Never a stop without an acknowledgment to come.
            0 => return self.probe_in(cx, link, memory, needed, len),
            _ => pipe.saturating_add(len).saturating_add(size) <= cwnd,
        };
        if len.saturating_add(size) > cwnd {
            return Probing::No;
        }
        if !room || self.usable(link) < needed {
            return Probing::Wait;
        }
        self.probe_in(cx, link, memory, needed, len)
    }

    /// A probe of `len` bytes, if there is memory to know it by, no message ends in it, and the window has room for what is `needed`.
    fn probe_in(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        memory: &mut dyn FlightMemory,
        needed: u32,
        len: u32,
    ) -> Probing {
        let whole = self.boundary(memory, link.snd_nxt, len).is_none();
        match whole && self.usable(link) >= needed && self.flight(cx, link, memory, true).is_some()
        {
            true => Probing::Go(len),
            false => Probing::No,
        }
    }

    /// The search is over; after a while another begins, as the path may be another one (RFC 4821 section 7.3).
    ///
    /// Not beyond what the path itself says: a probe of that size would not leave the host.
    fn search_again(&self, cx: &Context<'_>, link: &mut Link, size: u32) {
        if link.search.since.elapsed(cx.now) >= cx.config.probe_interval {
            let low = size.saturating_add(u32::from(link.options_len()));
            link.search = Search {
                low: low.min(u32::from(link.mss)) as u16,
                high: link.peer_mss,
                since: Tick::new(cx.now),
            };
        }
    }

    /// The burst that a probe is.
    pub(super) fn probing_burst(link: &Link, len: u32) -> Burst {
        Burst {
            start: link.snd_nxt,
            len,
            fin: false,
            why: Why::New,
        }
    }

    /// A probe of `len` bytes, from `range` on, has been sent. It stands for two segments in the window, so that its loss costs nothing
    /// else.
    pub(super) fn on_probing(
        &mut self,
        link: &Link,
        memory: &mut dyn FlightMemory,
        range: SeqRange,
        size: u32,
    ) {
        let mss = range.len.saturating_add(u32::from(link.options_len()));
        if let Some(flight) = memory.get() {
            flight.recovery.mtu = Some(MtuProbe {
                range,
                mss: mss.min(u32::from(u16::MAX)) as u16,
                failed: false,
            });
            self.window.cwnd = self.window.cwnd.saturating_sub(size).max(size);
        }
    }

    /// An acknowledgment has been looked at: the probe has arrived, perhaps, or has been found lost.
    pub(super) fn settle_probe(&mut self, cx: &Context<'_>, link: &mut Link, flight: &mut Flight) {
        let Some(probe) = flight.recovery.mtu else {
            return;
        };
        if probe.failed {
            link.search.high = probe.mss.saturating_sub(1);
        } else if link.snd_una.after_eq(probe.range.end()) {
            cx.count(Happening::TCPMTUPSuccess);
            link.search.low = probe.mss;
            // The window in bytes is as large as before, and has proven itself.
            self.window.remember();
        } else {
            return;
        }
        flight.recovery.mtu = None;
    }

    /// Something is lost. If that is the probe, which is the oldest in flight, it was too large, and there is no congestion: it is sent
    /// again in smaller segments, with the window as it was (RFC 4821 section 7.6.1). Says whether it was so.
    pub(super) fn forgive_probe(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        flight: &mut Flight,
    ) -> bool {
        let Flight {
            records, recovery, ..
        } = flight;
        let Some(probe) = recovery.mtu.as_mut() else {
            return false;
        };
        if self.mode >= Mode::Cwr || probe.range.start != link.snd_una {
            return false;
        }
        probe.failed = true;
        cx.count(Happening::TCPMTUPFail);
        records.lose_range(probe.range);
        let size = self.segment_size(link, 0);
        self.window.cwnd = self.window.cwnd.saturating_add(size);
        self.begin_resizing(link, recovery);
        true
    }

    /// What is lost is sent again in smaller segments. That says nothing of congestion: the window stays (Linux's
    /// `tcp_simple_retransmit`).
    pub(super) fn begin_resizing(&mut self, link: &Link, recovery: &mut Recovery) {
        recovery.high = link.snd_nxt;
        recovery.duplicates = 0;
        recovery.undo = None;
        recovery.probe = None;
        recovery.probe_due = false;
        recovery.plan = Plan::Repair;
        recovery.frto = false;
        self.resize();
    }

    /// See [`begin_resizing`](Self::begin_resizing).
    pub(super) fn resize(&mut self) {
        if self.mode != Mode::Loss {
            self.window.remember();
            self.mode = Mode::Loss;
        }
    }
}
