// SPDX-License-Identifier: GPL-2.0

//! Runs packetdrill scripts. See the crate's README.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use oxtcp_conformance::catalogue::{Catalogue, On};
use oxtcp_conformance::mutate;
use oxtcp_conformance::report::{self, Results, Row};
use oxtcp_conformance::results;
use oxtcp_conformance::run::Verdict;
use oxtcp_conformance::socket::{self, Stack};
use oxtcp_conformance::suite::{cases, Bed, Case};

/// Runs packetdrill scripts against the engine in virtual time, or against the TCP of the kernel that runs here.
#[derive(Parser)]
struct Options {
    /// The folder with the scripts.
    #[arg(long, value_name = "FOLDER")]
    scripts: PathBuf,

    /// What the scripts are run against.
    #[arg(long, value_enum, default_value = "engine")]
    backend: Backend,

    /// With --backend socket: against the kernel's own TCP. What fails there is a fault of this program.
    #[arg(long)]
    builtin: bool,

    /// What is known of the scripts: a script that is known to pass must pass.
    #[arg(long, value_name = "FILE")]
    catalogue: Option<PathBuf>,

    /// Writes which scripts pass into the catalogue.
    #[arg(long, requires = "catalogue")]
    bless: bool,

    /// Writes the results, for the two options below.
    #[arg(long, value_name = "FILE")]
    results: Option<PathBuf>,

    /// The results of a run with --backend socket, for --table and --bless.
    #[arg(long, value_name = "FILE")]
    module_results: Option<PathBuf>,

    /// The results of a run with --builtin.
    #[arg(long, value_name = "FILE")]
    builtin_results: Option<PathBuf>,

    /// Writes a table of the results on all back ends; this run is that on the engine.
    #[arg(long, value_name = "FILE", requires_all = ["module_results", "builtin_results"])]
    table: Option<PathBuf>,

    /// How much too early or too late something may be, where the script does not say.
    #[arg(long, value_name = "MICROSECONDS")]
    tolerance_usecs: Option<i64>,

    /// Changes each thing that the passing scripts state, one at a time: each change must fail. With a number, only
    /// so many changes of each script, always the same.
    #[arg(long, value_name = "N", num_args = 0..=1, require_equals = true, default_missing_value = "0")]
    mutate: Option<usize>,

    /// Says nothing but what is wrong.
    #[arg(long)]
    quiet: bool,

