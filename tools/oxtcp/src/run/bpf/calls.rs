// SPDX-License-Identifier: GPL-2.0
//! bpf(2), as far as it is used here: maps, and programs that are put to a function of the kernel's.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::failure::words;

/// What keys and values of maps are made of.
///
/// # Safety
///
/// There is no padding, and any bytes are a value.
pub unsafe trait Plain: Copy {}

// SAFETY: integers.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl<const N: usize> Plain for [u8; N] {}

/// A map of BPF's.
///
/// # Invariants
///
/// Its keys have the size of `K`, its values that of `V`.
pub struct Map<K, V> {
    fd: OwnedFd,
    of: PhantomData<(K, V)>,
}

/// The kinds of maps (`enum bpf_map_type`).
#[derive(Clone, Copy)]
pub enum Kind {
    /// `BPF_MAP_TYPE_HASH`.
    Hash = 1,
    /// `BPF_MAP_TYPE_ARRAY`.
    Array = 2,
    /// `BPF_MAP_TYPE_CGROUP_ARRAY`.
    Cgroups = 8,
    /// `BPF_MAP_TYPE_LRU_HASH`.
    LruHash = 9,
}

impl<K: Plain, V: Plain> Map<K, V> {
    /// Makes one for so many entries.
    pub fn new(kind: Kind, entries: u32) -> io::Result<Self> {
        const BPF_MAP_CREATE: i32 = 0;
        let (key, value) = (size_of::<K>() as u32, size_of::<V>() as u32);
        // Kind, bytes of a key and of a value, how many, flags.
        let attributes = [kind as u32, key, value, entries, 0];
        // SAFETY: it has no pointers, and makes a descriptor. INVARIANT: of these sizes.
        let fd = unsafe { descriptor(BPF_MAP_CREATE, &attributes) }?;
        Ok(Self {
            fd,
            of: PhantomData,
        })
    }

    /// For a program's instructions.
    pub fn number(&self) -> i32 {
        self.fd.as_raw_fd()
    }

    /// Sets an entry.
    pub fn set(&self, key: K, value: V) -> io::Result<()> {
        const BPF_MAP_UPDATE_ELEM: i32 = 2;
        let element = self.element(&raw const key, &raw const value as u64);
        // SAFETY: key and value are read, and have the map's sizes, by the invariant.
        unsafe { bpf(BPF_MAP_UPDATE_ELEM, &element) }.map(drop)
    }

    /// Takes an entry away.
    pub fn remove(&self, key: K) -> io::Result<()> {
        const BPF_MAP_DELETE_ELEM: i32 = 3;
        let element = self.element(&raw const key, 0);
        // SAFETY: the key is read, and has the map's size, by the invariant.
        unsafe { bpf(BPF_MAP_DELETE_ELEM, &element) }.map(drop)
    }

    /// An entry's value.
    pub fn get(&self, key: K) -> io::Result<V> {
        const BPF_MAP_LOOKUP_ELEM: i32 = 1;
        let mut value = MaybeUninit::<V>::uninit();
        let element = self.element(&raw const key, value.as_mut_ptr() as u64);
        // SAFETY: the key is read, the value is written, and both have the map's sizes, by the invariant.
        unsafe { bpf(BPF_MAP_LOOKUP_ELEM, &element) }?;
        // SAFETY: the call has succeeded, and so has written all of it; any bytes are a value.
        Ok(unsafe { value.assume_init() })
    }

    /// The keys that have entries. Those that come meanwhile may be missed.
    pub fn keys(&self) -> io::Result<Vec<K>> {
        const BPF_MAP_GET_NEXT_KEY: i32 = 4;
        let mut keys = Vec::new();
        loop {
            let mut next = MaybeUninit::<K>::uninit();
            let last = keys.last().map_or(std::ptr::null(), std::ptr::from_ref);
            let element = self.element(last, next.as_mut_ptr() as u64);
            // SAFETY: the last key, if there is one, is read, the next one is written, and both have the map's size.
            match unsafe { bpf(BPF_MAP_GET_NEXT_KEY, &element) } {
                // SAFETY: written, as the call has succeeded; any bytes are a value.
                Ok(_) => keys.push(unsafe { next.assume_init() }),
                Err(error) if error.raw_os_error() == Some(libc::ENOENT) => return Ok(keys),
                Err(error) => return Err(error),
            }
        }
    }

