// SPDX-License-Identifier: GPL-2.0
//! The number of a kernel function in the kernel's BTF (`Documentation/bpf/btf.rst`), by which a BPF program names it.

/// `BTF_KIND_FUNC`.
const FUNC: u32 = 12;

/// The number of the function `name`; `None` when there is none, or this is no BTF of a version that is known here.
pub fn function(btf: &[u8], name: &str) -> Option<u32> {
    let word = |at: usize| {
        let bytes = btf.get(at..at.checked_add(4)?)?;
        bytes.try_into().ok().map(u32::from_ne_bytes)
    };
    let offset = |at: usize| word(at).map(|offset| offset as usize);
    // struct btf_header: magic, version, flags; length; where types and strings are, counted from its end.
    const MAGIC: u16 = 0xeb9f;
    if btf.get(..2)? != MAGIC.to_ne_bytes() || *btf.get(2)? != 1 {
        return None;
    }
    let header = offset(4)?;
    let mut at = header.checked_add(offset(8)?)?;
    let end = at.checked_add(offset(12)?)?;
    let strings = header.checked_add(offset(16)?)?;
    // Number 0 is void, and is not there.
    let mut number: u32 = 1;
    while at < end {
        // struct btf_type: the name's offset; kind and number of members; a size or a type.
        let (named, info) = (offset(at)?, word(at.checked_add(4)?)?);
        let (kind, members) = ((info >> 24) & 0x7f, (info & 0xff_ffff) as usize);
        if kind == FUNC {
            let text = btf.get(strings.checked_add(named)?..)?;
            let rest = text.strip_prefix(name.as_bytes());
            if rest.is_some_and(|rest| rest.first() == Some(&0)) {
                return Some(number);
            }
        }
        let behind = match kind {
            // INT, VAR, DECL_TAG
            1 | 14 | 17 => 4,
            // ARRAY
            3 => 12,
            // STRUCT, UNION, DATASEC, ENUM64
            4 | 5 | 15 | 19 => members.checked_mul(12)?,
            // ENUM, FUNC_PROTO
            6 | 13 => members.checked_mul(8)?,
            // PTR, FWD, TYPEDEF, VOLATILE, CONST, RESTRICT, FUNC, FLOAT, TYPE_TAG
            2 | 7..=12 | 16 | 18 => 0,
            _ => return None,
        };
        at = at.checked_add(12)?.checked_add(behind)?;
        number = number.checked_add(1)?;
    }
    None
}

#[cfg(test)]
mod tests {
    use super::function;

    /// An int, a struct of two members, and the functions `socket` and `socket_more`.
    fn btf() -> Vec<u8> {
        let strings = b"\0socket_more\0socket\0";
        let mut types: Vec<u32> = vec![0, 1 << 24, 4, 32];
        types.extend([0, (4 << 24) | 2, 8, 0, 1, 0, 0, 1, 32]);
        types.extend([1, 12 << 24, 1]);
        types.extend([13, 12 << 24, 1]);
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

    #[test]
    fn function_is_found_by_its_whole_name() {
        assert_eq!(function(&btf(), "socket"), Some(4));
        assert_eq!(function(&btf(), "socket_more"), Some(3));
        for name in ["sock", "more", "socket_mor", "x"] {
            assert_eq!(function(&btf(), name), None, "{name}");
        }
    }

    #[test]
    fn function_of_what_is_cut_short_or_no_btf() {
        let whole = btf();
        for len in 0..whole.len() {
            let found = function(&whole[..len], "socket");
            assert!(found.is_none(), "{len} bytes");
        }
        let mut other = whole.clone();
        other[0] ^= 1;
        assert_eq!(function(&other, "socket"), None);
        let mut unknown = whole;
        unknown[24 + 7] = 60;
        assert_eq!(function(&unknown, "socket"), None);
    }
}
