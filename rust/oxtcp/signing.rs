// SPDX-License-Identifier: GPL-2.0

//! Signatures of segments (RFC 2385, RFC 5925): made for those that leave, and looked at in those that come, before anything else of them is
//! believed. Any context.

use kernel::prelude::*;

use oxtcp_engine::wire::{Header, Options, Signature, Signed, MIN_HEADER_LEN};

use crate::ao::segments::{self, Failure, Stage};
use crate::ao::{Ao, Ids};
use crate::counters::Counter;
use crate::keys::{Md5Key, Peer};
use crate::namespace::Namespace;
use crate::output;
use crate::sys::auth;
use crate::sys::drop_reason::DropReason;
use crate::sys::skb::{Claimed, Outgoing, SkBuff};
use crate::sys::table::{Endpoint, FlowKey};

/// What signs segments to a peer.
#[derive(Clone, Copy)]
pub(crate) enum Signer<'a> {
    /// They are not signed.
    None,
    Md5(&'a Md5Key),
    Ao(segments::Signer<'a>),
    /// They are to be, and the key is gone: nothing is sent.
    Lost,
}

/// What says how a peer's segments are to be signed.
pub(crate) struct Judge<'a> {
    /// The peer's key.
    pub(crate) md5: Option<&'a Md5Key>,
    /// What there is for TCP-AO, and the peer, whose keys may be among it.
    pub(crate) ao: Option<(&'a Ao, Peer)>,
    pub(crate) stage: Stage,
}

/// What a segment brings of a signature.
pub(crate) enum Claim {
    None,
    Md5([u8; 16]),
    /// The authentication option (RFC 5925).
    Ao(segments::Claim),
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
            Signer::None | Signer::Lost => Signature::NONE,
            Signer::Md5(_) => Signature::MD5,
            Signer::Ao(signer) => signer.key().signature(),
        }
    }

    /// Fills the signature into `header`, which has the room for it and is complete else, of the segment whose payload `skb` is. False
    /// for a header that has no such room, and without a key.
    pub(crate) fn sign(self, header: &mut [u8], skb: &mut SkBuff<Outgoing>, key: &FlowKey) -> bool {
        match self {
            Signer::None => true,
            Signer::Lost => false,
            Signer::Ao(signer) => signer.sign(header, skb, key),
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
}

impl Judge<'_> {
    /// Of a peer whom nobody has a key for.
    pub(crate) fn without_keys(stage: Stage) -> Self {
        Judge {
            md5: None,
            ao: None,
            stage,
        }
    }

    /// Looks at a segment that came from the peer (Linux's `tcp_inbound_hash()`). The numbers of TCP-AO's keys, if it has signed it.
    ///
    /// Deviation: RFC 5925 section 7.3 accepts a segment with the authentication option that there is no key for. As in Linux it is dropped:
    /// who signs wants it to be looked at.
    ///
    /// # Errors
    ///
    /// Why the segment is to be dropped; it is counted.
    pub(crate) fn check(
        &self,
        namespace: &Namespace,
        claim: &Claim,
        skb: &mut SkBuff<Claimed<'_>>,
        key: &FlowKey,
    ) -> Result<Option<Ids>, DropReason> {
        let drop = |counter, reason| {
            namespace.counters.count(counter);
            Err(reason)
        };
        // RFC 5925 section 7.4: what begins signed goes on signed, and what does not does not.
        if let (Stage::HalfOpen(handshake), false) = (self.stage, matches!(claim, Claim::Bad)) {
            if handshake.ids.is_some() != matches!(claim, Claim::Ao(_)) {
                return drop(Counter::TCPAOBad, DropReason::AuthenticationFailure);
            }
        }
        let ao = self.ao.as_ref();
        match (claim, self.md5) {
            (Claim::Bad, _) => Err(DropReason::AuthHeader),
            (Claim::None, md5) => {
                if let Some((ao, _)) = ao.filter(|(ao, peer)| ao.is_required_of(peer)) {
                    ao.state.miss();
                    return drop(Counter::TCPAORequired, DropReason::AuthenticationNotFound);
                }
                match md5 {
                    Some(_) => drop(Counter::TCPMD5NotFound, DropReason::Md5NotFound),
                    None => Ok(None),
                }
            }
            (Claim::Md5(_), None) => drop(Counter::TCPMD5Unexpected, DropReason::Md5Unexpected),
            (Claim::Md5(theirs), Some(md5)) => match is_good(md5, theirs, skb, key) {
                true => Ok(None),
                false => drop(Counter::TCPMD5Failure, DropReason::Md5Failure),
            },
            (Claim::Ao(claim), _) => {
                let Some((ao, peer)) = ao else {
                    return drop(
                        Counter::TCPAOKeyNotFound,
                        DropReason::AuthenticationUnexpected,
                    );
                };
                match ao.check(self.stage, claim, peer, skb, key) {
                    Ok(()) => {
                        namespace.counters.count(Counter::TCPAOGood);
                        Ok(Some(claim.ids))
                    }
                    Err(Failure::KeyNotFound) => drop(
                        Counter::TCPAOKeyNotFound,
                        DropReason::AuthenticationKeyNotFound,
                    ),
                    Err(Failure::Bad) => drop(Counter::TCPAOBad, DropReason::AuthenticationFailure),
                    Err(Failure::Flags) => Err(DropReason::Flags),
                }
            }
        }
    }
}

/// Whether a packet has the options of nearly every segment or SYN: then it brings no signature. Its data pointer is at the TCP header.
#[inline]
pub(crate) fn is_plain(skb: &SkBuff<Claimed<'_>>) -> bool {
    let header = skb.linear();
    let options = match Header::data_offset(header) {
        Ok(len) => header.get(MIN_HEADER_LEN..len),
        Err(_) => None,
    };
    options.is_some_and(Options::are_usual)
}

/// What a packet brings of a signature. Its data pointer is at the TCP header.
pub(crate) fn claim(skb: &mut SkBuff<Claimed<'_>>) -> Claim {
    let Some(options) = options(skb) else {
        // It is no segment, and will be dropped as such.
        return Claim::None;
    };
    match *options {
        [] => Claim::None,
        _ => match Signed::find(options) {
            Ok(None) => Claim::None,
            Ok(Some(Signed::Md5(digest))) => Claim::Md5(*digest),
            Ok(Some(Signed::Authentication {
                at,
                key_id,
                rnext_key_id,
                mac,
            })) => {
                let mut bytes = [0; segments::Claim::MAC_MOST];
                for (slot, byte) in bytes.iter_mut().zip(mac) {
                    *slot = *byte;
                }
                Claim::Ao(segments::Claim {
                    ids: Ids {
                        key: key_id,
                        rnext: rnext_key_id,
                    },
                    at: at.saturating_add(MIN_HEADER_LEN as u8),
                    // Of 40 bytes.
                    mac_len: mac.len() as u8,
                    mac: bytes,
                })
            }
            Err(_) => Claim::Bad,
        },
    }
}

fn options<'s>(skb: &'s mut SkBuff<Claimed<'_>>) -> Option<&'s [u8]> {
    let len = header_len(skb)?;
    skb.header(len)?.get(MIN_HEADER_LEN..)
}

/// How long a packet's header is.
pub(crate) fn header_len(skb: &mut SkBuff<Claimed<'_>>) -> Option<u32> {
    let fixed = skb.header(MIN_HEADER_LEN as u32)?;
    let len = Header::data_offset(fixed).ok()?;
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
