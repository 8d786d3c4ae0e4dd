// SPDX-License-Identifier: GPL-2.0
//! A socket and the system calls on it, one method each, with nothing hidden: a short count is returned
//! as such and EINTR is an error.

use std::io;
use std::mem::{size_of, zeroed, MaybeUninit};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV4, SocketAddrV6};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::Duration;

use libc::{c_int, c_short, c_void, socklen_t};

use crate::errno::{check, check_len};
use crate::stack::Stack;
use crate::wait;

/// An address as the kernel takes it.
pub struct RawAddr {
    pub storage: libc::sockaddr_storage,
    pub len: socklen_t,
}

impl RawAddr {
    pub fn new(address: &SocketAddr) -> RawAddr {
        // SAFETY: all bytes zero is a sockaddr_storage.
        let mut storage: libc::sockaddr_storage = unsafe { zeroed() };
        let len = match address {
            SocketAddr::V4(v4) => {
                let raw = libc::sockaddr_in {
                    sin_family: libc::AF_INET as u16,
                    sin_port: v4.port().to_be(),
                    sin_addr: libc::in_addr {
                        s_addr: u32::from_ne_bytes(v4.ip().octets()),
                    },
                    sin_zero: [0; 8],
                };
                // SAFETY: a sockaddr_storage has room and alignment for every sockaddr.
                unsafe { (&raw mut storage).cast::<libc::sockaddr_in>().write(raw) };
                size_of::<libc::sockaddr_in>()
            }
            SocketAddr::V6(v6) => {
                let raw = libc::sockaddr_in6 {
                    sin6_family: libc::AF_INET6 as u16,
                    sin6_port: v6.port().to_be(),
                    sin6_flowinfo: v6.flowinfo(),
                    sin6_addr: libc::in6_addr {
                        s6_addr: v6.ip().octets(),
                    },
                    sin6_scope_id: v6.scope_id(),
                };
                // SAFETY: as above.
                unsafe { (&raw mut storage).cast::<libc::sockaddr_in6>().write(raw) };
                size_of::<libc::sockaddr_in6>()
            }
        };
        RawAddr {
            storage,
            len: len as socklen_t,
        }
    }

    /// An address of no family: connect(2) with it takes a connection apart.
    pub fn unspecified() -> RawAddr {
        // SAFETY: all bytes zero is a sockaddr_storage (AF_UNSPEC is 0).
        RawAddr {
            storage: unsafe { zeroed() },
            len: size_of::<libc::sockaddr_in>() as socklen_t,
        }
    }

    pub fn empty() -> RawAddr {
        let mut address = RawAddr::unspecified();
        address.len = size_of::<libc::sockaddr_storage>() as socklen_t;
        address
    }

    pub fn parse(&self) -> SocketAddr {
        match i32::from(self.storage.ss_family) {
            libc::AF_INET => {
                // SAFETY: the family says which sockaddr the storage holds.
                let raw = unsafe { (&raw const self.storage).cast::<libc::sockaddr_in>().read() };
                let ip = Ipv4Addr::from(raw.sin_addr.s_addr.to_ne_bytes());
                SocketAddrV4::new(ip, u16::from_be(raw.sin_port)).into()
            }
            libc::AF_INET6 => {
                // SAFETY: as above.
                let raw = unsafe {
                    (&raw const self.storage)
                        .cast::<libc::sockaddr_in6>()
                        .read()
                };
                let ip = Ipv6Addr::from(raw.sin6_addr.s6_addr);
                SocketAddrV6::new(
                    ip,
                    u16::from_be(raw.sin6_port),
                    raw.sin6_flowinfo,
                    raw.sin6_scope_id,
                )
                .into()
            }
            family => panic!("the kernel returned an address of family {family}"),
        }
    }

    pub fn as_ptr(&self) -> *const libc::sockaddr {
        (&raw const self.storage).cast()
    }

    pub fn as_mut_ptr(&mut self) -> *mut libc::sockaddr {
        (&raw mut self.storage).cast()
    }
}

/// An open socket; closed when dropped.
#[derive(Debug)]
pub struct Sock(OwnedFd);

impl AsRawFd for Sock {
    fn as_raw_fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }
}

impl From<Sock> for OwnedFd {
    fn from(sock: Sock) -> OwnedFd {
        sock.0
    }
}

impl Sock {
    /// A stream socket of this stack; fails the test when there is none.
    #[track_caller]
    pub fn open(stack: Stack) -> Sock {
        match Sock::try_open(stack.domain(), libc::SOCK_STREAM, stack.protocol()) {
            Ok(sock) => sock,
            Err(error) => panic!(
                "socket({}, SOCK_STREAM, {}): {error}",
                stack.domain(),
                stack.protocol()
            ),
        }
    }

