// SPDX-License-Identifier: GPL-2.0
//! What can be predicted from outside: initial sequence numbers (RFC 6528), by nmap's measures and by nmap itself, and local ports (RFC 6056).

use std::collections::BTreeSet;
use std::net::{Ipv4Addr, SocketAddr};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use oxtcp_selftests::capture::{Capture, RST, SYN};
use oxtcp_selftests::connection::listening_at;
use oxtcp_selftests::flood::Raw;
use oxtcp_selftests::forge::packet;
use oxtcp_selftests::ns::{self, Veth};
use oxtcp_selftests::{cases, ktap, wait, Ip, Sock, Stack, Suite};

fn main() -> ExitCode {
    let mut suite = Suite::from_args("prediction");
    cases!(suite.stacks: isn__of_other_ports, isn__of_one_flow_rises, ports__of_other_ends);
    // nmap judges no sequence numbers over IPv6.
    for (name, test) in [
        (
            "ipv4.nmap__finds_no_more_than_of_the_built_in_tcp",
            nmap__finds_no_more_than_of_the_built_in_tcp as fn(),
        ),
        (
            "ipv4.nmap__has_one_fingerprint_of_both",
            nmap__has_one_fingerprint_of_both,
        ),
        (
            "ipv4.nmap__sees_a_clock_that_is_told",
            nmap__sees_a_clock_that_is_told,
        ),
    ] {
        suite.once(name, test);
    }
    suite.run()
}

/// As many as nmap asks for, several times over: its index of six has an error of several units.
const PROBES: usize = 48;
/// nmap's distance.
const APART: Duration = Duration::from_millis(110);

/// The number that a SYN was answered with, and when that was, in seconds since the first SYN: not before it was sent, and not after it was seen.
struct Answer {
    sent: f64,
    seen: f64,
    number: u32,
}

/// What a listener answers SYNs from these ports with.
fn numbers_of(stack: Stack, ports: &[u16]) -> Vec<Answer> {
    let link = Veth::make();
    let address = Veth::address_a(stack.ip, 5001);
    let (_listener, _) = listening_at(stack, &address, 128);
    let (mut raw, answers) = link
        .b
        .run(|| (Raw::new(address.ip()), Capture::incoming("vb", stack.ip)));
    let start = Instant::now();
    let mut numbers = Vec::new();
    for (nth, port) in ports.iter().enumerate() {
        // The distance is a part of what is measured, the time that it takes is measured too.
        std::thread::sleep((APART * nth as u32).saturating_sub(start.elapsed()));
        let from = SocketAddr::new(Veth::address_b(stack.ip, 0).ip(), *port);
        let syn = packet(from, address, (7, 0), SYN, &[2, 4, 5, 0xb4], &[]);
        let sent = start.elapsed().as_secs_f64();
        assert_eq!(raw.send(&[syn]), 1);
        let answer = wait::until_some("the SYN-ACK", || {
            let segments = answers.segments();
            segments
                .into_iter()
                .find(|segment| segment.target == from && segment.flags & SYN != 0)
        });
        numbers.push(Answer {
            sent,
            seen: start.elapsed().as_secs_f64(),
            number: answer.seq,
        });
        // The half-open connection ends, by the sender's own host or by this.
        let reset = packet(from, address, (8, 0), RST, &[], &[]);
        raw.send(&[reset]);
    }
    numbers
}

/// nmap's GCD, ISR and SP (os_scan2, `makeFP`): of the differences their greatest common divisor, the rate of change, and how far rates scatter, both
/// as 8 times a logarithm to the base of 2.
fn indices(numbers: &[Answer]) -> (u32, f64, f64) {
    let steps: Vec<(f64, u32)> = numbers
        .windows(2)
        .map(|pair| {
            let ahead = pair[1].number.wrapping_sub(pair[0].number);
            (pair[1].sent - pair[0].sent, ahead.min(ahead.wrapping_neg()))
        })
        .collect();
    let gcd = steps.iter().fold(0, |a, step| greatest_common(a, step.1));
    let rates: Vec<f64> = steps
        .iter()
        .map(|(time, step)| f64::from(*step) / time)
        .collect();
    let mean = rates.iter().sum::<f64>() / rates.len() as f64;
    let isr = 8.0 * mean.max(1.0).log2();
    let divisor = if gcd > 9 { f64::from(gcd) } else { 1.0 };
    let scatter = rates.iter().map(|rate| ((rate - mean) / divisor).powi(2));
    let deviation = (scatter.sum::<f64>() / (rates.len() - 1) as f64).sqrt();
    let sp = if deviation <= 1.0 {
        0.0
    } else {
        8.0 * deviation.log2()
    };
    (gcd, isr, sp)
}

fn greatest_common(a: u32, b: u32) -> u32 {
    match b {
        0 => a,
        _ => greatest_common(b, a % b),
    }
}