    fn element(&self, key: *const K, value: u64) -> Element {
        Element {
            map: self.fd.as_raw_fd(),
            padding: 0,
            key: key as u64,
            value,
            flags: 0,
        }
    }
}

/// As `union bpf_attr` has it for entries.
#[repr(C)]
struct Element {
    map: i32,
    padding: u32,
    key: u64,
    value: u64,
    flags: u64,
}

/// A map with this cgroup in it, which programs find their process's in.
pub fn cgroup_array(cgroup: &File) -> io::Result<Map<u32, u32>> {
    let map = Map::new(Kind::Cgroups, 1)?;
    map.set(0, cgroup.as_raw_fd() as u32)?;
    Ok(map)
}

/// When a program is run, of the function that it belongs to (`enum bpf_attach_type`).
#[derive(Clone, Copy)]
pub enum Place {
    /// When it has returned.
    Exit = 25,
    /// Instead of it, if the program answers with anything but 0.
    Instead = 26,
}

/// A program that is put to a function, until this is dropped.
pub struct Attached {
    program: OwnedFd,
    _link: OwnedFd,
}

impl Attached {
    /// Puts a program to the function of this number in the kernel's BTF.
    pub fn new(code: &[u64], function: u32, place: Place) -> Result<Self, Failed> {
        const TRACING: u32 = 26;
        let program = load(code, TRACING, place as u32, function).map_err(Failed::Load)?;
        let link = attach(&program).map_err(Failed::Attach)?;
        Ok(Self {
            program,
            _link: link,
        })
    }

    /// How often the kernel has left the program out: while it ran for a task that was preempted, another came on that processor.
    pub fn misses(&self) -> io::Result<u64> {
        const BPF_OBJ_GET_INFO_BY_FD: i32 = 15;
        /// Of `recursion_misses` in `struct bpf_prog_info`, whose first 27 words these are. Numbers of entries that are wanted are 0.
        const AT: usize = 26;
        /// As `union bpf_attr` has it.
        #[repr(C)]
        struct Attributes {
            fd: i32,
            len: u32,
            info: u64,
        }
        let mut info = [0_u64; AT + 1];
        let mut attributes = Attributes {
            fd: self.program.as_raw_fd(),
            len: size_of_val(&info) as u32,
            info: info.as_mut_ptr() as u64,
        };
        // SAFETY: laid out as this command has it; the kernel writes as many bytes as `len` says, and then to `len` how many these were.
        let result = unsafe {
            libc::syscall(
                libc::SYS_bpf,
                BPF_OBJ_GET_INFO_BY_FD,
                &raw mut attributes,
                size_of::<Attributes>(),
            )
        };
        match result {
            0 => Ok(info[AT]),
            _ => Err(io::Error::last_os_error()),
        }
    }
}

/// A program that is run for each new socket of AF_INET and AF_INET6 of a cgroup's processes, and of those below, until this is dropped. The
/// kernel leaves it out never: it is not one that traces.
pub struct OfCgroup {
    _link: OwnedFd,
}

impl OfCgroup {
    /// Puts a program there.
    pub fn new(code: &[u64], cgroup: &File) -> Result<Self, Failed> {
        const CGROUP_SOCK: u32 = 9;
        const BPF_CGROUP_INET_SOCK_CREATE: u32 = 2;
        const BPF_LINK_CREATE: i32 = 28;
        let program = load(code, CGROUP_SOCK, BPF_CGROUP_INET_SOCK_CREATE, 0);
        let program = program.map_err(Failed::Load)?;
        // The program, the cgroup, of which kind, flags.
        let attributes = [
            program.as_raw_fd() as u32,
            cgroup.as_raw_fd() as u32,
            BPF_CGROUP_INET_SOCK_CREATE,
            0,
        ];
        // SAFETY: it has no pointers, and makes a descriptor.
        let link = unsafe { descriptor(BPF_LINK_CREATE, &attributes) };
        Ok(Self {
            _link: link.map_err(Failed::Attach)?,
        })
    }
}

/// Which step has failed.
#[derive(Debug)]
pub enum Failed {
    /// The program was not taken.
    Load(io::Error),
    /// It was not put to its function.
    Attach(io::Error),
}

