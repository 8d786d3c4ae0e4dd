// SPDX-License-Identifier: GPL-2.0
//! The congestion controllers beside models in real numbers, and what must hold whatever happens.
// Tests are named function__case, and may panic.
#![allow(
    non_snake_case,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use oxtcp_engine::congestion::{
    Ack, Algorithm, Cause, Congestion, CongestionControl, Controller, Window,
};
use oxtcp_engine::{Duration, Instant, SeqNum};
use proptest::prelude::*;

fn ack(now: Instant, bytes: u32, mss: u16, rtt: Duration) -> Ack {
    Ack {
        now,
        una: SeqNum::new(0),
        nxt: SeqNum::new(0),
        acked: bytes,
        delivered: bytes,
        lost: 0,
        in_flight: bytes,
        mss,
        rtt: Some(rtt),
        srtt: Some(rtt),
        min_rtt: Some(rtt),
        paced: false,
        cwnd_limited: true,
        in_recovery: false,
        ece: false,
        rate: None,
    }
}

fn loss(now: Instant, window: &Window, mss: u16) -> Congestion {
    Congestion {
        now,
        in_flight: window.cwnd,
        mss,
        cause: Cause::Loss,
    }
}

/// RFC 9438 in real numbers, windows in segments: the window a time after a loss at `w_max`.
struct Model {
    w_max: f64,
    k: f64,
    cwnd: f64,
    estimate: f64,
    prior: f64,
}

impl Model {
    fn after_loss(w_max: f64, cwnd: f64, prior: f64) -> Self {
        Model {
            w_max,
            k: ((w_max - cwnd) / 0.4).cbrt(),
            cwnd,
            estimate: cwnd,
            prior,
        }
    }

    /// `acked` segments are acknowledged `t` seconds after the beginning, a round trip being `rtt`.
    fn on_ack(&mut self, t: f64, rtt: f64, acked: f64) {
        let alpha = if self.estimate < self.prior {
            9.0 / 17.0
        } else {
            1.0
        };
        self.estimate += alpha * acked / self.cwnd;
        let curve = 0.4 * (t + rtt - self.k).powi(3) + self.w_max;
        let target = curve.max(self.estimate).clamp(self.cwnd, 1.5 * self.cwnd);
        self.cwnd += acked * (target - self.cwnd) / self.cwnd;
    }
}

/// One flow with a round trip of `rtt_ms` and `mss`, from a loss at `segments` on for `seconds`; the window against the
/// model's after each round.
fn follow(segments: u32, rtt_ms: u64, mss: u16, seconds: u64, tolerance: f64) {
    let rtt = Duration::from_millis(rtt_ms);
    let mut control = Controller::new(Algorithm::Cubic);
    let mut window = Window {
        cwnd: segments * u32::from(mss),
        ssthresh: u32::MAX,
    };
    let start = Instant::from_secs(1 << 22);
    let congestion = loss(start, &window, mss);
    control.on_congestion(&mut window, &congestion);
    window.cwnd = window.ssthresh;
    let size = f64::from(mss);
    let mut model = Model::after_loss(
        f64::from(segments),
        f64::from(window.cwnd) / size,
        f64::from(segments),
    );
    let mut now = start;
    while now.since(start) < Duration::from_secs(seconds) {
        let round = window.cwnd / u32::from(mss);
        for i in 0..round {
            // Spread over the round trip.
            let at = now + Duration::from_micros(rtt.as_micros() * u64::from(i) / u64::from(round));
            let t = at.since(start).as_micros() as f64 / 1e6;
            control.on_ack(&mut window, &ack(at, u32::from(mss), mss, rtt));
            model.on_ack(t, rtt_ms as f64 / 1e3, 1.0);
        }
        now += rtt;
        let have = f64::from(window.cwnd) / size;
        let off = (have - model.cwnd).abs();
        assert!(
            off <= model.cwnd * tolerance + 1.5,
            "{segments} segments, {rtt_ms} ms, {} s: {have} and not {}",
            now.since(start).as_secs(),
            model.cwnd
        );
    }
}

/// RFC 9438 section 4.2, RFC 9438 section 5 for the constants, on both sides of the plateau (RFC 9438 sections 4.4 and 4.5).
#[test]
fn cubic__follows_its_curve() {
    for (segments, rtt, seconds) in [
        (10, 100, 60),
        (50, 50, 40),
        (100, 100, 60),
        (1_000, 100, 60),
        (1_000, 20, 30),
        (10_000, 50, 30),
        (100, 300, 100),
    ] {
        follow(segments, rtt, 1448, seconds, 0.02);
    }
    follow(100, 100, 536, 60, 0.02);
    follow(100, 100, 8948, 60, 0.02);
}

/// Short round trips and small windows: the Reno-friendly region (RFC 9438 section 4.3).
#[test]
fn cubic__is_no_slower_than_reno_would_be() {
    for (segments, rtt) in [(4, 1), (10, 1), (20, 10), (10, 20)] {
        follow(segments, rtt, 1448, 3, 0.03);
    }
}

/// The beginning of a connection, and what a controller does with it.
#[derive(Clone, Debug)]
enum Step {
    Ack {
        wait: u64,
        bytes: u32,
        rtt: Option<u64>,
        limited: bool,
        recovery: bool,
    },
    Congestion {
        ecn: bool,
    },
    Timeout {
        first: bool,
    },
    Undo,
    Idle {
        wait: u64,
    },
    /// The path's MSS changes, the caller sets the windows.
    Mss(u16),
    Window(Window),
}

