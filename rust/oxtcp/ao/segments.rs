// SPDX-License-Identifier: GPL-2.0

//! TCP-AO in segments: made for those that leave, and looked at in those that come (RFC 5925 sections 5 and 7). Any context.

use kernel::sync::atomic::Relaxed;

use oxtcp_engine::wire::{kdf_input, mac_input, Ends, Flags, MAX_HEADER_LEN, MIN_HEADER_LEN};
use oxtcp_engine::SeqNum;

use super::{count, Ao, Handshake, Ids, Isns, Key, State, Traffic};
use crate::keys::Peer;
use crate::output;
use crate::signing;
use crate::sys::auth;
use crate::sys::skb::{Claimed, Outgoing, SkBuff};
use crate::sys::table::{Endpoint, FlowKey};

/// What signs segments.
#[derive(Clone, Copy)]
pub(crate) struct Signer<'a> {
    key: &'a Key,
    /// What the peer is told to sign with.
    rnext: u8,
    numbers: Numbers<'a>,
}

/// Which numbers a segment's sums are made with.
#[derive(Clone, Copy)]
enum Numbers<'a> {
    Of(Isns),
    /// A connection's, or a TIME-WAIT's.
    Kept(&'a State),
}

/// The option, as a segment brings it.
#[derive(Clone, Copy)]
pub(crate) struct Claim {
    pub(crate) ids: Ids,
    /// Where it stands in the header.
    pub(crate) at: u8,
    pub(crate) mac_len: u8,
    /// As much of the MAC as the longest of ours has.
    pub(crate) mac: [u8; Claim::MAC_MOST],
}

/// How far whoever is to have a segment is.
#[derive(Clone, Copy)]
pub(crate) enum Stage {
    /// A listener: the segment is a SYN, or the ACK of a cookie.
    Listen,
    HalfOpen(Handshake),
    /// A connection, or a TIME-WAIT.
    Connection,
}

/// What is wrong with a segment.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Failure {
    KeyNotFound,
    Bad,
    /// To a listener, with flags that leave the initial sequence numbers in the dark.
    Flags,
}

impl Claim {
    /// What a SYN has room for.
    pub(crate) const MAC_MOST: usize = 16;
}

/// Kind, length, KeyID and RNextKeyID.
const OPTION_HEAD: usize = 4;
const KIND: u8 = 29;

/// One end of a flow, as sums have it.
struct Side {
    ip: [u8; 16],
    /// Where the address begins.
    from: usize,
    port: u16,
}

impl Side {
    fn new(end: Endpoint) -> Self {
        let end = output::unscoped(end);
        Self {
            ip: end.ip,
            from: end.v4().map_or(0, |_| 12),
            port: end.port,
        }
    }

    fn part(&self) -> (&[u8], u16) {
        (self.ip.get(self.from..).unwrap_or(&[]), self.port)
    }
}

/// Which way segments go.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Out,
    In,
}

/// Both ends of a flow, in the order in which a segment has them.
struct Sides(Side, Side);

impl Sides {
    fn new(flow: &FlowKey, way: Way) -> Self {
        let (local, remote) = (Side::new(flow.local()), Side::new(flow.remote()));
        match way {
            Way::Out => Self(local, remote),
            Way::In => Self(remote, local),
        }
    }

    fn ends(&self) -> Ends<'_> {
        Ends {
            source: self.0.part(),
            target: self.1.part(),
        }
    }
}

impl Isns {
    /// The sender's and the receiver's.
    fn of(self, way: Way) -> (u32, u32) {
        match way {
            Way::Out => (self.local.get(), self.remote.get()),
            Way::In => (self.remote.get(), self.local.get()),
        }
    }
}

impl Key {
    /// The traffic key (RFC 5926 section 3.1.1), in the first bytes.
    fn derive(&self, sides: &Sides, isns: (u32, u32)) -> [u8; 32] {
        let bits = (self.algorithm.len() as u16).wrapping_mul(8);
        let input = kdf_input(&sides.ends(), isns, bits);
        self.algorithm.sum(self.master(), input.bytes())
    }

    /// The traffic key of a connection whose numbers are known.
    fn traffic(&self, flow: &FlowKey, isns: Isns, way: Way) -> [u8; 32] {
        let of = |traffic: &Traffic| match way {
            Way::Out => traffic.send,
            Way::In => traffic.receive,
        };
        if let Some(traffic) = self.traffic.as_ref() {
            return of(traffic);
        }
        let derive = |way| self.derive(&Sides::new(flow, way), isns.of(way));
        let traffic = Traffic {
            send: derive(Way::Out),
            receive: derive(Way::In),
        };
        let wanted = of(&traffic);
        // Another processor has made the same.
        let _ = self.traffic.populate(traffic);
        wanted
    }

