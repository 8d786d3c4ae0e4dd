// SPDX-License-Identifier: GPL-2.0
//! Sockets out of the kernel's sock_diag (`sock_diag(7)`), which oxtcp answers for its family with the messages of
//! `include/uapi/linux/inet_diag.h`. A request's byte `pad` names the IP version, 0 is both.

use std::io;
use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use netlink_packet_core::{
    DecodeError, NetlinkDeserializable, NetlinkHeader, NetlinkMessage, NetlinkPayload,
    NetlinkSerializable, NlasIterator, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST,
};
use netlink_sys::protocols::NETLINK_SOCK_DIAG;
use netlink_sys::Socket as Netlink;

use super::info::Info;
use super::queues::Queues;
use super::{Figures, Identity, Memory, Seen, Socket, Source, State, Timer, Wanted};
use crate::failure::{words, Problem, Result};

const SOCK_DIAG_BY_FAMILY: u16 = 20;
const SOCK_DESTROY: u16 = 21;

/// Attributes, and what of them is asked for.
const MEMORY: u16 = 7;
const INFO: u16 = 2;
const CONGESTION: u16 = 4;
/// One of the module's own, which comes with `INFO`.
const QUEUES: u16 = 4097;

/// What a kernel sends at once, at most.
const PACKET: usize = 1 << 16;

/// The sockets of the family, as the kernel lists them.
pub struct SockDiag {
    socket: Netlink,
    ask: Ask,
    buffer: Vec<u8>,
}

/// What is asked for.
#[derive(Clone, Debug)]
struct Ask {
    kind: u16,
    family: u8,
    extensions: u8,
    version: u8,
    states: u32,
    /// `struct inet_diag_sockid`.
    id: [u8; 48],
}

impl NetlinkSerializable for Ask {
    fn message_type(&self) -> u16 {
        self.kind
    }

    fn buffer_len(&self) -> usize {
        8 + self.id.len()
    }

    fn serialize(&self, buffer: &mut [u8]) {
        let head = [
            self.family,
            libc::IPPROTO_TCP as u8,
            self.extensions,
            self.version,
        ];
        buffer[..4].copy_from_slice(&head);
        buffer[4..8].copy_from_slice(&self.states.to_ne_bytes());
        buffer[8..].copy_from_slice(&self.id);
    }
}

/// What is told of a socket; `None` for what this command does not understand.
#[derive(Debug)]
struct Told(Option<Socket>);

impl NetlinkDeserializable for Told {
    type Error = DecodeError;

    fn deserialize(
        _header: &NetlinkHeader,
        payload: &[u8],
    ) -> std::result::Result<Self, DecodeError> {
        Ok(Self(parse(payload)))
    }
}

impl SockDiag {
    /// For the family of this number.
    pub fn open(family: u8, wanted: Wanted) -> io::Result<Self> {
        let bit = |attribute: u16| 1u8 << (attribute - 1);
        let mut socket = Netlink::new(NETLINK_SOCK_DIAG)?;
        socket.bind_auto()?;
        Ok(Self {
            socket,
            ask: Ask {
                kind: SOCK_DIAG_BY_FAMILY,
                family,
                extensions: if wanted.details {
                    bit(INFO) | bit(CONGESTION) | bit(MEMORY)
                } else {
                    0
                },
                version: match (wanted.v4, wanted.v6) {
                    (true, false) => libc::AF_INET as u8,
                    (false, true) => libc::AF_INET6 as u8,
                    _ => 0,
                },
                states: wanted.states.bits(),
                id: [0; 48],
            },
            buffer: Vec::new(),
        })
    }

    /// Ends the connection of a socket that this listed.
    ///
    /// Errors: those of the kernel: EPERM, ENOENT where it is gone, EOPNOTSUPP for a listener.
    pub fn destroy(&mut self, socket: &Socket) -> io::Result<()> {
        let Some(identity) = &socket.identity else {
            return Err(io::ErrorKind::Unsupported.into());
        };
        let ask = Ask {
            kind: SOCK_DESTROY,
            version: identity.version,
            id: identity.id,
            ..self.ask.clone()
        };
        self.send(ask, NLM_F_REQUEST | NLM_F_ACK)?;
        self.receive(&mut |_| ())
    }

