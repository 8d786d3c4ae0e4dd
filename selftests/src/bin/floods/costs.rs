// SPDX-License-Identifier: GPL-2.0
//! What a segment of a flood costs.

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use oxtcp_selftests::connection::listening_at;
use oxtcp_selftests::flood::{Flood, Kind, Sources};
use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::{capture, Ip, Sock, Stack};

use crate::bed::{new_address, set, BACKLOG};
use crate::readings::Counted;
use crate::tables::ip_name;

/// How many segments are measured.
const MEASURED: usize = 20_000;

const FLOODS: [(&str, Kind); 4] = [
    ("SYN, answered with a cookie", Kind::Syn),
    ("ACK", Kind::Flags(capture::ACK)),
    ("RST", Kind::Flags(capture::RST)),
    ("FIN", Kind::Flags(capture::FIN | capture::ACK)),
];

/// What a segment of a flood to `address` costs, all together.
fn cost_of(link: &Veth, kind: Kind, address: SocketAddr, sources: Sources) -> f64 {
    link.b.run(|| {
        let mut flood = Flood::new(kind, address, sources);
        flood.send(2000);
        // The hook that a flood brings is there then.
        std::thread::sleep(Duration::from_millis(200));
        let packets = flood.make(MEASURED);
        let start = Instant::now();
        let sent = flood.send_made(&packets);
        let time = start.elapsed().as_nanos() as f64 / MEASURED as f64;
        assert_eq!(sent, MEASURED, "segments that were not sent");
        time
    })
}

/// The same, of SYNs to a listener that answers all with cookies; ours does so before routing.
fn cost_of_cookies(link: &Veth, server: Stack, address: SocketAddr) -> f64 {
    let before = Counted::now(server);
    let cost = cost_of(link, Kind::Syn, address, Sources::Everywhere);
    let counted = Counted::now(server).since(&before);
    let sent = counted.of("SyncookiesSent");
    assert!(sent >= MEASURED as u64, "{}", counted.cell());
    if server.ours {
        let fast = counted.of("SyncookiesFast");
        assert!(fast >= MEASURED as u64, "{}", counted.cell());
    }
    cost
}

/// What segments cost that come to a listener, or to a connection with the right ends and wrong numbers.
pub fn table(link: &Veth) {
    println!("**Instructions for a segment of the flood**\n");
    println!("| flood | to | IP | dropped by the firewall | oxtcp | built-in TCP | ratio | ratio beyond the first |\n|---|---|---|---|---|---|---|---|");
    for ip in Ip::BOTH {
        let stacks = [true, false].map(|ours| Stack { ours, ip });
        for (what, kind) in FLOODS {
            ns::nft("table inet t {\n chain in {\n type filter hook prerouting priority -300;\n meta l4proto tcp drop\n }\n}");
            let dropped = cost_of(link, kind, new_address(ip), Sources::Everywhere);
            ns::nft_clear();
            let row = |to: &str, [ours, builtin]: [f64; 2]| {
                println!(
                    "| {what} | {to} | {} | {dropped:.0} | {ours:.0} | {builtin:.0} | {:.2} | {:.2} |",
                    ip_name(ip),
                    ours / builtin,
                    (ours - dropped) / (builtin - dropped)
                );
            };
            let to_listener = stacks.map(|server| {
                set(server, "syncookies", "2");
                let address = new_address(ip);
                let (_listener, _) = listening_at(server, &address, BACKLOG);
                match kind {
                    Kind::Syn => cost_of_cookies(link, server, address),
                    _ => cost_of(link, kind, address, Sources::Everywhere),
                }
            });
            row("a listener", to_listener);
            if kind == Kind::Syn {
                continue;
            }
            row(
                "a connection",
                stacks.map(|server| to_connection(link, server, kind)),
            );
        }
    }
}

fn to_connection(link: &Veth, server: Stack, kind: Kind) -> f64 {
    set(server, "syncookies", "1");
    let address = new_address(server.ip);
    let (listener, _) = listening_at(server, &address, BACKLOG);
    let client = link.b.run(|| {
        let client = Sock::open(Stack::builtin(server.ip));
        client.connect(&address).expect("connect");
        client
    });
    let (served, from) = listener.accept().expect("accept");
    let cost = cost_of(link, kind, address, Sources::One(from));
    // It lives.
    client.send_all(b"?");
    assert_eq!(served.recv_exact(1), b"?");
    cost
}
