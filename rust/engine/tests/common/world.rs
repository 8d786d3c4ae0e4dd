// SPDX-License-Identifier: GPL-2.0
//! Two hosts, the path between them, and the clock.

use super::app::{App, Plan};
use super::host::{earliest, Host, Setup, Slot};
use super::link::{Link, Path};
use super::packet;
use super::rng::Rng;
use oxtcp_engine::wire::{Ecn, Header};
use oxtcp_engine::{Connection, Duration, Instant, State};

/// One run.
#[derive(Clone, Debug, Default)]
pub struct Scenario {
    pub seed: u64,
    pub client: Setup,
    pub server: Setup,
    pub client_plan: Plan,
    pub server_plan: Plan,
    pub to_server: Path,
    pub to_client: Path,
    /// Both connect; nobody listens.
    pub simultaneous: bool,
    /// With very much loss all the ACKs of the last FIN can be lost, although all data has arrived.
    pub last_ack_may_fail: bool,
}

pub struct World {
    pub now: Instant,
    pub client: Host,
    pub server: Host,
    pub to_server: Link,
    pub to_client: Link,
    pub steps: u64,
    last_ack_may_fail: bool,
}

/// How a run ended.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Until both programs were done.
    pub took: Duration,
    pub client: super::host::Counts,
    pub server: super::host::Counts,
    pub lost: u64,
    pub marked: u64,
}

impl World {
    pub fn new(scenario: &Scenario) -> Self {
        let mut rng = Rng::new(scenario.seed);
        let mut host = |name, setup: &Setup, plan: &Plan, peer: &Plan, path: &Path| {
            let app = App::new(plan.clone(), peer);
            let mut host = Host::new(name, setup.clone(), app, rng.fork());
            host.whole_bursts = path.whole_bursts;
            host
        };
        let client = host(
            "client",
            &scenario.client,
            &scenario.client_plan,
            &scenario.server_plan,
            &scenario.to_server,
        );
        let server = host(
            "server",
            &scenario.server,
            &scenario.server_plan,
            &scenario.client_plan,
            &scenario.to_client,
        );
        let mut world = World {
            now: Instant::from_secs(100_000),
            client,
            server,
            to_server: Link::new(scenario.to_server.clone(), rng.fork()),
            to_client: Link::new(scenario.to_client.clone(), rng.fork()),
            steps: 0,
            last_ack_may_fail: scenario.last_ack_may_fail,
        };
        if scenario.simultaneous {
            world.server.connect(world.now);
        } else {
            world.server.listen();
        }
        world.client.connect(world.now);
        world
    }

    /// Goes to the next thing that happens; false when nothing ever will.
    pub fn step(&mut self) -> bool {
        self.settle();
        let next = earliest([
            self.to_server.next_arrival(),
            self.to_client.next_arrival(),
            self.client.deadline(self.now),
            self.server.deadline(self.now),
        ]);
        let Some(next) = next else { return false };
        self.steps += 1;
        self.now = self.now.max(next);
        let now = self.now;
        let mut out = Vec::new();
        while let Some(bytes) = self.to_server.receive(now) {
            self.server.receive(now, &bytes, &mut out);
            self.server.run(now, &mut out, self.client.offered);
            dispatch(now, &mut out, &mut self.server, &mut self.to_client);
        }
        while let Some(bytes) = self.to_client.receive(now) {
            self.client.receive(now, &bytes, &mut out);
            self.client.run(now, &mut out, self.server.offered);
            dispatch(now, &mut out, &mut self.client, &mut self.to_server);
        }
        self.server.tick(now, &mut out);
        self.server.run(now, &mut out, self.client.offered);
        dispatch(now, &mut out, &mut self.server, &mut self.to_client);
        self.client.tick(now, &mut out);
        self.client.run(now, &mut out, self.server.offered);
        dispatch(now, &mut out, &mut self.client, &mut self.to_server);
        self.client.check_rest(now);
        self.server.check_rest(now);
        true
    }

    /// A segment from somebody else arrives.
    pub fn inject(&mut self, at_server: bool, header: &Header, payload: &[u8]) {
        let bytes = packet::build(header, Ecn::NotEct, payload);
        let mut out = Vec::new();
        if at_server {
            self.server.receive(self.now, &bytes, &mut out);
            self.server.run(self.now, &mut out, self.client.offered);
            dispatch(self.now, &mut out, &mut self.server, &mut self.to_client);
        } else {
            self.client.receive(self.now, &bytes, &mut out);
            self.client.run(self.now, &mut out, self.server.offered);
            dispatch(self.now, &mut out, &mut self.client, &mut self.to_server);
        }
    }