    /// Whether the family has somebody who answers.
    pub fn is_answered(&mut self) -> bool {
        // One socket of both IP versions: EINVAL, and from nobody ENOENT.
        let ask = Ask {
            version: 0,
            ..self.ask.clone()
        };
        let answer = self
            .send(ask, NLM_F_REQUEST | NLM_F_ACK)
            .and_then(|()| self.receive(&mut |_| ()));
        answer.is_err_and(|error| error.raw_os_error() == Some(libc::EINVAL))
    }

    fn send(&mut self, ask: Ask, flags: u16) -> io::Result<()> {
        let mut header = NetlinkHeader::default();
        header.flags = flags;
        let mut message = NetlinkMessage::new(header, NetlinkPayload::InnerMessage(ask));
        message.finalize();
        let mut bytes = vec![0; message.buffer_len()];
        message.serialize(&mut bytes);
        self.socket.send(&bytes, 0).map(|_| ())
    }

    /// Hands out what comes, to the end of the answer.
    fn receive(&mut self, visit: &mut dyn FnMut(Socket)) -> io::Result<()> {
        self.buffer.resize(PACKET, 0);
        loop {
            let len = self.socket.recv(&mut &mut self.buffer[..], 0)?;
            if messages(&self.buffer[..len], visit)? {
                return Ok(());
            }
        }
    }
}

/// Hands out what is in a packet of messages. Whether that was the end of the answer.
pub fn messages(mut rest: &[u8], visit: &mut dyn FnMut(Socket)) -> io::Result<bool> {
    while !rest.is_empty() {
        let message = NetlinkMessage::<Told>::deserialize(rest).map_err(io::Error::other)?;
        let taken = (message.header.length as usize).next_multiple_of(4);
        rest = rest.get(taken..).unwrap_or(&[]);
        match message.payload {
            NetlinkPayload::InnerMessage(Told(Some(socket))) => visit(socket),
            NetlinkPayload::InnerMessage(Told(None)) => {
                return Err(io::ErrorKind::InvalidData.into())
            }
            NetlinkPayload::Error(error) => match error.code {
                // An acknowledgment.
                None => return Ok(true),
                Some(code) => {
                    return Err(io::Error::from_raw_os_error(code.get().saturating_neg()))
                }
            },
            NetlinkPayload::Done(done) if done.code < 0 => {
                return Err(io::Error::from_raw_os_error(done.code.saturating_neg()))
            }
            NetlinkPayload::Done(_) => return Ok(true),
            _ => {}
        }
    }
    Ok(false)
}

impl Source for SockDiag {
    fn each(&mut self, visit: &mut dyn FnMut(Socket)) -> Result<()> {
        let mut seen = Seen::default();
        self.send(self.ask.clone(), NLM_F_REQUEST | NLM_F_DUMP)
            .and_then(|()| {
                self.receive(&mut |socket| {
                    if seen.is_new(&socket) {
                        visit(socket);
                    }
                })
            })
            .map_err(|error| match error.kind() {
                io::ErrorKind::InvalidData => Problem::failed(
                    "the kernel's list of sockets has entries that this command cannot read.\nThe loaded module is of another \
                     version.",
                ),
                _ => Problem::failed(format!(
                    "cannot list oxtcp's sockets by netlink: {}.",
                    words(&error)
                )),
            })
    }
}

