// SPDX-License-Identifier: GPL-2.0
//! TIME-WAIT: what is kept of a connection after both FINs, so that a late segment of it cannot hurt the
//! next connection between the same ports (RFC 9293 section 3.10.7.4, RFC 1122 section 4.2.2.13, RFC 6191).
//!
//! And FIN-WAIT-2 without a user: as in Linux it needs no more than that. The peer has acknowledged our FIN, nothing is to
//! be sent again, nobody reads: what is left is to wait for the peer's FIN, which begins TIME-WAIT.

use crate::context::Context;
use crate::happening::Happening;
use crate::reply::{self, ReplyLimit};
use crate::segment::Segment;
use crate::seq::{SeqNum, SeqRange};
use crate::time::Duration;
use crate::transmit::{Transmit, TransmitKind};
use crate::wire::{Ecn, Flags, Header, Mss, Options, Timestamps, WindowScale};

/// What a connection leaves behind.
#[derive(Clone, Copy, Debug)]
pub struct TimeWaitOpen {
    /// Behind our FIN.
    pub snd_nxt: SeqNum,
    /// Behind the peer's FIN.
    pub rcv_nxt: SeqNum,
    /// The receive window in bytes, and its scale.
    pub rcv_wnd: u32,
    /// The scale of `rcv_wnd` on the wire.
    pub rcv_scale: WindowScale,
    /// If timestamps were agreed: TS.Recent.
    pub ts_recent: Option<u32>,
    /// What was added to the clock for TSval.
    pub ts_offset: u32,
}

/// A connection in TIME-WAIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimeWait {
    snd_nxt: SeqNum,
    rcv_nxt: SeqNum,
    ts_recent: u32,
    ts_offset: u32,
    /// When it began, on a clock of milliseconds that comes round in 49 days.
    since: u32,
    window: u16,
    replied: ReplyLimit,
    timestamps: bool,
    /// The scale of `window`.
    scale: WindowScale,
    /// The peer's FIN has not come: this is FIN-WAIT-2.
    awaits_fin: bool,
}

/// What a segment means for a connection in TIME-WAIT, or in FIN-WAIT-2 without a user.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub enum TimeWaitVerdict {
    /// Nothing is to be done.
    Ignore,
    /// Send this.
    Ack(Transmit),
    /// The peer's FIN came, or came again: send this, and begin [`TimeWait::LENGTH`] anew.
    Restart(Transmit),
    /// The peer sends data to a user who is gone: send this, and forget the connection now.
    Reset(Transmit),
    /// A new connection between the same ports: forget this one and treat the SYN as a listener would, with
    /// this initial sequence number, which lies beyond all that the old connection used. Without a listener the
    /// SYN is one for a closed port.
    Reopen {
        /// The first initial sequence number that is safe; take this one.
        iss_after: SeqNum,
    },
    /// A RST: forget the connection now.
    Kill,
}

impl TimeWait {
    /// Linux's TCP_TIMEWAIT_LEN.
    ///
    /// Deviation: RFC 9293 section 3.6.1 (MUST-13) has twice the MSL, which it takes to be two minutes in its section 3.4.2. No
    /// segment lives that long in today's networks, and a busy client would run out of ports.
    pub const LENGTH: Duration = Duration::from_secs(60);

    /// Linux's `tcp_tw_reuse_delay`: RFC 6191 section 2 asks for a tick of the slowest timestamp clock, which is a second.
    pub const REUSE_DELAY: Duration = Duration::from_secs(1);

    /// How far beyond SND.NXT the next connection begins: more than the largest unscaled window, as in Linux.
    const ISS_GAP: u32 = 65535 + 2;

    /// The state to keep of a connection in TIME-WAIT, from now for [`TimeWait::LENGTH`].
    pub fn new(cx: &Context<'_>, open: &TimeWaitOpen) -> Self {
        TimeWait::keep(cx, open, false)
    }

