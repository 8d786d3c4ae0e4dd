// SPDX-License-Identifier: GPL-2.0
//! Profiles: named sets of settings, ours and the user's, in TOML.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::failure::{Problem, Result};
use crate::host::Host;
use crate::settings::table;

/// A named set of settings.
#[derive(Debug, PartialEq)]
pub struct Profile {
    /// By what it is called.
    pub name: String,
    /// Its file; `None` for those that come with the command.
    pub path: Option<PathBuf>,
    /// What it is for, in a line.
    pub summary: String,
    /// The same at length.
    pub description: String,
    /// Settings, values, and why.
    pub settings: Vec<Item>,
}

/// A setting of a profile.
#[derive(Debug, PartialEq)]
pub struct Item {
    /// Its name.
    pub name: String,
    /// Its value, as for `oxtcp set`.
    pub value: String,
    /// Why it has it.
    pub why: String,
}

const OURS: &[(&str, &str)] = &[
    ("web-server", include_str!("../../profiles/web-server.toml")),
    ("behind-nat", include_str!("../../profiles/behind-nat.toml")),
    (
        "under-attack",
        include_str!("../../profiles/under-attack.toml"),
    ),
    (
        "long-fat-network",
        include_str!("../../profiles/long-fat-network.toml"),
    ),
    ("low-memory", include_str!("../../profiles/low-memory.toml")),
];

/// The folders of the user's profiles, those that win first.
pub fn folders(host: &Host) -> Vec<PathBuf> {
    let home = std::env::var_os("XDG_CONFIG_HOME")
        .filter(|folder| !folder.is_empty())
        .map(PathBuf::from)
        .or_else(|| Some(PathBuf::from(std::env::var_os("HOME")?).join(".config")));
    let mut folders: Vec<PathBuf> = home
        .map(|home| home.join("oxtcp/profiles"))
        .into_iter()
        .collect();
    folders.push(host.path("etc/oxtcp/profiles"));
    folders
}

/// The profile of this name, or in this file: a name with a slash, or with `.toml` at its end, is a path.
pub fn find(folders: &[PathBuf], name: &str) -> Result<Profile> {
    if name.contains('/') || name.ends_with(".toml") {
        return read(Path::new(name));
    }
    for folder in folders {
        let path = folder.join(format!("{name}.toml"));
        if path.exists() {
            return read(&path);
        }
    }
    match OURS.iter().find(|(ours, _)| *ours == name) {
        Some((_, text)) => parse(name, None, text),
        None => Err(Problem::usage(format!(
            "there is no profile `{name}`. `oxtcp profile list` lists them; your own are files NAME.toml in {}.",
            folders.iter().map(|folder| folder.display().to_string()).collect::<Vec<_>>().join(" or ")
        ))),
    }
}

/// All profiles, each name once, and what is wrong with those that cannot be read.
pub fn all(folders: &[PathBuf]) -> (Vec<Profile>, Vec<Problem>) {
    let mut names: Vec<String> = OURS.iter().map(|(name, _)| (*name).to_string()).collect();
    let mut problems = Vec::new();
    for folder in folders {
        match files(folder) {
            Ok(found) => names.extend(found),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => problems.push(Problem::io("read", folder, &error)),
        }
    }
    let mut profiles: Vec<Profile> = Vec::new();
    names.sort();
    names.dedup();
    for name in names {
        match find(folders, &name) {
            Ok(profile) => profiles.push(profile),
            Err(problem) => problems.push(problem),
        }
    }
    (profiles, problems)
}

fn files(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path
            .extension()
            .is_some_and(|extension| extension == "toml")
        {
            names.extend(
                path.file_stem()
                    .map(|stem| stem.to_string_lossy().into_owned()),
            );
        }
    }
    Ok(names)
}

/// A file of that size is no profile.
const MOST_BYTES: u64 = 1 << 20;

fn read(path: &Path) -> Result<Profile> {
    let name = path.file_stem().unwrap_or_default().to_string_lossy();
    let data = fs::metadata(path).map_err(|error| Problem::io("read", path, &error))?;
    if !data.is_file() || data.len() > MOST_BYTES {
        return Err(Problem::usage(format!(
            "{} is no profile: it is no file, or larger than 1 MB.",
            path.display()
        )));
    }
    let bytes = fs::read(path).map_err(|error| Problem::io("read", path, &error))?;
    let text = String::from_utf8(bytes).map_err(|_| {
        Problem::usage(format!(
            "{} is no profile: it is no text in UTF-8.",
            path.display()
        ))
    })?;
    parse(&name, Some(path), &text)
}

