// SPDX-License-Identifier: GPL-2.0
//! SYN cookies that are sent before routing: what they are beside the others, and when there are none.

use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};
use std::process::ExitCode;

use oxtcp_selftests::capture::{Segment, ACK, CWR, ECE, SYN};
use oxtcp_selftests::flood::network;
use oxtcp_selftests::forge::packet;
use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::stranger::{count, filtered, Stranger, PORT};
use oxtcp_selftests::{cases, ktap, wait, Ip, Sock, Stack, Suite};

/// As Linux has it, but for the timestamp.
const OPTIONS: [u8; 20] = [
    2, 4, 5, 0xb4, 4, 2, 8, 10, 1, 2, 3, 4, 0, 0, 0, 0, 1, 3, 3, 7,
];

fn main() -> ExitCode {
    let mut suite = Suite::from_args("fast_cookies");
    cases!(suite.stacks:
        answer__is_the_same_to_the_byte, answer__is_as_others_are, clients__get_in, clients__get_in_on_any_address, vlan__answers,
        falls_back__firewall, falls_back__conntrack, falls_back__rule, falls_back__other_way_back, falls_back__data, falls_back__setting,
        answers__rules_behind_it, martian__is_not_answered, rate__of_a_network,
    );
    suite.run()
}

/// A listener that answers each SYN with a cookie, and who sends SYNs.
struct Scene(Stranger);

impl Scene {
    fn new(stack: Stack) -> Scene {
        Scene::at(stack, Veth::address_a(stack.ip, PORT))
    }

    fn at(stack: Stack, place: SocketAddr) -> Scene {
        if !stack.ours {
            ktap::skip("the built-in TCP has no such path");
        }
        let stranger = Stranger::at(stack, place);
        ns::set_sysctl("net/oxtcp/syncookies", "2");
        Scene(stranger)
    }

    /// The answer to a SYN.
    fn ask(&mut self, from: SocketAddr, options: &[u8]) -> (Vec<u8>, Segment) {
        self.send_syn(from, options);
        self.answer_to(from)
    }

    fn send_syn(&mut self, from: SocketAddr, options: &[u8]) {
        self.send(from, (7, 0), SYN, options, &[]);
    }

    /// Lets SYNs come until they are answered before routing.
    fn warm_up(&mut self) {
        wait::until("the hook is there", || self.is_fast());
    }

    /// Whether the next SYN is answered before routing.
    fn is_fast(&mut self) -> bool {
        let before = count("SyncookiesFast");
        let from = self.source();
        self.ask(from, &OPTIONS);
        count("SyncookiesFast") > before
    }

