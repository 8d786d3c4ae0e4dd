// SPDX-License-Identifier: GPL-2.0
//! From a record of the ring buffer to an [`Event`].

use std::collections::HashMap;
use std::net::{Ipv6Addr, SocketAddr};
use std::time::Duration;

use super::event::{
    Bound, Cause, Congestion, Decision, Direction, Drop, Event, Header, Listener, Mode, Overflow,
    Queue, Remedy, Segment, Timer, What,
};
use super::format::Format;
use crate::sockets::limit::Limit;
use crate::sockets::State;

/// The module's events, as `trace.h` names them.
pub const NAMES: [&str; 8] = [
    "oxtcp_state",
    "oxtcp_segment_in",
    "oxtcp_segment_out",
    "oxtcp_timer",
    "oxtcp_congestion",
    "oxtcp_drop",
    "oxtcp_listener",
    "oxtcp_overflow",
];

/// What the numbers of records mean.
pub struct Decoder {
    /// By the number that records begin with: which of [`NAMES`], and its layout.
    formats: HashMap<u16, (usize, Format)>,
}

impl Decoder {
    /// Of the layouts of [`NAMES`], in their order.
    pub fn new(formats: impl IntoIterator<Item = Format>) -> Self {
        let formats = formats.into_iter().enumerate();
        Self {
            formats: formats
                .map(|(which, format)| (format.id, (which, format)))
                .collect(),
        }
    }

    /// Whether events tell the socket's cgroup.
    pub fn tells_cgroup(&self) -> bool {
        let mut formats = self.formats.values();
        formats.all(|(_, format)| format.field("cgroup").is_some())
    }

    /// The event of a record; `None` for one of another kind, or that is not whole.
    pub fn decode(&self, time: u64, bytes: &[u8]) -> Option<Event> {
        let id = u16::from_ne_bytes(bytes.get(..2)?.try_into().ok()?);
        let (which, format) = self.formats.get(&id)?;
        let record = Record { format, bytes };
        let what = match NAMES[*which] {
            "oxtcp_state" => What::State {
                from: State::from_number(record.byte("from")?)?,
                to: State::from_number(record.byte("to")?)?,
            },
            "oxtcp_segment_in" => What::Segment(record.segment(Direction::In)?),
            "oxtcp_segment_out" => What::Segment(record.segment(Direction::Out)?),
            "oxtcp_timer" => What::Timer(timer(record.byte("timer")?)),
            "oxtcp_congestion" => What::Congestion(record.congestion()?),
            "oxtcp_drop" => What::Drop(record.drop()?),
            "oxtcp_overflow" => What::Overflow(record.overflow()?),
            _ => What::Listener(record.listener()?),
        };
        Some(Event {
            time,
            netns: record.word("netns")?,
            cookie: record.number("cookie")?,
            cgroup: record.number("cgroup").unwrap_or(0),
            local: record.end("local", "lport")?,
            remote: record.end("remote", "rport")?,
            what,
        })
    }
}

struct Record<'a> {
    format: &'a Format,
    bytes: &'a [u8],
}

