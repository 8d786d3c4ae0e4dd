// SPDX-License-Identifier: GPL-2.0

//! Explicit congestion notification (RFC 3168), as Linux has it (`tcp_ecn.h`): routers mark segments in place of dropping them,
//! the receiver tells, the sender goes slower and confirms.
//!
//! | flags | in a SYN | in a SYN-ACK | afterwards |
//! |---|---|---|---|
//! | ECE | with CWR: "I can" | alone: "so can I" | "a segment of yours was marked", until CWR comes |
//! | CWR | see ECE | never | "I have reduced the window", with the next new data |
//!
//! Only data that is sent for the first time may be marked (RFC 3168 sections 5.2, 6.1.4 to 6.1.6). RFC 8311 lets experiments
//! go further; of its relaxations Linux, and so this, has one: a SYN that asks for an extension with reserved bits may be ECT.
//! Accurate ECN (RFC 9768) is not here.

use super::ack::Delivery;
use super::link::{Link, Owed};
use super::phase::Phase;
use super::recovery::Mode;
use super::send::Sender;
use super::Connection;
use crate::congestion::Cause;
use crate::context::{Config, Context};
use crate::flight::Flight;
use crate::segment::Segment;
use crate::transmit::Transmit;
use crate::wire::{Ecn, Flags, Header};

/// ECE and CWR.
const BOTH: Flags = Flags::ECE.union(Flags::CWR);

/// Whether our SYN of an active open asks for ECN.
pub(super) const fn is_offered(config: &Config) -> bool {
    config.ecn == 1
}

/// Whether a listener's SYN-ACK says yes to `syn` (Linux's `tcp_ecn_create_request`).
pub(crate) fn is_accepted(config: &Config, syn: &Segment) -> bool {
    // RFC 3168 section 6.1.1: "A host MUST NOT set ECT on SYN": the network plays with these bits, and marks would mean
    // nothing. RFC 8311 section 4.3: unless an extension has changed that.
    let clean = syn.ecn == Ecn::NotEct || syn.header.reserved;
    config.ecn != 0 && asks(&syn.header) && clean
}

/// The flags by which a SYN asks for ECN.
pub(super) const fn setup(flags: Flags, asks: bool) -> Flags {
    match asks {
        true => flags.union(BOTH),
        false => flags,
    }
}

/// The flags of a SYN-ACK; `agreed` says that both can do it.
pub(crate) const fn answer(flags: Flags, agreed: bool) -> Flags {
    match agreed {
        true => flags.union(Flags::ECE),
        false => flags,
    }
}

/// The flags of a SYN that asked for ECN, or did not, as if it had not.
pub(crate) const fn without_setup(flags: Flags) -> Flags {
    flags.without(BOTH)
}

/// Whether a SYN asks for ECN ("ECN-setup SYN packet", RFC 3168 section 6.1.1).
pub(super) const fn asks(syn: &Header) -> bool {
    syn.flags.contains(BOTH)
}

/// Whether a SYN-ACK says yes ("ECN-setup SYN-ACK packet"). One that has both flags comes from a host that gives back what it
/// was given.
pub(super) const fn answers(syn_ack: &Header) -> bool {
    syn_ack.flags.contains(Flags::ECE) && !syn_ack.flags.contains(Flags::CWR)
}

/// A segment that repeats a SYN, without it: its flags spoke of the SYN and tell of no mark.
pub(super) fn strip_setup(flags: &mut Flags) {
    flags.remove(BOTH);
}

/// What a connection remembers of ECN beside what its sender owes, in one byte (Linux's `ecn_flags`).
#[derive(Clone, Copy, Debug)]
pub(super) struct EcnState(u8);

impl EcnState {
    /// Both sides can do it.
    const AGREED: u8 = 1;
    /// Data with ECT or CE has come.
    const SEEN: u8 = 2;
    /// A mark has come and the peer has not yet confirmed: ECE goes with everything (TCP_ECN_DEMAND_CWR).
    const ECHO: u8 = 4;
    /// SACK was negotiated. It is no matter of ECN's, but has room here.
    const SACK: u8 = 8;

    pub(super) const fn new(agreed: bool, sack: bool) -> Self {
        let agreed = if agreed { EcnState::AGREED } else { 0 };
        let sack = if sack { EcnState::SACK } else { 0 };
        EcnState(agreed | sack)
    }

    pub(super) const fn has_sack(self) -> bool {
        self.0 & EcnState::SACK != 0
    }

