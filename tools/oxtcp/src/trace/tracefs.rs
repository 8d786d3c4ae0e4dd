// SPDX-License-Identifier: GPL-2.0
//! A part of the kernel's tracing that is this command's alone (`/sys/kernel/tracing/instances`): it disturbs nobody who traces
//! besides, and goes with the command.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use super::decode::{Decoder, NAMES};
use super::event::Event;
use super::format::{Format, Page};
use super::page::{records, Lost};
use crate::failure::{words, Problem, Result};
use crate::host::Host;

/// Names of instances begin so; the process's number follows.
const PREFIX: &str = "oxtcp-trace-";

/// An instance, with its buffers open. The drop ends it.
pub struct Instance {
    folder: PathBuf,
    layout: Page,
    decoder: Decoder,
    /// What each processor has written, in `trace_pipe_raw`.
    pipes: Vec<File>,
    page: Vec<u8>,
}

impl Instance {
    /// Makes one with `buffer_kb` KB for each processor. Nothing is traced yet.
    pub fn new(host: &Host, buffer_kb: u32) -> Result<Self> {
        let root = mount(host)?;
        if !exists(&root.join("events/oxtcp"))? {
            host.need_module()?;
            return Err(Problem::failed(
                "the module that is loaded has no tracepoints.\nIt is older than this command, or the kernel was built without \
                 CONFIG_EVENT_TRACING; load the module that belongs to this command.",
            ));
        }
        let header = root.join("events/header_page");
        let layout = Page::parse(&read(&header)?).ok_or_else(|| unknown(&header))?;
        let formats = NAMES.iter().map(|name| {
            let path = root.join("events/oxtcp").join(name).join("format");
            Format::parse(&read(&path)?).ok_or_else(|| unknown(&path))
        });
        let decoder = Decoder::new(formats.collect::<Result<Vec<_>>>()?);
        let instances = root.join("instances");
        sweep(&instances);
        let folder = instances.join(format!("{PREFIX}{}", std::process::id()));
        fs::create_dir(&folder).map_err(|error| Problem::io("make", &folder, &error))?;
        let mut instance = Self {
            folder,
            page: vec![0; layout.size()],
            layout,
            decoder,
            pipes: Vec::new(),
        };
        instance.write("trace_clock", "mono")?;
        instance.write("buffer_size_kb", &buffer_kb.to_string())?;
        // What is written is to be had at once, and not when half of the buffer is full.
        instance.write("buffer_percent", "0")?;
        instance.open_pipes()?;
        Ok(instance)
    }

    /// Only what is of this network namespace.
    pub fn restrict(&self, netns: u32) -> Result<()> {
        self.write("events/oxtcp/filter", &format!("netns == {netns}"))
    }

    /// Only what is of the sockets of this cgroup; and what is of no socket, of which no cgroup is told.
    pub fn restrict_to_cgroup(&self, cgroup: u64) -> Result<()> {
        if !self.decoder.tells_cgroup() {
            return Err(Problem::failed(
                "the events do not tell the cgroup of a socket, by which those of one program are known.\n\
                 The kernel was built without CONFIG_SOCK_CGROUP_DATA (CONFIG_CGROUP_BPF), or the module that is loaded is older than this command.\n\
                 Of a whole network namespace: oxtcp trace, with a filter such as 'dport = :80'.",
            ));
        }
        let filter = format!("cgroup == {cgroup} || cookie == 0");
        self.write("events/oxtcp/filter", &filter)
    }

    /// Begins, without the events that are not wanted.
    pub fn begin(&self, unwanted: &[&str]) -> Result<()> {
        // All at once, lest a SYN is told of and not what its listener decides.
        self.write("tracing_on", "0")?;
        for name in NAMES {
            let on = if unwanted.contains(&name) { "0" } else { "1" };
            self.write(&format!("events/oxtcp/{name}/enable"), on)?;
        }
        self.write("tracing_on", "1")
    }

    /// Nothing more is written; what was can be read. When the module has been unloaded meanwhile, that was so already.
    pub fn end(&self) -> Result<()> {
        self.write("tracing_on", "0")?;
        match exists(&self.folder.join("events/oxtcp"))? {
            true => self.write("events/oxtcp/enable", "0"),
            false => Ok(()),
        }
    }

