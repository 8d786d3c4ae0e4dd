// SPDX-License-Identifier: GPL-2.0
//! Round-trip time and the retransmission timeout (RFC 6298).

use crate::time::Duration;

/// RFC 6298 rule 2.1: one second until a round trip is measured.
pub const INITIAL_RTO: Duration = Duration::from_secs(1);
/// RFC 6298 rule 5.7: three seconds when the SYN had to be sent again and no round trip is known.
pub const FALLBACK_RTO: Duration = Duration::from_secs(3);

/// The bounds of the timeout, from the namespace's settings.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct RtoLimits {
    /// The least that the variance adds to SRTT. As in Linux it bounds this term and not the sum.
    pub min: Duration,
    /// The longest timeout, back-off included.
    pub max: Duration,
}

/// SRTT, RTTVAR and the back-off of one connection.
///
/// Karn's rule (RFC 6298 section 3) is the caller's: a sample comes from a segment that was sent once, or from
/// a timestamp echo ([`timestamp_rtt`]).
///
/// Packed, so that the two bytes behind it are of use to whoever holds one: a connection is counted in bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
#[repr(Rust, packed(2))]
pub struct RttEstimator {
    /// Eight times SRTT in microseconds; 0 before the first sample.
    srtt_x8: u32,
    /// Four times RTTVAR in microseconds.
    rttvar_x4: u32,
    /// The smallest sample in microseconds.
    min: u32,
    /// How often the timeout has been doubled.
    backoff: u8,
    /// Whether the SYN's timeout calls for [`FALLBACK_RTO`].
    fallback: bool,
}

impl RttEstimator {
    /// A sample beyond this (five minutes) tells of a stopped machine, not of a path.
    const MAX_SAMPLE: u64 = 300_000_000;

    /// No sample yet.
    pub const fn new() -> Self {
        RttEstimator {
            srtt_x8: 0,
            rttvar_x4: 0,
            min: 0,
            backoff: 0,
            fallback: false,
        }
    }

    /// Takes in one round trip (RFC 6298 rules 2.2 and 2.3) and ends the back-off.
    ///
    /// Deviation: RFC 7323 section 4.2 has a sample count for less where one round trip brings many, so that the memory is as long as
    /// RFC 6298 meant it to be. Here each has the full weight: what that costs in variance is little beside its least share of 200 ms,
    /// and the timeout follows sooner when a path becomes longer.
    ///
    /// Deviation: RFC 6298 rule 2.3 makes no difference between shorter and longer. As in Linux (and Eifel, Ludwig and Sklower 2000) a round
    /// trip that is shorter than expected lets RTTVAR grow by an eighth of what it would: a path that became faster needs no longer timeout.
    pub fn sample(&mut self, rtt: Duration) {
        // 1 us to 300 s: eight times this fits in 32 bits.
        let rtt = rtt.as_micros().clamp(1, RttEstimator::MAX_SAMPLE) as u32;
        if self.srtt_x8 == 0 {
            // SRTT <- R, RTTVAR <- R/2.
            self.srtt_x8 = rtt.saturating_mul(8);
            self.rttvar_x4 = rtt.saturating_mul(2);
            self.min = rtt;
        } else {
            let srtt = self.srtt_x8 >> 3;
            // RTTVAR <- 3/4 RTTVAR + 1/4 |SRTT - R'|
            let (old, error) = (self.rttvar_x4 >> 2, srtt.abs_diff(rtt));
            self.rttvar_x4 = match error.checked_sub(old) {
                // Of a round trip that is shorter than expected, an eighth.
                Some(more) if rtt < srtt => self.rttvar_x4.saturating_add(more >> 3),
                _ => self.rttvar_x4.saturating_sub(old).saturating_add(error),
            };
            // SRTT <- 7/8 SRTT + 1/8 R'
            self.srtt_x8 = self.srtt_x8.saturating_sub(srtt).saturating_add(rtt).max(1);
            self.min = self.min.min(rtt);
        }
        self.backoff = 0;
    }

    /// A round trip that is too special for SRTT, but no shorter one is possible.
    pub fn note_min(&mut self, rtt: Duration) {
        if self.srtt_x8 != 0 {
            let rtt = rtt.as_micros().clamp(1, RttEstimator::MAX_SAMPLE) as u32;
            self.min = self.min.min(rtt);
        }
    }

    /// SRTT, once there is one.
    pub const fn srtt(&self) -> Option<Duration> {
        if self.srtt_x8 == 0 {
            None
        } else {
            Some(Duration::from_micros((self.srtt_x8 >> 3) as u64))
        }
    }

    /// RTTVAR; zero before the first sample.
    pub const fn rttvar(&self) -> Duration {
        Duration::from_micros((self.rttvar_x4 >> 2) as u64)
    }

    /// The smallest sample so far.
    pub const fn min_rtt(&self) -> Option<Duration> {
        if self.srtt_x8 == 0 {
            None
        } else {
            Some(Duration::from_micros(self.min as u64))
        }
    }

    /// The timeout without back-off.
    ///
    /// Deviation: RFC 6298 rule 2.4 rounds the timeout up to a second. As in Linux the variance's share of it is 200 ms at least
    /// ([`RtoLimits::min`]): a short path does not stand still for a second after a loss, and a receiver that holds its
    /// acknowledgments back for 200 ms at most is not taken for one.
    pub fn base_rto(&self, limits: RtoLimits) -> Duration {
        let base = match self.srtt() {
            // RTO <- SRTT + max(G, K * RTTVAR), K = 4.
            Some(srtt) => srtt + Duration::from_micros(u64::from(self.rttvar_x4)).max(limits.min),
            None if self.fallback => FALLBACK_RTO,
            None => INITIAL_RTO,
        };
        base.min(limits.max)
    }

