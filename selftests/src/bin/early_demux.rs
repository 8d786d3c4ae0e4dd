// SPDX-License-Identifier: GPL-2.0
//! Packets of connections that are taken before routing: when they are, and who still has a say.

use std::net::{Ipv6Addr, SocketAddr};
use std::process::ExitCode;
use std::time::Duration;

use oxtcp_selftests::capture::{Capture, Segment, ACK, FIN, RST, SYN};
use oxtcp_selftests::connection::{listening_at, Connected};
use oxtcp_selftests::flood::{network, Raw};
use oxtcp_selftests::forge::packet;
use oxtcp_selftests::ns::{self, Namespace, Veth};
use oxtcp_selftests::procnet::{self, State};
use oxtcp_selftests::stranger::{count as count_of, filtered, Stranger};
use oxtcp_selftests::{cases, ktap, wait, Ip, Sock, Stack, Suite};

const PORT: u16 = 5001;

fn main() -> ExitCode {
    let mut suite = Suite::from_args("early_demux");
    cases!(suite.stacks:
        taken__before_routing, bulk__arrives, firewall__of_input_comes_first, firewall__before_routing_comes_first, conntrack__knows_the_connection,
        setting__switches_it_off, address__that_goes, interface__another_one, reset__of_a_connection, loopback__has_its_route,
        socket__that_connects_again, listener__has_no_route, syn__answer, syn__falls_back, syn__martian, syn__of_a_time_wait, syn__of_a_bound_listener, syn__of_a_full_queue, half_open__last_ack,
        half_open__martian, half_open__class_of_the_listener, time_wait__answer,
    );
    suite.run()
}

/// A connection between two hosts: the server is `stack`'s, in `va`'s namespace, the client the built-in TCP's.
struct Scene {
    ip: Ip,
    link: Veth,
    both: Connected,
}

impl Scene {
    fn new(stack: Stack) -> Scene {
        if !stack.ours {
            ktap::skip("only our hooks are asked for");
        }
        let link = Veth::make();
        let both = meet(stack, &link.b);
        Scene {
            ip: stack.ip,
            link,
            both,
        }
    }

    /// A byte to the server and one back: whether what came to the server was taken before routing.
    #[track_caller]
    fn is_early(&self) -> bool {
        let before = count();
        self.both.check_alive();
        count() > before
    }

    /// Bytes pass until what comes is taken before routing: the hooks are made in the background.
    fn warm_up(&self) {
        wait::until("packets are taken before routing", || self.is_early());
    }
}

fn meet(stack: Stack, clients: &Namespace) -> Connected {
    let address = Veth::address_a(stack.ip, PORT);
    let listener = Sock::open(stack);
    listener.set_reuseaddr();
    listener.bind(&address).expect("bind");
    listener.listen(4).expect("listen");
    let client = clients.run(|| {
        let client = Sock::open(Stack::builtin(stack.ip));
        client.connect(&address).expect("connect");
        client
    });
    let (server, _) = listener.accept().expect("accept");
    Connected { client, server }
}

fn count() -> u64 {
    count_of("EarlyDemux")
}

fn taken__before_routing(stack: Stack) {
    let scene = Scene::new(stack);
    assert_eq!(count(), 0, "nothing has come but the handshake");
    scene.warm_up();
    assert!(scene.is_early());
    // A second connection finds the hooks, and its first packet has the route that the others come by.
    let other = meet(stack, &scene.link.b);
    other.check_alive();
    let before = count();
    other.check_alive();
    assert!(count() > before);
}

/// Packets of several segments, and those that wait while a program has the socket.
fn bulk__arrives(stack: Stack) {
    const LEN: usize = 8 << 20;
    let scene = Scene::new(stack);
    scene.warm_up();
    let bytes: Vec<u8> = (0..LEN as u32)
        .map(|n| n.wrapping_mul(0x9e37_79b1).to_be_bytes()[0])
        .collect();
    let before = count();
    let Connected { client, server } = &scene.both;
    let came = std::thread::scope(|threads| {
        threads.spawn(|| client.send_all(&bytes));
        server.recv_exact(LEN)
    });
    assert!(came == bytes, "what came is not what was sent");
    assert!(count() > before);
}

