// SPDX-License-Identifier: GPL-2.0

//! What TCP_INFO tells, group by group.

use super::script::*;
use crate::connection::{Info, Mode, State};
use crate::context::{Config, Context, SocketOptions};
use crate::seq::SeqNum;
use crate::transmit::{BurstLimit, Refusal};
use crate::wire::{Ecn, Flags};

fn connected(offer: Offer) -> Peer {
    let options = SocketOptions {
        nodelay: true,
        ..SocketOptions::default()
    };
    established_with(Config::default(), options, offer)
}

fn with_sack() -> Peer {
    connected(Offer {
        sack: true,
        ..Offer::default()
    })
}

fn info(peer: &Peer) -> Info {
    peer.conn.info(&peer.cx(), peer.flight.as_ref())
}

#[test]
fn info__of_a_new_connection() {
    let offer = Offer {
        scale: Some(7),
        sack: true,
        stamps: true,
        ..Offer::default()
    };
    let now = info(&connected(offer));
    assert!(now.timestamps && now.sack && now.wscale);
    assert_eq!((now.snd_wscale, now.rcv_wscale), (7, 6));
    // The SYN counts as acknowledged and delivered; it was one of two segments out, the SYN-ACK is the one in.
    assert_eq!((now.bytes_acked, now.delivered), (1, 1));
    assert_eq!((now.segs_out, now.segs_in), (2, 1));
    assert_eq!((now.data_segs_out, now.data_segs_in), (0, 0));
    assert_eq!((now.snd_mss, now.advmss, now.rcv_mss), (988, 988, 536));
    assert_eq!((now.snd_cwnd, now.snd_ssthresh), (10, 0x7fff_ffff));
    assert_eq!((now.rtt, now.rttvar, now.min_rtt), (10_000, 5000, 10_000));
    assert_eq!((now.rto, now.reordering), (210_000, 3));
    assert_eq!((now.snd_wnd, now.rcv_wnd), (60_000, 50_048));
    // Without the segment that is kept back.
    assert_eq!(now.rcv_ssthresh, 49_012);
    assert_eq!((now.busy_time, now.unacked, now.notsent_bytes), (0, 0, 0));
}

/// A thousand octets in each of `count` segments, acknowledged one by one, 10 ms and 1 ms apart, as a path lets them through; the window is
/// kept full if `full`.
fn through_a_path(peer: &mut Peer, count: u32, full: bool) {
    let size = u32::from(peer.conn.mss());
    if full {
        peer.write(count * size);
    }
    for segment in 1..=count {
        if !full {
            peer.write(size);
        }
        let _ = peer.sent();
        peer.advance(if full { 1 } else { 10 });
        peer.ack(segment * size);
    }
}

#[test]
fn delivery_rate__of_a_full_window_is_the_paths() {
    for sack in [false, true] {
        let mut peer = connected(Offer {
            sack,
            ..Offer::default()
        });
        let before = info(&peer);
        assert_eq!(
            (before.delivery_rate, before.delivery_rate_app_limited),
            (0, true)
        );
        through_a_path(&mut peer, 60, true);
        let now = info(&peer);
        let exact = u64::from(peer.conn.mss()) * 1000;
        assert!(
            (exact * 9 / 10..=exact * 11 / 10).contains(&now.delivery_rate),
            "{now:?}"
        );
    }
}

#[test]
fn delivery_rate__a_program_that_writes_little_is_told_so() {
    let mut peer = with_sack();
    through_a_path(&mut peer, 5, false);
    let now = info(&peer);
    // A segment in a round trip of 10 ms; the times are odd microseconds.
    let exact = u64::from(peer.conn.mss()) * 100;
    assert!(now.delivery_rate.abs_diff(exact) < exact / 100, "{now:?}");
    assert!(now.delivery_rate_app_limited);
    // It stays when the connection ends.
    let cx = Context::new(peer.now, &peer.config);
    peer.conn.abort(&cx);
    assert_eq!(info(&peer).delivery_rate, now.delivery_rate);
}

