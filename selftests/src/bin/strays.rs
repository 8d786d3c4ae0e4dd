// SPDX-License-Identifier: GPL-2.0
//! Segments to a listener that belong to no connection: what is done with them before routing, and what is left to the built-in TCP.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::process::ExitCode;

use oxtcp_selftests::capture::{Segment, ACK, FIN, PSH, RST, SYN};
use oxtcp_selftests::forge::packet;
use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::stranger::{count, filtered, Stranger, PORT};
use oxtcp_selftests::{cases, ktap, wait, Ip, Sock, Stack, Suite};

const STAMPS: [u8; 12] = [1, 1, 8, 10, 1, 2, 3, 4, 5, 6, 7, 8];
/// Of a signature by TCP-MD5 the kind and the length, and 16 bytes of anything.
const SIGNATURE: [u8; 20] = [
    1, 1, 19, 18, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16,
];
const NUMBERS: (u32, u32) = (100, 4_000_000_000);

fn main() -> ExitCode {
    let mut suite = Suite::from_args("strays");
    cases!(suite.stacks:
        reset__is_the_builtins_to_the_byte, reset__has_the_class_of_the_segment, rst__is_dropped, rst__to_any_address, cookie__is_the_listeners, cookie__forged,
        falls_back__connection_of_the_builtin, falls_back__no_listener, falls_back__firewall, falls_back__rule, falls_back__signature,
        falls_back__odd, falls_back__setting, martian__is_not_answered, rate__of_a_network, clients__get_in,
    );
    suite.run()
}

/// A listener, and who sends it what belongs to nobody.
struct Scene(Stranger);

impl Scene {
    fn new(stack: Stack) -> Scene {
        Scene::at(stack, Veth::address_a(stack.ip, PORT))
    }

    fn at(stack: Stack, place: SocketAddr) -> Scene {
        if !stack.ours {
            ktap::skip("the built-in TCP has no such path");
        }
        Scene(Stranger::at(stack, place))
    }

    /// Lets ACKs come until they are answered before routing.
    fn warm_up(&mut self) {
        wait::until("the hook is there", || self.is_fast());
    }

    /// The reset that a segment is answered with.
    #[track_caller]
    fn reset_for(&mut self, flags: u8, options: &[u8], payload: &[u8]) -> (Vec<u8>, Segment) {
        let from = self.source();
        let segment = packet(from, self.target(), NUMBERS, flags, options, payload);
        self.reset_for_packet(from, segment)
    }

    #[track_caller]
    fn reset_for_packet(&mut self, from: SocketAddr, packet: Vec<u8>) -> (Vec<u8>, Segment) {
        self.send_packet(packet);
        let (packet, answer) = self.answer_to(from);
        assert_eq!((answer.flags, answer.seq), (RST, NUMBERS.1));
        assert_eq!(answer.source, self.target());
        (packet, answer)
    }

    /// Whether the next ACK is answered before routing; it is answered in any case.
    fn is_fast(&mut self) -> bool {
        let before = count("StraysFast");
        self.reset_for(ACK, &[], &[]);
        count("StraysFast") > before
    }

    /// Sends a segment that is dealt with before routing.
    #[track_caller]
    fn is_taken(&mut self, from: SocketAddr, flags: u8) {
        let before = count("StraysFast");
        self.send(from, NUMBERS, flags, &[], &[]);
        wait::until("it is taken", || count("StraysFast") == before + 1);
    }

    /// The sources that have sent before were not answered: the answer to what comes behind it is.
    #[track_caller]
    fn none_is_answered(&mut self, sources: &[SocketAddr]) {
        self.reset_for(ACK, &[], &[]);
        for from in sources {
            assert!(!self.has_answer(*from), "an answer to {from}");
        }
    }
}

impl Deref for Scene {
    type Target = Stranger;

    fn deref(&self) -> &Stranger {
        &self.0
    }
}

impl DerefMut for Scene {
    fn deref_mut(&mut self) -> &mut Stranger {
        &mut self.0
    }
}

fn set_fast(on: bool) {
    ns::set_sysctl("net/oxtcp/fast_resets", if on { "1" } else { "0" });
}

