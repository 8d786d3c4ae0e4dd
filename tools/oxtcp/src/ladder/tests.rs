// SPDX-License-Identifier: GPL-2.0
//! Whole drawings, from captures that are made here segment by segment.

use etherparse::{PacketBuilder, TcpOptionElement};
use insta::assert_snapshot;

use super::*;

#[test]
fn handshake_transfer_and_close() {
    assert_snapshot!(drawing(
        &Conversation::ipv4().open().transfer(40).close_by_server(),
        &[]
    ));
}

#[test]
fn only_the_handshake() {
    assert_snapshot!(drawing(
        &Conversation::ipv4().open().transfer(40).close_by_server(),
        &[
            "--only",
            "handshake",
            "--client",
            "curl",
            "--server",
            "python3"
        ]
    ));
}

#[test]
fn only_the_close() {
    assert_snapshot!(drawing(
        &Conversation::ipv4().open().transfer(40).close_by_server(),
        &["--only", "close"]
    ));
}

#[test]
fn retransmissions_are_marked() {
    let mut talk = Conversation::ipv4();
    talk.send(C, "S", 0)
        .again(C, "S", 1)
        .send(S, "SA", 0)
        .again(S, "SA", 1)
        .send(C, "A", 0);
    talk.send(C, "PA", 100).again(C, "PA", 100).send(S, "A", 0);
    talk.lose(S, 1000)
        .cross(S, "A", 1000)
        .send(C, "A", 0)
        .again(S, "A", 2000)
        .meet();
    talk.send(C, "A", 0).close_by_server();
    assert_snapshot!(drawing(&talk, &[]));
}

/// The captured losses are those that passed unseen, and those that were seen twice.
#[test]
fn of_many_losses_the_first_are_drawn() {
    let mut talk = Conversation::ipv4().open().transfer(4);
    for _ in 0..20 {
        talk.lose(S, 1000);
        talk.cross(S, "A", 1000).send(C, "A", 0);
        talk.cross(S, "A", 1000).send(C, "A", 0);
        talk.again(S, "A", 3000).meet().send(C, "A", 0);
        talk.send(S, "A", 1000).send(C, "A", 0);
    }
    let talk = talk.close_by_server();
    let all = drawing(&talk, &[]);
    assert_snapshot!(all);
    // What the fold says draws what it has folded.
    let (_, fold) = all.split_once("retransmitted; ").unwrap();
    let (options, _) = fold.split_once(" draws").unwrap();
    let options: Vec<&str> = options.split(' ').collect();
    let more = drawing(&talk, &options);
    assert_eq!(more.matches("[retransmitted or reordered]").count(), 16);
}

#[test]
fn a_stretch_of_time() {
    let talk = Conversation::ipv4().open().transfer(8).close_by_server();
    assert_snapshot!(drawing(&talk, &["--from", "0.006", "--until", "0.0095"]));
    for wrong in ["-1", "x", "nan", "1e10"] {
        let line = ["ladder", "FILE", &format!("--from={wrong}")];
        assert!(parse(&line).is_err(), "{wrong}");
    }
}

#[test]
fn a_picture() {
    let mut talk = Conversation::ipv4().open();
    talk.send(C, "PA", 100).again(C, "PA", 100).send(S, "A", 0);
    let talk = talk.transfer(8).close_by_server();
    let arguments = arguments(&["--client", "<curl>"]);
    let found = arguments.source.read(&talk.pcap()[..]).unwrap();
    assert_snapshot!(picture(&found, &arguments));
}

#[test]
fn reset() {
    let mut refused = Conversation::ipv4();
    refused.send(C, "S", 0).send(S, "RA", 0);
    assert_snapshot!("refused", drawing(&refused, &[]));
    let mut aborted = Conversation::ipv6().open();
    aborted.send(C, "PA", 10).send(S, "RA", 0);
    assert_snapshot!("aborted", drawing(&aborted, &[]));
}

