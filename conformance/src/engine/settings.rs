// SPDX-License-Identifier: GPL-2.0

//! Settings: what scripts set in `net.ipv4` and the module has in `net.oxtcp`.

use std::collections::BTreeMap;

use oxtcp_engine::{Config, Duration};

/// The settings of the one namespace.
pub(super) struct Sysctls {
    pub(super) config: Config,
    pub(super) rmem: [u32; 3],
    pub(super) wmem: [u32; 3],
    pub(super) max_syn_backlog: usize,
    pub(super) somaxconn: u32,
    pub(super) min_tso_segs: u32,
    pub(super) syncookies: u32,
    pub(super) notsent_lowat: u32,
    /// `net.core.rmem_max` and `wmem_max`: the most that SO_RCVBUF and SO_SNDBUF give.
    pub(super) core_max: u32,
    texts: BTreeMap<String, String>,
}

/// What a setting of Linux is to us.
pub(crate) enum Rule {
    /// A field of [`Config`].
    Field(fn(&mut Config, u32) -> Option<()>),
    /// Three sizes.
    Receive,
    Send,
    /// `net.oxtcp.notsent_lowat`
    Lowat,
    /// `net.oxtcp.min_tso_segs`
    LeastBurst,
    /// `net.oxtcp.syncookies`
    Cookies,
    /// Nothing depends on it: we always do what these values ask for.
    Always(&'static [&'static str]),
    /// Nothing depends on it, whatever the value.
    Irrelevant,
}

fn flag(field: &mut bool, value: u32) -> Option<()> {
    *field = match value {
        0 => false,
        1 => true,
        _ => return None,
    };
    Some(())
}

fn byte(field: &mut u8, value: u32) -> Option<()> {
    *field = u8::try_from(value).ok()?;
    Some(())
}

fn millis(field: &mut Duration, value: u32) -> Option<()> {
    *field = Duration::from_millis(u64::from(value));
    Some(())
}

pub(crate) fn rule(name: &str) -> Option<Rule> {
    Some(match name {
        "tcp_rmem" => Rule::Receive,
        "tcp_wmem" => Rule::Send,
        "tcp_timestamps" => Rule::Field(|c, v| flag(&mut c.timestamps, v)),
        "tcp_sack" => Rule::Field(|c, v| flag(&mut c.sack, v)),
        "tcp_dsack" => Rule::Field(|c, v| flag(&mut c.dsack, v)),
        "tcp_syn_retries" => Rule::Field(|c, v| byte(&mut c.syn_retries, v)),
        "tcp_synack_retries" => Rule::Field(|c, v| byte(&mut c.synack_retries, v)),
        "tcp_slow_start_after_idle" => Rule::Field(|c, v| flag(&mut c.slow_start_after_idle, v)),
        "tcp_rto_max_ms" => Rule::Field(|c, v| millis(&mut c.rto_max, v)),
        "tcp_invalid_ratelimit" => Rule::Field(|c, v| millis(&mut c.invalid_ratelimit, v)),
        // Linux ignores it since 4.15.
        "tcp_fack" => Rule::Irrelevant,
        "tcp_reordering" => Rule::Always(&["3"]),
        "tcp_congestion_control" => Rule::Always(&["cubic"]),
        // 3 and 4 are the same since 4.10: tail loss probes.
        "tcp_early_retrans" => Rule::Always(&["3", "4"]),
        "tcp_recovery" => Rule::Always(&["1"]),
        "tcp_frto" => Rule::Always(&["1", "2"]),
        // 3 and more are accurate ECN.
        "tcp_ecn" => Rule::Field(|c, v| (v <= 2).then(|| c.ecn = v as u8)),
        "tcp_ecn_fallback" => Rule::Field(|c, v| flag(&mut c.ecn_fallback, v)),
        "tcp_shrink_window" => Rule::Field(|c, v| flag(&mut c.shrink_window, v)),
        "tcp_notsent_lowat" => Rule::Lowat,
        "tcp_pacing_ss_ratio" => Rule::Always(&["200"]),
        "tcp_pacing_ca_ratio" => Rule::Always(&["120"]),
        "tcp_min_tso_segs" => Rule::LeastBurst,
        // How long a burst may be held back to become larger. Ours are never held back.
        "tcp_tso_win_divisor" => Rule::Irrelevant,
        "tcp_syncookies" => Rule::Cookies,
        // On for both sides, and a socket must ask for it.
        "tcp_fastopen" => Rule::Always(&["0x3"]),
        "tcp_fastopen_key" => Rule::Always(&["a1a1a1a1-b2b2b2b2-c3c3c3c3-d4d4d4d4"]),
        _ => return None,
    })
}

impl Sysctls {
    pub(super) fn new() -> Self {
        Sysctls {
            config: Config::default(),
            rmem: [4096, 131_072, 6_291_456],
            wmem: [4096, 16_384, 4_194_304],
            max_syn_backlog: 4096,
            somaxconn: 4096,
            min_tso_segs: 2,
            syncookies: 1,
            notsent_lowat: u32::MAX,
            core_max: 4 << 20,
            texts: BTreeMap::new(),
        }
    }

    pub(super) fn get(&self, name: &str) -> Option<String> {
        let default = match name {
            "tcp_timestamps" | "tcp_slow_start_after_idle" => "1",
            "tcp_rto_max_ms" => "120000",
            "tcp_min_tso_segs" => "2",
            _ => "",
        };
        Some(
            self.texts
                .get(name)
                .map_or(default, |text| text)
                .to_string(),
        )
    }

    pub(super) fn set(&mut self, name: &str, value: &str) -> Result<(), String> {
        let bad = || format!("sysctl {name}={value} has no counterpart");
        let number = || value.parse::<u32>().ok();
        let sizes = || -> Option<[u32; 3]> {
            let sizes: Result<Vec<u32>, _> = value.split_whitespace().map(str::parse).collect();
            sizes.ok()?.try_into().ok()
        };
        match rule(name).ok_or_else(bad)? {
            Rule::Field(set) => {
                let number = number().ok_or_else(bad)?;
                set(&mut self.config, number).ok_or_else(bad)?;
            }
            Rule::Receive => self.rmem = sizes().ok_or_else(bad)?,
            Rule::Send => self.wmem = sizes().ok_or_else(bad)?,
            Rule::LeastBurst => self.min_tso_segs = number().filter(|n| *n > 0).ok_or_else(bad)?,
            Rule::Cookies => self.syncookies = number().filter(|n| *n <= 2).ok_or_else(bad)?,
            Rule::Lowat => self.notsent_lowat = number().ok_or_else(bad)?,
            Rule::Always(values) if values.contains(&value) => {}
            Rule::Always(_) => return Err(bad()),
            Rule::Irrelevant => {}
        }
        self.texts.insert(name.to_string(), value.to_string());
        Ok(())
    }
}
