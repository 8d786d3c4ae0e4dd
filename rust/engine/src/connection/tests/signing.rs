// SPDX-License-Identifier: GPL-2.0

//! The room that a signature takes (RFC 2385, RFC 5925): in options, and from the payload.

use super::script::*;
use crate::connection::{PassiveOpen, State};
use crate::context::{Config, SocketOptions};
use crate::request::{Request, RequestOpen};
use crate::seq::SeqNum;
use crate::transmit::{BurstLimit, TransmitKind};
use crate::wire::{Flags, Signature, Timestamps, WindowScale};
use crate::Connection;
use std::vec::Vec;

fn ao() -> Signature {
    Signature::authentication(12).unwrap()
}

fn signed(signature: Signature) -> SocketOptions {
    SocketOptions {
        signature,
        ..SocketOptions::default()
    }
}

fn with(signature: Signature, offer: Offer) -> Peer {
    established_with(Config::default(), signed(signature), offer)
}

/// Linux's tcp_syn_options(): timestamps are not offered beside MD5, and are beside AO.
#[test]
fn syn__what_it_offers() {
    for (signature, stamps, len) in [
        (Signature::NONE, true, 20),
        (Signature::MD5, false, 32),
        (ao(), true, 36),
    ] {
        let mut peer = syn_sent_with(Config::default(), signed(signature));
        let syn = peer.next();
        let options = syn.header.options;
        assert_eq!(options.signature, signature);
        assert_eq!(options.timestamps.is_some(), stamps, "{signature:?}");
        assert!(options.sack_permitted && options.mss == Some(MSS));
        assert_eq!(options.wire_len(), len, "{signature:?}");
        // Each time that it is sent.
        peer.expire();
        let again = peer.next();
        assert_eq!(again.header.options.signature, signature);
        assert_eq!(again.header.options.timestamps.is_some(), stamps);
    }
}

/// Linux's tcp_synack_options(): timestamps give way to SACK, and stay for who does no SACK. A cookie needs them.
#[test]
fn syn_ack__timestamps_give_way_to_sack() {
    let config = Config::default();
    let peer = syn_sent();
    let cx = crate::Context::new(peer.now, &config);
    let mut syn = seg(Flags::SYN, IRS, SeqNum::new(0), 0);
    syn.header.options.mss = Some(1460);
    syn.header.options.window_scale = Some(WindowScale::new(7));
    syn.header.options.timestamps = Some(Timestamps { val: 7, ecr: 0 });
    let open = |signature| RequestOpen {
        iss: ISS,
        ts_offset: 5,
        advertised_mss: 1460,
        recv_space: 100_000,
        recv_limit: 1_000_000,
        signature,
    };
    for signature in [Signature::NONE, Signature::MD5, ao()] {
        for sack in [false, true] {
            syn.header.options.sack_permitted = sack;
            let request = Request::new(&cx, &syn, &open(signature));
            let stamps = !sack || signature == Signature::NONE;
            assert_eq!(
                request.ts_recent().is_some(),
                stamps,
                "{signature:?} {sack}"
            );
            assert_eq!(request.sack_permitted(), sack);
            let mut options = request.syn_ack(&cx).header.options;
            assert_eq!(options.timestamps.is_some(), stamps);
            options.signature = signature;
            assert!(options.wire_len() <= 40);
            let mut cookie = Request::cookie_syn_ack(&cx, &syn, &open(signature))
                .header
                .options;
            assert!(cookie.timestamps.is_some() && cookie.sack_permitted == sack);
            cookie.signature = signature;
            assert!(cookie.wire_len() <= 40, "{}", cookie.wire_len());
        }
    }
}

/// What is in the SYN-ACK's place comes from the request, and each segment of the connection is signed.
#[test]
fn accept__signs_what_follows() {
    let config = Config::default();
    let peer = syn_sent();
    let cx = crate::Context::new(peer.now, &config);
    let mut syn = seg(Flags::SYN, IRS, SeqNum::new(0), 0);
    syn.header.options.mss = Some(1000);
    let open = RequestOpen {
        iss: ISS,
        ts_offset: 5,
        advertised_mss: 1460,
        recv_space: 100_000,
        recv_limit: 1_000_000,
        signature: Signature::MD5,
    };
    let request = Request::new(&cx, &syn, &open);
    let passive = PassiveOpen {
        path_mss: 1400,
        recv_space: 100_000,
        options: signed(Signature::MD5),
    };
    let conn = Connection::accept(&cx, &request, &passive);
    assert_eq!(conn.state(), State::SynReceived);
    assert_eq!(conn.mss(), 980);
}

