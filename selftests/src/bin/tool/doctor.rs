// SPDX-License-Identifier: GPL-2.0
//! `oxtcp doctor`: that it finds what is wrong, each made on purpose, and nothing where all is well.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::Arc;

use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::thread::Worker;
use oxtcp_selftests::{cases, listening, stack, thread, wait, Ip, Sock, Stack, Suite};

use super::{command, half_open, half_opens, json, oxtcp, refused, said, talk};

pub fn register(suite: &mut Suite) {
    cases!(suite.stacks:
        doctor__leak, doctor__flood, doctor__accept_queue, doctor__backlog,
        doctor__receive_window, doctor__receive_buffer,
    );
    suite.once("doctor__ports_of_both", doctor__ports_of_both);
    suite.once("doctor__is_content", doctor__is_content);
}

/// What the doctor finds: check, severity and title, one a line; and its exit code.
fn findings(options: &str) -> String {
    json(
        &format!("doctor --json {options}"),
        "'\\n'.join('%(check)s %(severity)s %(title)s' % f for f in d['findings'])",
    )
}

fn doctor__leak(stack: Stack) {
    let link = Veth::make();
    oxtcp("set keepalive_time=120");
    let talk = talk(stack, &link);
    drop(talk.client);
    wait::until("CLOSE-WAIT", || {
        oxtcp("ss -Hn state close-wait").lines().count() == 1
    });
    assert_eq!(findings(""), "", "it is not a minute old");
    let title = format!(
        "close-wait warning tool ({}) does not close 1 connection",
        std::process::id()
    );
    wait::until("a second has passed", || {
        findings("--close-wait 1").starts_with(&title)
    });
    refused("doctor --close-wait 1", 3, "");
    drop(talk.server);
    assert_eq!(findings("--close-wait 1"), "");
}

fn doctor__flood(stack: Stack) {
    let link = Veth::make();
    let (_listener, _clients) = half_open(stack, &link, 40, 20);
    wait::until("the queue is nearly full", || half_opens(stack) >= 16);
    let found = findings("");
    assert!(found.starts_with("half-open "), "{found}");
    assert!(
        found.contains(&format!(
            "port 8080 of tool ({}) is flooded",
            std::process::id()
        )),
        "{found}"
    );
    let text = said(&mut command(&["doctor"]));
    assert_eq!(text.code, 3);
    for part in [
        if stack.ip == Ip::V4 {
            "192.0.2.0/24"
        } else {
            "2001:db8::/64"
        },
        "oxtcp profile apply under-attack",
    ] {
        assert!(text.out.contains(part), "{}", text.out);
    }
}

fn doctor__accept_queue(stack: Stack) {
    let link = Veth::make();
    let talk = talk(stack, &link);
    let more: Vec<Sock> = link.b.run(|| {
        let client = |_| {
            let client = Sock::open_nonblocking(Stack::builtin(stack.ip));
            let _ = client.connect(&talk.address);
            client
        };
        (0..8).map(client).collect()
    });
    let found = format!(
        "accept-queue problem tool ({}) does not accept connections on {}",
        std::process::id(),
        talk.address
    );
    wait::until("the queue is full", || findings("").contains(&found));
    drop(more);
}

/// What it says to a person.
fn text() -> String {
    said(&mut command(&["doctor"])).out
}

/// Waits until it says all of that.
fn says(parts: &[&str]) -> String {
    let mut found = String::new();
    wait::until(&format!("the doctor says {parts:?}"), || {
        found = text();
        parts.iter().all(|part| found.contains(part))
    });
    found
}

/// A backlog that was asked for and not granted, while nobody waits.
fn doctor__backlog(stack: Stack) {
    ns::isolate();
    oxtcp("set somaxconn=16");
    let (listener, address) = listening(stack, 100);
    let who = format!("tool ({})", std::process::id());
    let title = format!("backlog note {who} asked for a larger backlog on {address} than it has");
    assert_eq!(findings(""), title);
    let found = oxtcp("doctor");
    for part in [
        &format!("{address}, {who}: asked for 100, has 16, by net.oxtcp.somaxconn; at most 0 have"),
        "-> oxtcp set somaxconn=100, then restart the program",
    ] {
        assert!(found.contains(part), "{found}");
    }
    oxtcp("set somaxconn=100");
    assert!(oxtcp("doctor").contains("-> Restart the program"));
    listener.listen(100).expect("listen");
    assert_eq!(findings(""), "");

    // What was asked for is not known: the kernel has cut it.
    ns::set_sysctl("net/core/somaxconn", "50");
    listener.listen(200).expect("listen");
    let found = oxtcp("doctor");
    for part in [
        "may have asked for a larger backlog",
        "asked for 50 or more, has 50, by net.core.somaxconn;",
        "-> sysctl net.core.somaxconn=200, then restart",
    ] {
        assert!(found.contains(part), "{found}");
    }
}

