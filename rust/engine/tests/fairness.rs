// SPDX-License-Identifier: GPL-2.0
//! Several connections over one bottleneck that drops what its queue cannot hold: who gets how much, and what slow
//! start does to the queue.
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

use common::app::{App, Plan};
use common::host::{earliest, Host, Setup};
use common::rng::Rng;
use oxtcp_engine::congestion::Algorithm;
use oxtcp_engine::{Config, Duration, Instant};
use std::collections::BTreeMap;

/// More than any flow can send here.
const ENDLESS: u64 = 1 << 40;

/// The path that all flows share.
#[derive(Clone, Copy)]
struct Path {
    /// Bytes per second.
    rate: u64,
    /// The round trip without any queue.
    rtt: Duration,
    /// Bytes that may wait.
    queue: u64,
}

impl Path {
    /// Bytes that the path holds without a queue.
    fn product(&self) -> u64 {
        self.rate * self.rtt.as_micros() / 1_000_000
    }
}

struct Flow {
    client: Host,
    server: Host,
    /// Acknowledgments on their way back, which nothing delays but the distance.
    back: BTreeMap<(Instant, u64), Vec<u8>>,
    start: Instant,
    started: bool,
}

/// Flows over one bottleneck.
struct Net {
    now: Instant,
    path: Path,
    flows: Vec<Flow>,
    /// What has passed the bottleneck or waits there, by its arrival.
    forth: BTreeMap<(Instant, u64), (usize, Vec<u8>)>,
    /// When the bottleneck has sent all it holds.
    free_at: Instant,
    count: u64,
    lost: u64,
    /// The most that has waited.
    longest: u64,
    rng: Rng,
}

impl Net {
    /// A flow for each of `algorithms`; they begin within half a second.
    fn new(path: Path, algorithms: &[Algorithm], seed: u64) -> Self {
        let mut rng = Rng::new(seed);
        let now = Instant::from_secs(1_000);
        let flows = algorithms.iter().enumerate().map(|(i, &algorithm)| {
            let config = Config {
                congestion_control: algorithm,
                ..Config::default()
            };
            let setup = Setup {
                config,
                iss: i as u32 * 77_777_777,
                send_buffer: 4 << 20,
                recv_buffer: 4 << 20,
                burst: 4_000,
                ..Setup::default()
            };
            let plan = Plan {
                stream: i as u64 + 1,
                bytes: ENDLESS,
                ..Plan::default()
            };
            let silent = Plan::default();
            let client = App::new(plan.clone(), &silent);
            let server = App::new(silent, &plan);
            let mut server = Host::new("server", setup.clone(), server, rng.fork());
            server.listen();
            let start = match algorithms.len() {
                1 => now,
                _ => now + Duration::from_micros(rng.below(500_000)),
            };
            Flow {
                client: Host::new("client", setup, client, rng.fork()),
                server,
                back: BTreeMap::new(),
                start,
                started: false,
            }
        });
        let flows = flows.collect();
        Net {
            now,
            path,
            flows,
            forth: BTreeMap::new(),
            free_at: now,
            count: 0,
            lost: 0,
            longest: 0,
            rng,
        }
    }

    fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        loop {
            for i in 0..self.flows.len() {
                if self.is_due(i) {
                    self.serve(i);
                }
            }
            let now = self.now;
            let hosts = self.flows.iter().flat_map(|flow| {
                let waiting = (!flow.started).then_some(flow.start);
                let back = flow.back.keys().next().map(|key| key.0);
                [
                    waiting,
                    back,
                    flow.client.deadline(now),
                    flow.server.deadline(now),
                ]
            });
            let forth = self.forth.keys().next().map(|key| key.0);
            let next = earliest(hosts.chain([forth])).expect("something happens");
            if next > end {
                self.now = end;
                return;
            }
            self.now = now.max(next);
        }
    }

    fn is_due(&self, i: usize) -> bool {
        let flow = &self.flows[i];
        let front = self.forth.iter().next().map(|(key, (to, _))| (key.0, *to));
        let arrives = front.is_some_and(|(at, to)| at <= self.now && to == i);
        let times = [
            (!flow.started).then_some(flow.start),
            flow.back.keys().next().map(|key| key.0),
            flow.client.deadline(self.now),
            flow.server.deadline(self.now),
        ];
        arrives || earliest(times).is_some_and(|at| at <= self.now)
    }

    /// All that flow `i` has to do now.
    fn serve(&mut self, i: usize) {
        let now = self.now;
        let mut out = Vec::new();
        let flow = &mut self.flows[i];
        if !flow.started && flow.start <= now {
            flow.started = true;
            flow.client.connect(now);
        }
        while flow.back.keys().next().is_some_and(|key| key.0 <= now) {
            let (_, bytes) = flow.back.pop_first().unwrap();
            flow.client.receive(now, &bytes, &mut out);
            flow.client.run(now, &mut out, flow.server.offered);
        }
        flow.client.tick(now, &mut out);
        flow.client.run(now, &mut out, flow.server.offered);
        for bytes in out.drain(..) {
            self.send(i, bytes);
        }
        let mut arrived = Vec::new();
        while let Some((&key, (to, _))) = self.forth.first_key_value() {
            if key.0 > now || *to != i {
                break;
            }
            arrived.push(self.forth.pop_first().unwrap().1 .1);
        }
        let flow = &mut self.flows[i];
        for bytes in arrived {
            flow.server.receive(now, &bytes, &mut out);
            flow.server.run(now, &mut out, flow.client.offered);
        }
        flow.server.tick(now, &mut out);
        flow.server.run(now, &mut out, flow.client.offered);
        for bytes in out.drain(..) {
            // A little noise, as of a host's processing: without it who loses depends on the phase of clocks that never
            // drift.
            let noise = Duration::from_micros(self.rng.below(300));
            let last = flow.back.keys().next_back().map_or(now, |key| key.0);
            let at = (now + self.path.rtt.half() + noise).max(last);
            self.count += 1;
            flow.back.insert((at, self.count), bytes);
        }
    }

    /// Into the bottleneck's queue, if it has room.
    fn send(&mut self, i: usize, bytes: Vec<u8>) {
        let start = self.free_at.max(self.now);
        let waiting = start.since(self.now).as_micros() * self.path.rate / 1_000_000;
        if waiting > self.path.queue {
            self.lost += 1;
            return;
        }
        self.longest = self.longest.max(waiting);
        let micros = (bytes.len() as u64 + 20) * 1_000_000 / self.path.rate;
        self.free_at = start + Duration::from_micros(micros);
        self.count += 1;
        let at = self.free_at + self.path.rtt.half();
        self.forth.insert((at, self.count), (i, bytes));
    }

    fn read(&self) -> Vec<u64> {
        self.flows.iter().map(|flow| flow.server.app.read).collect()
    }
}

