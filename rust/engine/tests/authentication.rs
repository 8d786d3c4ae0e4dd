// SPDX-License-Identifier: GPL-2.0
//! The layout of what TCP-AO makes sums of (`wire::kdf_input`, `wire::mac_input`), with the packets of RFC 9235. The two algorithms
//! stand here as their standards have them: the kernel's are the kernel's to test.

// Tests are named function__case, and may panic.
#![allow(
    non_snake_case,
    clippy::arithmetic_side_effects,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::unwrap_used
)]

use oxtcp_engine::wire::{kdf_input, mac_input, Ends, Header, Signed};
use Algorithm::{AesCmac, HmacSha1};

#[derive(Clone, Copy)]
enum Algorithm {
    HmacSha1,
    AesCmac,
}

struct Vector {
    /// Of RFC 9235.
    section: &'static str,
    algorithm: Algorithm,
    /// Whether the other options are signed too.
    whole: bool,
    /// The sender's, and the receiver's.
    isns: (u32, u32),
    traffic_key: &'static str,
    packet: &'static str,
}

const MASTER_KEY: &[u8] = b"testvector";

const VECTORS: &[Vector] = &[
    Vector {
        section: "4.1.1",
        algorithm: HmacSha1,
        whole: true,
        isns: (0xfbfbab5a, 0x0),
        traffic_key: "6d63ef1b02fe1509d4b1402707fd7b0416abb74f",
        packet: "45e0004cdd0f4000ff06bf6b0a0b0c0dac1b1c1de9d700b3fbfbab5a00000000e002ffffcac40000020405b4010303080402 \
         080a00155ab7000000001d103d542ee437c6f8ede6d7c4d602e7",
    },
    Vector {
        section: "4.1.2",
        algorithm: HmacSha1,
        whole: true,
        isns: (0x11c14261, 0xfbfbab5a),
        traffic_key: "d9e217e4834a80ca2f3fd8de2e41b8e6797fea96",
        packet: "45e0004c65064000ff063775ac1b1c1d0a0b0c0d00b3e9d711c14261fbfbab5be012ffff37760000020405b4010303080402 \
         080a84a50beb00155ab71d10543deeab0fe24c3010815116b3be",
    },
    Vector {
        section: "4.1.3",
        algorithm: HmacSha1,
        whole: true,
        isns: (0xfbfbab5a, 0x11c14261),
        traffic_key: "d2e59c65ffc7b1a39347656463b70edc24a13d71",
        packet: "45e0008736a14000ff06659f0a0b0c0dac1b1c1de9d700b3fbfbab5b11c14262c0180104a16200000101080a00155ac184a5 \
         0beb1d103d547064cf998cc6c315c2c2e2bfffffffffffffffffffffffffffffffff00430104dabf00b40a0b0c0d26020601 \
         0400010001020280000202020002024200020641040000dabf02084006006400010100",
    },
    Vector {
        section: "4.1.4",
        algorithm: HmacSha1,
        whole: true,
        isns: (0x11c14261, 0xfbfbab5a),
        traffic_key: "d9e217e4834a80ca2f3fd8de2e41b8e6797fea96",
        packet: "45e000871fa94000ff067c97ac1b1c1d0a0b0c0d00b3e9d711c14262fbfbab9ec0180100400c00000101080a84a50bf50015 \
         5ac11d10543da63f0ecbbb2e635c954deac7ffffffffffffffffffffffffffffffff00430104dac000b4ac1b1c1d26020601 \
         0400010001020280000202020002024200020641040000dac002084006006400010100",
    },
    Vector {
        section: "4.2.1",
        algorithm: HmacSha1,
        whole: false,
        isns: (0xcb0efbee, 0x0),
        traffic_key: "30eaa1560cf0be57dab5c045229fb10a423cd7ea",
        packet: "45e0004c53994000ff0648e20a0b0c0dac1b1c1dff1200b3cb0efbee00000000e002ffff541f0000020405b4010303080402 \
         080a00024cce000000001d103d5480af3cfeb85368937b8f9ec2",
    },
    Vector {
        section: "4.2.2",
        algorithm: HmacSha1,
        whole: false,
        isns: (0xacd5b5e1, 0xcb0efbee),
        traffic_key: "b5b2896bb3664e8176b0edc6e799524101a8307f",
        packet: "45e0004c32844000ff0669f7ac1b1c1d0a0b0c0d00b3ff12acd5b5e1cb0efbefe012ffff388e0000020405b4010303080402 \
         080a576772f300024cce1d10543d09306f9acea63a8c68cb9a70",
    },
    Vector {
        section: "4.2.3",
        algorithm: HmacSha1,
        whole: false,
        isns: (0xcb0efbee, 0xacd5b5e1),
        traffic_key: "f3db1793d7910ecd806c34f155ea1f00345953e3",
        packet: "45e00087a8f54000ff06f34a0a0b0c0dac1b1c1dff1200b3cb0efbefacd5b5e2c01801046c4500000101080a00024cce5767 \
         72f31d103d54710608cc696c03a271c93aa5ffffffffffffffffffffffffffffffff00430104dabf00b40a0b0c0d26020601 \
         0400010001020280000202020002024200020641040000dabf02084006006400010100",
    },
    Vector {
        section: "4.2.4",
        algorithm: HmacSha1,
        whole: false,
        isns: (0xacd5b5e1, 0xcb0efbee),
        traffic_key: "b5b2896bb3664e8176b0edc6e799524101a8307f",
        packet: "45e0008754374000ff064809ac1b1c1d0a0b0c0d00b3ff12acd5b5e2cb0efc32c018010046b600000101080a576772f30002 \
         4cce1d10543d97766e48ac262de9ae61b4f9ffffffffffffffffffffffffffffffff00430104dac000b4ac1b1c1d26020601 \
         0400010001020280000202020002024200020641040000dac002084006006400010100",
    },
    Vector {
        section: "5.1.1",
        algorithm: AesCmac,
        whole: true,
        isns: (0x787a1ddf, 0x0),
        traffic_key: "f5b8b3d5f34fdbb6eb8d4ab9660e60e3",
        packet: "45e0004c7b9f4000ff0620dc0a0b0c0dac1b1c1dc4fa00b3787a1ddf00000000e002ffff5a0f0000020405b4010303080402 \
         080a00017ed0000000001d103d54e477e99c8040765498e55091",
    },
    Vector {
        section: "6.1.1",
        algorithm: HmacSha1,
        whole: true,
        isns: (0x176a833f, 0x0),
        traffic_key: "625ec09d575836edc9b6428418bbf06989a361bb",
        packet: "6e0891dc00380640fd000000000000000000000000000001fd000000000000000000000000000002f7e400b3176a833f0000 \
         0000e002ffff47210000020405a0010303080402080a0041d087000000001d103d549033ec3d7334b64c5edd039f",
    },
    Vector {
        section: "6.1.2",
        algorithm: HmacSha1,
        whole: true,
        isns: (0x3f51994b, 0x176a833f),
        traffic_key: "e4a37ada2a0afca8711434913fe138c771ebcb4a",
        packet: "6e01009e00380640fd000000000000000000000000000002fd00000000000000000000000000000100b3f7e43f51994b176a \
         8340e012ffffbfec0000020405a0010303080402080abd33129b0041d0871d10543df1cba346c3526163f71f1f55",
    },
    Vector {
        section: "6.2.2",
        algorithm: HmacSha1,
        whole: false,
        isns: (0xeba3734d, 0x020c1e69),
        traffic_key: "405108947f996575e7bdbc26d40216a2c7fa91bd",
        packet: "6e0a7e1f00380640fd000000000000000000000000000002fd00000000000000000000000000000100b3c6cdeba3734d020c \
         1e6ae012ffff774d0000020405a0010303080402080a5ec99b70009db95b1d10543d3c546bad9743f12df8b8010d",
    },
    Vector {
        section: "6.2.4",
        algorithm: HmacSha1,
        whole: false,
        isns: (0xeba3734d, 0x020c1e69),
        traffic_key: "405108947f996575e7bdbc26d40216a2c7fa91bd",
        packet: "6e0a7e1f00730640fd000000000000000000000000000002fd00000000000000000000000000000100b3c6cdeba3734e020c \
         1eadc0180100716a00000101080a5ec99b7a009db9651d10543d559a819445b4fde98d9e1317ffffffffffffffffffffffff \
         ffffffff00430104fde800b40101017a260206010400010001020280000202020002024200020641040000fde80208400600 \
         6400010100",
    },
    Vector {
        section: "7.1.2",
        algorithm: AesCmac,
        whole: true,
        isns: (0xa6744ecb, 0x193cccec),
        traffic_key: "cf1b1e225e06a63616764a067b46f4b1",
        packet: "6e06152000380640fd000000000000000000000000000002fd00000000000000000000000000000100b3f85aa6744ecb193c \
         ccede012ffffeabb0000020405a0010303080402080a71daabc813e4ab991d10543ddc2843a84e78a6bcfdc5ed80",
    },
    Vector {
        section: "7.1.4",
        algorithm: AesCmac,
        whole: true,
        isns: (0xa6744ecb, 0x193cccec),
        traffic_key: "cf1b1e225e06a63616764a067b46f4b1",
        packet: "6e06152000730640fd000000000000000000000000000002fd00000000000000000000000000000100b3f85aa6744ecc193c \
         cd30c018010052f400000101080a71daabd313e4aba31d10543dc1069b7dfd3d693a6df3f289ffffffffffffffffffffffff \
         ffffffff00430104fde800b40101017a260206010400010001020280000202020002024200020641040000fde80208400600 \
         6400010100",
    },
];

