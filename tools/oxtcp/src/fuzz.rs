// SPDX-License-Identifier: GPL-2.0
//! What the fuzz targets of `tools/fuzz` feed with any bytes: the parsers of files, of words, and of what a network has a hand in.
//! A panic is a finding, and so is a hang.

use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use crate::counters::{export, read};
use crate::ladder::flow::{Flows, Side};
use crate::ladder::rung::Ladder;
use crate::ladder::{capture as captures, segment, Part, Span};
use crate::settings::{persist, table as settings};
use crate::sockets::limit::Limit;
use crate::sockets::process::Owners;
use crate::sockets::{netlink as sock_diag, procnet, Socket, State, Timer as SocketTimer};
use crate::ss::filter::Filter;
use crate::ss::services::Services;
use crate::trace::connection::Connections;
use crate::trace::decode;
use crate::trace::event::{
    Clock, Congestion, Direction, Drop, Event, Header, Listener, Overflow, Segment, What,
};
use crate::trace::explain::Narrator;
use crate::trace::pcapng::Writer;
use crate::{ladder, plot, profile, run, trace};

/// A capture file: read, sorted into connections, drawn and plotted.
pub fn capture(bytes: &[u8]) {
    let mut flows = Flows::default();
    // What could be read before a file breaks off is drawn.
    let _ = captures::read(bytes, |packet| {
        if let Some(segment) = segment::parse(packet) {
            flows.add(segment);
        }
    });
    for flow in flows.into_vec() {
        for part in [Part::All, Part::Handshake, Part::Close] {
            if let Some(ladder) = Ladder::of(&flow, part, Span::ALL) {
                let text = ladder::text(&ladder, ["client", "server"], part);
                assert!(!text.is_empty());
                is_picture(&ladder::svg_of(
                    &ladder,
                    ["client", "server"],
                    &flow.summary(),
                ));
            }
        }
        for side in [Side::Client, Side::Server] {
            is_picture(&plot::svg_of(plot::series::Series::of(&flow, side)));
        }
    }
}

/// A packet of netlink messages, as sock_diag answers.
pub fn netlink(bytes: &[u8]) {
    let mut sockets = 0;
    let _ = sock_diag::messages(bytes, &mut |socket| {
        sockets += 1;
        assert!(!socket.state.label().is_empty());
    });
    // A netlink header, and what every answer has.
    assert!(sockets <= bytes.len() / (16 + 72));
}

/// The words of a filter, one in a line, tried on two sockets.
pub fn filter(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let words: Vec<String> = text.lines().map(ToString::to_string).collect();
    let services = Services::parse("ssh 22/tcp\nhttp 80/tcp www\n");
    match Filter::parse(&words, &services) {
        Ok(filter) => {
            for ends in [
                ["192.0.2.1:80", "198.51.100.7:40000"],
                ["[2001:db8::1]:22", "[fe80::2]:50000"],
            ] {
                let [local, remote] = ends.map(|end| end.parse().expect("an address"));
                filter.matches(&socket(local, remote), &Owners::default());
            }
        }
        Err(problem) => assert!(!problem.to_string().is_empty()),
    }
}

fn socket(local: SocketAddr, remote: SocketAddr) -> Socket {
    Socket {
        state: State::Established,
        local,
        remote,
        recv_queue: 0,
        send_queue: 0,
        timer: SocketTimer::Off,
        timer_ms: 0,
        retransmits: 0,
        uid: 33,
        inode: 5,
        figures: None,
        info: None,
        algorithm: None,
        queues: None,
        memory: None,
        identity: None,
    }
}

/// Tables of `/proc`: of sockets, line by line, and of counters; what is exported of them.
pub fn table(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let sockets: Vec<Socket> = text.lines().filter_map(procnet::parse).collect();
    let counters = read::parse(&text);
    let counters = counters.unwrap_or_default();
    assert!(read::since(&counters, &counters)
        .values()
        .all(|added| *added == 0));
    for line in export::text(&counters, &sockets).lines() {
        let value = line.rsplit_once(' ').map(|(_, value)| value.parse::<u64>());
        assert!(
            line.starts_with("# ") || value.is_some_and(|value| value.is_ok()),
            "{line}"
        );
    }
    run::fuzz::proc(&text);
}

