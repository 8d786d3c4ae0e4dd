// SPDX-License-Identifier: GPL-2.0
//! sock_diag of either TCP: requests (`struct inet_diag_req_v2`) and answers (`struct inet_diag_msg`) by hand.

use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use crate::errno;
use crate::{Ip, Stack};

/// The kind of a request.
pub const BY_FAMILY: u16 = 20;
/// The kind of a request.
pub const DESTROY: u16 = 21;

/// Attributes.
pub const INFO: u16 = 2;
/// As above.
pub const CONGESTION: u16 = 4;
/// As above.
pub const SKMEMINFO: u16 = 7;
/// As above.
pub const SHUTDOWN: u16 = 8;
/// One of oxtcp's own, which comes with INFO.
pub const QUEUES: u16 = 4097;

/// What a request says.
#[derive(Clone)]
pub struct Request {
    /// The socket family that answers.
    pub family: u8,
    pub protocol: u8,
    /// Bits of attributes.
    pub extensions: u8,
    /// The IP version, for a family that has both; 0 is both.
    pub version: u8,
    pub states: u32,
    /// `struct inet_diag_sockid`.
    pub id: [u8; 48],
    /// What stands behind.
    pub rest: Vec<u8>,
}

impl Request {
    /// For all that a stack has.
    pub fn all(stack: Stack) -> Request {
        let version = match stack.ip {
            Ip::V4 => libc::AF_INET,
            Ip::V6 => libc::AF_INET6,
        } as u8;
        Request {
            family: if stack.ours {
                crate::stack::family_number() as u8
            } else {
                version
            },
            protocol: libc::IPPROTO_TCP as u8,
            extensions: 0,
            version: if stack.ours { version } else { 0 },
            states: u32::MAX,
            id: [0; 48],
            rest: Vec::new(),
        }
    }

    /// For what an answer is about.
    pub fn exact(stack: Stack, told: &Told) -> Request {
        Request {
            id: told.id,
            ..Request::all(stack)
        }
    }

    /// With an attribute asked for.
    pub fn with(mut self, attribute: u16) -> Request {
        self.extensions |= 1 << (attribute - 1);
        self
    }

    /// As it is sent.
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = vec![self.family, self.protocol, self.extensions, self.version];
        bytes.extend(self.states.to_ne_bytes());
        bytes.extend(self.id);
        bytes.extend(&self.rest);
        bytes
    }
}

/// What is told of a socket.
#[derive(Clone, Debug)]
pub struct Told {
    pub version: u8,
    pub state: u8,
    pub timer: u8,
    pub id: [u8; 48],
    pub local: SocketAddr,
    pub remote: SocketAddr,
    pub cookie: u64,
    pub recv_queue: u32,
    pub send_queue: u32,
    pub uid: u32,
    pub inode: u32,
    pub attributes: BTreeMap<u16, Vec<u8>>,
}