#[test]
fn sums__of_rfc_9235() {
    for vector in VECTORS {
        let packet = bytes(vector.packet);
        let (addresses, tcp) = match packet[0] >> 4 {
            4 => (&packet[12..20], &packet[20..]),
            _ => (&packet[8..40], &packet[40..]),
        };
        let (source, target) = addresses.split_at(addresses.len() / 2);
        let port = |at: usize| u16::from_be_bytes([tcp[at], tcp[at + 1]]);
        let ends = Ends {
            source: (source, port(0)),
            target: (target, port(2)),
        };
        let bits = 8 * vector.traffic_key.len() as u16 / 2;
        let key = vector
            .algorithm
            .kdf(kdf_input(&ends, vector.isns, bits).bytes());
        assert_eq!(key, bytes(vector.traffic_key), "{}", vector.section);

        let (header, payload) = tcp.split_at(Header::data_offset(tcp).unwrap());
        let Ok(Some(Signed::Authentication { at, mac, .. })) = Signed::find(&header[20..]) else {
            panic!("{}: no signature", vector.section);
        };
        let option = (20 + usize::from(at), mac.len());
        let len = tcp.len() as u32;
        let sum = |sne, ends: &Ends<'_>, whole| {
            let input = mac_input(sne, ends, len, header, option, whole).unwrap();
            let text = [input.bytes(), payload].concat();
            vector.algorithm.sum(&key, &text)[..mac.len()].to_vec()
        };
        assert_eq!(sum(0, &ends, vector.whole), mac, "{}", vector.section);
        // Each of these is in it.
        let back = Ends {
            source: ends.target,
            target: ends.source,
        };
        assert_ne!(sum(1, &ends, vector.whole), mac);
        assert_ne!(sum(0, &back, vector.whole), mac);
        assert_ne!(sum(0, &ends, !vector.whole), mac);
    }
}

