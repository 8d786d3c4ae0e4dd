// SPDX-License-Identifier: GPL-2.0
//! The connections that there are already when a trace begins: events tell how states change, and so not the state of what does not.

use std::collections::HashMap;
use std::fs::{self, File};
use std::os::fd::AsFd;
use std::os::unix::fs::MetadataExt;
use std::path::PathBuf;
use std::thread;

use rustix::thread::{move_into_link_name_space, LinkNameSpaceType};

use super::flows::Flows;
use super::{monotonic, this_namespace};
use crate::failure::{Problem, Result};
use crate::host::Host;
use crate::sockets::{diag, source, Socket, Wanted};

const WANTED: Wanted = Wanted {
    details: false,
    ..Wanted::ALL
};

/// Tells `flows` the states of this network namespace's sockets, or of all namespaces'. What has begun since the trace did is told of by
/// events as well, which count more.
pub fn note(host: &Host, all: bool, flows: &mut Flows) -> Result<()> {
    let here = this_namespace()?;
    let now = monotonic();
    let mut put = |netns: u32, socket: Socket| {
        flows.already(netns, (socket.local, socket.remote), socket.state, now);
    };
    source(host, WANTED)?.each(&mut |socket| put(here, socket))?;
    if all {
        for (netns, path) in namespaces() {
            if netns != here {
                // One that has gone meanwhile has no connections.
                let there = elsewhere(host.clone(), path)?.unwrap_or_default();
                there.into_iter().for_each(|socket| put(netns, socket));
            }
        }
    }
    Ok(())
}

/// Those with a process in them, or a name of `ip netns`, by their numbers.
fn namespaces() -> HashMap<u32, PathBuf> {
    let list = |folder: &str| fs::read_dir(folder).into_iter().flatten().flatten();
    let of_processes = list("/proc")
        .filter(|entry| {
            let name = entry.file_name();
            name.as_encoded_bytes().iter().all(u8::is_ascii_digit)
        })
        .map(|entry| entry.path().join("ns/net"));
    let named = list("/run/netns").map(|entry| entry.path());
    named
        .chain(of_processes)
        .filter_map(|path| Some((u32::try_from(fs::metadata(&path).ok()?.ino()).ok()?, path)))
        .collect()
}

/// The sockets of another namespace: a thread enters it, as the process is to stay where it is.
fn elsewhere(host: Host, path: PathBuf) -> Result<Option<Vec<Socket>>> {
    let visit = move || -> Option<Vec<Socket>> {
        let file = File::open(path).ok()?;
        move_into_link_name_space(file.as_fd(), Some(LinkNameSpaceType::Network)).ok()?;
        use crate::sockets::Source;
        diag(&host, WANTED)?.all().ok()
    };
    thread::spawn(visit)
        .join()
        .map_err(|_| Problem::failed("listing the connections has ended by a bug of oxtcp"))
}
