// SPDX-License-Identifier: GPL-2.0

//! Tests of the records: cutting, merging, forgetting, and the sums.

use super::records::*;
use crate::seq::{SeqNum, SeqRange};
use std::vec::Vec;

const fn s(n: u32) -> SeqNum {
    SeqNum::new(n)
}

fn r(start: u32, end: u32) -> SeqRange {
    SeqRange::between(s(start), s(end))
}

/// Ten records of 1000 octets, 10 us apart.
fn ten() -> Records {
    let mut records = Records::new(s(0));
    for i in 1..=10 {
        records.push(s(i * 1000), i * 10, 0);
    }
    records
}

fn sack(records: &mut Records, start: u32, end: u32) -> u32 {
    let mut newly = 0;
    records.sack(r(start, end), |run| newly += run.range.len);
    check(records);
    newly
}

fn marks(records: &Records) -> Vec<(u32, u32, Marks)> {
    records
        .iter()
        .map(|run| {
            (
                run.range.start.get(),
                run.range.end().get(),
                run.record.marks,
            )
        })
        .collect()
}

/// The invariants.
fn check(records: &Records) {
    let mut next = records.start();
    let (mut sacked, mut lost, mut resent) = (0, 0, 0);
    let mut before = Marks::SENT;
    for run in records.iter() {
        assert_eq!(run.range.start, next);
        assert!(run.range.is_plausible(), "{run:?}");
        next = run.range.end();
        let marks = run.record.marks;
        sacked += run.range.len * u32::from(marks.has(Marks::SACKED));
        lost += run.range.len * u32::from(marks.has(Marks::LOST));
        resent += run.range.len * u32::from(marks.has(Marks::RESENT));
        assert!(!(before == Marks::SACKED && marks == Marks::SACKED));
        before = marks;
    }
    assert_eq!(next, records.end());
    assert_eq!(
        (records.sacked(), records.lost(), records.resent()),
        (sacked, lost, resent)
    );
    assert!(records.len() <= Records::CAPACITY);
}

/// RFC 8985 section 6.2 step 5: whether a copy is lost depends on what was sent before it, and what after.
#[test]
fn push__and_resend_keep_their_order() {
    let mut records = Records::new(s(0));
    records.push(s(3000), 100, 50);
    records.push(s(4000), 110, 50);
    for index in 0..records.len() {
        records.lose(index);
    }
    records.push(s(5000), 120, 50);
    records.resend(r(0, 1000), 130, 50);
    // Close to both, and on the other side of the copy.
    records.push(s(6000), 140, 50);
    records.push(s(7000), 141, 50);
    records.resend(r(1000, 2000), 150, 50);
    records.resend(r(2000, 3000), 151, 50);
    check(&records);
    let times: Vec<_> = records
        .iter()
        .map(|run| (run.range.end().get(), run.record.at))
        .collect();
    assert_eq!(
        times,
        [
            (1000, 130),
            (3000, 151),
            (4000, 110),
            (5000, 120),
            (7000, 141)
        ]
    );
}

/// RFC 8985 section 5.2 has a time for every segment.
#[test]
fn push__what_is_sent_together_is_one_record() {
    let mut records = Records::new(s(0));
    for i in 0..10 {
        records.push(s(i * 100 + 100), i * 4, 10);
    }
    // 0, 4, 8 are within 10; so are 12, 16, 20, and 24, 28, 32; 36 begins anew.
    let ends: Vec<_> = records.iter().map(|run| run.range.end().get()).collect();
    assert_eq!(ends, [300, 600, 900, 1000]);
    let first = records.get(0).unwrap().record;
    assert_eq!((first.at, first.span), (8, 8));
    check(&records);
}

#[test]
fn pop_acked__takes_and_trims() {
    let mut records = ten();
    assert_eq!(sack(&mut records, 2000, 3000), 1000);
    let mut popped = Vec::new();
    while let Some(run) = records.pop_acked(s(3500)) {
        popped.push((run.range.start.get(), run.range.len, run.record.marks));
    }
    assert_eq!(
        popped,
        [
            (0, 1000, Marks::SENT),
            (1000, 1000, Marks::SENT),
            (2000, 1000, Marks::SACKED),
            (3000, 500, Marks::SENT)
        ]
    );
    assert_eq!(records.start(), s(3500));
    assert_eq!(records.sacked(), 0);
    assert_eq!(records.pipe(), 6500);
    check(&records);
    while records.pop_acked(s(10_000)).is_some() {}
    assert!(records.is_empty());
    assert_eq!((records.start(), records.end()), (s(10_000), s(10_000)));
}