/// RFC 2385 section 4.3, RFC 5925 section 7.6; tcp_current_mss().
#[test]
fn mss__less_the_signature() {
    let stamps = Offer {
        stamps: true,
        ..Offer::default()
    };
    for (signature, offer, mss) in [
        (Signature::NONE, Offer::default(), 1000),
        (Signature::MD5, Offer::default(), 980),
        (ao(), Offer::default(), 984),
        (ao(), stamps, 972),
    ] {
        let mut peer = with(signature, offer);
        assert_eq!(peer.conn.mss(), mss, "{signature:?}");
        peer.write(2500);
        let sent = peer.sent();
        let lens: Vec<_> = sent.iter().map(|t| t.payload.len).collect();
        let mss = u32::from(mss);
        assert_eq!(lens, [mss, mss, 2500 - 2 * mss]);
        for transmit in &sent {
            let header = transmit.header;
            assert_eq!(header.options.signature, signature);
            assert!(header.wire_len() as u32 + transmit.payload.len <= 1020);
            assert_eq!(u32::from(transmit.mss), mss);
        }
        // Again, after a timeout.
        peer.expire();
        let mut again = peer.next();
        while again.kind == TransmitKind::LossProbe {
            peer.expire();
            again = peer.next();
        }
        assert_eq!(again.header.options.signature, signature);
        assert_eq!(again.payload.len, mss);
    }
}

/// A burst is of whole segments of the smaller size.
#[test]
fn mss__in_bursts() {
    let mut peer = with(Signature::MD5, Offer::default());
    peer.limit = BurstLimit(4500);
    peer.write(4500);
    let sent = peer.sent();
    assert_eq!((sent[0].mss, sent[0].payload.len), (980, 3920));
}

/// A key that comes or goes while the connection is there (setsockopt()).
#[test]
fn set_options__changes_size_and_room() {
    let mut peer = established();
    let change = |peer: &mut Peer, signature| {
        let options = SocketOptions {
            signature,
            ..*peer.conn.options()
        };
        let cx = crate::Context::new(peer.now, &peer.config);
        peer.conn.set_options(&cx, options);
        peer.conn.set_path_mss(&cx, MSS);
    };
    change(&mut peer, Signature::MD5);
    assert_eq!(peer.conn.mss(), 980);
    peer.write(980);
    let data = peer.next();
    assert_eq!(data.header.options.signature, Signature::MD5);
    change(&mut peer, ao());
    assert_eq!(peer.conn.mss(), 984);
    change(&mut peer, Signature::NONE);
    assert_eq!(peer.conn.mss(), 1000);
    peer.ack(980);
    peer.write(10);
    assert_eq!(peer.next().header.options.signature, Signature::NONE);
}

/// SACK blocks give way in acknowledgments, and a segment with data is only smaller by those that it carries.
#[test]
fn sack__as_many_blocks_as_fit() {
    let offer = |stamps| Offer {
        sack: true,
        stamps,
        ..Offer::default()
    };
    for (signature, stamps, fit) in [
        (Signature::NONE, false, 3),
        (Signature::MD5, false, 2),
        (ao(), false, 2),
        (ao(), true, 1),
    ] {
        let mut peer = with(signature, offer(stamps));
        for at in [1000, 3000, 5000] {
            let _ = peer.data(at, 1000, 0, Flags::ACK);
        }
        let ack = peer.sent().pop().unwrap();
        assert_eq!(ack.header.options.sack_that_fits(), fit, "{signature:?}");
        let full = peer.conn.mss();
        peer.write(1000);
        let data = peer.next();
        assert_eq!(data.header.options.sack_that_fits(), fit);
        let blocks = 4 + 8 * fit as u32;
        assert_eq!(data.payload.len, u32::from(full) - blocks, "{signature:?}");
        assert_eq!(data.header.wire_len() as u32 + data.payload.len, 1020);
    }
}

/// Resets, which belong to no state.
#[test]
fn reset__is_signed() {
    let mut peer = with(Signature::MD5, Offer::default());
    let cx = crate::Context::new(peer.now, &peer.config);
    peer.conn.abort(&cx);
    let reset = peer.next();
    assert_eq!(reset.kind, TransmitKind::Reset);
    assert_eq!(reset.header.options.signature, Signature::MD5);
}
