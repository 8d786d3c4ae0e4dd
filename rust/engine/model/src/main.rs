// SPDX-License-Identifier: GPL-2.0
//! Explores to a depth: `oxtcp_model [DEPTH] [open|simultaneous|data|close]`. Prints how many states there are.

use oxtcp_model::{explore, Start};

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let depth = arguments.first().and_then(|text| text.parse().ok());
    let depth = depth.unwrap_or(oxtcp_model::DEPTH);
    let only = arguments.get(1).map(String::as_str);
    for start in Start::ALL {
        if only.is_some_and(|only| only != start.name()) {
            continue;
        }
        for options in [true, false] {
            println!("{}", explore(start, options, depth));
        }
    }
}