    /// What says that there is something to read.
    pub fn pipes(&self) -> impl Iterator<Item = BorrowedFd<'_>> {
        self.pipes.iter().map(AsFd::as_fd)
    }

    /// Reads all that there is, processor by processor: each one's is in order.
    pub fn read(&mut self, events: &mut Vec<Event>, lost: &mut dyn FnMut(Lost)) -> Result<()> {
        for pipe in &mut self.pipes {
            loop {
                let len = match pipe.read(&mut self.page) {
                    Ok(0) => break,
                    Ok(len) => len,
                    Err(error) => match error.kind() {
                        io::ErrorKind::WouldBlock => break,
                        io::ErrorKind::Interrupted => continue,
                        _ => {
                            return Err(Problem::io(
                                "read",
                                &self.folder.join("per_cpu/*/trace_pipe_raw"),
                                &error,
                            ))
                        }
                    },
                };
                let decoder = &self.decoder;
                match records(&self.page[..len], &self.layout, |time, bytes| {
                    events.extend(decoder.decode(time, bytes));
                }) {
                    Lost::Nothing => {}
                    missed => lost(missed),
                }
            }
        }
        Ok(())
    }

    fn open_pipes(&mut self) -> Result<()> {
        let cpus = self.folder.join("per_cpu");
        let entries = fs::read_dir(&cpus).map_err(|error| Problem::io("read", &cpus, &error))?;
        for entry in entries.flatten() {
            let path = entry.path().join("trace_pipe_raw");
            let pipe = OpenOptions::new()
                .read(true)
                .custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC)
                .open(&path)
                .map_err(|error| Problem::io("open", &path, &error))?;
            self.pipes.push(pipe);
        }
        Ok(())
    }

    fn write(&self, file: &str, text: &str) -> Result<()> {
        let path = self.folder.join(file);
        fs::write(&path, text).map_err(|error| Problem::io("write", &path, &error))
    }
}

impl Drop for Instance {
    fn drop(&mut self) {
        let _ = self.end();
        self.pipes.clear();
        if let Err(error) = fs::remove_dir(&self.folder) {
            say!(
                "oxtcp: cannot remove {}: {}. `rmdir` does, when nobody looks into it any more.",
                self.folder.display(),
                words(&error)
            );
        }
    }
}

/// Where tracing is to be had.
fn mount(host: &Host) -> Result<PathBuf> {
    for path in ["sys/kernel/tracing", "sys/kernel/debug/tracing"] {
        let root = host.path(path);
        if exists(&root.join("instances"))? {
            return Ok(root);
        }
    }
    Err(Problem::failed(
        "the kernel's tracing is not to be had at /sys/kernel/tracing.\nMount it (as root): mount -t tracefs tracefs /sys/kernel/tracing; \
         if that is refused the kernel was built without CONFIG_FTRACE, or this is a container, and tracing is the host's.",
    ))
}

/// Whether it is there. Who may not look is told so.
fn exists(path: &Path) -> Result<bool> {
    match fs::metadata(path) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(Problem::io("look into", path, &error)),
    }
}

/// In large pieces: of `header_page` only the first read gives anything.
fn read(path: &Path) -> Result<String> {
    let mut piece = vec![0; 64 * 1024];
    let mut bytes = Vec::new();
    let mut read = || -> io::Result<()> {
        let mut file = File::open(path)?;
        loop {
            match file.read(&mut piece)? {
                0 => return Ok(()),
                len => bytes.extend(&piece[..len]),
            }
        }
    };
    read().map_err(|error| Problem::io("read", path, &error))?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn unknown(path: &Path) -> Problem {
    Problem::failed(format!(
        "{} has not the form that this command knows.\nIs the kernel newer than the command?",
        path.display()
    ))
}

/// Removes what commands have left behind that were killed.
fn sweep(instances: &Path) {
    let Ok(entries) = fs::read_dir(instances) else {
        return;
    };
    for entry in entries.flatten() {
        let name = entry.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.strip_prefix(PREFIX)) else {
            continue;
        };
        if !Path::new("/proc").join(pid).exists() {
            let _ = fs::remove_dir(entry.path());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn new_says_what_is_not_there() {
        let root = tempfile::tempdir().unwrap();
        let host = Host::at(root.path());
        let say = |host: &Host| Instance::new(host, 64).err().unwrap().to_string();
        assert!(say(&host).contains("mount -t tracefs"), "{}", say(&host));
        let tracing = root.path().join("sys/kernel/tracing");
        fs::create_dir_all(tracing.join("instances")).unwrap();
        assert!(say(&host).contains("is not loaded"), "{}", say(&host));
        fs::create_dir_all(root.path().join("sys/module/oxtcp")).unwrap();
        assert!(say(&host).contains("no tracepoints"), "{}", say(&host));
        fs::create_dir_all(tracing.join("events/oxtcp")).unwrap();
        assert!(say(&host).contains("header_page"), "{}", say(&host));
        // Nothing was made.
        assert_eq!(fs::read_dir(tracing.join("instances")).unwrap().count(), 0);
    }

    #[test]
    fn sweep_removes_what_is_left_behind() {
        let root = tempfile::tempdir().unwrap();
        let own = format!("{PREFIX}{}", std::process::id());
        for name in [
            "other",
            "oxtcp-trace-4194999",
            own.as_str(),
            "oxtcp-trace-x",
        ] {
            fs::create_dir(root.path().join(name)).unwrap();
        }
        sweep(root.path());
        let mut left: Vec<_> = fs::read_dir(root.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        left.sort();
        assert_eq!(left, ["other", own.as_str()]);
    }
}
