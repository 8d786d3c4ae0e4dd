// SPDX-License-Identifier: GPL-2.0

//! The scripts that there are, what each waits for, and which variants are known to pass: one line each in a
//! file of the repository.
//!
//! ```text
//! # script            waits for    engine passes    in a kernel    the built-in TCP    why not
//! tcp_basic_client    -            ipv4 ipv6        ipv4 ipv6      ipv4 ipv6
//! tcp_accecn_noopt    AccECN       -                -              ipv4
//! tcp_sack_x          -            -                -              ipv4                TCP cannot know it.
//! ```
//!
//! The last column stands where a script waits for nothing and does not pass all the same.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::run::IpVersion;

/// What is known of a script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The feature that it needs and that is not there yet.
    pub waits_for: Option<String>,
    /// The variants that pass, by [`On`].
    passes: [Vec<IpVersion>; 3],
    /// Why it does not pass, though it waits for nothing.
    pub reason: Option<String>,
}

/// What a script passes on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum On {
    /// The engine.
    Engine,
    /// The module, in a kernel.
    Module,
    /// The kernel's own TCP.
    Builtin,
}

impl Entry {
    /// The variants that pass.
    pub fn passes(&self, on: On) -> &[IpVersion] {
        &self.passes[on as usize]
    }
}

/// What is known of all scripts, by their names without `.pkt`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Catalogue {
    entries: BTreeMap<String, Entry>,
    /// The lines before the first entry.
    header: String,
}

impl Catalogue {
    /// Reads the file.
    ///
    /// # Errors
    ///
    /// Says which line is wrong.
    pub fn read(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        Catalogue::parse(&text).map_err(|what| format!("{}: {what}", path.display()))
    }

    fn parse(text: &str) -> Result<Self, String> {
        let mut catalogue = Catalogue::default();
        for (number, line) in text.lines().enumerate() {
            let line = line.trim();
            if line.is_empty() || line.starts_with('#') {
                if catalogue.entries.is_empty() {
                    catalogue.header.push_str(line);
                    catalogue.header.push('\n');
                }
                continue;
            }
            let columns: Vec<&str> = line.split('\t').collect();
            let (name, waits_for, passes, reason) = match columns[..] {
                [name, waits_for, engine, module, builtin] => {
                    (name, waits_for, [engine, module, builtin], None)
                }
                [name, waits_for, engine, module, builtin, reason] => {
                    (name, waits_for, [engine, module, builtin], Some(reason))
                }
                _ => {
                    return Err(format!(
                        "line {}: five or six columns are wanted",
                        number + 1
                    ))
                }
            };
            let mut entry = Entry {
                waits_for: (waits_for != "-").then(|| waits_for.to_string()),
                reason: reason.map(str::to_string),
                ..Entry::default()
            };
            for (column, versions) in passes.iter().zip(&mut entry.passes) {
                for name in column.split_whitespace().filter(|name| *name != "-") {
                    let version = IpVersion::ALL.iter().find(|v| v.name() == name);
                    let version = version.ok_or(format!("line {}: {name}", number + 1))?;
                    versions.push(*version);
                }
            }
            catalogue.entries.insert(name.to_string(), entry);
        }
        Ok(catalogue)
    }

    /// What is known of a script; nothing of one that is new.
    pub fn entry(&self, name: &str) -> Entry {
        self.entries.get(name).cloned().unwrap_or_default()
    }

    /// Notes which variants of a script pass.
    pub fn set_passes(&mut self, on: On, name: &str, passes: Vec<IpVersion>) {
        self.entries.entry(name.to_string()).or_default().passes[on as usize] = passes;
    }

    /// The names of all scripts.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = self.header.clone();
        for (name, entry) in &self.entries {
            let waits_for = entry.waits_for.as_deref().unwrap_or("-");
            let _ = write!(text, "{name}\t{waits_for}");
            for versions in &entry.passes {
                let names: Vec<&str> = versions.iter().map(|v| v.name()).collect();
                let names = match names.is_empty() {
                    true => "-".to_string(),
                    false => names.join(" "),
                };
                let _ = write!(text, "\t{names}");
            }
            if let Some(reason) = &entry.reason {
                let _ = write!(text, "\t{reason}");
            }
            text.push('\n');
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text__is_what_parse_reads() {
        let text = "# a\n# b\none\t-\tipv4 ipv6\t-\tipv6\ntwo\tFast Open\t-\t-\t-\nzero\t-\t-\t-\t-\tIt is so.\n";
        let mut catalogue = Catalogue::parse(text).unwrap();
        assert_eq!(catalogue.text(), text);
        let one = catalogue.entry("one");
        assert_eq!(one.passes(On::Engine).len(), 2);
        assert_eq!(one.passes(On::Module), []);
        assert_eq!(one.passes(On::Builtin), [IpVersion::V6]);
        catalogue.set_passes(On::Module, "one", vec![IpVersion::V4]);
        assert!(catalogue.text().contains("\tipv4 ipv6\tipv4\tipv6\n"));
        assert_eq!(
            catalogue.entry("two").waits_for,
            Some("Fast Open".to_string())
        );
        assert_eq!(catalogue.entry("zero").reason.as_deref(), Some("It is so."));
        assert_eq!(catalogue.entry("three"), Entry::default());
        assert!(Catalogue::parse("one -\n").is_err());
        assert!(Catalogue::parse("one\t-\tipv4\n").is_err());
        assert!(Catalogue::parse("one\t-\tipv5\t-\t-\n").is_err());
    }
}
