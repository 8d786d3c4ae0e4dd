// SPDX-License-Identifier: GPL-2.0
//! Thousands of conversations in virtual time, each over another path between other programs. What must
//! hold in every one of them is asserted by `common`: every byte arrives, in order and once; both sides
//! end as they should; nobody sends beyond a window; whoever owes something has a timer.
//!
//! A failing run names its seed. `OXTCP_SEED=<seed> cargo test --test simulation <name>` runs that
//! one alone, `OXTCP_TRACE=1` prints every segment, and `OXTCP_TIMES=20` runs twenty times as many.
// Tests are named function__case, and may panic.
#![allow(
    non_snake_case,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

mod common;

use common::app::{Finish, Plan};
use common::host::Setup;
use common::link::Path;
use common::rng::Rng;
use common::world::{run, Outcome, Scenario};
use oxtcp_engine::{Config, Duration, SocketOptions, State};
use std::num::NonZeroU16;
use std::panic::{catch_unwind, AssertUnwindSafe};

/// Only a conversation without an end reaches it: with the timeout backed off for want of a measurement (Karn), small segments and
/// much loss, one took a good four hours.
const LIMIT: Duration = Duration::from_secs(200_000);

/// Runs `make`'s scenarios for the seeds 1 to `count`, all of them, and fails if one did.
fn seeds(count: u64, make: impl Fn(u64, &mut Rng) -> Scenario) -> Vec<Outcome> {
    let only = std::env::var("OXTCP_SEED")
        .ok()
        .and_then(|seed| seed.parse::<u64>().ok());
    let times = std::env::var("OXTCP_TIMES")
        .ok()
        .and_then(|times| times.parse::<u64>().ok());
    let count = count * times.unwrap_or(1);
    let range = only.map_or(1..count + 1, |seed| seed..seed + 1);
    let mut outcomes = Vec::new();
    let mut failed = Vec::new();
    for seed in range {
        let mut scenario = make(seed, &mut Rng::new(seed));
        // Without timestamps nothing that was sent again measures the round trip (Karn), so the timeout stays
        // doubled for long, and TIME-WAIT can be over before the FIN comes again.
        let stamped = scenario.client.config.timestamps && scenario.server.config.timestamps;
        scenario.last_ack_may_fail |= !stamped;
        // Nor does what was sent again while there was no memory for it: a closed connection needs more patience.
        for setup in [&mut scenario.client, &mut scenario.server] {
            if setup.scarce != 0 {
                setup.config.orphan_retries = setup.config.orphan_retries.max(15);
            }
        }
        match catch_unwind(AssertUnwindSafe(|| run(&scenario, LIMIT))) {
            Ok(outcome) => outcomes.push(outcome),
            Err(_) => {
                eprintln!("failed with OXTCP_SEED={seed}");
                failed.push(seed);
            }
        }
        assert!(
            failed.len() < 20,
            "many runs fail, by their seeds: {failed:?}"
        );
    }
    assert!(failed.is_empty(), "runs fail, by their seeds: {failed:?}");
    outcomes
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

/// A request and its answer over a clean path.
fn plain(seed: u64) -> Scenario {
    let mut scenario = Scenario {
        seed,
        ..Scenario::default()
    };
    scenario.client_plan = Plan {
        stream: seed,
        bytes: 300,
        ..Plan::default()
    };
    scenario.server_plan = Plan {
        stream: !seed,
        bytes: 20_000,
        finish: Finish::AfterPeer,
        ..Plan::default()
    };
    scenario
}

fn random_config(rng: &mut Rng) -> Config {
    Config {
        window_scaling: !rng.chance(200),
        sack: !rng.chance(200),
        dsack: !rng.chance(300),
        timestamps: !rng.chance(300),
        slow_start_after_idle: !rng.chance(300),
        initial_cwnd: rng.pick(&[1, 2, 10, 10, 10, 30]),
        ..Config::default()
    }
}

fn random_setup(rng: &mut Rng) -> Setup {
    let mss = rng.pick(&[1460, 1460, 1460, 1440, 536, 100, 9000]);
    Setup {
        config: random_config(rng),
        iss: match rng.below(3) {
            0 => rng.next() as u32,
            1 => u32::MAX - rng.below(60_000) as u32,
            _ => (1 << 31) - rng.below(60_000) as u32,
        },
        ts_offset: rng.next() as u32,
        mss,
        path_mss: rng.pick(&[mss, mss, mss, 1200]),
        send_buffer: rng.between(2_000, 200_000) as usize,
        recv_buffer: rng.between(3_000, 300_000) as usize,
        recv_most: if rng.chance(300) { 1 << 20 } else { 0 },
        pressure: if rng.chance(100) {
            // A whole packet is refused each time, and the peer's timeouts are few.
            rng.below(100) as u32 / 3
        } else {
            0
        },
        payload_share: rng.pick(&[1000, 1000, 1000, 700]),
        burst: rng.pick(&[0, 1, 1460, 3000, 16_000, 65_000]),
        reassembly: true,
        renege: 0,
        scarce: if rng.chance(100) {
            rng.pick(&[20, 300, 1000])
        } else {
            0
        },
        relisten: false,
        options: SocketOptions {
            keepalive: rng.chance(200),
            keepidle: NonZeroU16::new(1),
            keepintvl: NonZeroU16::new(2),
            ..SocketOptions::default()
        },
        accept_full: if rng.chance(50) {
            rng.between(1, 2) as u32
        } else {
            0
        },
    }
}

fn random_plan(rng: &mut Rng, largest: u64) -> Plan {
    let slow_writer = rng.chance(150);
    let slow_reader = rng.chance(150);
    Plan {
        stream: rng.next(),
        bytes: match rng.below(8) {
            0 => 0,
            1 => 1,
            2 => rng.below(3_000),
            _ => rng.below(largest),
        },
        write: if slow_writer {
            rng.between(500, 20_000)
        } else {
            rng.between(10_000, 100_000)
        },
        write_every: if slow_writer {
            ms(rng.below(400))
        } else {
            Duration::ZERO
        },
        think: if rng.chance(200) {
            ms(rng.below(5_000))
        } else {
            Duration::ZERO
        },
        read: if slow_reader {
            rng.between(1_000, 30_000)
        } else {
            u64::MAX
        },
        read_every: if slow_reader {
            ms(rng.below(2_000))
        } else {
            Duration::ZERO
        },
        more: if rng.chance(200) {
            rng.below(1000) as u32
        } else {
            0
        },
        nodelay: rng.chance(300),
        finish: rng.pick(&[Finish::Shutdown, Finish::Shutdown, Finish::AfterPeer]),
    }
}

fn random_path(rng: &mut Rng, worst_loss: u64) -> Path {
    let rate = if rng.chance(150) {
        rng.between(100_000, 5_000_000)
    } else {
        0
    };
    let whole_bursts = rng.chance(200);
    Path {
        delay: ms(rng.pick(&[0, 0, 1, 5, 20, 100, 300])),
        jitter: if rng.chance(300) {
            ms(rng.below(60))
        } else {
            Duration::ZERO
        },
        loss: if rng.chance(600) {
            rng.below(worst_loss + 1) as u32
        } else {
            0
        },
        burst: 0,
        burst_len: 0,
        tail: 0,
        acks: 0,
        duplicate: if rng.chance(200) {
            rng.below(60) as u32
        } else {
            0
        },
        corrupt: if rng.chance(200) {
            rng.below(100) as u32 / 3
        } else {
            0
        },
        overtake: if rng.chance(200) {
            rng.below(100) as u32
        } else {
            0
        },
        whole_bursts,
        merge: rng.pick(&[0, 0, 500, 950]),
        rate,
        silent: false,
        largest: if rng.chance(100) && !whole_bursts {
            rng.between(300, 1300) as usize
        } else {
            0
        },
        queue: if rate != 0 {
            rng.between(20_000, 200_000)
        } else {
            0
        },
        mark_from: 0,
        marks: 0,
    }
}

/// Anything.
fn random(seed: u64, rng: &mut Rng) -> Scenario {
    let mut scenario = Scenario {
        seed,
        client: random_setup(rng),
        server: random_setup(rng),
        client_plan: random_plan(rng, 200_000),
        server_plan: random_plan(rng, 200_000),
        to_server: random_path(rng, 80),
        to_client: random_path(rng, 80),
        simultaneous: false,
        last_ack_may_fail: false,
    };
    // Two programs that both wait for the other's end wait for ever.
    if scenario.server_plan.finish == Finish::AfterPeer {
        scenario.client_plan.finish = Finish::Shutdown;
    }
    scenario
}

#[test]
fn a_clean_path() {
    for outcome in seeds(50, |seed, _| plain(seed)) {
        // Handshake, request, answer: three round trips of 20 ms, and no segment twice.
        assert_eq!(
            outcome.client.retransmissions + outcome.server.retransmissions,
            0
        );
        assert!(outcome.took <= ms(110), "{outcome:?}");
    }
}

/// Nothing is sent in vain: full segments, no retransmission, an ACK for every second segment, no probe.
#[test]
fn bulk__wastes_nothing() {
    for (bursts, buffer) in [
        (false, 1 << 16),
        (false, 1 << 20),
        (true, 1 << 16),
        (true, 1 << 20),
    ] {
        let mut scenario = plain(3);
        scenario.client_plan.bytes = 4 << 20;
        scenario.server_plan.bytes = 0;
        for path in [&mut scenario.to_client, &mut scenario.to_server] {
            path.whole_bursts = bursts;
            path.delay = ms(if bursts { 0 } else { 5 });
        }
        scenario.client.send_buffer = 2 * buffer;
        scenario.server.recv_buffer = buffer;
        let outcome = run(&scenario, LIMIT);
        let (data, acks) = (outcome.client.packets, outcome.server.packets);
        println!(
            "bursts {bursts}, buffer {buffer}: {data} packets of data, {acks} acknowledgments"
        );
        let segments = (4 << 20) / 1448;
        assert_eq!(outcome.client.retransmissions, 0);
        assert_eq!(outcome.client.probes, 0);
        assert!(
            data <= segments + segments / 20 + 20,
            "{data} packets for {segments} segments"
        );
        assert!(
            acks <= segments / 2 + segments / 20 + 40,
            "{acks} acknowledgments of {segments}"
        );
        // And header prediction is for nearly all that comes.
        let expected = outcome.server.expected;
        assert!(expected >= data * 9 / 10, "{expected} of {data}");
    }
}

#[test]
fn anything() {
    let outcomes = seeds(2_000, random);
    if outcomes.len() == 2_000 {
        // That anything did happen.
        let sum = |of: fn(&Outcome) -> u64| outcomes.iter().map(of).sum::<u64>();
        assert!(sum(|o| o.lost) > 5_000);
        assert!(sum(|o| o.client.retransmissions + o.server.retransmissions) > 5_000);
        assert!(sum(|o| o.client.probes + o.server.probes) > 100);
    }
}

#[test]
fn loss_in_one_direction() {
    seeds(300, |seed, rng| {
        let mut scenario = random(seed, rng);
        let loss = 100;
        (scenario.to_server.loss, scenario.to_client.loss) = if rng.chance(500) {
            (loss, 0)
        } else {
            (0, loss)
        };
        scenario
    });
}

/// A queue overflows, a radio link fades: many in a row.
#[test]
fn loss_in_bursts() {
    let outcomes = seeds(300, |seed, rng| {
        let mut scenario = random(seed, rng);
        for path in [&mut scenario.to_server, &mut scenario.to_client] {
            path.loss = 0;
            path.burst = rng.between(1, 15) as u32;
            path.burst_len = rng.between(2, 40);
        }
        scenario.client.config.orphan_retries = 15;
        scenario.server.config.orphan_retries = 15;
        scenario.last_ack_may_fail = true;
        scenario
    });
    assert!(outcomes.iter().map(|o| o.lost).sum::<u64>() > 1_000 || outcomes.len() == 1);
}

/// The last segment of every other message is lost: with SACK a probe finds out (RFC 8985 section 7), sooner than a timeout.
#[test]
fn loss_of_the_tail() {
    let outcomes = seeds(300, |seed, rng| {
        let mut scenario = random(seed, rng);
        for path in [&mut scenario.to_server, &mut scenario.to_client] {
            path.tail = rng.between(100, 500) as u32;
        }
        scenario
    });
    let probes = |o: &Outcome| o.client.loss_probes + o.server.loss_probes;
    assert!(outcomes.iter().map(probes).sum::<u64>() > 300 || outcomes.len() == 1);
}

/// Data arrives, acknowledgments do not: each that comes stands for many.
#[test]
fn loss_of_acknowledgments() {
    seeds(300, |seed, rng| {
        let mut scenario = random(seed, rng);
        for path in [&mut scenario.to_server, &mut scenario.to_client] {
            path.acks = rng.between(100, 500) as u32;
        }
        // Who hears nothing for long gives the peer up, by right.
        for setup in [&mut scenario.client, &mut scenario.server] {
            setup.options.keepalive = false;
            setup.config.orphan_retries = 30;
            setup.config.retries2 = 30;
        }
        scenario.last_ack_may_fail = true;
        scenario
    });
}

/// Peers throw away what they have reported (RFC 2018 section 8).
#[test]
fn peers_that_renege() {
    seeds(300, |seed, rng| {
        let mut scenario = random(seed, rng);
        for path in [&mut scenario.to_server, &mut scenario.to_client] {
            path.loss = rng.between(10, 60) as u32;
        }
        for setup in [&mut scenario.client, &mut scenario.server] {
            setup.renege = rng.between(5, 100) as u32;
            setup.config.sack = true;
            setup.config.orphan_retries = 15;
        }
        scenario.last_ack_may_fail = true;
        scenario
    });
}

/// There is no memory for what is in flight, or it is taken away at any time.
#[test]
fn no_memory_for_what_is_in_flight() {
    seeds(300, |seed, rng| {
        let mut scenario = random(seed, rng);
        for setup in [&mut scenario.client, &mut scenario.server] {
            setup.scarce = rng.pick(&[10, 100, 500, 1000]);
        }
        scenario.last_ack_may_fail = true;
        scenario
    });
}

#[test]
fn heavy_loss() {
    seeds(150, |seed, rng| {
        let mut scenario = plain(seed);
        scenario.client_plan.bytes = rng.below(20_000);
        scenario.last_ack_may_fail = true;
        scenario.client.config.orphan_retries = 15;
        scenario.server.config.orphan_retries = 15;
        // One packet in five, both ways.
        scenario.to_server.loss = 200;
        scenario.to_client.loss = 200;
        scenario
    });
}

#[test]
fn zero_windows() {
    seeds(300, |seed, rng| {
        let mut scenario = random(seed, rng);
        for setup in [&mut scenario.client, &mut scenario.server] {
            setup.recv_buffer = rng.between(500, 8_000) as usize;
        }
        for plan in [&mut scenario.client_plan, &mut scenario.server_plan] {
            plan.bytes = plan.bytes.min(60_000);
            plan.read = rng.between(100, 6_000);
            plan.read_every = ms(rng.between(1, 3_000));
        }
        scenario
    });
}

#[test]
fn loopback_bursts() {
    seeds(300, |seed, rng| {
        let mut scenario = random(seed, rng);
        for path in [&mut scenario.to_client, &mut scenario.to_server] {
            *path = Path {
                delay: Duration::from_micros(30),
                whole_bursts: true,
                ..Path::default()
            };
        }
        for setup in [&mut scenario.client, &mut scenario.server] {
            setup.burst = 65_000;
            setup.mss = 1460;
        }
        scenario.client_plan.bytes *= 4;
        scenario
    });
}

#[test]
fn wild_reordering() {
    seeds(300, |seed, rng| {
        let mut scenario = random(seed, rng);
        for path in [&mut scenario.to_client, &mut scenario.to_server] {
            path.jitter = ms(rng.between(50, 300));
            path.duplicate = 100;
        }
        scenario
    });
}

/// Routers that mark, and hosts of which some can do ECN (RFC 3168).
#[test]
fn marks() {
    let outcomes = seeds(600, |seed, rng| {
        let mut scenario = random(seed, rng);
        for setup in [&mut scenario.client, &mut scenario.server] {
            setup.config.ecn = rng.pick(&[0, 1, 1, 1, 2]);
            setup.config.ecn_fallback = !rng.chance(300);
        }
        scenario.simultaneous = rng.chance(100);
        for path in [&mut scenario.to_client, &mut scenario.to_server] {
            path.marks = rng.pick(&[0, 5, 50, 500, 1000]);
            path.mark_from = path.queue / 4;
        }
        scenario
    });
    if outcomes.len() > 1 {
        let told = |outcome: &&Outcome| outcome.client.reductions + outcome.server.reductions > 0;
        assert!(outcomes.iter().filter(told).count() > 100);
        assert!(outcomes.iter().any(|outcome| outcome.marked == 0));
    }
}

/// A queue that marks early keeps the path full without a loss; where it could only drop there are some.
#[test]
fn a_marking_queue() {
    for ecn in [0, 1] {
        let outcomes = seeds(3, |seed, _| {
            let mut scenario = plain(seed);
            scenario.client_plan.bytes = 4 << 20;
            scenario.client_plan.write = 1 << 20;
            scenario.client.send_buffer = 1 << 20;
            scenario.server.recv_buffer = 1 << 20;
            scenario.client.config.ecn = ecn;
            // At this rate a host sends no more at once.
            scenario.client.burst = 3_000;
            for path in [&mut scenario.to_client, &mut scenario.to_server] {
                path.delay = ms(20);
                path.rate = 1_250_000;
                path.queue = 90_000;
                path.mark_from = 25_000;
            }
            scenario
        });
        for outcome in outcomes {
            let marked = ecn != 0;
            assert_eq!(outcome.marked > 0, marked, "{outcome:?}");
            assert_eq!(outcome.client.reductions > 0, marked, "{outcome:?}");
            assert_eq!(outcome.lost == 0, marked, "{outcome:?}");
            assert_eq!(outcome.client.retransmissions == 0, marked, "{outcome:?}");
            let rate = (4u64 << 20) * 1_000_000 / outcome.took.as_micros();
            assert!(rate > 1_000_000, "{rate}: {outcome:?}");
        }
    }
}

/// Without memory for out-of-order ranges all that lies behind a loss is sent again; it still arrives.
#[test]
fn no_memory_for_what_is_out_of_order() {
    seeds(200, |seed, rng| {
        let mut scenario = random(seed, rng);
        for path in [&mut scenario.to_client, &mut scenario.to_server] {
            path.jitter = Duration::ZERO;
            path.loss = path.loss.min(20);
        }
        scenario.client.reassembly = false;
        scenario.server.reassembly = false;
        scenario
    });
}

/// The path carries less than was thought, and says so.
#[test]
fn path_mtu_discovery() {
    seeds(200, |seed, rng| {
        let mut scenario = random(seed, rng);
        for path in [&mut scenario.to_client, &mut scenario.to_server] {
            path.largest = rng.between(200, 1400) as usize;
            path.whole_bursts = false;
        }
        scenario
    });
}

/// The path carries less than was thought, and says nothing of it (RFC 4821 section 7.7).
#[test]
fn black_holes() {
    seeds(200, |seed, rng| {
        let mut scenario = random(seed, rng);
        for setup in [&mut scenario.client, &mut scenario.server] {
            setup.config.mtu_probing = rng.pick(&[1, 2]);
        }
        for path in [&mut scenario.to_client, &mut scenario.to_server] {
            path.largest = rng.between(200, 1400) as usize;
            path.silent = true;
            path.whole_bursts = false;
            path.loss = path.loss.min(20);
        }
        scenario
    });
}

/// Where nothing is in the way the search finds the whole path, and costs nothing but its beginning.
#[test]
fn mtu_search_on_a_good_path() {
    let took = [0, 2].map(|mtu_probing| {
        let mut scenario = plain(5);
        scenario.server_plan.bytes = 3_000_000;
        for setup in [&mut scenario.client, &mut scenario.server] {
            setup.config.mtu_probing = mtu_probing;
        }
        let mut world = common::world::World::new(&scenario);
        let outcome = world.finish(LIMIT);
        assert_eq!((outcome.lost, world.server.error), (0, None));
        outcome.took
    });
    assert!(took[1] < took[0].times(2), "{took:?}");
}

#[test]
fn simultaneous_open() {
    seeds(300, |seed, rng| {
        let mut scenario = random(seed, rng);
        scenario.simultaneous = true;
        // Both SYNs must be on their way before one arrives, or a SYN meets nobody.
        for path in [&mut scenario.to_client, &mut scenario.to_server] {
            path.delay = path.delay.max(ms(1));
        }
        scenario
    });
}

#[test]
fn both_close_at_once() {
    let outcomes = seeds(300, |seed, rng| {
        let mut scenario = random(seed, rng);
        for plan in [&mut scenario.client_plan, &mut scenario.server_plan] {
            plan.bytes = rng.below(2) * rng.below(1_000);
            plan.finish = Finish::Shutdown;
        }
        scenario
    });
    assert!(!outcomes.is_empty());
}

#[test]
fn close_without_waiting() {
    seeds(300, |seed, rng| {
        let mut scenario = random(seed, rng);
        scenario.client_plan.finish = Finish::Close;
        scenario.server_plan.finish = Finish::AfterPeer;
        scenario.server_plan.bytes = 0;
        // A program that has closed waits for the other's FIN no longer than fin_timeout.
        scenario.server_plan.read_every = Duration::ZERO;
        scenario.server_plan.think = Duration::ZERO;
        scenario
    });
}

/// Two hosts that close in turn end in different states: TIME-WAIT is the side's that closes first.
#[test]
fn time_wait_is_with_the_one_that_closes_first() {
    for first in [true, false] {
        let mut scenario = plain(7);
        let (early, late) = if first {
            (&mut scenario.client_plan, &mut scenario.server_plan)
        } else {
            (&mut scenario.server_plan, &mut scenario.client_plan)
        };
        early.finish = Finish::Shutdown;
        late.finish = Finish::AfterPeer;
        let mut world = common::world::World::new(&scenario);
        world.finish(LIMIT);
        let (early, late) = if first {
            (&world.client, &world.server)
        } else {
            (&world.server, &world.client)
        };
        assert_eq!(early.history.last(), Some(&State::TimeWait));
        assert_eq!(late.history.last(), Some(&State::Closed));
        assert!(late
            .history
            .ends_with(&[State::CloseWait, State::LastAck, State::Closed]));
    }
}