fn any_window() -> impl Strategy<Value = Window> {
    let bytes = prop_oneof![1..200_000u32, Just(1 << 30), Just(u32::MAX), any::<u32>()];
    (bytes.clone(), bytes).prop_map(|(cwnd, ssthresh)| Window {
        cwnd: cwnd.max(1),
        ssthresh,
    })
}

fn any_time() -> impl Strategy<Value = u64> {
    prop_oneof![0..2_000u64, 0..2_000_000u64, 0..1u64 << 42, Just(u64::MAX)]
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (
            any_time(),
            prop_oneof![0..100_000u32, any::<u32>()],
            proptest::option::of(any_time()),
            proptest::bool::weighted(0.8),
            proptest::bool::weighted(0.1),
        )
            .prop_map(|(wait, bytes, rtt, limited, recovery)| Step::Ack {
                wait,
                bytes,
                rtt,
                limited,
                recovery
            }),
        2 => any::<bool>().prop_map(|ecn| Step::Congestion { ecn }),
        1 => any::<bool>().prop_map(|first| Step::Timeout { first }),
        1 => Just(Step::Undo),
        1 => any_time().prop_map(|wait| Step::Idle { wait }),
        1 => prop_oneof![8..2_000u16, any::<u16>()].prop_map(Step::Mss),
        1 => any_window().prop_map(Step::Window),
    ]
}

fn run(algorithm: Algorithm, steps: &[Step]) {
    let mut control = Controller::new(algorithm);
    let mut mss = 1448u16;
    let mut window = Window::initial(mss, 10);
    let mut before = (window, control);
    let mut now = Instant::default();
    let mut una = SeqNum::new(u32::MAX - 10_000);
    let mut srtt = None;
    let mut min_rtt: Option<Duration> = None;
    for step in steps {
        let was = window;
        match *step {
            Step::Ack {
                wait,
                bytes,
                rtt,
                limited,
                recovery,
            } => {
                now += Duration::from_micros(wait);
                una = una.add(bytes);
                let rtt = rtt.map(Duration::from_micros);
                srtt = rtt.or(srtt);
                min_rtt = match (rtt, min_rtt) {
                    (Some(rtt), Some(min)) => Some(rtt.min(min)),
                    (rtt, min) => rtt.or(min),
                };
                let told = Ack {
                    una,
                    nxt: una.add(was.cwnd),
                    rtt,
                    srtt,
                    min_rtt,
                    cwnd_limited: limited,
                    in_recovery: recovery,
                    ..ack(now, bytes, mss, Duration::ZERO)
                };
                control.on_ack(&mut window, &told);
                // Monotone between losses, and only where it is used.
                assert!(window.cwnd >= was.cwnd, "{was:?} {window:?}");
                if !limited || recovery {
                    assert_eq!(window.cwnd, was.cwnd);
                }
                // Never by more than was acknowledged, but for a segment saved up.
                let most = was
                    .cwnd
                    .saturating_add(bytes)
                    .saturating_add(u32::from(mss.max(1)));
                assert!(window.cwnd <= most, "{was:?} {window:?} by {bytes}");
                // Nor beyond the largest window.
                assert!(window.cwnd <= was.cwnd.max(1 << 30));
                // ssthresh only falls, and never below the window (HyStart).
                assert!(window.ssthresh == was.ssthresh || window.ssthresh >= was.cwnd);
            }
            Step::Congestion { ecn } => {
                before = (window, control);
                let cause = if ecn { Cause::Ecn } else { Cause::Loss };
                let congestion = Congestion {
                    cause,
                    ..loss(now, &was, mss)
                };
                control.on_congestion(&mut window, &congestion);
                assert_eq!(window.cwnd, was.cwnd);
                let floor = u32::from(mss.max(1)) * 2;
                assert!(window.ssthresh >= floor.min(was.cwnd));
                assert!(window.ssthresh <= was.cwnd.max(floor));
                window.cwnd = window.cwnd.min(window.ssthresh);
            }
            Step::Timeout { first } => {
                before = (window, control);
                control.on_timeout(&mut window, &loss(now, &was, mss), first);
                assert_eq!(window.cwnd, u32::from(mss).max(1));
                assert!(first || window.ssthresh == was.ssthresh);
            }
            Step::Undo => {
                control.on_undo(&mut window, &before.0, &before.1);
                assert!(window.cwnd >= was.cwnd && window.ssthresh >= was.ssthresh);
            }
            Step::Idle { wait } => {
                now += Duration::from_micros(wait);
                control.on_idle(now, Duration::from_micros(wait));
                assert_eq!(window, was);
            }
            Step::Mss(new) => mss = new,
            Step::Window(new) => window = new,
        }
        assert!(window.cwnd > 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn whatever_happens(steps in proptest::collection::vec(any_step(), 1..80)) {
        for algorithm in Algorithm::ALL {
            run(algorithm, &steps);
        }
    }
}

#[test]
fn algorithm__names_are_linux_s() {
    for algorithm in Algorithm::ALL {
        assert_eq!(
            Algorithm::from_name(algorithm.name().as_bytes()),
            Some(algorithm)
        );
        assert_eq!(Controller::new(algorithm).algorithm(), algorithm);
    }
    assert_eq!(Algorithm::from_name(b"cubic"), Some(Algorithm::Cubic));
    assert_eq!(Algorithm::from_name(b"reno"), Some(Algorithm::NewReno));
    assert_eq!(Algorithm::from_name(b"bbr"), None);
    assert_eq!(Algorithm::from_name(b""), None);
    assert_eq!(Algorithm::default().name(), "cubic");
}
