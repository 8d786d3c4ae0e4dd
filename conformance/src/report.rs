// SPDX-License-Identifier: GPL-2.0

//! What came of a run: KTAP for machines, a table for people.

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::catalogue::Catalogue;
use crate::run::{Failure, FailureKind, IpVersion, Verdict};

/// A script's variants and what came of each.
pub struct Row {
    /// The script's name.
    pub name: String,
    /// The feature that it waits for.
    pub waits_for: Option<String>,
    /// The variants and what came of them.
    pub verdicts: Vec<(IpVersion, Verdict)>,
}

impl Row {
    /// The variants that passed.
    pub fn passed(&self) -> Vec<IpVersion> {
        let passed = |(version, verdict): &(IpVersion, Verdict)| {
            matches!(verdict, Verdict::Pass { .. }).then_some(*version)
        };
        self.verdicts.iter().filter_map(passed).collect()
    }

    /// Whether all variants passed.
    pub fn passes(&self) -> bool {
        self.passed().len() == self.verdicts.len()
    }

    /// The first variant's failure.
    fn failure(&self) -> Option<(&IpVersion, &Failure)> {
        self.verdicts
            .iter()
            .find_map(|(version, verdict)| match verdict {
                Verdict::Fail(failure) => Some((version, failure)),
                Verdict::Pass { .. } => None,
            })
    }
}

/// A KTAP line. `known` says that the variant is known to pass.
pub fn line(
    number: usize,
    row: &Row,
    version: IpVersion,
    verdict: &Verdict,
    known: bool,
) -> String {
    let test = format!("{number} {} {}", row.name, version.name());
    match verdict {
        Verdict::Pass { .. } if known => format!("ok {test}"),
        Verdict::Pass { .. } => format!("ok {test} # passes now"),
        Verdict::Fail(failure) => {
            let what = format!("line {}: {}", failure.line, failure.what);
            match (&row.waits_for, known) {
                (_, true) => format!("not ok {test} # {what}"),
                (Some(feature), false) => format!("ok {test} # SKIP waits for {feature}; {what}"),
                (None, false) => format!("ok {test} # XFAIL {what}"),
            }
        }
    }
}

/// The results of a run on every bed.
pub struct Results<'a> {
    /// On the engine.
    pub engine: &'a [Row],
    /// With the module in a kernel.
    pub module: &'a [Row],
    /// On the kernel's own TCP.
    pub builtin: &'a [Row],
}

fn find<'a>(rows: &'a [Row], name: &str) -> Option<&'a Row> {
    rows.iter().find(|row| row.name == name)
}

/// The table of `Documentation/conformance.md`.
pub fn table(results: &Results<'_>, catalogue: &Catalogue) -> String {
    let mut text = String::from(
        "<!-- SPDX-License-Identifier: GPL-2.0 -->\n\
         <!-- Written by `make conformance`; changes by hand are lost. -->\n\
         # Conformance\n\n\
         The packetdrill scripts of the kernel's own self-tests (`tools/testing/selftests/net/packetdrill`), run by \
         [conformance/](../conformance/README.md) against the engine in virtual time, and against the module: real system calls and packets, in a \
         kernel in the virtual machine. A script passes when all its variants (IPv4, IPv6, IPv4 on an IPv6 socket) do.\n\n",
    );
    let rows = results.engine;
    let now: Vec<&Row> = rows.iter().filter(|row| row.waits_for.is_none()).collect();
    let count = |rows: &[Row]| {
        let passes = |row: &&&Row| find(rows, &row.name).is_some_and(Row::passes);
        now.iter().filter(passes).count()
    };
    let _ = writeln!(
        text,
        "**Of {} scripts, {} pass on the engine, {} with the module in a kernel.** The kernel's own TCP passes {} there, which tests the runner.\n",
        now.len(),
        count(results.engine),
        count(results.module),
        count(results.builtin)
    );
    let _ = writeln!(
        text,
        "## Scripts of what oxtcp is to have\n\n\
         A script that fails is shown with its line and the first thing there that is not as stated. A packet that comes after the last one \
         that a script states is not judged by the language; how many these are (on the engine) stands in the last column.\n\n\
         | script | engine | module | built-in TCP | not judged |\n|---|---|---|---|---|"
    );
    for row in &now {
        let engine = verdict(Some(row));
        let module = verdict(find(results.module, &row.name));
        let module = match module == engine && !row.passes() {
            true => "the same".to_string(),
            false => module,
        };
        let _ = writeln!(
            text,
            "| {} | {engine} | {module} | {} | {} |",
            row.name,
            verdict(find(results.builtin, &row.name)),
            unread(row)
        );
    }
    let reasons: Vec<String> = now
        .iter()
        .filter_map(|row| {
            let reason = catalogue.entry(&row.name).reason?;
            Some(format!("* **{}**: {reason}\n", row.name))
        })
        .collect();
    if !reasons.is_empty() {
        let _ = write!(text, "\n## Why some do not pass\n\n{}", reasons.concat());
    }
    let mut waiting: BTreeMap<&str, Vec<&Row>> = BTreeMap::new();
    for row in rows {
        if let Some(feature) = &row.waits_for {
            waiting.entry(feature).or_default().push(row);
        }
    }
    let _ = writeln!(
        text,
        "\n## Scripts that wait for a feature\n\n\
         | feature | scripts | pass already: engine | module | built-in TCP |\n|---|---|---|---|---|"
    );
    for (feature, waiting) in &waiting {
        let passing = |rows: &[Row]| -> Vec<String> {
            let passing = waiting.iter().filter_map(|row| find(rows, &row.name));
            let passing = passing.filter(|row| row.passes());
            passing.map(|row| row.name.clone()).collect()
        };
        let _ = writeln!(
            text,
            "| {feature} | {} | {} | {} | {} |",
            waiting.len(),
            passing(results.engine).join(", "),
            passing(results.module).join(", "),
            passing(results.builtin).len()
        );
    }
    text
}

fn verdict(row: Option<&Row>) -> String {
    let Some(row) = row else {
        return "not run".into();
    };
    let Some((version, failure)) = row.failure() else {
        return "passes".into();
    };
    let variant = match row.verdicts.first() {
        Some((first, _)) if first == version => String::new(),
        _ => format!("{}: ", version.name()),
    };
    let kind = match failure.kind {
        FailureKind::Differs => "differs",
        FailureKind::Unsupported => "not supported",
    };
    let what = failure.what.replace('|', "\\|");
    format!("{kind}: {variant}line {}: {what}", failure.line)
}

fn unread(row: &Row) -> String {
    let unread = row
        .verdicts
        .iter()
        .filter_map(|(_, verdict)| match verdict {
            Verdict::Pass { unread } => Some(*unread),
            Verdict::Fail(_) => None,
        });
    match unread.max() {
        Some(0) | None => String::new(),
        Some(unread) => unread.to_string(),
    }
}