    /// The state to keep of a connection in FIN-WAIT-2 without a user. How long is the connection's to say.
    pub fn awaiting_fin(cx: &Context<'_>, open: &TimeWaitOpen) -> Self {
        TimeWait::keep(cx, open, true)
    }

    fn keep(cx: &Context<'_>, open: &TimeWaitOpen, awaits_fin: bool) -> Self {
        TimeWait {
            snd_nxt: open.snd_nxt,
            rcv_nxt: open.rcv_nxt,
            ts_recent: open.ts_recent.unwrap_or(0),
            ts_offset: open.ts_offset,
            since: cx.now.timestamp_ms(0),
            window: open.rcv_scale.narrow(open.rcv_wnd),
            replied: ReplyLimit::new(),
            timestamps: open.ts_recent.is_some(),
            scale: open.rcv_scale,
            awaits_fin,
        }
    }

    /// Whether this is FIN-WAIT-2 still.
    pub const fn awaits_fin(&self) -> bool {
        self.awaits_fin
    }

    /// A segment of the old connection, or the SYN of a new one.
    pub fn on_segment(&mut self, cx: &Context<'_>, segment: &Segment) -> TimeWaitVerdict {
        if self.awaits_fin {
            return self.on_segment_before_fin(cx, segment);
        }
        let flags = segment.header.flags;
        if flags.rst() {
            // RFC 5961 section 3.2: the exact number only.
            //
            // Deviation: RFC 1337 (F1) has every RST ignored. As in Linux only if `rfc1337` is set: by RFC 9293 section 3.10.7.4
            // it ends TIME-WAIT, and a peer that has started anew gets its ports back.
            return if segment.seq() == self.rcv_nxt && !cx.config.rfc1337 {
                TimeWaitVerdict::Kill
            } else {
                TimeWaitVerdict::Ignore
            };
        }
        let val = self.stamp_of(segment);
        let stale = self.is_stale(val);

        // RFC 1122 section 4.2.2.13 and RFC 6191 section 2: a SYN that is newer than all of the old connection, by its
        // timestamp or by its number.
        if flags.syn() && !flags.ack() && !stale {
            let newer = val.is_some_and(|val| reply::is_older(self.ts_recent, val));
            if newer || segment.seq().after(self.rcv_nxt) {
                return TimeWaitVerdict::Reopen {
                    iss_after: self.next_iss(),
                };
            }
        }

        // What stands at RCV.NXT and holds nothing is an ACK that asks for none.
        if !stale && segment.seq() == self.rcv_nxt && segment.seq_len() == 0 {
            if let Some(val) = val {
                self.ts_recent = val;
            }
            return TimeWaitVerdict::Ignore;
        }

        // "The only thing that can arrive in this state is a retransmission of the remote FIN. Acknowledge
        // it, and restart the 2 MSL timeout." Everything else is not acceptable and gets an ACK.
        if stale {
            cx.count(Happening::PAWSTimewait);
        }
        if !self.replied.permits(cx, segment) {
            cx.count(Happening::TCPACKSkippedTimeWait);
            return TimeWaitVerdict::Ignore;
        }
        let ack = self.ack(cx);
        if flags.fin() && segment.end() == self.rcv_nxt {
            TimeWaitVerdict::Restart(ack)
        } else {
            TimeWaitVerdict::Ack(ack)
        }
    }

