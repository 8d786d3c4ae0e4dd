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
        let bytes = segment(
            self.from,
            self.to,
            (self.seq, self.ack),
            self.flags,
            &self.options,
            &[],
        );
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

/// A segment, with its checksum; `options` are a multiple of four bytes.
fn segment(
    from: SocketAddr,
    to: SocketAddr,
    (seq, ack): (u32, u32),
    flags: u8,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let mut tcp = Vec::with_capacity(60 + payload.len());
    tcp.extend(from.port().to_be_bytes());
    tcp.extend(to.port().to_be_bytes());
    tcp.extend(seq.to_be_bytes());
    tcp.extend(ack.to_be_bytes());
    let words = (20 + options.len() as u8) / 4;
    tcp.extend([words << 4, flags]);
    tcp.extend(64_240_u16.to_be_bytes());
    tcp.extend([0; 4]);
    tcp.extend(options);
    tcp.extend(payload);
    let sum = capture::checksum(from.ip(), to.ip(), &tcp);
    tcp[16..18].copy_from_slice(&sum.to_be_bytes());
    tcp
}

/// The same with the header of IP, as [`crate::flood::Raw`] takes it.
pub fn packet(
    from: SocketAddr,
    to: SocketAddr,
    numbers: (u32, u32),
    flags: u8,
    options: &[u8],
    payload: &[u8],
) -> Vec<u8> {
    let tcp = segment(from, to, numbers, flags, options, payload);
    let mut packet = Vec::with_capacity(40 + tcp.len());
    match (from.ip(), to.ip()) {
        (IpAddr::V4(from), IpAddr::V4(to)) => {
            // Length, identification and checksum are the kernel's to fill in (raw(7)).
            packet.extend([0x45, 0, 0, 0, 0, 0, 0, 0, 64, 6, 0, 0]);
            packet.extend(from.octets());
            packet.extend(to.octets());
        }
        (IpAddr::V6(from), IpAddr::V6(to)) => {
            packet.extend([0x60, 0, 0, 0]);
            packet.extend((tcp.len() as u16).to_be_bytes());
            packet.extend([6, 64]);
            packet.extend(from.octets());
            packet.extend(to.octets());
        }
        _ => panic!("addresses of two families"),
    }
    packet.extend(tcp);
    packet
}
