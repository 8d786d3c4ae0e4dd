// SPDX-License-Identifier: GPL-2.0
//! What a listener does with a segment for which there is neither a connection nor a request (RFC 9293
//! section 3.10.7.2).

use crate::context::Context;
use crate::reply;
use crate::segment::Segment;
use crate::transmit::Transmit;

/// What a segment means for a listener.
#[derive(Clone, Copy, Debug)]
#[must_use]
pub enum ListenVerdict {
    /// Someone wants to connect: make a [`Request`](crate::request::Request).
    Syn,
    /// Send this.
    Reply(Transmit),
    /// Nothing is to be done.
    Ignore,
}

/// A segment has reached a listener. Keeps nothing and changes nothing.
pub fn on_segment(_cx: &Context<'_>, segment: &Segment) -> ListenVerdict {
    let flags = segment.header.flags;
    // "First, check for a RST: An incoming RST segment could not be valid since it could not have been
    // sent in response to anything sent by this incarnation of the connection."
    if flags.rst() {
        return ListenVerdict::Ignore;
    }
    // "Second, check for an ACK: Any acknowledgment is bad if it arrives on a connection still in the
    // LISTEN state."
    if flags.ack() {
        return match reply::closed(segment) {
            Some(reset) => ListenVerdict::Reply(reset),
            None => ListenVerdict::Ignore,
        };
    }
    // "Third, check for a SYN".
    //
    // Deviation: RFC 9293 section 3.10.7.2 takes one with a FIN, too. One that ends the connection in the same breath is a scan, not a
    // peer; Linux drops it as well.
    if flags.syn() && !flags.fin() {
        return ListenVerdict::Syn;
    }
    // "Fourth, other data or control: This should not be reached. Drop the segment and return."
    ListenVerdict::Ignore
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::context::Config;
    use crate::time::Instant;
    use crate::wire::{Ecn, Flags, Header};

    /// RFC 9293 section 3.10.7.2.
    #[test]
    fn on_segment__every_combination_of_flags() {
        let config = Config::default();
        let cx = Context::new(Instant::default(), &config);
        for bits in 0..=255u8 {
            let flags = Flags::from_bits(bits);
            for payload_len in [0, 1, 64_000] {
                let header = Header {
                    flags,
                    ..Header::default()
                };
                let verdict = on_segment(
                    &cx,
                    &Segment {
                        header,
                        payload_len,
                        ecn: Ecn::NotEct,
                    },
                );
                let expected = match (flags.rst(), flags.ack(), flags.syn(), flags.fin()) {
                    (true, ..) => matches!(verdict, ListenVerdict::Ignore),
                    (_, true, ..) => {
                        matches!(verdict, ListenVerdict::Reply(t) if t.header.flags == Flags::RST)
                    }
                    (_, _, true, false) => matches!(verdict, ListenVerdict::Syn),
                    _ => matches!(verdict, ListenVerdict::Ignore),
                };
                assert!(expected, "{flags:?}: {verdict:?}");
            }
        }
    }
}
