// SPDX-License-Identifier: GPL-2.0
//! Peers that are odd, broken or malicious. Where a case comes from a report about another stack, its comment
//! names it.
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

use common::rng::Rng;
use common::stand::{Stand, Way, IRS, ISS, MSS, PEER_TS, RECV_SPACE, WINDOW};
use oxtcp_engine::wire::{Ecn, Flags, Header, Options, SackBlocks, Timestamps};
use oxtcp_engine::{
    Config, Connection, Duration, Error, NoFlight, Segment, SeqNum, SeqRange, State, Transmit,
    TransmitKind,
};

/// Bytes that the peer of `Stand` offers: its windows are scaled by one.
const OFFERED: u32 = WINDOW as u32 * 2;

fn with_window(stand: &Stand, window: u16, ack: SeqNum) -> Segment {
    let mut segment = stand.ack();
    segment.header.window = window;
    segment.header.ack = ack;
    segment
}

fn bytes(sent: &[Transmit]) -> u32 {
    sent.iter().map(|transmit| transmit.payload.len).sum()
}

/// smoltcp #489: a window that shrinks below what is in flight made the subtraction overflow.
#[test]
fn window_shrinks_below_what_is_in_flight() {
    for left in [0, 1, 100, 499] {
        let mut stand = Stand::new(Way::InFlight, false, true);
        let una = stand.conn.snd_una();
        stand.put(&with_window(&stand, left, una));
        assert_eq!(stand.conn.snd_wnd(), u32::from(left) * 2);
        // Nothing new is sent, but what is in flight is sent again until it is acknowledged.
        let end = stand.conn.write_seq();
        let mut again = stand.expire().unwrap();
        if again.is_empty() {
            // No probe of the tail, which lies beyond the window; but the timeout follows.
            again = stand.expire().unwrap();
        }
        assert!(bytes(&again) > 0, "{again:?}");
        assert!(again.iter().all(|t| t.kind == TransmitKind::Retransmission));
        assert!(again.iter().all(|t| t.payload.end().before_eq(end)));
        // And it goes on when the window opens.
        let nxt = stand.conn.snd_nxt();
        stand.put(&with_window(&stand, WINDOW, nxt));
        assert_eq!(
            stand.conn.unacked() + stand.conn.not_sent(),
            stand.conn.unacked()
        );
        let nxt = stand.conn.snd_nxt();
        stand.put(&with_window(&stand, WINDOW, nxt));
        assert_eq!(stand.conn.unacked(), 0);
    }
}

/// A window that stays shut: probed for ever while the peer answers, given up when it does not.
#[test]
fn zero_window__lives_as_long_as_the_peer_answers() {
    let mut stand = Stand::new(Way::ZeroWindow, false, true);
    for _ in 0..200 {
        let probes = stand.expire().unwrap();
        assert_eq!(probes.len(), 1, "{probes:?}");
        let una = stand.conn.snd_una();
        stand.put(&with_window(&stand, 0, una));
        assert_eq!(stand.conn.state(), State::Established);
    }
    // Hours later the window opens.
    let una = stand.conn.snd_una();
    let sent = stand.put(&with_window(&stand, WINDOW, una));
    assert_eq!(bytes(&sent), 3_000);

    let mut stand = Stand::new(Way::ZeroWindow, false, true);
    while stand.expire().is_some() {}
    assert_eq!(stand.conn.error(), Some(Error::TimedOut));
}

/// RFC 9293 section 3.8.6.2.1: a window that opens by a byte at a time is not filled by a byte at a time.
#[test]
fn silly_windows__are_not_filled() {
    let mut stand = Stand::new(Way::ZeroWindow, false, true);
    let una = stand.conn.snd_una();
    let mut sent = Vec::new();
    for window in 1..40 {
        sent.extend(stand.put(&with_window(&stand, window, una)));
    }
    assert_eq!(bytes(&sent), 0, "{sent:?}");
    // But it is not waited for for ever.
    let forced = stand.expire().unwrap();
    assert!(bytes(&forced) > 0, "{forced:?}");
}

