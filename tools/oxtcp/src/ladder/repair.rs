// SPDX-License-Identifier: GPL-2.0
//! What belongs to a loss: what went lost, the acknowledgments that tell of it, what was sent again, and what acknowledges that.

use std::ops::Range;

use super::rung::{Arrival, Rung, FEW};
use super::tracker::Remark;

/// Which rungs of a stretch tell of its losses and of what else stands out: all of them where these are few, else of the first few.
pub fn shown(stretch: &[Rung]) -> Vec<bool> {
    let mut shown = vec![false; stretch.len()];
    let mut stories = 0;
    for (place, rung) in stretch.iter().enumerate() {
        // What belongs to a loss before is shown with that.
        if !rung.stands_out() || shown[place] {
            continue;
        }
        if stories == FEW {
            break;
        }
        stories += 1;
        for place in story(stretch, place) {
            shown[place] = true;
        }
    }
    shown
}

/// The places of what belongs to a rung that stands out.
fn story(stretch: &[Rung], place: usize) -> Vec<usize> {
    let rung = &stretch[place];
    let mut places = vec![place];
    let Some(again) = resending(stretch, place) else {
        return places;
    };
    places.push(again);
    let hole = range(&stretch[again]);
    let mine = |place: &usize| stretch[*place].side == rung.side;
    let before = (0..again).rev().filter(mine);
    // Where the hole begins: what was lost or, if that passed unseen, what came before it and after it.
    let first = match before
        .clone()
        .find(|at| overlap(&range(&stretch[*at]), &hole))
    {
        Some(sent) => sent,
        None => {
            let below = |at: &usize| stretch[*at].numbers.seq < hole.start;
            let last = before.clone().find(below).unwrap_or(again);
            let behind = (last + 1..again).filter(mine);
            places.extend(behind.clone().find(|at| stretch[*at].numbers.len > 0));
            last
        }
    };
    places.push(first);
    let tells = |at: &usize| {
        let rung = &stretch[*at];
        !mine(at) && rung.arrival != Arrival::Lost && rung.remark == Some(Remark::DuplicateAck)
    };
    places.extend((first..again).filter(tells).take(FEW));
    let closes = |at: &usize| {
        let rung = &stretch[*at];
        !mine(at) && rung.arrival != Arrival::Lost && rung.numbers.ack >= hole.end
    };
    places.extend((again + 1..stretch.len()).find(closes));
    places
}

/// What was sent again: the rung itself, or a later one if this one was lost.
fn resending(stretch: &[Rung], place: usize) -> Option<usize> {
    let rung = &stretch[place];
    if rung.is_repeated() {
        return Some(place);
    }
    let lost = range(rung);
    (place + 1..stretch.len()).find(|at| {
        let later = &stretch[*at];
        rung.is_lost()
            && later.side == rung.side
            && later.is_repeated()
            && overlap(&range(later), &lost)
    })
}

fn range(rung: &Rung) -> Range<i64> {
    rung.numbers.seq..rung.numbers.seq + rung.numbers.len
}

fn overlap(left: &Range<i64>, right: &Range<i64>) -> bool {
    left.start < right.end && right.start < left.end
}
