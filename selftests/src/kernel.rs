// SPDX-License-Identifier: GPL-2.0
//! The kernel around the tests: its warnings, its log, its modules, its memory.

use std::collections::BTreeMap;
use std::collections::BTreeSet;
use std::ffi::CString;
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::fd::AsRawFd;
use std::path::PathBuf;

use crate::errno::check;

/// Bits of /proc/sys/kernel/tainted that mean trouble (Documentation/admin-guide/tainted-kernels.rst).
const TROUBLE: &[(u32, &str)] = &[
    (5, "bad page"),
    (7, "oops or BUG"),
    (9, "warning"),
    (14, "soft lockup"),
];

/// What has gone wrong in this kernel so far.
pub fn trouble() -> BTreeSet<&'static str> {
    let bits: u64 = fs::read_to_string("/proc/sys/kernel/tainted")
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .unwrap_or(0);
    TROUBLE
        .iter()
        .filter(|(bit, _)| (bits >> bit) & 1 == 1)
        .map(|(_, what)| *what)
        .collect()
}

/// What every thread of a process waits for, for the report on a hung test.
pub fn stacks_of(pid: i32) -> String {
    let mut text = String::new();
    let Ok(threads) = fs::read_dir(format!("/proc/{pid}/task")) else {
        return text;
    };
    for thread in threads.flatten() {
        let read = |file: &str| fs::read_to_string(thread.path().join(file)).unwrap_or_default();
        text += &format!(
            "thread {}: syscall {}",
            thread.file_name().to_string_lossy(),
            read("syscall")
        );
        text += &read("stack");
    }
    text
}

/// The module's file: OXTCP_MODULE, or the newest one where this source tree puts it.
pub fn module_file() -> Option<PathBuf> {
    std::env::var_os("OXTCP_MODULE")
        .map(PathBuf::from)
        .filter(|path| path.exists())
}

pub fn module_loaded() -> bool {
    fs::metadata("/sys/module/oxtcp/initstate").is_ok()
}

/// Loads oxtcp as insmod does.
pub fn load_module(parameters: &str) -> io::Result<()> {
    let file = fs::File::open(module_file().ok_or(io::ErrorKind::NotFound)?)?;
    let parameters = CString::new(parameters)?;
    // SAFETY: an open file and a C string.
    let result = unsafe {
        libc::syscall(
            libc::SYS_finit_module,
            file.as_raw_fd(),
            parameters.as_ptr(),
            0,
        )
    };
    check(result as i32).map(drop)
}

/// Unloads oxtcp as rmmod does: without waiting for its users.
pub fn unload_module() -> io::Result<()> {
    // SAFETY: a C string.
    let result =
        unsafe { libc::syscall(libc::SYS_delete_module, c"oxtcp".as_ptr(), libc::O_NONBLOCK) };
    check(result as i32).map(drop)
}

/// The kernel log, from some message on.
pub struct Log(fs::File);

impl Log {
    /// The log from its oldest message on.
    pub fn whole() -> io::Result<Log> {
        use std::os::unix::fs::OpenOptionsExt;
        let file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")?;
        Ok(Log(file))
    }

    /// The log from now on.
    pub fn from_here() -> io::Result<Log> {
        use std::io::{Seek, SeekFrom};
        use std::os::unix::fs::OpenOptionsExt;
        let mut file = fs::OpenOptions::new()
            .read(true)
            .custom_flags(libc::O_NONBLOCK)
            .open("/dev/kmsg")?;
        file.seek(SeekFrom::End(0))?;
        Ok(Log(file))
    }

    /// The messages that came since the last call.
    pub fn read(&mut self) -> Vec<String> {
        use std::io::Read;
        let mut lines = Vec::new();
        let mut record = [0; 8192];
        loop {
            match self.0.read(&mut record) {
                Ok(count) => {
                    let text = String::from_utf8_lossy(&record[..count]);
                    if let Some((_, message)) = text.split_once(';') {
                        lines.extend(message.lines().next().map(str::to_string));
                    }
                }
                // EPIPE: the ring was overrun; the next read goes on behind the gap.
                Err(error) if error.raw_os_error() == Some(libc::EPIPE) => {}
                Err(_) => return lines,
            }
        }
    }
}

