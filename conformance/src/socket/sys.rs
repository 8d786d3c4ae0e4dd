// SPDX-License-Identifier: GPL-2.0

//! System calls that no safe wrapper has as scripts need them: any socket family, any option as bytes, buffers
//! that are NULL, control messages of any kind. All unsafe code of this crate is here.

#![allow(unsafe_code)]

use std::io::{Error, Result};
use std::net::SocketAddr;
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::ptr::{null, null_mut};

use nix::libc::{self, c_int, c_void, socklen_t};

/// `sockaddr_in` or `sockaddr_in6`, as bytes.
pub(super) fn sockaddr(address: SocketAddr) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(28);
    match address {
        SocketAddr::V4(v4) => {
            bytes.extend((libc::AF_INET as u16).to_ne_bytes());
            bytes.extend(v4.port().to_be_bytes());
            bytes.extend(v4.ip().octets());
            bytes.extend([0; 8]);
        }
        SocketAddr::V6(v6) => {
            bytes.extend((libc::AF_INET6 as u16).to_ne_bytes());
            bytes.extend(v6.port().to_be_bytes());
            bytes.extend(v6.flowinfo().to_be_bytes());
            bytes.extend(v6.ip().octets());
            bytes.extend(v6.scope_id().to_ne_bytes());
        }
    }
    bytes
}

/// The port in a socket address of either family: it stands in the same place in both.
fn port_of(bytes: &[u8]) -> u16 {
    u16::from_be_bytes([bytes[2], bytes[3]])
}

fn check(result: c_int) -> Result<c_int> {
    match result {
        -1 => Err(Error::last_os_error()),
        result => Ok(result),
    }
}

fn check_len(result: isize) -> Result<usize> {
    usize::try_from(result).map_err(|_| Error::last_os_error())
}

/// Owns a descriptor that a system call has just made.
fn own(fd: RawFd) -> OwnedFd {
    // SAFETY: the callers pass what a successful system call returned; nobody else has it.
    unsafe { OwnedFd::from_raw_fd(fd) }
}

/// socket(2)
pub(super) fn socket(family: c_int, kind: c_int, protocol: c_int) -> Result<OwnedFd> {
    // SAFETY: plain numbers.
    check(unsafe { libc::socket(family, kind, protocol) }).map(own)
}

/// bind(2)
pub(super) fn bind(fd: BorrowedFd<'_>, address: SocketAddr) -> Result<()> {
    let address = sockaddr(address);
    // SAFETY: the address is as long as is said, and is only read.
    let result = unsafe {
        libc::bind(
            fd.as_raw_fd(),
            address.as_ptr().cast(),
            address.len() as socklen_t,
        )
    };
    check(result).map(drop)
}

/// connect(2)
pub(super) fn connect(fd: BorrowedFd<'_>, address: SocketAddr) -> Result<()> {
    let address = sockaddr(address);
    // SAFETY: the address is as long as is said, and is only read.
    let result = unsafe {
        libc::connect(
            fd.as_raw_fd(),
            address.as_ptr().cast(),
            address.len() as socklen_t,
        )
    };
    check(result).map(drop)
}

/// listen(2) with any backlog.
pub(super) fn listen(fd: BorrowedFd<'_>, backlog: c_int) -> Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::listen(fd.as_raw_fd(), backlog) }).map(drop)
}

/// accept(2): the connection and the peer's port.
pub(super) fn accept(fd: BorrowedFd<'_>) -> Result<(OwnedFd, u16)> {
    let mut address = [0u8; 128];
    let mut len = address.len() as socklen_t;
    // SAFETY: the kernel writes at most `len` bytes of the address, and the length.
    let result = unsafe { libc::accept(fd.as_raw_fd(), address.as_mut_ptr().cast(), &mut len) };
    let made = own(check(result)?);
    Ok((made, port_of(&address)))
}

/// shutdown(2) with any argument.
pub(super) fn shutdown(fd: BorrowedFd<'_>, how: c_int) -> Result<()> {
    // SAFETY: plain numbers.
    check(unsafe { libc::shutdown(fd.as_raw_fd(), how) }).map(drop)
}

/// A buffer that may be NULL, with the length that is told.
pub(super) enum Buffer {
    /// NULL, and so many bytes.
    Null(usize),
    /// Bytes.
    Bytes(Vec<u8>),
}

