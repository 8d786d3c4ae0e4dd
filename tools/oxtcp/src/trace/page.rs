// SPDX-License-Identifier: GPL-2.0
//! The kernel's ring buffer, page by page: from the bytes of `trace_pipe_raw` to records with their times
//! (`Documentation/trace/ring-buffer-design.rst`, `include/linux/ring_buffer.h`).

use super::format::Page;

/// Events were lost before this page.
const MISSED: u64 = 1 << 31;
/// How many stands behind the records.
const MISSED_STORED: u64 = 1 << 30;

/// The kinds of entries that are no records.
const PADDING: u32 = 29;
const TIME_EXTEND: u32 = 30;
const TIME_STAMP: u32 = 31;

/// Bits of a time in an entry's first word, and in a time stamp.
const DELTA_BITS: u32 = 27;
const STAMP_BITS: u32 = DELTA_BITS + 32;

/// What was lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lost {
    Nothing,
    /// So many events.
    Events(u64),
    /// Some.
    Some,
}

/// Calls `record` for each record of a page, with its time; says what was lost before. Ends at what cannot be.
pub fn records(bytes: &[u8], layout: &Page, mut record: impl FnMut(u64, &[u8])) -> Lost {
    let Some((mut time, commit, data)) = head(bytes, layout) else {
        return Lost::Nothing;
    };
    let len = (commit & !(MISSED | MISSED_STORED)) as usize & 0xfff_ffff;
    let lost = match (commit & MISSED != 0, commit & MISSED_STORED != 0) {
        (false, _) => Lost::Nothing,
        (true, false) => Lost::Some,
        (true, true) => match number(data, len, layout.commit.size) {
            Some(count) => Lost::Events(count),
            None => Lost::Some,
        },
    };
    let mut rest = data.get(..len).unwrap_or(data);
    while let Some(first) = word(rest, 0) {
        let (kind, delta) = split(first);
        let (skip, size) = match kind {
            PADDING => match (delta, word(rest, 4)) {
                // The page's rest.
                (0, _) | (_, None) => break,
                (_, Some(len)) => (4, len as usize),
            },
            TIME_EXTEND => {
                let Some(high) = word(rest, 4) else {
                    break;
                };
                time = time.wrapping_add(delta | (u64::from(high) << DELTA_BITS));
                (8, 0)
            }
            TIME_STAMP => {
                let Some(high) = word(rest, 4) else {
                    break;
                };
                // The upper bits have not changed since the page began.
                let upper = time >> STAMP_BITS << STAMP_BITS;
                time = upper | delta | (u64::from(high) << DELTA_BITS);
                (8, 0)
            }
            0 => {
                time = time.wrapping_add(delta);
                let Some(len) = word(rest, 4).and_then(|len| (len as usize).checked_sub(4)) else {
                    break;
                };
                let Some(bytes) = rest.get(8..).and_then(|rest| rest.get(..len)) else {
                    break;
                };
                record(time, bytes);
                (8, len.next_multiple_of(4))
            }
            words => {
                time = time.wrapping_add(delta);
                let len = words as usize * 4;
                let Some(bytes) = rest.get(4..4 + len) else {
                    break;
                };
                record(time, bytes);
                (4, len)
            }
        };
        rest = rest
            .get(skip..)
            .and_then(|rest| rest.get(size..))
            .unwrap_or(&[]);
    }
    lost
}

fn head<'a>(bytes: &'a [u8], layout: &Page) -> Option<(u64, u64, &'a [u8])> {
    Some((
        number(bytes, layout.timestamp.offset, layout.timestamp.size)?,
        number(bytes, layout.commit.offset, layout.commit.size)?,
        bytes.get(layout.data.offset..)?,
    ))
}

