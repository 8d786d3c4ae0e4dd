// SPDX-License-Identifier: GPL-2.0
//! One connection on a test stand: a constructor for each state, and what is true of a connection after
//! every call, whatever came before.

use super::memory::Memory;
use oxtcp_engine::connection::state::{Input, TRANSITIONS};
use oxtcp_engine::reassembly::Reassembly;
use oxtcp_engine::request::{Request, RequestOpen};
use oxtcp_engine::wire::{Ecn, Flags, Header, Options, Timestamps, WindowScale};
use oxtcp_engine::{
    ActiveOpen, BurstLimit, Config, Connection, Context, Duration, Instant, Packet, PassiveOpen,
    Payload, RecvMemory, Rx, Segment, SeqNum, SocketOptions, State, TimerKind, Transmit,
    TransmitKind,
};

/// Our and the peer's initial sequence numbers. Both wrap within the first kilobytes.
pub const ISS: SeqNum = SeqNum::new(u32::MAX - 1_500);
pub const IRS: SeqNum = SeqNum::new(u32::MAX - 700);
pub const MSS: u16 = 1000;
pub const WINDOW: u16 = 8_000;
pub const RECV_SPACE: u32 = 20_000;
/// The peer's timestamp at the start.
pub const PEER_TS: u32 = u32::MAX - 5;

/// The ways to a state that are worth a constructor.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Way {
    SynSent,
    /// After a passive open.
    SynReceived,
    /// After two SYNs crossed.
    SynCrossed,
    Established,
    /// 2500 bytes sent, and 500 more written.
    InFlight,
    /// The peer's window is shut and data waits.
    ZeroWindow,
    /// A segment of 100 bytes waits behind a hole of 1000.
    Hole,
    FinWait1,
    FinWait2,
    /// The user has closed, too.
    FinWait2Orphan,
    CloseWait,
    Closing,
    LastAck,
    TimeWait,
    Closed,
}

impl Way {
    pub const ALL: [Way; 15] = [
        Way::SynSent,
        Way::SynReceived,
        Way::SynCrossed,
        Way::Established,
        Way::InFlight,
        Way::ZeroWindow,
        Way::Hole,
        Way::FinWait1,
        Way::FinWait2,
        Way::FinWait2Orphan,
        Way::CloseWait,
        Way::Closing,
        Way::LastAck,
        Way::TimeWait,
        Way::Closed,
    ];

    pub fn state(self) -> State {
        match self {
            Way::SynSent => State::SynSent,
            Way::SynReceived | Way::SynCrossed => State::SynReceived,
            Way::Established | Way::InFlight | Way::ZeroWindow | Way::Hole => State::Established,
            Way::FinWait1 => State::FinWait1,
            Way::FinWait2 | Way::FinWait2Orphan => State::FinWait2,
            Way::CloseWait => State::CloseWait,
            Way::Closing => State::Closing,
            Way::LastAck => State::LastAck,
            Way::TimeWait => State::TimeWait,
            Way::Closed => State::Closed,
        }
    }
}

#[derive(Clone)]
pub struct Stand {
    pub conn: Connection,
    pub reassembly: Reassembly,
    pub flight: Memory,
    pub config: Config,
    pub now: Instant,
    /// Whether packets may be kept.
    pub room: bool,
    /// Bytes that have come in order and are not read.
    pub unread: u32,
    pub with_reassembly: bool,
    /// With timestamps.
    pub stamps: bool,
    /// What the connection was made of, after a passive open.
    pub request: Option<Request>,
    seen: Seen,
}

/// What may only move forward.
#[derive(Clone, Copy)]
struct Seen {
    state: State,
    snd_una: SeqNum,
    snd_nxt: SeqNum,
    rcv_nxt: SeqNum,
    /// The right edge of the largest window.
    edge: SeqNum,
}

