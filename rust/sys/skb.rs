// SPDX-License-Identifier: GPL-2.0

//! Socket buffers: packets that came in, packets to send, and queues of them.

use core::marker::PhantomData;
use core::ptr::NonNull;

use kernel::prelude::*;
use kernel::types::NotThreadSafe;

use super::bindings;
use super::drop_reason::DropReason;
use super::netfilter::Family;
use super::page::PageFragment;
use super::proto::Protocol;
use super::sock::Locked;

/// Room for the headers below TCP, as the kernel's TCP reserves it (`MAX_TCP_HEADER` rounded up).
const HEADROOM: u32 = 320;

/// The most that the IP layer puts in front of a TCP header without a look at the room: an IPv4 header with options. (It looks
/// at what IPv6's options and the device need.)
const IP_HEADERS: u32 = 60;

/// What stands behind a packet's linear part.
pub(super) const SHARED_INFO: u32 =
    core::mem::size_of::<bindings::skb_shared_info>().next_multiple_of(64) as u32;

/// The memory of a packet whose `payload` bytes stand behind its headers, as the allocator rounds it.
pub(crate) fn memory_of(payload: u32) -> u32 {
    const SK_BUFF: u32 = core::mem::size_of::<bindings::sk_buff>().next_multiple_of(64) as u32;
    // SAFETY: No conditions.
    let headers = unsafe { bindings::oxtcp_helper_max_tcp_header() };
    let head = payload.saturating_add(headers.saturating_add(SHARED_INFO));
    match head.checked_next_power_of_two() {
        Some(head) => head.saturating_add(SK_BUFF),
        None => u32::MAX,
    }
}

/// A packet that we own. What may be done with it depends on how far it has come, which `S` says: one that came in is
/// [`AtHook`], [`Claimed`], and from then on [`Detached`]; one that is made here is [`Outgoing`].
///
/// # Invariants
///
/// The pointer is a valid sk_buff whose only user is this value, and it is on no list. What `S` says of it holds.
pub(crate) struct SkBuff<S = Detached>(NonNull<bindings::sk_buff>, PhantomData<S>);

// SAFETY: An sk_buff may be handed from any CPU and context to another, once it has nothing that the hook's RCU section keeps.
unsafe impl Send for SkBuff<Detached> {}
// SAFETY: As above, and one that is to be sent has none.
unsafe impl Send for SkBuff<Outgoing> {}

/// A packet in a LOCAL_IN hook, which may go on to the others. It has a route, a device, and a network header; that is
/// linear, and the data pointer is at it.
///
/// `'r` is the hook's RCU section, in which alone the packet may be used: it holds no reference on its device, nor, perhaps,
/// on its route.
pub(crate) struct AtHook<'r>(PhantomData<fn(&'r ()) -> &'r ()>);

/// As [`AtHook`], but it is ours to keep, and the data pointer is at the transport header. One that was taken before routing may have no route.
pub(crate) struct Claimed<'r>(PhantomData<fn(&'r ()) -> &'r ()>);

/// A packet that came in and has nothing any more of how it came but its network header, in front of the data; its control
/// block begins with an [`Unread`], which does not reach beyond the packet's end, and behind it [`judged_of`]'s. The data pointer is at the
/// transport header, to begin with.
pub(crate) struct Detached;

/// A packet to send, from [`SkBuff::for_sending`] or one that came in and was emptied. Nobody shares its bytes but those in page fragments; it has no route, no
/// device, no owner and no destructor, and its control block is zeroed.
pub(crate) struct Outgoing;

/// Which bytes of a received packet's payload are still of use, kept in the packet's control block.
#[derive(Clone, Copy, Default)]
#[repr(C)]
pub(crate) struct Unread {
    /// Sequence number of the first byte.
    pub(crate) seq: u32,
    /// Where it stands in the packet's data.
    pub(crate) offset: u32,
    /// How many bytes there are.
    pub(crate) len: u32,
}

impl Unread {
    /// What is left of it without its first `had` bytes.
    pub(super) fn beyond(self, had: u32) -> Self {
        let had = had.min(self.len);
        Self {
            seq: self.seq.wrapping_add(had),
            offset: self.offset.saturating_add(had),
            len: self.len.saturating_sub(had),
        }
    }