/// Files that people write: the names of services, and the settings that are kept for the next start, of which a line is put in anew.
pub fn files(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    let services = Services::parse(&text);
    for port in [22, 80, u16::MAX] {
        if let Some(name) = services.name(port) {
            assert!(services.port(name).is_some() && !name.is_empty());
        }
    }
    let wanted = ["sack", "fin_timeout"].map(|name| settings::find(name).expect("a setting"));
    let wanted = wanted.map(|setting| (setting, "1"));
    let once = persist::merged(&text, &wanted);
    assert_eq!(persist::merged(&once, &wanted), once);
    for (setting, _) in wanted {
        let line = format!("{} = 1", setting.sysctl());
        assert_eq!(
            once.lines().filter(|found| *found == line).count(),
            1,
            "{once}"
        );
    }
}

/// The kernel's BTF.
pub fn btf(bytes: &[u8]) {
    run::fuzz::btf(bytes);
}

/// Pages of the kernel's ring buffer.
pub fn ring(bytes: &[u8]) {
    trace::fuzz::ring(bytes);
}

/// Layouts of pages and events, as the kernel tells them.
pub fn layout(bytes: &[u8]) {
    trace::fuzz::layout(bytes);
}

/// A profile's file.
pub fn profile(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    match profile::file::parse("fuzz", None, &text) {
        Ok(profile) => assert!(profile.settings.iter().all(|item| !item.value.is_empty())),
        Err(problem) => assert!(!problem.to_string().is_empty()),
    }
}

/// The beginning of a program's file, or of a script.
pub fn program(bytes: &[u8]) {
    run::program::fuzz(bytes);
}

/// Any events, told, drawn, plotted and written. A record of 32 bytes is an event.
pub fn trace(bytes: &[u8]) {
    let mut connections = Connections::new(10_000);
    let mut narrator = Narrator::default();
    let mut said = Vec::new();
    let clock = Clock { offset: 1 << 60 };
    let mut writer = Writer::new(Vec::new(), clock).expect("memory");
    let mut time = 1_000_000_000;
    let mut segments = 0;
    for record in bytes.chunks_exact(32).take(10_000) {
        let event = event(record, &mut time);
        narrator.event(&event);
        if segments % 16 == 0 {
            said.extend(narrator.ready(event.time));
        }
        segments += usize::from(matches!(event.what, What::Segment(_)));
        connections.add(&event);
        writer.event(&event).expect("memory");
    }
    let end = narrator.finish();
    said.extend(end.sentences);
    assert!(said.iter().all(|sentence| !sentence.text.is_empty()));
    assert!(said.is_sorted_by_key(|sentence| sentence.time));
    assert!(end.closing.iter().all(|closing| !closing.text.is_empty()));
    for connection in connections.list() {
        ladder::text_of_trace(connection, Part::All, Span::ALL);
        for picture in [
            ladder::picture_of_trace(connection, Part::All, Span::ALL),
            plot::picture_of_trace(connection, None, Span::ALL),
        ] {
            picture.iter().for_each(|picture| is_picture(picture));
        }
    }
    // What was written can be read.
    let file = writer.finish().expect("memory");
    let mut packets = 0;
    let outcome = captures::read(&file[..], |_| packets += 1);
    assert!(outcome.is_ok());
    assert!(packets <= segments);
}

