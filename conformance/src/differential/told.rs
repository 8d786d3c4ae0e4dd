// SPDX-License-Identifier: GPL-2.0

//! A record's segment, taken apart again.

use super::Entry;

/// What a TCP has sent, as a record's line has it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Told {
    /// Without PSH.
    pub(super) flags: String,
    pub(super) push: bool,
    pub(super) start: u32,
    /// Behind the payload.
    pub(super) end: u32,
    pub(super) ack: Option<u32>,
    pub(super) window: u32,
    pub(super) options: String,
    pub(super) lost: bool,
}

impl Told {
    /// Of an entry that is a segment.
    pub(super) fn of(entry: &Entry) -> Option<Told> {
        let (text, lost) = match entry.text.strip_suffix(" lost") {
            Some(text) => (text, true),
            None => (entry.text.as_str(), false),
        };
        let (text, options) = match text.split_once(" <") {
            Some((text, options)) => (text, options.trim_end_matches('>')),
            None => (text, ""),
        };
        let mut words = text.split(' ');
        let flags = words.next()?;
        let (start, rest) = words.next()?.split_once(':')?;
        let (end, _) = rest.split_once('(')?;
        let mut told = Told {
            flags: flags.replace('P', ""),
            push: flags.contains('P'),
            start: start.parse().ok()?,
            end: end.parse().ok()?,
            ack: None,
            window: 0,
            options: options.to_string(),
            lost,
        };
        while let (Some(name), Some(value)) = (words.next(), words.next()) {
            match name {
                "ack" => told.ack = value.parse().ok(),
                "win" => told.window = value.parse().ok()?,
                _ => return None,
            }
        }
        Some(told)
    }

    pub(super) fn len(&self) -> u32 {
        self.end.wrapping_sub(self.start)
    }

    pub(super) fn has(&self, flag: char) -> bool {
        self.flags.contains(flag)
    }

    /// Nothing but an acknowledgment, or a probe that looks like one.
    pub(super) fn is_bare(&self) -> bool {
        self.len() == 0 && self.flags == "."
    }

    /// The peer does the same whichever of the two comes: they bring the same octets, and are lost or not.
    pub(super) fn brings_as(&self, other: &Told) -> bool {
        (&self.flags, self.start, self.end, self.lost)
            == (&other.flags, other.start, other.end, other.lost)
    }

    /// Its options without timestamps.
    pub(super) fn plain(&self) -> Vec<&str> {
        let kinds = self.options.split(',');
        kinds.filter(|kind| !kind.starts_with("TS")).collect()
    }

    /// The window's scale that it offers.
    pub(super) fn scale(&self) -> Option<u32> {
        let mut kinds = self.options.split(',');
        kinds.find_map(|kind| kind.strip_prefix("wscale ")?.parse().ok())
    }

    /// Octets that its SACK blocks report.
    pub(super) fn reported(&self) -> u32 {
        let blocks = self
            .options
            .split(',')
            .find_map(|kind| kind.strip_prefix("sack "));
        let len = |block: &str| -> Option<u32> {
            let (start, end) = block.split_once(':')?;
            Some(end.parse::<u32>().ok()?.wrapping_sub(start.parse().ok()?))
        };
        blocks.map_or(0, |blocks| blocks.split(' ').filter_map(len).sum())
    }

    /// Whether it acknowledges or reports what ends there.
    pub(super) fn reports(&self, end: u32) -> bool {
        let blocks = self
            .options
            .split(',')
            .find_map(|kind| kind.strip_prefix("sack "));
        let holds = |block: &str| -> Option<bool> {
            let (start, last) = block.split_once(':')?;
            Some(end > start.parse().ok()? && end <= last.parse().ok()?)
        };
        let reported =
            blocks.is_some_and(|blocks| blocks.split(' ').any(|b| holds(b) == Some(true)));
        reported || self.ack.is_some_and(|ack| ack >= end)
    }

    /// Octets that its options take.
    pub(super) fn options_len(&self) -> u32 {
        let kinds = self.options.split(',').filter(|kind| !kind.is_empty());
        let len = |kind: &str| match kind.split(' ').next() {
            Some("nop") => 1,
            Some("TS") => 10,
            Some("sack") => 2 + 8 * (kind.split(' ').count() as u32 - 1),
            _ => 0,
        };
        kinds.map(len).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(text: &str) -> Told {
        Told::of(&Entry {
            at: 0,
            done: true,
            stamp: None,
            text: text.into(),
            state: Vec::new(),
        })
        .unwrap()
    }

    #[test]
    fn of__a_segment() {
        let told =
            of("P. 1:501(500) ack 7 win 255 <nop,nop,TS val 0 ecr 8,nop,nop,sack 9:10 12:20> lost");
        assert_eq!(
            (told.flags.as_str(), told.push, told.lost),
            (".", true, true)
        );
        assert_eq!((told.start, told.end, told.len()), (1, 501, 500));
        assert_eq!((told.ack, told.window), (Some(7), 255));
        assert_eq!(told.options_len(), 12 + 2 + 18);
        let reset = of("R 989:989(0) win 0");
        assert_eq!(
            (reset.ack, reset.has('R'), reset.is_bare()),
            (None, true, false)
        );
        assert!(of(". 1:1(0) ack 1 win 5").is_bare());
    }
}