/// A chain at LOCAL_IN sees each packet, and what it drops is not heard.
fn firewall__of_input_comes_first(stack: Stack) {
    let scene = Scene::new(stack);
    scene.warm_up();
    ns::nft("table inet t {\n counter seen { }\n chain in {\n type filter hook input priority 0;\n tcp dport 5001 counter name seen\n }\n}");
    assert!(!scene.is_early());
    assert!(ns::nft_packets("seen") > 0);
    drops(&scene, "input");
    scene.warm_up();
}

/// So with one before routing, behind which we are.
fn firewall__before_routing_comes_first(stack: Stack) {
    let scene = Scene::new(stack);
    scene.warm_up();
    ns::nft("table inet t {\n counter seen { }\n chain early {\n type filter hook prerouting priority 300;\n tcp dport 5001 counter name seen\n }\n}");
    let seen = ns::nft_packets("seen");
    assert!(scene.is_early());
    assert!(ns::nft_packets("seen") > seen);
    drops(&scene, "prerouting");
}

/// A rule that drops is obeyed, and as it goes the connection goes on.
fn drops(scene: &Scene, hook: &str) {
    let Connected { client, server } = &scene.both;
    ns::nft(&format!("table inet t {{\n counter gone {{ }}\n chain drops {{\n type filter hook {hook} priority 10;\n tcp dport 5001 counter name gone drop\n }}\n}}"));
    client.send_all(b"x");
    wait::until("the rule has it", || ns::nft_packets("gone") > 0);
    assert_eq!(server.readable(), 0);
    ns::nft_clear();
    assert_eq!(server.recv_exact(1), b"x");
}

/// conntrack stands before us before routing, and behind us at LOCAL_IN.
fn conntrack__knows_the_connection(stack: Stack) {
    let scene = Scene::new(stack);
    scene.warm_up();
    ns::nft("table inet t {\n counter known { }\n chain out {\n type filter hook output priority 0;\n ct state established counter name known\n }\n}");
    scene.both.check_alive();
    let known = ns::nft_packets("known");
    assert!(scene.is_early());
    assert!(ns::nft_packets("known") > known);
}

/// Linux's own settings.
fn setting__switches_it_off(stack: Stack) {
    let scene = Scene::new(stack);
    scene.warm_up();
    for name in ["ip_early_demux", "tcp_early_demux"] {
        ns::set_sysctl(&format!("net/ipv4/{name}"), "0");
        assert!(!scene.is_early(), "{name}");
        ns::set_sysctl(&format!("net/ipv4/{name}"), "1");
        assert!(scene.is_early(), "{name}");
    }
}

/// The route goes with the address that it leads to.
fn address__that_goes(stack: Stack) {
    let scene = Scene::new(stack);
    scene.warm_up();
    let address = Veth::address_a(scene.ip, PORT).ip();
    let len = if scene.ip == Ip::V6 { 64 } else { 24 };
    ns::sh(&format!("ip addr del {address}/{len} dev va"));
    let before = count();
    let Connected { client, server } = &scene.both;
    let seen = scene.link.a.run(|| Capture::incoming("va", scene.ip));
    client.send_all(b"x");
    wait::until("it came", || !seen.segments().is_empty());
    // Twice, so that the first has been dealt with.
    let sent = seen.segments().len();
    wait::until("it came again", || seen.segments().len() > sent);
    assert_eq!(server.readable(), 0);
    assert_eq!(count(), before);
    let nodad = if scene.ip == Ip::V6 { " nodad" } else { "" };
    ns::sh(&format!("ip addr add {address}/{len} dev va{nodad}"));
    assert_eq!(server.recv_exact(1), b"x");
}

