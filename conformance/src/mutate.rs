// SPDX-License-Identifier: GPL-2.0

//! Does the runner look? Each thing that a passing script states is changed, one at a time; a changed script
//! that passes was not looked at, unless the change changes nothing that the language judges.

use crate::run::Settings;
use crate::script::{
    Action, Call, Event, Expr, Micros, OptionSpec, PacketBody, PacketSpec, Script, TcpSpec, Term,
    When,
};
use crate::wire::flag;

/// A script with one change.
pub struct Mutant {
    /// The line of the change.
    pub line: u32,
    /// What is changed.
    pub what: String,
    /// Why nothing need come of it, where that is so.
    pub equivalent: Option<&'static str>,
    /// The script.
    pub script: Script,
}

/// `count` of the mutants, others for each `name` but always the same.
pub fn sample(mut mutants: Vec<Mutant>, name: &str, count: usize) -> Vec<Mutant> {
    // FNV-1a for the name; then a step of a linear congruential generator (Knuth's MMIX) for each place.
    let seed = name.bytes().fold(0xcbf2_9ce4_8422_2325, |hash: u64, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    });
    let mut state = seed;
    for at in 0..count.min(mutants.len()) {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        // The upper bits are the good ones.
        let other = at + (state >> 33) as usize % (mutants.len() - at);
        mutants.swap(at, other);
    }
    mutants.truncate(count);
    mutants
}

/// Every mutant of a script.
pub fn mutants(script: &Script, settings: &Settings) -> Vec<Mutant> {
    let mut found = Vec::new();
    let is_outbound = |event: &Event| matches!(event.action, Action::Outbound(_));
    let opens =
        |event: &Event| matches!(&event.action, Action::Call(call) if call.name == "socket");
    for (at, event) in script.events.iter().enumerate() {
        let mut add = |what: &str, equivalent, change: &dyn Fn(&mut Event)| {
            let mut script = script.clone();
            change(&mut script.events[at]);
            found.push(Mutant {
                line: event.line,
                what: what.to_string(),
                equivalent,
                script,
            });
        };
        match &event.action {
            Action::Outbound(spec) => {
                if let PacketBody::Tcp(tcp) = &spec.body {
                    segment(tcp, spec, settings, &mut add);
                }
                time(event.when, settings, &mut add);
            }
            Action::Call(call) => self::call(call, settings, &mut add),
            Action::Code(assertions) => {
                for index in 0..assertions.len() {
                    add("an assertion is negated", None, &|event| {
                        if let Action::Code(assertions) = &mut event.action {
                            let condition = assertions[index].condition.clone();
                            assertions[index].condition = Term::Not(Box::new(condition));
                        }
                    });
                }
            }
            Action::Command(_) | Action::Inbound(_) => {}
        }
        // One packet less, or one more, than there is.
        if is_outbound(event) {
            let mut more = script.clone();
            more.events.insert(at, event.clone());
            found.push(Mutant {
                line: event.line,
                what: "a packet is expected twice".into(),
                equivalent: match event.when {
                    When::Any => Some("at `*`, the same packet sent again much later fits too"),
                    when if waits(when) && is_one_of_a_row(script, at) => {
                        Some("of packets that come again and again at the same interval there is one more, if it is waited for")
                    }
                    _ if settings.tolerance >= FIRST_TIMEOUT => {
                        Some("within the tolerance that the script asks for, the same packet comes again")
                    }
                    _ => None,
                },
                script: more,
            });
            // Of what a connection sends after the last packet that is stated, the language sees nothing.
            let rest = &script.events[at + 1..];
            let next = rest.iter().position(is_outbound);
            let another = rest.iter().position(opens).unwrap_or(rest.len());
            if next.is_some_and(|next| next < another) {
                let mut less = script.clone();
                less.events.remove(at);
                found.push(Mutant {
                    line: event.line,
                    what: "a packet is not expected".into(),
                    equivalent: waits(event.when)
                        .then_some("without the wait for a packet, what follows comes earlier, and may take its place"),
                    script: less,
                });
            }
        }
    }
    found
}

