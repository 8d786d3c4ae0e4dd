// SPDX-License-Identifier: GPL-2.0
//! Connections that a buffer or a window makes slower than the path.
//!
//! What bounds a connection hides how fast the path is: no more is in flight than the buffer holds or the window lets out. So what is told
//! of it is the product of the rate and the round trip, which is what was in flight, beside the bound.

use super::{ends, of_which, some};
use crate::doctor::facts::Facts;
use crate::doctor::{Finding, Severity};
use crate::sockets::info::Info;
use crate::sockets::{Memory, Socket, State};
use crate::trace::explain::words::{bytes, duration};

/// Less says nothing about a connection's speed.
const BUSY_US: u64 = 1_000_000;
/// Percent of a connection's busy time that are worth a word.
const SHARE: u64 = 20;
/// Bytes that came; fewer say nothing about what more would do.
const RECEIVED: u64 = 1_000_000;
/// Below this round trip, in microseconds, buffers do not follow what is read (Linux's `tcp_rcvbuf_low_rtt`): it is not they that bound it.
const LOW_RTT_US: u32 = 1000;
/// The largest buffer that the module makes (`MAX_SEND_BUFFER`).
const LARGEST: u64 = 1 << 30;

/// A connection that something has bounded for that share of its time.
struct Limited<'a> {
    socket: &'a Socket,
    info: &'a Info,
    share: u64,
}

impl Limited<'_> {
    /// What was in flight, and what the connection is: all but the bound.
    fn evidence(&self, facts: &Facts, bound: &str) -> String {
        format!(
            "{}, {}: {} % of its time; round trip {}, {} a second: {} in flight, {bound}",
            ends(self.socket),
            facts.who(self.socket),
            self.share,
            duration(u64::from(self.info.rtt_us) * 1000),
            bytes(self.info.delivery_rate),
            bytes(product(self.info.delivery_rate, self.info.rtt_us)),
        )
    }

    fn memory(&self) -> Option<&Memory> {
        self.socket.memory.as_deref()
    }
}

/// Bytes of so many microseconds at that rate.
fn product(rate: u64, time_us: u32) -> u64 {
    let bytes = u128::from(rate) * u128::from(time_us) / 1_000_000;
    u64::try_from(bytes).unwrap_or(u64::MAX)
}

/// The most limited first.
fn limited(facts: &Facts, part: fn(&Info) -> u64) -> Vec<Limited<'_>> {
    let of = |socket| -> Option<Limited<'_>> {
        let socket: &Socket = socket;
        let info = socket.info.as_deref()?;
        let share = part(info).saturating_mul(100) / info.busy_us.max(1);
        let counts = socket.state != State::Listen && info.busy_us >= BUSY_US && share >= SHARE;
        counts.then_some(Limited {
            socket,
            info,
            share,
        })
    };
    let mut found: Vec<_> = facts.sockets.iter().filter_map(of).collect();
    found.sort_by_key(|limited| std::cmp::Reverse(limited.share));
    found
}

/// The most that buffers grow to, and the command that quadruples it.
fn most(facts: &Facts, setting: &str) -> Option<(u64, String)> {
    let [least, default, most] = facts.numbers(setting)[..] else {
        return None;
    };
    let more = most.saturating_mul(4).min(LARGEST);
    Some((
        most,
        format!("oxtcp set {setting}='{least} {default} {more}'"),
    ))
}

pub fn send_buffer(facts: &Facts) -> Vec<Finding> {
    let (most, command) = most(facts, "wmem").unwrap_or((u64::MAX, String::new()));
    let is_grown = |limited: &Limited| {
        limited
            .memory()
            .is_some_and(|memory| u64::from(memory.sndbuf) >= most)
    };
    let (grown, others): (Vec<Limited>, Vec<Limited>) =
        limited(facts, |info| info.sndbuf_limited_us)
            .into_iter()
            .partition(is_grown);
    let finding = |connections: &[Limited], most: &str, meaning: &str, mend: String| {
        let lines = connections.iter().map(|limited| {
            let buffer = limited.memory().map_or(0, |memory| memory.sndbuf);
            limited.evidence(facts, &format!("a send buffer of {}", bytes(buffer.into())))
        });
        (!connections.is_empty()).then(|| Finding {
            severity: Severity::Note,
            name: "send-buffer",
            title: format!(
                "{} the send buffer{most} is what bounds the speed",
                of_which(connections.len())
            ),
            evidence: some(lines),
            meaning: format!(
                "A connection carries at most its buffer in a round trip, less what the packets take beside their data. {meaning}"
            ),
            mend,
        })
    };
    let at_most = finding(
        &grown,
        ", at wmem's most,",
        "It has grown as far as it may: the path would carry more.",
        format!("{command}, or all that belongs to it: oxtcp profile apply long-fat-network. Buffers that there are grow on"),
    );
    let below = finding(
        &others,
        "",
        "Buffers grow by themselves up to the last number of wmem, which this one has not reached: the program has set SO_SNDBUF, as a rule.",
        "Leave SO_SNDBUF out of the program (strace -e trace=setsockopt shows it), or let it set bandwidth times round trip".into(),
    );
    at_most.into_iter().chain(below).collect()
}

