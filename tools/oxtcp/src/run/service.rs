// SPDX-License-Identifier: GPL-2.0
//! systemd's services, and where their cgroups are: below slices, whose names end with `.slice`, a folder with the service's name.

use std::fmt;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

use super::bpf::fence::DEPTH;
use super::cgroup;
use crate::failure::words;

/// A service.
#[derive(Clone, Debug, PartialEq)]
pub struct Service {
    /// As `nginx.service`.
    name: String,
}

impl Service {
    /// Of this name, with or without `.service`.
    pub fn new(given: &str) -> Result<Self, Error> {
        const OTHERS: [&str; 10] = [
            "socket",
            "device",
            "mount",
            "automount",
            "swap",
            "target",
            "path",
            "timer",
            "slice",
            "scope",
        ];
        let wrong = |why| Err(Error::Name(given.into(), why));
        let allowed = |c: char| c.is_ascii_alphanumeric() || ":-_.\\@".contains(c);
        if given.is_empty() || !given.chars().all(allowed) {
            return wrong("names of services have letters, digits, and :-_.\\@ (systemd-escape makes others of these)");
        }
        if given
            .rsplit_once('.')
            .is_some_and(|(_, kind)| OTHERS.contains(&kind))
        {
            return wrong("that is no service: name the one that opens the sockets");
        }
        let bare = given.strip_suffix(".service").unwrap_or(given);
        match bare.strip_suffix('@') {
            _ if bare.is_empty() => return wrong("it has no name"),
            Some(_) => return wrong("that is a template: name an instance, as in getty@tty1"),
            None => {}
        }
        let name = format!("{bare}.service");
        // UNIT_NAME_MAX of systemd, and NAME_MAX with a byte in front.
        match name.len() {
            0..=254 => Ok(Self { name }),
            _ => wrong("it is too long"),
        }
    }

    /// As `nginx.service`.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// What its cgroup's folder may be called. systemd puts `_` before a name that could be a file of the kernel's there, as
    /// `cpu.service`; which ones these are depends on its version. No other service has either.
    pub fn folders(&self) -> Vec<String> {
        let escaped = format!("_{}", self.name);
        match self.name.starts_with(['_', '.']) {
            true => vec![escaped],
            false => vec![self.name.clone(), escaped],
        }
    }

    /// Whether systemd knows it; `None` where systemd is not there to be asked.
    pub fn is_known(&self) -> Option<bool> {
        // As sd_booted(3).
        if !Path::new("/run/systemd/system").is_dir() {
            return None;
        }
        let shown = Command::new("systemctl")
            .args(["show", "--property=LoadState", "--", &self.name])
            .stdin(Stdio::null())
            .stderr(Stdio::null())
            .output()
            .ok()?;
        let text = String::from_utf8_lossy(&shown.stdout);
        let state = text.trim().strip_prefix("LoadState=")?;
        Some(state != "not-found")
    }
}

/// The hierarchy of cgroups, from its root.
pub struct Tree(PathBuf);

impl Tree {
    /// Where it is mounted.
    pub fn find() -> Result<Self, Error> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let root = cgroup::root(&mounts).ok_or(Error::NoCgroups)?;
        // The number of the root's folder; of another's in a namespace of cgroups, where it looks like the root.
        match fs::metadata(&root).map(|found| found.ino()) {
            Ok(1) => Ok(Self(root)),
            Ok(_) => Err(Error::Namespace),
            Err(_) => Err(Error::NoCgroups),
        }
    }

    /// The root's folder.
    pub fn root(&self) -> &Path {
        &self.0
    }

    /// The root and all slices: in one of them a service's cgroup comes.
    pub fn slices(&self) -> Vec<PathBuf> {
        let mut found = vec![self.0.clone()];
        let mut next = 0;
        while let Some(folder) = found.get(next) {
            next += 1;
            let depth = folder.components().count() - self.0.components().count();
            let Ok(entries) = fs::read_dir(folder) else {
                continue;
            };
            let slices = entries.flatten().filter(|entry| {
                let name = entry.file_name();
                let name = name.as_encoded_bytes();
                name.len() > 6 && name.ends_with(b".slice")
            });
            if depth + 1 < DEPTH as usize {
                found.extend(slices.map(|entry| entry.path()));
            }
        }
        found
    }

    /// The service's cgroup, if it is there.
    pub fn cgroup_of(&self, service: &Service) -> Option<PathBuf> {
        let folders = service.folders();
        let slices = self.slices().into_iter();
        let mut paths =
            slices.flat_map(|slice| folders.iter().map(move |folder| slice.join(folder)));
        paths.find(|path| path.is_dir())
    }
}