/// RFC 6298 section 3: of what was sent twice it is not known which has arrived. It counts for later samples.
#[test]
fn delivery_rate__a_repair_does_not_make_it_larger() {
    let mut peer = with_sack();
    through_a_path(&mut peer, 30, true);
    let before = info(&peer).delivery_rate;
    peer.write(20_000);
    let start = 30 * u32::from(peer.conn.mss());
    let size = u32::from(peer.conn.mss());
    let _ = peer.sent();
    for segment in 1..10 {
        peer.advance(1);
        peer.report(start, &[(start + size, start + (segment + 1) * size)], None);
        let _ = peer.sent();
    }
    peer.advance(10);
    peer.ack(start + 10 * size);
    assert!(info(&peer).delivery_rate <= before * 5 / 4);
}

#[test]
fn info__without_options() {
    let now = info(&connected(Offer::default()));
    assert!(!now.timestamps && !now.sack && !now.wscale);
    assert_eq!((now.snd_wscale, now.rcv_wscale), (0, 0));
}

#[test]
fn info__of_an_open_under_way() {
    let mut peer = syn_sent();
    let _ = peer.next();
    peer.expire();
    let _ = peer.next();
    peer.advance(300);
    let now = info(&peer);
    // The first few SYNs are sent without back-off.
    assert_eq!((now.retransmits, now.backoff, now.total_retrans), (1, 0, 1));
    assert_eq!(now.rto, 1_000_000);
    assert_eq!((now.segs_out, now.segs_in, now.unacked), (2, 0, 1));
    let timeouts = (now.total_rto, now.total_rto_recoveries, now.total_rto_time);
    assert_eq!(timeouts, (1, 1, 300));
    // It counts on when the connection is there.
    let _ = peer.give(seg(Flags::SYN_ACK, IRS, ISS.add(1), 0));
    let _ = peer.sent();
    assert_eq!(peer.conn.state(), State::Established);
    peer.advance(500);
    let now = info(&peer);
    assert_eq!((now.retransmits, now.total_retrans), (0, 1));
    assert_eq!((now.segs_out, now.segs_in, now.delivered), (3, 1, 1));
    let timeouts = (now.total_rto, now.total_rto_recoveries, now.total_rto_time);
    assert_eq!(timeouts, (1, 1, 300));
}

#[test]
fn info__counts_what_is_sent() {
    let mut peer = connected(Offer::default());
    peer.limit = BurstLimit(64_000);
    peer.write(12_500);
    // The window, in two bursts of five segments.
    assert_eq!(peer.sent().len(), 2);
    let now = info(&peer);
    assert_eq!((now.unacked, now.notsent_bytes), (10, 2500));
    assert_eq!((now.segs_out, now.data_segs_out), (12, 10));
    assert_eq!((now.bytes_sent, now.bytes_acked), (10_000, 1));
    assert_eq!(now.delivered, 1);
    peer.advance(10);
    peer.ack(10_000);
    let _ = peer.sent();
    peer.advance(10);
    peer.ack(12_500);
    peer.quiet();
    let now = info(&peer);
    assert_eq!((now.unacked, now.notsent_bytes), (0, 0));
    assert_eq!((now.segs_out, now.data_segs_out), (15, 13));
    assert_eq!((now.bytes_sent, now.bytes_acked), (12_500, 12_501));
    assert_eq!((now.delivered, now.segs_in), (14, 3));
    assert_eq!((now.total_retrans, now.bytes_retrans), (0, 0));
}

#[test]
fn info__counts_what_comes() {
    let mut peer = connected(Offer::default());
    let _ = peer.data(0, 1000, 0, Flags::NONE);
    // Out of order, twice, and what fills the hole.
    let _ = peer.data(2000, 1000, 0, Flags::NONE);
    let _ = peer.data(3000, 1000, 0, Flags::NONE);
    let _ = peer.sent();
    let now = info(&peer);
    assert_eq!((now.bytes_received, now.rcv_ooopack), (1000, 2));
    assert_eq!((now.segs_in, now.data_segs_in), (4, 3));
    assert_eq!(now.rcv_mss, 1000);
    let _ = peer.data(1000, 1000, 0, Flags::NONE);
    peer.ack(0);
    let now = info(&peer);
    assert_eq!((now.bytes_received, now.rcv_ooopack), (4000, 2));
    assert_eq!((now.segs_in, now.data_segs_in), (6, 4));
    // As in Linux the FIN counts as received.
    let _ = peer.data(4000, 0, 0, Flags::FIN);
    let now = info(&peer);
    assert_eq!(
        (now.bytes_received, now.rcv_mss, now.advmss),
        (4001, 1000, 1000)
    );
}