    /// What of it lies in a packet of `packet` bytes. To ask for more is a mistake of the caller's.
    fn within(self, packet: u32) -> Self {
        let offset = self.offset.min(packet);
        let len = self.len.min(packet.saturating_sub(offset));
        kernel::warn_on!(offset != self.offset || len != self.len);
        Self {
            seq: self.seq,
            offset,
            len,
        }
    }
}

impl<S> SkBuff<S> {
    /// Takes over a packet.
    ///
    /// # Safety
    ///
    /// The caller owns `skb`, nobody else uses it, and it is on no list. What `S` says of it holds.
    pub(super) unsafe fn from_raw(skb: NonNull<bindings::sk_buff>) -> Self {
        // INVARIANT: Promised by the caller.
        Self(skb, PhantomData)
    }

    /// Gives the packet up to C.
    pub(super) fn into_raw(self) -> NonNull<bindings::sk_buff> {
        let raw = self.0;
        core::mem::forget(self);
        raw
    }

    pub(super) fn as_ptr(&self) -> *mut bindings::sk_buff {
        self.0.as_ptr()
    }

    /// The packet's route, null for none (`skb_dst()`).
    #[inline]
    pub(super) fn route(&self) -> *mut bindings::dst_entry {
        /// `SKB_DST_NOREF`: no reference is held on it.
        const NOREF: usize = 1;
        // SAFETY: Valid by the invariant. A packet that somebody may have a route for is on no list of TCP's to send, which has another use
        // for the word.
        let route = unsafe {
            (*self.as_ptr())
                .__bindgen_anon_3
                .__bindgen_anon_1
                ._skb_refdst
        };
        (route & !NOREF) as *mut bindings::dst_entry
    }

    /// Bytes from the data pointer to the end, fragments included.
    pub(crate) fn len(&self) -> u32 {
        // SAFETY: Valid by the invariant.
        unsafe { (*self.as_ptr()).len }
    }

    /// What of the packet is linear, from the data pointer on.
    #[inline]
    pub(crate) fn linear(&self) -> &[u8] {
        // SAFETY: Valid by the invariant. So many bytes at `data` are linear, and nobody writes to them while we have the packet.
        unsafe {
            let skb = self.as_ptr();
            let len = (*skb).len.saturating_sub((*skb).data_len);
            core::slice::from_raw_parts((*skb).data, len as usize)
        }
    }

    /// The first `len` bytes as a slice; `None` when the packet is shorter or memory is short.
    ///
    /// May move bytes from fragments into the linear part; the packet's content stays the same.
    pub(crate) fn header(&mut self, len: u32) -> Option<&[u8]> {
        let skb = self.as_ptr();
        // SAFETY: Valid by the invariant.
        let linear = unsafe { (*skb).len.saturating_sub((*skb).data_len) };
        // SAFETY: As above; the invariant also gives us the right to reorganise it.
        if len > linear && !unsafe { bindings::oxtcp_helper_pskb_may_pull(skb, len) } {
            return None;
        }
        // SAFETY: `len` bytes at `data` are linear, or `pskb_may_pull` made them so, and `&mut self` keeps them.
        Some(unsafe { core::slice::from_raw_parts((*skb).data, len as usize) })
    }

    /// Frees a packet that has done its work; a plain drop counts it as lost (`skb:kfree_skb`).
    pub(crate) fn consume(self) {
        // SAFETY: The packet is given up, and the one user was us.
        unsafe { bindings::oxtcp_helper_consume_skb(self.into_raw().as_ptr()) };
    }
}

impl<'r> SkBuff<AtHook<'r>> {
    /// Whether the packet was sent to this host alone: no broadcast or multicast, by link or by address.
    pub(crate) fn is_to_us(&self, family: Family) -> bool {
        // SAFETY: Valid by the invariant. That its route is of the family is looked at.
        unsafe { bindings::oxtcp_helper_skb_is_host(self.as_ptr(), family == Family::V6) }
    }

