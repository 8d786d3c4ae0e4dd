// SPDX-License-Identifier: GPL-2.0

//! System calls (the socket layer's, and the adapter's `connect.rs`, `closing.rs`, `options.rs`).

use std::collections::VecDeque;
use std::num::{NonZeroU16, NonZeroU32, NonZeroU8};

use oxtcp_engine::connection::ActiveOpen;
use oxtcp_engine::connection::QuickAck;
use oxtcp_engine::context::{Linger2, Traits};
use oxtcp_engine::{isn, request, Connection, Context};

use super::send::Progress;
use super::socket::{errno, tcp_state, tsflag, Role, Socket, RCV_SHUTDOWN, SEND_SHUTDOWN};
use super::{Engine, File, Mini};
use crate::backend::{Outcome, Output};
use crate::call::{OptionValue, SystemCall, Transfer};
use crate::script::Micros;

/// The call that waits.
pub(super) enum Blocked {
    Connect(usize),
    Accept(usize),
    Receive(usize, Transfer, u64),
    Send(usize, Transfer, Progress),
    /// close() with SO_LINGER, until then.
    Close(usize, Micros),
}

/// What `bind()` takes in scripts.
const PORT: u16 = 8080;
/// What is charged at least (`SOCK_MIN_SNDBUF`, `SOCK_MIN_RCVBUF` on x86-64).
const MIN_SNDBUF: u32 = 4608;
const MIN_RCVBUF: u32 = 2304;

const SOL_IP: i64 = 0;
const SOL_SOCKET: i64 = 1;
const SOL_TCP: i64 = 6;
const SOL_IPV6: i64 = 41;

impl Engine {
    fn open(&mut self, file: File) -> i64 {
        let fd = self.next_fd;
        self.next_fd += 1;
        self.files.insert(fd, file);
        fd
    }

    fn socket_of(&self, fd: i64) -> Result<usize, Outcome> {
        match self.files.get(&fd) {
            Some(File::Socket(id)) => Ok(*id),
            Some(_) => Err(Outcome::error(errno("ENOTSOCK"))),
            None => Err(Outcome::error(errno("EBADF"))),
        }
    }

    /// Begins a call; `None` if it blocks.
    pub(super) fn begin(&mut self, call: &SystemCall) -> Option<Outcome> {
        match self.try_begin(call) {
            Ok(outcome) => outcome,
            Err(outcome) => Some(outcome),
        }
    }

