// SPDX-License-Identifier: GPL-2.0
//! The settings that there are: name, default, range and meaning come from the module's source (`build.rs`), units from here.

use crate::failure::{Problem, Result};

pub use declared::SETTINGS;

/// The module's declarations, as they are written there: a number may be of any type.
#[allow(clippy::unnecessary_cast)]
mod declared {
    use super::{Kind, Setting};

    include!(concat!(env!("OUT_DIR"), "/settings.rs"));
}

/// A setting, as the module declares it.
#[derive(Debug, PartialEq)]
pub struct Setting {
    /// Its name below `net.oxtcp.`.
    pub name: &'static str,
    /// What it means.
    pub meaning: &'static str,
    /// What values it has.
    pub kind: Kind,
}

/// The values that a setting can have.
#[derive(Debug, PartialEq)]
pub enum Kind {
    /// As many numbers as there are defaults, each in the range.
    Numbers {
        /// The values of a fresh module.
        default: &'static [i64],
        /// The smallest that is let in.
        least: i64,
        /// The largest that is let in.
        most: i64,
    },
    /// One of some names.
    Choice {
        /// The value of a fresh module.
        default: &'static str,
        /// The names.
        names: &'static [&'static str],
    },
    /// Names that can only be read.
    ReadOnly {
        /// The names.
        names: &'static [&'static str],
    },
}

/// What is counted, for those whose name does not say it.
const UNITS: &[(&str, &str)] = &[
    ("abort_on_overflow", "0 or 1"),
    ("base_mss", "bytes"),
    ("challenge_ack_limit", "segments per second"),
    ("comp_sack_delay_ns", "nanoseconds"),
    ("comp_sack_nr", "acknowledgments"),
    ("comp_sack_rtt_percent", "percent"),
    ("comp_sack_slack_ns", "nanoseconds"),
    ("dsack", "0 or 1"),
    ("ecn", "mode"),
    ("ecn_fallback", "0 or 1"),
    ("fast_resets", "0 or 1"),
    ("fast_syncookies", "0 or 1"),
    ("fin_timeout", "seconds"),
    ("invalid_ratelimit", "milliseconds"),
    ("keepalive_intvl", "seconds"),
    ("keepalive_probes", "probes"),
    ("keepalive_time", "seconds"),
    ("limit_output_bytes", "bytes"),
    ("max_orphans", "sockets"),
    ("max_syn_backlog", "half-open connections"),
    ("max_tw_buckets", "TIME-WAITs"),
    ("migrate_req", "0 or 1"),
    ("min_snd_mss", "bytes"),
    ("min_tso_segs", "segments"),
    ("mtu_probe_floor", "bytes"),
    ("mtu_probing", "mode"),
    ("orphan_retries", "retransmissions"),
    ("probe_interval", "seconds"),
    ("probe_threshold", "bytes"),
    ("reset_limit", "segments per second"),
    ("reset_net_rate", "segments per second"),
    ("retries1", "retransmissions"),
    ("retries2", "retransmissions"),
    ("rfc1337", "0 or 1"),
    ("rto_max_ms", "milliseconds"),
    ("rto_min_us", "microseconds"),
    ("sack", "0 or 1"),
    ("shrink_window", "0 or 1"),
    ("slow_start_after_idle", "0 or 1"),
    ("somaxconn", "connections"),
    ("syn_cache", "0 or 1"),
    ("syn_host_share", "percent"),
    ("syn_net_rate", "SYNs per second"),
    ("syn_net_share", "percent"),
    ("syn_retries", "retransmissions"),
    ("synack_retries", "retransmissions"),
    ("syncookies", "mode"),
    ("timestamps", "mode"),
    ("tw_reuse", "mode"),
    ("window_scaling", "0 or 1"),
    ("notsent_lowat", "bytes"),
    ("rmem", "bytes"),
    ("wmem", "bytes"),
    ("congestion_control", "name"),
    ("available_congestion_control", "names"),
];

/// What the built-in TCP has no setting for.
const OURS_ALONE: &[&str] = &[
    "fast_resets",
    "fast_syncookies",
    "reset_limit",
    "reset_net_rate",
    "syn_cache",
    "syn_host_share",
    "syn_net_rate",
    "syn_net_share",
];

