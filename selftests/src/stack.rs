// SPDX-License-Identifier: GPL-2.0
//! Which TCP a socket belongs to: the built-in one or oxtcp, over IPv4 or IPv6.

use std::fs;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::OnceLock;

/// Econet's retired number, oxtcp's default family.
const DEFAULT_FAMILY: i32 = 19;
/// The protocol number that makes an oxtcp socket one of IPv6 (AF_SMC's convention).
const PROTOCOL_IPV6: i32 = 1;

/// oxtcp's default protocol number of AF_INET and AF_INET6.
const DEFAULT_DOOR: i32 = 253;

/// Set by `--doors`: sockets of ours are made by AF_INET and AF_INET6.
static BY_DOORS: AtomicBool = AtomicBool::new(false);

/// Makes [`Stack::ours`] mean sockets by AF_INET and AF_INET6, with oxtcp's protocol number there.
pub fn use_doors() {
    BY_DOORS.store(true, Ordering::Relaxed);
}

/// Whether sockets of ours are made by AF_INET and AF_INET6.
pub fn by_doors() -> bool {
    BY_DOORS.load(Ordering::Relaxed)
}

/// Set by `--builtin`: "ours" then is the built-in TCP too, to check the tests themselves.
static BUILTIN_ONLY: AtomicBool = AtomicBool::new(false);

/// Makes [`Stack::ours`] mean the built-in TCP.
pub fn use_builtin_only() {
    BUILTIN_ONLY.store(true, Ordering::Relaxed);
}

/// Whether this is a run of the tests against the built-in TCP alone.
pub fn builtin_only() -> bool {
    BUILTIN_ONLY.load(Ordering::Relaxed)
}

/// The family's number: OXTCP_FAMILY, or the loaded module's parameter, or the default. Looked for once: a
/// program of the built-in TCP does not read a file for each of its sockets, and `bench` compares with one.
pub fn family_number() -> i32 {
    static NUMBER: OnceLock<i32> = OnceLock::new();
    *NUMBER.get_or_init(|| {
        std::env::var("OXTCP_FAMILY")
            .ok()
            .and_then(|text| text.parse().ok())
            .or_else(|| parameter("family"))
            .unwrap_or(DEFAULT_FAMILY)
    })
}

/// Our protocol number of AF_INET and AF_INET6: the loaded module's parameter, or the default. Looked for once.
pub fn door_number() -> i32 {
    static NUMBER: OnceLock<i32> = OnceLock::new();
    *NUMBER.get_or_init(|| parameter("protocol").unwrap_or(DEFAULT_DOOR))
}

/// A parameter of the loaded module.
fn parameter(name: &str) -> Option<i32> {
    let text = fs::read_to_string(format!("/sys/module/oxtcp/parameters/{name}")).ok()?;
    text.trim().parse().ok()
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ip {
    V4,
    V6,
}

impl Ip {
    pub const BOTH: [Ip; 2] = [Ip::V4, Ip::V6];

    pub fn name(self) -> &'static str {
        match self {
            Ip::V4 => "ipv4",
            Ip::V6 => "ipv6",
        }
    }
}

/// A TCP over an IP version. An IPv6 one is dual-stack, as usual.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stack {
    pub ours: bool,
    pub ip: Ip,
}

impl Stack {
    /// oxtcp, or the built-in TCP in a `--builtin` run.
    pub fn ours(ip: Ip) -> Stack {
        Stack {
            ours: !builtin_only(),
            ip,
        }
    }

    pub fn builtin(ip: Ip) -> Stack {
        Stack { ours: false, ip }
    }

    pub fn name(self) -> &'static str {
        if self.ours {
            "ours"
        } else {
            "builtin"
        }
    }

    /// The first argument of socket(2).
    pub fn domain(self) -> i32 {
        match (self.ours && !by_doors(), self.ip) {
            (true, _) => family_number(),
            (false, Ip::V4) => libc::AF_INET,
            (false, Ip::V6) => libc::AF_INET6,
        }
    }

    /// The third argument of socket(2).
    pub fn protocol(self) -> i32 {
        match (self.ours, self.ip) {
            (true, _) if by_doors() => door_number(),
            (true, Ip::V6) => PROTOCOL_IPV6,
            _ => 0,
        }
    }

    pub fn with_ip(self, ip: Ip) -> Stack {
        Stack { ip, ..self }
    }

    pub fn loopback(self) -> IpAddr {
        match self.ip {
            Ip::V4 => Ipv4Addr::LOCALHOST.into(),
            Ip::V6 => Ipv6Addr::LOCALHOST.into(),
        }
    }

    pub fn unspecified(self) -> IpAddr {
        match self.ip {
            Ip::V4 => Ipv4Addr::UNSPECIFIED.into(),
            Ip::V6 => Ipv6Addr::UNSPECIFIED.into(),
        }
    }

    /// The loopback address with a port; 0 lets the kernel choose.
    pub fn local(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.loopback(), port)
    }

    /// The wildcard address with a port.
    pub fn any(self, port: u16) -> SocketAddr {
        SocketAddr::new(self.unspecified(), port)
    }

    /// An address of the documentation's blocks, which no interface has unless a test gives it one.
    pub fn foreign(self, port: u16) -> SocketAddr {
        let ip: IpAddr = match self.ip {
            Ip::V4 => Ipv4Addr::new(203, 0, 113, 77).into(),
            Ip::V6 => Ipv6Addr::new(0x2001, 0xdb8, 0xffff, 0, 0, 0, 0, 0x77).into(),
        };
        SocketAddr::new(ip, port)
    }

    /// The table of this stack's sockets under /proc/net.
    pub fn proc_name(self) -> &'static str {
        match (self.ours, self.ip) {
            (true, Ip::V4) => "oxtcp",
            (true, Ip::V6) => "oxtcp6",
            (false, Ip::V4) => "tcp",
            (false, Ip::V6) => "tcp6",
        }
    }
}

/// The two ends of a connection, both of one IP version.
#[derive(Clone, Copy, Debug)]
pub struct Pair {
    pub client: Stack,
    pub server: Stack,
}

impl Pair {
    pub fn ip(self) -> Ip {
        self.client.ip
    }

    /// ours to the built-in TCP, the built-in TCP to ours, ours to ours; over IPv4 and IPv6.
    pub fn matrix() -> Vec<Pair> {
        Ip::BOTH
            .into_iter()
            .flat_map(|ip| {
                let (ours, builtin) = (Stack::ours(ip), Stack::builtin(ip));
                if builtin_only() {
                    vec![Pair {
                        client: builtin,
                        server: builtin,
                    }]
                } else {
                    vec![
                        Pair {
                            client: ours,
                            server: builtin,
                        },
                        Pair {
                            client: builtin,
                            server: ours,
                        },
                        Pair {
                            client: ours,
                            server: ours,
                        },
                    ]
                }
            })
            .collect()
    }

    pub fn name(self) -> String {
        format!(
            "{}.{}_to_{}",
            self.ip().name(),
            self.client.name(),
            self.server.name()
        )
    }
}
