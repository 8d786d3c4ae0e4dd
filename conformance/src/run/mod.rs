// SPDX-License-Identifier: GPL-2.0

//! A script, run: its events in their order, against a back end.

mod calls;
mod compare;
mod peer;
mod settings;

pub use settings::{
    versions, IpVersion, Settings, CONNECT_PORT, LOCAL_PORT, TOLERANCE, WHEEL_SHARE,
};

use std::collections::BTreeMap;
use std::path::Path;

use crate::backend::{Backend, Device, Outcome};
use crate::call::Stated;
use crate::script::{
    Action, Assertion, Call, EvalError, Event, IcmpSpec, Micros, PacketBody, PacketSpec, Script,
    When,
};
use crate::shell::{self, Order};
use crate::wire::{flag, Datagram, IcmpError, Segment};
use peer::{Peer, Stage};

/// How a script ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// All that the script states is so.
    Pass {
        /// Packets that came after the last one that is stated of their connection: the language does not judge
        /// them.
        unread: usize,
    },
    /// Something is not so.
    Fail(Failure),
}

/// The first thing that is not so.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The line of the script.
    pub line: u32,
    /// What kind of failure it is.
    pub kind: FailureKind,
    /// What is not so, in words.
    pub what: String,
}

/// Whose failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FailureKind {
    /// The implementation does something else than the script states.
    Differs,
    /// The script uses what runner or implementation do not have.
    Unsupported,
}

/// What a step gives: nothing, or why the script ends here.
type Step<T> = Result<T, (FailureKind, String)>;

fn differs<T>(what: impl Into<String>) -> Step<T> {
    Err((FailureKind::Differs, what.into()))
}

fn unsupported<T>(what: impl Into<String>) -> Step<T> {
    Err((FailureKind::Unsupported, what.into()))
}

/// Seconds, for messages.
fn seconds(at: Micros) -> String {
    format!("{}.{:06} s", at / 1_000_000, at.abs() % 1_000_000)
}

/// The most time that a packet at `*`, or one that is late, is waited for.
const PATIENCE: Micros = 2_000_000;
const LONG: Micros = 600_000_000;

/// Runs `script`, whose file stands in `folder`.
pub fn run(
    script: &Script,
    folder: &Path,
    settings: &Settings,
    backend: &mut dyn Backend,
) -> Verdict {
    let mut runner = Runner {
        settings,
        folder,
        backend,
        peer: None,
        next_port: settings.first_remote_port(),
        fds: BTreeMap::new(),
        restore: Vec::new(),
        forgotten: BTreeMap::new(),
        last_inbound: None,
        last_due: None,
        pending: None,
        strays: 0,
    };
    match runner.script(script) {
        Ok(unread) => Verdict::Pass { unread },
        Err(failure) => Verdict::Fail(failure),
    }
}

struct Runner<'a> {
    settings: &'a Settings,
    folder: &'a Path,
    backend: &'a mut dyn Backend,
    /// The connection that packets are about.
    peer: Option<Peer>,
    next_port: u16,
    /// The back end's descriptors by the script's.
    fds: BTreeMap<i64, i64>,
    /// Settings and their values before `set_sysctls.py`.
    restore: Vec<(String, String)>,
    /// Counters when they were last forgotten.
    forgotten: BTreeMap<String, u64>,
    /// When the event before was due, if it was an inbound packet.
    last_inbound: Option<Micros>,
    /// When the event before was due.
    last_due: Option<Micros>,
    /// The call that blocks.
    pending: Option<Pending>,
    /// Packets of connections that the script has left behind.
    strays: usize,
}

/// A call that has begun and must end.
struct Pending {
    line: u32,
    call: Call,
    stated: Stated,
    /// When it was to begin, and when it is to end.
    due: (Micros, Micros),
}

