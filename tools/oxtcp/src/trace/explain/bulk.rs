// SPDX-License-Identifier: GPL-2.0
//! What is told in sums: data both ways, losses, drops.

use std::collections::BTreeMap;

use super::words;

/// Data since the last sentence.
#[derive(Default)]
pub struct Bulk {
    since: Option<u64>,
    last: u64,
    /// Bytes and segments that were sent for the first time, and that came.
    sent: (u64, u64),
    came: (u64, u64),
    /// Segments that came with a mark of congestion (CE).
    marked: u64,
    /// Segments that were dropped, by reason; those that came, and those that were to leave.
    dropped: BTreeMap<(bool, String), u64>,
}

impl Bulk {
    /// How many segments a burst is.
    pub fn segments(payload: u32, size: u16) -> u64 {
        match size {
            0 => 1,
            size => u64::from(payload.div_ceil(u32::from(size))),
        }
    }

    fn touch(&mut self, time: u64) {
        self.since.get_or_insert(time);
        self.last = time;
    }

    pub fn sent(&mut self, time: u64, payload: u32, size: u16) {
        self.touch(time);
        self.sent.0 += u64::from(payload);
        self.sent.1 += Self::segments(payload, size);
    }

    pub fn came(&mut self, time: u64, payload: u32, size: u16) {
        self.touch(time);
        self.came.0 += u64::from(payload);
        self.came.1 += Self::segments(payload, size);
    }

    pub fn marked(&mut self, time: u64) {
        self.touch(time);
        self.marked += 1;
    }

    pub fn dropped(&mut self, time: u64, out: bool, reason: &str) {
        self.touch(time);
        *self.dropped.entry((out, reason.to_string())).or_default() += 1;
    }

    /// A drop is told of otherwise.
    pub fn forget_drop(&mut self, reason: &str) {
        if let Some(count) = self.dropped.get_mut(&(false, reason.to_string())) {
            *count -= 1;
        }
        self.dropped.retain(|_, count| *count > 0);
    }

    /// Whether it has become old.
    pub fn is_due(&self, now: u64) -> bool {
        self.since
            .is_some_and(|since| now.saturating_sub(since) >= OLD)
    }

    /// When something was added last, if there is something.
    pub fn last(&self) -> Option<u64> {
        self.since.map(|_| self.last)
    }

    /// The sentences, and it begins anew.
    pub fn flush(&mut self, me: &str, say: &mut dyn FnMut(u64, String)) {
        let bulk = std::mem::take(self);
        let Some(since) = bulk.since else { return };
        let mut parts = Vec::new();
        for (verb, (bytes, segments)) in [("sent", bulk.sent), ("received", bulk.came)] {
            if segments > 0 {
                parts.push(format!(
                    "{verb} {} in {}",
                    words::bytes(bytes),
                    words::count(segments, "segment")
                ));
            }
        }
        if !parts.is_empty() {
            let span = bulk.last.saturating_sub(since);
            let span = match span {
                0 => String::new(),
                span => format!(" in {}", words::duration(span)),
            };
            let joint = if parts.len() == 2 { "," } else { "" };
            say(
                bulk.last,
                format!("{me} {}{joint}{span}.", words::list(&parts)),
            );
        }
        if bulk.marked > 0 {
            say(
                bulk.last,
                format!(
                    "{} came with a mark of congestion (ECN): a router on the way is filling its queue.",
                    words::count(bulk.marked, "segment")
                ),
            );
        }
        for ((out, reason), count) in bulk.dropped {
            let were = match (out, count) {
                (false, 1) => "was dropped",
                (false, _) => "were dropped, each",
                (true, 1) => "has not left this host,",
                (true, _) => "have not left this host, each",
            };
            say(
                bulk.last,
                format!(
                    "{} {were} because {}.",
                    words::count(count, "segment"),
                    words::drop_reason(&reason)
                ),
            );
        }
    }
}

/// Data is summed up after so many nanoseconds, if nothing is to be said before.
const OLD: u64 = 1_000_000_000;

/// Segments that were found lost, since the last sentence.
#[derive(Default)]
pub struct Losses {
    first: Option<u64>,
    last: u64,
    segments: u64,
    bytes: u64,
    /// The shortest and the longest time between sending and finding, of those whose sending was seen.
    after: Option<(u64, u64)>,
}

impl Losses {
    pub fn add(&mut self, time: u64, payload: u32, size: u16, sent: Option<u64>) {
        self.first.get_or_insert(time);
        self.last = time;
        self.segments += Bulk::segments(payload, size);
        self.bytes += u64::from(payload);
        if let Some(sent) = sent {
            let after = time.saturating_sub(sent);
            let (low, high) = self.after.unwrap_or((after, after));
            self.after = Some((low.min(after), high.max(after)));
        }
    }

    /// When one was found last, if there is one.
    pub fn last(&self) -> Option<u64> {
        self.first.map(|_| self.last)
    }

    /// Whether none has followed for this time.
    pub fn is_due(&self, now: u64, quiet: u64) -> bool {
        self.first.is_some() && now.saturating_sub(self.last) > quiet
    }

    /// The sentence, and it begins anew. `by` says who finds losses, `cwnd` is the congestion window before and after, where it came down.
    pub fn flush(&mut self, by: &str, cwnd: Option<(u32, u32)>, say: &mut dyn FnMut(u64, String)) {
        let losses = std::mem::take(self);
        if losses.first.is_none() {
            return;
        }
        let after = match losses.after {
            None => String::new(),
            Some((low, high)) if high - low < high / 10 => {
                format!(" {} after it was sent", words::duration(high))
            }
            Some((low, high)) => format!(
                " {} to {} after it was sent",
                words::duration(low),
                words::duration(high)
            ),
        };
        let (segments, them) = match losses.segments {
            1 => ("1 segment is".to_string(), "it"),
            many => (format!("{} are", words::count(many, "segment")), "each"),
        };
        let after = match them {
            "each" => after.replace("it was sent", "being sent"),
            _ => after,
        };
        let mut text = format!(
            "{segments} probably lost ({}): {by} found {them}{after}, and {them} was sent again at once.",
            words::bytes(losses.bytes)
        );
        if let Some((before, now)) = cwnd {
            text += &format!(
                " The congestion window came down from {} to {}.",
                words::bytes(before.into()),
                words::bytes(now.into())
            );
        }
        say(losses.last, text);
    }
}