/// Bytes from one end to the other, until it is dropped.
struct Flow {
    stop: Arc<AtomicBool>,
    workers: Vec<Worker<()>>,
}

impl Flow {
    fn start(from: &Sock, to: &Sock) -> Flow {
        let stop = Arc::new(AtomicBool::new(false));
        let (stops, from, to) = (Arc::clone(&stop), from.try_clone(), to.try_clone());
        let sender = thread::spawn(move || {
            while !stops.load(Ordering::Relaxed) {
                // A blocked write fills what has begun beyond the buffer, as in Linux.
                from.poll_wait(libc::POLLOUT);
                from.send_all(&[7; 16_384]);
            }
            from.shutdown(libc::SHUT_WR).expect("shutdown");
        });
        let reader = thread::spawn(move || {
            let mut bytes = vec![0; 1 << 20];
            while to.read(&mut bytes).expect("read") != 0 {}
        });
        Flow {
            stop,
            workers: vec![sender, reader],
        }
    }

    fn end(self) {
        self.stop.store(true, Ordering::Relaxed);
        for worker in self.workers {
            worker.join();
        }
    }
}

/// A link with a round trip of 20 ms.
fn long_link() -> Veth {
    let link = Veth::make();
    ns::sh_or_skip("tc qdisc add dev va root netem delay 20ms rate 40mbit limit 10000");
    link
}

fn doctor__receive_window(stack: Stack) {
    let link = long_link();
    let talk = talk(stack, &link);
    // Its window is small from now on.
    talk.client
        .set(libc::SOL_SOCKET, libc::SO_RCVBUF, 20_000)
        .expect("SO_RCVBUF");
    let flow = Flow::start(&talk.server, &talk.client);
    says(&[
        "the other side's receive window is what bounds the speed",
        "in flight, a window of ",
    ]);
    flow.end();
}

fn doctor__receive_buffer(stack: Stack) {
    let link = long_link();
    let words = ["set", "rmem=4096 65536 131072"];
    assert_eq!(said(&mut command(&words)).code, 0);
    let talk = talk(stack, &link);
    let flow = Flow::start(&talk.client, &talk.server);
    says(&[
        "the receive buffer, at rmem's most, bounds the speed",
        "a receive buffer of 131 kB",
        "-> oxtcp set rmem='4096 65536 524288', or",
    ]);
    flow.end();
}

/// Ports of the built-in TCP's are not to be had.
fn doctor__ports_of_both() {
    ns::isolate();
    ns::set_sysctl("net/ipv4/ip_local_port_range", "40000 40009");
    let ours = Stack::ours(Ip::V4);
    let listener = Sock::open(ours);
    let address = "127.0.0.1:8080".parse().expect("an address");
    listener.bind(&address).expect("bind");
    listener.listen(16).expect("listen");
    let client = Sock::open(ours);
    client.connect(&address).expect("connect");
    assert_eq!(findings(""), "");

    let holder = |port: u16| {
        let holder = Sock::open(Stack::builtin(Ip::V4));
        let local = format!("127.0.0.1:{port}").parse().expect("an address");
        holder.bind(&local).expect("bind");
        holder.listen(1).expect("listen");
        holder
    };
    let own = client.port();
    let mut others = (40000..40010).filter(|port| *port != own);
    let mut held: Vec<Sock> = others.by_ref().take(7).map(holder).collect();
    let title = format!("ports warning the local ports for connections from 127.0.0.1 to {address} are nearly used up");
    assert_eq!(findings(""), title);
    let found = text();
    for part in [
        "8 of 10 (net.ipv4.ip_local_port_range = 40000 40009)",
        "1 have oxtcp's connections to there, 0 of them TIME-WAITs",
        "7 have sockets of the built-in TCP (ss -tan), 0 listeners of oxtcp's",
    ] {
        assert!(found.contains(part), "{found}");
    }
    held.extend(others.map(holder));
    let found = findings("");
    let title = title.replace("warning", "problem");
    assert!(found.starts_with(&title), "{found}");
    let error = Sock::open(ours).connect(&address).expect_err("no port");
    assert_eq!(error.raw_os_error(), Some(libc::EADDRNOTAVAIL));
}

fn doctor__is_content() {
    ns::isolate();
    let text = oxtcp("doctor");
    let family = stack::family_number();
    assert!(text.contains(&format!("socket family {family})")), "{text}");
    assert!(text.contains("Nothing is wrong"), "{text}");
    oxtcp("set sack=0");
    assert!(
        oxtcp("doctor").contains("sack is off"),
        "a note leaves the exit code at 0"
    );
    oxtcp("set rto_min_us=2000000000");
    refused("doctor", 3, "");
}
