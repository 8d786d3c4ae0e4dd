// SPDX-License-Identifier: GPL-2.0

//! ECN (RFC 3168): who agrees to it, what a mark makes the receiver say, and what that makes the sender do.

use super::refusing::refuse;
use super::script::*;
use crate::congestion::Algorithm;
use crate::connection::{Connection, Mode, PassiveOpen, Payload, State, TimerKind};
use crate::context::{Config, Context, SocketOptions};
use crate::request::{Request, RequestOpen, RequestTimer};
use crate::segment::Segment;
use crate::seq::SeqNum;
use crate::time::Instant;
use crate::transmit::{BurstLimit, Refusal, Transmit, TransmitKind};
use crate::wire::{Ecn, Flags};
use TransmitKind::{Data, Retransmission};

const BOTH: Flags = Flags::ECE.union(Flags::CWR);
const ZERO: SeqNum = SeqNum::new(0);
/// No flag, one, the other, both.
const FLAGS: [Flags; 4] = [Flags::NONE, Flags::ECE, Flags::CWR, BOTH];

fn config(ecn: u8, ecn_fallback: bool) -> Config {
    Config {
        ecn,
        ecn_fallback,
        congestion_control: Algorithm::NewReno,
        ..Config::default()
    }
}

/// ECE and CWR of what was sent.
fn told(segment: &Transmit) -> Flags {
    let rest = BOTH.bits() & segment.header.flags.bits();
    Flags::from_bits(rest)
}

/// A connection that has agreed on ECN.
fn connected() -> Peer {
    connected_with(SocketOptions {
        nodelay: true,
        ..SocketOptions::default()
    })
}

fn connected_with(options: SocketOptions) -> Peer {
    let offer = Offer {
        sack: true,
        ecn: true,
        ..Offer::default()
    };
    let peer = established_with(config(1, true), options, offer);
    assert!(peer.conn.uses_ecn() && !peer.conn.has_seen_ecn());
    peer
}

/// A segment of the peer's data with what the path has made of it.
fn marked(at: u32, len: u32, flags: Flags, ecn: Ecn) -> Segment {
    let mut segment = seg(Flags::ACK.union(flags), IRS.add(1).add(at), ISS.add(1), len);
    segment.ecn = ecn;
    segment
}

/// Data goes out as ECT(0) if, and only if, ECN was agreed on.
fn assert_marks_data(peer: &mut Peer, agreed: bool, case: &str) {
    assert_eq!(peer.conn.state(), State::Established, "{case}");
    assert_eq!(peer.conn.uses_ecn(), agreed, "{case}");
    let _ = peer.sent();
    peer.write(10);
    let data = peer.next();
    assert_eq!(data.kind, Data, "{case}");
    let expected = if agreed { Ecn::Ect0 } else { Ecn::NotEct };
    assert_eq!((data.ecn, told(&data)), (expected, Flags::NONE), "{case}");
}

/// RFC 3168 sections 6.1.1 and 6.1.1.1: a SYN that is sent again does not ask, unless the fallback is off. Marked is ECT(0), never ECT(1)
/// (RFC 8311 section 3).
#[test]
fn negotiation__active() {
    for ecn in 0..=2 {
        for fallback in [true, false] {
            for resent in 0..=2 {
                for answer in FLAGS {
                    let case = std::format!("{ecn} {fallback} {resent} {answer:?}");
                    let mut peer = syn_sent_with(config(ecn, fallback), SocketOptions::default());
                    for time in 0..=resent {
                        if time != 0 {
                            let _ = peer.expire();
                        }
                        let syn = peer.next();
                        let asks = ecn == 1 && (time == 0 || !fallback);
                        let expected = if asks { BOTH } else { Flags::NONE };
                        assert_eq!(told(&syn), expected, "{case}");
                        assert_eq!((syn.kind, syn.ecn), (TransmitKind::Syn, Ecn::NotEct));
                        assert_eq!(peer.conn.uses_ecn(), ecn == 1, "{case}");
                    }
                    let flags = Flags::SYN_ACK.union(answer);
                    let _ = peer.give(seg(flags, IRS, ISS.add(1), 0));
                    // A SYN-ACK that says yes answers the first SYN, whatever came after it.
                    let agreed = ecn == 1 && answer == Flags::ECE;
                    let ack = peer.next();
                    assert_eq!((ack.ecn, told(&ack)), (Ecn::NotEct, Flags::NONE), "{case}");
                    assert_marks_data(&mut peer, agreed, &case);
                }
            }
        }
    }
}