/// To who probes from one port after the other the numbers are random: nmap has a full 32 bits at about 260.
fn isn__of_other_ports(stack: Stack) {
    let ports: Vec<u16> = (40_000..).take(PROBES).collect();
    let (gcd, isr, sp) = indices(&numbers_of(stack, &ports));
    ktap::note(&format!(
        "{}, {:?}: GCD {gcd}, ISR {isr:.0}, SP {sp:.0}",
        stack.name(),
        stack.ip
    ));
    assert!(gcd <= 9, "GCD {gcd}");
    // A scatter of random numbers of 32 bits over 0.11 s is 8 * log2(2^31 / 3.5 / 0.11) = 259; of 27 bits, 219.
    assert!(sp > 240.0, "SP {sp}");
}

/// From one port they rise with the clock, 2^32 in 274 s, so that an old connection's segments stay behind.
fn isn__of_one_flow_rises(stack: Stack) {
    /// Seconds.
    const TICK: f64 = 64e-9;
    let answers = numbers_of(stack, &[40_000; 8]);
    for pair in answers.windows(2) {
        let [first, second] = pair else { continue };
        let rise = f64::from(second.number.wrapping_sub(first.number)) * TICK;
        // The clocks of the two are not one.
        let (least, most) = (second.sent - first.seen, second.seen - first.sent);
        let about = least * 0.99 - 0.001..most * 1.01 + 0.001;
        assert!(rise > 0.0 && about.contains(&rise), "{rise} s, {about:?}");
    }
}

/// The ports of connections to different ends are all over the range.
fn ports__of_other_ends(stack: Stack) {
    if stack.ip == Ip::V6 {
        ktap::skip("loopback has one address of IPv6");
    }
    const ENDS: usize = 256;
    const PARTS: usize = 16;
    let _own = ns::isolate();
    let range = ns::sysctl("net/ipv4/ip_local_port_range").expect("the range");
    let bounds: Vec<u16> = range
        .split_whitespace()
        .map(|word| word.parse().expect("a port"))
        .collect();
    let anywhere = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 5001);
    let (listener, _) = listening_at(Stack::builtin(Ip::V4), &anywhere, 16);
    let mut ports = Vec::new();
    for nth in 0..ENDS {
        let end = Ipv4Addr::new(127, 1, (nth / 200) as u8, (nth % 200 + 1) as u8);
        let client = Sock::open(stack);
        client
            .connect(&SocketAddr::new(end.into(), 5001))
            .expect("connect");
        ports.push(client.local().expect("getsockname").port());
        drop(listener.accept().expect("accept"));
    }
    let width = usize::from(bounds[1] - bounds[0]) + 1;
    let mut parts = [0_usize; PARTS];
    for port in &ports {
        parts[usize::from(port - bounds[0]) * PARTS / width] += 1;
    }
    let different: BTreeSet<u16> = ports.iter().copied().collect();
    let steps: BTreeSet<u16> = ports.windows(2).map(|p| p[1].wrapping_sub(p[0])).collect();
    ktap::note(&format!(
        "{}: {} ports to {ENDS} ends, {} different steps, {parts:?} in the sixteenths of the range",
        stack.name(),
        different.len(),
        steps.len()
    ));
    // Of 256 from 14,116 even ones two or three are the same by chance; a sixteenth is empty with a probability of 10^-6.
    assert!(different.len() > ENDS * 9 / 10);
    assert!(steps.len() > ENDS * 9 / 10);
    assert!(parts.iter().all(|count| *count > 0), "{parts:?}");
}

/// What nmap's `-O` says of one host.
struct Judgement {
    /// Of sequence numbers: the SP of [`indices`], from six.
    index: u32,
    /// Its word for that.
    difficulty: String,
    /// How IP IDs come.
    ids: String,
    /// How timestamps come.
    timestamps: String,
    /// What TCP answers to its probes, but for the numbers.
    fingerprint: String,
}

/// The open port of each host, and a closed one: nmap wants both.
const OPEN: u16 = 5001;
const CLOSED: u16 = 9;

/// What nmap says of hosts on one link, each a listener of one of these stacks. One nmap probes them all at the same time: what
/// delays it does so for all.
fn judgements_of(stacks: &[Stack], prepare: fn()) -> Vec<Judgement> {
    ns::need("nmap");
    let link = Veth::make();
    // All hosts are one to this limit. Where it cuts off ICMP errors nmap has to guess distances.
    ns::set_sysctl("net/ipv4/icmp_ratelimit", "0");
    prepare();
    let hosts: Vec<SocketAddr> = (10..)
        .take(stacks.len())
        .map(|host| SocketAddr::from(([192, 0, 2, host], OPEN)))
        .collect();
    let mut listeners = Vec::new();
    for (stack, host) in stacks.iter().zip(&hosts) {
        ns::sh(&format!("ip addr add {}/24 dev va", host.ip()));
        listeners.push(listening_at(*stack, host, 128));
    }
    let addresses: Vec<String> = hosts.iter().map(|host| host.ip().to_string()).collect();
    // -d: the fingerprint is printed also if nmap knows it.
    let line = format!(
        "nmap -O -v -d -n -Pn -p {OPEN},{CLOSED} --max-os-tries 1 -oX - {}",
        addresses.join(" ")
    );
    let xml = link.b.run(|| ns::sh(&line));
    let told: Vec<&str> = xml.split("<host ").skip(1).collect();
    let of = |address: &String| {
        let name = format!("<address addr=\"{address}\" ");
        let host = told.iter().find(|host| host.contains(&name));
        judgement(host.unwrap_or_else(|| panic!("nmap tells nothing of {address}: {xml}")))
    };
    addresses.iter().map(of).collect()
}

