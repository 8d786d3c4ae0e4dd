// SPDX-License-Identifier: GPL-2.0
//! `oxtcp run` as a user meets it: the command is run, its output and exit code are looked at.
//!
//! `AF_UNIX` (1) stands in for the module's family, which need not be loaded here: `SO_DOMAIN` then tells
//! whether a program's TCP socket was redirected.

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{chown, PermissionsExt};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use tempfile::TempDir;

const PRINT_DOMAIN: &str = "import socket; print(socket.socket(socket.AF_INET, socket.SOCK_STREAM)\
                            .getsockopt(socket.SOL_SOCKET, socket.SO_DOMAIN))";
const REDIRECTED: &str = "1\n";

#[test]
fn redirects_a_program() {
    let output = run(&["--family", "1", "--", "python3", "-c", PRINT_DOMAIN]);
    assert_eq!(text(&output.stdout), REDIRECTED, "{}", text(&output.stderr));
}

#[test]
fn follows_into_children() {
    let output = run(&[
        "--family",
        "1",
        "sh",
        "-c",
        "sh -c 'python3 -c \"$1\"' sh \"$1\"",
        "sh",
        PRINT_DOMAIN,
    ]);
    assert_eq!(text(&output.stdout), REDIRECTED, "{}", text(&output.stderr));
}

#[test]
fn redirects_a_script() {
    let folder = TempDir::new().unwrap();
    let script = program(
        &folder,
        "script",
        format!("#!/usr/bin/env python3\n{PRINT_DOMAIN}\n").as_bytes(),
    );
    let output = run(&["--family", "1", &script]);
    assert_eq!(text(&output.stdout), REDIRECTED, "{}", text(&output.stderr));
    let plain = program(&folder, "plain", b"exit 7\n");
    assert_eq!(
        run(&["--family", "1", &plain]).status.code(),
        Some(7),
        "execvp(3) hands it to the shell"
    );
}

#[test]
fn the_program_gets_its_name_its_arguments_and_its_exit_code() {
    let output = run(&[
        "--family",
        "1",
        "sh",
        "-c",
        "echo \"$0 $*\"; exit 42",
        "--flow",
        "-x",
    ]);
    assert_eq!(text(&output.stdout), "--flow -x\n");
    assert_eq!(output.status.code(), Some(42));
}

#[test]
fn keeps_an_existing_preload() {
    let folder = TempDir::new().unwrap();
    let other = compile(&folder, "other.so", "int other;", &["-shared", "-fPIC"]);
    let output = oxtcp(&["--family", "1", "sh", "-c", "echo $LD_PRELOAD"])
        .env("LD_PRELOAD", &other)
        .output()
        .unwrap();
    let expected = format!("{other}:{}\n", library().canonicalize().unwrap().display());
    assert_eq!(text(&output.stdout), expected);
}

#[test]
fn run_under_run_is_run() {
    let inner = env!("CARGO_BIN_EXE_oxtcp");
    let output = run(&[
        "--family",
        "2",
        inner,
        "run",
        "--family",
        "1",
        "sh",
        "-c",
        "echo $LD_PRELOAD $OXTCP_FAMILY",
    ]);
    let expected = format!("{} 1\n", library().canonicalize().unwrap().display());
    assert_eq!(text(&output.stdout), expected, "{}", text(&output.stderr));
}

#[test]
fn a_static_program_is_refused() {
    let folder = TempDir::new().unwrap();
    for options in [
        &["-static"][..],
        &["-static-pie"],
        &["-nostdlib", "-static", "-Wl,-e,main"],
    ] {
        let path = compile(&folder, "static", "int main(void) { return 0; }", options);
        refused(
            &run(&["--family", "1", &path]),
            123,
            &["is statically linked", "dynamically linked build"],
        );
        let script = program(&folder, "script", format!("#! {path} -x\n").as_bytes());
        refused(
            &run(&["--family", "1", &script]),
            123,
            &["script cannot", "its interpreter", "statically"],
        );
    }
}

#[test]
fn the_dynamic_loader_as_a_program_is_not_static() {
    let loader = Path::new("/lib64/ld-linux-x86-64.so.2");
    if loader.exists() {
        let output = run(&["--family", "1", loader.to_str().unwrap(), "--help"]);
        assert!(output.status.success(), "{}", text(&output.stderr));
    }
}

#[test]
fn a_go_program_is_refused() {
    let folder = TempDir::new().unwrap();
    let source =
        "__attribute__((section(\".go.buildinfo\"))) char info[16]; int main(void) { return 0; }";
    let path = compile(&folder, "go", source, &[]);
    refused(&run(&["--family", "1", &path]), 123, &["is a Go program"]);
}

#[test]
fn a_program_for_another_machine_is_refused() {
    let folder = TempDir::new().unwrap();
    let mut image = fs::read("/bin/sh").unwrap();
    image[18..20].copy_from_slice(&183u16.to_le_bytes());
    let arm = program(&folder, "arm", &image);
    refused(&run(&["--family", "1", &arm]), 123, &["another processor"]);
    // The ELF header of a 32-bit program; nothing of it is executed.
    let mut header = vec![
        0x7f, b'E', b'L', b'F', 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 3, 0, 1, 0, 0, 0,
    ];
    header.resize(52, 0);
    header[40] = 52;
    header[42] = 32;
    let i386 = program(&folder, "i386", &header);
    refused(
        &run(&["--family", "1", &i386]),
        123,
        &["32-bit program", "64-bit build"],
    );
}

