// SPDX-License-Identifier: GPL-2.0
//! What `make test` explores: a depth that takes seconds.

use oxtcp_model::{explore, Start, DEPTH};

#[test]
fn every_interleaving() {
    for start in Start::ALL {
        for options in [true, false] {
            let explored = explore(start, options, DEPTH);
            println!("{explored}");
            assert!(explored.unique > 100, "{explored}");
        }
    }
}
