// SPDX-License-Identifier: GPL-2.0
//! What goes wrong: words that say what happened and what to do, and the exit code that stands for it.

use std::fmt;
use std::io;
use std::path::Path;

/// An error that says what happened and what to do, and the exit code that stands for it.
pub trait Failure: fmt::Display {
    /// The exit code.
    fn exit_code(&self) -> u8;
}

/// Why a command did not do what it was asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem {
    exit_code: u8,
    message: String,
}

/// The result of a command.
pub type Result<T> = std::result::Result<T, Problem>;

impl Problem {
    /// A file or a system call failed.
    pub const FAILED: u8 = 1;
    /// What was asked for is wrong: a name, a value, a filter, a profile. As clap's for its part.
    pub const USAGE: u8 = 2;
    /// The caller lacks the privilege.
    pub const DENIED: u8 = 4;
    /// The module is not loaded. As `oxtcp run`'s.
    pub const NO_MODULE: u8 = 125;

    /// Something that the caller cannot help.
    pub fn failed(message: impl Into<String>) -> Self {
        Self {
            exit_code: Self::FAILED,
            message: message.into(),
        }
    }

    /// Something that the caller may not do.
    pub fn denied(message: impl Into<String>) -> Self {
        Self {
            exit_code: Self::DENIED,
            message: message.into(),
        }
    }

    /// Something that the caller is to say otherwise.
    pub fn usage(message: impl Into<String>) -> Self {
        Self {
            exit_code: Self::USAGE,
            message: message.into(),
        }
    }

    /// The module is not there.
    pub fn no_module() -> Self {
        Self {
            exit_code: Self::NO_MODULE,
            message: "the kernel module oxtcp is not loaded.\n\
                      Load it (as root: `modprobe oxtcp`, or `insmod oxtcp.ko` from a build tree) and run this again."
                .into(),
        }
    }

    /// A file that could not be read or written: `doing` is "read" and the like.
    pub fn io(doing: &str, path: &Path, error: &io::Error) -> Self {
        let denied = matches!(
            error.kind(),
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem
        );
        let advice = match error.kind() {
            io::ErrorKind::PermissionDenied => "\nRun this as root (sudo oxtcp ...).",
            io::ErrorKind::ReadOnlyFilesystem => {
                "\nIt is read-only here, as in most containers: run this on the host, with --netns for the container's namespace."
            }
            _ => "",
        };
        Self {
            exit_code: if denied { Self::DENIED } else { Self::FAILED },
            message: format!(
                "cannot {doing} {}: {}.{advice}",
                path.display(),
                words(error)
            ),
        }
    }

    /// The same, with more said at its end.
    #[must_use]
    pub fn and(mut self, more: &str) -> Self {
        self.message += more;
        self
    }

    /// The message.
    #[cfg(test)]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl Failure for Problem {
    fn exit_code(&self) -> u8 {
        self.exit_code
    }
}

/// The system's words for an error, without Rust's "(os error 2)".
pub fn words(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or(&text).to_string()
}
