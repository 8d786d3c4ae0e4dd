// SPDX-License-Identifier: GPL-2.0
//! The preload library: where it is, and how it goes into `LD_PRELOAD`.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

/// The library's absolute path: `$OXTCP_PRELOAD`, else beside this command, in `../lib/oxtcp`, or in
/// `/usr/lib/oxtcp`. Where the variable is set, no other place is tried.
pub fn find() -> Result<PathBuf, Error> {
    let places = match env::var_os("OXTCP_PRELOAD").filter(|value| !value.is_empty()) {
        Some(given) => vec![PathBuf::from(given)],
        None => usual_places(env::current_exe().ok().as_deref()),
    };
    let found = places
        .iter()
        .find(|place| place.is_file())
        .and_then(|place| place.canonicalize().ok());
    let path = found.ok_or(Error::NotFound(places))?;
    // ld.so(8): "The items of the list can be separated by spaces or colons, and there is no support for
    // escaping either separator"; `$ORIGIN` and its like are expanded.
    if path
        .as_os_str()
        .as_bytes()
        .iter()
        .any(|byte| b": $".contains(byte))
    {
        return Err(Error::Unspeakable(path));
    }
    Ok(path)
}

fn usual_places(command: Option<&Path>) -> Vec<PathBuf> {
    let beside = command.and_then(Path::parent);
    let mut places: Vec<PathBuf> = beside
        .into_iter()
        .flat_map(|dir| [dir.join(NAME), dir.join("../lib/oxtcp").join(NAME)])
        .collect();
    places.push(Path::new("/usr/lib/oxtcp").join(NAME));
    places
}

/// The value of `LD_PRELOAD` with our library in it, last: what the user preloads keeps its precedence
/// (a sanitizer's runtime insists on being first), and ours stands directly before the C library.
/// A list that has it already, as in `oxtcp run` under `oxtcp run`, stays as it is.
pub fn merge(existing: Option<&OsStr>, library: &Path) -> OsString {
    let mut items: Vec<&[u8]> = existing
        .map_or(&b""[..], OsStr::as_bytes)
        .split(|byte| b": ".contains(byte))
        .filter(|item| !item.is_empty())
        .collect();
    let ours = library.as_os_str().as_bytes();
    if !items.contains(&ours) {
        items.push(ours);
    }
    OsStr::from_bytes(&items.join(&b':')).to_os_string()
}

const NAME: &str = "liboxtcp_preload.so";

/// Why there is no library to preload.
#[derive(Debug)]
pub enum Error {
    /// In none of these places.
    NotFound(Vec<PathBuf>),
    /// Its path cannot stand in `LD_PRELOAD`.
    Unspeakable(PathBuf),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotFound(places) => {
                write!(f, "cannot find the library {NAME}. Looked for:")?;
                for place in places {
                    write!(f, "\n  {}", place.display())?;
                }
                write!(f, "\nInstall it in one of these places, or name it: OXTCP_PRELOAD=/path/to/{NAME}")
            }
            Error::Unspeakable(path) => write!(
                f,
                "cannot preload {}: LD_PRELOAD cannot hold a path with a colon, a space or a dollar sign.\n\
                 Copy the library to another folder and name it: OXTCP_PRELOAD=/path/to/{NAME}",
                path.display()
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn merge_keeps_what_is_there() {
        let ours = Path::new("/opt/liboxtcp_preload.so");
        for (existing, merged) in [
            (None, "/opt/liboxtcp_preload.so"),
            (Some(""), "/opt/liboxtcp_preload.so"),
            (Some("libasan.so"), "libasan.so:/opt/liboxtcp_preload.so"),
            (
                Some("a.so b.so:c.so"),
                "a.so:b.so:c.so:/opt/liboxtcp_preload.so",
            ),
            (Some("::a.so: "), "a.so:/opt/liboxtcp_preload.so"),
            (
                Some("/opt/liboxtcp_preload.so:a.so"),
                "/opt/liboxtcp_preload.so:a.so",
            ),
            (
                Some("/old/liboxtcp_preload.so"),
                "/old/liboxtcp_preload.so:/opt/liboxtcp_preload.so",
            ),
        ] {
            assert_eq!(
                merge(existing.map(OsStr::new), ours),
                merged,
                "{existing:?}"
            );
        }
    }

    #[test]
    fn the_places_are_those_of_the_manual() {
        let places = usual_places(Some(Path::new("/usr/local/bin/oxtcp")));
        assert_eq!(
            places,
            [
                "/usr/local/bin/liboxtcp_preload.so",
                "/usr/local/bin/../lib/oxtcp/liboxtcp_preload.so",
                "/usr/lib/oxtcp/liboxtcp_preload.so"
            ]
            .map(PathBuf::from)
        );
    }
}