    /// The timeout now (RFC 6298 section 2, and 5.5 for the back-off).
    pub fn rto(&self, limits: RtoLimits) -> Duration {
        self.base_rto(limits)
            .backed_off(self.backoff)
            .min(limits.max)
    }

    /// The timer expired: doubles the timeout (RFC 6298 rule 5.5).
    pub fn back_off(&mut self) {
        // 30 doublings of a microsecond are longer than any bound; more would only be lost in the clamp.
        self.backoff = self.backoff.saturating_add(1).min(30);
    }

    /// New data was acknowledged: the path works, the doubling ends.
    pub fn reset_backoff(&mut self) {
        self.backoff = 0;
    }

    /// How often the timeout has been doubled.
    pub const fn backoff(&self) -> u8 {
        self.backoff
    }

    /// The handshake is over after its SYN was sent again: RFC 6298 rule 5.7. Without effect once a round
    /// trip is known.
    pub fn use_fallback(&mut self) {
        self.fallback = true;
        self.backoff = 0;
    }
}

/// The round trip that a timestamp echo tells (RFC 7323 section 4.1): `now` and `echo` are our clock's
/// milliseconds. None when the echo is from the future or absurdly old, so not one of ours.
pub fn timestamp_rtt(now: u32, echo: u32) -> Option<Duration> {
    let millis = now.wrapping_sub(echo);
    if u64::from(millis) > RttEstimator::MAX_SAMPLE / 1_000 {
        return None;
    }
    // Less than a tick is not zero.
    Some(Duration::from_millis(u64::from(millis.max(1))))
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: RtoLimits = RtoLimits {
        min: Duration::from_millis(200),
        max: Duration::from_secs(120),
    };

    fn ms(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    /// RFC 6298 section 2; RFC 6298 rules 2.1, 5.5 and 5.7.
    #[test]
    fn rto__one_second_before_the_first_sample_three_after_a_lost_syn() {
        let mut rtt = RttEstimator::new();
        assert_eq!(rtt.rto(LIMITS), Duration::from_secs(1));
        for seconds in [2, 4, 8, 16, 32, 64, 120, 120] {
            rtt.back_off();
            assert_eq!(rtt.rto(LIMITS), Duration::from_secs(seconds));
        }
        rtt.use_fallback();
        assert_eq!(rtt.rto(LIMITS), Duration::from_secs(3));
        rtt.sample(ms(100));
        assert_eq!(rtt.rto(LIMITS), ms(300));
    }

    /// RFC 6298 rules 2.2 and 2.3; each sample has the full weight (RFC 7323 section 4.2).
    #[test]
    fn sample__follows_rfc_6298() {
        let mut rtt = RttEstimator::new();
        rtt.sample(ms(400));
        assert_eq!((rtt.srtt(), rtt.rttvar()), (Some(ms(400)), ms(200)));
        assert_eq!(rtt.rto(LIMITS), ms(1200));
        rtt.sample(ms(800));
        // RTTVAR = 3/4 * 200 + 1/4 * 400, SRTT = 7/8 * 400 + 1/8 * 800.
        assert_eq!((rtt.srtt(), rtt.rttvar()), (Some(ms(450)), ms(250)));
        assert_eq!(rtt.rto(LIMITS), ms(1450));
        assert_eq!(rtt.min_rtt(), Some(ms(400)));
    }

    /// RFC 6298 rule 2.3, but for what Linux makes of it.
    #[test]
    fn sample__a_shorter_round_trip_hardly_lets_the_variance_grow() {
        let mut rtt = RttEstimator::new();
        for _ in 0..100 {
            rtt.sample(ms(400));
        }
        let before = rtt.rttvar();
        rtt.sample(ms(240));
        // An eighth of what 560 ms would add.
        let mut longer = rtt;
        assert_eq!(rtt.rttvar() - before, ms(5));
        longer.sample(ms(380 + 160));
        assert!(longer.rttvar() > before + ms(40));
        // It comes down as ever.
        rtt.sample(ms(380));
        assert!(rtt.rttvar() < before + ms(5));
    }

    /// RFC 6298 rule 2.4 would have a second.
    #[test]
    fn sample__a_steady_path_comes_down_to_srtt_and_the_minimum() {
        let mut rtt = RttEstimator::new();
        for _ in 0..200 {
            rtt.sample(ms(50));
        }
        assert_eq!(rtt.rto(LIMITS), ms(250));
    }

    #[test]
    fn sample__extremes_do_not_overflow() {
        let mut rtt = RttEstimator::new();
        for _ in 0..100 {
            rtt.sample(Duration::MAX);
            assert!(rtt.rto(LIMITS) <= LIMITS.max);
        }
        for _ in 0..100 {
            rtt.sample(Duration::ZERO);
            assert!(rtt.srtt().is_some());
        }
        for _ in 0..300 {
            rtt.back_off();
        }
        assert_eq!(rtt.rto(LIMITS), LIMITS.max);
    }

    /// RFC 7323 section 4.1.
    #[test]
    fn timestamp_rtt__forgets_what_is_not_ours() {
        assert_eq!(timestamp_rtt(100, 60), Some(ms(40)));
        assert_eq!(timestamp_rtt(100, 100), Some(ms(1)));
        assert_eq!(timestamp_rtt(5, u32::MAX - 4), Some(ms(10)));
        assert_eq!(timestamp_rtt(100, 101), None);
        assert_eq!(timestamp_rtt(0x4000_0000, 0), None);
    }
}
