// SPDX-License-Identifier: GPL-2.0
//! The values in the kernel: read, compared, and changed all together or not at all.

use std::fs;

use super::table::{self, normal, Setting};
use crate::failure::{Problem, Result};
use crate::host::Host;

/// A setting that is to have another value.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    /// Which.
    pub setting: &'static Setting,
    /// What it has.
    pub from: String,
    /// What it is to have.
    pub to: String,
}

impl Change {
    /// Whether there is anything to do.
    pub fn is_one(&self) -> bool {
        self.from != self.to
    }
}

/// The setting's value in this namespace. One that this module does not have is an error.
pub fn read(host: &Host, setting: &Setting) -> Result<String> {
    host.need_module()?;
    match host.sysctl_value(&setting.sysctl())? {
        Some(value) => Ok(normal(&value)),
        None => Err(Problem::failed(format!(
            "the loaded module has no setting `{}`: it is of another version than this command. Load the module that was \
             built with it.",
            setting.name
        ))),
    }
}

/// The value of the built-in TCP's setting of the same meaning, where this namespace shows one.
pub fn read_builtin(host: &Host, setting: &Setting) -> Option<String> {
    Some(normal(&host.sysctl_value(&setting.builtin()?).ok()??))
}

/// The changes that these values, which users wrote, would be. A setting that is named twice is an error.
pub fn changes<'a>(
    host: &Host,
    wanted: impl IntoIterator<Item = (&'a str, &'a str)>,
) -> Result<Vec<Change>> {
    host.need_module()?;
    let mut changes: Vec<Change> = Vec::new();
    let mut wrong: Vec<String> = Vec::new();
    for (name, value) in wanted {
        let parsed = table::find(name).and_then(|setting| Ok((setting, setting.parse(value)?)));
        match parsed {
            Ok((setting, _)) if changes.iter().any(|change| change.setting == setting) => {
                wrong.push(format!("{} is given twice.", setting.name));
            }
            Ok((setting, to)) => changes.push(Change {
                setting,
                from: read(host, setting)?,
                to,
            }),
            Err(problem) => wrong.push(problem.to_string()),
        }
    }
    if wrong.is_empty() {
        Ok(changes)
    } else {
        Err(Problem::usage(format!(
            "{}\nNothing was changed.",
            wrong.join("\n")
        )))
    }
}

/// Makes the changes. When one fails, those before it are taken back, and the error says so.
pub fn apply(host: &Host, changes: &[Change]) -> Result<()> {
    for (done, change) in changes.iter().enumerate() {
        if let Err(problem) = write(host, change.setting, &change.to) {
            return Err(problem.and(&take_back(host, &changes[..done])));
        }
    }
    Ok(())
}

/// Gives the settings the values that they had; what came of it, in words.
pub fn take_back(host: &Host, changes: &[Change]) -> String {
    let stuck: Vec<String> = changes
        .iter()
        .rev()
        .filter_map(|change| {
            write(host, change.setting, &change.from)
                .err()
                .map(|_| change)
        })
        .map(|change| format!("{} (it had {})", change.setting.name, change.from))
        .collect();
    if stuck.is_empty() {
        "\nNothing was changed.".into()
    } else {
        format!(
            "\nThese were changed, and could not be taken back: {}.",
            stuck.join(", ")
        )
    }
}

fn write(host: &Host, setting: &Setting, value: &str) -> Result<()> {
    let path = host.sysctl(&setting.sysctl());
    // The file is there, or the setting is not: no file is to be made.
    let file = fs::OpenOptions::new().write(true).open(&path);
    file.and_then(|mut file| std::io::Write::write_all(&mut file, format!("{value}\n").as_bytes()))
        .map_err(|error| match error.raw_os_error() {
            Some(libc::EINVAL | libc::ENOENT) => Problem::failed(format!(
                "the kernel refuses {} = {value}. It takes {} by this command's table: the loaded module is of another version.",
                setting.name,
                setting.range()
            )),
            _ => Problem::io("write", &path, &error),
        })?;
    // A test's file keeps the rest of what was longer.
    #[cfg(test)]
    fs::write(&path, format!("{value}\n")).expect("a test's file");
    Ok(())
}

#[cfg(test)]
pub mod tests {
    use super::*;
    use crate::settings::table::SETTINGS;

    /// A system with the module loaded, all settings at their defaults.
    pub fn loaded() -> (tempfile::TempDir, Host) {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::at(folder.path());
        fs::create_dir_all(host.sysctl("net.oxtcp")).unwrap();
        fs::create_dir_all(host.sysctl("net.ipv4")).unwrap();
        for setting in SETTINGS {
            // As the kernel has them: tabs between numbers.
            let value = setting.default().replace(' ', "\t") + "\n";
            fs::write(host.sysctl(&setting.sysctl()), value).unwrap();
        }
        fs::write(host.sysctl("net.ipv4.tcp_fin_timeout"), "45\n").unwrap();
        (folder, host)
    }

    fn now(host: &Host, name: &str) -> String {
        read(host, table::find(name).unwrap()).unwrap()
    }

    #[test]
    fn changes_are_made() {
        let (_folder, host) = loaded();
        let changes = changes(
            &host,
            [
                ("fin_timeout", "30"),
                ("rmem", "4096 65536 1048576"),
                ("sack", "1"),
            ],
        )
        .unwrap();
        assert_eq!(changes.iter().filter(|change| change.is_one()).count(), 2);
        assert_eq!(now(&host, "fin_timeout"), "60");
        apply(&host, &changes).unwrap();
        assert_eq!(now(&host, "fin_timeout"), "30");
        assert_eq!(now(&host, "rmem"), "4096 65536 1048576");
    }

    #[test]
    fn a_wrong_value_among_right_ones_changes_nothing() {
        let (_folder, host) = loaded();
        let problem = changes(
            &host,
            [
                ("fin_timeout", "30"),
                ("sack", "7"),
                ("nonsense", "1"),
                ("fin_timeout", "31"),
            ],
        )
        .unwrap_err();
        for part in [
            "sack = 7: 7 is out of range",
            "`nonsense`",
            "fin_timeout is given twice",
            "Nothing was changed.",
        ] {
            assert!(problem.message().contains(part), "{problem}");
        }
        assert_eq!(now(&host, "fin_timeout"), "60");
    }

    #[test]
    fn a_refusal_takes_back_what_was_done() {
        let (_folder, host) = loaded();
        let changes = changes(&host, [("fin_timeout", "30"), ("sack", "0")]).unwrap();
        fs::remove_file(host.sysctl("net.oxtcp.sack")).unwrap();
        let problem = apply(&host, &changes).unwrap_err();
        assert!(
            problem.message().ends_with("\nNothing was changed."),
            "{problem}"
        );
        assert_eq!(now(&host, "fin_timeout"), "60");
        assert!(!host.sysctl("net.oxtcp.sack").exists(), "a file was made");
    }

    #[test]
    fn no_module_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::at(folder.path());
        assert_eq!(
            changes(&host, [("sack", "0")]).unwrap_err(),
            Problem::no_module()
        );
    }

    #[test]
    fn another_version_of_the_module_is_told() {
        let (_folder, host) = loaded();
        fs::remove_file(host.sysctl("net.oxtcp.sack")).unwrap();
        let problem = read(&host, table::find("sack").unwrap()).unwrap_err();
        assert!(problem.message().contains("another version"), "{problem}");
    }
}