/// A `struct inet_diag_msg`, and attributes behind it.
fn parse(bytes: &[u8]) -> Option<Socket> {
    const HEAD: usize = 72;
    let (head, rest) = bytes.split_at_checked(HEAD)?;
    let word = |at: usize| {
        let four = head.get(at..at + 4)?.try_into().ok()?;
        Some(u32::from_ne_bytes(four))
    };
    let version = head[0];
    let id: [u8; 48] = head[4..52].try_into().ok()?;
    let ip = |at: usize| -> Option<IpAddr> {
        if version == libc::AF_INET as u8 {
            Some(<[u8; 4]>::try_from(&id[at..at + 4]).ok()?.into())
        } else if version == libc::AF_INET6 as u8 {
            Some(Ipv6Addr::from(<[u8; 16]>::try_from(&id[at..at + 16]).ok()?).into())
        } else {
            None
        }
    };
    let port = |at: usize| u16::from_be_bytes([id[at], id[at + 1]]);
    let mut socket = Socket {
        state: State::from_number(head[1])?,
        local: SocketAddr::new(ip(4)?, port(0)),
        remote: SocketAddr::new(ip(20)?, port(2)),
        timer: match head[2] {
            0 => Timer::Off,
            1 => Timer::On,
            2 => Timer::Keepalive,
            3 => Timer::TimeWait,
            4 => Timer::Persist,
            _ => return None,
        },
        retransmits: head[3].into(),
        timer_ms: word(52)?.into(),
        recv_queue: word(56)?,
        send_queue: word(60)?,
        uid: word(64)?,
        inode: word(68)?.into(),
        figures: None,
        info: None,
        algorithm: None,
        queues: None,
        memory: None,
        identity: Some(Identity { version, id }),
    };
    for attribute in NlasIterator::new(rest) {
        let attribute = attribute.ok()?;
        let value = attribute.value();
        match attribute.kind() {
            INFO => {
                let info = Info::parse(value);
                socket.figures = (socket.state != State::Listen).then(|| Figures::of(&info));
                socket.info = Some(Box::new(info));
            }
            CONGESTION => {
                let name = value.split(|&byte| byte == 0).next().unwrap_or(&[]);
                socket.algorithm = Some(String::from_utf8_lossy(name).into_owned());
            }
            QUEUES => socket.queues = Queues::parse(value).map(Box::new),
            MEMORY => socket.memory = Memory::parse(value).map(Box::new),
            // Of another version, or not shown.
            _ => {}
        }
    }
    Some(socket)
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// Messages that a kernel sent: see `tests/recorded/README.md`.
    const RECORDED: &[u8] = include_bytes!("../../tests/recorded/sock_diag");

    /// The sockets of the recorded messages.
    pub fn recorded() -> Vec<Socket> {
        let mut rest = RECORDED;
        let mut sockets = Vec::new();
        while !rest.is_empty() {
            let message = NetlinkMessage::<Told>::deserialize(rest).unwrap();
            rest = &rest[(message.header.length as usize).next_multiple_of(4)..];
            if let NetlinkPayload::InnerMessage(Told(socket)) = message.payload {
                sockets.push(socket.unwrap());
            }
        }
        sockets
    }

    #[test]
    fn recorded_messages() {
        let lines: Vec<String> = recorded()
            .iter()
            .map(|socket| {
                format!(
                    "{:?} {} {} recv {} send {} timer {:?} uid {} algorithm {:?} figures {:?} memory {:?} mss {:?}",
                    socket.state,
                    socket.local,
                    socket.remote,
                    socket.recv_queue,
                    socket.send_queue,
                    socket.timer,
                    socket.uid,
                    socket.algorithm,
                    socket.figures.map(|figures| figures.cwnd),
                    socket.memory.as_ref().map(|memory| memory.rcvbuf),
                    socket.info.as_ref().map(|info| info.snd_mss),
                )
            })
            .collect();
        insta::assert_snapshot!(lines.join("\n"));
    }

    /// One listener, with what its queues hold and have dropped.
    pub fn recorded_listener() -> Socket {
        let bytes = include_bytes!("../../tests/recorded/sock_diag_listener");
        let mut sockets = Vec::new();
        messages(bytes, &mut |socket| sockets.push(socket)).unwrap();
        assert_eq!(sockets.len(), 1);
        sockets.remove(0)
    }

    #[test]
    fn recorded_queues() {
        let queues = recorded_listener().queues.unwrap();
        insta::assert_snapshot!(format!("{}\n{:#}", queues.words(), queues.json()));
        assert_eq!(recorded()[0].queues, None, "a module of an older version");
    }

    /// One socket in each state, told apart by the ports that `selftests/src/bin/tool/states.rs` gives them.
    #[test]
    fn recorded_states() {
        const STATES: [(State, u16); 11] = [
            (State::Listen, 9001),
            (State::Listen, 9002),
            (State::Established, 9001),
            (State::SynRecv, 9002),
            (State::SynSent, 9003),
            (State::CloseWait, 9004),
            (State::FinWait2, 9005),
            (State::TimeWait, 9006),
            (State::LastAck, 9007),
            (State::FinWait1, 9008),
            (State::Closing, 9009),
        ];
        for (bytes, ip) in [
            (
                &include_bytes!("../../tests/recorded/sock_diag_states_ipv4")[..],
                "192.0.2.",
            ),
            (
                include_bytes!("../../tests/recorded/sock_diag_states_ipv6"),
                "2001:db8::",
            ),
        ] {
            let mut sockets = Vec::new();
            messages(bytes, &mut |socket| sockets.push(socket)).unwrap();
            assert_eq!(sockets.len(), STATES.len());
            for (state, port) in STATES {
                let is = |socket: &&Socket| {
                    let known = match state {
                        State::SynSent => socket.remote,
                        _ => socket.local,
                    };
                    socket.state == state && known.port() == port
                };
                let socket = sockets
                    .iter()
                    .find(is)
                    .unwrap_or_else(|| panic!("{state:?}"));
                assert!(socket.local.ip().to_string().starts_with(ip), "{socket:?}");
                is_as_its_state(socket);
            }
        }
    }

    /// What the kernel tells of a socket in its state: bytes, timer, owner, and how much TCP knows.
    fn is_as_its_state(socket: &Socket) {
        let queues = (socket.recv_queue, socket.send_queue);
        match socket.state {
            // Of a listener the second is the backlog.
            State::Listen => assert_eq!(queues, (0, 7), "{socket:?}"),
            State::Established => assert_eq!(queues, (5, 0), "{socket:?}"),
            _ => {}
        }
        match socket.state {
            State::SynRecv | State::SynSent | State::FinWait1 | State::LastAck | State::Closing => {
                assert_eq!(socket.timer, Timer::On, "{socket:?}");
            }
            State::TimeWait => assert_eq!(socket.timer, Timer::TimeWait, "{socket:?}"),
            _ => {}
        }
        let has_program = !matches!(
            socket.state,
            State::SynRecv | State::TimeWait | State::LastAck
        );
        assert_eq!(socket.inode != 0, has_program, "{socket:?}");
        let is_small = matches!(socket.state, State::SynRecv | State::TimeWait);
        assert_eq!(socket.info.is_none(), is_small, "{socket:?}");
        assert_eq!(socket.memory.is_none(), is_small, "{socket:?}");
    }

    #[test]
    fn none_comes_twice() {
        let mut seen = Seen::default();
        let sockets = recorded();
        assert!(sockets.iter().all(|socket| seen.is_new(socket)));
        assert!(!sockets.iter().any(|socket| seen.is_new(socket)));
    }

    /// Cut anywhere, or with any byte changed, it is read or refused, and no more.
    #[test]
    fn damaged_messages() {
        let payload = &RECORDED[16..u32::from_ne_bytes(RECORDED[..4].try_into().unwrap()) as usize];
        for len in 0..payload.len() {
            let whole = parse(&payload[..len]).is_some();
            assert!(!whole || len >= 72, "{len}");
        }
        for at in 0..payload.len() {
            let mut damaged = payload.to_vec();
            damaged[at] ^= 0xff;
            let _ = parse(&damaged);
        }
    }
}