    /// For IPv6: where the header behind the fixed one and a hop-by-hop one begins, and which it is; `None` for a
    /// chain that cannot be followed.
    pub(crate) fn ipv6_transport(&mut self) -> Option<(u32, u8)> {
        const FIXED: u32 = core::mem::size_of::<bindings::ipv6hdr>() as u32;
        const NEXT_HEADER: usize = 6;
        let mut fragment: u16 = 0;
        let mut next = *self.header(FIXED)?.get(NEXT_HEADER)?;
        // Other headers in front of the transport's (AH, routing, fragments) are the kernel's to work off.
        if next != bindings::NEXTHDR_HOP as u8 {
            return Some((FIXED, next));
        }
        // SAFETY: Valid by the invariant; the out-parameters are locals.
        let offset = unsafe {
            bindings::ipv6_skip_exthdr(self.as_ptr(), FIXED as i32, &mut next, &mut fragment)
        };
        if fragment != 0 {
            return None;
        }
        Some((u32::try_from(offset).ok()?, next))
    }

    /// Whether the checksum of the ICMP message `offset` bytes behind the data pointer is wrong.
    pub(crate) fn icmp_checksum_is_bad(&mut self, offset: u32, family: Family) -> bool {
        if offset > self.len() {
            return true;
        }
        // SAFETY: Valid by the invariant, with a linear network header; the message lies in the packet.
        unsafe {
            bindings::oxtcp_helper_icmp_checksum_bad(self.as_ptr(), offset, family == Family::V6)
        }
    }

    /// The interface that the packet came in by.
    pub(crate) fn ifindex(&self, family: Family) -> i32 {
        // SAFETY: Valid by the invariant; the control block is still the network layer's.
        unsafe { bindings::oxtcp_helper_skb_iif(self.as_ptr(), family == Family::V6) }
    }

    /// The packet is ours: nobody else gets it. Its transport header is `offset` bytes behind the data pointer, which
    /// goes there; a packet that has none, or whose pages there is no memory to copy from a sender that keeps them (MSG_ZEROCOPY), is freed.
    pub(crate) fn claim(self, offset: u32) -> Option<SkBuff<Claimed<'r>>> {
        // SAFETY: As the type says, and `'r` is its own.
        unsafe { self.claim_at(offset) }
    }
}

impl<S> SkBuff<S> {
    /// See [`SkBuff::claim`].
    ///
    /// # Safety
    ///
    /// The data pointer is at the network header of a packet that came in by the device that it has, and that device stays for `'r`.
    pub(super) unsafe fn claim_at<'r>(self, offset: u32) -> Option<SkBuff<Claimed<'r>>> {
        // SAFETY: Valid by the invariant.
        unsafe {
            if !bindings::oxtcp_helper_skb_claim(self.as_ptr(), offset) {
                return None;
            }
            // INVARIANT: The headers were set in the lines above; the caller vouches for the rest.
            Some(SkBuff::from_raw(self.into_raw()))
        }
    }
}

impl SkBuff<Claimed<'_>> {
    /// Whether the TCP checksum is wrong.
    pub(crate) fn tcp_checksum_is_bad(&mut self, family: Family) -> bool {
        // SAFETY: Valid by the invariant, with a linear network header in front of the data pointer.
        unsafe { bindings::oxtcp_helper_tcp_checksum_bad(self.as_ptr(), family == Family::V6) }
    }

    /// Whether IPsec's policies let in a packet that no socket gets. Softirq context.
    ///
    /// # Errors
    ///
    /// Why not.
    pub(crate) fn check_policy(&mut self, family: Family) -> Result<(), DropReason> {
        // SAFETY: Valid by the invariant, with a device; without a socket the TCP header is not looked at.
        DropReason::of_refusal(unsafe {
            bindings::oxtcp_helper_rx_refusal(
                core::ptr::null_mut(),
                self.as_ptr(),
                family == Family::V6,
            )
        })
    }

    /// Sheds what a packet must not keep when it is queued: sender's socket, route, conntrack,
    /// device. Clears what of the control block is ours.
    pub(crate) fn detach(self) -> SkBuff {
        /// So many bytes are ours: the words that have the `Unread` and what is behind it.
        const OURS: usize = (JUDGED + 1).next_multiple_of(size_of::<u64>());
        // SAFETY: Valid by the invariant; the control block is 48 bytes, 8-aligned.
        // INVARIANT: The call sheds all that, and zeroes are an empty `Unread`.
        unsafe {
            let skb = self.as_ptr();
            bindings::oxtcp_helper_skb_prepare_rx(skb);
            (*skb)
                .cb
                .as_mut_ptr()
                .cast::<[u64; OURS / 8]>()
                .write([0; OURS / 8]);
            SkBuff::from_raw(self.into_raw())
        }
    }

    /// The interface that it came in by, as the device's number was when it did.
    #[inline]
    pub(super) fn skb_iif(&self) -> i32 {
        // SAFETY: Valid by the invariant.
        unsafe { (*self.as_ptr()).__bindgen_anon_4.headers.as_ref().skb_iif }
    }
}