impl Runner<'_> {
    fn script(&mut self, script: &Script) -> Result<usize, Failure> {
        let at =
            |line: u32| move |(kind, what): (FailureKind, String)| Failure { line, kind, what };
        self.note_counters(script);
        if let Some(init) = &script.init {
            self.command(&init.text).map_err(at(init.line))?;
        }
        for event in &script.events {
            // A call that ended in between is judged at its own line.
            self.event(event)
                .map_err(|(line, (kind, what))| Failure { line, kind, what })?;
        }
        self.finish_call()
            .map_err(|(line, (kind, what))| Failure { line, kind, what })?;
        let now = self.backend.now();
        let mut unread = self.strays;
        while self.backend.sniff(now).is_some() {
            unread += 1;
        }
        if let Some(cleanup) = &script.cleanup {
            self.command(&cleanup.text).map_err(at(cleanup.line))?;
        }
        Ok(unread)
    }

    fn event(&mut self, event: &Event) -> Result<(), (u32, (FailureKind, String))> {
        let now = self.backend.now();
        let inbound = matches!(event.action, Action::Inbound(_));
        // Inbound packets in a row are timed from one another, as packetdrill has it.
        let offset = match (inbound, self.last_inbound) {
            (true, Some(last)) => last,
            _ => now,
        };
        let (begin, end) = match event.when {
            When::Any => (now, now),
            When::Absolute(at) => (at, at),
            When::AbsoluteRange(a, b) => (a, b),
            When::Relative(at) => (offset + at, offset + at),
            When::RelativeRange(a, b) => (offset + a, offset + b),
        };
        self.last_inbound = inbound.then_some(begin);
        let span = begin - self.last_due.unwrap_or(begin);
        let tolerance = self.settings.tolerance_of(span);
        self.last_due = Some(begin);
        let line = event.line;
        if let Action::Outbound(spec) = &event.action {
            let any = event.when == When::Any;
            return self
                .outbound(spec, (begin, end), tolerance, any)
                .map_err(|error| (line, error));
        }
        if now > begin + tolerance {
            let what = format!("due at {}, now it is {}", seconds(begin), seconds(now));
            return Err((line, (FailureKind::Differs, what)));
        }
        self.backend.advance(begin);
        let result = match &event.action {
            Action::Inbound(spec) => self.inbound(spec),
            Action::Call(call) => {
                let end = call.end.map(|end| match event.when {
                    When::Relative(_) => offset + end,
                    _ => end,
                });
                self.finish_call()?;
                self.call(line, call, (begin, end))
            }
            Action::Command(text) => self.command(text),
            Action::Code(assertions) => return self.code(assertions),
            Action::Outbound(_) => Ok(()),
        };
        result.map_err(|error| (line, error))
    }

    /// Delivers a packet of the script's.
    fn inbound(&mut self, spec: &PacketSpec) -> Step<()> {
        let tcp = match &spec.body {
            PacketBody::Tcp(tcp) => tcp,
            PacketBody::Icmp(icmp) => return self.icmp(icmp),
        };
        let listening = match &self.peer {
            None => true,
            Some(peer) => peer.stage == Stage::Listening,
        };
        let mut segment = tcp.segment();
        segment.tos = spec
            .ip
            .tos
            .unwrap_or(spec.ip.ecn.map_or(0, |ecn| ecn.bits()));
        if listening {
            let remote = self.next_port;
            self.next_port += 1;
            let local = self.settings.local_port();
            self.peer = Some(Peer::passive(remote, local, segment.seq));
        }
        let Some(peer) = &mut self.peer else {
            return unsupported("a packet without a socket");
        };
        peer.inbound(&mut segment, spec.ports)
            .map_err(|what| (FailureKind::Unsupported, what))?;
        let gso_size = match self.settings.mss {
            Some(mss) if segment.len > u32::from(mss) => mss,
            _ => 0,
        };
        self.backend.inject(&Datagram::Tcp {
            tos: segment.tos,
            header: segment.header(),
            payload: segment.len,
            gso_size,
        });
        Ok(())
    }

    fn icmp(&mut self, icmp: &IcmpSpec) -> Step<()> {
        let Some(peer) = &self.peer else {
            return unsupported("an ICMP error without a socket");
        };
        let error = match (icmp.kind.as_str(), icmp.code.as_deref(), icmp.mtu) {
            ("unreachable", None | Some("net_unreachable"), None) => IcmpError::Net,
            ("unreachable", Some("host_unreachable"), None) => IcmpError::Host,
            ("unreachable", Some("port_unreachable"), None) => IcmpError::Port,
            ("unreachable", Some("frag_needed"), Some(mtu)) => IcmpError::TooBig(mtu),
            ("packet_too_big", None, Some(mtu)) => IcmpError::TooBig(mtu),
            _ => return unsupported(format!("icmp {} {:?}", icmp.kind, icmp.code)),
        };
        let (local, remote) = peer.ports();
        let quoted = Segment {
            tos: 0,
            ports: (local, remote),
            seq: peer.live_seq(icmp.quoted.0),
            ack: 0,
            flags: 0,
            win: 0,
            urg: 0,
            options: Vec::new(),
            len: icmp.quoted.1,
        };
        let quoted = quoted.header();
        self.backend.inject(&Datagram::Icmp { error, quoted });
        Ok(())
    }

    /// Whether a packet is of the connection that the script is about; packetdrill does not see others.
    fn is_ours(&self, packet: &Datagram) -> bool {
        match (packet, &self.peer) {
            (Datagram::Tcp { header, .. }, Some(peer)) => peer.owns(header),
            _ => false,
        }
    }

    /// Waits for the packet, or the packets, that the script states as one.
    fn outbound(
        &mut self,
        spec: &PacketSpec,
        due: (Micros, Micros),
        tolerance: Micros,
        any: bool,
    ) -> Step<()> {
        let PacketBody::Tcp(tcp) = &spec.body else {
            return unsupported("an outbound packet that is no segment");
        };
        let Some(peer) = &mut self.peer else {
            return unsupported("a packet without a socket");
        };
        let syn = tcp.flags & (flag::SYN | flag::ACK);
        peer.expect_outbound(syn, tcp.seq);
        let limit = match any {
            true => due.1 + LONG,
            false => due.1 + tolerance.max(PATIENCE),
        };
        let mut sniffed: Vec<Segment> = Vec::new();
        let mut total = 0;
        let at = loop {
            let (at, segment) = self.sniff(spec, limit, total)?;
            if let Some(before) = sniffed.last() {
                compare::fragments(before, &segment, tcp.len - total)
                    .map_err(|what| (FailureKind::Differs, what))?;
            }
            total += segment.len;
            sniffed.push(segment);
            // Segments in a row may be stated as one, unless the script wants them one by one.
            if total >= tcp.len || self.settings.strict_segments {
                break at;
            }
        };
        let Some(peer) = &mut self.peer else {
            return unsupported("a packet without a socket");
        };
        let actual = compare::join(&sniffed);
        let ticks = self.settings.timestamp_tick;
        // TSval counts from the script's start, and so does what may be wrong with it.
        let drift = self.settings.tolerance_of(due.0);
        compare::packet(spec, tcp, actual, peer, (ticks, drift))
            .map_err(|what| (FailureKind::Differs, what))?;
        if any {
            return Ok(());
        }
        let what = || {
            let expected = match due.0 == due.1 {
                true => seconds(due.0),
                false => format!("{} to {}", seconds(due.0), seconds(due.1)),
            };
            format!(
                "`{}` at {}, expected at {expected}",
                tcp.segment(),
                seconds(at)
            )
        };
        if at < due.0 - tolerance {
            return differs(format!("too early: {}", what()));
        }
        if at > due.1 + tolerance {
            return differs(format!("too late: {}", what()));
        }
        Ok(())
    }

    /// The next packet of the connection, its sequence numbers not yet the script's.
    fn sniff(&mut self, spec: &PacketSpec, limit: Micros, so_far: u32) -> Step<(Micros, Segment)> {
        loop {
            let Some((at, packet)) = self.backend.sniff(limit) else {
                let PacketBody::Tcp(tcp) = &spec.body else {
                    return unsupported("an outbound packet that is no segment");
                };
                let part = match so_far {
                    0 => String::new(),
                    bytes => format!(" (only {bytes} bytes)"),
                };
                return differs(format!("missing{part}: `{}`", tcp.segment()));
            };
            if !self.is_ours(&packet) {
                self.strays += 1;
                continue;
            }
            if let (
                Datagram::Tcp {
                    tos,
                    header,
                    payload,
                    ..
                },
                Some(peer),
            ) = (&packet, &mut self.peer)
            {
                let mut segment = Segment::parse(*tos, header, *payload)
                    .map_err(|what| (FailureKind::Differs, what))?;
                peer.outbound(&mut segment);
                return Ok((at, segment));
            }
        }
    }

    fn command(&mut self, text: &str) -> Step<()> {
        let orders =
            shell::orders(text, self.folder).map_err(|what| (FailureKind::Unsupported, what))?;
        for order in orders {
            self.order(order)?;
        }
        Ok(())
    }

    fn order(&mut self, order: Order) -> Step<()> {
        let unsupported = |what| (FailureKind::Unsupported, what);
        match order {
            Order::Nothing => Ok(()),
            Order::Sysctl {
                name,
                value,
                restorable,
            } => {
                if restorable {
                    let before = self.backend.sysctl_value(&name).unwrap_or_default();
                    self.restore.push((name.clone(), before));
                }
                self.backend.sysctl(&name, &value).map_err(unsupported)
            }
            Order::Restore => {
                for (name, value) in std::mem::take(&mut self.restore) {
                    self.backend.sysctl(&name, &value).map_err(unsupported)?;
                }
                Ok(())
            }
            Order::Mtu(mtu) => self.backend.device(Device::Mtu(mtu)).map_err(unsupported),
            Order::Queue(queue) => self
                .backend
                .device(Device::Queue(queue))
                .map_err(unsupported),
            Order::Offload(on) => self
                .backend
                .device(Device::Offload(on))
                .map_err(unsupported),
            Order::File { path, bytes } => {
                self.backend.file(&path, bytes);
                Ok(())
            }
            Order::Listener(port) => match self.backend.listens(port) {
                true => Ok(()),
                false => differs(format!("nobody is listening on port {port}")),
            },
            Order::ForgetCounters => {
                self.forget_counters();
                Ok(())
            }
            Order::Counter { name, by, forget } => self.counter(&name, by, forget),
        }
    }

    /// Notes which counters the script will ask for: from when they are forgotten on, they are counted anew.
    fn note_counters(&mut self, script: &Script) {
        for event in &script.events {
            let Action::Command(text) = &event.action else {
                continue;
            };
            // A command that is not known is told of when it is reached.
            for order in shell::orders(text, self.folder).unwrap_or_default() {
                if let Order::Counter { name, .. } = order {
                    let value = self.backend.counter(&name).unwrap_or(0);
                    self.forgotten.insert(name, value);
                }
            }
        }
    }

    fn forget_counters(&mut self) {
        for (name, value) in &mut self.forgotten {
            *value = self.backend.counter(name).unwrap_or(0);
        }
    }

    fn counter(&mut self, name: &str, by: Option<u64>, forget: bool) -> Step<()> {
        let Some(value) = self.backend.counter(name) else {
            return unsupported(format!("the counter {name}"));
        };
        let grown = value - self.forgotten.get(name).unwrap_or(&0);
        if forget {
            self.forget_counters();
        }
        match by {
            Some(by) if by != grown => differs(format!("{name} is {grown}, expected {by}")),
            None if grown == 0 => differs(format!("{name} is 0")),
            _ => Ok(()),
        }
    }

    fn code(&mut self, assertions: &[Assertion]) -> Result<(), (u32, (FailureKind, String))> {
        let fd = self.peer.as_ref().and_then(|peer| peer.fd);
        for assertion in assertions {
            let line = assertion.line;
            let Some(fd) = fd else {
                let what = "code without a socket".to_string();
                return Err((line, (FailureKind::Unsupported, what)));
            };
            let mut names = Vec::new();
            assertion.condition.names(&mut names);
            let mut values = BTreeMap::new();
            for name in names {
                let value = settings::constant(name).or_else(|| self.backend.info(fd, name));
                if let Some(value) = value {
                    values.insert(name, value);
                }
            }
            let value = assertion.condition.value(&|name| values.get(name).copied());
            let error = match value {
                Ok(0) => {
                    let values: Vec<String> = values
                        .iter()
                        .filter(|(name, _)| settings::constant(name).is_none())
                        .map(|(name, value)| format!("{name} is {value}"))
                        .collect();
                    let what = format!("{}; expected {}", values.join(", "), assertion.text);
                    (FailureKind::Differs, what)
                }
                Ok(_) => continue,
                Err(EvalError::Unknown(name)) => {
                    (FailureKind::Unsupported, format!("nothing tells {name}"))
                }
                Err(EvalError::Arithmetic) => (
                    FailureKind::Unsupported,
                    format!("the arithmetic of {}", assertion.text),
                ),
            };
            return Err((line, error));
        }
        Ok(())
    }

    /// Waits for the call that blocks, and judges it.
    fn finish_call(&mut self) -> Result<(), (u32, (FailureKind, String))> {
        let Some(pending) = self.pending.take() else {
            return Ok(());
        };
        let line = pending.line;
        let limit = pending.due.1 + self.settings.tolerance.max(PATIENCE);
        let Some((at, outcome)) = self.backend.wait(limit) else {
            let what = format!("{}() still blocks at {}", pending.call.name, seconds(limit));
            return Err((line, (FailureKind::Differs, what)));
        };
        self.check_end(&pending.call, at, pending.due)
            .and_then(|()| self.outcome(&pending.call, &pending.stated, &outcome))
            .map_err(|error| (line, error))
    }

    fn check_end(&self, call: &Call, at: Micros, due: (Micros, Micros)) -> Step<()> {
        let (begin, end) = due;
        match (at - end).abs() <= self.settings.tolerance_of(end - begin) {
            true => Ok(()),
            false => differs(format!(
                "{}() returns at {}, expected at {}",
                call.name,
                seconds(at),
                seconds(end)
            )),
        }
    }

    fn call(&mut self, line: u32, call: &Call, due: (Micros, Option<Micros>)) -> Step<()> {
        let (begin, end) = due;
        let (typed, stated) = {
            let fds = &self.fds;
            let fd = |number: i64| fds.get(&number).copied();
            let reader = crate::call::Reader {
                defines: &self.settings.defines,
                fd: &fd,
            };
            reader
                .read(call)
                .map_err(|what| (FailureKind::Unsupported, what))?
        };
        self.before_call(&typed);
        let outcome: Option<Outcome> = self.backend.call(&typed);
        let now = self.backend.now();
        match (outcome, end) {
            (Some(outcome), end) => {
                if let Some(end) = end {
                    self.check_end(call, now, (begin, end))?;
                }
                self.outcome(call, &stated, &outcome)
            }
            (None, Some(end)) => {
                self.pending = Some(Pending {
                    line,
                    call: call.clone(),
                    stated,
                    due: (begin, end),
                });
                Ok(())
            }
            (None, None) => match self.backend.wait(now + PATIENCE) {
                Some((_, outcome)) => self.outcome(call, &stated, &outcome),
                None => differs(format!("{}() blocks", call.name)),
            },
        }
    }
}
