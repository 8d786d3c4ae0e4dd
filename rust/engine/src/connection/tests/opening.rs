// SPDX-License-Identifier: GPL-2.0

//! Active, passive and simultaneous open.

use super::script::*;
use crate::connection::{Connection, Error, Event, PassiveOpen, Payload, Rx, State, TimerKind};
use crate::context::{Config, Context, SocketOptions};
use crate::flight::NoFlight;
use crate::request::{Request, RequestOpen, RequestVerdict};
use crate::segment::Segment;
use crate::seq::SeqNum;
use crate::time::{Duration, Instant};
use crate::transmit::{BurstLimit, TransmitKind};
use crate::wire::{Ecn, Flags, Header, Options, Timestamps, WindowScale};

const ZERO: SeqNum = SeqNum::new(0);

#[test]
fn connect__the_syn_offers_what_the_settings_allow() {
    for (scale, sack, stamps) in [
        (true, true, true),
        (false, true, false),
        (false, false, true),
    ] {
        let config = Config {
            window_scaling: scale,
            sack,
            timestamps: stamps,
            ..Config::default()
        };
        let mut peer = syn_sent_with(config, SocketOptions::default());
        let syn = peer.next();
        let options = syn.header.options;
        assert_eq!(syn.kind, TransmitKind::Syn);
        assert_eq!((syn.header.seq, syn.header.flags), (ISS, Flags::SYN));
        assert_eq!(options.mss, Some(MSS));
        assert_eq!(options.window_scale, scale.then_some(WindowScale::new(0)));
        assert_eq!(options.sack_permitted, sack);
        assert_eq!(options.timestamps.map(|t| t.ecr), stamps.then_some(0));
        assert_eq!(syn.header.window, 50_000);
        peer.quiet();
    }
}

/// RFC 9293 section 3.10.7.3, every branch.
#[test]
fn syn_sent__table() {
    let good = ISS.add(1);
    // (flags, ack) -> (state, kind of the reply, error)
    let table = [
        // An ACK of something never sent: a reset of its number, and nothing changes.
        (
            Flags::ACK,
            ISS,
            State::SynSent,
            Some(TransmitKind::Reset),
            None,
        ),
        (
            Flags::ACK,
            ISS.add(2),
            State::SynSent,
            Some(TransmitKind::Reset),
            None,
        ),
        (
            Flags::SYN_ACK,
            ISS,
            State::SynSent,
            Some(TransmitKind::Reset),
            None,
        ),
        (
            Flags::SYN_ACK,
            ISS.sub(1),
            State::SynSent,
            Some(TransmitKind::Reset),
            None,
        ),
        (
            Flags::SYN_ACK,
            ISS.add(1 << 31),
            State::SynSent,
            Some(TransmitKind::Reset),
            None,
        ),
        // ... unless it is itself a reset.
        (Flags::RST_ACK, ISS, State::SynSent, None, None),
        (Flags::RST_ACK, ISS.add(2), State::SynSent, None, None),
        // A reset counts with the ACK of our SYN only.
        (Flags::RST, ZERO, State::SynSent, None, None),
        (
            Flags::RST.union(Flags::SYN),
            ZERO,
            State::SynSent,
            None,
            None,
        ),
        (
            Flags::RST_ACK,
            good,
            State::Closed,
            None,
            Some(Error::Refused),
        ),
        // Neither SYN nor RST.
        (Flags::ACK, good, State::SynSent, None, None),
        (Flags::FIN_ACK, good, State::SynSent, None, None),
        (Flags::NONE, ZERO, State::SynSent, None, None),
        (Flags::FIN, ZERO, State::SynSent, None, None),
        // The peer's SYN.
        (
            Flags::SYN_ACK,
            good,
            State::Established,
            Some(TransmitKind::Ack),
            None,
        ),
        (
            Flags::SYN,
            ZERO,
            State::SynReceived,
            Some(TransmitKind::SynAck),
            None,
        ),
    ];
    for (flags, ack, state, reply, error) in table {
        let mut peer = in_state(State::SynSent);
        let _ = peer.give(seg(flags, IRS, ack, 0));
        let what = (flags, ack.get().wrapping_sub(ISS.get()));
        assert_eq!(peer.conn.state(), state, "{what:?}");
        let sent = peer.sent();
        assert_eq!(sent.first().map(|t| t.kind), reply, "{what:?}");
        assert!(sent.len() <= 1);
        if reply == Some(TransmitKind::Reset) {
            assert_eq!(sent[0].header.seq, ack);
            assert_eq!(sent[0].header.flags, Flags::RST);
        }
        assert_eq!(peer.conn.error(), error, "{what:?}");
        let timer = matches!(state, State::SynSent | State::SynReceived);
        assert_eq!(peer.conn.poll_timeout().is_some(), timer, "{what:?}");
    }
}

