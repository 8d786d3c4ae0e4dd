// SPDX-License-Identifier: GPL-2.0
//! Networks that die, hosts that start anew, ports that are used again: whole conversations in virtual
//! time that do not end as planned.
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

use common::app::{App, Finish, Plan};
use common::host::{Host, Setup, Slot};
use common::rng::Rng;
use common::world::{Scenario, World};
use oxtcp_engine::wire::{Flags, Header};
use oxtcp_engine::{Config, Duration, Error, SeqNum, SocketOptions, State};
use std::num::{NonZeroU16, NonZeroU32, NonZeroU8};

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

/// A client that sends 300,000 bytes at 10,000 a second, and a server that reads them.
fn stream() -> Scenario {
    Scenario {
        client_plan: Plan {
            stream: 1,
            bytes: 300_000,
            write: 10_000,
            write_every: secs(1),
            ..Plan::default()
        },
        server_plan: Plan {
            stream: 2,
            finish: Finish::AfterPeer,
            ..Plan::default()
        },
        ..Scenario::default()
    }
}

/// A connection over which nothing is said for an hour.
fn silence() -> Scenario {
    let plan = Plan {
        think: secs(3600),
        ..Plan::default()
    };
    Scenario {
        client_plan: plan.clone(),
        server_plan: plan,
        ..Scenario::default()
    }
}

fn state(host: &Host) -> Option<State> {
    host.socket().map(|socket| socket.conn.state())
}

fn cut(world: &mut World) {
    world.to_client.set_loss(1000);
    world.to_server.set_loss(1000);
}

/// A client's socket that was there before the host crashed is forgotten.
fn reboot_client(world: &mut World, iss: u32, plan: Plan) {
    let setup = Setup {
        iss,
        ..world.client.setup.clone()
    };
    let app = App::new(plan, &world.server.app.plan);
    world.client = Host::new("client", setup, app, Rng::new(1));
    world.client.connect(world.now);
}

#[test]
fn network_dies__the_sender_gives_up_after_tcp_retries2() {
    let mut world = World::new(&stream());
    world.run_for(secs(5));
    cut(&mut world);
    let start = world.now;
    while world.client.error.is_none() {
        assert!(world.step());
    }
    assert_eq!(world.client.error, Some(Error::TimedOut));
    let took = world.now.since(start).as_secs();
    assert!((900..1100).contains(&took), "{took} s");
    // The receiver owes nothing and has no keepalive: it waits, as RFC 9293 has it.
    assert_eq!(state(&world.server), Some(State::Established));
}

#[test]
fn network_dies__and_comes_back() {
    for away in [1, 10, 60, 300, 800] {
        let mut world = World::new(&stream());
        world.run_for(secs(5));
        cut(&mut world);
        world.run_for(secs(away));
        world.to_client.set_loss(0);
        world.to_server.set_loss(0);
        world.finish(secs(3600));
    }
}

#[test]
fn network_dies__the_user_timeout_is_kept() {
    let mut scenario = stream();
    scenario.client.options.user_timeout = NonZeroU32::new(20_000);
    let mut world = World::new(&scenario);
    world.run_for(secs(5));
    cut(&mut world);
    let start = world.now;
    while world.client.error.is_none() {
        assert!(world.step());
    }
    let took = world.now.since(start).as_secs();
    assert!((20..=22).contains(&took), "{took} s");
}

#[test]
fn network_dies__keepalive_notices() {
    let mut scenario = silence();
    scenario.server.options = SocketOptions {
        keepalive: true,
        keepidle: NonZeroU16::new(60),
        keepintvl: NonZeroU16::new(10),
        keepcnt: NonZeroU8::new(5),
        ..SocketOptions::default()
    };
    let mut world = World::new(&scenario);
    world.run_for(secs(600));
    // The peer answers, so the connection lives.
    assert_eq!(state(&world.server), Some(State::Established));
    cut(&mut world);
    let start = world.now;
    while world.server.error.is_none() {
        assert!(world.step());
    }
    assert_eq!(world.server.error, Some(Error::TimedOut));
    let took = world.now.since(start).as_secs();
    assert!((50..=110).contains(&took), "{took} s");
}

