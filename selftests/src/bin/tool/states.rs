// SPDX-License-Identifier: GPL-2.0
//! A socket in each state that a connection has, as `oxtcp ss` shows them.
//!
//! With OXTCP_RECORD=FOLDER the messages of sock_diag that tell them are kept there, for the unit tests of `tools/oxtcp/src/sockets`:
//!
//!     scripts/vm run --module --env OXTCP_RECORD=/job/out --out FOLDER -- 'selftests/bin/tool ss__every_state'

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use oxtcp_selftests::diag::{Diag, Request, CONGESTION, INFO, SKMEMINFO};
use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::{wait, Sock, Stack};

use crate::command::oxtcp;
use crate::talk_at;

/// The states, and the port by which the one in it is known.
const STATES: [(&str, u16); 10] = [
    ("LISTEN", 9001),
    ("ESTAB", 9001),
    ("SYN-RECV", 9002),
    ("SYN-SENT", 9003),
    ("CLOSE-WAIT", 9004),
    ("FIN-WAIT-2", 9005),
    ("TIME-WAIT", 9006),
    // What ends here is not heard.
    ("LAST-ACK", 9007),
    ("FIN-WAIT-1", 9008),
    ("CLOSING", 9009),
];

/// A listener that is ours, and the port's connection with the built-in TCP, the server's end first.
fn meet(stack: Stack, link: &Veth, port: u16) -> (Sock, Sock) {
    let talk = talk_at(stack, link, port);
    (talk.server, talk.client)
}

fn states_now() -> BTreeMap<(String, u16), usize> {
    let mut states = BTreeMap::new();
    for line in oxtcp("ss -Han").lines() {
        let words: Vec<&str> = line.split_whitespace().collect();
        // Of what we have opened the other end's port is the known one.
        let end = if words[0] == "SYN-SENT" {
            words[4]
        } else {
            words[3]
        };
        let port = end.rsplit_once(':').expect("a port").1;
        let key = (words[0].to_string(), port.parse().expect("a port"));
        *states.entry(key).or_default() += 1;
    }
    states
}

pub fn ss__every_state(stack: Stack) {
    let link = Veth::make();
    // What says that a segment was lost is not let in: the other end hears no SYN-ACK there, and no FIN here.
    link.b.run(|| {
        ns::nft_input(&[
            "tcp sport 9002 tcp flags & (syn|ack) == (syn|ack) drop",
            "tcp sport { 9007, 9008, 9009 } tcp flags & fin == fin drop",
        ]);
    });
    let listener = Sock::open(stack);
    let (address, half) = (
        Veth::address_a(stack.ip, 9001),
        Veth::address_a(stack.ip, 9002),
    );
    listener.bind(&address).expect("bind");
    listener.listen(7).expect("listen");
    let half_listener = Sock::open(stack);
    half_listener.bind(&half).expect("bind");
    half_listener.listen(7).expect("listen");
    let (established, half_open) = link.b.run(|| {
        let client = Sock::open(Stack::builtin(stack.ip));
        client.connect(&address).expect("connect");
        let half_open = Sock::open_nonblocking(Stack::builtin(stack.ip));
        half_open.connect(&half).expect_err("a connection");
        (client, half_open)
    });
    let server = listener.accept().expect("accept").0;
    established.send_all(b"hello");
    let opening = Sock::open_nonblocking(stack);
    let nobody = Veth::address_of_nobody(stack.ip, 9003);
    opening.connect(&nobody).expect_err("a connection");

    let left = meet(stack, &link, 9004);
    let ended = meet(stack, &link, 9005);
    let waits = meet(stack, &link, 9006);
    let last = meet(stack, &link, 9007);
    let first = meet(stack, &link, 9008);
    let both = meet(stack, &link, 9009);
    let there = |state: &str, port: u16| {
        wait::until(&format!("{state} at {port}"), || {
            states_now().contains_key(&(state.to_string(), port))
        });
    };
    drop(left.1);
    ended.0.shutdown(libc::SHUT_WR).expect("shutdown");
    drop(waits.0);
    assert_eq!(waits.1.recv_to_end().len(), 0);
    drop(waits.1);
    drop(last.1);
    there("CLOSE-WAIT", 9007);
    drop(last.0);
    first.0.shutdown(libc::SHUT_WR).expect("shutdown");
    both.0.shutdown(libc::SHUT_WR).expect("shutdown");
    there("FIN-WAIT-1", 9009);
    drop(both.1);
    for (state, port) in STATES {
        there(state, port);
    }
    // Nothing else but the listener of the half-open one.
    let now = states_now();
    assert_eq!(now.len(), STATES.len() + 1, "{now:?}");
    assert_eq!(now[&("LISTEN".to_string(), 9002)], 1);
    assert!(now.values().all(|number| *number == 1), "{now:?}");
    if let Some(folder) = std::env::var_os("OXTCP_RECORD") {
        let request = [INFO, CONGESTION, SKMEMINFO]
            .into_iter()
            .fold(Request::all(stack), Request::with);
        let bytes = Diag::open().record(&request);
        let name = format!("sock_diag_states_{}", stack.ip.name());
        fs::write(Path::new(&folder).join(name), bytes).expect("a file");
    }
    drop((server, established, half_open, half_listener, opening));
    drop((left.0, ended, first, both.0));
}
