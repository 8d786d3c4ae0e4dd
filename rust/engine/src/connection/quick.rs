// SPDX-License-Identifier: GPL-2.0

//! TCP_QUICKACK: whether acknowledgments wait for an answer of the user's to travel with. A mode that ends by itself: who answers
//! what it receives becomes interactive again.

use super::link::{Link, Owed};
use super::phase::{Parts, Phase};
use super::receive::Receiver;
use super::timers::{TimerKind, Timers};
use super::{Connection, State, Status};
use crate::context::{Context, Traits};
use crate::time::Duration;

/// Linux's TCP_DELACK_MAX: how long the last acknowledgment of the handshake may wait for data.
const HANDSHAKE_DELAY: Duration = Duration::from_millis(200);

/// A value of TCP_QUICKACK.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum QuickAck {
    /// 0: acknowledgments wait for answers.
    Off,
    /// Odd: they go at once, for the time being.
    On,
    /// Even: one that waits goes, and the next ones wait.
    Once,
}

impl Connection {
    /// TCP_QUICKACK (Linux's __tcp_sock_set_quickack). Before the connection is established,
    /// [`Traits::INTERACTIVE`] is what counts.
    pub fn set_quick_ack(&mut self, _cx: &Context<'_>, mode: QuickAck) {
        self.status.clear(Status::IDLE);
        self.options
            .traits
            .set(Traits::INTERACTIVE, mode == QuickAck::Off);
        let waits = self.timers.holds_acknowledgment();
        let state = self.phase.state();
        let Some(Parts { link, rcv, .. }) = self.phase.parts() else {
            return;
        };
        let may_release = matches!(state, State::Established | State::CloseWait);
        let release = mode != QuickAck::Off && waits && may_release;
        match rcv {
            Some(rcv) => {
                rcv.set_interactive(mode == QuickAck::Off);
                if release {
                    rcv.release_ack(link);
                    rcv.set_interactive(mode == QuickAck::Once);
                }
            }
            // The peer's FIN is not acknowledged yet.
            None if release => link.owed.insert(Owed::ACK),
            None => {}
        }
    }

    /// TCP_QUICKACK, as it is now.
    pub fn quick_ack(&self) -> bool {
        match (self.phase.receiver(), &self.phase) {
            (Some(rcv), _) => !rcv.is_interactive(),
            (None, Phase::SynSent(_)) => !self.options.traits.has(Traits::INTERACTIVE),
            (None, _) => true,
        }
    }
}

/// The last acknowledgment of the handshake, of a user that answers: "Save one ACK. Data will be ready after several ticks"
/// (Linux's tcp_rcv_synsent_state_process).
///
/// Deviation: RFC 9293 section 3.10.7.3 forms the ACK and sends it. The user has said by TCP_QUICKACK that data will follow, which
/// carries it.
pub(super) fn hold_handshake(
    cx: &Context<'_>,
    link: &mut Link,
    rcv: &mut Receiver,
    timers: &mut Timers,
) {
    rcv.hurry(super::receive::QUICK_ACKS);
    link.owed.insert(Owed::ACK_LATER);
    timers.set(TimerKind::DelayedAck, cx.now + HANDSHAKE_DELAY);
}