    /// FIN-WAIT-2: RFC 9293 section 3.10.7.4 for a connection that has nothing to send and nobody to read (Linux's
    /// `tcp_timewait_state_process`).
    fn on_segment_before_fin(&mut self, cx: &Context<'_>, segment: &Segment) -> TimeWaitVerdict {
        let flags = segment.header.flags;
        let val = self.stamp_of(segment);

        // First, PAWS, from which RST is exempt, and the sequence number.
        let stale = !flags.rst() && self.is_stale(val);
        if stale || !self.is_acceptable(segment) {
            return if flags.rst() {
                TimeWaitVerdict::Ignore
            } else {
                self.limited_ack(cx, segment)
            };
        }
        // Second, RST: the exact number only (RFC 5961 section 3.2).
        if flags.rst() {
            return if segment.seq() == self.rcv_nxt {
                TimeWaitVerdict::Kill
            } else {
                self.limited_ack(cx, segment)
            };
        }
        // Fourth, SYN: within the window it is none of this connection's, nor one of a new connection, as this one is not
        // over. An older one is the peer's first, come late.
        //
        // Deviation: RFC 5961 section 4.2 challenges the peer. As Linux has it, that ends here: there is no user who would lose anything,
        // and the peer, if it has started anew, gets through with its next SYN.
        if flags.syn() {
            return if segment.seq().before(self.rcv_nxt) {
                self.limited_ack(cx, segment)
            } else {
                self.reset(segment)
            };
        }
        // Fifth, "if the ACK bit is off, drop the segment"; and what brings nothing new asks for nothing.
        if !flags.ack() || segment.seq_len() == 0 || !segment.end().after(self.rcv_nxt) {
            return TimeWaitVerdict::Ignore;
        }
        // Seventh and eighth, text and FIN. RFC 1122 section 4.2.2.13: text for a user who has closed. "Send a RST to show
        // that data was lost". A FIN beyond RCV.NXT stands behind such text.
        if !flags.fin() || segment.end() != self.rcv_nxt.add(1) {
            return self.reset(segment);
        }
        self.awaits_fin = false;
        self.rcv_nxt = segment.end();
        self.since = cx.now.timestamp_ms(0);
        if let Some(val) = val {
            self.ts_recent = val;
        }
        TimeWaitVerdict::Restart(self.ack(cx))
    }

    /// The segment's TSval, if timestamps were agreed.
    fn stamp_of(&self, segment: &Segment) -> Option<u32> {
        match segment.header.options.timestamps {
            Some(timestamps) if self.timestamps => Some(timestamps.val),
            _ => None,
        }
    }

    /// PAWS (RFC 7323 section 5.3, R1).
    fn is_stale(&self, val: Option<u32>) -> bool {
        val.is_some_and(|val| reply::is_stale(val, self.ts_recent))
    }

    /// RFC 9293 section 3.10.7.4's four cases, for a window that a peer may have filled to its edge.
    fn is_acceptable(&self, segment: &Segment) -> bool {
        let edge = self.rcv_nxt.add(self.scale.widen(self.window));
        if segment.seq() == self.rcv_nxt {
            return true;
        }
        if segment.seq_len() == 0 {
            return segment.seq().after(self.rcv_nxt) && segment.seq().before_eq(edge);
        }
        segment.end().after(self.rcv_nxt) && segment.seq().before(edge)
    }

    /// An ACK, unless it would be one of a loop of them.
    fn limited_ack(&mut self, cx: &Context<'_>, segment: &Segment) -> TimeWaitVerdict {
        if self.replied.permits(cx, segment) {
            TimeWaitVerdict::Ack(self.ack(cx))
        } else {
            cx.count(Happening::TCPACKSkippedFinWait2);
            TimeWaitVerdict::Ignore
        }
    }

    fn reset(&self, segment: &Segment) -> TimeWaitVerdict {
        match reply::closed(segment) {
            Some(reset) => TimeWaitVerdict::Reset(reset),
            None => TimeWaitVerdict::Kill,
        }
    }