/// Reads what nmap's XML has on one host; fails the test when something is missing.
fn judgement(host: &str) -> Judgement {
    let attribute = |element: &str, name: &str| {
        let value = host
            .split_once(&format!("<{element} "))
            .and_then(|(_, rest)| rest.split_once('>'))
            .and_then(|(inside, _)| inside.split_once(&format!("{name}=\"")))
            .and_then(|(_, rest)| rest.split_once('"'))
            .map(|(value, _)| value.to_string());
        value.unwrap_or_else(|| panic!("nmap tells no {name} of {element}: {host}"))
    };
    // Its lines end anywhere, or are one for each part if nmap was delayed. Before these parts stand the numbers, behind them UDP and ICMP.
    let fingerprint = attribute("osfingerprint", "fingerprint")
        .replace("&#xa;OS:", "")
        .replace("&#xa;", "");
    let of_tcp = fingerprint
        .split_once(")OPS(")
        .and_then(|(_, rest)| rest.split_once(")U1("))
        .map(|(of_tcp, _)| format!("OPS({of_tcp})"));
    Judgement {
        index: attribute("tcpsequence", "index").parse().expect("an index"),
        difficulty: attribute("tcpsequence", "difficulty"),
        ids: attribute("ipidsequence", "class"),
        timestamps: attribute("tcptssequence", "class"),
        fingerprint: of_tcp.unwrap_or_else(|| panic!("no OPS to U1: {fingerprint}")),
    }
}

/// Judgements of so many hosts of ours, and of as many of the built-in TCP, which take turns.
fn ours_and_builtin(each: usize) -> [Vec<Judgement>; 2] {
    let turn = [Stack::ours(Ip::V4), Stack::builtin(Ip::V4)];
    let mut of = [Vec::new(), Vec::new()];
    for (nth, one) in judgements_of(&turn.repeat(each), || ())
        .into_iter()
        .enumerate()
    {
        of[nth % 2].push(one);
    }
    of
}

/// The index comes of six numbers: where they are random it is below 247 in one case of 100, and never above 267. So the middle ones of
/// nine are compared.
fn nmap__finds_no_more_than_of_the_built_in_tcp() {
    const EACH: usize = 9;
    /// Two middles of random numbers are further apart in less than one of 100,000 cases. To know one bit of the numbers takes 8 off.
    const TOLERANCE: u32 = 10;
    let both = ours_and_builtin(EACH);
    let [ours, builtin] = both.each_ref().map(|of| {
        let mut indices: Vec<u32> = of.iter().map(|one| one.index).collect();
        indices.sort_unstable();
        (indices[EACH / 2], format!("{indices:?}"))
    });
    let words = both.each_ref().map(|of| {
        let of = of.iter();
        of.map(|one| [&*one.difficulty, &one.ids, &one.timestamps])
            .collect::<BTreeSet<_>>()
    });
    ktap::note(&format!(
        "nmap's index: {} of {}, built-in {} of {}; {:?}",
        ours.0, ours.1, builtin.0, builtin.1, words[0]
    ));
    assert!(ours.0 + TOLERANCE >= builtin.0, "{ours:?}, {builtin:?}");
    assert_eq!(words[0], words[1]);
}

/// Options, windows, ECN, TTL, what comes back for segments that no TCP sends: nothing tells the two apart.
fn nmap__has_one_fingerprint_of_both() {
    let [ours, builtin] = ours_and_builtin(3).map(|of| {
        let of = of.into_iter();
        of.map(|one| one.fingerprint).collect::<BTreeSet<_>>()
    });
    ktap::note(&format!("{ours:?}"));
    assert_eq!(ours, builtin);
}

/// The words mean something: of the built-in TCP's timestamps without a random offset nmap says how fast they go.
fn nmap__sees_a_clock_that_is_told() {
    let judgements = judgements_of(&[Stack::builtin(Ip::V4)], || {
        ns::set_sysctl("net/ipv4/tcp_timestamps", "2");
    });
    let [one] = &*judgements else { unreachable!() };
    assert_eq!(one.timestamps, "1000HZ");
}