/// RFC 5925 section 5.1: checksum and MAC count as zeros, the other options only when they are to.
#[test]
fn mac_input__what_does_not_count() {
    let ends = Ends {
        source: (&[10, 0, 0, 1], 1),
        target: (&[10, 0, 0, 2], 2),
    };
    let mut header = [7; 40];
    let option = (24, 9);
    let input = |header: &[u8], whole| {
        let input = mac_input(5, &ends, 40, header, option, whole).unwrap();
        input.bytes().to_vec()
    };
    let [whole, fixed] = [true, false].map(|whole| input(&header, whole));
    assert_eq!(
        (whole.len(), fixed.len()),
        (4 + 12 + 40, 4 + 12 + 20 + 4 + 9)
    );
    for at in 0..40 {
        header[at] ^= 0xff;
        let is_zero = (16..18).contains(&at) || (28..37).contains(&at);
        let is_other = (20..24).contains(&at) || at >= 37;
        assert_eq!(input(&header, true) == whole, is_zero, "{at}");
        assert_eq!(input(&header, false) == fixed, is_zero || is_other, "{at}");
        header[at] ^= 0xff;
    }
    // An option that is not in the header.
    for (at, len) in [
        (19, 4),
        (36, 1),
        (40, 1),
        (20, 17),
        (usize::MAX, 1),
        (20, usize::MAX),
    ] {
        for whole in [true, false] {
            assert!(mac_input(5, &ends, 40, &header, (at, len), whole).is_none());
        }
    }
    assert!(mac_input(5, &ends, 40, &[0; 61], (20, 4), true).is_none());
    assert!(mac_input(5, &ends, 40, &[0; 19], (20, 4), true).is_none());
    // The longest there is has room.
    let six = Ends {
        source: (&[1; 16], 1),
        target: (&[2; 16], 2),
    };
    let most = mac_input(5, &six, 60, &[7; 60], (44, 12), true).unwrap();
    assert_eq!(most.bytes().len(), 104);
    assert_eq!(kdf_input(&six, (1, 2), 160).bytes().len(), 53);
}

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<char> = hex.chars().filter(|c| !c.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&String::from_iter(pair), 16).unwrap())
        .collect()
}

