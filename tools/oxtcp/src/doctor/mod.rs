// SPDX-License-Identifier: GPL-2.0
//! `oxtcp doctor`: what is wrong, by what it is seen, what it means, and what mends it.

mod checks;
mod facts;

use std::fs;

use serde_json::json;

use crate::failure::{Problem, Result};
use crate::host::Host;
use crate::netns;
use crate::output::{fold, print, print_json, size, width, Color, Ink, Painter};
use crate::sockets::State;
use facts::Facts;

/// Look for what is wrong: with the module, the settings, the listeners, the connections.
///
/// Each finding says by what it is seen, what it means, and which command mends it. Nothing is changed. As root more is seen: the
/// programs of others, how long connections wait for them, the backlogs of listeners.
///
/// Ports are counted with those of the built-in TCP, as both have them of one range. Of buffers and windows it is said how much was in
/// flight (rate times round trip), of backlogs what the program asked for in listen() and what it got.
///
/// The exit code is 3 when there is a problem or a warning. Notes alone leave it at 0.
#[derive(clap::Args)]
pub struct Arguments {
    /// How long a connection may be in CLOSE-WAIT before its program is said to leak it
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    close_wait: u32,

    /// JSON
    #[arg(long)]
    json: bool,

    /// When to use colours
    #[arg(long, value_enum, value_name = "WHEN", default_value_t)]
    color: Color,

    #[command(flatten)]
    namespace: netns::Choice,
}

/// Something that is wrong, or may be.
#[derive(Debug, PartialEq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// The check's name, for programs.
    pub name: &'static str,
    /// What it is, in a line.
    pub title: String,
    /// By what it is seen.
    pub evidence: Vec<String>,
    /// What it means.
    pub meaning: String,
    /// What mends it.
    pub mend: String,
}

/// How bad something is, the gravest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Clients suffer now.
    Problem,
    /// They will, or do in part.
    Warning,
    /// Worth to be known.
    Note,
}

impl Severity {
    fn name(self) -> &'static str {
        match self {
            Severity::Problem => "problem",
            Severity::Warning => "warning",
            Severity::Note => "note",
        }
    }

    fn ink(self) -> Ink {
        match self {
            Severity::Problem => Ink::Red,
            Severity::Warning => Ink::Yellow,
            Severity::Note => Ink::Dim,
        }
    }
}

/// `oxtcp doctor`; whether nothing worse than notes was found.
pub fn doctor(arguments: &Arguments) -> Result<bool> {
    arguments.namespace.enter()?;
    let host = Host::here();
    let module = Module::look(&host);
    if !host.has_module() {
        return Err(module.missing(&host));
    }
    let facts = Facts::gather(&host, arguments.close_wait)?;
    let findings = checks::all(&facts);
    let well = findings
        .iter()
        .all(|finding| finding.severity == Severity::Note);
    if arguments.json {
        print_json(&json!({
            "version": env!("CARGO_PKG_VERSION"),
            "module": { "family": module.family, "version": facts.module },
            "kernel": module.kernel,
            "sockets": facts.sockets.len(),
            "findings": findings.iter().map(Finding::json).collect::<Vec<_>>(),
        }))?;
    } else {
        print(&report(
            &module,
            &facts,
            &findings,
            Painter::new(arguments.color),
            Widths::here(),
        ))?;
    }
    Ok(well)
}

/// What is to be known of the module without its being asked.
struct Module {
    family: Option<u64>,
    kernel: String,
}

impl Module {
    fn look(host: &Host) -> Self {
        let text = |path: &str| {
            fs::read_to_string(host.path(path))
                .unwrap_or_default()
                .trim()
                .to_string()
        };
        Self {
            family: host.number("sys/module/oxtcp/parameters/family"),
            kernel: text("proc/sys/kernel/osrelease"),
        }
    }

