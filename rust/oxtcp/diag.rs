// SPDX-License-Identifier: GPL-2.0

//! sock_diag: what `oxtcp ss` and `oxtcp kill` ask for. Process context.

use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::rcu;

use oxtcp_engine::Instant;

use crate::closing;
use crate::flood;
use crate::half_open;
use crate::info;
use crate::listener;
use crate::listening;
use crate::namespace::Namespace;
use crate::output::scoped;
use crate::procfs;
use crate::protocol::{Sk, Socket, Tcp};
use crate::sys::bindings;
use crate::sys::diag::{self, diag_handler, Diag, Message, Pick, Reader, Request, Versions};
use crate::sys::errno::{ebusy, eopnotsupp};
use crate::sys::sock::{SkState, MEMINFO};
use crate::sys::table::{FlowKey, FlowTable, Found};
use crate::sys::time;
use crate::sys::user::TcpInfo;

/// Milliseconds that who asks waits for a process that owns the socket. It is told without what the lock protects then.
const PATIENCE: u32 = 10;

/// The same for who ends a connection, who is told that it was not done. A process owns a socket that long while it waits for
/// memory.
const LONG_PATIENCE: u32 = 5_000;

/// What is told of our sockets.
pub(crate) struct SockDiag;

diag_handler!(SockDiag);

/// What is told of one.
pub(crate) struct Row {
    /// What `/proc/net/oxtcp` says.
    base: procfs::Row,
    socket: Option<OfSocket>,
}

/// What only a socket has.
struct OfSocket {
    cookie: u64,
    interface: i32,
    shutdown: u8,
    mark: u32,
    ds_field: u8,
    v6only: bool,
    memory: [u32; MEMINFO],
    /// Of a listener.
    backlog: u32,
    /// Of a listener, if somebody asks for what TCP knows.
    queues: Option<[u64; flood::FIGURES]>,
    /// If somebody asks for it.
    locked: Option<Locked>,
}

/// What the socket lock protects.
struct Locked {
    info: TcpInfo,
    algorithm: &'static str,
}

impl Locked {
    fn of(sk: &mut Sk<'_>) -> Self {
        let mut told = TcpInfo::new();
        info::tell(sk, told.fields());
        Self {
            info: told,
            algorithm: info::algorithm(sk).name(),
        }
    }
}

impl Diag for SockDiag {
    type Protocol = Tcp;
    type Row = Row;

    fn table(namespace: &Namespace) -> &FlowTable<Tcp> {
        &namespace.table
    }

    fn pick(found: Found<'_, Tcp>, request: &Request) -> Pick<Self> {
        match found {
            Found::Sock(sock) => match is_wanted(&sock, request) {
                true => Pick::Sock(sock),
                false => Pick::Nothing,
            },
            Found::Mini(mini) => match procfs::Row::of_mini(mini) {
                Some(base) if base.is_wanted(request) => Pick::Row(Row { base, socket: None }),
                _ => Pick::Nothing,
            },
            // Its members stand in the table themselves.
            Found::Post(_) => Pick::Nothing,
        }
    }

    fn row(sock: &Socket, request: &Request) -> Row {
        let locks = [bindings::INET_DIAG_INFO, bindings::INET_DIAG_CONG];
        let locked = match locks.iter().any(|&extension| request.wants(extension)) {
            true => sock.lock_bh_within(PATIENCE, Locked::of),
            false => None,
        };
        let queues = match sock.state() {
            SkState::LISTEN if request.wants(bindings::INET_DIAG_INFO) => {
                let now = Instant::from_micros(time::now_micros());
                listening::of(sock).map(|of| flood::figures(sock.per_net(), of, now))
            }
            _ => None,
        };
        Row {
            base: procfs::Row::of_socket(sock),
            socket: Some(OfSocket {
                cookie: sock.cookie(),
                interface: sock.bound_dev(),
                shutdown: sock.shutdown(),
                mark: sock.mark(),
                ds_field: sock.ds_field(),
                v6only: sock.v6only(),
                memory: sock.meminfo(),
                backlog: listener::queue(sock).1,
                queues,
                locked,
            }),
        }
    }