    /// The initial sequence number with which an active open may take over the ports, or None when it may not (RFC
    /// 6191, Linux's `tcp_twsk_unique`). What protects the new connection is timestamps: without them the answer is
    /// never. Nor while the peer may still send, in FIN-WAIT-2.
    ///
    /// Deviation: RFC 9293 section 3.10.1 refuses an OPEN as long as there is a connection in TIME-WAIT, and its section 3.6.1 lets only
    /// the peer's SYN reopen it. With timestamps that rise the peer can tell old segments from new whoever opens.
    ///
    /// An open from a port that the program bound has no other port to go to: it may at once. One that can choose
    /// may only if `tw_reuse` is not 0, and after [`TimeWait::REUSE_DELAY`], so that its timestamps are newer. Whether the
    /// setting's 2 (loopback only) holds, the caller knows.
    pub fn reuse(&self, cx: &Context<'_>, bound: bool) -> Option<SeqNum> {
        let age = Duration::from_millis(u64::from(cx.now.timestamp_ms(0).wrapping_sub(self.since)));
        let may = bound || cx.config.tw_reuse != 0 && age > TimeWait::REUSE_DELAY;
        (!self.awaits_fin && self.timestamps && may).then(|| self.next_iss())
    }

    /// SND.NXT of the old connection.
    pub const fn snd_nxt(&self) -> SeqNum {
        self.snd_nxt
    }

    /// RCV.NXT of the old connection.
    pub const fn rcv_nxt(&self) -> SeqNum {
        self.rcv_nxt
    }

    const fn next_iss(&self) -> SeqNum {
        self.snd_nxt.add(TimeWait::ISS_GAP)
    }

