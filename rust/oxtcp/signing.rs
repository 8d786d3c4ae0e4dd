// SPDX-License-Identifier: GPL-2.0

//! Signatures of segments (RFC 2385): made for those that leave, and looked at in those that come, before anything else of them is
//! believed. Any context.

use kernel::prelude::*;

use oxtcp_engine::wire::{Signature, Signed, MIN_HEADER_LEN};

use crate::counters::Counter;
use crate::keys::Md5Key;
use crate::namespace::Namespace;
use crate::output;
use crate::sys::auth::{self, DropReason};
use crate::sys::skb::{Claimed, Outgoing, SkBuff};
use crate::sys::table::{Endpoint, FlowKey};

/// What signs segments to a peer, and says how its own are signed.
#[derive(Clone, Copy)]
pub(crate) enum Signer<'a> {
    /// They are not.
    None,
    Md5(&'a Md5Key),
}

/// What a segment brings of a signature.
pub(crate) enum Claim {
    None,
    Md5([u8; 16]),
    /// The authentication option (RFC 5925), which there are no keys for.
    Authentication,
    /// A malformed one, or two.
    Bad,
}

/// Where the checksum is in a TCP header.
const CHECKSUM: core::ops::Range<usize> = 16..18;
/// Where a signature's option begins, in the engine's headers.
const OPTION: usize = MIN_HEADER_LEN;

impl Signer<'_> {
    /// The room that it takes.
    pub(crate) fn signature(self) -> Signature {
        match self {
            Signer::None => Signature::NONE,
            Signer::Md5(_) => Signature::MD5,
        }
    }

    /// Fills the signature into `header`, which has the room for it and is complete else, of the segment whose payload `skb` is. False
    /// for a header that has no such room.
    pub(crate) fn sign(self, header: &mut [u8], skb: &mut SkBuff<Outgoing>, key: &FlowKey) -> bool {
        match self {
            Signer::None => true,
            Signer::Md5(md5) => {
                let len = skb.len().saturating_add(header.len() as u32);
                let Some(fixed) = header.first_chunk().copied() else {
                    return false;
                };
                let digest = digest(md5, key.local(), key.remote(), len, fixed, skb, 0);
                // Two of padding, kind and length (RFC 2385 section 3.0).
                let mut option = [1; 20];
                option[2..4].copy_from_slice(&[19, 18]);
                option[4..].copy_from_slice(&digest);
                match header.get_mut(OPTION..).and_then(|h| h.first_chunk_mut()) {
                    Some(room) => *room = option,
                    None => return false,
                }
                true
            }
        }
    }

    /// Looks at a segment that came from the peer that it is the signer for (Linux's `tcp_inbound_hash()`).
    ///
    /// Deviation: RFC 5925 section 7.3 accepts a segment with the authentication option that there is no key for. As in Linux it is dropped:
    /// who signs wants it to be looked at.
    ///
    /// # Errors
    ///
    /// Why the segment is to be dropped; it is counted.
    pub(crate) fn check(
        self,
        namespace: &Namespace,
        claim: &Claim,
        skb: &mut SkBuff<Claimed<'_>>,
        key: &FlowKey,
    ) -> Result<(), DropReason> {
        let (counter, reason) = match (self, claim) {
            (_, Claim::Bad) => return Err(DropReason::AuthHeader),
            (Signer::None, Claim::None) => return Ok(()),
            (_, Claim::Authentication) => (
                Counter::TCPAOKeyNotFound,
                DropReason::AuthenticationUnexpected,
            ),
            (Signer::None, Claim::Md5(_)) => (Counter::TCPMD5Unexpected, DropReason::Md5Unexpected),
            (Signer::Md5(_), Claim::None) => (Counter::TCPMD5NotFound, DropReason::Md5NotFound),
            (Signer::Md5(md5), Claim::Md5(theirs)) => match is_good(md5, theirs, skb, key) {
                true => return Ok(()),
                false => (Counter::TCPMD5Failure, DropReason::Md5Failure),
            },
        };
        namespace.counters.count(counter);
        Err(reason)
    }
}

/// What a packet brings of a signature. Its data pointer is at the TCP header.
pub(crate) fn claim(skb: &mut SkBuff<Claimed<'_>>) -> Claim {
    let Some(options) = options(skb) else {
        // It is no segment, and will be dropped as such.
        return Claim::None;
    };
    match *options {
        [] => Claim::None,
        // As nearly every segment has it.
        [1, 1, 8, 10, _, _, _, _, _, _, _, _] => Claim::None,
        _ => match Signed::find(options) {
            Ok(None) => Claim::None,
            Ok(Some(Signed::Md5(digest))) => Claim::Md5(*digest),
            Ok(Some(Signed::Authentication { .. })) => Claim::Authentication,
            Err(_) => Claim::Bad,
        },
    }
}

fn options<'s>(skb: &'s mut SkBuff<Claimed<'_>>) -> Option<&'s [u8]> {
    let len = header_len(skb)?;
    skb.header(len)?.get(MIN_HEADER_LEN..)
}

fn header_len(skb: &mut SkBuff<Claimed<'_>>) -> Option<u32> {
    let fixed = skb.header(MIN_HEADER_LEN as u32)?;
    let len = oxtcp_engine::wire::Header::data_offset(fixed).ok()?;
    u32::try_from(len).ok()
}

fn is_good(md5: &Md5Key, theirs: &[u8; 16], skb: &mut SkBuff<Claimed<'_>>, key: &FlowKey) -> bool {
    let Some(header_len) = header_len(skb) else {
        return false;
    };
    let fixed = skb.header(MIN_HEADER_LEN as u32);
    let Some(fixed) = fixed.and_then(|fixed| fixed.first_chunk().copied()) else {
        return false;
    };
    let len = skb.len();
    let ours = digest(md5, key.remote(), key.local(), len, fixed, skb, header_len);
    auth::are_equal(&ours, theirs)
}

/// The digest of a segment of `len` bytes (RFC 2385 section 2.0): pseudo-header, header without options and with a checksum of
/// zero, payload, key. The payload is what the packet has from `skip` bytes on.
fn digest<S>(
    md5: &Md5Key,
    from: Endpoint,
    to: Endpoint,
    len: u32,
    mut fixed: [u8; MIN_HEADER_LEN],
    skb: &mut SkBuff<S>,
    skip: u32,
) -> [u8; 16] {
    /// The addresses and lengths of IPv6 (RFC 8200 section 8.1).
    const PSEUDO: usize = 40;
    const TCP: u8 = 6;
    if let Some(checksum) = fixed.get_mut(CHECKSUM) {
        checksum.fill(0);
    }
    let (from, to) = (output::unscoped(from), output::unscoped(to));
    let mut head = [0; PSEUDO + MIN_HEADER_LEN];
    let mut used: usize = 0;
    let mut put = |part: &[u8]| {
        for (slot, byte) in head.iter_mut().skip(used).zip(part) {
            *slot = *byte;
        }
        used = used.saturating_add(part.len());
    };
    let len = len.to_be_bytes();
    match (from.v4(), to.v4()) {
        (Some(from), Some(to)) => {
            put(&from);
            put(&to);
            put(&[0, TCP, len[2], len[3]]);
        }
        _ => {
            put(&from.ip);
            put(&to.ip);
            put(&len);
            put(&[0, 0, 0, TCP]);
        }
    }
    put(&fixed);
    auth::md5(skb, head.get(..used).unwrap_or(&[]), skip, md5.bytes())
}
