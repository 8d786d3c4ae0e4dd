// SPDX-License-Identifier: GPL-2.0

//! A half-open connection: what it answers, what it offers, when it gives up.

use super::*;
use crate::context::Config;
use crate::time::Instant;
use std::format;
use std::string::String;

const ISS: u32 = u32::MAX;
const IRS: u32 = 0xffff_fff0;

fn cx(config: &Config) -> Context<'_> {
    Context::new(Instant::from_secs(1000), config)
}

fn segment(flags: Flags, seq: u32, ack: u32, payload_len: u32) -> Segment {
    Segment {
        header: Header {
            seq: SeqNum::new(IRS).add(seq),
            ack: SeqNum::new(ISS).add(ack),
            flags,
            window: 1000,
            ..Header::default()
        },
        payload_len,
        ecn: Ecn::NotEct,
    }
}

fn stamped(mut segment: Segment, val: u32) -> Segment {
    segment.header.options.timestamps = Some(Timestamps { val, ecr: 0 });
    segment
}

fn syn() -> Segment {
    let mut syn = stamped(segment(Flags::SYN, 0, 0, 0), 700);
    syn.header.options.mss = Some(1460);
    syn.header.options.window_scale = Some(WindowScale::new(9));
    syn.header.options.sack_permitted = true;
    syn
}

const OPEN: RequestOpen = RequestOpen {
    iss: SeqNum::new(ISS),
    ts_offset: 5,
    advertised_mss: 1400,
    recv_space: 10_000,
    recv_limit: 6 << 20,
    signature: crate::wire::Signature::NONE,
};

/// `ACK+1,+1` is an ACK with the numbers ISS + 1 and IRS + 1.
fn name(transmit: &Transmit) -> String {
    let header = &transmit.header;
    format!(
        "{:?}+{},+{}",
        header.flags,
        header.seq.get().wrapping_sub(ISS),
        header.ack.get().wrapping_sub(IRS)
    )
}

fn verdict(request: &mut Request, cx: &Context<'_>, segment: &Segment) -> String {
    match request.on_segment(cx, segment) {
        RequestVerdict::Complete => String::from("complete"),
        RequestVerdict::Resend(transmit) => format!("resend {}", name(&transmit)),
        RequestVerdict::Reply(transmit) if transmit.kind == TransmitKind::ChallengeAck => {
            format!("challenge {}", name(&transmit))
        }
        RequestVerdict::Reply(transmit) => name(&transmit),
        RequestVerdict::Drop => String::from("drop"),
        RequestVerdict::Ignore => String::from("ignore"),
    }
}