impl Record<'_> {
    fn number(&self, name: &str) -> Option<u64> {
        let field = self.format.field(name)?;
        let bytes = self.bytes.get(field.offset..)?.get(..field.size)?;
        Some(match field.size {
            1 => u64::from(bytes[0]),
            2 => u64::from(u16::from_ne_bytes(bytes.try_into().ok()?)),
            4 => u64::from(u32::from_ne_bytes(bytes.try_into().ok()?)),
            8 => u64::from_ne_bytes(bytes.try_into().ok()?),
            _ => return None,
        })
    }

    fn word(&self, name: &str) -> Option<u32> {
        self.number(name)?.try_into().ok()
    }

    fn byte(&self, name: &str) -> Option<u8> {
        self.number(name)?.try_into().ok()
    }

    /// A field of bytes, wherever they are.
    fn array(&self, name: &str) -> Option<&[u8]> {
        let field = self.format.field(name)?;
        if !field.dynamic {
            return self.bytes.get(field.offset..)?.get(..field.size);
        }
        let place = self.number(name)?;
        let (offset, len) = (place as usize & 0xffff, place as usize >> 16);
        self.bytes.get(offset..)?.get(..len)
    }

    fn end(&self, address: &str, port: &str) -> Option<SocketAddr> {
        let ip: [u8; 16] = self.array(address)?.try_into().ok()?;
        let port = u16::try_from(self.number(port)?).ok()?;
        Some(SocketAddr::new(Ipv6Addr::from(ip).to_canonical(), port))
    }

    fn header(&self) -> Option<Header> {
        let bytes = self.array("header")?;
        (bytes.len() >= 20).then(|| Header(bytes.to_vec()))
    }

    fn segment(&self, direction: Direction) -> Option<Segment> {
        Some(Segment {
            direction,
            cause: cause(self.byte("cause")?),
            header: self.header()?,
            payload: self.word("payload")?,
            segment_size: u16::try_from(self.number("segment_size")?).ok()?,
            ecn: self.byte("ecn")? & 3,
        })
    }

    fn congestion(&self) -> Option<Congestion> {
        let micros = |name: &str| Some(Duration::from_micros(self.number(name)?));
        Some(Congestion {
            mode: mode(self.byte("mode")?),
            cwnd: self.word("cwnd")?,
            ssthresh: Some(self.word("ssthresh")?).filter(|bytes| *bytes != u32::MAX),
            srtt: micros("srtt").filter(|srtt| !srtt.is_zero()),
            rttvar: micros("rttvar")?,
            rto: micros("rto")?,
            mss: self.word("mss")?,
            unacked: self.word("unacked")?,
            in_network: self.word("in_network")?,
            not_sent: self.word("not_sent")?,
            snd_wnd: self.word("snd_wnd")?,
            rcv_wnd: self.word("rcv_wnd")?,
            snd_una: self.word("snd_una")?,
            snd_nxt: self.word("snd_nxt")?,
            rcv_nxt: self.word("rcv_nxt")?,
            pacing_rate: Some(self.number("pacing_rate")?).filter(|rate| *rate != u64::MAX),
            retransmits: self.word("retransmits")?,
            // These a module has not that is older than this command.
            bytes_acked: self.number("bytes_acked").unwrap_or(0),
            bytes_received: self.number("bytes_received").unwrap_or(0),
        })
    }

    fn drop(&self) -> Option<Drop> {
        let reason = self.number("reason")?;
        Some(Drop {
            direction: match self.byte("out")? {
                0 => Direction::In,
                _ => Direction::Out,
            },
            reason: match self.format.name("reason", reason) {
                Some(name) => name.to_string(),
                None => format!("reason {reason}"),
            },
            header: self.header(),
            payload: self.word("payload")?,
        })
    }

    fn overflow(&self) -> Option<Overflow> {
        Some(Overflow {
            queue: queue(self.byte("queue")?),
            length: self.word("length")?,
            most: self.word("most")?,
            rate: self.word("rate")?,
            remedy: remedy(self.byte("remedy")?),
            limit: Limit::from_number(self.byte("setting")?),
            value: self.word("value")?,
        })
    }

    fn listener(&self) -> Option<Listener> {
        let mut listener = Listener {
            decision: decision(self.byte("decision")?),
            bound: bound(self.byte("bound")?),
            half_open: self.word("half_open")?,
            most_half_open: self.word("most_half_open")?,
            waiting: self.word("waiting")?,
            asked: self.word("asked")?,
            granted: self.word("granted")?,
            syncookies: self.byte("syncookies")?,
            limit: Limit::Backlog,
        };
        // Of a module that is older than this command.
        let guessed = match listener.bound {
            Bound::AcceptQueue if listener.asked <= listener.granted => Limit::Backlog,
            Bound::AcceptQueue => Limit::Somaxconn,
            _ if listener.most_half_open <= listener.granted => Limit::MaxSynBacklog,
            _ if listener.asked <= listener.granted => Limit::Backlog,
            _ => Limit::Somaxconn,
        };
        listener.limit = self.byte("setting").map_or(guessed, Limit::from_number);
        Some(listener)
    }
}