#[test]
fn negotiation__passive() {
    let open = RequestOpen {
        iss: ISS,
        ts_offset: 5,
        advertised_mss: 1000,
        recv_space: 50_000,
        recv_limit: 50_000,
        signature: crate::wire::Signature::NONE,
    };
    for ecn in 0..=2 {
        for offer in FLAGS {
            for ip in [Ecn::NotEct, Ecn::Ect0, Ecn::Ect1, Ecn::Ce] {
                for reserved in [false, true] {
                    let case = std::format!("{ecn} {offer:?} {ip:?} {reserved}");
                    let config = config(ecn, true);
                    let cx = Context::new(Instant::from_secs(10), &config);
                    let mut syn = seg(Flags::SYN.union(offer), IRS, ZERO, 0);
                    syn.ecn = ip;
                    syn.header.reserved = reserved;
                    // RFC 8311 section 4.3: an extension may send its SYNs as ECT.
                    let clean = ip == Ecn::NotEct || reserved;
                    let agreed = ecn != 0 && offer == BOTH && clean;
                    let mut request = Request::new(&cx, &syn, &open);
                    assert_eq!(request.ecn_agreed(), agreed, "{case}");
                    assert_eq!(request.window_scales(), None, "{case}");
                    // However often it is sent.
                    let expected = if agreed { Flags::ECE } else { Flags::NONE };
                    let mut syn_ack = request.syn_ack(&cx);
                    for _ in 0..4 {
                        assert_eq!(told(&syn_ack), expected, "{case}");
                        assert_eq!(syn_ack.ecn, Ecn::NotEct);
                        let RequestTimer::Resend(next) = request.on_timer(&cx) else {
                            panic!("{case}");
                        };
                        syn_ack = next;
                    }
                    let passive = PassiveOpen {
                        path_mss: 1000,
                        recv_space: 50_000,
                        options: SocketOptions::default(),
                    };
                    let mut peer = syn_sent_with(config, SocketOptions::default());
                    peer.conn = Connection::accept(&cx, &request, &passive);
                    let _ = peer.give(seg(Flags::ACK, IRS.add(1), ISS.add(1), 0));
                    assert_marks_data(&mut peer, agreed, &case);
                }
            }
        }
    }
}

/// RFC 9293 figure 7. Each SYN asks and answers; a SYN that did not ask may be the one that the peer has seen.
#[test]
fn negotiation__simultaneous() {
    for ecn in 0..=2 {
        for fallback in [true, false] {
            for resent in [false, true] {
                for theirs in FLAGS {
                    for crossing in FLAGS {
                        let case =
                            std::format!("{ecn} {fallback} {resent} {theirs:?} {crossing:?}");
                        let mut peer =
                            syn_sent_with(config(ecn, fallback), SocketOptions::default());
                        let _ = peer.next();
                        if resent {
                            let _ = peer.expire();
                            let _ = peer.next();
                        }
                        let _ = peer.give(seg(Flags::SYN.union(theirs), IRS, ZERO, 0));
                        assert_eq!(peer.conn.state(), State::SynReceived);
                        let asked = ecn == 1 && !(resent && fallback);
                        let agreed = asked && theirs == BOTH;
                        let syn_ack = peer.next();
                        assert_eq!(syn_ack.kind, TransmitKind::SynAck);
                        let expected = if agreed { Flags::ECE } else { Flags::NONE };
                        assert_eq!(told(&syn_ack), expected, "{case}");
                        let flags = Flags::SYN_ACK.union(crossing);
                        let _ = peer.give(seg(flags, IRS, ISS.add(1), 0));
                        assert_marks_data(&mut peer, agreed, &case);
                        // Its ECE spoke of the SYN.
                        assert_eq!(peer.conn.mode(), Mode::Open, "{case}");
                    }
                }
            }
        }
    }
}

