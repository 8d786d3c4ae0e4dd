// SPDX-License-Identifier: GPL-2.0

//! oxtcp: a TCP for Linux, beside the one that is built in.
//!
//! This crate is the adapter: it brings socket calls, packets and timers to
//! the engine (`oxtcp_engine`, which knows the protocol and nothing of the
//! kernel), and what the engine decides back into the kernel, through the
//! safe types of `sys`. No rule of TCP stands in here.
//!
//! | file | what it holds |
//! |---|---|
//! | `namespace` | what a network namespace has: flow table, ports, settings |
//! | `protocol` | the socket's state, and the callbacks of the socket layer |
//! | `connection` | one step of a connection: engine in, consequences out |
//! | `connect`, `listener`, `half_open`, `closing` | how connections begin and end |
//! | `admission`, `listening`, `cookies`, `fast_syns`, `crowd`, `flood` | a listener's queues, and what is done when they are full |
//! | `send`, `receive`, `poll`, `options` | the calls of programs |
//! | `input`, `output`, `icmp` | packets |
//! | `keys`, `signing`, `ao` | signatures of segments |
//! | `trace` | what the tracepoints tell |
//! | `ports`, `sysctls` | ports, settings |
//! | `procfs`, `diag`, `figures`, `counters` | listings, and what is counted |

#![deny(unsafe_code)]
// Nothing that a peer or a program says may panic: the kernel is built with checks for overflow.
#![deny(
    clippy::arithmetic_side_effects,
    clippy::indexing_slicing,
    clippy::unwrap_used
)]

use kernel::prelude::*;

mod admission;
mod ao;
mod backlog;
mod closing;
mod connect;
mod connection;
mod cookies;
mod counters;
mod crowd;
mod diag;
mod early;
mod fast_syns;
mod figures;
mod flood;
mod group;
mod half_open;
mod icmp;
mod info;
mod input;
mod keys;
mod listener;
mod listening;
mod namespace;
mod options;
mod output;
mod poll;
mod ports;
mod procfs;
mod protocol;
mod rates;
mod receive;
mod send;
mod send_buffer;
mod signing;
mod strays;
mod sysctls;
mod trace;

#[allow(unsafe_code)]
#[path = "../sys/mod.rs"]
mod sys;
mod urgent;

use sys::proto::{DoorNumber, FamilyNumber};

module! {
    type: Oxtcp,
    name: "oxtcp",
    authors: ["The oxtcp authors"],
    description: "A TCP in Rust, beside the one that is built in",
    license: "GPL",
}

/// The module. When it goes, first no new socket can be made, and those that are left end; then the namespaces give up
/// their hooks, files and tables.
struct Oxtcp {
    _protocol: sys::diag::Registration<diag::SockDiag>,
}

impl kernel::Module for Oxtcp {
    fn init(module: &'static ThisModule) -> Result<Self> {
        let family = sys::proto::family_parameter();
        let Some(number) = FamilyNumber::new(family) else {
            pr_err!(
                "family={} is no socket family's number; choose one from 1 to {}, for instance `insmod \
                 oxtcp.ko family=19`\n",
                family,
                FamilyNumber::MOST
            );
            return Err(EINVAL);
        };
        let protocol = sys::proto::protocol_parameter();
        let door = match (protocol, DoorNumber::new(protocol)) {
            (0, _) => None,
            (_, Some(number)) => Some(number),
            (_, None) => {
                pr_err!(
                    "protocol={} cannot be had of AF_INET; choose one from {} to {}, or 0 for none, for instance `insmod \
                     oxtcp.ko protocol=253`\n",
                    protocol,
                    DoorNumber::LEAST,
                    DoorNumber::MOST
                );
                return Err(EINVAL);
            }
        };
        let registration = sys::proto::Registration::new(module, number, door).inspect_err(|&error| {
            if error == EPERM {
                pr_err!(
                    "protocol {} of AF_INET6 is the kernel's own; choose a free number with `insmod oxtcp.ko protocol=N`\n",
                    protocol
                );
            } else if error == EEXIST {
                pr_err!(
                    "socket family {} is taken by another module; choose a free number with \
                     `insmod oxtcp.ko family=N`\n",
                    family
                );
            } else {
                pr_err!(
                    "socket family {} cannot be registered (error {})\n",
                    family,
                    error.to_errno()
                );
            }
        })?;
        if door.is_some() {
            pr_info!("protocol {} of AF_INET and AF_INET6\n", protocol);
        }
        let [v4, v6, mini] = protocol::object_sizes();
        pr_info!(
            "socket family {}; bytes of a connection {} (IPv6 {}), half-open {}, TIME-WAIT {}\n",
            family,
            v4,
            v6,
            mini,
            mini
        );
        let registration = sys::diag::Registration::new(module, registration).inspect_err(|_| {
            pr_err!(
                "socket family {} has another module's sock_diag; choose a free number with `insmod oxtcp.ko family=N`\n",
                family
            );
        })?;
        Ok(Self {
            _protocol: registration,
        })
    }
}