#[test]
fn a_program_that_gains_privileges_is_refused() {
    // SAFETY: takes nothing.
    if unsafe { libc::getuid() } != 0 {
        return; // only root can give a file to someone else
    }
    let folder = TempDir::new().unwrap();
    let path = program(&folder, "sh", &fs::read("/bin/sh").unwrap());
    for (owner, group, mode, words) in [
        (Some(65534), Some(0), 0o4755, "is set-user-ID"),
        (Some(0), Some(65534), 0o2755, "is set-group-ID"),
    ] {
        chown(&path, owner, group).unwrap();
        fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        refused(
            &run(&["--family", "1", &path]),
            123,
            &[words, "sudo oxtcp run"],
        );
    }
    // Set-user-ID to the user that it runs as already: nothing is gained.
    chown(&path, Some(0), Some(0)).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o4755)).unwrap();
    assert!(run(&["--family", "1", &path, "-c", "true"])
        .status
        .success());
}

#[test]
fn a_missing_module_is_told() {
    if Path::new("/sys/module/oxtcp").exists() {
        return;
    }
    refused(
        &run(&["true"]),
        125,
        &["the kernel module oxtcp is not loaded", "modprobe oxtcp"],
    );
    refused(
        &run(&["--family", "200", "true"]),
        125,
        &["knows no socket family 200"],
    );
}

#[test]
fn fallback_says_so_and_goes_on() {
    let by_option = run(&[
        "--family",
        "200",
        "--fallback",
        "python3",
        "-c",
        PRINT_DOMAIN,
    ]);
    let by_variable = oxtcp(&["--family", "200", "python3", "-c", PRINT_DOMAIN])
        .env("OXTCP_FALLBACK", "1")
        .output()
        .unwrap();
    for output in [by_option, by_variable] {
        assert_eq!(text(&output.stdout), "2\n");
        assert!(
            text(&output.stderr).contains("python3 uses the built-in TCP"),
            "{}",
            text(&output.stderr)
        );
    }
}

#[test]
fn programs_that_are_not_there_or_not_programs() {
    let folder = TempDir::new().unwrap();
    refused(
        &run(&["--family", "1", "no-such-program"]),
        127,
        &["no such program in PATH"],
    );
    refused(
        &run(&["--family", "1", "./no-such-program"]),
        127,
        &["no-such-program: no such program"],
    );
    refused(
        &run(&["--family", "1", folder.path().to_str().unwrap()]),
        126,
        &["cannot execute"],
    );
    let file = folder.path().join("data");
    File::create(&file).unwrap();
    refused(
        &run(&["--family", "1", file.to_str().unwrap()]),
        126,
        &["Permission denied"],
    );
    let circle = folder.path().join("circle");
    let circle = program(
        &folder,
        "circle",
        format!("#!{}\n", circle.display()).as_bytes(),
    );
    refused(&run(&["--family", "1", &circle]), 126, &["cannot execute"]);
}

#[test]
fn a_missing_library_is_told() {
    let output = oxtcp(&["true"])
        .env("OXTCP_PRELOAD", "/nowhere/lib.so")
        .output()
        .unwrap();
    refused(
        &output,
        125,
        &["cannot find the library", "/nowhere/lib.so"],
    );
    let folder = TempDir::new().unwrap();
    let awkward = folder.path().join("a b.so");
    fs::copy(library(), &awkward).unwrap();
    let output = oxtcp(&["true"])
        .env("OXTCP_PRELOAD", &awkward)
        .output()
        .unwrap();
    refused(&output, 125, &["LD_PRELOAD cannot hold"]);
}

fn refused(output: &Output, code: i32, words: &[&str]) {
    let message = text(&output.stderr);
    assert_eq!(output.status.code(), Some(code), "{message}");
    assert!(message.starts_with("oxtcp: "), "{message}");
    for word in words {
        assert!(message.contains(word), "`{word}` is not in: {message}");
    }
}

fn run(arguments: &[&str]) -> Output {
    oxtcp(arguments).output().unwrap()
}

fn oxtcp(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_oxtcp"));
    command.arg("run").args(arguments);
    command
        .env("OXTCP_PRELOAD", library())
        .env_remove("LD_PRELOAD")
        .env_remove("OXTCP_FALLBACK");
    command
}

/// Cargo builds no cdylib for another package's test, so this asks for it.
fn library() -> &'static Path {
    static LIBRARY: OnceLock<PathBuf> = OnceLock::new();
    LIBRARY.get_or_init(|| {
        // target/debug/oxtcp
        let target = Path::new(env!("CARGO_BIN_EXE_oxtcp"))
            .ancestors()
            .nth(2)
            .unwrap();
        let build = Command::new(env!("CARGO"))
            .args([
                "build",
                "--quiet",
                "--locked",
                "--package",
                "oxtcp-preload",
                "--release",
                "--target-dir",
            ])
            .arg(target)
            .status();
        assert!(
            build.unwrap().success(),
            "cargo could not build the library"
        );
        target.join("release/liboxtcp_preload.so")
    })
}

fn compile(folder: &TempDir, name: &str, source: &str, options: &[&str]) -> String {
    let (input, output) = (folder.path().join("source.c"), folder.path().join(name));
    fs::write(&input, source).unwrap();
    let status = Command::new("cc")
        .args(options)
        .arg("-o")
        .arg(&output)
        .arg(&input)
        .status();
    assert!(status.unwrap().success(), "cc {options:?}");
    output.to_str().unwrap().to_string()
}

fn program(folder: &TempDir, name: &str, content: &[u8]) -> String {
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    fs::set_permissions(&path, Permissions::from_mode(0o755)).unwrap();
    path.to_str().unwrap().to_string()
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
