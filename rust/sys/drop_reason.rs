// SPDX-License-Identifier: GPL-2.0

//! Why packets are dropped, in the kernel's terms: `skb:kfree_skb` tells it to those who trace, and tools that watch drops
//! (dropwatch, `perf trace`).

use super::bindings;
use super::skb::SkBuff;

/// `enum skb_drop_reason`, what of it this module uses. `trace.h` has the same.
#[derive(Clone, Copy, PartialEq, Eq)]
#[repr(u32)]
pub(crate) enum DropReason {
    /// It is of no connection that there is.
    NoSocket = bindings::skb_drop_reason_SKB_DROP_REASON_NO_SOCKET,
    /// There is no TCP header, or it is not whole.
    TooSmall = bindings::skb_drop_reason_SKB_DROP_REASON_PKT_TOO_SMALL,
    Checksum = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_CSUM,
    Netfilter = bindings::skb_drop_reason_SKB_DROP_REASON_NETFILTER_DROP,
    /// IPsec's policies, or the program's filter (SO_ATTACH_FILTER), do not let it in.
    Policy = bindings::skb_drop_reason_SKB_DROP_REASON_XFRM_POLICY,
    Filter = bindings::skb_drop_reason_SKB_DROP_REASON_SOCKET_FILTER,
    AuthHeader = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_AUTH_HDR,
    Md5NotFound = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_MD5NOTFOUND,
    Md5Unexpected = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_MD5UNEXPECTED,
    Md5Failure = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_MD5FAILURE,
    AuthenticationNotFound = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_AONOTFOUND,
    AuthenticationUnexpected = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_AOUNEXPECTED,
    AuthenticationKeyNotFound = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_AOKEYNOTFOUND,
    AuthenticationFailure = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_AOFAILURE,
    /// The socket's owner is busy, and enough waits for him.
    Backlog = bindings::skb_drop_reason_SKB_DROP_REASON_SOCKET_BACKLOG,
    /// The receive buffer is full.
    ReceiveBuffer = bindings::skb_drop_reason_SKB_DROP_REASON_SOCKET_RCVBUFF,
    /// The system's memory for TCP is used up.
    Memory = bindings::skb_drop_reason_SKB_DROP_REASON_PROTO_MEM,
    ZeroWindow = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_ZEROWINDOW,
    BeyondWindow = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_OVERWINDOW,
    OldData = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_OLD_DATA,
    /// It took memory that what fills the hole before it needed.
    Pruned = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_OFO_QUEUE_PRUNE,
    /// Neither in the window nor what is acknowledged.
    InvalidSequence = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_INVALID_SEQUENCE,
    OldSequence = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_OLD_SEQUENCE,
    InvalidAck = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_INVALID_ACK_SEQUENCE,
    InvalidSyn = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_INVALID_SYN,
    /// A reset without the exact number.
    Reset = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_RESET,
    /// PAWS.
    OldStamp = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_RFC7323_PAWS,
    /// The same of an acknowledgment that newer ones have overtaken.
    OvertakenAck = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_RFC7323_PAWS_ACK,
    /// The connection is over.
    Closed = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_CLOSE,
    /// Data for a program that has closed.
    AbortOnData = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_ABORT_ON_DATA,
    /// What a listener has no room for.
    ListenOverflow = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_LISTEN_OVERFLOW,
    /// Flags that no open can have.
    Flags = bindings::skb_drop_reason_SKB_DROP_REASON_TCP_FLAGS,
    /// A queue below did not take it.
    Queue = bindings::skb_drop_reason_SKB_DROP_REASON_QDISC_DROP,
    NoMemory = bindings::skb_drop_reason_SKB_DROP_REASON_NOMEM,
    NoRoute = bindings::skb_drop_reason_SKB_DROP_REASON_IP_OUTNOROUTES,
}

impl DropReason {
    /// What C says of a packet that a socket may not have; 0: it may.
    pub(super) fn of_refusal(reason: u32) -> Result<(), Self> {
        match reason {
            0 => Ok(()),
            reason if reason == Self::Policy as u32 => Err(Self::Policy),
            // The socket's filter, the LSM's, the cgroup's.
            _ => Err(Self::Filter),
        }
    }
}

impl<S> SkBuff<S> {
    /// Frees the packet, and says why.
    pub(crate) fn drop_for(self, reason: DropReason) {
        // SAFETY: The packet is given up, and the one user was us.
        unsafe { bindings::oxtcp_helper_skb_drop(self.into_raw().as_ptr(), reason as u32) };
    }
}