/// What comes by another interface is routing's to judge: `rp_filter` drops it.
fn interface__another_one(stack: Stack) {
    if stack.ip == Ip::V6 {
        ktap::skip("IPv6 has no rp_filter");
    }
    let scene = Scene::new(stack);
    ns::sh("ip link add vc type veth peer name vd");
    let there = Namespace::enter_new();
    scene.link.a.enter();
    ns::sh(&format!("ip link set vd netns {}", there.path()));
    there.run(|| {
        ns::sh("ip link set vd up");
        ns::sh("ip addr add 192.0.2.2/24 dev vd");
        ns::sh("ip neigh replace 192.0.2.1 lladdr 02:00:00:00:00:03 dev vd nud permanent");
    });
    ns::sh("ip link set vc address 02:00:00:00:00:03");
    ns::sh("ip link set vc up");
    for (filter, value) in [("all", "0"), ("va", "0"), ("vc", "1")] {
        ns::set_sysctl(&format!("net/ipv4/conf/{filter}/rp_filter"), value);
    }
    scene.warm_up();
    let before = count();
    let from = scene.both.client.local().expect("getsockname");
    let to = Veth::address_a(scene.ip, PORT);
    let segment = packet(from, to, (7, 7), ACK, &[], &[]);
    let was = filtered();
    assert_eq!(there.run(|| Raw::new(to.ip())).send(&[segment]), 1);
    wait::until("rp_filter drops it", || filtered() > was);
    assert_eq!(count(), before);
    // Where it may, it is heard: a segment like that is answered.
    ns::set_sysctl("net/ipv4/conf/vc/rp_filter", "0");
    scene.both.check_alive();
}

/// A forged reset that is not in the window does nothing, and one that is right ends the connection: as anywhere.
fn reset__of_a_connection(stack: Stack) {
    let scene = Scene::new(stack);
    scene.warm_up();
    let Connected { client, server } = &scene.both;
    let seen = scene.link.a.run(|| Capture::incoming("va", scene.ip));
    scene.both.check_alive();
    let client_address = client.local().expect("getsockname");
    let last = wait::until_some("the client's ACK", || {
        let mut all = seen.segments();
        all.retain(|segment| segment.source == client_address && segment.flags & ACK != 0);
        all.into_iter().last()
    });
    let next = last.seq.wrapping_add(last.payload as u32);
    let to = Veth::address_a(scene.ip, PORT);
    let mut raw = scene.link.b.run(|| Raw::new(to.ip()));
    let reset = |seq: u32| packet(client_address, to, (seq, 0), RST, &[], &[]);
    let before = count();
    assert_eq!(raw.send(&[reset(next.wrapping_sub(0x4000_0000))]), 1);
    wait::until("it was taken", || count() > before);
    scene.both.check_alive();
    server
        .set_timeout(libc::SO_RCVTIMEO, Duration::from_secs(60))
        .expect("SO_RCVTIMEO");
    let now = next.wrapping_add(1);
    assert_eq!(raw.send(&[reset(now)]), 1);
    let error = server.recv(&mut [0], 0).expect_err("the reset");
    assert_eq!(error.raw_os_error(), Some(libc::ECONNRESET));
}

/// What is sent on this host has its route; no hook is asked for.
fn loopback__has_its_route(stack: Stack) {
    if !stack.ours {
        ktap::skip("only our hooks are asked for");
    }
    let _namespace = ns::isolate();
    let (listener, address) = listening_at(stack, &stack.local(0), 1);
    let client = Sock::open(Stack::builtin(stack.ip));
    client.connect(&address).expect("connect");
    let (server, _) = listener.accept().expect("accept");
    let both = Connected { client, server };
    for _ in 0..100 {
        both.check_alive();
    }
    assert_eq!(count(), 0);
}

/// A socket's next connection does not come in by the route of the one before.
fn socket__that_connects_again(stack: Stack) {
    if !stack.ours {
        ktap::skip("only our hooks are asked for");
    }
    let link = Veth::make();
    let listen = |port: u16| -> (Sock, SocketAddr) {
        link.b.run(|| {
            listening_at(
                Stack::builtin(stack.ip),
                &Veth::address_b(stack.ip, port),
                1,
            )
        })
    };
    let client = Sock::open(stack);
    for port in [PORT, PORT + 1] {
        let (listener, address) = listen(port);
        client.connect(&address).expect("connect");
        let (server, _) = listener.accept().expect("accept");
        wait::until("packets are taken before routing", || {
            let before = count();
            server.send_all(b"!");
            assert_eq!(client.recv_exact(1), b"!");
            count() > before
        });
        client
            .connect_raw(&oxtcp_selftests::sock::RawAddr::unspecified())
            .expect("connect to AF_UNSPEC");
    }
}