/// RFC 7323 section 2.2 for the scale, RFC 7323 section 3 for timestamps, RFC 2018 section 2 for SACK.
#[test]
fn syn_sent__options_are_agreed_only_when_both_offer() {
    for (ours, theirs) in [(true, true), (true, false), (false, true)] {
        let config = Config {
            window_scaling: ours,
            sack: ours,
            timestamps: ours,
            ..Config::default()
        };
        let mut peer = syn_sent_with(config, SocketOptions::default());
        let _ = peer.next();
        let mut syn = seg(Flags::SYN_ACK, IRS, ISS.add(1), 0);
        syn.header.options = Options {
            mss: Some(700),
            window_scale: theirs.then_some(WindowScale::new(7)),
            sack_permitted: theirs,
            timestamps: theirs.then_some(Timestamps { val: 9, ecr: 0 }),
            ..Options::default()
        };
        let _ = peer.give(syn);
        let both = ours && theirs;
        let agreed = peer.conn.negotiated().unwrap();
        assert_eq!(agreed.snd_scale.get(), if both { 7 } else { 0 });
        assert_eq!((agreed.sack, agreed.timestamps), (both, both));
        assert_eq!(agreed.peer_mss, 700);
        // The timestamps' 12 bytes are taken from every segment.
        assert_eq!(peer.conn.mss(), if both { 688 } else { 700 });
        let ack = peer.next();
        assert_eq!(
            ack.header.options.timestamps.map(|t| t.ecr),
            both.then_some(9)
        );
        // The window of a SYN is never scaled (RFC 7323 section 2.2).
        assert_eq!(peer.conn.snd_wnd(), 60_000);
    }
}

/// RFC 9293 section 3.7.1, of IPv4.
#[test]
fn syn_sent__without_an_mss_option_536() {
    let mut peer = in_state(State::SynSent);
    let _ = peer.give(seg(Flags::SYN_ACK, IRS, ISS.add(1), 0));
    assert_eq!(peer.conn.mss(), 536);
}

#[test]
fn syn_sent__an_mss_of_nothing_is_not_believed() {
    let mut peer = in_state(State::SynSent);
    let mut syn = seg(Flags::SYN_ACK, IRS, ISS.add(1), 0);
    syn.header.options.mss = Some(0);
    let _ = peer.give(syn);
    assert!(peer.conn.mss() >= 48);
}

#[test]
fn syn_sent__max_seg_bounds_both_directions() {
    let options = SocketOptions {
        max_seg: core::num::NonZeroU16::new(400),
        ..SocketOptions::default()
    };
    let mut peer = syn_sent_with(Config::default(), options);
    assert_eq!(peer.next().header.options.mss, Some(400));
    let mut syn = seg(Flags::SYN_ACK, IRS, ISS.add(1), 0);
    syn.header.options.mss = Some(1460);
    let _ = peer.give(syn);
    assert_eq!(peer.conn.mss(), 400);
}

/// tcp_syn_retries and tcp_syn_linear_timeouts as ip-sysctl.rst has them: 67 s to the last SYN, 131 s in all. RFC 9293
/// section 3.8.3 has three minutes, RFC 6298 rule 5.5 doubles from the first on.
#[test]
fn syn_sent__retries() {
    let mut peer = syn_sent();
    let _ = peer.next();
    let mut waited = std::vec::Vec::new();
    while peer.conn.state() == State::SynSent {
        waited.push(peer.expire() / 1000);
        let sent = peer.sent();
        assert_eq!(sent.len(), usize::from(peer.conn.state() == State::SynSent));
    }
    assert_eq!(waited, [1, 1, 1, 1, 1, 2, 4, 8, 16, 32, 64]);
    assert_eq!(peer.conn.error(), Some(Error::TimedOut));
    assert!(peer.events().contains(Event::Closed));
    assert_eq!(peer.conn.poll_timeout(), None);
}

