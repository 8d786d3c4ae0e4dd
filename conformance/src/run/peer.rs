// SPDX-License-Identifier: GPL-2.0

//! The connection that a script is about: what its numbers are, in the script and on the wire.

use std::collections::BTreeMap;

use crate::wire::{flag, Segment};

/// How far the script has come with the connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stage {
    /// There is a socket.
    New,
    /// It listens.
    Listening,
    /// The script has sent it a packet.
    Passive,
    /// It has answered with a SYN-ACK.
    SynAckSeen,
    /// connect() was called.
    Connecting,
    /// The SYN is expected.
    SynSent,
    /// The script has answered.
    Active,
}

/// See above.
#[derive(Clone, Debug)]
pub(super) struct Peer {
    pub(super) stage: Stage,
    /// The back end's descriptor.
    pub(super) fd: Option<i64>,
    local_port: Option<u16>,
    remote_port: u16,
    /// The implementation's initial sequence number: in the script, and the one that it chose.
    script_isn: u32,
    live_isn: u32,
    /// The script's own, which is sent as it is.
    remote_isn: u32,
    /// TSval by the script's: what the implementation sent when the script stated that.
    stamps: BTreeMap<u32, u32>,
    /// The first TSval: the script's and the implementation's.
    first_stamp: Option<(u32, u32)>,
}

impl Peer {
    /// A new socket.
    pub(super) fn new(fd: i64) -> Self {
        Peer {
            stage: Stage::New,
            fd: Some(fd),
            local_port: None,
            remote_port: 0,
            script_isn: 0,
            live_isn: 0,
            remote_isn: 0,
            stamps: BTreeMap::new(),
            first_stamp: None,
        }
    }

    /// A connection that the script opens.
    pub(super) fn passive(remote_port: u16, local_port: u16, remote_isn: u32) -> Self {
        Peer {
            stage: Stage::Passive,
            fd: None,
            local_port: Some(local_port),
            remote_port,
            remote_isn,
            ..Peer::new(0)
        }
    }

    pub(super) fn set_remote_port(&mut self, port: u16) {
        self.remote_port = port;
        self.local_port = None;
    }

    /// The local port (0 before it is known) and the remote one.
    pub(super) fn ports(&self) -> (u16, u16) {
        (self.local_port.unwrap_or(0), self.remote_port)
    }

    /// The implementation's sequence number for one that the script gives outside of a SYN.
    pub(super) fn live_seq(&self, seq: u32) -> u32 {
        self.live_isn.wrapping_add(seq)
    }

    /// Whether an outbound header is of this connection.
    pub(super) fn owns(&self, header: &[u8]) -> bool {
        let Ok(segment) = Segment::parse(0, header, 0) else {
            return false;
        };
        let (local, remote) = segment.ports;
        let first = self.stage == Stage::SynSent && segment.has(flag::SYN);
        let local = match self.local_port {
            Some(port) => port == local,
            None => first,
        };
        local && remote == self.remote_port
    }

    /// The script expects a segment with these of SYN and ACK.
    pub(super) fn expect_outbound(&mut self, syn_ack: u16, seq: u32) {
        match (self.stage, syn_ack) {
            (Stage::Connecting, flag::SYN) => {
                self.stage = Stage::SynSent;
                self.script_isn = seq;
            }
            (Stage::Passive, both) if both == flag::SYN | flag::ACK => self.script_isn = seq,
            _ => {}
        }
    }

    /// Gives an outbound segment the script's sequence numbers. Its TSval is seen to by [`Peer::stamp`].
    pub(super) fn outbound(&mut self, segment: &mut Segment) {
        if segment.has(flag::SYN) {
            match self.stage {
                Stage::Passive if segment.has(flag::ACK) => {
                    self.stage = Stage::SynAckSeen;
                    self.live_isn = segment.seq;
                }
                Stage::SynSent if self.local_port.is_none() => {
                    self.local_port = Some(segment.ports.0);
                    self.live_isn = segment.seq;
                }
                _ => {}
            }
        }
        let (local, remote) = match segment.has(flag::SYN) {
            true => (self.live_isn.wrapping_sub(self.script_isn), 0),
            false => (self.live_isn, self.remote_isn),
        };
        segment.seq = segment.seq.wrapping_sub(local);
        if segment.has(flag::ACK) {
            segment.ack = segment.ack.wrapping_sub(remote);
        }
        segment.shift_sack(0u32.wrapping_sub(remote));
    }

    /// Gives an outbound segment a TSval in the script's terms, and notes what stands for `stated`.
    pub(super) fn stamp(&mut self, segment: &mut Segment, stated: Option<u32>) {
        let (Some(stated), Some((val, ecr))) = (stated, segment.timestamps()) else {
            return;
        };
        self.stamps.insert(stated, val);
        let (script, live) = *self.first_stamp.get_or_insert((stated, val));
        segment.set_timestamps(script.wrapping_add(val.wrapping_sub(live)), ecr);
    }

    /// Gives a segment of the script's the implementation's numbers.
    pub(super) fn inbound(
        &mut self,
        segment: &mut Segment,
        ports: Option<(u16, u16)>,
    ) -> Result<(), String> {
        match (self.stage, segment.has(flag::SYN) && segment.has(flag::ACK)) {
            (Stage::SynSent, true) => {
                self.stage = Stage::Active;
                self.remote_isn = segment.seq;
            }
            // Both sides open at once.
            (Stage::SynSent, false) if segment.has(flag::SYN) => self.remote_isn = segment.seq,
            _ => {}
        }
        segment.ports = ports.unwrap_or((self.remote_port, self.local_port.unwrap_or(0)));
        let (local, remote) = match segment.has(flag::SYN) {
            true => (self.live_isn.wrapping_sub(self.script_isn), 0),
            false => (self.live_isn, self.remote_isn),
        };
        segment.seq = segment.seq.wrapping_add(remote);
        if segment.has(flag::ACK) {
            segment.ack = segment.ack.wrapping_add(local);
        }
        segment.shift_sack(local);
        if let (true, Some((val, ecr))) = (segment.has(flag::ACK), segment.timestamps()) {
            let Some(live) = self.stamps.get(&ecr) else {
                return Err(format!(
                    "TS ecr {ecr}, which the script has not seen as TS val"
                ));
            };
            segment.set_timestamps(val, *live);
        }
        Ok(())
    }
}