/// The processes in a cgroup, and in those below.
pub fn processes(cgroup: &Path) -> Vec<u32> {
    let text = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    let mut found: Vec<u32> = text.lines().filter_map(|line| line.parse().ok()).collect();
    for entry in fs::read_dir(cgroup).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.extend(processes(&entry.path()));
        }
    }
    found
}

/// Why a service's sockets cannot be moved.
#[derive(Debug)]
pub enum Error {
    /// No service has this name, and why.
    Name(String, &'static str),
    /// No cgroup2 file system.
    NoCgroups,
    /// A part of it alone.
    Namespace,
    /// systemd has no such service.
    Unknown(String),
    /// It does not run, and nobody says whether it ever will.
    NotThere(String, PathBuf),
    /// A sample could not be made in a cgroup.
    Sample(io::Error),
    /// It was made, and not moved.
    NotMoved,
}

impl Error {
    /// Whether what was asked for cannot be.
    pub fn is_usage(&self) -> bool {
        matches!(self, Error::Name(..))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Name(name, why) => write!(f, "--service {name}: {why}."),
            Error::NoCgroups => f.write_str(
                "finds no cgroup2 file system, by which services are told, and in which sockets are counted.\nMount one: mount -t cgroup2 none /sys/fs/cgroup",
            ),
            Error::Namespace => f.write_str(
                "sees a part of the cgroups alone, as in most containers, and services are told by all of a cgroup's path.\nRun this on the host.",
            ),
            Error::Unknown(name) => write!(
                f,
                "systemd knows no service {name}.\nThose that it knows: systemctl list-unit-files --type=service"
            ),
            Error::NotThere(name, root) => write!(
                f,
                "there is no service {name} below {}, and no systemd to say whether there will be.\n\
                 Start it before this; or, where it is no systemd's service, run its program by `oxtcp run`, or use --system.",
                root.display()
            ),
            Error::Sample(error) => write!(
                f,
                "cannot open a socket in a cgroup, to see that sockets are moved: {}.\nRun this as root, on the host.",
                words(error)
            ),
            Error::NotMoved => f.write_str(
                "a socket that was opened to see that sockets are moved was not.\nThis kernel does not do what BPF needs here; `oxtcp run PROGRAM` may work.",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_takes_names_of_services() {
        let name = |given| Service::new(given).map(|service| service.name().to_string());
        for (given, whole) in [
            ("nginx", "nginx.service"),
            ("nginx.service", "nginx.service"),
            ("getty@tty1", "getty@tty1.service"),
            ("php8.4-fpm", "php8.4-fpm.service"),
            ("a\\x2db", "a\\x2db.service"),
        ] {
            assert_eq!(name(given).unwrap(), whole);
        }
        let long = "x".repeat(250);
        for given in [
            "",
            ".service",
            "getty@",
            "getty@.service",
            "ssh.socket",
            "user.slice",
            "a/b",
            "a b",
            &long,
        ] {
            let error = name(given).unwrap_err();
            assert!(error.is_usage() && !error.to_string().is_empty());
        }
    }

    #[test]
    fn folders_as_systemd_escapes() {
        let folders = |given| Service::new(given).unwrap().folders();
        assert_eq!(folders("cpu"), ["cpu.service", "_cpu.service"]);
        assert_eq!(folders("_x"), ["__x.service"]);
        assert_eq!(folders(".x"), ["_.x.service"]);
    }

    #[test]
    fn cgroup_of_is_below_slices_alone() {
        let root = tempfile::tempdir().unwrap();
        let tree = Tree(root.path().to_path_buf());
        let x = Service::new("x").unwrap();
        for place in [
            "user.slice/user@1.service/app.slice/x.service",
            "machine.slice/y.scope/system.slice/x.service",
            "x.service.d",
        ] {
            fs::create_dir_all(root.path().join(place)).unwrap();
            assert_eq!(tree.cgroup_of(&x), None, "{place}");
        }
        let nested = root.path().join("system.slice/system-a.slice/x.service");
        fs::create_dir_all(&nested).unwrap();
        assert_eq!(tree.cgroup_of(&x), Some(nested));
    }
}
