// SPDX-License-Identifier: GPL-2.0
//! Names of ports, from `/etc/services`.

use std::collections::HashMap;
use std::fs;

use crate::host::Host;

/// The names of TCP's ports.
#[derive(Debug, Default)]
pub struct Services {
    names: HashMap<u16, String>,
    ports: HashMap<String, u16>,
}

impl Services {
    /// Those of the system; a system without the file has no names.
    pub fn read(host: &Host) -> Self {
        Self::parse(&fs::read_to_string(host.path("etc/services")).unwrap_or_default())
    }

    /// From the text of a file (`services(5)`): name, port/protocol, aliases.
    pub fn parse(text: &str) -> Self {
        let mut services = Self::default();
        for line in text.lines() {
            let mut words = line.split('#').next().unwrap_or("").split_whitespace();
            let (Some(name), Some(place)) = (words.next(), words.next()) else {
                continue;
            };
            let Some(port) = place
                .strip_suffix("/tcp")
                .and_then(|port| port.parse().ok())
            else {
                continue;
            };
            services
                .names
                .entry(port)
                .or_insert_with(|| name.to_string());
            for name in std::iter::once(name).chain(words) {
                services.ports.entry(name.to_string()).or_insert(port);
            }
        }
        services
    }

    /// A port's name.
    pub fn name(&self, port: u16) -> Option<&str> {
        self.names.get(&port).map(String::as_str)
    }

    /// The port of this name.
    pub fn port(&self, name: &str) -> Option<u16> {
        self.ports.get(name).copied()
    }
}