    /// The MAC (RFC 5925 section 5.1) of a segment of `len` bytes whose payload is what the packet has from `skip` bytes on. The option
    /// begins `at` bytes into the header. `None` for a header that has no such option.
    #[allow(clippy::too_many_arguments)] // All of them are what a MAC goes over.
    fn mac<S>(
        &self,
        traffic: &[u8; 32],
        sne: u32,
        sides: &Sides,
        header: &[u8],
        at: usize,
        len: u32,
        skb: &mut SkBuff<S>,
        skip: u32,
    ) -> Option<[u8; 32]> {
        let option = (at, usize::from(self.mac_len));
        let ends = sides.ends();
        let input = mac_input(sne, &ends, len, header, option, self.signs_options())?;
        let key = traffic.get(..self.algorithm.len())?;
        Some(self.algorithm.sum_with(key, input.bytes(), skb, skip))
    }
}

impl Ao {
    /// Who signs what a connection sends, or a TIME-WAIT. `None` without a connection.
    pub(crate) fn signer(&self) -> Option<Signer<'_>> {
        let key = self.signing()?;
        Some(Signer {
            key,
            rnext: self.rnext().map_or(key.recv_id, |rnext| rnext.recv_id),
            numbers: Numbers::Kept(&self.state),
        })
    }

    /// Who signs what a listener answers to a peer who has signed with these numbers: with the key that he has asked for, as in Linux.
    pub(crate) fn signer_to(&self, peer: &Peer, ids: Ids, isns: Isns) -> Option<Signer<'_>> {
        Some(Signer {
            key: self.for_peer(peer, Some(ids.rnext), None)?,
            rnext: ids.key,
            numbers: Numbers::Of(isns),
        })
    }

    /// Looks at the signature of a segment from the peer (Linux's `tcp_inbound_ao_hash()`).
    ///
    /// # Errors
    ///
    /// What is wrong. It is counted with the socket, and with the key.
    pub(crate) fn check(
        &self,
        stage: Stage,
        claim: &Claim,
        peer: &Peer,
        skb: &mut SkBuff<Claimed<'_>>,
        flow: &FlowKey,
    ) -> core::result::Result<(), Failure> {
        let state = &self.state;
        let mut header = [0; MAX_HEADER_LEN];
        let Some(header_len) = copy_header(skb, &mut header) else {
            return Err(Failure::Bad);
        };
        let header = header.get(..header_len as usize).unwrap_or(&[]);
        let Some(fixed) = Fixed::read(header) else {
            return Err(Failure::Bad);
        };
        let established = matches!(stage, Stage::Connection) && state.both_known();
        let found = match established {
            true => match self.rnext().filter(|key| key.recv_id == claim.ids.key) {
                Some(key) => Some(key),
                None => self.by_recv_id(claim.ids.key),
            },
            false => self.for_peer(peer, None, Some(claim.ids.key)),
        };
        let Some(key) = found else {
            count(&state.counts.key_not_found);
            return Err(Failure::KeyNotFound);
        };
        let sides = Sides::new(flow, Way::In);
        let derive = |isns: Isns| key.derive(&sides, isns.of(Way::In));
        let first = Isns {
            local: SeqNum::new(0),
            remote: fixed.seq,
        };
        let near = |isns: Isns| (fixed.seq.extended(isns.remote.get().into()) >> 32) as u32;
        let (traffic, sne) = match stage {
            // Whoever it comes to: the key is made of the SYN alone.
            _ if fixed.is_first() => (derive(first), 0),
            Stage::Connection if established => (
                key.traffic(flow, state.isns(), Way::In),
                State::extension(&state.received, fixed.seq, false),
            ),
            Stage::Connection => {
                let isns = state.isns();
                let of_segment = fixed.flags.syn() || fixed.flags.rst();
                let isns = match of_segment {
                    true => Isns {
                        remote: fixed.seq,
                        ..isns
                    },
                    false => isns,
                };
                (derive(isns), 0)
            }
            Stage::HalfOpen(handshake) => (derive(handshake.isns), near(handshake.isns)),
            // The ACK of a cookie, perhaps.
            Stage::Listen if fixed.flags.ack() && !fixed.flags.syn() => {
                let isns = fixed.isns_of_ack();
                (derive(isns), near(isns))
            }
            Stage::Listen => return Err(Failure::Flags),
        };
        let len = skb.len();
        let at = usize::from(claim.at);
        let sum = match claim.mac_len == key.mac_len {
            true => key.mac(&traffic, sne, &sides, header, at, len, skb, header_len),
            false => None,
        };
        let mac_len = usize::from(key.mac_len);
        let same = sum.is_some_and(|sum| match (sum.get(..mac_len), claim.mac.get(..mac_len)) {
            (Some(ours), Some(theirs)) => auth::are_equal(ours, theirs),
            _ => false,
        });
        if !same {
            count(&state.counts.bad);
            count(&key.bad);
            return Err(Failure::Bad);
        }
        count(&state.counts.good);
        count(&key.good);
        if established && !fixed.is_first() {
            State::extension(&state.received, fixed.seq, true);
            self.heed(claim.ids.rnext);
        }
        Ok(())
    }

    /// The peer wants to be sent with a key (RFC 5925 section 7.3): if there is one, it is the current one from now on.
    fn heed(&self, rnext: u8) {
        if self.current().is_some_and(|key| key.send_id == rnext) {
            return;
        }
        if let Some(key) = self.by_send_id(rnext) {
            self.state.current.store(key.serial, Relaxed);
        }
    }

    /// A TIME-WAIT has no lock of the socket's and no room that the engine has to know of: what signs follows at once.
    pub(crate) fn follow_unlocked(&self) {
        let _ = self.follow();
    }
}

