// SPDX-License-Identifier: GPL-2.0
//! One direction of a path.

use super::packet;
use super::rng::Rng;
use oxtcp_engine::wire::Flags;
use oxtcp_engine::{Duration, Instant};
use std::collections::BTreeMap;

/// What a path does to what passes.
#[derive(Clone, Debug)]
pub struct Path {
    pub delay: Duration,
    /// Added to the delay of each packet, at random up to this: reorders.
    pub jitter: Duration,
    /// Chance per mille that a packet overtakes all that are on their way, as netem's `reorder` has it: it arrives at once.
    pub overtake: u32,
    /// Chances per mille and packet.
    pub loss: u32,
    /// Chance that so many packets in a row are lost, of those within [`FADE`].
    pub burst: u32,
    pub burst_len: u64,
    /// Chance that the last packet of what was written is lost.
    pub tail: u32,
    /// Chance that a packet without data is lost.
    pub acks: u32,
    pub duplicate: u32,
    pub corrupt: u32,
    /// Bursts pass whole, as over loopback, and are not cut into segments.
    pub whole_bursts: bool,
    /// Chance per mille that two segments in a row arrive as one.
    pub merge: u32,
    /// Bytes per second; 0 for no bound. What exceeds `queue` bytes is dropped.
    pub rate: u64,
    pub queue: u64,
    /// What exceeds so many bytes in the queue is marked, if it is ECN-capable; 0 for no such bound.
    pub mark_from: u64,
    /// Chance per mille that an ECN-capable packet is marked.
    pub marks: u32,
    /// The largest TCP segment, header included, that passes; 0 for no bound. The sender is told of what
    /// does not.
    pub largest: usize,
    /// Nobody is told: a black hole.
    pub silent: bool,
}

impl Default for Path {
    fn default() -> Self {
        Path {
            delay: Duration::from_millis(10),
            jitter: Duration::ZERO,
            overtake: 0,
            loss: 0,
            burst: 0,
            burst_len: 0,
            tail: 0,
            acks: 0,
            duplicate: 0,
            corrupt: 0,
            whole_bursts: false,
            merge: 0,
            rate: 0,
            queue: 0,
            mark_from: 0,
            marks: 0,
            largest: 0,
            silent: false,
        }
    }
}

/// The longest burst of losses: a sender that waits longer and longer between its attempts outlives it.
const FADE: Duration = Duration::from_millis(2_000);

/// A path and what is on its way.
pub struct Link {
    path: Path,
    rng: Rng,
    /// By arrival, then by order of departure.
    flying: BTreeMap<(Instant, u64), Vec<u8>>,
    sent: u64,
    /// When the transmitter is free again.
    free_at: Instant,
    /// So many more are lost, until then.
    doomed: u64,
    fades_until: Instant,
    pub carried: u64,
    pub lost: u64,
    pub marked: u64,
}

impl Link {
    pub fn new(path: Path, rng: Rng) -> Self {
        Link {
            path,
            rng,
            flying: BTreeMap::new(),
            sent: 0,
            free_at: Instant::default(),
            doomed: 0,
            fades_until: Instant::default(),
            carried: 0,
            lost: 0,
            marked: 0,
        }
    }

    /// Whether the packet is too big, and what would not be.
    pub fn refuses(&self, bytes: &[u8]) -> Option<usize> {
        (!self.path.silent && self.is_too_big(bytes)).then_some(self.path.largest)
    }

    fn is_too_big(&self, bytes: &[u8]) -> bool {
        let largest = self.path.largest;
        largest != 0 && bytes.len() - packet::IP > largest
    }

    pub fn set_loss(&mut self, per_mille: u32) {
        self.path.loss = per_mille;
    }

    pub fn send(&mut self, now: Instant, mut bytes: Vec<u8>) {
        self.carried += 1;
        if self.is_too_big(&bytes) || self.loses(now, &bytes) {
            self.lost += 1;
            return;
        }
        if self.path.overtake != 0 && self.rng.chance(self.path.overtake) {
            self.put(now, bytes);
            return;
        }
        let mut leaves = now;
        if self.path.rate != 0 {
            let start = self.free_at.max(now);
            let waiting = start.since(now).as_micros() * self.path.rate / 1_000_000;
            if self.path.queue != 0 && waiting > self.path.queue {
                self.lost += 1;
                return;
            }
            if self.path.mark_from != 0 && waiting > self.path.mark_from {
                self.mark(&mut bytes);
            }
            let micros = ((bytes.len() - packet::IP) as u64 + 40) * 1_000_000 / self.path.rate;
            leaves = start + Duration::from_micros(micros);
            self.free_at = leaves;
        }
        if self.path.marks != 0 && self.rng.chance(self.path.marks) {
            self.mark(&mut bytes);
        }
        if self.rng.chance(self.path.duplicate) {
            let late = self.jittered() + Duration::from_millis(self.rng.below(300));
            self.put(leaves + late, bytes.clone());
        }
        if self.rng.chance(self.path.corrupt) {
            let at = packet::IP + self.rng.below((bytes.len() - packet::IP) as u64) as usize;
            bytes[at] ^= 1 << self.rng.below(8);
        }
        let delay = self.jittered();
        self.put(leaves + delay, bytes);
    }

    fn loses(&mut self, now: Instant, bytes: &[u8]) -> bool {
        if self.doomed == 0 && self.rng.chance(self.path.burst) {
            self.doomed = self.rng.between(1, self.path.burst_len.max(1));
            self.fades_until = now + FADE;
        }
        if now > self.fades_until {
            self.doomed = 0;
        }
        if self.doomed > 0 {
            self.doomed -= 1;
            return true;
        }
        if self.rng.chance(self.path.loss) {
            return true;
        }
        if self.path.tail == 0 && self.path.acks == 0 {
            return false;
        }
        let Some((segment, payload)) = packet::read(bytes) else {
            return false;
        };
        let flags = segment.header.flags;
        match payload.is_empty() {
            true => !flags.syn() && !flags.fin() && self.rng.chance(self.path.acks),
            false => flags.contains(Flags::PSH) && self.rng.chance(self.path.tail),
        }
    }

    fn mark(&mut self, bytes: &mut [u8]) {
        self.marked += u64::from(packet::mark(bytes));
    }

    fn jittered(&mut self) -> Duration {
        let jitter = self.rng.below(self.path.jitter.as_micros() + 1);
        self.path.delay + Duration::from_micros(jitter)
    }

    fn put(&mut self, at: Instant, bytes: Vec<u8>) {
        self.sent += 1;
        self.flying.insert((at, self.sent), bytes);
    }

    pub fn next_arrival(&self) -> Option<Instant> {
        self.flying.keys().next().map(|(at, _)| *at)
    }

    pub fn is_empty(&self) -> bool {
        self.flying.is_empty()
    }

    /// What has arrived by `now`, one at a time.
    pub fn receive(&mut self, now: Instant) -> Option<Vec<u8>> {
        let mut bytes = self.pop(now)?;
        while self.path.merge != 0 && self.rng.chance(self.path.merge) {
            let Some(next) = self.pop(now) else { break };
            match packet::merge(&bytes, &next) {
                Some(merged) => bytes = merged,
                None => {
                    // Back to the front.
                    self.flying.insert((Instant::default(), 0), next);
                    break;
                }
            }
        }
        Some(bytes)
    }

    fn pop(&mut self, now: Instant) -> Option<Vec<u8>> {
        let (at, _) = *self.flying.keys().next()?;
        if at > now {
            return None;
        }
        self.flying.pop_first().map(|(_, bytes)| bytes)
    }
}
