// SPDX-License-Identifier: GPL-2.0
//! Any operations, in any order (`common::op`), on one connection and on two ends of a channel. The same runs as the fuzz
//! targets, here drawn by proptest; and every input that the fuzzer has kept is run again.
// Tests are named function__case, and may panic.
#![allow(
    non_snake_case,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod common;

use common::op::{Op, Shape, OP_LEN};
use common::{duo, lone, seeds, wire};
use proptest::prelude::*;
use proptest::test_runner::RngSeed;
use std::path::PathBuf;

fn op(shape: Shape) -> impl Strategy<Value = Op> {
    any::<[u8; OP_LEN]>().prop_map(move |bytes| Op::from_bytes(shape, bytes))
}

/// The same ones in every run; others with `PROPTEST_CASES`. What fails is told as operations.
fn config() -> ProptestConfig {
    let default = ProptestConfig {
        failure_persistence: None,
        ..ProptestConfig::default()
    };
    match std::env::var_os("PROPTEST_CASES") {
        Some(_) => default,
        None => ProptestConfig {
            cases: 10_000,
            rng_seed: RngSeed::Fixed(9293),
            ..default
        },
    }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn connection__any_operations(setup in any::<[u8; OP_LEN]>(), ops in prop::collection::vec(op(Shape::Lone), 0..60)) {
        let mut lone = lone::Lone::new(lone::Setup::from_bytes(setup));
        for op in &ops {
            lone.step(op);
        }
    }

    #[test]
    fn conversation__any_operations(setup in any::<[u8; OP_LEN]>(), ops in prop::collection::vec(op(Shape::Duo), 0..80)) {
        let mut duo = duo::Duo::new(duo::Setup::from_bytes(setup));
        for op in &ops {
            duo.step(op);
        }
        duo.finish();
    }
}

fn corpus(target: &str) -> PathBuf {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    root.join("fuzz/corpus").join(target)
}

/// Every file of the corpus, as the fuzz target runs it. `OXTCP_INPUT=FILE` runs that one in place of them.
fn replay(target: &str, run: fn(&[u8])) {
    let folder = corpus(target);
    let only = std::env::var_os("OXTCP_INPUT").map(PathBuf::from);
    let mut files: Vec<PathBuf> = match only {
        Some(file) => vec![file],
        None => std::fs::read_dir(&folder)
            .expect("the corpus")
            .map(|entry| entry.expect("an entry").path())
            .collect(),
    };
    files.sort();
    assert!(!files.is_empty());
    for file in files {
        let bytes = std::fs::read(&file).expect("a readable file");
        if std::panic::catch_unwind(|| run(&bytes)).is_err() {
            panic!("failed with OXTCP_INPUT={}", file.display());
        }
    }
}

#[test]
fn corpus__connection() {
    replay("connection", lone::run);
}

#[test]
fn corpus__conversation() {
    replay("conversation", duo::run);
}

#[test]
fn corpus__options() {
    replay("options", wire::run);
}

/// The seeds are files of the corpus: `OXTCP_BLESS=1` writes them.
#[test]
fn corpus__has_the_seeds() {
    let bless = std::env::var_os("OXTCP_BLESS").is_some();
    for target in ["connection", "conversation", "options"] {
        for (name, bytes) in seeds::of(target) {
            let file = corpus(target).join(&name);
            if bless {
                std::fs::create_dir_all(corpus(target)).expect("a folder");
                std::fs::write(&file, &bytes).expect("a file");
            }
            let have = std::fs::read(&file).unwrap_or_default();
            assert_eq!(have, bytes, "{target}/{name}: OXTCP_BLESS=1 writes it");
        }
    }
}

/// What the fuzzer writes is what is meant: bytes to operation and back.
#[test]
fn op__from_bytes_and_back() {
    for shape in [Shape::Lone, Shape::Duo] {
        for tag in 0..32 {
            for seed in 0..64u8 {
                let at = |i: u8| seed.wrapping_mul(37).wrapping_add(i.wrapping_mul(51));
                let bytes = [tag, at(1), at(2), at(3), at(4), at(5), at(6), at(7)];
                let op = Op::from_bytes(shape, bytes);
                let again = op.to_bytes(shape).expect("an operation of this shape");
                assert_eq!(Op::from_bytes(shape, again), op, "{bytes:?}");
            }
        }
    }
}