/// The profile in a text; all of it is looked at before anything is done with it.
pub fn parse(name: &str, path: Option<&Path>, text: &str) -> Result<Profile> {
    let place = path.map_or_else(
        || format!("profile {name}"),
        |path| path.display().to_string(),
    );
    let written: Written = toml::from_str(text).map_err(|error| {
        Problem::usage(format!(
            "{place} is no profile:\n{}",
            error.to_string().trim_end()
        ))
    })?;
    let mut settings = Vec::new();
    let mut wrong = Vec::new();
    for (name, value) in written.settings {
        let (value, why) = match value {
            Entry::Explained { value, why } => (value, why),
            Entry::Plain(value) => (value, String::new()),
        };
        let value = value.text();
        match table::find(&name).and_then(|setting| setting.parse(&value)) {
            Ok(value) => settings.push(Item { name, value, why }),
            Err(problem) => wrong.push(format!("\n  {problem}")),
        }
    }
    if !wrong.is_empty() {
        return Err(Problem::usage(format!(
            "{place} has settings that cannot be:{}",
            wrong.concat()
        )));
    }
    if settings.is_empty() {
        return Err(Problem::usage(format!(
            "{place} has no settings: write them below a line `[settings]`."
        )));
    }
    Ok(Profile {
        name: name.into(),
        path: path.map(Into::into),
        summary: written.summary,
        description: written.description.trim().into(),
        settings,
    })
}

/// A profile as it is written.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Written {
    #[serde(default)]
    summary: String,
    #[serde(default)]
    description: String,
    settings: std::collections::BTreeMap<String, Entry>,
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a value, or { value = ..., why = \"...\" }")]
enum Entry {
    Plain(Value),
    Explained {
        value: Value,
        #[serde(default)]
        why: String,
    },
}

#[derive(Deserialize)]
#[serde(untagged, expecting = "a number, a list of numbers, or a text")]
enum Value {
    Number(i64),
    Numbers(Vec<i64>),
    Text(String),
}

impl Value {
    fn text(&self) -> String {
        match self {
            Value::Number(number) => number.to_string(),
            Value::Numbers(numbers) => numbers
                .iter()
                .map(ToString::to_string)
                .collect::<Vec<_>>()
                .join(" "),
            Value::Text(text) => text.clone(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ours_are_whole() {
        let (profiles, problems) = all(&[]);
        assert_eq!(problems, []);
        let names: Vec<&str> = profiles
            .iter()
            .map(|profile| profile.name.as_str())
            .collect();
        assert_eq!(
            names,
            [
                "behind-nat",
                "long-fat-network",
                "low-memory",
                "under-attack",
                "web-server"
            ]
        );
        for profile in &profiles {
            assert!(!profile.summary.is_empty() && !profile.description.is_empty());
            for item in &profile.settings {
                assert!(
                    !item.why.is_empty(),
                    "{}: {} says no why",
                    profile.name,
                    item.name
                );
            }
        }
    }

    #[test]
    fn users_files_come_first() {
        let folder = tempfile::tempdir().unwrap();
        fs::write(
            folder.path().join("mine.toml"),
            "[settings]\nsack = 0\nrmem = [1, 2, 3]\nwmem = '4 5 6'\n",
        )
        .unwrap();
        fs::write(
            folder.path().join("low-memory.toml"),
            "summary = 's'\n[settings]\nfin_timeout = { value = 5 }\n",
        )
        .unwrap();
        fs::write(folder.path().join("broken.toml"), "[settings\n").unwrap();
        fs::write(folder.path().join("readme.txt"), "no profile").unwrap();
        let folders = [folder.path().join("absent"), folder.path().into()];
        let (profiles, problems) = all(&folders);
        assert_eq!(profiles.len(), 6);
        assert_eq!(problems.len(), 1);
        assert!(
            problems[0].message().contains("broken.toml is no profile"),
            "{}",
            problems[0]
        );
        let low = find(&folders, "low-memory").unwrap();
        assert_eq!(
            (low.summary.as_str(), low.settings[0].value.as_str()),
            ("s", "5")
        );
        let mine = find(&folders, "mine").unwrap();
        let values: Vec<&str> = mine
            .settings
            .iter()
            .map(|item| item.value.as_str())
            .collect();
        assert_eq!(values, ["1 2 3", "0", "4 5 6"]);
        let by_path = find(&[], folder.path().join("mine.toml").to_str().unwrap()).unwrap();
        assert_eq!(by_path, mine);
    }

    #[test]
    fn corrupt_ones_are_told_apart() {
        for (text, part) in [
            ("", "missing field `settings`"),
            ("[settings]\n", "has no settings"),
            ("[settings]\nsack = 0\nsack = 1\n", "duplicate key"),
            (
                "[settings]\nsack = 7\n",
                "sack = 7: 7 is out of range: the range is 0 to 1",
            ),
            ("[settings]\nsnack = 1\n", "Is `sack` meant?"),
            ("[settings]\nsack = true\n", "a value, or { value = "),
            ("[settings]\nsack = 1.5\n", "a value, or { value = "),
            (
                "title = 'x'\n[settings]\nsack = 1\n",
                "unknown field `title`",
            ),
            ("\0\u{1}", "is no profile"),
        ] {
            let problem = parse("x", Some(Path::new("/x.toml")), text).unwrap_err();
            assert!(problem.message().contains(part), "{text:?}: {problem}");
            assert!(problem.message().starts_with("/x.toml"), "{problem}");
        }
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bytes.toml");
        fs::write(&path, [0xff, 0xfe]).unwrap();
        assert!(read(&path)
            .unwrap_err()
            .message()
            .contains("no text in UTF-8"));
        assert!(read(folder.path())
            .unwrap_err()
            .message()
            .contains("no profile"));
        assert!(find(&[], "nonsense")
            .unwrap_err()
            .message()
            .contains("no profile `nonsense`"));
    }
}
