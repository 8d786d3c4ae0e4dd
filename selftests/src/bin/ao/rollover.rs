// SPDX-License-Identifier: GPL-2.0
//! From one key to the next (RFC 5925 section 7.3).

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;
use std::time::Duration;

use super::*;

/// Both have two keys, of which they use the first.
#[track_caller]
fn with_two_keys(pair: Pair) -> Connected {
    let second = algorithms(pair).last().copied().expect("an algorithm");
    let two = |first: AoKey, other: AoKey| {
        let first = AoKey {
            set_current: true,
            set_rnext: true,
            ..first
        };
        // Of other length, which changes the size of segments.
        let other = AoKey {
            algorithm: second,
            mac_len: 16,
            ..other
        };
        (first, other)
    };
    connected_with(pair, |listener, client| {
        let (first, other) = two(
            server_key(pair, FIRST, KEY),
            server_key(pair, SECOND, OTHER),
        );
        for mut key in [first, other] {
            // A listener has no current key.
            (key.set_current, key.set_rnext) = (false, false);
            add(&key, listener);
        }
        let (first, other) = two(
            client_key(pair, FIRST, KEY),
            client_key(pair, SECOND, OTHER),
        );
        add(&first, client);
        add(&other, client);
    })
}

/// Tells the peer of `sock` to sign with this one.
#[track_caller]
fn want(sock: &Sock, recv_id: u8) {
    let rnext = AoInfo {
        rnext: Some(recv_id),
        ..AoInfo::default()
    };
    rnext.set(sock).expect("TCP_AO_INFO");
}

/// RFC 5925 section 7.3: each side asks for the new key, and is sent with it.
pub fn ao__rollover(pair: Pair) {
    need_ao(pair);
    let ends = with_two_keys(pair);
    ends.check_alive();
    assert_eq!(info(&ends.server).current, Some(FIRST.1));
    want(&ends.client, SECOND.1);
    // The segment that says so, and the answer.
    ends.check_alive();
    assert_eq!(info(&ends.server).current, Some(SECOND.1));
    assert_eq!(info(&ends.client).current, Some(FIRST.0));
    want(&ends.server, SECOND.0);
    ends.check_alive();
    wait::until("the client's current key", || {
        info(&ends.client).current == Some(SECOND.0)
    });
    let capture = Capture::on("lo");
    ends.check_alive();
    let to = ends.server.local().expect("getsockname");
    let segments = capture.segments();
    for to_server in [true, false] {
        assert!(segments.iter().any(|s| (s.target == to) == to_server));
    }
    for segment in segments {
        let (send, recv) = match segment.target == to {
            true => SECOND,
            false => (SECOND.1, SECOND.0),
        };
        let option = segment.option(KIND_AO).expect("a signature");
        assert_eq!(option[..2], [send, recv], "{segment:?}");
        assert_eq!(option.len(), 2 + 16);
    }
    // And back, by the sender's own choice.
    let back = AoInfo {
        current: Some(FIRST.0),
        ..AoInfo::default()
    };
    // What the server wants counts with its next segment.
    want(&ends.server, FIRST.0);
    back.set(&ends.client).expect("TCP_AO_INFO");
    ends.check_alive();
    assert_eq!(info(&ends.client).current, Some(FIRST.0));
    transfer::both_ways(ends, 300_000);
}

/// How many segments an end has believed by the key that it sends with by this number.
fn believed_by(sock: &Sock, send_id: u8) -> u64 {
    let (keys, _) = Listed::all().get(sock, 2).unwrap_or_default();
    let key = keys.iter().find(|key| key.ids.0 == send_id);
    key.map_or(0, |key| key.good)
}

/// Keys change while data flows both ways: nothing is lost, and none is told to be bad.
pub fn ao__rollover_under_traffic(pair: Pair) {
    need_ao(pair);
    ns::sh(&format!("ip link set lo mtu {MTU}"));
    let ends = with_two_keys(pair);
    let bad = || -> u64 {
        let names = ["TCPAOBad", "TCPAOKeyNotFound", "TCPAORequired"];
        let of = |stack| names.iter().map(|name| counter(stack, name)).sum::<u64>();
        of(pair.client) + of(pair.server)
    };
    let (client, server) = (ends.client.try_clone(), ends.server.try_clone());
    let before = bad();
    let over = Arc::new(AtomicBool::new(false));
    let turns = std::thread::spawn({
        let over = Arc::clone(&over);
        move || {
            // What each end has believed by the second key, as long as it could be asked.
            let mut believed = [0; 2];
            let mut turn = 0;
            while !over.load(Ordering::Relaxed) {
                let (send, recv) = [SECOND, FIRST][turn % 2];
                want(&client, recv);
                want(&server, send);
                turn += 1;
                let before = believed;
                // The second key stays until both ends have believed something by it, however slow they are.
                loop {
                    std::thread::sleep(Duration::from_millis(2));
                    for (most, (sock, id)) in believed
                        .iter_mut()
                        .zip([(&client, SECOND.0), (&server, SECOND.1)])
                    {
                        *most = believed_by(sock, id).max(*most);
                    }
                    let is_believed = believed.iter().zip(before).all(|(now, then)| *now > then);
                    if send == FIRST.0 || is_believed || over.load(Ordering::Relaxed) {
                        break;
                    }
                }
            }
            (turn, believed)
        }
    });
    transfer::both_ways(ends, 4_000_000);
    over.store(true, Ordering::Relaxed);
    let (turns, believed) = turns.join().expect("the turns");
    assert!(turns >= 2, "{turns}");
    assert!(believed.iter().all(|count| *count > 0), "{believed:?}");
    assert_eq!(bad(), before);
}

/// RFC 5925 section 6.1: a key in use is not taken away; what is not used any more is, and the rest goes on.
pub fn ao__delete_after_rollover(pair: Pair) {
    need_ao(pair);
    let ends = with_two_keys(pair);
    ends.check_alive();
    let first = client_key(pair, FIRST, KEY);
    expect_errno(first.delete(&ends.client), libc::EBUSY);
    let mut deletion = first.deletion();
    deletion.current = Some(SECOND.0);
    // Still what the peer is to sign with.
    expect_errno(deletion.set(&ends.client), libc::EBUSY);
    deletion.rnext = Some(SECOND.1);
    deletion.set(&ends.client).expect("TCP_AO_DEL_KEY");
    expect_errno(deletion.set(&ends.client), libc::ENOENT);
    // The server learns with the next segment, and what was on its way was the old key's.
    let told = info(&ends.client);
    assert_eq!((told.current, told.rnext), (Some(SECOND.0), Some(SECOND.1)));
    ends.client.send_all(b"new");
    assert_eq!(ends.server.recv_exact(3), b"new");
    wait::until("the server's current key", || {
        info(&ends.server).current == Some(SECOND.1)
    });
    want(&ends.server, SECOND.0);
    let first = server_key(pair, FIRST, KEY);
    first.delete(&ends.server).expect("TCP_AO_DEL_KEY");
    let (left, count) = Listed::all().get(&ends.server, 4).expect("TCP_AO_GET_KEYS");
    assert_eq!(count, 1);
    assert_eq!(left[0].ids, (SECOND.1, SECOND.0));
    // And another one comes.
    add(&client_key(pair, FIRST, KEY), &ends.client);
    add(&server_key(pair, FIRST, KEY), &ends.server);
    want(&ends.client, FIRST.1);
    ends.check_alive();
    assert_eq!(info(&ends.server).current, Some(FIRST.1));
    transfer::both_ways(ends, 200_000);
}
