// SPDX-License-Identifier: GPL-2.0
//! `--system` and `--service`: sockets of programs that others start, moved for as long as this process is there.

use std::collections::HashMap;
use std::env;
use std::ffi::OsStr;
use std::fs::{self, File};
use std::path::{Path, PathBuf};

use rustix::event::{poll, PollFd, PollFlags, Timespec};
use rustix::fs::inotify;
use serde_json::json;

use super::bpf::fence::Fence;
use super::bpf::Mover;
use super::check::Counting;
use super::service::{processes, Error as ServiceError, Service, Tree};
use super::supervise::{tell_misses, Reports};
use super::{cgroup, module, notify, sample, Arguments, Error};
use crate::trace::signals;

/// Whose sockets.
enum Scope {
    System,
    Services(Tree, Vec<Service>),
}

/// Moves sockets until a signal comes. The exit code.
pub fn run(arguments: &Arguments) -> Result<u8, Error> {
    let scope = scope(arguments)?;
    let mut reports = Reports::new(arguments.output.as_deref())?;
    let protocol = module::protocol()?;
    signals::catch().map_err(Error::Signals)?;
    let bpf = |error: super::bpf::Error| Error::Bpf(error.to_string());
    let fence = match &scope {
        Scope::System => Fence::System,
        Scope::Services(_, services) => {
            let fence = Fence::services().map_err(bpf)?;
            for folder in services.iter().flat_map(Service::folders) {
                fence.add(&folder).map_err(bpf)?;
            }
            fence
        }
    };
    let mover = Mover::new(&fence, protocol, PROGRAMS).map_err(bpf)?;
    let mut counting = match arguments.check {
        true => {
            let tree = Tree::find()?;
            let root = File::open(tree.root()).map_err(|_| ServiceError::NoCgroups)?;
            let counting = Counting::begin(&fence, &root, arguments.family, Vec::new());
            Some(counting?)
        }
        false => None,
    };
    if !is_moved(&scope, &fence)? {
        return Err(ServiceError::NotMoved.into());
    }
    let mut watched = match &scope {
        Scope::System => {
            say!(
                "oxtcp: new TCP sockets of all processes, in all network namespaces, are moved by BPF until this ends.\n\
                 Sockets that are open stay what they are; restart what is to have new ones (systemctl restart NAME)."
            );
            None
        }
        Scope::Services(tree, services) => Some(Watched::new(tree, services)),
    };
    let look = |counting: &mut Option<Counting>| {
        if let (Some(counting), Scope::Services(tree, services)) = (counting, &scope) {
            for cgroup in services.iter().filter_map(|one| tree.cgroup_of(one)) {
                counting.look(&processes(&cgroup));
            }
        }
    };
    look(&mut counting);
    let systemd = env::var_os("NOTIFY_SOCKET").filter(|address| !address.is_empty());
    tell(systemd.as_deref(), "READY=1")?;
    while !signals::caught() {
        match &mut watched {
            Some(watched) => watched.wait(),
            None => moment(&mut []),
        }
    }
    // It is on its way out, whoever listens.
    let _ = tell(systemd.as_deref(), "STOPPING=1");
    look(&mut counting);
    // While sockets are moved: one of afterwards is not one that was missed.
    let check = counting.map(Counting::read).transpose();
    tell_misses(&mover);
    drop(mover);
    say!(
        "oxtcp: sockets are not moved any more; those that were stay oxtcp's until they are closed"
    );
    let Some(check) = check? else {
        return Ok(0);
    };
    let text = match arguments.json {
        true => format!("{}\n", json!({"check": check.json()})),
        false => check.text(),
    };
    match (reports.write(&text), check.is_good()) {
        (Ok(()), true) => Ok(0),
        (Ok(()), false) => Ok(super::NOT_OURS),
        (Err(error), true) => Err(error),
        // What was asked for first of all.
        (Err(error), false) => {
            say!("oxtcp: {error}");
            Ok(super::NOT_OURS)
        }
    }
}

/// What was asked for, if it can be.
fn scope(arguments: &Arguments) -> Result<Scope, Error> {
    if arguments.stats || arguments.trace {
        return Err(Error::OfAProgram);
    }
    if arguments.family.is_some() && !arguments.check {
        return Err(Error::FamilyOfNothing);
    }
    if arguments.system {
        return Ok(Scope::System);
    }
    let mut services = Vec::new();
    for name in &arguments.service {
        let service = Service::new(name)?;
        if !services.contains(&service) {
            services.push(service);
        }
    }
    if services.len() > MOST {
        return Err(Error::TooMany(MOST));
    }
    let tree = Tree::find()?;
    for service in &services {
        if tree.cgroup_of(service).is_some() {
            continue;
        }
        let name = service.name().to_string();
        match service.is_known() {
            Some(true) => {}
            Some(false) => return Err(ServiceError::Unknown(name).into()),
            None => return Err(ServiceError::NotThere(name, tree.root().into()).into()),
        }
    }
    Ok(Scope::Services(tree, services))
}

/// Of BPF, by which sockets are moved. Of so many one is left: each that the kernel leaves out is one in which another task was just preempted.
const PROGRAMS: usize = 4;