/// The setting that a user means by `name`: `NAME`, `net.oxtcp.NAME` or `net/oxtcp/NAME`.
pub fn find(name: &str) -> Result<&'static Setting> {
    let plain = name
        .strip_prefix("net.oxtcp.")
        .or_else(|| name.strip_prefix("net/oxtcp/"))
        .unwrap_or(name);
    if let Some(setting) = SETTINGS.iter().find(|setting| setting.name == plain) {
        return Ok(setting);
    }
    // The built-in TCP's names are ours with a prefix.
    let plain = plain.strip_prefix("net.ipv4.").unwrap_or(plain);
    let plain = plain.strip_prefix("tcp_").unwrap_or(plain);
    let near = SETTINGS
        .iter()
        .map(|setting| (strsim::jaro_winkler(plain, setting.name), setting.name))
        .filter(|(likeness, _)| *likeness > 0.8)
        .max_by(|a, b| a.0.total_cmp(&b.0));
    Err(Problem::usage(match near {
        Some((_, near)) => {
            format!("there is no setting `{name}`. Is `{near}` meant? `oxtcp list` has them all.")
        }
        None => format!("there is no setting `{name}`; `oxtcp list` has them all."),
    }))
}

impl Setting {
    /// Its name as `sysctl` knows it.
    pub fn sysctl(&self) -> String {
        format!("net.oxtcp.{}", self.name)
    }

    /// The name of the built-in TCP's setting of the same meaning; `None` where Linux has none.
    pub fn builtin(&self) -> Option<String> {
        match self.name {
            "somaxconn" => Some("net.core.somaxconn".into()),
            name if OURS_ALONE.contains(&name) => None,
            name => Some(format!("net.ipv4.tcp_{name}")),
        }
    }

    /// What its numbers count.
    pub fn unit(&self) -> &'static str {
        UNITS
            .iter()
            .find(|(name, _)| *name == self.name)
            .map_or("number", |(_, unit)| unit)
    }

    /// The value of a fresh module.
    pub fn default(&self) -> String {
        match self.kind {
            Kind::Numbers { default, .. } => joined(default),
            Kind::Choice { default, .. } => default.into(),
            Kind::ReadOnly { names } => names.join(" "),
        }
    }

    /// Which values are let in, in words.
    pub fn range(&self) -> String {
        match self.kind {
            Kind::Numbers { least, most, .. } => format!("{least} to {most}"),
            Kind::Choice { names, .. } => names.join(", "),
            Kind::ReadOnly { .. } => "read only".into(),
        }
    }

    /// The value that a user means by `text`, as the kernel would print it: `default` is the default.
    pub fn parse(&self, text: &str) -> Result<String> {
        let text = text.trim();
        let refused = |why: String| {
            Err(Problem::usage(format!(
                "{} = {}: {why}",
                self.name,
                if text.is_empty() { "(nothing)" } else { text }
            )))
        };
        match self.kind {
            Kind::ReadOnly { .. } => refused("it can only be read.".into()),
            _ if text == "default" => Ok(self.default()),
            Kind::Choice { names, .. } if names.contains(&text) => Ok(text.into()),
            Kind::Choice { names, .. } => refused(format!("it is one of: {}.", names.join(", "))),
            Kind::Numbers {
                default,
                least,
                most,
            } => {
                let range = format!("{} {least} to {most} ({})", "the range is", self.unit());
                let mut numbers = Vec::new();
                for word in text.split_whitespace() {
                    match word.parse::<i64>() {
                        Ok(number) if (least..=most).contains(&number) => numbers.push(number),
                        Ok(number) => {
                            return refused(format!("{number} is out of range: {range}."))
                        }
                        Err(_) => {
                            return refused(format!(
                                "`{word}` is no whole number that it could be; {range}."
                            ))
                        }
                    }
                }
                match (numbers.len(), default.len()) {
                    (given, wanted) if given == wanted => Ok(joined(&numbers)),
                    (_, 1) => refused(format!("it takes one number; {range}.")),
                    (_, wanted) => refused(format!(
                        "it takes {wanted} numbers, least, default and most, such as '{}'; {range}.",
                        self.default()
                    )),
                }
            }
        }
    }

    /// A value of the kernel's in JSON: a number, several, or text.
    pub fn json(&self, value: &str) -> serde_json::Value {
        let words = value.split_whitespace();
        match self.kind {
            Kind::Numbers { .. } => {
                let numbers: Vec<serde_json::Value> = words
                    .map(|word| word.parse::<i64>().map_or_else(|_| word.into(), Into::into))
                    .collect();
                match <[serde_json::Value; 1]>::try_from(numbers) {
                    Ok([number]) => number,
                    Err(numbers) => numbers.into(),
                }
            }
            Kind::Choice { .. } => value.into(),
            Kind::ReadOnly { .. } => words.collect(),
        }
    }
}

/// A value as it is compared and shown: one space between its words.
pub fn normal(text: &str) -> String {
    text.split_whitespace().collect::<Vec<_>>().join(" ")
}

