// SPDX-License-Identifier: GPL-2.0

//! Whether a packet is the stated one.

use super::peer::Peer;
use crate::script::{Ace, Micros, PacketSpec, TcpSpec};
use crate::wire::{flag, Segment};

/// Whether `next` can follow `before` as a part of one stated segment, of which `left` bytes are missing.
pub(super) fn fragments(before: &Segment, next: &Segment, left: u32) -> Result<(), String> {
    let changing = flag::FIN | flag::PSH | flag::CWR;
    let same = before.len > 0
        && before.flags & !changing == next.flags & !changing
        && before.ack == next.ack
        && before.win == next.win
        && before.tos == next.tos
        && before.seq.wrapping_add(before.len) == next.seq
        && before.options.len() == next.options.len();
    if !same {
        return Err(format!("`{next}` does not go on where `{before}` ends"));
    }
    if next.len < left && next.len != before.len {
        return Err(format!(
            "`{before}`, then `{next}`: segments of different sizes"
        ));
    }
    Ok(())
}

/// Segments in a row as one: it begins as the first and ends as the last.
pub(super) fn join(segments: &[Segment]) -> Segment {
    let mut joined = segments[segments.len() - 1].clone();
    joined.seq = segments[0].seq;
    joined.flags = joined.flags & !flag::CWR | segments[0].flags & flag::CWR;
    joined.len = segments.iter().map(|segment| segment.len).sum();
    joined
}

/// Compares `actual`, with the script's sequence numbers, to what the script states. `times` are
/// microseconds per tick of TSval (0: it is not judged) and the tolerance.
pub(super) fn packet(
    spec: &PacketSpec,
    tcp: &TcpSpec,
    mut actual: Segment,
    peer: &mut Peer,
    times: (Micros, Micros),
) -> Result<(), String> {
    let mut expected = tcp.segment();
    let stated = expected.timestamps();
    peer.stamp(&mut actual, stated.map(|(val, _)| val));
    let differences = differences(spec, tcp, &mut expected, &actual, times);
    if differences.is_empty() {
        return Ok(());
    }
    // Those that are not stated are shown as they are.
    if tcp.win.is_none() {
        expected.win = actual.win;
    }
    if tcp.options.is_none() {
        expected.options.clone_from(&actual.options);
    }
    expected.tos = spec.ip.ecn.map_or(actual.tos, |ecn| ecn.bits());
    Err(format!(
        "{}: `{actual}`, expected `{expected}`",
        differences.join(", ")
    ))
}

fn differences(
    spec: &PacketSpec,
    tcp: &TcpSpec,
    expected: &mut Segment,
    actual: &Segment,
    (tick, tolerance): (Micros, Micros),
) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |same: bool, what: &str| {
        if !same {
            found.push(what.to_string());
        }
    };
    if let Some((a, b)) = spec.ports {
        check((a, b) == actual.ports, "ports");
    }
    check(
        spec.ip.ecn.is_none_or(|ecn| ecn.matches(actual.tos & 3)),
        "ECN",
    );
    check(spec.ip.tos.is_none_or(|tos| tos == actual.tos), "TOS");
    let ace = match tcp.ace {
        Ace::Counter => "ACE",
        Ace::Flags => "flags",
    };
    let ace_bits = flag::AE | flag::CWR | flag::ECE;
    check(expected.flags & ace_bits == actual.flags & ace_bits, ace);
    check(
        expected.flags & !ace_bits == actual.flags & !ace_bits,
        "flags",
    );
    check(expected.seq == actual.seq, "sequence number");
    check(expected.len == actual.len, "length");
    check(expected.ack == actual.ack, "acknowledgment");
    check(tcp.win.is_none_or(|win| win == actual.win), "window");
    check(expected.urg == actual.urg, "urgent pointer");
    if tcp.options.is_none() {
        return found;
    }
    if let (Some((val, ecr)), Some((actual_val, actual_ecr))) =
        (expected.timestamps(), actual.timestamps())
    {
        let apart = i64::from(actual_val.wrapping_sub(val) as i32).abs();
        check(ecr == actual_ecr, "TS ecr");
        check(tick == 0 || apart * tick <= tolerance, "TS val");
        expected.set_timestamps(val, ecr);
        let mut plain = actual.clone();
        plain.set_timestamps(val, ecr);
        check(expected.options == plain.options, "options");
    } else {
        check(expected.options == actual.options, "options");
    }
    found.dedup();
    found
}
