// SPDX-License-Identifier: GPL-2.0
//! The kernel's BTF (`Documentation/bpf/btf.rst`): the number of a function, by which a BPF program names it, and where a
//! structure's members are.

const STRUCT: u32 = 4;
const UNION: u32 = 5;
const FUNC: u32 = 12;

/// So many members are looked at: the largest structure has some hundreds, and in a file that is broken one may hold itself many times.
const MOST_MEMBERS: u32 = 100_000;

/// What the kernel says of itself.
pub struct Btf<'a> {
    bytes: &'a [u8],
    /// Where each type is; number 0 is void, and is not there.
    types: Vec<usize>,
    strings: usize,
}

impl<'a> Btf<'a> {
    /// `None` when it is no BTF of a version that is known here.
    pub fn new(bytes: &'a [u8]) -> Option<Self> {
        let mut btf = Self {
            bytes,
            types: Vec::new(),
            strings: 0,
        };
        // struct btf_header: magic, version, flags; length; where types and strings are, counted from its end.
        const MAGIC: u16 = 0xeb9f;
        if bytes.get(..2)? != MAGIC.to_ne_bytes() || *bytes.get(2)? != 1 {
            return None;
        }
        let offset = |at| btf.word(at).map(|offset| offset as usize);
        let header = offset(4)?;
        let mut at = header.checked_add(offset(8)?)?;
        let end = at.checked_add(offset(12)?)?;
        btf.strings = header.checked_add(offset(16)?)?;
        while at < end {
            btf.types.push(at);
            let (kind, members) = btf.kind(at)?;
            let behind = match kind {
                // INT, VAR, DECL_TAG
                1 | 14 | 17 => 4,
                // ARRAY
                3 => 12,
                // STRUCT, UNION, DATASEC, ENUM64
                STRUCT | UNION | 15 | 19 => members.checked_mul(12)?,
                // ENUM, FUNC_PROTO
                6 | 13 => members.checked_mul(8)?,
                // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
                2 | 7..=12 | 16 | 18 => 0,
                _ => return None,
            };
            at = at.checked_add(12)?.checked_add(behind)?;
        }
        (at <= bytes.len()).then_some(btf)
    }

    /// The number of the function `name`.
    pub fn function(&self, name: &str) -> Option<u32> {
        let at = self.types.iter().position(|&at| self.is(at, FUNC, name))?;
        u32::try_from(at).ok()?.checked_add(1)
    }

    /// By how many bytes a member is behind the beginning of the structure `name`. Members of what has no name are its own.
    pub fn member(&self, name: &str, member: &str) -> Option<i32> {
        let mut all = self.types.iter().filter(|&&at| self.is(at, STRUCT, name));
        let mut left = MOST_MEMBERS;
        let bits = all.find_map(|&at| self.member_bits(at, member, 0, &mut left))?;
        // No bit field.
        (bits % 8 == 0).then(|| i32::try_from(bits / 8).ok())?
    }

    fn member_bits(&self, at: usize, wanted: &str, depth: u32, left: &mut u32) -> Option<u32> {
        let (kind, members) = self.kind(at)?;
        // In C they end somewhere; in a file that is broken they may not.
        if !matches!(kind, STRUCT | UNION) || depth > 8 {
            return None;
        }
        // Where members of bit fields are, the upper byte is their size.
        let mask = match self.word(at + 4)? >> 31 {
            0 => u32::MAX,
            _ => 0xff_ffff,
        };
        (0..members).find_map(|index| {
            *left = left.checked_sub(1)?;
            // struct btf_member: the name's offset, the type, where it is.
            let entry = at.checked_add(12)?.checked_add(index.checked_mul(12)?)?;
            let bits = self.word(entry + 8)? & mask;
            match self.word(entry)? {
                0 => {
                    let number = self.word(entry + 4)? as usize;
                    let inner = *self.types.get(number.checked_sub(1)?)?;
                    bits.checked_add(self.member_bits(inner, wanted, depth + 1, left)?)
                }
                named => self.names(named, wanted)?.then_some(bits),
            }
        })
    }

    /// Whether the type there is of this kind and name.
    fn is(&self, at: usize, kind: u32, name: &str) -> bool {
        let named = || self.names(self.word(at)?, name);
        self.kind(at).is_some_and(|(is, _)| is == kind) && named() == Some(true)
    }

