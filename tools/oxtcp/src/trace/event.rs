// SPDX-License-Identifier: GPL-2.0
//! What happened: an event as the module's tracepoints tell it (`rust/sys/trace.h`).

use std::net::SocketAddr;
use std::time::Duration;

use crate::sockets::limit::Limit;
use crate::sockets::State;

/// One event.
#[derive(Clone, Debug, PartialEq)]
pub struct Event {
    /// Nanoseconds of CLOCK_MONOTONIC; [`Clock`] makes it a date. Events come to a consumer sorted by it.
    pub time: u64,
    /// The inode of the network namespace (`/proc/PID/ns/net`).
    pub netns: u32,
    /// The socket's cookie, as sock_diag tells it; 0 for what has no socket: half-open connections, TIME-WAITs, and packets that
    /// reach none. A listener's decision carries the listener's. A connection keeps its addresses, and its cookie from its first
    /// event as a socket to its last.
    pub cookie: u64,
    /// The number of the cgroup that has made the socket, or the listener that it was accepted from (the inode of its folder); 0 for
    /// what has no socket.
    pub cgroup: u64,
    /// This host's end. IPv4 addresses are IPv4 addresses on dual-stack sockets too. A link-local IPv6 address has no scope.
    pub local: SocketAddr,
    /// The peer's; `0.0.0.0:0` or `[::]:0` where there is none (the states of a listener).
    pub remote: SocketAddr,
    pub what: What,
}

/// What happened.
#[derive(Clone, Debug, PartialEq)]
pub enum What {
    /// The connection, or the listener, has gone from one state to another. A half-open connection of a listener is told of
    /// with cookie 0: LISTEN to SYN-RECV when the SYN has come (or, after a cookie, the ACK), and SYN-RECV to CLOSED when it
    /// ends without one. The socket that the last ACK makes begins with SYN-RECV to ESTABLISHED. What a connection does in
    /// TIME-WAIT, or in FIN-WAIT-2 when no program has it, is told with cookie 0.
    State {
        from: State,
        to: State,
    },
    Segment(Segment),
    /// A timer of the connection has gone off.
    Timer(Timer),
    /// Where congestion control and both windows stand, after something has changed that: after a segment that came, a timer, what the
    /// program wrote or read.
    Congestion(Congestion),
    /// A packet, or a part of it, is not taken.
    Drop(Drop),
    /// A listener has decided about a SYN or the last ACK of a handshake.
    Listener(Listener),
    /// A queue of a listener is full: once in a second at most for each.
    Overflow(Overflow),
}

/// A TCP segment, or a burst of them that devices cut (out) or have put together (in).
#[derive(Clone, Debug, PartialEq)]
pub struct Segment {
    pub direction: Direction,
    /// Why it was sent; [`Cause::Received`] for one that came in.
    pub cause: Cause,
    pub header: Header,
    /// Bytes of payload. The payload itself is not traced.
    pub payload: u32,
    /// Bytes of payload in each segment of a burst (but the last); 0 for a single segment.
    pub segment_size: u16,
    /// The ECN field of the IP header: 0 Not-ECT, 1 ECT(1), 2 ECT(0), 3 CE.
    pub ecn: u8,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    In,
    Out,
}

/// A TCP header with its options, as on the wire: 20 to 60 bytes, numbers in network order. Of one that is sent, the checksum is
/// not filled in, as the device does that; nor is the MAC of a signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Header(pub Vec<u8>);

/// Why a segment was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Cause {
    /// It was not: it came in.
    Received,
    /// The first SYN of an open.
    Syn,
    /// The SYN again, as no answer came in time.
    SynRetransmit,
    /// A SYN-ACK.
    SynAck,
    /// The SYN-ACK again: the timer, or the peer's SYN came again.
    SynAckRetransmit,
    /// A SYN-ACK whose number is a cookie; nothing is kept of the connection.
    SynCookie,
    /// New data, perhaps with FIN.
    Data,
    /// Data (or FIN) again, which RACK or duplicate acknowledgments have shown to be lost.
    FastRetransmit,
    /// Data (or FIN) again, after the retransmission timer went off; or in smaller segments, when ICMP told that the path takes no larger ones.
    TimeoutRetransmit,
    /// A tail loss probe: the last segment again.
    LossProbe,
    /// A tail loss probe: new data.
    LossProbeData,
    /// An acknowledgment.
    Ack,
    /// An acknowledgment that tells of a window that has opened.
    WindowUpdate,
    /// An acknowledgment to what might be forged (RFC 5961).
    ChallengeAck,
    /// To learn whether a window that was closed is open.
    WindowProbe,
    /// To learn whether the peer is still there.
    Keepalive,
    /// FIN without data.
    Fin,
    /// A reset.
    Reset,
    /// Of a later version of the module.
    Other(u8),
}

