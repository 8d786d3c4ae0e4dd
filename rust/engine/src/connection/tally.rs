// SPDX-License-Identifier: GPL-2.0

//! What has happened on a connection, counted for those who look at it (TCP_INFO). Nothing here decides anything.

use super::link::Link;
use super::send::Sender;
use super::timers::{micros, Tick};
use crate::context::Context;
use crate::flight::Flight;
use crate::rate::Best;
use crate::time::{Duration, Instant};
use crate::transmit::{segments, Transmit};

/// Counts, by Linux's rules, of what no other part of the connection tells.
///
/// Times are in milliseconds modulo 2^32, as Linux has them with 1000 jiffies a second. One that runs has the time when
/// it began subtracted already, so that it takes no second word.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Tally {
    acked: Wide,
    received: Wide,
    /// Octets sent again, in 48 bits, the lowest first.
    again: [u16; 3],
    /// Timeouts, the SYN's included.
    timeouts: u16,
    /// Repairs that began with a timeout.
    timeout_repairs: u16,
    /// Segments without data that were sent again, SYNs and FINs; 255 may be more.
    bare_again: u8,
    clocks: Clocks,
    segs_in: u32,
    data_segs_in: u32,
    segs_out: u32,
    data_segs_out: u32,
    /// Segments sent again, SYNs included.
    resent: u32,
    dsacks: u32,
    out_of_order: u32,
    /// Segments of which the peer says that they came with a congestion mark, as far as one can tell: see
    /// [`on_marked`](Tally::on_marked).
    marked: u32,
    /// From timeouts to the next progress.
    timeout_time: u32,
    busy: u32,
    rwnd_limited: u32,
    sndbuf_limited: u32,
    /// The rate at which the path delivers.
    pub(super) rate: Best,
}

/// 64 bits that are aligned as 32.
#[derive(Clone, Copy, Debug, Default)]
struct Wide([u32; 2]);

impl Wide {
    fn add(&mut self, more: u32) {
        let [low, high] = self.0;
        let (low, carry) = low.overflowing_add(more);
        self.0 = [low, high.wrapping_add(u32::from(carry))];
    }

    fn get(self) -> u64 {
        let [low, high] = self.0;
        (u64::from(high) << 32) | u64::from(low)
    }
}

/// Why no more is sent than is (Linux's `tcp_chrono`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Limit {
    /// Nothing is to be sent, or waits for its acknowledgment.
    Idle,
    /// The network, or the program.
    Busy,
    /// The peer's window.
    Window,
    /// The send buffer.
    Buffer,
}

/// Which times run, and what of ours was acknowledged that is no octet, in a byte.
#[derive(Clone, Copy, Debug, Default)]
struct Clocks(u8);

impl Clocks {
    const LIMIT: u8 = 3;
    /// A timeout is being repaired.
    const TIMEOUT: u8 = 4;
    /// The SYN of an active open. That of a passive one is not counted by Linux.
    const SYN: u8 = 8;
    const FIN: u8 = 16;
    /// New data was sent since the limit was last looked at.
    const SENT: u8 = 32;
    /// The peer's FIN has come.
    const PEER_FIN: u8 = 64;

    fn limit(self) -> Limit {
        match self.0 & Clocks::LIMIT {
            0 => Limit::Idle,
            1 => Limit::Busy,
            2 => Limit::Window,
            _ => Limit::Buffer,
        }
    }

    fn set_limit(&mut self, limit: Limit) {
        self.0 = (self.0 & !Clocks::LIMIT) | limit as u8;
    }

    fn has(self, what: u8) -> bool {
        self.0 & what != 0
    }
}

impl Tally {
    /// An active open whose peer's SYN has come. Ours was sent again `again` times; for `timeout_time` milliseconds a timeout
    /// was being repaired.
    pub(super) fn active(now: Instant, again: u8, timeout_time: u32) -> Self {
        let mut tally = Tally {
            segs_out: u32::from(again).saturating_add(1),
            ..Tally::opened(again, timeout_time)
        };
        if again != 0 {
            // Until the SYN is acknowledged, perhaps by a segment to come.
            tally.clocks.0 |= Clocks::TIMEOUT;
            tally.timeout_time = tally.timeout_time.wrapping_sub(Tick::new(now).get());
        }
        tally
    }

    /// A passive open. Its SYN-ACKs, sent again `again` times, do not count as sent by the connection, as in Linux.
    pub(super) fn passive(again: u8, timeout_time: u32) -> Self {
        Tally::opened(again, timeout_time)
    }