/// So many services, by two names each, and a sample go into the map.
const MOST: usize = (super::bpf::fence::MOST - 1) / 2;

/// Opens a socket as those would, and says whether it was moved: by what the kernel says of itself alone nobody knows.
fn is_moved(scope: &Scope, fence: &Fence) -> Result<bool, Error> {
    let lacking = |error| Error::from(ServiceError::Sample(error));
    let Scope::Services(tree, _) = scope else {
        let socket = sample::open(libc::IPPROTO_TCP).map_err(lacking)?;
        return sample::belongs(&socket).map_err(lacking);
    };
    let folder = format!("oxtcp-run-{}.service", std::process::id());
    let path = tree.root().join(&folder);
    let bpf = |error: super::bpf::Error| Error::Bpf(error.to_string());
    fence.add(&folder).map_err(bpf)?;
    // One that was left behind by a process of this number.
    let _ = fs::remove_dir(&path);
    let outcome = fs::create_dir(&path).and_then(|()| {
        let door = File::options()
            .write(true)
            .open(path.join("cgroup.procs"))?;
        sample::is_ours_inside(|| cgroup::enter(&door))
    });
    // The kernel takes a process out a little after its parent is told of its end.
    for _ in 0..200 {
        match fs::remove_dir(&path) {
            Err(error) if error.raw_os_error() == Some(libc::EBUSY) => {
                std::thread::sleep(std::time::Duration::from_millis(5));
            }
            _ => break,
        }
    }
    fence.remove(&folder).map_err(bpf)?;
    outcome.map_err(lacking)
}

fn tell(systemd: Option<&OsStr>, what: &str) -> Result<(), Error> {
    match systemd.map(|address| (address, notify::tell(address, what))) {
        Some((address, Err(error))) => Err(Error::NotTold(address.into(), error)),
        _ => Ok(()),
    }
}

/// Waits a moment, or until there is something to read. A signal may come just before it is waited.
fn moment(fds: &mut [PollFd<'_>]) {
    let moment = Timespec {
        tv_sec: 0,
        tv_nsec: 500_000_000,
    };
    let _ = poll(fds, Some(&moment));
}

/// Services whose coming and going is told. Nothing hangs on it but the message.
struct Watched<'a> {
    tree: &'a Tree,
    services: &'a [Service],
    /// The cgroups that are there, by their numbers.
    there: Vec<Option<(PathBuf, u64)>>,
    changes: Option<rustix::fd::OwnedFd>,
    slices: HashMap<PathBuf, i32>,
}

impl<'a> Watched<'a> {
    fn new(tree: &'a Tree, services: &'a [Service]) -> Self {
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let mut watched = Self {
            tree,
            services,
            there: vec![None; services.len()],
            changes: inotify::init(flags).ok(),
            slices: HashMap::new(),
        };
        watched.look();
        for (service, there) in services.iter().zip(&watched.there) {
            let name = service.name();
            match there {
                Some((path, _)) => say!(
                    "oxtcp: {name}: its new TCP sockets are moved by BPF until this ends, in the cgroup {}.\n\
                     Sockets that it has open stay what they are: systemctl restart {name}",
                    path.display()
                ),
                None => say!(
                    "oxtcp: {name}: it does not run; when it does, its TCP sockets are moved by BPF, until this ends"
                ),
            }
        }
        watched
    }

    /// Waits for a moment, or until something changes, and tells what is new.
    fn wait(&mut self) {
        match &self.changes {
            Some(changes) => {
                moment(&mut [PollFd::new(changes, PollFlags::IN)]);
                let mut bytes = [0; 4096];
                let mut any = false;
                while rustix::io::read(changes, &mut bytes).is_ok_and(|len| len > 0) {
                    any = true;
                }
                if !any {
                    return;
                }
            }
            None => moment(&mut []),
        }
        let before = self.there.clone();
        self.look();
        for ((service, before), now) in self.services.iter().zip(before).zip(&self.there) {
            let name = service.name();
            match now {
                Some((path, _)) if before != *now => {
                    say!("oxtcp: {name}: begins in the cgroup {}", path.display());
                }
                None if before.is_some() => say!("oxtcp: {name}: has ended"),
                _ => {}
            }
        }
    }

    fn look(&mut self) {
        if let Some(changes) = &self.changes {
            // A slice may have come before it was watched: it is looked at after that.
            loop {
                let slices = self.tree.slices();
                self.slices.retain(|slice, _| slices.contains(slice));
                let mut any = false;
                for slice in slices {
                    let flags = inotify::WatchFlags::CREATE | inotify::WatchFlags::DELETE;
                    if let Ok(watch) = inotify::add_watch(changes, &slice, flags) {
                        any |= self.slices.insert(slice, watch) != Some(watch);
                    }
                }
                if !any {
                    break;
                }
            }
        }
        let found = self.services.iter().map(|service| {
            let path = self.tree.cgroup_of(service)?;
            let number = number(&path)?;
            Some((path, number))
        });
        self.there = found.collect();
    }
}

fn number(cgroup: &Path) -> Option<u64> {
    cgroup::number(&File::open(cgroup).ok()?).ok()
}
