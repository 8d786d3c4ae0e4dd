// SPDX-License-Identifier: GPL-2.0

//! What the engine does in conversations with a peer, beside what the built-in TCP did in the same (`tests/differential.txt`, measured
//! in the virtual machine of `make differential`): nothing else than is listed in `Documentation/differential.md`.

#![allow(non_snake_case)]

use std::collections::BTreeSet;
use std::path::Path;

use oxtcp_conformance::differential::{
    compare, conversation, read, table, version, Class, End, Entry, Record,
};
use oxtcp_conformance::engine::Engine;

fn measured() -> Vec<Record> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/differential.txt");
    read(&path).expect("the records of the built-in TCP")
}

fn of_engine(seed: u64) -> Record {
    conversation(seed, &mut Engine::new(version(seed)).with_ticks())
}

#[test]
fn conversations__differ_from_the_built_in_tcp_in_known_ways() {
    let mut met = BTreeSet::new();
    let mut whole = 0;
    for expected in measured() {
        let found = compare(&expected, &of_engine(expected.seed));
        met.extend(found.classes);
        match found.end {
            End::Same => whole += 1,
            End::Parted => {}
            End::Differs(context, left, right) => panic!(
                "seed {}:\n{}\n- {}\n+ {}",
                expected.seed,
                context.join("\n"),
                left.map_or("nothing".into(), |entry| entry.to_string()),
                right.map_or("nothing".into(), |entry| entry.to_string()),
            ),
        }
    }
    // That they are no shorter than they were.
    assert!(whole >= WHOLE, "only {whole} to the end");
    assert!(met.len() >= CLASSES, "only {met:?}");
}

/// How many of the conversations are held to their end, and how many known differences are met.
const WHOLE: usize = 10;
const CLASSES: usize = 10;

/// A conversation that is the same to its end, and each thing in it that the TCP did, done otherwise: that is found.
#[test]
fn compare__finds_what_is_changed() {
    let expected = measured()
        .into_iter()
        .find(|record| {
            let found = compare(record, &of_engine(record.seed));
            found.end == End::Same && !ELASTIC.iter().any(|class| found.classes.contains(class))
        })
        .expect("one that is the same");
    let actual = of_engine(expected.seed);
    let mut changed = 0;
    for (at, entry) in actual
        .entries
        .iter()
        .enumerate()
        .filter(|(_, entry)| entry.done)
    {
        for change in CHANGES {
            let mut other = actual.clone();
            change(&mut other, at);
            if other == actual {
                continue;
            }
            changed += 1;
            let found = compare(&expected, &other);
            assert!(
                !matches!(found.end, End::Same),
                "{entry} of seed {}: {:?}",
                expected.seed,
                found.classes
            );
        }
    }
    assert!(changed > 20, "{changed}");
}

const CHANGES: [fn(&mut Record, usize); 5] = [number, acknowledgment, flag, late, gone];

fn edit(record: &mut Record, at: usize, edit: impl FnOnce(&mut Entry)) {
    if let Some(entry) = record.entries.get_mut(at) {
        edit(entry);
    }
}

/// Differences that stretch times.
const ELASTIC: [Class; 3] = [Class::Hurry, Class::Eager, Class::Timeout];

/// Its first octet is another one.
fn number(record: &mut Record, at: usize) {
    edit(record, at, |entry| {
        let (flags, rest) = entry.text.split_once(' ').unwrap_or_default();
        let (start, rest) = rest.split_once(':').unwrap_or_default();
        let start: u32 = start.parse().unwrap_or(0);
        entry.text = format!("{flags} {}:{rest}", start + 1);
    });
}

/// It acknowledges something else.
fn acknowledgment(record: &mut Record, at: usize) {
    edit(record, at, |entry| {
        if let Some((before, rest)) = entry.text.split_once(" ack ") {
            entry.text = format!("{before} ack 9{rest}");
        }
    });
}

/// It is a FIN.
fn flag(record: &mut Record, at: usize) {
    edit(record, at, |entry| entry.text.insert(0, 'F'));
}

/// It is so late that no timer's tick explains it.
fn late(record: &mut Record, at: usize) {
    edit(record, at, |entry| {
        entry.at += 3_000_000;
        entry.stamp = entry.stamp.map(|stamp| stamp + 3_000);
    });
}

/// It is not there.
fn gone(record: &mut Record, at: usize) {
    record.entries.remove(at);
}

#[test]
fn table__is_the_documentation() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../Documentation/differential.md");
    let text = std::fs::read_to_string(path).expect("Documentation/differential.md");
    assert_eq!(text, table(), "`make differential` writes it");
}
