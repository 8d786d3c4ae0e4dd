// SPDX-License-Identifier: GPL-2.0
//! Where the kernel and the system keep what the commands read and write. Tests give folders of their own.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use crate::failure::{Problem, Result};

/// The system's folders, as they are seen from one network namespace.
#[derive(Clone, Debug)]
pub struct Host {
    root: PathBuf,
}

impl Host {
    /// This system, in the namespace that the process is in.
    pub fn here() -> Self {
        Self { root: "/".into() }
    }

    /// A copy of a system's folders.
    #[cfg(test)]
    pub fn at(root: &Path) -> Self {
        Self { root: root.into() }
    }

    /// A path of the system, given without the slash that it begins with.
    pub fn path(&self, path: &str) -> PathBuf {
        self.root.join(path)
    }

    /// A sysctl's file, `name` with slashes or dots.
    pub fn sysctl(&self, name: &str) -> PathBuf {
        self.path("proc/sys").join(name.replace('.', "/"))
    }

    /// The text of a sysctl without the line's end; `None` where there is none of this name.
    pub fn sysctl_value(&self, name: &str) -> Result<Option<String>> {
        let path = self.sysctl(name);
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Some(text.trim().to_string())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(Problem::io("read", &path, &error)),
        }
    }

    /// A number out of a file; `None` where the file is not there or holds none.
    pub fn number(&self, path: &str) -> Option<u64> {
        fs::read_to_string(self.path(path))
            .ok()?
            .trim()
            .parse()
            .ok()
    }

    /// The module's socket family; `None` where it is not loaded, or for a copy of a system's folders.
    pub fn family(&self) -> Option<u8> {
        if self.root != Path::new("/") {
            return None;
        }
        self.number("sys/module/oxtcp/parameters/family")?
            .try_into()
            .ok()
    }

    /// Whether the module is loaded: it has its settings then, in every namespace.
    pub fn has_module(&self) -> bool {
        self.path("sys/module/oxtcp").exists() || self.sysctl("net/oxtcp").exists()
    }

    /// An error unless the module is loaded.
    pub fn need_module(&self) -> Result<()> {
        if self.has_module() {
            Ok(())
        } else {
            Err(Problem::no_module())
        }
    }
}

/// Replaces a file by another text, at once or not at all: what reads it sees the old or the new one.
pub struct Replacement {
    new: PathBuf,
    path: PathBuf,
}

impl Replacement {
    /// Writes the text beside the file, in a folder that is made when it is not there.
    pub fn prepare(path: &Path, text: &str) -> Result<Self> {
        let folder = path.parent().unwrap_or(Path::new("/"));
        fs::create_dir_all(folder).map_err(|error| Problem::io("make", folder, &error))?;
        let mut name = std::ffi::OsString::from(".");
        name.push(path.file_name().unwrap_or_default());
        name.push(format!(".{}", std::process::id()));
        let replacement = Self {
            new: folder.join(name),
            path: path.into(),
        };
        let write = || -> io::Result<()> {
            let mut file = fs::File::create(&replacement.new)?;
            io::Write::write_all(&mut file, text.as_bytes())?;
            file.sync_all()
        };
        write().map_err(|error| Problem::io("write", &replacement.new, &error))?;
        Ok(replacement)
    }

    /// Puts it in the file's place.
    pub fn commit(self) -> Result<()> {
        fs::rename(&self.new, &self.path).map_err(|error| Problem::io("write", &self.path, &error))
    }
}

impl Drop for Replacement {
    fn drop(&mut self) {
        // After `commit` there is none of this name.
        let _ = fs::remove_file(&self.new);
    }
}