impl Algorithm {
    /// RFC 5926 section 3.1.1.
    fn kdf(self, input: &[u8]) -> Vec<u8> {
        match self {
            HmacSha1 => hmac_sha1(MASTER_KEY, input).to_vec(),
            // Section 3.1.1.2: a key that has not 16 bytes is made one of 16 bytes.
            AesCmac => cmac(&cmac(&[0; 16], MASTER_KEY), input).to_vec(),
        }
    }

    fn sum(self, key: &[u8], text: &[u8]) -> Vec<u8> {
        match self {
            HmacSha1 => hmac_sha1(key, text).to_vec(),
            AesCmac => cmac(key.try_into().unwrap(), text).to_vec(),
        }
    }
}

/// FIPS 180-4.
fn sha1(text: &[u8]) -> [u8; 20] {
    let mut text = text.to_vec();
    let bits = 8 * text.len() as u64;
    text.push(0x80);
    text.resize(text.len().next_multiple_of(64), 0);
    if text.len() as u64 - bits / 8 - 1 < 8 {
        text.resize(text.len() + 64, 0);
    }
    let end = text.len() - 8;
    text[end..].copy_from_slice(&bits.to_be_bytes());
    let mut state: [u32; 5] = [
        0x6745_2301,
        0xefcd_ab89,
        0x98ba_dcfe,
        0x1032_5476,
        0xc3d2_e1f0,
    ];
    for block in text.chunks(64) {
        let mut words: Vec<u32> = block
            .chunks(4)
            .map(|word| u32::from_be_bytes(word.try_into().unwrap()))
            .collect();
        for t in 16..80 {
            let word = words[t - 3] ^ words[t - 8] ^ words[t - 14] ^ words[t - 16];
            words.push(word.rotate_left(1));
        }
        let [mut a, mut b, mut c, mut d, mut e] = state;
        for (t, word) in words.iter().enumerate() {
            let (f, k) = match t / 20 {
                0 => ((b & c) | (!b & d), 0x5a82_7999),
                1 => (b ^ c ^ d, 0x6ed9_eba1),
                2 => ((b & c) | (b & d) | (c & d), 0x8f1b_bcdc),
                _ => (b ^ c ^ d, 0xca62_c1d6),
            };
            let sum = a.rotate_left(5).wrapping_add(f).wrapping_add(e);
            let next = sum.wrapping_add(k).wrapping_add(*word);
            (e, d, c, b, a) = (d, c, b.rotate_left(30), a, next);
        }
        for (word, add) in state.iter_mut().zip([a, b, c, d, e]) {
            *word = word.wrapping_add(add);
        }
    }
    let mut digest = [0; 20];
    for (slot, word) in digest.chunks_mut(4).zip(state) {
        slot.copy_from_slice(&word.to_be_bytes());
    }
    digest
}

