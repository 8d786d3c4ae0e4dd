// SPDX-License-Identifier: GPL-2.0

//! The scripts that there are, what each waits for, and which variants are known to pass: one line each in a
//! file of the repository.
//!
//! ```text
//! # script            waits for    engine passes
//! tcp_basic_client    -            ipv4 ipv6 ipv4-mapped-ipv6
//! tcp_accecn_noopt    AccECN       -
//! ```

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;

use crate::run::IpVersion;

/// What is known of a script.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// The feature that it needs and that is not there yet.
    pub waits_for: Option<String>,
    /// The variants that pass.
    pub passes: Vec<IpVersion>,
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
            let mut columns = line.split('\t');
            let columns = (columns.next(), columns.next(), columns.next());
            let (Some(name), Some(waits_for), Some(passes)) = columns else {
                return Err(format!("line {}: three columns are wanted", number + 1));
            };
            let mut entry = Entry {
                waits_for: (waits_for != "-").then(|| waits_for.to_string()),
                passes: Vec::new(),
            };
            for name in passes.split_whitespace().filter(|name| *name != "-") {
                let version = IpVersion::ALL.iter().find(|v| v.name() == name);
                let version = version.ok_or(format!("line {}: {name}", number + 1))?;
                entry.passes.push(*version);
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
    pub fn set_passes(&mut self, name: &str, passes: Vec<IpVersion>) {
        self.entries.entry(name.to_string()).or_default().passes = passes;
    }

    /// The names of all scripts.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.entries.keys().map(String::as_str)
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = self.header.clone();
        for (name, entry) in &self.entries {
            let passes: Vec<&str> = entry.passes.iter().map(|v| v.name()).collect();
            let passes = match passes.is_empty() {
                true => "-".to_string(),
                false => passes.join(" "),
            };
            let waits_for = entry.waits_for.as_deref().unwrap_or("-");
            let _ = writeln!(text, "{name}\t{waits_for}\t{passes}");
        }
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text__is_what_parse_reads() {
        let text = "# a\n# b\none\t-\tipv4 ipv6\ntwo\tFast Open\t-\n";
        let catalogue = Catalogue::parse(text).unwrap();
        assert_eq!(catalogue.text(), text);
        assert_eq!(catalogue.entry("one").passes.len(), 2);
        assert_eq!(
            catalogue.entry("two").waits_for,
            Some("Fast Open".to_string())
        );
        assert_eq!(catalogue.entry("three"), Entry::default());
        assert!(Catalogue::parse("one -\n").is_err());
        assert!(Catalogue::parse("one\t-\tipv5\n").is_err());
    }
}