#[test]
fn syn_sent__data_written_early_goes_after_the_handshake() {
    let mut peer = syn_sent();
    let _ = peer.next();
    peer.write(300);
    peer.quiet();
    let _ = peer.give(seg(Flags::SYN_ACK, IRS, ISS.add(1), 0));
    // The data carries the ACK.
    assert_eq!(peer.sent_short(), [(TransmitKind::Data, 0, 300)]);
}

#[test]
fn syn_sent__unreachable() {
    let mut peer = in_state(State::SynSent);
    let cx = Context::new(peer.now, &peer.config);
    // Not about our SYN.
    peer.conn.on_unreachable(&cx, ISS.add(5), true);
    assert_eq!(peer.conn.state(), State::SynSent);
    // Soft: the error of the timeout to come.
    peer.conn.on_unreachable(&cx, ISS, false);
    assert_eq!(peer.conn.state(), State::SynSent);
    while peer.conn.state() == State::SynSent {
        peer.expire();
    }
    assert_eq!(peer.conn.error(), Some(Error::Unreachable));

    let mut peer = in_state(State::SynSent);
    let cx = Context::new(peer.now, &peer.config);
    peer.conn.on_unreachable(&cx, ISS, true);
    assert_eq!(peer.conn.error(), Some(Error::Unreachable));
    assert_eq!(peer.conn.state(), State::Closed);
}

/// RFC 9293 section 3.5, figure 7.
#[test]
fn simultaneous_open() {
    let mut peer = syn_sent();
    let _ = peer.next();
    let _ = peer.give(seg(Flags::SYN, IRS, ZERO, 0));
    let syn_ack = peer.next();
    assert_eq!(syn_ack.kind, TransmitKind::SynAck);
    assert_eq!((syn_ack.header.seq, syn_ack.header.ack), (ISS, IRS.add(1)));
    peer.quiet();
    // It is lost: it comes again, by the peer's SYN and by time.
    let _ = peer.give(seg(Flags::SYN, IRS, ZERO, 0));
    assert_eq!(peer.next().kind, TransmitKind::SynAck);
    peer.expire();
    assert_eq!(peer.next().kind, TransmitKind::SynAck);
    // The peer's SYN-ACK repeats its SYN.
    let _ = peer.give(seg(Flags::SYN_ACK, IRS, ISS.add(1), 0));
    assert_eq!(peer.conn.state(), State::Established);
    assert!(peer.events().contains(Event::Established));
    peer.write(10);
    assert_eq!(peer.sent_short(), [(TransmitKind::Data, 0, 10)]);
}

/// Linux's tcp_retransmit_timer and tcp_write_timeout: the linear timeouts are a SYN's alone, and tcp_syn_retries counts, in
/// place of tcp_synack_retries.
#[test]
fn simultaneous_open__retries() {
    let mut peer = syn_sent();
    let _ = peer.next();
    let _ = peer.give(seg(Flags::SYN, IRS, ZERO, 0));
    let _ = peer.next();
    let mut waited = std::vec::Vec::new();
    while peer.conn.state() == State::SynReceived {
        waited.push(peer.expire() / 1000);
        let sent = peer.sent();
        let open = peer.conn.state() == State::SynReceived;
        assert_eq!(sent.len(), usize::from(open));
    }
    assert_eq!(waited, [1, 2, 4, 8, 16, 32, 64]);
    assert_eq!(peer.conn.error(), Some(Error::TimedOut));
}

#[test]
fn syn_received__table() {
    // (flags, seq, ack) -> (state, reply)
    let good = ISS.add(1);
    let next = IRS.add(1);
    let table = [
        (Flags::ACK, next, good, State::Established, None),
        (
            Flags::ACK,
            next,
            ISS,
            State::SynReceived,
            Some(TransmitKind::Reset),
        ),
        (
            Flags::ACK,
            next,
            ISS.add(2),
            State::SynReceived,
            Some(TransmitKind::Reset),
        ),
        (Flags::RST, next, ZERO, State::Closed, None),
        (
            Flags::RST,
            next.add(1),
            ZERO,
            State::SynReceived,
            Some(TransmitKind::ChallengeAck),
        ),
        (Flags::RST, next.sub(1000), ZERO, State::SynReceived, None),
        (
            Flags::SYN,
            next.add(5),
            ZERO,
            State::SynReceived,
            Some(TransmitKind::ChallengeAck),
        ),
        (Flags::NONE, next, ZERO, State::SynReceived, None),
        (
            Flags::FIN_ACK,
            next,
            good,
            State::CloseWait,
            Some(TransmitKind::Ack),
        ),
    ];
    for (flags, seq, ack, state, reply) in table {
        let mut peer = in_state(State::SynReceived);
        let _ = peer.give(seg(flags, seq, ack, 0));
        peer.let_delayed_ack_go();
        assert_eq!(peer.conn.state(), state, "{flags:?} {seq:?} {ack:?}");
        let sent = peer.sent();
        assert_eq!(
            sent.first().map(|t| t.kind),
            reply,
            "{flags:?} {seq:?} {ack:?}"
        );
    }
}