#[test]
fn network_is_dead__a_connect_takes_as_long_as_in_linux() {
    for (retries, linear, seconds) in [(6, 4, 131), (6, 0, 127), (0, 0, 1), (3, 0, 15)] {
        let mut scenario = stream();
        scenario.client.config = Config {
            syn_retries: retries,
            syn_linear_timeouts: linear,
            ..Config::default()
        };
        let mut world = World::new(&scenario);
        cut(&mut world);
        let start = world.now;
        while world.client.error.is_none() {
            assert!(world.step());
        }
        assert_eq!(world.client.error, Some(Error::TimedOut));
        assert_eq!(
            world.now.since(start).as_secs(),
            seconds,
            "{retries} retries"
        );
    }
}

#[test]
fn half_open_connection__is_forgotten_after_a_minute() {
    let mut scenario = stream();
    scenario.to_client.loss = 1000;
    let mut world = World::new(&scenario);
    world.run_for(Duration::from_millis(100));
    assert!(matches!(world.server.slot, Slot::Half(..)));
    // The client is gone.
    world.client.slot = Slot::Done;
    let sent = world.server.sent.packets;
    world.run_for(secs(62));
    assert!(matches!(world.server.slot, Slot::Half(..)));
    assert_eq!(world.server.sent.packets - sent, 5);
    world.run_for(secs(2));
    assert!(matches!(world.server.slot, Slot::Listening));
}

#[test]
fn nobody_listens__connection_refused() {
    let mut world = World::new(&stream());
    world.server.slot = Slot::Idle;
    world.run_for(secs(1));
    assert_eq!(world.client.error, Some(Error::Refused));
}

#[test]
fn accept_queue_is_full__the_handshake_completes_later() {
    let mut scenario = stream();
    scenario.server.accept_full = 2;
    let mut world = World::new(&scenario);
    world.finish(secs(3600));
}

/// The server's host starts anew in the middle of a conversation: what it no longer knows it resets.
#[test]
fn server_reboots__connection_reset() {
    let mut world = World::new(&stream());
    world.run_for(secs(5));
    world.server.slot = Slot::Listening;
    world.run_for(secs(5));
    assert_eq!(world.client.error, Some(Error::Reset));
}

/// RFC 9293 section 3.5.1, figure 9: the client's host starts anew and uses the same ports. The challenge ACK of
/// RFC 5961 shows it the old connection, its reset ends that, and its next SYN succeeds.
#[test]
fn client_reboots__and_connects_from_the_same_port() {
    for (case, step) in [1, 500, 40_000, 10_000_000, 0xf000_0000u32]
        .into_iter()
        .enumerate()
    {
        let mut scenario = silence();
        scenario.seed = case as u64;
        scenario.server.relisten = true;
        let mut world = World::new(&scenario);
        world.run_for(secs(5));
        assert_eq!(state(&world.server), Some(State::Established));
        let iss = world.client.setup.iss.wrapping_add(step);
        reboot_client(&mut world, iss, Plan::default());
        world.run_for(secs(5));
        assert_eq!(
            state(&world.client),
            Some(State::FinWait2),
            "ISS {step} further"
        );
        assert_eq!(world.client.error, None);
        assert_eq!(world.server.error, Some(Error::Reset));
        assert_eq!(state(&world.server), Some(State::CloseWait));
    }
}

/// RFC 1122 section 4.2.2.13, RFC 6191 section 2: a SYN reopens a connection in TIME-WAIT, by its timestamp or by its number.
#[test]
fn time_wait__is_reopened_by_a_newer_syn() {
    let back = 0u32.wrapping_sub(100_000);
    for (timestamps, step, rfc1337, reopens) in [
        (true, 100_000, true, true),
        (true, back, true, true),
        (false, 100_000, true, true),
        // An older number, and nothing that tells it apart from an old duplicate: the ACK that it gets draws a
        // reset from the new connection, and this ends TIME-WAIT, unless RFC 1337 is followed.
        (false, back, false, false),
        (false, back, true, false),
    ] {
        let mut scenario = Scenario::default();
        scenario.client.config.timestamps = timestamps;
        scenario.server.config.rfc1337 = rfc1337;
        // The server closes first.
        scenario.client_plan.finish = Finish::AfterPeer;
        scenario.server.relisten = true;
        let mut world = World::new(&scenario);
        world.run_for(secs(2));
        assert!(matches!(world.server.slot, Slot::Waiting(..)));
        assert!(world.client.is_gone());
        let old = world.server.setup.iss;

        let iss = world.client.setup.iss.wrapping_add(step);
        // The server's program is the next one: it has its own end of file to come.
        world.server.app = App::new(Plan::default(), &Plan::default());
        let plan = Plan {
            finish: Finish::AfterPeer,
            ..Plan::default()
        };
        reboot_client(&mut world, iss, plan);
        world.run_for(secs(2));
        if reopens {
            assert!(
                world.client.is_gone(),
                "timestamps {timestamps}, ISS {step} further"
            );
            assert_eq!(world.client.error, None);
            let gap = world.server.setup.iss.wrapping_sub(old);
            assert!(gap > 65_535 && gap < 100_000, "{gap}");
        } else if rfc1337 {
            assert!(matches!(world.server.slot, Slot::Waiting(..)));
            assert_eq!(state(&world.client), Some(State::SynSent));
        } else {
            assert!(world.client.is_gone());
            assert_eq!((world.client.error, world.server.setup.iss), (None, old));
        }
    }
}