pub(crate) fn queue(number: u8) -> Queue {
    match number {
        0 => Queue::Syn,
        1 => Queue::HostShare,
        2 => Queue::NetShare,
        3 => Queue::Accept,
        4 => Queue::NetRate,
        other => Queue::Other(other),
    }
}

pub(crate) fn remedy(number: u8) -> Remedy {
    match number {
        0 => Remedy::Cookie,
        1 => Remedy::Evict,
        2 => Remedy::Drop,
        3 => Remedy::Reset,
        other => Remedy::Other(other),
    }
}

pub(crate) fn mode(number: u8) -> Mode {
    match number {
        0 => Mode::Open,
        1 => Mode::Disorder,
        2 => Mode::Cwr,
        3 => Mode::Recovery,
        _ => Mode::Loss,
    }
}

pub(crate) fn cause(number: u8) -> Cause {
    match number {
        0 => Cause::Received,
        1 => Cause::Syn,
        2 => Cause::SynRetransmit,
        3 => Cause::SynAck,
        4 => Cause::SynAckRetransmit,
        5 => Cause::SynCookie,
        6 => Cause::Data,
        7 => Cause::FastRetransmit,
        8 => Cause::TimeoutRetransmit,
        9 => Cause::LossProbe,
        10 => Cause::LossProbeData,
        11 => Cause::Ack,
        12 => Cause::WindowUpdate,
        13 => Cause::ChallengeAck,
        14 => Cause::WindowProbe,
        15 => Cause::Keepalive,
        16 => Cause::Fin,
        17 => Cause::Reset,
        other => Cause::Other(other),
    }
}

pub(crate) fn timer(number: u8) -> Timer {
    match number {
        0 => Timer::Retransmit,
        1 => Timer::Persist,
        2 => Timer::DelayedAck,
        3 => Timer::Keepalive,
        4 => Timer::FinWait2,
        5 => Timer::TimeWait,
        6 => Timer::LossProbe,
        7 => Timer::Reorder,
        8 => Timer::Pace,
        9 => Timer::SynAck,
        10 => Timer::CompressedAck,
        other => Timer::Other(other),
    }
}

pub(crate) fn decision(number: u8) -> Decision {
    match number {
        0 => Decision::HalfOpen,
        1 => Decision::Cookie,
        2 => Decision::Evicted,
        3 => Decision::Dropped,
        4 => Decision::Reset,
        5 => Decision::Deferred,
        6 => Decision::Accepted,
        7 => Decision::CookieAccepted,
        8 => Decision::CookieRefused,
        9 => Decision::Expired,
        other => Decision::Other(other),
    }
}

pub(crate) fn bound(number: u8) -> Bound {
    match number {
        0 => Bound::None,
        1 => Bound::SynQueue,
        2 => Bound::Share,
        3 => Bound::AcceptQueue,
        4 => Bound::Rate,
        5 => Bound::Always,
        6 => Bound::Route,
        7 => Bound::Memory,
        other => Bound::Other(other),
    }
}

/// The layouts as the stock kernel told them: that of `oxtcp_overflow` in a later boot, in which numbers were others; its own was taken by another one
/// here, and is changed.
#[cfg(any(test, fuzzing))]
pub const RECORDED: [&str; NAMES.len()] = [
    include_str!("recorded/oxtcp_state.format"),
    include_str!("recorded/oxtcp_segment_in.format"),
    include_str!("recorded/oxtcp_segment_out.format"),
    include_str!("recorded/oxtcp_timer.format"),
    include_str!("recorded/oxtcp_congestion.format"),
    include_str!("recorded/oxtcp_drop.format"),
    include_str!("recorded/oxtcp_listener.format"),
    include_str!("recorded/oxtcp_overflow.format"),
];

#[cfg(test)]
pub mod tests {
    use super::*;

    pub fn recorded() -> Decoder {
        Decoder::new(RECORDED.map(|text| Format::parse(text).unwrap()))
    }

