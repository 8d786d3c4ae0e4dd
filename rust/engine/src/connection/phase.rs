// SPDX-License-Identifier: GPL-2.0

//! What a connection holds in each of its states: only what the state can have.
//!
//! The direction that a FIN has ended is not there: no [`Sender`] once the peer has acknowledged ours, no
//! [`Receiver`] once the peer's has come. Whether a FIN of ours is queued is not data but the state.

use super::info::{ReceiverEnd, SenderEnd};
use super::link::Link;
use super::open::SynSent;
use super::receive::Receiver;
use super::send::Sender;
use super::state::{Input, State};
use crate::seq::SeqNum;

/// The data of each state. States that hold the same are one variant: to go from one to the other nothing is moved, and a connection
/// is large.
#[derive(Clone, Copy, Debug)]
pub(super) enum Phase {
    Closed(Closed),
    SynSent(SynSent),
    Duplex(DuplexState, Duplex),
    FinWait2(Inbound),
    Outbound(OutboundState, Outbound),
    TimeWait(Ended),
}

/// The states that hold a [`Duplex`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum DuplexState {
    SynReceived,
    Established,
    FinWait1,
}

/// The states that hold an [`Outbound`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum OutboundState {
    CloseWait,
    Closing,
    LastAck,
}

/// The numbers with which a connection ended: a reset that is still to be sent is made of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Closed {
    pub(super) snd_una: SeqNum,
    pub(super) snd_nxt: SeqNum,
    pub(super) rcv_nxt: SeqNum,
    pub(super) write_seq: SeqNum,
    pub(super) reset_owed: bool,
    /// What was left of the connection, unless it ended in SYN-SENT.
    pub(super) ended: Option<Ended>,
}

/// Both directions are over; the halves are there for [`Info`](super::Info) alone.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    pub(super) link: Link,
    pub(super) sent: SenderEnd,
    pub(super) received: ReceiverEnd,
}

/// Both directions are open, or the outgoing one ends with a FIN that is not yet acknowledged.
#[derive(Clone, Copy, Debug)]
pub(super) struct Duplex {
    pub(super) link: Link,
    pub(super) snd: Sender,
    pub(super) rcv: Receiver,
}

/// Only the outgoing direction is left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Outbound {
    pub(super) link: Link,
    pub(super) snd: Sender,
    pub(super) received: ReceiverEnd,
}

/// Only the incoming direction is left.
#[derive(Clone, Copy, Debug)]
pub(super) struct Inbound {
    pub(super) link: Link,
    pub(super) rcv: Receiver,
    pub(super) sent: SenderEnd,
}

/// A synchronized connection, taken apart.
pub(super) struct Parts<'a> {
    pub(super) link: &'a mut Link,
    pub(super) snd: Option<&'a mut Sender>,
    pub(super) rcv: Option<&'a mut Receiver>,
    /// Whether a FIN of ours follows the last byte of data.
    pub(super) fin: bool,
}

impl Duplex {
    fn without_sender(&self) -> Inbound {
        Inbound {
            link: self.link,
            rcv: self.rcv,
            sent: self.snd.end(),
        }
    }

    fn without_receiver(&self) -> Outbound {
        Outbound {
            link: self.link,
            snd: self.snd,
            received: self.rcv.end(),
        }
    }
}

impl Outbound {
    fn without_sender(&self) -> Ended {
        Ended {
            link: self.link,
            sent: self.snd.end(),
            received: self.received,
        }
    }
}

impl Inbound {
    fn without_receiver(&self) -> Ended {
        Ended {
            link: self.link,
            sent: self.sent,
            received: self.rcv.end(),
        }
    }
}

impl Phase {
    #[inline]
    pub(super) fn state(&self) -> State {
        match self {
            Phase::Closed(_) => State::Closed,
            Phase::SynSent(_) => State::SynSent,
            Phase::Duplex(DuplexState::SynReceived, _) => State::SynReceived,
            Phase::Duplex(DuplexState::Established, _) => State::Established,
            Phase::Duplex(DuplexState::FinWait1, _) => State::FinWait1,
            Phase::FinWait2(_) => State::FinWait2,
            Phase::Outbound(OutboundState::CloseWait, _) => State::CloseWait,
            Phase::Outbound(OutboundState::Closing, _) => State::Closing,
            Phase::Outbound(OutboundState::LastAck, _) => State::LastAck,
            Phase::TimeWait(_) => State::TimeWait,
        }
    }

    pub(super) fn is_syn_received(&self) -> bool {
        matches!(self, Phase::Duplex(DuplexState::SynReceived, _))
    }

    /// Whether a FIN of ours follows the last byte of data, sent or not.
    #[inline]
    pub(super) fn fin(&self) -> bool {
        matches!(
            self,
            Phase::Duplex(DuplexState::FinWait1, _)
                | Phase::Outbound(OutboundState::Closing | OutboundState::LastAck, _)
        )
    }

