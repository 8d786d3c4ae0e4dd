// SPDX-License-Identifier: GPL-2.0
//! bpf(2), as far as it is used here: maps, and programs that are put to a function of the kernel's.

use std::fs::File;
use std::io;
use std::marker::PhantomData;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

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

/// Loads a program for the function of this number in the kernel's BTF.
pub fn load(code: &[u64], function: u32, place: Place) -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: i32 = 5;
    const TRACING: u32 = 26;
    /// As `union bpf_attr` has it.
    #[repr(C)]
    struct Load {
        kind: u32,
        count: u32,
        code: u64,
        license: u64,
        log: [u64; 2],
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
    let load = Load {
        kind: TRACING,
        count: code.len() as u32,
        code: code.as_ptr() as u64,
        license: c"GPL".as_ptr() as u64,
        log: [0; 2],
        kernel: 0,
        flags: 0,
        name: *b"oxtcp_run\0\0\0\0\0\0\0",
        device: 0,
        attach_type: place as u32,
        debug: [0; 9],
        function,
        of_program: 0,
        _end: 0,
    };
    // SAFETY: the code is as long as `count` says, the licence ends with a zero; both are read. It makes a descriptor.
    unsafe { descriptor(BPF_PROG_LOAD, &load) }
}

/// Puts a program to its function, until what is returned is closed.
pub fn attach(program: &OwnedFd) -> io::Result<OwnedFd> {
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