    fn try_begin(&mut self, call: &SystemCall) -> Result<Option<Outcome>, Outcome> {
        let outcome = match call {
            SystemCall::Socket { nonblock } => {
                let mut socket = Socket::new(self.sysctls.rmem[1], self.sysctls.wmem[1]);
                socket.nonblock = *nonblock;
                self.sockets.push(socket);
                Outcome::ok(self.open(File::Socket(self.sockets.len() - 1)))
            }
            SystemCall::Bind(fd) => self.bind(self.socket_of(*fd)?),
            SystemCall::Listen(fd, backlog) => self.listen(self.socket_of(*fd)?, *backlog),
            SystemCall::Accept(fd) => {
                let id = self.socket_of(*fd)?;
                if !matches!(self.sockets[id].role, Role::Listener { .. }) {
                    return Err(Outcome::error(errno("EINVAL")));
                }
                match self.accept(id) {
                    Some(outcome) => outcome,
                    None if self.sockets[id].nonblock => Outcome::error(errno("EAGAIN")),
                    None => return Ok(self.block(Blocked::Accept(id))),
                }
            }
            SystemCall::Connect(fd) => {
                let id = self.socket_of(*fd)?;
                match self.connect(id) {
                    Some(outcome) => outcome,
                    None => return Ok(self.block(Blocked::Connect(id))),
                }
            }
            SystemCall::Send(transfer) => {
                let id = self.socket_of(transfer.fd)?;
                // An address is for connections that there are none of yet.
                if transfer.addressed && self.sockets[id].state == tcp_state::ESTABLISHED {
                    return Err(Outcome::error(errno(match transfer.null {
                        true => "EFAULT",
                        false => "EISCONN",
                    })));
                }
                let mut progress = Progress::default();
                match self.send(id, transfer, &mut progress) {
                    Some(outcome) => outcome,
                    None => {
                        return Ok(self.block(Blocked::Send(id, transfer.clone(), progress)));
                    }
                }
            }
            SystemCall::Receive(transfer) => {
                let id = self.socket_of(transfer.fd)?;
                let mut copied = 0;
                match self.receive(id, transfer, &mut copied) {
                    Some(outcome) => outcome,
                    None => {
                        return Ok(self.block(Blocked::Receive(id, transfer.clone(), copied)));
                    }
                }
            }
            SystemCall::SendFile {
                to,
                from,
                offset,
                len,
            } => return self.send_file(*to, *from, *offset, *len),
            SystemCall::Splice { from, to, len, .. } => return self.splice(*from, *to, *len),
            SystemCall::Pipe => {
                let (a, b) = (self.open(File::PipeOut), self.open(File::PipeIn));
                Outcome::with(0, Output::Pair(a, b))
            }
            SystemCall::Open(path, _) => match self.zeros.get(path) {
                Some(len) => {
                    let file = File::Zeros { len: *len, at: 0 };
                    Outcome::ok(self.open(file))
                }
                None => Outcome::error(errno("ENOENT")),
            },
            SystemCall::Close(fd) => match self.files.remove(fd) {
                Some(File::Socket(id)) => match self.close(id) {
                    Some(outcome) => outcome,
                    None => return Ok(None),
                },
                Some(_) => Outcome::ok(0),
                None => Outcome::error(errno("EBADF")),
            },
            SystemCall::Shutdown(fd, how) => self.shutdown(self.socket_of(*fd)?, *how),
            SystemCall::GetFlags(fd) => {
                let id = self.socket_of(*fd)?;
                Outcome::ok(2 | if self.sockets[id].nonblock { 0x800 } else { 0 })
            }
            SystemCall::SetFlags(fd, flags) => {
                let id = self.socket_of(*fd)?;
                self.sockets[id].nonblock = flags & 0x800 != 0;
                Outcome::ok(0)
            }
            SystemCall::Ioctl(fd, request) => self.ioctl(self.socket_of(*fd)?, *request),
            SystemCall::SetOption {
                fd,
                level,
                name,
                value,
                len,
            } => {
                let id = self.socket_of(*fd)?;
                match self.set_option(id, *level, *name, value, *len) {
                    Ok(()) => Outcome::ok(0),
                    Err(error) => Outcome::error(errno(error)),
                }
            }
            SystemCall::GetOption { fd, level, name } => {
                let id = self.socket_of(*fd)?;
                match self.get_option(id, *level, *name) {
                    Ok(value) => Outcome::with(0, Output::Int(value)),
                    Err(error) => Outcome::error(errno(error)),
                }
            }
            SystemCall::EpollCreate
            | SystemCall::EpollControl { .. }
            | SystemCall::EpollWait { .. } => Outcome::error(errno("ENOTSOCK")),
        };
        Ok(Some(outcome))
    }

    fn block(&mut self, blocked: Blocked) -> Option<Outcome> {
        self.blocked = Some(blocked);
        None
    }

    /// Lets the call that waits go on, if what it waits for has come.
    pub(super) fn resume(&mut self) {
        let Some(blocked) = self.blocked.take() else {
            return;
        };
        let outcome = match blocked {
            Blocked::Connect(id) => match self.connected(id) {
                Some(outcome) => outcome,
                None => return self.blocked = Some(Blocked::Connect(id)),
            },
            Blocked::Accept(id) => match self.accept(id) {
                Some(outcome) => outcome,
                None => return self.blocked = Some(Blocked::Accept(id)),
            },
            Blocked::Receive(id, transfer, mut copied) => {
                match self.receive(id, &transfer, &mut copied) {
                    Some(outcome) => outcome,
                    None => return self.blocked = Some(Blocked::Receive(id, transfer, copied)),
                }
            }
            Blocked::Send(id, transfer, mut progress) => {
                let waits = matches!(self.sockets[id].role, Role::Connection(_))
                    && self.sockets[id].error == 0
                    && !self.is_writeable(id);
                let outcome = match waits {
                    true => None,
                    false => self.send(id, &transfer, &mut progress),
                };
                match outcome {
                    Some(outcome) => outcome,
                    None => return self.blocked = Some(Blocked::Send(id, transfer, progress)),
                }
            }
            Blocked::Close(id, until) => match self.lingers(id) && self.now < until {
                true => return self.blocked = Some(Blocked::Close(id, until)),
                false => Outcome::ok(0),
            },
        };
        self.finished = Some((self.now, outcome));
    }