#[test]
fn simultaneous_open_and_close() {
    let mut talk = Conversation::ipv6();
    talk.cross(C, "S", 0).cross(S, "S", 0).meet();
    talk.again(C, "SA", 1).again(S, "SA", 1);
    talk.cross(C, "FA", 0)
        .cross(S, "FA", 0)
        .meet()
        .send(C, "A", 0)
        .send(S, "A", 0);
    assert_snapshot!(drawing(&talk, &[]));
}

#[test]
fn a_capture_that_begins_in_the_middle() {
    let mut talk = Conversation::ipv4();
    talk.next = [u32::MAX - 50, 4_000_000_000];
    talk.meet();
    talk.send(C, "PA", 100)
        .send(S, "A", 0)
        .send(S, "PA", 300)
        .send(C, "A", 0);
    assert_snapshot!(drawing(&talk, &[]));
    assert!(drawing(&talk, &["--only", "close"]).contains("still open"));
}

#[test]
fn several_connections_and_a_port_used_again() {
    let mut talk = Conversation::ipv4().open().close_by_server();
    talk.next = [77, 88];
    let mut talk = talk.open();
    talk.port += 1;
    talk.next = [5, 6];
    let talk = talk.open();
    let all = drawing(&talk, &[]);
    assert!(
        all.starts_with("Connection 1 of 3: 192.0.2.1:40000 -> 192.0.2.2:80, 6 segments"),
        "{all}"
    );
    assert!(
        all.contains("    3  192.0.2.1:40001 -> 192.0.2.2:80, 3 segments"),
        "{all}"
    );
    assert!(drawing(&talk, &["--flow", "2"]).starts_with("Connection 2 of 3: 192.0.2.1:40000"));
    for wrong in ["0", "4"] {
        let error = drawing_of(&talk.pcap()[..], &arguments(&["--flow", wrong]))
            .unwrap_err()
            .to_string();
        assert!(
            error.contains(&format!("no connection {wrong}; the file has 3")),
            "{error}"
        );
    }
}

/// Every link layer and both formats lead to the same drawing.
#[test]
fn formats() {
    let talk = Conversation::ipv4().open().transfer(3).close_by_server();
    let expected = drawing(&talk, &[]);
    for bytes in [
        talk.pcap_as(0xa1b2_3c4d, 1, 0, |packet| packet.to_vec()),
        talk.pcap_as(0xa1b2_c3d4, 101, 0, |packet| packet[14..].to_vec()),
        talk.pcap_as(0xa1b2_c3d4, 113, 0, |packet| {
            [&[0; 14][..], &packet[12..]].concat()
        }),
        talk.pcap_as(0xa1b2_c3d4, 276, 0, |packet| {
            [&packet[12..14], &[0; 18], &packet[14..]].concat()
        }),
        talk.pcap_as(0xa1b2_c3d4, 1, 80, |packet| packet.to_vec()),
        talk.pcapng(),
    ] {
        assert_eq!(drawing_of(&bytes[..], &arguments(&[])).unwrap(), expected);
    }
}

#[test]
fn what_is_no_capture() {
    let of = |bytes: &[u8]| drawing_of(bytes, &arguments(&[])).unwrap_err().to_string();
    assert!(
        of(b"").contains("no capture in pcap or pcapng format"),
        "{}",
        of(b"")
    );
    assert!(of(b"GET / HTTP/1.1\r\n\r\n-------------------").contains("no capture in pcap"));
    assert!(of(&Conversation::ipv4().pcap()).contains("no TCP segment among its 0 packets"));
}

/// A capture cut anywhere is drawn as far as it goes, or refused; it is never a panic.
#[test]
fn cut_captures() {
    for bytes in [
        Conversation::ipv4().open().pcap(),
        Conversation::ipv6().open().pcapng(),
    ] {
        for length in (0..bytes.len()).step_by(3) {
            if let Err(error) = drawing_of(&bytes[..length], &arguments(&[])) {
                assert!(!error.to_string().is_empty());
            }
        }
        for index in (0..bytes.len()).step_by(3) {
            let mut spoilt = bytes.clone();
            spoilt[index] ^= 0xff;
            let _ = drawing_of(&spoilt[..], &arguments(&[]));
        }
    }
}

use super::flow::Side::{self, Client as C, Server as S};