/// RFC 9293 section 3.10.7.4, SYN-RECEIVED; RFC 5961 sections 3.2 and 4.2.
#[test]
fn on_segment__table() {
    let push = Flags::ACK.union(Flags::PSH);
    let syn_fin = Flags::SYN.union(Flags::FIN);
    let rst_to_nowhere = format!("RST+9,+{}", 0u32.wrapping_sub(IRS));
    let reset = rst_to_nowhere.as_str();
    // Flags, SEG.SEQ - IRS, SEG.ACK - ISS, payload, verdict.
    let table: &[(Flags, u32, u32, u32, &str)] = &[
        // The ACK that is waited for, alone, with data, with FIN.
        (Flags::ACK, 1, 1, 0, "complete"),
        (push, 1, 1, 100, "complete"),
        (push, 1, 1, 64_000, "complete"),
        (Flags::FIN_ACK, 1, 1, 0, "complete"),
        (Flags::ACK, 500, 1, 0, "complete"),
        (Flags::ACK, 9_716, 1, 5, "complete"),
        (Flags::ACK, 9_717, 1, 0, "complete"),
        // Nobody sends a SYN-ACK to a listener.
        (Flags::SYN_ACK, 0, 1, 0, "ACK+1,+1"),
        (Flags::SYN_ACK, 0, 1, 10, "challenge ACK+1,+1"),
        // The SYN again.
        (Flags::SYN, 0, 0, 0, "resend SYN,ACK+0,+1"),
        (Flags::SYN, 0, 77, 500, "resend SYN,ACK+0,+1"),
        (syn_fin, 0, 0, 0, "resend SYN,ACK+0,+1"),
        // A wrong acknowledgment.
        (Flags::ACK, 1, 9, 0, reset),
        (Flags::ACK, 90_000, 9, 0, reset),
        (Flags::SYN_ACK, 0, 9, 0, reset),
        (Flags::FIN_ACK, 1, 9, 0, reset),
        // Outside of the window.
        (Flags::ACK, 0, 1, 0, "ACK+1,+1"),
        (Flags::ACK, 0, 1, 1, "ACK+1,+1"),
        (Flags::ACK, 9_717, 1, 1, "ACK+1,+1"),
        (Flags::SYN, 20_000, 0, 0, "ACK+1,+1"),
        (Flags::SYN, u32::MAX, 0, 0, "ACK+1,+1"),
        (Flags::NONE, 20_000, 0, 0, "ACK+1,+1"),
        (Flags::RST, 0, 0, 0, "ignore"),
        (Flags::RST, 9_718, 0, 0, "ignore"),
        (Flags::RST_ACK, 9_718, 9, 0, "ignore"),
        // RST: the exact number, and a guess.
        (Flags::RST, 1, 0, 0, "drop"),
        (Flags::RST_ACK, 1, 1, 0, "drop"),
        (Flags::RST_ACK, 1, 9, 0, "drop"),
        (Flags::RST, 2, 0, 0, "challenge ACK+1,+1"),
        (Flags::RST, 9_717, 0, 0, "challenge ACK+1,+1"),
        // Another SYN within the window.
        (Flags::SYN, 5, 0, 0, "challenge ACK+1,+1"),
        (Flags::SYN_ACK, 5, 1, 0, "challenge ACK+1,+1"),
        // No ACK.
        (Flags::NONE, 1, 0, 0, "ignore"),
        (Flags::PSH, 1, 0, 10, "ignore"),
        (Flags::FIN, 1, 0, 0, "ignore"),
    ];
    let config = Config::default();
    for (flags, seq, ack, len, expected) in table {
        let mut request = Request::new(&cx(&config), &syn(), &OPEN);
        let segment = segment(*flags, *seq, *ack, *len);
        let got = verdict(&mut request, &cx(&config), &segment);
        assert_eq!(got, *expected, "{flags:?} seq {seq} ack {ack} len {len}");
    }
}

/// RFC 7323 section 5.3; what is older, RFC 7323 section 5.2 says, modulo 2^32.
#[test]
fn on_segment__paws() {
    let config = Config::default();
    for (val, expected) in [
        (700, "complete"),
        (701, "complete"),
        (699, "ACK+1,+1"),
        (700 + (1 << 31), "ACK+1,+1"),
    ] {
        let mut request = Request::new(&cx(&config), &syn(), &OPEN);
        let ack = stamped(segment(Flags::ACK, 1, 1, 0), val);
        assert_eq!(
            verdict(&mut request, &cx(&config), &ack),
            expected,
            "TSval {val}"
        );
    }
    let mut request = Request::new(&cx(&config), &syn(), &OPEN);
    let old_syn = stamped(segment(Flags::SYN, 0, 0, 0), 600);
    assert_eq!(verdict(&mut request, &cx(&config), &old_syn), "ACK+1,+1");
    let old_rst = stamped(segment(Flags::RST, 1, 0, 0), 600);
    assert_eq!(verdict(&mut request, &cx(&config), &old_rst), "drop");
}

/// TSval 0 of a SYN is no timestamp that others could be older than.
#[test]
fn on_segment__paws_of_a_syn_that_said_0() {
    let config = Config::default();
    let mut request = Request::new(&cx(&config), &stamped(syn(), 0), &OPEN);
    assert_eq!(request.ts_recent(), Some(0));
    let ack = stamped(segment(Flags::ACK, 1, 1, 0), 700 + (1 << 31));
    assert_eq!(verdict(&mut request, &cx(&config), &ack), "complete");
}

