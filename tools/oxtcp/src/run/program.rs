// SPDX-License-Identifier: GPL-2.0
//! The program to run: where it is, and whether a preloaded library can reach its sockets.
//!
//! `LD_PRELOAD` is read by the dynamic loader. It does nothing for a program without one (static), for one
//! that does not call the C library (Go), for one that gains privileges (the loader ignores it then), and
//! for one of another architecture or word size than the library. Each would run, over the built-in TCP.

use std::env;
use std::ffi::{CString, OsStr};
use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

use object::elf::{self, FileHeader32, FileHeader64};
use object::read::elf::{Dyn, FileHeader, ProgramHeader};
use object::read::{ReadCache, ReadRef};
use object::Endianness;

use crate::failure::words;

/// Finds a program as `execvp(3)` does: a name with a slash is a path, any other is looked for in PATH.
pub fn find(name: &OsStr, path: Option<&OsStr>) -> Result<PathBuf, Error> {
    if name.as_bytes().contains(&b'/') {
        return executable(Path::new(name)).map_err(|error| Error::cannot_start(name, error));
    }
    let mut denied = None;
    for folder in env::split_paths(path.unwrap_or(OsStr::new("/bin:/usr/bin"))) {
        match executable(&folder.join(name)) {
            Ok(found) => return Ok(found),
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
                denied.get_or_insert(Error::Unexecutable(folder.join(name), error));
            }
            Err(_) => {}
        }
    }
    Err(denied.unwrap_or_else(|| Error::Missing(name.into())))
}

/// What a dynamic loader compares before it loads a library into a program.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Abi {
    class: u8,
    data: u8,
    machine: u16,
}

/// The ABI of the preload library.
pub fn abi(library: &Path) -> Result<Abi, Error> {
    match inspect(library) {
        Ok(Image::Elf(image)) => Ok(image.abi),
        Ok(_) => Err(Error::Unexecutable(
            library.into(),
            io::Error::other("not an ELF file"),
        )),
        Err(error) => Err(Error::Unexecutable(library.into(), error)),
    }
}

/// Refuses a program that a library of this ABI, preloaded, would not reach. Scripts are followed to their
/// interpreter, as the kernel does.
pub fn check_redirectable(program: &Path, library: Abi) -> Result<(), Error> {
    let mut file = program.to_path_buf();
    // The kernel's own limit (fs/exec.c): an interpreter may be a script, up to this depth.
    for _ in 0..=5 {
        let obstacle = match inspect(&file) {
            Ok(Image::Script(interpreter)) => {
                file = interpreter;
                continue;
            }
            Ok(Image::Elf(image)) => image.obstacle(library).or_else(|| privileges(&file)),
            // What is no ELF file and no script the kernel refuses, and execvp(3) hands to the shell;
            // what cannot be read cannot be judged.
            Ok(Image::Other) | Err(_) => None,
        };
        return match obstacle {
            Some(obstacle) => Err(Error::Unredirectable(program.into(), file, obstacle)),
            None => Ok(()),
        };
    }
    Err(Error::Unexecutable(
        program.into(),
        io::Error::from_raw_os_error(libc::ELOOP),
    ))
}

fn executable(path: &Path) -> io::Result<PathBuf> {
    let metadata = fs::metadata(path)?;
    let name = CString::new(path.as_os_str().as_bytes())?;
    // SAFETY: `name` is a C string.
    let allowed = unsafe { libc::access(name.as_ptr(), libc::X_OK) } == 0;
    if !allowed || !metadata.is_file() {
        return Err(io::Error::from_raw_os_error(libc::EACCES));
    }
    Ok(path.to_path_buf())
}

enum Image {
    Elf(ElfImage),
    Script(PathBuf),
    Other,
}

struct ElfImage {
    abi: Abi,
    linkage: Linkage,
    go: bool,
}

#[derive(PartialEq)]
enum Linkage {
    /// It names a dynamic loader.
    Dynamic,
    /// No loader: nothing reads LD_PRELOAD.
    Static,
    /// A shared object without one, such as the dynamic loader itself, run as a program.
    Loader,
}