/// RFC 3168 section 6.1.3: ECE in every acknowledgment until CWR comes.
#[test]
fn receiver__echoes_until_it_is_confirmed() {
    let mut peer = connected();
    let _ = peer.give(marked(0, 1000, Flags::NONE, Ecn::Ect0));
    assert!(peer.conn.has_seen_ecn());
    assert!(peer.sent().iter().all(|ack| told(ack) == Flags::NONE));
    let _ = peer.give(marked(1000, 1000, Flags::NONE, Ecn::Ce));
    let ack = peer.next();
    assert_eq!((ack.kind, told(&ack)), (TransmitKind::Ack, Flags::ECE));
    for at in 2..5 {
        let _ = peer.give(marked(at * 1000, 1000, Flags::NONE, Ecn::Ect0));
        peer.advance(200);
        peer.expire_all();
        assert!(peer.sent().iter().all(|ack| told(ack) == Flags::ECE));
    }
    // Data carries it as well as bare acknowledgments do, and nothing of it counts as CWR.
    peer.write(100);
    let data = peer.next();
    assert_eq!((data.kind, told(&data)), (Data, Flags::ECE));
    assert_eq!(data.ecn, Ecn::Ect0);
    let _ = peer.give(marked(5000, 1000, Flags::CWR, Ecn::Ect0));
    let ack = peer.next();
    assert_eq!((ack.kind, told(&ack)), (TransmitKind::Ack, Flags::NONE));
}

/// The same segment may confirm and be marked: the confirmation is of what came before.
#[test]
fn receiver__a_marked_confirmation_begins_anew() {
    let mut peer = connected();
    let _ = peer.give(marked(0, 1000, Flags::NONE, Ecn::Ce));
    assert_eq!(told(&peer.next()), Flags::ECE);
    let _ = peer.give(marked(1000, 1000, Flags::CWR, Ecn::Ce));
    assert_eq!(told(&peer.next()), Flags::ECE);
    // As in Linux a bare acknowledgment confirms, too, and is not acknowledged.
    let _ = peer.give(marked(2000, 0, Flags::CWR, Ecn::NotEct));
    peer.quiet();
    let _ = peer.give(marked(2000, 1000, Flags::NONE, Ecn::Ect0));
    peer.advance(200);
    peer.expire_all();
    assert_eq!(told(&peer.next()), Flags::NONE);
}

/// What tells of no mark, or of none that counts.
#[test]
fn receiver__ignores() {
    let rows: [(&str, Segment); 6] = [
        ("a bare acknowledgment", marked(0, 0, Flags::NONE, Ecn::Ce)),
        ("old data", marked(u32::MAX - 99, 100, Flags::NONE, Ecn::Ce)),
        (
            "data beyond the window",
            marked(60_000, 100, Flags::NONE, Ecn::Ce),
        ),
        ("ECT(1)", marked(0, 100, Flags::NONE, Ecn::Ect1)),
        ("CWR out of the blue", marked(0, 100, Flags::CWR, Ecn::Ect0)),
        ("no ECT", marked(0, 100, Flags::NONE, Ecn::NotEct)),
    ];
    for (case, segment) in rows {
        let mut peer = connected();
        let _ = peer.give(segment);
        let _ = peer.sent();
        peer.write(10);
        assert_eq!(told(&peer.next()), Flags::NONE, "{case}");
    }
    // Who has not agreed.
    let mut peer = established();
    let _ = peer.give(marked(0, 100, Flags::NONE, Ecn::Ce));
    assert!(!peer.conn.has_seen_ecn());
    assert!(peer.sent().iter().all(|ack| told(ack) == Flags::NONE));
}

/// A mark on data that is out of order counts, although the data does not count yet.
#[test]
fn receiver__marks_out_of_order() {
    let mut peer = connected();
    let taken = peer.give(marked(3000, 1000, Flags::NONE, Ecn::Ce));
    assert!(matches!(taken, Payload::OutOfOrder { .. }));
    assert_eq!(told(&peer.next()), Flags::ECE);
}

/// Linux's `tcp_data_ecn_check`: who was marked may have a window of one segment, and who sends without ECT after it sent with
/// is repairing a loss.
#[test]
fn receiver__does_not_delay_what_the_peer_waits_for() {
    for (ecn, at_once) in [(Ecn::Ect0, false), (Ecn::Ce, true), (Ecn::NotEct, true)] {
        let mut peer = connected();
        let mut at = 0;
        // Past the quick acknowledgments of the start.
        loop {
            let _ = peer.give(marked(at, 500, Flags::NONE, Ecn::Ect0));
            at += 500;
            peer.advance(5);
            if peer.sent().is_empty() {
                break;
            }
        }
        let waited = peer.expire();
        assert!(waited <= 40, "{waited}");
        assert!(!peer.sent().is_empty());
        let _ = peer.give(marked(at, 500, Flags::NONE, ecn));
        assert_eq!(!peer.sent().is_empty(), at_once, "{ecn:?}");
    }
}