#[test]
fn info__tells_the_times() {
    let mut peer = connected(Offer::default());
    peer.advance(100);
    peer.write(100);
    let _ = peer.sent();
    peer.advance(30);
    peer.ack(100);
    peer.advance(200);
    let _ = peer.data(0, 500, 100, Flags::NONE);
    peer.advance(1000);
    let now = info(&peer);
    assert_eq!((now.last_data_sent, now.last_data_recv), (1230, 1000));
    assert_eq!(now.last_ack_recv, 1000);
    let later = now.after(crate::time::Duration::from_millis(5));
    assert_eq!((later.last_data_sent, later.last_data_recv), (1235, 1005));
}

#[test]
fn info__tells_of_a_repair() {
    let mut peer = with_sack();
    peer.write(10_000);
    let _ = peer.sent();
    peer.advance(10);
    // The first two are lost, the others arrive.
    peer.report(0, &[(2000, 10_000)], None);
    let _ = peer.sent();
    let now = info(&peer);
    assert_eq!((now.ca_state, now.unacked), (Mode::Recovery, 10));
    assert_eq!((now.sacked, now.lost, now.retrans), (8, 2, 2));
    assert_eq!((now.total_retrans, now.bytes_retrans), (2, 2000));
    assert_eq!((now.bytes_sent, now.data_segs_out), (12_000, 12));
    assert_eq!(now.delivered, 9);
    assert!(now.snd_ssthresh < 10 && now.snd_cwnd <= 10);
    peer.advance(10);
    peer.ack(10_000);
    let now = info(&peer);
    assert_eq!((now.ca_state, now.sacked, now.lost), (Mode::Open, 0, 0));
    assert_eq!((now.delivered, now.bytes_acked), (11, 10_001));
    assert_eq!((now.total_rto, now.reord_seen, now.dsack_dups), (0, 0, 0));
}

#[test]
fn info__tells_of_a_timeout() {
    let mut peer = with_sack();
    peer.write(1000);
    let _ = peer.sent();
    // A probe, then two timeouts.
    for _ in 0..3 {
        peer.expire();
        let _ = peer.sent();
    }
    peer.advance(50);
    let now = info(&peer);
    assert_eq!(
        (now.ca_state, now.retransmits, now.backoff),
        (Mode::Loss, 2, 2)
    );
    assert_eq!((now.total_retrans, now.bytes_retrans), (3, 3000));
    assert_eq!((now.total_rto, now.total_rto_recoveries), (2, 1));
    // From the first timeout: 420 ms of the second one's, and 50.
    assert_eq!(now.total_rto_time, 470);
    peer.ack(1000);
    peer.advance(1000);
    let now = info(&peer);
    assert_eq!((now.retransmits, now.total_rto_time), (0, 470));
    assert_eq!((now.delivered, now.total_rto_recoveries), (2, 1));
}

#[test]
fn info__counts_duplicates_and_reordering() {
    let mut peer = with_sack();
    peer.write(4000);
    let _ = peer.sent();
    peer.advance(10);
    peer.report(0, &[(1000, 2000)], None);
    peer.advance(1);
    // The first was late and not lost.
    peer.ack(2000);
    let _ = peer.sent();
    assert_eq!(info(&peer).reord_seen, 1);
    peer.expire();
    let _ = peer.sent();
    assert_eq!(info(&peer).total_retrans, 1);
    peer.report(4000, &[(3000, 4000)], None);
    assert_eq!(info(&peer).dsack_dups, 1);
}

/// Linux's gso_segs.
#[test]
fn info__counts_what_a_device_has_joined() {
    let mut peer = with_sack();
    peer.segment_size = 1000;
    let _ = peer.data(0, 2500, 0, Flags::NONE);
    let now = info(&peer);
    assert_eq!((now.segs_in, now.data_segs_in), (4, 3));
    let _ = peer.data(5000, 3000, 0, Flags::NONE);
    let now = info(&peer);
    assert_eq!((now.segs_in, now.data_segs_in), (7, 6));
    assert_eq!((now.rcv_ooopack, now.bytes_received), (3, 2500));
}