impl ElfImage {
    fn obstacle(&self, library: Abi) -> Option<Obstacle> {
        if self.abi != library {
            return Some(
                if self.abi.machine == library.machine || self.abi.class != library.class {
                    Obstacle::WordSize {
                        bits: if self.abi.class == elf::ELFCLASS32 {
                            32
                        } else {
                            64
                        },
                    }
                } else {
                    Obstacle::Machine
                },
            );
        }
        match self.linkage {
            _ if self.go => Some(Obstacle::Go),
            Linkage::Static => Some(Obstacle::Static),
            Linkage::Dynamic | Linkage::Loader => None,
        }
    }
}

fn inspect(path: &Path) -> io::Result<Image> {
    let mut file = File::open(path)?;
    // BINPRM_BUF_SIZE of the kernel: it looks for the interpreter's name no further.
    let mut head = Vec::with_capacity(256);
    file.by_ref().take(256).read_to_end(&mut head)?;
    inspect_image(&head, &ReadCache::new(file))
}

/// What a file is whose beginning and whose contents are these.
fn inspect_image<'data>(head: &[u8], data: impl ReadRef<'data>) -> io::Result<Image> {
    if let Some(interpreter) = script_interpreter(head) {
        return Ok(Image::Script(interpreter));
    }
    if !head.starts_with(&elf::ELFMAG) {
        return Ok(Image::Other);
    }
    let image = match head.get(4) {
        Some(&elf::ELFCLASS32) => inspect_elf::<FileHeader32<Endianness>, _>(data),
        Some(&elf::ELFCLASS64) => inspect_elf::<FileHeader64<Endianness>, _>(data),
        _ => return Ok(Image::Other),
    };
    image.map(Image::Elf).map_err(io::Error::other)
}

/// Looks at any bytes as at a program, and for what would stand in the way of a library of another kind.
#[cfg(any(test, fuzzing))]
pub fn fuzz(bytes: &[u8]) {
    let head = &bytes[..bytes.len().min(256)];
    let abi = Abi {
        class: elf::ELFCLASS64,
        data: elf::ELFDATA2LSB,
        machine: elf::EM_X86_64,
    };
    match inspect_image(head, bytes) {
        Ok(Image::Elf(image)) => {
            let _ = image.obstacle(abi).map(|obstacle| obstacle.to_string());
        }
        Ok(Image::Script(interpreter)) => assert!(!interpreter.as_os_str().is_empty()),
        Ok(Image::Other) => {}
        Err(error) => assert!(!error.to_string().is_empty()),
    }
}

fn inspect_elf<'data, Elf, R>(data: R) -> object::Result<ElfImage>
where
    Elf: FileHeader<Endian = Endianness>,
    R: ReadRef<'data>,
{
    let header = Elf::parse(data)?;
    let endian = header.endian()?;
    let ident = header.e_ident();
    let abi = Abi {
        class: ident.class,
        data: ident.data,
        machine: header.e_machine(endian),
    };

    let segments = header.program_headers(endian, data)?;
    let has_loader = segments
        .iter()
        .any(|segment| segment.p_type(endian) == elf::PT_INTERP);
    let mut flags = 0u64;
    for segment in segments {
        for entry in segment.dynamic(endian, data)?.unwrap_or_default() {
            if entry.tag32(endian) == Some(elf::DT_FLAGS_1) {
                flags = entry.d_val(endian).into();
            }
        }
    }
    let linkage = match header.e_type(endian) {
        _ if has_loader => Linkage::Dynamic,
        // A static program that is position independent says so; a shared object does not.
        elf::ET_DYN if flags & u64::from(elf::DF_1_PIE) == 0 => Linkage::Loader,
        _ => Linkage::Static,
    };

    let sections = header.sections(endian, data)?;
    let go = [&b".go.buildinfo"[..], b".note.go.buildid"]
        .iter()
        .any(|name| sections.section_by_name(endian, name).is_some());
    Ok(ElfImage { abi, linkage, go })
}

/// The interpreter of a script, as `fs/binfmt_script.c` reads its first line.
fn script_interpreter(head: &[u8]) -> Option<PathBuf> {
    let line = head
        .strip_prefix(b"#!")?
        .split(|&byte| byte == b'\n')
        .next()?
        .trim_ascii_start();
    let name = line.split(|byte| b" \t\r\0".contains(byte)).next()?;
    (!name.is_empty()).then(|| PathBuf::from(OsStr::from_bytes(name)))
}

