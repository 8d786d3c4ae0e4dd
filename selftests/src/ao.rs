// SPDX-License-Identifier: GPL-2.0
//! TCP-AO, as programs set it (linux/tcp.h).

use std::io;
use std::net::{IpAddr, SocketAddr};

use crate::keys::storage;
use crate::sock::RawAddr;
use crate::Sock;

pub const TCP_AO_ADD_KEY: i32 = 38;
pub const TCP_AO_DEL_KEY: i32 = 39;
pub const TCP_AO_INFO: i32 = 40;
pub const TCP_AO_GET_KEYS: i32 = 41;
pub const TCP_AO_REPAIR: i32 = 42;
pub const TCP_AO_KEYF_IFINDEX: u8 = 1;
pub const TCP_AO_KEYF_EXCLUDE_OPT: u8 = 2;
/// The option's kind in a header (RFC 5925).
pub const KIND_AO: u8 = 29;

pub const HMAC_SHA1: &str = "hmac(sha1)";
pub const HMAC_SHA256: &str = "hmac(sha256)";
pub const AES_CMAC: &str = "cmac(aes128)";

/// `struct tcp_ao_add`.
#[derive(Clone)]
pub struct AoKey {
    pub peer: SocketAddr,
    pub prefix: u8,
    pub algorithm: &'static str,
    pub ifindex: i32,
    pub set_current: bool,
    pub set_rnext: bool,
    pub reserved: u32,
    pub reserved2: u16,
    pub send_id: u8,
    pub recv_id: u8,
    /// 0: the usual 12.
    pub mac_len: u8,
    pub flags: u8,
    /// What is said of its length; the kernel reads 80 bytes in any case.
    pub key_len: u8,
    pub key: Vec<u8>,
}

impl AoKey {
    /// For one peer.
    pub fn new(peer: IpAddr, (send_id, recv_id): (u8, u8), key: &[u8]) -> AoKey {
        AoKey {
            peer: SocketAddr::new(peer, 0),
            prefix: if peer.is_ipv4() { 32 } else { 128 },
            algorithm: HMAC_SHA1,
            ifindex: 0,
            set_current: false,
            set_rnext: false,
            reserved: 0,
            reserved2: 0,
            send_id,
            recv_id,
            mac_len: 0,
            flags: 0,
            key_len: key.len() as u8,
            key: key.to_vec(),
        }
    }

    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = storage(&self.peer);
        bytes.extend(self.algorithm.as_bytes());
        bytes.resize(192, 0);
        bytes.extend(self.ifindex.to_ne_bytes());
        let bits = u32::from(self.set_current) | (u32::from(self.set_rnext) << 1);
        bytes.extend((bits | (self.reserved << 2)).to_ne_bytes());
        bytes.extend(self.reserved2.to_ne_bytes());
        bytes.extend([self.prefix, self.send_id, self.recv_id]);
        bytes.extend([self.mac_len, self.flags, self.key_len]);
        bytes.extend(&self.key);
        bytes.resize(288, 0);
        bytes
    }

    pub fn add(&self, sock: &Sock) -> io::Result<()> {
        sock.set_bytes(libc::SOL_TCP, TCP_AO_ADD_KEY, &self.bytes())
    }

    /// TCP_AO_DEL_KEY of this key.
    pub fn deletion(&self) -> Deletion {
        Deletion {
            peer: self.peer,
            prefix: self.prefix,
            ifindex: self.ifindex,
            flags: self.flags & TCP_AO_KEYF_IFINDEX,
            ids: (self.send_id, self.recv_id),
            current: None,
            rnext: None,
            del_async: false,
            reserved: 0,
        }
    }

    pub fn delete(&self, sock: &Sock) -> io::Result<()> {
        self.deletion().set(sock)
    }
}

/// `struct tcp_ao_del`.
#[derive(Clone)]
pub struct Deletion {
    pub peer: SocketAddr,
    pub prefix: u8,
    pub ifindex: i32,
    pub flags: u8,
    pub ids: (u8, u8),
    pub current: Option<u8>,
    pub rnext: Option<u8>,
    pub del_async: bool,
    pub reserved: u32,
}

impl Deletion {
    pub fn bytes(&self) -> Vec<u8> {
        let mut bytes = storage(&self.peer);
        bytes.extend(self.ifindex.to_ne_bytes());
        let bits = u32::from(self.current.is_some())
            | (u32::from(self.rnext.is_some()) << 1)
            | (u32::from(self.del_async) << 2);
        bytes.extend((bits | (self.reserved << 3)).to_ne_bytes());
        bytes.extend([0, 0, self.prefix, self.ids.0, self.ids.1]);
        bytes.extend([
            self.current.unwrap_or(0),
            self.rnext.unwrap_or(0),
            self.flags,
        ]);
        bytes.resize(144, 0);
        bytes
    }

    pub fn set(&self, sock: &Sock) -> io::Result<()> {
        sock.set_bytes(libc::SOL_TCP, TCP_AO_DEL_KEY, &self.bytes())
    }
}

/// `struct tcp_ao_info_opt`.
#[derive(Clone, Copy, Default, PartialEq, Eq, Debug)]
pub struct AoInfo {
    pub current: Option<u8>,
    pub rnext: Option<u8>,
    pub required: bool,
    pub set_counters: bool,
    pub accept_icmps: bool,
    pub good: u64,
    pub bad: u64,
    pub key_not_found: u64,
    pub ao_required: u64,
    pub dropped_icmp: u64,
}

