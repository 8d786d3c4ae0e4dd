// SPDX-License-Identifier: GPL-2.0

//! Settings: a script's `net.ipv4.NAME` is that file for the built-in TCP, and `net.oxtcp.NAME` without `tcp_` for
//! oxtcp. What oxtcp has no file for must be something that it does anyhow; which those are, the engine's back end
//! knows.

use std::path::{Path, PathBuf};

use super::Stack;
use crate::engine::settings::{rule, Rule};

/// The file of a setting, in this thread's namespace.
fn path(stack: Stack, name: &str) -> PathBuf {
    let root = Path::new("/proc/sys/net");
    match stack {
        Stack::Builtin => root.join("ipv4").join(name),
        Stack::Oxtcp { .. } => root
            .join("oxtcp")
            .join(name.strip_prefix("tcp_").unwrap_or(name)),
    }
}

/// Sets it.
///
/// # Errors
///
/// Says which value of which setting is not possible.
pub(super) fn set(stack: Stack, name: &str, value: &str) -> Result<(), String> {
    let path = path(stack, name);
    match stack {
        Stack::Oxtcp { .. } if !path.exists() => without_file(name, value),
        _ => std::fs::write(&path, value)
            .map_err(|error| format!("sysctl {name}={value}: {}: {error}", path.display())),
    }
}

/// Its value.
pub(super) fn get(stack: Stack, name: &str) -> Option<String> {
    match std::fs::read_to_string(path(stack, name)) {
        Ok(text) => Some(text.trim().to_string()),
        Err(_) if stack == Stack::Builtin => None,
        Err(_) => match rule(name)? {
            Rule::Always(values) => values.first().map(|value| value.to_string()),
            Rule::Irrelevant => Some("0".into()),
            _ => None,
        },
    }
}

/// What is set where oxtcp has no file.
fn without_file(name: &str, value: &str) -> Result<(), String> {
    match rule(name) {
        Some(Rule::Always(values)) if values.contains(&value) => Ok(()),
        Some(Rule::Irrelevant) => Ok(()),
        _ => Err(format!("sysctl {name}={value} has no counterpart")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn path__of_both() {
        let ours = path(Stack::Oxtcp { family: 19 }, "tcp_rmem");
        assert_eq!(ours, Path::new("/proc/sys/net/oxtcp/rmem"));
        let builtin = path(Stack::Builtin, "tcp_rmem");
        assert_eq!(builtin, Path::new("/proc/sys/net/ipv4/tcp_rmem"));
    }

    #[test]
    fn without_file__only_what_is_so_anyhow() {
        assert_eq!(without_file("tcp_congestion_control", "cubic"), Ok(()));
        assert_eq!(without_file("tcp_fack", "0"), Ok(()));
        let error = without_file("tcp_congestion_control", "reno").unwrap_err();
        assert_eq!(
            error,
            "sysctl tcp_congestion_control=reno has no counterpart"
        );
        // The engine's back end has these as fields; the module must have them as files.
        assert!(without_file("tcp_sack", "1").is_err());
        assert!(without_file("tcp_nothing", "1").is_err());
    }
}
