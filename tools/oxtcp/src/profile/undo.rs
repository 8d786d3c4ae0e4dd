// SPDX-License-Identifier: GPL-2.0
//! What `oxtcp profile undo` needs: what each `apply` changed, newest last, one file for each network namespace.
//!
//! The files are in /run: like the values themselves they do not outlive the system's next start.

use std::fs;
use std::io;
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use crate::failure::{Problem, Result};
use crate::host::{Host, Replacement};
use crate::settings::store::Change;

/// So many can be taken back.
const MOST: usize = 20;

/// The records of a namespace.
pub struct Records {
    path: PathBuf,
    /// Oldest first.
    pub entries: Vec<Record>,
}

/// What one `apply` did.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Record {
    /// The profile's name.
    pub profile: String,
    /// What it changed.
    pub changes: Vec<Changed>,
    /// What it kept for the next start.
    pub kept: Option<Kept>,
}

/// A value before and after.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Changed {
    /// The setting.
    pub name: String,
    /// Its value before.
    pub from: String,
    /// Its value after.
    pub to: String,
}

/// The text of the file of `--persist` before and after.
#[derive(Clone, Debug, Deserialize, PartialEq, Serialize)]
pub struct Kept {
    /// `None` where there was no file.
    pub before: Option<String>,
    /// What was written.
    pub after: String,
}

impl Records {
    /// The records of the namespace of this identity.
    pub fn read(host: &Host, namespace: &str) -> Result<Self> {
        let path = host.path(&format!("run/oxtcp/undo-{namespace}.json"));
        let entries = match fs::read_to_string(&path) {
            Ok(text) => serde_json::from_str(&text).map_err(|error| {
                Problem::failed(format!(
                    "{} is damaged ({error}).\nRemove it; what was applied before cannot be taken back then.",
                    path.display()
                ))
            })?,
            Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
            Err(error) => return Err(Problem::io("read", &path, &error)),
        };
        Ok(Self { path, entries })
    }

    /// Writes them.
    pub fn write(&mut self) -> Result<()> {
        let spare = self.entries.len().saturating_sub(MOST);
        self.entries.drain(..spare);
        let text = serde_json::to_string_pretty(&self.entries).map_err(|error| {
            Problem::failed(format!("cannot write down what was changed: {error}"))
        })?;
        Replacement::prepare(&self.path, &(text + "\n"))?.commit()
    }
}

impl Record {
    /// Of an `apply`.
    pub fn of(profile: &str, changes: &[Change], kept: Option<Kept>) -> Self {
        Self {
            profile: profile.into(),
            changes: changes
                .iter()
                .map(|change| Changed {
                    name: change.setting.name.into(),
                    from: change.from.clone(),
                    to: change.to.clone(),
                })
                .collect(),
            kept,
        }
    }
}
