// SPDX-License-Identifier: GPL-2.0

//! System calls: what scripts write, as typed arguments.

use crate::script::{Call, Defines, Expr};

/// A system call, its descriptors those of the back end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SystemCall {
    /// `socket(..., SOCK_STREAM, IPPROTO_TCP)`
    Socket {
        /// SOCK_NONBLOCK
        nonblock: bool,
    },
    /// `bind(fd, ..., ...)`
    Bind(i64),
    /// `listen(fd, backlog)`
    Listen(i64, i64),
    /// `accept(fd, ..., ...)`
    Accept(i64),
    /// `connect(fd, ..., ...)`
    Connect(i64),
    /// `write`, `send`, `sendto`, `sendmsg`, `writev`
    Send(Transfer),
    /// `read`, `recv`, `recvfrom`, `recvmsg`, `readv`
    Receive(Transfer),
    /// `sendfile(to, from, [offset], len)`
    SendFile {
        /// Where to.
        to: i64,
        /// Where from.
        from: i64,
        /// From which byte on.
        offset: Option<i64>,
        /// How many bytes.
        len: i64,
    },
    /// `splice(from, NULL, to, NULL, len, flags)`
    Splice {
        /// Where from.
        from: i64,
        /// Where to.
        to: i64,
        /// How many bytes.
        len: i64,
        /// SPLICE_F_*
        flags: i64,
    },
    /// `pipe`
    Pipe,
    /// `open(path, flags)`
    Open(String, i64),
    /// `close(fd)`
    Close(i64),
    /// `shutdown(fd, how)`
    Shutdown(i64, i64),
    /// `fcntl(fd, F_GETFL)`
    GetFlags(i64),
    /// `fcntl(fd, F_SETFL, flags)`
    SetFlags(i64, i64),
    /// `ioctl(fd, request, ...)`
    Ioctl(i64, i64),
    /// `setsockopt(fd, level, name, value, len)`
    SetOption {
        /// The socket.
        fd: i64,
        /// SOL_*
        level: i64,
        /// The option.
        name: i64,
        /// Its value.
        value: OptionValue,
        /// The length that is told.
        len: i64,
    },
    /// `getsockopt(fd, level, name, value, len)`
    GetOption {
        /// The socket.
        fd: i64,
        /// SOL_*
        level: i64,
        /// The option.
        name: i64,
    },
    /// `epoll_create(n)`
    EpollCreate,
    /// `epoll_ctl(epfd, op, fd, event)`
    EpollControl {
        /// The set.
        set: i64,
        /// EPOLL_CTL_*
        operation: i64,
        /// The descriptor.
        fd: i64,
        /// EPOLL*
        events: u32,
        /// The number that comes back with events; the script's descriptor.
        data: u64,
    },
    /// `epoll_wait(epfd, events, n, timeout)`
    EpollWait {
        /// The set.
        set: i64,
        /// Milliseconds; -1 is forever.
        timeout: i64,
    },
}

/// Bytes to or from a socket.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transfer {
    /// The socket.
    pub fd: i64,
    /// The buffers' lengths.
    pub buffers: Vec<u64>,
    /// The buffer is NULL.
    pub null: bool,
    /// MSG_*
    pub flags: u32,
    /// `sendto` and `recvfrom` with an address.
    pub addressed: bool,
    /// `sendmsg` or `recvmsg`.
    pub message: bool,
}

impl Transfer {
    /// All buffers' lengths.
    pub fn len(&self) -> u64 {
        self.buffers.iter().sum()
    }

    /// Whether there is nothing to transfer.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// An option's value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OptionValue {
    /// `[n]`
    Int(i64),
    /// `"..."`
    Bytes(Vec<u8>),
    /// `{onoff=1, linger=2}`
    Linger(i64, i64),
}

/// What a script states about a call's output, as it wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Stated {
    /// Nothing.
    Nothing,
    /// A number.
    Int(i64),
    /// The script's names of two descriptors.
    Pair(i64, i64),
    /// Flags, and control messages.
    Message(i64, Vec<StatedControl>),
    /// Events and their numbers.
    Events(Vec<(i64, i64)>),
}

