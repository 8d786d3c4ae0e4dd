// SPDX-License-Identifier: GPL-2.0
//! Keys that segments are signed with, as programs set them (linux/tcp.h).

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::capture::{Capture, SYN};
use crate::sock::RawAddr;
use crate::{expect_errno, procnet, wait, Connected, Sock, Stack};

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
        let mut bytes = storage(&self.peer);
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

/// A `struct sockaddr_storage`.
pub fn storage(address: &SocketAddr) -> Vec<u8> {
    let address = RawAddr::new(address);
    let size = size_of::<libc::sockaddr_storage>();
    // SAFETY: a sockaddr_storage that was zeroed before it was written to is `size` bytes.
    unsafe { std::slice::from_raw_parts(address.as_ptr().cast::<u8>(), size) }.to_vec()
}

/// One of TCP's counters, of this namespace.
#[track_caller]
pub fn counter(stack: Stack, name: &str) -> u64 {
    let file = match stack.ours {
        true => "oxtcp_stat",
        false => "netstat",
    };
    let path = format!("/proc/thread-self/net/{file}");
    procnet::stat(&std::fs::read_to_string(path).expect("counters"), name)
}

/// A client that tries, while the listener's or its own TCP drops what comes: `of` counts that in `name`.
#[track_caller]
pub fn does_not_connect(client: &Sock, address: &SocketAddr, of: Stack, name: &str) {
    let before = counter(of, name);
    client.set_nonblocking(true);
    expect_errno(client.connect(address), libc::EINPROGRESS);
    wait::until(name, || counter(of, name) > before);
    assert_eq!(client.take_error(), 0);
    expect_errno(client.peer(), libc::ENOTCONN);
}

/// What the client is to receive next, from what it has acknowledged.
#[track_caller]
pub fn expected_next(ends: &Connected, capture: &Capture) -> u32 {
    ends.check_alive();
    let client = ends.client.local().expect("getsockname");
    let server = ends.server.local().expect("getsockname");
    let mut next = None;
    wait::until("the last acknowledgment of the client's", || {
        for s in capture.segments() {
            if s.source == client && s.target == server && s.flags & SYN == 0 {
                next = Some(s.ack);
            }
        }
        ends.server.unacked() == 0 && next.is_some()
    });
    next.expect("a number")
}