#[test]
fn on_segment__answers_are_limited_but_data_is_always_answered() {
    let config = Config::default();
    let mut request = Request::new(&cx(&config), &syn(), &OPEN);
    let at = |millis| {
        Context::new(
            Instant::from_secs(1000) + Duration::from_millis(millis),
            &config,
        )
    };
    let old = segment(Flags::ACK, 0, 1, 0);
    assert_eq!(verdict(&mut request, &at(0), &old), "ACK+1,+1");
    assert_eq!(verdict(&mut request, &at(100), &old), "ignore");
    assert_eq!(
        verdict(&mut request, &at(100), &segment(Flags::SYN, 0, 0, 0)),
        "ignore"
    );
    assert_eq!(
        verdict(&mut request, &at(100), &segment(Flags::ACK, 0, 1, 1)),
        "ACK+1,+1"
    );
    assert_eq!(verdict(&mut request, &at(520), &old), "ACK+1,+1");
}

#[test]
fn syn_ack__offers_what_was_offered() {
    let mut config = Config::default();
    let request = Request::new(&cx(&config), &syn(), &OPEN);
    let syn_ack = request.syn_ack(&cx(&config));
    // Seven segments, in units of 128.
    assert_eq!(syn_ack.header.window, 9_716);
    assert_eq!(
        syn_ack.header.options,
        Options {
            mss: Some(1400),
            window_scale: Some(WindowScale::new(7)),
            sack_permitted: true,
            timestamps: Some(Timestamps {
                val: 1_000_005,
                ecr: 700
            }),
            ..Options::default()
        }
    );
    assert_eq!(
        request.window_scales(),
        Some((WindowScale::new(9), WindowScale::new(7)))
    );
    assert_eq!((request.peer_mss(), request.ts_recent()), (1460, Some(700)));

    // A peer that offers nothing, and settings that allow nothing.
    let bare = Request::new(&cx(&config), &segment(Flags::SYN, 0, 0, 0), &OPEN);
    let mss_only = Options {
        mss: Some(1400),
        ..Options::default()
    };
    assert_eq!(bare.syn_ack(&cx(&config)).header.options, mss_only);
    assert_eq!(
        (bare.peer_mss(), bare.window_scales(), bare.ts_recent()),
        (536, None, None)
    );
    config.window_scaling = false;
    config.sack = false;
    config.timestamps = false;
    let shut = Request::new(&cx(&config), &syn(), &OPEN);
    assert_eq!(shut.syn_ack(&cx(&config)).header.options, mss_only);
}

/// RFC 9293 section 3.10.7.2, of whose SYN the data is not kept.
#[test]
fn new__a_hostile_syn() {
    let config = Config::default();
    let mut hostile = syn();
    hostile.header.options.mss = Some(1);
    hostile.payload_len = 64_000;
    let open = RequestOpen {
        recv_space: u32::MAX,
        recv_limit: u32::MAX,
        ..OPEN
    };
    let request = Request::new(&cx(&config), &hostile, &open);
    assert_eq!(request.peer_mss(), 48);
    assert_eq!(request.syn_ack(&cx(&config)).header.window, 65_535);
    // The right edge does not move back.
    let ack = request.ack(&cx(&config), TransmitKind::Ack);
    assert_eq!(ack.header.window, 4);
    assert_eq!(request.rcv_nxt(), SeqNum::new(IRS).add(1));
}

#[test]
fn first_window__whole_segments() {
    // Room, segment, window.
    let table = [
        (20_000, 1460, 18_980),
        (10_000, 1388, 9_716),
        (1_000, 1460, 1_000),
        (65_535, 1285, 65_535),
        // What Linux's default buffer makes, with timestamps and without.
        (65_536, 1460, 64_240),
        (65_536, 1448, 65_160),
        (500_000, 1460, 65_535),
        (5_000, 0, 5_000),
        (0, 1460, 0),
    ];
    for (space, segment, expected) in table {
        assert_eq!(first_window(space, segment), expected, "{space} {segment}");
    }
}

