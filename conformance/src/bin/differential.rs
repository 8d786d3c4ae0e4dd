// SPDX-License-Identifier: GPL-2.0

//! Holds random conversations with a TCP, and compares what it does with what another has done. See the crate's README.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Parser, ValueEnum};

use oxtcp_conformance::differential::{
    compare, conversation, read, table, version, write, Class, End, Record,
};
use oxtcp_conformance::engine::Engine;
use oxtcp_conformance::socket::{self, Stack};

/// Random conversations with a TCP: what does it do, and is it what another did?
#[derive(Parser)]
struct Options {
    /// Which TCP.
    #[arg(long, value_enum, default_value = "engine")]
    on: On,

    /// The first seed.
    #[arg(long, default_value_t = 0)]
    first: u64,

    /// How many conversations.
    #[arg(long, default_value_t = 100)]
    count: u64,

    /// Writes what the TCP did.
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,

    /// Holds no conversations, but takes what was recorded.
    #[arg(long, value_name = "FILE")]
    records: Option<PathBuf>,

    /// Compares with what was recorded.
    #[arg(long, value_name = "FILE")]
    against: Option<PathBuf>,

    /// Writes the table of known differences.
    #[arg(long, value_name = "FILE")]
    table: Option<PathBuf>,

    /// Of these alone, in place of `--first` and `--count`.
    #[arg(long, value_delimiter = ',')]
    seeds: Vec<u64>,

    /// Differences that are shown.
    #[arg(long, default_value_t = 10)]
    show: usize,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum On {
    /// The engine in virtual time.
    Engine,
    /// The module in this kernel; root.
    Module,
    /// The kernel's own TCP; root.
    Builtin,
}

impl Options {
    fn seeds(&self) -> impl Iterator<Item = u64> + '_ {
        let range = match self.seeds.is_empty() {
            true => self.first..self.first.saturating_add(self.count),
            false => 0..0,
        };
        range.chain(self.seeds.iter().copied())
    }
}

fn main() -> ExitCode {
    match work(&Options::parse()) {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(what) => {
            eprintln!("differential: {what}");
            ExitCode::FAILURE
        }
    }
}

fn work(options: &Options) -> Result<bool, String> {
    if let Some(path) = &options.table {
        std::fs::write(path, table()).map_err(|error| format!("{}: {error}", path.display()))?;
        return Ok(true);
    }
    let records = match &options.records {
        Some(path) => {
            let mut records = read(path)?;
            let wanted = |record: &Record| options.seeds().any(|seed| seed == record.seed);
            records.retain(wanted);
            records
        }
        None => hold(options)?,
    };
    if let Some(path) = &options.record {
        write(path, &records)?;
    }
    match &options.against {
        Some(path) => Ok(judge(&read(path)?, &records, options)),
        None => Ok(true),
    }
}

fn hold(options: &Options) -> Result<Vec<Record>, String> {
    let stack = match options.on {
        On::Engine => None,
        On::Module => Some(Stack::oxtcp()?),
        On::Builtin => Some(Stack::Builtin),
    };
    if let Some(stack) = stack {
        socket::warm_up(stack)?;
    }
    let mut records = Vec::new();
    for seed in options.seeds() {
        let version = version(seed);
        records.push(match stack {
            None => conversation(seed, &mut Engine::new(version).with_ticks()),
            Some(stack) => socket::hold(stack, version, |tcp| conversation(seed, tcp))?,
        });
    }
    Ok(records)
}

fn judge(expected: &[Record], actual: &[Record], options: &Options) -> bool {
    let (mut same, mut parted, mut different) = (0, 0, 0);
    let mut met: BTreeMap<Class, u32> = BTreeMap::new();
    for actual in actual {
        let Some(expected) = expected.iter().find(|record| record.seed == actual.seed) else {
            println!("# seed {}: nothing is recorded", actual.seed);
            different += 1;
            continue;
        };
        let found = compare(expected, actual);
        for class in found.classes {
            *met.entry(class).or_default() += 1;
        }
        match found.end {
            End::Same => same += 1,
            End::Parted => parted += 1,
            End::Differs(context, left, right) => {
                different += 1;
                if different > options.show {
                    continue;
                }
                println!("# seed {}:", actual.seed);
                for line in context {
                    println!("    {line}");
                }
                let nothing = || "nothing".to_string();
                println!(
                    "  - {}",
                    left.map_or_else(nothing, |entry| entry.to_string())
                );
                println!(
                    "  + {}",
                    right.map_or_else(nothing, |entry| entry.to_string())
                );
            }
        }
    }
    for (class, times) in met {
        println!("#   {}: {times}", class.name());
    }
    println!("# conversations: {same} the same, {parted} parted by a known difference, {different} different");
    different == 0
}
