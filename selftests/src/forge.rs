// SPDX-License-Identifier: GPL-2.0
//! Segments that neither end of a connection has sent: from a raw socket, with whatever ends and numbers.

use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::capture;
use crate::errno::{check, check_len};
use crate::ktap;
use crate::sock::RawAddr;

/// A segment without payload.
#[derive(Clone, Debug)]
pub struct Forged {
    pub from: SocketAddr,
    pub to: SocketAddr,
    pub seq: u32,
    pub ack: u32,
    pub flags: u8,
    /// A multiple of four bytes.
    pub options: Vec<u8>,
}

impl Forged {
    fn bytes(&self) -> Vec<u8> {
        let mut tcp = Vec::new();
        tcp.extend(self.from.port().to_be_bytes());
        tcp.extend(self.to.port().to_be_bytes());
        tcp.extend(self.seq.to_be_bytes());
        tcp.extend(self.ack.to_be_bytes());
        let words = (20 + self.options.len() as u8) / 4;
        tcp.extend([words << 4, self.flags, 0xff, 0xff, 0, 0, 0, 0]);
        tcp.extend(&self.options);
        let sum = capture::checksum(self.from.ip(), self.to.ip(), &tcp);
        tcp[16..18].copy_from_slice(&sum.to_be_bytes());
        tcp
    }

    /// Sends it; the source must be an address of this host. Skips the test where there are no raw sockets.
    #[track_caller]
    pub fn send(&self) {
        let domain = match self.to.ip() {
            IpAddr::V4(_) => libc::AF_INET,
            IpAddr::V6(_) => libc::AF_INET6,
        };
        // SAFETY: plain numbers.
        let fd = check(unsafe {
            libc::socket(
                domain,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                libc::IPPROTO_TCP,
            )
        });
        let fd = fd.unwrap_or_else(|error| ktap::skip(&format!("no raw sockets: {error}")));
        // SAFETY: new and ours.
        let raw = unsafe { OwnedFd::from_raw_fd(fd) };
        let source = RawAddr::new(&SocketAddr::new(self.from.ip(), 0));
        let target = RawAddr::new(&SocketAddr::new(self.to.ip(), 0));
        let bytes = self.bytes();
        // SAFETY: the addresses and the bytes are valid for their lengths.
        unsafe {
            check(libc::bind(raw.as_raw_fd(), source.as_ptr(), source.len)).expect("bind");
            let sent = check_len(libc::sendto(
                raw.as_raw_fd(),
                bytes.as_ptr().cast(),
                bytes.len(),
                0,
                target.as_ptr(),
                target.len,
            ));
            assert_eq!(sent.expect("sendto"), bytes.len());
        }
    }
}