impl SkBuff {
    /// The octet of the IP header that has the ECN field in its lowest two bits (TOS, traffic class).
    pub(crate) fn ds_field(&self) -> u8 {
        // SAFETY: Valid by the invariant, with its network header, which was linear when it came in and has stayed so.
        unsafe { bindings::oxtcp_helper_skb_ds_field(self.as_ptr()) }
    }

    /// The control block.
    pub(crate) fn unread(&self) -> Unread {
        // SAFETY: Valid, and an `Unread` by the invariant.
        unsafe { unread_of(self.as_ptr()) }
    }

    /// Writes the control block. What would reach beyond the packet's end is cut.
    pub(crate) fn set_unread(&mut self, unread: Unread) {
        // INVARIANT: It ends where the packet does, or before.
        let unread = unread.within(self.len());
        // SAFETY: Valid, and `&mut self` makes it ours to write.
        unsafe { set_unread_of(self.as_ptr(), unread) };
    }

    /// The byte `offset` bytes behind the data pointer, if the packet has it.
    pub(crate) fn byte(&self, offset: u32) -> Option<u8> {
        let offset = i32::try_from(offset).ok()?;
        let mut byte = 0u8;
        // SAFETY: Valid by the invariant; `byte` has room for the one byte that is copied. The function checks the end.
        let err =
            unsafe { bindings::skb_copy_bits(self.as_ptr(), offset, (&raw mut byte).cast(), 1) };
        (err == 0).then_some(byte)
    }

    /// The packet's memory in bytes.
    pub(crate) fn truesize(&self) -> u32 {
        // SAFETY: Valid by the invariant.
        unsafe { (*self.as_ptr()).truesize }
    }

    /// The memory of the packet's head, if no more than its first `header_len` bytes stand there: that is freed when the packet
    /// is joined to another. Else 0.
    pub(crate) fn spare_head(&self, header_len: u32) -> u32 {
        // SAFETY: Valid by the invariant.
        unsafe { bindings::oxtcp_helper_skb_spare_head(self.as_ptr(), header_len) }
    }

    /// The payload of each of the segments that the packet was put together from; 0 if it is one.
    pub(crate) fn segment_size(&self) -> u16 {
        // SAFETY: Valid by the invariant.
        unsafe { bindings::oxtcp_helper_skb_gso_size(self.as_ptr()) }
    }

    /// An empty packet with room for `size` bytes, to which received ones are copied. GFP_ATOMIC: any context.
    pub(super) fn for_copies(size: u32) -> Option<Self> {
        // SAFETY: No conditions.
        let skb =
            unsafe { bindings::oxtcp_helper_alloc_skb(0, size, kernel::bindings::GFP_ATOMIC) };
        let mut skb = NonNull::new(skb).map(|skb| {
            // SAFETY: A new skb has one user, us, and is on no list.
            // INVARIANT: It has no sender, route or device; its control block is written below.
            unsafe { Self::from_raw(skb) }
        })?;
        skb.set_unread(Unread::default());
        Some(skb)
    }

    /// Charges the packet's memory to a socket; gives the packet back when the system's limits are reached.
    ///
    /// # Context
    ///
    /// Any.
    pub(crate) fn charge<'a, P: Protocol>(
        self,
        sk: &mut Locked<'a, P>,
    ) -> Result<Charged<'a>, SkBuff> {
        // SAFETY: The packet is ours, the socket valid and locked.
        unsafe {
            let size = (*self.as_ptr()).truesize;
            if !bindings::oxtcp_helper_sk_rmem_schedule(sk.as_ptr(), self.as_ptr(), size as i32) {
                return Err(self);
            }
            bindings::oxtcp_helper_skb_set_owner_r(self.as_ptr(), sk.as_ptr());
            // Charged in the line above.
            Ok(Charged::assume(self))
        }
    }
}

/// A packet that came in, and of which nothing is needed any more than its memory.
///
/// # Safety
///
/// A packet in this state has its network header.
pub(crate) unsafe trait CameIn {}