    /// The kind of a type, and how many members it has.
    fn kind(&self, at: usize) -> Option<(u32, usize)> {
        // struct btf_type: the name's offset; kind and number of members; a size or a type.
        let info = self.word(at.checked_add(4)?)?;
        Some(((info >> 24) & 0x7f, (info & 0xff_ffff) as usize))
    }

    /// Whether this is what is named there.
    fn names(&self, offset: u32, name: &str) -> Option<bool> {
        let at = self.strings.checked_add(offset as usize)?;
        let rest = self.bytes.get(at..)?.strip_prefix(name.as_bytes());
        Some(rest.is_some_and(|rest| rest.first() == Some(&0)))
    }

    fn word(&self, at: usize) -> Option<u32> {
        let bytes = self.bytes.get(at..at.checked_add(4)?)?;
        bytes.try_into().ok().map(u32::from_ne_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::Btf;

    fn encoded(types: &[u32], strings: &[u8]) -> Vec<u8> {
        let len = (types.len() * 4) as u32;
        let mut btf = 0xeb9f_u16.to_ne_bytes().to_vec();
        btf.extend([1, 0]);
        for word in [24, 0, len, len, strings.len() as u32] {
            btf.extend(word.to_ne_bytes());
        }
        types.iter().for_each(|word| btf.extend(word.to_ne_bytes()));
        btf.extend(strings);
        btf
    }

    /// An int, a struct of two members, the functions `socket` and `socket_more`, and a struct `outer` with one that has no name.
    fn btf() -> Vec<u8> {
        let strings = b"\0socket_more\0socket\0outer\0inner\0flag\0";
        let (outer, inner, flag) = (20, 26, 32);
        let mut types: Vec<u32> = vec![0, 1 << 24, 4, 32];
        types.extend([0, (4 << 24) | 2, 8, inner, 1, 0, 13, 1, 32]);
        types.extend([1, 12 << 24, 1]);
        types.extend([13, 12 << 24, 1]);
        // With bit fields: one of three bits behind four, and two of whole bytes.
        let bit_fields = 1 << 31;
        types.extend([outer, bit_fields | (4 << 24) | 3, 24]);
        types.extend([flag, 1, (3 << 24) | 4, 0, 2, 64, 1, 1, 128]);
        encoded(&types, strings)
    }

    #[test]
    fn function_is_found_by_its_whole_name() {
        let bytes = btf();
        let btf = Btf::new(&bytes).unwrap();
        assert_eq!(btf.function("socket"), Some(4));
        assert_eq!(btf.function("socket_more"), Some(3));
        for name in ["sock", "more", "socket_mor", "x", "outer"] {
            assert_eq!(btf.function(name), None, "{name}");
        }
    }

    #[test]
    fn member_also_of_what_has_no_name() {
        let bytes = btf();
        let btf = Btf::new(&bytes).unwrap();
        for (member, at) in [
            ("inner", Some(8)),
            ("socket", Some(12)),
            ("socket_more", Some(16)),
            ("flag", None),
            ("sock", None),
        ] {
            assert_eq!(btf.member("outer", member), at, "{member}");
        }
        assert_eq!(btf.member("inner", "socket"), None);
    }

    /// A structure of thirty members that have no names, and are it again.
    #[test]
    fn member_of_what_holds_itself() {
        let strings = b"\0outer\0";
        let mut types: Vec<u32> = vec![1, (4 << 24) | 30, 8];
        types.extend([0, 1, 0].repeat(30));
        let btf = encoded(&types, strings);
        assert_eq!(Btf::new(&btf).unwrap().member("outer", "inner"), None);
    }

    #[test]
    fn new_of_what_is_cut_short_or_no_btf() {
        let whole = btf();
        for len in 0..whole.len() {
            let btf = Btf::new(&whole[..len]);
            let found = btf.is_some_and(|btf| btf.member("outer", "flag_").is_some());
            assert!(!found, "{len} bytes");
        }
        let mut other = whole.clone();
        other[0] ^= 1;
        assert!(Btf::new(&other).is_none());
        let mut unknown = whole;
        unknown[24 + 7] = 60;
        assert!(Btf::new(&unknown).is_none());
    }
}