/// A timer of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// Nothing was acknowledged in time (RFC 6298).
    Retransmit,
    /// The peer's window has been closed for long (RFC 9293 section 3.8.6.1).
    Persist,
    /// An acknowledgment was held back.
    DelayedAck,
    /// Some of what is out of order were, to be sent as one.
    CompressedAck,
    Keepalive,
    /// Nobody has the connection, and the peer's FIN did not come.
    FinWait2,
    /// 2 MSL.
    TimeWait,
    /// The tail may be lost (RFC 8985 section 7).
    LossProbe,
    /// What seemed out of order is lost (RFC 8985 section 6.2).
    Reorder,
    /// Data may go, by the pacing rate.
    Pace,
    /// Of a half-open connection: the SYN-ACK was not answered.
    SynAck,
    /// Of a later version of the module.
    Other(u8),
}

/// What recovery is at (Linux's `tcpi_ca_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    Open,
    Disorder,
    Cwr,
    Recovery,
    Loss,
}

/// Figures of a connection. Bytes and microseconds.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Congestion {
    pub mode: Mode,
    /// The congestion window in bytes; 0 where nothing more can be sent.
    pub cwnd: u32,
    /// The slow start threshold in bytes; `None` before any loss.
    pub ssthresh: Option<u32>,
    /// The smoothed round trip; `None` before one was measured.
    pub srtt: Option<Duration>,
    pub rttvar: Duration,
    /// The retransmission timeout, back-off included.
    pub rto: Duration,
    /// Payload bytes of a full segment.
    pub mss: u32,
    /// Sequence numbers that are sent and not acknowledged.
    pub unacked: u32,
    /// Of those, what is in the network as far as is known: without what is reported or lost, with what was sent again.
    pub in_network: u32,
    /// Bytes that the program has written and that were never sent.
    pub not_sent: u32,
    /// The peer's window (SND.WND).
    pub snd_wnd: u32,
    /// Our window (RCV.WND).
    pub rcv_wnd: u32,
    /// SND.UNA, SND.NXT and RCV.NXT, as on the wire.
    pub snd_una: u32,
    pub snd_nxt: u32,
    pub rcv_nxt: u32,
    /// Bytes a second; `None`: not bounded.
    pub pacing_rate: Option<u64>,
    /// Segments sent again, ever.
    pub retransmits: u32,
    /// Bytes of data that the peer has acknowledged, and that have come in order, ever.
    pub bytes_acked: u64,
    pub bytes_received: u64,
}

/// A packet that is dropped.
#[derive(Clone, Debug, PartialEq)]
pub struct Drop {
    /// Out: it has not left the host. Its [`Segment`] was told before.
    pub direction: Direction,
    /// The kernel's name for it, as in `skb:kfree_skb`, without `SKB_DROP_REASON_`: `TCP_OLD_DATA`.
    pub reason: String,
    /// Of the segment, when it could be read.
    pub header: Option<Header>,
    /// Bytes of payload.
    pub payload: u32,
}

/// What a listener did.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// A SYN: a half-open connection was made, and a SYN-ACK sent.
    HalfOpen,
    /// A SYN: answered with a cookie.
    Cookie,
    /// The oldest half-open connection (whose ends the event has) gave way to a SYN.
    Evicted,
    /// A SYN, or a last ACK: dropped.
    Dropped,
    /// A last ACK for which there was no room: answered with a reset (`abort_on_overflow`).
    Reset,
    /// A last ACK that only acknowledges: it waits for data (TCP_DEFER_ACCEPT).
    Deferred,
    /// A last ACK: the connection waits for accept(2).
    Accepted,
    /// The same, of one that brought back a good cookie.
    CookieAccepted,
    /// An ACK with a number that is no good cookie.
    CookieRefused,
    /// A half-open connection has ended without an answer.
    Expired,
    /// Of a later version of the module.
    Other(u8),
}

/// What a listener has too little of, which made the decision what it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bound {
    /// Nothing.
    None,
    /// Half-open connections: the smaller of `max_syn_backlog` and the accept queue's bound.
    SynQueue,
    /// The peer's host or network has its share of these (`syn_host_share`, `syn_net_share`).
    Share,
    /// Connections that wait for accept(2): the smallest of listen(2)'s backlog, `net.core.somaxconn` and `net.oxtcp.somaxconn`.
    AcceptQueue,
    /// SYNs of the peer's network in a second (`syn_net_rate`).
    Rate,
    /// `syncookies` is 2: always a cookie.
    Always,
    /// There is no way to the peer.
    Route,
    /// Memory.
    Memory,
    /// Of a later version of the module.
    Other(u8),
}