/// A listener stands in the table under the remote end [::]:0, from which a segment may come. Its children must not inherit the route of
/// that one: they would give up references that they never had.
fn listener__has_no_route(stack: Stack) {
    if !stack.ours {
        ktap::skip("only our hooks are asked for");
    }
    if stack.ip == Ip::V4 {
        ktap::skip("no packet of IPv4 comes from [::]");
    }
    let link = Veth::make();
    let to = Veth::address_a(stack.ip, PORT);
    let (listener, _) = listening_at(stack, &to, 4);
    let nobody = SocketAddr::new(Ipv6Addr::UNSPECIFIED.into(), 0);
    let seen = link.a.run(|| Capture::incoming("va", stack.ip));
    let forged: Vec<_> = [ACK, RST, SYN, 0]
        .iter()
        .map(|flags| packet(nobody, to, (7, 7), *flags, &[], &[]))
        .collect();
    for _ in 0..4 {
        let client = link.b.run(|| {
            let mut raw = Raw::new(to.ip());
            assert_eq!(raw.send(&forged), forged.len());
            let client = Sock::open(Stack::builtin(stack.ip));
            client.connect(&to).expect("connect");
            client
        });
        let (server, _) = listener.accept().expect("accept");
        Connected { client, server }.check_alive();
    }
    let mut came = seen.segments();
    came.retain(|segment| segment.source == nobody);
    assert_eq!(came.len(), 4 * forged.len(), "what was forged came");
}

/// A listener, and a peer who makes his segments by hand.
struct Handshakes(Stranger);

impl Handshakes {
    fn new(stack: Stack) -> Handshakes {
        if !stack.ours {
            ktap::skip("only our hooks are asked for");
        }
        Handshakes(Stranger::at(stack, Veth::address_a(stack.ip, PORT)))
    }

    /// The listener's packets have their sums: the device does not know that they go no further. Handshakes are taken before routing.
    fn with_sums(stack: Stack) -> Handshakes {
        let mut scene = Handshakes::new(stack);
        ns::need("ethtool");
        ns::sh_or_skip("ethtool -K va tx off");
        scene.warm_up();
        scene
    }

    /// Martians are dropped. Handshakes are taken before routing.
    fn with_rp_filter(stack: Stack) -> Handshakes {
        if stack.ip == Ip::V6 {
            ktap::skip("IPv6 has no rp_filter");
        }
        let mut scene = Handshakes::new(stack);
        scene.warm_up();
        ns::set_sysctl("net/ipv4/conf/va/rp_filter", "1");
        assert!(scene.is_early());
        scene
    }

    /// A SYN: who has sent it, and the numbers of his next segment.
    fn begin(&mut self) -> (SocketAddr, (u32, u32)) {
        let from = self.0.source();
        self.0.send(from, (7, 0), SYN, &[], &[]);
        let (_, syn_ack) = self.0.answer_to(from);
        (from, (8, syn_ack.seq.wrapping_add(1)))
    }

    fn make(&mut self) -> (Sock, SocketAddr, (u32, u32)) {
        let (from, numbers) = self.begin();
        self.0.send(from, numbers, ACK, &[], &[]);
        let (server, peer) = self.0.listener.accept().expect("accept");
        assert_eq!(peer, from);
        (server, from, numbers)
    }

    /// How many of a handshake's two packets are taken before routing; a connection is made in any case.
    fn early(&mut self) -> u64 {
        let before = count();
        self.make();
        count() - before
    }

    /// Whether both of a handshake's packets are.
    fn is_early(&mut self) -> bool {
        self.early() == 2
    }

    fn warm_up(&mut self) {
        wait::until("handshakes are taken before routing", || self.is_early());
    }