    fn bind(&mut self, id: usize) -> Outcome {
        if self.sockets[id].bound {
            return Outcome::error(errno("EINVAL"));
        }
        let reuse = self.sockets[id].reuse;
        let taken = |socket: &Socket| {
            let listens = matches!(socket.role, Role::Listener { .. });
            socket.local_port == PORT && (listens || !(reuse && socket.reuse))
        };
        if self.sockets.iter().any(taken) {
            return Outcome::error(errno("EADDRINUSE"));
        }
        let socket = &mut self.sockets[id];
        socket.bound = true;
        socket.local_port = PORT;
        Outcome::ok(0)
    }

    fn listen(&mut self, id: usize, backlog: i64) -> Outcome {
        let limit = self.sysctls.somaxconn;
        let backlog = u32::try_from(backlog).unwrap_or(u32::MAX).min(limit);
        if !self.sockets[id].bound {
            let outcome = self.bind(id);
            if outcome.result != 0 {
                return outcome;
            }
        }
        let socket = &mut self.sockets[id];
        match &mut socket.role {
            Role::Listener { backlog: old, .. } => *old = backlog,
            Role::Idle => {
                socket.role = Role::Listener {
                    backlog,
                    queue: VecDeque::new(),
                };
                socket.state = tcp_state::LISTEN;
            }
            Role::Connection(_) => return Outcome::error(errno("EINVAL")),
        }
        Outcome::ok(0)
    }

    fn accept(&mut self, id: usize) -> Option<Outcome> {
        let Role::Listener { queue, .. } = &mut self.sockets[id].role else {
            return Some(Outcome::error(errno("EINVAL")));
        };
        let child = queue.pop_front()?;
        let port = self.sockets[child].remote_port;
        let fd = self.open(File::Socket(child));
        Some(Outcome::with(fd, Output::Peer(port)))
    }

    /// Sends the SYN; `None` when there is an answer to wait for.
    fn connect(&mut self, id: usize) -> Option<Outcome> {
        let socket = &self.sockets[id];
        match (&socket.role, socket.state) {
            (Role::Idle, _) => {}
            (Role::Connection(_), tcp_state::SYN_SENT | tcp_state::SYN_RECV) => {
                return Some(Outcome::error(errno("EALREADY")))
            }
            _ => return Some(Outcome::error(errno("EISCONN"))),
        }
        let config = self.sysctls.config;
        let cx = Context::new(self.instant(), &config);
        let port = match socket.bound {
            true => socket.local_port,
            false => {
                self.next_port += 1;
                self.next_port
            }
        };
        let hash = 0x8877_6655_4433_2211 ^ (u64::from(port) << 20);
        let memory = self.sockets[id].memory(self.sysctls.rmem[2]);
        let open = ActiveOpen {
            iss: isn::initial(hash, cx.now),
            ts_offset: isn::timestamp_offset(hash),
            advertised_mss: self.advertised_mss(&self.sockets[id]),
            path_mss: self.path_mss(),
            recv_space: memory.first_window(),
            recv_limit: memory.largest_window(),
            options: self.sockets[id].options,
        };
        let socket = &mut self.sockets[id];
        (socket.local_port, socket.remote_port) = (port, PORT);
        socket.error = 0;
        socket.shutdown = 0;
        socket.role = Role::Connection(Connection::connect(&cx, &open));
        self.settle(id, &cx);
        match self.sockets[id].nonblock {
            true => Some(Outcome::error(errno("EINPROGRESS"))),
            false => None,
        }
    }

