// SPDX-License-Identifier: GPL-2.0

//! Ends and flows: what the table is keyed by.

use kernel::sync::atomic::Atomic;

use crate::sys::once::Once;

/// An address and a port. IPv4 addresses are in their IPv4-mapped form.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Endpoint {
    pub(crate) ip: [u8; 16],
    pub(crate) port: u16,
}

impl Endpoint {
    /// Any address, port 0: no end. A listener's remote end, as it is shown.
    pub(crate) const NONE: Self = Self {
        ip: [0; 16],
        port: 0,
    };

    /// The IPv4-mapped form of an IPv4 address.
    #[inline]
    pub(crate) fn mapped(v4: [u8; 4]) -> [u8; 16] {
        // As one number: byte by byte each is loaded and stored.
        (0xffff << 32 | u128::from(u32::from_be_bytes(v4))).to_be_bytes()
    }

    /// The IPv4 address, when this is an IPv4-mapped one.
    #[inline]
    pub(crate) fn v4(&self) -> Option<[u8; 4]> {
        // As one number: a match on the bytes is compiled to a test of each.
        let ip = u128::from_be_bytes(self.ip);
        (ip >> 32 == 0xffff).then_some((ip as u32).to_be_bytes())
    }
}

/// What the table is keyed by; the layout is known to `helpers.c` (36 bytes behind the node, read as words).
#[derive(Clone, Copy, Eq)]
#[repr(C, align(4))]
pub(crate) struct FlowKey {
    local_ip: [u8; 16],
    remote_ip: [u8; 16],
    ports: [u16; 2],
}

impl PartialEq for FlowKey {
    /// By numbers, not by a call of memcmp() for each address.
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        let number = u128::from_ne_bytes;
        self.ports == other.ports
            && number(self.remote_ip) == number(other.remote_ip)
            && number(self.local_ip) == number(other.local_ip)
    }
}

impl FlowKey {
    pub(crate) const fn new(local: Endpoint, remote: Endpoint) -> Self {
        Self {
            local_ip: local.ip,
            remote_ip: remote.ip,
            ports: [local.port, remote.port],
        }
    }

    /// Where the listener at this end stands, or the post of those that share it: under a remote end that no packet has, as IP takes none from a
    /// multicast address.
    pub(crate) const fn of_listener(local: Endpoint) -> Self {
        // Members' numbers are less.
        Self::of_member(local, u16::MAX)
    }

    /// Where one of those stands that share an end, by its number.
    pub(crate) const fn of_member(local: Endpoint, number: u16) -> Self {
        let remote = Endpoint {
            ip: [0xff; 16],
            port: number,
        };
        Self::new(local, remote)
    }

    /// The key as bytes, for hashing.
    pub(crate) fn to_bytes(self) -> [u8; 36] {
        let mut bytes = [0; 36];
        let [a, b] = self.ports.map(u16::to_ne_bytes);
        bytes[..16].copy_from_slice(&self.local_ip);
        bytes[16..32].copy_from_slice(&self.remote_ip);
        bytes[32..34].copy_from_slice(&a);
        bytes[34..].copy_from_slice(&b);
        bytes
    }

    /// The key as three words, for hashing, when it is one of IPv4.
    #[inline]
    pub(crate) fn v4_words(&self) -> Option<[u32; 3]> {
        let local = self.local().v4()?;
        let remote = self.remote().v4()?;
        let [a, b] = self.ports;
        let ports = u32::from(a) << 16 | u32::from(b);
        Some([u32::from_ne_bytes(local), u32::from_ne_bytes(remote), ports])
    }

    /// The key as four words, for a hash that may be one for two flows: addresses are folded.
    pub(crate) fn folded_words(&self) -> [u32; 4] {
        let [local, remote] = [self.local_ip, self.remote_ip].map(|ip| {
            let ip = u128::from_ne_bytes(ip);
            (ip ^ (ip >> 64)) as u64
        });
        let [a, b] = self.ports;
        let ports = u32::from(a) << 16 | u32::from(b);
        let local = (local ^ (local >> 32)) as u32;
        [remote as u32, (remote >> 32) as u32, local, ports]
    }

    pub(crate) fn local(&self) -> Endpoint {
        Endpoint {
            ip: self.local_ip,
            port: self.ports[0],
        }
    }

    pub(crate) fn remote(&self) -> Endpoint {
        Endpoint {
            ip: self.remote_ip,
            port: self.ports[1],
        }
    }
}

/// A key that may be read while it is written, word by word: some of the one key then, and some of the other.
#[repr(transparent)]
pub(crate) struct KeyCell([Atomic<u32>; KeyCell::WORDS]);

impl KeyCell {
    const WORDS: usize = core::mem::size_of::<FlowKey>() / core::mem::size_of::<u32>();

    pub(crate) fn new(key: FlowKey) -> Self {
        Self(Self::words(key).map(Atomic::new))
    }

    pub(crate) fn load(&self) -> FlowKey {
        let words = self.0.each_ref().map(|word| word.read_once());
        // SAFETY: A key is plain bytes without gaps, and any are one.
        unsafe { core::mem::transmute::<[u32; Self::WORDS], FlowKey>(words) }
    }

    /// Whether it is that key.
    #[inline]
    pub(crate) fn is(&self, key: &FlowKey) -> bool {
        // SAFETY: As in `load`.
        let words = unsafe { &*core::ptr::from_ref(key).cast::<[u32; Self::WORDS]>() };
        self.0
            .iter()
            .zip(words)
            .all(|(ours, word)| ours.read_once() == *word)
    }

    pub(crate) fn store(&self, key: FlowKey) {
        for (to, from) in self.0.iter().zip(Self::words(key)) {
            to.write_once(from);
        }
    }

    fn words(key: FlowKey) -> [u32; Self::WORDS] {
        // SAFETY: As in `load`.
        unsafe { core::mem::transmute::<FlowKey, [u32; Self::WORDS]>(key) }
    }
}
