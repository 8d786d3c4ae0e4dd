// SPDX-License-Identifier: GPL-2.0
//! A cgroup of the program's own: by it the kernel knows the program, and all that it starts, from others.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use rustix::event::{poll, PollFd, PollFlags, Timespec};

use crate::failure::words;

/// A cgroup below this process's own; it goes with this, if nobody is in it.
pub struct Cgroup(PathBuf);

impl Cgroup {
    /// Makes one.
    pub fn new() -> Result<Cgroup, Error> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let own = fs::read_to_string("/proc/self/cgroup").unwrap_or_default();
        let parent = folder(&mounts, &own).ok_or(Error::NotMounted)?;
        Cgroup::below(&parent, std::process::id())
    }

    /// One with this number. Another with it is of a process that is gone, and was killed: it is removed, if nobody is in it any more.
    fn below(parent: &Path, number: u32) -> Result<Cgroup, Error> {
        let mut path = parent.join(format!("oxtcp-run-{number}"));
        let mut taken = 1;
        loop {
            let made = match fs::create_dir(&path) {
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                    fs::remove_dir(&path).and_then(|()| fs::create_dir(&path))
                }
                made => made,
            };
            match made {
                Ok(()) => return Ok(Cgroup(path)),
                // Programs that were left behind are in it.
                Err(_) if path.exists() && taken < 100 => {
                    taken += 1;
                    path = parent.join(format!("oxtcp-run-{number}-{taken}"));
                }
                Err(error) => return Err(Error::NotMade(path, error)),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// For BPF.
    pub fn open(&self) -> Result<File, Error> {
        File::open(&self.0).map_err(|error| Error::NotMade(self.0.clone(), error))
    }

    /// What [`enter`] takes.
    pub fn door(&self) -> Result<File, Error> {
        let path = self.0.join("cgroup.procs");
        let file = File::options().write(true).open(&path);
        file.map_err(|error| Error::NotMade(path, error))
    }

    /// Whether a process is in it.
    fn has_processes(&self) -> io::Result<bool> {
        let text = fs::read_to_string(self.0.join("cgroup.events"))?;
        Ok(text.lines().any(|line| line == "populated 1"))
    }

    /// Whether no process is in it within a moment. The kernel takes a process that has ended out of it a little after its parent
    /// is told.
    pub fn is_empty_soon(&self) -> io::Result<bool> {
        let until = Instant::now() + Duration::from_millis(200);
        while self.has_processes()? {
            if Instant::now() >= until {
                return Ok(false);
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(true)
    }

    /// Waits until no process is in it, or it is enough.
    pub fn wait_until_empty(&self, is_enough: &dyn Fn() -> bool) -> io::Result<()> {
        let events = File::open(self.0.join("cgroup.events"))?;
        // A signal may come just before it is waited.
        let moment = Timespec {
            tv_sec: 0,
            tv_nsec: 500_000_000,
        };
        while self.has_processes()? && !is_enough() {
            // The kernel tells of each change since the file was read or opened; a change in between is told as well.
            let mut fds = [PollFd::from_borrowed_fd(events.as_fd(), PollFlags::PRI)];
            let _ = poll(&mut fds, Some(&moment));
            let mut again = &events;
            io::Seek::rewind(&mut again)?;
            io::read_to_string(again)?;
        }
        Ok(())
    }
}

impl Drop for Cgroup {
    fn drop(&mut self) {
        // With processes in it, it stays.
        let _ = fs::remove_dir(&self.0);
    }
}

/// Moves the calling process into the cgroup whose [`Cgroup::door`] this is. Allocates nothing.
pub fn enter(mut door: &File) -> io::Result<()> {
    door.write_all(b"0")
}

/// The number that the kernel's events have of a cgroup, which is open.
pub fn number(cgroup: &File) -> io::Result<u64> {
    Ok(cgroup.metadata()?.ino())
}

/// Where the root of the hierarchy is, by a process's `mountinfo`.
pub fn root(mounts: &str) -> Option<PathBuf> {
    folder(mounts, "0::/")
}

/// Where a process's cgroup is, by its `mountinfo` and its `cgroup`.
pub fn folder(mounts: &str, own: &str) -> Option<PathBuf> {
    let own = own.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let mount = mounts.lines().find_map(|line| {
        let (mount, file_system) = line.split_once(" - ")?;
        let mut words = mount.split(' ').skip(3);
        let (root, point) = (words.next()?, words.next()?);
        (file_system.starts_with("cgroup2 ") && root == "/").then_some(point)
    })?;
    let mount = Path::new(mount);
    match own {
        "" => Some(mount.into()),
        _ => (own != ".." && !own.starts_with("../") && !own.starts_with('/'))
            .then(|| mount.join(own)),
    }
}

/// Why there is no cgroup.
#[derive(Debug)]
pub enum Error {
    /// No cgroup2 file system, or not the part of it that this process is in.
    NotMounted,
    /// It cannot be made, or used.
    NotMade(PathBuf, io::Error),
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::NotMounted => write!(
                f,
                "finds no cgroup2 file system with its own cgroup.\nMount one: mount -t cgroup2 none /sys/fs/cgroup"
            ),
            Error::NotMade(path, error) => write!(
                f,
                "cannot make the cgroup {}: {}.{}",
                path.display(),
                words(error),
                match error.kind() {
                    io::ErrorKind::PermissionDenied => "\nRun this as root.",
                    io::ErrorKind::ReadOnlyFilesystem =>
                        "\nIt is read-only here, as in most containers: run this on the host, or have cgroups delegated.",
                    _ => "",
                }
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MOUNTS: &str = "22 26 0:20 / /sys rw,nosuid - sysfs sysfs rw\n\
                          29 22 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw\n";

    #[test]
    fn folder_of_the_own_cgroup() {
        let found = |own| folder(MOUNTS, own);
        let session = Path::new("/sys/fs/cgroup/user.slice/session-1.scope");
        assert_eq!(
            found("0::/user.slice/session-1.scope\n").as_deref(),
            Some(session)
        );
        assert_eq!(
            found("4:memory:/x\n0::/\n").as_deref(),
            Some(Path::new("/sys/fs/cgroup/"))
        );
        assert_eq!(found("0::/../other\n"), None);
        assert_eq!(found("0:://etc\n"), None);
        assert_eq!(found("4:memory:/x\n"), None);
        assert_eq!(folder("", "0::/\n"), None);
        let part = MOUNTS.replace("0:26 / ", "0:26 /../x ");
        assert_eq!(folder(&part, "0::/\n"), None);
    }

    #[test]
    fn below_where_one_was_left_behind() {
        let parent = tempfile::tempdir().unwrap();
        let names = || {
            let entries = fs::read_dir(parent.path()).unwrap();
            let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name()).collect();
            names.sort();
            names
        };
        fs::create_dir(parent.path().join("oxtcp-run-7")).unwrap();
        let again = Cgroup::below(parent.path(), 7).unwrap();
        assert_eq!(names(), ["oxtcp-run-7"]);
        // With somebody in it, it cannot be removed.
        fs::create_dir(again.path().join("inside")).unwrap();
        let beside = Cgroup::below(parent.path(), 7).unwrap();
        assert_eq!(names(), ["oxtcp-run-7", "oxtcp-run-7-2"]);
        drop(beside);
        assert_eq!(names(), ["oxtcp-run-7"]);
    }

    #[test]
    fn below_says_what_is_wrong() {
        let parent = tempfile::tempdir().unwrap();
        let missing = Cgroup::below(&parent.path().join("missing"), 7);
        let said = missing.err().unwrap().to_string();
        assert!(
            said.contains("No such file") && !said.contains("root"),
            "{said}"
        );
        let denied = io::Error::from_raw_os_error(libc::EACCES);
        let said = Error::NotMade("x".into(), denied).to_string();
        assert!(said.contains("as root"), "{said}");
    }
}