// SAFETY: The network layer has handed it over.
unsafe impl CameIn for Claimed<'_> {}
// SAFETY: It was claimed before.
unsafe impl CameIn for Detached {}

impl<S: CameIn> SkBuff<S> {
    /// See [`Route::recycle`](super::route::Route::recycle).
    ///
    /// # Safety
    ///
    /// `device` is valid.
    pub(super) unsafe fn recycle(
        self,
        device: *const bindings::net_device,
    ) -> Option<SkBuff<Outgoing>> {
        /// From where the network header was: a new one, and the largest TCP header.
        const ROOM: u32 = (core::mem::size_of::<bindings::ipv6hdr>() + 60) as u32;
        // SAFETY: The packet is ours and valid, with a network header by what `S` says of it; the caller vouches for the device.
        if !unsafe { bindings::oxtcp_helper_skb_recycle(self.as_ptr(), device, ROOM) } {
            self.consume();
            return None;
        }
        // SAFETY: It is empty, nobody shares its bytes, and the helper has taken route, device, owner and control block from it.
        Some(unsafe { SkBuff::from_raw(self.into_raw()) })
    }
}

impl SkBuff<Outgoing> {
    /// An empty packet to send, with room for all headers. GFP_ATOMIC: any context.
    pub(crate) fn for_sending() -> Option<Self> {
        // SAFETY: No conditions.
        let skb =
            unsafe { bindings::oxtcp_helper_alloc_skb(HEADROOM, 0, kernel::bindings::GFP_ATOMIC) };
        // SAFETY: A new skb has one user, us, and is on no list.
        NonNull::new(skb).map(|skb| unsafe { Self::from_raw(skb) })
    }

    /// Puts `header` in front of what is there; false when the room reserved is too small.
    pub(crate) fn push_header(&mut self, header: &[u8]) -> bool {
        if self.headroom() < header.len() {
            return false;
        }
        // SAFETY: There is room for it by the test above.
        let at = unsafe { bindings::oxtcp_helper_skb_push(self.as_ptr(), header.len() as u32) };
        // SAFETY: `skb_push` made `header.len()` bytes at `at` ours, and nobody shares them.
        unsafe { core::ptr::copy_nonoverlapping(header.as_ptr(), at.cast(), header.len()) };
        true
    }

    /// Adds `len` bytes from `skip` on of `fragment` to the last page fragment, if they are the next ones of the page, or as
    /// another, with a reference of its own; false when there is no room for it.
    pub(crate) fn add_fragment(&mut self, fragment: &PageFragment, skip: u32, len: u32) -> bool {
        if skip.checked_add(len).is_none_or(|end| end > fragment.len()) {
            return false;
        }
        let Some(offset) = fragment.offset().checked_add(skip) else {
            return false;
        };
        // SAFETY: The extent was checked; the helper looks for room, and takes a reference on the page, which is
        // valid by `PageFragment`'s invariant. Nobody shares the table of fragments.
        unsafe {
            bindings::oxtcp_helper_skb_add_frag(
                self.as_ptr(),
                fragment.page(),
                offset as i32,
                len as i32,
            )
        }
    }

    /// Makes the packet a burst of segments of `size` payload bytes each. `cwr` says that its header has CWR, which only
    /// the first is to have: not every device that cuts bursts knows. No size is 0, and 65535 is none (GSO_BY_FRAGS): then it stays as it is.
    pub(crate) fn set_gso(&mut self, size: u16, segments: u16, family: Family, cwr: bool) {
        if matches!(size, 0 | u16::MAX) {
            return;
        }
        let kind = match family {
            Family::V4 => bindings::SKB_GSO_TCPV4,
            Family::V6 => bindings::SKB_GSO_TCPV6,
        };
        let kind = match cwr {
            true => kind | bindings::SKB_GSO_TCP_ECN,
            false => kind,
        };
        // SAFETY: Valid by the invariant, and nobody shares it. The size is one by which the kernel can cut.
        unsafe { bindings::oxtcp_helper_skb_set_gso(self.as_ptr(), size, segments, kind as u32) };
    }

    /// The packet has the byte with the sequence number `key`, of which timestamps are wanted: `flags` are those of its
    /// `tx_flags`.
    pub(crate) fn stamp(&mut self, flags: u8, key: u32) {
        // SAFETY: Valid by the invariant, and nobody shares it.
        unsafe { bindings::oxtcp_helper_skb_stamp(self.as_ptr(), flags, key) };
    }