/// Ours before routing, and the built-in TCP's behind it.
fn reset__is_the_builtins_to_the_byte(stack: Stack) {
    let mut scene = Scene::new(stack);
    // The device does not know that its packets go no further: they are to have their sums.
    ns::need("ethtool");
    ns::sh_or_skip("ethtool -K va tx off");
    scene.warm_up();
    for (flags, options, payload) in [
        (ACK, &[][..], &[][..]),
        (ACK | FIN, &[], &[]),
        (ACK | SYN, &[2, 4, 5, 0xb4], &[]),
        (ACK | PSH, &STAMPS, b"data"),
        (ACK, &[5, 10, 0, 0, 0, 1, 0, 0, 0, 2, 1, 1], &[]),
    ] {
        set_fast(true);
        let (fast, resets) = (count("StraysFast"), count("OutRsts"));
        let (mut ours, answer) = scene.reset_for(flags, options, payload);
        assert!(answer.checksum_valid);
        assert_eq!(count("StraysFast"), fast + 1);
        assert_eq!(count("OutRsts"), resets + 1);
        set_fast(false);
        let (mut builtins, _) = scene.reset_for(flags, options, payload);
        assert_eq!(count("StraysFast"), fast + 1);
        // They are for two ports, one after the other, and IPv6's label is one of the flow.
        for packet in [&mut ours, &mut builtins] {
            if scene.ip == Ip::V6 {
                packet[1..4].fill(0);
            }
            let tcp = packet.len() - 20;
            packet[tcp + 2..tcp + 4].fill(0);
            packet[tcp + 16..tcp + 18].fill(0);
        }
        assert_eq!(ours, builtins, "flags {flags:#x}");
    }
}

/// DSCP 18 and ECT(0): the reset has the first of the two, before routing and behind it; and IP_TOS of the listener is not asked for.
fn reset__has_the_class_of_the_segment(stack: Stack) {
    const CLASS: u8 = 0x48;
    let mut scene = Scene::new(stack);
    let (level, name) = match scene.ip {
        Ip::V4 => (libc::IPPROTO_IP, libc::IP_TOS),
        Ip::V6 => (libc::IPPROTO_IPV6, libc::IPV6_TCLASS),
    };
    scene.listener.set(level, name, 0x80).expect("the class");
    scene.warm_up();
    for fast in [true, false] {
        set_fast(fast);
        let before = count("StraysFast");
        let from = scene.source();
        let mut segment = packet(from, scene.target(), NUMBERS, ACK, &[], &[]);
        let class = CLASS | 2;
        match scene.ip {
            Ip::V4 => segment[1] = class,
            Ip::V6 => segment[..2].copy_from_slice(&[0x60 | (class >> 4), class << 4]),
        }
        let (reset, _) = scene.reset_for_packet(from, segment);
        assert_eq!(count("StraysFast"), before + u64::from(fast));
        let theirs = match scene.ip {
            Ip::V4 => reset[1],
            Ip::V6 => (reset[0] << 4) | (reset[1] >> 4),
        };
        assert_eq!(theirs, CLASS, "fast: {fast}");
    }
}

fn rst__is_dropped(stack: Stack) {
    let mut scene = Scene::new(stack);
    scene.warm_up();
    let sources = [RST, RST | ACK, RST | SYN].map(|flags| {
        let from = scene.source();
        scene.is_taken(from, flags);
        from
    });
    scene.none_is_answered(&sources);
    scene.client_gets_in();
}

fn rst__to_any_address(stack: Stack) {
    let any = match stack.ip {
        Ip::V4 => SocketAddr::new([0, 0, 0, 0].into(), PORT),
        Ip::V6 => SocketAddr::new([0u16; 8].into(), PORT),
    };
    let mut scene = Scene::at(stack, any);
    scene.warm_up();
    let from = scene.source();
    scene.is_taken(from, RST);
}

