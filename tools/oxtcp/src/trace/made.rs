// SPDX-License-Identifier: GPL-2.0
//! Events that are made up for tests: two hosts in two network namespaces, or one that is watched.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::event::*;
use crate::ladder::flow::Side::{self, Client as C, Server as S};
use crate::sockets::State;

/// What happened, step by step. A way takes 10 ms.
pub struct Story {
    events: Vec<Event>,
    ends: [SocketAddr; 2],
    pub time: u64,
    next: [u32; 2],
    seen: [u32; 2],
    /// The number in the next timestamp.
    stamp: u32,
}

pub const WAY: u64 = 10_000_000;

impl Story {
    pub fn v4() -> Story {
        let host = |last| IpAddr::V4(Ipv4Addr::new(192, 0, 2, last));
        Story::between(host(2), host(1))
    }

    pub fn v6() -> Story {
        let host = |last| IpAddr::V6(Ipv6Addr::new(0x2001, 0xdb8, 0, 0, 0, 0, 0, last));
        Story::between(host(2), host(1))
    }

    fn between(client: IpAddr, server: IpAddr) -> Story {
        Story {
            events: Vec::new(),
            ends: [SocketAddr::new(client, 40001), SocketAddr::new(server, 80)],
            time: 1_000_000_000,
            next: [1000, 9000],
            seen: [0, 0],
            stamp: 1,
        }
    }

    /// In the order of time.
    pub fn events(&self) -> &[Event] {
        &self.events
    }

    /// What one side has told.
    pub fn seen_by(&self, side: Side) -> Vec<Event> {
        let local = self.ends[side as usize];
        let mine = self.events.iter().filter(|event| event.local == local);
        mine.cloned().collect()
    }

    pub fn wait(&mut self, nanoseconds: u64) -> &mut Self {
        self.time += nanoseconds;
        self
    }

    /// Something happens on a side, now.
    pub fn tell(&mut self, side: Side, what: What) -> &mut Self {
        self.tell_at(self.time, side, what)
    }

    fn tell_at(&mut self, time: u64, side: Side, what: What) -> &mut Self {
        let at = side as usize;
        let event = Event {
            time,
            netns: at as u32 + 1,
            cookie: at as u64 + 10,
            cgroup: 5,
            local: self.ends[at],
            remote: self.ends[1 - at],
            what,
        };
        let place = self.events.partition_point(|other| other.time <= time);
        self.events.insert(place, event);
        self
    }

    pub fn state(&mut self, side: Side, from: State, to: State) -> &mut Self {
        self.tell(side, What::State { from, to })
    }

    /// A segment of what comes next leaves, and comes a way later if it `comes`.
    pub fn send(
        &mut self,
        side: Side,
        flags: &str,
        payload: u32,
        cause: Cause,
        comes: bool,
    ) -> &mut Self {
        let at = side as usize;
        let seq = self.next[at];
        let extra = flags.chars().filter(|flag| "SF".contains(*flag)).count() as u32;
        self.next[at] = seq.wrapping_add(payload + extra);
        self.segment(side, flags, seq, payload, cause, comes)
    }

    /// The same with a sequence number of its own.
    pub fn segment(
        &mut self,
        side: Side,
        flags: &str,
        seq: u32,
        payload: u32,
        cause: Cause,
        comes: bool,
    ) -> &mut Self {
        let header = self.header(side, flags, seq, 502);
        self.carry(side, header, payload, cause, comes)
    }

    /// One that is told of by its header.
    pub fn carry(
        &mut self,
        side: Side,
        header: Header,
        payload: u32,
        cause: Cause,
        comes: bool,
    ) -> &mut Self {
        let at = side as usize;
        let segment = |direction, cause| {
            What::Segment(Segment {
                direction,
                cause,
                header: header.clone(),
                payload,
                segment_size: if payload > 1448 { 1448 } else { 0 },
                ecn: 0,
            })
        };
        self.tell(side, segment(Direction::Out, cause));
        if comes {
            let other = [S, C][at];
            self.tell_at(
                self.time + WAY,
                other,
                segment(Direction::In, Cause::Received),
            );
            self.seen[1 - at] = self.next[at];
        }
        self.time += 1000;
        self
    }

