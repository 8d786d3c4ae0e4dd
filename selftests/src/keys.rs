// SPDX-License-Identifier: GPL-2.0
//! Keys that segments are signed with, as programs set them (linux/tcp.h).

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::sock::RawAddr;
use crate::Sock;

pub const TCP_MD5SIG: i32 = 14;
pub const TCP_MD5SIG_EXT: i32 = 32;
pub const TCP_MD5SIG_FLAG_PREFIX: u8 = 1;
pub const TCP_MD5SIG_FLAG_IFINDEX: u8 = 2;
/// The option's kind in a header (RFC 2385).
pub const KIND_MD5: u8 = 19;

/// `struct tcp_md5sig`.
#[derive(Clone)]
pub struct Md5Sig {
    pub peer: SocketAddr,
    pub flags: u8,
    pub prefix: u8,
    /// What is said of its length; the kernel reads 80 bytes in any case.
    pub key_len: u16,
    pub ifindex: i32,
    pub key: Vec<u8>,
}

impl Md5Sig {
    pub fn new(peer: IpAddr, key: &[u8]) -> Md5Sig {
        Md5Sig {
            peer: SocketAddr::new(peer, 0),
            flags: 0,
            prefix: 0,
            key_len: key.len() as u16,
            ifindex: 0,
            key: key.to_vec(),
        }
    }

    /// For all peers of a prefix.
    pub fn of_prefix(peer: IpAddr, prefix: u8, key: &[u8]) -> Md5Sig {
        Md5Sig {
            flags: TCP_MD5SIG_FLAG_PREFIX,
            prefix,
            ..Md5Sig::new(peer, key)
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let address = RawAddr::new(&self.peer);
        let size = size_of::<libc::sockaddr_storage>();
        // SAFETY: a sockaddr_storage that was zeroed before it was written to is `size` bytes.
        let address = unsafe { std::slice::from_raw_parts(address.as_ptr().cast::<u8>(), size) };
        let mut bytes = address.to_vec();
        bytes.extend([self.flags, self.prefix]);
        bytes.extend(self.key_len.to_ne_bytes());
        bytes.extend(self.ifindex.to_ne_bytes());
        bytes.extend(&self.key);
        bytes.resize(216, 0);
        bytes
    }

    /// TCP_MD5SIG_EXT.
    pub fn set(&self, sock: &Sock) -> io::Result<()> {
        sock.set_bytes(libc::SOL_TCP, TCP_MD5SIG_EXT, &self.bytes())
    }

    /// TCP_MD5SIG, which knows nothing of prefixes and devices.
    pub fn set_plain(&self, sock: &Sock) -> io::Result<()> {
        sock.set_bytes(libc::SOL_TCP, TCP_MD5SIG, &self.bytes())
    }
}
