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
use common::{duo, lone};
use proptest::prelude::*;

fn op(shape: Shape) -> impl Strategy<Value = Op> {
    any::<[u8; OP_LEN]>().prop_map(move |bytes| Op::from_bytes(shape, bytes))
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

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
