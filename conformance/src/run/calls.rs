// SPDX-License-Identifier: GPL-2.0

//! System calls: what they mean for the runner, and whether their outcome is the stated one.

use super::peer::Stage;
use super::{differs, Peer, Runner, Step};
use crate::backend::{Control, ControlData, Outcome, Output};
use crate::call::{Stated, StatedControl, StatedData, SystemCall};
use crate::script::{errno_name, errno_number, Call};

const MSG_FASTOPEN: u32 = 0x2000_0000;

impl Runner<'_> {
    /// A call is about to begin.
    pub(super) fn before_call(&mut self, call: &SystemCall) {
        let connect_port = self.settings.connect_port();
        let Some(peer) = &mut self.peer else {
            return;
        };
        match call {
            // The port is known when the SYN is seen.
            SystemCall::Connect(fd) if peer.fd == Some(*fd) => {
                peer.stage = Stage::Connecting;
                peer.set_remote_port(connect_port);
            }
            // Fast Open's way to connect.
            SystemCall::Send(transfer)
                if transfer.flags & MSG_FASTOPEN != 0
                    && peer.stage == Stage::New
                    && peer.fd == Some(transfer.fd) =>
            {
                peer.stage = Stage::Connecting;
                peer.set_remote_port(connect_port);
            }
            // The kernel may answer packets from here on.
            SystemCall::Listen(fd, _) if peer.fd == Some(*fd) => peer.stage = Stage::Listening,
            _ => {}
        }
    }

    /// A call has ended: judges it, and notes what it means.
    pub(super) fn outcome(&mut self, call: &Call, stated: &Stated, outcome: &Outcome) -> Step<()> {
        let name = &call.name;
        let told = |result: i64, errno: i32| match (result, errno) {
            (-1, 0) => "-1".to_string(),
            (-1, errno) => format!("-1 {}", errno_name(errno)),
            (result, _) => result.to_string(),
        };
        let opens = matches!(name.as_str(), "socket" | "accept" | "open" | "epoll_create");
        if let Some(expected) = call.result {
            let errno = match &call.errno {
                None => None,
                Some(name) => match errno_number(name) {
                    Some(errno) => Some(errno),
                    None => return super::unsupported(format!("the error {name} is unknown")),
                },
            };
            let same = match (opens && expected >= 0, errno) {
                (true, _) => outcome.result >= 0,
                (false, Some(errno)) => outcome.result == expected && outcome.errno == errno,
                (false, None) => outcome.result == expected,
            };
            if !same {
                return differs(format!(
                    "{name}() returns {}{}, expected {}",
                    told(outcome.result, outcome.errno),
                    self.option_of(call),
                    told(expected, errno.unwrap_or(0))
                ));
            }
            if opens && expected >= 0 {
                self.opened(name, expected, outcome);
            }
        }
        if name == "close" && outcome.result == 0 {
            self.fds
                .retain(|number, _| call.args.first() != Some(&crate::script::Expr::Int(*number)));
        }
        self.output(name, stated, outcome)
    }

    fn option_of(&self, call: &Call) -> String {
        match (call.name.as_str(), call.args.get(2)) {
            ("setsockopt" | "getsockopt", Some(crate::script::Expr::Word(word))) => {
                format!(" for {word}")
            }
            _ => String::new(),
        }
    }

    /// A new descriptor.
    fn opened(&mut self, name: &str, number: i64, outcome: &Outcome) {
        let live = outcome.result;
        self.fds.insert(number, live);
        match (name, &outcome.output, &mut self.peer) {
            ("socket", ..) => self.peer = Some(Peer::new(live)),
            ("accept", Output::Peer(port), Some(peer)) if peer.ports().1 == *port => {
                peer.fd = Some(live);
            }
            _ => {}
        }
    }

    fn output(&mut self, name: &str, stated: &Stated, outcome: &Outcome) -> Step<()> {
        match (stated, &outcome.output) {
            (Stated::Nothing, _) => Ok(()),
            // An error leaves the arguments alone.
            (_, _) if outcome.result < 0 => Ok(()),
            (Stated::Int(expected), Output::Int(value)) if expected == value => Ok(()),
            (Stated::Int(expected), Output::Int(value)) => {
                differs(format!("{name}() gives {value}, expected {expected}"))
            }
            (Stated::Pair(a, b), Output::Pair(live_a, live_b)) => {
                self.fds.insert(*a, *live_a);
                self.fds.insert(*b, *live_b);
                Ok(())
            }
            (Stated::Events(expected), Output::Events(events)) => {
                let expected: Vec<(u32, u64)> = expected
                    .iter()
                    .map(|(e, d)| (*e as u32, *d as u64))
                    .collect();
                match expected == *events {
                    true => Ok(()),
                    false => differs(format!(
                        "{name}() gives {events:x?}, expected {expected:x?}"
                    )),
                }
            }
            (Stated::Message(flags, controls), Output::Message(live, messages)) => {
                if i64::from(*live) != *flags {
                    return differs(format!(
                        "{name}() gives the flags {live:#x}, expected {flags:#x}"
                    ));
                }
                if controls.len() != messages.len() {
                    return differs(format!(
                        "{name}() gives {} control messages, expected {}",
                        messages.len(),
                        controls.len()
                    ));
                }
                for (expected, message) in controls.iter().zip(messages) {
                    if let Err(what) = self.control(expected, message) {
                        return differs(format!("{name}(): {what}"));
                    }
                }
                Ok(())
            }
            (stated, output) => differs(format!("{name}() gives {output:?}, expected {stated:?}")),
        }
    }

    fn control(&self, expected: &StatedControl, message: &Control) -> Result<(), String> {
        if (expected.level, expected.kind) != (message.level, message.kind) {
            return Err(format!(
                "a control message of level {} and type {}, expected {} and {}",
                message.level, message.kind, expected.level, expected.kind
            ));
        }
        match (&expected.data, &message.data) {
            (StatedData::Int(expected), ControlData::Int(value)) => match expected == value {
                true => Ok(()),
                false => Err(format!(
                    "a control message with {value}, expected {expected}"
                )),
            },
            (StatedData::Fields(fields), ControlData::Time(at)) => {
                let mut time = 0;
                for (name, value) in fields {
                    match name.as_str() {
                        "scm_sec" => time += value * 1_000_000,
                        "scm_nsec" => time += value / 1000,
                        _ => return Err(format!("`{name}` in a time")),
                    }
                }
                match (time - at).abs() <= self.settings.tolerance {
                    true => Ok(()),
                    false => Err(format!(
                        "the time {}, expected {}",
                        super::seconds(*at),
                        super::seconds(time)
                    )),
                }
            }
            (StatedData::Fields(fields), ControlData::Error(values)) => {
                const NAMES: [&str; 6] = [
                    "ee_errno",
                    "ee_origin",
                    "ee_type",
                    "ee_code",
                    "ee_info",
                    "ee_data",
                ];
                for (name, expected) in fields {
                    let Some(at) = NAMES.iter().position(|n| n == name) else {
                        return Err(format!("`{name}` in an extended error"));
                    };
                    if values[at] != *expected {
                        return Err(format!("{name} is {}, expected {expected}", values[at]));
                    }
                }
                Ok(())
            }
            (expected, actual) => Err(format!("{actual:?}, expected {expected:?}")),
        }
    }
}