    #[test]
    fn tells_cgroup_where_there_is_a_field() {
        // As of a kernel without CONFIG_SOCK_CGROUP_DATA.
        let text = include_str!("recorded/oxtcp_state.format");
        let tells = |text: &str| Decoder::new(Format::parse(text)).tells_cgroup();
        assert!(!tells(text));
        let (cookie, more) = (
            "\tfield:u64 cookie;",
            "\tfield:u64 cgroup;\toffset:16;\tsize:8;\tsigned:0;\n",
        );
        assert!(tells(&text.replace(cookie, &format!("{more}{cookie}"))));
    }

    /// The module's own header, as it is built today.
    const HEADER: &str = include_str!("../../../../rust/sys/trace.h");

    /// A macro of the header, up to the end of its definition.
    fn definition(name: &str) -> &'static str {
        let text = HEADER.split_once(&format!("#define {name}")).unwrap().1;
        let end = text.find("\n#").unwrap();
        &text[..end]
    }

    /// The reasons for drops that the module has.
    pub fn reasons() -> Vec<&'static str> {
        let names = definition("OXTCP_TRACE_REASONS(FN)").split("FN(").skip(1);
        names.map(|rest| rest.split_once(')').unwrap().0).collect()
    }

    /// The names that a macro of the header gives to the numbers from 0 on.
    fn names(of: &str) -> Vec<&'static str> {
        let mut names = Vec::new();
        for pair in definition(of).split('{').skip(1) {
            let (number, rest) = pair.split_once(',').unwrap();
            assert_eq!(number.trim().parse(), Ok(names.len()));
            names.push(rest.split('"').nth(1).unwrap());
        }
        names
    }

    /// The names that trace.h gives to numbers are the ones of this file.
    #[test]
    fn numbers_are_those_of_the_header() {
        let same = |of: &str, ours: &dyn Fn(u8) -> String| {
            let theirs = names(of);
            for (number, name) in (0..).zip(&theirs) {
                assert_eq!(
                    ours(number).to_lowercase(),
                    name.replace('-', ""),
                    "{of} {number}"
                );
            }
            let next = theirs.len() as u8;
            assert!(ours(next).starts_with("Other"), "{of} {next}");
        };
        same("OXTCP_TRACE_CAUSES", &|n| format!("{:?}", cause(n)));
        same("OXTCP_TRACE_TIMERS", &|n| format!("{:?}", timer(n)));
        same("OXTCP_TRACE_DECISIONS", &|n| format!("{:?}", decision(n)));
        same("OXTCP_TRACE_BOUNDS", &|n| format!("{:?}", bound(n)));
        same("OXTCP_TRACE_QUEUES", &|n| format!("{:?}", queue(n)));
        same("OXTCP_TRACE_REMEDIES", &|n| format!("{:?}", remedy(n)));
        for (number, advice) in (0..).zip(names("OXTCP_TRACE_ADVICE")) {
            let ours = crate::trace::explain::words::advice(queue(number));
            assert_eq!(ours, advice, "{number}");
        }
        let theirs = names("OXTCP_TRACE_SETTINGS");
        for (number, name) in (0..).zip(&theirs) {
            assert_eq!(Limit::from_number(number).name(), *name, "{number}");
        }
        let next = theirs.len() as u8;
        assert_eq!(Limit::from_number(next), Limit::Other(next));
        let modes: Vec<String> = (0..5)
            .map(|n| format!("{:?}", mode(n)).to_lowercase())
            .collect();
        assert_eq!(modes, names("OXTCP_TRACE_MODES"));
    }

    /// And so are those that the stock kernel told.
    #[test]
    fn numbers_are_those_of_the_module() {
        let decoder = recorded();
        let format = |name: &str| {
            let at = NAMES.iter().position(|other| *other == name).unwrap();
            let found = decoder.formats.values().find(|(which, _)| *which == at);
            &found.unwrap().1
        };
        let same = |event: &str, field: &str, of: &dyn Fn(u8) -> String, count: u8| {
            for number in 0..count {
                let theirs = format(event).name(field, u64::from(number)).unwrap();
                let ours = of(number).to_lowercase();
                assert_eq!(
                    ours,
                    theirs.replace('-', "").to_lowercase(),
                    "{field} {number}"
                );
            }
            assert_eq!(format(event).name(field, u64::from(count)), None, "{field}");
        };
        same(
            "oxtcp_segment_out",
            "cause",
            &|n| format!("{:?}", cause(n)),
            18,
        );
        same("oxtcp_timer", "timer", &|n| format!("{:?}", timer(n)), 10);
        same(
            "oxtcp_listener",
            "decision",
            &|n| format!("{:?}", decision(n)),
            10,
        );
        same("oxtcp_listener", "bound", &|n| format!("{:?}", bound(n)), 8);
        for state in State::ALL {
            let theirs = format("oxtcp_state").name("from", state as u64).unwrap();
            let ours = state.name().to_uppercase().replace("LISTENING", "LISTEN");
            assert_eq!(ours, theirs);
        }
    }

    /// A record in the recorded layout.
    #[test]
    fn decode_an_overflow() {
        let decoder = recorded();
        let last = NAMES.len() - 1;
        let (id, (_, format)) = decoder
            .formats
            .iter()
            .find(|(_, (which, _))| *which == last)
            .unwrap();
        let mut bytes = vec![0; 200];
        bytes[..2].copy_from_slice(&id.to_ne_bytes());
        for (name, value) in [
            ("netns", 7u32),
            ("length", 3),
            ("most", 2),
            ("rate", 99),
            ("queue", 3),
            ("setting", 1),
            ("value", 128),
            ("remedy", 3),
        ] {
            let field = format.field(name).unwrap();
            let value = value.to_ne_bytes();
            bytes[field.offset..][..field.size].copy_from_slice(&value[..field.size]);
        }
        let event = decoder.decode(5, &bytes).unwrap();
        assert_eq!(event.netns, 7);
        let What::Overflow(overflow) = event.what else {
            panic!("{event:?}");
        };
        let expected = Overflow {
            queue: Queue::Accept,
            length: 3,
            most: 2,
            rate: 99,
            remedy: Remedy::Reset,
            limit: Limit::CoreSomaxconn,
            value: 128,
        };
        assert_eq!(overflow, expected);
    }

    /// What the stock kernel wrote while a program talked to itself over loopback: `trace_pipe_raw` of one processor.
    pub fn conversation() -> Vec<Event> {
        use super::super::format::{tests::HEADER_PAGE, Page};
        use super::super::page::{records, Lost};
        let layout = Page::parse(HEADER_PAGE).unwrap();
        let decoder = recorded();
        let mut events = Vec::new();
        let mut seen = 0;
        for page in include_bytes!("recorded/connection.raw").chunks(layout.size()) {
            let lost = records(page, &layout, |time, bytes| {
                seen += 1;
                events.extend(decoder.decode(time, bytes));
            });
            assert_eq!(lost, Lost::Nothing);
        }
        assert_eq!(events.len(), seen, "each record is an event");
        events
    }

    #[test]
    fn decode_a_conversation() {
        let events = conversation();
        assert!(events.is_sorted_by_key(|event| event.time));
        let mut flows = super::super::flows::Flows::default();
        let plain = crate::output::Painter::new(crate::output::Color::Never);
        let mut log = super::super::log::Log::new(plain);
        let mut text = String::new();
        for event in &events {
            flows.observe(event);
            text += &log.line(event, &flows);
        }
        insta::assert_snapshot!(text);
    }

    #[test]
    fn decode_what_is_cut_is_none() {
        let decoder = recorded();
        for id in decoder.formats.keys() {
            let mut bytes = id.to_ne_bytes().to_vec();
            bytes.resize(200, 0xff);
            for len in 0..200 {
                let _ = decoder.decode(1, &bytes[..len]);
            }
        }
        assert_eq!(decoder.decode(1, &[]), None);
        assert_eq!(decoder.decode(1, &[0xff, 0xff, 0, 0]), None);
    }
}