    /// The answer to a SYN of which nothing is left after that, and whether it was taken before routing.
    fn ask(&mut self, from: SocketAddr, options: &[u8]) -> (Vec<u8>, Segment, bool) {
        let before = count();
        self.0.send(from, (7, 0), SYN, options, &[]);
        let (packet, answer) = self.0.answer_to(from);
        let early = count() > before;
        self.0.send(from, (8, 0), RST, &[], &[]);
        wait::until("the half-open connection is gone", || {
            half_open(self.0.ip) == 0
        });
        (packet, answer, early)
    }
}

/// How many half-open connections there are in the namespace.
fn half_open(ip: Ip) -> usize {
    let entries = procnet::entries(Stack::ours(ip));
    let states = entries.iter().filter(|entry| entry.state == State::SynRecv);
    states.count()
}

/// Before routing and behind it a SYN has the same answer, but for what the time makes of it.
fn syn__answer(stack: Stack) {
    let mut scene = Handshakes::with_sums(stack);
    for options in [
        &[][..],
        &[2, 4, 1, 0, 1, 3, 3, 0],
        &[2, 4, 5, 0xb4, 4, 2, 1, 1],
    ] {
        let from = scene.0.source();
        let [early, late] = [true, false].map(|early| {
            ns::set_sysctl("net/ipv4/tcp_early_demux", if early { "1" } else { "0" });
            let (mut packet, answer, was_early) = scene.ask(from, options);
            assert_eq!(was_early, early);
            assert_eq!((answer.flags, answer.ack), (SYN | ACK, 8));
            assert!(answer.checksum_valid);
            // The sequence number, and with it the sum.
            let tcp = if scene.0.ip == Ip::V6 { 40 } else { 20 };
            packet[tcp + 4..tcp + 8].fill(0);
            packet[tcp + 16..tcp + 18].fill(0);
            packet
        });
        assert_eq!(early, late);
    }
}

/// What others may have a say in goes the long way, and is answered.
fn syn__falls_back(stack: Stack) {
    let mut scene = Handshakes::new(stack);
    scene.warm_up();
    // A class, which routing may look at.
    let from = scene.0.source();
    let mut syn = packet(from, scene.0.target(), (7, 0), SYN, &[], &[]);
    match scene.0.ip {
        Ip::V4 => syn[1] = 0x20,
        Ip::V6 => syn[0] = 0x62,
    }
    let before = count();
    scene.0.send_packet(syn);
    scene.0.answer_to(from);
    assert_eq!(count(), before);
    // Data, which is not for the answer.
    let from = scene.0.source();
    scene.0.send(from, (7, 0), SYN, &[], b"x");
    scene.0.answer_to(from);
    assert_eq!(count(), before);
    // A SYN that comes again is taken as it is.
    let from = scene.0.source();
    for taken in [1, 2] {
        scene.0.send(from, (7, 0), SYN, &[], &[]);
        scene.0.answer_to(from);
        assert_eq!(count(), before + taken);
    }
    // Who listens at the device has the packet's bytes as they came, and so has a client of this host.
    let tap = scene.0.link.a.run(|| Capture::incoming("va", scene.0.ip));
    let target = scene.0.target();
    assert_eq!(scene.early(), 2);
    scene.0.client_gets_in();
    let seen = tap.segments();
    let syns = seen.iter().filter(|segment| segment.flags == SYN);
    assert_eq!(syns.filter(|syn| syn.target == target).count(), 2);
    drop(tap);
    // A listener of one device.
    let device = b"va\0";
    let bind = |name: &[u8]| {
        scene
            .0
            .listener
            .set_bytes(libc::SOL_SOCKET, libc::SO_BINDTODEVICE, name)
            .expect("SO_BINDTODEVICE");
    };
    bind(device);
    assert_eq!(scene.early(), 1, "the ACK alone");
}

/// Whose way back is another one is for rp_filter.
fn syn__martian(stack: Stack) {
    let mut scene = Handshakes::with_rp_filter(stack);
    scene.0.lead_away();
    let (before, dropped, half) = (count(), filtered(), half_open(stack.ip));
    let from = scene.0.source();
    scene.0.send(from, (7, 0), SYN, &[], &[]);
    wait::until("rp_filter drops it", || filtered() > dropped);
    assert_eq!((count(), half_open(stack.ip)), (before, half));
}