    fn opened(again: u8, timeout_time: u32) -> Self {
        Tally {
            bare_again: again,
            resent: u32::from(again),
            timeouts: u16::from(again),
            timeout_repairs: u16::from(again != 0),
            timeout_time,
            segs_in: 1,
            ..Tally::default()
        }
    }

    /// The SYN of an active open is acknowledged.
    pub(super) fn on_syn_acked(&mut self, now: Instant) {
        self.clocks.0 |= Clocks::SYN;
        self.on_acked(now, 0);
    }

    /// Our FIN is acknowledged.
    pub(super) fn on_fin_acked(&mut self) {
        self.clocks.0 |= Clocks::FIN;
    }

    /// `segments` have come, the payload of `payload` octets cut into as many.
    pub(super) fn on_arrival(&mut self, segments: u32, payload: u32) {
        self.segs_in = self.segs_in.wrapping_add(segments);
        if payload != 0 {
            self.data_segs_in = self.data_segs_in.wrapping_add(segments);
        }
    }

    /// In-order octets have come; with `fin`, the FIN is the last of them.
    pub(super) fn on_received(&mut self, octets: u32, fin: bool) {
        self.received.add(octets);
        if fin {
            self.clocks.0 |= Clocks::PEER_FIN;
        }
    }

    /// Segments have come out of order.
    pub(super) fn on_out_of_order(&mut self, segments: u32) {
        self.out_of_order = self.out_of_order.wrapping_add(segments);
    }

    /// The peer has acknowledged `octets` for the first time: progress, which ends the repair of a timeout.
    pub(super) fn on_acked(&mut self, now: Instant, octets: u32) {
        self.acked.add(octets);
        if self.clocks.has(Clocks::TIMEOUT) {
            self.clocks.0 &= !Clocks::TIMEOUT;
            self.timeout_time = self.timeout_time.wrapping_add(Tick::new(now).get());
        }
    }

    /// The retransmission timer has expired.
    pub(super) fn on_timeout(&mut self, now: Instant) {
        self.timeouts = self.timeouts.saturating_add(1);
        if !self.clocks.has(Clocks::TIMEOUT) {
            self.clocks.0 |= Clocks::TIMEOUT;
            self.timeout_repairs = self.timeout_repairs.saturating_add(1);
            self.timeout_time = self.timeout_time.wrapping_sub(Tick::new(now).get());
        }
    }

    /// The peer has reported duplicates worth `segments`.
    pub(super) fn on_dsack(&mut self, segments: u32) {
        self.dsacks = self.dsacks.wrapping_add(segments);
    }

    /// An acknowledgment with ECE has delivered `segments`: all of them count as marked, as in Linux
    /// (`tcp_count_delivered`). RFC 3168's echo does not tell which were.
    pub(super) fn on_marked(&mut self, segments: u32) {
        self.marked = self.marked.wrapping_add(segments);
    }

    /// A segment or burst is sent; `again`: what was sent before.
    pub(super) fn on_sent(&mut self, segment: &Transmit, again: bool) {
        let segments = segment.segments();
        self.segs_out = self.segs_out.wrapping_add(segments);
        if again {
            self.resent = self.resent.wrapping_add(segments);
        }
        if segment.payload.len == 0 {
            self.bare_again = self.bare_again.saturating_add(u8::from(again));
            return;
        }
        self.data_segs_out = self.data_segs_out.wrapping_add(segments);
        match again {
            true => self.set_again(self.again().wrapping_add(u64::from(segment.payload.len))),
            false => self.clocks.0 |= Clocks::SENT,
        }
    }

    /// The same of one that has no data and was not sent before.
    #[inline]
    pub(super) fn on_bare_sent(&mut self) {
        self.segs_out = self.segs_out.wrapping_add(1);
    }

    /// Of what was sent last, all but the first `sent` octets did not leave the host.
    pub(super) fn take_back(&mut self, segment: &Transmit, sent: u32, again: bool) {
        let left = segment.segments();
        let gone = match sent {
            0 => 0,
            octets => segments(octets, u32::from(segment.mss)).min(left),
        };
        let segments = left.saturating_sub(gone);
        self.segs_out = self.segs_out.wrapping_sub(segments);
        if again {
            self.resent = self.resent.wrapping_sub(segments);
        }
        if segment.payload.len == 0 {
            self.bare_again = self.bare_again.saturating_sub(u8::from(again));
            return;
        }
        self.data_segs_out = self.data_segs_out.wrapping_sub(segments);
        if again {
            let octets = segment.payload.len.saturating_sub(sent);
            self.set_again(self.again().saturating_sub(u64::from(octets)));
        }
    }

