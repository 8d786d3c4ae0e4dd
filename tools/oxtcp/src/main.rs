// SPDX-License-Identifier: GPL-2.0
//! The `oxtcp` command. All of it is in the library, so that the fuzz targets have it too.

use std::process::ExitCode;

fn main() -> ExitCode {
    oxtcp::main()
}