impl Stand {
    pub fn new(way: Way, stamps: bool, sack: bool) -> Stand {
        let config = Config {
            timestamps: stamps,
            sack,
            ..Config::default()
        };
        let now = Instant::from_secs(50_000);
        let cx = Context::new(now, &config);
        let mut half_open = None;
        let conn = match way {
            Way::SynReceived => {
                let open = RequestOpen {
                    iss: ISS,
                    ts_offset: 77,
                    advertised_mss: MSS,
                    recv_space: RECV_SPACE,
                    recv_limit: 1 << 20,
                    signature: oxtcp_engine::wire::Signature::NONE,
                };
                let request = Request::new(&cx, &Self::syn(Flags::SYN, stamps), &open);
                half_open = Some(request);
                let passive = PassiveOpen {
                    path_mss: MSS,
                    recv_space: RECV_SPACE,
                    options: SocketOptions::default(),
                };
                Connection::accept(&cx, &request, &passive)
            }
            _ => Connection::connect(
                &cx,
                &ActiveOpen {
                    iss: ISS,
                    ts_offset: 77,
                    advertised_mss: MSS,
                    path_mss: MSS,
                    recv_space: RECV_SPACE,
                    recv_limit: 1 << 20,
                    options: SocketOptions::default(),
                },
            ),
        };
        let seen = Seen {
            state: conn.state(),
            snd_una: conn.snd_una(),
            snd_nxt: conn.snd_nxt(),
            rcv_nxt: conn.rcv_nxt(),
            edge: conn.rcv_nxt().add(conn.rcv_wnd()),
        };
        let mut stand = Stand {
            conn,
            reassembly: Reassembly::new(),
            flight: Memory::default(),
            config,
            now,
            room: true,
            unread: 0,
            with_reassembly: true,
            stamps,
            request: half_open,
            seen,
        };
        stand.drain();
        stand.lead(way);
        assert_eq!(stand.conn.state(), way.state(), "{way:?}");
        let _ = stand.conn.take_events();
        stand
    }

    /// Goes the way.
    fn lead(&mut self, way: Way) {
        match way {
            Way::SynSent | Way::SynReceived => return,
            Way::SynCrossed => {
                self.put(&Self::syn(Flags::SYN, self.stamps));
                return;
            }
            _ => {}
        }
        let mut syn_ack = Self::syn(Flags::SYN_ACK, self.stamps);
        syn_ack.header.ack = ISS.add(1);
        self.put(&syn_ack);
        match way {
            Way::InFlight => {
                self.write(2_500);
                self.write(500);
            }
            Way::ZeroWindow => {
                let shut = Segment {
                    header: Header {
                        window: 0,
                        ..self.ack().header
                    },
                    payload_len: 0,
                    ecn: Ecn::NotEct,
                };
                self.put(&shut);
                self.write(3_000);
            }
            Way::Hole => {
                let mut ahead = self.ack();
                ahead.header.seq = ahead.header.seq.add(1_000);
                ahead.payload_len = 100;
                self.put(&ahead);
            }
            Way::FinWait1 => self.shutdown(),
            Way::FinWait2 => {
                self.shutdown();
                self.put(&self.ack());
            }
            Way::FinWait2Orphan => {
                self.close(false);
                self.put(&self.ack());
            }
            Way::CloseWait => self.put_fin(),
            Way::Closing => {
                self.shutdown();
                let mut fin = self.ack();
                fin.header.flags = Flags::FIN_ACK;
                fin.header.ack = self.conn.snd_una();
                self.put(&fin);
            }
            Way::LastAck => {
                self.put_fin();
                self.shutdown();
            }
            Way::TimeWait => {
                self.shutdown();
                self.put(&self.ack());
                self.put_fin();
            }
            Way::Closed => {
                let mut reset = self.ack();
                reset.header.flags = Flags::RST;
                self.put(&reset);
            }
            _ => {}
        }
    }

