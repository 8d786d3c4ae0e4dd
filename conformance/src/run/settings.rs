// SPDX-License-Identifier: GPL-2.0

//! What a run of a script is set up with: the command line's, and the lines with `--` of the script.

use crate::script::{Defines, Micros, Script};

/// How the sockets are made and what the packets are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IpVersion {
    /// AF_INET
    V4,
    /// AF_INET6
    V6,
    /// AF_INET6, with IPv4 addresses: IPv4 on the wire.
    Mapped,
}

impl IpVersion {
    /// The variants that the kernel's `ksft_runner.sh` runs, in its order.
    pub const ALL: [IpVersion; 3] = [IpVersion::V4, IpVersion::V6, IpVersion::Mapped];

    /// The name on packetdrill's command line.
    pub fn name(self) -> &'static str {
        match self {
            IpVersion::V4 => "ipv4",
            IpVersion::V6 => "ipv6",
            IpVersion::Mapped => "ipv4-mapped-ipv6",
        }
    }
}

/// See above.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How sockets are made.
    pub version: IpVersion,
    /// How much too early or too late something may be.
    pub tolerance: Micros,
    /// The same as a share of the time since the event before, in thousandths, if that is more.
    pub tolerance_share: Micros,
    /// Microseconds per tick of TSval; 0: it is not judged.
    pub timestamp_tick: Micros,
    /// The size of the segments that an inbound packet stands for.
    pub mss: Option<u16>,
    /// Segments are not put together before they are compared.
    pub strict_segments: bool,
    /// Names that stand for other texts.
    pub defines: Defines,
}

/// Linux's timers are exact to a tick of the clock at best; packetdrill's default.
pub const TOLERANCE: Micros = 4000;

/// The kernel's timer wheel is exact to an eighth of a timer's length (`kernel/time/timer.c`); packetdrill's default.
pub const WHEEL_SHARE: Micros = 125;

/// The port that scripts bind to, and the one that they connect to: packetdrill's.
pub const LOCAL_PORT: u16 = 8080;
/// See above.
pub const CONNECT_PORT: u16 = 8080;

impl Settings {
    /// What `ksft_runner.sh` gives for `version`.
    pub fn new(version: IpVersion) -> Self {
        let (cookie, zero, level, kind) = match version {
            IpVersion::V4 => (
                "3021b9d889017eeb",
                "b7c12350a90dc8f5",
                "SOL_IP",
                "IP_RECVERR",
            ),
            IpVersion::Mapped => (
                "3021b9d889017eeb",
                "b7c12350a90dc8f5",
                "SOL_IPV6",
                "IPV6_RECVERR",
            ),
            IpVersion::V6 => (
                "c1d1e9742a47a9bc",
                "82af1a8f9a205c34",
                "SOL_IPV6",
                "IPV6_RECVERR",
            ),
        };
        Settings {
            version,
            tolerance: TOLERANCE,
            tolerance_share: 0,
            timestamp_tick: 0,
            mss: None,
            strict_segments: false,
            defines: Defines::new([
                ("TFO_COOKIE", cookie),
                ("TFO_COOKIE_ZERO", zero),
                ("CMSG_LEVEL_IP", level),
                ("CMSG_TYPE_RECVERR", kind),
            ]),
        }
    }

    /// Takes over the script's own settings.
    ///
    /// # Errors
    ///
    /// Line and name of one that is not known.
    pub fn apply(&mut self, script: &Script) -> Result<(), (u32, String)> {
        for option in &script.options {
            let bad = || Err((option.line, format!("`--{}` is unknown", option.name)));
            let number = option.value.as_ref().and_then(|value| value.parse().ok());
            match (option.name.as_str(), number) {
                // Chosen before, by `versions`.
                ("ip_version", _) => {}
                ("tolerance_usecs", Some(micros)) => self.tolerance = micros,
                ("tcp_ts_tick_usecs", Some(micros)) => self.timestamp_tick = micros,
                ("mss", Some(mss)) => match u16::try_from(mss) {
                    Ok(mss) => self.mss = Some(mss),
                    Err(_) => return bad(),
                },
                ("strict_segments", None) => self.strict_segments = true,
                // About packetdrill's own memory.
                ("send_omit_free", None) => {}
                _ => return bad(),
            }
        }
        Ok(())
    }

    /// How much too early or too late something may be that comes `span` after what was before it.
    pub fn tolerance_of(&self, span: Micros) -> Micros {
        self.tolerance.max(span * self.tolerance_share / 1000)
    }

    pub(super) fn first_remote_port(&self) -> u16 {
        40_000
    }

    pub(super) fn local_port(&self) -> u16 {
        LOCAL_PORT
    }

    pub(super) fn connect_port(&self) -> u16 {
        CONNECT_PORT
    }
}

/// The variants that a script is run in: all, unless it says otherwise.
///
/// # Errors
///
/// Line and text of a version that is not known.
pub fn versions(script: &Script) -> Result<Vec<IpVersion>, (u32, String)> {
    let Some(option) = script.options.iter().find(|o| o.name == "ip_version") else {
        return Ok(IpVersion::ALL.to_vec());
    };
    let name = option.value.as_deref().unwrap_or("");
    match IpVersion::ALL.iter().find(|v| v.name() == name) {
        Some(version) => Ok(vec![*version]),
        None => Err((option.line, format!("--ip_version={name}"))),
    }
}

/// The constants of `<linux/tcp.h>` in assertions.
pub(super) fn constant(name: &str) -> Option<i64> {
    Some(match name {
        "TCP_ESTABLISHED" => 1,
        "TCP_SYN_SENT" => 2,
        "TCP_SYN_RECV" => 3,
        "TCP_FIN_WAIT1" => 4,
        "TCP_FIN_WAIT2" => 5,
        "TCP_TIME_WAIT" => 6,
        "TCP_CLOSE" => 7,
        "TCP_CLOSE_WAIT" => 8,
        "TCP_LAST_ACK" => 9,
        "TCP_LISTEN" => 10,
        "TCP_CLOSING" => 11,
        "TCP_CA_Open" => 0,
        "TCP_CA_Disorder" => 1,
        "TCP_CA_CWR" => 2,
        "TCP_CA_Recovery" => 3,
        "TCP_CA_Loss" => 4,
        "TCPI_OPT_TIMESTAMPS" => 1,
        "TCPI_OPT_SACK" => 2,
        "TCPI_OPT_WSCALE" => 4,
        "TCPI_OPT_ECN" => 8,
        "TCPI_OPT_ECN_SEEN" => 16,
        "TCPI_OPT_SYN_DATA" => 32,
        _ => return None,
    })
}