impl Signer<'_> {
    pub(crate) fn key(&self) -> &Key {
        self.key
    }

    /// Fills the option into `header`, which has the room for it and is complete else, of the segment whose payload `skb` is. False for a
    /// header that has no such room.
    pub(crate) fn sign(
        self,
        header: &mut [u8],
        skb: &mut SkBuff<Outgoing>,
        flow: &FlowKey,
    ) -> bool {
        let Signer { key, rnext, .. } = self;
        let at = MIN_HEADER_LEN;
        let head = [
            KIND,
            key.mac_len.wrapping_add(OPTION_HEAD as u8),
            key.send_id,
            rnext,
        ];
        match header.get_mut(at..).and_then(|h| h.first_chunk_mut()) {
            Some(room) => *room = head,
            None => return false,
        }
        let Some(fixed) = Fixed::read(header) else {
            return false;
        };
        let sides = Sides::new(flow, Way::Out);
        let derive = |isns: Isns| key.derive(&sides, isns.of(Way::Out));
        let (traffic, sne) = match self.numbers {
            _ if fixed.is_first() => {
                let first = Isns {
                    local: fixed.seq,
                    remote: SeqNum::new(0),
                };
                (derive(first), 0)
            }
            Numbers::Of(isns) => {
                let number = fixed.seq.extended(isns.local.get().into());
                (derive(isns), (number >> 32) as u32)
            }
            Numbers::Kept(state) => {
                let isns = state.isns();
                let traffic = match state.both_known() {
                    true => key.traffic(flow, isns, Way::Out),
                    false => derive(isns),
                };
                (traffic, State::extension(&state.sent, fixed.seq, true))
            }
        };
        let len = skb.len().saturating_add(header.len() as u32);
        let Some(mac) = key.mac(&traffic, sne, &sides, header, at, len, skb, 0) else {
            return false;
        };
        let room = header.get_mut(at.saturating_add(OPTION_HEAD)..);
        let room = room.and_then(|room| room.get_mut(..usize::from(key.mac_len)));
        match (room, mac.get(..usize::from(key.mac_len))) {
            (Some(room), Some(mac)) => {
                room.copy_from_slice(mac);
                true
            }
            _ => false,
        }
    }
}

/// What is looked at of a header's first 20 bytes.
struct Fixed {
    seq: SeqNum,
    ack: SeqNum,
    flags: Flags,
}

impl Fixed {
    fn read(header: &[u8]) -> Option<Self> {
        let number = |at: usize| {
            let bytes = header.get(at..).and_then(|h| h.first_chunk().copied());
            bytes.map(|bytes| SeqNum::new(u32::from_be_bytes(bytes)))
        };
        Some(Self {
            seq: number(4)?,
            ack: number(8)?,
            flags: Flags::from_bits(*header.get(13)?),
        })
    }

    /// Whether it is a SYN without ACK: nothing is known of its receiver.
    fn is_first(&self) -> bool {
        self.flags.syn() && !self.flags.ack()
    }

    /// Of the ACK that ends a handshake.
    fn isns_of_ack(&self) -> Isns {
        Isns {
            local: self.ack.sub(1),
            remote: self.seq.sub(1),
        }
    }
}

/// Copies the header; how long it is.
fn copy_header(skb: &mut SkBuff<Claimed<'_>>, to: &mut [u8; MAX_HEADER_LEN]) -> Option<u32> {
    let len = signing::header_len(skb)?;
    to.get_mut(..len as usize)?
        .copy_from_slice(skb.header(len)?);
    Some(len)
}
