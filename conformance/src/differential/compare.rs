// SPDX-License-Identifier: GPL-2.0

//! Two records of a conversation, side by side.

use super::{Entry, Record};
use crate::run::{TOLERANCE, WHEEL_SHARE};
use crate::script::Micros;

/// What came of a comparison.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Agreement {
    /// The two did the same.
    Same,
    /// They did the same as far as can be told: something came so near to the peer's next step that one TCP did it before and
    /// the other after.
    Close,
    /// What came before the first difference, and the difference: expected, and what was instead.
    Differs(Vec<String>, Option<Entry>, Option<Entry>),
}

/// Lines that are shown before a difference.
const CONTEXT: usize = 14;

/// Compares a record with the one that is expected. Windows may differ by `window_share` thousandths: what packets weigh, and so
/// how much of a buffer is left, the engine's back end knows only nearly.
pub fn compare(expected: &Record, actual: &Record, window_share: u32) -> Agreement {
    let mut last: Micros = 0;
    for at in 0.. {
        let (left, right) = (expected.entries.get(at), actual.entries.get(at));
        let (left, right) = match (left, right) {
            (None, None) => return Agreement::Same,
            (Some(left), Some(right)) if is_same(left, right, last, window_share) => {
                last = left.at;
                continue;
            }
            other => other,
        };
        // Whoever did something that the other did not do before the peer's next step: how near was that step?
        let near = |one: Option<&Entry>, other: Option<&Entry>| match (one, other) {
            (Some(one), Some(other)) if one.done && !other.done => {
                (one.at - other.at).abs() <= tolerance(one.at - last)
            }
            _ => false,
        };
        if near(left, right) || near(right, left) {
            return Agreement::Close;
        }
        let from = at.saturating_sub(CONTEXT);
        let context = expected.entries[from..at.min(expected.entries.len())].iter();
        return Agreement::Differs(
            context.map(Entry::to_string).collect(),
            left.cloned(),
            right.cloned(),
        );
    }
    Agreement::Same
}

fn tolerance(span: Micros) -> Micros {
    TOLERANCE.max(span * WHEEL_SHARE / 1000)
}

fn is_same(left: &Entry, right: &Entry, last: Micros, window_share: u32) -> bool {
    let allowed = tolerance(left.at - last);
    let stamps = match (left.stamp, right.stamp) {
        (Some(left), Some(right)) => {
            i64::from(left.abs_diff(right)) * 1000 <= allowed.max(tolerance(i64::from(left) * 1000))
        }
        (None, None) => true,
        _ => false,
    };
    left.done == right.done
        && is_same_text(&left.text, &right.text, window_share)
        && (left.at - right.at).abs() <= allowed
        && stamps
}

fn is_same_text(left: &str, right: &str, window_share: u32) -> bool {
    if left == right || window_share == 0 {
        return left == right;
    }
    let apart = |text: &str| -> Option<(String, u32)> {
        let (before, rest) = text.split_once(" win ")?;
        let (window, after) = rest.split_once(' ').unwrap_or((rest, ""));
        Some((format!("{before} {after}"), window.parse().ok()?))
    };
    let (Some((left, ours)), Some((right, theirs))) = (apart(left), apart(right)) else {
        return false;
    };
    let most = ours.max(theirs);
    left == right
        && u64::from(ours.abs_diff(theirs))
            <= (u64::from(most) * u64::from(window_share) / 1000).max(1)
}

impl std::fmt::Display for Entry {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let who = if self.done { '>' } else { '<' };
        let (seconds, micros) = (self.at / 1_000_000, self.at % 1_000_000);
        write!(f, "{seconds:4}.{micros:06} {who} {}", self.text)?;
        match self.stamp {
            Some(stamp) => write!(f, " val {stamp}"),
            None => Ok(()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(at: Micros, done: bool, text: &str) -> Entry {
        Entry {
            at,
            done,
            stamp: None,
            text: text.into(),
        }
    }

    fn record(entries: &[Entry]) -> Record {
        Record {
            seed: 1,
            entries: entries.to_vec(),
        }
    }

    #[test]
    fn compare__times_within_the_tolerance_are_the_same() {
        let left = record(&[entry(0, false, "a"), entry(200_000, true, "b")]);
        let right = record(&[entry(0, false, "a"), entry(224_000, true, "b")]);
        assert_eq!(compare(&left, &right, 0), Agreement::Same);
        let right = record(&[entry(0, false, "a"), entry(226_000, true, "b")]);
        assert!(matches!(compare(&left, &right, 0), Agreement::Differs(..)));
    }

    #[test]
    fn compare__another_or_a_missing_segment_differs() {
        let left = record(&[entry(0, false, "a"), entry(10, true, "b")]);
        for right in [
            record(&[entry(0, false, "a"), entry(10, true, "c")]),
            record(&[entry(0, false, "a")]),
            record(&[
                entry(0, false, "a"),
                entry(10, true, "b"),
                entry(900_000, true, "b"),
            ]),
        ] {
            assert!(matches!(compare(&left, &right, 0), Agreement::Differs(..)));
        }
    }

    #[test]
    fn compare__windows_may_differ_by_a_share() {
        let left = record(&[entry(0, true, ". 1:1(0) ack 1 win 1000 <nop>")]);
        let near = record(&[entry(0, true, ". 1:1(0) ack 1 win 1020 <nop>")]);
        let far = record(&[entry(0, true, ". 1:1(0) ack 1 win 1050 <nop>")]);
        let other = record(&[entry(0, true, "P. 1:1(0) ack 1 win 1000 <nop>")]);
        assert_eq!(compare(&left, &near, 30), Agreement::Same);
        for other in [(&near, 0), (&far, 30), (&other, 30)] {
            let found = compare(&left, other.0, other.1);
            assert!(matches!(found, Agreement::Differs(..)), "{found:?}");
        }
    }

    #[test]
    fn compare__what_falls_beside_a_step_is_not_judged() {
        let left = record(&[entry(100_000, true, "b"), entry(101_000, false, "a")]);
        let right = record(&[entry(101_000, false, "a"), entry(102_000, true, "b")]);
        assert_eq!(compare(&left, &right, 0), Agreement::Close);
    }
}