    /// Whether connect() is over.
    fn connected(&mut self, id: usize) -> Option<Outcome> {
        let socket = &mut self.sockets[id];
        match socket.state {
            tcp_state::SYN_SENT | tcp_state::SYN_RECV => None,
            tcp_state::CLOSE => {
                let error = socket.take_error().unwrap_or(errno("ECONNABORTED"));
                Some(Outcome::error(error))
            }
            _ => Some(Outcome::ok(0)),
        }
    }

    fn send_file(
        &mut self,
        to: i64,
        from: i64,
        offset: Option<i64>,
        len: i64,
    ) -> Result<Option<Outcome>, Outcome> {
        let id = self.socket_of(to)?;
        let Some(File::Zeros { len: size, at }) = self.files.get_mut(&from) else {
            return Err(Outcome::error(errno("EINVAL")));
        };
        let begin = offset.map_or(*at, |offset| offset.max(0) as u64);
        let bytes = (len.max(0) as u64).min(size.saturating_sub(begin));
        if offset.is_none() {
            *at = begin + bytes;
        }
        let transfer = Transfer {
            fd: to,
            buffers: vec![bytes],
            null: false,
            flags: 0,
            addressed: false,
            message: false,
        };
        let mut progress = Progress::default();
        match self.send(id, &transfer, &mut progress) {
            Some(outcome) => Ok(Some(outcome)),
            None => Ok(self.block(Blocked::Send(id, transfer, progress))),
        }
    }

    fn splice(&mut self, from: i64, to: i64, len: i64) -> Result<Option<Outcome>, Outcome> {
        let id = self.socket_of(from)?;
        if !matches!(self.files.get(&to), Some(File::PipeIn)) {
            return Err(Outcome::error(errno("EINVAL")));
        }
        // It does not pass an urgent byte by.
        let socket = &self.sockets[id];
        if socket.before_urgent() == Some(0) && socket.rx_bytes() > 0 {
            return match socket.nonblock {
                true => Err(Outcome::error(errno("EAGAIN"))),
                false => Ok(Some(Outcome::ok(0))),
            };
        }
        let transfer = Transfer {
            fd: from,
            buffers: vec![len.max(0) as u64],
            null: false,
            flags: 0,
            addressed: false,
            message: false,
        };
        let mut copied = 0;
        match self.receive(id, &transfer, &mut copied) {
            Some(outcome) => Ok(Some(outcome)),
            None => Ok(self.block(Blocked::Receive(id, transfer, copied))),
        }
    }

    fn shutdown(&mut self, id: usize, how: i64) -> Outcome {
        let mask = match how {
            0 => RCV_SHUTDOWN,
            1 => SEND_SHUTDOWN,
            2 => RCV_SHUTDOWN | SEND_SHUTDOWN,
            _ => return Outcome::error(errno("EINVAL")),
        };
        let socket = &mut self.sockets[id];
        if socket.state == tcp_state::CLOSE {
            return Outcome::error(errno("ENOTCONN"));
        }
        socket.shutdown |= mask;
        if mask & SEND_SHUTDOWN != 0 {
            self.with_connection(id, |connection, cx| connection.shutdown_write(cx));
        }
        Outcome::ok(0)
    }

    fn close(&mut self, id: usize) -> Option<Outcome> {
        let socket = &mut self.sockets[id];
        socket.shutdown |= RCV_SHUTDOWN | SEND_SHUTDOWN;
        if let Role::Listener { queue, .. } = &mut socket.role {
            let children: Vec<usize> = queue.drain(..).collect();
            socket.role = Role::Idle;
            socket.state = tcp_state::CLOSE;
            socket.local_port = 0;
            socket.dead = true;
            self.minis.retain(
                |mini| !matches!(mini.body, Mini::HalfOpen { listener, .. } if listener == id),
            );
            for child in children {
                self.sockets[child].dead = true;
                self.with_connection(child, |connection, cx| connection.abort(cx));
                self.sockets[child].local_port = 0;
            }
            return Some(Outcome::ok(0));
        }
        let unread = !socket.queue.is_empty();
        socket.queue.clear();
        socket.dead = true;
        let abort = socket.linger == Some(0);
        let wait = socket.linger.filter(|_| !socket.nonblock).unwrap_or(0);
        self.with_connection(id, |connection, cx| match abort && !unread {
            true => connection.abort(cx),
            false => connection.close(cx, unread),
        });
        // The port is the small object's or nobody's once the connection is gone.
        let socket = &mut self.sockets[id];
        if !matches!(socket.role, Role::Connection(_)) {
            socket.local_port = 0;
        }
        if wait > 0 && self.lingers(id) {
            let until = self.now + wait * 1_000_000;
            return self.block(Blocked::Close(id, until));
        }
        Some(Outcome::ok(0))
    }