/// A listener's decision. `cookie` and `local` of the [`Event`] are the listener's socket and the address that the peer has asked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Listener {
    pub decision: Decision,
    pub bound: Bound,
    /// Half-open connections at that time, and the most there may be.
    pub half_open: u32,
    pub most_half_open: u32,
    /// Connections that wait for accept(2), and listen(2)'s backlog as it was asked for (no more than `net.core.somaxconn`), and as
    /// `net.oxtcp.somaxconn` granted it. One more than that may wait.
    pub waiting: u32,
    pub asked: u32,
    pub granted: u32,
    /// `net.oxtcp.syncookies` of the namespace.
    pub syncookies: u8,
    /// What bounds the accept queue, if that is the bound, or else the half-open connections.
    pub limit: Limit,
}

impl Listener {
    /// The most that may wait for accept(2).
    pub fn most_waiting(&self) -> u64 {
        u64::from(self.granted) + 1
    }
}

/// A queue of a listener that is full. [`Event::remote`] is none.
#[derive(Clone, Debug, PartialEq)]
pub struct Overflow {
    pub queue: Queue,
    /// How many are in it, and the most that may be; of a share, or a rate, of all half-open connections.
    pub length: u32,
    pub most: u32,
    /// SYNs to the listener in a second.
    pub rate: u32,
    pub remedy: Remedy,
    /// What bounds it, and the value of that.
    pub limit: Limit,
    pub value: u32,
}

/// What there is too little of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Queue {
    /// Half-open connections.
    Syn,
    /// Those of one host, of one network.
    HostShare,
    NetShare,
    /// Connections that wait for accept(2).
    Accept,
    /// SYNs of one network in a second.
    NetRate,
    /// Of a later version of the module.
    Other(u8),
}

/// What the listener does about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Remedy {
    /// SYNs are answered with cookies.
    Cookie,
    /// The oldest half-open connection gives way.
    Evict,
    /// SYNs are dropped; of a full accept queue also the last ACKs of handshakes.
    Drop,
    /// SYNs are dropped, and last ACKs are answered with resets.
    Reset,
    /// Of a later version of the module.
    Other(u8),
}

/// From the trace's clock to dates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Clock {
    /// Nanoseconds between CLOCK_MONOTONIC's zero and the Unix epoch.
    pub offset: i64,
}

impl Clock {
    /// Nanoseconds since the Unix epoch.
    pub fn unix(self, time: u64) -> u64 {
        time.saturating_add_signed(self.offset)
    }
}

impl Header {
    pub fn seq(&self) -> u32 {
        self.word(4)
    }

    pub fn ack(&self) -> u32 {
        self.word(8)
    }

    /// The control bits: FIN is 1, then SYN, RST, PSH, ACK, URG, ECE, CWR.
    pub fn flags(&self) -> u8 {
        self.0.get(13).copied().unwrap_or(0)
    }

    /// As in the header, not scaled.
    pub fn window(&self) -> u16 {
        self.half(14)
    }

    /// The bytes behind the fixed header.
    pub fn options(&self) -> &[u8] {
        self.0.get(20..).unwrap_or(&[])
    }

    fn word(&self, at: usize) -> u32 {
        let bytes = self.0.get(at..at + 4).and_then(|b| b.try_into().ok());
        u32::from_be_bytes(bytes.unwrap_or([0; 4]))
    }

    fn half(&self, at: usize) -> u16 {
        let bytes = self.0.get(at..at + 2).and_then(|b| b.try_into().ok());
        u16::from_be_bytes(bytes.unwrap_or([0; 2]))
    }
}

impl Cause {
    /// Whether what it carries was sent before.
    pub fn is_retransmit(self) -> bool {
        matches!(
            self,
            Cause::SynRetransmit
                | Cause::SynAckRetransmit
                | Cause::FastRetransmit
                | Cause::TimeoutRetransmit
                | Cause::LossProbe
        )
    }

    /// In a word or two; empty for what is told by the segment itself.
    pub fn label(self) -> &'static str {
        match self {
            Cause::Received | Cause::Syn | Cause::SynAck | Cause::Data | Cause::Ack => "",
            Cause::Fin | Cause::Reset => "",
            Cause::SynRetransmit | Cause::SynAckRetransmit => "retransmission, timeout",
            Cause::SynCookie => "cookie",
            Cause::FastRetransmit => "retransmission, loss found",
            Cause::TimeoutRetransmit => "retransmission, timeout",
            Cause::LossProbe => "tail loss probe, sent before",
            Cause::LossProbeData => "tail loss probe, new data",
            Cause::WindowUpdate => "window update",
            Cause::ChallengeAck => "challenge ACK",
            Cause::WindowProbe => "window probe",
            Cause::Keepalive => "keepalive",
            Cause::Other(_) => "of a cause unknown to this version",
        }
    }
}