impl Buffer {
    fn parts(&mut self) -> (*mut c_void, usize) {
        match self {
            Buffer::Null(len) => (null_mut(), *len),
            Buffer::Bytes(bytes) => (bytes.as_mut_ptr().cast(), bytes.len()),
        }
    }
}

/// write(2)
pub(super) fn write(fd: BorrowedFd<'_>, mut buffer: Buffer) -> Result<usize> {
    let (data, len) = buffer.parts();
    // SAFETY: the kernel reads `len` bytes, which are there, or finds that there are none at NULL.
    check_len(unsafe { libc::write(fd.as_raw_fd(), data, len) })
}

/// read(2)
pub(super) fn read(fd: BorrowedFd<'_>, mut buffer: Buffer) -> Result<usize> {
    let (data, len) = buffer.parts();
    // SAFETY: the kernel writes at most `len` bytes, for which there is room, or finds that there is none at NULL.
    check_len(unsafe { libc::read(fd.as_raw_fd(), data, len) })
}

/// sendto(2); send(2) without an address.
pub(super) fn send(
    fd: BorrowedFd<'_>,
    mut buffer: Buffer,
    flags: c_int,
    to: Option<SocketAddr>,
) -> Result<usize> {
    let (data, len) = buffer.parts();
    let address = to.map(sockaddr);
    let (name, name_len) = match &address {
        Some(bytes) => (bytes.as_ptr().cast(), bytes.len() as socklen_t),
        None => (null(), 0),
    };
    // SAFETY: as for write(); the address is as long as is said, and is only read.
    let result = unsafe { libc::sendto(fd.as_raw_fd(), data, len, flags, name, name_len) };
    check_len(result)
}

/// recvfrom(2); recv(2) without an address.
pub(super) fn receive(
    fd: BorrowedFd<'_>,
    mut buffer: Buffer,
    flags: c_int,
    addressed: bool,
) -> Result<usize> {
    let (data, len) = buffer.parts();
    let mut address = [0u8; 128];
    let mut address_len = address.len() as socklen_t;
    let (name, name_len): (*mut libc::sockaddr, *mut socklen_t) = match addressed {
        true => (address.as_mut_ptr().cast(), &mut address_len),
        false => (null_mut(), null_mut()),
    };
    // SAFETY: as for read(); the kernel writes at most as much of the address as `address_len` says.
    let result = unsafe { libc::recvfrom(fd.as_raw_fd(), data, len, flags, name, name_len) };
    check_len(result)
}

/// An empty message over `parts`, which must live as long as it is used.
fn message(parts: &mut [libc::iovec]) -> libc::msghdr {
    // SAFETY: all zeros is a message with nothing in it.
    let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = parts.len();
    message
}

fn iovecs(buffers: &mut [Vec<u8>]) -> Vec<libc::iovec> {
    let part = |buffer: &mut Vec<u8>| libc::iovec {
        iov_base: buffer.as_mut_ptr().cast(),
        iov_len: buffer.len(),
    };
    buffers.iter_mut().map(part).collect()
}

/// sendmsg(2), with an address or without.
pub(super) fn send_message(
    fd: BorrowedFd<'_>,
    buffers: &mut [Vec<u8>],
    flags: c_int,
    to: Option<SocketAddr>,
) -> Result<usize> {
    let mut parts = iovecs(buffers);
    let mut message = message(&mut parts);
    let mut address = to.map(sockaddr).unwrap_or_default();
    if !address.is_empty() {
        message.msg_name = address.as_mut_ptr().cast();
        message.msg_namelen = address.len() as socklen_t;
    }
    // SAFETY: buffers, their list and the address are there as long as is said, and are only read.
    check_len(unsafe { libc::sendmsg(fd.as_raw_fd(), &message, flags) })
}

/// What recvmsg(2) gave.
pub(super) struct Received {
    /// Bytes.
    pub(super) len: usize,
    /// `msg_flags`
    pub(super) flags: u32,
    /// `msg_control`, as long as it became.
    pub(super) control: Vec<u8>,
}

/// recvmsg(2), with room for control messages.
pub(super) fn receive_message(
    fd: BorrowedFd<'_>,
    buffers: &mut [Vec<u8>],
    flags: c_int,
) -> Result<Received> {
    let mut parts = iovecs(buffers);
    let mut message = message(&mut parts);
    let mut control = vec![0u8; 1024];
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = control.len();
    // SAFETY: the kernel writes at most as much to the buffers and to the control messages' room as is said.
    let len = check_len(unsafe { libc::recvmsg(fd.as_raw_fd(), &mut message, flags) })?;
    control.truncate(message.msg_controllen);
    Ok(Received {
        len,
        flags: message.msg_flags as u32,
        control,
    })
}