/// Two ends that exchange segments, one every millisecond, all of which are captured.
#[derive(Clone)]
pub struct Conversation {
    ipv6: bool,
    port: u16,
    time: u64,
    /// The next sequence number of each side.
    next: [u32; 2],
    /// What each side will acknowledge of its peer.
    seen: [u32; 2],
    packets: Vec<(u64, Vec<u8>)>,
}

impl Conversation {
    pub fn ipv4() -> Conversation {
        Conversation {
            ipv6: false,
            port: 40000,
            time: 1_000_000_000_000_000,
            next: [1000, u32::MAX - 500],
            seen: [0, 0],
            packets: Vec::new(),
        }
    }

    pub fn ipv6() -> Conversation {
        Conversation {
            ipv6: true,
            ..Conversation::ipv4()
        }
    }

    pub fn open(mut self) -> Conversation {
        self.send(C, "S", 0).send(S, "SA", 0).send(C, "A", 0);
        self
    }

    pub fn transfer(mut self, segments: usize) -> Conversation {
        self.send(C, "PA", 78).send(S, "A", 0);
        for _ in 0..segments {
            self.send(S, "A", 1448).send(C, "A", 0);
        }
        self
    }

    pub fn close_by_server(&mut self) -> Conversation {
        self.send(S, "FA", 0)
            .send(C, "FA", 0)
            .send(S, "A", 0)
            .clone()
    }

    /// A segment that the peer sees.
    pub fn send(&mut self, from: Side, flags: &str, length: u32) -> &mut Conversation {
        self.cross(from, flags, length);
        self.seen[1 - from as usize] = self.next[from as usize];
        self
    }

    /// A segment that its peer has not seen when it sends its next.
    pub fn cross(&mut self, from: Side, flags: &str, length: u32) -> &mut Conversation {
        self.emit(from, flags, self.next[from as usize], length);
        let syn_and_fin = flags.chars().filter(|flag| "SF".contains(*flag)).count() as u32;
        self.lose(from, length + syn_and_fin)
    }

    /// Both sides have seen all.
    pub fn meet(&mut self) -> &mut Conversation {
        self.seen = [self.next[1], self.next[0]];
        self
    }

    /// Sequence numbers whose segment was lost before the point of capture.
    pub fn lose(&mut self, from: Side, length: u32) -> &mut Conversation {
        self.next[from as usize] = self.next[from as usize].wrapping_add(length);
        self
    }

    /// What begins so many sequence numbers back, once more: a SYN alone, or at most 1000 bytes.
    pub fn again(&mut self, from: Side, flags: &str, back: u32) -> &mut Conversation {
        let length = if flags.contains('S') {
            0
        } else {
            back.min(1000)
        };
        self.emit(
            from,
            flags,
            self.next[from as usize].wrapping_sub(back),
            length,
        );
        self
    }

    fn emit(&mut self, from: Side, flags: &str, seq: u32, length: u32) {
        let ack = self.seen[from as usize];
        let (from_port, to_port) = if from == C {
            (self.port, 80)
        } else {
            (80, self.port)
        };
        let host = |side: Side| if side == C { 1 } else { 2 };
        let (from_host, to_host) = (host(from), 3 - host(from));
        let address6 = |host| [0x20, 1, 0xd, 0xb8, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, host];
        let link = PacketBuilder::ethernet2([2, 0, 0, 0, 0, from_host], [2, 0, 0, 0, 0, to_host]);
        let ip = if self.ipv6 {
            link.ipv6(address6(from_host), address6(to_host), 64)
        } else {
            link.ipv4([192, 0, 2, from_host], [192, 0, 2, to_host], 64)
        };
        let mut tcp = ip.tcp(from_port, to_port, seq, 502);
        for flag in flags.chars() {
            tcp = match flag {
                'S' => tcp.syn(),
                'A' => tcp.ack(ack),
                'F' => tcp.fin(),
                'R' => tcp.rst(),
                'P' => tcp.psh(),
                _ => panic!("flag {flag}"),
            };
        }
        let timestamp = TcpOptionElement::Timestamp(5000 + self.packets.len() as u32, 0);
        let options = if flags.contains('S') {
            vec![
                TcpOptionElement::MaximumSegmentSize(1460),
                TcpOptionElement::SelectiveAcknowledgementPermitted,
                timestamp,
                TcpOptionElement::Noop,
                TcpOptionElement::WindowScale(7),
            ]
        } else {
            vec![timestamp]
        };
        let tcp = tcp.options(&options).unwrap();
        let mut packet = Vec::new();
        tcp.write(&mut packet, &vec![b'x'; length as usize])
            .unwrap();
        self.packets.push((self.time, packet));
        self.time += 1_000_000;
    }