/// An acknowledgment up to `ack` that says whether something was marked.
fn acknowledge(peer: &mut Peer, ack: u32, ece: bool) {
    let flags = if ece { Flags::ECE } else { Flags::NONE };
    assert_eq!(peer.data(0, 0, ack, flags), Payload::None);
}

/// What is sent now, as (offset, flags, ECN field).
fn sent(peer: &mut Peer) -> std::vec::Vec<(u32, Flags, Ecn)> {
    let all = peer.sent();
    all.iter()
        .map(|t| (ISS.add(1).distance_to(t.header.seq), told(t), t.ecn))
        .collect()
}

/// RFC 3168 section 6.1.2: the window comes down once for what is in flight, and the next new segment says so.
#[test]
fn sender__goes_slower_once_per_window() {
    let mut peer = connected();
    peer.write(100_000);
    assert_eq!(peer.sent().len(), 10);
    peer.advance(100);
    acknowledge(&mut peer, 1000, true);
    assert_eq!(peer.conn.mode(), Mode::Cwr);
    assert_eq!(peer.conn.ssthresh(), 5000);
    let mut new = sent(&mut peer);
    for ack in 2..=10 {
        acknowledge(&mut peer, ack * 1000, true);
        assert_eq!(peer.conn.ssthresh(), 5000, "{ack}");
        new.extend(sent(&mut peer));
    }
    // Half as many as arrived (RFC 9937), ECT all of them, CWR the first.
    assert_eq!(new.len(), 5, "{new:?}");
    assert_eq!(new[0], (10_000, Flags::CWR, Ecn::Ect0));
    assert!(new[1..]
        .iter()
        .all(|t| (t.1, t.2) == (Flags::NONE, Ecn::Ect0)));
    assert_eq!(peer.conn.mode(), Mode::Cwr);
    // The confirmation has arrived: no more ECE, and the window is ssthresh.
    peer.advance(100);
    acknowledge(&mut peer, 11_000, false);
    assert_eq!(peer.conn.mode(), Mode::Open);
    assert!(
        (5000..=6000).contains(&peer.conn.cwnd()),
        "{}",
        peer.conn.cwnd()
    );
    assert_eq!(peer.conn.total_retransmits(), 0);
    // The next mark is one of the next window.
    acknowledge(&mut peer, 12_000, true);
    assert_eq!(peer.conn.mode(), Mode::Cwr);
    assert!(peer.conn.ssthresh() < 5000);
}

/// The segment with CWR is lost: the peer goes on with ECE, and hears of the reduction again.
#[test]
fn sender__a_lost_confirmation() {
    let mut peer = connected();
    peer.write(100_000);
    assert_eq!(peer.sent().len(), 10);
    peer.advance(100);
    acknowledge(&mut peer, 10_000, true);
    let first = sent(&mut peer);
    assert_eq!(first[0], (10_000, Flags::CWR, Ecn::Ect0));
    // It is missing; what followed has arrived.
    peer.advance(100);
    let mut again = std::vec::Vec::new();
    for behind in 12..=14 {
        let mut segment = seg(
            Flags::ACK.union(Flags::ECE),
            peer.conn.rcv_nxt(),
            ISS.add(1).add(10_000),
            0,
        );
        let block = crate::seq::SeqRange::new(ISS.add(1).add(11_000), (behind - 11) * 1000);
        segment.header.options.sack.push(block);
        let _ = peer.give(segment);
        again.extend(peer.sent());
    }
    // The copy is neither ECT nor does it confirm (RFC 3168 section 6.1.5): the new data behind it does.
    let copy = again
        .iter()
        .find(|t| t.kind == Retransmission)
        .expect("a copy");
    assert_eq!((copy.ecn, told(copy)), (Ecn::NotEct, Flags::NONE));
    let cwr = |t: &&Transmit| told(t) == Flags::CWR;
    let ack = ISS.add(1).distance_to(peer.conn.snd_nxt());
    acknowledge(&mut peer, ack, true);
    again.extend(peer.sent());
    let confirmed = again.iter().find(cwr).expect("a confirmation");
    assert_eq!((confirmed.kind, confirmed.ecn), (Data, Ecn::Ect0));
}

