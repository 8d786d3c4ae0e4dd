// SPDX-License-Identifier: GPL-2.0

//! Message boundaries (MSG_EOR): what the user has marked as a message's end is joined with nothing that follows, neither in a
//! segment nor in a burst, the first time or again. Linux marks the sk_buff (`tcp_skb_can_collapse_to`).
//!
//! They are the caller's, [`FlightMemory::boundary`]. And what else makes a segment wait that is not full.

use super::choice::{Burst, Why};
use super::link::Link;
use super::send::{Force, More, Sender};
use crate::context::SocketOptions;
use crate::flight::FlightMemory;
use crate::seq::{SeqNum, SeqRange};

impl Sender {
    /// The first boundary behind `start`, up to `len` octets from it, with something written behind it.
    pub(super) fn boundary(
        &self,
        memory: &dyn FlightMemory,
        start: SeqNum,
        len: u32,
    ) -> Option<SeqNum> {
        if len == 0 {
            return None;
        }
        memory
            .boundary(SeqRange::new(start, len))
            .filter(|edge| edge.after(start) && edge.before(self.write_seq))
    }

    /// Ends a burst that repeats at the first boundary in it. A probe is the last of what it repeats: it begins behind the last
    /// one, as the probe of Linux's `tcp_send_loss_probe` is the last sk_buff's. Whether a message
    /// ends with the burst.
    pub(super) fn keep_apart(&self, memory: &dyn FlightMemory, burst: &mut Burst) -> bool {
        match burst.why {
            // Made so.
            Why::New | Why::ProbeNew => {}
            Why::Again => {
                if let Some(edge) = self.boundary(memory, burst.start, burst.len) {
                    let len = burst.start.distance_to(edge);
                    burst.fin &= len == burst.len;
                    burst.len = len;
                }
            }
            Why::ProbeAgain => {
                let end = burst.start.add(burst.len);
                while let Some(edge) = self.boundary(memory, burst.start, burst.len) {
                    if !edge.before(end) {
                        break;
                    }
                    burst.len = edge.distance_to(end);
                    burst.start = edge;
                }
            }
        }
        self.boundary(memory, burst.start, burst.len).is_some()
    }

    /// Whether a segment smaller than the MSS may go: Nagle's algorithm in Minshall's variant (RFC 9293 section
    /// 3.7.4, Linux's `tcp_nagle_check`), TCP_CORK and MSG_MORE.
    ///
    /// Deviation: RFC 9293 section 3.7.4 holds a small segment back while anything is unacknowledged. In the variant, which the
    /// RFC's appendix A.3 names, while a small one is: the end of a large write does not wait for a delayed acknowledgment.
    pub(super) fn tail_may_go(&self, link: &Link, fin: bool, options: &SocketOptions) -> bool {
        if fin || self.force != Force::No || self.is_urgent(link) {
            return true;
        }
        if options.cork || self.more == More::Wait {
            return false;
        }
        let small_in_flight = self.small.after(link.snd_una) && self.small.before_eq(link.snd_nxt);
        options.nodelay || !small_in_flight
    }
}