    pub(super) const fn agreed(self) -> bool {
        self.0 & EcnState::AGREED != 0
    }

    pub(super) const fn has_seen(self) -> bool {
        self.0 & EcnState::SEEN != 0
    }

    /// ECE, if the next segment is to have it (RFC 3168 section 6.1.3).
    pub(super) const fn echo(self) -> Flags {
        match self.0 & EcnState::ECHO {
            0 => Flags::NONE,
            _ => Flags::ECE,
        }
    }

    /// Whether the peer says that a segment of ours was marked.
    pub(super) fn hears(self, segment: &Segment) -> bool {
        self.agreed() && segment.has(Flags::ECE) && !segment.has(Flags::SYN)
    }

    /// Data has come that lies in the window (Linux's `tcp_data_ecn_check`). Says whether the peer waits for acknowledgments:
    /// its window has become small, or it sends again, as retransmissions are not ECT.
    pub(super) fn on_data(&mut self, ecn: Ecn) -> bool {
        if !self.agreed() {
            return false;
        }
        let before = self.0;
        match ecn {
            Ecn::NotEct => return self.has_seen(),
            Ecn::Ect0 | Ecn::Ect1 => self.0 |= EcnState::SEEN,
            Ecn::Ce => self.0 |= EcnState::SEEN | EcnState::ECHO,
        }
        (before ^ self.0) & EcnState::ECHO != 0
    }
}

impl Link {
    /// The peer has reduced its window: what was echoed is known (RFC 3168 section 6.1.3, Linux's `tcp_ecn_accept_cwr`). As
    /// Linux, from any acceptable segment: there are senders that do not wait for new data.
    pub(super) fn accept_cwr(&mut self, segment: &Segment) {
        if !self.ecn.agreed() || !segment.has(Flags::CWR) {
            return;
        }
        self.ecn.0 &= !EcnState::ECHO;
        // Its window may be a single segment.
        if segment.seq_len() != 0 {
            self.owed.insert(Owed::ACK);
        }
    }
}

impl Sender {
    /// New data, ready to go: it may be marked, and the first after a reduction says so (RFC 3168 section 6.1.2).
    pub(super) fn mark_new(&mut self, link: &Link, segment: &mut Transmit) {
        if !link.ecn.agreed() {
            return;
        }
        segment.ecn = Ecn::Ect0;
        if core::mem::take(&mut self.reduction_untold) {
            segment.header.flags.insert(Flags::CWR);
        }
    }

    /// Segments of ours were marked, as an acknowledgment says, and nothing is known to be lost: the window comes down, once for
    /// what is in flight (RFC 3168 section 6.1.2, Linux's `tcp_enter_cwr`).
    ///
    /// Deviation: RFC 3168 section 6.1.2 goes down to one segment, and then waits a retransmission timeout before the next. As in Linux
    /// marks bring the window down to two (ssthresh's least): a router that marks even those drops in the end, and the timeout comes.
    pub(super) fn on_echo(
        &mut self,
        cx: &Context<'_>,
        link: &Link,
        flight: &mut Flight,
        told: &Delivery,
    ) {
        if self.mode >= Mode::Cwr || self.reduced.after(told.before) {
            return;
        }
        // Nothing will show that this was needless.
        flight.recovery.undo = None;
        let in_flight = told.before.distance_to(link.snd_nxt);
        self.begin_reduction(cx, link, flight, Some(in_flight), Cause::Ecn);
        self.mode = Mode::Cwr;
    }

    /// All is acknowledged while the window comes down, and nothing waits: there is nothing left to go by. As Linux, which keeps its
    /// CWR state, the window counts as reduced until something is acknowledged that tells of it.
    pub(super) fn rest_reduced(&mut self, link: &Link) {
        self.window.cwnd = self.window.ssthresh;
        self.reduced = link.snd_nxt.add(1);
        self.mode = Mode::Open;
    }
}

impl Connection {
    /// Whether ECN was agreed on, or is asked for (TCPI_OPT_ECN).
    pub fn uses_ecn(&self) -> bool {
        match &self.phase {
            Phase::SynSent(open) => open.offers_ecn(),
            phase => phase.link().is_some_and(|link| link.ecn.agreed()),
        }
    }

    /// Whether data has come that could have been marked, or was (TCPI_OPT_ECN_SEEN).
    pub fn has_seen_ecn(&self) -> bool {
        self.phase.link().is_some_and(|link| link.ecn.has_seen())
    }
}