    fn write(row: &Row, request: &Request, reader: &Reader<'_>, message: &mut Message) {
        let base = &row.base;
        let mut head = base.head();
        head.uid = base.uid().map_or(0, |uid| reader.uid(uid));
        let Some(socket) = &row.socket else {
            message.begin(&head);
            return;
        };
        head.cookie = Some(socket.cookie);
        if socket.interface != 0 {
            head.interface = socket.interface as u32;
        }
        if base.is_listener() {
            // As in Linux: Recv-Q is how many wait for accept(), Send-Q the most that may.
            head.wqueue = socket.backlog;
        }
        message.begin(&head);
        message.attribute(bindings::INET_DIAG_SHUTDOWN, &[socket.shutdown]);
        if request.wants(bindings::INET_DIAG_TOS) && !head.v6 {
            message.attribute(bindings::INET_DIAG_TOS, &[socket.ds_field]);
        }
        if head.v6 {
            if request.wants(bindings::INET_DIAG_TCLASS) {
                message.attribute(bindings::INET_DIAG_TCLASS, &[socket.ds_field]);
            }
            if base.is_listener() {
                message.attribute(bindings::INET_DIAG_SKV6ONLY, &[u8::from(socket.v6only)]);
            }
        }
        if reader.is_net_admin() {
            message.attribute(bindings::INET_DIAG_MARK, &socket.mark.to_ne_bytes());
        }
        if request.wants(bindings::INET_DIAG_MEMINFO) {
            let of = [
                bindings::SK_MEMINFO_RMEM_ALLOC,
                bindings::SK_MEMINFO_WMEM_QUEUED,
                bindings::SK_MEMINFO_FWD_ALLOC,
                bindings::SK_MEMINFO_WMEM_ALLOC,
            ];
            let memory = of.map(|which| socket.memory.get(which as usize).copied().unwrap_or(0));
            message.attribute(
                bindings::INET_DIAG_MEMINFO,
                memory.map(u32::to_ne_bytes).as_flattened(),
            );
        }
        if request.wants(bindings::INET_DIAG_SKMEMINFO) {
            message.attribute(
                bindings::INET_DIAG_SKMEMINFO,
                socket.memory.map(u32::to_ne_bytes).as_flattened(),
            );
        }
        if let Some(queues) = &socket.queues {
            message.attribute(
                diag::OXTCP_DIAG_QUEUES,
                queues.map(u64::to_ne_bytes).as_flattened(),
            );
        }
        if let Some(locked) = &socket.locked {
            if request.wants(bindings::INET_DIAG_INFO) {
                message.attribute(bindings::INET_DIAG_INFO, locked.info.bytes());
            }
            if request.wants(bindings::INET_DIAG_CONG) {
                let mut name = [0; NAME];
                let text = locked.algorithm.as_bytes();
                for (to, &from) in name.iter_mut().take(NAME - 1).zip(text) {
                    *to = from;
                }
                let len = text.len().saturating_add(1).min(NAME);
                message.attribute(bindings::INET_DIAG_CONG, name.get(..len).unwrap_or(&[]));
            }
        }
    }

    fn find(namespace: &Namespace, request: &Request) -> Result<Pick<Self>> {
        let rcu = rcu::read_lock();
        match lookup(namespace, request, &rcu)? {
            Found::Sock(sock) => Ok(Pick::Sock(sock)),
            Found::Mini(mini) => Ok(match procfs::Row::of_mini(mini) {
                Some(base) => Pick::Row(Row { base, socket: None }),
                None => Pick::Nothing,
            }),
            Found::Post(_) => Ok(Pick::Nothing),
        }
    }

    fn destroy(namespace: &Namespace, request: &Request) -> Result {
        let sock: ARef<Socket> = {
            let rcu = rcu::read_lock();
            match lookup(namespace, request, &rcu)? {
                Found::Sock(sock) => sock,
                Found::Mini(mini) => {
                    let guard = mini.lock().ok_or(ENOENT)?;
                    half_open::remove(guard, namespace);
                    return Ok(());
                }
                // Of listeners.
                Found::Post(_) => return Err(eopnotsupp()),
            }
        };
        sock.lock_bh_within(LONG_PATIENCE, |sk| match sk.sock().state() {
            SkState::CLOSE => Err(ENOENT),
            // Its port is given up under a mutex, for which a process has to own the socket.
            SkState::LISTEN => Err(eopnotsupp()),
            _ => {
                closing::kill(sk);
                Ok(())
            }
        })
        .ok_or(ebusy())?
    }
}

/// Bytes of a congestion controller's name, with the NUL (`TCP_CA_NAME_MAX`).
const NAME: usize = bindings::TCP_CA_NAME_MAX as usize;

/// What a request names, with its cookie.
fn lookup<'a>(
    namespace: &'a Namespace,
    request: &Request,
    rcu: &'a rcu::Guard,
) -> Result<Found<'a, Tcp>> {
    if request.versions == Versions::Both {
        return Err(EINVAL);
    }
    let (local, remote) = request.ends();
    let interface = request.interface();
    let local = scoped(local, interface);
    let key = match remote.port {
        0 => FlowKey::of_listener(local),
        _ => FlowKey::new(local, scoped(remote, interface)),
    };
    let found = namespace.table.lookup(&key, rcu).ok_or(ENOENT)?;
    let is_it = match &found {
        Found::Sock(sock) => request.is_for(sock.cookie()),
        Found::Mini(_) => request.has_no_cookie(),
        // Its members have keys that no request names.
        Found::Post(_) => true,
    };
    is_it.then_some(found).ok_or(ENOENT)
}

fn is_wanted(sock: &Socket, request: &Request) -> bool {
    request.wants_state(sock.state().number())
        && request.wants_version(sock.is_v6())
        && request.wants_ports(&procfs::shown_flow(sock))
}