    /// Bytes that may be put in front of what is there.
    fn headroom(&self) -> usize {
        // SAFETY: Valid by the invariant; both point into the packet's linear part.
        let bytes = unsafe { (*self.as_ptr()).data.offset_from((*self.as_ptr()).head) };
        usize::try_from(bytes).unwrap_or(0)
    }

    /// Notes that the TCP header begins at the data pointer; false, and nothing is noted, if none is there, or no room in
    /// front of it for the IP layer's.
    pub(super) fn mark_tcp_header(&mut self) -> bool {
        if self.headroom() < IP_HEADERS as usize {
            return false;
        }
        // SAFETY: Valid by the invariant.
        let linear = unsafe {
            (*self.as_ptr())
                .len
                .saturating_sub((*self.as_ptr()).data_len)
        };
        if (linear as usize) < core::mem::size_of::<bindings::tcphdr>() {
            return false;
        }
        // SAFETY: Valid by the invariant.
        unsafe { bindings::oxtcp_helper_skb_reset_transport_header(self.as_ptr()) };
        true
    }

    /// Notes that the network header begins at the data pointer.
    pub(super) fn mark_network_header(&mut self) {
        // SAFETY: Valid by the invariant.
        unsafe { bindings::oxtcp_helper_skb_reset_network_header(self.as_ptr()) };
    }
}

/// A packet whose memory is charged to the locked socket that `'a` is the brand of ([`Locked`]).
///
/// The charge is given back as the packet is freed, which needs the socket, and its lock. The brand says both:
/// a value lives no longer than the lock is held, and goes to no other socket's queues.
///
/// # Invariants
///
/// The packet is charged to that socket.
pub(crate) struct Charged<'a> {
    skb: SkBuff,
    _brand: PhantomData<fn(&'a ()) -> &'a ()>,
    _not_send: NotThreadSafe,
}

impl Charged<'_> {
    /// # Safety
    ///
    /// `skb` is charged to the socket that the lifetime is the brand of.
    pub(super) unsafe fn assume(skb: SkBuff) -> Self {
        // INVARIANT: Promised by the caller.
        Self {
            skb,
            _brand: PhantomData,
            _not_send: NotThreadSafe,
        }
    }

    /// For a list of the socket's.
    pub(super) fn into_skb(self) -> SkBuff {
        self.skb
    }

    /// See [`SkBuff::unread`].
    pub(super) fn unread(&self) -> Unread {
        self.skb.unread()
    }

    /// See [`SkBuff::set_unread`].
    pub(crate) fn set_unread(&mut self, unread: Unread) {
        self.skb.set_unread(unread);
    }

    /// See [`SkBuff::byte`].
    pub(crate) fn byte(&self, offset: u32) -> Option<u8> {
        self.skb.byte(offset)
    }

    /// See [`SkBuff::truesize`].
    pub(super) fn truesize(&self) -> u32 {
        self.skb.truesize()
    }

    /// Copies `len` bytes of `from`, `offset` bytes behind its data pointer, behind those that are there. False, and nothing is
    /// copied, where there is no room or there are not so many.
    pub(super) fn append(&mut self, from: &Self, offset: u32, len: u32) -> bool {
        // SAFETY: Both are valid by the invariant, and `&mut self` makes this one ours to write.
        unsafe {
            bindings::oxtcp_helper_skb_append(
                self.skb.as_ptr(),
                from.skb.as_ptr(),
                offset as i32,
                len as i32,
            )
        }
    }

    /// See [`SkBuff::consume`].
    pub(crate) fn consume(self) {
        self.skb.consume();
    }

    /// See [`SkBuff::drop_for`].
    pub(crate) fn drop_for(self, reason: DropReason) {
        self.skb.drop_for(reason);
    }

    /// See [`SkBuff::len`].
    pub(crate) fn len(&self) -> u32 {
        self.skb.len()
    }

    /// See [`SkBuff::header`].
    pub(crate) fn header(&mut self, len: u32) -> Option<&[u8]> {
        self.skb.header(len)
    }
}

