// SPDX-License-Identifier: GPL-2.0

//! The tun device. As packetdrill's it is one that cuts segments and computes checksums, as network cards do: what
//! the implementation sends as one large packet is seen as one. So each packet has a virtio header before it.

use std::fs::{File, OpenOptions};
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::os::unix::fs::OpenOptionsExt;

use nix::libc;

use super::packet::{decode, encode, Addresses};
use super::sys;
use crate::wire::Datagram;

/// The device's name: that of scripts.
pub(super) const NAME: &str = "tun0";

/// TUN_F_CSUM, TUN_F_TSO4, TUN_F_TSO6, TUN_F_TSO_ECN.
const OFFLOAD: u32 = 0x01 | 0x02 | 0x04 | 0x08;

/// `struct virtio_net_hdr`: flags, gso_type, hdr_len, gso_size, csum_start, csum_offset.
const HEADER: usize = 10;
const NEEDS_CSUM: u8 = 1;
const GSO_TCPV4: u8 = 1;
const GSO_TCPV6: u8 = 4;

/// See above.
pub(super) struct Tun {
    file: File,
    room: Vec<u8>,
}

impl Tun {
    /// Makes the device in this thread's namespace. It is gone when this is dropped.
    pub(super) fn new() -> Result<Tun, String> {
        const PATH: &str = "/dev/net/tun";
        let file = OpenOptions::new()
            .read(true)
            .write(true)
            .custom_flags(libc::O_NONBLOCK)
            .open(PATH)
            .map_err(|error| format!("{PATH}: {error}"))?;
        sys::tun_attach(file.as_fd(), NAME).map_err(|error| format!("TUNSETIFF: {error}"))?;
        sys::tun_offload(file.as_fd(), OFFLOAD)
            .map_err(|error| format!("TUNSETOFFLOAD: {error}"))?;
        Ok(Tun {
            file,
            room: vec![0; HEADER + 128 * 1024],
        })
    }

    /// Delivers a packet to the host.
    pub(super) fn write(&mut self, addresses: &Addresses, packet: &Datagram) -> Result<(), String> {
        let mut bytes = header(addresses, packet).to_vec();
        bytes.extend(encode(addresses, packet));
        match (&self.file).write(&bytes) {
            Ok(len) if len == bytes.len() => Ok(()),
            Ok(len) => Err(format!("{NAME} took {len} of {} bytes", bytes.len())),
            Err(error) => Err(format!("writing to {NAME}: {error}")),
        }
    }

    /// The next segment that the host has sent, if there is one.
    pub(super) fn read(&mut self, addresses: &Addresses) -> Result<Option<Datagram>, String> {
        loop {
            let len = match (&self.file).read(&mut self.room) {
                Ok(len) => len,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
                Err(error) => return Err(format!("reading from {NAME}: {error}")),
            };
            let (header, bytes) = match self.room[..len].split_at_checked(HEADER) {
                Some(parts) => parts,
                None => return Err(format!("{NAME} gave {len} bytes")),
            };
            let partial = header[0] & NEEDS_CSUM != 0;
            // Router solicitations and the like are no business of scripts.
            if let Some(packet) = decode(addresses, bytes, partial)? {
                return Ok(Some(packet));
            }
        }
    }
}

impl AsFd for Tun {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// What stands before a packet of the script's.
fn header(addresses: &Addresses, packet: &Datagram) -> [u8; HEADER] {
    let mut header = [0; HEADER];
    if let Datagram::Tcp {
        gso_size: gso_size @ 1..,
        ..
    } = packet
    {
        header[1] = match addresses.local.is_ipv4() {
            true => GSO_TCPV4,
            false => GSO_TCPV6,
        };
        header[4..6].copy_from_slice(&gso_size.to_ne_bytes());
    }
    header
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run::IpVersion;

    #[test]
    fn header__of_one_segment_and_of_several() {
        let packet = |gso_size| Datagram::Tcp {
            tos: 0,
            header: vec![0; 20],
            payload: 3000,
            gso_size,
        };
        let v4 = Addresses::new(IpVersion::Mapped);
        assert_eq!(header(&v4, &packet(0)), [0; HEADER]);
        let several = header(&v4, &packet(1000));
        assert_eq!(several[1], GSO_TCPV4);
        assert_eq!(several[4..6], 1000u16.to_ne_bytes());
        assert_eq!(
            header(&Addresses::new(IpVersion::V6), &packet(1))[1],
            GSO_TCPV6
        );
    }
}