/// Whether the packet at `at` stands next to one that is the same.
fn is_one_of_a_row(script: &Script, at: usize) -> bool {
    let same = |other: &Event| {
        let event = &script.events[at];
        (other.when, &other.action) == (event.when, &event.action)
    };
    let before = at.checked_sub(1).and_then(|at| script.events.get(at));
    before.is_some_and(same) || script.events.get(at + 1).is_some_and(same)
}

/// Whether an event is expected later than the one before.
fn waits(when: When) -> bool {
    match when {
        When::Any => true,
        When::Absolute(at) | When::Relative(at) => at > 0,
        When::AbsoluteRange(_, end) | When::RelativeRange(_, end) => end > 0,
    }
}

type Add<'a> = &'a mut dyn FnMut(&str, Option<&'static str>, &dyn Fn(&mut Event));

/// Changes an outbound segment.
fn on_segment(event: &mut Event, change: impl Fn(&mut TcpSpec)) {
    if let Action::Outbound(PacketSpec {
        body: PacketBody::Tcp(tcp),
        ..
    }) = &mut event.action
    {
        change(tcp);
    }
}

fn segment(tcp: &TcpSpec, spec: &PacketSpec, settings: &Settings, add: Add<'_>) {
    // In the first SYN the number is what the script calls the implementation's choice.
    let name = (tcp.flags & flag::SYN != 0)
        .then_some("the number in our SYN is only a name for the one that was chosen");
    add("sequence number + 1", name, &|event| {
        on_segment(event, |tcp| tcp.seq = tcp.seq.wrapping_add(1));
    });
    add("sequence number - 1", name, &|event| {
        on_segment(event, |tcp| tcp.seq = tcp.seq.wrapping_sub(1));
    });
    add("length + 1", None, &|event| {
        on_segment(event, |tcp| tcp.len += 1)
    });
    if tcp.len > 0 {
        add("length - 1", None, &|event| {
            on_segment(event, |tcp| tcp.len -= 1)
        });
    }
    if let Some(ack) = tcp.ack {
        for other in [ack.wrapping_add(1), ack.wrapping_sub(1)] {
            add("acknowledgment", None, &|event| {
                on_segment(event, |tcp| tcp.ack = Some(other));
            });
        }
    }
    if let Some(win) = tcp.win {
        for other in [win.wrapping_add(1), win.wrapping_sub(1)] {
            add("window", None, &|event| {
                on_segment(event, |tcp| tcp.win = Some(other));
            });
        }
    }
    for (name, bit) in [
        ("FIN", flag::FIN),
        ("SYN", flag::SYN),
        ("RST", flag::RST),
        ("PSH", flag::PSH),
        ("ACK", flag::ACK),
        ("URG", flag::URG),
        ("ECE", flag::ECE),
        ("CWR", flag::CWR),
        ("AE", flag::AE),
    ] {
        add(&format!("the flag {name}"), None, &|event| {
            on_segment(event, |tcp| tcp.flags ^= bit);
        });
    }
    add("urgent pointer", None, &|event| {
        on_segment(event, |tcp| tcp.urg = Some(tcp.urg.unwrap_or(0) + 1));
    });
    if spec.ip.ecn.is_some() {
        add("ECN", None, &|event| {
            if let Action::Outbound(spec) = &mut event.action {
                spec.ip.ecn = match spec.ip.ecn {
                    Some(crate::script::Ecn::NotEct) => Some(crate::script::Ecn::Ect01),
                    _ => Some(crate::script::Ecn::NotEct),
                };
            }
        });
    }
    options(tcp, settings, add);
}

fn options(tcp: &TcpSpec, settings: &Settings, add: Add<'_>) {
    let Some(options) = &tcp.options else {
        return;
    };
    add("an option more", None, &|event| {
        on_segment(event, |tcp| {
            let more = [
                OptionSpec::Nop,
                OptionSpec::Nop,
                OptionSpec::Nop,
                OptionSpec::Nop,
            ];
            if let Some(options) = &mut tcp.options {
                options.extend(more);
            }
        });
    });
    for (at, option) in options.iter().enumerate() {
        add(
            &format!("the option {} is left out", option.raw()),
            None,
            &|event| {
                on_segment(event, |tcp| {
                    if let Some(options) = &mut tcp.options {
                        options.remove(at);
                    }
                });
            },
        );
        if let Some(next) = options.get(at + 1).filter(|next| *next != option) {
            let what = format!("{} and {} change places", option.raw(), next.raw());
            add(&what, None, &|event| {
                on_segment(event, |tcp| {
                    if let Some(options) = &mut tcp.options {
                        options.swap(at, at + 1);
                    }
                });
            });
        }
        for (what, equivalent, other) in other_values(option, settings) {
            add(&what, equivalent, &|event| {
                on_segment(event, |tcp| {
                    if let Some(options) = &mut tcp.options {
                        options[at] = other.clone();
                    }
                });
            });
        }
    }
}

/// What is not answered is sent again so soon (RFC 6298 section 2.1).
const FIRST_TIMEOUT: Micros = 1_000_000;

/// No script takes so long.
const LONGEST: Micros = 100_000_000;

fn other_values(
    option: &OptionSpec,
    settings: &Settings,
) -> Vec<(String, Option<&'static str>, OptionSpec)> {
    let name = option.raw().to_string();
    match option {
        OptionSpec::Nop | OptionSpec::Eol | OptionSpec::SackPermitted => Vec::new(),
        OptionSpec::Mss(mss) => vec![
            (name.clone(), None, OptionSpec::Mss(mss.wrapping_add(1))),
            (name, None, OptionSpec::Mss(mss.wrapping_sub(1))),
        ],
        OptionSpec::WindowScale(scale) => vec![(name, None, OptionSpec::WindowScale(scale ^ 1))],
        OptionSpec::Sack(blocks) => {
            let mut found = Vec::new();
            for at in 0..blocks.len() {
                let (mut begin, mut end) = (blocks.clone(), blocks.clone());
                begin[at].0 = begin[at].0.wrapping_add(1);
                end[at].1 = end[at].1.wrapping_sub(1);
                found.push((format!("{name}, begin"), None, OptionSpec::Sack(begin)));
                found.push((format!("{name}, end"), None, OptionSpec::Sack(end)));
            }
            found
        }
        OptionSpec::Timestamps { val, ecr } => {
            let (val, ecr) = (*val, *ecr);
            let tick = settings.timestamp_tick;
            // More than the tolerance.
            let far = match tick {
                0 => 1000,
                tick => (settings.tolerance_of(LONGEST) / tick + 1) as u32,
            };
            let unjudged = match tick {
                0 => Some("TS val is judged with --tcp_ts_tick_usecs only"),
                _ => Some("the first TS val is only a name for the one that was chosen"),
            };
            let other = |val, ecr| OptionSpec::Timestamps { val, ecr };
            vec![
                (
                    format!("{name}, val"),
                    unjudged,
                    other(val.wrapping_add(far), ecr),
                ),
                (
                    format!("{name}, ecr"),
                    None,
                    other(val, ecr.wrapping_add(1)),
                ),
            ]
        }
        OptionSpec::Raw {
            name: kind,
            kind: number,
            data,
        } => {
            let mut data = data.clone();
            match data.last_mut() {
                Some(last) => *last ^= 1,
                None => data.extend([0, 0]),
            }
            let other = OptionSpec::Raw {
                name: kind,
                kind: *number,
                data,
            };
            vec![(name, None, other)]
        }
    }
}

/// The expected time is moved so far that no time fits both.
fn time(when: When, settings: &Settings, add: Add<'_>) {
    let far = |a: Micros, b: Micros| b - a + out_of_reach(settings, b + 2 * (b - a));
    let moved = |by: Micros| {
        move |event: &mut Event| {
            event.when = match event.when {
                When::Any => When::Any,
                When::Absolute(at) => When::Absolute(at + by),
                When::AbsoluteRange(a, b) => When::AbsoluteRange(a + by, b + by),
                When::Relative(at) => When::Relative(at + by),
                When::RelativeRange(a, b) => When::RelativeRange(a + by, b + by),
            };
        }
    };
    let far = match when {
        When::Any => return,
        When::Absolute(at) | When::Relative(at) => far(at, at),
        When::AbsoluteRange(a, b) | When::RelativeRange(a, b) => far(a, b),
    };
    add("expected later", None, &moved(far));
    add("expected earlier", None, &moved(-far));
}

/// How far something that is stated to come at `at`, or so long after the event before, must be moved to be neither too
/// early now nor too late before.
fn out_of_reach(settings: &Settings, at: Micros) -> Micros {
    let both = 2 * settings.tolerance_of(at.max(0) + 4 * settings.tolerance);
    // The tolerance grows with the time that the move adds.
    both + both * 4 * settings.tolerance_share / 1000 + 1
}

/// Changes a call.
fn on_call(event: &mut Event, change: impl Fn(&mut Call)) {
    if let Action::Call(call) = &mut event.action {
        change(call);
    }
}

fn call(call: &Call, settings: &Settings, add: Add<'_>) {
    let opens = matches!(
        call.name.as_str(),
        "socket" | "accept" | "open" | "epoll_create"
    );
    if let Some(result) = call.result {
        let mut others = vec![-2];
        if !(opens && result >= 0) {
            others.extend([result + 1, result - 1]);
        }
        for other in others {
            add(&format!("{}() = {other}", call.name), None, &|event| {
                on_call(event, |call| call.result = Some(other));
            });
        }
    }
    if let Some(errno) = &call.errno {
        let other = match errno.as_str() {
            "EIO" => "EINTR",
            _ => "EIO",
        };
        add(&format!("{}() with {other}", call.name), None, &|event| {
            on_call(event, |call| call.errno = Some(other.to_string()));
        });
    }
    if call.end.is_some() {
        let far = out_of_reach(settings, call.end.unwrap_or(0));
        for by in [far, -far] {
            add(
                &format!("{}() ends at another time", call.name),
                None,
                &|event| {
                    on_call(event, |call| call.end = call.end.map(|end| end + by));
                },
            );
        }
    }
    // What is written to the arguments.
    match call.name.as_str() {
        "getsockopt" if call.result == Some(0) => output(3, add),
        "ioctl" if call.result == Some(0) => output(2, add),
        "recvmsg" if call.result.is_some_and(|result| result >= 0) => message(call, settings, add),
        _ => {}
    }
}

/// Changes `[n]` as the argument `at`.
fn output(at: usize, add: Add<'_>) {
    add("a value that is given", None, &|event| {
        on_call(event, |call| {
            if let Some(Expr::List(items)) = call.args.get_mut(at) {
                if let Some(Expr::Int(value)) = items.first_mut() {
                    *value += 1;
                }
            }
        });
    });
}

/// Changes the numbers and names in the fields of a message, one at a time.
fn message(call: &Call, settings: &Settings, add: Add<'_>) {
    let Some(fields) = call.args.get(1) else {
        return;
    };
    let mut count = 0;
    visit(&mut fields.clone(), &mut |_, _| count += 1);
    for target in 0..count {
        let mut what = String::new();
        let mut at = 0;
        visit(&mut fields.clone(), &mut |name, _| {
            if at == target {
                what = format!("`{name}` of a message");
            }
            at += 1;
        });
        add(&what, None, &|event| {
            on_call(event, |call| {
                let mut at = 0;
                visit(&mut call.args[1], &mut |_, value| {
                    if at == target {
                        // Beyond any tolerance where it is a time.
                        let by = match what.contains("scm_") {
                            true => 1_000_000_000 + 2 * settings.tolerance * 1000,
                            false => 1,
                        };
                        *value = match value {
                            Expr::Int(value) => Expr::Int(*value + by),
                            _ => Expr::Int(0x7fff),
                        };
                    }
                    at += 1;
                });
            });
        });
    }
}

/// The values of a message that are expectations.
fn visit(expr: &mut Expr, see: &mut dyn FnMut(&str, &mut Expr)) {
    match expr {
        Expr::Fields(fields) => {
            for (name, value) in fields {
                match (name.as_str(), &value) {
                    ("msg_name" | "msg_iov", _) => {}
                    (_, Expr::Fields(_) | Expr::List(_)) => visit(value, see),
                    (name, _) => see(name, value),
                }
            }
        }
        Expr::List(items) => items.iter_mut().for_each(|item| visit(item, see)),
        _ => {}
    }
}
