// SPDX-License-Identifier: GPL-2.0
//! What a listener's queues hold and held, and what became of what did not fit: an attribute of the module's own (`rust/oxtcp/flood.rs`, `figures`).

use super::limit::Limit;

/// A listener's queues, since it began to listen.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Queues {
    /// Half-open connections.
    pub syn: Queue,
    /// Connections that wait for accept(2).
    pub accept: Queue,
    /// What listen(2) was asked for, or `net.core.somaxconn`.
    pub backlog_asked: u64,
    /// SYNs in a second.
    pub syn_rate: u64,
    /// How often each of [`FATES`] has come to pass.
    pub fates: [u64; FATES.len()],
}

/// How full a queue is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Queue {
    /// Now, the most that there may be, and the most that there were.
    pub length: u64,
    pub most: u64,
    pub highest: u64,
    /// What bounds it.
    pub limit: Limit,
}

/// What becomes of SYNs, handshakes and half-open connections that do not go their way. The first [`DROPS`] are dropped.
pub const FATES: [&str; 10] = [
    "syn_queue",
    "share",
    "accept_queue",
    "rate",
    "route",
    "memory",
    "resets",
    "cookies",
    "evicted",
    "expired",
];

/// As many are drops, by what there was too little of.
pub const DROPS: usize = 6;

impl Queues {
    /// From the attribute's words; what is missing at its end is 0. `None` for what has no queues.
    pub fn parse(bytes: &[u8]) -> Option<Self> {
        let word = |at: usize| {
            let eight = bytes.get(at * 8..at * 8 + 8)?.try_into().ok()?;
            Some(u64::from_ne_bytes(eight))
        };
        let queue = |at: usize| {
            Some(Queue {
                length: word(at)?,
                most: word(at + 1)?,
                highest: word(at + 2)?,
                limit: Limit::from_number(u8::try_from(word(at + 3)?).unwrap_or(u8::MAX)),
            })
        };
        Some(Self {
            syn: queue(0)?,
            accept: queue(4)?,
            backlog_asked: word(8)?,
            syn_rate: word(9)?,
            fates: std::array::from_fn(|at| word(10 + at).unwrap_or(0)),
        })
    }

    /// What was dropped, and by what there was too little of.
    pub fn drops(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.named().take(DROPS)
    }

    /// What became of others.
    pub fn others(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        self.named().skip(DROPS)
    }

    fn named(&self) -> impl Iterator<Item = (&'static str, u64)> + '_ {
        FATES.into_iter().zip(self.fates)
    }

    /// In a line, as `oxtcp ss -i` has it; what is 0 is not there but for the lengths.
    pub fn words(&self) -> String {
        let mut words = Vec::new();
        for (name, queue) in [("synq", self.syn), ("acceptq", self.accept)] {
            words.push(format!(
                "{name}:{}/{} {name}_max:{} {name}_by:{}",
                queue.length,
                queue.most,
                queue.highest,
                queue.limit.name().replace(" and ", "+")
            ));
        }
        if self.syn_rate != 0 {
            words.push(format!("syns_per_sec:{}", self.syn_rate));
        }
        let list = |pairs: &mut dyn Iterator<Item = (&'static str, u64)>| {
            pairs
                .filter(|(_, count)| *count != 0)
                .map(|(name, count)| format!("{name}:{count}"))
                .collect::<Vec<_>>()
        };
        let drops = list(&mut self.drops());
        if !drops.is_empty() {
            words.push(format!("dropped:({})", drops.join(",")));
        }
        words.extend(list(&mut self.others()));
        words.join(" ")
    }

    /// The same for programs, with all there is.
    pub fn json(&self) -> serde_json::Value {
        let queue = |queue: Queue| {
            serde_json::json!({
                "length": queue.length,
                "most": queue.most,
                "highest": queue.highest,
                "setting": queue.limit.name(),
            })
        };
        let map = |pairs: &mut dyn Iterator<Item = (&'static str, u64)>| {
            pairs
                .map(|(name, count)| (name.to_string(), count.into()))
                .collect::<serde_json::Map<_, _>>()
        };
        let mut value = serde_json::json!({
            "syn_queue": queue(self.syn),
            "accept_queue": queue(self.accept),
            "backlog_asked": self.backlog_asked,
            "syns_per_second": self.syn_rate,
            "dropped": map(&mut self.drops()),
        });
        for (name, count) in self.others() {
            value[name] = count.into();
        }
        value
    }
}