fn number(bytes: &[u8], at: usize, size: usize) -> Option<u64> {
    let bytes = bytes.get(at..)?.get(..size)?;
    match size {
        4 => Some(u64::from(u32::from_ne_bytes(bytes.try_into().ok()?))),
        8 => Some(u64::from_ne_bytes(bytes.try_into().ok()?)),
        _ => None,
    }
}

fn word(bytes: &[u8], at: usize) -> Option<u32> {
    let four = bytes.get(at..)?.get(..4)?;
    Some(u32::from_ne_bytes(four.try_into().ok()?))
}

/// An entry's first word is a bit field: 5 bits of kind, 27 of time.
fn split(first: u32) -> (u32, u64) {
    if cfg!(target_endian = "little") {
        (first & 31, u64::from(first >> 5))
    } else {
        (
            first >> DELTA_BITS,
            u64::from(first & ((1 << DELTA_BITS) - 1)),
        )
    }
}

#[cfg(test)]
pub mod tests {
    use super::super::format::tests::HEADER_PAGE;
    use super::*;

    /// A page of these words.
    fn page(time: u64, flags: u64, words: &[u32]) -> Vec<u8> {
        let mut bytes = time.to_ne_bytes().to_vec();
        bytes.extend(((words.len() as u64 * 4) | flags).to_ne_bytes());
        bytes.extend(words.iter().flat_map(|word| word.to_ne_bytes()));
        bytes
    }

    fn first(kind: u32, delta: u32) -> u32 {
        if cfg!(target_endian = "little") {
            kind | (delta << 5)
        } else {
            (kind << DELTA_BITS) | delta
        }
    }

    fn read(bytes: &[u8]) -> (Vec<(u64, Vec<u8>)>, Lost) {
        let layout = Page::parse(HEADER_PAGE).unwrap();
        let mut all = Vec::new();
        let lost = records(bytes, &layout, |time, bytes| {
            all.push((time, bytes.to_vec()))
        });
        (all, lost)
    }

    #[test]
    fn records_of_every_kind() {
        let words = [
            first(1, 10),
            7,
            // Time goes on by 2^27 and 5.
            first(TIME_EXTEND, 5),
            1,
            // A record that is not there any more.
            first(PADDING, 1),
            8,
            0,
            first(0, 1),
            4 + 6,
            9,
            9,
            // The time, absolute.
            first(TIME_STAMP, 3),
            2,
            first(2, 0),
            1,
            2,
            first(PADDING, 0),
            77,
        ];
        let (all, lost) = read(&page(1000, 0, &words));
        assert_eq!(lost, Lost::Nothing);
        let times: Vec<u64> = all.iter().map(|(time, _)| *time).collect();
        let later = 1010 + (1 << 27) + 5 + 1;
        assert_eq!(times, [1010, later, 3 + (2 << 27)]);
        let lens: Vec<usize> = all.iter().map(|(_, bytes)| bytes.len()).collect();
        assert_eq!(lens, [4, 6, 8]);
    }

    #[test]
    fn records_lost_ones() {
        assert_eq!(read(&page(1, MISSED, &[first(1, 0), 1])).1, Lost::Some);
        let mut told = page(1, MISSED | MISSED_STORED, &[first(1, 0), 1]);
        told.extend(41u64.to_ne_bytes());
        let (all, lost) = read(&told);
        assert_eq!((all.len(), lost), (1, Lost::Events(41)));
        told.truncate(told.len() - 1);
        assert_eq!(read(&told).1, Lost::Some);
    }

    #[test]
    fn records_whatever_comes() {
        // No input panics, and each record lies within the page.
        let mut state = 1u64;
        for len in 0..600 {
            let bytes: Vec<u8> = (0..len)
                .map(|_| {
                    state = state
                        .wrapping_mul(6364136223846793005)
                        .wrapping_add(1442695040888963407);
                    (state >> 56) as u8
                })
                .collect();
            let (all, _) = read(&bytes);
            assert!(all.iter().map(|(_, record)| record.len()).sum::<usize>() <= len);
        }
    }
}