#[test]
fn sack__cuts_joins_and_reports_once() {
    let mut records = ten();
    assert_eq!(sack(&mut records, 2500, 4500), 2000);
    assert_eq!(sack(&mut records, 2500, 4500), 0);
    assert_eq!(sack(&mut records, 2000, 5000), 1000);
    assert_eq!(sack(&mut records, 7000, 8000), 1000);
    assert_eq!(sack(&mut records, 1000, 9000), 4000);
    assert_eq!(
        marks(&records),
        [
            (0, 1000, Marks::SENT),
            (1000, 9000, Marks::SACKED),
            (9000, 10_000, Marks::SENT)
        ]
    );
    assert_eq!(records.pipe(), 2000);
}

#[test]
fn lost_and_sent_again() {
    let mut records = ten();
    sack(&mut records, 4000, 10_000);
    let lost: u32 = (0..4).map(|index| records.lose(index)).sum();
    assert_eq!((lost, records.pipe()), (4000, 0));
    assert_eq!(records.first_hole(), Some(0));
    records.resend(r(0, 1500), 200, 0);
    check(&records);
    assert_eq!(records.first_hole(), Some(1));
    assert_eq!(records.get(1).unwrap().range, r(1500, 2000));
    assert_eq!(records.pipe(), 1500);
    // Close in time: one record. And over what the peer has, which stays.
    records.resend(r(1500, 4500), 205, 10);
    check(&records);
    assert_eq!(records.len(), 2);
    assert_eq!(records.pipe(), 4000);
    assert_eq!(records.first_hole(), None);
    // The copy is lost, too.
    assert_eq!(records.lose(0), 4000);
    assert_eq!((records.pipe(), records.first_hole()), (0, Some(0)));
    records.find_all();
    assert_eq!((records.pipe(), records.lost()), (4000, 0));
    records.forget_reports();
    assert_eq!(records.pipe(), 10_000);
    check(&records);
}

#[test]
fn lose_first__a_segment() {
    let mut records = Records::new(s(0));
    records.push(s(10_000), 1, 0);
    assert_eq!(records.lose_first(1000), 1000);
    assert_eq!(records.lose_first(1000), 0);
    assert_eq!(records.len(), 2);
    assert_eq!(records.pipe(), 9000);
    check(&records);
}

/// With every other segment reported there is no room for all; what is left over is forgotten, and all of it stays
/// accounted for.
#[test]
fn full__forgets_and_stays_whole() {
    let mut records = Records::new(s(0));
    for i in 1..=1000 {
        records.push(s(i * 1000), i * 10, 0);
        check(&records);
    }
    assert!(records.len() <= Records::CAPACITY);
    for i in 0..500 {
        sack(&mut records, i * 2000 + 1000, i * 2000 + 2000);
    }
    assert!(records.sacked() >= 45_000, "{}", records.sacked());
    for index in 0..records.len() {
        if !records.get(index).unwrap().record.marks.has(Marks::SACKED) {
            records.lose(index);
        }
    }
    let mut at = 1_000_000;
    while let Some(index) = records.first_hole() {
        let hole = records.get(index).unwrap().range;
        at += 7;
        records.resend(SeqRange::new(hole.start, hole.len.min(1000)), at, 0);
        check(&records);
        assert!(at < 1_020_000);
    }
    for i in 1..=1000 {
        while records.pop_acked(s(i * 1000)).is_some() {}
        check(&records);
    }
    assert!(records.is_empty());
}

/// Records that alternate in every way still leave room.
#[test]
fn make_room__always_finds_some() {
    let mut records = Records::new(s(0));
    for i in 0..Records::CAPACITY as u32 {
        records.push(s((i + 1) * 10), i, 0);
    }
    for index in (0..Records::CAPACITY).step_by(2) {
        records.lose(index);
    }
    for extra in 0..50 {
        let len = records.len();
        records.push(records.end().add(10), 1000 + extra * 100, 0);
        assert!(records.len() <= len.max(Records::CAPACITY));
        check(&records);
    }
}

#[test]
fn ring__across_its_end_and_the_wrap_of_numbers() {
    let mut records = Records::new(s(u32::MAX - 4000));
    let mut end = records.start();
    for i in 0..1000u32 {
        end = end.add(100);
        records.push(end, i.wrapping_mul(0x0100_0000), 0);
        if records.len() > 50 {
            let ack = records.start().add(150);
            while records.pop_acked(ack).is_some() {}
        }
        if i % 3 == 0 {
            let start = records.start().add(300);
            records.sack(SeqRange::new(start, 100), |_| {});
        }
        check(&records);
    }
}