impl AoInfo {
    pub fn bytes(&self) -> Vec<u8> {
        let bits = [
            self.current.is_some(),
            self.rnext.is_some(),
            self.required,
            self.set_counters,
            self.accept_icmps,
        ];
        let bits: u32 = (0..).zip(bits).map(|(at, bit)| u32::from(bit) << at).sum();
        let mut bytes = bits.to_ne_bytes().to_vec();
        bytes.extend([0, 0, self.current.unwrap_or(0), self.rnext.unwrap_or(0)]);
        for counter in [
            self.good,
            self.bad,
            self.key_not_found,
            self.ao_required,
            self.dropped_icmp,
        ] {
            bytes.extend(counter.to_ne_bytes());
        }
        bytes
    }

    pub fn set(&self, sock: &Sock) -> io::Result<()> {
        sock.set_bytes(libc::SOL_TCP, TCP_AO_INFO, &self.bytes())
    }

    pub fn get(sock: &Sock) -> io::Result<AoInfo> {
        let mut bytes = [0; 48];
        sock.get_bytes(libc::SOL_TCP, TCP_AO_INFO, &mut bytes)?;
        let bit = |at: u8| (bytes[0] >> at) & 1 != 0;
        let number = |at: usize| u64::from_ne_bytes(bytes[at..at + 8].try_into().expect("8"));
        Ok(AoInfo {
            current: bit(0).then_some(bytes[6]),
            rnext: bit(1).then_some(bytes[7]),
            required: bit(2),
            set_counters: bit(3),
            accept_icmps: bit(4),
            good: number(8),
            bad: number(16),
            key_not_found: number(24),
            ao_required: number(32),
            dropped_icmp: number(40),
        })
    }
}

/// `struct tcp_ao_getsockopt`.
#[derive(Clone, Debug, PartialEq, Eq, Default)]
pub struct Listed {
    /// As `struct sockaddr_storage`; empty for none.
    pub address: Vec<u8>,
    pub prefix: u8,
    pub algorithm: String,
    pub key: Vec<u8>,
    pub is_current: bool,
    pub is_rnext: bool,
    pub get_all: bool,
    pub ids: (u8, u8),
    pub mac_len: u8,
    pub flags: u8,
    pub ifindex: i32,
    pub good: u64,
    pub bad: u64,
}

impl Listed {
    pub const LEN: usize = 304;

    /// All keys.
    pub fn all() -> Listed {
        Listed {
            get_all: true,
            ..Listed::default()
        }
    }

    pub fn address(peer: IpAddr) -> Vec<u8> {
        let at = RawAddr::new(&SocketAddr::new(peer, 0)).len as usize;
        storage(&SocketAddr::new(peer, 0))[..at].to_vec()
    }

    fn bytes(&self, count: u32) -> Vec<u8> {
        let mut bytes = self.address.clone();
        bytes.resize(272, 0);
        bytes.extend(count.to_ne_bytes());
        let bits = u16::from(self.is_current)
            | (u16::from(self.is_rnext) << 1)
            | (u16::from(self.get_all) << 2);
        bytes.extend(bits.to_ne_bytes());
        bytes.extend([
            self.ids.0,
            self.ids.1,
            self.prefix,
            self.mac_len,
            self.flags,
            0,
        ]);
        bytes.extend(self.ifindex.to_ne_bytes());
        bytes.extend(self.good.to_ne_bytes());
        bytes.extend(self.bad.to_ne_bytes());
        bytes
    }

    /// The keys that are like this one, up to `most`; and how many there are.
    pub fn get(&self, sock: &Sock, most: u32) -> io::Result<(Vec<Listed>, u32)> {
        let mut bytes = vec![0; Listed::LEN * most.max(1) as usize];
        bytes[..Listed::LEN].copy_from_slice(&self.bytes(most));
        // The length is that of one.
        let (first, _) = bytes.split_at_mut(Listed::LEN);
        let len = sock.get_bytes(libc::SOL_TCP, TCP_AO_GET_KEYS, first)?;
        assert_eq!(len, Listed::LEN);
        let found = u32::from_ne_bytes(bytes[272..276].try_into().expect("4"));
        let listed = bytes
            .chunks(Listed::LEN)
            .take(found.min(most) as usize)
            .map(|raw| {
                let number = |at: usize| u64::from_ne_bytes(raw[at..at + 8].try_into().expect("8"));
                let family = u16::from_ne_bytes([raw[0], raw[1]]);
                let len = if i32::from(family) == libc::AF_INET {
                    16
                } else {
                    28
                };
                let name: Vec<u8> = raw[128..192]
                    .iter()
                    .copied()
                    .take_while(|b| *b != 0)
                    .collect();
                Listed {
                    address: raw[..len].to_vec(),
                    prefix: raw[280],
                    algorithm: String::from_utf8(name).expect("a name"),
                    key: raw[192..192 + usize::from(raw[283])].to_vec(),
                    is_current: raw[276] & 1 != 0,
                    is_rnext: raw[276] & 2 != 0,
                    get_all: raw[276] & 4 != 0,
                    ids: (raw[278], raw[279]),
                    mac_len: raw[281],
                    flags: raw[282],
                    ifindex: i32::from_ne_bytes(raw[284..288].try_into().expect("4")),
                    good: number(288),
                    bad: number(296),
                }
            })
            .collect();
        Ok((listed, found))
    }
}