    /// A SYN-ACK is sent again.
    pub(super) fn on_syn_again(&mut self) {
        self.bare_again = self.bare_again.saturating_add(1);
        self.resent = self.resent.wrapping_add(1);
    }

    /// What limits the sender from now on.
    pub(super) fn set_limit(&mut self, now: Instant, limit: Limit) {
        let before = self.clocks.limit();
        if before == limit {
            return;
        }
        let now = Tick::new(now).get();
        if let Some(time) = self.time_of(before) {
            *time = time.wrapping_add(now);
        }
        if let Some(time) = self.time_of(limit) {
            *time = time.wrapping_sub(now);
        }
        self.clocks.set_limit(limit);
    }

    /// There is room in the send buffer again.
    pub(super) fn on_room(&mut self, now: Instant) {
        if self.limit() == Limit::Buffer {
            self.set_limit(now, Limit::Busy);
        }
    }

    /// Whether new data was sent since the last call.
    pub(super) fn take_sent(&mut self) -> bool {
        let sent = self.clocks.has(Clocks::SENT);
        self.clocks.0 &= !Clocks::SENT;
        sent
    }

    fn time_of(&mut self, limit: Limit) -> Option<&mut u32> {
        match limit {
            Limit::Idle => None,
            Limit::Busy => Some(&mut self.busy),
            Limit::Window => Some(&mut self.rwnd_limited),
            Limit::Buffer => Some(&mut self.sndbuf_limited),
        }
    }

    // Reading.

    pub(super) fn limit(&self) -> Limit {
        self.clocks.limit()
    }

    /// Octets acknowledged.
    pub(super) fn acked(&self) -> u64 {
        self.acked.get()
    }

    /// The same with what else takes a number.
    pub(super) fn numbers_acked(&self) -> u64 {
        let syn = u64::from(self.clocks.has(Clocks::SYN));
        let fin = u64::from(self.clocks.has(Clocks::FIN));
        self.acked.get().saturating_add(syn).saturating_add(fin)
    }

    /// Octets that have come in order, the FIN among them, as Linux counts.
    pub(super) fn received(&self) -> u64 {
        self.received.get()
    }

    /// The same without the FIN.
    pub(super) fn data_received(&self) -> u64 {
        let fin = u64::from(self.clocks.has(Clocks::PEER_FIN));
        self.received.get().saturating_sub(fin)
    }

    /// Octets sent again.
    pub(super) fn again(&self) -> u64 {
        let [low, middle, high] = self.again;
        (u64::from(high) << 32) | (u64::from(middle) << 16) | u64::from(low)
    }

    fn set_again(&mut self, octets: u64) {
        self.again = [octets as u16, (octets >> 16) as u16, (octets >> 32) as u16];
    }

    pub(super) fn timeouts(&self) -> u16 {
        self.timeouts
    }

    pub(super) fn timeout_repairs(&self) -> u16 {
        self.timeout_repairs
    }

    pub(super) fn timeout_time(&self, now: Instant) -> u32 {
        match self.clocks.has(Clocks::TIMEOUT) {
            true => self.timeout_time.wrapping_add(Tick::new(now).get()),
            false => self.timeout_time,
        }
    }

    pub(super) fn segs_in(&self) -> u32 {
        self.segs_in
    }

    pub(super) fn data_segs_in(&self) -> u32 {
        self.data_segs_in
    }

    pub(super) fn segs_out(&self) -> u32 {
        self.segs_out
    }

    pub(super) fn data_segs_out(&self) -> u32 {
        self.data_segs_out
    }

    pub(super) fn resent(&self) -> u32 {
        self.resent
    }

    /// Segments with data that were sent for the first time.
    pub(super) fn first_sent(&self) -> u32 {
        let again = self.resent.wrapping_sub(u32::from(self.bare_again));
        self.data_segs_out.wrapping_sub(again)
    }

    pub(super) fn dsacks(&self) -> u32 {
        self.dsacks
    }

    pub(super) fn out_of_order(&self) -> u32 {
        self.out_of_order
    }

    pub(super) fn marked(&self) -> u32 {
        self.marked
    }