pub fn receive_window(facts: &Facts) -> Vec<Finding> {
    let receiving = limited(facts, |info| info.rwnd_limited_us);
    if receiving.is_empty() {
        return Vec::new();
    }
    let lines = receiving.iter().map(|limited| {
        let window = u64::from(limited.info.snd_wnd);
        limited.evidence(facts, &format!("a window of {}", bytes(window)))
    });
    vec![Finding {
        severity: Severity::Note,
        name: "receive-window",
        title: format!("{} the other side's receive window is what bounds the speed", of_which(receiving.len())),
        evidence: some(lines),
        meaning: "The program there reads slower than data could come, or its receive buffer is smaller than bandwidth times round trip. A \
                  window that is small, or comes and goes (oxtcp ss -i: snd_wnd), is a slow program's; one that stays as large as what is in \
                  flight a small buffer's."
            .into(),
        mend: "On the other side a faster reader, or a larger buffer: oxtcp profile apply long-fat-network where that is oxtcp (its rmem), \
               the third number of net.ipv4.tcp_rmem where not; and no SO_RCVBUF in the program there."
            .into(),
    }]
}

/// A connection whose receive buffer has grown as far as it may, while its program reads all that this lets in.
fn is_full_grown(socket: &Socket, info: &Info, most: u64) -> bool {
    let buffer = socket.memory.as_ref().map_or(0, |memory| memory.rcvbuf);
    // Of an empty buffer.
    let window = u64::from(info.rcv_wnd) + u64::from(socket.recv_queue);
    let reads = u64::from(info.rcv_space);
    socket.state == State::Established
        && u64::from(buffer) >= most
        && info.bytes_received >= RECEIVED
        && info.rcv_rtt_us >= LOW_RTT_US
        // As the module's `autotune.rs` has it, a sender is to find room for twice what is read in a round trip.
        && reads.saturating_mul(2) > window
        && u64::from(socket.recv_queue) * 2 < window
}