/// setsockopt(2): `len` is what is told; there are at least as many bytes.
pub(super) fn set_option(
    fd: BorrowedFd<'_>,
    level: c_int,
    name: c_int,
    value: &[u8],
    len: usize,
) -> Result<()> {
    let mut bytes = value.to_vec();
    bytes.resize(bytes.len().max(len), 0);
    // SAFETY: there are `len` bytes, which are only read.
    let result = unsafe {
        libc::setsockopt(
            fd.as_raw_fd(),
            level,
            name,
            bytes.as_ptr().cast(),
            len as socklen_t,
        )
    };
    check(result).map(drop)
}

/// getsockopt(2): at most `len` bytes.
pub(super) fn option(fd: BorrowedFd<'_>, level: c_int, name: c_int, len: usize) -> Result<Vec<u8>> {
    let mut bytes = vec![0u8; len];
    let mut told = len as socklen_t;
    // SAFETY: the kernel writes at most `told` bytes, for which there is room, and the length.
    let result = unsafe {
        libc::getsockopt(
            fd.as_raw_fd(),
            level,
            name,
            bytes.as_mut_ptr().cast(),
            &mut told,
        )
    };
    check(result)?;
    bytes.truncate(told as usize);
    Ok(bytes)
}

/// ioctl(2) with a request that writes one `int`, as SIOCINQ and SIOCOUTQ do.
pub(super) fn ioctl_int(fd: BorrowedFd<'_>, request: Count) -> Result<c_int> {
    let request = match request {
        Count::Unread => libc::FIONREAD,
        Count::Unacknowledged => libc::TIOCOUTQ,
    };
    let mut value: c_int = 0;
    // SAFETY: both requests write one int.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), request, &mut value) })?;
    Ok(value)
}

/// The requests of [`ioctl_int`].
#[derive(Clone, Copy)]
pub(super) enum Count {
    /// SIOCINQ
    Unread,
    /// SIOCOUTQ
    Unacknowledged,
}

/// Makes the open `/dev/net/tun` the device `name`, with a virtio header before each packet.
pub(super) fn tun_attach(fd: BorrowedFd<'_>, name: &str) -> Result<()> {
    // SAFETY: all zeros is an empty request.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    let room = request.ifr_name.len() - 1;
    for (to, from) in request.ifr_name[..room].iter_mut().zip(name.bytes()) {
        *to = from as libc::c_char;
    }
    let flags = libc::IFF_TUN | libc::IFF_NO_PI | libc::IFF_VNET_HDR;
    request.ifr_ifru.ifru_flags = flags as libc::c_short;
    // SAFETY: TUNSETIFF reads and writes one ifreq.
    check(unsafe { libc::ioctl(fd.as_raw_fd(), libc::TUNSETIFF, &mut request) }).map(drop)
}

/// Says what the reader of a tun device copes with (TUN_F_*).
pub(super) fn tun_offload(fd: BorrowedFd<'_>, offload: u32) -> Result<()> {
    // SAFETY: TUNSETOFFLOAD takes a number.
    let result = unsafe {
        libc::ioctl(
            fd.as_raw_fd(),
            libc::TUNSETOFFLOAD,
            libc::c_ulong::from(offload),
        )
    };
    check(result).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockaddr__as_the_kernel_has_it() {
        let v4 = sockaddr("192.168.0.1:8080".parse().unwrap());
        assert_eq!(v4.len(), std::mem::size_of::<libc::sockaddr_in>());
        assert_eq!(&v4[..8], &[2, 0, 0x1f, 0x90, 192, 168, 0, 1]);
        assert_eq!(port_of(&v4), 8080);
        let v6 = sockaddr("[fd3d::1]:80".parse().unwrap());
        assert_eq!(v6.len(), std::mem::size_of::<libc::sockaddr_in6>());
        assert_eq!(&v6[..4], &[10, 0, 0, 80]);
        assert_eq!((v6[8], v6[23]), (0xfd, 1));
        assert_eq!(port_of(&v6), 80);
    }

    #[test]
    fn socket__errors_are_told() {
        let error = socket(-1, 1, 0).unwrap_err();
        assert_eq!(error.raw_os_error(), Some(libc::EAFNOSUPPORT));
    }
}