/// Bytes that each flow brings over in `time`, after `before` of warming up.
fn shares(
    path: Path,
    algorithms: &[Algorithm],
    seed: u64,
    before: Duration,
    time: Duration,
) -> Vec<u64> {
    let mut net = Net::new(path, algorithms, seed);
    net.run_for(before);
    let first = net.read();
    net.run_for(time);
    let last = net.read();
    last.iter()
        .zip(first)
        .map(|(last, first)| last - first)
        .collect()
}

/// Jain's index: 1 when all have the same, 1/n when one has all.
fn jain(shares: &[u64]) -> f64 {
    let sum: f64 = shares.iter().map(|&share| share as f64).sum();
    let squares: f64 = shares.iter().map(|&share| (share as f64).powi(2)).sum();
    sum * sum / (shares.len() as f64 * squares)
}

fn check(name: &str, path: Path, algorithms: &[Algorithm], least: f64) {
    let time = Duration::from_secs(40);
    let shares = shares(path, algorithms, 1, Duration::from_secs(15), time);
    let index = jain(&shares);
    let used = shares.iter().sum::<u64>() as f64 / (path.rate * time.as_secs()) as f64;
    println!(
        "{name}, {} flows: index {index:.3}, {used:.3} of the path",
        shares.len()
    );
    assert!(index >= least, "{name}: {index:.3} {shares:?}");
    // Headers are a twentieth.
    assert!(used > 0.8, "{name}: {used:.3} of the path is used");
}

fn path(flows: usize, rtt: u64) -> Path {
    // 2 Mbit/s for each; a queue of one bandwidth-delay product, and of no less than 15 segments.
    let path = Path {
        rate: flows as u64 * 250_000,
        rtt: Duration::from_millis(rtt),
        queue: 0,
    };
    Path {
        queue: path.product().max(22_000),
        ..path
    }
}

#[test]
fn alike__share_evenly() {
    for algorithm in Algorithm::ALL {
        for (flows, rtt) in [(2, 20), (2, 100), (4, 40), (8, 40), (16, 20)] {
            let name = format!("{}, {rtt} ms", algorithm.name());
            check(&name, path(flows, rtt), &vec![algorithm; flows], 0.9);
        }
    }
}

/// Where the bandwidth-delay product is small CUBIC takes no more than Reno would (RFC 9438 section 4.3).
#[test]
fn cubic_and_reno__share_evenly_on_short_paths() {
    for flows in [2, 4, 8, 16] {
        let mixed: Vec<_> = Algorithm::ALL.into_iter().cycle().take(flows).collect();
        check("cubic and reno, 20 ms", path(flows, 20), &mixed, 0.9);
    }
}

/// The first flight of a flow that has a path for itself: what it loses, and how long the queue becomes.
fn slow_start(algorithm: Algorithm, path: Path) -> (u64, u64) {
    let mut net = Net::new(path, &[algorithm], 1);
    net.run_for(path.rtt.times(12));
    (net.lost, net.longest)
}

/// HyStart finds the path full before the queue is: without it slow start goes on until the queue overflows, and loses what
/// it sends in the round trip that it takes to know. On slower paths acknowledgments come further apart than HyStart's trains
/// allow (Linux's `hystart_ack_delta_us`, 2 ms; at 10 Mbit/s they are 2.4 ms apart), and it does not promise that.
#[test]
fn hystart__ends_slow_start_before_the_queue_overflows() {
    for (rate, rtt) in [(12_500_000, 40), (12_500_000, 100)] {
        let path = Path {
            rate,
            rtt: Duration::from_millis(rtt),
            queue: 0,
        };
        let path = Path {
            queue: path.product(),
            ..path
        };
        let (lost, longest) = slow_start(Algorithm::Cubic, path);
        let (without, full) = slow_start(Algorithm::NewReno, path);
        println!(
            "{rate} B/s, {rtt} ms: {lost} lost and {longest} waiting, without {without} and {full}"
        );
        assert_eq!(lost, 0, "{rate} B/s, {rtt} ms");
        assert!(longest < path.queue * 3 / 4, "{longest} of {}", path.queue);
        assert!(without > 20, "{without}: the test shows nothing");
    }
}