/// The privileges that executing this file would add, which make the loader ignore LD_PRELOAD (AT_SECURE).
fn privileges(path: &Path) -> Option<Obstacle> {
    let metadata = fs::metadata(path).ok()?;
    let name = CString::new(path.as_os_str().as_bytes()).ok()?;
    // SAFETY: `name` is a C string, `mount` is large enough and read only when it was filled.
    let (user, group, ignored, capable) = unsafe {
        let mut mount: libc::statvfs = std::mem::zeroed();
        let nosuid =
            libc::statvfs(name.as_ptr(), &mut mount) == 0 && mount.f_flag & libc::ST_NOSUID != 0;
        let no_new_privileges = libc::prctl(libc::PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0) == 1;
        let capability = c"security.capability".as_ptr();
        let capable = libc::getxattr(name.as_ptr(), capability, std::ptr::null_mut(), 0) > 0;
        (
            libc::getuid(),
            libc::getgid(),
            nosuid || no_new_privileges,
            capable,
        )
    };
    let mode = metadata.permissions().mode();
    let group_execute = libc::S_ISGID | libc::S_IXGRP;
    if ignored {
        None
    } else if mode & libc::S_ISUID != 0 && metadata.uid() != user {
        Some(Obstacle::Privileged("set-user-ID"))
    } else if mode & group_execute == group_execute && metadata.gid() != group {
        Some(Obstacle::Privileged("set-group-ID"))
    } else if capable && user != 0 {
        Some(Obstacle::Privileged("given capabilities"))
    } else {
        None
    }
}

/// Why the program cannot be run, or not over oxtcp.
#[derive(Debug)]
pub enum Error {
    /// In no folder of PATH, or no such path.
    Missing(PathBuf),
    /// It is there, and the kernel does not execute it.
    Unexecutable(PathBuf, io::Error),
    /// The program, the file that stands in the way (itself, or its interpreter), and how.
    Unredirectable(PathBuf, PathBuf, Obstacle),
}

/// What keeps a preloaded library from a program's sockets.
#[derive(Debug, PartialEq, Eq)]
pub enum Obstacle {
    /// Linked without a dynamic loader.
    Static,
    /// Written in Go, which makes its system calls itself.
    Go,
    /// A 32-bit program under a 64-bit library, or the reverse.
    WordSize {
        /// The program's.
        bits: u8,
    },
    /// Made for another processor.
    Machine,
    /// It gains privileges, by this means.
    Privileged(&'static str),
}

impl Obstacle {
    /// In a few words, behind the program's name.
    pub fn name(&self) -> &'static str {
        match self {
            Obstacle::Static => " is statically linked",
            Obstacle::Go => " is a Go program",
            Obstacle::WordSize { .. } => " is of another word size than the library",
            Obstacle::Machine => " is for another processor than the library",
            Obstacle::Privileged(_) => " gains privileges",
        }
    }
}

impl Error {
    fn cannot_start(name: &OsStr, error: io::Error) -> Error {
        match error.kind() {
            io::ErrorKind::NotFound => Error::Missing(name.into()),
            _ => Error::Unexecutable(name.into(), error),
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Missing(name) if name.as_os_str().as_bytes().contains(&b'/') => {
                write!(f, "{}: no such program", name.display())
            }
            Error::Missing(name) => write!(f, "{}: no such program in PATH", name.display()),
            Error::Unexecutable(path, error) => {
                write!(f, "cannot execute {}: {}", path.display(), words(error))
            }
            Error::Unredirectable(program, file, obstacle) => {
                write!(f, "{} cannot be redirected to oxtcp: ", program.display())?;
                if program == file {
                    write!(f, "it {obstacle}")
                } else {
                    write!(f, "its interpreter {} {obstacle}", file.display())
                }
            }
        }
    }
}

