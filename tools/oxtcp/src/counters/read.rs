// SPDX-License-Identifier: GPL-2.0
//! `/proc/net/oxtcp_stat`, which has the layout of `/proc/net/netstat`: a line of names, a line of values, both behind the
//! group's name.

use std::collections::BTreeMap;
use std::fs;
use std::io;

use crate::failure::{Problem, Result};
use crate::host::Host;

/// The counters of a namespace, by name.
pub type Counters = BTreeMap<String, u64>;

/// All of them; `None` where the loaded module does not count.
pub fn read(host: &Host) -> Result<Option<Counters>> {
    host.need_module()?;
    let path = host.path("proc/net/oxtcp_stat");
    match fs::read_to_string(&path) {
        Ok(text) => match parse(&text) {
            Some(counters) => Ok(Some(counters)),
            None => Err(Problem::failed(format!(
                "{} cannot be read by this command: the loaded module is of another version.",
                path.display()
            ))),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(error) => Err(Problem::io("read", &path, &error)),
    }
}

/// The counters of a file; `None` for what is none.
pub fn parse(text: &str) -> Option<Counters> {
    let mut counters = Counters::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        let (group, names) = line.split_once(':')?;
        let (same, values) = lines.next()?.split_once(':')?;
        let (mut names, mut values) = (names.split_whitespace(), values.split_whitespace());
        if group != same {
            return None;
        }
        loop {
            match (names.next(), values.next()) {
                (Some(name), Some(value)) => counters.insert(name.into(), value.parse().ok()?),
                (None, None) => break,
                _ => return None,
            };
        }
    }
    Some(counters)
}

/// What was added since then. A counter that is smaller than it was began anew: the module was loaded again.
pub fn since(before: &Counters, now: &Counters) -> Counters {
    now.iter()
        .map(|(name, value)| {
            let before = before.get(name).copied().unwrap_or(0);
            (name.clone(), value.checked_sub(before).unwrap_or(*value))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_of_two_lines() {
        let counters =
            parse("TcpExt: A B\nTcpExt: 1 18446744073709551615\nIpExt: C\nIpExt: 3\n").unwrap();
        let pairs: Vec<(&str, u64)> = counters
            .iter()
            .map(|(name, value)| (name.as_str(), *value))
            .collect();
        assert_eq!(pairs, [("A", 1), ("B", u64::MAX), ("C", 3)]);
        assert_eq!(parse(""), Some(Counters::new()));
        for text in [
            "A",
            "T: A",
            "T: A\nX: 1",
            "T: A B\nT: 1",
            "T: A\nT: 1 2",
            "T: A\nT: x",
            "T: A\nT: -1",
        ] {
            assert_eq!(parse(text), None, "{text}");
        }
    }

    /// The kernel's own file of that layout, on the machine that tests.
    #[test]
    fn the_kernels_netstat_can_be_read() {
        if let Ok(text) = fs::read_to_string("/proc/net/netstat") {
            let counters = parse(&text).expect("/proc/net/netstat");
            assert!(counters.contains_key("ListenOverflows") && counters.len() > 50);
        }
    }

    #[test]
    fn since_then() {
        let of = |a, b| Counters::from([("A".to_string(), a), ("B".to_string(), b)]);
        assert_eq!(since(&of(1, 5), &of(4, 5)), of(3, 0));
        assert_eq!(since(&of(9, 5), &of(4, 6)), of(4, 1));
        assert_eq!(since(&Counters::new(), &of(4, 6)), of(4, 6));
    }

    #[test]
    fn no_file_is_no_error() {
        let (_folder, host) = crate::settings::store::tests::loaded();
        assert_eq!(read(&host).unwrap(), None);
        fs::create_dir_all(host.path("proc/net")).unwrap();
        fs::write(host.path("proc/net/oxtcp_stat"), "nonsense\n").unwrap();
        assert!(read(&host)
            .unwrap_err()
            .message()
            .contains("another version"));
    }
}