    fn ack(&self, cx: &Context<'_>) -> Transmit {
        let timestamps = self.timestamps.then(|| Timestamps {
            val: cx.now.timestamp_ms(self.ts_offset),
            ecr: self.ts_recent,
        });
        Transmit {
            header: Header {
                seq: self.snd_nxt,
                ack: self.rcv_nxt,
                flags: Flags::ACK,
                window: self.window,
                options: Options {
                    timestamps,
                    ..Options::default()
                },
                ..Header::default()
            },
            payload: SeqRange::new(self.snd_nxt, 0),
            mss: Mss::DEFAULT_V4.get(),
            ecn: Ecn::NotEct,
            kind: TransmitKind::Ack,
            persist: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Config;
    use crate::time::Instant;
    use std::format;
    use std::string::String;

    const SND: u32 = u32::MAX - 2;
    const RCV: u32 = 3;

    fn at(config: &Config, millis: u64) -> Context<'_> {
        Context::new(
            Instant::from_secs(50) + Duration::from_millis(millis),
            config,
        )
    }

    fn open(ts_recent: Option<u32>) -> TimeWaitOpen {
        TimeWaitOpen {
            snd_nxt: SeqNum::new(SND),
            rcv_nxt: SeqNum::new(RCV),
            rcv_wnd: 64_000,
            rcv_scale: WindowScale::new(4),
            ts_recent,
            ts_offset: 9,
        }
    }

    fn segment(flags: Flags, seq: i32, len: u32, val: Option<u32>) -> Segment {
        let options = Options {
            timestamps: val.map(|val| Timestamps { val, ecr: 0 }),
            ..Options::default()
        };
        Segment {
            header: Header {
                seq: SeqNum::new(RCV).add(seq as u32),
                ack: SeqNum::new(SND),
                flags,
                options,
                ..Header::default()
            },
            payload_len: len,
            ecn: Ecn::NotEct,
        }
    }

    fn verdict(time_wait: &mut TimeWait, cx: &Context<'_>, segment: &Segment) -> String {
        verdict_at(time_wait, cx, segment, RCV)
    }

    /// The verdict; an ACK in it acknowledges up to `rcv_nxt`.
    fn verdict_at(
        time_wait: &mut TimeWait,
        cx: &Context<'_>,
        segment: &Segment,
        rcv_nxt: u32,
    ) -> String {
        let check = |ack: &Transmit| {
            assert_eq!(ack.header.flags, Flags::ACK);
            assert_eq!((ack.header.seq.get(), ack.header.ack.get()), (SND, rcv_nxt));
            assert_eq!(ack.header.window, 4_000);
        };
        match time_wait.on_segment(cx, segment) {
            TimeWaitVerdict::Ignore => String::from("ignore"),
            TimeWaitVerdict::Ack(ack) => {
                check(&ack);
                String::from("ack")
            }
            TimeWaitVerdict::Restart(ack) => {
                check(&ack);
                String::from("restart")
            }
            TimeWaitVerdict::Reset(reset) => {
                assert!(reset.header.flags.rst());
                assert_eq!(reset.kind, TransmitKind::Reset);
                if segment.has(Flags::ACK) {
                    assert_eq!(reset.header.seq, segment.header.ack);
                }
                String::from("reset")
            }
            TimeWaitVerdict::Reopen { iss_after } => {
                format!("reopen +{}", SeqNum::new(SND).distance_to(iss_after))
            }
            TimeWaitVerdict::Kill => String::from("kill"),
        }
    }

    /// A SYN that asks for ECN is a SYN (RFC 3168 section 6.1.1), and flags that speak of marks mean nothing here.
    #[test]
    fn on_segment__does_not_look_at_ecn() {
        let config = Config::default();
        for bits in 0..=63u8 {
            for seq in [-1, 0, 1, 70_000] {
                let plain = segment(Flags::from_bits(bits), seq, 0, None);
                let cx = at(&config, 0);
                let expected = verdict(&mut TimeWait::new(&cx, &open(None)), &cx, &plain);
                for more in [Flags::ECE, Flags::CWR, Flags::ECE.union(Flags::CWR)] {
                    let mut told = plain;
                    told.header.flags.insert(more);
                    told.ecn = Ecn::Ce;
                    let got = verdict(&mut TimeWait::new(&cx, &open(None)), &cx, &told);
                    assert_eq!(got, expected, "{:?}", told.header.flags);
                }
            }
        }
    }

    #[derive(Default)]
    struct Told(std::cell::RefCell<std::vec::Vec<Happening>>);

    impl crate::Counts for Told {
        fn count(&self, what: Happening, times: u32) {
            assert_eq!(times, 1);
            self.0.borrow_mut().push(what);
        }
    }

    #[test]
    fn counted__what_is_not_answered_and_what_is_old() {
        let config = Config::default();
        let told = Told::default();
        let cx = at(&config, 0).counted(&told);
        let old = segment(Flags::ACK, -1, 0, Some(4));
        let mut time_wait = TimeWait::new(&cx, &open(Some(5)));
        for _ in 0..2 {
            let _ = time_wait.on_segment(&cx, &old);
        }
        assert_eq!(
            told.0.take(),
            [
                Happening::PAWSTimewait,
                Happening::PAWSTimewait,
                Happening::TCPACKSkippedTimeWait
            ]
        );
        let mut fin_wait_2 = TimeWait::awaiting_fin(&cx, &open(None));
        let far = segment(Flags::ACK, -100, 0, None);
        for _ in 0..2 {
            let _ = fin_wait_2.on_segment(&cx, &far);
        }
        assert_eq!(told.0.take(), [Happening::TCPACKSkippedFinWait2]);
    }

    /// RFC 9293 section 3.10.7.4, TIME-WAIT; RFC 6191 section 2 for a SYN.
    #[test]
    fn on_segment__table() {
        let syn_fin = Flags::SYN.union(Flags::FIN);
        // TS.Recent, flags, SEG.SEQ - RCV.NXT, payload, TSval, verdict.
        type Row = (Option<u32>, Flags, i32, u32, Option<u32>, &'static str);
        let table: &[Row] = &[
            // The FIN again, alone and after data.
            (None, Flags::FIN_ACK, -1, 0, None, "restart"),
            (None, Flags::FIN_ACK, -101, 100, None, "restart"),
            (Some(70), Flags::FIN_ACK, -1, 0, Some(70), "restart"),
            // A FIN that is not the one.
            (None, Flags::FIN_ACK, 5, 0, None, "ack"),
            // Data and ACKs, old and from the future.
            (None, Flags::ACK, -101, 100, None, "ack"),
            (None, Flags::ACK, -1, 0, None, "ack"),
            (None, Flags::ACK, 0, 100, None, "ack"),
            (None, Flags::ACK, 1, 0, None, "ack"),
            (None, Flags::ACK, 0, 0, None, "ignore"),
            (Some(70), Flags::ACK, 0, 0, Some(71), "ignore"),
            (Some(70), Flags::ACK, 0, 0, Some(69), "ack"),
            // RST: the exact number kills.
            (None, Flags::RST, 0, 0, None, "kill"),
            (None, Flags::RST_ACK, 0, 0, None, "kill"),
            (Some(70), Flags::RST, 0, 0, Some(1), "kill"),
            (None, Flags::RST, 1, 0, None, "ignore"),
            (None, Flags::RST, -1, 0, None, "ignore"),
            // A new SYN by its number.
            (None, Flags::SYN, 1, 0, None, "reopen +65537"),
            (None, Flags::SYN, i32::MAX, 0, None, "reopen +65537"),
            (None, Flags::SYN, 0, 0, None, "ack"),
            (None, Flags::SYN, -1, 0, None, "ack"),
            (None, Flags::SYN, -100_000, 0, Some(900), "ack"),
            // A new SYN by its timestamp, and an old one.
            (Some(70), Flags::SYN, -100_000, 0, Some(71), "reopen +65537"),
            (Some(70), Flags::SYN, -100_000, 0, Some(70), "ack"),
            (Some(70), Flags::SYN, 100_000, 0, Some(70), "reopen +65537"),
            (Some(70), Flags::SYN, 100_000, 0, Some(69), "ack"),
            (Some(70), Flags::SYN, 100_000, 0, None, "reopen +65537"),
            (None, syn_fin, 1, 0, None, "reopen +65537"),
            // A SYN-ACK is nothing new.
            (None, Flags::SYN_ACK, 100_000, 0, None, "ack"),
            (None, Flags::NONE, 1, 0, None, "ack"),
        ];
        let config = Config::default();
        for row in table {
            let (recent, flags, seq, len, val, expected) = *row;
            let mut time_wait = TimeWait::new(&at(&config, 0), &open(recent));
            let segment = segment(flags, seq, len, val);
            let got = verdict(&mut time_wait, &at(&config, 10), &segment);
            assert_eq!(got, expected, "{row:?}");
        }
    }

    /// RFC 9293 section 3.10.7.4, FIN-WAIT-2, but for a SYN (RFC 5961 section 4.2).
    #[test]
    fn on_segment__before_the_fin_table() {
        let syn_fin = Flags::SYN.union(Flags::FIN);
        // The window: 64,000 bytes, in units of 16.
        const WINDOW: i32 = 64_000;
        // TS.Recent, flags, SEG.SEQ - RCV.NXT, payload, TSval, verdict.
        type Row = (Option<u32>, Flags, i32, u32, Option<u32>, &'static str);
        let table: &[Row] = &[
            // The FIN.
            (None, Flags::FIN_ACK, 0, 0, None, "restart"),
            (None, Flags::FIN_ACK, -100, 100, None, "restart"),
            (Some(70), Flags::FIN_ACK, 0, 0, Some(70), "restart"),
            (Some(70), Flags::FIN_ACK, 0, 0, Some(69), "ack"),
            // Without an ACK it does not count.
            (None, Flags::FIN, 0, 0, None, "ignore"),
            // Data is for nobody, with a FIN or without, in order or not.
            (None, Flags::ACK, 0, 1, None, "reset"),
            (None, Flags::ACK, -1, 2, None, "reset"),
            (None, Flags::ACK, 500, 100, None, "reset"),
            (None, Flags::ACK, WINDOW - 1, 100, None, "reset"),
            (None, Flags::FIN_ACK, 0, 100, None, "reset"),
            (None, Flags::FIN_ACK, 100, 0, None, "reset"),
            (None, Flags::NONE, 0, 100, None, "ignore"),
            (Some(70), Flags::ACK, 0, 100, Some(69), "ack"),
            // Old data, and what is beyond the window.
            (None, Flags::ACK, -100, 100, None, "ack"),
            (None, Flags::ACK, WINDOW, 1, None, "ack"),
            (None, Flags::FIN_ACK, WINDOW, 0, None, "ack"),
            // Bare ACKs: in place, a keepalive's, at the window's edge, beyond.
            (None, Flags::ACK, 0, 0, None, "ignore"),
            (None, Flags::ACK, -1, 0, None, "ack"),
            (None, Flags::ACK, WINDOW, 0, None, "ignore"),
            (None, Flags::ACK, WINDOW + 1, 0, None, "ack"),
            // RST: the exact number kills, another in the window is challenged.
            (None, Flags::RST, 0, 0, None, "kill"),
            (Some(70), Flags::RST_ACK, 0, 0, Some(1), "kill"),
            (None, Flags::RST, 1, 0, None, "ack"),
            (None, Flags::RST, -1, 0, None, "ignore"),
            (None, Flags::RST, WINDOW + 1, 0, None, "ignore"),
            // SYN: nothing is opened here.
            (None, Flags::SYN, 0, 0, None, "reset"),
            (None, Flags::SYN, 10, 0, None, "reset"),
            (None, syn_fin, 10, 0, None, "reset"),
            (None, Flags::SYN_ACK, 10, 0, None, "reset"),
            (None, Flags::SYN, -10, 0, None, "ack"),
            (None, Flags::SYN, -10, 100, None, "ack"),
            (None, Flags::SYN, WINDOW + 10, 0, None, "ack"),
        ];
        let config = Config::default();
        for row in table {
            let (recent, flags, seq, len, val, expected) = *row;
            let mut waiting = TimeWait::awaiting_fin(&at(&config, 0), &open(recent));
            let segment = segment(flags, seq, len, val);
            let rcv_nxt = if expected == "restart" { RCV + 1 } else { RCV };
            let got = verdict_at(&mut waiting, &at(&config, 10), &segment, rcv_nxt);
            assert_eq!(got, expected, "{row:?}");
            assert_eq!(waiting.awaits_fin(), expected != "restart", "{row:?}");
            assert_eq!(waiting.rcv_nxt().get(), rcv_nxt, "{row:?}");
        }
    }

    #[test]
    fn on_segment__the_fin_begins_time_wait() {
        let config = Config::default();
        let mut waiting = TimeWait::awaiting_fin(&at(&config, 0), &open(Some(70)));
        let fin = segment(Flags::FIN_ACK, 0, 0, Some(75));
        let later = at(&config, 30_000);
        assert_eq!(verdict_at(&mut waiting, &later, &fin, RCV + 1), "restart");
        // The same FIN again, an older stamp, and a new connection's SYN.
        assert_eq!(verdict_at(&mut waiting, &later, &fin, RCV + 1), "restart");
        let old = segment(Flags::ACK, 0, 0, Some(74));
        assert_eq!(verdict_at(&mut waiting, &later, &old, RCV + 1), "ack");
        // It is as old as the FIN, not as the connection that was kept.
        assert_eq!(waiting.reuse(&at(&config, 31_000), false), None);
        assert!(waiting.reuse(&at(&config, 32_000), false).is_some());
        let syn = segment(Flags::SYN, 2, 0, Some(76));
        assert_eq!(
            verdict_at(&mut waiting, &later, &syn, RCV + 1),
            "reopen +65537"
        );
    }

    #[test]
    fn reuse__not_before_the_fin() {
        let config = Config::default();
        let waiting = TimeWait::awaiting_fin(&at(&config, 0), &open(Some(70)));
        assert_eq!(waiting.reuse(&at(&config, 30_000), false), None);
        assert_eq!(waiting.reuse(&at(&config, 30_000), true), None);
    }

    #[test]
    fn on_segment__acks_before_the_fin_are_limited() {
        let config = Config::default();
        let mut waiting = TimeWait::awaiting_fin(&at(&config, 0), &open(None));
        let rst = segment(Flags::RST, 5, 0, None);
        let probe = segment(Flags::ACK, -1, 0, None);
        let old = segment(Flags::ACK, -100, 100, None);
        assert_eq!(verdict(&mut waiting, &at(&config, 0), &rst), "ack");
        assert_eq!(verdict(&mut waiting, &at(&config, 1), &rst), "ignore");
        assert_eq!(verdict(&mut waiting, &at(&config, 2), &probe), "ignore");
        assert_eq!(verdict(&mut waiting, &at(&config, 3), &old), "ack");
        assert_eq!(verdict(&mut waiting, &at(&config, 600), &probe), "ack");
    }

    /// RFC 1337 (F1).
    #[test]
    fn on_segment__rfc1337_ignores_rst() {
        let config = Config {
            rfc1337: true,
            ..Config::default()
        };
        let mut time_wait = TimeWait::new(&at(&config, 0), &open(None));
        let rst = segment(Flags::RST, 0, 0, None);
        assert_eq!(verdict(&mut time_wait, &at(&config, 0), &rst), "ignore");
    }

    #[test]
    fn on_segment__acks_are_limited_but_a_fin_is_always_answered() {
        let config = Config::default();
        let mut time_wait = TimeWait::new(&at(&config, 0), &open(None));
        let old = segment(Flags::ACK, -1, 0, None);
        let fin = segment(Flags::FIN_ACK, -1, 0, None);
        assert_eq!(verdict(&mut time_wait, &at(&config, 0), &old), "ack");
        assert_eq!(verdict(&mut time_wait, &at(&config, 1), &old), "ignore");
        assert_eq!(verdict(&mut time_wait, &at(&config, 2), &fin), "restart");
        assert_eq!(verdict(&mut time_wait, &at(&config, 3), &fin), "restart");
        assert_eq!(verdict(&mut time_wait, &at(&config, 600), &old), "ack");
    }

    /// RFC 9293 section 3.10.1 would never; RFC 6191 section 2 for how long the timestamps need.
    #[test]
    fn reuse__table() {
        let iss = SeqNum::new(SND).add(65537);
        // TS.Recent, tw_reuse, age in milliseconds, bound, reuse.
        type Row = (Option<u32>, u8, u64, bool, bool);
        let table: &[Row] = &[
            (Some(70), 1, 0, false, false),
            (Some(70), 1, 1_000, false, false),
            (Some(70), 1, 1_001, false, true),
            (Some(70), 2, 1_001, false, true),
            (Some(70), 1, 59_999, false, true),
            // TS.Recent may well be 0.
            (Some(0), 1, 1_001, false, true),
            // Never without timestamps.
            (None, 1, 59_999, false, false),
            (None, 1, 59_999, true, false),
            // Not asked for.
            (Some(70), 0, 59_999, false, false),
            // No other port to go to.
            (Some(70), 0, 0, true, true),
            (Some(70), 1, 0, true, true),
        ];
        for row in table {
            let (recent, tw_reuse, age, bound, expected) = *row;
            let config = Config {
                tw_reuse,
                ..Config::default()
            };
            // Not on a whole second, so that rounding would show.
            let time_wait = TimeWait::new(&at(&config, 700), &open(recent));
            let got = time_wait.reuse(&at(&config, 700 + age), bound);
            assert_eq!(got, expected.then_some(iss), "{row:?}");
        }
    }

    #[test]
    fn reuse__the_clock_comes_round() {
        let config = Config::default();
        let start = Instant::from_millis(u64::from(u32::MAX) - 500);
        let cx = |now| Context::new(now, &config);
        let time_wait = TimeWait::new(&cx(start), &open(Some(70)));
        let reuse = |millis| time_wait.reuse(&cx(start + Duration::from_millis(millis)), false);
        assert_eq!(reuse(1_000), None);
        assert!(reuse(1_001).is_some());
    }

    #[test]
    fn size() {
        assert!(size_of::<TimeWait>() <= 28 && align_of::<TimeWait>() <= 4);
    }
}