/// A control message that is expected.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StatedControl {
    /// `cmsg_level`
    pub level: i64,
    /// `cmsg_type`
    pub kind: i64,
    /// A number, or the fields by their names.
    pub data: StatedData,
}

/// `cmsg_data`
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum StatedData {
    /// A number.
    Int(i64),
    /// Fields.
    Fields(Vec<(String, i64)>),
}

/// Names and their numbers, of Linux on x86-64.
const NAMES: &[(&str, i64)] = &[
    ("AF_INET", 2),
    ("AF_INET6", 10),
    ("EPOLLERR", 0x8),
    ("EPOLLET", 1 << 31),
    ("EPOLLEXCLUSIVE", 1 << 28),
    ("EPOLLHUP", 0x10),
    ("EPOLLIN", 0x1),
    ("EPOLLONESHOT", 1 << 30),
    ("EPOLLOUT", 0x4),
    ("EPOLLRDHUP", 0x2000),
    ("EPOLL_CTL_ADD", 1),
    ("EPOLL_CTL_DEL", 2),
    ("EPOLL_CTL_MOD", 3),
    ("F_GETFL", 3),
    ("F_SETFL", 4),
    ("IPPROTO_TCP", 6),
    ("IPV6_RECVERR", 25),
    ("IP_FREEBIND", 15),
    ("IP_MTU_DISCOVER", 10),
    ("IP_PMTUDISC_DONT", 0),
    ("IP_RECVERR", 11),
    ("IP_TOS", 1),
    ("MSG_DONTWAIT", 0x40),
    ("MSG_EOR", 0x80),
    ("MSG_ERRQUEUE", 0x2000),
    ("MSG_FASTOPEN", 0x2000_0000),
    ("MSG_MORE", 0x8000),
    ("MSG_NOSIGNAL", 0x4000),
    ("MSG_OOB", 0x1),
    ("MSG_PEEK", 0x2),
    ("MSG_TRUNC", 0x20),
    ("MSG_WAITALL", 0x100),
    ("MSG_ZEROCOPY", 0x400_0000),
    ("O_NONBLOCK", 0x800),
    ("O_RDONLY", 0),
    ("O_RDWR", 2),
    ("SCM_TIMESTAMPING", 37),
    ("SCM_TSTAMP_ACK", 2),
    ("SCM_TSTAMP_SCHED", 1),
    ("SCM_TSTAMP_SND", 0),
    ("SHUT_RD", 0),
    ("SHUT_RDWR", 2),
    ("SHUT_WR", 1),
    ("SIOCINQ", 0x541b),
    ("SIOCOUTQ", 0x5411),
    ("SOCK_NONBLOCK", 0x800),
    ("SOCK_STREAM", 1),
    ("SOF_TIMESTAMPING_OPT_ID", 1 << 7),
    ("SOF_TIMESTAMPING_SOFTWARE", 1 << 4),
    ("SOF_TIMESTAMPING_TX_ACK", 1 << 9),
    ("SOF_TIMESTAMPING_TX_SCHED", 1 << 8),
    ("SOF_TIMESTAMPING_TX_SOFTWARE", 1 << 1),
    ("SOL_IP", 0),
    ("SOL_IPV6", 41),
    ("SOL_SOCKET", 1),
    ("SOL_TCP", 6),
    ("SO_EE_CODE_ZEROCOPY_COPIED", 1),
    ("SO_EE_ORIGIN_TIMESTAMPING", 4),
    ("SO_EE_ORIGIN_ZEROCOPY", 5),
    ("SO_ERROR", 4),
    ("SO_KEEPALIVE", 9),
    ("SO_LINGER", 13),
    ("SO_MARK", 36),
    ("SO_RCVBUF", 8),
    ("SO_RCVLOWAT", 18),
    ("SO_REUSEADDR", 2),
    ("SO_SNDBUF", 7),
    ("SO_TIMESTAMPING", 37),
    ("SO_ZEROCOPY", 60),
    ("TCP_CM_INQ", 36),
    ("TCP_CORK", 3),
    ("TCP_FASTOPEN", 23),
    ("TCP_FASTOPEN_CONNECT", 30),
    ("TCP_FASTOPEN_KEY", 33),
    ("TCP_INQ", 36),
    ("TCP_KEEPCNT", 6),
    ("TCP_KEEPIDLE", 4),
    ("TCP_KEEPINTVL", 5),
    ("TCP_MAXSEG", 2),
    ("TCP_NODELAY", 1),
    ("TCP_QUICKACK", 12),
    ("TCP_USER_TIMEOUT", 18),
];