/// An ACK with a cookie makes its connection.
fn cookie__is_the_listeners(stack: Stack) {
    let mut scene = Scene::new(stack);
    ns::set_sysctl("net/oxtcp/syncookies", "2");
    scene.warm_up();
    let from = scene.source();
    scene.send(from, (7, 0), SYN, &[], &[]);
    let (_, answer) = scene.answer_to(from);
    let (fast, opened) = (count("StraysFast"), count("SyncookiesRecv"));
    let numbers = (8, answer.seq.wrapping_add(1));
    scene.send(from, numbers, ACK, &[], &[]);
    let (_server, peer) = scene.listener.accept().expect("accept");
    assert_eq!(peer, from);
    assert_eq!(count("StraysFast"), fast);
    assert_eq!(count("SyncookiesRecv"), opened + 1);
    assert_eq!(count("SyncookiesFailed"), 0);
}

/// One with a wrong one is counted once, and reset.
fn cookie__forged(stack: Stack) {
    let mut scene = Scene::new(stack);
    ns::set_sysctl("net/oxtcp/syncookies", "2");
    scene.warm_up();
    let from = scene.source();
    scene.send(from, (7, 0), SYN, &[], &[]);
    scene.answer_to(from);
    let (fast, failed) = (count("StraysFast"), count("SyncookiesFailed"));
    scene.reset_for(ACK, &[], &[]);
    assert_eq!(count("StraysFast"), fast + 1);
    assert_eq!(count("SyncookiesFailed"), failed + 1);
    assert_eq!(count("SyncookiesRecv"), 0);
}

/// From before we listened: what comes to it goes to it.
fn falls_back__connection_of_the_builtin(stack: Stack) {
    if !stack.ours {
        ktap::skip("the built-in TCP has no such path");
    }
    let address = Veth::address_a(stack.ip, PORT);
    let link = Veth::make();
    let listen = |stack| {
        let listener = Sock::open(stack);
        listener.set_reuseaddr();
        listener.bind(&address).expect("bind");
        listener.listen(16).expect("listen");
        listener
    };
    let builtin = Stack::builtin(stack.ip);
    let old = listen(builtin);
    let client = link.b.run(|| {
        let client = Sock::open(builtin);
        client.connect(&address).expect("connect");
        client
    });
    let (server, from) = old.accept().expect("accept");
    drop(old);
    let mut scene = Scene(Stranger::of(stack.ip, link, listen(stack)));
    scene.warm_up();
    // A packet over the link is its sender's as well; one by a raw socket is not.
    let fast = count("StraysFast");
    for flags in [SYN, ACK, RST, ACK | FIN] {
        scene.send(from, NUMBERS, flags, &[], &[]);
    }
    client.send_all(b"hi");
    assert_eq!(server.recv_exact(2), b"hi");
    server.send_all(b"there");
    assert_eq!(client.recv_exact(5), b"there");
    assert_eq!(count("StraysFast"), fast);
    // The next connection is ours, of the same port.
    scene.client_gets_in();
}

fn falls_back__no_listener(stack: Stack) {
    let mut scene = Scene::new(stack);
    scene.warm_up();
    let (server, client) = {
        let client = scene.link.b.run(|| {
            let client = Sock::open(Stack::builtin(scene.ip));
            client.connect(&scene.target()).expect("connect");
            client
        });
        (scene.listener.accept().expect("accept").0, client)
    };
    // The port is still held.
    scene.listener.shutdown(libc::SHUT_RDWR).expect("shutdown");
    assert!(!scene.is_fast());
    client.send_all(b"hi");
    assert_eq!(server.recv_exact(2), b"hi");
}

/// A chain on the packets' way in is to see them.
fn falls_back__firewall(stack: Stack) {
    let mut scene = Scene::new(stack);
    scene.warm_up();
    ns::nft("table inet t {\n counter seen { }\n chain in {\n type filter hook input priority 0;\n tcp dport 5001 counter name seen\n }\n}");
    assert!(!scene.is_fast());
    assert_eq!(ns::nft_packets("seen"), 1);
    ns::nft("table inet t {\n chain early {\n type filter hook prerouting priority -300;\n }\n}");
    assert!(!scene.is_fast());
    ns::nft_clear();
    wait::until("the chains are gone", || scene.is_fast());
}