#[test]
fn info__what_the_host_refuses_is_not_sent() {
    let mut peer = connected(Offer::default());
    peer.limit = BurstLimit(64_000);
    peer.write(3000);
    let sent = peer.next();
    let cx = crate::context::Context::new(peer.now, &peer.config);
    peer.conn
        .on_refusal(&cx, &sent, 1000, Refusal::NoMemory, &mut peer.flight);
    let now = info(&peer);
    assert_eq!((now.segs_out, now.data_segs_out), (3, 1));
    assert_eq!((now.bytes_sent, now.notsent_bytes), (1000, 2000));
    peer.ack(1000);
    let _ = peer.sent();
    peer.ack(3000);
    let now = info(&peer);
    assert_eq!(
        (now.data_segs_out, now.delivered, now.bytes_sent),
        (3, 4, 3000)
    );
}

/// Linux's tcp_chrono: busy is all of it, the limits are parts.
#[test]
fn info__tells_what_limits_the_sender() {
    let mut peer = connected(Offer::default());
    peer.advance(500);
    assert_eq!(info(&peer).busy_time, 0);
    peer.ack_window(0, 0);
    peer.write(3000);
    peer.quiet();
    peer.advance(100);
    let now = info(&peer);
    assert_eq!((now.busy_time, now.rwnd_limited), (100_000, 100_000));
    peer.ack_window(0, 60_000);
    assert_eq!(peer.sent().len(), 3);
    peer.advance(30);
    let now = info(&peer);
    assert_eq!((now.busy_time, now.rwnd_limited), (130_000, 100_000));
    peer.ack(3000);
    peer.quiet();
    peer.advance(1000);
    let now = info(&peer);
    assert_eq!((now.busy_time, now.rwnd_limited), (130_000, 100_000));
    // The user has more, and no room to write it into.
    peer.write(4000);
    peer.short(true);
    let _ = peer.sent();
    peer.advance(20);
    let now = info(&peer);
    assert_eq!((now.busy_time, now.sndbuf_limited), (150_000, 20_000));
    peer.short(false);
    peer.quiet();
    peer.advance(7);
    let now = info(&peer);
    assert_eq!((now.busy_time, now.sndbuf_limited), (157_000, 20_000));
}

/// The program may ask when the connection is over, or a direction.
#[test]
fn info__outlives_what_it_tells_of() {
    let talked = || {
        let mut peer = connected(Offer::default());
        let _ = peer.data(0, 1000, 0, Flags::NONE);
        peer.write(2000);
        let _ = peer.sent();
        peer.advance(10);
        peer.ack(2000);
        peer
    };
    let same = |now: Info| {
        assert_eq!((now.bytes_acked, now.data_segs_in), (2001, 1));
        assert_eq!((now.rcv_mss, now.advmss), (1000, 1000));
        assert_eq!((now.snd_cwnd, now.rtt), (10, 10_000));
        // Twice the window in a round trip.
        assert_eq!((now.rto, now.pacing_rate), (210_000, 2_000_000));
    };
    same(info(&talked()));
    let mut peer = talked();
    let _ = peer.give(seg(Flags::RST, peer.conn.rcv_nxt(), ISS, 0));
    peer.quiet();
    assert_eq!(peer.conn.state(), State::Closed);
    peer.advance(1000);
    same(info(&peer));
    let mut peer = talked();
    let _ = peer.data(1000, 0, 2000, Flags::FIN);
    assert_eq!(peer.conn.state(), State::CloseWait);
    same(info(&peer));
    let mut peer = talked();
    peer.shutdown();
    let _ = peer.sent();
    peer.advance(10);
    peer.ack(2001);
    assert_eq!(peer.conn.state(), State::FinWait2);
    let now = info(&peer);
    same(Info {
        bytes_acked: now.bytes_acked - 1,
        ..now
    });
    assert_eq!(
        (now.bytes_sent, now.delivered, now.busy_time),
        (2000, 3, 20_000)
    );
    let _ = peer.data(1000, 0, 2001, Flags::FIN);
    assert_eq!(peer.conn.state(), State::TimeWait);
    let now = info(&peer);
    assert_eq!((now.bytes_received, now.snd_cwnd), (1001, 10));
    // What the connection's trace tells is of data alone.
    assert_eq!(
        (peer.conn.bytes_acked(), peer.conn.bytes_received()),
        (2000, 1000)
    );
}