fn joined(numbers: &[i64]) -> String {
    numbers
        .iter()
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The guide's table is made of the same source by `scripts/sysctl-table`: two readers of it agree.
    #[test]
    fn the_table_is_that_of_the_user_guide() {
        let guide = concat!(
            env!("CARGO_MANIFEST_DIR"),
            "/../../Documentation/user-guide.md"
        );
        let guide = std::fs::read_to_string(guide).expect("the user guide");
        let table = guide
            .split_once("<!-- sysctl-table: begin -->\n")
            .and_then(|(_, rest)| rest.split_once("<!-- sysctl-table: end -->"))
            .expect("its table")
            .0;
        let rows: Vec<&str> = table.lines().skip(2).collect();
        let ours: Vec<String> = SETTINGS
            .iter()
            .map(|s| {
                format!(
                    "| {} | {} | {} | {} |",
                    s.name,
                    s.default(),
                    s.range(),
                    s.meaning
                )
            })
            .collect();
        assert_eq!(
            ours, rows,
            "after a change of the settings: scripts/sysctl-table"
        );
        assert!(ours.len() > 30);
    }

    #[test]
    fn every_setting_has_a_unit_and_no_other_has() {
        let named: Vec<&str> = UNITS.iter().map(|(name, _)| *name).collect();
        for setting in SETTINGS {
            assert!(
                named.contains(&setting.name),
                "{} needs a unit in UNITS",
                setting.name
            );
        }
        for name in named {
            assert!(find(name).is_ok(), "UNITS has {name}, which is no setting");
        }
    }

    #[test]
    fn every_setting_of_ours_alone_is_one() {
        for name in OURS_ALONE {
            assert_eq!(find(name).unwrap().builtin(), None);
        }
        let builtin = find("fin_timeout").unwrap().builtin();
        assert_eq!(builtin.as_deref(), Some("net.ipv4.tcp_fin_timeout"));
    }

    /// Each is shown alone: none begins with what another one says.
    #[test]
    fn every_meaning_stands_alone() {
        for Setting { name, meaning, .. } in SETTINGS {
            let leans = ["The same", "As `", "As ", "This ", "These "]
                .iter()
                .any(|word| meaning.starts_with(word));
            assert!(!leans, "{name}: {meaning}");
        }
    }

    #[test]
    fn every_default_is_in_its_own_range() {
        for setting in SETTINGS {
            if !matches!(setting.kind, Kind::ReadOnly { .. }) {
                assert_eq!(
                    setting.parse(&setting.default()).unwrap(),
                    setting.default()
                );
                assert_eq!(setting.parse("default").unwrap(), setting.default());
            }
        }
    }

    #[test]
    fn find_by_any_name_and_guess() {
        for name in [
            "fin_timeout",
            "net.oxtcp.fin_timeout",
            "net/oxtcp/fin_timeout",
        ] {
            assert_eq!(find(name).unwrap().name, "fin_timeout");
        }
        for name in ["fin_timeot", "tcp_fin_timeout", "net.ipv4.tcp_fin_timeout"] {
            let problem = find(name).unwrap_err();
            assert!(
                problem.message().contains("Is `fin_timeout` meant?"),
                "{problem}"
            );
        }
        assert!(!find("zzz").unwrap_err().message().contains("meant"));
    }

    #[test]
    fn parse_refuses_with_the_range() {
        for (name, value, part) in [
            (
                "fin_timeout",
                "-1",
                "-1 is out of range: the range is 0 to 2147483 (seconds)",
            ),
            ("fin_timeout", "2147484", "out of range"),
            ("fin_timeout", "ten", "`ten` is no whole number"),
            (
                "fin_timeout",
                "99999999999999999999",
                "no whole number that it could be",
            ),
            ("fin_timeout", "", "(nothing): it takes one number"),
            ("fin_timeout", "1 2", "it takes one number"),
            ("sack", "2", "the range is 0 to 1"),
            ("rmem", "4096", "it takes 3 numbers"),
            ("rmem", "0 1 2", "0 is out of range"),
            ("congestion_control", "bbr", "one of: reno, cubic"),
            ("available_congestion_control", "cubic", "can only be read"),
        ] {
            let problem = find(name).unwrap().parse(value).unwrap_err();
            assert!(problem.message().contains(part), "{problem}");
        }
        assert_eq!(find("rmem").unwrap().parse(" 1\t2  3 ").unwrap(), "1 2 3");
        assert_eq!(
            find("notsent_lowat").unwrap().parse("4294967295").unwrap(),
            "4294967295"
        );
    }

    #[test]
    fn json_has_numbers_as_numbers() {
        for (name, value, json) in [
            ("fin_timeout", "60", "60"),
            ("rmem", "4096\t131072\t6291456", "[4096,131072,6291456]"),
            ("congestion_control", "cubic", "\"cubic\""),
            (
                "available_congestion_control",
                "reno cubic",
                "[\"reno\",\"cubic\"]",
            ),
        ] {
            assert_eq!(find(name).unwrap().json(value).to_string(), json);
        }
    }
}