/// A loss reduces the window as a mark does, and is told as well, so that a mark on the way is answered (RFC 3168 section 6.1.2).
#[test]
fn sender__confirms_a_loss_and_a_timeout() {
    for timeout in [false, true] {
        let mut peer = connected();
        peer.write(100_000);
        assert_eq!(peer.sent().len(), 10);
        peer.advance(100);
        if timeout {
            let _ = peer.expire();
            let _ = peer.sent();
            let _ = peer.expire();
            assert_eq!(peer.conn.mode(), Mode::Loss);
        } else {
            peer.report(0, &[(1000, 4000)], None);
            assert_eq!(peer.conn.mode(), Mode::Recovery);
        }
        let copies = peer.sent();
        let copy = copies.iter().find(|t| t.kind == Retransmission).unwrap();
        assert_eq!((copy.ecn, told(copy)), (Ecn::NotEct, Flags::NONE));
        let mut new: std::vec::Vec<_> = copies.into_iter().filter(|t| t.kind == Data).collect();
        peer.advance(100);
        // After a timeout the first acknowledgment lets new data go (RFC 5682 section 2.1).
        acknowledge(&mut peer, if timeout { 1000 } else { 10_000 }, false);
        new.extend(peer.sent());
        let data: std::vec::Vec<_> = new.iter().map(told).collect();
        let confirmed = data.iter().filter(|flags| **flags == Flags::CWR).count();
        assert_eq!((data[0], confirmed), (Flags::CWR, 1), "{timeout} {data:?}");
    }
}

/// A reduction that was needless is not told. One for a mark is never needless.
#[test]
fn sender__undo() {
    for marked in [false, true] {
        let mut peer = connected();
        peer.write(10_000);
        assert_eq!(peer.sent().len(), 10);
        let cwnd = peer.conn.cwnd();
        peer.advance(100);
        peer.report(0, &[(1000, 4000)], None);
        assert_eq!(peer.sent_short(), [(Retransmission, 0, 1000)]);
        // It was late, and both have arrived.
        peer.advance(5);
        acknowledge(&mut peer, 10_000, marked);
        peer.report(10_000, &[(0, 1000)], None);
        assert_eq!(peer.conn.cwnd() >= cwnd, !marked, "{}", peer.conn.cwnd());
        assert_eq!(peer.conn.ssthresh() >= cwnd, !marked);
        peer.write(1000);
        let expected = if marked { Flags::CWR } else { Flags::NONE };
        assert_eq!(told(&peer.next()), expected);
    }
}

/// Marks and losses together are one congestion.
#[test]
fn sender__a_loss_in_the_same_window_reduces_no_more() {
    let mut peer = connected();
    peer.write(100_000);
    assert_eq!(peer.sent().len(), 10);
    peer.advance(100);
    acknowledge(&mut peer, 1000, true);
    let ssthresh = peer.conn.ssthresh();
    for behind in 3..=5 {
        peer.report(1000, &[(2000, behind * 1000)], None);
    }
    assert_eq!(peer.conn.mode(), Mode::Recovery);
    assert_eq!(peer.conn.ssthresh(), ssthresh);
}

/// ECE means nothing where it was not agreed on, in an old acknowledgment, or where nothing is in flight.
#[test]
fn sender__ignores() {
    let mut peer = established();
    peer.write(5000);
    assert_eq!(peer.sent().len(), 5);
    acknowledge(&mut peer, 1000, true);
    assert_eq!(peer.conn.mode(), Mode::Open);
    let mut peer = connected();
    peer.write(5000);
    assert_eq!(peer.sent().len(), 5);
    acknowledge(&mut peer, 2000, false);
    acknowledge(&mut peer, 1000, true);
    assert_eq!(peer.conn.mode(), Mode::Open);
    acknowledge(&mut peer, 5000, false);
    acknowledge(&mut peer, 5000, true);
    assert_eq!(peer.conn.mode(), Mode::Open);
    peer.write(1000);
    assert_eq!(sent(&mut peer), [(5000, Flags::NONE, Ecn::Ect0)]);
}