#[test]
fn syn_received__a_close_before_the_ack_sends_the_fin_after_it() {
    let mut peer = in_state(State::SynReceived);
    peer.shutdown();
    peer.quiet();
    assert!(!peer.conn.can_send());
    peer.ack(0);
    assert_eq!(peer.conn.state(), State::FinWait1);
    assert_eq!(peer.sent_short(), [(TransmitKind::Fin, 0, 0)]);
}

#[test]
fn accept__the_completing_ack_may_carry_data_and_fin() {
    let config = Config::default();
    let mut now = Instant::from_secs(10);
    let cx = Context::new(now, &config);
    let syn = Segment {
        header: Header {
            seq: IRS,
            flags: Flags::SYN,
            window: 1000,
            options: Options {
                mss: Some(1460),
                window_scale: Some(WindowScale::new(4)),
                sack_permitted: true,
                timestamps: Some(Timestamps { val: 77, ecr: 0 }),
                ..Options::default()
            },
            ..Header::default()
        },
        payload_len: 0,
        ecn: Ecn::NotEct,
    };
    let open = RequestOpen {
        iss: ISS,
        ts_offset: 5,
        advertised_mss: 1460,
        recv_space: 100_000,
        recv_limit: 1_000_000,
        signature: crate::wire::Signature::NONE,
    };
    let mut request = Request::new(&cx, &syn, &open);
    let syn_ack = request.syn_ack(&cx);
    now += Duration::from_millis(30);
    let cx = Context::new(now, &config);
    let mut ack = seg(Flags::FIN_ACK, IRS.add(1), ISS.add(1), 500);
    ack.header.window = 1000;
    ack.header.options.timestamps = Some(Timestamps {
        val: 107,
        ecr: syn_ack.header.options.timestamps.unwrap().val,
    });
    assert!(matches!(
        request.on_segment(&cx, &ack),
        RequestVerdict::Complete
    ));
    let passive = PassiveOpen {
        path_mss: 1400,
        recv_space: 100_000,
        options: SocketOptions::default(),
    };
    let mut conn = Connection::accept(&cx, &request, &passive);
    assert_eq!(conn.state(), State::SynReceived);
    assert!(conn.timer_of(TimerKind::Retransmit).is_some());
    let rx = Rx {
        room: true,
        ..Rx::default()
    };
    let taken = conn.on_segment(&cx, &ack, rx, &mut NoFlight);
    assert_eq!(taken, Payload::InOrder { skip: 0, len: 500 });
    assert_eq!(conn.state(), State::CloseWait);
    assert!(conn.take_events().contains(Event::Established));
    assert_eq!(conn.mss(), 1388);
    assert_eq!(conn.snd_wnd(), 16_000);
    // Our own clock, in ticks of 32 microseconds.
    let srtt = conn.srtt().unwrap().as_micros();
    assert!(srtt.abs_diff(30_000) < 32, "{srtt}");
    assert_eq!(conn.cwnd(), 13_880);
    // A moment for the user to close too.
    assert!(conn
        .poll_transmit(&cx, BurstLimit(0), &mut NoFlight)
        .is_none());
    now = conn.poll_timeout().unwrap();
    assert_eq!(now.since(cx.now), Duration::from_millis(1));
    let cx = Context::new(now, &config);
    conn.on_timer(&cx, &mut NoFlight);
    let reply = conn
        .poll_transmit(&cx, BurstLimit(0), &mut NoFlight)
        .unwrap();
    assert_eq!(reply.header.ack, IRS.add(502));
    assert_eq!(
        reply.header.options.timestamps,
        Some(Timestamps {
            val: 10_036,
            ecr: 107
        })
    );
    assert_eq!(conn.poll_timeout(), None);
}