    /// With timestamps; a SYN has MSS and window scale as well.
    pub fn header(&mut self, side: Side, flags: &str, seq: u32, window: u16) -> Header {
        let at = side as usize;
        let bits = flags.chars().fold(0, |bits, flag| {
            bits | match flag {
                'F' => 1,
                'S' => 2,
                'R' => 4,
                'P' => 8,
                'A' => 16,
                _ => panic!("flag {flag}"),
            }
        });
        let mut options = Vec::new();
        if flags.contains('S') {
            options.extend([2, 4, 5, 0xb4, 4, 2, 3, 3, 7, 1, 1, 1]);
        }
        options.extend([1, 1, 8, 10]);
        options.extend(self.stamp.to_be_bytes());
        options.extend([0; 4]);
        self.stamp += 1;
        let mut header = Vec::new();
        header.extend(self.ends[at].port().to_be_bytes());
        header.extend(self.ends[1 - at].port().to_be_bytes());
        header.extend(seq.to_be_bytes());
        header.extend(self.seen[at].to_be_bytes());
        header.push(((20 + options.len()) / 4 * 16) as u8);
        header.push(bits);
        header.extend(window.to_be_bytes());
        header.extend([0; 4]);
        header.extend(options);
        Header(header)
    }

    /// The handshake, with this initial sequence number of the client.
    pub fn open_from(&mut self, initial: u32) -> &mut Self {
        self.next[0] = initial;
        self.open()
    }

    /// The handshake.
    pub fn open(&mut self) -> &mut Self {
        self.state(C, State::Close, State::SynSent)
            .send(C, "S", 0, Cause::Syn, true)
            .wait(WAY)
            .state(S, State::Listen, State::SynRecv)
            .send(S, "SA", 0, Cause::SynAck, true)
            .wait(WAY)
            .state(C, State::SynSent, State::Established)
            .send(C, "A", 0, Cause::Ack, true)
            .wait(WAY)
            .state(S, State::SynRecv, State::Established)
    }

    /// The server sends so much in a burst, and the client acknowledges it.
    pub fn data(&mut self, bytes: u32) -> &mut Self {
        self.send(S, "PA", bytes, Cause::Data, true)
            .wait(WAY)
            .send(C, "A", 0, Cause::Ack, true)
            .wait(WAY)
    }

    /// Two segments of the server, of which the first is lost and sent again.
    pub fn lose_and_repair(&mut self, mss: u32) -> &mut Self {
        let lost = self.next[1];
        self.send(S, "A", mss, Cause::Data, false);
        let seen = self.seen[0];
        self.send(S, "A", mss, Cause::Data, true).wait(WAY);
        self.seen[0] = seen;
        self.send(C, "A", 0, Cause::Ack, true)
            .wait(WAY)
            .segment(S, "A", lost, mss, Cause::FastRetransmit, true)
            .wait(WAY)
            .send(C, "A", 0, Cause::Ack, true)
            .wait(WAY)
    }

    /// The server closes, then the client.
    pub fn close(&mut self) -> &mut Self {
        self.state(S, State::Established, State::FinWait1)
            .send(S, "FA", 0, Cause::Fin, true)
            .wait(WAY)
            .state(C, State::Established, State::CloseWait)
            .state(C, State::CloseWait, State::LastAck)
            .send(C, "FA", 0, Cause::Fin, true)
            .wait(WAY)
            .state(S, State::FinWait1, State::FinWait2)
            .state(S, State::FinWait2, State::TimeWait)
            .send(S, "A", 0, Cause::Ack, true)
            .wait(WAY)
            .state(C, State::LastAck, State::Close)
    }

    /// Figures of a side's connection.
    pub fn standing(&mut self, side: Side, mode: Mode, cwnd: u32) -> &mut Self {
        let at = side as usize;
        let standing = Congestion {
            mode,
            cwnd,
            ssthresh: None,
            srtt: Some(Duration::from_millis(20)),
            rttvar: Duration::from_millis(2),
            rto: Duration::from_millis(220),
            mss: 1448,
            unacked: 0,
            in_network: 0,
            not_sent: 65_536,
            snd_wnd: 65_536,
            rcv_wnd: 65_536,
            snd_una: self.next[at],
            snd_nxt: self.next[at],
            rcv_nxt: self.seen[at],
            pacing_rate: None,
            retransmits: 0,
            bytes_acked: 0,
            bytes_received: 0,
        };
        self.tell(side, What::Congestion(standing))
    }
}
