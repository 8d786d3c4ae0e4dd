// SPDX-License-Identifier: GPL-2.0

//! Scripts of a folder, each in the variants that it is meant for.

use std::path::{Path, PathBuf};

use crate::engine::Engine;
use crate::run::{run, versions, Failure, FailureKind, IpVersion, Settings, Verdict, WHEEL_SHARE};
use crate::script::{parse, Script};
use crate::socket::{self, Stack};

/// What scripts are run on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bed {
    /// The engine, in virtual time.
    Engine,
    /// System calls on the kernel that this program runs on.
    Socket(Stack),
}

/// A script of a folder.
pub struct Case {
    /// Its name without `.pkt`.
    pub name: String,
    /// Its text.
    pub text: String,
    /// Its folder.
    pub folder: PathBuf,
}

impl Case {
    /// Reads a script.
    ///
    /// # Errors
    ///
    /// Says what cannot be read.
    pub fn read(path: &Path) -> Result<Case, String> {
        let text = std::fs::read_to_string(path)
            .map_err(|error| format!("{}: {error}", path.display()))?;
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let folder = path.parent().unwrap_or(Path::new(".")).to_path_buf();
        Ok(Case {
            name: name.into_owned(),
            text,
            folder,
        })
    }

    /// The variants that the script is meant for.
    ///
    /// # Errors
    ///
    /// What of the script is not known.
    pub fn versions(&self) -> Result<Vec<IpVersion>, Failure> {
        let settings = Settings::new(IpVersion::V4);
        let script = self.parse(&settings)?;
        versions(&script).map_err(|(line, what)| unsupported(line, what))
    }

    /// The script for `settings`.
    ///
    /// # Errors
    ///
    /// What of the script is not known.
    pub fn parse(&self, settings: &Settings) -> Result<Script, Failure> {
        parse(&self.text, &settings.defines).map_err(|error| unsupported(error.line, error.what))
    }

    /// Runs a variant.
    pub fn run(&self, bed: Bed, version: IpVersion, tolerance: Option<i64>) -> Verdict {
        match self.prepare(bed, version, tolerance) {
            Ok((script, settings)) => self.run_script(bed, &script, &settings),
            Err(failure) => Verdict::Fail(failure),
        }
    }

    /// The script and its settings.
    ///
    /// # Errors
    ///
    /// What of the script is not known.
    pub fn prepare(
        &self,
        bed: Bed,
        version: IpVersion,
        tolerance: Option<i64>,
    ) -> Result<(Script, Settings), Failure> {
        let mut settings = Settings::new(version);
        let script = self.parse(&settings)?;
        settings.tolerance = tolerance.unwrap_or(settings.tolerance);
        // The engine's deadlines are exact; a kernel's timers are not.
        settings.tolerance_share = match bed {
            Bed::Engine => 0,
            Bed::Socket(_) => WHEEL_SHARE,
        };
        settings
            .apply(&script)
            .map_err(|(line, what)| unsupported(line, what))?;
        Ok((script, settings))
    }

    /// Runs a script, or a mutant of it.
    pub fn run_script(&self, bed: Bed, script: &Script, settings: &Settings) -> Verdict {
        match bed {
            Bed::Engine => {
                let mut engine = Engine::new(settings.version);
                run(script, &self.folder, settings, &mut engine)
            }
            Bed::Socket(stack) => socket::run_script(stack, script, &self.folder, settings),
        }
    }
}

fn unsupported(line: u32, what: String) -> Failure {
    Failure {
        line,
        kind: FailureKind::Unsupported,
        what,
    }
}

/// The scripts of a folder in the order of their names; those that are named, or all.
///
/// # Errors
///
/// Says what cannot be read.
pub fn cases(folder: &Path, names: &[String]) -> Result<Vec<Case>, String> {
    let mut cases = Vec::new();
    if names.is_empty() {
        let entries =
            std::fs::read_dir(folder).map_err(|error| format!("{}: {error}", folder.display()))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.retain(|path| path.extension().is_some_and(|e| e == "pkt"));
        paths.sort();
        for path in paths {
            cases.push(Case::read(&path)?);
        }
    }
    for name in names {
        let name = name.strip_suffix(".pkt").unwrap_or(name);
        cases.push(Case::read(&folder.join(format!("{name}.pkt")))?);
    }
    Ok(cases)
}
