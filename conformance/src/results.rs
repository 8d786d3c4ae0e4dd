// SPDX-License-Identifier: GPL-2.0

//! What came of a run, as a file: how the results of a run in the virtual machine get out of it. A line for each
//! variant of a script: name, variant, `pass` or kind of failure, packets that were not judged or the line, and what
//! is not as stated.

use std::fmt::Write;
use std::path::Path;

use crate::report::Row;
use crate::run::{Failure, FailureKind, IpVersion, Verdict};

/// The file's text.
pub fn text(rows: &[Row]) -> String {
    let mut text = String::new();
    for row in rows {
        for (version, verdict) in &row.verdicts {
            let (kind, number, what) = match verdict {
                Verdict::Pass { unread } => ("pass", unread.to_string(), ""),
                Verdict::Fail(failure) => (
                    kind_name(failure.kind),
                    failure.line.to_string(),
                    failure.what.as_str(),
                ),
            };
            let what = what.replace(['\t', '\n'], " ");
            let version = version.name();
            let _ = writeln!(text, "{}\t{version}\t{kind}\t{number}\t{what}", row.name);
        }
    }
    text
}

fn kind_name(kind: FailureKind) -> &'static str {
    match kind {
        FailureKind::Differs => "differs",
        FailureKind::Unsupported => "unsupported",
    }
}

/// Reads the file.
///
/// # Errors
///
/// Says which line is wrong.
pub fn read(path: &Path) -> Result<Vec<Row>, String> {
    let text =
        std::fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    parse(&text).map_err(|what| format!("{}: {what}", path.display()))
}

fn parse(text: &str) -> Result<Vec<Row>, String> {
    let mut rows: Vec<Row> = Vec::new();
    for (at, line) in text.lines().enumerate() {
        let (name, version, verdict) = variant(line).ok_or(format!("line {}", at + 1))?;
        match rows.last_mut().filter(|row| row.name == name) {
            Some(row) => row.verdicts.push((version, verdict)),
            None => rows.push(Row {
                name: name.to_string(),
                waits_for: None,
                verdicts: vec![(version, verdict)],
            }),
        }
    }
    Ok(rows)
}

fn variant(line: &str) -> Option<(&str, IpVersion, Verdict)> {
    let columns: Vec<&str> = line.split('\t').collect();
    let [name, version, kind, number, what] = columns[..] else {
        return None;
    };
    let version = IpVersion::ALL.into_iter().find(|v| v.name() == version)?;
    let kind = match kind {
        "pass" => {
            let unread = number.parse().ok()?;
            return Some((name, version, Verdict::Pass { unread }));
        }
        "differs" => FailureKind::Differs,
        "unsupported" => FailureKind::Unsupported,
        _ => return None,
    };
    let failure = Failure {
        line: number.parse().ok()?,
        kind,
        what: what.to_string(),
    };
    Some((name, version, Verdict::Fail(failure)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parse__is_what_text_writes() {
        let text = "a\tipv4\tpass\t2\t\n\
                    a\tipv6\tdiffers\t12\tflags: `.`\n\
                    b\tipv4-mapped-ipv6\tunsupported\t3\tnothing tells x\n";
        let rows = parse(text).unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(rows[0].passed(), [IpVersion::V4]);
        assert_eq!(super::text(&rows), text);
        assert!(parse("a\tipv4\tpass\n").is_err());
        assert!(parse("a\tipv4\tpassed\t0\t\n").is_err());
    }
}