/// RFC 9293 section 3.8.6.2.2: a reader that takes a byte at a time does not open the window by a byte at a time.
#[test]
fn silly_windows__are_not_offered() {
    let mut stand = Stand::new(Way::Established, false, true);
    while stand.conn.rcv_wnd() > 0 {
        let mut segment = stand.ack();
        segment.payload_len = stand.conn.rcv_wnd().min(u32::from(MSS));
        stand.put(&segment);
    }
    let mut windows = Vec::new();
    for free in 1..=RECV_SPACE {
        for transmit in stand.read_of(free, RECV_SPACE) {
            windows.push((free, transmit.header.window));
        }
        // An ACK that goes out in between tells no more.
        let mut old = stand.ack();
        old.header.seq = old.header.seq.sub(1);
        old.payload_len = 1;
        for transmit in stand.put(&old) {
            let edge = stand.conn.rcv_wnd();
            assert!(
                edge == 0 || edge + 32 > u32::from(MSS),
                "{edge} bytes of window: {transmit:?}"
            );
        }
    }
    assert!(!windows.is_empty() && windows.len() <= 6, "{windows:?}");
}

/// smoltcp #1048: a SYN-ACK with a wrong acknowledgment.
#[test]
fn syn_ack__with_a_wrong_acknowledgment() {
    for ack in [
        0,
        1,
        ISS.get(),
        ISS.get() + 2,
        ISS.get().wrapping_add(1 << 31),
        u32::MAX,
    ] {
        let mut stand = Stand::new(Way::SynSent, true, true);
        let mut syn_ack = Stand::syn(Flags::SYN_ACK, true);
        syn_ack.header.ack = SeqNum::new(ack);
        let sent = stand.put(&syn_ack);
        assert_eq!(stand.conn.state(), State::SynSent);
        assert_eq!(sent.len(), 1);
        assert_eq!(sent[0].header.flags, Flags::RST);
        assert_eq!(sent[0].header.seq, SeqNum::new(ack));
        // The right one still works.
        syn_ack.header.ack = ISS.add(1);
        stand.put(&syn_ack);
        assert_eq!(stand.conn.state(), State::Established);
    }
}

/// RFC 7323 section 2.2: "The window field in a segment where the SYN bit is set (i.e., a <SYN> or <SYN,ACK>) MUST NOT be
/// scaled."
#[test]
fn window__of_a_syn_is_not_scaled() {
    // Every one of these has a window of 8000 and a scale of one.
    let mut stand = Stand::new(Way::SynSent, true, true);
    let mut syn_ack = Stand::syn(Flags::SYN_ACK, true);
    syn_ack.header.ack = ISS.add(1);
    stand.put(&syn_ack);
    assert_eq!(stand.conn.snd_wnd(), u32::from(WINDOW));
    let ack = stand.ack();
    stand.put(&ack);
    assert_eq!(stand.conn.snd_wnd(), OFFERED);

    let mut stand = Stand::new(Way::SynCrossed, true, true);
    stand.put(&syn_ack);
    assert_eq!(stand.conn.state(), State::Established);
    assert_eq!(stand.conn.snd_wnd(), u32::from(WINDOW));

    let mut stand = Stand::new(Way::SynReceived, true, true);
    let ack = stand.ack();
    stand.put(&ack);
    assert_eq!(stand.conn.snd_wnd(), OFFERED);
}

/// RFC 5681 section 3.2: the third duplicate acknowledgment brings a retransmission, and seven tenths of
/// the window (RFC 9438 section 4.6).
#[test]
fn duplicate_acks__the_third_retransmits() {
    let mut stand = Stand::new(Way::Established, false, false);
    let ack = stand.ack();
    stand.put(&ack);
    stand.write(10_000);
    let una = stand.conn.snd_una();
    let flight = stand.conn.unacked();
    let mut sent = Vec::new();
    for duplicates in 1..=3 {
        sent.extend(stand.put(&with_window(&stand, WINDOW, una)));
        let again = sent.iter().any(|t| t.kind == TransmitKind::Retransmission);
        assert_eq!(again, duplicates == 3, "after {duplicates}");
    }
    assert!(stand.conn.in_recovery());
    assert!(stand.conn.ssthresh() <= flight * 7 / 10 + u32::from(MSS));
}