    /// The next SYN takes the long way, and is answered like any.
    #[track_caller]
    fn falls_back(&mut self) {
        let before = count("SyncookiesFellBack");
        assert!(!self.is_fast());
        assert_eq!(count("SyncookiesFellBack"), before + 1);
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
    ns::set_sysctl("net/oxtcp/fast_syncookies", if on { "1" } else { "0" });
}

/// The answers to one SYN, before routing and behind it: they differ by their path alone. Without timestamps in no byte.
fn answer__is_the_same_to_the_byte(stack: Stack) {
    let mut scene = Scene::new(stack);
    scene.warm_up();
    for options in [&OPTIONS[..4], &[], &OPTIONS[..], &[2, 4, 1, 0, 1, 3, 3, 0]] {
        let mut tries = 0;
        wait::until("the same answer twice", || {
            tries += 1;
            assert!(
                tries <= 3,
                "the answers differ by more than a cookie of another minute"
            );
            let from = scene.source();
            set_fast(true);
            let fast = count("SyncookiesFast");
            let (mut first, _) = scene.ask(from, options);
            assert_eq!(count("SyncookiesFast"), fast + 1);
            set_fast(false);
            let (mut second, segment) = scene.ask(from, options);
            assert_eq!(count("SyncookiesFast"), fast + 1);
            if segment.option(8).is_some() {
                // The time is another one, and with it the checksum.
                for packet in [&mut first, &mut second] {
                    let tcp = packet.len() - 40;
                    packet[tcp + 16..tcp + 18].fill(0);
                    packet[tcp + 28..tcp + 32].fill(0);
                }
            }
            // Once in a minute a cookie is another one.
            first == second
        });
    }
    set_fast(true);
}

/// What a host's own packets have: hop limit, DF, no ECN, IPv6's automatic flow label, a checksum.
fn answer__is_as_others_are(stack: Stack) {
    let mut scene = Scene::new(stack);
    // The device does not know that its packets go no further: they are to have their sums.
    ns::need("ethtool");
    ns::sh_or_skip("ethtool -K va tx off");
    scene.warm_up();
    let from = scene.source();
    let (packet, segment) = scene.ask(from, &OPTIONS);
    assert!(segment.checksum_valid);
    assert_eq!((segment.flags, segment.ack), (SYN | ACK, 8));
    assert_eq!(segment.source, scene.target());
    match scene.ip {
        Ip::V4 => {
            assert_eq!(packet[..2], [0x45, 0]);
            assert_eq!(packet[4..9], [0, 0, 0x40, 0, 64]);
            assert_eq!(
                usize::from(u16::from_be_bytes([packet[2], packet[3]])),
                packet.len()
            );
        }
        Ip::V6 => {
            assert_eq!((packet[0], packet[1] & 0xf0), (0x60, 0));
            let label = u32::from_be_bytes([0, packet[1] & 0xf, packet[2], packet[3]]);
            assert_ne!(label, 0);
            assert_eq!(packet[7], 64);
        }
    }
    // A client that asks for ECN gets it.
    let from = scene.source();
    let before = count("SyncookiesFast");
    scene.send(from, (7, 0), SYN | ECE | CWR, &OPTIONS, &[]);
    let (_, answer) = scene.answer_to(from);
    assert_eq!(answer.flags, SYN | ACK | ECE);
    assert_eq!(count("SyncookiesFast"), before + 1);
}

fn clients__get_in(stack: Stack) {
    let mut scene = Scene::new(stack);
    scene.warm_up();
    for _ in 0..5 {
        let (fast, opened) = (count("SyncookiesFast"), count("SyncookiesRecv"));
        let from = scene.source();
        let (_, answer) = scene.ask(from, &OPTIONS);
        assert_eq!(count("SyncookiesFast"), fast + 1);
        let stamps = answer.option(8).expect("timestamps");
        let options = [&[1, 1, 8, 10, 1, 2, 3, 5], &stamps[..4]].concat();
        let numbers = (8, answer.seq.wrapping_add(1));
        scene.send(from, numbers, ACK, &options, &[]);
        let (_server, peer) = scene.listener.accept().expect("accept");
        assert_eq!(peer, from);
        assert_eq!(count("SyncookiesRecv"), opened + 1);
    }
    // A client of this host shares its SYN's memory with its copy for retransmission, which the answer leaves as it is.
    let fast = count("SyncookiesFast");
    scene.client_gets_in();
    assert_eq!(count("SyncookiesFast"), fast + 1);
}

fn clients__get_in_on_any_address(stack: Stack) {
    let mut scene = Scene::at(stack, stack_any(stack.ip, PORT));
    scene.warm_up();
    scene.client_gets_in();
}

fn stack_any(ip: Ip, port: u16) -> SocketAddr {
    match ip {
        Ip::V4 => SocketAddr::new([0, 0, 0, 0].into(), port),
        Ip::V6 => SocketAddr::new([0u16; 8].into(), port),
    }
}

/// A device on top of another one.
fn vlan__answers(stack: Stack) {
    let mut scene = Scene::new(stack);
    let (v4, v6) = ("192.0.2", "2001:db8::");
    for (namespace, device, own) in [(&scene.link.a, "va", 1), (&scene.link.b, "vb", 2)] {
        namespace.run(|| {
            ns::sh_or_skip(&format!(
                "ip link add link {device} name vlan5 type vlan id 5"
            ));
            ns::sh(&format!("ip addr flush dev {device}"));
            ns::sh(&format!("ip addr add {v4}.{own}/24 dev vlan5"));
            ns::sh(&format!("ip addr add {v6}{own}/64 dev vlan5 nodad"));
            ns::sh("ip link set vlan5 up");
        });
    }
    ns::set_sysctl("net/ipv4/conf/vlan5/rp_filter", "0");
    let nobody = Veth::address_of_nobody(scene.ip, 0).ip();
    ns::sh(&format!(
        "ip neigh replace {nobody} lladdr 02:00:00:00:00:09 dev vlan5 nud permanent"
    ));
    ns::sh(&format!(
        "ip route replace {} via {nobody} dev vlan5",
        network(scene.ip)
    ));
    scene.hear_at("vlan5");
    wait::until("the VLAN carries", || {
        scene.link.b.run(|| {
            let client = Sock::open(Stack::builtin(scene.ip));
            client.connect(&scene.target()).is_ok()
        })
    });
    scene.warm_up();
    assert!(scene.is_fast());
}

/// A chain on the packets' way in is to see them.
fn falls_back__firewall(stack: Stack) {
    let mut scene = Scene::new(stack);
    scene.warm_up();
    ns::nft("table inet t {\n counter seen { }\n chain in {\n type filter hook input priority 0;\n tcp dport 5001 counter name seen\n }\n}");
    scene.falls_back();
    assert_eq!(ns::nft_packets("seen"), 1);
    ns::nft("table inet t {\n chain early {\n type filter hook prerouting priority -300;\n }\n}");
    scene.falls_back();
    ns::nft_clear();
    wait::until("the chains are gone", || scene.is_fast());
}

fn falls_back__conntrack(stack: Stack) {
    let mut scene = Scene::new(stack);
    scene.warm_up();
    ns::nft("table inet t {\n counter fresh { }\n chain out {\n type filter hook output priority 0;\n ct state established counter name fresh\n }\n}");
    scene.falls_back();
    // It has seen the SYN before the answer.
    assert_eq!(ns::nft_packets("fresh"), 1);
    ns::nft_clear();
    wait::until("conntrack is gone", || scene.is_fast());
}

fn falls_back__rule(stack: Stack) {
    let mut scene = Scene::new(stack);
    scene.warm_up();
    let family = if scene.ip == Ip::V6 { "-6" } else { "-4" };
    let unused = if scene.ip == Ip::V6 {
        "2001:db8:b::/48"
    } else {
        "198.51.100.0/24"
    };
    ns::sh(&format!("ip {family} rule add from {unused} lookup 100"));
    scene.falls_back();
}

/// The answer leaves by another device than the SYN came by.
fn falls_back__other_way_back(stack: Stack) {
    let mut scene = Scene::new(stack);
    scene.warm_up();
    scene.lead_away();
    let (fast, fell) = (count("SyncookiesFast"), count("SyncookiesFellBack"));
    let sent = count("SyncookiesSent");
    let from = scene.source();
    scene.send_syn(from, &OPTIONS);
    wait::until("it has gone away", || count("SyncookiesSent") == sent + 1);
    assert_eq!(count("SyncookiesFast"), fast);
    assert_eq!(count("SyncookiesFellBack"), fell + 1);
    assert!(!scene.has_answer(from));
}

/// What comes with the SYN is dropped, as with every cookie: but not by us.
fn falls_back__data(stack: Stack) {
    let mut scene = Scene::new(stack);
    scene.warm_up();
    let from = scene.source();
    let mut syn = packet(from, scene.target(), (7, 0), SYN, &OPTIONS, &[]);
    let header = syn.len() - 40;
    // A shorter header makes data of its last four bytes, which the sum knows as such.
    syn[header + 12] = 9 << 4;
    let sum = u16::from_be_bytes([syn[header + 16], syn[header + 17]]);
    let sum = u32::from(!sum) + 0x9000 + u32::from(!0xa000_u16);
    let sum = !(((sum & 0xffff) + (sum >> 16)) as u16);
    syn[header + 16..header + 18].copy_from_slice(&sum.to_be_bytes());
    let fast = count("SyncookiesFast");
    scene.send_packet(syn);
    scene.answer_to(from);
    assert_eq!(count("SyncookiesFast"), fast);
}

fn falls_back__setting(stack: Stack) {
    let mut scene = Scene::new(stack);
    scene.warm_up();
    set_fast(false);
    scene.falls_back();
    set_fast(true);
    assert!(scene.is_fast());
    // That one is for SYNs that no cookie is due to.
    ns::set_sysctl("net/ipv4/tcp_early_demux", "0");
    assert!(scene.is_fast());
}

/// A firewall that looks at what goes out alone sees it, and may drop it.
fn answers__rules_behind_it(stack: Stack) {
    let mut scene = Scene::new(stack);
    scene.warm_up();
    ns::nft("table inet t {\n counter left { }\n chain out {\n type filter hook output priority 0;\n tcp sport 5001 counter name left drop\n }\n}");
    let (fast, from) = (count("SyncookiesFast"), scene.source());
    scene.send_syn(from, &OPTIONS);
    wait::until("the chain has it", || ns::nft_packets("left") == 1);
    assert_eq!(count("SyncookiesFast"), fast + 1);
    assert!(!scene.has_answer(from));
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
    let before = (count("SyncookiesSent"), filtered());
    let from = scene.source();
    scene.send_syn(from, &OPTIONS);
    wait::until("the filter has it", || filtered() == before.1 + 1);
    assert_eq!(count("SyncookiesSent"), before.0);
    // Nor one of our own addresses, from outside.
    let own = SocketAddr::new(scene.target().ip(), 4000);
    scene.send_syn(own, &OPTIONS);
    let from = scene.link.b.run(|| Veth::address_b(Ip::V4, 4001));
    scene.ask(from, &OPTIONS);
    assert_eq!(count("SyncookiesSent"), before.0 + 1);
}

/// What is beyond a network's rate is dropped, once counted.
fn rate__of_a_network(stack: Stack) {
    let mut scene = Scene::new(stack);
    scene.warm_up();
    ns::set_sysctl("net/oxtcp/syn_net_rate", "1");
    wait::until("one too many in a second", || {
        for _ in 0..8 {
            let from = scene.source();
            scene.send_syn(from, &OPTIONS);
        }
        count("SynRateExceeded") > 0
    });
    // Each was counted as one or the other.
    let from = scene.source();
    let (exceeded, sent) = (count("SynRateExceeded"), count("SyncookiesSent"));
    scene.send_syn(from, &OPTIONS);
    wait::until("it is counted", || {
        count("SynRateExceeded") + count("SyncookiesSent") == exceeded + sent + 1
    });
}