fn event(record: &[u8], time: &mut u64) -> Event {
    let byte = |at: usize| record.get(at).copied().unwrap_or(0);
    let half = |at: usize| u16::from_le_bytes([byte(at), byte(at + 1)]);
    let word = |at: usize| u32::from(half(at)) | (u32::from(half(at + 2)) << 16);
    *time = time.saturating_add(u64::from(half(2)) << (byte(4) % 32));
    let six = byte(1) & 4 != 0;
    let end = |number: u8| -> SocketAddr {
        let port = 80 + u16::from(number);
        match six {
            true => (Ipv6Addr::from(u128::from(number)), port).into(),
            false => ([192, 0, 2, number], port).into(),
        }
    };
    let far = 2 + (byte(5) & 3);
    let (local, remote) = match byte(1) & 1 {
        0 => (end(1), end(far)),
        _ => (end(far), end(1)),
    };
    let mut header = vec![0; 12];
    header[4..8].copy_from_slice(&word(8).to_be_bytes());
    header[8..12].copy_from_slice(&word(12).to_be_bytes());
    // Mostly with timestamps, and where the last bit says so, of a length that cannot be.
    header.extend([if byte(1) & 8 != 0 { byte(6) } else { 0x80 }, byte(7)]);
    header.extend(half(16).to_be_bytes());
    header.extend([0; 4]);
    header.extend(&record[20..32]);
    let header = Header(header);
    let states = |number: u8| State::ALL[usize::from(number) % State::ALL.len()];
    let what = match byte(0) % 8 {
        0 => What::State {
            from: states(byte(6)),
            to: states(byte(7)),
        },
        1 => What::Timer(decode::timer(byte(6) % 12)),
        2 => What::Congestion(Congestion {
            mode: decode::mode(byte(6) % 5),
            cwnd: word(8),
            ssthresh: (byte(7) != 0).then(|| word(12)),
            srtt: (byte(7) & 1 != 0).then(|| Duration::from_micros(word(16).into())),
            rttvar: Duration::ZERO,
            rto: Duration::from_micros(word(16).into()),
            mss: word(20),
            unacked: word(24),
            in_network: word(24),
            not_sent: word(28),
            snd_wnd: word(28),
            rcv_wnd: word(28),
            snd_una: word(8),
            snd_nxt: word(12),
            rcv_nxt: word(16),
            pacing_rate: None,
            retransmits: 0,
            bytes_acked: word(8).into(),
            bytes_received: word(12).into(),
        }),
        3 => What::Drop(Drop {
            direction: if byte(1) & 2 != 0 {
                Direction::In
            } else {
                Direction::Out
            },
            reason: ["NO_SOCKET", "TCP_OLD_DATA", "SOMETHING_NEW"][usize::from(byte(6)) % 3].into(),
            header: (byte(7) != 0).then_some(header),
            payload: half(18).into(),
        }),
        4 if byte(30) & 128 != 0 => What::Overflow(Overflow {
            queue: decode::queue(byte(6) % 6),
            length: word(8),
            most: word(12),
            rate: word(16),
            remedy: decode::remedy(byte(7) % 5),
            limit: Limit::from_number(byte(29) % 10),
            value: word(20),
        }),
        4 => What::Listener(Listener {
            decision: decode::decision(byte(6) % 12),
            bound: decode::bound(byte(7) % 10),
            half_open: word(8),
            most_half_open: word(12),
            waiting: word(16),
            asked: word(20),
            granted: word(24),
            syncookies: byte(28),
            limit: Limit::from_number(byte(29) % 10),
        }),
        _ => What::Segment(Segment {
            direction: if byte(1) & 2 != 0 {
                Direction::In
            } else {
                Direction::Out
            },
            cause: decode::cause((byte(5) >> 2) % 20),
            header,
            payload: u32::from(half(18)) * if byte(1) & 16 != 0 { 65_537 } else { 1 },
            segment_size: half(22),
            ecn: byte(0) >> 6,
        }),
    };
    Event {
        time: *time,
        netns: byte(1).into(),
        cookie: 0,
        cgroup: 0,
        local,
        remote,
        what,
    }
}

/// Whether a text is a picture in which every number is one.
fn is_picture(text: &str) {
    assert!(text.starts_with("<svg") && text.ends_with("</svg>\n"));
    assert!(!text.contains("NaN") && !text.contains("\"inf") && !text.contains("\"-inf"));
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    use super::*;

    /// The corpus, which `make fuzz` begins with: what is in it was found once, or is an example of what parsers meet.
    #[test]
    fn corpus() {
        let folder = Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/corpus"));
        type Target = (&'static str, fn(&[u8]));
        let targets: [Target; 11] = [
            ("btf", btf),
            ("capture", capture),
            ("files", files),
            ("filter", filter),
            ("layout", layout),
            ("netlink", netlink),
            ("profile", profile),
            ("program", program),
            ("ring", ring),
            ("table", table),
            ("trace", trace),
        ];
        for (name, target) in targets {
            let mut inputs = 0;
            for entry in fs::read_dir(folder.join(name)).unwrap() {
                target(&fs::read(entry.unwrap().path()).unwrap());
                inputs += 1;
            }
            assert!(inputs > 0, "{name}");
        }
    }
}