/// An MSS of one byte would have us send a header per byte (CVE-2019-11479), by RFC 9293 section 3.7.1.
#[test]
fn mss__of_one_byte() {
    for mss in [None, Some(1), Some(47)] {
        let mut stand = Stand::new(Way::SynSent, true, true);
        let mut syn_ack = Stand::syn(Flags::SYN_ACK, true);
        syn_ack.header.ack = ISS.add(1);
        syn_ack.header.options.mss = mss;
        stand.put(&syn_ack);
        stand.write(1_000);
        assert!(stand.conn.mss() >= 48 - 40, "{}", stand.conn.mss());
        let expected = mss.map_or(536 - 12, |_| 48 - 12);
        assert_eq!(stand.conn.mss(), expected);
    }
}

/// RFC 5961: only the exact number resets; guesses are answered, and not more often than is allowed.
#[test]
fn resets__guessed_by_the_thousand() {
    let mut stand = Stand::new(Way::Established, false, true);
    let mut answers = 0;
    for step in 1..10_000u32 {
        let mut guess = stand.ack();
        guess.header.flags = Flags::RST;
        guess.header.seq = guess.header.seq.add(step.wrapping_mul(430_000) | 1);
        answers += stand.put(&guess).len();
        stand.wait(Duration::from_micros(100));
    }
    assert_eq!(stand.conn.state(), State::Established);
    // One second, two answers a second.
    assert!(answers <= 3, "{answers} challenge ACKs");
}

/// RFC 5961 section 5: data with an acknowledgment that cannot be ours is not taken.
#[test]
fn data__injected_with_a_guessed_acknowledgment() {
    let stand = Stand::new(Way::InFlight, false, true);
    let nxt = stand.conn.rcv_nxt();
    let mut rng = Rng::new(1);
    let mut taken = 0;
    for _ in 0..1_000 {
        let mut evil = stand.ack();
        evil.header.ack = SeqNum::new(rng.next() as u32);
        evil.payload_len = 100;
        let mut stand = stand.clone();
        stand.put(&evil);
        taken += u32::from(stand.conn.rcv_nxt() != nxt);
    }
    // The acceptable ones are a window behind SND.UNA, of four thousand million.
    assert_eq!(taken, 0);
}

/// Savage et al.: acknowledging each byte of a segment, or the same thing many times, must not open the window faster
/// than the bytes that were acknowledged.
#[test]
fn acks__split_into_single_bytes() {
    let mut honest = Stand::new(Way::Established, false, true);
    honest.write(100_000);
    let mut greedy = honest.clone();
    let una = honest.conn.snd_una();
    honest.put(&with_window(&honest, u16::MAX, una.add(1_000)));
    for byte in 1..=1_000 {
        greedy.put(&with_window(&greedy, u16::MAX, una.add(byte)));
    }
    assert_eq!(greedy.conn.snd_una(), honest.conn.snd_una());
    assert!(
        greedy.conn.cwnd() <= honest.conn.cwnd(),
        "{} {}",
        greedy.conn.cwnd(),
        honest.conn.cwnd()
    );
}

#[test]
fn acks__the_same_one_ten_thousand_times() {
    let mut stand = Stand::new(Way::Established, false, true);
    stand.write(100_000);
    let una = stand.conn.snd_una();
    let mut sent = Vec::new();
    for _ in 0..10_000 {
        sent.extend(stand.put(&with_window(&stand, WINDOW, una)));
    }
    // One retransmission; the inflation of fast recovery ends at the peer's own window.
    let again = sent
        .iter()
        .filter(|t| t.kind == TransmitKind::Retransmission)
        .count();
    assert!(again <= 1, "{again}");
    assert!(stand.conn.unacked() <= OFFERED);
}

/// Blocks that lie: empty, reversed, of things never sent, around the whole space.
#[test]
fn sack__that_lies() {
    let mut rng = Rng::new(3);
    for _ in 0..2_000 {
        let mut stand = Stand::new(Way::InFlight, false, true);
        for _ in 0..8 {
            let una = stand.conn.snd_una();
            let mut segment = with_window(&stand, WINDOW, una);
            let mut blocks = SackBlocks::new();
            for _ in 0..rng.below(5) {
                let any = rng.next() as u32;
                let start = rng.pick(&[una, una.add(1000), una.sub(1000), SeqNum::new(any)]);
                let len = rng.pick(&[0, 1, 500, 1500, 1 << 31, u32::MAX, any]);
                blocks.push(SeqRange::new(start, len));
            }
            segment.header.options.sack = blocks;
            stand.put(&segment);
        }
        // Whatever was said, what is not acknowledged is sent again.
        let una = stand.conn.snd_una();
        let again = (0..4).any(|_| {
            let sent = stand.expire().unwrap();
            sent.iter().any(|t| t.payload.start == una)
        });
        assert!(again, "{:?}", stand.conn);
        assert_eq!(stand.conn.unacked() + stand.conn.not_sent(), 3_000);
    }
}