fn word(bytes: &[u8], at: usize) -> u32 {
    u32::from_ne_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

impl Told {
    fn parse(bytes: &[u8]) -> Told {
        let id: [u8; 48] = bytes[4..52].try_into().expect("an id");
        let version = bytes[0];
        let ip = |at: usize| -> IpAddr {
            if i32::from(version) == libc::AF_INET {
                let four: [u8; 4] = id[at..at + 4].try_into().expect("an address");
                assert_eq!(id[at + 4..at + 16], [0; 12], "behind an IPv4 address");
                Ipv4Addr::from(four).into()
            } else {
                assert_eq!(i32::from(version), libc::AF_INET6);
                let sixteen: [u8; 16] = id[at..at + 16].try_into().expect("an address");
                Ipv6Addr::from(sixteen).into()
            }
        };
        let port = |at: usize| u16::from_be_bytes([id[at], id[at + 1]]);
        let mut attributes = BTreeMap::new();
        let mut rest = &bytes[72..];
        while !rest.is_empty() {
            let len = usize::from(u16::from_ne_bytes([rest[0], rest[1]]));
            let kind = u16::from_ne_bytes([rest[2], rest[3]]);
            assert!((4..=rest.len()).contains(&len), "an attribute of {len}");
            let old = attributes.insert(kind, rest[4..len].to_vec());
            assert_eq!(old, None, "attribute {kind} twice");
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        }
        Told {
            version,
            state: bytes[1],
            timer: bytes[2],
            id,
            local: SocketAddr::new(ip(4), port(0)),
            remote: SocketAddr::new(ip(20), port(2)),
            cookie: u64::from(word(&id, 40)) | (u64::from(word(&id, 44)) << 32),
            recv_queue: word(bytes, 56),
            send_queue: word(bytes, 60),
            uid: word(bytes, 64),
            inode: word(bytes, 68),
            attributes,
        }
    }
}

/// A netlink socket.
pub struct Diag {
    fd: OwnedFd,
    buffer: Vec<u8>,
}

impl Diag {
    /// In the namespace of this thread.
    pub fn open() -> Diag {
        const NETLINK_SOCK_DIAG: i32 = 4;
        // SAFETY: no pointers.
        let fd = unsafe {
            libc::socket(
                libc::AF_NETLINK,
                libc::SOCK_RAW | libc::SOCK_CLOEXEC,
                NETLINK_SOCK_DIAG,
            )
        };
        let fd = errno::check(fd).expect("a netlink socket");
        Diag {
            // SAFETY: just opened, and nobody else's.
            fd: unsafe { OwnedFd::from_raw_fd(fd) },
            buffer: vec![0; 1 << 16],
        }
    }

    /// Sends a request with a payload of these bytes.
    pub fn send(&self, kind: u16, flags: i32, payload: &[u8]) {
        let mut bytes = Vec::new();
        bytes.extend((16 + payload.len() as u32).to_ne_bytes());
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(((flags | libc::NLM_F_REQUEST) as u16).to_ne_bytes());
        bytes.extend(7u32.to_ne_bytes());
        bytes.extend(0u32.to_ne_bytes());
        bytes.extend(payload);
        // SAFETY: the slice is valid.
        let sent =
            unsafe { libc::send(self.fd.as_raw_fd(), bytes.as_ptr().cast(), bytes.len(), 0) };
        assert_eq!(errno::check_len(sent).expect("send"), bytes.len());
    }

    /// One packet of an answer: what it tells, and its end, if that is in it: none, or the error's number.
    pub fn receive(&mut self) -> (Vec<Told>, Option<i32>) {
        // SAFETY: the slice is valid.
        let len = unsafe {
            libc::recv(
                self.fd.as_raw_fd(),
                self.buffer.as_mut_ptr().cast(),
                self.buffer.len(),
                0,
            )
        };
        let mut rest = &self.buffer[..errno::check_len(len).expect("recv")];
        let mut told = Vec::new();
        while !rest.is_empty() {
            let len = word(rest, 0) as usize;
            let kind = u16::from_ne_bytes([rest[4], rest[5]]);
            assert_eq!(word(rest, 8), 7, "the number of the request");
            let payload = &rest[16..len];
            match i32::from(kind) {
                libc::NLMSG_ERROR | libc::NLMSG_DONE => {
                    return (told, Some(-(word(payload, 0) as i32)))
                }
                kind => {
                    assert_eq!(kind, i32::from(BY_FAMILY));
                    told.push(Told::parse(payload));
                }
            }
            rest = rest.get(len.next_multiple_of(4)..).unwrap_or(&[]);
        }
        (told, None)
    }

    /// All that there is.
    pub fn dump(&mut self, request: &Request) -> io::Result<Vec<Told>> {
        self.send(BY_FAMILY, libc::NLM_F_DUMP, &request.bytes());
        let mut all = Vec::new();
        loop {
            let (told, end) = self.receive();
            all.extend(told);
            match end {
                Some(0) => return Ok(all),
                Some(number) => return Err(io::Error::from_raw_os_error(number)),
                None => {}
            }
        }
    }

    /// The messages of a dump as they come, one behind the other, without the last one (NLMSG_DONE).
    pub fn record(&mut self, request: &Request) -> Vec<u8> {
        self.send(BY_FAMILY, libc::NLM_F_DUMP, &request.bytes());
        let mut recorded = Vec::new();
        loop {
            let (told, end) = self.receive();
            let mut at = 0;
            for _ in told {
                let len = (word(&self.buffer, at) as usize).next_multiple_of(4);
                recorded.extend(&self.buffer[at..at + len]);
                at += len;
            }
            if let Some(number) = end {
                assert_eq!(number, 0, "the dump failed");
                return recorded;
            }
        }
    }

    /// Begins a dump, and reads its first packet.
    pub fn begin(&mut self, request: &Request) -> Vec<Told> {
        self.send(BY_FAMILY, libc::NLM_F_DUMP, &request.bytes());
        self.receive().0
    }

    /// One socket.
    pub fn find(&mut self, request: &Request) -> io::Result<Told> {
        self.send(BY_FAMILY, 0, &request.bytes());
        match self.receive() {
            (mut told, None) => Ok(told.remove(0)),
            (_, Some(number)) => Err(io::Error::from_raw_os_error(number)),
        }
    }

    /// Ends one.
    pub fn destroy(&mut self, request: &Request) -> io::Result<()> {
        self.send(DESTROY, libc::NLM_F_ACK, &request.bytes());
        match self.receive().1 {
            Some(0) => Ok(()),
            Some(number) => Err(io::Error::from_raw_os_error(number)),
            None => panic!("no acknowledgment"),
        }
    }

    /// What comes of a request with this payload.
    pub fn refused(&mut self, kind: u16, flags: i32, payload: &[u8]) -> i32 {
        self.send(kind, flags | libc::NLM_F_ACK, payload);
        self.receive().1.expect("an error or an acknowledgment")
    }
}

/// All sockets of a stack in the namespace of this thread, with all that is told of them.
pub fn all(stack: Stack) -> Vec<Told> {
    let request = [INFO, CONGESTION, SKMEMINFO, SHUTDOWN]
        .into_iter()
        .fold(Request::all(stack), Request::with);
    Diag::open().dump(&request).expect("a dump")
}