    fn lingers(&self, id: usize) -> bool {
        let state = self.sockets[id].state;
        matches!(
            state,
            tcp_state::FIN_WAIT1 | tcp_state::CLOSING | tcp_state::LAST_ACK
        )
    }

    fn ioctl(&mut self, id: usize, request: i64) -> Outcome {
        const SIOCINQ: i64 = 0x541b;
        const SIOCOUTQ: i64 = 0x5411;
        const SIOCOUTQNSD: i64 = 0x894b;
        let socket = &mut self.sockets[id];
        if socket.state == tcp_state::LISTEN {
            return Outcome::error(errno("EINVAL"));
        }
        let value = match request {
            SIOCINQ => socket.rx_bytes(),
            SIOCOUTQ => socket.connection().map_or(0, |c| c.send_queue()),
            SIOCOUTQNSD => socket.connection().map_or(0, |c| c.send_queue_not_sent()),
            _ => return Outcome::error(errno("EINVAL")),
        };
        Outcome::with(0, Output::Int(i64::from(value)))
    }

    fn set_option(
        &mut self,
        id: usize,
        level: i64,
        name: i64,
        value: &OptionValue,
        len: i64,
    ) -> Result<(), &'static str> {
        let core_max = self.sysctls.core_max;
        let most = self.sysctls.rmem[2];
        let socket = &mut self.sockets[id];
        if let (SOL_SOCKET, 13, OptionValue::Linger(on, seconds)) = (level, name, value) {
            socket.linger = (*on != 0).then_some(*seconds);
            return Ok(());
        }
        let OptionValue::Int(value) = *value else {
            return Err("ENOPROTOOPT");
        };
        // A single octet does for the options of IP.
        if len < 4 && !(matches!(level, SOL_IP | SOL_IPV6) && len == 1) {
            return Err("EINVAL");
        }
        match (level, name) {
            (SOL_SOCKET, 2) => socket.reuse = value != 0,
            (SOL_SOCKET, 7) => {
                let asked = u32::try_from(value).unwrap_or(0).min(core_max);
                socket.sndbuf = (asked * 2).max(MIN_SNDBUF);
                socket.sndbuf_locked = true;
            }
            (SOL_SOCKET, 8) => {
                let asked = u32::try_from(value).unwrap_or(0).min(core_max);
                socket.rcvbuf = (asked * 2).max(MIN_RCVBUF);
                socket.rcvbuf_locked = true;
                let memory = socket.memory(most);
                self.with_connection(id, |connection, cx| {
                    connection.resize_recv_buffer(cx, &memory);
                });
            }
            (SOL_SOCKET, 9) => {
                socket.options.keepalive = value != 0;
                self.apply(id);
            }
            // SO_TIMESTAMPING
            (SOL_SOCKET, 37) => {
                let begins = value & tsflag::OPT_ID != 0 && socket.tsflags & tsflag::OPT_ID == 0;
                let from_the_end = value & tsflag::OPT_ID_TCP != 0;
                let unconnected = matches!(socket.state, tcp_state::CLOSE | tcp_state::LISTEN);
                if value & !tsflag::KNOWN != 0
                    || from_the_end && value & tsflag::OPT_ID == 0
                    || begins && unconnected
                {
                    return Err("EINVAL");
                }
                socket.tsflags = value;
                if let (true, Some(connection)) = (begins, socket.connection()) {
                    socket.tskey = match from_the_end {
                        true => connection.write_seq(),
                        false => connection.snd_una(),
                    };
                }
            }
            (SOL_TCP, _) => return self.set_tcp_option(id, name, value),
            // IP_TOS, IP_TTL, IP_MTU_DISCOVER, IP_FREEBIND, IP_BIND_ADDRESS_NO_PORT, and their kin for IPv6.
            (SOL_IP, 1 | 2 | 10 | 15 | 24) | (SOL_IPV6, 16 | 23 | 26 | 67 | 78) => {}
            _ => return Err("ENOPROTOOPT"),
        }
        Ok(())
    }

    fn set_tcp_option(&mut self, id: usize, name: i64, value: i64) -> Result<(), &'static str> {
        if name == 9 {
            let seconds = u32::try_from(value).unwrap_or(0);
            self.sockets[id].defer_accept = request::retransmissions(seconds);
            return Ok(());
        }
        if name == 12 {
            let quick = match value {
                0 => QuickAck::Off,
                odd if odd & 1 != 0 => QuickAck::On,
                _ => QuickAck::Once,
            };
            let traits = &mut self.sockets[id].options.traits;
            traits.set(Traits::INTERACTIVE, quick == QuickAck::Off);
            self.with_connection(id, |connection, cx| connection.set_quick_ack(cx, quick));
            return Ok(());
        }
        if name == 25 {
            self.sockets[id].notsent_lowat = value as u32;
            return Ok(());
        }
        if name == 36 {
            self.sockets[id].tells_inq = match value {
                0 => false,
                1 => true,
                _ => return Err("EINVAL"),
            };
            return Ok(());
        }
        let options = &mut self.sockets[id].options;
        let within = |most: i64| (1..=most).contains(&value).then_some(value).ok_or("EINVAL");
        match name {
            1 => options.nodelay = value != 0,
            2 if value != 0 && !(88..=32767).contains(&value) => return Err("EINVAL"),
            2 => options.max_seg = NonZeroU16::new(value as u16),
            3 => options.cork = value != 0,
            4 => options.keepidle = NonZeroU16::new(within(32767)? as u16),
            5 => options.keepintvl = NonZeroU16::new(within(32767)? as u16),
            6 => options.keepcnt = NonZeroU8::new(within(127)? as u8),
            7 => options.syn_retries = NonZeroU8::new(within(127)? as u8),
            8 => {
                options.linger2 = match value {
                    i64::MIN..=-1 => Linger2::Skip,
                    0 => Linger2::Default,
                    seconds => NonZeroU8::new(seconds.min(120) as u8)
                        .map_or(Linger2::Default, Linger2::Seconds),
                }
            }
            18 => {
                let millis = u32::try_from(value).map_err(|_| "EINVAL")?;
                options.user_timeout = NonZeroU32::new(millis);
            }
            _ => return Err("ENOPROTOOPT"),
        }
        self.apply(id);
        if name == 1 && value != 0 {
            self.with_connection(id, |connection, _| connection.set_nodelay(true));
        }
        Ok(())
    }

    fn apply(&mut self, id: usize) {
        let options = self.sockets[id].options;
        self.with_connection(id, |connection, cx| connection.set_options(cx, options));
    }

    fn get_option(&mut self, id: usize, level: i64, name: i64) -> Result<i64, &'static str> {
        let socket = &mut self.sockets[id];
        Ok(match (level, name) {
            (SOL_SOCKET, 2) => i64::from(socket.reuse),
            (SOL_SOCKET, 4) => i64::from(socket.take_error().unwrap_or(0)),
            (SOL_SOCKET, 7) => i64::from(socket.sndbuf),
            (SOL_SOCKET, 8) => i64::from(socket.rcvbuf),
            (SOL_SOCKET, 9) => i64::from(socket.options.keepalive),
            (SOL_TCP, 1) => i64::from(socket.options.nodelay),
            (SOL_TCP, 3) => i64::from(socket.options.cork),
            (SOL_TCP, 18) => socket
                .options
                .user_timeout
                .map_or(0, |millis| i64::from(millis.get())),
            _ => return Err("ENOPROTOOPT"),
        })
    }
}
