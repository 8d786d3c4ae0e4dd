// SPDX-License-Identifier: GPL-2.0

//! Loss recovery: fast retransmit and fast recovery by NewReno (RFC 5681 section 3.2, RFC 6582), limited transmit
//! (RFC 3042), and go-back-N after a timeout (RFC 6298 section 5, RFC 5681 section 3.1).
//!
//! What to send again is decided here; how large the window is, by [`crate::congestion`].

use crate::seq::SeqNum;

/// RFC 5681 section 3.2: the third duplicate acknowledgment tells of a loss.
pub(super) const DUPLICATES: u8 = 3;

/// What is known to be lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Recovery {
    /// Nothing.
    Open {
        /// Duplicate acknowledgments since the last new one.
        duplicates: u8,
        /// A recovery has just ended and nothing beyond it has been acknowledged: duplicates may be the echo
        /// of its retransmissions (RFC 6582 section 3.2, step 2: "if it covers more than recover").
        guarded: bool,
    },
    /// Fast recovery, until `recover` is acknowledged.
    Fast {
        /// SND.NXT when the loss was found.
        recover: SeqNum,
        /// What duplicate acknowledgments have added to the window: each tells of a segment that has left
        /// the network.
        inflation: u32,
        /// The segment at SND.UNA is to be sent again.
        resend: bool,
    },
    /// After a timeout, until `recover` is acknowledged: everything is sent again, in slow start.
    Loss {
        /// SND.NXT when the timer expired.
        recover: SeqNum,
        /// What is to be sent again next; SND.NXT or beyond when all has been.
        next: SeqNum,
    },
}

/// What a new acknowledgment means for recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Progress {
    /// No recovery: the congestion window grows by so many bytes.
    Grow(u32),
    /// Fast recovery goes on: the next hole is sent again.
    Partial,
    /// Fast recovery is over.
    Recovered,
}

/// What a duplicate acknowledgment means for recovery.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[must_use]
pub(super) enum Duplicate {
    /// Counted.
    Counted,
    /// The threshold is reached: a segment was lost.
    Lost,
}

impl Recovery {
    pub(super) const fn new() -> Self {
        Recovery::Open {
            duplicates: 0,
            guarded: false,
        }
    }

    /// The peer acknowledges new data, from `una` up to `ack`, of which what `size` says is one segment.
    pub(super) fn on_new_ack(&mut self, una: SeqNum, ack: SeqNum, size: u32) -> Progress {
        let acked = una.distance_to(ack);
        match *self {
            Recovery::Open { .. } => {
                *self = Recovery::new();
                Progress::Grow(acked)
            }
            Recovery::Fast { recover, .. } if ack.after_eq(recover) => {
                *self = Recovery::Open {
                    duplicates: 0,
                    guarded: ack == recover,
                };
                Progress::Recovered
            }
            Recovery::Fast {
                recover, inflation, ..
            } => {
                // RFC 6582 section 3.2 step 3, partial acknowledgment: "deflate the congestion window by the amount of
                // new data acknowledged [...] if at least one SMSS, add back SMSS bytes".
                let back = if acked >= size { size } else { 0 };
                *self = Recovery::Fast {
                    recover,
                    inflation: inflation.saturating_sub(acked).saturating_add(back),
                    resend: true,
                };
                Progress::Partial
            }
            Recovery::Loss { recover, next } => {
                // Only what was sent again has left the network now; what lies beyond has been there all along.
                let again = una.distance_to(SeqNum::min(SeqNum::max(next, una), ack));
                *self = if ack.after_eq(recover) {
                    Recovery::Open {
                        duplicates: 0,
                        guarded: ack == recover,
                    }
                } else {
                    Recovery::Loss {
                        recover,
                        next: SeqNum::max(next, ack),
                    }
                };
                Progress::Grow(again)
            }
        }
    }

    /// The peer acknowledges once more what it has acknowledged before.
    pub(super) fn on_duplicate(&mut self, snd_nxt: SeqNum, size: u32) -> Duplicate {
        match self {
            Recovery::Open {
                duplicates,
                guarded,
            } => {
                *duplicates = duplicates.saturating_add(1).min(DUPLICATES);
                if *duplicates < DUPLICATES || *guarded {
                    return Duplicate::Counted;
                }
                *self = Recovery::Fast {
                    recover: snd_nxt,
                    inflation: size.saturating_mul(u32::from(DUPLICATES)),
                    resend: true,
                };
                Duplicate::Lost
            }
            Recovery::Fast { inflation, .. } => {
                *inflation = inflation.saturating_add(size);
                Duplicate::Counted
            }
            Recovery::Loss { .. } => Duplicate::Counted,
        }
    }

    /// The retransmission timer expired.
    pub(super) fn on_timeout(&mut self, snd_una: SeqNum, snd_nxt: SeqNum) {
        *self = Recovery::Loss {
            recover: snd_nxt,
            next: snd_una,
        };
    }

    /// What is added to the congestion window.
    pub(super) fn allowance(&self, size: u32) -> u32 {
        match *self {
            // Limited transmit (RFC 3042): a new segment for each of the first two duplicates.
            Recovery::Open {
                duplicates,
                guarded: false,
            } => size.saturating_mul(u32::from(duplicates.min(2))),
            Recovery::Fast { inflation, .. } => inflation,
            Recovery::Open { .. } | Recovery::Loss { .. } => 0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn s(n: u32) -> SeqNum {
        SeqNum::new(n)
    }

    #[test]
    fn on_duplicate__the_third_is_a_loss() {
        let mut r = Recovery::new();
        assert_eq!(r.on_duplicate(s(9000), 1000), Duplicate::Counted);
        assert_eq!(r.allowance(1000), 1000);
        assert_eq!(r.on_duplicate(s(9000), 1000), Duplicate::Counted);
        assert_eq!(r.allowance(1000), 2000);
        assert_eq!(r.on_duplicate(s(9000), 1000), Duplicate::Lost);
        assert_eq!(r.allowance(1000), 3000);
        assert_eq!(r.on_duplicate(s(9000), 1000), Duplicate::Counted);
        assert_eq!(r.allowance(1000), 4000);
        // A partial acknowledgment, then the full one.
        assert_eq!(r.on_new_ack(s(0), s(2000), 1000), Progress::Partial);
        assert_eq!(r.allowance(1000), 3000);
        assert_eq!(r.on_new_ack(s(2000), s(9000), 1000), Progress::Recovered);
        // Echoes of the retransmissions start nothing.
        for _ in 0..10 {
            assert_eq!(r.on_duplicate(s(9000), 1000), Duplicate::Counted);
        }
        assert_eq!(r.allowance(1000), 0);
        assert_eq!(r.on_new_ack(s(9000), s(9001), 1000), Progress::Grow(1));
        assert_eq!(r, Recovery::new());
    }

    #[test]
    fn loss__counts_only_what_was_sent_again() {
        let mut r = Recovery::new();
        r.on_timeout(s(0), s(10_000));
        if let Recovery::Loss { next, .. } = &mut r {
            *next = s(1000);
        }
        // The peer had the rest of the first half.
        assert_eq!(r.on_new_ack(s(0), s(5000), 1000), Progress::Grow(1000));
        assert_eq!(
            r,
            Recovery::Loss {
                recover: s(10_000),
                next: s(5000)
            }
        );
        assert_eq!(r.on_duplicate(s(10_000), 1000), Duplicate::Counted);
        assert_eq!(r.on_new_ack(s(5000), s(10_000), 1000), Progress::Grow(0));
        assert!(matches!(r, Recovery::Open { guarded: true, .. }));
    }
}
