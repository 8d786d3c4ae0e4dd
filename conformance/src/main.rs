// SPDX-License-Identifier: GPL-2.0

//! Runs packetdrill scripts. See the crate's README.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Parser;

use oxtcp_conformance::catalogue::Catalogue;
use oxtcp_conformance::mutate;
use oxtcp_conformance::report::{self, Row};
use oxtcp_conformance::run::Verdict;
use oxtcp_conformance::suite::{cases, Case};

/// Runs packetdrill scripts against the engine, in virtual time.
#[derive(Parser)]
struct Options {
    /// The folder with the scripts.
    #[arg(long, value_name = "FOLDER")]
    scripts: PathBuf,

    /// What is known of the scripts: a script that is known to pass must pass.
    #[arg(long, value_name = "FILE")]
    catalogue: Option<PathBuf>,

    /// Writes which scripts pass into the catalogue.
    #[arg(long, requires = "catalogue")]
    bless: bool,

    /// Writes a table of the results.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,

    /// How much too early or too late something may be, where the script does not say.
    #[arg(long, value_name = "MICROSECONDS")]
    tolerance_usecs: Option<i64>,

    /// Changes each thing that the passing scripts state, one at a time: each change must fail.
    #[arg(long)]
    mutate: bool,

    /// Says nothing but what is wrong.
    #[arg(long)]
    quiet: bool,

    /// Scripts to run; all of the folder without any.
    #[arg(value_name = "SCRIPT")]
    names: Vec<String>,
}

fn main() -> ExitCode {
    let options = Options::parse();
    match work(&options) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(what) => {
            eprintln!("conformance: {what}");
            ExitCode::FAILURE
        }
    }
}

fn work(options: &Options) -> Result<bool, String> {
    let mut catalogue = match &options.catalogue {
        Some(path) => Catalogue::read(path)?,
        None => Catalogue::default(),
    };
    let cases = cases(&options.scripts, &options.names)?;
    if cases.is_empty() {
        return Err(format!("no scripts in {}", options.scripts.display()));
    }
    let rows: Vec<Row> = cases
        .iter()
        .map(|case| run(case, &catalogue, options.tolerance_usecs))
        .collect();
    let mut good = ktap(&rows, &catalogue, options.quiet);
    if let (true, Some(path)) = (options.bless, &options.catalogue) {
        for row in &rows {
            catalogue.set_passes(&row.name, row.passed());
        }
        write(path, &catalogue.text())?;
    }
    if options.names.is_empty() {
        for name in catalogue.names() {
            if rows.iter().all(|row| row.name != name) {
                println!("# {name} is in the catalogue, and there is no such script");
                good = false;
            }
        }
    }
    if let Some(path) = &options.table {
        write(path, &report::table(&rows))?;
    }
    if options.mutate {
        good &= mutate(&cases, &rows, options.tolerance_usecs);
    }
    Ok(good)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn run(case: &Case, catalogue: &Catalogue, tolerance: Option<i64>) -> Row {
    let verdicts = match case.versions() {
        Ok(versions) => versions
            .iter()
            .map(|version| (*version, case.run(*version, tolerance)))
            .collect(),
        Err(failure) => vec![(
            oxtcp_conformance::run::IpVersion::V4,
            Verdict::Fail(failure),
        )],
    };
    Row {
        name: case.name.clone(),
        waits_for: catalogue.entry(&case.name).waits_for,
        verdicts,
    }
}

/// Prints the results; `false` if a script fails that is known to pass.
fn ktap(rows: &[Row], catalogue: &Catalogue, quiet: bool) -> bool {
    let total: usize = rows.iter().map(|row| row.verdicts.len()).sum();
    let mut number = 0;
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    if !quiet {
        println!("KTAP version 1\n1..{total}");
    }
    for row in rows {
        let known = catalogue.entry(&row.name).passes;
        for (version, verdict) in &row.verdicts {
            number += 1;
            let known = known.contains(version);
            let line = report::line(number, row, *version, verdict, known);
            let kind = match (verdict, known) {
                (Verdict::Pass { .. }, _) => "pass",
                (Verdict::Fail(_), true) => "fail",
                (Verdict::Fail(_), false) if row.waits_for.is_some() => "skip",
                (Verdict::Fail(_), false) => "xfail",
            };
            *counts.entry(kind).or_default() += 1;
            if !quiet || kind == "fail" {
                println!("{line}");
            }
        }
    }
    let count = |kind: &str| counts.get(kind).copied().unwrap_or(0);
    println!(
        "# packetdrill: pass:{} fail:{} xfail:{} skip:{}",
        count("pass"),
        count("fail"),
        count("xfail"),
        count("skip")
    );
    count("fail") == 0
}

/// Runs the mutants of what passed; `false` if one passes that should not.
fn mutate(cases: &[Case], rows: &[Row], tolerance: Option<i64>) -> bool {
    let (mut killed, mut lived) = (0, 0);
    let mut equivalent: BTreeMap<&str, usize> = BTreeMap::new();
    for (case, row) in cases.iter().zip(rows) {
        // The variants differ in what surrounds the script, not in what it states.
        let Some(version) = row.passed().first().copied() else {
            continue;
        };
        let Ok((script, settings)) = case.prepare(version, tolerance) else {
            continue;
        };
        for mutant in mutate::mutants(&script, &settings) {
            let passes = matches!(
                case.run_script(&mutant.script, &settings),
                Verdict::Pass { .. }
            );
            match (passes, mutant.equivalent) {
                (false, _) => killed += 1,
                (true, Some(why)) => *equivalent.entry(why).or_default() += 1,
                (true, None) => {
                    lived += 1;
                    println!(
                        "# {}:{}: {}: nobody notices",
                        case.name, mutant.line, mutant.what
                    );
                }
            }
        }
    }
    println!("# mutants: {killed} fail, {lived} pass unnoticed");
    for (why, count) in equivalent {
        println!("# {count} mutants that pass: {why}");
    }
    lived == 0
}