/// Only new data is ECT (RFC 3168 sections 5.2, 6.1.4 to 6.1.6).
#[test]
fn sender__what_is_not_data() {
    let mut peer = connected_with(SocketOptions {
        keepalive: true,
        ..SocketOptions::default()
    });
    let waited = peer.expire();
    assert!(waited > 0);
    let probe = peer.next();
    assert_eq!(
        (probe.kind, probe.ecn),
        (TransmitKind::KeepAlive, Ecn::NotEct)
    );
    // A closed window.
    peer.ack_window(0, 0);
    peer.write(1000);
    peer.quiet();
    while peer.conn.timer().map(|timer| timer.0) != Some(TimerKind::Persist) {
        let _ = peer.expire();
        let _ = peer.sent();
    }
    let _ = peer.expire();
    let probe = peer.next();
    assert_eq!((probe.kind, probe.ecn), (TransmitKind::Probe, Ecn::NotEct));
    peer.ack_window(0, 60_000);
    assert_eq!(peer.next().ecn, Ecn::Ect0);
    peer.ack(1000);
    peer.shutdown();
    let fin = peer.next();
    assert_eq!((fin.kind, fin.ecn), (TransmitKind::Fin, Ecn::NotEct));
}

/// A FIN behind data does not make it less of it.
#[test]
fn sender__data_with_a_fin() {
    let mut peer = connected();
    peer.write(500);
    peer.shutdown();
    let last = peer.next();
    assert!(last.header.flags.fin());
    assert_eq!(last.ecn, Ecn::Ect0);
}

/// What a full queue of this host drops has told nobody; that it was full is a reduction of its own.
#[test]
fn sender__a_confirmation_that_did_not_leave() {
    for why in [Refusal::NoMemory, Refusal::Dropped] {
        let mut peer = connected();
        peer.write(100_000);
        assert_eq!(peer.sent().len(), 10);
        peer.advance(100);
        acknowledge(&mut peer, 10_000, true);
        let data = peer.next();
        assert_eq!(told(&data), Flags::CWR);
        refuse(&mut peer, &data, 0, why);
        let data = peer.next();
        assert_eq!((told(&data), data.ecn), (Flags::CWR, Ecn::Ect0), "{why:?}");
        assert!(sent(&mut peer).iter().all(|t| t.1 == Flags::NONE));
    }
}

/// All is acknowledged before the window has come down: it is ssthresh, and the next data says so, whenever it comes. Until that is
/// acknowledged no other ECE counts.
#[test]
fn sender__rests_in_the_midst_of_a_reduction() {
    let mut peer = connected();
    peer.write(10_000);
    assert_eq!(peer.sent().len(), 10);
    peer.advance(100);
    acknowledge(&mut peer, 5000, true);
    acknowledge(&mut peer, 10_000, true);
    peer.quiet();
    assert!(peer.flight.is_none());
    assert_eq!((peer.conn.mode(), peer.conn.cwnd()), (Mode::Open, 5000));
    peer.write(3000);
    assert_eq!(told(&peer.next()), Flags::CWR);
    assert!(sent(&mut peer).iter().all(|t| t.1 == Flags::NONE));
    acknowledge(&mut peer, 10_000, true);
    acknowledge(&mut peer, 11_000, false);
    assert_eq!((peer.conn.mode(), peer.conn.ssthresh()), (Mode::Open, 5000));
    acknowledge(&mut peer, 12_000, true);
    assert_eq!(peer.conn.mode(), Mode::Cwr);
    assert!(peer.conn.ssthresh() < 5000);
}

/// Without memory for what is in flight the window comes down at once.
#[test]
fn sender__without_memory() {
    let mut peer = connected();
    peer.limit = BurstLimit(10_000);
    peer.write(100_000);
    let mut flight = crate::flight::NoFlight;
    let cx = Context::new(peer.now, &peer.config);
    // A window leaves in two bursts at least.
    for _ in 0..2 {
        let burst = peer
            .conn
            .poll_transmit(&cx, peer.limit, &mut flight)
            .unwrap();
        assert_eq!((burst.payload.len, burst.ecn), (5_000, Ecn::Ect0));
    }
    let mut cwnds = std::vec::Vec::new();
    for ack in [1000, 2000, 10_000] {
        let segment = seg(
            Flags::ACK.union(Flags::ECE),
            IRS.add(1),
            ISS.add(1).add(ack),
            0,
        );
        let rx = crate::connection::Rx::default();
        let _ = peer.conn.on_segment(&cx, &segment, rx, &mut flight);
        cwnds.push(peer.conn.cwnd());
        assert_eq!(peer.conn.mode(), Mode::Open);
    }
    assert_eq!(cwnds, [5000; 3]);
    let burst = peer
        .conn
        .poll_transmit(&cx, peer.limit, &mut flight)
        .unwrap();
    assert_eq!(told(&burst), Flags::CWR);
}
