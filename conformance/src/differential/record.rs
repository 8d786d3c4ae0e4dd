// SPDX-License-Identifier: GPL-2.0

//! What has happened in a conversation, as lines of a file.

use std::path::Path;

use crate::script::Micros;

/// A conversation, as one TCP has held it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    /// What it was made of.
    pub seed: u64,
    /// In order.
    pub entries: Vec<Entry>,
}

/// One thing that has happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// When, in microseconds since the beginning.
    pub at: Micros,
    /// Whether the TCP did it by itself; else it is a step of the conversation: a segment of the peer's, or a call and what it returned.
    pub done: bool,
    /// TSval of what it sent, in milliseconds since the first.
    pub stamp: Option<u32>,
    /// A segment as scripts have it, its numbers relative and without TSval; or a call.
    pub text: String,
    /// What the connection's state was then ([`STATE`](super::STATE)); empty if it is not known.
    pub state: Vec<i64>,
}

/// In a file: the state is that of the entry before.
const SAME: &str = "=";

/// Writes `records` to a file.
///
/// # Errors
///
/// Says what cannot be written.
pub fn write(path: &Path, records: &[Record]) -> Result<(), String> {
    let mut text = String::new();
    for record in records {
        text += &format!("seed {}\n", record.seed);
        let mut last: &[i64] = &[];
        for entry in &record.entries {
            let stamp = entry.stamp.map_or("-".into(), |stamp| stamp.to_string());
            let who = if entry.done { '>' } else { '<' };
            let state: Vec<String> = match entry.state == last && !last.is_empty() {
                true => vec![SAME.into()],
                false => entry.state.iter().map(i64::to_string).collect(),
            };
            if !entry.state.is_empty() {
                last = &entry.state;
            }
            let state = state.join(" ");
            text += &format!("{}\t{who}\t{stamp}\t{}\t{state}\n", entry.at, entry.text);
        }
    }
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

/// Reads what [`write`] wrote.
///
/// # Errors
///
/// Says what cannot be read.
pub fn read(path: &Path) -> Result<Vec<Record>, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    let mut records: Vec<Record> = Vec::new();
    let mut last: Vec<i64> = Vec::new();
    for (number, line) in text.lines().enumerate() {
        let bad = || format!("{}:{}: `{line}`", path.display(), number + 1);
        if let Some(seed) = line.strip_prefix("seed ") {
            records.push(Record {
                seed: seed.parse().map_err(|_| bad())?,
                entries: Vec::new(),
            });
            continue;
        }
        let mut fields = line.splitn(5, '\t');
        let mut field = || fields.next().ok_or_else(bad);
        let entry = Entry {
            at: field()?.parse().map_err(|_| bad())?,
            done: field()? == ">",
            stamp: match field()? {
                "-" => None,
                stamp => Some(stamp.parse().map_err(|_| bad())?),
            },
            text: field()?.to_string(),
            state: match field() {
                Ok(SAME) => last.clone(),
                Ok(state) => {
                    let numbers = state.split_whitespace().map(str::parse);
                    numbers.collect::<Result<_, _>>().map_err(|_| bad())?
                }
                Err(_) => Vec::new(),
            },
        };
        if !entry.state.is_empty() {
            last.clone_from(&entry.state);
        }
        records.last_mut().ok_or_else(bad)?.entries.push(entry);
    }
    Ok(records)
}