/// A SYN for a TIME-WAIT that it may reopen is taken, too, and the listener answers.
fn syn__of_a_time_wait(stack: Stack) {
    let mut scene = Handshakes::new(stack);
    scene.warm_up();
    let (server, from, (seq, ack)) = scene.make();
    drop(server);
    scene.0.answer_to(from);
    let numbers = (seq, ack.wrapping_add(1));
    scene.0.send(from, numbers, FIN | ACK, &[], &[]);
    scene.0.answer_to(from);
    // Of its network no more SYNs are heard, but that one.
    ns::set_sysctl("net/oxtcp/syn_net_rate", "1");
    wait::until("the network's rate is used up", || {
        let other = scene.0.source();
        scene.0.send(other, (7, 0), SYN, &[], &[]);
        count_of("SynRateExceeded") > 0
    });
    let before = count();
    scene.0.send(from, (seq + 1000, 0), SYN, &[], &[]);
    let (_, answer) = scene.0.answer_to(from);
    assert_eq!((answer.flags, answer.ack), (SYN | ACK, seq + 1001));
    let numbers = (seq + 1001, answer.seq.wrapping_add(1));
    scene.0.send(from, numbers, ACK, &[], b"again");
    let (server, peer) = scene.0.listener.accept().expect("accept");
    assert_eq!(
        (peer, server.recv_exact(5).as_slice()),
        (from, &b"again"[..])
    );
    assert_eq!(count(), before + 2);
}

/// Counts what leaves of the listener's connections by the device that [`Stranger::lead_away`] makes.
fn count_away() {
    ns::nft("table inet t {\n counter gone { }\n chain left {\n type filter hook postrouting priority 0;\n oifname away tcp sport 5001 counter name gone\n }\n}");
}

/// What the listener of a device sends leaves by no other one, though the route is by that.
fn syn__of_a_bound_listener(stack: Stack) {
    if stack.ip == Ip::V4 {
        ktap::skip("IPv4 takes a host that it has no route to for one on the link");
    }
    let mut scene = Handshakes::new(stack);
    let device = b"va\0";
    let bound = scene
        .0
        .listener
        .set_bytes(libc::SOL_SOCKET, libc::SO_BINDTODEVICE, device);
    bound.expect("SO_BINDTODEVICE");
    scene.make();
    ns::set_sysctl("net/oxtcp/syncookies", "2");
    let (peer, numbers) = scene.begin();
    scene.0.lead_away();
    count_away();
    // A cookie that comes back from where there is no way to: the handshake comes to nothing.
    let before = ["SyncookiesRecv", "ListenDrops"].map(count_of);
    scene.0.send(peer, numbers, ACK, &[], &[]);
    wait::until("there is no way to the peer", || {
        ["SyncookiesRecv", "ListenDrops"].map(count_of) == before.map(|count| count + 1)
    });
    for cookies in ["1", "2"] {
        ns::set_sysctl("net/oxtcp/syncookies", cookies);
        let before = count_of("ListenDrops");
        let from = scene.0.source();
        scene.0.send(from, (7, 0), SYN, &[], &[]);
        wait::until("there is no way back", || count_of("ListenDrops") > before);
    }
    assert_eq!(ns::nft_packets("gone"), 0);
}

/// One that the accept queue has no room for is dropped there and then.
fn syn__of_a_full_queue(stack: Stack) {
    let mut scene = Handshakes::new(stack);
    scene.warm_up();
    // There is room for one.
    scene.0.listener.listen(0).expect("listen");
    let (from, numbers) = scene.begin();
    scene.0.send(from, numbers, ACK, &[], &[]);
    wait::until("it waits for accept()", || half_open(stack.ip) == 0);
    let (before, dropped) = (count(), count_of("ListenOverflows"));
    let from = scene.0.source();
    scene.0.send(from, (7, 0), SYN, &[], &[]);
    wait::until("it is dropped", || count_of("ListenOverflows") > dropped);
    assert_eq!(count(), before + 1);
    scene.0.listener.accept().expect("accept");
    scene.0.send(from, (7, 0), SYN, &[], &[]);
    scene.0.answer_to(from);
    assert_eq!(count(), before + 2);
}