    /// Why the module is not loaded, as far as it can be seen.
    fn missing(&self, host: &Host) -> Problem {
        let kernel = &self.kernel;
        let folder = host.path(&format!("lib/modules/{kernel}"));
        let listed = fs::read_to_string(folder.join("modules.dep"))
            .is_ok_and(|text| text.contains("/oxtcp.ko"));
        let more = if listed {
            format!("\nIt is installed for this kernel ({kernel}): as root, `modprobe oxtcp`; if that fails, `dmesg | tail` says why.")
        } else {
            format!(
                "\nIt is not installed for this kernel ({kernel}). In the source tree `make doctor` says whether it can be built for it, and \
                 `make install` installs it."
            )
        };
        Problem::no_module().and(&more)
    }
}

/// Where lines are folded.
#[derive(Clone, Copy)]
struct Widths {
    prose: usize,
    /// Titles and evidence: as long as they are for what is no terminal, which may be `grep`.
    lines: usize,
}

impl Widths {
    fn here() -> Self {
        let prose = width();
        Self {
            prose,
            lines: size().map_or(usize::MAX, |_| prose),
        }
    }
}

impl Finding {
    fn json(&self) -> serde_json::Value {
        json!({
            "severity": self.severity.name(),
            "check": self.name,
            "title": self.title,
            "evidence": self.evidence,
            "meaning": self.meaning,
            "mend": self.mend,
        })
    }

    fn text(&self, painter: Painter, widths: Widths) -> String {
        const INDENT: &str = "         ";
        let title = fold(&self.title, INDENT, widths.lines);
        let mut out = format!("{:<8} ", self.severity.name());
        out = painter.paint(self.severity.ink(), out.trim_end()) + &out[out.trim_end().len()..];
        for (number, line) in title.lines().enumerate() {
            let line = painter.paint(Ink::Bold, line.trim_start());
            out += &match number {
                0 => format!("{line}\n"),
                _ => format!("{INDENT}{line}\n"),
            };
        }
        for line in &self.evidence {
            let folded = fold(line, "           ", widths.lines);
            out += &format!("{INDENT}- {}", folded.trim_start());
        }
        out += &fold(&self.meaning, INDENT, widths.prose);
        let mend = fold(&self.mend, "            ", widths.prose);
        out + INDENT + &painter.paint(Ink::Green, &format!("-> {}", mend.trim_start()))
    }
}

fn report(
    module: &Module,
    facts: &Facts,
    findings: &[Finding],
    painter: Painter,
    widths: Widths,
) -> String {
    let family = module
        .family
        .map_or("unknown".into(), |family| family.to_string());
    let count = |severity| {
        findings
            .iter()
            .filter(|finding| finding.severity == severity)
            .count()
    };
    let state = |state| facts.in_state(state).count();
    let head = format!(
        "oxtcp {}: the module is loaded (version {}, socket family {family}) in Linux {}; {} sockets, {} listening, {} established.",
        env!("CARGO_PKG_VERSION"),
        match facts.module.as_str() {
            "" => "unknown",
            module => module,
        },
        module.kernel,
        facts.sockets.len(),
        state(State::Listen),
        state(State::Established)
    );
    let mut out = fold(&head, "", widths.lines) + "\n";
    let (problems, warnings, notes) = (
        count(Severity::Problem),
        count(Severity::Warning),
        count(Severity::Note),
    );
    for (number, finding) in findings.iter().enumerate() {
        // The first note, where nothing worse comes before it: it is not to be taken for the answer.
        if number == 0 && finding.severity == Severity::Note {
            out += &fold(NOTES_ALONE, "", widths.prose);
            out.push('\n');
        }
        out += &finding.text(painter, widths);
        out.push('\n');
    }
    out + &match (problems, warnings, notes) {
        (0, 0, 0) => painter.paint(Ink::Green, "Nothing is wrong, as far as can be seen.") + "\n",
        _ => format!("problems: {problems}, warnings: {warnings}, notes: {notes}\n"),
    }
}

/// What stands before notes that no problem and no warning stands before.
const NOTES_ALONE: &str = "No problem and no warning, as far as can be seen now. What follows is good to know, and need not be what you look for.";
