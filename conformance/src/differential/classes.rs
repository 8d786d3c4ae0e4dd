// SPDX-License-Identifier: GPL-2.0

//! The differences that are known, each with its reason.

macro_rules! classes {
    ($($class:ident, $name:literal, $sees:literal, $known:literal, $why:literal;)*) => {
        /// A known difference between the built-in TCP and ours.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
        #[allow(missing_docs)]
        pub enum Class {
            $($class,)*
        }

        impl Class {
            /// All of them.
            pub const ALL: &[Class] = &[$(Class::$class,)*];

            /// In a few words.
            pub const fn name(self) -> &'static str {
                match self { $(Class::$class => $name,)* }
            }

            /// Whether the peer goes on differently: nothing is compared behind it then.
            pub const fn parts(self) -> &'static str {
                match self { $(Class::$class => $sees,)* }
            }

            /// What it is known by.
            pub const fn known_by(self) -> &'static str {
                match self { $(Class::$class => $known,)* }
            }

            /// Why it is as it is.
            pub const fn reason(self) -> &'static str {
                match self { $(Class::$class => $why,)* }
            }
        }
    };
}

classes! {
    Tick, "a tick", "at times",
        "The same thing at times that are a tick of 4 ms apart; or a bucket of the kernel's timer wheel where one ends at that time, and a timer of that length can have been in it. Where a step of the peer's lies between the two, the conversation parts.",
        "Linux counts times in ticks and rounds each up; the engine counts microseconds, and its timer is rounded once.";
    Timeout, "the variance of the round trip", "at times",
        "As before, but by no more than the two measured timeouts differ (tcpi_rto, with the back-off), of round trips that are the same.",
        "Linux keeps the largest variance of a round trip for some more of them (mdev_max), which takes twelve octets per connection. The engine has RFC 6298's, and Linux's for shorter round trips.";
    Sample, "a round trip of a part of a segment", "at times",
        "As before, of any round trips, once the peer has acknowledged a part of a segment.",
        "Linux measures packets that are acknowledged as a whole, and keeps a timeout that was backed off until then. The engine measures octets: that acknowledgment tells of them as any.";
    Ato, "the delay of an acknowledgment", "no",
        "A bare acknowledgment of what has come in order, by no more than the shortest delay (40 ms) apart.",
        "How long one is held back is learnt from the time between segments, by Linux in ticks.";
    Push, "PSH inside of what was written", "no",
        "PSH on one of two segments that are the same, which do not end where the program's data ends.",
        "As in Linux, each burst ends with PSH; where one ends depends on the pacing rate and on when a packet left. What is sent again carries no PSH inside of the data: it means nothing to a receiver (RFC 9293 section 3.9.1.2).";
    Window, "a larger window", "no",
        "Our window is larger, by no more than four segments and what is reported as out of order.",
        "A packet's own memory does not keep the window from opening, and what is kept out of order does not count twice (Documentation/architecture.md, receive memory).";
    Tuned, "a window that has grown", "no",
        "Our window is larger, by no more than twice what the program has read at once.",
        "The receive buffer follows what a program reads in a round trip. Linux counts packet by packet, and where a measurement ends with the first packet of a large read, the rest is not in it; the engine counts by call.";
    Unit, "a window smaller by a unit", "no",
        "Our window is smaller by one unit of its scale.",
        "What packets weigh is known nearly, and a window is rounded to units.";
    Closed, "the window after the peer's FIN", "no",
        "Windows of segments that acknowledge the peer's FIN.",
        "Nothing more can come. The engine has no receiver then, and offers what it offered.";
    Unscaled, "a window beyond what can be named", "no",
        "Without window scaling, where the buffer has room for more than 65,535: another window, or an acknowledgment of ours that Linux sends later.",
        "Linux remembers the window that it would have offered, and takes one of 65,535 for one that has shrunk: it holds acknowledgments back.";
    Hurry, "an acknowledgment that waits", "no",
        "Linux acknowledges at once what came in order; ours does the same within the longest delay (200 ms), or with data.",
        "Linux hurries as long as the window opens; the engine while it has room for less than ten segments (tests/goodput.rs: more makes slow start overshoot).";
    Eager, "an acknowledgment at once", "no",
        "Ours acknowledges at once, Linux later, and one of the last 16 segments came out of order, or again.",
        "Who sends what was lost waits for acknowledgments. Linux's way costs up to a quarter of the speed where a tenth is lost (tests/goodput.rs).";
    Whole, "an answer to all of a segment", "at times",
        "A segment with data of ours acknowledges what the segment that let it go has brought; in Linux it does not, and a bare acknowledgment follows, at once or delayed. Where ours has a SACK block more, it has as much less data, and the conversation parts.",
        "Linux sends when it has read the acknowledgment, before it takes the data. The engine answers the whole segment: one packet less, or a newer acknowledgment.";
    Repack, "how what is sent again is cut", "yes",
        "Both send the same octets again, from the same one on, but not to the same end.",
        "Linux keeps the edges of its packets; the engine sends full segments from the first octet that is missing, whatever the peer's acknowledgments cut.";
    Tail, "what a tail loss probe repeats", "yes",
        "Both send the end of what is in flight again, from different octets on.",
        "RFC 8985 section 7.3 asks for the last segment. The engine sends the last full segment's worth of the last burst.";
    Few, "a probe of several small segments", "yes",
        "Linux probes earlier; less than a full segment is in flight, in more than one packet.",
        "Where one packet is in flight, a probe waits for an acknowledgment that may be held back. The engine counts octets: a receiver may hold back that of two small segments as well.";
    Probe, "a probe after a probe", "yes",
        "Ours probes the tail, Linux does not; an earlier probe was acknowledged to its very end, neither further nor again.",
        "RFC 8985 section 7.4 leaves open then whether it was needed, and as long as that is open Linux sends no other. The engine forgets it once nothing is in flight.";
    Instant, "order within a moment", "yes",
        "While a loss is repaired, one of the two sends again what went out less than 2 ms before, or less than 2 ms before something that the peer has just reported.",
        "RACK goes by the time of sending. What leaves in one step has one time in the engine's virtual time, and some microseconds from the first to the last in a kernel.";
    Octets, "octets and not packets", "yes",
        "One sends data and the other does not: in the same mode, with windows that differ by no more than a third (or two segments), or with small segments in flight.",
        "The engine counts the congestion window in octets (RFC 5681), Linux in packets: where segments are small, either may send more.";
    Silly, "the last octets of a window", "yes",
        "Linux sends a small segment that fills the peer's window to its end.",
        "With TCP_NODELAY, and where no other small segment is in flight, it does not avoid the silly window; RFC 9293 section 3.8.6.2.1 does, and so does the engine.";
    Backoff, "the back-off of window probes", "yes",
        "Ours asks for the window earlier, and its back-off is less.",
        "Once the window is open, though not enough, ours begins anew; Linux waits as long as before.";
    Persist, "the clock of window probes", "at times",
        "Linux asks for the window earlier; the peer's last segment brought data, and acknowledged nothing.",
        "What the peer says of its window begins the wait anew. Linux does not look at the acknowledgment of data that came in order and says nothing new (the fast path).";
    Duplicate, "a duplicate behind an update", "yes",
        "Without SACK, ours takes an acknowledgment for a duplicate, and Linux for an update to the same window.",
        "RFC 5681 section 2: the same acknowledgment with the same window is a duplicate, though the peer has sent data since. Ours is one duplicate ahead then.";
    Idle, "slow start after idle", "yes",
        "Ours has sent nothing for longer than its timeout and begun with a small window; the built-in TCP has not.",
        "Linux asks how long it was idle when the program writes; the engine when it sends (RFC 5681 section 4.1), which can be later, as where the peer's window is too small.";
    Alive, "a sign of life", "yes",
        "Linux asks whether the peer is there (keepalive); the peer's last segment was an acknowledgment that had come before.",
        "RFC 9293 section 3.8.4: only when nothing has come. An old acknowledgment has; Linux does not count it.";
    Reset, "the fields of a reset", "no",
        "Two resets' windows and options, or their numbers where there is no connection and so none to begin from.",
        "They mean nothing (RFC 9293 section 3.5.3).";
    Crossed, "SYNs that cross", "at times",
        "Both ends open at once: Linux acknowledges the peer's SYN-ACK as what has come before, ours does not; or the options of the SYN-ACKs differ, and the conversation parts.",
        "That SYN-ACK brings the acknowledgment that was missing, and nothing is left to say. Linux's answer has each option that it would offer; ours those that the peer's SYN had (RFC 7323 sections 2.2 and 3.2).";
    Reopen, "a new SYN in TIME-WAIT", "yes",
        "A SYN that could open a new connection comes to a port where nobody listens: Linux acknowledges, ours resets.",
        "It is one for a closed port: the peer learns so at once.";
    Buffer, "the room of a send buffer", "yes",
        "A write takes more of its data, or less.",
        "What packets weigh, the engine's back end (and only it) knows nearly. In a kernel the buffer follows the congestion window, which counts octets.";
}

/// The table, for `Documentation/differential.md`.
pub fn table() -> String {
    let mut text = String::from(
        "<!-- SPDX-License-Identifier: GPL-2.0 -->\n\
         <!-- Written by `make differential`; do not edit. -->\n\
         # What ours does otherwise than the built-in TCP\n\n\
         Random conversations with both (`make differential`, [how](../conformance/README.md#random-conversations)) may differ in what is\n\
         listed here; what is not counts as an error. \"Parts\" says whether the peer goes on differently, so that nothing can be compared behind it.\n\n\
         | difference | parts | known by | reason |\n|---|---|---|---|\n",
    );
    for class in Class::ALL {
        text += &format!(
            "| {} | {} | {} | {} |\n",
            class.name(),
            class.parts(),
            class.known_by(),
            class.reason()
        );
    }
    text
}