pub fn receive_buffer(facts: &Facts) -> Vec<Finding> {
    let Some((most, command)) = most(facts, "rmem") else {
        return Vec::new();
    };
    let rate =
        |info: &Info| u64::from(info.rcv_space) * 1_000_000 / u64::from(info.rcv_rtt_us.max(1));
    let mut grown: Vec<(u64, &Socket, &Info)> = facts
        .sockets
        .iter()
        .filter_map(|socket| Some((socket, socket.info.as_deref()?)))
        .filter(|(socket, info)| is_full_grown(socket, info, most))
        .map(|(socket, info)| (rate(info), socket, info))
        .collect();
    if grown.is_empty() {
        return Vec::new();
    }
    grown.sort_by_key(|(rate, ..)| std::cmp::Reverse(*rate));
    let lines = grown.iter().map(|(rate, socket, info)| {
        format!(
            "{}, {}: round trip {}, {} a second: {} read in one, a window of {}, a receive buffer of {}",
            ends(socket),
            facts.who(socket),
            duration(u64::from(info.rcv_rtt_us) * 1000),
            bytes(*rate),
            bytes(info.rcv_space.into()),
            bytes(info.rcv_wnd.into()),
            bytes(most)
        )
    });
    vec![Finding {
        severity: Severity::Note,
        name: "receive-buffer",
        title: format!(
            "{} the receive buffer, at rmem's most, bounds the speed",
            of_which(grown.len())
        ),
        evidence: some(lines),
        meaning: "The program reads in a round trip about all that the window lets in; the buffer would be larger if it might. The other side \
                  would send more, if the path carries it."
            .into(),
        mend: format!("{command}, or all that belongs to it: oxtcp profile apply long-fat-network. Buffers that there are grow on"),
    }]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::doctor::checks::tests::{found, socket, well};

    /// Ten seconds of work; 100 ms and 4 MB/s are 400 kB in flight.
    fn connection(info: Info, memory: Memory) -> Socket {
        let mut socket = socket(State::Established, "127.0.0.1:80", "127.0.0.1:1", 3);
        socket.info = Some(Box::new(Info {
            busy_us: 10_000_000,
            rtt_us: 100_000,
            delivery_rate: 4_000_000,
            snd_wnd: 420_000,
            ..info
        }));
        socket.memory = Some(Box::new(memory));
        socket
    }

    #[test]
    fn buffers_that_bound_the_speed() {
        for (sndbuf_limited_us, rwnd_limited_us, expected) in [
            (5_000_000, 1_000_000, Some("send-buffer")),
            (1_999_999, 1_999_999, None),
            (1_000_000, 2_000_000, Some("receive-window")),
        ] {
            let mut facts = well();
            let info = Info {
                sndbuf_limited_us,
                rwnd_limited_us,
                ..Info::default()
            };
            facts.sockets.push(connection(info, Memory::default()));
            let expected: Vec<_> = expected
                .into_iter()
                .map(|name| (Severity::Note, name))
                .collect();
            assert_eq!(found(&facts), expected);
            // A second is not known yet.
            if let Some(info) = &mut facts.sockets[0].info {
                info.busy_us = 999_999;
            }
            assert_eq!(found(&facts), []);
        }
    }

    #[test]
    fn send_buffers_by_who_bounds_them() {
        let mut facts = well();
        let info = Info {
            sndbuf_limited_us: 5_000_000,
            ..Info::default()
        };
        for sndbuf in [4_194_304, 500_000] {
            let memory = Memory {
                sndbuf,
                ..Memory::default()
            };
            facts.sockets.push(connection(info, memory));
        }
        let [grown, fixed] = &send_buffer(&facts)[..] else {
            panic!("{:?}", send_buffer(&facts));
        };
        assert!(
            grown.evidence[0].ends_with(
                "50 % of its time; round trip 100 ms, 4.0 MB a second: 400 kB in flight, a send buffer of 4.2 MB"
            ),
            "{grown:?}"
        );
        assert!(
            grown
                .mend
                .starts_with("oxtcp set wmem='4096 16384 16777216', or"),
            "{grown:?}"
        );
        assert!(fixed.evidence[0].ends_with("of 500 kB"), "{fixed:?}");
        assert!(fixed.mend.starts_with("Leave SO_SNDBUF out"), "{fixed:?}");
    }

    #[test]
    fn windows_are_told_beside_what_is_in_flight() {
        let mut facts = well();
        let info = Info {
            rwnd_limited_us: 9_000_000,
            ..Info::default()
        };
        facts.sockets.push(connection(info, Memory::default()));
        let finding = receive_window(&facts).remove(0);
        assert!(
            finding.evidence[0].ends_with(
                "90 % of its time; round trip 100 ms, 4.0 MB a second: 400 kB in flight, a window of 420 kB"
            ),
            "{finding:?}"
        );
    }

    #[test]
    fn receive_buffers_at_their_most() {
        // What is read in a round trip, the window, what waits, the buffer.
        for (rcv_space, rcv_wnd, waits, rcvbuf, rcv_rtt_us, expected) in [
            (9_000_000, 16_000_000, 0, 33_554_432, 50_000, true),
            (7_000_000, 16_000_000, 0, 33_554_432, 50_000, false),
            (9_000_000, 16_000_000, 0, 33_554_431, 50_000, false),
            (9_000_000, 16_000_000, 0, 33_554_432, 999, false),
            // The program is slow.
            (9_000_000, 4_000_000, 12_000_000, 33_554_432, 50_000, false),
        ] {
            let mut facts = well();
            let info = Info {
                bytes_received: RECEIVED,
                rcv_space,
                rcv_wnd,
                rcv_rtt_us,
                ..Info::default()
            };
            let memory = Memory {
                rcvbuf,
                ..Memory::default()
            };
            let mut socket = connection(info, memory);
            socket.recv_queue = waits;
            facts.sockets.push(socket);
            let names: Vec<_> = expected
                .then_some((Severity::Note, "receive-buffer"))
                .into_iter()
                .collect();
            assert_eq!(found(&facts), names, "{rcv_space} {rcv_wnd} {waits}");
            if let Some(finding) = receive_buffer(&facts).first() {
                assert!(
                    finding.evidence[0].ends_with(
                        "round trip 50.0 ms, 180.0 MB a second: 9.0 MB read in one, a window of 16.0 MB, a receive buffer of 33.6 MB"
                    ),
                    "{finding:?}"
                );
                assert!(
                    finding
                        .mend
                        .starts_with("oxtcp set rmem='4096 131072 134217728'"),
                    "{finding:?}"
                );
            }
        }
    }
}