    /// The user reads, until the buffer, which makes a window of `full` bytes, has room for `free` more.
    pub fn read_of(&mut self, free: u32, full: u32) -> Vec<Transmit> {
        let unread = full.saturating_sub(free);
        self.unread = unread;
        let memory = RecvMemory {
            used: unread.saturating_mul(2),
            limit: full.saturating_mul(2),
            most: full.saturating_mul(2),
            fixed: true,
        };
        self.call(|conn, cx| {
            let grown = conn.on_consumed(cx, 0, unread, &memory, None);
            assert_eq!(grown, None);
        })
    }

    pub fn syn(flags: Flags, stamps: bool) -> Segment {
        Segment {
            header: Header {
                seq: IRS,
                flags,
                window: WINDOW,
                options: Options {
                    mss: Some(MSS),
                    window_scale: Some(WindowScale::new(1)),
                    sack_permitted: true,
                    timestamps: stamps.then_some(Timestamps {
                        val: PEER_TS,
                        ecr: 0,
                    }),
                    ..Options::default()
                },
                ..Header::default()
            },
            payload_len: 0,
            ecn: Ecn::NotEct,
        }
    }

    /// The ACK of everything, at the next number.
    pub fn ack(&self) -> Segment {
        Segment {
            header: Header {
                seq: self.conn.rcv_nxt(),
                ack: self.conn.snd_nxt(),
                flags: Flags::ACK,
                window: WINDOW,
                options: Options {
                    timestamps: self.stamps.then_some(Timestamps {
                        val: PEER_TS,
                        ecr: 0,
                    }),
                    ..Options::default()
                },
                ..Header::default()
            },
            payload_len: 0,
            ecn: Ecn::NotEct,
        }
    }

    fn put_fin(&mut self) {
        let mut fin = self.ack();
        fin.header.flags = Flags::FIN_ACK;
        self.put(&fin);
        // Its acknowledgment waits a moment for the user.
        if self.conn.timer_of(TimerKind::DelayedAck).is_some() {
            self.expire();
        }
    }

    /// A segment arrives; returns what is sent in answer.
    pub fn put(&mut self, segment: &Segment) -> Vec<Transmit> {
        let cx = Context::new(self.now, &self.config);
        let rx = Rx {
            reassembly: self.with_reassembly.then_some(&mut self.reassembly),
            room: self.room,
            packet: Packet {
                // The share stays what it is.
                truesize: 2 * segment.payload_len,
                ..Packet::default()
            },
            unread: self.unread,
            ..Rx::default()
        };
        let start = segment.payload().start;
        let nxt = self.conn.rcv_nxt();
        // Before the handshake, what the SYN offered.
        let opening = self.seen.state == State::SynSent;
        let (offered, edge) = match opening {
            true => (RECV_SPACE, SeqNum::new(0)),
            false => (self.conn.rcv_wnd(), self.seen.edge),
        };
        let verdict = self.conn.on_segment(&cx, segment, rx, &mut self.flight);
        if let Payload::InOrder { skip, len } | Payload::OutOfOrder { skip, len } = verdict {
            assert!(self.room && len > 0, "{segment:?} {verdict:?}");
            assert!(skip
                .checked_add(len)
                .is_some_and(|end| end <= segment.payload_len));
            // It begins in the window, and goes beyond it only where there is nothing to read.
            if !opening {
                let begin = nxt.distance_to(start.add(skip));
                assert!(
                    begin < offered || (begin == 0 && nxt.before(edge)),
                    "{begin} on, for a window of {offered}"
                );
                let end = start.add(skip).add(len);
                assert!(
                    self.unread == 0 || end.before_eq(edge),
                    "{end:?} for an edge of {edge:?}"
                );
            }
        }
        match verdict {
            Payload::None => {}
            Payload::InOrder { skip, len } => {
                if !opening {
                    assert_eq!(start.add(skip), nxt, "{segment:?} {verdict:?}");
                }
                assert!(self.conn.rcv_nxt().after_eq(start.add(skip).add(len)));
                self.unread = self.unread.saturating_add(len);
            }
            Payload::OutOfOrder { skip, .. } => {
                assert!(self.with_reassembly);
                assert!(start.add(skip).after(nxt), "{segment:?} {verdict:?}");
            }
        }
        let answers = self.settle();
        if segment.header.flags.rst() {
            assert!(
                answers
                    .iter()
                    .all(|answer| answer.kind != TransmitKind::Reset),
                "a reset in answer to a reset: {segment:?} {answers:?}"
            );
        }
        answers
    }

