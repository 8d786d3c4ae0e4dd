// SPDX-License-Identifier: GPL-2.0

//! Proportional rate reduction (RFC 9937): while a loss is repaired, cwnd comes down to ssthresh in the course of one
//! round trip, clocked by what arrives.

/// The variables of one recovery, in octets.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Prr {
    /// prr_delivered: what has arrived since the recovery began.
    delivered: u32,
    /// prr_out: what has been sent since then.
    out: u32,
    /// RecoverFS.
    ///
    /// Deviation: RFC 9937 section 6 counts what is in flight when the recovery begins, less what the peer has reported before. As in
    /// Linux it is cwnd: what limited transmit has added does not slow the first segments down.
    flight: u32,
}

impl Prr {
    /// Before any recovery.
    pub(crate) const NONE: Prr = Prr {
        delivered: 0,
        out: 0,
        flight: 0,
    };

    /// A recovery begins with a window of `cwnd`.
    pub(super) fn begin(cwnd: u32) -> Self {
        Prr {
            flight: cwnd.max(1),
            ..Prr::NONE
        }
    }

    /// `len` octets were sent.
    pub(super) fn on_sent(&mut self, len: u32) {
        self.out = self.out.saturating_add(len);
    }

    /// The last `len` octets did not leave the host.
    pub(super) fn take_back(&mut self, len: u32) {
        self.out = self.out.saturating_sub(len);
    }

    /// An acknowledgment says that `delivered` octets have arrived, and leaves `pipe` in the network. `safe` says that it
    /// acknowledges new data and reveals no further loss. Returns the window (RFC 9937 section 6, and its SafeACK).
    pub(super) fn on_ack(
        &mut self,
        pipe: u32,
        ssthresh: u32,
        delivered: u32,
        size: u32,
        safe: bool,
    ) -> u32 {
        self.delivered = self.delivered.saturating_add(delivered);
        let mut quota = if pipe > ssthresh {
            // Counted in whole segments, as all that is sent.
            let share = u64::from(self.delivered)
                .saturating_mul(u64::from(ssthresh))
                .div_ceil(u64::from(self.flight.max(1)));
            let share = share.min(u64::from(u32::MAX)) as u32;
            share
                .div_ceil(size.max(1))
                .saturating_mul(size)
                .saturating_sub(self.out)
        } else {
            // PRR-SSRB for a safe acknowledgment, PRR-CRB otherwise.
            let more = if safe { size } else { 0 };
            self.delivered
                .saturating_sub(self.out)
                .max(delivered)
                .saturating_add(more)
                .min(ssthresh.saturating_sub(pipe))
        };
        if self.out == 0 {
            // "Force a fast retransmit upon entering recovery."
            quota = quota.max(size);
        }
        pipe.saturating_add(quota)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MSS: u32 = 1000;

    /// Twenty in flight, one lost, ssthresh ten: one is sent for every two that arrive, and the window ends at ssthresh.
    #[test]
    fn on_ack__halves_in_one_round_trip() {
        let mut prr = Prr::begin(20 * MSS);
        let mut pipe = 16 * MSS;
        let mut sent = 0;
        for _ in 0..16 {
            pipe -= MSS;
            let cwnd = prr.on_ack(pipe, 10 * MSS, MSS, MSS, false);
            while pipe + MSS <= cwnd {
                pipe += MSS;
                prr.on_sent(MSS);
                sent += 1;
            }
        }
        assert_eq!(pipe, 10 * MSS);
        assert_eq!(sent, 10);
    }

    /// Many were lost: what has left the network may be replaced; a safe acknowledgment adds one segment, up to ssthresh.
    #[test]
    fn on_ack__below_ssthresh() {
        let mut prr = Prr::begin(20 * MSS);
        assert_eq!(prr.on_ack(3 * MSS, 10 * MSS, MSS, MSS, false), 4 * MSS);
        prr.on_sent(MSS);
        assert_eq!(prr.on_ack(3 * MSS, 10 * MSS, MSS, MSS, true), 5 * MSS);
        prr.on_sent(2 * MSS);
        assert_eq!(prr.on_ack(9 * MSS, 10 * MSS, 5 * MSS, MSS, true), 10 * MSS);
    }

    /// The first retransmission goes whatever the numbers say.
    #[test]
    fn on_ack__the_first_always_goes() {
        let mut prr = Prr::begin(20 * MSS);
        assert_eq!(prr.on_ack(10 * MSS, 10 * MSS, 0, MSS, false), 11 * MSS);
        let mut prr = Prr::begin(u32::MAX);
        prr.on_sent(u32::MAX);
        assert_eq!(prr.on_ack(u32::MAX, 1, u32::MAX, 1, true), u32::MAX);
    }
}