/// RFC 2104, of keys of up to 64 bytes.
fn hmac_sha1(key: &[u8], text: &[u8]) -> [u8; 20] {
    let pad = |with: u8| {
        let mut pad = [with; 64];
        for (slot, byte) in pad.iter_mut().zip(key) {
            *slot ^= byte;
        }
        pad
    };
    sha1(&[&pad(0x5c)[..], &sha1(&[&pad(0x36)[..], text].concat())].concat())
}

/// Twice a number of GF(2^8).
fn twice(a: u8) -> u8 {
    (a << 1) ^ if a & 0x80 != 0 { 0x1b } else { 0 }
}

/// FIPS 197, section 4.2.
fn times(mut a: u8, mut b: u8) -> u8 {
    let mut product = 0;
    while b != 0 {
        product ^= if b & 1 != 0 { a } else { 0 };
        (a, b) = (twice(a), b >> 1);
    }
    product
}

/// FIPS 197, section 5.1.1.
fn substitute(byte: u8) -> u8 {
    // The inverse is the 254th power.
    let inverse = (0..254).fold(1, |power, _| times(power, byte));
    (0..5).fold(0x63, |sum, turn| sum ^ inverse.rotate_left(turn))
}

/// FIPS 197: AES-128.
fn aes(key: &[u8; 16], block: [u8; 16]) -> [u8; 16] {
    let mut round_key = *key;
    let mut state = block;
    let mut constant = 1;
    for (byte, key) in state.iter_mut().zip(round_key) {
        *byte ^= key;
    }
    for round in 1..=10 {
        let mut next = round_key;
        for i in 0..4 {
            next[i] ^= substitute(round_key[12 + (i + 1) % 4]);
        }
        next[0] ^= constant;
        for i in 4..16 {
            next[i] ^= next[i - 4];
        }
        (round_key, constant) = (next, twice(constant));
        let mut shifted = [0; 16];
        for (i, byte) in shifted.iter_mut().enumerate() {
            *byte = substitute(state[(i + 4 * (i % 4)) % 16]);
        }
        state = shifted;
        if round < 10 {
            for column in state.chunks_mut(4) {
                let old = column.to_vec();
                for i in 0..4 {
                    let [a, b, c, d] = [0, 1, 2, 3].map(|step| old[(i + step) % 4]);
                    column[i] = twice(a) ^ twice(b) ^ b ^ c ^ d;
                }
            }
        }
        for (byte, key) in state.iter_mut().zip(round_key) {
            *byte ^= key;
        }
    }
    state
}

/// RFC 4493.
fn cmac(key: &[u8; 16], text: &[u8]) -> [u8; 16] {
    let double = |number: u128| (number << 1) ^ if number >> 127 != 0 { 0x87 } else { 0 };
    let first = double(u128::from_be_bytes(aes(key, [0; 16])));
    let (whole, mut last) = match text.len() {
        0 => (&[][..], vec![]),
        len => {
            let (whole, last) = text.split_at((len - 1) / 16 * 16);
            (whole, last.to_vec())
        }
    };
    let subkey = match last.len() {
        16 => first,
        _ => {
            last.push(0x80);
            last.resize(16, 0);
            double(first)
        }
    };
    let mut sum = 0;
    for block in whole.chunks(16) {
        let block = u128::from_be_bytes(block.try_into().unwrap());
        sum = u128::from_be_bytes(aes(key, (sum ^ block).to_be_bytes()));
    }
    let last = u128::from_be_bytes(last.try_into().unwrap());
    aes(key, (sum ^ last ^ subkey).to_be_bytes())
}
