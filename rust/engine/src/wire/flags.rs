// SPDX-License-Identifier: GPL-2.0
//! The control bits.

use core::fmt;

/// The eight control bits of RFC 9293 section 3.1.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(u8);

impl Flags {
    /// No bit at all.
    pub const NONE: Flags = Flags(0);
    /// No more data from the sender.
    pub const FIN: Flags = Flags(0x01);
    /// Synchronize sequence numbers.
    pub const SYN: Flags = Flags(0x02);
    /// Reset the connection.
    pub const RST: Flags = Flags(0x04);
    /// Push: deliver now.
    pub const PSH: Flags = Flags(0x08);
    /// The acknowledgment field is significant.
    pub const ACK: Flags = Flags(0x10);
    /// The urgent pointer is significant.
    pub const URG: Flags = Flags(0x20);
    /// ECN echo (RFC 3168).
    pub const ECE: Flags = Flags(0x40);
    /// Congestion window reduced (RFC 3168).
    pub const CWR: Flags = Flags(0x80);
    /// SYN and ACK.
    pub const SYN_ACK: Flags = Flags::SYN.union(Flags::ACK);
    /// FIN and ACK.
    pub const FIN_ACK: Flags = Flags::FIN.union(Flags::ACK);
    /// RST and ACK.
    pub const RST_ACK: Flags = Flags::RST.union(Flags::ACK);

    /// The bits of byte 13 of the header.
    #[inline]
    pub const fn from_bits(bits: u8) -> Self {
        Flags(bits)
    }

    /// The bits as they stand in byte 13 of the header.
    #[inline]
    pub const fn bits(self) -> u8 {
        self.0
    }

    /// Whether all of `other`'s bits are set.
    #[inline]
    pub const fn contains(self, other: Flags) -> bool {
        self.0 & other.0 == other.0
    }

    /// Whether one of `other`'s bits is set.
    #[inline]
    pub const fn intersects(self, other: Flags) -> bool {
        self.0 & other.0 != 0
    }

    /// Sets `other`'s bits.
    #[inline]
    pub fn insert(&mut self, other: Flags) {
        self.0 |= other.0;
    }

    /// Clears `other`'s bits.
    #[inline]
    pub fn remove(&mut self, other: Flags) {
        self.0 &= !other.0;
    }

    /// The bits of both.
    #[inline]
    #[must_use]
    pub const fn union(self, other: Flags) -> Self {
        Flags(self.0 | other.0)
    }

    /// The bits that are not in `other`.
    #[inline]
    #[must_use]
    pub const fn without(self, other: Flags) -> Self {
        Flags(self.0 & !other.0)
    }

    /// Whether SYN is set.
    #[inline]
    pub const fn syn(self) -> bool {
        self.contains(Flags::SYN)
    }

    /// Whether ACK is set.
    #[inline]
    pub const fn ack(self) -> bool {
        self.contains(Flags::ACK)
    }

    /// Whether RST is set.
    #[inline]
    pub const fn rst(self) -> bool {
        self.contains(Flags::RST)
    }

    /// Whether FIN is set.
    #[inline]
    pub const fn fin(self) -> bool {
        self.contains(Flags::FIN)
    }
}

impl fmt::Debug for Flags {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        const NAMES: [(Flags, &str); 8] = [
            (Flags::SYN, "SYN"),
            (Flags::FIN, "FIN"),
            (Flags::RST, "RST"),
            (Flags::PSH, "PSH"),
            (Flags::ACK, "ACK"),
            (Flags::URG, "URG"),
            (Flags::ECE, "ECE"),
            (Flags::CWR, "CWR"),
        ];
        let mut separator = "";
        for (flag, name) in NAMES {
            if self.contains(flag) {
                f.write_str(separator)?;
                f.write_str(name)?;
                separator = ",";
            }
        }
        if separator.is_empty() {
            f.write_str("none")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::format;

    #[test]
    fn sets() {
        let mut flags = Flags::SYN;
        flags.insert(Flags::ACK);
        assert_eq!(flags, Flags::SYN_ACK);
        assert!(flags.contains(Flags::SYN) && !flags.contains(Flags::FIN_ACK));
        assert!(flags.intersects(Flags::FIN_ACK) && !flags.intersects(Flags::FIN));
        flags.remove(Flags::SYN);
        assert_eq!(flags, Flags::ACK);
        assert_eq!(Flags::SYN_ACK.without(Flags::SYN), Flags::ACK);
        assert_eq!(Flags::from_bits(0xff).bits(), 0xff);
    }

    #[test]
    fn debug__names_the_bits() {
        assert_eq!(format!("{:?}", Flags::SYN_ACK), "SYN,ACK");
        assert_eq!(format!("{:?}", Flags::NONE), "none");
    }
}