/// A line of /proc/meminfo, in KiB.
pub fn meminfo(name: &str) -> u64 {
    let text = fs::read_to_string("/proc/meminfo").unwrap_or_default();
    text.lines()
        .find_map(|line| {
            line.strip_prefix(name)?
                .strip_prefix(':')?
                .split_whitespace()
                .next()?
                .parse()
                .ok()
        })
        .unwrap_or(0)
}

/// Gives back what the kernel only keeps at hand: page cache, empty slabs, and what KASAN holds in quarantine (some 60 MB, which
/// shrinking a cache empties of its objects).
pub fn give_memory_back() {
    Slabs::open().shrink();
}

/// Active objects of a slab cache, from /proc/slabinfo; `None` when the cache is not listed.
pub fn slab_objects(cache: &str) -> Option<u64> {
    let text = fs::read_to_string("/proc/slabinfo").ok()?;
    text.lines().find_map(|line| {
        let mut words = line.split_whitespace();
        (words.next()? == cache).then(|| words.next()?.parse().ok())?
    })
}

/// The slab caches, by open files: to open one takes objects of them, and each of these has its cache put more at hand.
pub struct Slabs {
    shrinks: Vec<File>,
    info: File,
}

impl Slabs {
    pub fn open() -> Slabs {
        let shrinks = fs::read_dir("/sys/kernel/slab").expect("/sys/kernel/slab");
        // A link is one more name of a cache.
        let shrinks = shrinks
            .flatten()
            .filter(|cache| cache.file_type().is_ok_and(|kind| kind.is_dir()));
        Slabs {
            shrinks: shrinks
                .filter_map(|cache| File::create(cache.path().join("shrink")).ok())
                .collect(),
            info: File::open("/proc/slabinfo").expect("/proc/slabinfo"),
        }
    }

    /// Gives back what they keep at hand, the page cache, and the memory of dentries and inodes that nobody uses.
    pub fn shrink(&mut self) {
        // 4: from then on without a line in the log, which would push out all others.
        let _ = fs::write("/proc/sys/vm/drop_caches", "7");
        for shrink in &mut self.shrinks {
            let _ = shrink.write_all(b"1");
        }
    }

    /// The bytes of all objects of each cache, by their names.
    pub fn bytes(&mut self) -> BTreeMap<String, u64> {
        let mut text = String::new();
        self.info.rewind().expect("/proc/slabinfo");
        self.info.read_to_string(&mut text).expect("/proc/slabinfo");
        let bytes = text.lines().skip(2).map(|line| {
            let mut words = line.split_whitespace();
            let (name, active, _all, size) = (
                words.next()?,
                words.next()?.parse::<u64>().ok()?,
                words.next()?,
                words.next()?.parse::<u64>().ok()?,
            );
            Some((name.to_string(), active * size))
        });
        bytes
            .map(|bytes| bytes.unwrap_or_else(|| panic!("{text}")))
            .collect()
    }
}

/// What an object takes of a slab cache, in bytes.
pub fn slab_size(cache: &str) -> Option<u64> {
    fs::read_to_string(format!("/sys/kernel/slab/{cache}/slab_size"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// The size of a small object that the module told when it was loaded: "... bytes of a connection 1600 (IPv6 1600), half-open 120, TIME-WAIT 120".
/// `None` when the log has lost that message.
pub fn told_size(name: &str) -> Option<u64> {
    let lines = Log::whole().ok()?.read();
    let line = lines
        .iter()
        .rev()
        .find(|line| line.contains("oxtcp") && line.contains("bytes of a connection"))?;
    let (_, rest) = line.split_once(name)?;
    rest.split_whitespace()
        .next()?
        .trim_matches(',')
        .parse()
        .ok()
}

/// An object's size in a slab cache, in bytes, without the allocator's own overhead.
pub fn slab_object_size(cache: &str) -> Option<u64> {
    fs::read_to_string(format!("/sys/kernel/slab/{cache}/object_size"))
        .ok()?
        .trim()
        .parse()
        .ok()
}

/// Names of the slab caches that begin so.
pub fn slabs_named(prefix: &str) -> Vec<String> {
    let Ok(caches) = fs::read_dir("/sys/kernel/slab") else {
        return Vec::new();
    };
    let mut names: Vec<String> = caches
        .flatten()
        .map(|cache| cache.file_name().to_string_lossy().into_owned())
        .filter(|name| name.starts_with(prefix))
        .collect();
    names.sort();
    names
}