/// Whether FIN-WAIT-2 is all that is left of the host's connection.
fn awaits_fin(host: &Host) -> bool {
    matches!(&host.slot, Slot::Waiting(kept, _) if kept.awaits_fin())
}

/// An orphan in FIN-WAIT-2 waits for `tcp_fin_timeout` and no longer.
#[test]
fn peer_never_closes__fin_wait_2_ends() {
    let mut scenario = Scenario::default();
    scenario.client_plan.finish = Finish::Close;
    scenario.server_plan = Plan {
        think: secs(10_000),
        ..Plan::default()
    };
    let mut world = World::new(&scenario);
    world.run_for(secs(1));
    assert!(awaits_fin(&world.client));
    world.run_for(secs(58));
    assert!(awaits_fin(&world.client));
    world.run_for(secs(3));
    assert!(world.client.is_gone());
    assert_eq!(world.client.error, None);
}

/// The program goes while the peer still sends: the peer learns of it by a reset (RFC 1122 section 4.2.2.13).
#[test]
fn close_while_the_peer_sends__reset() {
    let mut scenario = stream();
    scenario.server_plan = Plan {
        think: secs(5),
        finish: Finish::Close,
        ..Plan::default()
    };
    let mut world = World::new(&scenario);
    world.run_for(secs(8));
    assert!(matches!(
        world.client.error,
        Some(Error::Reset | Error::ResetAfterFin)
    ));
    assert!(world.server.is_gone());
}

/// Somebody who sees nothing, and guesses: resets and SYNs within the window but not at its edge, data and FINs with
/// acknowledgments that cannot be. The conversation does not notice (RFC 5961).
#[test]
fn blind_attacker() {
    for seed in 0..60 {
        let mut rng = Rng::new(seed);
        let mut scenario = stream();
        scenario.seed = seed;
        scenario.client.config.timestamps = seed % 2 == 0;
        scenario.client.iss = rng.next() as u32;
        scenario.server.iss = rng.next() as u32;
        scenario.to_server.loss = 10;
        scenario.server_plan = Plan {
            stream: 9,
            bytes: 100_000,
            ..Plan::default()
        };
        let mut world = World::new(&scenario);
        let mut attacks = 0;
        while world.step() {
            let at_server = rng.chance(500);
            let host = if at_server {
                &world.server
            } else {
                &world.client
            };
            let Some(socket) = host.socket() else {
                continue;
            };
            let conn = &socket.conn;
            // A handshake is open to guesses until the window is known.
            if matches!(
                conn.state(),
                State::SynSent | State::SynReceived | State::Closed
            ) {
                continue;
            }
            let inside = rng.between(1, u64::from(conn.rcv_wnd().max(2)) - 1) as u32;
            let mut header = Header {
                seq: conn.rcv_nxt().add(inside),
                ack: conn.snd_nxt().add(1 + rng.below(1 << 30) as u32),
                flags: rng.pick(&[Flags::RST, Flags::SYN, Flags::SYN_ACK, Flags::RST_ACK]),
                window: rng.next() as u16,
                ..Header::default()
            };
            let mut payload = Vec::new();
            if rng.chance(500) {
                header.seq = SeqNum::new(rng.next() as u32);
                header.flags = rng.pick(&[Flags::ACK, Flags::FIN_ACK, Flags::NONE]);
                payload = vec![0xbd; rng.below(2_000) as usize];
            }
            world.inject(at_server, &header, &payload);
            attacks += 1;
            if world.client.app.is_done() && world.server.app.is_done() {
                break;
            }
        }
        world.finish(secs(3600));
        assert!(attacks > 100, "{attacks}");
    }
}