    pub fn pcap(&self) -> Vec<u8> {
        self.pcap_as(0xa1b2_c3d4, 1, 0, |packet| packet.to_vec())
    }

    /// `limit` cuts packets, as `tcpdump -s` does; 0 is none.
    fn pcap_as(
        &self,
        magic: u32,
        link: u32,
        limit: usize,
        frame: impl Fn(&[u8]) -> Vec<u8>,
    ) -> Vec<u8> {
        let unit = if magic == 0xa1b2_3c4d { 1 } else { 1000 };
        let mut file = words(&[magic, 0x0004_0002, 0, 0, 262_144, link]);
        for (time, packet) in &self.packets {
            let whole = frame(packet);
            let data = &whole[..if limit == 0 {
                whole.len()
            } else {
                limit.min(whole.len())
            }];
            let (seconds, rest) = (time / 1_000_000_000, time % 1_000_000_000 / unit);
            file.extend(words(&[
                seconds as u32,
                rest as u32,
                data.len() as u32,
                whole.len() as u32,
            ]));
            file.extend(data);
        }
        file
    }

    fn pcapng(&self) -> Vec<u8> {
        let mut file = words(&[0x0a0d_0d0a, 28, 0x1a2b_3c4d, 1, u32::MAX, u32::MAX, 28]);
        file.extend(words(&[1, 20, 1, 262_144, 20]));
        for (time, packet) in &self.packets {
            let padded = packet.len().next_multiple_of(4);
            let (units, total) = (time / 1000, 32 + padded as u32);
            let length = packet.len() as u32;
            file.extend(words(&[
                6,
                total,
                0,
                (units >> 32) as u32,
                units as u32,
                length,
                length,
            ]));
            file.extend(packet);
            file.resize(file.len() + padded - packet.len(), 0);
            file.extend(words(&[total]));
        }
        file
    }
}

#[test]
fn errors_of_files_say_what_to_do() {
    let denied = || io::Error::from_raw_os_error(libc::EACCES);
    for error in [
        Error::Unreadable("x.pcap".into(), denied()),
        Error::Unwritable("x.svg".into(), denied()),
    ] {
        let text = error.to_string();
        assert_eq!(error.exit_code(), 4, "{text}");
        assert!(
            text.contains("as root") && !text.contains("os error"),
            "{text}"
        );
    }
    let missing = Error::Unreadable("x.pcap".into(), io::Error::from_raw_os_error(libc::ENOENT));
    assert_eq!(missing.exit_code(), 1);
    assert_eq!(
        missing.to_string(),
        "cannot read x.pcap: No such file or directory"
    );
}

fn words(words: &[u32]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_le_bytes()).collect()
}

fn drawing(talk: &Conversation, options: &[&str]) -> String {
    drawing_of(&talk.pcap(), &arguments(options)).unwrap()
}

fn drawing_of(bytes: &[u8], arguments: &Arguments) -> Result<String, Error> {
    let found = arguments.source.read(bytes)?;
    Ok(render(&found, arguments))
}

fn arguments(options: &[&str]) -> Arguments {
    let line: Vec<&str> = ["ladder", "FILE"].iter().chain(options).copied().collect();
    parse(&line).unwrap()
}

fn parse(line: &[&str]) -> Result<Arguments, clap::Error> {
    #[derive(clap::Parser)]
    struct Line {
        #[command(flatten)]
        arguments: Arguments,
    }
    <Line as clap::Parser>::try_parse_from(line).map(|line| line.arguments)
}