impl<S> Drop for SkBuff<S> {
    fn drop(&mut self) {
        // SAFETY: By the invariant the one user is us.
        unsafe { bindings::oxtcp_helper_kfree_skb(self.as_ptr()) };
    }
}

/// The control block.
///
/// # Safety
///
/// `at` is a valid packet whose control block is an [`Unread`].
pub(super) unsafe fn unread_of(at: *mut bindings::sk_buff) -> Unread {
    // SAFETY: Promised by the caller; the control block is 48 bytes, 8-aligned.
    unsafe { (*at).cb.as_ptr().cast::<Unread>().read() }
}

/// Writes the control block.
///
/// # Safety
///
/// `at` is a valid packet whose control block the caller may write.
pub(super) unsafe fn set_unread_of(at: *mut bindings::sk_buff, unread: Unread) {
    // SAFETY: Promised by the caller; the control block is 48 bytes, 8-aligned.
    unsafe { (*at).cb.as_mut_ptr().cast::<Unread>().write(unread) };
}

/// Where a control block has what [`judged_of`] tells.
const JUDGED: usize = core::mem::size_of::<Unread>();

/// The share of payload in memory with which [`collapse`](super::sock::Locked::collapse) has judged a packet; 0: it has not.
///
/// # Safety
///
/// `at` is a valid packet whose control block is an [`Unread`].
pub(super) unsafe fn judged_of(at: *mut bindings::sk_buff) -> u8 {
    // SAFETY: Promised by the caller; the control block is 48 bytes, and those behind the `Unread` were zeroed with it.
    unsafe { (*at).cb.as_ptr().cast::<u8>().add(JUDGED).read() }
}

/// Sets what [`judged_of`] tells.
///
/// # Safety
///
/// `at` is a valid packet whose control block is an [`Unread`], and which the caller may write.
pub(super) unsafe fn set_judged_of(at: *mut bindings::sk_buff, share: u8) {
    // SAFETY: Promised by the caller; the control block is 48 bytes.
    unsafe { (*at).cb.as_mut_ptr().cast::<u8>().add(JUDGED).write(share) };
}

/// # Safety
///
/// `at` is a valid packet.
pub(super) unsafe fn next_of(at: *mut bindings::sk_buff) -> *mut bindings::sk_buff {
    // SAFETY: Promised by the caller.
    unsafe { (*at).__bindgen_anon_1.__bindgen_anon_1.next }
}

/// # Safety
///
/// `at` is a packet on a well-formed list or the list's head.
pub(super) unsafe fn prev_of(at: *mut bindings::sk_buff) -> *mut bindings::sk_buff {
    // SAFETY: `next` and `prev` are the first two words of packets and heads alike.
    unsafe { (*at).__bindgen_anon_1.__bindgen_anon_1.prev }
}

/// # Safety
///
/// `head` is an initialised list that does not change during the call.
pub(super) unsafe fn first_of(
    head: *mut bindings::sk_buff_head,
) -> Option<NonNull<bindings::sk_buff>> {
    let sentinel: *mut bindings::sk_buff = head.cast();
    // SAFETY: `next` and `prev` are the first two words of packets and heads alike.
    let first = unsafe { (*sentinel).__bindgen_anon_1.__bindgen_anon_1.next };
    if first == sentinel {
        return None;
    }
    NonNull::new(first)
}

/// # Safety
///
/// `head` is an initialised list that does not change during the call.
pub(super) unsafe fn last_of(
    head: *mut bindings::sk_buff_head,
) -> Option<NonNull<bindings::sk_buff>> {
    let sentinel: *mut bindings::sk_buff = head.cast();
    // SAFETY: Promised by the caller; the sentinel's `prev` is the last.
    let last = unsafe { prev_of(sentinel) };
    NonNull::new(last).filter(|_| last != sentinel)
}

/// Takes the first packet off the list.
///
/// # Safety
///
/// `head` is an initialised list, the caller may change it, and it owns the packets.
pub(super) unsafe fn pop_first(head: *mut bindings::sk_buff_head) -> Option<SkBuff> {
    // SAFETY: Promised by the caller.
    let first = unsafe { first_of(head) }?;
    // SAFETY: `first` is on the list.
    unsafe { bindings::oxtcp_helper_skb_unlink(first.as_ptr(), head) };
    // SAFETY: It is off the list now, and the list owned it.
    Some(unsafe { SkBuff::from_raw(first) })
}