/// Overlapping segments in every order: each octet is taken once.
#[test]
fn overlaps__every_order() {
    let pieces = [
        (0, 300),
        (100, 300),
        (250, 10),
        (200, 800),
        (700, 200),
        (999, 1),
    ];
    let mut rng = Rng::new(9);
    for _ in 0..5_000 {
        let mut stand = Stand::new(Way::Established, false, true);
        let base = stand.conn.rcv_nxt();
        let mut order: Vec<usize> = (0..pieces.len()).collect();
        for i in (1..order.len()).rev() {
            order.swap(i, rng.below(i as u64 + 1) as usize);
        }
        for piece in order {
            let (start, len) = pieces[piece];
            let mut segment = stand.ack();
            segment.header.seq = base.add(start);
            segment.payload_len = len;
            stand.put(&segment);
        }
        assert_eq!(stand.conn.rcv_nxt(), base.add(1_000));
        assert!(stand.reassembly.is_empty());
        // What came twice takes memory twice, until it is read.
        let taken = RECV_SPACE - stand.conn.recv_space();
        let came: u32 = pieces.iter().map(|(_, len)| len).sum();
        assert!((1_000..=came).contains(&taken), "{taken}");
    }
}

/// Every other segment is missing: the memory for ranges is bounded, and the stream still becomes whole.
#[test]
fn holes__more_than_can_be_remembered() {
    let mut stand = Stand::new(Way::Established, false, true);
    let base = stand.conn.rcv_nxt();
    let put = |stand: &mut Stand, index: u32| {
        let mut segment = stand.ack();
        segment.header.seq = base.add(index * 100);
        segment.payload_len = 100;
        stand.put(&segment);
    };
    for index in (1..150).step_by(2) {
        put(&mut stand, index);
    }
    assert_eq!(stand.reassembly.len(), 32);
    for index in 0..150 {
        put(&mut stand, index);
    }
    assert_eq!(stand.conn.rcv_nxt(), base.add(15_000));
    assert!(stand.reassembly.is_empty());
}

/// A FIN that comes in several places: the first that is possible counts, and nothing behind it is taken.
#[test]
fn fin__in_two_places() {
    let mut stand = Stand::new(Way::Established, false, true);
    let base = stand.conn.rcv_nxt();
    let fin = |seq: SeqNum, len: u32, stand: &mut Stand| {
        let mut segment = stand.ack();
        segment.header.flags = Flags::FIN_ACK;
        segment.header.seq = seq;
        segment.payload_len = len;
        stand.put(&segment);
    };
    fin(base.add(100), 100, &mut stand);
    fin(base.add(100), 50, &mut stand);
    fin(base.add(500), 0, &mut stand);
    assert_eq!(stand.conn.state(), State::Established);
    let mut rest = stand.ack();
    rest.header.seq = base;
    rest.payload_len = 100;
    stand.put(&rest);
    assert!(stand.conn.rcv_nxt().before_eq(base.add(501)));
    assert_eq!(stand.conn.state(), State::CloseWait);
}

/// Options with odd lengths, on the bytes of whole segments: nothing that is read can be told from silence.
#[test]
fn options__with_odd_lengths() {
    let mut rng = Rng::new(5);
    for _ in 0..20_000 {
        let mut stand = Stand::new(
            rng.pick(&[Way::SynSent, Way::SynReceived, Way::InFlight]),
            true,
            true,
        );
        let mut segment = stand.ack();
        segment.header.flags = rng.pick(&[Flags::ACK, Flags::SYN_ACK, Flags::SYN, Flags::FIN_ACK]);
        segment.header.options = Options {
            mss: Some(1400),
            sack_permitted: true,
            ..segment.header.options
        };
        let mut bytes = [0u8; 60];
        segment.header.emit(&mut bytes);
        let words = rng.between(5, 15);
        bytes[12] = (words << 4) as u8;
        for byte in bytes.iter_mut().skip(20) {
            if rng.chance(500) {
                *byte = rng.pick(&[0, 1, 2, 3, 4, 5, 8, 10, 255, rng.clone().next() as u8]);
            }
        }
        let header = Header::parse(&bytes).unwrap();
        stand.put(&Segment {
            header,
            payload_len: rng.below(3) as u32 * 500,
            ecn: Ecn::NotEct,
        });
        stand.expire();
    }
}