/// RFC 3168's echo does not tell which segments were marked: what an acknowledgment with ECE delivers counts, as in Linux.
#[test]
fn info__tells_of_marks() {
    let config = Config {
        ecn: 1,
        ..Config::default()
    };
    let options = SocketOptions {
        nodelay: true,
        ..SocketOptions::default()
    };
    for sack in [false, true] {
        let offer = Offer {
            ecn: true,
            sack,
            ..Offer::default()
        };
        let mut peer = established_with(config, options, offer);
        let now = info(&peer);
        assert_eq!((now.ecn, now.ecn_seen, now.delivered_ce), (true, false, 0));
        let mut data = seg(Flags::ACK, IRS.add(1), ISS.add(1), 1000);
        data.ecn = Ecn::Ect0;
        let _ = peer.give(data);
        peer.write(10_000);
        let _ = peer.sent();
        peer.advance(10);
        for (ack, flags) in [(2000, Flags::NONE), (5000, Flags::ECE), (6000, Flags::ECE)] {
            let _ = peer.data(1000, 0, ack, flags);
        }
        let now = info(&peer);
        assert_eq!((now.ecn, now.ecn_seen), (true, true));
        // The SYN was delivered without.
        assert_eq!((now.delivered, now.delivered_ce), (7, 4));
        let _ = peer.give(seg(Flags::RST, peer.conn.rcv_nxt(), ISS, 0));
        assert_eq!(peer.conn.state(), State::Closed);
        let now = info(&peer);
        assert_eq!((now.ecn, now.ecn_seen, now.delivered_ce), (true, true, 4));
    }
    // Whoever does not know of it, and a SYN that asks.
    assert!(!info(&connected(Offer::default())).ecn);
    let asks = |ecn| {
        let config = Config {
            ecn,
            ..Config::default()
        };
        info(&syn_sent_with(config, options)).ecn
    };
    assert_eq!([asks(0), asks(1), asks(2)], [false, true, false]);
}

/// The number of a reset stands where else the pacer has its mark: every number comes out as it went in.
#[test]
fn reset__has_any_number() {
    for number in [0, 1, 2, 0x8000_0000, u32::MAX] {
        let number = SeqNum::new(number);
        let mut peer = syn_sent();
        let _ = peer.sent();
        let _ = peer.give(seg(Flags::SYN_ACK, IRS, number, 0));
        let sent = peer.sent();
        assert_eq!(sent.len(), 1, "{number:?}");
        assert_eq!(sent[0].header.flags, Flags::RST);
        assert_eq!(sent[0].header.seq, number);
        peer.quiet();
    }
}

/// All at once is what each question says.
#[test]
fn standing__is_what_the_questions_say() {
    let mut peer = established();
    for step in 0..3 {
        match step {
            0 => peer.write(25_500),
            1 => drop(peer.sent()),
            _ => peer.shutdown(),
        }
        let standing = peer.conn.standing(&peer.config);
        let start = peer.conn.first_unacked_byte();
        assert_eq!(standing.unacked, start.distance_to(peer.conn.write_seq()));
        assert_eq!(standing.not_sent, peer.conn.send_queue_not_sent());
        assert_eq!(standing.timer, peer.conn.timer());
        assert_eq!(standing.rto, peer.conn.rto(&peer.config));
        assert_eq!(standing.retransmits, peer.conn.retransmits());
        assert_eq!((standing.cwnd, standing.ssthresh), (10, None));
    }
    // A timeout, and the second.
    for resent in 1..3 {
        while peer.conn.retransmits() < resent {
            let _ = peer.expire();
            let _ = peer.sent();
        }
        let standing = peer.conn.standing(&peer.config);
        assert_eq!(standing.retransmits, resent);
        assert_eq!(standing.rto, peer.conn.rto(&peer.config));
        assert_eq!(standing.cwnd, peer.conn.cwnd() / 1000);
        assert_eq!(standing.ssthresh, Some(peer.conn.ssthresh() / 1000));
    }
}