/// A connection does not begin with the route that its last ACK was found by, where what it sends has another way.
fn half_open__class_of_the_listener(stack: Stack) {
    if stack.ip == Ip::V6 {
        ktap::skip("IPv6 has no routes of a class");
    }
    let mut scene = Handshakes::new(stack);
    scene.warm_up();
    ns::sh_or_skip("ip link add away type dummy");
    ns::sh("ip link set away up");
    ns::sh(&format!(
        "ip route add {} tos 0x10 dev away",
        network(stack.ip)
    ));
    count_away();
    let (from, numbers) = scene.begin();
    let class = scene.0.listener.set(libc::IPPROTO_IP, libc::IP_TOS, 0x10);
    class.expect("IP_TOS");
    let before = count();
    scene.0.send(from, numbers, ACK, &[], &[]);
    let (server, _) = scene.0.listener.accept().expect("accept");
    assert_eq!(count(), before + 1);
    server.send_all(b"x");
    wait::until("it has gone the other way", || ns::nft_packets("gone") > 0);
    assert!(!scene.0.has_answer(from));
}

/// It is taken before routing where nobody else has a say.
fn half_open__last_ack(stack: Stack) {
    let mut scene = Handshakes::new(stack);
    scene.warm_up();
    ns::set_sysctl("net/ipv4/tcp_early_demux", "0");
    assert_eq!(scene.early(), 0);
    ns::set_sysctl("net/ipv4/tcp_early_demux", "1");
    assert!(scene.is_early());
    // That one is for SYNs that a cookie is due to.
    ns::set_sysctl("net/oxtcp/fast_syncookies", "0");
    assert!(scene.is_early());
    ns::nft("table inet t {\n counter seen { }\n chain in {\n type filter hook input priority 0;\n tcp dport 5001 counter name seen\n }\n}");
    assert_eq!(scene.early(), 0);
    // The SYN and the ACK.
    assert_eq!(ns::nft_packets("seen"), 2);
    ns::nft_clear();
    scene.warm_up();
    ns::sh_or_skip("ip rule add to 203.0.113.0/24 table 7");
    ns::sh_or_skip("ip -6 rule add to 2001:db8:7::/48 table 7");
    assert_eq!(scene.early(), 0);
}

/// Whose way back is another one is for rp_filter, now as with the SYN.
fn half_open__martian(stack: Stack) {
    let mut scene = Handshakes::with_rp_filter(stack);
    let (from, numbers) = scene.begin();
    scene.0.lead_away();
    let (before, dropped) = (count(), filtered());
    scene.0.send(from, numbers, ACK, &[], &[]);
    wait::until("rp_filter drops it", || filtered() > dropped);
    assert_eq!(count(), before);
}

/// Before routing and behind it a TIME-WAIT sends the same packet.
fn time_wait__answer(stack: Stack) {
    let mut scene = Handshakes::with_sums(stack);
    let (server, from, (seq, ack)) = scene.make();
    drop(server);
    let (_, fin) = scene.0.answer_to(from);
    assert_eq!((fin.flags & FIN, fin.seq), (FIN, ack));
    scene
        .0
        .send(from, (seq, ack.wrapping_add(1)), FIN | ACK, &[], &[]);
    let (_, last) = scene.0.answer_to(from);
    assert_eq!((last.flags, last.ack), (ACK, seq + 1));
    let [early, late] = [true, false].map(|early| {
        ns::set_sysctl("net/ipv4/tcp_early_demux", if early { "1" } else { "0" });
        let before = count();
        // A byte that came long ago.
        let numbers = (seq - 1, ack.wrapping_add(1));
        scene.0.send(from, numbers, ACK, &[], b"x");
        let (packet, answer) = scene.0.answer_to(from);
        assert_eq!((answer.flags, answer.ack), (ACK, seq + 1));
        assert!(answer.checksum_valid);
        assert_eq!(count(), before + u64::from(early), "early: {early}");
        packet
    });
    assert_eq!(early, late);
}