impl fmt::Display for Obstacle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Obstacle::Static => write!(
                f,
                "is statically linked, so no dynamic loader reads LD_PRELOAD.\n\
                 Use a dynamically linked build of it; or, where its source is yours, open the socket with\n\
                 socket(AF_OXTCP, SOCK_STREAM, 0) and leave `oxtcp run` out."
            ),
            Obstacle::Go => write!(
                f,
                "is a Go program, which makes its system calls itself and never calls the C library's socket().\n\
                 Where its source is yours, open the socket with socket(AF_OXTCP, SOCK_STREAM, 0); or put a\n\
                 proxy that can be redirected (nginx, haproxy) before it."
            ),
            Obstacle::WordSize { bits } => write!(
                f,
                "is a {bits}-bit program, into which a library of another word size cannot be loaded.\n\
                 Use a {}-bit build of it.",
                if *bits == 32 { 64 } else { 32 }
            ),
            Obstacle::Machine => write!(
                f,
                "is made for another processor than liboxtcp_preload.so.\n\
                 Use a build of it for this machine."
            ),
            Obstacle::Privileged(means) => write!(
                f,
                "is {means}, and for programs that gain privileges the loader ignores LD_PRELOAD.\n\
                 Run it as the user whose privileges it gains, for example: sudo oxtcp run PROGRAM"
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn interpreters_as_the_kernel_reads_them() {
        for (head, interpreter) in [
            (&b"#!/bin/sh\necho"[..], Some("/bin/sh")),
            (b"#!  /usr/bin/env python3\n", Some("/usr/bin/env")),
            (b"#!/bin/sh", Some("/bin/sh")),
            (b"#!\t/usr/bin/perl\t-w\n", Some("/usr/bin/perl")),
            (b"#!\n", None),
            (b"#", None),
            (b"echo", None),
            (b"", None),
        ] {
            assert_eq!(
                script_interpreter(head),
                interpreter.map(PathBuf::from),
                "{head:?}"
            );
        }
    }

    #[test]
    fn find_follows_path_and_tells_missing_from_forbidden() {
        let folder = tempfile::tempdir().unwrap();
        let (first, second) = (folder.path().join("first"), folder.path().join("second"));
        for (place, mode) in [(&first, 0o644), (&second, 0o755)] {
            fs::create_dir(place).unwrap();
            fs::write(place.join("tool"), "").unwrap();
            fs::set_permissions(place.join("tool"), fs::Permissions::from_mode(mode)).unwrap();
        }
        let both = env::join_paths([&first, &second]).unwrap();
        assert_eq!(
            find(OsStr::new("tool"), Some(&both)).unwrap(),
            second.join("tool")
        );
        assert!(matches!(
            find(OsStr::new("tool"), Some(first.as_os_str())),
            Err(Error::Unexecutable(path, _)) if path == first.join("tool")
        ));
        assert!(matches!(
            find(OsStr::new("absent"), Some(&both)),
            Err(Error::Missing(_))
        ));
        assert!(matches!(
            find(OsStr::new("/absent/tool"), Some(&both)),
            Err(Error::Missing(_))
        ));
        assert!(matches!(
            find(second.as_os_str(), None),
            Err(Error::Unexecutable(..))
        ));
    }

    const OURS: Abi = Abi {
        class: elf::ELFCLASS64,
        data: elf::ELFDATA2LSB,
        machine: elf::EM_X86_64,
    };

    fn image(abi: Abi, linkage: Linkage, go: bool) -> ElfImage {
        ElfImage { abi, linkage, go }
    }

    #[test]
    fn obstacles() {
        let i386 = Abi {
            class: elf::ELFCLASS32,
            machine: elf::EM_386,
            ..OURS
        };
        let x32 = Abi {
            class: elf::ELFCLASS32,
            ..OURS
        };
        let arm = Abi {
            machine: elf::EM_AARCH64,
            ..OURS
        };
        assert_eq!(image(OURS, Linkage::Dynamic, false).obstacle(OURS), None);
        assert_eq!(image(OURS, Linkage::Loader, false).obstacle(OURS), None);
        assert_eq!(
            image(OURS, Linkage::Static, false).obstacle(OURS),
            Some(Obstacle::Static)
        );
        assert_eq!(
            image(OURS, Linkage::Static, true).obstacle(OURS),
            Some(Obstacle::Go)
        );
        assert_eq!(
            image(OURS, Linkage::Dynamic, true).obstacle(OURS),
            Some(Obstacle::Go)
        );
        for abi in [i386, x32] {
            assert_eq!(
                image(abi, Linkage::Dynamic, false).obstacle(OURS),
                Some(Obstacle::WordSize { bits: 32 })
            );
        }
        assert_eq!(
            image(arm, Linkage::Dynamic, false).obstacle(OURS),
            Some(Obstacle::Machine)
        );
        assert_eq!(
            image(OURS, Linkage::Dynamic, false).obstacle(i386),
            Some(Obstacle::WordSize { bits: 64 })
        );
    }
}
