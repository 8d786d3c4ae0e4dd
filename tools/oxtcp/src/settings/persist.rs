// SPDX-License-Identifier: GPL-2.0
//! `--persist`: a file of `sysctl.d(5)`, from which the settings come again when the module is loaded.

use std::fs;
use std::io;

use super::store::Change;
use super::table::Setting;
use crate::failure::{Problem, Result};
use crate::host::{Host, Replacement};

/// Where, below the root.
pub const FILE: &str = "etc/sysctl.d/60-oxtcp.conf";

const HEAD: &str =
    "# Settings of oxtcp, kept by `oxtcp set --persist` and `oxtcp profile apply --persist`.\n\
                    # Lines may be changed by hand; see sysctl.d(5).\n";

/// What is to be kept: the file with it, ready beside the old one.
pub struct Kept {
    /// Its text before; `None` where there was none.
    pub before: Option<String>,
    /// Its text after.
    pub after: String,
    replacement: Replacement,
}

impl Kept {
    /// Prepares the file; nothing is changed before [`Kept::commit`].
    pub fn prepare(host: &Host, changes: &[Change]) -> Result<Self> {
        let path = host.path(FILE);
        let before = match fs::read_to_string(&path) {
            Ok(text) => Some(text),
            Err(error) if error.kind() == io::ErrorKind::NotFound => None,
            Err(error) => return Err(Problem::io("read", &path, &error)),
        };
        let wanted: Vec<(&Setting, &str)> = changes
            .iter()
            .map(|change| (change.setting, change.to.as_str()))
            .collect();
        let after = merged(before.as_deref().unwrap_or(HEAD), &wanted);
        Ok(Self {
            replacement: Replacement::prepare(&path, &after)?,
            before,
            after,
        })
    }

    /// Puts it in place.
    pub fn commit(self) -> Result<()> {
        self.replacement.commit()
    }
}

/// The text with these settings: lines of the same names are replaced, all others stay.
pub fn merged(text: &str, wanted: &[(&Setting, &str)]) -> String {
    let mut written = vec![false; wanted.len()];
    let mut out = String::new();
    // With their ends: a file of another system's keeps its own.
    for line in text.split_inclusive('\n') {
        let place = wanted
            .iter()
            .position(|(setting, _)| key_of(line).is_some_and(|key| key == setting.sysctl()));
        match place {
            Some(place) if written[place] => {}
            Some(place) => {
                written[place] = true;
                out += &line_of(wanted[place]);
            }
            None => {
                out += line;
                if !line.ends_with('\n') {
                    out.push('\n');
                }
            }
        }
    }
    for (wanted, _) in wanted.iter().zip(written).filter(|(_, written)| !written) {
        out += &line_of(*wanted);
    }
    out
}

fn line_of((setting, value): (&Setting, &str)) -> String {
    format!("{} = {value}\n", setting.sysctl())
}

/// The name that a line of `sysctl.d(5)` sets, with dots: names may have slashes, and a `-` before them.
fn key_of(line: &str) -> Option<String> {
    let line = line.trim();
    if line.starts_with(['#', ';']) {
        return None;
    }
    let key = line.split_once('=')?.0.trim();
    Some(key.strip_prefix('-').unwrap_or(key).replace('/', "."))
}

#[cfg(test)]
mod tests {
    use super::super::{store, table};
    use super::*;

    fn setting(name: &str) -> &'static Setting {
        table::find(name).unwrap()
    }

    #[test]
    fn merged_keeps_all_other_lines() {
        let text = "# mine\n\nnet.oxtcp.sack=0\n-net/oxtcp/fin_timeout = 5 \nnet.oxtcp.sack = 1\n;net.oxtcp.sack = 3\nnet.ipv4.tcp_sack = 0";
        let wanted = [
            (setting("sack"), "1"),
            (setting("rmem"), "1 2 3"),
            (setting("fin_timeout"), "30"),
        ];
        assert_eq!(
            merged(text, &wanted),
            "# mine\n\nnet.oxtcp.sack = 1\nnet.oxtcp.fin_timeout = 30\n;net.oxtcp.sack = 3\nnet.ipv4.tcp_sack = 0\nnet.oxtcp.rmem = 1 2 3\n"
        );
    }

    #[test]
    fn prepare_changes_nothing_commit_does() {
        let (folder, host) = store::tests::loaded();
        let changes = store::changes(&host, [("fin_timeout", "30")]).unwrap();
        let path = host.path(FILE);
        drop(Kept::prepare(&host, &changes).unwrap());
        assert!(!path.exists());
        assert_eq!(
            fs::read_dir(path.parent().unwrap()).unwrap().count(),
            0,
            "something is left"
        );
        Kept::prepare(&host, &changes).unwrap().commit().unwrap();
        let text = fs::read_to_string(&path).unwrap();
        assert_eq!(text, format!("{HEAD}net.oxtcp.fin_timeout = 30\n"));
        let kept = Kept::prepare(&host, &changes).unwrap();
        assert_eq!(kept.before.as_deref(), Some(text.as_str()));
        assert_eq!(kept.after, text);
        drop(folder);
    }
}