#[test]
fn rtt__of_a_syn_ack_that_was_sent_once() {
    let config = Config::default();
    let at = |micros| {
        Context::new(
            Instant::from_secs(1000) + Duration::from_micros(micros),
            &config,
        )
    };
    let request = Request::new(&at(0), &syn(), &OPEN);
    assert_eq!(request.rtt(&at(0)), Some(Duration::from_micros(32)));
    for micros in [100, 10_000, 999_000] {
        let rtt = request.rtt(&at(micros)).unwrap().as_micros();
        assert!((micros..micros + 64).contains(&rtt), "{micros} {rtt}");
    }
    let mut again = request;
    assert_eq!(
        verdict(&mut again, &at(500_000), &syn()),
        "resend SYN,ACK+0,+1"
    );
    assert_eq!(again.rtt(&at(510_000)), None);
    let mut again = request;
    let _ = again.on_timer(&at(1_000_000));
    assert_eq!((again.resent(), again.rtt(&at(1_100_000))), (1, None));
    // The rest is as it was.
    assert_eq!(again.window_scales(), request.window_scales());
    assert!(again.sack_permitted() && again.ts_recent() == Some(700));
}

#[test]
fn on_timer__ends_some_time_whatever_the_setting() {
    let config = Config {
        synack_retries: u8::MAX,
        ..Config::default()
    };
    let mut request = Request::new(&cx(&config), &syn(), &OPEN);
    let resends = || matches!(request.on_timer(&cx(&config)), RequestTimer::Resend(_));
    assert_eq!(
        std::iter::repeat_with(resends).take_while(|r| *r).count(),
        31
    );
    assert_eq!(request.resent(), 31);
}

/// RFC 6298 section 5, for a minute; RFC 9293 section 3.8.3 has three.
#[test]
fn on_timer__1_2_4_8_16_32_seconds() {
    let config = Config::default();
    let mut request = Request::new(&cx(&config), &syn(), &OPEN);
    let mut waited = 0;
    for seconds in [1, 2, 4, 8, 16] {
        assert_eq!(
            request.next_timeout(&cx(&config)),
            Duration::from_secs(seconds)
        );
        waited += seconds;
        assert!(
            matches!(request.on_timer(&cx(&config)), RequestTimer::Resend(t)
            if name(&t) == "SYN,ACK+0,+1" && t.kind == TransmitKind::SynAck)
        );
    }
    waited += request.next_timeout(&cx(&config)).as_secs();
    assert!(matches!(
        request.on_timer(&cx(&config)),
        RequestTimer::Expire
    ));
    assert_eq!((waited, request.resent()), (63, 5));
    let config = Config {
        synack_retries: 255,
        ..Config::default()
    };
    for _ in 0..255 {
        assert!(
            matches!(request.on_timer(&cx(&config)), RequestTimer::Resend(_))
                || request.resent() == 31
        );
        assert!(request.next_timeout(&cx(&config)) <= Duration::from_secs(120));
    }
}

/// Linux's `tcp_reqsk_timeout`, as its packetdrill script tcp_rto_synack_rto_max has it.
#[test]
fn next_timeout__not_beyond_rto_max() {
    let config = Config {
        rto_max: Duration::from_secs(1),
        ..Config::default()
    };
    let mut request = Request::new(&cx(&config), &syn(), &OPEN);
    for _ in 0..3 {
        assert_eq!(request.next_timeout(&cx(&config)), Duration::from_secs(1));
        let timer = request.on_timer(&cx(&config));
        assert!(matches!(timer, RequestTimer::Resend(_)));
    }
    assert_eq!(request.timeout_time(&cx(&config)), 2000);
}

#[test]
fn size() {
    assert!(size_of::<Request>() <= 28 && align_of::<Request>() <= 4);
}