    pub fn write(&mut self, len: u32) {
        self.conn.write(len);
        self.settle();
    }

    pub fn shutdown(&mut self) {
        let cx = Context::new(self.now, &self.config);
        self.conn.shutdown_write(&cx);
        self.settle();
    }

    pub fn close(&mut self, unread: bool) -> Vec<Transmit> {
        let cx = Context::new(self.now, &self.config);
        self.conn.close(&cx, unread);
        self.settle()
    }

    /// Any other call of the user's or the network's.
    pub fn call(&mut self, call: impl FnOnce(&mut Connection, &Context<'_>)) -> Vec<Transmit> {
        let cx = Context::new(self.now, &self.config);
        call(&mut self.conn, &cx);
        self.settle()
    }

    /// Goes to the next deadline, if there is one, and lets it happen.
    pub fn expire(&mut self) -> Option<Vec<Transmit>> {
        let at = self.conn.poll_timeout()?;
        self.now = self.now.max(at);
        self.tick();
        Some(self.settle())
    }

    pub fn wait(&mut self, time: Duration) -> Vec<Transmit> {
        self.now += time;
        self.tick();
        self.settle()
    }

    fn tick(&mut self) {
        let cx = Context::new(self.now, &self.config);
        for _ in 0..10 {
            if self.conn.poll_timeout().is_none_or(|at| at > self.now) {
                return;
            }
            self.conn.on_timer(&cx, &mut self.flight);
        }
        // A delay of at least a tick between two expiries.
        assert!(
            self.conn.poll_timeout().is_none_or(|at| at > self.now),
            "a timer that never comes to rest: {:?}",
            self.conn.timer()
        );
    }

    fn settle(&mut self) -> Vec<Transmit> {
        let sent = self.drain();
        self.check();
        sent
    }

    fn drain(&mut self) -> Vec<Transmit> {
        let cx = Context::new(self.now, &self.config);
        let mut sent = Vec::new();
        while let Some(transmit) = self
            .conn
            .poll_transmit(&cx, BurstLimit(3_000), &mut self.flight)
        {
            let header = &transmit.header;
            let mut bytes = [0; 60];
            let len = header.emit(&mut bytes);
            assert!((20..=60).contains(&len));
            let range = transmit.payload;
            if !range.is_empty() {
                assert!(transmit.mss > 0, "{transmit:?}");
                assert!(
                    range.len <= 3_000.max(u32::from(transmit.mss)),
                    "{transmit:?}"
                );
                assert_eq!(range.start, header.seq.add(u32::from(header.flags.syn())));
                assert!(
                    range.start.after_eq(self.conn.first_unacked_byte()),
                    "{transmit:?}"
                );
                assert!(range.end().before_eq(self.conn.write_seq()), "{transmit:?}");
            }
            let opening = matches!(self.conn.state(), State::SynSent | State::SynReceived);
            assert!(!header.flags.syn() || opening, "{transmit:?}");
            if !matches!(transmit.kind, TransmitKind::Reset | TransmitKind::Syn) {
                assert!(header.flags.ack(), "{transmit:?}");
                assert_eq!(header.ack, self.conn.rcv_nxt(), "{transmit:?}");
            }
            sent.push(transmit);
            assert!(sent.len() < 1_000, "sends for ever: {:?}", self.conn);
        }
        sent
    }

    /// What is true after every call.
    fn check(&mut self) {
        let conn = &self.conn;
        let state = conn.state();
        let end = conn.rcv_nxt().add(conn.rcv_wnd());
        let Seen {
            state: before,
            snd_una,
            snd_nxt,
            rcv_nxt,
            edge,
        } = self.seen;
        assert!(leads(before, state, 3), "{before:?} -> {state:?}");
        let dead = state == State::Closed;

        assert!(conn.snd_una().before_eq(conn.snd_nxt()), "{conn:?}");
        assert!(
            conn.snd_una().after_eq(snd_una),
            "SND.UNA went back: {conn:?}"
        );
        assert!(
            conn.snd_nxt().after_eq(snd_nxt),
            "SND.NXT went back: {conn:?}"
        );
        if before != State::SynSent && !dead {
            assert!(
                conn.rcv_nxt().after_eq(rcv_nxt),
                "RCV.NXT went back: {conn:?}"
            );
        }
        if !dead {
            assert!(
                conn.first_unacked_byte().before_eq(conn.write_seq()),
                "{conn:?}"
            );
            assert!(
                conn.snd_nxt().before_eq(conn.write_seq().add(1)),
                "{conn:?}"
            );
        }
        assert!(conn.unacked() < 1 << 31);

        let timer = [
            TimerKind::Retransmit,
            TimerKind::LossProbe,
            TimerKind::Reorder,
        ]
        .into_iter()
        .find_map(|kind| conn.timer_of(kind));
        let persist = conn.timer_of(TimerKind::Persist);
        let sending = !matches!(state, State::Closed | State::TimeWait | State::FinWait2);
        if sending && conn.unacked() > 0 {
            assert!(timer.is_some(), "in flight and no timer: {conn:?}");
        }
        if sending && conn.unacked() == 0 && conn.not_sent() > 0 {
            assert!(persist.is_some(), "to be sent and no timer: {conn:?}");
        }
        if !sending {
            assert!(timer.is_none() && persist.is_none(), "{conn:?}");
        }
        assert_eq!(conn.poll_timeout().is_some(), conn.timer().is_some());
        if dead {
            assert_eq!(conn.timer(), None);
        }
        if state == State::TimeWait {
            assert!(conn.timer_of(TimerKind::TimeWait).is_some());
        }
        let cx = Context::new(self.now, &self.config);
        assert_eq!(conn.time_wait(&cx).is_some(), state == State::TimeWait);
        assert!(conn.error().is_none() || dead, "{conn:?}");
        assert!(!(conn.can_send() || conn.can_receive()) || !dead);
        if sending && !matches!(state, State::SynSent) {
            assert!(conn.cwnd() >= 8, "{conn:?}");
            assert!(conn.rto(&self.config) <= self.config.rto_max);
            assert!(conn.rto(&self.config) >= Duration::from_millis(1));
        }
        // Ranges stay behind RCV.NXT, so that the caller's store does.
        if !dead && conn.can_receive() && self.with_reassembly {
            for range in self.reassembly.iter() {
                assert!(range.start.after(conn.rcv_nxt()), "{range:?} {conn:?}");
            }
        }
        self.seen = Seen {
            state,
            snd_una: conn.snd_una(),
            snd_nxt: conn.snd_nxt(),
            rcv_nxt: conn.rcv_nxt(),
            edge: match before {
                // What the SYN offered may have been taken back already.
                State::SynSent => SeqNum::max(end, conn.rcv_nxt().add(RECV_SPACE)),
                _ => SeqNum::max(edge, end),
            },
        };
    }
}

/// Whether the table leads from one state to the other in at most `steps` steps.
pub fn leads(from: State, to: State, steps: u32) -> bool {
    if from == to || (steps > 0 && from.next(Input::Die) == Some(to)) {
        return true;
    }
    steps > 0
        && TRANSITIONS
            .iter()
            .any(|(before, _, after)| *before == from && leads(*after, to, steps - 1))
}