/// As `union bpf_attr` has it to load a program.
#[repr(C)]
struct Load {
    kind: u32,
    count: u32,
    code: u64,
    license: u64,
    log_level: u32,
    log_size: u32,
    log: u64,
    kernel: u32,
    flags: u32,
    name: [u8; 16],
    device: u32,
    attach_type: u32,
    debug: [u32; 9],
    function: u32,
    of_program: u32,
    _end: u32,
}
const _: () = assert!(std::mem::offset_of!(Load, function) == 108);

fn load(code: &[u64], kind: u32, attach_type: u32, function: u32) -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: i32 = 5;
    let load = Load {
        kind,
        count: code.len() as u32,
        code: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log_level: 0,
        log_size: 0,
        log: 0,
        kernel: 0,
        flags: 0,
        name: *b"oxtcp_run\0\0\0\0\0\0\0",
        device: 0,
        attach_type,
        debug: [0; 9],
        function,
        of_program: 0,
        _end: 0,
    };
    // SAFETY: the code is as long as `count` says, the licence ends with a zero; both are read. It makes a descriptor.
    let error = match unsafe { descriptor(BPF_PROG_LOAD, &load) } {
        Err(error) if error.kind() != io::ErrorKind::PermissionDenied => error,
        other => return other,
    };
    // Again, to be told why not.
    let mut log = vec![0_u8; 1 << 16];
    let load = Load {
        log_level: 1,
        log_size: log.len() as u32,
        log: log.as_mut_ptr() as u64,
        ..load
    };
    // SAFETY: as above, and the log, as long as `log_size` says, is written.
    let again = unsafe { descriptor(BPF_PROG_LOAD, &load) };
    again.map_err(|_| match last_words(&log) {
        Some(said) => io::Error::other(format!("{} ({said})", words(&error))),
        None => error,
    })
}

/// The last line of the verifier's log that is not about its own work.
fn last_words(log: &[u8]) -> Option<String> {
    let text = log.split(|&byte| byte == 0).next()?;
    let text = String::from_utf8_lossy(text);
    let mut lines = text.lines().rev().map(str::trim);
    let line = lines.find(|line| !line.is_empty() && !line.starts_with("processed "))?;
    Some(line.to_string())
}

fn attach(program: &OwnedFd) -> io::Result<OwnedFd> {
    const BPF_RAW_TRACEPOINT_OPEN: i32 = 17;
    /// As `union bpf_attr` has it.
    #[repr(C)]
    struct Open {
        name: u64,
        program: i32,
        padding: u32,
    }
    // No name: the program has the function's number.
    let open = Open {
        name: 0,
        program: program.as_raw_fd(),
        padding: 0,
    };
    // SAFETY: it has no pointers, and makes a descriptor.
    unsafe { descriptor(BPF_RAW_TRACEPOINT_OPEN, &open) }
}

/// A command that makes a descriptor.
///
/// # Safety
///
/// As for [`bpf`], and the command is one that returns a new descriptor, which is the caller's.
unsafe fn descriptor<T>(command: i32, attributes: &T) -> io::Result<OwnedFd> {
    // SAFETY: promised by the caller.
    let raw = unsafe { bpf(command, attributes) }?;
    // SAFETY: bpf(2) has just made it, with close-on-exec; nobody else owns it.
    Ok(unsafe { OwnedFd::from_raw_fd(raw) })
}

/// bpf(2).
///
/// # Safety
///
/// The attributes are laid out as `union bpf_attr` is for this command. For the call, what their pointers point to is
/// valid to be read, and to be written where the command writes, as far as the command does; it writes nothing to the attributes.
unsafe fn bpf<T>(command: i32, attributes: &T) -> io::Result<i32> {
    // SAFETY: promised by the caller.
    let result = unsafe {
        libc::syscall(
            libc::SYS_bpf,
            command,
            std::ptr::from_ref(attributes),
            size_of::<T>(),
        )
    };
    match result {
        0.. => Ok(result as i32),
        _ => Err(io::Error::last_os_error()),
    }
}

#[cfg(test)]
mod tests {
    use super::last_words;

    #[test]
    fn last_words_of_the_verifier() {
        let log = b"0: (95) exit\nR0 !read_ok\nprocessed 1 insns (limit 1000000)\n\0\0more";
        assert_eq!(last_words(log).as_deref(), Some("R0 !read_ok"));
        assert_eq!(last_words(b"\0"), None);
        assert_eq!(last_words(b""), None);
    }
}
