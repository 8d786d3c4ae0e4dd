// SPDX-License-Identifier: GPL-2.0

//! A network namespace for one script, with the device and the routes that packetdrill makes, and the commands that
//! change them.

use std::io::Write;
use std::net::IpAddr;
use std::process::{Command, Stdio};

use nix::sched::{unshare, CloneFlags};

use super::packet::Addresses;
use super::tun::{Tun, NAME};
use crate::backend::Device;
use crate::run::IpVersion;
use crate::shell::Queue;

/// Moves this thread into a new network namespace, for good, and makes the device there.
pub(super) fn enter(version: IpVersion) -> Result<Tun, String> {
    unshare(CloneFlags::CLONE_NEWNET).map_err(|error| format!("a network namespace: {error}"))?;
    let tun = Tun::new()?;
    run("ip", &["-batch", "-"], &links(version))?;
    Ok(tun)
}

/// What `ip` is to do. The numbers are those of the kernel's `ksft_runner.sh`, and packetdrill's defaults.
fn links(version: IpVersion) -> String {
    let addresses = Addresses::new(version);
    let local = addresses.local;
    let (mtu, address, route) = match local {
        IpAddr::V4(_) => (1500, format!("{local}/16"), "192.0.2.0/24"),
        // Duplicates are not looked for: the address would wait for that.
        IpAddr::V6(_) => (1520, format!("{local}/48"), "fd3d:fa7b:d17d::/48"),
    };
    let wait = if local.is_ipv6() { " nodad" } else { "" };
    format!(
        "link set dev {NAME} mtu {mtu} up\n\
         address add {address} dev {NAME}{wait}\n\
         route add {route} dev {NAME}\n"
    )
}

/// Changes the device.
pub(super) fn change(change: Device) -> Result<(), String> {
    let line = match change {
        Device::Mtu(mtu) => format!("ip link set dev {NAME} mtu {mtu}"),
        Device::Queue(Queue::Fifo) => format!("tc qdisc add dev {NAME} root pfifo"),
        Device::Queue(Queue::Full) => format!("tc qdisc add dev {NAME} root pfifo limit 0"),
        Device::Queue(Queue::Fq) => format!("tc qdisc replace dev {NAME} root fq"),
        Device::Queue(Queue::Default) => format!("tc qdisc delete dev {NAME} root"),
        Device::Offload(on) => {
            let on = if on { "on" } else { "off" };
            format!("ethtool -K {NAME} tso {on} gso {on}")
        }
    };
    let mut words = line.split(' ');
    let program = words.next().unwrap_or_default();
    run(program, &words.collect::<Vec<&str>>(), "")
}

/// Runs a program in this thread's namespace.
fn run(program: &str, args: &[&str], input: &str) -> Result<(), String> {
    let failed = |what: String| format!("{program} {}: {what}", args.join(" "));
    let mut child = Command::new(program)
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(error.to_string()))?;
    if let Some(mut stdin) = child.stdin.take() {
        // One that reads nothing may have ended.
        let _ = stdin.write_all(input.as_bytes());
    }
    let output = child
        .wait_with_output()
        .map_err(|error| failed(error.to_string()))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(failed(
            String::from_utf8_lossy(&output.stderr).trim().to_string(),
        )),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn links__of_both_families() {
        assert_eq!(
            links(IpVersion::Mapped),
            "link set dev tun0 mtu 1500 up\n\
             address add 192.168.0.1/16 dev tun0\n\
             route add 192.0.2.0/24 dev tun0\n"
        );
        assert!(links(IpVersion::V6).contains("fd3d:a0b:17d6::1/48 dev tun0 nodad"));
    }

    #[test]
    fn run__failures_are_told() {
        assert_eq!(run("cat", &[], "text"), Ok(()));
        let error = run("ls", &["/nowhere"], "").unwrap_err();
        assert!(error.starts_with("ls /nowhere: "), "{error}");
        assert!(run("/nowhere/program", &[], "").is_err());
    }
}