/// RFC 7323 section 5: a segment of a time when the numbers were the same, four gigabytes ago, is known by its
/// timestamp.
#[test]
fn timestamps__from_the_past_are_dropped_and_answered() {
    for (val, taken) in [
        (PEER_TS, true),
        (PEER_TS.wrapping_add(1), true),
        (PEER_TS - 1, false),
    ] {
        for way in [
            Way::Established,
            Way::FinWait1,
            Way::FinWait2,
            Way::InFlight,
        ] {
            let mut stand = Stand::new(way, true, true);
            let nxt = stand.conn.rcv_nxt();
            let mut segment = stand.ack();
            segment.header.options.timestamps = Some(Timestamps { val, ecr: 0 });
            segment.payload_len = 100;
            let sent = stand.put(&segment);
            assert_eq!(
                stand.conn.rcv_nxt(),
                nxt.add(if taken { 100 } else { 0 }),
                "{way:?}"
            );
            assert!(
                sent.iter().any(|t| t.header.flags.ack()),
                "{way:?} {sent:?}"
            );
        }
    }
    // But a reset needs no timestamp.
    let mut stand = Stand::new(Way::Established, true, true);
    let mut reset = stand.ack();
    reset.header.flags = Flags::RST;
    reset.header.options.timestamps = Some(Timestamps {
        val: PEER_TS - 1,
        ecr: 0,
    });
    stand.put(&reset);
    assert_eq!(stand.conn.state(), State::Closed);
}

/// A timestamp from the far future must not lock the true peer out for ever (RFC 7323 section 5.3 takes it only from
/// segments in order).
#[test]
fn timestamps__from_the_future_out_of_order_are_not_kept() {
    let mut stand = Stand::new(Way::Established, true, true);
    let mut evil = stand.ack();
    evil.header.seq = evil.header.seq.add(2_000);
    evil.header.options.timestamps = Some(Timestamps {
        val: u32::MAX / 2,
        ecr: 0,
    });
    evil.payload_len = 10;
    stand.put(&evil);
    let mut good = stand.ack();
    good.payload_len = 500;
    let nxt = stand.conn.rcv_nxt();
    stand.put(&good);
    assert_eq!(stand.conn.rcv_nxt(), nxt.add(500));
}

/// Nor is one from a segment that acknowledges what was never sent.
#[test]
fn timestamps__from_a_guessed_segment_are_not_kept() {
    for way in [Way::Established, Way::FinWait2] {
        let mut stand = Stand::new(way, true, true);
        for ack in [
            stand.conn.snd_nxt().add(9),
            stand.conn.snd_una().sub(1 << 30),
        ] {
            let mut evil = stand.ack();
            evil.header.ack = ack;
            evil.header.options.timestamps = Some(Timestamps {
                val: u32::MAX / 2,
                ecr: 0,
            });
            stand.put(&evil);
        }
        let mut good = stand.ack();
        good.payload_len = 500;
        let nxt = stand.conn.rcv_nxt();
        stand.put(&good);
        assert_eq!(stand.conn.rcv_nxt(), nxt.add(500), "{way:?}");
    }
}

/// Two connections that each find the other's ACK unacceptable: no storm.
#[test]
fn ack_storm() {
    let mut stand = Stand::new(Way::Established, false, true);
    let mut answers = 0;
    for _ in 0..1_000 {
        let mut wrong = stand.ack();
        wrong.header.ack = stand.conn.snd_nxt().add(1_000_000);
        answers += stand.put(&wrong).len();
        stand.wait(Duration::from_millis(1));
    }
    assert!(answers <= 3, "{answers} answers in a second");
}

