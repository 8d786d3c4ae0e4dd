// SPDX-License-Identifier: GPL-2.0
//! Which process has which socket: the descriptors in `/proc/PID/fd` name sockets by their inode.

use std::collections::HashMap;
use std::fs;
use std::io;

use crate::host::Host;

/// A process that has a socket.
#[derive(Clone, Debug, PartialEq)]
pub struct Owner {
    /// Its number.
    pub pid: u32,
    /// Its name, as `ps -o comm` has it.
    pub name: String,
    /// The descriptor.
    pub fd: u32,
}

/// The owners of all sockets.
#[derive(Debug, Default)]
pub struct Owners {
    by_inode: HashMap<u64, Vec<Owner>>,
    /// Whether there were processes that may not be looked into.
    pub denied: bool,
}

impl Owners {
    /// Looks through all processes that may be looked into. Those that end meanwhile are left out.
    pub fn find(host: &Host) -> Self {
        let mut owners = Self::default();
        let Ok(processes) = fs::read_dir(host.path("proc")) else {
            return owners;
        };
        for process in processes.flatten() {
            let Some(pid) = process
                .file_name()
                .to_str()
                .and_then(|name| name.parse::<u32>().ok())
            else {
                continue;
            };
            let folder = process.path();
            let descriptors = match fs::read_dir(folder.join("fd")) {
                Ok(descriptors) => descriptors,
                Err(error) => {
                    owners.denied |= error.kind() == io::ErrorKind::PermissionDenied;
                    continue;
                }
            };
            // Read when the first socket is found: most processes have none.
            let mut name = None;
            for descriptor in descriptors.flatten() {
                let Some(inode) = fs::read_link(descriptor.path()).ok().and_then(|target| {
                    target
                        .to_str()?
                        .strip_prefix("socket:[")?
                        .strip_suffix(']')?
                        .parse()
                        .ok()
                }) else {
                    continue;
                };
                let Some(fd) = descriptor
                    .file_name()
                    .to_str()
                    .and_then(|fd| fd.parse().ok())
                else {
                    continue;
                };
                let name = name.get_or_insert_with(|| {
                    fs::read_to_string(folder.join("comm"))
                        .unwrap_or_default()
                        .trim_end()
                        .to_string()
                });
                owners.by_inode.entry(inode).or_default().push(Owner {
                    pid,
                    name: name.clone(),
                    fd,
                });
            }
        }
        for of in owners.by_inode.values_mut() {
            of.sort_by_key(|owner| (owner.pid, owner.fd));
        }
        owners
    }

    /// One more.
    #[cfg(test)]
    pub fn add(&mut self, inode: u64, pid: u32, name: &str) {
        let name = name.to_string();
        let owner = Owner { pid, name, fd: 3 };
        self.by_inode.entry(inode).or_default().push(owner);
    }

    /// The owners of a socket.
    pub fn of(&self, inode: u64) -> &[Owner] {
        if inode == 0 {
            return &[];
        }
        self.by_inode.get(&inode).map_or(&[], Vec::as_slice)
    }

    /// `name (pid)` of each process, for people; empty where nobody is known.
    pub fn names(&self, inode: u64) -> String {
        let mut names: Vec<String> = self
            .of(inode)
            .iter()
            .map(|owner| format!("{} ({})", owner.name, owner.pid))
            .collect();
        names.dedup();
        names.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::symlink;

    #[test]
    fn descriptors_name_their_sockets() {
        let folder = tempfile::tempdir().unwrap();
        let host = Host::at(folder.path());
        for (pid, name, targets) in [
            (
                7,
                "nginx",
                &["socket:[100]", "/dev/null", "socket:[200]"][..],
            ),
            (8, "nginx", &["socket:[100]"]),
            (9, "idle", &["pipe:[100]"]),
        ] {
            let fds = host.path(&format!("proc/{pid}/fd"));
            fs::create_dir_all(&fds).unwrap();
            fs::write(host.path(&format!("proc/{pid}/comm")), format!("{name}\n")).unwrap();
            for (fd, target) in targets.iter().enumerate() {
                symlink(target, fds.join(fd.to_string())).unwrap();
            }
        }
        fs::create_dir_all(host.path("proc/self")).unwrap();
        let owners = Owners::find(&host);
        assert_eq!(owners.names(100), "nginx (7), nginx (8)");
        assert_eq!(
            owners.of(200),
            [Owner {
                pid: 7,
                name: "nginx".into(),
                fd: 2
            }]
        );
        assert_eq!(
            (owners.names(300), owners.names(0)),
            (String::new(), String::new())
        );
        assert!(!owners.denied);
    }
}