    /// For how long the sender was limited by `limit`.
    pub(super) fn limited(&self, now: Instant, limit: Limit) -> Duration {
        let mut this = *self;
        let Some(time) = this.time_of(limit) else {
            return Duration::ZERO;
        };
        let millis = match self.clocks.limit() == limit {
            true => time.wrapping_add(Tick::new(now).get()),
            false => *time,
        };
        Duration::from_millis(u64::from(millis))
    }
}

impl Sender {
    /// Notes what keeps more from being sent, now that nothing more is (Linux's `tcp_write_xmit`, `tcp_cwnd_validate`). `short`:
    /// the user waits for room in the send buffer.
    pub(super) fn note_limit(
        &self,
        cx: &Context<'_>,
        link: &mut Link,
        mut flight: Option<&mut Flight>,
        fin: bool,
        short: bool,
    ) {
        let sent = link.tally.take_sent();
        let pending = self.has_new(link, fin);
        self.note_bubble(cx, link, flight.as_deref_mut());
        let limit = if !pending && link.in_flight() == 0 {
            Limit::Idle
        } else {
            let size = self.segment_size(link, 0);
            let pipe = self.in_network(link, flight.as_deref());
            let room = pipe == 0 || self.window.cwnd.saturating_sub(pipe) >= size;
            let next = self.not_sent(link).clamp(1, size.max(1));
            let before = link.tally.limit();
            match pending {
                true if room && self.usable(link) < next => Limit::Window,
                false if short && (before == Limit::Buffer || (sent && room)) => Limit::Buffer,
                _ => Limit::Busy,
            }
        };
        link.tally.set_limit(cx.now, limit);
    }

    /// Notes for the delivery rate that there is less than a segment to send although the window has room (Linux's
    /// `tcp_rate_check_app_limited`).
    fn note_bubble(&self, cx: &Context<'_>, link: &Link, flight: Option<&mut Flight>) {
        let Some(flight) = flight else { return };
        let size = self.segment_size(link, 0);
        let pipe = self.in_network(link, Some(flight));
        let Flight {
            records,
            deliveries,
            ..
        } = flight;
        let (holes, oldest) = (records.lost() > records.resent(), records.get(0));
        if self.not_sent(link) < size && pipe < self.window.cwnd && !holes {
            let now = micros(cx);
            let oldest = oldest.map_or(now, |run| run.record.at.wrapping_sub(run.record.span));
            deliveries.on_app_limited(now, pipe, oldest);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn at(ms: u64) -> Instant {
        Instant::from_millis(ms)
    }

    #[test]
    fn size__is_what_the_budget_has() {
        assert_eq!(core::mem::size_of::<Tally>(), 80);
        assert_eq!(core::mem::align_of::<Tally>(), 4);
    }

    #[test]
    fn wide__carries() {
        let mut wide = Wide::default();
        for _ in 0..3 {
            wide.add(u32::MAX);
        }
        assert_eq!(wide.get(), 3 * u64::from(u32::MAX));
    }

    #[test]
    fn again__has_48_bits() {
        let mut tally = Tally::default();
        tally.set_again(0x1234_5678_9abc);
        assert_eq!(tally.again(), 0x1234_5678_9abc);
    }

    #[test]
    fn set_limit__adds_up_across_the_wrap() {
        let mut tally = Tally::default();
        let start = (1 << 32) - 5;
        tally.set_limit(at(start), Limit::Busy);
        tally.set_limit(at(start + 10), Limit::Window);
        assert_eq!(
            tally.limited(at(start + 12), Limit::Busy),
            Duration::from_millis(10)
        );
        assert_eq!(
            tally.limited(at(start + 12), Limit::Window),
            Duration::from_millis(2)
        );
        tally.set_limit(at(start + 20), Limit::Busy);
        tally.set_limit(at(start + 21), Limit::Idle);
        for (limit, millis) in [(Limit::Busy, 11), (Limit::Window, 10), (Limit::Buffer, 0)] {
            let limited = tally.limited(at(start + 99), limit);
            assert_eq!(limited, Duration::from_millis(millis));
        }
    }

    #[test]
    fn timeout_time__runs_from_a_timeout_to_progress() {
        let mut tally = Tally::default();
        tally.on_timeout(at(1000));
        tally.on_timeout(at(1200));
        assert_eq!(tally.timeout_time(at(1300)), 300);
        tally.on_acked(at(1500), 1);
        tally.on_acked(at(1600), 1);
        assert_eq!(tally.timeout_time(at(2000)), 500);
        assert_eq!((tally.timeouts(), tally.timeout_repairs()), (2, 1));
    }
}
