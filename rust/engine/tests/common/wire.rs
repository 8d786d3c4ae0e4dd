// SPDX-License-Identifier: GPL-2.0
//! Headers and options, read and written: whatever the bytes are, what was understood can be written and is then understood
//! alike; and a second reader, written from the RFCs alone, understands the same.

use oxtcp_engine::wire::{Flags, Header, Options, SackBlocks, Timestamps, WindowScale};
use oxtcp_engine::{SeqNum, SeqRange};

/// What the fuzzer runs: any bytes, as options, as a header, and as choices of which options are to be written.
pub fn run(bytes: &[u8]) {
    check_options(bytes);
    check_header(bytes);
    check_emission(&chosen(bytes));
}

/// Reads options in both ways, writes what was understood, and reads that.
pub fn check_options(bytes: &[u8]) {
    let options = Options::parse(bytes);
    assert_eq!(options, reference(bytes), "{bytes:02x?}");
    assert!(options.mss != Some(0));
    assert!(options.window_scale.is_none_or(|scale| scale.get() <= 14));
    check_emission(&options);
}

/// What is written is read as the same, however much room there is for it.
pub fn check_emission(options: &Options) {
    let mut expected = *options;
    expected.sack.truncate(options.sack_that_fits());
    let mut out = [0xee; 48];
    let len = options.emit(&mut out[..40]);
    assert_eq!(len, options.wire_len(), "{options:?}");
    assert!(len <= 40 && len % 4 == 0, "{options:?}");
    assert!(out[len..].iter().all(|byte| *byte == 0xee), "{options:?}");
    assert_eq!(Options::parse(&out[..len]), expected);
    assert_eq!(reference(&out[..len]), expected);
}

pub fn check_header(bytes: &[u8]) {
    let Ok(header) = Header::parse(bytes) else {
        let whole = Header::data_offset(bytes).is_ok_and(|len| len <= bytes.len());
        assert!(!whole || bytes.len() < 20, "{bytes:02x?}");
        return;
    };
    let offset = Header::data_offset(bytes).map_or(0, |len| len);
    assert!((20..=60).contains(&offset) && offset <= bytes.len());
    assert_eq!(header.flags, Flags::from_bits(bytes[13]));
    let mut known = reference(&bytes[20..offset]);
    if !header.flags.syn() {
        known.mss = None;
        known.window_scale = None;
        known.sack_permitted = false;
    }
    assert_eq!(header.options, known, "{bytes:02x?}");
    let mut out = [0; 60];
    let len = header.emit(&mut out);
    let mut again = header;
    again.options.sack.truncate(header.options.sack_that_fits());
    // Sent as zero, always.
    again.reserved = false;
    assert_eq!(Header::parse(&out[..len]), Ok(again));
}

/// Options by choice: the first byte says which, the others what is in them.
fn chosen(bytes: &[u8]) -> Options {
    let (which, rest) = bytes
        .split_first()
        .map_or((0, bytes), |(b, rest)| (*b, rest));
    let mut words = rest.chunks(4).map(|chunk| {
        let mut word = [0; 4];
        word[..chunk.len()].copy_from_slice(chunk);
        u32::from_be_bytes(word)
    });
    let mut word = move || words.next().unwrap_or(0);
    let mut sack = SackBlocks::new();
    for _ in 0..usize::from(which >> 5).min(SackBlocks::MAX) {
        sack.push(SeqRange::new(SeqNum::new(word()), word()));
    }
    Options {
        mss: (which & 1 != 0).then(|| (word() as u16).max(1)),
        window_scale: (which & 2 != 0).then(|| WindowScale::new(word() as u8)),
        sack_permitted: which & 4 != 0,
        timestamps: (which & 8 != 0).then(|| Timestamps {
            val: word(),
            ecr: word(),
        }),
        sack,
        ..Options::default()
    }
}

/// The second reader, by RFC 9293 section 3.1, RFC 7323 and RFC 2018: slow and plain.
pub fn reference(bytes: &[u8]) -> Options {
    let mut options = Options::default();
    let word = |at: usize| {
        let byte = |i: usize| u32::from(bytes[at + i]);
        (byte(0) << 24) | (byte(1) << 16) | (byte(2) << 8) | byte(3)
    };
    let mut at = 0;
    while at < bytes.len() {
        let kind = bytes[at];
        if kind == 0 {
            break;
        }
        if kind == 1 {
            at += 1;
            continue;
        }
        if at + 1 >= bytes.len() {
            break;
        }
        let len = usize::from(bytes[at + 1]);
        if len < 2 || at + len > bytes.len() {
            break;
        }
        if kind == 2 && len == 4 {
            let mss = (u16::from(bytes[at + 2]) << 8) | u16::from(bytes[at + 3]);
            if mss > 0 {
                options.mss = Some(mss);
            }
        }
        if kind == 3 && len == 3 {
            // RFC 7323 section 2.3: "should use 14".
            options.window_scale = Some(WindowScale::new(bytes[at + 2].min(14)));
        }
        if kind == 4 && len == 2 {
            options.sack_permitted = true;
        }
        if kind == 5 && len > 2 && (len - 2) % 8 == 0 {
            options.sack = SackBlocks::new();
            for block in 0..((len - 2) / 8).min(4) {
                let left = word(at + 2 + block * 8);
                let right = word(at + 6 + block * 8);
                let range = SeqRange::new(SeqNum::new(left), right.wrapping_sub(left));
                options.sack.push(range);
            }
        }
        if kind == 8 && len == 10 {
            options.timestamps = Some(Timestamps {
                val: word(at + 2),
                ecr: word(at + 6),
            });
        }
        at += len;
    }
    options
}
