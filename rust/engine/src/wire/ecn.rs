// SPDX-License-Identifier: GPL-2.0
//! The ECN field of the IP header.

/// The two bits that a router may change to say that it is congested (RFC 3168 section 5). They are not TCP's, but travel with a
/// segment.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug, Default)]
#[repr(u8)]
pub enum Ecn {
    /// The transport does not understand marks: a congested router drops.
    #[default]
    NotEct = 0,
    /// ECN-capable, ECT(1). RFC 8311 section 3 keeps it for experiments; we do not send it.
    Ect1 = 1,
    /// ECN-capable, ECT(0).
    Ect0 = 2,
    /// Congestion experienced: a router has marked it.
    Ce = 3,
}

impl Ecn {
    /// The lowest two bits of IPv4's TOS octet or of IPv6's traffic class.
    #[inline]
    pub const fn from_bits(octet: u8) -> Self {
        match octet & 3 {
            0 => Ecn::NotEct,
            1 => Ecn::Ect1,
            2 => Ecn::Ect0,
            _ => Ecn::Ce,
        }
    }

    /// The two bits.
    #[inline]
    pub const fn bits(self) -> u8 {
        self as u8
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// RFC 3168 section 5; the other six bits of the octet are not its.
    #[test]
    fn from_bits__looks_at_two_bits() {
        for octet in 0..=255u8 {
            assert_eq!(Ecn::from_bits(octet).bits(), octet & 3);
        }
        assert_eq!(Ecn::from_bits(0xfd), Ecn::Ect1);
    }
}
