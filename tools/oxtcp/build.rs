// SPDX-License-Identifier: GPL-2.0
//! The table of the settings, from where the module declares them: `settings! { ... }` in `rust/oxtcp/sysctls.rs`.

use std::env;
use std::fmt::Write;
use std::fs;
use std::path::Path;

const SYSCTLS: &str = "../../rust/oxtcp/sysctls.rs";
/// Has the congestion controllers' names.
const CONGESTION: &str = "../../rust/engine/src/congestion/mod.rs";

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    let read = |path: &str| {
        println!("cargo::rerun-if-changed={path}");
        fs::read_to_string(path).unwrap_or_else(|error| panic!("{path}: {error}"))
    };
    let (sysctls, congestion) = (read(SYSCTLS), read(CONGESTION));
    let folder = env::var("OUT_DIR").expect("cargo sets OUT_DIR");
    fs::write(
        Path::new(&folder).join("settings.rs"),
        table(&sysctls, &algorithms(&congestion)),
    )
    .expect("OUT_DIR can be written to");
}

/// The Rust source of `SETTINGS`. Numbers are taken over as they are written, and the constants that they
/// name with them: the compiler works them out.
fn table(sysctls: &str, algorithms: &[String]) -> String {
    let mut out = String::new();
    for line in sysctls.lines() {
        if line.starts_with("const ") && line.contains(": i32 = ") {
            writeln!(out, "{line}").expect("a string");
        }
    }
    out += "pub static SETTINGS: &[Setting] = &[\n";
    let body = sysctls
        .split_once("\nsettings! {\n")
        .and_then(|(_, rest)| rest.split_once("\n}\n"))
        .unwrap_or_else(|| panic!("no `settings! {{ ... }}` in {SYSCTLS}"))
        .0;
    let mut meaning: Vec<&str> = Vec::new();
    for line in body.lines().map(str::trim) {
        if let Some(text) = line.strip_prefix("///") {
            meaning.push(text.trim());
        } else if let Some((name, declared)) = line
            .strip_suffix(';')
            .and_then(|line| line.split_once(" = "))
        {
            let kind = kind(declared, algorithms)
                .unwrap_or_else(|| panic!("{SYSCTLS}: cannot read `{line}`"));
            writeln!(
                out,
                "    Setting {{ name: {name:?}, meaning: {:?}, kind: {kind} }},",
                meaning.join(" ")
            )
            .expect("a string");
            meaning.clear();
        } else if !(line.is_empty() || line == "}" || line.ends_with(" {")) {
            panic!("{SYSCTLS}: cannot read `{line}`");
        }
    }
    out + "];\n"
}

/// `DEFAULT, LEAST, MOST`, `NUMBER of LIST` or `LIST`.
fn kind(declared: &str, algorithms: &[String]) -> Option<String> {
    let list = |name: &str| (name == "ALGORITHMS").then_some(algorithms);
    if let Some((number, name)) = declared.split_once(" of ") {
        let names = list(name)?;
        let default = names.get(number.parse::<usize>().ok()?)?;
        return Some(format!(
            "Kind::Choice {{ default: {default:?}, names: &{names:?} }}"
        ));
    }
    if let Some(names) = list(declared) {
        return Some(format!("Kind::ReadOnly {{ names: &{names:?} }}"));
    }
    let (rest, most) = declared.rsplit_once(", ")?;
    let (default, least) = rest.rsplit_once(", ")?;
    let default: Vec<String> = default
        .trim_matches(['[', ']'])
        .split(", ")
        .map(|number| format!("({number}) as i64"))
        .collect();
    Some(format!(
        "Kind::Numbers {{ default: &[{}], least: ({least}) as i64, most: ({most}) as i64 }}",
        default.join(", ")
    ))
}

/// The names in the order of `Algorithm::ALL`, by which the module numbers them.
fn algorithms(congestion: &str) -> Vec<String> {
    let order = congestion
        .split_once("pub const ALL: [Algorithm;")
        .and_then(|(_, rest)| rest.split_once("= ["))
        .and_then(|(_, rest)| rest.split_once("];"))
        .unwrap_or_else(|| panic!("no `Algorithm::ALL` in {CONGESTION}"))
        .0;
    order
        .split(',')
        .filter_map(|variant| variant.trim().strip_prefix("Algorithm::"))
        .map(|variant| {
            congestion
                .split_once(&format!("{variant} => \""))
                .and_then(|(_, rest)| rest.split_once('"'))
                .unwrap_or_else(|| panic!("no name of {variant} in {CONGESTION}"))
                .0
                .to_string()
        })
        .collect()
}