fn falls_back__rule(stack: Stack) {
    let mut scene = Scene::new(stack);
    scene.warm_up();
    let (family, unused) = match scene.ip {
        Ip::V4 => ("-4", "198.51.100.0/24"),
        Ip::V6 => ("-6", "2001:db8:b::/48"),
    };
    ns::sh(&format!("ip {family} rule add from {unused} lookup 100"));
    assert!(!scene.is_fast());
}

/// Who knows a key is told nothing without it: there is no answer from either.
fn falls_back__signature(stack: Stack) {
    let mut scene = Scene::new(stack);
    scene.warm_up();
    let fast = count("StraysFast");
    let from = scene.source();
    scene.send(from, NUMBERS, ACK, &SIGNATURE, &[]);
    scene.none_is_answered(&[from]);
    // What came behind it.
    assert_eq!(count("StraysFast"), fast + 1);
}

/// A wrong sum, a header that ends beyond the packet, and none of the flags that tell of a connection.
fn falls_back__odd(stack: Stack) {
    let mut scene = Scene::new(stack);
    scene.warm_up();
    let from = scene.source();
    let target = scene.target();
    let fast = count("StraysFast");
    let whole = packet(from, target, NUMBERS, ACK, &[], &[]);
    let tcp = whole.len() - 20;
    for (at, bits) in [(tcp + 17, 1), (tcp + 12, 0x20)] {
        let mut odd = whole.clone();
        odd[at] ^= bits;
        scene.send_packet(odd);
    }
    scene.send(from, NUMBERS, FIN, &[], &[]);
    scene.send(from, NUMBERS, 0, &[], &[]);
    scene.none_is_answered(&[from]);
    // What came behind them.
    assert_eq!(count("StraysFast"), fast + 1);
}

fn falls_back__setting(stack: Stack) {
    let mut scene = Scene::new(stack);
    scene.warm_up();
    set_fast(false);
    assert!(!scene.is_fast());
    set_fast(true);
    assert!(scene.is_fast());
}

/// With rp_filter a source that is elsewhere is a lie.
fn martian__is_not_answered(stack: Stack) {
    let mut scene = Scene::new(stack);
    scene.warm_up();
    if scene.ip == Ip::V6 {
        ktap::skip("IPv6 has no rp_filter");
    }
    ns::set_sysctl("net/ipv4/conf/va/rp_filter", "1");
    // Where the way back is right it does not mind.
    assert!(scene.is_fast());
    scene.lead_away();
    let (fast, before) = (count("StraysFast"), filtered());
    let from = scene.source();
    scene.send(from, NUMBERS, ACK, &[], &[]);
    wait::until("the filter has it", || filtered() == before + 1);
    assert_eq!(count("StraysFast"), fast);
    assert!(!scene.has_answer(from));
}

/// A network gets so many in a second, and no more.
fn rate__of_a_network(stack: Stack) {
    let mut scene = Scene::new(stack);
    scene.warm_up();
    ns::set_sysctl("net/oxtcp/reset_net_rate", "1");
    wait::until("one too many in a second", || {
        for _ in 0..8 {
            let from = scene.source();
            scene.is_taken(from, ACK);
        }
        count("AnswerRateExceeded") > 0
    });
    ns::set_sysctl("net/oxtcp/reset_net_rate", "0");
    scene.reset_for(ACK, &[], &[]);
}

/// Whose handshake is half done is nobody's stray.
fn clients__get_in(stack: Stack) {
    let mut scene = Scene::new(stack);
    scene.warm_up();
    for _ in 0..5 {
        let fast = count("StraysFast");
        let from = scene.source();
        scene.send(from, (7, 0), SYN, &[], &[]);
        let (_, answer) = scene.answer_to(from);
        let numbers = (8, answer.seq.wrapping_add(1));
        scene.send(from, numbers, ACK, &[], &[]);
        let (_server, peer) = scene.listener.accept().expect("accept");
        assert_eq!(peer, from);
        assert_eq!(count("StraysFast"), fast);
    }
}
