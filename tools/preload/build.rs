// SPDX-License-Identifier: GPL-2.0
//! A symbol that no library defines is an error here, and not when a program is started.

fn main() {
    println!("cargo:rustc-cdylib-link-arg=-Wl,-z,defs");
    println!("cargo:rerun-if-changed=build.rs");
}