/// The name of an option, for messages.
pub fn option_name(level: i64, number: i64) -> String {
    let prefixes: &[&str] = match level {
        1 => &["SO_"],
        6 => &["TCP_"],
        0 => &["IP_"],
        41 => &["IPV6_"],
        _ => &[],
    };
    let found = NAMES.iter().find(|(name, value)| {
        *value == number && prefixes.iter().any(|prefix| name.starts_with(prefix))
    });
    match found {
        Some((name, _)) => (*name).to_string(),
        None => format!("option {number} at level {level}"),
    }
}

/// What turns a script's arguments into typed ones.
pub struct Reader<'a> {
    /// Names of the command line.
    pub defines: &'a Defines,
    /// The back end's descriptor for the script's.
    pub fd: &'a dyn Fn(i64) -> Option<i64>,
}

type Result<T> = std::result::Result<T, String>;

impl Reader<'_> {
    /// The call, and what the script states about its output.
    ///
    /// # Errors
    ///
    /// Names the call or the argument that is not known.
    pub fn read(&self, call: &Call) -> Result<(SystemCall, Stated)> {
        let args = &call.args;
        let mut stated = Stated::Nothing;
        let typed = match (call.name.as_str(), args.as_slice()) {
            ("socket", [Expr::Ellipsis, kind, protocol]) => {
                let kind = self.int(kind)?;
                if kind & !0x800 != 1 || self.int(protocol)? != 6 {
                    return Err("a socket that is not of TCP".into());
                }
                SystemCall::Socket {
                    nonblock: kind & 0x800 != 0,
                }
            }
            ("bind", [fd, Expr::Ellipsis, Expr::Ellipsis]) => SystemCall::Bind(self.fd(fd)?),
            ("listen", [fd, backlog]) => SystemCall::Listen(self.fd(fd)?, self.int(backlog)?),
            ("accept", [fd, Expr::Ellipsis, Expr::Ellipsis]) => SystemCall::Accept(self.fd(fd)?),
            ("connect", [fd, Expr::Ellipsis, Expr::Ellipsis]) => SystemCall::Connect(self.fd(fd)?),
            ("read" | "write", [fd, buffer, len]) => {
                let transfer = self.transfer(fd, buffer, len, None, false)?;
                match call.name.as_str() {
                    "read" => SystemCall::Receive(transfer),
                    _ => SystemCall::Send(transfer),
                }
            }
            ("send" | "recv", [fd, buffer, len, flags]) => {
                let transfer = self.transfer(fd, buffer, len, Some(flags), false)?;
                match call.name.as_str() {
                    "recv" => SystemCall::Receive(transfer),
                    _ => SystemCall::Send(transfer),
                }
            }
            ("sendto" | "recvfrom", [fd, buffer, len, flags, Expr::Ellipsis, Expr::Ellipsis]) => {
                let transfer = self.transfer(fd, buffer, len, Some(flags), true)?;
                match call.name.as_str() {
                    "recvfrom" => SystemCall::Receive(transfer),
                    _ => SystemCall::Send(transfer),
                }
            }
            ("sendmsg", [fd, Expr::Fields(fields), flags]) => {
                SystemCall::Send(self.message(fd, fields, flags)?)
            }
            ("recvmsg", [fd, Expr::Fields(fields), flags]) => {
                stated = self.stated_message(fields)?;
                SystemCall::Receive(self.message(fd, fields, flags)?)
            }
            ("sendfile", [to, from, offset, len]) => SystemCall::SendFile {
                to: self.fd(to)?,
                from: self.fd(from)?,
                offset: match offset {
                    Expr::Null => None,
                    offset => Some(self.bracketed(offset)?),
                },
                len: self.int(len)?,
            },
            ("splice", [from, Expr::Null, to, Expr::Null, len, flags]) => SystemCall::Splice {
                from: self.fd(from)?,
                to: self.fd(to)?,
                len: self.int(len)?,
                flags: self.int(flags)?,
            },
            ("pipe", [Expr::List(pair)]) => {
                let [a, b] = pair.as_slice() else {
                    return Err("pipe() with other than two descriptors".into());
                };
                stated = Stated::Pair(self.int(a)?, self.int(b)?);
                SystemCall::Pipe
            }
            ("open", [Expr::Text(path), flags]) => {
                SystemCall::Open(String::from_utf8_lossy(path).into_owned(), self.int(flags)?)
            }
            ("close", [fd]) => SystemCall::Close(self.fd(fd)?),
            ("shutdown", [fd, how]) => SystemCall::Shutdown(self.fd(fd)?, self.int(how)?),
            ("fcntl", [fd, command]) if self.int(command)? == 3 => {
                SystemCall::GetFlags(self.fd(fd)?)
            }
            ("fcntl", [fd, command, flags]) if self.int(command)? == 4 => {
                SystemCall::SetFlags(self.fd(fd)?, self.int(flags)?)
            }
            ("ioctl", [fd, request, value]) => {
                stated = Stated::Int(self.bracketed(value)?);
                SystemCall::Ioctl(self.fd(fd)?, self.int(request)?)
            }
            ("setsockopt", [fd, level, name, value, len]) => SystemCall::SetOption {
                fd: self.fd(fd)?,
                level: self.int(level)?,
                name: self.int(name)?,
                value: self.option_value(value)?,
                len: self.int(len)?,
            },
            ("getsockopt", [fd, level, name, value, len]) => {
                stated = Stated::Int(self.bracketed(value)?);
                if self.bracketed(len)? != 4 {
                    return Err("getsockopt() with a length other than 4".into());
                }
                SystemCall::GetOption {
                    fd: self.fd(fd)?,
                    level: self.int(level)?,
                    name: self.int(name)?,
                }
            }
            ("epoll_create", [_]) => SystemCall::EpollCreate,
            ("epoll_ctl", [set, operation, fd, Expr::Fields(event)]) => {
                let (events, data) = self.event(event)?;
                SystemCall::EpollControl {
                    set: self.fd(set)?,
                    operation: self.int(operation)?,
                    fd: self.fd(fd)?,
                    events: events as u32,
                    data: data as u64,
                }
            }
            ("epoll_wait", [set, Expr::Fields(event), count, timeout]) => {
                if self.int(count)? != 1 {
                    return Err("epoll_wait() for more than one event".into());
                }
                stated = match call.result {
                    Some(1) => Stated::Events(vec![self.event(event)?]),
                    _ => Stated::Events(Vec::new()),
                };
                SystemCall::EpollWait {
                    set: self.fd(set)?,
                    timeout: self.int(timeout)?,
                }
            }
            (name, args) => {
                return Err(format!(
                    "{name}() with these {} arguments is unknown",
                    args.len()
                ))
            }
        };
        Ok((typed, stated))
    }

    fn int(&self, expr: &Expr) -> Result<i64> {
        match expr {
            Expr::Int(value) => Ok(*value),
            Expr::Word(word) => {
                let word = self.defines.get(word).unwrap_or(word);
                let found = NAMES.iter().find(|(name, _)| *name == word);
                let errno = || crate::script::errno_number(word).map(i64::from);
                found
                    .map(|(_, value)| *value)
                    .or_else(errno)
                    .ok_or_else(|| format!("`{word}` is unknown"))
            }
            Expr::Or(terms) => terms
                .iter()
                .try_fold(0, |sum, term| Ok(sum | self.int(term)?)),
            other => Err(format!("{other:?} is no number")),
        }
    }

    fn bracketed(&self, expr: &Expr) -> Result<i64> {
        match expr {
            Expr::List(items) if items.len() == 1 => self.int(&items[0]),
            other => Err(format!("{other:?} is no number in brackets")),
        }
    }

    fn fd(&self, expr: &Expr) -> Result<i64> {
        let number = self.int(expr)?;
        (self.fd)(number).ok_or_else(|| format!("descriptor {number} is not open"))
    }

    fn transfer(
        &self,
        fd: &Expr,
        buffer: &Expr,
        len: &Expr,
        flags: Option<&Expr>,
        addressed: bool,
    ) -> Result<Transfer> {
        let null = match buffer {
            Expr::Ellipsis => false,
            Expr::Null => true,
            other => return Err(format!("{other:?} is no buffer")),
        };
        let len = u64::try_from(self.int(len)?).map_err(|_| "a negative length")?;
        Ok(Transfer {
            fd: self.fd(fd)?,
            buffers: vec![len],
            null,
            flags: flags.map_or(Ok(0), |flags| self.int(flags))? as u32,
            addressed,
            message: false,
        })
    }

    fn message(&self, fd: &Expr, fields: &[(String, Expr)], flags: &Expr) -> Result<Transfer> {
        let mut transfer = Transfer {
            fd: self.fd(fd)?,
            buffers: Vec::new(),
            null: false,
            flags: self.int(flags)? as u32,
            addressed: false,
            message: true,
        };
        for (name, value) in fields {
            match (name.as_str(), value) {
                ("msg_iov", Expr::List(buffers)) => {
                    for buffer in buffers {
                        let Expr::Tuple(parts) = buffer else {
                            return Err(format!("{buffer:?} in msg_iov"));
                        };
                        let [Expr::Ellipsis, len] = parts.as_slice() else {
                            return Err(format!("{buffer:?} in msg_iov"));
                        };
                        let len = u64::try_from(self.int(len)?).map_err(|_| "a negative length")?;
                        transfer.buffers.push(len);
                    }
                }
                ("msg_name" | "msg_flags" | "msg_control", _) => {}
                _ => return Err(format!("`{name}` in a message")),
            }
        }
        Ok(transfer)
    }

    fn stated_message(&self, fields: &[(String, Expr)]) -> Result<Stated> {
        let (mut flags, mut controls) = (0, Vec::new());
        for (name, value) in fields {
            match (name.as_str(), value) {
                ("msg_flags", value) => flags = self.int(value)?,
                ("msg_control", Expr::List(items)) => {
                    for item in items {
                        controls.push(self.control(item)?);
                    }
                }
                _ => {}
            }
        }
        Ok(Stated::Message(flags, controls))
    }

    fn control(&self, item: &Expr) -> Result<StatedControl> {
        let Expr::Fields(fields) = item else {
            return Err(format!("{item:?} in msg_control"));
        };
        let (mut level, mut kind, mut data) = (None, None, None);
        for (name, value) in fields {
            match (name.as_str(), value) {
                ("cmsg_level", value) => level = Some(self.int(value)?),
                ("cmsg_type", value) => kind = Some(self.int(value)?),
                ("cmsg_data", Expr::Fields(fields)) => {
                    let mut numbers = Vec::new();
                    for (name, value) in fields {
                        numbers.push((name.clone(), self.int(value)?));
                    }
                    data = Some(StatedData::Fields(numbers));
                }
                ("cmsg_data", value) => data = Some(StatedData::Int(self.int(value)?)),
                _ => return Err(format!("`{name}` in a control message")),
            }
        }
        match (level, kind, data) {
            (Some(level), Some(kind), Some(data)) => Ok(StatedControl { level, kind, data }),
            _ => Err("a control message without level, type or data".into()),
        }
    }

    fn option_value(&self, value: &Expr) -> Result<OptionValue> {
        match value {
            Expr::Text(bytes) => Ok(OptionValue::Bytes(bytes.clone())),
            Expr::Fields(fields) => match fields.as_slice() {
                [(on, a), (linger, b)] if on == "onoff" && linger == "linger" => {
                    Ok(OptionValue::Linger(self.int(a)?, self.int(b)?))
                }
                _ => Err(format!("{value:?} as an option's value")),
            },
            value => Ok(OptionValue::Int(self.bracketed(value)?)),
        }
    }

    fn event(&self, fields: &[(String, Expr)]) -> Result<(i64, i64)> {
        let (mut events, mut data) = (0, 0);
        for (name, value) in fields {
            match name.as_str() {
                "events" => events = self.int(value)?,
                "fd" | "u32" | "u64" | "ptr" => data = self.int(value)?,
                _ => return Err(format!("`{name}` in an event")),
            }
        }
        Ok((events, data))
    }
}