    /// Scripts to run; all of the folder without any.
    #[arg(value_name = "SCRIPT")]
    names: Vec<String>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Backend {
    /// The engine in virtual time.
    Engine,
    /// System calls, and a tun device; root.
    Socket,
}

impl Options {
    fn bed(&self) -> Result<(Bed, On), String> {
        match (self.backend, self.builtin) {
            (Backend::Engine, false) => Ok((Bed::Engine, On::Engine)),
            (Backend::Engine, true) => Err("--builtin is for --backend socket".into()),
            (Backend::Socket, false) => Ok((Bed::Socket(Stack::oxtcp()?), On::Module)),
            (Backend::Socket, true) => Ok((Bed::Socket(Stack::Builtin), On::Builtin)),
        }
    }
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
    let (bed, on) = options.bed()?;
    let read = |path: &Option<PathBuf>| path.as_deref().map(results::read).transpose();
    let (module, builtin) = (
        read(&options.module_results)?,
        read(&options.builtin_results)?,
    );
    let mut catalogue = match &options.catalogue {
        Some(path) => Catalogue::read(path)?,
        None => Catalogue::default(),
    };
    let cases = cases(&options.scripts, &options.names)?;
    if cases.is_empty() {
        return Err(format!("no scripts in {}", options.scripts.display()));
    }
    if let Bed::Socket(stack) = bed {
        socket::warm_up(stack)?;
    }
    let mut ktap = Ktap::begin(&cases, on, options.quiet);
    let mut rows = Vec::new();
    for case in &cases {
        let row = run(case, bed, on, &catalogue, options.tolerance_usecs);
        ktap.row(&row, &catalogue);
        rows.push(row);
    }
    let mut good = ktap.end();
    if let (true, Some(path)) = (options.bless, &options.catalogue) {
        let others = [(On::Module, &module), (On::Builtin, &builtin)];
        let others = others
            .into_iter()
            .filter_map(|(on, rows)| Some((on, rows.as_ref()?)));
        for (on, rows) in others.chain([(on, &rows)]) {
            for row in rows {
                catalogue.set_passes(on, &row.name, row.passed());
            }
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
        if let (true, On::Engine | On::Module) = (options.catalogue.is_some(), on) {
            good &= reasons(&rows, &catalogue);
        }
    }
    if let Some(path) = &options.results {
        write(path, &results::text(&rows))?;
    }
    if let (Some(path), Some(module), Some(builtin)) = (&options.table, &module, &builtin) {
        let results = Results {
            engine: &rows,
            module,
            builtin,
        };
        write(path, &report::table(&results, &catalogue))?;
    }
    if let Some(count) = options.mutate {
        good &= mutate(&cases, &rows, bed, count, options.tolerance_usecs);
    }
    Ok(good)
}

/// Whether the catalogue says of all scripts that do not pass, and of none that does, why.
fn reasons(rows: &[Row], catalogue: &Catalogue) -> bool {
    let mut good = true;
    for row in rows {
        let why = catalogue.entry(&row.name).reason;
        let wanted = row.waits_for.is_none() && !row.passes();
        let what = match (wanted, why) {
            (true, None) => "does not pass, and the catalogue does not say why",
            (false, Some(_)) => "has a reason in the catalogue, and needs none",
            _ => continue,
        };
        println!("# {}: {what}", row.name);
        good = false;
    }
    good
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    std::fs::write(path, text).map_err(|error| format!("{}: {error}", path.display()))
}

fn run(case: &Case, bed: Bed, on: On, catalogue: &Catalogue, tolerance: Option<i64>) -> Row {
    let verdicts = match case.versions() {
        Ok(versions) => versions
            .iter()
            .map(|version| (*version, case.run(bed, *version, tolerance)))
            .collect(),
        Err(failure) => vec![(
            oxtcp_conformance::run::IpVersion::V4,
            Verdict::Fail(failure),
        )],
    };
    Row {
        name: case.name.clone(),
        // What oxtcp lacks, the built-in TCP has.
        waits_for: match on {
            On::Builtin => None,
            On::Engine | On::Module => catalogue.entry(&case.name).waits_for,
        },
        verdicts,
    }
}

/// Prints results as they come.
struct Ktap {
    on: On,
    quiet: bool,
    number: usize,
    counts: BTreeMap<&'static str, usize>,
}

impl Ktap {
    fn begin(cases: &[Case], on: On, quiet: bool) -> Ktap {
        let variants = |case: &Case| case.versions().map_or(1, |versions| versions.len());
        if !quiet {
            let total: usize = cases.iter().map(variants).sum();
            println!("KTAP version 1\n1..{total}");
        }
        Ktap {
            on,
            quiet,
            number: 0,
            counts: BTreeMap::new(),
        }
    }

    fn row(&mut self, row: &Row, catalogue: &Catalogue) {
        let entry = catalogue.entry(&row.name);
        for (version, verdict) in &row.verdicts {
            self.number += 1;
            let known = entry.passes(self.on).contains(version);
            let kind = match (verdict, known) {
                (Verdict::Pass { .. }, _) => "pass",
                (Verdict::Fail(_), true) => "fail",
                (Verdict::Fail(_), false) if row.waits_for.is_some() => "skip",
                (Verdict::Fail(_), false) => "xfail",
            };
            *self.counts.entry(kind).or_default() += 1;
            if !self.quiet || kind == "fail" {
                let line = report::line(self.number, row, *version, verdict, known);
                println!("{line}");
            }
        }
    }

    /// `false` if a script fails that is known to pass.
    fn end(self) -> bool {
        let count = |kind: &str| self.counts.get(kind).copied().unwrap_or(0);
        let on = match self.on {
            On::Engine => "engine",
            On::Module => "module",
            On::Builtin => "built-in TCP",
        };
        println!(
            "# packetdrill, {on}: pass:{} fail:{} xfail:{} skip:{}",
            count("pass"),
            count("fail"),
            count("xfail"),
            count("skip")
        );
        count("fail") == 0
    }
}

/// Runs the mutants of what passed, `sample` of each script (0: all); `false` if one passes that should not.
fn mutate(cases: &[Case], rows: &[Row], bed: Bed, sample: usize, tolerance: Option<i64>) -> bool {
    let (mut killed, mut lived) = (0, 0);
    let mut equivalent: BTreeMap<&str, usize> = BTreeMap::new();
    for (case, row) in cases.iter().zip(rows) {
        // The variants differ in what surrounds the script, not in what it states.
        let Some(version) = row.passed().first().copied() else {
            continue;
        };
        let Ok((script, settings)) = case.prepare(bed, version, tolerance) else {
            continue;
        };
        let mut mutants = mutate::mutants(&script, &settings);
        if sample > 0 {
            mutants = mutate::sample(mutants, &case.name, sample);
        }
        for mutant in mutants {
            let passes = matches!(
                case.run_script(bed, &mutant.script, &settings),
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
