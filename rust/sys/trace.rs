// SPDX-License-Identifier: GPL-2.0

//! Tracepoints: `/sys/kernel/tracing/events/oxtcp`.
//!
//! While nobody traces, each is an instruction that does nothing, which the kernel replaces by a jump when somebody
//! begins (a static branch). So what an event tells is to be gathered behind the question whether it is on:
//! [`Point::is_on`] is that instruction.
//!
//! C headers: `trace.h`, `include/linux/tracepoint.h`.

use super::bindings;
use super::drop_reason::DropReason;
use super::net::Net;
use super::proto::Protocol;
use super::sock::Sock;
use super::table::FlowKey;

/// Declares a type for each tracepoint of trace.h, with the function that fires it.
macro_rules! points {
    ($( $(#[$doc:meta])* $name:ident = $point:ident, $call:ident($($arg:ident: $type:ty),*); )*) => {
        mod c {
            use super::bindings;

            // What of the tracepoint is no C type is not looked into here.
            #[allow(improper_ctypes)]
            extern "C" {
                $(
                    #[cfg(CONFIG_TRACEPOINTS)]
                    pub(super) static $point: kernel::bindings::tracepoint;
                    #[cfg(CONFIG_TRACEPOINTS)]
                    pub(super) fn $call(ends: *const bindings::oxtcp_trace_ends, $($arg: $type),*);
                )*
            }
        }

        $(
            $(#[$doc])*
            pub(crate) struct $name;

            impl $name {
                /// Whether somebody traces it. Any context.
                #[inline(always)]
                #[must_use]
                pub(crate) fn is_on() -> bool {
                    #[cfg(CONFIG_TRACEPOINTS)]
                    {
                        // SAFETY: That is a tracepoint of trace.h, with the key that belongs to it.
                        unsafe {
                            kernel::jump_label::static_branch_unlikely!(
                                c::$point,
                                kernel::bindings::tracepoint,
                                key
                            )
                        }
                    }
                    #[cfg(not(CONFIG_TRACEPOINTS))]
                    false
                }

                /// # Safety
                ///
                /// The pointers are valid, and so is what they point to.
                unsafe fn call(ends: &Ends, $($arg: $type),*) {
                    #[cfg(CONFIG_TRACEPOINTS)]
                    // SAFETY: Promised by the caller. A tracepoint may be fired in any context that RCU watches.
                    unsafe { c::$call(&ends.0, $($arg),*) };
                    #[cfg(not(CONFIG_TRACEPOINTS))]
                    let _ = (ends, $($arg),*);
                }
            }
        )*
    };
}

points! {
    /// A connection, a half-open one, a TIME-WAIT or a listener changes its state.
    States = __tracepoint_oxtcp_state, rust_do_trace_oxtcp_state(from: u8, to: u8);
    /// A segment has come.
    SegmentsIn = __tracepoint_oxtcp_segment_in,
        rust_do_trace_oxtcp_segment_in(segment: *const bindings::oxtcp_trace_segment);
    /// A segment leaves.
    SegmentsOut = __tracepoint_oxtcp_segment_out,
        rust_do_trace_oxtcp_segment_out(segment: *const bindings::oxtcp_trace_segment);
    /// A timer has gone off.
    Timers = __tracepoint_oxtcp_timer, rust_do_trace_oxtcp_timer(timer: u8);
    /// Where a connection stands, after a step.
    Standings = __tracepoint_oxtcp_congestion,
        rust_do_trace_oxtcp_congestion(standing: *const bindings::oxtcp_trace_standing);
    /// A packet is dropped.
    Drops = __tracepoint_oxtcp_drop,
        rust_do_trace_oxtcp_drop(segment: *const bindings::oxtcp_trace_segment, reason: u32);
    /// A listener decides.
    Decisions = __tracepoint_oxtcp_listener,
        rust_do_trace_oxtcp_listener(listener: *const bindings::oxtcp_trace_listener);
    /// A queue of a listener is full.
    Overflows = __tracepoint_oxtcp_overflow,
        rust_do_trace_oxtcp_overflow(overflow: *const bindings::oxtcp_trace_overflow);
}

/// Whose an event is.
pub(crate) struct Ends(bindings::oxtcp_trace_ends);

impl Ends {
    /// Of the flow `key`, whose addresses have no scope, and which is no socket's. Any context.
    pub(crate) fn new(net: &Net, key: &FlowKey) -> Self {
        let (local, remote) = (key.local(), key.remote());
        Self(bindings::oxtcp_trace_ends {
            cookie: 0,
            cgroup: 0,
            netns: net.number(),
            lport: local.port,
            rport: remote.port,
            local: local.ip,
            remote: remote.ip,
        })
    }

    /// Of a socket, with these addresses. Any context.
    pub(crate) fn of<P: Protocol>(sock: &Sock<P>, key: &FlowKey) -> Self {
        let mut ends = Self::new(sock.net(), key);
        ends.0.cookie = sock.cookie();
        ends.0.cgroup = sock.cgroup();
        ends
    }
}

/// A segment, as an event tells of it.
#[derive(Clone, Copy)]
pub(crate) struct Segment<'a> {
    /// The TCP header with its options.
    pub(crate) header: &'a [u8],
    pub(crate) payload: u32,
    /// Payload of each segment of a burst; 0: it is a single one.
    pub(crate) segment_size: u16,
    pub(crate) cause: u8,
    /// The two bits of the IP header.
    pub(crate) ecn: u8,
}

impl Segment<'_> {
    /// `None` for what is no TCP header: no event reads beyond it.
    fn raw(&self) -> Option<bindings::oxtcp_trace_segment> {
        if !(20..=60).contains(&self.header.len()) {
            return None;
        }
        Some(bindings::oxtcp_trace_segment {
            header: self.header.as_ptr(),
            header_len: self.header.len() as u8,
            payload: self.payload,
            segment_size: self.segment_size,
            cause: self.cause,
            ecn: self.ecn,
        })
    }
}

/// What a [`Standings`] event tells.
pub(crate) use super::bindings::oxtcp_trace_standing as Standing;

/// What a [`Decisions`] event tells.
pub(crate) use super::bindings::oxtcp_trace_listener as Listener;

/// What an [`Overflows`] event tells.
pub(crate) use super::bindings::oxtcp_trace_overflow as Overflow;

impl States {
    /// States as programs number them, of sockets and of small objects.
    pub(crate) fn tell(ends: &Ends, from: u8, to: u8) {
        // SAFETY: There are no pointers.
        unsafe { Self::call(ends, from, to) };
    }
}

impl SegmentsIn {
    pub(crate) fn tell(ends: &Ends, segment: &Segment<'_>) {
        if let Some(raw) = segment.raw() {
            // SAFETY: The header is valid as long as the borrow, and as long as it says.
            unsafe { Self::call(ends, &raw) };
        }
    }
}

impl SegmentsOut {
    pub(crate) fn tell(ends: &Ends, segment: &Segment<'_>) {
        if let Some(raw) = segment.raw() {
            // SAFETY: As above.
            unsafe { Self::call(ends, &raw) };
        }
    }
}

impl Timers {
    pub(crate) fn tell(ends: &Ends, timer: u8) {
        // SAFETY: There are no pointers.
        unsafe { Self::call(ends, timer) };
    }
}

impl Standings {
    pub(crate) fn tell(ends: &Ends, standing: &Standing) {
        // SAFETY: Values only.
        unsafe { Self::call(ends, standing) };
    }
}

impl Drops {
    /// `segment` without a header: there is none that could be read.
    pub(crate) fn tell(ends: &Ends, segment: &Segment<'_>, reason: DropReason) {
        let raw = segment.raw().unwrap_or(bindings::oxtcp_trace_segment {
            header: segment.header.as_ptr(),
            header_len: 0,
            payload: segment.payload,
            segment_size: 0,
            cause: segment.cause,
            ecn: segment.ecn,
        });
        // SAFETY: The header is valid as long as the borrow, and as long as it says.
        unsafe { Self::call(ends, &raw, reason as u32) };
    }
}

impl Decisions {
    pub(crate) fn tell(ends: &Ends, listener: &Listener) {
        // SAFETY: Values only.
        unsafe { Self::call(ends, listener) };
    }
}

impl Overflows {
    pub(crate) fn tell(ends: &Ends, overflow: &Overflow) {
        // SAFETY: Values only.
        unsafe { Self::call(ends, overflow) };
    }
}