    #[inline]
    pub(super) fn parts(&mut self) -> Option<Parts<'_>> {
        let fin = self.fin();
        let (link, snd, rcv) = match self {
            Phase::Closed(_) | Phase::SynSent(_) => return None,
            Phase::Duplex(_, d) => (&mut d.link, Some(&mut d.snd), Some(&mut d.rcv)),
            Phase::FinWait2(i) => (&mut i.link, None, Some(&mut i.rcv)),
            Phase::Outbound(_, o) => (&mut o.link, Some(&mut o.snd), None),
            Phase::TimeWait(ended) => (&mut ended.link, None, None),
        };
        Some(Parts {
            link,
            snd,
            rcv,
            fin,
        })
    }

    #[inline]
    pub(super) fn link(&self) -> Option<&Link> {
        match self {
            Phase::Closed(_) | Phase::SynSent(_) => None,
            Phase::Duplex(_, d) => Some(&d.link),
            Phase::FinWait2(i) => Some(&i.link),
            Phase::Outbound(_, o) => Some(&o.link),
            Phase::TimeWait(ended) => Some(&ended.link),
        }
    }

    /// As [`link`](Phase::link), and after the end what it was.
    pub(super) fn last_link(&self) -> Option<&Link> {
        match self {
            Phase::Closed(closed) => closed.ended.as_ref().map(|ended| &ended.link),
            _ => self.link(),
        }
    }

    /// What there is of the sending half for [`Info`](super::Info), or was.
    pub(super) fn sender_end(&self) -> Option<SenderEnd> {
        match self {
            Phase::Closed(closed) => closed.ended.map(|ended| ended.sent),
            Phase::TimeWait(ended) => Some(ended.sent),
            Phase::FinWait2(i) => Some(i.sent),
            _ => self.sender().map(Sender::end),
        }
    }

    /// The same of the receiving half.
    pub(super) fn receiver_end(&self) -> Option<ReceiverEnd> {
        match self {
            Phase::Closed(closed) => closed.ended.map(|ended| ended.received),
            Phase::TimeWait(ended) => Some(ended.received),
            Phase::Outbound(_, o) => Some(o.received),
            _ => self.receiver().map(Receiver::end),
        }
    }

    fn ended(&self) -> Option<Ended> {
        match (self.last_link(), self.sender_end(), self.receiver_end()) {
            (Some(&link), Some(sent), Some(received)) => Some(Ended {
                link,
                sent,
                received,
            }),
            _ => None,
        }
    }

    #[inline]
    pub(super) fn sender(&self) -> Option<&Sender> {
        match self {
            Phase::Duplex(_, d) => Some(&d.snd),
            Phase::Outbound(_, o) => Some(&o.snd),
            Phase::Closed(_) | Phase::SynSent(_) | Phase::FinWait2(_) | Phase::TimeWait(_) => None,
        }
    }

    #[inline]
    pub(super) fn receiver(&self) -> Option<&Receiver> {
        match self {
            Phase::Duplex(_, d) => Some(&d.rcv),
            Phase::FinWait2(i) => Some(&i.rcv),
            Phase::Closed(_) | Phase::SynSent(_) | Phase::Outbound(..) | Phase::TimeWait(_) => None,
        }
    }

    /// Moves to the state that `input` leads to, and returns it; `None`, and nothing changes, where the
    /// table has no such transition. SYN-SENT is left through `open.rs` alone: what comes after it holds
    /// what the peer's SYN says.
    pub(super) fn advance(&mut self, input: Input) -> Option<State> {
        let next = self.state().next(input)?;
        match (next, &mut *self) {
            (State::Established, Phase::Duplex(at @ DuplexState::SynReceived, _)) => {
                *at = DuplexState::Established;
            }
            (State::FinWait1, Phase::Duplex(at @ DuplexState::Established, _)) => {
                *at = DuplexState::FinWait1;
            }
            (State::LastAck, Phase::Outbound(at @ OutboundState::CloseWait, _)) => {
                *at = OutboundState::LastAck;
            }
            (State::FinWait2, Phase::Duplex(DuplexState::FinWait1, d)) => {
                *self = Phase::FinWait2(d.without_sender());
            }
            (State::CloseWait, Phase::Duplex(DuplexState::Established, d)) => {
                *self = Phase::Outbound(OutboundState::CloseWait, d.without_receiver());
            }
            (State::Closing, Phase::Duplex(DuplexState::FinWait1, d)) => {
                *self = Phase::Outbound(OutboundState::Closing, d.without_receiver());
            }
            (State::TimeWait, Phase::FinWait2(i)) => {
                *self = Phase::TimeWait(i.without_receiver());
            }
            (State::TimeWait, Phase::Outbound(OutboundState::Closing, o)) => {
                *self = Phase::TimeWait(o.without_sender());
            }
            (State::Closed, _) => *self = Phase::Closed(self.numbers()),
            // Not in the table (a test walks it); stay.
            _ => {}
        }
        Some(next)
    }

    /// Behind the last byte that the user has written.
    #[inline]
    pub(super) fn write_seq(&self) -> SeqNum {
        match (self, self.sender(), self.link()) {
            (_, Some(snd), _) => snd.write_seq(),
            // Our FIN was the last.
            (_, None, Some(link)) => link.snd_nxt.sub(1),
            (Phase::SynSent(open), ..) => open.write_seq(),
            (Phase::Closed(closed), ..) => closed.write_seq,
            _ => SeqNum::new(0),
        }
    }

    fn numbers(&self) -> Closed {
        let zero = SeqNum::new(0);
        let (snd_una, snd_nxt, rcv_nxt) = match (self, self.link()) {
            (Phase::Closed(closed), _) => (closed.snd_una, closed.snd_nxt, closed.rcv_nxt),
            (Phase::SynSent(open), _) => (open.iss(), open.iss().add(1), zero),
            (_, Some(link)) => (link.snd_una, link.snd_nxt, link.rcv_nxt),
            (_, None) => (zero, zero, zero),
        };
        Closed {
            snd_una,
            snd_nxt,
            rcv_nxt,
            write_seq: self.write_seq(),
            reset_owed: false,
            ended: self.ended(),
        }
    }
}