/// Five gigabytes: the numbers go round, all of the sequence space and then some.
#[test]
fn five_gigabytes() {
    let mut pair = Pair::new();
    let total: u64 = 5 << 30;
    let (mut written, mut read) = (0u64, 0u64);
    let mut rounds = 0u64;
    while read < total {
        rounds += 1;
        assert!(rounds < 1_000_000, "read {read}");
        let room = (1 << 20) - (written - read).min(1 << 20);
        let len = room.min(total - written) as u32;
        written += u64::from(len);
        read += pair.exchange(len);
    }
    assert_eq!(read, total);
    assert_eq!(pair.client.retransmits(), 0);
}

/// Two connections with nothing between them, in sequence space alone.
struct Pair {
    client: Connection,
    server: Connection,
    config: &'static Config,
    now: oxtcp_engine::Instant,
}

impl Pair {
    fn new() -> Pair {
        use oxtcp_engine::request::{Request, RequestOpen};
        use oxtcp_engine::{ActiveOpen, BurstLimit, Context, Instant, PassiveOpen, SocketOptions};
        let config: &'static Config = Box::leak(Box::default());
        let now = Instant::from_secs(9);
        let cx = Context::new(now, config);
        let options = SocketOptions::default();
        let (recv_space, recv_limit) = (1 << 20, 1 << 20);
        let mut client = Connection::connect(
            &cx,
            &ActiveOpen {
                iss: ISS,
                ts_offset: 0,
                advertised_mss: MSS,
                path_mss: MSS,
                recv_space,
                recv_limit,
                options,
            },
        );
        let syn = client
            .poll_transmit(&cx, BurstLimit(0), &mut NoFlight)
            .unwrap();
        let syn = Segment {
            header: syn.header,
            payload_len: 0,
            ecn: Ecn::NotEct,
        };
        let open = RequestOpen {
            iss: IRS,
            ts_offset: 0,
            advertised_mss: MSS,
            recv_space,
            recv_limit,
            signature: oxtcp_engine::wire::Signature::NONE,
        };
        let request = Request::new(&cx, &syn, &open);
        let passive = PassiveOpen {
            path_mss: MSS,
            recv_space,
            options,
        };
        let server = Connection::accept(&cx, &request, &passive);
        let mut pair = Pair {
            client,
            server,
            config,
            now,
        };
        let syn_ack = request.syn_ack(&cx).header;
        pair.put_client(&Segment {
            header: syn_ack,
            payload_len: 0,
            ecn: Ecn::NotEct,
        });
        pair.exchange(0);
        assert_eq!(pair.server.state(), State::Established);
        pair
    }

    fn put_client(&mut self, segment: &Segment) {
        let cx = oxtcp_engine::Context::new(self.now, self.config);
        let _ = self
            .client
            .on_segment(&cx, segment, oxtcp_engine::Rx::default(), &mut NoFlight);
    }

    /// The client writes `len` bytes; what is sent arrives; returns what the server received.
    fn exchange(&mut self, len: u32) -> u64 {
        use oxtcp_engine::{BurstLimit, Context, Payload, RecvMemory, Rx};
        self.now += Duration::from_micros(100);
        let cx = Context::new(self.now, self.config);
        self.client.write(len);
        let mut received = 0;
        while let Some(transmit) = self
            .client
            .poll_transmit(&cx, BurstLimit(65_000), &mut NoFlight)
        {
            let segment = Segment {
                header: transmit.header,
                payload_len: transmit.payload.len,
                ecn: Ecn::NotEct,
            };
            let rx = Rx {
                room: true,
                ..Rx::default()
            };
            match self.server.on_segment(&cx, &segment, rx, &mut NoFlight) {
                Payload::InOrder { len, .. } => received += u64::from(len),
                Payload::None => {}
                other => panic!("{other:?}"),
            }
            let memory = RecvMemory {
                limit: 2 << 20,
                fixed: true,
                ..RecvMemory::default()
            };
            let _ = self.server.on_consumed(&cx, 0, 0, &memory, None);
        }
        for conn in [&mut self.client, &mut self.server] {
            if conn.poll_timeout().is_some_and(|at| at <= cx.now) {
                conn.on_timer(&cx, &mut NoFlight);
            }
        }
        while let Some(transmit) = self.server.poll_transmit(&cx, BurstLimit(0), &mut NoFlight) {
            self.put_client(&Segment {
                header: transmit.header,
                payload_len: 0,
                ecn: Ecn::NotEct,
            });
        }
        received
    }
}