    /// The same, non-blocking.
    #[track_caller]
    pub fn open_nonblocking(stack: Stack) -> Sock {
        let sock = Sock::open(stack);
        sock.set_nonblocking(true);
        sock
    }

    pub fn try_open(domain: c_int, kind: c_int, protocol: c_int) -> io::Result<Sock> {
        // SAFETY: plain numbers.
        let fd = check(unsafe { libc::socket(domain, kind | libc::SOCK_CLOEXEC, protocol) })?;
        // SAFETY: just made, owned by nobody else.
        Ok(Sock(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    pub fn fd(&self) -> RawFd {
        self.0.as_raw_fd()
    }

    pub fn try_clone(&self) -> Sock {
        Sock(self.0.try_clone().expect("dup"))
    }

    pub fn bind(&self, address: &SocketAddr) -> io::Result<()> {
        self.bind_raw(&RawAddr::new(address))
    }

    pub fn bind_raw(&self, raw: &RawAddr) -> io::Result<()> {
        // SAFETY: the address is valid for its length.
        check(unsafe { libc::bind(self.fd(), raw.as_ptr(), raw.len) }).map(drop)
    }

    pub fn connect(&self, address: &SocketAddr) -> io::Result<()> {
        self.connect_raw(&RawAddr::new(address))
    }

    pub fn connect_raw(&self, raw: &RawAddr) -> io::Result<()> {
        // SAFETY: the address is valid for its length.
        check(unsafe { libc::connect(self.fd(), raw.as_ptr(), raw.len) }).map(drop)
    }

    pub fn listen(&self, backlog: c_int) -> io::Result<()> {
        // SAFETY: plain numbers.
        check(unsafe { libc::listen(self.fd(), backlog) }).map(drop)
    }

    pub fn accept(&self) -> io::Result<(Sock, SocketAddr)> {
        self.accept4(libc::SOCK_CLOEXEC)
    }

    pub fn accept4(&self, flags: c_int) -> io::Result<(Sock, SocketAddr)> {
        let mut raw = RawAddr::empty();
        let mut len = raw.len;
        // SAFETY: the address has room for `len` bytes.
        let fd = check(unsafe { libc::accept4(self.fd(), raw.as_mut_ptr(), &mut len, flags) })?;
        // SAFETY: just made, owned by nobody else.
        Ok((Sock(unsafe { OwnedFd::from_raw_fd(fd) }), raw.parse()))
    }

    pub fn local(&self) -> io::Result<SocketAddr> {
        let mut raw = RawAddr::empty();
        let mut len = raw.len;
        // SAFETY: the address has room for `len` bytes.
        check(unsafe { libc::getsockname(self.fd(), raw.as_mut_ptr(), &mut len) })?;
        Ok(raw.parse())
    }

    pub fn peer(&self) -> io::Result<SocketAddr> {
        let mut raw = RawAddr::empty();
        let mut len = raw.len;
        // SAFETY: the address has room for `len` bytes.
        check(unsafe { libc::getpeername(self.fd(), raw.as_mut_ptr(), &mut len) })?;
        Ok(raw.parse())
    }

    /// The port this socket is bound to.
    #[track_caller]
    pub fn port(&self) -> u16 {
        self.local().expect("getsockname").port()
    }

    pub fn send(&self, bytes: &[u8], flags: c_int) -> io::Result<usize> {
        // SAFETY: the slice is valid.
        check_len(unsafe { libc::send(self.fd(), bytes.as_ptr().cast(), bytes.len(), flags) })
    }

    pub fn recv(&self, bytes: &mut [u8], flags: c_int) -> io::Result<usize> {
        // SAFETY: the slice is valid.
        check_len(unsafe { libc::recv(self.fd(), bytes.as_mut_ptr().cast(), bytes.len(), flags) })
    }

    pub fn write(&self, bytes: &[u8]) -> io::Result<usize> {
        // SAFETY: the slice is valid.
        check_len(unsafe { libc::write(self.fd(), bytes.as_ptr().cast(), bytes.len()) })
    }

    pub fn read(&self, bytes: &mut [u8]) -> io::Result<usize> {
        // SAFETY: the slice is valid.
        check_len(unsafe { libc::read(self.fd(), bytes.as_mut_ptr().cast(), bytes.len()) })
    }

    pub fn writev(&self, parts: &[&[u8]]) -> io::Result<usize> {
        let parts: Vec<io::IoSlice<'_>> = parts.iter().map(|part| io::IoSlice::new(part)).collect();
        // SAFETY: IoSlice has the layout of iovec, by its documentation.
        check_len(unsafe { libc::writev(self.fd(), parts.as_ptr().cast(), parts.len() as c_int) })
    }

    pub fn readv(&self, parts: &mut [&mut [u8]]) -> io::Result<usize> {
        let mut parts: Vec<io::IoSliceMut<'_>> = parts
            .iter_mut()
            .map(|part| io::IoSliceMut::new(part))
            .collect();
        // SAFETY: IoSliceMut has the layout of iovec, by its documentation.
        check_len(unsafe {
            libc::readv(self.fd(), parts.as_mut_ptr().cast(), parts.len() as c_int)
        })
    }

    pub fn sendmsg(&self, parts: &[&[u8]], flags: c_int) -> io::Result<usize> {
        let mut parts: Vec<libc::iovec> = parts
            .iter()
            .map(|part| libc::iovec {
                iov_base: part.as_ptr() as *mut c_void,
                iov_len: part.len(),
            })
            .collect();
        self.sendmsg_raw(&mut parts, flags)
    }

    /// sendmsg with any iovecs, bad ones too.
    pub fn sendmsg_raw(&self, parts: &mut [libc::iovec], flags: c_int) -> io::Result<usize> {
        // SAFETY: all bytes zero is an empty msghdr.
        let mut header: libc::msghdr = unsafe { zeroed() };
        header.msg_iov = parts.as_mut_ptr();
        header.msg_iovlen = parts.len();
        // SAFETY: the kernel checks the memory that the iovecs name.
        check_len(unsafe { libc::sendmsg(self.fd(), &header, flags) })
    }

    /// recvmsg; returns the length and the message's flags.
    pub fn recvmsg(&self, parts: &mut [&mut [u8]], flags: c_int) -> io::Result<(usize, c_int)> {
        let mut parts: Vec<libc::iovec> = parts
            .iter_mut()
            .map(|part| libc::iovec {
                iov_base: part.as_mut_ptr().cast(),
                iov_len: part.len(),
            })
            .collect();
        // SAFETY: all bytes zero is an empty msghdr.
        let mut header: libc::msghdr = unsafe { zeroed() };
        header.msg_iov = parts.as_mut_ptr();
        header.msg_iovlen = parts.len();
        // SAFETY: the iovecs name valid memory of the slices.
        let len = check_len(unsafe { libc::recvmsg(self.fd(), &mut header, flags) })?;
        Ok((len, header.msg_flags))
    }

    pub fn shutdown(&self, how: c_int) -> io::Result<()> {
        // SAFETY: plain numbers.
        check(unsafe { libc::shutdown(self.fd(), how) }).map(drop)
    }

    /// setsockopt of an int.
    pub fn set(&self, level: c_int, option: c_int, value: c_int) -> io::Result<()> {
        self.set_bytes(level, option, &value.to_ne_bytes())
    }

    pub fn set_bytes(&self, level: c_int, option: c_int, value: &[u8]) -> io::Result<()> {
        // SAFETY: the slice is valid.
        check(unsafe {
            libc::setsockopt(
                self.fd(),
                level,
                option,
                value.as_ptr().cast(),
                value.len() as socklen_t,
            )
        })
        .map(drop)
    }

    /// getsockopt of an int.
    pub fn get(&self, level: c_int, option: c_int) -> io::Result<c_int> {
        let mut bytes = [0; 4];
        self.get_bytes(level, option, &mut bytes)?;
        Ok(c_int::from_ne_bytes(bytes))
    }

    /// getsockopt; returns the length that the kernel reports.
    pub fn get_bytes(&self, level: c_int, option: c_int, value: &mut [u8]) -> io::Result<usize> {
        let mut len = value.len() as socklen_t;
        // SAFETY: the slice is valid for `len` bytes.
        check(unsafe {
            libc::getsockopt(
                self.fd(),
                level,
                option,
                value.as_mut_ptr().cast(),
                &mut len,
            )
        })?;
        Ok(len as usize)
    }

    /// Takes the pending error (SO_ERROR), 0 for none.
    #[track_caller]
    pub fn take_error(&self) -> c_int {
        self.get(libc::SOL_SOCKET, libc::SO_ERROR)
            .expect("SO_ERROR")
    }

    /// SO_RCVTIMEO or SO_SNDTIMEO.
    pub fn set_timeout(&self, option: c_int, timeout: Duration) -> io::Result<()> {
        let value = [timeout.as_secs() as i64, i64::from(timeout.subsec_micros())];
        let bytes: Vec<u8> = value.iter().flat_map(|part| part.to_ne_bytes()).collect();
        self.set_bytes(libc::SOL_SOCKET, option, &bytes)
    }

    /// SO_LINGER.
    pub fn set_linger(&self, on: bool, seconds: c_int) -> io::Result<()> {
        let value = [c_int::from(on), seconds];
        let bytes: Vec<u8> = value.iter().flat_map(|part| part.to_ne_bytes()).collect();
        self.set_bytes(libc::SOL_SOCKET, libc::SO_LINGER, &bytes)
    }

    /// SO_REUSEADDR.
    #[track_caller]
    pub fn set_reuseaddr(&self) {
        self.set(libc::SOL_SOCKET, libc::SO_REUSEADDR, 1)
            .expect("SO_REUSEADDR");
    }

    #[track_caller]
    pub fn set_nonblocking(&self, on: bool) {
        let flags = self.fcntl(libc::F_GETFL, 0).expect("F_GETFL");
        let flags = if on {
            flags | libc::O_NONBLOCK
        } else {
            flags & !libc::O_NONBLOCK
        };
        self.fcntl(libc::F_SETFL, flags).expect("F_SETFL");
    }

    pub fn fcntl(&self, command: c_int, argument: c_int) -> io::Result<c_int> {
        // SAFETY: the commands used take an int.
        check(unsafe { libc::fcntl(self.fd(), command, argument) })
    }

    /// An ioctl that stores an int, such as FIONREAD.
    pub fn ioctl(&self, request: libc::c_ulong) -> io::Result<c_int> {
        let mut value = MaybeUninit::<c_int>::zeroed();
        // SAFETY: the request stores an int.
        check(unsafe { libc::ioctl(self.fd(), request, value.as_mut_ptr()) })?;
        // SAFETY: zeroed at the least.
        Ok(unsafe { value.assume_init() })
    }

    /// Bytes that can be read now.
    #[track_caller]
    pub fn readable(&self) -> usize {
        self.ioctl(libc::FIONREAD).expect("FIONREAD") as usize
    }

    /// Bytes sent and not acknowledged.
    #[track_caller]
    pub fn unacked(&self) -> usize {
        self.ioctl(libc::TIOCOUTQ).expect("SIOCOUTQ") as usize
    }

    /// The events that hold now, of those asked for (POLLERR and POLLHUP always).
    pub fn poll_now(&self, events: c_short) -> c_short {
        self.poll(events, 0)
    }

    /// Waits until one of the events holds; returns all that do. Fails the test when none ever does.
    #[track_caller]
    pub fn poll_wait(&self, events: c_short) -> c_short {
        let found = self.poll(events, wait::limit().as_millis() as c_int);
        assert_ne!(found, 0, "poll for {events:#x} timed out");
        found
    }

    /// Waits until all these events hold at once, which a peer's segments may bring one by one.
    #[track_caller]
    pub fn poll_until_all(&self, events: c_short) -> c_short {
        let mut last = 0;
        wait::until_some(&format!("poll events {events:#x} all at once"), || {
            last = self.poll(events, 0);
            (last & events == events).then_some(last)
        })
    }

    fn poll(&self, events: c_short, milliseconds: c_int) -> c_short {
        let mut wanted = libc::pollfd {
            fd: self.fd(),
            events,
            revents: 0,
        };
        // SAFETY: one pollfd.
        check(unsafe { libc::poll(&mut wanted, 1, milliseconds) }).expect("poll");
        wanted.revents
    }

    /// Sends all the bytes, on a blocking socket.
    #[track_caller]
    pub fn send_all(&self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            match self.send(bytes, libc::MSG_NOSIGNAL) {
                Ok(count) => bytes = &bytes[count..],
                Err(error) => panic!("send of {} bytes: {error}", bytes.len()),
            }
        }
    }

    /// Receives exactly `count` bytes, on a blocking socket.
    #[track_caller]
    pub fn recv_exact(&self, count: usize) -> Vec<u8> {
        let mut bytes = vec![0; count];
        let mut at = 0;
        while at < count {
            match self.recv(&mut bytes[at..], 0) {
                Ok(0) => panic!("end of stream after {at} of {count} bytes"),
                Ok(more) => at += more,
                Err(error) => panic!("recv after {at} of {count} bytes: {error}"),
            }
        }
        bytes
    }

    /// Receives until the end of the stream, on a blocking socket.
    #[track_caller]
    pub fn recv_to_end(&self) -> Vec<u8> {
        let mut bytes = Vec::new();
        let mut part = [0; 65536];
        loop {
            match self.recv(&mut part, 0) {
                Ok(0) => return bytes,
                Ok(count) => bytes.extend_from_slice(&part[..count]),
                Err(error) => panic!("recv after {} bytes: {error}", bytes.len()),
            }
        }
    }
}