    /// Goes on for so long.
    pub fn run_for(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            let next = earliest([
                self.to_server.next_arrival(),
                self.to_client.next_arrival(),
                self.client.deadline(self.now),
                self.server.deadline(self.now),
            ]);
            if next.is_none_or(|next| next > end) {
                self.settle();
                let next = earliest([self.to_server.next_arrival(), self.to_client.next_arrival()]);
                if next.is_none_or(|next| next > end) {
                    self.now = end;
                    return;
                }
            }
            self.step();
        }
    }

    /// What is to be done at this very instant.
    fn settle(&mut self) {
        let now = self.now;
        let mut out = Vec::new();
        self.server.run(now, &mut out, self.client.offered);
        dispatch(now, &mut out, &mut self.server, &mut self.to_client);
        self.client.run(now, &mut out, self.server.offered);
        dispatch(now, &mut out, &mut self.client, &mut self.to_server);
    }

    /// Runs until both programs are done and both hosts have forgotten the connection.
    pub fn finish(&mut self, limit: Duration) -> Outcome {
        let start = self.now;
        let mut done_at = None;
        loop {
            let gone = self.client.is_gone() && self.server.is_gone();
            if done_at.is_none() && self.client.app.is_done() && self.server.app.is_done() {
                done_at = Some(self.now);
            }
            if gone && self.to_client.is_empty() && self.to_server.is_empty() {
                break;
            }
            assert!(
                self.step(),
                "nothing will ever happen again\nclient {}\nserver {}",
                describe(&self.client),
                describe(&self.server)
            );
            assert!(
                self.now.since(start) < limit && self.steps < 2_000_000,
                "not done after {} s, {} steps\nclient {}\nserver {}",
                self.now.since(start).as_secs(),
                self.steps,
                describe(&self.client),
                describe(&self.server)
            );
        }
        for host in [&self.client, &self.server] {
            let last = host.history.ends_with(&[State::LastAck, State::Closed])
                || host.history.ends_with(&[State::Closing, State::Closed]);
            if !(self.last_ack_may_fail && last) {
                assert_eq!(host.error, None, "{}", describe(host));
            }
            assert!(host.app.is_done(), "{}", describe(host));
            check_history(host);
        }
        Outcome {
            took: done_at.unwrap_or(self.now).since(start),
            client: self.client.sent,
            server: self.server.sent,
            lost: self.to_client.lost + self.to_server.lost,
            marked: self.to_client.marked + self.to_server.marked,
        }
    }
}

fn dispatch(now: Instant, out: &mut Vec<Vec<u8>>, from: &mut Host, link: &mut Link) {
    for bytes in out.drain(..) {
        match link.refuses(&bytes) {
            Some(largest) => from.too_big(now, &bytes, largest),
            None => link.send(now, bytes),
        }
    }
}

/// Runs a scenario to its end; on failure the panic's message names the seed.
pub fn run(scenario: &Scenario, limit: Duration) -> Outcome {
    World::new(scenario).finish(limit)
}

/// The states that a connection can pass through without an error, from figure 5 of RFC 9293.
fn check_history(host: &Host) {
    let history = &host.history;
    for pair in history.windows(2) {
        let allowed = match pair[0] {
            State::SynSent => &[State::SynReceived, State::Established][..],
            State::SynReceived => &[State::Established],
            State::Established => &[State::FinWait1, State::CloseWait],
            State::FinWait1 => &[State::FinWait2, State::Closing, State::TimeWait],
            State::FinWait2 => &[State::TimeWait],
            State::Closing => &[State::TimeWait, State::Closed],
            State::CloseWait => &[State::LastAck],
            State::LastAck | State::TimeWait => &[State::Closed],
            _ => &[],
        };
        // One call can take two steps.
        let two = matches!(
            pair,
            [State::SynReceived | State::SynSent, State::CloseWait]
                | [
                    State::Established,
                    State::FinWait2 | State::Closing | State::TimeWait | State::LastAck
                ]
                | [State::SynReceived, State::FinWait1]
        );
        assert!(
            allowed.contains(&pair[1]) || two,
            "{}: {history:?}",
            host.name
        );
    }
    assert!(
        matches!(history.last(), Some(State::TimeWait | State::Closed)),
        "{}: {history:?}",
        host.name
    );
}

pub fn describe(host: &Host) -> String {
    let slot = match &host.slot {
        Slot::Idle => "idle".to_string(),
        Slot::Listening => "listening".to_string(),
        Slot::Half(request, at) => format!("{request:?} until {at:?}"),
        Slot::Open(socket) => describe_connection(&socket.conn),
        Slot::Waiting(time_wait, at) => format!("{time_wait:?} until {at:?}"),
        Slot::Done => "done".to_string(),
    };
    format!(
        "{}: {slot}\n  app {:?}\n  history {:?} error {:?} sent {:?}",
        host.name, host.app, host.history, host.error, host.sent
    )
}

fn describe_connection(conn: &Connection) -> String {
    format!(
        "{:?} una {} nxt {} written {} | rcv_nxt {} | snd_wnd {} rcv_wnd {} cwnd {} timer {:?}",
        conn.state(),
        conn.snd_una().get(),
        conn.snd_nxt().get(),
        conn.write_seq().get(),
        conn.rcv_nxt().get(),
        conn.snd_wnd(),
        conn.rcv_wnd(),
        conn.cwnd(),
        conn.timer(),
    )
}
